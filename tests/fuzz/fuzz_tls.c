// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two streams of anything at all, in segments that overlap, come late or lack their bytes. An input is a row of
 * operations: one byte that says what, two that say where and one that says how much, then that many bytes.
 */
// sources: user/tls.c user/tls_names.c user/stream.c
#include <stdlib.h>
#include <string.h>

#include "tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ISN 0xfffffff0 /* the sequence numbers wrap soon */

struct input {
	const uint8_t *data;
	size_t len;
};

enum {
	OP_IN = 0x01,	    /* from the server */
	OP_NO_BYTES = 0x02, /* the tap copied none */
	OP_NO_EXTENT = 0x04,
	OP_SOMEWHERE = 0x08, /* at the place named, else behind the segment before */
	OP_LONG = 0x10,	     /* sixteen times as long, zeroes behind the bytes */
};

static void require(int truth)
{
	if (!truth)
		abort();
}

static void handshake_check(const struct tls_handshake *h)
{
	require(h->n_turns <= TLS_TURNS_MAX);
	require(strlen(h->client.sni) < TLS_NAME_MAX && strlen(h->client.alpn) < TLS_NAME_MAX);
	require(strlen(h->server.alpn) < TLS_NAME_MAX);
	require(!h->complete_ns || h->has_server_hello);
	require(!h->client_app_ns || h->complete_ns);
	require(!h->server_after_ns || h->server_after_ns >= h->client_app_ns);
	require(!h->cert_list_len || (h->cert_list && h->cert_list_len <= TLS_CERT_BYTES_MAX));
	for (size_t i = 0; i < h->cert_list_len; i++)
		(void)*(volatile const uint8_t *)&h->cert_list[i];
	for (size_t i = 0; i < h->n_turns; i++)
		require(h->turns[i].out_ns != 0);
}

static void single_messages(const uint8_t *data, size_t size)
{
	struct tls_client_hello client;
	struct tls_server_hello server;

	(void)tls_parse_client_hello(data, size, &client);
	(void)tls_parse_server_hello(data, size, &server);
	require(strlen(client.sni) < TLS_NAME_MAX && strlen(client.alpn) < TLS_NAME_MAX);
	require(strlen(server.alpn) < TLS_NAME_MAX);
	(void)tls_version_name(server.version);
	(void)tls_cipher_name(server.cipher);
	(void)tls_alert_name((uint8_t)server.cipher);
}

static int operation(struct tls_conn *t, struct input *in, uint32_t next[2], uint64_t ts)
{
	uint8_t bytes[255 * 16] = {0}, op;
	uint32_t where, len, have;
	struct stream *s;
	int dir;

	if (in->len < 4)
		return 0;
	op = in->data[0];
	where = (uint32_t)in->data[1] << 8 | in->data[2];
	have = in->data[3];
	in->data += 4;
	in->len -= 4;
	if (have > in->len)
		have = (uint32_t)in->len;
	memcpy(bytes, in->data, have);
	in->data += have;
	in->len -= have;
	len = op & OP_LONG ? have * 16 : have;
	dir = op & OP_IN ? 1 : 0;
	s = tls_conn_stream(t, dir);
	where = op & OP_SOMEWHERE ? ISN + 1 + where : next[dir];
	if (!(op & OP_NO_EXTENT))
		stream_segment(s, where, len, ts);
	if (!(op & OP_NO_BYTES))
		(void)stream_bytes(s, where, bytes, len);
	if (!(op & OP_SOMEWHERE))
		next[dir] += len;
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_conn *t = tls_conn_new();
	struct input in = {data, size};
	uint32_t next[2] = {ISN + 1, ISN + 1};
	struct tls_handshake before;
	uint64_t ts = 1;

	single_messages(data, size);
	if (!t)
		return 0;
	stream_set_isn(tls_conn_stream(t, 0), ISN);
	stream_set_isn(tls_conn_stream(t, 1), ISN);
	while (operation(t, &in, next, ++ts)) {
		uint64_t complete = tls_conn_handshake(t)->complete_ns;

		tls_conn_advance(t);
		before = *tls_conn_handshake(t);
		handshake_check(&before);
		require(!complete || before.complete_ns == complete);
		/* Looking twice changes nothing. */
		tls_conn_advance(t);
		require(memcmp(&before, tls_conn_handshake(t), sizeof(before)) == 0);
	}
	tls_conn_finish(t);
	tls_conn_advance(t);
	handshake_check(tls_conn_handshake(t));
	tls_conn_free(t);
	return 0;
}
