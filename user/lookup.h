/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One DNS question with all its retransmissions, its resolvers in turn and its answer. Pure; owns its strings and
 * answers. Times are ns, CLOCK_MONOTONIC; 0 is "not yet".
 */
#ifndef CBTRACE_LOOKUP_H
#define CBTRACE_LOOKUP_H

#include <sys/queue.h>

#include "dns.h"
#include "report.h"

#define LOOKUP_WIRES_MAX    8 /* sockets × message ids that carried one question; the oldest are forgotten */
#define LOOKUP_UPSTREAM_MAX 8 /* a forwarder's own questions kept per lookup */

enum lookup_state { LOOKUP_PENDING = 0, LOOKUP_ANSWERED, LOOKUP_GIVEN_UP };

struct lookup_wire {
	uint64_t cookie;
	uint16_t id;
};

struct lookup_upstream {
	struct lookup_wire wire;
	struct cbt_endpoint resolver;
	uint64_t first_ns, end_ns;
	int rcode;
	unsigned int queries;
};

struct attempt;
struct process;

struct lookup {
	TAILQ_ENTRY(lookup) by_process;
	TAILQ_ENTRY(lookup) by_age; /* while it belongs to no attempt; last activity ascending */
	TAILQ_ENTRY(lookup) by_attempt;
	struct process *process;
	struct attempt *attempt; /* NULL: not (yet) part of one */
	uint32_t tid;
	char *name; /* lower case */
	uint16_t type;
	enum lookup_state state;
	bool tcp;	/* a question went over TCP */
	bool truncated; /* an answer had TC set and nothing complete has come since */
	bool malformed; /* an answer to this id could not be parsed and nothing valid has come since */
	bool lost;	/* the kernel lost an event of its socket */
	struct cbt_endpoint resolver;
	unsigned int queries;
	unsigned int resolvers; /* different resolvers asked, in turn */
	struct lookup_wire wires[LOOKUP_WIRES_MAX];
	size_t n_wires;
	uint64_t first_ns, last_ns; /* first and latest message out */
	uint64_t end_ns;	    /* answered or given up */
	int rcode;		    /* -1 */
	struct report_answer *answers;
	size_t n_answers;
	struct lookup_upstream upstream[LOOKUP_UPSTREAM_MAX];
	size_t n_upstream;
};

TAILQ_HEAD(lookup_list, lookup);

/* NULL for want of memory. @qname is copied in lower case. */
struct lookup *lookup_new(const char *qname, uint16_t type);
void lookup_free(struct lookup *l); /* accepts NULL; must be in no list */

/* A message with this question left. */
void lookup_query(struct lookup *l, struct lookup_wire wire, const struct cbt_endpoint *resolver, bool tcp,
		  uint64_t ts);
/* An answer with the right id and question came. 0 or -ENOMEM (answer counted, its records dropped). */
int lookup_answer(struct lookup *l, const struct dns_message *m, enum dns_status status, bool tcp,
		  const struct cbt_endpoint *resolver, uint64_t ts);
/* The client stopped waiting: socket released, next step taken, or process gone. */
void lookup_give_up(struct lookup *l, uint64_t ts);

bool lookup_has_wire(const struct lookup *l, struct lookup_wire wire);
bool lookup_on_socket(const struct lookup *l, uint64_t cookie);
/* Would the same client ask this question again, because the answer was an error, without starting over? */
bool lookup_may_continue(const struct lookup *l);

/* NULL: a usable answer, or none yet. Else a reason of DESIGN section 7, phases srv and address. */
const char *lookup_failure(const struct lookup *l);
bool lookup_has_addr(const struct lookup *l, const uint8_t addr[16]);
/* The SRV record that @name comes from (port 0: any), NULL if none. */
const struct report_answer *lookup_srv_target(const struct lookup *l, const char *name, uint16_t port);
static inline bool lookup_is_address(const struct lookup *l)
{
	return l->type == DNS_TYPE_A || l->type == DNS_TYPE_AAAA;
}

#endif
