// SPDX-License-Identifier: BSD-2-Clause
/* The recorder. See sink_recording.h and recording.h. */
#include "sink_recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "recording.h"

#define RECORDER_BUFFER 65536

struct pending {
	STAILQ_ENTRY(pending) next;
	size_t size;	     /* what it counts for in the bound */
	bool keep;	     /* decided: it only waits for its place in the order */
	struct cbt_hdr ev[]; /* the whole event */
};

STAILQ_HEAD(pending_list, pending);

struct recorder {
	FILE *out;
	struct recorder_config config;
	bool begun; /* the header is written */
	int error;  /* the first one of writing */
	uLong crc;  /* of what has been written, trailers apart */
	uint64_t lost;
	size_t pending_bytes;
	struct pending_list pending; /* in the order of the stream */
};

/* --- The file --- */

static int refuse(const char *path, struct failure *f, int error)
{
	switch (error) {
	case ELOOP:
	case EEXIST:
	case ENXIO:
		return failure_set(f, -error, "cannot record to %s: it is there and no regular file; name another one",
				   path);
	default:
		return failure_set(f, -error, "cannot record to %s: %s; name a file in a directory you can write to",
				   path, strerror(error));
	}
}

/* A descriptor of a file that nobody else has open. */
static int file_create(const char *path, struct failure *f)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	struct stat st;
	int fd = open(path, flags, 0600);

	if (fd < 0 && errno == EEXIST) {
		if (lstat(path, &st) < 0)
			return refuse(path, f, errno);
		if (!S_ISREG(st.st_mode))
			return refuse(path, f, EEXIST);
		if (unlink(path) < 0)
			return refuse(path, f, errno);
		/* Whoever puts something else in its place now makes this fail, and nothing is followed. */
		fd = open(path, flags, 0600);
	}
	return fd < 0 ? refuse(path, f, errno) : fd;
}

static int stdout_take(struct failure *f)
{
	int fd;

	if (isatty(STDOUT_FILENO))
		return failure_set(f, -EINVAL,
				   "a recording is no text for a terminal; name a file or redirect the output");
	fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? failure_set(f, -errno, "cannot use the standard output: %s; name a file", strerror(errno)) : fd;
}

int recorder_open(const char *path, const struct recorder_config *config, struct recorder **ret_recorder,
		  struct failure *f)
{
	struct recorder *r = calloc(1, sizeof(*r));
	int fd;

	if (!r)
		return failure_set(f, -ENOMEM, "out of memory; free some");
	r->config = *config;
	if (!r->config.pending_max)
		r->config.pending_max = RECORDER_PENDING_MAX;
	STAILQ_INIT(&r->pending);
	fd = strcmp(path, "-") == 0 ? stdout_take(f) : file_create(path, f);
	if (fd < 0) {
		free(r);
		return fd;
	}
	r->out = fdopen(fd, "w");
	if (!r->out) {
		close(fd);
		free(r);
		return failure_set(f, -ENOMEM, "out of memory; free some");
	}
	setvbuf(r->out, NULL, _IOFBF, RECORDER_BUFFER);
	*ret_recorder = r;
	return 0;
}

static void write_bytes(struct recorder *r, const void *data, size_t len)
{
	if (r->error)
		return;
	errno = 0;
	if (fwrite(data, 1, len, r->out) != len)
		r->error = errno ? -errno : -EIO;
}

static void write_summed(struct recorder *r, const void *data, size_t len)
{
	r->crc = crc32(r->crc, data, (uInt)len);
	write_bytes(r, data, len);
}

static void write_event(struct recorder *r, const struct cbt_hdr *ev)
{
	static const uint8_t zeros[RECORDING_ALIGN];
	struct recording_trailer t = {0};

	write_summed(r, ev, ev->len);
	write_summed(r, zeros, recording_padded(ev->len) - ev->len);
	t.crc = (uint32_t)r->crc;
	write_bytes(r, &t, sizeof(t));
}

static void write_header(struct recorder *r, const struct cbt_hdr *ev)
{
	struct recording_header h = {
		.byte_order = RECORDING_BYTE_ORDER,
		.abi = CBT_ABI_VERSION,
		.header_len = sizeof(h),
	};

	memcpy(h.magic, RECORDING_MAGIC, RECORDING_MAGIC_LEN);
	memcpy(&h.host, ev, sizeof(h.host));
	write_summed(r, &h, sizeof(h));
	r->begun = true;
}

/* --- What waits --- */

static void pending_pop(struct recorder *r, bool keep)
{
	struct pending *p = STAILQ_FIRST(&r->pending);

	if (keep)
		write_event(r, p->ev);
	STAILQ_REMOVE_HEAD(&r->pending, next);
	r->pending_bytes -= p->size;
	free(p);
}

static enum correlate_claim pending_claim(const struct recorder *r, const struct pending *p)
{
	return p->keep ? CLAIM_YES : r->config.claims(p->ev, r->config.arg);
}

/* Up to the first event that is undecided. */
static void pending_drain(struct recorder *r)
{
	const struct pending *p;

	while ((p = STAILQ_FIRST(&r->pending))) {
		enum correlate_claim claim = pending_claim(r, p);

		if (claim == CLAIM_UNDECIDED)
			return;
		pending_pop(r, claim == CLAIM_YES);
	}
}

/* Make room: the head is undecided after a drain, so it is the oldest that is. */
static void pending_make_room(struct recorder *r, size_t size)
{
	while (!STAILQ_EMPTY(&r->pending) && r->pending_bytes + size > r->config.pending_max) {
		pending_drain(r);
		if (STAILQ_EMPTY(&r->pending) || r->pending_bytes + size <= r->config.pending_max)
			return;
		pending_pop(r, false);
		r->lost++;
	}
}

static void pending_add(struct recorder *r, const struct cbt_hdr *ev, bool keep)
{
	size_t size = sizeof(struct pending) + ev->len;
	struct pending *p;

	pending_make_room(r, size);
	p = size <= r->config.pending_max ? malloc(size) : NULL;
	if (!p) {
		r->lost++;
		return;
	}
	p->size = size;
	p->keep = keep;
	memcpy(p->ev, ev, ev->len);
	STAILQ_INSERT_TAIL(&r->pending, p, next);
	r->pending_bytes += size;
}

/* Nothing more will decide: what is undecided belongs to no attempt that was reported. */
static void pending_finish(struct recorder *r)
{
	const struct pending *p;

	while ((p = STAILQ_FIRST(&r->pending)))
		pending_pop(r, pending_claim(r, p) == CLAIM_YES);
}

/* --- Events --- */

static enum correlate_claim event_claim(const struct recorder *r, const struct cbt_hdr *ev)
{
	switch (ev->type) {
	case CBT_EV_CLOCK:
	case CBT_EV_LOST:
	case CBT_EV_END:
		return CLAIM_YES;
	default:
		return r->config.claims(ev, r->config.arg);
	}
}

int recorder_event(struct recorder *r, const struct cbt_hdr *ev)
{
	enum correlate_claim claim;

	if (r->error)
		return r->error;
	if (ev->type == CBT_EV_HOST) {
		if (!r->begun && ev->len == sizeof(struct cbt_ev_host))
			write_header(r, ev);
		return r->error;
	}
	if (!r->begun || ev->len < sizeof(*ev) || ev->len > RECORDING_EVENT_MAX)
		return -EINVAL;
	claim = event_claim(r, ev);
	pending_drain(r);
	if (ev->type == CBT_EV_END)
		pending_finish(r);
	if (claim == CLAIM_YES && STAILQ_EMPTY(&r->pending))
		write_event(r, ev);
	else if (claim != CLAIM_NO)
		pending_add(r, ev, claim == CLAIM_YES);
	return r->error;
}

int recorder_flush(struct recorder *r)
{
	pending_drain(r);
	if (!r->error && fflush(r->out) != 0)
		r->error = errno ? -errno : -EIO;
	return r->error;
}

uint64_t recorder_lost(const struct recorder *r)
{
	return r->lost;
}

int recorder_close(struct recorder *r)
{
	int error;

	if (!r)
		return 0;
	pending_finish(r);
	errno = 0;
	if (fclose(r->out) != 0 && !r->error)
		r->error = errno ? -errno : -EIO;
	error = r->error;
	free(r);
	return error;
}
