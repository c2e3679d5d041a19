// SPDX-License-Identifier: BSD-2-Clause
/*
 * Facts about processes, see proc.h. Reading them is the dearest thing done for a new process, so: once per process;
 * the sockets on port 53 once per network namespace and NETNS_FRESH_NS; and descriptors only where there is such a
 * socket at all. TCP is left out: reading /proc/net/tcp walks the whole hash of connections, 5 ms on an idle machine,
 * and a forwarder that does not answer over UDP is none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "proc.h"

/* 4096 processes, in sets, so that looking one up needs no lists. */
#define SETS 512
#define WAYS 8

#define NETNS_MAX	16  /* network namespaces whose port 53 is remembered */
#define PORT_53_MAX	64  /* sockets on port 53 remembered of each */
#define FDS_MAX		256 /* descriptors looked at; a forwarder opens its sockets early */
#define NET_TEXT_MAX	(1U << 20)
#define SMALL_TEXT_MAX	8192
#define NETNS_FRESH_NS	250000000ULL
#define RECHECK_NS	1000000000ULL
#define NEVER		0
#define STAT_START_TIME 22

struct proc_entry {
	uint32_t tgid; /* 0: free */
	bool forwarder;
	bool provisional;	  /* the sockets were read before this process was first seen */
	uint64_t first_ns;	  /* when it was first seen: time of the event */
	uint64_t start_time;	  /* 0 unknown: it had gone */
	uint64_t checked_ns;	  /* when it was last known to be the same process */
	struct cbt_ev_proc *told; /* owned; NULL: nothing was */
	bool recorded;
};

struct netns {
	ino_t ino; /* 0: free */
	uint64_t read_ns;
	size_t n;
	uint64_t inodes[PORT_53_MAX];
};

struct proc_table {
	int dir; /* of /proc */
	const struct cgroup_mount *mount;
	struct proc_entry entry[SETS][WAYS];
	struct netns netns[NETNS_MAX];
};

int proc_parse_cgroup(const char *text, char *buf, size_t size)
{
	static const char deleted[] = " (deleted)"; /* a cgroup that was removed meanwhile */
	size_t len;

	while (strncmp(text, "0::/", 4) != 0) {
		text = strchr(text, '\n');
		if (!text)
			return -ENOENT;
		text++;
	}
	text += 3;
	len = strcspn(text, "\n");
	if (len > strlen(deleted) && memcmp(text + len - strlen(deleted), deleted, strlen(deleted)) == 0)
		len -= strlen(deleted);
	if (len >= size)
		return -ENAMETOOLONG;
	memcpy(buf, text, len);
	buf[len] = '\0';
	return 0;
}

/* Decimal or hexadecimal digits up to a blank or the end. */
static bool number_field(const char *field, size_t len, int base, uint64_t *ret_number)
{
	char digits[32], *end;

	if (len == 0 || len >= sizeof(digits) || field[0] == '-' || field[0] == '+')
		return false;
	memcpy(digits, field, len);
	digits[len] = '\0';
	errno = 0;
	*ret_number = strtoull(digits, &end, base);
	return errno == 0 && *end == '\0';
}

/* The @index-th blank-separated field, counted from 0, of a line. */
static const char *line_field(const char *line, int index, size_t *ret_len)
{
	for (;; index--) {
		line += strspn(line, " ");
		*ret_len = strcspn(line, " \n");
		if (*ret_len == 0)
			return NULL;
		if (index == 0)
			return line;
		line += *ret_len;
	}
}

int proc_parse_start_time(const char *stat, uint64_t *ret_ticks)
{
	/* The second field is a name in parentheses, which can hold blanks and parentheses itself. */
	const char *after = strrchr(stat, ')'), *field;
	uint64_t ticks;
	size_t len;

	if (!after)
		return -EBADMSG;
	field = line_field(after + 1, STAT_START_TIME - 3, &len);
	if (!field || !number_field(field, len, 10, &ticks))
		return -EBADMSG;
	*ret_ticks = ticks;
	return 0;
}

/* "  12: 3500007F:0035 00000000:0000 07 …": fields 0 slot, 1 local address, 9 inode. */
static bool socket_line_parse(const char *line, uint64_t *ret_inode)
{
	const char *field, *colon;
	uint64_t port;
	size_t len;

	field = line_field(line, 1, &len);
	if (!field)
		return false;
	colon = memchr(field, ':', len);
	if (!colon || !number_field(colon + 1, len - (size_t)(colon + 1 - field), 16, &port) || port != 53)
		return false;
	field = line_field(line, 9, &len);
	return field && number_field(field, len, 10, ret_inode) && *ret_inode != 0;
}

size_t proc_parse_port_53(const char *text, uint64_t *inodes, size_t max)
{
	size_t n = 0;

	for (text = strchr(text, '\n'); text && n < max; text = strchr(text, '\n')) {
		text++;
		if (socket_line_parse(text, &inodes[n]))
			n++;
	}
	return n;
}

bool proc_parse_socket_link(const char *link, uint64_t *ret_inode)
{
	static const char prefix[] = "socket:[";
	size_t len = strlen(link), skip = strlen(prefix);

	return len > skip && strncmp(link, prefix, skip) == 0 && link[len - 1] == ']' &&
	       number_field(link + skip, len - skip - 1, 10, ret_inode);
}

struct proc_table *proc_table_new(const char *dir, const struct cgroup_mount *mount)
{
	struct proc_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t->mount = mount;
	return t; /* without /proc everything is unknown, which is no failure */
}

void proc_table_free(struct proc_table *t)
{
	if (!t)
		return;
	if (t->dir >= 0)
		close(t->dir);
	for (size_t i = 0; i < SETS; i++)
		for (size_t j = 0; j < WAYS; j++)
			free(t->entry[i][j].told);
	free(t);
}

static int proc_open(const struct proc_table *t, uint32_t tgid)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", tgid);
	return openat(t->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static uint64_t start_time_read(int process)
{
	uint64_t ticks = 0;
	char *text;

	if (file_read(process, "stat", SMALL_TEXT_MAX, &text, NULL) < 0)
		return 0;
	proc_parse_start_time(text, &ticks);
	free(text);
	return ticks;
}

static void netns_read(struct netns *ns, int process)
{
	static const char *const files[] = {"net/udp", "net/udp6"};

	ns->n = 0;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *text;

		if (file_read(process, files[i], NET_TEXT_MAX, &text, NULL) < 0)
			continue;
		ns->n += proc_parse_port_53(text, ns->inodes + ns->n, PORT_53_MAX - ns->n);
		free(text);
	}
}

/* The network namespace of a process, read anew if it is not fresh; NULL if the process has gone. */
static const struct netns *netns_of(struct proc_table *t, int process, uint64_t now)
{
	struct netns *ns = &t->netns[0];
	struct stat st;

	if (fstatat(process, "ns/net", &st, 0) < 0)
		return NULL;
	for (size_t i = 0; i < NETNS_MAX; i++) {
		if (t->netns[i].ino == st.st_ino) {
			ns = &t->netns[i];
			break;
		}
		if (t->netns[i].read_ns < ns->read_ns)
			ns = &t->netns[i];
	}
	if (ns->ino != st.st_ino || now - ns->read_ns > NETNS_FRESH_NS) {
		netns_read(ns, process);
		ns->ino = st.st_ino;
		ns->read_ns = now;
	}
	return ns;
}

static bool netns_has(const struct netns *ns, uint64_t inode)
{
	for (size_t i = 0; i < ns->n; i++)
		if (ns->inodes[i] == inode)
			return true;
	return false;
}

/* Does the process hold one of the sockets of @ns? */
static bool process_holds(int process, const struct netns *ns)
{
	int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *d;
	bool found = false;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	for (int i = 0; i < FDS_MAX && !found && (d = readdir(dir)) != NULL; i++) {
		char link[64];
		ssize_t n = readlinkat(fd, d->d_name, link, sizeof(link) - 1);
		uint64_t inode;

		if (n <= 0)
			continue;
		link[n] = '\0';
		found = proc_parse_socket_link(link, &inode) && netns_has(ns, inode);
	}
	closedir(dir);
	return found;
}

static void cgroup_read(int process, char path[CBT_PATH_MAX + 1])
{
	char *text;

	if (file_read(process, "cgroup", SMALL_TEXT_MAX, &text, NULL) < 0)
		return;
	if (proc_parse_cgroup(text, path, CBT_PATH_MAX + 1) < 0)
		path[0] = '\0';
	free(text);
}

/* Whose sockets were read at @ret_read_ns (NEVER: not at all). Returns false if there is no such process. */
static bool facts_read(struct proc_table *t, uint32_t tgid, uint64_t now, struct proc_facts *facts,
		       uint64_t *ret_read_ns)
{
	int process = proc_open(t, tgid);
	const struct netns *ns;

	*ret_read_ns = NEVER;
	if (process < 0)
		return false;
	facts->start_time = start_time_read(process);
	ns = netns_of(t, process, now);
	if (ns) {
		facts->forwarder = ns->n > 0 && process_holds(process, ns);
		*ret_read_ns = ns->read_ns;
	}
	if (!facts->cgroup[0])
		cgroup_read(process, facts->cgroup);
	close(process);
	return facts->start_time != 0;
}

int proc_table_facts(struct proc_table *t, uint32_t tgid, uint64_t now, struct proc_facts *ret_facts)
{
	struct proc_facts facts = {0};
	uint64_t read_ns;
	int process;
	char *text;

	if (!facts_read(t, tgid, now, &facts, &read_ns))
		return -ESRCH;
	process = proc_open(t, tgid);
	if (process >= 0 && file_read(process, "comm", SMALL_TEXT_MAX, &text, NULL) == 0) {
		snprintf(facts.comm, sizeof(facts.comm), "%.*s", (int)strcspn(text, "\n"), text);
		free(text);
	}
	if (process >= 0)
		close(process);
	*ret_facts = facts;
	return 0;
}

/* Where @tgid is, or where it may go: a free place of its set, else the one not seen for longest. */
static struct proc_entry *entry_find(struct proc_table *t, uint32_t tgid)
{
	struct proc_entry *set = t->entry[tgid % SETS], *place = &set[0];

	for (int i = 0; i < WAYS; i++) {
		if (set[i].tgid == tgid)
			return &set[i];
		if (place->tgid && (!set[i].tgid || set[i].checked_ns < place->checked_ns))
			place = &set[i];
	}
	return place;
}

static void entry_clear(struct proc_entry *e)
{
	free(e->told);
	memset(e, 0, sizeof(*e));
}

static void entry_forget(struct proc_table *t, uint32_t tgid)
{
	struct proc_entry *e = entry_find(t, tgid);

	if (e->tgid == tgid)
		entry_clear(e);
}

/* Is what is known of this process still true? A process id can have come back as another process. */
static bool entry_holds(const struct proc_table *t, struct proc_entry *e, uint64_t now)
{
	uint64_t start_time;
	int process;

	if (now - e->checked_ns < RECHECK_NS)
		return true;
	if (e->provisional)
		return false;
	process = proc_open(t, e->tgid);
	start_time = process >= 0 ? start_time_read(process) : 0;
	if (process >= 0)
		close(process);
	/* Gone, and so it stays what it was. */
	if (start_time != 0 && start_time != e->start_time)
		return false;
	e->checked_ns = now;
	return true;
}

static const struct cbt_owner *event_owner(const struct cbt_hdr *ev)
{
	switch (ev->type) {
	case CBT_EV_DNS:
		return &((const struct cbt_ev_dns *)ev)->owner;
	case CBT_EV_CONNECT:
		return &((const struct cbt_ev_connect *)ev)->owner;
	default:
		return NULL;
	}
}

/* NULL for want of memory. */
static struct cbt_ev_proc *event_new(const struct cbt_hdr *cause, const struct proc_facts *facts)
{
	size_t path_len = strlen(facts->cgroup), len = sizeof(struct cbt_ev_proc) + path_len;
	struct cbt_ev_proc *out = calloc(1, len);

	if (!out)
		return NULL;
	out->h.ts = cause->ts;
	out->h.len = (uint32_t)len;
	out->h.type = CBT_EV_PROC;
	out->h.tgid = cause->tgid;
	out->flags = facts->forwarder ? CBT_PROC_FORWARDER : 0;
	out->path_len = (uint16_t)path_len;
	memcpy(out->path, facts->cgroup, path_len);
	return out;
}

/* Looks the process of @ev up and makes @e say so. Returns whether there is something new to tell. */
static bool entry_read(struct proc_table *t, struct proc_entry *e, const struct cbt_hdr *ev,
		       const struct cbt_owner *owner, uint64_t now)
{
	struct proc_facts facts = {0};
	uint64_t read_ns;
	bool alive, same;

	/* By its id the cgroup is known even if the process has gone: a service's cgroup outlives its children. */
	if (t->mount && cgroup_path_of_id(t->mount, owner->cgroup_id, facts.cgroup, sizeof(facts.cgroup)) < 0)
		facts.cgroup[0] = '\0';
	alive = facts_read(t, ev->tgid, now, &facts, &read_ns);
	same = e->tgid == ev->tgid && e->start_time == facts.start_time;
	if (!same) {
		entry_clear(e);
		e->tgid = ev->tgid;
		e->first_ns = ev->ts;
		e->start_time = facts.start_time;
	}
	e->checked_ns = now;
	/* Sockets that were read before it asked may lack one that it bound in between. */
	e->provisional = alive && !facts.forwarder && read_ns < e->first_ns;
	if ((!alive && !facts.cgroup[0]) || (same && e->forwarder == facts.forwarder))
		return false;
	e->forwarder = facts.forwarder;
	e->recorded = false;
	free(e->told);
	e->told = event_new(ev, &facts);
	return e->told;
}

const struct cbt_ev_proc *proc_table_observe(struct proc_table *t, const struct cbt_hdr *ev, uint64_t now)
{
	const struct cbt_owner *owner = event_owner(ev);
	struct proc_entry *e;

	if (ev->tgid == 0)
		return NULL;
	/* What exec changes is looked up when the new program first asks: it has bound its sockets by then. */
	if (ev->type == CBT_EV_EXEC || ev->type == CBT_EV_EXIT)
		entry_forget(t, ev->tgid);
	if (!owner)
		return NULL;
	e = entry_find(t, ev->tgid);
	if (e->tgid == ev->tgid && entry_holds(t, e, now))
		return NULL;
	return entry_read(t, e, ev, owner, now) ? e->told : NULL;
}

const struct cbt_ev_proc *proc_table_unrecorded(struct proc_table *t, uint32_t tgid)
{
	const struct proc_entry *e = entry_find(t, tgid);

	return tgid && e->tgid == tgid && !e->recorded ? e->told : NULL;
}

void proc_table_recorded(struct proc_table *t, uint32_t tgid)
{
	struct proc_entry *e = entry_find(t, tgid);

	if (e->tgid == tgid)
		e->recorded = true;
}
