// SPDX-License-Identifier: GPL-2.0-only
/*
 * One scenario in a fresh process: the same code for PID 1 and for a run by hand. What the
 * process says is hostile input: kernels with broken fault handlers are what this is for.
 */
#include "runtime.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAX_BYTES (64 * 1024)	/* a scenario may say so much */
#define MAX_LINE 1024
#define NOBODY 65534
#define STACK_LIMIT (8 << 20)
#define BLIND_US 5000		/* a kernel without signalfd: look this often who has died */

static void nothing(void)
{
}

const struct scenario empty_scenario = { "-", nothing, "root", "", "" };

static int by_name(const void *name, const void *scenario)
{
	return strcmp(name, ((const struct scenario *)scenario)->name);
}

const struct scenario *find_scenario(const char *name)
{
	static size_t count;

	while (scenarios[count].name)
		count++;
	if (!strcmp(name, empty_scenario.name))
		return &empty_scenario;
	return bsearch(name, scenarios, count, sizeof(*scenarios), by_name);
}

char *run_via[MAX_VIA + 1];

/* -- the child ---------------------------------------------------------------- */

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

static int limit_soft(int resource, rlim_t soft)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return -1;
	if (limit.rlim_max == RLIM_INFINITY || soft <= limit.rlim_max)
		limit.rlim_cur = soft;
	return setrlimit(resource, &limit);
}

/* A lock that the fault handler leaked stops this, and it is the step `after` that hangs. */
static void check_memory_still_works(void)
{
	char *page;

	step("after");
	page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || (arch_store(page, 1, INT), munmap(page, page_size)) != 0)
		result("%s", errno_name(errno));
}

void run_body(const struct scenario *scenario, unsigned int kill_ms)
{
	child_kill_ms = kill_ms;
	page_size = sysconf(_SC_PAGESIZE);
	catch_signals();
	scenario->run();
	check_memory_still_works();
	report_done();
	_exit(0);
}

/* By hand, through what executes us: `qemu-m68k PATH --scenario NAME KILL_MS`. */
static void exec_via(const struct run *run)
{
	char kill_ms[16], *own[] = { "--scenario", (char *)run->scenario->name, kill_ms, NULL };
	char *via[MAX_VIA + ARRAY_SIZE(own)], *envp[] = { NULL };
	int words = 0;

	snprintf(kill_ms, sizeof(kill_ms), "%u", hang_kill_ms(run->limit_ms));
	for (; run_via[words]; words++)
		via[words] = run_via[words];
	memcpy(via + words, own, sizeof(own));
	execvpe(via[0], via, envp);
	setup_failed("exec");
}

/* What a program has read when it gets to main, and a fork does not inherit: page tables of files. */
static void look_at_vdso(void)
{
	const void *vdso = (const void *)getauxval(AT_SYSINFO_EHDR);

	if (vdso)
		arch_load(vdso, BYTE);
}

static __noreturn void become_scenario(const struct run *run, int report_fd)
{
	sigset_t none;

	if (report_fd != 3)
		dup2(report_fd, 3);	/* from here on set-up can tell what failed */
	else
		fcntl(3, F_SETFD, 0);
	close_from(4);
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	must("stack limit", limit_soft(RLIMIT_STACK, STACK_LIMIT));
	must("core limit", limit_soft(RLIMIT_CORE, 0));
	if (!strcmp(run->scenario->user, "nobody"))
		drop_privileges();
	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* after the credentials, which clear it */
	if (run_via[0])
		exec_via(run);
	prctl(PR_SET_DUMPABLE, 1);		/* likewise; exec would set it again */
	prctl(PR_SET_NAME, "faults");
	clearenv();
	look_at_vdso();
	run_body(run->scenario, hang_kill_ms(run->limit_ms));
}

/* -- what it says ------------------------------------------------------------------------- */

struct reader {
	int fd;
	size_t total, n;
	char line[MAX_LINE + 1];
};

/* All that can be read now, until it is too much; tells whether there was a whole line. */
static bool drain(struct run *run, struct reader *in)
{
	char buffer[2048];
	bool heard = false;
	ssize_t n;

	while (!run->too_much && in->fd >= 0 && (n = read(in->fd, buffer, sizeof(buffer))) >= 0) {
		if (n == 0) {
			close(in->fd);
			in->fd = -1;
		}
		for (ssize_t i = 0; i < n; i++) {
			char c = buffer[i];

			if (++in->total > MAX_BYTES) {
				run_too_much(run);
				return heard;
			}
			if (c == '\n') {
				in->line[in->n] = '\0';
				run_line(run, in->line);
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

static bool adopts;	/* orphans of a scenario become our children */

static int child_news = -1;	/* a signalfd */

pid_t run_collect(int *status)
{
	struct signalfd_siginfo news;

	while (read(child_news, &news, sizeof(news)) > 0)
		;
	return wait_end(-1, status, WNOHANG);
}

int run_wait(struct pollfd *polls, unsigned int n, uint64_t us)
{
	struct timespec wait;

	polls[n] = (struct pollfd){ .fd = child_news, .events = POLLIN };
	if (child_news < 0 && us > BLIND_US)
		us = BLIND_US;
	wait.tv_sec = us / 1000000;
	wait.tv_nsec = us % 1000000 * 1000;
	return ppoll(polls, n + 1, &wait, NULL);
}

/* Whether the time is over. A limit counts what this machine was given; more of it moves `end`. */
static bool expired(struct run *run, uint64_t *end)
{
	if (now_us() < *end)
		return false;
	*end = now_us() + (run->more ? run->more(run) * 1000ULL : 0);
	return now_us() >= *end;
}

/* Collect whatever has died. Tells whether there are children left; status is of `pid`. */
static bool reap(pid_t pid, int *status, bool *ended)
{
	int wstatus;
	pid_t dead;

	while ((dead = run_collect(&wstatus)) > 0) {
		if (dead == pid) {
			*status = wstatus;
			*ended = true;
		}
	}
	return dead == 0;
}

/*
 * SIGKILL for all that is left; tells whether all is gone in time: when we have no children, for
 * each process that a scenario leaves becomes our child once those between us have died.
 */
static bool kill_all(struct run *run)
{
	uint64_t end = now_us() + hang_kill_ms(run->limit_ms) * 1000ULL;
	int status;
	bool ended;

	do {
		hang_kill(run->pid, run->pid);
		if (!reap(0, &status, &ended))
			return true;
		sleep_ms(5);
	} while (!expired(run, &end));
	return !reap(0, &status, &ended);
}

static struct run *noted;

static void note_detail(const char *key, const char *value)
{
	run_add_detail(noted, key, value);
}

/* It has ended, or said something that is not read yet. */
static bool goes_on(const struct run *run, const struct reader *in)
{
	struct pollfd heard = { .fd = in->fd, .events = POLLIN };
	siginfo_t ended = { 0 };

	return poll(&heard, 1, 0) > 0 ||
	       (waitid(P_PID, run->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid &&
		ended.si_code != CLD_TRAPPED);
}

/* The hang rule of docs/guest-protocol.md; false: it only was slow. */
static bool judge_hang(struct run *run, const struct reader *in)
{
	int details = run->details;
	enum hang_state state;
	bool killable;

	noted = run;
	state = hang_sample(run->pid, run->pid, note_detail);
	if (goes_on(run, in)) {
		run->details = details;
		return false;
	}
	killable = kill_all(run);
	if (!killable)
		state = hang_sample(run->pid, run->pid, note_detail);
	run_hang(run, hang_text(killable, state));
	return true;
}

/* It has ended, or said too much: what is left of it has to go. */
static void clean_up(struct run *run)
{
	int status;
	bool ended;

	if (!adopts)
		hang_kill(run->pid, run->pid);	/* orphans are not ours to be waited for */
	if (!reap(0, &status, &ended) || kill_all(run))
		return;
	run_add_detail(run, "leftover", "a process survived SIGKILL");
	if (run_unkillable(run))
		return;
	noted = run;
	run_leftover(run, hang_text(false, hang_sample(run->pid, run->pid, note_detail)));
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
	run_end_steps(run, text);
}

/* -- the run ------------------------------------------------------------------------------ */

#define LAID_OUT "FAULTS_LAID_OUT"

void run_lay_out(char **argv)
{
	if (!getenv(LAID_OUT) && setenv(LAID_OUT, "1", 1) == 0) {
		limit_soft(RLIMIT_STACK, STACK_LIMIT);
		personality(personality(0xffffffff) | ADDR_NO_RANDOMIZE);
		execve((const char *)getauxval(AT_EXECFN), argv, environ);
	}
}

void run_init(void)
{
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t child;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &by_default, NULL);	/* scenarios inherit what is ignored */
	/*
	 * No handler: where the kernel has it return by code that it puts on the stack, emulators
	 * take each later write to that page for one that changes code.
	 */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	child_news = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	/* By hand too, orphans come to us; but not under qemu-user, which does not know this. */
	adopts = prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

/* Listen until it has ended or said too much; false when it went silent for too long. */
static bool follow(struct run *run, struct reader *in, int *status)
{
	uint64_t limit = run->limit_ms * 1000ULL, end = now_us() + limit;
	struct pollfd polls[2] = { { .events = POLLIN } };
	bool ended = false;

	for (;;) {
		uint64_t now = now_us();	/* before we look: what was said in time counts */

		reap(run->pid, status, &ended);
		if (drain(run, in))
			end = now_us() + limit;
		if (ended || run->too_much)
			return true;
		if (now >= end) {
			if (expired(run, &end))
				return false;
			continue;
		}
		polls[0].fd = in->fd;
		run_wait(polls, 1, end - now);
	}
}

void run_scenario(struct run *run)
{
	static struct reader in;
	uint64_t start = now_us();
	int pipe[2], status = 0;
	bool alive;

	run_reset(run);
	in.total = in.n = 0;

	if (pipe2(pipe, O_CLOEXEC) < 0) {
		snprintf(run->failure, sizeof(run->failure), "pipe %s", errno_name(errno));
		return;
	}
	run->pid = fork();
	if (run->pid < 0) {
		snprintf(run->failure, sizeof(run->failure), "fork %s", errno_name(errno));
		close(pipe[0]);
		close(pipe[1]);
		return;
	}
	if (run->pid == 0)
		become_scenario(run, pipe[1]);
	close(pipe[1]);
	in.fd = pipe[0];
	fcntl(in.fd, F_SETFL, O_NONBLOCK);

	do
		alive = !follow(run, &in, &status);
	while (alive && !judge_hang(run, &in));
	if (!alive) {
		if (!run->too_much)
			judge_status(run, status);
		clean_up(run);
	}
	if (in.fd >= 0)
		close(in.fd);
	run_conclude(run);
	run->ms = (now_us() - start) / 1000;
}
