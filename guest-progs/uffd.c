// SPDX-License-Identifier: GPL-2.0-only
/*
 * A child that waits for a page nobody brings. The userfaultfd is of the child's memory, so
 * the child makes it; the two share one table of descriptors, so the parent reads from it,
 * and can close it under a child that cannot be killed.
 */
#include "runtime.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define EVENT_MS 2000

static int userfaultfd(void)
{
	return syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
}

static void ask_for_userfaultfd(void)
{
	int fd = userfaultfd();

	if (fd < 0 && errno == ENOSYS)
		not_applicable("userfaultfd=ENOSYS");
	must("userfaultfd", fd);
	close(fd);
}

/* Missing pages of the page at addr now wait for a reader of the descriptor. */
static int arm(void *addr)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)addr, .len = page_size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = must("userfaultfd", userfaultfd());

	must("UFFDIO_API", ioctl(fd, UFFDIO_API, &api));
	must("UFFDIO_REGISTER", ioctl(fd, UFFDIO_REGISTER, &range));
	return fd;
}

/* The fault itself, as the kernel tells the monitor. */
static void read_event(struct stuck *stuck)
{
	struct pollfd poll_uffd = { .fd = stuck->uffd, .events = POLLIN };
	struct uffd_msg msg;
	uintptr_t addr;

	prove("uffd event", poll(&poll_uffd, 1, EVENT_MS) == 1);
	prove("uffd message", read(stuck->uffd, &msg, sizeof(msg)) == sizeof(msg));
	prove("uffd fault", msg.event == UFFD_EVENT_PAGEFAULT);
	addr = msg.arg.pagefault.address;
	prove("uffd address", addr - (uintptr_t)stuck->page < page_size);
	detail("uffd-flags", "0x%llx", (unsigned long long)msg.arg.pagefault.flags);
}

/* The event is sent before the child sleeps: wait until it does. */
static void see_it_sleep(struct stuck *stuck)
{
	uint64_t end = now_us() + EVENT_MS * 1000ULL;
	char where[160];

	while (!hang_sleeps(stuck->pid)) {
		prove("child sleeps in the fault", now_us() < end);
		sleep_ms(1);
	}
	hang_where(stuck->pid, stuck->pid, where, sizeof(where));
	detail("inside", "%s", where);
}

struct stuck stuck_child(void (*act)(char *page))
{
	struct stuck stuck = { .page = anon_pages(1, PROT_READ | PROT_WRITE) };
	struct pollfd armed = { .events = POLLIN };
	int tell[2];

	ask_for_userfaultfd();
	prove("page absent", !present(stuck.page));
	must("pipe", pipe2(tell, O_CLOEXEC));
	armed.fd = tell[0];
	stuck.pid = must("clone", syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
	if (stuck.pid == 0) {
		int fd = arm(stuck.page);

		if (write(tell[1], &fd, sizeof(fd)) == sizeof(fd))
			act(stuck.page);
		child_done();
	}
	/* No end of file comes, should it fail: the other end is ours too. */
	prove("uffd armed", poll(&armed, 1, EVENT_MS) == 1);
	must("read", read(tell[0], &stuck.uffd, sizeof(stuck.uffd)));
	read_event(&stuck);
	see_it_sleep(&stuck);
	return stuck;
}

void resolve(struct stuck *stuck)
{
	char *source = anon_pages(1, PROT_READ | PROT_WRITE);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)stuck->page, .src = (uintptr_t)source, .len = page_size,
	};

	fill(source, page_size);
	must("UFFDIO_COPY", ioctl(stuck->uffd, UFFDIO_COPY, &copy));
}

void release(struct stuck *stuck)
{
	close(stuck->uffd);
	pause_ms(200);
	detail("released", "%s", hang_alive(stuck->pid) ? "still alive" : "dead");
}
