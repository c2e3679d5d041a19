// SPDX-License-Identifier: BSD-2-Clause
/* Intervals to a contiguous timeline. See timeline.h. */
#include "timeline.h"

#include <stdlib.h>

static int by_start(const void *va, const void *vb)
{
	const struct interval *a = va, *b = vb;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->phase != b->phase)
		return a->phase < b->phase ? -1 : 1;
	return a->leg < b->leg ? -1 : a->leg > b->leg;
}

size_t timeline_build(struct interval *intervals, size_t n, uint64_t start, uint64_t end, struct report_entry *entries)
{
	uint64_t reached = start;
	size_t used = 0;

	qsort(intervals, n, sizeof(*intervals), by_start);
	for (size_t i = 0; i < n && reached < end; i++) {
		struct interval v = intervals[i];

		if (v.end > end)
			v.end = end;
		if (v.start < reached)
			v.start = reached;
		if (v.end <= v.start)
			continue;
		if (v.start > reached)
			entries[used++] = (struct report_entry){PHASE_WAIT, -1, (int64_t)(reached - start),
								(int64_t)(v.start - start), OWNER_CLIENT};
		entries[used++] = (struct report_entry){v.phase, v.leg, (int64_t)(v.start - start),
							(int64_t)(v.end - start), OWNER_NONE};
		reached = v.end;
	}
	if (reached < end)
		entries[used++] = (struct report_entry){PHASE_WAIT, -1, (int64_t)(reached - start),
							(int64_t)(end - start), OWNER_CLIENT};
	return used;
}
