// SPDX-License-Identifier: GPL-2.0-only
/*
 * user_events: the kernel sets a bit in the program's memory while somebody traces an event. It
 * writes there on its own account, at any time, whatever has become of the memory.
 */
#include "fault.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* As in linux/user_events.h, which is younger than the libc that we build with. */
struct registration {
	uint32_t size;
	uint8_t bit, bytes;
	uint16_t flags;
	uint64_t addr, name;
	uint32_t index;
} __attribute__((packed));

struct cancellation {
	uint32_t size;
	uint8_t bit, reserved;
	uint16_t reserved2;
	uint64_t addr;
} __attribute__((packed));

#define REGISTER _IOWR('*', 0, struct registration *)
#define CANCEL _IOW('*', 2, struct cancellation *)

#define TRACING "/tmp/tracing"

/* -- parts ------------------------------------------------------------------------------- */

static int events_file(void)
{
	int fd;

	if (mkdir(TRACING, 0700) < 0 && errno != EEXIST)
		setup_failed("mkdir");
	must("unshare", unshare(CLONE_NEWNS));
	if (mount("tracefs", TRACING, "tracefs", 0, NULL) != 0) {
		if (errno == ENODEV)
			not_applicable("this kernel has no tracefs");
		setup_failed("mount");
	}
	fd = open(TRACING "/user_events_data", O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		not_applicable("this kernel has no user_events_data");
	return must("open", fd);
}

static const char *event(void)
{
	static char name[32];

	snprintf(name, sizeof(name), "faults%d", getpid());
	return name;
}

static int register_bit(int fd, const char *name, const void *addr, int bytes, int bit)
{
	struct registration reg = { .size = sizeof(reg), .bit = bit, .bytes = bytes,
				    .addr = (uintptr_t)addr, .name = (uintptr_t)name };

	return ioctl(fd, REGISTER, &reg);
}

/* An event with its bit 0 here. */
static uint32_t *registered_page(int fd)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	memset(page, 0, page_size);
	must("register", register_bit(fd, event(), page, 4, 0));
	return (uint32_t *)page;
}

static int open_switch(void)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "/events/user_events/%s/enable", event());
	return must("open enable", open(path, O_WRONLY | O_CLOEXEC));
}

static void turn(int fd, bool on)
{
	must("write enable", pwrite(fd, on ? "1" : "0", 1, 0));
}

static size_t read_text(int fd, char *text, size_t size)
{
	ssize_t n = read(fd, text, size - 1);

	close(fd);
	return n > 0 ? n : 0;
}

/* What the program sees of its bit, once work that was put off has had its time. */
static void result_bit(const char *label, const uint32_t *word, bool later)
{
	for (int i = 0; later && i < 20 && !(*(volatile const uint32_t *)word & 1); i++)
		pause_ms(50);
	step(label);
	result("ok(%u)", *(volatile const uint32_t *)word & 1);
}

/* -- what may be registered ----------------------------------------------------------------- */

static void try_register(const char *label, const void *addr, int bytes, int bit)
{
	int fd = events_file();

	call(label, addr, register_bit(fd, event(), addr, bytes, bit));
}

static char *zeroes(void)
{
	return memset(anon_pages(1, PROT_READ | PROT_WRITE), 0, page_size);
}

void events_odd_sizes(void)
{
	char *page = zeroes();
	int fd = events_file();

	call("one", page, register_bit(fd, event(), page, 1, 0));
	call("two", page, register_bit(fd, event(), page, 2, 0));
	call("three", page, register_bit(fd, event(), page, 3, 0));
	call("sixteen", page, register_bit(fd, event(), page, 16, 0));
}

void events_size_4(void)
{
	try_register("", zeroes(), 4, 0);
}

void events_size_8(void)
{
	try_register("", zeroes(), 8, 0);
}

void events_bits(void)
{
	char *page = zeroes();
	int fd = events_file();

	call("last-of-4", page, register_bit(fd, event(), page, 4, 31));
	call("past-4", page, register_bit(fd, event(), page, 4, 32));
	call("last-of-8", page, register_bit(fd, event(), page + 8, 8, 63));
	call("past-8", page, register_bit(fd, event(), page + 8, 8, 64));
}

void events_unaligned(void)
{
	char *page = zeroes();
	int fd = events_file();

	call("four", page, register_bit(fd, event(), page + 2, 4, 0));
	call("eight", page, register_bit(fd, event(), page + 4, 8, 0));
}

void events_kernel_address(void)
{
	try_register("", (void *)KERNEL_ADDR, 4, 0);
}

void events_hole(void)
{
	int fd = events_file();
	char *hole = hole_page();

	call("", hole, register_bit(fd, event(), hole, 4, 0));
}

void events_read_only(void)
{
	try_register("", anon_pages(1, PROT_READ), 4, 0);
}

void events_duplicate(void)
{
	char *page = zeroes();
	int fd = events_file();

	call("first", page, register_bit(fd, event(), page, 4, 3));
	call("again", page, register_bit(fd, event(), page, 4, 3));
	call("next-bit", page, register_bit(fd, event(), page, 4, 4));
}

/* -- the bit ------------------------------------------------------------------------------------ */

void events_toggle(void)
{
	uint32_t *word = registered_page(events_file());
	int enable = open_switch();

	turn(enable, true);
	result_bit("on", word, false);
	turn(enable, false);
	result_bit("off", word, false);
}

void events_cancel(void)
{
	int fd = events_file();
	uint32_t *word = registered_page(fd);
	struct cancellation cancel = { .size = sizeof(cancel), .addr = (uintptr_t)word };

	turn(open_switch(), true);
	result_bit("on", word, false);
	call("cancel", word, ioctl(fd, CANCEL, &cancel));
	result_bit("cancelled", word, false);
}

/* The page goes and comes back empty: the bit must come. */
void events_dontneed(void)
{
	uint32_t *word = registered_page(events_file());
	int enable = open_switch();

	must("madvise", madvise(word, page_size, MADV_DONTNEED));
	prove("page absent", !present(word));
	turn(enable, true);
	result_bit("", word, true);
}

/* Clock ticks that the kernel's workers have used so far. */
static unsigned long worker_ticks(void)
{
	unsigned long sum = 0, workers = 0, user, kernel;
	struct dirent *entry;
	DIR *proc = opendir("/proc");

	prove("/proc is there", proc);
	while ((entry = readdir(proc))) {
		char path[300], text[512], *at;
		int fd;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		fd = isdigit((unsigned char)*entry->d_name) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		if (fd < 0)
			continue;
		text[read_text(fd, text, sizeof(text))] = '\0';
		at = strrchr(text, ')');
		if (strstr(text, "(kworker/") && at &&
		    sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			   &user, &kernel) == 2) {
			sum += user + kernel;
			workers++;
		}
	}
	closedir(proc);
	prove("workers are seen", workers);
	return sum;
}

/* Whether one goes on for ever: a quarter of the time is more than any other work takes. */
static void result_workers(void)
{
	unsigned long before, ticks;

	pause_ms(100);		/* what is under way */
	before = worker_ticks();
	pause_ms(500);
	ticks = worker_ticks() - before;
	detail("worker-ticks", "%lu", ticks);
	step("spinning");
	result("ok(%d)", ticks * 4 >= (unsigned long)sysconf(_SC_CLK_TCK) / 2);
}

static void *map_at(void *addr)
{
	void *page = mmap(addr, page_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	prove("mapped at the same address", page == addr && !present(page));
	return page;
}

/* Another page at the address, which the kernel has to bring. */
void events_remapped(void)
{
	uint32_t *word = registered_page(events_file());
	int enable = open_switch();

	must("munmap", munmap(word, page_size));
	map_at(word);
	turn(enable, true);
	result_bit("", word, true);
}

/* A turn of the switch waits for RCU, however many events it turns: ten at a time. */
void events_unmapped(void)
{
	int fd = events_file(), enable;
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), name[48];

	for (int bit = 0; bit < 10; bit++) {
		snprintf(name, sizeof(name), "%s_%d", event(), bit);
		must("register", register_bit(fd, name, page, 4, bit));
	}
	enable = must("open enable", open(TRACING "/events/user_events/enable", O_WRONLY | O_CLOEXEC));
	must("munmap", munmap(page, page_size));
	step("turns");
	for (int i = 0; i < 100; i++) {
		turn(enable, i % 2 == 0);
		if (i % 10 == 0)
			detail("turns", "%d", i);
	}
	result("ok");
	result_workers();
	map_at(page);
	turn(enable, true);
	result_bit("mapped", (uint32_t *)page, true);
}

/* The registration names an address, and not the memory that was there. */
void events_mremap(void)
{
	uint32_t *word = registered_page(events_file());
	char *room = anon_pages(1, PROT_NONE);
	uint32_t *moved;
	int enable = open_switch();

	moved = mremap(word, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	prove("moved", (char *)moved == room && unmapped(word, page_size));
	turn(enable, true);
	pause_ms(200);
	result_bit("", moved, false);
}

void events_fork(void)
{
	uint32_t *word = registered_page(events_file());
	int enable = open_switch(), go[2];
	char byte = 0;
	pid_t child;

	must("pipe", pipe(go));
	child = fork_child();
	if (child == 0) {
		prove("told to go", read(go[0], &byte, 1) == 1);
		result_bit("child", word, true);
		child_done();
	}
	turn(enable, true);
	result_bit("parent", word, true);
	prove("tell to go", write(go[1], &byte, 1) == 1);
	join_child(child);
}

/* -- writing an event ------------------------------------------------------------------------------ */

/* Its index, and where its data should be. */
static long write_event(int fd, void *data)
{
	uint32_t index = 0;
	struct iovec parts[] = { { &index, sizeof(index) }, { data, 4 } };

	return writev(fd, parts, ARRAY_SIZE(parts));
}

void events_write_disabled(void)
{
	int fd = events_file();
	uint32_t *word = registered_page(fd);

	transfer("", word, 8, write_event(fd, word));
}

void events_write_hole(void)
{
	int fd = events_file();
	uint32_t *word = registered_page(fd);
	char *hole;

	turn(open_switch(), true);
	hole = hole_page();
	transfer("good", word, 8, write_event(fd, word));
	transfer("hole", hole, 8, write_event(fd, hole));
}

/* -- a page that nobody brings ---------------------------------------------------------------------- */

/* The one who enables goes on; the worker waits in his stead, and does his work when it can. */
void events_worker_waits(void)
{
	uint32_t *word = registered_page(events_file());
	int enable = open_switch();
	struct uffdio_zeropage zeroes = { .range = { (uintptr_t)word, page_size } };
	struct stuck worker = { .page = (char *)word };

	must("madvise", madvise(word, page_size, MADV_DONTNEED));
	worker.uffd = watch((struct watch){ .start = (char *)word });
	call("enable", word, pwrite(enable, "1", 1, 0));
	read_fault(&worker);
	must("zeropage", ioctl(worker.uffd, UFFDIO_ZEROPAGE, &zeroes));
	result_bit("bit", word, true);
}

static int waiting_fd;

static void register_here(char *page)
{
	detail("register", "%d", register_bit(waiting_fd, "faultswait", page, 4, 0));
}

void events_kill_in_register(void)
{
	struct stuck child;

	waiting_fd = events_file();
	child = stuck_child(register_here);
	kill_stuck(&child);
}
