/* SPDX-License-Identifier: BSD-2-Clause */
/* What cbtrace needs of a host, told one by one; and the same as the first thing that a live command looks at. */
#ifndef CBTRACE_CHECK_H
#define CBTRACE_CHECK_H

#include "failure.h"
#include "options.h"

/* `cbtrace check`. Returns an exit status. */
int check_run(const struct options *o, struct failure *f);

/* What can be said before anything is loaded: kernel, privileges, BTF. 0, or a negative errno with a line in @f. */
int check_host(struct failure *f);

#endif
