// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a process that does not end is doing: from /proc, not from elapsed time. Used on a
 * whole session by the hang rule, and by scenarios on a child they have killed in vain.
 *
 * Nothing here takes the mmap_lock of another process (no maps, no cmdline), since a
 * broken fault handler may have left it locked for ever. Nothing allocates.
 */
#include "runtime.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>

#define MAX_TASKS 32

struct look {
	pid_t pid, tid, parent, session;
	char state;
	unsigned long utime, stime;	/* clock ticks */
};

/* -- /proc ------------------------------------------------------------------------------ */

/* A small file as one printable line; "" when there is none. */
static void read_line(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *c = text; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = ' ';
	for (n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
		text[n - 1] = '\0';
}

/* From a stat file; the name of the program, which stands before, may hold anything. */
static bool read_stat(const char *path, struct look *look)
{
	char text[512];
	const char *at;

	read_line(path, text, sizeof(text));
	at = strrchr(text, ')');
	return at && sscanf(at + 1, " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			    &look->state, &look->parent, &look->session,
			    &look->utime, &look->stime) == 5;
}

struct numbers {
	int fd;
	ssize_t size, at;
	char buffer[2048] __attribute__((aligned(8)));
};

/* The next entry of a directory that is a number; 0 at the end. No opendir: it allocates. */
static pid_t next_number(struct numbers *dir)
{
	for (;;) {
		struct dirent64 *entry;

		if (dir->at >= dir->size) {
			dir->size = getdents64(dir->fd, dir->buffer, sizeof(dir->buffer));
			dir->at = 0;
			if (dir->size <= 0)
				return 0;
		}
		entry = (struct dirent64 *)(dir->buffer + dir->at);
		dir->at += entry->d_reclen;
		if (isdigit((unsigned char)entry->d_name[0]))
			return atoi(entry->d_name);
	}
}

static void open_numbers(struct numbers *dir, const char *path)
{
	dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir->size = dir->at = 0;
}

/* The next process that is of the session, or has this parent; 0 at the end. */
static pid_t next_process(struct numbers *proc, pid_t session, pid_t parent)
{
	struct look look;
	char path[64];
	pid_t pid;

	while ((pid = next_number(proc))) {
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		if (read_stat(path, &look) && (look.session == session || look.parent == parent))
			return pid;
	}
	return 0;
}

static int look_at_process(pid_t pid, struct look *looks, int n)
{
	struct numbers tasks;
	char path[64];
	pid_t tid;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	open_numbers(&tasks, path);
	while (n < MAX_TASKS && (tid = next_number(&tasks))) {
		struct look look = { .pid = pid, .tid = tid };

		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
		if (read_stat(path, &look) && !strchr("ZXx", look.state))
			looks[n++] = look;
	}
	close(tasks.fd);
	return n;
}

/* All live tasks of the process, or of the session and of those that left it or are not in yet. */
static int look_at_all(pid_t pid, pid_t session, struct look *looks)
{
	struct numbers proc;
	pid_t found;
	int n = 0;

	if (!session)
		return look_at_process(pid, looks, 0);
	open_numbers(&proc, "/proc");
	while (n < MAX_TASKS && (found = next_process(&proc, session, getpid())))
		n = look_at_process(found, looks, n);
	close(proc.fd);
	return n;
}

/* -- judging ------------------------------------------------------------------------------ */

/*
 * A quarter of the time between two looks is spinning: more than anything that sleeps uses,
 * and still reached where another stuck task takes half of the only CPU. A task that was
 * runnable both times and got no time at all spins too: whoever got the time did the same.
 */
static enum hang_state judge(const struct look *a, const struct look *b, uint64_t us)
{
	unsigned long enough = us * sysconf(_SC_CLK_TCK) / 1000000 / 4;
	unsigned long user = b->utime - a->utime, kernel = b->stime - a->stime;
	bool running = a->state == 'R' && b->state == 'R';

	if (enough < 1)
		enough = 1;
	/* A fault that comes back for ever is some of both, and how much of each is chance. */
	if (kernel >= enough || (running && kernel >= user))
		return HANG_SPIN_KERNEL;
	if (b->state == 'D')
		return HANG_DISK;
	if (user >= enough || running)
		return HANG_SPIN_USER;
	return HANG_SLEEP;
}

/* Where in the kernel a task is, as far as this kernel tells. */
void hang_where(pid_t pid, pid_t tid, char *text, size_t size)
{
	static const char *const files[] = { "wchan", "syscall", "stack" };
	size_t at = 0;

	*text = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[64], line[100];

		snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, files[i]);
		read_line(path, line, sizeof(line));
		if (*line && at < size)
			at += snprintf(text + at, size - at, "%s%s %s", at ? " " : "", files[i], line);
	}
}

static void note_task(hang_note note, const struct look *a, const struct look *b, uint64_t us)
{
	char key[32], value[200], where[160];

	hang_where(b->pid, b->tid, where, sizeof(where));
	snprintf(key, sizeof(key), "hang.%d", b->tid);
	snprintf(value, sizeof(value), "%c%c utime+%lu stime+%lu ticks in %u ms %.120s", a->state,
		 b->state, b->utime - a->utime, b->stime - a->stime, (unsigned int)(us / 1000), where);
	note(key, value);
}

enum hang_state hang_sample(pid_t pid, pid_t session, hang_note note)
{
	static struct look first[MAX_TASKS], second[MAX_TASKS];
	enum hang_state worst = HANG_GONE;
	uint64_t start = now_us(), us;
	int n, m;

	n = look_at_all(pid, session, first);
	sleep_ms(HANG_SAMPLE_MS);
	m = look_at_all(pid, session, second);
	us = now_us() - start;
	for (int i = 0; i < m; i++) {
		for (int j = 0; j < n; j++) {
			enum hang_state state;

			if (first[j].tid != second[i].tid)
				continue;
			state = judge(&first[j], &second[i], us);
			if (state > worst)
				worst = state;
			note_task(note, &first[j], &second[i], us);
		}
	}
	return worst == HANG_GONE && m ? HANG_SLEEP : worst;
}

/* Each of its threads sleeps now: in one look, so only of use to one who knows what they sleep in. */
bool hang_sleeps(pid_t pid)
{
	struct look looks[MAX_TASKS];
	int n = look_at_process(pid, looks, 0), sleep = 0;

	for (int i = 0; i < n; i++)
		sleep += !!strchr("SD", looks[i].state);
	return n > 0 && sleep == n;
}

bool hang_alive(pid_t pid)
{
	struct look looks[MAX_TASKS];

	return look_at_process(pid, looks, 0) > 0;
}

unsigned int hang_kill_ms(unsigned int limit_ms)
{
	return limit_ms < 1000 ? 1000 : limit_ms > 10000 ? 10000 : limit_ms;
}

/* Those who left the session are our children by now, if their parents are dead. */
void hang_kill(pid_t pid, pid_t session)
{
	struct numbers proc;
	pid_t found;

	kill(pid, SIGKILL);
	if (!session)
		return;
	open_numbers(&proc, "/proc");
	while ((found = next_process(&proc, session, getpid())))
		kill(found, SIGKILL);
	close(proc.fd);
}

const char *hang_text(bool killable, enum hang_state state)
{
	static const char *const states[] = {
		[HANG_GONE] = "sleep", [HANG_SLEEP] = "sleep", [HANG_SPIN_USER] = "spin-user",
		[HANG_DISK] = "disk", [HANG_SPIN_KERNEL] = "spin-kernel",
	};
	static char text[40];

	snprintf(text, sizeof(text), "hang(%skillable, %s)", killable ? "" : "un", states[state]);
	return text;
}
