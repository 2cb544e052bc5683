// SPDX-License-Identifier: GPL-2.0-only
/*
 * How faults are counted: for the task (getrusage: major and minor), for the machine (pgfault) and
 * for the locks that were taken (vma_lock_* of /proc/vmstat).
 */
#include "fault.h"

#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>

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

/* One of perf's software events, of this thread in whatever mode; with a sample of each or without. */
static int software_event(uint64_t kind, bool sampled)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = kind,
		.sample_period = sampled, .sample_type = sampled ? PERF_SAMPLE_ADDR : 0,
	};
	int event = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (event < 0 && errno == ENOSYS)
		not_applicable("perf_event_open=ENOSYS");
	return must("perf_event_open", event);
}

static uint64_t counted(int event)
{
	uint64_t count;

	prove("the event's count", read(event, &count, sizeof(count)) == sizeof(count));
	return count;
}

static void store_to(char *page)
{
	arch_store(page, 1, INT);
}

static void read_to(char *page)
{
	prove("read", read_into(page) == 64);
}

/* Done twice: the first time is for what it needs of the program itself. */
static void count_event(const char *label, int event, void (*touch)(char *page))
{
	char *pages = anon_pages(2, RW);
	uint64_t before = 0, after = 0;

	for (int i = 0; i < 2; i++) {
		before = counted(event);
		touch(pages + i * page_size);
		after = counted(event);
	}
	step(label);
	result("ok(%d)", (int)(after - before));
}

void counters_perf(void)
{
	int event = software_event(PERF_COUNT_SW_PAGE_FAULTS, false);

	count_event("store", event, store_to);
	count_event("read", event, read_to);
}

/* By kind, as other steps tell what the task itself counts. The first time is for what it needs. */
static void count_kinds(const char *label, char *page, void (*touch)(char *page))
{
	int minor = software_event(PERF_COUNT_SW_PAGE_FAULTS_MIN, false);
	int major = software_event(PERF_COUNT_SW_PAGE_FAULTS_MAJ, false);
	uint64_t min = 0, maj = 0;

	for (int i = 0; i < 2; i++) {
		char *to = i ? page : anon_pages(1, RW);
		uint64_t min_before = counted(minor), maj_before = counted(major);

		touch(to);
		min = counted(minor) - min_before;
		maj = counted(major) - maj_before;
	}
	step(label);
	result("ok maj=%d min=%d", (int)maj, (int)min);
}

void counters_perf_kinds(void)
{
	count_kinds("store", anon_pages(1, RW), store_to);
	count_kinds("read", anon_pages(1, RW), read_to);
}

/* A hole in a file of ramfs, which needs no disk: the page is not in the cache, and has to be read. */
static char *uncached_page(void)
{
	int fd = file_on("ramfs", NULL);

	must("ftruncate", ftruncate(fd, page_size));
	return map_file(fd, 1, PROT_READ, MAP_SHARED);
}

static void load_from(char *page)
{
	arch_load(page, INT);
}

void counters_perf_uncached(void)
{
	count_kinds("", uncached_page(), load_from);
}

/* -- the address that perf has for a fault */

#define SPOT 24		/* in the page */

struct sample {
	struct perf_event_header header;
	uint64_t address;
};

static struct perf_event_mmap_page *sample_ring(int event)
{
	return must("mmap", mmap(NULL, 2 * page_size, RW, MAP_SHARED, event, 0));
}

/* The address of one that nobody has looked at. */
static bool next_sample(struct perf_event_mmap_page *ring, uint64_t *address)
{
	const struct sample *s = (void *)((char *)ring + page_size + ring->data_tail % page_size);

	if (ring->data_tail == ((volatile struct perf_event_mmap_page *)ring)->data_head)
		return false;
	__sync_synchronize();
	prove("a sample", s->header.type == PERF_RECORD_SAMPLE && s->header.size == sizeof(*s));
	*address = s->address;
	ring->data_tail += sizeof(*s);
	return true;
}

/* Those that have come since the last look: how many, and the last one's address. */
static int new_samples(struct perf_event_mmap_page *ring, uint64_t *address)
{
	int n = 0;

	while (next_sample(ring, address))
		n++;
	return n;
}

/* The result is where in the page the one sample of the touch is. */
static void sample(const char *label, uint64_t kind, void (*touch)(char *at))
{
	int event = software_event(kind, true), n = 0;
	struct perf_event_mmap_page *ring = sample_ring(event);
	char *pages = anon_pages(2, RW);
	uint64_t address = 0, spot = 0;

	for (int i = 0; i < 2; i++) {
		while (new_samples(ring, &address))
			;	/* the looks at a new ring are faults, too */
		touch(pages + i * page_size + SPOT);
		n = new_samples(ring, &address);
		spot = address - (uintptr_t)(pages + i * page_size);
	}
	detail(label, "0x%llx", (unsigned long long)address);
	close(event);
	step(label);
	if (n == 1 && spot < page_size)
		result("ok(%d)", (int)spot);
	else
		result("ok(%d) data=changed", n);
}

static int held;

/* The kernel stores an int there. */
static void put_to(char *at)
{
	prove("FIONREAD", ioctl(held, FIONREAD, at) == 0);
}

void counters_perf_address(void)
{
	held = pipe_holding(64);
	sample("store", PERF_COUNT_SW_PAGE_FAULTS, store_to);
	sample("put", PERF_COUNT_SW_PAGE_FAULTS, put_to);
	sample("minor-store", PERF_COUNT_SW_PAGE_FAULTS_MIN, store_to);
	sample("minor-put", PERF_COUNT_SW_PAGE_FAULTS_MIN, put_to);
}

/* How many faults at that address perf was told of: those of the program itself are elsewhere. */
static void result_told(const char *label, struct perf_event_mmap_page *ring, const char *at)
{
	uint64_t address;
	int n = 0;

	while (next_sample(ring, &address))
		n += address == (uintptr_t)at;
	step(label);
	result("ok(%d)", n);
}

void counters_perf_user_end(void)
{
	char *hole = hole_page(), *end = user_end();	/* ahead of the event: a hole has been a page, with its own fault */
	struct perf_event_mmap_page *ring = sample_ring(software_event(PERF_COUNT_SW_PAGE_FAULTS, true));

	load("hole", hole, INT);
	result_told("told", ring, hole);
	load("end", end, INT);
	result_told("end-told", ring, end);
}

static void store_tagged(char *at)
{
	call_code(code_store_int, tagged(at, 0x5a));
}

void counters_perf_tagged(void)
{
	need_tags();
	sample("store", PERF_COUNT_SW_PAGE_FAULTS, store_tagged);
	sample("minor-store", PERF_COUNT_SW_PAGE_FAULTS_MIN, store_tagged);
}

/* Memory that is locked is never without its pages: also what it grew by, where it was moved to. */
void counters_mremap_locked(void)
{
	char *old = anon_pages(1, RW), *to = anon_pages(4, RW);

	must("mlock", mlock(old, page_size));
	count_faults();
	call("mremap", old, mremap(old, page_size, 4 * page_size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 : -1);
	store("old", to, INT);
	store("new", to + 3 * page_size, INT);
}

/* Locked as they come, and then at once: what is locked is there, and does not fault. */
void counters_mlock_after_onfault(void)
{
	char *pages = anon_pages(4, RW);
	int there = 0;

	must("mlock2", mlock2(pages, 4 * page_size, MLOCK_ONFAULT));
	prove("none is there", !present(pages) && !present(pages + 3 * page_size));
	call("mlock", pages, mlock(pages, 4 * page_size));
	for (int i = 0; i < 4; i++)
		there += present(pages + i * page_size);
	step("there");
	result("ok(%d)", there);
}

void counters_uncached_load(void)
{
	char *page = uncached_page();

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

static void result_there(const char *label, const char *page)
{
	step(label);
	result("ok(%d)", present(page));
}

/* The file is in the cache on both sides, and more than those are asked for. */
void counters_fault_around_edges(void)
{
	const size_t around = 64 * KIB;
	char *pages = map_file(tmpfile_of(5 * around), 5 * around / page_size, PROT_READ, MAP_SHARED);
	char *block = (char *)(((uintptr_t)pages + 2 * around - 1) & -around);

	prove("none is there", !present(block - page_size) && !present(block) && !present(block + around));
	load("load", block + around / 2, INT);
	result_there("before", block - page_size);
	result_there("first", block);
	result_there("last", block + around - page_size);
	result_there("behind", block + around);
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

	count_faults();
	read_between("", page, 0);
}

/* Faults that come to nothing. */
void counters_eof_load(void)
{
	char *page = map_file(tmpfile_of(1), 2, RW, MAP_SHARED) + page_size;

	count_faults();
	load("", page + 8, INT);
}

void counters_denied_load(void)
{
	char *page = anon_pages(1, PROT_NONE);

	count_faults();
	load("", page, INT);
}

void counters_eof_read(void)
{
	char *page = map_file(tmpfile_of(1), 2, RW, MAP_SHARED) + page_size;
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
	count_faults();
	task('A');
	read_between("read", page, page_size);
}

static void load_by_kind(char *page)
{
	task('A');
	count_kinds("load", page, load_from);
}

static void read_by_kind(char *page)
{
	task('A');
	count_kinds("read", page, read_to);
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

void counters_perf_retried(void)
{
	close(software_event(PERF_COUNT_SW_PAGE_FAULTS_MIN, false));	/* n/a where there is none */
	uffd_counted(load_by_kind);
	uffd_counted(read_by_kind);
}

/* -- faults as the machine counts them ----------------------------------------------------------- */

#define TOUCHED 64

static void touch_each(char *page)
{
	for (int i = 0; i < TOUCHED; i++)
		arch_store(page + i * page_size, 1, INT);
}

/* It waits for each page anew; nobody else runs, and who resolves touches nothing new. */
static struct stuck waits_for_each(void)
{
	struct watch pages = { .start = anon_pages(TOUCHED, RW), .size = TOUCHED * page_size };
	struct stuck child = watched_child(pages, touch_each);

	see_stuck(&child);
	return child;
}

static void bring(struct stuck *child, int i)
{
	struct uffdio_zeropage zero = {
		.range = { (uintptr_t)child->page + i * page_size, page_size },
	};

	must("UFFDIO_ZEROPAGE", ioctl(child->uffd, UFFDIO_ZEROPAGE, &zero));
}

void counters_uffd_pgfault(void)
{
	struct stuck child = waits_for_each();
	long before, after;

	read_vmstat();
	before = vmstat("pgfault");
	for (int i = 0; i < TOUCHED; i++) {
		if (i)
			read_fault(&child);
		bring(&child, i);
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

static char *anon(void)
{
	return anon_pages(TOUCHED, RW);
}

void counters_lock_user(void)
{
	count_locks(anon, touch_each);
}

static void grow(char *page)
{
	for (int i = 1; i <= TOUCHED; i++)
		arch_store(page - i * page_size, 1, INT);
}

void counters_lock_growth(void)
{
	count_locks(growable_region, grow);
}

/* Of the last pages that count_locks() had done this with. */
static void result_times(const char *label, int n)
{
	step(label);
	result("ok(%d)", n);
}

static volatile int reads;

static void read_each(char *page)
{
	reads = 0;
	for (int i = 0; i < TOUCHED; i++) {
		int fd = pipe_of_others(64);
		char *to = page + i * page_size;

		reads += read(fd, to, 64) == 64 && filled_from(to, 64, OTHER);
		close(fd);
	}
}

void counters_lock_kernel(void)
{
	count_locks(anon, read_each);
	result_times("read", reads);
}

static volatile int denials;

/* The load is done again, and denied again, until it has been often enough. */
static void deny(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	if (++denials == TOUCHED)
		mprotect(info->si_addr, page_size, PROT_READ);
}

static void load_denied(char *page)
{
	struct sigaction sa = { .sa_sigaction = deny, .sa_flags = SA_SIGINFO };

	denials = 0;
	must("sigaction", sigaction(SIGSEGV, &sa, NULL));
	must("mprotect", mprotect(page, page_size, PROT_NONE));
	arch_load(page, INT);
}

void counters_lock_denied(void)
{
	count_locks(anon, load_denied);
	result_times("denied", denials);
}

/* A segment of System V's shared memory: its mapping has a fault handler and nothing else. */
static char *segment(void)
{
	int id = shmget(IPC_PRIVATE, TOUCHED * page_size, 0600);
	char *page;

	if (id < 0 && errno == ENOSYS)
		not_applicable("no System V shared memory");
	must("shmget", id);
	page = must("shmat", shmat(id, NULL, 0));
	must("IPC_RMID", shmctl(id, IPC_RMID, NULL));
	return page;
}

void counters_lock_handler(void)
{
	count_locks(segment, touch_each);
}

/* From the wait for the second page to that for the last one. */
static void look_at_waits(struct lock_events *least)
{
	struct stuck child = waits_for_each();
	struct lock_events before = lock_events();

	for (int i = 0; i < TOUCHED - 1; i++) {
		if (i == 1)	/* what this loop needs of the program is there */
			before = lock_events();
		bring(&child, i);
		read_fault(&child);
	}
	least_since(least, before);
	bring(&child, TOUCHED - 1);
	join_child(child.pid);
	close(child.uffd);
}

void counters_lock_uffd(void)
{
	struct lock_events least = NO_LOOK;

	for (int looks = LOOKS; looks; looks--)
		look_at_waits(&least);
	result_lock_events(least);
}
