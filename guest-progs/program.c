// SPDX-License-Identifier: GPL-2.0-only
/*
 * Somebody else's program as a guest: what it writes goes to the host as it comes, byte for
 * byte, stdout and stderr each on a port of its own; what it reads comes from a third one. When
 * it ends, whatever it has left behind is killed, the streams are drained, and a frame tells how
 * it ended and how many bytes there were.
 *
 * The files /.faultline/argv and /.faultline/env hold its words, each with a NUL behind it.
 */
#include "runtime.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WORDS "/.faultline/"
#define FOLDER "/work"
#define PORT_WAIT_MS 20000
#define BUFFER 16384
#define MAX_CHUNK (1U << 20)

enum { IN, OUT, ERR, STREAMS };


/* Bytes on their way; -1 is an end that is closed. */
struct stream {
	int from, to;
	size_t at, n;			/* buffer[at..n) has been read and not written */
	uint32_t chunk;			/* stdin: so much is left of the chunk under way */
	uint64_t total;			/* written */
	char buffer[BUFFER];
};

static struct stream streams[STREAMS];
static struct run ended;		/* pid, and what is said of it: as a scenario that hangs */

/* -- streams ------------------------------------------------------------------------------ */

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool empty(const struct stream *s)
{
	return s->at == s->n;
}

/*
 * What comes on the port of stdin is in chunks, a length before each; 0 is the end. A port has
 * none of its own that could be told from a host that has not connected yet.
 */
static ssize_t read_chunk(struct stream *s)
{
	ssize_t n;

	if (!s->chunk) {
		unsigned char length[4];
		size_t got = 0;

		while (got < sizeof(length)) {
			n = read(s->from, length + got, sizeof(length) - got);
			if (n > 0)
				got += n;
			else if (got == 0)
				return -1;
			else
				sleep_ms(1);	/* the rest is on its way */
		}
		s->chunk = (uint32_t)length[0] << 24 | length[1] << 16 | length[2] << 8 | length[3];
		if (!s->chunk || s->chunk > MAX_CHUNK)
			return 0;
	}
	n = read(s->from, s->buffer, s->chunk < BUFFER ? s->chunk : BUFFER);
	if (n <= 0)
		return -1;
	s->chunk -= n;
	return n;
}

/* Read or write what can be, without waiting. Tells whether anything moved. */
static bool pump(struct stream *s)
{
	ssize_t n;

	if (!empty(s)) {
		n = write(s->to, s->buffer + s->at, s->n - s->at);
		if (n < 0 && errno == EPIPE) {	/* the program reads no more */
			close_end(&s->to);
			s->at = s->n;
			return true;
		}
		if (n <= 0)
			return false;
		s->at += n;
		s->total += n;
		return true;
	}
	if (s->from < 0 || s->to < 0)
		return false;
	n = s == &streams[IN] ? read_chunk(s) : read(s->from, s->buffer, BUFFER);
	if (n < 0)
		return false;
	if (n == 0) {
		if (s == &streams[IN]) {
			s->from = -1;		/* the port stays open */
			close_end(&s->to);
		} else {
			close_end(&s->from);
		}
		return true;
	}
	s->at = 0;
	s->n = n;
	return true;
}

static void pump_all(void)
{
	bool moved;

	do {
		moved = false;
		for (int i = 0; i < STREAMS; i++)
			moved |= pump(&streams[i]);
	} while (moved);
}

/* Until something can move, a child ends, or the time is up. */
static void wait_for_news(uint64_t until)
{
	struct pollfd polls[STREAMS + 1] = { 0 };
	uint64_t now = now_us();

	for (int i = 0; i < STREAMS; i++) {
		struct stream *s = &streams[i];

		polls[i].fd = empty(s) ? (s->to < 0 ? -1 : s->from) : s->to;
		polls[i].events = empty(s) ? POLLIN : POLLOUT;
	}
	if (run_wait(polls, STREAMS, until > now ? until - now : 0) <= 0)
		return;
	/* A port that the host has not connected to hangs up, again and again. */
	for (int i = 0; i <= STREAMS; i++)
		if (polls[i].revents & (POLLIN | POLLOUT))
			return;
	sleep_ms(5);
}

static bool open_ports(int *fds)
{
	uint64_t end = now_us() + PORT_WAIT_MS * 1000ULL;

	for (int i = 0; i < STREAMS; i++) {
		while ((fds[i] = open_vport(2 + i)) < 0) {
			if (now_us() > end)
				return false;
			sleep_ms(2);
		}
	}
	return true;
}

/* -- what programs expect around them ------------------------------------------------------ */

static const char *give_huge_pages(unsigned long count)
{
	static char text[96];
	int fd = open("/proc/sys/vm/nr_hugepages", O_RDWR | O_CLOEXEC);
	unsigned long got = 0;
	ssize_t n;

	if (fd < 0)
		return "this kernel has no huge pages (CONFIG_HUGETLBFS)";
	n = snprintf(text, sizeof(text), "%lu\n", count);
	if (write(fd, text, n) == n && (n = pread(fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		got = strtoul(text, NULL, 10);
	}
	close(fd);
	if (got >= count)
		return NULL;
	snprintf(text, sizeof(text), "%lu huge pages asked for, memory for %lu", count, got);
	return text;
}

/* What a kernel does not have is left out; whoever needs it will say so. */
static void furnish(void)
{
	static const struct { const char *type, *at; mode_t mode; } mounts[] = {
		{ "tmpfs", "/dev/shm", 01777 },
		{ "devpts", "/dev/pts", 0755 },
		{ "mqueue", "/dev/mqueue", 01777 },
		{ "hugetlbfs", "/dev/hugepages", 01777 },
		{ "tracefs", "/sys/kernel/tracing", 0755 },
		{ "debugfs", "/sys/kernel/debug", 0755 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].at, 0755);
		if (mount(mounts[i].type, mounts[i].at, mounts[i].type, 0, NULL) == 0)
			chmod(mounts[i].at, mounts[i].mode);
	}
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	chmod("/", 0755);
	mkdir(FOLDER, 0755);
	chmod(FOLDER, 01777);
	install_busybox();
}

/* -- the program --------------------------------------------------------------------------- */

/* The words of a file, as argv or environ; only after fork, for it allocates. */
static char **words(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 0, count = 0;
	char *text = NULL, **list;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) || !(text = malloc(st.st_size + 1)))
		return NULL;
	while ((n = read(fd, text + size, st.st_size - size)) > 0)
		size += n;
	for (size_t i = 0; i < size; i++)
		count += !text[i];
	list = calloc(count + 1, sizeof(*list));
	for (size_t i = 0; list && i < count; i++) {
		list[i] = text;
		text += strlen(text) + 1;
	}
	return list;
}

static void __noreturn refuse(int report, const char *what)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%s %s", what, errno_name(errno));

	if (write(report, text, n) != n)
		_exit(125);
	_exit(126);
}

static void __noreturn exec_program(const int *fds, int report, uid_t uid, gid_t gid)
{
	char **argv = words(WORDS "argv"), **envp = words(WORDS "env");
	struct sched_param no_priority = { 0 };
	cpu_set_t all;
	sigset_t none;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);	/* PID 1 keeps to one */
	sched_setscheduler(0, SCHED_OTHER, &no_priority);
	core_small();
	core_of(getpid());				/* before anybody can have died */
	personality(PER_LINUX);				/* nor is it laid out as scenarios are */
	setsid();
	for (int i = 0; i < STREAMS; i++)
		dup2(fds[i], i);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!argv || !argv[0] || !envp)
		refuse(report, "words");
	if (chdir(FOLDER))
		refuse(report, "chdir");
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		refuse(report, "user");
	execve(argv[0], argv, envp);
	refuse(report, "exec");
}

static void note(const char *key, const char *value)
{
	run_add_detail(&ended, key, value);
}

/* Collect who has died; tells whether children are left. */
static bool reap(int *status, bool *gone)
{
	int wstatus;
	pid_t dead;

	while ((dead = run_collect(&wstatus)) > 0) {
		if (dead == ended.pid) {
			*status = wstatus;
			*gone = true;
		}
	}
	return dead == 0;
}

/*
 * To all at once: of those that fork without end, one that is killed after the other has been
 * replaced meanwhile, and a fork with a signal pending fails. Only init may: to anybody else,
 * all are all of the machine.
 */
static void kill_the_rest(void)
{
	if (getpid() == 1)
		kill(-1, SIGKILL);
	else
		hang_kill(ended.pid, ended.pid);
}

/* SIGKILL for it and all that it left; tells whether all are gone in time. Streams go on. */
static bool kill_all(int *status, bool *gone)
{
	uint64_t end = now_us() + hang_kill_ms(10000) * 1000ULL;

	while (reap(status, gone)) {
		if (now_us() > end)
			return false;
		kill_the_rest();
		pump_all();
		sleep_ms(5);
	}
	return true;
}

static void send_ended(int status, bool gone, const char *hang, const char *refused, uint64_t us)
{
	int sig = gone && WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	frame_begin("ended", NULL);
	frame_add(",\"code\":%d", gone && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	frame_add(",\"sig\":%d", sig);
	frame_string(",\"signal\":", sig ? signal_name(sig) : "");
	frame_string(",\"hang\":", hang);
	frame_string(",\"refused\":", refused);
	frame_add(",\"out\":%llu", (unsigned long long)streams[OUT].total);
	frame_add(",\"err\":%llu", (unsigned long long)streams[ERR].total);
	frame_add(",\"ms\":%llu,\"d\":{", (unsigned long long)us / 1000);
	for (int i = 0; i < ended.details; i++) {
		const struct run_detail *d = &ended.detail[i];

		if (2 * (strlen(d->key) + strlen(d->value)) + 300 > frame_room())
			break;
		frame_string(i ? "," : "", d->key);
		frame_string(":", d->value);
	}
	frame_add("}");
	frame_end();
}

/* Until it has ended, or the time is up: then what it does is looked at, and it is killed. */
static const char *follow(uint64_t deadline, int *status, bool *gone)
{
	struct sched_param first = { .sched_priority = 1 };
	enum hang_state state;
	bool killable;

	for (;;) {
		reap(status, gone);
		pump_all();
		if (*gone)
			return "";
		if (now_us() >= deadline)
			break;
		wait_for_news(deadline);
	}
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);	/* its time is over */
	state = hang_sample(ended.pid, ended.pid, note);
	killable = kill_all(status, gone);
	if (!killable)
		state = hang_sample(ended.pid, ended.pid, note);
	return hang_text(killable, state);
}

/* All that was written goes to the host; a survivor may hold a pipe for ever. */
static void drain(bool survivors)
{
	for (int i = OUT; i <= ERR; i++) {
		struct stream *s = &streams[i];

		while (s->from >= 0 || !empty(s)) {
			pump_all();
			if (survivors && empty(s))
				break;
			wait_for_news(now_us() + 1000000);
		}
	}
}

const char *run_program(unsigned long limit_s, unsigned long huge_pages, uid_t uid, gid_t gid,
			bool cores)
{
	int host[STREAMS], pipes[STREAMS][2], report[2], program[STREAMS], status = 0;
	uint64_t start = now_us();
	char refused[64] = "";
	const char *hang, *why;
	bool gone = false;
	ssize_t n;

	furnish();
	if (cores)
		core_listen();
	setpriority(PRIO_PROCESS, 0, -20);	/* of thousands that want the CPU we are one */
	if (huge_pages && (why = give_huge_pages(huge_pages)))
		return why;
	if (!open_ports(host))
		return "the ports of the program's streams are not there";
	for (int i = 0; i < STREAMS; i++)
		if (pipe2(pipes[i], O_CLOEXEC))
			return "pipe";
	if (pipe2(report, O_CLOEXEC))
		return "pipe";
	for (int i = 0; i < STREAMS; i++) {
		int ours = i == IN ? 1 : 0;

		program[i] = pipes[i][!ours];
		fcntl(pipes[i][ours], F_SETFL, O_NONBLOCK);
		streams[i] = (struct stream){
			.from = i == IN ? host[i] : pipes[i][ours],
			.to = i == IN ? pipes[i][ours] : host[i],
		};
	}
	run_reset(&ended);
	ended.pid = fork();
	if (ended.pid < 0)
		return "fork";
	if (ended.pid == 0)
		exec_program(program, report[1], uid, gid);
	for (int i = 0; i < STREAMS; i++)
		close(program[i]);
	close(report[1]);
	n = read(report[0], refused, sizeof(refused) - 1);	/* the end, once it is executed */
	refused[n > 0 ? n : 0] = '\0';
	close(report[0]);
	hang = follow(start + limit_s * 1000000ULL, &status, &gone);
	drain(!kill_all(&status, &gone));
	core_tell(&ended);
	send_ended(status, gone, hang, refused, now_us() - start);
	for (int i = 0; i < STREAMS; i++) {
		close(host[i]);
		close_end(i == IN ? &streams[i].to : &streams[i].from);
	}
	return NULL;
}
