// SPDX-License-Identifier: GPL-2.0-only
/*
 * How faults are counted: for the task (getrusage: major and minor), for the machine (pgfault) and for the locks that
 * were taken (vma_lock_* of /proc/vmstat).
 */
#include "fault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define RW (PROT_READ | PROT_WRITE)

void counters_first_load(void)
{
	char *page = anon_pages(1, RW);

	count_faults();
	load("", page, INT);
}

void counters_first_store(void)
{
	char *page = anon_pages(1, RW);

	count_faults();
	store("first", page, INT);
	store("second", page, INT);
}

void counters_zero_page_store(void)
{
	char *page = anon_pages(1, RW);

	count_faults();
	load("load", page, INT);
	store("store", page, INT);
}

/* The child holds its copy until it is killed with us. */
void counters_cow(void)
{
	char *page = anon_pages(1, RW);

	fill(page, page_size);
	if (fork_child() == 0)
		for (;;)
			pause();
	count_faults();
	store("", page, INT);
}

/* A hole in a file of ramfs, which needs no disk: the page is not in the cache, and has to be read. */
void counters_uncached_load(void)
{
	static const char folder[] = "/tmp/ramfs";
	char *page;
	int fd;

	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		setup_failed("mkdir");
	must("unshare", unshare(CLONE_NEWNS));
	must("mount", mount("ramfs", folder, "ramfs", 0, NULL));
	must("chdir", chdir(folder));
	fd = must("open", open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	must("ftruncate", ftruncate(fd, page_size));
	page = map_file(fd, 1, PROT_READ, MAP_SHARED);
	count_faults();
	load("", page, INT);
}

/* One fault maps the neighbours as well, if the cache holds them. */
void counters_fault_around(void)
{
	int fd = tmpfile_of(64);
	char *pages, *bytes = anon_pages(1, RW);

	fill(bytes, page_size);
	for (int i = 0; i < 2; i++)
		must("pwrite", pwrite(fd, bytes, page_size, i * page_size));
	pages = map_file(fd, 2, PROT_READ, MAP_SHARED);
	count_faults();
	load("first", pages, INT);
	load("neighbour", pages + page_size, INT);
}

void counters_shared_store(void)
{
	int fd = tmpfile_of(64);
	char *page;

	must("ftruncate", ftruncate(fd, page_size));
	page = map_file(fd, 1, RW, MAP_SHARED);
	count_faults();
	store("first", page, INT);
	store("second", page, INT);
}

void counters_populated(void)
{
	char *page = must("mmap", mmap(NULL, page_size, RW,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));

	count_faults();
	store("", page, INT);
}

void counters_read_into(void)
{
	char *page = anon_pages(1, RW);
	int fd = pipe_holding(64);

	count_faults();
	transfer("", page, 64, read(fd, page, 64));
}

void counters_mlock(void)
{
	char *page = anon_pages(1, RW);

	count_faults();
	call("mlock", page, mlock(page, page_size));
	store("store", page, INT);
}

static void load_counted(char *page)
{
	count_faults();
	task('A');
	load("load", page, INT);
}

static void read_counted(char *page)
{
	int fd = pipe_holding(64);

	count_faults();
	task('A');
	transfer("read", page, 64, read(fd, page, 64));
}

static void uffd_counted(void (*act)(char *page))
{
	struct stuck child = stuck_child(act);

	resolve(&child);
	join_child(child.pid);
}

void counters_uffd_load(void)
{
	uffd_counted(load_counted);
}

void counters_uffd_read(void)
{
	uffd_counted(read_counted);
}

/* -- faults as the machine counts them ----------------------------------------------------------- */

#define TOUCHED 64

static void touch_each(char *page)
{
	for (int i = 0; i < TOUCHED; i++)
		arch_store(page + i * page_size, 1, INT);
}

static char vmstat_text[16384];

static void read_vmstat(void)
{
	int fd = must("open vmstat", open("/proc/vmstat", O_RDONLY | O_CLOEXEC));
	ssize_t n, size = 0;

	while ((n = must("read vmstat", read(fd, vmstat_text + size, sizeof(vmstat_text) - 1 - size))))
		size += n;
	close(fd);
	vmstat_text[size] = '\0';
}

static long vmstat(const char *key)
{
	char name[40];
	const char *at;

	snprintf(name, sizeof(name), "\n%s ", key);
	at = strstr(vmstat_text, name);
	if (!at)
		not_applicable("no %s in /proc/vmstat", key);
	return strtol(at + strlen(name), NULL, 10);
}

/* A child waits for each page anew; nobody else runs, and who resolves touches nothing new. */
void counters_uffd_pgfault(void)
{
	struct watch pages = { .start = anon_pages(TOUCHED, RW), .size = TOUCHED * page_size };
	struct stuck child = watched_child(pages, touch_each);
	struct uffdio_zeropage zero = { .range.len = page_size };
	long before, after;

	see_stuck(&child);
	read_vmstat();
	before = vmstat("pgfault");
	for (int i = 0; i < TOUCHED; i++) {
		if (i)
			read_fault(&child);
		zero.range.start = (uintptr_t)pages.start + i * page_size;
		must("UFFDIO_ZEROPAGE", ioctl(child.uffd, UFFDIO_ZEROPAGE, &zero));
	}
	join_child(child.pid);
	read_vmstat();
	after = vmstat("pgfault");
	detail("pgfault", "%ld", after - before);
	step("each");
	result("ok(%ld)", (after - before + TOUCHED / 2) / TOUCHED);
}

/* The page is there, but not mapped, or protected: the monitor is asked, and grants it. */
void counters_uffd_minor(void)
{
	int fd = tmpfile_of(64);
	struct watch w = { .mode = UFFDIO_REGISTER_MODE_MINOR, .features = UFFD_FEATURE_MINOR_SHMEM };
	struct uffdio_continue cont;
	struct stuck child;

	must("ftruncate", ftruncate(fd, page_size));
	w.start = map_file(fd, 1, RW, MAP_SHARED);
	child = watched_child(w, load_counted);
	prove("a minor fault", see_stuck(&child) & UFFD_PAGEFAULT_FLAG_MINOR);
	cont = (struct uffdio_continue){ .range = { (uintptr_t)w.start, page_size } };
	must("UFFDIO_CONTINUE", ioctl(child.uffd, UFFDIO_CONTINUE, &cont));
	join_child(child.pid);
}

static void store_counted(char *page)
{
	count_faults();
	task('A');
	store("store", page, INT);
}

void counters_uffd_wp(void)
{
	char *page = anon_pages(1, RW);
	struct watch w = { .start = page, .mode = UFFDIO_REGISTER_MODE_WP,
			   .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_writeprotect allow = { .range = { (uintptr_t)page, page_size } };
	struct stuck child;

	fill(page, page_size);
	child = watched_child(w, store_counted);
	prove("a fault on a protected page", see_stuck(&child) & UFFD_PAGEFAULT_FLAG_WP);
	must("UFFDIO_WRITEPROTECT", ioctl(child.uffd, UFFDIO_WRITEPROTECT, &allow));
	join_child(child.pid);
}

/* -- which lock was taken: of the whole machine, but nobody else runs ----------------------------- */

static const char *const events[] = { "success", "abort", "retry", "miss" };

struct lock_events {
	long count[ARRAY_SIZE(events)];
};

static struct lock_events lock_events(void)
{
	struct lock_events found;

	read_vmstat();
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		char name[40];

		snprintf(name, sizeof(name), "vma_lock_%s", events[i]);
		found.count[i] = vmstat(name);
	}
	return found;
}

static void result_events(struct lock_events before, struct lock_events after)
{
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		step(events[i]);
		result("ok(%ld)", after.count[i] - before.count[i]);
	}
}

/* What touch() did to the counters. The first time is for what it needs of the program. */
static void count_locks(void (*touch)(char *page))
{
	struct lock_events before;

	lock_events();
	touch(anon_pages(TOUCHED, RW));
	before = lock_events();
	touch(anon_pages(TOUCHED, RW));
	result_events(before, lock_events());
}

void counters_lock_user(void)
{
	count_locks(touch_each);
}

static char *growable(void)
{
	return must("mmap", mmap(NULL, page_size, RW,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0));
}

static void grow(char *page)
{
	for (int i = 1; i <= TOUCHED; i++)
		arch_store(page - i * page_size, 1, INT);
}

void counters_lock_growth(void)
{
	char *page = growable();
	struct lock_events before;

	lock_events();
	before = lock_events();
	grow(page);
	result_events(before, lock_events());
}

static void read_each(char *page)
{
	for (int i = 0; i < TOUCHED; i++) {
		int fd = pipe_holding(64);

		prove("read", read(fd, page + i * page_size, 64) == 64);
		close(fd);
	}
}

void counters_lock_kernel(void)
{
	count_locks(read_each);
}
