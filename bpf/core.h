/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's types that the programs touch, and of those only the members touched. CO-RE relocates every access at
 * load time by the running kernel's BTF, so offsets here mean nothing. Checked against 5.10 … 7.2.
 */
#ifndef CBTRACE_BPF_CORE_H
#define CBTRACE_BPF_CORE_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct kernfs_node {
	const char *name;
};

struct cgroup {
	struct cgroup_subsys_state self;
	int level;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* cgroup v2 */
};

struct signal_struct {
	atomic_t live; /* threads that have not begun to exit */
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct css_set *cgroups;
	char comm[16];
};

struct sock_common {
	atomic64_t skc_cookie; /* 0 until somebody asked for it */
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
};

#pragma clang attribute pop

#endif
