// SPDX-License-Identifier: BSD-2-Clause
/* Files of /proc have no size to ask for: they are read until they end. See file.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

#define FILE_FIRST_READ 4096

/* Reads @fd to its end or to @max bytes. */
static int fd_read_all(int fd, size_t max, char **ret_text, size_t *ret_len)
{
	size_t size = 0, len = 0;
	char *text = NULL;

	for (;;) {
		ssize_t n;

		if (len + 1 >= size) {
			char *bigger;

			size = size ? 2 * size : FILE_FIRST_READ;
			if (size > max + 1)
				size = max + 1;
			bigger = realloc(text, size);
			if (!bigger) {
				free(text);
				return -ENOMEM;
			}
			text = bigger;
		}
		n = read(fd, text + len, size - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;

			free(text);
			return r;
		}
		len += (size_t)n;
		if (n == 0 || len == max)
			break;
	}
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

int file_read(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len)
{
	size_t len = 0;
	char *text = NULL;
	int fd, r;

	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fd_read_all(fd, max, &text, &len);
	close(fd);
	if (!text)
		return r;
	if (len == max) {
		char *end = memrchr(text, '\n', len);

		len = end ? (size_t)(end - text) + 1 : 0;
		text[len] = '\0';
	}
	*ret_text = text;
	if (ret_len)
		*ret_len = len;
	return 0;
}
