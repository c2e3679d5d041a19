// SPDX-License-Identifier: BSD-2-Clause
/* JSON lines of reports built by hand: letter by letter where short, by structure elsewhere. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "report_fixture.h"
#include "sink_json.h"

/* --- A small reader, only to see that a line is JSON and which keys its outermost object has --- */

static const char *skip_value(const char *p);

static const char *skip_string(const char *p)
{
	if (*p++ != '"')
		return NULL;
	for (; *p != '"'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return NULL;
		if (*p == '\\' && !strchr("\"\\/bfnrtu", *++p))
			return NULL;
	}
	return p + 1;
}

/* Members of an object or elements of an array; appends the keys of an object to @keys if not NULL. */
static const char *skip_container(const char *p, char *keys)
{
	char close = *p == '{' ? '}' : ']';

	if (*++p == close)
		return p + 1;
	for (;; p++) {
		if (close == '}') {
			const char *key = p;

			p = skip_string(p);
			if (!p || *p != ':')
				return NULL;
			if (keys)
				sprintf(keys + strlen(keys), "%.*s ", (int)(p - key) - 2, key + 1);
			p++;
		}
		p = skip_value(p);
		if (!p || (*p != ',' && *p != close))
			return NULL;
		if (*p == close)
			return p + 1;
	}
}

static const char *skip_value(const char *p)
{
	static const char *const words[] = {"null", "true", "false"};

	if (*p == '{' || *p == '[')
		return skip_container(p, NULL);
	if (*p == '"')
		return skip_string(p);
	for (size_t i = 0; i < 3; i++)
		if (strncmp(p, words[i], strlen(words[i])) == 0)
			return p + strlen(words[i]);
	if (*p != '-' && (*p < '0' || *p > '9'))
		return NULL;
	return p + strspn(p, "-0123456789.");
}

/* --- Lines --- */

struct run {
	struct capture c;
	struct sink_json *sink;
	struct report_handler h;
};

static void begin(struct run *r, bool events)
{
	capture_begin(&r->c);
	r->sink = sink_json_new(r->c.file, events, true);
	assert_non_null(r->sink);
	sink_json_handler(r->sink, &r->h);
}

/* The one line that was written, as one object whose keys are @keys. */
static const char *one_line(struct run *r, const char *keys)
{
	const char *line = capture_end(&r->c);
	char got[1024] = "";
	const char *end;

	assert_int_equal(sink_json_error(r->sink), 0);
	assert_non_null(line);
	end = skip_container(line, got);
	if (!end || strcmp(end, "\n") != 0)
		fail_msg("no line of JSON: %s", line);
	if (keys)
		assert_string_equal(got, keys);
	return line;
}

static void finish(struct run *r)
{
	sink_json_free(r->sink);
	capture_free(&r->c);
}

#define ATTEMPT_KEYS                                                                                             \
	"kind schema id retry_of retry_delay_ns pid comm cgroup host domain server config outcome failed_phase " \
	"reason "                                                                                                \
	"start total_ns timeline lookups legs tls certificate registration slowest findings complete missing "

static void assert_attempt(const struct report_attempt *a, const char *const *has, size_t n)
{
	struct run r;
	const char *line;

	begin(&r, false);
	r.h.attempt(a, r.h.arg);
	line = one_line(&r, ATTEMPT_KEYS);
	for (size_t i = 0; i < n; i++)
		if (!strstr(line, has[i]))
			fail_msg("no %s in %s", has[i], line);
	finish(&r);
}

#define ASSERT_ATTEMPT(a, ...)                                        \
	do {                                                          \
		static const char *const has[] = {__VA_ARGS__};       \
		assert_attempt(a, has, sizeof(has) / sizeof(has[0])); \
	} while (0)

static void a_good_attempt(void **state)
{
	(void)state;
	ASSERT_ATTEMPT(
		fixture_good(),
		"{\"kind\":\"attempt\",\"schema\":1,\"id\":3,\"retry_of\":null,\"retry_delay_ns\":null,",
		"\"config\":\"srv\",\"outcome\":\"connected\",\"failed_phase\":null,\"reason\":null,"
		"\"start\":\"2026-11-22T05:00:00.123456789Z\",\"total_ns\":48310000,",
		"{\"phase\":\"srv\",\"step\":4,\"start_ns\":0,\"end_ns\":3120000},"
		"{\"phase\":\"wait\",\"start_ns\":3120000,\"end_ns\":3130000,\"owner\":\"client\"},",
		"{\"phase\":\"tcp\",\"step\":6,\"leg\":0,\"start_ns\":5740000,\"end_ns\":26040000}",
		"{\"name\":\"_xmpp-component._tcp.example.com\",\"type\":\"SRV\",\"rcode\":\"NOERROR\",\"failure\":"
		"null,"
		"\"transport\":\"udp\",\"resolver\":\"10.0.0.2:53\",\"queries\":1,\"start_ns\":0,\"duration_ns\":"
		"3120000,"
		"\"answers\":[{\"target\":\"xmpp1.example.com\",\"port\":5223,\"priority\":10,\"weight\":5},",
		"\"upstream\":[{\"resolver\":\"192.0.2.1:53\",\"rcode\":\"NOERROR\",\"queries\":1,\"start_ns\":100000,"
		"\"duration_ns\":2900000}]",
		"\"answers\":[{\"address\":\"10.9.0.10\"}],\"upstream\":[]}",
		"\"legs\":[{\"address\":\"10.9.0.10\",\"port\":5223,\"target\":\"xmpp1.example.com\",\"priority\":10,"
		"\"weight\":5,\"result\":\"connected\",\"start_ns\":5740000,\"tcp_ns\":20300000,\"syn_sent\":1,"
		"\"rtt_ns\":20000000}]",
		"\"resumed\":false,\"hello_retry\":false,\"client_cert_requested\":false,\"network_ns\":4454000,"
		"\"server_ns\":15811700,\"client_ns\":2004300,\"alert\":null,\"joined_by\":null}",
		"\"certificate\":{\"evidence\":\"wire\",\"subject\":\"CN=xmpp1.example.com\",\"issuer\":\"CN=Test CA\","
		"\"san\":[\"example.com\",\"xmpp1.example.com\"],\"domain_match\":true,\"server_match\":true,"
		"\"not_before\":\"2026-11-21T05:00:00.000000000Z\",\"not_after\":\"2027-02-19T06:00:00.000000000Z\","
		"\"key_type\":\"RSA 2048\",\"chain_length\":2,\"self_signed\":false,\"verify\":null}",
		"\"registration\":null,\"slowest\":{\"phase\":\"tls\",\"share\":0.4610,\"owner\":\"server\"}",
		"\"findings\":[{\"code\":\"tls_extra_round_trip\",\"phase\":\"tls\",\"cost_ns\":20000000,\"text\":",
		"\"complete\":true,\"missing\":[\"not_visible\"]}");
}

static void a_failed_attempt(void **state)
{
	(void)state;
	ASSERT_ATTEMPT(fixture_dns_timeout(), "\"server\":null",
		       "\"outcome\":\"failed\",\"failed_phase\":\"srv\",\"reason\":\"timeout\"",
		       "\"rcode\":null,\"failure\":\"timeout\"", "\"answers\":[],", "\"legs\":[],\"tls\":null,",
		       "\"certificate\":null,", "\"share\":1.0000,", "\"findings\":[]");
	ASSERT_ATTEMPT(fixture_failover(), "\"retry_of\":2,\"retry_delay_ns\":5000000000,", "\"config\":\"name\"",
		       "\"outcome\":\"abandoned\"", "\"transport\":\"tcp\"",
		       "\"answers\":[{\"cname\":\"real.example.com\"},{\"address\":\"2001:db8::1\"},",
		       "{\"address\":\"2001:db8::1\",\"port\":5223,\"target\":\"xmpp1.example.com\",\"priority\":null,"
		       "\"weight\":null,\"result\":\"timeout\",",
		       "\"rtt_ns\":null}", "\"client_cert_requested\":null,\"network_ns\":null",
		       "\"alert\":\"received:certificate_required\"", "\"cost_ns\":null",
		       "\"complete\":false,\"missing\":[\"lost_events\",\"started_late\",\"not_sent\"]}");
}

static void unknown_is_null(void **state)
{
	struct run r;

	(void)state;
	begin(&r, false);
	r.h.attempt(fixture_unknown(), r.h.arg);
	assert_string_equal(
		one_line(&r, ATTEMPT_KEYS),
		"{\"kind\":\"attempt\",\"schema\":1,\"id\":1,\"retry_of\":null,\"retry_delay_ns\":null,\"pid\":0,"
		"\"comm\":null,\"cgroup\":null,\"host\":null,\"domain\":null,\"server\":null,\"config\":null,"
		"\"outcome\":null,\"failed_phase\":null,\"reason\":null,\"start\":\"1970-01-01T00:00:00.000000000Z\","
		"\"total_ns\":0,\"timeline\":[],\"lookups\":[],\"legs\":[],\"tls\":null,\"certificate\":null,"
		"\"registration\":null,\"slowest\":null,\"findings\":[],\"complete\":false,"
		"\"missing\":[\"interrupted\"]}\n");
	finish(&r);
}

static void hostile_names_stay_strings(void **state)
{
	struct run r;
	const char *line;

	(void)state;
	begin(&r, false);
	r.h.attempt(fixture_hostile(), r.h.arg);
	line = one_line(&r, ATTEMPT_KEYS);
	assert_non_null(strstr(line, "\"comm\":\"e\\u001b[31mvil\\\"\\\\\\n\xef\xbf\xbd\\u202e\""));
	assert_non_null(strstr(line, "\"not_after\":\"9999-12-31T23:59:59.000000000Z\""));
	finish(&r);
}

#define SESSION_KEYS                                                                                                   \
	"kind schema id attempt pid comm domain server address port component registered state start end duration_ns " \
	"end_reason ended_by bytes_in bytes_out stanzas_in stanzas_out stanzas keepalives_in keepalives_out "          \
	"last_inbound first_login rtt_ns retransmits "                                                                 \
	"missing "

static void sessions(void **state)
{
	struct run r;
	const char *line;

	(void)state;
	begin(&r, false);
	r.h.session(fixture_session(SESSION_UP), r.h.arg);
	line = one_line(&r, SESSION_KEYS);
	assert_non_null(strstr(line,
			       "\"registered\":null,\"state\":\"up\",\"start\":\"2026-11-22T05:00:00.123456789Z\","
			       "\"end\":null,\"duration_ns\":null,\"end_reason\":null,\"ended_by\":null,"));
	finish(&r);
	begin(&r, false);
	r.h.session(fixture_session(SESSION_DOWN), r.h.arg);
	line = one_line(&r, SESSION_KEYS);
	assert_non_null(strstr(line, "\"state\":\"down\""));
	assert_non_null(strstr(line, "\"end\":\"2026-11-22T06:00:00.123456789Z\",\"duration_ns\":3600000000000,"
				     "\"end_reason\":\"fin\",\"ended_by\":\"server\""));
	assert_non_null(strstr(line, "\"retransmits\":2,\"missing\":[\"not_visible\"]}"));
	finish(&r);
}

static void lookups_and_legs_only_on_request(void **state)
{
	const struct report_attempt *a = fixture_good();
	struct run r;

	(void)state;
	begin(&r, false);
	assert_null(r.h.lookup);
	assert_null(r.h.leg);
	finish(&r);
	begin(&r, true);
	r.h.lookup(&a->lookups[1], FIXTURE_START_NS, r.h.arg);
	assert_string_equal(
		one_line(&r, NULL),
		"{\"kind\":\"lookup\",\"schema\":1,\"attempt\":3,\"start\":\"2026-11-22T05:00:00.123456789Z\","
		"\"name\":\"xmpp1.example.com\",\"type\":\"A\",\"rcode\":\"NOERROR\",\"failure\":null,"
		"\"transport\":\"udp\",\"resolver\":\"10.0.0.2:53\",\"queries\":1,\"duration_ns\":2400000,"
		"\"answers\":[{\"address\":\"10.9.0.10\"}],\"upstream\":[]}\n");
	finish(&r);
	begin(&r, true);
	r.h.leg(&a->legs[0], FIXTURE_START_NS, r.h.arg);
	assert_string_equal(
		one_line(&r, NULL),
		"{\"kind\":\"leg\",\"schema\":1,\"attempt\":3,\"start\":\"2026-11-22T05:00:00.123456789Z\","
		"\"address\":\"10.9.0.10\",\"port\":5223,\"target\":\"xmpp1.example.com\",\"priority\":10,\"weight\":5,"
		"\"result\":\"connected\",\"tcp_ns\":20300000,\"syn_sent\":1,\"rtt_ns\":20000000}\n");
	finish(&r);
}

static void a_full_disk_is_remembered(void **state)
{
	FILE *full = fopen("/dev/full", "w");
	struct sink_json *s;
	struct report_handler h;

	(void)state;
	if (!full)
		skip();
	s = sink_json_new(full, false, true);
	assert_non_null(s);
	sink_json_handler(s, &h);
	assert_int_equal(sink_json_error(s), 0);
	h.attempt(fixture_good(), h.arg);
	assert_int_equal(sink_json_error(s), -ENOSPC);
	h.attempt(fixture_good(), h.arg);
	assert_int_equal(sink_json_error(s), -ENOSPC);
	sink_json_free(s);
	sink_json_free(NULL);
	fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_attempt),
		cmocka_unit_test(a_failed_attempt),
		cmocka_unit_test(unknown_is_null),
		cmocka_unit_test(hostile_names_stay_strings),
		cmocka_unit_test(sessions),
		cmocka_unit_test(lookups_and_legs_only_on_request),
		cmocka_unit_test(a_full_disk_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
