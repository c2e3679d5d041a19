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

/* Which of the library probes' hooks live: a bit set that the loader sets before load; 0 removes them all. */
#define LIBRARY_ON     0x1
#define LIBRARY_NARROW 0x2 /* the scope is narrower than the host: processes are met at fork and exec */

/* The kernel programs of the library probes, in bpf/library.bpf.c; explicit, for both sides store them. */
enum probe_program {
	PROBE_HANDSHAKE_ENTER = 0,
	PROBE_READ_INT_ENTER = 1,
	PROBE_READ_EX_ENTER = 2,
	PROBE_WRITE_INT_ENTER = 3,
	PROBE_WRITE_EX_ENTER = 4,
	PROBE_CALL_EXIT = 5, /* the only return probe */
	PROBE_BIO_WRITE = 6,
	PROBE_X509 = 7,
	PROBE_ERROR = 8,
	PROBE_ERROR_PUT = 9,
	PROBE_SHUTDOWN = 10,
	PROBE_FREE = 11,
	PROBE_PROGRAMS = 12,
};

/*
 * One program for all sites that are no return: which one it stands at it tells by the address within its page, which
 * address space randomisation leaves alone. So one perf event arms them all. Two sites of a kind that share the offset
 * cannot both be told apart; the second gets its own program.
 */
#define LIB_PAGE 4096

/* Where in OpenSSL's struct ssl_st of a process something is; negative: not known. */
struct lib_offsets {
	__s32 verify_result; /* long, X509_V_*: what SSL_get_verify_result() reads */
	__s32 shutdown;	     /* int, SSL_*_SHUTDOWN: what SSL_get_shutdown() reads */
};

enum lib_arm_why {
	LIB_ARM_FORK = 1,    /* a child in scope, before its exec */
	LIB_ARM_EXEC = 2,    /* a process in scope runs another program */
	LIB_ARM_ASKED = 3,   /* it asks a matching SRV question */
	LIB_ARM_CONNECT = 4, /* it connects to a traced port */
	LIB_ARM_EXIT = 5,    /* an armed process has ended */
	LIB_ARM_ATTACH = 6,  /* it was moved into a cgroup in scope, as a service manager does before the exec */
};

/* To the loader's arming thread, by a ring of its own that wakes it at once. */
struct lib_arm {
	__u64 ts; /* ns, CLOCK_MONOTONIC */
	__u32 tgid;
	__u32 why; /* enum lib_arm_why */
};

/* Filters with neutral defaults: what is off costs nothing, the verifier removes it. */
struct scope_config {
	__u32 pid;	    /* 0: any */
	__s32 cgroup_level; /* level of the ancestor that must be called cgroup_name (root: 0); negative: any level */
	__u32 has_comm, has_cgroup;
	char comm[CBT_COMM_LEN];
	char cgroup_name[SCOPE_NAME_LEN];
};
CBT_ASSERT_SIZE(scope_config, 16 + CBT_COMM_LEN + SCOPE_NAME_LEN);

CBT_ASSERT_SIZE(lib_offsets, 8);
CBT_ASSERT_SIZE(lib_arm, 16);

#endif
