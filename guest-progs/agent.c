// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of a guest: takes commands from the results port, runs scenarios, sends frames, as in
 * docs/guest-protocol.md. It must not crash, so it does little: after start-up all memory is
 * static, and all that it reads is bounded.
 */
#include "runtime.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PORT_WAIT_MS 20000
#define MAX_VIRTIO 16
#define MAX_LIMIT_MS 3600000
#define TIMER_WAIT_MS 1000	/* a thousand times what is asked for */
#define ANSWER_MS 2000		/* a host that is there answers at once */

static char nonce[17] = "0000000000000000";
static int port = -1, kmsg = -1, tainted = -1;

static void error(const char *text)
{
	frame_begin("error", NULL);
	frame_string(",\"e\":", text);
	frame_end();
}

/* Wait until there is something to read; without a reader at the host poll comes back at once. */
static size_t read_port(char *buffer, size_t size, uint64_t end)
{
	struct pollfd poll_port = { .fd = port, .events = POLLIN };
	ssize_t n;

	while ((n = read(port, buffer, size)) < 1) {
		if (now_us() >= end)
			return 0;
		if (poll(&poll_port, 1, 1000) > 0 && !(poll_port.revents & POLLIN))
			sleep_ms(5);
	}
	return n;
}

/* The next line of the host's, without its end; NULL: none until then. */
static char *next_line(uint64_t end)
{
	static char line[256], buffer[256];
	static size_t n, at, got;

	for (;;) {
		if (at == got) {
			at = 0;
			got = read_port(buffer, sizeof(buffer), end);
			if (!got)
				return NULL;
		}
		while (at < got) {
			char c = buffer[at++];

			if (c == '\n') {
				line[n] = '\0';
				n = 0;
				return line;
			}
			if (n < sizeof(line) - 1)
				line[n++] = c;
		}
	}
}

/* -- a scenario --------------------------------------------------------------------------- */

static struct run run;

/*
 * In the kernel's log, so that the console has it in order with what the kernel prints. Short:
 * an emulated UART takes its time for every character.
 */
static void mark_begin(void)
{
	char line[128];
	/*
	 * <1>: shown whatever the console's log level, but for `quiet`. On a line of its own even
	 * behind what a scenario has written there without an end.
	 */
	int n = snprintf(line, sizeof(line), "<1>\nfl-%.8s %s\n", nonce, run.scenario->name);

	if (write(kmsg, line, n) != n)
		return;		/* what the kernel says will lack an owner, no more */
}

/* What the kernel says it has been through: a WARN that printed nothing shows here. */
static uint64_t taint(void)
{
	char text[32];
	ssize_t n = tainted < 0 ? 0 : pread(tainted, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return strtoull(text, NULL, 10);
}

static void send_step(struct run *run)
{
	static char text[sizeof(run->outcome)];

	run_compose(run, text, sizeof(text));
	if (!*text)
		return;		/* the only step: nothing that would be lost with us */
	frame_begin("step", run->scenario->name);
	frame_string(",\"o\":", text);
	frame_end();
}

/* How long this machine has waited for a CPU is known to the host alone. */
static unsigned int ask_host(struct run *run)
{
	uint64_t end = now_us() + ANSWER_MS * 1000ULL;
	unsigned int ms;
	char *line;

	frame_begin("late", run->scenario->name);
	frame_end();
	while ((line = next_line(end)))
		if (sscanf(line, "more %u", &ms) == 1)
			return ms < MAX_LIMIT_MS ? ms : MAX_LIMIT_MS;
	return 0;
}

static void send_end(uint64_t new_taint)
{
	/* What must go in: a byte may be escaped. Details have what is left. */
	size_t reserve = 2 * (strlen(run.outcome) + strlen(run.cause) + strlen(run.failure)) + 256;
	const char *separator = "";
	bool all = true;

	frame_begin("end", run.scenario->name);
	frame_add(",\"d\":{");
	if (new_taint) {
		frame_add("\"taint\":\"0x%llx\"", (unsigned long long)new_taint);
		separator = ",";
	}
	for (int i = 0; i < run.details; i++) {
		const struct run_detail *d = &run.detail[i];
		size_t worst = 2 * (strlen(d->key) + strlen(d->value)) + 8;

		if (worst + reserve > frame_room()) {
			all = false;
			continue;
		}
		frame_string(separator, d->key);
		frame_string(":", d->value);
		separator = ",";
	}
	if (!all)
		frame_add("%s\"dropped\":\"1\"", separator);
	frame_add("}");
	frame_string(",\"o\":", run.outcome);
	frame_string(",\"n\":", run.cause);
	frame_string(",\"f\":", run.failure);
	frame_add(",\"ms\":%u", run.ms);
	frame_end();
}

void report_scenario(const char *name, unsigned long limit_ms)
{
	uint64_t before;

	run.scenario = find_scenario(name);
	if (!run.scenario) {
		error("no such scenario");
		return;
	}
	if (limit_ms < 1 || limit_ms > MAX_LIMIT_MS) {
		error("a limit is 1 to 3600000 ms");
		return;
	}
	run.limit_ms = limit_ms;
	run.progress = send_step;
	run.more = port < 0 ? NULL : ask_host;
	mark_begin();
	before = taint();
	run_scenario(&run);
	send_end(taint() & ~before);
}

static void program_command(char *rest)
{
	unsigned long limit_s, huge_pages, uid, gid, cores;
	const char *why;

	if (sscanf(rest, "%lu %lu %lu %lu %lu", &limit_s, &huge_pages, &uid, &gid, &cores) != 5) {
		error("exec LIMIT_S HUGE_PAGES UID GID CORES");
		return;
	}
	why = run_program(limit_s, huge_pages, uid, gid, cores);
	if (why)
		error(why);
}

static bool stay_on(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0;
}

/* One of a millisecond, asked for without a sleep that might never end. */
static bool timer_fires(void)
{
	static const struct itimerval soon = { .it_value.tv_usec = 1000 }, never;
	static const struct timespec at_once;
	uint64_t end = now_us() + TIMER_WAIT_MS * 1000ULL;
	sigset_t alarm, before;
	bool fired;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, &before);
	setitimer(ITIMER_REAL, &soon, NULL);
	do
		fired = sigtimedwait(&alarm, NULL, &at_once) == SIGALRM;
	while (!fired && now_us() < end);
	setitimer(ITIMER_REAL, &never, NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return fired;
}

/*
 * A machine that was restored may have lost what its timers were set to (riscv64, QEMU 7.2), and the
 * kernel, which waits for that event, sets none that is later. One long due is earlier than any, and
 * as it fires all that has become due meanwhile is looked after, and the next event is set; but
 * since 7.2 what is due is not set any more. So each CPU shows that its timer fires.
 */
static bool timers_fire(void)
{
	static const struct timespec long_ago = { .tv_nsec = 1 };
	int cpu = sysconf(_SC_NPROCESSORS_ONLN);
	bool fire = true;

	while (--cpu >= 0)	/* ends on the first: see keep_still */
		if (stay_on(cpu)) {
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &long_ago, NULL);
			fire &= timer_fires();
		}
	return fire;
}

static void command(char *line)
{
	char *name, *limit, *rest;

	name = strtok_r(line, " ", &rest);
	if (name && !strcmp(name, "off")) {
		reboot(RB_AUTOBOOT);
		error("reboot failed");
	} else if (name && !strcmp(name, "hello")) {
		/* We may be what was restored from a snapshot: a new host, and how fast is it? */
		name = strtok_r(NULL, " ", &rest);
		if (name && strlen(name) == sizeof(nonce) - 1) {
			memcpy(nonce, name, sizeof(nonce) - 1);
			frame_to(port, nonce);
			if (timers_fire())
				send_hello();
			else
				error("no timer fires");
		} else {
			error("hello NONCE");
		}
	} else if (name && !strcmp(name, "run")) {
		name = strtok_r(NULL, " ", &rest);
		limit = name ? strtok_r(NULL, " ", &rest) : NULL;
		if (limit)
			report_scenario(name, strtoul(limit, NULL, 10));
		else
			error("run NAME LIMIT_MS");
	} else if (name && !strcmp(name, "exec")) {
		program_command(rest);
	} else if (name && !strcmp(name, "more")) {
		return;		/* an answer that came too late */
	} else {
		error("unknown command");
	}
}

/* -- start-up ----------------------------------------------------------------------------- */

static void mount_all(void)
{
	static const struct { const char *type, *at; } mounts[] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" }, { "tmpfs", "/tmp" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].at, 0755);
		mount(mounts[i].type, mounts[i].at, mounts[i].type, 0, NULL);
	}
	chmod("/tmp", 01777);
}

/* An initramfs without /dev/console starts us without descriptors 0 to 2. */
static void open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 2);
	if (fd > 2)
		close(fd);
}

/*
 * The nonce of this boot, or what else than serving the port is asked for: faultline.bare is
 * nothing but the boot, as a measure.
 */
static void read_parameters(void)
{
	static char line[4096], name[128];
	int fd = open("/proc/cmdline", O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
	const char *at;

	if (fd >= 0)
		close(fd);
	line[n > 0 ? n : 0] = '\0';
	at = strstr(line, "faultline.nonce=");
	if (at)
		sscanf(at, "faultline.nonce=%16[0-9a-f]", nonce);
	one_cpu = strstr(line, "faultline.one_cpu");
	if (strstr(line, "faultline.bare"))
		reboot(RB_AUTOBOOT);
	at = strstr(line, "faultline.run=");
	if (at && sscanf(at, "faultline.run=%127s", name) == 1)
		console_run(name);
	if (strstr(line, "faultline.shell"))
		console_shell();
}

/* The port appears when its driver has talked to the device: shortly after we do. */
int open_vport(int nr)
{
	char path[32];
	int fd = -1;

	for (int device = 0; fd < 0 && device < MAX_VIRTIO; device++) {
		snprintf(path, sizeof(path), "/dev/vport%dp%d", device, nr);
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	}
	return fd;
}

static void open_port(void)
{
	uint64_t end = now_us() + PORT_WAIT_MS * 1000ULL;

	while ((port = open_vport(1)) < 0) {
		if (now_us() > end) {
			static const char complaint[] = "<1>faultline: no /dev/vport*p1\n";

			if (write(kmsg, complaint, sizeof(complaint) - 1) > 0)
				sleep_ms(100);
			reboot(RB_AUTOBOOT);
		}
		sleep_ms(2);
	}
}

/* Commands, one a line, until the machine is off. */
static void serve(void)
{
	for (;;)
		command(next_line(UINT64_MAX));
}

/*
 * On one CPU, as are the scenarios until they say otherwise: waking a task on another CPU costs
 * an interrupt there, and under emulation a switch of host threads. And without haste: each
 * line that a scenario says would take the CPU from it, and back. But with a share of the CPU that
 * two hundred busy loops of a scenario leave us: who does not answer is taken for a dead machine.
 */
static void keep_still(void)
{
	struct sched_param no_priority = { 0 };

	stay_on(0);
	sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &no_priority);
	setpriority(PRIO_PROCESS, 0, -20);
}

void agent(void)
{
	clearenv();
	keep_still();
	mount_all();
	open_standard();
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	tainted = open("/proc/sys/kernel/tainted", O_RDONLY | O_CLOEXEC);
	run_init();
	read_parameters();
	open_port();
	frame_to(port, nonce);
#ifdef GATHERING_CONSOLE
	frame_behind(GATHERING_CONSOLE);
#endif
	send_hello();
	serve();
	__builtin_unreachable();
}
