// SPDX-License-Identifier: GPL-2.0-only
/*
 * One scenario in a fresh process: the same code for PID 1 and for a run by hand. What the
 * process says is hostile input: kernels with broken fault handlers are what this is for.
 */
#include "runtime.h"

#include <ctype.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAX_BYTES (64 * 1024)	/* a scenario may say so much */
#define MAX_LINE 1024
#define NOBODY 65534

static void nothing(void)
{
}

const struct scenario empty_scenario = { "-", nothing, "root", "" };

const struct scenario *find_scenario(const char *name)
{
	if (!strcmp(name, empty_scenario.name))
		return &empty_scenario;
	for (const struct scenario *s = scenarios; s->name; s++)
		if (!strcmp(name, s->name))
			return s;
	return NULL;
}

/* -- the child, up to exec ---------------------------------------------------------------- */

static void close_from(int first)
{
	if (syscall(SYS_close_range, first, ~0U, 0) == 0)
		return;
	for (int fd = first; fd < 1024; fd++)
		close(fd);
}

static void drop_privileges(void)
{
	if (geteuid() != 0)
		return;		/* by hand, as somebody who has none to drop */
	must("setgroups", setgroups(0, NULL));
	must("setresgid", setresgid(NOBODY, NOBODY, NOBODY));
	must("setresuid", setresuid(NOBODY, NOBODY, NOBODY));
}

static void limit_soft(int resource, rlim_t soft)
{
	struct rlimit limit;

	must("getrlimit", getrlimit(resource, &limit));
	if (limit.rlim_max == RLIM_INFINITY || soft <= limit.rlim_max)
		limit.rlim_cur = soft;
	must("setrlimit", setrlimit(resource, &limit));
}

static __noreturn void exec_scenario(const struct run *run, int report_fd)
{
	char *argv[] = { "faults", "--scenario", (char *)run->scenario->name, NULL };
	char *envp[] = { NULL };
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t none;

	if (report_fd != 3)
		dup2(report_fd, 3);	/* from here on set-up can tell what failed */
	else
		fcntl(3, F_SETFD, 0);
	close_from(4);
	setsid();
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &by_default, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	limit_soft(RLIMIT_STACK, 8 << 20);
	limit_soft(RLIMIT_CORE, 0);
	personality(personality(0xffffffff) | ADDR_NO_RANDOMIZE);
	if (!strcmp(run->scenario->user, "nobody"))
		drop_privileges();
	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* after the credentials, which clear it */
	execve("/proc/self/exe", argv, envp);
	setup_failed("exec");
}

/* -- what it says ------------------------------------------------------------------------- */

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

static void add_detail(struct run *run, const char *key, const char *value)
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

static struct run *noted;

static void note_detail(const char *key, const char *value)
{
	add_detail(noted, key, value);
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
		run->truncated = true;
		return;
	}
	run->steps++;
	step->task = run->task;
	step->open = true;
	step->text[0] = '\0';
	copy_text(run, step->label, 41, is_label(label) ? label : "unnamed");
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
	copy_text(run, step->text, sizeof(step->text), text);
	step->open = false;
}

static bool after_word(const char *line, const char *word, const char **rest)
{
	size_t n = strlen(word);

	if (strncmp(line, word, n) || (line[n] && line[n] != ' '))
		return false;
	*rest = line[n] ? line + n + 1 : "";
	return true;
}

static void take_line(struct run *run, char *line)
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
		add_detail(run, rest, value ? value : "");
	} else if (after_word(line, "setup", &rest) && !run->failure[0]) {
		copy_text(run, run->failure, sizeof(run->failure), *rest ? rest : "unknown");
	} else if (after_word(line, "n/a", &rest) && !run->cause[0]) {
		copy_text(run, run->cause, sizeof(run->cause), *rest ? rest : "unknown");
	} else if (after_word(line, "done", &rest)) {
		run->done = true;
	} else {
		add_detail(run, "unknown-line", line);
	}
}

struct reader {
	int fd;
	size_t total, n;
	char line[MAX_LINE + 1];
};

/* All that can be read now; tells whether there was a whole line. */
static bool drain(struct run *run, struct reader *in)
{
	char buffer[2048];
	bool heard = false;
	ssize_t n;

	while (in->fd >= 0 && (n = read(in->fd, buffer, sizeof(buffer))) >= 0) {
		if (n == 0) {
			close(in->fd);
			in->fd = -1;
		}
		for (ssize_t i = 0; i < n; i++) {
			char c = buffer[i];

			if (++in->total > MAX_BYTES) {
				run->truncated = true;
				return heard;	/* and what follows is no progress */
			}
			if (c == '\n') {
				in->line[in->n] = '\0';
				take_line(run, in->line);
				in->n = 0;
				heard = true;
			} else if (in->n < MAX_LINE) {
				in->line[in->n++] = c >= ' ' && c <= '~' ? c : '?';
			} else {
				run->truncated = true;
			}
		}
	}
	return heard;
}

/* -- how it ends -------------------------------------------------------------------------- */

/* Collect whatever has died. Tells whether there are children left; status is of `pid`. */
static bool reap(pid_t pid, int *status, bool *ended)
{
	int wstatus;
	pid_t dead;

	while ((dead = waitpid(-1, &wstatus, WNOHANG)) > 0) {
		if (dead == pid) {
			*status = wstatus;
			*ended = true;
		}
	}
	return dead == 0;
}

/* Every step under way gets this result; with none, something after the last one does. */
static void end_all(struct run *run, const char *text)
{
	bool any = false;

	for (int i = 0; i < run->steps; i++) {
		if (!run->step[i].open)
			continue;
		run->step[i].open = false;
		copy_text(run, run->step[i].text, sizeof(run->step[i].text), text);
		any = true;
	}
	if (any)
		return;
	if (run->steps)
		end_step(run, text);
	else if (!run->failure[0])
		snprintf(run->failure, sizeof(run->failure), "start %s", text);
}

/* SIGKILL for all that is left; tells whether all is gone in time. */
static bool kill_session(struct run *run, unsigned int ms)
{
	uint64_t end = now_us() + ms * 1000ULL;
	int status;
	bool ended;

	do {
		hang_kill(run->pid, run->pid);
		reap(0, &status, &ended);
		if (!hang_alive(run->pid, run->pid))
			return true;
		sleep_ms(5);
	} while (now_us() < end);
	return false;
}

/* The hang rule of docs/guest-protocol.md. */
static void judge_hang(struct run *run)
{
	enum hang_state state;
	bool killable;

	noted = run;
	state = hang_sample(run->pid, run->pid, note_detail);
	killable = kill_session(run, HANG_KILL_MS);
	if (!killable)
		state = hang_sample(run->pid, run->pid, note_detail);
	end_all(run, hang_text(killable, state));
}

static void judge_status(struct run *run, int status)
{
	char text[40];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed(%s)", signal_name(WTERMSIG(status)));
	else if (!run->done && !run->failure[0] && !run->cause[0])
		snprintf(text, sizeof(text), "exit(%d)", WEXITSTATUS(status));
	else
		return;
	end_all(run, text);
}

void run_compose(const struct run *run, char *text, size_t size)
{
	bool lone = run->steps == 1;
	char last = 0;
	size_t at = 0;

	text[0] = '\0';
	for (int i = 0; i < run->steps && at < size; i++) {
		const struct run_step *step = &run->step[i];
		const char *before = i ? "; " : "";
		const char *label = *step->label ? step->label : "case";

		if (step->task && step->task != last) {
			at += snprintf(text + at, size - at, "%s%c: ", i ? " | " : "", step->task);
			before = "";
		}
		last = step->task;
		if (at < size)
			at += lone && !*step->label ?
				snprintf(text + at, size - at, "%s", step->text) :
				snprintf(text + at, size - at, "%s%s=%s", before, label, step->text);
	}
}

/* Outcome, n/a or failure: exactly one is left. */
static void conclude(struct run *run)
{
	/* The check after the case is silent when it is fine. */
	if (run->done && run->steps && run->step[run->steps - 1].open &&
	    !strcmp(run->step[run->steps - 1].label, "after"))
		run->steps--;
	for (int i = 0; i < run->steps && !run->failure[0] && !run->cause[0]; i++)
		if (run->step[i].open)
			snprintf(run->failure, sizeof(run->failure), "step %s without a result",
				 run->step[i].label);
	if (!run->steps && !run->failure[0] && !run->cause[0])
		snprintf(run->failure, sizeof(run->failure), "no step");
	if (run->failure[0])
		run->cause[0] = '\0';
	else if (run->cause[0])
		snprintf(run->outcome, sizeof(run->outcome), "n/a");
	else
		run_compose(run, run->outcome, sizeof(run->outcome));
	if (run->truncated)
		add_detail(run, "truncated", "1");
}

/* -- the run ------------------------------------------------------------------------------ */

static void on_child(int sig)
{
	(void)sig;	/* only so that ppoll comes back */
}

void run_init(void)
{
	struct sigaction action = { .sa_handler = on_child };
	sigset_t child;

	sigaction(SIGCHLD, &action, NULL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);	/* by hand too, orphans come to us */
}

/* Listen until it has ended; false when it went silent for too long. */
static bool follow(struct run *run, struct reader *in, int *status)
{
	uint64_t limit = run->limit_ms * 1000ULL, deadline = now_us() + limit, now;
	struct pollfd poll = { .events = POLLIN };
	bool ended = false;
	sigset_t none;

	sigemptyset(&none);
	for (;;) {
		struct timespec wait;

		reap(run->pid, status, &ended);
		if (drain(run, in))
			deadline = now_us() + limit;
		if (ended)
			return true;
		now = now_us();
		if (now >= deadline)
			return false;
		wait.tv_sec = (deadline - now) / 1000000;
		wait.tv_nsec = (deadline - now) % 1000000 * 1000;
		poll.fd = in->total > MAX_BYTES ? -1 : in->fd;
		ppoll(&poll, 1, &wait, &none);
	}
}

void run_scenario(struct run *run)
{
	static struct reader in;
	uint64_t start = now_us();
	int pipe[2], status = 0;
	bool ended = false, hung;

	run->steps = run->details = 0;
	run->done = run->truncated = false;
	run->task = run->outcome[0] = run->cause[0] = run->failure[0] = '\0';
	in.total = in.n = 0;

	run->pid = -1;
	if (pipe2(pipe, O_CLOEXEC) == 0)
		run->pid = fork();
	if (run->pid < 0) {
		snprintf(run->failure, sizeof(run->failure), "fork %s", errno_name(errno));
		return;
	}
	if (run->pid == 0)
		exec_scenario(run, pipe[1]);
	close(pipe[1]);
	in.fd = pipe[0];
	fcntl(in.fd, F_SETFL, O_NONBLOCK);
	if (run->started)
		run->started(run);

	hung = !follow(run, &in, &status);
	if (hung)
		judge_hang(run);
	else
		judge_status(run, status);
	/* Whatever it left is our child now: without children there is nothing to look for. */
	if (reap(run->pid, &status, &ended) && !kill_session(run, hung ? 0 : HANG_KILL_MS))
		add_detail(run, "leftover", "a process survived SIGKILL");
	if (in.fd >= 0)
		close(in.fd);
	conclude(run);
	run->ms = (now_us() - start) / 1000;
}
