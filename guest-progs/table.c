// SPDX-License-Identifier: GPL-2.0-only
/* The rows of expectations/, as the build wrote them down. A row needs its function to link. */
#include "fault.h"

const struct scenario scenarios[] = {
#define SCENARIO(name, function, user, summary, harm) { name, function, user, summary, harm },
#include "scenarios.inc"
#undef SCENARIO
	{ NULL, NULL, NULL, NULL, NULL },
};
