/* SPDX-License-Identifier: GPL-2.0-only */
/* riscv64. What each name must do is told in arch/README.md. */
#ifndef ARCH_RISCV64_H
#define ARCH_RISCV64_H

#include <stdint.h>
#include <ucontext.h>

#define KERNEL_ADDR 0xffffffff80000000UL	/* kernel text, the same for all sizes of the user's half */
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

#define DEBUGGER_SET NT_PRSTATUS
#define DEBUGGER_PC 0
#define FRAME_PC(uc) (uc)->uc_mcontext.__gregs[REG_PC]
#define FRAME_REFUSED(uc) ((uc)->uc_mcontext.__fpregs.__q.__glibc_reserved[0] = 1)
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.__gregs[(n) ? 5 : 1]
#define FRAME_FLOAT(uc, n) (uc)->uc_mcontext.__fpregs.__d.__f[n]

#define KEPT_GENERAL 26
#define KEPT_FLOATS 32
#define KEPT_FLOAT_SIZE 8
#define KEPT_FLAGS { 0, 0x3f }

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".macro load_registers\n" \
	"ld a1, 776(a0); fscsr a1\n" \
	".set spot, 256\n" \
	".irp reg, f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, " \
	"f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31\n" \
	"fld \\reg, spot(a0)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".set spot, 0\n" \
	".irp reg, x1, x5, x6, x7, x8, x9, x12, x13, x14, x15, x16, x17, x18, x19, x20, x21, x22, " \
	"x23, x24, x25, x26, x27, x28, x29, x30, x31\n" \
	"ld \\reg, spot(a0)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".endm\n" \
	".macro store_registers\n" \
	"frcsr a1; sd a1, 1024+776(a0)\n" \
	".set spot, 1024+256\n" \
	".irp reg, f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, " \
	"f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31\n" \
	"fsd \\reg, spot(a0)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".set spot, 1024\n" \
	".irp reg, x1, x5, x6, x7, x8, x9, x12, x13, x14, x15, x16, x17, x18, x19, x20, x21, x22, " \
	"x23, x24, x25, x26, x27, x28, x29, x30, x31\n" \
	"sd \\reg, spot(a0)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".endm\n" \
	CODE(keep_registers, "addi sp, sp, -224; frcsr a1; sd a1, 208(sp)\n" \
		".set spot, 0\n" \
		".irp reg, ra, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11\n" \
		"sd \\reg, spot(sp)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		".set spot, 104\n" \
		".irp reg, fs0, fs1, fs2, fs3, fs4, fs5, fs6, fs7, fs8, fs9, fs10, fs11\n" \
		"fsd \\reg, spot(sp)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		"load_registers\n" \
		"ld a1, 784(a0); lw a1, 0(a1); sd a0, 1024+784(a0)\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		".set spot, 0\n" \
		".irp reg, ra, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11\n" \
		"ld \\reg, spot(sp)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		".set spot, 104\n" \
		".irp reg, fs0, fs1, fs2, fs3, fs4, fs5, fs6, fs7, fs8, fs9, fs10, fs11\n" \
		"fld \\reg, spot(sp)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		"ld a1, 208(sp); fscsr a1; addi sp, sp, 224; ret") \
	CODE(spoil_registers, "addi sp, sp, -16; sd ra, 0(sp); call registers_handler\n" \
		"load_registers\n" \
		"ld ra, 0(sp); addi sp, sp, 16; ret") \
	CODE(drop_frame, "mv s0, sp; call registers_handler; mv s1, a0\n" \
		"ld a0, 792(s1); ld a1, 800(s1); ld a2, 808(s1); li a7, 233; ecall\n" \
		"sd a0, 816(s1); mv sp, s0; li a7, 139; ecall; unimp")

#define ARCH_CODE \
	CODE(div0, "li a0, 1; div a0, a0, zero; ret") \
	CODE(breakpoint, "ebreak; ret") \
	CODE(load_zero, "lw t0, 0(zero); ret") \
	CODE(load_restart, "mv t0, a0; li a0, -512; lw t1, 0(t0); sw a0, 64(t0); ret") \
	CODE(illegal, "unimp") \
	CODE(atomic, "li a1, 1; amoadd.w a1, a1, (a0); ret") \
	CODE(load_sp, "mv a1, sp; mv sp, a0; lw a2, 0(sp); mv sp, a1; ret") \
	CODE(push_at, "mv a1, sp; mv sp, a0; sd a1, -8(sp); mv sp, a1; ret") \
	CODE(sigreturn_at, "mv sp, a0; li a7, 139; ecall; unimp") \
	REGISTERS_CODE

#endif
