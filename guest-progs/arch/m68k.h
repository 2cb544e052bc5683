/* SPDX-License-Identifier: GPL-2.0-only */
/* m68k with an MMU (68040). What each name must do is told in arch/README.md. */
#ifndef ARCH_M68K_H
#define ARCH_M68K_H

#include <asm/cachectl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* User space is an address space of its own: this is above TASK_SIZE, but just a hole. */
#define KERNEL_ADDR 0xf8000000UL
#define DEVICE_WINDOW 0xff001000UL	/* the virt board's devices, translated for the kernel alone */
#define RETURN_STUB { 0x4e, 0x75 }
#define HALF_INSTRUCTION { 0x20, 0x3c }	/* move.l #..., %d0 */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint32_t value = 0;

	if (width == 1)
		asm volatile("move.b (%1), %0" : "+d"(value) : "a"(addr) : "memory");
	else if (width == 2)
		asm volatile("move.w (%1), %0" : "+d"(value) : "a"(addr) : "memory");
	else
		asm volatile("move.l (%1), %0" : "+d"(value) : "a"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t wide, int width)
{
	uint32_t value = wide;

	if (width == 1)
		asm volatile("move.b %1, (%0)" : : "a"(addr), "d"(value) : "memory");
	else if (width == 2)
		asm volatile("move.w %1, (%0)" : : "a"(addr), "d"(value) : "memory");
	else
		asm volatile("move.l %1, (%0)" : : "a"(addr), "d"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("move.l %%sp, %0" : "=a"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t wide, int width)
{
	uint32_t saved, value = wide;

	if (width == 1)
		asm volatile("move.l %%sp, %0\n\tmove.l %1, %%sp\n\tmove.b %3, (%2)\n\tmove.l %0, %%sp"
			     : "=&d"(saved) : "a"(sp), "a"(addr), "d"(value) : "memory");
	else
		asm volatile("move.l %%sp, %0\n\tmove.l %1, %%sp\n\tmove.l %3, (%2)\n\tmove.l %0, %%sp"
			     : "=&d"(saved) : "a"(sp), "a"(addr), "d"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	syscall(SYS_cacheflush, addr, FLUSH_SCOPE_LINE, FLUSH_CACHE_BOTH, size);
}

#define CACHEFLUSH(start, end) syscall(SYS_cacheflush, start, FLUSH_SCOPE_LINE, FLUSH_CACHE_BOTH, \
				       (char *)(end) - (char *)(start))

#define CMPXCHG(mem, from, to) syscall(SYS_atomic_cmpxchg_32, to, from, 0, 0, 0, mem)

#define CPU_FEATURES "CPU"

#define TRAP_WORDS "formatvec"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = uc->__glibc_reserved1[216 / 4];	/* uc_formatvec of arch/m68k/kernel/signal.c */
}

#define TRAP_FACTS(word) { "format", (word)[0] >> 12 & 15 }, { "vector", (word)[0] >> 2 & 0xff }

/*
 * Write-back 2 or 3 of a 68040's access error, which is behind the word of its format: fmt7 of struct frame,
 * arch/m68k/include/asm/traps.h. The kernel has all of memory at its physical address.
 */
#define OWE_STORE(uc, n, as_kernel, addr, width, value) arch_owe_store(uc, 2 + (n), as_kernel, addr, width, value)
#define KERNEL_ALIAS(physical) ((char *)(uintptr_t)(physical))

static inline int arch_owe_store(ucontext_t *uc, int n, int as_kernel, void *addr, int width, uint32_t value)
{
	const int size[] = { [1] = 0x20, [2] = 0x40, [4] = 0 };
	uint16_t status = 0x80 | size[width] | (as_kernel ? 5 : 1);	/* valid, and the function code of data */
	char *frame = (char *)&uc->__glibc_reserved1[216 / 4 + 1];
	uint32_t at = (uintptr_t)addr;

	if ((uc->__glibc_reserved1[216 / 4] >> 12 & 15) != 7)
		return 0;
	memcpy(frame + 12 - 2 * n, &status, 2);
	memcpy(frame + 40 - 8 * n, &at, 4);
	memcpy(frame + 44 - 8 * n, &value, 4);
	return 1;
}

#define DEBUGGER_PC 72
#define FRAME_PC(uc) (uc)->uc_mcontext.gregs[16]
#define FRAME_TRACED(uc) ((uc)->uc_mcontext.gregs[17] |= 0x8000)	/* SR.T1 */
#define FRAME_REFUSED(uc) ((uc)->__glibc_reserved1[216 / 4] = 0x5000)	/* an exception frame that no CPU makes */
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.gregs[17] |= 0x2000)
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.gregs[n]
#define FRAME_FLOAT(uc, n) ((int (*)[3])(uc)->uc_mcontext.fpregs.f_fpregs)[n]

#define KEPT_GENERAL 13
#define KEPT_FLOATS 8
#define KEPT_FLOAT_SIZE 8
#define KEPT_FLAGS { 0x1f, 0x10 }

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".macro load_registers\n" \
	"fmove.l 776(%a0), %fpcr\n" \
	".set spot, 256\n" \
	".irp reg, fp0, fp1, fp2, fp3, fp4, fp5, fp6, fp7\n" \
	"fmove.d spot(%a0), %\\reg\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	"movem.l (%a0), %d0-%d7/%a2-%a6\n" \
	"move.w 768+2(%a0), %ccr\n" \
	".endm\n" \
	".macro store_registers\n" \
	"move.w %ccr, 1024+768+2(%a0)\n" \
	"movem.l %d0-%d7/%a2-%a6, 1024(%a0)\n" \
	"fmove.l %fpcr, 1024+776(%a0)\n" \
	".set spot, 1024+256\n" \
	".irp reg, fp0, fp1, fp2, fp3, fp4, fp5, fp6, fp7\n" \
	"fmove.d %\\reg, spot(%a0)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".endm\n" \
	CODE(keep_registers, "move.l 4(%sp), %a0; movem.l %d2-%d7/%a2-%a6, -(%sp)\n" \
		"fmovem.x %fp2-%fp7, -(%sp); fmove.l %fpcr, -(%sp)\n" \
		"load_registers\n" \
		"move.l 784(%a0), %a1; move.l (%a1), %a1; movem.l %a0, 1024+784(%a0)\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"fmove.l (%sp)+, %fpcr; fmovem.x (%sp)+, %fp2-%fp7\n" \
		"movem.l (%sp)+, %d2-%d7/%a2-%a6; rts") \
	CODE(spoil_registers, "move.l 12(%sp), -(%sp); move.l 12(%sp), -(%sp); move.l 12(%sp), -(%sp); " \
		"jsr registers_handler; lea 12(%sp), %sp; move.l %d0, %a0\n" \
		"load_registers\n" \
		"rts") \
	CODE(drop_frame, "move.l 12(%sp), -(%sp); move.l 12(%sp), -(%sp); move.l 12(%sp), -(%sp); " \
		"jsr registers_handler; lea 16(%sp), %sp; move.l %d0, %a2\n" \
		"move.l 792(%a2), %d1; move.l 800(%a2), %d2; move.l 808(%a2), %d3; move.l #238, %d0; trap #0\n" \
		"move.l %d0, 816(%a2); move.l #173, %d0; trap #0; illegal")

#define ARCH_CODE \
	CODE(overflow, "move.l #0x7fffffff, %d0; add.l %d0, %d0; trapv; rts") \
	CODE(div0, "moveq #1, %d0; moveq #0, %d1; divu.l %d1, %d0; rts") \
	CODE(breakpoint, "trap #15; rts") \
	CODE(load_zero, "move.l 0.w, %d0; rts") \
	CODE(load_two_on, "move.l 4(%sp), %a0; move.l %a0, %a1; movem.l (%a0)+, %d0-%d1; " \
		"move.l %d0, -62(%a1); move.l %d1, -58(%a1); rts") \
	CODE(load_restart, "move.l 4(%sp), %a0; move.l #-512, %d0; move.l (%a0), %d1; move.l %d0, 64(%a0); rts") \
	CODE(illegal, "illegal") \
	CODE(atomic, "move.l 4(%sp), %a0; moveq #0, %d0; moveq #1, %d1; cas.l %d0, %d1, (%a0); rts") \
	CODE(load_multiple, "move.l 4(%sp), %a0; moveq #0, %d0; moveq #0, %d1; movem.l (%a0), %d0-%d1; " \
		"move.l %d0, 63(%a0); move.l %d1, 67(%a0); rts") \
	CODE(store_multiple, "move.l 4(%sp), %a0; movem.l -64(%a0), %d0-%d1; movem.l %d0-%d1, (%a0); rts") \
	CODE(load_sp, "move.l %sp, %a0; move.l 4(%sp), %sp; move.l (%sp), %d0; move.l %a0, %sp; rts") \
	CODE(push_at, "move.l %sp, %a0; move.l 4(%sp), %sp; move.l %d0, -(%sp); move.l %a0, %sp; rts") \
	CODE(sigreturn_at, "move.l 4(%sp), %sp; move.l #173, %d0; trap #0; illegal") \
	REGISTERS_CODE

#endif
