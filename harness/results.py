"""Record types and the results file: JSON Lines, written as they come.

Four record types share one file: ``run``, ``column``, ``result``, ``end``. Each line stands
for itself and is keyed by (run_id, column, scenario, attempt): order means nothing, and
concatenated results files are a results file. A run without ``end`` was interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import msgspec
from msgspec import Struct

from harness.jsontext import NOT_JSON

SCHEMA: Final = 1

# Sets of which a schema tells the members: in `enum` and `Literal` a reader meets nothing else.
Target = Literal["qemu", "local", "ssh", "qemu-user", "import"]
EvidenceStatus = Literal["valid", "stale", "unchecked"]
ExitCode = Annotated[int, msgspec.Meta(extra_json_schema={"enum": [0, 1, 2, 3, 129, 130, 143]})]


class Verdict(str, Enum):
    """How one observation stands to its expectation."""

    MATCH = "match"
    KNOWN_BUG = "known-bug"  # as predicted, and the prediction says it is wrong
    FIXED = "fixed"  # equals `bug.want`: amend the row
    MISMATCH = "mismatch"
    NO_EXPECTATION = "no-expectation"
    NOT_APPLICABLE = "not-applicable"  # n/a observed where n/a was expected
    MISSING = "missing"  # planned, and never observed
    NOT_RUN = "not-run"  # refused: it could harm the machine, and nobody asked for it by name
    INFRA = "infra"  # set-up failed, machine lost: says nothing about the kernel


class Observation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a target saw for one scenario, before anybody judged it."""

    scenario: str
    outcome: str = ""  # canonical text (catalog.outcome); "" when `failure` is set
    cause: str = ""  # why it is n/a
    failure: str = ""  # set-up step and errno, or what was lost: verdict infra
    details: dict[str, str] = {}  # second tier: recorded, not part of the outcome
    console: list[str] = []  # kernel log lines of this scenario, newest last
    ms: int = 0  # wall time in milliseconds, as the harness saw it
    alive: bool = True  # False: the machine cannot be trusted after this one


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision point: text that must stand once in a function of the built tree."""

    id: str
    file: str
    function: str
    text: str
    status: EvidenceStatus = "unchecked"
    line: int = 0  # where it was found, 1-based; 0 = not found or not checked
    last: int = 0  # the line it ends on; 0 as above
    excerpt: str = ""  # the lines around it, as they stand in the tree
    excerpt_line: int = 0  # the number of the first of them
    why: str = ""  # of what is stale: "no such function"
    declared: str = ""  # of what is stale: FILE:LINE of the point


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="run"):
    run_id: str
    schema: Literal[1] = SCHEMA
    started: str = ""  # ISO 8601, UTC
    harness: str = ""  # version of this program
    command: list[str] = []
    host: dict[str, str] = {}


class ColumnRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="column"):
    run_id: str
    column: str  # "debian-6.12,m68k"
    target: Target = "qemu"
    arch: str = ""
    kernel: str = ""  # the kernel spec as given: "debian-6.12"
    flavour: str = "core"
    version: str = ""  # exact version it resolved to
    release: str = ""  # uname -r as the guest said it
    # source, patches, config digest, compiler, qemu, accel, cpu, command
    provenance: dict[str, str] = {}
    timings: dict[str, float] = {}  # seconds: build_kernel, build_guest, boot
    planned: list[str] = []  # scenarios: what is planned and has no result is missing


class ResultRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="result"):
    run_id: str
    column: str
    scenario: str
    summary: str = ""  # what the scenario does, in a sentence
    attempt: int = 1
    verdict: Verdict = Verdict.INFRA
    observation: Observation
    expected: list[str] = []  # a set: the observation must be a member
    want: str = ""  # bug.want: what a correct kernel would give, " or " between several
    because: str = ""
    bug: str = ""  # bug.ref
    evidence: list[Evidence] = []
    declared: str = ""  # FILE:LINE of the row that matched
    confirmation: str = ""  # confirmed | flake | order-dependent(NAME) | late: of a second run
    repeat: str = ""  # the command that repeats just this cell
    # With `run --repeat`, in the last record of a cell: outcome -> how often it came; "" stands
    # for attempts without an outcome. Every attempt has a record of its own besides.
    tally: dict[str, int] = {}


class EndRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="end"):
    run_id: str
    finished: str = ""
    exit_code: ExitCode = 0
    reason: str = ""  # "" or why it ended early
    timings: dict[str, float] = {}


Record = RunRecord | ColumnRecord | ResultRecord | EndRecord

_ALIKE = ("run_id", "column", "scenario", "summary", "want", "because", "bug", "declared")
_T = TypeVar("_T", bound=Hashable)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class ResultsWriter:
    """Appends records to a results file; several processes may share one file.

    A record is one ``write(2)`` on an ``O_APPEND`` descriptor, so that lines of different
    processes do not mix. Raises OSError when the disk is full or the file is not writable.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, record: Record) -> None:
        line = _encoder.encode(record) + b"\n"
        written = os.write(self._fd, line)
        if written != len(line):
            # Only on a full disk: end the torn line, so that later records stay readable.
            os.write(self._fd, b"\n")
            raise OSError(f"{self.path}: disk full: only {written} of {len(line)} bytes written")

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


Key = tuple[str, str, str]  # (run, column, scenario)


class Results(Struct):
    """Everything read from one or more results files that counts: of a cell its last attempt.

    What many records say alike is there once, however long the run.
    """

    runs: dict[str, RunRecord] = {}
    columns: dict[tuple[str, str], ColumnRecord] = {}
    results: dict[Key, ResultRecord] = {}
    tried: dict[Key, dict[int, str]] = {}  # outcomes of the attempts before the last
    ends: dict[str, EndRecord] = {}
    damaged: list[str] = []  # "FILE:LINE: why", one a line not readable
    _alike: dict[Hashable, Any] = {}

    def add(self, record: Record) -> None:
        if isinstance(record, RunRecord):
            self.runs[record.run_id] = record
        elif isinstance(record, ColumnRecord):
            key = (record.run_id, record.column)
            known = self.columns.get(key)
            self.columns[key] = merge_columns(known, record) if known else record
        elif isinstance(record, ResultRecord):
            self._add_result(record)
        else:
            self.ends[record.run_id] = record

    def _add_result(self, record: ResultRecord) -> None:
        key = (self._one(record.run_id), self._one(record.column), self._one(record.scenario))
        known = self.results.get(key)
        if known is None or known.attempt <= record.attempt:
            self.results[key] = msgspec.structs.replace(
                record, **{name: self._one(getattr(record, name)) for name in _ALIKE},
                evidence=[self._one(piece) for piece in record.evidence],
            )  # fmt: skip
        if known is not None and known.attempt != record.attempt:
            earlier = min(known, record, key=lambda one: one.attempt)
            outcome = self._one(earlier.observation.outcome)
            self.tried.setdefault(key, {})[earlier.attempt] = outcome

    def _one(self, value: _T) -> _T:
        """What is equal to `value` and was met first."""
        one: _T = self._alike.setdefault(value, value)
        return one

    def last(self) -> list[ResultRecord]:
        """The last attempt of each (run, column, scenario)."""
        return list(self.results.values())

    def missing(self) -> list[tuple[ColumnRecord, str]]:
        """(column, scenario) that were planned and have no result at all."""
        return [
            (column, scenario)
            for (run, name), column in self.columns.items()
            for scenario in column.planned
            if (run, name, scenario) not in self.results
        ]

    def without_kernel(self, cell: ResultRecord) -> bool:
        """Whether a cell is n/a because there can be no such kernel: then nothing was there to be
        seen. Its column came to no version. (That it has no release would not do: a kernel is not
        booted for cells which its .config rules out, and those are n/a like any others.)
        """
        column = self.columns.get((cell.run_id, cell.column))
        return cell.observation.outcome == "n/a" and not (column and column.version)


def merge_columns(one: ColumnRecord, other: ColumnRecord) -> ColumnRecord:
    """What several records say of one column: each part is written by who knows it.

    The order does not matter: a field is set in one of them, or equal in both; of several
    times and texts the greatest counts.
    """
    changes: dict[str, object] = {
        name: max(getattr(one, name), getattr(other, name))
        for name in ("arch", "kernel", "version", "release")
    }
    for name in ("provenance", "timings"):
        first, second = getattr(one, name), getattr(other, name)
        both = {k: max(first[k], second[k]) for k in first.keys() & second.keys()}
        changes[name] = {**first, **second, **both}
    longer, shorter = sorted((one.planned, other.planned), key=lambda p: (-len(p), p))
    changes["planned"] = list(dict.fromkeys([*longer, *shorter]))  # in the order of the plan
    base = one if one.arch else other
    return msgspec.structs.replace(base, **changes)


def decode_lines(lines: Iterable[bytes], name: str = "results") -> Iterator[Record | str]:
    """Records of a results file; a line that is not one yields ``NAME:LINE: why`` instead."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _decoder.decode(line)
        except NOT_JSON as error:
            yield f"{name}:{number}: {error}"


def read_results(paths: Iterable[Path]) -> Results:
    """Read results files. Damaged lines are listed, never fatal. Raises OSError."""
    found = Results()
    for path in paths:
        with open(path, "rb") as file:
            for item in decode_lines(file, str(path)):
                if isinstance(item, str):
                    found.damaged.append(item)
                else:
                    found.add(item)
    for run, column in dict.fromkeys((run, column) for run, column, _ in found.results):
        if (run, column) not in found.columns:
            found.damaged.append(f"run {run}: the record of column {column} is lost")
    return found


def narrow(
    results: Results, columns: Callable[[ColumnRecord], bool], scenarios: Callable[[str], bool]
) -> Results:
    """Only the cells whose column and scenario pass; runs and their ends stay."""
    kept = Results(
        runs=results.runs, ends=results.ends, damaged=results.damaged, tried=results.tried
    )
    for key, column in results.columns.items():
        if columns(column):
            planned = [name for name in column.planned if scenarios(name)]
            kept.columns[key] = msgspec.structs.replace(column, planned=planned)
    for cell, record in results.results.items():
        if (record.run_id, record.column) in kept.columns and scenarios(record.scenario):
            kept.results[cell] = record
    return kept


def interrupted(results: Results) -> list[str]:
    """Ids of the runs that left records but no ``end``, oldest first."""
    recorded = {*results.runs, *(run for run, _ in results.columns)}
    recorded.update(run for run, *_ in results.results)
    return sorted(recorded - set(results.ends), key=lambda run: _age(results, run))


def current(results: Results) -> tuple[list[ResultRecord], list[tuple[ColumnRecord, str]]]:
    """The cells that count when several runs are read together: (observed, missing).

    The newest run that planned or observed a (column, scenario) speaks for it, also where it
    planned it and lost it: an older success must not hide a newer loss.
    """
    observed, missing = results.last(), results.missing()
    cells = [(r.run_id, r.column, r.scenario) for r in observed]
    cells += [(c.run_id, c.column, scenario) for c, scenario in missing]
    oldest_first = sorted(cells, key=lambda cell: _age(results, cell[0]))
    newest = {(column, scenario): run for run, column, scenario in oldest_first}
    return (
        [r for r in observed if newest[r.column, r.scenario] == r.run_id],
        [(c, s) for c, s in missing if newest[c.column, s] == c.run_id],
    )


def exit_code(results: Results, ending: str = "") -> int:
    """0 as expected, 1 mismatch, 2 no expectation or stale evidence, 3 not (wholly) observed.

    The lowest that applies wins, but 0 needs all: a mismatch stays proven whatever else was
    lost. Damaged lines may hide anything and nothing observed proves nothing: both are 3. A
    runner that has yet to write its own ``end`` names its run as ``ending``.
    """
    cells, missing = current(results)
    verdicts = {cell.verdict for cell in cells}
    if Verdict.MISMATCH in verdicts:
        return 1
    stale = any(item.status == "stale" for cell in cells for item in cell.evidence)
    if stale or Verdict.NO_EXPECTATION in verdicts:
        return 2
    lost = missing or results.damaged or set(interrupted(results)) - {ending}
    if lost or verdicts <= {Verdict.NOT_RUN} or verdicts & {Verdict.INFRA, Verdict.MISSING}:
        return 3
    return 0


def _age(results: Results, run: str) -> tuple[str, str]:
    """Sorts runs, oldest first; the id decides between runs that started together."""
    record = results.runs.get(run)
    return (record.started if record else "", run)
