// SPDX-License-Identifier: BSD-2-Clause
// sources: user/addr.c user/attempt.c user/attempt_report.c user/cert.c user/claims.c user/correlate.c
// sources: user/correlate_attempt.c user/correlate_dns.c user/correlate_leg.c user/correlate_process.c user/dns.c
// sources: user/event.c user/failure.c user/file.c user/findings.c user/leg.c user/lookup.c user/report.c
// sources: user/session.c user/source_recording.c user/stream.c user/table.c user/text.c user/timeline.c user/tls.c
// sources: user/tls_names.c
/* A recording that anybody may have made or damaged, through the reader and the correlator. Its header is made right,
 * or little else would be read. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "correlate.h"
#include "recording.h"
#include "source_recording.h"

static int recording_make(const uint8_t *data, size_t size)
{
	struct recording_header h = {.magic = RECORDING_MAGIC,
				     .byte_order = RECORDING_BYTE_ORDER,
				     .abi = CBT_ABI_VERSION,
				     .header_len = sizeof(h),
				     .host.h = {.ts = 1, .len = sizeof(h.host), .type = CBT_EV_HOST}};
	int fd = memfd_create("recording", MFD_CLOEXEC);

	assert(fd >= 0 && write(fd, &h, sizeof(h)) == (ssize_t)sizeof(h));
	assert(write(fd, data, size) == (ssize_t)size);
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
