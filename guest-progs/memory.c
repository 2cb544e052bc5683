// SPDX-License-Identifier: GPL-2.0-only
/* Edges: built, and then proven by what /proc/self shows of them. */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/mman.h>

size_t page_size;

/* -- pattern -------------------------------------------------------------------------------- */

#define PERIOD 251	/* a prime: it does not repeat with the page */

static unsigned char pattern_byte(size_t position)
{
	return 1 + position % PERIOD;
}

/* A period of it, to be copied: most scenarios fill three pages, and not every CPU divides. */
static const unsigned char *period(void)
{
	static unsigned char bytes[PERIOD];

	for (size_t i = 0; !bytes[PERIOD - 1] && i < PERIOD; i++)
		bytes[i] = pattern_byte(i);
	return bytes;
}

static size_t part(size_t left)
{
	return left < PERIOD ? left : PERIOD;
}

void fill(void *addr, size_t n)
{
	for (size_t at = 0; at < n; at += PERIOD)
		memcpy((char *)addr + at, period(), part(n - at));
}

bool filled(const void *addr, size_t n)
{
	bool same = true;

	for (size_t at = 0; same && at < n; at += PERIOD)
		same = !memcmp((const char *)addr + at, period(), part(n - at));
	return same;
}

/* What is left of the period at that position, and not more than n. */
static size_t run(size_t position, size_t n)
{
	size_t left = PERIOD - position % PERIOD;

	return left < n ? left : n;
}

void fill_from(void *addr, size_t n, size_t position)
{
	size_t first = run(position, n);

	memcpy(addr, period() + position % PERIOD, first);
	fill((char *)addr + first, n - first);
}

bool filled_from(const void *addr, size_t n, size_t position)
{
	size_t first = run(position, n);

	return !memcmp(addr, period() + position % PERIOD, first) &&
	       filled((const char *)addr + first, n - first);
}

bool zeroed(const void *addr, size_t n)
{
	const char *byte = addr;

	while (n && !*byte)
		byte++, n--;
	return !n;
}

/* The first n bytes of the file; the rest is not looked at. */
bool file_filled(int fd, long n)
{
	static char buffer[4096];

	return n <= 0 || (pread(fd, buffer, n, 0) == n && filled(buffer, n));
}

bool file_holds(int fd, long n)
{
	return lseek(fd, 0, SEEK_END) == (n > 0 ? n : 0) && file_filled(fd, n);
}

uint64_t pattern(size_t position, enum width width)
{
	union { unsigned char byte[8]; uint8_t b; uint16_t h; uint32_t i; uint64_t l; } u;

	for (size_t i = 0; i < sizeof(u.byte); i++)
		u.byte[i] = pattern_byte(position + i);
	return width == BYTE ? u.b : width == HALF ? u.h : width == INT ? u.i : u.l;
}

/* -- what is mapped ------------------------------------------------------------------------- */

/* A file of /proc read line by line, without stdio: its buffers would change what we read. */
struct lines {
	int fd;
	ssize_t size, at;
	char buffer[4096];
};

static bool next_line(struct lines *in, char *line, size_t size)
{
	size_t n = 0;

	for (;;) {
		if (in->at == in->size) {
			in->size = read(in->fd, in->buffer, sizeof(in->buffer));
			in->at = 0;
			if (in->size <= 0)
				return false;
		}
		if (in->buffer[in->at] == '\n')
			break;
		if (n < size - 1)
			line[n++] = in->buffer[in->at];
		in->at++;
	}
	in->at++;
	line[n] = '\0';
	return true;
}

/* START-END PERMS OFFSET DEVICE INODE NAME; by hand, as a scenario reads dozens of them. */
static bool parse_vma(const char *line, struct vma *vma)
{
	const char *perms, *name = line;
	char *at;

	*vma = (struct vma){ .start = strtoul(line, &at, 16) };
	if (*at != '-')
		return false;
	vma->end = strtoul(at + 1, &at, 16);
	perms = at + strspn(at, " ");
	if (at == perms || strlen(perms) < 4)
		return false;
	memcpy(vma->perms, perms, 4);
	for (int field = 0; name && field < 5; field++) {
		name = strchr(name, ' ');
		name = name ? name + strspn(name, " ") : NULL;
	}
	snprintf(vma->name, sizeof(vma->name), "%s", name ? name : "");
	return true;
}

/* The VMA that `is` wants, in the order of addresses; false when there is none. */
static bool search(bool (*is)(const struct vma *vma, uintptr_t addr), uintptr_t addr,
		   struct vma *vma)
{
	static struct lines maps;
	bool found = false;
	char line[256];

	maps.fd = must("open maps", open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
	maps.at = maps.size = 0;
	while (!found && next_line(&maps, line, sizeof(line)))
		found = parse_vma(line, vma) && is(vma, addr);
	close(maps.fd);
	return found;
}

static bool ends_above(const struct vma *vma, uintptr_t addr)
{
	return vma->end > addr;
}

static bool is_stack(const struct vma *vma, uintptr_t addr)
{
	(void)addr;
	return !strcmp(vma->name, "[stack]");
}

bool find_vma(const void *addr, struct vma *vma)
{
	return search(ends_above, (uintptr_t)addr, vma);
}

bool find_stack(struct vma *vma)
{
	return search(is_stack, 0, vma);
}

/* x86's [vsyscall] page is shown in maps, and is none. */
static bool is_user(const struct vma *vma, uintptr_t addr)
{
	return vma->end > addr && strcmp(vma->name, "[vsyscall]");
}

struct vma last_vma(void)
{
	struct vma vma, last = { 0 };

	while (search(is_user, last.end, &vma))
		last = vma;
	return last;
}

/* The page is in the user's part: it can be had, or something is there. */
static bool in_user_part(uintptr_t page)
{
	void *got = mmap((void *)page, page_size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (got == MAP_FAILED)
		return errno == EEXIST;
	must("munmap", munmap(got, page_size));
	return got == (void *)page;
}

/* Mappings may end far below by themselves: the rest is for who asks for it. So we ask, bit by bit. */
char *user_end(void)
{
	uintptr_t end = 0;

	for (uintptr_t bit = UINTPTR_MAX / 2 + 1; bit >= page_size; bit /= 2)
		if (in_user_part(end + bit - page_size))
			end += bit;
	return (char *)end;
}

/* 0, or what mincore() says of a page: ENOMEM where no mapping is. */
static int mincore_errno(uintptr_t page)
{
	unsigned char in_core;

	return mincore((void *)page, page_size, &in_core) == 0 ? 0 : errno;
}

/*
 * mincore() is believed where it says that there is nothing, which spares the text of /proc/self/maps.
 * Where it says that there is something, that may be what QEMU's user mode keeps free for itself.
 */
bool unmapped(const void *addr, size_t n)
{
	uintptr_t page = (uintptr_t)addr & -page_size;
	struct vma vma;

	if ((uintptr_t)addr + n <= page + page_size && mincore_errno(page) == ENOMEM)
		return true;
	return !find_vma(addr, &vma) || vma.start >= (uintptr_t)addr + n;
}

/* What smaps says behind a key about the VMA at addr; false where it does not. */
static bool smaps(const void *addr, const char *key, char *value, size_t size)
{
	static struct lines in;
	struct vma vma;
	char line[256];
	bool inside = false, found = false;

	in.fd = must("open smaps", open("/proc/self/smaps", O_RDONLY | O_CLOEXEC));
	in.at = in.size = 0;
	while (!found && next_line(&in, line, sizeof(line))) {
		if (parse_vma(line, &vma))
			inside = vma.start <= (uintptr_t)addr && (uintptr_t)addr < vma.end;
		else if (inside && !strncmp(line, key, strlen(key)))
			found = snprintf(value, size, "%s", line + strlen(key)) >= 0;
	}
	close(in.fd);
	return found;
}

bool grows_down(const void *addr)
{
	char flags[200];

	return smaps(addr, "VmFlags:", flags, sizeof(flags)) && strstr(flags, " gd");
}

unsigned long smaps_kib(const void *addr, const char *key)
{
	char value[200];

	return smaps(addr, key, value, sizeof(value)) ? strtoul(value, NULL, 10) : 0;
}

static uint64_t pagemap(const void *addr)
{
	off_t at = (off_t)((uintptr_t)addr / page_size) * 8;
	int fd = must("open pagemap", open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	uint64_t entry = 0;

	must("read pagemap", pread(fd, &entry, sizeof(entry), at));
	close(fd);
	return entry;
}

uintptr_t wide(uint64_t addr)
{
	if (addr > UINTPTR_MAX)
		not_applicable("32-bit addresses");
	return addr;
}

bool present(const void *addr)
{
	return pagemap(addr) >> 63;
}

void result_present(const void *addr)
{
	step("there");
	result("ok(%d)", present(addr));
}

uint64_t frame_number(const void *addr)
{
	uint64_t number = pagemap(addr) & ((1ULL << 55) - 1);

	prove("page frame told", present(addr) && number);
	return number;
}

bool write_protected(const void *addr)
{
	return pagemap(addr) >> 57 & 1;
}

/* -- edges ------------------------------------------------------------------------------------ */

char *anon_pages(size_t n, int prot)
{
	return must("mmap", mmap(NULL, n * page_size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

void huge_pool(size_t size, unsigned int pages)
{
	unsigned long kib = size / KIB;
	char pool[96], count[16];

	snprintf(pool, sizeof(pool), "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages", kib);
	snprintf(count, sizeof(count), "%u", pages);
	if (!set_knob(pool, count))
		not_applicable("no huge pages of %lu KiB", kib);
}

char *huge_pages(size_t size, size_t n, int flags, int fd)
{
	flags |= MAP_HUGETLB | __builtin_ctzl(size) << MAP_HUGE_SHIFT;
	return must("mmap huge pages", mmap(NULL, n * size, PROT_READ | PROT_WRITE, flags, fd, 0));
}

/* A setting of the kernel, or a fact that it tells in such a file. */
static size_t read_knob(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t value;

	if (!file)
		not_applicable("no %s", path);
	prove("a number", fscanf(file, "%zu", &value) == 1);
	fclose(file);
	return value;
}

void need_low_pages(void)
{
	size_t least = read_knob("/proc/sys/vm/mmap_min_addr");

	if (least > page_size)
		not_applicable("vm.mmap_min_addr=%zu", least);
}

char *transparent_huge_page(size_t *size)
{
	static const char enabled[] = "/sys/kernel/mm/transparent_hugepage/enabled";
	char *area, *page;

	*size = read_knob("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
	if (!set_knob(enabled, "madvise"))		/* off in small machines */
		not_applicable("no %s", enabled);
	if (*size > 32 * MIB)
		not_applicable("huge pages of %lu MiB are more than this machine has", *size / MIB);
	area = anon_pages(2 * *size / page_size, PROT_READ | PROT_WRITE);
	page = (char *)(((uintptr_t)area + *size - 1) & ~(*size - 1));
	if (madvise(page, *size, MADV_HUGEPAGE) < 0)
		not_applicable("madvise(MADV_HUGEPAGE)=%s", errno_name(errno));
	fill(page, *size);
	prove("a huge page", smaps_kib(page, "AnonHugePages:") == *size / KIB);
	return page;
}

#define MAX_HOLES 8

static char *holes[MAX_HOLES];
static int n_holes;

void prove_holes(void)
{
	for (int i = 0; i < n_holes; i++)
		prove("hole still unmapped", unmapped(holes[i], page_size));
}

char *hole_page(void)
{
	char *pages = anon_pages(3, PROT_READ | PROT_WRITE), *hole = pages + page_size;

	/*
	 * Touched all three: a page that outlives its VMA is to be seen as data. Not with the start of
	 * the pattern, which is what scenarios copy there.
	 */
	fill_from(pages, 3 * page_size, OTHER);
	must("munmap", munmap(hole, page_size));
	prove("vma below hole", mincore_errno((uintptr_t)pages) == 0);
	prove("hole unmapped", unmapped(hole, page_size));
	prove("vma above hole", mincore_errno((uintptr_t)hole + page_size) == 0);
	prove("few holes", n_holes < MAX_HOLES);
	return holes[n_holes++] = hole;
}

char *growable_page(char *at)
{
	char *page = must("mmap", mmap(at, page_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0));

	prove("mapped where asked", page == at);
	prove("grows down", grows_down(page));
	return page;
}

char *page_above(size_t room)
{
	char *start = must("mmap room", mmap(NULL, room + page_size, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));

	must("munmap room", munmap(start, room + page_size));
	prove("room below", unmapped(start, room));
	return start + room;
}

char *growable_region(void)
{
	return growable_page(page_above(GROWTH_ROOM));
}

char *edge(void)
{
	return hole_page();
}

int tmpfile_of(size_t size)
{
	static unsigned char bytes[4096];
	int fd = must("memfd_create", memfd_create("faults", MFD_CLOEXEC));

	for (size_t n, done = 0; done < size; done += n) {
		n = size - done < sizeof(bytes) ? size - done : sizeof(bytes);
		fill_from(bytes, n, done);
		prove("file written", write(fd, bytes, n) == (ssize_t)n);
	}
	return fd;
}

char *map_file(int fd, size_t n, int prot, int flags)
{
	return must("mmap file", mmap(NULL, n * page_size, prot, flags, fd, 0));
}

static void make_pipe(int fds[2])
{
	must("pipe", pipe2(fds, O_CLOEXEC));
}

static int pipe_from(size_t position, size_t n)
{
	char bytes[1024];
	int fds[2];

	make_pipe(fds);
	prove("pipe fits", n <= sizeof(bytes));
	fill_from(bytes, n, position);
	prove("pipe written", write(fds[1], bytes, n) == (ssize_t)n);
	return fds[0];
}

int pipe_holding(size_t n)
{
	return pipe_from(0, n);
}

int pipe_of_others(size_t n)
{
	return pipe_from(OTHER, n);
}

int pipe_sink(void)
{
	int fds[2];

	make_pipe(fds);
	return fds[1];
}

/* Its other end once more: without waiting, should there be nothing. errno is that of the write still. */
bool pipe_holds(int sink, size_t position, long n)
{
	char path[40], bytes[1024];
	int fd, saved_errno = errno;
	long there;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", sink);
	fd = must("open pipe", open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	there = read(fd, bytes, sizeof(bytes));
	close(fd);
	errno = saved_errno;
	return n > 0 ? there == n && filled_from(bytes, n, position) : there <= 0;
}

long read_into(char *page)
{
	return read(pipe_of_others(64), page, 64);
}

long write_from(char *page)
{
	return write(pipe_sink(), page, 64);
}

static long wake_op(int flag, void *word, int op)
{
	static futex_word first;

	return syscall(FUTEX, &first, FUTEX_WAKE_OP | flag, 1L, 1L, word, op);
}

long change_futex(void *word, int op)
{
	return wake_op(FUTEX_PRIVATE_FLAG, word, op);
}

long change_shared_futex(void *word, int op)
{
	return wake_op(0, word, op);
}

bool set_knob(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return false;
	must(path, fd);
	must(path, write(fd, value, strlen(value)));
	close(fd);
	return true;
}

void put_return_stub(void *addr)
{
	static const unsigned char stub[] = RETURN_STUB;

	memcpy(addr, stub, sizeof(stub));
	arch_sync_code(addr, sizeof(stub));
}

void put_odd_return_stub(void *addr)
{
	static const unsigned char stub[] = ODD_RETURN_STUB;

	memcpy(addr, stub, sizeof(stub));
	arch_sync_code(addr, sizeof(stub));
}

bool bring_page(siginfo_t *info)
{
	char *page = (char *)((uintptr_t)info->si_addr & -page_size);

	repair = NULL;
	return mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1, 0) == page;
}
