// SPDX-License-Identifier: GPL-2.0-only
/* A program that means harm to the machine it runs on, as its first argument says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static void fork_bomb(void)
{
	for (;;)
		if (fork() == 0)
			setsid();
}

static void eat_memory(void)
{
	for (;;)
		if (mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
			pause();
}

static void flood(void)
{
	static char line[4096];

	memset(line, 'x', sizeof(line));
	for (;;)
		if (write(1, line, sizeof(line)) < 0)
			pause();
}

static void kill_all(void)
{
	_exit(kill(-1, SIGKILL) != 0);
}

static void unmount(void)
{
	umount2("/proc", MNT_DETACH);
	umount2("/dev", MNT_DETACH);
	umount2("/tmp", MNT_DETACH);
}

/* Every port that init has open gets what no frame is. */
static void garbage(void)
{
	static char noise[8192];
	int init = syscall(SYS_pidfd_open, 1, 0);

	memset(noise, '\n', sizeof(noise));
	memset(noise + 100, 0xff, 4000);
	for (int fd = 0; fd < 64; fd++) {
		char path[32], target[64] = "";
		int port;

		snprintf(path, sizeof(path), "/proc/1/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) < 0 ||
		    strncmp(target, "/dev/vport", 10))
			continue;
		port = syscall(SYS_pidfd_getfd, init, fd, 0);
		if (port < 0 || write(port, noise, sizeof(noise)) < 0)
			_exit(1);
	}
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*run)(void); } acts[] = {
		{ "fork-bomb", fork_bomb }, { "eat-memory", eat_memory }, { "flood", flood },
		{ "kill-all", kill_all }, { "unmount", unmount }, { "garbage", garbage },
	};

	for (size_t i = 0; argc > 1 && i < sizeof(acts) / sizeof(acts[0]); i++) {
		if (!strcmp(argv[1], acts[i].name)) {
			acts[i].run();
			return 0;
		}
	}
	reboot(argc > 1 && !strcmp(argv[1], "off") ? RB_POWER_OFF : RB_AUTOBOOT);
	for (;;)
		pause();
}
