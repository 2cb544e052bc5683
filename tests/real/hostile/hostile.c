// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scenarios that mean harm: to the agent, to the machine, to what runs after them. All run as
 * root. tests/real/test_hostile.py builds them into a guest of their own and says what must
 * become of each; all that comes behind one has to be as if it had not been.
 */
#include "fault.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define AGENT 1
#define REPORT_FD 3

static __noreturn void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void must_write(int fd, const void *data, size_t n)
{
	while (n) {
		ssize_t done = write(fd, data, n);

		if (done < 0 && errno != EAGAIN)
			setup_failed("write");
		data = (const char *)data + (done > 0 ? done : 0);
		n -= done > 0 ? done : 0;
	}
}

/* -- too much ---------------------------------------------------------------------------- */

/* Each child leaves the session, so that no one signal reaches them all. */
void hostile_fork_bomb(void)
{
	step("");
	for (;;)
		if (fork() == 0)
			setsid();
}

void hostile_eat_memory(void)
{
	step("");
	for (;;) {
		char *some = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (some == MAP_FAILED)
			sleep_for_ever();
	}
}

/* What lies in a file outlives who wrote it. */
void hostile_fill_tmp(void)
{
	static char some[64 * KIB] = "full";
	int fd = must("open", open("/tmp/full", O_CREAT | O_WRONLY, 0600));

	step("");
	while (write(fd, some, sizeof(some)) > 0)
		;
	result("ok");
}

void hostile_open_files(void)
{
	step("");
	while (fork() >= 0 || errno != EAGAIN)
		while (open("/dev/null", O_RDONLY) >= 0)
			;
	sleep_for_ever();
}

/* Before everybody else, for ever. */
void hostile_hog(void)
{
	struct sched_param most = { .sched_priority = sched_get_priority_max(SCHED_FIFO) };

	must("sched_setscheduler", sched_setscheduler(0, SCHED_FIFO, &most));
	step("");
	for (;;)
		;
}

/* -- what the agent listens to ------------------------------------------------------------- */

void hostile_endless_report(void)
{
	char line[64];

	for (unsigned long i = 0;; i++)
		must_write(REPORT_FD, line, snprintf(line, sizeof(line), "detail k %lu\n", i));
}

void hostile_garbage_report(void)
{
	char noise[4096];

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = i * 37 ^ i >> 3;	/* NULs, newlines, escapes */
	must_write(REPORT_FD, noise, sizeof(noise));
	must_write(REPORT_FD, "result \033[31mred\nresult \n\0result\n", 32);
}

void hostile_close_report(void)
{
	step("");
	close(REPORT_FD);
	sleep_for_ever();
}

/* The agent's end of the port of results, which nobody else can open. */
static int steal_port(void)
{
	char path[32], target[64];
	int agent = must("pidfd_open", syscall(SYS_pidfd_open, AGENT, 0));

	for (int fd = 0; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/1/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (!strncmp(target, "/dev/vport", 10))
			return must("pidfd_getfd", syscall(SYS_pidfd_getfd, agent, fd, 0));
	}
	setup_unproven("the agent has a port");
}

void hostile_port_garbage(void)
{
	static char noise[256 * KIB];
	int port = steal_port();

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = i * 37 ^ i >> 3;
	step("");
	must_write(port, noise, sizeof(noise));
	result("ok");
}

void hostile_port_endless(void)
{
	static char noise[64 * KIB];
	int port = steal_port();

	step("");
	for (;;)
		must_write(port, noise, sizeof(noise));
}

static uint32_t crc32(const char *data, size_t n)
{
	uint32_t crc = ~0U;

	while (n--) {
		crc ^= (unsigned char)*data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

/* A frame as the agent would send it, far ahead of its own: what the others will say, and lies. */
static void forge(int port, unsigned int sequence, const char *payload)
{
	char line[4096], nonce[17] = "", body[256], frame[320];
	int fd = must("cmdline", open("/proc/cmdline", O_RDONLY)), n;

	n = read(fd, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	prove("a nonce", sscanf(strstr(line, "nonce="), "nonce=%16[0-9a-f]", nonce) == 1);
	n = snprintf(body, sizeof(body), "%s %u %s", nonce, sequence, payload);
	n = snprintf(frame, sizeof(frame), "FL1 %s %u %08x %s\n", nonce, sequence, crc32(body, n),
		     payload);
	must_write(port, frame, n);
}

void hostile_forge_other(void)
{
	int port = steal_port();

	step("");
	for (unsigned int i = 0; i < 3; i++)
		forge(port, 1000000 + i, "{\"t\":\"end\",\"s\":\"victim/load\",\"o\":\"EFAULT\"}");
	result("ok");
}

void hostile_forge_hello(void)
{
	int port = steal_port();

	step("");
	forge(port, 1000000, "{\"t\":\"hello\",\"protocol\":99,\"calibration_us\":2000000000}");
	forge(port, 1000001, "{\"t\":\"error\",\"e\":\"\\u001b[2J gone\"}");
	result("ok");
}

/* -- the log and the console ----------------------------------------------------------------- */

void hostile_flood_console(void)
{
	static char line[1000];
	int console = must("open", open("/dev/console", O_WRONLY | O_NOCTTY));

	memset(line, 'x', sizeof(line));
	step("");
	for (;;)
		must_write(console, line, sizeof(line));
}

/* As the kernel would say it, about a scenario that comes later. */
void hostile_forge_log(void)
{
	char line[4096], nonce[9] = "", mark[128];
	int log = must("kmsg", open("/dev/kmsg", O_WRONLY)), n;
	int fd = must("cmdline", open("/proc/cmdline", O_RDONLY));

	n = read(fd, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	prove("a nonce", sscanf(strstr(line, "nonce="), "nonce=%8[0-9a-f]", nonce) == 1);
	step("");
	n = snprintf(mark, sizeof(mark), "<1>fl-%s victim/load\n", nonce);
	must_write(log, mark, n);
	must_write(log, "<1>\033]0;owned\007\033[2J\n", 18);
	result("ok");
}

/* -- what others stand on ----------------------------------------------------------------- */

void hostile_kill_all(void)
{
	pid_t child = fork_child();

	if (child == 0)
		sleep_for_ever();
	call("kill", NULL, kill(-1, SIGKILL));
	join_child(child);
}

void hostile_kill_agent(void)
{
	step("");
	for (int sig = 1; sig < NSIG; sig++)
		kill(AGENT, sig);
	result("ok");
}

/* It makes the agent its tracer, and its child, in a session apart, makes it one: neither goes on. */
void hostile_trace_me(void)
{
	step("");
	if (fork() == 0)
		setsid();
	must("PTRACE_TRACEME", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	raise(SIGUSR1);
	result("ok");
}

/* Stopped by a tracer, even the agent stands still. */
void hostile_stop_agent(void)
{
	step("");
	must("attach", ptrace(PTRACE_ATTACH, AGENT, NULL, NULL));
	sleep_for_ever();
}

/* All that the agent could write to: it will not go on, and a kernel without init does not. */
void hostile_scribble_on_agent(void)
{
	static char nonsense[4096];
	unsigned long start, end;
	char line[256], perms[5];
	FILE *maps = fopen("/proc/1/maps", "r");
	int memory = must("mem", open("/proc/1/mem", O_RDWR));

	prove("maps", maps);
	memset(nonsense, 0xff, sizeof(nonsense));
	step("");
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3)
			for (; start < end; start += sizeof(nonsense))
				if (pwrite(memory, nonsense, sizeof(nonsense), start) < 0)
					break;
	kill(AGENT, SIGCHLD);
	sleep_for_ever();
}

void hostile_unmount(void)
{
	static const char *const places[] = { "/tmp", "/dev", "/sys", "/proc" };

	step("");
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		umount2(places[i], MNT_DETACH);
	mount("none", "/", "tmpfs", 0, NULL);
	result("ok");
}

void hostile_remount(void)
{
	static const char *const places[] = { "/", "/tmp", "/dev", "/sys", "/proc" };

	step("");
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		mount(NULL, places[i], NULL, MS_REMOUNT | MS_RDONLY | MS_NOEXEC, NULL);
	result("ok");
}

void hostile_reboot(void)
{
	step("");
	reboot(RB_AUTOBOOT);
}

/* Root may ask for it. (These kernels have no sysrq.) */
void hostile_panic(void)
{
	must_write(must("panic_on_oom", open("/proc/sys/vm/panic_on_oom", O_WRONLY)), "2", 1);
	hostile_eat_memory();
}

void hostile_power_off(void)
{
	step("");
	reboot(RB_POWER_OFF);
	sleep_for_ever();
}

void hostile_halt(void)
{
	step("");
	reboot(RB_HALT_SYSTEM);
	sleep_for_ever();
}

/* -- time ------------------------------------------------------------------------------------ */

/* Nothing of its own will wake it. */
void hostile_stop_timer(void)
{
	static const struct itimerval none;
	sigset_t all;

	sigfillset(&all);
	must("sigprocmask", sigprocmask(SIG_BLOCK, &all, NULL));
	for (int timer = ITIMER_REAL; timer <= ITIMER_PROF; timer++)
		setitimer(timer, &none, NULL);
	step("");
	kill(getpid(), SIGSTOP);
	sleep_for_ever();
}

void hostile_jump_clock(void)
{
	struct timeval later = { .tv_sec = 2000000000 }, earlier = { .tv_sec = 1000000 };

	step("");
	must("settimeofday", settimeofday(&later, NULL));
	must("settimeofday", settimeofday(&earlier, NULL));
	result("ok");
}

/* -- what stays ----------------------------------------------------------------------------- */

/* In a session of its own, deaf to all that can be ignored, always in another process. */
void hostile_daemon(void)
{
	step("");
	if (fork() == 0) {
		setsid();
		for (int sig = 1; sig < NSIG; sig++)
			signal(sig, SIG_IGN);
		for (;;) {
			if (fork() > 0)
				_exit(0);
			setsid();
		}
	}
	result("ok");
}
