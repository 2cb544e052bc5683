// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own accesses to user memory, at an edge: what a system call says when the
 * copy ends in the middle. E, here `end`, is where the good page ends and the hole begins.
 */
#include "fault.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* write(2) to a file of n bytes, of which `good` can be read. */
static void write_tail(size_t good, size_t n)
{
	char *end = edge();
	int fd = tmpfile_of(0);
	long done;

	fill(end - good, good);
	call_begin("", end);
	done = write(fd, end - good, n);
	call_end(done, n, file_filled(fd, done));
}

void uaccess_tail_write_1(void)
{
	write_tail(1, 128);
}

void uaccess_tail_write_3(void)
{
	write_tail(3, 128);
}

void uaccess_tail_write_7(void)
{
	write_tail(7, 128);
}

void uaccess_tail_write_101(void)
{
	write_tail(101, 200);
}

/* pread(2) of a file of 200 bytes, of which `good` have a place. */
static void read_tail(size_t good)
{
	char *end = edge();
	int fd = tmpfile_of(200);
	long done;

	call_begin("", end);
	done = pread(fd, end - good, 200, 0);
	call_end(done, 200, done <= 0 || filled(end - good, done));
}

void uaccess_tail_read_1(void)
{
	read_tail(1);
}

void uaccess_tail_read_3(void)
{
	read_tail(3);
}

void uaccess_tail_read_7(void)
{
	read_tail(7);
}

void uaccess_tail_read_101(void)
{
	read_tail(101);
}

void uaccess_pipe_write_tail(void)
{
	char *end = edge();
	int fd = pipe_sink();

	transfer("", end, 200, write(fd, end - 101, 200));
}

/* What the first read could not place must still be there for the second. */
void uaccess_pipe_read_tail(void)
{
	char *good = anon_pages(1, PROT_READ | PROT_WRITE), *end = edge();
	int fd = pipe_holding(200);
	long done;

	transfer("tail", end, 200, read(fd, end - 101, 200));
	call_begin("again", good);
	done = read(fd, good, 200);
	call_end(done, 200, done < 200 || filled(good, done));
}

void uaccess_read_hole(void)
{
	char *hole = hole_page();
	int fd = pipe_holding(64);

	transfer("", hole, 64, read(fd, hole, 64));
}

void uaccess_write_hole(void)
{
	char *hole = hole_page();
	int fd = pipe_sink();

	transfer("", hole, 64, write(fd, hole, 64));
}

void uaccess_read_ro(void)
{
	char *page = anon_pages(1, PROT_READ);
	int fd = pipe_holding(64);

	transfer("", page, 64, read(fd, page, 64));
}

void uaccess_write_none(void)
{
	char *page = anon_pages(1, PROT_NONE);
	int fd = pipe_sink();

	transfer("", page, 64, write(fd, page, 64));
}

void uaccess_writev_part(void)
{
	char *good = anon_pages(1, PROT_READ | PROT_WRITE), *hole = hole_page();
	struct iovec iov[] = { { good, 100 }, { hole, 100 } };
	int fd = tmpfile_of(0);
	long done;

	fill(good, 100);
	call_begin("", hole);
	done = writev(fd, iov, 2);
	call_end(done, 200, file_filled(fd, done));
}

void uaccess_kernel_range(void)
{
	int fd = pipe_sink();

	transfer("", (void *)KERNEL_ADDR, 8, write(fd, (void *)KERNEL_ADDR, 8));
}

void uaccess_noncanonical(void)
{
#if UINTPTR_MAX > 0xffffffff
	void *addr = (void *)0x8000000000000000;
	int fd = pipe_sink();

	transfer("", addr, 8, write(fd, addr, 8));
#else
	not_applicable("32-bit addresses");
#endif
}

void uaccess_futex_hole(void)
{
#ifdef SYS_futex_time64		/* the other is optional on 32 bits */
	long number = SYS_futex_time64;
#else
	long number = SYS_futex;
#endif
	char *hole = hole_page();

	call("", hole, syscall(number, hole, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0));
}

void uaccess_open_edge(void)
{
	char *end = edge();

	memcpy(end - 3, "abc", 3);
	call("", end, open(end - 3, O_RDONLY | O_CLOEXEC));
}
