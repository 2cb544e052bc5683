// SPDX-License-Identifier: GPL-2.0-only
/*
 * What somebody else's program died of: the kernel hands the core of whoever dies to us, as any
 * system has it do, and the siginfo stands in its notes. No debugger is needed for that, which the
 * program would notice.
 */
#include "runtime.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/procfs.h>

#define PATTERN "/proc/sys/kernel/core_pattern"
#define LIMIT "/proc/sys/kernel/core_pipe_limit"
#define DEATHS "/.faultline/deaths"
#define ENOUGH 1024		/* bytes that tell deaths, about sixteen: there may be thousands */
#ifndef CORE_PC
#define CORE_PC DEBUGGER_PC
#endif

static char text[65536];	/* the head of a core, or the file of deaths */

static bool set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return done;
}

static size_t read_whole(int fd)
{
	size_t size = 0;
	ssize_t n;

	while ((n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += n;
	text[size] = '\0';
	return size;
}

void core_listen(void)
{
	/* Who dies waits until we have read it: no death is told before it is known of what. */
	if (set(LIMIT, "64"))
		set(PATTERN, "|/init --core %P");
}

void core_small(void)
{
	set("/proc/self/coredump_filter", "0");
}

/* A note of the core whose first `size` bytes there are; NULL where it has none. */
static const void *note_of(size_t size, unsigned int type, size_t least)
{
	const ElfW(Ehdr) *elf = (const void *)text;
	const ElfW(Phdr) *part = (const void *)(text + sizeof(*elf));
	size_t at, end;

	if (size < sizeof(*elf) + sizeof(*part) || memcmp(elf->e_ident, ELFMAG, SELFMAG) ||
	    elf->e_phentsize != sizeof(*part) || part->p_type != PT_NOTE)
		return NULL;
	at = part->p_offset;
	end = at + part->p_filesz < size ? at + part->p_filesz : size;
	while (at % 4 == 0 && at + sizeof(ElfW(Nhdr)) <= end) {
		const ElfW(Nhdr) *note = (const void *)(text + at);
		size_t content = at + sizeof(*note) + (note->n_namesz + 3) / 4 * 4;

		at = content + (note->n_descsz + 3) / 4 * 4;
		if (content > end || at > end || at < content)
			return NULL;
		if (note->n_type == type && note->n_descsz >= least)
			return text + content;
	}
	return NULL;
}

int core_read(const char *pid)
{
	size_t size = read_whole(STDIN_FILENO);
	const char *status = note_of(size, NT_PRSTATUS, sizeof(struct elf_prstatus));
	const void *note = note_of(size, NT_SIGINFO, sizeof(siginfo_t));
	int fd = open(DEATHS, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	siginfo_t info;
	char line[160];
	uintptr_t pc;
	int n;

	while (read(STDIN_FILENO, line, sizeof(line)) > 0)
		;	/* to its end: else the parent is told that there is no core */
	if (!note || !status || fd < 0)
		return 1;
	memcpy(&info, note, sizeof(info));
	memcpy(&pc, status + offsetof(struct elf_prstatus, pr_reg) + CORE_PC, sizeof(pc));
	n = snprintf(line, sizeof(line), "%s %s/%s", pid, signal_name(info.si_signo),
		     code_name(info.si_signo, info.si_code));
	if (info.si_code > 0)
		n += snprintf(line + n, sizeof(line) - n, " si_addr %#lx",
			      (unsigned long)info.si_addr);
	n += snprintf(line + n, sizeof(line) - n, " pc %#lx\n", (unsigned long)pc);
	if (write(fd, line, n) != n)
		return 1;
	if (lseek(fd, 0, SEEK_END) > ENOUGH)
		set(PATTERN, "core");
	return 0;
}

void core_tell(struct run *run)
{
	int fd = open(DEATHS, O_RDONLY | O_CLOEXEC);
	char *rest, *line, key[32];

	if (fd < 0)
		return;
	read_whole(fd);
	close(fd);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *what = strchr(line, ' ');

		if (!what)
			continue;
		*what++ = '\0';
		snprintf(key, sizeof(key), "died %s", line);
		run_add_detail(run, atoi(line) == run->pid ? "died" : key, what);
	}
}
