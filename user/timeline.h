/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The critical path out of intervals that may overlap and leave gaps: contiguous, in order, and summing exactly to the
 * total. Pure.
 */
#ifndef CBTRACE_TIMELINE_H
#define CBTRACE_TIMELINE_H

#include "report.h"

#define TIMELINE_INTERVALS_MAX 256

/* Something that was on the critical path, ns CLOCK_MONOTONIC, end >= start. */
struct interval {
	uint64_t start, end;
	enum phase phase;
	int leg; /* -1 none */
};

/*
 * Cut @n intervals (any order; sorted in place) into entries between @start and @end: an interval begins at the later
 * of its start and the end of the one before, what is left between two is a wait of the client, intervals that are
 * covered vanish. @entries must hold 2 * n + 1. Returns how many were written. Offsets count from @start.
 */
size_t timeline_build(struct interval *intervals, size_t n, uint64_t start, uint64_t end, struct report_entry *entries);

#endif
