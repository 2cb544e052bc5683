/* SPDX-License-Identifier: GPL-2.0-only */
/* The device of the kernel module: pages whose faults end as one chooses, and accesses by the kernel. */
#ifndef DEVICE_H
#define DEVICE_H

#include "fault.h"

#include "kmod/faultline.h"

/* A request of faultline.h. The first opens the device, and loads the module; n/a without it. */
long ask_module(unsigned long request, const void *arg);
/* A page, never touched, whose faults come to this result (enum faultline_result, FAULTLINE_LOCKED). */
char *device_page(unsigned int result, unsigned int index, int prot);
long access_by_module(enum faultline_function function, uint64_t addr, enum faultline_context context);
/* What the module keeps of the last access, by the function that writes it to memory; it lasts until the next. */
char *kept_by_module(enum faultline_function function);
/* What it is to keep, those from OTHER on, by the function that reads memory. */
void give_module(enum faultline_function function);

#endif
