// SPDX-License-Identifier: GPL-2.0-only
/* A disk that fails, or answers no more: a device-mapper table between it and who uses it. */
#include "fault.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define MAPPED "faults"

struct table {
	struct dm_ioctl head;
	struct dm_target_spec target;
	char params[32];
};

static size_t mapped_size;

static uint64_t mapper(unsigned long request, uint32_t flags, const char *type, const char *params)
{
	struct table t = {
		.head = {
			.version = { DM_VERSION_MAJOR }, .data_size = sizeof(t), .flags = flags,
			.data_start = offsetof(struct table, target),
			.target_count = *type ? 1 : 0, .name = MAPPED,
		},
		.target = { .length = mapped_size / 512, .next = sizeof(t.target) + sizeof(t.params) },
	};
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		not_applicable("no /dev/mapper/control");
	strcpy(t.target.target_type, type);
	snprintf(t.params, sizeof(t.params), "%s", params);
	must("device mapper", ioctl(fd, request, &t));
	close(fd);
	return t.head.dev;
}

const char *map_device(const char *device, size_t size)
{
	static char node[32];
	char place[32];
	uint64_t dev;

	mapped_size = size;
	snprintf(place, sizeof(place), "%s 0", device);
	dev = mapper(DM_DEV_CREATE, 0, "", "");
	mapper(DM_TABLE_LOAD, 0, "linear", place);
	resume_device();
	snprintf(node, sizeof(node), "/dev/dm-%u", minor(dev));
	return node;
}

void suspend_device(void)
{
	mapper(DM_DEV_SUSPEND, DM_SUSPEND_FLAG | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG, "", "");
}

void resume_device(void)
{
	mapper(DM_DEV_SUSPEND, 0, "", "");	/* without the flag */
}

void break_device(void)
{
	mapper(DM_TABLE_LOAD, 0, "error", "");
	suspend_device();
	resume_device();
}

void unmap_device(void)
{
	mapper(DM_DEV_REMOVE, 0, "", "");
}
