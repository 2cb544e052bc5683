// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the machine counts: /proc/vmstat, of which vma_lock_* tell which lock a fault took. And what
 * has tainted its kernel.
 */
#include "runtime.h"

#include <fcntl.h>
#include <stdlib.h>

static char text[16384];

void read_vmstat(void)
{
	int fd = must("open vmstat", open("/proc/vmstat", O_RDONLY | O_CLOEXEC));
	ssize_t n, size = 0;

	while ((n = must("read vmstat", read(fd, text + size, sizeof(text) - 1 - size))))
		size += n;
	close(fd);
	text[size] = '\0';
}

long vmstat(const char *key)
{
	char name[40];
	const char *at;

	snprintf(name, sizeof(name), "\n%s ", key);
	at = strstr(text, name);
	if (!at)
		not_applicable("no %s in /proc/vmstat", key);
	return strtol(at + strlen(name), NULL, 10);
}

static const char *const events[] = { "success", "abort", "retry", "miss" };

struct lock_events lock_events(void)
{
	struct lock_events found;

	_Static_assert(ARRAY_SIZE(events) == ARRAY_SIZE(found.count), "a count for each");
	read_vmstat();
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		char name[40];

		snprintf(name, sizeof(name), "vma_lock_%s", events[i]);
		found.count[i] = vmstat(name);
	}
	return found;
}

void least_since(struct lock_events *least, struct lock_events before)
{
	struct lock_events after = lock_events();

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		long n = after.count[i] - before.count[i];

		if (n < least->count[i])
			least->count[i] = n;
	}
}

void result_lock_events(struct lock_events least)
{
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		step(events[i]);
		result("ok(%ld)", least.count[i]);
	}
}

void count_locks(char *(*make)(void), void (*touch)(char *memory))
{
	struct lock_events before, least = NO_LOOK;

	lock_events();
	touch(make());
	for (int looks = LOOKS; looks; looks--) {
		char *memory = make();

		before = lock_events();
		touch(memory);
		least_since(&least, before);
	}
	result_lock_events(least);
}

static unsigned long noted;

/* False where there is no such file. */
static bool read_taint(unsigned long *taint)
{
	FILE *file = fopen("/proc/sys/kernel/tainted", "r");
	bool known;

	if (!file)
		return false;
	known = fscanf(file, "%lu", taint) == 1;
	fclose(file);
	return known;
}

void note_taint(void)
{
	read_taint(&noted);
}

unsigned long new_taint(void)
{
	unsigned long taint = 0;

	if (!read_taint(&taint))
		not_applicable("no /proc/sys/kernel/tainted");
	return taint & ~noted;
}
