// SPDX-License-Identifier: GPL-2.0-only
/* Helper processes and threads of a scenario, and how they end. */
#include "runtime.h"

#include <pthread.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/* A line is progress to those who watch; sleep at most this long without one. */
#define SIGN_OF_LIFE_MS 100

unsigned int child_kill_ms = 1000;

void pause_ms(unsigned int ms)
{
	for (; ms > SIGN_OF_LIFE_MS; ms -= SIGN_OF_LIFE_MS) {
		sleep_ms(SIGN_OF_LIFE_MS);
		detail("pausing-ms", "%u", ms);
	}
	sleep_ms(ms);
}

pthread_t start_thread(void *(*run)(void *arg), void *arg)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, arg);
	must("pthread_create", errno ? -1 : 0);
	return thread;
}

bool one_cpu;

int use_all_cpus(void)
{
	cpu_set_t all;

	prove("all CPUs here (`cpus: all`)", !one_cpu);
	memset(&all, 0xff, sizeof(all));
	must("sched_setaffinity", sched_setaffinity(0, sizeof(all), &all));
	must("sched_getaffinity", sched_getaffinity(0, sizeof(all), &all));
	return CPU_COUNT(&all);
}

static void note(const char *key, const char *value)
{
	detail(key, "%s", value);
}

pid_t fork_child(void)
{
	return must("fork", fork());
}

void child_done(void)
{
	_exit(0);
}

void stop_for_parent(void)
{
	must("PTRACE_TRACEME", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	raise(SIGSTOP);
}

void await_stop(pid_t pid)
{
	int status;

	must("waitpid", waitpid(pid, &status, 0));
	prove("child stopped", WIFSTOPPED(status));
}

pid_t fork_tracee(void)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		stop_for_parent();
		child_done();
	}
	await_stop(pid);
	return pid;
}

pid_t wait_end(pid_t pid, int *status, int flags)
{
	pid_t found;

	do
		found = waitpid(pid, status, flags);
	while (found > 0 && WIFSTOPPED(*status));
	return found;
}

static void result_status(int status)
{
	if (WIFSIGNALED(status))
		result("killed(%s)", signal_name(WTERMSIG(status)));
	else
		result("exit(%d)", WEXITSTATUS(status));
}

bool join_child(pid_t pid)
{
	int status;

	must("waitpid", wait_end(pid, &status, 0));
	if (status != 0)
		result_status(status);
	return status == 0;
}

/* Dead within ms milliseconds, and what of. */
static bool ended_within(pid_t pid, unsigned int ms, int *status)
{
	uint64_t start = now_us();
	unsigned int waited, told = 0;

	while (wait_end(pid, status, WNOHANG) == 0) {
		waited = (now_us() - start) / 1000;
		if (waited >= ms)
			return false;
		if (waited - told >= SIGN_OF_LIFE_MS) {
			told = waited;
			detail("waited-ms", "%u", waited);
		}
		sleep_ms(2);
	}
	return true;
}

bool result_fate(pid_t pid)
{
	int status;
	bool ended = ended_within(pid, child_kill_ms, &status);

	if (ended)
		result_status(status);
	else
		result("%s", hang_text(false, hang_sample(pid, 0, note)));
	return ended;
}

bool result_killed(pid_t pid)
{
	must("kill", kill(pid, SIGKILL));
	return result_fate(pid);
}

bool result_hang(pid_t pid)
{
	enum hang_state state = hang_sample(pid, 0, note);
	int status;
	bool ended;

	if (state == HANG_GONE) {	/* it did not wait for us to look */
		must("waitpid", wait_end(pid, &status, 0));
		result_status(status);
		return true;
	}
	kill(pid, SIGKILL);
	ended = ended_within(pid, child_kill_ms, &status);
	if (!ended)
		state = hang_sample(pid, 0, note);
	result("%s", hang_text(ended, state));
	return ended;
}
