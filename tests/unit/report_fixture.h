/* SPDX-License-Identifier: BSD-2-Clause */
/* Reports built by hand, for the tests of the sinks. Static: each call of a builder overwrites what it built before. */
#ifndef CBTRACE_TEST_REPORT_FIXTURE_H
#define CBTRACE_TEST_REPORT_FIXTURE_H

#include <stddef.h>

#include "report.h"

#define FIXTURE_START_NS INT64_C(1795323600123456789) /* 2026-11-22T05:00:00.123456789Z */
#define FIXTURE_MS(x)	 ((int64_t)((x)*1000000.0 + 0.5))

/* SRV, A, wait, TCP, TLS 1.2 with its certificate: connected in 48.31 ms. */
struct report_attempt *fixture_good(void);
/* SRV without any answer from a resolver: failed, and nothing else known. */
struct report_attempt *fixture_dns_timeout(void);
/* First target refused, second reached; TLS 1.3, retry, findings, incomplete: abandoned in tls. */
struct report_attempt *fixture_failover(void);
/* Every pointer NULL, every list empty, every number unknown: interrupted. */
struct report_attempt *fixture_unknown(void);
/* As fixture_good(), with hostile bytes in every name. */
struct report_attempt *fixture_hostile(void);

struct report_session *fixture_session(enum session_state state);

/* What @out was given between two calls of it: a FILE whose content is read back. */
struct capture {
	char *data;
	size_t size;
	void *file; /* FILE */
};
void capture_begin(struct capture *c);
const char *capture_end(struct capture *c); /* valid until capture_free() */
void capture_free(struct capture *c);

#endif
