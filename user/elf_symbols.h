/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Functions of an ELF file (shared library or executable) by name, and their code, by libelf over .dynsym and .symtab.
 * Trusts nothing in the file. Offsets are of the file, which is what a uprobe wants.
 */
#ifndef CBTRACE_ELF_SYMBOLS_H
#define CBTRACE_ELF_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

#define ELF_NOT_FOUND UINT64_MAX

struct elf_function {
	const char *name; /* the caller's */
	uint64_t address; /* virtual */
	uint64_t offset;  /* in the file; ELF_NOT_FOUND */
};

/* Fills in address and offset of the @n functions, in one pass over each symbol table. How many were found, 0 too; or a
 * negative errno: -ENOEXEC no ELF file of this machine, -EBADMSG damaged. */
int elf_functions_find(int fd, struct elf_function *functions, size_t n);

/* Offset in the file of virtual address @address in an executable segment; ELF_NOT_FOUND. */
uint64_t elf_offset(int fd, uint64_t address);

/* The bytes at @offset, at most @size: how many, 0 beyond the end, or a negative errno. */
int elf_code_read(int fd, uint64_t offset, uint8_t *code, size_t size);

#endif
