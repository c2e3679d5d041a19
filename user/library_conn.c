// SPDX-License-Identifier: BSD-2-Clause
/* One connection as its TLS library sees it. See library_conn.h. */
#include "library_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	LENGTH_BYTES = 3,	    /* RFC 5246 section 7.4.2: of a certificate in the list */
	REASON_VERIFY_FAILED = 134, /* SSL_R_CERTIFICATE_VERIFY_FAILED, openssl/sslerr.h */
	REASON_ALERT = 1000,	    /* SSL_AD_REASON_OFFSET, openssl/ssl.h */
	ALERT_MAX = 255,
};

struct library_conn *library_conn_new(const struct cbt_ev_lib_hello *ev)
{
	struct library_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->key = ev->conn;
	memcpy(c->random, ev->random, sizeof(c->random));
	c->hello_ns = ev->h.ts;
	c->alert_received = LIBRARY_ALERT_NONE;
	c->verify_result = CBT_VERIFY_UNKNOWN;
	return c;
}

void library_conn_free(struct library_conn *c)
{
	if (!c)
		return;
	free(c->chain);
	free(c);
}

static int chain_grow(struct library_conn *c, size_t more)
{
	uint8_t *grown;

	if (c->chain_len + more > LIBRARY_CHAIN_MAX)
		return -ENOSPC;
	grown = realloc(c->chain, c->chain_len + more);
	if (!grown)
		return -ENOMEM;
	c->chain = grown;
	return 0;
}

static int cert_begin(struct library_conn *c, const struct cbt_ev_lib_cert *ev)
{
	uint8_t *at;
	int r = chain_grow(c, LENGTH_BYTES + ev->der_len);

	if (r < 0)
		return r;
	at = c->chain + c->chain_len;
	at[0] = (uint8_t)(ev->der_len >> 16);
	at[1] = (uint8_t)(ev->der_len >> 8);
	at[2] = (uint8_t)ev->der_len;
	c->cert_len = ev->der_len;
	c->cert_off = 0;
	return 0;
}

int library_conn_cert(struct library_conn *c, const struct cbt_ev_lib_cert *ev)
{
	int r = 0;

	if (c->chain_cut)
		return 0;
	if (!c->cert_len && ev->off == 0 && ev->index == c->certs && ev->der_len)
		r = cert_begin(c, ev);
	/* The parts come in order; where one is missing the chain ends. */
	if (r < 0 || !c->cert_len || ev->index != c->certs || ev->off != c->cert_off || ev->der_len != c->cert_len) {
		c->chain_cut = true;
		c->cert_len = 0;
		return r;
	}
	memcpy(c->chain + c->chain_len + LENGTH_BYTES + c->cert_off, ev->data, ev->data_len);
	c->cert_off += ev->data_len;
	if (c->cert_off < c->cert_len)
		return 0;
	c->chain_len += LENGTH_BYTES + c->cert_len;
	c->cert_len = 0;
	c->certs++;
	return 0;
}

void library_conn_error(struct library_conn *c, const struct cbt_ev_lib_error *ev)
{
	if (ev->verify_result != CBT_VERIFY_UNKNOWN)
		c->verify_result = ev->verify_result;
	if (ev->reason == REASON_VERIFY_FAILED)
		c->verify_failed = true;
	if (ev->reason < REASON_ALERT || ev->reason > REASON_ALERT + ALERT_MAX ||
	    c->alert_received != LIBRARY_ALERT_NONE)
		return;
	c->alert_received = ev->reason - REASON_ALERT;
	c->alert_ns = ev->h.ts;
}

void library_conn_close(struct library_conn *c, const struct cbt_ev_lib_close *ev)
{
	for (int dir = CBT_OUT; dir <= CBT_IN; dir++)
		if (ev->bytes[dir] > c->registration.bytes[dir])
			c->registration.bytes[dir] = ev->bytes[dir];
	if (ev->verify_result != CBT_VERIFY_UNKNOWN)
		c->verify_result = ev->verify_result;
	c->freed |= ev->how == CBT_CLOSE_FREE;
	if (ev->how == CBT_CLOSE_SHUTDOWN && !c->close_sent_ns)
		c->close_sent_ns = ev->h.ts;
	else if (ev->how == CBT_CLOSE_RECEIVED && !c->close_received_ns)
		c->close_received_ns = ev->h.ts;
}

uint64_t library_conn_element(struct library_conn *c, const struct cbt_ev_lib_element *ev)
{
	if (ev->verify_result != CBT_VERIFY_UNKNOWN)
		c->verify_result = ev->verify_result;
	return registration_element(&c->registration, ev);
}
