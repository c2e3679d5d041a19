/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a function that may fail for a reason of the outside world says so: one line, with the remedy, that main() can
 * print as it is. What came from outside can hold line breaks and control characters; they never reach the line.
 */
#ifndef CBTRACE_FAILURE_H
#define CBTRACE_FAILURE_H

#include <stddef.h>

#define FAILURE_MAX 512

struct failure {
	char text[FAILURE_MAX]; /* "" if nothing failed */
};

/* Write the line; returns @error, so that a caller can say `return failure_set(…)`. */
int failure_set(struct failure *f, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
