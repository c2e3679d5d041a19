// SPDX-License-Identifier: BSD-2-Clause
/* One direction of a TCP connection in order. See stream.h. */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How far ahead of the contiguous end a segment may lie to be believed: a receive window and some. */
#define AHEAD_MAX   (16 * 1024 * 1024)
#define PENDING_MAX 64 /* stretches that arrived beyond a hole; the farthest is forgotten */

/* The stream became contiguous up to @end at @ts. */
struct step {
	uint64_t end, ts;
};

/* Arrived beyond a hole. */
struct stretch {
	uint64_t start, end;
};

/* Copied bytes, in no particular piece size; sorted by offset, never overlapping. */
struct piece {
	struct piece *next;
	uint64_t off;
	size_t len, size;
	uint8_t data[];
};

struct stream {
	bool has_origin;
	uint32_t isn;
	uint64_t end;
	uint64_t first_ns, last_ns;
	struct step steps[STREAM_EXTENTS_MAX];
	size_t n_steps;
	struct stretch pending[PENDING_MAX];
	size_t n_pending;
	struct piece *pieces;
	size_t held; /* bytes in pieces */
	uint64_t discarded;
	bool cut;
};

struct stream *stream_new(void)
{
	return calloc(1, sizeof(struct stream));
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	stream_discard(s, UINT64_MAX);
	free(s);
}

void stream_set_isn(struct stream *s, uint32_t isn)
{
	if (s->has_origin)
		return;
	s->has_origin = true;
	s->isn = isn;
}

bool stream_has_origin(const struct stream *s)
{
	return s->has_origin;
}

/*
 * The offset of @seq: the one nearest to the contiguous end, for sequence numbers wrap every 4 GiB. False if that lies
 * before the origin or implausibly far ahead.
 */
static bool offset_of(struct stream *s, uint32_t seq, int64_t *ret)
{
	int32_t distance;

	if (!s->has_origin)
		stream_set_isn(s, seq - 1);
	distance = (int32_t)(seq - (s->isn + 1 + (uint32_t)s->end));
	*ret = (int64_t)s->end + distance;
	return distance <= AHEAD_MAX;
}

static void step_add(struct stream *s, uint64_t ts)
{
	if (s->n_steps && s->steps[s->n_steps - 1].ts == ts) {
		s->steps[s->n_steps - 1].end = s->end;
		return;
	}
	if (s->n_steps == STREAM_EXTENTS_MAX) {
		memmove(s->steps, s->steps + 1, sizeof(s->steps) - sizeof(s->steps[0]));
		s->n_steps--;
	}
	s->steps[s->n_steps++] = (struct step){s->end, ts};
}

static void pending_add(struct stream *s, uint64_t start, uint64_t end)
{
	size_t i;

	if (s->n_pending < PENDING_MAX) {
		s->pending[s->n_pending++] = (struct stretch){start, end};
		return;
	}
	for (i = 0; i < s->n_pending; i++)
		if (s->pending[i].start > start)
			break;
	s->cut = true;
	if (i < s->n_pending)
		s->pending[i] = (struct stretch){start, end};
}

/* Stretches that the contiguous end has reached join it. */
static void pending_join(struct stream *s)
{
	for (size_t i = 0; i < s->n_pending;) {
		if (s->pending[i].start > s->end) {
			i++;
			continue;
		}
		if (s->pending[i].end > s->end)
			s->end = s->pending[i].end;
		s->pending[i] = s->pending[--s->n_pending];
		i = 0;
	}
}

void stream_segment(struct stream *s, uint32_t seq, uint32_t len, uint64_t ts)
{
	int64_t off;

	if (!len || !offset_of(s, seq, &off) || off + (int64_t)len <= 0)
		return;
	if (!s->first_ns)
		s->first_ns = ts;
	s->last_ns = ts;
	if (off > (int64_t)s->end) {
		pending_add(s, (uint64_t)off, (uint64_t)off + len);
		return;
	}
	if (off + (int64_t)len <= (int64_t)s->end)
		return;
	s->end = (uint64_t)(off + (int64_t)len);
	pending_join(s);
	step_add(s, ts);
}

/* Bytes [off, off + len) that nobody holds yet, into a piece of their own before *@at. */
static int piece_insert(struct stream *s, struct piece **at, uint64_t off, const uint8_t *data, size_t len)
{
	struct piece *p;

	if (s->held + len > STREAM_BUFFER_MAX) {
		s->cut = true;
		return -ENOBUFS;
	}
	p = malloc(sizeof(*p) + len);
	if (!p) {
		s->cut = true;
		return -ENOBUFS;
	}
	p->next = *at;
	p->off = off;
	p->len = p->size = len;
	memcpy(p->data, data, len);
	*at = p;
	s->held += len;
	return 0;
}

/* Neighbours become one piece, so that a reader gets what it needs in one. */
static void pieces_join(struct stream *s)
{
	for (struct piece **at = &s->pieces; *at && (*at)->next;) {
		struct piece *a = *at, *b = a->next, *joined;

		if (a->off + a->len != b->off) {
			at = &a->next;
			continue;
		}
		if (a->size < a->len + b->len) {
			/* Twice the size: a stream that comes byte by byte must not be copied once per byte. */
			size_t size = 2 * (a->len + b->len);

			joined = realloc(a, sizeof(*a) + size);
			if (!joined)
				return;
			joined->size = size;
			*at = a = joined;
		}
		memcpy(a->data + a->len, b->data, b->len);
		a->len += b->len;
		a->next = b->next;
		free(b);
	}
}

int stream_bytes(struct stream *s, uint32_t seq, const uint8_t *data, size_t len)
{
	struct piece **at = &s->pieces;
	int64_t signed_off;
	uint64_t off;
	int r = 0;

	if (!len || !offset_of(s, seq, &signed_off))
		return 0;
	if (signed_off < (int64_t)s->discarded) {
		uint64_t skip = s->discarded - (uint64_t)signed_off;

		if (skip >= len)
			return 0;
		data += skip;
		len -= skip;
		signed_off = (int64_t)s->discarded;
	}
	off = (uint64_t)signed_off;
	while (len && r == 0) {
		size_t n = len;

		while (*at && (*at)->off + (*at)->len <= off)
			at = &(*at)->next;
		if (*at && (*at)->off <= off) {
			/* The first copy wins. */
			n = (*at)->off + (*at)->len - off;
			n = n < len ? n : len;
		} else {
			if (*at && (*at)->off < off + n)
				n = (*at)->off - off;
			r = piece_insert(s, at, off, data, n);
		}
		off += n;
		data += n;
		len -= n;
	}
	pieces_join(s);
	return r;
}

uint64_t stream_end(const struct stream *s)
{
	return s->end;
}

uint64_t stream_time(const struct stream *s, uint64_t end)
{
	if (end > s->end || !s->n_steps)
		return 0;
	/* Steps were dropped from the front: before the oldest one kept, only the very first arrival is known. */
	for (size_t i = 0; i < s->n_steps; i++)
		if (s->steps[i].end >= end)
			return i == 0 && s->n_steps == STREAM_EXTENTS_MAX && end <= 1 ? s->first_ns : s->steps[i].ts;
	return 0;
}

uint64_t stream_first_time(const struct stream *s)
{
	return s->first_ns;
}

uint64_t stream_last_time(const struct stream *s)
{
	return s->last_ns;
}

size_t stream_peek(const struct stream *s, uint64_t off, const uint8_t **data)
{
	for (const struct piece *p = s->pieces; p && p->off <= off; p = p->next)
		if (off < p->off + p->len) {
			*data = p->data + (off - p->off);
			return p->len - (off - p->off);
		}
	return 0;
}

void stream_discard(struct stream *s, uint64_t off)
{
	struct piece *p;

	while ((p = s->pieces) && p->off + p->len <= off) {
		s->pieces = p->next;
		s->held -= p->len;
		free(p);
	}
	if (off != UINT64_MAX && off > s->discarded)
		s->discarded = off;
}

bool stream_cut(const struct stream *s)
{
	return s->cut;
}
