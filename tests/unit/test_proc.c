// SPDX-License-Identifier: BSD-2-Clause
/* Texts of /proc, and the table of processes on a made-up /proc. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "event.h"
#include "proc.h"

#define SECOND 1000000000ULL

#define NET_HEAD                                                                                                 \
	"   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref " \
	"pointer "                                                                                               \
	"drops\n"
#define NET_53(inode)                                                                                        \
	"  316: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 " inode \
	" 2 00000000a 0\n"
#define NET_54(inode)                                                                                        \
	"  317: 0100007F:0036 00000000:0035 01 00000000:00000000 00:00000000 00000000   101        0 " inode \
	" 2 00000000a 0\n"

static void cgroup_path_is_the_line_of_version_2(void **state)
{
	static const struct {
		const char *text, *path;
		int result;
	} cases[] = {
		{"0::/\n", "/", 0},
		{"0::/system.slice/x.service\n", "/system.slice/x.service", 0},
		{"9:name=systemd:/a\n4:memory:/b\n0::/c", "/c", 0},
		{"0::/c (deleted)\n", "/c", 0},
		{"0:://x\n", "//x", 0},
		{"1:cpu:0::/x\n", NULL, -ENOENT},
		{"9:name=systemd:/a\n", NULL, -ENOENT},
		{"0::", NULL, -ENOENT},
		{"", NULL, -ENOENT},
		{"0::/123456789012345\n", NULL, -ENAMETOOLONG},
		{"0::/12345678901234\n", "/12345678901234", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[24] = "unset";
		int r = proc_parse_cgroup(cases[i].text, path, cases[i].result == -ENAMETOOLONG ? 16 : sizeof(path));

		if (r != cases[i].result || strcmp(path, r == 0 ? cases[i].path : "unset") != 0)
			fail_msg("'%s': %d %s", cases[i].text, r, path);
	}
}

static void start_time_is_field_22(void **state)
{
	static const char good[] = "42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2 3\n";
	uint64_t ticks = 7;

	(void)state;
	assert_int_equal(proc_parse_start_time(good, &ticks), 0);
	assert_int_equal(ticks, 98765);
	for (size_t len = 0; len < strlen("42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 "); len++) {
		char *cut = strndup(good, len);

		ticks = 7;
		if (proc_parse_start_time(cut, &ticks) == 0)
			fail_msg("accepted '%s'", cut);
		assert_int_equal(ticks, 7);
		free(cut);
	}
	assert_int_equal(proc_parse_start_time("1 (x) S 1 1 1 0 -1 1 1 2 3 4 5 6 7 8 20 0 1 0 -5 1\n", &ticks),
			 -EBADMSG);
}

static void sockets_on_port_53_are_found(void **state)
{
	uint64_t inodes[4];

	(void)state;
	assert_int_equal(proc_parse_port_53("", inodes, 4), 0);
	assert_int_equal(proc_parse_port_53(NET_HEAD, inodes, 4), 0);
	assert_int_equal(proc_parse_port_53(NET_HEAD NET_54("9"), inodes, 4), 0);
	assert_int_equal(proc_parse_port_53(NET_HEAD NET_54("9") NET_53("4294967297") NET_53("8"), inodes, 4), 2);
	assert_int_equal(inodes[0], 4294967297);
	assert_int_equal(inodes[1], 8);
	assert_int_equal(proc_parse_port_53(NET_HEAD NET_53("1") NET_53("2") NET_53("3"), inodes, 2), 2);
	assert_int_equal(proc_parse_port_53(NET_HEAD NET_53("1"), inodes, 0), 0);
	assert_int_equal(proc_parse_port_53(NET_HEAD NET_53("0"), inodes, 4), 0);
	assert_int_equal(proc_parse_port_53(NET_HEAD
					    "  1: 00000000000000000000000000000000:0035 0:0 07 0 0 0 0 0 5 2\n",
					    inodes, 4),
			 1);
	assert_int_equal(inodes[0], 5);
	/* Cut and damaged lines. */
	assert_int_equal(proc_parse_port_53(NET_HEAD "  316: 3500007F:0035 0:0 07", inodes, 4), 0);
	assert_int_equal(proc_parse_port_53(NET_HEAD "  316: 0035 0:0 07 0 0 0 0 0 5\n:\n\n : \n", inodes, 4), 0);
	assert_int_equal(proc_parse_port_53(NET_HEAD "  316: 0:0035 0:0 07 0 0 0 0 0 x5\n", inodes, 4), 0);
}

static void socket_links_are_told_apart(void **state)
{
	uint64_t inode = 0;

	(void)state;
	assert_true(proc_parse_socket_link("socket:[123]", &inode));
	assert_int_equal(inode, 123);
	assert_false(proc_parse_socket_link("socket:[]", &inode));
	assert_false(proc_parse_socket_link("socket:[", &inode));
	assert_false(proc_parse_socket_link("socket:[12", &inode));
	assert_false(proc_parse_socket_link("socket:[-12]", &inode));
	assert_false(proc_parse_socket_link("socket:[12x]", &inode));
	assert_false(proc_parse_socket_link("pipe:[123]", &inode));
	assert_false(proc_parse_socket_link("/dev/null", &inode));
	assert_false(proc_parse_socket_link("", &inode));
}

/* --- A made-up /proc --- */

struct fake {
	char dir[64];
	struct proc_table *table;
	uint64_t now;
};

static void fake_write(const struct fake *f, const char *path, const char *text)
{
	char full[256];
	FILE *out;

	snprintf(full, sizeof(full), "%s/%s", f->dir, path);
	out = fopen(full, "w");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void fake_process(const struct fake *f, unsigned int tgid, unsigned int start, const char *net,
			 const char *socket)
{
	static const char *const dirs[] = {"", "/net", "/ns", "/fd"};
	char path[128], full[256], text[256];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(full, sizeof(full), "%s/%u%s", f->dir, tgid, dirs[i]);
		assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
	}
	snprintf(path, sizeof(path), "%u/stat", tgid);
	snprintf(text, sizeof(text), "%u (x) S 1 1 1 0 -1 1 1 2 3 4 5 6 7 8 20 0 1 0 %u 1\n", tgid, start);
	fake_write(f, path, text);
	snprintf(path, sizeof(path), "%u/comm", tgid);
	fake_write(f, path, "worker\n");
	snprintf(path, sizeof(path), "%u/cgroup", tgid);
	snprintf(text, sizeof(text), "0::/p%u\n", tgid);
	fake_write(f, path, text);
	snprintf(path, sizeof(path), "%u/net/udp", tgid);
	fake_write(f, path, net);
	snprintf(path, sizeof(path), "%u/ns/net", tgid);
	fake_write(f, path, "");
	snprintf(full, sizeof(full), "%s/%u/fd/3", f->dir, tgid);
	unlink(full);
	assert_int_equal(symlink(socket, full), 0);
}

static int setup(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/cbtrace-proc-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->table = proc_table_new(f->dir, NULL);
	assert_non_null(f->table);
	f->now = 100 * SECOND;
	*state = f;
	return 0;
}

static int unlink_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void fake_remove(const struct fake *f, const char *path)
{
	char full[128];

	snprintf(full, sizeof(full), "%s/%s", f->dir, path);
	assert_int_equal(nftw(full, unlink_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static int teardown(void **state)
{
	struct fake *f = *state;

	fake_remove(f, "");
	proc_table_free(f->table);
	free(f);
	return 0;
}

/* Shows the table an event of @tgid that happened at f->now. */
static const struct cbt_ev_proc *observe(struct fake *f, uint16_t type, uint32_t tgid)
{
	union {
		struct cbt_hdr h;
		struct cbt_ev_dns dns;
		struct cbt_ev_connect connect;
		struct cbt_ev_exec exec;
	} ev = {.h = {.ts = f->now, .cookie = 1, .type = type, .tgid = tgid}};
	const struct cbt_ev_proc *p;

	ev.h.len = sizeof(ev.h); /* not looked at */
	p = proc_table_observe(f->table, &ev.h, f->now);
	if (p) {
		assert_int_equal(event_check(p, p->h.len), 0);
		assert_int_equal(p->h.ts, f->now);
		assert_int_equal(p->h.tgid, tgid);
	}
	return p;
}

static void assert_proc(const struct cbt_ev_proc *p, const char *path, bool forwarder)
{
	assert_non_null(p);
	assert_int_equal(p->path_len, strlen(path));
	assert_memory_equal(p->path, path, p->path_len);
	assert_int_equal(p->flags, forwarder ? CBT_PROC_FORWARDER : 0);
}

static void a_process_is_told_once(void **state)
{
	struct fake *f = *state;

	fake_process(f, 10, 500, NET_HEAD NET_53("77"), "socket:[78]");
	assert_null(observe(f, CBT_EV_TCP, 10));
	assert_proc(observe(f, CBT_EV_DNS, 10), "/p10", false);
	assert_null(observe(f, CBT_EV_DNS, 10));
	assert_null(observe(f, CBT_EV_CONNECT, 10));
	assert_null(observe(f, CBT_EV_DNS, 0));
	f->now += 10 * SECOND;
	assert_null(observe(f, CBT_EV_CONNECT, 10));
}

static void what_was_told_waits_to_be_recorded(void **state)
{
	struct fake *f = *state;
	const struct cbt_ev_proc *p;

	fake_process(f, 10, 500, NET_HEAD, "socket:[78]");
	assert_null(proc_table_unrecorded(f->table, 10));
	p = observe(f, CBT_EV_DNS, 10);
	assert_non_null(p);
	assert_ptr_equal(proc_table_unrecorded(f->table, 10), p);
	f->now += 10 * SECOND;
	assert_null(observe(f, CBT_EV_CONNECT, 10));
	assert_ptr_equal(proc_table_unrecorded(f->table, 10), p);
	proc_table_recorded(f->table, 10);
	assert_null(proc_table_unrecorded(f->table, 10));
	assert_null(observe(f, CBT_EV_EXEC, 10));
	assert_non_null(observe(f, CBT_EV_DNS, 10));
	assert_non_null(proc_table_unrecorded(f->table, 10));
	assert_null(proc_table_unrecorded(f->table, 0));
	proc_table_recorded(f->table, 11);
}

static void a_forwarder_holds_a_socket_on_port_53(void **state)
{
	struct fake *f = *state;

	fake_process(f, 11, 500, NET_HEAD NET_53("76") NET_53("77"), "socket:[77]");
	assert_proc(observe(f, CBT_EV_DNS, 11), "/p11", true);
	fake_process(f, 12, 500, NET_HEAD NET_54("77"), "socket:[77]");
	assert_proc(observe(f, CBT_EV_DNS, 12), "/p12", false);
}

static void exec_and_exit_start_anew(void **state)
{
	struct fake *f = *state;

	fake_process(f, 13, 500, NET_HEAD, "socket:[77]");
	assert_proc(observe(f, CBT_EV_CONNECT, 13), "/p13", false);
	f->now += SECOND;
	fake_process(f, 13, 500, NET_HEAD NET_53("77"), "socket:[77]");
	assert_null(observe(f, CBT_EV_EXEC, 13));
	assert_proc(observe(f, CBT_EV_DNS, 13), "/p13", true);
	assert_null(observe(f, CBT_EV_EXIT, 13));
	assert_proc(observe(f, CBT_EV_DNS, 13), "/p13", true);
}

static void a_reused_pid_is_another_process(void **state)
{
	struct fake *f = *state;

	fake_process(f, 14, 500, NET_HEAD, "socket:[77]");
	assert_proc(observe(f, CBT_EV_CONNECT, 14), "/p14", false);
	fake_process(f, 14, 501, NET_HEAD, "socket:[77]");
	f->now += 2 * SECOND;
	assert_proc(observe(f, CBT_EV_CONNECT, 14), "/p14", false);
	f->now += 2 * SECOND;
	assert_null(observe(f, CBT_EV_CONNECT, 14));
}

static void a_vanished_process_is_not_told(void **state)
{
	struct fake *f = *state;

	assert_null(observe(f, CBT_EV_CONNECT, 15));
	f->now += 2 * SECOND;
	assert_null(observe(f, CBT_EV_CONNECT, 15));
	/* One that has gone after it was seen stays what it was. */
	fake_process(f, 16, 500, NET_HEAD, "socket:[77]");
	assert_proc(observe(f, CBT_EV_CONNECT, 16), "/p16", false);
	fake_remove(f, "16");
	f->now += 2 * SECOND;
	assert_null(observe(f, CBT_EV_DNS, 16));
}

/* The sockets of a namespace are kept a moment: what a process bound in that moment is seen a little later. */
static void a_forwarder_that_has_just_started_is_corrected(void **state)
{
	struct fake *f = *state;
	char old[128], new[128];

	fake_process(f, 17, 500, NET_HEAD, "socket:[1]");
	assert_proc(observe(f, CBT_EV_DNS, 17), "/p17", false);
	fake_process(f, 18, 510, NET_HEAD NET_53("77"), "socket:[77]");
	/* The same network namespace. */
	snprintf(old, sizeof(old), "%s/17/ns/net", f->dir);
	snprintf(new, sizeof(new), "%s/18/ns/net", f->dir);
	assert_int_equal(unlink(new), 0);
	assert_int_equal(link(old, new), 0);
	f->now += SECOND / 10;
	assert_proc(observe(f, CBT_EV_DNS, 18), "/p18", false);
	f->now += SECOND / 2;
	assert_null(observe(f, CBT_EV_DNS, 18));
	f->now += SECOND;
	assert_proc(observe(f, CBT_EV_DNS, 18), "/p18", true);
	f->now += 2 * SECOND;
	assert_null(observe(f, CBT_EV_DNS, 18));
}

static void a_flood_of_processes_is_bounded(void **state)
{
	struct fake *f = *state;

	fake_process(f, 20, 500, NET_HEAD, "socket:[1]");
	assert_proc(observe(f, CBT_EV_DNS, 20), "/p20", false);
	for (uint32_t tgid = 1000; tgid < 20000; tgid++) {
		f->now++;
		assert_null(observe(f, CBT_EV_DNS, tgid));
	}
	assert_proc(observe(f, CBT_EV_DNS, 20), "/p20", false);
}

static void facts_of_one_process(void **state)
{
	struct fake *f = *state;
	struct proc_facts facts;

	fake_process(f, 21, 500, NET_HEAD NET_53("7"), "socket:[7]");
	assert_int_equal(proc_table_facts(f->table, 21, f->now, &facts), 0);
	assert_string_equal(facts.comm, "worker");
	assert_string_equal(facts.cgroup, "/p21");
	assert_true(facts.forwarder);
	assert_int_equal(facts.start_time, 500);
	assert_int_equal(proc_table_facts(f->table, 22, f->now, &facts), -ESRCH);
}

#define ON_FAKE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cgroup_path_is_the_line_of_version_2),
		cmocka_unit_test(start_time_is_field_22),
		cmocka_unit_test(sockets_on_port_53_are_found),
		cmocka_unit_test(socket_links_are_told_apart),
		ON_FAKE(a_process_is_told_once),
		ON_FAKE(what_was_told_waits_to_be_recorded),
		ON_FAKE(a_forwarder_holds_a_socket_on_port_53),
		ON_FAKE(exec_and_exit_start_anew),
		ON_FAKE(a_reused_pid_is_another_process),
		ON_FAKE(a_vanished_process_is_not_told),
		ON_FAKE(a_forwarder_that_has_just_started_is_corrected),
		ON_FAKE(a_flood_of_processes_is_bounded),
		ON_FAKE(facts_of_one_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
