// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 where a person sits at the console: one scenario and off (faultline.run=NAME), or a
 * prompt (faultline.shell). There is no results port then, nobody who counts time, and nothing
 * to be trusted: what is printed is for reading.
 */
#include "runtime.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>

#define SHELL "/bin/sh"
#define BUSYBOX "/bin/busybox"
#define LIMIT_MS 5000	/* without progress: as by hand */

static struct run run;

static void __noreturn off(void)
{
	fflush(NULL);
	tcdrain(STDOUT_FILENO);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void run_and_print(const char *name, unsigned long limit_ms)
{
	run.scenario = find_scenario(name);
	run.limit_ms = limit_ms;
	if (!run.scenario) {
		printf("there is no scenario %s: `list` tells their names\n", name);
		return;
	}
	run_scenario(&run);
	run_print(&run, stdout);
}

void console_run(const char *name)
{
	printf("\n--- %s\n", name);
	fflush(stdout);
	run_and_print(name, LIMIT_MS);
	printf("---\n");
	off();
}

static void list(const char *glob)
{
	for (const struct scenario *s = scenarios; s->name; s++)
		if (!fnmatch(glob, s->name, 0))
			printf("%-32s %s\n", s->name, s->summary);
}

static void cat(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	fflush(stdout);
	while (fd >= 0 && (n = read(fd, text, sizeof(text))) > 0)
		if (write(STDOUT_FILENO, text, n) != n)
			break;
	if (fd < 0)
		printf("%s: %s\n", path, errno_name(errno));
	else
		close(fd);
}

static void ls(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir) {
		printf("%s: %s\n", path, errno_name(errno));
		return;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			printf("%s%s\n", entry->d_name, entry->d_type == DT_DIR ? "/" : "");
	closedir(dir);
}

static void prompt(void)
{
	static const char help[] =
		"FAMILY/NAME [LIMIT_MS]   run one scenario\n"
		"list [GLOB]              scenarios\n"
		"cat FILE, ls [FOLDER]    look around: /proc, /sys\n"
		"off                      end\n";
	static char line[512];

	printf("\n%s", help);
	for (;;) {
		char *rest, *word, *argument;

		printf("faults> ");
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return;
		word = strtok_r(line, " \t\r\n", &rest);
		argument = strtok_r(NULL, " \t\r\n", &rest);
		if (!word)
			continue;
		if (!strcmp(word, "off") || !strcmp(word, "exit"))
			return;
		if (!strcmp(word, "list"))
			list(argument ? argument : "*");
		else if (!strcmp(word, "cat") && argument)
			cat(argument);
		else if (!strcmp(word, "ls"))
			ls(argument ? argument : "/");
		else if (strchr(word, '/') || !strcmp(word, "-"))
			run_and_print(word, argument ? strtoul(argument, NULL, 10) : LIMIT_MS);
		else
			fputs(help, stdout);
	}
}

/* Its many names, as links. */
void install_busybox(void)
{
	pid_t pid = access(BUSYBOX, X_OK) ? -1 : fork();

	if (pid == 0) {
		execl(BUSYBOX, "busybox", "--install", "-s", "/bin", NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A session of its own, so that it has job control and ^C is its own. */
static void shell(void)
{
	static char *const argv[] = { "sh", NULL };
	static char *const envp[] = {
		"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/tmp", "TERM=vt100", NULL
	};
	sigset_t none;
	pid_t pid = fork(), dead;

	if (pid == 0) {
		personality(PER_LINUX);	/* scenarios lay themselves out */
		setsid();
		ioctl(STDIN_FILENO, TIOCSCTTY, 1);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execve(SHELL, argv, envp);
		_exit(127);
	}
	while (pid > 0 && (dead = waitpid(-1, NULL, 0)) != pid)
		if (dead < 0 && errno != EINTR)
			return;
}

void console_shell(void)
{
	if (access(SHELL, X_OK) == 0) {
		printf("\nfaults FAMILY/NAME runs a scenario, faults --list tells their names; ^D ends\n");
		fflush(stdout);
		install_busybox();
		shell();
	} else {
		prompt();
	}
	off();
}
