"""Observed outcomes become expectations: which cells may, under what selectors, in what place.

Nothing is blessed blindly. A cell must have been observed, alike each time and by a run that
came to its end; the row that judged it must still stand where it stood; what a kernel does when
it has a bug needs the bug's name; and the files are loaded again before they are written.
"""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.catalog.arches import Arch
from harness.catalog.edit import NewRow, insert_row, one_line, replace_row
from harness.catalog.kernels import DebianSource, TarballSource
from harness.catalog.matrix import FOLDER, Facts, Matrix, Row, Scenario, load_matrix
from harness.catalog.outcome import Outcome, Trouble, parse
from harness.catalog.project import Project
from harness.catalog.scanner import OutcomeError
from harness.catalog.version import VersionError, VersionRange, parse_version
from harness.catalog.yamlfile import DeclarationError, quote
from harness.results import ColumnRecord, ResultRecord, Results, Verdict, current, interrupted

_BLESSED = (Verdict.MISMATCH, Verdict.NO_EXPECTATION, Verdict.FIXED)
_COMMITS = re.compile(r"-g[0-9a-f]{7,40}$")  # as git describes what is on top of a tag
_OBSERVED = (*_BLESSED, Verdict.MATCH, Verdict.KNOWN_BUG, Verdict.NOT_APPLICABLE)


class Refusal(DeclarationError):
    """A cell that is not fit to be blessed, or words that do not suffice."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__("", 0, message, hint)


class Words(Struct, frozen=True, kw_only=True):
    """What a person has to say for it."""

    because: str
    evidence: tuple[str, ...]
    bug: str = ""  # a reference
    want: str = ""  # what a correct kernel would give
    kernels: str = ""  # a range that is wider than what was observed
    own_commits: bool = False  # a release with commits on top speaks for the release


class _Seen(Struct, frozen=True):
    """A cell with what is known of its column."""

    cell: ResultRecord
    facts: Facts
    outcome: Outcome
    version: str  # exact, as the column tells it


class Blessing(Struct, frozen=True):
    """One row that is to be written, and the cells that it was seen in."""

    scenario: str
    place: int  # of the row that it goes in front of, among the scenario's; their number: the end
    row: NewRow
    seen: tuple[_Seen, ...]

    def __str__(self) -> str:
        where = f"{', '.join(self.row.arch)}, kernel {self.row.kernel}"
        return f"{self.scenario}: {self.row.outcome} on {where}"


def bless(
    project: Project, results: Results, chosen: Results, words: Words
) -> tuple[list[Blessing], str]:
    """Which rows those of `chosen` that are not as expected come to, and what that changes.

    `chosen` is a part of `results`: no row may speak against the rest. Raises DeclarationError:
    a cell that is not fit for it, words that do not suffice, or a matrix that would not load.
    """
    words = _checked(project, words)
    observed, missing = current(chosen)
    if missing:
        column, scenario = missing[0]
        raise Refusal(f"{scenario} on {column.column} was planned and never observed", "run again")
    seen = [_seen(project, results, cell, words) for cell in _fit(chosen, observed)]
    if not seen:
        raise Refusal("nothing to bless: every cell that is left is as expected")
    blessings = list(_rows(project, seen, words))
    _contradictions(project, results, blessings)
    return blessings, _written(project, blessings, dry=True)


def write(project: Project, blessings: Sequence[Blessing]) -> None:
    """Write the files. Raises OSError, DeclarationError."""
    _written(project, blessings, dry=False)


# --- may it be blessed?


def _checked(project: Project, words: Words) -> Words:
    for name in words.evidence:
        if name not in project.matrix.decisions:
            hint = f"declare it in {FOLDER}/decisions.yaml first: file, function and text"
            raise Refusal(f"unknown decision {quote(name)}", hint)
    if not words.evidence:
        hint = f"name the decisions of {FOLDER}/decisions.yaml it rests on: --evidence ID"
        raise Refusal("an expectation needs evidence", hint)
    if bool(words.bug) != bool(words.want):
        raise Refusal("a known bug needs both its reference and the outcome that is wanted")
    want = str(_outcome(words.want, "the outcome that is wanted")) if words.want else ""
    if words.kernels:
        try:
            VersionRange.parse(words.kernels)
        except VersionError as error:
            raise Refusal(f"not a range of kernels: {error}") from None
    return replace(
        words,
        because=one_line(words.because, "the reason"),
        evidence=tuple(dict.fromkeys(words.evidence)),
        bug=one_line(words.bug, "the reference") if words.bug else "",
        want=want,
    )


def _outcome(text: str, what: str) -> Outcome:
    try:
        return parse(text)
    except OutcomeError as error:
        raise Refusal(f"{what}: {error}") from None


def _fit(results: Results, observed: Iterable[ResultRecord]) -> Iterator[ResultRecord]:
    """The cells that are not as expected; Refusal for one that proves nothing."""
    unfinished = {*interrupted(results), *(e.run_id for e in results.ends.values() if e.reason)}
    for cell in observed:
        where = f"{cell.scenario} on {cell.column}"
        if cell.verdict not in _OBSERVED:
            why = cell.observation.failure or cell.verdict.value
            raise Refusal(f"{where} was not observed: {why[:200]}", "run it again, or leave it out")
        if cell.verdict not in _BLESSED:
            continue
        if cell.run_id in unfinished:
            raise Refusal(f"{where} is of a run that did not come to its end", "run it again")
        if cell.confirmation not in ("", "confirmed"):
            hint = "find out what it depends on: what is not the same twice cannot be expected"
            raise Refusal(f"{where} was not the same twice: {cell.confirmation[:200]}", hint)
        yield cell


def _seen(project: Project, results: Results, cell: ResultRecord, words: Words) -> _Seen:
    where = f"{cell.scenario} on {cell.column}"
    column = results.columns.get((cell.run_id, cell.column))
    if column is None:
        raise Refusal(f"{where}: the record of its column is lost", "run it again")
    if column.target != "qemu":
        hint = "a row speaks of a kernel; what another system does is not in the matrix"
        raise Refusal(f"{where} was seen on {column.target}", hint)
    if why := _unreleased(project, column, words):
        raise Refusal(f"{where}: {column.kernel} ({column.version}) {why[0]}", why[1])
    if cell.scenario not in project.matrix.scenarios:
        raise Refusal(f"{where}: the matrix has no such scenario")
    outcome = _outcome(cell.observation.outcome, where)
    trouble = outcome.wedges or any(isinstance(result, Trouble) for result in outcome.results)
    if trouble and not words.bug:
        hint = "name it: --known-bug REFERENCE --want OUTCOME"
        raise Refusal(f"{where}: {outcome} is a bug of the kernel, whatever it rests on", hint)
    facts = _facts(project, column)
    for name in words.evidence:
        points = project.matrix.decisions[name].points
        if not any(point.applies(facts.arch, facts.version) for point in points):
            hint = f"declare where {column.arch} {facts.version} decides it"
            raise Refusal(f"{where}: no point of the decision {name} applies to it", hint)
        for item in cell.evidence:
            if item.id == name and item.status == "stale":
                hint = f"declare in {FOLDER}/decisions.yaml what decides it now"
                told = f"{item.file} {item.function} has no {quote(item.text)}"
                raise Refusal(f"{where}: the decision {name} is stale there: {told}", hint)
    return _Seen(cell, facts, outcome, column.version)


def _unreleased(project: Project, column: ColumnRecord, words: Words) -> tuple[str, str] | None:
    """(why a row for releases must not rest on this kernel, what to do); None where it may."""
    if "+" in column.kernel or column.version.endswith("-dirty"):
        return "has changes of its own", "the matrix speaks of kernels as they were released"
    declared = project.kernels.get(column.kernel)
    if declared is not None and isinstance(declared.source, DebianSource | TarballSource):
        return None
    if "commit" not in column.provenance:
        hint = "run a package, a tarball, or a git tree at a release's tag"
        return "may be anything: nothing tells what it was made from", hint
    if _COMMITS.search(column.version) and not words.own_commits:
        hint = "run the release; or --own-commits, which is written into the reason"
        return "has commits on top of the release that a row would speak of", hint
    return None


def _facts(project: Project, column: ColumnRecord) -> Facts:
    """What the results file knows of a column; its source and .config are not at hand."""
    try:
        version = parse_version(column.version or column.release)
    except VersionError as error:
        raise Refusal(f"{column.column}: its kernel's version is not known: {error}") from None
    return Facts(
        arch=project.arch(column.arch),
        version=version,
        flavour=column.flavour,
        cpu=column.provenance.get("cpu", ""),
        accel=column.provenance.get("accel", ""),
        qemu=column.provenance.get("qemu", ""),
    )


# --- the narrowest rows


def _rows(project: Project, seen: Iterable[_Seen], words: Words) -> Iterator[Blessing]:
    """One row for the cells of equal outcome before the same row, of the same kernels."""
    by_arch: dict[tuple[str, int, str, str, str], list[_Seen]] = defaultdict(list)
    for one in seen:
        place = _covering(project.matrix.scenarios[one.cell.scenario], one)
        flavour = "" if one.facts.flavour == "core" else one.facts.flavour
        arch = one.facts.arch.name
        by_arch[one.cell.scenario, place, str(one.outcome), flavour, arch].append(one)
    rows: dict[tuple[str, int, str, str, str], list[_Seen]] = defaultdict(list)
    for (scenario, place, outcome, flavour, _), alike in by_arch.items():
        for kernels, part in _ranges(alike, words).items():
            rows[scenario, place, outcome, flavour, kernels] += part
    for (scenario, place, outcome, flavour, kernels), part in rows.items():
        row = NewRow(
            arch=tuple(dict.fromkeys(one.facts.arch.name for one in part)),
            kernel=kernels,
            flavour=flavour,
            outcome=outcome,
            because=_reason(words, part),
            evidence=words.evidence,
            bug=words.bug,
            want=words.want,
        )
        yield Blessing(scenario, place, row, tuple(part))


def _reason(words: Words, seen: Iterable[_Seen]) -> str:
    """Why, and on what it was seen where that is not the release itself."""
    changed = sorted({one.version for one in seen if _COMMITS.search(one.version)})
    return words.because + (f" (seen on {', '.join(changed)})" if changed else "")


def _ranges(seen: Iterable[_Seen], words: Words) -> dict[str, list[_Seen]]:
    """The release series that were seen, each a range; or the one that was asked for."""
    ranges: dict[str, list[_Seen]] = defaultdict(list)
    for one in seen:
        major, minor = one.facts.version.release[:2]
        kernels = words.kernels or f">={major}.{minor}, <{major}.{minor + 1}"
        if not VersionRange.parse(kernels).contains(one.facts.version):
            raise Refusal(f"{one.cell.column} is Linux {one.facts.version}, not in {kernels}")
        ranges[kernels].append(one)
    return ranges


def _covering(scenario: Scenario, one: _Seen) -> int:
    """The place of the row that judged the cell, or before which one for it has to stand."""
    cell = one.cell
    if cell.declared:
        for place, row in enumerate(scenario.rows):
            if f"{row.file}:{row.line}" == cell.declared and cell.because.startswith(row.because):
                return place
        hint = "run it again: what was observed was judged by a row that is gone"
        raise Refusal(f"{cell.declared} is not the row that it was", hint)
    places = (p for p, row in enumerate(scenario.rows) if row.matches(one.facts))
    return next(places, len(scenario.rows))


def _contradictions(project: Project, results: Results, blessings: Iterable[Blessing]) -> None:
    """A new row must not speak of a cell of these results that saw something else."""
    observed, _ = current(results)
    rows: dict[str, list[Blessing]] = defaultdict(list)
    for blessing in blessings:
        rows[blessing.scenario].append(blessing)
    for cell in observed:
        column = results.columns.get((cell.run_id, cell.column))
        if column is None or column.arch not in project.arches or column.target != "qemu":
            continue
        for blessing in rows[cell.scenario]:
            row, facts = blessing.row, _facts(project, column)
            speaks = (
                facts.arch.matches(row.arch)
                and VersionRange.parse(row.kernel).contains(facts.version)
                and row.flavour in ("", facts.flavour)
            )
            if speaks and cell.observation.outcome not in ("", row.outcome):
                told = f"{cell.column} saw {cell.observation.outcome}"
                hint = "narrow it by --arch, --kernel or --flavour: a reason for each outcome"
                raise Refusal(f"{blessing} would speak of another cell as well: {told}", hint)


# --- the files


def _written(project: Project, blessings: Sequence[Blessing], dry: bool) -> str:
    """The unified diff; the files are written unless `dry`. All of them are loaded first."""
    with tempfile.TemporaryDirectory(prefix="faultline-bless-") as name:
        scratch = Path(name)
        shutil.copytree(project.root / FOLDER, scratch / FOLDER)
        (scratch / "flavours").symlink_to(project.root / "flavours")
        before: Counter[tuple[str, int]] = Counter()  # rows written in front of this one already
        matrix = load_matrix(scratch, project.arches)
        # From the last row up: an edit does not move those above it.
        for blessing in sorted(blessings, key=lambda b: -b.place):
            where = (blessing.scenario, blessing.place)
            place = blessing.place + before[where]
            matrix = _edited(matrix, scratch, blessing, place, project.arches)
            before[where] += 1
        for blessing in blessings:
            _check(blessing, matrix)
        files = sorted({project.matrix.scenarios[b.scenario].file for b in blessings})
        texts = {file: (scratch / file).read_text(encoding="utf-8") for file in files}
    diff: list[str] = []
    for file, text in texts.items():
        old = (project.root / file).read_text(encoding="utf-8").splitlines(keepends=True)
        new = text.splitlines(keepends=True)
        diff += difflib.unified_diff(old, new, f"a/{file}", f"b/{file}")
    if not dry:
        for file, text in texts.items():
            _replace(project.root / file, text)
    return "".join(diff)


def _edited(
    matrix: Matrix, scratch: Path, blessing: Blessing, place: int, arches: Mapping[str, Arch]
) -> Matrix:
    """The matrix with one more row in its file. Where that leaves the row behind it nothing, it
    takes its place.
    """
    scenario = matrix.scenarios[blessing.scenario]
    file = scratch / scenario.file
    text = file.read_text(encoding="utf-8")
    before = scenario.rows[place] if place < len(scenario.rows) else None
    file.write_text(insert_row(text, scenario, before, blessing.row), encoding="utf-8")
    try:
        return load_matrix(scratch, arches)
    except DeclarationError:
        if before is None:
            raise
    file.write_text(replace_row(text, before, blessing.row), encoding="utf-8")
    return load_matrix(scratch, arches)


def _check(blessing: Blessing, after: Matrix) -> None:
    """In the new matrix the new row is the one that speaks of its cells."""
    for one in blessing.seen:
        row = _first(after.scenarios[blessing.scenario].rows, one.facts)
        if row is None or list(map(str, row.outcomes)) != [blessing.row.outcome]:
            line = f"{row.file}:{row.line}" if row else "no row"
            raise Refusal(f"{one.cell.column} would still be judged by {line}: amend it by hand")


def _first(rows: Iterable[Row], facts: Facts) -> Row | None:
    """The first row that surely matches; tests on a source or a .config are not at hand."""
    return next((row for row in rows if row.matches(facts)), None)


def _replace(path: Path, text: str) -> None:
    """All of it or nothing."""
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text(text, encoding="utf-8")
        shutil.copymode(path, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
