/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registration and what follows it on one connection, as the elements of its plaintext tell: XEP-0114 (handshake), SASL
 * with XEP-0225's bind, and the stanzas of the session. What was not recognised is unknown. Pure. Times are ns,
 * CLOCK_MONOTONIC; 0 is "not yet".
 */
#ifndef CBTRACE_REGISTRATION_H
#define CBTRACE_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>
#include "report.h"

/* A stream error so soon after the server's consent takes it back: `conflict` may follow accepted credentials. */
#define REGISTRATION_SETTLE_NS 50000000ULL

#define REGISTRATION_ASKED_MAX                                                                \
	32 /* requests of the server whose answers are timed at once; the oldest is forgotten \
	    */

struct registration_request {
	uint64_t id_hash, ts;
};

struct registration {
	const char *protocol;			  /* "xep0114", "sasl"; NULL unknown */
	char component[CBT_ELEMENT_DATA_MAX + 1]; /* the client's `to`; "" unknown */
	char error[CBT_ELEMENT_NAME_LEN];	  /* condition that refused it, with underscores; "" none */
	char stream_error[CBT_ELEMENT_NAME_LEN];  /* condition of the first stream error; "" none */
	bool not_xmpp;
	bool gap;		   /* some plaintext was not looked at */
	uint64_t first_out_ns;	   /* first plaintext byte of the client, as its library took it */
	uint64_t stream_in_ns;	   /* the server opened its stream */
	uint64_t asked_ns;	   /* credentials out */
	uint64_t authenticated_ns; /* SASL: success in; the bind is still to come */
	uint64_t bind_hash;	   /* id of the bind request */
	uint64_t accepted_ns, refused_ns;
	bool stream_error_by_client;
	uint64_t stream_closed_ns[2]; /* end tag of the stream, index enum cbt_dir */

	/* The session, from the server's consent on. */
	uint64_t stanzas[2][STANZAS]; /* index enum cbt_dir */
	uint64_t keepalives[2];	      /* white space between stanzas, and pings (XEP-0199), which are stanzas too */
	uint64_t bytes[2];	      /* plaintext since the connection began */
	uint64_t last_inbound_ns;     /* element or keep-alive */
	uint64_t login_ns;	      /* first stanza in that is neither an answer nor a ping */
	uint64_t login_hash;
	bool login_answered_by_any; /* it was no iq request: whatever the client says next answers it */
	uint64_t login_answer_ns;
	struct registration_request asked[REGISTRATION_ASKED_MAX];
	size_t n_asked;
};

/*
 * The next element of the connection. If it answers a request of the server after registration, returns how long the
 * client took, ns; else 0.
 */
uint64_t registration_element(struct registration *r, const struct cbt_ev_lib_element *ev);

/* When its outcome is settled if nothing more comes; 0: not known yet. */
uint64_t registration_settled(const struct registration *r);
uint64_t registration_stanzas(const struct registration *r, int dir);
bool registration_accepted(const struct registration *r);
/* Has the client said something that the server has not answered? */
bool registration_awaits(const struct registration *r);
/* When it became the client's turn, or the client spoke first; 0: neither. What else comes in meanwhile is none of the
 * registration's. */
uint64_t registration_turn(const struct registration *r);

#endif
