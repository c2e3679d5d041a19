/* SPDX-License-Identifier: BSD-2-Clause */
/* The usual process_* metrics of this process, from /proc. */
#ifndef CBTRACE_PROCESS_STAT_H
#define CBTRACE_PROCESS_STAT_H

#include <stdint.h>

#include "text.h"

/* When this process started, ns since the epoch; 0 unknown. Ask once: it moves with the clock. */
int64_t process_stat_start(void);
/* What cannot be read is left out. */
void process_stat_write(struct text *out, int64_t start_ns);

#endif
