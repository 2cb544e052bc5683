// SPDX-License-Identifier: GPL-2.0-only
/* A program that ends, or does not, as its first argument says. Knows nothing of faultline. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int flood(long bytes)
{
	static char line[4096];

	for (size_t i = 0; i < sizeof(line); i++)
		line[i] = i % 64 == 63 ? '\n' : 'a' + i % 26;
	for (; bytes > 0; bytes -= sizeof(line))
		if (write(1, line, bytes < (long)sizeof(line) ? bytes : (long)sizeof(line)) < 0)
			return 1;
	return 0;
}

/* Every byte there is, on both streams, the last line without its end. */
static int all_bytes(void)
{
	unsigned char bytes[256];

	for (int i = 0; i < 256; i++)
		bytes[i] = i;
	if (write(1, bytes, 256) != 256 || write(2, bytes + 128, 128) != 128)
		return 1;
	return 0;
}

static int copy(void)
{
	static char buffer[65536];
	ssize_t n;

	while ((n = read(0, buffer, sizeof(buffer))) > 0)
		if (write(1, buffer, n) != n)
			return 1;
	return n < 0;
}

static void leave_a_daemon(void)
{
	if (fork())
		return;
	setsid();
	if (fork())
		_exit(0);
	for (;;)
		pause();	/* with stdout still open */
}

static int exists(const char *path, mode_t mode)
{
	struct stat st;

	if (stat(path, &st)) {
		printf("%s: %s\n", path, strerror(errno));
		return 1;
	}
	if (mode && (st.st_mode & 07777) != mode) {
		printf("%s: mode %o\n", path, st.st_mode & 07777);
		return 1;
	}
	return 0;
}

/* What test suites expect around them. */
static int surroundings(void)
{
	char line[256];
	int nobody = 0, wrong = 0;
	FILE *passwd = fopen("/etc/passwd", "r");

	while (passwd && fgets(line, sizeof(line), passwd))
		nobody |= !strncmp(line, "nobody:", 7);
	if (!nobody)
		puts("no user nobody");
	wrong |= exists("/", 0755) | exists("/tmp", 01777) | exists("/dev/shm", 01777);
	wrong |= exists("/proc/self/maps", 0) | exists("/sys/kernel", 0) | exists("/dev/null", 0);
	close(open("/tmp/file", O_RDWR | O_CREAT | O_EXCL, 0600));
	wrong |= exists("/tmp/file", 0600);
	if (!getenv("TMPDIR") || !getenv("LTP_TIMEOUT_MUL") || !getenv("PATH"))
		wrong |= puts("environment") > 0;
	return wrong || !nobody;
}

/* Two huge pages of 2 MiB at the least, and every byte of them. */
static int huge(void)
{
	size_t size = 2 << 20;
	char *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	memset(p, 1, 2 * size);
	return puts("huge") < 0;
}

/* Root may make the kernel panic by asking for more memory than there is. */
static int panic(void)
{
	char *p;

	puts("before");
	fflush(stdout);
	if (write(open("/proc/sys/vm/panic_on_oom", O_WRONLY), "2", 1) != 1)
		return 1;
	while ((p = malloc(1 << 20)))
		memset(p, 1, 1 << 20);
	return 1;
}

/* All memory but the machine's last: the kernel kills who has most, and that is we. */
static int eat(void)
{
	char *p;

	while ((p = malloc(1 << 20)))
		memset(p, 1, 1 << 20);
	return 1;
}

/* The parent ends; the child writes on for as long as it lives. */
static int chatter(int status)
{
	static char line[4096];

	if (fork()) {
		usleep(100000);
		return status;
	}
	setsid();
	while (write(1, line, sizeof(line)) > 0)
		;
	return 0;
}

/* Its parent is its tracer, and never continues it: an exec, a fault, a signal stop it for ever. */
static int traced(const char *how, char **argv)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		return 1;
	if (!strcmp(how, "exec"))
		return execl(argv[0], argv[0], "exit", "3", NULL);
	if (!strcmp(how, "segv"))
		return *(volatile int *)0;
	return raise(SIGUSR1);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long n = argc > 2 ? atol(argv[2]) : 0;

	if (!strcmp(what, "exit"))
		return n;
	if (!strcmp(what, "kill"))
		return raise(n);
	if (!strcmp(what, "segv"))
		return *(volatile int *)n;
	if (!strcmp(what, "traced"))
		return traced(argv[2], argv);
	if (!strcmp(what, "hang"))
		return pause();
	if (!strcmp(what, "flood"))
		return flood(n);
	if (!strcmp(what, "bytes"))
		return all_bytes();
	if (!strcmp(what, "copy"))
		return copy();
	if (!strcmp(what, "surroundings"))
		return surroundings();
	if (!strcmp(what, "huge"))
		return huge();
	if (!strcmp(what, "daemon"))
		leave_a_daemon();
	if (!strcmp(what, "panic"))
		return panic();
	if (!strcmp(what, "eat"))
		return eat();
	if (!strcmp(what, "chatter"))
		return chatter(n);
	if (!strcmp(what, "reboot"))
		return reboot(RB_AUTOBOOT);
	if (!strcmp(what, "kill-all"))
		return kill(-1, SIGKILL);
	while (!strcmp(what, "bomb"))
		fork();
	printf("%d %s", argc, what);
	for (int i = 2; i < argc; i++)
		printf(" %s", getenv(argv[i]) ? getenv(argv[i]) : argv[i]);
	printf(" %d:%d\n", (int)getuid(), (int)getgid());
	return 0;
}
