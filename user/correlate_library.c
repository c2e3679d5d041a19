// SPDX-License-Identifier: BSD-2-Clause
/* Events of the TLS library: which connection on the wire is theirs. See correlate_internal.h. */
#include "correlate_internal.h"

#include <stdlib.h>
#include <string.h>

/* A connection of the library that no leg has claimed by then is none of ours: something else that speaks TLS. */
#define JOIN_NS 2000000000ULL

void library_drop(struct correlator *c, struct library_conn *l)
{
	struct process *p = l->process;

	if (l->leg)
		l->leg->library = NULL;
	table_remove(c->libraries, l->key);
	TAILQ_REMOVE(&c->libraries_by_age, l, by_age);
	TAILQ_REMOVE(&p->libraries, l, by_process);
	library_conn_free(l);
	process_put(c, p);
}

/* Those that can join no more, and room for one. False: there is none. */
static bool library_room(struct correlator *c)
{
	struct library_conn *l, *next;

	for (l = TAILQ_FIRST(&c->libraries_by_age); l; l = next) {
		next = TAILQ_NEXT(l, by_age);
		if (l->hello_ns + JOIN_NS > c->event_ns && table_count(c->libraries) < LIBRARIES_MAX)
			break;
		if (!l->leg)
			library_drop(c, l);
	}
	return table_count(c->libraries) < LIBRARIES_MAX;
}

static void join(struct correlator *c, struct leg *leg, struct library_conn *l)
{
	leg->library = l;
	l->leg = leg;
	claims_add_library(c->claims, l->key);
	claims_add_process(c->claims, (uint32_t)leg->process->key);
}

void leg_join(struct correlator *c, struct leg *leg)
{
	const struct tls_handshake *h = leg_handshake(leg);
	struct library_conn *l;

	if (leg->library || !h->has_client_hello)
		return;
	TAILQ_FOREACH (l, &leg->process->libraries, by_process)
		if (!l->leg && memcmp(l->random, h->client.random, sizeof(l->random)) == 0) {
			join(c, leg, l);
			return;
		}
}

/* The wire may have been read first: another CPU's event. */
static void library_join(struct correlator *c, struct library_conn *l)
{
	struct attempt *a;
	struct leg *leg;

	TAILQ_FOREACH (a, &l->process->attempts, by_process)
		TAILQ_FOREACH (leg, &a->legs, by_attempt) {
			const struct tls_handshake *h = leg_handshake(leg);

			if (leg->library || !h->has_client_hello ||
			    memcmp(l->random, h->client.random, sizeof(l->random)) != 0)
				continue;
			join(c, leg, l);
			return;
		}
}

static void on_hello(struct correlator *c, const struct cbt_ev_lib_hello *ev)
{
	struct process *p = process_get(c, ev->h.tgid, NULL);
	struct library_conn *l;

	if (!p)
		return;
	if (table_find(c->libraries, ev->conn))
		return;
	l = library_room(c) ? library_conn_new(ev) : NULL;
	if (!l || table_insert(c->libraries, l) < 0) {
		library_conn_free(l);
		correlator_refused(c);
		return;
	}
	l->process = p;
	p->refs++;
	TAILQ_INSERT_TAIL(&c->libraries_by_age, l, by_age);
	TAILQ_INSERT_HEAD(&p->libraries, l, by_process);
	library_join(c, l);
}

static struct library_conn *library_of(const struct correlator *c, uint64_t conn, uint32_t tgid)
{
	struct library_conn *l = table_find(c->libraries, conn);

	return l && l->process->key == tgid ? l : NULL;
}

/* After anything that may have changed what is known of the connection. */
static void library_changed(struct correlator *c, const struct library_conn *l)
{
	if (l->leg && l->leg->attempt)
		attempt_touch(c, l->leg->attempt);
	else if (l->leg)
		session_changed(c, l->leg);
}

static void on_element(struct correlator *c, struct library_conn *l, const struct cbt_ev_lib_element *ev)
{
	uint64_t took = library_conn_element(l, ev);

	if (!l->leg || !l->leg->session)
		return;
	session_progress(l->leg->session, l->leg, took, c->realtime_offset, &c->handler);
}

void correlate_library(struct correlator *c, const struct cbt_hdr *h)
{
	struct library_conn *l;
	uint64_t conn;

	if (h->type == CBT_EV_LIB_HELLO) {
		on_hello(c, (const struct cbt_ev_lib_hello *)h);
		return;
	}
	/* The others begin alike. */
	memcpy(&conn, h + 1, sizeof(conn));
	l = library_of(c, conn, h->tgid);
	if (!l)
		return;
	switch (h->type) {
	case CBT_EV_LIB_CERT:
		if (library_conn_cert(l, (const struct cbt_ev_lib_cert *)h) < 0)
			correlator_refused(c);
		break;
	case CBT_EV_LIB_ERROR:
		library_conn_error(l, (const struct cbt_ev_lib_error *)h);
		break;
	case CBT_EV_LIB_ELEMENT:
		on_element(c, l, (const struct cbt_ev_lib_element *)h);
		break;
	case CBT_EV_LIB_CLOSE:
		library_conn_close(l, (const struct cbt_ev_lib_close *)h);
		if (((const struct cbt_ev_lib_close *)h)->how == CBT_CLOSE_FREE && !l->leg) {
			library_drop(c, l);
			return;
		}
		break;
	default:
		break;
	}
	library_changed(c, l);
}

void correlate_library_proc(struct correlator *c, const struct cbt_ev_lib_proc *ev)
{
	struct process *p = process_find(c, ev->h.tgid);

	if (p && !p->exit_ns)
		p->library = ev->state;
	if (c->handler.library)
		c->handler.library(ev->state, c->handler.arg);
}

/* May what the library says of @conn still turn out to belong to an attempt? */
bool library_undecided(const struct correlator *c, uint64_t conn)
{
	const struct library_conn *l = table_find(c->libraries, conn);

	return l && !l->leg && l->hello_ns + JOIN_NS > c->now;
}
