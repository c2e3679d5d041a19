/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The recorder: writes the events that belong to attempts, in their order, and forgets the others. An event whose
 * owner is not yet known waits, in bounded memory.
 */
#ifndef CBTRACE_SINK_RECORDING_H
#define CBTRACE_SINK_RECORDING_H

#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>
#include "correlate.h"
#include "failure.h"

#define RECORDER_PENDING_MAX ((size_t)8 * 1024 * 1024) /* bytes of waiting events, their bookkeeping included */

struct recorder_config {
	enum correlate_claim (*claims)(const struct cbt_hdr *ev, void *arg);
	void *arg;
	size_t pending_max; /* 0: RECORDER_PENDING_MAX */
};

struct recorder;

/*
 * @path is made anew with mode 0600: a regular file that has this name is removed first, so that whoever holds it open
 * or by another name sees nothing of the new one; anything else (a link, a device, a directory) is refused. "-" is the
 * standard output, unless that is a terminal. 0, or a negative errno with a line in @f.
 */
int recorder_open(const char *path, const struct recorder_config *config, struct recorder **ret_recorder,
		  struct failure *f);

/*
 * One event, after the correlator has had it. The first must be CBT_EV_HOST. CLOCK, LOST and END are always kept; at
 * END what is still undecided is forgotten. 0, or the first error of writing, again and again: nothing is written after
 * it.
 */
int recorder_event(struct recorder *r, const struct cbt_hdr *ev);
/* Write what has been decided meanwhile, down to the file. As recorder_event(). */
int recorder_flush(struct recorder *r);

/* Undecided events forgotten for want of room: CBT_LOST_RECORDER. */
uint64_t recorder_lost(const struct recorder *r);

/* Accepts NULL. 0, or the first error of writing. */
int recorder_close(struct recorder *r);

#endif
