// SPDX-License-Identifier: BSD-2-Clause
/* The command line: values, every wrong value, and the help text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "addr.h"
#include "options.h"

#define ARGS_MAX 24
#define LINE_MAX 400

/* Parses "cbtrace " and the words of @line (separated by one blank; "~" stands for an empty word). */
static int parse(const char *line, struct options *o, struct failure *f)
{
	static char words[LINE_MAX]; /* options point into it */
	char *argv[ARGS_MAX] = {(char *)"cbtrace"};
	int argc = 1;

	assert_true(strlen(line) < sizeof(words));
	strcpy(words, line);
	for (char *save = NULL, *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		assert_true(argc + 1 < ARGS_MAX);
		argv[argc++] = strcmp(w, "~") == 0 ? w + 1 : w;
	}
	f->text[0] = '\0';
	return options_parse(argc, argv, o, f);
}

static void parsed(const char *line, struct options *o)
{
	struct failure f;

	if (parse(line, o, &f) != 0)
		fail_msg("'%s' refused: %s", line, f.text);
}

static void defaults_are_those_of_the_design(void **state)
{
	struct options o;
	char text[ADDR_TEXT_MAX];

	(void)state;
	parsed("", &o);
	assert_int_equal(o.command, COMMAND_WATCH);
	assert_int_equal(o.n_ports, 1);
	assert_int_equal(o.ports[0], 5223);
	assert_int_equal(o.idle_ns, 10000000000);
	assert_int_equal(o.slow_ns, 0);
	assert_int_equal(o.pid, 0);
	assert_null(o.cgroup);
	assert_null(o.comm);
	assert_string_equal(o.unit, "");
	assert_string_equal(o.domain, "");
	assert_int_equal(o.color, COLOR_AUTO);
	assert_string_equal(addr_endpoint_text(&o.listen, text), "127.0.0.1:10523");
	assert_false(o.json || o.events || o.once || o.metrics || o.verbose);
}

static void commands_and_options_in_any_order(void **state)
{
	static const struct {
		const char *line;
		enum command command;
	} cases[] = {
		{"watch", COMMAND_WATCH},
		{"--json", COMMAND_WATCH},
		{"--json --events --once watch", COMMAND_WATCH},
		{"export --listen [::1]:0", COMMAND_EXPORT},
		{"record -o f --json --once", COMMAND_RECORD},
		{"-of record", COMMAND_RECORD},
		{"replay file --json", COMMAND_REPLAY},
		{"replay --metrics file", COMMAND_REPLAY},
		{"replay -- --odd-name", COMMAND_REPLAY},
		{"check --cgroup /x --pid 1", COMMAND_CHECK},
		{"--version", COMMAND_VERSION},
		{"-V", COMMAND_VERSION},
		{"help", COMMAND_HELP},
		{"--help", COMMAND_HELP},
		{"watch --help", COMMAND_HELP},
		{"replay --help", COMMAND_HELP},
		{"export --once --help", COMMAND_HELP},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct options o;

		parsed(cases[i].line, &o);
		if (o.command != cases[i].command)
			fail_msg("'%s' is command %d", cases[i].line, o.command);
	}
}

static void help_knows_its_topic(void **state)
{
	struct options o;

	(void)state;
	parsed("--help", &o);
	assert_int_equal(o.topic, COMMAND_NONE);
	parsed("record --help", &o);
	assert_int_equal(o.topic, COMMAND_RECORD);
	parsed("help replay", &o);
	assert_int_equal(o.topic, COMMAND_REPLAY);
}

static void values_are_kept(void **state)
{
	struct options o;
	char text[ADDR_TEXT_MAX];

	(void)state;
	parsed("--port 5222 -p 65535 --port 5223 --port=1 --domain Example.COM. --server xmpp1.Example.com --pid "
	       "4194304",
	       &o);
	assert_int_equal(o.n_ports, 4);
	assert_int_equal(o.ports[1], 5222);
	assert_int_equal(o.ports[2], 65535);
	assert_int_equal(o.ports[3], 1);
	assert_string_equal(o.domain, "example.com");
	assert_string_equal(o.server, "xmpp1.example.com");
	assert_int_equal(o.pid, 4194304);
	parsed("--slow 0.5 --idle 2.5 --comm callbridge --cgroup /a/b --ring-size 64K", &o);
	assert_int_equal(o.slow_ns, 500000);
	assert_int_equal(o.idle_ns, 2500000000);
	assert_string_equal(o.comm, "callbridge");
	assert_string_equal(o.cgroup, "/a/b");
	assert_int_equal(o.ring_bytes, 65536);
	parsed("--ring-size 512M --no-library --no-color", &o);
	assert_int_equal(o.ring_bytes, 512 << 20);
	assert_int_equal(o.color, COLOR_NEVER);
	assert_true(o.no_library);
	parsed("--no-color --color", &o);
	assert_int_equal(o.color, COLOR_ALWAYS);
	parsed("--ring-size 131072", &o);
	assert_int_equal(o.ring_bytes, 131072);
	parsed("export --listen localhost:9000", &o);
	assert_string_equal(addr_endpoint_text(&o.listen, text), "127.0.0.1:9000");
	parsed("export --listen [2001:db8::1]:80", &o);
	assert_string_equal(addr_endpoint_text(&o.listen, text), "[2001:db8::1]:80");
	parsed("record -o out.cbt", &o);
	assert_string_equal(o.file, "out.cbt");
	parsed("replay in.cbt", &o);
	assert_string_equal(o.file, "in.cbt");
}

static void units_get_a_suffix(void **state)
{
	static const char *const cases[][2] = {
		{"callbridge", "callbridge.service"}, {"callbridge.service", "callbridge.service"},
		{"run-r1.scope", "run-r1.scope"},     {"user.slice", "user.slice"},
		{"bridge@1", "bridge@1.service"},     {"a.b", "a.b.service"},
		{".service", ".service.service"},     {"x\\x2dy", "x\\x2dy.service"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[LINE_MAX];
		struct options o;

		snprintf(line, sizeof(line), "--unit %s", cases[i][0]);
		parsed(line, &o);
		assert_string_equal(o.unit, cases[i][1]);
	}
}

#define N63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define N64 N63 "a"
#define N253                    \
	N63 "." N63 "." N63 "." \
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void longest_names_fit(void **state)
{
	struct options o;

	(void)state;
	parsed("--domain " N253, &o);
	assert_int_equal(strlen(o.domain), 253);
	parsed("--domain " N253 ".", &o);
	parsed("--comm 123456789012345", &o);
}

static void wrong_lines_give_one_line_and_leave_the_result_alone(void **state)
{
	/* What must be in the message: the option, or the remedy. */
	static const char *const cases[][2] = {
		{"--port 0", "1 to 65535"},
		{"--port 65536", "1 to 65535"},
		{"--port -1", "1 to 65535"},
		{"--port +1", "1 to 65535"},
		{"--port 0x10", "1 to 65535"},
		{"--port 5223x", "1 to 65535"},
		{"--port ~", "''"},
		{"--port 99999999999999999999999", "1 to 65535"},
		{"--port", "--port N"},
		{"-p", "--port N"},
		{"--domain ~", "example.com"},
		{"--domain .", "example.com"},
		{"--domain a..b", "extra dot"},
		{"--domain .a", "extra dot"},
		{"--domain a..", "extra dot"},
		{"--domain a/b", "letters"},
		{"--domain a\nb", "letters"},
		{"--domain caf\xc3\xa9.fr", "xn--"},
		{"--domain 10.0.0.1", "not a name"},
		{"--domain 2001:db8::1", "letters"},
		{"--domain " N64 ".com", "63"},
		{"--domain " N253 "a", "253"},
		{"--domain a --domain b", "twice"},
		{"--server ~", "example.com"},
		{"--server a b", "unknown command b"},
		{"--unit ~", "systemctl"},
		{"--unit /a", "systemctl"},
		{"--unit a.service/b", "--cgroup"},
		{"--cgroup ~", "directory"},
		{"--comm ~", "/proc/PID/comm"},
		{"--comm 1234567890123456", "15 bytes"},
		{"--pid 0", "4194304"},
		{"--pid -1", "4194304"},
		{"--pid 4194305", "4194304"},
		{"--pid self", "4194304"},
		{"--slow -1", "milliseconds"},
		{"--slow ~", "milliseconds"},
		{"--slow 1.", "milliseconds"},
		{"--slow .5", "milliseconds"},
		{"--slow 1.x", "milliseconds"},
		{"--slow 1e3", "milliseconds"},
		{"--slow 99999999999999999999", "milliseconds"},
		{"--idle 0", "3600"},
		{"--idle 0.999", "3600"},
		{"--idle 3601", "3600"},
		{"--idle ten", "3600"},
		{"--ring-size 0", "power of two"},
		{"--ring-size 100000", "power of two"},
		{"--ring-size 32K", "power of two"},
		{"--ring-size 1024M", "power of two"},
		{"--ring-size M", "power of two"},
		{"--ring-size 1G", "power of two"},
		{"--ring-size -1", "power of two"},
		{"--ring-size 18446744073709551616", "power of two"},
		{"export --listen 10523", "ADDRESS:PORT"},
		{"export --listen ~", "ADDRESS:PORT"},
		{"export --listen 127.0.0.1:", "ADDRESS:PORT"},
		{"export --listen 127.0.0.1:65536", "ADDRESS:PORT"},
		{"export --listen :10523", "127.0.0.1"},
		{"export --listen ::1:10523", "brackets"},
		{"export --listen [127.0.0.1]:10523", "127.0.0.1"},
		{"export --listen []:10523", "127.0.0.1"},
		{"export --listen host.example:1", "127.0.0.1"},
		{"export --listen 300.0.0.1:1", "127.0.0.1"},
		{"record", "-o FILE"},
		{"record -o", "--output FILE"},
		{"record -o ~", "file"},
		{"record -o a -o b", "twice"},
		{"record --json -o -", "give -o a file"},
		{"record file -o a", "what is file"},
		{"replay", "replay FILE"},
		{"replay a b", "what is b"},
		{"replay a --json --metrics", "one of them"},
		{"replay a --pid 1", "no option --pid"},
		{"replay a --once", "no option --once"},
		{"watch a", "what is a"},
		{"watch --metrics", "no option --metrics"},
		{"watch -o f", "no option --output"},
		{"export --once", "no option --once"},
		{"export --json", "no option --json"},
		{"check --port 1", "no option --port"},
		{"pcap file", "unknown command"},
		{"wacth", "unknown command"},
		{"~", "unknown command"},
		{"help nothing", "unknown command"},
		{"help watch record", "what is record"},
		{"--nothing", "unknown or ambiguous option --nothing"},
		{"--textfile x", "unknown or ambiguous option --textfile"},
		{"--co x", "unknown or ambiguous option --co"},
		{"--json=1", "takes no value"},
		{"-x", "unknown option -x"},
		{"-", "unknown command -"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct options o;
		struct failure f;

		memset(&o, 0x5a, sizeof(o));
		if (parse(cases[i][0], &o, &f) != -EINVAL)
			fail_msg("'%s' accepted", cases[i][0]);
		for (size_t b = 0; b < sizeof(o); b++)
			assert_int_equal(((unsigned char *)&o)[b], 0x5a);
		if (!strstr(f.text, cases[i][1]) || strchr(f.text, '\n'))
			fail_msg("'%s' says: %s", cases[i][0], f.text);
	}
}

static void too_many_ports_are_refused(void **state)
{
	struct options o;
	struct failure f;

	(void)state;
	parsed("-p1 -p2 -p3 -p4 -p5 -p6 -p7 -p8 -p9 -p10 -p11 -p12 -p13 -p14 -p15", &o);
	assert_int_equal(o.n_ports, OPTIONS_PORTS_MAX);
	assert_int_equal(parse("-p1 -p2 -p3 -p4 -p5 -p6 -p7 -p8 -p9 -p10 -p11 -p12 -p13 -p14 -p15 -p16", &o, &f),
			 -EINVAL);
	assert_non_null(strstr(f.text, "too many"));
}

static void help_names_each_option_once(const char *text)
{
	for (const char *at = strstr(text, "  --"); at; at = strstr(at + 1, "  --")) {
		char name[34];

		assert_int_equal(sscanf(at, "%31s", name), 1);
		strcat(name, " ");
		for (const char *later = at + 4; (later = strstr(later, name)); later++)
			if (strncmp(later - 2, "  ", 2) == 0)
				fail_msg("%s stands twice", name);
	}
}

static void help_fits_a_terminal(void **state)
{
	(void)state;
	for (unsigned int topic = 0; topic <= COMMAND_NONE; topic++) {
		char *text = NULL;
		size_t size = 0;
		FILE *out = open_memstream(&text, &size);

		assert_non_null(out);
		options_help(out, (enum command)topic);
		assert_int_equal(fclose(out), 0);
		assert_non_null(strstr(text, "Usage: cbtrace"));
		help_names_each_option_once(text);
		for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			if (strlen(line) > 100)
				fail_msg("help of %u is too wide: %s", topic, line);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_design),
		cmocka_unit_test(commands_and_options_in_any_order),
		cmocka_unit_test(help_knows_its_topic),
		cmocka_unit_test(values_are_kept),
		cmocka_unit_test(units_get_a_suffix),
		cmocka_unit_test(longest_names_fit),
		cmocka_unit_test(wrong_lines_give_one_line_and_leave_the_result_alone),
		cmocka_unit_test(too_many_ports_are_refused),
		cmocka_unit_test(help_fits_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
