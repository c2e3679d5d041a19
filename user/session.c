// SPDX-License-Identifier: BSD-2-Clause
/* The connection after the attempt. See session.h. */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library_conn.h"
#include "process.h"

struct session *session_new(uint64_t id, uint64_t attempt, uint64_t start_ns, const char *domain, const char *server)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct session){.id = id, .attempt = attempt, .start_ns = start_ns};
	if ((domain && !(s->domain = strdup(domain))) || (server && !(s->server = strdup(server)))) {
		session_free(s);
		return NULL;
	}
	return s;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	free(s->domain);
	free(s->server);
	free(s);
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

/* The stream's end tag and close_notify of one side; 0: none. What the client says when all is over is no step to the
 * end; what it reads then was said before. */
static uint64_t tag_of(const struct leg *l, int dir)
{
	const struct registration *g = leg_registration(l);
	uint64_t ts = g ? g->stream_closed_ns[dir] : 0;

	return dir == CBT_IN || ts <= leg_end(l) ? ts : 0;
}

static uint64_t notify_of(const struct leg *l, int dir)
{
	uint64_t ts = 0;

	if (l->library)
		ts = dir == CBT_OUT ? l->library->close_sent_ns : l->library->close_received_ns;
	return dir == CBT_IN || ts <= leg_end(l) ? ts : 0;
}

/* The first step that a side took to an orderly end; 0: none. The FIN that comes first may be the other side's. */
static uint64_t step_of(const struct leg *l, int dir)
{
	return earliest(earliest(tag_of(l, dir), notify_of(l, dir)), dir == CBT_OUT ? l->fin_out_ns : l->fin_in_ns);
}

/* "stream_error:CONDITION" */
static const char *stream_error_text(const struct registration *g, char *buf, size_t size)
{
	snprintf(buf, size, "stream_error:%s", g->stream_error);
	return buf;
}

static const char *orderly_reason(const struct leg *l, int dir)
{
	const struct tls_handshake *h = leg_handshake(l);

	if (tag_of(l, dir))
		return "stream_closed";
	if (notify_of(l, dir) || (dir == CBT_OUT ? h->close_notify_sent : h->close_notify_received))
		return "close_notify";
	return "fin";
}

/* Neither side took an orderly step. */
static void abrupt_fill(const struct leg *l, struct report_session *r)
{
	uint64_t exit_ns = l->process->exit_ns;

	if (l->sk_err == ETIMEDOUT) {
		r->end_reason = "timeout";
		r->ended_by = "network";
	} else if (l->rst_in_ns || l->sk_err == ECONNRESET || l->sk_err == EPIPE) {
		r->end_reason = "reset";
		r->ended_by = "server";
	} else if (exit_ns && exit_ns <= leg_end(l)) {
		r->end_reason = "process_exit";
		r->ended_by = "process";
	} else {
		/* From ESTABLISHED to CLOSE without a FIN: the kernel sent a RST. */
		r->end_reason = l->rst_out_ns || l->closed_ns ? "reset" : "fin";
		r->ended_by = "client";
	}
}

static void end_fill(const struct leg *l, struct report_session *r, char *buf, size_t size)
{
	const struct registration *g = leg_registration(l);
	uint64_t client = step_of(l, CBT_OUT), server = step_of(l, CBT_IN), exit_ns = l->process->exit_ns;

	if (g && g->stream_error[0]) {
		r->end_reason = stream_error_text(g, buf, size);
		r->ended_by = g->stream_error_by_client ? "client" : "server";
	} else if (!client && !server) {
		abrupt_fill(l, r);
	} else if (client == server ? l->server_closed_first : server && (!client || server < client)) {
		r->end_reason = orderly_reason(l, CBT_IN);
		r->ended_by = "server";
	} else if (exit_ns && exit_ns <= client) {
		r->end_reason = "process_exit";
		r->ended_by = "process";
	} else {
		r->end_reason = orderly_reason(l, CBT_OUT);
		r->ended_by = "client";
	}
}

uint64_t session_due(const struct leg *l)
{
	bool told = !l->library || l->library->freed || l->released_ns;
	bool shown = l->fin_in_ns || l->fin_out_ns || l->rst_in_ns || l->rst_out_ns || l->closed_ns;
	uint64_t end = leg_end(l);

	return end && !(told && shown) ? end + SESSION_WORDS_NS : end;
}

static int64_t real(uint64_t ts, int64_t realtime_offset)
{
	return ts ? (int64_t)ts + realtime_offset : NS_UNKNOWN;
}

/* What its plaintext tells, if that is visible. */
static void stanzas_fill(const struct leg *l, int64_t realtime_offset, struct report_session *r)
{
	const struct registration *g = leg_registration(l);

	if (!g || !registration_accepted(g)) {
		r->missing |= MISSING_NOT_VISIBLE;
		return;
	}
	r->component = g->component[0] ? g->component : NULL;
	r->registered_known = r->registered = true;
	r->bytes_in = (int64_t)g->bytes[CBT_IN];
	r->bytes_out = (int64_t)g->bytes[CBT_OUT];
	r->stanzas_in = (int64_t)registration_stanzas(g, CBT_IN);
	r->stanzas_out = (int64_t)registration_stanzas(g, CBT_OUT);
	memcpy(r->stanzas, g->stanzas, sizeof(r->stanzas));
	r->keepalives_in = (int64_t)g->keepalives[CBT_IN];
	r->keepalives_out = (int64_t)g->keepalives[CBT_OUT];
	r->last_inbound_real_ns = real(g->last_inbound_ns, realtime_offset);
	r->login_real_ns = real(g->login_ns, realtime_offset);
	if (g->login_answer_ns > g->login_ns)
		r->login_response_ns = (int64_t)(g->login_answer_ns - g->login_ns);
	if (g->gap)
		r->missing |= MISSING_TRUNCATED;
}

static void session_fill(const struct session *s, const struct leg *l, int64_t realtime_offset,
			 struct report_session *r)
{
	uint64_t end = leg_end(l);

	*r = (struct report_session){
		.id = s->id,
		.attempt = s->attempt,
		.pid = (uint32_t)l->process->key,
		.comm = l->process->comm[0] ? l->process->comm : NULL,
		.domain = s->domain,
		.server = s->server,
		.remote = l->remote,
		.state = end ? SESSION_DOWN : SESSION_UP,
		.start_real_ns = (int64_t)s->start_ns + realtime_offset,
		.end_real_ns = real(end, realtime_offset),
		.duration_ns = end > s->start_ns ? (int64_t)(end - s->start_ns)
			       : end		 ? 0
						 : NS_UNKNOWN,
		.bytes_in = NS_UNKNOWN,
		.bytes_out = NS_UNKNOWN,
		.stanzas_in = NS_UNKNOWN,
		.stanzas_out = NS_UNKNOWN,
		.keepalives_in = NS_UNKNOWN,
		.keepalives_out = NS_UNKNOWN,
		.last_inbound_real_ns = NS_UNKNOWN,
		.rtt_ns = l->rtt_ns ? (int64_t)l->rtt_ns : NS_UNKNOWN,
		.retransmits = NS_UNKNOWN,
		.login_real_ns = NS_UNKNOWN,
		.login_response_ns = NS_UNKNOWN,
		.missing = s->missing,
	};
	stanzas_fill(l, realtime_offset, r);
}

void session_report(const struct session *s, const struct leg *l, int64_t realtime_offset,
		    const struct report_handler *handler)
{
	char reason[64];
	struct report_session r;

	if (!handler->session)
		return;
	session_fill(s, l, realtime_offset, &r);
	if (r.state == SESSION_DOWN)
		end_fill(l, &r, reason, sizeof(reason));
	handler->session(&r, handler->arg);
}

void session_progress(const struct session *s, const struct leg *l, uint64_t response_ns, int64_t realtime_offset,
		      const struct report_handler *handler)
{
	struct report_session r;

	if (!handler->session_progress)
		return;
	session_fill(s, l, realtime_offset, &r);
	handler->session_progress(&r, (int64_t)response_ns, handler->arg);
}
