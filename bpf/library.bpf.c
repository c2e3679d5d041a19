// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inside the TLS library (OpenSSL): what the wire hides. uprobes, placed by the loader in the processes in scope only,
 * where the kernel can emulate the instruction (user/probe_sites.h):
 *
 * SSL_do_handshake, SSL_read(_ex), SSL_write(_ex) with their returns: which SSL* this thread is at, and the plaintext,
 * which is classified here (xmpp.h) and stays here.
 * BIO_write: the ClientHello, whose random ties the SSL* to a socket, whatever BIO the application uses.
 * d2i_X509: the certificates that the peer sent.
 * ERR_vset_error (ERR_put_error before OpenSSL 3): why the library gave up, alerts under encryption among it.
 * SSL_shutdown, SSL_free: how it ended.
 *
 * A connection counts from its ClientHello on, so a server's SSL*, or one that began before the probes, costs a
 * look-up. uprobe programs can be preempted, so nothing lies in per-CPU memory; a thread's call is its own.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "maps.h"
#include "ring.h"

#define CERTS_MAX	  10
#define CERT_BYTES	  (16 * 1024)
#define CERT_PARTS	  (CERT_BYTES / CBT_DATA_MAX)
#define CERT_EXT_MAX	  4096 /* extensions of one CertificateEntry (OCSP, SCTs) */
#define ERRORS_MAX	  4
#define BLOCKS_MAX	  512 /* of a call: what comes after is a gap */
#define ERR_LIB_SSL	  20  /* openssl/err.h, the same since 0.9 */
#define RECEIVED_SHUTDOWN 2   /* SSL_RECEIVED_SHUTDOWN, openssl/ssl.h */

static __always_inline struct lib_call *call_of_thread(void)
{
	__u64 id = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&lib_calls, &id);
}

static __always_inline struct lib_conn_key conn_key(__u64 ssl)
{
	struct lib_conn_key key = {.ssl = ssl, .tgid = bpf_get_current_pid_tgid() >> 32};

	return key;
}

static __always_inline struct lib_conn *conn_find(__u64 ssl)
{
	struct lib_conn_key key = conn_key(ssl);

	return bpf_map_lookup_elem(&lib_conns, &key);
}

static __always_inline void lib_head_fill(struct cbt_hdr *h, __u64 ts, __u16 type, __u32 len)
{
	__u64 id = bpf_get_current_pid_tgid();

	head_fill(h, ts, 0, type, len);
	h->tgid = id >> 32;
	h->tid = (__u32)id;
}

/* --- What SSL* holds --- */

static __always_inline __s32 verify_result(__u64 ssl)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct lib_offsets *at = bpf_map_lookup_elem(&lib_procs, &tgid);
	__s64 result;

	if (!at || at->verify_result < 0 ||
	    bpf_probe_read_user(&result, sizeof(result), (void *)(ssl + at->verify_result)) < 0)
		return CBT_VERIFY_UNKNOWN;
	return (__s32)result;
}

static __always_inline bool shutdown_received(__u64 ssl)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct lib_offsets *at = bpf_map_lookup_elem(&lib_procs, &tgid);
	__s32 flags;

	if (!at || at->shutdown < 0 || bpf_probe_read_user(&flags, sizeof(flags), (void *)(ssl + at->shutdown)) < 0)
		return false;
	return flags & RECEIVED_SHUTDOWN;
}

/* --- Ends --- */

/* Told once of each connection. */
static __always_inline void close_tell(struct lib_conn *conn, __u64 ssl, __u8 how)
{
	struct cbt_ev_lib_close *ev;

	if (conn->shutdown & (1 << how))
		return;
	conn->shutdown |= 1 << how;
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev) {
		ring_lost(NULL);
		return;
	}
	lib_head_fill(&ev->h, bpf_ktime_get_ns(), CBT_EV_LIB_CLOSE, sizeof(*ev));
	ev->conn = conn->id;
	ev->bytes[CBT_OUT] = conn->bytes[CBT_OUT];
	ev->bytes[CBT_IN] = conn->bytes[CBT_IN];
	ev->verify_result = verify_result(ssl);
	ev->how = how;
	__builtin_memset(ev->pad, 0, sizeof(ev->pad));
	ring_submit(ev);
}

static __always_inline int shutdown_called(__u64 ssl)
{
	struct lib_conn *conn = conn_find(ssl);

	if (conn)
		close_tell(conn, ssl, CBT_CLOSE_SHUTDOWN);
	return 0;
}

SEC("uprobe")
int BPF_KPROBE(lib_shutdown, __u64 ssl)
{
	return shutdown_called(ssl);
}

static __always_inline int free_called(__u64 ssl)
{
	struct lib_conn_key key = conn_key(ssl);
	struct lib_conn *conn = bpf_map_lookup_elem(&lib_conns, &key);

	if (!conn)
		return 0;
	close_tell(conn, ssl, CBT_CLOSE_FREE);
	bpf_map_delete_elem(&lib_conns, &key);
	return 0;
}

SEC("uprobe")
int BPF_KPROBE(lib_free, __u64 ssl)
{
	return free_called(ssl);
}

/* --- Calls --- */

static __always_inline int call_enter(__u64 ssl, __u64 buf, __u64 count_at, __u8 plain, __u8 dir)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct lib_call call = {
		.ssl = ssl, .buf = buf, .count_at = count_at, .ts = bpf_ktime_get_ns(), .plain = plain, .dir = dir};

	if (bpf_map_update_elem(&lib_calls, &id, &call, BPF_ANY) < 0)
		lost_count(CBT_LOST_TRACKED);
	return 0;
}

SEC("uprobe")
int BPF_KPROBE(lib_handshake_enter, __u64 ssl)
{
	return call_enter(ssl, 0, 0, 0, 0);
}

SEC("uprobe")
int BPF_KPROBE(lib_read_int_enter, __u64 ssl, __u64 buf)
{
	return call_enter(ssl, buf, 0, 1, CBT_IN);
}

SEC("uprobe")
int BPF_KPROBE(lib_read_ex_enter, __u64 ssl, __u64 buf, __u64 num, __u64 count_at)
{
	return call_enter(ssl, buf, count_at, 1, CBT_IN);
}

SEC("uprobe")
int BPF_KPROBE(lib_write_int_enter, __u64 ssl, __u64 buf)
{
	return call_enter(ssl, buf, 0, 1, CBT_OUT);
}

SEC("uprobe")
int BPF_KPROBE(lib_write_ex_enter, __u64 ssl, __u64 buf, __u64 num, __u64 count_at)
{
	return call_enter(ssl, buf, count_at, 1, CBT_OUT);
}

/* --- Plaintext --- */

/*
 * The functions below are global and take numbers only, so that the verifier looks at each once, not at every path
 * through every block of every call; they find the thread's call anew, which costs some tens of ns.
 */

/* What of an element leaves; @kind 0: what the recogniser has just found. @bytes: see struct cbt_ev_lib_element. */
__noinline int lib_element(__u64 bytes, __u32 kind)
{
	struct lib_call *call = call_of_thread();
	struct cbt_ev_lib_element *ev;
	struct lib_conn *conn;
	struct xmpp_parser *p;
	__u64 len;
	__u8 dir;

	if (!call)
		return 0;
	conn = conn_find(call->ssl);
	if (!conn)
		return 0;
	dir = call->dir == CBT_OUT ? CBT_OUT : CBT_IN;
	p = &conn->parser[dir];
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev) + CBT_ELEMENT_DATA_MAX, 0);
	if (!ev) {
		ring_lost(NULL);
		return 0;
	}
	len = kind ? 0 : p->address_len;
	asm volatile("" : "+r"(len));
	if (len > CBT_ELEMENT_DATA_MAX)
		len = CBT_ELEMENT_DATA_MAX;
	lib_head_fill(&ev->h, call->told_ns, CBT_EV_LIB_ELEMENT, sizeof(*ev) + len);
	ev->conn = conn->id;
	ev->start_ns = kind ? call->told_ns : p->start_ns;
	ev->bytes = bytes;
	ev->id_hash = kind ? 0 : p->id_hash;
	ev->size = kind ? 0 : p->size;
	ev->dir = dir;
	ev->kind = kind ? kind : p->done;
	ev->flags = kind ? 0 : p->flags;
	ev->type = kind ? 0 : p->type;
	for (__u32 i = 0; i < CBT_ELEMENT_NAME_LEN; i++) {
		ev->name[i] = !kind && i < p->name_len ? p->name[i] : 0;
		ev->child[i] = !kind && i < p->child_len ? p->child[i] : 0;
	}
	ev->verify_result = ev->kind == CBT_ELEMENT_STREAM_OPEN ? verify_result(call->ssl) : CBT_VERIFY_UNKNOWN;
	ev->data_len = (__u16)len;
	ev->pad[0] = ev->pad[1] = 0;
	if (bpf_probe_read_kernel(ev->data, len, p->address) < 0)
		__builtin_memset(ev->data, 0, CBT_ELEMENT_DATA_MAX);
	ring_submit(ev);
	return 0;
}

/* The recogniser over the first @n bytes of the call's block, up to the end of an element: how many it took. */
__noinline int lib_block(__u32 n)
{
	struct lib_call *call = call_of_thread();
	struct lib_conn *conn;
	struct xmpp_parser *p;
	bool out;

	if (!call)
		return 0;
	conn = conn_find(call->ssl);
	if (!conn)
		return 0;
	out = call->dir == CBT_OUT;
	p = &conn->parser[out ? CBT_OUT : CBT_IN];
	for (__u32 i = 0; i < LIB_BLOCK; i++) {
		if (i >= n)
			break;
		xmpp_byte(p, call->data[i], out);
		if (p->done)
			return i + 1;
	}
	return n;
}

/* The next block of what the call carried, or the part of it that ends an element. 0: that was all, or no more can be
 * looked at. */
__noinline int lib_next(void)
{
	struct lib_call *call = call_of_thread();
	struct lib_conn *conn;
	struct xmpp_parser *p;
	__u64 n;
	int took;

	if (!call)
		return 0;
	conn = conn_find(call->ssl);
	if (!conn)
		return 0;
	p = &conn->parser[call->dir == CBT_OUT ? CBT_OUT : CBT_IN];
	n = call->count - call->pos;
	asm volatile("" : "+r"(n));
	if (n > LIB_BLOCK)
		n = LIB_BLOCK;
	if (!n || bpf_probe_read_user(call->data, n, (void *)(call->buf + call->pos)) < 0)
		return 0;
	if (!call->pos)
		xmpp_begin(p, call->data[0]);
	took = lib_block((__u32)n);
	if (p->fresh) {
		p->start_ns = call->told_ns;
		p->fresh = 0;
	}
	if (took <= 0)
		return 0;
	call->pos += (__u32)took;
	if (p->done) {
		lib_element(call->before + call->pos, 0);
		xmpp_taken(p);
	}
	/* What is no XML is not looked at further. */
	if (p->state == XMPP_DEAD)
		call->pos = call->count;
	return 1;
}

/* What @call carried: @count bytes. Times: out when it began, in when it returned. */
static __always_inline void plain_look(struct lib_call *call, struct lib_conn *conn, __u64 count, __u64 now)
{
	__u8 dir = call->dir == CBT_OUT ? CBT_OUT : CBT_IN;
	struct xmpp_parser *p = &conn->parser[dir];

	call->told_ns = dir == CBT_OUT ? call->ts : now;
	call->before = conn->bytes[dir];
	call->count = count;
	call->pos = 0;
	conn->plain = 1;
	conn->bytes[dir] += count;
	if (p->state == XMPP_DEAD)
		return;
	for (int i = 0; i < BLOCKS_MAX; i++)
		if (!lib_next())
			break;
	if (call->pos < count) {
		xmpp_gap(p);
		if (p->done) {
			lib_element(call->before + call->pos, 0);
			xmpp_taken(p);
		}
		lib_element(call->before + count, CBT_ELEMENT_GAP);
	} else if (!p->solid) {
		lib_element(call->before + count, CBT_ELEMENT_SPACE);
	}
}

/* How many bytes the call took or gave; 0 if it failed, would block, or is told again later. */
static __always_inline __u64 call_count(const struct lib_call *call, long result)
{
	__u64 count = 0;

	if ((__s32)result <= 0)
		return 0;
	if (!call->count_at)
		return (__u32)result;
	if (bpf_probe_read_user(&count, sizeof(count), (void *)call->count_at) < 0)
		lost_count(CBT_LOST_COPY);
	return count;
}

SEC("uretprobe")
int BPF_KRETPROBE(lib_call_exit, long result)
{
	__u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), count;
	struct lib_call *call = bpf_map_lookup_elem(&lib_calls, &id);
	struct lib_conn *conn;

	if (!call)
		return 0;
	conn = call->plain ? conn_find(call->ssl) : NULL;
	if (conn) {
		count = call_count(call, result);
		if (count)
			plain_look(call, conn, count, now);
		else if (call->dir == CBT_IN && shutdown_received(call->ssl))
			close_tell(conn, call->ssl, CBT_CLOSE_RECEIVED);
	}
	bpf_map_delete_elem(&lib_calls, &id);
	return 0;
}

/* --- The ClientHello --- */

/* RFC 8446 section 5.1: a record's header; section 4: a handshake message's; section 4.1.2: legacy_version, random. */
struct hello_head {
	__u8 type, major, minor, length[2];
	__u8 message, message_length[3];
	__u8 version[2];
	__u8 random[32];
} __attribute__((packed));

static __always_inline bool random_equal(const __u8 *a, const __u8 *b)
{
	for (__u32 i = 0; i < 32; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

static __always_inline struct lib_conn *conn_new(const struct lib_conn_key *key)
{
	__u32 first = 0;
	struct lib_conn *zero = bpf_map_lookup_elem(&lib_zero, &first);

	if (!zero || bpf_map_update_elem(&lib_conns, key, zero, BPF_ANY) < 0)
		return NULL;
	return bpf_map_lookup_elem(&lib_conns, key);
}

static __always_inline int bio_write(__u64 buf, __s32 len)
{
	struct lib_call *call = call_of_thread();
	struct cbt_ev_lib_hello *ev;
	struct lib_conn_key key;
	struct hello_head head;
	struct lib_conn *conn;
	__u64 now;

	/* Outside of a call it is a server's transport, or something else altogether. */
	if (!call || len < (__s32)sizeof(head) || bpf_probe_read_user(&head, sizeof(head), (void *)buf) < 0)
		return 0;
	if (head.type != 22 || head.major != 3 || head.message != 1)
		return 0;
	key = conn_key(call->ssl);
	conn = bpf_map_lookup_elem(&lib_conns, &key);
	/* A second BIO, or the second ClientHello after a HelloRetryRequest: the same random. */
	if (conn && random_equal(conn->random, head.random))
		return 0;
	conn = conn_new(&key);
	if (!conn) {
		lost_count(CBT_LOST_TRACKED);
		return 0;
	}
	now = bpf_ktime_get_ns();
	/* Two CPUs may read the same nanosecond. */
	conn->id = now * 8 + (bpf_get_smp_processor_id() & 7);
	__builtin_memcpy(conn->random, head.random, sizeof(conn->random));
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev) {
		ring_lost(NULL);
		return 0;
	}
	lib_head_fill(&ev->h, now, CBT_EV_LIB_HELLO, sizeof(*ev));
	ev->conn = conn->id;
	__builtin_memcpy(ev->random, head.random, sizeof(ev->random));
	ring_submit(ev);
	return 0;
}

SEC("uprobe")
int BPF_KPROBE(lib_bio_write, __u64 bio, __u64 buf, __s32 len)
{
	return bio_write(buf, len);
}

/* --- Certificates --- */

static __always_inline void cert_part_tell(struct lib_conn *conn, __u64 at, __u32 len, __u32 off)
{
	struct cbt_ev_lib_cert *ev = bpf_ringbuf_reserve(&events, sizeof(*ev) + CBT_DATA_MAX, 0);
	__u64 n = len - off;

	if (!ev) {
		ring_lost(NULL);
		return;
	}
	/* Compared as it is used: else the compiler compares another register than the verifier asks about. */
	asm volatile("" : "+r"(n));
	if (n > CBT_DATA_MAX)
		n = CBT_DATA_MAX;
	lib_head_fill(&ev->h, bpf_ktime_get_ns(), CBT_EV_LIB_CERT, sizeof(*ev) + n);
	ev->conn = conn->id;
	ev->der_len = len;
	ev->off = off;
	ev->index = conn->certs;
	ev->data_len = (__u16)n;
	__builtin_memset(ev->pad, 0, sizeof(ev->pad));
	if (bpf_probe_read_user(ev->data, n, (void *)(at + off)) < 0) {
		bpf_ringbuf_discard(ev, BPF_RB_NO_WAKEUP);
		lost_count(CBT_LOST_COPY);
		return;
	}
	ring_submit(ev);
}

/*
 * The peer's chain is parsed out of its Certificate message, one certificate behind the other: three bytes of length
 * between them, and under TLS 1.3 the extensions of the entry before. What a verification reads from a directory of CAs
 * in the same call lies elsewhere.
 */
static __always_inline bool cert_follows(const struct lib_conn *conn, __u64 at)
{
	return !conn->certs || (at >= conn->cert_end + 3 && at <= conn->cert_end + 3 + 2 + CERT_EXT_MAX);
}

static __always_inline int x509_parse(__u64 in, __s64 len)
{
	struct lib_call *call = call_of_thread();
	struct lib_conn *conn;
	__u64 at;

	if (!call || len <= 0 || len > CERT_BYTES)
		return 0;
	conn = conn_find(call->ssl);
	if (!conn || conn->plain || conn->certs >= CERTS_MAX)
		return 0;
	if (bpf_probe_read_user(&at, sizeof(at), (void *)in) < 0 || !cert_follows(conn, at))
		return 0;
	for (__u32 i = 0; i < CERT_PARTS; i++) {
		if (i * CBT_DATA_MAX >= (__u32)len)
			break;
		cert_part_tell(conn, at, (__u32)len, i * CBT_DATA_MAX);
	}
	conn->certs++;
	conn->cert_end = at + len;
	return 0;
}

SEC("uprobe")
int BPF_KPROBE(lib_x509, __u64 x509, __u64 in, __s64 len)
{
	return x509_parse(in, len);
}

/* --- Errors --- */

static __always_inline int error_tell(__u32 lib, __u32 reason)
{
	struct lib_call *call = lib == ERR_LIB_SSL ? call_of_thread() : NULL;
	struct cbt_ev_lib_error *ev;
	struct lib_conn *conn;

	if (!call)
		return 0;
	conn = conn_find(call->ssl);
	if (!conn || conn->errors >= ERRORS_MAX)
		return 0;
	conn->errors++;
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev) {
		ring_lost(NULL);
		return 0;
	}
	lib_head_fill(&ev->h, bpf_ktime_get_ns(), CBT_EV_LIB_ERROR, sizeof(*ev));
	ev->conn = conn->id;
	ev->reason = (__s32)reason;
	ev->verify_result = verify_result(call->ssl);
	ring_submit(ev);
	return 0;
}

SEC("uprobe")
int BPF_KPROBE(lib_error, __u32 lib, __u32 reason)
{
	return error_tell(lib, reason);
}

SEC("uprobe")
int BPF_KPROBE(lib_error_put, __u32 lib, __u32 func, __u32 reason)
{
	return error_tell(lib, reason);
}

/* --- All sites but the returns --- */

SEC("uprobe")
int lib_site(struct pt_regs *ctx)
{
	__u32 at = PT_REGS_IP(ctx) & (LIB_PAGE - 1);
	__u8 *program = bpf_map_lookup_elem(&lib_sites, &at);
	__u64 first = PT_REGS_PARM1(ctx), second = PT_REGS_PARM2(ctx), third = PT_REGS_PARM3(ctx);

	switch (program ? *program : 0) {
	case PROBE_HANDSHAKE_ENTER + 1:
		return call_enter(first, 0, 0, 0, 0);
	case PROBE_READ_INT_ENTER + 1:
		return call_enter(first, second, 0, 1, CBT_IN);
	case PROBE_READ_EX_ENTER + 1:
		return call_enter(first, second, PT_REGS_PARM4(ctx), 1, CBT_IN);
	case PROBE_WRITE_INT_ENTER + 1:
		return call_enter(first, second, 0, 1, CBT_OUT);
	case PROBE_WRITE_EX_ENTER + 1:
		return call_enter(first, second, PT_REGS_PARM4(ctx), 1, CBT_OUT);
	case PROBE_BIO_WRITE + 1:
		return bio_write(second, (__s32)third);
	case PROBE_X509 + 1:
		return x509_parse(second, (__s64)third);
	case PROBE_ERROR + 1:
		return error_tell((__u32)first, (__u32)second);
	case PROBE_ERROR_PUT + 1:
		return error_tell((__u32)first, (__u32)third);
	case PROBE_SHUTDOWN + 1:
		return shutdown_called(first);
	case PROBE_FREE + 1:
		return free_called(first);
	default:
		return 0;
	}
}
