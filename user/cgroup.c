// SPDX-License-Identifier: BSD-2-Clause
/* Finding the cgroup2 file system and a cgroup in it; see cgroup.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cgroup.h"
#include "file.h"

/* A host with some thousand containers has a mountinfo of some MB; one that is longer is cut at a line. */
#define MOUNTINFO_MAX (4U << 20)

/* Inode number of the initial cgroup namespace: PROC_CGROUP_INIT_INO of include/linux/proc_ns.h. */
#define CGROUP_NS_INITIAL 0xEFFFFFFBU

/* Inode number (the cgroup's id) of a hierarchy's root, since 5.5. */
#define CGROUP_ROOT_ID 1U

#define FILEID_KERNFS_TYPE 0xfe /* include/linux/exportfs.h: a handle that is the 64-bit node id */

static bool octal3(const char *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

/* Copies a mountinfo field with \040 and the like resolved. False if it does not fit. */
static bool field_copy(const char *field, size_t len, char *buf, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = field[i];

		if (c == '\\' && i + 3 < len && octal3(field + i + 1)) {
			c = (char)((field[i + 1] - '0') << 6 | (field[i + 2] - '0') << 3 | (field[i + 3] - '0'));
			i += 3;
		}
		if (c == '\0' || n + 1 >= size)
			return false;
		buf[n++] = c;
	}
	buf[n] = '\0';
	return true;
}

/* The next blank-separated field of a line that ends at @end; false at its end. */
static bool field_next(const char **pos, const char *end, const char **ret_field, size_t *ret_len)
{
	const char *p = *pos, *start;

	while (p < end && *p == ' ')
		p++;
	start = p;
	while (p < end && *p != ' ')
		p++;
	*pos = p;
	*ret_field = start;
	*ret_len = (size_t)(p - start);
	return p > start;
}

/* "36 35 98:0 /root /mount/point rw,noatime master:1 - cgroup2 cgroup2 rw" */
static bool mount_parse(const char *line, const char *end, struct cgroup_mount *ret_mount)
{
	const char *field, *root, *dir;
	size_t len, root_len, dir_len;

	for (int i = 0; i < 3; i++)
		if (!field_next(&line, end, &field, &len))
			return false;
	if (!field_next(&line, end, &root, &root_len) || !field_next(&line, end, &dir, &dir_len))
		return false;
	/* Options and any number of tags, until a lone hyphen. */
	do {
		if (!field_next(&line, end, &field, &len))
			return false;
	} while (len != 1 || *field != '-');
	if (!field_next(&line, end, &field, &len) || len != strlen("cgroup2") || memcmp(field, "cgroup2", len) != 0)
		return false;
	return field_copy(root, root_len, ret_mount->root, sizeof(ret_mount->root)) &&
	       field_copy(dir, dir_len, ret_mount->dir, sizeof(ret_mount->dir));
}

/* A later mount on the same point hides the earlier one; a mount of the whole hierarchy goes before a subtree's. */
static void mounts_add(struct cgroup_mounts *m, const struct cgroup_mount *new)
{
	size_t at = m->n;

	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->mount[i].dir, new->dir) == 0) {
			memmove(&m->mount[i], &m->mount[i + 1], (m->n - i - 1) * sizeof(*new));
			at = --m->n;
			break;
		}
	if (strcmp(new->root, "/") == 0)
		for (at = 0; at < m->n && strcmp(m->mount[at].root, "/") == 0;)
			at++;
	if (at == CGROUP_MOUNTS_MAX)
		return;
	if (m->n == CGROUP_MOUNTS_MAX)
		m->n--;
	memmove(&m->mount[at + 1], &m->mount[at], (m->n - at) * sizeof(*new));
	m->mount[at] = *new;
	m->n++;
}

void cgroup_mounts_parse(const char *mountinfo, struct cgroup_mounts *ret_mounts)
{
	struct cgroup_mount mount;

	ret_mounts->n = 0;
	while (*mountinfo) {
		const char *end = strchrnul(mountinfo, '\n');

		if (mount_parse(mountinfo, end, &mount))
			mounts_add(ret_mounts, &mount);
		mountinfo = *end ? end + 1 : end;
	}
}

const struct cgroup_mount *cgroup_mounts_holder(const struct cgroup_mounts *mounts, const char *path,
						const char **ret_rest)
{
	const struct cgroup_mount *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < mounts->n; i++) {
		const char *dir = mounts->mount[i].dir;
		size_t len = strcmp(dir, "/") == 0 ? 0 : strlen(dir);

		if (strncmp(path, dir, len) != 0 || (path[len] != '/' && path[len] != '\0'))
			continue;
		if (best && len <= best_len)
			continue;
		best = &mounts->mount[i];
		best_len = len;
	}
	if (best)
		*ret_rest = path + best_len;
	return best;
}

int cgroup_path_depth(const char *path)
{
	int depth = 0;

	while (*path) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 2 && memcmp(path, "..", 2) == 0)
			return -1;
		if (len > 0 && !(len == 1 && *path == '.'))
			depth++;
		path += len;
	}
	return depth;
}

int cgroup_scope_of(const struct cgroup_mount *mount, const char *rest, int base, struct cgroup_scope *ret_scope)
{
	struct cgroup_scope scope = {.level = CGROUP_LEVEL_ANY};
	const char *slash = strrchr(rest, '/');
	int depth = cgroup_path_depth(rest), len;

	if (depth <= 0) {
		/* The mount's root itself: nothing above it can be reached, and nothing is to be told apart. */
		len = snprintf(scope.dir, sizeof(scope.dir), "%s", mount->dir);
	} else {
		len = snprintf(scope.name, sizeof(scope.name), "%s", slash + 1);
		if (len >= (int)sizeof(scope.name))
			return -ENAMETOOLONG;
		if (base >= 0)
			scope.level = base + depth;
		len = snprintf(scope.dir, sizeof(scope.dir), "%s%.*s", mount->dir, (int)(slash - rest), rest);
	}
	if (len >= (int)sizeof(scope.dir))
		return -ENAMETOOLONG;
	*ret_scope = scope;
	return 0;
}

static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int cgroup_mounts_find(struct cgroup_mounts *ret_mounts, struct failure *f)
{
	char *text = NULL;
	size_t n = 0;
	int r;

	r = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL);
	if (r < 0)
		return failure_set(f, r, "/proc/self/mountinfo: %s; mount /proc", strerror(-r));
	cgroup_mounts_parse(text, ret_mounts);
	free(text);
	/* What is mounted elsewhere on top of it cannot be used. */
	for (size_t i = 0; i < ret_mounts->n; i++)
		if (is_cgroup2(ret_mounts->mount[i].dir))
			ret_mounts->mount[n++] = ret_mounts->mount[i];
	ret_mounts->n = n;
	if (n == 0)
		return failure_set(
			f, -ENOENT,
			"no cgroup v2 file system is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup "
			"(or, beside version 1, on /sys/fs/cgroup/unified)");
	return 0;
}

/*
 * Depth of the mount's root in the hierarchy, as bpf_get_current_ancestor_cgroup_id() counts; -1 if it cannot be known:
 * inside a cgroup namespace mountinfo counts from the namespace's root, whose own depth nothing tells. The name is then
 * looked for at any level below the attach point.
 */
static int mount_base(const struct cgroup_mount *mount)
{
	struct stat st;

	if (stat(mount->dir, &st) == 0 && st.st_ino == CGROUP_ROOT_ID)
		return 0;
	if (stat("/proc/self/ns/cgroup", &st) == 0 && st.st_ino == CGROUP_NS_INITIAL)
		return cgroup_path_depth(mount->root);
	return -1;
}

/*
 * An existing directory: given as seen in the file system, or from the cgroup2 root. *@ret_rest points into @real.
 */
static int path_locate(const struct cgroup_mounts *mounts, const char *path, char real[static PATH_MAX],
		       const struct cgroup_mount **ret_mount, const char **ret_rest, struct failure *f)
{
	char joined[2 * CGROUP_PATH_MAX + 2];
	const struct cgroup_mount *mount = NULL;
	const char *rest;
	struct stat st;

	if (*path == '/' && realpath(path, real))
		mount = cgroup_mounts_holder(mounts, real, &rest);
	snprintf(joined, sizeof(joined), "%s/%s", mounts->mount[0].dir, path);
	if (!mount && realpath(joined, real))
		mount = cgroup_mounts_holder(mounts, real, &rest);
	if (!mount)
		return failure_set(
			f, -ENOENT,
			"--cgroup %.200s: no such directory in %.100s; start what it belongs to first, or use "
			"--unit NAME, which waits for it",
			path, mounts->mount[0].dir);
	if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode) || !is_cgroup2(real))
		return failure_set(f, -ENOTDIR, "--cgroup %.200s: not a cgroup v2 directory; give one below %.100s",
				   path, mounts->mount[0].dir);
	*ret_mount = mount;
	*ret_rest = rest;
	return 0;
}

/* A unit: slices nest as they like, so it is at a level that only its start decides. -ENAMETOOLONG. */
static int unit_scope(const struct cgroup_mount *mount, const char *rest, const char *unit, struct cgroup_scope *scope)
{
	int dir_len = snprintf(scope->dir, sizeof(scope->dir), "%s%s", mount->dir, rest);
	int name_len = snprintf(scope->name, sizeof(scope->name), "%s", unit);

	scope->level = CGROUP_LEVEL_ANY;
	return dir_len < (int)sizeof(scope->dir) && name_len < (int)sizeof(scope->name) ? 0 : -ENAMETOOLONG;
}

int cgroup_resolve(const struct cgroup_mounts *mounts, const char *path, const char *unit,
		   struct cgroup_scope *ret_scope, struct failure *f)
{
	const struct cgroup_mount *mount = &mounts->mount[0];
	struct cgroup_scope scope;
	char real[PATH_MAX] = "";
	const char *rest = "";
	int r = 0;

	if (path && *path)
		r = path_locate(mounts, path, real, &mount, &rest, f);
	if (r < 0)
		return r;
	if (unit && *unit)
		r = unit_scope(mount, rest, unit, &scope);
	else
		r = cgroup_scope_of(mount, rest, mount_base(mount), &scope);
	if (r < 0)
		return failure_set(f, r, "%.200s: path too long; give a directory nearer the root", real);
	*ret_scope = scope;
	return 0;
}

/* The path of an open directory, without the " (deleted)" of one that is gone. */
static int fd_path(int fd, char *buf, size_t size)
{
	static const char deleted[] = " (deleted)";
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, size);
	if (n < 0)
		return -errno;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	if ((size_t)n >= strlen(deleted) && strcmp(buf + n - strlen(deleted), deleted) == 0)
		buf[(size_t)n - strlen(deleted)] = '\0';
	return 0;
}

/* Opens the cgroup with @id by its file handle, which on cgroup2 is the id alone. */
static int cgroup_open_id(const struct cgroup_mount *mount, uint64_t id)
{
	struct {
		struct file_handle head;
		uint64_t id;
	} handle = {.head = {.handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS_TYPE}, .id = id};
	int dir, fd;

	_Static_assert(offsetof(typeof(handle), id) == sizeof(struct file_handle), "the id is the handle's bytes");
	dir = open(mount->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	fd = open_by_handle_at(dir, &handle.head, O_PATH | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(dir);
	return fd;
}

int cgroup_path_of_id(const struct cgroup_mount *mount, uint64_t id, char *buf, size_t size)
{
	char path[PATH_MAX];
	const char *rest;
	size_t skip;
	int fd, r;

	fd = cgroup_open_id(mount, id);
	if (fd < 0)
		return fd;
	r = fd_path(fd, path, sizeof(path));
	close(fd);
	if (r < 0)
		return r;
	skip = strlen(mount->dir);
	if (strncmp(path, mount->dir, skip) != 0)
		return -ENOENT;
	rest = path[skip] ? path + skip : "/";
	return snprintf(buf, size, "%s", rest) < (int)size ? 0 : -ENAMETOOLONG;
}

bool cgroup_scope_holds(const struct cgroup_mounts *mounts, const struct cgroup_scope *scope, const char *path)
{
	const char *name = scope->name, *rest = "";
	size_t name_len = strlen(name), rest_len;

	if (!cgroup_mounts_holder(mounts, scope->dir, &rest))
		return false;
	rest_len = strlen(rest);
	if (strncmp(path, rest, rest_len) != 0 || (path[rest_len] != '/' && path[rest_len] != '\0'))
		return false;
	if (name_len == 0)
		return true;
	for (const char *p = path + rest_len; (p = strchr(p, '/')) != NULL;) {
		p++;
		if (strncmp(p, name, name_len) == 0 && (p[name_len] == '/' || p[name_len] == '\0'))
			return true;
		if (scope->level != CGROUP_LEVEL_ANY)
			return false;
	}
	return false;
}
