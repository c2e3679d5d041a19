/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the loader tells the kernel programs: before they are loaded, and of its sleep. Both compilers include this
 * file. */
#ifndef CBTRACE_SCOPE_H
#define CBTRACE_SCOPE_H

#include <linux/types.h>

#include <cbtrace/event.h>

#define SCOPE_NAME_LEN	256 /* NAME_MAX and its NUL */
#define SCOPE_PORTS_MAX 64

/* What the reader of the ring is at; explicit, for both sides store it. */
#define READER_AWAKE   0 /* comes by on a timer */
#define READER_ASLEEP  1 /* wants a wake-up */
#define READER_STIRRED 2 /* one event has come since: the next one wakes */

/* Filters with neutral defaults: what is off costs nothing, the verifier removes it. */
struct scope_config {
	__u32 pid;	    /* 0: any */
	__s32 cgroup_level; /* level of the ancestor that must be called cgroup_name (root: 0); negative: any level */
	__u32 has_comm, has_cgroup;
	char comm[CBT_COMM_LEN];
	char cgroup_name[SCOPE_NAME_LEN];
};
CBT_ASSERT_SIZE(scope_config, 16 + CBT_COMM_LEN + SCOPE_NAME_LEN);

#endif
