// SPDX-License-Identifier: BSD-2-Clause
/* The reader of recordings. See source_recording.h and recording.h. */
#include "source_recording.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "event.h"
#include "recording.h"

#define READ_BUFFER ((size_t)1024 * 1024)

/* Lengths of older or newer headers are believed only within reason. */
#define HEADER_LEN_MAX 4096

struct recording {
	FILE *in;
	uint64_t offset; /* of the next byte */
	bool host_told, ended;
	int error; /* once something went wrong, nothing more is read */
	uLong crc; /* of what has been read, trailers apart */
	struct recording_header header;
	_Alignas(RECORDING_ALIGN) uint8_t event[RECORDING_EVENT_MAX];
};

/* Reads up to @len bytes; returns how many, fewer only at the end of the file or with r->error set. */
static size_t read_bytes(struct recording *r, void *data, size_t len)
{
	size_t n;

	errno = 0;
	n = fread(data, 1, len, r->in);
	r->offset += n;
	if (n < len && ferror(r->in))
		r->error = errno ? -errno : -EIO;
	return n;
}

static int fail(struct recording *r, int error, struct failure *f, const char *what, uint64_t at)
{
	r->error = error;
	return failure_set(f, error, "recording %s at byte %" PRIu64 "; what came before it has been read", what, at);
}

/* --- Header --- */

static int header_fail(struct failure *f, const char *path, const char *what, const char *remedy)
{
	return failure_set(f, -EBADMSG, "%s %s; %s", path, what, remedy);
}

static int header_check(const struct recording_header *h, size_t n, const char *path, struct failure *f)
{
	static const char *const remedy = "name a file that `cbtrace record` wrote";

	if (n < RECORDING_MAGIC_LEN || memcmp(h->magic, RECORDING_MAGIC, RECORDING_MAGIC_LEN) != 0)
		return header_fail(f, path, n ? "is no recording" : "is empty, no recording", remedy);
	if (n < offsetof(struct recording_header, pad))
		return header_fail(f, path, "is cut short in its header", "record anew");
	if (h->byte_order == __builtin_bswap32(RECORDING_BYTE_ORDER))
		return failure_set(f, -EPROTONOSUPPORT,
				   "%s was recorded on a machine of the other byte order; replay it on one like that",
				   path);
	if (h->byte_order != RECORDING_BYTE_ORDER)
		return header_fail(f, path, "has a damaged header", "record anew");
	if (h->abi != CBT_ABI_VERSION)
		return failure_set(f, -EPROTONOSUPPORT,
				   "%s has version %u of the events, this cbtrace reads version %u; replay it with the "
				   "cbtrace that recorded it",
				   path, h->abi, CBT_ABI_VERSION);
	if (n < sizeof(*h))
		return header_fail(f, path, "is cut short in its header", "record anew");
	if (h->header_len < sizeof(*h) || h->header_len > HEADER_LEN_MAX || h->header_len % RECORDING_ALIGN || h->pad ||
	    h->host.h.type != CBT_EV_HOST || h->host.h.len != sizeof(h->host) ||
	    event_check(&h->host, sizeof(h->host)) < 0)
		return header_fail(f, path, "has a damaged header", "record anew");
	return 0;
}

static int header_read(struct recording *r, const char *path, struct failure *f)
{
	uint8_t skipped[HEADER_LEN_MAX];
	size_t n = read_bytes(r, &r->header, sizeof(r->header)), rest;
	int error;

	if (r->error)
		return failure_set(f, r->error, "cannot read %s: %s; name a file that can be read", path,
				   strerror(-r->error));
	error = header_check(&r->header, n, path, f);
	if (error < 0)
		return error;
	/* A later writer of the same ABI version may have added host facts. */
	rest = r->header.header_len - sizeof(r->header);
	if (read_bytes(r, skipped, rest) != rest)
		return header_fail(f, path, "is cut short in its header", "record anew");
	r->crc = crc32(0, (const Bytef *)&r->header, sizeof(r->header));
	r->crc = crc32(r->crc, skipped, (uInt)rest);
	return 0;
}

static int file_open(const char *path, struct failure *f)
{
	struct stat st;
	int fd;

	if (strcmp(path, "-") == 0)
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return failure_set(f, -errno, "cannot open %s: %s; name a file that can be read", path,
				   strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		return failure_set(f, -EISDIR, "%s is a directory; name a file that `cbtrace record` wrote", path);
	}
	return fd;
}

int recording_open(const char *path, struct recording **ret_recording, struct failure *f)
{
	struct recording *r = calloc(1, sizeof(*r));
	int fd, error;

	if (!r)
		return failure_set(f, -ENOMEM, "out of memory; free some");
	fd = file_open(path, f);
	if (fd < 0) {
		free(r);
		return fd;
	}
	r->in = fdopen(fd, "r");
	if (!r->in) {
		close(fd);
		free(r);
		return failure_set(f, -ENOMEM, "out of memory; free some");
	}
	setvbuf(r->in, NULL, _IOFBF, READ_BUFFER);
	error = header_read(r, path, f);
	if (error < 0) {
		recording_close(r);
		return error;
	}
	*ret_recording = r;
	return 0;
}

void recording_close(struct recording *r)
{
	if (!r)
		return;
	fclose(r->in);
	free(r);
}

/* --- Events --- */

static bool is_zero(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i])
			return false;
	return true;
}

/* After the end mark there must be nothing. */
static int read_end(struct recording *r, struct failure *f)
{
	uint8_t more;

	if (read_bytes(r, &more, 1) == 1)
		return fail(r, -EBADMSG, f, "goes on after its end mark", r->offset - 1);
	return 0;
}

static int read_failed(struct recording *r, struct failure *f)
{
	return failure_set(f, r->error, "cannot read the recording: %s; what came before has been read",
			   strerror(-r->error));
}

/* Does what the file holds of events fit the sum behind this one? */
static bool sum_fits(struct recording *r, size_t len, const struct recording_trailer *t)
{
	r->crc = crc32(r->crc, r->event, (uInt)len);
	return t->crc == (uint32_t)r->crc && !t->pad;
}

static int read_event(struct recording *r, struct failure *f)
{
	const uint64_t at = r->offset;
	struct cbt_hdr *h = (struct cbt_hdr *)r->event;
	struct recording_trailer t;
	size_t n = read_bytes(r, h, sizeof(*h)), rest;

	if (r->error)
		return read_failed(r, f);
	if (n == 0) {
		r->error = -ENODATA;
		return failure_set(f, -ENODATA,
				   "recording ends without its end mark: the recorder was killed or its disk was full; "
				   "what is there has been read");
	}
	if (n < sizeof(*h))
		return fail(r, -ENODATA, f, "is cut short in the event", at);
	if (h->len < sizeof(*h) || recording_padded(h->len) > RECORDING_EVENT_MAX)
		return fail(r, -EBADMSG, f, "is damaged", at);
	rest = recording_padded(h->len) - sizeof(*h);
	n = read_bytes(r, r->event + sizeof(*h), rest);
	n += read_bytes(r, &t, sizeof(t));
	if (r->error)
		return read_failed(r, f);
	if (n < rest + sizeof(t))
		return fail(r, -ENODATA, f, "is cut short in the event", at);
	/* The header's HOST event is the only one. */
	if (!sum_fits(r, sizeof(*h) + rest, &t) || event_check(h, h->len) < 0 || h->type == CBT_EV_HOST ||
	    !is_zero(r->event + h->len, rest + sizeof(*h) - h->len))
		return fail(r, -EBADMSG, f, "is damaged", at);
	r->ended = h->type == CBT_EV_END;
	return 1;
}

int recording_next(struct recording *r, const struct cbt_hdr **ret_event, struct failure *f)
{
	int n;

	if (r->error)
		return r->error;
	if (!r->host_told) {
		r->host_told = true;
		*ret_event = &r->header.host.h;
		return 1;
	}
	if (r->ended)
		return read_end(r, f);
	n = read_event(r, f);
	if (n > 0)
		*ret_event = (const struct cbt_hdr *)r->event;
	return n;
}
