// SPDX-License-Identifier: GPL-2.0-only
/*
 * What somebody else's program died of: the kernel hands the core of whoever dies to us, as any
 * system has it do, and the siginfo stands in its notes. No debugger is needed for that, which the
 * program would notice.
 *
 * The one that reads it is a process of its own, and who dies waits for it, so that no death is
 * told before it is known of what; it does not read what is behind the notes. It tells PID 1 by a
 * file that was opened before the program came: a line a death, `PID SIGNAL/CODE ...`, behind one
 * that has the program's own PID.
 */
#include "runtime.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/procfs.h>
#include <sys/stat.h>

#define PATTERN "/proc/sys/kernel/core_pattern"
#define LIMIT "/proc/sys/kernel/core_pipe_limit"	/* cores at a time; 0: any, and nobody waits */
#define DEATHS "/.faultline/deaths"
#define ENOUGH 1024		/* bytes that tell deaths: of thousands the first are looked at */
#define MOST 16			/* deaths of others that are told */
#ifndef CORE_PC
#define CORE_PC DEBUGGER_PC
#endif

static int deaths = -1;		/* of PID 1 */
static char text[65536] __attribute__((aligned(8)));	/* the notes of a core, or the file of deaths */

/* -- PID 1 --------------------------------------------------------------------------------- */

static bool set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return done;
}

void core_listen(void)
{
	if (getpid() != 1)
		return;			/* the machine is somebody's */
	deaths = open(DEATHS, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (deaths >= 0 && set(LIMIT, "1000"))
		set(PATTERN, "|/init --core %P");
}

void core_small(void)
{
	set("/proc/self/coredump_filter", "0");
}

void core_of(pid_t program)
{
	if (deaths >= 0)
		dprintf(deaths, "%d\n", program);
}

static void read_deaths(void)
{
	ssize_t n = pread(deaths, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
}

void core_tell(struct run *run)
{
	char *rest, *line, key[32];
	int others = 0;

	if (deaths < 0)
		return;
	read_deaths();
	strtok_r(text, "\n", &rest);	/* the program's PID */
	while ((line = strtok_r(NULL, "\n", &rest))) {
		char *what = strchr(line, ' ');
		int pid = atoi(line);

		if (!what || pid <= 0)
			continue;
		snprintf(key, sizeof(key), "died %d", pid);
		if (pid == run->pid)
			run_add_detail(run, "died", what + 1);
		else if (others++ < MOST)
			run_add_detail(run, key, what + 1);
	}
}

/* -- the process that reads a core --------------------------------------------------------- */

/* Up to `size` bytes from stdin. */
static size_t read_core(void *to, size_t size)
{
	size_t got = 0;
	ssize_t n;

	while (got < size && (n = read(STDIN_FILENO, (char *)to + got, size - got)) > 0)
		got += n;
	return got;
}

/* The notes of the core on stdin to `text`, and their size; 0 where it has none. */
static size_t read_notes(void)
{
	ElfW(Ehdr) elf;
	ElfW(Phdr) part;
	size_t at = sizeof(elf) + sizeof(part);

	if (read_core(&elf, sizeof(elf)) < sizeof(elf) || memcmp(elf.e_ident, ELFMAG, SELFMAG) ||
	    elf.e_phoff != sizeof(elf) || elf.e_phentsize != sizeof(part) ||
	    read_core(&part, sizeof(part)) < sizeof(part) || part.p_type != PT_NOTE)
		return 0;
	while (at < part.p_offset) {	/* a head for each mapping */
		size_t left = part.p_offset - at;
		size_t n = read_core(text, left < sizeof(text) ? left : sizeof(text));

		if (!n)
			return 0;
		at += n;
	}
	return read_core(text, part.p_filesz < sizeof(text) ? part.p_filesz : sizeof(text));
}

/* A note among those; NULL where it is not there as a whole, or has less than `least` bytes. */
static const char *note_of(size_t size, unsigned int type, size_t least, size_t *length)
{
	size_t at = 0;

	while (at + sizeof(ElfW(Nhdr)) <= size) {
		const ElfW(Nhdr) *note = (const void *)(text + at);
		size_t content;

		if (note->n_namesz > size || note->n_descsz > size)
			return NULL;
		content = at + sizeof(*note) + (note->n_namesz + 3) / 4 * 4;
		at = content + (note->n_descsz + 3) / 4 * 4;
		if (at > size)
			return NULL;
		if (note->n_type == type && note->n_descsz >= least) {
			*length = note->n_descsz;
			return text + content;
		}
	}
	return NULL;
}

/* The file that is mapped at an address, from NT_FILE: count, page size, ranges, names. */
static const char *file_at(size_t size, uintptr_t address)
{
	size_t length;
	const char *note = note_of(size, NT_FILE, 2 * sizeof(long), &length);
	const char *name, *end = note + length;
	uintptr_t count, range[3];

	if (!note)
		return NULL;
	memcpy(&count, note, sizeof(count));
	if (count > length / sizeof(range))
		return NULL;
	name = note + 2 * sizeof(long) + count * sizeof(range);
	for (uintptr_t i = 0; i < count && name < end && memchr(name, '\0', end - name); i++) {
		memcpy(range, note + 2 * sizeof(long) + i * sizeof(range), sizeof(range));
		if (range[0] <= address && address < range[1])
			return name;
		name += strlen(name) + 1;
	}
	return NULL;
}

/* SIGSEGV/SEGV_MAPERR si_addr 0x10 pc 0x8000048a of /work/die */
static int describe(char *line, size_t room)
{
	size_t length, size = read_notes();
	const char *status = note_of(size, NT_PRSTATUS, sizeof(struct elf_prstatus), &length);
	const char *note = note_of(size, NT_SIGINFO, sizeof(siginfo_t), &length), *file;
	siginfo_t info;
	uintptr_t pc;
	int n;

	if (!note || !status)
		return snprintf(line, room, "unknown");
	memcpy(&info, note, sizeof(info));
	memcpy(&pc, status + offsetof(struct elf_prstatus, pr_reg) + CORE_PC, sizeof(pc));
	n = snprintf(line, room, "%s/%s", signal_name(info.si_signo),
		     code_name(info.si_signo, info.si_code));
	switch (info.si_code > 0 && info.si_code != SI_KERNEL ? info.si_signo : 0) {
	case SIGSEGV: case SIGBUS: case SIGILL: case SIGFPE: case SIGTRAP:
		n += snprintf(line + n, room - n, " si_addr %#lx", (unsigned long)info.si_addr);
	}
	n += snprintf(line + n, room - n, " pc %#lx", (unsigned long)pc);
	if ((file = file_at(size, pc)))
		n += snprintf(line + n, room - n, " of %.80s", file);
	return n;
}

int core_read(const char *pid)
{
	/* The program may have put anything there. */
	int fd = open(DEATHS, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char line[256], program[16] = "";
	struct stat st;
	int n;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return 1;
	pread(fd, program, sizeof(program) - 1, 0);
	program[strcspn(program, "\n")] = '\0';
	if (st.st_size > ENOUGH && strcmp(program, pid))
		return 0;
	n = snprintf(line, sizeof(line), "%s ", pid);
	n += describe(line + n, sizeof(line) - n - 1);
	for (char *c = line; c < line + n; c++)
		if (*c == '\n')		/* of a file's name */
			*c = '?';
	line[n++] = '\n';
	return write(fd, line, n) != n;
}
