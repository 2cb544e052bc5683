"""Declaration files: YAML in which every value knows its file and line.

All scalars are text, so that 6.10 does not turn into 6.1 nor ``off`` into false. Duplicate
keys, anchors, aliases, tags and more than one document are errors: a declaration means what
a reader sees on the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.text import near

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 4 << 20  # far above any declaration; bounds the time a wrong file can take
MAX_DEPTH = 24  # levels of nesting; the deepest declaration has 7

T = TypeVar("T")


class DeclarationError(Exception):
    """Something declared is wrong. ``str()`` is ``FILE:LINE: message``, then the hint.

    ``line`` counts from 1; 0 means the file as a whole. ``file`` is "" for text that came
    from no file, such as a command line.
    """

    def __init__(self, file: str, line: int, message: str, hint: str = "") -> None:
        super().__init__(file, line, message, hint)  # so that it pickles
        self.file, self.line, self.message, self.hint = file, line, message, hint

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        text = f"{place}: {self.message}" if place else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


@dataclass(frozen=True)
class Node:
    """One value: a text, a list or a mapping. A mapping's value has the line of its key.

    The reading methods raise DeclarationError when the value is of another kind.
    """

    file: str
    line: int
    value: str | tuple[Node, ...] | dict[str, Node] = field(repr=False)

    def error(self, message: str, hint: str = "") -> DeclarationError:
        return DeclarationError(self.file, self.line, message, hint)

    def text(self) -> str:
        """A text that is not empty, without white space around it."""
        if not isinstance(self.value, str):
            raise self._wrong_kind("a text")
        if not self.value.strip():
            raise self.error("expected a text, found nothing", "write a value behind the colon")
        return self.value.strip()

    def word(self) -> str:
        """A name that can be no option, no assignment, and no path."""
        return self._name("", "no leading -, no /, no `..`; letters, digits and _ . + - alone")

    def path(self) -> str:
        """The path of something below a folder; likewise no option and no assignment."""
        return self._name("/", "no leading - or /, no `..`; letters, digits and _ . + - / alone")

    def _name(self, also: str, hint: str) -> str:
        text = self.text()
        if not re.fullmatch(rf"\w[\w.+{also}-]*", text, re.ASCII) or ".." in text.split("/"):
            raise self.error(f"{quote(text)} is no name", hint)
        return text

    def number(self) -> int:
        """A positive whole number."""
        text = self.text()
        if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
            raise self.error(f"expected a positive whole number, found {quote(text)}")
        return int(text)

    def choice(self, allowed: Iterable[str], what: str) -> str:
        """A text that is one of ``allowed``; ``what`` names the kind, as in "flavour"."""
        text, names = self.text(), list(allowed)
        if text not in names:
            raise self.error(f"unknown {what} {quote(text)}", suggest(text, names))
        return text

    def items(self) -> tuple[Node, ...]:
        """The members of a list."""
        if not isinstance(self.value, tuple):
            raise self._wrong_kind("a list")
        return self.value

    def one_or_more(self) -> tuple[Node, ...]:
        """The members of a list that is not empty; a text counts as a list of one."""
        if isinstance(self.value, str):
            return (self,)
        if not self.items():
            raise self.error("expected at least one, found an empty list")
        return self.items()

    def texts(self) -> tuple[str, ...]:
        """A text, or a list of texts."""
        return tuple(item.text() for item in self.one_or_more())

    def mapping(self) -> dict[str, Node]:
        """A mapping with keys of any name."""
        if not isinstance(self.value, dict):
            raise self._wrong_kind("a mapping")
        return self.value

    def record(self, required: Iterable[str] = (), optional: Iterable[str] = ()) -> dict[str, Node]:
        """A mapping with these keys and no others."""
        needed, entries = list(required), self.mapping()
        known = [*needed, *optional]
        for key, node in entries.items():
            if key not in known:
                raise node.error(f"unknown key {quote(key)}", suggest(key, known))
        for key in needed:
            if key not in entries:
                raise self.error(f"the key {key!r} is missing", f"add `{key}:` here")
        return entries

    def read(self, reader: Callable[[str], T]) -> T:
        """``reader(text)``; a ValueError it raises becomes a DeclarationError."""
        try:
            return reader(self.text())
        except ValueError as error:
            raise self.error(str(error)) from error

    def _wrong_kind(self, expected: str) -> DeclarationError:
        kinds = {tuple: "a list", dict: "a mapping"}
        found = kinds.get(type(self.value)) or f"the text {quote(str(self.value))}"
        return self.error(f"expected {expected}, found {found}")


def load(path: Path, root: Path | None = None) -> Node:
    """Read one file. Messages name it relative to ``root`` where it is given.

    Raises DeclarationError for whatever is wrong with it, a missing file included.
    """
    name = path.relative_to(root).as_posix() if root else str(path)
    text = _read(path, name)
    import yaml  # not at the top: most commands fail or finish without reading YAML

    # The C parser is 10 times faster, and only some installations have it.
    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return _Builder(name, yaml.parse(text, Loader=loader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 0
        if mark and text[mark.index : mark.index + 1] == "\t":
            hint = "indent with blanks"
            raise DeclarationError(name, line, "a tab where only blanks may stand", hint) from error
        hint = "check indentation, and quote texts with `: `, ` #` or a special first character"
        raise DeclarationError(name, line, f"not YAML: {error.problem}", hint) from error
    except yaml.YAMLError as error:  # a character that YAML forbids; it has no line
        raise DeclarationError(name, 0, f"not YAML: {_one_line(error)}") from error


def _read(path: Path, name: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DeclarationError(name, 0, f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DeclarationError(name, 0, f"longer than {MAX_BYTES >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DeclarationError(name, line, "not UTF-8", "save the file as UTF-8") from error


class _Builder:
    """Builds the tree from parser events, not with compose(): that recurses without bound."""

    def __init__(self, file: str, events: Iterator[Any]) -> None:
        self.file, self.events = file, events

    def document(self) -> Node:
        self._next()  # StreamStart
        if self._kind(event := self._next()) == "StreamEnd":
            raise self._error(event, "the file is empty")
        root = self._node(self._next(), 1)
        self._next()  # DocumentEnd
        if self._kind(event := self._next()) != "StreamEnd":
            raise self._error(event, "a second document begins", "remove the `---`")
        return root

    def _node(self, event: Any, depth: int, line: int = 0) -> Node:
        self._check(event, depth)
        line = line or event.start_mark.line + 1
        kind = self._kind(event)
        if kind == "Scalar":
            return Node(self.file, line, event.value)
        if kind == "SequenceStart":
            return Node(self.file, line, tuple(self._members(depth)))
        return Node(self.file, line, self._entries(depth))

    def _members(self, depth: int) -> Iterator[Node]:
        while self._kind(event := self._next()) != "SequenceEnd":
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while self._kind(event := self._next()) != "MappingEnd":
            key = self._node(event, depth + 1).text()
            if key in entries:
                first = entries[key].line
                raise self._error(event, f"duplicate key {quote(key)}, first on line {first}")
            entries[key] = self._node(self._next(), depth + 1, event.start_mark.line + 1)
        return entries

    def _check(self, event: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels")
        if getattr(event, "anchor", None):
            found = "an alias" if self._kind(event) == "Alias" else "an anchor"
            raise self._error(event, f"{found} is not allowed here", "write the value out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise self._error(event, "a tag is not allowed here", "remove the `!...`")

    def _next(self) -> Any:
        return next(self.events)

    @staticmethod
    def _kind(event: Any) -> str:
        return type(event).__name__.removesuffix("Event")

    def _error(self, event: Any, message: str, hint: str = "") -> DeclarationError:
        return DeclarationError(self.file, event.start_mark.line + 1, message, hint)


def suggest(word: str, known: Iterable[str], overview: Iterable[str] = ()) -> str:
    """A hint: the known names nearest to ``word``. When none is near: the ``overview``, where there
    is one, else all that are known.
    """
    known = sorted(known)
    if found := near(word, known):
        return f"did you mean {' or '.join(found)}?"
    names = sorted(overview) or known
    if not names:
        return "none is declared"
    return "known: " + ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")


def quote(text: str) -> str:
    """Text of unknown origin, made fit for one line of a message."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
