// SPDX-License-Identifier: GPL-2.0-only
/* Addresses outside of what user space can ever map. */
#include "fault.h"

void range_kernel_load(void)
{
	load("", (void *)KERNEL_ADDR, INT);
}

void range_kernel_store(void)
{
	store("", (void *)KERNEL_ADDR, INT);
}

void range_kernel_jump(void)
{
	jump("", (void *)KERNEL_ADDR);
}

static uintptr_t wide(uint64_t addr)
{
	if (addr > UINTPTR_MAX)
		not_applicable("32-bit addresses");
	return addr;
}

/* Canonical on no x86, with five page table levels either; a tag on arm64. */
#define NONCANONICAL 0x8000000000000000

void range_noncanonical_load(void)
{
	load("", (void *)(wide(NONCANONICAL) + 8), INT);
}

void range_noncanonical_jump(void)
{
	jump("", (void *)wide(NONCANONICAL));
}

/* The push is to the word below. */
void range_noncanonical_push(void)
{
	char *sp = (char *)(wide(NONCANONICAL) + page_size);

	execute("", code_push_at, sp, sp - sizeof(long));
}

/* The first byte above what four levels of page tables can tell apart. */
void range_bit_47_load(void)
{
	load("", (void *)wide(0x0000800000000000), INT);
}

/* Beyond any page table of the user's, and not in the kernel's half, nor in arm64's tag. */
void range_bit_54_load(void)
{
	load("", (void *)wide(0x0040000000000000), INT);
}

/* The last bytes of the user's part, and the first ones of what is above. */
void range_read_across_end(void)
{
	char *buffer = (char *)USER_END(last_vma().end) - 8;
	int fd = pipe_holding(64);

	transfer("", buffer, 64, read(fd, buffer, 64));
}

/* -- windows that the machine or the kernel has of its own ---------------------------------- */

void range_device_window(void)
{
	if (!DEVICE_WINDOW)
		not_applicable("no window of transparent translation");
	load("", (void *)DEVICE_WINDOW, INT);
}

#define VSYSCALL_PAGE 0xffffffffff600000
#define VSYSCALL_TIME (VSYSCALL_PAGE + 0x400)

static char *vsyscall(uint64_t addr)
{
	if (!code_vsyscall_time)
		not_applicable("no vsyscall page on this arch");
	return (char *)wide(addr);
}

void range_vsyscall_load(void)
{
	load("", vsyscall(VSYSCALL_PAGE), INT);
}

void range_vsyscall_store(void)
{
	store("", vsyscall(VSYSCALL_PAGE), INT);
}

void range_vsyscall_call(void)
{
	char *entry = vsyscall(VSYSCALL_TIME);

	execute("", code_vsyscall_time, entry, entry);
}

void range_vsyscall_inside(void)
{
	char *inside = vsyscall(VSYSCALL_TIME + 2);

	execute("", code_vsyscall_time, inside, inside);
}

/* What time() of the vsyscall page is given to store to. */
static void vsyscall_to(void *place)
{
	vsyscall(VSYSCALL_TIME);
	execute("", code_vsyscall_time_to, place, place);
}

void range_vsyscall_to_hole(void)
{
	vsyscall_to(hole_page());
}

void range_vsyscall_to_kernel(void)
{
	vsyscall_to((void *)KERNEL_ADDR);
}

void range_vsyscall_timezone_to_hole(void)
{
	char *hole = hole_page();

	execute("", code_vsyscall_gettimeofday_to, hole, hole);
}

void range_vsyscall_timezone_to_kernel(void)
{
	execute("", code_vsyscall_gettimeofday_to, (void *)KERNEL_ADDR, (void *)KERNEL_ADDR);
}

void range_vsyscall_node_to_hole(void)
{
	char *hole = hole_page();

	execute("", code_vsyscall_getcpu_to, hole, hole);
}

void range_vsyscall_node_to_kernel(void)
{
	execute("", code_vsyscall_getcpu_to, (void *)KERNEL_ADDR, (void *)KERNEL_ADDR);
}

/* The emulated return pops what cannot be read. */
void range_vsyscall_stack_hole(void)
{
	char *hole = hole_page();

	execute("", code_vsyscall_at_sp, hole, hole);
}

/* -- hints ------------------------------------------------------------------------------------- */

static void prefetch(const void *addr)
{
	execute("", code_prefetch, addr, addr);
}

void range_prefetch_hole(void)
{
	prefetch(hole_page());
}

void range_prefetch_none(void)
{
	prefetch(anon_pages(1, 0));
}

void range_prefetch_kernel(void)
{
	prefetch((void *)KERNEL_ADDR);
}

void range_kernel_hole_load(void)
{
#ifdef KERNEL_HOLE
	load("", (void *)KERNEL_HOLE, INT);
#else
	not_applicable("no address of the kernel's part is known to be free on this arch");
#endif
}

void range_kernel_gap_load(void)
{
#ifdef KERNEL_GAP
	load("", (void *)KERNEL_GAP, INT);
#else
	not_applicable("no address of the kernel's part is known to have no page table on this arch");
#endif
}
