// SPDX-License-Identifier: BSD-2-Clause
/* DNS messages: by table, against glibc's ns_* functions as the oracle, and every truncation of every message. */
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dns.h"

#define WIRE_MAX 65535

/* --- Messages under construction --- */

struct wire {
	uint8_t data[WIRE_MAX];
	size_t len;
};

static void put8(struct wire *w, unsigned int v)
{
	assert_true(w->len < sizeof(w->data));
	w->data[w->len++] = (uint8_t)v;
}

static void put16(struct wire *w, unsigned int v)
{
	put8(w, v >> 8);
	put8(w, v & 0xff);
}

static void put32(struct wire *w, unsigned int v)
{
	put16(w, v >> 16);
	put16(w, v & 0xffff);
}

static void put_header(struct wire *w, unsigned int id, unsigned int flags, unsigned int qd, unsigned int an,
		       unsigned int ns, unsigned int ar)
{
	w->len = 0;
	put16(w, id);
	put16(w, flags);
	put16(w, qd);
	put16(w, an);
	put16(w, ns);
	put16(w, ar);
}

/* Dotted labels, no escapes; "" is the root. */
static void put_name(struct wire *w, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		put8(w, (unsigned int)n);
		for (size_t i = 0; i < n; i++)
			put8(w, (unsigned char)name[i]);
		name += n + (name[n] == '.');
	}
	put8(w, 0);
}

static void put_pointer(struct wire *w, size_t to)
{
	put16(w, 0xc000 | (unsigned int)to);
}

static void put_question(struct wire *w, const char *name, unsigned int type)
{
	put_name(w, name);
	put16(w, type);
	put16(w, 1);
}

/* Type to rdlength; the length is patched by put_rdata_end(). */
static size_t put_record(struct wire *w, unsigned int type, unsigned int class, unsigned int ttl)
{
	put16(w, type);
	put16(w, class);
	put32(w, ttl);
	put16(w, 0);
	return w->len;
}

static void put_rdata_end(struct wire *w, size_t rdata)
{
	size_t n = w->len - rdata;

	w->data[rdata - 2] = (uint8_t)(n >> 8);
	w->data[rdata - 1] = (uint8_t)n;
}

static void put_a(struct wire *w, unsigned int addr)
{
	size_t rdata = put_record(w, DNS_TYPE_A, 1, 300);

	put32(w, addr);
	put_rdata_end(w, rdata);
}

static void put_srv(struct wire *w, unsigned int prio, unsigned int weight, unsigned int port, const char *target)
{
	size_t rdata = put_record(w, DNS_TYPE_SRV, 1, 60);

	put16(w, prio);
	put16(w, weight);
	put16(w, port);
	put_name(w, target);
	put_rdata_end(w, rdata);
}

static void put_opt(struct wire *w, unsigned int extended_rcode)
{
	put8(w, 0);
	put_rdata_end(w, put_record(w, DNS_TYPE_OPT, 1232, extended_rcode << 24));
}

/* --- The messages that all tests use --- */

static void build_query(struct wire *w)
{
	put_header(w, 0x1234, 0x0100, 1, 0, 0, 1);
	put_question(w, "_xmpp-component._tcp.example.com", DNS_TYPE_SRV);
	put_opt(w, 0);
}

static void build_srv(struct wire *w)
{
	size_t rdata;

	put_header(w, 7, 0x8180, 1, 2, 1, 2);
	put_question(w, "_xMpP-Component._TCP.eXample.com", DNS_TYPE_SRV);
	put_pointer(w, 12);
	put_srv(w, 5, 10, 5223, "xmpp1.example.com");
	put_pointer(w, 12);
	put_srv(w, 10, 0, 5222, "xmpp2.example.com");
	put_name(w, "example.com");
	rdata = put_record(w, 2, 1, 3600);
	put_name(w, "ns.example.com");
	put_rdata_end(w, rdata);
	put_name(w, "xmpp1.example.com");
	put_a(w, 0x0a09000a);
	put_opt(w, 0);
}

/* CNAME chain, every name compressed into an earlier one. */
static void build_cname(struct wire *w)
{
	size_t rdata, alias, real;

	put_header(w, 8, 0x8180, 1, 4, 0, 0);
	put_question(w, "www.example.com", DNS_TYPE_A);
	put_pointer(w, 12);
	rdata = put_record(w, DNS_TYPE_CNAME, 1, 5);
	alias = w->len;
	put8(w, 5);
	for (const char *p = "alias"; *p; p++)
		put8(w, (unsigned char)*p);
	put_pointer(w, 12 + 4);
	put_rdata_end(w, rdata);
	put_pointer(w, alias);
	rdata = put_record(w, DNS_TYPE_CNAME, 1, 5);
	real = w->len;
	put8(w, 4);
	for (const char *p = "real"; *p; p++)
		put8(w, (unsigned char)*p);
	put_pointer(w, alias);
	put_rdata_end(w, rdata);
	put_pointer(w, real);
	put_a(w, 0xc0000201);
	put_pointer(w, real);
	rdata = put_record(w, 16, 1, 1);
	put8(w, 0);
	put_rdata_end(w, rdata);
}

static void build_aaaa(struct wire *w)
{
	size_t rdata;

	put_header(w, 9, 0x8180, 1, 1, 0, 1);
	put_question(w, "xmpp1.example.com", DNS_TYPE_AAAA);
	put_pointer(w, 12);
	rdata = put_record(w, DNS_TYPE_AAAA, 1, 1);
	for (unsigned int i = 0; i < 16; i++)
		put8(w, i);
	put_rdata_end(w, rdata);
	put_opt(w, 1);
}

static void build_many(struct wire *w)
{
	put_header(w, 10, 0x8180, 1, DNS_ANSWERS_MAX + 6, 0, 0);
	put_question(w, "many.example.com", DNS_TYPE_A);
	for (unsigned int i = 0; i < DNS_ANSWERS_MAX + 6; i++) {
		put_pointer(w, 12);
		put_a(w, i);
	}
}

static void build_nxdomain(struct wire *w)
{
	put_header(w, 11, 0x8183, 1, 0, 0, 0);
	put_question(w, "nowhere.example.com", DNS_TYPE_A);
}

static void build_root_target(struct wire *w)
{
	put_header(w, 12, 0x8580, 1, 1, 0, 0);
	put_question(w, "_xmpp-components._tcp.example.com", DNS_TYPE_SRV);
	put_pointer(w, 12);
	put_srv(w, 0, 0, 0, "");
}

static void build_glibc_query(struct wire *w)
{
	struct __res_state state = {0};
	int n;

	assert_int_equal(res_ninit(&state), 0);
	n = res_nmkquery(&state, ns_o_query, "xmpp1.example.com", ns_c_in, ns_t_a, NULL, 0, NULL, w->data,
			 sizeof(w->data));
	res_nclose(&state);
	assert_true(n > 12);
	w->len = (size_t)n;
}

static void (*const builders[])(struct wire *w) = {
	build_query, build_srv,	     build_cname,	build_aaaa,
	build_many,  build_nxdomain, build_root_target, build_glibc_query,
};

#define N_BUILDERS (sizeof(builders) / sizeof(builders[0]))

/* Behind the message lies memory that may not be touched. */
static enum dns_status parse_exact(const uint8_t *data, size_t len, size_t msg_len, struct dns_message *m)
{
	uint8_t *copy = malloc(len ? len : 1);
	enum dns_status st;

	assert_non_null(copy);
	memcpy(copy, data, len);
	memset(m, 0xa5, sizeof(*m));
	st = dns_parse(copy, len, msg_len, m);
	free(copy);
	return st;
}

static enum dns_status parse(const struct wire *w, struct dns_message *m)
{
	return parse_exact(w->data, w->len, w->len, m);
}

/* --- Fields --- */

static void test_query(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	build_query(&w);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_int_equal(m.id, 0x1234);
	assert_false(m.response);
	assert_false(m.truncated);
	assert_int_equal(m.opcode, 0);
	assert_int_equal(m.n_questions, 1);
	assert_true(m.has_question);
	assert_string_equal(m.qname, "_xmpp-component._tcp.example.com");
	assert_int_equal(m.qtype, DNS_TYPE_SRV);
	assert_int_equal(m.qclass, 1);
	assert_int_equal(m.n_answers, 0);
}

static void test_srv(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	build_srv(&w);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_true(m.response);
	assert_string_equal(m.qname, "_xMpP-Component._TCP.eXample.com");
	assert_int_equal(m.n_answers, 2);
	assert_int_equal(m.answers[0].type, DNS_TYPE_SRV);
	assert_int_equal(m.answers[0].ttl, 60);
	assert_int_equal(m.answers[0].priority, 5);
	assert_int_equal(m.answers[0].weight, 10);
	assert_int_equal(m.answers[0].port, 5223);
	assert_string_equal(m.answers[0].target, "xmpp1.example.com");
	assert_string_equal(m.answers[0].owner, "_xMpP-Component._TCP.eXample.com");
	assert_string_equal(m.answers[1].target, "xmpp2.example.com");
	build_root_target(&w);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_string_equal(m.answers[0].target, ".");
}

static void test_addresses(void **state)
{
	static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
	static struct wire w;
	static struct dns_message m;

	(void)state;
	build_cname(&w);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_int_equal(m.n_answers, 3);
	assert_int_equal(m.n_other, 1);
	assert_string_equal(m.answers[0].owner, "www.example.com");
	assert_string_equal(m.answers[0].target, "alias.example.com");
	assert_string_equal(m.answers[1].owner, "alias.example.com");
	assert_string_equal(m.answers[1].target, "real.alias.example.com");
	assert_string_equal(m.answers[2].owner, "real.alias.example.com");
	assert_memory_equal(m.answers[2].addr, mapped, 16);

	build_aaaa(&w);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_int_equal(m.answers[0].addr[15], 15);
	assert_int_equal(m.rcode, 16); /* BADVERS, of which the header holds only 0 */

	build_many(&w);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_int_equal(m.n_answers, DNS_ANSWERS_MAX);
	assert_int_equal(m.n_dropped, 6);
}

static void test_other_class(void **state)
{
	static struct wire w;
	static struct dns_message m;
	size_t rdata;

	(void)state;
	put_header(&w, 1, 0x8180, 0, 1, 0, 0);
	put_name(&w, "version.bind");
	rdata = put_record(&w, DNS_TYPE_A, 3, 0);
	put_rdata_end(&w, rdata);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_false(m.has_question);
	assert_int_equal(m.n_answers, 0);
	assert_int_equal(m.n_other, 1);
}

static void test_escapes(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	put_header(&w, 1, 0x0100, 1, 0, 0, 0);
	put8(&w, 7);
	for (const char *p = "a.\\ \n\xff*"; *p; p++)
		put8(&w, (unsigned char)*p);
	put_question(&w, "x-_9", DNS_TYPE_A);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_string_equal(m.qname, "a\\.\\\\\\032\\010\\255\\042.x-_9");

	/* 63 octets of four characters each are 252, 64 are 256 and leave no room for the NUL. */
	put_header(&w, 1, 0x0100, 1, 0, 0, 0);
	put8(&w, 63);
	for (int i = 0; i < 63; i++)
		put8(&w, 0);
	put_question(&w, "", DNS_TYPE_A);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_int_equal(strlen(m.qname), 252);
	w.len -= 5;
	put8(&w, 1);
	put8(&w, 0);
	put_question(&w, "", DNS_TYPE_A);
	assert_int_equal(parse(&w, &m), DNS_MALFORMED);
}

/* --- Against glibc --- */

static void oracle_name(const struct wire *w, const u_char *at, const char *mine)
{
	char name[NS_MAXDNAME];

	assert_true(ns_name_uncompress(w->data, w->data + w->len, at, name, sizeof(name)) >= 0);
	assert_string_equal(name[0] ? name : ".", mine);
}

static void oracle_record(const struct wire *w, const ns_rr *rr, const struct dns_answer *a)
{
	assert_int_equal(ns_rr_type(*rr), a->type);
	assert_int_equal(ns_rr_ttl(*rr), a->ttl);
	assert_string_equal(ns_rr_name(*rr), a->owner);
	switch (a->type) {
	case DNS_TYPE_A:
		assert_memory_equal(ns_rr_rdata(*rr), a->addr + 12, 4);
		break;
	case DNS_TYPE_AAAA:
		assert_memory_equal(ns_rr_rdata(*rr), a->addr, 16);
		break;
	case DNS_TYPE_SRV:
		assert_int_equal(ns_get16(ns_rr_rdata(*rr)), a->priority);
		assert_int_equal(ns_get16(ns_rr_rdata(*rr) + 2), a->weight);
		assert_int_equal(ns_get16(ns_rr_rdata(*rr) + 4), a->port);
		oracle_name(w, ns_rr_rdata(*rr) + 6, a->target);
		break;
	default:
		oracle_name(w, ns_rr_rdata(*rr), a->target);
	}
}

static void test_oracle(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	for (size_t b = 0; b < N_BUILDERS; b++) {
		unsigned int kept = 0, other = 0;
		ns_msg msg;
		ns_rr rr;

		builders[b](&w);
		assert_int_equal(parse(&w, &m), DNS_OK);
		assert_int_equal(ns_initparse(w.data, (int)w.len, &msg), 0);
		assert_int_equal(ns_msg_id(msg), m.id);
		assert_int_equal(ns_msg_getflag(msg, ns_f_qr), m.response);
		assert_int_equal(ns_msg_getflag(msg, ns_f_tc), m.truncated);
		assert_int_equal(ns_msg_getflag(msg, ns_f_rcode), m.rcode & 0xf);
		assert_int_equal(ns_msg_count(msg, ns_s_qd), m.n_questions);
		assert_int_equal(ns_parserr(&msg, ns_s_qd, 0, &rr), 0);
		assert_string_equal(ns_rr_name(rr), m.qname);
		assert_int_equal(ns_rr_type(rr), m.qtype);
		for (int i = 0; i < ns_msg_count(msg, ns_s_an); i++) {
			assert_int_equal(ns_parserr(&msg, ns_s_an, i, &rr), 0);
			if (ns_rr_type(rr) == ns_t_txt)
				other++;
			else if (kept < DNS_ANSWERS_MAX)
				oracle_record(&w, &rr, &m.answers[kept++]);
		}
		assert_int_equal(kept, m.n_answers);
		assert_int_equal(other, m.n_other);
	}
}

/* --- Truncation --- */

static void check_prefix(const struct dns_message *part, const struct dns_message *whole, size_t len)
{
	if (len >= 2)
		assert_int_equal(part->id, whole->id);
	if (len >= 4)
		assert_int_equal(part->rcode & 0xf, whole->rcode & 0xf);
	assert_true(!part->has_question || whole->has_question);
	if (part->has_question)
		assert_string_equal(part->qname, whole->qname);
	else
		assert_string_equal(part->qname, "");
	assert_true(part->n_answers <= whole->n_answers);
	assert_true(part->n_other <= whole->n_other);
	assert_true(part->n_dropped <= whole->n_dropped);
	for (size_t i = 0; i < part->n_answers; i++)
		assert_memory_equal(&part->answers[i], &whole->answers[i], sizeof(part->answers[i]));
}

static void test_truncation(void **state)
{
	static struct wire w;
	static struct dns_message whole, part;

	(void)state;
	for (size_t b = 0; b < N_BUILDERS; b++) {
		builders[b](&w);
		assert_int_equal(parse(&w, &whole), DNS_OK);
		for (size_t len = 0; len < w.len; len++) {
			assert_int_equal(parse_exact(w.data, len, w.len, &part), DNS_TRUNCATED_CAPTURE);
			check_prefix(&part, &whole, len);
			/* The same bytes as a whole message are wrong, not cut. */
			assert_int_equal(parse_exact(w.data, len, len, &part), DNS_MALFORMED);
			check_prefix(&part, &whole, len);
		}
		put8(&w, 0);
		assert_int_equal(parse(&w, &part), DNS_MALFORMED);
	}
}

static void test_tc(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	build_many(&w);
	w.data[2] |= 0x02;
	for (size_t len = 12; len <= w.len; len++) {
		assert_int_equal(parse_exact(w.data, len, len, &m), DNS_OK);
		assert_true(m.truncated);
	}
	assert_int_equal(parse_exact(w.data, 100, 200, &m), DNS_TRUNCATED_CAPTURE);
}

/* --- What is wrong --- */

static void wrong(const struct wire *w)
{
	static struct dns_message m;

	assert_int_equal(parse(w, &m), DNS_MALFORMED);
}

static void test_pointers(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	put_header(&w, 1, 0, 1, 0, 0, 0); /* to itself */
	put_pointer(&w, 12);
	put32(&w, 0x00010001);
	wrong(&w);
	put_header(&w, 1, 0, 1, 0, 0, 0); /* forward */
	put_pointer(&w, 18);
	put32(&w, 0x00010001);
	put_name(&w, "x");
	wrong(&w);
	put_header(&w, 1, 0, 1, 0, 0, 0); /* back into the run of labels that it ends: a loop */
	put8(&w, 1);
	put8(&w, 'a');
	put_pointer(&w, 12);
	put32(&w, 0x00010001);
	wrong(&w);
	put_header(&w, 1, 0, 1, 0, 0, 0); /* into the header */
	put_pointer(&w, 4);
	put32(&w, 0x00010001);
	wrong(&w);
	put_header(&w, 1, 0, 1, 0, 0, 0); /* label types 01 and 10 */
	put8(&w, 0x41);
	put8(&w, 0);
	put32(&w, 0x00010001);
	wrong(&w);
	w.data[12] = 0x81;
	wrong(&w);
	/* Only the second byte of the pointer is missing. */
	put_header(&w, 1, 0, 1, 0, 0, 0);
	put8(&w, 0xc0);
	assert_int_equal(parse_exact(w.data, w.len, w.len + 5, &m), DNS_TRUNCATED_CAPTURE);
}

/* Jumps that all go back, more of them than a name can need. */
static void test_pointer_chain(void **state)
{
	static struct wire w;
	size_t rdata;

	(void)state;
	put_header(&w, 1, 0, 1, 2, 0, 0);
	put_question(&w, "", DNS_TYPE_A);
	put8(&w, 0);
	rdata = put_record(&w, 16, 1, 1);
	put_pointer(&w, 12);
	for (int i = 0; i < 200; i++)
		put_pointer(&w, w.len - 2);
	put_rdata_end(&w, rdata);
	put_pointer(&w, w.len - 2);
	put_a(&w, 1);
	wrong(&w);
}

static void test_long_names(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	/* 127 labels of one octet: 255 with the root. */
	put_header(&w, 1, 0, 1, 0, 0, 0);
	for (int i = 0; i < 127; i++) {
		put8(&w, 1);
		put8(&w, 'a');
	}
	put_question(&w, "", DNS_TYPE_A);
	assert_int_equal(parse(&w, &m), DNS_OK);
	assert_int_equal(strlen(m.qname), 253);
	w.len -= 5;
	put8(&w, 1);
	put8(&w, 'a');
	put_question(&w, "", DNS_TYPE_A);
	wrong(&w);
	/* The same by way of a pointer. */
	put_header(&w, 1, 0, 1, 1, 0, 0);
	for (int i = 0; i < 127; i++) {
		put8(&w, 1);
		put8(&w, 'a');
	}
	put_question(&w, "", DNS_TYPE_A);
	put8(&w, 1);
	put8(&w, 'b');
	put_pointer(&w, 12);
	put_a(&w, 1);
	wrong(&w);
}

static void test_rdata(void **state)
{
	static struct wire w;
	static const struct {
		uint16_t type;
		uint8_t len;
		uint8_t data[20];
	} bad[] = {
		{DNS_TYPE_A, 3, {1, 2, 3}},
		{DNS_TYPE_A, 5, {1, 2, 3, 4, 5}},
		{DNS_TYPE_A, 0, {0}},
		{DNS_TYPE_AAAA, 4, {1, 2, 3, 4}},
		{DNS_TYPE_SRV, 6, {0, 0, 0, 0, 20, 103}},
		{DNS_TYPE_SRV, 8, {0, 0, 0, 0, 20, 103, 0, 0}},	  /* a byte behind the target */
		{DNS_TYPE_SRV, 8, {0, 0, 0, 0, 20, 103, 1, 'a'}}, /* the target leaves the rdata */
		{DNS_TYPE_SRV, 7, {0, 0, 0, 0, 20, 103, 0xc0}},	  /* so does half a pointer */
		{DNS_TYPE_CNAME, 0, {0}},
		{DNS_TYPE_CNAME, 2, {0, 0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t rdata;

		put_header(&w, 1, 0x8180, 1, 2, 0, 0);
		put_question(&w, "a.b", bad[i].type);
		put_pointer(&w, 12);
		rdata = put_record(&w, bad[i].type, 1, 1);
		for (size_t k = 0; k < bad[i].len; k++)
			put8(&w, bad[i].data[k]);
		put_rdata_end(&w, rdata);
		put_pointer(&w, 12);
		put_a(&w, 1);
		wrong(&w);
	}
}

static void test_counts(void **state)
{
	static struct wire w;
	static struct dns_message m;

	(void)state;
	for (size_t at = 4; at < 12; at += 2) {
		build_srv(&w);
		w.data[at] = 0xff;
		w.data[at + 1] = 0xff;
		wrong(&w);
		build_srv(&w);
		w.data[at + 1]++;
		wrong(&w);
	}
	build_srv(&w);
	parse_exact(w.data, w.len, w.len - 1, &m); /* a length that lies is no reason to read past it */
	/* rdlength beyond the message is wrong even where the capture is cut. */
	build_nxdomain(&w);
	w.data[7] = 1;
	put_pointer(&w, 12);
	put_a(&w, 1);
	w.data[w.len - 5] = 200;
	assert_int_equal(parse_exact(w.data, w.len - 2, w.len, &m), DNS_MALFORMED);
	/* Two OPT records; an OPT that has a name. */
	put_header(&w, 1, 0x8180, 0, 0, 0, 2);
	put_opt(&w, 0);
	put_opt(&w, 0);
	wrong(&w);
	put_header(&w, 1, 0x8180, 0, 0, 0, 1);
	put_name(&w, "x");
	put_rdata_end(&w, put_record(&w, DNS_TYPE_OPT, 512, 0));
	wrong(&w);
}

/* Whatever bytes change, nothing is read or written out of bounds (run with sanitizers) and the result is bounded. */
static void test_mutations(void **state)
{
	static struct wire w;
	static struct dns_message m;
	unsigned int seed = 1;

	(void)state;
	for (size_t b = 0; b < N_BUILDERS; b++)
		for (int round = 0; round < 2000; round++) {
			builders[b](&w);
			for (int k = 0; k < 4; k++) {
				seed = seed * 1103515245 + 12345;
				w.data[(seed >> 8) % w.len] = (uint8_t)(seed >> 24);
			}
			parse_exact(w.data, w.len, w.len, &m);
			assert_true(m.n_answers <= DNS_ANSWERS_MAX);
			parse_exact(w.data, (seed >> 4) % w.len, w.len, &m);
		}
}

/* --- Text --- */

static void test_name_equal(void **state)
{
	(void)state;
	assert_true(dns_name_equal("Example.COM", "example.com"));
	assert_true(dns_name_equal("example.com.", "example.com"));
	assert_true(dns_name_equal(".", ""));
	assert_false(dns_name_equal("example.com", "example.co"));
	assert_false(dns_name_equal("example.com", "xexample.com"));
	assert_false(dns_name_equal("a\\.", "a\\"));
	assert_true(dns_name_equal("a\\\\.", "a\\\\"));
	assert_false(dns_name_equal("a@", "a`")); /* differ by bit 5, are no letters */
	assert_false(dns_name_equal("\xc3\x84", "\xc3\xa4"));
}

static void test_component_domain(void **state)
{
	static const struct {
		const char *qname, *domain;
	} t[] = {
		{"_xmpp-component._tcp.example.com", "example.com"},
		{"_xmpp-components._tcp.example.com", "example.com"},
		{"_XMPP-Component._TCP.Example.com", "Example.com"},
		{"_xmpp-component._tcp.com", "com"},
		{"_xmpp-component._tcp", NULL},
		{"_xmpp-component._tcp.", NULL},
		{"_xmpp-componentz._tcp.example.com", NULL},
		{"_xmpp-component._udp.example.com", NULL},
		{"_xmpp-server._tcp.example.com", NULL},
		{"x_xmpp-component._tcp.example.com", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const char *d = dns_component_domain(t[i].qname);

		if (t[i].domain)
			assert_string_equal(d, t[i].domain);
		else
			assert_null(d);
	}
}

static void test_number_names(void **state)
{
	char buf[12];

	(void)state;
	assert_string_equal(dns_type_name(DNS_TYPE_A, buf, sizeof(buf)), "A");
	assert_string_equal(dns_type_name(DNS_TYPE_SRV, buf, sizeof(buf)), "SRV");
	assert_string_equal(dns_type_name(64, buf, sizeof(buf)), "TYPE64");
	assert_string_equal(dns_type_name(65535, buf, sizeof(buf)), "TYPE65535");
	assert_string_equal(dns_rcode_name(0, buf, sizeof(buf)), "NOERROR");
	assert_string_equal(dns_rcode_name(5, buf, sizeof(buf)), "REFUSED");
	assert_string_equal(dns_rcode_name(16, buf, sizeof(buf)), "RCODE16");
	assert_string_equal(dns_rcode_name(4095, buf, sizeof(buf)), "RCODE4095");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_query),	     cmocka_unit_test(test_srv),
		cmocka_unit_test(test_addresses),    cmocka_unit_test(test_other_class),
		cmocka_unit_test(test_escapes),	     cmocka_unit_test(test_oracle),
		cmocka_unit_test(test_truncation),   cmocka_unit_test(test_tc),
		cmocka_unit_test(test_pointers),     cmocka_unit_test(test_pointer_chain),
		cmocka_unit_test(test_long_names),   cmocka_unit_test(test_rdata),
		cmocka_unit_test(test_counts),	     cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_name_equal),   cmocka_unit_test(test_component_domain),
		cmocka_unit_test(test_number_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
