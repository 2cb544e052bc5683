/* SPDX-License-Identifier: GPL-2.0-only */
/* arm, 32 bits, ARMv7. What each name must do is told in arch/README.md. */
#ifndef ARCH_ARM_H
#define ARCH_ARM_H

#include <asm/unistd.h>
#include <stdint.h>
#include <ucontext.h>
#include <unistd.h>

#define KERNEL_HOLE 0xffd00000UL	/* in the fixmap, between its two ends */
#define KERNEL_GAP 0xbfc00000UL	/* behind the modules, unless they have 12 MiB: no page table */
#define KERNEL_ADDR 0xc0100000UL	/* kernel text, with the usual split at 3 GiB */
#define KERNEL_DATA 0xc0004000UL	/* where its own page table has nothing of the user's */
#define VECTORS_PAGE 0xffff0000UL
#define VECTORS_GET_TLS 0xfe0	/* __kuser_get_tls() */
#define RETURN_STUB { 0x1e, 0xff, 0x2f, 0xe1 }	/* bx lr, as ARM code: the address is even */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint32_t value = 0;

	if (width == 1)
		asm volatile("ldrb %0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 2)
		asm volatile("ldrh %0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else
		asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t wide, int width)
{
	uint32_t value = wide;

	if (width == 1)
		asm volatile("strb %1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else if (width == 2)
		asm volatile("strh %1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else
		asm volatile("str %1, [%0]" : : "r"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("mov %0, sp" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t wide, int width)
{
	uint32_t saved, value = wide;

	if (width == 1)
		asm volatile("mov %0, sp; mov sp, %1; strb %3, [%2]; mov sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
	else
		asm volatile("mov %0, sp; mov sp, %1; str %3, [%2]; mov sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	__builtin___clear_cache((char *)addr, (char *)addr + size);
}

#define CACHEFLUSH(start, end) syscall(__ARM_NR_cacheflush, start, end, 0)

#define CPU_FEATURES "Features"

#define TRAP_WORDS "fsr", "trap-no", "fault-address"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = uc->uc_mcontext.error_code;
	word[1] = uc->uc_mcontext.trap_no;
	word[2] = uc->uc_mcontext.fault_address;
}

/* An odd address is Thumb code, where a return is another one: bx lr. */
#define ODD_RETURN_STUB { 0x70, 0x47 }
#define HALF_INSTRUCTION { 0x4f, 0xf0 }	/* of T32's long mov r0, #... */
#define HALF_IS_ODD 1
#define PC_IGNORES 1	/* low bits of an address that a jump drops */

#define TRAP_FACTS(word) \
	{ "fetch", (word)[0] >> 31 & 1 }, { "write", (word)[0] >> 11 & 1 }, { "fs", (word)[0] & 0x40f }, \
	{ "trap-no", (word)[1] }
#define TRAP_ADDRESS(word) ((word)[2])

#define DEBUGGER_PC 60
/* The record of the floating-point registers is the first of the frame's, behind its two words of head. */
#define FRAME_PC(uc) (uc)->uc_mcontext.arm_pc
#define FRAME_REFUSED(uc) ((uc)->uc_regspace[0] ^= 1)	/* by which floating point is known */
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.arm_cpsr ^= 0x10 ^ 0x13)	/* user to supervisor */
#define FRAME_GENERAL(uc, n) (&(uc)->uc_mcontext.arm_r2)[n]
#define FRAME_FLOAT(uc, n) ((uint64_t *)(uc)->uc_regspace)[1 + (n)]

#define KEPT_GENERAL 12
#define KEPT_FLOATS 32
#define KEPT_FLOAT_SIZE 8
#define KEPT_FLAGS { 0xf8000000, 0xf0c00000 }

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".macro load_registers\n" \
	"ldr r1, [r0, #768]; msr apsr_nzcvq, r1; ldr r1, [r0, #776]; vmsr fpscr, r1\n" \
	"add r1, r0, #256; vldmia r1!, {d0-d15}; vldmia r1, {d16-d31}\n" \
	".set spot, 0\n" \
	".irp reg, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr\n" \
	"ldr \\reg, [r0, #spot]\n" \
	".set spot, spot + 4\n" \
	".endr\n" \
	".endm\n" \
	".macro store_registers\n" \
	"mrs r1, apsr; lsr r1, r1, #27; lsl r1, r1, #27; str r1, [r0, #1024+768]\n" \
	"vmrs r1, fpscr; str r1, [r0, #1024+776]\n" \
	"add r1, r0, #1280; vstmia r1!, {d0-d15}; vstmia r1, {d16-d31}\n" \
	".set spot, 1024\n" \
	".irp reg, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr\n" \
	"str \\reg, [r0, #spot]\n" \
	".set spot, spot + 4\n" \
	".endr\n" \
	".endm\n" \
	CODE(keep_registers, ".fpu neon\n" \
		"push {r4-r11, lr}; vpush {d8-d15}; vmrs r1, fpscr; push {r1}\n" \
		"load_registers\n" \
		"ldr r1, [r0, #784]; ldr r1, [r1]; str r0, [r0, #1024+784]\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"pop {r1}; vmsr fpscr, r1; vpop {d8-d15}; pop {r4-r11, pc}") \
	CODE(spoil_registers, "push {r4, lr}; bl registers_handler\n" \
		"load_registers\n" \
		"pop {r4, lr}; bx lr") \
	CODE(drop_frame, "mov r4, sp; bl registers_handler; mov r5, r0\n" \
		"ldr r0, [r5, #792]; ldr r1, [r5, #800]; ldr r2, [r5, #808]; mov r7, #220; svc #0\n" \
		"str r0, [r5, #816]; mov sp, r4; mov r7, #173; svc #0; .inst 0xe7f000f0")

/* What a pair has loaded, and how far its base has moved. */
#define TELL_PAIR "sub r1, r1, r0; str r2, [r0, #63]; str r3, [r0, #67]; str r1, [r0, #71]; bx lr"
/* From ARM code into Thumb code; where that returns to is ARM code again. */
#define THUMB(text) ".syntax unified; add r3, pc, #1; bx r3; .thumb; " text "; .balign 4; .arm"

#define ARCH_CODE \
	".arm\n" \
	CODE(div0, ".arch_extension idiv; mov r0, #1; mov r1, #0; sdiv r0, r0, r1; bx lr") \
	CODE(breakpoint, ".inst 0xe7f001f0; bx lr") \
	CODE(load_restart, "mov r1, r0; mov r0, #512; rsb r0, r0, #0; ldr r2, [r1]; str r0, [r1, #64]; bx lr") \
	CODE(illegal, ".inst 0xe7f000f0") \
	CODE(private_call, "push {r7, lr}; movw r7, #0x0800; movt r7, #0xf; svc #0; pop {r7, pc}") \
	CODE(atomic, "ldrex r1, [r0]; add r1, r1, #1; strex r2, r1, [r0]; bx lr") \
	CODE(load_two_on, "mov r3, r0; ldm r0!, {r1, r2}; str r1, [r3, #-62]; str r2, [r3, #-58]; bx lr") \
	CODE(load_pair_base, "mov r2, r0; ldrd r0, r1, [r0]; str r0, [r2, #-62]; str r1, [r2, #-58]; bx lr") \
	CODE(load_pair, "mov r2, #0; mov r3, #0; ldrd r2, r3, [r0]; str r2, [r0, #63]; str r3, [r0, #67]; bx lr") \
	CODE(store_pair, "ldr r2, [r0, #-64]; ldr r3, [r0, #-60]; strd r2, r3, [r0]; bx lr") \
	CODE(load_multiple, "mov r1, #0; mov r2, #0; ldm r0, {r1, r2}; str r1, [r0, #63]; str r2, [r0, #67]; bx lr") \
	CODE(store_multiple, "ldr r1, [r0, #-64]; ldr r2, [r0, #-60]; stm r0, {r1, r2}; bx lr") \
	CODE(load_multiple_on, "mov r1, #0; mov r2, #0; mov r3, r0; ldm r3!, {r1, r2}; " \
		"str r1, [r0, #63]; str r2, [r0, #67]; sub r3, r3, r0; str r3, [r0, #71]; bx lr") \
	CODE(push_multiple, "ldr r1, [r0, #-64]; ldr r2, [r0, #-60]; mov r3, r0; stmdb r3!, {r1, r2}; " \
		"sub r3, r0, r3; str r3, [r0, #71]; bx lr") \
	CODE(load_pair_behind, "mov r1, r0; ldrd r2, r3, [r1], #8; " TELL_PAIR) \
	CODE(load_pair_before, "add r1, r0, #8; ldrd r2, r3, [r1, #-8]!; add r1, r1, #8; " TELL_PAIR) \
	CODE(load_pair_behind_short, THUMB("mov r1, r0; ldrd r2, r3, [r1], #8; " TELL_PAIR)) \
	CODE(load_pair_before_short, THUMB("add r1, r0, #8; ldrd r2, r3, [r1, #-8]!; add r1, r1, #8; " TELL_PAIR)) \
	CODE(load_multiple_short, THUMB("movs r1, #0; movs r2, #0; mov r3, r0; ldmia r3!, {r1, r2}; " \
		"str r1, [r0, #63]; str r2, [r0, #67]; subs r3, r3, r0; str r3, [r0, #71]; bx lr")) \
	CODE(store_multiple_short, THUMB("ldr r1, [r0, #-64]; ldr r2, [r0, #-60]; mov r3, r0; stmia r3!, {r1, r2}; " \
		"subs r3, r3, r0; str r3, [r0, #71]; bx lr")) \
	CODE(load_pc, "mov r3, #0; adr r1, 1f; str r1, [r0, #4]; ldm r0, {r2, pc}; add r3, r3, #1; add r3, r3, #1; " \
		"add r3, r3, #1; 1: add r3, r3, #1; add r3, r3, #1; str r2, [r0, #63]; str r3, [r0, #67]; bx lr") \
	/* cmp r0, #0xf0; b to the next, and in the other instruction set none. */ \
	CODE(load_pc_short, ".syntax unified; mov r3, #0; adr r1, 1f; orr r1, r1, #1; str r1, [r0, #4]; ldm r0, {r2, pc}; " \
		"add r3, r3, #1; .thumb; 1: .short 0x28f0, 0xe7ff; adds r3, #1; adds r3, #1; " \
		"str r2, [r0, #63]; str r3, [r0, #67]; bx lr; .balign 4; .arm") \
	CODE(pop_pc_short, THUMB("mov r12, sp; movs r3, #0; adr.w r1, 1f; orr r1, r1, #1; str r1, [r0, #4]; mov sp, r0; " \
		"pop {r2, pc}; adds r3, #1; adds r3, #1; adds r3, #1; 1: adds r3, #1; adds r3, #1; mov r1, sp; mov sp, r12; " \
		"subs r1, r1, r0; str r2, [r0, #63]; str r3, [r0, #67]; str r1, [r0, #71]; bx lr")) \
	CODE(load_pair_if, THUMB("movs r3, #0; movs r2, #0; ite eq; ldrdeq r2, r3, [r0]; movne r2, #0; " \
		"str r2, [r0, #63]; str r3, [r0, #67]; bx lr")) \
	CODE(load_if, THUMB("movs r1, #0; ite eq; ldreq r1, [r0]; movne r1, #7; str r1, [r0, #64]; bx lr")) \
	CODE(read_short, THUMB("push {r4, r5, r7, lr}; mov r4, r0; movs r5, #0; ldr r0, [r4]; ldr r1, [r4, #4]; " \
		"movs r2, #1; movs r7, #3; adds r5, #1; svc #0; str r5, [r4, #8]; str r0, [r4, #12]; pop {r4, r5, r7, pc}")) \
	CODE(load_vector, ".fpu neon; vld1.64 {d0}, [r0:64]; bx lr") \
	CODE(prefetch, "pld [r0]; bx lr") \
	CODE(load_swapped, "setend be; ldr r1, [r0]; setend le; bx lr") \
	CODE(load_sp, "mov r1, sp; mov sp, r0; ldr r2, [sp]; mov sp, r1; bx lr") \
	CODE(push_at, "mov r1, sp; mov sp, r0; push {r1}; mov sp, r1; bx lr") \
	CODE(sigreturn_at, "mov sp, r0; mov r7, #173; svc #0; .inst 0xe7f000f0") \
	REGISTERS_CODE

#endif
