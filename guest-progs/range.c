// SPDX-License-Identifier: GPL-2.0-only
/* Addresses outside of what user space can ever map. */
#include "fault.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* The word of 32 bits has two calls of the name, of which a kernel need not have the old one. */
#ifdef SYS_pselect6_time64
#define PSELECT SYS_pselect6_time64
#else
#define PSELECT SYS_pselect6
#endif

void range_kernel_load(void)
{
	load("", (void *)KERNEL_ADDR, INT);
}

void range_kernel_store(void)
{
	store("", (void *)KERNEL_ADDR, INT);
}

void range_kernel_jump(void)
{
	jump("", (void *)KERNEL_ADDR);
}

void range_noncanonical_load(void)
{
	load("", (void *)(wide(NONCANONICAL) + 8), INT);
}

void range_noncanonical_jump(void)
{
	jump("", (void *)wide(NONCANONICAL));
}

/* The push is to the word below. */
void range_noncanonical_push(void)
{
	char *sp = (char *)(wide(NONCANONICAL) + page_size);

	execute("", code_push_at, sp, sp - sizeof(long));
}

/* The first byte above what four levels of page tables can tell apart. */
void range_bit_47_load(void)
{
	load("", (void *)wide(0x0000800000000000), INT);
}

/* Beyond any page table of the user's, and not in the kernel's half, nor in arm64's tag. */
void range_bit_54_load(void)
{
	load("", (void *)wide(0x0040000000000000), INT);
}

/* The end of the user's part, with a page below it: the stack's, or one of ours. */
static char *end_of_page(void)
{
	char *end = user_end(), *last = end - page_size;

	if (unmapped(last, page_size))
		must("mmap", mmap(last, page_size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	return end;
}

/* On arm64 bit 55 says whose half it is, and only in the user's the byte above is no part of the address. */
void range_bit_55_load(void)
{
	load("", (void *)wide(0x5a80000000000008), INT);
}

/* The last bytes of the user's part, and the first ones of what is above. */
void range_read_across_end(void)
{
	char *buffer = end_of_page() - 8;
	int fd = pipe_holding(64);

	transfer("", buffer, 64, read(fd, buffer, 64));
}

void range_read_last(void)
{
	char *end = end_of_page();
	int fd = pipe_holding(8);

	transfer("", end - 8, 8, read(fd, end - 8, 8));
}

/* -- windows that the machine or the kernel has of its own ---------------------------------- */

void range_device_window(void)
{
	if (!DEVICE_WINDOW)
		not_applicable("no window of transparent translation");
	load("", (void *)DEVICE_WINDOW, INT);
}

/* Programs call what is in there. */
void range_vectors_edges(void)
{
#ifdef VECTORS_PAGE
	char *page = (char *)VECTORS_PAGE;

	load("first", page, INT);
	load("last", page + page_size - INT, INT);
	jump("call", page + VECTORS_GET_TLS);
	store("store", page, INT);
	load("before", page - INT, INT);
	load("behind", page + page_size, INT);
#else
	not_applicable("no vectors page that programs call on this arch");
#endif
}

#define VSYSCALL_PAGE 0xffffffffff600000
#define VSYSCALL_TIME (VSYSCALL_PAGE + 0x400)
#define VSYSCALL_GETCPU (VSYSCALL_PAGE + 0x800)

static char *vsyscall(uint64_t addr)
{
	if (!code_vsyscall_time)
		not_applicable("no vsyscall page on this arch");
	return (char *)wide(addr);
}

void range_vsyscall_load(void)
{
	load("", vsyscall(VSYSCALL_PAGE), INT);
}

void range_vsyscall_store(void)
{
	store("", vsyscall(VSYSCALL_PAGE), INT);
}

static void call_vsyscall(const char *label, uint64_t addr)
{
	char *entry = vsyscall(addr);

	execute(label, code_vsyscall_time, entry, entry);
}

void range_vsyscall_call(void)
{
	call_vsyscall("", VSYSCALL_TIME);
}

void range_vsyscall_inside(void)
{
	call_vsyscall("", VSYSCALL_TIME + 2);
}

/* The page has room for four entries, and three. */
void range_vsyscall_edges(void)
{
	call_vsyscall("before", VSYSCALL_PAGE - 1);
	call_vsyscall("fourth", VSYSCALL_GETCPU + 0x400);
	call_vsyscall("last", VSYSCALL_PAGE + 0xfff);
	call_vsyscall("behind", VSYSCALL_PAGE + 0x1000);
}

/* What time() of the vsyscall page is given to store to. */
static void vsyscall_to(void *place)
{
	vsyscall(VSYSCALL_TIME);
	execute("", code_vsyscall_time_to, place, place);
}

void range_vsyscall_to_hole(void)
{
	vsyscall_to(hole_page());
}

void range_vsyscall_to_kernel(void)
{
	vsyscall_to((void *)KERNEL_ADDR);
}

void range_vsyscall_timezone_to_hole(void)
{
	char *hole = hole_page();

	execute("", code_vsyscall_gettimeofday_to, hole, hole);
}

void range_vsyscall_timezone_to_kernel(void)
{
	execute("", code_vsyscall_gettimeofday_to, (void *)KERNEL_ADDR, (void *)KERNEL_ADDR);
}

void range_vsyscall_node_to_hole(void)
{
	char *hole = hole_page();

	execute("", code_vsyscall_getcpu_to, hole, hole);
}

void range_vsyscall_node_to_kernel(void)
{
	execute("", code_vsyscall_getcpu_to, (void *)KERNEL_ADDR, (void *)KERNEL_ADDR);
}

/* The emulated return pops what cannot be read. */
void range_vsyscall_stack_hole(void)
{
	char *hole = hole_page();

	execute("", code_vsyscall_at_sp, hole, hole);
}

/* From here on a filter answers these system calls of ours, by whatever door they come. */
static void filter_vsyscalls(uint32_t answer)
{
#ifdef SYS_time
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_time, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getcpu, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	if (prctl(PR_GET_SECCOMP) < 0 && errno == EINVAL)
		not_applicable("no seccomp");
	must("PR_SET_NO_NEW_PRIVS", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must("PR_SET_SECCOMP", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
#else
	(void)answer;
#endif
}

/* Places for the result of each, which nobody is to write to. */
static char *untouched(void)
{
	char *page = anon_pages(1, PROT_READ | PROT_WRITE);

	vsyscall(VSYSCALL_PAGE);
	fill(page, page_size);
	return page;
}

/* Nobody else gives this errno. */
static void call_refused(const char *label, const char *code, char *place)
{
	long ret;

	call_begin(label, place);
	ret = ((long (*)(const void *))code)(place);
	if (ret < 0) {
		errno = -ret;
		ret = -1;
	}
	call_end(ret, -1, filled(place, page_size));
}

void range_vsyscall_refused(void)
{
	char *place = untouched();

	filter_vsyscalls(SECCOMP_RET_ERRNO | EXDEV);
	call_refused("time", code_vsyscall_time_to, place);
	call_refused("zone", code_vsyscall_gettimeofday_to, place);
	call_refused("node", code_vsyscall_getcpu_to, place);
}

void range_vsyscall_trapped(void)
{
	char *place = untouched();

	filter_vsyscalls(SECCOMP_RET_TRAP);
	execute("time", code_vsyscall_time_to, place, vsyscall(VSYSCALL_TIME));
	execute("zone", code_vsyscall_gettimeofday_to, place, vsyscall(VSYSCALL_PAGE));
	execute("node", code_vsyscall_getcpu_to, place, vsyscall(VSYSCALL_GETCPU));
	step("results");
	result("ok data=%s", filled(place, page_size) ? "match" : "changed");
}

/* -- hints ------------------------------------------------------------------------------------- */

static void prefetch(const void *addr)
{
	execute("", code_prefetch, addr, addr);
}

void range_prefetch_hole(void)
{
	prefetch(hole_page());
}

void range_prefetch_none(void)
{
	prefetch(anon_pages(1, 0));
}

void range_prefetch_kernel(void)
{
	prefetch((void *)KERNEL_ADDR);
}

void range_kernel_hole_load(void)
{
#ifdef KERNEL_HOLE
	load("", (void *)KERNEL_HOLE, INT);
#else
	not_applicable("no address of the kernel's part is known to be free on this arch");
#endif
}

void range_kernel_gap_load(void)
{
#ifdef KERNEL_GAP
	load("", (void *)KERNEL_GAP, INT);
#else
	not_applicable("no address of the kernel's part is known to have no page table on this arch");
#endif
}

/* -- system calls that are given an address of the kernel's -------------------------------------- */

static const int64_t no_time[2];	/* a timespec of those calls: who is not refused must not wait */

/* One call for each of n addresses; the result is that of the first that is not EFAULT. */
static void call_each(const char *label, long (*give)(int fd, char *addr), int fd, char *(*place)(int i), int n)
{
	long ret = 0;

	call_begin(label, place(0));
	for (int i = 0; i < n; i++) {
		ret = give(fd, place(i));
		if (ret >= 0 || errno != EFAULT)
			break;
	}
	call_end(ret, -1, true);
}

static char *near_kernel(int i)
{
	return (char *)KERNEL_ADDR + i;
}

/*
 * That a value was read does not show with each value (a byte: where it is zero; a count: where it
 * is large), so all near the address are tried.
 */
static void get_near(const char *label, long (*get)(int fd, char *addr), int fd)
{
	call_each(label, get, fd, near_kernel, 256);
}

/* Where the byte is zero the path is empty, and the call is about fd. */
static long empty_path(int fd, char *path)
{
	struct stat st;

	return fstatat(fd, path, &st, AT_EMPTY_PATH);
}

/* Where the count is more than fits in a page this is ENOMEM. */
static long dedupe_count(int fd, char *argument)
{
	return ioctl(fd, FIDEDUPERANGE, argument);
}

void range_kernel_get(void)
{
	char *kernel = (char *)KERNEL_ADDR;
	int pipe = pipe_holding(64), file = tmpfile_of(64);

	get_near("byte", empty_path, pipe);
	get_near("half", dedupe_count, file);
	call("int", kernel, ioctl(pipe, FIONBIO, kernel));
	call("long", kernel, syscall(PSELECT, 0, NULL, NULL, NULL, no_time, kernel));
}

void range_kernel_put(void)
{
	char *kernel = (char *)KERNEL_DATA;
	int fd = pipe_holding(64);
	void *head;

	call("int", kernel, ioctl(fd, FIONREAD, kernel));
	call("long", kernel, syscall(SYS_get_robust_list, 0, &head, kernel));
	call("uid", kernel, syscall(SYS_getresuid, kernel, kernel + 2, kernel + 4));
}

/* read(2) and write(2) look at the address themselves, before anybody copies. */
void range_kernel_copy(void)
{
	char *kernel = (char *)KERNEL_ADDR, *data = (char *)KERNEL_DATA;
	int zero = must("open /dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));
	int sink = pipe_sink();

	transfer("write", kernel, 8, write(sink, kernel, 8));
	call("from", kernel, syscall(SYS_rt_sigprocmask, SIG_BLOCK, kernel, NULL, 8));
	transfer("read", data, 8, read(zero, data, 8));
	call("to", data, syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, data, 8));
}

void range_kernel_string(void)
{
	char *kernel = (char *)KERNEL_ADDR;

	call("", kernel, open(kernel, O_RDONLY | O_CLOEXEC));
}

/* The second word of FUTEX_WAKE_OP is stored to. */
void range_kernel_futex(void)
{
	char *kernel = (char *)KERNEL_ADDR, *data = (char *)KERNEL_DATA;

	call("private", kernel, syscall(FUTEX, kernel, FUTEX_WAIT_PRIVATE, 1, no_time, NULL, 0));
	call("shared", kernel, syscall(FUTEX, kernel, FUTEX_WAIT, 1, no_time, NULL, 0));
	call("wake-op", data, change_futex(data, FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 0)));
}

/* An int that begins in the user's part: at its last bytes, and at those of all addresses. */
void range_get_across_end(void)
{
	char *end = end_of_page();
	int fd = pipe_sink();

	call("end", end, ioctl(fd, FIONBIO, end - 2));
	call("wrap", (char *)-2, ioctl(fd, FIONBIO, (char *)-2));
}

/* The last bytes that are a program's, by each way in and out. */
void range_last_bytes(void)
{
	char *end = end_of_page();
	int fd = pipe_holding(64);
	void *head;

	memset(end - 16, 0, 16);	/* on the stack the name of the program, which nobody asks for any more */
	call("get", end - 4, ioctl(fd, FIONBIO, end - 4));
	call("get-long", end - 2 * sizeof(long), syscall(PSELECT, 0, NULL, NULL, NULL, no_time, end - 2 * sizeof(long)));
	call("from", end - 8, syscall(SYS_rt_sigprocmask, SIG_BLOCK, end - 8, NULL, 8));
	call("futex", end - 4, syscall(FUTEX, end - 4, FUTEX_WAIT_PRIVATE, 1, no_time, NULL, 0));
	call("put", end - 4, ioctl(fd, FIONREAD, end - 4));
	call("put-long", end - sizeof(long), syscall(SYS_get_robust_list, 0, &head, end - sizeof(long)));
	call("to", end - 8, syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, end - 8, 8));
	end[-2] = '.';
	end[-1] = 0;
	call("string", end - 2, open(end - 2, O_RDONLY | O_CLOEXEC));
}

/* -- and with one that is neither the user's nor the kernel's ------------------------------------ */

#define FIRST_BIT 47
#define LAST_BIT 62

static char *one_bit(int i)
{
	return (char *)wide(1ULL << (FIRST_BIT + i));
}

/*
 * All that have one bit above those of the user's part. With page tables of four levels no x86 can have
 * such an address, with five none from bit 56 on; to arm64 some of them are tags.
 */
static void call_between(const char *label, long (*give)(int fd, char *addr), int fd)
{
	for (int i = 0; i <= LAST_BIT - FIRST_BIT; i++)
		prove("nothing is there", unmapped(one_bit(i), 64));
	call_each(label, give, fd, one_bit, LAST_BIT - FIRST_BIT + 1);
}

static long get_int(int fd, char *addr)
{
	return ioctl(fd, FIONBIO, addr);
}

static long get_long(int fd, char *addr)
{
	(void)fd;
	return syscall(PSELECT, 0, NULL, NULL, NULL, no_time, addr);
}

static long put_int(int fd, char *addr)
{
	return ioctl(fd, FIONREAD, addr);
}

static long put_long(int fd, char *addr)
{
	void *head;

	(void)fd;
	return syscall(SYS_get_robust_list, 0, &head, addr);
}

static long put_uid(int fd, char *addr)
{
	(void)fd;
	return syscall(SYS_getresuid, addr, addr + 4, addr + 8);
}

static long write_8(int fd, char *addr)
{
	return write(fd, addr, 8);
}

static long copy_from(int fd, char *addr)
{
	(void)fd;
	return syscall(SYS_rt_sigprocmask, SIG_BLOCK, addr, NULL, 8);
}

static long read_8(int fd, char *addr)
{
	return read(fd, addr, 8);
}

static long copy_to(int fd, char *addr)
{
	(void)fd;
	return syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, addr, 8);
}

static long open_path(int fd, char *addr)
{
	(void)fd;
	return open(addr, O_RDONLY | O_CLOEXEC);
}

static long wait_futex(int fd, char *addr)
{
	(void)fd;
	return syscall(FUTEX, addr, FUTEX_WAIT_PRIVATE, 1, no_time, NULL, 0);
}

void range_between_get(void)
{
	int pipe = pipe_holding(64);

	call_between("byte", empty_path, pipe);
	call_between("half", dedupe_count, tmpfile_of(64));
	call_between("int", get_int, pipe);
	call_between("long", get_long, -1);
}

void range_between_put(void)
{
	call_between("int", put_int, pipe_holding(64));
	call_between("long", put_long, -1);
	call_between("uid", put_uid, -1);
}

void range_between_copy(void)
{
	call_between("write", write_8, pipe_sink());
	call_between("from", copy_from, -1);
	call_between("read", read_8, must("open /dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC)));
	call_between("to", copy_to, -1);
	call_between("string", open_path, -1);
	call_between("futex", wait_futex, -1);
}
