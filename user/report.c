// SPDX-License-Identifier: BSD-2-Clause
/* The words of DESIGN section 2 for the enums of a report: the same in JSON, labels and timelines. */
#include "report.h"

#define NAME_OF(table, i) ((size_t)(i) < sizeof(table) / sizeof((table)[0]) ? (table)[i] : NULL)

const char *phase_name(enum phase p)
{
	static const char *const names[PHASES] = {
		[PHASE_SRV] = "srv", [PHASE_ADDRESS] = "address",   [PHASE_TCP] = "tcp",
		[PHASE_TLS] = "tls", [PHASE_REGISTER] = "register", [PHASE_WAIT] = "wait",
	};

	return NAME_OF(names, p);
}

int phase_step(enum phase p)
{
	static const int steps[PHASES] = {
		[PHASE_SRV] = 4, [PHASE_ADDRESS] = 5, [PHASE_TCP] = 6, [PHASE_TLS] = 7, [PHASE_REGISTER] = 9,
	};

	return (size_t)p < PHASES ? steps[p] : 0;
}

const char *outcome_name(enum outcome o)
{
	static const char *const names[OUTCOMES] = {
		[OUTCOME_REGISTERED] = "registered",
		[OUTCOME_CONNECTED] = "connected",
		[OUTCOME_FAILED] = "failed",
		[OUTCOME_ABANDONED] = "abandoned",
	};

	return NAME_OF(names, o);
}

const char *owner_name(enum owner o)
{
	static const char *const names[] = {
		[OWNER_RESOLVER] = "resolver",
		[OWNER_NETWORK] = "network",
		[OWNER_SERVER] = "server",
		[OWNER_CLIENT] = "client",
	};

	return NAME_OF(names, o);
}

const char *config_name(enum config c)
{
	static const char *const names[] = {
		[CONFIG_SRV] = "srv",
		[CONFIG_NAME] = "name",
		[CONFIG_ADDRESS] = "address",
	};

	return NAME_OF(names, c);
}

const char *evidence_name(enum evidence e)
{
	static const char *const names[] = {
		[EVIDENCE_WIRE] = "wire",
		[EVIDENCE_LIBRARY] = "library",
		[EVIDENCE_KERNEL] = "kernel",
		[EVIDENCE_INFERRED] = "inferred",
	};

	return NAME_OF(names, e);
}

const char *missing_name(unsigned int bit)
{
	switch (bit) {
	case MISSING_NOT_VISIBLE:
		return "not_visible";
	case MISSING_LOST_EVENTS:
		return "lost_events";
	case MISSING_STARTED_LATE:
		return "started_late";
	case MISSING_TRUNCATED:
		return "truncated";
	case MISSING_INTERRUPTED:
		return "interrupted";
	case MISSING_NOT_SENT:
		return "not_sent";
	default:
		return NULL;
	}
}

const char *stanza_name(enum stanza s)
{
	static const char *const names[STANZAS] = {
		[STANZA_IQ] = "iq", [STANZA_MESSAGE] = "message", [STANZA_PRESENCE] = "presence"};

	return s < STANZAS ? names[s] : NULL;
}
