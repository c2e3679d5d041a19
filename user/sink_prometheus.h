/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reports added up as Prometheus metrics, text format 0.0.4: docs/metrics.md lists them. Bounded whatever names come:
 * see there.
 */
#ifndef CBTRACE_SINK_PROMETHEUS_H
#define CBTRACE_SINK_PROMETHEUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report.h"
#include "text.h"

#define PROM_PAIRS_MAX	  100  /* domain/server pairs with series of their own */
#define PROM_PAIRS_KEPT	  10   /* of these kept free for servers of --domain */
#define PROM_SERIES_MAX	  4096 /* of one metric; beyond it the series of "_other" count */
#define PROM_SESSIONS_MAX 4096 /* sessions followed at a time */
#define PROM_OTHER	  "_other"

struct prom_config {
	const char *domain, *server; /* --domain, --server: their place is kept; NULL none */
	size_t pairs_max;	     /* 0: PROM_PAIRS_MAX */
	bool process;		     /* report cbtrace's own process_* as well */
};

struct prom;

struct prom *prom_new(const struct prom_config *config); /* copies the strings; NULL for want of memory */
void prom_free(struct prom *p);				 /* accepts NULL */
void prom_handler(struct prom *p, struct report_handler *ret_handler);

void prom_count_event(struct prom *p, uint16_t type); /* an event that the correlator was given */
void prom_set_in_flight(struct prom *p, size_t n);

/* Add the text to @out. 0, or the error of @out. */
int prom_write(struct prom *p, struct text *out);

#endif
