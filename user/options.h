/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line: what the commands and options are, and the values they leave. Everything comes from two tables in
 * options.c, the help text too. Pure but for getopt's globals; never prints an error.
 */
#ifndef CBTRACE_OPTIONS_H
#define CBTRACE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cbtrace/event.h>
#include "failure.h"

#define OPTIONS_PORTS_MAX 16  /* traced ports, 5223 included */
#define OPTIONS_NAME_MAX  254 /* a domain name as text, and its NUL */
#define OPTIONS_UNIT_MAX  256 /* a unit's name (systemd.unit(5)), and its NUL */

#define XMPP_COMPONENT_PORT 5223
#define EXPORTER_PORT	    10523

enum command {
	COMMAND_WATCH = 0,
	COMMAND_EXPORT = 1,
	COMMAND_RECORD = 2,
	COMMAND_REPLAY = 3,
	COMMAND_CHECK = 4,
	COMMAND_HELP = 5,
	COMMAND_VERSION = 6, /* --version */
	COMMANDS = 7,
	COMMAND_NONE = 8,
};

/* Exit statuses, DESIGN section 8. */
enum exit_status {
	STATUS_FINE = 0,
	STATUS_USAGE = 1,
	STATUS_CANNOT = 2,
	STATUS_ATTEMPT_FAILED = 3, /* --once */
	STATUS_INTERRUPTED = 4,	   /* --once */
};

enum color { COLOR_AUTO = 0, COLOR_ALWAYS = 1, COLOR_NEVER = 2 };

/* Strings are NULL if not given; those that are not arrays point into argv. */
struct options {
	enum command command;
	enum command topic; /* of COMMAND_HELP; COMMAND_NONE: all of them */

	uint16_t ports[OPTIONS_PORTS_MAX]; /* 5223 first, then every --port */
	size_t n_ports;
	char domain[OPTIONS_NAME_MAX]; /* lower case, without a final dot; "" none */
	char server[OPTIONS_NAME_MAX]; /* the same */
	char unit[OPTIONS_UNIT_MAX];   /* with its suffix; "" none */
	const char *cgroup;
	const char *comm;
	uint32_t pid; /* 0 none */

	uint64_t slow_ns; /* 0: every attempt is shown */
	uint64_t idle_ns;
	bool json, events, once, metrics, verbose, no_library;
	enum color color;
	struct cbt_endpoint listen;
	const char *file; /* record: to write; replay: to read */
	size_t ring_bytes;
};

/* 0 or -EINVAL with one line in @f. */
int options_parse(int argc, char **argv, struct options *ret_options, struct failure *f);

/* The help text; @topic COMMAND_NONE for the whole program. */
void options_help(FILE *out, enum command topic);

#endif
