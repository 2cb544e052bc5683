// SPDX-License-Identifier: GPL-2.0-only
/*
 * A child that waits for a page nobody brings. The userfaultfd is of the child's memory, so
 * the child makes it; the two share one table of descriptors, so the parent reads from it,
 * and can close it under a child that cannot be killed.
 */
#include "runtime.h"
#include "uffd.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ARM_MS 2000
#define LOOK_MS 20

void load_it(char *page)
{
	task('A');
	load_data("load", page, INT, pattern(0, INT));
}

void store_it(char *page)
{
	task('A');
	if (store("store", page + 8, INT))
		load_data("load", page, INT, pattern(0, INT));
}

int userfaultfd(int flags)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	if (fd < 0 && errno == ENOSYS)
		not_applicable("userfaultfd=ENOSYS");
	return fd;
}

static int with_features(uint64_t features, int flags)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = userfaultfd(flags);

	if (fd < 0 && errno == EINVAL && flags)
		not_applicable("userfaultfd has not all flags of 0x%x", flags);
	must("userfaultfd", fd);
	if (ioctl(fd, UFFDIO_API, &api) < 0 && errno == EINVAL)
		not_applicable("userfaultfd has not all features of 0x%llx",
			       (unsigned long long)features);
	return fd;
}

int watch(struct watch watch)
{
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)watch.start, .len = watch.size ?: page_size },
		.mode = watch.mode ?: UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_writeprotect wp = {
		.range = range.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = with_features(watch.features, watch.flags);

	must("UFFDIO_REGISTER", ioctl(fd, UFFDIO_REGISTER, &range));
	if (range.mode & UFFDIO_REGISTER_MODE_WP)
		must("UFFDIO_WRITEPROTECT", ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
	return fd;
}

/*
 * A child that is armed and does not come to wait in its fault has a kernel that lets it go on,
 * or that tells of another fault: an outcome, of the task that watches, and the last there is.
 */
static __noreturn void over(void)
{
	report_done();
	_exit(0);
}

/* One that neither waits nor ends is a hang, for those outside to find: there is no limit here. */
static void unless_it_ended(struct stuck *stuck)
{
	siginfo_t info = { 0 };

	must("waitid", waitid(P_PID, stuck->pid, &info, WEXITED | WNOHANG | WNOWAIT));
	if (!info.si_pid)
		return;
	task('B');
	step("wait");
	result_fate(stuck->pid);
	over();
}

void another_event(const struct uffd_msg *msg)
{
	detail("uffd-event", "0x%x", msg->event);
	detail("uffd-address", "0x%llx", (unsigned long long)msg->arg.pagefault.address);
	task('B');
	step("event");
	result("ok data=changed");
	over();
}

void await_event(struct stuck *stuck, int uffd)
{
	struct pollfd readable = { .fd = uffd, .events = POLLIN };

	while (poll(&readable, 1, LOOK_MS) != 1)
		unless_it_ended(stuck);
}

struct uffd_msg read_event(struct stuck *stuck, int uffd, int event)
{
	struct uffd_msg msg;

	await_event(stuck, uffd);
	prove("uffd message", read(uffd, &msg, sizeof(msg)) == sizeof(msg));
	if (msg.event != event)
		another_event(&msg);
	return msg;
}

/* The fault itself, as the kernel tells the monitor. */
uint64_t read_fault(struct stuck *stuck)
{
	struct uffd_msg msg = read_event(stuck, stuck->uffd, UFFD_EVENT_PAGEFAULT);

	if (msg.arg.pagefault.address - (uintptr_t)stuck->page >= (stuck->size ?: page_size))
		another_event(&msg);
	stuck->address = msg.arg.pagefault.address;
	detail("uffd-flags", "0x%llx", (unsigned long long)msg.arg.pagefault.flags);
	return msg.arg.pagefault.flags;
}

/* The event is sent before the child sleeps: wait until it does. */
void see_it_sleep(struct stuck *stuck)
{
	char where[160];

	while (!hang_sleeps(stuck->pid)) {
		unless_it_ended(stuck);
		sleep_ms(1);
	}
	hang_where(stuck->pid, stuck->pid, where, sizeof(where));
	detail("inside", "%s", where);
}

struct stuck watched_child(struct watch w, void (*act)(char *page))
{
	struct stuck stuck = { .page = w.start, .size = w.size };
	struct pollfd armed = { .events = POLLIN };
	int tell[2];

	close(with_features(w.features, w.flags));	/* n/a without it, said by us */
	must("pipe", pipe2(tell, O_CLOEXEC));
	armed.fd = tell[0];
	stuck.pid = must("clone", RAW_CLONE(CLONE_FILES | SIGCHLD, NULL));
	if (stuck.pid == 0) {
		int fd = watch(w);

		if (write(tell[1], &fd, sizeof(fd)) == sizeof(fd))
			act(stuck.page);
		child_done();
	}
	/* No end of file comes, should it fail: the other end is ours too. */
	prove("uffd armed", poll(&armed, 1, ARM_MS) == 1);
	must("read", read(tell[0], &stuck.uffd, sizeof(stuck.uffd)));
	return stuck;
}

uint64_t see_stuck(struct stuck *stuck)
{
	uint64_t flags = read_fault(stuck);

	see_it_sleep(stuck);
	return flags;
}

struct stuck stuck_child(void (*act)(char *page))
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	struct stuck stuck;

	prove("page absent", !present(page));
	stuck = watched_child((struct watch){ .start = page }, act);
	see_stuck(&stuck);
	return stuck;
}

char *pattern_page(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	fill(page, page_size);
	return page;
}

static int copy_page(int uffd, char *page, char *source)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page, .src = (uintptr_t)source, .len = page_size,
	};

	return ioctl(uffd, UFFDIO_COPY, &copy);
}

void uffd_copy(const char *label, int uffd, char *page, char *source)
{
	call(label, page, copy_page(uffd, page, source));
}

void resolve(struct stuck *stuck)
{
	must("UFFDIO_COPY", copy_page(stuck->uffd, stuck->page, pattern_page()));
}

void kill_stuck(struct stuck *stuck)
{
	step("");
	if (!result_killed(stuck->pid))
		release(stuck);
}

void release(struct stuck *stuck)
{
	close(stuck->uffd);
	pause_ms(200);
	detail("released", "%s", hang_alive(stuck->pid) ? "still alive" : "dead");
}

void uffd_register(const char *label, char *start, size_t size, uint64_t mode)
{
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)start, .len = size }, .mode = mode,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = must("userfaultfd", userfaultfd(0));

	must("UFFDIO_API", ioctl(uffd, UFFDIO_API, &api));
	call(label, start, ioctl(uffd, UFFDIO_REGISTER, &range));
}

void uffd_continue(const char *label, int uffd, char *start, size_t size)
{
	struct uffdio_continue cont = { .range = { .start = (uintptr_t)start, .len = size } };

	call(label, start, ioctl(uffd, UFFDIO_CONTINUE, &cont));
}

void uffd_wake(const char *label, int uffd, char *start, size_t size)
{
	struct uffdio_range range = { .start = (uintptr_t)start, .len = size };

	call(label, start, ioctl(uffd, UFFDIO_WAKE, &range));
}
