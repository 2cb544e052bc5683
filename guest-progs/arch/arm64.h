/* SPDX-License-Identifier: GPL-2.0-only */
/* arm64. What each name must do is told in arch/README.md. */
#ifndef ARCH_ARM64_H
#define ARCH_ARM64_H

#include <asm/sigcontext.h>
#include <stdint.h>
#include <ucontext.h>

/*
 * The kernel's half is as large as the user's, which ends with the stack for who asks for no more, and its own upper half has,
 * 2 GiB from its start, kernel text from 6.5 on, where KASLR is off, and before that nothing.
 */
#define KERNEL_ADDR (0x80000000UL - (1UL << (63 - __builtin_clzl((uintptr_t)__builtin_frame_address(0)))))
#define RETURN_STUB { 0xc0, 0x03, 0x5f, 0xd6 }

static inline uint64_t arch_load(const void *addr, int width)
{
	uint64_t value = 0;

	if (width == 1)
		asm volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 2)
		asm volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 4)
		asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else
		asm volatile("ldr %x0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t value, int width)
{
	if (width == 1)
		asm volatile("strb %w1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else if (width == 2)
		asm volatile("strh %w1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else if (width == 4)
		asm volatile("str %w1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else
		asm volatile("str %x1, [%0]" : : "r"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("mov %0, sp" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t value, int width)
{
	uint64_t saved;

	if (width == 1)
		asm volatile("mov %0, sp; mov sp, %1; strb %w3, [%2]; mov sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
	else
		asm volatile("mov %0, sp; mov sp, %1; str %w3, [%2]; mov sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	__builtin___clear_cache((char *)addr, (char *)addr + size);
}

#define CPU_FEATURES "Features"

#define TRAP_WORDS "esr", "fault-address"

/* The record of that kind in the frame, or NULL. */
static inline const void *arch_record(const ucontext_t *uc, uint32_t magic)
{
	const char *at = (const char *)uc->uc_mcontext.__reserved;
	const char *end = at + sizeof(uc->uc_mcontext.__reserved);

	while (end - at >= (long)sizeof(struct esr_context)) {
		const struct _aarch64_ctx *head = (const void *)at;

		if (head->magic == magic)
			return at;
		if (head->magic == 0 || head->size == 0 || head->size > end - at)
			break;
		at += head->size;
	}
	return 0;
}

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	const struct esr_context *record = arch_record(uc, ESR_MAGIC);

	if (record)
		word[0] = record->esr;
	word[1] = uc->uc_mcontext.fault_address;
}

/*
 * Of the syndrome: exception class, direction, and the kind of fault without its level, which depends on
 * what else is mapped. Not so for a kernel address: it must not tell.
 */
#define TRAP_FACTS(word) \
	{ "ec", (word)[0] >> 26 & 0x3f }, { "wnr", (word)[0] >> 6 & 1 }, \
	{ "fsc", (word)[0] & ((word)[1] >> 63 ? 0x3f : 0x3c) }
#define TRAP_ADDRESS(word) ((word)[1])

#define DEBUGGER_SET NT_PRSTATUS
#define DEBUGGER_PC 256
#define FRAME_PC(uc) (uc)->uc_mcontext.pc
#define FRAME_TRACED(uc) ((uc)->uc_mcontext.pstate |= 1 << 21)	/* SS */
/* No record begins with this; the stack pointer is told, which is to be where the fault was. */
#define FRAME_REFUSED(uc) (*(uint32_t *)(uc)->uc_mcontext.__reserved = 1, \
			   (uc)->uc_mcontext.sp = (uc)->uc_mcontext.fault_address)
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.pstate |= 5)		/* EL1h */
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.regs[2 + (n)]
#define FRAME_FLOAT(uc, n) ((struct fpsimd_context *)arch_record(uc, FPSIMD_MAGIC))->vregs[n]

#define KEPT_GENERAL 29
#define KEPT_FLOATS 32
#define KEPT_FLOAT_SIZE 16
#define KEPT_FLAGS { 0xf0000000, 0xc00000 }

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".macro load_registers\n" \
	"ldr x1, [x0, #768]; msr nzcv, x1; ldr x1, [x0, #776]; msr fpcr, x1\n" \
	".set spot, 256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, " \
	"22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n" \
	"ldr q\\reg, [x0, #spot]\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	".set spot, 0\n" \
	".irp reg, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, " \
	"24, 25, 26, 27, 28, 29, 30\n" \
	"ldr x\\reg, [x0, #spot]\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".endm\n" \
	".macro store_registers\n" \
	"mrs x1, nzcv; str x1, [x0, #1024+768]; mrs x1, fpcr; str x1, [x0, #1024+776]\n" \
	".set spot, 1024+256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, " \
	"22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n" \
	"str q\\reg, [x0, #spot]\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	".set spot, 1024\n" \
	".irp reg, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, " \
	"24, 25, 26, 27, 28, 29, 30\n" \
	"str x\\reg, [x0, #spot]\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".endm\n" \
	CODE(keep_registers, "stp x29, x30, [sp, #-176]!\n" \
		"stp x19, x20, [sp, #16]; stp x21, x22, [sp, #32]; stp x23, x24, [sp, #48]; " \
		"stp x25, x26, [sp, #64]; stp x27, x28, [sp, #80]\n" \
		"stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]\n" \
		"mrs x1, fpcr; str x1, [sp, #160]\n" \
		"load_registers\n" \
		"ldr x1, [x0, #784]; ldr w1, [x1]; str x0, [x0, #1024+784]\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"ldr x1, [sp, #160]; msr fpcr, x1\n" \
		"ldp x19, x20, [sp, #16]; ldp x21, x22, [sp, #32]; ldp x23, x24, [sp, #48]; " \
		"ldp x25, x26, [sp, #64]; ldp x27, x28, [sp, #80]\n" \
		"ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]\n" \
		"ldp x29, x30, [sp], #176; ret") \
	CODE(spoil_registers, "str x30, [sp, #-16]!; bl registers_handler\n" \
		"load_registers\n" \
		"ldr x30, [sp], #16; ret") \
	CODE(drop_frame, "mov x19, sp; bl registers_handler; mov x20, x0\n" \
		"ldr x0, [x20, #792]; ldr x1, [x20, #800]; ldr x2, [x20, #808]; mov x8, #233; svc #0\n" \
		"str x0, [x20, #816]; mov sp, x19; mov x8, #139; svc #0; .inst 0")

#define ARCH_CODE \
	CODE(div0, "mov w0, #1; sdiv w0, w0, wzr; ret") \
	CODE(breakpoint, "brk #0; ret") \
	CODE(load_restart, "mov x1, x0; mov x0, #-512; ldr w2, [x1]; str w0, [x1, #64]; ret") \
	CODE(illegal, ".inst 0") \
	CODE(atomic, "ldaxr w1, [x0]; add w1, w1, #1; stlxr w2, w1, [x0]; ret") \
	CODE(load_pair_base, "mov x3, x0; ldp w0, w1, [x0]; stur w0, [x3, #-62]; stur w1, [x3, #-58]; ret") \
	CODE(load_pair, "mov w1, #0; mov w2, #0; ldp w1, w2, [x0]; stur w1, [x0, #63]; stur w2, [x0, #67]; ret") \
	CODE(store_pair, "ldp w1, w2, [x0, #-64]; stp w1, w2, [x0]; ret") \
	CODE(load_vector, "ldr q0, [x0]; ret") \
	CODE(prefetch, "prfm pldl1keep, [x0]; ret") \
	CODE(load_sp, "mov x1, sp; mov sp, x0; ldr w2, [sp]; mov sp, x1; ret") \
	CODE(push_at, "mov x1, sp; mov sp, x0; str x1, [sp, #-16]!; mov sp, x1; ret") \
	CODE(sigreturn_at, "mov sp, x0; mov x8, #139; svc #0; .inst 0") \
	CODE(load_int, "ldr w0, [x0]; ret") \
	CODE(store_int, "str w0, [x0]; ret") \
	CODE(set_tag, ".arch armv8.5-a+memtag; stg x0, [x0]; ret; .arch armv8-a") \
	CODE(checks_off, ".arch armv8.5-a+memtag; msr tco, #1; ret; .arch armv8-a") \
	REGISTERS_CODE

#endif
