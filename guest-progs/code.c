// SPDX-License-Identifier: GPL-2.0-only
/*
 * The functions in assembler that the arch's header holds as ARCH_CODE: instructions no compiler
 * makes of C, or only sometimes. One that an arch does not have is not defined: code_NAME is NULL.
 */
#include "fault.h"

#define CODE(name, text) ".balign 16\n.globl code_" #name "\ncode_" #name ": " text "\n"

asm(".text\n" ARCH_CODE);

void need_code(const char *code)
{
	if (!code)
		not_applicable("no such instruction on this arch");
}

/* By pointer, whatever is called: to compiler and linker these are no functions. A call by name would
 * stay in the caller's instruction set (arm), or is none that gcc can make (s390x). */
long call_code(const char *code, const void *arg)
{
	return ((long (*)(const void *))code)(arg);
}
