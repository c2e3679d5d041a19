// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bounded tap.
 *
 * cgroup_skb/egress, ingress: at IP output and input of sockets that connect.bpf.c has marked: DNS messages; of tapped
 * TCP sockets each segment's numbers and flags, and of a stream proven to be TLS the bytes that a handshake needs.
 *
 * Nothing but TLS is copied. Payload leaves only after the stream's first bytes have been those of a ClientHello (and
 * the server's those of a handshake or alert record); until then, and for good after a mismatch, only lengths and flags
 * do. Of application data records only the 5-byte header is copied. Records are walked in stream order; behind a hole
 * in it (a lost or reordered segment) the boundaries are unknown and the rest of that direction's budget is copied as
 * it comes: ciphertext of a stream that is proven to be TLS. What overtakes the proof itself is never seen again, and
 * stays a hole.
 *
 * A socket's egress is serial, under its lock. Its ingress runs before that lock is taken, so two packets of one socket
 * may meet on two CPUs, if rarely: the runs of one are then the other's. That costs bytes or adds ciphertext; the proof
 * that anything may leave is egress's alone.
 *
 * Both return 1: every packet passes.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include "headers.h"
#include "maps.h"
#include "ring.h"

#define RECORDS_PER_SEGMENT 24 /* records walked in one segment; behind them, raw */
#define CHUNKS_MAX \
	(RUNS_MAX + CBT_BUDGET_IN / CBT_DATA_MAX + 1) /* events of one segment: each run ends with a short one */
#define DNS_COPY_MAX 4096

#define REC_HEADER    5
#define REC_CCS	      20
#define REC_ALERT     21
#define REC_HANDSHAKE 22
#define REC_APPDATA   23

struct tap {
	struct packet p;
	__u64 ts;
	__u32 srtt_us;
	__u32 dir; /* enum cbt_dir */
};

/* --- DNS over UDP --- */

/*
 * Does a question begin here that asks for _xmpp-component._tcp. or _xmpp-components._tcp.? Letters of either case: bit
 * 5 is set on both sides, which for the other characters of these labels loses nothing that matters.
 */
static __always_inline bool asks_component_srv(struct __sk_buff *skb, __u32 message)
{
	__u8 q[22];
	__u32 plural;

	if (bpf_skb_load_bytes(skb, message + 12, q, sizeof(q)) < 0)
		return false;
	if (q[0] != 15 && q[0] != 16)
		return false;
	plural = q[0] - 15;
	for (__u32 i = 0; i < 15; i++)
		if ((q[1 + i] | 0x20) != (component_label[i] | 0x20))
			return false;
	if (plural && (q[16] | 0x20) != 's')
		return false;
	if (plural)
		return q[17] == 4 && q[18] == '_' && (q[19] | 0x20) == 't' && (q[20] | 0x20) == 'c' &&
		       (q[21] | 0x20) == 'p';
	return q[16] == 4 && q[17] == '_' && (q[18] | 0x20) == 't' && (q[19] | 0x20) == 'c' && (q[20] | 0x20) == 'p';
}

static __always_inline void asker_tag(struct sock_state *st, __u64 ts)
{
	bpf_map_update_elem(&askers, &st->tgid, &ts, BPF_ANY);
	arm_met(st->tgid, LIB_ARM_ASKED);
}

/* @room is a constant: the verifier wants the size of a record so. */
static __always_inline void dns_emit(struct __sk_buff *skb, struct sock_state *st, const struct packet *p, __u64 ts,
				     __u8 dir, __u32 len, const __u32 room)
{
	struct cbt_ev_dns *ev = bpf_ringbuf_reserve(&events, sizeof(*ev) + room, 0);

	if (!ev) {
		ring_lost(st);
		return;
	}
	head_fill_socket(&ev->h, st, ts, CBT_EV_DNS, sizeof(*ev) + len);
	ev->owner = st->owner;
	ev->remote = st->remote;
	ev->local_port = p->local_port;
	ev->dir = dir;
	ev->pad = 0;
	ev->msg_len = (__u16)p->len;
	ev->data_len = (__u16)len;
	/* The connected remote is what the application asked; only an unconnected socket's answer must be read off the
	 * packet. */
	if (dir == CBT_IN && st->kind == KIND_DNS_UDP_UNCONNECTED)
		packet_source(skb, p, ev->remote.addr);
	/* 1 <= len <= room, in a form that 5.10's verifier sees. */
	len = ((len - 1) & (room - 1)) + 1;
	if (bpf_skb_load_bytes(skb, p->payload, ev->data, len) < 0) {
		ring_copy_failed(st, &ev->h);
		return;
	}
	ring_submit(ev);
}

static __always_inline void dns_packet(struct __sk_buff *skb, struct sock_state *st, __u64 ts, bool out)
{
	struct packet p = {};
	__u32 len;

	if (packet_ip(skb, &p) < 0 || p.protocol != IPPROTO_UDP || packet_udp(skb, &p, out) < 0) {
		lost_count(CBT_LOST_PARSE);
		return;
	}
	if (!p.len)
		return;
	/* What an unconnected socket gets from another port is no answer to its questions. */
	if (!out && st->kind == KIND_DNS_UDP_UNCONNECTED && p.remote_port_wire != 53)
		return;
	len = p.len;
	if (len <= 128)
		dns_emit(skb, st, &p, ts, out ? CBT_OUT : CBT_IN, len, 128);
	else if (len <= 512)
		dns_emit(skb, st, &p, ts, out ? CBT_OUT : CBT_IN, len, 512);
	else
		dns_emit(skb, st, &p, ts, out ? CBT_OUT : CBT_IN, len > DNS_COPY_MAX ? DNS_COPY_MAX : len,
			 DNS_COPY_MAX);
	if (out && asks_component_srv(skb, p.payload))
		asker_tag(st, ts);
}

/* --- TCP --- */

static __always_inline void tcp_fill(struct cbt_ev_tcp *ev, struct sock_state *st, const struct tap *t, __u32 off,
				     __u32 len, __u8 part)
{
	head_fill_socket(&ev->h, st, t->ts, CBT_EV_TCP, sizeof(*ev) + len);
	ev->seq = t->p.seq;
	ev->ack = t->p.ack;
	ev->seg_len = t->p.len;
	ev->data_off = off;
	ev->srtt_us = t->srtt_us;
	ev->local_port = t->p.local_port;
	ev->data_len = (__u16)len;
	ev->dir = (__u8)t->dir;
	ev->flags = t->p.flags;
	ev->part = part;
	ev->verdict = st->verdict;
	__builtin_memset(ev->pad, 0, sizeof(ev->pad));
}

static __always_inline void tcp_emit_bare(struct sock_state *st, const struct tap *t)
{
	struct cbt_ev_tcp *ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);

	if (!ev) {
		ring_lost(st);
		return;
	}
	tcp_fill(ev, st, t, 0, 0, CBT_PART_FIRST);
	ring_submit(ev);
}

static __always_inline void tcp_emit(struct __sk_buff *skb, struct sock_state *st, struct scratch *w,
				     const struct tap *t, __u32 off, __u32 len, const __u32 room)
{
	struct cbt_ev_tcp *ev = bpf_ringbuf_reserve(&events, sizeof(*ev) + room, 0);

	if (!ev) {
		ring_lost(st);
		return;
	}
	tcp_fill(ev, st, t, off, len, (__u8)w->part);
	w->part = CBT_PART_MORE;
	len = ((len - 1) & (room - 1)) + 1;
	if (bpf_skb_load_bytes(skb, t->p.payload + off, ev->data, len) < 0) {
		ring_copy_failed(st, &ev->h);
		return;
	}
	ring_submit(ev);
}

/* Bytes of the proof that came in earlier segments and were held back until now. */
static __always_inline void tcp_emit_withheld(struct sock_state *st, struct dir_state *d, const struct tap *t, __u32 n)
{
	struct cbt_ev_tcp *ev = bpf_ringbuf_reserve(&events, sizeof(*ev) + 8, 0);

	if (!ev) {
		ring_lost(st);
		return;
	}
	tcp_fill(ev, st, t, 0, n, CBT_PART_MORE);
	ev->seq = d->isn + 1;
	ev->seg_len = 0;
	ev->flags &= ~(CBT_TCP_SYN | CBT_TCP_FIN | CBT_TCP_RST);
	__builtin_memset(ev->data, 0, 8);
	for (__u32 i = 0; i < sizeof(d->prefix); i++)
		if (i < n)
			ev->data[i] = d->prefix[i];
	ring_submit(ev);
}

/* Is byte @i of a direction's first record what TLS has there? RFC 8446 sections 4 and 5.1. */
static __always_inline bool prefix_right(bool out, __u32 i, __u8 byte)
{
	switch (i) {
	case 0:
		return byte == REC_HANDSHAKE || (!out && byte == REC_ALERT);
	case 1:
		return byte == 3;
	case 2:
		return byte <= 4;
	case 5:
		return byte == 1; /* ClientHello */
	default:
		return true;
	}
}

/* Look at the first bytes of a direction, even if they come one by one. True once they are proven; then the walk may
 * begin at @off. */
static __always_inline bool prefix_prove(struct __sk_buff *skb, struct sock_state *st, struct dir_state *d,
					 const struct tap *t, bool out, __u32 off)
{
	__u32 need = out ? 6 : REC_HEADER;

	for (__u32 i = 0; i < 6; i++) {
		__u8 byte;

		if (i >= need)
			break;
		if (i != d->matched || i < off || i - off >= t->p.len)
			continue;
		if (bpf_skb_load_bytes(skb, t->p.payload + (i - off), &byte, 1) < 0)
			return false;
		if (!prefix_right(out, i, byte)) {
			st->verdict = CBT_VERDICT_NOT_TLS;
			return false;
		}
		d->prefix[i] = byte;
		d->matched = (__u8)(i + 1);
	}
	if (d->matched < need)
		return false;
	/* A server that speaks before a ClientHello is no TLS server, whatever its bytes. */
	if (!out && !st->dir[CBT_OUT].proven) {
		st->verdict = CBT_VERDICT_NOT_TLS;
		return false;
	}
	d->proven = 1;
	if (out)
		st->verdict = CBT_VERDICT_TLS;
	d->rec_type = d->prefix[0];
	d->rec_end = REC_HEADER + ((__u32)d->prefix[3] << 8 | d->prefix[4]);
	d->next = off;
	return true;
}

/* False if there is no place for one more run. */
static __always_inline bool run_add(struct scratch *w, __u32 start, __u32 end)
{
	__u32 n = w->n;

	if (start >= end)
		return true;
	if (n && w->end[(n - 1) & (RUNS_MAX - 1)] == start) {
		w->end[(n - 1) & (RUNS_MAX - 1)] = end;
		return true;
	}
	if (n >= RUNS_MAX)
		return false;
	w->start[n & (RUNS_MAX - 1)] = start;
	w->end[n & (RUNS_MAX - 1)] = end;
	w->n = n + 1;
	return true;
}

/* Byte @k of a record header inside the stream; anything else is not TLS any more. */
static __always_inline bool header_right(__u32 k, __u8 byte)
{
	if (k == 0)
		return byte >= REC_CCS && byte <= REC_APPDATA;
	return k != 1 || byte == 3;
}

/* Bytes of a record header from @pos on; how far it got is in the scratch. A wrong byte is not taken, and ends the
 * walk. */
static __always_inline void header_read(struct __sk_buff *skb, struct dir_state *d, const struct tap *t, __u32 pos)
{
	for (__u32 k = 0; k < REC_HEADER; k++) {
		__u8 byte;

		if (k != d->hdr_have || pos >= t->p.len)
			continue;
		if (bpf_skb_load_bytes(skb, t->p.payload + pos, &byte, 1) < 0)
			break;
		if (!header_right(k, byte)) {
			d->stopped = 1;
			break;
		}
		d->hdr[k] = byte;
		d->hdr_have = (__u8)(k + 1);
		pos++;
	}
	d->scratch.pos = pos;
}

/* All from @start to the segment's end, as the last run; if there is no place, the last run grows over the gap. */
static __always_inline void run_close(struct scratch *w, __u32 start, __u32 end)
{
	if (!run_add(w, start, end))
		w->end[RUNS_MAX - 1] = end;
}

/* Record by record through one segment whose first payload byte has offset @off. Fills the runs that may leave. */
static __always_inline void records_walk(struct __sk_buff *skb, struct dir_state *d, const struct tap *t, __u32 off)
{
	struct scratch *w = &d->scratch;
	__u32 len = t->p.len;

	if (d->raw) {
		/* What fills the hole comes with lower numbers: no telling old from new. */
		run_add(w, 0, len);
		return;
	}
	if (off + len <= d->next)
		return; /* sent again */
	if (off < d->next) {
		w->pos = d->next - off;
	} else if (off > d->next) {
		/* A hole. Inside a body that is skipped anyway it does not matter. */
		if (!(d->rec_type == REC_APPDATA && d->rec_end >= off && !d->hdr_have))
			d->raw = 1;
	}
	for (int i = 0; i < 2 * RECORDS_PER_SEGMENT; i++) {
		__u32 pos = w->pos, at = off + pos, n = 0;

		if (pos >= len || d->raw)
			break;
		if (at < d->rec_end) {
			n = d->rec_end - at;
			if (n > len - pos)
				n = len - pos;
			if (d->rec_type != REC_APPDATA && !run_add(w, pos, pos + n))
				break;
			w->pos = pos + n;
			continue;
		}
		/* A header, of which this segment may hold only a part. */
		header_read(skb, d, t, pos);
		n = w->pos - pos;
		if (d->stopped) {
			run_add(w, pos, pos + n);
			return;
		}
		if (!run_add(w, pos, pos + n)) {
			w->pos = pos;
			break;
		}
		if (d->hdr_have < REC_HEADER)
			break;
		d->hdr_have = 0;
		d->rec_type = d->hdr[0];
		d->rec_end = off + pos + n + ((__u32)d->hdr[3] << 8 | d->hdr[4]);
	}
	/* A hole, or too many records, or runs: from here on as it comes. */
	if (w->pos < len) {
		d->raw = 1;
		run_close(w, w->pos, len);
	}
	d->next = off + len;
}

/* The runs of a segment as events; the first stands for the segment. */
static __always_inline void runs_emit(struct __sk_buff *skb, struct sock_state *st, struct scratch *w,
				      const struct tap *t, __u32 off, __u32 budget)
{
	for (int i = 0; i < CHUNKS_MAX; i++) {
		__u32 run = w->run, start, end, n;

		if (run >= w->n || run >= RUNS_MAX)
			break;
		start = w->start[run & (RUNS_MAX - 1)] + w->in_run;
		end = w->end[run & (RUNS_MAX - 1)];
		if (start >= end || off + start >= budget) {
			w->run = run + 1;
			w->in_run = 0;
			continue;
		}
		n = end - start;
		if (n > budget - (off + start))
			n = budget - (off + start);
		if (n > CBT_DATA_MAX)
			n = CBT_DATA_MAX;
		if (start + n == end) {
			w->run = run + 1;
			w->in_run = 0;
		} else {
			w->in_run += n;
		}
		if (n <= 64)
			tcp_emit(skb, st, w, t, start, n, 64);
		else if (n <= 512)
			tcp_emit(skb, st, w, t, start, n, 512);
		else if (n <= 2048)
			tcp_emit(skb, st, w, t, start, n, 2048);
		else
			tcp_emit(skb, st, w, t, start, n, CBT_DATA_MAX);
	}
	if (w->run < w->n && w->run < RUNS_MAX)
		lost_count(CBT_LOST_COPY);
	if (w->part == CBT_PART_FIRST)
		tcp_emit_bare(st, t);
}

static __always_inline void dns_stream(struct __sk_buff *skb, struct sock_state *st, struct dir_state *d,
				       const struct tap *t, bool out, __u32 off)
{
	run_add(&d->scratch, 0, t->p.len);
	if (!out)
		return;
	/* The question right behind its length, in one segment or in two. */
	if (off == 0 && t->p.len > 2 && asks_component_srv(skb, t->p.payload + 2))
		asker_tag(st, t->ts);
	else if (off == 2 && asks_component_srv(skb, t->p.payload))
		asker_tag(st, t->ts);
}

static __always_inline void tls_stream(struct __sk_buff *skb, struct sock_state *st, struct dir_state *d, struct tap *t,
				       bool out, __u32 off)
{
	if (st->verdict == CBT_VERDICT_NOT_TLS || d->stopped)
		return;
	if (!d->proven) {
		__u32 before = d->matched;

		if (!prefix_prove(skb, st, d, t, out, off))
			return;
		if (off && before)
			tcp_emit_withheld(st, d, t, off < before ? off : before);
	}
	records_walk(skb, d, t, off);
}

static __always_inline void tcp_packet(struct __sk_buff *skb, struct bpf_sock *sk, struct sock_state *st, __u64 ts,
				       bool out)
{
	__u32 budget = out ? CBT_BUDGET_OUT : CBT_BUDGET_IN;
	struct bpf_tcp_sock *tp;
	struct dir_state *d = &st->dir[out ? CBT_OUT : CBT_IN];
	struct tap t = {.ts = ts, .dir = out ? CBT_OUT : CBT_IN};
	__u32 off;

	if (bpf_map_lookup_elem(&done, &st->cookie)) {
		bpf_map_delete_elem(&done, &st->cookie);
		st->closed = 1;
		return;
	}
	if (packet_ip(skb, &t.p) < 0 || t.p.protocol != IPPROTO_TCP || packet_tcp(skb, &t.p, out) < 0) {
		lost_count(CBT_LOST_PARSE);
		return;
	}
	tp = bpf_tcp_sock(sk);
	if (tp)
		t.srtt_us = tp->srtt_us >> 3; /* the kernel keeps it times eight */
	/* Ingress comes before TCP's own checks: a stray SYN must not move a stream that has begun. */
	if (t.p.flags & CBT_TCP_SYN && !d->matched) {
		d->isn = t.p.seq;
		d->has_isn = 1;
	}
	/* With Fast Open the SYN carries data, and takes a number itself. */
	off = t.p.seq + (t.p.flags & CBT_TCP_SYN ? 1 : 0) - d->isn - 1;
	d->scratch.n = d->scratch.pos = d->scratch.run = d->scratch.in_run = 0;
	d->scratch.part = CBT_PART_FIRST;
	/* A stream whose beginning was not seen cannot be proven. */
	if (t.p.len && d->has_isn && off < budget) {
		if (st->kind == KIND_DNS_TCP)
			dns_stream(skb, st, d, &t, out, off);
		else
			tls_stream(skb, st, d, &t, out, off);
	}
	runs_emit(skb, st, &d->scratch, &t, off, budget);
	if (t.p.len && (!d->has_isn || (off >= budget && off < 0x80000000))) {
		d->stopped = 1;
		if (st->dir[CBT_OUT].stopped && st->dir[CBT_IN].stopped)
			st->closed = 1;
	}
}

static __always_inline void packet_hook(struct __sk_buff *skb, bool out)
{
	struct bpf_sock *sk = skb->sk;
	struct sock_state *st;
	__u64 ts;

	if (!sk)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!st || st->closed)
		return;
	/* Not before: most packets are not ours, and the look-up takes less than the clock's own error. */
	ts = bpf_ktime_get_ns();
	switch (st->kind) {
	case KIND_DNS_UDP:
	case KIND_DNS_UDP_UNCONNECTED:
		dns_packet(skb, st, ts, out);
		break;
	case KIND_DNS_TCP:
	case KIND_TCP:
		tcp_packet(skb, sk, st, ts, out);
		break;
	default:
		break;
	}
}

SEC("cgroup_skb/egress")
int cbt_egress(struct __sk_buff *skb)
{
	packet_hook(skb, true);
	return 1;
}

SEC("cgroup_skb/ingress")
int cbt_ingress(struct __sk_buff *skb)
{
	packet_hook(skb, false);
	return 1;
}
