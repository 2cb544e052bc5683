// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A TCG plugin for QEMU: which steps a guest takes within some ranges of addresses.
 *
 *   -plugin steps.so,ranges=FILE,out=PREFIX
 *
 * FILE has a range a line, "first last", hexadecimal, sorted, none overlapping. A step leads from one
 * instruction in them to the next one in them that the same CPU executes, whatever it does in between.
 * Each step is written once to PREFIX.PID, "from to", as soon as it is taken, since nobody tells a
 * machine in time that it is about to be killed. An instruction that faults was stepped to.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The part of QEMU's qemu-plugin.h that is used: Debian packages no such header before QEMU 8. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*tb_cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*exec_cb)(unsigned int cpu, void *data);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_cb cb);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t nr);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_cb cb,
						   int flags, void *data);

#ifndef PLUGIN_API
#define PLUGIN_API 1	/* of QEMU 4.2 to 8.1 */
#endif
#define PUBLIC __attribute__((visibility("default")))
#define MAX_CPUS 64
#define SLOTS (1u << 20)	/* of steps: the handlers of an arch have some ten thousand */

PUBLIC int qemu_plugin_version = PLUGIN_API;

struct range { uint64_t first, last; };
struct step { uint64_t from, to; };

static struct range *ranges;
static size_t range_count;
static struct step seen[SLOTS];		/* a hash table; `to` is never 0 */
static size_t seen_count;
static uint64_t last[MAX_CPUS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;

static bool in_ranges(uint64_t address)
{
	size_t low = 0, high = range_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (address > ranges[middle].last)
			low = middle + 1;
		else
			high = middle;
	}
	return low < range_count && address >= ranges[low].first;
}

static void note(uint64_t from, uint64_t to)
{
	size_t slot = ((from * 0x9e3779b97f4a7c15u) ^ (to * 0xc2b2ae3d27d4eb4fu)) >> 44;
	char line[48];
	int length;

	for (; seen[slot].to; slot = (slot + 1) % SLOTS)
		if (seen[slot].from == from && seen[slot].to == to)
			return;
	if (++seen_count == SLOTS / 2) {
		fprintf(stderr, "steps: more steps than there is room for\n");
		abort();
	}
	seen[slot] = (struct step){ from, to };
	length = snprintf(line, sizeof(line), "%" PRIx64 " %" PRIx64 "\n", from, to);
	if (write(out, line, length) != length) {
		perror("steps: cannot write a step");
		abort();
	}
}

static void executed(unsigned int cpu, void *data)
{
	uint64_t address = (uintptr_t)data;

	pthread_mutex_lock(&lock);
	note(last[cpu % MAX_CPUS], address);
	last[cpu % MAX_CPUS] = address;
	pthread_mutex_unlock(&lock);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	for (size_t n = 0; n < qemu_plugin_tb_n_insns(tb); n++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		if (in_ranges(address))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, 0, (void *)(uintptr_t)address);
	}
}

static bool read_ranges(const char *path)
{
	FILE *file = fopen(path, "r");
	struct range one;

	if (!file)
		return false;
	while (fscanf(file, "%" SCNx64 " %" SCNx64, &one.first, &one.last) == 2) {
		ranges = realloc(ranges, (range_count + 1) * sizeof(*ranges));
		if (!ranges)
			return false;
		ranges[range_count++] = one;
	}
	fclose(file);
	return range_count > 0;
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	char path[4096] = "";

	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "ranges=", 7) && !read_ranges(argv[i] + 7)) {
			fprintf(stderr, "steps: %s: no range in it: %s\n", argv[i] + 7, strerror(errno));
			return -1;
		}
		if (!strncmp(argv[i], "out=", 4))
			snprintf(path, sizeof(path), "%s.%d", argv[i] + 4, (int)getpid());
	}
	out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (out < 0 || !range_count) {
		fprintf(stderr, "steps: needs ranges=FILE,out=PREFIX\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
