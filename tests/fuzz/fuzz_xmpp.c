// SPDX-License-Identifier: BSD-2-Clause
// sources:
/*
 * The kernel's recogniser of XMPP, with expat as the oracle: of whatever expat takes for a stream, or for the beginning
 * of one, both must tell the same. What no parser takes, it survives; where calls begin and end changes nothing; and
 * bytes that were not looked at lead to nothing out of bounds.
 *
 * The first byte of an input gives the direction and where calls begin, the second whether the rest is the stream or a
 * recipe for one: bytes below 0x80 stand for themselves, others for a piece of XML, so that what is open gets closed
 * often enough for the two to have something to agree on.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "xmpp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAM_MAX   16384
#define OPEN_MAX     64
#define ELEMENTS_MAX 512 /* more are not compared */

struct element {
	uint8_t kind, type;
	bool cut;
	uint32_t size;
	uint64_t id_hash;
	char name[CBT_ELEMENT_NAME_LEN], child[CBT_ELEMENT_NAME_LEN];
	uint16_t address_len;
	char address[CBT_ELEMENT_DATA_MAX];
};

struct elements {
	size_t n;
	struct element e[ELEMENTS_MAX];
};

static void require(bool truth)
{
	if (!truth)
		abort();
}

/* --- What expat says --- */

struct oracle {
	XML_Parser expat;
	const uint8_t *data;
	bool out;
	bool stopped;	 /* from here on the two mean different things */
	bool raw;	 /* a value of the child at hand is written otherwise than it reads */
	uint64_t begins; /* where it does */
	uint32_t depth;
	struct element now;
	struct elements *told;
	bool loose[ELEMENTS_MAX]; /* do not compare its values */
};

static struct element *oracle_tell(struct oracle *o, uint8_t kind, uint64_t size)
{
	struct element *e = &o->now;

	if (o->told->n == ELEMENTS_MAX) {
		o->stopped = true;
		return NULL;
	}
	e->kind = kind;
	e->size = (uint32_t)size;
	o->loose[o->told->n] = o->raw;
	o->told->e[o->told->n] = *e;
	return &o->told->e[o->told->n++];
}

static const char *local_name(const char *name)
{
	const char *colon = strrchr(name, ':');

	return colon ? colon + 1 : name;
}

static void name_keep(char *kept, const char *name, bool *cut)
{
	size_t n = strlen(name);

	if (n >= CBT_ELEMENT_NAME_LEN) {
		n = CBT_ELEMENT_NAME_LEN - 1;
		*cut = true;
	}
	memset(kept, 0, CBT_ELEMENT_NAME_LEN);
	memcpy(kept, name, n);
}

static uint64_t fnv(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3ULL;
	return hash;
}

static uint8_t type_of(const char *value)
{
	static const char *const types[] = {
		[CBT_TYPE_GET] = "get",
		[CBT_TYPE_SET] = "set",
		[CBT_TYPE_RESULT] = "result",
		[CBT_TYPE_ERROR] = "error",
	};

	for (uint8_t i = CBT_TYPE_GET; i <= CBT_TYPE_ERROR; i++)
		if (strcmp(value, types[i]) == 0)
			return i;
	return CBT_TYPE_OTHER;
}

/* References and line ends in the tag at hand. */
static bool tag_is_raw(const struct oracle *o)
{
	const uint8_t *tag = o->data + XML_GetCurrentByteIndex(o->expat);

	for (int i = 0; i < XML_GetCurrentByteCount(o->expat); i++)
		if (tag[i] == '&' || tag[i] == '\t' || tag[i] == '\n' || tag[i] == '\r')
			return true;
	return false;
}

static void stream_open(struct oracle *o, const char **attrs)
{
	struct element *e = &o->now;

	for (; attrs[0]; attrs += 2) {
		size_t n = strlen(attrs[1]);

		if (strcmp(attrs[0], o->out ? "to" : "from") != 0)
			continue;
		if (n > sizeof(e->address)) {
			n = sizeof(e->address);
			e->cut = true;
		}
		memcpy(e->address, attrs[1], n);
		e->address_len = (uint16_t)n;
	}
	oracle_tell(o, CBT_ELEMENT_STREAM_OPEN, (uint64_t)XML_GetCurrentByteCount(o->expat));
}

static void child_open(struct oracle *o, const char *name, const char **attrs)
{
	struct element *e = &o->now;

	if (strcmp(name, "iq") != 0 && strcmp(name, "message") != 0 && strcmp(name, "presence") != 0)
		return;
	for (; attrs[0]; attrs += 2) {
		if (strcmp(attrs[0], "id") == 0)
			e->id_hash = fnv(attrs[1]);
		else if (strcmp(attrs[0], "type") == 0)
			e->type = type_of(attrs[1]);
	}
}

static void on_start(void *arg, const char *qname, const char **attrs)
{
	struct oracle *o = arg;
	const char *name = local_name(qname);

	if (o->stopped)
		return;
	if (o->depth <= 1) {
		memset(&o->now, 0, sizeof(o->now));
		o->begins = (uint64_t)XML_GetCurrentByteIndex(o->expat);
		o->raw = tag_is_raw(o);
		name_keep(o->now.name, name, &o->now.cut);
	}
	if (o->depth == 0) {
		stream_open(o, attrs);
	} else if (o->depth == 1 && strcmp(name, "stream") == 0) {
		/* For the recogniser the stream begins anew. */
		stream_open(o, attrs);
		o->stopped = true;
	} else if (o->depth == 1) {
		child_open(o, name, attrs);
	} else if (o->depth == 2 && !o->now.child[0]) {
		name_keep(o->now.child, name, &o->now.cut);
	}
	o->depth++;
}

static void on_end(void *arg, const char *qname)
{
	struct oracle *o = arg;
	uint64_t at = (uint64_t)XML_GetCurrentByteIndex(o->expat);
	uint64_t size = (uint64_t)XML_GetCurrentByteCount(o->expat);

	(void)qname;
	if (o->stopped)
		return;
	o->depth--;
	if (o->depth == 1) {
		oracle_tell(o, CBT_ELEMENT_CHILD, at + size - o->begins);
	} else if (o->depth == 0 && size) {
		memset(&o->now, 0, sizeof(o->now));
		o->raw = false;
		oracle_tell(o, CBT_ELEMENT_STREAM_CLOSE, size);
	}
}

/* RFC 6120 section 11.1. */
static void on_doctype(void *arg, const char *name, const char *sysid, const char *pubid, int subset)
{
	struct oracle *o = arg;

	(void)name;
	(void)sysid;
	(void)pubid;
	(void)subset;
	o->stopped = true;
	XML_StopParser(o->expat, XML_FALSE);
}

/* How much of @data is whole characters: expat waits for the rest of one before it looks at what it has. */
static size_t utf8_whole(const uint8_t *data, size_t size)
{
	size_t at = 0;

	while (at < size) {
		size_t n = data[at] < 0xc0 ? 1 : data[at] < 0xe0 ? 2 : data[at] < 0xf0 ? 3 : 4;

		for (size_t i = 1; i < n; i++)
			if (at + i >= size || (data[at + i] & 0xc0) != 0x80)
				return at;
		at += n;
	}
	return size;
}

/* How much of @data expat takes; 0: not to be compared. */
static size_t oracle_run(struct oracle *o, const uint8_t *data, size_t size)
{
	size_t good;

	size = good = utf8_whole(data, size);
	/* It takes other encodings, told by their first bytes, and a byte order mark; XMPP has neither. */
	if (size < 2 || data[0] >= 0x80 || !data[0] || !data[1])
		return 0;
	o->data = data;
	o->expat = XML_ParserCreate("UTF-8");
	if (!o->expat)
		return 0;
	XML_SetUserData(o->expat, o);
	XML_SetElementHandler(o->expat, on_start, on_end);
	XML_SetStartDoctypeDeclHandler(o->expat, on_doctype);
	if (XML_Parse(o->expat, (const char *)data, (int)size, XML_FALSE) != XML_STATUS_OK) {
		good = (size_t)XML_GetCurrentByteIndex(o->expat);
		require(good <= size);
	}
	XML_ParserFree(o->expat);
	return good;
}

/* --- What the recogniser says --- */

static void parser_check(const struct xmpp_parser *p)
{
	require(p->state <= XMPP_DEAD);
	require(p->name_len < CBT_ELEMENT_NAME_LEN && p->child_len < CBT_ELEMENT_NAME_LEN);
	require(p->address_len <= CBT_ELEMENT_DATA_MAX);
	require(p->type <= CBT_TYPE_OTHER);
	require(p->done <= CBT_ELEMENT_NOT_XML);
	require(!(p->flags & ~(CBT_ELEMENT_CUT | CBT_ELEMENT_UNENDED)));
}

static void parser_take(struct xmpp_parser *p, struct elements *told)
{
	struct element *e;

	parser_check(p);
	if (!p->done)
		return;
	if (told->n < ELEMENTS_MAX) {
		e = &told->e[told->n++];
		memset(e, 0, sizeof(*e));
		e->kind = p->done;
		e->type = p->type;
		e->cut = p->flags & CBT_ELEMENT_CUT;
		e->size = p->size;
		e->id_hash = p->id_hash;
		memcpy(e->name, p->name, p->name_len);
		memcpy(e->child, p->child, p->child_len);
		memcpy(e->address, p->address, p->address_len);
		e->address_len = p->address_len;
	}
	xmpp_taken(p);
}

/* @cut: a call begins at every @cut-th byte, 0 only at the first; @gap: and that byte is not looked at. */
static void recogniser_run(const uint8_t *data, size_t size, bool out, size_t cut, bool gap, struct elements *told)
{
	struct xmpp_parser p = {0};

	told->n = 0;
	for (size_t i = 0; i < size; i++) {
		if (cut ? i % cut == 0 : i == 0) {
			if (gap && i) {
				xmpp_gap(&p);
				parser_take(&p, told);
				continue;
			}
			xmpp_begin(&p, data[i]);
		} else if (gap && cut && i % cut == 1) {
			xmpp_begin(&p, data[i]);
		}
		if (p.state == XMPP_DEAD)
			return;
		xmpp_byte(&p, data[i], out);
		parser_take(&p, told);
	}
}

/* --- Recipes --- */

static const char *const names[] = {
	"iq",
	"message",
	"presence",
	"a",
	"x:iq",
	"y:b",
	"a:b:c",
	"handshake",
	"stream:error",
	"s:stream",
	"stream:x",
	"i",
	/* of 31, 32 and, with its prefix, more characters */
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
	"pppppppppppppppppppppppppppppppp:iq",
	"\xc3\xa9",
};

static const char *const attributes[] = {
	" id='1'",   " id=\"a'b\"", " type='get'",     "\ttype = 'set'",    " type='result'", " type=\"error\"",
	" type='x'", " x='>'",	    " to='a.example'", " from='b.example'", " xml:id='2'",    " id='&lt;'",
	" y='/'",    "\n",	    " z=''",	       " t\xc3\xa9='<'",
};

static const char *const pieces[] = {
	"<!-- -->",
	"<!--->-->",
	"<!----->",
	"<!--<a>-->",
	"<![CDATA[",
	"]]>",
	"]",
	"<?p?>",
	"<?p <a>?\?>",
	"&amp;",
	" ",
	"text",
	"<?xml version='1.0'?>",
	"</",
	"<!--",
	"-->",
};

struct kitchen {
	char text[STREAM_MAX];
	size_t len;
	const char *open[OPEN_MAX];
	size_t n_open;
	bool in_tag; /* its `>` is to come */
};

static void put(struct kitchen *k, const char *text)
{
	size_t n = strlen(text);

	if (n > sizeof(k->text) - k->len)
		n = sizeof(k->text) - k->len;
	memcpy(k->text + k->len, text, n);
	k->len += n;
}

static void tag_end(struct kitchen *k)
{
	if (k->in_tag)
		put(k, ">");
	k->in_tag = false;
}

/* Eight kinds of sixteen. */
static void cook_piece(struct kitchen *k, uint8_t c)
{
	uint8_t which = c & 15;

	switch ((c >> 4) & 7) {
	case 0:
	case 1:
		tag_end(k);
		if (k->n_open == OPEN_MAX)
			return;
		k->open[k->n_open++] = names[which];
		put(k, "<");
		put(k, names[which]);
		k->in_tag = true;
		return;
	case 2:
	case 3:
		if (k->in_tag)
			put(k, attributes[which]);
		return;
	case 4:
	case 5:
		tag_end(k);
		put(k, pieces[which]);
		return;
	default:
		if (!k->n_open)
			return;
		k->n_open--;
		if (k->in_tag && which < 8) {
			put(k, "/>");
			k->in_tag = false;
			return;
		}
		tag_end(k);
		put(k, "</");
		put(k, k->open[k->n_open]);
		put(k, which & 1 ? " >" : ">");
		return;
	}
}

static void cook(struct kitchen *k, const uint8_t *data, size_t size)
{
	k->len = 0;
	k->n_open = 0;
	k->in_tag = false;
	for (size_t i = 0; i < size; i++) {
		char literal[2] = {(char)data[i], '\0'};

		if (data[i] & 0x80)
			cook_piece(k, data[i]);
		else
			put(k, literal);
	}
}

/* --- The two --- */

static void elements_same(const struct oracle *o, const struct elements *want, const struct elements *have)
{
	size_t n = have->n;

	/* Outside of a stream expat waits for a word's end before it refuses it. */
	if (!o->depth && n > want->n && have->e[n - 1].kind == CBT_ELEMENT_NOT_XML)
		n--;
	/* An oracle that stopped says nothing of what came after. */
	require(o->stopped ? n >= want->n : n == want->n);
	for (size_t i = 0; i < want->n; i++) {
		const struct element *a = &want->e[i], *b = &have->e[i];

		require(a->kind == b->kind && a->size == b->size);
		require(a->kind == CBT_ELEMENT_STREAM_CLOSE || memcmp(a->name, b->name, sizeof(a->name)) == 0);
		require(memcmp(a->child, b->child, sizeof(a->child)) == 0);
		if (o->loose[i])
			continue;
		/* A prefix that is too long counts as cut, too. */
		require(b->cut || !a->cut);
		require(a->type == b->type && a->id_hash == b->id_hash);
		require(a->address_len == b->address_len && memcmp(a->address, b->address, a->address_len) == 0);
	}
}

static void stream_check(const uint8_t *data, size_t size, bool out, size_t step)
{
	static struct elements want, have, cut;
	static struct oracle oracle;
	size_t good;

	memset(&oracle, 0, sizeof(oracle));
	want.n = 0;
	oracle.told = &want;
	oracle.out = out;
	good = oracle_run(&oracle, data, size);
	if (good) {
		recogniser_run(data, good, out, 0, false, &have);
		elements_same(&oracle, &want, &have);
	}

	recogniser_run(data, size, out, 0, false, &have);
	recogniser_run(data, size, out, step, false, &cut);
	require(have.n == cut.n && memcmp(have.e, cut.e, have.n * sizeof(have.e[0])) == 0);
	recogniser_run(data, size, out, step, true, &cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kitchen kitchen;
	bool out, recipe;
	size_t step;

	if (size < 3)
		return 0;
	out = data[0] & 1;
	step = 1 + (data[0] >> 1);
	recipe = data[1] & 1;
	data += 2;
	size -= 2;
	if (recipe) {
		cook(&kitchen, data, size);
		data = (const uint8_t *)kitchen.text;
		size = kitchen.len;
	}
	stream_check(data, size, out, step);
	return 0;
}
