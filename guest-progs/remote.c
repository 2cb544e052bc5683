// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that the kernel reaches without the user's page tables: ptrace, process_vm_readv and
 * writev, /proc/PID/mem, and pages brought in ahead of use. No fault handler of an arch runs
 * here, so the answers ought to be the same everywhere; which rights count is what differs
 * between the ways in.
 */
#include "fault.h"

#include <fcntl.h>
#include <linux/elf.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define RW (PROT_READ | PROT_WRITE)

/* A page of the pattern that allows just this. */
static char *filled_page(int prot)
{
	char *page = anon_pages(1, RW);

	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, prot));
	return page;
}

/* A page of a file that holds the pattern, mapped for reading. */
static char *file_page(int flags)
{
	return map_file(tmpfile_of(256), 1, PROT_READ, flags);
}

/* Two words of its registers are given, of which nothing is new: all that is not given stays. */
void remote_registers_part(void)
{
	static char before[1024], after[1024];
	struct iovec all = { before, sizeof(before) }, part = { before, 16 }, again = { after, sizeof(after) };
	pid_t pid = fork_tracee();

	if (call("get", before, ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all)) != 0)
		return;
	call("set", before, ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &part));
	must("PTRACE_GETREGSET", ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &again));
	step("all");
	result("ok data=%s", all.iov_len == again.iov_len && !memcmp(before, after, all.iov_len) ? "match" : "changed");
}

/* -- where a program is that is stopped on its way to a handler -------------------------------- */

static unsigned long get_pc(pid_t pid)
{
	char regs[1024];
	struct iovec set = { regs, sizeof(regs) };
	unsigned long pc;

	if (DEBUGGER_SET) {
		must("PTRACE_GETREGSET", ptrace(PTRACE_GETREGSET, pid, DEBUGGER_SET, &set));
		memcpy(&pc, regs + DEBUGGER_PC, sizeof(pc));
		return pc;
	}
	return must("PTRACE_PEEKUSER", ptrace(PTRACE_PEEKUSER, pid, (void *)DEBUGGER_PC, NULL));
}

static void set_pc(pid_t pid, unsigned long pc)
{
	char regs[1024];
	struct iovec set = { regs, sizeof(regs) };

	if (DEBUGGER_SET) {
		must("PTRACE_GETREGSET", ptrace(PTRACE_GETREGSET, pid, DEBUGGER_SET, &set));
		memcpy(regs + DEBUGGER_PC, &pc, sizeof(pc));
		must("PTRACE_SETREGSET", ptrace(PTRACE_SETREGSET, pid, DEBUGGER_SET, &set));
	} else {
		must("PTRACE_POKEUSER", ptrace(PTRACE_POKEUSER, pid, (void *)DEBUGGER_PC, (void *)pc));
	}
}

/* It goes on, with this signal, until it stops for another. */
static bool runs_to(pid_t pid, int with, int next)
{
	int status;

	must("PTRACE_CONT", ptrace(PTRACE_CONT, pid, NULL, (void *)(long)with));
	must("waitpid", waitpid(pid, &status, 0));
	detail("status", "0x%x", status);
	return WIFSTOPPED(status) && WSTOPSIG(status) == next;
}

/* The same as a step: and it is there then. */
static bool stops_at(const char *label, pid_t pid, int with, int next, unsigned long pc)
{
	unsigned long is;

	step(label);
	if (!runs_to(pid, with, next)) {
		result("ok(0)");
		return false;
	}
	is = get_pc(pid);
	detail(label, "0x%lx", is);
	result("ok(1) data=%s", is == pc ? "match" : "changed");
	return true;
}

static char *denied;
static int allowed;

static void allow(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	allowed++;
	mprotect(denied, page_size, PROT_READ);
}

/* Just a return, in the instruction set that this handler is entered in. */
static char *other_handler(void (*handler)(int, siginfo_t *, void *))
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	if ((uintptr_t)handler & 1)
		put_odd_return_stub(page);
	else
		put_return_stub(page);
	must("mprotect", mprotect(page, page_size, PROT_READ | PROT_EXEC));
	return page;
}

/*
 * The handler of a fault is about to be entered when another signal stops the child. Its debugger
 * drops that one, and enters another handler, which does nothing: the load faults once more.
 */
void remote_pc_of_handler(void)
{
	struct sigaction action = { .sa_sigaction = allow, .sa_flags = SA_SIGINFO };
	char *other = other_handler(allow);
	unsigned long at;
	pid_t pid;

	denied = anon_pages(1, PROT_NONE);
	pid = fork_child();
	if (pid == 0) {
		must("sigaction", sigaction(SIGSEGV, &action, NULL));
		stop_for_parent();
		arch_load(denied, INT);
		_exit(allowed);
	}
	await_stop(pid);
	prove("stopped by the fault", runs_to(pid, 0, SIGSEGV));
	at = get_pc(pid);
	prove("handler not entered", at != (uintptr_t)allow);
	must("kill", kill(pid, SIGUSR1));
	if (!stops_at("handler", pid, SIGSEGV, SIGUSR1, (uintptr_t)allow))
		return;
	set_pc(pid, (uintptr_t)other);
	if (!stops_at("again", pid, 0, SIGSEGV, at))
		return;
	must("PTRACE_CONT", ptrace(PTRACE_CONT, pid, NULL, (void *)(long)SIGSEGV));
	step("end");
	result_fate(pid);
}

/* Where a program is does not change by a system call, whatever faults in there. */
void remote_pc_behind_efault(void)
{
	char *hole = hole_page();
	int fd = pipe_holding(64), status, calls = 0, kept = 0;
	unsigned long before = 0;
	pid_t pid = fork_child();

	if (pid == 0) {
		stop_for_parent();
		_exit(read(fd, hole, 64) < 0 && errno == EFAULT ? 1 : 2);
	}
	await_stop(pid);
	step("pc");
	for (bool inside = false;; inside = !inside) {
		must("PTRACE_SYSCALL", ptrace(PTRACE_SYSCALL, pid, NULL, NULL));
		must("waitpid", waitpid(pid, &status, 0));
		if (!WIFSTOPPED(status))
			break;
		if (inside) {
			calls++;
			kept += get_pc(pid) == before;
		} else {
			before = get_pc(pid);
		}
	}
	detail("calls", "%d", calls);
	result("ok data=%s", calls && kept == calls ? "match" : "changed");
	step("end");
	result(WIFEXITED(status) ? "exit(%d)" : "killed(%d)", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

/* -- a debugger that goes from instruction to instruction -------------------------------------- */

static bool step_on(pid_t pid)
{
	int status;

	must("PTRACE_SINGLESTEP", ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL));
	must("waitpid", waitpid(pid, &status, 0));
	detail("status", "0x%x", status);
	return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

#define CODE_SIZE 64	/* bytes that hold it whole, and not who called it */

/* How often it stops in that function, which has no loop: once before each instruction. */
static int stops_in(pid_t pid, uintptr_t code)
{
	int stops = 0;

	for (int left = 20000; left && step_on(pid); left--) {
		if (get_pc(pid) - code < CODE_SIZE)
			stops++;
		else if (stops)
			break;
	}
	return stops;
}

void remote_step_multiple(void)
{
	char *at = anon_pages(1, RW) + 65;
	pid_t pid;
	int stops;

	need_code(code_load_multiple);
	pid = fork_child();
	if (pid == 0) {
		stop_for_parent();
		call_code(code_load_multiple, at);
		_exit(0);
	}
	await_stop(pid);
	if (call("step", NULL, ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL)) != 0)
		return;
	await_stop(pid);
	step("stops");
	stops = stops_in(pid, (uintptr_t)code_load_multiple);
	result("ok(%d)", stops);
	if (!stops)
		return;		/* stepped past it, to who knows where */
	/* Not traced any more: a signal ends it, and does not stop it for ever. */
	must("PTRACE_DETACH", ptrace(PTRACE_DETACH, pid, NULL, NULL));
	step("end");
	result_fate(pid);
}

/*
 * The fault that stops the child is told; by the next one the page comes, without a word. How often it stops then
 * until it is behind the load: each stop is a step for the debugger.
 */
void remote_step_fault(void)
{
	int fd = tmpfile_of(0), steps = 1;
	char *at = map_file(fd, 1, PROT_READ, MAP_SHARED);
	unsigned long load;
	pid_t pid = fork_child();

	if (pid == 0) {
		stop_for_parent();
		arch_load(at, INT);
		_exit(0);
	}
	await_stop(pid);
	prove("stopped by the fault", runs_to(pid, 0, SIGBUS));
	load = get_pc(pid);
	must("ftruncate", ftruncate(fd, page_size));
	if (call("step", NULL, ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL)) != 0)
		return;
	await_stop(pid);
	step("stops");
	while (get_pc(pid) == load && steps < 10 && step_on(pid))
		steps++;
	result("ok(%d)", steps);
	must("PTRACE_DETACH", ptrace(PTRACE_DETACH, pid, NULL, NULL));
	step("end");
	result_fate(pid);
}

/* -- more than the kernel takes hold of at a time -------------------------------------------- */

void remote_readv_long(void)
{
	size_t window = 2 * page_size / sizeof(void *), size = (window + 2) * page_size;
	char *far = anon_pages(window + 3, RW) + 100, *ours = anon_pages(window + 2, RW);
	char *seam = far - 100 + window * page_size;
	struct iovec from = { far, size }, to = { ours, size };
	long done;

	fill(seam - 64, 128);
	fill(far + size - 64, 64);
	step("whole");
	done = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	result("ok(%d)", done == (long)size);
	step("seam");
	result("ok data=%s", filled(ours + (seam - 64 - far), 128) ? "match" : "changed");
	step("end");
	result("ok data=%s", filled(ours + size - 64, 64) ? "match" : "changed");
}

/* -- ptrace --------------------------------------------------------------------------------- */

/* The word that a peek gives is its return value: only errno tells a failure from -1. */
static long peek(pid_t pid, char *addr, long *word)
{
	errno = 0;
	*word = ptrace(PTRACE_PEEKDATA, pid, addr, NULL);
	return errno ? -1 : 0;
}

static void peek_known(const char *label, pid_t pid, char *addr, long want)
{
	long word, ret;

	call_begin(label, addr);
	ret = peek(pid, addr, &word);
	call_end(ret, -1, ret < 0 || word == want);
}

static long word_at(const void *addr)
{
	long word;

	memcpy(&word, addr, sizeof(word));
	return word;
}

static long pattern_word(void)
{
	char bytes[sizeof(long)];

	fill(bytes, sizeof(bytes));
	return word_at(bytes);
}

static void poke_step(const char *label, pid_t pid, char *addr, long word)
{
	call(label, addr, ptrace(PTRACE_POKEDATA, pid, addr, (void *)word));
}

static void end_tracee(pid_t pid)
{
	must("kill", kill(pid, SIGKILL));
	waitpid(pid, NULL, 0);
}

static void peek_once(char *addr)
{
	pid_t pid = fork_tracee();

	peek_known("", pid, addr, pattern_word());
	end_tracee(pid);
}

void remote_peek_hole(void)
{
	peek_once(hole_page());
}

void remote_peek_none(void)
{
	peek_once(filled_page(PROT_NONE));
}

/* Half of the word is there. */
void remote_peek_edge(void)
{
	peek_once(edge() - sizeof(long) / 2);
}

/* A word that looks like an error where errors come in the same register. */
void remote_peek_negative(void)
{
	long *words = (long *)anon_pages(1, RW);
	pid_t pid;

	words[0] = -1;
	words[1] = 1UL << (8 * sizeof(long) - 1);
	pid = fork_tracee();
	peek_known("all-ones", pid, (char *)&words[0], words[0]);
	peek_known("top-bit", pid, (char *)&words[1], words[1]);
	end_tracee(pid);
}

/* What a breakpoint is: the child has its own copy then, and the file and we have not. */
void remote_poke_ro(void)
{
	char *page = file_page(MAP_PRIVATE);
	pid_t pid = fork_tracee();

	poke_step("poke", pid, page, 0x5a);
	peek_known("peek", pid, page, 0x5a);
	load_data("own", page, INT, pattern(0, INT));
	end_tracee(pid);
}

/* Each of the two has the page since the fork, and neither may write it. */
void remote_poke_forked(void)
{
	char *page = filled_page(PROT_READ);
	pid_t pid = fork_tracee();

	poke_step("poke", pid, page, 0x5a);
	peek_known("peek", pid, page, 0x5a);
	load_data("own", page, INT, pattern(0, INT));
	end_tracee(pid);
}

/* In the child: a page that may only be read, and that was another's as well until that one ended. */
static void fault_when_poked(char *page)
{
	pid_t other;

	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, PROT_READ));
	other = fork_child();
	if (other == 0)
		child_done();
	join_child(other);
	stop_for_parent();
	task('A');
	store("store", page, INT);
	child_done();
}

/* The write of the debugger is forced; that makes it no right of the program's. */
void remote_poke_ro_then_store(void)
{
	char *page = anon_pages(1, RW);
	pid_t pid = fork_child();

	if (pid == 0)
		fault_when_poked(page);
	await_stop(pid);
	task('B');
	poke_step("poke", pid, page, 0x5a);
	must("PTRACE_DETACH", ptrace(PTRACE_DETACH, pid, NULL, NULL));
	join_child(pid);
}

void remote_poke_ro_shared(void)
{
	char *page = file_page(MAP_SHARED);
	pid_t pid = fork_tracee();

	poke_step("poke", pid, page, 0x5a);
	load_data("own", page, INT, pattern(0, INT));
	end_tracee(pid);
}

void remote_poke_none(void)
{
	char *page = filled_page(PROT_NONE);
	pid_t pid = fork_tracee();

	poke_step("poke", pid, page, 0x5a);
	peek_known("peek", pid, page, 0x5a);
	end_tracee(pid);
}

/* -- process_vm_readv and writev: the far side, then ours ----------------------------------- */

static long vm_read(struct iovec *far, int n, void *to, size_t size)
{
	return process_vm_readv(getpid(), &(struct iovec){ to, size }, 1, far, n, 0);
}

static long vm_write(struct iovec *far, int n, void *from, size_t size)
{
	return process_vm_writev(getpid(), &(struct iovec){ from, size }, 1, far, n, 0);
}

void remote_vm_read_part(void)
{
	char *good = filled_page(RW), *to = anon_pages(1, RW), *hole = hole_page();
	struct iovec far[] = { { good, 100 }, { hole, 100 } };
	long done;

	call_begin("", hole);
	done = vm_read(far, 2, to, 200);
	call_end(done, 200, done <= 0 || filled(to, done));
}

/* One piece that runs from a good page into a hole: pages count, not pieces. */
void remote_vm_read_across(void)
{
	char *to = anon_pages(1, RW), *end = edge();
	struct iovec far = { end - 100, 200 };
	long done;

	fill(end - 100, 100);
	call_begin("", end);
	done = vm_read(&far, 1, to, 200);
	call_end(done, 200, done <= 0 || filled(to, done));
}

void remote_vm_read_none(void)
{
	char *none = filled_page(PROT_NONE), *to = anon_pages(1, RW);
	struct iovec far = { none, 64 };

	transfer("", none, 64, vm_read(&far, 1, to, 64));
}

void remote_vm_read_eof(void)
{
	char *to = anon_pages(1, RW), *beyond = map_file(tmpfile_of(1), 2, RW, MAP_SHARED) + page_size;
	struct iovec far = { beyond, 64 };

	transfer("", beyond, 64, vm_read(&far, 1, to, 64));
}

void remote_vm_write_ro(void)
{
	char *ro = filled_page(PROT_READ), *from = anon_pages(1, RW);
	struct iovec far = { ro, 64 };
	long done;

	call_begin("", ro);
	done = vm_write(&far, 1, from, 64);
	call_end(done, 64, filled(ro, 64));
}

void remote_vm_write_across(void)
{
	char *from = filled_page(RW), *end = edge();
	struct iovec far = { end - 100, 200 };
	long done;

	call_begin("", end);
	done = vm_write(&far, 1, from, 200);
	call_end(done, 200, done <= 0 || filled(end - 100, done));
}

void remote_vm_read_local_hole(void)
{
	char *good = filled_page(RW), *hole = hole_page();
	struct iovec far = { good, 64 };

	transfer("", hole, 64, vm_read(&far, 1, hole, 64));
}

/* -- /proc/self/mem --------------------------------------------------------------------------- */

static int mem(void)
{
	return must("open mem", open("/proc/self/mem", O_RDWR | O_CLOEXEC));
}

static off_t at(const void *addr)
{
	return (off_t)(uintptr_t)addr;
}

void remote_mem_write_ro(void)
{
	char *ro = anon_pages(1, PROT_READ);
	uint32_t word = pattern(0, INT);
	int fd = mem();

	transfer("write", ro, INT, pwrite(fd, &word, INT, at(ro)));
	load_data("load", ro, INT, word);
}

void remote_mem_write_ro_shared(void)
{
	char *ro = file_page(MAP_SHARED);
	int fd = mem();
	uint32_t word = 0x5a;

	transfer("write", ro, INT, pwrite(fd, &word, INT, at(ro)));
	load_data("load", ro, INT, pattern(0, INT));
}

void remote_mem_read_none(void)
{
	char *none = filled_page(PROT_NONE), bytes[64];
	int fd = mem();
	long done;

	memset(bytes, 0xff, sizeof(bytes));
	call_begin("", none);
	done = pread(fd, bytes, sizeof(bytes), at(none));
	call_end(done, sizeof(bytes), done <= 0 || filled(bytes, done));
}

void remote_mem_read_hole(void)
{
	char *hole = hole_page(), bytes[64];
	int fd = mem();

	transfer("", hole, sizeof(bytes), pread(fd, bytes, sizeof(bytes), at(hole)));
}

void remote_mem_read_zero(void)
{
	char bytes[64];
	int fd = mem();

	prove("page 0 unmapped", unmapped(NULL, page_size));
	transfer("", NULL, sizeof(bytes), pread(fd, bytes, sizeof(bytes), 0));
}

void remote_mem_read_across(void)
{
	char *end = edge(), bytes[200];
	int fd = mem();
	long done;

	fill(end - 100, 100);
	memset(bytes, 0xff, sizeof(bytes));
	call_begin("", end);
	done = pread(fd, bytes, sizeof(bytes), at(end - 100));
	call_end(done, sizeof(bytes), done <= 0 || filled(bytes, done));
}

void remote_mem_read_bad_buffer(void)
{
	char *good = filled_page(RW), *hole = hole_page();
	int fd = mem();

	transfer("", hole, 64, pread(fd, hole, 64, at(good)));
}

/* Two pages are asked for, one has a place, and has been copied there before the other fails. */
void remote_mem_read_short_buffer(void)
{
	char *good = anon_pages(2, RW), *end = edge();
	int fd = mem();
	long done;

	fill(good, 2 * page_size);
	memset(end - page_size, 0xff, page_size);
	call_begin("", end);
	done = pread(fd, end - page_size, 2 * page_size, at(good));
	call_end(done, 2 * page_size, filled(end - page_size, page_size) == (done > 0));
}

/* -- pages brought in ahead of use ------------------------------------------------------------ */

void remote_mlock_hole(void)
{
	char *hole = hole_page();

	call("", hole, mlock(hole, 1));
}

/* A good page, then the hole: data=changed were a page that was brought in all the same. */
void remote_mlock_across(void)
{
	char *page = anon_pages(3, RW), *hole = page + page_size;
	long ret;

	must("munmap", munmap(hole, page_size));
	prove("hole", unmapped(hole, page_size));
	call_begin("", hole);
	ret = mlock(page, 2 * page_size);
	call_end(ret, -1, !present(page));
}

void remote_mlock_none(void)
{
	char *none = anon_pages(1, PROT_NONE);

	call("", none, mlock(none, 1));
}

/* Code that may not be read, and was never touched. */
void remote_mlock_xonly(void)
{
	char *xonly = anon_pages(1, PROT_EXEC);

	call("mlock", xonly, mlock(xonly, 1));
	result_present(xonly);
}

void remote_mlock_eof(void)
{
	char *beyond = map_file(tmpfile_of(1), 2, RW, MAP_SHARED) + page_size;

	call("", beyond, mlock(beyond, 1));
}

void remote_populate_ro(void)
{
	char *ro = anon_pages(1, PROT_READ);

	call("read", ro, madvise(ro, page_size, MADV_POPULATE_READ));
	call("write", ro, madvise(ro, page_size, MADV_POPULATE_WRITE));
}

void remote_populate_none(void)
{
	char *none = anon_pages(1, PROT_NONE);

	call("", none, madvise(none, page_size, MADV_POPULATE_READ));
}

void remote_populate_hole(void)
{
	char *hole = hole_page();

	call("", hole, madvise(hole, page_size, MADV_POPULATE_READ));
}

void remote_populate_eof(void)
{
	char *beyond = map_file(tmpfile_of(1), 2, RW, MAP_SHARED) + page_size;

	call("", beyond, madvise(beyond, page_size, MADV_POPULATE_READ));
}

/* mmap itself never fails for what it could not bring in. */
void remote_map_populate_eof(void)
{
	int fd = tmpfile_of(1);
	char *pages;

	call_begin("mmap", NULL);
	pages = mmap(NULL, 2 * page_size, RW, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (call_end((long)pages == -1 ? -1 : 0, -1, true) == 0) {
		prove("first page present", present(pages));
		load("load", pages + page_size, INT);
	}
}
