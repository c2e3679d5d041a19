/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the kernel programs are attached, and which cgroup below that point is meant. A program attached to a
 * service's own cgroup goes blind, without an error, when the service is restarted and its cgroup made anew: so they
 * are attached to a directory that outlives it, and the cgroup is recognised by its name.
 */
#ifndef CBTRACE_CGROUP_H
#define CBTRACE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

#define CGROUP_PATH_MAX	  1024 /* with its NUL */
#define CGROUP_NAME_MAX	  256  /* NAME_MAX of the kernel, with its NUL */
#define CGROUP_MOUNTS_MAX 8

/* cgroup_scope.level: wherever below the attach point; else the depth counted from the hierarchy's root, which is 0. */
#define CGROUP_LEVEL_ANY (-1)

struct cgroup_mount {
	char dir[CGROUP_PATH_MAX];  /* mount point, canonical */
	char root[CGROUP_PATH_MAX]; /* the cgroup that is mounted there, as this cgroup namespace sees it: "/" or a
				       subtree */
};

struct cgroup_mounts {
	size_t n;
	struct cgroup_mount mount[CGROUP_MOUNTS_MAX]; /* the best first: those of the whole hierarchy */
};

struct cgroup_scope {
	char dir[CGROUP_PATH_MAX];  /* attach here */
	char name[CGROUP_NAME_MAX]; /* only in a cgroup of this name and below it; "" everything below @dir */
	int level;		    /* of that cgroup, or CGROUP_LEVEL_ANY */
};

/* --- Pure: text in --- */

/* The cgroup2 mounts in a mountinfo text (proc_pid_mountinfo(5)). Those whose paths are too long are left out. */
void cgroup_mounts_parse(const char *mountinfo, struct cgroup_mounts *ret_mounts);

/* Which mount holds the canonical path @path? *@ret_rest points at what follows the mount point: "" or "/…". */
const struct cgroup_mount *cgroup_mounts_holder(const struct cgroup_mounts *mounts, const char *path,
						const char **ret_rest);

/* Components of a path: "/" 0, "/a//b/" 2. -1 if one of them is ".." (a mount root outside the namespace). */
int cgroup_path_depth(const char *path);

/*
 * The scope of the cgroup at @rest below @mount. @base: depth of the mount's root in the hierarchy, -1 unknown.
 * -ENAMETOOLONG.
 */
int cgroup_scope_of(const struct cgroup_mount *mount, const char *rest, int base, struct cgroup_scope *ret_scope);

/* Is the cgroup at @path, from the hierarchy's root, the one meant, or below it? */
bool cgroup_scope_holds(const struct cgroup_mounts *mounts, const struct cgroup_scope *scope, const char *path);

/* --- These look at the system --- */

/* The mounts of this process whose mount point really is a cgroup2 file system. -ENOENT with a line in @f. */
int cgroup_mounts_find(struct cgroup_mounts *ret_mounts, struct failure *f);

/*
 * The scope of --cgroup @path and --unit @unit, either may be NULL or "". A unit need not exist yet.
 * -ENOENT, -ENOTDIR, -ENAMETOOLONG with a line in @f.
 */
int cgroup_resolve(const struct cgroup_mounts *mounts, const char *path, const char *unit,
		   struct cgroup_scope *ret_scope, struct failure *f);

/* The path, from the hierarchy's root, of the cgroup with this id, in a buffer of @size bytes. -ENOENT and other errors
 * of open_by_handle_at(2). */
int cgroup_path_of_id(const struct cgroup_mount *mount, uint64_t id, char *buf, size_t size);

#endif
