/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the runtime: what main.c, runner.c and agent.c share. Scenarios use fault.h. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include "fault.h"

/* Install the handlers and the alternate stack of a scenario process. */
void catch_signals(void);

/* Those that hole_page() made are still holes: memory.c. */
void prove_holes(void);

/* The scenario came to its end: report.c. */
void report_done(void);

/* -- hang.c: why does it not end? ------------------------------------------------------ */

/* Ordered: the one that matters most is the greatest. */
enum hang_state { HANG_GONE, HANG_SLEEP, HANG_SPIN_USER, HANG_DISK, HANG_SPIN_KERNEL };

#define HANG_SAMPLE_MS 200

/* How long SIGKILL may take: as long as the limit, within bounds. */
unsigned int hang_kill_ms(unsigned int limit_ms);

/*
 * These look at all processes of the session and at all children of the caller, which adopts
 * orphans, or, when session is 0, at process pid.
 */
typedef void (*hang_note)(const char *key, const char *value);
enum hang_state hang_sample(pid_t pid, pid_t session, hang_note note);
void hang_where(pid_t pid, pid_t tid, char *text, size_t size);
bool hang_sleeps(pid_t pid);
bool hang_alive(pid_t pid);
void hang_kill(pid_t pid, pid_t session);
const char *hang_text(bool killable, enum hang_state state);

/* Fewer CPUs than the arch could have: child.c. */
extern bool one_cpu;

/* -- child.c ---------------------------------------------------------------------------- */

/* How long result_fate() and result_hang() wait for SIGKILL. */
extern unsigned int child_kill_ms;
/*
 * waitpid(2) for ends alone. A child that made us its tracer (PTRACE_TRACEME) is also told of when
 * it stops, asked for or not; it has not ended, and nobody continues it.
 */
pid_t wait_end(pid_t pid, int *status, int flags);

/* -- clock.c ---------------------------------------------------------------------------- */

uint64_t now_us(void);
void sleep_ms(unsigned int ms);

/* -- outcome.c: from lines to an outcome ------------------------------------------------- */

#define MAX_STEPS 32
#define MAX_DETAILS 64

struct run_step {
	char task;
	bool open;
	char label[48];
	char text[320];
};

struct run_detail {
	char key[48];
	char value[200];
};

struct run {
	const struct scenario *scenario;
	unsigned int limit_ms;			/* without a new line */
	void (*progress)(struct run *run);	/* a step began */
	/* A limit has passed: so many ms more, as the machine was not given all of it. Or NULL. */
	unsigned int (*more)(struct run *run);

	/* What is always written comes first: each page of ours that we write after a fork is copied. */
	pid_t pid;
	unsigned int ms;
	int steps, details;
	bool done, truncated;
	bool too_much;				/* more than fits, and so no outcome */
	char task;
	char outcome[2048];
	char cause[256];			/* of n/a */
	char failure[256];			/* set-up failed: no outcome */
	struct run_step step[MAX_STEPS];
	struct run_detail detail[MAX_DETAILS];
};

void run_reset(struct run *run);
/* One line of the process, without its end. */
void run_line(struct run *run, char *line);
void run_add_detail(struct run *run, const char *key, const char *value);
/* It said more than it may: not an outcome. */
void run_too_much(struct run *run);
/* Every step under way gets this result; with none, something after the last one does. */
void run_end_steps(struct run *run, const char *text);
/* The same for a hang, which is an outcome also before the first step: `start`. */
void run_hang(struct run *run, const char *text);
/* What the scenario says itself: it knows of a process that cannot be killed. */
bool run_unkillable(const struct run *run);
/* This is what became of a process that was left: the step `after`. */
void run_leftover(struct run *run, const char *text);
/* The outcome so far; a step under way stands last as `label=`. */
void run_compose(const struct run *run, char *text, size_t size);
/* Leaves exactly one: outcome, cause (and the outcome n/a), or failure. */
void run_conclude(struct run *run);

/* -- runner.c: one scenario, in a fresh process ----------------------------------------- */

/*
 * Scenarios are forks of us, which is a lot cheaper than to execute each. So we are to be what they
 * are to find: executed once more, without layout randomisation and with their stack limit.
 */
void run_lay_out(char **argv);
/* The scenario, in the process that is its own; kill_ms: how long SIGKILL may take. */
void run_body(const struct scenario *scenario, unsigned int kill_ms) __noreturn;
/* wait_end() for any child, without waiting. */
pid_t run_collect(int *status);
/* Until one of n polls is ready, a child has died, or the time is over; polls[n] is for us. */
struct pollfd;
int run_wait(struct pollfd *polls, unsigned int n, uint64_t us);

/* Run it, watch it, clean up behind it. Allocates nothing; the caller owns run. */
void run_scenario(struct run *run);
/* Block SIGCHLD, adopt orphans: once, before the first run. */
void run_init(void);
const struct scenario *find_scenario(const char *name);
/* Where a kernel cannot execute us: the words that run us, as `qemu-m68k PATH`; else none. */
#define MAX_VIA 8
extern char *run_via[MAX_VIA + 1];
/* What fork and exit cost here: not in the table. */
extern const struct scenario empty_scenario;

/* -- frame.c: what the harness hears, docs/guest-protocol.md ------------------------------ */

/* From now on to fd, from sequence 0; the nonce stays the caller's. */
void frame_to(int fd, const char *nonce);
/* On a console whose driver gathers what the kernel prints, that is handed on before a frame is sent. */
void frame_behind(const char *tty);
void frame_begin(const char *type, const char *scenario);
void frame_add(const char *fmt, ...) __printf(1, 2);
/* A JSON string. Whatever is no printable ASCII never gets here but from uname. */
void frame_string(const char *before, const char *text);
/* So many bytes still fit, before they are escaped. */
size_t frame_room(void);
void frame_end(void);

/* -- main.c ------------------------------------------------------------------------------ */

/* For people: the outcome on stdout, all that stands beside it on `beside`. */
void run_print(const struct run *run, FILE *beside);

/* -- console.c: PID 1 where a person sits at the console: no results port ------------------ */

void console_run(const char *name) __noreturn;
void console_shell(void) __noreturn;
/* If there is one: its many names, as links in /bin. */
void install_busybox(void);

/* -- program.c: somebody else's program, its streams on ports of their own ---------------- */

/* Run what /.faultline says; NULL, or why it could not be tried. Frame `ended` tells the rest. */
const char *run_program(unsigned long limit_s, unsigned long huge_pages, uid_t uid, gid_t gid,
			bool cores);

/* -- core.c: what it died of ---------------------------------------------------------------- */

/* From here on the kernel has us read the core of whoever dies, */
void core_listen(void);
/* which has nothing of the memory where this was called before, by it or by its parents; */
void core_small(void);
/* and executes us for that, with the core on stdin. The exit status. */
int core_read(const char *pid);
/* This is the program, whose death is told also behind many others. */
void core_of(pid_t program);
/* The signal's siginfo and the pc, of the program and of others, as details. */
void core_tell(struct run *run);

/* -- agent.c: PID 1, and what it shares with a run that is told by hand -------------------- */

/* A port of virtio-serial, whose device has a number that depends on the others. */
int open_vport(int nr);
void agent(void) __noreturn;
/* Run it, and say how it went. */
void report_scenario(const char *name, unsigned long limit_ms);

/* -- hello.c: what this machine is --------------------------------------------------------- */

/* The frame of a boot; gives the time of an empty scenario in microseconds, median. */
uint64_t send_hello(void);

/* -- log.c: frames on stdout, from any Linux ----------------------------------------------- */

/* One scenario for each line `run NAME LIMIT_MS` on stdin, as PID 1 does; until `off` or EOF. */
void serve_stdin(const char *nonce) __noreturn;
/* All scenarios that fit a pattern, or all; those behind `after`, unless it is NULL. */
int log_all(const char *after, char *const *patterns);

#endif
