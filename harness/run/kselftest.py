"""Reads the kernel's own tests in their older style."""

from __future__ import annotations

import re

from harness.program_record import Form, Status
from harness.run.tally import End, Tally, by_cases

_BRACKETS = re.compile(r"^\s*\[\s*(OK|PASS|FAIL|SKIP)\s*\]\s*(.*)$")
_BRACKET_WORDS = {
    "OK": Status.PASS, "PASS": Status.PASS, "FAIL": Status.FAIL, "SKIP": Status.SKIP,
}  # fmt: skip
_COMPLETED = re.compile(r"^==>> completed\. (PASS|FAIL|SKIP)\b")


class Kselftest:
    """`[OK]`, `[FAIL]`, `[SKIP]`, and `==>> completed. PASS(1)`."""

    form: Form = "kselftest"

    def __init__(self) -> None:
        self.tally = Tally()

    @property
    def seen(self) -> bool:
        return bool(self.tally.cases)

    def line(self, line: str) -> None:
        if found := _BRACKETS.match(line) or _COMPLETED.match(line):
            note = found[2].strip() if found.re is _BRACKETS else ""
            self.tally.add(note or "completed", _BRACKET_WORDS[found[1]])

    def judge(self, end: End) -> tuple[Status, str]:
        if failed := self.tally.failed():
            return failed, f"first: {self.tally.first_failure}"
        return by_cases(self.tally, end, self.form)
