// SPDX-License-Identifier: GPL-2.0-only
/* File mappings and the end of their file. The files are memfds: tmpfs, whatever /tmp is. */
#include "fault.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define RW (PROT_READ | PROT_WRITE)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* The first byte of the page that lies behind the end of a file of one byte. */
static char *beyond_eof(int flags)
{
	char *page = map_file(tmpfile_of(1), 2, RW, flags) + page_size;

	prove("page behind the end absent", !present(page));
	return page;
}

void file_eof_tail(void)
{
	char *page = map_file(tmpfile_of(1), 2, RW, MAP_SHARED);

	load_known("", page + page_size - 1, BYTE, 0);
}

void file_eof_shared_load(void)
{
	load("", beyond_eof(MAP_SHARED) + 8, INT);
}

void file_eof_private_load(void)
{
	load("", beyond_eof(MAP_PRIVATE) + 8, INT);
}

void file_eof_store(void)
{
	store("", beyond_eof(MAP_SHARED) + 8, INT);
}

/* A page of a file that was written through this mapping, and then cut off the file. */
static char *truncated_page(int flags)
{
	int fd = tmpfile_of(page_size <= 4096 ? page_size : 4096);
	char *page = map_file(fd, 1, RW, flags);

	fill(page, 64);
	prove("page present", present(page));
	must("ftruncate", ftruncate(fd, 0));
	return page;
}

void file_truncated(void)
{
	load("", truncated_page(MAP_SHARED), INT);
}

void file_truncated_cow(void)
{
	load("", truncated_page(MAP_PRIVATE), INT);
}

void file_eof_read(void)
{
	char *page = beyond_eof(MAP_SHARED);
	int fd = pipe_holding(64);

	transfer("", page, 64, read(fd, page, 64));
}

void file_eof_write(void)
{
	char *page = beyond_eof(MAP_SHARED);
	int fd = pipe_sink();

	transfer("", page, 64, write(fd, page, 64));
}

void file_eof_write_file(void)
{
	char *page = beyond_eof(MAP_SHARED);
	int fd = tmpfile_of(0);

	transfer("", page, 64, write(fd, page, 64));
}

void file_hole_punch(void)
{
	int fd = tmpfile_of(1);
	char *page;

	must("ftruncate", ftruncate(fd, page_size));
	page = map_file(fd, 1, RW, MAP_SHARED);
	fill(page, page_size);
	prove("page present", present(page));
	if (call("punch", page, fallocate(fd, PUNCH, 0, page_size)) == 0)
		load_data("load", page, INT, 0);
}

void file_wronly_fd(void)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", tmpfile_of(1));
	fd = must("open O_WRONLY", open(path, O_WRONLY | O_CLOEXEC));
	call("", NULL, mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0));
}

void file_eof_exec(void)
{
	int fd = tmpfile_of(1);

	jump("", map_file(fd, 2, PROT_READ | PROT_EXEC, MAP_SHARED) + page_size);
}

/* Neither a page nor a right to execute one: which is asked for first? */
void file_eof_exec_nx(void)
{
	jump("", map_file(tmpfile_of(1), 2, PROT_READ, MAP_SHARED) + page_size);
}

/* A buffer that begins in the last page of a file; 128 bytes of it are there. */
void file_eof_read_part(void)
{
	char *beyond = beyond_eof(MAP_SHARED);
	int fd = tmpfile_of(256);

	transfer("", beyond, 256, pread(fd, beyond - 128, 256, 0));
}

void file_eof_open(void)
{
	char *beyond = beyond_eof(MAP_SHARED);

	call("", beyond, open(beyond, O_RDONLY | O_CLOEXEC));
}

/* Whoever makes copies by the time of a file would miss what is stored through a mapping. */
void file_store_time(void)
{
	static const struct timespec unlike[2] = { { .tv_sec = 0x7fffffff }, { .tv_sec = 0x7fffffff } };
	int fd = tmpfile_of(64);
	char *page = map_file(fd, 1, RW, MAP_SHARED);
	struct stat file;

	must("futimens", futimens(fd, unlike));
	store("store", page, INT);
	must("fstat", fstat(fd, &file));
	step("changed");
	result("ok(%d)", file.st_mtime != unlike[0].tv_sec);
}

/* The page is in the page table when the right to write comes, and needs no fault for it. */
void file_store_made_writable(void)
{
	int fd = tmpfile_of(64);
	char *page = map_file(fd, 1, PROT_READ, MAP_SHARED);

	load_data("load", page, INT, pattern(0, INT));
	must("mprotect", mprotect(page, page_size, RW));
	store("store", page, INT);
	load_known("again", page, INT, stored(INT));
	call("unmap", page, munmap(page, page_size));
}

/* The second of three pages that begin in the second page of the file. */
void file_remove_offset(void)
{
	int fd = tmpfile_of(4 * page_size);
	char *all = map_file(fd, 4, PROT_READ, MAP_SHARED);
	char *pages = must("mmap", mmap(NULL, 3 * page_size, RW, MAP_SHARED, fd, page_size));

	prove("the file is filled", filled(all, 4 * page_size));
	load_known("before", pages + page_size, INT, pattern(2 * page_size, INT));
	call("remove", pages, madvise(pages + page_size, page_size, MADV_REMOVE));
	load_data("load", pages + page_size, INT, 0);
	step("others");
	result("ok(%d)", filled(all, 2 * page_size) && filled_from(all + 3 * page_size, page_size, 3 * page_size));
}

void file_remove_refused(void)
{
	int fd = tmpfile_of(page_size);
	char *locked = map_file(fd, 1, RW, MAP_SHARED), *private = map_file(fd, 1, RW, MAP_PRIVATE);
	char *read_only = map_file(fd, 1, PROT_READ, MAP_SHARED), *anonymous = anon_pages(1, RW);

	must("mlock", mlock(locked, page_size));
	call("locked", locked, madvise(locked, page_size, MADV_REMOVE));
	call("anonymous", anonymous, madvise(anonymous, page_size, MADV_REMOVE));
	call("private", private, madvise(private, page_size, MADV_REMOVE));
	step("kept");
	result("ok(%d)", filled(locked, page_size));
	call("read-only", read_only, madvise(read_only, page_size, MADV_REMOVE));
}

/* Cut off, and given back before anybody looked: no signal, but nothing of what was there. */
void file_truncate_extend(void)
{
	int fd = tmpfile_of(4096);
	char *page = map_file(fd, 1, RW, MAP_SHARED);

	fill(page, 64);
	prove("page present", present(page));
	must("ftruncate to 0", ftruncate(fd, 0));
	must("ftruncate back", ftruncate(fd, page_size));
	load_data("", page, INT, 0);
}

/* A hole in the file is not one in a private copy; truncation takes that away, too. */
void file_hole_punch_cow(void)
{
	int fd = tmpfile_of(1);
	char *page;

	must("ftruncate", ftruncate(fd, page_size));
	page = map_file(fd, 1, RW, MAP_PRIVATE);
	fill(page, 64);
	if (call("punch", page, fallocate(fd, PUNCH, 0, page_size)) == 0)
		load_data("load", page, INT, pattern(0, INT));
}

static int read_only_fd(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", tmpfile_of(64));
	return must("open O_RDONLY", open(path, O_RDONLY | O_CLOEXEC));
}

void file_rdonly_fd_write(void)
{
	int fd = read_only_fd();

	call("", NULL, mmap(NULL, page_size, RW, MAP_SHARED, fd, 0));
}

/* A mapping keeps what its file allowed; a private one never stores to the file. */
void file_rdonly_fd_mprotect(void)
{
	int fd = read_only_fd();
	char *shared = map_file(fd, 1, PROT_READ, MAP_SHARED);
	char *private = map_file(fd, 1, PROT_READ, MAP_PRIVATE);

	call("shared", shared, mprotect(shared, page_size, RW));
	if (call("private", private, mprotect(private, page_size, RW)) == 0)
		store("store", private, INT);
	load_data("file", shared, INT, pattern(0, INT));
}

void file_dev_zero(void)
{
	int fd = must("open /dev/zero", open("/dev/zero", O_RDWR | O_CLOEXEC));
	char *page = map_file(fd, 1, RW, MAP_PRIVATE);

	load_data("load", page, INT, 0);
	if (store("store", page, INT))
		load_data("again", page, INT, stored(INT));
}

static void eof_as(const char *label, char *eof, void (*action)(void))
{
	pid_t child;

	step(label);
	child = fork_child();
	if (child == 0) {
		action();
		arch_load(eof, INT);
		child_done();
	}
	result_fate(child);
}

static void block_sigbus(void)
{
	sigset_t bus;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	must("sigprocmask", sigprocmask(SIG_BLOCK, &bus, NULL));
}

static void ignore_sigbus(void)
{
	must("signal", signal(SIGBUS, SIG_IGN) == SIG_ERR ? -1 : 0);
}

void file_eof_blocked(void)
{
	char *eof = map_file(tmpfile_of(0), 1, PROT_READ, MAP_SHARED);

	eof_as("blocked", eof, block_sigbus);
	eof_as("ignored", eof, ignore_sigbus);
}

/* -- a file system without room ------------------------------------------------------------- */

/* Two pages of a file on a tmpfs of one, which the first of them has taken. */
static int fd_of_full(void)
{
	char options[32];
	int fd;

	snprintf(options, sizeof(options), "size=%zu", page_size);
	fd = file_on("tmpfs", options);
	must("ftruncate", ftruncate(fd, 2 * page_size));
	fill(map_file(fd, 1, RW, MAP_SHARED), 64);
	prove("no room", pwrite(fd, "", 1, page_size) < 0);
	return fd;
}

static char *page_of_full(int fd, int flags)
{
	char *page = map_file(fd, 2, RW, flags) + page_size;

	prove("page absent", !present(page));
	return page;
}

void file_full_pwrite(void)
{
	int fd = fd_of_full();

	call("pwrite", NULL, pwrite(fd, "", 1, page_size));
	call("fallocate", NULL, fallocate(fd, 0, page_size, page_size));
}

void file_full_load(void)
{
	int fd = fd_of_full();

	load("shared", page_of_full(fd, MAP_SHARED) + 8, INT);
	load("private", page_of_full(fd, MAP_PRIVATE) + 8, INT);
}

void file_full_store(void)
{
	int fd = fd_of_full();
	char *page = page_of_full(fd, MAP_SHARED);

	store("shared", page + 8, INT);
	store("private", page_of_full(fd, MAP_PRIVATE) + 8, INT);
	must("punch", fallocate(fd, PUNCH, 0, page_size));
	if (store("room", page + 8, INT))
		load_data("load", page + 8, INT, stored(INT));
}

void file_full_read(void)
{
	char *page = page_of_full(fd_of_full(), MAP_SHARED);
	int fd = pipe_holding(64);

	transfer("", page, 64, read(fd, page, 64));
}

void file_full_write(void)
{
	char *page = page_of_full(fd_of_full(), MAP_SHARED);
	int fd = pipe_sink();

	transfer("", page, 64, write(fd, page, 64));
}

/* -- a disk that cannot be read any more ------------------------------------------------------ */

#define DEVICE_SIZE (16 * MIB)
#define FAR (DEVICE_SIZE / 2)		/* further than is read ahead */

/* A mapping of the disk, whose first page was loaded before it broke. */
static char *broken_disk(int flags)
{
	const char *device = map_device(disk_device("raw"), DEVICE_SIZE);
	int fd = must("open device", open(device, O_RDWR | O_CLOEXEC));
	char *start = map_file(fd, DEVICE_SIZE / page_size, RW, flags);
	unsigned char cached;

	arch_load(start, INT);
	must("mincore", mincore(start + FAR, page_size, &cached));
	prove("page not in the cache", !(cached & 1));
	close(fd);
	break_device();
	return start;
}

static void drop_disk(char *start)
{
	must("munmap", munmap(start, DEVICE_SIZE));
	unmap_device();
}

void file_broken_load(void)
{
	char *start = broken_disk(MAP_SHARED);

	load("cached", start + 8, INT);
	load("load", start + FAR + 8, INT);
	load("again", start + FAR + 8, INT);
	drop_disk(start);
}

void file_broken_store(void)
{
	char *start = broken_disk(MAP_PRIVATE);

	store("cached", start + 8, INT);
	store("store", start + FAR + 8, INT);
	drop_disk(start);
}

void file_broken_read(void)
{
	char *start = broken_disk(MAP_PRIVATE), *page = start + FAR;
	int fd = pipe_holding(64);

	transfer("", page, 64, read(fd, page, 64));
	drop_disk(start);
}

void file_broken_write(void)
{
	char *start = broken_disk(MAP_SHARED), *page = start + FAR;
	int fd = pipe_sink();

	transfer("", page, 64, write(fd, page, 64));
	drop_disk(start);
}
