// SPDX-License-Identifier: BSD-2-Clause
/* The event contract as the user side checks it: every type, every truncation, every field that can lie. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "event.h"

#define PAYLOAD 40
#define ROOM	(CBT_DATA_MAX + 1024)

union event {
	struct cbt_hdr h;
	struct cbt_ev_dns dns;
	struct cbt_ev_tcp tcp;
	struct cbt_ev_connect connect;
	struct cbt_ev_state state;
	struct cbt_ev_exec exec;
	struct cbt_ev_host host;
	struct cbt_ev_proc proc;
	struct cbt_ev_lib_cert cert;
	struct cbt_ev_lib_element element;
	struct cbt_ev_lib_close close;
	struct cbt_ev_lib_proc lib_proc;
	char bytes[ROOM];
};

static const struct {
	uint16_t type;
	const char *name;
	uint32_t fixed;
	uint32_t payload;
} kinds[] = {
	{CBT_EV_DNS, "dns", sizeof(struct cbt_ev_dns), PAYLOAD},
	{CBT_EV_TCP, "tcp", sizeof(struct cbt_ev_tcp), PAYLOAD},
	{CBT_EV_CONNECT, "connect", sizeof(struct cbt_ev_connect), 0},
	{CBT_EV_STATE, "state", sizeof(struct cbt_ev_state), 0},
	{CBT_EV_RELEASE, "release", sizeof(struct cbt_ev_release), 0},
	{CBT_EV_EXEC, "exec", sizeof(struct cbt_ev_exec), 0},
	{CBT_EV_EXIT, "exit", sizeof(struct cbt_ev_exit), 0},
	{CBT_EV_HOST, "host", sizeof(struct cbt_ev_host), 0},
	{CBT_EV_CLOCK, "clock", sizeof(struct cbt_ev_clock), 0},
	{CBT_EV_PROC, "proc", sizeof(struct cbt_ev_proc), PAYLOAD},
	{CBT_EV_LOST, "lost", sizeof(struct cbt_ev_lost), 0},
	{CBT_EV_END, "end", sizeof(struct cbt_ev_end), 0},
	{CBT_EV_LIB_HELLO, "lib_hello", sizeof(struct cbt_ev_lib_hello), 0},
	{CBT_EV_LIB_CERT, "lib_cert", sizeof(struct cbt_ev_lib_cert), PAYLOAD},
	{CBT_EV_LIB_ERROR, "lib_error", sizeof(struct cbt_ev_lib_error), 0},
	{CBT_EV_LIB_ELEMENT, "lib_element", sizeof(struct cbt_ev_lib_element), PAYLOAD},
	{CBT_EV_LIB_CLOSE, "lib_close", sizeof(struct cbt_ev_lib_close), 0},
	{CBT_EV_LIB_PROC, "lib_proc", sizeof(struct cbt_ev_lib_proc), 0},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* A well-formed event of row @k with @payload bytes behind its fixed part. */
static void make(union event *e, size_t k, uint32_t payload)
{
	memset(e, 0, sizeof(*e));
	e->h.type = kinds[k].type;
	e->h.len = kinds[k].fixed + payload;
	switch (kinds[k].type) {
	case CBT_EV_DNS:
		e->dns.msg_len = e->dns.data_len = (uint16_t)payload;
		break;
	case CBT_EV_TCP:
		e->tcp.data_len = (uint16_t)payload;
		break;
	case CBT_EV_PROC:
		e->proc.path_len = (uint16_t)payload;
		break;
	case CBT_EV_LIB_CERT:
		e->cert.der_len = e->cert.data_len = (uint16_t)payload;
		break;
	case CBT_EV_LIB_ELEMENT:
		e->element.kind = CBT_ELEMENT_CHILD;
		e->element.data_len = (uint16_t)payload;
		break;
	case CBT_EV_LIB_CLOSE:
		e->close.how = CBT_CLOSE_FREE;
		break;
	case CBT_EV_LIB_PROC:
		e->lib_proc.state = CBT_LIBRARY_ARMED;
		break;
	default:
		break;
	}
	memset(e->bytes + kinds[k].fixed, 'x', payload);
}

static size_t row(uint16_t type)
{
	for (size_t k = 0; k < KINDS; k++)
		if (kinds[k].type == type)
			return k;
	fail_msg("no row for type %u", type);
	return 0;
}

/* In memory of exactly the size told, so that a sanitizer sees a look beyond it. */
static int check_exact(const union event *e, size_t size)
{
	void *copy = malloc(size ? size : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, e, size);
	r = event_check(copy, size);
	free(copy);
	return r;
}

static void test_each_type(void **state)
{
	union event e;

	(void)state;
	for (size_t k = 0; k < KINDS; k++) {
		make(&e, k, kinds[k].payload);
		assert_int_equal(check_exact(&e, e.h.len), 0);
		/* A ring slot is larger than its event. */
		assert_int_equal(check_exact(&e, e.h.len + 64), 0);
		make(&e, k, 0);
		assert_int_equal(check_exact(&e, e.h.len), 0);
	}
}

/* The bytes end before the event does. */
static void test_every_truncation(void **state)
{
	union event e;

	(void)state;
	for (size_t k = 0; k < KINDS; k++) {
		make(&e, k, kinds[k].payload);
		for (size_t size = 0; size < e.h.len; size++)
			assert_int_equal(check_exact(&e, size), -EBADMSG);
	}
}

/* The event itself says less, or more, than its type and its data need. */
static void test_every_length(void **state)
{
	union event e;

	(void)state;
	for (size_t k = 0; k < KINDS; k++) {
		uint32_t right;

		make(&e, k, kinds[k].payload);
		right = e.h.len;
		for (uint32_t len = 0; len < right + 64; len++) {
			e.h.len = len;
			assert_int_equal(check_exact(&e, right + 64), len == right ? 0 : -EBADMSG);
		}
	}
}

static void test_head_alone(void **state)
{
	union event e;

	(void)state;
	make(&e, 0, 0);
	e.h.type = CBT_EV_NONE;
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	for (uint32_t type = CBT_EV_END + 1; type <= 0xffff; type++) {
		if (type >= CBT_EV_LIB_HELLO && type <= CBT_EV_LIB_PROC)
			continue;
		e.h.type = (uint16_t)type;
		e.h.len = sizeof(e.h);
		assert_int_equal(check_exact(&e, sizeof(e.h)), 0);
		e.h.len = sizeof(e.h) - 1;
		assert_int_equal(check_exact(&e, sizeof(e.h)), -EBADMSG);
	}
	e.h.len = UINT32_MAX;
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
}

static void test_dns(void **state)
{
	union event e;
	size_t k = row(CBT_EV_DNS);

	(void)state;
	make(&e, k, PAYLOAD);
	e.dns.msg_len = 60000; /* cut by the capture */
	assert_int_equal(event_check(&e, sizeof(e)), 0);
	e.dns.msg_len = PAYLOAD - 1;
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	make(&e, k, PAYLOAD);
	e.dns.dir = CBT_IN;
	assert_int_equal(event_check(&e, sizeof(e)), 0);
	e.dns.dir = CBT_IN + 1;
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	make(&e, k, PAYLOAD);
	memset(e.dns.owner.comm, 'c', sizeof(e.dns.owner.comm));
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
}

static void test_tcp(void **state)
{
	union event e;
	size_t k = row(CBT_EV_TCP);

	(void)state;
	make(&e, k, CBT_DATA_MAX);
	assert_int_equal(event_check(&e, sizeof(e)), 0);
	make(&e, k, CBT_DATA_MAX + 1);
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	make(&e, k, PAYLOAD);
	e.tcp.dir = CBT_IN + 1;
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	make(&e, k, PAYLOAD);
	e.tcp.part = CBT_PART_MORE + 1;
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	make(&e, k, PAYLOAD);
	e.tcp.verdict = CBT_VERDICT_DNS + 1;
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	/* Bytes held back until the proof: a part that belongs to no segment. */
	make(&e, k, 5);
	e.tcp.part = CBT_PART_MORE;
	e.tcp.verdict = CBT_VERDICT_TLS;
	assert_int_equal(event_check(&e, sizeof(e)), 0);
}

static void test_texts_end(void **state)
{
	union event e;

	(void)state;
	make(&e, row(CBT_EV_CONNECT), 0);
	memset(e.connect.owner.comm, 'c', sizeof(e.connect.owner.comm));
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	make(&e, row(CBT_EV_EXEC), 0);
	memset(e.exec.comm, 'c', sizeof(e.exec.comm));
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	e.exec.comm[CBT_COMM_LEN - 1] = '\0';
	assert_int_equal(event_check(&e, sizeof(e)), 0);
	for (size_t i = 0; i < 3; i++) {
		make(&e, row(CBT_EV_HOST), 0);
		memset((char *[]){e.host.host, e.host.kernel, e.host.boot_id}[i], 'h', CBT_NAME_LEN);
		assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	}
}

static void test_path(void **state)
{
	union event e;
	size_t k = row(CBT_EV_PROC);

	(void)state;
	make(&e, k, CBT_PATH_MAX);
	assert_int_equal(event_check(&e, sizeof(e)), 0);
	make(&e, k, CBT_PATH_MAX + 1);
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
	make(&e, k, PAYLOAD);
	e.proc.path[PAYLOAD - 1] = '\0';
	assert_int_equal(event_check(&e, sizeof(e)), -EBADMSG);
}

static void test_names(void **state)
{
	(void)state;
	for (size_t k = 0; k < KINDS; k++)
		assert_string_equal(event_type_name(kinds[k].type), kinds[k].name);
	assert_string_equal(event_type_name(CBT_EV_NONE), "unknown");
	assert_string_equal(event_type_name(CBT_EV_END + 1), "unknown");
	assert_string_equal(event_type_name(UINT16_MAX), "unknown");
	for (unsigned int stage = 0; stage < CBT_LOST_STAGES; stage++) {
		assert_non_null(event_lost_name(stage));
		assert_string_not_equal(event_lost_name(stage), "unknown");
	}
	assert_string_equal(event_lost_name(CBT_LOST_STAGES), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_type),    cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_every_length), cmocka_unit_test(test_head_alone),
		cmocka_unit_test(test_dns),	     cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_texts_end),    cmocka_unit_test(test_path),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
