/* SPDX-License-Identifier: BSD-2-Clause */
/* From an attempt that has ended (or was interrupted) to the report that sinks read. Pure. */
#ifndef CBTRACE_ATTEMPT_REPORT_H
#define CBTRACE_ATTEMPT_REPORT_H

#include "attempt.h"

struct attempt_context {
	int64_t realtime_offset; /* ns: wall clock = monotonic + this */
	const char *host;	 /* NULL unknown */
	const char *domain;	 /* --domain, for attempts that name none; NULL */
	const char *server;	 /* --server */
	struct cert_cache *certs;
	uint64_t interrupted_ns; /* when the source ended with the attempt in flight; 0: the attempt ended by itself */
};

/* Names as reported; NULL unknown. *@buf serves an address that stands for the server. */
const char *attempt_domain(const struct attempt *a, const struct attempt_context *ctx);
const char *attempt_server(const struct attempt *a, const struct attempt_context *ctx, char buf[static 64]);

/* Builds the report and hands it to @handler. The verdict is returned too. 0 or -ENOMEM (nothing reported). */
int attempt_report(const struct attempt *a, const struct attempt_context *ctx, const struct report_handler *handler,
		   struct attempt_verdict *ret_verdict);

/* One lookup or leg of the attempt, offsets from @start_ns. The answers belong to the lookup. */
void attempt_fill_lookup(const struct lookup *l, uint64_t attempt_id, uint64_t start_ns, struct report_lookup *r,
			 struct report_upstream upstream[static LOOKUP_UPSTREAM_MAX]);
void attempt_fill_leg(const struct leg *l, uint64_t attempt_id, uint64_t start_ns, struct report_leg *r);

#endif
