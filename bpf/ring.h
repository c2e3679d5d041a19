/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Into the ring, and what happens when it is full. A record is reserved at a constant size (the verifier wants one) and
 * carries its exact length; per-CPU scratch would not do, since egress in process context is interrupted by ingress and
 * preempted by egress.
 */
#ifndef CBTRACE_BPF_RING_H
#define CBTRACE_BPF_RING_H

#include "maps.h"

static __always_inline void lost_count(__u32 stage)
{
	__u64 *n = bpf_map_lookup_elem(&lost, &stage);

	if (n)
		*n += 1;
}

/*
 * A wake-up costs ten times the event, so the reader comes by on a timer; only one that sleeps is woken, once. A plain
 * store clears the flag: two producers at the same moment wake twice, which is harmless. Not the first event after a
 * sleep wakes but the second: the first is nearly always a question or a connect on its way out, and the wake-up would
 * delay the traced process's own packet by 35 to 45 µs. Nothing that matters ends with one event: at the least a
 * release follows.
 */
static __always_inline void ring_submit(void *ev)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (asleep == READER_ASLEEP) {
		asleep = READER_STIRRED;
	} else if (asleep) {
		asleep = READER_AWAKE;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(ev, flags);
}

/* @st may be NULL: an event without socket storage. */
static __always_inline void ring_lost(struct sock_state *st)
{
	lost_count(CBT_LOST_RING);
	if (st && st->lost != 0xffff)
		st->lost++;
}

/* The packet could not be read after all: its event, and with it what it told of losses, is lost. */
static __always_inline void ring_copy_failed(struct sock_state *st, struct cbt_hdr *h)
{
	st->lost = h->lost != 0xffff ? h->lost + 1 : h->lost;
	bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);
	lost_count(CBT_LOST_COPY);
}

/* To the thread that arms library probes, which is woken at once: every microsecond counts there. */
static __always_inline void arm_tell(__u32 tgid, __u32 why)
{
	struct lib_arm *a = bpf_ringbuf_reserve(&arms, sizeof(*a), 0);

	if (!a) {
		lost_count(CBT_LOST_RING);
		return;
	}
	a->ts = bpf_ktime_get_ns();
	a->tgid = tgid;
	a->why = why;
	bpf_ringbuf_submit(a, BPF_RB_FORCE_WAKEUP);
}

/* In whole-host scope a process is met by what it does. */
static __always_inline void arm_met(__u32 tgid, __u32 why)
{
	if ((library & LIBRARY_ON) && !(library & LIBRARY_NARROW) && !bpf_map_lookup_elem(&lib_procs, &tgid))
		arm_tell(tgid, why);
}

static __always_inline void head_fill(struct cbt_hdr *h, __u64 ts, __u64 cookie, __u16 type, __u32 len)
{
	h->ts = ts;
	h->cookie = cookie;
	h->len = len;
	h->type = type;
	h->lost = 0;
	h->tgid = 0;
	h->tid = 0;
}

/* Head of an event of a socket: its owner, and what it lost before. */
static __always_inline void head_fill_socket(struct cbt_hdr *h, struct sock_state *st, __u64 ts, __u16 type, __u32 len)
{
	head_fill(h, ts, st->cookie, type, len);
	h->lost = st->lost;
	h->tgid = st->tgid;
	h->tid = st->tid;
	st->lost = 0;
}

#endif
