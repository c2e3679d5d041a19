// SPDX-License-Identifier: BSD-2-Clause
/* Reports as JSON lines. The order and the presence of every key are those of docs/schema/. See sink_json.h. */
#include "sink_json.h"

#include <errno.h>
#include <stdlib.h>

#include "addr.h"
#include "dns.h"
#include "json.h"
#include "text.h"

#define SHARE_DIGITS 4

struct sink_json {
	FILE *out;
	bool events, flush;
	int error;
	struct text line;
	struct json json;
};

/* --- Values of reports --- */

static void put_ns(struct json *j, const char *key, int64_t value)
{
	if (value == NS_UNKNOWN)
		json_null(j, key);
	else
		json_int(j, key, value);
}

static void put_real_ns(struct json *j, const char *key, int64_t value)
{
	if (value == NS_UNKNOWN)
		json_null(j, key);
	else
		json_time_ns(j, key, value);
}

/* Identifiers begin at 1. */
static void put_id(struct json *j, const char *key, uint64_t id)
{
	if (id)
		json_uint(j, key, id);
	else
		json_null(j, key);
}

static void put_tristate(struct json *j, const char *key, enum tristate value)
{
	if (value == TRI_UNKNOWN)
		json_null(j, key);
	else
		json_bool(j, key, value == TRI_YES);
}

/* -1 is unknown. */
static void put_number(struct json *j, const char *key, int value)
{
	if (value < 0)
		json_null(j, key);
	else
		json_int(j, key, value);
}

static void put_rcode(struct json *j, int rcode)
{
	char buf[16];

	json_string(j, "rcode", rcode < 0 ? NULL : dns_rcode_name((uint16_t)rcode, buf, sizeof(buf)));
}

static void put_endpoint(struct json *j, const char *key, const struct cbt_endpoint *e)
{
	char buf[ADDR_TEXT_MAX];

	json_string(j, key, addr_endpoint_text(e, buf));
}

static void put_address(struct json *j, const uint8_t addr[16])
{
	char buf[ADDR_TEXT_MAX];

	json_string(j, "address", addr_text(addr, buf));
}

static void put_missing(struct json *j, unsigned int missing)
{
	json_array(j, "missing");
	for (unsigned int bit = 1; bit && bit <= missing; bit <<= 1)
		if (missing & bit && missing_name(bit))
			json_string(j, NULL, missing_name(bit));
	json_array_end(j);
}

/* --- Parts of an attempt --- */

static void put_entry(struct json *j, const struct report_entry *e)
{
	json_object(j, NULL);
	json_string(j, "phase", phase_name(e->phase));
	if (e->phase != PHASE_WAIT) {
		json_int(j, "step", phase_step(e->phase));
		if (e->leg >= 0)
			json_int(j, "leg", e->leg);
	}
	json_int(j, "start_ns", e->start_ns);
	json_int(j, "end_ns", e->end_ns);
	if (e->phase == PHASE_WAIT && e->owner != OWNER_NONE)
		json_string(j, "owner", owner_name(e->owner));
	json_object_end(j);
}

static void put_answer(struct json *j, const struct report_answer *a)
{
	json_object(j, NULL);
	switch (a->type) {
	case DNS_TYPE_SRV:
		json_string(j, "target", a->target);
		json_int(j, "port", a->port);
		json_int(j, "priority", a->priority);
		json_int(j, "weight", a->weight);
		break;
	case DNS_TYPE_CNAME:
		json_string(j, "cname", a->target);
		break;
	default:
		put_address(j, a->addr);
		break;
	}
	json_object_end(j);
}

static void put_upstream(struct json *j, const struct report_upstream *u)
{
	json_object(j, NULL);
	put_endpoint(j, "resolver", &u->resolver);
	put_rcode(j, u->rcode);
	json_uint(j, "queries", u->queries);
	put_ns(j, "start_ns", u->start_ns);
	put_ns(j, "duration_ns", u->duration_ns);
	json_object_end(j);
}

/* @with_start: inside an attempt, where an offset means something. */
static void put_lookup(struct json *j, const struct report_lookup *l, bool with_start)
{
	char buf[16];

	json_string(j, "name", l->name);
	json_string(j, "type", dns_type_name(l->type, buf, sizeof(buf)));
	put_rcode(j, l->rcode);
	json_string(j, "failure", l->failure);
	json_string(j, "transport", l->tcp ? "tcp" : "udp");
	put_endpoint(j, "resolver", &l->resolver);
	json_uint(j, "queries", l->queries);
	if (with_start)
		put_ns(j, "start_ns", l->start_ns);
	put_ns(j, "duration_ns", l->duration_ns);
	json_array(j, "answers");
	for (size_t i = 0; i < l->n_answers; i++)
		put_answer(j, &l->answers[i]);
	json_array_end(j);
	json_array(j, "upstream");
	for (size_t i = 0; i < l->n_upstream; i++)
		put_upstream(j, &l->upstream[i]);
	json_array_end(j);
}

static void put_leg(struct json *j, const struct report_leg *l, bool with_start)
{
	put_address(j, l->remote.addr);
	json_int(j, "port", l->remote.port);
	json_string(j, "target", l->target);
	put_number(j, "priority", l->priority);
	put_number(j, "weight", l->weight);
	json_string(j, "result", l->result);
	if (with_start)
		put_ns(j, "start_ns", l->start_ns);
	put_ns(j, "tcp_ns", l->tcp_ns);
	json_uint(j, "syn_sent", l->syn_sent);
	put_ns(j, "rtt_ns", l->rtt_ns);
}

static void put_tls(struct json *j, const struct report_tls *t)
{
	if (!t) {
		json_null(j, "tls");
		return;
	}
	json_object(j, "tls");
	json_string(j, "version", t->version);
	json_string(j, "cipher", t->cipher);
	json_string(j, "sni", t->sni);
	json_string(j, "alpn", t->alpn);
	put_tristate(j, "resumed", t->resumed);
	put_tristate(j, "hello_retry", t->hello_retry);
	put_tristate(j, "client_cert_requested", t->client_cert_requested);
	put_ns(j, "network_ns", t->network_ns);
	put_ns(j, "server_ns", t->server_ns);
	put_ns(j, "client_ns", t->client_ns);
	json_string(j, "alert", t->alert);
	json_string(j, "joined_by", t->joined_by);
	json_object_end(j);
}

static void put_certificate(struct json *j, const struct report_certificate *c)
{
	if (!c) {
		json_null(j, "certificate");
		return;
	}
	json_object(j, "certificate");
	json_string(j, "evidence", evidence_name(c->evidence));
	json_string(j, "subject", c->subject);
	json_string(j, "issuer", c->issuer);
	json_array(j, "san");
	for (size_t i = 0; i < c->n_san; i++)
		json_string(j, NULL, c->san[i]);
	json_array_end(j);
	put_tristate(j, "domain_match", c->domain_match);
	put_tristate(j, "server_match", c->server_match);
	json_time(j, "not_before", c->not_before, 0);
	json_time(j, "not_after", c->not_after, 0);
	json_string(j, "key_type", c->key_type);
	json_uint(j, "chain_length", c->chain_length);
	put_tristate(j, "self_signed", c->self_signed);
	json_string(j, "verify", c->verify);
	json_object_end(j);
}

static void put_registration(struct json *j, const struct report_registration *r)
{
	if (!r) {
		json_null(j, "registration");
		return;
	}
	json_object(j, "registration");
	json_string(j, "protocol", r->protocol);
	json_string(j, "component", r->component);
	json_string(j, "result", r->result);
	json_string(j, "error", r->error);
	put_ns(j, "start_ns", r->start_ns);
	put_ns(j, "stream_ns", r->stream_ns);
	put_ns(j, "duration_ns", r->duration_ns);
	put_ns(j, "network_ns", r->network_ns);
	put_ns(j, "server_ns", r->server_ns);
	put_ns(j, "client_ns", r->client_ns);
	json_object_end(j);
}

static void put_stanzas(struct json *j, const struct report_session *r)
{
	if (r->stanzas_in == NS_UNKNOWN) {
		json_null(j, "stanzas");
		return;
	}
	json_object(j, "stanzas");
	for (enum stanza s = 0; s < STANZAS; s++) {
		json_object(j, stanza_name(s));
		json_uint(j, "in", r->stanzas[CBT_IN][s]);
		json_uint(j, "out", r->stanzas[CBT_OUT][s]);
		json_object_end(j);
	}
	json_object_end(j);
}

static void put_login(struct json *j, const struct report_session *r)
{
	if (r->login_real_ns == NS_UNKNOWN) {
		json_null(j, "first_login");
		return;
	}
	json_object(j, "first_login");
	put_real_ns(j, "at", r->login_real_ns);
	put_ns(j, "response_ns", r->login_response_ns);
	json_object_end(j);
}

static void put_slowest(struct json *j, const struct report_attempt *a)
{
	if (a->slowest == PHASE_NONE) {
		json_null(j, "slowest");
		return;
	}
	json_object(j, "slowest");
	json_string(j, "phase", phase_name(a->slowest));
	json_fixed(j, "share", a->slowest_share, SHARE_DIGITS);
	json_string(j, "owner", owner_name(a->slowest_owner));
	json_object_end(j);
}

static void put_findings(struct json *j, const struct report_attempt *a)
{
	json_array(j, "findings");
	for (size_t i = 0; i < a->n_findings; i++) {
		const struct report_finding *f = &a->findings[i];

		json_object(j, NULL);
		json_string(j, "code", f->code);
		json_string(j, "phase", phase_name(f->phase));
		put_ns(j, "cost_ns", f->cost_ns);
		json_string(j, "text", f->text);
		json_object_end(j);
	}
	json_array_end(j);
}

static void put_lists(struct json *j, const struct report_attempt *a)
{
	json_array(j, "timeline");
	for (size_t i = 0; i < a->n_timeline; i++)
		put_entry(j, &a->timeline[i]);
	json_array_end(j);
	json_array(j, "lookups");
	for (size_t i = 0; i < a->n_lookups; i++) {
		json_object(j, NULL);
		put_lookup(j, &a->lookups[i], true);
		json_object_end(j);
	}
	json_array_end(j);
	json_array(j, "legs");
	for (size_t i = 0; i < a->n_legs; i++) {
		json_object(j, NULL);
		put_leg(j, &a->legs[i], true);
		json_object_end(j);
	}
	json_array_end(j);
}

/* --- Lines --- */

static struct json *line_begin(struct sink_json *s, const char *kind)
{
	json_begin(&s->json, &s->line);
	json_object(&s->json, NULL);
	json_string(&s->json, "kind", kind);
	json_int(&s->json, "schema", SINK_JSON_SCHEMA);
	return &s->json;
}

static void line_end(struct sink_json *s)
{
	int error;

	json_object_end(&s->json);
	text_puts(&s->line, "\n");
	error = text_write(&s->line, s->out);
	if (!error && s->flush && fflush(s->out) != 0)
		error = errno ? -errno : -EIO;
	if (error && !s->error)
		s->error = error;
}

static void on_attempt(const struct report_attempt *a, void *arg)
{
	struct sink_json *s = arg;
	struct json *j = line_begin(s, "attempt");

	put_id(j, "id", a->id);
	put_id(j, "retry_of", a->retry_of);
	put_ns(j, "retry_delay_ns", a->retry_delay_ns);
	json_uint(j, "pid", a->pid);
	json_string(j, "comm", a->comm);
	json_string(j, "cgroup", a->cgroup);
	json_string(j, "host", a->host);
	json_string(j, "domain", a->domain);
	json_string(j, "server", a->server);
	json_string(j, "config", config_name(a->config));
	json_string(j, "outcome", outcome_name(a->outcome));
	json_string(j, "failed_phase", phase_name(a->failed_phase));
	json_string(j, "reason", a->reason);
	json_time_ns(j, "start", a->start_real_ns);
	json_int(j, "total_ns", a->total_ns);
	put_lists(j, a);
	put_tls(j, a->tls);
	put_certificate(j, a->certificate);
	put_registration(j, a->registration);
	put_slowest(j, a);
	put_findings(j, a);
	json_bool(j, "complete", a->complete);
	put_missing(j, a->missing | a->certificate_missing | a->registration_missing);
	line_end(s);
}

static void on_session(const struct report_session *r, void *arg)
{
	struct sink_json *s = arg;
	struct json *j = line_begin(s, "session");

	put_id(j, "id", r->id);
	put_id(j, "attempt", r->attempt);
	json_uint(j, "pid", r->pid);
	json_string(j, "comm", r->comm);
	json_string(j, "domain", r->domain);
	json_string(j, "server", r->server);
	put_address(j, r->remote.addr);
	json_int(j, "port", r->remote.port);
	json_string(j, "component", r->component);
	put_tristate(j, "registered", !r->registered_known ? TRI_UNKNOWN : r->registered ? TRI_YES : TRI_NO);
	json_string(j, "state", r->state == SESSION_UP ? "up" : "down");
	put_real_ns(j, "start", r->start_real_ns);
	put_real_ns(j, "end", r->end_real_ns);
	put_ns(j, "duration_ns", r->duration_ns);
	json_string(j, "end_reason", r->end_reason);
	json_string(j, "ended_by", r->ended_by);
	put_ns(j, "bytes_in", r->bytes_in);
	put_ns(j, "bytes_out", r->bytes_out);
	put_ns(j, "stanzas_in", r->stanzas_in);
	put_ns(j, "stanzas_out", r->stanzas_out);
	put_stanzas(j, r);
	put_ns(j, "keepalives_in", r->keepalives_in);
	put_ns(j, "keepalives_out", r->keepalives_out);
	put_real_ns(j, "last_inbound", r->last_inbound_real_ns);
	put_login(j, r);
	put_ns(j, "rtt_ns", r->rtt_ns);
	put_ns(j, "retransmits", r->retransmits);
	put_missing(j, r->missing);
	line_end(s);
}

static void on_lookup(const struct report_lookup *l, int64_t start_real_ns, void *arg)
{
	struct sink_json *s = arg;
	struct json *j = line_begin(s, "lookup");

	put_id(j, "attempt", l->attempt);
	json_time_ns(j, "start", start_real_ns);
	put_lookup(j, l, false);
	line_end(s);
}

static void on_leg(const struct report_leg *l, int64_t start_real_ns, void *arg)
{
	struct sink_json *s = arg;
	struct json *j = line_begin(s, "leg");

	put_id(j, "attempt", l->attempt);
	json_time_ns(j, "start", start_real_ns);
	put_leg(j, l, false);
	line_end(s);
}

struct sink_json *sink_json_new(FILE *out, bool events, bool flush)
{
	struct sink_json *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->out = out;
	s->events = events;
	s->flush = flush;
	return s;
}

void sink_json_free(struct sink_json *s)
{
	if (!s)
		return;
	text_free(&s->line);
	free(s);
}

void sink_json_handler(struct sink_json *s, struct report_handler *ret_handler)
{
	*ret_handler = (struct report_handler){
		.attempt = on_attempt,
		.session = on_session,
		.lookup = s->events ? on_lookup : NULL,
		.leg = s->events ? on_leg : NULL,
		.arg = s,
	};
}

int sink_json_error(const struct sink_json *s)
{
	return s->error;
}
