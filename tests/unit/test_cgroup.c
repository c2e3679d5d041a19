// SPDX-License-Identifier: BSD-2-Clause
/* Finding cgroup2 mounts in mountinfo, and the place and scope of a cgroup in them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cgroup.h"

#define HEAD "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"

static void mounts_are_found(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		const char *dir, *root; /* of the first */
	} cases[] = {
		{"", 0, NULL, NULL},
		{HEAD, 0, NULL, NULL},
		{HEAD "31 23 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", 1, "/sys/fs/cgroup",
		 "/"},
		/* Version 1 beside it; no newline at the end; no tag and several tags. */
		{"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
		 "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 master:2 propagate_from:3 - cgroup2 cgroup2 "
		 "rw",
		 1, "/sys/fs/cgroup/unified", "/"},
		{"41 31 0:38 / /a\\040b\\011c\\134d rw - cgroup2 cgroup2 rw\n", 1, "/a b\tc\\d", "/"},
		/* A subtree comes after the whole hierarchy, wherever it stands. */
		{"41 31 0:38 /x.slice /mnt/sub rw - cgroup2 none rw\n41 31 0:38 / /mnt/all rw - cgroup2 none rw\n", 2,
		 "/mnt/all", "/"},
		{"41 31 0:38 /x.slice /mnt/sub rw - cgroup2 none rw\n", 1, "/mnt/sub", "/x.slice"},
		/* The later mount on the same point is the one that is seen. */
		{"41 31 0:38 / /m rw - cgroup2 none rw\n42 41 0:38 /y /m rw - cgroup2 none rw\n", 1, "/m", "/y"},
		/* Not cgroup2: the type stands after the hyphen; a prefix is no match; a cut line is skipped. */
		{"41 31 0:38 / /m rw - cgroup2x none rw\n", 0, NULL, NULL},
		{"41 31 0:38 / /m rw - cgroup cgroup2 rw\n", 0, NULL, NULL},
		{"41 31 0:38 / /cgroup2 rw - tmpfs - cgroup2\n", 0, NULL, NULL},
		{"41 31 0:38 / /m rw -\n41 31 0:38 / /m rw - \n41 31 0:38\n\n \n", 0, NULL, NULL},
		/* An escape that is none stays as it is; one for NUL makes the line unusable. */
		{"41 31 0:38 / /m\\9 rw - cgroup2 none rw\n", 1, "/m\\9", "/"},
		{"41 31 0:38 / /m\\04 rw - cgroup2 none rw\n", 1, "/m\\04", "/"},
		{"41 31 0:38 / /m\\000 rw - cgroup2 none rw\n", 0, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cgroup_mounts m;

		cgroup_mounts_parse(cases[i].text, &m);
		if (m.n != cases[i].n)
			fail_msg("case %zu: %zu mounts", i, m.n);
		if (m.n > 0) {
			assert_string_equal(m.mount[0].dir, cases[i].dir);
			assert_string_equal(m.mount[0].root, cases[i].root);
		}
	}
}

static void too_long_and_too_many_are_left_out(void **state)
{
	char text[8192] = "41 31 0:38 / /", line[64];
	struct cgroup_mounts m;
	size_t len = strlen(text);

	(void)state;
	memset(text + len, 'a', CGROUP_PATH_MAX);
	strcpy(text + len + CGROUP_PATH_MAX, " rw - cgroup2 none rw\n");
	cgroup_mounts_parse(text, &m);
	assert_int_equal(m.n, 0);

	text[0] = '\0';
	for (int i = 0; i < 2 * CGROUP_MOUNTS_MAX; i++) {
		snprintf(line, sizeof(line), "41 31 0:38 /s%d /m%d rw - cgroup2 none rw\n", i, i);
		strcat(text, line);
	}
	strcat(text, "41 31 0:38 / /whole rw - cgroup2 none rw\n");
	cgroup_mounts_parse(text, &m);
	assert_int_equal(m.n, CGROUP_MOUNTS_MAX);
	assert_string_equal(m.mount[0].dir, "/whole");
	assert_string_equal(m.mount[1].dir, "/m0");
}

static void every_truncation_of_mountinfo_is_survived(void **state)
{
	static const char text[] = HEAD "41 31 0:38 /x\\040y /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n";
	struct cgroup_mounts m;

	(void)state;
	for (size_t len = 0; len <= strlen(text); len++) {
		char *cut = strndup(text, len);

		assert_non_null(cut);
		cgroup_mounts_parse(cut, &m);
		assert_in_range(m.n, 0, 1);
		free(cut);
	}
	assert_int_equal(m.n, 1);
	assert_string_equal(m.mount[0].root, "/x y");
}

static void the_innermost_mount_holds_a_path(void **state)
{
	struct cgroup_mounts m;
	const char *rest = NULL;

	(void)state;
	cgroup_mounts_parse("1 1 0:1 / /c rw - cgroup2 n rw\n1 1 0:1 /x /c/deep rw - cgroup2 n rw\n", &m);
	assert_ptr_equal(cgroup_mounts_holder(&m, "/c", &rest), &m.mount[0]);
	assert_string_equal(rest, "");
	assert_ptr_equal(cgroup_mounts_holder(&m, "/c/a/b", &rest), &m.mount[0]);
	assert_string_equal(rest, "/a/b");
	assert_ptr_equal(cgroup_mounts_holder(&m, "/c/deep/b", &rest), &m.mount[1]);
	assert_string_equal(rest, "/b");
	assert_ptr_equal(cgroup_mounts_holder(&m, "/c/deeper", &rest), &m.mount[0]);
	assert_null(cgroup_mounts_holder(&m, "/cc", &rest));
	assert_null(cgroup_mounts_holder(&m, "/", &rest));
	cgroup_mounts_parse("1 1 0:1 / / rw - cgroup2 n rw\n", &m);
	assert_ptr_equal(cgroup_mounts_holder(&m, "/a", &rest), &m.mount[0]);
	assert_string_equal(rest, "/a");
}

static void depth_counts_components(void **state)
{
	(void)state;
	assert_int_equal(cgroup_path_depth(""), 0);
	assert_int_equal(cgroup_path_depth("/"), 0);
	assert_int_equal(cgroup_path_depth("/a"), 1);
	assert_int_equal(cgroup_path_depth("/a//b/"), 2);
	assert_int_equal(cgroup_path_depth("/a/./b"), 2);
	assert_int_equal(cgroup_path_depth("/a/..b"), 2);
	assert_int_equal(cgroup_path_depth("/../a"), -1);
	assert_int_equal(cgroup_path_depth("/.."), -1);
}

static void scope_is_the_parent_and_a_name(void **state)
{
	static const struct {
		const char *rest;
		int base;
		const char *dir, *name;
		int level;
	} cases[] = {
		{"", 0, "/c", "", CGROUP_LEVEL_ANY},
		{"/", 0, "/c", "", CGROUP_LEVEL_ANY},
		{"/x.service", 0, "/c", "x.service", 1},
		{"/system.slice/x.service", 0, "/c/system.slice", "x.service", 2},
		{"/system.slice/x.service", 3, "/c/system.slice", "x.service", 5},
		{"/system.slice/x.service", -1, "/c/system.slice", "x.service", CGROUP_LEVEL_ANY},
	};
	const struct cgroup_mount mount = {.dir = "/c", .root = "/"};
	struct cgroup_scope s;
	char long_name[CGROUP_PATH_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(cgroup_scope_of(&mount, cases[i].rest, cases[i].base, &s), 0);
		assert_string_equal(s.dir, cases[i].dir);
		assert_string_equal(s.name, cases[i].name);
		assert_int_equal(s.level, cases[i].level);
	}
	memset(long_name, 'a', sizeof(long_name));
	long_name[0] = '/';
	long_name[CGROUP_NAME_MAX + 1] = '\0';
	assert_int_equal(cgroup_scope_of(&mount, long_name, 0, &s), -ENAMETOOLONG);
	long_name[CGROUP_NAME_MAX + 1] = 'a';
	strcpy(long_name + CGROUP_PATH_MAX - 2, "/x");
	assert_int_equal(cgroup_scope_of(&mount, long_name, 0, &s), -ENAMETOOLONG);
}

/* On a host that has cgroup2 (any with systemd, and the lab's): the root, what is not there, and a unit. */
static void this_host_resolves(void **state)
{
	struct cgroup_mounts m;
	struct cgroup_scope s;
	struct failure f = {0};

	(void)state;
	if (cgroup_mounts_find(&m, &f) < 0) {
		assert_non_null(strstr(f.text, "mount -t cgroup2"));
		print_message("skipped: no cgroup2 here\n");
		skip();
	}
	assert_int_equal(cgroup_resolve(&m, NULL, NULL, &s, &f), 0);
	assert_string_equal(s.dir, m.mount[0].dir);
	assert_string_equal(s.name, "");
	assert_int_equal(cgroup_resolve(&m, "/", NULL, &s, &f), 0);
	assert_string_equal(s.dir, m.mount[0].dir);
	assert_int_equal(cgroup_resolve(&m, m.mount[0].dir, NULL, &s, &f), 0);
	assert_string_equal(s.dir, m.mount[0].dir);
	assert_string_equal(s.name, "");
	assert_int_equal(cgroup_resolve(&m, NULL, "none-such.service", &s, &f), 0);
	assert_string_equal(s.dir, m.mount[0].dir);
	assert_string_equal(s.name, "none-such.service");
	assert_int_equal(s.level, CGROUP_LEVEL_ANY);
	assert_int_equal(cgroup_resolve(&m, "/no/such/cgroup", NULL, &s, &f), -ENOENT);
	assert_non_null(strstr(f.text, "--unit"));
	assert_int_equal(cgroup_resolve(&m, "/cgroup.procs", NULL, &s, &f), -ENOTDIR);
	assert_int_equal(cgroup_resolve(&m, "/../../../../../../etc", NULL, &s, &f), -ENOENT);
	assert_int_equal(cgroup_resolve(&m, "/proc", NULL, &s, &f), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_are_found),
		cmocka_unit_test(too_long_and_too_many_are_left_out),
		cmocka_unit_test(every_truncation_of_mountinfo_is_survived),
		cmocka_unit_test(the_innermost_mount_holds_a_path),
		cmocka_unit_test(depth_counts_components),
		cmocka_unit_test(scope_is_the_parent_and_a_name),
		cmocka_unit_test(this_host_resolves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
