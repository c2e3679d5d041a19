/* SPDX-License-Identifier: BSD-2-Clause */
/* The clocks of this host and what it is called: what CBT_EV_HOST and CBT_EV_CLOCK say. */
#ifndef CBTRACE_HOST_H
#define CBTRACE_HOST_H

#include <stdint.h>

#include <cbtrace/event.h>

/* ns, CLOCK_MONOTONIC. */
uint64_t host_now(void);

/* ns: CLOCK_REALTIME less CLOCK_MONOTONIC, to better than a microsecond unless this thread is preempted each time. */
int64_t host_clock_offset(void);

/* The event that begins a live stream, with its time and offset. */
void host_describe(struct cbt_ev_host *ret_event);

#endif
