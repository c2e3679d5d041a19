// SPDX-License-Identifier: BSD-2-Clause
/* process_* metrics with the names and meanings of Prometheus' own client libraries. */
#include "process_stat.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "file.h"

#define STAT_MAX     4096
#define NSEC_PER_SEC INT64_C(1000000000)

/* Field numbers of /proc/PID/stat, proc(5). */
enum { FIELD_STATE = 3, FIELD_UTIME = 14, FIELD_STIME = 15, FIELD_STARTTIME = 22, FIELD_VSIZE = 23, FIELD_RSS = 24 };

static void put(struct text *out, const char *name, const char *type, const char *help)
{
	text_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s ", name, help, name, type, name);
}

static void put_ns(struct text *out, int64_t ns)
{
	text_printf(out, "%" PRId64 ".%09" PRId64 "\n", ns / NSEC_PER_SEC, ns % NSEC_PER_SEC);
}

/* Fields from FIELD_STATE on; the name before them may hold blanks and brackets, so begin behind its last bracket. */
static int read_fields(unsigned long long fields[static FIELD_RSS + 1])
{
	char *stat = NULL, *save = NULL, *word;
	int i = FIELD_STATE, r = file_read(AT_FDCWD, "/proc/self/stat", STAT_MAX, &stat, NULL);

	if (r < 0)
		return r;
	word = strrchr(stat, ')');
	for (word = word ? strtok_r(word + 1, " \n", &save) : NULL; word && i <= FIELD_RSS;
	     word = strtok_r(NULL, " \n", &save))
		fields[i++] = strtoull(word, NULL, 10);
	free(stat);
	return i > FIELD_RSS ? 0 : -1;
}

/* CLOCK_REALTIME when the machine's clock CLOCK_BOOTTIME, of which starttime counts, was 0. */
static int64_t boot_real_ns(void)
{
	struct timespec real, boot;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (real.tv_sec - boot.tv_sec) * NSEC_PER_SEC + real.tv_nsec - boot.tv_nsec;
}

static long count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	long n = 0;

	if (!dir)
		return -1;
	for (const struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.')
			n++;
	closedir(dir);
	return n - 1; /* that of the directory itself */
}

int64_t process_stat_start(void)
{
	unsigned long long f[FIELD_RSS + 1] = {0};
	long long tick = sysconf(_SC_CLK_TCK);

	if (tick <= 0 || read_fields(f) < 0)
		return 0;
	return boot_real_ns() + (int64_t)f[FIELD_STARTTIME] * (NSEC_PER_SEC / tick);
}

static void put_stat(struct text *out)
{
	unsigned long long f[FIELD_RSS + 1] = {0};
	long long tick = sysconf(_SC_CLK_TCK), page = sysconf(_SC_PAGESIZE);

	if (tick <= 0 || page <= 0 || read_fields(f) < 0)
		return;
	put(out, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.");
	put_ns(out, (int64_t)(f[FIELD_UTIME] + f[FIELD_STIME]) * (NSEC_PER_SEC / tick));
	put(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.");
	text_printf(out, "%llu\n", f[FIELD_VSIZE]);
	put(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
	text_printf(out, "%llu\n", f[FIELD_RSS] * (unsigned long long)page);
}

void process_stat_write(struct text *out, int64_t start_ns)
{
	long fds = count_fds();
	struct rlimit limit;

	if (start_ns > 0) {
		put(out, "process_start_time_seconds", "gauge",
		    "Start time of the process since unix epoch in seconds.");
		put_ns(out, start_ns);
	}
	put_stat(out);
	if (fds >= 0) {
		put(out, "process_open_fds", "gauge", "Number of open file descriptors.");
		text_printf(out, "%ld\n", fds);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
		put(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.");
		text_printf(out, "%llu\n", (unsigned long long)limit.rlim_cur);
	}
}
