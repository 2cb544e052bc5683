// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames: what is said to the harness, one line each, as in docs/guest-protocol.md. On a port of
 * the machine, or on whatever a run by hand was given.
 */
#include "runtime.h"

#include <stdarg.h>

#define MAX_FRAME 8192

static struct {
	char text[MAX_FRAME];
	int n;
} payload;

static const char *nonce;
static unsigned int sequence;
static int port;

void frame_to(int fd, const char *boot_nonce)
{
	port = fd;
	nonce = boot_nonce;
	sequence = 0;
}

static uint32_t crc32(uint32_t crc, const char *data, size_t n)
{
	crc = ~crc;
	while (n--) {
		crc ^= (unsigned char)*data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
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
	int left = sizeof(payload.text) - payload.n;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(payload.text + payload.n, left, fmt, args);
	va_end(args);
	payload.n += n < left ? n : left - 1;
}

void frame_string(const char *before, const char *text)
{
	frame_add("%s\"", before);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			frame_add("\\%c", *text);
		else
			frame_add("%c", *text >= ' ' && *text <= '~' ? *text : '?');
	}
	frame_add("\"");
}

size_t frame_room(void)
{
	return payload.n < MAX_FRAME - 64 ? MAX_FRAME - 64 - payload.n : 0;
}

void frame_begin(const char *type, const char *scenario)
{
	payload.n = 0;
	frame_add("{\"t\":\"%s\"", type);
	if (scenario)
		frame_string(",\"s\":", scenario);
}

void frame_end(void)
{
	static char frame[MAX_FRAME + 64];
	char head[48];
	uint32_t crc;
	int n;

	frame_add("}");
	n = snprintf(head, sizeof(head), "%s %u ", nonce, sequence);
	crc = crc32(crc32(0, head, n), payload.text, payload.n);
	n = snprintf(frame, sizeof(frame), "FL1 %s%08x ", head, crc);
	memcpy(frame + n, payload.text, payload.n);
	n += payload.n;
	frame[n++] = '\n';
	sequence++;
	send_all(frame, n);
}
