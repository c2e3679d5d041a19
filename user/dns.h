/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DNS messages (RFC 1035, 2782 SRV, 6891 EDNS): a bounded parser on (buffer, length). Pure: no allocation, no clock.
 * A message that a capture cut short is a result (DNS_TRUNCATED_CAPTURE), not an error: what came before the cut is
 * filled in.
 */
#ifndef CBTRACE_DNS_H
#define CBTRACE_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX \
	256 /* presentation form: RFC 1035 section 3.1 allows 255 octets; escapes that do not fit are malformed */
#define DNS_ANSWERS_MAX 64

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_SRV = 33,
	DNS_TYPE_OPT = 41,
};

enum dns_rcode {
	DNS_RCODE_NOERROR = 0,
	DNS_RCODE_FORMERR = 1,
	DNS_RCODE_SERVFAIL = 2,
	DNS_RCODE_NXDOMAIN = 3,
	DNS_RCODE_NOTIMP = 4,
	DNS_RCODE_REFUSED = 5,
};

/* One record of the answer section. CNAMEs are kept: they join the question's name to the address's owner. */
struct dns_answer {
	uint16_t type; /* A, AAAA, SRV or CNAME; other types are counted in n_other only */
	uint32_t ttl;  /* s */
	char owner[DNS_NAME_MAX];
	uint8_t addr[16];	   /* A (v4-mapped) and AAAA, network order */
	uint16_t priority, weight; /* SRV */
	uint16_t port;		   /* SRV, host order */
	char target[DNS_NAME_MAX]; /* SRV and CNAME, without the final dot; "." for the root */
};

enum dns_status {
	DNS_OK = 0,
	DNS_TRUNCATED_CAPTURE, /* the buffer ends before the message does; fields up to there are valid */
	DNS_MALFORMED,	       /* a loop, a forward pointer, a label or rdlength out of bounds, counts that cannot be */
};

struct dns_message {
	uint16_t id;
	bool response;	/* QR */
	bool truncated; /* TC */
	uint8_t opcode;
	uint16_t rcode; /* with the EDNS extension where an OPT record was reached */
	uint16_t n_questions;
	/* First question; qname keeps the letter case of the wire (0x20 randomisation), no final dot, "." for the root.
	 */
	bool has_question;
	char qname[DNS_NAME_MAX];
	uint16_t qtype, qclass;
	uint16_t n_answers; /* kept in answers[] */
	uint16_t n_other;   /* answer records of other types or classes */
	uint16_t n_dropped; /* beyond DNS_ANSWERS_MAX */
	struct dns_answer answers[DNS_ANSWERS_MAX];
};

/*
 * Parse @len bytes at @data, of a message that has @msg_len bytes on the wire (>= @len). *@msg is filled as far as it
 * went. Octets of a label that are not letters, digits, '-' or '_' are escaped as RFC 4343 section 2.1 says (\.
 * \\ \DDD).
 */
enum dns_status dns_parse(const uint8_t *data, size_t len, size_t msg_len, struct dns_message *msg);

/* Letter case apart, are the names equal? A final dot does not matter. ASCII only (RFC 4343). */
bool dns_name_equal(const char *a, const char *b);

/*
 * If @qname is _xmpp-component._tcp.DOMAIN or _xmpp-components._tcp.DOMAIN in any case, return where DOMAIN begins in
 * it; else NULL.
 */
const char *dns_component_domain(const char *qname);

/* "A", "AAAA", "SRV", "CNAME", "TYPE64" … Static, or written to @buf (at least 12 bytes). */
const char *dns_type_name(uint16_t type, char *buf, size_t size);
/* "NOERROR", "NXDOMAIN" …, "RCODE16" … */
const char *dns_rcode_name(uint16_t rcode, char *buf, size_t size);

#endif
