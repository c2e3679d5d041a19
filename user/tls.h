/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS as a wire tap sees it (RFC 5246, 8446, 6066, 7301): records, the plaintext part of the handshake, and
 * when the handshake was complete. Reads two streams (stream.h), pure and bounded.
 */
#ifndef CBTRACE_TLS_H
#define CBTRACE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream.h"

#define TLS_NAME_MAX	   256
#define TLS_CERT_BYTES_MAX ((size_t)64 * 1024) /* a Certificate message longer than this is cut and says so */
#define TLS_TURNS_MAX	   16

enum tls_content { TLS_CCS = 20, TLS_ALERT = 21, TLS_HANDSHAKE = 22, TLS_APPDATA = 23 };

/* --- Single messages: (buffer, length) in, struct out. 0, -ENODATA if cut short (what was read is filled in), -EBADMSG
 * if wrong. --- */

struct tls_client_hello {
	uint16_t legacy_version;
	uint16_t versions_max; /* highest of supported_versions without GREASE, else legacy_version */
	uint8_t random[32];
	bool has_session_id;
	bool has_psk;		 /* pre_shared_key offered */
	bool early_data;	 /* 0-RTT offered */
	char sni[TLS_NAME_MAX];	 /* "" if absent; other than letters, digits, . - _ escaped \DDD */
	char alpn[TLS_NAME_MAX]; /* offered protocols, comma separated; "" if absent */
};
/* @data: handshake message body, after the 4-byte header. */
int tls_parse_client_hello(const uint8_t *data, size_t len, struct tls_client_hello *out);

struct tls_server_hello {
	uint16_t version; /* negotiated: supported_versions if present, else legacy_version */
	uint16_t cipher;
	uint8_t random[32];
	bool hello_retry;	 /* random is SHA-256("HelloRetryRequest"), RFC 8446 section 4.1.3 */
	bool psk_accepted;	 /* TLS 1.3 resumption */
	char alpn[TLS_NAME_MAX]; /* "" if absent (under 1.3 it is encrypted) */
};
int tls_parse_server_hello(const uint8_t *data, size_t len, struct tls_server_hello *out);

const char *tls_version_name(uint16_t version); /* "TLSv1.3" as OpenSSL prints; NULL if unknown */
/* IANA name; NULL if unknown. */
const char *tls_cipher_name(uint16_t cipher);
/* RFC 8446 section 6 and older RFCs, lower case with underscores; NULL if unknown. */
const char *tls_alert_name(uint8_t description);

/* --- A whole handshake, from both directions --- */

/* One turn: the client spoke, the server answered, the client went on. */
struct tls_turn {
	uint64_t out_ns;  /* last byte of the client's flight out */
	uint64_t in_ns;	  /* last byte of the server's flight in, before the client went on; 0 if none came */
	uint64_t next_ns; /* next byte of the client out; 0 if none */
};

enum tls_alert_kind { TLS_ALERT_NONE = 0, TLS_ALERT_PLAIN, TLS_ALERT_ENCRYPTED };

struct tls_alert_seen {
	uint8_t kind;	     /* enum tls_alert_kind */
	uint8_t level;	     /* 1 warning, 2 fatal; 0 if encrypted */
	uint8_t description; /* 0 if encrypted */
	uint64_t ts;	     /* ns */
};

struct tls_handshake {
	/* Verdict on the bytes themselves. */
	bool not_tls; /* either side's first bytes are no TLS */
	bool has_client_hello, has_server_hello;
	struct tls_client_hello client; /* of the first ClientHello */
	struct tls_server_hello server; /* of the final ServerHello */
	bool hello_retry;		/* HelloRetryRequest seen */
	bool resumed;			/* known only with has_server_hello and (TLS 1.3 or the flight after it) */
	bool resumed_known;
	bool client_cert_requested; /* TLS <= 1.2 only */
	bool has_certificate; /* TLS <= 1.2: certificates[] is the Certificate message's list, still in wire form */
	bool certificate_cut;
	const uint8_t *cert_list; /* owned; list entries: 3-byte length + DER each; NULL if none */
	size_t cert_list_len;
	/*
	 * First fatal (or encrypted) alert of each direction, before completion; close_notify apart. Of TLS 1.3 also
	 * @received after completion, as long as server_after_ns is 0: a refused client certificate shows only then (an
	 * encrypted close_notify looks the same).
	 */
	struct tls_alert_seen sent, received;
	bool close_notify_sent, close_notify_received;
	/* Times, ns; 0 = not reached. */
	uint64_t first_out_ns;	  /* first byte of the ClientHello out */
	uint64_t server_hello_ns; /* ServerHello complete in */
	uint64_t complete_ns;	  /* the handshake complete as the client sees it; DESIGN section 7 */
	uint64_t client_app_ns;	  /* first application record of the client after completion: its first byte out */
	uint64_t server_after_ns; /* first server record that followed client_app_ns (type 23 or encrypted, no alert),
				     complete in */
	uint64_t last_client_ns, last_server_ns; /* latest payload byte of each direction */
	bool truncated;				 /* bytes that were needed have not been copied */
	size_t n_turns; /* turns of the handshake up to completion (or until now), in order; more than TLS_TURNS_MAX are
			   merged into the last */
	struct tls_turn turns[TLS_TURNS_MAX];
};

struct tls_conn;

struct tls_conn *tls_conn_new(void);	/* NULL for want of memory */
void tls_conn_free(struct tls_conn *t); /* accepts NULL */

/* The streams; feed SYN numbers, segments and bytes through these. Index: enum cbt_dir (0 out, 1 in). */
struct stream *tls_conn_stream(struct tls_conn *t, int dir);

/*
 * Look at what has arrived since the last call. Call after each segment (after stream_segment and stream_bytes, in
 * either order, in event order: a later part of the same segment may bring bytes for which the extent is already
 * known). Idempotent.
 */
void tls_conn_advance(struct tls_conn *t);

/* The state so far; valid until the next call on @t. */
const struct tls_handshake *tls_conn_handshake(const struct tls_conn *t);

/* After this nothing more is needed: gives back the streams and buffers, keeps the handshake and its certificates.
 * tls_conn_stream() is NULL from now on, tls_conn_advance() does nothing. */
void tls_conn_finish(struct tls_conn *t);

#endif
