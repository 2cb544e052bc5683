/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Of the userfaultfd interface: what is newer than the headers that we may be built with, and what
 * its monitor hears. What comes instead, or that the child has ended before, is an outcome.
 */
#ifndef UFFD_H
#define UFFD_H

#include <linux/userfaultfd.h>
#include <stdint.h>

#define FEATURE_WP_UNPOPULATED (1ULL << 13)
#define FEATURE_POISON (1ULL << 14)
#define FEATURE_WP_ASYNC (1ULL << 15)
#define FEATURE_MOVE (1ULL << 16)
#define FEATURE_EXACT_ADDRESS (1ULL << 11)
#define USER_MODE_ONLY 1

struct poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define IOCTL_POISON _IOWR(UFFDIO, 0x08, struct poison)

struct move {
	uint64_t dst, src, len, mode;
	int64_t move;
};
#define IOCTL_MOVE _IOWR(UFFDIO, 0x05, struct move)

struct stuck;

/* What a child does that gets stuck: an int of the pattern, and a store that looks at the rest of the page. */
void load_it(char *page);
void store_it(char *page);

/* Until a message can be read. */
void await_event(struct stuck *stuck, int uffd);
/* A message that was not to come ends the scenario: it is the last outcome. */
__attribute__((noreturn)) void another_event(const struct uffd_msg *msg);
/* The next message, of the kind that `event` is; of another userfaultfd where the child has more. */
struct uffd_msg read_event(struct stuck *stuck, int uffd, int event);

#endif
