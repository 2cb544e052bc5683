// SPDX-License-Identifier: GPL-2.0-only
/*
 * userfaultfd: what the task that touches the page sees (A), and what the one that brings the
 * page is told (B). Where nobody waits there is but one.
 */
#include "fault.h"
#include "uffd.h"

#include <fcntl.h>
#include <link.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define RW (PROT_READ | PROT_WRITE)
#define CACHED 64	/* bytes of the pattern in a file of one page */

/* -- what the one that brings the page does ----------------------------------------------- */

static struct uffdio_range page_of(char *page)
{
	return (struct uffdio_range){ .start = (uintptr_t)page, .len = page_size };
}

static void zeropage(const char *label, int uffd, char *page)
{
	struct uffdio_zeropage zero = { .range = page_of(page) };

	call(label, page, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
}

static void poison(const char *label, int uffd, char *page)
{
	struct poison poison = { .range = page_of(page) };

	call(label, page, ioctl(uffd, IOCTL_POISON, &poison));
}

static void unprotect(const char *label, int uffd, char *page)
{
	struct uffdio_writeprotect wp = { .range = page_of(page) };

	call(label, page, ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
}

/* -- what the one that touches it does ----------------------------------------------------- */

/* The page that comes is all of the pattern, begins with some of it, or is empty. */
static void read_it(char *page)
{
	task('A');
	read_between("read", page, page_size);
}

static void read_cached(char *page)
{
	task('A');
	read_between("read", page, CACHED);
}

static void read_fresh(char *page)
{
	task('A');
	read_between("read", page, 0);
}

static void drop(char *page)
{
	task('A');
	call("madvise", page, madvise(page, page_size, MADV_DONTNEED));
}

/* For those that are killed in it: what would have come of the access is not told. */
static void read_until_killed(char *page)
{
	detail("read", "%zd", read(pipe_holding(64), page, 64));
}

static void drop_until_killed(char *page)
{
	detail("madvise", "%d", madvise(page, page_size, MADV_DONTNEED));
}

/* -- missing pages --------------------------------------------------------------------------- */

void userfault_copy_store(void)
{
	struct stuck child = stuck_child(store_it);

	task('B');
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	join_child(child.pid);
}

void userfault_copy_read(void)
{
	struct stuck child = stuck_child(read_it);

	task('B');
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	join_child(child.pid);
}

static struct stuck about_to_store(uint64_t features)
{
	return watched_child((struct watch){ .start = anon_pages(1, RW), .features = features }, store_it);
}

/* The store is to the ninth byte of the page. */
static void told_address(const char *label, struct stuck *child)
{
	see_stuck(child);
	task('B');
	step(label);
	result("ok(%d)", (int)(child->address - (uintptr_t)child->page));
}

static void bring(struct stuck *child)
{
	uffd_copy("copy", child->uffd, child->page, pattern_page());
	join_child(child->pid);
}

void userfault_page_address(void)
{
	struct stuck child = about_to_store(0);

	told_address("event", &child);
	bring(&child);
}

void userfault_exact_address(void)
{
	struct stuck child = about_to_store(FEATURE_EXACT_ADDRESS);

	told_address("event", &child);
	bring(&child);
}

void userfault_exact_address_again(void)
{
	struct stuck child = about_to_store(FEATURE_EXACT_ADDRESS);

	told_address("event", &child);
	uffd_wake("wake", child.uffd, child.page, page_size);
	told_address("again", &child);
	bring(&child);
}

void userfault_zeropage(void)
{
	struct stuck child = stuck_child(load_it);

	task('B');
	zeropage("zeropage", child.uffd, child.page);
	join_child(child.pid);
}

void userfault_wake_unresolved(void)
{
	struct stuck child = stuck_child(load_it);

	task('B');
	uffd_wake("wake", child.uffd, child.page, page_size);
	see_stuck(&child);	/* a second event: it faulted again */
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	join_child(child.pid);
}

static void load_middle(char *pages)
{
	load_it(pages + page_size);
}

/* Who is woken faults again, and the monitor is told before the task sleeps: one that sleeps without was not woken. */
static void undisturbed(const char *label, struct stuck *child)
{
	struct uffd_msg msg;

	see_it_sleep(child);
	call(label, NULL, read(child->uffd, &msg, sizeof(msg)));
}

/* Nobody waits for the pages on either side of the one that is missed. */
void userfault_wake_neighbours(void)
{
	struct watch three = { .start = anon_pages(3, RW), .size = 3 * page_size };
	struct stuck child = watched_child(three, load_middle);
	char *middle = child.page + page_size;

	see_stuck(&child);
	prove("it waits for the middle", child.address == (uintptr_t)middle);
	task('B');
	uffd_wake("wake-below", child.uffd, middle - page_size, page_size);
	undisturbed("below", &child);
	uffd_wake("wake-above", child.uffd, middle + page_size, page_size);
	undisturbed("above", &child);
	uffd_copy("copy-below", child.uffd, middle - page_size, pattern_page());
	undisturbed("below-there", &child);
	uffd_copy("copy-above", child.uffd, middle + page_size, pattern_page());
	undisturbed("above-there", &child);
	uffd_copy("copy", child.uffd, middle, pattern_page());
	join_child(child.pid);
}

void userfault_unregister_blocked(void)
{
	struct stuck child = stuck_child(load_it);
	struct uffdio_range range = page_of(child.page);

	task('B');
	call("unregister", child.page, ioctl(child.uffd, UFFDIO_UNREGISTER, &range));
	join_child(child.pid);
}

void userfault_release_blocked(void)
{
	struct stuck child = stuck_child(load_it);

	close(child.uffd);
	join_child(child.pid);
}

void userfault_release_in_read(void)
{
	struct stuck child = stuck_child(read_fresh);

	close(child.uffd);
	join_child(child.pid);
}

/* -- the mapping changes while somebody waits: another thread of the same program does it ----------- */

static struct {
	int (*change)(char *page);
	void (*act)(char *page);
	char *page;
	int go[2], done[2];		/* pipes */
} meanwhile;

static void *change_when_told(void *unused)
{
	int err = EPIPE;
	char byte;

	if (read(meanwhile.go[0], &byte, 1) == 1)
		err = meanwhile.change(meanwhile.page) == 0 ? 0 : errno;
	(void)!write(meanwhile.done[1], &err, sizeof(err));
	return unused;
}

static void act_beside_thread(char *page)
{
	meanwhile.page = page;
	start_thread(change_when_told, NULL);
	meanwhile.act(page);
}

static int tell_thread(void)
{
	int err;

	must("tell", write(meanwhile.go[1], "", 1));
	prove("told", read(meanwhile.done[0], &err, sizeof(err)) == sizeof(err));
	errno = err;
	return err ? -1 : 0;
}

static struct stuck stuck_beside_thread(int (*change)(char *page), void (*act)(char *page))
{
	struct stuck child;

	meanwhile.change = change;
	meanwhile.act = act;
	must("pipe2", pipe2(meanwhile.go, O_CLOEXEC));
	must("pipe2", pipe2(meanwhile.done, O_CLOEXEC));
	child = stuck_child(act_beside_thread);
	task('B');
	return child;
}

static void change_and_wake(const char *label, struct stuck child)
{
	call(label, child.page, tell_thread());
	uffd_wake("wake", child.uffd, child.page, page_size);
	join_child(child.pid);
}

/* Who is woken then finds another mapping than the one it began to wait for, or none. */
static void change_under(const char *label, int (*change)(char *page), void (*act)(char *page))
{
	change_and_wake(label, stuck_beside_thread(change, act));
}

static int unmap(char *page)
{
	return munmap(page, page_size);
}

static int protect_none(char *page)
{
	return mprotect(page, page_size, PROT_NONE);
}

static int protect_ro(char *page)
{
	return mprotect(page, page_size, PROT_READ);
}

static int other_file;

static int map_over(char *page)
{
	return mmap(page, page_size, PROT_READ, MAP_SHARED | MAP_FIXED, other_file, 0) == page ? 0 : -1;
}

static void read_others_into(char *page)
{
	task('A');
	call("read", page, read_into(page));
}

void userfault_munmap_blocked(void)
{
	change_under("munmap", unmap, load_it);
}

void userfault_munmap_blocked_store(void)
{
	change_under("munmap", unmap, store_it);
}

/* In its second wait: where the first was under the lock of the mapping alone, this one is not. */
void userfault_munmap_blocked_again(void)
{
	struct stuck child = stuck_beside_thread(unmap, load_it);

	uffd_wake("first", child.uffd, child.page, page_size);
	see_stuck(&child);
	change_and_wake("munmap", child);
}

void userfault_munmap_blocked_read(void)
{
	change_under("munmap", unmap, read_others_into);
}

void userfault_mprotect_none_blocked(void)
{
	change_under("mprotect", protect_none, load_it);
}

void userfault_mprotect_ro_blocked(void)
{
	change_under("mprotect", protect_ro, store_it);
}

void userfault_map_over_blocked(void)
{
	other_file = tmpfile_of(page_size);
	change_under("mmap", map_over, load_it);
}

void userfault_copy_bad_source(void)
{
	char *page = anon_pages(1, RW), *source = pattern_page(), *hole = hole_page();
	int uffd = watch((struct watch){ .start = page });

	uffd_copy("bad", uffd, page, hole);
	uffd_copy("good", uffd, page, source);
	load_data("load", page, INT, pattern(0, INT));
}

/* Each page of the source is a mapping of its own: a fault for one brings no other. */
void userfault_copy_absent(void)
{
	char *source = map_file(tmpfile_of(3 * page_size), 3, PROT_READ, MAP_SHARED), *pages = anon_pages(3, RW);
	struct uffdio_copy copy = { .dst = (uintptr_t)pages, .src = (uintptr_t)source, .len = 3 * page_size };
	int uffd = watch((struct watch){ .start = pages, .size = 3 * page_size });

	must("mprotect", mprotect(source + page_size, page_size, RW));
	for (int i = 0; i < 3; i++)
		prove("source absent", !present(source + i * page_size));
	if (call("copy", pages, ioctl(uffd, UFFDIO_COPY, &copy)) != 0)
		return;
	step("pages");
	result("ok data=%s", filled(pages, 3 * page_size) ? "match" : "changed");
}

void userfault_copy_twice(void)
{
	char *page = anon_pages(1, RW), *source = pattern_page();
	int uffd = watch((struct watch){ .start = page });

	uffd_copy("first", uffd, page, source);
	uffd_copy("second", uffd, page, source);
}

void userfault_zeropage_twice(void)
{
	char *page = anon_pages(1, RW);
	int uffd = watch((struct watch){ .start = page });

	zeropage("first", uffd, page);
	zeropage("second", uffd, page);
}

void userfault_copy_unregistered(void)
{
	char *pages = anon_pages(2, RW), *source = pattern_page();
	int uffd = watch((struct watch){ .start = pages });

	uffd_copy("", uffd, pages + page_size, source);
}

/* A file that shrank: the page is behind its end. */
void userfault_copy_eof(void)
{
	int fd = tmpfile_of(1);
	char *page = map_file(fd, 1, RW, MAP_SHARED), *source = pattern_page();
	int uffd = watch((struct watch){ .start = page });

	must("ftruncate", ftruncate(fd, 0));
	uffd_copy("", uffd, page, source);
}

/* A private page is of memory, and could be brought; but no fault could bring it. */
void userfault_eof_private(void)
{
	int fd = tmpfile_of(1);
	char *page = map_file(fd, 1, RW, MAP_PRIVATE), *source = pattern_page();
	int uffd = watch((struct watch){ .start = page });

	must("ftruncate", ftruncate(fd, 0));
	uffd_copy("copy", uffd, page, source);
	zeropage("zeropage", uffd, page);
}

void userfault_poison_eof(void)
{
	int fd = tmpfile_of(1);
	char *page = map_file(fd, 1, RW, MAP_SHARED);
	int uffd = watch((struct watch){ .start = page, .features = FEATURE_POISON });

	must("ftruncate", ftruncate(fd, 0));
	poison("", uffd, page);
}

void userfault_move(void)
{
	char *page = anon_pages(1, RW), *source = pattern_page();
	int uffd = watch((struct watch){ .start = page, .features = FEATURE_MOVE });
	struct move move = {
		.dst = (uintptr_t)page, .src = (uintptr_t)source, .len = page_size,
	};

	call("move", page, ioctl(uffd, IOCTL_MOVE, &move));
	load_data("new", page, INT, pattern(0, INT));
	load_data("old", source, INT, pattern(0, INT));
}

/* -- no waiting ------------------------------------------------------------------------------ */

void userfault_sigbus_load(void)
{
	char *page = anon_pages(1, RW);

	watch((struct watch){ .start = page, .features = UFFD_FEATURE_SIGBUS });
	load("", page + 8, INT);
}

void userfault_sigbus_store(void)
{
	char *page = anon_pages(1, RW);

	watch((struct watch){ .start = page, .features = UFFD_FEATURE_SIGBUS });
	store("", page + 8, INT);
}

void userfault_sigbus_read(void)
{
	char *page = anon_pages(1, RW);
	int fd = pipe_holding(64);

	watch((struct watch){ .start = page, .features = UFFD_FEATURE_SIGBUS });
	transfer("", page, 64, read(fd, page, 64));
}

void userfault_sigbus_write(void)
{
	char *page = anon_pages(1, RW);
	int fd = pipe_sink();

	watch((struct watch){ .start = page, .features = UFFD_FEATURE_SIGBUS });
	transfer("", page, 64, write(fd, page, 64));
}

void userfault_user_only_load(void)
{
	struct watch w = { .start = anon_pages(1, RW), .flags = USER_MODE_ONLY };
	struct stuck child = watched_child(w, load_it);

	see_stuck(&child);
	task('B');
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	join_child(child.pid);
}

void userfault_user_only_read(void)
{
	char *page = anon_pages(1, RW);
	int fd = pipe_holding(64);

	watch((struct watch){ .start = page, .flags = USER_MODE_ONLY });
	transfer("", page, 64, read(fd, page, 64));
}

/* The second wait, and the third, are of the same access of a program's own. */
void userfault_user_only_wake(void)
{
	struct watch w = { .start = anon_pages(1, RW), .flags = USER_MODE_ONLY };
	struct stuck child = watched_child(w, load_it);

	see_stuck(&child);
	task('B');
	uffd_wake("wake", child.uffd, child.page, page_size);
	see_stuck(&child);
	uffd_wake("again", child.uffd, child.page, page_size);
	see_stuck(&child);
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	join_child(child.pid);
}

void userfault_unprivileged(void)
{
	prove("not root", geteuid() != 0);
	call("any", NULL, userfaultfd(0));
	call("user-only", NULL, userfaultfd(USER_MODE_ONLY));
}

/* -- moved --------------------------------------------------------------------------------------- */

/* A monitor that did not ask for moves is not asked about the pages at the new place. */
void userfault_moved(void)
{
	char *page = anon_pages(1, RW), *room = anon_pages(1, PROT_NONE);

	watch((struct watch){ .start = page });
	call("move", room, mremap(page, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
				  room) == MAP_FAILED ? -1 : 0);
	load_data("load", room, INT, 0);
	store("store", room, INT);
}

/* -- poison ---------------------------------------------------------------------------------- */

static char *poisoned(void)
{
	char *page = anon_pages(1, RW);
	int uffd = watch((struct watch){ .start = page, .features = FEATURE_POISON });

	poison("poison", uffd, page);
	return page;
}

void userfault_poison_load(void)
{
	load("load", poisoned() + 8, INT);
}

/* Nobody watches the page any more, and it is given up. */
void userfault_poison_dontneed(void)
{
	char *page = anon_pages(1, RW);
	int uffd = watch((struct watch){ .start = page, .features = FEATURE_POISON });
	uint32_t word;

	poison("poison", uffd, page);
	must("UFFDIO_UNREGISTER", ioctl(uffd, UFFDIO_UNREGISTER,
					&(struct uffdio_range){ .start = (uintptr_t)page, .len = page_size }));
	call("marked", page, process_vm_readv(getpid(), &(struct iovec){ &word, INT }, 1,
					      &(struct iovec){ page, INT }, 1, 0));
	call("madvise", page, madvise(page, page_size, MADV_DONTNEED));
	load_data("load", page, INT, 0);
}

/* There is a mark where a page would be, but no page. */
void userfault_poison_mincore(void)
{
	char *page = poisoned();
	unsigned char there = 0xff;

	call("mincore", page, mincore(page, page_size, &there));
	step("there");
	result("ok(%d)", there);
}

/* No access of the program's, and no exception table: the page is looked up for the system call. */
void userfault_poison_looked_up(void)
{
	char *page = poisoned();

	call("mlock", page, mlock(page, page_size));
	call("futex-wait", page, syscall(FUTEX, page, FUTEX_WAIT, 1, NULL, NULL, 0));
	call("futex-op", page, change_futex(page, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0)));
	call("populate", page, madvise(page, page_size, MADV_POPULATE_READ));
}

/* The mark is in the page table, and that is copied. */
void userfault_poison_fork(void)
{
	char *page = poisoned();
	pid_t child = fork_child();

	if (child == 0) {
		load("child", page + 8, INT);
		child_done();
	}
	join_child(child);
}

void userfault_poison_store(void)
{
	store("store", poisoned() + 8, INT);
}

void userfault_poison_read(void)
{
	int fd = pipe_holding(64);
	char *page = poisoned();

	transfer("read", page, 64, read(fd, page, 64));
}

void userfault_poison_write(void)
{
	int fd = pipe_sink();
	char *page = poisoned();

	transfer("write", page, 64, write(fd, page, 64));
}

void userfault_poison_copy_over(void)
{
	char *page = anon_pages(1, RW), *source = pattern_page();
	int uffd = watch((struct watch){ .start = page, .features = FEATURE_POISON });

	poison("poison", uffd, page);
	poison("again", uffd, page);
	uffd_copy("copy", uffd, page, source);
}

/* -- the interface ---------------------------------------------------------------------------- */

static void api(const char *label, int uffd, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	call(label, NULL, ioctl(uffd, UFFDIO_API, &api));
}

void userfault_api_unknown(void)
{
	int uffd = must("userfaultfd", userfaultfd(0));

	api("unknown", uffd, 1ULL << 40);
	api("again", uffd, 0);
}

void userfault_api_twice(void)
{
	int uffd = must("userfaultfd", userfaultfd(0));

	api("first", uffd, 0);
	api("second", uffd, 0);
}

void userfault_api_minor(void)
{
	api("", must("userfaultfd", userfaultfd(0)), UFFD_FEATURE_MINOR_SHMEM);
}

void userfault_api_wp(void)
{
	api("", must("userfaultfd", userfaultfd(0)), UFFD_FEATURE_PAGEFAULT_FLAG_WP);
}

void userfault_api_poison(void)
{
	api("", must("userfaultfd", userfaultfd(0)), FEATURE_POISON);
}

void userfault_register_hole(void)
{
	uffd_register("", hole_page(), page_size, UFFDIO_REGISTER_MODE_MISSING);
}

void userfault_register_unaligned(void)
{
	uffd_register("", anon_pages(1, RW) + 8, page_size, UFFDIO_REGISTER_MODE_MISSING);
}

void userfault_register_twice(void)
{
	char *page = anon_pages(1, RW);

	uffd_register("first", page, page_size, UFFDIO_REGISTER_MODE_MISSING);
	uffd_register("second", page, page_size, UFFDIO_REGISTER_MODE_MISSING);
}

void userfault_register_readonly_file(void)
{
	int fd = tmpfile_of(64), readonly;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	readonly = must("open", open(path, O_RDONLY | O_CLOEXEC));
	uffd_register("", map_file(readonly, 1, PROT_READ, MAP_SHARED), page_size,
		  UFFDIO_REGISTER_MODE_MISSING);
}

/* -- fork and other events ------------------------------------------------------------------- */

static void fork_and_load(char *page)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		load_it(page);
		child_done();
	}
	join_child(pid);
}

void userfault_fork_plain(void)
{
	char *page = anon_pages(1, RW);

	watch((struct watch){ .start = page });
	fork_and_load(page);
}

/* fork waits until the event has been read: it brings the new process's userfaultfd. */
void userfault_fork_event(void)
{
	struct watch w = { .start = anon_pages(1, RW), .features = UFFD_FEATURE_EVENT_FORK };
	struct stuck child = watched_child(w, fork_and_load);
	int uffd = read_event(&child, child.uffd, UFFD_EVENT_FORK).arg.fork.ufd;

	read_event(&child, uffd, UFFD_EVENT_PAGEFAULT);
	task('B');
	uffd_copy("parent", child.uffd, child.page, pattern_page());
	uffd_copy("child", uffd, child.page, pattern_page());
	join_child(child.pid);
}

/* Two mappings, since their rights differ, go at once. */
static void unmap_two(char *pages)
{
	must("mprotect", mprotect(pages + page_size, page_size, PROT_READ));
	task('A');
	call("munmap", pages, munmap(pages, 2 * page_size));
}

/* The next event; false: there is none, and the child has ended. */
static bool next_of(struct stuck *child, struct uffd_msg *msg)
{
	struct pollfd readable = { .fd = child->uffd, .events = POLLIN };
	siginfo_t ended = { 0 };

	while (!ended.si_pid) {
		if (poll(&readable, 1, 20) == 1 && read(child->uffd, msg, sizeof(*msg)) == sizeof(*msg))
			return true;
		must("waitid", waitid(P_PID, child->pid, &ended, WEXITED | WNOHANG | WNOWAIT));
	}
	return false;
}

/* How many events come until the child has ended; the first of them. */
static int events_of(struct stuck *child, struct uffd_msg *first)
{
	struct uffd_msg msg;
	int n = 0;

	while (next_of(child, &msg))
		if (n++ == 0)
			*first = msg;
	return n;
}

void userfault_unmap_event(void)
{
	struct watch w = { .start = anon_pages(2, RW), .size = 2 * page_size, .features = UFFD_FEATURE_EVENT_UNMAP };
	struct stuck child = watched_child(w, unmap_two);
	struct uffd_msg msg = { 0 };
	int n = events_of(&child, &msg);

	task('B');
	step("events");
	result("ok(%d)", n);
	step("range");
	result("ok data=%s", msg.event == UFFD_EVENT_UNMAP && msg.arg.remove.start == (uintptr_t)child.page &&
	       msg.arg.remove.end == (uintptr_t)child.page + 2 * page_size ? "match" : "changed");
	join_child(child.pid);
}

static void jump_to_it(char *page)
{
	task('A');
	jump("jump", page);
}

/* Not each arch looks at the right to execute before it asks for the page. */
void userfault_nx_jump(void)
{
	char *page = anon_pages(1, RW), *stub = anon_pages(1, RW);
	struct stuck child = watched_child((struct watch){ .start = page }, jump_to_it);
	struct uffd_msg msg = { 0 };
	bool asked = next_of(&child, &msg);

	if (asked && (msg.event != UFFD_EVENT_PAGEFAULT || msg.arg.pagefault.address != (uintptr_t)page))
		another_event(&msg);
	task('B');
	step("event");
	result("ok(%d)", asked);
	if (asked) {
		put_return_stub(stub);
		uffd_copy("copy", child.uffd, page, stub);
	}
	join_child(child.pid);
}

static struct stuck stuck_in_madvise(void (*act)(char *page))
{
	struct watch w = { .start = anon_pages(1, RW), .features = UFFD_FEATURE_EVENT_REMOVE };
	struct stuck child = watched_child(w, act);

	await_event(&child, child.uffd);
	see_it_sleep(&child);
	return child;
}

/* While the layout changes nothing is brought: the caller is to read the event first. */
void userfault_copy_while_changing(void)
{
	struct stuck child = stuck_in_madvise(drop);

	task('B');
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	read_event(&child, child.uffd, UFFD_EVENT_REMOVE);
	join_child(child.pid);
}

void userfault_kill_in_event(void)
{
	struct stuck child = stuck_in_madvise(drop_until_killed);

	kill_stuck(&child);
}

/* -- faults that others take on our memory ---------------------------------------------------- */

static char *remote;

static void read_remote(void)
{
	char *buffer = anon_pages(1, RW);
	struct iovec to = { .iov_base = buffer, .iov_len = 64 };
	struct iovec from = { .iov_base = remote, .iov_len = 64 };
	long done;

	memset(buffer, 0xff, 64);
	task('A');
	call_begin("read", buffer);
	done = process_vm_readv(getppid(), &to, 1, &from, 1, 0);
	call_end(done, 64, done <= 0 || filled(buffer, done));
}

static void read_remote_until_killed(void)
{
	struct iovec to = { .iov_base = anon_pages(1, RW), .iov_len = 64 };
	struct iovec from = { .iov_base = remote, .iov_len = 64 };

	detail("read", "%zd", process_vm_readv(getppid(), &to, 1, &from, 1, 0));
}

/* A child reads our page, which is not there; it is inside when this returns. */
static struct stuck remote_reader(void (*act)(void))
{
	struct stuck child = { .page = anon_pages(1, RW) };

	remote = child.page;
	child.uffd = watch((struct watch){ .start = child.page });
	child.pid = fork_child();
	if (child.pid == 0) {
		act();
		child_done();
	}
	see_stuck(&child);
	return child;
}

void userfault_remote_read(void)
{
	struct stuck child = remote_reader(read_remote);

	task('B');
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	join_child(child.pid);
}

void userfault_remote_read_kill(void)
{
	struct stuck child = remote_reader(read_remote_until_killed);

	kill_stuck(&child);
}

/* Where the dump has this page: the segment of that address, which is one page and all in the file. */
static off_t core_offset(int core, char *page)
{
	ElfW(Ehdr) head;
	ElfW(Phdr) segment;

	prove("core header", pread(core, &head, sizeof(head), 0) == sizeof(head));
	for (int i = 0; i < head.e_phnum; i++) {
		off_t at = head.e_phoff + i * sizeof(segment);

		prove("core segment", pread(core, &segment, sizeof(segment), at) == sizeof(segment));
		if (segment.p_type == PT_LOAD && segment.p_vaddr == (uintptr_t)page &&
		    segment.p_filesz == page_size)
			return segment.p_offset;
	}
	setup_unproven("page in the core");
}

/* A page of shared memory: those of private memory that are not there are never dumped. */
static void dump_core(char *page)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	watch((struct watch){ .start = page });
	must("setrlimit", setrlimit(RLIMIT_CORE, &all));
	raise(SIGABRT);
}

void userfault_coredump(void)
{
	char folder[] = "/tmp/core-XXXXXX", *page, *dumped = pattern_page();
	int fd = tmpfile_of(0), core;
	struct stat file;
	pid_t pid;

	must("ftruncate", ftruncate(fd, page_size));
	page = map_file(fd, 1, RW, MAP_SHARED);
	prove("folder", mkdtemp(folder) != NULL);
	must("chdir", chdir(folder));
	pid = fork_child();
	if (pid == 0) {
		dump_core(page);
		child_done();
	}
	step("dump");
	if (!result_fate(pid))
		return;
	core = must("core written", open("core", O_RDONLY | O_CLOEXEC));
	must("unlink", unlink("core"));
	prove("core is whole",
	      pread(core, dumped, page_size, core_offset(core, page)) == (ssize_t)page_size);
	load_data("core", dumped, INT, 0);
	must("fstat", fstat(fd, &file));
	step("file");
	result("ok(%ld)", (long)file.st_blocks);
}

/* -- minor faults: the page is in the cache, but not in the page table ------------------------- */

#define MINOR UFFDIO_REGISTER_MODE_MINOR
#define MINOR_SHMEM UFFD_FEATURE_MINOR_SHMEM

static int cached_file(void)
{
	int fd = tmpfile_of(CACHED);

	must("ftruncate", ftruncate(fd, page_size));
	return fd;
}

static struct stuck minor_stuck(int fd, int flags, uint64_t mode, void (*act)(char *page))
{
	struct watch w = {
		.start = map_file(fd, 1, RW, flags), .mode = mode, .features = MINOR_SHMEM,
	};
	struct stuck child = watched_child(w, act);

	prove("a minor fault", see_stuck(&child) & UFFD_PAGEFAULT_FLAG_MINOR);
	task('B');
	return child;
}

static void minor_continue(int flags, void (*act)(char *page))
{
	struct stuck child = minor_stuck(cached_file(), flags, MINOR, act);

	uffd_continue("continue", child.uffd, child.page, page_size);
	join_child(child.pid);
}

void userfault_minor_shared(void)
{
	minor_continue(MAP_SHARED, load_it);
}

void userfault_minor_private(void)
{
	minor_continue(MAP_PRIVATE, load_it);
}

void userfault_minor_private_store(void)
{
	int fd = cached_file();
	struct stuck child = minor_stuck(fd, MAP_PRIVATE, MINOR, store_it);

	uffd_continue("continue", child.uffd, child.page, page_size);
	join_child(child.pid);
	step("file");
	result("ok data=%s", file_filled(fd, CACHED) ? "match" : "changed");
}

void userfault_minor_read(void)
{
	minor_continue(MAP_SHARED, read_cached);
}

static void punch(int fd)
{
	must("fallocate", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page_size));
}

/* The page goes between the event and the answer; only faults on present pages wait. */
void userfault_minor_punched(void)
{
	int fd = cached_file();
	struct stuck child = minor_stuck(fd, MAP_SHARED, MINOR, load_it);

	punch(fd);
	uffd_continue("continue", child.uffd, child.page, page_size);
	uffd_wake("wake", child.uffd, child.page, page_size);
	join_child(child.pid);
}

/* The same where faults on missing pages wait as well: there is a second event. */
void userfault_minor_punched_missing(void)
{
	int fd = cached_file();
	struct stuck child = minor_stuck(fd, MAP_SHARED, MINOR | UFFDIO_REGISTER_MODE_MISSING,
					 load_it);

	punch(fd);
	uffd_continue("continue", child.uffd, child.page, page_size);
	uffd_wake("wake", child.uffd, child.page, page_size);
	prove("a missing page now", !(see_stuck(&child) & UFFD_PAGEFAULT_FLAG_MINOR));
	uffd_copy("copy", child.uffd, child.page, pattern_page());
	join_child(child.pid);
}

/* The page was allocated, but nobody has written it: it is in the cache, and not up to date. */
void userfault_minor_fallocated(void)
{
	int fd = tmpfile_of(0);
	struct stuck child;

	must("fallocate", fallocate(fd, 0, 0, page_size));
	child = minor_stuck(fd, MAP_SHARED, MINOR, load_it);
	uffd_continue("continue", child.uffd, child.page, page_size);
	join_child(child.pid);
}

static int minor_watch(char *page)
{
	return watch((struct watch){ .start = page, .mode = MINOR, .features = MINOR_SHMEM });
}

void userfault_continue_twice(void)
{
	char *page = map_file(cached_file(), 1, RW, MAP_SHARED);
	int uffd = minor_watch(page);

	uffd_continue("first", uffd, page, page_size);
	uffd_continue("second", uffd, page, page_size);
}

void userfault_continue_eof(void)
{
	int fd = cached_file();
	char *page = map_file(fd, 1, RW, MAP_SHARED);
	int uffd = minor_watch(page);

	must("ftruncate", ftruncate(fd, 0));
	uffd_continue("", uffd, page, page_size);
}

void userfault_continue_empty(void)
{
	int fd = tmpfile_of(0);
	char *page;

	must("ftruncate", ftruncate(fd, page_size));
	page = map_file(fd, 1, RW, MAP_SHARED);
	uffd_continue("", minor_watch(page), page, page_size);
}

void userfault_continue_anon(void)
{
	char *page = anon_pages(1, RW);

	uffd_continue("", watch((struct watch){ .start = page, .features = MINOR_SHMEM }), page,
		      page_size);
}

void userfault_minor_sigbus(void)
{
	char *page = map_file(cached_file(), 1, RW, MAP_SHARED);

	watch((struct watch){ .start = page, .mode = MINOR,
			      .features = MINOR_SHMEM | UFFD_FEATURE_SIGBUS });
	load("", page + 8, INT);
}

void userfault_register_minor_anon(void)
{
	uffd_register("", anon_pages(1, RW), page_size, MINOR);
}

/* -- write protection --------------------------------------------------------------------------- */

#define WP UFFDIO_REGISTER_MODE_WP
#define FLAG_WP UFFD_FEATURE_PAGEFAULT_FLAG_WP

/* A page that holds the pattern is write-protected; the child touches it. */
static struct stuck wp_stuck(char *page, void (*act)(char *page))
{
	struct watch w = { .start = page, .mode = WP, .features = FLAG_WP };
	struct stuck child = watched_child(w, act);

	prove("a fault on a protected page", see_stuck(&child) & UFFD_PAGEFAULT_FLAG_WP);
	return child;
}

static void wp_unprotect(struct stuck child)
{
	task('B');
	unprotect("unprotect", child.uffd, child.page);
	join_child(child.pid);
}

void userfault_wp_store(void)
{
	wp_unprotect(wp_stuck(pattern_page(), store_it));
}

void userfault_wp_store_shmem(void)
{
	wp_unprotect(wp_stuck(map_file(cached_file(), 1, RW, MAP_SHARED), store_it));
}

void userfault_wp_read(void)
{
	wp_unprotect(wp_stuck(pattern_page(), read_it));
}

void userfault_wp_load(void)
{
	char *page = pattern_page();

	watch((struct watch){ .start = page, .mode = WP, .features = FLAG_WP });
	load_data("", page, INT, pattern(0, INT));
}

void userfault_wp_kill(void)
{
	struct stuck child = wp_stuck(pattern_page(), read_until_killed);

	kill_stuck(&child);
}

void userfault_wp_sigbus(void)
{
	char *page = pattern_page();

	watch((struct watch){ .start = page, .mode = WP, .features = FLAG_WP | UFFD_FEATURE_SIGBUS });
	store("", page + 8, INT);
}

/* One small page of a huge one is let go: the entry is split, and all others stay as they were. */
void userfault_wp_huge_split(void)
{
	size_t size;
	char *page = transparent_huge_page(&size);
	int uffd = watch((struct watch){ .start = page, .size = size, .mode = WP,
					 .features = FLAG_WP | UFFD_FEATURE_SIGBUS });

	unprotect("lift", uffd, page + page_size);
	store("lifted", page + page_size, INT);
	store("first", page, INT);
	store("last", page + size - page_size, INT);
}

/* There is a mark and no page yet; a load brings the one of zeroes, which is protected as well. */
void userfault_wp_unpopulated(void)
{
	char *page = anon_pages(1, RW);

	watch((struct watch){ .start = page, .mode = WP,
			      .features = FLAG_WP | FEATURE_WP_UNPOPULATED | UFFD_FEATURE_SIGBUS });
	load_data("load", page, INT, 0);
	store("store", page, INT);
}

/* Nobody waits when the protection is lifted; the page is clean, and its first store comes then. */
void userfault_wp_lifted_shmem(void)
{
	int fd = tmpfile_of(0), uffd;
	char *page;

	must("ftruncate", ftruncate(fd, page_size));
	page = map_file(fd, 1, RW, MAP_SHARED);
	uffd = watch((struct watch){ .start = page, .mode = WP, .features = FLAG_WP });
	unprotect("unprotect", uffd, page);
	load_data("load", page, INT, 0);
	store("store", page, INT);
	load_known("again", page, INT, stored(INT));
	call("unmap", page, munmap(page, page_size));
}

/* The rights of the mapping come and go; who watches the page is asked none the less. */
void userfault_wp_mprotect(void)
{
	char *page = pattern_page();

	watch((struct watch){ .start = page, .mode = WP, .features = FLAG_WP | UFFD_FEATURE_SIGBUS });
	must("mprotect to read", mprotect(page, page_size, PROT_READ));
	must("mprotect back", mprotect(page, page_size, RW));
	store("", page + 8, INT);
}

static void result_protected(const char *label, char *page)
{
	step(label);
	result("ok(%d)", write_protected(page));
}

/* Nobody is asked: the protection only shows, in pagemap, that the page was written. */
void userfault_wp_async(void)
{
	char *page = pattern_page();

	watch((struct watch){ .start = page, .mode = WP, .features = FLAG_WP | FEATURE_WP_ASYNC });
	result_protected("protected", page);
	store("store", page + 8, INT);
	result_protected("written", page);
}

/* The child of a fork is not watched, and its copy of the page is not protected. */
void userfault_wp_fork(void)
{
	char *page = pattern_page();
	pid_t pid;

	watch((struct watch){ .start = page, .mode = WP, .features = FLAG_WP });
	pid = fork_child();
	if (pid == 0) {
		store_it(page);
		child_done();
	}
	join_child(pid);
}

void userfault_register_wp(void)
{
	uffd_register("", anon_pages(1, RW), page_size, WP);
}

void userfault_register_wp_shmem(void)
{
	uffd_register("", map_file(cached_file(), 1, RW, MAP_SHARED), page_size, WP);
}
