// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own accesses to user memory, at an edge: what a system call says when the
 * copy ends in the middle. E, here `end`, is where the good page ends and the hole begins.
 */
#include "fault.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#define RW (PROT_READ | PROT_WRITE)

/* write(2) of n bytes, of which `good` can be read, to an empty file. */
static void write_tail_to(int fd, size_t good, size_t n)
{
	char *end = edge();
	long done;

	fill(end - good, good);
	call_begin("", end);
	done = write(fd, end - good, n);
	call_end(done, n, file_holds(fd, done));
}

static void write_tail(size_t good, size_t n)
{
	write_tail_to(tmpfile_of(0), good, n);
}

/* File systems that have a loop of their own around the copy. */
static void write_tail_on(const char *disk)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/tail", mount_disk(disk));
	write_tail_to(must("open", open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)), 3, 128);
}

void uaccess_btrfs_tail_write(void)
{
	write_tail_on("btrfs");
}

void uaccess_gfs2_tail_write(void)
{
	write_tail_on("gfs2");
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

void uaccess_tail_write_8(void)
{
	write_tail(8, 128);
}

void uaccess_tail_write_32(void)
{
	write_tail(32, 128);
}

void uaccess_tail_write_64(void)
{
	write_tail(64, 128);
}

void uaccess_tail_write_7_of_8(void)
{
	write_tail(7, 8);
}

/* pread(2) of a file of 200 bytes, of which `good` have a place. */
static void read_tail(size_t good)
{
	char *end = edge();
	int fd = tmpfile_of(200);
	long done;

	memset(end - good, 0xff, good);
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

/* -- every length at which some copy loop gives another answer -------------------------- */

/* How a copy of `asked` bytes went of which `good` were there. */
struct tail {
	size_t good, asked;
	long done;
	int err;
	bool intact;		/* what it counted is what it should have copied */
};

/*
 * Does the copy of tail->asked bytes, of which tail->good are there, before `end`. Its other
 * side, in the kernel, begins `offset` bytes behind the start of a page.
 */
typedef void (*copy_tail)(struct tail *tail, char *end, size_t offset);

#define ALL_200 200	/* bytes asked for, whatever is there */
#define ONE_MORE 0	/* just one more than is there */

static void tail_done(struct tail *tail, long done, bool intact)
{
	tail->done = done;
	tail->err = errno;
	tail->intact = intact;
}

/* A step for each length of which bytes were lost; where none were, the outcome is `ok`. */
static void result_tails(const struct tail *tails, size_t n)
{
	char label[8];
	bool lost = false;

	for (const struct tail *tail = tails; tail < tails + n; tail++) {
		if (tail->done == (long)tail->good && tail->intact)
			continue;
		lost = true;
		snprintf(label, sizeof(label), "k%zu", tail->good);
		step(label);
		if (tail->done < 0)
			result("%s", errno_name(tail->err));
		else
			result("short(%ld/%zu)%s", tail->done, tail->asked,
			       tail->intact ? "" : " data=changed");
	}
	if (!lost) {
		step("");
		result("ok");
	}
}

static char *other_page;	/* made before the hole, which it would fill */

static void each_tail(copy_tail copy, size_t asked, size_t offset)
{
	static const size_t lengths[] = {
		1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128,
	};
	struct tail tails[ARRAY_SIZE(lengths)];
	char *end;

	other_page = anon_pages(1, RW);
	end = edge();
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		tails[i].good = lengths[i];
		tails[i].asked = asked ? asked : lengths[i] + 1;
		copy(&tails[i], end, offset);
	}
	prove("hole still unmapped", unmapped(end, page_size));
	result_tails(tails, ARRAY_SIZE(lengths));
}

/* From user space into a page that the kernel holds: ours, by way of process_vm_writev. */
static void copy_from(struct tail *tail, char *end, size_t offset)
{
	struct iovec from = { end - tail->good, tail->asked };
	struct iovec to = { other_page + offset, tail->asked };
	long done;

	memset(other_page, 0xff, page_size);
	fill(from.iov_base, tail->good);
	done = process_vm_writev(getpid(), &from, 1, &to, 1, 0);
	tail_done(tail, done, done <= 0 || filled(to.iov_base, done));
}

void uaccess_copy_from_tails(void)
{
	each_tail(copy_from, ALL_200, 0);
}

void uaccess_copy_from_odd(void)
{
	each_tail(copy_from, ALL_200, 1);
}

void uaccess_copy_from_one_more(void)
{
	each_tail(copy_from, ONE_MORE, 0);
}

/* Two bytes more than are there: what is copied as a word behind words, and fails as one. */
void uaccess_copy_from_two_more(void)
{
	char *to = anon_pages(1, RW), *end = edge();
	struct iovec source = { end - 128, 130 }, target = { to, 130 };
	long done;

	memset(to, 0xff, 256);
	fill(end - 128, 128);
	call_begin("", end);
	done = process_vm_writev(getpid(), &source, 1, &target, 1, 0);
	call_end(done, 130, filled(to, 128) && to[128] == (char)0xff && to[129] == (char)0xff);
}

/* To user space from a page of a file. */
static void copy_to(struct tail *tail, char *end, size_t offset)
{
	char bytes[256], *to = end - tail->good;
	int fd = tmpfile_of(0);
	long done;

	fill(bytes, sizeof(bytes));
	must("pwrite", pwrite(fd, bytes, sizeof(bytes), offset));
	memset(to, 0xff, tail->good);
	done = pread(fd, to, tail->asked, offset);
	tail_done(tail, done, done <= 0 || filled(to, done));
	close(fd);
}

void uaccess_copy_to_tails(void)
{
	each_tail(copy_to, ALL_200, 0);
}

void uaccess_copy_to_odd(void)
{
	each_tail(copy_to, ALL_200, 1);
}

void uaccess_copy_to_one_more(void)
{
	each_tail(copy_to, ONE_MORE, 0);
}

static void clear(struct tail *tail, char *end, size_t offset)
{
	int fd = must("open /dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));
	char *to = end - tail->good;
	long done;

	(void)offset;		/* there is no other side */
	fill(to, tail->good);
	done = read(fd, to, tail->asked);
	tail_done(tail, done, done <= 0 || zeroed(to, done));
	close(fd);
}

void uaccess_clear_tails(void)
{
	each_tail(clear, ALL_200, 0);
}

void uaccess_clear_one_more(void)
{
	each_tail(clear, ONE_MORE, 0);
}

/* By cache lines, where there is a way for so many. */
void uaccess_clear_long(void)
{
	struct tail tails[] = {
		{ .good = 640, .asked = 4000 }, { .good = 1024, .asked = 4000 },
		{ .good = 2048, .asked = 4000 }, { .good = 3008, .asked = 4000 },
	};
	char *end = edge();

	for (size_t i = 0; i < ARRAY_SIZE(tails); i++)
		clear(&tails[i], end, 0);
	prove("hole still unmapped", unmapped(end, page_size));
	result_tails(tails, ARRAY_SIZE(tails));
}

void uaccess_clear_hole_odd(void)
{
	char *to = hole_page() + 3;
	int fd = must("open /dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));

	transfer("", to, 64, read(fd, to, 64));
}

/* Two bytes that are there, and one that is not. */
void uaccess_clear_last_byte(void)
{
	char *end = edge();
	int fd = must("open /dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));

	transfer("", end, 3, read(fd, end - 2, 3));
}

/* Nothing is missing: each start and end that a clear by words treats apart, between bytes that stay. */
void uaccess_clear_ends(void)
{
	int fd = must("open /dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));
	char *page = anon_pages(1, RW), expected[64];
	long done = 0, want = 0;
	bool intact = true;

	call_begin("", page);
	for (size_t start = 1; start <= 9; start++) {
		for (size_t n = 1; n <= 17; n++) {
			fill(page, sizeof(expected));
			memcpy(expected, page, sizeof(expected));
			memset(expected + start, 0, n);
			want += n;
			done += read(fd, page + start, n);
			intact &= !memcmp(page, expected, sizeof(expected));
		}
	}
	call_end(done, want, intact);
}

/* -- copies of which each byte is there ------------------------------------------------------ */

#define MOST 130	/* bytes */
#define GUARD 16	/* bytes on each side that stay */
#define PLACES 8	/* each place in a word, on both sides */

static struct {
	int fd;			/* of a file: the kernel's side of the copy */
	char *file;		/* the same, mapped */
	char *end;		/* of the user's side: the edge */
	bool intact;		/* so far */
} whole;

/* Each up to where words are copied one by one, then around a half, one and two rounds of the longest loop. */
static size_t next_length(size_t n)
{
	return n == 24 ? 31 : n == 33 ? 63 : n == 66 ? 127 : n + 1;
}

/* How many of the guard bytes from addr on there are. */
static size_t guard_at(const char *addr)
{
	size_t left = (uintptr_t)-(uintptr_t)addr & (page_size - 1);

	return left < GUARD ? left : GUARD;
}

/* A piece between guard bytes, before the copy, and what is to be there behind it. */
static void guard(char *addr, size_t n)
{
	fill(addr - GUARD, GUARD + n + guard_at(addr + n));
}

static bool is_guarded(const char *addr, size_t n)
{
	return filled_from(addr - GUARD, GUARD, 0) && filled_from(addr, n, OTHER) &&
	       filled_from(addr + n, guard_at(addr + n), GUARD + n);
}

/* The bytes beside what is copied are not those of the guard. */
static long whole_copy_to(char *to, size_t offset, size_t n)
{
	long done;

	fill_from(whole.file + offset, n + GUARD, OTHER);
	guard(to, n);
	done = pread(whole.fd, to, n, offset);
	whole.intact &= is_guarded(to, n);
	return done;
}

static long whole_copy_from(char *from, size_t offset, size_t n)
{
	long done;

	fill_from(from, n + guard_at(from + n), OTHER);
	guard(whole.file + offset, n);
	done = pwrite(whole.fd, from, n, offset);
	whole.intact &= is_guarded(whole.file + offset, n);
	return done;
}

/* These lengths, from each place to each place, and with its last byte at the edge of the user's side. */
static void each_whole(long (*copy)(char *user, size_t offset, size_t n))
{
	long done = 0, want = 0;

	whole.fd = tmpfile_of(0);
	must("ftruncate", ftruncate(whole.fd, page_size));
	whole.file = map_file(whole.fd, 1, RW, MAP_SHARED);
	whole.end = edge();
	whole.intact = true;
	call_begin("", whole.end);
	for (size_t offset = GUARD; offset < GUARD + PLACES; offset++) {
		for (size_t n = 1; n <= MOST; n = next_length(n)) {
			char *start = whole.end - page_size + GUARD;

			for (size_t place = 0; place < PLACES; place++)
				done += copy(start + place, offset, n);
			done += copy(whole.end - n, offset, n);
			want += (PLACES + 1) * n;
		}
	}
	call_end(done, want, whole.intact);
}

void uaccess_copy_to_ends(void)
{
	each_whole(whole_copy_to);
}

void uaccess_copy_from_ends(void)
{
	each_whole(whole_copy_from);
}

/* Longer than words are worth it, where there are wider registers: to a page that is there, to one that comes, and back. */
void uaccess_copy_long(void)
{
	static const size_t lengths[] = { 3329, 3330, 3333, 3343, 3400, 3900 };
	static const size_t starts[] = { 0, 1, 7, 112 }, offsets[] = { 0, 1, 5 };
	int source = tmpfile_of(4096), sink = tmpfile_of(4096), used = 0, fresh = 0, from = 0;
	char *page = anon_pages(1, RW), *back = map_file(sink, 1, PROT_READ, MAP_SHARED);

	for (size_t i = 0; i < ARRAY_SIZE(lengths) * ARRAY_SIZE(starts) * ARRAY_SIZE(offsets); i++) {
		size_t n = lengths[i / 12], start = starts[i % 4], at = offsets[i / 4 % 3];
		char *to = page + start, *behind = to + n;

		memset(page, 0xff, page_size);
		used += pread(source, to, n, at) == (long)n && filled_from(to, n, at) &&
			*behind == (char)0xff && (!start || to[-1] == (char)0xff);
		must("madvise", madvise(page, page_size, MADV_DONTNEED));
		fresh += pread(source, to, n, at) == (long)n && filled_from(to, n, at) &&
			 zeroed(page, start) && zeroed(behind, page + page_size - behind);
		must("ftruncate", ftruncate(sink, 0));
		from += pwrite(sink, to, n, at) == (long)n && filled_from(back + at, n, at) &&
			zeroed(back, at) && lseek(sink, 0, SEEK_END) == (off_t)(at + n);
	}
	step("used");
	result("ok(%d)", used);
	step("fresh");
	result("ok(%d)", fresh);
	step("from");
	result("ok(%d)", from);
}

/* A path whose end is the last byte that is there: it is read in full if nothing is found. */
static void look_up(struct tail *tail, char *end, size_t offset)
{
	char *path = end - tail->good;
	long fd;

	(void)offset;
	memset(path, 'x', tail->good - 1);
	path[tail->good - 1] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	tail_done(tail, fd < 0 && errno == ENOENT ? (long)tail->good : fd, true);
}

void uaccess_path_tails(void)
{
	each_tail(look_up, ONE_MORE, 0);
}

/* -- pipes and vectors --------------------------------------------------------------------- */

/* write(2) of n bytes of the pattern to a pipe, as a step; what is not counted is not there to be read. */
static void write_to_pipe(const char *touch, const char *from, size_t n)
{
	int fd = pipe_sink();
	long done;

	call_begin("", touch);
	done = write(fd, from, n);
	call_end(done, n, pipe_holds(fd, 0, done));
}

void uaccess_pipe_write_tail(void)
{
	char *end = edge();

	fill(end - 101, 101);
	write_to_pipe(end, end - 101, 200);
}

/* What the first read could not place must still be there for the second. */
void uaccess_pipe_read_tail(void)
{
	char *good = anon_pages(1, PROT_READ | PROT_WRITE), *end = edge();
	int fd = pipe_holding(200);
	long done;

	memset(end - 101, 0xff, 101);
	call_begin("tail", end);
	done = read(fd, end - 101, 200);
	call_end(done, 200, done <= 0 || filled(end - 101, done));
	call_begin("again", good);
	done = read(fd, good, 200);
	call_end(done, 200, done < 200 || filled(good, done));
}

/* 200 bytes in two buffers of the pipe, of which the first 100 have a place. */
void uaccess_pipe_read_2buf(void)
{
	char *page = anon_pages(1, RW), *end = edge();
	int fds[2];
	long done;

	fill(page, page_size);
	must("pipe", pipe2(fds, O_CLOEXEC));
	prove("one buffer full", write(fds[1], page, page_size) == (ssize_t)page_size);
	prove("another begun", write(fds[1], page, 100) == 100);
	prove("100 bytes left of the first",
	      read(fds[0], page, page_size - 100) == (ssize_t)page_size - 100);
	memset(end - 100, 0xff, 100);
	call_begin("", end);
	done = read(fds[0], end - 100, 200);
	call_end(done, 200, done <= 0 || !memcmp(end - 100, page + page_size - 100, done));
}

void uaccess_read_hole(void)
{
	char *hole = hole_page();
	int fd = pipe_holding(64);

	transfer("", hole, 64, read(fd, hole, 64));
}

/* Fewer bytes than a word: what is left behind the last word has a fixup of its own. */
void uaccess_read_hole_3(void)
{
	char *hole = hole_page();
	int fd = pipe_holding(3);

	transfer("", hole, 3, read(fd, hole, 3));
}

void uaccess_write_hole(void)
{
	char *hole = hole_page();

	write_to_pipe(hole, hole, 64);
}

/* What is refused leaves nothing behind: the next descriptor is the one that it would have been. */
void uaccess_pipe2_hole(void)
{
	char *hole = hole_page();
	int fd = tmpfile_of(0), next = must("dup", dup(fd)), again;

	must("close", close(next));
	call("pipe", hole, pipe2((int *)hole, O_CLOEXEC));
	again = must("dup", dup(fd));
	step("descriptors");
	result("ok(%d)", again - next);
}

/* The place in a file after a read of which not all had room. */
void uaccess_read_place(void)
{
	int fd = tmpfile_of(256);
	char *end = edge();
	long done;

	must("lseek", lseek(fd, 0, SEEK_SET));
	step("place");
	done = read(fd, end - 101, 200);
	detail("read", "%ld", done);
	result("ok data=%s", lseek(fd, 0, SEEK_CUR) == (done < 0 ? 0 : done) ? "match" : "changed");
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

	write_to_pipe(page, page, 64);
}

/*
 * What is in the pipe has room behind it in its buffer, where the start of this would fit: 128 bytes,
 * a length that each copy routine copies in full before it meets the hole.
 */
void uaccess_pipe_append_cut(void)
{
	char *page = anon_pages(1, RW), *end = edge();
	int fd = pipe_sink();
	long done;

	fill(page, 8);
	prove("pipe holds some", write(fd, page, 8) == 8);
	fill_from(end - 128, 128, 8);
	call_begin("", end);
	done = write(fd, end - 128, 256);
	call_end(done, 256, pipe_holds(fd, 0, 8));
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
	call_end(done, 200, file_holds(fd, done));
}

/* 128 bytes: a length that each copy routine copies in full before it meets the hole. */
void uaccess_readv_part(void)
{
	char *good = anon_pages(1, RW), *hole = hole_page();
	struct iovec iov[] = { { good, 128 }, { hole, 128 } };
	int fd = tmpfile_of(256);
	long done;

	call_begin("", hole);
	done = preadv(fd, iov, 2, 0);
	call_end(done, 256, done <= 0 || filled(good, done));
}

void uaccess_writev_pipe_part(void)
{
	char *good = anon_pages(1, RW), *hole = hole_page();
	struct iovec iov[] = { { good, 100 }, { hole, 100 } };
	int fd = pipe_sink();
	long done;

	fill(good, 100);
	call_begin("", hole);
	done = writev(fd, iov, 2);
	call_end(done, 200, pipe_holds(fd, 0, done));
}

/* Pieces of no bytes, in a hole: before, between and behind two that are good. */
void uaccess_iov_empty(void)
{
	char *first = anon_pages(1, RW), *second = anon_pages(1, RW), *hole = hole_page();
	struct iovec iov[] = { { hole, 0 }, { first, 64 }, { hole, 0 }, { second, 64 }, { hole, 0 } };
	int fd = tmpfile_of(0), sink = pipe_sink();
	long done;

	fill(first, 64);
	fill_from(second, 64, 64);
	call_begin("pipe", hole);
	done = writev(sink, iov, ARRAY_SIZE(iov));
	call_end(done, 128, pipe_holds(sink, 0, done));
	call_begin("file", hole);
	done = writev(fd, iov, ARRAY_SIZE(iov));
	call_end(done, 128, file_holds(fd, done));
	memset(first, 0, 64);
	memset(second, 0, 64);
	call_begin("back", hole);
	done = preadv(fd, iov, ARRAY_SIZE(iov), 0);
	call_end(done, 128, filled(first, 64) && filled_from(second, 64, 64));
}

void uaccess_iov_hole(void)
{
	char *hole = hole_page();
	int fd = tmpfile_of(0);

	transfer("", hole, 100, writev(fd, (struct iovec *)hole, 1));
}

/* A vector of two of which one is there; that one is good, but nothing may be written. */
void uaccess_iov_edge(void)
{
	char *good = anon_pages(1, RW);
	struct iovec *iov = (struct iovec *)edge() - 1;
	int fd = tmpfile_of(0);

	iov[0] = (struct iovec){ good, 100 };
	if (transfer("writev", iov + 1, 200, writev(fd, iov, 2)) < 0)
		transfer("written", NULL, 0, lseek(fd, 0, SEEK_END));
}

void uaccess_kernel_range(void)
{
	write_to_pipe((char *)KERNEL_ADDR, (char *)KERNEL_ADDR, 8);
}

void uaccess_noncanonical(void)
{
#if UINTPTR_MAX > 0xffffffff
	char *addr = (char *)0x8000000000000000;

	write_to_pipe(addr, addr, 8);
#else
	not_applicable("32-bit addresses");
#endif
}

/* -- futex ----------------------------------------------------------------------------------- */

/* The word is never 1, so this does not wait. */
static long futex_wait(void *word, int flag)
{
	return syscall(FUTEX, word, FUTEX_WAIT | flag, 1, NULL, NULL, 0);
}

void uaccess_futex_hole(void)
{
	char *hole = hole_page();

	call("", hole, syscall(FUTEX, hole, FUTEX_WAIT, 0, NULL, NULL, 0));
}

/* A private futex is its address; a shared one is the page, which has to be found. */
static void wait_both(char *word)
{
	call("private", word, futex_wait(word, FUTEX_PRIVATE_FLAG));
	call("shared", word, futex_wait(word, 0));
}

void uaccess_futex_none(void)
{
	wait_both(anon_pages(1, PROT_NONE));
}

void uaccess_futex_ro_private(void)
{
	wait_both(anon_pages(1, PROT_READ));
}

/* The page is there, and has been written. */
void uaccess_futex_ro_written(void)
{
	char *page = anon_pages(1, RW);

	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, PROT_READ));
	wait_both(page);
}

void uaccess_futex_ro_shared(void)
{
	wait_both(map_file(tmpfile_of(64), 1, PROT_READ, MAP_SHARED));
}

void uaccess_futex_wake_hole(void)
{
	char *hole = hole_page();

	call("private", hole, syscall(FUTEX, hole, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
	call("shared", hole, syscall(FUTEX, hole, FUTEX_WAKE, 1, NULL, NULL, 0));
}

void uaccess_futex_op_ro(void)
{
	char *ro = anon_pages(1, PROT_READ);

	call("", ro, change_futex(ro, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0)));
}

/* Afterwards the word is to hold this. */
static void operate(const char *label, uint32_t *word, int op, uint32_t result)
{
	long ret;

	call_begin(label, word);
	ret = change_futex(word, op);
	call_end(ret, 0, *word == result);
}

#define OPERATE(op, arg) FUTEX_OP(FUTEX_OP_##op, arg, FUTEX_OP_CMP_EQ, 0)
#define WORD 0x8765a5a5U	/* with its sign set */

void uaccess_futex_op(void)
{
	uint32_t *word = (uint32_t *)anon_pages(1, RW);

	*word = WORD;
	operate("set", word, OPERATE(SET, 0x2ff), 0x2ff);
	*word = WORD;
	operate("add", word, OPERATE(ADD, 0x2ff), WORD + 0x2ff);
	*word = WORD;
	operate("add-negative", word, OPERATE(ADD, -5), WORD - 5);
	*word = WORD;
	operate("or", word, OPERATE(OR, 0x2ff), WORD | 0x2ff);
	*word = WORD;
	operate("andn", word, OPERATE(ANDN, 0x2ff), WORD & ~0x2ff);
	*word = WORD;
	operate("xor", word, OPERATE(XOR, 0x2ff), WORD ^ 0x2ff);
}

/* A child that waits at a word of shared memory, which holds 7 then. */
static pid_t waiter_at(uint32_t *word)
{
	struct stuck waiter;

	*word = 7;
	waiter = (struct stuck){ .pid = fork_child() };
	if (waiter.pid == 0) {
		syscall(FUTEX, word, FUTEX_WAIT, 7, NULL, NULL, 0);
		child_done();
	}
	see_it_sleep(&waiter);
	return waiter.pid;
}

void uaccess_futex_op_waiter(void)
{
	uint32_t *word = must("mmap", mmap(NULL, page_size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pid_t waiter = waiter_at(word);

	transfer("other", word, 0, change_shared_futex(word, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_LT, 7)));
	transfer("equal", word, 1, change_shared_futex(word, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 8)));
	join_child(waiter);
	step("word");
	result("ok(%d)", *word);
}

/* Who waits has it for writing; who wakes need not. */
void uaccess_futex_wake_read_only(void)
{
	int fd = tmpfile_of(64);
	uint32_t *word = (uint32_t *)map_file(fd, 1, RW, MAP_SHARED);
	uint32_t *seen = (uint32_t *)map_file(fd, 1, PROT_READ, MAP_SHARED);
	pid_t waiter = waiter_at(word);

	transfer("wake", seen, 1, syscall(FUTEX, seen, FUTEX_WAKE, 1, NULL, NULL, 0));
	step("waiter");
	result_fate(waiter);
}

void uaccess_futex_op_pages(void)
{
	uint32_t *fresh = (uint32_t *)anon_pages(1, RW), *loaded = (uint32_t *)anon_pages(1, RW);
	uint32_t *shared = (uint32_t *)anon_pages(1, RW);
	char byte = 0;
	int go[2];
	pid_t pid;

	prove("zero page", arch_load(loaded, INT) == 0 && !present(fresh));
	*shared = WORD;
	must("pipe", pipe(go));
	pid = fork_child();
	if (pid == 0) {
		must("read", read(go[0], &byte, 1));
		load_data("child", shared, INT, WORD);
		child_done();
	}
	operate("fresh", fresh, OPERATE(ADD, 5), 5);
	operate("loaded", loaded, OPERATE(OR, 6), 6);
	operate("after-fork", shared, OPERATE(XOR, 0x2ff), WORD ^ 0x2ff);
	must("write", write(go[1], &byte, 1));
	join_child(pid);
}

/* The page was written before, so that the load of the operation does not fault, and its store does. */
void uaccess_futex_op_refused(void)
{
	uint32_t *ro = (uint32_t *)anon_pages(1, RW), *none = (uint32_t *)anon_pages(1, PROT_NONE);
	char *hole;

	*ro = WORD;
	must("mprotect", mprotect(ro, page_size, PROT_READ));
	hole = hole_page();
	operate("ro", ro, OPERATE(ADD, 5), WORD);
	call("none", none, change_futex(none, OPERATE(ADD, 5)));
	call("hole", hole, change_futex(hole, OPERATE(ADD, 5)));
}

/* The kernel takes the lock for its caller: it exchanges the word that nobody holds by a thread's number. */
static long lock_pi(uint32_t *word)
{
	return syscall(FUTEX, word, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
}

void uaccess_futex_lock_ro(void)
{
	uint32_t *fresh = (uint32_t *)anon_pages(1, RW), *ro = (uint32_t *)anon_pages(1, RW);
	long ret;

	/* Both pages are there to be read: it is not the load of the exchange that faults. */
	prove("nobody holds it", *(volatile uint32_t *)fresh == 0);
	*ro = 0;
	must("mprotect", mprotect(ro, page_size, PROT_READ));
	call_begin("fresh", fresh);
	ret = lock_pi(fresh);
	call_end(ret, -1, *fresh == (uint32_t)getpid());
	call("ro", ro, lock_pi(ro));
}

/* A lock that its holder gives back after a fork: the page is there for loads alone, until it is copied. */
void uaccess_futex_unlock_forked(void)
{
	uint32_t *word = (uint32_t *)anon_pages(1, RW);
	pid_t pid;
	long ret;

	*word = getpid();
	pid = fork_child();
	if (pid == 0)
		child_done();
	call_begin("", word);
	ret = syscall(FUTEX, word, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
	call_end(ret, -1, *word == 0);
	join_child(pid);
}

/* -- results that the kernel cannot give back, after it has done what was asked ------------ */

#define SIGSET_BYTES 8		/* the kernel's, on each arch */

/* The kernel's struct sigaction begins with the handler, and differs behind it. */
struct kernel_sigaction {
	void (*handler)(int);
	char rest[56];
};

static long kernel_sigaction(void *act, void *old)
{
	return syscall(SYS_rt_sigaction, SIGUSR1, act, old, SIGSET_BYTES, NULL);
}

/* `get` compares: data=changed were a handler that is not the one set. */
void uaccess_sigaction_ro(void)
{
	struct kernel_sigaction act, now;
	char *ro = anon_pages(1, PROT_READ);
	long ret;

	must("sigaction", kernel_sigaction(NULL, &act));
	act.handler = SIG_IGN;
	call("set", ro, kernel_sigaction(&act, ro));
	call_begin("get", &now);
	ret = kernel_sigaction(NULL, &now);
	call_end(ret, -1, now.handler == SIG_IGN);
}

void uaccess_sigprocmask_ro(void)
{
	const size_t bits = 8 * sizeof(long);
	unsigned long set[SIGSET_BYTES / sizeof(long)] = { 0 }, now[SIGSET_BYTES / sizeof(long)] = { 0 };
	char *ro = anon_pages(1, PROT_READ);
	long ret;

	/* Eight of the real-time signals: all of those can be blocked, and by number, as the bytes of a set are not in order everywhere. */
	set[40 / bits] = 0xffUL << 40 % bits;
	call("set", ro, syscall(SYS_rt_sigprocmask, SIG_SETMASK, set, ro, SIGSET_BYTES));
	call_begin("get", now);
	ret = syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, now, SIGSET_BYTES);
	call_end(ret, -1, !memcmp(now, set, sizeof(set)));
}

void uaccess_sigaltstack_ro(void)
{
	stack_t set = { .ss_sp = anon_pages(16, RW), .ss_size = 16 * page_size }, now = { 0 };
	char *ro = anon_pages(1, PROT_READ);
	long ret;

	call("set", ro, syscall(SYS_sigaltstack, &set, ro));
	call_begin("get", &now);
	ret = syscall(SYS_sigaltstack, NULL, &now);
	call_end(ret, -1, now.ss_sp == set.ss_sp);
}

static long set_stack(void *at) { return syscall(SYS_sigaltstack, at, NULL); }
static long get_stack(void *at) { return syscall(SYS_sigaltstack, NULL, at); }
static long set_limit(void *at) { return syscall(SYS_prlimit64, 0, RLIMIT_CORE, at, NULL); }
static long set_mask(void *at) { return syscall(SYS_rt_sigprocmask, SIG_BLOCK, at, NULL, _NSIG / 8); }
static long get_mask(void *at) { return syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, at, _NSIG / 8); }
static long set_timer(void *at) { return syscall(SYS_setitimer, ITIMER_VIRTUAL, at, NULL); }
static long add_event(void *at) { return epoll_ctl(epoll_create1(EPOLL_CLOEXEC), EPOLL_CTL_ADD, 0, at); }

/* A structure of this size, of which each part but the whole is there in turn; it would do. */
static void cut(const char *label, long (*act)(void *at), const void *good, size_t size)
{
	char *end = edge();
	size_t refused = 0;

	for (size_t there = 1; there < size; there++) {
		memcpy(end - there, good, there);
		refused += act(end - there) < 0 && errno == EFAULT;
	}
	step(label);
	detail(label, "%zu of %zu", refused, size - 1);
	result("ok data=%s", refused == size - 1 ? "match" : "changed");
}

/* Small structures, whose size is in the kernel's code: their copies are done by pieces there. */
void uaccess_struct_cut(void)
{
	stack_t stack = { .ss_sp = anon_pages(16, RW), .ss_size = 16 * page_size };
	struct epoll_event event = { .events = EPOLLIN };
	long timer[4] = { 0, 0, 1000, 0 };
	uint64_t limit[2] = { 0, 0 };
	sigset_t mask;

	sigemptyset(&mask);
	cut("set-stack", set_stack, &stack, sizeof(stack));
	cut("get-stack", get_stack, &stack, sizeof(stack));
	cut("set-mask", set_mask, &mask, _NSIG / 8);
	cut("get-mask", get_mask, &mask, _NSIG / 8);
	cut("set-limit", set_limit, limit, sizeof(limit));
	cut("set-timer", set_timer, timer, sizeof(timer));
	cut("add-event", add_event, &event, sizeof(event));
}

/* The child is there before its number could be stored. */
void uaccess_clone_ptid_ro(void)
{
	char *ro = anon_pages(1, PROT_READ);
	long pid;

	call_begin("clone", ro);
	pid = RAW_CLONE(CLONE_PARENT_SETTID | SIGCHLD, ro);
	if (pid == 0)
		child_done();
	if (call_end(pid, -1, true) > 0) {
		step("child");
		result_fate(pid);
	}
}

static int leave(void *unused)
{
	(void)unused;
	syscall(SYS_exit, 0);
	return 0;
}

/* A thread library asks for zero to be stored at its exit, and has unmapped the place. */
void uaccess_clear_tid_hole(void)
{
	char *stack = anon_pages(16, RW) + 16 * page_size, *hole = hole_page();
	pid_t pid;

	step("");
	pid = must("clone", clone(leave, stack, CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, NULL,
				  NULL, NULL, hole));
	result_fate(pid);
}

/* A lock that a task holds when it ends, as its list of them has it. */
struct held {
	struct robust_list_head list;
	struct robust_list lock;	/* the first in the list */
	uint32_t word;
};

static struct held *one_held(int flags)
{
	struct held *held = must("mmap", mmap(NULL, page_size, RW, flags | MAP_ANONYMOUS, -1, 0));

	held->list.list.next = &held->lock;
	held->list.futex_offset = offsetof(struct held, word) - offsetof(struct held, lock);
	held->lock.next = &held->list.list;
	return held;
}

/* The list of held locks is read when the task ends; `waiters` is what is said beside the owner. */
static pid_t end_with(void *list, uint32_t *word, uint32_t waiters)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		*word = getpid() | waiters;
		must("set_robust_list", syscall(SYS_set_robust_list, list, sizeof(struct robust_list_head)));
		child_done();
	}
	return pid;
}

static bool owner_died(const struct held *held)
{
	return held->word & FUTEX_OWNER_DIED;
}

void uaccess_robust_list_hole(void)
{
	struct held *good = one_held(MAP_SHARED), *torn = one_held(MAP_SHARED);
	char *hole = hole_page();
	uint32_t none;

	join_child(end_with(&good->list, &good->word, 0));
	prove("lists are walked", owner_died(good));
	step("head");
	result_fate(end_with(hole, &none, 0));
	torn->lock.next = (struct robust_list *)hole;
	step("next");
	result_fate(end_with(&torn->list, &torn->word, 0));
	step("owner-died");
	result("ok(%d)", owner_died(torn));
}

/* The sign of the word is set, with which an exchange must find it equal none the less. */
void uaccess_robust_list_waiters(void)
{
	struct held *held = one_held(MAP_SHARED);

	step("end");
	result_fate(end_with(&held->list, &held->word, FUTEX_WAITERS));
	step("owner-died");
	result("ok(%d)", owner_died(held));
	step("waiters");
	result("ok(%d)", (held->word & FUTEX_WAITERS) != 0);
}

/* The word is in private memory of which a fork has a copy: it can be read, but written only by a fault. */
static int leave_forked(void *arg)
{
	struct held *held = arg;
	long pid;

	held->word = getpid();
	must("set_robust_list", syscall(SYS_set_robust_list, &held->list, sizeof(held->list)));
	pid = must("fork", RAW_CLONE(SIGCHLD, NULL));
	if (pid != 0)
		must("wait4", syscall(SYS_wait4, pid, NULL, 0, NULL));
	return leave(NULL);
}

void uaccess_robust_list_forked(void)
{
	char *stack = anon_pages(16, RW) + 16 * page_size;
	struct held *held = one_held(MAP_PRIVATE);

	step("end");
	result_fate(must("clone", clone(leave_forked, stack, CLONE_VM | SIGCHLD, held)));
	step("owner-died");
	result("ok(%d)", owner_died(held));
}

/* -- strings that are longer than the kernel takes ----------------------------------------- */

void uaccess_string_limit(void)
{
	static const char name[] = "a name of more than fifteen bytes";
	char *path = anon_pages(3, RW), cut[16] = "";
	long ret;

	memset(path, 'a', 2 * PATH_MAX);
	call_begin("name", NULL);
	ret = prctl(PR_SET_NAME, name);
	must("PR_GET_NAME", prctl(PR_GET_NAME, cut));
	call_end(ret, -1, strncmp(cut, name, sizeof(cut) - 1) == 0 && strlen(cut) == sizeof(cut) - 1);
	call("path", NULL, open(path, O_RDONLY));
}

/* -- the arguments of a new program ---------------------------------------------------------- */

/* What can be executed, but by nobody: that is found out when the arguments have been copied. */
static const char *no_program(void)
{
	static const char text[] = "no program\n";
	static char path[32];
	int fd = must("memfd_create", memfd_create("text", MFD_CLOEXEC));

	prove("file written", write(fd, text, sizeof(text)) == sizeof(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

#define LIST(...) (char *[]){ __VA_ARGS__, NULL }

void uaccess_exec_hole(void)
{
	const char *path = no_program();
	char *hole = hole_page();
	char **list = (char **)hole;

	call("good", NULL, execve(path, LIST("a", "b"), LIST("c=d")));
	call("argument", hole, execve(path, LIST("a", hole), LIST("c=d")));
	call("environment", hole, execve(path, LIST("a"), LIST("c=d", hole)));
	call("arguments", hole, execve(path, list, LIST("c=d")));
	call("environments", hole, execve(path, LIST("a"), list));
	list[-1] = "a";
	call("list-edge", hole, execve(path, list - 1, LIST("c=d")));
}

#define ALIGNMENTS 16	/* more than two words */

/* Strings that start in each place before the end; those refused with this error are counted. */
static void exec_near(const char *label, char *end, int err, bool argument)
{
	const char *path = no_program();
	int refused = 0;

	call_begin(label, end);
	for (char *at = end - ALIGNMENTS; at < end; at++)
		refused += execve(path, LIST("a", argument ? at : "b"), LIST(argument ? "c=d" : at)) < 0 &&
			   errno == err;
	call_end(refused, ALIGNMENTS, true);
}

void uaccess_exec_edge(void)
{
	size_t too_long = 32 * page_size;	/* MAX_ARG_STRLEN */
	char *string = anon_pages(33, RW), *end = edge();

	memset(end - ALIGNMENTS, 'a', ALIGNMENTS);
	exec_near("argument", end, EFAULT, true);
	exec_near("environment", end, EFAULT, false);
	end[-1] = '\0';
	exec_near("whole", end, ENOEXEC, true);
	memset(string, 'a', too_long);
	call("too-long", NULL, execve(no_program(), LIST("a", string), LIST("c=d")));
}

/* -- a struct that is larger than the kernel's: what it does not know must be zero ------------- */

#define HOW sizeof(struct open_how)

/* openat2(2) with so many bytes behind the struct that the kernel knows, which ends at tail. */
static int open_with(char *tail, size_t n)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC };
	int fd;

	memcpy(tail - HOW, &how, HOW);
	fd = syscall(SYS_openat2, AT_FDCWD, "/", tail - HOW, HOW + n);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? errno : 0;
}

void uaccess_struct_larger(void)
{
	char *page = anon_pages(1, RW), *end;
	int zeroes = 0, behind = 0, others = 0, cut = 0;

	if (open_with(page + HOW, 0) == ENOSYS)
		not_applicable("no openat2(2)");
	end = edge();
	call_begin("zeroes", end);
	for (int n = 1; n <= ALIGNMENTS; n++) {
		memset(end - n, 0, n);
		zeroes += open_with(end - n, n) == 0;
	}
	call_end(zeroes, ALIGNMENTS, true);
	call_begin("behind", page);
	for (int n = 1; n <= ALIGNMENTS; n++) {
		memset(page + 64, 0, n);
		memset(page + 64 + n, 'a', ALIGNMENTS);
		behind += open_with(page + 64, n) == 0;
	}
	call_end(behind, ALIGNMENTS, true);
	call_begin("cut", end);
	for (int n = 0; n < ALIGNMENTS; n++) {
		memset(end - n, 0, n);
		cut += open_with(end - n, n + 1) == EFAULT;
	}
	call_end(cut, ALIGNMENTS, true);
	call_begin("others", end);
	for (int n = 1; n <= ALIGNMENTS; n++) {
		memset(end - n, 0, n);
		end[-1] = 'a';
		others += open_with(end - n, n) == E2BIG;
	}
	call_end(others, ALIGNMENTS, true);
}

/* -- poll and epoll ------------------------------------------------------------------------ */

void uaccess_poll_ro(void)
{
	struct pollfd *ready = (struct pollfd *)anon_pages(1, RW);

	ready[0] = (struct pollfd){ .fd = pipe_holding(1), .events = POLLIN };
	must("mprotect", mprotect(ready, page_size, PROT_READ));
	call("", ready, poll(ready, 1, 0));
}

void uaccess_poll_edge(void)
{
	struct pollfd *fds = (struct pollfd *)edge() - 1;

	fds[0] = (struct pollfd){ .fd = pipe_holding(1), .events = POLLIN };
	call("", fds + 1, poll(fds, 2, 0));
}

/* Arrays of one entry to four, each from every place where its end is missing. */
void uaccess_poll_cut(void)
{
	char *end = edge();
	int cuts = 0, refused = 0;

	call_begin("", end);
	for (size_t n = 1; n <= 4; n++)
		for (size_t left = 1; left < n * sizeof(struct pollfd); left++, cuts++)
			refused += poll((struct pollfd *)(end - left), n, 0) < 0 && errno == EFAULT;
	call_end(refused, cuts, true);
}

static int epoll_of_ready(int n)
{
	int epoll = must("epoll_create", epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event in = { .events = EPOLLIN };

	while (n--)
		must("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_holding(1), &in));
	return epoll;
}

/* An event that could not be told must not be lost, also not one that is told only once. */
void uaccess_epoll_hole(void)
{
	struct epoll_event *hole = (struct epoll_event *)hole_page(), event;
	int epoll = must("epoll_create", epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event in = { .events = EPOLLIN | EPOLLET };

	must("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_holding(1), &in));
	transfer("hole", hole, 1, epoll_wait(epoll, hole, 1, 0));
	transfer("again", &event, 1, epoll_wait(epoll, &event, 1, 0));
}

void uaccess_epoll_edge(void)
{
	struct epoll_event *events = (struct epoll_event *)edge() - 1;
	int epoll = epoll_of_ready(2);

	transfer("", events + 1, 2, epoll_wait(epoll, events, 2, 0));
}

/* -- one word, across the edge ------------------------------------------------------------- */

/* k bytes of an int are there; does any of them change although it cannot be stored? */
void uaccess_put_user_cut(void)
{
	char *end = edge(), label[8];
	int fd = pipe_holding(64);

	for (int k = 1; k <= 3; k++) {
		long ret;

		fill(end - k, k);
		snprintf(label, sizeof(label), "k%d", k);
		call_begin(label, end);
		ret = ioctl(fd, FIONREAD, end - k);
		call_end(ret, -1, filled(end - k, k));
	}
}

void uaccess_get_user_cut(void)
{
	char *end = edge(), label[8];
	int fd = pipe_holding(64);

	for (int k = 1; k <= 3; k++) {
		snprintf(label, sizeof(label), "k%d", k);
		call(label, end, ioctl(fd, FIONBIO, end - k));
	}
}

/*
 * sendfile(2) stores where it has got to by one put_user() of eight bytes, after the bytes went.
 * All of this offset changes when it moves on by 64.
 */
#define NEAR_4G 0xffffffc0ULL

static void send_from(off_t *offset)
{
	int from = tmpfile_of(0), to = tmpfile_of(0);
	off_t before = *offset;
	long ret;

	must("ftruncate", ftruncate(from, NEAR_4G + 2 * page_size));
	call_begin("sendfile", offset);
	ret = sendfile(to, from, offset, 64);
	call_end(ret, 64, *offset == before);
	transfer("sent", NULL, 64, lseek(to, 0, SEEK_END));
}

void uaccess_put_8_ro(void)
{
	off_t *offset = (off_t *)anon_pages(1, RW);

	*offset = NEAR_4G;
	must("mprotect", mprotect(offset, page_size, PROT_READ));
	send_from(offset);
}

/* Half of the eight bytes may be written. */
void uaccess_put_8_cut(void)
{
	char *pages = anon_pages(2, RW), *ro = pages + page_size;
	const off_t offset = NEAR_4G;

	memcpy(ro - 4, &offset, sizeof(offset));
	must("mprotect", mprotect(ro, page_size, PROT_READ));
	send_from((off_t *)(ro - 4));
}

/* -- sockets ---------------------------------------------------------------------------------- */

static int any_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 && (errno == ENOSYS || errno == EAFNOSUPPORT))
		not_applicable("no sockets");
	return must("socket", fd);
}

void uaccess_getsockopt_value(void)
{
	socklen_t size = sizeof(int);
	char *hole = hole_page();
	int fd = any_socket();

	call("", hole, getsockopt(fd, SOL_SOCKET, SO_TYPE, hole, &size));
}

void uaccess_getsockopt_length(void)
{
	char *hole = hole_page();
	int fd = any_socket(), type;

	call("", hole, getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, (socklen_t *)hole));
}

/* The value goes out before its length, which cannot: data=changed is the value. */
void uaccess_getsockopt_length_ro(void)
{
	socklen_t *size = (socklen_t *)anon_pages(1, RW);
	int fd = any_socket(), type = -1;
	long ret;

	*size = sizeof(type);
	must("mprotect", mprotect(size, page_size, PROT_READ));
	call_begin("", size);
	ret = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, size);
	call_end(ret, -1, type == -1);
}

/* -- strings ----------------------------------------------------------------------------------- */

void uaccess_open_edge(void)
{
	char *end = edge();

	memcpy(end - 3, "abc", 3);
	call("", end, open(end - 3, O_RDONLY | O_CLOEXEC));
}

/* -- get_user() and put_user() of less than a word ----------------------------------------------- */

/* With this flag kernels of 2024 look at the first byte, to see whether the path is empty. */
void uaccess_get_1_hole(void)
{
	char *hole = hole_page();
	struct stat st;
	int fd = pipe_sink();

	call("", hole, fstatat(fd, hole, &st, AT_EMPTY_PATH));
}

/* The count of 16 bits is the first that is read of the argument. */
void uaccess_get_2_hole(void)
{
	char *hole = hole_page();
	int fd = tmpfile_of(64);

	call("", hole + offsetof(struct file_dedupe_range, dest_count),
	     ioctl(fd, FIDEDUPERANGE, hole));
}

/* Where there are two calls of the name the old one stores 16 bits each. */
void uaccess_put_2_ro(void)
{
	char *ro = anon_pages(1, PROT_READ);

	call("", ro, syscall(SYS_getresuid, ro, ro + 2, ro + 4));
}

/* -- m68k's exchange of a word: a system call that calls the fault handler as a function ----------- */

/* `from` becomes one more, where it is what is found; the word and what is found are to be right. */
static void exchange(const char *label, int *word, int from, int found)
{
	long got;

	call_begin(label, word);
	got = CMPXCHG(word, from, from + 1);
	call_end(0, -1, got == found && *word == (found == from ? from + 1 : found));
}

/* One that cannot be done; nothing it could return would say so. */
static void exchange_fails(void *word)
{
	call_begin("", word);
	(void)CMPXCHG(word, 0, 1);
	call_end(0, -1, true);
}

void uaccess_cmpxchg_pages(void)
{
	int *word;

	only_with_exchange();
	word = (int *)anon_pages(1, RW);
	exchange("fresh", word, 0, 0);
	exchange("other", word, 5, 1);
	if (fork_child() == 0)
		for (;;)
			pause();
	exchange("after-fork", word, 1, 1);
}

void uaccess_cmpxchg_hole(void)
{
	only_with_exchange();
	exchange_fails(hole_page());
}

/* It was written before, so that its entry in the page table is that of a dirty page. */
void uaccess_cmpxchg_ro(void)
{
	char *page;

	only_with_exchange();
	page = anon_pages(1, RW);
	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, PROT_READ));
	exchange_fails(page);
}

void uaccess_cmpxchg_eof(void)
{
	only_with_exchange();
	exchange_fails(map_file(tmpfile_of(0), 1, RW, MAP_SHARED));
}

/* -- flushing caches: what a JIT calls when it has written code ---------------------------------- */

static void flush(char *start, char *end, const char *touch)
{
#ifdef CACHEFLUSH
	call("", touch, CACHEFLUSH(start, end));
#else
	(void)start, (void)end, (void)touch;
	not_applicable("no system call flushes a range of the caches on this arch");
#endif
}

void uaccess_flush_hole(void)
{
	char *end = edge();

	flush(end - 64, end + 64, end);
}

void uaccess_flush_to_end(void)
{
	char *end = edge();

	flush(end - 64, end, end);
}

void uaccess_flush_backwards(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	flush(page + 64, page, page);
}

void uaccess_flush_kernel(void)
{
	char *kernel = (char *)KERNEL_ADDR;

	flush(kernel, kernel + 64, kernel);
}
