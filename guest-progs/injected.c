// SPDX-License-Identifier: GPL-2.0-only
/*
 * The truth table of an arch's fault handler: what user space sees for each result that
 * handle_mm_fault() can have. A kernel module of ours (kmod/) makes pages whose faults come to
 * the result that their mapping was made with; n/a without it.
 */
#include "device.h"
#include "runtime.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define EVENT_MS 2000
#define RW (PROT_READ | PROT_WRITE)

static unsigned int locked;	/* FAULTLINE_LOCKED, or 0 */

/* A page, never touched, whose faults come to this result. */
static char *page_of(enum faultline_result kind, unsigned int index, int prot)
{
	return device_page(kind | locked, index, prot);
}

/* The page that those share which are given one: filled with the pattern. */
static char *held_page(void)
{
	char *held = page_of(FAULTLINE_PAGE, 0, RW);

	fill(held, page_size);
	return held;
}

static void load_of(enum faultline_result kind)
{
	load("", page_of(kind, 0, RW) + 8, INT);
}

static void store_of(enum faultline_result kind)
{
	store("", page_of(kind, 0, RW) + 8, INT);
}

static void exec_of(enum faultline_result kind)
{
	jump("", page_of(kind, 0, PROT_READ | PROT_EXEC));
}

/* -- the kernel's own accesses ------------------------------------------------------------ */

static long open_path(char *page)
{
	return open(page, O_RDONLY | O_CLOEXEC);
}

/* The value is never the expected one: it would sleep. */
static long futex_wait(char *page)
{
	return syscall(FUTEX, page, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0x55555555, NULL, NULL, 0);
}

static enum faultline_context context;

static long by_module(enum faultline_function function, char *page)
{
	return access_by_module(function, (uintptr_t)page, context);
}

static long copy_to(char *page)
{
	return by_module(FAULTLINE_COPY_TO_USER, page);
}

static long copy_from(char *page)
{
	return by_module(FAULTLINE_COPY_FROM_USER, page);
}

static long clear(char *page)
{
	return by_module(FAULTLINE_CLEAR_USER, page);
}

static long get(char *page)
{
	return by_module(FAULTLINE_GET_USER, page);
}

static long put(char *page)
{
	return by_module(FAULTLINE_PUT_USER, page);
}

static long copy_string(char *page)
{
	return by_module(FAULTLINE_STRNCPY_FROM_USER, page);
}

/* -- what becomes of the bytes: looked at in the page that all share, and in what the module keeps -- */

/* The page from byte n on is what it was. */
static bool kept_from(size_t n, const char *held)
{
	return filled_from(held + n, page_size - n, n);
}

static bool page_kept(const char *held, long ret)
{
	(void)ret;
	return kept_from(0, held);
}

#define PATH "/proc/./self/./status"	/* of several words: each must be read */

static bool path_kept(const char *held, long ret)
{
	(void)ret;
	return !strcmp(held, PATH) && kept_from(sizeof(PATH), held);
}

static bool others_stored(const char *held, long ret)
{
	return ret < 0 ? kept_from(0, held) : filled_from(held, 64, OTHER) && kept_from(64, held);
}

static bool zeroes_stored(const char *held, long ret)
{
	return ret < 0 ? kept_from(0, held) : zeroed(held, FAULTLINE_BYTES) && kept_from(FAULTLINE_BYTES, held);
}

static long put_other(char *page)
{
	give_module(FAULTLINE_GET_USER);
	return put(page);
}

static long copy_others_to(char *page)
{
	give_module(FAULTLINE_COPY_FROM_USER);
	return copy_to(page);
}

static bool word_stored(const char *held, long ret)
{
	return ret < 0 ? kept_from(0, held) : filled_from(held, INT, OTHER) && kept_from(INT, held);
}

static bool word_read(const char *held, long ret)
{
	return kept_from(0, held) && (ret < 0 || filled(kept_by_module(FAULTLINE_PUT_USER), INT));
}

static bool bytes_read(const char *held, long ret)
{
	return kept_from(0, held) &&
	       (ret < 0 || filled(kept_by_module(FAULTLINE_COPY_TO_USER), FAULTLINE_BYTES));
}

static int sink;

static long write_pipe(char *page)
{
	sink = pipe_sink();
	return write(sink, page, 64);
}

static bool bytes_written(const char *held, long ret)
{
	return kept_from(0, held) && pipe_holds(sink, 0, ret);
}

static char buffer[FAULTLINE_BYTES];

static bool buffer_filled(const char *held, long ret)
{
	return kept_from(0, held) && (ret < 0 || filled(buffer, sizeof(buffer)));
}

struct user_access {
	const char *label;
	long want;		/* bytes; -1: it does not count */
	long (*run)(char *page);
	bool (*intact)(const char *held, long ret);
};

/* Each is a step, on a page of its own: where it is given one at last, that is the one that is held. */
static void access_each(enum faultline_result kind, const struct user_access *access, size_t n)
{
	for (; n > 0; n--, access++) {
		char *page = page_of(kind, 0, RW), *held = held_page();
		long ret;

		if (access->run == open_path)
			memcpy(held, PATH, sizeof(PATH));
		call_begin(access->label, page);
		ret = access->run(page);
		call_end(ret, access->want, access->intact(held, ret));
	}
}

static void uaccess_of(enum faultline_result kind)
{
	static const struct user_access all[] = {
		{ "read", 64, read_into, others_stored },		/* copy_to_user() */
		{ "write", 64, write_pipe, bytes_written },		/* copy_from_user() */
		{ "open", -1, open_path, path_kept },	/* strncpy_from_user() */
		{ "futex", -1, futex_wait, page_kept },
		{ "clear", FAULTLINE_BYTES, clear, zeroes_stored },
		{ "get", -1, get, word_read },
		{ "put", -1, put_other, word_stored },
	};

	access_each(kind, all, ARRAY_SIZE(all));
}

/* -- get_user_pages(): no fault handler of an arch is in it -------------------------------- */

static long populate(char *page)
{
	return madvise(page, page_size, MADV_POPULATE_READ);
}

static long vm_read(char *page)
{
	struct iovec from = { page, sizeof(buffer) }, to = { buffer, sizeof(buffer) };

	memset(buffer, 0xff, sizeof(buffer));
	return process_vm_readv(getpid(), &to, 1, &from, 1, 0);
}

static long read_mem(char *page)
{
	int fd = must("open mem", open("/proc/self/mem", O_RDONLY | O_CLOEXEC));

	memset(buffer, 0xff, sizeof(buffer));
	return pread(fd, buffer, sizeof(buffer), (uintptr_t)page);
}

static void gup_of(enum faultline_result kind)
{
	static const struct user_access all[] = {
		{ "populate", -1, populate, page_kept },
		{ "vm-readv", FAULTLINE_BYTES, vm_read, buffer_filled },
		{ "mem", FAULTLINE_BYTES, read_mem, buffer_filled },
	};

	access_each(kind, all, ARRAY_SIZE(all));
}

/* -- no error ------------------------------------------------------------------------------ */

/* A result that is no error brings the page, sooner or later: for each kind of access. */
static void user_of_index(enum faultline_result kind, unsigned int index)
{
	char *held = held_page();

	load_data("load", page_of(kind, index, RW), INT, pattern(0, INT));
	if (store("store", page_of(kind, index, RW), INT))
		load_data("stored", held, INT, stored(INT));
	put_return_stub(held);	/* the same page */
	jump("exec", page_of(kind, index, PROT_READ | PROT_EXEC));
}

static void user_of(enum faultline_result kind)
{
	user_of_index(kind, 0);
}

/* What all the others stand on: the same device, and nothing goes wrong. */
void injected_page_user(void)
{
	user_of(FAULTLINE_PAGE);
}

void injected_page_uaccess(void)
{
	uaccess_of(FAULTLINE_PAGE);
}

void injected_page_gup(void)
{
	gup_of(FAULTLINE_PAGE);
}

static long major_faults(void)
{
	struct rusage usage;

	must("getrusage", getrusage(RUSAGE_SELF, &usage));
	return usage.ru_majflt;
}

/* The load, and whether its fault counts as a major one. */
static void counted_load_of(enum faultline_result kind)
{
	char *page = page_of(kind, 0, RW);
	long before = major_faults();

	load("load", page, INT);
	step("count");
	result("ok maj=%ld", major_faults() - before);
}

void injected_minor_load(void)
{
	counted_load_of(FAULTLINE_PAGE);
}

void injected_major_load(void)
{
	counted_load_of(FAULTLINE_MAJOR);
}

void injected_retry_load(void)
{
	counted_load_of(FAULTLINE_RETRY);
}

void injected_retry_user(void)
{
	user_of(FAULTLINE_RETRY);
}

void injected_retry_uaccess(void)
{
	uaccess_of(FAULTLINE_RETRY);
}

void injected_retry_gup(void)
{
	gup_of(FAULTLINE_RETRY);
}

void injected_inserted_load(void)
{
	counted_load_of(FAULTLINE_INSERT);
}

void injected_inserted_user(void)
{
	user_of(FAULTLINE_INSERT);
}

void injected_inserted_uaccess(void)
{
	uaccess_of(FAULTLINE_INSERT);
}

void injected_inserted_gup(void)
{
	gup_of(FAULTLINE_INSERT);
}

void injected_index_alone(void)
{
	load("index-1", page_of(FAULTLINE_INDEX, 1, RW), INT);
	load("index-2", page_of(FAULTLINE_INDEX, 2, RW), INT);
}

/* -- no error, and no progress ------------------------------------------------------------- */

void injected_nothing_load(void)
{
	load_of(FAULTLINE_NOTHING);
}

void injected_nothing_read(void)
{
	char *page = page_of(FAULTLINE_NOTHING, 0, RW);

	transfer("", page, 64, read_into(page));
}

void injected_nothing_gup(void)
{
	char *page = page_of(FAULTLINE_NOTHING, 0, RW);

	transfer("", page, FAULTLINE_BYTES, vm_read(page));
}

static void see_it_wait(void)
{
	uint64_t end = now_us() + EVENT_MS * 1000ULL;

	while (must("FAULTLINE_WAITING", ask_module(FAULTLINE_WAITING, NULL)) == 0) {
		prove("child waits in the fault", now_us() < end);
		sleep_ms(1);
	}
}

/* A child whose fault waits in its access. */
static pid_t waiting_in(long (*act)(char *page))
{
	char *page = page_of(FAULTLINE_WAIT, 0, RW);
	pid_t pid = fork_child();

	if (pid == 0) {
		act(page);
		child_done();
	}
	see_it_wait();
	return pid;
}

/* What becomes of it when it is killed. */
static void kill_in(long (*act)(char *page))
{
	pid_t pid = waiting_in(act);

	step("");
	result_killed(pid);
}

static long load_from(char *page)
{
	return arch_load(page, INT);
}

void injected_kill_in_load(void)
{
	kill_in(load_from);
}

/* Not under the lock of the whole address space, but under that of the mapping alone. */
static void lock_mapping(void)
{
	char *page;

	locked = FAULTLINE_LOCKED;
	page = page_of(FAULTLINE_PAGE, 0, RW);
	*page = 1;
	if (ask_module(FAULTLINE_UNDER_LOCK, NULL) != 1)
		not_applicable("a driver's faults do not come under the lock of the mapping alone");
	must("munmap", munmap(page, page_size));
}

/* How many faults the module has seen under the lock of the mapping alone: one was lock_mapping()'s. */
static void tell_locked(void)
{
	step("under-lock");
	result("ok(%ld)", ask_module(FAULTLINE_UNDER_LOCK, NULL));
}

void injected_locked_kill_in_load(void)
{
	lock_mapping();
	kill_in(load_from);
}

void injected_locked_results(void)
{
	static const struct {
		const char *label;
		enum faultline_result kind;
	} each[] = {
		{ "retry", FAULTLINE_RETRY }, { "sigsegv", FAULTLINE_SIGSEGV },
		{ "sigbus", FAULTLINE_SIGBUS }, { "hwpoison", FAULTLINE_HWPOISON },
	};

	lock_mapping();
	for (size_t i = 0; i < ARRAY_SIZE(each); i++)
		load(each[i].label, page_of(each[i].kind, 0, RW) + 8, INT);
	tell_locked();
}

void injected_kill_in_open(void)
{
	kill_in(open_path);
}

void injected_kill_in_clear(void)
{
	kill_in(clear);
}

void injected_kill_in_get(void)
{
	kill_in(get);
}

static int handled[2];		/* a pipe: the handler says that it runs */

static void on_alarm(int sig)
{
	(void)!write(handled[1], &sig, 1);
}

/* What it does with a signal that does not kill. */
static void alarm_in(long (*act)(char *page))
{
	char byte;
	pid_t pid;

	must("pipe2", pipe2(handled, O_CLOEXEC | O_NONBLOCK));
	must("signal", signal(SIGALRM, on_alarm) == SIG_ERR ? -1 : 0);
	pid = waiting_in(act);
	must("kill", kill(pid, SIGALRM));
	pause_ms(200);
	call("handler", NULL, read(handled[0], &byte, 1));
	step("alarm");
	result_hang(pid);
}

void injected_alarm_in_load(void)
{
	alarm_in(load_from);
}

void injected_alarm_in_clear(void)
{
	alarm_in(clear);
}

void injected_alarm_in_get(void)
{
	alarm_in(get);
}

/* -- errors -------------------------------------------------------------------------------- */

void injected_sigsegv_load(void)
{
	load_of(FAULTLINE_SIGSEGV);
}

void injected_sigsegv_store(void)
{
	store_of(FAULTLINE_SIGSEGV);
}

void injected_sigsegv_exec(void)
{
	exec_of(FAULTLINE_SIGSEGV);
}

void injected_sigsegv_uaccess(void)
{
	uaccess_of(FAULTLINE_SIGSEGV);
}

void injected_sigsegv_gup(void)
{
	gup_of(FAULTLINE_SIGSEGV);
}

void injected_sigbus_load(void)
{
	load_of(FAULTLINE_SIGBUS);
}

void injected_sigbus_store(void)
{
	store_of(FAULTLINE_SIGBUS);
}

void injected_sigbus_exec(void)
{
	exec_of(FAULTLINE_SIGBUS);
}

void injected_sigbus_uaccess(void)
{
	uaccess_of(FAULTLINE_SIGBUS);
}

void injected_sigbus_gup(void)
{
	gup_of(FAULTLINE_SIGBUS);
}

void injected_oom_load(void)
{
	load_of(FAULTLINE_OOM);
}

void injected_oom_store(void)
{
	store_of(FAULTLINE_OOM);
}

void injected_oom_exec(void)
{
	exec_of(FAULTLINE_OOM);
}

void injected_oom_uaccess(void)
{
	uaccess_of(FAULTLINE_OOM);
}

/* Each access is out of memory three times; then there is a page. */
static void short_of_memory(void)
{
	user_of_index(FAULTLINE_SHORTAGE, 3);
	step("faults");
	result("ok(%ld)", ask_module(FAULTLINE_SHORTAGES, NULL));
}

void injected_oom_user(void)
{
	short_of_memory();
}

void injected_locked_oom_user(void)
{
	lock_mapping();
	short_of_memory();
	tell_locked();	/* with that of the page that is held */
}

void injected_oom_gup(void)
{
	gup_of(FAULTLINE_OOM);
}

void injected_hwpoison_load(void)
{
	load_of(FAULTLINE_HWPOISON);
}

void injected_hwpoison_store(void)
{
	store_of(FAULTLINE_HWPOISON);
}

void injected_hwpoison_exec(void)
{
	exec_of(FAULTLINE_HWPOISON);
}

void injected_hwpoison_uaccess(void)
{
	uaccess_of(FAULTLINE_HWPOISON);
}

void injected_hwpoison_gup(void)
{
	gup_of(FAULTLINE_HWPOISON);
}

/* The sizes of huge pages that the kernel has; without hugetlb nobody looks at the index. */
static unsigned int huge_sizes(void)
{
	DIR *folder = opendir("/sys/kernel/mm/hugepages");
	struct dirent *entry;
	unsigned int n = 0;

	if (!folder)
		return 2;
	while ((entry = readdir(folder)))
		n += !strncmp(entry->d_name, "hugepages-", 10);
	closedir(folder);
	return n;
}

/* The index of a size is the order in which the kernel came to know it; it is not checked. */
void injected_hwpoison_large_load(void)
{
	static const char *const labels[] = { "index-0", "index-1", "index-2", "index-3" };
	unsigned int n = huge_sizes();

	for (unsigned int i = 0; i < n && i < ARRAY_SIZE(labels); i++)
		load(labels[i], page_of(FAULTLINE_HWPOISON_LARGE, i, RW), INT);
}

void injected_hwpoison_large_uaccess(void)
{
	uaccess_of(FAULTLINE_HWPOISON_LARGE);
}

void injected_hwpoison_large_gup(void)
{
	gup_of(FAULTLINE_HWPOISON_LARGE);
}

/* -- page faults disabled ------------------------------------------------------------------ */

static void disabled_uaccess_of(enum faultline_result kind)
{
	static const struct user_access all[] = {
		{ "copy-to", FAULTLINE_BYTES, copy_others_to, others_stored },
		{ "copy-from", FAULTLINE_BYTES, copy_from, bytes_read },
		{ "clear", FAULTLINE_BYTES, clear, zeroes_stored },
		{ "get", -1, get, word_read },
		{ "put", -1, put_other, word_stored },
		{ "strncpy", -1, copy_string, page_kept },
	};

	context = FAULTLINE_FAULTS_DISABLED;
	access_each(kind, all, ARRAY_SIZE(all));
}

/* The page would come if the fault were handled: EFAULT shows that it is not. */
void injected_disabled_uaccess(void)
{
	disabled_uaccess_of(FAULTLINE_PAGE);
}

void injected_disabled_sigbus(void)
{
	disabled_uaccess_of(FAULTLINE_SIGBUS);
}
