"""Rows of the matrix: which columns a row speaks of, and what it predicts for them.

The first matching row of a scenario wins, so a row that earlier rows cover is an error.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar

from msgspec import Struct
from packaging.version import Version

from harness.catalog.arches import Arch, read_arches
from harness.catalog.decisions import Decision
from harness.catalog.outcome import Outcome, parse
from harness.catalog.scanner import OutcomeError
from harness.catalog.version import (
    EVERY_VERSION,
    VersionError,
    VersionRange,
    covered,
    parse_version,
)
from harness.catalog.wanted import Wanted, is_wanted, parse_wanted
from harness.catalog.yamlfile import Node, quote

_One = TypeVar("_One", Outcome, Wanted)


def _no_source(file: str) -> str | None:
    return None


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of one column when its rows are chosen."""

    arch: Arch
    version: Version
    flavour: str = "core"
    # The text of a file in the tree that was built: "" = it has no such file, None = there is
    # no tree at hand: what is tested on it is undecided.
    source: Callable[[str], str | None] = _no_source
    config: Mapping[str, str] | None = None  # CONFIG_X -> y, or its value; unset ones are absent
    cpu: str | None = ""  # of QEMU's -cpu; None = not known
    page_size: int | None = None  # bytes; None = not known
    accel: str = ""
    module: bool = False  # the kernel module of guest-progs/kmod is in the initramfs
    qemu: str = ""  # version as QEMU says it, "7.2.22 (Debian ...)"; "" = not known


class SourceTest(Struct, frozen=True):
    """Whether a text stands anywhere in a source file; runs of white space compare equal."""

    file: str
    text: str
    absent: bool = False  # the text must not be there

    def holds(self, source: Callable[[str], str | None]) -> bool | None:
        """None: there is no tree to look into."""
        content = source(self.file)
        if content is None:
            return None
        return (_squeeze(self.text) in _squeeze(content)) is not self.absent


class ConfigTest(Struct, frozen=True):
    """Whether a config symbol has a value; None = it is not set."""

    symbol: str
    value: str | None

    def holds(self, config: Mapping[str, str] | None) -> bool | None:
        """None: there is no .config to look into."""
        if config is None:
            return None
        found = config.get(self.symbol)
        return (None if found == "n" else found) == self.value

    def __str__(self) -> str:
        return f"{self.symbol} is not set" if self.value is None else f"{self.symbol}={self.value}"


class When(Struct, frozen=True):
    """Tests beyond arch, version and flavour. All that are given must hold; () = not given."""

    source: SourceTest | None = None
    decision: Decision | None = None  # it is decided there, in this arch's part of the tree
    config: tuple[ConfigTest, ...] = ()
    cpu: tuple[str, ...] = ()
    page_size: tuple[int, ...] = ()  # bytes
    accel: tuple[str, ...] = ()
    qemu: VersionRange | None = None

    def holds(self, facts: Facts) -> bool | None:
        """None: a fact it depends on is not known."""
        return all_hold(
            not self.cpu or _known(_own_cpu(facts), self.cpu),
            not self.page_size or _known(facts.page_size, self.page_size),
            not self.accel or facts.accel in self.accel,
            not self.qemu or _in_range(facts.qemu, self.qemu),
            *(test.holds(facts.config) for test in self.config),
            not self.source or self.source.holds(facts.source),
            not self.decision or _stands(self.decision, facts),
        )


def all_hold(*tests: bool | None) -> bool | None:
    """Whether all hold: False as soon as one does not, None when that is not known."""
    if any(test is False for test in tests):
        return False
    return None if None in tests else True


def _stands(decision: Decision, facts: Facts) -> bool | None:
    """Whether every point of it that is for this arch and version stands in the tree."""
    points = [one for one in decision.points if one.applies(facts.arch, facts.version)]
    found = all_hold(*(SourceTest(one.file, one.text).holds(facts.source) for one in points))
    return found if points else False


def _own_cpu(facts: Facts) -> str | None:
    """The CPU by QEMU's name, which says what it has; None where it is whatever the host has."""
    emulated = facts.accel in ("", "tcg")
    return facts.cpu if emulated or facts.cpu not in ("max", "host") else None


def _known(value: object, choices: tuple[object, ...]) -> bool | None:
    return None if value is None else value in choices


ALWAYS = When()


class Bug(Struct, frozen=True):
    """Where the source's behaviour is wrong, and what a correct kernel would give."""

    ref: str
    want: tuple[Wanted, ...]  # a set: a kernel that gives one of them is fixed


@dataclass(frozen=True, kw_only=True)
class Row:
    """One expectation. Selectors that are empty or None select everything."""

    arch: tuple[str, ...] = ()
    kernel: VersionRange | None = None
    flavour: tuple[str, ...] = ()
    when: When = ALWAYS
    outcomes: tuple[Outcome, ...]  # a set: the observation must be a member
    because: str
    evidence: tuple[str, ...] = ()  # ids of decisions
    bug: Bug | None = None
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    def matches(self, facts: Facts) -> bool | None:
        """None: it depends on a fact that is not known, as the source of a ready image."""
        selected = (
            facts.arch.matches(self.arch)
            and (self.kernel is None or self.kernel.contains(facts.version))
            and (not self.flavour or facts.flavour in self.flavour)
        )
        return self.when.holds(facts) if selected else False


class Known(Struct, frozen=True):
    """The names that rows may use."""

    arches: Mapping[str, Arch]
    flavours: tuple[str, ...]
    decisions: Mapping[str, Decision]


def read_rows(node: Node, known: Known) -> tuple[Row, ...]:
    """The rows under ``expect:``. Raises DeclarationError, also for a row that cannot match."""
    rows: list[Row] = []
    for item in node.items():
        row = _row(item, known)
        covering = _covering(row, rows, known.arches)
        if covering:
            lines = ", ".join(str(earlier.line) for earlier in covering)
            hint = "remove it, or move it up: the first matching row wins"
            raise item.error(f"this row can never match: rows before it win (line {lines})", hint)
        rows.append(row)
    return tuple(rows)


def _row(node: Node, known: Known) -> Row:
    fields = node.record(required=("outcome", "because"), optional=(*SELECTORS, "bug"))
    outcomes = _outcomes(fields["outcome"], parse)
    return Row(
        outcomes=outcomes,
        because=fields["because"].text(),
        bug=_bug(fields["bug"], outcomes) if "bug" in fields else None,
        file=node.file,
        line=node.line,
        **select(fields, known),
    )


SELECTORS = ("arch", "kernel", "flavour", "when", "evidence")


class Selected(TypedDict):
    """What a row says of the columns it is for, and its evidence, which limits them as well."""

    arch: tuple[str, ...]
    kernel: VersionRange | None
    flavour: tuple[str, ...]
    when: When
    evidence: tuple[str, ...]


def select(fields: dict[str, Node], known: Known) -> Selected:
    """The values of ``SELECTORS``. Raises DeclarationError."""
    return Selected(
        arch=read_arches(fields["arch"], list(known.arches)) if "arch" in fields else (),
        kernel=fields["kernel"].read(VersionRange.parse) if "kernel" in fields else None,
        flavour=_choices(fields, "flavour", known.flavours),
        when=_when(fields["when"], known) if "when" in fields else ALWAYS,
        evidence=_choices(fields, "evidence", tuple(known.decisions), "decision"),
    )


def _choices(
    fields: dict[str, Node], key: str, names: tuple[str, ...], what: str = ""
) -> tuple[str, ...]:
    if key not in fields:
        return ()
    return tuple(item.choice(names, what or key) for item in fields[key].one_or_more())


def _outcomes(node: Node, read: Callable[[str], _One]) -> tuple[_One, ...]:
    outcomes: list[_One] = []
    for item in node.one_or_more():
        outcome = read_outcome(item, read)
        if outcome in outcomes:
            raise item.error(f"the outcome {quote(str(outcome))} stands here twice")
        outcomes.append(outcome)
    return tuple(outcomes)


def read_outcome(node: Node, read: Callable[[str], _One]) -> _One:
    """One outcome, by `parse` or `parse_wanted`. Raises DeclarationError."""
    try:
        return read(node.text())
    except OutcomeError as error:
        cut_off = error.position == len(error.text)
        hint = "quote it: within [ ] and { } a comma ends a text" if cut_off else ""
        raise node.error(str(error), hint) from error


def _bug(node: Node, outcomes: tuple[Outcome, ...]) -> Bug:
    fields = node.record(required=("ref", "want"))
    wants = _outcomes(fields["want"], parse_wanted)
    if all(any(is_wanted(str(want), str(one)) for want in wants) for one in outcomes):
        given = quote(str(outcomes[0]))
        message = f"{given} is both predicted and what a correct kernel would give"
        raise fields["want"].error(message, "remove `bug:`, or correct one of the two")
    return Bug(fields["ref"].text(), wants)


def _when(node: Node, known: Known) -> When:
    tests = ("source", "decision", "config", "cpu", "page_size", "accel", "qemu")
    fields = node.record(optional=tests)
    if not fields:
        raise node.error("`when:` is empty", "remove it, or give a test")
    pages = fields["page_size"].one_or_more() if "page_size" in fields else ()
    lines = fields["config"].one_or_more() if "config" in fields else ()
    return When(
        decision=_decision(fields["decision"], known) if "decision" in fields else None,
        source=_source_test(fields["source"]) if "source" in fields else None,
        config=tuple(map(read_config_test, lines)),
        cpu=fields["cpu"].texts() if "cpu" in fields else (),
        page_size=tuple(page.number() for page in pages),
        accel=fields["accel"].texts() if "accel" in fields else (),
        qemu=fields["qemu"].read(VersionRange.parse) if "qemu" in fields else None,
    )


def _decision(node: Node, known: Known) -> Decision:
    return known.decisions[node.choice(tuple(known.decisions), "decision")]


def _source_test(node: Node) -> SourceTest:
    fields = node.record(required=("file",), optional=("text", "absent"))
    if ("text" in fields) == ("absent" in fields):
        raise node.error("expected either `text` or `absent`")
    wanted = fields.get("text") or fields["absent"]
    return SourceTest(fields["file"].text(), wanted.text(), "absent" in fields)


def read_config_test(node: Node) -> ConfigTest:
    """A line of a .config, as a test. Raises DeclarationError."""
    text = node.text()
    match = re.fullmatch(r"(CONFIG_\w+)(?:=(.+)| is not set)", text, re.ASCII)
    if match is None:
        hint = "write CONFIG_X=y, or CONFIG_X is not set"
        raise node.error(f"expected a line of a .config, found {quote(text)}", hint)
    value = match.group(2)
    return ConfigTest(match.group(1), None if value == "n" else value)


def _covering(row: Row, earlier: list[Row], arches: Mapping[str, Arch]) -> list[Row]:
    """Earlier rows that leave nothing for ``row``; none when it can match, or nobody can tell.

    A row without an arch selector stands for arches that are still to come, too: rows for all
    of today's do not cover it.
    """
    found: list[Row] = []
    for arch in row.arch or ("",):
        rivals = [
            rival
            for rival in earlier
            if rival.when in (ALWAYS, row.when)
            and _includes(rival.flavour, row.flavour)
            and (not rival.arch or (arch and arches[arch].matches(rival.arch)))
        ]
        ranges = [rival.kernel or EVERY_VERSION for rival in rivals]
        if not covered(row.kernel or EVERY_VERSION, ranges):
            return []
        found += [rival for rival in rivals if rival not in found]
    return found


def _in_range(text: str, versions: VersionRange) -> bool:
    try:
        return versions.contains(parse_version(text))
    except VersionError:
        return False


def _includes(selector: Iterable[str], other: Iterable[str]) -> bool:
    return not selector or (bool(other) and set(other) <= set(selector))


@functools.lru_cache(maxsize=128)  # of a source file: many rows ask the same one
def _squeeze(text: str) -> str:
    return " ".join(text.split())
