"""Reads what LTP writes, in both of its APIs."""

from __future__ import annotations

import re
from collections import Counter

from harness.program_record import Form, Status
from harness.run.tally import End, Tally, by_cases

_LTP = re.compile(
    r"^(?P<name>[\w./+-]{1,100})(?::(?P<line>\d{1,6}):\s*|\s+(?P<number>\d{1,6})\s+)"
    r"(?P<word>TPASS|TFAIL|TBROK|TCONF|TWARN)\s*(?::\s*|$)(?P<note>.*)$"
)
_LTP_SUMMARY = re.compile(r"^(passed|failed|broken|skipped|warnings)\s+(\d{1,9})\s*$")
_LTP_WORDS = {
    "TPASS": Status.PASS, "TFAIL": Status.FAIL, "TBROK": Status.BROKEN, "TCONF": Status.SKIP,
}  # fmt: skip
_LTP_COUNTS = {
    "passed": Status.PASS, "failed": Status.FAIL, "broken": Status.BROKEN, "skipped": Status.SKIP,
}  # fmt: skip
_LTP_BITS = ((1, Status.FAIL, "TFAIL"), (2, Status.BROKEN, "TBROK"), (4, Status.BROKEN, "TWARN"))


class Ltp:
    """Both APIs: `file.c:12: TPASS: text` and `name  1  TPASS  :  text`."""

    form: Form = "ltp"

    def __init__(self) -> None:
        self.tally = Tally()
        self.summary = Counter[str]()
        self._in_summary = self._warned = False

    @property
    def seen(self) -> bool:
        return bool(self.tally.cases) or self._warned or bool(self.summary)

    def line(self, line: str) -> None:
        text = line.strip()
        if text == "Summary:":
            self._in_summary = True
        elif self._in_summary and (found := _LTP_SUMMARY.match(text)):
            self.summary[found[1]] += int(found[2])  # of each program that a script runs
        elif found := _LTP.match(text):
            self._in_summary = False
            new = found["line"] is not None
            name = (
                f"{found['name']}:{found['line']}" if new else f"{found['name']} {found['number']}"
            )
            if found["word"] == "TWARN":
                self._warned = True
            else:
                self.tally.add(name, _LTP_WORDS[found["word"]], found["note"])

    def judge(self, end: End) -> tuple[Status, str]:
        """By whoever tells the worst: lines, summary or exit status; and where they disagree."""
        status, why = self._judge(end)
        return status, "; ".join(filter(None, [why, *self._disagreements()]))

    def _judge(self, end: End) -> tuple[Status, str]:
        if failed := self.tally.failed():
            return failed, f"first: {self.tally.first_failure}"
        for word, status in (("failed", Status.FAIL), ("broken", Status.BROKEN)):
            if self.summary[word]:
                return status, ""  # no line does: a disagreement
        if self._warned or self.summary["warnings"]:
            return Status.BROKEN, "TWARN"
        for bit, status, word in _LTP_BITS:
            if end.code is not None and end.code < 64 and end.code & bit:
                return status, f"exit status {end.code}: {word}, which {self._others()} not tell of"
        if end.code == 32:
            passed = max(self.summary["passed"], self.tally.counts[Status.PASS])
            return Status.SKIP, "exit status 32: TCONF" + f", though {passed} passed" * bool(passed)
        return by_cases(self.tally, end, self.form)

    def _others(self) -> str:
        return "its lines and its summary do" if self.summary else "its lines do"

    def _disagreements(self) -> list[str]:
        """Where lines were lost, or printed by nobody: the summary counts in shared memory."""
        return [
            f"the summary says {word} {self.summary[word]}, the lines {self.tally.counts[status]}"
            for word, status in _LTP_COUNTS.items()
            if word in self.summary and self.summary[word] != self.tally.counts[status]
        ]
