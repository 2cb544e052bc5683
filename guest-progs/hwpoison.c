// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory errors, injected by madvise. The pages are lost to the machine until it reboots.
 * Where the kernel knows no such advice, or we may not, the scenario ends with that errno.
 */
#include "fault.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define SOFT_OFFLINE 101	/* MADV_SOFT_OFFLINE */
#define RW (PROT_READ | PROT_WRITE)

static bool advise(const char *label, char *page, int advice)
{
	int err;

	call_begin(label, page);
	errno = 0;
	call_end(madvise(page, page_size, advice), -1, true);
	err = errno;
	return err != EINVAL && err != EPERM;
}

static char *written(char *page)
{
	fill(page, page_size);
	prove("page present", present(page));
	return page;
}

static char *anon_page(void)
{
	return written(anon_pages(1, RW));
}

static char *shared_page(void)
{
	return written(must("mmap", mmap(NULL, page_size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
}

static int page_file(void)
{
	int fd = tmpfile_of(1);

	must("ftruncate", ftruncate(fd, page_size));
	return fd;
}

static char *file_page(int fd)
{
	return written(map_file(fd, 1, RW, MAP_SHARED));
}

void hwpoison_anon_load(void)
{
	char *page = anon_page();

	if (advise("madvise", page, MADV_HWPOISON))
		load("load", page + 8, INT);
}

void hwpoison_anon_store(void)
{
	char *page = anon_page();

	if (advise("madvise", page, MADV_HWPOISON))
		store("store", page + 8, INT);
}

void hwpoison_shared_load(void)
{
	char *page = shared_page();

	if (advise("madvise", page, MADV_HWPOISON))
		load("load", page + 8, INT);
}

void hwpoison_tmpfs_load(void)
{
	char *page = file_page(page_file());

	if (advise("madvise", page, MADV_HWPOISON))
		load("load", page + 8, INT);
}

void hwpoison_tmpfs_read(void)
{
	int fd = page_file();
	char *page = file_page(fd), *good = anon_page();

	if (advise("madvise", page, MADV_HWPOISON))
		transfer("read", good, 64, pread(fd, good, 64, 0));
}

void hwpoison_tmpfs_sendfile(void)
{
	int fd = page_file(), to = tmpfile_of(0);
	char *page = file_page(fd);

	if (advise("madvise", page, MADV_HWPOISON))
		transfer("sendfile", NULL, 64, sendfile(to, fd, &(off_t){ 0 }, 64));
}

void hwpoison_tmpfs_write(void)
{
	int fd = page_file();
	char *page = file_page(fd), *good = anon_page();

	if (advise("madvise", page, MADV_HWPOISON))
		transfer("write", good, 64, pwrite(fd, good, 64, 0));
}

void hwpoison_uaccess_read(void)
{
	char *page = anon_page();
	int fd = pipe_holding(64);

	if (advise("madvise", page, MADV_HWPOISON))
		transfer("read", page, 64, read(fd, page, 64));
}

void hwpoison_uaccess_write(void)
{
	char *page = anon_page();
	int fd = pipe_sink();

	if (advise("madvise", page, MADV_HWPOISON))
		transfer("write", page, 64, write(fd, page, 64));
}

void hwpoison_twice(void)
{
	char *page = anon_page();

	if (advise("first", page, MADV_HWPOISON))
		advise("second", page, MADV_HWPOISON);
}

void hwpoison_soft_offline(void)
{
	char *page = anon_page();

	if (advise("madvise", page, SOFT_OFFLINE))
		load_data("load", page + 8, INT, pattern(8, INT));
}

void hwpoison_unprivileged(void)
{
	prove("not root", geteuid() != 0);
	advise("", anon_page(), MADV_HWPOISON);
}

/* From here on a kernel that knows no memory errors is not asked: the scenario is n/a. */
static void need(int advice)
{
	if (madvise(NULL, 0, advice) < 0)
		not_applicable("madvise(%d)=%s", advice, errno_name(errno));
}

static bool inject(char *page)
{
	need(MADV_HWPOISON);
	return advise("madvise", page, MADV_HWPOISON);
}

/* -- told of a pointer that has a top byte ---------------------------------------------------- */

void hwpoison_tagged_load(void)
{
	char *page = anon_page();

	need_tags();
	if (inject(page))
		execute("load", code_load_int, tagged(page + 8, 0x5a), page + 8);
}

void hwpoison_tagged_load_expose(void)
{
	char *page = anon_page(), *at = tagged(page + 8, 0x5a);

	need_tags();
	expose_tags(SIGBUS);
	if (inject(page))
		execute("load", code_load_int, at, at);
}

/* -- other ways for the kernel to trip over the page ------------------------------------------ */

void hwpoison_futex(void)
{
	char *page = anon_page();

	if (inject(page))
		call("futex", page, syscall(FUTEX, page, FUTEX_WAIT, 0, NULL, NULL, 0));
}

void hwpoison_path(void)
{
	char *page = anon_page();

	if (inject(page))
		call("open", page, open(page, O_RDONLY));
}

void hwpoison_read_zero(void)
{
	char *page = anon_page();
	int fd = must("open zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));

	if (inject(page))
		transfer("read", page, 64, read(fd, page, 64));
}

void hwpoison_proc_mem(void)
{
	char *page = anon_page(), *good = anon_page();
	int fd = must("open mem", open("/proc/self/mem", O_RDONLY | O_CLOEXEC));

	if (inject(page))
		transfer("pread", good, 64, pread(fd, good, 64, (off_t)(uintptr_t)page));
}

void hwpoison_process_vm(void)
{
	char *page = anon_page(), *good = anon_page();
	struct iovec to = { .iov_base = good, .iov_len = 64 };
	struct iovec from = { .iov_base = page, .iov_len = 64 };

	if (inject(page))
		transfer("read", good, 64, process_vm_readv(getpid(), &to, 1, &from, 1, 0));
}

void hwpoison_populate(void)
{
	char *page = anon_page();

	if (inject(page))
		advise("populate", page, MADV_POPULATE_READ);
}

void hwpoison_mlock(void)
{
	char *page = anon_page();

	if (inject(page))
		call("mlock", page, mlock(page, page_size));
}

/* -- ways out: what a program can do about it --------------------------------------------------- */

void hwpoison_dontneed(void)
{
	char *page = anon_page();

	if (!inject(page))
		return;
	advise("drop", page, MADV_DONTNEED);
	load_data("load", page + 8, INT, pattern(8, INT));
}

void hwpoison_map_over(void)
{
	char *page = anon_page();

	if (!inject(page))
		return;
	must("mmap", mmap(page, page_size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	load_data("load", page + 8, INT, pattern(8, INT));
}

void hwpoison_fork(void)
{
	char *page = anon_page();
	pid_t pid;

	if (!inject(page))
		return;
	pid = fork_child();
	if (pid == 0) {
		load("load", page + 8, INT);
		child_done();
	}
	join_child(pid);
}

/* -- who is told -------------------------------------------------------------------------------- */

static void be_told_early(void)
{
	must("PR_MCE_KILL", prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
}

void hwpoison_early(void)
{
	char *page = anon_page();

	need(MADV_HWPOISON);
	be_told_early();
	advise("", page, MADV_HWPOISON);
}

void hwpoison_blocked(void)
{
	char *page = anon_page();
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	must("sigprocmask", sigprocmask(SIG_BLOCK, &set, NULL));
	if (inject(page))
		load("load", page + 8, INT);
}

struct witness {
	char *page;
	int ready;		/* told when it is about to wait */
};

static void *wait_to_be_told(void *arg)
{
	struct witness *self = arg;
	char byte = 0;

	be_told_early();
	prove("mapped here as well", filled(self->page, page_size));
	task('A');
	call_begin("pause", self->page);
	must("write", write(self->ready, &byte, 1));
	call_end(pause(), -1, true);
	return NULL;
}

static void wait_in_thread(struct witness *self)
{
	pthread_join(start_thread(wait_to_be_told, self), NULL);
}

/*
 * Another task that has the page mapped, and waits to be told (A), in a thread of its own or not;
 * we are the one who injects (B).
 */
static void two_early(bool in_thread)
{
	struct witness witness = { .page = shared_page() };
	struct stuck child = { .page = witness.page };
	int ready[2];
	char byte;

	need(MADV_HWPOISON);
	must("pipe", pipe2(ready, O_CLOEXEC));
	witness.ready = ready[1];
	child.pid = fork_child();
	if (child.pid == 0) {
		if (in_thread)
			wait_in_thread(&witness);
		else
			wait_to_be_told(&witness);
		child_done();
	}
	must("read", read(ready[0], &byte, 1));
	see_it_sleep(&child);
	task('B');
	if (inject(witness.page))
		join_child(child.pid);
}

void hwpoison_two_early(void)
{
	two_early(false);
}

void hwpoison_two_early_thread(void)
{
	two_early(true);
}

void hwpoison_two_late(void)
{
	struct stuck child = { .page = shared_page() };
	char byte = 0;
	int go[2];

	need(MADV_HWPOISON);
	must("pipe", pipe2(go, O_CLOEXEC));
	child.pid = fork_child();
	if (child.pid == 0) {
		prove("mapped here as well", filled(child.page, page_size));
		must("read", read(go[0], &byte, 1));
		task('B');
		load("load", child.page + 8, INT);
		child_done();
	}
	see_it_sleep(&child);
	task('A');
	if (!inject(child.page))
		return;
	must("write", write(go[1], &byte, 1));
	join_child(child.pid);
}

/* -- soft offline ---------------------------------------------------------------------------------- */

void hwpoison_soft_offline_shared(void)
{
	char *page = shared_page();

	need(SOFT_OFFLINE);
	if (advise("madvise", page, SOFT_OFFLINE))
		load_data("load", page + 8, INT, pattern(8, INT));
}

void hwpoison_soft_offline_unprivileged(void)
{
	prove("not root", geteuid() != 0);
	need(SOFT_OFFLINE);
	advise("", anon_page(), SOFT_OFFLINE);
}

void hwpoison_soft_offline_disabled(void)
{
	static const char knob[] = "/proc/sys/vm/enable_soft_offline";
	char *page = anon_page();

	if (!set_knob(knob, "0"))
		not_applicable("no %s", knob);
	advise("madvise", page, SOFT_OFFLINE);
	set_knob(knob, "1");
	load_data("load", page + 8, INT, pattern(8, INT));
}

/* -- files on a disk: what can be read again, and what cannot ---------------------------------------- */

static int disk_file(void)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/hwpoison", mount_disk("ext4"));
	fd = must("open", open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	must("ftruncate", ftruncate(fd, page_size));
	return fd;
}

void hwpoison_disk_clean(void)
{
	int fd = disk_file();
	char *page = file_page(fd);

	must("fsync", fsync(fd));
	if (inject(page))
		load_data("load", page + 8, INT, pattern(8, INT));
}

void hwpoison_disk_dirty(void)
{
	int fd = disk_file();
	char *page = file_page(fd);

	if (!inject(page))
		return;
	load("load", page + 8, INT);
	call("fsync", page, fsync(fd));
}

/* -- huge pages ---------------------------------------------------------------------------------------- */

static char *hugetlb_page(size_t size)
{
	huge_pool(size, 2);
	return written(huge_pages(size, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1));
}

static void hugetlb_load(size_t size)
{
	char *page = hugetlb_page(size);

	if (inject(page))
		load("load", page + 3 * page_size + 8, INT);
}

void hwpoison_hugetlb_2m(void)
{
	hugetlb_load(2 * MIB);
}

void hwpoison_hugetlb_64k(void)
{
	hugetlb_load(64 * KIB);
}

void hwpoison_hugetlb_32m(void)
{
	hugetlb_load(32 * MIB);
}

void hwpoison_hugetlb_read(void)
{
	char *page = hugetlb_page(2 * MIB);
	int fd = pipe_holding(64);

	if (inject(page))
		transfer("read", page, 64, read(fd, page, 64));
}

void hwpoison_thp(void)
{
	size_t size;
	char *page = transparent_huge_page(&size), *bad = page + 5 * page_size;

	if (!inject(bad))
		return;
	load("bad", bad + 8, INT);
	load_data("good", page + 8, INT, pattern(8, INT));
}
