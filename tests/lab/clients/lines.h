// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the lab's clients in C share: one line of JSON for each call they make, with CLOCK_MONOTONIC before and after
 * it, and the SRV question with its answer in the order in which a client must try it. The clients in other languages
 * print lines of the same form.
 */
#ifndef CBTRACE_LAB_LINES_H
#define CBTRACE_LAB_LINES_H

#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <resolv.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct line {
	char buf[2048];
	size_t len;
};

static inline int64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

__attribute__((format(printf, 2, 3))) static inline void line_add(struct line *line, const char *format, ...)
{
	size_t room = sizeof(line->buf) - line->len;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line->buf + line->len, room, format, args);
	va_end(args);
	if (n > 0)
		line->len += (size_t)n < room ? (size_t)n : room - 1;
}

static inline void line_string(struct line *line, const char *key, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;

	line_add(line, ",\"%s\":\"", key);
	for (; *p; p++) {
		if (*p < 0x20 || *p > 0x7e || *p == '"' || *p == '\\')
			line_add(line, "\\u%04x", *p);
		else
			line_add(line, "%c", *p);
	}
	line_add(line, "\"");
}

static inline void line_number(struct line *line, const char *key, int64_t value)
{
	line_add(line, ",\"%s\":%lld", key, (long long)value);
}

static inline void line_begin(struct line *line, const char *call, int64_t begin, const char *domain, int attempt,
			      const char *result)
{
	int64_t end = clock_ns();

	line->len = 0;
	line_add(line, "{\"call\":\"%s\",\"begin\":%lld,\"end\":%lld", call, (long long)begin, (long long)end);
	line_string(line, "domain", domain);
	line_number(line, "attempt", attempt);
	line_number(line, "pid", getpid());
	line_string(line, "result", result);
}

/* One write, so that the lines of several threads stay whole. */
static inline void line_end(struct line *line)
{
	line_add(line, "}\n");
	if (write(STDOUT_FILENO, line->buf, line->len) < 0)
		_exit(1);
}

/* --- SRV --- */

struct target {
	char name[NS_MAXDNAME];
	int port, priority, weight;
};

static inline const char *resolver_error_name(int error)
{
	switch (error) {
	case HOST_NOT_FOUND:
		return "nxdomain";
	case NO_DATA:
		return "nodata";
	case TRY_AGAIN:
		return "try_again";
	default:
		return "no_recovery";
	}
}

static inline int target_compare(const void *a, const void *b)
{
	const struct target *x = a, *y = b;

	return x->priority != y->priority ? x->priority - y->priority : y->weight - x->weight;
}

static inline int srv_parse(struct target *targets, int max, const unsigned char *answer, int len)
{
	ns_msg msg;
	ns_rr rr;
	int n = 0;

	if (ns_initparse(answer, len, &msg) < 0)
		return 0;
	for (int i = 0; i < ns_msg_count(msg, ns_s_an) && n < max; i++) {
		struct target *t = &targets[n];

		if (ns_parserr(&msg, ns_s_an, i, &rr) < 0)
			break;
		if (ns_rr_type(rr) != ns_t_srv || ns_rr_rdlen(rr) < 7)
			continue;
		t->priority = ns_get16(ns_rr_rdata(rr));
		t->weight = ns_get16(ns_rr_rdata(rr) + 2);
		t->port = ns_get16(ns_rr_rdata(rr) + 4);
		if (dn_expand(ns_msg_base(msg), ns_msg_end(msg), ns_rr_rdata(rr) + 6, t->name, sizeof(t->name)) < 0)
			continue;
		n++;
	}
	qsort(targets, (size_t)n, sizeof(targets[0]), target_compare);
	return n;
}

/* Asks, prints the line of call "srv", and returns how many targets there are, or negative. */
static inline int srv_ask(const char *domain, int attempt, struct target *targets, int max)
{
	static _Thread_local unsigned char answer[NS_MAXMSG];
	struct __res_state state = {0};
	char name[NS_MAXDNAME];
	struct line line;
	int64_t begin;
	int n, count;

	if (res_ninit(&state) < 0)
		return -EIO;
	snprintf(name, sizeof(name), "_xmpp-component._tcp.%s", domain);
	begin = clock_ns();
	n = res_nquery(&state, name, ns_c_in, ns_t_srv, answer, sizeof(answer));
	line_begin(&line, "srv", begin, domain, attempt, n < 0 ? resolver_error_name(state.res_h_errno) : "ok");
	count = n > 0 ? srv_parse(targets, max, answer, n) : 0;
	line_string(&line, "name", name);
	line_number(&line, "targets", count);
	line_end(&line);
	res_nclose(&state);
	return count > 0 ? count : -ENOENT;
}

#endif
