// SPDX-License-Identifier: BSD-2-Clause
/* Certificates for tests. See pki.h. */
#include "pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

EVP_PKEY *pki_key(const char *kind)
{
	EVP_PKEY *key;

	if (strcmp(kind, "RSA") == 0)
		key = EVP_RSA_gen(2048);
	else if (strcmp(kind, "ED25519") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		key = EVP_EC_gen(kind);
	assert_non_null(key);
	return key;
}

static void name_set(X509_NAME *name, const char *cn)
{
	assert_int_equal(
		X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"cbtrace", -1, -1, 0), 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0),
			 1);
}

X509 *pki_cert(EVP_PKEY *key, const struct pki_spec *spec)
{
	static int serial;
	bool ed = EVP_PKEY_get_base_id(spec->issuer_key ? spec->issuer_key : key) == EVP_PKEY_ED25519;
	int64_t now = time(NULL);
	X509 *x = X509_new();

	assert_non_null(x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	name_set(X509_get_subject_name(x), spec->cn);
	X509_set_issuer_name(x, X509_get_subject_name(spec->issuer ? spec->issuer : x));
	ASN1_TIME_set(X509_getm_notBefore(x), spec->not_before || spec->not_after ? spec->not_before : now - 3600);
	ASN1_TIME_set(X509_getm_notAfter(x), spec->not_before || spec->not_after ? spec->not_after : now + 86400);
	X509_set_pubkey(x, key);
	if (spec->san) {
		X509V3_CTX ctx;
		X509_EXTENSION *ext;

		X509V3_set_ctx(&ctx, NULL, x, NULL, NULL, 0);
		X509V3_set_nconf(&ctx, NULL);
		ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, spec->san);
		assert_non_null(ext);
		X509_add_ext(x, ext, -1);
		X509_EXTENSION_free(ext);
	}
	assert_true(X509_sign(x, spec->issuer_key ? spec->issuer_key : key, ed ? NULL : EVP_sha256()) > 0);
	return x;
}

size_t pki_entry(X509 *cert, uint8_t *out, size_t size)
{
	int n = i2d_X509(cert, NULL);
	unsigned char *p = out + 3;

	assert_true(n > 0 && (size_t)n + 3 <= size);
	out[0] = (uint8_t)(n >> 16);
	out[1] = (uint8_t)(n >> 8);
	out[2] = (uint8_t)n;
	i2d_X509(cert, &p);
	return (size_t)n + 3;
}
