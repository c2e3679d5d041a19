/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uprobe events of the kernel's tracefs (Documentation/trace/uprobetracer.rst), in a group of this process's own. The
 * file system is opened without being mounted anywhere, so that nothing is left on the host; where the kernel cannot do
 * that, one that is mounted is used.
 */
#ifndef CBTRACE_TRACEFS_H
#define CBTRACE_TRACEFS_H

#include <stdbool.h>
#include <stdint.h>

#define TRACEFS_NAME_MAX 64

/* A directory descriptor, or a negative errno. Removes what processes that are gone have left. */
int tracefs_open(void);

/* Defines event @name at @offset of the file @fd. @is_return: where the function that begins there returns. Its id for
 * perf_event_open(), or a negative errno. */
int64_t tracefs_uprobe_add(int dir, const char *name, int fd, uint64_t offset, bool is_return);
/* Best effort: fails while somebody has the event open. */
void tracefs_uprobe_remove(int dir, const char *name);

#endif
