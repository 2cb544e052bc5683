// SPDX-License-Identifier: GPL-2.0-only
/* Says TAP or KTAP as its first argument wants: how well behaved test programs do, and others. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct { const char *name, *text; int status; } plays[] = {
	{ "good", "TAP version 13\n1..3\nok 1 first\nok 2 - second # SKIP no device\n"
		  "not ok 3 third # TODO later\n# Totals: pass:1 fail:0 xfail:1 xpass:0 skip:1 error:0\n", 0 },
	{ "fail", "KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n  ---\n  message: ok 2 b\n  ...\n", 1 },
	{ "nested", "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: inner\n  1..2\n"
		    "  ok 1 one\n  not ok 2 two\nnot ok 1 outer\n", 1 },
	{ "all-skipped", "TAP version 13\n1..0 # SKIP needs hardware\n", 4 },
	{ "skipped-0", "TAP version 13\n1..2\nok 1 a # SKIP x\nok 2 b # SKIP x\n", 0 },
	{ "short", "TAP version 13\n1..3\nok 1 a\nok 2 b\n", 0 },
	{ "bail", "TAP version 13\n1..3\nok 1 a\nBail out! no memory\n", 1 },
	{ "nothing", "TAP version 13\n1..0\n", 0 },
	{ "planless", "ok 1 a\nok 2 b", 0 },
	{ "planless-fail", "ok 1 a\nnot ok 2 b", 0 },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(plays) / sizeof(plays[0]); i++) {
		if (strcmp(argv[1], plays[i].name))
			continue;
		fputs(plays[i].text, stdout);
		fputs("[    1.234567] random: text of a kernel\n", stderr);
		return plays[i].status;
	}
	if (argc > 1 && !strcmp(argv[1], "dies")) {
		puts("TAP version 13\n1..2\nok 1 a");
		fflush(stdout);
		raise(SIGSEGV);
	}
	return 99;
}
