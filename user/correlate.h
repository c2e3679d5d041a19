/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events in, reports out. Pure: no kernel, no clock, no globals. Time comes from events and from correlate_tick(); what
 * expires does so at a time derived from events, never from when a tick ran, so that a replay gives the same reports
 * byte for byte.
 */
#ifndef CBTRACE_CORRELATE_H
#define CBTRACE_CORRELATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>
#include "report.h"

struct correlate_config {
	const char *domain;    /* --domain: the configured one, and a filter; NULL none */
	const char *server;    /* --server */
	const uint16_t *ports; /* traced ports */
	size_t n_ports;
	uint64_t idle_ns; /* --idle: an attempt ends when nothing has been outstanding this long; 0: 10 s */
};

struct correlator;

/* Strings of @config are copied. NULL for want of memory. @handler is copied. */
struct correlator *correlator_new(const struct correlate_config *config, const struct report_handler *handler);
void correlator_free(struct correlator *c); /* accepts NULL */

/* One event, already checked by event_check(). In the order of the source; small disorder of ts (CORRELATE_SLACK_NS) is
 * fine. */
void correlate_event(struct correlator *c, const struct cbt_hdr *ev);

/* No event with ts < @now will come any more, but for CORRELATE_SLACK_NS of disorder, which is allowed for here. */
#define CORRELATE_SLACK_NS 50000000ULL
void correlate_tick(struct correlator *c, uint64_t now);

/* The source ended at @now: report what is pending as interrupted. */
void correlate_finish(struct correlator *c, uint64_t now);

/* Does @ev belong to an attempt? For the recorder, which asks again later while undecided; undecided never lasts longer
 * than idle_ns. */
enum correlate_claim { CLAIM_NO = 0, CLAIM_YES = 1, CLAIM_UNDECIDED = 2 };
enum correlate_claim correlate_claims(const struct correlator *c, const struct cbt_hdr *ev);

size_t correlate_in_flight(const struct correlator *c);

#endif
