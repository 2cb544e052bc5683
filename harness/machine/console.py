"""What a kernel says on its console, told apart. Pure: bytes in, lines and signs out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence

from msgspec import Struct

MAX_LINE = 4096  # bytes; a longer line is looked at in pieces that overlap
OVERLAP = 256  # bytes; no text that classify() looks for is longer
FATAL = ("panic", "oops")  # kinds of words after which a machine cannot be trusted
HEADLINES = 8  # lines with such words that an excerpt keeps from between its ends


class Sign(Struct, frozen=True):
    """One thing a console line says. `kind`: begin, oops, panic, warn."""

    kind: str
    name: str = ""  # begin: scenario; warn: function or kind of splat


# printk time stamp and caller id, which depend on the configuration
_PREFIX = re.compile(r"^(?:<\d+>)?(?:\[ *\d+\.\d{6}\])?(?:\[ *[TC]\d+\])? ?")

_MARK = re.compile(r"^fl-([0-9a-f]{8}) ([a-z0-9-]{1,64}/[a-z0-9-]{1,64})$")

# What user space chooses must not look like the kernel. Anchored at the start of the message, so
# that a text in the middle of a line is nobody's; and a line that begins with the name of a task
# (15 characters, by prctl) says what that task did: "Oops: x[12]: segfault at 0".
_TASK_LINE = re.compile(
    r".{1,15}?(?: ?\[\d{1,10}\]| ?\(\d{1,10}\)|/\d{1,10}: | invoked oom-killer: | uses |"
    r": page allocation failure: )"
)

# Alpha's last words are such a line: only when nothing follows the number are they the kernel's.
# What one line cannot tell: a task's name may hold a newline, and behind it any text of 14
# characters that is a line of its own then. No scenario takes such a name.
_ALPHA_DEATH = re.compile(
    r"(?:CPU \d{1,4} )?.{1,15}?\(\d{1,10}\): (?:"
    r"(?:Oops|Arithmetic fault|Instruction fault|Kernel Bug) -?\d{1,20}"
    r"|unhandled unaligned exception)$"
)

# First match wins. Repetitions are bounded or of one class that its follower is not in: time is
# linear. The texts are of 5.10, 6.1, 6.12 and 7.2; where these differ all are here.
_SIGNS: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (kind, name, re.compile(pattern))
    for kind, name, pattern in (
        ("panic", "", r"Kernel panic - not syncing"),
        (
            "warn",
            "lockdep",
            r"WARNING: (?:(?:possible|inconsistent|suspicious|bad|held|lock|Nested|nested) [a-zR]"
            r"|chain_key collision|[\w-]{1,24}-safe -> |.{1,15}/\d{1,10} still has locks held)",
        ),
        (
            "warn",
            "",
            r"WARNING: (?:CPU: \d+ PID: \d+ )?(?:at )?(?:\S{1,160}:\d+ )?(?:at )?"
            r"(?P<name>[A-Za-z_][\w.]*)\+0x",
        ),
        ("warn", "", r"WARNING: (?P<name>[A-Za-z_][\w.]*)"),
        ("oops", "", r"BUG: (?:[Uu]nable to handle |[Kk]ernel NULL pointer )"),
        ("oops", "", r"BUG: invalid or fatal FRED"),  # x86
        ("oops", "", r"BUG: \S{1,24} stack guard page was hit at "),  # x86
        (
            "warn",
            "sleep-in-atomic",
            r"BUG: (?:sleeping function called|scheduling while atomic|scheduling in a non-block"
            r"|assuming (?:atomic|non migratable) context)",
        ),
        ("warn", "soft-lockup", r"watchdog: BUG: soft lockup"),
        ("warn", "hard-lockup", r"(?:NMI )?watchdog: Watchdog detected hard LOCKUP"),
        ("warn", "workqueue-lockup", r"BUG: workqueue lockup"),
        ("warn", "workqueue-leak", r"BUG: workqueue leaked"),
        ("warn", "spinlock", r"BUG: (?:spinlock|rwlock) [^#]{1,60} on CPU#"),
        ("warn", "preemptible", r"BUG: using \S{1,60} in preemptible"),
        ("warn", "rcu-stall", r"(?:rcu: )?INFO: rcu_\w+ (?:self-)?detected"),
        ("warn", "hung-task", r"INFO: task .{1,32} blocked for more than"),
        ("warn", "lockdep", r"INFO: trying to register non-static key"),
        ("warn", "bad-page", r"BUG: (?:Bad page |Bad rss-counter|non-zero pgtables)"),
        ("warn", "kasan", r"BUG: (?:KASAN|KCSAN|KMSAN|KFENCE): "),
        ("warn", "ubsan", r"UBSAN: [^:]{1,80} in \S{1,160}$"),
        ("warn", "slab", r"BUG \S{1,80} +\((?:Not tainted|Tainted)"),
        ("warn", "bug", r"BUG: .{11}"),  # what else there is, if it is longer than a name
        ("warn", "bad-page-table", r"\S{1,160}:\d{1,9}: bad (?:pgd|p4d|pud|pmd)\b"),
        # Text, error code, number of the oops, and words of the configuration up to the end: x86,
        # arm64, "divide error: 0000 [#1] PREEMPT SMP". 6.12 puts "Oops: " before it on x86. The
        # code of arm has no leading zeros.
        (
            "oops",
            "",
            r"(?:(?:Oops: )?[\w ,()#-]{0,120}: [0-9a-f]{4,16}"
            r"|Internal error: [\w ,():#-]{0,120}: [0-9a-f]{1,16}) "
            r"\[#\d{1,9}\](?: [A-Z][\w()]{1,20}){0,8}$",
        ),
        ("oops", "", r"Oops\b[^\[]{0,120}\[#\d{1,9}\](?: [A-Z][\w()]{1,20}){0,8}$"),  # others
        ("oops", "", r"[\w ,()-]{1,60}: [0-9a-f]{4} ilc:\d \[#\d{1,9}\]"),  # s390
        ("oops", "", r"(?:Oops|BAD KERNEL TRAP|bad frame format): [0-9a-f]{8}$"),  # m68k
        ("oops", "", r"\*\*\* .{1,40} \*\*\* +FORMAT=[0-9A-F]{1,2}$"),  # m68k
        ("oops", "", r"BAD KERNEL BUSERR$"),  # m68k
        ("oops", "", r"kernel BUG at \S{1,160}:\d{1,9}!$"),
        ("oops", "", r"Kernel BUG at \S{1,160} \[verbose debug info unavailable\]"),
        ("oops", "", r"Kernel bug at \S{1,160}:\d{1,9}$"),  # alpha
        ("oops", "", r"Bad unaligned kernel access at "),  # alpha
        ("oops", "", r"PANIC: double fault"),  # x86
        ("oops", "", r"Unable to handle kernel "),
    )
)


def classify(line: str, nonce: str = "") -> Sign | None:
    """The sign in one console line, if any. Marks count only with this boot's nonce."""
    text = _PREFIX.sub("", line, count=1)
    mark = _MARK.match(text)
    if mark:
        return Sign("begin", mark[2]) if mark[1] == nonce[:8] else None
    if _ALPHA_DEATH.match(text):
        return Sign("oops")
    if _TASK_LINE.match(text):
        return None
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


def fatal(line: str) -> bool:
    """Whether the kernel says here that it died, or that a part of it did."""
    sign = classify(line)
    return sign is not None and sign.kind in FATAL


def last_words(console: Sequence[str], count: int) -> list[str]:
    """The last lines, and ahead of them what killed the kernel: registers and a trace follow it."""
    head, tail = console[:-count], console[-count:]
    return [*filter(fatal, head), *(["[...]"] if head else []), *tail]


class Excerpt:
    """The first and the last lines of what may be endless, and from between what is fatal."""

    def __init__(self, head: int = 60, tail: int = 60, width: int = 300) -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque(maxlen=tail)
        self._headlines: list[tuple[int, str]] = []  # number of the line, and it
        self._limit, self._width, self._count = head, width, 0

    def add(self, line: str, fatal: bool = False) -> None:
        self._count += 1
        if len(self._head) < self._limit:
            self._head.append(line[: self._width])
        else:
            self._tail.append(line[: self._width])
            if fatal and len(self._headlines) < HEADLINES:
                self._headlines.append((self._count, line[: self._width]))

    def lines(self) -> list[str]:
        begun = self._count - len(self._tail)
        headlines = [line for number, line in self._headlines if number <= begun]
        left_out = begun - len(self._head) - len(headlines)
        gap = [f"[... {left_out} lines left out ...]"] if left_out else []
        return [*self._head, *gap, *headlines, *self._tail]
