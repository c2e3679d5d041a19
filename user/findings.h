/* SPDX-License-Identifier: BSD-2-Clause */
/* Known patterns that an attempt proves from its own events, each with what it cost: DESIGN section 7. Pure. */
#ifndef CBTRACE_FINDINGS_H
#define CBTRACE_FINDINGS_H

#include "attempt.h"

#define FINDINGS_MAX	       16
#define FINDING_TEXT_MAX       256
#define FINDING_EXPIRES_SOON_S (30LL * 86400)

struct findings {
	size_t n;
	struct report_finding list[FINDINGS_MAX];
	char text[FINDINGS_MAX][FINDING_TEXT_MAX];
};

void findings_collect(const struct attempt *a, const struct attempt_names *names, const struct attempt_verdict *verdict,
		      struct findings *ret);

#endif
