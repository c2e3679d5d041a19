/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the library probes tell of one TLS connection of a process: the ClientHello's random, which ties it to a socket,
 * the peer's certificates, why the library gave up, and the plaintext's elements. Pure, bounded; owns its chain. Times
 * are ns, CLOCK_MONOTONIC; 0 is "not yet".
 */
#ifndef CBTRACE_LIBRARY_CONN_H
#define CBTRACE_LIBRARY_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <cbtrace/event.h>
#include "registration.h"

#define LIBRARY_CHAIN_MAX  ((size_t)64 * 1024) /* bytes of certificates kept of one connection */
#define LIBRARY_ALERT_NONE (-1)

struct leg;
struct process;

struct library_conn {
	uint64_t key;			  /* the event's conn; first member: the table hashes it */
	TAILQ_ENTRY(library_conn) by_age; /* oldest first */
	TAILQ_ENTRY(library_conn) by_process;
	struct process *process;
	struct leg *leg; /* NULL: not joined (yet) */
	uint8_t random[32];
	uint64_t hello_ns;

	uint8_t *chain; /* as a Certificate message lists it: 3-byte length and DER each; NULL none */
	size_t chain_len;
	bool chain_cut;	   /* some of it was lost or too much */
	uint32_t cert_off; /* bytes of the certificate at hand that have come */
	uint32_t cert_len; /* of that many; 0: none at hand */
	uint16_t certs;	   /* whole ones */

	int alert_received; /* description of a fatal alert (RFC 8446 section 6); LIBRARY_ALERT_NONE */
	uint64_t alert_ns;
	bool verify_failed;
	int32_t verify_result;			   /* X509_V_*; CBT_VERIFY_UNKNOWN */
	uint64_t close_sent_ns, close_received_ns; /* close_notify */
	bool freed;				   /* nothing more will be told of it */
	struct registration registration;
};

TAILQ_HEAD(library_conn_list, library_conn);

struct library_conn *library_conn_new(const struct cbt_ev_lib_hello *ev); /* NULL for want of memory */
void library_conn_free(struct library_conn *c); /* accepts NULL; must be in no list or table */

/* -ENOMEM, -ENOSPC: the chain is cut. */
int library_conn_cert(struct library_conn *c, const struct cbt_ev_lib_cert *ev);
void library_conn_error(struct library_conn *c, const struct cbt_ev_lib_error *ev);
void library_conn_close(struct library_conn *c, const struct cbt_ev_lib_close *ev);
/* As registration_element(). */
uint64_t library_conn_element(struct library_conn *c, const struct cbt_ev_lib_element *ev);

#endif
