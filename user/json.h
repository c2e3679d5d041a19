/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A streaming JSON writer (RFC 8259) onto a text. It places the commas; the caller nests. A key is NULL inside an
 * array, and for the outermost value. Errors are those of the text.
 */
#ifndef CBTRACE_JSON_H
#define CBTRACE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

#define JSON_DEPTH_MAX 63 /* nesting deeper than this is an error of the text: -EOVERFLOW */

struct json {
	struct text *out;
	unsigned int depth;
	uint64_t filled; /* bit n: the container at depth n has a member */
};

void json_begin(struct json *j, struct text *out);

void json_object(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array(struct json *j, const char *key);
void json_array_end(struct json *j);

void json_null(struct json *j, const char *key);
void json_bool(struct json *j, const char *key, bool value);
void json_int(struct json *j, const char *key, int64_t value);
void json_uint(struct json *j, const char *key, uint64_t value);
/* With @digits decimals (at most 9), rounded, whatever the locale; null if it is no number or beyond 1e9. */
void json_fixed(struct json *j, const char *key, double value, unsigned int digits);
/* NULL is null. Controls, bidi and zero-width characters are escaped, invalid UTF-8 is U+FFFD. */
void json_string(struct json *j, const char *key, const char *value);
/* UTC with nine decimals, text_utc(); null outside its years. */
void json_time(struct json *j, const char *key, int64_t s, uint32_t ns);
/* The same from ns since the epoch, before it too. */
void json_time_ns(struct json *j, const char *key, int64_t ns);

#endif
