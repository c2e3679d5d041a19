/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arms the library probes in the processes in scope, early enough for their first attempt. A thread of its own, woken
 * by the kernel programs at fork, exec, a matching SRV question, or a connect to a traced port; another one closes.
 *
 * Why not libbpf's attach: it makes a new perf uprobe for each process, which costs a grace period of 8–20 ms for the
 * first probe on a live process, so that a client which registers within 6 ms of its start is missed; and closing eight
 * of them takes about a second (both measured on Linux 6.18). Here each site is one uprobe event of tracefs, defined
 * once per library file, to which the kernel program is tied once, by a perf event on this process that never fires;
 * per process it only takes perf_event_open(2) on those events: 0.3 ms after the fork, and 16–33 µs to close when the
 * process has gone. Where there is no tracefs, libbpf's attach is what remains.
 */
#ifndef CBTRACE_LIBRARY_H
#define CBTRACE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>
#include "cgroup.h"
#include "failure.h"
#include "source_ring.h"

struct library_config {
	struct ring_source *ring; /* outlives the library */
	const struct cgroup_mounts *mounts;
	const struct cgroup_scope *scope;
	uint32_t pid;	  /* 0 any */
	const char *comm; /* NULL any */
	bool narrow;	  /* a scope narrower than the host: what runs in it already is armed at once */
};

struct library;

/* Returns when what runs in scope is armed. 0, or a negative errno with a line in @f. */
int library_open(const struct library_config *config, struct library **ret_library, struct failure *f);
void library_close(struct library *l); /* accepts NULL */

/* Readable when library_next() has something. */
int library_fd(const struct library *l);
/* What has become known of a process. */
bool library_next(struct library *l, struct cbt_ev_lib_proc *ret_event);
/* Adds what was lost on the way, of any thread, by stage. */
void library_lost(const struct library *l, uint64_t count[CBT_LOST_STAGES]);

/* --- For `cbtrace check` --- */

struct library_file {
	char path[256]; /* as the process sees it */
	int error;	/* negative errno instead of a plan */
	size_t sites, cheap;
	bool has_ssl, has_crypto;
};

/* What of OpenSSL process @pid has mapped: at most @max files. How many, or a negative errno. */
int library_look(uint32_t pid, struct library_file *files, size_t max);

#endif
