// SPDX-License-Identifier: BSD-2-Clause
/* Text that grows, and what of a foreign name may be shown. See text.h. */
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPLACEMENT 0xfffd

void text_free(struct text *t)
{
	free(t->data);
	*t = (struct text){0};
}

void text_clear(struct text *t)
{
	t->len = 0;
	t->error = 0;
	if (t->data)
		t->data[0] = '\0';
}

/* Room for @len bytes and a NUL. */
static bool text_reserve(struct text *t, size_t len)
{
	size_t size = t->size ? t->size : 256;
	char *data;

	if (t->error)
		return false;
	if (t->size - t->len > len)
		return true;
	while (size - t->len <= len)
		size *= 2;
	data = realloc(t->data, size);
	if (!data) {
		t->error = -ENOMEM;
		return false;
	}
	t->data = data;
	t->size = size;
	return true;
}

void text_add(struct text *t, const char *data, size_t len)
{
	if (!text_reserve(t, len))
		return;
	memcpy(t->data + t->len, data, len);
	t->len += len;
	t->data[t->len] = '\0';
}

void text_puts(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

void text_printf(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	if (!text_reserve(t, 128))
		return;
	va_start(args, format);
	n = vsnprintf(t->data + t->len, t->size - t->len, format, args);
	va_end(args);
	if (n < 0) {
		t->error = -EINVAL;
		return;
	}
	if ((size_t)n >= t->size - t->len) {
		if (!text_reserve(t, (size_t)n))
			return;
		va_start(args, format);
		vsnprintf(t->data + t->len, t->size - t->len, format, args);
		va_end(args);
	}
	t->len += (size_t)n;
}

void text_fill(struct text *t, const char *s, size_t times)
{
	size_t len = strlen(s);

	while (times--)
		text_add(t, s, len);
}

int text_write(struct text *t, FILE *out)
{
	int error = t->error;

	errno = 0;
	if (!error && t->len && fwrite(t->data, 1, t->len, out) != t->len)
		error = errno ? -errno : -EIO;
	text_clear(t);
	return error;
}

size_t text_char(const char *s, uint32_t *ret_char)
{
	static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char lead = (unsigned char)s[0];
	uint32_t c;
	size_t len;

	if (lead < 0x80) {
		*ret_char = lead;
		return lead != 0;
	}
	len = lead >= 0xf8 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	c = lead & (0xffU >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		/* The NUL is no continuation byte either: never read past it. */
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			len = 1;
		else
			c = c << 6 | ((unsigned char)s[i] & 0x3f);
	}
	if (len == 1 || c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
		*ret_char = REPLACEMENT;
		return 1;
	}
	*ret_char = c;
	return len;
}

bool text_char_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
	       (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

void text_add_char(struct text *t, uint32_t c)
{
	char b[4];
	size_t len;

	if (c < 0x80) {
		b[0] = (char)c;
		len = 1;
	} else if (c < 0x800) {
		b[0] = (char)(0xc0 | c >> 6);
		b[1] = (char)(0x80 | (c & 0x3f));
		len = 2;
	} else if (c < 0x10000) {
		b[0] = (char)(0xe0 | c >> 12);
		b[1] = (char)(0x80 | (c >> 6 & 0x3f));
		b[2] = (char)(0x80 | (c & 0x3f));
		len = 3;
	} else {
		b[0] = (char)(0xf0 | c >> 18);
		b[1] = (char)(0x80 | (c >> 12 & 0x3f));
		b[2] = (char)(0x80 | (c >> 6 & 0x3f));
		b[3] = (char)(0x80 | (c & 0x3f));
		len = 4;
	}
	text_add(t, b, len);
}

/* Bytes of a piece that stands for one character of the name, and its width. */
struct piece {
	char bytes[16];
	size_t width;
};

static size_t piece_read(const char *s, bool ascii, struct piece *ret_piece)
{
	uint32_t c;
	size_t n = text_char(s, &c);

	if (!n)
		return 0;
	if (text_char_is_control(c) || (ascii && c >= 0x80)) {
		ret_piece->width = (size_t)snprintf(ret_piece->bytes, sizeof(ret_piece->bytes), "\\u%04x", c);
		return n;
	}
	if (c == REPLACEMENT) {
		strcpy(ret_piece->bytes, "\xef\xbf\xbd");
	} else {
		memcpy(ret_piece->bytes, s, n);
		ret_piece->bytes[n] = '\0';
	}
	ret_piece->width = 1;
	return n;
}

void text_add_safe(struct text *t, const char *s, bool ascii, size_t max)
{
	const char *ellipsis = ascii ? "..." : "…";
	size_t ellipsis_width = ascii ? 3 : 1;
	size_t width = 0, cut = t->len; /* @cut: where the ellipsis still fits */
	struct piece p;
	size_t n;

	while ((n = piece_read(s, ascii, &p))) {
		if (max && width + p.width > max) {
			if (t->error || cut > t->len)
				return;
			t->len = cut;
			text_puts(t, ellipsis);
			return;
		}
		text_puts(t, p.bytes);
		width += p.width;
		if (width + ellipsis_width <= max)
			cut = t->len;
		s += n;
	}
}

size_t text_width(const struct text *t, size_t from)
{
	size_t width = 0;

	for (size_t i = from; i < t->len; i++)
		if (((unsigned char)t->data[i] & 0xc0) != 0x80)
			width++;
	return width;
}

const char *text_utc(int64_t s, uint32_t ns, char buf[static TEXT_TIME_MAX])
{
	time_t when = (time_t)s;
	struct tm tm;

	if (!gmtime_r(&when, &tm) || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900)
		return NULL;
	/* The remainders change nothing; they bound the width for the compiler. */
	snprintf(buf, TEXT_TIME_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%09uZ", (unsigned int)(tm.tm_year + 1900) % 10000,
		 (unsigned int)(tm.tm_mon + 1) % 100, (unsigned int)tm.tm_mday % 100, (unsigned int)tm.tm_hour % 100,
		 (unsigned int)tm.tm_min % 100, (unsigned int)tm.tm_sec % 100, ns % 1000000000U);
	return buf;
}
