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
	script_wait(s, 40 * MS);
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
	script_close(s, 3);
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

/*
 * Probes that came late see the ClientHello and not the calls after it, or the writes and not the reads. What the wire
 * shows then counts: no failure is made out of what was not seen.
 */
static void test_half_armed(void **state)
{
	(void)state;
	for (int writes = 0; writes < 2; writes++) {
		struct script *s = script_new(NULL);
		const char *json;

		connection(s, 3, 77);
		script_app(s, 3, CBT_OUT, 150);
		if (writes)
			script_lib_element(s, 77, CBT_OUT, "stream", "callbridge.example.com");
		script_wait(s, 20 * MS);
		script_app(s, 3, CBT_IN, 200);
		if (writes)
			script_lib_element(s, 77, CBT_OUT, "handshake", "");
		script_app(s, 3, CBT_OUT, 60);
		script_wait(s, 20 * MS);
		script_app(s, 3, CBT_IN, 40);
		script_wait(s, 100 * MS);
		script_segment(s, 3, CBT_OUT, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
		script_release(s, 3);
		script_wait(s, IDLE);
		script_tick(s);
		json = script_report(s, "attempt", 0);
		assert_json(json, "outcome", "connected");
		assert_json(json, "tls.joined_by", "random");
		assert_json(json, "registration.result", writes ? "null" : "");
		script_free(s);
	}
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

/* --- How a session ended: the wire is ahead of what the client reads --- */

static void registered_session(struct script *s)
{
	connection(s, 3, 77);
	registration(s, 3, 77);
	script_wait(s, 2000 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "session"), 1);
}

static void assert_end(struct script *s, const char *reason, const char *by, const char *duration)
{
	const char *json = script_report(s, "session", 1);

	assert_non_null(json);
	assert_json(json, "state", "down");
	assert_json(json, "end_reason", reason);
	assert_json(json, "ended_by", by);
	assert_json(json, "duration_ns", duration);
}

static void test_words_after_fin(void **state)
{
	static const struct {
		bool error, close_tag, notify, end_by_free;
		const char *reason;
	} cases[] = {
		{true, true, true, false, "stream_error:conflict"}, {true, false, false, true, "stream_error:conflict"},
		{false, true, true, false, "stream_closed"},	    {false, true, false, true, "stream_closed"},
		{false, false, true, true, "close_notify"},	    {false, false, false, false, "fin"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script *s = script_new(NULL);

		registered_session(s);
		script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
		script_wait(s, 30 * MS);
		script_tick(s);
		assert_int_equal(script_reports(s, "session"), 1);
		if (cases[i].error)
			script_lib_element(s, 77, CBT_IN, "error", "conflict");
		if (cases[i].close_tag)
			script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_STREAM_CLOSE);
		if (cases[i].notify)
			script_lib_close(s, 77, CBT_CLOSE_RECEIVED);
		script_wait(s, MS);
		script_lib_close(s, 77, CBT_CLOSE_SHUTDOWN);
		if (cases[i].end_by_free)
			script_lib_close(s, 77, CBT_CLOSE_FREE);
		else
			script_release(s, 3);
		assert_end(s, cases[i].reason, "server", "2000000000");
		/* Nothing of it is left to be told twice. */
		script_lib_close(s, 77, CBT_CLOSE_FREE);
		script_release(s, 3);
		script_finish(s);
		assert_int_equal(script_reports(s, "session"), 2);
		script_free(s);
	}
}

/* What was sent before a reset can still be read. */
static void test_words_after_reset(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	registered_session(s);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE, 104);
	script_wait(s, MS);
	script_lib_element(s, 77, CBT_IN, "error", "system-shutdown");
	script_release(s, 3);
	assert_end(s, "stream_error:system_shutdown", "server", "2000000000");
	script_free(s);
}

/* What came first decides, whatever the sockets' states show after it. */
static void test_first_step(void **state)
{
	static const struct {
		const char *steps; /* f FIN in, F FIN out, r reset in, R reset out, n close_notify in, N out, S end tag
				      out, t time-out, x process exit, c release */
		const char *reason, *by;
	} cases[] = {
		{"fNr", "fin", "server"},
		{"fnNr", "close_notify", "server"},
		{"Nr", "close_notify", "client"},
		{"Fr", "fin", "client"},
		{"FfN", "fin", "client"},
		{"NFfn", "close_notify", "client"},
		{"SNFfn", "stream_closed", "client"},
		{"rN", "reset", "server"},
		{"R", "reset", "client"},
		{"NR", "close_notify", "client"},
		{"tN", "timeout", "network"},
		{"Ft", "fin", "client"},
		{"xF", "process_exit", "process"},
		{"xR", "process_exit", "process"},
		{"NxF", "close_notify", "client"},
		{"c", "fin", "client"},
		{"cR", "reset", "client"},
		{"cF", "fin", "client"},
		{"NcF", "close_notify", "client"},
		{"xcF", "process_exit", "process"},
		{"xcR", "process_exit", "process"},
		{"fcF", "fin", "server"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script *s = script_new(NULL);
		int tcp = CBT_TCP_ESTABLISHED;

		registered_session(s);
		for (const char *p = cases[i].steps; *p; p++) {
			int next = *p == 'f' && tcp == CBT_TCP_ESTABLISHED   ? CBT_TCP_CLOSE_WAIT
				   : *p == 'f'				     ? CBT_TCP_TIME_WAIT
				   : *p == 'F' && tcp == CBT_TCP_ESTABLISHED ? CBT_TCP_FIN_WAIT1
				   : *p == 'F'				     ? CBT_TCP_LAST_ACK
				   : strchr("rRt", *p)			     ? CBT_TCP_CLOSE
									     : 0;

			script_wait(s, MS);
			if (next)
				script_state(s, 3, tcp, next,
					     *p == 'r'	 ? (tcp == CBT_TCP_CLOSE_WAIT ? 32 : 104)
					     : *p == 't' ? 110
							 : 0);
			tcp = next ? next : tcp;
			if (*p == 'n')
				script_lib_close(s, 77, CBT_CLOSE_RECEIVED);
			else if (*p == 'N')
				script_lib_close(s, 77, CBT_CLOSE_SHUTDOWN);
			else if (*p == 'S')
				script_lib_told(s, 77, CBT_OUT, CBT_ELEMENT_STREAM_CLOSE);
			else if (*p == 'x')
				script_exit(s, 100);
			else if (*p == 'c')
				script_release(s, 3);
		}
		script_wait(s, 1100 * MS);
		script_tick(s);
		assert_json(script_report(s, "session", 1), "end_reason", cases[i].reason);
		assert_json(script_report(s, "session", 1), "ended_by", cases[i].by);
		script_free(s);
	}
}

/* A client that never closes is not waited for; the end is when it was, and ends are told in their order. */
static void test_no_words(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	registered_session(s);
	script_process(s, 200, 200, "other");
	connection(s, 4, 88);
	registration(s, 4, 88);
	script_wait(s, 2000 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "session"), 2);
	script_state(s, 4, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	script_wait(s, 10 * MS);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	script_wait(s, 1030 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "session"), 2);
	script_wait(s, 100 * MS);
	script_tick(s);
	assert_int_equal(script_reports(s, "session"), 4);
	json = script_report(s, "session", 2);
	assert_json(json, "pid", "200");
	assert_json(json, "end_reason", "fin");
	assert_json(json, "duration_ns", "2000000000");
	assert_json(script_report(s, "session", 3), "pid", "100");
	script_free(s);
}

/* cbtrace stops before the client has closed. */
static void test_no_words_interrupted(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	registered_session(s);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	script_wait(s, 30 * MS);
	script_finish(s);
	assert_end(s, "fin", "server", "2000000000");
	script_free(s);
}

/* The client takes the first step; the FIN that comes first on the wire is the server's. */
static void test_client_closes(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	registered_session(s);
	script_lib_told(s, 77, CBT_OUT, CBT_ELEMENT_STREAM_CLOSE);
	script_wait(s, MS);
	script_lib_close(s, 77, CBT_CLOSE_SHUTDOWN);
	script_wait(s, 20 * MS);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
	script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_STREAM_CLOSE);
	script_lib_close(s, 77, CBT_CLOSE_RECEIVED);
	script_wait(s, MS);
	script_release(s, 3);
	assert_end(s, "stream_closed", "client", "2021000000");
	script_free(s);
}

static void test_killed(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	registered_session(s);
	script_exit(s, 100);
	script_wait(s, MS / 2);
	script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_FIN_WAIT1, 0);
	script_release(s, 3);
	assert_end(s, "process_exit", "process", "2000500000");
	script_free(s);
}

/* The socket of a session connects anew: after the session's end, before all is known of it, and without a sign of an
 * end, which shows only in that. */
static void test_socket_again(void **state)
{
	(void)state;
	for (int ended = 0; ended < 2; ended++) {
		struct script *s = script_new(NULL);

		registered_session(s);
		if (ended)
			script_state(s, 3, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE, 104);
		connection(s, 3, 78);
		assert_end(s, ended ? "reset" : "fin", ended ? "server" : "client", "2000000000");
		registration(s, 3, 78);
		script_wait(s, SETTLE);
		script_tick(s);
		assert_json(script_report(s, "attempt", 1), "outcome", "registered");
		script_free(s);
	}
}

/* The same before anything of the first connection was decided: two legs, and both end. */
static void test_socket_again_attempt(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	connection(s, 3, 77);
	streams(s, 3, 77);
	connection(s, 3, 78);
	registration(s, 3, 78);
	script_wait(s, IDLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 2);
	assert_json(script_report(s, "attempt", 0), "reason", "closed_by_client");
	assert_json(script_report(s, "attempt", 1), "outcome", "registered");
	script_close(s, 3);
	assert_int_equal(script_reports(s, "session"), 2);
	script_free(s);
}

/* Registered, and over before that was settled: two lines all the same. */
static void test_closed_at_once(void **state)
{
	static const struct {
		int how; /* 0 the server closes, 1 the client, 2 its process ends */
		const char *reason, *by;
	} cases[] = {{0, "stream_closed", "server"}, {1, "close_notify", "client"}, {2, "process_exit", "process"}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct script *s = script_new(NULL);

		connection(s, 3, 77);
		registration(s, 3, 77);
		script_wait(s, MS);
		if (cases[i].how == 0) {
			script_segment(s, 3, CBT_IN, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
			script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_STREAM_CLOSE);
			script_lib_close(s, 77, CBT_CLOSE_RECEIVED);
			script_wait(s, MS);
		} else if (cases[i].how == 1) {
			script_lib_close(s, 77, CBT_CLOSE_SHUTDOWN);
			script_segment(s, 3, CBT_OUT, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
		} else {
			script_exit(s, 100);
			script_segment(s, 3, CBT_OUT, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
		}
		script_release(s, 3);
		script_wait(s, SETTLE);
		script_tick(s);
		assert_json(script_report(s, "attempt", 0), "outcome", "registered");
		assert_json(script_report(s, "session", 0), "state", "up");
		assert_end(s, cases[i].reason, cases[i].by, "1000000");
		script_free(s);
	}
}

/* What went over a session. */
static void test_counts(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	registration(s, 3, 77);
	script_wait(s, SETTLE);
	script_tick(s);
	json = script_report(s, "session", 0);
	assert_json(json, "stanzas.iq.in", "0");
	assert_json(json, "missing", "[]");
	script_lib_iq(s, 77, CBT_IN, CBT_TYPE_GET, 4, "ping");
	script_lib_iq(s, 77, CBT_OUT, CBT_TYPE_RESULT, 4, "");
	script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_SPACE);
	script_lib_told(s, 77, CBT_OUT, CBT_ELEMENT_SPACE);
	script_lib_told(s, 77, CBT_OUT, CBT_ELEMENT_SPACE);
	script_wait(s, 100 * MS);
	script_lib_stanza(s, 77, CBT_IN, "message", CBT_TYPE_NONE, 0);
	script_wait(s, 9 * MS);
	/* No stanza, no answer. */
	script_lib_element(s, 77, CBT_OUT, "features", "");
	script_lib_told(s, 77, CBT_OUT, CBT_ELEMENT_SPACE);
	script_wait(s, MS);
	script_lib_stanza(s, 77, CBT_OUT, "message", CBT_TYPE_NONE, 0);
	script_lib_stanza(s, 77, CBT_OUT, "presence", CBT_TYPE_OTHER, 0);
	script_wait(s, MS);
	script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_GAP);
	script_close(s, 3);
	json = script_report(s, "session", 1);
	assert_json(json, "stanzas_in", "2");
	assert_json(json, "stanzas_out", "3");
	assert_json(json, "stanzas.iq.in", "1");
	assert_json(json, "stanzas.iq.out", "1");
	assert_json(json, "stanzas.message.in", "1");
	assert_json(json, "stanzas.message.out", "1");
	assert_json(json, "stanzas.presence.in", "0");
	assert_json(json, "stanzas.presence.out", "1");
	assert_json(json, "keepalives_in", "2");
	assert_json(json, "keepalives_out", "3");
	assert_json(json, "first_login.response_ns", "10000000");
	assert_json(json, "missing.0", "truncated");
	assert_json(json, "missing.1", "");
	script_free(s);
}

/* --- Attempts --- */

/* The client keeps a connection that the server has ended with an alert: the attempt is over all the same. */
static void test_alert_not_closed(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "stream", "callbridge.example.com");
	script_app(s, 3, CBT_OUT, 150);
	script_wait(s, 20 * MS);
	script_lib_error(s, 77, 1000 + 116, 0);
	script_wait(s, IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_non_null(json);
	assert_json(json, "failed_phase", "register");
	assert_json(json, "reason", "alert_received:certificate_required");
	script_free(s);
}

/* Neither keep-alives nor anything else that comes in holds an attempt open in which the client does not register. It
 * may do so later, on a session. */
static void test_registered_late(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	streams(s, 3, 77);
	for (int i = 0; i < 6; i++) {
		script_wait(s, 2000 * MS);
		script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_SPACE);
		script_tick(s);
	}
	json = script_report(s, "attempt", 0);
	assert_non_null(json);
	assert_json(json, "outcome", "connected");
	assert_json(json, "registration.component", "callbridge.example.com");
	assert_json(json, "registration.result", "null");
	json = script_report(s, "session", 0);
	assert_json(json, "registered", "null");
	assert_json(json, "stanzas", "null");
	assert_json(json, "keepalives_in", "null");
	script_lib_element(s, 77, CBT_OUT, "handshake", "");
	script_wait(s, MS);
	script_lib_element(s, 77, CBT_IN, "handshake", "");
	script_lib_stanza(s, 77, CBT_IN, "presence", CBT_TYPE_NONE, 0);
	script_close(s, 3);
	json = script_report(s, "session", 1);
	assert_json(json, "registered", "true");
	assert_json(json, "component", "callbridge.example.com");
	assert_json(json, "stanzas.presence.in", "1");
	script_free(s);
}

/* The same, but it is refused then. */
static void test_refused_late(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	streams(s, 3, 77);
	script_wait(s, IDLE);
	script_tick(s);
	script_lib_element(s, 77, CBT_OUT, "handshake", "");
	script_wait(s, MS);
	script_lib_element(s, 77, CBT_IN, "error", "not-authorized");
	script_close(s, 3);
	json = script_report(s, "session", 1);
	assert_json(json, "registered", "null");
	assert_json(json, "end_reason", "stream_error:not_authorized");
	assert_json(json, "ended_by", "server");
	script_free(s);
}

static void sasl_until_success(struct script *s)
{
	connection(s, 3, 77);
	streams(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "auth", "");
	script_wait(s, 20 * MS);
	script_lib_element(s, 77, CBT_IN, "success", "");
	script_wait(s, MS);
	script_lib_element(s, 77, CBT_OUT, "stream", "callbridge.example.com");
	script_wait(s, 20 * MS);
	script_lib_element(s, 77, CBT_IN, "stream", "callbridge.example.com");
	script_lib_element(s, 77, CBT_IN, "features", "bind");
	script_wait(s, MS);
}

/* SASL: registered with the bind, not before. */
static void test_sasl(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	sasl_until_success(s);
	script_lib_iq(s, 77, CBT_OUT, CBT_TYPE_SET, 9, "bind");
	script_wait(s, 20 * MS);
	/* Somebody else's. */
	script_lib_iq(s, 77, CBT_IN, CBT_TYPE_RESULT, 8, "bind");
	script_wait(s, MS);
	script_lib_iq(s, 77, CBT_IN, CBT_TYPE_RESULT, 9, "bind");
	script_wait(s, SETTLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "registered");
	assert_json(json, "registration.protocol", "sasl");
	assert_json(json, "registration.result", "success");
	assert_json(json, "registration.duration_ns", "86000000"); /* 22 + 1 + 20 + 1 + 20 + 1 + 20 + 1 */
	script_free(s);

	/* Authenticated, and then it binds nothing: no registration is claimed. */
	s = script_new(NULL);
	sasl_until_success(s);
	for (int i = 0; i < 12; i++) {
		script_wait(s, 1000 * MS);
		script_lib_stanza(s, 77, CBT_IN, "presence", CBT_TYPE_NONE, 0);
		script_tick(s);
	}
	json = script_report(s, "attempt", 0);
	assert_non_null(json);
	assert_json(json, "outcome", "connected");
	assert_json(json, "registration.protocol", "sasl");
	assert_json(json, "registration.result", "null");
	script_free(s);
}

/* The server answers XMPP with something else, and closes. */
static void test_server_not_xmpp(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "stream", "callbridge.example.com");
	script_app(s, 3, CBT_OUT, 150);
	script_wait(s, 20 * MS);
	script_app(s, 3, CBT_IN, 200);
	script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_NOT_XML);
	script_segment(s, 3, CBT_IN, CBT_TCP_FIN | CBT_TCP_ACK, NULL, 0);
	script_release(s, 3);
	script_wait(s, IDLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "failed");
	assert_json(json, "failed_phase", "register");
	assert_json(json, "reason", "closed_by_server");
	assert_json(json, "registration.result", "null");
	script_free(s);
}

/* The client's own protocol is none that is known here. */
static void test_client_not_xmpp(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	script_lib_told(s, 77, CBT_OUT, CBT_ELEMENT_NOT_XML);
	script_app(s, 3, CBT_OUT, 150);
	script_wait(s, 20 * MS);
	script_app(s, 3, CBT_IN, 200);
	script_lib_told(s, 77, CBT_IN, CBT_ELEMENT_NOT_XML);
	script_wait(s, 1100 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "connected");
	assert_json(json, "registration", "null");
	assert_json(json, "tls.joined_by", "random");
	script_free(s);
}

/* Refused, and again with another secret: a new connection of the library, a retry, and no trace of the first in it. */
static void test_retry(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	streams(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "handshake", "");
	script_wait(s, 20 * MS);
	script_lib_element(s, 77, CBT_IN, "error", "not-authorized");
	script_lib_close(s, 77, CBT_CLOSE_FREE);
	script_release(s, 3);
	script_wait(s, 500 * MS);
	connection(s, 4, 78);
	script_lib_element(s, 78, CBT_OUT, "stream", "other.example.com");
	script_app(s, 4, CBT_OUT, 150);
	script_wait(s, 20 * MS);
	script_lib_element(s, 78, CBT_IN, "stream", "other.example.com");
	script_lib_element(s, 78, CBT_OUT, "handshake", "");
	script_wait(s, 20 * MS);
	script_lib_element(s, 78, CBT_IN, "handshake", "");
	script_wait(s, SETTLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "reason", "not_authorized");
	assert_json(json, "registration.component", "callbridge.example.com");
	json = script_report(s, "attempt", 1);
	assert_json(json, "retry_of", "1");
	assert_json(json, "retry_delay_ns", "500000000");
	assert_json(json, "outcome", "registered");
	assert_json(json, "registration.component", "other.example.com");
	assert_json(json, "registration.error", "null");
	script_free(s);
}

/* The first target's certificate has expired, the second's is good. */
static void test_failover(void **state)
{
	EVP_PKEY *key = pki_key("P-256");
	X509 *old = pki_cert(
		key, &(struct pki_spec){.cn = "old", .san = "DNS:example.com", .not_before = 1, .not_after = 2});
	X509 *good = pki_cert(key, &(struct pki_spec){.cn = "good", .san = "DNS:example.com,DNS:xmpp2.example.com"});
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_query(s, 1, 11, "SRV", "_xmpp-component._tcp.example.com", "10.0.0.2");
	script_wait(s, MS);
	script_answer(s, 1, 11, "SRV", "_xmpp-component._tcp.example.com", 0,
		      "SRV 10 0 5223 xmpp1.example.com;SRV 20 0 5223 xmpp2.example.com", "10.0.0.2");
	script_query(s, 2, 12, "A", "xmpp1.example.com", "10.0.0.2");
	script_wait(s, MS);
	script_answer(s, 2, 12, "A", "xmpp1.example.com", 0, "A 10.9.0.1", "10.0.0.2");
	script_connect(s, 3, "10.9.0.1", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_wait(s, MS);
	script_syn_ack(s, 3);
	script_lib_hello(s, 77, 3);
	script_client_hello(s, 3, "example.com");
	script_wait(s, MS);
	script_server_hello(s, 3, 0x0304);
	cert_tell(s, 77, 0, old);
	script_lib_error(s, 77, 134, 10);
	script_lib_close(s, 77, CBT_CLOSE_FREE);
	script_release(s, 3);
	script_query(s, 4, 13, "A", "xmpp2.example.com", "10.0.0.2");
	script_wait(s, MS);
	script_answer(s, 4, 13, "A", "xmpp2.example.com", 0, "A 10.9.0.2", "10.0.0.2");
	script_connect(s, 5, "10.9.0.2", 5223, CBT_WHY_PORT);
	script_syn(s, 5);
	script_wait(s, MS);
	script_syn_ack(s, 5);
	script_lib_hello(s, 78, 5);
	script_client_hello(s, 5, "example.com");
	script_wait(s, MS);
	script_server_hello(s, 5, 0x0304);
	cert_tell(s, 78, 0, good);
	script_wait(s, MS);
	script_client_finished(s, 5, 0x0304);
	registration(s, 5, 78);
	script_wait(s, SETTLE);
	script_tick(s);
	assert_int_equal(script_reports(s, "attempt"), 1);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "registered");
	assert_json(json, "server", "xmpp2.example.com");
	assert_json(json, "certificate.subject", "CN=good,O=cbtrace");
	assert_json(json, "certificate.domain_match", "true");
	assert_json(json, "certificate.server_match", "true");
	assert_json(json, "legs.1.target", "xmpp2.example.com");
	script_free(s);
	X509_free(old);
	X509_free(good);
	EVP_PKEY_free(key);
}

/* TLS 1.2: the certificate is on the wire as well, which is the better evidence; registration all the same. */
static void test_tls12(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_syn_ack(s, 3);
	script_lib_hello(s, 77, 3);
	script_client_hello(s, 3, "example.com");
	script_wait(s, 20 * MS);
	script_server_hello(s, 3, 0x0303);
	script_server_flight12(s, 3);
	script_wait(s, MS);
	script_client_finished(s, 3, 0x0303);
	script_wait(s, 20 * MS);
	script_server_finished12(s, 3);
	script_wait(s, MS);
	registration(s, 3, 77);
	script_wait(s, SETTLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_json(json, "outcome", "registered");
	assert_json(json, "tls.version", "TLSv1.2");
	assert_json(json, "registration.duration_ns", "48000000");
	script_free(s);
}

/* A chain with a hole is none. */
static void test_chain_cut(void **state)
{
	static const uint8_t der[20000] = {0x30};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct script *s = script_new(NULL);
		const char *json;

		script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
		script_syn(s, 3);
		script_syn_ack(s, 3);
		script_lib_hello(s, 77, 3);
		script_client_hello(s, 3, "example.com");
		script_wait(s, 20 * MS);
		script_server_hello(s, 3, 0x0304);
		if (i == 0) {
			script_lib_cert(s, 77, 1, der, 500); /* the leaf was lost */
		} else if (i == 1) {
			script_lib_cert(s, 77, 0, der, 500);
			script_lib_cert(s, 77, 2, der, 500);
		} else if (i == 2) {
			script_lib_cert(s, 77, 0, der, 500);
			script_lib_cert(s, 77, 0, der, 500);
		} else {
			for (uint16_t k = 0; k < 8; k++) /* more than is kept of one connection */
				script_lib_cert(s, 77, k, der, sizeof(der));
		}
		script_client_finished(s, 3, 0x0304);
		registration(s, 3, 77);
		script_wait(s, SETTLE);
		script_tick(s);
		json = script_report(s, "attempt", 0);
		assert_json(json, "outcome", "registered");
		assert_json(json, "certificate", "null");
		assert_json(json, "missing.0", "truncated");
		script_free(s);
	}
}

/* --- Losses, interruptions, scope --- */

/* The verdict was lost: the attempt does not wait for ever, and says that something is missing. */
static void test_verdict_lost(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	connection(s, 3, 77);
	streams(s, 3, 77);
	script_lib_element(s, 77, CBT_OUT, "handshake", "");
	script_lost(s, CBT_LOST_RING, 3, 10 * MS);
	script_wait(s, 100000 * MS);
	script_tick(s);
	assert_int_equal(script_in_flight(s), 1);
	script_wait(s, 40000 * MS);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	assert_non_null(json);
	assert_json(json, "complete", "false");
	assert_json(json, "registration.result", "null");
	assert_non_null(strstr(json_at(json, "missing"), "lost_events"));
	script_free(s);
}

/* What a session counts may lack what was lost. */
static void test_session_lossy(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	registered_session(s);
	script_lost(s, CBT_LOST_RING, 3, 10 * MS);
	script_wait(s, MS);
	script_close(s, 3);
	assert_json(script_report(s, "session", 0), "missing", "[]");
	assert_json(script_report(s, "session", 1), "missing.0", "lost_events");
	script_free(s);
}

/* cbtrace stops while the server owes its verdict, and while it could still take it back. */
static void test_interrupted(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct script *s = script_new(NULL);
		const char *json;

		connection(s, 3, 77);
		streams(s, 3, 77);
		script_lib_element(s, 77, CBT_OUT, "handshake", "");
		script_wait(s, 20 * MS);
		if (i)
			script_lib_element(s, 77, CBT_IN, "handshake", "");
		script_wait(s, 10 * MS);
		script_finish(s);
		json = script_report(s, "attempt", 0);
		assert_json(json, "outcome", "null");
		assert_json(json, "complete", "false");
		assert_non_null(strstr(json_at(json, "missing"), "interrupted"));
		assert_json(json, "registration.component", "callbridge.example.com");
		script_free(s);
	}
}

/* Another thread of the process reads and writes than the one that connected. */
static void test_other_thread(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	connection(s, 3, 77);
	script_process(s, 100, 105, "callbridge");
	registration(s, 3, 77);
	script_wait(s, SETTLE);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "outcome", "registered");
	script_free(s);
}

/* An event of a connection whose beginning was not seen, or that is forgotten by now, is nobody's. */
static void test_unknown_conn(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	script_lib_element(s, 70, CBT_OUT, "stream", "x");
	script_lib_close(s, 70, CBT_CLOSE_FREE);
	script_lib_proc(s, CBT_LIBRARY_ARMED);
	connection(s, 3, 77);
	script_lib_hello(s, 77, 3); /* told twice */
	registration(s, 3, 77);
	script_wait(s, SETTLE);
	script_tick(s);
	assert_json(script_report(s, "attempt", 0), "outcome", "registered");
	script_close(s, 3);
	script_lib_element(s, 77, CBT_IN, "error", "conflict");
	script_lib_error(s, 77, 134, 20);
	script_lib_close(s, 77, CBT_CLOSE_FREE);
	assert_int_equal(script_reports(s, "attempt"), 1);
	assert_int_equal(script_reports(s, "session"), 2);
	script_free(s);
}

/* The pid is used again: what the dead process's library told is not the new one's. */
static void test_pid_reuse(void **state)
{
	struct script *s = script_new(NULL);
	const char *json;

	(void)state;
	script_lib_hello(s, 76, 3); /* the same random, which the new one will send on the wire */
	script_lib_element(s, 76, CBT_OUT, "stream", "dead.example.com");
	script_connect(s, 9, "10.9.0.9", 5223, CBT_WHY_PORT);
	script_exit(s, 100);
	connection(s, 3, 77);
	registration(s, 3, 77);
	script_wait(s, SETTLE);
	script_tick(s);
	json = script_report(s, "attempt", 0);
	for (size_t i = 0; i < script_reports(s, "attempt"); i++) {
		json = script_report(s, "attempt", i);
		if (strcmp(json_at(json, "legs.0.address"), "10.9.0.10") == 0)
			break;
	}
	assert_json(json, "outcome", "registered");
	assert_json(json, "registration.component", "callbridge.example.com");
	script_free(s);
}

static const struct cbt_hdr *last_event(const struct script *s, uint16_t type)
{
	size_t size;
	const uint8_t *all = script_events(s, &size);
	const struct cbt_hdr *found = NULL;

	for (size_t at = 0; at < size;) {
		const struct cbt_hdr *h = (const struct cbt_hdr *)(all + at);

		if (h->type == type)
			found = h;
		at += (h->len + 7) & ~(size_t)7;
	}
	return found;
}

static enum correlate_claim claim(struct script *s, uint16_t type)
{
	return correlate_claims(script_correlator(s), last_event(s, type));
}

/* What the recorder keeps: a connection's events once it is known whose they are, and none of what belongs to nobody.
 */
static void test_claims(void **state)
{
	struct script *s = script_new(NULL);

	(void)state;
	script_connect(s, 3, "10.9.0.10", 5223, CBT_WHY_PORT);
	script_syn(s, 3);
	script_syn_ack(s, 3);
	script_lib_hello(s, 77, 3);
	assert_int_equal(claim(s, CBT_EV_LIB_HELLO), CLAIM_UNDECIDED);
	script_client_hello(s, 3, "example.com");
	assert_int_equal(claim(s, CBT_EV_LIB_HELLO), CLAIM_YES);
	script_lib_element(s, 77, CBT_OUT, "stream", "x");
	assert_int_equal(claim(s, CBT_EV_LIB_ELEMENT), CLAIM_YES);
	script_lib_hello(s, 78, 200);
	assert_int_equal(claim(s, CBT_EV_LIB_HELLO), CLAIM_UNDECIDED);
	script_lib_element(s, 78, CBT_OUT, "stream", "x");
	assert_int_equal(claim(s, CBT_EV_LIB_ELEMENT), CLAIM_UNDECIDED);
	script_wait(s, 3000 * MS);
	script_tick(s);
	assert_int_equal(claim(s, CBT_EV_LIB_HELLO), CLAIM_NO);
	assert_int_equal(claim(s, CBT_EV_LIB_ELEMENT), CLAIM_NO);
	script_lib_error(s, 5, 134, 0);
	assert_int_equal(claim(s, CBT_EV_LIB_ERROR), CLAIM_NO);
	/* After the end of all of it, what follows is still the attempt's. */
	script_release(s, 3);
	script_wait(s, IDLE);
	script_tick(s);
	script_lib_close(s, 77, CBT_CLOSE_FREE);
	assert_int_equal(claim(s, CBT_EV_LIB_CLOSE), CLAIM_YES);
	script_free(s);
}

/* --- The same from events alone --- */

static void run_mixed(struct script *s, bool ticks)
{
	static const char *const conditions[] = {"", "not-authorized", "conflict"};

	for (uint64_t i = 0; i < 9; i++) {
		script_process(s, 100 + (uint32_t)i, 100, "callbridge");
		connection(s, 3 + i, 70 + i);
		streams(s, 3 + i, 70 + i);
		script_lib_element(s, 70 + i, CBT_OUT, "handshake", "");
		script_wait(s, 20 * MS);
		script_lib_element(s, 70 + i, CBT_IN, i % 3 ? "error" : "handshake", conditions[i % 3]);
		if (i % 2)
			script_state(s, 3 + i, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
		if (ticks)
			script_tick(s);
		script_wait(s, 170 * MS);
	}
	for (uint64_t i = 0; i < 9; i++) {
		script_process(s, 100 + (uint32_t)i, 100, "callbridge");
		script_state(s, 3 + i, CBT_TCP_ESTABLISHED, CBT_TCP_CLOSE_WAIT, 0);
		script_wait(s, i % 2 ? 3000 * MS : MS);
		if (ticks)
			script_tick(s);
		script_lib_close(s, 70 + i, CBT_CLOSE_RECEIVED);
		if (i % 4)
			script_release(s, 3 + i);
	}
	script_finish(s);
}

static void test_ticks_do_not_matter(void **state)
{
	struct script *a = script_new(NULL), *b = script_new(NULL);

	(void)state;
	run_mixed(a, true);
	run_mixed(b, false);
	assert_int_equal(script_reports(a, "attempt"), 9);
	assert_int_equal(script_reports(a, "session"), 6);
	assert_string_equal(script_text(a), script_text(b));
	script_free(a);
	script_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_conflict_after),
		cmocka_unit_test(test_session_error),
		cmocka_unit_test(test_no_verdict),
		cmocka_unit_test(test_certificate_required),
		cmocka_unit_test(test_no_xmpp),
		cmocka_unit_test(test_certificate),
		cmocka_unit_test(test_untrusted),
		cmocka_unit_test(test_not_mixed),
		cmocka_unit_test(test_half_armed),
		cmocka_unit_test(test_other_process),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_nagle),
		cmocka_unit_test(test_words_after_fin),
		cmocka_unit_test(test_words_after_reset),
		cmocka_unit_test(test_first_step),
		cmocka_unit_test(test_no_words),
		cmocka_unit_test(test_no_words_interrupted),
		cmocka_unit_test(test_client_closes),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_socket_again),
		cmocka_unit_test(test_socket_again_attempt),
		cmocka_unit_test(test_closed_at_once),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_alert_not_closed),
		cmocka_unit_test(test_registered_late),
		cmocka_unit_test(test_refused_late),
		cmocka_unit_test(test_sasl),
		cmocka_unit_test(test_server_not_xmpp),
		cmocka_unit_test(test_client_not_xmpp),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_failover),
		cmocka_unit_test(test_tls12),
		cmocka_unit_test(test_chain_cut),
		cmocka_unit_test(test_verdict_lost),
		cmocka_unit_test(test_session_lossy),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_other_thread),
		cmocka_unit_test(test_unknown_conn),
		cmocka_unit_test(test_pid_reuse),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_ticks_do_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
