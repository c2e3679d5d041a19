// SPDX-License-Identifier: BSD-2-Clause
/* Registration by elements. See registration.h. */
#include "registration.h"

#include <stdio.h>
#include <string.h>

/* Conditions are reported with underscores, as reasons are. */
static void condition_copy(char to[static CBT_ELEMENT_NAME_LEN], const char *name)
{
	snprintf(to, CBT_ELEMENT_NAME_LEN, "%s", name[0] ? name : "other");
	for (char *p = to; *p; p++)
		if (*p == '-')
			*p = '_';
}

static bool named(const struct cbt_ev_lib_element *ev, const char *name)
{
	return strcmp(ev->name, name) == 0;
}

/* STANZAS: it is none. */
static enum stanza stanza_of(const struct cbt_ev_lib_element *ev)
{
	enum stanza s = STANZA_IQ;

	while (s < STANZAS && !named(ev, stanza_name(s)))
		s++;
	return s;
}

static bool is_request(const struct cbt_ev_lib_element *ev)
{
	return named(ev, "iq") && (ev->type == CBT_TYPE_GET || ev->type == CBT_TYPE_SET);
}

static bool is_ping(const struct cbt_ev_lib_element *ev)
{
	return named(ev, "iq") && ev->type == CBT_TYPE_GET && strcmp(ev->child, "ping") == 0;
}

static bool is_answer(const struct cbt_ev_lib_element *ev)
{
	return named(ev, "iq") && (ev->type == CBT_TYPE_RESULT || ev->type == CBT_TYPE_ERROR);
}

static void refuse(struct registration *r, const char *condition, uint64_t ts)
{
	if (r->refused_ns)
		return;
	r->refused_ns = ts;
	condition_copy(r->error, condition);
}

static void stream_error(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	bool by_client = ev->dir == CBT_OUT;

	if (!by_client && (!r->accepted_ns || ev->h.ts < r->accepted_ns + REGISTRATION_SETTLE_NS))
		refuse(r, ev->child, ev->h.ts);
	if (!r->stream_error[0]) {
		condition_copy(r->stream_error, ev->child);
		r->stream_error_by_client = by_client;
	}
}

/* --- Registration --- */

static void out_child(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	if (named(ev, "handshake")) {
		r->protocol = "xep0114";
		r->asked_ns = ev->start_ns;
	} else if (named(ev, "auth")) {
		r->protocol = "sasl";
		r->asked_ns = ev->start_ns;
	} else if (named(ev, "iq") && strcmp(ev->child, "bind") == 0 && ev->type == CBT_TYPE_SET) {
		r->bind_hash = ev->id_hash;
	}
}

static void in_child(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	if (named(ev, "handshake") && r->asked_ns) {
		r->accepted_ns = ev->h.ts;
	} else if (named(ev, "success") && r->asked_ns) {
		r->authenticated_ns = ev->h.ts;
	} else if (named(ev, "failure") && r->asked_ns) {
		refuse(r, ev->child, ev->h.ts);
	} else if (is_answer(ev) && r->authenticated_ns && r->bind_hash && ev->id_hash == r->bind_hash) {
		if (ev->type == CBT_TYPE_RESULT)
			r->accepted_ns = ev->h.ts;
		else
			refuse(r, "other", ev->h.ts);
	}
}

static void element_before(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	if (ev->kind == CBT_ELEMENT_STREAM_OPEN && ev->dir == CBT_OUT && !r->component[0]) {
		memcpy(r->component, ev->data, ev->data_len);
		r->component[ev->data_len] = '\0';
	} else if (ev->kind == CBT_ELEMENT_STREAM_OPEN && ev->dir == CBT_IN && !r->stream_in_ns) {
		r->stream_in_ns = ev->h.ts;
	} else if (ev->kind == CBT_ELEMENT_CHILD && ev->dir == CBT_OUT) {
		out_child(r, ev);
	} else if (ev->kind == CBT_ELEMENT_CHILD) {
		in_child(r, ev);
	}
}

/* --- The session --- */

static void request_add(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	if (r->n_asked == REGISTRATION_ASKED_MAX) {
		memmove(r->asked, r->asked + 1, sizeof(r->asked) - sizeof(r->asked[0]));
		r->n_asked--;
	}
	r->asked[r->n_asked++] = (struct registration_request){ev->id_hash, ev->h.ts};
}

static uint64_t request_answered(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	for (size_t i = 0; i < r->n_asked; i++) {
		uint64_t took = ev->h.ts > r->asked[i].ts ? ev->h.ts - r->asked[i].ts : 0;

		if (r->asked[i].id_hash != ev->id_hash)
			continue;
		r->n_asked--;
		memmove(r->asked + i, r->asked + i + 1, (r->n_asked - i) * sizeof(r->asked[0]));
		return took;
	}
	return 0;
}

static void login_in(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	/* What comes back to something that the client sent is nobody's login, nor is the question whether it still
	 * lives. */
	if (r->login_ns || is_answer(ev) || ev->type == CBT_TYPE_ERROR || is_ping(ev))
		return;
	r->login_ns = ev->h.ts;
	r->login_hash = ev->id_hash;
	r->login_answered_by_any = !is_request(ev);
}

static void login_out(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	if (!r->login_ns || r->login_answer_ns)
		return;
	if (r->login_answered_by_any || (is_answer(ev) && ev->id_hash == r->login_hash))
		r->login_answer_ns = ev->h.ts;
}

static uint64_t element_after(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	enum stanza s = stanza_of(ev);

	r->keepalives[ev->dir] += ev->kind == CBT_ELEMENT_SPACE || is_ping(ev);
	if (ev->kind != CBT_ELEMENT_CHILD || s == STANZAS)
		return 0;
	r->stanzas[ev->dir][s]++;
	if (ev->dir == CBT_IN) {
		login_in(r, ev);
		if (is_request(ev) && ev->id_hash)
			request_add(r, ev);
		return 0;
	}
	login_out(r, ev);
	return is_answer(ev) ? request_answered(r, ev) : 0;
}

uint64_t registration_element(struct registration *r, const struct cbt_ev_lib_element *ev)
{
	if (ev->bytes > r->bytes[ev->dir])
		r->bytes[ev->dir] = ev->bytes;
	if (ev->dir == CBT_OUT && !r->first_out_ns)
		r->first_out_ns = ev->start_ns;
	if (ev->dir == CBT_IN)
		r->last_inbound_ns = ev->h.ts;
	if (ev->kind == CBT_ELEMENT_NOT_XML) {
		/* A client that speaks XMPP to something else is one that gets no verdict. */
		r->not_xmpp |= !r->accepted_ns && (ev->dir == CBT_OUT || !r->first_out_ns);
		return 0;
	}
	r->gap |= ev->kind == CBT_ELEMENT_GAP;
	if (ev->kind == CBT_ELEMENT_STREAM_CLOSE && !r->stream_closed_ns[ev->dir])
		r->stream_closed_ns[ev->dir] = ev->h.ts;
	if (ev->kind == CBT_ELEMENT_CHILD && named(ev, "error")) {
		stream_error(r, ev);
		return 0;
	}
	if (r->accepted_ns)
		return element_after(r, ev);
	element_before(r, ev);
	return 0;
}

uint64_t registration_stanzas(const struct registration *r, int dir)
{
	uint64_t n = 0;

	for (enum stanza s = 0; s < STANZAS; s++)
		n += r->stanzas[dir][s];
	return n;
}

bool registration_accepted(const struct registration *r)
{
	return r->accepted_ns && !r->refused_ns;
}

uint64_t registration_settled(const struct registration *r)
{
	if (r->refused_ns)
		return r->refused_ns;
	return r->accepted_ns ? r->accepted_ns + REGISTRATION_SETTLE_NS : 0;
}

bool registration_awaits(const struct registration *r)
{
	if (r->accepted_ns || r->refused_ns || !r->first_out_ns)
		return false;
	if (r->authenticated_ns)
		return r->bind_hash;
	return r->asked_ns || !r->stream_in_ns;
}

uint64_t registration_turn(const struct registration *r)
{
	if (r->authenticated_ns)
		return r->authenticated_ns;
	return r->stream_in_ns ? r->stream_in_ns : r->first_out_ns;
}
