// SPDX-License-Identifier: GPL-2.0-only
/* Huge pages from the kernel's pool: there may be none left, and faults are of another size. */
#include "fault.h"
#include "uffd.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define SIZE (2 * MIB)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

static char *page_from_pool(void)
{
	huge_pool(SIZE, 4);
	return huge_pages(SIZE, 1, PRIVATE, -1);
}

void hugetlb_first_load(void)
{
	char *page = page_from_pool();

	count_faults();
	load_data("first", page + 8, INT, pattern(8, INT));
	load_data("last", page + SIZE - 8, INT, pattern(8, INT));
}

void hugetlb_dontneed_part(void)
{
	char *page = page_from_pool();

	fill(page, SIZE);
	call("part", page, madvise(page, page_size, MADV_DONTNEED));
	load_data("load", page, INT, pattern(0, INT));
	call("odd", page, madvise(page + page_size, SIZE - page_size, MADV_DONTNEED));
	call("whole", page, madvise(page, SIZE, MADV_DONTNEED));
	load_data("again", page, INT, 0);
}

/* Without a reservation the pool may be found empty only when it is too late. */
static char *none_left(void)
{
	huge_pool(SIZE, 0);
	return huge_pages(SIZE, 1, PRIVATE | MAP_NORESERVE, -1);
}

void hugetlb_none_left_load(void)
{
	load("", none_left() + 8, INT);
}

void hugetlb_none_left_read(void)
{
	char *page = none_left();
	int fd = pipe_holding(64);

	transfer("", page, 64, read(fd, page, 64));
}

/* With a pool that has room for it. */
static int file_of(size_t size)
{
	int fd;

	huge_pool(SIZE, 4);
	fd = must("memfd_create",
		  memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | 21U << MAP_HUGE_SHIFT));
	must("ftruncate", ftruncate(fd, size));
	return fd;
}

void hugetlb_eof_load(void)
{
	int fd = file_of(2 * SIZE);
	char *pages = huge_pages(SIZE, 2, MAP_SHARED, fd);

	must("ftruncate", ftruncate(fd, SIZE));	/* now: mapping would make the file longer */
	load("within", pages + 8, INT);
	load("beyond", pages + SIZE + 8, INT);
}

void hugetlb_unmap_part(void)
{
	char *page = page_from_pool();

	call("munmap", page, munmap(page, page_size));
	call("mprotect", page, mprotect(page, page_size, PROT_READ));
}

/* The last page is shared after fork; the owner's store takes it from the child. */
void hugetlb_cow_none_left(void)
{
	char *page, byte = 0;
	int go[2];
	pid_t pid;

	huge_pool(SIZE, 1);
	page = huge_pages(SIZE, 1, PRIVATE, -1);
	fill(page, page_size);
	must("pipe", pipe(go));
	pid = fork_child();
	if (pid == 0) {
		must("read", read(go[0], &byte, 1));
		task('B');
		load("load", page + 8, INT);
		child_done();
	}
	task('A');
	store("store", page + 8, INT);
	must("write", write(go[1], &byte, 1));
	join_child(pid);
}

/* -- userfaultfd ------------------------------------------------------------------------------------ */

static void load_inside(char *page)
{
	task('A');
	load_data("load", page + page_size, INT, pattern(page_size, INT));
}

void hugetlb_uffd_copy(void)
{
	struct watch w = { .start = page_from_pool(), .size = SIZE };
	struct stuck child = watched_child(w, load_inside);
	char *source = anon_pages(SIZE / page_size, PROT_READ | PROT_WRITE);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)w.start, .src = (uintptr_t)source, .len = SIZE,
	};

	fill(source, 2 * page_size);
	see_stuck(&child);
	task('B');
	call("copy", w.start, ioctl(child.uffd, UFFDIO_COPY, &copy));
	join_child(child.pid);
}

void hugetlb_uffd_copy_small(void)
{
	char *page = page_from_pool(), *source = anon_pages(1, PROT_READ | PROT_WRITE);
	int uffd = watch((struct watch){ .start = page, .size = SIZE });
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page, .src = (uintptr_t)source, .len = page_size,
	};

	call("", page, ioctl(uffd, UFFDIO_COPY, &copy));
}

/* A huge page that the file has, and the page table has not. */
static struct watch minor_watch(int fd, int flags)
{
	fill(huge_pages(SIZE, 1, MAP_SHARED, fd), 2 * page_size);
	return (struct watch){
		.start = huge_pages(SIZE, 1, flags, fd), .size = SIZE,
		.mode = UFFDIO_REGISTER_MODE_MINOR, .features = UFFD_FEATURE_MINOR_HUGETLBFS,
	};
}

/* A child whose access waits for it. */
static struct stuck minor_stuck(int fd, int flags, void (*act)(char *page))
{
	struct stuck child = watched_child(minor_watch(fd, flags), act);

	prove("a minor fault", see_stuck(&child) & UFFD_PAGEFAULT_FLAG_MINOR);
	task('B');
	return child;
}

static void continue_(struct stuck *child)
{
	uffd_continue("continue", child->uffd, child->page, SIZE);
	join_child(child->pid);
}

/* There is nothing to go on with any more; who waits is woken. */
static void continue_in_vain(struct stuck *child)
{
	uffd_continue("continue", child->uffd, child->page, SIZE);
	uffd_wake("wake", child->uffd, child->page, SIZE);
	join_child(child->pid);
}

void hugetlb_uffd_minor(void)
{
	struct stuck child = minor_stuck(file_of(SIZE), MAP_SHARED, load_inside);

	continue_(&child);
}

/* The page of the cache must not get the store: the copy is the child's. */
void hugetlb_uffd_minor_private(void)
{
	int fd = file_of(SIZE);
	struct stuck child = minor_stuck(fd, MAP_PRIVATE, store_it);

	continue_(&child);
	step("file");
	result("ok data=%s", filled(huge_pages(SIZE, 1, MAP_SHARED, fd), 64) ? "match" : "changed");
}

/* Nobody waits: who did could be gone, and its memory with it, before the second. */
void hugetlb_uffd_continue_twice(void)
{
	struct watch w = minor_watch(file_of(SIZE), MAP_SHARED);
	int uffd = watch(w);

	uffd_continue("first", uffd, w.start, SIZE);
	uffd_continue("second", uffd, w.start, SIZE);
	load_data("load", w.start, INT, pattern(0, INT));
}

/* The file is cut off between the event and the answer. */
void hugetlb_uffd_continue_eof(void)
{
	int fd = file_of(SIZE);
	struct stuck child = minor_stuck(fd, MAP_SHARED, load_inside);

	must("ftruncate", ftruncate(fd, 0));
	continue_in_vain(&child);
}

/* The page goes between the event and the answer. */
void hugetlb_uffd_minor_punched(void)
{
	int fd = file_of(SIZE);
	struct stuck child = minor_stuck(fd, MAP_SHARED, load_inside);

	must("fallocate", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE));
	continue_in_vain(&child);
}

void hugetlb_uffd_poison(void)
{
	char *page = page_from_pool();
	int uffd = watch((struct watch){ .start = page, .size = SIZE, .features = FEATURE_POISON });
	struct poison poison = { .range = { .start = (uintptr_t)page, .len = SIZE } };

	call("poison", page, ioctl(uffd, IOCTL_POISON, &poison));
	load("load", page + page_size + 8, INT);
}

void hugetlb_register_wp(void)
{
	uffd_register("", page_from_pool(), SIZE, UFFDIO_REGISTER_MODE_WP);
}
