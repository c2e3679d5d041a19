// SPDX-License-Identifier: BSD-2-Clause
/* The correlator's door: events in, time, what belongs to an attempt, life and death. See correlate_internal.h. */
#include "correlate_internal.h"

#include <stdlib.h>
#include <string.h>

void correlator_refused(struct correlator *c)
{
	c->refused++;
	c->lost.count[CBT_LOST_TABLE] = c->refused;
	if (c->handler.lost)
		c->handler.lost(&c->lost, c->handler.arg);
}

void correlator_tap_done(struct correlator *c, uint64_t cookie)
{
	if (c->handler.tap_done)
		c->handler.tap_done(cookie, c->handler.arg);
}

bool correlator_traces(const struct correlator *c, uint16_t port)
{
	for (size_t i = 0; i < c->n_ports; i++)
		if (c->ports[i] == port)
			return true;
	return false;
}

void correlator_due(struct correlator *c, uint64_t ts)
{
	if (ts && ts < c->next_due)
		c->next_due = ts;
}

void attempt_touch(struct correlator *c, struct attempt *a)
{
	a->deadline = attempt_deadline(a, c->idle_ns);
	correlator_due(c, a->deadline);
}

/* --- Events of processes and of the source itself --- */

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
	TAILQ_FOREACH (a, &p->attempts, by_process) {
		TAILQ_FOREACH (l, &a->lookups, by_attempt)
			lookup_abandon(c, l, ev->h.ts);
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

static void session_lossy(void *object, void *arg)
{
	const struct leg *l = object;

	(void)arg;
	if (l->session)
		l->session->missing |= MISSING_LOST_EVENTS;
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
	/* A lost event can be anybody's: whoever is in flight may lack it, and whoever begins within that time. */
	if (ev->until > c->lossy_until)
		c->lossy_until = ev->until;
	TAILQ_FOREACH (a, &c->attempts, by_time) {
		a->missing |= MISSING_LOST_EVENTS;
		attempt_touch(c, a);
	}
	table_each(c->legs, session_lossy, NULL);
	if (c->handler.lost)
		c->handler.lost(&c->lost, c->handler.arg);
}

/* --- Time --- */

static struct attempt *attempt_due(const struct correlator *c, uint64_t limit)
{
	struct attempt *a, *best = NULL;

	TAILQ_FOREACH (a, &c->attempts, by_time)
		if (a->deadline && a->deadline <= limit &&
		    (!best || a->deadline < best->deadline || (a->deadline == best->deadline && a->id < best->id)))
			best = a;
	return best;
}

static struct leg *ending_due(const struct correlator *c, uint64_t limit)
{
	struct leg *l, *best = NULL;

	TAILQ_FOREACH (l, &c->ending, by_attempt)
		if (session_due(l) <= limit &&
		    (!best || session_due(l) < session_due(best) ||
		     (session_due(l) == session_due(best) && l->session->id < best->session->id)))
			best = l;
	return best;
}

/* Everything that was due up to @limit ends now, in the order of its time. */
static void advance(struct correlator *c, uint64_t limit)
{
	struct attempt *a;
	struct lookup *l;
	struct leg *ending;

	if (limit < c->next_due)
		return;
	for (;;) {
		a = attempt_due(c, limit);
		ending = ending_due(c, limit);
		if (!a && !ending)
			break;
		if (a && (!ending || a->deadline <= session_due(ending)))
			attempt_end(c, a, 0);
		else
			session_end(c, ending);
	}
	while ((l = TAILQ_FIRST(&c->loose)) && lookup_activity(l) + c->idle_ns <= limit)
		loose_forget(c, l);
	c->next_due = UINT64_MAX;
	TAILQ_FOREACH (a, &c->attempts, by_time)
		correlator_due(c, a->deadline);
	TAILQ_FOREACH (ending, &c->ending, by_attempt)
		correlator_due(c, session_due(ending));
	if ((l = TAILQ_FIRST(&c->loose)))
		correlator_due(c, lookup_activity(l) + c->idle_ns);
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
	struct leg *l;

	if (now > c->now)
		c->now = now;
	advance(c, c->now);
	while ((a = TAILQ_FIRST(&c->attempts)))
		attempt_end(c, a, c->now);
	while ((l = TAILQ_FIRST(&c->ending)))
		session_end(c, l);
}

void correlate_event(struct correlator *c, const struct cbt_hdr *ev)
{
	correlate_tick(c, ev->ts);
	c->event_ns = ev->ts;
	switch (ev->type) {
	case CBT_EV_DNS:
		correlate_dns(c, (const struct cbt_ev_dns *)ev);
		break;
	case CBT_EV_TCP:
		correlate_tcp(c, (const struct cbt_ev_tcp *)ev);
		break;
	case CBT_EV_CONNECT:
		correlate_connect(c, (const struct cbt_ev_connect *)ev);
		break;
	case CBT_EV_STATE:
		correlate_state(c, (const struct cbt_ev_state *)ev);
		break;
	case CBT_EV_RELEASE:
		correlate_release(c, (const struct cbt_ev_release *)ev);
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
	case CBT_EV_LIB_HELLO:
	case CBT_EV_LIB_CERT:
	case CBT_EV_LIB_ERROR:
	case CBT_EV_LIB_ELEMENT:
	case CBT_EV_LIB_CLOSE:
		correlate_library(c, ev);
		break;
	case CBT_EV_LIB_PROC:
		correlate_library_proc(c, (const struct cbt_ev_lib_proc *)ev);
		break;
	case CBT_EV_HOST:
		memcpy(c->host, ((const struct cbt_ev_host *)ev)->host, sizeof(c->host));
		c->realtime_offset = ((const struct cbt_ev_host *)ev)->realtime_offset;
		break;
	case CBT_EV_CLOCK:
		c->realtime_offset = ((const struct cbt_ev_clock *)ev)->realtime_offset;
		break;
	default:
		/* CBT_EV_END is the caller's to act on; those of a later version are skipped. */
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
	TAILQ_FOREACH (l, &p->lookups, by_process)
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
	uint64_t conn;

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
	case CBT_EV_LIB_HELLO:
	case CBT_EV_LIB_CERT:
	case CBT_EV_LIB_ERROR:
	case CBT_EV_LIB_ELEMENT:
	case CBT_EV_LIB_CLOSE:
		memcpy(&conn, ev + 1, sizeof(conn));
		if (claims_has_library(c->claims, conn))
			return CLAIM_YES;
		return library_undecided(c, conn) ? CLAIM_UNDECIDED : CLAIM_NO;
	case CBT_EV_LIB_PROC:
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
	TAILQ_INIT(&c->ending);
	TAILQ_INIT(&c->loose);
	TAILQ_INIT(&c->libraries_by_age);
	c->handler = *handler;
	c->idle_ns = config->idle_ns ? config->idle_ns : IDLE_DEFAULT_NS;
	c->next_due = UINT64_MAX;
	c->certs = cert_cache_new();
	c->claims = claims_new();
	c->processes = table_new();
	c->legs = table_new();
	c->dns_conns = table_new();
	c->libraries = table_new();
	c->ports = calloc(config->n_ports + 1, sizeof(*c->ports));
	if (!c->certs || !c->claims || !c->processes || !c->legs || !c->dns_conns || !c->libraries || !c->ports ||
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
	struct library_conn *library;
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
	while ((leg = TAILQ_FIRST(&c->ending)))
		leg_drop(c, leg);
	if (c->legs)
		table_each(c->legs, leg_collect, &sessions);
	while ((leg = TAILQ_FIRST(&sessions))) {
		TAILQ_REMOVE(&sessions, leg, by_attempt);
		leg_drop(c, leg);
	}
	while ((library = TAILQ_FIRST(&c->libraries_by_age)))
		library_drop(c, library);
	while ((p = TAILQ_FIRST(&c->processes_by_age)))
		process_drop(c, p);
	table_free(c->processes);
	table_free(c->legs);
	table_free(c->dns_conns);
	table_free(c->libraries);
	claims_free(c->claims);
	cert_cache_free(c->certs);
	free(c->ports);
	free(c->domain);
	free(c->server);
	free(c);
}
