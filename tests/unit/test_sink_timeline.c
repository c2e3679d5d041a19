// SPDX-License-Identifier: BSD-2-Clause
/* Timelines letter by letter, for three widths, with and without characters beyond ASCII. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "report_fixture.h"
#include "sink_timeline.h"
#include "text.h"

struct run {
	struct capture c;
	struct sink_timeline *sink;
	struct report_handler h;
};

static void begin(struct run *r, unsigned int width, bool color, bool unicode)
{
	const struct timeline_options o = {width, color, unicode, true};

	capture_begin(&r->c);
	r->sink = sink_timeline_new(r->c.file, &o);
	assert_non_null(r->sink);
	sink_timeline_handler(r->sink, &r->h);
}

static void assert_shown(struct run *r, const char *expected)
{
	const char *got = capture_end(&r->c);

	assert_int_equal(sink_timeline_error(r->sink), 0);
	if (strcmp(got, expected) != 0)
		fail_msg("expected:\n%s\ngot:\n%s", expected, got);
}

static void finish(struct run *r)
{
	sink_timeline_free(r->sink);
	capture_free(&r->c);
}

static void assert_timeline(const struct report_attempt *a, unsigned int width, bool unicode, const char *expected)
{
	struct run r;

	begin(&r, width, false, unicode);
	r.h.attempt(a, r.h.arg);
	assert_shown(&r, expected);
	finish(&r);
}

/* clang-format off */
static void a_good_attempt(void **state)
{
	(void)state;
	assert_timeline(fixture_good(), 110, true,
		"attempt 3  callbridge[4821] → example.com                                                connected in 48.31 ms\n"
		" step                                    0        48.31 ms\n"
		"  4    SRV _xmpp-component._tcp          █▏                  3.12 ms  10.0.0.2 → 192.0.2.1 · 2 targets\n"
		"       wait (client)                      ▏                  0.01 ms\n"
		"  5    A xmpp1.example.com                █                  2.40 ms  10.0.0.2 · 10.9.0.10\n"
		"       wait (client)                       ▏                 0.21 ms\n"
		"  6-7  TCP 10.9.0.10:5223                  ███████▏         20.30 ms  1 SYN\n"
		"  7    TLS 1.2 ECDHE_RSA_WITH_AES_256_G…          ████████  22.27 ms  network 20 % · server 71 % · client 9 %\n"
		"  8    certificate                       example.com ✓  xmpp1.example.com ✓  89 days left\n"
		"  slowest: TLS, 46 %, server\n"
		"  finding: tls_extra_round_trip, 20.00 ms: TLS 1.2 takes one round trip more than 1.3\n"
		"\n");
}

static void a_failover(void **state)
{
	(void)state;
	assert_timeline(fixture_failover(), 110, true,
		"attempt 3  callbridge[4821] → example.com                             abandoned after 2.00 s: tls process_exit\n"
		"  incomplete: events were lost, cbtrace started after it began\n"
		"  retry of attempt 2, 5.00 s after its end\n"
		" step                             0                 2.00 s\n"
		"  5    A/AAAA xmpp1.example.com   ▏                          4.00 ms\n"
		"                                  10.0.0.2 · 10.9.0.10 2001:db8::1 +1 · 4 queries · TCP · +1 name\n"
		"  6-7  TCP [2001:db8::1]:5223     ████████████▎               1.01 s  timeout · 2 SYNs\n"
		"  6-7  TCP [2001:db8::2]:5223           ▏                    0.30 ms  reset · 1 SYN\n"
		"  6-7  TCP 10.9.0.10:5223                     ▎              1.00 ms  1 SYN · xmpp2.example.com\n"
		"  7    TLS 1.3 AES_256_GCM_SHA384             ████████████ 983.00 ms\n"
		"                                  alert received:certificate_required · resumed · hello retry\n"
		"  8    certificate                not sent (resumed session)\n"
		"  slowest: TCP, 51 %, network\n"
		"  finding: syn_retransmit, 1.01 s: SYN to [2001:db8::1]:5223 sent 2 times\n"
		"  finding: ipv6_fallback: IPv6 did not work\n"
		"\n");
}

static void a_resolver_that_stays_silent(void **state)
{
	(void)state;
	assert_timeline(fixture_dns_timeout(), 80, false,
		"attempt 3  callbridge[4821] -> example.com        failed in 10.00 s: srv timeout\n"
		" step                           0          10.00 s\n"
		"  4    SRV _xmpp-component._tcp ##################   10.00 s\n"
		"                                10.0.0.2, timeout, 4 queries\n"
		"  slowest: SRV, 100 %, resolver\n"
		"\n");
}

static void a_narrow_terminal(void **state)
{
	(void)state;
	assert_timeline(fixture_good(), 72, false,
		"attempt 3  callbridge[4821] -> example.com         connected in 48.31 ms\n"
		" step                        0      48.31 ms\n"
		"  4    SRV _xmpp-componen... #                 3.12 ms\n"
		"                             10.0.0.2 -> 192.0.2.1, 2 targets\n"
		"       wait (client)          |                0.01 ms\n"
		"  5    A xmpp1.example.com    #                2.40 ms\n"
		"                             10.0.0.2, 10.9.0.10\n"
		"       wait (client)           |               0.21 ms\n"
		"  6-7  TCP 10.9.0.10:5223      ######|        20.30 ms  1 SYN\n"
		"  7    TLS 1.2 ECDHE_RSA_...         #######  22.27 ms\n"
		"                             network 20 %, server 71 %, client 9 %\n"
		"  8    certificate           example.com [yes]  xmpp1.example.com [yes]  89 days left\n"
		"  slowest: TLS, 46 %, server\n"
		"  finding: tls_extra_round_trip, 20.00 ms: TLS 1.2 takes one round trip more than 1.3\n"
		"\n");
}

static void nothing_known(void **state)
{
	(void)state;
	assert_timeline(fixture_unknown(), 60, true,
		"attempt 1  ?[0] → ?                interrupted after 0.00 ms\n"
		"  incomplete: cbtrace stopped before it ended\n"
		"\n");
}

static void the_summary(void **state)
{
	struct report_lost lost = {.count = {[CBT_LOST_RING] = 3}};
	struct run r;
	size_t before;

	(void)state;
	begin(&r, 110, false, true);
	sink_timeline_summary(r.sink); /* of nothing */
	assert_string_equal(capture_end(&r.c), "");
	r.h.attempt(fixture_good(), r.h.arg);
	r.h.attempt(fixture_dns_timeout(), r.h.arg);
	r.h.attempt(fixture_dns_timeout(), r.h.arg);
	r.h.attempt(fixture_failover(), r.h.arg);
	r.h.attempt(fixture_unknown(), r.h.arg);
	r.h.lost(&lost, r.h.arg);
	before = strlen(capture_end(&r.c));
	sink_timeline_summary(r.sink);
	assert_string_equal(capture_end(&r.c) + before,
		"summary                  attempts  shortest      mean   longest\n"
		"  connected                     1  48.31 ms  48.31 ms  48.31 ms\n"
		"  failed                        2   10.00 s   10.00 s   10.00 s\n"
		"  abandoned                     1    2.00 s    2.00 s    2.00 s\n"
		"  interrupted                   1   0.00 ms   0.00 ms   0.00 ms\n"
		"    srv timeout                 2\n"
		"    tls process_exit            1\n"
		"  events lost: 3 (ring full)\n");
	finish(&r);
}
/* clang-format on */

/* Lines fit the width that was asked for, but for what cannot be cut: the header's names and findings. */
static void rows_fit_the_terminal(void **state)
{
	struct run r;

	(void)state;
	for (unsigned int width = 50; width <= 210; width += 5) {
		unsigned int limit = width < TIMELINE_WIDTH_MIN ? TIMELINE_WIDTH_MIN : width;

		begin(&r, width, false, true);
		r.h.attempt(fixture_dns_timeout(), r.h.arg);
		for (const char *line = capture_end(&r.c), *next; *line; line = next) {
			struct text t = {0};

			next = strchr(line, '\n') + 1;
			text_add(&t, line, (size_t)(next - line) - 1);
			if (text_width(&t, 0) > limit)
				fail_msg("%zu columns of %u: %s", text_width(&t, 0), limit, t.data);
			text_free(&t);
		}
		finish(&r);
	}
}

static void nothing_hostile_reaches_the_terminal(void **state)
{
	struct report_session session = *fixture_session(SESSION_DOWN);
	struct run r;
	uint32_t c;
	size_t n;

	(void)state;
	for (int unicode = 0; unicode < 2; unicode++) {
		begin(&r, 100, false, unicode);
		r.h.attempt(fixture_hostile(), r.h.arg);
		session.comm = session.domain = session.end_reason = "\033]0;x\a\xc2\x9b\xe2\x80\xae";
		r.h.session(&session, r.h.arg);
		for (const char *p = capture_end(&r.c); (n = text_char(p, &c)); p += n) {
			assert_true(c == '\n' || !text_char_is_control(c));
			assert_true(unicode || c < 0x80);
		}
		assert_non_null(strstr(capture_end(&r.c), "e\\u001b[31mvil"));
		finish(&r);
	}
}

/* Colours come in pairs and only if asked for; without them the text is the same. */
static void colours_add_nothing_else(void **state)
{
	struct run plain, colored;
	const char *c, *p;

	(void)state;
	begin(&plain, 100, false, true);
	begin(&colored, 100, true, true);
	plain.h.attempt(fixture_failover(), plain.h.arg);
	colored.h.attempt(fixture_failover(), colored.h.arg);
	p = capture_end(&plain.c);
	c = capture_end(&colored.c);
	assert_null(strchr(p, '\033'));
	assert_non_null(strstr(c, "\033[1;33m"));
	while (*c) {
		if (*c == '\033') {
			c = strchr(c, 'm') + 1;
			continue;
		}
		assert_int_equal(*c++, *p++);
	}
	assert_int_equal(*p, '\0');
	finish(&plain);
	finish(&colored);
}

static void certificates_in_every_state(void **state)
{
	static const struct {
		int64_t not_before_s, not_after_s; /* from the attempt's start */
		const char *words;
	} cases[] = {
		{-1, 86400 * 2, "2 days left"},
		{-1, 86400, "1 day left"},
		{-1, 86399, "23 h left"},
		{-9, -1, "expired 0 h ago"},
		{-99, -86400 * 3, "expired 3 days ago"},
		{86400 * 5, 86400 * 9, "not valid for another 5 days"},
	};
	struct report_attempt a = *fixture_good();
	struct report_certificate cert = *a.certificate;
	struct run r;

	(void)state;
	a.certificate = &cert;
	a.domain = a.server = "xmpp1.example.com"; /* named once */
	cert.server_match = TRI_UNKNOWN;
	cert.domain_match = TRI_NO;
	cert.self_signed = TRI_YES;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char expected[128];

		cert.not_before = FIXTURE_START_NS / 1000000000 + cases[i].not_before_s;
		cert.not_after = FIXTURE_START_NS / 1000000000 + cases[i].not_after_s;
		snprintf(expected, sizeof(expected), "xmpp1.example.com ✗  self-signed  %s\n", cases[i].words);
		begin(&r, 110, false, true);
		r.h.attempt(&a, r.h.arg);
		if (!strstr(capture_end(&r.c), expected))
			fail_msg("no '%s' in:\n%s", expected, capture_end(&r.c));
		finish(&r);
	}
	a.certificate = NULL;
	a.certificate_missing = MISSING_NOT_VISIBLE;
	begin(&r, 110, false, true);
	r.h.attempt(&a, r.h.arg);
	assert_non_null(strstr(capture_end(&r.c), "not visible\n"));
	finish(&r);
	a.certificate_missing = 0;
	begin(&r, 110, false, true);
	r.h.attempt(&a, r.h.arg);
	assert_null(strstr(capture_end(&r.c), "certificate"));
	finish(&r);
}

static void durations_have_sensible_units(void **state)
{
	static const struct {
		int64_t ns;
		const char *words;
	} cases[] = {
		{0, "in 0.00 ms\n"},
		{4999, "in 0.00 ms\n"},
		{5000, "in 0.01 ms\n"},
		{999994999, "in 999.99 ms\n"},
		{999995000, "in 1.00 s\n"},
		{99994999999, "in 99.99 s\n"},
		{99995000000, "in 1 min 40 s\n"},
		{3599400000000, "in 59 min 59 s\n"},
		{7260000000000, "in 2 h 1 min\n"},
		{90000000000000, "in 1 d 1 h\n"},
	};
	struct report_attempt a = *fixture_unknown();
	struct run r;

	(void)state;
	a.outcome = OUTCOME_CONNECTED;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		a.total_ns = cases[i].ns;
		begin(&r, 110, false, true);
		r.h.attempt(&a, r.h.arg);
		if (!strstr(capture_end(&r.c), cases[i].words))
			fail_msg("no '%s' in: %s", cases[i].words, capture_end(&r.c));
		finish(&r);
	}
}

static void sessions_and_losses_are_lines(void **state)
{
	struct report_lost lost = {.count = {[CBT_LOST_RING] = 3}};
	struct run r;

	(void)state;
	begin(&r, 100, false, true);
	r.h.session(fixture_session(SESSION_UP), r.h.arg);
	r.h.session(fixture_session(SESSION_DOWN), r.h.arg);
	r.h.lost(&lost, r.h.arg);
	r.h.lost(&lost, r.h.arg);
	lost.count[CBT_LOST_RING] = 5;
	lost.count[CBT_LOST_RECORDER] = 1;
	r.h.lost(&lost, r.h.arg);
	assert_shown(
		&r,
		"session 7  callbridge[4821] → example.com  10.9.0.10:5223  up\n\n"
		"session 7  callbridge[4821] → example.com  10.9.0.10:5223  down after 1 h 0 min: fin, by server\n\n"
		"events lost: 3 (ring full)\n\n"
		"events lost: 2 (ring full), 1 (recorder full)\n\n");
	finish(&r);
}

/* Entries that point nowhere, and reports without the parts they speak of. */
static void odd_reports_are_survived(void **state)
{
	static const struct report_entry timeline[] = {
		{PHASE_SRV, -1, 0, 10, OWNER_NONE},	  {PHASE_ADDRESS, -1, 10, 10, OWNER_NONE},
		{PHASE_TCP, 7, 10, 20, OWNER_NONE},	  {PHASE_TCP, -1, 20, 1000000, OWNER_NONE},
		{PHASE_TLS, -1, 20, 30, OWNER_NONE},	  {PHASE_TLS, 9, 30, 40, OWNER_NONE},
		{PHASE_REGISTER, -1, 40, 50, OWNER_NONE}, {PHASE_WAIT, -1, 50, 60, OWNER_NONE},
	};
	struct report_attempt a = *fixture_unknown();
	struct run r;

	(void)state;
	a.timeline = timeline;
	a.n_timeline = sizeof(timeline) / sizeof(timeline[0]);
	for (a.total_ns = 0; a.total_ns <= 60; a.total_ns += 60) {
		begin(&r, 60, false, true);
		r.h.attempt(&a, r.h.arg);
		assert_non_null(capture_end(&r.c));
		finish(&r);
	}
}

static void a_full_disk_is_remembered(void **state)
{
	const struct timeline_options o = {100, false, false, true};
	FILE *full = fopen("/dev/full", "w");
	struct sink_timeline *s;
	struct report_handler h;

	(void)state;
	if (!full)
		skip();
	s = sink_timeline_new(full, &o);
	assert_non_null(s);
	sink_timeline_handler(s, &h);
	h.attempt(fixture_good(), h.arg);
	assert_int_equal(sink_timeline_error(s), -ENOSPC);
	sink_timeline_free(s);
	sink_timeline_free(NULL);
	fclose(full);
}

static void what_the_output_can_show_is_detected(void **state)
{
	struct timeline_options o;
	FILE *file = tmpfile();

	(void)state;
	assert_non_null(file);
	unsetenv("COLUMNS");
	setenv("LC_ALL", "C", 1);
	timeline_options_detect(file, COLOR_AUTO, &o);
	assert_int_equal(o.width, TIMELINE_WIDTH_DEFAULT);
	assert_false(o.color);
	assert_false(o.unicode);
	setenv("COLUMNS", "77", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	timeline_options_detect(file, COLOR_ALWAYS, &o);
	assert_int_equal(o.width, 77);
	assert_true(o.color);
	assert_true(o.unicode);
	setenv("COLUMNS", "-1", 1);
	timeline_options_detect(file, COLOR_NEVER, &o);
	assert_int_equal(o.width, TIMELINE_WIDTH_DEFAULT);
	assert_false(o.color);
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_attempt),
		cmocka_unit_test(a_failover),
		cmocka_unit_test(a_resolver_that_stays_silent),
		cmocka_unit_test(a_narrow_terminal),
		cmocka_unit_test(nothing_known),
		cmocka_unit_test(the_summary),
		cmocka_unit_test(rows_fit_the_terminal),
		cmocka_unit_test(nothing_hostile_reaches_the_terminal),
		cmocka_unit_test(colours_add_nothing_else),
		cmocka_unit_test(certificates_in_every_state),
		cmocka_unit_test(durations_have_sensible_units),
		cmocka_unit_test(sessions_and_losses_are_lines),
		cmocka_unit_test(odd_reports_are_survived),
		cmocka_unit_test(a_full_disk_is_remembered),
		cmocka_unit_test(what_the_output_can_show_is_detected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
