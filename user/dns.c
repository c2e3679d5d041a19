// SPDX-License-Identifier: BSD-2-Clause
/* DNS messages: a strict, bounded reader. See dns.h. */
#include "dns.h"

#include <stdio.h>
#include <string.h>

#define HEADER_LEN    12
#define WIRE_NAME_MAX 255 /* RFC 1035 section 2.3.4, the root's zero included */
#define LABEL_MAX     63
#define QUESTION_MIN  5	 /* root, type, class */
#define RECORD_MIN    11 /* root, type, class, ttl, rdlength */
#define RECORD_FIXED  10
#define SRV_FIXED     6
#define CLASS_IN      1
#define POINTER_BITS  0xc0
#define POINTERS_MAX  128 /* a name has at most 127 labels; more jumps than that only cost time */

/* Where reading stands. @len bytes are there, the message has @end on the wire. */
struct reader {
	const uint8_t *data;
	size_t len, end;
	size_t pos;
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* Are @n bytes there at @at? What lies behind the end of the message is wrong, what the capture left out is not. */
static enum dns_status reader_has(const struct reader *r, size_t at, size_t n)
{
	if (at > r->end || n > r->end - at)
		return DNS_MALFORMED;
	if (at > r->len || n > r->len - at)
		return DNS_TRUNCATED_CAPTURE;
	return DNS_OK;
}

/* --- Names --- */

struct name_text {
	char *out;
	size_t n;
};

static bool text_put(struct name_text *t, const char *s, size_t n)
{
	if (n >= DNS_NAME_MAX - t->n)
		return false;
	memcpy(t->out + t->n, s, n);
	t->n += n;
	return true;
}

static bool is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool text_put_label(struct name_text *t, const uint8_t *label, size_t n)
{
	if (t->n && !text_put(t, ".", 1))
		return false;
	for (size_t i = 0; i < n; i++) {
		uint8_t c = label[i];
		char esc[4] = {'\\', (char)('0' + c / 100), (char)('0' + c / 10 % 10), (char)('0' + c % 10)};
		bool fits;

		if (is_plain(c))
			fits = text_put(t, (const char *)&label[i], 1);
		else if (c == '.' || c == '\\')
			fits = text_put(t, (const char[]){'\\', (char)c}, 2);
		else
			fits = text_put(t, esc, sizeof(esc));
		if (!fits)
			return false;
	}
	return true;
}

/*
 * Read the name at r->pos and step behind it. A pointer must lead to before the run of labels that it ends: so every
 * jump goes back, and there can be no loop. @out (DNS_NAME_MAX bytes) may be NULL; it is written on success only.
 */
static enum dns_status read_name(struct reader *r, char *out)
{
	char buf[DNS_NAME_MAX];
	struct name_text text = {.out = buf};
	size_t at = r->pos, run = at, after = 0, wire = 1, pointers = 0;

	for (;;) {
		enum dns_status st = reader_has(r, at, 1);
		uint8_t n;

		if (st)
			return st;
		n = r->data[at];
		if ((n & POINTER_BITS) == POINTER_BITS) {
			size_t to;

			st = reader_has(r, at, 2);
			if (st)
				return st;
			to = get16(r->data + at) & 0x3fff;
			if (to >= run || to < HEADER_LEN || ++pointers > POINTERS_MAX)
				return DNS_MALFORMED;
			if (!after)
				after = at + 2;
			at = run = to;
			continue;
		}
		if (n > LABEL_MAX)
			return DNS_MALFORMED;
		if (n == 0)
			break;
		wire += 1 + (size_t)n;
		if (wire > WIRE_NAME_MAX)
			return DNS_MALFORMED;
		st = reader_has(r, at + 1, n);
		if (st)
			return st;
		if (out && !text_put_label(&text, r->data + at + 1, n))
			return DNS_MALFORMED;
		at += 1 + (size_t)n;
	}
	r->pos = after ? after : at + 1;
	if (!out)
		return DNS_OK;
	if (!text.n)
		text_put(&text, ".", 1);
	memcpy(out, buf, text.n);
	out[text.n] = '\0';
	return DNS_OK;
}

/* --- Sections --- */

static enum dns_status read_question(struct reader *r, struct dns_message *msg)
{
	char name[DNS_NAME_MAX];
	bool first = !msg->has_question;
	enum dns_status st = read_name(r, first ? name : NULL);

	if (st)
		return st;
	st = reader_has(r, r->pos, 4);
	if (st)
		return st;
	if (first) {
		msg->has_question = true;
		memcpy(msg->qname, name, strlen(name) + 1);
		msg->qtype = get16(r->data + r->pos);
		msg->qclass = get16(r->data + r->pos + 2);
	}
	r->pos += 4;
	return DNS_OK;
}

struct record {
	uint16_t type, class;
	uint32_t ttl;
	size_t rdata, rdlength;
};

/* Up to the rdata; a record that would end behind the message is wrong even if the capture ends sooner. */
static enum dns_status read_record(struct reader *r, char *owner, struct record *rec)
{
	enum dns_status st = read_name(r, owner);
	const uint8_t *p;

	if (st)
		return st;
	st = reader_has(r, r->pos, RECORD_FIXED);
	if (st)
		return st;
	p = r->data + r->pos;
	*rec = (struct record){.type = get16(p),
			       .class = get16(p + 2),
			       .ttl = get32(p + 4),
			       .rdata = r->pos + RECORD_FIXED,
			       .rdlength = get16(p + 8)};
	st = reader_has(r, rec->rdata, rec->rdlength);
	if (st == DNS_MALFORMED)
		return st;
	r->pos = rec->rdata + rec->rdlength;
	return st;
}

/* A name that must fill the rest of the rdata. */
static enum dns_status read_rdata_name(const struct reader *r, const struct record *rec, size_t skip, char *out)
{
	struct reader in = *r;
	char name[DNS_NAME_MAX];
	enum dns_status st;

	if (rec->rdlength <= skip)
		return DNS_MALFORMED;
	in.pos = rec->rdata + skip;
	st = read_name(&in, name);
	if (st)
		return st;
	if (in.pos != rec->rdata + rec->rdlength)
		return DNS_MALFORMED;
	memcpy(out, name, strlen(name) + 1);
	return DNS_OK;
}

static enum dns_status read_rdata(const struct reader *r, const struct record *rec, struct dns_answer *a)
{
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *p = r->data + rec->rdata;

	switch (rec->type) {
	case DNS_TYPE_A:
		if (rec->rdlength != 4)
			return DNS_MALFORMED;
		memcpy(a->addr, v4_mapped, sizeof(v4_mapped));
		memcpy(a->addr + 12, p, 4);
		return DNS_OK;
	case DNS_TYPE_AAAA:
		if (rec->rdlength != 16)
			return DNS_MALFORMED;
		memcpy(a->addr, p, 16);
		return DNS_OK;
	case DNS_TYPE_SRV:
		if (rec->rdlength <= SRV_FIXED)
			return DNS_MALFORMED;
		a->priority = get16(p);
		a->weight = get16(p + 2);
		a->port = get16(p + 4);
		return read_rdata_name(r, rec, SRV_FIXED, a->target);
	default:
		return read_rdata_name(r, rec, 0, a->target);
	}
}

static bool is_kept(const struct record *rec)
{
	return rec->class == CLASS_IN && (rec->type == DNS_TYPE_A || rec->type == DNS_TYPE_AAAA ||
					  rec->type == DNS_TYPE_SRV || rec->type == DNS_TYPE_CNAME);
}

static enum dns_status read_answer(struct reader *r, struct dns_message *msg)
{
	bool room = msg->n_answers < DNS_ANSWERS_MAX;
	struct dns_answer spare, *a = room ? &msg->answers[msg->n_answers] : &spare;
	struct record rec;
	enum dns_status st;

	memset(a, 0, sizeof(*a));
	st = read_record(r, a->owner, &rec);
	if (st)
		return st;
	if (!is_kept(&rec)) {
		msg->n_other++;
		return DNS_OK;
	}
	a->type = rec.type;
	a->ttl = rec.ttl;
	st = read_rdata(r, &rec, a);
	if (st)
		return st;
	if (room)
		msg->n_answers++;
	else
		msg->n_dropped++;
	return DNS_OK;
}

/* Authority and additional records matter for their bounds, and one of them for the upper bits of the rcode (RFC 6891
 * section 6.1.3). */
static enum dns_status read_other(struct reader *r, struct dns_message *msg, bool additional, bool *opt_seen)
{
	size_t start = r->pos;
	struct record rec;
	enum dns_status st = read_record(r, NULL, &rec);

	if (st)
		return st;
	if (!additional || rec.type != DNS_TYPE_OPT)
		return DNS_OK;
	if (*opt_seen || r->data[start] != 0)
		return DNS_MALFORMED;
	*opt_seen = true;
	msg->rcode = (uint16_t)(msg->rcode | rec.ttl >> 24 << 4);
	return DNS_OK;
}

static enum dns_status read_sections(struct reader *r, struct dns_message *msg)
{
	const uint8_t *h = r->data;
	unsigned int qd = get16(h + 4), an = get16(h + 6), ns = get16(h + 8), ar = get16(h + 10);
	bool opt_seen = false;
	enum dns_status st;

	r->pos = HEADER_LEN;
	for (unsigned int i = 0; i < qd; i++) {
		st = read_question(r, msg);
		if (st)
			return st;
	}
	for (unsigned int i = 0; i < an; i++) {
		st = read_answer(r, msg);
		if (st)
			return st;
	}
	for (unsigned int i = 0; i < ns + ar; i++) {
		st = read_other(r, msg, i >= ns, &opt_seen);
		if (st)
			return st;
	}
	if (r->pos != r->end)
		return DNS_MALFORMED;
	return DNS_OK;
}

/* Could the counts of the header be true of a message this long? Saves a walk through what cannot be. */
static bool counts_fit(const struct reader *r)
{
	const uint8_t *h = r->data;
	size_t least = HEADER_LEN + (size_t)get16(h + 4) * QUESTION_MIN;

	least += ((size_t)get16(h + 6) + get16(h + 8) + get16(h + 10)) * RECORD_MIN;
	return least <= r->end;
}

static void read_flags(const uint8_t *data, struct dns_message *msg)
{
	uint16_t flags = get16(data + 2);

	msg->response = flags & 0x8000;
	msg->opcode = (uint8_t)(flags >> 11 & 0xf);
	msg->truncated = flags & 0x0200;
	msg->rcode = flags & 0xf;
}

enum dns_status dns_parse(const uint8_t *data, size_t len, size_t msg_len, struct dns_message *msg)
{
	struct reader r = {.data = data, .len = len < msg_len ? len : msg_len, .end = msg_len};

	memset(msg, 0, offsetof(struct dns_message, answers));
	if (r.len >= 2)
		msg->id = get16(data);
	if (r.len >= 4)
		read_flags(data, msg);
	if (r.len >= 6)
		msg->n_questions = get16(data + 4);
	if (r.end < HEADER_LEN)
		return DNS_MALFORMED;
	if (r.len < HEADER_LEN)
		return DNS_TRUNCATED_CAPTURE;
	/* RFC 2181 section 9: a message with TC set may end anywhere in its records, whatever its counts say. */
	if (msg->truncated) {
		enum dns_status st = read_sections(&r, msg);

		return st == DNS_MALFORMED && r.len == r.end ? DNS_OK : st;
	}
	if (!counts_fit(&r))
		return DNS_MALFORMED;
	return read_sections(&r, msg);
}

/* --- Names as text --- */

static size_t length_without_dot(const char *s)
{
	size_t n = strlen(s), backslashes = 0;

	if (!n || s[n - 1] != '.')
		return n;
	while (backslashes < n - 1 && s[n - 2 - backslashes] == '\\')
		backslashes++;
	return backslashes % 2 ? n : n - 1;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool equal_bytes(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (lower(a[i]) != lower(b[i]))
			return false;
	return true;
}

bool dns_name_equal(const char *a, const char *b)
{
	size_t n = length_without_dot(a);

	return n == length_without_dot(b) && equal_bytes(a, b, n);
}

const char *dns_component_domain(const char *qname)
{
	static const char *const services[] = {"_xmpp-component._tcp.", "_xmpp-components._tcp."};

	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		size_t n = strlen(services[i]);

		if (strnlen(qname, n + 1) > n && equal_bytes(qname, services[i], n))
			return qname + n;
	}
	return NULL;
}

/* --- Names of numbers --- */

const char *dns_type_name(uint16_t type, char *buf, size_t size)
{
	static const char *const names[] = {
		[1] = "A",    [2] = "NS",     [5] = "CNAME", [6] = "SOA",     [12] = "PTR",   [15] = "MX",
		[16] = "TXT", [28] = "AAAA",  [33] = "SRV",  [35] = "NAPTR",  [39] = "DNAME", [41] = "OPT",
		[43] = "DS",  [46] = "RRSIG", [47] = "NSEC", [48] = "DNSKEY", [255] = "ANY",
	};

	if (type < sizeof(names) / sizeof(names[0]) && names[type])
		return names[type];
	snprintf(buf, size, "TYPE%u", type);
	return buf;
}

const char *dns_rcode_name(uint16_t rcode, char *buf, size_t size)
{
	static const char *const names[] = {
		"NOERROR",  "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP",  "REFUSED",
		"YXDOMAIN", "YXRRSET", "NXRRSET",  "NOTAUTH",  "NOTZONE",
	};

	if (rcode < sizeof(names) / sizeof(names[0]))
		return names[rcode];
	snprintf(buf, size, "RCODE%u", rcode);
	return buf;
}
