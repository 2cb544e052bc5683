// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory protection keys: rights that a thread changes by itself, without a system call. Their
 * faults have a code and a siginfo field of their own.
 */
#include "fault.h"

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

char *keyed_page(int denied)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);
	int key = new_key();

	fill(page, page_size);
	must("pkey_mprotect", pkey_mprotect(page, page_size, PROT_READ | PROT_WRITE, key));
	must("pkey_set", pkey_set(key, denied));
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
	int key = new_key();

	must("pkey_mprotect", pkey_mprotect(page, page_size, PROT_READ | PROT_WRITE, key));
	must("pkey_set", pkey_set(key, PKEY_DISABLE_ACCESS));
	prove("page absent", !present(page));
	load("", page, INT);
}

/* Both the key and the mapping say no: which of them is told? */
void pkeys_and_rights(void)
{
	char *page = keyed_page(PKEY_DISABLE_WRITE);
	int key = new_key();

	must("pkey_mprotect", pkey_mprotect(page, page_size, PROT_READ, key));
	must("pkey_set", pkey_set(key, PKEY_DISABLE_WRITE));
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
	must("pkey_set", pkey_set(key, PKEY_DISABLE_ACCESS));
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
