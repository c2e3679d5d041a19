/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch, export and record: the kernel's events, live. Also what only the live side learns (host, clock, processes,
 * losses) and turns into events like any other, so that a replay has them too.
 */
#ifndef CBTRACE_LIVE_H
#define CBTRACE_LIVE_H

#include "cgroup.h"
#include "failure.h"
#include "options.h"

struct ring_config;

/* Runs until it is told to stop. Returns an exit status (enum exit_status), with a line in @f if it is not fine for a
 * reason that no report tells. */
int live_run(const struct options *o, struct failure *f);

/* What the kernel side is asked for; points into @o and @scope. */
void live_ring_config(const struct options *o, const struct cgroup_scope *scope, struct ring_config *ret_config);

#endif
