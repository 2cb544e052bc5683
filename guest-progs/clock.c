// SPDX-License-Identifier: GPL-2.0-only
#include "runtime.h"

#include <poll.h>
#include <time.h>

uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* By poll, because nanosleep is ENOSYS on 32 bits without COMPAT_32BIT_TIME. */
void sleep_ms(unsigned int ms)
{
	poll(NULL, 0, ms);
}
