// SPDX-License-Identifier: GPL-2.0-only
/*
 * Process context: whose socket is it, where does it go, and is it to be tapped?
 *
 * cgroup/connect4, connect6: TCP: a leg, if the port is traced or the process has just asked for a matching SRV record;
 * DNS over TCP. Fast Open comes here too. UDP to port 53: a resolver's socket (connected ones never reach sendmsg*).
 * UDP to anything else: nothing; getaddrinfo sorts addresses that way.
 *
 * cgroup/sendmsg4, sendmsg6: unconnected UDP; the destination of each message decides anew.
 *
 * cgroup/sock_release: dates the moment a client gives up a DNS question, which no packet shows.
 *
 * All return 1: nothing is ever refused. What is decided here is kept in socket storage; the packet hooks only read it.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/socket.h>
#include <bpf/bpf_endian.h>

#include "maps.h"
#include "ring.h"
#include "scope.h"

#define AF_INET	 2
#define AF_INET6 10
#define PORT_DNS 53

static __always_inline bool port_traced(__u16 port)
{
	for (__u32 i = 0; i < SCOPE_PORTS_MAX; i++) {
		if (i >= n_ports)
			break;
		if (ports[i] == port)
			return true;
	}
	return false;
}

static __always_inline bool asked_srv(__u32 tgid, __u64 now)
{
	__u64 *at = bpf_map_lookup_elem(&askers, &tgid);

	return at && now - *at < ASKER_NS;
}

static __always_inline void endpoint_v4(struct cbt_endpoint *e, struct bpf_sock_addr *ctx)
{
	__u32 addr[4] = {0, 0, bpf_htonl(0xffff), ctx->user_ip4};

	__builtin_memcpy(e->addr, addr, sizeof(addr));
}

static __always_inline void endpoint_v6(struct cbt_endpoint *e, struct bpf_sock_addr *ctx)
{
	__u32 addr[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

	__builtin_memcpy(e->addr, addr, sizeof(addr));
}

static __always_inline void connect_emit(struct sock_state *st, __u64 ts, __u8 why)
{
	struct cbt_ev_connect *ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);

	if (!ev) {
		ring_lost(st);
		return;
	}
	head_fill_socket(&ev->h, st, ts, CBT_EV_CONNECT, sizeof(*ev));
	ev->owner = st->owner;
	ev->remote = st->remote;
	ev->count = st->count;
	ev->why = why;
	__builtin_memset(ev->pad, 0, sizeof(ev->pad));
	ring_submit(ev);
}

/* Everything of the socket's earlier life goes, but for the count of connects and the losses not told yet. */
static __always_inline void state_restart(struct sock_state *st, __u8 kind)
{
	st->kind = kind;
	st->closed = 0;
	st->verdict = kind == KIND_DNS_TCP ? CBT_VERDICT_DNS : CBT_VERDICT_OPEN;
	__builtin_memset(st->dir, 0, sizeof(st->dir));
}

static __always_inline int track(struct sock_state *st)
{
	struct tracked t = {.tgid = st->tgid, .tid = st->tid};
	__u8 one = 1;

	/* Looked up first: an insertion takes the list's lock, and a resolver sends often. */
	if (!bpf_map_lookup_elem(&procs, &st->tgid))
		bpf_map_update_elem(&procs, &st->tgid, &one, BPF_ANY);
	if (!kind_is_tcp(st->kind))
		return 0;
	/* The cookie outlives a connect: what user space said of the socket's last one must not close this tap. */
	bpf_map_delete_elem(&done, &st->cookie);
	return bpf_map_update_elem(&tracked, &st->cookie, &t, BPF_ANY);
}

/* A socket that goes elsewhere now: what it was stays behind. */
static __always_inline void state_forget(struct bpf_sock_addr *ctx)
{
	struct sock_state *st = bpf_sk_storage_get(&sockets, ctx->sk, 0, 0);

	if (!st)
		return;
	/* A connect that never left CLOSE has left its entry behind. */
	if (kind_is_tcp(st->kind))
		bpf_map_delete_elem(&tracked, &st->cookie);
	st->kind = KIND_NONE;
}

/* Why a TCP connect to @port is a leg: enum cbt_why, 0 if it is none. The cheap questions first. */
static __always_inline __u8 connect_why(__u16 port, __u64 now)
{
	if (port == PORT_DNS)
		return CBT_WHY_DNS;
	if (port_traced(port))
		return CBT_WHY_PORT;
	return asked_srv(bpf_get_current_pid_tgid() >> 32, now) ? CBT_WHY_SRV_ASKER : 0;
}

static __always_inline void address_hook(struct bpf_sock_addr *ctx, bool v6, bool message)
{
	__u64 now = bpf_ktime_get_ns();
	bool tcp = ctx->protocol == IPPROTO_TCP;
	bool udp = ctx->protocol == IPPROTO_UDP;
	__u16 port = bpf_ntohs((__u16)ctx->user_port);
	struct cbt_owner owner;
	struct sock_state *st;
	__u32 tgid, tid;
	__u8 kind, why = 0;

	if (tcp)
		why = connect_why(port, now);
	/* Scope last, it is the dearest question. Raw and other sockets have no storage to forget. */
	if (!why && !(udp && port == PORT_DNS)) {
		if (tcp || udp)
			state_forget(ctx);
		return;
	}
	if (!owner_in_scope(&owner, &tgid, &tid)) {
		state_forget(ctx);
		return;
	}
	if (udp)
		kind = message ? KIND_DNS_UDP_UNCONNECTED : KIND_DNS_UDP;
	else
		kind = why == CBT_WHY_DNS ? KIND_DNS_TCP : KIND_TCP;
	st = bpf_sk_storage_get(&sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st) {
		lost_count(CBT_LOST_STORAGE);
		return;
	}
	if (!(message && st->kind == kind))
		state_restart(st, kind);
	st->owner = owner;
	st->tgid = tgid;
	st->tid = tid;
	st->cookie = bpf_get_socket_cookie(ctx);
	__builtin_memset(&st->remote, 0, sizeof(st->remote));
	if (v6)
		endpoint_v6(&st->remote, ctx);
	else
		endpoint_v4(&st->remote, ctx);
	st->remote.port = port;
	if (track(st) < 0)
		lost_count(CBT_LOST_TRACKED);
	if (tcp) {
		st->count++;
		connect_emit(st, now, why);
		if (why == CBT_WHY_PORT)
			arm_met(tgid, LIB_ARM_CONNECT);
	}
}

SEC("cgroup/connect4")
int cbt_connect4(struct bpf_sock_addr *ctx)
{
	address_hook(ctx, false, false);
	return 1;
}

SEC("cgroup/connect6")
int cbt_connect6(struct bpf_sock_addr *ctx)
{
	address_hook(ctx, true, false);
	return 1;
}

SEC("cgroup/sendmsg4")
int cbt_sendmsg4(struct bpf_sock_addr *ctx)
{
	address_hook(ctx, false, true);
	return 1;
}

SEC("cgroup/sendmsg6")
int cbt_sendmsg6(struct bpf_sock_addr *ctx)
{
	address_hook(ctx, true, true);
	return 1;
}

SEC("cgroup/sock_release")
int cbt_release(struct bpf_sock *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	struct sock_state *st = bpf_sk_storage_get(&sockets, ctx, 0, 0);
	struct cbt_ev_release *ev;

	if (!st || st->kind == KIND_NONE)
		return 1;
	/* A socket that never left CLOSE will change its state no more; the others go by their last change. */
	if (kind_is_tcp(st->kind) && ctx->state == CBT_TCP_CLOSE)
		bpf_map_delete_elem(&tracked, &st->cookie);
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev) {
		ring_lost(st);
		return 1;
	}
	head_fill_socket(&ev->h, st, now, CBT_EV_RELEASE, sizeof(*ev));
	ring_submit(ev);
	return 1;
}
