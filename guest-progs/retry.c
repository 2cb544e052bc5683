// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fault that the kernel gives up and retries, because its task got a signal: the task waits
 * for a page that nobody brings, in user mode or inside a system call.
 */
#include "fault.h"
#include "uffd.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

static void tell(const char *call, long n)
{
	detail(call, "%s", n < 0 ? errno_name(errno) : "ok");
}

static void read_pipe(char *page)
{
	tell("read", read_into(page));
}

static void write_pipe(char *page)
{
	tell("write", write_from(page));
}

/* A write to a file looks whether its source is there before it takes the file's locks. */
static void write_file_from(char *page)
{
	int fd = tmpfile_of(0);

	tell("write", write(fd, page, 64));
}

/* clear_user() */
static void read_zeroes_into(char *page)
{
	int fd = must("open /dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));

	tell("read", read(fd, page, 64));
}

/* put_user() */
static void size_into(char *page)
{
	ioctl(pipe_holding(64), FIONREAD, page);
}

/* get_user() */
static void flag_from(char *page)
{
	ioctl(pipe_holding(64), FIONBIO, page);
}

static void vector_from(char *page)
{
	int fd = pipe_sink();

	tell("writev", writev(fd, (struct iovec *)page, 1));
}

static void futex_in(char *page)
{
	syscall(FUTEX, page, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

/* strncpy_from_user() */
static void open_named_by(char *page)
{
	detail("fd", "%d", open(page, O_RDONLY | O_CLOEXEC));
}

static void exec_with_argument(char *page)
{
	execve("/proc/self/exe", (char *[]){ page, NULL }, (char *[]){ NULL });
	detail("execve", "%s", errno_name(errno));
}

static void exec_with_arguments(char *page)
{
	execve("/proc/self/exe", (char **)page, (char *[]){ NULL });
	detail("execve", "%s", errno_name(errno));
}

/* No exception table here: the page is looked up by get_user_pages. */
static void vm_read_from(char *page)
{
	char to[64];

	tell("process_vm_readv", process_vm_readv(getpid(), &(struct iovec){ to, 64 }, 1,
						  &(struct iovec){ page, 64 }, 1, 0));
}

static void load_from(char *page)
{
	arch_load(page, INT);
}

/* m68k has a system call for it, which brings the page in by the fault handler itself. */
static void exchange_in(char *page)
{
	tell("cmpxchg", CMPXCHG(page, 0, 1));
}

/* What becomes of a child that waits in act when it is killed. */
static void kill_in(void (*act)(char *page))
{
	struct stuck child = stuck_child(act);

	kill_stuck(&child);
}

void retry_kill_in_read(void)
{
	kill_in(read_pipe);
}

void retry_kill_in_write(void)
{
	kill_in(write_pipe);
}

void retry_kill_in_load(void)
{
	kill_in(load_from);
}

void retry_kill_in_file_write(void)
{
	kill_in(write_file_from);
}

void retry_kill_in_clear(void)
{
	kill_in(read_zeroes_into);
}

void retry_kill_in_put_user(void)
{
	kill_in(size_into);
}

void retry_kill_in_get_user(void)
{
	kill_in(flag_from);
}

void retry_kill_in_iovec(void)
{
	kill_in(vector_from);
}

void retry_kill_in_cmpxchg(void)
{
	only_with_exchange();
	kill_in(exchange_in);
}

void retry_kill_in_futex(void)
{
	kill_in(futex_in);
}

void retry_kill_in_open(void)
{
	kill_in(open_named_by);
}

void retry_kill_in_exec_argument(void)
{
	kill_in(exec_with_argument);
}

void retry_kill_in_exec_arguments(void)
{
	kill_in(exec_with_arguments);
}

void retry_kill_in_gup(void)
{
	kill_in(vm_read_from);
}

/* The child's own step: it begins before the fault, and ends when the page has come. */
static void load_pattern(char *page)
{
	load_data("", page, INT, pattern(0, INT));
}

void retry_resolve_load(void)
{
	struct stuck child = stuck_child(load_pattern);

	resolve(&child);
	join_child(child.pid);
}

/* The page comes with the pattern; what is copied there is another part of it. */
static void read_others(char *page)
{
	read_between("", page, page_size);
}

void retry_resolve_read(void)
{
	struct stuck child = stuck_child(read_others);

	resolve(&child);
	join_child(child.pid);
}

static void write_pattern(char *page)
{
	int fd = pipe_sink();
	long done;

	call_begin("", page + 128);
	done = write(fd, page + 128, 64);
	call_end(done, 64, pipe_holds(fd, 128, done));
}

void retry_resolve_write(void)
{
	struct stuck child = stuck_child(write_pattern);

	resolve(&child);
	join_child(child.pid);
}

static int handled[2];		/* a pipe: the handler says that it runs */

static void on_alarm(int sig)
{
	char byte = sig;

	(void)!write(handled[1], &byte, 1);
}

static void (*act_with_alarm)(char *page);

static void with_alarm_handler(char *page)
{
	must("signal", signal(SIGALRM, on_alarm) == SIG_ERR ? -1 : 0);
	act_with_alarm(page);
}

static void may_be_alarmed_in(void (*act)(char *page))
{
	must("pipe2", pipe2(handled, O_CLOEXEC | O_NONBLOCK));
	act_with_alarm = act;
}

/* Two steps: does the handler run, and what becomes of the child. False: it does not even die. */
static bool alarm_child(pid_t pid)
{
	char byte;

	must("kill", kill(pid, SIGALRM));
	pause_ms(500);
	call("handler", NULL, read(handled[0], &byte, 1));
	step("alarm");
	return result_hang(pid);
}

/* A signal that does not kill: it can interrupt the wait, but is not handled before the copy ends. */
static void alarm_in(void (*act)(char *page))
{
	struct stuck child;

	may_be_alarmed_in(act);
	child = stuck_child(with_alarm_handler);
	if (!alarm_child(child.pid))
		release(&child);
}

void retry_alarm_in_read(void)
{
	alarm_in(read_pipe);
}

void retry_alarm_in_write(void)
{
	alarm_in(write_pipe);
}

void retry_alarm_in_clear(void)
{
	alarm_in(read_zeroes_into);
}

void retry_alarm_in_futex(void)
{
	alarm_in(futex_in);
}

void retry_alarm_in_open(void)
{
	alarm_in(open_named_by);
}

void retry_alarm_in_exec_argument(void)
{
	alarm_in(exec_with_argument);
}

void retry_alarm_in_put_user(void)
{
	alarm_in(size_into);
}

void retry_alarm_in_get_user(void)
{
	alarm_in(flag_from);
}

void retry_alarm_in_cmpxchg(void)
{
	only_with_exchange();
	alarm_in(exchange_in);
}

void retry_alarm_in_exec_arguments(void)
{
	alarm_in(exec_with_arguments);
}

void retry_alarm_in_gup(void)
{
	alarm_in(vm_read_from);
}

/* The child's own step; the handler runs behind it. */
static void read_by_gup(char *page)
{
	char to[64];
	long done;

	call_begin("read", page);
	done = process_vm_readv(getpid(), &(struct iovec){ to, 64 }, 1, &(struct iovec){ page, 64 }, 1, 0);
	call_end(done, 64, done <= 0 || filled(to, done));
}

void retry_alarm_then_page_in_gup(void)
{
	struct stuck child;
	char byte;

	may_be_alarmed_in(read_by_gup);
	child = stuck_child(with_alarm_handler);
	must("kill", kill(child.pid, SIGALRM));
	pause_ms(100);
	resolve(&child);
	join_child(child.pid);
	call("handler", NULL, read(handled[0], &byte, 1));
}

/* The handler runs, and the load waits again. */
void retry_alarm_in_load(void)
{
	alarm_in(load_from);
}

/* It runs, or does not while nothing else happens. */
static bool handler_runs(void)
{
	struct pollfd ran = { .fd = handled[0], .events = POLLIN };

	for (unsigned int ms = 0; ms < 2000; ms += 100) {
		if (poll(&ran, 1, 100) == 1)
			return true;
		detail("waited-ms", "%u", ms);
	}
	return false;
}

static bool see_handler(void)
{
	bool runs = handler_runs();
	char sig = 0;
	long got;

	call_begin("handler", NULL);
	got = read(handled[0], &sig, 1);
	call_end(got, -1, got <= 0 || sig == SIGALRM);
	return runs;
}

/*
 * Woken without a page, twice: the first wait may have been under the lock of the mapping alone,
 * the second was not, and the third is that of a fault which has been tried again since.
 */
static void alarm_after_wakes(void (*act)(char *page))
{
	struct stuck child;

	may_be_alarmed_in(act);
	child = stuck_child(with_alarm_handler);
	task('B');
	uffd_wake("wake", child.uffd, child.page, page_size);
	see_stuck(&child);
	uffd_wake("again", child.uffd, child.page, page_size);
	see_stuck(&child);
	must("kill", kill(child.pid, SIGALRM));
	if (see_handler())
		see_stuck(&child);	/* the page is missing still */
	resolve(&child);
	join_child(child.pid);
}

void retry_alarm_after_wakes(void)
{
	alarm_after_wakes(load_it);
}

void retry_alarm_after_wakes_store(void)
{
	alarm_after_wakes(store_it);
}

static volatile sig_atomic_t first_ran, second_ran;
static int frame_flags;		/* SA_SIGINFO: on some arches another frame, made by other code */

static void count_signal(int sig)
{
	if (sig == SIGUSR1)
		first_ran++;
	else
		second_ran++;
}

static void load_between_handlers(char *page)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = frame_flags };

	must("sigaction", sigaction(SIGUSR1, &action, NULL));
	must("sigaction", sigaction(SIGUSR2, &action, NULL));
	load_data("load", page, INT, pattern(0, INT));
	step("first");
	result("ok(%d)", (int)first_ran);
	step("second");
	result("ok(%d)", (int)second_ran);
}

/* Both come while it is stopped on its way out of the fault: one frame is built over the other. */
static void two_signals_in_load(int flags)
{
	struct stuck child;
	int status;

	frame_flags = flags;
	child = stuck_child(load_between_handlers);
	must("kill", kill(child.pid, SIGSTOP));
	must("waitpid", waitpid(child.pid, &status, WUNTRACED));
	prove("it has stopped", WIFSTOPPED(status));
	must("kill", kill(child.pid, SIGUSR1));
	must("kill", kill(child.pid, SIGUSR2));
	must("kill", kill(child.pid, SIGCONT));
	resolve(&child);
	join_child(child.pid);
}

void retry_two_signals_in_load(void)
{
	two_signals_in_load(0);
}

void retry_two_signals_info_in_load(void)
{
	two_signals_in_load(SA_SIGINFO);
}

static void read_before_handler(char *page)
{
	must("signal", signal(SIGUSR1, count_signal) == SIG_ERR ? -1 : 0);
	task('A');
	read_between("read", page, page_size);
	step("handler");
	result("ok(%d)", (int)first_ran);
}

/*
 * The signal comes first, and then the page: a copy cannot be interrupted, and need not be. Where it
 * is, there may be nobody left to bring the page to.
 */
void retry_signal_in_read(void)
{
	struct stuck child = stuck_child(read_before_handler);
	char *source = pattern_page();

	must("kill", kill(child.pid, SIGUSR1));
	task('B');
	uffd_copy("copy", child.uffd, child.page, source);
	join_child(child.pid);
}

/* -- the page of a disk that answers no more ------------------------------------------------------ */

/* A child that waits in act for the disk. */
static struct stuck child_of_disk(void (*act)(char *page))
{
	const char *device = map_device(disk_device("raw"), 16 * MIB);
	int fd = must("open device", open(device, O_RDONLY | O_CLOEXEC));
	struct stuck child = { .page = map_file(fd, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE) };

	close(fd);
	suspend_device();
	child.pid = fork_child();
	if (child.pid == 0) {
		act(child.page);
		child_done();
	}
	see_it_sleep(&child);
	return child;
}

/* The disk answers; now even a child ends that could not be killed. */
static void answer(struct stuck *child, bool ended)
{
	resume_device();
	if (!ended)
		must("waitpid", waitpid(child->pid, NULL, 0));
	must("munmap", munmap(child->page, page_size));
	unmap_device();
}

void retry_kill_in_disk_read(void)
{
	struct stuck child = child_of_disk(read_pipe);

	step("");
	answer(&child, result_killed(child.pid));
}

void retry_alarm_in_disk_read(void)
{
	struct stuck child;

	may_be_alarmed_in(read_pipe);
	child = child_of_disk(with_alarm_handler);
	answer(&child, alarm_child(child.pid));
}
