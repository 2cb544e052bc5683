// SPDX-License-Identifier: GPL-2.0-only
/* Pages that have gone to swap, on a compressed RAM disk, and come back by a fault. */
#include "fault.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define RW (PROT_READ | PROT_WRITE)
#define DEVICE "/dev/zram0"
#define DEVICE_SIZE (16 * MIB)

static void set_zram(const char *name, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/zram0/%s", name);
	if (!set_knob(path, value))
		not_applicable("no %s", path);
}

/* What mkswap writes, for the page size of this machine. */
static void write_header(const char *device)
{
	int fd = must("open swap device", open(device, O_WRONLY | O_CLOEXEC));
	char *header = anon_pages(1, RW);
	uint32_t *version = (uint32_t *)(header + 1024);

	version[0] = 1;
	version[1] = DEVICE_SIZE / page_size - 1;	/* the last page */
	memcpy(header + page_size - 10, "SWAPSPACE2", 10);
	must("write header", write(fd, header, page_size));
	close(fd);
}

static void make_device(void)
{
	swapoff(DEVICE);	/* should one have been killed while it was on */
	set_zram("reset", "1");
	set_zram("disksize", "16M");
}

static void swap_on(void)
{
	make_device();
	write_header(DEVICE);
	must("swapon", swapon(DEVICE, 0));
}

static void swap_off(void)
{
	must("swapoff", swapoff(DEVICE));
}

/* It is neither in the page table nor in the swap cache any more. */
static void page_out(char *page, size_t n)
{
	unsigned char cached;

	must("MADV_PAGEOUT", madvise(page, n * page_size, MADV_PAGEOUT));
	for (size_t i = 0; i < n; i++) {
		must("mincore", mincore(page + i * page_size, page_size, &cached));
		prove("page swapped out", !present(page + i * page_size) && !(cached & 1));
	}
}

static char *swapped(void)
{
	char *page = anon_pages(1, RW);

	swap_on();
	fill(page, page_size);
	page_out(page, 1);
	return page;
}

void swap_load(void)
{
	char *page = swapped();

	count_faults();
	load_data("first", page, INT, pattern(0, INT));
	load_data("second", page, INT, pattern(0, INT));
	swap_off();
}

void swap_store(void)
{
	char *page = swapped();

	count_faults();
	store("store", page + 8, INT);
	load_data("load", page, INT, pattern(0, INT));
	swap_off();
}

void swap_read(void)
{
	char *page = swapped();

	count_faults();
	read_between("", page, page_size);
	swap_off();
}

void swap_write(void)
{
	int fd = pipe_sink();
	char *page = swapped();
	long done;

	count_faults();
	call_begin("", page);
	done = write(fd, page, 64);
	call_over();
	call_end(done, 64, pipe_holds(fd, 0, done));
	swap_off();
}

void swap_process_vm(void)
{
	char *page = swapped(), *good = anon_pages(1, RW);
	struct iovec to = { .iov_base = good, .iov_len = 64 };
	struct iovec from = { .iov_base = page, .iov_len = 64 };

	long done;

	memset(good, 0xff, 64);
	count_faults();
	call_begin("", good);
	done = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	call_over();
	call_end(done, 64, done <= 0 || filled(good, done));
	swap_off();
}

void swap_dontneed(void)
{
	char *page = swapped();

	must("madvise", madvise(page, page_size, MADV_DONTNEED));
	count_faults();
	load_data("", page, INT, pattern(0, INT));
	swap_off();
}

void swap_swapoff(void)
{
	char *page = swapped();

	call("swapoff", NULL, swapoff(DEVICE));
	count_faults();
	load_data("load", page, INT, pattern(0, INT));
}

/* A child (A) and its parent (B) share the page: the first brings it, the second finds it. */
void swap_shared(void)
{
	char *page = anon_pages(1, RW);
	pid_t pid;

	swap_on();
	fill(page, page_size);
	page_out(page, 1);
	pid = fork_child();
	if (pid == 0) {
		task('A');
		count_faults();
		load_data("load", page, INT, pattern(0, INT));
		child_done();
	}
	join_child(pid);
	task('B');
	count_faults();
	load_data("load", page, INT, pattern(0, INT));
	swap_off();
}

/* Each of the two stores where the other one does not, and looks what the other one's is. */
void swap_forked(void)
{
	char *pages = anon_pages(2, RW), byte = 0;
	int go[2];
	pid_t pid;

	swap_on();
	fill(pages, 2 * page_size);
	page_out(pages, 2);
	must("pipe", pipe(go));
	pid = fork_child();
	if (pid == 0) {
		task('A');
		must("read", read(go[0], &byte, 1));
		load_data("kept", pages, INT, pattern(0, INT));
		store("store", pages + page_size, INT);
		child_done();
	}
	task('B');
	store("store", pages, INT);
	must("write", write(go[1], &byte, 1));
	join_child(pid);
	load_data("kept", pages + page_size, INT, pattern(page_size, INT));
	swap_off();
}

/* -- a device that fails ----------------------------------------------------------------------- */

static const char *mapped;

/* A page in swap that cannot be read back. */
static char *lost(void)
{
	char *page = anon_pages(1, RW);

	make_device();
	mapped = map_device(DEVICE, DEVICE_SIZE);
	write_header(mapped);
	must("swapon", swapon(mapped, 0));
	fill(page, page_size);
	page_out(page, 1);
	break_device();
	return page;
}

static void swap_off_mapped(void)
{
	must("swapoff", swapoff(mapped));
	unmap_device();
}

void swap_error_load(void)
{
	load("", lost() + 8, INT);
	swap_off_mapped();
}

void swap_error_read(void)
{
	int fd = pipe_holding(64);
	char *page = lost();

	transfer("", page, 64, read(fd, page, 64));
	swap_off_mapped();
}

void swap_error_swapoff(void)
{
	char *page = lost();

	call("swapoff", page, swapoff(mapped));
	unmap_device();
	load_data("load", page, INT, pattern(0, INT));
}

void swap_threads(void)
{
	swap_on();
	brought_in_by_all(page_out);
	swap_off();
}
