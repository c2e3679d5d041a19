/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The recogniser of XMPP (RFC 6120 section 4, XEP-0114, XEP-0225) in one direction of a plaintext stream, a byte at a
 * time: it finds the stream's start and end tags and its children, and keeps of them what may leave the kernel: local
 * names, sizes, the `to` or `from` of the stream, the type of a stanza and a hash of its id. Character data is never
 * stored, nor any other attribute; the stream's id not even hashed.
 *
 * No XML parser: it accepts more than XML does, and agrees with a parser on what one accepts (no DTD: RFC 6120 section
 * 11.1 forbids it). Compiled for the kernel and natively, where the tests and the fuzzer run it. All state is in struct
 * xmpp_parser, which begins as zeroes.
 */
#ifndef CBTRACE_BPF_XMPP_H
#define CBTRACE_BPF_XMPP_H

#include <linux/types.h>

#include <cbtrace/event.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

enum xmpp_state {
	XMPP_TEXT = 0, /* between tags */
	XMPP_OPEN,     /* behind `<` */
	XMPP_NAME,     /* in the name of a start tag */
	XMPP_TAG,      /* in a start tag, before an attribute or the end */
	XMPP_ATTR,     /* in the name of an attribute */
	XMPP_EQUALS,   /* behind it */
	XMPP_VALUE,    /* in its value */
	XMPP_SLASH,    /* behind the `/` of an empty element */
	XMPP_END,      /* in an end tag */
	XMPP_BANG,     /* behind `<!` */
	XMPP_DASH,     /* behind `<!-` */
	XMPP_SKIP,     /* in a comment, CDATA section, processing instruction or declaration */
	XMPP_LOST,     /* after a gap: a call that begins with a tag is taken for the next child */
	XMPP_DEAD,     /* no XML */
};

enum xmpp_attr {
	XMPP_ATTR_OTHER = 0,
	XMPP_ATTR_ADDRESS, /* the stream's `to` or `from` */
	XMPP_ATTR_ID,
	XMPP_ATTR_TYPE,
};

struct xmpp_parser {
	__u64 start_ns; /* the caller's: of the call that brought the element's first byte */
	__u64 id_hash;	/* 64-bit FNV-1a; 0 none */
	__u64 word;	/* the last up to 8 bytes of the name or value at hand, big end first */
	__u64 name_word;
	__u32 size;  /* bytes of the element so far */
	__u32 depth; /* elements that are open; the stream counts */
	__u16 address_len;
	__u8 state; /* enum xmpp_state */
	__u8 done;  /* enum cbt_element_kind of what has just ended, 0 nothing; xmpp_taken() clears it */
	__u8 flags; /* CBT_ELEMENT_* */
	__u8 type;  /* enum cbt_stanza_type */
	__u8 attr;  /* enum xmpp_attr */
	__u8 quote;
	__u8 root; /* the start tag at hand is the stream's */
	__u8 word_len;
	__u8 name_len, child_len;
	__u8 skip, skip_need, skip_have; /* XMPP_SKIP: how many of this byte must stand before its `>` */
	__u8 fresh;			 /* an element has begun since the caller cleared it */
	__u8 solid;			 /* something other than space between elements was seen since */
	__u8 pad[3];
	char name[CBT_ELEMENT_NAME_LEN];
	char child[CBT_ELEMENT_NAME_LEN];
	char address[CBT_ELEMENT_DATA_MAX];
};

/* Names as struct xmpp_parser.word has them. */
#define XMPP_WORD_TO	   0x746fULL
#define XMPP_WORD_FROM	   0x66726f6dULL
#define XMPP_WORD_ID	   0x6964ULL
#define XMPP_WORD_TYPE	   0x74797065ULL
#define XMPP_WORD_STREAM   0x73747265616dULL
#define XMPP_WORD_IQ	   0x6971ULL
#define XMPP_WORD_MESSAGE  0x6d657373616765ULL
#define XMPP_WORD_PRESENCE 0x70726573656e6365ULL
#define XMPP_WORD_GET	   0x676574ULL
#define XMPP_WORD_SET	   0x736574ULL
#define XMPP_WORD_RESULT   0x726573756c74ULL
#define XMPP_WORD_ERROR	   0x6572726f72ULL

#define XMPP_FNV_START 0xcbf29ce484222325ULL
#define XMPP_FNV_PRIME 0x100000001b3ULL

static __always_inline int xmpp_is_space(__u8 c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static __always_inline void xmpp_word_start(struct xmpp_parser *p)
{
	p->word = 0;
	p->word_len = 0;
}

static __always_inline void xmpp_word_add(struct xmpp_parser *p, __u8 c)
{
	p->word = p->word << 8 | c;
	if (p->word_len < 255)
		p->word_len++;
}

/* The name or value is exactly this one. */
static __always_inline int xmpp_word_is(const struct xmpp_parser *p, __u64 word, __u8 len)
{
	return p->word == word && p->word_len == len;
}

static __always_inline void xmpp_dead(struct xmpp_parser *p)
{
	p->state = XMPP_DEAD;
	p->done = CBT_ELEMENT_NOT_XML;
}

/* A start tag's `<` at the stream's level: what was known of the element before goes. */
static __always_inline void xmpp_element_start(struct xmpp_parser *p)
{
	p->size = 0;
	p->flags = 0;
	p->type = CBT_TYPE_NONE;
	p->id_hash = 0;
	p->name_len = p->child_len = 0;
	p->name_word = 0;
	p->address_len = 0;
	p->fresh = 1;
}

static __always_inline void xmpp_name_add(struct xmpp_parser *p, __u8 c)
{
	__u8 n;

	/* Of `prefix:name` the name counts. At depth 2, root says that this is the first child: xmpp_name_start(). */
	if (c == ':') {
		xmpp_word_start(p);
		if (p->depth <= 1)
			p->name_len = 0;
		else if (p->depth == 2 && p->root)
			p->child_len = 0;
		return;
	}
	xmpp_word_add(p, c);
	if (p->depth <= 1) {
		n = p->name_len;
		if (n < CBT_ELEMENT_NAME_LEN - 1) {
			p->name[n & (CBT_ELEMENT_NAME_LEN - 1)] = (char)c;
			p->name_len = n + 1;
		} else {
			p->flags |= CBT_ELEMENT_CUT;
		}
	} else if (p->depth == 2 && p->root) {
		n = p->child_len;
		if (n < CBT_ELEMENT_NAME_LEN - 1) {
			p->child[n & (CBT_ELEMENT_NAME_LEN - 1)] = (char)c;
			p->child_len = n + 1;
		} else {
			p->flags |= CBT_ELEMENT_CUT;
		}
	}
}

static __always_inline void xmpp_name_start(struct xmpp_parser *p, __u8 c)
{
	p->state = XMPP_NAME;
	xmpp_word_start(p);
	/* Of a child's children only the first is named. */
	p->root = p->depth == 2 && p->child_len == 0;
	xmpp_name_add(p, c);
}

/* The name is whole: whose is it? */
static __always_inline void xmpp_name_end(struct xmpp_parser *p)
{
	p->root = 0;
	if (p->depth <= 1) {
		p->name_word = p->word_len <= 8 ? p->word : 0;
		/* With SASL the stream starts anew on the same connection: RFC 6120 section 4.3.3. */
		p->root = p->depth == 0 || xmpp_word_is(p, XMPP_WORD_STREAM, 6);
	}
}

static __always_inline int xmpp_is_stanza(const struct xmpp_parser *p)
{
	return p->name_word == XMPP_WORD_IQ || p->name_word == XMPP_WORD_MESSAGE || p->name_word == XMPP_WORD_PRESENCE;
}

/* The stream's child, or the start tag of the stream, has ended with this byte. */
static __always_inline void xmpp_done(struct xmpp_parser *p, __u8 kind)
{
	p->done = kind;
	if (kind != CBT_ELEMENT_CHILD || !xmpp_is_stanza(p)) {
		p->id_hash = 0;
		p->type = CBT_TYPE_NONE;
	}
}

/* `>` or `/>` of a start tag. */
static __always_inline void xmpp_tag_end(struct xmpp_parser *p, int empty)
{
	p->state = XMPP_TEXT;
	if (p->root) {
		p->root = 0;
		p->depth = empty ? 0 : 1;
		xmpp_done(p, CBT_ELEMENT_STREAM_OPEN);
	} else if (!empty) {
		p->depth++;
	} else if (p->depth == 1) {
		xmpp_done(p, CBT_ELEMENT_CHILD);
	}
}

static __always_inline void xmpp_end_tag_end(struct xmpp_parser *p)
{
	p->state = XMPP_TEXT;
	if (p->depth == 0) {
		xmpp_dead(p);
		return;
	}
	p->depth--;
	if (p->depth == 1)
		xmpp_done(p, CBT_ELEMENT_CHILD);
	else if (p->depth == 0)
		xmpp_done(p, CBT_ELEMENT_STREAM_CLOSE);
}

static __always_inline void xmpp_attr_end(struct xmpp_parser *p, int out)
{
	p->attr = XMPP_ATTR_OTHER;
	if (p->root) {
		if (out ? xmpp_word_is(p, XMPP_WORD_TO, 2) : xmpp_word_is(p, XMPP_WORD_FROM, 4)) {
			p->attr = XMPP_ATTR_ADDRESS;
			p->address_len = 0;
		}
	} else if (p->depth == 1) {
		if (xmpp_word_is(p, XMPP_WORD_ID, 2)) {
			p->attr = XMPP_ATTR_ID;
			p->id_hash = XMPP_FNV_START;
		} else if (xmpp_word_is(p, XMPP_WORD_TYPE, 4)) {
			p->attr = XMPP_ATTR_TYPE;
		}
	}
	xmpp_word_start(p);
}

static __always_inline void xmpp_value_add(struct xmpp_parser *p, __u8 c)
{
	__u16 n;

	switch (p->attr) {
	case XMPP_ATTR_ID:
		p->id_hash = (p->id_hash ^ c) * XMPP_FNV_PRIME;
		break;
	case XMPP_ATTR_TYPE:
		xmpp_word_add(p, c);
		break;
	case XMPP_ATTR_ADDRESS:
		n = p->address_len;
		/* A reference is left as it is: no domain needs one. */
		if (c == '&')
			p->flags |= CBT_ELEMENT_CUT;
		if (n < CBT_ELEMENT_DATA_MAX) {
			p->address[n & (CBT_ELEMENT_DATA_MAX - 1)] = (char)c;
			p->address_len = n + 1;
		} else {
			p->flags |= CBT_ELEMENT_CUT;
		}
		break;
	default:
		break;
	}
}

static __always_inline void xmpp_value_end(struct xmpp_parser *p)
{
	p->state = XMPP_TAG;
	if (p->attr != XMPP_ATTR_TYPE)
		return;
	if (xmpp_word_is(p, XMPP_WORD_GET, 3))
		p->type = CBT_TYPE_GET;
	else if (xmpp_word_is(p, XMPP_WORD_SET, 3))
		p->type = CBT_TYPE_SET;
	else if (xmpp_word_is(p, XMPP_WORD_RESULT, 6))
		p->type = CBT_TYPE_RESULT;
	else if (xmpp_word_is(p, XMPP_WORD_ERROR, 5))
		p->type = CBT_TYPE_ERROR;
	else
		p->type = CBT_TYPE_OTHER;
}

static __always_inline void xmpp_skip_start(struct xmpp_parser *p, __u8 c, __u8 need)
{
	p->state = XMPP_SKIP;
	p->skip = c;
	p->skip_need = need;
	p->skip_have = 0;
}

static __always_inline void xmpp_text(struct xmpp_parser *p, __u8 c)
{
	if (c == '<') {
		if (p->depth <= 1)
			xmpp_element_start(p);
		p->state = XMPP_OPEN;
	} else if (p->depth == 0 && !xmpp_is_space(c)) {
		xmpp_dead(p);
	}
}

static __always_inline void xmpp_open(struct xmpp_parser *p, __u8 c)
{
	if (c == '/')
		p->state = XMPP_END;
	else if (c == '?')
		xmpp_skip_start(p, '?', 1);
	else if (c == '!')
		p->state = XMPP_BANG;
	else if (xmpp_is_space(c) || c == '<' || c == '>' || c == '=' || c == 0)
		xmpp_dead(p);
	else
		xmpp_name_start(p, c);
}

static __always_inline void xmpp_name(struct xmpp_parser *p, __u8 c)
{
	if (c == '>' || c == '/' || xmpp_is_space(c)) {
		xmpp_name_end(p);
		if (c == '>')
			xmpp_tag_end(p, 0);
		else
			p->state = c == '/' ? XMPP_SLASH : XMPP_TAG;
	} else if (c == '<' || c == 0) {
		xmpp_dead(p);
	} else {
		xmpp_name_add(p, c);
	}
}

static __always_inline void xmpp_tag(struct xmpp_parser *p, __u8 c)
{
	if (c == '>') {
		xmpp_tag_end(p, 0);
	} else if (c == '/') {
		p->state = XMPP_SLASH;
	} else if (!xmpp_is_space(c)) {
		p->state = XMPP_ATTR;
		xmpp_word_start(p);
		xmpp_word_add(p, c);
	}
}

/* One byte. @out: the client's direction. */
static __always_inline void xmpp_byte(struct xmpp_parser *p, __u8 c, int out)
{
	if (p->state != XMPP_TEXT || p->depth != 1 || !xmpp_is_space(c))
		p->solid = 1;
	switch (p->state) {
	case XMPP_TEXT:
		xmpp_text(p, c);
		break;
	case XMPP_OPEN:
		xmpp_open(p, c);
		break;
	case XMPP_NAME:
		xmpp_name(p, c);
		break;
	case XMPP_TAG:
		xmpp_tag(p, c);
		break;
	case XMPP_ATTR:
		if (c == '=' || xmpp_is_space(c)) {
			xmpp_attr_end(p, out);
			p->state = XMPP_EQUALS;
		} else if (c == '>') {
			xmpp_dead(p);
		} else {
			xmpp_word_add(p, c);
		}
		break;
	case XMPP_EQUALS:
		if (c == '"' || c == '\'') {
			p->quote = c;
			p->state = XMPP_VALUE;
		} else if (c != '=' && !xmpp_is_space(c)) {
			xmpp_dead(p);
		}
		break;
	case XMPP_VALUE:
		if (c == p->quote)
			xmpp_value_end(p);
		else
			xmpp_value_add(p, c);
		break;
	case XMPP_SLASH:
		if (c == '>')
			xmpp_tag_end(p, 1);
		else
			xmpp_dead(p);
		break;
	case XMPP_END:
		if (c == '>')
			xmpp_end_tag_end(p);
		break;
	case XMPP_BANG:
		if (c == '-')
			p->state = XMPP_DASH;
		else if (c == '[')
			xmpp_skip_start(p, ']', 2);
		else
			xmpp_skip_start(p, 0, 0);
		break;
	case XMPP_DASH:
		/* Neither of the two dashes that open a comment belongs to those that end it. */
		if (c == '-')
			xmpp_skip_start(p, '-', 2);
		else
			xmpp_dead(p);
		break;
	case XMPP_SKIP:
		if (c == '>' && p->skip_have >= p->skip_need)
			p->state = XMPP_TEXT;
		else if (c != p->skip)
			p->skip_have = 0;
		else if (p->skip_have < p->skip_need)
			p->skip_have++;
		break;
	default:
		break;
	}
	if (p->size != ~0U)
		p->size++;
}

/* A call begins. After a gap, one whose first byte is @first may be understood again. */
static __always_inline void xmpp_begin(struct xmpp_parser *p, __u8 first)
{
	p->solid = 0;
	if (p->state != XMPP_LOST || first != '<')
		return;
	p->state = XMPP_TEXT;
	p->depth = 1;
}

/* Bytes that were not looked at: what was open is told as it was. */
static __always_inline void xmpp_gap(struct xmpp_parser *p)
{
	if (p->state == XMPP_DEAD)
		return;
	if (p->depth > 1 && p->state != XMPP_LOST) {
		p->flags |= CBT_ELEMENT_UNENDED;
		xmpp_done(p, CBT_ELEMENT_CHILD);
	}
	p->state = XMPP_LOST;
	p->solid = 1;
}

/* What @done told has been read. */
static __always_inline void xmpp_taken(struct xmpp_parser *p)
{
	p->done = 0;
	p->name_len = p->child_len = 0;
	p->name_word = 0;
	p->address_len = 0;
	p->id_hash = 0;
	p->type = CBT_TYPE_NONE;
	p->flags = 0;
	p->size = 0;
}

#endif
