// SPDX-License-Identifier: BSD-2-Clause
/* ELF symbols. See elf_symbols.h. */
#include "elf_symbols.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <gelf.h>
#include <libelf.h>

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#else
#define OWN_MACHINE EM_NONE
#endif

#define TABLE_MAX (256U << 20) /* bytes of a symbol table, and of its names: those of a browser are 60 MiB */

/* Read, not mapped: a file that is cut short meanwhile must be an error, not a SIGBUS. */

static Elf *elf_take(int fd, int *ret_error)
{
	GElf_Ehdr header;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header) || header.e_machine != OWN_MACHINE ||
	    header.e_ident[EI_CLASS] != ELFCLASS64) {
		elf_end(elf);
		*ret_error = -ENOEXEC;
		return NULL;
	}
	return elf;
}

static uint64_t segment_offset(Elf *elf, uint64_t address)
{
	size_t n;

	if (elf_getphdrnum(elf, &n) < 0)
		return ELF_NOT_FOUND;
	for (size_t i = 0; i < n && i <= INT_MAX; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(elf, (int)i, &p))
			return ELF_NOT_FOUND;
		if (p.p_type == PT_LOAD && (p.p_flags & PF_X) && address >= p.p_vaddr &&
		    address - p.p_vaddr < p.p_filesz)
			return address - p.p_vaddr + p.p_offset;
	}
	return ELF_NOT_FOUND;
}

/* Names that are wanted begin with few different letters, and a big executable has hundreds of thousands of others. */
static bool first_letter_wanted(const struct elf_function *functions, size_t n, char c)
{
	for (size_t i = 0; i < n; i++)
		if (functions[i].name[0] == c)
			return true;
	return false;
}

static void symbol_compare(Elf *elf, const GElf_Sym *sym, const char *name, struct elf_function *functions, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (functions[i].offset != ELF_NOT_FOUND || strcmp(functions[i].name, name) != 0)
			continue;
		functions[i].address = sym->st_value;
		functions[i].offset = segment_offset(elf, sym->st_value);
	}
}

static int table_scan(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, struct elf_function *functions, size_t n)
{
	Elf_Scn *string_section = elf_getscn(elf, header->sh_link);
	bool wanted[UCHAR_MAX + 1];
	GElf_Shdr string_header;
	Elf_Data *data, *strings;
	const char *text;
	size_t count;

	if (!string_section || !gelf_getshdr(string_section, &string_header) || !header->sh_entsize ||
	    header->sh_size > TABLE_MAX || string_header.sh_size > TABLE_MAX)
		return -EBADMSG;
	data = elf_getdata(section, NULL);
	strings = elf_getdata(string_section, NULL);
	if (!data || !strings || !strings->d_size)
		return -EBADMSG;
	text = strings->d_buf;
	/* Then every name in it ends. */
	if (!text || text[strings->d_size - 1] != '\0')
		return -EBADMSG;
	for (int c = 0; c <= UCHAR_MAX; c++)
		wanted[c] = first_letter_wanted(functions, n, (char)c);
	count = data->d_size / header->sh_entsize;
	for (size_t i = 0; i < count && i <= INT_MAX; i++) {
		GElf_Sym sym;

		if (!gelf_getsym(data, (int)i, &sym))
			return -EBADMSG;
		if (GELF_ST_TYPE(sym.st_info) != STT_FUNC || sym.st_shndx == SHN_UNDEF ||
		    sym.st_name >= strings->d_size || !wanted[(unsigned char)text[sym.st_name]])
			continue;
		symbol_compare(elf, &sym, text + sym.st_name, functions, n);
	}
	return 0;
}

int elf_functions_find(int fd, struct elf_function *functions, size_t n)
{
	Elf_Scn *section = NULL;
	int r = 0, found = 0;
	Elf *elf;

	for (size_t i = 0; i < n; i++)
		functions[i].offset = ELF_NOT_FOUND;
	elf = elf_take(fd, &r);
	if (!elf)
		return r;
	while (r == 0 && (section = elf_nextscn(elf, section))) {
		GElf_Shdr header;

		if (!gelf_getshdr(section, &header))
			r = -EBADMSG;
		else if (header.sh_type == SHT_DYNSYM || header.sh_type == SHT_SYMTAB)
			r = table_scan(elf, section, &header, functions, n);
	}
	elf_end(elf);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		found += functions[i].offset != ELF_NOT_FOUND;
	return found;
}

uint64_t elf_offset(int fd, uint64_t address)
{
	uint64_t offset;
	int r;
	Elf *elf = elf_take(fd, &r);

	if (!elf)
		return ELF_NOT_FOUND;
	offset = segment_offset(elf, address);
	elf_end(elf);
	return offset;
}

int elf_code_read(int fd, uint64_t offset, uint8_t *code, size_t size)
{
	ssize_t n;

	if (offset > INT64_MAX || size > INT_MAX)
		return -EINVAL;
	n = pread(fd, code, size, (off_t)offset);
	return n < 0 ? -errno : (int)n;
}
