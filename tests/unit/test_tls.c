// SPDX-License-Identifier: BSD-2-Clause
/*
 * TLS off the wire. Real handshakes between OpenSSL peers are fed in every shape that a network and a tap can give
 * them, with a fake clock: the completion must carry the time of the byte that completed it, whatever the shape.
 */
#include <errno.h>
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/ssl.h>

#include <cbtrace/event.h>
#include "pki.h"
#include "tls.h"
#include "tlspair.h"

#define BY_HAND	 131072 /* room for records made by hand, where there is no trace */
#define CLOCK_0	 1000000
#define REC_HEAD 5

/* --- Feeding a connection --- */

struct feed {
	struct tls_conn *conn;
	uint64_t now;
	uint32_t isn[2];
	uint8_t *bytes[2]; /* the whole stream of each direction */
	bool *tapped[2];   /* would the tap copy it? */
	bool *arrived[2];
	uint64_t *time[2]; /* when contiguous up to and including the byte */
	size_t total[2], end[2], room[2];
};

static void *alloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	assert_non_null(p);
	return p;
}

/* What the kernel's tap copies: all but the bodies of application data. */
static void tap_mark(struct feed *f, int dir)
{
	size_t at = 0;

	while (at < f->total[dir]) {
		const uint8_t *p = f->bytes[dir] + at;
		size_t len = at + REC_HEAD <= f->total[dir] ? REC_HEAD + ((size_t)p[3] << 8 | p[4]) : 0;

		for (size_t i = 0; i < (len ? len : f->total[dir] - at) && at + i < f->total[dir]; i++)
			f->tapped[dir][at + i] = i < REC_HEAD || p[0] != TLS_APPDATA;
		if (!len)
			return;
		at += len;
	}
}

static struct feed *feed_new(const struct tlspair_trace *trace)
{
	struct feed *f = alloc(1, sizeof(*f));

	f->conn = tls_conn_new();
	assert_non_null(f->conn);
	f->now = CLOCK_0;
	f->isn[CBT_OUT] = 0xfffffff0; /* wraps early */
	f->isn[CBT_IN] = 77;
	f->room[CBT_OUT] = f->room[CBT_IN] = trace ? 4096 : BY_HAND;
	for (size_t i = 0; trace && i < trace->n; i++)
		f->room[trace->flights[i].dir] += trace->flights[i].len;
	for (int d = 0; d < 2; d++) {
		f->bytes[d] = alloc(f->room[d], 1);
		f->tapped[d] = alloc(f->room[d], sizeof(bool));
		f->arrived[d] = alloc(f->room[d], sizeof(bool));
		f->time[d] = alloc(f->room[d], sizeof(uint64_t));
		stream_set_isn(tls_conn_stream(f->conn, d), f->isn[d]);
	}
	for (size_t i = 0; trace && i < trace->n; i++) {
		const struct tlspair_flight *fl = &trace->flights[i];

		memcpy(f->bytes[fl->dir] + f->total[fl->dir], fl->data, fl->len);
		f->total[fl->dir] += fl->len;
	}
	for (int d = 0; d < 2; d++)
		tap_mark(f, d);
	return f;
}

static void feed_free(struct feed *f)
{
	for (int d = 0; d < 2; d++) {
		free(f->bytes[d]);
		free(f->tapped[d]);
		free(f->arrived[d]);
		free(f->time[d]);
	}
	tls_conn_free(f->conn);
	free(f);
}

static void feed_extent(struct feed *f, int dir, size_t off, size_t len)
{
	f->now += 1000;
	stream_segment(tls_conn_stream(f->conn, dir), f->isn[dir] + 1 + (uint32_t)off, (uint32_t)len, f->now);
	for (size_t i = off; i < off + len; i++)
		f->arrived[dir][i] = true;
	while (f->end[dir] < f->total[dir] && f->arrived[dir][f->end[dir]])
		f->time[dir][f->end[dir]++] = f->now;
}

static void feed_bytes(struct feed *f, int dir, size_t off, size_t len)
{
	stream_bytes(tls_conn_stream(f->conn, dir), f->isn[dir] + 1 + (uint32_t)off, f->bytes[dir] + off, len);
	tls_conn_advance(f->conn);
}

static void feed_segment(struct feed *f, int dir, size_t off, size_t len)
{
	feed_extent(f, dir, off, len);
	feed_bytes(f, dir, off, len);
}

/* Only what the tap copies, each run in a part of its own, as the kernel sends them. */
static void feed_tapped(struct feed *f, int dir, size_t off, size_t len)
{
	feed_extent(f, dir, off, len);
	tls_conn_advance(f->conn);
	for (size_t i = off; i < off + len;) {
		size_t n = 0;

		while (i + n < off + len && f->tapped[dir][i + n])
			n++;
		if (n)
			feed_bytes(f, dir, i, n);
		i += n ? n : 1;
	}
}

/* The last bytes of a direction's flight by hand. */
static void feed_record(struct feed *f, int dir, uint8_t type, const void *body, size_t len)
{
	size_t off = f->total[dir];
	uint8_t *p = f->bytes[dir] + off;

	assert_true(off + REC_HEAD + len <= f->room[dir]);
	p[0] = type;
	p[1] = p[2] = 3;
	p[3] = (uint8_t)(len >> 8);
	p[4] = (uint8_t)len;
	if (body)
		memcpy(p + REC_HEAD, body, len);
	else
		memset(p + REC_HEAD, 0x5a, len);
	f->total[dir] += REC_HEAD + len;
	feed_segment(f, dir, off, REC_HEAD + len);
}

enum shape { WHOLE, SINGLE_BYTES, CHUNKS, REVERSED, OVERLAPPING, TWICE, TAPPED, TAPPED_BYTES, PREFIX_LATE, SHAPES };

static void feed_flight(struct feed *f, enum shape shape, int dir, size_t off, size_t len)
{
	const size_t chunk = shape == SINGLE_BYTES || shape == TAPPED_BYTES ? 1 : 37;
	const size_t prefix = 6;

	switch (shape) {
	case WHOLE:
		feed_segment(f, dir, off, len);
		break;
	case TAPPED:
		feed_tapped(f, dir, off, len);
		break;
	case TAPPED_BYTES:
		for (size_t i = 0; i < len; i++)
			feed_tapped(f, dir, off + i, 1);
		break;
	case REVERSED:
		for (size_t i = (len + chunk - 1) / chunk; i-- > 0;)
			feed_segment(f, dir, off + i * chunk, len - i * chunk < chunk ? len - i * chunk : chunk);
		break;
	case PREFIX_LATE:
		if (off == 0 && len > prefix) {
			for (size_t i = 0; i < prefix; i++) {
				feed_extent(f, dir, i, 1);
				tls_conn_advance(f->conn);
			}
			feed_segment(f, dir, prefix, len - prefix);
			feed_bytes(f, dir, 0, prefix);
		} else {
			feed_segment(f, dir, off, len);
		}
		break;
	default:
		for (size_t i = 0; i < len; i += chunk) {
			size_t n = len - i < chunk ? len - i : chunk;
			size_t back = shape == OVERLAPPING && i >= 5 ? 5 : 0;

			feed_segment(f, dir, off + i - back, n + back);
			if (shape == TWICE)
				feed_segment(f, dir, off + i, n);
		}
		break;
	}
}

/* The flights of a trace up to @limit bytes in all. */
static struct feed *feed_trace(const struct tlspair_trace *trace, enum shape shape, size_t limit)
{
	struct feed *f = feed_new(trace);
	size_t off[2] = {0};

	for (size_t i = 0; i < trace->n && limit; i++) {
		const struct tlspair_flight *fl = &trace->flights[i];
		size_t len = fl->len < limit ? fl->len : limit;

		feed_flight(f, shape, fl->dir, off[fl->dir], len);
		off[fl->dir] += len;
		limit -= len;
	}
	return f;
}

/* --- What must hold for any real handshake --- */

static void check_times(const struct tlspair_trace *trace, const struct feed *f)
{
	const struct tls_handshake *h = tls_conn_handshake(f->conn);

	assert_false(h->not_tls);
	assert_false(h->truncated);
	assert_true(h->has_client_hello);
	assert_true(h->has_server_hello);
	assert_int_equal(h->first_out_ns, trace->n ? CLOCK_0 + 1000 : 0);
	assert_int_equal(h->complete_ns, f->time[trace->complete_dir][trace->complete_end - 1]);
	assert_int_equal(h->sent.kind, TLS_ALERT_NONE);
	assert_int_equal(h->received.kind, TLS_ALERT_NONE);
	if (trace->app_start)
		assert_int_equal(h->client_app_ns, f->time[CBT_OUT][trace->app_start]);
	else
		assert_int_equal(h->client_app_ns, 0);
	assert_true(h->n_turns >= 1);
	for (size_t i = 0; i < h->n_turns; i++) {
		const struct tls_turn *t = &h->turns[i];

		assert_true(t->out_ns && t->out_ns < h->complete_ns && t->in_ns >= t->out_ns);
		assert_true(t->in_ns <= h->complete_ns && t->next_ns <= h->complete_ns);
		assert_true(i + 1 == h->n_turns || (t->next_ns && t->next_ns <= t[1].out_ns));
	}
}

static void check_after(const struct tlspair_trace *trace, const struct feed *f)
{
	const struct tls_handshake *h = tls_conn_handshake(f->conn);
	size_t at = trace->after_start;

	if (!at) {
		assert_int_equal(h->server_after_ns, 0);
		return;
	}
	/* With the client's data right behind its Finished the tickets follow them; else the answer is first. */
	assert_true(h->server_after_ns != 0);
	assert_true(h->server_after_ns > h->client_app_ns);
	assert_true(h->server_after_ns <= f->time[CBT_IN][f->total[CBT_IN] - 1]);
}

/* Bytes, in the order of the trace, after which the handshake is complete. */
static size_t complete_bytes(const struct tlspair_trace *trace)
{
	size_t sum = 0, in_dir = 0;

	for (size_t i = 0; i < trace->n; i++) {
		const struct tlspair_flight *fl = &trace->flights[i];

		if (fl->dir == trace->complete_dir) {
			if (in_dir + fl->len >= trace->complete_end)
				return sum + trace->complete_end - in_dir;
			in_dir += fl->len;
		}
		sum += fl->len;
	}
	fail();
	return 0;
}

static size_t total_bytes(const struct tlspair_trace *trace)
{
	size_t sum = 0;

	for (size_t i = 0; i < trace->n; i++)
		sum += trace->flights[i].len;
	return sum;
}

/* @late: completion may be recognised only with a later record (0-RTT). */
static void check_truncations(const struct tlspair_trace *trace, bool late)
{
	size_t due = complete_bytes(trace), total = total_bytes(trace), step = total > 20000 ? 97 : 1;

	for (size_t n = 0; n <= total; n += step) {
		struct feed *f = feed_trace(trace, WHOLE, n);
		const struct tls_handshake *h = tls_conn_handshake(f->conn);

		if (n < due)
			assert_int_equal(h->complete_ns, 0);
		else if (!late)
			assert_true(h->complete_ns != 0);
		assert_false(h->not_tls);
		assert_false(h->truncated);
		assert_int_equal(h->sent.kind, TLS_ALERT_NONE);
		feed_free(f);
	}
}

static void check_trace(const struct tlspair_trace *trace, bool late)
{
	assert_true(trace->complete);
	for (enum shape s = 0; s < SHAPES; s++) {
		struct feed *f = feed_trace(trace, s, SIZE_MAX);

		check_times(trace, f);
		check_after(trace, f);
		/* Looking again changes nothing. */
		for (int i = 0; i < 3; i++)
			tls_conn_advance(f->conn);
		check_times(trace, f);
		feed_free(f);
	}
	check_truncations(trace, late);
}

/* --- Handshakes --- */

static struct tlspair_trace one_trace(const struct tlspair_options *o, struct tlspair **ret_pair)
{
	struct tlspair *p = tlspair_new(o);
	struct tlspair_trace trace;

	tlspair_run(p, &trace);
	if (ret_pair)
		*ret_pair = p;
	else
		tlspair_free(p);
	return trace;
}

static struct tlspair_trace resumed_trace(const struct tlspair_options *o)
{
	struct tlspair *p;
	struct tlspair_trace first = one_trace(o, &p), trace;

	assert_true(first.complete);
	tlspair_trace_free(&first);
	tlspair_run(p, &trace);
	tlspair_free(p);
	return trace;
}

static const struct tls_handshake *whole(const struct tlspair_trace *trace, struct feed **ret_feed)
{
	*ret_feed = feed_trace(trace, WHOLE, SIZE_MAX);
	return tls_conn_handshake((*ret_feed)->conn);
}

static void test_full13(void **state)
{
	static const char *const suites[] = {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256",
					     "TLS_CHACHA20_POLY1305_SHA256"};

	(void)state;
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		struct tlspair_options o = {.suites = suites[i],
					    .sni = "xmpp1.example.com",
					    .alpn = "xmpp-client",
					    .server_alpn = "xmpp-client",
					    .app_with_finished = i == 1};
		struct tlspair_trace trace = one_trace(&o, NULL);
		const struct tls_handshake *h;
		struct feed *f;

		check_trace(&trace, false);
		h = whole(&trace, &f);
		assert_string_equal(tls_version_name(h->server.version), "TLSv1.3");
		assert_string_equal(tls_cipher_name(h->server.cipher), suites[i]);
		assert_string_equal(h->client.sni, "xmpp1.example.com");
		assert_string_equal(h->client.alpn, "xmpp-client");
		assert_string_equal(h->server.alpn, ""); /* encrypted */
		assert_int_equal(h->client.versions_max, 0x0304);
		assert_true(h->resumed_known);
		assert_false(h->resumed);
		assert_false(h->hello_retry);
		assert_false(h->has_certificate);
		assert_int_equal(h->n_turns, 1);
		assert_int_equal(h->turns[0].out_ns, CLOCK_0 + 1000);
		assert_int_equal(h->turns[0].in_ns, CLOCK_0 + 2000);
		assert_int_equal(h->turns[0].next_ns, CLOCK_0 + 3000);
		assert_int_equal(h->server_hello_ns, CLOCK_0 + 2000);
		feed_free(f);
		tlspair_trace_free(&trace);
	}
}

/* Tickets come unasked right after the Finished: no proof of anything. */
static void test_tickets_only(void **state)
{
	struct tlspair_options o = {.no_app = true};
	struct tlspair_trace trace = one_trace(&o, NULL);
	const struct tls_handshake *h;
	struct feed *f;

	(void)state;
	check_trace(&trace, false);
	h = whole(&trace, &f);
	assert_true(h->last_server_ns > h->complete_ns);
	assert_int_equal(h->client_app_ns, 0);
	assert_int_equal(h->server_after_ns, 0);
	feed_free(f);
	tlspair_trace_free(&trace);
}

static void test_retry13(void **state)
{
	struct tlspair_options o = {.groups = "X25519:P-256", .server_groups = "P-256"};
	struct tlspair_trace trace = one_trace(&o, NULL);
	const struct tls_handshake *h;
	struct feed *f;

	(void)state;
	check_trace(&trace, false);
	h = whole(&trace, &f);
	assert_true(h->hello_retry);
	assert_false(h->server.hello_retry);
	assert_int_equal(h->n_turns, 2);
	feed_free(f);
	tlspair_trace_free(&trace);
}

static void test_resumed13(void **state)
{
	struct tlspair_options o = {.sni = "xmpp1.example.com"};
	struct tlspair_trace trace = resumed_trace(&o);
	const struct tls_handshake *h;
	struct feed *f;

	(void)state;
	check_trace(&trace, false);
	h = whole(&trace, &f);
	assert_true(h->client.has_psk);
	assert_true(h->resumed_known);
	assert_true(h->resumed);
	feed_free(f);
	tlspair_trace_free(&trace);
}

static void test_client_cert13(void **state)
{
	(void)state;
	for (int with = 0; with < 2; with++) {
		struct tlspair_options o = {.ask_client = true, .client_cert = with};
		struct tlspair_trace trace = one_trace(&o, NULL);

		check_trace(&trace, false);
		tlspair_trace_free(&trace);
	}
}

/* JSSE pads each record by 16 bytes. */
static void test_padded13(void **state)
{
	static const char *const suites[] = {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct tlspair_options o = {.padding = 16, .suites = suites[i % 2], .ask_client = i >= 2};
		struct tlspair_trace trace = one_trace(&o, NULL);

		check_trace(&trace, false);
		tlspair_trace_free(&trace);
	}
}

/* Early data of just the size of a Finished, taken or refused. */
static void test_early13(void **state)
{
	static const struct {
		const char *suite;
		size_t len;
	} t[] = {
		{"TLS_AES_256_GCM_SHA384", 52}, {"TLS_AES_256_GCM_SHA384", 10}, {"TLS_AES_128_GCM_SHA256", 36},
		{"TLS_AES_128_GCM_SHA256", 2},	{"TLS_AES_128_GCM_SHA256", 4},
	};

	(void)state;
	for (size_t i = 0; i < 3 * sizeof(t) / sizeof(t[0]); i++) {
		struct tlspair_options o = {
			.suites = t[i / 3].suite, .early = EARLY_ACCEPTED + i % 3, .early_len = t[i / 3].len};
		struct tlspair_trace trace = resumed_trace(&o);
		const struct tls_handshake *h;
		struct feed *f;

		check_trace(&trace, true);
		h = whole(&trace, &f);
		assert_true(h->client.early_data);
		assert_int_equal(h->resumed, o.early != EARLY_REFUSED_FULL);
		feed_free(f);
		tlspair_trace_free(&trace);
	}
}

static void check_cert(const struct tls_handshake *h, X509 *cert)
{
	uint8_t entry[4096];
	size_t n = pki_entry(cert, entry, sizeof(entry));

	assert_true(h->has_certificate);
	assert_false(h->certificate_cut);
	assert_int_equal(h->cert_list_len, n);
	assert_memory_equal(h->cert_list, entry, n);
}

static void test_full12(void **state)
{
	static const struct {
		int version;
		const char *name, *ciphers, *cipher;
	} t[] = {
		{TLS1_2_VERSION, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		{TLS1_2_VERSION, "TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305",
		 "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
		{TLS1_1_VERSION, "TLSv1.1", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
		 "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
		{TLS1_VERSION, "TLSv1", "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (int ask = 0; ask < 3; ask++) {
			struct tlspair_options o = {.max_version = t[i].version,
						    .ciphers = t[i].ciphers,
						    .alpn = "h2",
						    .server_alpn = "h2",
						    .ask_client = ask > 0,
						    .client_cert = ask > 1};
			struct tlspair *p;
			struct tlspair_trace trace = one_trace(&o, &p);
			const struct tls_handshake *h;
			struct feed *f;

			check_trace(&trace, false);
			h = whole(&trace, &f);
			assert_string_equal(tls_version_name(h->server.version), t[i].name);
			assert_string_equal(tls_cipher_name(h->server.cipher), t[i].cipher);
			assert_string_equal(h->server.alpn, "h2");
			assert_string_equal(h->client.sni, "");
			assert_int_equal(h->client_cert_requested, ask > 0);
			assert_true(h->resumed_known);
			assert_false(h->resumed);
			assert_int_equal(h->n_turns, 2);
			assert_int_equal(h->turns[1].in_ns, h->complete_ns);
			check_cert(h, tlspair_certificate(p));
			/* What is kept outlives the buffers. */
			tls_conn_finish(f->conn);
			tls_conn_advance(f->conn);
			assert_null(tls_conn_stream(f->conn, CBT_OUT));
			check_cert(h, tlspair_certificate(p));
			feed_free(f);
			tlspair_trace_free(&trace);
			tlspair_free(p);
		}
}

static void test_resumed12(void **state)
{
	(void)state;
	for (int tickets = 0; tickets < 2; tickets++) {
		struct tlspair_options o = {.max_version = TLS1_2_VERSION, .no_tickets = !tickets};
		struct tlspair_trace trace = resumed_trace(&o);
		const struct tls_handshake *h;
		struct feed *f;

		check_trace(&trace, false);
		h = whole(&trace, &f);
		assert_true(h->resumed_known);
		assert_true(h->resumed);
		assert_false(h->has_certificate);
		assert_int_equal(h->n_turns, 1);
		feed_free(f);
		tlspair_trace_free(&trace);
	}
}

/* A Certificate message over several records, and longer than what is kept (with room for the fake chain). */
static void test_long_chain12(void **state)
{
	struct tlspair_options o = {.max_version = TLS1_2_VERSION, .long_chain = true};
	struct tlspair_trace trace = one_trace(&o, NULL);
	const struct tls_handshake *h;
	struct feed *f;

	(void)state;
	check_trace(&trace, false);
	h = whole(&trace, &f);
	assert_true(h->has_certificate);
	assert_false(h->certificate_cut);
	assert_true(h->cert_list_len > 20000);
	feed_free(f);
	tlspair_trace_free(&trace);
}

/* --- Failures --- */

static void check_alert(const struct tlspair_trace *trace, bool sent, const char *name)
{
	for (enum shape s = 0; s < SHAPES; s++) {
		struct feed *f = feed_trace(trace, s, SIZE_MAX);
		const struct tls_handshake *h = tls_conn_handshake(f->conn);
		const struct tls_alert_seen *yes = sent ? &h->sent : &h->received, *no = sent ? &h->received : &h->sent;

		assert_int_equal(h->complete_ns, 0);
		assert_int_equal(yes->kind, TLS_ALERT_PLAIN);
		assert_int_equal(yes->level, 2);
		assert_string_equal(tls_alert_name(yes->description), name);
		assert_int_equal(no->kind, TLS_ALERT_NONE);
		assert_int_equal(yes->ts, f->time[sent ? CBT_OUT : CBT_IN][f->total[sent ? CBT_OUT : CBT_IN] - 1]);
		feed_free(f);
	}
}

static void test_alerts(void **state)
{
	static const struct {
		struct tlspair_options o;
		bool sent;
		const char *name;
	} t[] = {
		{{.untrusted = true}, true, "unknown_ca"},
		{{.untrusted = true, .max_version = TLS1_2_VERSION}, true, "unknown_ca"},
		{{.min_version = TLS1_3_VERSION, .server_max_version = TLS1_2_VERSION}, false, "protocol_version"},
		{{.alpn = "h2", .server_alpn = "xmpp-client"}, false, "no_application_protocol"},
		{{.max_version = TLS1_2_VERSION, .ciphers = "ECDHE-RSA-AES128-GCM-SHA256"}, false, "handshake_failure"},
		{{.max_version = TLS1_2_VERSION, .require_client = true}, false, "handshake_failure"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct tlspair_options o = t[i].o;
		struct tlspair_trace trace;

		/* A server of its own maximum must still be able to start. */
		if (o.server_max_version)
			o.min_version = 0;
		trace = one_trace(&o, NULL);
		assert_false(trace.complete);
		check_alert(&trace, t[i].sent, t[i].name);
		tlspair_trace_free(&trace);
	}
}

/* Under TLS 1.3 the client is done before the server says no. Its alert is no answer, even to data already sent. */
static void test_client_cert_refused13(void **state)
{
	(void)state;
	for (int app = 0; app < 2; app++) {
		struct tlspair_options o = {.require_client = true, .app_with_finished = app};
		struct tlspair_trace trace = one_trace(&o, NULL);
		const struct tls_handshake *h;
		struct feed *f;

		assert_true(trace.complete);
		h = whole(&trace, &f);
		assert_int_equal(h->complete_ns, f->time[CBT_OUT][trace.complete_end - 1]);
		assert_int_equal(h->client_app_ns != 0, app);
		assert_int_equal(h->server_after_ns, 0);
		assert_int_equal(h->received.kind, TLS_ALERT_ENCRYPTED);
		assert_true(h->received.ts > h->complete_ns);
		feed_free(f);
		tlspair_trace_free(&trace);
	}
}

/* The server's flight of a real handshake; what the client does then is made by hand. */
static struct feed *until_server_flight(const struct tlspair_options *o)
{
	struct tlspair_trace trace = one_trace(o, NULL);
	struct feed *f;

	for (size_t i = 2; i < trace.n; i++)
		free(trace.flights[i].data);
	trace.n = 2;
	f = feed_trace(&trace, WHOLE, SIZE_MAX);
	tlspair_trace_free(&trace);
	return f;
}

static void test_encrypted_alert13(void **state)
{
	static const size_t lens[] = {19, 35};
	static const uint8_t one = 1;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct feed *f = until_server_flight(&(struct tlspair_options){0});
		const struct tls_handshake *h = tls_conn_handshake(f->conn);

		feed_record(f, CBT_OUT, TLS_CCS, &one, 1); /* proves nothing */
		assert_int_equal(h->complete_ns, 0);
		assert_int_equal(h->sent.kind, TLS_ALERT_NONE);
		feed_record(f, CBT_OUT, TLS_APPDATA, NULL, lens[i]);
		assert_int_equal(h->complete_ns, 0);
		assert_int_equal(h->sent.kind, TLS_ALERT_ENCRYPTED);
		assert_int_equal(h->sent.ts, f->now);
		assert_int_equal(h->sent.description, 0);
		feed_free(f);
	}
}

/* The size of a Finished of the other hash, of an empty Certificate, of anything: none of them completes. */
static void test_lengths13(void **state)
{
	static const uint16_t never[] = {17, 18, 20, 25, 41, 52, 54, 68, 70, 84, 86, 95, 96, 97, 300};

	(void)state;
	for (int sha384 = 0; sha384 < 2; sha384++) {
		struct feed *f = until_server_flight(&(struct tlspair_options){
			.suites = sha384 ? "TLS_AES_256_GCM_SHA384" : "TLS_AES_128_GCM_SHA256"});
		const struct tls_handshake *h = tls_conn_handshake(f->conn);

		for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
			feed_record(f, CBT_OUT, TLS_APPDATA, NULL, never[i]);
		feed_record(f, CBT_OUT, TLS_APPDATA, NULL, sha384 ? 53 : 85);
		assert_int_equal(h->complete_ns, 0);
		assert_int_equal(h->sent.kind, TLS_ALERT_NONE);
		feed_record(f, CBT_OUT, TLS_APPDATA, NULL, sha384 ? 85 : 53);
		assert_int_equal(h->complete_ns, f->now);
		feed_free(f);
	}
}

/* TLS 1.2: encrypted once its side has changed the cipher. */
static void test_alert12(void **state)
{
	static const uint8_t one = 1, warning[] = {1, 112}, fatal[] = {2, 51}, close_notify[] = {1, 0};
	struct feed *f = until_server_flight(&(struct tlspair_options){.max_version = TLS1_2_VERSION});
	const struct tls_handshake *h = tls_conn_handshake(f->conn);

	(void)state;
	feed_record(f, CBT_IN, TLS_ALERT, warning, 2);
	assert_int_equal(h->received.kind, TLS_ALERT_NONE);
	feed_record(f, CBT_OUT, TLS_ALERT, close_notify, 2);
	assert_true(h->close_notify_sent);
	assert_false(h->close_notify_received);
	assert_int_equal(h->sent.kind, TLS_ALERT_NONE);
	feed_record(f, CBT_OUT, TLS_HANDSHAKE, "\x10\0\0\x01\0", 5);
	feed_record(f, CBT_OUT, TLS_CCS, &one, 1);
	feed_record(f, CBT_OUT, TLS_HANDSHAKE, NULL, 40);
	feed_record(f, CBT_OUT, TLS_ALERT, NULL, 26);
	assert_int_equal(h->sent.kind, TLS_ALERT_ENCRYPTED);
	feed_record(f, CBT_IN, TLS_ALERT, fatal, 2);
	assert_int_equal(h->received.kind, TLS_ALERT_PLAIN);
	assert_string_equal(tls_alert_name(h->received.description), "decrypt_error");
	assert_int_equal(h->complete_ns, 0);
	feed_free(f);
}

static void test_not_tls(void **state)
{
	static const struct {
		const char *bytes[2];
		bool not_tls;
	} t[] = {
		{{"<stream:stream>", ""}, true},
		{{"\x16\x03\x01\x01\x00\x02", ""}, true},
		{{"\x16\x03\x09", ""}, true},
		{{"\x16\x02", ""}, true},
		{{"\x16\x03\x01", ""}, false},
		{{"\x80\x2e\x01\x03\x01", ""}, true},
		{{"\x16\x03\x01", "H"}, true},
		{{"\x16\x03\x01", "\x15\x03\x01"}, false},
		{{"\x16\x03\x01", "\x17\x03\x03"}, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (int late = 0; late < 2; late++) {
			struct tls_conn *c = tls_conn_new();

			assert_non_null(c);
			for (int d = 0; d < 2; d++) {
				struct stream *s = tls_conn_stream(c, d);
				/* "\x01\x00" holds a NUL; no other string does. */
				size_t n = strlen(t[i].bytes[d]) == 4 ? 6 : strlen(t[i].bytes[d]);

				if (!late)
					stream_set_isn(s, 99);
				for (uint32_t k = 0; k < n; k++) {
					stream_segment(s, 100 + k, 1, 1000 + k);
					stream_bytes(s, 100 + k, (const uint8_t *)t[i].bytes[d] + k, 1);
					tls_conn_advance(c);
				}
			}
			/* Where the beginning was not seen nothing is claimed. */
			assert_int_equal(tls_conn_handshake(c)->not_tls, t[i].not_tls && !late);
			assert_int_equal(tls_conn_handshake(c)->first_out_ns, 1000);
			tls_conn_free(c);
		}
	tls_conn_free(NULL);
}

/* --- Holes --- */

/* A byte of the ServerHello is missing, then comes: the client's records had to wait for it. */
static void test_hole(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct tlspair_options o = {.max_version = versions[i % 2]};
		struct tlspair_trace trace = i < 2 ? one_trace(&o, NULL) : resumed_trace(&o);
		struct feed *f = feed_new(&trace);
		const struct tls_handshake *h = tls_conn_handshake(f->conn);
		size_t off[2] = {0}, hole = 30;

		for (size_t k = 0; k < trace.n; k++) {
			int d = trace.flights[k].dir;
			size_t len = trace.flights[k].len;

			feed_extent(f, d, off[d], len);
			if (d == CBT_IN && off[d] == 0) {
				feed_bytes(f, d, 0, hole);
				feed_bytes(f, d, hole + 1, len - hole - 1);
			} else {
				feed_bytes(f, d, off[d], len);
			}
			off[d] += len;
		}
		assert_true(h->truncated);
		assert_false(h->has_server_hello);
		assert_int_equal(h->complete_ns, 0);
		feed_bytes(f, CBT_IN, hole, 1);
		check_times(&trace, f);
		assert_int_equal(h->resumed, i >= 2);
		feed_free(f);
		tlspair_trace_free(&trace);
	}
}

/* A lost header in the server's encrypted flight does not hide the client's Finished. */
static void test_hole_in_flight13(void **state)
{
	struct tlspair_options o = {0};
	struct tlspair_trace trace = one_trace(&o, NULL);
	struct feed *f = feed_new(&trace);
	const struct tls_handshake *h = tls_conn_handshake(f->conn);
	size_t off[2] = {0}, hole;

	(void)state;
	hole = REC_HEAD + ((size_t)f->bytes[CBT_IN][3] << 8 | f->bytes[CBT_IN][4]) + 2;
	for (size_t k = 0; k < trace.n; k++) {
		int d = trace.flights[k].dir;
		size_t len = trace.flights[k].len;

		feed_extent(f, d, off[d], len);
		if (d == CBT_IN && off[d] == 0)
			feed_bytes(f, d, 0, hole);
		else
			feed_bytes(f, d, off[d], len);
		off[d] += len;
	}
	assert_int_equal(h->complete_ns, f->time[CBT_OUT][trace.complete_end - 1]);
	assert_false(h->truncated); /* of what the handshake needed nothing is missing */
	feed_free(f);
	tlspair_trace_free(&trace);
}

/* Messages that are longer than what is kept, and messages that claim to be. */
static void test_certificate_cut(void **state)
{
	static uint8_t body[16384];
	struct feed *f = feed_new(NULL);
	const struct tls_handshake *h = tls_conn_handshake(f->conn);
	static const uint8_t hello[] = {2, 0, 0, 38, 3, 3, [38] = 0, 0xc0, 0x30, 0};

	(void)state;
	feed_record(f, CBT_IN, TLS_HANDSHAKE, hello, sizeof(hello));
	assert_true(h->has_server_hello);
	memset(body, 0x44, sizeof(body));
	memcpy(body, "\x0b\x01\x80\x03\x01\x80\x00", 7); /* 98304 bytes of list */
	for (int i = 0; i < 7; i++) {
		assert_false(h->has_certificate);
		feed_record(f, CBT_IN, TLS_HANDSHAKE, body, sizeof(body));
		memset(body, 0x44, 7);
	}
	assert_true(h->has_certificate);
	assert_true(h->certificate_cut);
	assert_int_equal(h->cert_list_len, TLS_CERT_BYTES_MAX - 3);
	feed_free(f);
}

static void test_turns_bounded(void **state)
{
	struct feed *f = feed_new(NULL);
	const struct tls_handshake *h = tls_conn_handshake(f->conn);

	(void)state;
	for (int i = 0; i < 3 * TLS_TURNS_MAX; i++) {
		feed_record(f, CBT_OUT, TLS_HANDSHAKE, "\x01\0\0\0", 4);
		feed_record(f, CBT_IN, TLS_HANDSHAKE, "\x02\0\0\0", 4);
	}
	assert_int_equal(h->n_turns, TLS_TURNS_MAX);
	assert_int_equal(h->turns[TLS_TURNS_MAX - 1].in_ns, f->now);
	assert_false(h->has_client_hello);
	feed_free(f);
}

/* Changed bytes anywhere: no harm, no invented completion before its bytes are there. */
static void test_mutations(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	unsigned int seed = 1;

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tlspair_options o = {.max_version = versions[v], .sni = "xmpp1.example.com"};
		struct tlspair_trace trace = one_trace(&o, NULL);

		for (int round = 0; round < 400; round++) {
			struct tlspair_flight *fl;
			struct feed *f;
			uint8_t kept;
			size_t at;

			seed = seed * 1103515245 + 12345;
			fl = &trace.flights[(seed >> 8) % trace.n];
			at = (seed >> 12) % (round % 2 ? fl->len : (fl->len < 200 ? fl->len : 200));
			kept = fl->data[at];
			fl->data[at] = (uint8_t)(seed >> 24);
			f = feed_trace(&trace, round % 3 ? WHOLE : CHUNKS, SIZE_MAX);
			feed_free(f);
			fl->data[at] = kept;
		}
		tlspair_trace_free(&trace);
	}
}

/* --- Single messages --- */

static void test_client_hello(void **state)
{
	static const uint8_t bytes[] = {
		3,    3, /* version */
		0,    1,    2,	  3,	4,    5,    6,	  7,   8,   9,	 10,  11,  12,	13,  14,   15,
		16,   17,   18,	  19,	20,   21,   22,	  23,  24,  25,	 26,  27,  28,	29,  30,   31, /* random */
		2,    9,    9,									       /* session id */
		0,    4,    0x0a, 0x0a, 0x13, 0x02,						       /* suites */
		1,    0,									       /* compression */
		0,    62,									       /* extensions: */
		0x2a, 0x2a, 0,	  0,								       /* GREASE */
		0,    0,    0,	  12,	0,    10,   0,	  0,   7,   'a', '.', 'B', '_', '-', 0x1b, '9', /* SNI */
		0,    16,   0,	  18,	0,    16,   2,	  'h', '2', 8,	 'h', 't', 't', 'p', '/',  '1',
		'.',  '1',  3,	  'a',	',',  0xff,			    /* ALPN */
		0,    43,   0,	  7,	6,    0x7a, 0x7a, 3,   4,   3,	 3, /* versions */
		0,    42,   0,	  0,					    /* early data */
		0,    41,   0,	  1,	0,				    /* PSK, not looked into */
	};
	struct tls_client_hello whole_hello, h;

	(void)state;
	assert_int_equal(tls_parse_client_hello(bytes, sizeof(bytes), &whole_hello), 0);
	assert_int_equal(whole_hello.legacy_version, 0x0303);
	assert_int_equal(whole_hello.versions_max, 0x0304);
	assert_int_equal(whole_hello.random[31], 31);
	assert_true(whole_hello.has_session_id);
	assert_true(whole_hello.has_psk);
	assert_true(whole_hello.early_data);
	assert_string_equal(whole_hello.sni, "a.B_-\\0279");
	assert_string_equal(whole_hello.alpn, "h2,http/1.1,a\\044\\255");
	for (size_t n = 0; n < sizeof(bytes); n++) {
		uint8_t *copy = malloc(n ? n : 1);
		int r;

		assert_non_null(copy);
		memcpy(copy, bytes, n);
		r = tls_parse_client_hello(copy, n, &h);
		free(copy);
		/* Behind the compression methods a hello of old may end. */
		assert_int_equal(r, n == 2 + 32 + 3 + 6 + 2 ? 0 : -ENODATA);
		assert_true(!h.sni[0] || strcmp(h.sni, whole_hello.sni) == 0);
		assert_true(!h.alpn[0] || strcmp(h.alpn, whole_hello.alpn) == 0);
		assert_true(h.versions_max <= whole_hello.versions_max);
		assert_true(!h.has_psk || whole_hello.has_psk);
	}
}

static void put(uint8_t *out, size_t *n, const void *data, size_t len)
{
	memcpy(out + *n, data, len);
	*n += len;
}

/* A hello with one extension. */
static int parse_with(bool server, const void *ext, size_t len, void *out)
{
	uint8_t b[4096] = {3, 3};
	size_t n = 34;

	put(b, &n, "\0", 1);
	if (server)
		put(b, &n, "\x13\x01\0", 3);
	else
		put(b, &n, "\0\2\x13\x01\1\0", 6);
	b[n++] = (uint8_t)(len >> 8);
	b[n++] = (uint8_t)len;
	put(b, &n, ext, len);
	return server ? tls_parse_server_hello(b, n, out) : tls_parse_client_hello(b, n, out);
}

#define EXT(s) s, sizeof(s) - 1

static void test_wrong_hellos(void **state)
{
	static const struct {
		bool server;
		const char *ext;
		size_t len;
		int result;
	} t[] = {
		{false, EXT("\0\0\0\6\0\4\0\0\1a"), 0},
		{false, EXT("\0\0\0\7\0\4\0\0\1ab"), -EBADMSG}, /* bytes behind the list */
		{false, EXT("\0\0\0\6\0\5\0\0\1a"), -EBADMSG},	/* list leaves the extension */
		{false, EXT("\0\0\0\6\0\4\0\0\2a"), -EBADMSG},	/* name leaves the list */
		{false, EXT("\0\0\0\5\0\3\0\0\0"), -EBADMSG},	/* empty name */
		{false, EXT("\0\0\0\2\0\0"), -EBADMSG},		/* empty list */
		{false, EXT("\0\0\0\0"), -EBADMSG},
		{false, EXT("\0\0\0\7\0\4\0\0\1a"), -EBADMSG}, /* extension leaves the block */
		{false, EXT("\0\0\0"), -EBADMSG},
		{false, EXT("\0\x10\0\3\0\1\0"), -EBADMSG}, /* empty protocol */
		{false, EXT("\0\x2b\0\3\2\3\4"), 0},
		{false, EXT("\0\x2b\0\2\1\3"), -EBADMSG}, /* half a version */
		{false, EXT("\0\x2b\0\1\0"), -EBADMSG},
		{true, EXT("\0\x2b\0\2\3\4"), 0},
		{true, EXT("\0\x2b\0\3\3\4\0"), -EBADMSG},
		{true, EXT("\0\x2b\0\1\3"), -EBADMSG},
		{true, EXT("\0\x10\0\5\0\3\2h2"), 0},
		{true, EXT("\0\x10\0\6\0\4\1a\1b"), -EBADMSG}, /* the server chooses one */
		{true, EXT("\0\x29\0\2\0\0"), 0},
		{true, EXT("\0\x29\0\0"), -EBADMSG},
	};
	union {
		struct tls_client_hello c;
		struct tls_server_hello s;
	} out;
	uint8_t long_ext[700] = {0, 0, 2, 0x54, 2, 0x52, 0, 2, 0x4f};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (parse_with(t[i].server, t[i].ext, t[i].len, &out) != t[i].result)
			fail_msg("case %zu", i);
	/* A name that has no room. */
	assert_int_equal(parse_with(false, long_ext, 9 + 0x24f, &out), -EBADMSG);
	assert_string_equal(out.c.sni, "");
	/* A session id that is too long; no suites; an odd number of bytes of them; no compression method. */
	{
		uint8_t b[128] = {3, 3, [34] = 33};

		assert_int_equal(tls_parse_client_hello(b, sizeof(b), &out.c), -EBADMSG);
		assert_int_equal(tls_parse_server_hello(b, sizeof(b), &out.s), -EBADMSG);
		b[34] = 0;
		assert_int_equal(tls_parse_client_hello(b, sizeof(b), &out.c), -EBADMSG);
		b[36] = 3;
		assert_int_equal(tls_parse_client_hello(b, sizeof(b), &out.c), -EBADMSG);
		b[36] = 2;
		assert_int_equal(tls_parse_client_hello(b, sizeof(b), &out.c), -EBADMSG);
		b[0] = 2;
		assert_int_equal(tls_parse_client_hello(b, sizeof(b), &out.c), -EBADMSG);
	}
}

/* Many protocols: what has no room is left out whole. */
static void test_alpn_overflow(void **state)
{
	uint8_t ext[4 + 2 + 60 * 10] = {0, 16, (2 + 600) >> 8, (2 + 600) & 0xff, 600 >> 8, 600 & 0xff};
	struct tls_client_hello h;

	(void)state;
	for (size_t i = 0; i < 60; i++)
		memcpy(ext + 6 + i * 10, "\x09protocol1", 10);
	assert_int_equal(parse_with(false, ext, sizeof(ext), &h), 0);
	assert_int_equal(strlen(h.alpn), 249);
	assert_string_equal(h.alpn + 240, "protocol1");
}

/* --- Names --- */

static void test_cipher_names(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	SSL *ssl;
	unsigned int named = 0;

	(void)state;
	assert_non_null(ctx);
	ssl = SSL_new(ctx);
	assert_non_null(ssl);
	for (unsigned int i = 0; i < 0x10000; i++) {
		unsigned char id[2] = {(unsigned char)(i >> 8), (unsigned char)i};
		const SSL_CIPHER *c = SSL_CIPHER_find(ssl, id);
		const char *theirs = c ? SSL_CIPHER_standard_name(c) : NULL, *mine = tls_cipher_name((uint16_t)i);

		named += mine != NULL;
		if (theirs && (!mine || strcmp(mine, theirs) != 0))
			fail_msg("0x%04x: %s, not %s", i, theirs, mine ? mine : "unknown");
	}
	assert_true(named > 150);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}

static void test_number_names(void **state)
{
	(void)state;
	assert_string_equal(tls_version_name(0x0300), "SSLv3");
	assert_string_equal(tls_version_name(0x0301), "TLSv1");
	assert_string_equal(tls_version_name(0x0304), "TLSv1.3");
	assert_null(tls_version_name(0x0305));
	assert_null(tls_version_name(0x02ff));
	assert_string_equal(tls_alert_name(0), "close_notify");
	assert_string_equal(tls_alert_name(48), "unknown_ca");
	assert_string_equal(tls_alert_name(116), "certificate_required");
	assert_string_equal(tls_alert_name(120), "no_application_protocol");
	assert_null(tls_alert_name(1));
	assert_null(tls_alert_name(255));
	/* Held against OpenSSL's own words where it has them. */
	for (unsigned int i = 0; i < 256; i++) {
		char theirs[64];

		snprintf(theirs, sizeof(theirs), "%s", SSL_alert_desc_string_long((int)i));
		for (char *p = theirs; *p; p++)
			*p = *p == ' ' ? '_' : (char)tolower((unsigned char)*p);
		if (tls_alert_name((uint8_t)i) && strcmp(theirs, "unknown") != 0)
			assert_string_equal(theirs, tls_alert_name((uint8_t)i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full13),
		cmocka_unit_test(test_tickets_only),
		cmocka_unit_test(test_retry13),
		cmocka_unit_test(test_resumed13),
		cmocka_unit_test(test_client_cert13),
		cmocka_unit_test(test_padded13),
		cmocka_unit_test(test_early13),
		cmocka_unit_test(test_full12),
		cmocka_unit_test(test_resumed12),
		cmocka_unit_test(test_long_chain12),
		cmocka_unit_test(test_alerts),
		cmocka_unit_test(test_client_cert_refused13),
		cmocka_unit_test(test_encrypted_alert13),
		cmocka_unit_test(test_lengths13),
		cmocka_unit_test(test_alert12),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_hole),
		cmocka_unit_test(test_hole_in_flight13),
		cmocka_unit_test(test_certificate_cut),
		cmocka_unit_test(test_turns_bounded),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_client_hello),
		cmocka_unit_test(test_wrong_hellos),
		cmocka_unit_test(test_alpn_overflow),
		cmocka_unit_test(test_cipher_names),
		cmocka_unit_test(test_number_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
