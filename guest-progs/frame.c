// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames: what is said to the harness, one line each, as in docs/guest-protocol.md. On a port of
 * the machine, or on whatever a run by hand was given.
 */
#include "runtime.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <termios.h>

#define MAX_FRAME 8192
#define MAX_HEAD 64
#define CONSOLE_WAIT_MS 100	/* a kernel that never stops printing is not waited for */

/* A frame: its payload grows behind the room for its head, which is known last. */
static struct {
	int n;		/* bytes of payload */
	char bytes[MAX_HEAD + MAX_FRAME];
} frame;

static char *const payload = frame.bytes + MAX_HEAD;

static const char *nonce;
static unsigned int sequence;
static int port, console = -1;

void frame_to(int fd, const char *boot_nonce)
{
	port = fd;
	nonce = boot_nonce;
	sequence = 0;
}

void frame_behind(const char *tty)
{
	console = open(tty, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* Its driver takes TCOFLUSH for "now", and drops nothing. */
static void empty_console(void)
{
	uint64_t end = now_us() + CONSOLE_WAIT_MS * 1000ULL;
	int left;

	while (ioctl(console, TCFLSH, TCOFLUSH) == 0 && ioctl(console, TIOCOUTQ, &left) == 0 &&
	       left > 0 && now_us() < end)
		sleep_ms(1);
}

/* Four bits at a time. */
static uint32_t crc32(uint32_t crc, const char *data, size_t n)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158,
		0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4,
		0xa00ae278, 0xbdbdf21c,
	};

	crc = ~crc;
	while (n--) {
		crc ^= (unsigned char)*data++;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

/*
 * All of it, however long the host takes to read a port; there is nobody else to talk to. What is
 * no port has ended when it fails: whoever read has gone.
 */
static void send_all(const char *data, size_t n)
{
	while (n) {
		ssize_t sent = write(port, data, n);

		if (sent > 0) {
			data += sent;
			n -= sent;
		} else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
			_exit(1);
		} else {
			sleep_ms(5);
		}
	}
}

void frame_add(const char *fmt, ...)
{
	int left = MAX_FRAME - frame.n;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(payload + frame.n, left, fmt, args);
	va_end(args);
	frame.n += n < left ? n : left - 1;
}

static void add_byte(char c)
{
	if (frame.n < MAX_FRAME - 1)
		payload[frame.n++] = c;
}

void frame_string(const char *before, const char *text)
{
	while (*before)
		add_byte(*before++);
	add_byte('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			add_byte('\\');
		add_byte(*text >= ' ' && *text <= '~' ? *text : '?');
	}
	add_byte('"');
}

size_t frame_room(void)
{
	return frame.n < MAX_FRAME - 64 ? MAX_FRAME - 64 - frame.n : 0;
}

void frame_begin(const char *type, const char *scenario)
{
	frame.n = 0;
	frame_add("{\"t\":\"%s\"", type);
	if (scenario)
		frame_string(",\"s\":", scenario);
}

void frame_end(void)
{
	char signed_part[MAX_HEAD], head[MAX_HEAD];
	uint32_t crc;
	int n;

	frame_add("}");
	n = snprintf(signed_part, sizeof(signed_part), "%s %u ", nonce, sequence++);
	crc = crc32(crc32(0, signed_part, n), payload, frame.n);
	n = snprintf(head, sizeof(head), "FL1 %s%08x ", signed_part, crc);
	memcpy(payload - n, head, n);
	payload[frame.n++] = '\n';
	if (console >= 0)
		empty_console();
	send_all(payload - n, n + frame.n);
}
