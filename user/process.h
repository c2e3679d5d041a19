/* SPDX-License-Identifier: BSD-2-Clause */
/* What correlation remembers of a process. */
#ifndef CBTRACE_PROCESS_H
#define CBTRACE_PROCESS_H

#include "attempt.h"
#include "library_conn.h"

#define PROCESS_PAST_MAX      8	 /* attempts remembered after their end, to recognise retries */
#define PROCESS_ADDRESSES_MAX 16 /* addresses remembered of each */
#define PROCESS_LOOKUPS_MAX \
	512 /* questions of one process that belong to no attempt (yet); the oldest is forgotten first */

/* An attempt that has ended, as far as the next one must know it. */
struct past {
	uint64_t id, end_ns;
	enum config config;
	enum outcome outcome;
	char *domain, *server; /* NULL unknown */
	size_t n_addresses;
	struct cbt_endpoint addresses[PROCESS_ADDRESSES_MAX]; /* answers × port, and those tried */
};

struct process {
	uint64_t key;		     /* tgid; first member: the table hashes it */
	TAILQ_ENTRY(process) by_age; /* least recently seen first */
	char comm[CBT_COMM_LEN];
	char *cgroup; /* NULL unknown */
	bool forwarder;
	uint64_t exit_ns;		    /* 0 lives */
	unsigned int refs;		    /* attempts, legs and lookups that point here */
	struct library_conn_list libraries; /* its TLS connections as its library sees them, the latest first */
	uint8_t library;		    /* enum cbt_library_state; 0 unknown */
	struct lookup_list lookups;	    /* of no attempt */
	size_t n_lookups;
	struct attempt_list attempts;	    /* in flight */
	struct past past[PROCESS_PAST_MAX]; /* the latest first */
	size_t n_past;
};

TAILQ_HEAD(process_list, process);

#endif
