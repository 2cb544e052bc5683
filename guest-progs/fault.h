/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The runtime scenarios are written on. A scenario is one function, declared by a row of
 * expectations/FAMILY.yaml: the row `read` of hole.yaml is `void hole_read(void)` here. The
 * build makes scenarios.inc from the rows; it holds the only prototypes, so a function
 * without a row and a row without a function both break the build.
 *
 * A scenario reads like its specification:
 *
 *	void hole_read(void)
 *	{
 *		char *hole = hole_page();	// set-up: made, and proven to be a hole
 *
 *		load("", hole, INT);		// the step: its result is the outcome
 *	}
 *
 * Set-up (must, prove, and all that builds memory) never makes an outcome: where it fails
 * the scenario ends there, with the step and errno. Steps never fail: whatever the kernel
 * does is the result. The label "" is for the only step of a scenario; several steps have
 * labels of [a-z0-9-]. A signal that arrives outside a step ends the process.
 *
 * Everything runs in a process of its own, forked from one that has done next to nothing, without
 * layout randomisation, with a soft stack limit of 8M, and is watched from outside: a step that
 * hangs needs no care.
 */
#ifndef FAULT_H
#define FAULT_H

/* These choose what libc's headers declare: include this header before them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64	/* pagemap offsets of high addresses on 32 bits */
#endif

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef ARCH_HEADER
#error "build with -DARCH_HEADER='\"arch/NAME.h\"'"
#endif
#include ARCH_HEADER

#ifndef PC_IGNORES
#define PC_IGNORES 0
#endif
#ifndef KERNEL_DATA
#define KERNEL_DATA KERNEL_ADDR
#endif
#ifndef HAS_TRAPNO
#define HAS_TRAPNO(sig) 0
#endif
/* A fork without what libc does beside it; other flags of clone(2) as they are. */
#ifndef RAW_CLONE
#define RAW_CLONE(flags, ptid) syscall(SYS_clone, flags, 0L, ptid, 0L, 0L)
#endif
#ifndef DEVICE_WINDOW
#define DEVICE_WINDOW 0
#endif
#ifdef CMPXCHG
#define only_with_exchange() ((void)0)
#else
#define CMPXCHG(mem, from, to) ((void)(mem), (void)(from), (void)(to), -1L)
#define only_with_exchange() not_applicable("no system call exchanges a word on this arch")
#endif
#ifdef OWE_STORE
#define only_with_owed_stores() ((void)0)
#else
#define OWE_STORE(uc, n, as_kernel, addr, width, value) ((void)(uc), 0)
#define KERNEL_ALIAS(physical) ((char *)(uintptr_t)(physical))
#define only_with_owed_stores() not_applicable("no frame leaves stores to the kernel on this arch")
#endif
#ifdef FRAME_PRIVILEGED
#define only_with_mode() ((void)0)
#else
#define FRAME_PRIVILEGED(uc) ((void)(uc))
#define only_with_mode() not_applicable("no word of a frame says what the CPU may on this arch")
#endif
#ifdef FRAME_REFUSED
#define only_with_refusal() ((void)0)
#else
#define FRAME_REFUSED(uc) ((void)(uc))
#define only_with_refusal() not_applicable("no word of a frame is asked whether it can be right on this arch")
#endif
#ifdef FRAME_TRACED
#define only_with_trace() ((void)0)
#else
#define FRAME_TRACED(uc) ((void)(uc))
#define only_with_trace() not_applicable("no word of a frame traces a program on this arch")
#endif
#ifndef DEBUGGER_SET
#define DEBUGGER_SET 0
#endif
#ifndef HALF_IS_ODD
#define HALF_IS_ODD 0
#endif
#ifndef ODD_RETURN_STUB
#define ODD_RETURN_STUB RETURN_STUB
#endif

/* As in all tables of system calls but alpha's; 6.10. */
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* Of 32 bits a kernel need not have the one without 64-bit time. */
#ifdef SYS_futex_time64
#define FUTEX SYS_futex_time64
#else
#define FUTEX SYS_futex
#endif

typedef uint32_t futex_word __attribute__((aligned(4)));	/* m68k would align it to two */

#define __printf(fmt, args) __attribute__((format(printf, fmt, args)))
#define __noreturn __attribute__((noreturn))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KIB 1024UL
#define MIB (1024 * KIB)

/* -- the table ---------------------------------------------------------------------- */

struct scenario {
	const char *name;		/* "hole/read" */
	void (*run)(void);
	const char *user;		/* "root" or "nobody" */
	const char *summary;
	const char *harm;		/* what it could do to a machine that matters, or "" */
};

extern const struct scenario scenarios[];	/* sorted by name, ends with a name of NULL */

#define SCENARIO(name, function, user, summary, harm) void function(void);
#include "scenarios.inc"
#undef SCENARIO

/* -- report.c: what the process says about itself ------------------------------------ */

/* A step begins; what follows is attributed to it, also by whoever finds us hanging. */
void step(const char *label);
/* The result of the step: an outcome text (docs/guest-protocol.md). */
void result(const char *fmt, ...) __printf(1, 2);
/* What this process says from here on is about task A, B, ...: for several actors. */
void task(char name);
/* Recorded beside the outcome, not part of it. A key said twice keeps its last value. */
void detail(const char *key, const char *fmt, ...) __printf(2, 3);
/* The kernel or machine lacks what the scenario is about: the outcome is n/a. Ask first. */
void not_applicable(const char *fmt, ...) __printf(1, 2) __noreturn;
/* Set-up did not work, by errno; or could not be shown to be what it must be. */
void setup_failed(const char *what) __noreturn;
void setup_unproven(const char *what) __noreturn;

/* A set-up call that returns -1 with errno on failure; gives what it returned. */
#define must(what, call) ({					\
	__typeof__(call) must_ret = (call);			\
	if ((long)must_ret == -1)				\
		setup_failed(what);				\
	must_ret; })

/* The scenario stands where it claims to: the edge is really there. */
#define prove(what, condition) ((condition) ? (void)0 : setup_unproven(what))

/* -- step.c: accesses and system calls, and the signals they raise ------------------- */

enum width { BYTE = 1, HALF = 2, INT = 4, LONG = 8 };

/*
 * One access of exactly this width by one instruction. The result is `ok`, or the signal
 * with si_addr told relative to addr. Each returns whether the access completed.
 */
bool load(const char *label, const void *addr, enum width width);
bool store(const char *label, void *addr, enum width width);
/* n stores, each stride further, as one step: the result is that of the last one made, which */
/* is the first that does not complete. Gives how many did. */
size_t store_series(const char *label, void *addr, long stride, size_t n, enum width width);
/* What store() stores, as a load of that width sees it. */
uint64_t stored(enum width width);
/* A load of a value that is known, but is not the point: a wrong one gives `ok data=changed`. */
bool load_known(const char *label, const void *addr, enum width width, uint64_t want);
/* A load whose value is the point: `ok data=match`, `data=changed` or `data=zeroed`. */
bool load_data(const char *label, const void *addr, enum width width, uint64_t want);
/* Call the code at addr; it must be the return stub, or fault. */
bool jump(const char *label, const void *addr);
/* A store while the stack pointer is sp: what kernels compare stack growth with. */
bool store_with_sp(const char *label, void *sp, void *addr, enum width width);

/*
 * A system call. The result is `ok` or the errno, then [SIGNAL] for each signal handled
 * during it; touch is the first byte of the buffer that will fault.
 */
#define call(label, touch, expr) \
	(call_begin(label, touch), call_end((long)(expr), -1, true))
/* One that counts bytes: `ok(n)`, `short(n/want)`, or the errno. */
#define transfer(label, touch, want, expr) \
	(call_begin(label, touch), call_end((long)(expr), (long)(want), true))
/* The same in pieces, to look at the bytes before the step ends: not intact, data=changed. */
void call_begin(const char *label, const void *touch);
/* Faults that the look at the bytes takes are none of the step's. */
void call_over(void);
long call_end(long ret, long want, bool intact);

/*
 * read(2) of 64 bytes from a pipe into the middle of a page, as a step: data=changed unless they are
 * there afterwards, and around them is what was: n bytes of the pattern and then zeroes.
 */
void read_between(const char *label, char *page, size_t n);

/* From here on each step tells how many faults it took: `ok maj=0 min=1`. */
void count_faults(void);

/* Runs in the handler of the next steps; where it returns true the instruction goes on. */
extern bool (*repair)(siginfo_t *info);
/* One that works once: a page appears where the fault was, and the instruction goes on. */
bool bring_page(siginfo_t *info);

/* What the first signal of the last step said of its trap, as TRAP_WORDS; NULL without one. */
const uint64_t *trap_words(void);
/* The pc that its frame had. */
uintptr_t trap_pc(void);

/* -- code.c: single instructions, as functions of one argument ------------------------ */

/*
 * The result is that of calling code(arg), as for an access to touch. An arch that does not have
 * such an instruction has no such function, and there the scenario is n/a.
 */
bool execute(const char *label, const char *code, const void *arg, const void *touch);
/* n/a without it, ahead of other steps. */
void need_code(const char *code);
/* The same without a step; gives what the code gives, if it does. */
long call_code(const char *code, const void *arg);

extern void (*granted_handler)(int sig, siginfo_t *info, void *context);	/* pkeys.c */

#define DECLARE_CODE(name) extern const char code_##name[] __attribute__((weak))
DECLARE_CODE(overflow);		/* integers whose sum does not fit, with the trap for it */
DECLARE_CODE(div0);		/* an integer divided by zero */
DECLARE_CODE(fdiv0);		/* a floating-point number divided by zero, with that trap enabled */
DECLARE_CODE(breakpoint);	/* what a debugger writes over an instruction */
DECLARE_CODE(compare_trap);	/* compares arg with itself, and traps */
DECLARE_CODE(illegal);		/* what the arch promises will never be an instruction */
DECLARE_CODE(private_call);	/* a system call that only this arch could have, and has not */
DECLARE_CODE(atomic);		/* adds to, or swaps, the int at arg, indivisibly */
DECLARE_CODE(load_pair_base);	/* likewise, one into the register that held arg, then to 62 before it */
DECLARE_CODE(load_two_on);	/* two ints by a list that moves the register that held arg, then to 62 before it */
DECLARE_CODE(load_pair);	/* two ints from arg by one instruction, then to 63 behind it by two */
DECLARE_CODE(store_pair);	/* two ints that are 64 before arg to arg, by one instruction */
DECLARE_CODE(load_multiple);	/* as the pair, by one that takes a list of registers */
DECLARE_CODE(store_multiple);	/* likewise */
DECLARE_CODE(load_multiple_on);	/* and moves its base on: how far, to 71 behind arg */
DECLARE_CODE(push_multiple);	/* stores below arg and moves its base there: how far, likewise */
DECLARE_CODE(load_pair_behind);	/* as the pair, and moves its base by eight when it has loaded: how far, to 71 behind arg */
DECLARE_CODE(load_pair_before);	/* likewise, before it loads */
DECLARE_CODE(load_pair_behind_short);	/* both in the shorter instruction set */
DECLARE_CODE(load_pair_before_short);
DECLARE_CODE(load_multiple_short);	/* the same by an instruction of half the length */
DECLARE_CODE(store_multiple_short);	/* two ints that are 64 before arg to arg, by one of half the length: how far, to 71 behind arg */
DECLARE_CODE(load_pc);		/* an int and the pc by a list at arg, where it has put the second; the int and what was counted there to 63 behind arg */
DECLARE_CODE(load_pc_short);	/* likewise, to code of the shorter instruction set, of which the first is none in the other */
DECLARE_CODE(pop_pc_short);	/* likewise, from and to such code, with arg as the stack pointer: how far that moved, to 71 behind arg */
DECLARE_CODE(load_pair_if);	/* as the pair, the first of a block of conditional instructions of which the second would spoil it */
DECLARE_CODE(load_if);		/* likewise an int, then to 64 behind arg */
DECLARE_CODE(load_stepped);	/* an int at arg, while each instruction is a trap, up to the third behind it */
DECLARE_CODE(read_short);	/* read(2) of a byte by a short instruction; how often the one before was done, and its result, in the struct at arg */
DECLARE_CODE(load_vector);	/* a vector register, by the instruction that demands alignment */
DECLARE_CODE(load_checked);	/* an int, with the program's own alignment check on */
DECLARE_CODE(prefetch);		/* a hint to load from arg soon */
DECLARE_CODE(load_sp);		/* an int from the stack pointer, which is arg */
DECLARE_CODE(push_at);		/* a word below the stack pointer, which is arg */
DECLARE_CODE(sigreturn_at);	/* rt_sigreturn(2) with arg as the stack pointer */
DECLARE_CODE(vsyscall_time);	/* calls arg with a null pointer */
DECLARE_CODE(vsyscall_time_to);	/* calls time() of the vsyscall page with arg */
DECLARE_CODE(vsyscall_gettimeofday_to);	/* calls gettimeofday() of it with null and arg */
DECLARE_CODE(vsyscall_getcpu_to);	/* calls getcpu() of it with null and arg */
DECLARE_CODE(vsyscall_at_sp);	/* enters time() of it with arg as the stack pointer */
DECLARE_CODE(copy_floats);	/* a double at arg to 64 behind it, a single at 16 behind to 80 */
DECLARE_CODE(widen_float);	/* a single at arg to a double 64 behind it, by a register */
DECLARE_CODE(load_extended);	/* an int at arg as a long to 16 behind it, an unsigned half to 32 */
DECLARE_CODE(move_sp);		/* the stack pointer to arg and back; 16 behind whether it is the same, 32 a zero */
/* An int at arg, while the register of results says that a system call is to be done again, and that as a negative number to 64 behind. */
DECLARE_CODE(load_restart);
DECLARE_CODE(load_zero);	/* an int at address 0, which the instruction itself says */
DECLARE_CODE(load_int);		/* an int at arg, where the address is more than its place */
DECLARE_CODE(store_int);	/* likewise */
DECLARE_CODE(grant_keys);	/* a signal handler that grants itself all keys, then granted_handler */
DECLARE_CODE(store_table);	/* where the table of segments is, to arg: the kernel answers that */
DECLARE_CODE(load_swapped);	/* an int at arg, with the data of the other endianness */
DECLARE_CODE(checks_off);	/* this thread's accesses are not checked for tags any more */
DECLARE_CODE(set_tag);		/* gives the granule at arg the tag in arg */
DECLARE_CODE(keep_registers);	/* all registers from in, a load from touch, then all of them to out of the struct kept at arg */
DECLARE_CODE(behind_touch);	/* in there, behind the load and the mark that it was made */
DECLARE_CODE(spoil_registers);	/* a signal handler: registers_handler, then other values in all registers that are kept */
DECLARE_CODE(drop_frame);	/* a signal handler: registers_handler, then madvise(2) and rt_sigreturn(2), and no use of the stack between */
DECLARE_CODE(red_zone);		/* 128 bytes from in to the far end of what is a program's below the stack pointer, a load from touch, then they go to out */
DECLARE_CODE(direction);	/* whether strings go down */

/* What these know of places is here: assembler has no offsetof(). */
#define AT8 __attribute__((aligned(8)))

struct kept {
	struct registers {
		unsigned char general[256];	/* KEPT_GENERAL words */
		unsigned char floats[512];	/* KEPT_FLOATS of KEPT_FLOAT_SIZE bytes */
		AT8 unsigned long flags;	/* 768: of the program */
		AT8 unsigned long float_flags;	/* 776: of its floating point */
		AT8 unsigned long touch;	/* 784; out: the load was made */
		AT8 unsigned long start;	/* 792: what madvise(2) is given */
		AT8 unsigned long size;
		AT8 unsigned long advice;
		AT8 unsigned long ret;		/* 816: and gives */
	} __attribute__((aligned(1024))) in, out;
};

/* Gives the struct kept that the handlers in assembler take all else from. signal.c */
const struct kept *registers_handler(int sig, siginfo_t *info, void *context);

/* -- memory.c: building edges and proving them --------------------------------------- */

extern size_t page_size;

/* n private anonymous pages, never touched. */
char *anon_pages(size_t n, int prot);
/*
 * A page that is not mapped, between two that are. Build it last: the next mmap may well be
 * put there. Each step proves anew that no hole has been filled.
 */
char *hole_page(void);
/* E: the end of a mapped and touched page; the page at E is not mapped. */
char *edge(void);
/* A page in the area of mmap, so many bytes above anything else; one that grows downwards, there or anywhere */
/* with room to grow: more than the guard gap of any page size in use, and then some. */
#define GROWTH_ROOM (32 * MIB)
char *page_above(size_t room);
char *growable_page(char *at);
char *growable_region(void);
/* The kernel's pool of huge pages holds so many; n/a where there are none of that size. */
void huge_pool(size_t size, unsigned int pages);
/* n of them, mapped for reading and writing. */
char *huge_pages(size_t size, size_t n, int flags, int fd);
/* A transparent huge page, filled, and its size; proven by what smaps says of its mapping. */
char *transparent_huge_page(size_t *size);
/* A tmpfs file of so many bytes of the pattern. */
int tmpfile_of(size_t size);
/* n pages of a file from its start. */
char *map_file(int fd, size_t n, int prot, int flags);
/* The read end of a pipe that holds n bytes of the pattern, or those of it from OTHER on. */
int pipe_holding(size_t n);
int pipe_of_others(size_t n);
/* A write end somebody could read, and whether it holds n bytes of the pattern from there on, and */
/* no more: nothing where n is negative. */
int pipe_sink(void);
bool pipe_holds(int sink, size_t position, long n);
/* read(2) of 64 bytes from OTHER on into the page, write(2) of 64 bytes from it: a pipe each. */
long read_into(char *page);
long write_from(char *page);
/*
 * FUTEX_WAKE_OP: the kernel changes the word by an op (FUTEX_OP(...)). Private, where nobody waits; or
 * shared, and wakes who waits at the word, if it was as the op says. Nobody waits at its first word.
 */
long change_futex(void *word, int op);
long change_shared_futex(void *word, int op);
/* A page of the pattern under a key with these rights of this thread denied; n/a without keys: pkeys.c. */
char *keyed_page(int denied);
/* The address with this top byte; n/a where that belongs to the address; handlers that are told of it: mte.c. */
char *tagged(const void *addr, unsigned int tag);
void need_tags(void);
void expose_tags(int sig);
/* Writes a setting of the kernel, a file in /proc or /sys; false where there is no such file. */
bool set_knob(const char *path, const char *value);
/* n/a where vm.mmap_min_addr keeps more than a page from programs. */
void need_low_pages(void);
/* A page of a file or of memory that holds just a return instruction, visible to fetches. */
void put_return_stub(void *addr);
void put_odd_return_stub(void *addr);	/* for who jumps to an odd address */

/* The pattern, by position: no two bytes near each other are equal, none is zero. */
void fill(void *addr, size_t n);
bool filled(const void *addr, size_t n);
bool file_filled(int fd, long n);
/* The file is these n bytes, and ends behind them: empty where n is negative. */
bool file_holds(int fd, long n);
/* The same from another position on. Those from OTHER on are no others' near the start of a page. */
#define OTHER 100
void fill_from(void *addr, size_t n, size_t position);
bool filled_from(const void *addr, size_t n, size_t position);
bool zeroed(const void *addr, size_t n);
uint64_t pattern(size_t position, enum width width);	/* as a load of that width sees it */

struct vma {
	uintptr_t start, end;
	char perms[5];
	char name[64];
};

/* The first VMA that ends above addr, as find_vma() in the kernel: from /proc/self/maps. */
bool find_vma(const void *addr, struct vma *vma);
bool find_stack(struct vma *vma);
struct vma last_vma(void);
/* The first byte behind all that this program may ever map, mapped or not: where addresses are the kernel's, or nobody's. */
char *user_end(void);
/* Nothing is mapped in these bytes. */
bool unmapped(const void *addr, size_t n);
/* The VMA at addr grows downwards: flag gd in /proc/self/smaps. */
bool grows_down(const void *addr);
/* KiB that smaps tells of the VMA at addr, as "AnonHugePages:". */
unsigned long smaps_kib(const void *addr, const char *key);
/* An address that takes 64 bits; n/a where there are none. */
uintptr_t wide(uint64_t addr);
/* Canonical on no x86, with five page table levels either; a tag on arm64. */
#define NONCANONICAL 0x8000000000000000
/* A page is in the page table: bit 63 in /proc/self/pagemap. */
bool present(const void *addr);
/* The same as a step, "there". */
void result_present(const void *addr);
/* Its number in physical memory: bits 0 to 54 there, for root. */
uint64_t frame_number(const void *addr);
/* Its entry there is write-protected by a userfaultfd: bit 57, from 5.14 on. */
bool write_protected(const void *addr);

/* -- child.c: helper processes and threads ------------------------------------------------ */

/* It ends with the process, or is joined. */
pthread_t start_thread(void *(*run)(void *arg), void *arg);

/* fork; the child must end with child_done() or by its step. */
pid_t fork_child(void);
void child_done(void) __noreturn;
/* One that is stopped, whose memory is a copy of ours, and that we trace. */
pid_t fork_tracee(void);
/* Its two halves, for one that does more: in the child, and in the parent that is to trace it. */
void stop_for_parent(void);
void await_stop(pid_t pid);
/* Wait for it without limit. It took its steps itself; a death is the result of its last. Whether it ended well. */
bool join_child(pid_t pid);
/* The result of the step is how the child ends: `killed(SIGKILL)`, `exit(0)`; after a second, */
/* or the limit, it is looked at and the result is `hang(unkillable, spin-kernel)` and so on. */
bool result_fate(pid_t pid);
/* The same of one that is killed now. */
bool result_killed(pid_t pid);
/* Look at it for 200 ms, then kill it: the result is `hang(killable, sleep)` and so on. */
bool result_hang(pid_t pid);
/* Sleep, telling those outside that we do so on purpose. */
void pause_ms(unsigned int ms);
/*
 * Scenarios are kept on one CPU; those that follow, threads too, may use each. Gives how many.
 * Declare `cpus: all`: the machine has one where nothing is declared.
 */
int use_all_cpus(void);

/* -- uffd.c: a child that waits for a page nobody brings ------------------------------- */

struct stuck {
	pid_t pid;
	int uffd;		/* of the child's memory; in a table both share */
	char *page;		/* in the child: armed with a missing-page userfaultfd */
	size_t size;		/* 0: a page */
	uint64_t address;	/* that the last fault was told with */
};

/*
 * The child runs act(page) and ends. Returns when the fault has been read from the
 * userfaultfd and the child sleeps in it: proven to be inside. n/a without userfaultfd. A child
 * that ends before is the outcome `B: wait=exit(0)` or the like, and the end of the scenario.
 */
struct stuck stuck_child(void (*act)(char *page));
/* The same in pieces: other memory, other faults, and before the child is inside. */
struct watch {
	char *start;
	size_t size;		/* 0: a page */
	uint64_t mode;		/* UFFDIO_REGISTER_MODE_; 0: missing pages; WP protects at once */
	uint64_t features;	/* UFFD_FEATURE_; n/a where the kernel does not know them */
	int flags;		/* of userfaultfd(2) */
};
struct stuck watched_child(struct watch watch, void (*act)(char *page));
/* Both see what they say, or end the scenario with what is there instead; the flags of the fault (UFFD_PAGEFAULT_FLAG_) are returned. */
uint64_t read_fault(struct stuck *stuck);
void see_it_sleep(struct stuck *stuck);
uint64_t see_stuck(struct stuck *stuck);	/* both */

/* A userfaultfd of our own memory, and the bare descriptor: -1, or n/a where there is none. */
int watch(struct watch watch);
int userfaultfd(int flags);
/* UFFDIO_REGISTER (with one of their own), CONTINUE and WAKE of these bytes, as steps. */
void uffd_register(const char *label, char *start, size_t size, uint64_t mode);
void uffd_continue(const char *label, int uffd, char *start, size_t size);
void uffd_wake(const char *label, int uffd, char *start, size_t size);
/* UFFDIO_COPY of one page, as a step; and a page of the pattern to copy from. */
void uffd_copy(const char *label, int uffd, char *page, char *source);
char *pattern_page(void);

/* The only step: what becomes of the child when it is killed. One that does not end is released. */
void kill_stuck(struct stuck *stuck);
/* UFFDIO_COPY of a page of the pattern. */
void resolve(struct stuck *stuck);
/* Close the userfaultfd, which lets even an unkillable child go on, or not: a detail. */
void release(struct stuck *stuck);

/* -- disk.c: scratch disks, which a scenario `needs:` ------------------------------------ */

/* The device node of the disk with this serial number; n/a where there is none. */
const char *disk_device(const char *name);
/* The folder it is mounted on, as the file system of the same name, for this scenario only. */
const char *mount_disk(const char *name);
/* A new file on a file system of this type that needs no disk, mounted likewise. */
int file_on(const char *type, const char *options);

/* -- crowd.c: several tasks bring pages in, another maps and unmaps, all of one address space ----- */

/* The only step: nothing is lost of pages that send_away has sent away, in many rounds. */
void brought_in_by_all(void (*send_away)(char *page, size_t n));

/* -- mapper.c: a disk that fails or answers no more, by the device mapper, which a scenario `needs:` -- */

/* A device of that many bytes of another one; its node. n/a where there is no device mapper. */
const char *map_device(const char *device, size_t size);
/* What is read or written from now on fails; or waits until it is resumed. */
void break_device(void);
void suspend_device(void);
void resume_device(void);
void unmap_device(void);

/* -- vmstat.c: what the machine counts ---------------------------------------------------- */

/* A copy of /proc/vmstat is taken; the number of this name in it, n/a where it has none. */
void read_vmstat(void);
long vmstat(const char *key);

/* What has tainted the kernel (its bits in /proc/sys/kernel/tainted) since it was booted, or, where */
/* somebody else did that, since we began. */
void note_taint(void);
unsigned long new_taint(void);

/*
 * vma_lock_success, _abort, _retry and _miss: of the whole machine, where somebody else faults now and then. So of
 * several looks it is the least of each that counts, and is four steps.
 */
struct lock_events {
	long count[4];
};
#define LOOKS 3
#define NO_LOOK { { LONG_MAX, LONG_MAX, LONG_MAX, LONG_MAX } }
struct lock_events lock_events(void);
void least_since(struct lock_events *least, struct lock_events before);
void result_lock_events(struct lock_events least);
/* What touch() does to them, in memory that make() gives. It is done once more before: the first time is for
 * what it needs of the program itself. */
void count_locks(char *(*make)(void), void (*touch)(char *memory));

/* -- names.c --------------------------------------------------------------------------- */

const char *errno_name(int err);
const char *signal_name(int sig);
const char *code_name(int sig, int code);

#endif
