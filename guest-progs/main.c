// SPDX-License-Identifier: GPL-2.0-only
/* The lives of the binary: PID 1, a run by hand or of many, and the body of one scenario. */
#include "runtime.h"

#include <stdlib.h>

enum { OBSERVED = 0, USAGE = 2, SETUP_FAILED = 3 };

static int usage(void)
{
	fputs("usage: faults [--via QEMU] FAMILY/NAME [LIMIT_MS]\n"
	      "       faults [--via QEMU] --all [--after NAME] [NAME|GLOB]... >LOG\n"
	      "       faults --list\n", stderr);
	return USAGE;
}

static int unknown(const char *name)
{
	fprintf(stderr, "there is no scenario %s: faults --list names them\n", name);
	return USAGE;
}

static int list(void)
{
	for (const struct scenario *s = scenarios; s->name; s++)
		printf("%s\t%s\n", s->name, s->summary);
	return 0;
}

/* Where we are executed for each scenario: runner.c. */
static int body(const char *name, const char *kill_ms)
{
	const struct scenario *scenario = find_scenario(name);

	if (!scenario)
		return unknown(name);
	run_body(scenario, strtoul(kill_ms, NULL, 10));
}

void run_print(const struct run *run, FILE *beside)
{
	for (int i = 0; i < run->details; i++)
		fprintf(beside, "%s: %s\n", run->detail[i].key, run->detail[i].value);
	if (run->failure[0])
		fprintf(beside, "set-up failed: %s\n", run->failure);
	if (run->cause[0])
		fprintf(beside, "n/a: %s\n", run->cause);
	if (!run->failure[0])
		puts(run->outcome);
}

static int by_hand(const char *name, const char *limit)
{
	static struct run run;

	run.scenario = find_scenario(name);
	run.limit_ms = limit ? strtoul(limit, NULL, 10) : 5000;
	if (!run.scenario)
		return unknown(name);
	if (run.limit_ms == 0)
		return usage();
	run_init();
	run_scenario(&run);
	run_print(&run, stderr);
	return run.failure[0] ? SETUP_FAILED : OBSERVED;
}

/* "qemu-m68k -cpu m68040", and us behind it. */
static void set_via(char *words, char *path)
{
	char *rest, *word = strtok_r(words, " ", &rest);
	int n = 0;

	for (; word && n < MAX_VIA - 1; word = strtok_r(NULL, " ", &rest))
		run_via[n++] = word;
	run_via[n] = path;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	/* The kernel hands words of its command line that it does not know to init. */
	if (getpid() == 1 && word[0] != '-' && !strchr(word, '/')) {
		run_lay_out(argv);
		agent();
	}
	if (argc == 3 && !strcmp(word, "--core"))
		return core_read(argv[2]);
	note_taint();	/* what happened before is not what we were asked about */
	if (argc > 2 && !strcmp(word, "--via")) {
		set_via(argv[2], argv[0]);
		argc -= 2;
		argv += 2;
		word = argc > 1 ? argv[1] : "";
	}
	if (argc == 4 && !strcmp(word, "--scenario"))
		return body(argv[2], argv[3]);
	if (argc == 2 && !strcmp(word, "--list"))
		return list();
	if (!run_via[0])
		run_lay_out(argv);
	if (argc == 3 && !strcmp(word, "--serve"))
		serve_stdin(argv[2]);
	if (argc > 3 && !strcmp(word, "--all") && !strcmp(argv[2], "--after"))
		return log_all(argv[3], argv + 4);
	if (argc > 1 && !strcmp(word, "--all"))
		return log_all(NULL, argv + 2);
	if ((argc != 2 && argc != 3) || word[0] == '-')
		return usage();
	return by_hand(word, argv[2]);
}
