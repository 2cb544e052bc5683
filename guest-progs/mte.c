// SPDX-License-Identifier: GPL-2.0-only
/*
 * The top byte of an address: ignored by the machine, and for memory mapped with PROT_MTE a tag
 * that must be the memory's. On other arches it is part of the address.
 */
#include "fault.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* The same in all headers that know them. */
#ifndef PROT_MTE
#define PROT_MTE 0x20
#endif
#ifndef PR_MTE_TCF_SYNC
#define PR_MTE_TCF_SYNC (1UL << 1)
#define PR_MTE_TCF_ASYNC (1UL << 2)
#endif
#ifndef SA_EXPOSE_TAGBITS
#define SA_EXPOSE_TAGBITS 0x800
#endif
#define PEEK_TAGS 33	/* PTRACE_PEEKMTETAGS, in no libc that we build with */
#define POKE_TAGS 34
#define ALL_TAGS (0xffffUL << 3)	/* irg may give any: nobody asks */

#define GRANULE 16
#define GOOD 5
#define BAD 6

/* -- parts ------------------------------------------------------------------------------- */

char *tagged(const void *addr, unsigned int tag)
{
	return (char *)(uintptr_t)((uint64_t)(uintptr_t)addr | (uint64_t)tag << 56);
}

void need_tags(void)
{
	if (!code_set_tag)
		not_applicable("the top byte belongs to the address on this arch");
}

static void check_tags(unsigned long mode)
{
	must("prctl", prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE | ALL_TAGS | mode, 0, 0, 0));
}

static void set_tags(char *from, size_t n, unsigned int tag)
{
	for (size_t i = 0; i < n; i += GRANULE)
		call_code(code_set_tag, tagged(from + i, tag));
}

/* A page of the pattern, its first n bytes tagged; without its tag in the pointer. */
static char *tagged_page(size_t n, unsigned int tag)
{
	char *page;

	need_tags();
	page = mmap(NULL, page_size, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	if (page == MAP_FAILED && errno == EINVAL)
		not_applicable("no memory tagging: mmap says EINVAL");
	must("mmap", page == MAP_FAILED ? -1 : 0);
	fill(page, page_size);
	set_tags(page, n, tag);
	return page;
}

static void load_tagged(const char *label, const char *addr, unsigned int tag)
{
	execute(label, code_load_int, tagged(addr, tag), addr);
}

static void store_tagged(const char *label, const char *addr, unsigned int tag)
{
	execute(label, code_store_int, tagged(addr, tag), addr);
}

void expose_tags(int sig)
{
	struct sigaction action;

	must("sigaction", sigaction(sig, NULL, &action));
	action.sa_flags |= SA_EXPOSE_TAGBITS;
	must("sigaction", sigaction(sig, &action, NULL));
}

/* -- the top byte, tagging or not ----------------------------------------------------------- */

void mte_tbi_hole(void)
{
	char *hole = hole_page();

	need_tags();
	load_tagged("", hole, 0x5a);
}

void mte_tbi_hole_expose(void)
{
	char *hole = tagged(hole_page(), 0x5a);

	need_tags();
	expose_tags(SIGSEGV);
	execute("", code_load_int, hole, hole);
}

void mte_tbi_eof_expose(void)
{
	char *file = map_file(tmpfile_of(64), 2, PROT_READ, MAP_SHARED);
	char *beyond = tagged(file + page_size, 0x5a);

	need_tags();
	expose_tags(SIGBUS);
	execute("", code_load_int, beyond, beyond);
}

void mte_tbi_misaligned_expose(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), *at = tagged(page + 15, 0x5a);

	need_tags();
	fill(page, page_size);
	expose_tags(SIGBUS);
	execute("", code_atomic, at, at);
}

static void read_tagged(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	int fd = pipe_holding(16);
	long done;

	call_begin("", page);
	done = read(fd, tagged(page, 0x5a), 16);
	call_end(done, 16, done > 0 ? filled(page, done) : zeroed(page, 16));
}

void mte_tbi_read(void)
{
	need_tags();
	read_tagged();
}

/* The kernel takes pointers with a top byte from here on. */
static void hand_over_tagged(void)
{
	need_tags();
	if (prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE, 0, 0, 0) != 0)
		not_applicable("no tagged address ABI: prctl says %s", errno_name(errno));
}

void mte_tbi_read_enabled(void)
{
	hand_over_tagged();
	read_tagged();
}

/* What we would be if we were executed again: the scenario that asks for nothing, and is refused. */
void mte_tbi_exec(void)
{
	char said[64] = "";
	int out[2];
	pid_t child;

	hand_over_tagged();
	must("pipe", pipe(out));
	step("executed");
	child = fork_child();
	if (child == 0) {
		must("dup2", dup2(out[1], STDOUT_FILENO));
		execl("/proc/self/exe", "faults", "mte/tbi-read", NULL);
		_exit(1);
	}
	close(out[1]);
	while (read(out[0], said + strlen(said), sizeof(said) - 1 - strlen(said)) > 0)
		;
	join_child(child);
	said[strcspn(said, "\n")] = 0;
	result("%s", said);
}

/* The second page of a file of three, not in the page table. */
static char *absent_page(int fd, int flags)
{
	char *page = map_file(fd, 3, PROT_READ | PROT_WRITE, flags) + page_size;

	prove("page absent", !present(page));
	return page;
}

/* Which page of a file is meant is computed from the address: with its top byte it would be far behind the end. */
void mte_tbi_file(void)
{
	int fd = tmpfile_of(3 * page_size), from = pipe_of_others(64), to = pipe_sink();
	char *page;
	long done;

	hand_over_tagged();
	page = absent_page(fd, MAP_SHARED);
	load_tagged("load", page, 0x5a);
	load_known("loaded", page, INT, pattern(page_size, INT));

	page = absent_page(fd, MAP_PRIVATE);
	store_tagged("store", page, 0x5a);
	load_known("stored", page, INT, (uint32_t)(uintptr_t)page);
	load_known("beside", page + 8, INT, pattern(page_size + 8, INT));

	page = absent_page(fd, MAP_SHARED);
	call_begin("write", page);
	done = write(to, tagged(page, 0x5a), 64);
	call_end(done, 64, pipe_holds(to, page_size, done));

	page = absent_page(fd, MAP_SHARED);
	call_begin("read", page);
	done = read(from, tagged(page, 0x5a), 64);
	call_end(done, 64, done <= 0 || (filled_from(page, done, OTHER) &&
					 filled_from(page + 64, page_size - 64, page_size + 64)));
}

/* The kernel adds five to the word. */
static void add_five(const char *label, futex_word *word, uint32_t sum)
{
	long ret;

	call_begin(label, word);
	ret = change_futex(tagged(word, 0x5a), FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0));
	call_end(ret, 0, *word == sum);
}

/* The kernel stores to it with faults disabled, and then brings the page in without one. */
void mte_tbi_futex(void)
{
	futex_word *fresh = (futex_word *)anon_pages(1, PROT_READ | PROT_WRITE);
	futex_word *loaded = (futex_word *)anon_pages(1, PROT_READ | PROT_WRITE);
	futex_word *shared = (futex_word *)anon_pages(1, PROT_READ | PROT_WRITE);
	char byte = 0;
	int go[2];
	pid_t pid;

	hand_over_tagged();
	prove("zero page", arch_load(loaded, INT) == 0 && !present(fresh));
	*shared = 7;
	must("pipe", pipe(go));
	pid = fork_child();
	if (pid == 0) {
		must("read", read(go[0], &byte, 1));
		load_data("child", shared, INT, 7);
		child_done();
	}
	add_five("fresh", fresh, 5);
	add_five("loaded", loaded, 5);
	add_five("after-fork", shared, 12);
	must("write", write(go[1], &byte, 1));
	join_child(pid);
}

/* The tracer has asked for nothing: a debugger hands on the pointers of the program as they are. */
void mte_tbi_peek(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	pid_t child;
	long word, ret;

	need_tags();
	fill(page, page_size);
	child = fork_tracee();
	call_begin("", page);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, child, tagged(page, 0x5a), NULL);
	ret = errno ? -1 : 0;
	call_end(ret, -1, ret < 0 || (uint64_t)word == pattern(0, LONG));
}

/* -- the program's own accesses ---------------------------------------------------------------- */

void mte_right_tag(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	load_tagged("load", page, GOOD);
	store_tagged("store", page, GOOD);
}

void mte_sync_load(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	load_tagged("", page + 4, BAD);
}

/* The page was there before it was to have tags. */
void mte_mprotect_present(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	need_tags();
	fill(page, page_size);
	if (mprotect(page, page_size, PROT_READ | PROT_WRITE | PROT_MTE) != 0)
		not_applicable("no memory tagging: mprotect says %s", errno_name(errno));
	set_tags(page, GRANULE, GOOD);
	check_tags(PR_MTE_TCF_SYNC);
	load_tagged("right", page + 4, GOOD);
	load_tagged("wrong", page + 4, BAD);
}

void mte_sync_store(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	store_tagged("", page + 4, BAD);
}

/* Each granule has a tag of its own, and is loaded from with it: that of another one is not its. */
void mte_neighbours(void)
{
	static const char *const labels[] = { "first", "second", "third", "fourth" };
	char *page = tagged_page(GRANULE, 1);

	for (int i = 1; i < 4; i++)
		set_tags(page + i * GRANULE, GRANULE, 1 + i);
	check_tags(PR_MTE_TCF_SYNC);
	for (int i = 0; i < 4; i++)
		load_tagged(labels[i], page + i * GRANULE, 1 + i);
}

/* Both granules have the pointer's tag: once from an even to an odd one, once the other way. */
void mte_straddle(void)
{
	char *page = tagged_page(4 * GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	load_tagged("first", page, GOOD);
	load_tagged("second", page + GRANULE, GOOD);
	load_tagged("third", page + 2 * GRANULE, GOOD);
	store_tagged("even-odd", page + GRANULE - 2, GOOD);
	store_tagged("odd-even", page + 2 * GRANULE - 2, GOOD);
}

void mte_sync_expose(void)
{
	char *bad = tagged(tagged_page(GRANULE, GOOD), BAD);

	check_tags(PR_MTE_TCF_SYNC);
	expose_tags(SIGSEGV);
	execute("", code_load_int, bad, bad);
}

/* The pointer has more in its top byte than a tag. */
void mte_sync_nibble(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	expose_tags(SIGSEGV);
	execute("", code_load_int, tagged(page, 0xa0 | BAD), tagged(page, BAD));
}

void mte_unchecked(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(0);
	load_tagged("", page, BAD);
}

static char *badly_tagged;

static void load_bad(int sig)
{
	(void)sig;
	load_tagged("handler", badly_tagged, BAD);
}

/* What a thread does where it must not be checked is none of its handlers' business. */
void mte_in_handler(void)
{
	badly_tagged = tagged_page(GRANULE, GOOD);
	check_tags(PR_MTE_TCF_SYNC);
	must("signal", signal(SIGUSR1, load_bad) == SIG_ERR ? -1 : 0);
	call_code(code_checks_off, NULL);
	load_tagged("off", badly_tagged, BAD);
	must("kill", kill(getpid(), SIGUSR1));
}

void mte_async_load(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_ASYNC);
	load_tagged("", page, BAD);
}

void mte_async_store(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_ASYNC);
	store_tagged("", page, BAD);
}

static long mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	return sigprocmask(how, &set, NULL);
}

void mte_async_blocked(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_ASYNC);
	must("block", mask(SIG_BLOCK));
	load_tagged("load", page, BAD);
	call("unblock", page, mask(SIG_UNBLOCK));
}

void mte_sync_blocked(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	must("block", mask(SIG_BLOCK));
	load_tagged("", page, BAD);
}

/* A program that takes either mode gets the one the CPU prefers. */
static bool both_modes(void)
{
	unsigned long both = PR_MTE_TCF_SYNC | PR_MTE_TCF_ASYNC;

	return call("prctl", NULL, prctl(PR_SET_TAGGED_ADDR_CTRL,
		PR_TAGGED_ADDR_ENABLE | ALL_TAGS | both, 0, 0, 0)) == 0;
}

void mte_both_modes(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	if (both_modes())
		load_tagged("load", page, BAD);
}

/* All CPUs prefer that mode from here on: of others only mte/both-modes cares, which asks first. */
static void prefer(const char *mode)
{
	char path[64];

	for (int cpu = 0; cpu < 64; cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/mte_tcf_preferred", cpu);

		int fd = open(path, O_WRONLY | O_CLOEXEC);

		if (fd < 0 && cpu > 0)
			return;
		if (fd < 0)
			not_applicable("no preferred mode in sysfs: open says %s", errno_name(errno));
		if (write(fd, mode, strlen(mode)) < 0)
			not_applicable("no mode %s: write says %s", mode, errno_name(errno));
		close(fd);
	}
}

void mte_asymmetric(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	prefer("asymm");
	if (both_modes()) {
		load_tagged("load", page, BAD);
		store_tagged("store", page, BAD);
	}
	prefer("async");
}

/* The page that comes back has no tags. */
void mte_dontneed(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	load_tagged("before", page, GOOD);
	must("madvise", madvise(page, page_size, MADV_DONTNEED));
	load_tagged("after-dontneed", page, GOOD);
}

void mte_fork(void)
{
	char *page = tagged_page(GRANULE, GOOD);
	pid_t child;

	check_tags(PR_MTE_TCF_SYNC);
	child = fork_child();
	if (child == 0) {
		store_tagged("right", page, GOOD);
		store_tagged("wrong", page, BAD);
		child_done();
	}
	join_child(child);
}

/* -- the kernel's accesses ------------------------------------------------------------------------ */

void mte_read_into(void)
{
	char *page = tagged_page(GRANULE, GOOD);
	int fd = pipe_holding(16);

	check_tags(PR_MTE_TCF_SYNC);
	transfer("", page, 16, read(fd, tagged(page, BAD), 16));
}

void mte_write_from(void)
{
	char *page = tagged_page(GRANULE, GOOD);
	int fd = pipe_sink();

	check_tags(PR_MTE_TCF_SYNC);
	transfer("", page, 16, write(fd, tagged(page, BAD), 16));
}

/*
 * The first granule has the pointer's tag, the second has none. No more than these two: what was
 * copied is looked at with their tags, and QEMU 7.2 has one pair of tags for a whole page.
 */
void mte_read_across(void)
{
	char *page = tagged_page(GRANULE, GOOD);
	int fd = tmpfile_of(2 * GRANULE);
	long done;

	memset(page + GRANULE, 0xff, GRANULE);
	memset(tagged(page, GOOD), 0xff, GRANULE);
	check_tags(PR_MTE_TCF_SYNC);
	call_begin("", page + GRANULE);
	done = pread(fd, tagged(page, GOOD), 2 * GRANULE, 0);
	call_end(done, 2 * GRANULE, filled(tagged(page, GOOD), GRANULE) &&
		 (done <= GRANULE || filled_from(page + GRANULE, done - GRANULE, GRANULE)));
}

void mte_write_across(void)
{
	char *page = tagged_page(GRANULE, GOOD);
	int fd = tmpfile_of(0);
	long done;

	check_tags(PR_MTE_TCF_SYNC);
	call_begin("", page + GRANULE);
	done = write(fd, tagged(page, GOOD), 64);
	call_end(done, 64, file_holds(fd, done));
}

/* Right up to three bytes before the other tag: the copy's last whole word does not fit. */
void mte_write_tail(void)
{
	char *page = tagged_page(GRANULE, GOOD);
	int fd = tmpfile_of(0);
	long done;

	fill(page + GRANULE - 3, 128);
	check_tags(PR_MTE_TCF_SYNC);
	call_begin("", page + GRANULE);
	done = write(fd, tagged(page + GRANULE - 3, GOOD), 128);
	call_end(done, 128, file_holds(fd, done));
}

void mte_async_read_into(void)
{
	char *page = tagged_page(GRANULE, GOOD);
	int fd = pipe_of_others(16);
	long done;

	check_tags(PR_MTE_TCF_ASYNC);
	call_begin("", page);
	done = read(fd, tagged(page, BAD), 16);
	call_end(done, 16, done <= 0 || filled_from(tagged(page, GOOD), done, OTHER));
}

void mte_futex(void)
{
	char *page = tagged_page(GRANULE, GOOD);

	check_tags(PR_MTE_TCF_SYNC);
	call("", page, syscall(FUTEX, tagged(page, BAD), FUTEX_WAIT, 0, NULL, NULL, 0));
}

/*
 * All items of a tree into a page of which a piece in the middle has another tag. The copy is made
 * with the tree locked, without faults, and tried again after a probe: both must see the piece.
 */
void mte_btrfs_search(void)
{
	char *page = tagged_page(page_size, GOOD);
	struct btrfs_ioctl_search_args_v2 *args = (void *)tagged(page, GOOD);
	int fd = must("open", open(mount_disk("btrfs"), O_RDONLY | O_CLOEXEC));

	memset(page, 0, page_size);
	args->key = (struct btrfs_ioctl_search_key){ .tree_id = 1, .nr_items = -1,
		.max_objectid = -1, .max_type = -1, .max_offset = -1, .max_transid = -1 };
	args->buf_size = page_size - sizeof(*args);
	check_tags(0);
	call("unchecked", page, ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, args));
	prove("items found", args->key.nr_items > 1);
	args->key.nr_items = -1;
	args->key.min_objectid = args->key.min_type = args->key.min_offset = 0;
	args->buf_size = page_size - sizeof(*args);
	set_tags(page + 256, 1024, BAD);
	check_tags(PR_MTE_TCF_SYNC);
	call("wrong", page + 256, ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, args));
	check_tags(0);
}

/* -- through ptrace ----------------------------------------------------------------------------------- */

/* Four tags of the child's memory. */
static void access_tags(const char *label, int request, pid_t child, void *at, unsigned char tag[4])
{
	struct iovec tags = { tag, 4 };

	call_begin(label, at);
	if (syscall(SYS_ptrace, request, child, at, &tags) == 0)
		call_end(tags.iov_len, 4, true);
	else
		call_end(-1, 4, true);
}

void mte_ptrace_peek(void)
{
	char *page = tagged_page(4 * GRANULE, GOOD);
	unsigned char tag[4] = { 0 };

	access_tags("peek", PEEK_TAGS, fork_tracee(), page, tag);
	step("tags");
	result("ok data=%s", tag[0] == GOOD && tag[3] == GOOD ? "match" : "changed");
}

void mte_ptrace_peek_plain(void)
{
	char *plain = anon_pages(1, PROT_READ | PROT_WRITE);
	unsigned char tag[4];

	tagged_page(0, 0);
	fill(plain, page_size);
	access_tags("", PEEK_TAGS, fork_tracee(), plain, tag);
}

void mte_ptrace_peek_hole(void)
{
	unsigned char tag[4];
	char *hole;

	tagged_page(0, 0);
	hole = hole_page();
	access_tags("", PEEK_TAGS, fork_tracee(), hole, tag);
}

/* The tags up to the end of the mapping, and how many they were. */
void mte_ptrace_peek_part(void)
{
	unsigned char tag[4] = { 0 };
	char *pages;

	tagged_page(0, 0);
	pages = must("mmap", mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE | PROT_MTE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	fill(pages, page_size);
	set_tags(pages, page_size, GOOD);
	must("munmap", munmap(pages + page_size, page_size));
	prove("the rest unmapped", unmapped(pages + page_size, page_size));
	access_tags("peek", PEEK_TAGS, fork_tracee(), pages + page_size - 3 * GRANULE, tag);
	step("tags");
	result("ok data=%s", tag[0] == GOOD && tag[1] == GOOD && tag[2] == GOOD && tag[3] == 0 ? "match" : "changed");
}

/* What the tracer writes is what the tracee then reads: copied on write from the parent's. */
void mte_ptrace_poke(void)
{
	char *page = tagged_page(4 * GRANULE, GOOD);
	unsigned char bad[4] = { BAD, BAD, BAD, BAD }, tag[4] = { 0 };
	pid_t child = fork_tracee();

	access_tags("poke", POKE_TAGS, child, page, bad);
	access_tags("peek", PEEK_TAGS, child, page, tag);
	step("tags");
	result("ok data=%s", tag[0] == BAD && tag[3] == BAD ? "match" : "changed");
	check_tags(PR_MTE_TCF_SYNC);
	load_tagged("parent", page, GOOD);
}
