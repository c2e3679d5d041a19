/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The live source: loads and attaches the kernel programs and reads their ring. Nothing else includes libbpf. All that
 * was loaded and attached belongs to the process and goes with it, however it dies: links are never pinned.
 */
#ifndef CBTRACE_SOURCE_RING_H
#define CBTRACE_SOURCE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>
#include <cbtrace/scope.h>

struct ring_config {
	const char *cgroup_dir;	 /* attach here */
	const char *cgroup_name; /* trace only what is in a cgroup of this name, or below it; NULL all */
	int cgroup_level;	 /* depth of that cgroup below the hierarchy's root (1: a child of it); negative: any */
	uint32_t pid;		 /* 0 any */
	const char *comm;	 /* of the thread group's leader; NULL any */
	const uint16_t *ports;	 /* traced ports, host order */
	size_t n_ports;
	size_t ring_bytes; /* a power of two, at least a page */
	bool library;	   /* load the library probes too; they are placed by library.h */
	bool verbose;	   /* what libbpf says goes to stderr */
};

struct ring_source;

/* 0, or a negative errno with one line in @line that names the remedy: -EPERM, -ENOENT (no BTF), -ENOTDIR (no cgroup
 * v2), others. */
int ring_source_open(const struct ring_config *config, struct ring_source **ret_source, char *line, size_t size);
void ring_source_close(struct ring_source *s); /* accepts NULL */

/* Would ring_source_open() succeed? Attaches only if @attach. As ring_source_open(). */
int ring_source_probe(const struct ring_config *config, bool attach, char *line, size_t size);

int ring_source_fd(const struct ring_source *s); /* for epoll: readable after a forced wake-up */

/* Hand every event to @emit, in ring order; it is valid during the call only. How many there were, or a negative errno.
 */
int ring_source_drain(struct ring_source *s, void (*emit)(const struct cbt_hdr *ev, void *arg), void *arg);

/* Ask to be woken by the next event. True: the ring holds one already, so drain first. */
bool ring_source_sleep_begin(struct ring_source *s);
/* No longer: events may come without a wake-up. */
void ring_source_awake(struct ring_source *s);

/* Losses so far, by stage; stages that the kernel side does not count are left 0. */
void ring_source_lost(const struct ring_source *s, uint64_t count[CBT_LOST_STAGES]);

/* The tap of this socket has told what it can. */
void ring_source_tap_done(struct ring_source *s, uint64_t cookie);

/* --- Library probes; library.c's thread may call these while another drains --- */

/* Descriptor of a kernel program by its name; -ENOENT. */
int ring_source_program_fd(const struct ring_source *s, const char *name);
/* Where program lib_site finds @program; the offset within a page counts. */
int ring_source_library_site(struct ring_source *s, uint64_t offset, enum probe_program program);
/* The ring that tells which process to arm: for epoll, readable at once. */
int ring_source_arms_fd(const struct ring_source *s);
void ring_source_arms_drain(struct ring_source *s, void (*each)(const struct lib_arm *arm, void *arg), void *arg);
/* @tgid has been dealt with; where its library keeps what. */
void ring_source_library_offsets(struct ring_source *s, uint32_t tgid, const struct lib_offsets *offsets);
void ring_source_library_forget(struct ring_source *s, uint32_t tgid);
/* One probe by libbpf's own attach, where tracefs is missing. NULL with errno set. */
void *ring_source_probe_attach(struct ring_source *s, const char *name, int pid, const char *path, uint64_t offset,
			       bool is_return);
void ring_source_probe_detach(void *probe);

#endif
