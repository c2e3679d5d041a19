// SPDX-License-Identifier: BSD-2-Clause
/* One direction of a TCP connection in order. See stream.h. */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRAGMENT_MIN 64 /* a record header waits alone: small; a flight grows by doubling */

/* The contiguous end was moved to @end at @ts. */
struct step {
	uint64_t end;
	uint64_t ts;
};

/* Arrived ahead of a hole. When it joins, the time is that of the segment which filled the hole. */
struct extent {
	uint64_t start, end;
};

/* A run of copied bytes. What was discarded at its front stays allocated until the run grows or ends. */
struct fragment {
	uint64_t off; /* of data[head] */
	uint8_t *data;
	size_t head, len, size;
};

struct stream {
	bool has_origin, late, cut;
	uint32_t base; /* sequence number of offset 0 */
	uint64_t end;
	uint64_t first_ns, last_ns;
	uint64_t floor; /* bytes below are not kept */

	struct step steps[STREAM_EXTENTS_MAX]; /* a ring */
	size_t step_first, n_steps;
	uint64_t forgotten; /* steps that ended up to here are gone */

	struct extent ahead[STREAM_PIECES_MAX]; /* ascending, apart */
	size_t n_ahead;

	struct fragment fragments[STREAM_PIECES_MAX]; /* ascending, apart */
	size_t n_fragments, held;
};

struct stream *stream_new(void)
{
	return calloc(1, sizeof(struct stream));
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_fragments; i++)
		free(s->fragments[i].data);
	free(s);
}

/* --- Origin --- */

void stream_set_isn(struct stream *s, uint32_t isn)
{
	/* A SYN that is sent again says nothing new; another number after data would move what is known. */
	if (s->first_ns || s->n_fragments || s->floor)
		return;
	s->has_origin = true;
	s->late = false;
	s->base = isn + 1;
}

bool stream_has_origin(const struct stream *s)
{
	return s->has_origin;
}

bool stream_started_late(const struct stream *s)
{
	return s->late;
}

/* Offsets do not wrap: @seq is taken to be less than 2 GiB away from the contiguous end. Negative: before the origin.
 */
static int64_t stream_offset(struct stream *s, uint32_t seq)
{
	if (!s->has_origin) {
		s->has_origin = s->late = true;
		s->base = seq;
	}
	return (int64_t)s->end + (int32_t)(seq - (s->base + (uint32_t)s->end));
}

/* --- Extents --- */

static void step_add(struct stream *s, uint64_t ts)
{
	size_t at;

	if (s->n_steps == STREAM_EXTENTS_MAX) {
		s->forgotten = s->steps[s->step_first].end;
		s->step_first = (s->step_first + 1) % STREAM_EXTENTS_MAX;
		s->n_steps--;
	}
	at = (s->step_first + s->n_steps++) % STREAM_EXTENTS_MAX;
	s->steps[at] = (struct step){.end = s->end, .ts = ts};
}

/* What had arrived ahead and now is reached. */
static void ahead_join(struct stream *s)
{
	size_t n = 0;

	while (n < s->n_ahead && s->ahead[n].start <= s->end) {
		if (s->ahead[n].end > s->end)
			s->end = s->ahead[n].end;
		n++;
	}
	s->n_ahead -= n;
	memmove(s->ahead, s->ahead + n, s->n_ahead * sizeof(s->ahead[0]));
}

static void ahead_add(struct stream *s, uint64_t start, uint64_t end)
{
	size_t first = 0, last;

	while (first < s->n_ahead && s->ahead[first].end < start)
		first++;
	last = first;
	while (last < s->n_ahead && s->ahead[last].start <= end) {
		if (s->ahead[last].start < start)
			start = s->ahead[last].start;
		if (s->ahead[last].end > end)
			end = s->ahead[last].end;
		last++;
	}
	if (first == last && s->n_ahead == STREAM_PIECES_MAX) {
		s->cut = true;
		return;
	}
	memmove(s->ahead + first + 1, s->ahead + last, (s->n_ahead - last) * sizeof(s->ahead[0]));
	s->n_ahead = s->n_ahead - (last - first) + 1;
	s->ahead[first] = (struct extent){.start = start, .end = end};
}

void stream_segment(struct stream *s, uint32_t seq, uint32_t len, uint64_t ts)
{
	int64_t start = stream_offset(s, seq), end = start + len;

	if (end <= 0 || !len)
		return;
	if (start < 0)
		start = 0;
	if (!s->first_ns)
		s->first_ns = ts;
	if ((uint64_t)end <= s->end)
		return;
	s->last_ns = ts;
	if ((uint64_t)start > s->end) {
		ahead_add(s, (uint64_t)start, (uint64_t)end);
		return;
	}
	s->end = (uint64_t)end;
	ahead_join(s);
	step_add(s, ts);
}

uint64_t stream_end(const struct stream *s)
{
	return s->end;
}

uint64_t stream_step(const struct stream *s, uint64_t off, uint64_t *ret_end)
{
	/* The newest are asked for most. */
	for (size_t i = s->n_steps; i-- > 0;) {
		const struct step *step = &s->steps[(s->step_first + i) % STREAM_EXTENTS_MAX];
		uint64_t before = i ? s->steps[(s->step_first + i - 1) % STREAM_EXTENTS_MAX].end : 0;

		if (step->end <= off)
			return 0;
		if (before <= off || !i) {
			*ret_end = step->end;
			return step->ts;
		}
	}
	return 0;
}

uint64_t stream_time(const struct stream *s, uint64_t end)
{
	uint64_t step_end;

	if (!end || end <= s->forgotten)
		return 0;
	return stream_step(s, end - 1, &step_end);
}

uint64_t stream_first_time(const struct stream *s)
{
	return s->first_ns;
}

uint64_t stream_last_time(const struct stream *s)
{
	return s->last_ns;
}

/* --- Bytes --- */

static uint64_t fragment_end(const struct fragment *f)
{
	return f->off + f->len;
}

static bool fragment_append(struct fragment *f, const uint8_t *data, size_t len)
{
	if (f->head && f->head + f->len + len > f->size) {
		memmove(f->data, f->data + f->head, f->len);
		f->head = 0;
	}
	if (!f->data || f->len + len > f->size) {
		size_t size = f->size ? f->size : FRAGMENT_MIN;
		uint8_t *grown;

		while (size < f->len + len)
			size *= 2;
		grown = realloc(f->data, size);
		if (!grown)
			return false;
		f->data = grown;
		f->size = size;
	}
	memcpy(f->data + f->head + f->len, data, len);
	f->len += len;
	return true;
}

static void fragment_remove(struct stream *s, size_t i)
{
	free(s->fragments[i].data);
	s->n_fragments--;
	memmove(s->fragments + i, s->fragments + i + 1, (s->n_fragments - i) * sizeof(s->fragments[0]));
}

/* Fragments @i and the next touch: one piece, so that a reader sees it as one. */
static int fragment_join(struct stream *s, size_t i)
{
	struct fragment *f = &s->fragments[i], *next = f + 1;

	if (i + 1 >= s->n_fragments || fragment_end(f) != next->off)
		return 0;
	if (!fragment_append(f, next->data + next->head, next->len))
		return -ENOMEM;
	fragment_remove(s, i + 1);
	return 0;
}

/* @len bytes that no fragment holds, in front of fragment @i. */
static int fragment_insert(struct stream *s, size_t i, uint64_t off, const uint8_t *data, size_t len)
{
	struct fragment *f;

	if (i && fragment_end(&s->fragments[i - 1]) == off) {
		f = &s->fragments[--i];
	} else {
		if (s->n_fragments == STREAM_PIECES_MAX)
			return -ENOBUFS;
		f = &s->fragments[i];
		memmove(f + 1, f, (s->n_fragments - i) * sizeof(*f));
		s->n_fragments++;
		*f = (struct fragment){.off = off};
	}
	if (!fragment_append(f, data, len)) {
		if (!f->len)
			fragment_remove(s, i);
		return -ENOMEM;
	}
	s->held += len;
	return fragment_join(s, i);
}

/* The first fragment that ends behind @off. */
static size_t fragment_find(const struct stream *s, uint64_t off)
{
	size_t i = 0;

	while (i < s->n_fragments && fragment_end(&s->fragments[i]) <= off)
		i++;
	return i;
}

int stream_bytes(struct stream *s, uint32_t seq, const uint8_t *data, size_t len)
{
	int64_t start = stream_offset(s, seq);
	uint64_t at, end;

	/* No segment is longer; it keeps the sums below from wrapping. */
	if (len > UINT32_MAX || start + (int64_t)len <= 0)
		return 0;
	end = (uint64_t)(start + (int64_t)len);
	at = start < 0 ? 0 : (uint64_t)start;
	if (at < s->floor)
		at = s->floor;
	while (at < end) {
		size_t i = fragment_find(s, at), room = STREAM_BUFFER_MAX - s->held;
		uint64_t until = end;
		int r;

		if (i < s->n_fragments && s->fragments[i].off <= at) {
			at = fragment_end(&s->fragments[i]);
			continue;
		}
		if (i < s->n_fragments && s->fragments[i].off < end)
			until = s->fragments[i].off;
		if (!room) {
			s->cut = true;
			return -ENOBUFS;
		}
		if (until - at > room)
			until = at + room;
		r = fragment_insert(s, i, at, data + (size_t)((int64_t)at - start), (size_t)(until - at));
		if (r < 0) {
			s->cut = true;
			return r;
		}
		at = until;
	}
	return 0;
}

size_t stream_peek(const struct stream *s, uint64_t off, const uint8_t **data)
{
	size_t i = fragment_find(s, off), skip;
	const struct fragment *f = &s->fragments[i];

	if (i == s->n_fragments || f->off > off)
		return 0;
	skip = (size_t)(off - f->off);
	*data = f->data + f->head + skip;
	return f->len - skip;
}

void stream_discard(struct stream *s, uint64_t off)
{
	if (off <= s->floor)
		return;
	s->floor = off;
	while (s->n_fragments) {
		struct fragment *f = &s->fragments[0];
		size_t n;

		if (f->off >= off)
			return;
		n = off - f->off < f->len ? (size_t)(off - f->off) : f->len;
		s->held -= n;
		if (n == f->len) {
			fragment_remove(s, 0);
			continue;
		}
		f->off += n;
		f->head += n;
		f->len -= n;
	}
}

bool stream_cut(const struct stream *s)
{
	return s->cut;
}
