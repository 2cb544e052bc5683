// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task over the memory limit of its group: the OOM killer comes in the middle of a fault,
 * in user mode or inside a system call.
 */
#include "fault.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define RW (PROT_READ | PROT_WRITE)
#define ROOT "/tmp/cgroup"
#define GROUP ROOT "/faults"
#define LIMIT "8388608"
#define OVER (16 * MIB)
#define WITHIN (2 * MIB)

static void set_group(const char *path, const char *value)
{
	if (!set_knob(path, value))
		setup_failed(path);
}

/* A group with a limit, in a mount that nobody else sees. */
static void make_group(void)
{
	mkdir(ROOT, 0755);
	must("unshare", unshare(CLONE_NEWNS));
	if (mount("cgroup2", ROOT, "cgroup2", 0, NULL) < 0)
		not_applicable("no cgroup2: %s", errno_name(errno));
	if (access(ROOT "/cgroup.controllers", R_OK) < 0)
		not_applicable("no cgroup.controllers");
	set_group(ROOT "/cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) < 0 && errno != EEXIST)
		setup_failed("mkdir");
	set_group(GROUP "/memory.max", LIMIT);
}

static long oom_kills(void)
{
	int fd = must("open events", open(GROUP "/memory.events", O_RDONLY | O_CLOEXEC));
	char text[512], *at;
	ssize_t n = must("read events", read(fd, text, sizeof(text) - 1));

	close(fd);
	text[n] = '\0';
	at = strstr(text, "oom_kill ");
	prove("oom_kill in memory.events", at != NULL);
	return strtol(at + strlen("oom_kill "), NULL, 10);
}

/* What becomes of a child in the group that does this, and how many the OOM killer took. */
static void in_group(void (*act)(size_t size), size_t size)
{
	long before;
	pid_t pid;

	make_group();
	before = oom_kills();
	pid = fork_child();
	if (pid == 0) {
		set_group(GROUP "/cgroup.procs", "0");
		act(size);
		child_done();
	}
	step("task");
	result_fate(pid);
	step("oom-kills");
	result("ok(%ld)", oom_kills() - before);
	rmdir(GROUP);
}

static void touch_anon(size_t size)
{
	char *memory = anon_pages(size / page_size, RW);

	for (size_t at = 0; at < size; at += page_size)
		arch_store(memory + at, 1, INT);
}

void memcg_within(void)
{
	in_group(touch_anon, WITHIN);
}

void memcg_oom_store(void)
{
	in_group(touch_anon, OVER);
}

static void read_zeroes(size_t size)
{
	char *memory = anon_pages(size / page_size, RW);
	int fd = must("open zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));

	detail("read", "%zd", read(fd, memory, size));
}

void memcg_oom_read(void)
{
	in_group(read_zeroes, OVER);
}

static int empty_file(size_t size)
{
	int fd = tmpfile_of(0);

	must("ftruncate", ftruncate(fd, size));
	return fd;
}

static void touch_file(size_t size)
{
	char *memory = map_file(empty_file(size), size / page_size, RW, MAP_SHARED);

	for (size_t at = 0; at < size; at += page_size)
		arch_store(memory + at, 1, INT);
}

void memcg_oom_file_store(void)
{
	in_group(touch_file, OVER);
}

static void write_file(size_t size)
{
	char *page = anon_pages(1, RW);
	int fd = empty_file(0);

	fill(page, page_size);
	for (size_t at = 0; at < size; at += page_size)
		if (write(fd, page, page_size) != (ssize_t)page_size) {
			detail("write", "%s at %zu", errno_name(errno), at);
			return;
		}
}

void memcg_oom_file_write(void)
{
	in_group(write_file, OVER);
}

static void lock_memory(size_t size)
{
	detail("mlock", "%d", mlock(anon_pages(size / page_size, RW), size));
}

void memcg_oom_mlock(void)
{
	in_group(lock_memory, OVER);
}
