// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stack growth: what kernels compare an address with before a stack VMA grows. exec gives a
 * stack 128K more than it uses, so an edge is always taken from what /proc shows, never from
 * the stack pointer alone.
 */
#include "fault.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define K 1024UL
#define M (1024UL * 1024)

static struct vma stack(void)
{
	struct vma vma;

	prove("stack in maps", find_stack(&vma));
	prove("stack grows down", grows_down((void *)vma.start));
	return vma;
}

/* The address is below the stack VMA, and the stack is the first VMA above it. */
static char *below_stack(uintptr_t addr)
{
	struct vma above;

	prove("below the stack", addr < stack().start);
	prove("stack is next above", find_vma((void *)addr, &above) && above.start == stack().start);
	return (char *)addr;
}

/* SP just above the lowest byte of the stack, the touch so many bytes below SP. */
static void store_below_sp(size_t bytes)
{
	uintptr_t sp = stack().start + 64;

	store_with_sp("", (void *)sp, below_stack(sp - bytes), BYTE);
}

void stack_below_usp_256(void)
{
	store_below_sp(256);
}

void stack_below_usp_257(void)
{
	store_below_sp(257);
}

static void store_below_frame(size_t bytes)
{
	store("", below_stack(((uintptr_t)arch_sp() - bytes) & ~63UL), INT);
}

void stack_fp_1m(void)
{
	store_below_frame(1 * M);
}

void stack_fp_7m(void)
{
	store_below_frame(7 * M);
}

void stack_past_rlimit(void)
{
	struct rlimit limit;

	must("getrlimit", getrlimit(RLIMIT_STACK, &limit));
	prove("stack limit is 8M", limit.rlim_cur == 8 * M);
	store_below_frame(9 * M);
}

void stack_rlimit_low(void)
{
	struct rlimit limit;

	must("getrlimit", getrlimit(RLIMIT_STACK, &limit));
	limit.rlim_cur = 256 * K;
	must("setrlimit", setrlimit(RLIMIT_STACK, &limit));
	store("", below_stack(stack().end - 300 * K), INT);
}

/* So many pages of growth, towards a neighbour so many pages below the stack; the gap is 256. */
static void grow_towards_neighbour(size_t pages, size_t distance, int prot)
{
	uintptr_t start = stack().start;
	char *touch = below_stack(start - pages * page_size);
	char *neighbour = (char *)start - distance * page_size;

	prove("room for a neighbour", unmapped(neighbour, touch - neighbour));
	must("mmap", mmap(neighbour, page_size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	prove("neighbour below", !unmapped(neighbour, page_size));
	store_with_sp("", (void *)(start + 64), touch, INT);
}

void stack_guard_gap(void)
{
	grow_towards_neighbour(1, 100, PROT_READ | PROT_WRITE);
}

/* Where the stack ends now the neighbour is far enough, where it would end then it is not. */
void stack_guard_gap_far(void)
{
	grow_towards_neighbour(100, 300, PROT_READ | PROT_WRITE);
}

void stack_guard_gap_none(void)
{
	grow_towards_neighbour(1, 100, PROT_NONE);
}

void stack_alloca_1m(void)
{
	char *sp = below_stack(((uintptr_t)arch_sp() - 1 * M) & ~63UL);

	store_with_sp("", sp, sp, INT);
}

void stack_read_below(void)
{
	char *buffer = below_stack(((uintptr_t)arch_sp() - 200 * K) & ~63UL);
	int fd = pipe_holding(16);

	transfer("", buffer, 16, read(fd, buffer, 16));
}

/* Within the 128K that exec adds to what the stack holds nobody asks anything. */
void stack_fp_64k(void)
{
	char *touch = (char *)(((uintptr_t)arch_sp() - 64 * K) & ~63UL);

	prove("inside the stack", (uintptr_t)touch >= stack().start);
	store("", touch, INT);
}

void stack_write_below(void)
{
	char *buffer = below_stack(((uintptr_t)arch_sp() - 200 * K) & ~63UL);
	int fd = pipe_sink();

	transfer("", buffer, 16, write(fd, buffer, 16));
}

/* A read into a page so many pages below the stack, with a mapping further below it. */
static void read_towards_neighbour(size_t pages, size_t distance, int prot)
{
	uintptr_t start = stack().start;
	char *touch = below_stack(start - pages * page_size);
	char *neighbour = touch - (distance - pages) * page_size;
	int fd = pipe_holding(16);

	must("mmap", mmap(neighbour, page_size, prot, MAP_PRIVATE | MAP_ANONYMOUS |
			  MAP_FIXED_NOREPLACE, -1, 0));
	transfer("", touch, 16, read(fd, touch, 16));
}

void stack_guard_gap_read(void)
{
	read_towards_neighbour(1, 100, PROT_READ);
}

void stack_guard_gap_read_far(void)
{
	read_towards_neighbour(100, 300, PROT_READ);
}

void stack_guard_gap_read_none(void)
{
	read_towards_neighbour(1, 100, PROT_NONE);
}

/* -- the stack as others reach it ------------------------------------------------------ */

/* Far enough below for no kernel to warn that it does not grow the stack any more. */
static char *far_below(void)
{
	return below_stack(((uintptr_t)arch_sp() - 1 * M) & ~63UL);
}

void stack_vm_write(void)
{
	char *touch = far_below(), bytes[16] = "";

	transfer("", touch, 16, process_vm_writev(getpid(), &(struct iovec){ bytes, 16 }, 1,
						  &(struct iovec){ touch, 16 }, 1, 0));
}

void stack_mem_write(void)
{
	char *touch = far_below(), bytes[16] = "";
	int fd = must("open mem", open("/proc/self/mem", O_RDWR | O_CLOEXEC));

	transfer("", touch, 16, pwrite(fd, bytes, 16, (off_t)(uintptr_t)touch));
}

void stack_poke(void)
{
	char *touch = far_below();
	pid_t pid = fork_tracee();

	call("", touch, ptrace(PTRACE_POKEDATA, pid, touch, (void *)1L));
	must("kill", kill(pid, SIGKILL));
	waitpid(pid, NULL, 0);
}

/* -- growable mappings that are not the stack ------------------------------------------ */

/* The kernel's own store, so many bytes below. */
static void read_below(const char *name, char *region, size_t distance)
{
	char *buffer = region - distance;
	int fd = pipe_holding(16);
	long done;

	call_begin(name, buffer);
	done = read(fd, buffer, 16);
	call_over();
	call_end(done, 16, done <= 0 || filled(buffer, done));
}

/* Whether a free page is to be had, for who asks for it in particular. */
static void ask_for(const char *label, char *hint)
{
	char *got = must("mmap", mmap(hint, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	must("munmap", munmap(got, page_size));
	step(label);
	result("ok(%d)", got == hint);
}

/* It is nearer to the mapping than another may come. */
void stack_growsdown_hint(void)
{
	ask_for("taken", growable_region() - 2 * page_size);
}

#define GAP 256		/* pages: stack_guard_gap */

void stack_growsdown_hint_edge(void)
{
	char *end = growable_region() - GAP * page_size;	/* of what is no nearer than it may be */

	ask_for("within", end);
	ask_for("outside", end - page_size);
}

/* Growth to a page less than the gap from a mapping, and then to just the gap. */
void stack_growsdown_gap_edge(void)
{
	size_t distance = 300;	/* in pages */
	char *region = growable_region();

	must("mmap", mmap(region - (distance + 1) * page_size, page_size, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	read_below("within", region, (distance - GAP + 1) * page_size);
	read_below("outside", region, (distance - GAP) * page_size);
}

void stack_growsdown_user(void)
{
	store("", growable_region() - 4, INT);
}

void stack_growsdown_user_far(void)
{
	store("", growable_region() - 5 * page_size, INT);
}

void stack_growsdown_read(void)
{
	read_below("", growable_region(), 10 * page_size);
}

/* 6 MiB at once, under a limit of 8 MiB. */
void stack_growsdown_read_far(void)
{
	read_below("", growable_region(), 6 * M);
}

/* The limit is of the mapping, whichever it is. */
void stack_growsdown_read_rlimit(void)
{
	read_below("", growable_region(), 9 * M);
}

/* Which has a page already. */
void stack_growsdown_rlimit_edge(void)
{
	char *region = growable_region();

	read_below("past", region, 8 * M);
	read_below("within", region, 8 * M - page_size);
}

/*
 * Four pages of growth of a mapping that is locked in memory, of which so many bytes may be: no more
 * than the 64 KiB that nobody may lock before 5.16, which are eight pages of alpha's.
 */
static void read_below_locked(size_t limit)
{
	char *region = growable_region();
	struct rlimit locked = { .rlim_cur = limit, .rlim_max = limit };

	must("mlock", mlock(region, page_size));
	must("setrlimit", setrlimit(RLIMIT_MEMLOCK, &locked));
	read_below("", region, 4 * page_size);
}

void stack_growsdown_locked(void)
{
	read_below_locked(5 * page_size);
}

void stack_growsdown_locked_rlimit(void)
{
	read_below_locked(4 * page_size);
}

/* The limit of address space; the one before. */
static rlim_t limit_address_space(rlim_t size)
{
	struct rlimit limit;
	rlim_t before;

	must("getrlimit", getrlimit(RLIMIT_AS, &limit));
	before = limit.rlim_cur;
	limit.rlim_cur = size;
	must("setrlimit", setrlimit(RLIMIT_AS, &limit));
	return before;
}

/* It may have no more address space than it has. */
void stack_growsdown_address_space(void)
{
	char *region = growable_region();
	rlim_t before = limit_address_space(page_size);

	read_below("", region, page_size);
	limit_address_space(before);	/* the runtime's last look maps a page */
}

/* How many pages of address space the program has. */
static size_t address_space(void)
{
	char text[64] = "";
	int fd = must("open statm", open("/proc/self/statm", O_RDONLY | O_CLOEXEC));

	must("read statm", read(fd, text, sizeof(text) - 1));
	close(fd);
	return strtoul(text, NULL, 10);
}

/* It may have one page more. */
void stack_growsdown_address_space_edge(void)
{
	char *region = growable_region();
	rlim_t before = limit_address_space((address_space() + 1) * page_size);

	read_below("past", region, 2 * page_size);
	read_below("within", region, page_size);
	limit_address_space(before);
}

/* By more pages at once than the machine has, and then by half as many. */
void stack_growsdown_overcommit(void)
{
	struct rlimit none = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	struct sysinfo info;
	size_t memory;
	char *region;

	must("sysinfo", sysinfo(&info));
	memory = (info.totalram + info.totalswap) * info.mem_unit;
	must("setrlimit", setrlimit(RLIMIT_STACK, &none));
	region = growable_page(page_above(memory + GROWTH_ROOM));
	read_below("past", region, memory + page_size);
	read_below("half", region, memory / 2);
}

/*
 * Moved up from a low address: what has been touched keeps the offset that it had there, in pages, and
 * has no more to grow by.
 */
void stack_growsdown_moved(void)
{
	size_t offset = 4;
	char *low = growable_page((char *)(offset * page_size)), *to = page_above(GROWTH_ROOM);
	char *region;

	*low = 1;
	region = must("mremap", mremap(low, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	prove("still grows down", region == to && grows_down(region));
	read_below("within", region, offset * page_size);
	read_below("past", region, (offset + 1) * page_size);
}

/* Another that grows, two pages below: there is no gap to be kept from it. */
void stack_growsdown_neighbour(void)
{
	char *region = growable_region();

	growable_page(region - 2 * page_size);
	read_below("", region, page_size);
}

/* PROT_GROWSDOWN: from here down to the start of the mapping, which must be one that grows. */
void stack_growsdown_mprotect(void)
{
	char *fixed = anon_pages(2, PROT_READ | PROT_WRITE), *region = growable_region();
	char *buffer = region - 2 * page_size;
	int fd = pipe_holding(16);

	prove("grown by the kernel", read(fd, buffer, 16) == 16);
	call("grows", region, mprotect(region, page_size, PROT_READ | PROT_GROWSDOWN));
	store("below", buffer, INT);
	call("fixed", fixed, mprotect(fixed + page_size, page_size, PROT_READ | PROT_GROWSDOWN));
}

/* What would grow may only be read: it is the right that is missing. */
void stack_growsdown_ro_store(void)
{
	char *region = growable_region();

	must("mprotect", mprotect(region, page_size, PROT_READ));
	store("", region - INT, INT);
}

/* The kernel's own store, which no stack pointer is asked about, in the page below the limit. */
void stack_growsdown_low_read(void)
{
	char *start = growable_page((char *)(4 * page_size));

	prove("nothing below", unmapped(NULL, 4 * page_size));
	read_below("", start, 4 * page_size);
}

/* A page at a time, down to the second of all. */
void stack_growsdown_low_bound(void)
{
	char *start;

	need_low_pages();
	start = growable_page((char *)(3 * page_size));
	prove("nothing below", unmapped(NULL, 3 * page_size));
	read_below("page-2", start, page_size);
	read_below("page-1", start, 2 * page_size);
}

/* Down towards address 0, a page at a time, until it is refused; below any program. */
void stack_growsdown_low(void)
{
	size_t pages = 4;
	char *start = growable_page((char *)(pages * page_size));

	prove("nothing below", unmapped(NULL, pages * page_size));
	pages = store_series("", start - 4, -(long)page_size, pages, INT);
	detail("lowest", "0x%lx", (unsigned long)start - pages * page_size);
}
