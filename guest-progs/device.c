// SPDX-License-Identifier: GPL-2.0-only
#include "device.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int device = -1;

static void load_module(void)
{
	int file = open(FAULTLINE_MODULE, O_RDONLY | O_CLOEXEC);

	if (file < 0 && errno == ENOENT)
		not_applicable("there is no %s here", FAULTLINE_MODULE);
	must("open module", file);
	if (syscall(SYS_finit_module, file, "", 0) != 0) {
		if (errno == ENOSYS)
			not_applicable("finit_module=ENOSYS");
		setup_failed("finit_module");
	}
	close(file);
}

/* The first scenario that asks for the device loads the module, so that no other pays for it. */
static int opened(void)
{
	if (device >= 0)
		return device;
	device = open(FAULTLINE_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0 && errno == ENOENT) {
		load_module();
		device = open(FAULTLINE_DEVICE, O_RDWR | O_CLOEXEC);
	}
	return must("open device", device);
}

long ask_module(unsigned long request, const void *arg)
{
	return ioctl(opened(), request, arg);
}

char *device_page(unsigned int result, unsigned int index, int prot)
{
	off_t offset = (off_t)FAULTLINE_OFFSET(result, index) * page_size;

	return must("mmap device", mmap(NULL, page_size, prot, MAP_SHARED, opened(), offset));
}

long access_by_module(enum faultline_function function, uint64_t addr, enum faultline_context context)
{
	struct faultline_access access = { .addr = addr, .function = function, .context = context };

	return ask_module(FAULTLINE_ACCESS, &access);
}

char *kept_by_module(enum faultline_function function)
{
	static char bytes[FAULTLINE_BYTES];

	memset(bytes, 0xff, sizeof(bytes));
	must("ask the module", access_by_module(function, (uintptr_t)bytes, FAULTLINE_ORDINARY));
	return bytes;
}

void give_module(enum faultline_function function)
{
	char bytes[FAULTLINE_BYTES];

	fill_from(bytes, sizeof(bytes), OTHER);
	must("give the module", access_by_module(function, (uintptr_t)bytes, FAULTLINE_ORDINARY));
}
