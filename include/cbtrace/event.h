/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The event contract between whoever observes (kernel programs, recording, packet capture) and whoever
 * understands (decode, correlate, report).
 *
 * Both compilers include this file. Widths are fixed, enum values are explicit and never renumbered, a value
 * that is retired leaves a hole. Integers are in host byte order unless a field says otherwise; a recording is
 * therefore read on a machine of the byte order that wrote it, which its header states.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC. Process ids are those of the initial pid namespace.
 * Addresses are 16 bytes in network order, IPv4 as v4-mapped IPv6 (RFC 4291 section 2.5.5.2).
 */
#ifndef CBTRACE_EVENT_H
#define CBTRACE_EVENT_H

#include <linux/types.h>

/* Raised with every change that an older reader would misread. */
#define CBT_ABI_VERSION 2

#define CBT_COMM_LEN 16	 /* TASK_COMM_LEN of the kernel, with its NUL */
#define CBT_NAME_LEN 64	 /* __NEW_UTS_LEN without its NUL, cut */
#define CBT_PATH_MAX 512 /* longest cgroup path carried, without NUL */

/* Bytes of the stream that the tap may copy, counted by sequence number from the first byte. */
#define CBT_BUDGET_OUT (16 * 1024)
#define CBT_BUDGET_IN  (64 * 1024)

/* Most bytes that one event carries; a longer run leaves in several events. */
#define CBT_DATA_MAX 4096

enum cbt_event_type {
	CBT_EV_NONE = 0,
	CBT_EV_DNS = 1,	    /* one DNS message over UDP */
	CBT_EV_TCP = 2,	    /* one segment of a tapped TCP socket, or a further part of it */
	CBT_EV_CONNECT = 3, /* TCP connect() or Fast Open, in process context */
	CBT_EV_STATE = 4,   /* TCP state change of a tracked socket */
	CBT_EV_RELEASE = 5, /* a tracked socket was closed by its last holder */
	CBT_EV_EXEC = 6,    /* a tracked process started another program */
	CBT_EV_EXIT = 7,    /* the last thread of a tracked process ended */
	/* Learnt by the live side outside the ring; events like any other, so that a replay has them too. */
	CBT_EV_HOST = 8,  /* host facts and clock offset; the first event of every stream */
	CBT_EV_CLOCK = 9, /* the offset of CLOCK_REALTIME changed */
	CBT_EV_PROC = 10, /* what is known of a process: cgroup path, forwarder or not */
	CBT_EV_LOST = 11, /* loss counters went up */
	CBT_EV_END = 12,  /* the observer stopped here */
	/* 16..31 belong to the library probes; a reader skips those that it does not know. */
	CBT_EV_LIBRARY_FIRST = 16,
	CBT_EV_LIB_HELLO = 16,	 /* a TLS connection of a library wrote its ClientHello */
	CBT_EV_LIB_CERT = 17,	 /* (part of) one certificate that the peer sent */
	CBT_EV_LIB_ERROR = 18,	 /* the library gave up a handshake or a connection */
	CBT_EV_LIB_ELEMENT = 19, /* one XMPP element in plaintext, or what stands for it */
	CBT_EV_LIB_CLOSE = 20,	 /* SSL_shutdown or SSL_free */
	CBT_EV_LIB_PROC = 21,	 /* learnt by the live side: can this process be looked into? */
	CBT_EV_LIBRARY_LAST = 31,
};

enum cbt_dir {
	CBT_OUT = 0, /* leaves this host's process */
	CBT_IN = 1,
};

/* Where an event, or a byte that should have been in one, was lost. Index of the counters in CBT_EV_LOST. */
enum cbt_lost_stage {
	CBT_LOST_RING = 0,    /* the ring was full */
	CBT_LOST_TRACKED = 1, /* the table of tracked sockets or processes was full */
	CBT_LOST_STORAGE = 2, /* no memory for socket storage */
	CBT_LOST_PARSE = 3, /* a packet's headers could not be followed (IPv6 extension chain too long, short packet) */
	CBT_LOST_COPY = 4,  /* bytes of a packet could not be read */
	CBT_LOST_RECORDER = 5, /* user: the recorder had to forget an undecided event for want of memory */
	CBT_LOST_TABLE = 6,    /* user: a table of the correlator was full */
	CBT_LOST_INVALID = 7,  /* user: an event did not obey this contract */
	CBT_LOST_STAGES = 8,
};

/* Common head. Every event begins on an 8-byte boundary; @len is its exact length. */
struct cbt_hdr {
	__u64 ts;     /* ns, CLOCK_MONOTONIC */
	__u64 cookie; /* socket cookie (SO_COOKIE), 0 if the event has no socket */
	__u32 len;    /* bytes of this event, this head and @data included */
	__u16 type;   /* enum cbt_event_type */
	__u16 lost;   /* events of this socket lost since its previous event, saturating */
	__u32 tgid;   /* owner of the socket, stamped at connect/sendmsg; 0 unknown */
	__u32 tid;    /* thread that called connect/sendmsg; 0 unknown */
};

struct cbt_endpoint {
	__u8 addr[16]; /* network order, IPv4 as v4-mapped */
	__u16 port;    /* host order */
	__u16 pad[3];  /* 0 */
};

/*
 * Who owns a socket: stamped in process context, never "current" of a packet hook.
 */
struct cbt_owner {
	__u64 cgroup_id;	 /* cgroup v2 id of the caller */
	char comm[CBT_COMM_LEN]; /* of the thread group's leader, NUL terminated */
};

/*
 * A DNS message over UDP to or from remote port 53, as the socket knows the port (never the packet, which
 * egress shows after NAT and ingress before it). @remote: of the socket or the sendmsg address; for an answer
 * to an unconnected socket the packet's source address.
 */
struct cbt_ev_dns {
	struct cbt_hdr h;
	struct cbt_owner owner;
	struct cbt_endpoint remote;
	__u16 local_port; /* host order */
	__u8 dir;	  /* enum cbt_dir */
	__u8 pad;	  /* 0 */
	__u16 msg_len;	  /* bytes of the message on the wire */
	__u16 data_len;	  /* bytes of it that follow; less than @msg_len if the capture cut it */
	__u8 data[];
};

/* cbt_ev_tcp.flags: the flags byte of the TCP header (RFC 9293 section 3.1). */
#define CBT_TCP_FIN 0x01
#define CBT_TCP_SYN 0x02
#define CBT_TCP_RST 0x04
#define CBT_TCP_PSH 0x08
#define CBT_TCP_ACK 0x10

enum cbt_verdict {
	CBT_VERDICT_OPEN = 0,	 /* too few bytes yet */
	CBT_VERDICT_TLS = 1,	 /* proven: payload may leave */
	CBT_VERDICT_NOT_TLS = 2, /* something else: no payload of this socket ever leaves */
	CBT_VERDICT_DNS = 3,	 /* DNS over TCP: remote port 53 */
};

/* cbt_ev_tcp.part */
#define CBT_PART_FIRST 0 /* stands for the segment: count it, its length and its flags once */
#define CBT_PART_MORE  1 /* more bytes only, of this segment or of earlier ones (ClientHello byte by byte) */

/*
 * A TCP segment of a tapped socket. The first part (CBT_PART_FIRST) is always sent, with or without bytes;
 * further runs of bytes follow as CBT_PART_MORE. data[0] stands at sequence number
 * seq + data_off (+ 1 if SYN is set: the flag takes a number). Bytes that may not leave the kernel (see DESIGN section
 * 4) are simply not there: a reader must treat a hole as "not copied", never as zeroes.
 */
struct cbt_ev_tcp {
	struct cbt_hdr h;
	__u32 seq;	  /* host order */
	__u32 ack;	  /* host order; meaningful if CBT_TCP_ACK */
	__u32 seg_len;	  /* payload bytes of the segment (a GSO segment can have 64 kB) */
	__u32 data_off;	  /* where in the payload data[] begins */
	__u32 srtt_us;	  /* the kernel's smoothed round trip, µs; 0 unknown */
	__u16 local_port; /* host order */
	__u16 data_len;	  /* bytes that follow, at most CBT_DATA_MAX */
	__u8 dir;	  /* enum cbt_dir */
	__u8 flags;	  /* CBT_TCP_* */
	__u8 part;	  /* CBT_PART_* */
	__u8 verdict;	  /* enum cbt_verdict, of the socket after this segment */
	__u8 pad[4];	  /* 0 */
	__u8 data[];
};

enum cbt_why {
	CBT_WHY_PORT = 1,      /* the remote port is traced (5223, --port) */
	CBT_WHY_SRV_ASKER = 2, /* the process has just asked a matching SRV question; may prove unrelated */
	CBT_WHY_DNS = 3,       /* DNS over TCP: remote port 53 */
};

/*
 * connect() of a TCP socket, before the kernel acts on it. @count tells several connects of one socket apart.
 */
struct cbt_ev_connect {
	struct cbt_hdr h;
	struct cbt_owner owner;
	struct cbt_endpoint remote;
	__u32 count; /* 1 for the socket's first connect */
	__u8 why;    /* enum cbt_why */
	__u8 pad[3]; /* 0 */
};

/* Values of TCP states, include/net/tcp_states.h of the kernel; part of its user ABI since sock_diag. */
enum cbt_tcp_state {
	CBT_TCP_ESTABLISHED = 1,
	CBT_TCP_SYN_SENT = 2,
	CBT_TCP_FIN_WAIT1 = 4,
	CBT_TCP_FIN_WAIT2 = 5,
	CBT_TCP_TIME_WAIT = 6,
	CBT_TCP_CLOSE = 7,
	CBT_TCP_CLOSE_WAIT = 8,
	CBT_TCP_LAST_ACK = 9,
	CBT_TCP_CLOSING = 11,
};

struct cbt_ev_state {
	struct cbt_hdr h;
	__u8 old_state; /* enum cbt_tcp_state */
	__u8 new_state;
	__u16 pad;    /* 0 */
	__s32 sk_err; /* positive errno that the socket holds, 0 none (ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT …) */
};

/* CBT_EV_RELEASE has no body. */
struct cbt_ev_release {
	struct cbt_hdr h;
};

struct cbt_ev_exec {
	struct cbt_hdr h;
	char comm[CBT_COMM_LEN]; /* the new one */
};

struct cbt_ev_exit {
	struct cbt_hdr h;
	__u32 code; /* as wait(2) encodes it: signal in the low 7 bits, exit status in bits 8..15 */
	__u32 pad;  /* 0 */
};

struct cbt_ev_host {
	struct cbt_hdr h;
	__s64 realtime_offset;	    /* ns: CLOCK_REALTIME = ts + this */
	char host[CBT_NAME_LEN];    /* uname nodename, NUL terminated */
	char kernel[CBT_NAME_LEN];  /* uname release, NUL terminated */
	char boot_id[CBT_NAME_LEN]; /* /proc/sys/kernel/random/boot_id, NUL terminated; "" for a capture */
};

struct cbt_ev_clock {
	struct cbt_hdr h;
	__s64 realtime_offset; /* ns: CLOCK_REALTIME = ts + this, from this event on */
};

#define CBT_PROC_FORWARDER 0x1 /* has a socket on local port 53: its questions are another's */

struct cbt_ev_proc {
	struct cbt_hdr h;
	__u32 flags;	/* CBT_PROC_* */
	__u16 path_len; /* bytes of path[], 0 if the cgroup is unknown */
	__u16 pad;	/* 0 */
	char path[];	/* cgroup v2 path, not NUL terminated */
};

/*
 * Losses are noticed by counters that went up: h.ts is when they were last looked at, @until when they were found to
 * have risen. It stands before the events of that time, so that whoever reads them knows that some lack.
 */
struct cbt_ev_lost {
	struct cbt_hdr h;
	__u64 until;		      /* ns, CLOCK_MONOTONIC */
	__u64 count[CBT_LOST_STAGES]; /* since the observer started, never falling */
};

/* CBT_EV_END has no body. */
struct cbt_ev_end {
	struct cbt_hdr h;
};

/*
 * Library events. The socket is not known to a TLS library that writes to memory, so cookie is 0; @conn names the TLS
 * connection within its process (h.tgid): unique for as long as the process lives, never an address. What ties it to a
 * socket is the ClientHello's random, which the wire shows too. h.tid: the calling thread.
 */
struct cbt_ev_lib_hello {
	struct cbt_hdr h; /* ts: when the library handed the record to its BIO, before it is on the wire */
	__u64 conn;
	__u8 random[32]; /* RFC 8446 section 4.1.2 */
};

/* DER of a certificate as the peer sent it, in parts of at most CBT_DATA_MAX. */
struct cbt_ev_lib_cert {
	struct cbt_hdr h;
	__u64 conn;
	__u32 der_len;	/* of the whole certificate */
	__u32 off;	/* where data[] begins in it */
	__u16 index;	/* 0: the leaf */
	__u16 data_len; /* bytes that follow */
	__u8 pad[4];	/* 0 */
	__u8 data[];
};

#define CBT_VERIFY_UNKNOWN (-1)

struct cbt_ev_lib_error {
	struct cbt_hdr h;
	__u64 conn;
	__s32 reason;	     /* OpenSSL's SSL_R_*: 1000 + n is alert n received, 134 certificate verify failed */
	__s32 verify_result; /* X509_V_*, what the client's verification said; CBT_VERIFY_UNKNOWN */
};

enum cbt_element_kind {
	CBT_ELEMENT_STREAM_OPEN = 1,  /* the start tag of the stream; data[] is its `to` (out) or `from` (in) */
	CBT_ELEMENT_STREAM_CLOSE = 2, /* its end tag */
	CBT_ELEMENT_CHILD = 3,	      /* a whole child of the stream: stanza, handshake, error, … */
	CBT_ELEMENT_SPACE = 4,	      /* a call that carried nothing but white space between elements: a keep-alive */
	CBT_ELEMENT_NOT_XML = 5,      /* the first bytes are no XML: nothing more is told of this direction */
	CBT_ELEMENT_GAP = 6,	      /* bytes were not looked at (a call too long, memory unreadable) */
};

/* cbt_ev_lib_element.flags */
#define CBT_ELEMENT_CUT	    0x01 /* a name or value was longer than its place */
#define CBT_ELEMENT_UNENDED 0x02 /* told at a gap, before its end was seen */

enum cbt_stanza_type {			  /* the `type` attribute of a stanza */
		       CBT_TYPE_NONE = 0, /* absent */
		       CBT_TYPE_GET = 1,
		       CBT_TYPE_SET = 2,
		       CBT_TYPE_RESULT = 3,
		       CBT_TYPE_ERROR = 4,
		       CBT_TYPE_OTHER = 5,
};

#define CBT_ELEMENT_NAME_LEN 32	 /* of a local name, with its NUL */
#define CBT_ELEMENT_DATA_MAX 256 /* of the stream's `to` or `from` */

/*
 * What of the plaintext leaves the kernel, and nothing else: names, sizes, kinds, the component's name and a hash of a
 * stanza's id. Never character data, never the stream's id.
 */
struct cbt_ev_lib_element {
	struct cbt_hdr h; /* ts: out: when the call that carried its last byte began; in: when it returned */
	__u64 conn;
	__u64 start_ns; /* the same of the call that carried its first byte */
	__u64 bytes;	/* plaintext of this direction up to the element's end, since the connection began */
	__u64 id_hash;	/* 64-bit FNV-1a of the stanza's id; 0 none */
	__u32 size;	/* bytes of the element, `<` to `>` */
	__u8 dir;	/* enum cbt_dir */
	__u8 kind;	/* enum cbt_element_kind */
	__u8 flags;	/* CBT_ELEMENT_* */
	__u8 type;	/* enum cbt_stanza_type */
	char name[CBT_ELEMENT_NAME_LEN];  /* local name, NUL padded */
	char child[CBT_ELEMENT_NAME_LEN]; /* local name of its first child element, NUL padded; "" none */
	__s32 verify_result;		  /* as in cbt_ev_lib_error; told with a STREAM_OPEN */
	__u16 data_len;			  /* bytes that follow */
	__u8 pad[2];			  /* 0 */
	char data[];			  /* not NUL terminated */
};

enum cbt_close_how {
	CBT_CLOSE_SHUTDOWN = 1, /* the client called SSL_shutdown: its close_notify goes out */
	CBT_CLOSE_FREE = 2,	/* SSL_free: nothing more will be told of @conn */
	CBT_CLOSE_RECEIVED = 3, /* a read found that the peer had sent close_notify */
};

struct cbt_ev_lib_close {
	struct cbt_hdr h;
	__u64 conn;
	__u64 bytes[2];	     /* plaintext so far, index enum cbt_dir */
	__s32 verify_result; /* as in cbt_ev_lib_error */
	__u8 how;	     /* enum cbt_close_how */
	__u8 pad[3];	     /* 0 */
};

enum cbt_library_state {
	CBT_LIBRARY_ARMED = 1,	    /* probes are in place */
	CBT_LIBRARY_NONE = 2,	    /* no OpenSSL in it */
	CBT_LIBRARY_UNREADABLE = 3, /* file or symbols could not be read */
	CBT_LIBRARY_GONE = 4,	    /* the process, or the library's file, went meanwhile */
	CBT_LIBRARY_REFUSED = 5,    /* the kernel would not place the probes */
	CBT_LIBRARY_FULL = 6,	    /* too many processes armed */
	CBT_LIBRARY_STATES = 7,
};

struct cbt_ev_lib_proc {
	struct cbt_hdr h;
	__u8 state;  /* enum cbt_library_state */
	__u8 pad[7]; /* 0 */
};

/* No struct may hide padding: it would carry memory of the kernel, and a recording would differ from run to run. */
#define CBT_ASSERT_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type " changed size")
CBT_ASSERT_SIZE(cbt_hdr, 32);
CBT_ASSERT_SIZE(cbt_endpoint, 24);
CBT_ASSERT_SIZE(cbt_owner, 24);
CBT_ASSERT_SIZE(cbt_ev_dns, 32 + 24 + 24 + 8);
CBT_ASSERT_SIZE(cbt_ev_tcp, 32 + 32);
CBT_ASSERT_SIZE(cbt_ev_connect, 32 + 24 + 24 + 8);
CBT_ASSERT_SIZE(cbt_ev_state, 32 + 8);
CBT_ASSERT_SIZE(cbt_ev_release, 32);
CBT_ASSERT_SIZE(cbt_ev_exec, 32 + 16);
CBT_ASSERT_SIZE(cbt_ev_exit, 32 + 8);
CBT_ASSERT_SIZE(cbt_ev_host, 32 + 8 + 3 * 64);
CBT_ASSERT_SIZE(cbt_ev_clock, 32 + 8);
CBT_ASSERT_SIZE(cbt_ev_proc, 32 + 8);
CBT_ASSERT_SIZE(cbt_ev_lost, 32 + 8 + 8 * 8);
CBT_ASSERT_SIZE(cbt_ev_end, 32);
CBT_ASSERT_SIZE(cbt_ev_lib_hello, 32 + 8 + 32);
CBT_ASSERT_SIZE(cbt_ev_lib_cert, 32 + 24);
CBT_ASSERT_SIZE(cbt_ev_lib_error, 32 + 16);
CBT_ASSERT_SIZE(cbt_ev_lib_element, 32 + 4 * 8 + 8 + 2 * 32 + 8);
CBT_ASSERT_SIZE(cbt_ev_lib_close, 32 + 8 + 2 * 8 + 8);
CBT_ASSERT_SIZE(cbt_ev_lib_proc, 32 + 8);

#endif
