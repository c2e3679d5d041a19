/* SPDX-License-Identifier: BSD-2-Clause */
/* Reports as JSON, one object a line: docs/json.md and docs/schema/ say what each holds. */
#ifndef CBTRACE_SINK_JSON_H
#define CBTRACE_SINK_JSON_H

#include <stdbool.h>
#include <stdio.h>

#include "report.h"

#define SINK_JSON_SCHEMA 1 /* "schema" of every object; raised when a reader of the old one would misread */

struct sink_json;

/* @events: a line for each lookup and leg too. @flush: after every line. NULL for want of memory. @out stays the
 * caller's. */
struct sink_json *sink_json_new(FILE *out, bool events, bool flush);
void sink_json_free(struct sink_json *s); /* accepts NULL */
void sink_json_handler(struct sink_json *s, struct report_handler *ret_handler);

/* The first error of memory or output: 0 or a negative errno. A line that met one is left out as a whole, but for what
 * the file took of it. */
int sink_json_error(const struct sink_json *s);

#endif
