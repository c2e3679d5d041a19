/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Is the calling process one to be traced? Decided in process context only (connect, sendmsg) and kept with the socket.
 * Cgroups are compared by name: a service that restarts gets a new cgroup with a new id, and must be met by its first
 * packet.
 */
#ifndef CBTRACE_BPF_SCOPE_H
#define CBTRACE_BPF_SCOPE_H

#include <bpf/bpf_core_read.h>

#include "core.h"
#include "maps.h"

/* Equal up to and including the NUL? @want is read-only data. */
static __always_inline bool name_equal(const char *have, const volatile char *want, __u32 size)
{
	for (__u32 i = 0; i < size; i++) {
		if (have[i] != want[i])
			return false;
		if (!have[i])
			return true;
	}
	return true;
}

static __always_inline bool cgroup_name_matches(struct cgroup *cg)
{
	char name[SCOPE_NAME_LEN] = {};
	const char *at = BPF_CORE_READ(cg, kn, name);

	return bpf_probe_read_kernel_str(name, sizeof(name), at) > 0 &&
	       name_equal(name, scope.cgroup_name, sizeof(name));
}

/* The ancestor at the wanted level, or any, the process's own cgroup included. */
static __always_inline bool cgroup_in_scope(struct task_struct *task)
{
	struct cgroup *cg = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	for (int i = 0; i < CGROUP_DEPTH_MAX && cg; i++) {
		struct cgroup_subsys_state *parent;

		if (scope.cgroup_level < 0 || BPF_CORE_READ(cg, level) == scope.cgroup_level)
			if (cgroup_name_matches(cg))
				return true;
		parent = BPF_CORE_READ(cg, self.parent);
		if (!parent)
			break;
		cg = BPF_CORE_READ(parent, cgroup);
	}
	return false;
}

/* Stamps the owner on the way: the same reads serve both. */
static __always_inline bool owner_in_scope(struct cbt_owner *owner, __u32 *tgid, __u32 *tid)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();

	*tgid = id >> 32;
	*tid = (__u32)id;
	if (scope.pid && scope.pid != *tgid)
		return false;
	__builtin_memset(owner, 0, sizeof(*owner));
	BPF_CORE_READ_STR_INTO(&owner->comm, task, group_leader, comm);
	if (scope.has_comm && !name_equal(owner->comm, scope.comm, CBT_COMM_LEN))
		return false;
	if (scope.has_cgroup && !cgroup_in_scope(task))
		return false;
	owner->cgroup_id = bpf_get_current_cgroup_id();
	return true;
}

#endif
