// SPDX-License-Identifier: BSD-2-Clause
// sources: tests/unit/script.c user/addr.c user/attempt.c user/attempt_report.c user/cert.c user/claims.c
// sources: user/correlate.c user/correlate_attempt.c user/correlate_dns.c user/correlate_leg.c user/correlate_library.c
// sources: user/correlate_process.c user/dns.c user/event.c user/findings.c user/json.c user/leg.c user/library_conn.c
// sources: user/lookup.c user/registration.c user/report.c user/session.c user/sink_json.c user/stream.c user/table.c
// sources: user/text.c user/timeline.c user/tls.c user/tls_names.c
/*
 * The correlator under any order of events: bytes become calls of the script, over few names, addresses, sockets and
 * processes, so that they meet. The script asserts what must hold of every report, and that the events alone, without
 * the ticks between them, give the same ones; the sanitizers watch the rest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

#define STEPS_MAX 600

struct input {
	const uint8_t *data;
	size_t len;
};

static unsigned int take(struct input *in, unsigned int range)
{
	unsigned int v;

	if (!in->len)
		return 0;
	v = *in->data % range;
	in->data++;
	in->len--;
	return v;
}

static const char *const names[] = {"_xmpp-component._tcp.example.com",
				    "_xmpp-components._tcp.example.com",
				    "_xmpp-component._tcp.example.net",
				    "_xmpp-component._tcp.example.com.lab.local",
				    "xmpp1.example.com",
				    "xmpp2.example.com",
				    "xmpp1.example.com.lab.local",
				    "other.example.org"};
static const char *const types[] = {"SRV", "A", "AAAA", "64"};
static const char *const addrs[] = {"10.9.0.10", "10.9.0.20", "2001:db8::1", "127.0.0.1"};
static const char *const resolvers[] = {"10.0.0.2", "10.0.0.3"};
static const char *const answers[] = {"SRV 10 5 5223 xmpp1.example.com",
				      "SRV 0 0 5223 .",
				      "SRV 10 0 5223 xmpp1.example.com;SRV 20 0 15223 xmpp2.example.com",
				      "A 10.9.0.10",
				      "A 10.9.0.20",
				      "AAAA 2001:db8::1",
				      "CNAME xmpp2.example.com;A 10.9.0.20",
				      ""};
static const uint16_t ports[] = {5223, 15223, 443, 53};

static const char *const elements[] = {"stream",   "handshake", "error",   "auth",     "success", "failure",
				       "features", "iq",	"message", "presence", "other",	  ""};
static const char *const children[] = {"not-authorized", "conflict", "host-unknown", "bind", "ping", ""};

/* A certificate's first bytes as DER has them, and what follows arbitrary. */
static void library_cert(struct script *s, uint64_t conn, struct input *in)
{
	static uint8_t der[24000] = {0x30, 0x82, 0x01, 0x00};
	static const size_t sizes[] = {1, 260, CBT_DATA_MAX, CBT_DATA_MAX + 1, sizeof(der)};
	uint16_t index = (uint16_t)take(in, 4);

	der[4] = (uint8_t)take(in, 256);
	script_lib_cert(s, conn, index, der, sizes[take(in, 5)]);
}

/* The library's side. Few connections and sockets, so that they join. */
static void library_step(struct script *s, struct input *in)
{
	static const int errors[] = {134, 1000 + 42, 1000 + 116, 1000 + 255, 1, 1256};
	static const int results[] = {CBT_VERIFY_UNKNOWN, 0, 10, 18, 20, 99};
	uint64_t conn = 1 + take(in, 8);
	int dir = (int)take(in, 2);

	switch (take(in, 9)) {
	case 0:
		script_lib_hello(s, conn, 1 + take(in, 12));
		break;
	case 1:
		library_cert(s, conn, in);
		break;
	case 2:
		script_lib_error(s, conn, errors[take(in, 6)], results[take(in, 6)]);
		break;
	case 3:
	case 4:
		script_lib_element(s, conn, dir, elements[take(in, 12)], children[take(in, 6)]);
		break;
	case 5:
		script_lib_iq(s, conn, dir, (int)take(in, 6), take(in, 4), children[take(in, 6)]);
		break;
	case 6:
		script_lib_told(s, conn, dir, CBT_ELEMENT_STREAM_OPEN + (int)take(in, 6));
		break;
	case 7:
		script_lib_close(s, conn, CBT_CLOSE_SHUTDOWN + (int)take(in, 3));
		break;
	default:
		script_lib_proc(s, CBT_LIBRARY_ARMED + (int)take(in, CBT_LIBRARY_STATES - 1));
		break;
	}
}

/* As far as a TLS connection that the library knows, and perhaps registered: what comes after is worth trying often. */
static void connection(struct script *s, uint64_t cookie, struct input *in)
{
	uint64_t conn = 1 + take(in, 8);
	unsigned int far = take(in, 4);

	script_connect(s, cookie, addrs[take(in, 4)], 5223, CBT_WHY_PORT);
	if (far)
		script_lib_hello(s, conn, cookie);
	script_handshake(s, cookie, "example.com", take(in, 30) * MS);
	if (far < 2)
		return;
	script_lib_element(s, conn, CBT_OUT, "stream", "cb1.example.com");
	script_lib_element(s, conn, CBT_IN, "stream", "cb1.example.com");
	script_lib_element(s, conn, CBT_OUT, "handshake", "");
	if (far < 3)
		return;
	script_wait(s, take(in, 30) * MS);
	script_lib_element(s, conn, CBT_IN, "handshake", "");
}

static void step(struct script *s, struct input *in)
{
	uint64_t cookie = 1 + take(in, 12);
	static const int states[] = {CBT_TCP_ESTABLISHED, CBT_TCP_SYN_SENT, CBT_TCP_FIN_WAIT1, CBT_TCP_CLOSE,
				     CBT_TCP_CLOSE_WAIT};
	static const int errs[] = {0, 111, 110, 104, 113};
	uint8_t raw[64];
	unsigned int n;

	switch (take(in, 28)) {
	case 0:
		script_query(s, cookie, (uint16_t)take(in, 8), types[take(in, 4)], names[take(in, 8)],
			     resolvers[take(in, 2)]);
		break;
	case 1:
		script_answer(s, cookie, (uint16_t)take(in, 8), types[take(in, 4)], names[take(in, 8)],
			      (int)take(in, 6), answers[take(in, 8)], resolvers[take(in, 2)]);
		break;
	case 2:
		script_answer_truncated(s, cookie, (uint16_t)take(in, 8), types[take(in, 4)], names[take(in, 8)],
					resolvers[0]);
		break;
	case 3:
		n = take(in, 4);
		script_connect(s, cookie, addrs[take(in, 4)], ports[n],
			       n == 3 ? CBT_WHY_DNS
			       : n    ? CBT_WHY_SRV_ASKER
				      : CBT_WHY_PORT);
		break;
	case 4:
		script_syn(s, cookie);
		break;
	case 5:
		script_syn_ack(s, cookie);
		break;
	case 6:
		script_state(s, cookie, states[take(in, 5)], states[take(in, 5)], errs[take(in, 5)]);
		break;
	case 7:
		script_release(s, cookie);
		break;
	case 8:
		script_exit(s, 100 + take(in, 4));
		break;
	case 9:
		script_exec(s, "other");
		break;
	case 10:
		script_proc(s, take(in, 2), "/system.slice/x.service");
		break;
	case 11:
		script_lost(s, take(in, CBT_LOST_STAGES), take(in, 3), take(in, 200) * MS);
		break;
	case 12:
		script_client_hello(s, cookie, "example.com");
		break;
	case 13:
		script_server_hello(s, cookie, take(in, 2) ? 0x0304 : 0x0303);
		break;
	case 14:
		script_client_finished(s, cookie, take(in, 2) ? 0x0304 : 0x0303);
		break;
	case 15:
		script_server_finished12(s, cookie);
		break;
	case 16:
		script_alert(s, cookie, (int)take(in, 2), 2, (int)take(in, 256));
		break;
	case 17:
		script_app(s, cookie, (int)take(in, 2), take(in, 200));
		break;
	case 18:
		script_wait(s, (uint64_t)take(in, 256) * take(in, 256) * MS / 4);
		break;
	case 19:
		script_tick(s);
		break;
	case 20:
		script_process(s, 100 + take(in, 4), 100 + take(in, 6), "client");
		break;
	case 21:
		connection(s, cookie, in);
		break;
	case 22:
	case 23:
	case 24:
	case 25:
	case 26:
		library_step(s, in);
		break;
	default:
		n = take(in, sizeof(raw));
		for (unsigned int i = 0; i < n; i++)
			raw[i] = (uint8_t)take(in, 256);
		script_segment(s, cookie, (int)take(in, 2), (int)take(in, 32), raw, n);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct script *s = script_new(NULL);

	for (int i = 0; i < STEPS_MAX && in.len; i++)
		step(s, &in);
	if (size % 2) {
		script_finish(s);
		script_check_replay(s);
	}
	script_free(s);
	return 0;
}
