/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sinks that a command feeds, behind one report_handler. Live and replay share it: what they print can differ only
 * by the events.
 */
#ifndef CBTRACE_OUTPUT_H
#define CBTRACE_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "options.h"
#include "report.h"
#include "text.h"

struct output;

/* 0 or a negative errno with a line in @f. */
int output_open(const struct options *o, struct output **ret_output, struct failure *f);
void output_free(struct output *out); /* accepts NULL */

/* One more that listens, before the sinks. Only before the first report. */
void output_add(struct output *out, const struct report_handler *handler);

/* What the correlator is to be given; valid as long as @out. */
const struct report_handler *output_handler(const struct output *out);

/* An event that the correlator was given, for the metrics' own health. */
void output_count(struct output *out, uint16_t type);
void output_in_flight(struct output *out, size_t n);

/* The attempt that is being reported is the last of anything (--once: what is pending was not asked for). */
void output_stop(struct output *out);

/* Add the text of the metrics; @arg is the output. As http_open() wants it. */
int output_metrics(struct text *text, void *arg);

/* All that has been reported must have been written. 0, or a negative errno with a line in @f. */
int output_flush(struct output *out, struct failure *f);

/* What comes at the end: the summary, or the metrics of a replay. As output_flush(). */
int output_finish(struct output *out, struct failure *f);

#endif
