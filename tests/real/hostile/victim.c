// SPDX-License-Identifier: GPL-2.0-only
/* What runs behind a scenario that means harm, and must see nothing of it. */
#include "fault.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/mman.h>

void victim_load(void)
{
	load("", hole_page(), INT);
}

void victim_memory(void)
{
	char *page = anon_pages(256, PROT_READ | PROT_WRITE);

	fill(page, 256 * page_size);
	load_data("", page + 8, INT, pattern(8, INT));
}

void victim_file(void)
{
	char name[] = "/tmp/victim-XXXXXX", bytes[64];
	int fd = must("mkstemp", mkstemp(name));
	char *page;

	must("unlink", unlink(name));
	fill(bytes, sizeof(bytes));
	prove("room in /tmp", write(fd, bytes, sizeof(bytes)) == sizeof(bytes));
	page = map_file(fd, 1, PROT_READ, MAP_PRIVATE);
	load_data("", page + 8, INT, pattern(8, INT));
}

/* Of processes with memory there are init, whoever runs us, and us. */
void victim_alone(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int others = 0;

	prove("/proc", proc);
	while ((entry = readdir(proc))) {
		char path[300], byte;
		FILE *line;
		int pid = atoi(entry->d_name);

		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		if (!isdigit(entry->d_name[0]) || pid == 1 || pid == getpid() || pid == getppid())
			continue;
		line = fopen(path, "r");
		others += line && fread(&byte, 1, 1, line) == 1;
		if (line)
			fclose(line);
	}
	step("");
	result("ok(%d)", others);
}
