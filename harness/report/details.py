"""The second tier: what stands beside equal outcomes, made comparable.

Addresses depend on where a kernel puts things, so they are compared by how they lie to the
touched address, or by their offset in the page; times, process ids and tick counts not at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from harness.results import ResultRecord

PAGE = 4096
_SMALL = 0x10000  # what is below is a number, not an address
_WORD = re.compile(r"0x[0-9a-f]+")
_NUMBERS = ("err", "error-code", "trapno", "esr", "formatvec", "value", "uffd-flags", "taint",
            "traparg-a1", "traparg-a2")  # fmt: skip
_TICKS = re.compile(r"utime\+\d+ stime\+\d+ ticks in \d+ ms ?")
_SYSCALL = re.compile(r"(syscall -?\d+) .*")
_TIMED = ("ms", "ticks", "pid", "seconds")
# What a moment of a race looked like, or how many turns it had.
_SAMPLES = ("inside", "registers", "touched", "refused", "turns", "changes")
_BOOTED, _SLOW = "Run /init as init process", "hrtimer: interrupt took"
_LINE = (  # of the kernel log: what differs from boot to boot and from build to build
    (re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?"), ""),
    (re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+"), ""),
    (re.compile(r"\b(?:0x[0-9a-f]{3,16}|[0-9a-f]{8,16})\b", re.IGNORECASE), "ADDR"),
    (re.compile(r"\b(PID|pid|CPU|UID|ksp|exe)([:=# ]+)\d+"), r"\1\2N"),
    (re.compile(r"\b(x|faults|init|exe)([\[(])\d+([\])])"), r"\1\2N\3"),
    (re.compile(r"^(Code|Comm|Hardware name|Not tainted|Tainted|Workqueue)\b.*"), r"\1"),
)


def detail_changes(old: ResultRecord, new: ResultRecord) -> tuple[tuple[str, str, str], ...]:
    """(key, old, new) where details or kernel log lines differ; "-" for what one side lacks."""
    was, now = (comparable(one.observation.details) for one in (old, new))
    found = [
        (key, was.get(key, "-"), now.get(key, "-"))
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key)
    ]
    before, after = (Counter(_log(one.observation.console)) for one in (old, new))
    found += [("log", line, "-") for line in (before - after).elements()]
    found += [("log", "-", line) for line in (after - before).elements()]
    return tuple(found)


def comparable(details: Mapping[str, str]) -> dict[str, str]:
    """Details with what says nothing about the kernel taken out."""
    found: dict[str, list[str]] = {}
    for key, value in details.items():
        last = key.rpartition(".")[2].partition("#")[0]
        if last in (*_TIMED, *_SAMPLES) or last.endswith(tuple(f"-{word}" for word in _TIMED)):
            continue
        name = re.sub(r"\.\d+$", ".N", key)  # a process id
        found.setdefault(name, []).append(_value(key, last, value, details))
    return {key: "; ".join(sorted(values)) for key, values in found.items()}


def _value(key: str, last: str, value: str, details: Mapping[str, str]) -> str:
    value = _SYSCALL.sub(r"\1", _TICKS.sub("", value))
    if last in _NUMBERS:
        return value
    touched = details.get(key.removesuffix(key.rpartition(".")[2]) + "touch", "")
    touch = int(touched, 16) if last != "touch" and _WORD.fullmatch(touched) else None
    return _WORD.sub(lambda match: _address(match[0], touch), value)


def _address(word: str, touch: int | None) -> str:
    number = int(word, 16)
    if touch is not None and abs(number - touch) < PAGE:
        return f"touch{number - touch:+d}" if number != touch else "touch"
    return word if number < _SMALL else f"page+{number % PAGE:#x}"


def _log(console: Sequence[str]) -> list[str]:
    """The lines that a scenario may have brought about: none of a boot, which it may share with
    others, nor what the kernel says of a slow host.
    """
    lines = [log_line(line) for line in console]
    if _BOOTED in lines:
        lines = lines[lines.index(_BOOTED) + 1 :]
    return [line for line in lines if line and not line.startswith(_SLOW)]


def log_line(line: str) -> str:
    """A line of the kernel log without times, addresses and process ids."""
    for pattern, instead in _LINE:
        line = pattern.sub(instead, line)
    return line.strip()
