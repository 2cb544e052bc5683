// SPDX-License-Identifier: GPL-2.0-only
/* Addresses outside of what user space can ever map. */
#include "fault.h"

void range_kernel_load(void)
{
	load("", (void *)KERNEL_ADDR, INT);
}

/* Canonical on no x86, with five page table levels either; a tag on arm64. */
static char *noncanonical(void)
{
#if UINTPTR_MAX > 0xffffffff
	return (char *)0x8000000000000000;
#else
	not_applicable("32-bit addresses");
#endif
}

void range_noncanonical_load(void)
{
	load("", noncanonical() + 8, INT);
}

void range_noncanonical_jump(void)
{
	jump("", noncanonical());
}
