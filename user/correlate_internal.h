/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the correlator share: its tables and the steps that one file asks of another. Nobody else includes
 *it.
 *
 *	correlate.c		events in, time, claims, life
 *	correlate_process.c	processes
 *	correlate_dns.c		questions: whose, and which attempt's
 *	correlate_leg.c		connects: whose, and which attempt's
 *	correlate_library.c	what the TLS library tells: of which leg
 *	correlate_attempt.c	attempts open and end; sessions
 *
 * Bounds, and what goes first when one is reached: processes without anything in flight, longest unseen; questions that
 *belong to no attempt, longest silent. An attempt or a leg in flight is never evicted for another: beyond the bound the
 *new one is refused and counted.
 */
#ifndef CBTRACE_CORRELATE_INTERNAL_H
#define CBTRACE_CORRELATE_INTERNAL_H

#include "attempt_report.h"
#include "claims.h"
#include "correlate.h"
#include "dns.h"
#include "process.h"
#include "session.h"
#include "table.h"

#define PROCESSES_MAX	  4096
#define ATTEMPTS_MAX	  4096
#define LEGS_MAX	  16384
#define DNS_CONNS_MAX	  1024
#define LIBRARIES_MAX	  4096
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

	uint64_t now;	      /* greatest time seen */
	uint64_t event_ns;    /* of the event at hand */
	uint64_t lossy_until; /* events of before then may lack */
	uint64_t next_due;
	int64_t realtime_offset;
	char host[CBT_NAME_LEN];

	struct cert_cache *certs;
	struct claims *claims;
	struct table *processes, *legs, *dns_conns, *libraries;
	struct library_conn_list libraries_by_age;
	struct process_list processes_by_age;
	struct dns_conn_list dns_conns_by_age;
	struct attempt_list attempts;
	struct leg_list ending; /* sessions that have ended, and whose libraries may still say why; by by_attempt */
	size_t n_attempts;
	struct lookup_list loose; /* lookups of no attempt, longest silent first */
	size_t n_loose;
	uint64_t last_attempt_id, last_session_id;
	uint64_t refused; /* table bounds met */
	struct report_lost lost;
	struct dns_message message; /* too big for a stack */
};

/* correlate.c */

/* A table had no room: counted, told. */
void correlator_refused(struct correlator *c);
void correlator_tap_done(struct correlator *c, uint64_t cookie);
bool correlator_traces(const struct correlator *c, uint16_t port);
/* Something ends at @ts if nothing happens before; 0: nothing does. */
void correlator_due(struct correlator *c, uint64_t ts);
/* After anything that may have moved the attempt's deadline. */
void attempt_touch(struct correlator *c, struct attempt *a);

/* correlate_process.c */

/* The process of an event that shows it alive; made if unknown. NULL if there is no room. */
struct process *process_get(struct correlator *c, uint32_t tgid, const char *comm);
struct process *process_find(const struct correlator *c, uint32_t tgid);
/* One reference less; a dead process goes with the last. */
void process_put(struct correlator *c, struct process *p);
void process_drop(struct correlator *c, struct process *p);
void past_free(struct past *p);

/* correlate_dns.c */

void correlate_dns(struct correlator *c, const struct cbt_ev_dns *ev);
void dns_conn_open(struct correlator *c, const struct cbt_ev_connect *ev);
void dns_conn_segment(struct correlator *c, struct dns_conn *d, const struct cbt_ev_tcp *ev);
void dns_conn_drop(struct correlator *c, struct dns_conn *d);
/* A lookup of no attempt: forgotten, or given to one. */
void loose_forget(struct correlator *c, struct lookup *l);
void attempt_take_lookup(struct correlator *c, struct attempt *a, struct lookup *l);
/* The client waits for it no more; told if it belongs to an attempt. */
void lookup_abandon(struct correlator *c, struct lookup *l, uint64_t ts);
uint64_t lookup_activity(const struct lookup *l);

/* correlate_leg.c */

void correlate_connect(struct correlator *c, const struct cbt_ev_connect *ev);
void correlate_tcp(struct correlator *c, const struct cbt_ev_tcp *ev);
void correlate_state(struct correlator *c, const struct cbt_ev_state *ev);
void correlate_release(struct correlator *c, const struct cbt_ev_release *ev);

/* correlate_library.c */

void correlate_library(struct correlator *c, const struct cbt_hdr *ev);
void correlate_library_proc(struct correlator *c, const struct cbt_ev_lib_proc *ev);
/* Its ClientHello has been read: does the library know it? */
void leg_join(struct correlator *c, struct leg *leg);
void library_drop(struct correlator *c, struct library_conn *l);
bool library_undecided(const struct correlator *c, uint64_t conn);

/* correlate_attempt.c */

/* Opens with the event at hand. NULL if there is no room. */
struct attempt *attempt_open(struct correlator *c, struct process *p, uint32_t tid, enum config config,
			     const char *domain);
/* Judge, report, remember, take apart. @interrupted_ns: when the source ended with it in flight, else 0. */
void attempt_end(struct correlator *c, struct attempt *a, uint64_t interrupted_ns);
/* By the names of the configuration, as far as its own are known. */
bool attempt_hidden(const struct correlator *c, const struct attempt *a);
/* @a is a retry of the one in @past, if that failed. */
void attempt_chain(struct attempt *a, const struct past *past);
bool past_has_address(const struct past *p, const struct cbt_endpoint *remote);
void session_end(struct correlator *c, struct leg *l);
/* After anything that may have ended it, or told why. Frees @l where all is known. */
void session_changed(struct correlator *c, struct leg *l);
void leg_drop(struct correlator *c, struct leg *l);

#endif
