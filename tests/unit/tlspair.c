// SPDX-License-Identifier: BSD-2-Clause
/* Two OpenSSL peers. See tlspair.h. */
#include "tlspair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/err.h>

#include <cbtrace/event.h>
#include "pki.h"

struct tlspair {
	struct tlspair_options o;
	EVP_PKEY *key;
	X509 *cert;
	SSL_CTX *ctx[2]; /* client, server */
	SSL_SESSION *session;
};

struct run {
	struct tlspair *p;
	SSL *ssl[2];
	struct tlspair_trace *trace;
	size_t total[2]; /* bytes of each direction so far */
	bool early_done;
};

/* --- Contexts --- */

static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
		       unsigned int inlen, void *arg)
{
	const char *mine = arg;

	(void)ssl;
	for (unsigned int i = 0; i < inlen; i += 1U + in[i])
		if (in[i] == strlen(mine) && memcmp(in + i + 1, mine, in[i]) == 0) {
			*out = in + i + 1;
			*outlen = in[i];
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static size_t padding_of(SSL *ssl, int type, size_t len, void *arg)
{
	(void)ssl;
	(void)type;
	(void)len;
	return *(const size_t *)arg;
}

static SSL_CTX *context_new(struct tlspair *p, bool server)
{
	const struct tlspair_options *o = &p->o;
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	int max = o->max_version ? o->max_version : TLS1_3_VERSION;

	assert_non_null(ctx);
	if (server && o->server_max_version)
		max = o->server_max_version;
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, o->min_version ? o->min_version : max);
	SSL_CTX_set_max_proto_version(ctx, max);
	if (o->suites)
		assert_int_equal(SSL_CTX_set_ciphersuites(ctx, o->suites), 1);
	if (o->ciphers)
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, o->ciphers), 1);
	if (server ? o->server_groups : o->groups)
		assert_int_equal(SSL_CTX_set1_groups_list(ctx, server ? o->server_groups : o->groups), 1);
	if (server || o->client_cert) {
		assert_int_equal(SSL_CTX_use_certificate(ctx, p->cert), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(ctx, p->key), 1);
	}
	if (o->no_tickets)
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	return ctx;
}

static void server_setup(struct tlspair *p, SSL_CTX *ctx)
{
	const struct tlspair_options *o = &p->o;

	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"pair", 4);
	if (o->ask_client || o->require_client)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (o->require_client ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
				   NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), p->cert);
	if (o->server_alpn)
		SSL_CTX_set_alpn_select_cb(ctx, alpn_select, (void *)o->server_alpn);
	if (o->early)
		SSL_CTX_set_max_early_data(ctx, 16384);
	/* Without replay protection tickets hold the session, and outlive a change of mind about early data. */
	if (o->early != EARLY_REFUSED_FULL)
		SSL_CTX_set_options(ctx, SSL_OP_NO_ANTI_REPLAY);
	if (o->long_chain)
		for (int i = 0; i < 60; i++) {
			X509_up_ref(p->cert);
			SSL_CTX_add_extra_chain_cert(ctx, p->cert);
		}
}

static void client_setup(struct tlspair *p, SSL_CTX *ctx)
{
	const struct tlspair_options *o = &p->o;
	uint8_t alpn[64];

	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	if (!o->untrusted)
		X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), p->cert);
	if (o->alpn) {
		alpn[0] = (uint8_t)strlen(o->alpn);
		memcpy(alpn + 1, o->alpn, alpn[0]);
		assert_int_equal(SSL_CTX_set_alpn_protos(ctx, alpn, alpn[0] + 1U), 0);
	}
	if (o->padding) {
		SSL_CTX_set_record_padding_callback(ctx, padding_of);
		SSL_CTX_set_record_padding_callback_arg(ctx, (void *)&o->padding);
	}
}

struct tlspair *tlspair_new(const struct tlspair_options *o)
{
	struct tlspair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->o = *o;
	p->key = pki_key("P-256");
	p->cert = pki_cert(p->key, &(struct pki_spec){.cn = "xmpp1.example.com", .san = "DNS:xmpp1.example.com"});
	p->ctx[0] = context_new(p, false);
	p->ctx[1] = context_new(p, true);
	client_setup(p, p->ctx[0]);
	server_setup(p, p->ctx[1]);
	return p;
}

void tlspair_free(struct tlspair *p)
{
	if (!p)
		return;
	SSL_SESSION_free(p->session);
	SSL_CTX_free(p->ctx[0]);
	SSL_CTX_free(p->ctx[1]);
	X509_free(p->cert);
	EVP_PKEY_free(p->key);
	free(p);
}

X509 *tlspair_certificate(const struct tlspair *p)
{
	return p->cert;
}

void tlspair_trace_free(struct tlspair_trace *trace)
{
	for (size_t i = 0; i < trace->n; i++)
		free(trace->flights[i].data);
	trace->n = 0;
}

/* --- One connection --- */

/* Carry what @from wrote to the other side, and note it. False if it wrote nothing. */
static bool flight_carry(struct run *r, int from)
{
	BIO *bio = SSL_get_wbio(r->ssl[from]);
	size_t len = BIO_ctrl_pending(bio);
	struct tlspair_flight *f = &r->trace->flights[r->trace->n];

	if (!len)
		return false;
	assert_true(r->trace->n < TLSPAIR_FLIGHTS_MAX);
	f->dir = from == 0 ? CBT_OUT : CBT_IN;
	f->len = len;
	f->data = malloc(len);
	assert_non_null(f->data);
	assert_int_equal(BIO_read(bio, f->data, (int)len), len);
	assert_int_equal(BIO_write(SSL_get_rbio(r->ssl[1 - from]), f->data, (int)len), len);
	r->trace->n++;
	r->total[f->dir] += len;
	return true;
}

static void app_write(struct run *r, int from, size_t len)
{
	uint8_t data[TLSPAIR_APP_IN];

	assert_true(len <= sizeof(data));
	memset(data, 'x', sizeof(data));
	assert_int_equal(SSL_write(r->ssl[from], data, (int)len), len);
}

static void app_read(struct run *r, int at)
{
	uint8_t data[1024];

	while (SSL_read(r->ssl[at], data, sizeof(data)) > 0)
		;
}

static size_t written(const struct run *r, int from)
{
	return r->total[from] + BIO_ctrl_pending(SSL_get_wbio(r->ssl[from]));
}

static void client_app(struct run *r)
{
	r->trace->app_start = written(r, 0);
	app_write(r, 0, TLSPAIR_APP_OUT);
}

static void early_write(struct run *r)
{
	static const uint8_t data[1024];
	size_t n;

	if (!r->p->o.early || !r->p->session || r->early_done)
		return;
	r->early_done = true;
	assert_int_equal(SSL_write_early_data(r->ssl[0], data, r->p->o.early_len, &n), 1);
}

static void client_step(struct run *r)
{
	bool done = SSL_is_init_finished(r->ssl[0]);

	early_write(r);
	if (SSL_do_handshake(r->ssl[0]) != 1 || done)
		return;
	r->trace->complete = true;
	if (SSL_version(r->ssl[0]) == TLS1_3_VERSION || SSL_session_reused(r->ssl[0])) {
		r->trace->complete_dir = CBT_OUT;
		r->trace->complete_end = written(r, 0);
	} else {
		r->trace->complete_dir = CBT_IN;
		r->trace->complete_end = r->total[1];
	}
	if (r->p->o.app_with_finished)
		client_app(r);
}

static void server_step(struct run *r)
{
	uint8_t data[1024];
	size_t n;

	/* Early data are read before anything else, or skipped if they are not wanted. */
	if (r->p->o.early == EARLY_ACCEPTED && r->p->session)
		while (SSL_read_early_data(r->ssl[1], data, sizeof(data), &n) == SSL_READ_EARLY_DATA_SUCCESS)
			;
	SSL_do_handshake(r->ssl[1]);
}

static void app_exchange(struct run *r)
{
	if (!r->p->o.app_with_finished)
		client_app(r);
	flight_carry(r, 0);
	app_read(r, 1);
	r->trace->after_start = written(r, 1);
	app_write(r, 1, TLSPAIR_APP_IN);
	flight_carry(r, 1);
	app_read(r, 0);
}

static void session_keep(struct run *r)
{
	if (!r->p->session)
		r->p->session = SSL_get1_session(r->ssl[0]);
}

void tlspair_run(struct tlspair *p, struct tlspair_trace *ret_trace)
{
	struct run r = {.p = p, .trace = ret_trace};
	bool moved;

	memset(ret_trace, 0, sizeof(*ret_trace));
	for (int i = 0; i < 2; i++) {
		r.ssl[i] = SSL_new(p->ctx[i]);
		assert_non_null(r.ssl[i]);
		SSL_set_bio(r.ssl[i], BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	}
	SSL_set_connect_state(r.ssl[0]);
	SSL_set_accept_state(r.ssl[1]);
	if (p->o.sni)
		SSL_set_tlsext_host_name(r.ssl[0], p->o.sni);
	if (p->session) {
		assert_int_equal(SSL_set_session(r.ssl[0], p->session), 1);
		if (p->o.early >= EARLY_REFUSED)
			SSL_set_max_early_data(r.ssl[1], 0);
	}
	do {
		client_step(&r);
		moved = flight_carry(&r, 0);
		server_step(&r);
		if (flight_carry(&r, 1))
			moved = true;
	} while (moved);
	if (SSL_is_init_finished(r.ssl[0]) && SSL_is_init_finished(r.ssl[1])) {
		app_read(&r, 0);
		if (!p->o.no_app)
			app_exchange(&r);
		session_keep(&r);
		/* Without this the session is taken for broken and is not resumed. */
		SSL_shutdown(r.ssl[0]);
		SSL_shutdown(r.ssl[1]);
	}
	SSL_free(r.ssl[0]);
	SSL_free(r.ssl[1]);
	ERR_clear_error();
}
