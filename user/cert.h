/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A certificate chain as the peer sent it, read with OpenSSL (X509 parsing, X509_check_host, X509_check_ip). A chain is
 * parsed once and cached by its SHA-256; the two name checks are made per call.
 */
#ifndef CBTRACE_CERT_H
#define CBTRACE_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERT_SANS_MAX  64  /* names kept of one certificate; more are counted */
#define CERT_CACHE_MAX 256 /* chains; the least recently used goes first */

enum cert_match { CERT_MATCH_UNKNOWN = -1, CERT_MATCH_NO = 0, CERT_MATCH_YES = 1 };

struct cert_info {
	char *subject; /* RFC 2253 form, one line, UTF-8 */
	char *issuer;
	size_t n_san;
	char *san[CERT_SANS_MAX]; /* dNSName as is; IP addresses in text; otherName XmppAddr "xmpp:…", SRVName "srv:…"
				   */
	size_t n_san_dropped;
	int64_t not_before, not_after; /* s since the epoch */
	bool self_signed;	       /* leaf's issuer is its subject, and its own key verifies it */
	char key_type[32];	       /* "RSA 2048", "EC prime256v1", "ED25519" */
	unsigned int chain_length;     /* certificates that the peer sent */
	bool chain_malformed;	       /* leaf fine, a later entry not DER */
};

struct cert_cache;
struct cert_cache *cert_cache_new(void);    /* NULL for want of memory */
void cert_cache_free(struct cert_cache *c); /* accepts NULL */

/*
 * @list: entries of 3-byte length + DER each, leaf first (the Certificate message of TLS <= 1.2). *@ret_info lives as
 * long as the cache holds it: use it before the next call. 0, -EBADMSG (leaf is not a certificate), -ENODATA (empty
 * list), -ENOMEM.
 */
int cert_chain_read(struct cert_cache *c, const uint8_t *list, size_t len, const struct cert_info **ret_info);

/*
 * Does the leaf of the chain last read name @name (a domain, an FQDN, or an IP address in text)? RFC 9525: dNSName or
 * iPAddress SANs, XMPP's SRVName
 * ("_xmpp-component.NAME", "_xmpp-server.NAME") and XmppAddr for a domain; wildcard is the whole left-most label; the
 * CN never counts. NULL: unknown.
 */
enum cert_match cert_names(const struct cert_info *info, const char *name);

/* What a verification with result @code (X509_V_*) said, in OpenSSL's words: "ok", "certificate has expired". Lives for
 * ever. */
const char *cert_verify_text(int32_t code);

#endif
