// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps: one access or one system call each, and every signal that arrives meanwhile.
 *
 * The handler leaves an access by siglongjmp, since the access would fault again. It returns
 * into a system call, since there the errno counts as well. All handled signals block each
 * other, so one that is pending behind the first is delivered when siglongjmp restores the
 * mask, is recorded, and jumps once more: none is lost.
 */
#include "runtime.h"

#include <setjmp.h>
#include <sys/resource.h>

#define MAX_CAUGHT 6	/* in one step: more of them is a loop, and the next one ends it */

static const int handled[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };

struct caught {
	int sig, code, err, lsb;
	unsigned int pkey, trapno;
	uintptr_t addr, pc;
	uint64_t word[4];
};

static struct {
	const char *label;
	uintptr_t touch;
	volatile sig_atomic_t open;	/* signals belong to this step */
	volatile sig_atomic_t jump;	/* leave by env */
	volatile int n;
	struct caught caught[MAX_CAUGHT];
	struct rusage before, after;
	sigjmp_buf env;
} now;

static bool counting;		/* each step tells how many faults it took */

bool (*repair)(siginfo_t *info);

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	if (now.open && repair && repair(info))
		goto out;
	if (now.open && now.n < MAX_CAUGHT) {
		struct caught *c = &now.caught[now.n++];

		*c = (struct caught){ .sig = sig, .code = info->si_code, .err = info->si_errno,
				      .lsb = info->si_addr_lsb, .pkey = info->si_pkey,
				      .addr = (uintptr_t)info->si_addr };
		/* Not each libc has a name for it. */
		memcpy(&c->trapno, (char *)&info->si_addr + sizeof(info->si_addr), sizeof(c->trapno));
		c->pc = FRAME_PC((ucontext_t *)context);
		arch_trap(context, c->word);
		if (now.jump)
			siglongjmp(now.env, 1);
		goto out;
	}
	detail("stray", "%s/%s 0x%lx", signal_name(sig), code_name(sig, info->si_code),
	       (unsigned long)info->si_addr);
	signal(sig, SIG_DFL);
	raise(sig);		/* delivered when we return, also if nothing would fault again */
out:
	errno = saved_errno;
}

#define TOUCH 256	/* bytes: there is a touch on each page, however small, and at its end */

/* Room for a signal frame of this CPU, one more behind it, and a handler that prints. */
static size_t signal_stack_size(void)
{
	size_t size = 2 * sysconf(_SC_MINSIGSTKSZ) + 8 * KIB;

	return (size + TOUCH - 1) / TOUCH * TOUCH;
}

void catch_signals(void)
{
	static char stack[64 * KIB] __attribute__((aligned(TOUCH)));
	stack_t altstack = { .ss_sp = stack, .ss_size = signal_stack_size() };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	prove("signal stack fits", altstack.ss_size <= sizeof(stack));
	/* Delivery of a signal is to need no page fault; each costs a scenario a fault and a page. */
	for (size_t at = 0; at < altstack.ss_size; at += TOUCH)
		((volatile char *)stack)[at] = 0;
	must("sigaltstack", sigaltstack(&altstack, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		sigaddset(&action.sa_mask, handled[i]);
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		must("sigaction", sigaction(handled[i], &action, NULL));
}

/* -- telling what was caught ---------------------------------------------------------- */

/* si_addr relative to what was touched: the first form that fits. */
static const char *address_form(uintptr_t addr, uintptr_t touch)
{
	static char form[32];
	uintptr_t start = touch & ~(uintptr_t)(page_size - 1);

	if (addr == touch)
		return "@exact";
	if (addr - touch <= 64)
		snprintf(form, sizeof(form), "@touch+%d", (int)(addr - touch));
	else if (touch - addr <= 64)
		snprintf(form, sizeof(form), "@touch-%d", (int)(touch - addr));
	else if (addr == start)
		return "@page";
	else if (addr - start < page_size)
		snprintf(form, sizeof(form), "@page+%lu", (unsigned long)(addr - start));
	else
		return addr ? "@other" : "@zero";
	return form;
}

static const char *signal_text(const struct caught *c)
{
	static char text[128];
	int at = snprintf(text, sizeof(text), "%s/", signal_name(c->sig));

	at += snprintf(text + at, sizeof(text) - at, "%s", code_name(c->sig, c->code));
	if (c->code > 0)	/* else somebody sent it, and there is no address */
		at += snprintf(text + at, sizeof(text) - at, " %s", address_form(c->addr, now.touch));
	if (c->sig == SIGBUS && (c->code == BUS_MCEERR_AR || c->code == BUS_MCEERR_AO))
		snprintf(text + at, sizeof(text) - at, " lsb=%d", c->lsb);
	if (c->sig == SIGSEGV && c->code == SEGV_PKUERR)
		snprintf(text + at, sizeof(text) - at, " pkey=%u", c->pkey);
	if (c->code > 0 && HAS_TRAPNO(c->sig))
		snprintf(text + at, sizeof(text) - at, " trapno=%u", c->trapno);
	return text;
}

static void step_detail(const char *name, int nth, uint64_t value)
{
	char key[64], number[8] = "";

	if (nth)
		snprintf(number, sizeof(number), "#%d", nth + 1);
	snprintf(key, sizeof(key), "%s%s%s%s", now.label, *now.label ? "." : "", name, number);
	detail(key, "0x%llx", (unsigned long long)value);
}

static void signal_details(void)
{
	static const char *const words[] = { TRAP_WORDS };

	step_detail("touch", 0, now.touch);
	for (int i = 0; i < now.n; i++) {
		if (now.caught[i].code > 0)
			step_detail("addr", i, now.caught[i].addr);
		for (size_t w = 0; w < ARRAY_SIZE(words); w++)
			step_detail(words[w], i, now.caught[i].word[w]);
	}
}

const uint64_t *trap_words(void)
{
	return now.n ? now.caught[0].word : NULL;
}

uintptr_t trap_pc(void)
{
	return now.n ? now.caught[0].pc : 0;
}

static void open_step(const char *label, const void *touch)
{
	now.label = label;
	now.touch = (uintptr_t)touch;
	now.n = 0;
	now.jump = 0;
	prove_holes();
	step(label);
	now.open = 1;
	if (counting)
		getrusage(RUSAGE_SELF, &now.before);
}

/* A signal that waits for the next way out of the kernel still belongs to this step. */
static void close_step(void)
{
	if (counting)
		getrusage(RUSAGE_SELF, &now.after);
	getppid();		/* never cached: a way into the kernel and out */
	now.open = 0;
	if (now.n)
		signal_details();
}

/* si_errno is never used for what is caught here: another value than 0 shows as a step of its own. */
static void result_errnos(void)
{
	for (int i = 0; i < now.n; i++)
		if (now.caught[i].err) {
			step("extra");
			result("%s", errno_name(now.caught[i].err));
		}
}

/* What the step took, behind its result, whether it completed or not. */
static const char *faults_taken(void)
{
	static char faults[64];

	if (counting)
		snprintf(faults, sizeof(faults), " maj=%ld min=%ld",
			 now.after.ru_majflt - now.before.ru_majflt,
			 now.after.ru_minflt - now.before.ru_minflt);
	return faults;
}

/* value, then the signals from the first'th on in brackets: they did not end it. */
static void result_value(const char *value, int first, const char *effect)
{
	char text[MAX_CAUGHT * 64];
	int at = snprintf(text, sizeof(text), "%s", value);

	for (int i = first; i < now.n; i++)
		at += snprintf(text + at, sizeof(text) - at, "[%s]", signal_text(&now.caught[i]));
	result("%s%s%s", text, effect, faults_taken());
	result_errnos();
}

/* -- accesses ------------------------------------------------------------------------- */

struct access {
	enum { LOAD, STORE, STORE_WITH_SP, JUMP, EXECUTE } kind;
	enum width width;
	void *sp;
	const char *code;
	const void *arg;
	uint64_t value;
};

#define STORED 0x6b5a4938271605f4ULL

uint64_t stored(enum width width)
{
	return STORED & (~0ULL >> (64 - 8 * width));
}

static void do_access(struct access *a, void *addr)
{
	switch (a->kind) {
	case LOAD: a->value = arch_load(addr, a->width); break;
	case STORE: arch_store(addr, STORED, a->width); break;
	case STORE_WITH_SP: arch_store_with_sp(a->sp, addr, STORED, a->width); break;
	case JUMP: ((void (*)(void))addr)(); break;
	case EXECUTE: call_code(a->code, a->arg); break;
	}
}

/* One access within the step that is open; tells whether it completed. */
static bool attempt(struct access *a, const void *addr)
{
	volatile bool completed = false;

	now.touch = (uintptr_t)addr;
	if (!sigsetjmp(now.env, 1)) {
		now.jump = 1;
		do_access(a, (void *)addr);
		completed = true;
	}
	now.jump = 0;
	return completed;
}

extern const char __executable_start[], etext[];	/* by the linker */

void count_faults(void)
{
	struct access load = { .kind = LOAD, .width = INT }, store = { .kind = STORE, .width = INT };
	uint64_t own = 0;

	/* What a step needs of the program and of the stack is there from now on. */
	for (const char *at = __executable_start; at < etext; at += page_size)
		arch_load(at, BYTE);
	attempt(&load, &own);
	attempt(&store, &own);
	memset(now.caught, 0, sizeof(now.caught));
	getrusage(RUSAGE_SELF, &now.before);
	getrusage(RUSAGE_SELF, &now.after);
	counting = true;
}

/* Takes the step up to its result. */
static bool try_access(const char *label, struct access *a, const void *addr)
{
	bool completed;

	prove("one instruction", a->width <= sizeof(long));
	open_step(label, addr);
	completed = attempt(a, addr);
	close_step();
	return completed;
}

/* The first signal is the result; a further one is a step of its own, so that it shows. */
static bool result_access(bool completed, const char *effect)
{
	if (completed) {
		result_value("ok", 0, effect);
		return true;
	}
	result("%s%s", signal_text(&now.caught[0]), faults_taken());
	for (int i = 1; i < now.n; i++) {
		step("extra");
		result("%s", signal_text(&now.caught[i]));
	}
	result_errnos();
	return false;
}

static bool access_step(const char *label, struct access a, const void *addr)
{
	return result_access(try_access(label, &a, addr), "");
}

bool load(const char *label, const void *addr, enum width width)
{
	struct access a = { .kind = LOAD, .width = width };
	bool completed = try_access(label, &a, addr);

	if (completed)
		step_detail("value", 0, a.value);
	return result_access(completed, "");
}

static bool load_compare(const char *label, const void *addr, enum width width, uint64_t want,
			 bool always)
{
	struct access a = { .kind = LOAD, .width = width };
	bool completed = try_access(label, &a, addr);
	const char *effect = " data=changed";

	if (completed)
		step_detail("value", 0, a.value);
	if (a.value == 0 && (always || want != 0))
		effect = " data=zeroed";
	else if (a.value == want)
		effect = always ? " data=match" : "";
	return result_access(completed, effect);
}

bool load_known(const char *label, const void *addr, enum width width, uint64_t want)
{
	return load_compare(label, addr, width, want, false);
}

bool load_data(const char *label, const void *addr, enum width width, uint64_t want)
{
	return load_compare(label, addr, width, want, true);
}

bool store(const char *label, void *addr, enum width width)
{
	return access_step(label, (struct access){ .kind = STORE, .width = width }, addr);
}

size_t store_series(const char *label, void *addr, long stride, size_t n, enum width width)
{
	struct access a = { .kind = STORE, .width = width };
	bool completed = true;
	size_t done = 0;

	open_step(label, addr);
	while (done < n && (completed = attempt(&a, (char *)addr + (long)done * stride)))
		done++;
	close_step();
	result_access(completed, "");
	return done;
}

bool store_with_sp(const char *label, void *sp, void *addr, enum width width)
{
	return access_step(label,
		(struct access){ .kind = STORE_WITH_SP, .width = width, .sp = sp }, addr);
}

bool jump(const char *label, const void *addr)
{
	return access_step(label, (struct access){ .kind = JUMP }, addr);
}

bool execute(const char *label, const char *code, const void *arg, const void *touch)
{
	need_code(code);
	return access_step(label,
		(struct access){ .kind = EXECUTE, .code = code, .arg = arg }, touch);
}

/* -- system calls --------------------------------------------------------------------- */

void call_begin(const char *label, const void *touch)
{
	open_step(label, touch);
}

void call_over(void)
{
	int err = errno;

	close_step();
	errno = err;
}

long call_end(long ret, long want, bool intact)
{
	const char *effect = intact ? "" : " data=changed";
	int err = errno;
	char value[64];

	if (now.open)
		close_step();
	if (ret < 0)
		snprintf(value, sizeof(value), "%s", errno_name(err));
	else if (want < 0)
		snprintf(value, sizeof(value), "ok");
	else if (ret < want)
		snprintf(value, sizeof(value), "short(%ld/%ld)", ret, want);
	else
		snprintf(value, sizeof(value), "ok(%ld)", ret);
	result_value(value, 0, effect);
	errno = err;
	return ret;
}

/* What is at addr is this part of n bytes of the pattern, and zeroes behind them. */
static bool is_part(const char *addr, size_t from, size_t to, size_t n)
{
	size_t end = n < from ? from : n > to ? to : n;

	return filled_from(addr + from, end - from, from) && zeroed(addr + end, to - end);
}

void read_between(const char *label, char *page, size_t n)
{
	const size_t from = 128, size = 64;	/* not where the pattern has what is read */
	int fd = pipe_of_others(size);
	long done;

	call_begin(label, page + from);
	done = read(fd, page + from, size);
	call_over();
	call_end(done, size, done <= 0 || (filled_from(page + from, done, OTHER) && is_part(page, 0, from, n) &&
					   is_part(page, from + done, page_size, n)));
}
