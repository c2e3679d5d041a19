// SPDX-License-Identifier: BSD-2-Clause
/* A DNS question and its fate. See lookup.h. */
#include "lookup.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lookup *lookup_new(const char *qname, uint16_t type)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->name = strdup(qname);
	if (!l->name) {
		free(l);
		return NULL;
	}
	for (char *p = l->name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	l->type = type;
	l->rcode = -1;
	return l;
}

static void answers_free(struct lookup *l)
{
	for (size_t i = 0; i < l->n_answers; i++)
		free((char *)l->answers[i].target);
	free(l->answers);
	l->answers = NULL;
	l->n_answers = 0;
}

void lookup_free(struct lookup *l)
{
	if (!l)
		return;
	answers_free(l);
	free(l->name);
	free(l);
}

bool lookup_has_wire(const struct lookup *l, struct lookup_wire wire)
{
	for (size_t i = 0; i < l->n_wires; i++)
		if (l->wires[i].cookie == wire.cookie && l->wires[i].id == wire.id)
			return true;
	return false;
}

bool lookup_on_socket(const struct lookup *l, uint64_t cookie)
{
	for (size_t i = 0; i < l->n_wires; i++)
		if (l->wires[i].cookie == cookie)
			return true;
	return false;
}

void lookup_query(struct lookup *l, struct lookup_wire wire, const struct cbt_endpoint *resolver, bool tcp, uint64_t ts)
{
	if (!lookup_has_wire(l, wire)) {
		if (l->n_wires == LOOKUP_WIRES_MAX) {
			memmove(l->wires, l->wires + 1, sizeof(l->wires) - sizeof(l->wires[0]));
			l->n_wires--;
		}
		l->wires[l->n_wires++] = wire;
	}
	if (!l->queries || memcmp(&l->resolver, resolver, sizeof(*resolver)) != 0)
		l->resolvers++;
	l->resolver = *resolver;
	l->queries++;
	l->tcp = tcp;
	if (!l->first_ns)
		l->first_ns = ts;
	l->last_ns = ts;
	l->state = LOOKUP_PENDING;
	l->end_ns = 0;
}

static int answers_keep(struct lookup *l, const struct dns_message *m)
{
	struct report_answer *kept = calloc(m->n_answers ? m->n_answers : 1, sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	answers_free(l);
	l->answers = kept;
	for (size_t i = 0; i < m->n_answers; i++) {
		const struct dns_answer *a = &m->answers[i];
		struct report_answer *r = &kept[l->n_answers];

		*r = (struct report_answer){
			.type = a->type, .port = a->port, .priority = a->priority, .weight = a->weight};
		memcpy(r->addr, a->addr, sizeof(r->addr));
		if (a->type == DNS_TYPE_SRV || a->type == DNS_TYPE_CNAME) {
			char *target = strdup(a->target);

			if (!target)
				return -ENOMEM;
			for (char *p = target; *p; p++)
				*p = (char)tolower((unsigned char)*p);
			r->target = target;
		}
		l->n_answers++;
	}
	return 0;
}

int lookup_answer(struct lookup *l, const struct dns_message *m, enum dns_status status, bool tcp,
		  const struct cbt_endpoint *resolver, uint64_t ts)
{
	/* A resolver drops what it cannot read and goes on waiting, so this is not the end of the question. */
	if (status == DNS_MALFORMED) {
		l->malformed = true;
		return 0;
	}
	if (m->truncated && !tcp) {
		l->truncated = true;
		l->rcode = m->rcode;
		l->last_ns = ts;
		return 0;
	}
	l->truncated = l->malformed = false;
	l->state = LOOKUP_ANSWERED;
	l->rcode = m->rcode;
	l->resolver = *resolver;
	l->end_ns = ts;
	return answers_keep(l, m);
}

void lookup_give_up(struct lookup *l, uint64_t ts)
{
	if (l->state != LOOKUP_PENDING)
		return;
	l->state = LOOKUP_GIVEN_UP;
	l->end_ns = ts > l->last_ns ? ts : l->last_ns;
	if (!l->truncated)
		l->rcode = -1;
}

bool lookup_may_continue(const struct lookup *l)
{
	return l->state == LOOKUP_ANSWERED && (l->rcode == DNS_RCODE_SERVFAIL || l->rcode == DNS_RCODE_REFUSED ||
					       l->rcode == DNS_RCODE_NOTIMP || l->rcode == DNS_RCODE_FORMERR);
}

const char *lookup_failure(const struct lookup *l)
{
	static const char *const by_rcode[] = {
		[DNS_RCODE_FORMERR] = "formerr", [DNS_RCODE_SERVFAIL] = "servfail", [DNS_RCODE_NXDOMAIN] = "nxdomain",
		[DNS_RCODE_NOTIMP] = "notimp",	 [DNS_RCODE_REFUSED] = "refused",
	};
	size_t records = 0, none = 0;

	if (l->state == LOOKUP_PENDING)
		return NULL;
	if (l->state == LOOKUP_GIVEN_UP)
		return l->truncated ? "truncated" : l->malformed ? "malformed" : "timeout";
	if (l->rcode != DNS_RCODE_NOERROR) {
		if ((size_t)l->rcode < sizeof(by_rcode) / sizeof(by_rcode[0]) && by_rcode[l->rcode])
			return by_rcode[l->rcode];
		return "rcode_other";
	}
	for (size_t i = 0; i < l->n_answers; i++) {
		if (l->answers[i].type != l->type)
			continue;
		records++;
		/* RFC 2782: a target of "." says that the service is decidedly not available. */
		if (l->type == DNS_TYPE_SRV && strcmp(l->answers[i].target, ".") == 0)
			none++;
	}
	if (!records)
		return "nodata";
	return none == records ? "service_unavailable" : NULL;
}

bool lookup_has_addr(const struct lookup *l, const uint8_t addr[16])
{
	if (l->state != LOOKUP_ANSWERED)
		return false;
	for (size_t i = 0; i < l->n_answers; i++) {
		uint16_t type = l->answers[i].type;

		if ((type == DNS_TYPE_A || type == DNS_TYPE_AAAA) && memcmp(l->answers[i].addr, addr, 16) == 0)
			return true;
	}
	return false;
}

const struct report_answer *lookup_srv_target(const struct lookup *l, const char *name, uint16_t port)
{
	if (l->type != DNS_TYPE_SRV || l->state != LOOKUP_ANSWERED)
		return NULL;
	for (size_t i = 0; i < l->n_answers; i++) {
		const struct report_answer *a = &l->answers[i];

		if (a->type == DNS_TYPE_SRV && (!name || dns_name_equal(a->target, name)) && (!port || a->port == port))
			return a;
	}
	return NULL;
}
