// SPDX-License-Identifier: GPL-2.0-only
/* Scratch disks, found by their serial numbers, and other file systems; mounted for this scenario only. */
#include "runtime.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* The serial number of a block device; false where it has none. */
static bool serial_of(const char *device, char *serial, size_t size)
{
	char path[300];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/serial", device);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, serial, size - 1);
	close(fd);
	serial[n < 0 ? 0 : n] = '\0';
	serial[strcspn(serial, "\n")] = '\0';
	return n >= 0;
}

const char *disk_device(const char *name)
{
	static char node[300];
	char serial[64];
	struct dirent *entry;
	DIR *blocks = opendir("/sys/block");

	while (blocks && (entry = readdir(blocks))) {
		if (!serial_of(entry->d_name, serial, sizeof(serial)) || strcmp(serial, name))
			continue;
		snprintf(node, sizeof(node), "/dev/%s", entry->d_name);
		closedir(blocks);
		return node;
	}
	not_applicable("no disk with serial number %s", name);
}

const char *mount_disk(const char *name)
{
	static char folder[64];
	const char *device = disk_device(name);

	snprintf(folder, sizeof(folder), "/tmp/disk-%s", name);
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		setup_failed("mkdir");
	/* Nobody else sees the mount, and it goes when the last process of the scenario does. */
	must("unshare", unshare(CLONE_NEWNS));
	if (mount(device, folder, name, 0, NULL) == 0)
		return folder;
	if (errno == ENODEV)
		not_applicable("this kernel has no file system %s", name);
	if (errno == EINVAL && page_size > 4096)
		not_applicable("mount says EINVAL of %s, whose blocks are smaller than a page", name);
	setup_failed("mount");
}

/* Who is alone in its mount namespace sees it, and it goes when the last process of the scenario does. */
int file_on(const char *type, const char *options)
{
	static const char folder[] = "/tmp/mounted";

	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		setup_failed("mkdir");
	must("unshare", unshare(CLONE_NEWNS));
	must("mount", mount(type, folder, type, 0, options));
	must("chdir", chdir(folder));
	return must("open", open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}
