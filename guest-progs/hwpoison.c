// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory errors, injected by madvise. The pages are lost to the machine until it reboots.
 * Where the kernel knows no such advice, or we may not, the scenario ends with that errno.
 */
#include "fault.h"

#include <sys/mman.h>

#define HWPOISON 100		/* MADV_HWPOISON */
#define SOFT_OFFLINE 101	/* MADV_SOFT_OFFLINE */
#define RW (PROT_READ | PROT_WRITE)

static bool advise(const char *label, char *page, int advice)
{
	int err;

	call_begin(label, page);
	errno = 0;
	call_end(madvise(page, page_size, advice), -1, true);
	err = errno;
	return err != EINVAL && err != EPERM;
}

static char *written(char *page)
{
	fill(page, page_size);
	prove("page present", present(page));
	return page;
}

static char *anon_page(void)
{
	return written(anon_pages(1, RW));
}

static int page_file(void)
{
	int fd = tmpfile_of(1);

	must("ftruncate", ftruncate(fd, page_size));
	return fd;
}

static char *file_page(int fd)
{
	return written(map_file(fd, 1, RW, MAP_SHARED));
}

void hwpoison_anon_load(void)
{
	char *page = anon_page();

	if (advise("madvise", page, HWPOISON))
		load("load", page + 8, INT);
}

void hwpoison_anon_store(void)
{
	char *page = anon_page();

	if (advise("madvise", page, HWPOISON))
		store("store", page + 8, INT);
}

void hwpoison_shared_load(void)
{
	char *page = written(must("mmap", mmap(NULL, page_size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));

	if (advise("madvise", page, HWPOISON))
		load("load", page + 8, INT);
}

void hwpoison_tmpfs_load(void)
{
	char *page = file_page(page_file());

	if (advise("madvise", page, HWPOISON))
		load("load", page + 8, INT);
}

void hwpoison_tmpfs_read(void)
{
	int fd = page_file();
	char *page = file_page(fd), *good = anon_page();

	if (advise("madvise", page, HWPOISON))
		transfer("read", good, 64, pread(fd, good, 64, 0));
}

void hwpoison_tmpfs_write(void)
{
	int fd = page_file();
	char *page = file_page(fd), *good = anon_page();

	if (advise("madvise", page, HWPOISON))
		transfer("write", good, 64, pwrite(fd, good, 64, 0));
}

void hwpoison_uaccess_read(void)
{
	char *page = anon_page();
	int fd = pipe_holding(64);

	if (advise("madvise", page, HWPOISON))
		transfer("read", page, 64, read(fd, page, 64));
}

void hwpoison_uaccess_write(void)
{
	char *page = anon_page();
	int fd = pipe_sink();

	if (advise("madvise", page, HWPOISON))
		transfer("write", page, 64, write(fd, page, 64));
}

void hwpoison_twice(void)
{
	char *page = anon_page();

	if (advise("first", page, HWPOISON))
		advise("second", page, HWPOISON);
}

void hwpoison_soft_offline(void)
{
	char *page = anon_page();

	if (advise("madvise", page, SOFT_OFFLINE))
		load_data("load", page + 8, INT, pattern(8, INT));
}

void hwpoison_unprivileged(void)
{
	prove("not root", geteuid() != 0);
	advise("", anon_page(), HWPOISON);
}
