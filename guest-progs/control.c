// SPDX-License-Identifier: GPL-2.0-only
/* What must work on every kernel: these tell a broken runtime from a broken fault handler. */
#include "fault.h"

#include <signal.h>
#include <sys/mman.h>

void control_nothing(void)
{
	step("");
	result("ok");
}

/* Whatever says WARN, BUG or oops, and what finds a page in a state that it cannot be in. */
#define TROUBLE (1UL << 5 | 1UL << 7 | 1UL << 9 | 1UL << 14)

void control_untainted(void)
{
	FILE *file = fopen("/proc/sys/kernel/tainted", "r");
	unsigned long taint = 0;

	if (!file)
		not_applicable("no /proc/sys/kernel/tainted: %s", errno_name(errno));
	prove("a number", fscanf(file, "%lu", &taint) == 1);
	fclose(file);
	step("");
	result(taint & TROUBLE ? "ok(%lu)" : "ok", taint & TROUBLE);
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

void control_unaligned(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	fill(page, page_size);
	load_data("", page + 1, INT, pattern(1, INT));
}

/* Where the fault is, a page appears, and the instruction goes on as if it had been there. */
static bool map_there(siginfo_t *info)
{
	uintptr_t start = (uintptr_t)info->si_addr & ~(uintptr_t)(page_size - 1);

	repair = NULL;
	return mmap((void *)start, page_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

void control_handler_return(void)
{
	char *hole = hole_page();

	repair = map_there;
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
