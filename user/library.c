// SPDX-License-Identifier: BSD-2-Clause
/* Arming. See library.h. */
#include "library.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file.h"
#include "host.h"
#include "probe_sites.h"
#include "proc.h"
#include "table.h"
#include "tracefs.h"

#define FILES_MAX      64   /* with OpenSSL in them; a bit each of a process's set */
#define BARREN_MAX     1024 /* executables remembered to have none */
#define NAMESPACES_MAX 64   /* mount namespaces whose library directories have been read */
#define ARMED_MAX      1024
#define PROCESS_FDS    96
#define RESCANS_MAX    256
#define RESCAN_NS      30000000ULL /* after an exec: the loader has mapped its libraries */
#define MAPS_MAX       ((size_t)4 * 1024 * 1024)
#define DESCRIPTORS    ((rlim_t)ARMED_MAX * 20 + 4096)

/*
 * A file that a process is yet to map gets its breakpoints with the mapping, and opening its events takes 20 to 30 µs a
 * site. In one that is mapped already the kernel has to put them, for which it waits for an RCU grace period (some 20
 * ms, in which nobody can fork). A perf event that is to be enabled by an exec spares it that (uprobe_perf_open() of
 * the kernel); whether it is enabled does not matter to the kernel program. An event that has one of the process's perf
 * events puts no more breakpoints in it, so there are two events of each site; where both come to have the process the
 * programs run twice, which they bear.
 */
enum when { WHEN_MAPPED = 0, NOW = 1, WHENS = 2 };

/* One uprobe event, of one site or of several with the same program. */
struct lib_event {
	const char *program;
	int64_t id;
	int tied; /* perf event that keeps the kernel program tied to it */
};

struct lib_file {
	dev_t dev;
	ino_t ino;
	struct timespec mtime;
	struct probe_plan plan;
	uint32_t index;
	size_t n_events;
	struct lib_event events[WHENS][PROBE_SITES_MAX];
	char path[PATH_MAX]; /* for libbpf's attach */
};

struct barren {
	dev_t dev;
	ino_t ino;
	struct timespec mtime;
};

struct namespace
{
	ino_t ino;
	uint64_t files; /* bit set: libssl, libcrypto in the directories of the loader */
};

struct armed {
	uint64_t key; /* pid; first member */
	TAILQ_ENTRY(armed) by_age;
	uint64_t files[WHENS]; /* bit sets */
	bool has_ssl, has_crypto;
	int fds[PROCESS_FDS];
	void *links[PROCESS_FDS]; /* of the fallback */
	size_t n_fds, n_links;
	uint64_t armed_ns; /* when that was done last */
	uint8_t told;	   /* enum cbt_library_state */
};
TAILQ_HEAD(armed_list, armed);

struct rescan {
	uint32_t pid;
	uint64_t due;
};

struct library {
	struct library_config config;
	int tracefs; /* directory; negative: libbpf attaches */
	int stop;    /* eventfd */
	int epoll;
	int told[2];	/* pipe of struct cbt_ev_lib_proc to the loop */
	int closing[2]; /* pipe of descriptors to the closer */
	pthread_t armer, closer;
	bool armer_runs, closer_runs;

	struct lib_file *files[FILES_MAX];
	size_t n_files;
	struct barren barren[BARREN_MAX];
	size_t n_barren, next_barren;
	uint8_t site_of_offset[LIB_PAGE]; /* as the kernel's map has it */
	struct namespace namespaces[NAMESPACES_MAX];
	size_t n_namespaces, next_namespace;
	struct table *processes;
	struct armed_list by_age; /* least recently armed first */
	struct rescan rescans[RESCANS_MAX];
	size_t n_rescans;
	_Atomic uint64_t lost[CBT_LOST_STAGES]; /* the loop reads it */
};

/* --- Files --- */

/* Paths of a container mean its own root, absolute links too. What it calls a library may be a FIFO. */
static int root_open(int root, const char *path, int flags)
{
	const int wary = flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY;
	struct open_how how = {.flags = (uint64_t)(flags | wary | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int process_root_open(uint32_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/root", pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static struct lib_file *file_known(const struct library *l, const struct stat *st)
{
	for (size_t i = 0; i < l->n_files; i++)
		if (l->files[i]->ino == st->st_ino && l->files[i]->dev == st->st_dev &&
		    same_time(&l->files[i]->mtime, &st->st_mtim))
			return l->files[i];
	return NULL;
}

static bool file_barren(const struct library *l, const struct stat *st)
{
	for (size_t i = 0; i < l->n_barren; i++)
		if (l->barren[i].ino == st->st_ino && l->barren[i].dev == st->st_dev &&
		    same_time(&l->barren[i].mtime, &st->st_mtim))
			return true;
	return false;
}

static void barren_add(struct library *l, const struct stat *st)
{
	l->barren[l->next_barren] = (struct barren){st->st_dev, st->st_ino, st->st_mtim};
	l->next_barren = (l->next_barren + 1) % BARREN_MAX;
	if (l->n_barren < BARREN_MAX)
		l->n_barren++;
}

static void event_name(const struct lib_file *f, enum when when, size_t event, char name[static TRACEFS_NAME_MAX])
{
	snprintf(name, TRACEFS_NAME_MAX, "f%u_%d_%zu", f->index, when, event);
}

static int perf_open(int64_t id, pid_t pid, bool on_exec)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = (uint64_t)id,
		.sample_period = 1,
		.wakeup_events = 1,
		.disabled = on_exec,
		.enable_on_exec = on_exec,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The program for a site: the one for all, if that can tell this site from others. */
static const char *site_program(struct library *l, const struct probe_site *site)
{
	uint8_t *taken = &l->site_of_offset[site->offset % LIB_PAGE];

	if (site->program == PROBE_CALL_EXIT || (*taken && *taken != site->program + 1) ||
	    ring_source_library_site(l->config.ring, site->offset, site->program) < 0)
		return probe_program_name(site->program);
	*taken = (uint8_t)(site->program + 1);
	return "lib_site";
}

/* The event of the file with this program; a site that is added to it is armed by the same perf event. */
static size_t event_of(struct lib_file *f, const char *program)
{
	size_t i;

	for (i = 0; i < f->n_events; i++)
		if (strcmp(f->events[0][i].program, program) == 0)
			return i;
	for (int when = 0; when < WHENS; when++)
		f->events[when][i] = (struct lib_event){.program = program, .tied = -1};
	f->n_events++;
	return i;
}

static int site_define(struct library *l, struct lib_file *f, int fd, const struct probe_site *site)
{
	size_t i = event_of(f, site_program(l, site));

	for (int when = 0; when < WHENS; when++) {
		char name[TRACEFS_NAME_MAX];
		int64_t id;

		event_name(f, when, i, name);
		id = tracefs_uprobe_add(l->tracefs, name, fd, site->offset, site->program == PROBE_CALL_EXIT);
		if (id < 0)
			return (int)id;
		f->events[when][i].id = id;
	}
	return 0;
}

/*
 * The perf event that ties an event and its kernel program is this process's own, which has OpenSSL mapped itself:
 * opened for after an exec that never comes, it puts no breakpoint here. Once one is open the event takes no further
 * site.
 */
static int event_tie(struct library *l, struct lib_event *e)
{
	int program = ring_source_program_fd(l->config.ring, e->program);

	if (program < 0)
		return program;
	e->tied = perf_open(e->id, 0, true);
	if (e->tied < 0)
		return e->tied;
	return ioctl(e->tied, PERF_EVENT_IOC_SET_BPF, program) < 0 ? -errno : 0;
}

static int file_define(struct library *l, struct lib_file *f, int fd)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->plan.n_sites; i++)
		r = site_define(l, f, fd, &f->plan.sites[i]);
	for (int when = 0; when < WHENS; when++)
		for (size_t i = 0; r == 0 && i < f->n_events; i++)
			r = event_tie(l, &f->events[when][i]);
	return r;
}

static void file_forget(struct library *l, struct lib_file *f)
{
	for (int when = 0; when < WHENS; when++)
		for (size_t i = 0; i < f->n_events; i++) {
			char name[TRACEFS_NAME_MAX];

			if (f->events[when][i].tied >= 0)
				close(f->events[when][i].tied);
			event_name(f, when, i, name);
			tracefs_uprobe_remove(l->tracefs, name);
		}
	free(f);
}

/* The file behind @fd. 0; -ENOENT no OpenSSL in it; -ENOSPC too many files; or another negative errno. */
static int file_get(struct library *l, int fd, const char *path, struct lib_file **ret)
{
	struct lib_file *f;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	f = file_known(l, &st);
	if (f) {
		*ret = f;
		return 0;
	}
	if (!S_ISREG(st.st_mode) || file_barren(l, &st))
		return -ENOENT;
	if (l->n_files == FILES_MAX)
		return -ENOSPC;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	r = probe_plan_make(fd, &f->plan);
	if (r < 0) {
		free(f);
		barren_add(l, &st);
		return r == -ENOEXEC ? -ENOENT : r;
	}
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->mtime = st.st_mtim;
	f->index = (uint32_t)l->n_files;
	snprintf(f->path, sizeof(f->path), "%s", path);
	if (l->tracefs >= 0)
		r = file_define(l, f, fd);
	if (r < 0) {
		file_forget(l, f);
		return r;
	}
	l->files[l->n_files++] = f;
	*ret = f;
	return 0;
}

/* --- Which files a process can have --- */

static bool library_named(const char *name)
{
	return strncmp(name, "libssl.so", 9) == 0 || strncmp(name, "libcrypto.so", 12) == 0;
}

static void directory_read(struct library *l, int root, const char *root_path, const char *dir, uint64_t *files)
{
	int fd = root_open(root, dir, O_RDONLY | O_DIRECTORY);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d))) {
		char path[PATH_MAX], whole[PATH_MAX];
		struct lib_file *f;
		int file;

		if (!library_named(e->d_name) ||
		    snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path) ||
		    snprintf(whole, sizeof(whole), "%s%s", root_path, path) >= (int)sizeof(whole))
			continue;
		file = root_open(root, path, O_RDONLY);
		if (file < 0)
			continue;
		if (file_get(l, file, whole, &f) == 0)
			*files |= 1ULL << f->index;
		close(file);
	}
	closedir(d);
}

/* Where a loader looks: Debian's multiarch directories and everybody else's. */
static uint64_t directories_read(struct library *l, int root, const char *root_path)
{
	static const char *const dirs[] = {
#if defined(__x86_64__)
		"/usr/lib/x86_64-linux-gnu",
		"/lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
		"/usr/lib/aarch64-linux-gnu",
		"/lib/aarch64-linux-gnu",
#endif
		"/usr/lib64",
		"/lib64",
		"/usr/lib",
		"/lib",
		"/usr/local/lib",
		"/usr/local/lib64",
	};
	uint64_t files = 0;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		directory_read(l, root, root_path, dirs[i], &files);
	return files;
}

/* Every `ip netns exec` and every hardened service has a mount namespace of its own, and nearly all of them the host's
 * libraries: those are looked for by their paths, since reading the directories takes milliseconds. */
static uint64_t usual_files(struct library *l, int root)
{
	uint64_t files = 0;

	for (size_t i = 0; i < l->n_files; i++) {
		struct stat st;
		int fd;

		if (!library_named(strrchr(l->files[i]->path, '/') + 1))
			continue;
		fd = root_open(root, l->files[i]->path, O_PATH);
		if (fd < 0)
			continue;
		if (fstat(fd, &st) == 0 && file_known(l, &st) == l->files[i])
			files |= 1ULL << i;
		close(fd);
	}
	return files;
}

static bool has_both(const struct library *l, uint64_t files)
{
	bool ssl = false, crypto = false;

	for (size_t i = 0; i < l->n_files; i++) {
		if (!(files & 1ULL << i))
			continue;
		ssl |= l->files[i]->plan.has_ssl;
		crypto |= l->files[i]->plan.has_crypto;
	}
	return ssl && crypto;
}

/* The libraries of the process's mount namespace; looked for once in each. */
static int namespace_files(struct library *l, uint32_t pid, uint64_t *ret_files)
{
	char path[32], root_path[32];
	struct namespace *n;
	struct stat st;
	int root;

	snprintf(path, sizeof(path), "/proc/%u/ns/mnt", pid);
	if (stat(path, &st) < 0)
		return -errno;
	for (size_t i = 0; i < l->n_namespaces; i++)
		if (l->namespaces[i].ino == st.st_ino) {
			*ret_files = l->namespaces[i].files;
			return 0;
		}
	root = process_root_open(pid);
	if (root < 0)
		return root;
	/* The first is this process's own, which needs no detour. */
	snprintf(root_path, sizeof(root_path), "/proc/%u/root", pid);
	n = &l->namespaces[l->next_namespace];
	l->next_namespace = (l->next_namespace + 1) % NAMESPACES_MAX;
	if (l->n_namespaces < NAMESPACES_MAX)
		l->n_namespaces++;
	n->files = usual_files(l, root);
	if (!has_both(l, n->files))
		n->files = directories_read(l, root, pid == (uint32_t)getpid() ? "" : root_path);
	n->ino = st.st_ino;
	close(root);
	*ret_files = n->files;
	return 0;
}

static int executable_file(struct library *l, uint32_t pid, uint64_t *files)
{
	struct lib_file *f = NULL;
	char path[32];
	int fd, r;

	snprintf(path, sizeof(path), "/proc/%u/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = file_get(l, fd, path, &f);
	if (f)
		*files |= 1ULL << f->index;
	close(fd);
	return r;
}

/* The next of OpenSSL's libraries in the text of /proc/PID/maps, where each has several lines in a row; @last the one
 * before it or NULL. Cut into the text; NULL there is none. */
static const char *maps_next_library(char **text, const char *last)
{
	char *line;

	while ((line = strsep(text, "\n"))) {
		const char *path = strchr(line, '/'), *name = path ? strrchr(path, '/') + 1 : NULL;

		if (name && library_named(name) && !(last && strcmp(path, last) == 0))
			return path;
	}
	return NULL;
}

static bool path_deleted(const char *path)
{
	static const char suffix[] = " (deleted)";
	size_t n = strlen(path);

	return n >= sizeof(suffix) - 1 && strcmp(path + n - (sizeof(suffix) - 1), suffix) == 0;
}

/* What it has mapped. 0, or why something that it has cannot be used: -ESTALE its file is gone, another errno. */
static int mapped_files(struct library *l, uint32_t pid, uint64_t *files)
{
	char name[32], *text, *rest;
	const char *path = NULL;
	int root, r, worst = 0;

	snprintf(name, sizeof(name), "/proc/%u/maps", pid);
	r = file_read(AT_FDCWD, name, MAPS_MAX, &text, NULL);
	if (r < 0)
		return r;
	root = process_root_open(pid);
	rest = text;
	while (root >= 0 && (path = maps_next_library(&rest, path))) {
		struct lib_file *f;
		int fd;

		if (path_deleted(path)) {
			worst = -ESTALE;
			continue;
		}
		fd = root_open(root, path, O_RDONLY);
		r = fd < 0 ? fd : file_get(l, fd, path, &f);
		if (r == 0)
			*files |= 1ULL << f->index;
		else if (r != -ENOENT)
			worst = r;
		if (fd >= 0)
			close(fd);
	}
	if (root >= 0)
		close(root);
	free(text);
	return root < 0 ? root : worst;
}

/* --- Processes --- */

static void tell(struct library *l, uint32_t pid, enum cbt_library_state state)
{
	struct cbt_ev_lib_proc ev = {.h = {.ts = host_now(), .len = sizeof(ev), .type = CBT_EV_LIB_PROC, .tgid = pid},
				     .state = (__u8)state};

	/* A full pipe: the loop is far behind. */
	if (write(l->told[1], &ev, sizeof(ev)) != sizeof(ev))
		l->lost[CBT_LOST_RING]++;
}

static void armed_tell(struct library *l, struct armed *a, enum cbt_library_state state)
{
	if (a->told == state)
		return;
	a->told = (uint8_t)state;
	tell(l, (uint32_t)a->key, state);
}

static void armed_close(struct library *l, struct armed *a)
{
	for (size_t i = 0; i < a->n_fds; i++)
		if (write(l->closing[1], &a->fds[i], sizeof(a->fds[i])) != sizeof(a->fds[i]))
			close(a->fds[i]);
	for (size_t i = 0; i < a->n_links; i++)
		ring_source_probe_detach(a->links[i]);
	ring_source_library_forget(l->config.ring, (uint32_t)a->key);
	table_remove(l->processes, a->key);
	TAILQ_REMOVE(&l->by_age, a, by_age);
	free(a);
}

static struct armed *armed_get(struct library *l, uint32_t pid)
{
	static const struct lib_offsets unknown = {-1, -1};
	struct armed *a = table_find(l->processes, pid);

	if (a)
		return a;
	if (table_count(l->processes) >= ARMED_MAX) {
		a = TAILQ_FIRST(&l->by_age);
		tell(l, (uint32_t)a->key, CBT_LIBRARY_FULL);
		armed_close(l, a);
	}
	a = calloc(1, sizeof(*a));
	if (a)
		a->key = pid;
	if (!a || table_insert(l->processes, a) < 0) {
		free(a);
		l->lost[CBT_LOST_TRACKED]++;
		return NULL;
	}
	TAILQ_INSERT_TAIL(&l->by_age, a, by_age);
	/* Before anything is opened: then its end is told, or has been before and opening fails. */
	ring_source_library_offsets(l->config.ring, pid, &unknown);
	return a;
}

/* A pid is given out again; what is known of the last one that had it is not this one's. */
static void armed_forget(struct library *l, uint32_t pid)
{
	struct armed *a = table_find(l->processes, pid);

	if (a)
		armed_close(l, a);
}

static int site_attach(struct library *l, struct armed *a, const struct lib_file *f, const struct probe_site *s)
{
	void *link;

	if (a->n_links == PROCESS_FDS)
		return -ENOSPC;
	link = ring_source_probe_attach(l->config.ring, probe_program_name(s->program), (int)a->key, f->path, s->offset,
					s->program == PROBE_CALL_EXIT);
	if (!link)
		return -errno;
	a->links[a->n_links++] = link;
	return 0;
}

static int event_arm(struct armed *a, const struct lib_event *e, enum when when)
{
	int fd;

	if (a->n_fds == PROCESS_FDS)
		return -ENOSPC;
	fd = perf_open(e->id, (pid_t)a->key, when == WHEN_MAPPED);
	if (fd < 0)
		return fd;
	a->fds[a->n_fds++] = fd;
	return 0;
}

static int file_arm(struct library *l, struct armed *a, const struct lib_file *f, enum when when)
{
	int r = 0;

	for (size_t i = 0; l->tracefs < 0 && r == 0 && i < f->plan.n_sites; i++)
		r = site_attach(l, a, f, &f->plan.sites[i]);
	for (size_t i = 0; l->tracefs >= 0 && r == 0 && i < f->n_events; i++)
		r = event_arm(a, &f->events[when][i], when);
	if (r < 0)
		return r;
	a->files[when] |= 1ULL << f->index;
	a->has_ssl |= f->plan.has_ssl;
	a->has_crypto |= f->plan.has_crypto;
	return 0;
}

static void offsets_set(struct library *l, const struct armed *a)
{
	struct lib_offsets offsets = {-1, -1};

	/* If two libssl may be the one, it is neither's. */
	for (size_t i = 0; i < l->n_files; i++) {
		const struct probe_plan *plan = &l->files[i]->plan;

		if (!((a->files[WHEN_MAPPED] | a->files[NOW]) & 1ULL << i) || !plan->has_ssl)
			continue;
		if (offsets.verify_result >= 0 && offsets.verify_result != plan->offsets.verify_result)
			offsets = (struct lib_offsets){-1, -1};
		else
			offsets = plan->offsets;
	}
	ring_source_library_offsets(l->config.ring, (uint32_t)a->key, &offsets);
}

/* Those of @files that are not armed in this way. libbpf's attach knows one way only. */
static int files_arm(struct library *l, struct armed *a, uint64_t files, enum when when)
{
	int worst = 0;

	if (l->tracefs < 0)
		when = NOW;
	files &= ~a->files[when];
	/* libssl first: a loader maps it first. */
	for (int ssl = 1; ssl >= 0; ssl--)
		for (size_t i = 0; i < l->n_files; i++) {
			int r = files & 1ULL << i && l->files[i]->plan.has_ssl == ssl
					? file_arm(l, a, l->files[i], when)
					: 0;

			if (r < 0)
				worst = r;
		}
	a->armed_ns = host_now();
	if (files)
		offsets_set(l, a);
	return worst;
}

static enum cbt_library_state state_of_error(int error)
{
	switch (error) {
	case -ESRCH:
	case -ESTALE:
		return CBT_LIBRARY_GONE;
	case -ENOSPC:
	case -EMFILE:
	case -ENFILE:
		return CBT_LIBRARY_FULL;
	case -EBADMSG:
	case -EACCES:
	case -ENOENT:
		return CBT_LIBRARY_UNREADABLE;
	default:
		return CBT_LIBRARY_REFUSED;
	}
}

/* A child may come to run any of the executables that have OpenSSL in them. */
static uint64_t executables(const struct library *l)
{
	uint64_t files = 0;

	for (size_t i = 0; i < l->n_files; i++)
		if (l->files[i]->plan.has_ssl && l->files[i]->plan.has_crypto)
			files |= 1ULL << i;
	return files;
}

static void process_failed(struct library *l, struct armed *a, int error)
{
	if (error == -ESRCH || error == -ENOENT)
		armed_close(l, a);
	else
		armed_tell(l, a, state_of_error(error));
}

/* Before its exec: whatever it may come to map. */
static void process_expect(struct library *l, uint32_t pid)
{
	struct armed *a = armed_get(l, pid);
	uint64_t files = 0;
	int r;

	if (!a)
		return;
	r = namespace_files(l, pid, &files);
	if (r == 0)
		r = files_arm(l, a, files | executables(l), WHEN_MAPPED);
	if (r < 0)
		process_failed(l, a, r);
}

/*
 * Just after its exec at @ts. What was armed before that is fine; else the loader is about to map the libraries, or
 * has: those that are there when all is open have no breakpoints, or not all of them.
 */
static int exec_arm(struct library *l, struct armed *a, uint64_t ts)
{
	uint32_t pid = (uint32_t)a->key;
	uint64_t files = 0, mapped = 0, in_time;
	int r = namespace_files(l, pid, &files);

	if (r < 0)
		return r;
	in_time = a->armed_ns && a->armed_ns < ts ? a->files[WHEN_MAPPED] : 0;
	r = files_arm(l, a, files, WHEN_MAPPED);
	if (r == 0 && (files & ~in_time))
		r = mapped_files(l, pid, &mapped);
	(void)executable_file(l, pid, &mapped);
	return r < 0 ? r : files_arm(l, a, mapped & ~in_time, NOW);
}

static void process_exec(struct library *l, uint32_t pid, uint64_t ts)
{
	struct armed *a = armed_get(l, pid);
	int r = a ? exec_arm(l, a, ts) : 0;

	if (r < 0)
		process_failed(l, a, r);
}

/* What runs already. */
static void process_arm(struct library *l, uint32_t pid)
{
	struct armed *a = armed_get(l, pid);
	uint64_t files = 0;
	int r, armed;

	if (!a)
		return;
	r = mapped_files(l, pid, &files);
	if (r == -ESRCH || r == -ENOENT) {
		armed_close(l, a);
		return;
	}
	if (executable_file(l, pid, &files) == -EBADMSG && r == 0)
		r = -EBADMSG;
	armed = files_arm(l, a, files & ~a->files[WHEN_MAPPED], NOW);
	if (armed < 0)
		process_failed(l, a, armed);
	else if (r < 0)
		armed_tell(l, a, state_of_error(r));
	else
		armed_tell(l, a, files ? CBT_LIBRARY_ARMED : CBT_LIBRARY_NONE);
}

static void rescan_add(struct library *l, uint32_t pid)
{
	if (l->n_rescans == RESCANS_MAX) {
		memmove(l->rescans, l->rescans + 1, sizeof(l->rescans) - sizeof(l->rescans[0]));
		l->n_rescans--;
		l->lost[CBT_LOST_TRACKED]++;
	}
	l->rescans[l->n_rescans++] = (struct rescan){pid, host_now() + RESCAN_NS};
}

/* Those that are due. Milliseconds until the next; -1 none. */
static int rescans_run(struct library *l)
{
	uint64_t now = host_now();
	size_t n = 0;

	while (n < l->n_rescans && l->rescans[n].due <= now)
		process_arm(l, l->rescans[n++].pid);
	l->n_rescans -= n;
	memmove(l->rescans, l->rescans + n, l->n_rescans * sizeof(l->rescans[0]));
	return l->n_rescans ? (int)((l->rescans[0].due - now) / 1000000) + 1 : -1;
}

static void on_arm(const struct lib_arm *arm, void *arg)
{
	struct library *l = arg;

	switch (arm->why) {
	case LIB_ARM_FORK:
		armed_forget(l, arm->tgid);
		process_expect(l, arm->tgid);
		break;
	case LIB_ARM_ATTACH:
		process_expect(l, arm->tgid);
		break;
	case LIB_ARM_EXEC:
		process_exec(l, arm->tgid, arm->ts);
		rescan_add(l, arm->tgid);
		break;
	case LIB_ARM_ASKED:
	case LIB_ARM_CONNECT:
		process_arm(l, arm->tgid);
		break;
	case LIB_ARM_EXIT:
		armed_forget(l, arm->tgid);
		break;
	default:
		break;
	}
}

/* --- What runs already --- */

static bool process_in_scope(const struct library_config *c, uint32_t pid, struct proc_table *table)
{
	struct proc_facts facts;

	if (c->pid && c->pid != pid)
		return false;
	if (proc_table_facts(table, pid, host_now(), &facts) < 0)
		return false;
	if (c->comm && strncmp(facts.comm, c->comm, CBT_COMM_LEN - 1) != 0)
		return false;
	return cgroup_scope_holds(c->mounts, c->scope, facts.cgroup);
}

static void running_arm(struct library *l)
{
	struct proc_table *table = proc_table_new("/proc", NULL);
	DIR *d = table ? opendir("/proc") : NULL;
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		uint32_t pid = (uint32_t)strtoul(e->d_name, NULL, 10);

		if (!isdigit((unsigned char)e->d_name[0]) || pid == (uint32_t)getpid() ||
		    !process_in_scope(&l->config, pid, table))
			continue;
		process_arm(l, pid);
	}
	if (d)
		closedir(d);
	proc_table_free(table);
}

/* --- Threads --- */

/*
 * Between a process's exec and its loader's first library there is about half a millisecond, and an ordinary thread
 * that is woken on a busy CPU may wait for longer than that. This one runs 0.4 ms for a process, then sleeps. Best
 * effort: it takes CAP_SYS_NICE.
 */
static void priority_raise(void)
{
	const struct sched_param lowest = {.sched_priority = 1};

	(void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &lowest);
}

static void *armer_run(void *arg)
{
	struct library *l = arg;
	int timeout = -1;

	priority_raise();

	for (;;) {
		struct epoll_event ready[2];
		int n = epoll_wait(l->epoll, ready, 2, timeout);

		for (int i = 0; i < n; i++)
			if (ready[i].data.fd == l->stop)
				return NULL;
		if (n > 0)
			ring_source_arms_drain(l->config.ring, on_arm, l);
		timeout = rescans_run(l);
	}
}

static void *closer_run(void *arg)
{
	const struct library *l = arg;
	int fd;

	/* It holds a lock of the kernel's that the other thread needs: it must not lie about with that. */
	priority_raise();
	while (read(l->closing[0], &fd, sizeof(fd)) == sizeof(fd))
		close(fd);
	return NULL;
}

/* Signals are the main thread's. */
static int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static void descriptors_raise(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= DESCRIPTORS)
		return;
	if (r.rlim_max < DESCRIPTORS)
		r.rlim_max = DESCRIPTORS; /* as root; else the limit that is there has to do */
	r.rlim_cur = DESCRIPTORS;
	if (setrlimit(RLIMIT_NOFILE, &r) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int epoll_add(int epoll, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int library_start(struct library *l)
{
	uint64_t host = 0;
	int r;

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->stop = eventfd(0, EFD_CLOEXEC);
	if (l->epoll < 0 || l->stop < 0 || pipe2(l->told, O_CLOEXEC | O_NONBLOCK) < 0 ||
	    pipe2(l->closing, O_CLOEXEC) < 0 || fcntl(l->closing[1], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	r = epoll_add(l->epoll, l->stop);
	if (r == 0)
		r = epoll_add(l->epoll, ring_source_arms_fd(l->config.ring));
	if (r < 0)
		return r;
	descriptors_raise();
	l->tracefs = tracefs_open();
	r = namespace_files(l, (uint32_t)getpid(), &host);
	if (r < 0)
		return r;
	if (l->config.narrow)
		running_arm(l);
	r = thread_start(&l->closer, closer_run, l);
	l->closer_runs = r == 0;
	if (r == 0)
		r = thread_start(&l->armer, armer_run, l);
	l->armer_runs = r == 0;
	return r;
}

int library_open(const struct library_config *config, struct library **ret_library, struct failure *f)
{
	struct library *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return failure_set(f, -ENOMEM, "out of memory; free some");
	l->config = *config;
	l->tracefs = l->stop = l->epoll = l->told[0] = l->told[1] = l->closing[0] = l->closing[1] = -1;
	TAILQ_INIT(&l->by_age);
	l->processes = table_new();
	r = l->processes ? library_start(l) : -ENOMEM;
	if (r < 0) {
		library_close(l);
		return failure_set(f, r, "cannot place the library probes: %s; run with --no-library", strerror(-r));
	}
	*ret_library = l;
	return 0;
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

void library_close(struct library *l)
{
	const uint64_t one = 1;
	struct armed *a, *next;

	if (!l)
		return;
	if (l->armer_runs && write(l->stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(l->armer, NULL);
	for (a = TAILQ_FIRST(&l->by_age); a; a = next) {
		next = TAILQ_NEXT(a, by_age);
		armed_close(l, a);
	}
	fd_close(l->closing[1]);
	if (l->closer_runs)
		pthread_join(l->closer, NULL);
	/* Events can be removed once nobody has them open. */
	for (size_t i = 0; i < l->n_files; i++)
		file_forget(l, l->files[i]);
	fd_close(l->closing[0]);
	fd_close(l->told[0]);
	fd_close(l->told[1]);
	fd_close(l->tracefs);
	fd_close(l->epoll);
	fd_close(l->stop);
	table_free(l->processes);
	free(l);
}

int library_fd(const struct library *l)
{
	return l->told[0];
}

bool library_next(struct library *l, struct cbt_ev_lib_proc *ret_event)
{
	return read(l->told[0], ret_event, sizeof(*ret_event)) == sizeof(*ret_event);
}

void library_lost(const struct library *l, uint64_t count[CBT_LOST_STAGES])
{
	for (size_t i = 0; i < CBT_LOST_STAGES; i++)
		count[i] += l->lost[i];
}

/* --- For a question --- */

static void look_at(int fd, const char *path, struct library_file *ret)
{
	struct probe_plan plan;
	int r = fd < 0 ? fd : probe_plan_make(fd, &plan);

	*ret = (struct library_file){.error = r};
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	if (r < 0)
		return;
	ret->sites = plan.n_sites;
	ret->has_ssl = plan.has_ssl;
	ret->has_crypto = plan.has_crypto;
	for (size_t i = 0; i < plan.n_sites; i++)
		ret->cheap += plan.sites[i].cheap;
}

static size_t look_mapped(char *text, int root, struct library_file *files, size_t max)
{
	const char *path = NULL;
	size_t n = 0;

	while (n < max && (path = maps_next_library(&text, path))) {
		int fd = path_deleted(path) ? -ESTALE : root_open(root, path, O_RDONLY);

		look_at(fd, path, &files[n++]);
		fd_close(fd);
	}
	return n;
}

int library_look(uint32_t pid, struct library_file *files, size_t max)
{
	char name[32], *text;
	size_t n;
	int r, root, fd;

	snprintf(name, sizeof(name), "/proc/%u/maps", pid);
	r = file_read(AT_FDCWD, name, MAPS_MAX, &text, NULL);
	if (r < 0)
		return r;
	root = process_root_open(pid);
	if (root < 0) {
		free(text);
		return root;
	}
	n = look_mapped(text, root, files, max);
	free(text);
	close(root);
	snprintf(name, sizeof(name), "/proc/%u/exe", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (n < max && fd >= 0) {
		char path[PATH_MAX];
		ssize_t len = readlink(name, path, sizeof(path) - 1);

		path[len > 0 ? len : 0] = '\0';
		look_at(fd, path, &files[n]);
		n += files[n].error != -ENOENT;
	}
	fd_close(fd);
	return (int)n;
}
