"""Reading a text from left to right, and saying what was expected where it goes wrong.

It backs the grammar of outcomes (outcome.py): every token is bounded and nothing is read twice,
so time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn

from harness.text import near

# One character class after another: neither can backtrack far.
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,19})(?![0-9])")
WORD = re.compile(r"[A-Za-z0-9_-]{1,40}")


class OutcomeError(ValueError):
    """Text that is no outcome: what was expected at ``position`` (characters, from 0)."""

    def __init__(self, text: str, position: int, expected: str) -> None:
        super().__init__(text, position, expected)  # so that it pickles
        self.text, self.position, self.expected = text, position, expected

    def __str__(self) -> str:
        found = self.text[self.position : self.position + 24]
        shown = ascii(found) if found else "the end"
        place = f"at character {self.position + 1}"
        return f"not an outcome: {place} expected {self.expected}, found {shown}"


class Scanner:
    """A text, and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def sees(self, literal: str) -> bool:
        return self.text.startswith(literal, self.at)

    def skip(self, literal: str) -> bool:
        """Read ``literal`` if it stands here."""
        if not self.sees(literal):
            return False
        self.at += len(literal)
        return True

    def need(self, literal: str, expected: str = "") -> None:
        if not self.skip(literal):
            self.fail(expected or f"`{literal}`")

    def peek(self, pattern: re.Pattern[str]) -> str:
        """What ``pattern`` matches here, or ""; reads nothing."""
        match = pattern.match(self.text, self.at)
        return match.group(match.lastindex or 0) if match else ""

    def take(self, pattern: re.Pattern[str], expected: str) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            self.fail(expected)
        self.at = match.end()
        return match.group(match.lastindex or 0)

    def choose(self, known: Iterable[str], what: str, pattern: re.Pattern[str] = WORD) -> str:
        """Read a word that is one of ``known``; ``what`` says of what kind, as "a signal"."""
        word, names = self.peek(pattern), tuple(known)
        if word not in names:
            self.fail(expected_one(what, word, names))
        self.at += len(word)
        return word

    def number(self, low: int, high: int, expected: str) -> str:
        digits = self.peek(_NUMBER)
        if not digits or not low <= int(digits) <= high:
            self.fail(expected)
        self.at += len(digits)
        return digits

    def end(self) -> None:
        if self.at != len(self.text):
            self.fail("the end of the outcome")

    def fail(self, expected: str) -> NoReturn:
        raise OutcomeError(self.text, self.at, expected)


def expected_one(what: str, word: str, known: Iterable[str]) -> str:
    """``what``, and the known words that ``word`` could have been meant to be."""
    names = sorted(known)
    if not names:
        return f"nothing more, and not {what}"
    if len(names) <= 12:
        return f"{what} ({', '.join(names)})"
    found = near(word, names)
    return f"{what}: did you mean {' or '.join(found)}?" if found else what
