/* What differs from arch to arch, and what does not: output, and how it ends. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char line[100] = "";
	int *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	fgets(line, sizeof(line), stdin);
	printf("read %s", line);
	printf("a page at %p\n", (void *)page);
	printf("of %ld bytes\n", sysconf(_SC_PAGESIZE));
	printf("the end\n");
	fflush(stdout);
	if (argc > 1 && !strcmp(argv[1], "die"))
		*(volatile int *)page = 1;
	return sysconf(_SC_PAGESIZE) == 8192 ? 8 : 4;
}
