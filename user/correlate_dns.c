// SPDX-License-Identifier: BSD-2-Clause
/* Questions and answers: which lookup a message belongs to, and which attempt a lookup. See correlate_internal.h. */
#include "correlate_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- Their ends --- */

/* Told once it has ended and belongs to an attempt, whichever comes later. */
static void lookup_event(struct correlator *c, const struct lookup *l)
{
	struct report_upstream upstream[LOOKUP_UPSTREAM_MAX];
	struct report_lookup r;

	if (!c->handler.lookup || !l->attempt || l->state == LOOKUP_PENDING || attempt_hidden(c, l->attempt))
		return;
	attempt_fill_lookup(l, l->attempt->id, l->first_ns, &r, upstream);
	c->handler.lookup(&r, (int64_t)l->first_ns + c->realtime_offset, c->handler.arg);
}

void lookup_abandon(struct correlator *c, struct lookup *l, uint64_t ts)
{
	if (l->state != LOOKUP_PENDING)
		return;
	lookup_give_up(l, ts);
	lookup_event(c, l);
}

/* --- Lookups that belong to no attempt (yet) --- */

static void loose_add(struct correlator *c, struct lookup *l)
{
	TAILQ_INSERT_TAIL(&c->loose, l, by_age);
	TAILQ_INSERT_TAIL(&l->process->lookups, l, by_process);
	c->n_loose++;
	l->process->n_lookups++;
	correlator_due(c, l->last_ns + c->idle_ns);
}

static void loose_remove(struct correlator *c, struct lookup *l)
{
	TAILQ_REMOVE(&c->loose, l, by_age);
	TAILQ_REMOVE(&l->process->lookups, l, by_process);
	c->n_loose--;
	l->process->n_lookups--;
}

void loose_forget(struct correlator *c, struct lookup *l)
{
	struct process *p = l->process;

	loose_remove(c, l);
	lookup_free(l);
	process_put(c, p);
}

static void loose_refresh(struct correlator *c, struct lookup *l)
{
	TAILQ_REMOVE(&c->loose, l, by_age);
	TAILQ_INSERT_TAIL(&c->loose, l, by_age);
}

uint64_t lookup_activity(const struct lookup *l)
{
	return l->end_ns > l->last_ns ? l->end_ns : l->last_ns;
}

static void lookup_claim(struct correlator *c, const struct lookup *l)
{
	for (size_t i = 0; i < l->n_wires; i++) {
		claims_add_message(c->claims, l->wires[i].cookie, l->wires[i].id);
		claims_add_socket(c->claims, l->wires[i].cookie);
	}
	for (size_t i = 0; i < l->n_upstream; i++) {
		claims_add_message(c->claims, l->upstream[i].wire.cookie, l->upstream[i].wire.id);
		claims_add_socket(c->claims, l->upstream[i].wire.cookie);
	}
	claims_add_process(c->claims, (uint32_t)l->process->key);
}

void attempt_take_lookup(struct correlator *c, struct attempt *a, struct lookup *l)
{
	if (l->attempt)
		return;
	loose_remove(c, l);
	if (attempt_add_lookup(a, l) < 0) {
		struct process *p = l->process;

		a->missing |= MISSING_TRUNCATED;
		correlator_refused(c);
		lookup_free(l);
		process_put(c, p);
		return;
	}
	if (l->first_ns <= c->lossy_until)
		a->missing |= MISSING_LOST_EVENTS;
	lookup_claim(c, l);
	lookup_event(c, l);
}

/* --- DNS --- */

static struct lookup *lookup_by_wire(struct process *p, struct lookup_wire wire, const struct dns_message *m)
{
	struct attempt *a;
	struct lookup *l;

	TAILQ_FOREACH (a, &p->attempts, by_process)
		TAILQ_FOREACH (l, &a->lookups, by_attempt)
			if (lookup_has_wire(l, wire) &&
			    (!m->has_question || (l->type == m->qtype && dns_name_equal(l->name, m->qname))))
				return l;
	TAILQ_FOREACH (l, &p->lookups, by_process)
		if (lookup_has_wire(l, wire) &&
		    (!m->has_question || (l->type == m->qtype && dns_name_equal(l->name, m->qname))))
			return l;
	return NULL;
}

/* Is this message the same question going out once more? */
static bool lookup_repeats(const struct lookup *l, const struct dns_message *m, uint64_t cookie, uint32_t tid)
{
	bool same_id = false;

	if (l->type != m->qtype || !dns_name_equal(l->name, m->qname))
		return false;
	for (size_t i = 0; i < l->n_wires; i++)
		same_id |= l->wires[i].id == m->id;
	if (l->state == LOOKUP_PENDING)
		return same_id || l->tid == tid || lookup_on_socket(l, cookie);
	/* After an error a stub resolver asks the next server with the same message; a new attempt draws a new id. */
	return lookup_may_continue(l) && same_id && l->tid == tid;
}

static struct lookup *lookup_repeated(struct process *p, const struct dns_message *m, uint64_t cookie, uint32_t tid)
{
	struct attempt *a;
	struct lookup *l;

	TAILQ_FOREACH (a, &p->attempts, by_process)
		TAILQ_FOREACH (l, &a->lookups, by_attempt)
			if (lookup_repeats(l, m, cookie, tid))
				return l;
	TAILQ_FOREACH (l, &p->lookups, by_process)
		if (lookup_repeats(l, m, cookie, tid))
			return l;
	return NULL;
}

/* Do the domains differ only by a search suffix, if at all? */
static bool domains_related(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	const char *longer = na > nb ? a : b;
	size_t n = na > nb ? nb : na;

	return strncmp(a, b, n) == 0 && (longer[n] == '.' || longer[n] == '\0');
}

static bool attempt_srv_failed(const struct attempt *a)
{
	const struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (l->type == DNS_TYPE_SRV && !lookup_failure(l))
			return false;
	return TAILQ_EMPTY(&a->legs);
}

/* Does the SRV question for @domain go on with @a's search list? The stub resolver asks it in the same breath. */
static bool attempt_searches(const struct attempt *a, const struct lookup *l, const char *domain)
{
	return a->tid == l->tid && domains_related(a->domain, domain) && attempt_srv_failed(a) &&
	       l->first_ns < attempt_activity(a) + ATTEMPT_PAUSE_NS;
}

/*
 * The process asks for @a's domain (again): does it start over? Not while something of @a is outstanding: then another
 * thread, or an event loop, runs a second attempt beside it. Nor if nothing has gone wrong and no time has passed: then
 * @a is only between two steps.
 */
static bool attempt_restarts(const struct attempt *a, const struct lookup *l)
{
	bool pause = l->first_ns >= attempt_activity(a) + ATTEMPT_PAUSE_NS;

	if (attempt_asks(a) || attempt_connects(a))
		return false;
	return pause || (a->tid == l->tid && attempt_hurt(a));
}

/* The attempt that the matching SRV question @l belongs to: one that goes on (search list), or a new one. */
static struct attempt *attempt_for_srv(struct correlator *c, struct process *p, const struct lookup *l,
				       const char *domain)
{
	struct attempt *a, *next, *opened;

	for (a = TAILQ_FIRST(&p->attempts); a; a = next) {
		bool asked = attempt_find_lookup(a, l->name, DNS_TYPE_SRV);

		next = TAILQ_NEXT(a, by_process);
		if (!a->domain)
			continue;
		if (!asked && attempt_searches(a, l, domain)) {
			char *shorter = strlen(domain) < strlen(a->domain) ? strdup(domain) : NULL;

			if (shorter) {
				free(a->domain);
				a->domain = shorter;
			}
			return a;
		}
		/* Not asked: it went on with names that it knew from before. */
		if (!asked && (strcmp(a->domain, domain) != 0 || TAILQ_EMPTY(&a->legs)))
			continue;
		if (attempt_restarts(a, l))
			attempt_end(c, a, 0);
	}
	opened = attempt_open(c, p, l->tid, CONFIG_SRV, domain);
	if (!opened)
		return NULL;
	for (size_t i = 0; i < p->n_past; i++)
		if (p->past[i].domain && domains_related(p->past[i].domain, domain)) {
			attempt_chain(opened, &p->past[i]);
			break;
		}
	return opened;
}

/* The attempt in flight that waits for this name's address; the one of the same thread, which has not asked it yet,
 * first. */
static struct attempt *attempt_for_name(const struct correlator *c, struct process *p, uint32_t tid, const char *name,
					uint16_t type)
{
	struct attempt *a, *best = NULL;
	int best_score = -1;

	TAILQ_FOREACH (a, &p->attempts, by_process) {
		const struct leg *winner = attempt_winner(a);
		const struct lookup *asked = attempt_find_lookup(a, name, type);
		int score = (a->tid == tid ? 2 : 0) + (asked ? 0 : 1);

		if (winner && leg_tls_complete(winner))
			continue;
		if (!attempt_srv_target(a, name) && !(a->domain && dns_name_equal(a->domain, name)) &&
		    !(c->server && dns_name_equal(c->server, name)))
			continue;
		/* Asked again after a connect: the process starts over, and the connect to come will tell. */
		if (asked && asked->state != LOOKUP_PENDING && !TAILQ_EMPTY(&a->legs))
			continue;
		if (score > best_score) {
			best_score = score;
			best = a;
		}
	}
	return best;
}

static struct lookup *lookup_open(struct correlator *c, struct process *p, uint32_t tid, const char *qname,
				  uint16_t type)
{
	struct lookup *l;

	if (p->n_lookups >= PROCESS_LOOKUPS_MAX)
		loose_forget(c, TAILQ_FIRST(&p->lookups));
	else if (c->n_loose >= LOOKUPS_LOOSE_MAX)
		loose_forget(c, TAILQ_FIRST(&c->loose));
	l = lookup_new(qname, type);
	if (!l) {
		correlator_refused(c);
		return NULL;
	}
	l->process = p;
	l->tid = tid;
	p->refs++;
	return l;
}

/* The client has gone on to another question: what the same thread still waited for, it has given up. */
static void pending_give_up(struct correlator *c, struct attempt *a, const struct lookup *next, uint64_t ts)
{
	struct lookup *l;

	TAILQ_FOREACH (l, &a->lookups, by_attempt)
		if (l != next && l->tid == next->tid && !dns_name_equal(l->name, next->name))
			lookup_abandon(c, l, ts);
}

static void query_new(struct correlator *c, struct process *p, uint32_t tid, const struct dns_message *m,
		      struct lookup_wire wire, const struct cbt_endpoint *resolver, bool tcp, uint64_t ts)
{
	struct lookup *l = lookup_open(c, p, tid, m->qname, m->qtype);
	const char *domain;
	struct attempt *a = NULL;

	if (!l)
		return;
	lookup_query(l, wire, resolver, tcp, ts);
	domain = m->qtype == DNS_TYPE_SRV ? dns_component_domain(l->name) : NULL;
	if (domain) {
		a = attempt_for_srv(c, p, l, domain);
	} else if (lookup_is_address(l)) {
		a = attempt_for_name(c, p, tid, l->name, l->type);
		if (!a && c->server && dns_name_equal(c->server, l->name) && TAILQ_EMPTY(&p->attempts))
			a = attempt_open(c, p, tid, CONFIG_NAME, NULL);
	}
	loose_add(c, l);
	if (!a)
		return;
	attempt_take_lookup(c, a, l);
	pending_give_up(c, a, l, ts);
	attempt_touch(c, a);
}

/* Another question's, asked by a forwarder on its behalf: the latest client's with that name. */
static struct lookup *upstream_owner(struct correlator *c, const struct process *forwarder, const struct dns_message *m)
{
	struct attempt *a;
	struct lookup *l;
	size_t scanned = 0;

	TAILQ_FOREACH (a, &c->attempts, by_time)
		TAILQ_FOREACH (l, &a->lookups, by_attempt)
			if (l->process != forwarder && l->state == LOOKUP_PENDING && l->type == m->qtype &&
			    dns_name_equal(l->name, m->qname))
				return l;
	TAILQ_FOREACH_REVERSE (l, &c->loose, lookup_list, by_age) {
		if (++scanned > UPSTREAM_SCAN_MAX)
			break;
		if (l->process != forwarder && l->state == LOOKUP_PENDING && l->type == m->qtype &&
		    dns_name_equal(l->name, m->qname))
			return l;
	}
	return NULL;
}

static struct lookup_upstream *upstream_find(struct lookup *l, struct lookup_wire wire)
{
	for (size_t i = 0; i < l->n_upstream; i++)
		if (l->upstream[i].wire.cookie == wire.cookie && l->upstream[i].wire.id == wire.id)
			return &l->upstream[i];
	return NULL;
}

static void upstream_message(struct correlator *c, const struct process *p, const struct dns_message *m,
			     struct lookup_wire wire, const struct cbt_endpoint *resolver, uint64_t ts)
{
	struct lookup *l = m->has_question ? upstream_owner(c, p, m) : NULL;
	struct lookup_upstream *u;

	if (!l)
		return;
	u = upstream_find(l, wire);
	if (m->response) {
		if (u && !u->end_ns) {
			u->end_ns = ts;
			u->rcode = m->rcode;
		}
		return;
	}
	if (!u) {
		if (l->n_upstream == LOOKUP_UPSTREAM_MAX)
			return;
		u = &l->upstream[l->n_upstream++];
		*u = (struct lookup_upstream){.wire = wire, .first_ns = ts, .rcode = -1};
	}
	u->resolver = *resolver;
	u->queries++;
	if (l->attempt)
		lookup_claim(c, l);
	claims_add_process(c->claims, (uint32_t)p->key);
}

static void dns_message_seen(struct correlator *c, struct process *p, uint32_t tid, uint64_t cookie, bool tcp, int dir,
			     enum dns_status status, const struct cbt_endpoint *resolver, uint64_t ts)
{
	const struct dns_message *m = &c->message;
	struct lookup_wire wire = {cookie, m->id};
	struct lookup *l;

	/* A message that goes against its direction is no client's: mDNS, or somebody serving on a connected socket. */
	if (m->response != (dir == CBT_IN))
		return;
	if (p->forwarder) {
		upstream_message(c, p, m, wire, resolver, ts);
		return;
	}
	if (dir == CBT_OUT) {
		if (status == DNS_MALFORMED || !m->has_question)
			return;
		l = lookup_repeated(p, m, cookie, tid);
		if (!l) {
			query_new(c, p, tid, m, wire, resolver, tcp, ts);
			return;
		}
		lookup_query(l, wire, resolver, tcp, ts);
	} else {
		l = lookup_by_wire(p, wire, m);
		if (!l || l->state != LOOKUP_PENDING)
			return;
		if (lookup_answer(l, m, status, tcp, resolver, ts) < 0)
			correlator_refused(c);
		lookup_event(c, l);
	}
	if (l->attempt) {
		lookup_claim(c, l);
		attempt_touch(c, l->attempt);
	} else {
		loose_refresh(c, l);
	}
}

void correlate_dns(struct correlator *c, const struct cbt_ev_dns *ev)
{
	struct process *p = process_get(c, ev->h.tgid, ev->owner.comm);
	struct lookup *l;
	struct attempt *a;
	enum dns_status status;

	if (!p)
		return;
	if (ev->h.lost)
		TAILQ_FOREACH (a, &p->attempts, by_process)
			TAILQ_FOREACH (l, &a->lookups, by_attempt)
				l->lost |= lookup_on_socket(l, ev->h.cookie);
	status = dns_parse(ev->data, ev->data_len, ev->msg_len, &c->message);
	dns_message_seen(c, p, ev->h.tid, ev->h.cookie, false, ev->dir, status, &ev->remote, ev->h.ts);
}

/* --- DNS over TCP --- */

void dns_conn_drop(struct correlator *c, struct dns_conn *d)
{
	struct process *p = d->process;

	table_remove(c->dns_conns, d->key);
	TAILQ_REMOVE(&c->dns_conns_by_age, d, by_age);
	stream_free(d->stream[0]);
	stream_free(d->stream[1]);
	free(d);
	process_put(c, p);
}

void dns_conn_open(struct correlator *c, const struct cbt_ev_connect *ev)
{
	struct process *p = process_get(c, ev->h.tgid, ev->owner.comm);
	struct dns_conn *d = table_find(c->dns_conns, ev->h.cookie);

	if (d)
		dns_conn_drop(c, d);
	if (!p)
		return;
	if (table_count(c->dns_conns) >= DNS_CONNS_MAX)
		dns_conn_drop(c, TAILQ_FIRST(&c->dns_conns_by_age));
	d = calloc(1, sizeof(*d));
	if (!d) {
		correlator_refused(c);
		return;
	}
	d->key = ev->h.cookie;
	d->tid = ev->h.tid;
	d->remote = ev->remote;
	d->process = p;
	d->stream[0] = stream_new();
	d->stream[1] = stream_new();
	if (!d->stream[0] || !d->stream[1] || table_insert(c->dns_conns, d) < 0) {
		stream_free(d->stream[0]);
		stream_free(d->stream[1]);
		free(d);
		correlator_refused(c);
		return;
	}
	p->refs++;
	TAILQ_INSERT_TAIL(&c->dns_conns_by_age, d, by_age);
}

/* Messages that are whole now: a two-byte length, then the message (RFC 1035 section 4.2.2). */
static void dns_conn_read(struct correlator *c, struct dns_conn *d, int dir)
{
	struct stream *s = d->stream[dir];
	const uint8_t *data;

	for (;;) {
		uint64_t off = d->off[dir], ts;
		size_t have = stream_peek(s, off, &data), len;
		enum dns_status status;

		if (have < 2)
			return;
		len = (size_t)data[0] << 8 | data[1];
		if (have < 2 + len)
			return;
		/* A question counts from its first byte out, an answer to its last byte in. */
		ts = stream_time(s, dir == CBT_OUT ? off + 1 : off + 2 + len);
		if (!ts)
			ts = c->now;
		status = dns_parse(data + 2, len, len, &c->message);
		d->off[dir] = off + 2 + len;
		stream_discard(s, d->off[dir]);
		dns_message_seen(c, d->process, d->tid, d->key, true, dir, status, &d->remote, ts);
	}
}

void dns_conn_segment(struct correlator *c, struct dns_conn *d, const struct cbt_ev_tcp *ev)
{
	struct stream *s = d->stream[ev->dir];
	uint32_t first = ev->seq + (ev->flags & CBT_TCP_SYN ? 1 : 0);

	if (ev->part == CBT_PART_FIRST) {
		if (ev->flags & CBT_TCP_SYN)
			stream_set_isn(s, ev->seq);
		if (ev->seg_len)
			stream_segment(s, first, ev->seg_len, ev->h.ts);
	}
	if (ev->data_len)
		(void)stream_bytes(s, first + ev->data_off, ev->data, ev->data_len);
	dns_conn_read(c, d, ev->dir);
}
