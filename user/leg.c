// SPDX-License-Identifier: BSD-2-Clause
/* One TCP connection of an attempt. See leg.h. */
#include "leg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "library_conn.h"

struct leg *leg_new(const struct cbt_ev_connect *ev)
{
	struct leg *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->tls = tls_conn_new();
	if (!l->tls) {
		free(l);
		return NULL;
	}
	l->key = ev->h.cookie;
	l->count = ev->count;
	l->remote = ev->remote;
	l->connect_ns = ev->h.ts;
	l->priority = l->weight = -1;
	return l;
}

void leg_free(struct leg *l)
{
	if (!l)
		return;
	tls_conn_free(l->tls);
	free(l->target);
	free(l);
}

static void closed_first(struct leg *l, bool by_client)
{
	if (l->client_closed_first || l->server_closed_first)
		return;
	if (by_client)
		l->client_closed_first = true;
	else
		l->server_closed_first = true;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

static void rtt_sample(struct leg *l, uint64_t ns)
{
	l->rtt_ns = earliest(l->rtt_ns, ns);
}

/* Round trips of data: Karn's rule is kept by timing one fresh segment at a time and forgetting it when it is sent
 * again. */
static void rtt_track(struct leg *l, const struct cbt_ev_tcp *ev)
{
	uint32_t end = ev->seq + ev->seg_len;

	if (ev->dir == CBT_OUT && ev->seg_len) {
		if (l->timed_ns && (int32_t)(l->timed_end - ev->seq) > 0)
			l->timed_ns = 0;
		else if (!l->timed_ns) {
			l->timed_ns = ev->h.ts;
			l->timed_end = end;
		}
	} else if (ev->dir == CBT_IN && (ev->flags & CBT_TCP_ACK) && l->timed_ns &&
		   (int32_t)(ev->ack - l->timed_end) >= 0) {
		rtt_sample(l, ev->h.ts - l->timed_ns);
		l->timed_ns = 0;
	}
}

#define HELD_MIN_NS 20000000ULL /* Linux holds an ACK back for 40 ms (TCP_DELACK_MIN), others for up to 200 */
#define PROMPT_NS   2000000ULL	/* beyond a round trip: the server only had to send */

static void nagle_track(struct leg *l, const struct cbt_ev_tcp *ev)
{
	if (ev->flags & (CBT_TCP_SYN | CBT_TCP_FIN | CBT_TCP_RST))
		return;
	if (ev->dir == CBT_OUT) {
		bool news = (int32_t)(ev->ack - l->acked) > 0;

		l->bare_ack_ns = 0;
		if (news && !ev->seg_len && l->data_in_ns && ev->h.ts - l->data_in_ns >= HELD_MIN_NS) {
			l->bare_ack_ns = ev->h.ts;
			l->bare_ack_held_ns = ev->h.ts - l->data_in_ns;
		}
		l->acked = ev->ack;
		return;
	}
	if (!ev->seg_len)
		return;
	if (l->bare_ack_ns && l->rtt_ns && ev->h.ts - l->bare_ack_ns <= l->rtt_ns + PROMPT_NS) {
		l->nagle_ns = ev->h.ts;
		l->nagle_cost_ns += l->bare_ack_held_ns;
	}
	l->bare_ack_ns = 0;
	l->data_in_ns = ev->h.ts;
}

static void syn_out(struct leg *l, const struct cbt_ev_tcp *ev)
{
	l->syn_sent++;
	l->syn_ns = earliest(l->syn_ns, ev->h.ts);
	l->last_syn_ns = ev->h.ts;
	stream_set_isn(tls_conn_stream(l->tls, CBT_OUT), ev->seq);
}

static void syn_ack_in(struct leg *l, const struct cbt_ev_tcp *ev)
{
	if (l->synack_ns)
		return;
	l->synack_ns = ev->h.ts;
	l->established = true;
	stream_set_isn(tls_conn_stream(l->tls, CBT_IN), ev->seq);
	if (l->syn_sent == 1)
		rtt_sample(l, ev->h.ts - l->syn_ns);
}

static void control_segment(struct leg *l, const struct cbt_ev_tcp *ev)
{
	bool out = ev->dir == CBT_OUT;

	if (ev->flags & CBT_TCP_SYN) {
		if (out)
			syn_out(l, ev);
		else
			syn_ack_in(l, ev);
	}
	if (ev->flags & CBT_TCP_FIN) {
		uint64_t *fin = out ? &l->fin_out_ns : &l->fin_in_ns;

		*fin = earliest(*fin, ev->h.ts);
		closed_first(l, out);
	}
	if (ev->flags & CBT_TCP_RST) {
		uint64_t *rst = out ? &l->rst_out_ns : &l->rst_in_ns;

		*rst = earliest(*rst, ev->h.ts);
		closed_first(l, out);
	}
}

void leg_segment(struct leg *l, const struct cbt_ev_tcp *ev)
{
	uint32_t first = ev->seq + (ev->flags & CBT_TCP_SYN ? 1 : 0);
	struct stream *s = tls_conn_stream(l->tls, ev->dir);

	if (ev->part == CBT_PART_FIRST) {
		control_segment(l, ev);
		rtt_track(l, ev);
		nagle_track(l, ev);
		if (ev->seg_len)
			stream_segment(s, first, ev->seg_len, ev->h.ts);
	}
	if (ev->data_len)
		(void)stream_bytes(s, first + ev->data_off, ev->data, ev->data_len);
	if (ev->verdict == CBT_VERDICT_NOT_TLS)
		l->not_tls = true;
	tls_conn_advance(l->tls);
}

void leg_state(struct leg *l, const struct cbt_ev_state *ev)
{
	if (ev->new_state == CBT_TCP_ESTABLISHED)
		l->established = true;
	/* Once the tap has closed, FIN and RST show only here. */
	if (ev->old_state == CBT_TCP_ESTABLISHED) {
		if (ev->new_state == CBT_TCP_CLOSE_WAIT) {
			l->fin_in_ns = earliest(l->fin_in_ns, ev->h.ts);
			closed_first(l, false);
		} else if (ev->new_state == CBT_TCP_FIN_WAIT1) {
			l->fin_out_ns = earliest(l->fin_out_ns, ev->h.ts);
			closed_first(l, true);
		} else if (ev->new_state == CBT_TCP_CLOSE) {
			closed_first(l, ev->sk_err == 0);
		}
	}
	if (ev->new_state == CBT_TCP_CLOSE) {
		l->closed_ns = earliest(l->closed_ns, ev->h.ts);
		if (ev->sk_err)
			l->sk_err = ev->sk_err;
	}
}

void leg_release(struct leg *l, uint64_t ts)
{
	l->released_ns = earliest(l->released_ns, ts);
	if (l->established)
		closed_first(l, true);
}

const struct tls_handshake *leg_handshake(const struct leg *l)
{
	return tls_conn_handshake(l->tls);
}

bool leg_tls_started(const struct leg *l)
{
	return !leg_not_tls(l) && leg_handshake(l)->first_out_ns != 0;
}

bool leg_not_tls(const struct leg *l)
{
	return l->not_tls || leg_handshake(l)->not_tls;
}

bool leg_tls_complete(const struct leg *l)
{
	return leg_handshake(l)->complete_ns != 0;
}

const struct registration *leg_registration(const struct leg *l)
{
	const struct registration *r = l->library ? &l->library->registration : NULL;

	/* Where the wire shows data of the client and the library none, its calls are not seen: probes that came late.
	 */
	return r && !r->not_xmpp && (r->first_out_ns || !leg_handshake(l)->client_app_ns) ? r : NULL;
}

struct tls_alert_seen leg_alert_received(const struct leg *l)
{
	const struct tls_handshake *h = leg_handshake(l);

	if (!l->library || h->received.kind == TLS_ALERT_PLAIN)
		return h->received;
	if (l->library->alert_received == LIBRARY_ALERT_NONE)
		return (struct tls_alert_seen){0};
	return (struct tls_alert_seen){
		.kind = TLS_ALERT_PLAIN,
		.level = 2,
		.description = (uint8_t)l->library->alert_received,
		.ts = h->received.kind ? h->received.ts : l->library->alert_ns,
	};
}

uint64_t leg_session_start(const struct leg *l)
{
	const struct registration *r = leg_registration(l);

	return r && registration_accepted(r) ? r->accepted_ns : leg_handshake(l)->complete_ns;
}

bool leg_ended(const struct leg *l)
{
	return l->closed_ns || l->released_ns;
}

uint64_t leg_end(const struct leg *l)
{
	uint64_t end = earliest(l->rst_in_ns, l->rst_out_ns);

	end = earliest(end, earliest(l->fin_in_ns, l->fin_out_ns));
	return earliest(end, earliest(l->closed_ns, l->released_ns));
}

bool leg_failed(const struct leg *l)
{
	const struct tls_handshake *h = leg_handshake(l);

	const struct registration *r = leg_registration(l);

	return leg_end(l) || leg_not_tls(l) || h->sent.kind || leg_alert_received(l).kind || (r && r->refused_ns);
}

uint64_t leg_tcp_start(const struct leg *l)
{
	return l->syn_ns ? l->syn_ns : l->connect_ns;
}

uint64_t leg_tcp_end(const struct leg *l)
{
	return l->synack_ns ? l->synack_ns : leg_end(l);
}

const char *leg_tcp_result(const struct leg *l, uint64_t exit_ns)
{
	if (l->synack_ns || l->established)
		return "connected";
	if (l->rst_in_ns || l->sk_err == ECONNREFUSED)
		return "refused";
	switch (l->sk_err) {
	case 0:
		break;
	case ETIMEDOUT:
		return "timeout";
	case ECONNRESET:
		return "reset";
	default:
		/* EHOSTUNREACH, ENETUNREACH, EACCES from ICMP and routing alike; without a SYN it was this host's
		 * doing. */
		return l->syn_sent ? "unreachable" : "blocked_locally";
	}
	if (!leg_ended(l))
		return "pending";
	if (!l->syn_sent)
		return "blocked_locally";
	return exit_ns && exit_ns <= leg_end(l) ? "process_exit" : "gave_up";
}

uint64_t leg_over(const struct leg *l)
{
	return l->established ? leg_tls_end(l) : leg_tcp_end(l);
}

static uint64_t latest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t leg_activity(const struct leg *l)
{
	const struct tls_handshake *h = leg_handshake(l);
	uint64_t wire = latest(latest(l->last_syn_ns, l->synack_ns), latest(h->last_client_ns, h->last_server_ns));

	return latest(latest(l->connect_ns, wire), leg_end(l));
}

uint64_t leg_tls_end(const struct leg *l)
{
	const struct tls_handshake *h = leg_handshake(l);
	uint64_t alert;

	if (h->complete_ns)
		return h->complete_ns;
	alert = earliest(h->sent.ts, leg_alert_received(l).ts);
	return earliest(alert, leg_end(l));
}
