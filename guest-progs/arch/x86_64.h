/* SPDX-License-Identifier: GPL-2.0-only */
/* x86_64. What each name must do is told in arch/README.md. */
#ifndef ARCH_X86_64_H
#define ARCH_X86_64_H

#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

#define KERNEL_HOLE 0xffffec0000000000UL	/* where KASAN would be */
#define KERNEL_ADDR 0xffffffff81000000UL	/* kernel text, where KASLR is off */
#define KERNEL_DATA (arch_direct_map() + 0x8000)	/* memory below 64 KiB, which nobody uses */
#define RETURN_STUB { 0xc3 }
#define HALF_INSTRUCTION { 0x81, 0xc0 }	/* add $..., %eax */

/* Where the kernel has all memory, KASLR off: with page tables of five levels, who asks gets more addresses, too. */
static inline uint64_t arch_direct_map(void)
{
	void *high = mmap((void *)(1UL << 52), 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (high == MAP_FAILED)
		return 0xffff888000000000;
	munmap(high, 1);
	return (uint64_t)high >> 47 ? 0xff11000000000000 : 0xffff888000000000;
}

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

#define DEBUGGER_PC 128
#define FRAME_PC(uc) (uc)->uc_mcontext.gregs[REG_RIP]
#define FRAME_TRACED(uc) ((uc)->uc_mcontext.gregs[REG_EFL] |= 0x100)	/* TF */
#define FRAME_PRIVILEGED(uc) ((uc)->uc_mcontext.gregs[REG_CSGSFS] &= ~3, (uc)->uc_mcontext.gregs[REG_EFL] |= 3 << 12)
#define FRAME_GENERAL(uc, n) (uc)->uc_mcontext.gregs[(n) ? REG_RCX : REG_RBX]
#define FRAME_FLOAT(uc, n) (uc)->uc_mcontext.fpregs->_xmm[n]

#define KEPT_GENERAL 13
#define KEPT_FLOATS 16
#define KEPT_FLOAT_SIZE 16
#define KEPT_FLAGS { 0xed7, 0x7f80 }

/* Numbers here are places in struct kept, fault.h, whose address is in the first argument. */
#define REGISTERS_CODE \
	".macro load_registers\n" \
	"ldmxcsr 776(%rdi)\n" \
	".set spot, 256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	"movups spot(%rdi), %xmm\\reg\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	".set spot, 0\n" \
	".irp reg, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\n" \
	"movq spot(%rdi), %\\reg\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	"pushq 768(%rdi)\n" \
	"popfq\n" \
	".endm\n" \
	".macro store_registers\n" \
	"pushfq\n" \
	"popq 1024+768(%rdi)\n" \
	"stmxcsr 1024+776(%rdi)\n" \
	".set spot, 1024+256\n" \
	".irp reg, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
	"movups %xmm\\reg, spot(%rdi)\n" \
	".set spot, spot + 16\n" \
	".endr\n" \
	".set spot, 1024\n" \
	".irp reg, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\n" \
	"movq %\\reg, spot(%rdi)\n" \
	".set spot, spot + 8\n" \
	".endr\n" \
	".endm\n" \
	CODE(keep_registers, "pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n" \
		"subq $8, %rsp; stmxcsr (%rsp)\n" \
		"load_registers\n" \
		"movq 784(%rdi), %rax; movl (%rax), %eax; movq %rdi, 1024+784(%rdi)\n" \
		".globl code_behind_touch\n" \
		"code_behind_touch:\n" \
		"store_registers\n" \
		"cld; ldmxcsr (%rsp); addq $8, %rsp\n" \
		"popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx; ret") \
	CODE(spoil_registers, "subq $8, %rsp; call registers_handler; addq $8, %rsp; movq %rax, %rdi\n" \
		"load_registers\n" \
		"ret") \
	CODE(drop_frame, "subq $8, %rsp; call registers_handler; addq $16, %rsp; movq %rax, %rbx\n" \
		"movq 792(%rbx), %rdi; movq 800(%rbx), %rsi; movq 808(%rbx), %rdx; movl $28, %eax; syscall\n" \
		"movq %rax, 816(%rbx); movl $15, %eax; syscall; ud2") \
	CODE(red_zone, ".irp reg, 0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120\n" \
		"movq \\reg(%rdi), %rax; movq %rax, \\reg-128(%rsp)\n" \
		".endr\n" \
		"movq 784(%rdi), %rax; movl (%rax), %eax\n" \
		".irp reg, 0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120\n" \
		"movq \\reg-128(%rsp), %rax; movq %rax, 1024+\\reg(%rdi)\n" \
		".endr\n" \
		"ret") \
	CODE(direction, "pushfq; popq %rax; shrl $10, %eax; andl $1, %eax; ret")

#define ARCH_CODE \
	CODE(div0, "xorl %ecx, %ecx; xorl %edx, %edx; divl %ecx; ret") \
	CODE(fdiv0, "fninit; pushq $0x37b; fldcw (%rsp); fld1; movl $0, (%rsp); " \
		"fdivs (%rsp); fwait; popq %rax; ret") \
	CODE(breakpoint, "int3; ret") \
	CODE(load_zero, "mov (0), %eax; ret") \
	CODE(load_restart, "mov $-512, %rax; mov (%rdi), %ecx; mov %eax, 64(%rdi); ret") \
	CODE(illegal, "ud2") \
	CODE(atomic, "movl $1, %eax; lock xaddl %eax, (%rdi); ret") \
	CODE(load_stepped, "pushfq; orl $0x100, (%rsp); popfq; movl (%rdi), %eax; " \
		"pushfq; andl $~0x100, (%rsp); popfq; ret") \
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
		"movq $0xffffffffff600400, %rax; jmp *%rax") \
	REGISTERS_CODE

#endif
