// SPDX-License-Identifier: BSD-2-Clause
/* Certificate chains: fields, names, matches, what is broken, the cache. All certificates are made here. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "cert.h"
#include "pki.h"

#define SANS                                                                                        \
	"DNS:example.com,DNS:xmpp1.example.com,DNS:*.wild.example.com,IP:10.9.0.10,IP:2001:db8::1," \
	"otherName:1.3.6.1.5.5.7.8.5;UTF8:addr.example.com,"                                        \
	"otherName:1.3.6.1.5.5.7.8.7;IA5:_xmpp-component.srv.example.com,"                          \
	"otherName:1.3.6.1.5.5.7.8.7;IA5:_xmpp-server.s2s.example.com,"                             \
	"otherName:1.3.6.1.5.5.7.8.7;IA5:_xmpp-client.c2s.example.com,"                             \
	"otherName:1.2.3.4;UTF8:other.example.com,email:a@example.com,URI:https://example.org/"

struct fixture {
	struct cert_cache *cache;
	EVP_PKEY *ca_key, *key;
	X509 *ca, *leaf;
	uint8_t list[65536];
	size_t len;
};

static struct fixture fx;

static int setup(void **state)
{
	struct pki_spec ca = {.cn = "test CA"}, leaf = {.cn = "in the CN only.example.com", .san = SANS};

	(void)state;
	fx.cache = cert_cache_new();
	fx.ca_key = pki_key("P-256");
	fx.ca = pki_cert(fx.ca_key, &ca);
	fx.key = pki_key("P-256");
	leaf.issuer = fx.ca;
	leaf.issuer_key = fx.ca_key;
	fx.leaf = pki_cert(fx.key, &leaf);
	fx.len = pki_entry(fx.leaf, fx.list, sizeof(fx.list));
	fx.len += pki_entry(fx.ca, fx.list + fx.len, sizeof(fx.list) - fx.len);
	return fx.cache ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	cert_cache_free(fx.cache);
	X509_free(fx.leaf);
	X509_free(fx.ca);
	EVP_PKEY_free(fx.key);
	EVP_PKEY_free(fx.ca_key);
	return 0;
}

/* Exactly as much memory as the list, so that a sanitizer sees what is read behind it. */
static int chain_read(const uint8_t *list, size_t len, const struct cert_info **ret_info)
{
	uint8_t *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, list, len);
	r = cert_chain_read(fx.cache, copy, len, ret_info);
	free(copy);
	return r;
}

static const struct cert_info *read_one(const char *kind, const struct pki_spec *spec)
{
	EVP_PKEY *key = pki_key(kind);
	X509 *x = pki_cert(key, spec);
	static uint8_t list[65536];
	const struct cert_info *info = NULL;

	assert_int_equal(chain_read(list, pki_entry(x, list, sizeof(list)), &info), 0);
	X509_free(x);
	EVP_PKEY_free(key);
	return info;
}

static void test_fields(void **state)
{
	static const char *const sans[] = {
		"example.com",
		"xmpp1.example.com",
		"*.wild.example.com",
		"10.9.0.10",
		"2001:db8::1",
		"xmpp:addr.example.com",
		"srv:_xmpp-component.srv.example.com",
		"srv:_xmpp-server.s2s.example.com",
		"srv:_xmpp-client.c2s.example.com",
	};
	const struct cert_info *info;
	int64_t now = time(NULL);

	(void)state;
	assert_int_equal(chain_read(fx.list, fx.len, &info), 0);
	assert_string_equal(info->subject, "CN=in the CN only.example.com,O=cbtrace");
	assert_string_equal(info->issuer, "CN=test CA,O=cbtrace");
	assert_int_equal(info->n_san, sizeof(sans) / sizeof(sans[0]));
	for (size_t i = 0; i < info->n_san; i++)
		assert_string_equal(info->san[i], sans[i]);
	assert_int_equal(info->n_san_dropped, 0);
	assert_true(info->not_before <= now - 3600 && info->not_before > now - 3700);
	assert_true(info->not_after > now + 86300 && info->not_after <= now + 86400);
	assert_false(info->self_signed);
	assert_string_equal(info->key_type, "EC prime256v1");
	assert_int_equal(info->chain_length, 2);
	assert_false(info->chain_malformed);
}

static void test_matches(void **state)
{
	static const struct {
		const char *name;
		enum cert_match match;
	} t[] = {
		{"example.com", CERT_MATCH_YES},
		{"EXAMPLE.com.", CERT_MATCH_YES},
		{"xmpp1.example.com", CERT_MATCH_YES},
		{"xmpp2.example.com", CERT_MATCH_NO},
		{"a.wild.example.com", CERT_MATCH_YES},
		{"a.b.wild.example.com", CERT_MATCH_NO},
		{"wild.example.com", CERT_MATCH_NO},
		{"10.9.0.10", CERT_MATCH_YES},
		{"10.9.0.11", CERT_MATCH_NO},
		{"2001:DB8:0::1", CERT_MATCH_YES},
		{"::1", CERT_MATCH_NO},
		{"addr.example.com", CERT_MATCH_YES},
		{"srv.example.com", CERT_MATCH_YES},
		{"SRV.example.com", CERT_MATCH_YES},
		{"s2s.example.com", CERT_MATCH_YES},
		{"c2s.example.com", CERT_MATCH_NO},
		{"other.example.com", CERT_MATCH_NO},
		{".example.com", CERT_MATCH_NO},
		{".", CERT_MATCH_NO},
		{"com", CERT_MATCH_NO},
		{"in the CN only.example.com", CERT_MATCH_NO},
		{"", CERT_MATCH_UNKNOWN},
		{NULL, CERT_MATCH_UNKNOWN},
	};
	const struct cert_info *info;

	(void)state;
	assert_int_equal(chain_read(fx.list, fx.len, &info), 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (cert_names(info, t[i].name) != t[i].match)
			fail_msg("%s: not %d", t[i].name, t[i].match);
	assert_int_equal(cert_names(NULL, "example.com"), CERT_MATCH_UNKNOWN);
	/* The CN is a good name, and still does not count. */
	info = read_one("P-256", &(struct pki_spec){.cn = "example.com"});
	assert_int_equal(cert_names(info, "example.com"), CERT_MATCH_NO);
	info = read_one("P-256", &(struct pki_spec){.cn = "x", .san = "DNS:x*.example.com,DNS:*.com"});
	assert_int_equal(cert_names(info, "xy.example.com"), CERT_MATCH_NO);
	assert_int_equal(cert_names(info, "example.com"), CERT_MATCH_NO);
}

static void test_kinds(void **state)
{
	const struct cert_info *info;

	(void)state;
	info = read_one("RSA", &(struct pki_spec){.cn = "rsa", .not_before = 1000000000, .not_after = 1000000060});
	assert_string_equal(info->key_type, "RSA 2048");
	assert_true(info->self_signed);
	assert_int_equal(info->not_before, 1000000000);
	assert_int_equal(info->not_after, 1000000060);
	assert_int_equal(info->chain_length, 1);
	assert_int_equal(info->n_san, 0);
	info = read_one("ED25519", &(struct pki_spec){.cn = "ed", .not_before = 0, .not_after = 4102444800});
	assert_string_equal(info->key_type, "ED25519");
	assert_int_equal(info->not_before, 0);
	assert_int_equal(info->not_after, 4102444800);
	info = read_one("P-384", &(struct pki_spec){.cn = "p384"});
	assert_string_equal(info->key_type, "EC secp384r1");
}

/* A leaf whose issuer has its name but not its key is not self-signed. */
static void test_self_signed(void **state)
{
	struct pki_spec spec = {.cn = "test CA", .issuer = fx.ca, .issuer_key = fx.ca_key};

	(void)state;
	assert_false(read_one("P-256", &spec)->self_signed);
	assert_true(read_one("P-256", &(struct pki_spec){.cn = "alone"})->self_signed);
}

static void test_text(void **state)
{
	const struct cert_info *info;
	char san[4096] = "", *p = san, cn[64];

	(void)state;
	info = read_one("P-256", &(struct pki_spec){.cn = "J\xc3\xbcrgen\n\x1b[31m, x"});
	assert_string_equal(info->subject, "CN=J\xc3\xbcrgen\\0A\\1B[31m\\, x,O=cbtrace");
	/* More names than are kept. */
	for (int i = 0; i < CERT_SANS_MAX + 5; i++)
		p += snprintf(p, sizeof(san) - (size_t)(p - san), "%sDNS:n%d.example.com", i ? "," : "", i);
	snprintf(cn, sizeof(cn), "many");
	info = read_one("P-256", &(struct pki_spec){.cn = cn, .san = san});
	assert_int_equal(info->n_san, CERT_SANS_MAX);
	assert_int_equal(info->n_san_dropped, 5);
	/* A name that is not kept still counts for the match. */
	snprintf(cn, sizeof(cn), "n%d.example.com", CERT_SANS_MAX + 4);
	assert_int_equal(cert_names(info, cn), CERT_MATCH_YES);
}

/* OpenSSL's configuration syntax cannot make these. */
static void test_hostile_san(void **state)
{
	static const struct pki_spec spec = {
		.cn = "x", .san = "DNS:example.com.evil.org,otherName:1.3.6.1.5.5.7.8.5;UTF8:bXXcher.example"};
	EVP_PKEY *key = pki_key("P-256");
	X509 *x = pki_cert(key, &spec);
	const struct cert_info *info;
	static uint8_t list[65536];
	uint8_t *at;
	size_t len;

	(void)state;
	len = pki_entry(x, list, sizeof(list));
	X509_free(x);
	EVP_PKEY_free(key);
	at = memmem(list, len, "example.com.evil.org", 20);
	assert_non_null(at);
	at[11] = '\0';
	at[12] = 0xff;
	at[13] = '\n';
	at = memmem(list, len, "bXXcher", 7);
	assert_non_null(at);
	at[1] = 0xc3;
	at[2] = 0xbc;
	assert_int_equal(chain_read(list, len, &info), 0);
	assert_string_equal(info->san[1], "xmpp:b\xc3\xbc"
					  "cher.example");
	assert_string_equal(info->san[0], "example.com\\000\\255\\010il.org");
	assert_int_equal(cert_names(info, "example.com"), CERT_MATCH_NO);
}

static void test_broken(void **state)
{
	static uint8_t list[sizeof(fx.list)];
	const struct cert_info *info = (const struct cert_info *)&fx;
	size_t leaf_len = 3 + ((size_t)fx.list[1] << 8 | fx.list[2]);

	(void)state;
	assert_int_equal(cert_chain_read(fx.cache, fx.list, 0, &info), -ENODATA);
	/* The leaf: every cut of the list within it, trailing bytes inside its entry, no DER, nothing. */
	for (size_t len = 1; len < leaf_len; len++)
		assert_int_equal(chain_read(fx.list, len, &info), -EBADMSG);
	memcpy(list, fx.list, leaf_len);
	list[leaf_len] = 0;
	list[2]++;
	if (!list[2])
		list[1]++;
	assert_int_equal(chain_read(list, leaf_len + 1, &info), -EBADMSG);
	assert_int_equal(chain_read((const uint8_t *)"\0\0\5hello", 8, &info), -EBADMSG);
	assert_int_equal(chain_read((const uint8_t *)"\0\0\0", 3, &info), -EBADMSG);
	assert_ptr_equal(info, &fx); /* untouched */

	/* Every cut behind it. */
	assert_int_equal(chain_read(fx.list, leaf_len, &info), 0);
	assert_int_equal(info->chain_length, 1);
	assert_false(info->chain_malformed);
	for (size_t len = leaf_len + 1; len < fx.len; len++) {
		assert_int_equal(chain_read(fx.list, len, &info), 0);
		assert_int_equal(info->chain_length, 2);
		assert_true(info->chain_malformed);
	}
	/* A later entry that is no DER. */
	memcpy(list, fx.list, fx.len);
	list[leaf_len + 3] ^= 0xff;
	assert_int_equal(chain_read(list, fx.len, &info), 0);
	assert_int_equal(info->chain_length, 2);
	assert_true(info->chain_malformed);
	assert_string_equal(info->subject, "CN=in the CN only.example.com,O=cbtrace");
}

/* No byte of a certificate, changed, does harm. */
static void test_mutations(void **state)
{
	static uint8_t list[sizeof(fx.list)];
	size_t leaf_len = 3 + ((size_t)fx.list[1] << 8 | fx.list[2]);

	(void)state;
	for (size_t i = 0; i < leaf_len; i++) {
		const struct cert_info *info;

		memcpy(list, fx.list, leaf_len);
		list[i] ^= (uint8_t)(1 + i * 7);
		if (chain_read(list, leaf_len, &info) == 0)
			cert_names(info, "xmpp1.example.com");
	}
}

static void test_cache(void **state)
{
	const struct cert_info *first, *info;
	static uint8_t list[sizeof(fx.list)];

	(void)state;
	assert_int_equal(chain_read(fx.list, fx.len, &first), 0);
	assert_int_equal(chain_read(fx.list, fx.len, &info), 0);
	assert_ptr_equal(first, info);
	/* Used between the others, it stays; of the others the oldest leave. */
	for (unsigned int i = 0; i < CERT_CACHE_MAX * 2; i++) {
		memcpy(list, fx.list, fx.len);
		list[fx.len] = list[fx.len + 1] = list[fx.len + 2] = 0;
		list[fx.len + 3] = list[fx.len + 4] = 0;
		list[fx.len + 5] = 2;
		list[fx.len + 6] = (uint8_t)(i >> 8);
		list[fx.len + 7] = (uint8_t)i;
		assert_int_equal(chain_read(list, fx.len + 8, &info), 0);
		assert_int_equal(info->chain_length, 4);
		assert_true(info->chain_malformed);
		assert_int_equal(chain_read(fx.list, fx.len, &info), 0);
		assert_ptr_equal(first, info);
	}
	cert_cache_free(NULL);
}

/* Chains as long as the wire allows: the bytes are bounded, not only the number. */
static void test_cache_bytes(void **state)
{
	const struct cert_info *info;
	static uint8_t list[sizeof(fx.list)];

	(void)state;
	memcpy(list, fx.list, fx.len);
	for (unsigned int i = 0; i < 200; i++) {
		memcpy(list + sizeof(list) - sizeof(i), &i, sizeof(i));
		assert_int_equal(cert_chain_read(fx.cache, list, sizeof(list), &info), 0);
		assert_true(info->chain_malformed);
	}
	assert_int_equal(cert_names(info, "example.com"), CERT_MATCH_YES);
}

#define CERT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CERT_TEST(test_fields),	     CERT_TEST(test_matches),	CERT_TEST(test_kinds),
		CERT_TEST(test_self_signed), CERT_TEST(test_text),	CERT_TEST(test_hostile_san),
		CERT_TEST(test_broken),	     CERT_TEST(test_mutations), CERT_TEST(test_cache),
		CERT_TEST(test_cache_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
