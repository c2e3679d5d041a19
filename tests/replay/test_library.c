// SPDX-License-Identifier: BSD-2-Clause
/* Inside TLS, by scripted events and a fake clock: which connection the library speaks of, the certificate that the
 * wire hides, registration and session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "pki.h"
#include "script.h"

#define IDLE   (11000 * MS) /* past --idle and the slack */
#define SETTLE (400 * MS)   /* past REGISTRATION_SETTLE_NS and the slack */

#define assert_json(json, path, value) assert_string_equal(json_at(json, path), value)

/* A connection to a literal up to Finished, which the library knows as @conn. TLS 1.3; 20 ms a round trip. */
static void connection(struct script *s, uint64_t cookie, uint64_t conn)
{
	script_connect(s, cookie, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, cookie);
	script_wait(s, 20 * MS);
	script_syn_ack(s, cookie);
	script_wait(s, MS);
	script_lib_hello(s, conn, cookie);
	script_client_hello(s, cookie, "example.com");
	script_wait(s, 20 * MS);
	script_server_hello(s, cookie, 0x0304);
	script_wait(s, MS);
	script_client_finished(s, cookie, 0x0304);
	script_wait(s, MS);
}

/* The stream is open after 22 ms. */
static void streams(struct script *s, uint64_t cookie, uint64_t conn)
{
	script_lib_element(s, conn, CBT_OUT, "stream", "callbridge.example.com");
	script_app(s, cookie, CBT_OUT, 150);
	script_wait(s, 22 * MS);
	script_app(s, cookie, CBT_IN, 200);
	script_lib_element(s, conn, CBT_IN, "stream", "callbridge.example.com");
	script_wait(s, MS);
}

static void registration(struct script *s, uint64_t cookie, uint64_t conn)
{
	streams(s, cookie, conn);
	script_lib_element(s, conn, CBT_OUT, "handshake", "");
	script_wait(s, 25 * MS);
	script_lib_element(s, conn, CBT_IN, "handshake", "");
}

static void test_registered(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	registration(s, 3, 77);
	script_tick(s);
	assert_null(script_report(s, "attempt", 0));
	script_wait(s, SETTLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_non_null(json);
	assert_json(json, "outcome", "registered");
	assert_json(json, "reason", "null");
	assert_json(json, "tls.joined_by", "random");
	assert_json(json, "total_ns", "91000000"); /* 20 + 1 + 20 + 1 + 1 + 22 + 1 + 25 */
	assert_json(json, "timeline.3.phase", "wait");
	assert_json(json, "timeline.4.phase", "register");
	assert_json(json, "timeline.4.step", "9");
	assert_json(json, "timeline.4.leg", "0");
	assert_json(json, "timeline.4.end_ns", "91000000");
	assert_json(json, "registration.protocol", "xep0114");
	assert_json(json, "registration.component", "callbridge.example.com");
	assert_json(json, "registration.result", "success");
	assert_json(json, "registration.error", "null");
	assert_json(json, "registration.stream_ns", "22000000");
	assert_json(json, "registration.duration_ns", "48000000");
	assert_json(json, "registration.network_ns", "40000000");
	assert_json(json, "registration.server_ns", "7000000");
	assert_json(json, "registration.client_ns", "1000000");
	assert_json(json, "slowest.phase", "register");
	assert_json(json, "slowest.owner", "network");
	assert_json(json, "missing.0", "not_visible"); /* the certificate: nobody told of it */
	assert_true(script_tap_done(s, 3));

	json = script_report(s, "session", 0);
	assert_json(json, "registered", "true");
	assert_json(json, "component", "callbridge.example.com");
	assert_json(json, "first_login", "null");
	script_lib_stanza(s, 77, CBT_IN, "iq", CBT_TYPE_GET, 5);
	script_wait(s, 3 * MS);
	script_lib_stanza(s, 77, CBT_OUT, "presence", CBT_TYPE_NONE, 0);
	script_wait(s, 4 * MS);
	script_lib_stanza(s, 77, CBT_OUT, "iq", CBT_TYPE_RESULT, 5);
	script_wait(s, 1000 * MS);
	script_lib_close(s, 77, CBT_CLOSE_RECEIVED);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	script_lib_close(s, 77, CBT_CLOSE_SHUTDOWN);
	script_lib_close(s, 77, CBT_CLOSE_FREE);
	json = script_report(s, "session", 1);
	assert_json(json, "state", "down");
	assert_json(json, "stanzas_in", "1");
	assert_json(json, "stanzas_out", "2");
	assert_json(json, "first_login.response_ns", "7000000");
	assert_json(json, "end_reason", "close_notify");
	assert_json(json, "ended_by", "server");
	script_free(s);
}

static const char *refused(struct script *s, const char *condition)
{
	connection(s, 3, 77);
	streams(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "handshake", "");
	script_wait(s, 25 * MS);
	script_lib_element(s, 77, CBT_IN, "error", condition);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	script_release(s, 3);
	script_wait(s, IDLE);
	script_tick(s);
	return script_report(s, "attempt", 0);
}

static void test_refused(void **state)
{
	static const char *const conditions[][2] = {
		{"not-authorized", "not_authorized"}, {"conflict", "conflict"}, {"host-unknown", "host_unknown"}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct script *s = script_new(NULL);
		const char *json = refused(s, conditions[i][0]);

		assert_json(json, "outcome", "failed");
		assert_json(json, "failed_phase", "register");
		assert_json(json, "reason", conditions[i][1]);
		assert_json(json, "registration.result", "failure");
		assert_json(json, "registration.error", conditions[i][1]);
		assert_json(json, "total_ns", "91000000");
		assert_int_equal(script_reports(s, "session"), 0);
		script_free(s);
	}
}

/* Credentials accepted and then conflict is not registered. */
static void test_conflict_after(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	registration(s, 3, 77);
	script_wait(s, 100 * MS);
	script_lib_element(s, 77, CBT_IN, "error", "conflict");
	script_release(s, 3);
	script_wait(s, IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "failed");
	assert_json(json, "reason", "conflict");
	assert_int_equal(script_reports(s, "session"), 0);
	script_free(s);
}

/* Later it is a session that ends, by a stream error. */
static void test_session_error(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	registration(s, 3, 77);
	script_wait(s, 2000 * MS);
	script_tick(s);
	script_lib_element(s, 77, CBT_IN, "error", "conflict");
	script_release(s, 3);
	json = script_report(s, "session", 1);
	assert_json(json, "end_reason", "stream_error:conflict");
	assert_json(json, "ended_by", "server");
	script_free(s);
}

/* Silent, closed, reset, given up: what the client waited for tells which. */
static void test_no_verdict(void **state)
{
	static const struct {
		int event; /* 0 closed by the server, 1 by the client while it waits, 2 reset, 3 exit */
		const char *outcome, *reason;
	} ends[] = {{0, "failed", "closed_by_server"},
		    {1, "failed", "gave_up"},
		    {2, "failed", "reset"},
		    {3, "abandoned", "process_exit"}};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct script *s = script_new(NULL);
		const char *json;

		connection(s, 3, 77);
		streams(s, 3, 77);
		script_lib_element(s, 77, CBT_OUT, "handshake", "");
		/* As long as the server owes an answer the attempt goes on. */
		script_wait(s, 60000 * MS);
		script_tick(s);
		assert_int_equal(script_in_flight(s), 1);
		if (ends[i].event == 0)
			script_segment(s, 3, CBT_IN, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
		else if (ends[i].event == 2)
			script_segment(s, 3, CBT_IN, CBT_TCP_RST, NULL, 0);
		else if (ends[i].event == 3)
			script_exit(s, 100);
		script_release(s, 3);
		script_wait(s, IDLE);
		script_tick(s);
		json = script_report(s, "attempt", 0);
		assert_json(json, "outcome", ends[i].outcome);
		assert_json(json, "failed_phase", "register");
		assert_json(json, "reason", ends[i].reason);
		assert_json(json, "registration.result", "null");
		script_free(s);
	}
}

/* Under TLS 1.3 a client certificate that is demanded and not given shows at the first read. */
static void test_certificate_required(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "stream", "callbridge.example.com");
	script_app(s, 3, CBT_OUT, 150);
	script_wait(s, 20 * MS);
	script_record(s, 3, CBT_IN, 23, "0123456789012345678", 19);
	script_lib_error(s, 77, 1000 + 116, 0);
	script_segment(s, 3, CBT_IN, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
	script_release(s, 3);
	script_wait(s, IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "failed_phase", "register");
	assert_json(json, "reason", "alert_received:certificate_required");
	assert_json(json, "tls.alert", "received:certificate_required");
	script_free(s);
}

/* Plaintext that is no XMPP, and a client that says nothing: connected, and no registration is made up. */
static void test_no_xmpp(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	script_wait(s, 9000 * MS);
	script_tick(s);
	assert_int_equal(script_in_flight(s), 1);
	script_wait(s, 2000 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "connected");
	assert_json(json, "registration", "null");
	json = script_report(s, "session", 0);
	assert_json(json, "registered", "null");
	script_free(s);
}

static void cert_tell(struct script *s, uint64_t conn, uint16_t index, X509 *x)
{
	static uint8_t entry[65536];
	size_t n = pki_entry(x, entry, sizeof(entry));

	script_lib_cert(s, conn, index, entry + 3, n - 3);
}

static void test_certificate(void **state)
{
	struct correlate_config config = {.domain = "example.com", .ports = (uint16_t[]){5223}, .n_ports = 1};
	EVP_PKEY *key = pki_key("P-256"), *ca_key = pki_key("P-256");
	X509 *ca = pki_cert(ca_key, &(struct pki_spec){.cn = "ca"});
	X509 *x = pki_cert(key,
			   &(struct pki_spec){.cn = "x", .san = "DNS:example.com", .issuer = ca, .issuer_key = ca_key});
	struct script *s = script_new(&config);
	const char *json;

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_syn_ack(s, 3);
	script_lib_hello(s, 77, 3);
	/* Another connection of the process, to somewhere that is not traced. */
	script_lib_hello(s, 78, 99);
	script_client_hello(s, 3, "example.com");
	script_wait(s, 20 * MS);
	script_server_hello(s, 3, 0x0304);
	cert_tell(s, 78, 0, ca);
	cert_tell(s, 77, 0, x);
	cert_tell(s, 77, 1, ca);
	script_wait(s, MS);
	script_client_finished(s, 3, 0x0304);
	script_wait(s, MS);
	registration(s, 3, 77);
	script_wait(s, SETTLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "certificate.evidence", "library");
	assert_json(json, "certificate.chain_length", "2");
	assert_json(json, "certificate.key_type", "EC prime256v1");
	assert_json(json, "certificate.self_signed", "false");
	assert_json(json, "certificate.domain_match", "true");
	assert_json(json, "certificate.server_match", "false");
	assert_json(json, "certificate.san.0", "example.com");
	assert_json(json, "findings.0.code", "san_incomplete");
	assert_json(json, "missing", "[]");
	script_free(s);
	X509_free(x);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}

/* What the client's verification found says why it alerted. */
static void test_untrusted(void **state)
{
	static const struct {
		int verify;
		const char *reason;
	} found[] = {{20, "untrusted"}, {10, "expired"}, {9, "not_yet_valid"}, {18, "self_signed"}};

	(void)state;
	for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
		struct script *s = script_new(NULL);
		const char *json;

		script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
		script_syn(s, 3);
		script_syn_ack(s, 3);
		script_lib_hello(s, 77, 3);
		script_client_hello(s, 3, "example.com");
		script_wait(s, 20 * MS);
		script_server_hello(s, 3, 0x0304);
		script_lib_error(s, 77, 134, found[i].verify);
		script_release(s, 3);
		script_wait(s, IDLE);
		script_tick(s);
		json = script_report(s, "attempt", 0);
		assert_json(json, "failed_phase", "tls");
		assert_json(json, "reason", found[i].reason);
		script_free(s);
	}
}

/* Two connections of one thread, turn by turn, and a third that the library never spoke of. */
static void test_not_mixed(void **state)
{
	struct script *s = script_new(NULL);
	unsigned int hidden = 0;

	(void)state;
	for (uint64_t k = 3; k < 6; k++)
		script_connect(s, k, (const char *[]){"10.9.0.1", "10.9.0.2", "10.9.0.3"}[k - 3], 5223, CBT_WHY_PORT);
	for (uint64_t k = 3; k < 6; k++) {
		script_syn(s, k);
		script_syn_ack(s, k);
	}
	/* The wire is told of before the library, and the other way round. */
	script_client_hello(s, 3, "example.com");
	script_lib_hello(s, 73, 3);
	script_lib_hello(s, 74, 4);
	script_client_hello(s, 4, "example.com");
	script_client_hello(s, 5, "example.com");
	script_wait(s, 20 * MS);
	for (uint64_t k = 3; k < 6; k++)
		script_server_hello(s, k, 0x0304);
	script_wait(s, MS);
	for (uint64_t k = 3; k < 6; k++)
		script_client_finished(s, k, 0x0304);
	script_wait(s, MS);
	script_lib_element(s, 74, CBT_OUT, "stream", "four.example.com");
	script_lib_element(s, 73, CBT_OUT, "stream", "three.example.com");
	for (uint64_t k = 73; k < 75; k++) {
		script_lib_element(s, k, CBT_IN, "stream", "");
		script_lib_element(s, k, CBT_OUT, "handshake", "");
	}
	script_wait(s, MS);
	script_lib_element(s, 74, CBT_IN, "handshake", "");
	script_lib_element(s, 73, CBT_IN, "error", "not-authorized");
	script_wait(s, IDLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 3);
	for (size_t i = 0; i < 3; i++) {
		const char *json = script_report(s, "attempt", i);
		char address[64];

		snprintf(address, sizeof(address), "%s", json_at(json, "legs.0.address"));
		if (strcmp(address, "10.9.0.1") == 0) {
			assert_json(json, "reason", "not_authorized");
			assert_json(json, "registration.component", "three.example.com");
		} else if (strcmp(address, "10.9.0.2") == 0) {
			assert_json(json, "outcome", "registered");
			assert_json(json, "registration.component", "four.example.com");
		} else {
			assert_json(json, "outcome", "connected");
			assert_json(json, "tls.joined_by", "null");
			hidden++;
		}
	}
	assert_int_equal(hidden, 1);
	script_free(s);
}

/* Another process's library cannot speak for a leg, even with its random. */
static void test_other_process(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	script_process(s, 200, 200, "server");
	script_lib_hello(s, 77, 3);
	script_process(s, 100, 100, "callbridge");
	connection(s, 3, 99);
	script_process(s, 200, 200, "server");
	script_lib_element(s, 99, CBT_OUT, "stream", "wrong.example.com");
	script_lib_element(s, 99, CBT_IN, "error", "conflict");
	script_process(s, 100, 100, "callbridge");
	registration(s, 3, 99);
	script_wait(s, SETTLE);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "outcome", "registered");
	assert_json(script_report(s, "attempt", 0), "registration.component", "callbridge.example.com");
	script_free(s);
}

/* A flood of connections that no leg joins is bounded, and does not push out one that did. */
static void test_flood(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	connection(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "stream", "callbridge.example.com");
	for (uint64_t conn = 1000; conn < 11000; conn++)
		script_lib_hello(s, conn, 200);
	script_lib_element(s, 77, CBT_IN, "stream", "");
	script_lib_element(s, 77, CBT_OUT, "handshake", "");
	script_wait(s, MS);
	script_lib_element(s, 77, CBT_IN, "handshake", "");
	script_wait(s, SETTLE);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "outcome", "registered");
	script_free(s);
}

/* 40 ms of Nagle's algorithm against a delayed ACK; and the same wait without the proof. */
static void nagle(struct script *s, bool ack)
{
	connection(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "stream", "callbridge.example.com");
	script_app(s, 3, CBT_OUT, 150);
	script_wait(s, 20 * MS);
	script_app(s, 3, CBT_IN, 500); /* session tickets */
	script_wait(s, 41 * MS);
	if (ack)
		script_segment(s, 3, CBT_OUT, CBT_TCP_ACK, NULL, 0);
	script_wait(s, 20 * MS);
	script_app(s, 3, CBT_IN, 200);
	script_lib_element(s, 77, CBT_IN, "stream", "");
	script_lib_element(s, 77, CBT_OUT, "handshake", "");
	script_app(s, 3, CBT_OUT, 60);
	script_wait(s, 20 * MS);
	script_lib_element(s, 77, CBT_IN, "handshake", "");
	script_wait(s, SETTLE);
	script_tick(s);
}

static void test_nagle(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	nagle(s, true);
	json = script_report(s, "attempt", 0);
	assert_json(json, "findings.0.code", "nagle_delayed_ack");
	assert_json(json, "findings.0.phase", "register");
	assert_json(json, "findings.0.cost_ns", "41000000");
	script_free(s);
	s = script_new(NULL);
	nagle(s, false);
	assert_json(script_report(s, "attempt", 0), "findings", "[]");
	script_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered),     cmocka_unit_test(test_refused),
		cmocka_unit_test(test_conflict_after), cmocka_unit_test(test_session_error),
		cmocka_unit_test(test_no_verdict),     cmocka_unit_test(test_certificate_required),
		cmocka_unit_test(test_no_xmpp),	       cmocka_unit_test(test_certificate),
		cmocka_unit_test(test_untrusted),      cmocka_unit_test(test_not_mixed),
		cmocka_unit_test(test_other_process),  cmocka_unit_test(test_flood),
		cmocka_unit_test(test_nagle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
