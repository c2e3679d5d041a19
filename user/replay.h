/* SPDX-License-Identifier: BSD-2-Clause */
/* replay: the events of a recording, through the same code as live ones. */
#ifndef CBTRACE_REPLAY_H
#define CBTRACE_REPLAY_H

#include "failure.h"
#include "options.h"

/* Returns an exit status (enum exit_status), with a line in @f if it is not fine. */
int replay_run(const struct options *o, struct failure *f);

#endif
