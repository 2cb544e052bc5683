"""Frames on the results port: one line each, per-boot nonce, sequence number, CRC-32.

Pure: bytes in, messages out. The wire format is docs/guest-protocol.md.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import msgspec

from harness.jsontext import NOT_JSON

PROTOCOL = 1
MAX_FRAME = 8192  # bytes, newline included


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag="hello"):
    protocol: int
    release: str = ""
    version: str = ""
    machine: str = ""
    page_size: int = 0
    cpus: int = 0
    mem_kb: int = 0
    calibration_us: int = 0  # fork + wait of a scenario that does nothing
    cpu: str = ""  # features of the first CPU as /proc/cpuinfo has them, or its model


class Step(msgspec.Struct, frozen=True, tag_field="t", tag="step"):
    s: str
    o: str = ""  # outcome text so far, up to the result that is due


class End(msgspec.Struct, frozen=True, tag_field="t", tag="end"):
    s: str
    o: str = ""
    d: dict[str, str] = {}
    n: str = ""
    f: str = ""
    ms: int = 0


class Late(msgspec.Struct, frozen=True, tag_field="t", tag="late"):
    """A limit of the agent's has passed: how much longer is it to be?"""

    s: str


class AgentError(msgspec.Struct, frozen=True, tag_field="t", tag="error"):
    e: str


class Ended(msgspec.Struct, frozen=True, tag_field="t", tag="ended"):
    """A program that is no scenario has ended, or could not be started."""

    code: int = -1  # exit status; -1: it did not exit
    sig: int = 0  # number of the signal that ended it, as that arch counts them
    signal: str = ""  # its name
    hang: str = ""  # it was killed when its time was up: "hang(killable, sleep)"
    refused: str = ""  # it was not started: "exec ENOEXEC"
    out: int = 0  # bytes written to stdout
    err: int = 0
    ms: int = 0
    d: dict[str, str] = {}


class Plan(msgspec.Struct, frozen=True, tag_field="t", tag="plan"):
    """In a log: what was going to be run."""

    s: list[str]


class Begin(msgspec.Struct, frozen=True, tag_field="t", tag="begin"):
    """In a log: it runs now. Should nothing follow, this is where the machine was lost."""

    s: str


class Refused(msgspec.Struct, frozen=True, tag_field="t", tag="refused"):
    """In a log: it was not run, since it could do harm there."""

    s: str
    e: str


Message = Hello | Step | Late | End | AgentError | Ended | Plan | Begin | Refused

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
# What an agent writes: printable ASCII, in which a string escapes nothing but these two. An
# escape of JSON's would bring a terminal's control characters past everybody who looks at bytes.
_PLAIN = re.compile(rb'(?:[ -\[\]-~]|\\["\\])*')


def decode(payload: bytes) -> Message | None:
    """The message of a frame; None if it is none that we know."""
    if not _PLAIN.fullmatch(payload):
        return None
    try:
        return _decoder.decode(payload)
    except NOT_JSON:
        return None


class FrameReader:
    """Collects bytes into frames; what is not a valid frame of this boot is counted and dropped."""

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce.encode()
        self._buffer = b""
        self._skipping = False  # inside a line that is too long
        self._next = 0
        self.damaged = 0  # lines dropped: garbage, wrong CRC, forged or repeated
        self.lost = 0  # frames missing by sequence number

    def feed(self, data: bytes) -> Iterator[Message]:
        """Messages completed by `data`. Memory stays below MAX_FRAME + len(data)."""
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            if self._skipping:
                self._skipping = False
                continue
            message = self._frame(line)
            if message is None:
                self.damaged += 1
            else:
                yield message
        if len(self._buffer) > MAX_FRAME:
            self.damaged += not self._skipping
            self._buffer, self._skipping = b"", True

    def _frame(self, line: bytes) -> Message | None:
        parts = line.split(b" ", 4)
        if len(line) > MAX_FRAME or len(parts) != 5 or parts[:2] != [b"FL1", self._nonce]:
            return None
        _, nonce, sequence, crc, payload = parts
        if not (sequence.isdigit() and len(sequence) <= 10):
            return None
        if crc != b"%08x" % zlib.crc32(b" ".join((nonce, sequence, payload))):
            return None
        number = int(sequence)
        if number < self._next:  # a repeated frame is no news
            return None
        message = decode(payload)
        if message is None:
            return None
        self.lost += number - self._next
        self._next = number + 1
        return message


def encode_frame(nonce: str, sequence: int, message: Message) -> bytes:
    """The frame a guest would send: for tests, and for targets that are not a machine."""
    payload = msgspec.json.encode(message)
    body = b"%s %d " % (nonce.encode(), sequence)
    crc = zlib.crc32(body + payload)
    return b"FL1 %s%08x %s\n" % (body, crc, payload)
