/* SPDX-License-Identifier: GPL-2.0-only */
/* s390x. What each name must do is told in arch/README.md. */
#ifndef ARCH_S390X_H
#define ARCH_S390X_H

#include <stdint.h>
#include <ucontext.h>

/*
 * The kernel has a space of its own, whose addresses programs may use as well: these are in the kernel's map of
 * memory, and in a program's space where nothing is mapped unasked.
 */
#define KERNEL_ADDR 0x100000UL		/* kernel text, as far as 6.1 */
#define KERNEL_DATA 0x7000000UL		/* at 112 MiB: anybody's memory, a kernel that lets it be stored to has lost anyway */
#define KERNEL_HOLE 0x700000000000UL	/* behind any memory */
#define KERNEL_GAP KERNEL_HOLE		/* nor is there a table */
#define RETURN_STUB { 0x07, 0xfe }	/* br %r14 */
#define HALF_INSTRUCTION { 0x58, 0x30 }	/* of l %r3, ... */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint64_t value = 0;

	if (width == 1)
		asm volatile("llgc %0, 0(%1)" : "=d"(value) : "a"(addr) : "memory");
	else if (width == 2)
		asm volatile("llgh %0, 0(%1)" : "=d"(value) : "a"(addr) : "memory");
	else if (width == 4)
		asm volatile("llgf %0, 0(%1)" : "=d"(value) : "a"(addr) : "memory");
	else
		asm volatile("lg %0, 0(%1)" : "=d"(value) : "a"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t value, int width)
{
	if (width == 1)
		asm volatile("stc %1, 0(%0)" : : "a"(addr), "d"(value) : "memory");
	else if (width == 2)
		asm volatile("sth %1, 0(%0)" : : "a"(addr), "d"(value) : "memory");
	else if (width == 4)
		asm volatile("st %1, 0(%0)" : : "a"(addr), "d"(value) : "memory");
	else
		asm volatile("stg %1, 0(%0)" : : "a"(addr), "d"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("lgr %0, %%r15" : "=d"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t value, int width)
{
	uint64_t saved;

	if (width == 1)
		asm volatile("lgr %0, %%r15; lgr %%r15, %1; stc %3, 0(%2); lgr %%r15, %0"
			     : "=&d"(saved) : "d"(sp), "a"(addr), "d"(value) : "memory");
	else
		asm volatile("lgr %0, %%r15; lgr %%r15, %1; st %3, 0(%2); lgr %%r15, %0"
			     : "=&d"(saved) : "d"(sp), "a"(addr), "d"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	asm volatile("bcr 15, 0" : : "r"(addr), "r"(size) : "memory");	/* stores are seen once it has serialized */
}

#define CPU_FEATURES "features"
#define GATHERING_CONSOLE "/dev/ttysclp0"	/* for 50 ms: sclp_vt220.c */

/* The signal frame says nothing of the trap but where it was. */
#define TRAP_WORDS "pc"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = uc->uc_mcontext.psw.addr;
}

#define RAW_CLONE(flags, ptid) syscall(SYS_clone, 0L, flags, ptid, 0L, 0L)

#define DEBUGGER_PC 8
#define FRAME_PC(uc) (uc)->uc_mcontext.psw.addr
#define FRAME_REFUSED(uc) ((uc)->uc_mcontext.psw.mask |= 0x8000000000UL)	/* run-time instrumentation */
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.psw.mask &= ~0x1000000000000UL)	/* PSW.P */
#define FRAME_TRACED(uc) ((uc)->uc_mcontext.psw.mask |= 0x4000000000000000UL)	/* PSW.R */
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.gregs[(n) ? 3 : 0]
#define FRAME_FLOAT(uc, n) (uc)->uc_mcontext.fpregs.fprs[n].d

#define KEPT_GENERAL 13
/* 16 floats; the other halves of their registers; 16 vector registers. */
#define KEPT_FLOATS 64
#define KEPT_FLOAT_SIZE 8
#define KEPT_FLAGS { 0x26000000, 0xf80043 }	/* condition code and program mask; FPC */

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".machine push; .machine z13\n" \
	".macro load_registers\n" \
	"lfpc 780(%r2)\n" \
	".set spot, 256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	"lg %r3, spot(%r2); lg %r4, spot+128(%r2); vlvgp %v\\reg, %r3, %r4\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	"vlm %v16, %v31, 512(%r2)\n" \
	"lg %r1, 768(%r2); spm %r1\n" \
	"lg %r0, 0(%r2); lmg %r3, %r14, 8(%r2)\n" \
	".endm\n" \
	".macro store_registers\n" \
	"lghi %r1, 0; ipm %r1; stg %r1, 1024+768(%r2)\n" \
	"stg %r0, 1024(%r2); stmg %r3, %r14, 1024+8(%r2)\n" \
	"stfpc 1024+780(%r2)\n" \
	".set spot, 1024+256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	"vlgvg %r1, %v\\reg, 0; stg %r1, spot(%r2); vlgvg %r1, %v\\reg, 1; stg %r1, spot+128(%r2)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	"vstm %v16, %v31, 1024+512(%r2)\n" \
	".endm\n" \
	CODE(keep_registers, "stmg %r6, %r14, 48(%r15); lay %r15, -240(%r15)\n" \
		"stfpc 232(%r15)\n" \
		".set spot, 160\n" \
		".irp reg, 8, 9, 10, 11, 12, 13, 14, 15\n" \
		"std %f\\reg, spot(%r15)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		"load_registers\n" \
		"lg %r1, 784(%r2); l %r1, 0(%r1); stg %r2, 1024+784(%r2)\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"lghi %r1, 0; spm %r1\n" \
		".set spot, 160\n" \
		".irp reg, 8, 9, 10, 11, 12, 13, 14, 15\n" \
		"ld %f\\reg, spot(%r15)\n" \
		".set spot, spot + 8\n" \
		".endr\n" \
		"lfpc 232(%r15)\n" \
		"la %r15, 240(%r15); lmg %r6, %r14, 48(%r15); br %r14") \
	CODE(spoil_registers, "stg %r14, 112(%r15); lay %r15, -160(%r15)\n" \
		"brasl %r14, registers_handler\n" \
		"load_registers\n" \
		"la %r15, 160(%r15); lg %r14, 112(%r15); br %r14") \
	CODE(drop_frame, "lgr %r12, %r15; lay %r15, -160(%r15)\n" \
		"brasl %r14, registers_handler; lgr %r13, %r2\n" \
		"lg %r2, 792(%r13); lg %r3, 800(%r13); lg %r4, 808(%r13); svc 219\n" \
		"stg %r2, 816(%r13); lgr %r15, %r12; svc 173\n"	/* to rt_sigreturn(2), as any handler */ \
		".machine pop")

#define ARCH_CODE \
	CODE(div0, "lghi %r3, 1; lghi %r4, 0; dsgr %r2, %r4; br %r14") \
	/* The mask of that trap goes into FPC, which has nothing else then. */ \
	CODE(fdiv0, "lghi %r1, 1; cdgbr %f0, %r1; lzdr %f2; lghi %r1, 0; iilh %r1, 0x4000; sfpc %r1\n" \
		"ddbr %f0, %f2; br %r14") \
	CODE(breakpoint, ".short 1; br %r14") \
	CODE(compare_trap, "cgrt %r2, %r2, 8; br %r14") \
	CODE(load_zero, "l %r3, 0; br %r14") \
	CODE(load_restart, "lgr %r3, %r2; lghi %r2, -512; l %r1, 0(%r3); st %r2, 64(%r3); br %r14") \
	CODE(illegal, ".short 0") \
	CODE(atomic, ".machine push; .machine z196; lghi %r1, 1; laa %r3, %r1, 0(%r2); br %r14; .machine pop") \
	CODE(load_multiple, "lm %r3, %r4, 0(%r2); st %r3, 63(%r2); st %r4, 67(%r2); br %r14") \
	CODE(store_multiple, "lay %r1, -64(%r2); lm %r3, %r4, 0(%r1); stm %r3, %r4, 0(%r2); br %r14") \
	CODE(prefetch, "pfd 1, 0(%r2); br %r14") \
	CODE(load_sp, "lgr %r1, %r15; lgr %r15, %r2; l %r3, 0(%r15); lgr %r15, %r1; br %r14") \
	CODE(push_at, "lgr %r1, %r15; lgr %r15, %r2; stg %r1, -8(%r15); lgr %r15, %r1; br %r14") \
	CODE(sigreturn_at, "lgr %r15, %r2; svc 173; .short 0") \
	REGISTERS_CODE

#endif
