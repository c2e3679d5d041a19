// SPDX-License-Identifier: BSD-2-Clause
/* Sites for library probes. See probe_sites.h. */
#include "probe_sites.h"

#include <errno.h>
#include <string.h>

#include <capstone/capstone.h>

#include "elf_symbols.h"

#define CODE_MAX  160 /* bytes of a function that are looked at */
#define INSNS_MAX 40

const char *probe_program_name(enum probe_program p)
{
	static const char *const names[PROBE_PROGRAMS] = {
		[PROBE_HANDSHAKE_ENTER] = "lib_handshake_enter",
		[PROBE_READ_INT_ENTER] = "lib_read_int_enter",
		[PROBE_READ_EX_ENTER] = "lib_read_ex_enter",
		[PROBE_WRITE_INT_ENTER] = "lib_write_int_enter",
		[PROBE_WRITE_EX_ENTER] = "lib_write_ex_enter",
		[PROBE_CALL_EXIT] = "lib_call_exit",
		[PROBE_BIO_WRITE] = "lib_bio_write",
		[PROBE_X509] = "lib_x509",
		[PROBE_ERROR] = "lib_error",
		[PROBE_ERROR_PUT] = "lib_error_put",
		[PROBE_SHUTDOWN] = "lib_shutdown",
		[PROBE_FREE] = "lib_free",
	};

	return p < PROBE_PROGRAMS ? names[p] : "unknown";
}

/* What a look at a function's beginning finds. */
struct entry {
	uint64_t offset; /* of the first emulated instruction that sees the arguments, in the file; else of the function
			  */
	bool cheap;
	bool returns; /* the return address is still on top of the stack there */
	uint64_t
		inner; /* address that it calls with its first three arguments and one that points to a count; 0 none */
};

#if defined(__x86_64__)

/* arch/x86/kernel/uprobes.c: push_setup_xol_ops(), branch_setup_xol_ops(). */
static bool emulated(const cs_insn *i)
{
	const uint8_t *b = i->bytes;

	switch (i->id) {
	case X86_INS_PUSH:
		return i->size <= 2 && (b[i->size - 1] & 0xf8) == 0x50;
	case X86_INS_NOP:
		return i->size == 1;
	case X86_INS_JMP:
		return b[0] == 0xeb || b[0] == 0xe9;
	case X86_INS_CALL:
		return b[0] == 0xe8;
	default:
		return (b[0] & 0xf0) == 0x70 || (b[0] == 0x0f && (b[1] & 0xf0) == 0x80);
	}
}

static bool is_register(x86_reg r, x86_reg r64, x86_reg r32)
{
	return r == r64 || r == r32;
}

#define WRITES_STACK 16U

/* Which of the first four arguments' registers does it write? Bits 0..3; WRITES_STACK: the stack pointer. */
static unsigned int registers_written(csh cs, const cs_insn *i)
{
	cs_regs read, written;
	uint8_t n_read, n_written;
	unsigned int mask = 0;

	if (cs_regs_access(cs, i, read, &n_read, written, &n_written) != CS_ERR_OK)
		return 0xf | WRITES_STACK;
	for (uint8_t k = 0; k < n_written; k++) {
		x86_reg r = (x86_reg)written[k];

		mask |= is_register(r, X86_REG_RDI, X86_REG_EDI) ? 1U : 0;
		mask |= is_register(r, X86_REG_RSI, X86_REG_ESI) ? 2U : 0;
		mask |= is_register(r, X86_REG_RDX, X86_REG_EDX) ? 4U : 0;
		mask |= is_register(r, X86_REG_RCX, X86_REG_ECX) ? 8U : 0;
		mask |= is_register(r, X86_REG_RSP, X86_REG_ESP) ? WRITES_STACK : 0;
	}
	return mask;
}

/* movslq %edx,%rdx: the third argument is widened, not changed. */
static bool widens_third(const cs_insn *i)
{
	const cs_x86 *x = &i->detail->x86;

	return i->id == X86_INS_MOVSXD && x->op_count == 2 && x->operands[0].type == X86_OP_REG &&
	       x->operands[0].reg == X86_REG_RDX && x->operands[1].type == X86_OP_REG &&
	       x->operands[1].reg == X86_REG_EDX;
}

/* mov %rsp,%rcx or lea disp(%rsp),%rcx: the fourth argument is made, a pointer into the frame. */
static bool makes_fourth(const cs_insn *i)
{
	const cs_x86 *x = &i->detail->x86;

	if (x->op_count != 2 || x->operands[0].type != X86_OP_REG || x->operands[0].reg != X86_REG_RCX)
		return false;
	if (i->id == X86_INS_MOV)
		return x->operands[1].type == X86_OP_REG && x->operands[1].reg == X86_REG_RSP;
	return i->id == X86_INS_LEA && x->operands[1].type == X86_OP_MEM && x->operands[1].mem.base == X86_REG_RSP;
}

/* A walk straight on, for conditional jumps of a prologue lead to its errors. */
static void entry_walk(csh cs, const uint8_t *code, size_t size, uint64_t address, bool fourth, struct entry *e)
{
	const uint64_t start = address, base = e->offset;
	bool found = false, moved = false, third = true, fourth_made = false, fourth_own = true;
	cs_insn *i = cs_malloc(cs);

	for (int n = 0; i && n < INSNS_MAX && cs_disasm_iter(cs, &code, &size, &address, i); n++) {
		unsigned int written = registers_written(cs, i);

		if (!found && emulated(i) && third && (fourth_own || !fourth)) {
			found = true;
			e->offset = base + (i->address - start);
			e->cheap = true;
			e->returns = !moved;
		}
		if (i->id == X86_INS_CALL && i->bytes[0] == 0xe8 && third && (fourth ? fourth_own : fourth_made))
			e->inner = (uint64_t)i->detail->x86.operands[0].imm;
		if (i->id == X86_INS_CALL || i->id == X86_INS_RET || i->id == X86_INS_JMP)
			break;
		moved |= (written & WRITES_STACK) != 0;
		if (makes_fourth(i)) {
			fourth_made = true;
		} else if (written & 8) {
			fourth_own = fourth_made = false;
		}
		if ((written & 4) && !widens_third(i))
			third = false;
		if (written & 3)
			break;
	}
	if (i)
		cs_free(i, 1);
}

/* @fourth: the fourth argument is wanted as well as the first three. */
static int entry_look(csh cs, int fd, uint64_t address, uint64_t offset, bool fourth, struct entry *ret)
{
	uint8_t code[CODE_MAX];
	int n = elf_code_read(fd, offset, code, sizeof(code));

	if (n < 0)
		return n;
	*ret = (struct entry){.offset = offset, .returns = true};
	entry_walk(cs, code, (size_t)n, address, fourth, ret);
	return 0;
}

/* xor of a register with itself, not the result's: hardened builds clear what they used. */
static bool clears_register(const cs_insn *i)
{
	const cs_x86 *x = &i->detail->x86;

	return i->id == X86_INS_XOR && x->op_count == 2 && x->operands[0].type == X86_OP_REG &&
	       x->operands[1].type == X86_OP_REG && x->operands[0].reg == x->operands[1].reg &&
	       !is_register(x->operands[0].reg, X86_REG_RAX, X86_REG_EAX);
}

/* The displacement of a body that is `mov disp(%rdi),%rax` (or %eax) and returns that; -1: it is something else. */
static int32_t accessor_look(csh cs, int fd, uint64_t offset)
{
	uint8_t code[CODE_MAX];
	const uint8_t *at = code;
	uint64_t address = 0;
	int n = elf_code_read(fd, offset, code, sizeof(code));
	size_t size = n > 0 ? (size_t)n : 0;
	cs_insn *i = cs_malloc(cs);
	int32_t disp = -1;
	bool returns = false;

	while (i && cs_disasm_iter(cs, &at, &size, &address, i)) {
		const cs_x86 *x = &i->detail->x86;

		if (i->id == X86_INS_ENDBR64 || (disp >= 0 && clears_register(i)))
			continue;
		if (disp >= 0) {
			returns = i->id == X86_INS_RET;
			break;
		}
		if (i->id == X86_INS_MOV && x->op_count == 2 && x->operands[0].type == X86_OP_REG &&
		    is_register(x->operands[0].reg, X86_REG_RAX, X86_REG_EAX) && x->operands[1].type == X86_OP_MEM &&
		    x->operands[1].mem.base == X86_REG_RDI && x->operands[1].mem.index == X86_REG_INVALID &&
		    x->operands[1].mem.disp >= 0 && x->operands[1].mem.disp <= INT32_MAX)
			disp = (int32_t)x->operands[1].mem.disp;
		else
			break;
	}
	if (i)
		cs_free(i, 1);
	return returns ? disp : -1;
}

static int disassembler_open(csh *ret)
{
	if (cs_open(CS_ARCH_X86, CS_MODE_64, ret) != CS_ERR_OK)
		return -ENOMEM;
	cs_option(*ret, CS_OPT_DETAIL, CS_OPT_ON);
	return 0;
}

#else /* arm64 and others: the entry, whose cost has not been measured */

static int entry_look(csh cs, int fd, uint64_t address, uint64_t offset, bool fourth, struct entry *ret)
{
	(void)fourth;
	(void)cs;
	(void)fd;
	(void)address;
	*ret = (struct entry){.offset = offset, .returns = true};
	return 0;
}

static int32_t accessor_look(csh cs, int fd, uint64_t offset)
{
	(void)cs;
	(void)fd;
	(void)offset;
	return -1;
}

static int disassembler_open(csh *ret)
{
	*ret = 0;
	return 0;
}

#endif

enum function {
	FN_HANDSHAKE = 0,
	FN_READ,
	FN_READ_EX,
	FN_WRITE,
	FN_WRITE_EX,
	FN_SHUTDOWN,
	FN_FREE,
	FN_VERIFY_RESULT,
	FN_GET_SHUTDOWN,
	FN_BIO_WRITE,
	FN_X509,
	FN_ERROR,
	FN_ERROR_PUT,
	FUNCTIONS,
};

struct planner {
	int fd;
	csh cs;
	struct elf_function fn[FUNCTIONS];
	struct probe_plan plan;
};

static bool site_add(struct planner *p, enum probe_program program, uint64_t offset, bool cheap)
{
	struct probe_plan *plan = &p->plan;

	for (size_t i = 0; i < plan->n_sites; i++)
		if (plan->sites[i].offset == offset && plan->sites[i].program == program)
			return false;
	if (plan->n_sites == PROBE_SITES_MAX)
		return false;
	plan->sites[plan->n_sites++] = (struct probe_site){program, offset, cheap};
	return true;
}

static int plan_simple(struct planner *p, enum function f, enum probe_program program)
{
	struct entry e;
	int r;

	if (p->fn[f].offset == ELF_NOT_FOUND)
		return 0;
	r = entry_look(p->cs, p->fd, p->fn[f].address, p->fn[f].offset, false, &e);
	if (r == 0)
		site_add(p, program, e.offset, e.cheap);
	return r;
}

/* A function whose return is wanted too, or the one that it calls for the work, which @inner enters (PROBE_PROGRAMS:
 * not looked for). At its symbol if need be, where both probes are right if dear. */
static int plan_call(struct planner *p, enum function f, enum probe_program program, enum probe_program inner)
{
	const struct elf_function *fn = &p->fn[f];
	struct entry e, in;
	uint64_t offset;
	int r;

	if (fn->offset == ELF_NOT_FOUND)
		return 0;
	r = entry_look(p->cs, p->fd, fn->address, fn->offset, program == inner, &e);
	if (r < 0)
		return r;
	if (!(e.cheap && e.returns) && inner != PROBE_PROGRAMS && e.inner) {
		offset = elf_offset(p->fd, e.inner);
		if (offset != ELF_NOT_FOUND && entry_look(p->cs, p->fd, e.inner, offset, true, &in) == 0 && in.cheap &&
		    in.returns) {
			e = in;
			program = inner;
		}
	}
	if (!(e.cheap && e.returns))
		e = (struct entry){.offset = fn->offset};
	/* The _ex form may have led to the same inner function. */
	if (site_add(p, program, e.offset, e.cheap))
		site_add(p, PROBE_CALL_EXIT, e.offset, e.cheap);
	return 0;
}

static int plan_fill(struct planner *p)
{
	int r = plan_call(p, FN_HANDSHAKE, PROBE_HANDSHAKE_ENTER, PROBE_PROGRAMS);

	if (r == 0)
		r = plan_call(p, FN_READ, PROBE_READ_INT_ENTER, PROBE_READ_EX_ENTER);
	if (r == 0)
		r = plan_call(p, FN_WRITE, PROBE_WRITE_INT_ENTER, PROBE_WRITE_EX_ENTER);
	if (r == 0)
		r = plan_call(p, FN_READ_EX, PROBE_READ_EX_ENTER, PROBE_READ_EX_ENTER);
	if (r == 0)
		r = plan_call(p, FN_WRITE_EX, PROBE_WRITE_EX_ENTER, PROBE_WRITE_EX_ENTER);
	if (r == 0)
		r = plan_simple(p, FN_SHUTDOWN, PROBE_SHUTDOWN);
	if (r == 0)
		r = plan_simple(p, FN_FREE, PROBE_FREE);
	if (r == 0)
		r = plan_simple(p, FN_BIO_WRITE, PROBE_BIO_WRITE);
	if (r == 0)
		r = plan_simple(p, FN_X509, PROBE_X509);
	/* OpenSSL 3 keeps ERR_put_error() as a wrapper of the other. */
	if (r == 0)
		r = p->fn[FN_ERROR].offset != ELF_NOT_FOUND ? plan_simple(p, FN_ERROR, PROBE_ERROR)
							    : plan_simple(p, FN_ERROR_PUT, PROBE_ERROR_PUT);
	if (p->fn[FN_VERIFY_RESULT].offset != ELF_NOT_FOUND)
		p->plan.offsets.verify_result = accessor_look(p->cs, p->fd, p->fn[FN_VERIFY_RESULT].offset);
	if (p->fn[FN_GET_SHUTDOWN].offset != ELF_NOT_FOUND)
		p->plan.offsets.shutdown = accessor_look(p->cs, p->fd, p->fn[FN_GET_SHUTDOWN].offset);
	return r;
}

int probe_plan_make(int fd, struct probe_plan *ret_plan)
{
	struct planner p = {
		.fd = fd,
		.fn = {[FN_HANDSHAKE] = {.name = "SSL_do_handshake"},
		       [FN_READ] = {.name = "SSL_read"},
		       [FN_READ_EX] = {.name = "SSL_read_ex"},
		       [FN_WRITE] = {.name = "SSL_write"},
		       [FN_WRITE_EX] = {.name = "SSL_write_ex"},
		       [FN_SHUTDOWN] = {.name = "SSL_shutdown"},
		       [FN_FREE] = {.name = "SSL_free"},
		       [FN_VERIFY_RESULT] = {.name = "SSL_get_verify_result"},
		       [FN_GET_SHUTDOWN] = {.name = "SSL_get_shutdown"},
		       [FN_BIO_WRITE] = {.name = "BIO_write"},
		       [FN_X509] = {.name = "d2i_X509"},
		       [FN_ERROR] = {.name = "ERR_vset_error"},
		       [FN_ERROR_PUT] = {.name = "ERR_put_error"}},
		.plan = {.offsets = {-1, -1}},
	};
	int r = elf_functions_find(fd, p.fn, FUNCTIONS);

	if (r < 0)
		return r;
	p.plan.has_ssl = p.fn[FN_HANDSHAKE].offset != ELF_NOT_FOUND && p.fn[FN_READ].offset != ELF_NOT_FOUND &&
			 p.fn[FN_WRITE].offset != ELF_NOT_FOUND;
	p.plan.has_crypto = p.fn[FN_BIO_WRITE].offset != ELF_NOT_FOUND;
	if (!p.plan.has_ssl && !p.plan.has_crypto)
		return -ENOENT;
	r = disassembler_open(&p.cs);
	if (r < 0)
		return r;
	r = plan_fill(&p);
	if (p.cs)
		cs_close(&p.cs);
	if (r == 0)
		*ret_plan = p.plan;
	return r;
}
