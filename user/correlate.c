// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which event belongs to which attempt. This file owns the tables (processes, legs, DNS connections, attempts in
 * flight), their bounds and their expiry; what a lookup, a leg or an attempt means is in their own files.
 *
 * Bounds, and what goes first when one is reached: processes without anything in flight, longest unseen; questions that
 * belong to no attempt, longest silent. An attempt or a leg in flight is never evicted for another: beyond the bound
 * the new one is refused and counted.
 */
#include "correlate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attempt_report.h"
#include "claims.h"
#include "dns.h"
#include "process.h"
#include "session.h"
#include "table.h"

#define PROCESSES_MAX	  4096
#define ATTEMPTS_MAX	  4096
#define LEGS_MAX	  16384
#define DNS_CONNS_MAX	  1024
#define LOOKUPS_LOOSE_MAX 16384
#define UPSTREAM_SCAN_MAX 1024 /* questions looked at for a forwarder's */
#define IDLE_DEFAULT_NS	  10000000000ULL

/* DNS over TCP: one connection to port 53. */
struct dns_conn {
	uint64_t key; /* cookie */
	TAILQ_ENTRY(dns_conn) by_age;
	struct process *process;
	uint32_t tid;
	struct cbt_endpoint remote;
	struct stream *stream[2];
	uint64_t off[2]; /* next message */
};
TAILQ_HEAD(dns_conn_list, dns_conn);

struct correlator {
	struct report_handler handler;
	char *domain, *server;
	uint16_t *ports;
	size_t n_ports;
	uint64_t idle_ns;

	uint64_t now; /* greatest time seen */
	uint64_t next_due;
	int64_t realtime_offset;
	char host[CBT_NAME_LEN];

	struct cert_cache *certs;
	struct claims *claims;
	struct table *processes, *legs, *dns_conns;
	struct process_list processes_by_age;
	struct dns_conn_list dns_conns_by_age;
	struct attempt_list attempts;
	size_t n_attempts;
	struct lookup_list loose; /* lookups of no attempt, longest silent first */
	size_t n_loose;
	uint64_t last_attempt_id, last_session_id;
	uint64_t refused; /* table bounds met */
	struct report_lost lost;
	struct dns_message message; /* too big for a stack */
};

static void attempt_end(struct correlator *c, struct attempt *a, uint64_t interrupted_ns);

static void table_refused(struct correlator *c)
{
	c->refused++;
	c->lost.count[CBT_LOST_TABLE] = c->refused;
	if (c->handler.lost)
		c->handler.lost(&c->lost, c->handler.arg);
}

static void tap_done(struct correlator *c, uint64_t cookie)
{
	if (c->handler.tap_done)
		c->handler.tap_done(cookie, c->handler.arg);
}

static bool port_traced(const struct correlator *c, uint16_t port)
{
	for (size_t i = 0; i < c->n_ports; i++)
		if (c->ports[i] == port)
			return true;
	return false;
}

static void due_at(struct correlator *c, uint64_t ts)
{
	if (ts && ts < c->next_due)
		c->next_due = ts;
}

static void attempt_touch(struct correlator *c, struct attempt *a)
{
	a->deadline = attempt_deadline(a, c->idle_ns);
	due_at(c, a->deadline);
}

/* --- Processes --- */

static void past_free(struct past *p)
{
	free(p->domain);
	free(p->server);
	*p = (struct past){0};
}

static void process_free(struct process *p)
{
	for (size_t i = 0; i < p->n_past; i++)
		past_free(&p->past[i]);
	free(p->cgroup);
	free(p);
}

static void process_drop(struct correlator *c, struct process *p)
{
	if (table_find(c->processes, p->key) == p)
		table_remove(c->processes, p->key);
	TAILQ_REMOVE(&c->processes_by_age, p, by_age);
	process_free(p);
}

static void process_put(struct correlator *c, struct process *p)
{
	p->refs--;
	/* Alive ones stay for their past; dead ones that something newer replaced, or that nothing needs, go. */
	if (!p->refs && p->exit_ns)
		process_drop(c, p);
}

static void process_evict(struct correlator *c)
{
	struct process *p;

	TAILQ_FOREACH(p, &c->processes_by_age, by_age)
	if (!p->refs) {
		process_drop(c, p);
		return;
	}
}

static struct process *process_find(const struct correlator *c, uint32_t tgid)
{
	return table_find(c->processes, tgid);
}

/* The process of an event that shows it alive; made if unknown. NULL if there is no room. */
static struct process *process_get(struct correlator *c, uint32_t tgid, const char *comm)
{
	struct process *p = process_find(c, tgid);

	if (p && p->exit_ns) {
		/* The pid is in use again. */
		table_remove(c->processes, tgid);
		if (!p->refs)
			process_drop(c, p);
		p = NULL;
	}
	if (!p) {
		if (table_count(c->processes) >= PROCESSES_MAX)
			process_evict(c);
		if (table_count(c->processes) >= PROCESSES_MAX || !(p = calloc(1, sizeof(*p)))) {
			table_refused(c);
			return NULL;
		}
		p->key = tgid;
		TAILQ_INIT(&p->lookups);
		TAILQ_INIT(&p->attempts);
		if (table_insert(c->processes, p) < 0) {
			free(p);
			table_refused(c);
			return NULL;
		}
		TAILQ_INSERT_TAIL(&c->processes_by_age, p, by_age);
	} else {
		TAILQ_REMOVE(&c->processes_by_age, p, by_age);
		TAILQ_INSERT_TAIL(&c->processes_by_age, p, by_age);
	}
	if (comm && comm[0])
		memcpy(p->comm, comm, sizeof(p->comm));
	return p;
}

/* --- Lookups that belong to no attempt (yet) --- */

static void loose_add(struct correlator *c, struct lookup *l)
{
	TAILQ_INSERT_TAIL(&c->loose, l, by_age);
	TAILQ_INSERT_TAIL(&l->process->lookups, l, by_process);
	c->n_loose++;
	l->process->n_lookups++;
	due_at(c, l->last_ns + c->idle_ns);
}

static void loose_remove(struct correlator *c, struct lookup *l)
{
	TAILQ_REMOVE(&c->loose, l, by_age);
	TAILQ_REMOVE(&l->process->lookups, l, by_process);
	c->n_loose--;
	l->process->n_lookups--;
}

static void loose_forget(struct correlator *c, struct lookup *l)
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

static uint64_t lookup_activity(const struct lookup *l)
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

static void attempt_take_lookup(struct correlator *c, struct attempt *a, struct lookup *l)
{
	if (l->attempt)
		return;
	loose_remove(c, l);
	if (attempt_add_lookup(a, l) < 0) {
		struct process *p = l->process;

		a->missing |= MISSING_TRUNCATED;
		table_refused(c);
		lookup_free(l);
		process_put(c, p);
		return;
	}
	lookup_claim(c, l);
}

/* --- Attempts --- */

static struct attempt *attempt_open(struct correlator *c, struct process *p, uint32_t tid, enum config config,
				    const char *domain)
{
	struct attempt *a;

	if (c->n_attempts >= ATTEMPTS_MAX || !(a = attempt_new(p, tid, config, domain))) {
		table_refused(c);
		return NULL;
	}
	a->id = ++c->last_attempt_id;
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

static bool past_has_address(const struct past *p, const struct cbt_endpoint *remote)
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
	TAILQ_FOREACH(leg, &a->legs, by_attempt)
	past_add_address(&n, leg->remote.addr, leg->remote.port);
	TAILQ_FOREACH(l, &a->lookups, by_attempt)
	{
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

static void attempt_chain(struct attempt *a, const struct past *past)
{
	if (past->outcome != OUTCOME_FAILED && past->outcome != OUTCOME_ABANDONED)
		return;
	a->retry_of = past->id;
	a->retry_from_ns = past->end_ns;
}

static void leg_drop(struct correlator *c, struct leg *l)
{
	struct process *p = l->process;

	/* A socket that connected again has handed its cookie to the next leg. */
	if (table_find(c->legs, l->key) == l)
		table_remove(c->legs, l->key);
	session_free(l->session);
	leg_free(l);
	process_put(c, p);
}

static void session_end(struct correlator *c, struct leg *l)
{
	session_report(l->session, l, c->realtime_offset, &c->handler);
	leg_drop(c, l);
}

/* The winner of a connected attempt lives on as a session: reported up first even if it has ended meanwhile, so that
 * its two lines pair. */
static void session_open(struct correlator *c, struct leg *l, uint64_t attempt_id, const char *domain,
			 const char *server)
{
	struct leg up = *l;

	l->session = session_new(++c->last_session_id, attempt_id, leg_handshake(l)->complete_ns, domain, server);
	if (!l->session) {
		table_refused(c);
		leg_drop(c, l);
		return;
	}
	tls_conn_finish(l->tls);
	up.rst_in_ns = up.rst_out_ns = up.fin_in_ns = up.fin_out_ns = up.closed_ns = up.released_ns = 0;
	session_report(l->session, &up, c->realtime_offset, &c->handler);
	if (leg_end(l))
		session_end(c, l);
}

static bool filtered_out(const struct correlator *c, const char *domain, const char *server)
{
	return (c->domain && domain && !dns_name_equal(domain, c->domain)) ||
	       (c->server && server && !dns_name_equal(server, c->server));
}

static void attempt_end(struct correlator *c, struct attempt *a, uint64_t interrupted_ns)
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
		table_refused(c);
	past_push(c, a, &v, &ctx);
	while ((l = TAILQ_FIRST(&a->legs))) {
		TAILQ_REMOVE(&a->legs, l, by_attempt);
		l->attempt = NULL;
		tap_done(c, l->key);
		if (l == winner && v.outcome == OUTCOME_CONNECTED && !hidden)
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

/* --- DNS --- */

static struct lookup *lookup_by_wire(struct process *p, struct lookup_wire wire, const struct dns_message *m)
{
	struct attempt *a;
	struct lookup *l;

	TAILQ_FOREACH(a, &p->attempts, by_process)
	TAILQ_FOREACH(l, &a->lookups, by_attempt)
	if (lookup_has_wire(l, wire) &&
	    (!m->has_question || (l->type == m->qtype && dns_name_equal(l->name, m->qname))))
		return l;
	TAILQ_FOREACH(l, &p->lookups, by_process)
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

	TAILQ_FOREACH(a, &p->attempts, by_process)
	TAILQ_FOREACH(l, &a->lookups, by_attempt)
	if (lookup_repeats(l, m, cookie, tid))
		return l;
	TAILQ_FOREACH(l, &p->lookups, by_process)
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

	TAILQ_FOREACH(l, &a->lookups, by_attempt)
	if (l->type == DNS_TYPE_SRV && !lookup_failure(l))
		return false;
	return TAILQ_EMPTY(&a->legs);
}

/* The attempt that a matching SRV question belongs to: one that goes on (search list), or a new one. */
static struct attempt *attempt_for_srv(struct correlator *c, struct process *p, uint32_t tid, const char *qname,
				       const char *domain)
{
	struct attempt *a, *next, *opened;

	for (a = TAILQ_FIRST(&p->attempts); a; a = next) {
		const struct lookup *same = attempt_find_lookup(a, qname, DNS_TYPE_SRV);

		next = TAILQ_NEXT(a, by_process);
		if (!a->domain || !domains_related(a->domain, domain))
			continue;
		if (!same && !TAILQ_EMPTY(&a->legs) && a->tid == tid && strcmp(a->domain, domain) == 0) {
			/* It went on with names that it knew; now it asks again. */
			attempt_end(c, a, 0);
			continue;
		}
		if (!same) {
			if (!attempt_srv_failed(a))
				continue;
			if (strlen(domain) < strlen(a->domain)) {
				char *shorter = strdup(domain);

				if (shorter) {
					free(a->domain);
					a->domain = shorter;
				}
			}
			return a;
		}
		/* Asked and answered, and asked anew: the process starts over. While it is pending, another thread runs
		 * its own attempt. */
		if (same->state != LOOKUP_PENDING)
			attempt_end(c, a, 0);
	}
	opened = attempt_open(c, p, tid, CONFIG_SRV, domain);
	if (!opened)
		return NULL;
	for (size_t i = 0; i < p->n_past; i++)
		if (p->past[i].domain && strcmp(p->past[i].domain, domain) == 0) {
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

	TAILQ_FOREACH(a, &p->attempts, by_process)
	{
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
		table_refused(c);
		return NULL;
	}
	l->process = p;
	l->tid = tid;
	p->refs++;
	return l;
}

/* The client has gone on to another question: what the same thread still waited for, it has given up. */
static void pending_give_up(struct attempt *a, const struct lookup *next, uint64_t ts)
{
	struct lookup *l;

	TAILQ_FOREACH(l, &a->lookups, by_attempt)
	if (l != next && l->tid == next->tid && l->state == LOOKUP_PENDING && !dns_name_equal(l->name, next->name))
		lookup_give_up(l, ts);
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
		a = attempt_for_srv(c, p, tid, l->name, domain);
	} else if (lookup_is_address(l)) {
		a = attempt_for_name(c, p, tid, l->name, l->type);
		if (!a && c->server && dns_name_equal(c->server, l->name) && TAILQ_EMPTY(&p->attempts))
			a = attempt_open(c, p, tid, CONFIG_NAME, NULL);
	}
	loose_add(c, l);
	if (!a)
		return;
	attempt_take_lookup(c, a, l);
	pending_give_up(a, l, ts);
	attempt_touch(c, a);
}

static void lookup_event(struct correlator *c, const struct lookup *l)
{
	struct report_upstream upstream[LOOKUP_UPSTREAM_MAX];
	struct report_lookup r;

	if (!c->handler.lookup || !l->attempt)
		return;
	attempt_fill_lookup(l, l->attempt->id, l->first_ns, &r, upstream);
	c->handler.lookup(&r, (int64_t)l->first_ns + c->realtime_offset, c->handler.arg);
}

/* Another question's, asked by a forwarder on its behalf: the latest client's with that name. */
static struct lookup *upstream_owner(struct correlator *c, const struct process *forwarder, const struct dns_message *m)
{
	struct attempt *a;
	struct lookup *l;
	size_t scanned = 0;

	TAILQ_FOREACH(a, &c->attempts, by_time)
	TAILQ_FOREACH(l, &a->lookups, by_attempt)
	if (l->process != forwarder && l->state == LOOKUP_PENDING && l->type == m->qtype &&
	    dns_name_equal(l->name, m->qname))
		return l;
	TAILQ_FOREACH_REVERSE(l, &c->loose, lookup_list, by_age)
	{
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
			table_refused(c);
		if (l->state == LOOKUP_ANSWERED)
			lookup_event(c, l);
	}
	if (l->attempt) {
		lookup_claim(c, l);
		attempt_touch(c, l->attempt);
	} else {
		loose_refresh(c, l);
	}
}

static void on_dns(struct correlator *c, const struct cbt_ev_dns *ev)
{
	struct process *p = process_get(c, ev->h.tgid, ev->owner.comm);
	struct lookup *l;
	struct attempt *a;
	enum dns_status status;

	if (!p)
		return;
	if (ev->h.lost)
		TAILQ_FOREACH(a, &p->attempts, by_process)
	TAILQ_FOREACH(l, &a->lookups, by_attempt)
	l->lost |= lookup_on_socket(l, ev->h.cookie);
	status = dns_parse(ev->data, ev->data_len, ev->msg_len, &c->message);
	dns_message_seen(c, p, ev->h.tid, ev->h.cookie, false, ev->dir, status, &ev->remote, ev->h.ts);
}

/* --- DNS over TCP --- */

static void dns_conn_drop(struct correlator *c, struct dns_conn *d)
{
	struct process *p = d->process;

	table_remove(c->dns_conns, d->key);
	TAILQ_REMOVE(&c->dns_conns_by_age, d, by_age);
	stream_free(d->stream[0]);
	stream_free(d->stream[1]);
	free(d);
	process_put(c, p);
}

static void dns_conn_open(struct correlator *c, const struct cbt_ev_connect *ev)
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
		table_refused(c);
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
		table_refused(c);
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

static void dns_conn_segment(struct correlator *c, struct dns_conn *d, const struct cbt_ev_tcp *ev)
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

/* --- Legs --- */

static struct lookup *loose_with_addr(struct process *p, uint32_t tid, const uint8_t addr[16])
{
	struct lookup *l, *best = NULL;

	TAILQ_FOREACH_REVERSE(l, &p->lookups, lookup_list, by_process)
	{
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

/* An attempt in flight takes the connect if its answers named address and port; the same thread's first, then one that
 * has no leg yet. */
static struct attempt *attempt_for_connect(const struct correlator *c, struct process *p, uint32_t tid,
					   const struct cbt_endpoint *remote, bool *ret_tried)
{
	struct attempt *a, *best = NULL;
	int best_score = -1;

	*ret_tried = false;
	TAILQ_FOREACH(a, &p->attempts, by_process)
	{
		const struct leg *winner = attempt_winner(a);
		const struct lookup *l = attempt_addr_lookup(a, remote->addr);
		bool tried = attempt_tried(a, remote);
		bool port = attempt_srv_port(a, remote->port) || port_traced(c, remote->port);
		int score = (a->tid == tid ? 2 : 0) + (TAILQ_EMPTY(&a->legs) ? 1 : 0) + (tried ? 0 : 4);

		if (!tried && !(l && port))
			continue;
		/* One that is connected wants no further leg; the next connect is another attempt. */
		if (winner && leg_tls_complete(winner) && !leg_failed(winner) && !tried)
			continue;
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

	TAILQ_FOREACH(a, &p->attempts, by_process)
	{
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

/* Whose is this connect? Opens an attempt where it begins one. NULL: nobody's. */
static struct attempt *connect_assign(struct correlator *c, struct process *p, const struct cbt_ev_connect *ev)
{
	const struct cbt_endpoint *remote = &ev->remote;
	bool traced = port_traced(c, remote->port), tried;
	struct attempt *a = attempt_for_connect(c, p, ev->h.tid, remote, &tried);
	struct lookup *l = loose_with_addr(p, ev->h.tid, remote->addr);
	const struct past *past;

	if (a && tried) {
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
		TAILQ_FOREACH(s, &a->lookups, by_attempt)
		if (srv && lookup_srv_target(s, srv->target, l->remote.port))
			srv = lookup_srv_target(s, srv->target, l->remote.port);
	} else {
		l->inferred = true;
		/* Only if the port leaves one target can it be named. */
		TAILQ_FOREACH(s, &a->lookups, by_attempt)
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

static void on_connect(struct correlator *c, const struct cbt_ev_connect *ev)
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
	if (l && !l->attempt)
		leg_drop(c, l);
	else if (l)
		/* The socket connects again: the old leg stays in its attempt's report, the new one takes the cookie.
		 */
		table_remove(c->legs, l->key);
	a = connect_assign(c, p, ev);
	if (!a) {
		tap_done(c, ev->h.cookie);
		return;
	}
	if (table_count(c->legs) >= LEGS_MAX || !(l = leg_new(ev))) {
		a->missing |= MISSING_TRUNCATED;
		table_refused(c);
		return;
	}
	l->process = p;
	leg_name(a, l);
	if (attempt_add_leg(a, l) < 0 || table_insert(c->legs, l) < 0) {
		if (l->attempt)
			TAILQ_REMOVE(&a->legs, l, by_attempt);
		leg_free(l);
		a->missing |= MISSING_TRUNCATED;
		table_refused(c);
		return;
	}
	p->refs++;
	claims_add_socket(c->claims, l->key);
	claims_add_process(c->claims, (uint32_t)p->key);
	attempt_touch(c, a);
}

static void leg_event(struct correlator *c, const struct leg *l)
{
	struct report_leg r;

	if (!c->handler.leg || !l->attempt)
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
	else if (l->session && leg_end(l))
		session_end(c, l);
}

static void on_tcp(struct correlator *c, const struct cbt_ev_tcp *ev)
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
	leg_changed(c, l, had_end);
}

static void on_state(struct correlator *c, const struct cbt_ev_state *ev)
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

static void give_up_socket(struct lookup_list *list, bool loose, uint64_t cookie, uint64_t ts)
{
	struct lookup *l;

	for (l = TAILQ_FIRST(list); l; l = loose ? TAILQ_NEXT(l, by_process) : TAILQ_NEXT(l, by_attempt)) {
		/* Only the socket that carried it last: an earlier resolver's may be closed while the next is asked. */
		if (l->state == LOOKUP_PENDING && l->n_wires && l->wires[l->n_wires - 1].cookie == cookie &&
		    !l->truncated)
			lookup_give_up(l, ts);
	}
}

static void on_release(struct correlator *c, const struct cbt_ev_release *ev)
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
	give_up_socket(&p->lookups, true, ev->h.cookie, ev->h.ts);
	TAILQ_FOREACH(a, &p->attempts, by_process)
	{
		give_up_socket(&a->lookups, false, ev->h.cookie, ev->h.ts);
		attempt_touch(c, a);
	}
}

static void on_exit_event(struct correlator *c, const struct cbt_ev_exit *ev)
{
	struct process *p = process_find(c, ev->h.tgid);
	struct attempt *a;
	struct lookup *l;

	if (!p || p->exit_ns)
		return;
	p->exit_ns = ev->h.ts;
	while ((l = TAILQ_FIRST(&p->lookups))) {
		/* The last of them may take the process along. */
		bool last = p->refs == 1;

		loose_forget(c, l);
		if (last)
			return;
	}
	if (!p->refs) {
		process_drop(c, p);
		return;
	}
	TAILQ_FOREACH(a, &p->attempts, by_process)
	{
		TAILQ_FOREACH(l, &a->lookups, by_attempt)
		lookup_give_up(l, ev->h.ts);
		attempt_touch(c, a);
	}
}

static void on_proc(struct correlator *c, const struct cbt_ev_proc *ev)
{
	struct process *p = process_get(c, ev->h.tgid, NULL);
	char *path;

	if (!p)
		return;
	p->forwarder = ev->flags & CBT_PROC_FORWARDER;
	if (!ev->path_len)
		return;
	path = strndup(ev->path, ev->path_len);
	if (!path)
		return;
	free(p->cgroup);
	p->cgroup = path;
}

static void on_exec(struct correlator *c, const struct cbt_ev_exec *ev)
{
	struct process *p = process_find(c, ev->h.tgid);

	if (p && !p->exit_ns)
		memcpy(p->comm, ev->comm, sizeof(p->comm));
}

static void on_lost(struct correlator *c, const struct cbt_ev_lost *ev)
{
	struct attempt *a;
	bool more = false;

	for (size_t i = 0; i < CBT_LOST_STAGES; i++) {
		if (i == CBT_LOST_TABLE)
			continue;
		if (ev->count[i] > c->lost.count[i]) {
			c->lost.count[i] = ev->count[i];
			more = true;
		}
	}
	if (!more)
		return;
	/* A lost event can be anybody's: whoever is in flight may lack it. */
	TAILQ_FOREACH(a, &c->attempts, by_time)
	a->missing |= MISSING_LOST_EVENTS;
	if (c->handler.lost)
		c->handler.lost(&c->lost, c->handler.arg);
}

/* --- Time --- */

static struct attempt *attempt_due(const struct correlator *c, uint64_t limit)
{
	struct attempt *a, *best = NULL;

	TAILQ_FOREACH(a, &c->attempts, by_time)
	if (a->deadline && a->deadline <= limit &&
	    (!best || a->deadline < best->deadline || (a->deadline == best->deadline && a->id < best->id)))
		best = a;
	return best;
}

/* Everything that was due up to @limit ends now, in the order of its time. */
static void advance(struct correlator *c, uint64_t limit)
{
	struct attempt *a;
	struct lookup *l;

	if (limit < c->next_due)
		return;
	while ((a = attempt_due(c, limit)))
		attempt_end(c, a, 0);
	while ((l = TAILQ_FIRST(&c->loose)) && lookup_activity(l) + c->idle_ns <= limit)
		loose_forget(c, l);
	c->next_due = UINT64_MAX;
	TAILQ_FOREACH(a, &c->attempts, by_time)
	due_at(c, a->deadline);
	if ((l = TAILQ_FIRST(&c->loose)))
		due_at(c, lookup_activity(l) + c->idle_ns);
}

void correlate_tick(struct correlator *c, uint64_t now)
{
	if (now > c->now)
		c->now = now;
	if (c->now > CORRELATE_SLACK_NS)
		advance(c, c->now - CORRELATE_SLACK_NS);
}

void correlate_finish(struct correlator *c, uint64_t now)
{
	struct attempt *a;

	if (now > c->now)
		c->now = now;
	advance(c, c->now);
	while ((a = TAILQ_FIRST(&c->attempts)))
		attempt_end(c, a, c->now);
}

void correlate_event(struct correlator *c, const struct cbt_hdr *ev)
{
	correlate_tick(c, ev->ts);
	switch (ev->type) {
	case CBT_EV_DNS:
		on_dns(c, (const struct cbt_ev_dns *)ev);
		break;
	case CBT_EV_TCP:
		on_tcp(c, (const struct cbt_ev_tcp *)ev);
		break;
	case CBT_EV_CONNECT:
		on_connect(c, (const struct cbt_ev_connect *)ev);
		break;
	case CBT_EV_STATE:
		on_state(c, (const struct cbt_ev_state *)ev);
		break;
	case CBT_EV_RELEASE:
		on_release(c, (const struct cbt_ev_release *)ev);
		break;
	case CBT_EV_EXEC:
		on_exec(c, (const struct cbt_ev_exec *)ev);
		break;
	case CBT_EV_EXIT:
		on_exit_event(c, (const struct cbt_ev_exit *)ev);
		break;
	case CBT_EV_PROC:
		on_proc(c, (const struct cbt_ev_proc *)ev);
		break;
	case CBT_EV_LOST:
		on_lost(c, (const struct cbt_ev_lost *)ev);
		break;
	case CBT_EV_HOST:
		memcpy(c->host, ((const struct cbt_ev_host *)ev)->host, sizeof(c->host));
		c->realtime_offset = ((const struct cbt_ev_host *)ev)->realtime_offset;
		break;
	case CBT_EV_CLOCK:
		c->realtime_offset = ((const struct cbt_ev_clock *)ev)->realtime_offset;
		break;
	default:
		/* CBT_EV_END is the caller's to act on; library events and those of a later version are skipped. */
		break;
	}
}

/* --- Claims --- */

static bool process_undecided(const struct correlator *c, uint32_t tgid)
{
	const struct process *p = process_find(c, tgid);

	return p && p->n_lookups;
}

static bool socket_undecided(const struct correlator *c, const struct cbt_hdr *ev)
{
	const struct process *p = process_find(c, ev->tgid);
	const struct lookup *l;

	if (table_find(c->dns_conns, ev->cookie))
		return true;
	if (!p)
		return false;
	TAILQ_FOREACH(l, &p->lookups, by_process)
	if (lookup_on_socket(l, ev->cookie))
		return true;
	return false;
}

/* The id of a message that was parsed once already: its first two bytes (RFC 1035 section 4.1.1). */
static uint16_t message_id(const struct cbt_ev_dns *ev)
{
	if (ev->data_len < 2)
		return 0;
	return (uint16_t)(ev->data[0] << 8 | ev->data[1]);
}

enum correlate_claim correlate_claims(const struct correlator *c, const struct cbt_hdr *ev)
{
	switch (ev->type) {
	case CBT_EV_DNS:
		if (claims_has_message(c->claims, ev->cookie, message_id((const struct cbt_ev_dns *)ev)))
			return CLAIM_YES;
		return socket_undecided(c, ev) ? CLAIM_UNDECIDED : CLAIM_NO;
	case CBT_EV_TCP:
	case CBT_EV_CONNECT:
	case CBT_EV_STATE:
	case CBT_EV_RELEASE:
		if (claims_has_socket(c->claims, ev->cookie))
			return CLAIM_YES;
		return socket_undecided(c, ev) ? CLAIM_UNDECIDED : CLAIM_NO;
	case CBT_EV_EXEC:
	case CBT_EV_EXIT:
	case CBT_EV_PROC:
		if (claims_has_process(c->claims, ev->tgid))
			return CLAIM_YES;
		return process_undecided(c, ev->tgid) ? CLAIM_UNDECIDED : CLAIM_NO;
	default:
		return CLAIM_YES;
	}
}

size_t correlate_in_flight(const struct correlator *c)
{
	return c->n_attempts;
}

/* --- Life --- */

struct correlator *correlator_new(const struct correlate_config *config, const struct report_handler *handler)
{
	struct correlator *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	TAILQ_INIT(&c->processes_by_age);
	TAILQ_INIT(&c->dns_conns_by_age);
	TAILQ_INIT(&c->attempts);
	TAILQ_INIT(&c->loose);
	c->handler = *handler;
	c->idle_ns = config->idle_ns ? config->idle_ns : IDLE_DEFAULT_NS;
	c->next_due = UINT64_MAX;
	c->certs = cert_cache_new();
	c->claims = claims_new();
	c->processes = table_new();
	c->legs = table_new();
	c->dns_conns = table_new();
	c->ports = calloc(config->n_ports + 1, sizeof(*c->ports));
	if (!c->certs || !c->claims || !c->processes || !c->legs || !c->dns_conns || !c->ports ||
	    (config->domain && !(c->domain = strdup(config->domain))) ||
	    (config->server && !(c->server = strdup(config->server)))) {
		correlator_free(c);
		return NULL;
	}
	memcpy(c->ports, config->ports, config->n_ports * sizeof(*c->ports));
	c->n_ports = config->n_ports;
	return c;
}

static void leg_collect(void *object, void *list)
{
	struct leg *l = object;

	TAILQ_INSERT_TAIL((struct leg_list *)list, l, by_attempt);
}

void correlator_free(struct correlator *c)
{
	static const struct report_handler silent;
	struct leg_list sessions = TAILQ_HEAD_INITIALIZER(sessions);
	struct attempt *a;
	struct lookup *l;
	struct dns_conn *d;
	struct process *p;
	struct leg *leg;

	if (!c)
		return;
	c->handler = silent;
	while ((a = TAILQ_FIRST(&c->attempts)))
		attempt_end(c, a, c->now);
	while ((l = TAILQ_FIRST(&c->loose)))
		loose_forget(c, l);
	while ((d = TAILQ_FIRST(&c->dns_conns_by_age)))
		dns_conn_drop(c, d);
	if (c->legs)
		table_each(c->legs, leg_collect, &sessions);
	while ((leg = TAILQ_FIRST(&sessions))) {
		TAILQ_REMOVE(&sessions, leg, by_attempt);
		leg_drop(c, leg);
	}
	while ((p = TAILQ_FIRST(&c->processes_by_age)))
		process_drop(c, p);
	table_free(c->processes);
	table_free(c->legs);
	table_free(c->dns_conns);
	claims_free(c->claims);
	cert_cache_free(c->certs);
	free(c->ports);
	free(c->domain);
	free(c->server);
	free(c);
}
