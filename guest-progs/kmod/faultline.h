/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module faultline.ko and the scenarios of the families `injected` and `kernel` say to each other.
 *
 * A page of /dev/faultline that is mapped from FAULTLINE_OFFSET(result, index) ends each of
 * its faults with that result: the device's fault handler returns it to handle_mm_fault(), and
 * so to the fault handler of the arch.
 */
#ifndef FAULTLINE_H
#define FAULTLINE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define FAULTLINE_DEVICE	"/dev/faultline"
#define FAULTLINE_MODULE	"/faultline.ko"

enum faultline_result {
	FAULTLINE_PAGE,			/* a page, which all such mappings of one open file share */
	FAULTLINE_MAJOR,		/* a page, and VM_FAULT_MAJOR */
	FAULTLINE_INDEX,		/* a page, and the index alone, as if it were an error's */
	FAULTLINE_INSERT,		/* a page already inserted, and VM_FAULT_NOPAGE */
	FAULTLINE_NOTHING,		/* VM_FAULT_NOPAGE, and nothing done */
	FAULTLINE_RETRY,		/* VM_FAULT_RETRY, and a page when it is tried again */
	FAULTLINE_WAIT,			/* sleep until SIGKILL comes; VM_FAULT_RETRY */
	FAULTLINE_SIGSEGV,		/* VM_FAULT_SIGSEGV, and so on */
	FAULTLINE_SIGBUS,
	FAULTLINE_OOM,
	FAULTLINE_HWPOISON,
	FAULTLINE_HWPOISON_LARGE,	/* the index is that of a huge page size */
	FAULTLINE_SHORTAGE,		/* VM_FAULT_OOM as often as the index says, then a page; and anew */
};

/* Beside a result: its faults may come under the lock of the VMA alone, where the kernel has one. */
#define FAULTLINE_LOCKED	0x80

/* The page offset of the mapping; times the size of a page, the offset for mmap(2). */
#define FAULTLINE_OFFSET(result, index)	((result) | (index) << 8)
#define FAULTLINE_RESULT(offset)	((offset) & 0x7f)
#define FAULTLINE_INDEX_OF(offset)	((offset) >> 8)

/*
 * An access to user memory by the function of that name. What copies and strings read from there the
 * open file keeps, and copies write; likewise the word of get and put. The last three are none of the kernel's ways to
 * user memory: whatever is at the address, no entry of the exception table covers them.
 */
enum faultline_function {
	FAULTLINE_COPY_TO_USER,
	FAULTLINE_COPY_FROM_USER,
	FAULTLINE_CLEAR_USER,
	FAULTLINE_GET_USER,
	FAULTLINE_PUT_USER,
	FAULTLINE_STRNCPY_FROM_USER,
	FAULTLINE_LOAD,			/* of the word */
	FAULTLINE_STORE,
	FAULTLINE_CALL,			/* a function without arguments */
};

enum faultline_context {
	FAULTLINE_ORDINARY,
	FAULTLINE_FAULTS_DISABLED,
	FAULTLINE_MMAP_LOCKED,		/* by who makes the access, for writing */
};

struct faultline_access {
	__u64 addr;
	__u32 function;			/* enum faultline_function */
	__u32 context;			/* enum faultline_context */
};

#define FAULTLINE_BYTES	64		/* that copy, clear and strncpy are asked for */

/* Gives the bytes copied or cleared, the length of the string, 0 for a word and for a call; or EFAULT. */
#define FAULTLINE_ACCESS	_IOW('F', 1, struct faultline_access)
/* How many tasks sleep in FAULTLINE_WAIT. */
#define FAULTLINE_WAITING	_IO('F', 2)
/* How many faults of this open file came under the lock of the VMA alone. */
#define FAULTLINE_UNDER_LOCK	_IO('F', 3)
/* How many came to FAULTLINE_SHORTAGE. */
#define FAULTLINE_SHORTAGES	_IO('F', 4)

enum faultline_place {
	FAULTLINE_GAP,			/* behind memory of vmalloc(): the kernel never maps anything there */
	FAULTLINE_CONSTANT,		/* a word of the module that is read-only data */
	FAULTLINE_ALIAS,		/* the page that mappings of one open file share, as the kernel has it */
};

/* The place goes in, its address in the kernel's part comes out. */
#define FAULTLINE_WHERE		_IOWR('F', 5, __u64)

#endif
