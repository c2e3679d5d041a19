/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a packet (its IP header at offset 0, as cgroup_skb shows it) to where the transport header and the payload are.
 */
#ifndef CBTRACE_BPF_HEADERS_H
#define CBTRACE_BPF_HEADERS_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IPV6_EXTENSIONS_MAX 6

struct packet {
	__u32 transport; /* offset of the TCP or UDP header */
	__u32 payload;	 /* offset of what it carries */
	__u32 len;	 /* bytes of payload */
	__u8 protocol;
	__u8 v6;
	__u8 flags; /* TCP */
	__u8 pad;
	__u32 seq, ack;			    /* TCP, host order */
	__u16 local_port, remote_port_wire; /* host order; the remote one as the packet has it */
};

/* RFC 8200 section 4: next header and length in units of 8 bytes, the first 8 not counted; a fragment header has 8. */
static __always_inline int packet_ip6(struct __sk_buff *skb, struct packet *p)
{
	__u32 off = 40;
	__u8 next;

	if (bpf_skb_load_bytes(skb, 6, &next, 1) < 0)
		return -1;
	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		__u8 ext[2];

		if (next == IPPROTO_TCP || next == IPPROTO_UDP) {
			p->protocol = next;
			p->transport = off;
			return 0;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			return -1;
		if (bpf_skb_load_bytes(skb, off, ext, sizeof(ext)) < 0)
			return -1;
		off += next == IPPROTO_FRAGMENT ? 8 : ((__u32)ext[1] + 1) * 8;
		next = ext[0];
	}
	return -1;
}

static __always_inline int packet_ip(struct __sk_buff *skb, struct packet *p)
{
	__u8 first, protocol;

	if (bpf_skb_load_bytes(skb, 0, &first, 1) < 0)
		return -1;
	p->v6 = first >> 4 == 6;
	if (p->v6)
		return packet_ip6(skb, p);
	if (bpf_skb_load_bytes(skb, 9, &protocol, 1) < 0)
		return -1;
	p->protocol = protocol;
	p->transport = (first & 0xf) * 4;
	return 0;
}

static __always_inline int packet_udp(struct __sk_buff *skb, struct packet *p, bool out)
{
	__u16 port[2];

	if (bpf_skb_load_bytes(skb, p->transport, port, sizeof(port)) < 0)
		return -1;
	p->local_port = bpf_ntohs(out ? port[0] : port[1]);
	p->remote_port_wire = bpf_ntohs(out ? port[1] : port[0]);
	p->payload = p->transport + 8;
	if (skb->len < p->payload)
		return -1;
	p->len = skb->len - p->payload;
	return 0;
}

static __always_inline int packet_tcp(struct __sk_buff *skb, struct packet *p, bool out)
{
	struct {
		__be16 port[2];
		__be32 seq, ack;
		__u8 offset, flags;
		__be16 window;
	} h;

	if (bpf_skb_load_bytes(skb, p->transport, &h, sizeof(h)) < 0)
		return -1;
	p->local_port = bpf_ntohs(out ? h.port[0] : h.port[1]);
	p->remote_port_wire = bpf_ntohs(out ? h.port[1] : h.port[0]);
	p->seq = bpf_ntohl(h.seq);
	p->ack = bpf_ntohl(h.ack);
	p->flags = h.flags;
	p->payload = p->transport + (h.offset >> 4) * 4;
	if (skb->len < p->payload)
		return -1;
	p->len = skb->len - p->payload;
	return 0;
}

/* Source address of an inbound packet as 16 bytes. */
static __always_inline int packet_source(struct __sk_buff *skb, const struct packet *p, __u8 addr[16])
{
	if (p->v6)
		return bpf_skb_load_bytes(skb, 8, addr, 16);
	__builtin_memset(addr, 0, 10);
	addr[10] = addr[11] = 0xff;
	return bpf_skb_load_bytes(skb, 12, addr + 12, 4);
}

#endif
