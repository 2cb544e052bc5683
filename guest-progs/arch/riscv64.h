/* SPDX-License-Identifier: GPL-2.0-only */
/* riscv64. What each name must do is told in arch/README.md. */
#ifndef ARCH_RISCV64_H
#define ARCH_RISCV64_H

#include <stdint.h>
#include <ucontext.h>

#define KERNEL_ADDR 0xffffffff80000000UL	/* kernel text, the same for all sizes of the user's half */
/* 38, 47 or 56 bits: Sv39, Sv48, Sv57. */
#define USER_END(highest) (1UL << (64 - __builtin_clzl((highest) - 1)))
#define RETURN_STUB { 0x82, 0x80 }	/* c.ret */
#define HALF_INSTRUCTION { 0x13, 0x00 }	/* of nop, the long one */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint64_t value = 0;

	if (width == 1)
		asm volatile("lbu %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 2)
		asm volatile("lhu %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 4)
		asm volatile("lwu %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	else
		asm volatile("ld %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t value, int width)
{
	if (width == 1)
		asm volatile("sb %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
	else if (width == 2)
		asm volatile("sh %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
	else if (width == 4)
		asm volatile("sw %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
	else
		asm volatile("sd %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("mv %0, sp" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t value, int width)
{
	uint64_t saved;

	if (width == 1)
		asm volatile("mv %0, sp; mv sp, %1; sb %3, 0(%2); mv sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
	else
		asm volatile("mv %0, sp; mv sp, %1; sw %3, 0(%2); mv sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	__builtin___clear_cache((char *)addr, (char *)addr + size);
}

#define CPU_FEATURES "isa"

/* The signal frame says nothing of the trap but where it was. */
#define TRAP_WORDS "pc"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = uc->uc_mcontext.__gregs[REG_PC];
}

#define PC_IGNORES 1	/* low bits of an address that a jump drops */

#define ARCH_CODE \
	CODE(div0, "li a0, 1; div a0, a0, zero; ret") \
	CODE(breakpoint, "ebreak; ret") \
	CODE(illegal, "unimp") \
	CODE(atomic, "li a1, 1; amoadd.w a1, a1, (a0); ret") \
	CODE(load_sp, "mv a1, sp; mv sp, a0; lw a2, 0(sp); mv sp, a1; ret") \
	CODE(push_at, "mv a1, sp; mv sp, a0; sd a1, -8(sp); mv sp, a1; ret") \
	CODE(sigreturn_at, "mv sp, a0; li a7, 139; ecall; unimp")

#endif
