"""An observation held against its expectation. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from harness.results import Evidence, Observation, Verdict


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The row of the matrix that counts for one cell, as plain data."""

    outcomes: tuple[str, ...]  # a set: the observation must be a member
    because: str = ""
    want: str = ""  # what a correct kernel would give, where the row names a bug
    bug: str = ""
    evidence: tuple[Evidence, ...] = ()
    declared: str = ""  # FILE:LINE

    @property
    def stale(self) -> bool:
        """Evidence that no longer stands in the tree that was built."""
        return any(piece.status == "stale" for piece in self.evidence)


def judge(expectation: Expectation | None, seen: Observation) -> Verdict:
    """The verdict on one observation.

    ``n/a`` where an outcome was expected is a mismatch: a lost config symbol must not go green.
    """
    if seen.failure or not seen.outcome:
        return Verdict.INFRA
    if expectation is None:
        return Verdict.NO_EXPECTATION
    if seen.outcome in expectation.outcomes:
        if seen.outcome == "n/a":
            return Verdict.NOT_APPLICABLE
        return Verdict.KNOWN_BUG if expectation.want else Verdict.MATCH
    if expectation.want and seen.outcome == expectation.want:
        return Verdict.FIXED
    return Verdict.MISMATCH
