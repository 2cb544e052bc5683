// SPDX-License-Identifier: GPL-2.0-only
/* Reports as LTP's programs do: new API with a summary on stderr, or the old one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void summary(int passed, int failed, int broken, int skipped)
{
	fprintf(stderr, "\nSummary:\npassed   %d\nfailed   %d\nbroken   %d\nskipped  %d\nwarnings 0\n",
		passed, failed, broken, skipped);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	fprintf(stderr, "tst_test.c:1500: TINFO: Timeout per run is 0h 05m 00s\n");
	if (!strcmp(what, "pass")) {
		fprintf(stderr, "\033[1;32mmmap01.c:70: \033[0mTPASS: mmap() worked\n");
		summary(1, 0, 0, 0);
		return 0;
	}
	if (!strcmp(what, "pass-and-conf")) {
		fprintf(stderr, "mmap01.c:70: TPASS: x\nmmap01.c:71: TCONF: no swap\n");
		summary(1, 0, 0, 1);
		return 0;
	}
	if (!strcmp(what, "conf")) {
		fprintf(stderr, "mmap01.c:71: TCONF: not supported\n");
		summary(0, 0, 0, 1);
		return 32;
	}
	if (!strcmp(what, "nothing")) {
		summary(0, 0, 0, 0);
		return 0;
	}
	if (!strcmp(what, "fail")) {
		fprintf(stderr, "mmap01.c:70: TPASS: x\nmmap01.c:72: TFAIL: y: EFAULT (14)\n");
		summary(1, 1, 0, 0);
		return 1;
	}
	if (!strcmp(what, "brok")) {
		fprintf(stderr, "mmap01.c:72: TBROK: open() failed: ENOENT (2)\n");
		summary(0, 0, 1, 0);
		return 2;
	}
	if (!strcmp(what, "old")) {
		puts("mmap001     1  TPASS  :  mmap() completed\nmmap001     2  TPASS  :  munmap()");
		return 0;
	}
	if (!strcmp(what, "old-fail")) {
		puts("mmap001     1  TPASS  :  fine\nmmap001     2  TFAIL  :  mmap001.c:90: wrong");
		return 1;
	}
	return 99;
}
