// SPDX-License-Identifier: GPL-2.0-only
/*
 * One thread touches a page all the time, another changes what is mapped there. Each touch may
 * succeed or be refused, but all refusals are alike, and afterwards the instruction can go on.
 * `touched=ok; refused=SIGSEGV/SEGV_MAPERR @exact` says that each of many touches ended in one of
 * these two ways, and that both were seen often; `ok` alone, that none may be refused. A signal that
 * is unlike the first shows beside `touched`, and `short(3/20)` is a way seen too seldom.
 */
#include "fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define RW (PROT_READ | PROT_WRITE)
#define CHANGES 120
#define ENOUGH 20		/* of either kind: a third of what the changes make sure of */

static struct {
	char *page;
	int fd;
	bool (*change)(int nth);	/* by the other thread; false: it could not */
	bool refusable;			/* touches have to be refused, too */
	char refusal[64];		/* what the first one was: each must be */
	volatile bool stop;
	volatile int error;		/* why it could not */
	sem_t met;			/* the other thread may go on: it sleeps, where the host may lack CPUs */
	volatile unsigned long wanted;	/* touches until then; 0: it does not wait */
	volatile unsigned long touched, refused;
} race;

/*
 * Of two touches that end after a change the second began after it: each state is met, and the
 * next change comes into the middle of some touch.
 */
static void *change_all(void *unused)
{
	for (int i = 0; i < CHANGES && !race.error; i++) {
		if (!race.change(i))
			race.error = errno ?: EINVAL;
		race.wanted = race.touched + race.refused + 2;
		while (sem_wait(&race.met) < 0 && errno == EINTR)
			;
		detail("changes", "%d", i);	/* a busy machine takes its time */
	}
	race.stop = true;
	return unused;
}

static void met(void)
{
	if (race.wanted && race.touched + race.refused >= race.wanted) {
		race.wanted = 0;
		sem_post(&race.met);
	}
}

/* On one CPU the other thread is to get its turn before the time slice ends. */
static void touched(void)
{
	race.touched++;
	met();
	if (race.touched % 16 == 0)
		sched_yield();
}

static bool refused(const char *text)
{
	if (!race.refused)
		snprintf(race.refusal, sizeof(race.refusal), "%s", text);
	if (strcmp(race.refusal, text) != 0)
		return false;
	race.refused++;
	met();
	return true;
}

/* In the handler: let the other thread undo it, and try again. */
static bool signalled(siginfo_t *info)
{
	char text[64];

	snprintf(text, sizeof(text), "%s/%s @exact", signal_name(info->si_signo),
		 code_name(info->si_signo, info->si_code));
	if (info->si_addr != race.page || !refused(text))
		return false;
	sched_yield();
	return true;
}

static void start(pthread_t *thread)
{
	use_all_cpus();
	must("sem_init", sem_init(&race.met, 0, 0));
	call_begin(race.refusable ? "touched" : "", race.page);
	*thread = start_thread(change_all, NULL);
}

static void finish(pthread_t thread, bool intact)
{
	pthread_join(thread, NULL);
	detail("touched", "%lu", race.touched);
	detail("refused", "%lu", race.refused);
	errno = race.error;
	if (race.error)
		call_end(-1, -1, intact);
	else if (race.touched < ENOUGH)
		call_end(race.touched, ENOUGH, intact);
	else
		call_end(0, -1, intact);
	if (!race.refusable)
		return;
	step("refused");
	if (race.refused < ENOUGH)
		result("short(%lu/%d)", race.refused, ENOUGH);
	else
		result("%s", race.refusal);
}

static void store_against(bool (*change)(int nth), bool refusable)
{
	pthread_t thread;

	race.change = change;
	race.refusable = refusable;
	repair = refusable ? signalled : NULL;
	start(&thread);
	while (!race.stop) {
		arch_store(race.page, race.touched, INT);
		touched();
	}
	finish(thread, true);
}

static char *map_here(int prot, int flags)
{
	char *page = mmap(race.page, page_size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

/* Every other change makes the page whole again, and the last one does. */
static bool unmap_and_map(int nth)
{
	return nth % 2 ? map_here(RW, MAP_FIXED) == race.page : munmap(race.page, page_size) == 0;
}

void races_munmap(void)
{
	race.page = anon_pages(1, RW);
	store_against(unmap_and_map, true);
}

static bool protect_and_not(int nth)
{
	return mprotect(race.page, page_size, nth % 2 ? RW : PROT_READ) == 0;
}

void races_mprotect(void)
{
	race.page = anon_pages(1, RW);
	store_against(protect_and_not, true);
}

static bool none_and_back(int nth)
{
	return mprotect(race.page, page_size, nth % 2 ? RW : PROT_NONE) == 0;
}

void races_mprotect_none(void)
{
	race.page = anon_pages(1, RW);
	store_against(none_and_back, true);
}

/* A mapping put in the place of another: at no time is there none. */
static bool map_over(int nth)
{
	(void)nth;
	return map_here(RW, MAP_FIXED) == race.page;
}

void races_map_fixed(void)
{
	race.page = anon_pages(1, RW);
	store_against(map_over, false);
}

static char *elsewhere;

static bool move_and_back(int nth)
{
	char *from = nth % 2 ? elsewhere : race.page, *to = nth % 2 ? race.page : elsewhere;

	return mremap(from, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

void races_mremap(void)
{
	race.page = anon_pages(1, RW);
	elsewhere = anon_pages(1, RW);
	store_against(move_and_back, true);
}

static bool cut_and_extend(int nth)
{
	return ftruncate(race.fd, nth % 2 ? page_size : 0) == 0;
}

void races_truncate(void)
{
	race.fd = tmpfile_of(0);
	must("ftruncate", ftruncate(race.fd, page_size));
	race.page = map_file(race.fd, 1, RW, MAP_SHARED);
	store_against(cut_and_extend, true);
}

/*
 * The page is emptied again and again: a load sees what was stored last, or zero; the page of
 * somebody else, or one that was given up, would be neither.
 */
static void load_and_store_against(bool (*change)(int nth))
{
	pthread_t thread;
	bool intact = true;
	uint32_t n = 0;

	race.change = change;
	start(&thread);
	while (!race.stop) {
		uint32_t word = arch_load(race.page, INT);

		intact &= word == 0 || word == n;
		arch_store(race.page, ++n, INT);
		touched();
	}
	finish(thread, intact);
}

static bool punch(int nth)
{
	(void)nth;
	return fallocate(race.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page_size) == 0;
}

void races_punch(void)
{
	race.fd = tmpfile_of(0);
	must("ftruncate", ftruncate(race.fd, page_size));
	race.page = map_file(race.fd, 1, RW, MAP_SHARED);
	load_and_store_against(punch);
}

static bool drop(int nth)
{
	(void)nth;
	return madvise(race.page, page_size, MADV_DONTNEED) == 0;
}

void races_dontneed(void)
{
	race.page = anon_pages(1, RW);
	load_and_store_against(drop);
}

static bool fork_once(int nth)
{
	pid_t pid;

	if (nth % 8)		/* a fork is dear */
		return true;
	pid = fork();
	if (pid == 0)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

/* Each fork write-protects the page under the stores; none may get lost in the copy. */
void races_fork(void)
{
	pthread_t thread;
	bool intact = true;
	uint32_t n = 0;

	race.page = anon_pages(1, RW);
	race.change = fork_once;
	start(&thread);
	while (!race.stop) {
		intact &= (uint32_t)arch_load(race.page, INT) == n;
		arch_store(race.page, ++n, INT);
		touched();
	}
	finish(thread, intact);
}

/*
 * The kernel's copy into a page that comes and goes: as many bytes as it says, or EFAULT, and
 * no signal. It may come and go in the middle of a copy.
 */
static void read_against(bool (*change)(int nth))
{
	int fd = tmpfile_of(64);
	pthread_t thread;
	bool intact = true;

	race.change = change;
	race.refusable = true;
	start(&thread);
	while (!race.stop) {
		long n = pread(fd, race.page, 64, 0);

		if (0 < n && n <= 64)
			touched();
		else
			intact &= n < 0 && refused(errno_name(errno));
		sched_yield();
	}
	finish(thread, intact);
}

void races_munmap_read(void)
{
	race.page = anon_pages(1, RW);
	read_against(unmap_and_map);
}

void races_mprotect_read(void)
{
	race.page = anon_pages(1, RW);
	read_against(protect_and_not);
}
