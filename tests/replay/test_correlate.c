// SPDX-License-Identifier: BSD-2-Clause
/* Correlation by scripted events and a fake clock: which event belongs to which attempt, what became of it, and the
 * times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "script.h"

#define SRV_NAME "_xmpp-component._tcp.example.com"
#define RESOLVER "10.0.0.2"
#define IDLE	 (11000 * MS) /* past --idle and the slack */

#define assert_json(json, path, value) assert_string_equal(json_at(json, path), value)

static void srv_lookup(struct script *s, uint64_t cookie, uint16_t id, const char *domain, const char *answers)
{
	char name[128];

	snprintf(name, sizeof(name), "_xmpp-component._tcp.%s", domain);
	script_query(s, cookie, id, "SRV", name, RESOLVER);
	script_wait(s, 3 * MS);
	script_answer(s, cookie, id, "SRV", name, 0, answers, RESOLVER);
}

static void a_lookup(struct script *s, uint64_t cookie, uint16_t id, const char *name, const char *addr)
{
	char answer[64];

	snprintf(answer, sizeof(answer), "A %s", addr);
	script_query(s, cookie, id, "A", name, RESOLVER);
	script_wait(s, 2 * MS);
	script_answer(s, cookie, id, "A", name, 0, answer, RESOLVER);
}

/* Contiguous, in order, summing to the total exactly. */
static void assert_timeline(const char *json)
{
	json_t *root = json_loads(json, 0, NULL), *entry;
	json_int_t reached = 0;
	size_t i;

	assert_non_null(root);
	json_array_foreach (json_object_get(root, "timeline"), i, entry) {
		json_int_t start = json_integer_value(json_object_get(entry, "start_ns"));
		json_int_t end = json_integer_value(json_object_get(entry, "end_ns"));

		assert_int_equal(start, reached);
		assert_true(end > start);
		reached = end;
	}
	assert_int_equal(reached, json_integer_value(json_object_get(root, "total_ns")));
	json_decref(root);
}

/* "srv wait address …" */
static const char *phases(const char *json)
{
	static char text[512];
	json_t *root = json_loads(json, 0, NULL), *entry;
	size_t i;

	text[0] = '\0';
	json_array_foreach (json_object_get(root, "timeline"), i, entry) {
		strcat(text, i ? " " : "");
		strcat(text, json_string_value(json_object_get(entry, "phase")));
	}
	json_decref(root);
	return text;
}

static void good_attempt(struct script *s, uint64_t cookie)
{
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	script_wait(s, MS);
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_wait(s, MS);
	script_connect(s, cookie, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, cookie, "example.com", 20 * MS);
}

static void test_good(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_proc(s, 0, "/system.slice/callbridge.service");
	good_attempt(s, 3);
	script_wait(s, 900 * MS);
	script_tick(s);
	assert_null(script_report(s, "attempt", 0));
	script_wait(s, 200 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_non_null(json);
	assert_json(json, "outcome", "connected");
	assert_json(json, "domain", "example.com");
	assert_json(json, "server", "xmpp1.example.com");
	assert_json(json, "config", "srv");
	assert_json(json, "pid", "100");
	assert_json(json, "comm", "callbridge");
	assert_json(json, "cgroup", "/system.slice/callbridge.service");
	assert_json(json, "host", "cb1");
	assert_json(json, "reason", "null");
	assert_json(json, "complete", "true");
	assert_json(json, "total_ns", "49000000"); /* 3 + 1 + 2 + 1 + 20 + 1 + 20 + 1 */
	assert_json(json, "legs.0.priority", "10");
	assert_json(json, "legs.0.tcp_ns", "20000000");
	assert_json(json, "legs.0.rtt_ns", "20000000");
	assert_json(json, "lookups.0.duration_ns", "3000000");
	assert_json(json, "tls.version", "TLSv1.3");
	assert_json(json, "tls.sni", "example.com");
	assert_json(json, "tls.network_ns", "20000000");
	assert_json(json, "tls.client_ns", "1000000");
	assert_json(json, "certificate", "null");
	assert_string_equal(phases(json), "srv wait address wait tcp wait tls");
	assert_timeline(json);
	assert_int_equal(script_in_flight(s), 0);
	assert_true(script_tap_done(s, 3));

	/* Its connection is a session now, up until the process closes it. */
	json = script_report(s, "session", 0);
	assert_json(json, "state", "up");
	script_wait(s, 5000 * MS);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	json = script_report(s, "session", 1);
	assert_json(json, "state", "down");
	assert_json(json, "ended_by", "server");
	assert_json(json, "end_reason", "fin");
	script_free(s);
}

/* A server record after the client's first application record settles it before the second has passed. */
static void test_settles_early(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	good_attempt(s, 3);
	script_wait(s, MS);
	script_app(s, 3, CBT_OUT, 200);
	script_wait(s, 20 * MS);
	script_app(s, 3, CBT_IN, 100);
	script_wait(s, 100 * MS);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "outcome", "connected");
	assert_json(script_report(s, "attempt", 0), "total_ns", "49000000");
	script_free(s);
}

static void test_closed_after_handshake(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	good_attempt(s, 3);
	script_wait(s, MS);
	script_app(s, 3, CBT_OUT, 200);
	script_wait(s, 20 * MS);
	script_segment(s, 3, CBT_IN, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
	script_wait(s, IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "failed");
	assert_json(json, "failed_phase", "register");
	assert_json(json, "reason", "closed_by_server");
	assert_string_equal(phases(json), "srv wait address wait tcp wait tls wait register");
	assert_timeline(json);
	script_free(s);
}

static void test_failover(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 0 5223 xmpp1.example.com;SRV 20 0 5224 xmpp2.example.com");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, 10 * MS);
	script_segment(s, 3, CBT_IN, CBT_TCP_RST | CBT_TCP_ACK, NULL, 0);
	script_state(s, 3, CBT_TCP_SYN_SENT, CBT_TCP_CLOSE, 111);
	script_release(s, 3);
	a_lookup(s, 4, 13, "xmpp2.example.com", "10.9.0.20");
	script_connect(s, 5, "10.9.0.20", 5224, CBT_WHY_SRV_ASKER);
	script_handshake(s, 5, "example.com", 20 * MS);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "connected");
	assert_json(json, "server", "xmpp2.example.com");
	assert_json(json, "legs.0.result", "refused");
	assert_json(json, "legs.0.target", "xmpp1.example.com");
	assert_json(json, "legs.1.result", "connected");
	assert_json(json, "legs.1.port", "5224");
	assert_json(json, "findings.0.code", "srv_failover");
	assert_json(json, "findings.0.cost_ns", "12000000");
	assert_string_equal(phases(json), "srv address tcp address tcp wait tls");
	assert_timeline(json);
	script_free(s);
}

/* One thread each to two domains that share server and address. */
static void test_two_domains(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_process(s, 100, 101, "callbridge");
	script_query(s, 1, 11, "SRV", SRV_NAME, RESOLVER);
	script_process(s, 100, 102, "callbridge");
	script_query(s, 2, 12, "SRV", "_xmpp-component._tcp.example.net", RESOLVER);
	script_wait(s, MS);
	script_answer(s, 2, 12, "SRV", "_xmpp-component._tcp.example.net", 0, "SRV 0 0 5223 x.example.com", RESOLVER);
	script_answer(s, 1, 11, "SRV", SRV_NAME, 0, "SRV 0 0 5223 x.example.com", RESOLVER);
	script_process(s, 100, 102, "callbridge");
	a_lookup(s, 4, 14, "x.example.com", "10.9.0.10");
	script_process(s, 100, 101, "callbridge");
	a_lookup(s, 3, 13, "x.example.com", "10.9.0.10");
	script_process(s, 100, 101, "callbridge");
	script_connect(s, 5, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_process(s, 100, 102, "callbridge");
	script_connect(s, 6, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 6, "example.net", MS);
	script_handshake(s, 5, "example.com", MS);
	script_wait(s, 1100 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 2);
	for (size_t i = 0; i < 2; i++) {
		json = script_report(s, "attempt", i);
		assert_json(json, "outcome", "connected");
		assert_json(json, "legs.1", "");
		assert_json(json, "lookups.2", "");
		assert_string_equal(json_at(json, "domain"), i == 0 ? "example.net" : "example.com");
		assert_string_equal(json_at(json, "tls.sni"), i == 0 ? "example.net" : "example.com");
		assert_timeline(json);
	}
	script_free(s);
}

/* One event loop to two domains whose servers share an address: the second connects first, and only SNI tells. */
static void test_two_domains_one_thread(void **state)
{
	static const char net_srv[] = "_xmpp-component._tcp.example.net";
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_process(s, 100, 100, "callbridge");
	script_query(s, 1, 11, "SRV", SRV_NAME, RESOLVER);
	script_query(s, 2, 12, "SRV", net_srv, RESOLVER);
	script_wait(s, MS);
	script_answer(s, 1, 11, "SRV", SRV_NAME, 0, "SRV 1 2 5223 x.example.com", RESOLVER);
	script_answer(s, 2, 12, "SRV", net_srv, 0, "SRV 3 4 5223 x.example.net", RESOLVER);
	a_lookup(s, 3, 13, "x.example.com", "10.9.0.10");
	a_lookup(s, 4, 14, "x.example.net", "10.9.0.10");
	script_connect(s, 6, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_wait(s, MS);
	script_connect(s, 5, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 6, "x.example.net", MS);
	script_handshake(s, 5, "x.example.com", MS);
	script_wait(s, 1100 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 2);
	for (size_t i = 0; i < 2; i++) {
		json = script_report(s, "attempt", i);
		assert_json(json, "outcome", "connected");
		assert_json(json, "legs.1", "");
		assert_json(json, "lookups.2", "");
		assert_string_equal(json_at(json, "domain"), i == 0 ? "example.net" : "example.com");
		assert_string_equal(json_at(json, "legs.0.target"), i == 0 ? "x.example.net" : "x.example.com");
		assert_string_equal(json_at(json, "legs.0.priority"), i == 0 ? "3" : "1");
		assert_string_equal(json_at(json, "tls.sni"), i == 0 ? "x.example.net" : "x.example.com");
		assert_timeline(json);
	}
	script_free(s);
}

static void test_two_processes(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	for (uint32_t pid = 200; pid < 202; pid++) {
		script_process(s, pid, pid, "cb");
		script_query(s, pid, 7, "SRV", SRV_NAME, RESOLVER);
	}
	script_wait(s, MS);
	for (uint32_t pid = 200; pid < 202; pid++) {
		script_process(s, pid, pid, "cb");
		script_answer(s, pid, 7, "SRV", SRV_NAME, pid == 200 ? 3 : 0, pid == 200 ? "" : "SRV 0 0 5223 .",
			      RESOLVER);
		script_exit(s, pid);
	}
	script_wait(s, 100 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 2);
	assert_json(script_report(s, "attempt", 0), "pid", "200");
	assert_json(script_report(s, "attempt", 0), "reason", "nxdomain");
	assert_json(script_report(s, "attempt", 0), "failed_phase", "srv");
	assert_json(script_report(s, "attempt", 1), "pid", "201");
	assert_json(script_report(s, "attempt", 1), "reason", "service_unavailable");
	script_free(s);
}

/* A and AAAA side by side; the connect did not wait for the AAAA that came late. */
static void test_parallel_address(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	script_query(s, 2, 21, "A", "xmpp1.example.com", RESOLVER);
	script_query(s, 2, 22, "AAAA", "xmpp1.example.com", RESOLVER);
	script_wait(s, 4 * MS);
	script_answer(s, 2, 21, "A", "xmpp1.example.com", 0, "A 10.9.0.10", RESOLVER);
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 3, "example.com", 20 * MS);
	script_answer(s, 2, 22, "AAAA", "xmpp1.example.com", 0, "AAAA 2001:db8::1", RESOLVER);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_string_equal(phases(json), "srv address tcp wait tls");
	assert_json(json, "timeline.1.end_ns", "7000000");
	assert_json(json, "lookups.2.type", "AAAA");
	assert_timeline(json);
	script_free(s);
}

static void test_config_name_and_address(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	/* Somebody else's question stays out. */
	a_lookup(s, 9, 9, "www.example.org", "10.1.1.1");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 3, "example.com", 2 * MS);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "config", "name");
	assert_json(json, "domain", "null");
	assert_json(json, "server", "xmpp1.example.com");
	assert_json(json, "lookups.1", "");
	script_process(s, 101, 101, "cb");
	script_connect(s, 4, "2001:db8::5", 5223, CBT_WHY_PORT);
	script_handshake(s, 4, "example.com", 2 * MS);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 1);
	assert_json(json, "config", "address");
	assert_json(json, "server", "2001:db8::5");
	assert_json(json, "legs.0.address", "2001:db8::5");
	assert_string_equal(phases(json), "tcp wait tls");
	script_free(s);
}

/* Each question is told once, when it has ended and is known to be an attempt's; each connect when it is decided. */
static void test_events(void **state)
{
	static const struct correlate_config only = {.domain = "example.net"};
	struct script *s = script_new(NULL);

	(void)state;
	/* No SRV question: the connect says whose the answer was. */
	a_lookup(s, 9, 9, "www.example.org", "10.1.1.1");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	assert_int_equal(script_reports(s, "lookup"), 0);
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	assert_int_equal(script_reports(s, "lookup"), 1);
	assert_json(script_report(s, "lookup", 0), "name", "xmpp1.example.com");
	assert_json(script_report(s, "lookup", 0), "failure", "null");
	script_handshake(s, 3, "example.com", 2 * MS);
	assert_int_equal(script_reports(s, "leg"), 1);
	/* Given up with its socket, for the next question, with its process. */
	script_process(s, 101, 101, "cb");
	script_query(s, 4, 13, "SRV", SRV_NAME, "10.0.0.2");
	script_wait(s, 1000 * MS);
	script_release(s, 4);
	assert_int_equal(script_reports(s, "lookup"), 2);
	srv_lookup(s, 5, 14, "example.com", "SRV 10 5 5223 xmpp1.example.com;SRV 20 5 5223 xmpp2.example.com");
	assert_int_equal(script_reports(s, "lookup"), 3);
	script_query(s, 6, 15, "A", "xmpp1.example.com", "10.0.0.2");
	script_wait(s, 1000 * MS);
	script_query(s, 7, 16, "A", "xmpp2.example.com", "10.0.0.2");
	assert_int_equal(script_reports(s, "lookup"), 4);
	script_exit(s, 101);
	assert_int_equal(script_reports(s, "lookup"), 5);
	assert_json(script_report(s, "lookup", 1), "failure", "timeout");
	assert_json(script_report(s, "lookup", 2), "failure", "null");
	assert_json(script_report(s, "lookup", 3), "failure", "timeout");
	assert_json(script_report(s, "lookup", 4), "name", "xmpp2.example.com");
	script_finish(s);
	assert_int_equal(script_reports(s, "lookup"), 5);
	script_free(s);

	/* Of attempts that are not to be shown nothing is told. */
	s = script_new(&only);
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 3, "example.com", 2 * MS);
	script_finish(s);
	assert_int_equal(script_reports(s, "lookup"), 0);
	assert_int_equal(script_reports(s, "leg"), 0);
	assert_int_equal(script_reports(s, "attempt"), 0);
	script_free(s);
}

/* The hosts file answered for the SRV target: no DNS seen, the port tells. */
static void test_hosts_file(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 15223 xmpp1.example.com");
	script_connect(s, 3, "10.9.0.10", 15223, CBT_WHY_SRV_ASKER);
	script_handshake(s, 3, "example.com", 2 * MS);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "config", "srv");
	assert_json(json, "server", "xmpp1.example.com");
	assert_string_equal(phases(json), "srv tcp wait tls");
	script_free(s);
}

static void test_unrelated_connect(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	script_connect(s, 3, "10.9.0.99", 443, CBT_WHY_SRV_ASKER);
	assert_true(script_tap_done(s, 3));
	script_wait(s, IDLE);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "legs.0", "");
	assert_json(script_report(s, "attempt", 0), "failed_phase", "address");
	assert_json(script_report(s, "attempt", 0), "reason", "gave_up");
	script_free(s);
}

/* Two resolvers, both silent, asked twice: one lookup, four questions, ended when the socket was released. */
static void test_dns_timeout(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	for (int i = 0; i < 4; i++) {
		script_query(s, (uint64_t)(1 + i % 2), 11, "SRV", SRV_NAME, i % 2 ? "10.0.0.3" : "10.0.0.2");
		script_wait(s, 1000 * MS);
	}
	script_release(s, 1);
	script_release(s, 2);
	script_wait(s, 9000 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 0);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "failed");
	assert_json(json, "failed_phase", "srv");
	assert_json(json, "reason", "timeout");
	assert_json(json, "lookups.0.queries", "4");
	assert_json(json, "lookups.1", "");
	assert_json(json, "total_ns", "4000000000");
	assert_timeline(json);
	script_free(s);
}

static void test_retry(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	for (uint64_t cookie = 3; cookie < 5; cookie++) {
		script_connect(s, cookie, "10.9.0.10", 5223, CBT_WHY_PORT);
		script_syn(s, cookie);
		script_wait(s, 10 * MS);
		script_state(s, cookie, CBT_TCP_SYN_SENT, CBT_TCP_CLOSE, 111);
		script_release(s, cookie);
		script_wait(s, 5000 * MS);
	}
	srv_lookup(s, 6, 21, "example.com", "");
	script_wait(s, IDLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 3);
	json = script_report(s, "attempt", 0);
	assert_json(json, "id", "1");
	assert_json(json, "retry_of", "null");
	json = script_report(s, "attempt", 1);
	assert_json(json, "retry_of", "1");
	assert_json(json, "retry_delay_ns", "5000000000");
	assert_json(json, "domain", "example.com");
	assert_json(json, "server", "xmpp1.example.com");
	assert_json(json, "config", "srv");
	json = script_report(s, "attempt", 2);
	assert_json(json, "retry_of", "2");
	assert_json(json, "reason", "nodata");
	script_free(s);
}

static void test_process_exit(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, 500 * MS);
	script_exit(s, 100);
	script_wait(s, MS / 3);
	script_tick(s);
	assert_int_equal(script_in_flight(s), 1); /* a child may hold the socket */
	script_state(s, 3, CBT_TCP_SYN_SENT, CBT_TCP_CLOSE, 0);
	script_release(s, 3);
	script_wait(s, 100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "abandoned");
	assert_json(json, "failed_phase", "tcp");
	assert_json(json, "reason", "process_exit");
	assert_timeline(json);
	script_free(s);
}

static void test_interrupted(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, 500 * MS);
	script_finish(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "null");
	assert_json(json, "complete", "false");
	assert_json(json, "missing.0", "interrupted");
	assert_json(json, "total_ns", "505000000");
	assert_timeline(json);
	script_free(s);
}

static void test_not_tls(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, MS);
	script_syn_ack(s, 3);
	script_wait(s, MS);
	script_segment(s, 3, CBT_OUT, CBT_TCP_ACK, "<?xml", 5);
	script_segment(s, 3, CBT_IN, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
	script_release(s, 3);
	script_wait(s, IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "failed_phase", "tls");
	assert_json(json, "reason", "not_tls");
	script_free(s);
}

static void test_alert(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, MS);
	script_syn_ack(s, 3);
	script_client_hello(s, 3, "example.com");
	script_wait(s, MS);
	script_server_hello(s, 3, 0x0304);
	script_wait(s, MS);
	script_alert(s, 3, CBT_OUT, 2, 48);
	script_segment(s, 3, CBT_OUT, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
	script_wait(s, IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "failed_phase", "tls");
	assert_json(json, "reason", "untrusted");
	assert_json(json, "tls.alert", "sent:unknown_ca");
	assert_json(json, "total_ns", "3000000");
	assert_timeline(json);
	script_free(s);
}

static void test_tls12(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, 10 * MS);
	script_syn_ack(s, 3);
	script_client_hello(s, 3, "example.com");
	script_wait(s, 10 * MS);
	script_server_hello(s, 3, 0x0303);
	script_server_flight12(s, 3);
	script_wait(s, MS);
	script_client_finished(s, 3, 0x0303);
	script_wait(s, 15 * MS);
	script_server_finished12(s, 3);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "connected");
	assert_json(json, "tls.version", "TLSv1.2");
	assert_json(json, "total_ns", "36000000");
	assert_json(json, "tls.network_ns", "20000000");
	assert_json(json, "tls.server_ns", "5000000");
	assert_json(json, "tls.client_ns", "1000000");
	script_free(s);
}

/* The local forwarder asks on the client's behalf: one attempt, one lookup, its upstream. */
static void test_forwarder(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_process(s, 50, 50, "dnsmasq");
	script_proc(s, CBT_PROC_FORWARDER, "/dnsmasq");
	script_process(s, 100, 100, "callbridge");
	script_query(s, 1, 11, "SRV", SRV_NAME, "127.0.0.1");
	script_wait(s, MS);
	script_process(s, 50, 50, "dnsmasq");
	script_query(s, 2, 99, "SRV", SRV_NAME, RESOLVER);
	script_wait(s, 3 * MS);
	script_answer(s, 2, 99, "SRV", SRV_NAME, 3, "", RESOLVER);
	script_wait(s, MS);
	script_process(s, 100, 100, "callbridge");
	script_answer(s, 1, 11, "SRV", SRV_NAME, 3, "", "127.0.0.1");
	script_wait(s, IDLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 1);
	json = script_report(s, "attempt", 0);
	assert_json(json, "pid", "100");
	assert_json(json, "lookups.0.upstream.0.duration_ns", "3000000");
	assert_json(json, "lookups.0.upstream.0.rcode", "NXDOMAIN");
	assert_json(json, "lookups.1", "");
	script_free(s);
}

/* The search list tries suffixes: one attempt, the shortest domain. */
static void test_search_list(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_query(s, 1, 11, "SRV", SRV_NAME ".lab.local", RESOLVER);
	script_wait(s, MS);
	script_answer(s, 1, 11, "SRV", SRV_NAME ".lab.local", 3, "", RESOLVER);
	srv_lookup(s, 2, 12, "example.com", "SRV 0 0 5223 x.example.com");
	a_lookup(s, 3, 13, "x.example.com", "10.9.0.10");
	script_connect(s, 4, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 4, "example.com", MS);
	script_wait(s, 1100 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 1);
	json = script_report(s, "attempt", 0);
	assert_json(json, "domain", "example.com");
	assert_json(json, "lookups.0.rcode", "NXDOMAIN");
	assert_string_equal(phases(json), "srv address tcp wait tls");
	script_free(s);
}

/* Happy eyeballs: IPv6 begun first and never answered, IPv4 won. */
static void test_happy_eyeballs(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_query(s, 2, 13, "AAAA", "xmpp1.example.com", RESOLVER);
	script_answer(s, 2, 13, "AAAA", "xmpp1.example.com", 0, "AAAA 2001:db8::1", RESOLVER);
	script_connect(s, 3, "2001:db8::1", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, 250 * MS);
	script_connect(s, 4, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 4, "example.com", 20 * MS);
	script_release(s, 3);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "connected");
	assert_json(json, "legs.0.result", "gave_up");
	assert_json(json, "legs.1.result", "connected");
	assert_string_equal(phases(json), "srv address tcp tcp wait tls");
	assert_json(json, "timeline.2.leg", "0");
	assert_json(json, "timeline.3.leg", "1");
	assert_timeline(json);
	script_free(s);
}

static void test_lost(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	good_attempt(s, 3);
	script_lost(s, CBT_LOST_RING, 5, 0);
	script_wait(s, 1100 * MS);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "complete", "false");
	assert_non_null(strstr(json_at(script_report(s, "attempt", 0), "missing"), "\"lost_events\""));
	script_free(s);
}

/* What was lost belongs to a time, not to the moment when it was noticed: an attempt that began in it may lack events.
 */
static void test_lost_before(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	script_lost(s, CBT_LOST_RING, 5, 10 * MS);
	script_wait(s, 9 * MS);
	good_attempt(s, 3);
	script_wait(s, 1100 * MS);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "complete", "false");
	script_release(s, 3);
	good_attempt(s, 4);
	script_wait(s, 1100 * MS);
	script_tick(s);
	assert_json(script_report(s, "attempt", 1), "complete", "true");
	script_free(s);
}

/* The end of a connect may be among what was lost: it must not be waited for forever, nor be called a failure. */
static void test_lost_end(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, MS);
	script_syn_ack(s, 3);
	script_lost(s, CBT_LOST_RING, 1, MS);
	script_wait(s, 129000 * MS);
	script_tick(s);
	assert_int_equal(script_in_flight(s), 1);
	script_wait(s, 2000 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_non_null(json);
	assert_json(json, "outcome", "null");
	assert_json(json, "reason", "null");
	assert_json(json, "missing.0", "lost_events");
	assert_json(json, "total_ns", "1000000");
	assert_int_equal(script_in_flight(s), 0);
	script_free(s);
}

/* Two threads of one process, each with its own attempt for the same domain: neither ends the other. */
static void test_threads_same_domain(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	script_process(s, 100, 101, "callbridge");
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_process(s, 100, 102, "callbridge");
	srv_lookup(s, 5, 21, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	script_process(s, 100, 101, "callbridge");
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_process(s, 100, 102, "callbridge");
	a_lookup(s, 6, 22, "xmpp1.example.com", "10.9.0.10");
	script_connect(s, 7, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_process(s, 100, 103, "callbridge");
	srv_lookup(s, 8, 31, "example.com", "SRV 10 5 5223 xmpp1.example.com");
	a_lookup(s, 9, 32, "xmpp1.example.com", "10.9.0.10");
	script_process(s, 100, 102, "callbridge");
	script_handshake(s, 7, "example.com", MS);
	script_process(s, 100, 101, "callbridge");
	script_wait(s, MS);
	script_syn_ack(s, 3);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE, 111);
	script_process(s, 100, 103, "callbridge");
	script_connect(s, 10, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 10, "example.com", MS);
	script_wait(s, IDLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 3);
	for (size_t i = 0; i < 3; i++) {
		const char *json = script_report(s, "attempt", i);

		assert_json(json, "domain", "example.com");
		assert_json(json, "retry_of", "null");
		assert_string_equal(json_at(json, "outcome"),
				    strcmp(json_at(json, "id"), "1") == 0 ? "failed" : "connected");
		assert_int_equal(json_at(json, "legs.1.address")[0], '\0');
		assert_json(json, "lookups.1.name", "xmpp1.example.com");
	}
	script_free(s);
}

/* A literal address, two connections to it at once (an event loop, or two threads). */
static void test_literal_twice(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_connect(s, 4, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_handshake(s, 4, "example.com", MS);
	script_syn_ack(s, 3);
	script_client_hello(s, 3, "example.com");
	script_wait(s, MS);
	script_server_hello(s, 3, 0x0304);
	script_wait(s, MS);
	script_client_finished(s, 3, 0x0304);
	script_wait(s, 1100 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 2);
	for (size_t i = 0; i < 2; i++) {
		assert_json(script_report(s, "attempt", i), "outcome", "connected");
		assert_json(script_report(s, "attempt", i), "retry_of", "null");
	}
	script_free(s);
}

/* The next target's name, fetched ahead while a connection is under way, is neither a phase nor why it ended. */
static void test_address_ahead(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	srv_lookup(s, 1, 11, "example.com", "SRV 10 5 5223 xmpp1.example.com;SRV 20 5 5223 xmpp2.example.com");
	a_lookup(s, 2, 12, "xmpp1.example.com", "10.9.0.10");
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, 5 * MS);
	a_lookup(s, 4, 13, "xmpp2.example.com", "10.9.0.20");
	script_wait(s, 5 * MS);
	script_syn_ack(s, 3);
	script_client_hello(s, 3, "example.com");
	script_query(s, 4, 14, "AAAA", "xmpp2.example.com", RESOLVER);
	script_wait(s, MS);
	script_alert(s, 3, CBT_IN, 2, 112);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	script_wait(s, MS);
	script_release(s, 3);
	script_wait(s, 2 * IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "failed_phase", "tls");
	assert_json(json, "reason", "alert_received:unrecognized_name");
	assert_string_equal(phases(json), "srv address tcp tls");
	assert_json(json, "total_ns", "18000000"); /* 3 + 2 + 5 + 2 + 5 + 1 */
	script_free(s);
}

/* A verdict that nothing could change any more stands when cbtrace ends. */
static void test_interrupted_failed(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, MS);
	script_state(s, 3, CBT_TCP_SYN_SENT, CBT_TCP_CLOSE, 111);
	script_release(s, 3);
	script_wait(s, 500 * MS);
	script_finish(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "failed");
	assert_json(json, "reason", "refused");
	assert_json(json, "complete", "false");
	assert_json(json, "missing.0", "interrupted");
	assert_json(json, "total_ns", "1000000");
	script_free(s);
}

/* A domain that only begins like the failed one's, asked later or by another thread, is another domain. */
static void test_domains_unrelated(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	script_query(s, 1, 11, "SRV", SRV_NAME, RESOLVER);
	script_answer(s, 1, 11, "SRV", SRV_NAME, 3, "", RESOLVER);
	script_wait(s, 2000 * MS);
	script_query(s, 1, 12, "SRV", SRV_NAME ".au", RESOLVER);
	script_answer(s, 1, 12, "SRV", SRV_NAME ".au", 3, "", RESOLVER);
	script_process(s, 100, 101, "callbridge");
	script_query(s, 2, 13, "SRV", SRV_NAME ".au.corp", RESOLVER);
	script_answer(s, 2, 13, "SRV", SRV_NAME ".au.corp", 3, "", RESOLVER);
	script_wait(s, IDLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 3);
	assert_json(script_report(s, "attempt", 0), "domain", "example.com");
	assert_json(script_report(s, "attempt", 1), "domain", "example.com.au");
	assert_json(script_report(s, "attempt", 2), "domain", "example.com.au.corp");
	script_free(s);
}

/* The pid is used again by another program while the first one's attempt is still pending. */
static void test_pid_reuse(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	good_attempt(s, 3);
	script_exit(s, 100);
	script_wait(s, MS);
	script_process(s, 100, 100, "other");
	srv_lookup(s, 21, 31, "example.com", "");
	script_release(s, 3);
	script_wait(s, IDLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 2);
	assert_json(script_report(s, "attempt", 0), "comm", "callbridge");
	assert_json(script_report(s, "attempt", 0), "reason", "process_exit");
	assert_json(script_report(s, "attempt", 1), "comm", "other");
	assert_json(script_report(s, "attempt", 1), "retry_of", "null");
	script_free(s);
}

/* Ticks at any moment, or none at all, change nothing. */
static void run_mixed(struct script *s, bool ticks)
{
	good_attempt(s, 3);
	for (int i = 0; i < 40; i++) {
		script_wait(s, 300 * MS);
		if (ticks)
			script_tick(s);
		if (i == 20) {
			script_process(s, 300, 300, "late");
			srv_lookup(s, 31, 41, "example.org", "");
		}
	}
	script_finish(s);
}

static void test_ticks_do_not_matter(void **state)
{
	struct script *a = script_new(NULL), *b = script_new(NULL);

	(void)state;
	run_mixed(a, true);
	run_mixed(b, false);
	for (size_t i = 0; i < 2; i++) {
		char *one = strdup(script_report(a, "attempt", i));

		assert_string_equal(one, script_report(b, "attempt", i));
		free(one);
	}
	script_free(a);
	script_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_settles_early),
		cmocka_unit_test(test_closed_after_handshake),
		cmocka_unit_test(test_failover),
		cmocka_unit_test(test_two_domains),
		cmocka_unit_test(test_two_domains_one_thread),
		cmocka_unit_test(test_two_processes),
		cmocka_unit_test(test_parallel_address),
		cmocka_unit_test(test_config_name_and_address),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_hosts_file),
		cmocka_unit_test(test_unrelated_connect),
		cmocka_unit_test(test_dns_timeout),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_process_exit),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_interrupted_failed),
		cmocka_unit_test(test_lost_before),
		cmocka_unit_test(test_lost_end),
		cmocka_unit_test(test_threads_same_domain),
		cmocka_unit_test(test_literal_twice),
		cmocka_unit_test(test_address_ahead),
		cmocka_unit_test(test_domains_unrelated),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_alert),
		cmocka_unit_test(test_tls12),
		cmocka_unit_test(test_forwarder),
		cmocka_unit_test(test_search_list),
		cmocka_unit_test(test_happy_eyeballs),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_pid_reuse),
		cmocka_unit_test(test_ticks_do_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
