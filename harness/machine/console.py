"""What a kernel says on its console, told apart. Pure: bytes in, lines and signs out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LINE = 4096  # bytes; a longer line is looked at in pieces that overlap
OVERLAP = 256  # bytes; no text that classify() looks for is longer


@dataclass(frozen=True)
class Sign:
    """One thing a console line says. `kind`: begin, oops, panic, warn."""

    kind: str
    name: str = ""  # begin: scenario; warn: function or kind of splat


# printk time stamp and caller id, which depend on the configuration
_PREFIX = re.compile(r"^(?:<\d+>)?(?:\[ *\d+\.\d{6}\])?(?:\[ *[TC]\d+\])? ?")

_MARK = re.compile(r"^fl-([0-9a-f]{8}) ([a-z0-9-]{1,64}/[a-z0-9-]{1,64})$")

# First match wins. Anchored at the start of the message, so that a program that prints such
# a text in the middle of a line is not taken for the kernel.
_SIGNS: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (kind, name, re.compile(pattern))
    for kind, name, pattern in (
        ("panic", "", r"Kernel panic - not syncing"),
        ("warn", "lockdep", r"WARNING: (?:possible|inconsistent|bad unlock|suspicious|lock held)"),
        ("warn", "", r"WARNING: (?:CPU: \d+ PID: \d+ )?at \S+ (?P<name>[A-Za-z_][\w.]*)\+0x"),
        ("warn", "", r"WARNING: (?P<name>[A-Za-z_][\w.]*)"),
        ("warn", "sleep-in-atomic", r"BUG: (?:sleeping function called|scheduling while atomic)"),
        ("warn", "soft-lockup", r"watchdog: BUG: soft lockup"),
        ("warn", "rcu-stall", r"rcu: INFO: rcu_\w+ (?:self-)?detected"),
        ("warn", "hung-task", r"INFO: task .{1,32} blocked for more than"),
        ("warn", "bad-page", r"BUG: (?:Bad page|Bad rss-counter|non-zero pgtables)"),
        ("warn", "kasan", r"BUG: (?:KASAN|KCSAN|KFENCE|UBSAN)"),
        ("oops", "", r"BUG: (?:unable to handle|kernel NULL pointer|stack guard)"),
        ("oops", "", r"kernel BUG at "),
        ("oops", "", r"Kernel bug at "),
        ("oops", "", r"Internal error: "),
        ("oops", "", r"Unable to handle kernel "),
        ("oops", "", r"Oops: "),
        ("oops", "", r"Oops - "),
        ("oops", "", r"Kernel BUG "),
        ("oops", "", r"general protection fault, "),
        ("oops", "", r"double fault: "),
        ("oops", "", r"invalid opcode: \d{4} \[#"),
        ("oops", "", r"\S{1,16}\(\d+\): (?:Oops|Kernel bug|Kernel Bug|kernel bug)"),  # alpha
        ("oops", "", r"\*\*\* .{1,40} \*\*\* +FORMAT="),  # m68k
        ("oops", "", r"BAD KERNEL BUSERR"),  # m68k
    )
)


def classify(line: str, nonce: str = "") -> Sign | None:
    """The sign in one console line, if any. Marks count only with this boot's nonce."""
    text = _PREFIX.sub("", line, count=1)
    mark = _MARK.match(text)
    if mark:
        return Sign("begin", mark[2]) if mark[1] == nonce[:8] else None
    for kind, name, pattern in _SIGNS:
        found = pattern.match(text)
        if found:
            return Sign(kind, name or found.groupdict().get("name") or "")
    return None


def printable(data: bytes) -> str:
    """Console bytes as text without control characters; what is no ASCII shows as \\xNN."""
    return "".join(chr(c) if 32 <= c < 127 else "" if c == 13 else f"\\x{c:02x}" for c in data)


class LineReader:
    """Cuts console bytes into lines of bounded length, with an overlap where it had to cut."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[str]:
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            yield printable(line)
        while len(self._buffer) > MAX_LINE:
            yield printable(self._buffer[:MAX_LINE])
            self._buffer = self._buffer[MAX_LINE - OVERLAP :]

    def rest(self) -> str:
        """The line that has not ended yet: the last words of a machine that died."""
        text, self._buffer = printable(self._buffer), b""
        return text


class Excerpt:
    """The first and the last lines of what may be endless."""

    def __init__(self, head: int = 60, tail: int = 60, width: int = 300) -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque(maxlen=tail)
        self._limit, self._width, self._count = head, width, 0

    def add(self, line: str) -> None:
        self._count += 1
        if len(self._head) < self._limit:
            self._head.append(line[: self._width])
        else:
            self._tail.append(line[: self._width])

    def lines(self) -> list[str]:
        left_out = self._count - len(self._head) - len(self._tail)
        gap = [f"[... {left_out} lines left out ...]"] if left_out else []
        return [*self._head, *gap, *self._tail]
