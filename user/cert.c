// SPDX-License-Identifier: BSD-2-Clause
/* The peer's certificate chain, read with OpenSSL and cached. See cert.h. */
#include "cert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <arpa/inet.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "text.h"

#define ENTRY_HEADER	3
#define NAME_TEXT_MAX	1024			  /* subject and issuer; longer ones end in an ellipsis */
#define SAN_TEXT_MAX	1024			  /* no domain is as long; longer ones count as dropped */
#define CACHE_BYTES_MAX ((size_t)8 * 1024 * 1024) /* of chains as they were sent, which bounds what is made of them */

static const char oid_xmpp_addr[] = "1.3.6.1.5.5.7.8.5";
static const char oid_srv_name[] = "1.3.6.1.5.5.7.8.7";

struct chain {
	struct cert_info info;
	X509 *leaf;
	GENERAL_NAMES *names; /* NULL: no SAN */
	uint8_t digest[SHA256_DIGEST_LENGTH];
	size_t list_len;
	uint64_t used; /* counts up with every use */
};

struct cert_cache {
	struct chain *chains[CERT_CACHE_MAX];
	size_t n, bytes;
	uint64_t uses;
};

struct cert_cache *cert_cache_new(void)
{
	return calloc(1, sizeof(struct cert_cache));
}

static void chain_free(struct chain *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->info.n_san; i++)
		free(c->info.san[i]);
	free(c->info.subject);
	free(c->info.issuer);
	GENERAL_NAMES_free(c->names);
	X509_free(c->leaf);
	free(c);
}

void cert_cache_free(struct cert_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		chain_free(c->chains[i]);
	free(c);
}

/* --- Names as text --- */

/* @prefix and @data; what is a control character or no UTF-8 becomes \DDD, so that no NUL hides what follows. NULL for
 * want of memory. */
static char *san_text(const char *prefix, const uint8_t *data, size_t len)
{
	size_t n = strlen(prefix);
	char *in = malloc(len + 1), *out = malloc(n + len * 4 + 1);

	if (!in || !out) {
		free(in);
		free(out);
		return NULL;
	}
	memcpy(in, data, len);
	in[len] = '\0';
	memcpy(out, prefix, n);
	for (size_t i = 0; i < len;) {
		uint32_t c;
		size_t bytes = text_char(in + i, &c);
		bool invalid = bytes <= 1 && data[i] >= 0x80;

		if (invalid || data[i] < ' ' || data[i] == 0x7f || data[i] == '\\') {
			char esc[4] = {'\\', (char)('0' + data[i] / 100), (char)('0' + data[i] / 10 % 10),
				       (char)('0' + data[i] % 10)};

			memcpy(out + n, esc, sizeof(esc));
			n += sizeof(esc);
			i++;
			continue;
		}
		memcpy(out + n, in + i, bytes);
		n += bytes;
		i += bytes;
	}
	out[n] = '\0';
	free(in);
	return out;
}

static char *ip_text(const uint8_t *data, size_t len)
{
	char buf[INET6_ADDRSTRLEN];

	if (len != 4 && len != 16)
		return NULL;
	inet_ntop(len == 4 ? AF_INET : AF_INET6, data, buf, sizeof(buf));
	return strdup(buf);
}

/* RFC 2253, but UTF-8 as it is: only what would break a line is escaped. */
static char *name_text(const X509_NAME *name)
{
	static const char ellipsis[] = "…";
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *out = NULL;
	long len;

	if (!bio)
		return NULL;
	if (X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0) {
		BIO_free(bio);
		return strdup("");
	}
	len = BIO_get_mem_data(bio, &data);
	if (len <= NAME_TEXT_MAX) {
		out = strndup(len ? data : "", (size_t)len);
	} else {
		size_t n = NAME_TEXT_MAX;

		while (n && ((uint8_t)data[n] & 0xc0) == 0x80)
			n--;
		out = malloc(n + sizeof(ellipsis));
		if (out) {
			memcpy(out, data, n);
			memcpy(out + n, ellipsis, sizeof(ellipsis));
		}
	}
	BIO_free(bio);
	return out;
}

/* --- Subject alternative names --- */

/* The string of an XMPP otherName and the prefix that tells it apart; NULL if it is another's. */
static const ASN1_STRING *xmpp_name(const OTHERNAME *other, const char **ret_prefix)
{
	char oid[64];

	if (!other->value || (other->value->type != V_ASN1_UTF8STRING && other->value->type != V_ASN1_IA5STRING))
		return NULL;
	OBJ_obj2txt(oid, sizeof(oid), other->type_id, 1);
	if (strcmp(oid, oid_xmpp_addr) == 0)
		*ret_prefix = "xmpp:";
	else if (strcmp(oid, oid_srv_name) == 0)
		*ret_prefix = "srv:";
	else
		return NULL;
	return other->value->value.asn1_string;
}

/* -ENOENT: a kind of name that says nothing here. */
static int san_add(struct cert_info *info, const GENERAL_NAME *name)
{
	const ASN1_STRING *s;
	const char *prefix = "";
	const uint8_t *data;
	size_t len;
	char *text;

	switch (name->type) {
	case GEN_DNS:
		s = name->d.dNSName;
		break;
	case GEN_IPADD:
		s = name->d.iPAddress;
		break;
	case GEN_OTHERNAME:
		s = xmpp_name(name->d.otherName, &prefix);
		break;
	default:
		s = NULL;
		break;
	}
	if (!s)
		return -ENOENT;
	data = ASN1_STRING_get0_data(s);
	len = (size_t)ASN1_STRING_length(s);
	if (info->n_san == CERT_SANS_MAX || len > SAN_TEXT_MAX || (name->type == GEN_IPADD && len != 4 && len != 16)) {
		info->n_san_dropped++;
		return 0;
	}
	text = name->type == GEN_IPADD ? ip_text(data, len) : san_text(prefix, data, len);
	if (!text)
		return -ENOMEM;
	info->san[info->n_san++] = text;
	return 0;
}

static int sans_read(struct chain *c)
{
	c->names = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(c->names); i++)
		if (san_add(&c->info, sk_GENERAL_NAME_value(c->names, i)) == -ENOMEM)
			return -ENOMEM;
	return 0;
}

/* --- The leaf --- */

static int time_read(const ASN1_TIME *t, int64_t *ret_s)
{
	struct tm tm;

	if (!t || !ASN1_TIME_to_tm(t, &tm))
		return -EBADMSG;
	*ret_s = timegm(&tm);
	return 0;
}

static void key_type_read(X509 *leaf, char *buf, size_t size)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);
	const char *type = key ? EVP_PKEY_get0_type_name(key) : NULL;
	char group[24];

	if (!key) {
		snprintf(buf, size, "unknown");
		return;
	}
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_EC:
		if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL))
			snprintf(buf, size, "EC %s", group);
		else
			snprintf(buf, size, "EC %d", EVP_PKEY_get_bits(key));
		break;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		snprintf(buf, size, "%s", OBJ_nid2sn(EVP_PKEY_get_base_id(key)));
		break;
	default:
		snprintf(buf, size, "%.20s %d", type ? type : "unknown", EVP_PKEY_get_bits(key));
		break;
	}
}

static bool is_self_signed(X509 *leaf)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);

	return key && X509_NAME_cmp(X509_get_subject_name(leaf), X509_get_issuer_name(leaf)) == 0 &&
	       X509_verify(leaf, key) == 1;
}

static int leaf_read(struct chain *c)
{
	struct cert_info *info = &c->info;

	if (time_read(X509_get0_notBefore(c->leaf), &info->not_before) < 0 ||
	    time_read(X509_get0_notAfter(c->leaf), &info->not_after) < 0)
		return -EBADMSG;
	info->subject = name_text(X509_get_subject_name(c->leaf));
	info->issuer = name_text(X509_get_issuer_name(c->leaf));
	if (!info->subject || !info->issuer)
		return -ENOMEM;
	key_type_read(c->leaf, info->key_type, sizeof(info->key_type));
	info->self_signed = is_self_signed(c->leaf);
	return sans_read(c);
}

/* --- The chain --- */

/* One entry of the list, whole and nothing but one certificate; NULL if it is not. */
static X509 *entry_parse(const uint8_t *der, size_t len)
{
	const uint8_t *p = der;
	X509 *x = d2i_X509(NULL, &p, (long)len);

	if (x && p != der + len) {
		X509_free(x);
		return NULL;
	}
	return x;
}

/* The next entry: steps *@list behind it. False if its length leaves the list, which ends there. */
static bool entry_next(const uint8_t **list, size_t *len, const uint8_t **ret_der, size_t *ret_len)
{
	size_t n;

	if (*len < ENTRY_HEADER) {
		*len = 0;
		return false;
	}
	n = (size_t)(*list)[0] << 16 | (size_t)(*list)[1] << 8 | (*list)[2];
	*list += ENTRY_HEADER;
	*len -= ENTRY_HEADER;
	if (n > *len) {
		*len = 0;
		return false;
	}
	*ret_der = *list;
	*ret_len = n;
	*list += n;
	*len -= n;
	return true;
}

/* Entries behind the leaf: counted; parsed until the first that is wrong. */
static void rest_read(struct cert_info *info, const uint8_t *list, size_t len)
{
	while (len) {
		const uint8_t *der;
		size_t n;
		bool whole = entry_next(&list, &len, &der, &n);

		info->chain_length++;
		if (whole && !info->chain_malformed) {
			X509 *x = entry_parse(der, n);

			whole = x;
			X509_free(x);
		}
		if (!whole)
			info->chain_malformed = true;
	}
}

static int chain_read(const uint8_t *list, size_t len, struct chain **ret_chain)
{
	struct chain *c;
	const uint8_t *der;
	size_t der_len;
	int r;

	if (!entry_next(&list, &len, &der, &der_len))
		return -EBADMSG;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->info.chain_length = 1;
	c->leaf = entry_parse(der, der_len);
	r = c->leaf ? leaf_read(c) : -EBADMSG;
	if (r < 0) {
		chain_free(c);
		return r;
	}
	rest_read(&c->info, list, len);
	*ret_chain = c;
	return 0;
}

/* --- The cache --- */

static struct chain *cache_find(struct cert_cache *cache, const uint8_t digest[SHA256_DIGEST_LENGTH])
{
	for (size_t i = 0; i < cache->n; i++)
		if (memcmp(cache->chains[i]->digest, digest, SHA256_DIGEST_LENGTH) == 0)
			return cache->chains[i];
	return NULL;
}

static void cache_evict(struct cert_cache *cache)
{
	size_t oldest = 0;

	for (size_t i = 1; i < cache->n; i++)
		if (cache->chains[i]->used < cache->chains[oldest]->used)
			oldest = i;
	cache->bytes -= cache->chains[oldest]->list_len;
	chain_free(cache->chains[oldest]);
	cache->chains[oldest] = cache->chains[--cache->n];
}

int cert_chain_read(struct cert_cache *cache, const uint8_t *list, size_t len, const struct cert_info **ret_info)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct chain *c;
	int r;

	if (!len)
		return -ENODATA;
	SHA256(list, len, digest);
	c = cache_find(cache, digest);
	if (!c) {
		/* What is wrong with a peer's certificate is none of the caller's errors. */
		ERR_set_mark();
		r = chain_read(list, len, &c);
		ERR_pop_to_mark();
		if (r < 0)
			return r;
		while (cache->n && (cache->n == CERT_CACHE_MAX || cache->bytes + len > CACHE_BYTES_MAX))
			cache_evict(cache);
		memcpy(c->digest, digest, sizeof(digest));
		c->list_len = len;
		cache->chains[cache->n++] = c;
		cache->bytes += len;
	}
	c->used = ++cache->uses;
	*ret_info = &c->info;
	return 0;
}

/* --- Does it name ...? --- */

static bool string_is(const ASN1_STRING *s, const char *prefix, const char *name, size_t n)
{
	const char *data = (const char *)ASN1_STRING_get0_data(s);
	size_t len = (size_t)ASN1_STRING_length(s), skip = strlen(prefix);

	return len == skip + n && strncasecmp(data, prefix, skip) == 0 && strncasecmp(data + skip, name, n) == 0;
}

/* RFC 6120 section 13.7.1.2.1: XmppAddr holds the domain, SRVName the service and the domain (RFC 4985). */
static bool xmpp_names(const struct chain *c, const char *name, size_t n)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(c->names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(c->names, i);
		const char *prefix;
		const ASN1_STRING *s = g->type == GEN_OTHERNAME ? xmpp_name(g->d.otherName, &prefix) : NULL;

		if (!s)
			continue;
		if (strcmp(prefix, "xmpp:") == 0
			    ? string_is(s, "", name, n)
			    : string_is(s, "_xmpp-component.", name, n) || string_is(s, "_xmpp-server.", name, n))
			return true;
	}
	return false;
}

enum cert_match cert_names(const struct cert_info *info, const char *name)
{
	/* The CN never counts, and a wildcard is a whole label (RFC 9525 sections 6.3 and 6.4). */
	const unsigned int flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
	const struct chain *c = (const struct chain *)info;
	uint8_t addr[16];
	size_t n;
	bool yes;

	if (!info || !name || !*name)
		return CERT_MATCH_UNKNOWN;
	n = strlen(name);
	ERR_set_mark();
	if (inet_pton(AF_INET, name, addr) == 1) {
		yes = X509_check_ip(c->leaf, addr, 4, 0) == 1;
	} else if (inet_pton(AF_INET6, name, addr) == 1) {
		yes = X509_check_ip(c->leaf, addr, 16, 0) == 1;
	} else {
		if (name[n - 1] == '.')
			n--;
		/* OpenSSL would take a leading dot for "any name below". */
		yes = n && name[0] != '.' &&
		      (X509_check_host(c->leaf, name, n, flags, NULL) == 1 || xmpp_names(c, name, n));
	}
	ERR_pop_to_mark();
	return yes ? CERT_MATCH_YES : CERT_MATCH_NO;
}

const char *cert_verify_text(int32_t code)
{
	return X509_verify_cert_error_string(code);
}
