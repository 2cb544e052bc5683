// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fault that the kernel gives up and retries, because its task got a signal: the task waits
 * for a page that nobody brings, in user mode or inside a system call.
 */
#include "fault.h"

static void read_into(char *page)
{
	int fd = pipe_holding(64);
	ssize_t n = read(fd, page, 64);

	detail("read", "%s", n < 0 ? errno_name(errno) : "ok");
}

static void write_from(char *page)
{
	int fd = pipe_sink();
	ssize_t n = write(fd, page, 64);

	detail("write", "%s", n < 0 ? errno_name(errno) : "ok");
}

static void load_from(char *page)
{
	arch_load(page, INT);
}

/* What becomes of a child that waits in act when it is killed. */
static void kill_in(void (*act)(char *page))
{
	struct stuck child = stuck_child(act);

	step("");
	must("kill", kill(child.pid, SIGKILL));
	if (!result_fate(child.pid))
		release(&child);
}

void retry_kill_in_read(void)
{
	kill_in(read_into);
}

void retry_kill_in_write(void)
{
	kill_in(write_from);
}

void retry_kill_in_load(void)
{
	kill_in(load_from);
}

/* The child's own step: it begins before the fault, and ends when the page has come. */
static void load_pattern(char *page)
{
	load_data("", page, INT, pattern(0, INT));
}

void retry_resolve_load(void)
{
	struct stuck child = stuck_child(load_pattern);

	resolve(&child);
	join_child(child.pid);
}

static void on_alarm(int sig)
{
	(void)sig;
	detail("handler", "ran");
}

static void read_with_alarm_handler(char *page)
{
	must("signal", signal(SIGALRM, on_alarm) == SIG_ERR ? -1 : 0);
	read_into(page);
}

/* A signal that does not kill: it can interrupt the wait, but not the copy around it. */
void retry_alarm_in_read(void)
{
	struct stuck child = stuck_child(read_with_alarm_handler);

	step("alarm");
	must("kill", kill(child.pid, SIGALRM));
	pause_ms(500);
	if (!result_hang(child.pid))
		release(&child);
}
