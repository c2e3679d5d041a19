// SPDX-License-Identifier: BSD-2-Clause
/*
 * Certificate chains, read once each. OpenSSL parses and matches host names and addresses, as the clients that are
 * traced do; the two names of XMPP (RFC 6120 section 13.7.1.4) it does not know are compared here.
 */
#include "cert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#define ENTRY_HEADER 3 /* the length before each certificate of the list */

struct chain {
	struct cert_info info; /* first: cert_names() finds the rest by it */
	X509 *leaf;
	GENERAL_NAMES *names; /* of the leaf; NULL if it has none */
	uint8_t digest[SHA256_DIGEST_LENGTH];
	TAILQ_ENTRY(chain) by_use;
};

struct cert_cache {
	TAILQ_HEAD(chain_list, chain) chains; /* the most recently used first */
	size_t n;
};

static void chain_free(struct chain *c)
{
	if (!c)
		return;
	free(c->info.subject);
	free(c->info.issuer);
	for (size_t i = 0; i < c->info.n_san; i++)
		free(c->info.san[i]);
	GENERAL_NAMES_free(c->names);
	X509_free(c->leaf);
	free(c);
}

struct cert_cache *cert_cache_new(void)
{
	struct cert_cache *c = calloc(1, sizeof(*c));

	if (c)
		TAILQ_INIT(&c->chains);
	return c;
}

void cert_cache_free(struct cert_cache *c)
{
	struct chain *chain;

	if (!c)
		return;
	while ((chain = TAILQ_FIRST(&c->chains))) {
		TAILQ_REMOVE(&c->chains, chain, by_use);
		chain_free(chain);
	}
	free(c);
}

/* --- Names as text --- */

/* One line, RFC 2253, characters beyond ASCII as UTF-8; control characters are escaped. NULL for want of memory. */
static char *name_text(const X509_NAME *name)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *data, *text = NULL;
	long len;

	if (!out)
		return NULL;
	if (X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		len = BIO_get_mem_data(out, &data);
		text = strndup(len > 0 ? data : "", len > 0 ? (size_t)len : 0);
	}
	BIO_free(out);
	return text;
}

/* @prefix and the string, in which a NUL must not hide what follows it: controls and the backslash as \DDD. */
static char *string_text(const char *prefix, const ASN1_STRING *s)
{
	const uint8_t *data = ASN1_STRING_get0_data(s);
	size_t len = (size_t)ASN1_STRING_length(s), at = strlen(prefix);
	char *text = malloc(at + 4 * len + 1);

	if (!text)
		return NULL;
	memcpy(text, prefix, at);
	for (size_t i = 0; i < len; i++) {
		if (data[i] < 0x20 || data[i] == 0x7f || data[i] == '\\')
			at += (size_t)sprintf(text + at, "\\%03u", data[i]);
		else
			text[at++] = (char)data[i];
	}
	text[at] = '\0';
	return text;
}

static char *address_text(const ASN1_OCTET_STRING *ip)
{
	int len = ASN1_STRING_length(ip);
	char text[INET6_ADDRSTRLEN];

	if (!inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text, sizeof(text)))
		return NULL;
	return strdup(text);
}

/* The string of an otherName that XMPP knows, of the type it must have; NULL if it is none. */
static const ASN1_STRING *other_name(const GENERAL_NAME *name, int nid, int type)
{
	if (name->type != GEN_OTHERNAME || OBJ_obj2nid(name->d.otherName->type_id) != nid ||
	    name->d.otherName->value->type != type)
		return NULL;
	return name->d.otherName->value->value.asn1_string;
}

static const ASN1_STRING *xmpp_addr(const GENERAL_NAME *name)
{
	return other_name(name, NID_XmppAddr, V_ASN1_UTF8STRING);
}

static const ASN1_STRING *srv_name(const GENERAL_NAME *name)
{
	return other_name(name, NID_SRVName, V_ASN1_IA5STRING);
}

/* 1 and the text, 0 if this kind of name is of no interest, -ENOMEM. */
static int san_text(const GENERAL_NAME *name, char **ret_text)
{
	const ASN1_STRING *s;
	char *text;
	int len;

	if (name->type == GEN_DNS) {
		text = string_text("", name->d.dNSName);
	} else if (name->type == GEN_IPADD) {
		len = ASN1_STRING_length(name->d.iPAddress);
		if (len != 4 && len != 16)
			return 0;
		text = address_text(name->d.iPAddress);
	} else if ((s = xmpp_addr(name))) {
		text = string_text("xmpp:", s);
	} else if ((s = srv_name(name))) {
		text = string_text("srv:", s);
	} else {
		return 0;
	}
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 1;
}

/* --- The leaf --- */

static int sans_read(struct chain *c)
{
	struct cert_info *info = &c->info;
	int r;

	c->names = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(c->names); i++) {
		char *text;

		r = san_text(sk_GENERAL_NAME_value(c->names, i), &text);
		if (r < 0)
			return r;
		if (!r)
			continue;
		if (info->n_san == CERT_SANS_MAX) {
			free(text);
			info->n_san_dropped++;
		} else {
			info->san[info->n_san++] = text;
		}
	}
	return 0;
}

static int time_read(const ASN1_TIME *t, int64_t *ret)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm))
		return -EBADMSG;
	*ret = timegm(&tm);
	return 0;
}

static void key_type_read(const X509 *leaf, char *buf, size_t size)
{
	const EVP_PKEY *key = X509_get0_pubkey(leaf);
	const char *type = key ? EVP_PKEY_get0_type_name(key) : NULL;
	char group[24];

	if (!type)
		snprintf(buf, size, "unknown");
	else if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL))
		snprintf(buf, size, "EC %s", group);
	else if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448"))
		snprintf(buf, size, "%s", type);
	else
		snprintf(buf, size, "%s %d", type, EVP_PKEY_get_bits(key));
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
	int r;

	r = time_read(X509_get0_notBefore(c->leaf), &info->not_before);
	if (r < 0)
		return r;
	r = time_read(X509_get0_notAfter(c->leaf), &info->not_after);
	if (r < 0)
		return r;
	info->subject = name_text(X509_get_subject_name(c->leaf));
	info->issuer = name_text(X509_get_issuer_name(c->leaf));
	if (!info->subject || !info->issuer)
		return -ENOMEM;
	key_type_read(c->leaf, info->key_type, sizeof(info->key_type));
	info->self_signed = is_self_signed(c->leaf);
	return sans_read(c);
}

/* --- The chain --- */

/* The DER of the list's first entry. NULL if the list is not that long; @list and @len then are what remains. */
static const uint8_t *entry_take(const uint8_t **list, size_t *len, size_t *ret_len)
{
	const uint8_t *p = *list;
	size_t n;

	if (*len < ENTRY_HEADER)
		return NULL;
	n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
	if (n > *len - ENTRY_HEADER)
		return NULL;
	*list += ENTRY_HEADER + n;
	*len -= ENTRY_HEADER + n;
	*ret_len = n;
	return p + ENTRY_HEADER;
}

/* A certificate that fills its entry, or NULL. */
static X509 *entry_parse(const uint8_t *der, size_t len)
{
	const uint8_t *end = der;
	X509 *x = d2i_X509(NULL, &end, (long)len);

	if (x && end != der + len) {
		X509_free(x);
		return NULL;
	}
	return x;
}

static void issuers_read(struct chain *c, const uint8_t *list, size_t len)
{
	while (len) {
		size_t n;
		const uint8_t *der = entry_take(&list, &len, &n);
		X509 *x = der ? entry_parse(der, n) : NULL;

		c->info.chain_length++;
		if (!x)
			c->info.chain_malformed = true;
		X509_free(x);
		if (!der)
			return;
	}
}

static int chain_parse(struct chain *c, const uint8_t *list, size_t len)
{
	size_t n;
	const uint8_t *der = entry_take(&list, &len, &n);

	if (!der)
		return -EBADMSG;
	c->leaf = entry_parse(der, n);
	if (!c->leaf)
		return -EBADMSG;
	c->info.chain_length = 1;
	issuers_read(c, list, len);
	return leaf_read(c);
}

static struct chain *cache_find(struct cert_cache *c, const uint8_t digest[static SHA256_DIGEST_LENGTH])
{
	struct chain *chain;

	TAILQ_FOREACH(chain, &c->chains, by_use)
	{
		if (memcmp(chain->digest, digest, SHA256_DIGEST_LENGTH) == 0)
			return chain;
	}
	return NULL;
}

static void cache_add(struct cert_cache *c, struct chain *chain)
{
	if (c->n == CERT_CACHE_MAX) {
		struct chain *oldest = TAILQ_LAST(&c->chains, chain_list);

		TAILQ_REMOVE(&c->chains, oldest, by_use);
		chain_free(oldest);
		c->n--;
	}
	TAILQ_INSERT_HEAD(&c->chains, chain, by_use);
	c->n++;
}

int cert_chain_read(struct cert_cache *c, const uint8_t *list, size_t len, const struct cert_info **ret_info)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct chain *chain;
	int r;

	if (!len)
		return -ENODATA;
	SHA256(list, len, digest);
	chain = cache_find(c, digest);
	if (chain) {
		TAILQ_REMOVE(&c->chains, chain, by_use);
		TAILQ_INSERT_HEAD(&c->chains, chain, by_use);
		*ret_info = &chain->info;
		return 0;
	}
	chain = calloc(1, sizeof(*chain));
	if (!chain)
		return -ENOMEM;
	memcpy(chain->digest, digest, sizeof(digest));
	/* What a peer sends wrong must not fill the thread's queue of errors. */
	ERR_set_mark();
	r = chain_parse(chain, list, len);
	ERR_pop_to_mark();
	if (r < 0) {
		chain_free(chain);
		return r;
	}
	cache_add(c, chain);
	*ret_info = &chain->info;
	return 0;
}

/* --- Matching --- */

static bool string_is(const ASN1_STRING *s, const char *prefix, const char *name, size_t name_len)
{
	size_t skip = strlen(prefix), len = (size_t)ASN1_STRING_length(s);
	const char *data = (const char *)ASN1_STRING_get0_data(s);

	return len == skip + name_len && strncasecmp(data, prefix, skip) == 0 &&
	       strncasecmp(data + skip, name, name_len) == 0;
}

static bool xmpp_names(const GENERAL_NAMES *names, const char *name, size_t len)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *san = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *s = xmpp_addr(san);

		if (s && string_is(s, "", name, len))
			return true;
		s = srv_name(san);
		if (s && (string_is(s, "_xmpp-component.", name, len) || string_is(s, "_xmpp-server.", name, len)))
			return true;
	}
	return false;
}

static int ip_check(X509 *leaf, const char *name, bool *ret_is_ip)
{
	uint8_t addr[16];

	*ret_is_ip = true;
	if (inet_pton(AF_INET, name, addr) == 1)
		return X509_check_ip(leaf, addr, 4, 0);
	if (inet_pton(AF_INET6, name, addr) == 1)
		return X509_check_ip(leaf, addr, 16, 0);
	*ret_is_ip = false;
	return 0;
}

static enum cert_match match_of(int r)
{
	return r < 0 ? CERT_MATCH_UNKNOWN : r ? CERT_MATCH_YES : CERT_MATCH_NO;
}

enum cert_match cert_names(const struct cert_info *info, const char *name)
{
	const struct chain *c = (const struct chain *)info;
	size_t len;
	bool is_ip;
	int r;

	if (!info || !name || !name[0])
		return CERT_MATCH_UNKNOWN;
	r = ip_check(c->leaf, name, &is_ip);
	if (is_ip)
		return match_of(r);
	/* An absolute name is the same name. One that begins with a dot would match everything below it. */
	len = strlen(name);
	if (name[len - 1] == '.')
		len--;
	if (!len || name[0] == '.')
		return CERT_MATCH_NO;
	if (xmpp_names(c->names, name, len))
		return CERT_MATCH_YES;
	ERR_set_mark();
	r = X509_check_host(c->leaf, name, len,
			    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL);
	ERR_pop_to_mark();
	return match_of(r);
}
