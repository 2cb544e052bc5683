/* SPDX-License-Identifier: GPL-2.0-only */
/* arm64. What each name must do is told in arch/README.md. */
#ifndef ARCH_ARM64_H
#define ARCH_ARM64_H

#include <asm/sigcontext.h>
#include <stdint.h>
#include <ucontext.h>

#define KERNEL_ADDR 0xffff800080000000UL	/* upper half, whatever the kernel's VA_BITS */
#define USER_END(highest) (1UL << (64 - __builtin_clzl((highest) - 1)))	/* 39 or 48 bits */
#define RETURN_STUB { 0xc0, 0x03, 0x5f, 0xd6 }

static inline uint64_t arch_load(const void *addr, int width)
{
	uint64_t value = 0;

	if (width == 1)
		asm volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 2)
		asm volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else if (width == 4)
		asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	else
		asm volatile("ldr %x0, [%1]" : "=r"(value) : "r"(addr) : "memory");
	return value;
}

static inline void arch_store(void *addr, uint64_t value, int width)
{
	if (width == 1)
		asm volatile("strb %w1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else if (width == 2)
		asm volatile("strh %w1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else if (width == 4)
		asm volatile("str %w1, [%0]" : : "r"(addr), "r"(value) : "memory");
	else
		asm volatile("str %x1, [%0]" : : "r"(addr), "r"(value) : "memory");
}

static inline char *arch_sp(void)
{
	char *sp;

	asm volatile("mov %0, sp" : "=r"(sp));
	return sp;
}

static inline void arch_store_with_sp(void *sp, void *addr, uint64_t value, int width)
{
	uint64_t saved;

	if (width == 1)
		asm volatile("mov %0, sp; mov sp, %1; strb %w3, [%2]; mov sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
	else
		asm volatile("mov %0, sp; mov sp, %1; str %w3, [%2]; mov sp, %0"
			     : "=&r"(saved) : "r"(sp), "r"(addr), "r"(value) : "memory");
}

static inline void arch_sync_code(void *addr, unsigned long size)
{
	__builtin___clear_cache((char *)addr, (char *)addr + size);
}

#define CPU_FEATURES "Features"

#define TRAP_WORDS "esr", "fault-address"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	const char *at = (const char *)uc->uc_mcontext.__reserved;
	const char *end = at + sizeof(uc->uc_mcontext.__reserved);

	word[1] = uc->uc_mcontext.fault_address;
	while (end - at >= (long)sizeof(struct esr_context)) {
		const struct _aarch64_ctx *head = (const void *)at;

		if (head->magic == ESR_MAGIC)
			word[0] = ((const struct esr_context *)at)->esr;
		if (head->magic == 0 || head->size == 0 || head->size > end - at)
			return;
		at += head->size;
	}
}

/* Of the syndrome: exception class, direction, and the kind of fault without its level. */
#define TRAP_FACTS(word) \
	{ "ec", (word)[0] >> 26 & 0x3f }, { "wnr", (word)[0] >> 6 & 1 }, { "fsc", (word)[0] & 0x3c }
#define TRAP_ADDRESS(word) ((word)[1])

#define ARCH_CODE \
	CODE(div0, "mov w0, #1; sdiv w0, w0, wzr; ret") \
	CODE(breakpoint, "brk #0; ret") \
	CODE(illegal, ".inst 0") \
	CODE(atomic, "ldaxr w1, [x0]; add w1, w1, #1; stlxr w2, w1, [x0]; ret") \
	CODE(load_pair, "mov w1, #0; mov w2, #0; ldp w1, w2, [x0]; stur w1, [x0, #63]; stur w2, [x0, #67]; ret") \
	CODE(store_pair, "ldp w1, w2, [x0, #-64]; stp w1, w2, [x0]; ret") \
	CODE(load_vector, "ldr q0, [x0]; ret") \
	CODE(prefetch, "prfm pldl1keep, [x0]; ret") \
	CODE(load_sp, "mov x1, sp; mov sp, x0; ldr w2, [sp]; mov sp, x1; ret") \
	CODE(push_at, "mov x1, sp; mov sp, x0; str x1, [sp, #-16]!; mov sp, x1; ret") \
	CODE(sigreturn_at, "mov sp, x0; mov x8, #139; svc #0; .inst 0") \
	CODE(load_int, "ldr w0, [x0]; ret") \
	CODE(store_int, "str w0, [x0]; ret") \
	CODE(set_tag, ".arch armv8.5-a+memtag; stg x0, [x0]; ret; .arch armv8-a") \
	CODE(checks_off, ".arch armv8.5-a+memtag; msr tco, #1; ret; .arch armv8-a")

#endif
