// SPDX-License-Identifier: BSD-2-Clause
/* The connection after the attempt. See session.h. */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static void end_fill(const struct leg *l, struct report_session *r)
{
	uint64_t exit_ns = l->process->exit_ns;

	if (l->sk_err == ETIMEDOUT) {
		r->end_reason = "timeout";
		r->ended_by = "network";
	} else if (l->rst_in_ns || l->sk_err == ECONNRESET || l->sk_err == EPIPE) {
		r->end_reason = "reset";
		r->ended_by = "server";
	} else if (l->server_closed_first) {
		r->end_reason = leg_handshake(l)->close_notify_received ? "close_notify" : "fin";
		r->ended_by = "server";
	} else if (exit_ns && exit_ns <= leg_end(l)) {
		r->end_reason = "process_exit";
		r->ended_by = "process";
	} else {
		r->end_reason = leg_handshake(l)->close_notify_sent ? "close_notify" : l->rst_out_ns ? "reset" : "fin";
		r->ended_by = "client";
	}
}

void session_report(const struct session *s, const struct leg *l, int64_t realtime_offset,
		    const struct report_handler *handler)
{
	uint64_t end = leg_end(l);
	struct report_session r = {
		.id = s->id,
		.attempt = s->attempt,
		.pid = (uint32_t)l->process->key,
		.comm = l->process->comm[0] ? l->process->comm : NULL,
		.domain = s->domain,
		.server = s->server,
		.remote = l->remote,
		.state = end ? SESSION_DOWN : SESSION_UP,
		.start_real_ns = (int64_t)s->start_ns + realtime_offset,
		.end_real_ns = end ? (int64_t)end + realtime_offset : NS_UNKNOWN,
		.duration_ns = end > s->start_ns ? (int64_t)(end - s->start_ns)
			       : end		 ? 0
						 : NS_UNKNOWN,
		.bytes_in = NS_UNKNOWN,
		.bytes_out = NS_UNKNOWN,
		.stanzas_in = NS_UNKNOWN,
		.stanzas_out = NS_UNKNOWN,
		.last_inbound_real_ns = NS_UNKNOWN,
		.rtt_ns = l->rtt_ns ? (int64_t)l->rtt_ns : NS_UNKNOWN,
		.retransmits = NS_UNKNOWN,
		.missing = MISSING_NOT_VISIBLE,
	};

	if (end)
		end_fill(l, &r);
	if (handler->session)
		handler->session(&r, handler->arg);
}
