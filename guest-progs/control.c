// SPDX-License-Identifier: GPL-2.0-only
/* What must work on every kernel: these tell a broken runtime from a broken fault handler. */
#include "fault.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>

void control_nothing(void)
{
	step("");
	result("ok");
}

/* Whatever says WARN, BUG or oops, and what finds a page in a state that it cannot be in. */
#define TROUBLE (1UL << 5 | 1UL << 7 | 1UL << 9)

void control_untainted(void)
{
	unsigned long trouble = new_taint() & TROUBLE;

	step("");
	result(trouble ? "ok(%lu)" : "ok", trouble);
}

void control_touch(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	prove("page absent", !present(page));
	fill(page, page_size);
	load_data("", page + 8, INT, pattern(8, INT));
}

void control_cow_after_fork(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	pid_t child;

	fill(page, page_size);
	prove("page present", present(page));
	child = fork_child();
	if (child == 0) {
		store("child", page, INT);
		child_done();
	}
	join_child(child);
	load_data("parent", page, INT, pattern(0, INT));
}

/* A pipe keeps the page of a child that has ended; its parent is the only one left that maps it. */
void control_cow_spliced(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), got[64];
	int fds[2];
	pid_t child;

	fill(page, page_size);
	must("pipe", pipe(fds));
	child = fork_child();
	if (child == 0) {
		prove("spliced", vmsplice(fds[1], &(struct iovec){ page, sizeof(got) }, 1, 0) == sizeof(got));
		child_done();
	}
	join_child(child);
	store("parent", page, INT);
	step("pipe");
	must("read", read(fds[0], got, sizeof(got)));
	result("ok data=%s", filled(got, sizeof(got)) ? "match" : "changed");
}

/* All of a page of any size but for one small page in the middle, in which stores go. */
static char *middle(char *page, size_t size)
{
	return page + size / 2;
}

static void fill_each(char *page, size_t size)
{
	for (size_t at = 0; at < size; at += page_size)
		fill(page + at, page_size);
}

static void look_around(const char *label, char *page, size_t size)
{
	bool same = true;

	step(label);
	for (size_t at = 0; at < size; at += page_size)
		if (page + at != middle(page, size))
			same &= filled(page + at, page_size);
	result("ok data=%s", same ? "match" : "changed");
}

/* Each side of a fork stores while the other one is there, and each looks at all that it has. */
static void copy_on_write(char *page, size_t size)
{
	char *word = middle(page, size), byte = 0;
	int go[2];
	pid_t child;

	fill_each(page, size);
	child = fork_child();
	if (child == 0) {
		store("child", word, INT);
		load_data("child-own", word, INT, stored(INT));
		look_around("child-rest", page, size);
		child_done();
	}
	join_child(child);
	load_data("unseen", word, INT, pattern(0, INT));
	must("pipe", pipe(go));
	child = fork_child();
	if (child == 0) {
		must("read", read(go[0], &byte, 1));
		load_data("kept", word, INT, pattern(0, INT));
		look_around("kept-rest", page, size);
		child_done();
	}
	store("parent", word, INT);
	look_around("parent-rest", page, size);
	must("write", write(go[1], &byte, 1));
	join_child(child);
	load_data("parent-own", word, INT, stored(INT));
}

void control_cow_transparent_huge(void)
{
	size_t size;
	char *page = transparent_huge_page(&size);

	copy_on_write(page, size);
}

/* The pool has room for a copy. */
void control_cow_hugetlb(void)
{
	huge_pool(2 * MIB, 4);
	copy_on_write(huge_pages(2 * MIB, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1), 2 * MIB);
}

void control_unaligned(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	fill(page, page_size);
	load_data("", page + 1, INT, pattern(1, INT));
}

void control_handler_return(void)
{
	char *hole = hole_page();

	repair = bring_page;
	load_data("", hole, INT, 0);
}

void control_zero_page(void)
{
	char *page = anon_pages(1, PROT_READ);

	prove("page absent", !present(page));
	load_data("", page, INT, 0);
}

/* A fault cannot wait until somebody unblocks its signal: the default action is taken. */
void control_blocked_fault(void)
{
	char *hole = hole_page();
	pid_t child;

	step("");
	child = fork_child();
	if (child == 0) {
		sigset_t segv;

		sigemptyset(&segv);
		sigaddset(&segv, SIGSEGV);
		sigprocmask(SIG_BLOCK, &segv, NULL);
		arch_load(hole, INT);
		child_done();
	}
	result_fate(child);
}
