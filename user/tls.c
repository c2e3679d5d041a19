// SPDX-License-Identifier: BSD-2-Clause
/*
 * A TLS handshake as a wire tap sees it, put together from both directions.
 *
 * A connection is walked record by record, each direction on its own, the earlier record first. A record counts when
 * its last byte has arrived; its body is read only where it holds plaintext that tells something (the ClientHello, the
 * server's messages up to its ChangeCipherSpec or its ServerHello of TLS 1.3, alerts). All else is known by type and
 * length, so it does not matter that the tap copies only the header of application data.
 */
#include "tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cbtrace/event.h>

#define TLS_1_2 0x0303
#define TLS_1_3 0x0304

#define RECORD_HEADER 5
#define RECORD_MAX    (16384 + 2048) /* RFC 5246 section 6.2.3 */

#define MESSAGE_HEADER	 4
#define CERT_LIST_HEADER 3 /* length of the list, in the Certificate message */

/* Handshake types, RFC 8446 section 4 and RFC 5246 section 7.4. */
enum {
	HS_CLIENT_HELLO = 1,
	HS_SERVER_HELLO = 2,
	HS_CERTIFICATE = 11,
	HS_SERVER_KEY_EXCHANGE = 12,
	HS_CERTIFICATE_REQUEST = 13,
	HS_SERVER_HELLO_DONE = 14,
};

enum { ALERT_CLOSE_NOTIFY = 0, ALERT_USER_CANCELED = 90 };
enum { LEVEL_FATAL = 2 };

/* The handshake message being put together: its bytes may lie in many records, and one record holds many. */
struct message {
	uint8_t head[MESSAGE_HEADER];
	uint8_t have_head;
	uint32_t left; /* bytes of the body still to come */
	bool cut;
	uint8_t *body;
	size_t len, size;
};

struct side {
	struct stream *stream;
	uint64_t pos;		      /* where the next record begins */
	uint64_t seen_end;	      /* the stream's end at the last look, for the turns */
	uint64_t start_ns;	      /* when the byte at @pos arrived, 0 if it has not */
	bool broken;		      /* what follows is no record: nothing more is read */
	bool waiting;		      /* bytes that have arrived and are needed are not there */
	bool lost;		      /* such bytes never came */
	bool spoke;		      /* a first handshake message was read */
	bool silent;		      /* no more handshake messages are of interest, or can be read */
	uint64_t ccs_ns, finished_ns; /* ChangeCipherSpec; the first handshake record behind it */
	uint64_t app_ns;	      /* the first application data record, complete */
	struct message msg;
};

struct tls_conn {
	struct side side[2]; /* by enum cbt_dir */
	struct tls_handshake h;
	uint8_t *cert;	 /* body of the Certificate message, which h.cert_list points into */
	bool full;	 /* TLS <= 1.2: a message was seen that a resumption lacks */
	bool finished;	 /* tls_conn_finish() was called */
	uint64_t app_ns; /* TLS <= 1.2: first byte of the client's first application record */
};

struct record {
	uint8_t type;
	uint32_t len; /* of the body */
	uint64_t start_ns, end_ns;
};

static void message_drop(struct message *m)
{
	free(m->body);
	*m = (struct message){0};
}

static void side_silence(struct side *s)
{
	message_drop(&s->msg);
	s->silent = true;
}

struct tls_conn *tls_conn_new(void)
{
	struct tls_conn *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	for (int dir = 0; dir < 2; dir++) {
		t->side[dir].stream = stream_new();
		if (!t->side[dir].stream) {
			tls_conn_free(t);
			return NULL;
		}
	}
	return t;
}

void tls_conn_finish(struct tls_conn *t)
{
	t->finished = true;
	for (int dir = 0; dir < 2; dir++) {
		side_silence(&t->side[dir]);
		stream_free(t->side[dir].stream);
		t->side[dir].stream = NULL;
	}
}

void tls_conn_free(struct tls_conn *t)
{
	if (!t)
		return;
	tls_conn_finish(t);
	free(t->cert);
	free(t);
}

struct stream *tls_conn_stream(struct tls_conn *t, int dir)
{
	return t->side[dir].stream;
}

const struct tls_handshake *tls_conn_handshake(const struct tls_conn *t)
{
	return &t->h;
}

static bool is_tls13(const struct tls_conn *t)
{
	return t->h.has_server_hello && t->h.server.version >= TLS_1_3;
}

static bool is_tls12(const struct tls_conn *t)
{
	return t->h.has_server_hello && t->h.server.version <= TLS_1_2;
}

/* Of TLS 1.3's suites only this one has a tag shorter than 16 bytes. RFC 8446 appendix B.4. */
static uint32_t tag_len(const struct tls_conn *t)
{
	return t->h.server.cipher == 0x1305 ? 8 : 16;
}

#define JSSE_PADDING 16 /* JSSE pads each handshake and alert record of TLS 1.3 by this */

static bool is_sealed_len(const struct tls_conn *t, uint32_t record_len, uint32_t plain_len)
{
	uint32_t sealed = plain_len + 1 + tag_len(t); /* the inner content type */

	return record_len == sealed || record_len == sealed + JSSE_PADDING;
}

static bool is_alert_len(const struct tls_conn *t, uint32_t len)
{
	return is_sealed_len(t, len, 2);
}

/* A Finished of TLS 1.3, alone or (rustls, NSS) in one record with an empty Certificate before it. */
static bool is_finished_len(const struct tls_conn *t, uint32_t len)
{
	uint32_t finished = MESSAGE_HEADER + (t->h.server.cipher == 0x1302 ? 48 : 32);
	uint32_t empty_certificate = MESSAGE_HEADER + 4;

	return is_sealed_len(t, len, finished) || len == empty_certificate + finished + 1 + tag_len(t);
}

/* --- Turns --- */

static void turn_client(struct tls_handshake *h, uint64_t ts)
{
	struct tls_turn *cur = h->n_turns ? &h->turns[h->n_turns - 1] : NULL;

	if (cur && !cur->in_ns) {
		cur->out_ns = ts; /* more of the same flight */
		return;
	}
	if (cur && !cur->next_ns)
		cur->next_ns = ts;
	if (h->n_turns < TLS_TURNS_MAX)
		h->turns[h->n_turns++] = (struct tls_turn){.out_ns = ts};
}

static void turn_server(struct tls_handshake *h, uint64_t ts)
{
	if (h->n_turns)
		h->turns[h->n_turns - 1].in_ns = ts;
}

/* What arrived since the last look, of both directions the earlier first. */
static void turns_update(struct tls_conn *t)
{
	for (;;) {
		uint64_t ts[2], end[2];
		int dir;

		for (dir = 0; dir < 2; dir++)
			ts[dir] = stream_step(t->side[dir].stream, t->side[dir].seen_end, &end[dir]);
		if (!ts[CBT_OUT] && !ts[CBT_IN])
			return;
		dir = ts[CBT_IN] && (!ts[CBT_OUT] || ts[CBT_IN] < ts[CBT_OUT]) ? CBT_IN : CBT_OUT;
		if (dir == CBT_OUT)
			turn_client(&t->h, ts[dir]);
		else
			turn_server(&t->h, ts[dir]);
		t->side[dir].seen_end = end[dir];
	}
}

/* The handshake may be known to be complete only when bytes behind it have come already. */
static void turns_trim(struct tls_handshake *h)
{
	struct tls_turn *last;

	while (h->n_turns && h->turns[h->n_turns - 1].out_ns >= h->complete_ns)
		h->n_turns--;
	if (!h->n_turns)
		return;
	last = &h->turns[h->n_turns - 1];
	if (last->in_ns > h->complete_ns)
		last->in_ns = h->complete_ns;
	if (last->next_ns > h->complete_ns)
		last->next_ns = 0;
}

/* --- Verdicts --- */

static void complete(struct tls_conn *t, uint64_t ts)
{
	t->h.complete_ns = ts;
	turns_trim(&t->h);
	/* False Start: the client need not have waited for the server's Finished. */
	if (is_tls12(t))
		t->h.client_app_ns = t->app_ns;
}

static void alert_note(struct tls_conn *t, int dir, struct tls_alert_seen alert)
{
	struct tls_alert_seen *seen = dir == CBT_OUT ? &t->h.sent : &t->h.received;

	if (!seen->kind && !t->h.complete_ns)
		*seen = alert;
}

static void alert_plain(struct tls_conn *t, int dir, uint8_t level, uint8_t description, uint64_t ts)
{
	bool fatal = level == LEVEL_FATAL;

	if (description == ALERT_CLOSE_NOTIFY) {
		*(dir == CBT_OUT ? &t->h.close_notify_sent : &t->h.close_notify_received) = true;
		return;
	}
	/* TLS 1.3 has no levels: RFC 8446 section 6. */
	if (is_tls13(t) && description != ALERT_USER_CANCELED)
		fatal = true;
	if (fatal)
		alert_note(t, dir,
			   (struct tls_alert_seen){
				   .kind = TLS_ALERT_PLAIN, .level = level, .description = description, .ts = ts});
}

static void alert_encrypted(struct tls_conn *t, int dir, uint64_t ts)
{
	alert_note(t, dir, (struct tls_alert_seen){.kind = TLS_ALERT_ENCRYPTED, .ts = ts});
}

static void resumed_set(struct tls_conn *t, bool resumed)
{
	if (t->h.resumed_known)
		return;
	t->h.resumed = resumed;
	t->h.resumed_known = true;
}

/* --- Handshake messages --- */

static void client_hello_read(struct tls_conn *t, const struct message *m)
{
	int r = tls_parse_client_hello(m->body, m->len, &t->h.client);

	if (r == -EBADMSG || (r < 0 && !m->cut)) {
		t->h.client = (struct tls_client_hello){0};
		t->h.not_tls = true;
	} else {
		t->h.has_client_hello = true;
	}
	side_silence(&t->side[CBT_OUT]);
}

static void server_hello_read(struct tls_conn *t, const struct message *m, uint64_t ts)
{
	struct tls_server_hello hello;
	int r = tls_parse_server_hello(m->body, m->len, &hello);

	if (t->h.has_server_hello)
		return;
	if (r == -EBADMSG || (r < 0 && !m->cut)) {
		t->h.not_tls = true;
		side_silence(&t->side[CBT_IN]);
		return;
	}
	if (hello.hello_retry) {
		t->h.hello_retry = true;
		return;
	}
	t->h.has_server_hello = true;
	t->h.server = hello;
	t->h.server_hello_ns = ts;
	if (is_tls13(t))
		resumed_set(t, hello.psk_accepted);
}

/* Keeps the message's memory; the list in it may end early if it was cut. */
static void certificate_keep(struct tls_conn *t, struct message *m)
{
	size_t len;

	if (t->h.has_certificate)
		return;
	t->h.has_certificate = true;
	if (m->len <= CERT_LIST_HEADER)
		return;
	len = (size_t)m->body[0] << 16 | (size_t)m->body[1] << 8 | m->body[2];
	t->h.certificate_cut = len > m->len - CERT_LIST_HEADER;
	if (t->h.certificate_cut)
		len = m->len - CERT_LIST_HEADER;
	t->cert = m->body;
	t->h.cert_list = m->body + CERT_LIST_HEADER;
	t->h.cert_list_len = len;
	m->body = NULL;
}

static void server_message(struct tls_conn *t, struct message *m, uint64_t ts)
{
	if (m->head[0] == HS_SERVER_HELLO) {
		server_hello_read(t, m, ts);
		if (is_tls13(t))
			side_silence(&t->side[CBT_IN]);
		return;
	}
	if (!t->h.has_server_hello)
		return;
	switch (m->head[0]) {
	case HS_CERTIFICATE:
		certificate_keep(t, m);
		t->full = true;
		break;
	case HS_CERTIFICATE_REQUEST:
		t->h.client_cert_requested = true;
		t->full = true;
		break;
	case HS_SERVER_KEY_EXCHANGE:
	case HS_SERVER_HELLO_DONE:
		t->full = true;
		break;
	default:
		break;
	}
	if (t->full)
		resumed_set(t, false);
}

static void message_done(struct tls_conn *t, int dir, uint64_t ts)
{
	struct side *s = &t->side[dir];

	if (dir == CBT_OUT)
		client_hello_read(t, &s->msg);
	else
		server_message(t, &s->msg, ts);
	message_drop(&s->msg);
}

static bool message_wanted(int dir, uint8_t type)
{
	return dir == CBT_OUT ? type == HS_CLIENT_HELLO : type == HS_SERVER_HELLO || type == HS_CERTIFICATE;
}

/* Append to the body up to the bound; what is beyond is only counted off. -ENOMEM. */
static int message_append(struct message *m, const uint8_t *data, size_t n)
{
	size_t room = TLS_CERT_BYTES_MAX - m->len;

	if (n > room) {
		m->cut = true;
		n = room;
	}
	if (m->len + n > m->size) {
		size_t size = m->len + n > 2 * m->size ? m->len + n : 2 * m->size;
		uint8_t *body = realloc(m->body, size);

		if (!body)
			return -ENOMEM;
		m->body = body;
		m->size = size;
	}
	if (n)
		memcpy(m->body + m->len, data, n);
	m->len += n;
	return 0;
}

/* Bytes of handshake messages of one direction, in order. */
static void messages_feed(struct tls_conn *t, int dir, const uint8_t *data, size_t n, uint64_t ts)
{
	struct side *s = &t->side[dir];
	struct message *m = &s->msg;

	while (n && !s->silent) {
		size_t take;

		if (m->have_head < MESSAGE_HEADER) {
			m->head[m->have_head++] = *data++;
			n--;
			if (m->have_head < MESSAGE_HEADER)
				continue;
			m->left = (uint32_t)m->head[1] << 16 | (uint32_t)m->head[2] << 8 | m->head[3];
			if (!s->spoke && m->head[0] != (dir == CBT_OUT ? HS_CLIENT_HELLO : HS_SERVER_HELLO)) {
				t->h.not_tls = true;
				side_silence(s);
				return;
			}
			s->spoke = true;
		}
		take = n < m->left ? n : m->left;
		if (message_wanted(dir, m->head[0]) && message_append(m, data, take) < 0) {
			s->lost = true;
			side_silence(s);
			return;
		}
		data += take;
		n -= take;
		m->left -= (uint32_t)take;
		if (!m->left)
			message_done(t, dir, ts);
	}
}

/* --- Records --- */

/* Are the bytes of [off, off + n) there? */
static bool bytes_there(const struct stream *s, uint64_t off, size_t n)
{
	const uint8_t *data;

	while (n) {
		size_t got = stream_peek(s, off, &data);

		if (!got)
			return false;
		if (got > n)
			got = n;
		off += got;
		n -= got;
	}
	return true;
}

/* Up to @n bytes from @off on. Returns how many there are in a row. */
static size_t bytes_get(const struct stream *s, uint64_t off, uint8_t *buf, size_t n)
{
	const uint8_t *data;
	size_t at = 0;

	while (at < n) {
		size_t got = stream_peek(s, off + at, &data);

		if (!got)
			break;
		if (got > n - at)
			got = n - at;
		memcpy(buf + at, data, got);
		at += got;
	}
	return at;
}

/* The time by which the stream had arrived up to @end; when that is forgotten, the latest is the best known. */
static uint64_t time_at(const struct stream *s, uint64_t end)
{
	uint64_t ts = stream_time(s, end);

	return ts ? ts : stream_last_time(s);
}

/* Do the @n first bytes of a direction rule TLS out? */
static bool opening_wrong(int dir, const uint8_t *b, size_t n)
{
	if (n > 0 && b[0] != TLS_HANDSHAKE && (dir == CBT_OUT || b[0] != TLS_ALERT))
		return true;
	if ((n > 1 && b[1] != 3) || (n > 2 && b[2] > 4))
		return true;
	return n > 5 && b[0] == TLS_HANDSHAKE && b[5] != (dir == CBT_OUT ? HS_CLIENT_HELLO : HS_SERVER_HELLO);
}

/* Handshake messages of @dir are in the clear until the ChangeCipherSpec, but for the one behind a HelloRetryRequest
 * that only looks like one (RFC 8446 appendix D.4). */
static bool handshake_is_plain(const struct tls_conn *t, int dir)
{
	return !t->side[dir].ccs_ns || (t->h.hello_retry && !t->h.has_server_hello);
}

static bool body_needed(const struct tls_conn *t, int dir, const struct record *rec)
{
	if (rec->type == TLS_HANDSHAKE)
		return !t->side[dir].silent && handshake_is_plain(t, dir);
	/* Encrypted alerts are longer than two bytes. */
	return rec->type == TLS_ALERT && (rec->len == 2 || !t->side[dir].ccs_ns);
}

/* The header of the next record of @dir, if all of the record has arrived. */
static bool record_next(struct tls_conn *t, int dir, struct record *ret)
{
	struct side *s = &t->side[dir];
	uint8_t head[RECORD_HEADER + 1];
	struct record rec;
	uint64_t end;
	size_t n;

	s->waiting = false;
	if (s->broken || t->h.not_tls || stream_end(s->stream) <= s->pos)
		return false;
	/* Kept now: of a record in many segments the first steps may be forgotten when the last is there. */
	if (!s->start_ns)
		s->start_ns = time_at(s->stream, s->pos + 1);
	n = bytes_get(s->stream, s->pos, head, sizeof(head));
	if (!s->pos && opening_wrong(dir, head, n)) {
		/* Where the start was missed, these are not the first bytes. */
		s->broken = stream_started_late(s->stream);
		t->h.not_tls = !s->broken;
		return false;
	}
	if (n < RECORD_HEADER) {
		s->waiting = stream_end(s->stream) > s->pos + n;
		return false;
	}
	rec.type = head[0];
	rec.len = (uint32_t)head[3] << 8 | head[4];
	if (rec.type < TLS_CCS || rec.type > TLS_APPDATA || head[1] != 3 || rec.len > RECORD_MAX) {
		s->broken = true;
		return false;
	}
	end = s->pos + RECORD_HEADER + rec.len;
	if (end > stream_end(s->stream))
		return false;
	if (body_needed(t, dir, &rec) && !bytes_there(s->stream, s->pos + RECORD_HEADER, rec.len)) {
		/* The tap tells bytes in their order: with the next header there, these will not come any more. */
		s->waiting = !bytes_there(s->stream, end, RECORD_HEADER);
		if (s->waiting)
			return false;
	}
	rec.start_ns = s->start_ns;
	rec.end_ns = time_at(s->stream, end);
	*ret = rec;
	return true;
}

static void record_handshake(struct tls_conn *t, int dir, const struct record *rec)
{
	struct side *s = &t->side[dir];
	uint64_t off = s->pos + RECORD_HEADER;
	size_t left = rec->len;
	const uint8_t *data;

	if (!handshake_is_plain(t, dir)) {
		if (!s->finished_ns)
			s->finished_ns = rec->end_ns;
		return;
	}
	while (left && !s->silent) {
		size_t n = stream_peek(s->stream, off, &data);

		if (!n) {
			s->lost = true;
			side_silence(s);
			return;
		}
		if (n > left)
			n = left;
		messages_feed(t, dir, data, n, rec->end_ns);
		off += n;
		left -= n;
	}
}

static void record_alert(struct tls_conn *t, int dir, const struct record *rec)
{
	struct side *s = &t->side[dir];
	uint8_t alert[2];

	if (!body_needed(t, dir, rec)) {
		alert_encrypted(t, dir, rec->end_ns);
		return;
	}
	/* Before TLS 1.3 one record may hold several. */
	for (uint32_t at = 0; at + 2 <= rec->len; at += 2) {
		if (bytes_get(s->stream, s->pos + RECORD_HEADER + at, alert, 2) < 2) {
			s->lost = true;
			return;
		}
		alert_plain(t, dir, alert[0], alert[1], rec->end_ns);
	}
}

static void record_ccs(struct tls_conn *t, int dir, const struct record *rec)
{
	struct side *s = &t->side[dir];

	if (s->ccs_ns)
		return;
	s->ccs_ns = rec->end_ns;
	/* A resumption goes on with ChangeCipherSpec where a full handshake has more to say first. */
	if (dir == CBT_IN && is_tls12(t) && !t->full && !s->lost)
		resumed_set(t, true);
}

/* The client's application data of TLS 1.3 before completion: its flight. What began before the server's flight is
 * early data. */
static void client_flight_record(struct tls_conn *t, const struct record *rec)
{
	bool early = rec->start_ns < t->h.server_hello_ns || (t->h.client.early_data && !t->side[CBT_IN].app_ns);

	if (early || t->h.sent.kind)
		return;
	if (is_finished_len(t, rec->len))
		complete(t, rec->end_ns);
	else if (is_alert_len(t, rec->len))
		alert_encrypted(t, CBT_OUT, rec->end_ns);
}

static void client_data(struct tls_conn *t, const struct record *rec)
{
	if (!t->h.complete_ns) {
		if (is_tls13(t))
			client_flight_record(t, rec);
		else if (!t->app_ns)
			t->app_ns = rec->start_ns;
		return;
	}
	if (!t->h.client_app_ns)
		t->h.client_app_ns = rec->start_ns;
}

/* A record of the server behind the handshake that is no alert, as far as its length tells. */
static void server_data(struct tls_conn *t, const struct record *rec)
{
	bool alert = is_tls13(t) && is_alert_len(t, rec->len);

	if (t->h.complete_ns) {
		if (t->h.client_app_ns && rec->start_ns > t->h.client_app_ns && !alert && !t->h.server_after_ns)
			t->h.server_after_ns = rec->end_ns;
	} else if (is_tls13(t) && rec->len == 2 + 1 + tag_len(t)) {
		/* Too short for EncryptedExtensions or what follows; a padded alert is not. */
		alert_encrypted(t, CBT_IN, rec->end_ns);
	}
}

static void record_take(struct tls_conn *t, int dir, const struct record *rec)
{
	struct side *s = &t->side[dir];
	uint64_t end = s->pos + RECORD_HEADER + rec->len;

	switch (rec->type) {
	case TLS_CCS:
		record_ccs(t, dir, rec);
		break;
	case TLS_ALERT:
		record_alert(t, dir, rec);
		break;
	case TLS_HANDSHAKE:
		if (dir == CBT_IN && t->h.complete_ns)
			server_data(t, rec);
		else
			record_handshake(t, dir, rec);
		break;
	default:
		if (dir == CBT_OUT)
			client_data(t, rec);
		else
			server_data(t, rec);
		if (!s->app_ns)
			s->app_ns = rec->end_ns;
		break;
	}
	s->pos = end;
	s->start_ns = 0;
	stream_discard(s->stream, end);
	/* Both sides have switched to their keys and sent a record under them: RFC 5246 section 7.3. */
	if (!t->h.complete_ns && is_tls12(t) && t->side[CBT_OUT].finished_ns && t->side[CBT_IN].finished_ns)
		complete(t, t->side[CBT_OUT].finished_ns > t->side[CBT_IN].finished_ns ? t->side[CBT_OUT].finished_ns
										       : t->side[CBT_IN].finished_ns);
}

static void records_walk(struct tls_conn *t)
{
	struct record rec[2];
	bool ready[2];

	for (;;) {
		int dir;

		for (dir = 0; dir < 2; dir++)
			ready[dir] = record_next(t, dir, &rec[dir]);
		if (!ready[CBT_OUT] && !ready[CBT_IN])
			return;
		dir = ready[CBT_IN] && (!ready[CBT_OUT] || rec[CBT_IN].end_ns < rec[CBT_OUT].end_ns) ? CBT_IN : CBT_OUT;
		record_take(t, dir, &rec[dir]);
	}
}

/* Nothing is left to learn: let the streams forget what still comes. */
static void streams_drain(struct tls_conn *t)
{
	for (int dir = 0; dir < 2; dir++) {
		side_silence(&t->side[dir]);
		stream_discard(t->side[dir].stream, stream_end(t->side[dir].stream));
	}
}

void tls_conn_advance(struct tls_conn *t)
{
	struct tls_handshake *h = &t->h;

	if (t->finished)
		return;
	h->first_out_ns = stream_first_time(t->side[CBT_OUT].stream);
	h->last_client_ns = stream_last_time(t->side[CBT_OUT].stream);
	h->last_server_ns = stream_last_time(t->side[CBT_IN].stream);
	if (h->not_tls || h->server_after_ns) {
		streams_drain(t);
		return;
	}
	if (!h->complete_ns)
		turns_update(t);
	records_walk(t);
	if (!h->complete_ns)
		h->truncated = t->side[CBT_OUT].waiting || t->side[CBT_IN].waiting || t->side[CBT_OUT].lost ||
			       t->side[CBT_IN].lost;
}
