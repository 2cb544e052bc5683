// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the signal frame says of the trap beyond siginfo. Where an arch promises it, user space
 * has come to rely on it: whether an access was a store is nowhere else to be had.
 */
#include "fault.h"

#include <sys/mman.h>

/* Each fact of the trap is a step of its own; the address is told relative to the touch. */
static void facts(const void *touch)
{
#ifdef TRAP_FACTS
	const uint64_t *word = trap_words();
	struct { const char *name; uint64_t value; } fact[] = { TRAP_FACTS(word) };

	for (size_t i = 0; i < ARRAY_SIZE(fact); i++) {
		step(fact[i].name);
		result("ok(%llu)", (unsigned long long)fact[i].value);
	}
#ifdef TRAP_ADDRESS
	step("address");
	result("ok data=%s", TRAP_ADDRESS(word) == (uintptr_t)touch ? "match" : "changed");
#endif
#endif
	(void)touch;
}

static void ask(void)
{
#ifndef TRAP_FACTS
	not_applicable("the signal frame says nothing of the trap on this arch");
#endif
}

void detail_hole_load(void)
{
	char *hole = hole_page();

	ask();
	if (!load("load", hole, INT))
		facts(hole);
}

void detail_hole_store(void)
{
	char *hole = hole_page();

	ask();
	if (!store("store", hole, INT))
		facts(hole);
}

void detail_hole_jump(void)
{
	char *hole = hole_page();

	ask();
	if (!jump("jump", hole))
		facts(hole);
}

/* The address 0 is an address: the record must not depend on its being another. */
void detail_null_load(void)
{
	ask();
	prove("page 0 unmapped", unmapped(NULL, page_size));
	if (!load("load", NULL, INT))
		facts(NULL);
}

void detail_none_load(void)
{
	char *page = anon_pages(1, PROT_NONE);

	ask();
	if (!load("load", page, INT))
		facts(page);
}

void detail_ro_store(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	ask();
	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, PROT_READ));
	prove("page present", present(page));
	if (!store("store", page, INT))
		facts(page);
}

void detail_nx_jump(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	ask();
	put_return_stub(page);
	if (!jump("jump", page))
		facts(page);
}

/* The file's page is there, and in the page table only when a fault has asked for it. */
void detail_nx_absent(void)
{
	int fd = tmpfile_of(1);
	char *page;

	ask();
	put_return_stub(map_file(fd, 1, PROT_READ | PROT_WRITE, MAP_SHARED));
	page = map_file(fd, 1, PROT_READ, MAP_PRIVATE);
	prove("page absent", !present(page));
	if (!jump("jump", page))
		facts(page);
	result_present(page);
}

/* The page behind the end of a file of one page, whose neighbour is there. */
void detail_eof_store(void)
{
	char *page = map_file(tmpfile_of(1), 2, PROT_READ | PROT_WRITE, MAP_SHARED);

	ask();
	arch_load(page, INT);
	if (!store("store", page + page_size, INT))
		facts(page + page_size);
}

void detail_kernel_load(void)
{
	char *kernel = (char *)KERNEL_ADDR;

	ask();
	if (!load("load", kernel, INT))
		facts(kernel);
}

void detail_kernel_store(void)
{
	char *kernel = (char *)KERNEL_ADDR;

	ask();
	if (!store("store", kernel, INT))
		facts(kernel);
}

void detail_kernel_jump(void)
{
	char *kernel = (char *)KERNEL_ADDR;

	ask();
	if (!jump("jump", kernel))
		facts(kernel);
}

/* The first byte that is no program's: who compares with the end must not take it for one. */
void detail_user_end_load(void)
{
	char *end = user_end();

	ask();
	if (!load("load", end, INT))
		facts(end);
}

void detail_user_end_store(void)
{
	char *end = user_end();

	ask();
	if (!store("store", end, INT))
		facts(end);
}

void detail_user_end_jump(void)
{
	char *end = user_end();

	ask();
	if (!jump("jump", end))
		facts(end);
}

/* The pointer's top byte is no part of the address. */
void detail_tagged_load(void)
{
	char *hole = hole_page();

	ask();
	need_tags();
	if (!execute("load", code_load_int, tagged(hole, 0x5a), hole))
		facts(hole);
}

/* Refused by the machine before it looks for a page. */
void detail_misaligned(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), *at = page + 15;

	ask();
	fill(page, page_size);
	if (!execute("atomic", code_atomic, at, at))
		facts(at);
}

static char *denied_page(void)
{
	char *page = keyed_page(PKEY_DISABLE_ACCESS);

	prove("page present", present(page));
	return page;
}

void detail_key_load(void)
{
	char *page = denied_page();

	ask();
	if (!load("load", page, INT))
		facts(page);
}

void detail_key_store(void)
{
	char *page = denied_page();

	ask();
	if (!store("store", page, INT))
		facts(page);
}

/* The machine finds no page, and so no key. */
void detail_key_absent(void)
{
	char *page = keyed_page(PKEY_DISABLE_ACCESS);

	ask();
	must("madvise", madvise(page, page_size, MADV_DONTNEED));
	prove("page absent", !present(page));
	if (!load("load", page, INT))
		facts(page);
}

/* It stays so: a page that was brought in would be told as a present one. */
void detail_key_absent_store(void)
{
	char *page = keyed_page(PKEY_DISABLE_WRITE);

	ask();
	must("madvise", madvise(page, page_size, MADV_DONTNEED));
	prove("page absent", !present(page));
	if (!store("store", page + 8, INT))
		facts(page + 8);
	result_present(page);
}

/* Two faults of one thread that differ in direction, kind and address: the words are of the second. */
void detail_load_after_store(void)
{
	char *ro = anon_pages(1, PROT_READ | PROT_WRITE), *hole;

	ask();
	fill(ro, page_size);
	must("mprotect", mprotect(ro, page_size, PROT_READ));
	prove("page present", present(ro));
	hole = hole_page();
	store("store", ro, INT);
	if (!load("load", hole, INT))
		facts(hole);
}

/* A memory error has a signal and a code of its own, and is a trap as others are. */
void detail_poison_store(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	ask();
	if (madvise(NULL, 0, MADV_HWPOISON) < 0)
		not_applicable("madvise(%d)=%s", MADV_HWPOISON, errno_name(errno));
	fill(page, page_size);
	prove("page present", present(page));
	call("madvise", page, madvise(page, page_size, MADV_HWPOISON));
	if (!store("store", page + 8, INT))
		facts(page + 8);
}

/* A trap without an address, after one that had one. */
void detail_after_illegal(void)
{
	char *hole = hole_page();

	ask();
	load("load", hole, INT);
	if (!execute("illegal", code_illegal, NULL, code_illegal))
		facts(hole);
}

/* A signal without a fault, after a fault of the kernel's own, after one of the program's. */
void detail_after_efault(void)
{
	char *none = anon_pages(1, PROT_NONE), *hole = hole_page();

	ask();
	load("load", hole, INT);
	call("read", none, read_into(none));
	/* What is in the registers of its arguments is what alpha's frame has. */
	call("kill", NULL, syscall(SYS_kill, getpid(), SIGTRAP, 0));
	facts(hole);
}

/* No page table can have the address: on x86 that is another trap, which has no address. */
void detail_after_noncanonical(void)
{
	char *hole = hole_page();

	ask();
	if (sizeof(long) == 4)
		not_applicable("32-bit addresses");
	load("load", hole, INT);
	if (!load("beyond", (char *)(uintptr_t)0x8000000000000008ULL, INT))
		facts(hole);
}
