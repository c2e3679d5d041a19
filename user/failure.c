// SPDX-License-Identifier: BSD-2-Clause
/* One line that says why and what to do; see failure.h. */
#include <stdarg.h>
#include <stdio.h>

#include "failure.h"

int failure_set(struct failure *f, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	for (char *p = f->text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return error;
}
