// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel's recogniser of XMPP, run natively the way bpf/library.bpf.c runs it: what it tells of a stream, however
 * calls cut it, whatever the peer sends; and that its memory never holds what must not leave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "xmpp.h"

#define OUT 1 /* the client's direction */
#define IN  0

#define COMPONENT "callbridge.example.com"
#define NS	  "xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
#define OPEN_OUT  "<?xml version='1.0'?><stream:stream " NS " to='" COMPONENT "'>"
#define OPEN_IN	  "<?xml version='1.0'?><stream:stream " NS " id='b7c1f02d' from='" COMPONENT "'>"

/* --- Running it --- */

struct told {
	uint8_t kind, flags, type;
	uint32_t size;
	uint64_t id_hash, start, bytes;
	char name[CBT_ELEMENT_NAME_LEN], child[CBT_ELEMENT_NAME_LEN];
	char address[CBT_ELEMENT_DATA_MAX + 1];
};

#define TOLD_MAX 64

struct run {
	struct xmpp_parser p;
	int out;
	uint64_t bytes, calls;
	size_t n;
	struct told told[TOLD_MAX];
};

static void run_start(struct run *r, int out)
{
	memset(r, 0, sizeof(*r));
	r->out = out;
}

/* As lib_element(). */
static void tell(struct run *r, uint64_t bytes, uint8_t kind)
{
	const struct xmpp_parser *p = &r->p;
	struct told *t = &r->told[r->n];

	assert_true(r->n < TOLD_MAX);
	r->n++;
	memset(t, 0, sizeof(*t));
	t->kind = kind ? kind : p->done;
	t->bytes = bytes;
	t->start = r->calls;
	if (kind)
		return;
	assert_true(p->name_len < CBT_ELEMENT_NAME_LEN && p->child_len < CBT_ELEMENT_NAME_LEN);
	assert_true(p->address_len <= CBT_ELEMENT_DATA_MAX);
	t->start = p->start_ns;
	t->flags = p->flags;
	t->type = p->type;
	t->size = p->size;
	t->id_hash = p->id_hash;
	memcpy(t->name, p->name, p->name_len);
	memcpy(t->child, p->child, p->child_len);
	memcpy(t->address, p->address, p->address_len);
}

/* As plain_look(): one call, its number in place of its time; of @len bytes the first @seen are looked at. */
static void call_cut(struct run *r, const char *data, size_t len, size_t seen)
{
	uint64_t before = r->bytes;
	size_t i;

	r->calls++;
	r->bytes += len;
	if (r->p.state == XMPP_DEAD)
		return;
	if (seen)
		xmpp_begin(&r->p, (uint8_t)data[0]);
	for (i = 0; i < seen && r->p.state != XMPP_DEAD; i++) {
		xmpp_byte(&r->p, (uint8_t)data[i], r->out);
		if (r->p.fresh) {
			r->p.start_ns = r->calls;
			r->p.fresh = 0;
		}
		if (r->p.done) {
			tell(r, before + i + 1, 0);
			xmpp_taken(&r->p);
		}
	}
	if (r->p.state == XMPP_DEAD)
		return;
	if (seen < len) {
		xmpp_gap(&r->p);
		if (r->p.done) {
			tell(r, before + seen, 0);
			xmpp_taken(&r->p);
		}
		tell(r, before + len, CBT_ELEMENT_GAP);
	} else if (!r->p.solid) {
		tell(r, before + len, CBT_ELEMENT_SPACE);
	}
}

static void call_bytes(struct run *r, const char *data, size_t len)
{
	call_cut(r, data, len, len);
}

static void call(struct run *r, const char *text)
{
	call_bytes(r, text, strlen(text));
}

/* --- Reading what it told --- */

static const char *told_word(const struct told *t)
{
	static const char *const words[] = {
		[CBT_ELEMENT_STREAM_OPEN] = "open", [CBT_ELEMENT_STREAM_CLOSE] = "close", [CBT_ELEMENT_CHILD] = "child",
		[CBT_ELEMENT_SPACE] = "space",	    [CBT_ELEMENT_NOT_XML] = "not-xml",	  [CBT_ELEMENT_GAP] = "gap",
	};

	assert_true(t->kind < sizeof(words) / sizeof(words[0]) && words[t->kind]);
	return words[t->kind];
}

static const char *type_word(const struct told *t)
{
	static const char *const words[] = {
		[CBT_TYPE_NONE] = "",	       [CBT_TYPE_GET] = " get",	    [CBT_TYPE_SET] = " set",
		[CBT_TYPE_RESULT] = " result", [CBT_TYPE_ERROR] = " error", [CBT_TYPE_OTHER] = " other",
	};

	assert_true(t->type < sizeof(words) / sizeof(words[0]));
	return words[t->type];
}

/* "child iq/query get #id | close", with the address of a stream behind `@`. */
static const char *all_told(const struct run *r)
{
	static char text[TOLD_MAX * 512];
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < r->n; i++) {
		const struct told *t = &r->told[i];
		const char *name = t->kind == CBT_ELEMENT_CHILD ? t->name : "";

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s%s%s%s%s%s%s%s%s%s%s", i ? " | " : "",
				       told_word(t), *name ? " " : "", name, *t->child ? "/" : "", t->child,
				       type_word(t), t->id_hash ? " #id" : "", *t->address ? " @" : "", t->address,
				       t->flags & CBT_ELEMENT_CUT ? " cut" : "",
				       t->flags & CBT_ELEMENT_UNENDED ? " unended" : "");
		assert_true(at < sizeof(text));
	}
	return text;
}

static void expect(const char *stream, int out, const char *want)
{
	struct run r;

	run_start(&r, out);
	call(&r, stream);
	assert_string_equal(all_told(&r), want);
}

static void expect_in_stream(const char *child, const char *want)
{
	struct run r;

	run_start(&r, OUT);
	call(&r, "<stream:stream>");
	r.n = 0;
	call(&r, child);
	assert_string_equal(all_told(&r), want);
}

static uint64_t fnv(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3ULL;
	return hash;
}

/* --- What real peers send --- */

struct vector {
	const char *name;
	int out;
	const char *stream;
	const char *want;
};

#define HANDSHAKE "<handshake>5d1c0bb0c1a2f0a3e09a7f3a7d4c2c6de3a4a2b7</handshake>"

static const struct vector vectors[] = {
	{"C client", OUT, OPEN_OUT HANDSHAKE "<presence/></stream:stream>",
	 "open @" COMPONENT " | child handshake | child presence | close"},
	{"slixmpp", OUT,
	 "<stream:stream xmlns=\"jabber:component:accept\" xmlns:stream=\"http://etherx.jabber.org/streams\" "
	 "to=\"" COMPONENT "\">"
	 "<handshake xmlns=\"jabber:component:accept\">5d1c0bb0c1a2f0a3e09a7f3a7d4c2c6de3a4a2b7</handshake>"
	 "<iq xml:lang=\"en\" id=\"a-1\" to=\"u@example.com/r\" type=\"result\"><query "
	 "xmlns=\"http://jabber.org/protocol/disco#info\"><identity/><feature var=\"x\"/></query></iq> "
	 "</stream:stream>",
	 "open @" COMPONENT " | child handshake | child iq/query result #id | close"},
	{"@xmpp/component", OUT,
	 "<?xml version='1.0'?>\n<stream:stream version=\"1.0\" xmlns:stream=\"http://etherx.jabber.org/streams\" "
	 "to=\"" COMPONENT "\" xmlns=\"jabber:component:accept\" >\n"
	 "<handshake>5d1c0bb0c1a2f0a3e09a7f3a7d4c2c6de3a4a2b7</handshake>"
	 "<iq type=\"result\" id=\"login-1\" xmlns:stream=\"http://etherx.jabber.org/streams\"/></stream:stream>",
	 "open @" COMPONENT " | child handshake | child iq result #id | close"},
	{"Prosody", IN,
	 OPEN_IN "<handshake/><iq from='u@example.com/r' id='q1' type='get' to='" COMPONENT "'>"
		 "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
		 "<message to='" COMPONENT "' from='u@example.com' type='chat'><body>5 &gt; 3</body><x/></message>"
		 "<presence type='subscribe'/></stream:stream>",
	 "open @" COMPONENT " | child handshake | child iq/query get #id | child message/body other | "
	 "child presence other | close"},
	{"Prosody, wrong secret", IN,
	 "<?xml version='1.0'?><stream:stream from='" COMPONENT "' xmlns:stream='http://etherx.jabber.org/streams' "
	 "xmlns='jabber:component:accept' id='4a1f'><stream:error><not-authorized "
	 "xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Given token "
	 "does not match calculated token</text></stream:error></stream:stream>",
	 "open @" COMPONENT " | child error/not-authorized | close"},
	{"Prosody, unknown component", IN,
	 "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' id='' "
	 "xmlns='jabber:component:accept'><stream:error><host-unknown "
	 "xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
	 "open | child error/host-unknown | close"},
	{"Prosody, conflict", IN,
	 OPEN_IN "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text>Component already "
		 "connected</text></stream:error></stream:stream>",
	 "open @" COMPONENT " | child error/conflict | close"},
	{"ejabberd", IN,
	 "<?xml version='1.0'?><stream:stream id='13579246801234567890' "
	 "xmlns:stream='http://etherx.jabber.org/streams' "
	 "xmlns='jabber:component:accept' from='" COMPONENT "'><handshake/>"
	 "<iq xml:lang='en' to='" COMPONENT "' from='u@example.com' type='set' id='s1'><x xmlns='urn:x'><y/></x></iq>",
	 "open @" COMPONENT " | child handshake | child iq/x set #id"},
	{"ejabberd, wrong secret", IN,
	 OPEN_IN "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
		 "<text xml:lang='en' xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Invalid handshake</text>"
		 "</stream:error></stream:stream>",
	 "open @" COMPONENT " | child error/not-authorized | close"},
	{"SASL, the client", OUT,
	 "<?xml version='1.0'?><stream:stream to='example.com' version='1.0'><auth "
	 "xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGNiAHNlY3JldA==</auth>"
	 "<?xml version='1.0'?><stream:stream to='example.com' version='1.0'><iq type='set' id='b'><bind "
	 "xmlns='urn:xmpp:component:0'><hostname>" COMPONENT "</hostname></bind></iq></stream:stream>",
	 "open @example.com | child auth | open @example.com | child iq/bind set #id | close"},
	{"SASL, the server", IN,
	 "<?xml version='1.0'?><stream:stream id='1' from='example.com'><stream:features><mechanisms><mechanism>PLAIN"
	 "</mechanism></mechanisms></stream:features><success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
	 "<stream:stream id='2' from='example.com'><stream:features><bind/></stream:features><iq id='b' type='result'>"
	 "<bind><hostname>" COMPONENT "</hostname></bind></iq>",
	 "open @example.com | child features/mechanisms | child success | open @example.com | child features/bind | "
	 "child iq/bind result #id"},
	{"SASL, refused", IN,
	 "<stream:stream from='example.com'><failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/>"
	 "<text>no</text></failure></stream:stream>",
	 "open @example.com | child failure/not-authorized | close"},
	{"laid out by hand", OUT,
	 "<?xml\tversion = \"1.0\"\r\n encoding='UTF-8' ?>\r\n<s:stream\n\tto\n=\n\"" COMPONENT "\"\r\n>\r\n"
	 "<iq\tid\t=\t'1'\n type\n=\n\"error\"\n>\n<a:error b='>'\n/>\n</iq\n>\n</s:stream\n>\n",
	 "open @" COMPONENT " | child iq/error error #id | close"},
};

#define N_VECTORS (sizeof(vectors) / sizeof(vectors[0]))

static void real_peers(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		print_message("# %s\n", vectors[i].name);
		expect(vectors[i].stream, vectors[i].out, vectors[i].want);
	}
}

/* --- However it is cut --- */

/* What does not depend on where calls begin and end: all but the time. A call of nothing but space says so itself. */
static void same_elements(const struct run *whole, const struct run *cut)
{
	size_t n = 0;

	for (size_t i = 0; i < cut->n; i++) {
		struct told a, b = cut->told[i];

		if (b.kind == CBT_ELEMENT_SPACE)
			continue;
		assert_true(n < whole->n);
		a = whole->told[n++];
		a.start = b.start = 0;
		assert_memory_equal(&a, &b, sizeof(a));
	}
	assert_int_equal(n, whole->n);
	assert_int_equal(cut->bytes, whole->bytes);
}

static void every_two_way_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		const struct vector *v = &vectors[i];
		size_t len = strlen(v->stream);
		struct run whole, cut;

		run_start(&whole, v->out);
		call(&whole, v->stream);
		for (size_t at = 1; at < len; at++) {
			run_start(&cut, v->out);
			call_bytes(&cut, v->stream, at);
			call_bytes(&cut, v->stream + at, len - at);
			same_elements(&whole, &cut);
		}
	}
}

static void byte_by_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		const struct vector *v = &vectors[i];
		struct run whole, cut;

		run_start(&whole, v->out);
		call(&whole, v->stream);
		run_start(&cut, v->out);
		for (const char *p = v->stream; *p; p++)
			call_bytes(&cut, p, 1);
		same_elements(&whole, &cut);
		/* One byte a call: an element's first call is its first byte's. */
		for (size_t k = 0; k < cut.n; k++) {
			if (cut.told[k].kind == CBT_ELEMENT_SPACE)
				continue;
			assert_int_equal(cut.told[k].start, cut.told[k].bytes - cut.told[k].size + 1);
			assert_int_equal(v->stream[cut.told[k].bytes - cut.told[k].size], '<');
			assert_int_equal(v->stream[cut.told[k].bytes - 1], '>');
		}
	}
}

static void times_and_sizes(void **state)
{
	struct run r;

	(void)state;
	run_start(&r, OUT);
	call(&r, "<s to='a'><handsha");
	call(&r, "ke>1</handshake><iq/><pres");
	call(&r, "ence/>");
	assert_string_equal(all_told(&r), "open @a | child handshake | child iq | child presence");
	assert_int_equal(r.told[0].start, 1);
	assert_int_equal(r.told[1].start, 1);
	assert_int_equal(r.told[2].start, 2);
	assert_int_equal(r.told[3].start, 2);
	assert_int_equal(r.told[0].size, strlen("<s to='a'>"));
	assert_int_equal(r.told[1].size, strlen("<handshake>1</handshake>"));
	assert_int_equal(r.told[2].size, strlen("<iq/>"));
	assert_int_equal(r.told[3].size, strlen("<presence/>"));
	assert_int_equal(r.told[3].bytes, r.bytes);
}

/* --- What is kept of an element --- */

static void prefixes(void **state)
{
	(void)state;
	expect("<a:stream to='x'><b:iq><c:query><d:e/></c:query><f:second/></b:iq></a:stream>", OUT,
	       "open @x | child iq/query | close");
	/* A second child with a prefix does not take the first one's place, nor does what is deeper. */
	expect_in_stream("<iq><query/><a:b/></iq>", "child iq/query");
	expect_in_stream("<iq>text<x:query><y:z><z:z/></y:z></x:query><a:b/><c/></iq>", "child iq/query");
	expect_in_stream("<xml:iq/>", "child iq");
	/* stream: the prefix, and an element named stream. */
	expect_in_stream("<stream:error><stream:x/></stream:error>", "child error/x");
}

static void long_names(void **state)
{
	static const size_t lengths[] = {1, 30, 31, 32, 33, 255, 256, 257, 5000};
	static char text[3 * 5000 + 64], name[5001];

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t kept = lengths[i] < CBT_ELEMENT_NAME_LEN ? lengths[i] : CBT_ELEMENT_NAME_LEN - 1;
		bool cut = kept < lengths[i];
		struct run r;

		memset(name, 'n', lengths[i]);
		name[lengths[i]] = '\0';
		run_start(&r, OUT);
		call(&r, "<s>");
		(void)snprintf(text, sizeof(text), "<%s><child/></%s>", name, name);
		call(&r, text);
		(void)snprintf(text, sizeof(text), "<iq><%s/><second/></iq>", name);
		call(&r, text);
		(void)snprintf(text, sizeof(text), "<%s:message %s='1'/>", name, name);
		call(&r, text);
		assert_int_equal(r.n, 4);
		assert_int_equal(strlen(r.told[1].name), kept);
		assert_string_equal(r.told[1].child, "child");
		assert_int_equal(r.told[1].flags & CBT_ELEMENT_CUT, cut ? CBT_ELEMENT_CUT : 0);
		assert_int_equal(strlen(r.told[2].child), kept);
		assert_int_equal(r.told[2].flags & CBT_ELEMENT_CUT, cut ? CBT_ELEMENT_CUT : 0);
		assert_string_equal(r.told[3].name, "message");
	}
	/* The end of a long name is no name. */
	expect_in_stream("<nnnnnnnniq id='1'/>", "child nnnnnnnniq");
	expect_in_stream("<xxxstream to='x'/>", "child xxxstream");
}

static void attributes(void **state)
{
	(void)state;
	expect_in_stream("<iq id='1' type='get'/>", "child iq get #id");
	expect_in_stream("<iq type=\"get\" x='y' id=\"1\"/>", "child iq get #id");
	expect_in_stream("<iq type='get'id='1'/>", "child iq get #id");
	expect_in_stream("<iq a='/>' b=\"'\" c='\"' d='id=\"1\"' e='<x>'/>", "child iq");
	expect_in_stream("<iq xml:id='1' x:type='get' idd='1' i='1' typ='get' typetype='get'/>", "child iq");
	expect_in_stream("<iq type='getget'/>", "child iq other");
	expect_in_stream("<iq type=''/>", "child iq other");
	expect_in_stream("<iq><x id='1' type='get'/></iq>", "child iq/x");
	expect_in_stream("<iq id=''/>", "child iq #id");
	/* Only a stanza's. */
	expect_in_stream("<auth id='1' type='get'/>", "child auth");
	expect_in_stream("<message to='a' from='b' type='error'/>", "child message error");
	/* What an element before had does not stay. */
	expect_in_stream("<iq id='1' type='get'><a/></iq><iq/>", "child iq/a get #id | child iq");
}

static void ids(void **state)
{
	struct run out, in;

	(void)state;
	run_start(&out, OUT);
	run_start(&in, IN);
	call(&out, "<s><iq type='result' id='login-4711'/>");
	call(&in, "<s><iq id=\"login-4711\" type=\"get\"><q/></iq>");
	assert_int_equal(out.told[1].id_hash, fnv("login-4711"));
	assert_int_equal(in.told[1].id_hash, fnv("login-4711"));
}

static void addresses(void **state)
{
	static char text[4096], name[1025];

	(void)state;
	expect("<s to='a' from='b'>", OUT, "open @a");
	expect("<s to='a' from='b'>", IN, "open @b");
	expect("<s tto='a' x:to='b' id='c'>", OUT, "open");
	expect("<s to='a&amp;b'>", OUT, "open @a&amp;b cut");
	expect("<s to='a'><iq to='b'/>", OUT, "open @a | child iq");
	for (size_t len = 254; len <= 1024; len += len < 258 ? 1 : 766) {
		size_t kept = len < CBT_ELEMENT_DATA_MAX ? len : CBT_ELEMENT_DATA_MAX;
		struct run r;

		memset(name, 'a', len);
		name[len] = '\0';
		(void)snprintf(text, sizeof(text), "<s to='%s' id='1'><iq/>", name);
		run_start(&r, OUT);
		call(&r, text);
		assert_int_equal(r.n, 2);
		assert_int_equal(strlen(r.told[0].address), kept);
		assert_int_equal(r.told[0].flags, len > kept ? CBT_ELEMENT_CUT : 0);
		assert_string_equal(r.told[1].name, "iq");
	}
}

static void what_is_no_element(void **state)
{
	(void)state;
	expect_in_stream("<!-- <iq/> --><iq/>", "child iq");
	expect_in_stream("<!-- -> - --><iq/>", "child iq");
	expect_in_stream("<!----><iq/>", "child iq");
	expect_in_stream("<!--->--><iq/>", "child iq");
	expect_in_stream("<!---> <message/> --><iq/>", "child iq");
	expect_in_stream("<?p <message/> ?><iq/>", "child iq");
	expect_in_stream("<?p?a>b?\?><iq/>", "child iq");
	expect_in_stream("<message><body><![CDATA[</body></message><iq/>]] ]>]]]></body></message><iq/>",
			 "child message/body | child iq");
	expect_in_stream("<message><![CDATA[]]><body/></message>", "child message/body");
	expect_in_stream("<message><!-- <a/> --><?b <c/>?><body/></message>", "child message/body");
	expect_in_stream("<message>5 > 3 &lt;a/></message>", "child message");
	expect("<!DOCTYPE s><s><iq/>", OUT, "open | child iq");
}

static void roots(void **state)
{
	(void)state;
	expect("<s/>", OUT, "open");
	expect("<s></s>", OUT, "open | close");
	expect("<s></s>\n<s><iq/>", OUT, "open | close | open | child iq");
	expect(" \r\n<s>", OUT, "open");
}

static void keep_alives(void **state)
{
	struct run r;

	(void)state;
	run_start(&r, OUT);
	call(&r, "<s>");
	call(&r, " ");
	call(&r, "\r\n\t ");
	call(&r, " <iq/>");
	call(&r, "<iq/> ");
	call(&r, "<iq>");
	call(&r, " ");
	call(&r, "</iq>");
	call(&r, " ");
	assert_string_equal(all_told(&r), "open | space | space | child iq | child iq | child iq | space");
	/* Nor is it one before a stream or behind it. */
	expect(" ", OUT, "");
}

/* --- Hostile --- */

static void not_xml(void **state)
{
	static const char *const first[] = {
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"{\"a\":1}",
		"\x16\x03\x01",
		"PRI * HTTP/2.0",
		"< s>",
		"<>",
		"<<s>",
		"</s>",
		"<s", /* with what follows */
	};
	struct run r;

	(void)state;
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		run_start(&r, OUT);
		call(&r, first[i]);
		call(&r, "<s><iq/></s>");
		assert_string_equal(all_told(&r), "not-xml");
	}
	run_start(&r, OUT);
	call_bytes(&r, "\0<s>", 4);
	call(&r, " ");
	call_cut(&r, "<s>", 3, 1);
	assert_string_equal(all_told(&r), "not-xml");
	/* In the midst: one more thing is told, then nothing. */
	expect_in_stream("<iq/><iq a>", "child iq | not-xml");
	expect_in_stream("<iq/ >", "not-xml");
	expect_in_stream("<iq a=b>", "not-xml");
	expect_in_stream("<!x", "");
	expect("<s></s>x<s>", OUT, "open | close | not-xml");
}

static void nul_and_invalid_utf8(void **state)
{
	static const char nul_text[] = "<message><body>\0\0<x/>\0</body></message>";
	static const char nul_value[] = "<iq id='\0' type='g\0et'/>";
	static const char nul_name[] = "<\0iq id='1'/>", nul_later[] = "<i\0q/>", nul_attr[] = "<iq \0='1'/>";
	static const char bytes[] = "<\xff\xfe\xc0><\x80/></\xff\xfe\xc0><iq \xf0='\xed\xa0\x80'>\xf8</iq>";
	struct run r;

	(void)state;
	run_start(&r, OUT);
	call(&r, "<s>");
	call_bytes(&r, nul_text, sizeof(nul_text) - 1);
	call_bytes(&r, nul_value, sizeof(nul_value) - 1);
	call_bytes(&r, nul_attr, sizeof(nul_attr) - 1);
	call(&r, bytes);
	assert_string_equal(all_told(&r), "open | child message/body | child iq other #id | child iq | "
					  "child \xff\xfe\xc0/\x80 | child iq");
	run_start(&r, OUT);
	call(&r, "<s>");
	call_bytes(&r, nul_name, sizeof(nul_name) - 1);
	assert_string_equal(all_told(&r), "open | not-xml");
	run_start(&r, OUT);
	call(&r, "<s>");
	call_bytes(&r, nul_later, sizeof(nul_later) - 1);
	assert_string_equal(all_told(&r), "open | not-xml");
}

static void many(struct run *r, const char *text, size_t times)
{
	for (size_t i = 0; i < times; i++)
		call(r, text);
}

static void deep_nesting(void **state)
{
	struct run r;

	(void)state;
	run_start(&r, OUT);
	call(&r, "<s>");
	many(&r, "<a>", 200000);
	many(&r, "</a>", 199999);
	assert_int_equal(r.n, 1);
	call(&r, "</a><iq/></s>");
	assert_string_equal(all_told(&r), "open | child a/a | child iq | close");
	assert_int_equal(r.told[1].size, 7 * 200000);
	/* More ends than starts. */
	run_start(&r, OUT);
	call(&r, "<s></s></s>");
	assert_string_equal(all_told(&r), "open | close | not-xml");
}

static void huge_values(void **state)
{
	static char kilobyte[1025];
	struct run r;

	(void)state;
	memset(kilobyte, '>', sizeof(kilobyte) - 1);
	run_start(&r, OUT);
	call(&r, "<s><iq x='");
	many(&r, kilobyte, 1000);
	call(&r, "' id='");
	many(&r, kilobyte, 1000);
	call(&r, "' type='");
	many(&r, kilobyte, 1000);
	call(&r, "get'><a ");
	memset(kilobyte, 'n', sizeof(kilobyte) - 1);
	many(&r, kilobyte, 1000);
	call(&r, "='1'/></iq>");
	assert_string_equal(all_told(&r), "open | child iq/a other #id");
	assert_true(r.told[1].size > 4 * 1000 * 1024);
	/* A size that exceeds its place stops at its end. */
	call(&r, "<message>");
	r.p.size = ~0U - 1;
	call(&r, "aaaa</message>");
	assert_int_equal(r.told[2].size, ~0U);
}

/* --- Gaps --- */

static void gaps(void **state)
{
	struct run r;

	(void)state;
	run_start(&r, OUT);
	call(&r, "<s to='a'>");
	call_cut(&r, "<message id='1'><body>........", 30, 22);
	call(&r, "more of it</body></message>");
	call(&r, " ");
	call(&r, "<iq id='1'><a/></iq>");
	call(&r, "</s>");
	assert_string_equal(all_told(&r), "open @a | child message/body #id unended | gap | child iq/a #id | close");
	assert_int_equal(r.told[1].bytes, strlen("<s to='a'>") + 22);
	assert_int_equal(r.told[1].size, 22);
	assert_int_equal(r.told[2].bytes, strlen("<s to='a'>") + 30);
	/* Between elements nothing was open; unreadable as a whole; twice. */
	run_start(&r, OUT);
	call(&r, "<s>");
	call_cut(&r, "<iq/><iq/>", 10, 5);
	call_cut(&r, "<iq/>", 5, 0);
	call(&r, "<presence/>");
	assert_string_equal(all_told(&r), "open | child iq | gap | gap | child presence");
	/* In the start tags, and in the stream's. */
	run_start(&r, OUT);
	call_cut(&r, "<s to='secret", 13, 8);
	call_cut(&r, "<iq id='1' type='get'/>", 23, 9);
	call(&r, "<iq/>");
	call(&r, OPEN_OUT);
	assert_string_equal(all_told(&r), "gap | gap | child iq | open @" COMPONENT);
	/* Before anything. */
	run_start(&r, OUT);
	call_cut(&r, "<s>", 3, 0);
	call(&r, "<iq/>");
	assert_string_equal(all_told(&r), "gap | child iq");
}

/* --- Secrets --- */

#define SECRET_PART 4 /* so many bytes of it in a row are too many */

static bool holds(const void *memory, size_t size, const void *part, size_t len)
{
	return memmem(memory, size, part, len) != NULL;
}

/* Either way round: a word has its bytes end to front. */
static void never_holds(const void *memory, size_t size, const char *secret)
{
	size_t n = strlen(secret);

	for (size_t at = 0; at + SECRET_PART <= n; at++) {
		uint8_t back[SECRET_PART];

		for (size_t i = 0; i < SECRET_PART; i++)
			back[i] = (uint8_t)secret[at + SECRET_PART - 1 - i];
		assert_false(holds(memory, size, secret + at, SECRET_PART));
		assert_false(holds(memory, size, back, SECRET_PART));
	}
}

struct secret_stream {
	int out;
	const char *before, *secret, *after;
	bool hashed; /* a stanza's id may leave as a hash */
};

#define STREAM_ID "Zq7Kw2Xv9Jb4Rn8T"
#define DIGEST	  "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c"
#define SASL	  "AGNiAFpvOFhxNFJ3N1B5Mg=="
#define BODY	  "Zur Kenntnis: Q4 8Wx!"

static const struct secret_stream secret_streams[] = {
	{IN, "<?xml version='1.0'?><stream:stream " NS " id='", STREAM_ID, "' from='" COMPONENT "'>", false},
	{IN, "<?xml version='1.0'?><stream:stream from='" COMPONENT "' id=\"", STREAM_ID, "\" " NS "><handshake/>",
	 false},
	/* The second stream of one connection. */
	{IN, "<stream:stream id='1'><success/><stream:stream id='", STREAM_ID, "' from='a'><iq id='1'/>", false},
	{OUT, OPEN_OUT "<handshake>", DIGEST, "</handshake>", false},
	{OUT, OPEN_OUT "<handshake xmlns='jabber:component:accept'>\n", DIGEST, "\n</handshake><iq/>", false},
	{OUT, OPEN_OUT "<handshake><![CDATA[", DIGEST, "]]></handshake>", false},
	{OUT, OPEN_OUT "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>", SASL, "</auth>", false},
	{OUT, OPEN_OUT "<response>", SASL, "</response>", false},
	{IN, OPEN_IN "<challenge>", SASL, "</challenge>", false},
	{OUT, OPEN_OUT "<authenticate><initial-response>", SASL, "</initial-response></authenticate>", false},
	{IN, OPEN_IN "<message type='chat' id='1'><body>", BODY, "</body></message>", false},
	{IN, OPEN_IN "<message><!-- ", BODY, " --></message>", false},
	{IN, OPEN_IN "<message><?p ", BODY, " ?></message>", false},
	{IN, OPEN_IN "<message from='", BODY, "' type='chat'/>", false},
	{IN, OPEN_IN "<message to='", BODY, "'><body/></message>", false},
	{IN, OPEN_IN "<iq><x id='", BODY, "' type='set'/></iq>", false},
	{IN, OPEN_IN "<iq type='get' id='", BODY, "'/>", true},
	{OUT, "<stream:stream from='", BODY, "' to='" COMPONENT "'>", false},
};

static void secrets_stay(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(secret_streams) / sizeof(secret_streams[0]); i++) {
		const struct secret_stream *s = &secret_streams[i];
		uint64_t hash = fnv(s->secret);
		static char text[2048];
		struct run r;

		(void)snprintf(text, sizeof(text), "%s%s%s", s->before, s->secret, s->after);
		run_start(&r, s->out);
		for (const char *p = text; *p; p++) {
			call_bytes(&r, p, 1);
			never_holds(&r.p, sizeof(r.p), s->secret);
			if (!s->hashed)
				assert_false(holds(&r.p, sizeof(r.p), &hash, sizeof(hash)));
		}
		never_holds(r.told, r.n * sizeof(r.told[0]), s->secret);
		assert_true(r.n >= 1);
	}
}

/* The same when a gap falls anywhere in it. */
static void secrets_stay_beside_gaps(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(secret_streams) / sizeof(secret_streams[0]); i++) {
		const struct secret_stream *s = &secret_streams[i];
		static char text[2048];
		size_t len = (size_t)snprintf(text, sizeof(text), "%s%s%s", s->before, s->secret, s->after);

		for (size_t at = 0; at < len; at++) {
			struct run r;

			run_start(&r, s->out);
			call_cut(&r, text, at + 1, at);
			call_bytes(&r, text + at + 1, len - at - 1);
			call(&r, "<iq/>");
			never_holds(&r.p, sizeof(r.p), s->secret);
			never_holds(r.told, r.n * sizeof(r.told[0]), s->secret);
		}
	}
}

/* The checks above can find something. */
static void secrets_would_be_found(void **state)
{
	struct run r;

	(void)state;
	run_start(&r, OUT);
	call(&r, "<s to='" STREAM_ID "'><Zq7K");
	assert_true(holds(&r.p, sizeof(r.p), STREAM_ID, SECRET_PART));
	assert_true(holds(&r.p, sizeof(r.p), "K7qZ", SECRET_PART));
	assert_true(holds(r.told, r.n * sizeof(r.told[0]), STREAM_ID, strlen(STREAM_ID)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_peers),
		cmocka_unit_test(every_two_way_split),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(times_and_sizes),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(long_names),
		cmocka_unit_test(attributes),
		cmocka_unit_test(ids),
		cmocka_unit_test(addresses),
		cmocka_unit_test(what_is_no_element),
		cmocka_unit_test(roots),
		cmocka_unit_test(keep_alives),
		cmocka_unit_test(not_xml),
		cmocka_unit_test(nul_and_invalid_utf8),
		cmocka_unit_test(deep_nesting),
		cmocka_unit_test(huge_values),
		cmocka_unit_test(gaps),
		cmocka_unit_test(secrets_stay),
		cmocka_unit_test(secrets_stay_beside_gaps),
		cmocka_unit_test(secrets_would_be_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
