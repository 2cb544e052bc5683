// SPDX-License-Identifier: GPL-2.0-only
/* Accesses that a mapping does not permit, or that some architectures cannot refuse. */
#include "fault.h"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

/* A page that has never been touched, with just these rights. */
static char *fresh_page(int prot)
{
	char *page = anon_pages(1, prot);

	prove("page absent", !present(page));
	return page;
}

void protection_none_read(void)
{
	load("", fresh_page(PROT_NONE), INT);
}

/* Not at the start of a page, and not at a multiple of much. */
#define INSIDE 1236

void protection_none_read_inside(void)
{
	load("", fresh_page(PROT_NONE) + INSIDE, INT);
}

void protection_ro_write_inside(void)
{
	char *page = fresh_page(PROT_READ);

	store("fresh", page + INSIDE, INT);
	load_known("load", page, INT, 0);
	store("present", page + INSIDE, INT);
}

void protection_none_write(void)
{
	store("", fresh_page(PROT_NONE), INT);
}

void protection_ro_write_fresh(void)
{
	store("", fresh_page(PROT_READ), INT);
}

static char *loaded_page(void)
{
	char *page = fresh_page(PROT_READ);

	arch_load(page, INT);
	prove("page present", present(page));
	return page;
}

void protection_ro_write_present(void)
{
	store("", loaded_page(), INT);
}

void protection_ro_write_fork(void)
{
	char *page = loaded_page();
	pid_t child = fork_child();

	if (child == 0) {
		store("", page, INT);
		child_done();
	}
	join_child(child);
}

void protection_ro_write_mprotect(void)
{
	char *page = fresh_page(PROT_READ | PROT_WRITE);

	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, PROT_READ));
	prove("page present", present(page));
	store("", page, INT);
}

void protection_wonly_read(void)
{
	load_known("", fresh_page(PROT_WRITE), INT, 0);
}

void protection_wonly_read_after_write(void)
{
	char *page = fresh_page(PROT_WRITE);

	store("store", page, INT);
	load_known("load", page, INT, stored(INT));
}

void protection_wx_read(void)
{
	char *page = mmap(NULL, page_size, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (call("map", NULL, page == MAP_FAILED ? -1 : 0) == 0)
		load_known("load", page, INT, 0);
}

void protection_xonly_read(void)
{
	load_known("", fresh_page(PROT_EXEC), INT, 0);
}

void protection_xonly_read_present(void)
{
	char *page = fresh_page(PROT_READ | PROT_WRITE);

	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, PROT_EXEC));
	load_known("", page, INT, pattern(0, INT));
}

void protection_xonly_back(void)
{
	char *page = fresh_page(PROT_EXEC);

	must("mprotect", mprotect(page, page_size, PROT_READ));
	load_known("", page, INT, 0);
}

void protection_xonly_exec(void)
{
	int fd = tmpfile_of(1);

	put_return_stub(map_file(fd, 1, PROT_READ | PROT_WRITE, MAP_SHARED));
	jump("", map_file(fd, 1, PROT_EXEC, MAP_PRIVATE));
}

void protection_exec_nx(void)
{
	char *page = fresh_page(PROT_READ | PROT_WRITE);

	put_return_stub(page);
	jump("", page);
}

#ifdef HALF_INSTRUCTION
/* The byte at `end` is the first that may not be executed, and of an instruction that began before. */
static void run_across(const char *label, char *end)
{
	static const unsigned char half[] = HALF_INSTRUCTION, stub[] = RETURN_STUB;
	char *start = end - sizeof(half);

	memcpy(start, half, sizeof(half));
	for (int i = 0; i < 64; i++)	/* should it run all the same */
		end[i] = stub[i % sizeof(stub)];
	arch_sync_code(start, sizeof(half) + 64);
	must("mprotect", mprotect(end - page_size, page_size, PROT_READ | PROT_EXEC));
	/* An odd address is code of the other instruction set. */
	execute(label, start + HALF_IS_ODD, NULL, end);
}
#endif

void protection_exec_nx_across(void)
{
#ifdef HALF_INSTRUCTION
	char *pages = anon_pages(8, PROT_READ | PROT_WRITE);

	pages += -(uintptr_t)pages & (4 * page_size - 1);
	run_across("even", pages + page_size);
	run_across("odd", pages + 2 * page_size);
#else
	not_applicable("no instruction that lies across two pages is known for this arch");
#endif
}

static char *code_page;
static int refused;

static void give_back(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	refused++;
	mprotect(code_page, page_size, PROT_READ | PROT_EXEC);
}

/* Nobody else has the CPU between the two, lest what it knows be dropped for his sake. */
void protection_exec_taken(void)
{
	struct sigaction action = { .sa_sigaction = give_back, .sa_flags = SA_SIGINFO };

	code_page = fresh_page(PROT_READ | PROT_WRITE);
	put_return_stub(code_page);
	must("mprotect", mprotect(code_page, page_size, PROT_READ | PROT_EXEC));
	if (!jump("before", code_page))
		return;
	must("sigaction", sigaction(SIGSEGV, &action, NULL));
	step("refused");
	for (int i = 0; i < 50; i++) {
		call_code(code_page, NULL);
		mprotect(code_page, page_size, PROT_READ);
		call_code(code_page, NULL);
	}
	result("ok(%d)", refused);
}

void protection_none_exec(void)
{
	jump("", fresh_page(PROT_NONE));
}

void protection_xonly_write(void)
{
	store("", fresh_page(PROT_EXEC), INT);
}

/* -- pages of a file that are there by a load: no fault has asked yet what may be done to them --- */

static char *loaded_from(int fd, int prot, int flags)
{
	char *page = map_file(fd, 1, prot, flags);

	arch_load(page, INT);
	prove("page present", present(page));
	return page;
}

/* A page that was dirty before it lost the right to be written, as what a JIT has made. */
static char *written_to(int fd, int prot, int flags)
{
	char *page = map_file(fd, 1, PROT_READ | PROT_WRITE, flags);

	fill(page, 64);
	must("mprotect", mprotect(page, page_size, prot));
	prove("page present", present(page));
	return page;
}

static void store_to_present(int prot)
{
	int fd = tmpfile_of(4096);
	char *private = loaded_from(fd, prot, MAP_PRIVATE);
	char *shared = loaded_from(fd, prot, MAP_SHARED);
	char *written_private = written_to(fd, prot, MAP_PRIVATE);
	char *written_shared = written_to(fd, prot, MAP_SHARED);

	store("private", private, INT);
	store("shared", shared, INT);
	store("written-private", written_private, INT);
	store("written-shared", written_shared, INT);
	step("file");
	result("ok data=%s", file_filled(fd, 4096) ? "match" : "changed");
}

void protection_ro_write_file(void)
{
	store_to_present(PROT_READ);
}

void protection_rx_write_file(void)
{
	store_to_present(PROT_READ | PROT_EXEC);
}

void protection_exec_nx_file(void)
{
	int fd = tmpfile_of(1);
	char *shared = map_file(fd, 1, PROT_READ | PROT_WRITE, MAP_SHARED);

	put_return_stub(shared);
	prove("page present", present(shared));
	jump("shared", shared);
	jump("shared-ro", loaded_from(fd, PROT_READ, MAP_SHARED));
	jump("private-ro", loaded_from(fd, PROT_READ, MAP_PRIVATE));
	jump("private-rx", loaded_from(fd, PROT_READ | PROT_EXEC, MAP_PRIVATE));
}

/* A page that is shared since fork is taken every right to, and given it back, which is no right to what others have. */
void protection_cow_mprotect(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE), byte = 0;
	int go[2];
	pid_t child;

	fill(page, page_size);
	must("pipe", pipe(go));
	child = fork_child();
	if (child == 0) {
		must("read", read(go[0], &byte, 1));
		load_data("kept", page, INT, pattern(0, INT));
		must("mprotect", mprotect(page, page_size, PROT_READ));
		must("mprotect", mprotect(page, page_size, PROT_READ | PROT_WRITE));
		store("child", page + 64, INT);
		child_done();
	}
	must("mprotect", mprotect(page, page_size, PROT_READ));
	must("mprotect", mprotect(page, page_size, PROT_READ | PROT_WRITE));
	store("parent", page, INT);
	must("write", write(go[1], &byte, 1));
	join_child(child);
	load_data("unseen", page + 64, INT, pattern(64, INT));
}

/* The kernel as a reader: does it keep to what the program may do? */
void protection_xonly_write_syscall(void)
{
	char *page = fresh_page(PROT_EXEC);
	int fd = pipe_sink();

	transfer("", page, 64, write(fd, page, 64));
}

/* The code is put there while the mapping may be read and written. */
static void run_written(const char *label, int flags)
{
	char *page = must("mmap", mmap(NULL, page_size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0));

	put_return_stub(page);
	must("mprotect", mprotect(page, page_size, PROT_WRITE | PROT_EXEC));
	jump(label, page);
}

void protection_wx_exec(void)
{
	run_written("private", MAP_PRIVATE);
	run_written("shared", MAP_SHARED);
}

void protection_wonly_map(void)
{
	call("", NULL, mmap(NULL, page_size, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED ? -1 : 0);
}

void protection_wonly_write_syscall(void)
{
	char *page = fresh_page(PROT_WRITE);
	int fd = pipe_sink();

	transfer("", page, 64, write(fd, page, 64));
}

static char *written_then(int prot)
{
	char *page = fresh_page(PROT_READ | PROT_WRITE);

	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, prot));
	return page;
}

void protection_none_present_write_syscall(void)
{
	char *page = written_then(PROT_NONE);
	int fd = pipe_sink();

	transfer("", page, 64, write(fd, page, 64));
}

/* What a collector does around each phase: no access, and then all of it as it was. */
void protection_none_restored(void)
{
	char *page = written_then(PROT_NONE);

	if (load("none", page, INT))
		return;
	call("mprotect", page, mprotect(page, page_size, PROT_READ | PROT_WRITE));
	load_data("load", page, INT, pattern(0, INT));
	store("store", page, INT);
}

void protection_dontneed(void)
{
	char *page = written_then(PROT_READ | PROT_WRITE);

	call("madvise", page, madvise(page, page_size, MADV_DONTNEED));
	prove("page absent", !present(page));
	load_data("load", page, INT, 0);
}

/* Two pages with one between them that is not mapped. */
void protection_dontneed_across(void)
{
	char *hole = hole_page(), *start = hole - page_size;

	fill(start, page_size);
	fill(hole + page_size, page_size);
	call("madvise", start, madvise(start, 3 * page_size, MADV_DONTNEED));
	load_data("before", start, INT, 0);
	load_data("behind", hole + page_size, INT, 0);
}

/* The first page shows that what is given up goes. */
void protection_free_written(void)
{
	char *pages = anon_pages(2, PROT_READ | PROT_WRITE);

	fill(pages, 2 * page_size);
	call("free", pages, madvise(pages, 2 * page_size, MADV_FREE));
	store("store", pages + page_size, INT);
	call("pageout", pages, madvise(pages, 2 * page_size, MADV_PAGEOUT));
	load_data("given-up", pages, INT, 0);
	load_data("written", pages + page_size, INT, stored(INT));
}

/* The child writes what it has, and forks again. */
void protection_wipe_on_fork(void)
{
	char *page = written_then(PROT_READ | PROT_WRITE);
	pid_t child, grandchild;

	call("madvise", page, madvise(page, page_size, MADV_WIPEONFORK));
	child = fork_child();
	if (child == 0) {
		load_data("child", page, INT, 0);
		fill(page, page_size);
		grandchild = fork_child();
		if (grandchild == 0) {
			load_data("grandchild", page, INT, 0);
			child_done();
		}
		join_child(grandchild);
		child_done();
	}
	join_child(child);
	load_data("own", page, INT, pattern(0, INT));
}

/* What is sealed stays as it is; and read-only memory of nobody's file would be zeroes. */
void protection_sealed(void)
{
	char *page = fresh_page(PROT_READ | PROT_WRITE), *room = anon_pages(2, PROT_NONE);

	fill(page, page_size);
	must("mprotect", mprotect(page, page_size, PROT_READ));
	if (syscall(SYS_mseal, page, page_size, 0) != 0 && errno == ENOSYS)
		not_applicable("memory cannot be sealed: mseal says ENOSYS");
	call("protect", NULL, mprotect(page, page_size, PROT_READ | PROT_WRITE));
	call("unmap", NULL, munmap(page, page_size));
	call("move", NULL, mremap(page, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
				  room) == MAP_FAILED ? -1 : 0);
	call("discard", NULL, madvise(page, page_size, MADV_DONTNEED));
	load_data("load", page, INT, pattern(0, INT));
}

/* A segment of which the caller said that it would only read it. */
void protection_shm_read_only(void)
{
	int id = must("shmget", shmget(IPC_PRIVATE, page_size, IPC_CREAT | 0600));
	char *page = shmat(id, NULL, SHM_RDONLY);

	must("shmctl", shmctl(id, IPC_RMID, NULL));
	must("shmat", page == (char *)-1 ? -1 : 0);
	store("store", page, INT);
	call("mprotect", page, mprotect(page, page_size, PROT_READ | PROT_WRITE));
}

/* -- guards that are no mapping of their own ---------------------------------------------------- */

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

void protection_guard(void)
{
	char *pages = anon_pages(3, PROT_READ | PROT_WRITE), *guard = pages + page_size;
	int fd = pipe_holding(64), sink = pipe_sink();
	pid_t child;

	fill(pages, 3 * page_size);
	if (madvise(guard, page_size, MADV_GUARD_INSTALL) < 0 && errno == EINVAL)
		not_applicable("madvise(2) knows no MADV_GUARD_INSTALL");
	call("again", guard, madvise(guard, page_size, MADV_GUARD_INSTALL));
	load("load", guard + 8, INT);
	store("store", guard + 8, INT);
	transfer("read", guard, 64, read(fd, guard, 64));
	transfer("write", guard, 64, write(sink, guard, 64));
	child = fork_child();
	if (child == 0) {
		load("child", guard + 8, INT);
		child_done();
	}
	join_child(child);
	load_data("before", guard - sizeof(int), INT, pattern(page_size - sizeof(int), INT));
	load_data("behind", guard + page_size, INT, pattern(2 * page_size, INT));
	call("remove", guard, madvise(guard, page_size, MADV_GUARD_REMOVE));
	load_data("removed", guard, INT, 0);
	store("stored", guard, INT);
}
