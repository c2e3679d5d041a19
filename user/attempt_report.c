// SPDX-License-Identifier: BSD-2-Clause
/* Attempt → report: timeline, who was slow, names, certificate. See attempt_report.h. */
#include "attempt_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "findings.h"
#include "library_conn.h"
#include "process.h"
#include "timeline.h"

/* Everything a report points into, alive while it is handed over. */
struct draft {
	const struct attempt *a;
	const struct attempt_context *ctx;
	struct leg *winner;
	uint64_t until_ns; /* pending things are shown up to here */
	struct attempt_verdict verdict;
	struct attempt_names names;
	struct interval intervals[TIMELINE_INTERVALS_MAX];
	size_t n_intervals;
	struct report_entry entries[2 * TIMELINE_INTERVALS_MAX + 1];
	struct report_lookup lookups[ATTEMPT_LOOKUPS_MAX];
	struct report_upstream upstream[ATTEMPT_LOOKUPS_MAX][LOOKUP_UPSTREAM_MAX];
	struct report_leg legs[ATTEMPT_LEGS_MAX];
	struct report_tls tls;
	struct report_certificate cert;
	enum evidence cert_evidence;
	struct report_registration registration;
	struct findings findings;
	char server[ADDR_TEXT_MAX];
	char alert[ATTEMPT_REASON_MAX];
};

/* --- Names --- */

const char *attempt_domain(const struct attempt *a, const struct attempt_context *ctx)
{
	return a->domain ? a->domain : ctx->domain;
}

const char *attempt_server(const struct attempt *a, const struct attempt_context *ctx, char buf[static 64])
{
	const struct leg *leg = attempt_winner(a);
	const struct lookup *l;

	if (!leg)
		leg = TAILQ_LAST(&a->legs, leg_list);
	if (leg && leg->target)
		return leg->target;
	if (a->server)
		return a->server;
	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (lookup_is_address(l))
			return l->name;
	TAILQ_FOREACH (l, &a->lookups, by_attempt) {
		const struct report_answer *srv = lookup_srv_target(l, NULL, 0);

		if (srv && !lookup_failure(l))
			return srv->target;
	}
	if (ctx->server)
		return ctx->server;
	return leg ? addr_text(leg->remote.addr, buf) : NULL;
}

/* --- Timeline --- */

static void interval_add(struct draft *d, enum phase phase, int leg, uint64_t start, uint64_t end)
{
	if (d->n_intervals < TIMELINE_INTERVALS_MAX && end > start)
		d->intervals[d->n_intervals++] = (struct interval){start, end, phase, leg};
}

static uint64_t lookup_until(const struct lookup *l, uint64_t until)
{
	return l->end_ns ? l->end_ns : until;
}

static void intervals_srv(struct draft *d)
{
	const struct lookup *l;
	uint64_t start = UINT64_MAX, end = 0;

	TAILQ_FOREACH (l, &d->a->lookups, by_attempt) {
		if (l->type != DNS_TYPE_SRV)
			continue;
		if (l->first_ns < start)
			start = l->first_ns;
		if (lookup_until(l, d->until_ns) > end)
			end = lookup_until(l, d->until_ns);
		if (l->state == LOOKUP_ANSWERED && !lookup_failure(l))
			break; /* the accepted answer ends the phase */
	}
	if (end)
		interval_add(d, PHASE_SRV, -1, start, end);
}

/* The first leg that went to an address of @name, or to its target: the connect that had to wait for the lookups. */
static uint64_t next_step(const struct draft *d, const char *name, uint64_t after)
{
	const struct leg *l;
	uint64_t any = 0;

	TAILQ_FOREACH (l, &d->a->legs, by_attempt) {
		if (l->connect_ns < after)
			continue;
		if (l->target && dns_name_equal(l->target, name))
			return l->connect_ns;
		if (!any)
			any = l->connect_ns;
	}
	return any;
}

/* Was a connection under way all the time? Then nobody waited for the answer: the next target's, fetched ahead. */
static bool address_ahead(const struct draft *d, uint64_t start, uint64_t end, bool used)
{
	const struct leg *l;

	TAILQ_FOREACH (l, &d->a->legs, by_attempt) {
		uint64_t over = leg_over(l);

		if (leg_tcp_start(l) <= start && (!over || over > start) && (!used || !over || over >= end))
			return true;
	}
	return false;
}

/* One entry per name: A and AAAA run side by side, and search suffixes of one name have names of their own. */
static void intervals_address(struct draft *d)
{
	const struct lookup *l, *other;

	TAILQ_FOREACH (l, &d->a->lookups, by_attempt) {
		uint64_t start = l->first_ns, end = 0, gate, step;
		bool first = true, answered = false;

		if (!lookup_is_address(l))
			continue;
		TAILQ_FOREACH (other, &d->a->lookups, by_attempt) {
			if (other == l)
				break;
			if (lookup_is_address(other) && dns_name_equal(other->name, l->name))
				first = false;
		}
		if (!first)
			continue;
		step = next_step(d, l->name, start);
		gate = step ? step : d->until_ns;
		TAILQ_FOREACH (other, &d->a->lookups, by_attempt) {
			if (!lookup_is_address(other) || !dns_name_equal(other->name, l->name))
				continue;
			if (other->end_ns && other->end_ns <= gate) {
				answered = true;
				if (other->end_ns > end)
					end = other->end_ns;
			}
		}
		if (!answered)
			end = gate;
		if (!address_ahead(d, start, end, step))
			interval_add(d, PHASE_ADDRESS, -1, start, end);
	}
}

/* First application byte out: as the wire shows it, else as the library took it. 0: none. */
static uint64_t register_start(const struct leg *l)
{
	const struct tls_handshake *h = leg_handshake(l);
	const struct registration *r = leg_registration(l);

	if (h->client_app_ns)
		return h->client_app_ns;
	return r && h->complete_ns ? r->first_out_ns : 0;
}

/* The verdict, or the end of the wait for it. Nothing is known of its end where the plaintext is hidden and all is
 * well. */
static uint64_t register_end(const struct draft *d, const struct leg *l)
{
	const struct registration *r = leg_registration(l);

	if (r && registration_settled(r))
		return r->refused_ns ? r->refused_ns : r->accepted_ns;
	if (d->verdict.outcome == OUTCOME_CONNECTED)
		return 0;
	return leg_end(l) ? leg_end(l) : d->until_ns;
}

static void intervals_leg(struct draft *d, const struct leg *l, int index)
{
	const struct leg *next = TAILQ_NEXT(l, by_attempt);
	uint64_t start = leg_tcp_start(l), end = leg_tcp_end(l);
	const struct tls_handshake *h = leg_handshake(l);

	if (!end)
		end = d->until_ns;
	/* A loser of happy eyeballs that began after the winner shows only in legs[]; one before it ends where the next
	 * begins. */
	if (d->winner && l != d->winner && start >= leg_tcp_start(d->winner) && leg_tcp_end(d->winner) > start)
		return;
	if (l != d->winner && next && end > leg_tcp_start(next))
		end = leg_tcp_start(next);
	interval_add(d, PHASE_TCP, index, start, end);
	if (!leg_tls_started(l))
		return;
	end = leg_tls_end(l);
	interval_add(d, PHASE_TLS, index, h->first_out_ns, end ? end : d->until_ns);
	if (l == d->winner && register_start(l))
		interval_add(d, PHASE_REGISTER, index, register_start(l), register_end(d, l));
}

static size_t timeline_fill(struct draft *d)
{
	const struct leg *l;
	int index = 0;

	intervals_srv(d);
	intervals_address(d);
	TAILQ_FOREACH (l, &d->a->legs, by_attempt)
		intervals_leg(d, l, index++);
	return timeline_build(d->intervals, d->n_intervals, d->verdict.start_ns, d->verdict.end_ns, d->entries);
}

/* --- Parts --- */

static int64_t offset(uint64_t ts, uint64_t start)
{
	return (int64_t)(ts - start);
}

/* A process that went with its question pending did not wait for a time-out. */
static const char *lookup_fate(const struct lookup *l)
{
	uint64_t exit_ns = l->process ? l->process->exit_ns : 0;

	return l->state == LOOKUP_GIVEN_UP && exit_ns && l->end_ns >= exit_ns ? "process_exit" : lookup_failure(l);
}

void attempt_fill_lookup(const struct lookup *l, uint64_t attempt_id, uint64_t start_ns, struct report_lookup *r,
			 struct report_upstream upstream[static LOOKUP_UPSTREAM_MAX])
{
	for (size_t i = 0; i < l->n_upstream; i++) {
		const struct lookup_upstream *u = &l->upstream[i];

		upstream[i] = (struct report_upstream){
			.resolver = u->resolver,
			.start_ns = offset(u->first_ns, start_ns),
			.duration_ns = u->end_ns ? offset(u->end_ns, u->first_ns) : NS_UNKNOWN,
			.rcode = u->rcode,
			.queries = u->queries,
		};
	}
	*r = (struct report_lookup){
		.attempt = attempt_id,
		.name = l->name,
		.type = l->type,
		.rcode = l->rcode,
		.failure = lookup_fate(l),
		.tcp = l->tcp,
		.resolver = l->resolver,
		.queries = l->queries,
		.start_ns = offset(l->first_ns, start_ns),
		.duration_ns = l->end_ns ? offset(l->end_ns, l->first_ns) : NS_UNKNOWN,
		.answers = l->answers,
		.n_answers = l->n_answers,
		.upstream = upstream,
		.n_upstream = l->n_upstream,
	};
}

void attempt_fill_leg(const struct leg *l, uint64_t attempt_id, uint64_t start_ns, struct report_leg *r)
{
	uint64_t end = leg_tcp_end(l), start = leg_tcp_start(l);

	*r = (struct report_leg){
		.attempt = attempt_id,
		.remote = l->remote,
		.target = l->target,
		.priority = l->priority,
		.weight = l->weight,
		.result = leg_tcp_result(l, l->process ? l->process->exit_ns : 0),
		.start_ns = offset(start, start_ns),
		.tcp_ns = end ? offset(end, start) : NS_UNKNOWN,
		.syn_sent = l->syn_sent,
		.rtt_ns = l->rtt_ns ? (int64_t)l->rtt_ns : NS_UNKNOWN,
	};
}

/*
 * Who held the handshake up. In each turn the client waited from its last byte out to the server's last byte in: of
 * that the smallest round trip of the leg is the network's, the rest the server's. All else is the client's.
 */
static void tls_split(const struct draft *d, const struct tls_handshake *h, uint64_t end, struct report_tls *r)
{
	uint64_t network = 0, server = 0, total = end - h->first_out_ns;

	if (!d->winner->rtt_ns)
		return;
	for (size_t i = 0; i < h->n_turns; i++) {
		const struct tls_turn *t = &h->turns[i];
		uint64_t in = t->in_ns && t->in_ns <= end ? t->in_ns : t->next_ns ? 0 : end;
		uint64_t wait = in > t->out_ns ? in - t->out_ns : 0;
		uint64_t net = wait < d->winner->rtt_ns ? wait : d->winner->rtt_ns;

		network += net;
		server += wait - net;
	}
	if (network + server > total)
		return;
	r->network_ns = (int64_t)network;
	r->server_ns = (int64_t)server;
	r->client_ns = (int64_t)(total - network - server);
}

static const char *alert_text(struct draft *d, const struct tls_handshake *h)
{
	const struct tls_alert_seen received = leg_alert_received(d->winner);
	const struct tls_alert_seen *alert = h->sent.kind ? &h->sent : &received;
	const char *name;

	if (!alert->kind)
		return NULL;
	name = alert->kind == TLS_ALERT_ENCRYPTED ? "encrypted" : tls_alert_name(alert->description);
	if (name)
		snprintf(d->alert, sizeof(d->alert), "%s:%s", alert == &h->sent ? "sent" : "received", name);
	else
		snprintf(d->alert, sizeof(d->alert), "%s:%u", alert == &h->sent ? "sent" : "received",
			 alert->description);
	return d->alert;
}

#define ALERT_CERTIFICATE_REQUIRED 116 /* RFC 8446 section 6.2 */

static void tls_fill(struct draft *d, const struct tls_handshake *h)
{
	const struct tls_alert_seen received = leg_alert_received(d->winner);
	struct report_tls *r = &d->tls;
	uint64_t end = leg_tls_end(d->winner);

	*r = (struct report_tls){
		.resumed = TRI_UNKNOWN,
		.hello_retry = TRI_UNKNOWN,
		.client_cert_requested = TRI_UNKNOWN,
		.network_ns = NS_UNKNOWN,
		.server_ns = NS_UNKNOWN,
		.client_ns = NS_UNKNOWN,
		.alert = alert_text(d, h),
		.joined_by = d->winner->library ? "random" : NULL,
	};
	if (h->has_client_hello) {
		r->sni = h->client.sni[0] ? h->client.sni : NULL;
	}
	if (h->has_server_hello) {
		r->version = tls_version_name(h->server.version);
		r->cipher = tls_cipher_name(h->server.cipher);
		r->alpn = h->server.alpn[0] ? h->server.alpn : NULL;
		r->hello_retry = h->hello_retry ? TRI_YES : TRI_NO;
		/* Under TLS 1.3 CertificateRequest is encrypted. */
		if (h->server.version < 0x0304)
			r->client_cert_requested = h->client_cert_requested ? TRI_YES : TRI_NO;
	} else if (h->hello_retry) {
		r->hello_retry = TRI_YES;
	}
	/* … but for the alert that one of them drew. */
	if (received.kind == TLS_ALERT_PLAIN && received.description == ALERT_CERTIFICATE_REQUIRED)
		r->client_cert_requested = TRI_YES;
	if (h->resumed_known)
		r->resumed = h->resumed ? TRI_YES : TRI_NO;
	tls_split(d, h, end ? end : d->until_ns, r);
}

static enum tristate tristate_of(enum cert_match m)
{
	return m == CERT_MATCH_UNKNOWN ? TRI_UNKNOWN : m == CERT_MATCH_YES ? TRI_YES : TRI_NO;
}

/* The chain of the winner: from the wire (TLS <= 1.2), else as its library parsed it. */
static const uint8_t *chain_of(const struct leg *l, size_t *ret_len, enum evidence *ret_evidence)
{
	const struct tls_handshake *h = leg_handshake(l);

	if (h->has_certificate) {
		*ret_len = h->cert_list_len;
		*ret_evidence = EVIDENCE_WIRE;
		return h->cert_list;
	}
	if (!l->library || !l->library->chain_len)
		return NULL;
	*ret_len = l->library->chain_len;
	*ret_evidence = EVIDENCE_LIBRARY;
	return l->library->chain;
}

/* The certificate of the winner, and what it names. */
static void names_read(struct draft *d, const char *domain, const char *server)
{
	const struct tls_handshake *h;
	const uint8_t *chain;
	size_t len;

	d->names = (struct attempt_names){.domain = CERT_MATCH_UNKNOWN, .server = CERT_MATCH_UNKNOWN};
	if (!d->winner)
		return;
	h = leg_handshake(d->winner);
	chain = chain_of(d->winner, &len, &d->cert_evidence);
	if (!chain || cert_chain_read(d->ctx->certs, chain, len, &d->names.cert) < 0)
		return;
	d->names.domain = cert_names(d->names.cert, domain);
	d->names.server = cert_names(d->names.cert, server);
	d->names.now_s = ((int64_t)h->server_hello_ns + d->ctx->realtime_offset) / 1000000000;
}

static const char *verify_text(const struct leg *l)
{
	if (!l->library || l->library->verify_result == CBT_VERIFY_UNKNOWN)
		return NULL;
	return cert_verify_text(l->library->verify_result);
}

static void certificate_fill(struct draft *d)
{
	const struct cert_info *c = d->names.cert;

	d->cert = (struct report_certificate){
		.evidence = d->cert_evidence,
		.subject = c->subject,
		.issuer = c->issuer,
		.key_type = c->key_type,
		.san = (const char *const *)c->san,
		.n_san = c->n_san,
		.domain_match = tristate_of(d->names.domain),
		.server_match = tristate_of(d->names.server),
		.self_signed = c->self_signed ? TRI_YES : TRI_NO,
		.not_before = c->not_before,
		.not_after = c->not_after,
		.chain_length = c->chain_length,
		.verify = verify_text(d->winner),
	};
}

/* Who held the registration up: of each of its waits (for the stream, for the verdict) a round trip is the network's,
 * the rest the server's; what lies between is the client's. */
static void register_split(const struct leg *l, const struct registration *r, uint64_t start, uint64_t end,
			   struct report_registration *ret)
{
	const uint64_t out[] = {start, r->asked_ns}, in[] = {r->stream_in_ns, end};
	uint64_t network = 0, server = 0;

	if (!l->rtt_ns || !r->stream_in_ns || !r->asked_ns || r->stream_in_ns < start || end < r->asked_ns)
		return;
	for (int i = 0; i < 2; i++) {
		uint64_t wait = in[i] > out[i] ? in[i] - out[i] : 0, net = wait < l->rtt_ns ? wait : l->rtt_ns;

		network += net;
		server += wait - net;
	}
	if (network + server > end - start)
		return;
	ret->network_ns = (int64_t)network;
	ret->server_ns = (int64_t)server;
	ret->client_ns = (int64_t)(end - start - network - server);
}

static void registration_fill(struct draft *d, const struct leg *l, const struct registration *r)
{
	struct report_registration *g = &d->registration;
	uint64_t start = register_start(l), end = r->refused_ns ? r->refused_ns : r->accepted_ns;

	*g = (struct report_registration){
		.protocol = r->protocol,
		.component = r->component[0] ? r->component : NULL,
		.result = r->refused_ns	   ? "failure"
			  : r->accepted_ns ? "success"
					   : NULL,
		.error = r->error[0] ? r->error : NULL,
		.start_ns = offset(start, d->verdict.start_ns),
		.stream_ns = r->stream_in_ns > start ? offset(r->stream_in_ns, start) : NS_UNKNOWN,
		.duration_ns = end > start ? offset(end, start) : NS_UNKNOWN,
		.network_ns = NS_UNKNOWN,
		.server_ns = NS_UNKNOWN,
		.client_ns = NS_UNKNOWN,
	};
	if (end > start)
		register_split(l, r, start, end, g);
}

/* Why no certificate can be shown; 0 if none was due yet. */
static unsigned int certificate_missing(const struct leg *l, const struct tls_handshake *h)
{
	if (l->library && l->library->chain_cut)
		return MISSING_TRUNCATED;
	if (!h->has_server_hello)
		return 0;
	if (h->resumed_known && h->resumed)
		return MISSING_NOT_SENT;
	if (h->server.version >= 0x0304)
		return MISSING_NOT_VISIBLE;
	return h->certificate_cut || h->truncated ? MISSING_TRUNCATED : 0;
}

/* Of a phase that was split, if it was. */
static enum owner owner_of(int64_t network_ns, int64_t server_ns, int64_t client_ns)
{
	if (network_ns == NS_UNKNOWN)
		return OWNER_NONE;
	if (network_ns >= server_ns && network_ns >= client_ns)
		return OWNER_NETWORK;
	return server_ns >= client_ns ? OWNER_SERVER : OWNER_CLIENT;
}

static enum owner slowest_owner(const struct draft *d, enum phase phase)
{
	switch (phase) {
	case PHASE_SRV:
	case PHASE_ADDRESS:
		return OWNER_RESOLVER;
	case PHASE_TCP:
		return OWNER_NETWORK;
	case PHASE_WAIT:
		return OWNER_CLIENT;
	case PHASE_TLS:
		return owner_of(d->tls.network_ns, d->tls.server_ns, d->tls.client_ns);
	case PHASE_REGISTER:
		return owner_of(d->registration.network_ns, d->registration.server_ns, d->registration.client_ns);
	default:
		return OWNER_NONE;
	}
}

static void slowest_fill(const struct draft *d, struct report_attempt *r)
{
	int64_t sum[PHASES] = {0};
	enum phase best = PHASE_NONE;

	for (size_t i = 0; i < r->n_timeline; i++)
		sum[r->timeline[i].phase] += r->timeline[i].end_ns - r->timeline[i].start_ns;
	for (enum phase p = 0; p < PHASES; p++)
		if (sum[p] > 0 && (best == PHASE_NONE || sum[p] > sum[best]))
			best = p;
	r->slowest = best;
	if (best == PHASE_NONE)
		return;
	r->slowest_share = (double)sum[best] / (double)r->total_ns;
	r->slowest_owner = slowest_owner(d, best);
}

static unsigned int missing_collect(const struct draft *d)
{
	unsigned int missing = d->a->missing;
	const struct leg *le;

	if (attempt_lossy(d->a))
		missing |= MISSING_LOST_EVENTS;
	TAILQ_FOREACH (le, &d->a->legs, by_attempt)
		if (leg_handshake(le)->truncated)
			missing |= MISSING_TRUNCATED;
	if (d->ctx->interrupted_ns)
		missing |= MISSING_INTERRUPTED;
	return missing;
}

static void parts_fill(struct draft *d, struct report_attempt *r)
{
	const struct lookup *lo;
	const struct leg *le;

	TAILQ_FOREACH (lo, &d->a->lookups, by_attempt) {
		size_t i = r->n_lookups++;

		attempt_fill_lookup(lo, d->a->id, d->verdict.start_ns, &d->lookups[i], d->upstream[i]);
	}
	TAILQ_FOREACH (le, &d->a->legs, by_attempt)
		attempt_fill_leg(le, d->a->id, d->verdict.start_ns, &d->legs[r->n_legs++]);
	r->lookups = d->lookups;
	r->legs = d->legs;
	if (d->winner && leg_tls_started(d->winner)) {
		const struct tls_handshake *h = leg_handshake(d->winner);
		const struct registration *g = leg_registration(d->winner);

		tls_fill(d, h);
		r->tls = &d->tls;
		if (d->names.cert) {
			certificate_fill(d);
			r->certificate = &d->cert;
		} else {
			r->certificate_missing = certificate_missing(d->winner, h);
		}
		if (h->complete_ns && g && register_start(d->winner)) {
			registration_fill(d, d->winner, g);
			r->registration = &d->registration;
			if (!g->last_inbound_ns && d->verdict.outcome == OUTCOME_CONNECTED)
				r->registration_missing = MISSING_NOT_VISIBLE;
		} else if (h->complete_ns && !g) {
			r->registration_missing = MISSING_NOT_VISIBLE;
		}
	}
}

/* Could it still have become anything? */
static bool attempt_open_ended(const struct draft *d)
{
	if (d->winner && leg_tls_complete(d->winner) && !leg_failed(d->winner))
		return true;
	return attempt_asks(d->a) || attempt_connects(d->a) || !attempt_hurt(d->a);
}

int attempt_report(const struct attempt *a, const struct attempt_context *ctx, const struct report_handler *handler,
		   struct attempt_verdict *ret_verdict)
{
	struct draft *d = calloc(1, sizeof(*d));
	struct report_attempt r = {.id = a->id, .retry_of = a->retry_of, .retry_delay_ns = NS_UNKNOWN};

	if (!d)
		return -ENOMEM;
	d->a = a;
	d->ctx = ctx;
	d->winner = attempt_winner(a);
	d->registration.network_ns = d->tls.network_ns = NS_UNKNOWN;
	r.domain = attempt_domain(a, ctx);
	r.server = attempt_server(a, ctx, d->server);
	names_read(d, r.domain, r.server);
	attempt_judge(a, &d->names, &d->verdict);
	/* Where nothing was outstanding any more the verdict stands: only a retry could have been part of it. */
	if (ctx->interrupted_ns && attempt_open_ended(d)) {
		d->verdict.outcome = OUTCOME_NONE;
		d->verdict.failed_phase = PHASE_NONE;
		d->verdict.reason[0] = '\0';
		if (!d->winner || !leg_tls_complete(d->winner))
			d->verdict.end_ns = ctx->interrupted_ns;
	}
	d->until_ns =
		d->verdict.outcome == OUTCOME_NONE && ctx->interrupted_ns ? ctx->interrupted_ns : d->verdict.end_ns;
	findings_collect(a, &d->names, &d->verdict, &d->findings);

	r.pid = (uint32_t)a->process->key;
	r.comm = a->process->comm[0] ? a->process->comm : NULL;
	r.cgroup = a->process->cgroup;
	r.host = ctx->host;
	r.config = a->config;
	r.outcome = d->verdict.outcome;
	r.failed_phase = d->verdict.failed_phase;
	r.reason = d->verdict.reason[0] ? d->verdict.reason : NULL;
	r.start_real_ns = (int64_t)d->verdict.start_ns + ctx->realtime_offset;
	r.total_ns = offset(d->verdict.end_ns, d->verdict.start_ns);
	if (a->retry_of)
		r.retry_delay_ns = offset(d->verdict.start_ns, a->retry_from_ns);
	r.timeline = d->entries;
	r.n_timeline = timeline_fill(d);
	parts_fill(d, &r);
	slowest_fill(d, &r);
	r.findings = d->findings.list;
	r.n_findings = d->findings.n;
	r.missing = missing_collect(d);
	r.complete = !(r.missing & MISSING_INCOMPLETE);
	r.missing |= r.certificate_missing | r.registration_missing;
	if (handler->attempt)
		handler->attempt(&r, handler->arg);
	*ret_verdict = d->verdict;
	free(d);
	return 0;
}
