// SPDX-License-Identifier: BSD-2-Clause
/* The command line; see options.h. A new command or option is a row in a table here. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "options.h"

#define IDLE_DEFAULT_NS	  (10ULL * 1000000000)
#define RING_DEFAULT	  (8U << 20)
#define RING_MIN	  (64U << 10)
#define RING_MAX	  (512U << 20)
#define PID_MAX_LIMIT	  4194304 /* of 64-bit kernels, include/linux/threads.h */
#define CGROUP_TEXT_MAX	  1023
#define HELP_COLUMN	  24 /* where the explanations begin */
#define FIRST_OPTION_CODE 256

struct command_row {
	const char *name;
	const char *argument; /* as help shows it */
	const char *help;
	size_t operands; /* operands after the command's name, at most */
};

static const struct command_row commands[COMMANDS] = {
	[COMMAND_WATCH] = {"watch", "", "show attempts live, phase by phase (the default command)", 0},
	[COMMAND_EXPORT] = {"export", "", "serve Prometheus metrics over HTTP", 0},
	[COMMAND_RECORD] = {"record", "-o FILE", "keep the events of attempts in FILE, for replay", 0},
	[COMMAND_REPLAY] = {"replay", "FILE", "show the attempts of a recording", 1},
	[COMMAND_CHECK] = {"check", "", "say whether this host is ready, and what to do if not", 0},
	[COMMAND_HELP] = {"help", "[COMMAND]", "this text, or that of one command", 1},
};

#define FOR(command) (1U << COMMAND_##command)
#define FOR_LIVE     (FOR(WATCH) | FOR(EXPORT) | FOR(RECORD))
#define FOR_REPORTS  (FOR(WATCH) | FOR(RECORD) | FOR(REPLAY))
#define FOR_ALL	     (FOR_LIVE | FOR(REPLAY) | FOR(CHECK) | FOR(HELP))

/* Each setter gets its row for the option's name; @value is NULL for a flag. */
struct option_row {
	const char *name;
	char letter;	      /* 0 none */
	const char *argument; /* NULL: a flag */
	unsigned int commands;
	bool many; /* may be given several times */
	const char *help;
	int (*set)(const struct option_row *row, const char *value, struct options *o, struct failure *f);
	size_t offset; /* of what flag_set() sets */
};

/* @value as an error line may show it. */
#define SHOW "%.100s"

static int bad(const struct option_row *row, const char *value, const char *remedy, struct failure *f)
{
	return failure_set(f, -EINVAL, "--%s " SHOW ": %s", row->name, *value ? value : "''", remedy);
}

/* Digits only: no sign, no blank, no overflow. */
static bool number_parse(const char *text, size_t len, uint64_t max, uint64_t *ret_number)
{
	uint64_t n = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		unsigned int digit = (unsigned int)(text[i] - '0');
		if (n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*ret_number = n;
	return true;
}

/* A decimal number of @unit ns each, as "2" or "0.5". */
static bool duration_parse(const char *text, uint64_t unit, uint64_t max_units, uint64_t *ret_ns)
{
	const char *dot = strchr(text, '.');
	size_t whole_len = dot ? (size_t)(dot - text) : strlen(text);
	uint64_t whole, ns;

	if (!number_parse(text, whole_len, max_units, &whole))
		return false;
	ns = whole * unit;
	if (dot) {
		if (!dot[1])
			return false;
		for (const char *p = dot + 1; *p; p++) {
			if (!isdigit((unsigned char)*p))
				return false;
			unit /= 10;
			ns += (uint64_t)(*p - '0') * unit;
		}
	}
	*ret_ns = ns;
	return true;
}

static int flag_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	(void)value;
	(void)f;
	*(bool *)((char *)o + row->offset) = true;
	return 0;
}

static int port_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	uint64_t port;

	if (!number_parse(value, strlen(value), 65535, &port) || port == 0)
		return bad(row, value, "not a TCP port; give a number from 1 to 65535", f);
	for (size_t i = 0; i < o->n_ports; i++)
		if (o->ports[i] == port)
			return 0;
	if (o->n_ports == OPTIONS_PORTS_MAX)
		return failure_set(f, -EINVAL,
				   "--port " SHOW ": too many; at most %d besides 5223 (ports that SRV answers "
				   "name are traced anyway)",
				   value, OPTIONS_PORTS_MAX - 1);
	o->ports[o->n_ports++] = (uint16_t)port;
	return 0;
}

/* RFC 1035 section 2.3.4 on lengths; letters, digits, hyphens, and the underscore of service names. */
static int name_set(const struct option_row *row, const char *value, char *ret_name, struct failure *f)
{
	char name[OPTIONS_NAME_MAX];
	size_t len = strlen(value), label = 0;
	bool digits = true;

	if (len > 0 && value[len - 1] == '.')
		len--;
	if (len == 0)
		return bad(row, value, "not a domain name; give one such as example.com", f);
	if (len >= sizeof(name))
		return bad(row, value, "longer than the 253 characters of a domain name; check it for extra text", f);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c == '.') {
			if (label == 0)
				return bad(row, value, "has an empty label; remove the extra dot", f);
			label = 0;
			digits = true;
		} else if (c >= 0x80) {
			return bad(row, value, "not ASCII; give the name in its xn-- form", f);
		} else if (!isalnum(c) && c != '-' && c != '_') {
			return bad(row, value, "not a domain name; use letters, digits, hyphens and dots only", f);
		} else if (++label > 63) {
			return bad(row, value, "has a label longer than 63 characters; check it for a missing dot", f);
		} else {
			digits = digits && isdigit(c);
		}
		name[i] = (char)tolower(c);
	}
	if (label == 0)
		return bad(row, value, "has an empty label; remove the extra dot", f);
	if (digits)
		return bad(row, value, "an address, not a name; give the name that certificate and DNS use", f);
	name[len] = '\0';
	memcpy(ret_name, name, len + 1);
	return 0;
}

static int domain_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	return name_set(row, value, o->domain, f);
}

static int server_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	return name_set(row, value, o->server, f);
}

/* The unit types that have a cgroup; anything else after a dot is part of a service's name. */
static bool unit_has_suffix(const char *name)
{
	static const char *const suffixes[] = {".service", ".scope", ".slice", ".socket", ".mount", ".swap"};
	size_t len = strlen(name);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t n = strlen(suffixes[i]);

		if (len > n && strcmp(name + len - n, suffixes[i]) == 0)
			return true;
	}
	return false;
}

static int unit_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	const char *suffix = unit_has_suffix(value) ? "" : ".service";

	if (!*value)
		return bad(row, value, "empty; give a unit's name as `systemctl` lists it", f);
	if (value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")])
		return bad(row, value, "not a unit's name; give one as `systemctl` lists it, or use --cgroup PATH", f);
	if (snprintf(o->unit, sizeof(o->unit), "%s%s", value, suffix) >= (int)sizeof(o->unit))
		return bad(row, value, "longer than the 255 characters of a unit's name; check it", f);
	return 0;
}

static int cgroup_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	if (!*value)
		return bad(row, value, "empty; give a directory of the cgroup v2 file system", f);
	if (strlen(value) > CGROUP_TEXT_MAX)
		return bad(row, value, "longer than 1023 characters; give a shorter path", f);
	o->cgroup = value;
	return 0;
}

static int pid_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	uint64_t pid;

	if (!number_parse(value, strlen(value), PID_MAX_LIMIT, &pid) || pid == 0)
		return bad(row, value, "not a process id; give a number from 1 to 4194304", f);
	o->pid = (uint32_t)pid;
	return 0;
}

static int comm_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	if (!*value)
		return bad(row, value, "empty; give a name as /proc/PID/comm shows it", f);
	if (strlen(value) >= CBT_COMM_LEN)
		return bad(row, value, "longer than 15 bytes; give the name as /proc/PID/comm shows it, which is cut",
			   f);
	o->comm = value;
	return 0;
}

static int slow_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	if (!duration_parse(value, 1000000, 86400000, &o->slow_ns))
		return bad(row, value, "not a time; give milliseconds, such as 250 or 0.5", f);
	return 0;
}

static int idle_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	uint64_t ns;

	if (!duration_parse(value, 1000000000, 3600, &ns) || ns < 1000000000)
		return bad(row, value, "not a usable time; give seconds from 1 to 3600", f);
	o->idle_ns = ns;
	return 0;
}

static int listen_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	const char *colon = strrchr(value, ':');
	struct cbt_endpoint e = {0};
	char host[ADDR_TEXT_MAX];
	uint64_t port;
	size_t len;

	if (!colon || !number_parse(colon + 1, strlen(colon + 1), 65535, &port))
		return bad(row, value, "not ADDRESS:PORT; give one such as 127.0.0.1:10523 or [::1]:10523", f);
	len = (size_t)(colon - value);
	if (len >= 2 && value[0] == '[' && value[len - 1] == ']') {
		value++;
		len -= 2;
		if (!memchr(value, ':', len))
			len = 0; /* brackets are for IPv6 */
	} else if (memchr(value, ':', len)) {
		return bad(row, value, "ambiguous; put an IPv6 address in brackets, such as [::1]:10523", f);
	}
	if (len >= sizeof(host))
		len = 0;
	memcpy(host, value, len);
	host[len] = '\0';
	if (addr_parse(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, e.addr) != 0)
		return bad(row, value, "not an address of this host; give digits, such as 127.0.0.1:10523", f);
	e.port = (uint16_t)port;
	o->listen = e;
	return 0;
}

static int output_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	if (!*value)
		return bad(row, value, "empty; name the file to write", f);
	o->file = value;
	return 0;
}

static int ring_size_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	size_t len = strlen(value);
	unsigned int shift = 0;
	uint64_t n;

	if (len > 0 && (value[len - 1] == 'K' || value[len - 1] == 'M')) {
		shift = value[len - 1] == 'K' ? 10 : 20;
		len--;
	}
	if (!number_parse(value, len, RING_MAX >> shift, &n) || (n << shift) < RING_MIN || (n & (n - 1)) != 0)
		return bad(row, value, "not usable; give a power of two from 64K to 512M", f);
	o->ring_bytes = (size_t)(n << shift);
	return 0;
}

static int color_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	(void)value;
	(void)f;
	o->color = strcmp(row->name, "color") == 0 ? COLOR_ALWAYS : COLOR_NEVER;
	return 0;
}

static int help_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	(void)row;
	(void)value;
	(void)f;
	o->topic = COMMAND_HELP; /* settled when the command is known */
	return 0;
}

static int version_set(const struct option_row *row, const char *value, struct options *o, struct failure *f)
{
	(void)row;
	(void)value;
	(void)f;
	o->command = COMMAND_VERSION;
	return 0;
}

#define FLAG(member) .set = flag_set, .offset = offsetof(struct options, member)

static const struct option_row rows[] = {
	{"port", 'p', "N", FOR_LIVE | FOR(REPLAY), true, "trace TCP port N too; 5223 always is", port_set, 0},
	{"domain", 'd', "NAME", FOR_LIVE | FOR(REPLAY), false, "the XMPP domain configured; only its attempts",
	 domain_set, 0},
	{"server", 's', "FQDN", FOR_LIVE | FOR(REPLAY), false, "the XMPP server configured; only its attempts",
	 server_set, 0},
	{"unit", 'u', "NAME", FOR_LIVE | FOR(CHECK), false, "only this systemd unit, also one that starts later",
	 unit_set, 0},
	{"cgroup", 'c', "PATH", FOR_LIVE | FOR(CHECK), false, "only this cgroup v2 directory and those below it",
	 cgroup_set, 0},
	{"pid", 0, "PID", FOR_LIVE | FOR(CHECK), false, "only this process", pid_set, 0},
	{"comm", 0, "NAME", FOR_LIVE, false, "only processes of this name, as /proc/PID/comm shows it", comm_set, 0},
	{"idle", 0, "SECONDS", FOR_LIVE | FOR(REPLAY), false, "an attempt ends after this long without a step; 10",
	 idle_set, 0},
	{"slow", 0, "MS", FOR(WATCH) | FOR(REPLAY), false, "only attempts slower than this, or not successful",
	 slow_set, 0},
	{"json", 'j', NULL, FOR_REPORTS, true, "one JSON object a line, on standard output", FLAG(json)},
	{"events", 'e', NULL, FOR_REPORTS, true, "each lookup and connection too, as it happens", FLAG(events)},
	{"once", 0, NULL, FOR(WATCH) | FOR(RECORD), true, "end after the first attempt; status 3 if it failed",
	 FLAG(once)},
	{"metrics", 'm', NULL, FOR(REPLAY), true, "Prometheus text instead of timelines", FLAG(metrics)},
	{"listen", 'l', "ADDR:PORT", FOR(EXPORT), false, "where to serve; 127.0.0.1:10523", listen_set, 0},
	{"output", 'o', "FILE", FOR(RECORD), false, "the recording to write, mode 0600", output_set, 0},
	{"no-library", 0, NULL, FOR_LIVE, true, "do not look inside TLS (certificate of 1.3, registration)",
	 FLAG(no_library)},
	{"ring-size", 0, "BYTES", FOR_LIVE, false, "size of the kernel's event buffer, such as 16M; 8M", ring_size_set,
	 0},
	{"color", 0, NULL, FOR(WATCH) | FOR(REPLAY), true, "colours even if the output is no terminal", color_set, 0},
	{"no-color", 0, NULL, FOR(WATCH) | FOR(REPLAY), true, "no colours", color_set, 0},
	{"verbose", 'v', NULL, FOR_ALL, true, "tell more on standard error", FLAG(verbose)},
	{"help", 'h', NULL, FOR_ALL, true, "this text", help_set, 0},
	{"version", 'V', NULL, FOR_ALL, true, "the version", version_set, 0},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static enum command command_find(const char *name)
{
	for (unsigned int i = 0; i < COMMANDS; i++)
		if (commands[i].name && strcmp(commands[i].name, name) == 0)
			return (enum command)i;
	return COMMAND_NONE;
}

/* getopt's own tables, made from ours. */
struct getopt_tables {
	struct option longs[N_ROWS + 1];
	char shorts[2 * N_ROWS + 2];
};

static void getopt_tables_fill(struct getopt_tables *t)
{
	char *s = t->shorts;

	memset(t, 0, sizeof(*t));
	*s++ = ':'; /* a missing argument is ':', not '?' */
	for (size_t i = 0; i < N_ROWS; i++) {
		t->longs[i].name = rows[i].name;
		t->longs[i].has_arg = rows[i].argument ? required_argument : no_argument;
		t->longs[i].val = FIRST_OPTION_CODE + (int)i;
		if (rows[i].letter) {
			*s++ = rows[i].letter;
			if (rows[i].argument)
				*s++ = ':';
		}
	}
}

/* The row of what getopt returned or left in optopt; NULL if there is none. */
static const struct option_row *row_of_code(int code)
{
	if (code >= FIRST_OPTION_CODE && code < FIRST_OPTION_CODE + (int)N_ROWS)
		return &rows[code - FIRST_OPTION_CODE];
	for (size_t i = 0; i < N_ROWS; i++)
		if (code && rows[i].letter == code)
			return &rows[i];
	return NULL;
}

static int getopt_failure(int code, char *const argv[], struct failure *f)
{
	const struct option_row *row = row_of_code(optopt);

	if (code == ':')
		return failure_set(f, -EINVAL, "--%s needs a value: --%s %s", row->name, row->name, row->argument);
	if (row)
		return failure_set(f, -EINVAL, "--%s takes no value; write it alone", row->name);
	if (optopt)
		return failure_set(f, -EINVAL, "unknown option -%c; `cbtrace --help` lists them", optopt);
	return failure_set(f, -EINVAL, "unknown or ambiguous option " SHOW "; `cbtrace --help` lists them",
			   argv[optind - 1]);
}

/* Reads all options; @seen has a bit for each row given. Operands are left at argv[optind] onwards. */
static int options_read(int argc, char **argv, struct options *o, uint32_t *seen, struct failure *f)
{
	_Static_assert(N_ROWS <= 32, "a bit for each row");
	struct getopt_tables tables;
	int code;

	getopt_tables_fill(&tables);
	opterr = 0;
	optind = 0; /* glibc: start anew */
	while ((code = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
		const struct option_row *row = row_of_code(code);
		uint32_t bit;
		int r;

		if (code == ':' || !row)
			return getopt_failure(code, argv, f);
		bit = 1U << (row - rows);
		if ((*seen & bit) && !row->many)
			return failure_set(f, -EINVAL, "--%s given twice; give it once", row->name);
		*seen |= bit;
		r = row->set(row, optarg, o, f);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What the options mean together, and the operands of the command. */
static int options_settle(struct options *o, uint32_t seen, char *const *operands, size_t n, struct failure *f)
{
	const struct command_row *command = &commands[o->command];

	for (size_t i = 0; i < N_ROWS; i++)
		if ((seen & (1U << i)) && !(rows[i].commands & (1U << o->command)))
			return failure_set(f, -EINVAL, "%s has no option --%s; `cbtrace %s --help` lists those it has",
					   command->name, rows[i].name, command->name);
	if (n > command->operands)
		return failure_set(f, -EINVAL, "what is " SHOW "? write: cbtrace %s%s%s [OPTION]…",
				   operands[command->operands], command->name, *command->argument ? " " : "",
				   command->argument);
	switch (o->command) {
	case COMMAND_REPLAY:
		if (n == 0)
			return failure_set(f, -EINVAL, "replay needs a recording: cbtrace replay FILE");
		if (o->json && o->metrics)
			return failure_set(f, -EINVAL, "--json and --metrics both want the output; give one of them");
		o->file = operands[0];
		break;
	case COMMAND_RECORD:
		if (!o->file)
			return failure_set(f, -EINVAL, "record needs a file to write: cbtrace record -o FILE");
		if (o->json && strcmp(o->file, "-") == 0)
			return failure_set(f, -EINVAL, "--json and -o - both want the output; give -o a file");
		break;
	case COMMAND_HELP:
		o->topic = n > 0 ? command_find(operands[0]) : COMMAND_NONE;
		if (n > 0 && o->topic == COMMAND_NONE)
			return failure_set(f, -EINVAL, "unknown command " SHOW "; `cbtrace help` lists them",
					   operands[0]);
		break;
	default:
		break;
	}
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options, struct failure *f)
{
	struct options o = {
		.command = COMMAND_WATCH,
		.topic = COMMAND_NONE,
		.ports = {XMPP_COMPONENT_PORT},
		.n_ports = 1,
		.idle_ns = IDLE_DEFAULT_NS,
		.ring_bytes = RING_DEFAULT,
		.listen.port = EXPORTER_PORT,
	};
	char *const *operands;
	uint32_t seen = 0;
	size_t n;
	int r;

	addr_parse("127.0.0.1", o.listen.addr);
	r = options_read(argc, argv, &o, &seen, f);
	if (r < 0)
		return r;
	operands = argv + optind;
	n = argc > optind ? (size_t)(argc - optind) : 0;
	if (o.command != COMMAND_VERSION && n > 0) {
		o.command = command_find(operands[0]);
		if (o.command == COMMAND_NONE)
			return failure_set(f, -EINVAL, "unknown command " SHOW "; `cbtrace help` lists them",
					   operands[0]);
	}
	if (o.topic == COMMAND_HELP && o.command != COMMAND_VERSION) {
		/* Whoever asks for help gets it, whatever else is wrong. */
		o.topic = n > 0 && o.command != COMMAND_HELP ? o.command : COMMAND_NONE;
		o.command = COMMAND_HELP;
	} else if (o.command != COMMAND_VERSION) {
		r = options_settle(&o, seen, operands + (n > 0), n > 0 ? n - 1 : 0, f);
		if (r < 0)
			return r;
	}
	*ret_options = o;
	return 0;
}

static void help_commands(FILE *out)
{
	fputs("\nCommands:\n", out);
	for (size_t i = 0; i < COMMANDS; i++) {
		char left[HELP_COLUMN];

		if (!commands[i].name)
			continue;
		snprintf(left, sizeof(left), "%s%s%s", commands[i].name, *commands[i].argument ? " " : "",
			 commands[i].argument);
		fprintf(out, "  %-*s%s\n", HELP_COLUMN, left, commands[i].help);
	}
}

static void help_option(FILE *out, const struct option_row *row)
{
	char left[HELP_COLUMN + 8], letter[] = "-x,";

	letter[1] = row->letter;
	snprintf(left, sizeof(left), "%-3s --%s%s%s", row->letter ? letter : "", row->name, row->argument ? " " : "",
		 row->argument ? row->argument : "");
	fprintf(out, "  %-*s%s\n", HELP_COLUMN, left, row->help);
}

void options_help(FILE *out, enum command topic)
{
	bool whole = topic >= COMMANDS || !commands[topic].name;

	if (whole)
		fputs("Usage: cbtrace [COMMAND] [OPTION]…\n\n"
		      "Shows how a Callbridge finds, reaches and registers with its XMPP server, phase by phase.\n",
		      out);
	else
		fprintf(out, "Usage: cbtrace %s%s%s [OPTION]…\n\n%s: %s.\n", commands[topic].name,
			*commands[topic].argument ? " " : "", commands[topic].argument, commands[topic].name,
			commands[topic].help);
	if (whole)
		help_commands(out);
	fputs("\nOptions:\n", out);
	for (size_t i = 0; i < N_ROWS; i++)
		if (whole || (rows[i].commands & (1U << topic)))
			help_option(out, &rows[i]);
	if (whole)
		fputs("\n`cbtrace COMMAND --help` lists the options of one command.\n"
		      "Exit status: 0 fine; 1 wrong usage; 2 cannot run here, unreadable input or failed output;\n"
		      "with --once 3 the attempt failed or was abandoned, 4 interrupted before one ended.\n",
		      out);
}
