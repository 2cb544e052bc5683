// SPDX-License-Identifier: GPL-2.0-only
/* The frame `hello`: what this machine is, and how fast. */
#include "runtime.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#define CALIBRATIONS 5
/* The least limit is 1 s, and others are 40 times what is said here (machine/session.py). */
#define QUICK_US (1000000 / 40)
#define MAX_FEATURES 4096

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * Microseconds that an empty scenario takes here: the harness makes limits of it. The first round if
 * that is quick, else the median of several.
 */
static uint64_t calibrate(void)
{
	static struct run run;
	uint64_t us[CALIBRATIONS];

	run.scenario = &empty_scenario;
	run.limit_ms = 60000;
	for (int i = 0; i < CALIBRATIONS; i++) {
		uint64_t start = now_us();

		run_scenario(&run);
		us[i] = now_us() - start;
		if (us[0] < QUICK_US)
			return us[0];
	}
	qsort(us, CALIBRATIONS, sizeof(us[0]), by_size);
	return us[CALIBRATIONS / 2];
}

#ifndef CPU_FEATURES
#define CPU_FEATURES "\n"	/* no line is called so */
#endif

/* What /proc/cpuinfo says of the first CPU in that line; "" if there is none. */
static const char *cpu_features(void)
{
	static char text[8192] = "\n";
	int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	ssize_t n, size = 1;
	char *at;

	while (fd >= 0 && (n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += n;
	if (fd >= 0)
		close(fd);
	text[size] = '\0';
	at = strstr(text, "\n" CPU_FEATURES);
	if (!at)
		return "";
	at += strlen("\n" CPU_FEATURES);
	at += strspn(at, "\t :");
	at[strcspn(at, "\n")] = '\0';
	at[strnlen(at, MAX_FEATURES)] = '\0';
	return at;
}

uint64_t send_hello(void)
{
	struct utsname uts;
	struct sysinfo info;
	uint64_t us = calibrate();

	uname(&uts);
	sysinfo(&info);
	frame_begin("hello", NULL);
	frame_add(",\"protocol\":1");
	frame_string(",\"release\":", uts.release);
	frame_string(",\"version\":", uts.version);
	frame_string(",\"machine\":", uts.machine);
	frame_add(",\"page_size\":%ld,\"cpus\":%ld", sysconf(_SC_PAGESIZE), sysconf(_SC_NPROCESSORS_ONLN));
	frame_add(",\"mem_kb\":%llu", (unsigned long long)info.totalram * info.mem_unit / 1024);
	frame_add(",\"calibration_us\":%llu", (unsigned long long)us);
	frame_string(",\"cpu\":", cpu_features());
	frame_end();
	return us;
}
