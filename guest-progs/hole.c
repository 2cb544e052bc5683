// SPDX-License-Identifier: GPL-2.0-only
/* Accesses where nothing is mapped: holes, low addresses, above the heap. */
#include "fault.h"

#include <stdlib.h>
#include <sys/mman.h>

void hole_read(void)
{
	load("", hole_page(), INT);
}

void hole_write(void)
{
	store("", hole_page(), INT);
}

void hole_exec(void)
{
	jump("", hole_page());
}

/* The second half of an instruction is missing: what faults is not at the pc. */
void hole_exec_across(void)
{
#ifdef HALF_INSTRUCTION
	static const unsigned char half[] = HALF_INSTRUCTION;
	char *end = edge(), *start = end - sizeof(half);

	memcpy(start, half, sizeof(half));
	arch_sync_code(start, sizeof(half));
	must("mprotect", mprotect(end - page_size, page_size, PROT_READ | PROT_EXEC));
	/* An odd address is code of the other instruction set. */
	if (execute("fetch", start + HALF_IS_ODD, NULL, end))
		return;
	step("pc");
	result("ok data=%s", trap_pc() == (uintptr_t)start ? "match" : "changed");
#else
	not_applicable("no instruction that lies across two pages is known for this arch");
#endif
}

void hole_read_offset(void)
{
	load("", hole_page() + 0xabc, INT);
}

void hole_read_byte(void)
{
	load("", hole_page() + 0xabd, BYTE);
}

void hole_read_half(void)
{
	load("", hole_page() + 0xabe, HALF);
}

void hole_read_long(void)
{
	load("", hole_page() + 0xab8, sizeof(long));
}

void hole_straddle(void)
{
	load("", hole_page() - 2, INT);
}

void hole_unaligned(void)
{
	load("", hole_page() + 2, INT);
}

/* Nothing above, not even the stack: alpha's unaligned trap then finds no VMA to blame. */
void hole_unaligned_top(void)
{
	char *top = (char *)last_vma().end, *touch = top + page_size + 2, *end = user_end();

	if (touch + INT > end)
		not_applicable("no user address above the last mapping");
	prove("nothing above", unmapped(top, end - top));
	load("", touch, INT);
}

void hole_null_read(void)
{
	prove("page 0 unmapped", unmapped(NULL, page_size));
	load("", NULL, INT);
}

void hole_null_write(void)
{
	prove("page 0 unmapped", unmapped(NULL, page_size));
	store("", (void *)8, INT);
}

static void *map_page_zero(void)
{
	return mmap(NULL, page_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void hole_low_map_root(void)
{
	if (call("mmap", NULL, map_page_zero()) == 0 && store("store", (void *)16, INT))
		load_known("load", (void *)16, INT, stored(INT));
}

/* The page n, where it is asked for, is there, or is refused. */
static void map_low(size_t n)
{
	char *page = (char *)(n * page_size), label[16];

	prove("unmapped", unmapped(page, page_size));
	snprintf(label, sizeof(label), "mmap-%zu", n);
	if (call(label, NULL, mmap(page, page_size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)) < 0)
		return;
	snprintf(label, sizeof(label), "store-%zu", n);
	if (!store(label, page + 16, INT))
		return;
	snprintf(label, sizeof(label), "load-%zu", n);
	load_known(label, page + 16, INT, stored(INT));
}

void hole_low_map_bound(void)
{
	map_low(1);
	map_low(2);
}

/* An address that may be had is taken as it is asked for, and another one else. */
void hole_low_map_hint(void)
{
	char *asked = (char *)page_size, *page;

	need_low_pages();
	prove("unmapped", unmapped(asked, page_size));
	page = must("mmap", mmap(asked, page_size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	step("as-asked");
	result("ok(%d)", page == asked);
	if (store("store", page, INT))
		load_known("load", page, INT, stored(INT));
}

void hole_low_map_user(void)
{
	call("", NULL, map_page_zero());
}

void hole_low_unmapped(void)
{
	if (call("mmap", NULL, map_page_zero()) != 0)
		return;
	arch_store((void *)16, 1, INT);
	must("munmap", munmap(NULL, page_size));
	prove("page 0 unmapped", unmapped(NULL, page_size));
	load("load", (void *)16, INT);
}

void hole_heap_end(void)
{
	uintptr_t end = ((uintptr_t)sbrk(0) + page_size - 1) & ~(uintptr_t)(page_size - 1);
	char *touch = (char *)end + page_size;

	prove("unmapped above the heap", unmapped(touch - page_size, 2 * page_size));
	load("", touch, INT);
}

/* As far as a guard region of 64 pages would reach. */
void hole_heap_far(void)
{
	uintptr_t end = ((uintptr_t)sbrk(0) + page_size - 1) & ~(uintptr_t)(page_size - 1);
	char *touch = (char *)end + 64 * page_size;

	prove("unmapped above the heap", unmapped((char *)end, 65 * page_size));
	load("", touch, INT);
}

/* The heap was there, and was given back. */
void hole_heap_shrunk(void)
{
	char *start = must("sbrk", sbrk(4 * page_size)), *touch = start + 3 * page_size;

	memset(start, 1, 4 * page_size);
	must("sbrk back", sbrk(-(intptr_t)(4 * page_size)));
	prove("unmapped", unmapped(touch, page_size));
	load("", touch, INT);
}

/* A page that went elsewhere leaves a hole, and takes its contents along. */
void hole_moved_away(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), *moved;

	fill(page, page_size);
	moved = must("mremap", mremap(page, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
				      anon_pages(1, PROT_NONE)));
	prove("unmapped", unmapped(page, page_size));
	load("old", page, INT);
	load_data("new", moved, INT, pattern(0, INT));
}

/* The first of two pages is free, the second is not. */
void hole_noreplace(void)
{
	char *pages = anon_pages(3, PROT_READ | PROT_WRITE);

	fill(pages, 3 * page_size);
	must("munmap", munmap(pages + page_size, page_size));
	call("mmap", NULL, mmap(pages + page_size, 2 * page_size, PROT_READ,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	load_data("behind", pages + 2 * page_size, INT, pattern(2 * page_size, INT));
}

/* Nothing but the instruction says where: no register holds the address. */
void hole_null_constant(void)
{
	execute("", code_load_zero, NULL, NULL);
}

/* One page, with a mapping on each side. */
void hole_calls(void)
{
	char *hole = hole_page();

	call("mremap", hole, mremap(hole, page_size, 2 * page_size, MREMAP_MAYMOVE));
	call("mprotect", hole, mprotect(hole, page_size, PROT_READ));
	call("madvise", hole, madvise(hole, page_size, MADV_DONTNEED));
	call("msync", hole, msync(hole, page_size, MS_SYNC));
	call("munmap", hole, munmap(hole, page_size));
}
