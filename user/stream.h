/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One direction of a TCP connection, put in order by sequence number. Two things are kept apart:
 *
 *   extents  which bytes have arrived, and when the stream became contiguous up to each of them (from the length of
 *            the segments)
 *   bytes    those that the tap copied; a byte that arrived need not have been copied
 *
 * Offsets count from the first byte after the SYN. Pure; bounded; owns its memory.
 */
#ifndef CBTRACE_STREAM_H
#define CBTRACE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_BUFFER_MAX  ((size_t)72 * 1024) /* out-of-order or unread bytes held, the tap's budget and some */
#define STREAM_EXTENTS_MAX 128		       /* steps of the contiguous end remembered; the oldest are forgotten */
#define STREAM_PIECES_MAX  64		       /* pieces apart from each other, of extents and of bytes */

struct stream;

/* NULL for want of memory. */
struct stream *stream_new(void);
void stream_free(struct stream *s); /* accepts NULL */

/* The initial sequence number (of the SYN). Without it the first segment seen sets the origin (started late). */
void stream_set_isn(struct stream *s, uint32_t isn);
bool stream_has_origin(const struct stream *s);
/* Was the origin taken from a segment, because no SYN was seen? Then offset 0 may be in the middle of anything. */
bool stream_started_late(const struct stream *s);

/* A segment of @len payload bytes at @seq arrived at @ts (ns). */
void stream_segment(struct stream *s, uint32_t seq, uint32_t len, uint64_t ts);

/* @len bytes at @seq were copied. 0; -ENOBUFS if a bound is reached, -ENOMEM (bytes dropped, stream marked cut).
 * Overlaps are fine: first copy wins. */
int stream_bytes(struct stream *s, uint32_t seq, const uint8_t *data, size_t len);

/* End of the contiguous part, as an offset. */
uint64_t stream_end(const struct stream *s);
/* When did the stream become contiguous up to and including offset @end - 1? 0 if it has not, or too long ago to be
 * kept. */
uint64_t stream_time(const struct stream *s, uint64_t end);
/*
 * The step that carried the contiguous end past @off: its time, and in *@ret_end where it ended. 0 if there is none
 * yet. Walks through what arrived, in order, without the steps that are too long ago.
 */
uint64_t stream_step(const struct stream *s, uint64_t off, uint64_t *ret_end);
/* First and latest arrival of payload; 0 if none. What was contiguous already does not count again when it is sent
 * again. */
uint64_t stream_first_time(const struct stream *s);
uint64_t stream_last_time(const struct stream *s);

/* Copied bytes available in one piece at @off: *@data points into the stream until the next non-const call. Returns how
 * many (0 none). */
size_t stream_peek(const struct stream *s, uint64_t off, const uint8_t **data);
/* Bytes below @off are no longer needed. */
void stream_discard(struct stream *s, uint64_t off);
/* Were bytes or extents dropped for want of room? */
bool stream_cut(const struct stream *s);

#endif
