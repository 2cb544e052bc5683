// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frames of docs/guest-protocol.md from any Linux, or what claims to be one: told by a harness
 * that has started us, or as a log that is carried there. Nothing here mounts, reboots or asks
 * for a machine of its own, and what could harm one runs only when its very name was given.
 */
#include "runtime.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define MIN_LIMIT_MS 1000
#define CALIBRATIONS 40		/* the limit, in empty scenarios: as the harness has it */

static FILE *commands;

/* Frames go to what was stdout; no scenario can write there, or read what we are told. */
static void take_streams(const char *nonce)
{
	int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (out < 0) {
		fprintf(stderr, "no stdout to write the log to: %s\n", errno_name(errno));
		exit(1);
	}
	commands = in < 0 ? NULL : fdopen(in, "r");
	run_init();
	frame_to(out, nonce);
}

void serve_stdin(const char *nonce)
{
	static char line[256], name[128];
	unsigned long limit_ms;

	take_streams(nonce);
	send_hello();
	while (commands && fgets(line, sizeof(line), commands) && strcmp(line, "off\n"))
		if (sscanf(line, "run %127s %lu", name, &limit_ms) == 2)
			report_scenario(name, limit_ms);
	exit(0);
}

/* -- a log -------------------------------------------------------------------------------- */

enum choice { NO, YES, BY_NAME };

static enum choice chosen(const struct scenario *s, char *const *patterns)
{
	enum choice choice = *patterns ? NO : YES;

	for (; *patterns; patterns++) {
		if (!strcmp(*patterns, s->name))
			return BY_NAME;
		if (!fnmatch(*patterns, s->name, 0))
			choice = YES;
	}
	return choice;
}

/* What is going to be run, so that whoever reads the log knows what is missing in it. */
static void send_plan(const char *after, char *const *patterns)
{
	bool passed = !after, open = false;

	for (const struct scenario *s = scenarios; s->name; s++) {
		if (passed && chosen(s, patterns)) {
			if (open && frame_room() < 1024) {
				frame_add("]");
				frame_end();
				open = false;
			}
			if (!open) {
				frame_begin("plan", NULL);
				frame_add(",\"s\":[");
			}
			frame_string(open ? "," : "", s->name);
			open = true;
		}
		passed |= after && !strcmp(after, s->name);
	}
	if (open) {
		frame_add("]");
		frame_end();
	}
}

static void log_one(const struct scenario *s, bool by_name, unsigned long limit_ms)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "%s\n", s->name);
	if (*s->harm && !by_name) {
		frame_begin("refused", s->name);
		frame_string(",\"e\":", s->harm);
		frame_end();
		return;
	}
	frame_begin("begin", s->name);	/* should nothing come after this, it was this one */
	frame_end();
	report_scenario(s->name, limit_ms);
}

static void make_nonce(char *nonce)
{
	uint64_t bits = 0;

	if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) != sizeof(bits))
		bits = (uint64_t)time(NULL) << 32 ^ now_us() ^ (uint64_t)getpid() << 16;
	sprintf(nonce, "%016llx", (unsigned long long)bits);
}

int log_all(const char *after, char *const *patterns)
{
	static char nonce[17];
	bool passed = !after;
	uint64_t limit_ms;

	if (after && !find_scenario(after)) {
		fprintf(stderr, "there is no scenario %s\n", after);
		return 2;
	}
	for (char *const *pattern = patterns; *pattern; pattern++) {
		bool known = false;

		for (const struct scenario *s = scenarios; s->name && !known; s++)
			known = !fnmatch(*pattern, s->name, 0);
		if (!known) {
			fprintf(stderr, "no scenario fits %s\n", *pattern);
			return 2;
		}
	}
	make_nonce(nonce);
	take_streams(nonce);
	limit_ms = send_hello() * CALIBRATIONS / 1000;
	if (limit_ms < MIN_LIMIT_MS)
		limit_ms = MIN_LIMIT_MS;
	send_plan(after, patterns);
	for (const struct scenario *s = scenarios; s->name; s++) {
		enum choice choice = chosen(s, patterns);

		if (passed && choice)
			log_one(s, choice == BY_NAME, limit_ms);
		passed |= after && !strcmp(after, s->name);
	}
	return 0;
}
