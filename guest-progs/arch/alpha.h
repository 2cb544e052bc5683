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

#define DEBUGGER_PC 64
#define CORE_PC 248
#define FRAME_PC(uc) (uc)->uc_mcontext.sc_pc
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.sc_ps = 0)
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.sc_regs[n]
#define FRAME_FLOAT(uc, n) (uc)->uc_mcontext.sc_fpregs[n]

#define KEPT_GENERAL 28
#define KEPT_FLOATS 31
#define KEPT_FLOAT_SIZE 8
#define KEPT_FLAGS { 0, 0x0c00000000000000 }

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".macro load_registers\n" \
	"ldt $f30, 776($16); excb; mt_fpcr $f30; excb\n" \
	"spot = 256\n" \
	".irp reg, $f0, $f1, $f2, $f3, $f4, $f5, $f6, $f7, $f8, $f9, $f10, $f11, $f12, $f13, $f14, " \
	"$f15, $f16, $f17, $f18, $f19, $f20, $f21, $f22, $f23, $f24, $f25, $f26, $f27, $f28, $f29, $f30\n" \
	"ldt \\reg, spot($16)\n" \
	"spot = spot + 8\n" \
	".endr\n" \
	"spot = 0\n" \
	".irp reg, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $18, $19, " \
	"$20, $21, $22, $23, $24, $25, $26, $27, $28, $29\n" \
	"ldq \\reg, spot($16)\n" \
	"spot = spot + 8\n" \
	".endr\n" \
	".endm\n" \
	".macro store_registers\n" \
	"spot = 1024+256\n" \
	".irp reg, $f0, $f1, $f2, $f3, $f4, $f5, $f6, $f7, $f8, $f9, $f10, $f11, $f12, $f13, $f14, " \
	"$f15, $f16, $f17, $f18, $f19, $f20, $f21, $f22, $f23, $f24, $f25, $f26, $f27, $f28, $f29, $f30\n" \
	"stt \\reg, spot($16)\n" \
	"spot = spot + 8\n" \
	".endr\n" \
	"spot = 1024\n" \
	".irp reg, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $18, $19, " \
	"$20, $21, $22, $23, $24, $25, $26, $27, $28, $29\n" \
	"stq \\reg, spot($16)\n" \
	"spot = spot + 8\n" \
	".endr\n" \
	"excb; mf_fpcr $f30; excb; stt $f30, 1024+776($16)\n" \
	".endm\n" \
	CODE(keep_registers, ".set noat\n" \
		"lda $30, -160($30); excb; mf_fpcr $f10; excb; stt $f10, 136($30)\n" \
		"spot = 0\n" \
		".irp reg, $26, $9, $10, $11, $12, $13, $14, $15, $29\n" \
		"stq \\reg, spot($30)\n" \
		"spot = spot + 8\n" \
		".endr\n" \
		"spot = 72\n" \
		".irp reg, $f2, $f3, $f4, $f5, $f6, $f7, $f8, $f9\n" \
		"stt \\reg, spot($30)\n" \
		"spot = spot + 8\n" \
		".endr\n" \
		"load_registers\n" \
		"ldq $17, 784($16); ldl $17, 0($17); stq $16, 1024+784($16)\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"spot = 0\n" \
		".irp reg, $26, $9, $10, $11, $12, $13, $14, $15, $29\n" \
		"ldq \\reg, spot($30)\n" \
		"spot = spot + 8\n" \
		".endr\n" \
		"spot = 72\n" \
		".irp reg, $f2, $f3, $f4, $f5, $f6, $f7, $f8, $f9\n" \
		"ldt \\reg, spot($30)\n" \
		"spot = spot + 8\n" \
		".endr\n" \
		"ldt $f10, 136($30); excb; mt_fpcr $f10; excb; lda $30, 160($30); ret\n" \
		".set at") \
	CODE(spoil_registers, ".set noat\n" \
		"br $1, 1f; .long 0; .quad registers_handler; 1: ldq $27, 4($1)\n" \
		"lda $30, -16($30); stq $26, 0($30); jsr $26, ($27); mov $0, $16\n" \
		"load_registers\n" \
		"ldq $26, 0($30); lda $30, 16($30); ret\n" \
		".set at") \
	CODE(drop_frame, "br $1, 1f; .long 0; .quad registers_handler; 1: ldq $27, 4($1)\n" \
		"mov $30, $9; jsr $26, ($27); mov $0, $10\n" \
		"ldq $16, 792($10); ldq $17, 800($10); ldq $18, 808($10); lda $0, 75($31); call_pal 0x83\n" \
		"stq $0, 816($10); mov $9, $30; mov $9, $16; lda $0, 351($31); call_pal 0x83; .long 0x1c000000")

#define ARCH_CODE \
	CODE(overflow, "lda $1, -1($31); srl $1, 1, $1; addq/v $1, $1, $1; trapb; ret") \
	CODE(copy_floats, "ldt $f10, 0($16); stt $f10, 64($16); " \
		"lds $f11, 16($16); sts $f11, 80($16); ret") \
	CODE(widen_float, "lds $f10, 0($16); stt $f10, 64($16); ret") \
	CODE(load_extended, "ldl $1, 0($16); stq $1, 16($16); ldwu $1, 0($16); stq $1, 32($16); ret") \
	CODE(move_sp, "mov $30, $1; stq $30, 0($16); lda $30, -64($30); ldq $30, 0($16); " \
		"cmpeq $30, $1, $2; mov $1, $30; stq $2, 16($16); stq $31, 32($16); ret") \
	CODE(div0, "lda $16, -2($31); call_pal 0xaa; ret") \
	CODE(breakpoint, "call_pal 0x80; ret") \
	CODE(load_zero, "ldl $1, 0($31); ret") \
	CODE(load_restart, "lda $0, 512($31); lda $19, 1($31); ldl $1, 0($16); subl $31, $0, $0; stl $0, 64($16); ret") \
	CODE(illegal, "clr $17; clr $18; .long 0x1c000000") \
	CODE(atomic, "ldl_l $1, 0($16); addl $1, 1, $1; stl_c $1, 0($16); ret") \
	CODE(prefetch, "ldl $31, 0($16); ret") \
	CODE(load_sp, "mov $30, $1; mov $16, $30; ldl $2, 0($30); mov $1, $30; ret") \
	CODE(push_at, "mov $30, $1; mov $16, $30; stq $1, -8($30); mov $1, $30; ret") \
	CODE(sigreturn_at, "mov $16, $30; lda $0, 351($31); call_pal 0x83; .long 0x1c000000") \
	REGISTERS_CODE

#endif
