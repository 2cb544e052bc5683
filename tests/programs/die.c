/* Deaths: a child's at a hole, and its own at a write that the mapping denies; or as it is asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void __attribute__((noinline)) touch(volatile int *at)
{
	*at = 1;
}

static void let_a_child(int *at)
{
	if (fork() == 0)
		touch(at);
	wait(NULL);
}

/* Each a mapping of its own, as its neighbours have other rights. */
static void map(int count)
{
	char *pages = mmap(NULL, count * 8192L, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < count; i += 2)
		mprotect(pages + i * 8192L, 8192, PROT_READ);
}

int main(int argc, char **argv)
{
	int *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const char *what = argc > 2 ? argv[1] : "children";
	int count = argc > 2 ? atoi(argv[2]) : 1;

	if (!strcmp(what, "pipe")) {
		unlink("/.faultline/deaths");
		mkfifo("/.faultline/deaths", 0600);
		if (count)
			return count;
	} else if (!strcmp(what, "maps")) {
		map(count);
	} else if (!strcmp(what, "other")) {
		execv(argv[2], argv + 2);
		return 1;
	} else if (!strcmp(what, "at-once")) {
		for (int i = 0; i < count; i++)
			if (fork() == 0)
				touch((int *)16);
		while (wait(NULL) > 0)
			;
	} else {
		printf("%p %p\n", (void *)touch, (void *)(page + 2));
		fflush(stdout);
		for (int i = 0; i < count; i++)
			let_a_child((int *)16);
	}
	touch(page + 2);
	return 0;
}
