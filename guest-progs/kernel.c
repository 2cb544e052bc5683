// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses of the kernel that no entry of its exception table covers, as by a driver whose pointer is wild: what ends
 * there is to be the task that made it, and nothing else. A module of ours (kmod/) makes them; n/a without it.
 *
 * Who makes one is a task of its own that shares our memory. So we see how it ends, what it left there, and last
 * whether mappings can still be changed (`map`): who dies in a handler that has the lock takes all of a program's
 * threads with it.
 */
#include "device.h"
#include "runtime.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define EVENT_MS 2000
#define RW (PROT_READ | PROT_WRITE)

static enum faultline_context context;

struct plain {
	const char *label;
	enum faultline_function function;
	uint64_t addr;
};

/* Of what the load has read, which the module keeps; before it kept something else. */
static const char *read_effect(void)
{
	const char *word = kept_by_module(FAULTLINE_PUT_USER);

	if (filled(word, INT))
		return " data=match";
	return zeroed(word, INT) ? " data=zeroed" : " data=changed";
}

static int access_plainly(void *arg)
{
	const struct plain *plain = arg;
	long ret;

	step(plain->label);
	ret = access_by_module(plain->function, plain->addr, context);
	if (ret != 0)
		result("%s", errno_name(errno));
	else
		result("ok%s", plain->function == FAULTLINE_LOAD ? read_effect() : "");
	_exit(0);
}

static pid_t start_plainly(struct plain *plain)
{
	static char stack[64 * KIB] __attribute__((aligned(64)));

	give_module(FAULTLINE_GET_USER);
	return must("clone", clone(access_plainly, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD, plain));
}

/* Tells whether it came back. */
static bool plainly(const char *label, enum faultline_function function, uint64_t addr)
{
	struct plain plain = { label, function, addr };

	return join_child(start_plainly(&plain));
}

static void load_plainly(const char *label, const char *page)
{
	plainly(label, FAULTLINE_LOAD, (uintptr_t)page);
}

/* The page holds what was stored; or what was there before, if the store did not come back. */
static void store_plainly(char *page, uint64_t before)
{
	bool stored = plainly("store", FAULTLINE_STORE, (uintptr_t)page);

	load_data("page", page, INT, stored ? pattern(OTHER, INT) : before);
}

static void map_on(void)
{
	call("map", NULL, munmap(anon_pages(1, RW), page_size));
}

/*
 * More than a page table of arm's maps, and nobody touches it: a page between two of these has no page table yet. Where there
 * is one QEMU makes a domain fault of the kernel's access to a page that is not there, and no handler of faults is asked
 * (docs/qemu.md).
 */
static void leave_room(void)
{
	anon_pages(4 * MIB / page_size, PROT_NONE);
}

static char *page_apart(int prot)
{
	char *page;

	leave_room();
	page = anon_pages(1, prot);
	leave_room();
	return page;
}

static char *device_page_apart(enum faultline_result kind)
{
	char *page;

	leave_room();
	page = device_page(kind, 0, RW);
	leave_room();
	return page;
}

/* -- where a program has nothing ------------------------------------------------------------ */

void kernel_null(void)
{
	prove("nothing at 0", unmapped(NULL, page_size));
	plainly("load", FAULTLINE_LOAD, 0);
	plainly("store", FAULTLINE_STORE, 0);
	plainly("jump", FAULTLINE_CALL, 0);
	map_on();
}

void kernel_hole(void)
{
	char *hole = page_apart(RW);

	must("munmap", munmap(hole, page_size));
	load_plainly("load", hole);
	plainly("store", FAULTLINE_STORE, (uintptr_t)hole);
	map_on();
}

void kernel_forbidden(void)
{
	char *none = page_apart(PROT_NONE), *readable = page_apart(PROT_READ);

	load_plainly("load", none);
	plainly("store", FAULTLINE_STORE, (uintptr_t)readable);
	map_on();
}

void kernel_noncanonical(void)
{
	plainly("load", FAULTLINE_LOAD, wide(NONCANONICAL) + 8);
	plainly("store", FAULTLINE_STORE, wide(NONCANONICAL) + 8);
	map_on();
}

/* -- where it has something ------------------------------------------------------------------ */

void kernel_present(void)
{
	char *page = anon_pages(1, RW);

	fill(page, page_size);
	load_plainly("load", page);
	store_plainly(page, pattern(0, INT));
	map_on();
}

/* The load, whether it brought its page, and the store: each to a page of its own that was never touched. */
static void to_absent_pages(void)
{
	char *loaded = page_apart(RW), *stored = page_apart(RW);

	load_plainly("load", loaded);
	result_present(loaded);
	store_plainly(stored, 0);
	map_on();
}

void kernel_absent(void)
{
	to_absent_pages();
}

void kernel_disabled(void)
{
	context = FAULTLINE_FAULTS_DISABLED;
	to_absent_pages();
}

/* The other one has what was there, as a debugger sees it. */
void kernel_cow(void)
{
	char *page = anon_pages(1, RW);
	long other, own;
	pid_t child;

	fill(page, page_size);
	memcpy(&own, page, sizeof(own));
	child = fork_tracee();
	store_plainly(page, pattern(0, INT));
	step("other");
	other = must("PTRACE_PEEKDATA", ptrace(PTRACE_PEEKDATA, child, page, NULL));
	result("ok data=%s", other == own ? "match" : "changed");
	must("kill", kill(child, SIGKILL));
	map_on();
}

void kernel_user_jump(void)
{
	char *page = anon_pages(1, RW | PROT_EXEC);

	put_return_stub(page);
	plainly("jump", FAULTLINE_CALL, (uintptr_t)page);
	map_on();
}

/* -- what is the kernel's own ----------------------------------------------------------------- */

static uint64_t kernel_place(enum faultline_place place)
{
	uint64_t where = place;

	must("FAULTLINE_WHERE", ask_module(FAULTLINE_WHERE, &where));
	return where;
}

void kernel_gap(void)
{
	uint64_t gap = kernel_place(FAULTLINE_GAP);

	plainly("load", FAULTLINE_LOAD, gap);
	plainly("store", FAULTLINE_STORE, gap);
	plainly("jump", FAULTLINE_CALL, gap);
	map_on();
}

void kernel_constant(void)
{
	plainly("store", FAULTLINE_STORE, kernel_place(FAULTLINE_CONSTANT));
	map_on();
}

void kernel_data_jump(void)
{
	put_return_stub(device_page(FAULTLINE_PAGE, 0, RW));
	plainly("jump", FAULTLINE_CALL, kernel_place(FAULTLINE_ALIAS));
	map_on();
}

/* -- what becomes of a fault that is handled ---------------------------------------------------- */

void kernel_results(void)
{
	load_plainly("sigsegv", device_page_apart(FAULTLINE_SIGSEGV));
	load_plainly("sigbus", device_page_apart(FAULTLINE_SIGBUS));
	load_plainly("oom", device_page_apart(FAULTLINE_OOM));
	map_on();
}

void kernel_hwpoison(void)
{
	load_plainly("load", device_page_apart(FAULTLINE_HWPOISON));
	map_on();
}

static bool ended(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	must("waitid", waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT));
	return info.si_pid != 0;
}

/* Where it may not load from there at all it does not get to wait. */
void kernel_kill(void)
{
	struct plain plain = { "load", FAULTLINE_LOAD, (uintptr_t)device_page_apart(FAULTLINE_WAIT) };
	uint64_t end = now_us() + EVENT_MS * 1000ULL;
	pid_t pid = start_plainly(&plain);

	while (ask_module(FAULTLINE_WAITING, NULL) == 0 && !ended(pid)) {
		prove("waits in the fault", now_us() < end);
		sleep_ms(1);
	}
	result_killed(pid);
	map_on();
}

/* In memory of its own: whatever becomes of who has the lock, nobody gives it back. */
void kernel_locked(void)
{
	char *page = page_apart(RW);
	pid_t pid;

	give_module(FAULTLINE_GET_USER);
	step("");
	pid = fork_child();
	if (pid == 0) {
		access_by_module(FAULTLINE_LOAD, (uintptr_t)page, FAULTLINE_MMAP_LOCKED);
		child_done();
	}
	result_fate(pid);
}
