// SPDX-License-Identifier: BSD-2-Clause
/* The kernel's events by way of the BPF ring buffer. See source_ring.h. */
#include "source_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cbtrace/scope.h>

#include "cbtrace.skel.h"
#include "event.h"

#define BTF_PATH  "/sys/kernel/btf/vmlinux"
#define LINKS_MAX 16
#define CPUS_MAX  4096

struct ring_source {
	struct cbtrace_bpf *skel;
	struct bpf_link *links[LINKS_MAX];
	size_t n_links;
	struct ring_buffer *ring, *arms;
	/* of the drain of arms that runs */
	void (*arm_each)(const struct lib_arm *arm, void *arg);
	void *arm_arg;
	/* Read-only views of the ring's positions (bytes, ever growing): libbpf 1.1 has no call for them. */
	const volatile unsigned long *consumer, *producer;
	int cpus;
	uint64_t invalid; /* records that did not obey the contract */
	/* of the drain that runs */
	void (*emit)(const struct cbt_hdr *ev, void *arg);
	void *arg;
};

/* libbpf's last warning: the only place where it says why. One per process, like libbpf's callback itself. */
static char last_warning[256];
static bool print_all;

static int libbpf_print(enum libbpf_print_level level, const char *format, va_list args)
{
	if (print_all)
		return vfprintf(stderr, format, args);
	if (level == LIBBPF_WARN && !last_warning[0]) {
		vsnprintf(last_warning, sizeof(last_warning), format, args);
		last_warning[strcspn(last_warning, "\n")] = '\0';
	}
	return 0;
}

/* Writes the line that names the remedy; its value is @error. */
#define refuse(line, size, error, ...)                 \
	({                                             \
		int refuse_error = (error);            \
		snprintf((line), (size), __VA_ARGS__); \
		refuse_error;                          \
	})

/* Without them their programs are not loaded, and their tables take no memory. */
static void library_apply(struct cbtrace_bpf *skel, const struct ring_config *c)
{
	bool narrow = c->pid || c->comm || c->cgroup_name;
	struct bpf_program *p;

	if (c->library) {
		skel->rodata->library = LIBRARY_ON | (narrow ? LIBRARY_NARROW : 0);
		return;
	}
	bpf_object__for_each_program (p, skel->obj)
		if (bpf_program__type(p) == BPF_PROG_TYPE_KPROBE)
			bpf_program__set_autoload(p, false);
	bpf_program__set_autoload(skel->progs.cbt_fork, false);
	bpf_program__set_autoload(skel->progs.cbt_attach, false);
	bpf_map__set_max_entries(skel->maps.lib_calls, 1);
	bpf_map__set_max_entries(skel->maps.lib_conns, 1);
	bpf_map__set_max_entries(skel->maps.lib_procs, 1);
	bpf_map__set_max_entries(skel->maps.lib_sites, 1);
}

static void config_apply(struct cbtrace_bpf *skel, const struct ring_config *c)
{
	skel->rodata->scope.pid = c->pid;
	if (c->comm) {
		skel->rodata->scope.has_comm = 1;
		snprintf(skel->rodata->scope.comm, sizeof(skel->rodata->scope.comm), "%s", c->comm);
	}
	if (c->cgroup_name) {
		skel->rodata->scope.has_cgroup = 1;
		skel->rodata->scope.cgroup_level = c->cgroup_level;
		snprintf(skel->rodata->scope.cgroup_name, sizeof(skel->rodata->scope.cgroup_name), "%s",
			 c->cgroup_name);
	}
	for (size_t i = 0; i < c->n_ports && i < sizeof(skel->rodata->ports) / sizeof(skel->rodata->ports[0]); i++) {
		skel->rodata->ports[i] = c->ports[i];
		skel->rodata->n_ports = (uint32_t)i + 1;
	}
	bpf_map__set_max_entries(skel->maps.events, (uint32_t)c->ring_bytes);
	library_apply(skel, c);
}

static int load(struct ring_source *s, const struct ring_config *c, char *line, size_t size)
{
	int r;

	last_warning[0] = '\0';
	print_all = c->verbose;
	libbpf_set_print(libbpf_print);
	if (geteuid() != 0 && access(BTF_PATH, R_OK) < 0 && errno == EACCES)
		return refuse(line, size, -EPERM, "not allowed to read %s; run as root", BTF_PATH);
	if (access(BTF_PATH, R_OK) < 0)
		return refuse(line, size, -ENOENT,
			      "this kernel tells no types (%s: %s); run one built with CONFIG_DEBUG_INFO_BTF", BTF_PATH,
			      strerror(errno));
	s->skel = cbtrace_bpf__open();
	if (!s->skel)
		return refuse(line, size, -errno, "cannot open the kernel programs: %.150s; build cbtrace again",
			      last_warning[0] ? last_warning : strerror(errno));
	config_apply(s->skel, c);
	r = cbtrace_bpf__load(s->skel);
	/* -EACCES is the verifier's word. */
	if (r == -EPERM)
		return refuse(line, size, r,
			      "not allowed to load kernel programs; run as root, or with CAP_BPF, CAP_PERFMON and "
			      "CAP_NET_ADMIN");
	if (r < 0)
		return refuse(
			line, size, r,
			"the kernel refuses the programs: %.150s (%s); run with --verbose and report what it prints",
			last_warning[0] ? last_warning : "no reason given", strerror(-r));
	return 0;
}

static int attach_one(struct ring_source *s, struct bpf_program *p, int cgroup)
{
	enum bpf_prog_type type = bpf_program__type(p);
	struct bpf_link *link =
		type == BPF_PROG_TYPE_TRACING ? bpf_program__attach(p) : bpf_program__attach_cgroup(p, cgroup);

	if (!link)
		return -errno;
	s->links[s->n_links++] = link;
	return 0;
}

/*
 * The order in which programs are attached: those that say what is tapped come last, so that whatever they say finds
 * all the others in place. A socket marked before the packet hooks are there would lose its SYN, and with it the tap.
 */
static const enum bpf_prog_type attach_order[] = {
	BPF_PROG_TYPE_TRACING,
	BPF_PROG_TYPE_CGROUP_SKB,
	BPF_PROG_TYPE_CGROUP_SOCK,
	BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
};

static int attach_type(struct ring_source *s, const struct ring_config *c, enum bpf_prog_type type, int cgroup,
		       char *line, size_t size)
{
	struct bpf_program *p;
	int r;

	bpf_object__for_each_program (p, s->skel->obj) {
		if (bpf_program__type(p) != type || !bpf_program__autoload(p))
			continue;
		r = s->n_links == LINKS_MAX ? -ENOSPC : attach_one(s, p, cgroup);
		if (r == -EPERM)
			return refuse(line, size, r,
				      "not allowed to attach to %.200s; run as root, or with CAP_NET_ADMIN",
				      c->cgroup_dir);
		if (r < 0)
			return refuse(line, size, r,
				      "cannot attach %s to %.200s: %s; run with --verbose and report what it prints",
				      bpf_program__name(p), c->cgroup_dir, strerror(-r));
	}
	return 0;
}

static int attach(struct ring_source *s, const struct ring_config *c, char *line, size_t size)
{
	int cgroup = open(c->cgroup_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	struct statfs fs;

	if (cgroup < 0)
		return refuse(line, size, -errno, "cannot open cgroup %.200s: %s; give --cgroup one that exists",
			      c->cgroup_dir, strerror(errno));
	if (fstatfs(cgroup, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
		r = refuse(line, size, -ENOTDIR, "%.200s is no cgroup v2 directory; give --cgroup one that is",
			   c->cgroup_dir);
	for (size_t i = 0; r == 0 && i < sizeof(attach_order) / sizeof(attach_order[0]); i++)
		r = attach_type(s, c, attach_order[i], cgroup, line, size);
	close(cgroup);
	return r;
}

static int on_record(void *arg, void *data, size_t size)
{
	struct ring_source *s = arg;

	if (event_check(data, size) < 0)
		s->invalid++;
	else
		s->emit(data, s->arg);
	return 0;
}

static int on_arm(void *arg, void *data, size_t size)
{
	const struct ring_source *s = arg;

	if (size == sizeof(struct lib_arm))
		s->arm_each(data, s->arm_arg);
	return 0;
}

/* Documentation/bpf/ringbuf.rst: the consumer's position is in the map's first page, the producer's in its second. */
static const volatile unsigned long *position_map(int fd, long page)
{
	void *p = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, fd, page * sysconf(_SC_PAGESIZE));

	return p == MAP_FAILED ? NULL : p;
}

static void position_unmap(const volatile unsigned long *p)
{
	if (p)
		munmap((void *)p, (size_t)sysconf(_SC_PAGESIZE));
}

static int open_ring(struct ring_source *s)
{
	int fd;

	s->cpus = libbpf_num_possible_cpus();
	if (s->cpus <= 0 || s->cpus > CPUS_MAX)
		return -EINVAL;
	fd = bpf_map__fd(s->skel->maps.events);
	s->ring = ring_buffer__new(fd, on_record, s, NULL);
	s->arms = s->ring ? ring_buffer__new(bpf_map__fd(s->skel->maps.arms), on_arm, s, NULL) : NULL;
	if (!s->arms)
		return -errno;
	s->consumer = s->ring ? position_map(fd, 0) : NULL;
	s->producer = s->consumer ? position_map(fd, 1) : NULL;
	return s->producer ? 0 : -errno;
}

static int open_common(const struct ring_config *c, bool attached, struct ring_source **ret, char *line, size_t size)
{
	struct ring_source *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return refuse(line, size, -ENOMEM, "out of memory; free some");
	r = load(s, c, line, size);
	if (r < 0)
		goto fail;
	r = open_ring(s);
	if (r < 0) {
		refuse(line, size, r, "cannot map the event buffer: %s; try a smaller --ring-size", strerror(-r));
		goto fail;
	}
	/* Before the first event: nobody comes by on a timer yet. */
	s->skel->bss->asleep = READER_ASLEEP;
	r = attached ? attach(s, c, line, size) : 0;
	if (r < 0)
		goto fail;
	*ret = s;
	return 0;
fail:
	ring_source_close(s);
	return r;
}

int ring_source_open(const struct ring_config *config, struct ring_source **ret_source, char *line, size_t size)
{
	return open_common(config, true, ret_source, line, size);
}

int ring_source_probe(const struct ring_config *config, bool attach_too, char *line, size_t size)
{
	struct ring_source *s = NULL;
	int r = open_common(config, attach_too, &s, line, size);

	ring_source_close(s);
	return r;
}

void ring_source_close(struct ring_source *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_links; i++)
		bpf_link__destroy(s->links[i]);
	position_unmap(s->consumer);
	position_unmap(s->producer);
	ring_buffer__free(s->arms);
	ring_buffer__free(s->ring);
	cbtrace_bpf__destroy(s->skel);
	free(s);
}

int ring_source_fd(const struct ring_source *s)
{
	return ring_buffer__epoll_fd(s->ring);
}

int ring_source_drain(struct ring_source *s, void (*emit)(const struct cbt_hdr *ev, void *arg), void *arg)
{
	s->emit = emit;
	s->arg = arg;
	return ring_buffer__consume(s->ring);
}

/*
 * The flag goes up first, then the ring is looked at: an event that came between a look and the flag would wake nobody.
 * A full barrier keeps the two in order; the producer's side is ordered by the ring's own lock.
 */
bool ring_source_sleep_begin(struct ring_source *s)
{
	__atomic_store_n(&s->skel->bss->asleep, READER_ASLEEP, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return *s->producer != *s->consumer;
}

void ring_source_awake(struct ring_source *s)
{
	__atomic_store_n(&s->skel->bss->asleep, READER_AWAKE, __ATOMIC_SEQ_CST);
}

void ring_source_lost(const struct ring_source *s, uint64_t count[CBT_LOST_STAGES])
{
	uint64_t *values = calloc((size_t)s->cpus, sizeof(*values));
	int fd = bpf_map__fd(s->skel->maps.lost);

	if (!values)
		return;
	for (uint32_t stage = 0; stage < CBT_LOST_STAGES; stage++) {
		if (bpf_map_lookup_elem(fd, &stage, values) < 0)
			continue;
		for (int cpu = 0; cpu < s->cpus; cpu++)
			count[stage] += values[cpu];
	}
	count[CBT_LOST_INVALID] += s->invalid;
	free(values);
}

void ring_source_tap_done(struct ring_source *s, uint64_t cookie)
{
	uint8_t one = 1;

	/* Best effort: a tap that is not closed closes itself when its budget is spent. */
	(void)bpf_map_update_elem(bpf_map__fd(s->skel->maps.done), &cookie, &one, BPF_ANY);
}

/* --- Library probes --- */

int ring_source_program_fd(const struct ring_source *s, const char *name)
{
	const struct bpf_program *p = bpf_object__find_program_by_name(s->skel->obj, name);
	int fd = p ? bpf_program__fd(p) : -1;

	return fd < 0 ? -ENOENT : fd;
}

int ring_source_library_site(struct ring_source *s, uint64_t offset, enum probe_program program)
{
	uint32_t key = offset % LIB_PAGE;
	uint8_t value = (uint8_t)(program + 1);

	return bpf_map_update_elem(bpf_map__fd(s->skel->maps.lib_sites), &key, &value, BPF_ANY) < 0 ? -errno : 0;
}

int ring_source_arms_fd(const struct ring_source *s)
{
	return ring_buffer__epoll_fd(s->arms);
}

void ring_source_arms_drain(struct ring_source *s, void (*each)(const struct lib_arm *arm, void *arg), void *arg)
{
	s->arm_each = each;
	s->arm_arg = arg;
	(void)ring_buffer__consume(s->arms);
}

void ring_source_library_offsets(struct ring_source *s, uint32_t tgid, const struct lib_offsets *offsets)
{
	/* Best effort: without them less is known of a connection, and the process may be told of again. */
	(void)bpf_map_update_elem(bpf_map__fd(s->skel->maps.lib_procs), &tgid, offsets, BPF_ANY);
}

void ring_source_library_forget(struct ring_source *s, uint32_t tgid)
{
	/* Not there where the kernel has told of its end. */
	(void)bpf_map_delete_elem(bpf_map__fd(s->skel->maps.lib_procs), &tgid);
}

void *ring_source_probe_attach(struct ring_source *s, const char *name, int pid, const char *path, uint64_t offset,
			       bool is_return)
{
	const struct bpf_program *p = bpf_object__find_program_by_name(s->skel->obj, name);
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .retprobe = is_return);

	if (!p) {
		errno = ENOENT;
		return NULL;
	}
	return bpf_program__attach_uprobe_opts(p, pid, path, offset, &opts);
}

void ring_source_probe_detach(void *probe)
{
	bpf_link__destroy(probe);
}
