// SPDX-License-Identifier: BSD-2-Clause
// sources: user/addr.c user/attempt.c user/attempt_report.c user/cert.c user/claims.c user/correlate.c
// sources: user/correlate_attempt.c user/correlate_dns.c user/correlate_leg.c user/correlate_library.c
// sources: user/correlate_process.c user/dns.c user/event.c user/failure.c user/file.c user/findings.c user/leg.c
// sources: user/library_conn.c user/lookup.c user/registration.c user/report.c user/session.c
// sources: user/source_recording.c user/stream.c user/table.c user/text.c user/timeline.c user/tls.c
// sources: user/tls_names.c
/* A recording that anybody may have made or damaged, through the reader and the correlator. Its header and its sums are
 * made right, or little else would be read. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <zlib.h>

#include "correlate.h"
#include "recording.h"
#include "source_recording.h"

static void put(int fd, const void *data, size_t len)
{
	assert(write(fd, data, len) == (ssize_t)len);
}

/* How much of @data the reader will take for one event; all of it if it makes no sense. */
static size_t frame_len(const uint8_t *data, size_t size)
{
	struct cbt_hdr h;

	if (size < sizeof(h))
		return size;
	memcpy(&h, data, sizeof(h));
	return h.len < sizeof(h) || recording_padded(h.len) > size ? size : recording_padded(h.len);
}

static int recording_make(const uint8_t *data, size_t size)
{
	struct recording_header h = {.magic = RECORDING_MAGIC,
				     .byte_order = RECORDING_BYTE_ORDER,
				     .abi = CBT_ABI_VERSION,
				     .header_len = sizeof(h),
				     .host.h = {.ts = 1, .len = sizeof(h.host), .type = CBT_EV_HOST}};
	int fd = memfd_create("recording", MFD_CLOEXEC);
	uLong crc = crc32(0, (const Bytef *)&h, sizeof(h));

	assert(fd >= 0);
	put(fd, &h, sizeof(h));
	while (size) {
		struct recording_trailer t = {0};
		size_t len = frame_len(data, size);

		crc = crc32(crc, data, (uInt)len);
		t.crc = (uint32_t)crc;
		put(fd, data, len);
		put(fd, &t, sizeof(t));
		data += len;
		size -= len;
	}
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct report_handler silent;
	static const uint16_t port = 5223;
	const struct correlate_config config = {.ports = &port, .n_ports = 1};
	struct correlator *c = correlator_new(&config, &silent);
	const struct cbt_hdr *ev;
	struct recording *r = NULL;
	struct failure f = {0};
	int fd = recording_make(data, size);
	uint64_t last = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert(c);
	if (recording_open(path, &r, &f) == 0) {
		while (recording_next(r, &ev, &f) > 0) {
			correlate_event(c, ev);
			last = ev->ts;
		}
		correlate_finish(c, last);
	}
	recording_close(r);
	correlator_free(c);
	close(fd);
	return 0;
}
