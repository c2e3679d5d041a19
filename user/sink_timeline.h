/* SPDX-License-Identifier: BSD-2-Clause */
/* Reports for a person: each attempt as a timeline, each session's start and end as a line. */
#ifndef CBTRACE_SINK_TIMELINE_H
#define CBTRACE_SINK_TIMELINE_H

#include <stdbool.h>
#include <stdio.h>

#include "options.h"
#include "report.h"

#define TIMELINE_WIDTH_MIN     60
#define TIMELINE_WIDTH_DEFAULT 110 /* where there is no terminal */
#define TIMELINE_WIDTH_MAX     200

struct timeline_options {
	unsigned int width; /* columns; brought between the two bounds */
	bool color;
	bool unicode; /* bars and marks beyond ASCII */
	bool flush;   /* after every report */
};

/* What @out can show: a terminal's width (or COLUMNS), colours unless NO_COLOR or no terminal, the locale's charset. */
void timeline_options_detect(FILE *out, enum color color, struct timeline_options *ret_options);

struct sink_timeline;

/* NULL for want of memory. @out stays the caller's. */
struct sink_timeline *sink_timeline_new(FILE *out, const struct timeline_options *options);
void sink_timeline_free(struct sink_timeline *s); /* accepts NULL */
void sink_timeline_handler(struct sink_timeline *s, struct report_handler *ret_handler);

/* The table at the end: how many attempts had which outcome, how long they took, why they failed. Nothing if there was
 * no attempt. */
void sink_timeline_summary(struct sink_timeline *s);

/* The first error of memory or output: 0 or a negative errno. */
int sink_timeline_error(const struct sink_timeline *s);

#endif
