/* SPDX-License-Identifier: BSD-2-Clause */
/* Real TLS between two OpenSSL peers over memory BIOs: what each sent, flight by flight, and where the client was done.
 */
#ifndef CBTRACE_TEST_TLSPAIR_H
#define CBTRACE_TEST_TLSPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#define TLSPAIR_FLIGHTS_MAX 32
#define TLSPAIR_APP_OUT	    100 /* bytes that the client writes, and the server answers with */
#define TLSPAIR_APP_IN	    200

/* The last: with the session itself. */
enum tlspair_early { EARLY_NONE = 0, EARLY_ACCEPTED, EARLY_REFUSED, EARLY_REFUSED_FULL };

struct tlspair_options {
	int min_version, max_version;	    /* of both; 0: TLS 1.3 only */
	int server_max_version;		    /* 0: as above */
	const char *suites, *ciphers;	    /* TLS 1.3, TLS 1.2; NULL: OpenSSL's choice */
	const char *groups, *server_groups; /* NULL: OpenSSL's choice */
	const char *sni;
	const char *alpn, *server_alpn; /* one protocol each */
	bool untrusted;			/* the client does not know the server's issuer */
	bool ask_client;		/* the server asks for a certificate */
	bool require_client;		/* and refuses the client without */
	bool client_cert;		/* the client has one */
	bool long_chain;		/* a server certificate that fills several records */
	bool no_tickets;
	bool app_with_finished; /* the client writes before its Finished has left */
	bool no_app;
	size_t padding; /* of each of the client's records (TLS 1.3) */
	enum tlspair_early early;
	size_t early_len;
};

struct tlspair_flight {
	int dir; /* enum cbt_dir */
	uint8_t *data;
	size_t len;
};

struct tlspair_trace {
	struct tlspair_flight flights[TLSPAIR_FLIGHTS_MAX];
	size_t n;
	bool complete; /* the client's handshake succeeded: */
	int complete_dir;
	size_t complete_end; /* with this many bytes of that direction */
	size_t app_start;    /* where in the client's bytes its application data begins; 0 none */
	size_t after_start;  /* where in the server's bytes the answer begins; 0 none */
};

struct tlspair;

struct tlspair *tlspair_new(const struct tlspair_options *o);
void tlspair_free(struct tlspair *p);
/* One connection; the second one of a pair resumes the first. */
void tlspair_run(struct tlspair *p, struct tlspair_trace *ret_trace);
void tlspair_trace_free(struct tlspair_trace *trace);
X509 *tlspair_certificate(const struct tlspair *p); /* borrowed */

#endif
