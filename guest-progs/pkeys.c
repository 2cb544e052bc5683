// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory protection keys: rights that a thread changes by itself, without a system call. Their
 * faults have a code and a siginfo field of their own.
 */
#include "fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>

#ifndef PKEY_DISABLE_EXECUTE
#define PKEY_DISABLE_EXECUTE 4	/* of arm64's own headers */
#endif

static int new_key(void)
{
	int key = pkey_alloc(0, 0);

	if (key < 0 && (errno == ENOSYS || errno == ENOSPC || errno == EINVAL))
		not_applicable("no protection keys: pkey_alloc says %s", errno_name(errno));
	return must("pkey_alloc", key);
}

static void set_rights(int key, int denied)
{
	must("pkey_set", pkey_set(key, denied));
}

/* The page is under a key of its own from now on. */
static int give_key(char *page, int denied)
{
	int key = new_key();

	must("pkey_mprotect", pkey_mprotect(page, page_size, PROT_READ | PROT_WRITE, key));
	set_rights(key, denied);
	return key;
}

char *keyed_page(int denied)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	fill(page, page_size);
	give_key(page, denied);
	return page;
}

/* -- the keys themselves ------------------------------------------------------------------ */

void pkeys_alloc(void)
{
	call("", NULL, pkey_alloc(0, 0));
}

void pkeys_alloc_flags(void)
{
	call("", NULL, pkey_alloc(1, 0));
}

/* A key that says no to code: x86 has none such, arm64 has with FEAT_S1POE. */
void pkeys_alloc_for_code(void)
{
	call("", NULL, pkey_alloc(0, PKEY_DISABLE_EXECUTE));
}

void pkeys_alloc_all(void)
{
	int n = 1;

	new_key();
	while (pkey_alloc(0, 0) >= 0)
		n++;
	step("keys");
	result("ok(%d)", n);
	call("one-more", NULL, pkey_alloc(0, 0));
}

void pkeys_unallocated(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	int key = new_key();

	must("pkey_free", pkey_free(key));
	call("", page, pkey_mprotect(page, page_size, PROT_READ, key));
}

/* -- the program's own accesses ------------------------------------------------------------- */

void pkeys_deny_load(void)
{
	load("", keyed_page(PKEY_DISABLE_ACCESS) + 8, INT);
}

void pkeys_deny_store(void)
{
	store("", keyed_page(PKEY_DISABLE_ACCESS) + 8, INT);
}

/* A key is no reason why code cannot run: the page is not executable. */
void pkeys_deny_jump(void)
{
	jump("", keyed_page(PKEY_DISABLE_ACCESS));
}

void pkeys_read_only(void)
{
	char *page = keyed_page(PKEY_DISABLE_WRITE);

	load_data("load", page, INT, pattern(0, INT));
	store("store", page, INT);
}

/* A page never touched: the key decides before there is a page. */
void pkeys_absent(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	give_key(page, PKEY_DISABLE_ACCESS);
	prove("page absent", !present(page));
	load("", page, INT);
}

/* The same where only writing is denied, by the kernel and by the program, which may read. */
void pkeys_absent_store(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	int key = give_key(page, PKEY_DISABLE_WRITE);

	prove("page absent", !present(page));
	transfer("read", page, 64, read_into(page));
	store("store", page + 8, INT);
	result_present(page);
	set_rights(key, PKEY_DISABLE_WRITE);	/* its handler began with others */
	load_data("load", page, INT, stored(INT));
}

/* The page behind the end of a file: nobody is to find out through a key that denies it. */
void pkeys_eof_store(void)
{
	char *page = map_file(tmpfile_of(1), 2, PROT_READ | PROT_WRITE, MAP_SHARED) + page_size;
	int key = give_key(page, PKEY_DISABLE_WRITE);

	load("load", page + 8, INT);
	set_rights(key, PKEY_DISABLE_WRITE);
	store("store", page + 8, INT);
}

/* Asked to bring the page in, the kernel is not to touch it in the program's stead. */
void pkeys_populate(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	int key = give_key(page, PKEY_DISABLE_ACCESS);

	prove("page absent", !present(page));
	call("denied", page, madvise(page, page_size, MADV_POPULATE_READ));
	set_rights(key, PKEY_DISABLE_WRITE);
	call("write", page, madvise(page, page_size, MADV_POPULATE_WRITE));
	call("mlock", page, mlock(page, page_size));
	result_present(page);
	call("read", page, madvise(page, page_size, MADV_POPULATE_READ));
}

/* Both the key and the mapping say no: which of them is told? */
void pkeys_and_rights(void)
{
	char *page = keyed_page(PKEY_DISABLE_WRITE);
	int key = new_key();

	must("pkey_mprotect", pkey_mprotect(page, page_size, PROT_READ, key));
	set_rights(key, PKEY_DISABLE_WRITE);
	store("", page, INT);
}

/* -- on the program's behalf ------------------------------------------------------------------ */

void pkeys_read_into(void)
{
	char *page = keyed_page(PKEY_DISABLE_ACCESS);
	int fd = pipe_holding(16);

	transfer("", page, 16, read(fd, page, 16));
}

void pkeys_write_from(void)
{
	char *page = keyed_page(PKEY_DISABLE_ACCESS);
	int fd = pipe_sink();

	transfer("", page, 16, write(fd, page, 16));
}

/* Through another door: what debuggers use looks at the mapping, not at the thread's keys. */
void pkeys_process_vm(void)
{
	char *page = keyed_page(PKEY_DISABLE_ACCESS), bytes[16];
	struct iovec here = { bytes, sizeof(bytes) }, there = { page, sizeof(bytes) };
	pid_t parent = getpid(), child = fork_child();

	if (child == 0) {
		transfer("", page, 16, process_vm_readv(parent, &here, 1, &there, 1, 0));
		child_done();
	}
	join_child(child);
}

/* The same of its own memory, by the two ways that look it up as another's. */
void pkeys_process_vm_self(void)
{
	char *page = keyed_page(PKEY_DISABLE_ACCESS), bytes[16];
	struct iovec here = { bytes, sizeof(bytes) }, there = { page, sizeof(bytes) };
	int mem = must("open", open("/proc/self/mem", O_RDONLY | O_CLOEXEC));

	transfer("process-vm", page, 16, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	transfer("mem", page, 16, pread(mem, bytes, sizeof(bytes), (off_t)(uintptr_t)page));
}

/* -- rights that only the CPU knows yet ---------------------------------------------------------- */

static void load_in_child(const char *label, char *page)
{
	pid_t child = fork_child();

	if (child == 0) {
		load_known(label, page, INT, pattern(0, INT));
		child_done();
	}
	join_child(child);
}

struct loading {
	const char *label;
	char *page;
};

static void *load_labelled(void *arg)
{
	struct loading *l = arg;

	load_known(l->label, l->page, INT, pattern(0, INT));
	return NULL;
}

static void load_in_thread(const char *label, char *page)
{
	struct loading l = { label, page };

	pthread_join(start_thread(load_labelled, &l), NULL);
}

/*
 * From the change to the child nothing makes us sleep: what the kernel wrote down when we last did is
 * out of date. We sleep while we wait for the child, with the rights that the next one must not have.
 */
static void change_and_load(void (*load_elsewhere)(const char *label, char *page))
{
	static const char *const label[] = { "denied", "allowed", "denied-again", "allowed-again" };
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	int key;

	fill(page, page_size);
	key = give_key(page, 0);
	for (size_t i = 0; i < ARRAY_SIZE(label); i++) {
		set_rights(key, i % 2 ? 0 : PKEY_DISABLE_ACCESS);
		load_elsewhere(label[i], page);
	}
}

void pkeys_fork(void)
{
	change_and_load(load_in_child);
}

void pkeys_thread(void)
{
	change_and_load(load_in_thread);
}

/* -- signals ------------------------------------------------------------------------------------ */

/* Where code_grant_keys goes on. */
void (*granted_handler)(int sig, siginfo_t *info, void *context);

/* The handler's stack is under a key whose rights the thread has given away: it takes them. */
void pkeys_altstack(void)
{
	char *stack = anon_pages(16, PROT_READ | PROT_WRITE), *hole = hole_page();
	stack_t altstack = { .ss_sp = stack, .ss_size = 16 * page_size };
	struct sigaction action;
	int key = new_key();

	must("sigaction", sigaction(SIGSEGV, NULL, &action));
	granted_handler = action.sa_sigaction;
	action.sa_sigaction = (void (*)(int, siginfo_t *, void *))code_grant_keys;
	must("sigaction", sigaction(SIGSEGV, &action, NULL));
	fill(stack, 16 * page_size);
	must("pkey_mprotect", pkey_mprotect(stack, 16 * page_size, PROT_READ | PROT_WRITE, key));
	must("sigaltstack", sigaltstack(&altstack, NULL));
	set_rights(key, PKEY_DISABLE_ACCESS);
	load("", hole, INT);
}

static char *handler_page;

static bool touch_in_handler(siginfo_t *info)
{
	(void)info;
	repair = NULL;
	arch_load(handler_page, INT);
	return false;
}

/* The thread may, but a handler starts with all keys denied. */
void pkeys_in_handler(void)
{
	char *hole;

	handler_page = keyed_page(0);
	hole = hole_page();
	repair = touch_in_handler;
	load_known("before", handler_page, INT, pattern(0, INT));
	load("load", hole, INT);
}

static void nothing(int sig)
{
	(void)sig;
}

/* The kernel writes the frame with rights of its own: the thread must get its own back. */
void pkeys_after_handler(void)
{
	char *page = keyed_page(PKEY_DISABLE_ACCESS);

	must("signal", signal(SIGUSR1, nothing) == SIG_ERR ? -1 : 0);
	call("signal", NULL, kill(getpid(), SIGUSR1));
	load("load", page + 8, INT);
}
