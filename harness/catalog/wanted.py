"""What a row says a correct kernel would give: its `want`, an outcome or any short count."""

from __future__ import annotations

import re
from typing import Final, Union

from msgspec import Struct

from harness.catalog.outcome import Outcome, parse


class AnyCount(Struct, frozen=True):
    """A short count of whatever size, for rules that name none.

    ``short(*)`` is that of the only step, ``*=short(*)`` that of each step, whatever their labels.
    """

    text: str

    def __str__(self) -> str:
        return self.text


_SHORT = r"short\([0-9]+/[0-9]+\)"
_ANY_COUNT: Final = {
    "short(*)": re.compile(_SHORT),
    "*=short(*)": re.compile(rf"[a-z][a-z0-9-]*={_SHORT}(?:; [a-z][a-z0-9-]*={_SHORT})*"),
}

Wanted = Union[Outcome, AnyCount]


def parse_wanted(text: str) -> Wanted:
    """Read what a correct kernel would give. Raises OutcomeError."""
    return AnyCount(text) if text in _ANY_COUNT else parse(text)


def is_wanted(want: str, outcome: str) -> bool:
    """Whether an outcome is what a ``want`` asks for."""
    counts = _ANY_COUNT.get(want)
    return want == outcome or bool(counts and counts.fullmatch(outcome))
