/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A growing piece of text that remembers its first error, so that a caller looks once, at the end. And the one place
 * that decides what of a name from outside may be shown. Pure but for text_write().
 */
#ifndef CBTRACE_TEXT_H
#define CBTRACE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TEXT_TIME_MAX 32 /* "2026-11-22T05:00:00.123456789Z" and its NUL */

struct text {
	char *data; /* NUL terminated; NULL while nothing was added */
	size_t len, size;
	int error; /* negative errno, 0 none; nothing is added after one */
};

void text_free(struct text *t);	 /* back to empty */
void text_clear(struct text *t); /* forget content and error, keep the memory */
void text_add(struct text *t, const char *data, size_t len);
void text_puts(struct text *t, const char *s);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_fill(struct text *t, const char *s, size_t times);
/* Write it and clear it. 0, or the error of the text or of the write. */
int text_write(struct text *t, FILE *out);

/*
 * The next character of the UTF-8 string @s, whose NUL ends it: returns its bytes (0 at the end). What is no UTF-8 is
 * U+FFFD, one byte at a time (overlong forms, surrogates and values past U+10FFFF included).
 */
size_t text_char(const char *s, uint32_t *ret_char);
/* Would @c move the cursor, switch the writing direction or hide: C0, C1, DEL, line separators, bidi, zero-width? */
bool text_char_is_control(uint32_t c);
void text_add_char(struct text *t, uint32_t c);
/*
 * @s for people and labels: controls as \uXXXX, a backslash as it is (names of DNS carry \DDD already), invalid bytes
 * as U+FFFD; with @ascii everything beyond ASCII as \uXXXX too. At most @max characters on the screen (0: any number);
 * what is cut ends in an ellipsis.
 */
void text_add_safe(struct text *t, const char *s, bool ascii, size_t max);
/* Characters of the text from byte @from on. */
size_t text_width(const struct text *t, size_t from);

/* UTC as RFC 3339 with nine decimals; @ns 0..999999999. Returns @buf, or NULL outside the years 0..9999. */
const char *text_utc(int64_t s, uint32_t ns, char buf[static TEXT_TIME_MAX]);

#endif
