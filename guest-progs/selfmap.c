// SPDX-License-Identifier: GPL-2.0-only
/*
 * read(2) and write(2) of a file whose buffer is a mapping of a file: the same one, the same
 * page even, or another one that does the same the other way round at the same time. The copy
 * faults while the file system holds its locks; the fault wants them too. The classic deadlock.
 */
#include "fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#define RW (PROT_READ | PROT_WRITE)
#define HALF_PAGE (page_size / 2)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* A page of pattern, half the file; nothing of it is in our page table. */
static int file_of_a_page(void)
{
	int fd = tmpfile_of(2048);

	prove("two quarters fit", HALF_PAGE >= 2048);
	must("ftruncate", ftruncate(fd, page_size));
	return fd;
}

static char *absent_map(int fd, int flags)
{
	char *map = map_file(fd, 1, RW, flags);

	prove("page absent", !present(map));
	return map;
}

/* The first 64 bytes of the page are written over its bytes from 1024 on. */
static void write_own(int fd, char *map)
{
	char bytes[64];
	long done;

	call_begin("", map);
	done = pwrite(fd, map, 64, 1024);
	must("pread", pread(fd, bytes, 64, 1024));
	call_end(done, 64, filled(bytes, 64));
}

void selfmap_write_own_page(void)
{
	int fd = file_of_a_page();

	write_own(fd, absent_map(fd, MAP_SHARED));
}

static void write_own_dirty(int fd)
{
	char *map = absent_map(fd, MAP_SHARED);

	fill(map, 64);
	prove("page present", present(map));
	write_own(fd, map);
}

void selfmap_write_own_dirty_page(void)
{
	write_own_dirty(file_of_a_page());
}

void selfmap_write_own_private_page(void)
{
	int fd = file_of_a_page();

	write_own(fd, absent_map(fd, MAP_PRIVATE));
}

/* The page is not there at all: source and destination are the page that the write makes. */
static void write_own_hole(int fd)
{
	char *map, bytes[64];
	long done;

	must("make a hole", ftruncate(fd, 0) ?: ftruncate(fd, page_size));
	map = absent_map(fd, MAP_SHARED);
	memset(bytes, 0x5a, sizeof(bytes));
	call_begin("", map);
	done = pwrite(fd, map, 64, 1024);
	must("pread", pread(fd, bytes, 64, 1024));
	call_end(done, 64, !memcmp(bytes, (char[64]){ 0 }, 64));
}

void selfmap_write_own_hole(void)
{
	write_own_hole(tmpfile_of(0));
}

/* The file grows by what it reads from its own last page. */
void selfmap_write_own_append(void)
{
	int fd = file_of_a_page();
	char *map = absent_map(fd, MAP_SHARED), bytes[64];
	long done;

	call_begin("", map);
	done = pwrite(fd, map, 64, page_size);
	must("pread", pread(fd, bytes, 64, page_size));
	call_end(done, 64, filled(bytes, 64));
}

/*
 * Source and destination are the same bytes: the count is what is asked for, and that they are
 * not lost on the way; that they have been copied cannot be seen.
 */
static void read_own(int fd, char *map)
{
	long done;

	call_begin("", map);
	done = pread(fd, map, 64, 0);
	call_end(done, 64, filled(map, 64));
}

void selfmap_read_own_page(void)
{
	int fd = file_of_a_page();

	read_own(fd, absent_map(fd, MAP_SHARED));
}

/* Read over the page that is being read, half a page further: bytes move within it. */
void selfmap_read_own_shift(void)
{
	int fd = file_of_a_page();
	char *map = absent_map(fd, MAP_SHARED);
	long done;

	call_begin("", map + HALF_PAGE);
	done = pread(fd, map + HALF_PAGE, 64, 0);
	call_end(done, 64, filled(map + HALF_PAGE, 64));
}

/* -- each other's files ------------------------------------------------------------------------- */

#define ROUNDS 200
#define DIRECT_ROUNDS 50	/* each is a transfer of the disk, and a transaction */
#define MEETINGS 10
#define PATIENCE 20		/* times as many rounds, until both have met often enough */

struct half {
	int fd;			/* the file that is read or written */
	int other;		/* the one that the buffer maps */
	char *buffer;
	size_t size;
	bool writes;
	off_t at;
	int rounds;		/* at least so many */
	struct half *partner;
	volatile unsigned long turns;	/* odd: inside of a call */
	volatile bool enough;
	int done;
	int meetings;		/* calls of ours while the partner was inside of one */
	long missing;		/* bytes of all rounds */
	int error;		/* the first; whether all ends is to be seen all the same */
};

/*
 * Before each round the page of the buffer is taken away, so that each copy has to fault. If the
 * partner was inside of a call when ours began, or entered or left one meanwhile, both were
 * inside at once.
 */
static void one_round(struct half *half)
{
	ssize_t n = fallocate(half->other, PUNCH, 0, page_size);
	unsigned long before = half->partner->turns;

	half->turns++;
	if (n == 0)
		n = half->writes ? pwrite(half->fd, half->buffer, half->size, half->at)
				 : pread(half->fd, half->buffer, half->size, 0);
	half->turns++;
	half->meetings += before % 2 || half->partner->turns != before;
	half->done++;
	if (n < 0)
		half->error = half->error ?: errno;
	else
		half->missing += half->size - n;
}

static void *rounds(void *arg)
{
	struct half *half = arg;

	while (half->done < half->rounds || !half->enough)
		one_round(half);
	return NULL;
}

/* Where there is one CPU, who looks has it: that the other is inside of a call cannot be seen. */
static void both(struct half first, struct half second)
{
	long want = first.rounds * first.size + second.rounds * second.size, missing;
	int cpus = use_all_cpus(), patience = cpus > 1 ? PATIENCE : 1;
	pthread_t thread;

	first.partner = &second;
	second.partner = &first;
	thread = start_thread(rounds, &second);
	call_begin("", first.buffer);
	while (first.done < first.rounds ||
	       (first.meetings < MEETINGS && first.done < patience * first.rounds)) {
		one_round(&first);
		detail("rounds", "%d", first.done);	/* a disk takes its time: the sign of life */
	}
	second.enough = true;
	pthread_join(thread, NULL);
	detail("meetings", "%d on %d CPU", first.meetings, cpus);
	missing = first.missing + second.missing;
	errno = first.error ?: second.error;
	if (!errno && cpus > 1)
		prove("both inside of a call at once", first.meetings >= MEETINGS);
	call_end(errno ? -1 : want > missing ? want - missing : 0, want, true);
}

/* What is written goes behind the page of the partner's buffer, or it would bring that page back. */
static void cross(int a, int b, bool first_writes, bool second_writes)
{
	both((struct half){ .fd = a, .other = b, .buffer = absent_map(b, MAP_SHARED), .at = page_size,
			    .size = 64, .rounds = ROUNDS, .writes = first_writes },
	     (struct half){ .fd = b, .other = a, .buffer = absent_map(a, MAP_SHARED), .at = page_size,
			    .size = 64, .rounds = ROUNDS, .writes = second_writes });
}

void selfmap_cross_write(void)
{
	cross(file_of_a_page(), file_of_a_page(), true, true);
}

void selfmap_cross_read(void)
{
	cross(file_of_a_page(), file_of_a_page(), false, false);
}

void selfmap_cross_read_write(void)
{
	cross(file_of_a_page(), file_of_a_page(), false, true);
}

/* -- past the page cache -------------------------------------------------------------------- */

static int open_direct(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
}

/* Where a file system has no direct transfers, the open says so, or they go by the cache. */
void selfmap_direct_own_page(void)
{
	int fd = file_of_a_page(), direct;
	char *map = absent_map(fd, MAP_SHARED);

	call_begin("open", NULL);
	direct = open_direct(fd);
	if (call_end(direct, -1, true) >= 0) {
		transfer("read", map, 512, pread(direct, map, 512, 0));
		transfer("write", map, 512, pwrite(direct, map, 512, 0));
	}
}

/* -- on a disk ------------------------------------------------------------------------------- */

/* A page of pattern that is on the disk, not only in memory. */
static int file_in(const char *folder)
{
	char *page = anon_pages(1, RW), path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/selfmap", folder);
	fd = must("open", open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
	must("unlink", unlink(path));
	fill(page, page_size);
	prove("file written", write(fd, page, page_size) == (ssize_t)page_size);
	must("fsync", fsync(fd));
	return fd;
}

/* A page that is in the page cache is mapped without asking the file system: it is not there. */
static void write_own_on(const char *disk)
{
	int fd = file_in(mount_disk(disk));
	char *map = absent_map(fd, MAP_SHARED);
	unsigned char cached;

	errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	must("fadvise", errno ? -1 : 0);
	must("mincore", mincore(map, page_size, &cached));
	prove("page not in the cache", !(cached & 1));
	write_own(fd, map);
}

void selfmap_ext4_write_own(void)
{
	write_own_on("ext4");
}

void selfmap_ext4_write_own_dirty_page(void)
{
	write_own_dirty(file_in(mount_disk("ext4")));
}

void selfmap_ext4_write_own_hole(void)
{
	write_own_hole(file_in(mount_disk("ext4")));
}

void selfmap_btrfs_write_own(void)
{
	write_own_on("btrfs");
}

void selfmap_gfs2_write_own(void)
{
	write_own_on("gfs2");
}

static void read_own_on(const char *disk)
{
	int fd = file_in(mount_disk(disk));

	read_own(fd, absent_map(fd, MAP_SHARED));
}

void selfmap_ext4_read_own(void)
{
	read_own_on("ext4");
}

void selfmap_btrfs_read_own(void)
{
	read_own_on("btrfs");
}

void selfmap_gfs2_read_own(void)
{
	read_own_on("gfs2");
}

static void cross_on(const char *disk, bool writes)
{
	const char *folder = mount_disk(disk);
	int a = file_in(folder), b = file_in(folder);

	cross(a, b, writes, writes);
}

void selfmap_ext4_cross_write(void)
{
	cross_on("ext4", true);
}

void selfmap_btrfs_cross_write(void)
{
	cross_on("btrfs", true);
}

void selfmap_gfs2_cross_write(void)
{
	cross_on("gfs2", true);
}

void selfmap_ext4_cross_read(void)
{
	cross_on("ext4", false);
}

void selfmap_btrfs_cross_read(void)
{
	cross_on("btrfs", false);
}

void selfmap_gfs2_cross_read(void)
{
	cross_on("gfs2", false);
}

#define BLOCK 4096	/* of the disk, whatever a page is */

/* As with read_own(): counts, and that nothing is lost. */
static void direct_own_on(const char *disk)
{
	int fd = file_in(mount_disk(disk)), direct = must("open O_DIRECT", open_direct(fd));
	char *map = absent_map(fd, MAP_SHARED);
	long done;

	call_begin("read", map);
	done = pread(direct, map, BLOCK, 0);
	call_end(done, BLOCK, filled(map, BLOCK));
	call_begin("write", map);
	done = pwrite(direct, map, BLOCK, 0);
	call_end(done, BLOCK, filled(map, BLOCK));
}

void selfmap_ext4_direct_own(void)
{
	direct_own_on("ext4");
}

void selfmap_btrfs_direct_own(void)
{
	direct_own_on("btrfs");
}

static void cross_direct_on(const char *disk, bool writes)
{
	const char *folder = mount_disk(disk);
	int a = file_in(folder), b = file_in(folder);
	struct half first = {
		.fd = must("open O_DIRECT", open_direct(a)), .other = b,
		.buffer = absent_map(b, MAP_SHARED),
		.size = BLOCK, .rounds = DIRECT_ROUNDS, .writes = writes,
	};
	struct half second = {
		.fd = must("open O_DIRECT", open_direct(b)), .other = a,
		.buffer = absent_map(a, MAP_SHARED),
		.size = BLOCK, .rounds = DIRECT_ROUNDS, .writes = writes,
	};

	both(first, second);
}

void selfmap_ext4_cross_direct_read(void)
{
	cross_direct_on("ext4", false);
}

void selfmap_ext4_cross_direct_write(void)
{
	cross_direct_on("ext4", true);
}

void selfmap_btrfs_cross_direct_read(void)
{
	cross_direct_on("btrfs", false);
}

void selfmap_btrfs_cross_direct_write(void)
{
	cross_direct_on("btrfs", true);
}

struct syncing {
	int fd;
	volatile bool stop;
	volatile int done;
	volatile int error;
};

static void *sync_often(void *arg)
{
	struct syncing *syncing = arg;

	while (!syncing->stop && !syncing->error)
		if (fsync(syncing->fd) < 0)
			syncing->error = errno;
		else
			syncing->done++;
	return NULL;
}

/* While the transfer is under way the page is written back, and becomes dirty by its end. */
static void direct_synced_on(const char *disk)
{
	const char *folder = mount_disk(disk);
	int a = file_in(folder), b = file_in(folder), direct = must("open O_DIRECT", open_direct(a));
	char *map = absent_map(b, MAP_SHARED);
	struct syncing syncing = { .fd = b };
	pthread_t thread;

	use_all_cpus();
	thread = start_thread(sync_often, &syncing);
	call_begin("", map);
	for (int i = 0; i < 300 && !syncing.error; i++) {
		prove("the file is read", pread(direct, map, BLOCK, 0) == BLOCK);
		detail("reads", "%d", i + 1);	/* the sign of life */
	}
	syncing.stop = true;
	pthread_join(thread, NULL);
	detail("syncs", "%d", syncing.done);
	errno = syncing.error;
	call_end(errno ? -1 : 0, -1, true);
}

void selfmap_ext4_direct_synced(void)
{
	direct_synced_on("ext4");
}

void selfmap_btrfs_direct_synced(void)
{
	direct_synced_on("btrfs");
}
