// SPDX-License-Identifier: BSD-2-Clause
/* DNS messages. See dns.h. A cursor knows two ends: that of the message on the wire, and that of what was captured of
 * it. */
#include "dns.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define HEADER_LEN   12
#define POINTERS_MAX 64 /* a name of 255 octets has at most 127 labels; each pointer must go backwards anyway */
#define CLASS_IN     1

struct cursor {
	const uint8_t *data;
	size_t len;	/* captured */
	size_t msg_len; /* on the wire, >= len */
	size_t pos;
	enum dns_status status; /* the first thing that went wrong */
};

static bool stopped(const struct cursor *c)
{
	return c->status != DNS_OK;
}

static void stop(struct cursor *c, enum dns_status status)
{
	if (c->status == DNS_OK)
		c->status = status;
}

/* Are @n bytes there at @pos? If not, was it the capture that ended, or the message? */
static bool have(struct cursor *c, size_t pos, size_t n)
{
	if (stopped(c))
		return false;
	if (pos > c->msg_len || n > c->msg_len - pos)
		stop(c, DNS_MALFORMED);
	else if (pos > c->len || n > c->len - pos)
		stop(c, DNS_TRUNCATED_CAPTURE);
	return !stopped(c);
}

static uint16_t get16(struct cursor *c)
{
	const uint8_t *p = c->data + c->pos;

	if (!have(c, c->pos, 2))
		return 0;
	c->pos += 2;
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(struct cursor *c)
{
	uint32_t high = get16(c);

	return high << 16 | get16(c);
}

/* RFC 4343 section 2.1. @out has room for DNS_NAME_MAX. */
static bool name_put(char *out, size_t *used, uint8_t octet)
{
	char escaped[8];
	int n;

	if (isalnum(octet) || octet == '-' || octet == '_')
		n = snprintf(escaped, sizeof(escaped), "%c", octet);
	else if (octet > 0x20 && octet < 0x7f)
		n = snprintf(escaped, sizeof(escaped), "\\%c", octet);
	else
		n = snprintf(escaped, sizeof(escaped), "\\%03u", octet);
	if (*used + (size_t)n >= DNS_NAME_MAX)
		return false;
	memcpy(out + *used, escaped, (size_t)n);
	*used += (size_t)n;
	return true;
}

static bool label_put(struct cursor *c, size_t pos, size_t len, char *out, size_t *used)
{
	if (!have(c, pos, len))
		return false;
	if (*used) {
		if (*used + 1 >= DNS_NAME_MAX)
			return false;
		out[(*used)++] = '.';
	}
	for (size_t i = 0; i < len; i++)
		if (!name_put(out, used, c->data[pos + i]))
			return false;
	return true;
}

/* A name at the cursor, which moves behind it. Pointers (RFC 1035 section 4.1.4) must go back, so that none loops. */
static void name_get(struct cursor *c, char out[static DNS_NAME_MAX])
{
	size_t pos = c->pos, used = 0, octets = 0, pointers = 0;
	bool jumped = false;
	char name[DNS_NAME_MAX];

	for (;;) {
		size_t len;

		if (!have(c, pos, 1))
			return;
		len = c->data[pos];
		if ((len & 0xc0) == 0xc0) {
			size_t target;

			if (!have(c, pos, 2))
				return;
			target = (len & 0x3f) << 8 | c->data[pos + 1];
			if (!jumped)
				c->pos = pos + 2;
			if (target >= pos || target < HEADER_LEN || ++pointers > POINTERS_MAX) {
				stop(c, DNS_MALFORMED);
				return;
			}
			jumped = true;
			pos = target;
			continue;
		}
		octets += len + 1;
		if (len & 0xc0 || octets > 255) {
			stop(c, DNS_MALFORMED);
			return;
		}
		pos++;
		if (!len)
			break;
		if (!label_put(c, pos, len, name, &used)) {
			stop(c, DNS_MALFORMED);
			return;
		}
		pos += len;
	}
	if (!jumped)
		c->pos = pos;
	if (!used)
		name[used++] = '.';
	memcpy(out, name, used);
	out[used] = '\0';
}

/* The data of a record; the cursor is at it and @end is where it must stop. True if it is one to keep. */
static bool rdata_get(struct cursor *c, size_t end, struct dns_answer *a)
{
	size_t len = end - c->pos;

	switch (a->type) {
	case DNS_TYPE_A:
		if (len != 4) {
			stop(c, DNS_MALFORMED);
			return false;
		}
		if (!have(c, c->pos, 4))
			return false;
		memcpy(a->addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
		memcpy(a->addr + 12, c->data + c->pos, 4);
		c->pos += 4;
		return true;
	case DNS_TYPE_AAAA:
		if (len != 16) {
			stop(c, DNS_MALFORMED);
			return false;
		}
		if (!have(c, c->pos, 16))
			return false;
		memcpy(a->addr, c->data + c->pos, 16);
		c->pos += 16;
		return true;
	case DNS_TYPE_SRV:
		a->priority = get16(c);
		a->weight = get16(c);
		a->port = get16(c);
		name_get(c, a->target);
		break;
	case DNS_TYPE_CNAME:
		name_get(c, a->target);
		break;
	default:
		return false;
	}
	if (!stopped(c) && c->pos != end)
		stop(c, DNS_MALFORMED);
	return !stopped(c);
}

static void answer_get(struct cursor *c, struct dns_message *m)
{
	struct dns_answer a = {0};
	uint16_t class;
	size_t rdlength, end;

	name_get(c, a.owner);
	a.type = get16(c);
	class = get16(c);
	a.ttl = get32(c);
	rdlength = get16(c);
	if (stopped(c))
		return;
	if (rdlength > c->msg_len - c->pos) {
		stop(c, DNS_MALFORMED);
		return;
	}
	end = c->pos + rdlength;
	if (class != CLASS_IN || !rdata_get(c, end, &a)) {
		if (stopped(c))
			return;
		m->n_other++;
	} else if (m->n_answers == DNS_ANSWERS_MAX) {
		m->n_dropped++;
	} else {
		m->answers[m->n_answers++] = a;
	}
	c->pos = end;
}

/* Records of the other sections: only the OPT record's share of the rcode matters (RFC 6891 section 6.1.3). */
static void other_get(struct cursor *c, struct dns_message *m)
{
	char owner[DNS_NAME_MAX];
	uint16_t type;
	uint32_t ttl;
	size_t rdlength;

	name_get(c, owner);
	type = get16(c);
	get16(c);
	ttl = get32(c);
	rdlength = get16(c);
	if (stopped(c))
		return;
	if (type == DNS_TYPE_OPT)
		m->rcode = (uint16_t)((ttl >> 24) << 4 | (m->rcode & 0xf));
	if (have(c, c->pos, rdlength))
		c->pos += rdlength;
}

static void question_get(struct cursor *c, struct dns_message *m)
{
	char name[DNS_NAME_MAX];
	uint16_t type, class;

	name_get(c, name);
	type = get16(c);
	class = get16(c);
	if (stopped(c) || m->has_question)
		return;
	m->has_question = true;
	memcpy(m->qname, name, sizeof(name));
	m->qtype = type;
	m->qclass = class;
}

enum dns_status dns_parse(const uint8_t *data, size_t len, size_t msg_len, struct dns_message *m)
{
	struct cursor c = {.data = data, .len = len, .msg_len = msg_len};
	uint16_t flags, n_answer, n_other;

	/* Not the array of answers: 30 kB that n_answers guards. */
	memset(m, 0, offsetof(struct dns_message, answers));
	m->id = get16(&c);
	flags = get16(&c);
	m->n_questions = get16(&c);
	n_answer = get16(&c);
	n_other = get16(&c);
	n_other = (uint16_t)(n_other + get16(&c));
	m->response = flags & 0x8000;
	m->opcode = flags >> 11 & 0xf;
	m->truncated = flags & 0x0200;
	m->rcode = flags & 0xf;
	for (unsigned int i = 0; i < m->n_questions && !stopped(&c); i++)
		question_get(&c, m);
	for (unsigned int i = 0; i < n_answer && !stopped(&c); i++)
		answer_get(&c, m);
	for (unsigned int i = 0; i < n_other && !stopped(&c); i++)
		other_get(&c, m);
	return c.status;
}

bool dns_name_equal(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
	if (*a == '.' && !a[1])
		a++;
	if (*b == '.' && !b[1])
		b++;
	return !*a && !*b;
}

const char *dns_component_domain(const char *qname)
{
	static const char *const labels[] = {"_xmpp-component._tcp.", "_xmpp-components._tcp."};

	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (strncasecmp(qname, labels[i], strlen(labels[i])) == 0 && qname[strlen(labels[i])])
			return qname + strlen(labels[i]);
	return NULL;
}

const char *dns_type_name(uint16_t type, char *buf, size_t size)
{
	switch (type) {
	case DNS_TYPE_A:
		return "A";
	case DNS_TYPE_CNAME:
		return "CNAME";
	case DNS_TYPE_AAAA:
		return "AAAA";
	case DNS_TYPE_SRV:
		return "SRV";
	case DNS_TYPE_OPT:
		return "OPT";
	default:
		snprintf(buf, size, "TYPE%u", type); /* RFC 3597 section 5 */
		return buf;
	}
}

const char *dns_rcode_name(uint16_t rcode, char *buf, size_t size)
{
	static const char *const names[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};

	if (rcode < sizeof(names) / sizeof(names[0]))
		return names[rcode];
	snprintf(buf, size, "RCODE%u", rcode);
	return buf;
}
