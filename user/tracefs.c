// SPDX-License-Identifier: BSD-2-Clause
/* uprobe events. See tracefs.h. */
#include "tracefs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "file.h"

#define GROUP	   "cbtrace_"
#define EVENTS_MAX ((size_t)4 * 1024 * 1024) /* of uprobe_events, everybody's */

/* Since Linux 5.2. */
static int mount_detached(void)
{
	int fs = fsopen("tracefs", FSOPEN_CLOEXEC), dir = -1;

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		dir = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (dir < 0)
		dir = -errno;
	close(fs);
	return dir;
}

static int mounted(void)
{
	static const char *const paths[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int dir = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (dir < 0)
			continue;
		if (faccessat(dir, "uprobe_events", W_OK, 0) == 0)
			return dir;
		close(dir);
	}
	return -ENOENT;
}

static int command(int dir, const char *line)
{
	int fd = openat(dir, "uprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, line, strlen(line)) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* "p:cbtrace_123/name path:offset" of a process that is gone: a name to remove; NULL otherwise. */
static char *stale_name(char *line)
{
	char *group = strchr(line, ':'), *end;
	long pid;

	if (!group || strncmp(group + 1, GROUP, strlen(GROUP)) != 0)
		return NULL;
	group++;
	pid = strtol(group + strlen(GROUP), &end, 10);
	if (*end != '/' || pid <= 0 || pid > INT32_MAX || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
		return NULL;
	end = strchr(end, ' ');
	if (end)
		*end = '\0';
	return group;
}

static void stale_remove(int dir)
{
	char *text, *save = NULL, remove[256];

	if (file_read(dir, "uprobe_events", EVENTS_MAX, &text, NULL) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *name = stale_name(line);

		if (name && snprintf(remove, sizeof(remove), "-:%s", name) < (int)sizeof(remove))
			(void)command(dir, remove);
	}
	free(text);
}

int tracefs_open(void)
{
	int dir = mount_detached();

	if (dir < 0)
		dir = mounted();
	if (dir >= 0)
		stale_remove(dir);
	return dir;
}

static int64_t event_id(int dir, const char *name)
{
	char path[2 * TRACEFS_NAME_MAX], *text;
	int64_t id;
	int r;

	snprintf(path, sizeof(path), "events/" GROUP "%d/%s/id", getpid(), name);
	r = file_read(dir, path, 64, &text, NULL);
	if (r < 0)
		return r;
	id = strtoll(text, NULL, 10);
	free(text);
	return id > 0 ? id : -EBADMSG;
}

int64_t tracefs_uprobe_add(int dir, const char *name, int fd, uint64_t offset, bool is_return)
{
	char line[3 * TRACEFS_NAME_MAX];
	int64_t r;

	/* By the descriptor: it is this very file, whatever its path leads to by now. */
	snprintf(line, sizeof(line), "%c:" GROUP "%d/%s /proc/self/fd/%d:0x%" PRIx64, is_return ? 'r' : 'p', getpid(),
		 name, fd, offset);
	r = command(dir, line);
	if (r < 0)
		return r;
	r = event_id(dir, name);
	if (r < 0)
		tracefs_uprobe_remove(dir, name);
	return r;
}

void tracefs_uprobe_remove(int dir, const char *name)
{
	char line[2 * TRACEFS_NAME_MAX];

	snprintf(line, sizeof(line), "-:" GROUP "%d/%s", getpid(), name);
	(void)command(dir, line);
}
