// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that move while they are used: a task touches them all the time, or a system call does,
 * and must see nothing of it. And pages that a device holds.
 */
#include "fault.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RW (PROT_READ | PROT_WRITE)
#define PAGES 16
#define MOVES 30
#define LOT 2048	/* pages: several of the blocks that memory is compacted by */
#define COMPACTIONS 20

struct shared {
	volatile int stop;
	volatile int rounds;
	char *pages;		/* of the child */
};

static struct shared *shared;

/* Until told to stop: each page holds what it should, and takes what is stored. */
static bool touch_all(void)
{
	for (unsigned int n = 0; !shared->stop; n++, shared->rounds++)
		for (int i = 0; i < PAGES; i++) {
			char *page = shared->pages + i * page_size;

			if (!filled(page, 16) || (n && arch_load(page + 64, INT) != n - 1))
				return false;
			arch_store(page + 64, n, INT);
		}
	return true;
}

static bool read_all(void)
{
	char bytes[64];
	int fds[2];

	must("pipe", pipe(fds));
	for (; !shared->stop; shared->rounds++) {
		fill_from(bytes, sizeof(bytes), shared->rounds);	/* each byte is another in each round */
		for (int i = 0; i < PAGES; i++) {
			char *page = shared->pages + i * page_size;

			if (write(fds[1], bytes, sizeof(bytes)) != sizeof(bytes) ||
			    read(fds[0], page + 128, sizeof(bytes)) != sizeof(bytes) ||
			    !filled_from(page + 128, sizeof(bytes), shared->rounds) || !filled(page, 16))
				return false;
		}
	}
	return true;
}

static bool ended(pid_t pid)
{
	siginfo_t info = { 0 };

	must("waitid", waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT));
	return info.si_pid;
}

/* Until the child has used each page n times more; it may end before. */
static void see_used(pid_t pid, int n)
{
	int want = shared->rounds + n + 1;	/* the round under way may be past a page */

	for (int ms = 0; shared->rounds < want && !ended(pid); ms++) {
		pause_ms(1);
		if (ms < 3000 && ms % 100 == 0)
			detail("until-used-ms", "%d", ms);	/* a busy machine takes its time */
	}
}

/* A child uses pages of its own memory; when this returns it is at it. */
static pid_t user_of_pages(char *(*make)(void), bool (*use)(void))
{
	pid_t pid;

	shared = must("mmap", mmap(NULL, page_size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pid = fork_child();
	if (pid == 0) {
		use_all_cpus();
		shared->pages = make();
		for (int i = 0; i < PAGES; i++)
			fill(shared->pages + i * page_size, 16);
		step("");
		result("ok data=%s", use() ? "match" : "changed");
		child_done();
	}
	see_used(pid, 1);
	return pid;
}

/* Not before it has looked at each page again. */
static void stop(pid_t pid)
{
	see_used(pid, 2);
	shared->stop = 1;
	join_child(pid);
}

/* The frames of n pages, as /proc/PID/pagemap has them. */
static void places(pid_t pid, const char *start, uint64_t *frame, size_t n)
{
	off_t at = (uintptr_t)start / page_size * sizeof(*frame);
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = must("open pagemap", open(path, O_RDONLY | O_CLOEXEC));
	prove("pagemap tells", pread(fd, frame, n * sizeof(*frame), at) == (ssize_t)(n * sizeof(*frame)));
	close(fd);
	for (size_t i = 0; i < n; i++)
		frame[i] &= (1ULL << 55) - 1;	/* without flags */
}

/* The highest of the frames of PAGES pages. */
static uint64_t top(const uint64_t *frame)
{
	uint64_t highest = 0;

	for (int i = 0; i < PAGES; i++)
		if (frame[i] > highest)
			highest = frame[i];
	return highest;
}

static char *lot_of_pages(void)
{
	char *lot = anon_pages(LOT, RW);

	for (size_t i = 0; i < LOT; i++)
		lot[i * page_size] = 1;
	return lot;
}

/* Of a lot of pages those that lie lowest in memory; the others are given up. */
static char *lowest_pages(void)
{
	static uint64_t frame[LOT];
	char *lot = lot_of_pages();
	size_t lowest = 0;

	places(getpid(), lot, frame, LOT);
	for (size_t i = 0; i < LOT; i += PAGES)
		if (top(frame + i) < top(frame + lowest))
			lowest = i;
	for (size_t i = 0; i < LOT; i += PAGES)
		if (i != lowest)
			must("munmap", munmap(lot + i * page_size, PAGES * page_size));
	return lot + lowest * page_size;
}

/*
 * Compaction moves pages up, into free places of blocks that are in use, and as far up as there
 * are any. So we take what the child has given up, which is above its pages, and keep each fourth:
 * more places than there is to be moved. We do not use it, or each of those that move as well would
 * have to be told to the other CPU.
 */
static void compact(int fd)
{
	char *lot = lot_of_pages();

	for (size_t i = 0; i < LOT; i += 4)
		must("MADV_DONTNEED", madvise(lot + i * page_size, 3 * page_size, MADV_DONTNEED));
	must("compact_memory", write(fd, "1", 1));
	must("munmap", munmap(lot, LOT * page_size));
}

#define FEW "1000000"		/* a millionth of a zone */
#define USUAL "0"

/*
 * What is freed may stay with a CPU, by thousands of pages since 6.7, where compaction does not see
 * it. With the knob that 5.14 brought a CPU keeps next to none; before that it kept hundreds.
 */
static void cpus_keep(const char *pages)
{
	int fd = open("/proc/sys/vm/percpu_pagelist_high_fraction", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	must("percpu_pagelist_high_fraction", write(fd, pages, strlen(pages)));
	close(fd);
}

static int moved(const uint64_t before[PAGES], const uint64_t after[PAGES])
{
	int n = 0;

	for (int i = 0; i < PAGES; i++)
		n += before[i] != after[i];
	return n;
}

static void compact_while(bool (*use)(void))
{
	uint64_t before[PAGES], after[PAGES];
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		not_applicable("no /proc/sys/vm/compact_memory");
	if (page_size > 16 * KIB)
		not_applicable("with such pages, memory is a single block to compaction");
	cpus_keep(FEW);
	pid = user_of_pages(lowest_pages, use);
	places(pid, shared->pages, before, PAGES);
	memcpy(after, before, sizeof(after));
	for (int i = 0; i < COMPACTIONS && !moved(before, after); i++) {
		compact(fd);
		places(pid, shared->pages, after, PAGES);
		detail("compacted", "%d", i + 1);	/* a busy machine takes its time */
	}
	cpus_keep(USUAL);
	detail("moved", "%d", moved(before, after));
	stop(pid);
	prove("pages were moved", moved(before, after) > 0);
}

void migrate_compact_touch(void)
{
	compact_while(touch_all);
}

void migrate_compact_read(void)
{
	compact_while(read_all);
}

/* Move the pages of the child to a node; gives how many are there now, -1: there is no such node. */
static int move_to(pid_t pid, int node)
{
	void *addr[PAGES];
	int nodes[PAGES], status[PAGES], there = 0;

	for (int i = 0; i < PAGES; i++) {
		addr[i] = shared->pages + i * page_size;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, pid, PAGES, addr, nodes, status, 4 /* MPOL_MF_MOVE_ALL */) < 0)
		return -1;
	for (int i = 0; i < PAGES; i++)
		there += status[i] == node;
	return there;
}

static char *some_pages(void)
{
	return anon_pages(PAGES, RW);
}

static void move_while(bool (*use)(void))
{
	pid_t pid = user_of_pages(some_pages, use);
	int moved = move_to(pid, 1);

	if (moved < 0)
		not_applicable("move_pages to node 1: %s", errno_name(errno));
	for (int i = 0; i < MOVES; i++) {
		moved += move_to(pid, i & 1);
		detail("moved", "%d", moved);	/* also a sign of life: a move waits for every CPU */
	}
	stop(pid);
	prove("pages were moved", moved > MOVES / 2 * PAGES);
}

void migrate_move_touch(void)
{
	move_while(touch_all);
}

void migrate_move_read(void)
{
	move_while(read_all);
}

/* -- a device holds the page: lib/test_hmm.c plays the device -------------------------------------- */

struct dmirror {
	uint64_t addr, ptr, npages, cpages, faults;
};
#define TO_DEVICE _IOWR('H', 0x02, struct dmirror)
#define EXCLUSIVE _IOWR('H', 0x05, struct dmirror)

static int device;

static void open_device(void)
{
	device = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	if (device < 0)
		not_applicable("no /dev/hmm_dmirror0");
}

static void give(unsigned long request, char *page, size_t n)
{
	char *copy = anon_pages(n, RW);
	struct dmirror cmd = { .addr = (uintptr_t)page, .ptr = (uintptr_t)copy, .npages = n };

	fill(copy, n * page_size);
	must("give to the device", ioctl(device, request, &cmd));
	prove("the device has all", cmd.cpages == n);
	for (size_t i = 0; i < n; i++)
		prove("the device has it", !present(page + i * page_size));
	must("munmap", munmap(copy, n * page_size));
}

static char *pages_of_device(unsigned long request, size_t n)
{
	char *page = anon_pages(n, RW);

	open_device();
	fill(page, n * page_size);
	give(request, page, n);
	return page;
}

static char *held_by_device(unsigned long request)
{
	return pages_of_device(request, 1);
}

void migrate_device_load(void)
{
	char *page = held_by_device(TO_DEVICE);

	count_faults();
	load_data("", page, INT, pattern(0, INT));
}

void migrate_device_store(void)
{
	char *page = held_by_device(TO_DEVICE);

	count_faults();
	store("store", page + 8, INT);
	load_data("load", page, INT, pattern(0, INT));
}

void migrate_device_read(void)
{
	char *page = held_by_device(TO_DEVICE);

	count_faults();
	read_between("", page, page_size);
}

void migrate_device_fork(void)
{
	char *page = held_by_device(TO_DEVICE);
	pid_t pid = fork_child();

	if (pid == 0) {
		load_data("", page, INT, pattern(0, INT));
		child_done();
	}
	join_child(pid);
}

void migrate_exclusive_load(void)
{
	char *page = held_by_device(EXCLUSIVE);

	count_faults();
	load_data("", page, INT, pattern(0, INT));
}

void migrate_exclusive_read(void)
{
	char *page = held_by_device(EXCLUSIVE);

	count_faults();
	read_between("", page, page_size);
}

static char *device_pages(void)
{
	return pages_of_device(TO_DEVICE, PAGES);
}

static void load_each(char *page)
{
	for (int i = 0; i < PAGES; i++)
		arch_load(page + i * page_size, INT);
}

void migrate_device_lock(void)
{
	count_locks(device_pages, load_each);
}

static char *exclusive_pages(void)
{
	return pages_of_device(EXCLUSIVE, PAGES);
}

void migrate_exclusive_lock(void)
{
	count_locks(exclusive_pages, load_each);
}

static void to_device(char *page, size_t n)
{
	give(TO_DEVICE, page, n);
}

void migrate_device_threads(void)
{
	open_device();
	brought_in_by_all(to_device);
}

static void exclusively(char *page, size_t n)
{
	give(EXCLUSIVE, page, n);
}

void migrate_exclusive_threads(void)
{
	open_device();
	brought_in_by_all(exclusively);
}
