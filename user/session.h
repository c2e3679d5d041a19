/* SPDX-License-Identifier: BSD-2-Clause */
/* The active connection after an attempt, until it ends. Pure. */
#ifndef CBTRACE_SESSION_H
#define CBTRACE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "leg.h"
#include "report.h"

struct session {
	uint64_t id, attempt;
	uint64_t start_ns;
	bool ending;	       /* its connection has ended, and its library may still say why */
	unsigned int missing;  /* MISSING_*, found out on the way */
	char *domain, *server; /* NULL unknown */
};

struct session *session_new(uint64_t id, uint64_t attempt, uint64_t start_ns, const char *domain, const char *server);
void session_free(struct session *s); /* accepts NULL */

/*
 * When is what will be known of the end known? The wire is ahead of what the client has read: a FIN arrives before the
 * library gives out the close_notify or the stream error that explains it, so where a library tells, when the client
 * has closed as well. A release is ahead of the FIN or RST that it makes the kernel send. In either case a while after
 * the end is enough. 0: it has not ended.
 */
#define SESSION_WORDS_NS 1000000000ULL
uint64_t session_due(const struct leg *l);

/* Its state as the leg tells it. @realtime_offset: ns, wall clock = monotonic + this. */
void session_report(const struct session *s, const struct leg *l, int64_t realtime_offset,
		    const struct report_handler *handler);

/* Something came or went on it. @response_ns: see struct report_handler. */
void session_progress(const struct session *s, const struct leg *l, uint64_t response_ns, int64_t realtime_offset,
		      const struct report_handler *handler);

#endif
