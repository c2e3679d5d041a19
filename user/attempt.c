// SPDX-License-Identifier: BSD-2-Clause
/* One attempt and the judgement on it. See attempt.h. */
#include "attempt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library_conn.h"
#include "process.h"

struct attempt *attempt_new(struct process *p, uint32_t tid, enum config config, const char *domain)
{
	struct attempt *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	if (domain && !(a->domain = strdup(domain))) {
		free(a);
		return NULL;
	}
	a->process = p;
	a->tid = tid;
	a->config = config;
	TAILQ_INIT(&a->lookups);
	TAILQ_INIT(&a->legs);
	return a;
}

void attempt_free(struct attempt *a)
{
	struct lookup *l;

	if (!a)
		return;
	while ((l = TAILQ_FIRST(&a->lookups))) {
		TAILQ_REMOVE(&a->lookups, l, by_attempt);
		lookup_free(l);
	}
	free(a->domain);
	free(a->server);
	free(a);
}

int attempt_add_lookup(struct attempt *a, struct lookup *l)
{
	if (a->n_lookups == ATTEMPT_LOOKUPS_MAX)
		return -ENOSPC;
	TAILQ_INSERT_TAIL(&a->lookups, l, by_attempt);
	a->n_lookups++;
	l->attempt = a;
	return 0;
}

int attempt_add_leg(struct attempt *a, struct leg *l)
{
	struct leg *before;

	if (a->n_legs == ATTEMPT_LEGS_MAX)
		return -ENOSPC;
	TAILQ_FOREACH_REVERSE (before, &a->legs, leg_list, by_attempt)
		if (before->connect_ns <= l->connect_ns)
			break;
	if (before)
		TAILQ_INSERT_AFTER(&a->legs, before, l, by_attempt);
	else
		TAILQ_INSERT_HEAD(&a->legs, l, by_attempt);
	a->n_legs++;
	l->attempt = a;
	return 0;
}

static int leg_rank(const struct leg *l)
{
	return leg_tls_complete(l) ? 3 : leg_tls_started(l) ? 2 : l->established ? 1 : 0;
}

struct leg *attempt_winner(const struct attempt *a)
{
	struct leg *l, *best = NULL;

	TAILQ_FOREACH (l, &a->legs, by_attempt)
		if (leg_rank(l) > 0 && (!best || leg_rank(l) >= leg_rank(best)))
			best = l;
	return best;
}

struct lookup *attempt_find_lookup(const struct attempt *a, const char *name, uint16_t type)
{
	struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (l->type == type && dns_name_equal(l->name, name))
			return l;
	return NULL;
}

/* @name is @target, or @target with a search suffix behind it. */
static bool name_extends(const char *name, const char *target)
{
	size_t n = strlen(target);

	return dns_name_equal(name, target) || (n && strncmp(name, target, n) == 0 && name[n] == '.');
}

const struct report_answer *attempt_srv_target(const struct attempt *a, const char *name)
{
	struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt) {
		if (l->type != DNS_TYPE_SRV || lookup_failure(l))
			continue;
		for (size_t i = 0; i < l->n_answers; i++)
			if (l->answers[i].type == DNS_TYPE_SRV && name_extends(name, l->answers[i].target))
				return &l->answers[i];
	}
	return NULL;
}

bool attempt_srv_answered(const struct attempt *a)
{
	struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (l->type == DNS_TYPE_SRV && l->state == LOOKUP_ANSWERED && !lookup_failure(l))
			return true;
	return false;
}

bool attempt_srv_port(const struct attempt *a, uint16_t port)
{
	struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (lookup_srv_target(l, NULL, port))
			return true;
	return false;
}

struct lookup *attempt_addr_lookup(const struct attempt *a, const uint8_t addr[16])
{
	struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (lookup_is_address(l) && lookup_has_addr(l, addr))
			return l;
	return NULL;
}

bool attempt_names_server(const struct attempt *a, const char *name)
{
	const struct lookup *l;

	if ((a->domain && dns_name_equal(a->domain, name)) || (a->server && dns_name_equal(a->server, name)) ||
	    attempt_srv_target(a, name))
		return true;
	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (lookup_is_address(l) && dns_name_equal(l->name, name))
			return true;
	return false;
}

struct leg *attempt_leg_to(const struct attempt *a, const struct cbt_endpoint *remote)
{
	struct leg *l;

	TAILQ_FOREACH_REVERSE (l, &a->legs, leg_list, by_attempt)
		if (memcmp(&l->remote, remote, sizeof(*remote)) == 0)
			return l;
	return NULL;
}

bool attempt_asks(const struct attempt *a)
{
	const struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (l->state == LOOKUP_PENDING)
			return true;
	return false;
}

bool attempt_connects(const struct attempt *a)
{
	const struct leg *l;

	TAILQ_FOREACH (l, &a->legs, by_attempt)
		if (!leg_failed(l))
			return true;
	return false;
}

bool attempt_hurt(const struct attempt *a)
{
	const struct lookup *lo;
	const struct leg *le;

	TAILQ_FOREACH (lo, &a->lookups, by_attempt)
		if (lookup_failure(lo))
			return true;
	TAILQ_FOREACH (le, &a->legs, by_attempt)
		if (leg_failed(le))
			return true;
	return false;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t attempt_activity(const struct attempt *a)
{
	const struct lookup *lo;
	const struct leg *le;
	uint64_t last = 0;

	TAILQ_FOREACH (lo, &a->lookups, by_attempt)
		last = later(last, later(lo->last_ns, lo->end_ns));
	TAILQ_FOREACH (le, &a->legs, by_attempt)
		last = later(last, leg_activity(le));
	return last;
}

bool attempt_lossy(const struct attempt *a)
{
	const struct lookup *lo;
	const struct leg *le;

	if (a->missing & MISSING_LOST_EVENTS)
		return true;
	TAILQ_FOREACH (lo, &a->lookups, by_attempt)
		if (lo->lost)
			return true;
	TAILQ_FOREACH (le, &a->legs, by_attempt)
		if (le->lost)
			return true;
	return false;
}

/* The latest thing that is known to have happened, and whether something is still awaited. */
static bool outstanding(const struct attempt *a, uint64_t idle_ns, uint64_t *ret_last)
{
	struct lookup *lo;
	struct leg *le;
	uint64_t last = 0;
	bool open = false;

	TAILQ_FOREACH (lo, &a->lookups, by_attempt) {
		/* Nobody tells when a resolver library forgets a question on a socket that it keeps: an idle time after
		 * its last message, it has. */
		if (lo->state == LOOKUP_PENDING)
			last = later(last, lo->last_ns + idle_ns);
		else
			last = later(last, lo->end_ns);
	}
	TAILQ_FOREACH (le, &a->legs, by_attempt) {
		if (leg_failed(le))
			last = later(last, leg_over(le));
		else
			open = true;
	}
	*ret_last = last;
	return open;
}

/* A failure at @ts: the process may still go on. */
static uint64_t failed_deadline(const struct attempt *a, uint64_t ts, uint64_t idle_ns)
{
	return a->process->exit_ns ? later(a->process->exit_ns, ts) : ts + idle_ns;
}

/* The handshake is complete and the rest is hidden. */
static uint64_t hidden_deadline(const struct attempt *a, const struct leg *l, uint64_t idle_ns)
{
	const struct tls_handshake *h = leg_handshake(l);
	uint64_t settled = h->complete_ns + ATTEMPT_SETTLE_NS;

	/* What the library tells of a call comes when that returns; the server may be faster. */
	if (h->server_after_ns && h->server_after_ns < settled && !l->library)
		settled = h->server_after_ns;
	if (leg_end(l) && leg_end(l) < settled)
		return failed_deadline(a, leg_end(l), idle_ns);
	return settled;
}

/* The server has answered on the wire, and the library told of nothing that came in: its reads are not seen. */
static bool reads_unseen(const struct leg *l, const struct registration *r)
{
	return leg_handshake(l)->server_after_ns && !r->last_inbound_ns && !r->refused_ns && !l->server_closed_first &&
	       !leg_alert_received(l).kind;
}

/* The handshake is complete and the plaintext visible. */
static uint64_t registration_deadline(const struct attempt *a, const struct leg *l, const struct registration *r,
				      uint64_t idle_ns)
{
	if (registration_accepted(r))
		return registration_settled(r);
	if (r->refused_ns)
		return failed_deadline(a, r->refused_ns, idle_ns);
	if (leg_end(l))
		return failed_deadline(a, leg_end(l), idle_ns);
	if (leg_alert_received(l).kind)
		return failed_deadline(a, leg_alert_received(l).ts, idle_ns);
	if (reads_unseen(l, r))
		return leg_handshake(l)->server_after_ns + idle_ns;
	if (registration_awaits(r))
		return attempt_lossy(a) ? attempt_activity(a) + ATTEMPT_LOSSY_NS : 0;
	return later(leg_handshake(l)->complete_ns, registration_turn(r)) + idle_ns;
}

uint64_t attempt_deadline(const struct attempt *a, uint64_t idle_ns)
{
	struct leg *winner = attempt_winner(a);
	const struct process *p = a->process;
	uint64_t last;

	if (winner && leg_tls_complete(winner)) {
		const struct registration *r = leg_registration(winner);

		return r ? registration_deadline(a, winner, r, idle_ns) : hidden_deadline(a, winner, idle_ns);
	}
	if (outstanding(a, idle_ns, &last))
		/* Its end may be among what was lost. */
		return attempt_lossy(a) ? attempt_activity(a) + ATTEMPT_LOSSY_NS : 0;
	if (p->exit_ns)
		return p->exit_ns;
	return last + idle_ns;
}

/* --- Judgement --- */

static void fail(struct attempt_verdict *v, enum phase phase, const char *reason, uint64_t end_ns)
{
	v->outcome = strcmp(reason, "process_exit") == 0 ? OUTCOME_ABANDONED : OUTCOME_FAILED;
	v->failed_phase = phase;
	snprintf(v->reason, sizeof(v->reason), "%s", reason);
	if (end_ns > v->end_ns)
		v->end_ns = end_ns;
}

static void alert_reason(const char *side, const struct tls_alert_seen *alert, char *buf, size_t size)
{
	const char *name = alert->kind == TLS_ALERT_ENCRYPTED ? "encrypted" : tls_alert_name(alert->description);

	if (name)
		snprintf(buf, size, "%s:%s", side, name);
	else
		snprintf(buf, size, "%s:%u", side, alert->description);
}

enum {
	ALERT_BAD_CERTIFICATE = 42,
	ALERT_UNSUPPORTED_CERTIFICATE = 43,
	ALERT_CERTIFICATE_REVOKED = 44,
	ALERT_CERTIFICATE_EXPIRED = 45,
	ALERT_CERTIFICATE_UNKNOWN = 46,
	ALERT_UNKNOWN_CA = 48,
};

/* What the client's own verification found: X509_V_ERR_* of openssl/x509_vfy.h. NULL: it says nothing more exact than
 * the certificate does. */
static const char *verify_reason(int32_t result)
{
	enum {
		VERIFY_ISSUER = 2,
		VERIFY_NOT_YET_VALID = 9,
		VERIFY_EXPIRED = 10,
		VERIFY_SELF_SIGNED = 18,
		VERIFY_SELF_SIGNED_CA = 19,
		VERIFY_ISSUER_LOCALLY = 20,
		VERIFY_LEAF_SIGNATURE = 21,
	};

	switch (result) {
	case VERIFY_SELF_SIGNED:
		return "self_signed";
	case VERIFY_EXPIRED:
		return "expired";
	case VERIFY_NOT_YET_VALID:
		return "not_yet_valid";
	case VERIFY_ISSUER:
	case VERIFY_SELF_SIGNED_CA:
	case VERIFY_ISSUER_LOCALLY:
	case VERIFY_LEAF_SIGNATURE:
		return "untrusted";
	default:
		return NULL;
	}
}

/*
 * Where the client refuses the certificate and its verification or the certificate shows why. A self-signed one also
 * draws unknown_ca, so it is asked first: the more exact reason.
 */
static const char *certificate_reason(const struct leg *l, const struct attempt_names *names)
{
	const struct tls_alert_seen *sent = &leg_handshake(l)->sent;
	const struct cert_info *c = names->cert;
	bool verify_failed = l->library && l->library->verify_failed;
	bool about_cert =
		verify_failed ||
		(sent->kind == TLS_ALERT_PLAIN &&
		 ((sent->description >= ALERT_BAD_CERTIFICATE && sent->description <= ALERT_CERTIFICATE_UNKNOWN) ||
		  sent->description == ALERT_UNKNOWN_CA));

	if (!about_cert)
		return NULL;
	if (c && c->self_signed)
		return "self_signed";
	if (verify_failed && verify_reason(l->library->verify_result))
		return verify_reason(l->library->verify_result);
	if (sent->kind && sent->description == ALERT_UNKNOWN_CA)
		return "untrusted";
	if (!c)
		return NULL;
	if (names->now_s > c->not_after)
		return "expired";
	if (names->now_s < c->not_before)
		return "not_yet_valid";
	if (names->domain == CERT_MATCH_NO)
		return "san_domain_missing";
	if (names->server == CERT_MATCH_NO)
		return "san_server_missing";
	return NULL;
}

/* How a connection ended, in words of phases tls and register. */
static const char *close_reason(const struct leg *l, uint64_t exit_ns, bool client_waited)
{
	uint64_t end = leg_end(l);

	if (l->rst_in_ns && l->rst_in_ns <= end)
		return "reset";
	if (l->server_closed_first)
		return l->fin_in_ns || !l->sk_err ? "closed_by_server" : "reset";
	if (exit_ns && end && exit_ns <= end)
		return "process_exit";
	if (!end)
		return exit_ns ? "process_exit" : "gave_up";
	return client_waited ? "gave_up" : "closed_by_client";
}

/* Was it the server's turn when the connection ended? */
static bool awaits_server(const struct tls_handshake *h)
{
	return h->last_client_ns && h->last_client_ns > h->last_server_ns;
}

static void judge_tls(const struct leg *l, const struct attempt_names *names, uint64_t exit_ns,
		      struct attempt_verdict *v)
{
	const struct tls_handshake *h = leg_handshake(l);
	const struct tls_alert_seen received = leg_alert_received(l);
	const char *cert = certificate_reason(l, names);
	char reason[ATTEMPT_REASON_MAX];
	uint64_t end = leg_tls_end(l);

	if (!end)
		end = exit_ns ? exit_ns : later(h->last_client_ns, h->last_server_ns);
	end = later(end, leg_tcp_end(l));
	if (leg_not_tls(l)) {
		fail(v, PHASE_TLS, "not_tls", end);
	} else if (received.kind && (!h->sent.kind || received.ts <= h->sent.ts)) {
		alert_reason("alert_received", &received, reason, sizeof(reason));
		fail(v, PHASE_TLS, reason, received.ts);
	} else if (h->sent.kind) {
		alert_reason("alert_sent", &h->sent, reason, sizeof(reason));
		fail(v, PHASE_TLS, cert ? cert : reason, h->sent.ts);
	} else if (cert) {
		fail(v, PHASE_TLS, cert, end);
	} else {
		fail(v, PHASE_TLS, close_reason(l, exit_ns, awaits_server(h)), end);
	}
}

static void judge_register(const struct leg *l, bool waited, uint64_t exit_ns, struct attempt_verdict *v)
{
	const struct tls_alert_seen received = leg_alert_received(l);
	char reason[ATTEMPT_REASON_MAX];

	/* Under TLS 1.3 a refused client certificate shows only now. */
	if (received.kind) {
		alert_reason("alert_received", &received, reason, sizeof(reason));
		fail(v, PHASE_REGISTER, reason, leg_end(l) ? leg_end(l) : received.ts);
		return;
	}
	fail(v, PHASE_REGISTER, close_reason(l, exit_ns, waited), leg_end(l));
}

/* The handshake is complete. */
static void judge_hidden(const struct leg *l, uint64_t exit_ns, struct attempt_verdict *v)
{
	const struct tls_handshake *h = leg_handshake(l);
	uint64_t settled = h->complete_ns + ATTEMPT_SETTLE_NS;
	bool waited = h->client_app_ns && h->last_client_ns > h->last_server_ns;

	if (leg_end(l) && leg_end(l) < settled && !h->server_after_ns) {
		judge_register(l, waited, exit_ns, v);
		return;
	}
	v->outcome = OUTCOME_CONNECTED;
	v->end_ns = h->complete_ns;
}

static void judge_registration(const struct leg *l, const struct registration *r, uint64_t exit_ns,
			       struct attempt_verdict *v)
{
	if (registration_accepted(r)) {
		v->outcome = OUTCOME_REGISTERED;
		v->end_ns = r->accepted_ns;
	} else if (r->refused_ns) {
		fail(v, PHASE_REGISTER, r->error, r->refused_ns);
	} else if (reads_unseen(l, r)) {
		judge_hidden(l, exit_ns, v);
	} else if (leg_end(l) || leg_alert_received(l).kind) {
		judge_register(l, registration_awaits(r), exit_ns, v);
	} else {
		/* It never asked to be registered. */
		v->outcome = OUTCOME_CONNECTED;
		v->end_ns = leg_handshake(l)->complete_ns;
	}
}

static void judge_leg(const struct leg *l, const struct attempt_names *names, uint64_t exit_ns,
		      struct attempt_verdict *v)
{
	const struct registration *r = leg_registration(l);
	const char *tcp = leg_tcp_result(l, exit_ns);
	uint64_t end = leg_tcp_end(l);

	/* What else happened later (an answer nobody waited for, a loser of happy eyeballs) is not the attempt's end.
	 */
	v->end_ns = leg_tcp_start(l);
	if (leg_tls_complete(l)) {
		if (r)
			judge_registration(l, r, exit_ns, v);
		else
			judge_hidden(l, exit_ns, v);
	} else if (strcmp(tcp, "connected") == 0) {
		judge_tls(l, names, exit_ns, v);
	} else if (strcmp(tcp, "pending") == 0) {
		fail(v, PHASE_TCP, exit_ns ? "process_exit" : "gave_up", later(exit_ns, l->last_syn_ns));
	} else {
		fail(v, PHASE_TCP, tcp, end);
	}
}

/* How much a question's fate says of its name: a good answer most, any other failure more than nodata, A more than
 * AAAA. */
static int lookup_weight(const struct lookup *l)
{
	const char *failure = lookup_failure(l);

	if (!failure && l->state == LOOKUP_ANSWERED)
		return 4;
	if (failure && strcmp(failure, "nodata") == 0)
		return 1;
	return l->type == DNS_TYPE_A ? 3 : 2;
}

/* Of the questions for the name asked last, the one that says most. */
static const struct lookup *telling_lookup(const struct attempt *a, const struct lookup *last)
{
	const struct lookup *l, *best = last;

	if (!lookup_is_address(last))
		return last;
	TAILQ_FOREACH (l, &a->lookups, by_attempt) {
		if (lookup_is_address(l) && dns_name_equal(l->name, last->name) &&
		    lookup_weight(l) > lookup_weight(best))
			best = l;
	}
	return best;
}

static void judge_lookup(const struct attempt *a, const struct lookup *last, uint64_t exit_ns,
			 struct attempt_verdict *v)
{
	const struct lookup *l = telling_lookup(a, last);
	enum phase phase = l->type == DNS_TYPE_SRV ? PHASE_SRV : PHASE_ADDRESS;
	const char *failure = lookup_failure(l);
	uint64_t end = v->end_ns;

	if (l->state == LOOKUP_PENDING || (exit_ns && l->end_ns >= exit_ns && l->state == LOOKUP_GIVEN_UP)) {
		fail(v, phase, exit_ns ? "process_exit" : "timeout", later(exit_ns, l->last_ns));
	} else if (failure) {
		fail(v, phase, failure, l->end_ns);
	} else {
		/* The answer was good and the client did nothing with it. */
		fail(v, phase == PHASE_SRV ? PHASE_ADDRESS : PHASE_TCP, exit_ns ? "process_exit" : "gave_up",
		     later(exit_ns, end));
	}
}

void attempt_judge(const struct attempt *a, const struct attempt_names *names, struct attempt_verdict *ret)
{
	uint64_t exit_ns = a->process->exit_ns;
	struct attempt_verdict v = {.outcome = OUTCOME_FAILED, .failed_phase = PHASE_NONE, .start_ns = UINT64_MAX};
	struct leg *winner = attempt_winner(a), *le, *told = NULL;
	struct lookup *lo, *last_lookup = NULL;

	TAILQ_FOREACH (lo, &a->lookups, by_attempt) {
		if (lo->first_ns < v.start_ns)
			v.start_ns = lo->first_ns;
		v.end_ns = later(v.end_ns, lo->end_ns ? lo->end_ns : lo->last_ns);
		if (!last_lookup || lo->first_ns >= last_lookup->first_ns)
			last_lookup = lo;
	}
	TAILQ_FOREACH (le, &a->legs, by_attempt) {
		if (leg_tcp_start(le) < v.start_ns)
			v.start_ns = leg_tcp_start(le);
		v.end_ns = later(v.end_ns, leg_tcp_end(le));
		if (!told || leg_tcp_start(le) >= leg_tcp_start(told))
			told = le;
	}
	/* Happy eyeballs: what got furthest tells why, not the last one begun. */
	if (winner && (leg_tls_complete(winner) || !leg_failed(winner)))
		told = winner;
	/* A question that began while the connection lived (a next target's name, fetched ahead) was not its end. */
	if (told && last_lookup && !leg_tls_complete(told) && leg_over(told) && last_lookup->first_ns >= leg_over(told))
		told = NULL;
	if (told)
		judge_leg(told, names, exit_ns, &v);
	else if (last_lookup)
		judge_lookup(a, last_lookup, exit_ns, &v);
	if (attempt_lossy(a) && told && !leg_failed(told) && !leg_tls_complete(told) && !exit_ns) {
		v.outcome = OUTCOME_NONE;
		v.failed_phase = PHASE_NONE;
		v.reason[0] = '\0';
		v.end_ns = later(v.start_ns, leg_activity(told));
	}
	/* Of a connect that showed nothing more, only its beginning is known. */
	if (v.end_ns < v.start_ns)
		v.end_ns = v.start_ns;
	*ret = v;
}
