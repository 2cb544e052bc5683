"""An observation held against its expectation. Pure."""

from __future__ import annotations

from msgspec import Struct

from harness.catalog.wanted import is_wanted
from harness.results import Evidence, Observation, ResultRecord, Verdict

BOOT = "boot: "  # what the failure of a cell begins with whose machine did not come up
LATE = "late"  # confirmation of a record that was amended by words that came after its end


class Expectation(Struct, frozen=True, kw_only=True):
    """The row of the matrix that counts for one cell, as plain data."""

    outcomes: tuple[str, ...]  # a set: the observation must be a member
    because: str = ""
    want: tuple[str, ...] = ()  # what a correct kernel would give, where the row names a bug
    bug: str = ""
    evidence: tuple[Evidence, ...] = ()
    declared: str = ""  # FILE:LINE
    may: bool = False  # it may not count at all: only what fits it is held against it

    def fixed_by(self, outcome: str) -> bool:
        """Whether a kernel that gives this outcome does not have the bug of the row."""
        return any(is_wanted(want, outcome) for want in self.want)


Expectations = tuple[Expectation, ...]
"""Of one cell: one, none (nothing is expected), or several where it is not known which counts."""


def pick(expectations: Expectations, seen: Observation) -> Expectation | None:
    """The expectation that an observation is held against.

    Of several it is the one that fits; where none does, the last, which needs no unknown fact,
    if there is such a one.
    """
    for expectation in expectations:
        if seen.outcome in expectation.outcomes or expectation.fixed_by(seen.outcome):
            return expectation
    return expectations[-1] if expectations and not expectations[-1].may else None


def judge(expectations: Expectations, seen: Observation) -> Verdict:
    """The verdict on one observation.

    ``n/a`` where an outcome was expected is a mismatch: a lost config symbol must not go green.
    """
    if seen.failure or not seen.outcome:
        return Verdict.INFRA
    expectation = pick(expectations, seen)
    if expectation is None:
        return Verdict.NO_EXPECTATION
    if seen.outcome in expectation.outcomes:
        if seen.outcome == "n/a":
            return Verdict.NOT_APPLICABLE
        # Of a set one may be right: the bug did not show this time.
        right = not expectation.want or expectation.fixed_by(seen.outcome)
        return Verdict.MATCH if right else Verdict.KNOWN_BUG
    if expectation.fixed_by(seen.outcome):
        return Verdict.FIXED
    return Verdict.MISMATCH


def surprising(record: ResultRecord) -> bool:
    """An unexpected end of the machine or of a task, or words of the kernel that may be about
    another one; a plain wrong code is not in doubt.

    A machine that did not boot has been tried again already.
    """
    seen = record.observation
    if record.verdict in (
        Verdict.MATCH,
        Verdict.KNOWN_BUG,
        Verdict.NOT_APPLICABLE,
        Verdict.NOT_RUN,
    ):
        return False
    if seen.failure.startswith(BOOT):
        return False
    lost = not seen.alive or bool(seen.failure)
    said = "hang(" in seen.outcome or "warn(" in seen.outcome
    return lost or said or record.confirmation == LATE


def second_look_is_due(record: ResultRecord) -> bool:
    """Whether the last record of a cell waits for another one."""
    return record.confirmation in ("", LATE) and surprising(record)
