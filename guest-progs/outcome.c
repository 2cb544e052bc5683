// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the lines of a scenario process to one outcome: docs/guest-protocol.md. No I/O. The
 * lines are printable ASCII and not too long, else they may be anything.
 */
#include "runtime.h"

#include <ctype.h>
#include <stdarg.h>

void run_reset(struct run *run)
{
	run->steps = run->details = 0;
	run->done = run->truncated = run->too_much = false;
	run->task = run->outcome[0] = run->cause[0] = run->failure[0] = '\0';
}

static void copy_text(struct run *run, char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	if (n >= size) {
		n = size - 1;
		run->truncated = true;
	}
	memcpy(to, from, n);
	to[n] = '\0';
}

void run_add_detail(struct run *run, const char *key, const char *value)
{
	struct run_detail *detail = run->detail;

	while (detail < run->detail + run->details && strcmp(detail->key, key))
		detail++;
	if (detail == run->detail + MAX_DETAILS - 1 && strcmp(key, "truncated")) {
		run->truncated = true;
		return;
	}
	if (detail == run->detail + run->details)
		run->details++;
	copy_text(run, detail->key, sizeof(detail->key), key);
	copy_text(run, detail->value, sizeof(detail->value), value);
}

static __printf(2, 3) void fail(struct run *run, const char *fmt, ...)
{
	va_list args;

	if (run->failure[0])
		return;		/* the first is the cause */
	va_start(args, fmt);
	vsnprintf(run->failure, sizeof(run->failure), fmt, args);
	va_end(args);
}

void run_too_much(struct run *run)
{
	run->too_much = true;
	fail(run, "said too much");
}

static bool is_label(const char *text)
{
	if (*text && !islower((unsigned char)*text))
		return false;
	for (; *text; text++)
		if (!islower((unsigned char)*text) && !isdigit((unsigned char)*text) && *text != '-')
			return false;
	return true;
}

static void begin_step(struct run *run, const char *label)
{
	struct run_step *step = &run->step[run->steps];

	if (run->steps == MAX_STEPS) {
		run_too_much(run);
		return;
	}
	run->steps++;
	step->task = run->task;
	step->open = true;
	step->text[0] = '\0';
	copy_text(run, step->label, 41, is_label(label) ? label : "unnamed");
}

static void close_step(struct run *run, struct run_step *step, const char *text)
{
	if (strlen(text) >= sizeof(step->text))
		run_too_much(run);
	else
		strcpy(step->text, text);
	step->open = false;
}

/* The step under way in the current task gets its result; without one, one begins. */
static void end_step(struct run *run, const char *text)
{
	struct run_step *step = run->step + run->steps;

	while (step > run->step && !(step[-1].open && step[-1].task == run->task))
		step--;
	if (step == run->step) {
		int before = run->steps;

		begin_step(run, run->steps ? "after" : "");
		if (run->steps == before)
			return;
		step = run->step + run->steps;
	}
	step--;
	close_step(run, step, text);
}

static bool after_word(const char *line, const char *word, const char **rest)
{
	size_t n = strlen(word);

	if (strncmp(line, word, n) || (line[n] && line[n] != ' '))
		return false;
	*rest = line[n] ? line + n + 1 : "";
	return true;
}

void run_line(struct run *run, char *line)
{
	const char *rest;
	char *value;

	if (after_word(line, "step", &rest)) {
		begin_step(run, rest);
		if (run->progress)
			run->progress(run);
	} else if (after_word(line, "result", &rest)) {
		end_step(run, rest);
	} else if (after_word(line, "task", &rest)) {
		run->task = isupper((unsigned char)*rest) ? *rest : 0;
	} else if (after_word(line, "detail", &rest)) {
		value = strchr(rest, ' ');
		if (value)
			*value++ = '\0';
		if (strcmp(rest, "taint"))	/* that word is the agent's */
			run_add_detail(run, rest, value ? value : "");
	} else if (after_word(line, "setup", &rest) && !run->failure[0]) {
		copy_text(run, run->failure, sizeof(run->failure), *rest ? rest : "unknown");
	} else if (after_word(line, "n/a", &rest) && !run->cause[0]) {
		copy_text(run, run->cause, sizeof(run->cause), *rest ? rest : "unknown");
	} else if (after_word(line, "done", &rest)) {
		run->done = true;
	} else {
		run_add_detail(run, "unknown-line", line);
	}
}

/* A signal ended the set-up: a fault handler's, say. SIGKILL may be for want of memory. */
static bool set_up_died(const struct run *run, const char *text)
{
	return !run->failure[0] && !strncmp(text, "killed(", 7) && strcmp(text, "killed(SIGKILL)");
}

/* Every step under way gets this result; with none, something after the last one does. */
void run_end_steps(struct run *run, const char *text)
{
	bool any = false;

	for (int i = 0; i < run->steps; i++) {
		if (!run->step[i].open)
			continue;
		close_step(run, &run->step[i], text);
		any = true;
	}
	if (any)
		return;
	if (!run->steps && set_up_died(run, text))
		begin_step(run, "start");
	if (run->steps)
		end_step(run, text);
	else
		fail(run, "start %s", text);
}

/*
 * Behind a failure there is no outcome: it stands with that. Unless nothing ends the task: whatever
 * made the set-up fail, that is the kernel's doing, and what there is to be told.
 */
static bool beside_failure(struct run *run, const char *text)
{
	size_t n = strlen(run->failure);

	if (!n)
		return false;
	if (!strncmp(text, "hang(unkillable", 15) && !run->too_much) {
		run_add_detail(run, "setup", run->failure);
		run->failure[0] = '\0';
		while (run->steps && run->step[run->steps - 1].open)
			run->steps--;
		return false;
	}
	snprintf(run->failure + n, sizeof(run->failure) - n, ", then %s", text);
	return true;
}

void run_hang(struct run *run, const char *text)
{
	if (beside_failure(run, text))
		return;
	run->cause[0] = '\0';	/* not even n/a is all there was */
	if (!run->steps)
		begin_step(run, "start");
	run_end_steps(run, text);
}

bool run_unkillable(const struct run *run)
{
	bool any = false;

	for (int i = 0; i < run->steps; i++)
		any |= !run->step[i].open && strstr(run->step[i].text, "hang(unkillable");
	return any;
}

void run_leftover(struct run *run, const char *text)
{
	struct run_step *last;

	if (beside_failure(run, text))
		return;
	run->cause[0] = '\0';
	last = run->steps ? &run->step[run->steps - 1] : NULL;
	if (!last || !last->open || strcmp(last->label, "after"))
		begin_step(run, "after");
	if (!run->too_much)
		close_step(run, &run->step[run->steps - 1], text);
}

struct text {
	char *at;
	size_t left;
};

static __printf(2, 3) void put(struct text *text, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text->at, text->left, fmt, args);
	va_end(args);
	if ((size_t)n >= text->left)
		n = text->left - 1;
	text->at += n;
	text->left -= n;
}

/* The steps of one task, which need not have come one after the other. */
static void compose_task(const struct run *run, char task, struct text *text)
{
	const char *before = "";
	int n = 0;

	for (int i = 0; i < run->steps; i++)
		n += run->step[i].task == task;
	for (int i = 0; i < run->steps; i++) {
		const struct run_step *step = &run->step[i];

		if (step->task != task)
			continue;
		if (n == 1 && !*step->label)
			put(text, "%s", step->text);
		else
			put(text, "%s%s=%s", before, *step->label ? step->label : "case", step->text);
		before = "; ";
	}
}

void run_compose(const struct run *run, char *out, size_t size)
{
	struct text text = { out, size };
	const char *before = "";

	*out = '\0';
	for (int i = 0; i < run->steps; i++) {
		char task = run->step[i].task;
		bool seen = false;

		for (int j = 0; j < i; j++)
			seen |= run->step[j].task == task;
		if (seen)
			continue;
		put(&text, "%s", before);
		if (task)
			put(&text, "%c: ", task);
		compose_task(run, task, &text);
		before = " | ";
	}
}

void run_conclude(struct run *run)
{
	/* The check after the case is silent when it is fine. */
	if (run->done && run->steps && run->step[run->steps - 1].open &&
	    !strcmp(run->step[run->steps - 1].label, "after"))
		run->steps--;
	for (int i = 0; i < run->steps && !run->cause[0]; i++) {
		const char *label = run->step[i].label;

		if (run->step[i].open)
			fail(run, "step%s%s without a result", *label ? " " : "", label);
	}
	if (!run->steps && !run->cause[0])
		fail(run, "no step");
	if (run->cause[0])
		snprintf(run->outcome, sizeof(run->outcome), "n/a");
	else
		run_compose(run, run->outcome, sizeof(run->outcome));
	if (strlen(run->outcome) == sizeof(run->outcome) - 1)
		run_too_much(run);	/* it is cut */
	if (run->failure[0]) {
		if (run->steps && !run->too_much)
			run_add_detail(run, "seen", run->outcome);	/* what it came to is not lost */
		run->cause[0] = run->outcome[0] = '\0';
	}
	if (run->truncated)
		run_add_detail(run, "truncated", "1");
}
