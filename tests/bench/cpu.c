// SPDX-License-Identifier: BSD-2-Clause
/*
 * `cpu COMMAND…` runs it with its output thrown away, and prints its CPU time (user and system) in µs and its peak
 * memory in KiB. In C, since a process inherits the peak of the one that starts it: a small one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int command_run(char **argv)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
		return 127;
	execvp(argv[0], argv);
	return 127;
}

static long long micros(const struct timeval *t)
{
	return t->tv_sec * 1000000LL + t->tv_usec;
}

int main(int argc, char **argv)
{
	struct rusage used;
	int status;
	pid_t pid;

	if (argc < 2) {
		fprintf(stderr, "usage: cpu COMMAND...\n");
		return 1;
	}
	pid = fork();
	if (pid < 0)
		return 2;
	if (pid == 0)
		_exit(command_run(argv + 1));
	if (wait4(pid, &status, 0, &used) < 0)
		return 2;
	printf("%lld %ld\n", micros(&used.ru_utime) + micros(&used.ru_stime), used.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
