"""Rows written into a family's file. All that is not the new row stays as it is, byte by byte.

The reader knows the line of every row, so a row goes in as lines between lines: no emitter
gets to choose other quotes, other folds or another place for somebody's comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import wrap

import yaml
from msgspec import Struct

from harness.catalog.matrix import Scenario
from harness.catalog.rows import Row
from harness.catalog.yamlfile import DeclarationError

_WIDTH = 100  # columns
_STEP = 2  # columns that a level is indented by


class NewRow(Struct, frozen=True, kw_only=True):
    """What is written of a row; what is empty is left out."""

    arch: tuple[str, ...]
    kernel: str = ""
    flavour: str = ""
    outcome: str
    because: str
    evidence: tuple[str, ...]
    bug: str = ""
    want: str = ""

    def lines(self, indent: int) -> list[str]:
        """The row as an item of a list that is indented by so many columns."""
        inner = " " * (indent + _STEP)
        fields = list(self._fields(inner))
        return [f"{' ' * indent}- {fields[0]}", *(inner + line for line in fields[1:])]

    def _fields(self, inner: str) -> Iterator[str]:
        yield f"arch: {_few(self.arch)}"
        if self.kernel:
            yield f'kernel: "{self.kernel}"'
        if self.flavour:
            yield f"flavour: {self.flavour}"
        yield f"outcome: {_scalar(self.outcome)}"
        yield from _prose("because", self.because, inner)
        yield f"evidence: [{', '.join(self.evidence)}]"
        if self.bug:
            yield "bug:"
            step = " " * _STEP
            yield from (step + line for line in _prose("ref", self.bug, inner + step))
            yield f"{step}want: {_scalar(self.want)}"


def insert_row(text: str, scenario: Scenario, before: Row | None, row: NewRow) -> str:
    """The file's text with a row in front of another one, or behind the last.

    Comments right above the other row stay with it. Raises DeclarationError where the rows are
    not written as a list of blocks.
    """
    lines = text.splitlines(keepends=True)
    if before is not None:
        place, indent = _dash(lines, before)
        while place > 0 and lines[place - 1].lstrip(" ").startswith("#"):
            place -= 1
        return _spliced(lines, place, place, row.lines(indent))
    if scenario.rows:
        last, indent = _dash(lines, scenario.rows[-1])
        end = _end(lines, last, indent)
        return _spliced(lines, end, end, row.lines(indent))
    start = scenario.line - 1
    indent = _indent(lines[start]) + _STEP
    end = _end(lines, start, indent - _STEP)
    return _spliced(lines, end, end, [f"{' ' * indent}expect:", *row.lines(indent + _STEP)])


def replace_row(text: str, old: Row, row: NewRow) -> str:
    """The file's text with a row in the place of another one, whose comments stay above it."""
    lines = text.splitlines(keepends=True)
    start, indent = _dash(lines, old)
    return _spliced(lines, start, _end(lines, start, indent), row.lines(indent))


def _spliced(lines: Sequence[str], start: int, end: int, new: Sequence[str]) -> str:
    before = "".join(lines[:start])
    if before and not before.endswith("\n"):
        before += "\n"
    return before + "".join(f"{line}\n" for line in new) + "".join(lines[end:])


def _dash(lines: Sequence[str], row: Row) -> tuple[int, int]:
    """The place of the line that begins the row, and the column of its dash."""
    line = lines[row.line - 1] if row.line <= len(lines) else ""
    if not line.lstrip(" ").startswith("- "):
        hint = "write it as a block that begins with a dash, or amend the file by hand"
        raise DeclarationError(row.file, row.line, "a row that does not begin its line", hint)
    return row.line - 1, _indent(line)


def _end(lines: Sequence[str], start: int, indent: int) -> int:
    """Behind the last line of the block that begins at `start`: what is indented further is in it.

    Blank lines and comments after it belong to what follows.
    """
    end = start + 1
    for place in range(start + 1, len(lines)):
        if lines[place].strip():
            if _indent(lines[place]) <= indent:
                break
            end = place + 1
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _few(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _scalar(text: str) -> str:
    """A text on one line, quoted where YAML would take it for something else."""
    dumped = yaml.safe_dump(text, width=1 << 20, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _prose(key: str, text: str, inner: str) -> Iterator[str]:
    """A text that may be long: on the line of its key, or folded below it."""
    line = f"{key}: {_scalar(text)}"
    if len(inner) + len(line) <= _WIDTH:
        yield line
        return
    yield f"{key}: >-"
    room = max(_WIDTH - len(inner) - _STEP, 40)
    # Folding joins lines by one blank: a fold in a word would put one into it.
    folded = wrap(text, room, break_long_words=False, break_on_hyphens=False)
    yield from (" " * _STEP + part for part in folded)


def one_line(text: str, what: str) -> str:
    """A text from a command line, white space run together. Raises DeclarationError."""
    text = re.sub(r"\s+", " ", text).strip()
    if not text:
        raise DeclarationError("", 0, f"{what} is empty", "say it in words")
    if not text.isprintable():
        raise DeclarationError("", 0, f"{what} has characters that cannot be printed")
    return text
