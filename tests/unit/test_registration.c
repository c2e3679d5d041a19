// SPDX-License-Identifier: BSD-2-Clause
/*
 * From plaintext to a registration's outcome: the in-kernel recogniser (bpf/xmpp.h), compiled natively, feeds the state
 * machine, with what Prosody, ejabberd and their clients were seen to say. Every conversation is told whole, and cut at
 * every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "registration.h"
#include "xmpp.h"

#define MS 1000000ULL

/* As bpf/library.bpf.c does it. */
struct talk {
	struct xmpp_parser parser[2];
	struct registration r;
	uint64_t now, bytes[2], took;
	unsigned int elements, spaces, gaps;
};

static void element_give(struct talk *t, int dir, int kind)
{
	union {
		struct cbt_ev_lib_element ev;
		char room[sizeof(struct cbt_ev_lib_element) + CBT_ELEMENT_DATA_MAX];
	} e;
	struct xmpp_parser *p = &t->parser[dir];
	uint64_t took;

	memset(&e, 0, sizeof(e));
	e.ev.h.ts = t->now;
	e.ev.start_ns = kind ? t->now : p->start_ns;
	e.ev.bytes = t->bytes[dir];
	e.ev.dir = (uint8_t)dir;
	e.ev.kind = (uint8_t)(kind ? kind : p->done);
	e.ev.verify_result = CBT_VERIFY_UNKNOWN;
	if (!kind) {
		e.ev.id_hash = p->id_hash;
		e.ev.size = p->size;
		e.ev.flags = p->flags;
		e.ev.type = p->type;
		memcpy(e.ev.name, p->name, p->name_len);
		memcpy(e.ev.child, p->child, p->child_len);
		memcpy(e.ev.data, p->address, p->address_len);
		e.ev.data_len = p->address_len;
	}
	t->elements += !kind;
	t->spaces += kind == CBT_ELEMENT_SPACE;
	took = registration_element(&t->r, &e.ev);
	if (took)
		t->took = took;
}

/* One call of the library. */
static void call(struct talk *t, int dir, const char *text, size_t len)
{
	struct xmpp_parser *p = &t->parser[dir];

	t->now += MS;
	xmpp_begin(p, (uint8_t)text[0]);
	for (size_t i = 0; i < len && p->state != XMPP_DEAD; i++) {
		t->bytes[dir]++;
		xmpp_byte(p, (uint8_t)text[i], dir == CBT_OUT);
		if (p->fresh) {
			p->start_ns = t->now;
			p->fresh = 0;
		}
		if (p->done) {
			element_give(t, dir, 0);
			xmpp_taken(p);
		}
	}
	if (!p->solid)
		element_give(t, dir, CBT_ELEMENT_SPACE);
}

/* Lines "> …" out and "< …" in, each one call; cut in two at byte @cut of the whole if that is in it. */
static void converse(struct talk *t, const char *const lines[], size_t cut)
{
	size_t at = 0;

	for (; *lines; lines++) {
		const char *text = *lines + 2;
		int dir = **lines == '>' ? CBT_OUT : CBT_IN;
		size_t len = strlen(text), first = cut > at && cut - at < len ? cut - at : len;

		call(t, dir, text, first);
		if (first < len)
			call(t, dir, text + first, len - first);
		at += len;
	}
}

static size_t total(const char *const lines[])
{
	size_t n = 0;

	for (; *lines; lines++)
		n += strlen(*lines + 2);
	return n;
}

#define OPEN                                                                     \
	"> <?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' " \
	"xmlns:stream='http://etherx.jabber.org/streams' to='callbridge.example.com'>"
#define PROSODY_OPEN                                                                                           \
	"< <?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xml:lang='en' " \
	"id='5bb1d3a2-6a0f' xmlns='jabber:component:accept' from='callbridge.example.com'>"
#define EJABBERD_OPEN                                                                            \
	"< <?xml version='1.0'?><stream:stream id=\"14567398\" from=\"callbridge.example.com\" " \
	"xmlns:stream=\"http://etherx.jabber.org/streams\" xmlns=\"jabber:component:accept\">"
#define HANDSHAKE "> <handshake>ecc1ddd6b74a7d0ae5b0fcbbc3b7d2b7f0d3c6a1</handshake>"
#define ERROR(condition)                                                               \
	"< <stream:error><" condition " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" \
	"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>no</text></stream:error></stream:stream>"

static const char *const prosody_good[] = {OPEN, PROSODY_OPEN, HANDSHAKE, "< <handshake/>", NULL};
static const char *const ejabberd_good[] = {OPEN, EJABBERD_OPEN, HANDSHAKE, "< <handshake></handshake>", NULL};
static const char *const wrong_secret[] = {OPEN, PROSODY_OPEN, HANDSHAKE, ERROR("not-authorized"), NULL};
static const char *const wrong_secret_two_writes[] = {
	OPEN,
	EJABBERD_OPEN,
	HANDSHAKE,
	"< <stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
	"< </stream:stream>",
	NULL,
};
static const char *const unknown_host[] = {
	OPEN,
	"< <?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' id='' "
	"xmlns='jabber:component:accept'>"
	"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
	NULL,
};
static const char *const conflict[] = {OPEN, PROSODY_OPEN, HANDSHAKE, ERROR("conflict"), NULL};
static const char *const conflict_after[] = {OPEN, PROSODY_OPEN, HANDSHAKE, "< <handshake/>", ERROR("conflict"), NULL};
static const char *const sasl_good[] = {
	"> <?xml version=\"1.0\"?><s:stream xmlns=\"jabber:client\" xmlns:s=\"http://etherx.jabber.org/streams\" "
	"version=\"1.0\" to=\"callbridge.example.com\">",
	"< <?xml version='1.0'?><s:stream from='callbridge.example.com' id='x' "
	"xmlns:s='http://etherx.jabber.org/streams'>"
	"<s:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
	"</s:features>",
	"> <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGNhbGxicmlkZ2UAc2VjcmV0</auth>",
	"< <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
	"> <?xml version=\"1.0\"?><s:stream xmlns=\"jabber:client\" xmlns:s=\"http://etherx.jabber.org/streams\" "
	"to=\"callbridge.example.com\">",
	"< <s:stream from='callbridge.example.com' id='y' xmlns:s='http://etherx.jabber.org/streams'><s:features/>",
	"> <iq id='bind1' type='set'><bind "
	"xmlns='urn:xmpp:component:0'><hostname>callbridge.example.com</hostname></bind></iq>",
	"< <iq type='result' id='bind1'><bind xmlns='urn:xmpp:component:0'/></iq>",
	NULL,
};
static const char *const sasl_wrong[] = {
	OPEN,
	PROSODY_OPEN,
	"> <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGNhbGxicmlkZ2UAd3Jvbmc=</auth>",
	"< <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
	NULL,
};
static const char *const sasl_bind_refused[] = {
	OPEN,
	PROSODY_OPEN,
	"> <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
	"< <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
	"> <iq id='b' type='set'><bind xmlns='urn:xmpp:component:0'><hostname>other.example.com</hostname></bind></iq>",
	"< <iq type='error' id='b'><error type='cancel'><conflict/></error></iq>",
	NULL,
};
static const char *const sasl_challenge[] = {
	OPEN,
	PROSODY_OPEN,
	"> <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj1jYixyPWE=</auth>",
	"< <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj1hYixzPWMsaT00MDk2</challenge>",
	"> <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yz1iaXdzLHI9YWIscD14</response>",
	"< <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj14</success>",
	"> <iq id='b' type='set'><bind xmlns='urn:xmpp:component:0'/></iq>",
	"< <iq type='result' id='b'/>",
	NULL,
};
/* ejabberd and Prosody close the stream with the error, or in a write of its own. */
static const char *const closed_after[] = {OPEN, PROSODY_OPEN, HANDSHAKE, "< <handshake/>", "< </stream:stream>", NULL};
static const char *const invalid_namespace[] = {OPEN, PROSODY_OPEN, ERROR("invalid-namespace"), NULL};
static const char *const shutdown_before[] = {OPEN, EJABBERD_OPEN, HANDSHAKE, ERROR("system-shutdown"), NULL};
static const char *const error_bare[] = {OPEN, PROSODY_OPEN, "< <stream:error/></stream:stream>", NULL};
static const char *const not_xml[] = {"> GET / HTTP/1.1\r\nHost: x\r\n\r\n", "< HTTP/1.1 400 <no>", NULL};

/* @error NULL: accepted. */
static void assert_outcome(const char *const lines[], const char *protocol, const char *error)
{
	for (size_t cut = 0; cut <= total(lines); cut++) {
		struct talk t = {.now = 1000 * MS};

		converse(&t, lines, cut);
		assert_string_equal(t.r.component, "callbridge.example.com");
		if (protocol)
			assert_string_equal(t.r.protocol, protocol);
		else
			assert_null(t.r.protocol);
		assert_int_equal(registration_accepted(&t.r), !error);
		assert_string_equal(t.r.error, error ? error : "");
		assert_true(registration_settled(&t.r) != 0);
		assert_false(registration_awaits(&t.r));
		assert_false(t.r.not_xmpp);
		assert_true(t.r.first_out_ns != 0 && t.r.bytes[CBT_OUT] != 0);
	}
}

static void test_accepted(void **state)
{
	(void)state;
	assert_outcome(prosody_good, "xep0114", NULL);
	assert_outcome(ejabberd_good, "xep0114", NULL);
	assert_outcome(sasl_good, "sasl", NULL);
	assert_outcome(sasl_challenge, "sasl", NULL);
	assert_outcome(closed_after, "xep0114", NULL);
}

static void test_refused(void **state)
{
	(void)state;
	assert_outcome(wrong_secret, "xep0114", "not_authorized");
	assert_outcome(wrong_secret_two_writes, "xep0114", "not_authorized");
	assert_outcome(unknown_host, NULL, "host_unknown");
	assert_outcome(conflict, "xep0114", "conflict");
	assert_outcome(sasl_wrong, "sasl", "not_authorized");
	assert_outcome(sasl_bind_refused, "sasl", "other");
	assert_outcome(invalid_namespace, NULL, "invalid_namespace");
	assert_outcome(shutdown_before, "xep0114", "system_shutdown");
	assert_outcome(error_bare, NULL, "other");
}

/* Credentials accepted and then conflict is not registered; much later it is a session that ends. */
static void test_conflict_after(void **state)
{
	struct talk t = {.now = 1000 * MS};

	(void)state;
	assert_outcome(conflict_after, "xep0114", "conflict");
	converse(&t, prosody_good, 0);
	t.now += 1000 * MS;
	call(&t, CBT_IN, ERROR("conflict") + 2, strlen(ERROR("conflict") + 2));
	assert_true(registration_accepted(&t.r));
	assert_string_equal(t.r.stream_error, "conflict");
	assert_false(t.r.stream_error_by_client);
	assert_true(t.r.stream_closed_ns[CBT_IN] != 0);
}

/* No step says more than it shows. */
static void test_every_prefix(void **state)
{
	(void)state;
	for (size_t lines = 0; lines < 4; lines++) {
		const char *some[5] = {0};
		struct talk t = {.now = 1000 * MS};

		memcpy(some, prosody_good, lines * sizeof(some[0]));
		converse(&t, some, 0);
		assert_false(registration_accepted(&t.r));
		assert_int_equal(registration_settled(&t.r), 0);
		/* After the server's stream header it is the client's turn. */
		assert_int_equal(registration_awaits(&t.r), lines == 1 || lines == 3);
	}
}

/* Whose turn it is under SASL, at each step; without a bind nothing is claimed, and nothing awaited for ever. */
static void test_sasl_turns(void **state)
{
	static const bool awaits[] = {false, true, false, true, false, false, false, true, false};

	(void)state;
	for (size_t lines = 0; lines < sizeof(awaits); lines++) {
		const char *some[9] = {0};
		struct talk t = {.now = 1000 * MS};

		memcpy(some, sasl_good, lines * sizeof(some[0]));
		converse(&t, some, 0);
		assert_int_equal(registration_awaits(&t.r), awaits[lines]);
		assert_int_equal(registration_accepted(&t.r), lines == 8);
		if (lines >= 4)
			assert_int_equal(registration_turn(&t.r), 1004 * MS);
	}
}

/* The server, where there is one, speaks something else: the client was never answered. */
static void test_server_not_xml(void **state)
{
	static const char *const lines[] = {OPEN, "< HTTP/1.1 400 Bad Request\r\n\r\n<html>", NULL};
	struct talk t = {.now = 1000 * MS};

	(void)state;
	converse(&t, lines, 0);
	assert_false(t.r.not_xmpp);
	assert_true(registration_awaits(&t.r));
	assert_int_equal(registration_settled(&t.r), 0);
}

/* A client that ends it by itself was not refused. */
static void test_client_error(void **state)
{
	static const char *const lines[] = {
		OPEN,
		PROSODY_OPEN,
		"> <stream:error><unsupported-version xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
		"</stream:stream>",
		NULL,
	};
	struct talk t = {.now = 1000 * MS};

	(void)state;
	converse(&t, lines, 0);
	assert_string_equal(t.r.error, "");
	assert_string_equal(t.r.stream_error, "unsupported_version");
	assert_true(t.r.stream_error_by_client && t.r.stream_closed_ns[CBT_OUT] != 0);
	assert_int_equal(registration_settled(&t.r), 0);
}

/* A handshake that was not asked for is no consent. */
static void test_unasked(void **state)
{
	static const char *const lines[] = {OPEN, PROSODY_OPEN, "< <handshake/><success/>", NULL};
	struct talk t = {.now = 1000 * MS};

	(void)state;
	converse(&t, lines, 0);
	assert_false(registration_accepted(&t.r));
}

static void test_not_xml(void **state)
{
	struct talk t = {.now = 1000 * MS};

	(void)state;
	converse(&t, not_xml, 0);
	assert_true(t.r.not_xmpp);
	assert_false(registration_accepted(&t.r));
}

static void test_session(void **state)
{
	static const char *const lines[] = {
		"< <iq type='get' id='ping1' from='example.com' to='callbridge.example.com'><query "
		"xmlns='jabber:iq:auth'/></iq>",
		"<  ",
		"> <message to='a@example.com'><body>hello</body></message>",
		"> <iq type='result' id='other' to='example.com'/>",
		"> <iq type='result' id='ping1' to='example.com'/><presence/>",
		"< <message from='a@example.com'><body>hi</body></message> <presence/>",
		NULL,
	};

	(void)state;
	for (size_t cut = 0; cut <= total(lines); cut++) {
		struct talk t = {.now = 1000 * MS};
		uint64_t registered;

		converse(&t, prosody_good, 0);
		registered = t.now;
		converse(&t, lines, cut);
		assert_int_equal(registration_stanzas(&t.r, CBT_IN), 3);
		assert_int_equal(registration_stanzas(&t.r, CBT_OUT), 4);
		assert_int_equal(t.r.stanzas[CBT_IN][STANZA_MESSAGE], 1);
		assert_int_equal(t.r.stanzas[CBT_OUT][STANZA_IQ], 2);
		assert_true(t.r.login_ns > registered && t.r.login_ns <= registered + 2 * MS);
		assert_true(t.r.login_answer_ns > t.r.login_ns);
		assert_true(t.took >= 4 * MS && t.took <= 5 * MS);
		assert_int_equal(t.r.last_inbound_ns, t.now);
		assert_true(t.spaces >= 1);
	}
}

/* What only asks whether the other side still lives is nobody's login. */
static void test_keepalives(void **state)
{
	static const char *const lines[] = {
		"<  ",
		"< <iq id='p1' type='get' to='callbridge.example.com'><ping xmlns='urn:xmpp:ping'/></iq>",
		"> <iq id='p1' type='error'><error/></iq>",
		"> \n",
		"> <iq id='p2' type='get' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>",
		"< <iq id='p2' type='result'/>",
		"< <message type='error' id='m'><error/></message>",
		"< <iq id='l' type='get'><query xmlns='jabber:iq:auth'/></iq>",
		NULL,
	};
	struct talk t = {.now = 1000 * MS};

	(void)state;
	converse(&t, prosody_good, 0);
	converse(&t, lines, 0);
	assert_int_equal(t.r.keepalives[CBT_IN], 2);
	assert_int_equal(t.r.keepalives[CBT_OUT], 2);
	assert_int_equal(t.r.stanzas[CBT_IN][STANZA_IQ], 3);
	assert_int_equal(t.r.stanzas[CBT_OUT][STANZA_IQ], 2);
	assert_int_equal(registration_stanzas(&t.r, CBT_IN), 4);
	assert_int_equal(t.took, MS);
	assert_int_equal(t.r.login_ns, t.now);
}

/* A server that asks and asks, and a client that never answers: the oldest are forgotten. */
static void test_unanswered(void **state)
{
	struct talk t = {.now = 1000 * MS};
	char text[128];

	(void)state;
	converse(&t, prosody_good, 0);
	for (int i = 0; i < 1000; i++) {
		int n = snprintf(text, sizeof(text), "<iq type='get' id='%d'><ping xmlns='urn:xmpp:ping'/></iq>", i);

		call(&t, CBT_IN, text, (size_t)n);
	}
	assert_int_equal(t.r.n_asked, REGISTRATION_ASKED_MAX);
	call(&t, CBT_OUT, "<iq type='result' id='5'/>", 26);
	assert_int_equal(t.took, 0);
	call(&t, CBT_OUT, "<iq type='error' id='990'/>", 27);
	assert_true(t.took > 0);
}

static bool holds(const struct talk *t, const char *secret)
{
	return memmem(t, sizeof(*t), secret, strlen(secret)) != NULL;
}

/* What may not leave the kernel is not even kept there. */
static void test_secrets(void **state)
{
	struct talk t = {.now = 1000 * MS};

	(void)state;
	converse(&t, prosody_good, 0);
	assert_false(holds(&t, "ecc1ddd6") || holds(&t, "d3c6a1"));
	assert_false(holds(&t, "5bb1d3a2") || holds(&t, "6a0f"));
	assert_true(holds(&t, "callbridge.example.com"));
	call(&t, CBT_OUT, "<message to='a@x' id='m1'><body>the body text</body></message>", 62);
	assert_false(holds(&t, "body text") || holds(&t, "a@x"));
	memset(&t, 0, sizeof(t));
	converse(&t, sasl_good, 0);
	assert_false(holds(&t, "AGNhbGxi") || holds(&t, "jcmV0"));
}

/* A call too long for the kernel: what comes after is understood again. */
static void test_gap(void **state)
{
	struct talk t = {.now = 1000 * MS};
	struct xmpp_parser *p = &t.parser[CBT_OUT];

	(void)state;
	converse(&t, prosody_good, 0);
	call(&t, CBT_OUT, "<message><body>long", 19);
	xmpp_gap(p);
	assert_int_equal(p->done, CBT_ELEMENT_CHILD);
	assert_int_equal(p->flags, CBT_ELEMENT_UNENDED);
	element_give(&t, CBT_OUT, 0);
	xmpp_taken(p);
	element_give(&t, CBT_OUT, CBT_ELEMENT_GAP);
	assert_true(t.r.gap);
	call(&t, CBT_OUT, "rest</body></message>", 21);
	assert_int_equal(registration_stanzas(&t.r, CBT_OUT), 1);
	call(&t, CBT_OUT, "<presence/>", 11);
	assert_int_equal(registration_stanzas(&t.r, CBT_OUT), 2);
}

/* Long names, deep nesting, odd bytes: bounded, and what was cut says so. */
static void test_hostile(void **state)
{
	static const char odd[][8] = {
		"<a\0b>", "<>", "<<",	   "</", "< a>",   "<a b>",	  "<a b=c>",
		"<a/b>",  "<!", "<!---->", "<?", "<a b='", "\xff\xfe<a>",
	};
	struct talk t = {.now = 1000 * MS};
	char name[300];

	(void)state;
	converse(&t, prosody_good, 0);
	memset(name, 'n', sizeof(name));
	name[0] = '<';
	call(&t, CBT_IN, name, sizeof(name));
	assert_int_equal(t.parser[CBT_IN].name_len, CBT_ELEMENT_NAME_LEN - 1);
	assert_true(t.parser[CBT_IN].flags & CBT_ELEMENT_CUT);
	call(&t, CBT_IN, "/>", 2);
	for (int i = 0; i < 100000; i++)
		call(&t, CBT_IN, "<d>", 3);
	assert_true(t.parser[CBT_IN].depth >= 0xffff);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct talk o = {.now = MS};

		call(&o, CBT_OUT, odd[i], sizeof(odd[i]));
		call(&o, CBT_IN, odd[i], sizeof(odd[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),       cmocka_unit_test(test_refused),
		cmocka_unit_test(test_conflict_after), cmocka_unit_test(test_every_prefix),
		cmocka_unit_test(test_sasl_turns),     cmocka_unit_test(test_server_not_xml),
		cmocka_unit_test(test_client_error),   cmocka_unit_test(test_keepalives),
		cmocka_unit_test(test_unasked),	       cmocka_unit_test(test_not_xml),
		cmocka_unit_test(test_session),	       cmocka_unit_test(test_unanswered),
		cmocka_unit_test(test_secrets),	       cmocka_unit_test(test_gap),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
