/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading the small text files of /proc and /sys. */
#ifndef CBTRACE_FILE_H
#define CBTRACE_FILE_H

#include <stddef.h>

/*
 * The file at @path, relative to directory @dirfd, as one NUL-terminated string: at most @max bytes, cut there at a
 * line's end. 0, with memory for free() in *@ret_text; *@ret_len, if not NULL, its length. Or a negative errno.
 */
int file_read(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len);

#endif
