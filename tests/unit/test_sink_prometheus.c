// SPDX-License-Identifier: BSD-2-Clause
/* Metrics: what reports add up to, what stays bounded, and whether promtool finds the text clean. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "report_fixture.h"
#include "sink_prometheus.h"

#define PAIR "domain=\"example.com\",server=\"xmpp1.example.com\""

static struct report_handler h;

static struct prom *start(const struct prom_config *config)
{
	const struct prom_config none = {NULL, NULL, 0, false};
	struct prom *p = prom_new(config ? config : &none);

	assert_non_null(p);
	prom_handler(p, &h);
	return p;
}

static char *text_of(struct prom *p)
{
	struct text t = {0};

	assert_int_equal(prom_write(p, &t), 0);
	assert_non_null(t.data);
	return t.data;
}

/* Is "\n@line\n" in the text? */
static bool has_line(const char *text, const char *line)
{
	size_t n = strlen(line);

	for (const char *p = strstr(text, line); p; p = strstr(p + 1, line))
		if ((p == text || p[-1] == '\n') && p[n] == '\n')
			return true;
	return false;
}

static void assert_lines(struct prom *p, const char *const *lines, size_t n)
{
	char *text = text_of(p);

	for (size_t i = 0; i < n; i++)
		if (!has_line(text, lines[i]))
			fail_msg("no line '%s' in:\n%s", lines[i], text);
	free(text);
}

#define ASSERT_LINES(p, ...)                                              \
	do {                                                              \
		static const char *const lines[] = {__VA_ARGS__};         \
		assert_lines(p, lines, sizeof(lines) / sizeof(lines[0])); \
	} while (0)

static void assert_without(struct prom *p, const char *what)
{
	char *text = text_of(p);

	if (strstr(text, what))
		fail_msg("'%s' in:\n%s", what, text);
	free(text);
}

static void assert_promtool_finds_it_clean(struct prom *p)
{
	char *text = text_of(p);
	FILE *tool;
	int status;

	if (system("command -v promtool >/dev/null 2>&1") != 0) {
		print_message("SKIPPED: promtool is not installed\n");
		free(text);
		return;
	}
	tool = popen("promtool check metrics", "w");
	assert_non_null(tool);
	fputs(text, tool);
	status = pclose(tool);
	if (status != 0)
		fail_msg("promtool refuses:\n%s", text);
	free(text);
}

static void a_good_attempt_is_counted(void **state)
{
	struct prom *p = start(NULL);

	(void)state;
	h.attempt(fixture_good(), h.arg);
	ASSERT_LINES(
		p, "# TYPE cbtrace_attempts_total counter", "cbtrace_attempts_total{" PAIR ",outcome=\"registered\"} 0",
		"cbtrace_attempts_total{" PAIR ",outcome=\"connected\"} 1",
		"cbtrace_attempts_total{" PAIR ",outcome=\"failed\"} 0",
		"cbtrace_attempts_total{" PAIR ",outcome=\"abandoned\"} 0",
		"cbtrace_attempt_duration_seconds_bucket{" PAIR ",outcome=\"connected\",le=\"0.025\"} 0",
		"cbtrace_attempt_duration_seconds_bucket{" PAIR ",outcome=\"connected\",le=\"0.05\"} 1",
		"cbtrace_attempt_duration_seconds_bucket{" PAIR ",outcome=\"connected\",le=\"120\"} 1",
		"cbtrace_attempt_duration_seconds_bucket{" PAIR ",outcome=\"connected\",le=\"+Inf\"} 1",
		"cbtrace_attempt_duration_seconds_sum{" PAIR ",outcome=\"connected\"} 0.048310000",
		"cbtrace_attempt_duration_seconds_count{" PAIR ",outcome=\"connected\"} 1",
		/* Two waits, one observation. */
		"cbtrace_phase_duration_seconds_sum{" PAIR ",phase=\"wait\"} 0.000220000",
		"cbtrace_phase_duration_seconds_count{" PAIR ",phase=\"wait\"} 1",
		"cbtrace_phase_duration_seconds_sum{" PAIR ",phase=\"srv\"} 0.003120000",
		"cbtrace_phase_duration_seconds_sum{" PAIR ",phase=\"address\"} 0.002400000",
		"cbtrace_phase_duration_seconds_sum{" PAIR ",phase=\"tcp\"} 0.020300000",
		"cbtrace_phase_duration_seconds_sum{" PAIR ",phase=\"tls\"} 0.022270000",
		"cbtrace_dns_lookup_duration_seconds_count{domain=\"example.com\",type=\"SRV\",rcode=\"NOERROR\"} 1",
		"cbtrace_dns_lookup_duration_seconds_sum{domain=\"example.com\",type=\"A\",rcode=\"NOERROR\"} "
		"0.002400000",
		"cbtrace_tcp_syn_retransmits_total{" PAIR "} 0",
		"cbtrace_certificate_not_after_timestamp_seconds{" PAIR "} 1803016800",
		"cbtrace_certificate_san_match{" PAIR ",name=\"domain\"} 1",
		"cbtrace_certificate_san_match{" PAIR ",name=\"server\"} 1",
		"cbtrace_findings_total{domain=\"example.com\",code=\"tls_extra_round_trip\"} 1",
		"cbtrace_attempts_incomplete_total{cause=\"lost_events\"} 0");
	assert_without(p, "phase=\"register\"");
	assert_without(p, "cbtrace_attempt_failures_total");
	assert_promtool_finds_it_clean(p);
	prom_free(p);
}

static void failures_have_phase_and_reason(void **state)
{
	struct prom *p = start(NULL);

	(void)state;
	h.attempt(fixture_dns_timeout(), h.arg);
	h.attempt(fixture_dns_timeout(), h.arg);
	h.attempt(fixture_failover(), h.arg);
	ASSERT_LINES(
		p, "cbtrace_attempts_total{domain=\"example.com\",server=\"\",outcome=\"failed\"} 2",
		"cbtrace_attempt_failures_total{domain=\"example.com\",server=\"\",phase=\"srv\",reason=\"timeout\"} 2",
		"cbtrace_attempt_failures_total{" PAIR ",phase=\"tls\",reason=\"process_exit\"} 1",
		"cbtrace_dns_lookup_duration_seconds_count{domain=\"example.com\",type=\"SRV\",rcode=\"none\"} 2",
		"cbtrace_dns_lookup_duration_seconds_count{domain=\"example.com\",type=\"A\",rcode=\"NXDOMAIN\"} 1",
		/* Two TCP entries of one attempt, one observation. */
		"cbtrace_phase_duration_seconds_count{" PAIR ",phase=\"tcp\"} 1",
		"cbtrace_phase_duration_seconds_sum{" PAIR ",phase=\"tcp\"} 1.013000000",
		"cbtrace_tcp_syn_retransmits_total{" PAIR "} 1",
		"cbtrace_attempts_incomplete_total{cause=\"lost_events\"} 1",
		"cbtrace_attempts_incomplete_total{cause=\"started_late\"} 1",
		"cbtrace_attempts_incomplete_total{cause=\"truncated\"} 0");
	assert_without(p, "cbtrace_certificate");
	prom_free(p);
}

static void interrupted_has_no_outcome_and_no_lengths(void **state)
{
	struct report_attempt a = *fixture_good();
	struct prom *p = start(NULL);

	(void)state;
	a.outcome = OUTCOME_NONE;
	a.complete = false;
	a.missing = MISSING_INTERRUPTED;
	h.attempt(&a, h.arg);
	ASSERT_LINES(p, "cbtrace_attempts_total{" PAIR ",outcome=\"connected\"} 0",
		     "cbtrace_attempts_incomplete_total{cause=\"interrupted\"} 1");
	assert_without(p, "cbtrace_phase_duration_seconds");
	assert_without(p, "cbtrace_attempt_duration_seconds");
	h.attempt(fixture_unknown(), h.arg);
	ASSERT_LINES(p, "cbtrace_attempts_total{domain=\"\",server=\"\",outcome=\"failed\"} 0");
	prom_free(p);
}

static void bounds_of_the_histogram(void **state)
{
	struct report_attempt a = *fixture_unknown();
	struct prom *p = start(NULL);

	(void)state;
	a.outcome = OUTCOME_CONNECTED;
	a.total_ns = 0;
	h.attempt(&a, h.arg);
	a.total_ns = 100000;
	h.attempt(&a, h.arg);
	a.total_ns = 100001;
	h.attempt(&a, h.arg);
	a.total_ns = 120000000000;
	h.attempt(&a, h.arg);
	a.total_ns = 120000000001;
	h.attempt(&a, h.arg);
#define BUCKET(le) \
	"cbtrace_attempt_duration_seconds_bucket{domain=\"\",server=\"\",outcome=\"connected\",le=\"" le "\"} "
	ASSERT_LINES(p, BUCKET("0.0001") "2", BUCKET("0.00025") "3", BUCKET("60") "3", BUCKET("120") "4",
		     BUCKET("+Inf") "5");
	prom_free(p);
}

/* A made-up name each time must not push out the real ones, nor grow the table. */
static void the_101st_pair_shares_a_series(void **state)
{
	const struct prom_config config = {"example.com", "xmpp1.example.com", 0, false};
	struct report_attempt a = *fixture_dns_timeout();
	struct prom *p = start(&config);
	char name[64], *text;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "made-up-%d.example", i);
		a.domain = name;
		a.server = name;
		h.attempt(&a, h.arg);
	}
	h.attempt(fixture_good(), h.arg);
	ASSERT_LINES(p, "cbtrace_attempts_total{" PAIR ",outcome=\"connected\"} 1",
		     "cbtrace_attempts_total{domain=\"made-up-0.example\",server=\"made-up-0.example\",outcome="
		     "\"failed\"} 1",
		     /* 100 less the 10 kept for the configured one, which has one of the 90 already. */
		     "cbtrace_attempts_total{domain=\"_other\",server=\"_other\",outcome=\"failed\"} 911",
		     "cbtrace_series_overflow_total 911");
	text = text_of(p);
	for (const char *at = text; (at = strstr(at, "\ncbtrace_attempts_total{")); at++)
		n++;
	assert_int_equal(n, (90 + 1) * OUTCOMES);
	free(text);
	assert_promtool_finds_it_clean(p);
	prom_free(p);
}

static void a_configured_pair_is_there_from_the_start(void **state)
{
	const struct prom_config config = {"Example.COM", "XMPP1.example.com", 0, false};
	const struct prom_config domain_only = {"example.com", NULL, 0, false};
	struct prom *p = start(&config);

	(void)state;
	ASSERT_LINES(p, "cbtrace_attempts_total{" PAIR ",outcome=\"failed\"} 0");
	prom_free(p);
	p = start(&domain_only);
	ASSERT_LINES(p, "cbtrace_attempts_total{domain=\"example.com\",server=\"\",outcome=\"failed\"} 0");
	prom_free(p);
}

static void a_name_cannot_pass_for_the_shared_series(void **state)
{
	struct report_attempt a = *fixture_good();
	struct prom *p = start(NULL);

	(void)state;
	a.domain = "_other";
	h.attempt(&a, h.arg);
	ASSERT_LINES(p, "cbtrace_attempts_total{domain=\"_other\",server=\"_other\",outcome=\"connected\"} 1");
	/* Of many servers together no certificate is the last one. */
	assert_without(p, "cbtrace_certificate");
	prom_free(p);
}

static void hostile_names_are_escaped(void **state)
{
	struct prom *p = start(NULL);
	char *text;

	(void)state;
	h.attempt(fixture_hostile(), h.arg);
	text = text_of(p);
	for (const char *c = text; *c; c++)
		assert_true(*c == '\n' || ((unsigned char)*c >= 0x20 && *c != 0x7f));
	assert_non_null(strstr(text, "server=\"e\\\\u001b[31mvil\\\"\\\\\\\\u000a\xef\xbf\xbd\\\\u202e\""));
	free(text);
	assert_promtool_finds_it_clean(p);
	prom_free(p);
}

static void words_from_outside_are_bounded(void **state)
{
	struct report_attempt a = *fixture_dns_timeout();
	struct report_lookup lookup = a.lookups[0];
	struct prom *p = start(NULL);
	char reason[64], *text;
	size_t n = 0;

	(void)state;
	a.lookups = &lookup;
	a.reason = reason;
	for (uint16_t i = 0; i < 1000; i++) {
		snprintf(reason, sizeof(reason), "alert_received:%u", i);
		lookup.type = (uint16_t)(1000 + i);
		lookup.rcode = i;
		h.attempt(&a, h.arg);
	}
	text = text_of(p);
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		n++;
	assert_true(n < 4000);
	assert_non_null(strstr(text, "reason=\"_other\"} 936\n"));
	assert_non_null(strstr(text, "type=\"_other\""));
	assert_non_null(strstr(text, "rcode=\"_other\""));
	free(text);
	prom_free(p);
}

static void sessions_go_up_and_down(void **state)
{
	struct prom *p = start(NULL);
	struct report_session up = *fixture_session(SESSION_UP), down = *fixture_session(SESSION_DOWN);

	(void)state;
	h.session(&up, h.arg);
	up.id = 8; /* a second one of the same names */
	up.retransmits = 5;
	h.session(&up, h.arg);
#define SESSION "{" PAIR ",component=\"\"}"
	ASSERT_LINES(p, "cbtrace_session_up" SESSION " 1",
		     "cbtrace_session_start_time_seconds" SESSION " 1795323600.123456789",
		     "cbtrace_session_rtt_seconds" SESSION " 0.001250000",
		     "cbtrace_session_retransmits_total" SESSION " 5");
	down.rtt_ns = NS_UNKNOWN;
	h.session(&down, h.arg);
	ASSERT_LINES(p, "cbtrace_session_up" SESSION " 1", "cbtrace_session_retransmits_total" SESSION " 7",
		     "cbtrace_sessions_ended_total{" PAIR ",component=\"\",reason=\"fin\"} 1");
	down.id = 8;
	down.retransmits = 6;
	down.end_reason = "timeout";
	h.session(&down, h.arg);
	h.session(&down, h.arg); /* an end without a start */
	ASSERT_LINES(p, "cbtrace_session_up" SESSION " 0", "cbtrace_session_retransmits_total" SESSION " 8",
		     "cbtrace_sessions_ended_total{" PAIR ",component=\"\",reason=\"timeout\"} 2");
	assert_without(p, "cbtrace_session_rtt_seconds");
	h.session(fixture_session(SESSION_UP), h.arg);
	ASSERT_LINES(p, "cbtrace_session_up" SESSION " 1", "cbtrace_session_retransmits_total" SESSION " 8");
	assert_promtool_finds_it_clean(p);
	prom_free(p);
}

static void more_sessions_than_are_followed(void **state)
{
	struct report_session s = *fixture_session(SESSION_UP);
	struct prom *p = start(NULL);

	(void)state;
	for (s.id = 1; s.id <= PROM_SESSIONS_MAX + 5; s.id++)
		h.session(&s, h.arg);
	ASSERT_LINES(p, "cbtrace_series_overflow_total 5", "cbtrace_session_up" SESSION " 1");
	prom_free(p);
}

static void health(void **state)
{
	const struct prom_config config = {NULL, NULL, 0, true};
	struct prom *p = start(&config);
	struct report_lost lost = {.count = {[CBT_LOST_RING] = 9, [CBT_LOST_RECORDER] = 1}};

	(void)state;
	ASSERT_LINES(p, "cbtrace_events_total{type=\"dns\"} 0", "cbtrace_events_total{type=\"end\"} 0",
		     "cbtrace_events_lost_total{stage=\"ring\"} 0", "cbtrace_attempts_in_flight 0",
		     "cbtrace_series_overflow_total 0", "cbtrace_build_info{version=\"" CBTRACE_VERSION "\"} 1");
	for (int i = 0; i < 3; i++)
		prom_count_event(p, CBT_EV_DNS);
	prom_count_event(p, 9999);
	prom_set_in_flight(p, 4);
	h.lost(&lost, h.arg);
	lost.count[CBT_LOST_RING] = 2; /* never falls */
	h.lost(&lost, h.arg);
	ASSERT_LINES(p, "cbtrace_events_total{type=\"dns\"} 3", "cbtrace_events_total{type=\"unknown\"} 1",
		     "cbtrace_events_lost_total{stage=\"ring\"} 9", "cbtrace_events_lost_total{stage=\"recorder\"} 1",
		     "cbtrace_attempts_in_flight 4", "# TYPE process_cpu_seconds_total counter",
		     "# TYPE process_resident_memory_bytes gauge", "# TYPE process_start_time_seconds gauge",
		     "# TYPE process_open_fds gauge");
	assert_promtool_finds_it_clean(p);
	prom_free(p);
	prom_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_attempt_is_counted),
		cmocka_unit_test(failures_have_phase_and_reason),
		cmocka_unit_test(interrupted_has_no_outcome_and_no_lengths),
		cmocka_unit_test(bounds_of_the_histogram),
		cmocka_unit_test(the_101st_pair_shares_a_series),
		cmocka_unit_test(a_configured_pair_is_there_from_the_start),
		cmocka_unit_test(a_name_cannot_pass_for_the_shared_series),
		cmocka_unit_test(hostile_names_are_escaped),
		cmocka_unit_test(words_from_outside_are_bounded),
		cmocka_unit_test(sessions_go_up_and_down),
		cmocka_unit_test(more_sessions_than_are_followed),
		cmocka_unit_test(health),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
