/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What /proc tells of a process that the kernel programs do not: its cgroup's path, and whether it is a DNS forwarder
 * (has a UDP socket on local port 53; its questions are another's, DESIGN section 5). Becomes CBT_EV_PROC events, so
 * that a replay knows it too.
 */
#ifndef CBTRACE_PROC_H
#define CBTRACE_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>
#include "cgroup.h"

/* --- Pure: text of /proc in --- */

/* The cgroup v2 path of /proc/T/cgroup ("0::/path"), in a buffer of @size bytes. -ENOENT, -ENAMETOOLONG. */
int proc_parse_cgroup(const char *text, char *buf, size_t size);

/* Start time, in clock ticks since boot, of /proc/T/stat: field 22. -EBADMSG. */
int proc_parse_start_time(const char *stat, uint64_t *ret_ticks);

/* Inodes of the sockets on local port 53 in a text of /proc/T/net/udp or udp6. Returns how many, at most @max. */
size_t proc_parse_port_53(const char *text, uint64_t *inodes, size_t max);

/* "socket:[123]", as a link of /proc/T/fd says. */
bool proc_parse_socket_link(const char *link, uint64_t *ret_inode);

/* --- What is known of processes: a bounded table --- */

struct proc_table;

/* @dir: "/proc". @mount: where cgroup ids can be resolved, NULL if nowhere; must outlive the table. NULL for want of
 * memory. */
struct proc_table *proc_table_new(const char *dir, const struct cgroup_mount *mount);
void proc_table_free(struct proc_table *t); /* accepts NULL */

/*
 * Must be shown every event of the kernel, at time @now (ns, CLOCK_MONOTONIC). Returns the CBT_EV_PROC that belongs
 * before @ev, valid until the next call, or NULL if there is nothing new to say.
 */
const struct cbt_ev_proc *proc_table_observe(struct proc_table *t, const struct cbt_hdr *ev, uint64_t now);

/*
 * The latest CBT_EV_PROC of @tgid, as long as it is not marked as recorded; NULL otherwise. A recorder keeps what
 * belongs to an attempt, and a process may be told of hours before it makes one.
 */
const struct cbt_ev_proc *proc_table_unrecorded(struct proc_table *t, uint32_t tgid);
void proc_table_recorded(struct proc_table *t, uint32_t tgid);

/* What /proc says of @tgid now. 0; -ESRCH if there is no such process. */
struct proc_facts {
	uint64_t start_time;
	bool forwarder;
	char comm[CBT_COMM_LEN];
	char cgroup[CBT_PATH_MAX + 1]; /* "" unknown */
};
int proc_table_facts(struct proc_table *t, uint32_t tgid, uint64_t now, struct proc_facts *ret_facts);

#endif
