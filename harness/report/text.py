"""Text that came from a guest, made safe and short. Everything printed goes through here."""

from __future__ import annotations

import re
import unicodedata

from harness.results import Evidence, ResultRecord, Verdict

OUTCOME_LIMIT = 300  # characters; a canonical outcome is far shorter, a hostile one need not be
PROSE_LIMIT = 2000
LINE_LIMIT = 200

# SIGSEGV/SEGV_MAPERR says SEGV twice.
_SIGNAL = re.compile(r"\bSIG(SEGV|BUS|ILL|FPE|TRAP|SYS)/(?=\1_|BUS_)")
_LEADING_OK = re.compile(r"^(?:[a-z][a-z0-9-]*=ok; )+")


def clean(text: str, limit: int = LINE_LIMIT) -> str:
    """One printable line of at most `limit` characters; what was cut or replaced shows.

    Control, format (bidirectional!) and combining characters become \\x escapes: none can
    move the cursor, reorder a line or grow it upwards.
    """
    start = text[: limit + 1]
    if start.isascii() and start.isprintable():  # nearly always
        return cut(start, limit)
    return cut("".join(map(_visible, start)), limit)


def clean_lines(text: str) -> str:
    """Several lines, each as `clean` leaves it: what a compiler, a tree or a file's name said."""
    return "\n".join(clean(line, PROSE_LIMIT) for line in text.split("\n"))


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, ending in ".." where something is gone."""
    return text if len(text) <= limit else text[: max(limit - 2, 0)] + ".."


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


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _visible(char: str) -> str:
    if char.isascii() and char.isprintable():
        return char
    if char.isprintable() and not unicodedata.category(char).startswith("M"):
        return char
    if char in "\t\n":
        return " "
    return char.encode("unicode_escape").decode()
