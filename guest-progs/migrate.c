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

#define RW (PROT_READ | PROT_WRITE)
#define PAGES 16
#define MOVES 30
#define BALLAST (8 * MIB)

struct shared {
	volatile int stop;
	volatile int rounds;
};

static struct shared *shared;
static char *pages;

/* Until told to stop: each page holds what it should, and takes what is stored. */
static bool touch_all(void)
{
	for (unsigned int n = 0; !shared->stop; n++, shared->rounds++)
		for (int i = 0; i < PAGES; i++) {
			char *page = pages + i * page_size;

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

	fill(bytes, sizeof(bytes));
	must("pipe", pipe(fds));
	for (; !shared->stop; shared->rounds++)
		for (int i = 0; i < PAGES; i++) {
			char *page = pages + i * page_size + 128;

			if (write(fds[1], bytes, sizeof(bytes)) != sizeof(bytes) ||
			    read(fds[0], page, sizeof(bytes)) != sizeof(bytes) ||
			    !filled(page, sizeof(bytes)))
				return false;
		}
	return true;
}

/* A child uses the pages of its own memory; when this returns it is at it. */
static pid_t user_of_pages(bool (*use)(void))
{
	pid_t pid;

	shared = must("mmap", mmap(NULL, page_size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pages = anon_pages(PAGES, RW);
	pid = fork_child();
	if (pid == 0) {
		for (int i = 0; i < PAGES; i++)
			fill(pages + i * page_size, 16);
		step("");
		result("ok data=%s", use() ? "match" : "changed");
		child_done();
	}
	for (int ms = 0; !shared->rounds && kill(pid, 0) == 0; ms++) {
		pause_ms(1);
		if (ms < 3000 && ms % 100 == 0)
			detail("until-used-ms", "%d", ms);	/* a busy machine takes its time */
	}
	return pid;
}

static void stop(pid_t pid)
{
	shared->stop = 1;
	join_child(pid);
}

/* The frames of the child's pages, as /proc/PID/pagemap has them. */
static void places(pid_t pid, uint64_t entry[PAGES])
{
	off_t at = (uintptr_t)pages / page_size * sizeof(*entry);
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = must("open pagemap", open(path, O_RDONLY | O_CLOEXEC));
	must("pread pagemap", pread(fd, entry, PAGES * sizeof(*entry), at));
	close(fd);
	for (int i = 0; i < PAGES; i++)
		entry[i] &= (1ULL << 55) - 1;	/* the frame, without flags */
}

/* Memory of one's own, all of it there. */
static char *ballast(void)
{
	char *memory = anon_pages(BALLAST / page_size, RW);

	must("MADV_DONTFORK", madvise(memory, BALLAST, MADV_DONTFORK));
	for (size_t at = 0; at < BALLAST; at += page_size)
		memory[at] = 1;
	return memory;
}

/* Of four pages one stays: fewer pages to move than places for them. */
static void give_up_most(char *memory)
{
	for (size_t at = 0; at < BALLAST; at += 4 * page_size)
		must("MADV_DONTNEED", madvise(memory + at, 3 * page_size, MADV_DONTNEED));
}

/*
 * Compaction moves pages up, into free places of blocks that are in use, and as far up as there
 * are any. Ballast taken before and after the pages, most of it given up, makes such places above
 * them whichever way the kernel hands out memory. `moved` says what came of it.
 */
static void compact_while(bool (*use)(void))
{
	uint64_t before[PAGES], after[PAGES];
	char *first, *second;
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		not_applicable("no /proc/sys/vm/compact_memory");
	first = ballast();
	pid = user_of_pages(use);
	second = ballast();
	detail("ballast", "there");
	give_up_most(first);
	give_up_most(second);
	places(pid, before);
	detail("compacted", "0");
	for (int i = 0; i < 20; i++) {
		must("compact_memory", write(fd, "1", 1));
		detail("compacted", "%d", i + 1);	/* a busy machine takes its time */
	}
	places(pid, after);
	detail("moved", "%s", memcmp(before, after, sizeof(before)) ? "yes" : "no");
	stop(pid);
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
		addr[i] = pages + i * page_size;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, pid, PAGES, addr, nodes, status, 4 /* MPOL_MF_MOVE_ALL */) < 0)
		return -1;
	for (int i = 0; i < PAGES; i++)
		there += status[i] == node;
	return there;
}

static void move_while(bool (*use)(void))
{
	pid_t pid = user_of_pages(use);
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

static char *pages_of_device(unsigned long request, size_t n)
{
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	char *page = anon_pages(n, RW), *copy = anon_pages(n, RW);
	struct dmirror cmd = { .addr = (uintptr_t)page, .ptr = (uintptr_t)copy, .npages = n };

	if (fd < 0)
		not_applicable("no /dev/hmm_dmirror0");
	fill(page, n * page_size);
	fill(copy, n * page_size);
	must("give to the device", ioctl(fd, request, &cmd));
	prove("the device has all", cmd.cpages == n);
	for (size_t i = 0; i < n; i++)
		prove("the device has it", !present(page + i * page_size));
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
	int fd = pipe_holding(64);
	char *page = held_by_device(TO_DEVICE);

	count_faults();
	transfer("", page, 64, read(fd, page, 64));
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
	int fd = pipe_holding(64);
	char *page = held_by_device(EXCLUSIVE);

	count_faults();
	transfer("", page, 64, read(fd, page, 64));
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
