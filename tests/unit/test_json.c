// SPDX-License-Identifier: BSD-2-Clause
/* The text buffer, what of a foreign name may be shown, and the JSON writer. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "json.h"

static void assert_written(struct text *t, const char *expected)
{
	assert_int_equal(t->error, 0);
	assert_string_equal(t->data, expected);
	text_free(t);
}

static void containers_get_their_commas(void **state)
{
	struct text t = {0};
	struct json j;

	(void)state;
	json_begin(&j, &t);
	json_object(&j, NULL);
	json_array(&j, "empty");
	json_array_end(&j);
	json_array(&j, "list");
	json_int(&j, NULL, 1);
	json_object(&j, NULL);
	json_object_end(&j);
	json_object(&j, NULL);
	json_null(&j, "a");
	json_bool(&j, "b", true);
	json_bool(&j, "c", false);
	json_object_end(&j);
	json_array_end(&j);
	json_string(&j, "k\"", "v");
	json_string(&j, "n", NULL);
	json_object_end(&j);
	assert_written(&t,
		       "{\"empty\":[],\"list\":[1,{},{\"a\":null,\"b\":true,\"c\":false}],\"k\\\"\":\"v\",\"n\":null}");
}

static void strings_are_escaped(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"", "\"\""},
		{"plain ünï €𝄞", "\"plain ünï €𝄞\""},
		{"\"\\/", "\"\\\"\\\\/\""},
		{"\n\r\t\b\f\001\037\177", "\"\\n\\r\\t\\u0008\\u000c\\u0001\\u001f\\u007f\""},
		{"\033[31m", "\"\\u001b[31m\""},
		{"\xc2\x9b", "\"\\u009b\""},		    /* C1: CSI in one character */
		{"a\xe2\x80\xae z", "\"a\\u202e z\""},	    /* right-to-left override */
		{"\xe2\x80\xa8", "\"\\u2028\""},	    /* line separator */
		{"\xf3\xa0\x81\x81", "\"\\udb40\\udc41\""}, /* a tag character, as a surrogate pair */
		{"\xff", "\"\xef\xbf\xbd\""},
		{"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},				      /* overlong */
		{"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},		      /* surrogate */
		{"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* past U+10FFFF */
		{"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},				      /* cut short by the end */
		{"\xe2\x82z", "\"\xef\xbf\xbd\xef\xbf\xbdz\""},
		{"\xf8\x88\x80\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct text t = {0};
		struct json j;

		json_begin(&j, &t);
		json_string(&j, NULL, cases[i].in);
		assert_written(&t, cases[i].out);
	}
}

/* Whatever the bytes: the output is valid UTF-8 without controls, and nothing is read past the NUL. */
static void every_pair_of_bytes_is_harmless(void **state)
{
	(void)state;
	for (unsigned int a = 1; a < 256; a++) {
		for (unsigned int b = 1; b < 256; b++) {
			char *s = malloc(3);
			struct text t = {0};
			uint32_t c;
			size_t n;

			assert_non_null(s);
			s[0] = (char)a;
			s[1] = (char)b;
			s[2] = '\0';
			text_add_safe(&t, s, false, 0);
			for (const char *p = t.data; (n = text_char(p, &c)); p += n) {
				assert_false(text_char_is_control(c));
				assert_true(n > 1 || c < 0x80);
			}
			text_free(&t);
			free(s);
		}
	}
}

static void numbers(void **state)
{
	struct text t = {0};
	struct json j;

	(void)state;
	json_begin(&j, &t);
	json_array(&j, NULL);
	json_int(&j, NULL, INT64_MIN);
	json_int(&j, NULL, INT64_MAX);
	json_uint(&j, NULL, UINT64_MAX);
	json_fixed(&j, NULL, 0.42, 4);
	json_fixed(&j, NULL, 0.99999, 4);
	json_fixed(&j, NULL, -1.5, 1);
	json_fixed(&j, NULL, -0.00001, 2);
	json_fixed(&j, NULL, 2.0 / 3, 0);
	json_fixed(&j, NULL, NAN, 2);
	json_fixed(&j, NULL, INFINITY, 2);
	json_fixed(&j, NULL, 1e300, 2);
	json_array_end(&j);
	assert_written(&t, "[-9223372036854775808,9223372036854775807,18446744073709551615,0.4200,1.0000,-1.5,0.00,1,"
			   "null,null,null]");
}

static void times(void **state)
{
	static const struct {
		int64_t ns;
		const char *out;
	} cases[] = {
		{0, "\"1970-01-01T00:00:00.000000000Z\""},
		{-1, "\"1969-12-31T23:59:59.999999999Z\""},
		{-1000000000, "\"1969-12-31T23:59:59.000000000Z\""},
		{1795323600123456789, "\"2026-11-22T05:00:00.123456789Z\""},
		{2147483647999999999, "\"2038-01-19T03:14:07.999999999Z\""},
		{2147483648000000000, "\"2038-01-19T03:14:08.000000000Z\""},
		{4107542399000000001, "\"2100-02-28T23:59:59.000000001Z\""},
		{INT64_MAX, "\"2262-04-11T23:47:16.854775807Z\""},
		{INT64_MIN, "\"1677-09-21T00:12:43.145224192Z\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct text t = {0};
		struct json j;

		json_begin(&j, &t);
		json_time_ns(&j, NULL, cases[i].ns);
		assert_written(&t, cases[i].out);
	}
}

static void seconds_reach_further_than_nanoseconds(void **state)
{
	struct text t = {0};
	struct json j;

	(void)state;
	json_begin(&j, &t);
	json_array(&j, NULL);
	json_time(&j, NULL, 253402300799, 0);
	json_time(&j, NULL, 253402300800, 0); /* the year 10000 */
	json_time(&j, NULL, -62167219200, 5); /* the year 0 */
	json_time(&j, NULL, -62167219201, 0);
	json_time(&j, NULL, INT64_MAX, 0);
	json_array_end(&j);
	assert_written(&t, "[\"9999-12-31T23:59:59.000000000Z\",null,\"0000-01-01T00:00:00.000000005Z\",null,null]");
}

static void depth_is_bounded(void **state)
{
	struct text t = {0};
	struct json j;

	(void)state;
	json_begin(&j, &t);
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		json_array(&j, NULL);
	assert_int_equal(t.error, 0);
	json_array(&j, NULL);
	assert_int_equal(t.error, -EOVERFLOW);
	text_free(&t);
}

static void a_failed_write_is_told(void **state)
{
	FILE *full = fopen("/dev/full", "w");
	struct text t = {0};

	(void)state;
	if (!full)
		skip();
	setvbuf(full, NULL, _IONBF, 0);
	text_puts(&t, "x");
	assert_int_equal(text_write(&t, full), -ENOSPC);
	assert_int_equal(t.len, 0);
	t.error = -ENOMEM;
	text_puts(&t, "not added");
	assert_int_equal(t.len, 0);
	assert_int_equal(text_write(&t, full), -ENOMEM);
	assert_int_equal(t.error, 0);
	text_free(&t);
	fclose(full);
}

static void a_long_name_is_cut_by_characters(void **state)
{
	struct text t = {0};

	(void)state;
	text_add_safe(&t, "äöüß", false, 4);
	text_puts(&t, "|");
	text_add_safe(&t, "äöüßx", false, 4);
	text_puts(&t, "|");
	text_add_safe(&t, "abcdefgh", true, 6);
	text_puts(&t, "|");
	text_add_safe(&t, "ab\033cdefgh", true, 8); /* never in the middle of an escape */
	text_puts(&t, "|");
	text_add_safe(&t, "ä", true, 0);
	text_puts(&t, "|");
	text_add_safe(&t, "\\032", true, 0);
	assert_int_equal(text_width(&t, 0), 4 + 1 + 4 + 1 + 6 + 1 + 5 + 1 + 6 + 1 + 4);
	assert_written(&t, "äöüß|äöü…|abc...|ab...|\\u00e4|\\032");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containers_get_their_commas),
		cmocka_unit_test(strings_are_escaped),
		cmocka_unit_test(every_pair_of_bytes_is_harmless),
		cmocka_unit_test(numbers),
		cmocka_unit_test(times),
		cmocka_unit_test(seconds_reach_further_than_nanoseconds),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(a_failed_write_is_told),
		cmocka_unit_test(a_long_name_is_cut_by_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
