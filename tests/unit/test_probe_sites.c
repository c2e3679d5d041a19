// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where library probes go: in functions made for the purpose, of every shape that OpenSSL's were met in, assembled into
 * an ELF file by the test; in the OpenSSL that is there; and in files that are damaged.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "elf_symbols.h"
#include "probe_sites.h"

/* --- An ELF file by hand --- */

#define CODE_ADDRESS 0x401000ULL
#define CODE_OFFSET  0x1000U
#define IMAGE_MAX    16384

struct image {
	uint8_t bytes[IMAGE_MAX];
	size_t size;
	char strings[1024];
	size_t strings_len;
	Elf64_Sym symbols[32];
	size_t n_symbols;
	size_t code_len;
};

static void image_start(struct image *m)
{
	memset(m, 0, sizeof(*m));
	m->strings_len = 1;
	m->n_symbols = 1;
}

/* @code: hexadecimal, blanks allowed. Functions stand 64 bytes apart, in the order of the calls. */
static void function_add(struct image *m, const char *name, const char *code)
{
	size_t at = m->code_len;

	m->symbols[m->n_symbols++] = (Elf64_Sym){.st_name = (Elf64_Word)m->strings_len,
						 .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
						 .st_shndx = 1,
						 .st_value = CODE_ADDRESS + at,
						 .st_size = 64};
	strcpy(m->strings + m->strings_len, name);
	m->strings_len += strlen(name) + 1;
	for (; *code; code += 2) {
		unsigned int byte;

		while (*code == ' ')
			code++;
		assert_int_equal(sscanf(code, "%2x", &byte), 1);
		m->bytes[CODE_OFFSET + at++] = (uint8_t)byte;
	}
	m->code_len += 64;
}

static void image_finish(struct image *m)
{
	size_t symbols = CODE_OFFSET + m->code_len, strings = symbols + m->n_symbols * sizeof(Elf64_Sym),
	       sections = (strings + m->strings_len + 7) & ~(size_t)7;
	Elf64_Ehdr h = {.e_type = ET_DYN,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_phoff = sizeof(h),
			.e_shoff = sections,
			.e_ehsize = sizeof(h),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1,
			.e_shentsize = sizeof(Elf64_Shdr),
			.e_shnum = 4,
			.e_shstrndx = 3};
	Elf64_Phdr p = {.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_offset = CODE_OFFSET,
			.p_vaddr = CODE_ADDRESS,
			.p_filesz = m->code_len,
			.p_memsz = m->code_len};
	Elf64_Shdr s[4] = {{0},
			   {.sh_type = SHT_PROGBITS, .sh_offset = CODE_OFFSET, .sh_size = m->code_len},
			   {.sh_type = SHT_SYMTAB,
			    .sh_offset = symbols,
			    .sh_size = m->n_symbols * sizeof(Elf64_Sym),
			    .sh_link = 3,
			    .sh_entsize = sizeof(Elf64_Sym)},
			   {.sh_type = SHT_STRTAB, .sh_offset = strings, .sh_size = m->strings_len}};

	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_ident[EI_VERSION] = EV_CURRENT;
	memcpy(m->bytes, &h, sizeof(h));
	memcpy(m->bytes + sizeof(h), &p, sizeof(p));
	memcpy(m->bytes + symbols, m->symbols, m->n_symbols * sizeof(Elf64_Sym));
	memcpy(m->bytes + strings, m->strings, m->strings_len);
	memcpy(m->bytes + sections, s, sizeof(s));
	m->size = sections + sizeof(s);
	assert_true(m->size <= IMAGE_MAX);
}

static int image_fd(const uint8_t *bytes, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	return fd;
}

static int image_plan(const uint8_t *bytes, size_t size, struct probe_plan *ret)
{
	int fd = image_fd(bytes, size), r = probe_plan_make(fd, ret);

	close(fd);
	return r;
}

/* The offset of @program's site in its function, which is the @nth; -1 if there is none. */
static int site_in(const struct probe_plan *plan, enum probe_program program, size_t nth)
{
	for (size_t i = 0; i < plan->n_sites; i++) {
		uint64_t start = CODE_OFFSET + 64 * nth;

		if (plan->sites[i].program == program && plan->sites[i].offset >= start &&
		    plan->sites[i].offset < start + 64)
			return (int)(plan->sites[i].offset - start);
	}
	return -1;
}

/* push rbx; sub rsp,0x30 */
#define PUSH_FIRST "53 4883ec30 c3"

static void library(struct image *m, const char *read, const char *read_ex, const char *inner)
{
	image_start(m);
	function_add(m, "SSL_read", read);	 /* 0 */
	function_add(m, "SSL_read_ex", read_ex); /* 1 */
	function_add(m, "internal", inner);	 /* 2 */
	function_add(m, "SSL_write", PUSH_FIRST);
	function_add(m, "SSL_do_handshake", PUSH_FIRST);
	image_finish(m);
}

/* --- Shapes --- */

/* Debian 12: neither form begins with anything that is emulated; both call one inner function that does. */
static void test_inner(void **state)
{
	struct image m;
	struct probe_plan plan;

	(void)state;
	/* sub rsp,0x18; test edx,edx; js +9; mov rcx,rsp; movslq rdx,edx; call internal; …
	 * sub rsp,8; call internal */
	library(&m, "4883ec18 85d2 7809 4889e1 4863d2 e86d000000 c3", "4883ec08 e837000000 c3", "4155 4154 c3");
	assert_int_equal(image_plan(m.bytes, m.size, &plan), 0);
	assert_true(plan.has_ssl);
	assert_int_equal(site_in(&plan, PROBE_READ_EX_ENTER, 2), 0);
	assert_int_equal(site_in(&plan, PROBE_CALL_EXIT, 2), 0);
	assert_int_equal(site_in(&plan, PROBE_READ_INT_ENTER, 0), -1);
	assert_int_equal(site_in(&plan, PROBE_READ_EX_ENTER, 1), -1);
	/* Once, though both forms led there. */
	assert_int_equal(plan.n_sites, 2 + 2 + 2);
	for (size_t i = 0; i < plan.n_sites; i++)
		assert_true(plan.sites[i].cheap);
}

/* Node: the function itself begins with a push. With CET an endbr64 stands before it. */
static void test_direct(void **state)
{
	struct image m;
	struct probe_plan plan;

	(void)state;
	library(&m, "55 4889e5 c3", "f30f1efa 55 c3", "c3");
	assert_int_equal(image_plan(m.bytes, m.size, &plan), 0);
	assert_int_equal(site_in(&plan, PROBE_READ_INT_ENTER, 0), 0);
	assert_int_equal(site_in(&plan, PROBE_CALL_EXIT, 0), 0);
	assert_int_equal(site_in(&plan, PROBE_READ_EX_ENTER, 1), 4);
	assert_int_equal(site_in(&plan, PROBE_CALL_EXIT, 1), 4);
}

/* A return probe where something has been pushed would send the function into nowhere: then rather the dear entry. */
static void test_stack_moved(void **state)
{
	static const char *const shapes[] = {
		"4883ec18 85d2 7809 c3",	     /* sub rsp,0x18; test; js */
		"488d6424e8 85d2 7809 c3",	     /* lea rsp,[rsp-0x18]; test; js */
		"4154 90 c3",			     /* push r12: emulated, and still fine: the site is before it */
		"48894c2408 4883ec08 e800000000 c3", /* the fourth argument of the caller's making, no count */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct image m;
		struct probe_plan plan;

		library(&m, shapes[i], PUSH_FIRST, "55 c3");
		assert_int_equal(image_plan(m.bytes, m.size, &plan), 0);
		assert_int_equal(site_in(&plan, PROBE_READ_INT_ENTER, 0), 0);
		assert_int_equal(site_in(&plan, PROBE_CALL_EXIT, 0), 0);
	}
}

/* The arguments must be there still: a site behind their loss would read something else. */
static void test_arguments_lost(void **state)
{
	static const struct {
		const char *code;
		int site;
	} shapes[] = {
		{"4889f8 31ff 53 c3", 0},	/* mov rax,rdi; xor edi,edi; push */
		{"4889f8 31f6 53 c3", 0},	/* … xor esi,esi */
		{"4889f8 31d2 53 c3", 0},	/* … xor edx,edx */
		{"4889f8 b900000000 53 c3", 8}, /* mov ecx: of three arguments the fourth does not matter */
		{"4889f8 e900000000", 3},	/* jmp: the site, and the end of the look */
		{"c3 53", 0},			/* what stands behind the end is another function's */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct image m;
		struct probe_plan plan;

		image_start(&m);
		function_add(&m, "BIO_write", shapes[i].code);
		image_finish(&m);
		assert_int_equal(image_plan(m.bytes, m.size, &plan), 0);
		assert_true(plan.has_crypto && !plan.has_ssl);
		assert_int_equal(site_in(&plan, PROBE_BIO_WRITE, 0), shapes[i].site);
	}
}

static void test_offsets(void **state)
{
	static const struct {
		const char *code;
		int32_t offset;
	} bodies[] = {
		{"488b87b8090000 c3", 0x9b8},	       /* mov rax,[rdi+0x9b8] */
		{"f30f1efa 488b87b8090000 c3", 0x9b8}, /* endbr64 */
		{"8b4744 c3", 0x44},		       /* mov eax,[rdi+0x44] */
		{"488b87b8090000 31ff c3", 0x9b8},     /* xor edi,edi */
		{"8b07 85c0 7403 c3", -1},	       /* mov eax,[rdi]; test: OpenSSL 3.2 looks what it has first */
		{"488b86b8090000 c3", -1},	       /* of rsi */
		{"833f00 7505 c3", -1},		       /* cmp dword [rdi],0: OpenSSL 3.2 looks what it has first */
		{"c3", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		struct image m;
		struct probe_plan plan;

		image_start(&m);
		function_add(&m, "BIO_write", "53 c3");
		function_add(&m, "SSL_get_verify_result", bodies[i].code);
		image_finish(&m);
		assert_int_equal(image_plan(m.bytes, m.size, &plan), 0);
		assert_int_equal(plan.offsets.verify_result, bodies[i].offset);
		assert_int_equal(plan.offsets.shutdown, -1);
	}
}

/* OpenSSL 3 keeps the older function as a wrapper: one of the two. */
static void test_error_functions(void **state)
{
	struct image m;
	struct probe_plan plan;

	(void)state;
	image_start(&m);
	function_add(&m, "BIO_write", "53 c3");
	function_add(&m, "ERR_put_error", "53 c3");
	image_finish(&m);
	assert_int_equal(image_plan(m.bytes, m.size, &plan), 0);
	assert_int_equal(site_in(&plan, PROBE_ERROR_PUT, 1), 0);
	image_start(&m);
	function_add(&m, "BIO_write", "53 c3");
	function_add(&m, "ERR_put_error", "53 c3");
	function_add(&m, "ERR_vset_error", "53 c3");
	image_finish(&m);
	assert_int_equal(image_plan(m.bytes, m.size, &plan), 0);
	assert_int_equal(site_in(&plan, PROBE_ERROR_PUT, 1), -1);
	assert_int_equal(site_in(&plan, PROBE_ERROR, 2), 0);
}

/* --- What is no such file --- */

static void test_none(void **state)
{
	struct image m;
	struct probe_plan plan = {.n_sites = 77};

	(void)state;
	image_start(&m);
	function_add(&m, "main", PUSH_FIRST);
	image_finish(&m);
	assert_int_equal(image_plan(m.bytes, m.size, &plan), -ENOENT);
	assert_int_equal(image_plan((const uint8_t *)"#!/bin/sh\n", 10, &plan), -ENOEXEC);
	assert_int_equal(image_plan((const uint8_t *)"", 0, &plan), -ENOEXEC);
	m.bytes[18] = EM_AARCH64; /* e_machine */
	assert_int_equal(image_plan(m.bytes, m.size, &plan), -ENOEXEC);
	assert_int_equal(plan.n_sites, 77);
}

/* Cut short anywhere, or with any byte of its tables wrong: an error or a plan, no crash, no site outside of the file.
 */
static void test_damage(void **state)
{
	struct image m;
	struct probe_plan plan;
	size_t tables;

	(void)state;
	library(&m, "55 c3", "55 c3", "55 c3");
	tables = CODE_OFFSET + m.code_len;
	for (size_t size = 0; size < m.size; size += size < CODE_OFFSET && size > 128 ? 97 : 1)
		(void)image_plan(m.bytes, size, &plan);
	for (size_t at = 0; at < m.size; at += at == 127 ? tables - 127 : 1) {
		uint8_t was = m.bytes[at];

		for (int k = 0; k < 3; k++) {
			m.bytes[at] = (uint8_t[]){0, 0xff, (uint8_t)(was ^ 0x10)}[k];
			if (image_plan(m.bytes, m.size, &plan) == 0)
				assert_true(plan.n_sites <= PROBE_SITES_MAX);
		}
		m.bytes[at] = was;
	}
}

/* --- What is there --- */

static void test_own_openssl(void **state)
{
	static const char *const paths[] = {"/usr/lib/x86_64-linux-gnu/libssl.so.3",
					    "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe_plan plan;
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			skip();
		assert_int_equal(probe_plan_make(fd, &plan), 0);
		close(fd);
		assert_int_equal(plan.has_ssl, i == 0);
		assert_int_equal(plan.has_crypto, i == 1);
		assert_true(plan.n_sites >= (i == 0 ? 8 : 3));
		assert_true(i == 1 || (plan.offsets.verify_result > 0 && plan.offsets.shutdown > 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inner),	    cmocka_unit_test(test_direct),
		cmocka_unit_test(test_stack_moved), cmocka_unit_test(test_arguments_lost),
		cmocka_unit_test(test_offsets),	    cmocka_unit_test(test_error_functions),
		cmocka_unit_test(test_none),	    cmocka_unit_test(test_damage),
		cmocka_unit_test(test_own_openssl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
