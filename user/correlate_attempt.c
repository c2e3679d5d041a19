// SPDX-License-Identifier: BSD-2-Clause
/* Attempts from their opening to their report, and the sessions that they leave. See correlate_internal.h. */
#include "correlate_internal.h"

#include <stdlib.h>
#include <string.h>

struct attempt *attempt_open(struct correlator *c, struct process *p, uint32_t tid, enum config config,
			     const char *domain)
{
	struct attempt *a;

	if (c->n_attempts >= ATTEMPTS_MAX || !(a = attempt_new(p, tid, config, domain))) {
		correlator_refused(c);
		return NULL;
	}
	a->id = ++c->last_attempt_id;
	if (c->event_ns <= c->lossy_until)
		a->missing |= MISSING_LOST_EVENTS;
	p->refs++;
	TAILQ_INSERT_TAIL(&p->attempts, a, by_process);
	TAILQ_INSERT_TAIL(&c->attempts, a, by_time);
	c->n_attempts++;
	claims_add_process(c->claims, (uint32_t)p->key);
	return a;
}

static void past_add_address(struct past *p, const uint8_t addr[16], uint16_t port)
{
	struct cbt_endpoint e = {.port = port};

	if (p->n_addresses == PROCESS_ADDRESSES_MAX)
		return;
	memcpy(e.addr, addr, sizeof(e.addr));
	p->addresses[p->n_addresses++] = e;
}

bool past_has_address(const struct past *p, const struct cbt_endpoint *remote)
{
	for (size_t i = 0; i < p->n_addresses; i++)
		if (memcmp(&p->addresses[i], remote, sizeof(*remote)) == 0)
			return true;
	return false;
}

/* What the next attempt of the process must know of this one. Names are best effort: without memory a retry is not
 * recognised. */
static void past_push(const struct correlator *c, struct attempt *a, const struct attempt_verdict *v,
		      const struct attempt_context *ctx)
{
	struct process *p = a->process;
	struct past n = {.id = a->id, .end_ns = v->end_ns, .config = a->config, .outcome = v->outcome};
	char buf[64];
	const char *server = attempt_server(a, ctx, buf);
	const struct leg *leg;
	const struct lookup *l;

	n.domain = a->domain ? strdup(a->domain) : NULL;
	n.server = server && server != buf ? strdup(server) : NULL;
	TAILQ_FOREACH (leg, &a->legs, by_attempt)
		past_add_address(&n, leg->remote.addr, leg->remote.port);
	TAILQ_FOREACH (l, &a->lookups, by_attempt) {
		const struct report_answer *srv = attempt_srv_target(a, l->name);

		if (!lookup_is_address(l))
			continue;
		for (size_t i = 0; i < l->n_answers; i++)
			if (l->answers[i].type == DNS_TYPE_A || l->answers[i].type == DNS_TYPE_AAAA)
				past_add_address(&n, l->answers[i].addr, srv ? srv->port : c->ports[0]);
	}
	if (p->n_past == PROCESS_PAST_MAX)
		past_free(&p->past[--p->n_past]);
	memmove(p->past + 1, p->past, p->n_past * sizeof(p->past[0]));
	p->past[0] = n;
	p->n_past++;
}

void attempt_chain(struct attempt *a, const struct past *past)
{
	if (past->outcome != OUTCOME_FAILED && past->outcome != OUTCOME_ABANDONED)
		return;
	a->retry_of = past->id;
	a->retry_from_ns = past->end_ns;
}

void leg_drop(struct correlator *c, struct leg *l)
{
	struct process *p = l->process;

	/* A socket that connected again has handed its cookie to the next leg. */
	if (table_find(c->legs, l->key) == l)
		table_remove(c->legs, l->key);
	if (l->library)
		library_drop(c, l->library);
	if (l->session && l->session->ending)
		TAILQ_REMOVE(&c->ending, l, by_attempt);
	session_free(l->session);
	leg_free(l);
	process_put(c, p);
}

void session_end(struct correlator *c, struct leg *l)
{
	session_report(l->session, l, c->realtime_offset, &c->handler);
	leg_drop(c, l);
}

void session_changed(struct correlator *c, struct leg *l)
{
	uint64_t due = session_due(l);

	if (!due)
		return;
	if (due == leg_end(l)) {
		session_end(c, l);
		return;
	}
	if (!l->session->ending) {
		l->session->ending = true;
		TAILQ_INSERT_TAIL(&c->ending, l, by_attempt);
	}
	correlator_due(c, due);
}

/* The winner of a connected attempt lives on as a session: reported up first even if it has ended meanwhile, so that
 * its two lines pair. */
static void session_open(struct correlator *c, struct leg *l, uint64_t attempt_id, const char *domain,
			 const char *server)
{
	struct leg up = *l;

	l->session = session_new(++c->last_session_id, attempt_id, leg_session_start(l), domain, server);
	if (!l->session) {
		correlator_refused(c);
		leg_drop(c, l);
		return;
	}
	if (l->session->start_ns <= c->lossy_until)
		l->session->missing |= MISSING_LOST_EVENTS;
	tls_conn_finish(l->tls);
	up.rst_in_ns = up.rst_out_ns = up.fin_in_ns = up.fin_out_ns = up.closed_ns = up.released_ns = 0;
	session_report(l->session, &up, c->realtime_offset, &c->handler);
	session_changed(c, l);
}

static bool filtered_out(const struct correlator *c, const char *domain, const char *server)
{
	return (c->domain && domain && !dns_name_equal(domain, c->domain)) ||
	       (c->server && server && !dns_name_equal(server, c->server));
}

bool attempt_hidden(const struct correlator *c, const struct attempt *a)
{
	const struct attempt_context ctx = {.domain = c->domain, .server = c->server};
	char buf[64];

	return filtered_out(c, attempt_domain(a, &ctx), attempt_server(a, &ctx, buf));
}

void attempt_end(struct correlator *c, struct attempt *a, uint64_t interrupted_ns)
{
	static const struct report_handler silent;
	struct attempt_context ctx = {
		.realtime_offset = c->realtime_offset,
		.host = c->host[0] ? c->host : NULL,
		.domain = c->domain,
		.server = c->server,
		.certs = c->certs,
		.interrupted_ns = interrupted_ns,
	};
	struct process *p = a->process;
	char buf[64];
	const char *domain = attempt_domain(a, &ctx), *server = attempt_server(a, &ctx, buf);
	bool hidden = filtered_out(c, domain, server);
	struct leg *winner = attempt_winner(a), *l;
	struct attempt_verdict v = {0};
	unsigned int lookups = (unsigned int)a->n_lookups;

	if (attempt_report(a, &ctx, hidden ? &silent : &c->handler, &v) < 0)
		correlator_refused(c);
	past_push(c, a, &v, &ctx);
	while ((l = TAILQ_FIRST(&a->legs))) {
		TAILQ_REMOVE(&a->legs, l, by_attempt);
		l->attempt = NULL;
		correlator_tap_done(c, l->key);
		if (l == winner && (v.outcome == OUTCOME_CONNECTED || v.outcome == OUTCOME_REGISTERED) && !hidden)
			session_open(c, l, a->id, domain, server);
		else
			leg_drop(c, l);
	}
	TAILQ_REMOVE(&p->attempts, a, by_process);
	TAILQ_REMOVE(&c->attempts, a, by_time);
	c->n_attempts--;
	attempt_free(a);
	while (lookups--)
		process_put(c, p);
	process_put(c, p);
}
