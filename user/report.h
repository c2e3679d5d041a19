/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What correlation says, and all that sinks may read. A report is const, complete and self-contained: it lives for the
 * duration of the call that hands it over. Unknown is NULL, NS_UNKNOWN or *_UNKNOWN, never an invented value. Offsets
 * "_ns" count from the attempt's start; "_real_ns" are ns since the epoch, UTC.
 */
#ifndef CBTRACE_REPORT_H
#define CBTRACE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>
#include "dns.h"

#define NS_UNKNOWN INT64_MIN

/* Explicit values: they index tables of sinks, and metrics keep them from run to run. */
enum phase {
	PHASE_SRV = 0,
	PHASE_ADDRESS = 1,
	PHASE_TCP = 2,
	PHASE_TLS = 3,
	PHASE_REGISTER = 4,
	PHASE_WAIT = 5,
	PHASES = 6,
	PHASE_NONE = 7,
};

enum outcome {
	OUTCOME_REGISTERED = 0,
	OUTCOME_CONNECTED = 1,
	OUTCOME_FAILED = 2,
	OUTCOME_ABANDONED = 3,
	OUTCOMES = 4,
	OUTCOME_NONE = 5, /* interrupted while in flight */
};

enum owner { OWNER_NONE = 0, OWNER_RESOLVER = 1, OWNER_NETWORK = 2, OWNER_SERVER = 3, OWNER_CLIENT = 4 };

enum config { CONFIG_UNKNOWN = 0, CONFIG_SRV = 1, CONFIG_NAME = 2, CONFIG_ADDRESS = 3 };

enum evidence {
	EVIDENCE_NONE = 0,
	EVIDENCE_WIRE = 1,
	EVIDENCE_LIBRARY = 2,
	EVIDENCE_KERNEL = 3,
	EVIDENCE_INFERRED = 4
};

enum tristate { TRI_UNKNOWN = -1, TRI_NO = 0, TRI_YES = 1 };

/* Why something is missing; bits. */
#define MISSING_NOT_VISIBLE  0x01
#define MISSING_LOST_EVENTS  0x02
#define MISSING_STARTED_LATE 0x04
#define MISSING_TRUNCATED    0x08
#define MISSING_INTERRUPTED  0x10
#define MISSING_NOT_SENT     0x20
/* Those that make an attempt incomplete (the others are in the nature of what was watched). */
#define MISSING_INCOMPLETE (MISSING_LOST_EVENTS | MISSING_STARTED_LATE | MISSING_TRUNCATED | MISSING_INTERRUPTED)

/* Names as JSON, labels and people see them; NULL for *_NONE and *_UNKNOWN. report.c */
const char *phase_name(enum phase p);
int phase_step(enum phase p); /* step of the documented flow, DESIGN section 1; 0 for wait */
const char *outcome_name(enum outcome o);
const char *owner_name(enum owner o);
const char *config_name(enum config c);
const char *evidence_name(enum evidence e);
const char *missing_name(unsigned int bit);

struct report_entry {
	enum phase phase;
	int leg; /* index into legs[] for tcp, tls, register; -1 none */
	int64_t start_ns, end_ns;
	enum owner owner; /* of a wait; OWNER_NONE elsewhere */
};

struct report_answer {
	uint16_t type;			 /* DNS_TYPE_A, _AAAA, _SRV, _CNAME */
	const char *target;		 /* SRV, CNAME */
	uint16_t port, priority, weight; /* SRV */
	uint8_t addr[16];		 /* A, AAAA */
};

/* A forwarder's own question on behalf of a lookup. */
struct report_upstream {
	struct cbt_endpoint resolver;
	int64_t start_ns, duration_ns; /* NS_UNKNOWN if unanswered */
	int rcode;		       /* -1 none */
	unsigned int queries;
};

struct report_lookup {
	uint64_t attempt; /* id; 0 none yet */
	const char *name;
	uint16_t type;
	int rcode; /* -1: unanswered */
	const char
		*failure; /* NULL: a usable answer; else a reason of DESIGN section 7 (nodata, timeout, malformed …) */
	bool tcp;
	struct cbt_endpoint resolver;  /* the last one asked, or the one that answered */
	unsigned int queries;	       /* messages sent */
	int64_t start_ns, duration_ns; /* NS_UNKNOWN: not ended */
	const struct report_answer *answers;
	size_t n_answers;
	const struct report_upstream *upstream;
	size_t n_upstream;
};

struct report_leg {
	uint64_t attempt;
	struct cbt_endpoint remote;
	const char *target;   /* SRV target or name that the address came from; NULL */
	int priority, weight; /* -1 unknown */
	const char *result;   /* "connected", "pending" or a reason of phase tcp or gave_up, process_exit */
	int64_t start_ns;     /* connect() or first SYN */
	int64_t tcp_ns;	      /* duration until SYN-ACK, RST or close; NS_UNKNOWN */
	unsigned int syn_sent;
	int64_t rtt_ns; /* NS_UNKNOWN */
};

struct report_tls {
	const char *version, *cipher, *sni, *alpn, *alert; /* NULL unknown */
	enum tristate resumed, hello_retry, client_cert_requested;
	int64_t network_ns, server_ns, client_ns; /* NS_UNKNOWN */
	const char *joined_by; /* what ties it to what its library told: "random" (of the ClientHello); NULL: nothing
				  does */
};

struct report_certificate {
	enum evidence evidence;
	const char *subject, *issuer, *key_type;
	const char *const *san;
	size_t n_san;
	enum tristate domain_match, server_match, self_signed;
	int64_t not_before, not_after; /* s since the epoch */
	unsigned int chain_length;
	const char *verify; /* what the client's own verification said, OpenSSL's words; NULL unknown */
};

struct report_registration {
	const char *protocol, *component;	  /* NULL unknown */
	const char *result;			  /* "success", "failure"; NULL: no verdict came */
	const char *error;			  /* condition with underscores; NULL */
	int64_t start_ns;			  /* first application byte out */
	int64_t stream_ns;			  /* from there to the server's stream header; NS_UNKNOWN */
	int64_t duration_ns;			  /* from there to the verdict; NS_UNKNOWN */
	int64_t network_ns, server_ns, client_ns; /* of the duration; NS_UNKNOWN */
};

struct report_finding {
	const char *code;
	enum phase phase;
	int64_t cost_ns;
	const char *text;
};

struct report_attempt {
	uint64_t id, retry_of;	/* retry_of 0: none */
	int64_t retry_delay_ns; /* from the predecessor's end; NS_UNKNOWN */
	uint32_t pid;
	const char *comm, *cgroup, *host; /* NULL unknown */
	const char *domain, *server;	  /* NULL unknown */
	enum config config;
	enum outcome outcome;
	enum phase failed_phase; /* PHASE_NONE */
	const char *reason;	 /* NULL */
	int64_t start_real_ns;	 /* ns since the epoch */
	int64_t total_ns;
	const struct report_entry *timeline;
	size_t n_timeline;
	const struct report_lookup *lookups;
	size_t n_lookups;
	const struct report_leg *legs;
	size_t n_legs;
	const struct report_tls *tls;			/* NULL: no TLS seen */
	const struct report_certificate *certificate;	/* NULL */
	unsigned int certificate_missing;		/* MISSING_* if certificate is NULL */
	const struct report_registration *registration; /* NULL */
	unsigned int registration_missing;
	enum phase slowest; /* PHASE_NONE */
	double slowest_share;
	enum owner slowest_owner;
	const struct report_finding *findings;
	size_t n_findings;
	bool complete;
	unsigned int missing; /* MISSING_*, of the whole attempt */
};

enum session_state { SESSION_UP = 0, SESSION_DOWN = 1 };

enum stanza { STANZA_IQ = 0, STANZA_MESSAGE = 1, STANZA_PRESENCE = 2, STANZAS = 3 };
const char *stanza_name(enum stanza s); /* as in XML. report.c */

struct report_session {
	uint64_t id, attempt; /* attempt 0: none seen */
	uint32_t pid;
	const char *comm, *domain, *server, *component;
	struct cbt_endpoint remote;
	enum session_state state;
	bool registered_known; /* false: opened by a `connected` attempt, registered is null */
	bool registered;
	int64_t start_real_ns, end_real_ns; /* NS_UNKNOWN */
	int64_t duration_ns;
	const char *end_reason, *ended_by;		      /* NULL while up */
	int64_t bytes_in, bytes_out, stanzas_in, stanzas_out; /* NS_UNKNOWN */
	uint64_t stanzas[2][STANZAS];			      /* by enum cbt_dir; unknown if stanzas_in is */
	int64_t keepalives_in, keepalives_out;		      /* NS_UNKNOWN */
	int64_t last_inbound_real_ns, rtt_ns, retransmits;    /* NS_UNKNOWN */
	int64_t login_real_ns, login_response_ns;	      /* first stanza in, and the client's answer; NS_UNKNOWN */
	unsigned int missing;
};

struct report_lost {
	uint64_t count[CBT_LOST_STAGES]; /* never falling */
};

/* Who wants what: NULL members are skipped. Sinks implement these; the last argument is their own. */
struct report_handler {
	void (*attempt)(const struct report_attempt *a, void *arg);
	void (*session)(const struct report_session *s, void *arg);
	/* Between its two: something came or went. @response_ns: how long the client took to answer the request that
	 * this answers; 0 none. */
	void (*session_progress)(const struct report_session *s, int64_t response_ns, void *arg);
	void (*lookup)(const struct report_lookup *l, int64_t start_real_ns, void *arg);
	void (*leg)(const struct report_leg *l, int64_t start_real_ns, void *arg);
	void (*lost)(const struct report_lost *l, void *arg);
	/* Of a process, whether its TLS library can be looked into: enum cbt_library_state. */
	void (*library)(unsigned int state, void *arg);
	/* The tap of this socket has told what it can; the live source may close it. */
	void (*tap_done)(uint64_t cookie, void *arg);
	void *arg;
};

#endif
