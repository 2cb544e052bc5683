/* SPDX-License-Identifier: GPL-2.0-only */
/* ppc64le. What each name must do is told in arch/README.md. */
#ifndef ARCH_PPC64LE_H
#define ARCH_PPC64LE_H

#include <asm/ptrace.h>
#include <stdint.h>
#include <ucontext.h>

#define KERNEL_ADDR 0xc000000000010000UL	/* kernel text, where it is linked and runs, in the linear map */
#define KERNEL_DATA 0xc000000008000000UL	/* at 128 MiB: anybody's memory, a kernel that lets it be stored to has lost anyway */
#define KERNEL_HOLE 0xc007000000000000UL	/* in the linear map, behind any memory */
#define KERNEL_GAP KERNEL_HOLE			/* nor is there a table */
#define RETURN_STUB { 0x20, 0x00, 0x80, 0x4e }	/* blr */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint64_t value = 0;

	if (width == 1)
		asm volatile("lbz %0, 0(%1)" : "=r"(value) : "b"(addr) : "memory");
	else if (width == 2)
		asm volatile("lhz %0, 0(%1)" : "=r"(value) : "b"(addr) : "memory");
	else if (width == 4)
		asm volatile("lwz %0, 0(%1)" : "=r"(value) : "b"(addr) : "memory");
	else
		asm volatile("ld %0, 0(%1)" : "=r"(value) : "b"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t value, int width)
{
	if (width == 1)
		asm volatile("stb %1, 0(%0)" : : "b"(addr), "r"(value) : "memory");
	else if (width == 2)
		asm volatile("sth %1, 0(%0)" : : "b"(addr), "r"(value) : "memory");
	else if (width == 4)
		asm volatile("stw %1, 0(%0)" : : "b"(addr), "r"(value) : "memory");
	else
		asm volatile("std %1, 0(%0)" : : "b"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("mr %0, 1" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t value, int width)
{
	uint64_t saved;

	if (width == 1)
		asm volatile("mr %0, 1; mr 1, %1; stb %3, 0(%2); mr 1, %0"
			     : "=&r"(saved) : "r"(sp), "b"(addr), "r"(value) : "memory");
	else
		asm volatile("mr %0, 1; mr 1, %1; stw %3, 0(%2); mr 1, %0"
			     : "=&r"(saved) : "r"(sp), "b"(addr), "r"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	__builtin___clear_cache((char *)addr, (char *)addr + size);
}

#define CPU_FEATURES "cpu\t"

#define TRAP_WORDS "trap", "dsisr", "dar"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = uc->uc_mcontext.gp_regs[PT_TRAP];
	word[1] = uc->uc_mcontext.gp_regs[PT_DSISR];
	word[2] = uc->uc_mcontext.gp_regs[PT_DAR];
}

/* Where no page is the matter, DSISR is that of another interrupt. */
static inline uint64_t arch_dsisr(const uint64_t *word)
{
	uint64_t vector = word[0] & 0xffe0;

	return vector == 0x300 || vector == 0x400 ? word[1] : 0;
}

/*
 * The vector of the interrupt, without the kernel's marks; and of DSISR, whose like a fetch has, whether
 * no translation was found, whether one denied it, whether it was a store.
 */
#define TRAP_FACTS(word) \
	{ "trap", (word)[0] & 0xffe0 }, { "absent", arch_dsisr(word) >> 30 & 1 }, \
	{ "denied", (arch_dsisr(word) & 0x18000000) != 0 }, { "write", arch_dsisr(word) >> 25 & 1 }
#define TRAP_ADDRESS(word) ((word)[2])

#define PC_IGNORES 3	/* low bits of an address that a jump drops */

#define DEBUGGER_PC 256
#define FRAME_PC(uc) (uc)->uc_mcontext.gp_regs[PT_NIP]
#define FRAME_REFUSED(uc) ((uc)->uc_mcontext.v_regs = (void *)-4096UL)	/* the vector registers */
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.gp_regs[PT_MSR] &= ~0x4000UL)	/* MSR.PR */
#define FRAME_TRACED(uc) ((uc)->uc_mcontext.gp_regs[PT_MSR] |= 0x400UL)		/* MSR.SE */
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.gp_regs[(n) ? 2 : 0]
#define FRAME_FLOAT(uc, n) (uc)->uc_mcontext.fp_regs[n]

#define KEPT_GENERAL 30
/* 32 floats; the other halves of 16 of their registers; 8 vector registers. */
#define KEPT_FLOATS 64
#define KEPT_FLOAT_SIZE 8
#define KEPT_FLAGS { 0xe000000091a2c48c, 0x9e000001 }	/* XER and CR; FPSCR */

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".machine push; .machine power9\n" \
	".macro load_registers\n" \
	"lfd 0, 776(3); mtfsf 255, 0\n" \
	".set spot, 256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	"ld 4, spot(3); ld 5, spot+256(3); mtvsrdd \\reg, 4, 5\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".irp reg, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n" \
	"lfd \\reg, spot(3)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".set spot, 640\n" \
	".irp reg, 32, 33, 34, 35, 36, 37, 38, 39\n" \
	"ld 4, spot(3); ld 5, spot+8(3); mtvsrdd \\reg, 4, 5\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	"ld 4, 768(3); mtcr 4; srdi 4, 4, 32; mtxer 4\n" \
	"ld 4, 224(3); mtlr 4; ld 4, 232(3); mtctr 4\n" \
	".set spot, 0\n" \
	".irp reg, 0, 2, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, " \
	"26, 27, 28, 29, 30, 31\n" \
	"ld \\reg, spot(3)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".endm\n" \
	".macro store_registers\n" \
	".set spot, 1024\n" \
	".irp reg, 0, 2, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, " \
	"26, 27, 28, 29, 30, 31\n" \
	"std \\reg, spot(3)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	"mflr 4; std 4, 1024+224(3); mfctr 4; std 4, 1024+232(3)\n" \
	"mfcr 4; mfxer 5; sldi 5, 5, 32; or 4, 4, 5; std 4, 1024+768(3)\n" \
	".set spot, 1024+256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	"stfd \\reg, spot(3); mfvsrld 4, \\reg; std 4, spot+256(3)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".irp reg, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n" \
	"stfd \\reg, spot(3)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".set spot, 1024+640\n" \
	".irp reg, 32, 33, 34, 35, 36, 37, 38, 39\n" \
	"mfvsrd 4, \\reg; std 4, spot(3); mfvsrld 4, \\reg; std 4, spot+8(3)\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	"mffs 0; stfd 0, 1024+776(3)\n" \
	".endm\n" \
	CODE(keep_registers, "mflr 0; std 0, 16(1); mfcr 0; std 0, 8(1); stdu 1, -336(1); std 2, 24(1)\n" \
		"mffs 0; stfd 0, 320(1)\n" \
		".set spot, 32\n" \
		".irp reg, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n" \
		"std \\reg, spot(1); stfd \\reg, spot+144(1)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		"load_registers\n" \
		"ld 4, 784(3); lwz 4, 0(4); std 3, 1024+784(3)\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"lfd 0, 320(1); mtfsf 255, 0\n" \
		".set spot, 32\n" \
		".irp reg, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n" \
		"ld \\reg, spot(1); lfd \\reg, spot+144(1)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		"ld 2, 24(1); addi 1, 1, 336; ld 0, 8(1); mtcr 0; ld 0, 16(1); mtlr 0; blr") \
	CODE(spoil_registers, "addis 2, 12, .TOC.-code_spoil_registers@ha; addi 2, 2, .TOC.-code_spoil_registers@l\n" \
		"mflr 0; std 0, 16(1); stdu 1, -32(1); bl registers_handler; nop; addi 1, 1, 32\n" \
		"load_registers\n" \
		"ld 0, 16(1); mtlr 0; blr") \
	CODE(drop_frame, "addis 2, 12, .TOC.-code_drop_frame@ha; addi 2, 2, .TOC.-code_drop_frame@l\n" \
		"mflr 16; mr 14, 1; stdu 1, -32(1); bl registers_handler; nop; mr 15, 3\n" \
		"ld 3, 792(15); ld 4, 800(15); ld 5, 808(15); li 0, 205; sc\n" \
		"std 3, 816(15); mr 1, 14; mtlr 16; blr\n" \
		".machine pop")		/* to rt_sigreturn(2), as any handler */

#define ARCH_CODE \
	/* Of 512 bytes: the program's 288, and what the system's own functions have. */ \
	CODE(red_zone, ".irp reg, 0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120\n" \
		"ld 4, \\reg(3); std 4, \\reg-512(1)\n" \
		".endr\n" \
		"ld 4, 784(3); lwz 4, 0(4)\n" \
		".irp reg, 0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120\n" \
		"ld 4, \\reg-512(1); std 4, 1024+\\reg(3)\n" \
		".endr\n" \
		"blr") \
	CODE(div0, "li 4, 1; li 5, 0; divw 3, 4, 5; blr") \
	CODE(fdiv0, "li 0, 171; li 3, 12; li 4, 3; sc\n"	/* prctl(PR_SET_FPEXC, PR_FP_EXC_PRECISE) */ \
		"li 4, 16; std 4, -8(1); lfd 0, -8(1); mtfsf 255, 0\n"	/* FPSCR.ZE alone */ \
		"li 4, 1023; sldi 4, 4, 52; std 4, -8(1); lfd 1, -8(1); fsub 2, 1, 1\n" \
		"fdiv 1, 1, 2; blr") \
	CODE(breakpoint, "trap; blr") \
	CODE(compare_trap, "tdeq 3, 3; blr") \
	CODE(load_zero, "lwz 4, 0(0); blr") \
	CODE(load_restart, "mr 4, 3; li 3, 512; crset 3; lwz 5, 0(4); neg 5, 3; stw 5, 64(4); blr") \
	CODE(illegal, ".long 0") \
	CODE(atomic, "lwarx 4, 0, 3; addi 4, 4, 1; stwcx. 4, 0, 3; blr") \
	CODE(load_multiple, "std 30, -16(1); std 31, -8(1); .long 0xbbc30000\n"	/* lmw 30, 0(3) */ \
		"stw 30, 63(3); stw 31, 67(3); ld 30, -16(1); ld 31, -8(1); blr") \
	CODE(store_multiple, "std 30, -16(1); std 31, -8(1); lwz 30, -64(3); lwz 31, -60(3)\n" \
		".long 0xbfc30000\n"				/* stmw 30, 0(3) */ \
		"ld 30, -16(1); ld 31, -8(1); blr") \
	/* switch_endian(2), and lwz 5, 0(3); li 0, 363; sc as the other endianness has them. */ \
	CODE(load_swapped, "li 0, 363; sc; .long 0x0000a380, 0x6b010038, 0x02000044; blr") \
	CODE(prefetch, "dcbt 0, 3; blr") \
	CODE(load_sp, "mr 4, 1; mr 1, 3; lwz 5, 0(1); mr 1, 4; blr") \
	CODE(push_at, "mr 4, 1; mr 1, 3; std 4, -8(1); mr 1, 4; blr") \
	CODE(sigreturn_at, "mr 1, 3; li 0, 172; sc; .long 0") \
	REGISTERS_CODE

#endif
