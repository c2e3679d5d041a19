/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys and certificates that tests make for themselves, so that no blob is kept and nothing expires. Failure ends the
 * test. */
#ifndef CBTRACE_TEST_PKI_H
#define CBTRACE_TEST_PKI_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

struct pki_spec {
	const char *cn;
	const char *san;	       /* in the syntax of openssl.cnf; NULL none */
	int64_t not_before, not_after; /* s since the epoch; both 0: an hour ago to in a day */
	X509 *issuer;		       /* NULL: self-signed */
	EVP_PKEY *issuer_key;
};

EVP_PKEY *pki_key(const char *kind); /* "P-256", "RSA", "ED25519" */
X509 *pki_cert(EVP_PKEY *key, const struct pki_spec *spec);
/* Append the entry of a Certificate message: 3-byte length and DER. Returns the bytes written. */
size_t pki_entry(X509 *cert, uint8_t *out, size_t size);

#endif
