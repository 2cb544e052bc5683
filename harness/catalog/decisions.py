"""Decisions: the places in kernel sources where behaviour is decided, each with a name.

What a row rests on (`evidence:`), and what chooses between rows where a version number cannot
(`when: {decision: ...}`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct
from packaging.version import Version

from harness.catalog.arches import Arch, read_arches
from harness.catalog.version import VersionRange
from harness.catalog.yamlfile import Node, quote


class Point(Struct, frozen=True):
    """One place in a source tree: ``text`` must stand exactly once in ``function``."""

    arch: tuple[str, ...]  # empty: every arch
    kernel: VersionRange | None  # None: every version
    file: str  # path in the tree
    function: str  # "": the whole file
    text: str  # runs of white space compare equal
    declared: str = ""  # FILE:LINE

    def applies(self, arch: Arch, version: Version) -> bool:
        in_range = self.kernel is None or self.kernel.contains(version)
        return in_range and arch.matches(self.arch)


class Decision(Struct, frozen=True):
    """Something the kernel decides, and where it does so per arch and version."""

    id: str
    about: str
    points: tuple[Point, ...]


def read_decisions(node: Node, arches: Mapping[str, Arch]) -> dict[str, Decision]:
    """All of `expectations/decisions.yaml`. Raises DeclarationError."""
    decisions = {}
    for name, item in node.mapping().items():
        check_name(name, "decision", item)
        fields = item.record(required=("about", "points"))
        points = tuple(_point(point, arches) for point in fields["points"].one_or_more())
        decisions[name] = Decision(name, fields["about"].text(), points)
    return decisions


def _point(node: Node, arches: Mapping[str, Arch]) -> Point:
    fields = node.record(required=("file", "text"), optional=("arch", "kernel", "function"))
    return Point(
        arch=read_arches(fields["arch"], list(arches)) if "arch" in fields else (),
        kernel=fields["kernel"].read(VersionRange.parse) if "kernel" in fields else None,
        file=fields["file"].text(),
        function=fields["function"].text() if "function" in fields else "",
        text=fields["text"].text(),
        declared=f"{node.file}:{node.line}",
    )


def check_name(name: str, what: str, node: Node) -> None:
    """Raises DeclarationError for what is no name of a family, a scenario or a decision."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", name):
        hint = "use lower-case letters, digits and -"
        raise node.error(f"{quote(name)} is no name for a {what}", hint)
