/* SPDX-License-Identifier: GPL-2.0-only */
/* alpha. What each name must do is told in arch/README.md. */
#ifndef ARCH_ALPHA_H
#define ARCH_ALPHA_H

/*
 * Byte and word accesses are one instruction only with the BWX extension (-mcpu=ev56 and
 * up). Without it they are a load of the whole quadword, and si_addr loses its low bits.
 */
#ifndef __alpha_bwx__
#error "alpha needs -mcpu=ev67"
#endif

#include <stdint.h>
#include <ucontext.h>

#define SYS_mseal 572
#define KERNEL_ADDR 0xfffffc0000310000UL	/* kernel text, in kseg */
#define USER_END(highest) 0x40000000000UL
#define RETURN_STUB { 0x01, 0x80, 0xfa, 0x6b }	/* ret $31, ($26), 1 */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint64_t value = 0;

	if (width == 1)
		asm volatile("ldbu %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 2)
		asm volatile("ldwu %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 4)
		asm volatile("ldl %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	else
		asm volatile("ldq %0, 0(%1)" : "=r"(value) : "r"(addr) : "memory");
	return width == 4 ? (uint32_t)value : value;	/* ldl extends the sign */
}

static inline void arch_store(void *addr, uint64_t value, int width)
{
	if (width == 1)
		asm volatile("stb %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
	else if (width == 2)
		asm volatile("stw %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
	else if (width == 4)
		asm volatile("stl %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
	else
		asm volatile("stq %1, 0(%0)" : : "r"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("mov $30, %0" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t value, int width)
{
	uint64_t saved;

	if (width == 1)
		asm volatile("mov $30, %0; mov %1, $30; stb %3, 0(%2); mov %0, $30"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
	else
		asm volatile("mov $30, %0; mov %1, $30; stl %3, 0(%2); mov %0, $30"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	(void)addr, (void)size;
	asm volatile("call_pal 0x86" : : : "memory");	/* imb */
}

#define CPU_FEATURES "cpu model"

#define TRAP_WORDS "traparg-a0", "traparg-a1", "traparg-a2"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = uc->uc_mcontext.sc_traparg_a0;	/* address */
	word[1] = uc->uc_mcontext.sc_traparg_a1;	/* mmcsr: 0 no translation, 1 access, 2-4 FO* */
	word[2] = uc->uc_mcontext.sc_traparg_a2;	/* -1 fetch, 0 load, 1 store */
}

#define HAS_TRAPNO(sig) ((sig) == SIGFPE || (sig) == SIGTRAP)

#define PC_IGNORES 3	/* low bits of an address that a jump drops */

#define TRAP_FACTS(word) { "mmcsr", (word)[1] }, { "cause", (word)[2] }
#define TRAP_ADDRESS(word) ((word)[0])

#define ARCH_CODE \
	CODE(overflow, "lda $1, -1($31); srl $1, 1, $1; addq/v $1, $1, $1; trapb; ret") \
	CODE(copy_floats, "ldt $f10, 0($16); stt $f10, 64($16); " \
		"lds $f11, 16($16); sts $f11, 80($16); ret") \
	CODE(widen_float, "lds $f10, 0($16); stt $f10, 64($16); ret") \
	CODE(move_sp, "mov $30, $1; stq $30, 0($16); lda $30, -64($30); ldq $30, 0($16); " \
		"cmpeq $30, $1, $2; mov $1, $30; stq $2, 16($16); stq $31, 32($16); ret") \
	CODE(div0, "lda $16, -2($31); call_pal 0xaa; ret") \
	CODE(breakpoint, "call_pal 0x80; ret") \
	CODE(illegal, "clr $17; clr $18; .long 0x1c000000") \
	CODE(atomic, "ldl_l $1, 0($16); addl $1, 1, $1; stl_c $1, 0($16); ret") \
	CODE(prefetch, "ldl $31, 0($16); ret") \
	CODE(load_sp, "mov $30, $1; mov $16, $30; ldl $2, 0($30); mov $1, $30; ret") \
	CODE(push_at, "mov $30, $1; mov $16, $30; stq $1, -8($30); mov $1, $30; ret") \
	CODE(sigreturn_at, "mov $16, $30; lda $0, 351($31); call_pal 0x83; .long 0x1c000000")

#endif
