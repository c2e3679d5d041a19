// SPDX-License-Identifier: BSD-2-Clause
/* Connects: which attempt a leg belongs to, and what its events change. See correlate_internal.h. */
#include "correlate_internal.h"

#include <stdlib.h>
#include <string.h>

static struct lookup *loose_with_addr(struct process *p, uint32_t tid, const uint8_t addr[16])
{
	struct lookup *l, *best = NULL;

	TAILQ_FOREACH_REVERSE (l, &p->lookups, lookup_list, by_process) {
		if (!lookup_is_address(l) || !lookup_has_addr(l, addr))
			continue;
		if (l->tid == tid)
			return l;
		if (!best)
			best = l;
	}
	return best;
}

/* A and AAAA of one name belong together. */
static void loose_take_name(struct correlator *c, struct attempt *a, struct process *p, const char *name)
{
	struct lookup *l, *next;
	char *copy = strdup(name);

	for (l = copy ? TAILQ_FIRST(&p->lookups) : NULL; l; l = next) {
		next = TAILQ_NEXT(l, by_process);
		if (lookup_is_address(l) && dns_name_equal(l->name, copy))
			attempt_take_lookup(c, a, l);
	}
	free(copy);
}

/* May the process be starting over, which ends @a? Not while a connection of it lives: then another thread, or an event
 * loop, runs a second attempt beside it. Another thread takes over only after a pause; sooner it is on its own. */
static bool attempt_may_restart(const struct attempt *a, uint32_t tid, uint64_t now)
{
	return !attempt_connects(a) && (a->tid == tid || now >= attempt_activity(a) + ATTEMPT_PAUSE_NS);
}

/* An attempt in flight takes the connect if its answers named address and port; the same thread's first, then one that
 * has no leg yet. One that tried the address already is only what the process may be starting over from. */
static struct attempt *attempt_for_connect(const struct correlator *c, struct process *p,
					   const struct cbt_ev_connect *ev, const struct leg **ret_tried)
{
	const struct cbt_endpoint *remote = &ev->remote;
	struct attempt *a, *best = NULL;
	int best_score = -1;

	*ret_tried = NULL;
	TAILQ_FOREACH (a, &p->attempts, by_process) {
		const struct leg *winner = attempt_winner(a), *tried = attempt_leg_to(a, remote);
		const struct lookup *l = attempt_addr_lookup(a, remote->addr);
		bool port = attempt_srv_port(a, remote->port) || correlator_traces(c, remote->port);
		int score = (a->tid == ev->h.tid ? 2 : 0) + (TAILQ_EMPTY(&a->legs) ? 1 : 0);

		if (!tried && !(l && port))
			continue;
		/* One that is connected wants no further leg; the next connect is another attempt. */
		if (winner && leg_tls_complete(winner) && !leg_failed(winner) && !tried)
			continue;
		if (!tried)
			score += 8;
		else if (attempt_may_restart(a, ev->h.tid, ev->h.ts))
			score += 4;
		if (score > best_score) {
			best_score = score;
			best = a;
			*ret_tried = tried;
		}
	}
	return best;
}

/* No answer was seen for the address (hosts file, cache, nscd), yet an SRV answer named the port. */
static struct attempt *attempt_for_port(struct process *p, uint32_t tid, uint16_t port)
{
	struct attempt *a, *best = NULL;

	TAILQ_FOREACH (a, &p->attempts, by_process) {
		const struct leg *winner = attempt_winner(a);

		if (!attempt_srv_port(a, port) || (winner && leg_tls_complete(winner)))
			continue;
		if (!best || (a->tid == tid && best->tid != tid))
			best = a;
	}
	return best;
}

static const struct past *past_for_connect(const struct process *p, const struct cbt_endpoint *remote)
{
	for (size_t i = 0; i < p->n_past; i++)
		if (past_has_address(&p->past[i], remote))
			return &p->past[i];
	return NULL;
}

static struct attempt *attempt_inherit(struct correlator *c, struct process *p, uint32_t tid, const struct past *past)
{
	struct attempt *a = attempt_open(c, p, tid, past->config, past->domain);

	if (!a)
		return NULL;
	if (past->server)
		a->server = strdup(past->server);
	attempt_chain(a, past);
	return a;
}

/* A second one beside @a, which goes on: the same names, no retry. */
static struct attempt *attempt_beside(struct correlator *c, const struct attempt *a, uint32_t tid,
				      const struct leg *tried)
{
	const char *server = tried->target ? tried->target : a->server;
	struct attempt *b = attempt_open(c, a->process, tid, a->config, a->domain);

	if (b && server)
		b->server = strdup(server);
	return b;
}

/* Whose is this connect? Opens an attempt where it begins one. NULL: nobody's. */
static struct attempt *connect_assign(struct correlator *c, struct process *p, const struct cbt_ev_connect *ev)
{
	const struct cbt_endpoint *remote = &ev->remote;
	bool traced = correlator_traces(c, remote->port);
	const struct leg *tried;
	struct attempt *a = attempt_for_connect(c, p, ev, &tried);
	struct lookup *l = loose_with_addr(p, ev->h.tid, remote->addr);
	const struct past *past;

	if (tried && !attempt_may_restart(a, ev->h.tid, ev->h.ts)) {
		a = attempt_beside(c, a, ev->h.tid, tried);
	} else if (tried) {
		/* The same address once more: the process starts over. */
		attempt_end(c, a, 0);
		past = past_for_connect(p, remote);
		a = past ? attempt_inherit(c, p, ev->h.tid, past) : NULL;
	}
	if (!a && l) {
		a = attempt_for_port(p, ev->h.tid, remote->port);
		if (!a && traced) {
			past = past_for_connect(p, remote);
			a = past ? attempt_inherit(c, p, ev->h.tid, past)
				 : attempt_open(c, p, ev->h.tid, CONFIG_NAME, NULL);
		}
	}
	if (!a)
		a = attempt_for_port(p, ev->h.tid, remote->port);
	if (!a && (past = past_for_connect(p, remote)))
		a = attempt_inherit(c, p, ev->h.tid, past);
	if (!a && traced)
		a = attempt_open(c, p, ev->h.tid, CONFIG_ADDRESS, NULL);
	if (a && l && !l->attempt)
		loose_take_name(c, a, p, l->name);
	return a;
}

/* Which name and SRV record led here. */
static void leg_name(const struct attempt *a, struct leg *l)
{
	const struct lookup *addr = attempt_addr_lookup(a, l->remote.addr), *s;
	const struct report_answer *srv = NULL;
	const char *target = NULL;

	if (addr) {
		srv = attempt_srv_target(a, addr->name);
		target = srv ? srv->target : addr->name;
		/* Several records may name the target: the one with this port. */
		TAILQ_FOREACH (s, &a->lookups, by_attempt)
			if (srv && lookup_srv_target(s, srv->target, l->remote.port))
				srv = lookup_srv_target(s, srv->target, l->remote.port);
	} else {
		l->inferred = true;
		/* Only if the port leaves one target can it be named. */
		TAILQ_FOREACH (s, &a->lookups, by_attempt)
			for (size_t i = 0; s->type == DNS_TYPE_SRV && i < s->n_answers; i++) {
				const struct report_answer *r = &s->answers[i];

				if (r->type != DNS_TYPE_SRV || r->port != l->remote.port)
					continue;
				if (srv && !dns_name_equal(srv->target, r->target))
					return;
				srv = r;
			}
		target = srv ? srv->target : NULL;
	}
	l->target = target ? strdup(target) : NULL;
	if (srv) {
		l->priority = srv->priority;
		l->weight = srv->weight;
	}
}

/* The other attempt of the process in flight that wants @sni and could have made this connect; one without a leg first.
 */
static struct attempt *attempt_for_sni(const struct leg *l, const char *sni)
{
	struct attempt *a, *best = NULL;

	TAILQ_FOREACH (a, &l->process->attempts, by_process) {
		const struct leg *winner = attempt_winner(a);

		if (a == l->attempt || a->n_legs == ATTEMPT_LEGS_MAX || !attempt_names_server(a, sni))
			continue;
		if (!attempt_addr_lookup(a, l->remote.addr) && !attempt_srv_port(a, l->remote.port))
			continue;
		if (winner && leg_tls_complete(winner))
			continue;
		if (!best || (TAILQ_EMPTY(&a->legs) && !TAILQ_EMPTY(&best->legs)))
			best = a;
	}
	return best;
}

/* One thread may run several attempts (an event loop), and their servers may share an address: only the name that the
 * ClientHello asks for tells whose connection it is. */
static void leg_compare_sni(struct correlator *c, struct leg *l)
{
	struct attempt *from = l->attempt, *to;
	const char *sni = leg_handshake(l)->client.sni;

	if (l->sni_compared || !sni[0])
		return;
	l->sni_compared = true;
	/* An attempt must keep something that tells when it was. */
	if (attempt_names_server(from, sni) || (from->n_legs == 1 && !from->n_lookups))
		return;
	to = attempt_for_sni(l, sni);
	if (!to)
		return;
	TAILQ_REMOVE(&from->legs, l, by_attempt);
	from->n_legs--;
	(void)attempt_add_leg(to, l); /* there is room */
	free(l->target);
	l->target = NULL;
	l->priority = l->weight = -1;
	l->inferred = false;
	leg_name(to, l);
	attempt_touch(c, from);
}

static void leg_event(struct correlator *c, const struct leg *l)
{
	struct report_leg r;

	if (!c->handler.leg || !l->attempt || attempt_hidden(c, l->attempt))
		return;
	attempt_fill_leg(l, l->attempt->id, leg_tcp_start(l), &r);
	c->handler.leg(&r, (int64_t)leg_tcp_start(l) + c->realtime_offset, c->handler.arg);
}

/* After anything that may have changed a leg. */
static void leg_changed(struct correlator *c, struct leg *l, bool had_tcp_end)
{
	if (!had_tcp_end && leg_tcp_end(l))
		leg_event(c, l);
	if (l->attempt)
		attempt_touch(c, l->attempt);
	else if (l->session)
		session_changed(c, l);
}

/* The socket connects again, so its connection is over: the old leg stays in its attempt's report, the new one takes
 * the cookie. */
static void leg_succeeded(struct correlator *c, struct leg *l, uint64_t ts)
{
	bool had_end = leg_tcp_end(l);

	leg_release(l, ts);
	if (l->session) {
		session_end(c, l);
		return;
	}
	table_remove(c->legs, l->key);
	leg_changed(c, l, had_end);
}

void correlate_connect(struct correlator *c, const struct cbt_ev_connect *ev)
{
	struct process *p;
	struct attempt *a;
	struct leg *l;

	if (ev->why == CBT_WHY_DNS) {
		dns_conn_open(c, ev);
		return;
	}
	p = process_get(c, ev->h.tgid, ev->owner.comm);
	if (!p)
		return;
	l = table_find(c->legs, ev->h.cookie);
	if (l)
		leg_succeeded(c, l, ev->h.ts);
	a = connect_assign(c, p, ev);
	if (!a) {
		correlator_tap_done(c, ev->h.cookie);
		return;
	}
	if (table_count(c->legs) >= LEGS_MAX || !(l = leg_new(ev))) {
		a->missing |= MISSING_TRUNCATED;
		correlator_refused(c);
		return;
	}
	l->process = p;
	leg_name(a, l);
	if (attempt_add_leg(a, l) < 0 || table_insert(c->legs, l) < 0) {
		if (l->attempt)
			TAILQ_REMOVE(&a->legs, l, by_attempt);
		leg_free(l);
		a->missing |= MISSING_TRUNCATED;
		correlator_refused(c);
		return;
	}
	p->refs++;
	claims_add_socket(c->claims, l->key);
	claims_add_process(c->claims, (uint32_t)p->key);
	attempt_touch(c, a);
}

void correlate_tcp(struct correlator *c, const struct cbt_ev_tcp *ev)
{
	struct dns_conn *d = table_find(c->dns_conns, ev->h.cookie);
	struct leg *l = table_find(c->legs, ev->h.cookie);
	bool had_end;

	if (d) {
		dns_conn_segment(c, d, ev);
		return;
	}
	/* Once the attempt is reported the leg's buffers are gone; the session lives by its states. */
	if (!l || !l->attempt)
		return;
	if (ev->h.lost)
		l->lost = true;
	had_end = leg_tcp_end(l);
	leg_segment(l, ev);
	leg_join(c, l);
	leg_compare_sni(c, l);
	leg_changed(c, l, had_end);
}

void correlate_state(struct correlator *c, const struct cbt_ev_state *ev)
{
	struct leg *l = table_find(c->legs, ev->h.cookie);
	struct dns_conn *d = table_find(c->dns_conns, ev->h.cookie);
	bool had_end;

	if (d && ev->new_state == CBT_TCP_CLOSE)
		dns_conn_drop(c, d);
	if (!l)
		return;
	had_end = leg_tcp_end(l);
	leg_state(l, ev);
	leg_changed(c, l, had_end);
}

static void give_up_socket(struct correlator *c, struct lookup_list *list, bool loose, uint64_t cookie, uint64_t ts)
{
	struct lookup *l;

	for (l = TAILQ_FIRST(list); l; l = loose ? TAILQ_NEXT(l, by_process) : TAILQ_NEXT(l, by_attempt)) {
		/* Only the socket that carried it last: an earlier resolver's may be closed while the next is asked. */
		if (l->state == LOOKUP_PENDING && l->n_wires && l->wires[l->n_wires - 1].cookie == cookie &&
		    !l->truncated)
			lookup_abandon(c, l, ts);
	}
}

void correlate_release(struct correlator *c, const struct cbt_ev_release *ev)
{
	struct leg *l = table_find(c->legs, ev->h.cookie);
	struct process *p = process_find(c, ev->h.tgid);
	struct attempt *a;
	bool had_end;

	if (l) {
		had_end = leg_tcp_end(l);
		leg_release(l, ev->h.ts);
		leg_changed(c, l, had_end);
		return;
	}
	if (!p)
		return;
	give_up_socket(c, &p->lookups, true, ev->h.cookie, ev->h.ts);
	TAILQ_FOREACH (a, &p->attempts, by_process) {
		give_up_socket(c, &a->lookups, false, ev->h.cookie, ev->h.ts);
		attempt_touch(c, a);
	}
}
