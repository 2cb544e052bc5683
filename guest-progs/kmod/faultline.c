// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device whose pages fault as one chooses: the truth table of an arch's fault handler. What
 * a mapping's faults come to is in its offset, see faultline.h. And accesses of the kernel as one chooses.
 */
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#include "faultline.h"

/* From 6.6 on a driver may be asked under the lock of the VMA alone, and can give that back. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define UNDER_VMA_LOCK(vmf)	((vmf)->flags & FAULT_FLAG_VMA_LOCK)
#else
#define UNDER_VMA_LOCK(vmf)	0
#define release_fault_lock(vmf)	mmap_read_unlock((vmf)->vma->vm_mm)
#endif

struct faultline {
	struct page *page;
	atomic_t waiting;
	atomic_t under_lock;
	atomic_t shortages;
	/* What the last access read; what the next one writes. */
	char bytes[FAULTLINE_BYTES];
	u32 word;
};

static const u32 constant = 1;
static void *room;	/* a page; the kernel leaves another one free behind it */

static vm_fault_t give_page(struct vm_fault *vmf, struct faultline *state)
{
	get_page(state->page);
	vmf->page = state->page;
	return 0;
}

static vm_fault_t insert_page(struct vm_fault *vmf, struct faultline *state)
{
	int err = vm_insert_page(vmf->vma, vmf->address & PAGE_MASK, state->page);

	return err && err != -EBUSY ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
}

/* VM_FAULT_RETRY says that the lock has been dropped. */
static vm_fault_t drop_lock(struct vm_fault *vmf)
{
	release_fault_lock(vmf);
	return VM_FAULT_RETRY;
}

static bool may_retry(const struct vm_fault *vmf)
{
	return (vmf->flags & FAULT_FLAG_ALLOW_RETRY) && !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT);
}

static vm_fault_t retry_once(struct vm_fault *vmf, struct faultline *state)
{
	if (!may_retry(vmf) || (vmf->flags & FAULT_FLAG_TRIED))
		return give_page(vmf, state);
	return drop_lock(vmf);
}

/* As a fault that waits for a page lock, and is killed. */
static vm_fault_t wait_for_kill(struct vm_fault *vmf, struct faultline *state)
{
	vm_fault_t result;

	if (!may_retry(vmf))
		return VM_FAULT_SIGBUS;
	result = drop_lock(vmf);
	atomic_inc(&state->waiting);
	while (!fatal_signal_pending(current))
		schedule_timeout_killable(MAX_SCHEDULE_TIMEOUT);
	atomic_dec(&state->waiting);
	return result;
}

static vm_fault_t shortage(struct vm_fault *vmf, struct faultline *state, unsigned int times)
{
	if (atomic_inc_return(&state->shortages) % (times + 1))
		return VM_FAULT_OOM;
	return give_page(vmf, state);
}

static vm_fault_t faultline_fault(struct vm_fault *vmf)
{
	struct faultline *state = vmf->vma->vm_private_data;
	unsigned int index = FAULTLINE_INDEX_OF(vmf->pgoff);

	if (UNDER_VMA_LOCK(vmf))
		atomic_inc(&state->under_lock);
	/* Who faults without end is to be seen, and killed, also where the kernel never preempts. */
	cond_resched();
	switch (FAULTLINE_RESULT(vmf->pgoff)) {
	case FAULTLINE_PAGE:
		return give_page(vmf, state);
	case FAULTLINE_MAJOR:
		return give_page(vmf, state) | VM_FAULT_MAJOR;
	case FAULTLINE_INDEX:
		return give_page(vmf, state) | VM_FAULT_SET_HINDEX(index);
	case FAULTLINE_INSERT:
		return insert_page(vmf, state);
	case FAULTLINE_NOTHING:
		return VM_FAULT_NOPAGE;
	case FAULTLINE_RETRY:
		return retry_once(vmf, state);
	case FAULTLINE_WAIT:
		return wait_for_kill(vmf, state);
	case FAULTLINE_SIGSEGV:
		return VM_FAULT_SIGSEGV;
	case FAULTLINE_SIGBUS:
		return VM_FAULT_SIGBUS;
	case FAULTLINE_OOM:
		return VM_FAULT_OOM;
	case FAULTLINE_HWPOISON:
		return VM_FAULT_HWPOISON;
	case FAULTLINE_HWPOISON_LARGE:
		return VM_FAULT_HWPOISON_LARGE | VM_FAULT_SET_HINDEX(index);
	case FAULTLINE_SHORTAGE:
		return shortage(vmf, state, index);
	}
	return VM_FAULT_SIGBUS;
}

/* Without ->map_pages no fault comes here under the lock of the VMA alone. */
static const struct vm_operations_struct faultline_vm_ops = {
	.fault = faultline_fault,
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
static vm_fault_t map_nothing(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return 0;
}

static const struct vm_operations_struct faultline_locked_vm_ops = {
	.fault = faultline_fault,
	.map_pages = map_nothing,
};
#else
#define faultline_locked_vm_ops faultline_vm_ops
#endif

static int faultline_mmap(struct file *file, struct vm_area_struct *vma)
{
	/* Private pages would be copies: their write faults do not end as chosen. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, VM_MIXEDMAP);		/* for vm_insert_page() */
#else
	vma->vm_flags |= VM_MIXEDMAP;
#endif
	vma->vm_private_data = file->private_data;
	vma->vm_ops = vma->vm_pgoff & FAULTLINE_LOCKED ? &faultline_locked_vm_ops : &faultline_vm_ops;
	return 0;
}

/* What is left of FAULTLINE_BYTES, as a system call tells it. */
static long done(unsigned long left)
{
	return left == FAULTLINE_BYTES ? -EFAULT : FAULTLINE_BYTES - left;
}

static long access_memory(struct faultline *state, unsigned int function, void __user *addr)
{
	switch (function) {
	case FAULTLINE_COPY_TO_USER:
		return done(copy_to_user(addr, state->bytes, FAULTLINE_BYTES));
	case FAULTLINE_COPY_FROM_USER:
		return done(copy_from_user(state->bytes, addr, FAULTLINE_BYTES));
	case FAULTLINE_CLEAR_USER:
		return done(clear_user(addr, FAULTLINE_BYTES));
	case FAULTLINE_GET_USER:
		return get_user(state->word, (u32 __user *)addr);
	case FAULTLINE_PUT_USER:
		return put_user(state->word, (u32 __user *)addr);
	case FAULTLINE_STRNCPY_FROM_USER:
		return strncpy_from_user(state->bytes, addr, FAULTLINE_BYTES);
	case FAULTLINE_LOAD:
		state->word = READ_ONCE(*(u32 __force *)addr);
		return 0;
	case FAULTLINE_STORE:
		WRITE_ONCE(*(u32 __force *)addr, state->word);
		return 0;
	case FAULTLINE_CALL:
		((void (__force *)(void))addr)();
		return 0;
	}
	return -EINVAL;
}

static long access_as_asked(struct faultline *state, const struct faultline_access *access)
{
	void __user *addr = (void __user *)(unsigned long)access->addr;
	long ret;

	switch (access->context) {
	case FAULTLINE_FAULTS_DISABLED:
		pagefault_disable();
		ret = access_memory(state, access->function, addr);
		pagefault_enable();
		return ret;
	case FAULTLINE_MMAP_LOCKED:
		mmap_write_lock(current->mm);
		ret = access_memory(state, access->function, addr);
		mmap_write_unlock(current->mm);
		return ret;
	}
	return access_memory(state, access->function, addr);
}

static u64 address_of(const struct faultline *state, u64 place)
{
	switch (place) {
	case FAULTLINE_GAP:
		return (unsigned long)room + PAGE_SIZE;
	case FAULTLINE_CONSTANT:
		return (unsigned long)&constant;
	case FAULTLINE_ALIAS:
		return (unsigned long)page_address(state->page);
	}
	return 0;
}

static long tell_where(const struct faultline *state, u64 __user *arg)
{
	u64 place;

	if (copy_from_user(&place, arg, sizeof(place)))
		return -EFAULT;
	place = address_of(state, place);
	return copy_to_user(arg, &place, sizeof(place)) ? -EFAULT : 0;
}

static long faultline_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct faultline *state = file->private_data;
	struct faultline_access access;

	if (cmd == FAULTLINE_WAITING)
		return atomic_read(&state->waiting);
	if (cmd == FAULTLINE_UNDER_LOCK)
		return atomic_read(&state->under_lock);
	if (cmd == FAULTLINE_SHORTAGES)
		return atomic_read(&state->shortages);
	if (cmd == FAULTLINE_WHERE)
		return tell_where(state, (u64 __user *)arg);
	if (cmd != FAULTLINE_ACCESS)
		return -ENOTTY;
	if (copy_from_user(&access, (void __user *)arg, sizeof(access)))
		return -EFAULT;
	return access_as_asked(state, &access);
}

static int faultline_open(struct inode *inode, struct file *file)
{
	struct faultline *state = kzalloc(sizeof(*state), GFP_KERNEL);

	if (!state)
		return -ENOMEM;
	state->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!state->page) {
		kfree(state);
		return -ENOMEM;
	}
	file->private_data = state;
	return 0;
}

/* Each mapping holds the file, so there is none left. */
static int faultline_release(struct inode *inode, struct file *file)
{
	struct faultline *state = file->private_data;

	put_page(state->page);
	kfree(state);
	return 0;
}

static const struct file_operations faultline_fops = {
	.owner = THIS_MODULE,
	.open = faultline_open,
	.release = faultline_release,
	.mmap = faultline_mmap,
	.unlocked_ioctl = faultline_ioctl,
	.compat_ioctl = compat_ptr_ioctl,	/* i386 programs: the structure is the same */
};

static struct miscdevice faultline_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "faultline",
	.fops = &faultline_fops,
};

static int __init faultline_init(void)
{
	int err;

	room = vmalloc(PAGE_SIZE);
	if (!room)
		return -ENOMEM;
	err = misc_register(&faultline_device);
	if (err)
		vfree(room);
	return err;
}
module_init(faultline_init);

static void __exit faultline_exit(void)
{
	misc_deregister(&faultline_device);
	vfree(room);
}
module_exit(faultline_exit);

MODULE_DESCRIPTION("Page faults that end as one chooses");
MODULE_LICENSE("GPL");
/*
 * It is no part of the kernel's tree, and says it were: a taint that appears while a scenario
 * runs is a finding, and loading this is to be none.
 */
MODULE_INFO(intree, "Y");
