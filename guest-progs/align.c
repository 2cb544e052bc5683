// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses that are not aligned: who completes them, the machine, the kernel or nobody, and what
 * becomes of them where the memory is not there either.
 */
#include "fault.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static char *filled_pages(size_t n)
{
	char *pages = anon_pages(n, PROT_READ | PROT_WRITE);

	fill(pages, n * page_size);
	return pages;
}

/* What was stored is what the page held there again: nothing beside it may have changed. */
static void put_back(char *page, char *place, size_t n)
{
	for (size_t i = 0; i < n; i++)
		place[i] = pattern(place - page + i, BYTE);
}

static void result_around(const char *page)
{
	step("around");
	result("ok data=%s", filled(page, page_size) ? "match" : "changed");
}

void align_store(void)
{
	char *page = filled_pages(1), *at = page + 1;

	if (!store("store", at, INT))
		return;
	load_known("load", at, INT, stored(INT));
	put_back(page, at, INT);
	result_around(page);
}

/*
 * At each offset in a quadword that is not aligned, by each width: emulations have a way of their own
 * for each width, and for what lies in two quadwords.
 */
static void store_and_load(enum width width)
{
	char *page = filled_pages(1), label[8];

	for (size_t at = 1; at < 8; at++) {
		char *place = page + 64 * at + at;

		if (at % width == 0)
			continue;
		snprintf(label, sizeof(label), "l%zu", at);
		load_data(label, place, width, pattern(place - page, width));
		snprintf(label, sizeof(label), "s%zu", at);
		if (store(label, place, width))
			load_known(label, place, width, stored(width));
		put_back(page, place, width);
	}
	result_around(page);
}

void align_half(void)
{
	store_and_load(HALF);
}

void align_int(void)
{
	store_and_load(INT);
}

void align_long(void)
{
	if (sizeof(long) < LONG)
		not_applicable("no access of eight bytes");
	store_and_load(LONG);
}

/* Through registers that an emulation reaches in another way than those of integers. */
void align_float(void)
{
	char *page = filled_pages(1), *at = page + 1;

	if (!execute("copy", code_copy_floats, at, at))
		return;
	load_data("double", at + 64, LONG, pattern(1, LONG));
	load_data("single", at + 80, INT, pattern(1 + 16, INT));
	put_back(page, at + 64, LONG);
	put_back(page, at + 80, INT);
	result_around(page);
}

/* The same from a page that comes while the task waits for it, and another has the CPU. */
static void copy_floats_from(char *page)
{
	char *at = page + 1;

	if (!execute("copy", code_copy_floats, at, at))
		return;
	load_data("double", at + 64, LONG, pattern(1, LONG));
	load_data("single", at + 80, INT, pattern(1 + 16, INT));
}

void align_float_absent(void)
{
	struct stuck child;

	need_code(code_copy_floats);
	child = stuck_child(copy_floats_from);
	resolve(&child);
	join_child(child.pid);
}

/* Each register is loaded and stored once: an emulation finds them by tables. */
void align_registers(void)
{
	static const unsigned long flags[] = KEPT_FLAGS;
	char *page = filled_pages(1), *out = page + 1 + offsetof(struct kept, out);
	char *in = page + 1, *touch = filled_pages(1);
	uintptr_t where = (uintptr_t)touch;

	if (!code_copy_floats)
		not_applicable("nothing of the kernel would tell registers from each other");
	memset(out, 0, sizeof(struct registers));
	memcpy(in + offsetof(struct registers, touch), &where, sizeof(where));
	memcpy(in + offsetof(struct registers, float_flags), &flags[1], sizeof(flags[1]));
	if (!execute("copy", code_keep_registers, in, in))
		return;
	step("general");
	result("ok data=%s", memcmp(out, in, KEPT_GENERAL * sizeof(long)) ? "changed" : "match");
	step("floats");
	result("ok data=%s", memcmp(out + offsetof(struct registers, floats),
				    in + offsetof(struct registers, floats),
				    KEPT_FLOATS * KEPT_FLOAT_SIZE) ? "changed" : "match");
	/* The register that holds where all this is. */
	load_data("pointer", out + offsetof(struct registers, touch), LONG, (uintptr_t)in);
}

/* A register is wider than what was loaded. */
void align_extend(void)
{
	char *page = filled_pages(1), *at = page + 1;
	uint32_t negative = 0x80418283;

	memcpy(at, &negative, sizeof(negative));
	if (!execute("load", code_load_extended, at, at))
		return;
	load_data("int", at + 16, LONG, 0xffffffff80418283);
	load_data("half", at + 32, LONG, 0x8283);
}

/* A register holds a single as a double, and not each goes by the common rule. */
void align_float_values(void)
{
	static const struct { const char *label; uint32_t single; uint64_t wide; } values[] = {
		{ "infinity", 0x7f800000, 0x7ff0000000000000 },
		{ "nan", 0xffc00001, 0xfff8000020000000 },
		{ "denormal", 0x00000001, 0x0000000020000000 },
	};
	char *at = filled_pages(1) + 1;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		memcpy(at, &values[i].single, sizeof(values[i].single));
		if (!execute(values[i].label, code_widen_float, at, at))
			return;
		load_data(values[i].label, at + 64, LONG, values[i].wide);
	}
}

/* The stack pointer is not where the other registers are kept, the register of zeroes nowhere. */
void align_sp_value(void)
{
	char *at = filled_pages(1) + 1;

	if (!execute("move", code_move_sp, at, at))
		return;
	load_data("same", at + 16, LONG, 1);
	load_data("zero", at + 32, LONG, 0);
}

void align_straddle_load(void)
{
	size_t at = page_size - 2;

	load_data("", filled_pages(2) + at, INT, pattern(at, INT));
}

void align_straddle_store(void)
{
	char *at = filled_pages(2) + page_size - 2;

	if (store("store", at, INT))
		load_known("load", at, INT, stored(INT));
}

void align_hole_store(void)
{
	store("", hole_page() + 2, INT);
}

/* Where the fault is, a page of the pattern appears, and the instruction goes on. */
static bool map_filled(siginfo_t *info)
{
	uintptr_t start = (uintptr_t)info->si_addr & ~(uintptr_t)(page_size - 1);
	char *page = mmap((void *)start, page_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	repair = NULL;
	if (page != MAP_FAILED)
		fill(page, page_size);
	return page != MAP_FAILED;
}

void align_hole_repaired(void)
{
	char *hole = hole_page();

	repair = map_filled;
	load_data("", hole + 2, INT, pattern(2, INT));
}

void align_ro_store(void)
{
	char *page = filled_pages(1);

	must("mprotect", mprotect(page, page_size, PROT_READ));
	store("", page + 2, INT);
}

/* Three bytes of it would lie in a page that may be written. */
void align_straddle_ro_store(void)
{
	enum width width = sizeof(long) == 8 ? LONG : INT;
	char *pages = filled_pages(2), *at = pages + page_size - 3;

	must("mprotect", mprotect(pages + page_size, page_size, PROT_READ));
	store("store", at, width);
	step("pages");
	result("ok data=%s", filled(pages, 2 * page_size) ? "match" : "changed");
}

void align_none_load(void)
{
	load("", anon_pages(1, PROT_NONE) + 2, INT);
}

/* Of the other widths, which are emulated by code of their own. */
void align_refused(void)
{
	char *ro = filled_pages(1), *none = anon_pages(1, PROT_NONE);

	if (sizeof(long) < LONG)
		not_applicable("no access of eight bytes");
	must("mprotect", mprotect(ro, page_size, PROT_READ));
	load("load-2", none + 1, HALF);
	load("load-8", none + 1, LONG);
	store("store-2", ro + 1, HALF);
	store("store-8", ro + 1, LONG);
}

void align_kernel_load(void)
{
	load("", (void *)(KERNEL_ADDR + 2), INT);
}

/* A signal that is blocked when the instruction faults. */
static void block(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	must("sigprocmask", sigprocmask(SIG_BLOCK, &set, NULL));
}

void align_hole_blocked(void)
{
	char *hole = hole_page();

	block(SIGSEGV);
	load("", hole + 2, INT);
}

/* -- instructions that demand alignment ------------------------------------------------------- */

/* Across 16 bytes: some machines do less than that in one go, aligned or not. */
void align_atomic(void)
{
	char *at = filled_pages(1) + 15;

	execute("", code_atomic, at, at);
}

static sigjmp_buf over;
static volatile sig_atomic_t times;

static void once_more(int sig)
{
	(void)sig;
	if (++times == 2)
		siglongjmp(over, 1);
}

/* A handler that mends nothing: what it returns to is the access, which comes to the same again. */
void align_atomic_again(void)
{
	char *at = filled_pages(1) + 15;

	if (!code_atomic)
		not_applicable("no such instruction on this arch");
	must("signal", signal(SIGBUS, once_more) == SIG_ERR ? -1 : 0);
	must("signal", signal(SIGILL, once_more) == SIG_ERR ? -1 : 0);
	step("");
	if (!sigsetjmp(over, 1))
		call_code(code_atomic, at);
	result("ok(%d)", (int)times);
}

/* Two ints of a page of the pattern, loaded by one instruction; what it loaded goes elsewhere by two. */
static char *load_two(const char *code)
{
	char *page = filled_pages(1), *at = page + 65;

	if (!execute("load", code, at, at))
		return NULL;
	load_data("first", at + 63, INT, pattern(65, INT));
	load_data("second", at + 67, INT, pattern(69, INT));
	return at;
}

/*
 * Two ints of a page of the pattern, stored elsewhere by one instruction. All of the page is
 * looked at: the two are `to` bytes from the instruction's address, and `moved` is where it
 * tells how far its base has moved, if it does.
 */
static void store_two(const char *code, int to, int moved)
{
	char *page = filled_pages(1), *expected = filled_pages(1), *at = page + 65;
	const uint32_t eight = 8;

	if (!execute("store", code, at, at + to))
		return;
	load_data("first", at + to, INT, pattern(1, INT));
	load_data("second", at + to + 4, INT, pattern(5, INT));
	if (moved)
		load_data("moved", at + moved, INT, eight);
	memcpy(expected + 65 + to, expected + 1, 8);
	if (moved)
		memcpy(expected + 65 + moved, &eight, sizeof(eight));
	step("page");
	result("ok data=%s", memcmp(page, expected, page_size) ? "changed" : "match");
}

void align_pair(void)
{
	load_two(code_load_pair);
}

void align_pair_store(void)
{
	store_two(code_store_pair, 0, 0);
}

/* One and a half of the two are there. */
void align_pair_part(void)
{
	char *at = edge() - 6;

	execute("", code_load_pair, at, at);
}

static char *missing;

static bool map_missing(siginfo_t *info)
{
	(void)info;
	repair = NULL;
	return mmap(missing, page_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == missing;
}

/* The instruction is done again: whatever it has done already must not be in its way. */
static void repaired(const char *code)
{
	char *at = edge() - 6;

	missing = at + 6;
	repair = map_missing;
	if (!execute("load", code, at, at))
		return;
	step("both");
	result("ok data=%s", memcmp(at - 62, at, 8) ? "changed" : "match");
}

void align_pair_repaired(void)
{
	repaired(code_load_pair_base);
}

void align_multiple_repaired(void)
{
	repaired(code_load_two_on);
}

/* Where a part of the store is made, the bytes are those of the two that were to be stored. */
static void store_part(const char *code)
{
	char *end = edge(), *page = end - page_size, *at = end - 6;

	fill(page, page_size);
	if (execute("store", code, at, at))
		return;
	load_data("first", at, INT, pattern(page_size - 70, INT));
	load_data("part", at + 4, HALF, pattern(page_size - 66, HALF));
	step("before");
	result("ok data=%s", filled(page, page_size - 6) ? "match" : "changed");
}

void align_pair_part_store(void)
{
	store_part(code_store_pair);
}

void align_multiple_part_store(void)
{
	store_part(code_store_multiple);
}

void align_multiple(void)
{
	load_two(code_load_multiple);
}

void align_multiple_store(void)
{
	store_two(code_store_multiple, 0, 0);
}

/* By an instruction that moves its base by eight bytes. */
static void load_two_moving(const char *code)
{
	char *at = load_two(code);

	if (at)
		load_data("moved", at + 71, INT, 8);
}

/* With a base that is to be behind the list afterwards. */
void align_multiple_on(void)
{
	load_two_moving(code_load_multiple_on);
}

/* As a function's first instruction does, below the stack pointer. */
void align_multiple_push(void)
{
	store_two(code_push_multiple, -8, 71);
}

/* The first of a block of conditional instructions, of which the second must not be done. */
void align_pair_conditional(void)
{
	load_two(code_load_pair_if);
}

void align_pair_behind(void)
{
	load_two_moving(code_load_pair_behind);
}

void align_pair_before(void)
{
	load_two_moving(code_load_pair_before);
}

/* By instructions that have an encoding of their own, of half the length but for pairs. */
void align_pair_behind_short(void)
{
	load_two_moving(code_load_pair_behind_short);
}

void align_pair_before_short(void)
{
	load_two_moving(code_load_pair_before_short);
}

void align_multiple_short(void)
{
	load_two_moving(code_load_multiple_short);
}

void align_multiple_short_store(void)
{
	store_two(code_store_multiple_short, 0, 71);
}

/*
 * An int and the pc by a list: the code counts where it comes by, and there are two to count from the
 * address that it had put there.
 */
static char *load_pc(const char *code)
{
	const uint32_t two = 2;
	char *page = filled_pages(1), *at = page + 65;

	if (!execute("load", code, at, at))
		return NULL;
	load_data("int", at + 63, INT, pattern(65, INT));
	load_data("counted", at + 67, INT, two);
	return at;
}

void align_multiple_pc(void)
{
	load_pc(code_load_pc);
}

/* As a function of that instruction set returns, from a stack that is misaligned. */
void align_multiple_pc_short(void)
{
	char *at = load_pc(code_pop_pc_short);

	if (at)
		load_data("moved", at + 71, INT, 8);
}

/* Bit 0 of what is loaded says that the code there is of the shorter instruction set. */
void align_multiple_pc_exchange(void)
{
	load_pc(code_load_pc_short);
}

void align_multiple_hole(void)
{
	char *at = hole_page() + 2;

	execute("", code_load_multiple, at, at);
}

void align_multiple_none(void)
{
	char *at = anon_pages(1, PROT_NONE) + 2;

	execute("", code_load_multiple, at, at);
}

void align_vector(void)
{
	char *at = filled_pages(1) + 1;

	execute("", code_load_vector, at, at);
}

void align_sp(void)
{
	char *at = filled_pages(1) + 8;

	execute("", code_load_sp, at, at);
}

/* The stub stands where a jump to an odd address ends, whether or not the low bits count. */
void align_pc(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE | PROT_EXEC), *odd = page + 1;

	put_odd_return_stub(odd - ((uintptr_t)odd & PC_IGNORES));
	jump("", odd);
}

/* -- programs that ask for a signal instead of help ---------------------------------------------- */

void align_checked(void)
{
	char *at = filled_pages(1) + 1;

	execute("", code_load_checked, at, at);
}

void align_sigbus(void)
{
	char *at = filled_pages(1) + 1;

	if (call("prctl", NULL, prctl(PR_SET_UNALIGN, PR_UNALIGN_SIGBUS)) == 0)
		load("load", at, INT);
}

void align_multiple_sigbus(void)
{
	char *at = filled_pages(1) + 1;

	need_code(code_load_multiple);
	if (call("prctl", NULL, prctl(PR_SET_UNALIGN, PR_UNALIGN_SIGBUS)) == 0)
		execute("load", code_load_multiple, at, at);
}

#define MODE "/proc/cpu/alignment"

/* The whole machine is told to signal instead of help, then to help, and then what it was told before. */
void align_signal_mode(void)
{
	static const char before[] = "User faults:\t";
	char *at = filled_pages(1) + 1, told[256] = "", *was;
	int fd = open(MODE, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		not_applicable("no " MODE);
	must(MODE, read(fd, told, sizeof(told) - 1));
	close(fd);
	was = strstr(told, before);
	prove("a mode is told", was);
	was += strlen(before);
	was[1] = '\0';
	set_knob(MODE, "4");
	execute("signal", code_load_multiple, at, at);
	set_knob(MODE, "2");
	execute("fixup", code_load_multiple, at, at);
	set_knob(MODE, was);
}

void align_sigbus_no_more(void)
{
	char *at = filled_pages(1) + 1;

	if (call("on", NULL, prctl(PR_SET_UNALIGN, PR_UNALIGN_SIGBUS)) != 0)
		return;
	call("off", NULL, prctl(PR_SET_UNALIGN, 0));
	load_data("load", at, INT, pattern(1, INT));
}

static void *load_in_thread(void *at)
{
	load("thread", at, INT);
	return at;
}

/* Each task has what its creator had, and from then on its own. */
void align_sigbus_inherited(void)
{
	char *at = filled_pages(1) + 1;
	pid_t child;

	if (call("prctl", NULL, prctl(PR_SET_UNALIGN, PR_UNALIGN_SIGBUS)) != 0)
		return;
	child = fork_child();
	if (child == 0) {
		load("child", at, INT);
		call("child-off", NULL, prctl(PR_SET_UNALIGN, 0));
		load_data("child-again", at, INT, pattern(1, INT));
		child_done();
	}
	join_child(child);
	pthread_join(start_thread(load_in_thread, at), NULL);
	load("parent", at, INT);
}

static void refuse(int sig)
{
	siglongjmp(over, sig);
}

/* Whichever code the signal has: what is there must not be had. */
void align_kernel_refused(void)
{
	volatile uint64_t got = 0;
	int sig;

	must("signal", signal(SIGSEGV, refuse) == SIG_ERR ? -1 : 0);
	step("");
	sig = sigsetjmp(over, 1);
	if (!sig)
		got = arch_load((char *)KERNEL_ADDR + 1, INT);
	detail("value", "0x%llx", (unsigned long long)got);
	result("ok(%d)", sig == SIGSEGV);
}

void align_sigbus_blocked(void)
{
	char *at = filled_pages(1) + 1;

	block(SIGBUS);
	if (call("prctl", NULL, prctl(PR_SET_UNALIGN, PR_UNALIGN_SIGBUS)) == 0)
		load("load", at, INT);
}

void align_sigbus_ignored(void)
{
	char *at = filled_pages(1) + 1;

	signal(SIGBUS, SIG_IGN);
	if (call("prctl", NULL, prctl(PR_SET_UNALIGN, PR_UNALIGN_SIGBUS)) == 0)
		load("load", at, INT);
}

/* alpha's own, of which its SET_UNALIGN_CTL() knows and linux/prctl.h does not. */
#define UNALIGN_NO_FIX 4

/* Neither help nor a signal. */
void align_no_fix(void)
{
	char *page = filled_pages(1);

	if (call("prctl", NULL, prctl(PR_SET_UNALIGN, UNALIGN_NO_FIX)) != 0)
		return;
	if (store("store", page + 1, INT))
		load_data("memory", page, INT, pattern(0, INT));
}
