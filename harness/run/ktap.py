"""Reads TAP 12 to 14 and KTAP."""

from __future__ import annotations

import re

from msgspec import Struct

from harness.program_record import Form, Status
from harness.run.tally import End, Tally, by_cases

MAX_DEPTH = 8  # levels of subtests that are told apart

_VERSION = re.compile(r"(?:K?TAP) version \d+\s*$")
_PLAN = re.compile(r"1\.\.(\d{1,9})(?:\s*#\s*(.*))?\s*$")
_RESULT = re.compile(r"(not )?ok\b(?:\s+(\d{1,9})\b)?(?:\s*-\s|\s+)?(.*)$")
_DIRECTIVE = re.compile(r"(?<!\\)#\s*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b[\S]*\s*(.*)$", re.IGNORECASE)
_SKIP = re.compile(r"SKIP\w*\b[:\s]*(.*)$", re.IGNORECASE)
_TOTALS = re.compile(r"# Totals: (pass:\d.*)$")
_TOTAL = re.compile(r"\b(pass|fail|xfail|xpass|skip|error):(\d{1,9})\b")
_TOTAL_WORDS = {
    "pass": Status.PASS, "xpass": Status.PASS, "xfail": Status.TODO, "skip": Status.SKIP,
    "fail": Status.FAIL, "error": Status.BROKEN,
}  # fmt: skip
_BAIL = re.compile(r"Bail out!\s*(.*)$", re.IGNORECASE)


class _Level(Struct):
    """Results at one indentation: a list of tests with a plan of its own."""

    indent: int
    plan: int | None = None
    seen: int = 0
    last: int = 0  # the number of the test before
    skipped: str | None = None  # `1..0 # SKIP why`
    fault: str = ""  # it does not keep its plan
    failed: bool = False


class Ktap:
    """TAP 12 to 14, and KTAP: subtests are indented, and come before the line that sums up."""

    form: Form = "ktap"

    def __init__(self) -> None:
        self.tally = Tally()
        self._levels: list[_Level] = []
        self._declared = self._numbered = self._planned = False
        self._totals: dict[str, int] = {}  # its own count, at the end
        self._yaml: int | None = None  # inside a block, up to a `...` at this indentation
        self.bailed: str | None = None

    @property
    def seen(self) -> bool:
        return self._declared or self._numbered or self.bailed is not None

    def line(self, line: str) -> None:
        text = line.lstrip(" \t")
        indent = len(line.expandtabs(8)) - len(text.expandtabs(8))
        if self._yaml is not None and text and indent < self._yaml:
            self._yaml = None  # it has no end, and is over
        if self._yaml is not None:
            if text.rstrip() == "..." and indent == self._yaml:
                self._yaml = None
        elif text.rstrip() == "---" and indent and self.seen:
            self._yaml = indent
        elif _VERSION.match(text):
            self._declared = True
            self._level(indent)
        elif found := _PLAN.match(text):
            self._declared = self._planned = True
            level = self._level(indent)
            level.plan = int(found[1])
            if level.plan == 0 and found[2] and (why := _SKIP.match(found[2])):
                level.skipped = why[1].strip()
        elif found := _TOTALS.match(line):
            self._totals = {word: int(n) for word, n in _TOTAL.findall(found[1]) if int(n)}
        elif found := _BAIL.match(text):
            if self.bailed is None:
                self.bailed = found[1].strip() or "no reason given"
        elif (found := _RESULT.match(text)) and (found[2] or self._declared):
            self._numbered |= found[2] is not None
            self._result(indent, found)

    def _level(self, indent: int) -> _Level:
        """The level of this indentation; deeper ones are over."""
        while self._levels and self._levels[-1].indent > indent:
            self._end(self._levels.pop())
        if not self._levels or self._levels[-1].indent < indent:
            if len(self._levels) == MAX_DEPTH:
                return self._levels[-1]
            self._levels.append(_Level(indent))
        return self._levels[-1]

    def _result(self, indent: int, found: re.Match[str]) -> None:
        children = next((level for level in self._levels if level.indent > indent), None)
        while self._levels and self._levels[-1].indent > indent:
            self._end(self._levels.pop())
        level = self._level(indent)
        level.seen += 1
        self._number(level, found[2])
        directive = _DIRECTIVE.search(found[3])
        word = directive[1].upper() if directive else ""
        name = found[3][: directive.start()].strip() if directive else found[3].strip()
        name, note = name or f"test {found[2] or level.seen}", directive[2] if directive else ""
        if word == "SKIP":
            status = Status.SKIP
        elif word == "XFAIL" or (found[1] and word == "TODO"):  # kselftest's stands behind `ok`
            status = Status.TODO
        else:
            status = Status.FAIL if found[1] else Status.PASS
        if children is None:
            self.tally.add(name, status, note)
        elif children.fault:
            self.tally.add(name, Status.BROKEN, children.fault)
        elif status is Status.FAIL and not children.failed:  # it is more than its parts
            self.tally.add(name, status, note)
        level.failed |= status is Status.FAIL or bool(children and children.failed)

    @staticmethod
    def _number(level: _Level, number: str | None) -> None:
        """A number that came already: a child has written its parent's buffer once more, or two
        count on their own. Then the count does not tell whether all that was planned came.
        """
        if number is None:
            level.last += 1
            return
        if int(number) <= level.last and not level.fault:
            level.fault, level.failed = f"test {number} came after test {level.last}", True
        level.last = max(level.last, int(number))

    def _end(self, level: _Level) -> None:
        if level.plan is not None and level.seen != level.plan:
            level.fault = f"{level.seen} of {level.plan} planned tests came"
            level.failed = True
        elif level.plan is None and not level.seen:
            level.fault, level.failed = "no test came", True

    def _only_totals(self) -> bool:
        """No result came, and totals that are as many as were planned: some tests of the kernel
        count what they do not tell. Then those are the results.
        """
        if len(self._levels) != 1 or self._levels[0].seen or not self._totals:
            return False
        if self._levels[0].plan != sum(self._totals.values()):
            return False
        self._levels[0].seen = self._levels[0].plan
        for word, count in self._totals.items():
            self.tally.counts[_TOTAL_WORDS[word]] += count
        return True

    def judge(self, end: End) -> tuple[Status, str]:
        faults, only_totals = [], self._only_totals()
        while self._levels:
            level = self._levels.pop()
            self._end(level)
            if level.fault:
                faults.append(level.fault)
            if level.skipped is not None and not level.seen:
                self.tally.add("", Status.SKIP, level.skipped)
        if self.bailed is not None:
            return Status.BROKEN, f"Bail out! {self.bailed}"
        if (failed := self.tally.failed()) and not only_totals:
            return failed, f"first: {self.tally.first_failure}"
        if failures := [f"{w} {n}" for w, n in self._totals.items() if w in ("fail", "error")]:
            return Status.FAIL, f"its totals say {', '.join(failures)}"
        if faults:
            return Status.BROKEN, faults[-1]
        status, reason = by_cases(self.tally, end, self.form)
        if status is Status.PASS and not self._planned:
            reason = "no plan said how many there should be"
        elif status is Status.PASS and only_totals:
            reason = "only its totals tell of them"
        return status, reason
