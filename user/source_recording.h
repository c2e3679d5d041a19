/* SPDX-License-Identifier: BSD-2-Clause */
/* The reader of recordings. Trusts nothing in the file; memory is bounded by the longest event. */
#ifndef CBTRACE_SOURCE_RECORDING_H
#define CBTRACE_SOURCE_RECORDING_H

#include <cbtrace/event.h>
#include "failure.h"

struct recording;

/* "-" is the standard input. 0, or a negative errno with a line in @f: -EBADMSG no recording, -EPROTONOSUPPORT of
 * another ABI version or byte order, or that of the file. */
int recording_open(const char *path, struct recording **ret_recording, struct failure *f);
void recording_close(struct recording *r); /* accepts NULL */

/*
 * The next event, the HOST event of the header first: valid until the next call. 1; 0 at the end of a complete
 * recording; or a negative errno with a line in @f: -EBADMSG damaged, -ENODATA cut short or without its end mark (all
 * that was there has been delivered), or that of reading.
 */
int recording_next(struct recording *r, const struct cbt_hdr **ret_event, struct failure *f);

#endif
