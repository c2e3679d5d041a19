/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One TCP connect() of an attempt: what the wire and the kernel said of the connection, and the TLS on it. Pure.
 * Times are ns, CLOCK_MONOTONIC; 0 is "not yet".
 */
#ifndef CBTRACE_LEG_H
#define CBTRACE_LEG_H

#include <sys/queue.h>

#include <cbtrace/event.h>
#include "report.h"
#include "tls.h"

struct attempt;
struct library_conn;
struct registration;
struct process;
struct session;

struct leg {
	uint64_t key; /* socket cookie; first member: the tables hash it */
	TAILQ_ENTRY(leg) by_attempt;
	struct process *process;
	struct attempt *attempt; /* NULL once the attempt has been reported */
	struct session *session; /* NULL unless it carries one */
	uint32_t count;		 /* connect count of the socket */
	struct cbt_endpoint remote;
	char *target; /* SRV target or name looked up; NULL */
	int priority, weight;
	bool inferred; /* address not from an answer that was seen (hosts file, cache) */
	bool lost;
	bool sni_compared; /* with the names of its attempt */

	uint64_t connect_ns;
	uint64_t syn_ns, last_syn_ns; /* first and latest SYN out */
	unsigned int syn_sent;
	uint64_t synack_ns;
	uint64_t rst_in_ns, rst_out_ns, fin_in_ns, fin_out_ns;
	uint64_t closed_ns;   /* the kernel's state became CLOSE */
	uint64_t released_ns; /* the last holder closed the descriptor */
	int sk_err;	      /* positive errno at close */
	bool established;
	bool client_closed_first, server_closed_first; /* at most one: who took the first step to the end */
	bool not_tls;

	uint64_t rtt_ns;    /* smallest seen; 0 unknown */
	uint32_t timed_end; /* sequence number whose ACK is awaited */
	uint64_t timed_ns;  /* when it left; 0 none */

	/* Nagle's algorithm at the server against this host's delayed ACK: what the server had next came only when a
	 * bare ACK went out that had been held back. */
	uint64_t data_in_ns;			/* latest segment with data in */
	uint64_t bare_ack_ns, bare_ack_held_ns; /* latest bare ACK that was held back, and for how long; 0 none */
	uint32_t acked;				/* greatest acknowledgement out */
	uint64_t nagle_ns, nagle_cost_ns;	/* when such bytes came in last, and the waits' sum */

	struct tls_conn *tls;
	struct library_conn *library; /* what its TLS library tells of it; NULL not (yet) known */
};

TAILQ_HEAD(leg_list, leg);

/* From its CONNECT event. NULL for want of memory. */
struct leg *leg_new(const struct cbt_ev_connect *ev);
void leg_free(struct leg *l); /* accepts NULL; must be in no list or table */

void leg_segment(struct leg *l, const struct cbt_ev_tcp *ev);
void leg_state(struct leg *l, const struct cbt_ev_state *ev);
void leg_release(struct leg *l, uint64_t ts);

/* NULL while no TLS connection can be told of. */
const struct tls_handshake *leg_handshake(const struct leg *l);
bool leg_tls_started(const struct leg *l);
bool leg_tls_complete(const struct leg *l);
/* Did either side speak something else? */
bool leg_not_tls(const struct leg *l);

/* Its plaintext, if that is visible and XMPP as far as it goes; NULL otherwise. */
const struct registration *leg_registration(const struct leg *l);
/* A fatal alert of the server. The library's word counts more than the wire's, where an encrypted close_notify looks
 * the same. */
struct tls_alert_seen leg_alert_received(const struct leg *l);

/* When a session begins on it: with the registration, else with the handshake complete. */
uint64_t leg_session_start(const struct leg *l);

/* Is the connection gone for its owner: closed by the kernel or released? */
bool leg_ended(const struct leg *l);
/* Has something been decided against it: refused, reset, closed, alert, not TLS? Nothing more is expected then. */
bool leg_failed(const struct leg *l);

/* Start of phase tcp and its end; the end is 0 while pending. */
uint64_t leg_tcp_start(const struct leg *l);
uint64_t leg_tcp_end(const struct leg *l);
/* "connected", "pending", or a reason of phase tcp. @exit_ns: when the process exited, 0 if it lives. */
const char *leg_tcp_result(const struct leg *l, uint64_t exit_ns);

/* End of phase tls when it failed: alert, close or exit; 0 while pending. */
uint64_t leg_tls_end(const struct leg *l);
/* When the connection ended, by whichever sign came first; 0 while up. */
uint64_t leg_end(const struct leg *l);
/* When nothing more was to be expected of it: the end of the phase that it failed in, or of its handshake; 0 before. */
uint64_t leg_over(const struct leg *l);
/* Latest sign of life that was seen. */
uint64_t leg_activity(const struct leg *l);

#endif
