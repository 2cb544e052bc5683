"""Does the text that decides an outcome still stand in the kernel that was built?

A decision point names a file, a function of it (or none: the whole file) and a text. The text
must stand exactly once there, runs of white space being equal. Finding a function needs no
parser of C: comments and literals are blanked, and then a definition is a name followed by
balanced parentheses and a brace, outside all braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace
from packaging.version import Version

from harness.build.ctext import NO_CODE
from harness.build.tools import file_digest
from harness.results import Evidence

if TYPE_CHECKING:
    from harness.build.kept import Kept
    from harness.catalog.arches import Arch
    from harness.catalog.matrix import Decision, Point

_SHOWN = 5  # places of a text that ought to have one
_CONTEXT = 3  # lines of source before and after the text that a report can show


def look_up(
    source: Path | None, decisions: Iterable[Decision], arch: Arch, version: Version, kept: Kept
) -> dict[str, tuple[Evidence, ...]]:
    """`check_evidence` of many decisions, by their ids; kept by the content of the files they
    name, so that an edit elsewhere in a tree does not cost a second look.
    """
    chosen = list(decisions)

    def look() -> dict[str, tuple[Evidence, ...]]:
        return {one.id: tuple(check_evidence(source, one, arch, version)) for one in chosen}

    points = [(one.id, point) for one in chosen for point in _applying(one, arch, version)]
    if source is None or not points:
        return look()
    texts = [[name, point.file, point.function, point.text] for name, point in points]
    files = sorted({point.file for _, point in points})

    def inputs() -> object:
        return [[one.id for one in chosen], texts, [_content(source, file) for file in files]]

    found = kept.get("evidence", inputs, look)
    return {one.id: tuple(_declared(piece, one) for piece in found[one.id]) for one in chosen}


def _declared(piece: Evidence, decision: Decision) -> Evidence:
    """With the line that its point has now, where somebody has to go there: one that has moved is
    no reason to look anew.
    """
    if piece.status != "stale":
        return piece
    wanted = (piece.file, piece.function, piece.text)
    places = (p.declared for p in decision.points if (p.file, p.function, p.text) == wanted)
    return replace(piece, declared=next(places, ""))


def _applying(decision: Decision, arch: Arch, version: Version) -> list[Point]:
    return [point for point in decision.points if point.applies(arch, version)]


def _content(source: Path, file: str) -> str:
    """The digest of a file as `read_source` finds it; "" where it finds none."""
    path = _inside(source, file)
    return file_digest(path) if path else ""


def check_evidence(
    source: Path | None, decision: Decision, arch: Arch, version: Version
) -> list[Evidence]:
    """One `Evidence` for each point of the decision that applies to this arch and version.

    valid: the text stands exactly once, `line` says where, and `excerpt` shows it. stale: it
    does not, or the file or the function is gone. unchecked: there is no source to look at.
    Never raises for what a source holds; OSError other than a missing file comes through.
    """
    checked = []
    for point in _applying(decision, arch, version):
        found = Evidence(id=decision.id, file=point.file, function=point.function, text=point.text)
        if source is not None:
            place = _find(source, point.file, point.function, point.text)
            stale = {"status": "stale", "why": place, "declared": point.declared}
            found = replace(found, **(stale if isinstance(place, str) else place))
        checked.append(found)
    return checked


def _find(source: Path, file: str, function: str, text: str) -> dict[str, object] | str:
    """Fields of the evidence for the text's only occurrence; why not, unless it stands once."""
    content = read_source(source, file)
    if content is None:
        return "there is no such file"
    pattern = re.compile(r"\s+".join(re.escape(word) for word in text.split()))
    bodies = find_functions(content, function) if function else [(0, len(content))]
    if not bodies:
        return "there is no such function"
    hits = [hit for start, end in bodies for hit in pattern.finditer(content, start, end)]
    if not hits or not pattern.pattern:
        return "the text is not there"
    if len(hits) > 1:
        lines = ", ".join(str(content.count("\n", 0, hit.start()) + 1) for hit in hits[:_SHOWN])
        return f"the text is there {len(hits)} times, on line {lines}"
    line, last = (content.count("\n", 0, at) + 1 for at in hits[0].span())
    first = max(line - _CONTEXT, 1)
    shown = content.split("\n")[first - 1 : last + _CONTEXT]
    return {
        "status": "valid",
        "line": line,
        "last": last,
        "excerpt": "\n".join(shown),
        "excerpt_line": first,
    }


def read_source(source: Path, file: str) -> str | None:
    """A file's text in a kernel tree; None if the tree has no such file or it lies outside."""
    path = _inside(source, file)
    return _read(path, path.stat().st_mtime_ns) if path else None


def _inside(source: Path, file: str) -> Path | None:
    """A file of a tree, links followed; None if there is none, or it lies outside."""
    path = (source / file).resolve()
    return path if path.is_relative_to(source.resolve()) and path.is_file() else None


@lru_cache(maxsize=256)
def _read(path: Path, mtime: int) -> str:
    del mtime  # part of the cache's key
    return path.read_text(encoding="utf-8", errors="replace")


@lru_cache(maxsize=256)
def blank(text: str) -> str:
    """The text with all that is no code replaced by blanks of the same length."""
    return NO_CODE.sub(_spaces, text)


def _spaces(match: re.Match[str]) -> str:
    return "\n".join(" " * len(line) for line in match[0].split("\n"))


@lru_cache(maxsize=1024)
def find_functions(text: str, name: str) -> list[tuple[int, int]]:
    """(start, end) of each definition of a function, its signature included.

    Several are alternatives under #ifdef. Known shapes: `type name(...) {`, K&R attributes
    and macros between the two, `SYSCALL_DEFINE3(name, ...) {` and other definition macros that
    name their function first, and assembler's `SYM_FUNC_START(name)` and `name:`.
    """
    code = blank(text)
    found = []
    # No \b in front: a pattern that begins with a literal is searched ten times faster.
    for match in re.finditer(rf"{re.escape(name)}\b", code):
        start, end = match.span()
        part = start > 0 and (code[start - 1].isalnum() or code[start - 1] == "_")
        span = None if part else _c_definition(code, start, end)
        if span is not None:
            found.append(span)
    return found or _assembler_definitions(text, name)


def _c_definition(code: str, start: int, end: int) -> tuple[int, int] | None:
    """The span of the definition whose name stands at code[start:end]; None if it is none."""
    if _depth(code, start) != 0:
        return None
    before = code[:start].rstrip()
    if before.endswith("("):  # SYSCALL_DEFINE3(madvise, ...)
        macro = re.search(r"[A-Z][A-Z0-9_]*$", before[:-1].rstrip())
        if macro is None:
            return None
        opening = len(before) - 1
    else:
        opening = end + len(code[end:]) - len(code[end:].lstrip())
    if code[opening : opening + 1] != "(":
        return None
    closing = _match(code, opening, "(", ")")
    if closing is None:
        return None
    # Between the signature and its body: attributes and annotations such as __acquires(x).
    tail = re.compile(r"(?:\s|\b\w+\b|\([^(){};]*\))*\{").match(code, closing)
    if tail is None:
        return None
    first = max(code.rfind(mark, 0, start) for mark in (";", "}", "\n\n")) + 1
    return first + len(code[first:start]) - len(code[first:start].lstrip()), _body_end(
        code, tail.end() - 1
    )


def _body_end(code: str, opening: int) -> int:
    """Where the body ends that opens here: its closing brace, or the first one in column 0.

    Branches of #if may open the same brace twice; by the kernel's style column 0 is the end.
    """
    balanced = _match(code, opening, "{", "}") or len(code)
    column0 = code.find("\n}", opening, balanced)
    return column0 + 2 if column0 >= 0 else balanced


def _match(code: str, opening: int, left: str, right: str) -> int | None:
    """The position behind the bracket that closes the one at `opening`."""
    depth = 0
    for match in re.compile(f"[{re.escape(left + right)}]").finditer(code, opening):
        depth += 1 if match[0] == left else -1
        if depth == 0:
            return match.end()
    return None


def _depth(code: str, position: int) -> int:
    """How many braces are open; `extern "C" {` does not occur in the kernel.

    Branches of #if that open the same brace twice make the count drift. The kernel's style
    ends every function with a brace in column 0, so counting starts behind the last of them.
    """
    start = code.rfind("\n}", 0, position)
    start = start + 2 if start >= 0 else 0
    return code.count("{", start, position) - code.count("}", start, position)


def _assembler_definitions(text: str, name: str) -> list[tuple[int, int]]:
    """A label's code: to the END macro of that name, else to the next global label or macro."""
    label = re.escape(name)
    start = rf"^[ \t]*(?!\w*(?:END|EXPORT|ALIAS))[A-Z]\w*(?:\([ \t]*|[ \t]+){label}\b|^{label}:"
    end = rf"^[ \t]*[A-Z]\w*END\w*(?:\([ \t]*|[ \t]+){label}\b|^[ \t]*\.end[ \t]+{label}\b"
    next_one = r"^[ \t]*(?:SYM_\w*START\w*|ENTRY|WEAK)\(|^[A-Za-z_][\w.$]*:"
    found = []
    for match in re.finditer(start, text, re.MULTILINE):
        stop = re.compile(end, re.MULTILINE).search(text, match.end())
        if stop is None:
            stop = re.compile(next_one, re.MULTILINE).search(text, match.end())
        found.append((match.start(), stop.start() if stop else len(text)))
    return found[:1]  # the others are the same label inside the first, or another file's style
