// SPDX-License-Identifier: GPL-2.0-only
/*
 * Host-wide hooks. They count only for cookies and processes that the tables hold, never by their "current", which is
 * whoever happened to run.
 *
 * tp_btf/inet_sock_set_state: TCP state with sk_err: refused, unreachable, timed out; the end of a connection after its
 * tap has closed.
 *
 * tp_btf/sched_process_fork: with a scope narrower than the host and library probes, a child in scope is met before its
 * first instruction.
 *
 * tp_btf/cgroup_attach_task: the same for a process that is moved into scope, as lab scripts and older service managers
 * do before they exec.
 *
 * tp_btf/sched_process_exec: the process is another program now; it may have come into scope since its fork.
 *
 * tp_btf/sched_process_exit: its last thread ended.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "core.h"
#include "maps.h"
#include "ring.h"
#include "scope.h"

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(cbt_state, struct sock *sk, int old_state, int new_state)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	struct tracked *t, owner;
	struct cbt_ev_state *ev;

	if (!cookie)
		return 0;
	t = bpf_map_lookup_elem(&tracked, &cookie);
	if (!t)
		return 0;
	owner = *t;
	if (new_state == CBT_TCP_CLOSE)
		bpf_map_delete_elem(&tracked, &cookie);
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev) {
		ring_lost(NULL);
		return 0;
	}
	head_fill(&ev->h, now, cookie, CBT_EV_STATE, sizeof(*ev));
	ev->h.tgid = owner.tgid;
	ev->h.tid = owner.tid;
	ev->old_state = (__u8)old_state;
	ev->new_state = (__u8)new_state;
	ev->pad = 0;
	ev->sk_err = sk->sk_err;
	ring_submit(ev);
	return 0;
}

static __always_inline bool task_in_scope(struct task_struct *task)
{
	char comm[CBT_COMM_LEN] = {};

	if (scope.pid && scope.pid != (__u32)task->tgid)
		return false;
	if (scope.has_comm) {
		BPF_CORE_READ_STR_INTO(&comm, task, group_leader, comm);
		if (!name_equal(comm, scope.comm, CBT_COMM_LEN))
			return false;
	}
	return !scope.has_cgroup || cgroup_in_scope(task);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(cbt_fork, struct task_struct *parent, struct task_struct *child)
{
	if (!(library & LIBRARY_NARROW) || child->pid != child->tgid)
		return 0;
	if (task_in_scope(child))
		arm_tell(child->tgid, LIB_ARM_FORK);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cbt_attach, struct cgroup *to, const char *path, struct task_struct *leader)
{
	if ((library & LIBRARY_NARROW) && task_in_scope(leader))
		arm_tell(leader->tgid, LIB_ARM_ATTACH);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(cbt_exec, struct task_struct *p)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tgid = p->tgid;
	struct cbt_ev_exec *ev;

	if ((library & LIBRARY_NARROW) && task_in_scope(p))
		arm_tell(tgid, LIB_ARM_EXEC);
	if (!bpf_map_lookup_elem(&procs, &tgid))
		return 0;
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev) {
		ring_lost(NULL);
		return 0;
	}
	head_fill(&ev->h, now, 0, CBT_EV_EXEC, sizeof(*ev));
	ev->h.tgid = tgid;
	ev->h.tid = p->pid;
	__builtin_memset(ev->comm, 0, sizeof(ev->comm));
	BPF_CORE_READ_STR_INTO(&ev->comm, p, comm);
	ring_submit(ev);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(cbt_exit, struct task_struct *p)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tgid = p->tgid;
	struct cbt_ev_exit *ev;

	/* Two threads that end together may both see 0: the one that finds the entry reports. */
	if (p->signal->live.counter != 0)
		return 0;
	if ((library & LIBRARY_ON) && bpf_map_lookup_elem(&lib_procs, &tgid) &&
	    bpf_map_delete_elem(&lib_procs, &tgid) == 0)
		arm_tell(tgid, LIB_ARM_EXIT);
	if (!bpf_map_lookup_elem(&procs, &tgid))
		return 0;
	if (bpf_map_delete_elem(&procs, &tgid) < 0)
		return 0;
	bpf_map_delete_elem(&askers, &tgid);
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev) {
		ring_lost(NULL);
		return 0;
	}
	head_fill(&ev->h, now, 0, CBT_EV_EXIT, sizeof(*ev));
	ev->h.tgid = tgid;
	ev->h.tid = p->pid;
	ev->code = p->exit_code;
	ev->pad = 0;
	ring_submit(ev);
	return 0;
}
