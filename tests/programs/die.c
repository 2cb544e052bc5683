/* Deaths: a child's at a hole, and its own at a write that the mapping denies; or of many before. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
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

int main(int argc, char **argv)
{
	int *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int children = argc > 1 ? atoi(argv[1]) : 1;

	printf("%p %p\n", (void *)touch, (void *)(page + 2));
	fflush(stdout);
	for (int i = 0; i < children; i++)
		let_a_child((int *)16);
	touch(page + 2);
	return 0;
}
