// SPDX-License-Identifier: BSD-2-Clause
/* The JSON writer. See json.h. */
#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

#define NSEC_PER_SEC 1000000000LL

void json_begin(struct json *j, struct text *out)
{
	*j = (struct json){.out = out};
}

/* Bytes at the start of @s that stand for themselves. */
static size_t plain_length(const char *s)
{
	size_t n = 0;

	while (s[n] >= ' ' && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

static void json_quote(struct json *j, const char *s)
{
	uint32_t c;
	size_t n;

	text_puts(j->out, "\"");
	for (;; s += n) {
		/* Nearly all of nearly all strings goes through as it is. */
		size_t plain = plain_length(s);

		text_add(j->out, s, plain);
		s += plain;
		n = text_char(s, &c);
		if (!n)
			break;
		if (c == '"' || c == '\\')
			text_printf(j->out, "\\%c", (char)c);
		else if (c == '\n')
			text_puts(j->out, "\\n");
		else if (c == '\t')
			text_puts(j->out, "\\t");
		else if (c == '\r')
			text_puts(j->out, "\\r");
		else if (text_char_is_control(c) && c >= 0x10000)
			text_printf(j->out, "\\u%04x\\u%04x", 0xd7c0U + (c >> 10), 0xdc00U | (c & 0x3ffU));
		else if (text_char_is_control(c))
			text_printf(j->out, "\\u%04x", c);
		else
			text_add_char(j->out, c);
	}
	text_puts(j->out, "\"");
}

/* What stands before a value: the comma, and the key. */
static void json_member(struct json *j, const char *key)
{
	uint64_t bit = 1ULL << j->depth;

	if (j->filled & bit)
		text_puts(j->out, ",");
	j->filled |= bit;
	if (key) {
		json_quote(j, key);
		text_add(j->out, ":", 1);
	}
}

static void json_open(struct json *j, const char *key, const char *bracket)
{
	json_member(j, key);
	if (j->depth == JSON_DEPTH_MAX) {
		if (!j->out->error)
			j->out->error = -EOVERFLOW;
		return;
	}
	text_puts(j->out, bracket);
	j->depth++;
	j->filled &= ~(1ULL << j->depth);
}

static void json_close(struct json *j, const char *bracket)
{
	if (j->depth)
		j->depth--;
	text_puts(j->out, bracket);
}

void json_object(struct json *j, const char *key)
{
	json_open(j, key, "{");
}

void json_object_end(struct json *j)
{
	json_close(j, "}");
}

void json_array(struct json *j, const char *key)
{
	json_open(j, key, "[");
}

void json_array_end(struct json *j)
{
	json_close(j, "]");
}

void json_null(struct json *j, const char *key)
{
	json_member(j, key);
	text_puts(j->out, "null");
}

void json_bool(struct json *j, const char *key, bool value)
{
	json_member(j, key);
	text_puts(j->out, value ? "true" : "false");
}

/* Digits by hand: printf costs more than all else in a report. */
static void json_digits(struct json *j, uint64_t value, bool negative)
{
	char buf[24];
	size_t at = sizeof(buf);

	do {
		buf[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	if (negative)
		buf[--at] = '-';
	text_add(j->out, buf + at, sizeof(buf) - at);
}

void json_int(struct json *j, const char *key, int64_t value)
{
	json_member(j, key);
	json_digits(j, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0);
}

void json_uint(struct json *j, const char *key, uint64_t value)
{
	json_member(j, key);
	json_digits(j, value, false);
}

void json_fixed(struct json *j, const char *key, double value, unsigned int digits)
{
	uint64_t scale = 1, scaled;

	if (!isfinite(value) || fabs(value) > 1e9) {
		json_null(j, key);
		return;
	}
	if (digits > 9)
		digits = 9;
	for (unsigned int i = 0; i < digits; i++)
		scale *= 10;
	scaled = (uint64_t)llround(fabs(value) * (double)scale);
	json_member(j, key);
	text_printf(j->out, "%s%" PRIu64, value < 0 && scaled ? "-" : "", scaled / scale);
	if (digits)
		text_printf(j->out, ".%0*" PRIu64, (int)digits, scaled % scale);
}

void json_string(struct json *j, const char *key, const char *value)
{
	if (!value) {
		json_null(j, key);
		return;
	}
	json_member(j, key);
	json_quote(j, value);
}

void json_time(struct json *j, const char *key, int64_t s, uint32_t ns)
{
	char buf[TEXT_TIME_MAX];

	json_string(j, key, text_utc(s, ns, buf));
}

void json_time_ns(struct json *j, const char *key, int64_t ns)
{
	int64_t s = ns / NSEC_PER_SEC, rest = ns % NSEC_PER_SEC;

	if (rest < 0) {
		rest += NSEC_PER_SEC;
		s--;
	}
	json_time(j, key, s, (uint32_t)rest);
}
