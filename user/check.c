// SPDX-License-Identifier: BSD-2-Clause
/* One row for each thing that cbtrace needs of a host; see check.h. */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "check.h"
#include "host.h"
#include "library.h"
#include "live.h"
#include "proc.h"
#include "source_ring.h"

#define KERNEL_MAJOR 5 /* the oldest on which the programs are tested */
#define KERNEL_MINOR 10
#define BTF_PATH     "/sys/kernel/btf/vmlinux"

/* What a row may use that an earlier one has found. */
struct check {
	const struct options *o;
	bool has_privileges, has_mounts, has_scope;
	struct cgroup_mounts mounts;
	struct cgroup_scope scope;
};

#define NOT_TRIED 1

/* 0, NOT_TRIED, or a negative errno, with a line in @f in each case: what was found, why not, or what to do. */
typedef int check_fn(struct check *c, struct failure *f);

static int check_kernel(struct check *c, struct failure *f)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	(void)c;
	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return failure_set(f, -ENOSYS, "kernel of unknown version; use Linux %d.%d or later", KERNEL_MAJOR,
				   KERNEL_MINOR);
	if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR))
		return failure_set(f, -ENOSYS, "kernel %u.%u is too old; use Linux %d.%d or later", major, minor,
				   KERNEL_MAJOR, KERNEL_MINOR);
	return failure_set(f, 0, "Linux %.100s", u.release);
}

/* The effective capabilities of this thread, a bit for each. */
static uint64_t capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &head, data) < 0)
		return 0;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

static int check_privileges(struct check *c, struct failure *f)
{
	static const struct {
		const char *name;
		unsigned int bit;
	} needed[] = {{"CAP_BPF", CAP_BPF}, {"CAP_PERFMON", CAP_PERFMON}, {"CAP_NET_ADMIN", CAP_NET_ADMIN}};
	uint64_t have = capabilities();
	char missing[64] = "";
	size_t len = 0;

	/* Before 5.8, and to programs written then, CAP_SYS_ADMIN is all of the first two. */
	if (have & 1ULL << CAP_SYS_ADMIN)
		have |= 1ULL << CAP_BPF | 1ULL << CAP_PERFMON;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!(have & 1ULL << needed[i].bit))
			len += (size_t)snprintf(missing + len, sizeof(missing) - len, " %s", needed[i].name);
	if (missing[0])
		return failure_set(f, -EPERM, "not permitted:%s missing; run it as root (sudo cbtrace …)", missing);
	c->has_privileges = true;
	return failure_set(f, 0, "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN");
}

static int check_btf(struct check *c, struct failure *f)
{
	(void)c;
	if (access(BTF_PATH, R_OK) < 0)
		return failure_set(f, -ENOENT,
				   "no " BTF_PATH ": %s; use a kernel built with CONFIG_DEBUG_INFO_BTF, and mount /sys",
				   strerror(errno));
	return failure_set(f, 0, BTF_PATH);
}

static int check_cgroup2(struct check *c, struct failure *f)
{
	int r = cgroup_mounts_find(&c->mounts, f);

	if (r < 0)
		return r;
	c->has_mounts = true;
	return failure_set(f, 0, "%.200s", c->mounts.mount[0].dir);
}

static int check_scope(struct check *c, struct failure *f)
{
	int r;

	if (!c->has_mounts)
		return failure_set(f, NOT_TRIED, "needs cgroup v2");
	r = cgroup_resolve(&c->mounts, c->o->cgroup, c->o->unit, &c->scope, f);
	if (r < 0)
		return r;
	c->has_scope = true;
	if (c->scope.name[0])
		return failure_set(f, 0, "%.100s, attached to %.200s", c->scope.name, c->scope.dir);
	return failure_set(f, 0, "everything in %.200s", c->scope.dir);
}

/* Loads the programs; attaches them only where the user has named a place, as a host's traffic is not to be touched by
 * a question. */
static int check_programs(struct check *c, struct failure *f)
{
	bool attach = c->o->cgroup || c->o->unit[0];
	struct ring_config config;
	int r;

	if (!c->has_privileges || !c->has_scope)
		return failure_set(f, NOT_TRIED, "needs %s", c->has_privileges ? "a scope" : "privileges");
	live_ring_config(c->o, &c->scope, &config);
	r = ring_source_probe(&config, attach, f->text, sizeof(f->text));
	if (r < 0)
		return r;
	return failure_set(f, 0, attach ? "loaded and attached" : "loaded");
}

static int check_process(struct check *c, struct failure *f)
{
	struct proc_table *table;
	struct proc_facts facts;
	int r;

	if (c->o->pid == 0)
		return failure_set(f, NOT_TRIED, "none named; --pid PID tells of one");
	table = proc_table_new("/proc", NULL);
	r = table ? proc_table_facts(table, c->o->pid, host_now(), &facts) : -ENOMEM;
	proc_table_free(table);
	if (r < 0)
		return failure_set(f, r, "--pid %u: %s; give the id of a process that runs", c->o->pid,
				   r == -ESRCH ? "no such process" : strerror(-r));
	if (c->has_scope && !cgroup_scope_holds(&c->mounts, &c->scope, facts.cgroup))
		return failure_set(f, -ESRCH,
				   "--pid %u (%s) is in %.200s, outside the scope; name that one with --cgroup",
				   c->o->pid, facts.comm, facts.cgroup);
	return failure_set(f, 0, "%u (%s) in %.150s%s", c->o->pid, facts.comm, facts.cgroup,
			   facts.forwarder ? ", a DNS forwarder: its questions open no attempt" : "");
}

#define LIBRARY_FILES_MAX 8

static const char *library_part(const struct library_file *file)
{
	return file->has_ssl && file->has_crypto ? "ssl and crypto" : file->has_ssl ? "ssl" : "crypto";
}

/* What of OpenSSL the process has, file by file: "PATH (ssl, 8 sites, 8 cheap); …" */
static int check_library(struct check *c, struct failure *f)
{
	struct library_file files[LIBRARY_FILES_MAX];
	char text[FAILURE_MAX] = "";
	size_t len = 0;
	int n, error = 0;

	if (c->o->pid == 0)
		return failure_set(f, NOT_TRIED, "no process named; --pid PID tells what can be seen inside its TLS");
	n = library_look(c->o->pid, files, LIBRARY_FILES_MAX);
	if (n < 0)
		return failure_set(f, n, "--pid %u: cannot look into it: %s; run it as root", c->o->pid, strerror(-n));
	if (n == 0)
		return failure_set(f, NOT_TRIED,
				   "no OpenSSL in %u: certificate of TLS 1.3 and registration stay not_visible",
				   c->o->pid);
	for (int i = 0; i < n && len < sizeof(text); i++) {
		const struct library_file *file = &files[i];
		const char *path = file->path;

		if (file->error < 0)
			error = file->error;
		if (file->error == -ESTALE)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%.80s: replaced since it was loaded",
						i ? "; " : "", path);
		else if (file->error < 0)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%.80s: %s", i ? "; " : "", path,
						strerror(-file->error));
		else
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"%s%.80s (%s, %zu sites, %zu of them cheap)", i ? "; " : "", path,
						library_part(file), file->sites, file->cheap);
	}
	if (error < 0)
		return failure_set(f, error, "%.400s; restart the process", text);
	return failure_set(f, 0, "%.450s", text);
}

static const struct check_row {
	const char *name;
	check_fn *run;
	bool early; /* looked at before a live command loads anything */
} rows[] = {
	{"kernel", check_kernel, true},	   {"privileges", check_privileges, true},
	{"BTF", check_btf, true},	   {"cgroup v2", check_cgroup2, false},
	{"scope", check_scope, false},	   {"programs", check_programs, false},
	{"process", check_process, false}, {"library", check_library, false},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

int check_host(struct failure *f)
{
	struct check c = {0};

	for (size_t i = 0; i < N_ROWS; i++) {
		int r = rows[i].early ? rows[i].run(&c, f) : 0;

		if (r < 0)
			return r;
	}
	f->text[0] = '\0';
	return 0;
}

int check_run(const struct options *o, struct failure *f)
{
	struct check c = {.o = o};
	int status = STATUS_FINE;

	for (size_t i = 0; i < N_ROWS; i++) {
		int r = rows[i].run(&c, f);

		if (r < 0)
			status = STATUS_CANNOT;
		printf("%-4s  %-10s  %s\n", r < 0 ? "FAIL" : r == NOT_TRIED ? "-" : "ok", rows[i].name, f->text);
	}
	f->text[0] = '\0'; /* all has been told */
	return status;
}
