/* SPDX-License-Identifier: GPL-2.0-only */
/* i386 programs, on a kernel of 64 bits. What each name must do is told in arch/README.md. */
#ifndef ARCH_I386_H
#define ARCH_I386_H

#include <stdint.h>
#include <ucontext.h>

/* No kernel address can be said in 32 bits: above the end of user addresses is just a hole. */
#define KERNEL_ADDR 0xfffff000UL
#define RETURN_STUB { 0xc3 }
#define HALF_INSTRUCTION { 0x81, 0xc0 }	/* add $..., %eax */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint32_t value = 0;

	if (width == 1)
		asm volatile("movzbl (%1), %0" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 2)
		asm volatile("movzwl (%1), %0" : "=r"(value) : "r"(addr) : "memory");
	else
		asm volatile("movl (%1), %0" : "=r"(value) : "r"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t wide, int width)
{
	uint32_t value = wide;

	if (width == 1)
		asm volatile("movb %b1, (%0)" : : "r"(addr), "q"(value) : "memory");
	else if (width == 2)
		asm volatile("movw %w1, (%0)" : : "r"(addr), "r"(value) : "memory");
	else
		asm volatile("movl %1, (%0)" : : "r"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("movl %%esp, %0" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t wide, int width)
{
	uint32_t saved, value = wide;

	if (width == 1)
		asm volatile("movl %%esp, %0; movl %1, %%esp; movb %b3, (%2); movl %0, %%esp"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "q"(value) : "memory");
	else
		asm volatile("movl %%esp, %0; movl %1, %%esp; movl %3, (%2); movl %0, %%esp"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	(void)addr, (void)size;		/* fetches see stores */
}

#define CPU_FEATURES "flags"

#define TRAP_WORDS "err", "trapno", "cr2"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = (uint32_t)uc->uc_mcontext.gregs[REG_ERR];
	word[1] = (uint32_t)uc->uc_mcontext.gregs[REG_TRAPNO];
	word[2] = (uint32_t)uc->uc_mcontext.cr2;
}

#define TRAP_FACTS(word) { "err", (word)[0] }, { "trapno", (word)[1] }
#define TRAP_ADDRESS(word) ((word)[2])

#define DEBUGGER_PC 48
/* Of the floating-point state, what FXSAVE saves is behind the 112 bytes of FSAVE, and the vectors 160 into that. */
#define FRAME_PC(uc) (uc)->uc_mcontext.gregs[REG_EIP]
#define FRAME_TRACED(uc) ((uc)->uc_mcontext.gregs[REG_EFL] |= 0x100)	/* TF */
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.gregs[REG_CS] &= ~3, (uc)->uc_mcontext.gregs[REG_EFL] |= 3 << 12)
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.gregs[(n) ? REG_ECX : REG_EBX]
#define FRAME_FLOAT(uc, n) ((unsigned char (*)[16])((char *)(uc)->uc_mcontext.fpregs + 112 + 160))[n]

#define KEPT_GENERAL 5
#define KEPT_FLOATS 8
#define KEPT_FLOAT_SIZE 16
#define KEPT_FLAGS { 0xed7, 0x7f80 }

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".macro load_registers\n" \
	"ldmxcsr 776(%esi)\n" \
	".set spot, 256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7\n" \
	"movups spot(%esi), %xmm\\reg\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	".set spot, 0\n" \
	".irp reg, ebx, ecx, edx, edi, ebp\n" \
	"movl spot(%esi), %\\reg\n" \
	".set spot, spot + 4\n" \
	".endr\n" \
	"pushl 768(%esi)\n" \
	"popfl\n" \
	".endm\n" \
	".macro store_registers\n" \
	"pushfl\n" \
	"popl 1024+768(%esi)\n" \
	"stmxcsr 1024+776(%esi)\n" \
	".set spot, 1024+256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7\n" \
	"movups %xmm\\reg, spot(%esi)\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	".set spot, 1024\n" \
	".irp reg, ebx, ecx, edx, edi, ebp\n" \
	"movl %\\reg, spot(%esi)\n" \
	".set spot, spot + 4\n" \
	".endr\n" \
	".endm\n" \
	CODE(keep_registers, "movl 4(%esp), %eax; pushl %ebx; pushl %esi; pushl %edi; pushl %ebp; " \
		"movl %eax, %esi\n" \
		"subl $4, %esp; stmxcsr (%esp)\n" \
		"load_registers\n" \
		"movl 784(%esi), %eax; movl (%eax), %eax; movl %esi, 1024+784(%esi)\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"cld; ldmxcsr (%esp); addl $4, %esp\n" \
		"popl %ebp; popl %edi; popl %esi; popl %ebx; ret") \
	CODE(spoil_registers, "pushl 12(%esp); pushl 12(%esp); pushl 12(%esp); call registers_handler; " \
		"addl $12, %esp; movl %eax, %esi\n" \
		"load_registers\n" \
		"ret") \
	CODE(drop_frame, "pushl 12(%esp); pushl 12(%esp); pushl 12(%esp); call registers_handler; " \
		"addl $16, %esp; movl %eax, %esi\n" \
		"movl 792(%esi), %ebx; movl 800(%esi), %ecx; movl 808(%esi), %edx; movl $219, %eax; int $0x80\n" \
		"movl %eax, 816(%esi); movl $173, %eax; int $0x80; ud2") \
	CODE(direction, "pushfl; popl %eax; shrl $10, %eax; andl $1, %eax; ret")

#define ARCH_CODE \
	CODE(div0, "xorl %ecx, %ecx; xorl %edx, %edx; divl %ecx; ret") \
	CODE(fdiv0, "fninit; pushl $0x37b; fldcw (%esp); fld1; movl $0, (%esp); " \
		"fdivs (%esp); fwait; popl %eax; ret") \
	CODE(breakpoint, "int3; ret") \
	CODE(load_stepped, "mov 4(%esp), %ecx; pushfl; orl $0x100, (%esp); popfl; movl (%ecx), %eax; " \
		"pushfl; andl $~0x100, (%esp); popfl; ret") \
	CODE(load_restart, "mov 4(%esp), %ecx; mov $-512, %eax; mov (%ecx), %edx; mov %eax, 64(%ecx); ret") \
	CODE(load_zero, "mov 0, %eax; ret") \
	CODE(illegal, "ud2") \
	CODE(atomic, "movl 4(%esp), %ecx; movl $1, %eax; lock xaddl %eax, (%ecx); ret") \
	CODE(load_vector, "movl 4(%esp), %ecx; movaps (%ecx), %xmm0; ret") \
	CODE(load_checked, "movl 4(%esp), %ecx; pushfl; orl $0x40000, (%esp); popfl; " \
		"movl (%ecx), %eax; " \
		"pushfl; andl $~0x40000, (%esp); popfl; ret") \
	CODE(prefetch, "movl 4(%esp), %ecx; prefetcht0 (%ecx); ret") \
	CODE(load_sp, "movl %esp, %eax; movl 4(%esp), %esp; movl (%esp), %ecx; movl %eax, %esp; ret") \
	CODE(push_at, "movl %esp, %eax; movl 4(%esp), %esp; pushl %eax; movl %eax, %esp; ret") \
	CODE(grant_keys, "xorl %eax, %eax; xorl %ecx, %ecx; xorl %edx, %edx; wrpkru; " \
		"jmp *granted_handler") \
	CODE(sigreturn_at, "movl 4(%esp), %esp; movl $173, %eax; int $0x80; ud2") \
	REGISTERS_CODE

#endif
