"""What reports say of a cell, in short and safe text."""

from __future__ import annotations

import re

from harness.results import Evidence, ResultRecord, Verdict
from harness.text import OUTCOME_LIMIT, PROSE_LIMIT, clean, cut

# SIGSEGV/SEGV_MAPERR says SEGV twice.
_SIGNAL = re.compile(r"\bSIG(SEGV|BUS|ILL|FPE|TRAP|SYS)/(?=\1_|BUS_)")
_LEADING_OK = re.compile(r"^(?:[a-z][a-z0-9-]*=ok; )+")


def short_outcome(outcome: str, limit: int = OUTCOME_LIMIT) -> str:
    """An outcome for a narrow place: SEGV_MAPERR @exact, .. load=BUS_MCEERR_AR @exact lsb=12."""
    text = _SIGNAL.sub("", clean(outcome, OUTCOME_LIMIT))
    if len(text) > limit:
        text = _LEADING_OK.sub(".. ", text)  # the steps before the one that tells
    return cut(text, limit)


def place(item: Evidence) -> str:
    """FILE:LINE FUNCTION, and the status where it is not valid."""
    line = f":{item.line}" if item.line else ""
    return clean(f"{item.file}{line} {item.function}".strip()) + status(item)


def status(item: Evidence) -> str:
    """Said only where the text was not found in the tree that was built."""
    return "" if item.status == "valid" else f" ({clean(item.status)})"


def expected(cell: ResultRecord) -> str:
    """The set that the row allows, as one text."""
    text = " or ".join(clean(outcome, OUTCOME_LIMIT) for outcome in cell.expected)
    return text or "(no row matches)"


def observed(cell: ResultRecord) -> str:
    """What came instead: outcome, n/a with its cause, or what failed."""
    seen = cell.observation
    if cell.verdict is Verdict.NOT_RUN:
        return clean(cell.observation.failure, PROSE_LIMIT)
    if cell.verdict in (Verdict.INFRA, Verdict.MISSING):
        return "nothing: " + clean(seen.failure or cell.verdict.value, PROSE_LIMIT)
    cause = f" ({clean(seen.cause)})" if seen.cause else ""
    return clean(seen.outcome or "n/a", OUTCOME_LIMIT) + cause


def unmet(cell: ResultRecord) -> bool:
    """Whether the row that holds predicts another outcome: its reason is not that of what came."""
    return cell.verdict in (Verdict.MISMATCH, Verdict.FIXED)


def because(cell: ResultRecord) -> str:
    """The reason that the row gives, for a place where what it expects does not stand beside it."""
    reason = clean(cell.because, PROSE_LIMIT)
    return f"expected {expected(cell)} because {reason}" if reason and unmet(cell) else reason


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
