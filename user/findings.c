// SPDX-License-Identifier: BSD-2-Clause
/* Findings of one attempt. See findings.h. Each function proves one pattern or says nothing. */
#include "findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "addr.h"
#include "process.h"

__attribute__((format(printf, 5, 6))) static void finding_add(struct findings *f, const char *code, enum phase phase,
							      uint64_t cost_ns, const char *format, ...)
{
	va_list args;

	if (f->n == FINDINGS_MAX)
		return;
	va_start(args, format);
	vsnprintf(f->text[f->n], sizeof(f->text[f->n]), format, args);
	va_end(args);
	f->list[f->n] = (struct report_finding){code, phase, (int64_t)cost_ns, f->text[f->n]};
	f->n++;
}

static enum phase lookup_phase(const struct lookup *l)
{
	return l->type == DNS_TYPE_SRV ? PHASE_SRV : PHASE_ADDRESS;
}

static void find_dns(const struct lookup *l, struct findings *f)
{
	char type[16], addr[ADDR_TEXT_MAX];

	if (l->resolvers > 1 && l->state == LOOKUP_ANSWERED)
		finding_add(f, "dns_no_answer", lookup_phase(l), l->last_ns - l->first_ns,
			    "%s %s: no answer before %s was asked", dns_type_name(l->type, type, sizeof(type)), l->name,
			    addr_endpoint_text(&l->resolver, addr));
	if (l->tcp && l->state == LOOKUP_ANSWERED && l->queries > 1)
		finding_add(f, "dns_tcp_fallback", lookup_phase(l), l->end_ns - l->first_ns,
			    "%s %s: truncated answer, asked again over TCP", dns_type_name(l->type, type, sizeof(type)),
			    l->name);
}

/* Where the legs to the target of @l begin, of which @l is the last. */
static uint64_t target_start(const struct leg *l)
{
	const struct leg *p = l;

	while ((p = TAILQ_PREV(p, leg_list, by_attempt)) && p->target && strcmp(p->target, l->target) == 0)
		l = p;
	return leg_tcp_start(l);
}

static void find_leg(const struct leg *l, const struct leg *winner, struct findings *f)
{
	char addr[ADDR_TEXT_MAX];
	const struct leg *next = TAILQ_NEXT(l, by_attempt);

	addr_endpoint_text(&l->remote, addr);
	if (l->syn_sent > 1)
		finding_add(f, "syn_retransmit", PHASE_TCP, l->last_syn_ns - l->syn_ns, "SYN to %s sent %u times", addr,
			    l->syn_sent);
	if (winner && l != winner && next && l->target && next->target && strcmp(l->target, next->target) != 0 &&
	    leg_failed(l) && leg_tcp_start(next) > leg_tcp_start(l))
		finding_add(f, "srv_failover", PHASE_TCP, leg_tcp_start(next) - target_start(l),
			    "%s did not work, %s was next", l->target, next->target);
}

/* Only what was over by then cost the attempt anything. */
static void find_nagle(const struct leg *winner, uint64_t end_ns, struct findings *f)
{
	const struct tls_handshake *h = leg_handshake(winner);

	if (!winner->nagle_ns || winner->nagle_ns > end_ns)
		return;
	finding_add(f, "nagle_delayed_ack",
		    h->complete_ns && winner->nagle_ns > h->complete_ns ? PHASE_REGISTER : PHASE_TLS,
		    winner->nagle_cost_ns,
		    "the server's next bytes came only when this host's delayed ACK went out: Nagle's algorithm is on "
		    "there");
}

static void find_tls(const struct leg *winner, struct findings *f)
{
	const struct tls_handshake *h = leg_handshake(winner);
	bool tls12 = h->has_server_hello && h->server.version < 0x0304 && !h->resumed && h->complete_ns;

	if (!tls12 && !h->hello_retry)
		return;
	/* An extra turn costs one round trip of the leg, which only a measured one can put a number to. */
	if (winner->rtt_ns)
		finding_add(f, "tls_extra_round_trip", PHASE_TLS, winner->rtt_ns, "%s",
			    tls12 ? "TLS 1.2 takes one round trip more than 1.3"
				  : "HelloRetryRequest: the server wanted another key share");
}

static void find_certificate(const struct attempt_names *names, const struct attempt_verdict *v, struct findings *f)
{
	bool accepted = v->outcome == OUTCOME_CONNECTED || v->outcome == OUTCOME_REGISTERED;

	if (!names->cert)
		return;
	if (names->cert->not_after > names->now_s && names->cert->not_after - names->now_s < FINDING_EXPIRES_SOON_S)
		finding_add(f, "certificate_expires_soon", PHASE_TLS, 0, "%lld days left",
			    (long long)((names->cert->not_after - names->now_s) / 86400));
	if (accepted && (names->domain == CERT_MATCH_NO) != (names->server == CERT_MATCH_NO) &&
	    names->domain != CERT_MATCH_UNKNOWN && names->server != CERT_MATCH_UNKNOWN)
		finding_add(f, "san_incomplete", PHASE_TLS, 0, "accepted, yet the certificate does not name the %s",
			    names->domain == CERT_MATCH_NO ? "domain" : "server");
}

void findings_collect(const struct attempt *a, const struct attempt_names *names, const struct attempt_verdict *verdict,
		      struct findings *ret)
{
	const struct leg *winner = attempt_winner(a);
	const struct lookup *lo;
	const struct leg *le;

	ret->n = 0;
	TAILQ_FOREACH (lo, &a->lookups, by_attempt)
		find_dns(lo, ret);
	TAILQ_FOREACH (le, &a->legs, by_attempt)
		find_leg(le, winner, ret);
	if (winner) {
		find_tls(winner, ret);
		find_nagle(winner, verdict->end_ns, ret);
	}
	find_certificate(names, verdict, ret);
}
