// SPDX-License-Identifier: BSD-2-Clause
/* Scripted events. See script.h. A script that cannot go on (no memory, a typing error in a test) aborts. */
#include "script.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "addr.h"
#include "dns.h"
#include "event.h"
#include "sink_json.h"

#define SOCKETS_MAX 64
#define REPORTS_MAX 4096
#define TAPS_MAX    256
#define OUT_ISN	    0xfffffff0U /* wraps early, on purpose */
#define IN_ISN	    5000U

struct sock {
	uint64_t cookie;
	uint32_t tgid, tid;
	struct cbt_endpoint remote;
	uint32_t count;
	uint32_t next[2]; /* sequence number of the next byte, by direction */
};

struct script {
	struct correlator *correlator;
	struct sink_json *json;
	FILE *out;
	char *text;
	size_t text_len;
	uint64_t now;
	uint32_t tgid, tid;
	char comm[CBT_COMM_LEN];
	struct sock socks[SOCKETS_MAX];
	size_t n_socks;
	uint64_t taps[TAPS_MAX];
	size_t n_taps;
	uint8_t *events;
	size_t events_len, events_size;
	uint64_t lost[CBT_LOST_STAGES];
	struct correlate_config config; /* its strings and ports are the test's, and live longer */
};

static void tap_done(uint64_t cookie, void *arg)
{
	struct script *s = arg;

	if (s->n_taps < TAPS_MAX)
		s->taps[s->n_taps++] = cookie;
}

/* Of what failed in TLS, the connection lies inside the attempt. */
static bool established_within(const struct report_attempt *a)
{
	for (size_t i = 0; i < a->n_legs; i++) {
		const struct report_leg *l = &a->legs[i];

		if (strcmp(l->result, "connected") == 0 && l->start_ns + l->tcp_ns <= a->total_ns)
			return true;
	}
	return false;
}

/* What holds of every attempt, whatever happened: the timeline is contiguous, in order, and sums to the total. */
static void attempt_check(const struct report_attempt *a)
{
	int64_t reached = 0;

	for (size_t i = 0; i < a->n_timeline; i++) {
		assert(a->timeline[i].start_ns == reached && a->timeline[i].end_ns > reached);
		assert(a->timeline[i].leg < (int)a->n_legs);
		reached = a->timeline[i].end_ns;
	}
	assert(reached == a->total_ns && a->total_ns >= 0);
	assert(a->failed_phase != PHASE_TLS || established_within(a));
	assert((a->failed_phase != PHASE_NONE) == (a->reason != NULL));
	assert(a->retry_of < a->id);
}

static void on_attempt(const struct report_attempt *a, void *arg)
{
	attempt_check(a);
	struct report_handler h = {0};

	sink_json_handler(((struct script *)arg)->json, &h);
	h.attempt(a, h.arg);
}

static void on_session(const struct report_session *r, void *arg)
{
	struct report_handler h = {0};

	sink_json_handler(((struct script *)arg)->json, &h);
	h.session(r, h.arg);
}

static void on_lookup(const struct report_lookup *r, int64_t start_real_ns, void *arg)
{
	struct report_handler h = {0};

	sink_json_handler(((struct script *)arg)->json, &h);
	h.lookup(r, start_real_ns, h.arg);
}

static void on_leg(const struct report_leg *r, int64_t start_real_ns, void *arg)
{
	struct report_handler h = {0};

	sink_json_handler(((struct script *)arg)->json, &h);
	h.leg(r, start_real_ns, h.arg);
}

/* Appends one event of @size bytes and hands it on. */
static void emit(struct script *s, void *event, size_t size, uint16_t type, uint64_t cookie)
{
	struct cbt_hdr *h = event;
	size_t padded = (size + 7) & ~(size_t)7;
	uint8_t *slot;

	h->ts = s->now;
	h->cookie = cookie;
	h->len = (uint32_t)size;
	h->type = type;
	if (s->events_len + padded > s->events_size) {
		s->events_size = 2 * s->events_size + padded;
		s->events = realloc(s->events, s->events_size);
		assert(s->events);
	}
	slot = s->events + s->events_len;
	memset(slot, 0, padded);
	memcpy(slot, event, size);
	s->events_len += padded;
	assert(event_check(event, size) == 0);
	correlate_event(s->correlator, event);
}

struct script *script_new(const struct correlate_config *config)
{
	static const uint16_t port = 5223;
	struct correlate_config c = config ? *config : (struct correlate_config){0};
	struct script *s = calloc(1, sizeof(*s));
	struct report_handler h = {
		.attempt = on_attempt,
		.session = on_session,
		.lookup = on_lookup,
		.leg = on_leg,
		.tap_done = tap_done,
		.arg = s,
	};
	struct cbt_ev_host host = {.realtime_offset = 1700000000000000000LL, .host = "cb1", .kernel = "test"};

	assert(s);
	if (!c.n_ports) {
		c.ports = &port;
		c.n_ports = 1;
	}
	s->config = c;
	s->out = open_memstream(&s->text, &s->text_len);
	s->json = sink_json_new(s->out, true, true);
	s->correlator = correlator_new(&c, &h);
	assert(s->out && s->json && s->correlator);
	s->now = SCRIPT_START;
	emit(s, &host, sizeof(host), CBT_EV_HOST, 0);
	script_process(s, 100, 100, "callbridge");
	return s;
}

void script_free(struct script *s)
{
	if (!s)
		return;
	correlator_free(s->correlator);
	sink_json_free(s->json);
	fclose(s->out);
	free(s->text);
	free(s->events);
	free(s);
}

void script_process(struct script *s, uint32_t tgid, uint32_t tid, const char *comm)
{
	s->tgid = tgid;
	s->tid = tid;
	snprintf(s->comm, sizeof(s->comm), "%s", comm);
}

void script_wait(struct script *s, uint64_t ns)
{
	s->now += ns;
}

void script_tick(struct script *s)
{
	correlate_tick(s->correlator, s->now);
}

void script_finish(struct script *s)
{
	struct cbt_ev_end end = {0};

	emit(s, &end, sizeof(end), CBT_EV_END, 0);
	correlate_finish(s->correlator, s->now);
}

uint64_t script_now(const struct script *s)
{
	return s->now;
}

static struct sock *sock_get(struct script *s, uint64_t cookie)
{
	for (size_t i = 0; i < s->n_socks; i++)
		if (s->socks[i].cookie == cookie)
			return &s->socks[i];
	assert(s->n_socks < SOCKETS_MAX);
	s->socks[s->n_socks] = (struct sock){.cookie = cookie, .tgid = s->tgid, .tid = s->tid};
	return &s->socks[s->n_socks++];
}

static struct cbt_endpoint endpoint(const char *addr, uint16_t port)
{
	struct cbt_endpoint e = {.port = port};

	assert(addr_parse(addr, e.addr) == 0);
	return e;
}

/* --- DNS --- */

struct buffer {
	size_t len;
	uint8_t data[2048];
};

static void put(struct buffer *b, const void *data, size_t len)
{
	assert(b->len + len <= sizeof(b->data));
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

static void put_u8(struct buffer *b, unsigned int v)
{
	uint8_t c = (uint8_t)v;

	put(b, &c, 1);
}

static void put_u16(struct buffer *b, unsigned int v)
{
	put_u8(b, v >> 8);
	put_u8(b, v);
}

static void put_u24(struct buffer *b, size_t v)
{
	put_u8(b, (unsigned int)(v >> 16));
	put_u16(b, (unsigned int)v);
}

static void put_name(struct buffer *b, const char *name)
{
	while (*name && strcmp(name, ".") != 0) {
		size_t n = strcspn(name, ".");

		put_u8(b, (unsigned int)n);
		put(b, name, n);
		name += n + (name[n] == '.');
	}
	put_u8(b, 0);
}

static uint16_t type_number(const char *type)
{
	return strcmp(type, "A") == 0	    ? DNS_TYPE_A
	       : strcmp(type, "AAAA") == 0  ? DNS_TYPE_AAAA
	       : strcmp(type, "SRV") == 0   ? DNS_TYPE_SRV
	       : strcmp(type, "CNAME") == 0 ? DNS_TYPE_CNAME
					    : (uint16_t)atoi(type);
}

static void put_record(struct buffer *b, const char *owner, char *text)
{
	char *type = strtok(text, " "), *word;
	struct buffer rdata = {0};
	uint8_t addr[16];

	if (strcmp(type, "SRV") == 0) {
		for (int i = 0; i < 3; i++)
			put_u16(&rdata, (unsigned int)atoi(strtok(NULL, " ")));
		put_name(&rdata, strtok(NULL, " "));
	} else if (strcmp(type, "CNAME") == 0) {
		put_name(&rdata, strtok(NULL, " "));
	} else {
		word = strtok(NULL, " ");
		assert(addr_parse(word, addr) == 0);
		if (strcmp(type, "A") == 0)
			put(&rdata, addr + 12, 4);
		else
			put(&rdata, addr, 16);
	}
	put_name(b, owner);
	put_u16(b, type_number(type));
	put_u16(b, 1);
	put_u16(b, 0);
	put_u16(b, 60);
	put_u16(b, (unsigned int)rdata.len);
	put(b, rdata.data, rdata.len);
}

static void dns_emit(struct script *s, uint64_t cookie, int dir, uint16_t id, unsigned int flags, const char *type,
		     const char *name, const char *answers, const char *resolver)
{
	struct sock *k = sock_get(s, cookie);
	struct buffer m = {0};
	char *copy = strdup(answers ? answers : ""), *rest = copy, *one;
	unsigned int n = 0;
	struct {
		struct cbt_ev_dns ev;
		uint8_t data[2048];
	} e = {.ev = {.h = {.tgid = k->tgid, .tid = k->tid},
		      .remote = endpoint(resolver, 53),
		      .local_port = 40000,
		      .dir = (uint8_t)dir}};

	for (const char *p = answers; p && *p; p = strchr(p, ';') ? strchr(p, ';') + 1 : NULL)
		n++;
	put_u16(&m, id);
	put_u16(&m, flags);
	put_u16(&m, 1);
	put_u16(&m, n);
	put_u16(&m, 0);
	put_u16(&m, 0);
	put_name(&m, name);
	put_u16(&m, type_number(type));
	put_u16(&m, 1);
	while (n && (one = strsep(&rest, ";")))
		put_record(&m, name, one);
	free(copy);
	memcpy(e.ev.owner.comm, s->comm, sizeof(e.ev.owner.comm));
	e.ev.msg_len = e.ev.data_len = (uint16_t)m.len;
	memcpy(e.data, m.data, m.len);
	emit(s, &e, sizeof(e.ev) + m.len, CBT_EV_DNS, cookie);
}

void script_query(struct script *s, uint64_t cookie, uint16_t id, const char *type, const char *name,
		  const char *resolver)
{
	sock_get(s, cookie);
	dns_emit(s, cookie, CBT_OUT, id, 0x0100, type, name, NULL, resolver);
}

void script_answer(struct script *s, uint64_t cookie, uint16_t id, const char *type, const char *name, int rcode,
		   const char *answers, const char *resolver)
{
	dns_emit(s, cookie, CBT_IN, id, 0x8180 | (unsigned int)rcode, type, name, answers, resolver);
}

void script_answer_truncated(struct script *s, uint64_t cookie, uint16_t id, const char *type, const char *name,
			     const char *resolver)
{
	dns_emit(s, cookie, CBT_IN, id, 0x8380, type, name, NULL, resolver);
}

/* --- TCP --- */

void script_connect(struct script *s, uint64_t cookie, const char *addr, uint16_t port, int why)
{
	struct sock *k = sock_get(s, cookie);
	struct cbt_ev_connect e = {.remote = endpoint(addr, port), .count = ++k->count, .why = (uint8_t)why};

	k->tgid = e.h.tgid = s->tgid;
	k->tid = e.h.tid = s->tid;
	k->remote = e.remote;
	k->next[CBT_OUT] = OUT_ISN;
	k->next[CBT_IN] = IN_ISN;
	memcpy(e.owner.comm, s->comm, sizeof(e.owner.comm));
	emit(s, &e, sizeof(e), CBT_EV_CONNECT, cookie);
}

void script_segment(struct script *s, uint64_t cookie, int dir, int flags, const void *data, size_t len)
{
	struct sock *k = sock_get(s, cookie);
	struct {
		struct cbt_ev_tcp ev;
		uint8_t data[CBT_DATA_MAX];
	} e = {.ev = {.h = {.tgid = k->tgid, .tid = k->tid},
		      .seq = k->next[dir],
		      .ack = k->next[!dir],
		      .seg_len = (uint32_t)len,
		      .data_len = (uint16_t)len,
		      .dir = (uint8_t)dir,
		      .flags = (uint8_t)flags,
		      .verdict = CBT_VERDICT_TLS}};

	assert(len <= CBT_DATA_MAX);
	if (len)
		memcpy(e.data, data, len);
	k->next[dir] += (uint32_t)len + (flags & (CBT_TCP_SYN | CBT_TCP_FIN) ? 1 : 0);
	emit(s, &e, sizeof(e.ev) + len, CBT_EV_TCP, cookie);
}

void script_syn(struct script *s, uint64_t cookie)
{
	sock_get(s, cookie)->next[CBT_OUT] = OUT_ISN;
	script_segment(s, cookie, CBT_OUT, CBT_TCP_SYN, NULL, 0);
}

void script_syn_ack(struct script *s, uint64_t cookie)
{
	script_segment(s, cookie, CBT_IN, CBT_TCP_SYN | CBT_TCP_ACK, NULL, 0);
}

void script_state(struct script *s, uint64_t cookie, int old_state, int new_state, int err)
{
	struct sock *k = sock_get(s, cookie);
	struct cbt_ev_state e = {.h = {.tgid = k->tgid, .tid = k->tid},
				 .old_state = (uint8_t)old_state,
				 .new_state = (uint8_t)new_state,
				 .sk_err = err};

	emit(s, &e, sizeof(e), CBT_EV_STATE, cookie);
}

void script_release(struct script *s, uint64_t cookie)
{
	struct sock *k = sock_get(s, cookie);
	struct cbt_ev_release e = {.h = {.tgid = k->tgid, .tid = k->tid}};

	emit(s, &e, sizeof(e), CBT_EV_RELEASE, cookie);
}

void script_close(struct script *s, uint64_t cookie)
{
	script_release(s, cookie);
	script_state(s, cookie, CBT_TCP_ESTABLISHED, CBT_TCP_FIN_WAIT1, 0);
}

void script_exit(struct script *s, uint32_t tgid)
{
	struct cbt_ev_exit e = {.h = {.tgid = tgid, .tid = tgid}};

	emit(s, &e, sizeof(e), CBT_EV_EXIT, 0);
}

void script_exec(struct script *s, const char *comm)
{
	struct cbt_ev_exec e = {.h = {.tgid = s->tgid, .tid = s->tgid}};

	snprintf(e.comm, sizeof(e.comm), "%s", comm);
	emit(s, &e, sizeof(e), CBT_EV_EXEC, 0);
}

void script_proc(struct script *s, uint32_t flags, const char *cgroup)
{
	struct {
		struct cbt_ev_proc ev;
		char path[CBT_PATH_MAX];
	} e = {.ev = {.h = {.tgid = s->tgid}, .flags = flags, .path_len = (uint16_t)strlen(cgroup)}};

	memcpy(e.path, cgroup, e.ev.path_len);
	emit(s, &e, sizeof(e.ev) + e.ev.path_len, CBT_EV_PROC, 0);
}

void script_lost(struct script *s, unsigned int stage, uint64_t count, uint64_t ns)
{
	struct cbt_ev_lost e = {.until = s->now + ns};

	s->lost[stage] += count;
	memcpy(e.count, s->lost, sizeof(e.count));
	emit(s, &e, sizeof(e), CBT_EV_LOST, 0);
}

/* --- The TLS library --- */

void script_lib_hello(struct script *s, uint64_t conn, uint64_t cookie)
{
	struct cbt_ev_lib_hello e = {.h = {.tgid = s->tgid, .tid = s->tid}, .conn = conn};

	memset(e.random, (int)cookie, sizeof(e.random));
	emit(s, &e, sizeof(e), CBT_EV_LIB_HELLO, 0);
}

void script_lib_cert(struct script *s, uint64_t conn, uint16_t index, const void *der, size_t len)
{
	for (size_t off = 0; off < len;) {
		struct {
			struct cbt_ev_lib_cert ev;
			uint8_t data[CBT_DATA_MAX];
		} e = {.ev = {.h = {.tgid = s->tgid, .tid = s->tid}, .conn = conn, .index = index}};
		size_t n = len - off < CBT_DATA_MAX ? len - off : CBT_DATA_MAX;

		e.ev.der_len = (uint32_t)len;
		e.ev.off = (uint32_t)off;
		e.ev.data_len = (uint16_t)n;
		memcpy(e.data, (const uint8_t *)der + off, n);
		emit(s, &e, sizeof(e.ev) + n, CBT_EV_LIB_CERT, 0);
		off += n;
	}
}

void script_lib_error(struct script *s, uint64_t conn, int reason, int verify)
{
	struct cbt_ev_lib_error e = {
		.h = {.tgid = s->tgid, .tid = s->tid}, .conn = conn, .reason = reason, .verify_result = verify};

	emit(s, &e, sizeof(e), CBT_EV_LIB_ERROR, 0);
}

static void lib_element(struct script *s, const struct cbt_ev_lib_element *what, const char *name, const char *child,
			const char *address)
{
	struct {
		struct cbt_ev_lib_element ev;
		char data[CBT_ELEMENT_DATA_MAX];
	} e = {.ev = *what};

	e.ev.h = (struct cbt_hdr){.tgid = s->tgid, .tid = s->tid};
	e.ev.start_ns = s->now;
	e.ev.bytes = s->now; /* never falling is all that matters */
	e.ev.verify_result = CBT_VERIFY_UNKNOWN;
	snprintf(e.ev.name, sizeof(e.ev.name), "%s", name);
	snprintf(e.ev.child, sizeof(e.ev.child), "%s", child);
	e.ev.data_len = (uint16_t)strlen(address);
	memcpy(e.data, address, e.ev.data_len);
	emit(s, &e, sizeof(e.ev) + e.ev.data_len, CBT_EV_LIB_ELEMENT, 0);
}

void script_lib_element(struct script *s, uint64_t conn, int dir, const char *name, const char *more)
{
	bool open = strcmp(name, "stream") == 0;
	struct cbt_ev_lib_element e = {
		.conn = conn, .dir = (uint8_t)dir, .kind = open ? CBT_ELEMENT_STREAM_OPEN : CBT_ELEMENT_CHILD};

	lib_element(s, &e, name, open ? "" : more, open ? more : "");
}

void script_lib_stanza(struct script *s, uint64_t conn, int dir, const char *name, int type, uint64_t id)
{
	struct cbt_ev_lib_element e = {
		.conn = conn, .dir = (uint8_t)dir, .kind = CBT_ELEMENT_CHILD, .type = (uint8_t)type, .id_hash = id};

	lib_element(s, &e, name, "", "");
}

void script_lib_iq(struct script *s, uint64_t conn, int dir, int type, uint64_t id, const char *child)
{
	struct cbt_ev_lib_element e = {
		.conn = conn, .dir = (uint8_t)dir, .kind = CBT_ELEMENT_CHILD, .type = (uint8_t)type, .id_hash = id};

	lib_element(s, &e, "iq", child, "");
}

void script_lib_told(struct script *s, uint64_t conn, int dir, int kind)
{
	struct cbt_ev_lib_element e = {.conn = conn, .dir = (uint8_t)dir, .kind = (uint8_t)kind};

	lib_element(s, &e, "", "", "");
}

void script_lib_proc(struct script *s, int library_state)
{
	struct cbt_ev_lib_proc e = {.h = {.tgid = s->tgid}, .state = (uint8_t)library_state};

	emit(s, &e, sizeof(e), CBT_EV_LIB_PROC, 0);
}

void script_lib_close(struct script *s, uint64_t conn, int how)
{
	struct cbt_ev_lib_close e = {.h = {.tgid = s->tgid, .tid = s->tid},
				     .conn = conn,
				     .bytes = {200, 300},
				     .verify_result = CBT_VERIFY_UNKNOWN,
				     .how = (uint8_t)how};

	emit(s, &e, sizeof(e), CBT_EV_LIB_CLOSE, 0);
}

/* --- TLS: RFC 8446 and 5246, the least that a parser accepts --- */

void script_record(struct script *s, uint64_t cookie, int dir, int type, const void *body, size_t len)
{
	struct buffer b = {0};

	put_u8(&b, (unsigned int)type);
	put_u16(&b, 0x0303);
	put_u16(&b, (unsigned int)len);
	put(&b, body, len);
	script_segment(s, cookie, dir, CBT_TCP_ACK | CBT_TCP_PSH, b.data, b.len);
}

static void handshake_message(struct script *s, uint64_t cookie, int dir, unsigned int type, const struct buffer *body)
{
	struct buffer b = {0};

	put_u8(&b, type);
	put_u24(&b, body->len);
	put(&b, body->data, body->len);
	script_record(s, cookie, dir, 22, b.data, b.len);
}

void script_client_hello(struct script *s, uint64_t cookie, const char *sni)
{
	static const uint8_t ciphers[] = {0, 4, 0x13, 0x02, 0xc0, 0x30, 1, 0};
	static const uint8_t versions[] = {0, 43, 0, 5, 4, 3, 4, 3, 3};
	struct buffer b = {0}, ext = {0};
	uint8_t random[32];
	size_t n = strlen(sni);

	memset(random, (int)cookie, sizeof(random));
	put_u16(&ext, 0);
	put_u16(&ext, (unsigned int)n + 5);
	put_u16(&ext, (unsigned int)n + 3);
	put_u8(&ext, 0);
	put_u16(&ext, (unsigned int)n);
	put(&ext, sni, n);
	put(&ext, versions, sizeof(versions));
	put_u16(&b, 0x0303);
	put(&b, random, sizeof(random));
	put_u8(&b, 0);
	put(&b, ciphers, sizeof(ciphers));
	put_u16(&b, (unsigned int)ext.len);
	put(&b, ext.data, ext.len);
	handshake_message(s, cookie, CBT_OUT, 1, &b);
}

void script_server_hello(struct script *s, uint64_t cookie, uint16_t version)
{
	static const uint8_t version13[] = {0, 6, 0, 43, 0, 2, 3, 4};
	static const uint8_t one = 1;
	uint8_t random[32], body[900];
	struct buffer b = {0};

	memset(random, 0x77, sizeof(random));
	memset(body, 0x55, sizeof(body));
	put_u16(&b, 0x0303);
	put(&b, random, sizeof(random));
	put_u8(&b, 0);
	put_u16(&b, version == 0x0304 ? 0x1302 : 0xc030);
	put_u8(&b, 0);
	if (version == 0x0304)
		put(&b, version13, sizeof(version13));
	handshake_message(s, cookie, CBT_IN, 2, &b);
	if (version != 0x0304)
		return;
	script_record(s, cookie, CBT_IN, 20, &one, 1);
	script_record(s, cookie, CBT_IN, 23, body, 40);	 /* EncryptedExtensions */
	script_record(s, cookie, CBT_IN, 23, body, 900); /* Certificate */
	script_record(s, cookie, CBT_IN, 23, body, 280); /* CertificateVerify */
	script_record(s, cookie, CBT_IN, 23, body, 69);	 /* Finished */
}

void script_server_flight12(struct script *s, uint64_t cookie)
{
	struct buffer none = {0};

	handshake_message(s, cookie, CBT_IN, 14, &none);
}

void script_client_finished(struct script *s, uint64_t cookie, uint16_t version)
{
	static const uint8_t one = 1;
	uint8_t body[69];

	memset(body, 0x55, sizeof(body));
	if (version == 0x0304) {
		script_record(s, cookie, CBT_OUT, 20, &one, 1);
		script_record(s, cookie, CBT_OUT, 23, body, 69);
		return;
	}
	script_record(s, cookie, CBT_OUT, 22, "\x10\0\0\x02\0\0", 6); /* ClientKeyExchange */
	script_record(s, cookie, CBT_OUT, 20, &one, 1);
	script_record(s, cookie, CBT_OUT, 22, body, 40);
}

void script_server_finished12(struct script *s, uint64_t cookie)
{
	static const uint8_t one = 1;
	uint8_t body[40];

	memset(body, 0x55, sizeof(body));
	script_record(s, cookie, CBT_IN, 20, &one, 1);
	script_record(s, cookie, CBT_IN, 22, body, sizeof(body));
}

void script_alert(struct script *s, uint64_t cookie, int dir, int level, int description)
{
	uint8_t body[2] = {(uint8_t)level, (uint8_t)description};

	script_record(s, cookie, dir, 21, body, sizeof(body));
}

void script_app(struct script *s, uint64_t cookie, int dir, size_t len)
{
	uint8_t body[1024];

	assert(len <= sizeof(body));
	memset(body, 0x33, sizeof(body));
	script_record(s, cookie, dir, 23, body, len);
}

void script_handshake(struct script *s, uint64_t cookie, const char *sni, uint64_t rtt)
{
	script_syn(s, cookie);
	script_state(s, cookie, CBT_TCP_CLOSE, CBT_TCP_SYN_SENT, 0);
	script_wait(s, rtt);
	script_syn_ack(s, cookie);
	script_state(s, cookie, CBT_TCP_SYN_SENT, CBT_TCP_ESTABLISHED, 0);
	script_wait(s, 1 * MS);
	script_client_hello(s, cookie, sni);
	script_wait(s, rtt);
	script_server_hello(s, cookie, 0x0304);
	script_wait(s, 1 * MS);
	script_client_finished(s, cookie, 0x0304);
}

/* --- What came out --- */

void script_check_replay(const struct script *s)
{
	struct script *again = script_new(&s->config);

	/* The first event is HOST, which a new script has had already. */
	for (size_t at = again->events_len; at < s->events_len;) {
		const struct cbt_hdr *h = (const struct cbt_hdr *)(s->events + at);

		correlate_event(again->correlator, h);
		if (h->type == CBT_EV_END)
			correlate_finish(again->correlator, h->ts);
		at += (h->len + 7) & ~(size_t)7;
	}
	if (strcmp(script_text(s), script_text(again)) != 0) {
		fprintf(stderr, "--- with ticks\n%s--- without\n%s", script_text(s), script_text(again));
		abort();
	}
	script_free(again);
}

const char *script_report(const struct script *s, const char *kind, size_t index)
{
	static char line[65536];
	char head[64];
	const char *p, *end;

	fflush(s->out);
	snprintf(head, sizeof(head), "{\"kind\":\"%s\"", kind);
	for (p = s->text; p && *p; p = end + 1) {
		end = strchr(p, '\n');
		assert(end && (size_t)(end - p) < sizeof(line));
		if (strncmp(p, head, strlen(head)) == 0 && index-- == 0) {
			memcpy(line, p, (size_t)(end - p));
			line[end - p] = '\0';
			return line;
		}
	}
	return NULL;
}

const char *script_text(const struct script *s)
{
	fflush(s->out);
	return s->text;
}

size_t script_reports(const struct script *s, const char *kind)
{
	size_t n = 0;

	while (script_report(s, kind, n))
		n++;
	return n;
}

bool script_tap_done(const struct script *s, uint64_t cookie)
{
	for (size_t i = 0; i < s->n_taps; i++)
		if (s->taps[i] == cookie)
			return true;
	return false;
}

size_t script_in_flight(const struct script *s)
{
	return correlate_in_flight(s->correlator);
}

struct correlator *script_correlator(struct script *s)
{
	return s->correlator;
}

const uint8_t *script_events(const struct script *s, size_t *ret_size)
{
	*ret_size = s->events_len;
	return s->events;
}

const char *json_at(const char *json, const char *path)
{
	static char text[1024];
	char copy[256], *rest = copy, *word;
	json_t *root = json ? json_loads(json, 0, NULL) : NULL, *at = root;
	char *dumped;

	text[0] = '\0';
	snprintf(copy, sizeof(copy), "%s", path);
	while (at && (word = strsep(&rest, ".")))
		at = json_is_array(at) ? json_array_get(at, (size_t)atoi(word)) : json_object_get(at, word);
	if (json_is_string(at)) {
		snprintf(text, sizeof(text), "%s", json_string_value(at));
	} else if (at) {
		dumped = json_dumps(at, JSON_ENCODE_ANY | JSON_COMPACT);
		snprintf(text, sizeof(text), "%s", dumped);
		free(dumped);
	}
	json_decref(root);
	return text;
}
