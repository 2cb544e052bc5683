// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals on their way from a fault to a handler: the stack the frame goes to, the ones that
 * cannot be delivered, the bytes of siginfo, and the traps that are no page faults.
 */
#include "fault.h"

#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

/* -- small parts ------------------------------------------------------------------------- */

/* The runtime's handler stays; how it is entered changes. */
static void change_action(int sig, int add, int remove)
{
	struct sigaction action;

	must("sigaction", sigaction(sig, NULL, &action));
	action.sa_flags = (action.sa_flags | add) & ~remove;
	if (add & SA_NODEFER)
		sigemptyset(&action.sa_mask);
	must("sigaction", sigaction(sig, &action, NULL));
}

static void handle(int sig, void (*handler)(int sig), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	must("sigaction", sigaction(sig, &action, NULL));
}

static void block(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	must("sigprocmask", sigprocmask(SIG_BLOCK, &set, NULL));
}

static void unblock(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* The child, just forked, acts on a page with this handler for the signal. */
static pid_t child_acts(pid_t child, int sig, void (*handler)(int), void (*act)(char *page),
			char *page)
{
	if (child == 0) {
		handle(sig, handler, 0);
		act(page);
		child_done();
	}
	step("");
	return child;
}

/* What becomes of one that has no handler for SIGSEGV. */
static void fate_without_handler(pid_t child, void (*act)(char *page), char *page)
{
	result_fate(child_acts(child, SIGSEGV, SIG_DFL, act, page));
}

/* -- alternate stacks -------------------------------------------------------------------- */

#define STACK_PAGES 16

/* An alternate stack with as much memory below it, that is somebody else's: filled. */
static char *stack_above_data(size_t size)
{
	char *data = anon_pages(2 * STACK_PAGES, PROT_READ | PROT_WRITE);
	stack_t altstack = { .ss_sp = data + STACK_PAGES * page_size, .ss_size = size };

	fill(data, 2 * STACK_PAGES * page_size);
	must("sigaltstack", sigaltstack(&altstack, NULL));
	return data;
}

/* A signal to oneself, and whether the data below the stack is as it was afterwards. */
static void raise_above(const char *label, char *data, int sig)
{
	long ret;

	call_begin(label, NULL);
	ret = kill(getpid(), sig);
	call_end(ret, -1, filled(data, STACK_PAGES * page_size));
}

static char *stack_start;
static int depth;

/* The first handler uses up its stack but for a few words; the second one's frame does not fit. */
static void use_up(int sig, siginfo_t *info, void *context)
{
	volatile char here, *low;

	(void)info, (void)context;
	if (depth++)
		return;
	low = __builtin_alloca(&here - stack_start - 256);
	*low = 0;
	kill(getpid(), sig);
}

void signal_altstack_overflow(void)
{
	struct sigaction action = { .sa_sigaction = use_up,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	char *data = stack_above_data(STACK_PAGES * page_size);

	stack_start = data + STACK_PAGES * page_size;
	must("sigaction", sigaction(SIGUSR1, &action, NULL));
	raise_above("raise", data, SIGUSR1);
	step("handlers");
	result("ok(%d)", depth);
}

static void nothing(int sig)
{
	(void)sig;
}

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static int on_it, armed;

static int alternate_stack(void)
{
	stack_t now;

	return sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE);
}

static void look_at_stack(int sig, siginfo_t *info, void *context)
{
	char here;

	(void)sig, (void)info, (void)context;
	on_it += (size_t)(&here - stack_start) < STACK_PAGES * page_size;
	armed += alternate_stack();
}

/* The kernel takes the stack away while the handler runs, and its return gives it back. */
void signal_altstack_disarmed(void)
{
	struct sigaction action = { .sa_sigaction = look_at_stack, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t altstack = { .ss_flags = SS_AUTODISARM, .ss_size = STACK_PAGES * page_size };

	altstack.ss_sp = stack_start = anon_pages(STACK_PAGES, PROT_READ | PROT_WRITE);
	must("sigaltstack", sigaltstack(&altstack, NULL));
	must("sigaction", sigaction(SIGUSR1, &action, NULL));
	call("first", NULL, kill(getpid(), SIGUSR1));
	call("second", NULL, kill(getpid(), SIGUSR1));
	step("on-it");
	result("ok(%d)", on_it);
	step("inside");
	result("ok(%d)", armed);
	step("after");
	result("ok(%d)", alternate_stack());
}

static int tell_stack(void *unused)
{
	int now = alternate_stack();

	(void)unused;
	kill(getpid(), SIGUSR1);
	_exit(now + 2 * on_it);
}

/* 1: the child has an alternate stack; 2: its handler runs there. */
static void result_stack_of(const char *label, int flags)
{
	char *stack = anon_pages(16, PROT_READ | PROT_WRITE) + 16 * page_size;

	on_it = 0;
	step(label);
	result_fate(must("clone", clone(tell_stack, stack, flags | SIGCHLD, NULL)));
}

/* Two that run at the same time cannot have one stack; the child of vfork is alone with it. */
void signal_altstack_of_child(void)
{
	struct sigaction action = { .sa_sigaction = look_at_stack, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t altstack = { .ss_size = STACK_PAGES * page_size };

	altstack.ss_sp = stack_start = anon_pages(STACK_PAGES, PROT_READ | PROT_WRITE);
	must("sigaltstack", sigaltstack(&altstack, NULL));
	must("sigaction", sigaction(SIGUSR1, &action, NULL));
	result_stack_of("fork", 0);
	result_stack_of("vfork", CLONE_VM | CLONE_VFORK);
	result_stack_of("clone", CLONE_VM);
}

/* The child has our memory, and dies in it. */
void signal_vfork_fault(void)
{
	char *volatile hole = hole_page();
	int status;
	pid_t child;

	step("child");
	child = must("vfork", vfork());
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		arch_load(hole, INT);
		_exit(0);
	}
	must("waitpid", waitpid(child, &status, 0));
	if (WIFSIGNALED(status))
		result("killed(%s)", signal_name(WTERMSIG(status)));
	else
		result("exit(%d)", WEXITSTATUS(status));
	load("parent", hole, INT);
}

/* The alternate stack is the smallest that sigaltstack() takes. Gives its size. */
static size_t smallest_stack(char *start)
{
	stack_t altstack = { .ss_sp = start, .ss_size = 512 };

	while (sigaltstack(&altstack, NULL) != 0)
		altstack.ss_size += 16;
	detail("size", "%zu", altstack.ss_size);
	return altstack.ss_size;
}

/* Does a frame fit? */
void signal_altstack_smallest(void)
{
	char *data = stack_above_data(STACK_PAGES * page_size);

	smallest_stack(data + STACK_PAGES * page_size);
	fill(data, 2 * STACK_PAGES * page_size);
	handle(SIGUSR1, nothing, SA_ONSTACK);
	raise_above("", data, SIGUSR1);
}

void signal_altstack_minimum(void)
{
	char *stack = anon_pages(STACK_PAGES, PROT_READ | PROT_WRITE);
	size_t size = smallest_stack(stack);
	stack_t less = { .ss_sp = stack, .ss_size = size - 1 };

	call("less", NULL, sigaltstack(&less, NULL));
	step("smallest");
	result("ok(%zu)", size);
}

static char *frame;

static void see_frame(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	frame = context;	/* of the frame, this is near the low end */
}

/* A first frame that is larger than the stack, as one on a stack with room has shown. */
void signal_altstack_too_small(void)
{
	struct sigaction action = { .sa_sigaction = see_frame,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK };
	char *data = stack_above_data(STACK_PAGES * page_size);
	char *end = data + 2 * STACK_PAGES * page_size;
	size_t size;

	must("sigaction", sigaction(SIGUSR1, &action, NULL));
	must("kill", kill(getpid(), SIGUSR1));
	size = smallest_stack(data + STACK_PAGES * page_size);
	detail("frame", "%td", end - frame);
	if ((size_t)(end - frame) <= size)
		not_applicable("a frame fits on the smallest stack");
	fill(data, 2 * STACK_PAGES * page_size);
	raise_above("", data, SIGUSR1);
}

static char *first_info;

static void see_info(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	first_info = (char *)info;
	frame = context;
}

/* The child's frame for a signal begins in memory that cannot be written, and this is the first byte that can. */
static void fate_of_cut_frame(const char *label, char *end, const char *from)
{
	char *stack = anon_pages(2 * STACK_PAGES, PROT_READ | PROT_WRITE);
	/* As far from its end as from the other one, but for what keeps the frame aligned as it was. */
	char *top = stack + STACK_PAGES * page_size + ((end - from - 16) & ~63L);
	stack_t altstack = { .ss_sp = stack, .ss_size = top - stack };
	pid_t pid = fork_child();

	if (pid == 0) {
		handle(SIGSEGV, SIG_DFL, 0);
		must("mprotect", mprotect(stack, STACK_PAGES * page_size, PROT_READ));
		must("sigaltstack", sigaltstack(&altstack, NULL));
		must("kill", kill(getpid(), SIGUSR1));
		child_done();
	}
	step(label);
	result_fate(pid);
}

/* A part of the frame has its place, another has none. */
void signal_frame_cut(void)
{
	struct sigaction action = { .sa_sigaction = see_info, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	char *stack = anon_pages(STACK_PAGES, PROT_READ | PROT_WRITE);
	stack_t altstack = { .ss_sp = stack, .ss_size = STACK_PAGES * page_size };
	char *end = stack + altstack.ss_size;
	bool there;
	long ret;

	must("sigaltstack", sigaltstack(&altstack, NULL));
	must("sigaction", sigaction(SIGUSR1, &action, NULL));
	call_begin("whole", NULL);
	ret = kill(getpid(), SIGUSR1);
	there = stack < first_info && first_info < end && stack < frame && frame < end;
	call_end(ret, -1, there);
	if (!there)
		return;
	fate_of_cut_frame("info", end, first_info);
	fate_of_cut_frame("context", end, frame);
}

static int inside_errno;

static void change_stack(int sig)
{
	stack_t off = { .ss_flags = SS_DISABLE };

	(void)sig;
	inside_errno = sigaltstack(&off, NULL) ? errno : 0;
}

void signal_altstack_change_inside(void)
{
	handle(SIGUSR1, change_stack, SA_ONSTACK);
	call_begin("", NULL);
	must("kill", kill(getpid(), SIGUSR1));
	errno = inside_errno;
	call_end(inside_errno ? -1 : 0, -1, true);
}

void signal_altstack_unmapped(void)
{
	char *data = stack_above_data(STACK_PAGES * page_size), *hole = hole_page();

	must("munmap", munmap(data, 2 * STACK_PAGES * page_size));
	load("", hole, INT);
}

/* -- a stack pointer that points nowhere ------------------------------------------------- */

static char *middle(char *page)
{
	return page + page_size / 2;
}

void signal_bad_sp(void)
{
	char *stack = hole_page(), *hole = hole_page();

	change_action(SIGSEGV, 0, SA_ONSTACK);
	store_with_sp("", middle(stack), hole, INT);
}

/* SIGBUS cannot be delivered, and what then comes instead has a stack of its own. */
void signal_bad_sp_altstack(void)
{
	char *eof = map_file(tmpfile_of(0), 1, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *stack = hole_page();

	change_action(SIGBUS, 0, SA_ONSTACK);
	store_with_sp("", middle(stack), eof, INT);
}

void signal_sigreturn_hole(void)
{
	char *frame = middle(hole_page());

	execute("", code_sigreturn_at, frame, frame);
}

void signal_sigreturn_none(void)
{
	char *frame = middle(anon_pages(1, PROT_NONE));

	execute("", code_sigreturn_at, frame, frame);
}

static void enter_sigreturn(char *frame)
{
	call_code(code_sigreturn_at, frame);
}

/* On some machines what a handler would need is zero as well. */
void signal_sigreturn_zeroes(void)
{
	char *frame = anon_pages(8, PROT_READ | PROT_WRITE) + 4 * page_size;

	fate_without_handler(fork_child(), enter_sigreturn, frame);
}

/* -- ignored and blocked ------------------------------------------------------------------ */

void signal_ignored_fault(void)
{
	char *hole = hole_page();

	handle(SIGSEGV, SIG_IGN, 0);
	load("", hole, INT);
}

void signal_ignored_sent(void)
{
	handle(SIGSEGV, SIG_IGN, 0);
	call("", NULL, kill(getpid(), SIGSEGV));
}

static long unblocked(int sig)
{
	unblock(sig);
	return 0;
}

void signal_blocked_sent(void)
{
	block(SIGSEGV);
	call("send", NULL, kill(getpid(), SIGSEGV));
	call("unblock", NULL, unblocked(SIGSEGV));
}

void signal_blocked_sent_fault(void)
{
	char *hole = hole_page();

	block(SIGSEGV);
	call("send", NULL, kill(getpid(), SIGSEGV));
	load("load", hole, INT);
}

/* -- faults inside the handler ------------------------------------------------------------ */

static const char *second_touch;

static bool fault_again(siginfo_t *info)
{
	(void)info;
	repair = NULL;
	arch_load(second_touch, INT);
	return true;
}

void signal_fault_in_handler(void)
{
	second_touch = hole_page();
	repair = fault_again;
	load("", second_touch, INT);
}

void signal_fault_in_handler_nodefer(void)
{
	char *first = hole_page();

	second_touch = first;
	change_action(SIGSEGV, SA_NODEFER, 0);
	repair = fault_again;
	load("", first, INT);
	prove("handler entered twice", !repair);
}

void signal_resethand(void)
{
	char *hole = hole_page();

	change_action(SIGSEGV, SA_RESETHAND, 0);
	load("first", hole, INT);
	load("second", hole, INT);
}

/* -- what a signal leaves of the registers ------------------------------------------------- */

static struct sigaction runtime;
static const struct kept *handler_gives;
static void (*edit_frame)(ucontext_t *uc);
static char *registers_context;
static int registers_handled, handler_direction;

const struct kept *registers_handler(int sig, siginfo_t *info, void *context)
{
	if (code_direction)
		handler_direction = call_code(code_direction, NULL);
	registers_handled++;
	registers_context = context;
	if (edit_frame && registers_handled == 1)
		edit_frame(context);
	else
		runtime.sa_sigaction(sig, info, context);
	return handler_gives;
}

/* SIGSEGV comes to this, which calls the above, which calls the runtime's handler. */
static void enter_by(const char *code)
{
	struct sigaction action;

	must("sigaction", sigaction(SIGSEGV, NULL, &runtime));
	action = runtime;
	action.sa_sigaction = (void (*)(int, siginfo_t *, void *))code;
	must("sigaction", sigaction(SIGSEGV, &action, NULL));
}

/* Values for all registers, and others for the handler to leave in them. */
static struct kept *fill_registers(void)
{
	static const unsigned long flags[] = KEPT_FLAGS;
	struct kept *kept = (void *)anon_pages(1, PROT_READ | PROT_WRITE), *other = kept + 1;

	fill(kept, 2 * sizeof(*kept));
	memset(&kept->in.flags, 0, 16);
	kept->in.flags = flags[0];
	kept->in.float_flags = flags[1];
	memset(&kept->out, 0, sizeof(kept->out));
	other->in.flags = other->in.float_flags = 0;
	handler_gives = other;
	return kept;
}

/* A hole that the load is from. */
static char *hole_for(struct kept *kept)
{
	char *hole = hole_page();

	kept->in.touch = (uintptr_t)hole;
	return hole;
}

static void result_same(const char *label, const void *out, const void *in, size_t n)
{
	const unsigned char *is = out, *was = in;
	size_t at = 0;

	while (at < n && is[at] == was[at])
		at++;
	step(label);
	if (at < n)
		detail(label, "byte %zu", at);
	result("ok data=%s", at == n ? "match" : "changed");
}

/* One fault is one signal. */
static void result_handled(void)
{
	step("handled");
	result("ok(%d)", registers_handled);
}

/* The load that keeps all registers faults, and this handler is entered for it. */
static bool load_handled(const char *handler, struct kept *kept, char *hole)
{
	enter_by(handler);
	if (!execute("load", code_keep_registers, kept, hole))
		return false;
	result_handled();
	return true;
}

static void result_registers(struct kept *kept)
{
	result_same("general", kept->out.general, kept->in.general, KEPT_GENERAL * sizeof(long));
	result_same("floats", kept->out.floats, kept->in.floats, KEPT_FLOATS * KEPT_FLOAT_SIZE);
	result_same("flags", &kept->out.flags, &kept->in.flags, 16);
}

void signal_registers_kept(void)
{
	struct kept *kept = fill_registers();
	char *hole = hole_for(kept);

	repair = bring_page;
	if (!load_handled(code_spoil_registers, kept, hole))
		return;
	result_registers(kept);
}

/* The same where no signal is sent: the kernel alone could spoil them. */
void signal_registers_fault(void)
{
	struct kept *kept = fill_registers();
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	kept->in.touch = (uintptr_t)page;
	prove("page absent", !present(page));
	if (!execute("load", code_keep_registers, kept, page))
		return;
	prove("page present", present(page));
	result_registers(kept);
}

#define SWAP(a, b) do {						\
	unsigned char swap_a[sizeof(a)];			\
	memcpy(swap_a, &(a), sizeof(a));			\
	memcpy(&(a), &(b), sizeof(a));				\
	memcpy(&(b), swap_a, sizeof(a));			\
} while (0)

static void swap_in_frame(ucontext_t *uc)
{
	SWAP(FRAME_GENERAL(uc, 0), FRAME_GENERAL(uc, 1));
	SWAP(FRAME_FLOAT(uc, 0), FRAME_FLOAT(uc, 1));
	FRAME_PC(uc) = (uintptr_t)code_behind_touch;
}

/* Two registers of each kind change places, and the load is left out: its page does not appear. */
void signal_frame_edited(void)
{
	struct kept *kept = fill_registers();
	char *hole = hole_for(kept);
	unsigned long (*general)[1] = (void *)kept->in.general;
	unsigned char (*floats)[KEPT_FLOAT_SIZE] = (void *)kept->in.floats;

	edit_frame = swap_in_frame;
	if (!load_handled(code_spoil_registers, kept, hole))
		return;
	step("pc");
	result("ok data=%s", kept->out.touch ? "changed" : "match");
	SWAP(general[0], general[1]);
	SWAP(floats[0], floats[1]);
	result_registers(kept);
}

static void refuse(ucontext_t *uc)
{
	FRAME_REFUSED(uc);
}

/* Nothing of it may reach the CPU: the handler has returned, and the program goes on nowhere. */
void signal_frame_refused(void)
{
	struct kept *kept = fill_registers();
	char *hole;

	only_with_refusal();
	hole = hole_for(kept);
	edit_frame = refuse;
	if (load_handled(code_spoil_registers, kept, hole))
		result_registers(kept);
}

static void ask_for_privilege(ucontext_t *uc)
{
	FRAME_PRIVILEGED(uc);
	FRAME_PC(uc) = (uintptr_t)code_behind_touch;
}

/* The load is left out as well: it would be the kernel's. */
void signal_frame_privileged(void)
{
	struct kept *kept = fill_registers();
	char *hole;

	only_with_mode();
	hole = hole_for(kept);
	edit_frame = ask_for_privilege;
	if (load_handled(code_spoil_registers, kept, hole))
		result_registers(kept);
}

static void ask_for_trace(ucontext_t *uc)
{
	FRAME_TRACED(uc);
	FRAME_PC(uc) = (uintptr_t)code_behind_touch;
}

void signal_frame_traced(void)
{
	struct kept *kept = fill_registers();
	char *hole;

	only_with_trace();
	hole = hole_for(kept);
	edit_frame = ask_for_trace;
	if (load_handled(code_spoil_registers, kept, hole))
		result_registers(kept);
}

/* The handler's stack is shared memory, and the frame stays in the file alone. */
void signal_frame_absent(void)
{
	struct kept *kept = fill_registers();
	char *stack, *hole;
	stack_t altstack = { .ss_size = STACK_PAGES * page_size };
	int fd = tmpfile_of(0);

	must("ftruncate", ftruncate(fd, altstack.ss_size));
	stack = map_file(fd, STACK_PAGES, PROT_READ | PROT_WRITE, MAP_SHARED);
	altstack.ss_sp = stack;
	must("sigaltstack", sigaltstack(&altstack, NULL));
	kept->in.start = (uintptr_t)stack;
	kept->in.size = altstack.ss_size;
	kept->in.advice = MADV_DONTNEED;
	handler_gives = kept;
	hole = hole_for(kept);
	repair = bring_page;
	if (!load_handled(code_drop_frame, kept, hole))
		return;
	step("frame-on-it");
	result("ok(%d)", (size_t)(registers_context - stack) < altstack.ss_size);
	step("dropped");
	result("ok(%ld)", (long)kept->in.ret);
	result_registers(kept);
}

/* A leaf function keeps values below the stack pointer, and a handler runs on the same stack. */
void signal_red_zone(void)
{
	struct kept *kept = fill_registers();
	char *hole = hole_for(kept), *sp = arch_sp();

	change_action(SIGSEGV, 0, SA_ONSTACK);
	repair = bring_page;
	enter_by(code_spoil_registers);
	if (!execute("load", code_red_zone, kept, hole))
		return;
	result_handled();
	prove("frame below", (size_t)(sp - registers_context) < 64 * KIB);
	result_same("below", kept->out.general, kept->in.general, 128);
}

/* Calling conventions promise each function, a handler too, that strings go up. */
void signal_direction(void)
{
	struct kept *kept = fill_registers();
	char *hole = hole_for(kept);

	if (!code_direction)
		not_applicable("strings have one direction on this arch");
	repair = bring_page;
	enter_by(code_spoil_registers);
	if (!execute("load", code_keep_registers, kept, hole))
		return;
	step("handler");
	result("ok(%d)", handler_direction);
	result_same("flags", &kept->out.flags, &kept->in.flags, sizeof(long));
}

/* -- stores that the frame of a fault leaves to the kernel (68040) ---------------------------- */

static struct owed {
	char *to;
	enum width width;
	uint32_t value;
} owed[2];
static const struct owed none;
static bool owed_by_kernel;

/* They are made when the handler returns, to behind the load that faulted. */
static void owe_stores(ucontext_t *uc)
{
	for (int i = 0; i < 2; i++)
		if (owed[i].to && !OWE_STORE(uc, i, owed_by_kernel, owed[i].to, owed[i].width, owed[i].value))
			not_applicable("no frame leaves stores to the kernel on this CPU");
	FRAME_PC(uc) = (uintptr_t)code_behind_touch;
}

/* A load from a hole, whose handler owes stores. The hole is built last. */
static struct kept *owing_load(void)
{
	struct kept *kept = fill_registers();

	edit_frame = owe_stores;
	enter_by(code_spoil_registers);
	hole_for(kept);
	return kept;
}

/* What a further signal tells is told relative to the touch. */
static bool load_owing(const char *label, struct kept *kept, char *touch, struct owed first, struct owed second)
{
	owed[0] = first;
	owed[1] = second;
	registers_handled = 0;
	return execute(label, code_keep_registers, kept, touch);
}

static void result_kept(const char *label, char *page)
{
	step(label);
	result("ok data=%s", filled(page, page_size) ? "match" : "changed");
}

/* The page appears by the first, and the second is to the same bytes. */
void signal_owed_stores(void)
{
	static const char want[64] = { [8] = 0x11, 0x5a, 0x33, 0x44 };
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	struct kept *kept;

	only_with_owed_stores();
	kept = owing_load();
	prove("page absent", !present(page));
	if (!load_owing("load", kept, page + 8, (struct owed){ page + 8, INT, 0x11223344 },
			(struct owed){ page + 9, BYTE, 0x6677885a }))
		return;
	result_handled();
	result_same("memory", page, want, sizeof(want));
}

/* The first cannot be made: the second waits for it. */
void signal_owed_stores_hole(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), *hole;
	struct kept *kept;

	only_with_owed_stores();
	fill(page, page_size);
	kept = owing_load();
	hole = (char *)kept->in.touch;
	load_owing("load", kept, hole + 8, (struct owed){ hole + 8, INT, 0x11223344 },
		   (struct owed){ page + 8, BYTE, 0x5a });
	result_handled();
	result_kept("second", page);
}

static bool make_writable(siginfo_t *info)
{
	char *page = (char *)((uintptr_t)info->si_addr & -page_size);
	uint32_t first;

	repair = NULL;
	/* What was stored before is to be there by now, and is not to be stored again. */
	memcpy(&first, owed[0].to, sizeof(first));
	first++;
	memcpy(owed[0].to, &first, sizeof(first));
	return mprotect(page, page_size, PROT_READ | PROT_WRITE) == 0;
}

/* Refused; and, behind one that could be made, refused until the handler has allowed it. */
void signal_owed_stores_read_only(void)
{
	static const char first[4] = { 0x11, 0x22, 0x33, 0x45 }, second[2] = { 0x7a, 0x5a };
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), *ro = anon_pages(1, PROT_READ | PROT_WRITE);
	struct kept *kept;

	only_with_owed_stores();
	fill(page, page_size);
	fill(ro, page_size);
	must("mprotect", mprotect(ro, page_size, PROT_READ));
	prove("page present", present(ro));
	kept = owing_load();
	load_owing("refused", kept, ro + 8, (struct owed){ ro + 8, INT, 0x11223344 }, none);
	result_kept("kept", ro);
	repair = make_writable;
	if (!load_owing("allowed", kept, ro + 8, (struct owed){ page + 8, INT, 0x11223344 },
			(struct owed){ ro + 8, HALF, 0x66777a5a }))
		return;
	result_handled();
	result_same("first", page + 8, first, sizeof(first));
	result_same("second", ro + 8, second, sizeof(second));
}

/*
 * A page of our own by the address that the kernel has it at. There is another page of ours there, or
 * nothing. A store of the kernel's would reach the page itself, and nothing else is to be harmed by it.
 */
void signal_owed_stores_kernel(void)
{
	static const char first[4] = { 0x11, 0x22, 0x33, 0x44 }, second[2] = { 0x7a, 0x5a };
	char *own = anon_pages(1, PROT_READ | PROT_WRITE), *alias;
	struct kept *kept;

	only_with_owed_stores();
	fill(own, page_size);
	alias = KERNEL_ALIAS(frame_number(own) * page_size);
	prove("nothing there", unmapped(alias, page_size));
	must("mmap", mmap(alias, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	memset(alias, 0xff, page_size);
	kept = owing_load();
	owed_by_kernel = true;
	if (load_owing("mapped", kept, alias + 8, (struct owed){ alias + 8, INT, 0x11223344 },
		       (struct owed){ alias + 16, HALF, 0x66777a5a })) {
		result_same("first", alias + 8, first, sizeof(first));
		result_same("second", alias + 16, second, sizeof(second));
	}
	must("munmap", munmap(alias, page_size));
	load_owing("unmapped", kept, alias + 8, (struct owed){ alias + 8, INT, 0x11223344 }, none);
	result_kept("own", own);
	prove("page not moved", alias == KERNEL_ALIAS(frame_number(own) * page_size));
}

/* -- a handler that changes nothing ------------------------------------------------------- */

/* What becomes of a child that acts, where the handler just returns. */
static void return_from(int sig, void (*act)(char *page), char *page)
{
	result_hang(child_acts(fork_child(), sig, nothing, act, page));
}

static void touch(char *page)
{
	arch_load(page, INT);
}

void signal_return_segv(void)
{
	return_from(SIGSEGV, touch, hole_page());
}

static void divide(char *unused)
{
	call_code(code_div0, unused);
}

void signal_return_fpe(void)
{
	if (!code_div0)
		not_applicable("no such instruction on this arch");
	return_from(SIGFPE, divide, NULL);
}

/* -- the bytes of siginfo ------------------------------------------------------------------ */

static unsigned char seen[sizeof(siginfo_t)];

static bool copy_info(siginfo_t *info)
{
	memcpy(seen, info, sizeof(seen));
	return false;
}

/* The frame of the next signal goes to where something has been. */
static void watch_info(void)
{
	stack_t stack;

	must("sigaltstack", sigaltstack(NULL, &stack));
	prove("not on it", !(stack.ss_flags & (SS_ONSTACK | SS_DISABLE)));
	memset(stack.ss_sp, 0x5a, stack.ss_size);
	repair = copy_info;
}

/* What no field of this signal lies in, from that byte on, and between si_code and the rest. */
static void rest_of_info(size_t used)
{
	bool clear = true;

	for (size_t i = offsetof(siginfo_t, si_code) + sizeof(int); i < offsetof(siginfo_t, si_pid); i++)
		clear &= seen[i] == 0;
	for (size_t i = used; i < sizeof(seen); i++)
		clear &= seen[i] == 0;
	step("rest");
	result("ok data=%s", clear ? "zeroed" : "changed");
}

#define AFTER(field) (offsetof(siginfo_t, field) + sizeof(((siginfo_t *)0)->field))

void signal_siginfo_segv(void)
{
	char *hole = hole_page();

	watch_info();
	load("load", hole, INT);
	rest_of_info(AFTER(si_addr));
}

void signal_siginfo_bus(void)
{
	char *eof = map_file(tmpfile_of(0), 1, PROT_READ, MAP_SHARED);

	watch_info();
	load("load", eof, INT);
	rest_of_info(AFTER(si_addr));
}

void signal_siginfo_kill(void)
{
	watch_info();
	call("kill", NULL, kill(getpid(), SIGSEGV));
	rest_of_info(AFTER(si_uid));
}

/* -- PID namespaces -------------------------------------------------------------------------- */

static pid_t fork_init(void)
{
	if (unshare(CLONE_NEWPID) != 0) {
		if (errno == EINVAL || errno == ENOSYS)
			not_applicable("no PID namespaces in this kernel");
		setup_failed("unshare");
	}
	return fork_child();
}

void signal_pidns_init_fault(void)
{
	char *hole = hole_page();

	fate_without_handler(fork_init(), touch, hole);
}

static void kill_self(char *page)
{
	(void)page;
	kill(getpid(), SIGSEGV);
}

void signal_pidns_init_self(void)
{
	fate_without_handler(fork_init(), kill_self, NULL);
}

/* The other end of a pipe says a word, or all its holders are gone. */
static int wait_for_word(const int pipe[2])
{
	int word = -1;

	close(pipe[1]);
	prove("child says a word", read(pipe[0], &word, sizeof(word)) == sizeof(word));
	return word;
}

static void say_word(const int pipe[2], int word)
{
	prove("word said", write(pipe[1], &word, sizeof(word)) == sizeof(word));
}

/* The first process of a namespace, which has prepared itself and sleeps. */
static pid_t sleeping_init(void (*prepare)(void))
{
	int ready[2];
	pid_t init;

	must("pipe", pipe(ready));
	init = fork_init();
	if (init == 0) {
		prepare();
		say_word(ready, 0);
		for (;;)
			pause();
	}
	wait_for_word(ready);
	return init;
}

static void without_handler(void)
{
	handle(SIGSEGV, SIG_DFL, 0);
}

void signal_pidns_init_sent(void)
{
	pid_t init = sleeping_init(without_handler);

	call("segv", NULL, kill(init, SIGSEGV));
	pause_ms(50);
	step("kill");
	must("kill", kill(init, SIGKILL));
	result_fate(init);
}

static int report_pipe[2];

static void report_sender(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	say_word(report_pipe, info->si_pid);
	_exit(0);
}

static void with_reporter(void)
{
	struct sigaction action = { .sa_sigaction = report_sender, .sa_flags = SA_SIGINFO };

	must("sigaction", sigaction(SIGUSR1, &action, NULL));
}

void signal_pidns_sender(void)
{
	pid_t init;

	must("pipe", pipe(report_pipe));
	init = sleeping_init(with_reporter);
	step("");
	must("kill", kill(init, SIGUSR1));
	result("ok(%d)", wait_for_word(report_pipe));
	join_child(init);
}

/* -- traps of the program's own making --------------------------------------------------------- */

void signal_breakpoint(void)
{
	execute("", code_breakpoint, NULL, code_breakpoint);
}

void signal_compare_trap(void)
{
	execute("", code_compare_trap, NULL, code_compare_trap);
}

void signal_illegal(void)
{
	execute("", code_illegal, NULL, code_illegal);
}

/* Where it can be executed and, on some machines, not be read: not by the kernel either. */
void signal_illegal_xonly(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	need_code(code_illegal);
	memcpy(page, code_illegal, 16);
	arch_sync_code(page, 16);
	must("mprotect", mprotect(page, page_size, PROT_EXEC));
	execute("", page, NULL, page);
}

void signal_private_call(void)
{
	execute("", code_private_call, NULL, code_private_call);
}

/* The number before that one. */
void signal_private_call_asked(void)
{
	need_code(code_private_call);
	call("", NULL, syscall(0xf07ff));
}

void signal_int_div0(void)
{
	execute("", code_div0, NULL, code_div0);
}

void signal_int_overflow(void)
{
	execute("", code_overflow, NULL, code_overflow);
}

void signal_fp_div0(void)
{
	execute("", code_fdiv0, NULL, code_fdiv0);
}

/* -- what a handler blocks ------------------------------------------------------------------ */

#define LAST_SIGNAL 64

static int blocked_inside;

/* 1: SIGUSR1, 2: SIGUSR2, 4: the last there is. */
static int what_is_blocked(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, SIGUSR1) + 2 * sigismember(&now, SIGUSR2) + 4 * sigismember(&now, LAST_SIGNAL);
}

static void look_at_mask(int sig)
{
	(void)sig;
	blocked_inside = what_is_blocked();
}

static void result_masks(const char *inside, const char *after, int flags)
{
	struct sigaction action = { .sa_handler = look_at_mask, .sa_flags = flags };

	sigaddset(&action.sa_mask, SIGUSR2);
	sigaddset(&action.sa_mask, LAST_SIGNAL);
	must("sigaction", sigaction(SIGUSR1, &action, NULL));
	kill(getpid(), SIGUSR1);
	step(inside);
	result("ok(%d)", blocked_inside);
	step(after);
	result("ok(%d)", what_is_blocked());
}

void signal_mask(void)
{
	result_masks("plain", "after-plain", 0);
	result_masks("info", "after-info", SA_SIGINFO);
	result_masks("nodefer", "after-nodefer", SA_NODEFER);
}

/* -- a program that is stepped ---------------------------------------------------------------- */

static volatile int steps;

static void count_step(int sig)
{
	(void)sig;
	steps++;
}

/* The load, and three instructions behind it, up to the one that ends it. */
void signal_stepped_load(void)
{
	char *hole = hole_page();

	handle(SIGTRAP, count_step, 0);
	repair = bring_page;
	if (!execute("load", code_load_stepped, hole, hole))
		return;
	step("steps");
	result("ok(%d)", steps);
}

/* -- system calls that a handler ends ------------------------------------------------------- */

static const struct itimerval often = { { 0, 20000 }, { 0, 20000 } };

/* Those that know what was left of their time: they go on after a stop, and not after a handler. */
void signal_interrupted_sleep(void)
{
	static const struct timespec minute = { .tv_sec = 60 };
	static const int64_t a_minute[2] = { 60 };	/* as FUTEX has it, also on 32 bits */
	static futex_word word;

	handle(SIGALRM, nothing, SA_RESTART);
	must("setitimer", setitimer(ITIMER_REAL, &often, NULL));
	call("sleep", NULL, nanosleep(&minute, NULL));
	call("poll", NULL, poll(NULL, 0, 60000));
	call("futex", NULL, syscall(FUTEX, &word, FUTEX_WAIT, 0, a_minute, NULL, 0));
}

static int ticks, write_end;

static void write_at_last(int sig)
{
	(void)sig;
	if (++ticks == 3)
		write(write_end, "", 1);
}

/* By an instruction of half the length: what is done again is that one, and not what is before it. */
void signal_restart_short(void)
{
	static char byte;
	struct { int fd; char *to; int before, done; } reading = { .to = &byte };
	int fds[2];

	if (!code_read_short)
		not_applicable("no such instruction on this arch");
	must("pipe", pipe(fds));
	reading.fd = fds[0];
	write_end = fds[1];
	handle(SIGALRM, write_at_last, SA_RESTART);
	must("setitimer", setitimer(ITIMER_REAL, &often, NULL));
	step("read");
	call_code(code_read_short, &reading);
	result("ok(%d)", reading.done);
	step("before");
	result("ok(%d)", reading.before);
}

static bool leave_pending(siginfo_t *info)
{
	block(SIGUSR1);		/* until the handler returns */
	kill(getpid(), SIGUSR1);
	return bring_page(info);
}

/* What a register holds by chance is no result of the system call that ends a handler. */
void signal_restart_in_register(void)
{
	char *hole = hole_page();
	uint32_t left;

	handle(SIGUSR1, nothing, 0);
	repair = leave_pending;
	if (!execute("load", code_load_restart, hole, hole))
		return;
	memcpy(&left, hole + 64, sizeof(left));
	step("register");
	result("ok data=%s", left == (uint32_t)-512 ? "match" : "changed");
}

/* The handler starts without the conditions that the load stood under, and they are there again behind it. */
void signal_conditional_load(void)
{
	char *hole = hole_page();
	uint32_t loaded;

	repair = bring_page;
	if (!execute("load", code_load_if, hole, hole))
		return;
	memcpy(&loaded, hole + 64, sizeof(loaded));
	step("loaded");
	result("ok(%u)", loaded);
}

/* -- how a handler starts ------------------------------------------------------------------- */

void signal_swapped_data(void)
{
	char *hole = hole_page();

	execute("", code_load_swapped, hole, hole);
}

void signal_swapped_repaired(void)
{
	char *hole = hole_page();

	repair = bring_page;
	execute("", code_load_swapped, hole, hole);
}

/* -- instructions that the kernel does for the program ---------------------------------------- */

/* A base that is no kernel's, so that nothing is told: behind a limit of 2 bytes. */
void signal_emulated_store(void)
{
	static const uint64_t base = 0xfffffffffffe0000;
	char *hole = hole_page();

	execute("fault", code_store_table, hole, hole);
	repair = bring_page;
	execute("store", code_store_table, hole, hole);
	step("stored");
	result("ok data=%s", memcmp(hole + 2, &base, sizeof(base)) ? "changed" : "match");
}

/* -- threads that are not the leader ----------------------------------------------------------- */

static struct {
	pid_t thread;			/* the one that faults */
	char *page, *stack;		/* where, and its alternate stack */
	size_t size;
	bool own_thread, own_stack;	/* who was told, and where the frame was put */
} lone;

/* Told to somebody else, who faults would do so for ever: it is let through instead. */
static bool note_who(siginfo_t *info)
{
	uintptr_t sp = (uintptr_t)&info;

	lone.own_thread = syscall(SYS_gettid) == lone.thread;
	lone.own_stack = sp - (uintptr_t)lone.stack < lone.size;
	repair = NULL;
	return !lone.own_thread && mprotect(lone.page, page_size, PROT_READ) == 0;
}

static void *fault_apart(void *unused)
{
	stack_t altstack = { .ss_sp = lone.stack, .ss_size = lone.size };

	lone.thread = syscall(SYS_gettid);
	prove("not the leader", lone.thread != getpid());
	must("sigaltstack", sigaltstack(&altstack, NULL));
	repair = note_who;
	load("load", lone.page, INT);
	return unused;
}

void signal_thread_fault(void)
{
	lone.size = STACK_PAGES * page_size;
	lone.stack = anon_pages(STACK_PAGES, PROT_READ | PROT_WRITE);
	lone.page = anon_pages(1, PROT_NONE);
	pthread_join(start_thread(fault_apart, NULL), NULL);
	step("own-thread");
	result("ok(%d)", lone.own_thread);
	step("own-stack");
	result("ok(%d)", lone.own_stack);
}

static volatile int leader_there;

static void *fault_unhandled(void *hole)
{
	while (leader_there)
		sched_yield();
	arch_load(hole, INT);
	child_done();
}

/* A process whose leader waits, or is gone, while its only other thread faults. */
static pid_t thread_without_handler(char *hole, bool leader_goes)
{
	pid_t child = fork_child();

	if (child != 0)
		return child;
	handle(SIGSEGV, SIG_DFL, 0);
	leader_there = leader_goes;
	/* The kernel stores zero there when the leader has ended. */
	syscall(SYS_set_tid_address, &leader_there);
	start_thread(fault_unhandled, hole);
	if (leader_goes)
		syscall(SYS_exit, 0);
	for (;;)
		pause();
}

void signal_thread_fault_unhandled(void)
{
	char *hole = hole_page();

	step("leader-waits");
	result_fate(thread_without_handler(hole, false));
	step("leader-gone");
	result_fate(thread_without_handler(hole, true));
}
