// SPDX-License-Identifier: BSD-2-Clause
/*
 * The two hellos of a TLS handshake as single messages. What is not there yet is told apart from what is wrong: a
 * capture may be cut anywhere, and what was read until then is good.
 */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RANDOM_LEN 32

enum {
	EXT_SERVER_NAME = 0,
	EXT_ALPN = 16,
	EXT_PRE_SHARED_KEY = 41,
	EXT_EARLY_DATA = 42,
	EXT_SUPPORTED_VERSIONS = 43,
};

struct reader {
	const uint8_t *data;
	size_t len;
};

static int read_bytes(struct reader *r, size_t n, const uint8_t **ret)
{
	if (n > r->len)
		return -ENODATA;
	*ret = r->data;
	r->data += n;
	r->len -= n;
	return 0;
}

static int read_number(struct reader *r, size_t width, uint32_t *ret)
{
	const uint8_t *p;
	uint32_t v = 0;

	if (read_bytes(r, width, &p) < 0)
		return -ENODATA;
	for (size_t i = 0; i < width; i++)
		v = v << 8 | p[i];
	*ret = v;
	return 0;
}

/* A vector: its length in @width bytes, then that many. Of one that is cut @ret has what is there. */
static int read_vector(struct reader *r, size_t width, struct reader *ret)
{
	uint32_t n;

	*ret = (struct reader){0};
	if (read_number(r, width, &n) < 0)
		return -ENODATA;
	ret->data = r->data;
	if (n > r->len) {
		ret->len = r->len;
		r->len = 0;
		return -ENODATA;
	}
	ret->len = n;
	r->data += n;
	r->len -= n;
	return 0;
}

/* Inside a part whose length is known, what ends early is not cut but wrong. */
static int inner(int r)
{
	return r == -ENODATA ? -EBADMSG : r;
}

static bool is_grease(uint32_t v)
{
	return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff);
}

static bool name_char(uint8_t c, const char *also)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(also, c));
}

/* Add @name to the text @out of TLS_NAME_MAX bytes; what does not fit is left out, no escape is cut in two. */
static void name_add(char *out, const uint8_t *name, size_t len, const char *also)
{
	size_t at = strlen(out);

	for (size_t i = 0; i < len; i++) {
		bool plain = name_char(name[i], also);

		if (at + (plain ? 1 : 4) >= TLS_NAME_MAX)
			break;
		if (plain)
			out[at++] = (char)name[i];
		else
			at += (size_t)snprintf(out + at, TLS_NAME_MAX - at, "\\%03u", name[i]);
	}
	out[at] = '\0';
}

/* RFC 6066 section 3. A server answers with an empty one. */
static int parse_server_name(struct reader ext, char *out)
{
	struct reader list, name;
	uint32_t type;
	int r;

	if (!ext.len)
		return 0;
	r = inner(read_vector(&ext, 2, &list));
	if (r < 0)
		return r;
	while (list.len) {
		r = inner(read_number(&list, 1, &type));
		if (r < 0)
			return r;
		r = inner(read_vector(&list, 2, &name));
		if (r < 0)
			return r;
		if (type == 0 && !out[0])
			name_add(out, name.data, name.len, ".-_");
	}
	return ext.len ? -EBADMSG : 0;
}

/* RFC 7301 section 3.1. */
static int parse_alpn(struct reader ext, char *out)
{
	struct reader list, name;
	int r = inner(read_vector(&ext, 2, &list));

	while (r == 0 && list.len) {
		r = inner(read_vector(&list, 1, &name));
		if (r < 0)
			break;
		if (out[0] && strlen(out) + 1 < TLS_NAME_MAX)
			strcat(out, ",");
		name_add(out, name.data, name.len, ".-_/:+ ");
	}
	return r < 0 ? r : ext.len ? -EBADMSG : 0;
}

static int parse_supported_versions(struct reader ext, uint16_t *out)
{
	struct reader list;
	uint32_t version, max = 0;
	int r = inner(read_vector(&ext, 1, &list));

	while (r == 0 && list.len) {
		r = inner(read_number(&list, 2, &version));
		if (r == 0 && !is_grease(version) && version > max)
			max = version;
	}
	if (r < 0)
		return r;
	if (max)
		*out = (uint16_t)max;
	return ext.len ? -EBADMSG : 0;
}

static int client_extension(uint32_t type, struct reader body, void *hello)
{
	struct tls_client_hello *out = hello;

	switch (type) {
	case EXT_SERVER_NAME:
		return parse_server_name(body, out->sni);
	case EXT_ALPN:
		return parse_alpn(body, out->alpn);
	case EXT_SUPPORTED_VERSIONS:
		return parse_supported_versions(body, &out->versions_max);
	case EXT_PRE_SHARED_KEY:
		out->has_psk = true;
		return 0;
	case EXT_EARLY_DATA:
		out->early_data = true;
		return 0;
	default:
		return 0;
	}
}

static int server_extension(uint32_t type, struct reader body, void *hello)
{
	struct tls_server_hello *out = hello;
	uint32_t version;

	switch (type) {
	case EXT_ALPN:
		return parse_alpn(body, out->alpn);
	case EXT_SUPPORTED_VERSIONS:
		if (body.len != 2 || read_number(&body, 2, &version) < 0)
			return -EBADMSG;
		out->version = (uint16_t)version;
		return 0;
	case EXT_PRE_SHARED_KEY:
		out->psk_accepted = true;
		return 0;
	default:
		return 0;
	}
}

/* The block of extensions at the end of both hellos; older ones end without. */
static int parse_extensions(struct reader *r, int (*extension)(uint32_t type, struct reader body, void *hello),
			    void *hello)
{
	struct reader block, body;
	bool cut = false;
	uint32_t type;
	int err;

	if (!r->len)
		return 0;
	err = read_vector(r, 2, &block);
	cut = err < 0;
	while (block.len) {
		err = read_number(&block, 2, &type);
		if (err == 0)
			err = read_vector(&block, 2, &body);
		if (err < 0)
			return cut ? -ENODATA : -EBADMSG;
		err = extension(type, body, hello);
		if (err < 0)
			return err;
	}
	if (cut)
		return -ENODATA;
	return r->len ? -EBADMSG : 0;
}

int tls_parse_client_hello(const uint8_t *data, size_t len, struct tls_client_hello *out)
{
	struct reader r = {data, len}, session_id, ciphers, compression;
	const uint8_t *random;
	uint32_t version;

	*out = (struct tls_client_hello){0};
	if (read_number(&r, 2, &version) < 0)
		return -ENODATA;
	if (version >> 8 != 3)
		return -EBADMSG;
	out->legacy_version = out->versions_max = (uint16_t)version;
	if (read_bytes(&r, RANDOM_LEN, &random) < 0)
		return -ENODATA;
	memcpy(out->random, random, RANDOM_LEN);
	if (r.len && r.data[0] > 32)
		return -EBADMSG;
	if (read_vector(&r, 1, &session_id) < 0)
		return -ENODATA;
	out->has_session_id = session_id.len > 0;
	if (read_vector(&r, 2, &ciphers) < 0)
		return -ENODATA;
	if (ciphers.len < 2 || ciphers.len % 2)
		return -EBADMSG;
	if (read_vector(&r, 1, &compression) < 0)
		return -ENODATA;
	if (!compression.len)
		return -EBADMSG;
	return parse_extensions(&r, client_extension, out);
}

/* SHA-256("HelloRetryRequest"), RFC 8446 section 4.1.3. */
static const uint8_t hello_retry_random[RANDOM_LEN] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

int tls_parse_server_hello(const uint8_t *data, size_t len, struct tls_server_hello *out)
{
	struct reader r = {data, len}, session_id;
	const uint8_t *random;
	uint32_t v;

	*out = (struct tls_server_hello){0};
	if (read_number(&r, 2, &v) < 0)
		return -ENODATA;
	if (v >> 8 != 3)
		return -EBADMSG;
	out->version = (uint16_t)v;
	if (read_bytes(&r, RANDOM_LEN, &random) < 0)
		return -ENODATA;
	memcpy(out->random, random, RANDOM_LEN);
	out->hello_retry = memcmp(random, hello_retry_random, RANDOM_LEN) == 0;
	if (r.len && r.data[0] > 32)
		return -EBADMSG;
	if (read_vector(&r, 1, &session_id) < 0)
		return -ENODATA;
	if (read_number(&r, 2, &v) < 0)
		return -ENODATA;
	out->cipher = (uint16_t)v;
	if (read_number(&r, 1, &v) < 0) /* compression */
		return -ENODATA;
	return parse_extensions(&r, server_extension, out);
}
