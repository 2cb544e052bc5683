/* SPDX-License-Identifier: GPL-2.0-only */
/* arm, 32 bits, ARMv7. What each name must do is told in arch/README.md. */
#ifndef ARCH_ARM_H
#define ARCH_ARM_H

#include <stdint.h>
#include <ucontext.h>

#define KERNEL_ADDR 0xc0100000UL	/* kernel text, with the usual split at 3 GiB */
#define USER_END(highest) 0xbf000000UL	/* modules have the 16 MiB below the kernel */
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

#define TRAP_WORDS "fsr", "trap-no", "fault-address"

static inline void arch_trap(const ucontext_t *uc, uint64_t *word)
{
	word[0] = uc->uc_mcontext.error_code;
	word[1] = uc->uc_mcontext.trap_no;
	word[2] = uc->uc_mcontext.fault_address;
}

#endif
