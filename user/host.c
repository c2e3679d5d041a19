// SPDX-License-Identifier: BSD-2-Clause
/* Clocks and names of this host; see host.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "file.h"
#include "host.h"

#define OFFSET_TRIES 8

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

uint64_t host_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t host_clock_offset(void)
{
	uint64_t narrowest = UINT64_MAX;
	int64_t offset = 0;

	/* The reading between two others that were closest together is the one least disturbed. */
	for (int i = 0; i < OFFSET_TRIES; i++) {
		uint64_t before = clock_ns(CLOCK_MONOTONIC);
		uint64_t real = clock_ns(CLOCK_REALTIME);
		uint64_t gap = clock_ns(CLOCK_MONOTONIC) - before;

		if (gap < narrowest) {
			narrowest = gap;
			offset = (int64_t)(real - before - gap / 2);
		}
	}
	return offset;
}

static void name_copy(char field[static CBT_NAME_LEN], const char *text)
{
	snprintf(field, CBT_NAME_LEN, "%.*s", CBT_NAME_LEN - 1, text);
}

void host_describe(struct cbt_ev_host *ret_event)
{
	struct cbt_ev_host ev = {.h = {.len = sizeof(ev), .type = CBT_EV_HOST}};
	struct utsname u;
	char *boot_id;

	if (uname(&u) == 0) {
		name_copy(ev.host, u.nodename);
		name_copy(ev.kernel, u.release);
	}
	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", CBT_NAME_LEN, &boot_id, NULL) == 0) {
		boot_id[strcspn(boot_id, "\n")] = '\0';
		name_copy(ev.boot_id, boot_id);
		free(boot_id);
	}
	ev.realtime_offset = host_clock_offset();
	ev.h.ts = host_now();
	*ret_event = ev;
}
