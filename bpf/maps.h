/* SPDX-License-Identifier: GPL-2.0-only */
/* Maps, configuration and counters that all hooks share. Defined in maps.bpf.c, linked by bpftool gen object. */
#ifndef CBTRACE_BPF_MAPS_H
#define CBTRACE_BPF_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include <cbtrace/event.h>
#include <cbtrace/scope.h>

#include "xmpp.h"

#define UNITS_MAX	 8
#define CGROUP_DEPTH_MAX 16 /* ancestors looked at for a unit's name */
#define TRACKED_MAX	 65536
#define PROCS_MAX	 8192
#define ASKERS_MAX	 4096
#define ASKER_NS	 60000000000ULL /* "has just asked": a minute covers every retry of a resolver */

#define LIB_BLOCK     16 /* bytes that the recogniser looks at in one go */
#define LIB_CALLS_MAX 4096
#define LIB_CONNS_MAX 4096

enum sock_kind {
	KIND_NONE = 0,
	KIND_DNS_UDP = 1,	      /* connected to port 53 */
	KIND_DNS_UDP_UNCONNECTED = 2, /* last sent to port 53 */
	KIND_DNS_TCP = 3,
	KIND_TCP = 4, /* tapped */
};

static __always_inline bool kind_is_tcp(__u8 kind)
{
	return kind == KIND_TCP || kind == KIND_DNS_TCP;
}

#define RUNS_MAX 16 /* a power of two */

/*
 * What of the segment at hand may leave: stretches of its payload, as offsets in it, and how far the loops over them
 * are. It lies in the map for the verifier's sake: what it reads from a map it does not track, so that all paths
 * through an iteration meet again; on the stack the two loops exceed its million instructions. Volatile, or the
 * compiler would keep it in registers all the same.
 */
struct scratch {
	volatile __u32 n, pos, run, in_run;
	volatile __u32 part; /* CBT_PART_* of the next event */
	volatile __u32 start[RUNS_MAX], end[RUNS_MAX];
};

/* Where the walk through one direction's TLS records stands. Offsets count from the first byte after the SYN. */
struct dir_state {
	__u32 isn;
	__u32 next;    /* first offset not walked yet */
	__u32 rec_end; /* end of the current record */
	__u8 has_isn;
	__u8 matched; /* bytes of prefix[] seen and right */
	__u8 proven;
	__u8 stopped; /* nothing more is copied */
	__u8 raw;     /* boundaries lost behind a hole: copy all within the budget */
	__u8 rec_type;
	__u8 hdr_have;
	__u8 hdr[5];
	__u8 prefix[6];
	__u8 pad[2];
	struct scratch scratch;
};

struct sock_state {
	struct cbt_owner owner;
	struct cbt_endpoint remote;
	__u64 cookie;
	__u32 tgid, tid;
	__u32 count;
	__u16 lost;
	__u8 kind;
	__u8 closed; /* the tap has told what it could */
	__u8 verdict;
	__u8 pad[7];
	struct dir_state dir[2];
};

struct tracked {
	__u32 tgid, tid;
};

/* A call into the TLS library that a thread is inside of. */
struct lib_call {
	__u64 ssl;
	__u64 buf;
	__u64 count_at; /* where the _ex forms put their count; 0: the call returns it */
	__u64 ts;	/* ns, when it began */
	__u64 told_ns;	/* of its elements */
	__u64 before;	/* plaintext of its direction that came before it */
	__u64 count;	/* bytes that it carried */
	__u64 pos;	/* of them, looked at */
	__u8 plain;	/* it carries plaintext: not SSL_do_handshake */
	__u8 dir;
	__u8 pad[6];
	__u8 data[LIB_BLOCK]; /* what the recogniser looks at */
};

struct lib_conn_key {
	__u64 ssl;
	__u32 tgid;
	__u32 pad; /* 0 */
};

/* A client's TLS connection, known from its ClientHello on. */
struct lib_conn {
	__u64 id;
	__u64 bytes[2];	 /* plaintext so far */
	__u64 cert_end;	 /* where the last certificate of the chain ended in the process's memory */
	__u8 random[32]; /* of its ClientHello */
	__u8 certs, errors;
	__u8 plain;    /* the handshake is over */
	__u8 shutdown; /* bits 1 << enum cbt_close_how that were told */
	__u8 pad[4];
	struct xmpp_parser parser[2];
};

/* The least recently used goes first: a thread that died inside a call leaves its entry. */
struct lib_calls_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LIB_CALLS_MAX);
	__type(key, __u64); /* pid_tgid */
	__type(value, struct lib_call);
};

struct lib_conns_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LIB_CONNS_MAX);
	__type(key, struct lib_conn_key);
	__type(value, struct lib_conn);
};

/* One entry, all zeroes: a connection as it begins, too big for a stack. */
struct lib_zero_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct lib_conn);
};

/* Processes that user space has dealt with: armed, or found to have nothing to arm. */
struct lib_procs_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PROCS_MAX);
	__type(key, __u32);
	__type(value, struct lib_offsets);
};

/* By offset within a page: enum probe_program + 1, 0 none. */
struct lib_sites_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LIB_PAGE);
	__type(key, __u32);
	__type(value, __u8);
};

struct arms_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
};

struct events_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024); /* user space may set another size before load */
};

struct sockets_map {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sock_state);
};

/* Cookies that the host-wide hooks report. A plain hash: an entry leaves when its socket closes, not for another's. */
struct tracked_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TRACKED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct tracked);
};

/* Processes whose exec and exit are reported. The least recently used goes first: its exit is then not seen. */
struct procs_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PROCS_MAX);
	__type(key, __u32);
	__type(value, __u8);
};

struct askers_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, ASKERS_MAX);
	__type(key, __u32);
	__type(value, __u64); /* when it asked a matching SRV question, ns */
};

/* Cookies whose tap user space wants closed. */
struct done_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
};

struct lost_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CBT_LOST_STAGES);
	__type(key, __u32);
	__type(value, __u64);
};

extern struct events_map events SEC(".maps");
extern struct sockets_map sockets SEC(".maps");
extern struct tracked_map tracked SEC(".maps");
extern struct procs_map procs SEC(".maps");
extern struct askers_map askers SEC(".maps");
extern struct done_map done SEC(".maps");
extern struct lost_map lost SEC(".maps");

extern struct lib_calls_map lib_calls SEC(".maps");
extern struct lib_conns_map lib_conns SEC(".maps");
extern struct lib_zero_map lib_zero SEC(".maps");
extern struct lib_procs_map lib_procs SEC(".maps");
extern struct lib_sites_map lib_sites SEC(".maps");
extern struct arms_map arms SEC(".maps");

extern const volatile __u32 library; /* LIBRARY_* */
extern const volatile struct scope_config scope;
extern const volatile __u16 ports[SCOPE_PORTS_MAX]; /* host order */
extern const volatile __u32 n_ports;
/* Here, since the .rodata sections of two objects do not link when both have statics. */
extern const volatile char component_label[16];

/* READER_*: set by the reader before it sleeps, moved on by the producers. */
extern volatile __u32 asleep;

#endif
