/* SPDX-License-Identifier: GPL-2.0-only */
/* x86_64. What each name must do is told in arch/README.md. */
#ifndef ARCH_X86_64_H
#define ARCH_X86_64_H

#include <stdint.h>
#include <ucontext.h>

#define KERNEL_HOLE 0xffffec0000000000UL	/* where KASAN would be */
#define KERNEL_ADDR 0xffffffff81000000UL	/* kernel text, where KASLR is off */
#define KERNEL_DATA 0xffff888000008000UL	/* memory below 64 KiB, which nobody uses */
#define USER_END(highest) 0x7ffffffff000UL	/* with LA57 too: nobody asked for more */
#define RETURN_STUB { 0xc3 }
#define HALF_INSTRUCTION { 0x81, 0xc0 }	/* add $..., %eax */

static inline uint64_t arch_load(const void *addr, int width)
{
	uint64_t value = 0;

	if (width == 1)
		asm volatile("movzbl (%1), %k0" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 2)
		asm volatile("movzwl (%1), %k0" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 4)
		asm volatile("movl (%1), %k0" : "=r"(value) : "r"(addr) : "memory");
	else
		asm volatile("movq (%1), %0" : "=r"(value) : "r"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t value, int width)
{
	if (width == 1)
		asm volatile("movb %b1, (%0)" : : "r"(addr), "q"(value) : "memory");
	else if (width == 2)
		asm volatile("movw %w1, (%0)" : : "r"(addr), "r"(value) : "memory");
	else if (width == 4)
		asm volatile("movl %k1, (%0)" : : "r"(addr), "r"(value) : "memory");
	else
		asm volatile("movq %1, (%0)" : : "r"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("movq %%rsp, %0" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t value, int width)
{
	uint64_t saved;

	if (width == 1)
		asm volatile("movq %%rsp, %0; movq %1, %%rsp; movb %b3, (%2); movq %0, %%rsp"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "q"(value) : "memory");
	else
		asm volatile("movq %%rsp, %0; movq %1, %%rsp; movl %k3, (%2); movq %0, %%rsp"
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
	word[0] = uc->uc_mcontext.gregs[REG_ERR];
	word[1] = uc->uc_mcontext.gregs[REG_TRAPNO];
	word[2] = uc->uc_mcontext.gregs[REG_CR2];
}

#define TRAP_FACTS(word) { "err", (word)[0] }, { "trapno", (word)[1] }
#define TRAP_ADDRESS(word) ((word)[2])

#define ARCH_CODE \
	CODE(div0, "xorl %ecx, %ecx; xorl %edx, %edx; divl %ecx; ret") \
	CODE(fdiv0, "fninit; pushq $0x37b; fldcw (%rsp); fld1; movl $0, (%rsp); " \
		"fdivs (%rsp); fwait; popq %rax; ret") \
	CODE(breakpoint, "int3; ret") \
	CODE(illegal, "ud2") \
	CODE(atomic, "movl $1, %eax; lock xaddl %eax, (%rdi); ret") \
	CODE(load_vector, "movaps (%rdi), %xmm0; ret") \
	CODE(load_checked, "pushfq; orl $0x40000, (%rsp); popfq; movl (%rdi), %eax; " \
		"pushfq; andl $~0x40000, (%rsp); popfq; ret") \
	CODE(store_table, "sgdt (%rdi); ret") \
	CODE(prefetch, "prefetcht0 (%rdi); ret") \
	CODE(load_sp, "movq %rsp, %rax; movq %rdi, %rsp; movl (%rsp), %ecx; movq %rax, %rsp; ret") \
	CODE(push_at, "movq %rsp, %rax; movq %rdi, %rsp; pushq %rax; movq %rax, %rsp; ret") \
	CODE(sigreturn_at, "movq %rdi, %rsp; movl $15, %eax; syscall; ud2") \
	CODE(grant_keys, "movq %rdx, %r8; xorl %eax, %eax; xorl %ecx, %ecx; xorl %edx, %edx; wrpkru; " \
		"movq %r8, %rdx; jmp *granted_handler(%rip)") \
	CODE(vsyscall_time, "movq %rdi, %rax; xorl %edi, %edi; call *%rax; ret") \
	CODE(vsyscall_time_to, "movq $0xffffffffff600400, %rax; call *%rax; ret") \
	CODE(vsyscall_gettimeofday_to, "movq %rdi, %rsi; xorl %edi, %edi; " \
		"movq $0xffffffffff600000, %rax; call *%rax; ret") \
	CODE(vsyscall_getcpu_to, "movq %rdi, %rsi; xorl %edi, %edi; " \
		"movq $0xffffffffff600800, %rax; call *%rax; ret") \
	CODE(vsyscall_at_sp, "movq %rdi, %rsp; xorl %edi, %edi; " \
		"movq $0xffffffffff600400, %rax; jmp *%rax")

#endif
