"""What readers of test programs' output have in common: cases, counts, and how a program ended."""

from __future__ import annotations

from collections import Counter

import msgspec
from msgspec import Struct

from harness.program_record import CaseRecord, Form, Status

MAX_CASES = 10000  # kept; all are counted
MAX_NAME = 200


class End(Struct, frozen=True):
    """How the program ended: by an exit status or by a signal, else why not."""

    code: int | None = None
    signal: str = ""
    trouble: str = ""  # a hang, an oops, a lost machine: never a pass
    death: str = ""  # of a signal, more than its name where that is known

    def __str__(self) -> str:
        if self.trouble:
            return self.trouble
        if self.signal:
            return f"killed by {self.death or self.signal}"
        return f"exit status {self.code}"


# What an exit status means where no line of the output says it. 0 is a pass everywhere.
EXIT_CODES: dict[Form, dict[int, Status]] = {
    "exit": {},
    "ktap": {4: Status.SKIP},
    "kselftest": {4: Status.SKIP},
    "kselftest-exit": {4: Status.SKIP},
    "automake": {77: Status.SKIP, 99: Status.BROKEN},
    "openposix": {2: Status.BROKEN, 4: Status.SKIP, 5: Status.SKIP},
    "ltp": {32: Status.SKIP},
}


class Tally(Struct):
    """Cases as they come: all counted, the first of them kept."""

    counts: Counter[Status] = msgspec.field(default_factory=Counter)
    cases: list[CaseRecord] = []
    first_failure: str = ""

    def add(self, name: str, status: Status, note: str = "") -> None:
        self.counts[status] += 1
        if len(self.cases) < MAX_CASES:
            self.cases.append(CaseRecord(name[:MAX_NAME], status, note[:MAX_NAME]))
        if status in (Status.FAIL, Status.BROKEN) and not self.first_failure:
            self.first_failure = name[:MAX_NAME] or note[:MAX_NAME]

    def failed(self) -> Status | None:
        return next((s for s in (Status.FAIL, Status.BROKEN) if self.counts[s]), None)

    def positive(self) -> Status | None:
        """What came, where nothing failed; None: nothing did."""
        kinds = (Status.PASS, Status.TODO, Status.SKIP)
        found = next((kind for kind in kinds if self.counts[kind]), None)
        return Status.SKIP if found is Status.TODO else found


def by_cases(tally: Tally, end: End, form: Form) -> tuple[Status, str]:
    """Nothing has failed, by its own account."""
    by_code = EXIT_CODES[form].get(end.code or 0)
    positive = tally.positive()
    if end.code != 0 and by_code is None:
        return Status.FAIL, f"{end}, though nothing was reported as failed"
    if by_code is not None:
        return by_code, str(end)
    if positive is None:
        return Status.BROKEN, "no test ran"
    if positive is Status.SKIP:
        return Status.SKIP, "nothing ran that was not skipped"
    return Status.PASS, ""
