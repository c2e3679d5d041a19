/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where in an ELF file with OpenSSL the kernel programs of bpf/library.bpf.c go, and where in its struct ssl_st two
 * fields are. By symbols (elf_symbols.h) and a look at the code (libcapstone).
 *
 * The instruction under a probe decides what a hit costs: one that the kernel emulates (push, jmp, call, jcc, nop)
 * 0.5–0.6 µs, one that it single-steps out of line 17–19 µs (measured: Linux 6.18, a virtual machine; 1–2 µs are
 * published for bare metal). So a site is the first emulated instruction of a function that still sees the arguments. A
 * return probe must find the return address where the stack pointer points, so nothing may have been pushed yet. Debian
 * 12's SSL_read and SSL_write begin with neither; they and their _ex forms share an inner function that does, which is
 * followed by its call.
 */
#ifndef CBTRACE_PROBE_SITES_H
#define CBTRACE_PROBE_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/scope.h>

/* Of the program in bpf/library.bpf.c. */
const char *probe_program_name(enum probe_program p);

#define PROBE_SITES_MAX 20

struct probe_site {
	enum probe_program program;
	uint64_t offset; /* in the file */
	bool cheap;	 /* the kernel emulates the instruction */
};

struct probe_plan {
	struct probe_site sites[PROBE_SITES_MAX];
	size_t n_sites;
	bool has_ssl, has_crypto;   /* which half of OpenSSL is in the file */
	struct lib_offsets offsets; /* negative where unknown */
};

/* 0; -ENOENT no OpenSSL in it, or without symbols; -ENOEXEC, -EBADMSG as elf_symbols.h; another negative errno. */
int probe_plan_make(int fd, struct probe_plan *ret_plan);

#endif
