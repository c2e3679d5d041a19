// SPDX-License-Identifier: BSD-2-Clause
/*
 * TLS off the wire. See tls.h. Three layers: spans (bounded reading), single messages, and the walk through the records
 * of both directions in the order of their times, which tells when the handshake was complete.
 */
#include "tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_TLS13 0x0304

enum { DIR_OUT = 0, DIR_IN = 1 }; /* enum cbt_dir */

/* --- Spans: a declared length, and how much of it is there --- */

struct span {
	const uint8_t *p;
	size_t avail, len;
};

/* The end of a message is not known from outside when it may have been cut: its span is open. */
static struct span span_open(const uint8_t *data, size_t len)
{
	return (struct span){.p = data, .avail = len, .len = SIZE_MAX};
}

/* What reaches beyond the declared length is wrong, what is not there is only cut off. */
static int span_bytes(struct span *s, size_t n, const uint8_t **ret_data)
{
	if (n > s->len)
		return -EBADMSG;
	if (n > s->avail)
		return -ENODATA;
	*ret_data = s->p;
	s->p += n;
	s->avail -= n;
	s->len -= n;
	return 0;
}

static int span_uint(struct span *s, size_t n, uint32_t *ret_value)
{
	const uint8_t *p;
	uint32_t v = 0;
	int r = span_bytes(s, n, &p);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	*ret_value = v;
	return 0;
}

/* A vector of @prefix length bytes (RFC 8446 section 3.4), of which all is there. */
static int span_vector(struct span *s, size_t prefix, struct span *ret_inner)
{
	const uint8_t *p;
	uint32_t n;
	int r = span_uint(s, prefix, &n);

	if (r < 0)
		return r;
	r = span_bytes(s, n, &p);
	if (r < 0)
		return r;
	*ret_inner = (struct span){.p = p, .avail = n, .len = n};
	return 0;
}

/* The last vector of a message: as much as is there. */
static int span_vector_rest(struct span *s, size_t prefix, struct span *ret_inner)
{
	uint32_t n;
	int r = span_uint(s, prefix, &n);

	if (r < 0)
		return r;
	if (s->avail > n)
		return -EBADMSG;
	*ret_inner = (struct span){.p = s->p, .avail = s->avail, .len = n};
	return 0;
}

/* --- Names as text --- */

static bool is_name_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
	       c == '_';
}

/* Protocol names have '/' too ("http/1.1"); the comma separates them. */
static bool is_alpn_char(uint8_t c)
{
	return c > ' ' && c < 0x7f && c != '\\' && c != ',';
}

/* Append to the string of *@n bytes in @out, or leave it alone. */
static bool name_append(char out[static TLS_NAME_MAX], size_t *n, const struct span *s, bool (*plain)(uint8_t c))
{
	size_t at = *n;

	for (size_t i = 0; i < s->len; i++) {
		uint8_t c = s->p[i];
		char esc[4] = {'\\', (char)('0' + c / 100), (char)('0' + c / 10 % 10), (char)('0' + c % 10)};
		size_t len = plain(c) ? 1 : sizeof(esc);

		if (at + len >= TLS_NAME_MAX) {
			out[*n] = '\0';
			return false;
		}
		if (len == 1)
			esc[0] = (char)c;
		memcpy(out + at, esc, len);
		at += len;
	}
	out[at] = '\0';
	*n = at;
	return true;
}

/* --- Extensions --- */

enum {
	EXT_SERVER_NAME = 0,
	EXT_ALPN = 16,
	EXT_PRE_SHARED_KEY = 41,
	EXT_EARLY_DATA = 42,
	EXT_SUPPORTED_VERSIONS = 43,
};

/* RFC 6066 section 3: the one host_name. */
static int sni_parse(struct span ext, char out[static TLS_NAME_MAX])
{
	struct span list, name;
	int r = span_vector(&ext, 2, &list);

	if (r < 0)
		return r;
	if (ext.len || !list.len)
		return -EBADMSG;
	while (list.len) {
		uint32_t type;
		size_t n = 0;

		r = span_uint(&list, 1, &type);
		if (r < 0)
			return r;
		r = span_vector(&list, 2, &name);
		if (r < 0)
			return r;
		if (type != 0 || out[0])
			continue;
		if (!name.len || !name_append(out, &n, &name, is_name_char))
			return -EBADMSG;
	}
	return 0;
}

/* RFC 7301 section 3.1. Names that have no room any more are left out. */
static int alpn_parse(struct span ext, bool single, char out[static TLS_NAME_MAX])
{
	struct span list, name;
	size_t n = 0, count = 0;
	int r = span_vector(&ext, 2, &list);

	if (r < 0)
		return r;
	if (ext.len || !list.len)
		return -EBADMSG;
	while (list.len) {
		size_t before = n;

		r = span_vector(&list, 1, &name);
		if (r < 0)
			return r;
		if (!name.len || (single && count++))
			return -EBADMSG;
		if (n && n + 1 < TLS_NAME_MAX)
			out[n++] = ',';
		if (!name_append(out, &n, &name, is_alpn_char)) {
			n = before;
			out[n] = '\0';
		}
	}
	return 0;
}

/* RFC 8701: values of the form 0x?a?a mean nothing. What is no TLS version (drafts) does not count either. */
static int versions_parse(struct span ext, uint16_t *max)
{
	struct span list;
	uint32_t v, highest = 0;
	int r = span_vector(&ext, 1, &list);

	if (r < 0)
		return r;
	if (ext.len || !list.len)
		return -EBADMSG;
	while (list.len) {
		r = span_uint(&list, 2, &v);
		if (r < 0)
			return r;
		if (v >> 8 == 3 && v > highest)
			highest = v;
	}
	if (highest)
		*max = (uint16_t)highest;
	return 0;
}

static int client_extension(uint32_t type, struct span ext, void *arg)
{
	struct tls_client_hello *out = arg;

	switch (type) {
	case EXT_SERVER_NAME:
		return sni_parse(ext, out->sni);
	case EXT_ALPN:
		return alpn_parse(ext, false, out->alpn);
	case EXT_SUPPORTED_VERSIONS:
		return versions_parse(ext, &out->versions_max);
	case EXT_PRE_SHARED_KEY:
		out->has_psk = true;
		return 0;
	case EXT_EARLY_DATA:
		out->early_data = true;
		return 0;
	default:
		return 0;
	}
}

static int server_extension(uint32_t type, struct span ext, void *arg)
{
	struct tls_server_hello *out = arg;
	uint32_t v;
	int r;

	switch (type) {
	case EXT_ALPN:
		return alpn_parse(ext, true, out->alpn);
	case EXT_SUPPORTED_VERSIONS:
		r = span_uint(&ext, 2, &v);
		if (r < 0)
			return r;
		out->version = (uint16_t)v;
		return ext.len ? -EBADMSG : 0;
	case EXT_PRE_SHARED_KEY:
		out->psk_accepted = true;
		return ext.len == 2 ? 0 : -EBADMSG;
	default:
		return 0;
	}
}

static int extensions_parse(struct span *s, int (*extension)(uint32_t type, struct span ext, void *arg), void *arg)
{
	struct span block = {0}, ext;
	int r;

	/* Before TLS 1.3 a hello may end without any. */
	if (!s->avail)
		return 0;
	r = span_vector_rest(s, 2, &block);
	while (r == 0 && block.len) {
		uint32_t type;

		r = span_uint(&block, 2, &type);
		if (r == 0)
			r = span_vector(&block, 2, &ext);
		if (r == 0)
			r = extension(type, ext, arg);
	}
	return r;
}

/* --- Hellos --- */

static int hello_start(struct span *s, uint16_t *version, uint8_t random[static 32], struct span *session_id)
{
	const uint8_t *p;
	uint32_t v;
	int r = span_uint(s, 2, &v);

	if (r < 0)
		return r;
	if (v >> 8 != 3)
		return -EBADMSG;
	*version = (uint16_t)v;
	r = span_bytes(s, 32, &p);
	if (r < 0)
		return r;
	memcpy(random, p, 32);
	r = span_vector(s, 1, session_id);
	if (r < 0)
		return r;
	return session_id->len > 32 ? -EBADMSG : 0;
}

int tls_parse_client_hello(const uint8_t *data, size_t len, struct tls_client_hello *out)
{
	struct span s = span_open(data, len), v;
	int r;

	memset(out, 0, sizeof(*out));
	r = hello_start(&s, &out->legacy_version, out->random, &v);
	out->versions_max = out->legacy_version;
	if (r < 0)
		return r;
	out->has_session_id = v.len != 0;
	r = span_vector(&s, 2, &v);
	if (r < 0)
		return r;
	if (v.len < 2 || v.len % 2)
		return -EBADMSG;
	r = span_vector(&s, 1, &v);
	if (r < 0)
		return r;
	if (!v.len)
		return -EBADMSG;
	return extensions_parse(&s, client_extension, out);
}

int tls_parse_server_hello(const uint8_t *data, size_t len, struct tls_server_hello *out)
{
	/* RFC 8446 section 4.1.3: SHA-256 of "HelloRetryRequest". */
	static const uint8_t retry[32] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
					  0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
					  0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};
	struct span s = span_open(data, len), session_id;
	uint32_t v;
	int r;

	memset(out, 0, sizeof(*out));
	r = hello_start(&s, &out->version, out->random, &session_id);
	if (r < 0)
		return r;
	out->hello_retry = memcmp(out->random, retry, sizeof(retry)) == 0;
	r = span_uint(&s, 2, &v);
	if (r < 0)
		return r;
	out->cipher = (uint16_t)v;
	r = span_uint(&s, 1, &v);
	if (r < 0)
		return r;
	return extensions_parse(&s, server_extension, out);
}

/* --- The connection --- */

#define RECORD_HEADER	   5
#define RECORD_BODY_MAX	   (16384 + 2048) /* RFC 5246 section 6.2.3 */
#define MESSAGE_HEADER	   4
#define PREFIX_LEN	   6 /* what proves TLS: a record header and the type of its first message */
#define ALERT_LEN	   2
#define ALERTS_PLAIN_MAX   4
#define ALERT_FATAL	   2
#define ALERT_CLOSE_NOTIFY 0
#define ALERT_USER_CANCEL  90

/* A record of TLS 1.3 has one byte for its type and 16 of tag; JSSE pads by 16 more. */
#define SEAL_LEN   17
#define SEAL_CCM_8 9 /* TLS_AES_128_CCM_8_SHA256 has half a tag */
#define JSSE_PAD   16
#define FLIGHT_MIN (SEAL_CCM_8 + 6 + MESSAGE_HEADER + 32) /* EncryptedExtensions and Finished, in one record */

enum message_type {
	MSG_CLIENT_HELLO = 1,
	MSG_SERVER_HELLO = 2,
	MSG_CERTIFICATE = 11,
	MSG_SERVER_KEY_EXCHANGE = 12,
	MSG_CERTIFICATE_REQUEST = 13,
	MSG_SERVER_HELLO_DONE = 14,
};

/* A handshake message in the making; it may span records. */
struct assembly {
	uint8_t header[MESSAGE_HEADER];
	size_t header_have;
	size_t len;  /* of the body, as declared */
	size_t seen; /* of it */
	uint8_t *data;
	size_t have, size; /* kept of it */
	bool lost;	   /* no memory for all of it */
};

struct record {
	uint8_t type;
	uint16_t len;
	uint64_t start, end;   /* offsets in the stream */
	uint64_t first_ts, ts; /* when its first byte left or came, when it was complete */
};

struct direction {
	struct stream *stream;
	uint64_t pos;	   /* next record */
	uint64_t first_ns; /* its first byte; kept because the stream forgets */
	bool dead;	   /* the records make no sense any more */
	bool blocked;	   /* needs bytes that arrived but have not been copied (yet) */
	bool ccs;	   /* TLS <= 1.2: what follows is encrypted */
	uint16_t last_len; /* of the previous application data record */
	struct assembly assembly;
	uint64_t turn_pos; /* payload up to here is in the turns */
};

struct tls_conn {
	struct tls_handshake h;
	struct direction dir[2];
	bool tls13;	       /* the final ServerHello said so */
	bool client_finished;  /* TLS <= 1.2 */
	bool early_data;       /* offered, and not refused by a HelloRetryRequest */
	bool early_end;	       /* the previous record of the client may have been EndOfEarlyData */
	bool lost;	       /* bytes had to be dropped for want of memory */
	uint64_t maybe_ns;     /* a Finished, unless it was early data */
	uint64_t maybe_app_ns; /* first record of the client after that one */
	size_t flight;	       /* bytes of the server's encrypted records */
	uint8_t *certificate;  /* the message, owned */
};

struct tls_conn *tls_conn_new(void)
{
	struct tls_conn *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->dir[DIR_OUT].stream = stream_new();
	t->dir[DIR_IN].stream = stream_new();
	if (!t->dir[DIR_OUT].stream || !t->dir[DIR_IN].stream) {
		tls_conn_free(t);
		return NULL;
	}
	return t;
}

void tls_conn_finish(struct tls_conn *t)
{
	for (int i = 0; i < 2; i++) {
		struct direction *d = &t->dir[i];

		stream_free(d->stream);
		free(d->assembly.data);
		d->stream = NULL;
		d->assembly = (struct assembly){0};
	}
}

void tls_conn_free(struct tls_conn *t)
{
	if (!t)
		return;
	tls_conn_finish(t);
	free(t->certificate);
	free(t);
}

struct stream *tls_conn_stream(struct tls_conn *t, int dir)
{
	return t->dir[dir].stream;
}

const struct tls_handshake *tls_conn_handshake(const struct tls_conn *t)
{
	return &t->h;
}

/* --- Completion --- */

static void resumed_set(struct tls_conn *t, bool resumed)
{
	if (t->h.resumed_known)
		return;
	t->h.resumed_known = true;
	t->h.resumed = resumed;
}

static void complete_set(struct tls_conn *t, uint64_t ts)
{
	t->h.complete_ns = ts;
	/* Of TLS 1.3 an alert is told by its length. If the handshake went on, it was a short message. */
	if (t->h.sent.kind == TLS_ALERT_ENCRYPTED)
		t->h.sent = (struct tls_alert_seen){0};
	if (t->h.received.kind == TLS_ALERT_ENCRYPTED)
		t->h.received = (struct tls_alert_seen){0};
}

static void alert_set(struct tls_alert_seen *a, enum tls_alert_kind kind, const uint8_t *body, uint64_t ts)
{
	if (a->kind)
		return;
	a->kind = (uint8_t)kind;
	a->level = body ? body[0] : 0;
	a->description = body ? body[1] : 0;
	a->ts = ts;
}

static size_t seal_len(const struct tls_conn *t)
{
	return t->h.server.cipher == 0x1305 ? SEAL_CCM_8 : SEAL_LEN;
}

static bool is_padded(const struct tls_conn *t, size_t len, size_t plain)
{
	return len == plain + seal_len(t) || len == plain + seal_len(t) + JSSE_PAD;
}

static bool is_alert_len(const struct tls_conn *t, size_t len)
{
	return is_padded(t, len, ALERT_LEN);
}

/* The size of a Finished is that of the suite's hash. Of the suites of TLS 1.3 only AES-256-GCM has SHA-384. */
static bool is_finished_len(const struct tls_conn *t, size_t len)
{
	size_t hash = t->h.server.cipher == 0x1302 ? 48 : 32;

	return is_padded(t, len, MESSAGE_HEADER + hash);
}

/* After a full record a short one may be the rest of a message that did not fit (RFC 8446 section 5.1). */
static bool is_full_len(const struct tls_conn *t, size_t len)
{
	size_t plain = len - seal_len(t);

	return len > seal_len(t) && plain >= 512 && (plain & (plain - 1)) == 0;
}

/* --- Messages of the plaintext part --- */

static void client_hello_seen(struct tls_conn *t, const struct assembly *a)
{
	struct tls_client_hello hello;

	if (t->h.has_client_hello || tls_parse_client_hello(a->data, a->have, &hello) < 0)
		return;
	t->h.has_client_hello = true;
	t->h.client = hello;
	t->early_data = hello.early_data;
}

static void server_hello_seen(struct tls_conn *t, const struct assembly *a, uint64_t ts)
{
	struct tls_server_hello hello;

	if (t->h.has_server_hello || tls_parse_server_hello(a->data, a->have, &hello) < 0)
		return;
	if (hello.hello_retry) {
		t->h.hello_retry = true;
		t->early_data = false;
		return;
	}
	t->h.has_server_hello = true;
	t->h.server = hello;
	t->h.server_hello_ns = ts;
	t->tls13 = hello.version >= VERSION_TLS13;
	if (t->tls13)
		resumed_set(t, hello.psk_accepted);
}

static void certificate_seen(struct tls_conn *t, struct assembly *a)
{
	size_t list;

	resumed_set(t, false);
	if (t->h.has_certificate || a->have <= 3)
		return;
	list = (size_t)a->data[0] << 16 | (size_t)a->data[1] << 8 | a->data[2];
	if (!list)
		return;
	t->h.has_certificate = true;
	t->h.certificate_cut = list > a->have - 3;
	t->h.cert_list = a->data + 3;
	t->h.cert_list_len = t->h.certificate_cut ? a->have - 3 : list;
	t->certificate = a->data;
	a->data = NULL;
	a->size = a->have = 0;
}

static void message_seen(struct tls_conn *t, int dir, struct assembly *a, uint64_t ts)
{
	if (a->lost) {
		t->lost = true;
		return;
	}
	if (dir == DIR_OUT) {
		if (a->header[0] == MSG_CLIENT_HELLO)
			client_hello_seen(t, a);
		return;
	}
	switch (a->header[0]) {
	case MSG_SERVER_HELLO:
		server_hello_seen(t, a, ts);
		break;
	case MSG_CERTIFICATE:
		certificate_seen(t, a);
		break;
	case MSG_CERTIFICATE_REQUEST:
		t->h.client_cert_requested = true;
		break;
	case MSG_SERVER_KEY_EXCHANGE:
	case MSG_SERVER_HELLO_DONE:
		resumed_set(t, false);
		break;
	default:
		break;
	}
}

/* Only what will be looked into is kept, and no more of it than the largest that is of use. */
static size_t message_keep(int dir, const struct assembly *a)
{
	uint8_t type = a->header[0];
	bool wanted = dir == DIR_OUT ? type == MSG_CLIENT_HELLO : type == MSG_SERVER_HELLO || type == MSG_CERTIFICATE;

	if (!wanted)
		return 0;
	return a->len < TLS_CERT_BYTES_MAX ? a->len : TLS_CERT_BYTES_MAX;
}

static void assembly_keep(struct assembly *a, const uint8_t *data, size_t len, size_t max)
{
	if (!len || a->have >= max || a->lost)
		return;
	if (len > max - a->have)
		len = max - a->have;
	if (a->have + len > a->size) {
		size_t size = a->have + len < max / 2 ? max / 2 : max;
		uint8_t *grown = realloc(a->data, size);

		if (!grown) {
			a->lost = true;
			return;
		}
		a->data = grown;
		a->size = size;
	}
	memcpy(a->data + a->have, data, len);
	a->have += len;
}

/* The body of one handshake record, whose first byte has offset @off. */
static void handshake_bytes(struct tls_conn *t, int dir, const uint8_t *data, size_t len, uint64_t off)
{
	struct direction *d = &t->dir[dir];
	struct assembly *a = &d->assembly;
	size_t at = 0;

	while (at < len) {
		size_t n;

		if (a->header_have < MESSAGE_HEADER) {
			a->header[a->header_have++] = data[at++];
			if (a->header_have < MESSAGE_HEADER)
				continue;
			a->len = (size_t)a->header[1] << 16 | (size_t)a->header[2] << 8 | a->header[3];
			a->seen = a->have = 0;
			a->lost = false;
		}
		n = len - at < a->len - a->seen ? len - at : a->len - a->seen;
		assembly_keep(a, data + at, n, message_keep(dir, a));
		a->seen += n;
		at += n;
		if (a->seen < a->len)
			continue;
		message_seen(t, dir, a, stream_time(d->stream, off + at));
		a->header_have = 0;
		/* Of TLS 1.3 nothing readable follows a ServerHello. */
		if (t->tls13)
			return;
	}
}

/* --- Records --- */

/* Bytes of the server behind its ServerHello. What is held up by a hole has arrived all the same. */
static size_t flight_arrived(const struct tls_conn *t)
{
	const struct direction *d = &t->dir[DIR_IN];

	return t->flight + (d->blocked ? (size_t)(stream_end(d->stream) - d->pos) : 0);
}

static bool is_encrypted(const struct tls_conn *t, int dir)
{
	return t->tls13 || t->dir[dir].ccs;
}

static void ccs_record(struct tls_conn *t, int dir)
{
	/* For middleboxes only under TLS 1.3, where it may come before the version is known. */
	if (t->tls13 || !t->h.has_server_hello)
		return;
	/* The server's comes first only when it resumes. */
	if (dir == DIR_IN)
		resumed_set(t, !t->dir[DIR_OUT].ccs);
	t->dir[dir].ccs = true;
}

static void alert_record(struct tls_conn *t, int dir, const struct record *rec, const uint8_t *body)
{
	struct tls_alert_seen *alert = dir == DIR_OUT ? &t->h.sent : &t->h.received;
	bool *close_notify = dir == DIR_OUT ? &t->h.close_notify_sent : &t->h.close_notify_received;

	if (t->h.complete_ns)
		return;
	/* No plaintext record holds that many: its encryption has not been recognised for want of earlier bytes. */
	if (t->dir[dir].ccs || rec->len > ALERTS_PLAIN_MAX * ALERT_LEN) {
		alert_set(alert, TLS_ALERT_ENCRYPTED, NULL, rec->ts);
		return;
	}
	for (size_t i = 0; i + ALERT_LEN <= rec->len; i += ALERT_LEN) {
		const uint8_t *a = body + i;

		if (a[1] == ALERT_CLOSE_NOTIFY)
			*close_notify = true;
		/* RFC 8446 section 6: of TLS 1.3 the level says nothing. */
		else if (a[0] == ALERT_FATAL || (t->tls13 && a[1] != ALERT_USER_CANCEL))
			alert_set(alert, TLS_ALERT_PLAIN, a, rec->ts);
	}
}

static void handshake_record(struct tls_conn *t, int dir, const struct record *rec, const uint8_t *body)
{
	if (t->tls13)
		return;
	if (!t->dir[dir].ccs) {
		handshake_bytes(t, dir, body, rec->len, rec->start + RECORD_HEADER);
		return;
	}
	/* The first encrypted one is the Finished. */
	if (t->h.complete_ns)
		return;
	if (dir == DIR_OUT)
		t->client_finished = true;
	if (dir == (t->h.resumed ? DIR_OUT : DIR_IN) && (t->h.resumed || t->client_finished))
		complete_set(t, rec->ts);
}

/*
 * TLS 1.3, before completion, the client's side. With early data on the way a record of the right length may be just
 * that: then EndOfEarlyData (21 bytes) before it, or an answer of the server behind it, must confirm it.
 */
static void client_sealed13(struct tls_conn *t, const struct record *rec)
{
	bool after_end = t->early_end;

	if (flight_arrived(t) < FLIGHT_MIN)
		return;
	t->early_end = t->early_data && is_padded(t, rec->len, MESSAGE_HEADER);
	if (t->early_end) {
		t->maybe_ns = t->maybe_app_ns = 0;
	} else if (is_finished_len(t, rec->len) && (!t->early_data || after_end)) {
		complete_set(t, rec->ts);
	} else if (t->maybe_ns) {
		if (!t->maybe_app_ns)
			t->maybe_app_ns = rec->first_ts;
	} else if (is_finished_len(t, rec->len)) {
		t->maybe_ns = rec->ts;
	} else if (is_alert_len(t, rec->len) && !t->early_data && !is_full_len(t, t->dir[DIR_OUT].last_len)) {
		alert_set(&t->h.sent, TLS_ALERT_ENCRYPTED, NULL, rec->ts);
	}
}

static void server_sealed13(struct tls_conn *t, const struct record *rec)
{
	t->flight += rec->len;
	if (t->maybe_ns && rec->ts > t->maybe_ns) {
		complete_set(t, t->maybe_ns);
		t->h.client_app_ns = t->maybe_app_ns;
	} else if (rec->len == ALERT_LEN + seal_len(t) && !is_full_len(t, t->dir[DIR_IN].last_len)) {
		/* EncryptedExtensions can be as long as a padded alert, but not as short as this. */
		alert_set(&t->h.received, TLS_ALERT_ENCRYPTED, NULL, rec->ts);
	}
}

/*
 * After completion. A client that sends, and a server that sends after that, are on speaking terms; an alert is
 * neither. Under TLS 1.3 a refused client certificate shows only here, as an alert in place of an answer.
 */
static void record_after(struct tls_conn *t, int dir, const struct record *rec)
{
	bool alert = rec->type == TLS_ALERT || (t->tls13 && is_alert_len(t, rec->len));

	if (rec->type == TLS_CCS)
		return;
	if (dir == DIR_OUT) {
		if (!t->h.client_app_ns && rec->type == TLS_APPDATA && !alert)
			t->h.client_app_ns = rec->first_ts;
		return;
	}
	if (t->h.server_after_ns)
		return;
	if (alert) {
		if (t->tls13)
			alert_set(&t->h.received, TLS_ALERT_ENCRYPTED, NULL, rec->ts);
	} else if (t->h.client_app_ns && rec->ts > t->h.client_app_ns) {
		t->h.server_after_ns = rec->ts;
	}
}

static void record_seen(struct tls_conn *t, int dir, const struct record *rec, const uint8_t *body)
{
	bool completed = t->h.complete_ns;

	switch (rec->type) {
	case TLS_CCS:
		ccs_record(t, dir);
		break;
	case TLS_ALERT:
		alert_record(t, dir, rec, body);
		break;
	case TLS_HANDSHAKE:
		handshake_record(t, dir, rec, body);
		break;
	default:
		if (!t->tls13 || completed)
			break;
		if (dir == DIR_OUT)
			client_sealed13(t, rec);
		else
			server_sealed13(t, rec);
		t->dir[dir].last_len = rec->len;
		break;
	}
	/* A doubtful Finished was confirmed by this very record, which then came after it. */
	if (completed || (t->h.complete_ns && t->h.complete_ns < rec->ts))
		record_after(t, dir, rec);
}

/* Does TLS begin like this? RFC 8446 sections 4 and 5.1; as many bytes as there are. */
static bool prefix_is_tls(int dir, const uint8_t *p, size_t n)
{
	if (n > 0 && p[0] != TLS_HANDSHAKE && !(dir == DIR_IN && p[0] == TLS_ALERT))
		return false;
	if (n > 1 && p[1] != 3)
		return false;
	if (n > 2 && p[2] > 4)
		return false;
	return !(dir == DIR_OUT && n > 5 && p[5] != MSG_CLIENT_HELLO);
}

static bool prefix_check(struct tls_conn *t, int dir, const uint8_t *p, size_t n)
{
	struct direction *d = &t->dir[dir];

	if (prefix_is_tls(dir, p, n < PREFIX_LEN ? n : PREFIX_LEN))
		return true;
	d->dead = true;
	/* In the middle of a stream anything may stand. */
	if (!stream_started_late(d->stream))
		t->h.not_tls = true;
	return false;
}

static uint64_t record_time(const struct stream *s, uint64_t end)
{
	uint64_t ts = stream_time(s, end);

	/* Too long ago: bytes that came late have held it up. Then the present is the nearest that is known. */
	return ts ? ts : stream_last_time(s);
}

/* Is the next record of a direction there? *@ret_body is NULL if nobody needs it. */
static bool record_ready(struct tls_conn *t, int dir, struct record *ret_rec, const uint8_t **ret_body)
{
	struct direction *d = &t->dir[dir];
	uint64_t end = stream_end(d->stream);
	const uint8_t *p = NULL;
	size_t n = stream_peek(d->stream, d->pos, &p);
	struct record rec;
	bool need_body;

	d->blocked = false;
	if (!d->first_ns)
		d->first_ns = stream_time(d->stream, d->pos + 1);
	if (d->dead || (n && d->pos == 0 && !prefix_check(t, dir, p, n)))
		return false;
	if (n < RECORD_HEADER || end < d->pos + RECORD_HEADER) {
		d->blocked = n < RECORD_HEADER && end > d->pos + n;
		return false;
	}
	rec = (struct record){.type = p[0], .len = (uint16_t)(p[3] << 8 | p[4]), .start = d->pos};
	if (rec.type < TLS_CCS || rec.type > TLS_APPDATA || p[1] != 3 || rec.len > RECORD_BODY_MAX) {
		d->dead = true;
		return false;
	}
	rec.end = d->pos + RECORD_HEADER + rec.len;
	need_body = rec.type == TLS_ALERT ? !d->ccs : rec.type == TLS_HANDSHAKE && !is_encrypted(t, dir);
	if (need_body && n < (size_t)(RECORD_HEADER + rec.len)) {
		d->blocked = end > d->pos + n;
		return false;
	}
	if (end < rec.end)
		return false;
	rec.ts = record_time(d->stream, rec.end);
	rec.first_ts = d->first_ns ? d->first_ns : rec.ts;
	*ret_rec = rec;
	*ret_body = need_body ? p + RECORD_HEADER : NULL;
	return true;
}

/* What the client's records mean depends on the version, and on resumption: wait for bytes of the server that tell. */
static bool is_held(const struct tls_conn *t, const struct record *rec)
{
	bool known = t->h.has_server_hello && (t->tls13 || t->h.resumed_known);

	return t->dir[DIR_IN].blocked && !known && t->h.has_client_hello && rec->type != TLS_ALERT;
}

/* Records of both directions, the earlier first. False if none is left. */
static bool record_next(struct tls_conn *t)
{
	struct record rec[2];
	const uint8_t *body[2];
	bool ready[2];
	int dir;

	for (int i = 0; i < 2; i++)
		ready[i] = record_ready(t, i, &rec[i], &body[i]);
	if (ready[DIR_OUT] && is_held(t, &rec[DIR_OUT]))
		ready[DIR_OUT] = false;
	if (!ready[DIR_OUT] && !ready[DIR_IN])
		return false;
	dir = !ready[DIR_OUT] || (ready[DIR_IN] && rec[DIR_IN].ts < rec[DIR_OUT].ts) ? DIR_IN : DIR_OUT;
	record_seen(t, dir, &rec[dir], body[dir]);
	t->dir[dir].pos = rec[dir].end;
	t->dir[dir].first_ns = 0;
	stream_discard(t->dir[dir].stream, rec[dir].end);
	return true;
}

/* --- Turns --- */

static void turn_add(struct tls_handshake *h, int dir, uint64_t ts)
{
	struct tls_turn *last = h->n_turns ? &h->turns[h->n_turns - 1] : NULL;

	if (dir == DIR_IN) {
		if (last)
			last->in_ns = ts;
		return;
	}
	if (last && !last->in_ns) {
		last->out_ns = ts;
		return;
	}
	if (last && (!last->next_ns || h->n_turns == TLS_TURNS_MAX))
		last->next_ns = ts;
	if (h->n_turns < TLS_TURNS_MAX)
		h->turns[h->n_turns++] = (struct tls_turn){.out_ns = ts};
}

/* What belongs to the time after completion, which may have been recognised late, is no part of the handshake. */
static void turns_end(struct tls_handshake *h)
{
	struct tls_turn *last;

	while (h->n_turns && h->turns[h->n_turns - 1].out_ns >= h->complete_ns)
		h->n_turns--;
	if (!h->n_turns)
		return;
	last = &h->turns[h->n_turns - 1];
	if (last->in_ns > h->complete_ns)
		last->in_ns = 0;
	if (last->next_ns > h->complete_ns)
		last->next_ns = 0;
}

static void turns_update(struct tls_conn *t)
{
	struct tls_handshake *h = &t->h;

	for (;;) {
		uint64_t ts[2], end[2];
		int dir;

		for (int i = 0; i < 2; i++)
			ts[i] = stream_step(t->dir[i].stream, t->dir[i].turn_pos, &end[i]);
		if (!ts[DIR_OUT] && !ts[DIR_IN])
			break;
		dir = !ts[DIR_OUT] || (ts[DIR_IN] && ts[DIR_IN] < ts[DIR_OUT]) ? DIR_IN : DIR_OUT;
		if (h->complete_ns && ts[dir] > h->complete_ns)
			break;
		t->dir[dir].turn_pos = end[dir];
		turn_add(h, dir, ts[dir]);
	}
	if (h->complete_ns)
		turns_end(h);
}

void tls_conn_advance(struct tls_conn *t)
{
	struct direction *out = &t->dir[DIR_OUT], *in = &t->dir[DIR_IN];
	bool completed = t->h.complete_ns;

	if (!out->stream)
		return;
	while (record_next(t))
		;
	t->h.first_out_ns = stream_first_time(out->stream);
	t->h.last_client_ns = stream_last_time(out->stream);
	t->h.last_server_ns = stream_last_time(in->stream);
	t->h.truncated = t->lost || (!t->h.complete_ns && (out->blocked || in->blocked));
	if (!completed)
		turns_update(t);
}
