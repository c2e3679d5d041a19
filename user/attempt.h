/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One attempt: the lookups and legs that belong to it, and the judgement on them. Which event belongs to which attempt
 * is correlate.c's business. Pure. Times are ns, CLOCK_MONOTONIC; 0 is "not yet".
 */
#ifndef CBTRACE_ATTEMPT_H
#define CBTRACE_ATTEMPT_H

#include <sys/queue.h>

#include "cert.h"
#include "leg.h"
#include "lookup.h"
#include "report.h"

#define ATTEMPT_LOOKUPS_MAX 64 /* kept per attempt; more are counted as lost in a table */
#define ATTEMPT_LEGS_MAX    64
#define ATTEMPT_REASON_MAX  64
/* How long a connection must stay open after Finished before a handshake whose rest is hidden counts: DESIGN section 7.
 */
#define ATTEMPT_SETTLE_NS 1000000000ULL
/* Steps of one attempt follow one another faster than this, unless it waits for somebody. */
#define ATTEMPT_PAUSE_NS 1000000000ULL
/*
 * What is outstanding of an attempt that lost events may have ended unseen. So long a connect lives without an answer:
 * 127 s with tcp_syn_retries at its default of 6 (Documentation/networking/ip-sysctl.rst).
 */
#define ATTEMPT_LOSSY_NS 130000000000ULL

struct attempt {
	TAILQ_ENTRY(attempt) by_process;
	TAILQ_ENTRY(attempt) by_time; /* of the correlator: all in flight */
	uint64_t id, retry_of;
	uint64_t retry_from_ns; /* end of the predecessor */
	struct process *process;
	uint32_t tid;
	char *domain; /* NULL unknown */
	char *server; /* inherited from the predecessor; NULL */
	enum config config;
	struct lookup_list lookups;
	size_t n_lookups;
	struct leg_list legs;
	size_t n_legs;
	unsigned int missing; /* MISSING_* found out on the way */
	uint64_t deadline;    /* when it ends if nothing more happens; 0 none */
};

TAILQ_HEAD(attempt_list, attempt);

struct attempt *attempt_new(struct process *p, uint32_t tid, enum config config,
			    const char *domain); /* NULL: no memory */
void attempt_free(struct attempt *a); /* accepts NULL; its lookups are freed, its legs must have been taken away */

/* 0, or -ENOSPC if the attempt holds as many as it may. The attempt owns @l from then on. Legs are in the order of
 * their connects. */
int attempt_add_lookup(struct attempt *a, struct lookup *l);
int attempt_add_leg(struct attempt *a, struct leg *l);

/* The leg that got furthest: TLS complete, else TLS begun, else established, else NULL. */
struct leg *attempt_winner(const struct attempt *a);
struct lookup *attempt_find_lookup(const struct attempt *a, const char *name, uint16_t type);
/* Is @name the target of one of its SRV answers, or that target with a search suffix? Returns the target's record. */
const struct report_answer *attempt_srv_target(const struct attempt *a, const char *name);
bool attempt_srv_answered(const struct attempt *a);
/* Does one of its SRV answers name @port? */
bool attempt_srv_port(const struct attempt *a, uint16_t port);
/* The address lookup whose answer holds @addr; NULL. */
struct lookup *attempt_addr_lookup(const struct attempt *a, const uint8_t addr[16]);
/* Is @name one that its client may tell the server: its domain, an SRV target, a name that it looked up? */
bool attempt_names_server(const struct attempt *a, const char *name);
/* The leg that went to @remote, the latest of them; NULL. */
struct leg *attempt_leg_to(const struct attempt *a, const struct cbt_endpoint *remote);
/* Is a question of it unanswered, or a connection of it neither failed nor closed? */
bool attempt_asks(const struct attempt *a);
bool attempt_connects(const struct attempt *a);
/* Has it met a failure that it may start over from? */
bool attempt_hurt(const struct attempt *a);
/* Latest sign of life of any of its parts. */
uint64_t attempt_activity(const struct attempt *a);
/* Did the kernel or a table lose something that may have been its? */
bool attempt_lossy(const struct attempt *a);

/*
 * When will it have ended if nothing more happens? 0: never, something is outstanding. With a process that has exited,
 * or a connection that has settled, that can be at once.
 */
uint64_t attempt_deadline(const struct attempt *a, uint64_t idle_ns);

struct attempt_verdict {
	enum outcome outcome;		 /* OUTCOME_NONE: not known, its end was lost */
	enum phase failed_phase;	 /* PHASE_NONE */
	char reason[ATTEMPT_REASON_MAX]; /* "" none */
	uint64_t start_ns, end_ns;
};

/* What became of it, ended for good by now. @cert: of the winner, NULL unknown; matches as checked. */
struct attempt_names {
	const struct cert_info *cert;
	enum cert_match domain, server;
	int64_t now_s; /* wall clock of the handshake, s since the epoch, to judge dates */
};
void attempt_judge(const struct attempt *a, const struct attempt_names *names, struct attempt_verdict *ret);

#endif
