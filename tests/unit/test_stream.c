// SPDX-License-Identifier: BSD-2-Clause
/* Streams in order: extents apart from bytes, wrap, overlaps, holes, bounds; and random segments against a plain
 * model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "stream.h"

static int stream_setup(void **state)
{
	struct stream *s = stream_new();

	if (!s)
		return -1;
	*state = s;
	return 0;
}

static int stream_teardown(void **state)
{
	stream_free(*state);
	return 0;
}

static void both(struct stream *s, uint32_t seq, const char *text, uint64_t ts)
{
	stream_segment(s, seq, (uint32_t)strlen(text), ts);
	assert_int_equal(stream_bytes(s, seq, (const uint8_t *)text, strlen(text)), 0);
}

static void peeked(const struct stream *s, uint64_t off, const char *text)
{
	const uint8_t *data = NULL;
	size_t n = stream_peek(s, off, &data);

	assert_int_equal(n, strlen(text));
	if (n)
		assert_memory_equal(data, text, n);
}

static void test_empty(void **state)
{
	struct stream *s = *state;

	stream_free(NULL);
	assert_false(stream_has_origin(s));
	assert_int_equal(stream_end(s), 0);
	assert_int_equal(stream_time(s, 0), 0);
	assert_int_equal(stream_time(s, 1), 0);
	assert_int_equal(stream_first_time(s), 0);
	assert_int_equal(stream_last_time(s), 0);
	assert_false(stream_cut(s));
	stream_set_isn(s, 99);
	stream_segment(s, 100, 0, 5);
	assert_int_equal(stream_first_time(s), 0);
	assert_int_equal(stream_bytes(s, 100, NULL, 0), 0);
	peeked(s, 0, "");
}

static void test_in_order(void **state)
{
	struct stream *s = *state;

	stream_set_isn(s, 99);
	both(s, 100, "abc", 10);
	both(s, 103, "def", 20);
	assert_int_equal(stream_end(s), 6);
	assert_int_equal(stream_time(s, 1), 10);
	assert_int_equal(stream_time(s, 3), 10);
	assert_int_equal(stream_time(s, 4), 20);
	assert_int_equal(stream_time(s, 6), 20);
	assert_int_equal(stream_time(s, 7), 0);
	assert_int_equal(stream_first_time(s), 10);
	assert_int_equal(stream_last_time(s), 20);
	peeked(s, 0, "abcdef");
	peeked(s, 4, "ef");
	peeked(s, 6, "");
	stream_discard(s, 2);
	peeked(s, 0, "");
	peeked(s, 2, "cdef");
	stream_discard(s, 6);
	peeked(s, 2, "");
	both(s, 106, "g", 30);
	peeked(s, 6, "g");
	/* What was discarded does not come back. */
	both(s, 100, "abcdefg", 40);
	peeked(s, 5, "");
	peeked(s, 6, "g");
}

static void test_isn(void **state)
{
	struct stream *s = *state;

	stream_set_isn(s, 5);
	stream_set_isn(s, 99); /* another connect on the same socket */
	assert_true(stream_has_origin(s));
	both(s, 100, "abc", 10);
	stream_set_isn(s, 5);
	peeked(s, 0, "abc");
	assert_false(stream_started_late(s));
	/* Before the first byte: a keep-alive probe. */
	both(s, 99, "x", 20);
	both(s, 98, "xxab!", 30);
	peeked(s, 0, "abc");
	assert_int_equal(stream_last_time(s), 10);
}

static void test_late(void **state)
{
	struct stream *s = *state;

	both(s, 5000, "abc", 10);
	assert_true(stream_has_origin(s));
	assert_true(stream_started_late(s));
	both(s, 4997, "xyzab", 20);
	peeked(s, 0, "abc");
	assert_int_equal(stream_end(s), 3);
}

static void test_wrap(void **state)
{
	struct stream *s = *state;

	stream_set_isn(s, 0xfffffffe); /* first byte 0xffffffff */
	both(s, 3, "efgh", 5);
	both(s, 0xffffffff, "abcd", 10);
	assert_int_equal(stream_end(s), 8);
	peeked(s, 0, "abcdefgh");
	/* Many gigabytes later, without bytes. */
	for (uint32_t seq = 7, i = 0; i < 20; i++, seq += 0x40000000)
		stream_segment(s, seq, 0x40000000, 100 + i);
	assert_int_equal(stream_end(s), 8 + 20 * 0x40000000ULL);
	assert_int_equal(stream_time(s, stream_end(s)), 119);
	stream_discard(s, stream_end(s));
	both(s, 7, "!", 200);
	peeked(s, stream_end(s) - 1, "!");
}

static void test_retransmission(void **state)
{
	struct stream *s = *state;

	stream_set_isn(s, 99);
	both(s, 100, "abc", 10);
	both(s, 100, "ABC", 20);
	both(s, 101, "BCdE", 30);
	assert_int_equal(stream_time(s, 3), 10);
	assert_int_equal(stream_time(s, 5), 30);
	assert_int_equal(stream_last_time(s), 30);
	both(s, 100, "abc", 40);
	assert_int_equal(stream_last_time(s), 30);
	peeked(s, 0, "abcdE");
}

static void test_out_of_order(void **state)
{
	struct stream *s = *state;

	stream_set_isn(s, 99);
	both(s, 106, "ghi", 10);
	both(s, 103, "def", 20);
	assert_int_equal(stream_end(s), 0);
	assert_int_equal(stream_time(s, 9), 0);
	assert_int_equal(stream_first_time(s), 10);
	peeked(s, 3, "defghi");
	peeked(s, 0, "");
	both(s, 112, "mno", 30);
	both(s, 100, "abc", 40);
	assert_int_equal(stream_end(s), 9);
	assert_int_equal(stream_time(s, 1), 40);
	assert_int_equal(stream_time(s, 9), 40);
	peeked(s, 0, "abcdefghi");
	both(s, 108, "IjklMno", 50);
	assert_int_equal(stream_end(s), 15);
	assert_int_equal(stream_time(s, 10), 50);
	peeked(s, 0, "abcdefghijklmno");
}

/* The tap proves a ClientHello byte by byte: extents first, the bytes when they are proven. */
static void test_bytes_later(void **state)
{
	struct stream *s = *state;

	stream_set_isn(s, 99);
	for (uint32_t i = 0; i < 5; i++)
		stream_segment(s, 100 + i, 1, 10 + i);
	peeked(s, 0, "");
	assert_int_equal(stream_end(s), 5);
	both(s, 105, "f", 20);
	peeked(s, 5, "f");
	assert_int_equal(stream_bytes(s, 100, (const uint8_t *)"abcde", 5), 0);
	peeked(s, 0, "abcdef");
	assert_int_equal(stream_time(s, 1), 10);
	assert_int_equal(stream_time(s, 3), 12);
}

/* Bodies of application data are not copied: headers stand alone. */
static void test_holes(void **state)
{
	struct stream *s = *state;

	stream_set_isn(s, 99);
	stream_segment(s, 100, 100, 10);
	assert_int_equal(stream_bytes(s, 110, (const uint8_t *)"hdr1", 4), 0);
	assert_int_equal(stream_bytes(s, 150, (const uint8_t *)"hdr2", 4), 0);
	assert_int_equal(stream_end(s), 100);
	peeked(s, 0, "");
	peeked(s, 110 - 100, "hdr1");
	peeked(s, 50, "hdr2");
	peeked(s, 52, "r2");
	stream_discard(s, 51);
	peeked(s, 10, "");
	peeked(s, 51, "dr2");
	/* In front of what is held, and over it. */
	assert_int_equal(stream_bytes(s, 145, (const uint8_t *)"abcdeHDR2xyz", 12), 0);
	peeked(s, 51, "dr2xyz");
}

static void test_step(void **state)
{
	struct stream *s = *state;
	uint64_t end = 0;

	stream_set_isn(s, 99);
	assert_int_equal(stream_step(s, 0, &end), 0);
	stream_segment(s, 100, 10, 10);
	stream_segment(s, 110, 10, 20);
	assert_int_equal(stream_step(s, 0, &end), 10);
	assert_int_equal(end, 10);
	assert_int_equal(stream_step(s, 9, &end), 10);
	assert_int_equal(stream_step(s, 10, &end), 20);
	assert_int_equal(end, 20);
	assert_int_equal(stream_step(s, 20, &end), 0);
}

static void test_steps_bounded(void **state)
{
	struct stream *s = *state;
	uint32_t n = STREAM_EXTENTS_MAX * 3;
	uint64_t end;

	stream_set_isn(s, 99);
	for (uint32_t i = 0; i < n; i++)
		stream_segment(s, 100 + i, 1, 1000 + i);
	assert_int_equal(stream_end(s), n);
	assert_int_equal(stream_time(s, n), 1000 + n - 1);
	assert_int_equal(stream_time(s, n - STREAM_EXTENTS_MAX + 1), 1000 + n - STREAM_EXTENTS_MAX);
	assert_int_equal(stream_time(s, n - STREAM_EXTENTS_MAX), 0);
	assert_int_equal(stream_time(s, 1), 0);
	assert_int_equal(stream_first_time(s), 1000);
	assert_int_equal(stream_step(s, 0, &end), 1000 + n - STREAM_EXTENTS_MAX);
}

static void test_bytes_bounded(void **state)
{
	static const uint8_t zero[4096];
	struct stream *s = *state;
	const uint8_t *data;
	uint32_t seq = 100;
	int r = 0;

	stream_set_isn(s, 99);
	for (int i = 0; i < 100 && r == 0; i++, seq += sizeof(zero))
		r = stream_bytes(s, seq, zero, sizeof(zero));
	assert_int_equal(r, -ENOBUFS);
	assert_true(stream_cut(s));
	assert_int_equal(stream_peek(s, 0, &data), STREAM_BUFFER_MAX);
	stream_discard(s, STREAM_BUFFER_MAX);
	assert_int_equal(stream_bytes(s, 100 + STREAM_BUFFER_MAX, zero, sizeof(zero)), 0);
	assert_int_equal(stream_peek(s, STREAM_BUFFER_MAX, &data), sizeof(zero));
}

static void test_pieces_bounded(void **state)
{
	struct stream *s = *state;
	int r = 0;

	stream_set_isn(s, 99);
	for (uint32_t i = 0; i < STREAM_PIECES_MAX + 1; i++) {
		assert_int_equal(r, 0);
		stream_segment(s, 102 + 2 * i, 1, 5);
		r = stream_bytes(s, 102 + 2 * i, (const uint8_t *)"x", 1);
	}
	assert_int_equal(r, -ENOBUFS);
	assert_true(stream_cut(s));
	stream_segment(s, 100, 2, 9);
	assert_int_equal(stream_end(s), 3);
	/* The holes close: what was held joins. */
	for (uint32_t i = 0; i < STREAM_PIECES_MAX; i++)
		stream_segment(s, 103 + 2 * i, 1, 10);
	assert_int_equal(stream_end(s), 2 + 2 * STREAM_PIECES_MAX);
}

/* --- A model without bounds, on a small range --- */

#define MODEL_SIZE 600

struct model {
	bool arrived[MODEL_SIZE], copied[MODEL_SIZE];
	uint64_t time[MODEL_SIZE]; /* when contiguous up to here */
	uint8_t byte[MODEL_SIZE];
	size_t end, floor;
};

static unsigned int next_random(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 12;
}

static void model_segment(struct model *m, size_t off, size_t len, uint64_t ts)
{
	for (size_t i = off; i < off + len; i++)
		m->arrived[i] = true;
	while (m->end < MODEL_SIZE && m->arrived[m->end])
		m->time[m->end++] = ts;
}

static void model_compare(const struct model *m, const struct stream *s)
{
	assert_int_equal(stream_end(s), m->end);
	for (size_t i = 0; i < MODEL_SIZE; i++) {
		const uint8_t *data = NULL;
		size_t n = stream_peek(s, i, &data), run = 0;

		while (i >= m->floor && i + run < MODEL_SIZE && m->copied[i + run])
			run++;
		assert_int_equal(n, run);
		if (n)
			assert_memory_equal(data, m->byte + i, n);
	}
}

static void test_model(void **state)
{
	(void)state;
	for (unsigned int round = 0; round < 300; round++) {
		static struct model m;
		struct stream *s = stream_new();
		unsigned int seed = round;
		uint32_t isn = next_random(&seed) * 4099U;
		size_t last_end = 0;

		assert_non_null(s);
		memset(&m, 0, sizeof(m));
		stream_set_isn(s, isn);
		for (uint64_t ts = 1; ts < 60; ts++) {
			size_t off = next_random(&seed) % MODEL_SIZE, len = 1 + next_random(&seed) % 40;
			uint8_t data[40];

			if (next_random(&seed) % 2)
				off = m.end ? m.end - next_random(&seed) % 2 : 0;
			if (off + len > MODEL_SIZE)
				continue;
			if (next_random(&seed) % 4) {
				stream_segment(s, isn + 1 + (uint32_t)off, (uint32_t)len, ts);
				model_segment(&m, off, len, ts);
			}
			if (next_random(&seed) % 4) {
				for (size_t i = 0; i < len; i++) {
					data[i] = (uint8_t)next_random(&seed);
					if (m.copied[off + i] || off + i < m.floor)
						continue;
					m.copied[off + i] = true;
					m.byte[off + i] = data[i];
				}
				assert_int_equal(stream_bytes(s, isn + 1 + (uint32_t)off, data, len), 0);
			}
			if (next_random(&seed) % 8 == 0) {
				size_t to = m.floor + next_random(&seed) % 20;

				if (to < MODEL_SIZE) {
					stream_discard(s, to);
					m.floor = to;
				}
			}
			model_compare(&m, s);
			for (size_t e = last_end; e < m.end; e++)
				assert_int_equal(stream_time(s, e + 1), m.time[e]);
			last_end = m.end;
		}
		for (size_t e = 0; e < m.end; e++)
			assert_int_equal(stream_time(s, e + 1), m.time[e]);
		stream_free(s);
	}
}

#define STREAM_TEST(f) cmocka_unit_test_setup_teardown(f, stream_setup, stream_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STREAM_TEST(test_empty),	  STREAM_TEST(test_in_order),	   STREAM_TEST(test_isn),
		STREAM_TEST(test_late),		  STREAM_TEST(test_wrap),	   STREAM_TEST(test_retransmission),
		STREAM_TEST(test_out_of_order),	  STREAM_TEST(test_bytes_later),   STREAM_TEST(test_holes),
		STREAM_TEST(test_step),		  STREAM_TEST(test_steps_bounded), STREAM_TEST(test_bytes_bounded),
		STREAM_TEST(test_pieces_bounded), cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
