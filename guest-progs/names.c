// SPDX-License-Identifier: GPL-2.0-only
/* Numbers to the names that outcomes are written in: catalog/outcome.py knows the same. */
#include "fault.h"

const char *errno_name(int err)
{
	static char number[16];
	const char *name = strerrorname_np(err);

	if (name && err > 0)
		return name;
	snprintf(number, sizeof(number), "E%d", err);
	return number;
}

const char *signal_name(int sig)
{
	static char name[16];
	const char *abbreviation = sigabbrev_np(sig);

	if (sig == SIGIO)	/* glibc calls it SIGPOLL */
		abbreviation = "IO";
	if (abbreviation)
		snprintf(name, sizeof(name), "SIG%s", abbreviation);
	else
		snprintf(name, sizeof(name), "SIG%d", sig);
	return name;
}

struct code {
	int sig;			/* 0: any */
	int code;
	const char *name;
};

/* Numbers as in the kernel's ABI, the same everywhere: headers older than a code know it not. */
static const struct code codes[] = {
	{ SIGSEGV, 1, "SEGV_MAPERR" }, { SIGSEGV, 2, "SEGV_ACCERR" },
	{ SIGSEGV, 3, "SEGV_BNDERR" }, { SIGSEGV, 4, "SEGV_PKUERR" },
	{ SIGSEGV, 5, "SEGV_ACCADI" }, { SIGSEGV, 6, "SEGV_ADIDERR" },
	{ SIGSEGV, 7, "SEGV_ADIPERR" }, { SIGSEGV, 8, "SEGV_MTEAERR" },
	{ SIGSEGV, 9, "SEGV_MTESERR" }, { SIGSEGV, 10, "SEGV_CPERR" },
	{ SIGBUS, 1, "BUS_ADRALN" }, { SIGBUS, 2, "BUS_ADRERR" }, { SIGBUS, 3, "BUS_OBJERR" },
	{ SIGBUS, 4, "BUS_MCEERR_AR" }, { SIGBUS, 5, "BUS_MCEERR_AO" },
	{ SIGILL, 1, "ILL_ILLOPC" }, { SIGILL, 2, "ILL_ILLOPN" }, { SIGILL, 3, "ILL_ILLADR" },
	{ SIGILL, 4, "ILL_ILLTRP" }, { SIGILL, 5, "ILL_PRVOPC" }, { SIGILL, 6, "ILL_PRVREG" },
	{ SIGILL, 7, "ILL_COPROC" }, { SIGILL, 8, "ILL_BADSTK" }, { SIGILL, 9, "ILL_BADIADDR" },
	{ SIGFPE, 1, "FPE_INTDIV" }, { SIGFPE, 2, "FPE_INTOVF" }, { SIGFPE, 3, "FPE_FLTDIV" },
	{ SIGFPE, 4, "FPE_FLTOVF" }, { SIGFPE, 5, "FPE_FLTUND" }, { SIGFPE, 6, "FPE_FLTRES" },
	{ SIGFPE, 7, "FPE_FLTINV" }, { SIGFPE, 8, "FPE_FLTSUB" }, { SIGFPE, 14, "FPE_FLTUNK" },
	{ SIGFPE, 15, "FPE_CONDTRAP" },
	{ SIGTRAP, 1, "TRAP_BRKPT" }, { SIGTRAP, 2, "TRAP_TRACE" }, { SIGTRAP, 3, "TRAP_BRANCH" },
	{ SIGTRAP, 4, "TRAP_HWBKPT" }, { SIGTRAP, 5, "TRAP_UNK" }, { SIGTRAP, 6, "TRAP_PERF" },
	{ SIGSYS, 1, "SYS_SECCOMP" }, { SIGSYS, 2, "SYS_USER_DISPATCH" },
	{ 0, 0, "SI_USER" }, { 0, 0x80, "SI_KERNEL" }, { 0, -1, "SI_QUEUE" },
	{ 0, -2, "SI_TIMER" }, { 0, -3, "SI_MESGQ" }, { 0, -4, "SI_ASYNCIO" },
	{ 0, -5, "SI_SIGIO" }, { 0, -6, "SI_TKILL" }, { 0, -7, "SI_DETHREAD" },
	{ 0, -60, "SI_ASYNCNL" },
};

const char *code_name(int sig, int code)
{
	static char number[16];

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code && (codes[i].sig == sig || codes[i].sig == 0))
			return codes[i].name;
	snprintf(number, sizeof(number), "%d", code);
	return number;
}
