// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that have been sent away are brought in by several tasks, while another one maps and unmaps:
 * all of one address space.
 */
#include "fault.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define RW (PROT_READ | PROT_WRITE)
#define PAGES 64
#define TASKS 3
#define ROUNDS 20
#define PATIENCE 10		/* times as many, until changes and pages have met */
#define MANY 10000		/* changes, if a task never gets through */

static char *pages;

static volatile int looked;	/* pages, by all of them */
static volatile int through;	/* tasks */
static volatile int cpus;	/* for them; we stay on one, where our pages have not left for the LRU */

/* The others get their turn between two pages, also on one CPU. */
static bool intact(void)
{
	for (int i = 0; i < PAGES; i++) {
		if (!filled(pages + i * page_size, 16))
			return false;
		__atomic_add_fetch(&looked, 1, __ATOMIC_SEQ_CST);
		sched_yield();
	}
	return true;
}

/* Shares everything with us: it only looks, and says by its exit status what it saw. */
static int look(void *unused)
{
	bool good;

	(void)unused;
	cpus = use_all_cpus();
	good = intact();
	__atomic_add_fetch(&through, 1, __ATOMIC_SEQ_CST);
	_exit(good ? 0 : 1);
}

/* Changes of the mappings: between the first page and the last, and while a page came in. */
static int between, meanwhile;

/* With one CPU, who maps has it: nothing comes in meanwhile but where that sleeps. */
static bool met(void)
{
	return (cpus > 1 ? meanwhile : between) >= ROUNDS;
}

static void map_and_unmap(void)
{
	int before = looked;
	char *other = anon_pages(2, RW);

	other[0] = 1;
	must("munmap", munmap(other, 2 * page_size));
	between += 0 < looked && looked < TASKS * PAGES;
	meanwhile += looked != before;
}

static bool bring_in_by_all(void)
{
	static char stacks[TASKS][16 * 1024] __attribute__((aligned(64)));
	pid_t pid[TASKS];
	bool good = true;
	int status;

	looked = through = 0;
	for (int i = 0; i < TASKS; i++)
		pid[i] = must("clone", clone(look, stacks[i] + sizeof(stacks[i]), CLONE_VM | CLONE_FILES | SIGCHLD, NULL));
	for (int i = 0; i < MANY && through < TASKS; i++) {
		map_and_unmap();
		sched_yield();
	}
	for (int i = 0; i < TASKS; i++) {
		must("waitpid", waitpid(pid[i], &status, 0));
		good &= status == 0;
	}
	return good;
}

void brought_in_by_all(void (*send_away)(char *page, size_t n))
{
	bool good = true;

	step("");
	for (int round = 0; good && (round < ROUNDS || (!met() && round < PATIENCE * ROUNDS)); round++) {
		pages = anon_pages(PAGES, RW);
		for (int i = 0; i < PAGES; i++)
			fill(pages + i * page_size, 16);
		send_away(pages, PAGES);
		good = bring_in_by_all();
		must("munmap", munmap(pages, PAGES * page_size));
		detail("rounds", "%d", round + 1);	/* a busy machine takes its time */
	}
	result("ok data=%s", good ? "match" : "changed");
	detail("changes", "%d between, %d meanwhile", between, meanwhile);
	prove("mapped while pages came in", !good || met());
}
