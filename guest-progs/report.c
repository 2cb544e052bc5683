// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines on descriptor 3, to whoever runs this process: docs/guest-protocol.md. A line is one
 * write of less than PIPE_BUF, so lines of several processes do not mix.
 */
#include "runtime.h"

#include <sched.h>
#include <stdarg.h>

#define REPORT_FD 3

static char current_task;

static __printf(2, 0) void say(const char *word, const char *fmt, va_list args)
{
	char line[1024];
	int at = 0, left, n;

	/* In the same write, since the other tasks write as well. */
	if (current_task)
		at += snprintf(line, sizeof(line), "task %c\n", current_task);
	at += snprintf(line + at, sizeof(line) - at, "%s ", word);
	left = sizeof(line) - 1 - at;
	n = vsnprintf(line + at, left, fmt, args);

	n = at + (n < left ? n : left - 1);
	line[n++] = '\n';
	/* With nobody to tell there is nothing to do but to go on. */
	if (write(REPORT_FD, line, n) != n)
		return;
}

static __printf(2, 3) void sayf(const char *word, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(word, fmt, args);
	va_end(args);
}

void step(const char *label)
{
	sayf("step", "%s", label);
	/* Let the agent pass on what has been seen so far, in case the machine dies in this one. */
	if (*label && strcmp(label, "after"))
		sched_yield();
}

void result(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("result", fmt, args);
	va_end(args);
}

void task(char name)
{
	current_task = name;
}

void detail(const char *key, const char *fmt, ...)
{
	char word[64];
	va_list args;

	snprintf(word, sizeof(word), "detail %s", key);
	va_start(args, fmt);
	say(word, fmt, args);
	va_end(args);
}

void not_applicable(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("n/a", fmt, args);
	va_end(args);
	_exit(0);
}

void setup_failed(const char *what)
{
	sayf("setup", "%s %s", what, errno_name(errno));
	_exit(0);
}

void setup_unproven(const char *what)
{
	sayf("setup", "%s unproven", what);
	_exit(0);
}

void report_done(void)
{
	sayf("done", "%s", "");
}
