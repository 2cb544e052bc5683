"""A log that `faults --all` wrote somewhere: frames found, checked and turned into a column.

The log came over serial lines, through terminals and mail: it may be cut, mixed with a kernel's
words, repeated or forged. A frame counts only if its CRC does; a result only if its frame came;
all that was planned and did not come is missing. Nothing is filled in.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from msgspec import Struct
from msgspec.structs import replace

from harness.catalog.arches import Arch
from harness.catalog.project import Project
from harness.machine.cell import Cell as Heard
from harness.machine.cell import compose
from harness.machine.hand import HandSpec
from harness.machine.port import MAX_FRAME, PROTOCOL, Begin, End, Hello, Plan, Refused, decode
from harness.results import ColumnRecord, Observation, ResultRecord, Verdict
from harness.run.plan import Cell, Job
from harness.run.records import make_record, weight
from harness.run.target import Running, claimed_cells

MAX_LINE = 4 * MAX_FRAME  # bytes; a longer one is looked at in pieces
MAX_BOOTS = 1000
_FRAME = re.compile(rb"FL1 ([0-9a-f]{16}) (\d{1,9}) ([0-9a-f]{8}) (\{)")

Message = Hello | Plan | Begin | Refused | End


class LogError(ValueError):
    """The log holds nothing that a column could be made of; the text says what was expected."""


class Boot(Struct):
    """One run of the guest binary, by its nonce; frames by their sequence number."""

    nonce: str
    frames: dict[int, Message] = {}
    contradicted: bool = False  # two good frames with one number: one of them is forged

    def messages(self) -> list[Message]:
        return [self.frames[number] for number in sorted(self.frames)]

    @property
    def hello(self) -> Hello | None:
        return next((m for m in self.messages() if isinstance(m, Hello)), None)


class Log(Struct):
    boots: dict[str, Boot] = {}
    damaged: int = 0  # what begins as a frame, and is none

    @property
    def hellos(self) -> list[Hello]:
        return [boot.hello for boot in self.boots.values() if boot.hello is not None]


def read_log(file: IO[bytes]) -> Log:
    """All frames of a log, whatever stands around them. Raises OSError."""
    log = Log()
    while line := file.readline(MAX_LINE):
        for piece in _pieces(line):
            _add(log, piece)
    return log


def _pieces(line: bytes) -> Iterator[bytes]:
    """What may be a frame: one may stand behind other words, or behind another frame."""
    starts = [found.start() for found in re.finditer(rb"FL1 ", line)]
    if not starts:
        return
    for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
        yield line[start:end].rstrip()


def _add(log: Log, piece: bytes) -> None:
    head = _FRAME.match(piece)
    if head is None:
        log.damaged += 1
        return
    nonce, number, crc = head[1], head[2], head[3]
    payload = piece[head.start(4) :]
    if crc != b"%08x" % zlib.crc32(b" ".join((nonce, number, payload))):
        log.damaged += 1
        return
    message = decode(payload)
    if message is None:
        log.damaged += 1
        return
    if not isinstance(message, Hello | Plan | Begin | Refused | End):
        return  # steps and errors: they decide nothing here
    known = nonce.decode() in log.boots
    if not known and len(log.boots) >= MAX_BOOTS:
        log.damaged += 1
        return
    boot = log.boots.setdefault(nonce.decode(), Boot(nonce.decode()))
    if boot.frames.setdefault(int(number), message) != message:
        boot.contradicted = True


# -- a column ------------------------------------------------------------------------------


def system_of(log: Log) -> Hello:
    """What all boots of the log say they ran on. Raises LogError."""
    if not log.boots:
        cut = f" ({log.damaged} that are damaged)" if log.damaged else ""
        raise LogError(f"there is no frame in it{cut}: expected what `faults --all` prints")
    if not log.hellos:
        raise LogError("no frame tells which system it was: its first one, `hello`, is missing")
    if any(hello.protocol != PROTOCOL for hello in log.hellos):
        raise LogError(f"it is of another protocol than {PROTOCOL}: use the same version there")
    systems = {(hello.machine, hello.release) for hello in log.hellos}
    if len(systems) > 1:
        names = " and ".join(" ".join(one) for one in sorted(systems))
        raise LogError(f"it holds runs of different systems, {names}: import each by itself")
    return log.hellos[0]


def make_column(
    log: Log, name: str, run_id: str, arch: Arch, release: str, project: Project, path: str
) -> tuple[ColumnRecord, list[ResultRecord]]:
    """The column `name` with its results, in the order of the matrix."""
    told = _told(log.boots.values())
    planned = [scenario for scenario in project.matrix.scenarios.values() if scenario.name in told]
    unknown = sorted(told - set(project.matrix.scenarios))
    cells = claimed_cells(arch, Running(arch.name, release), "", planned, project)
    system = log.hellos[0]
    provenance = {
        "source": f"log {path}",
        "machine": system.machine,
        "guest_version": system.version,
        "cpu_features": system.cpu.strip(),
        "damaged_frames": str(log.damaged),
    }
    if unknown:
        provenance["unknown_scenarios"] = ", ".join(unknown)[:1000]
    record = ColumnRecord(
        run_id=run_id,
        column=f"{name},{arch.name}",
        target="import",
        arch=arch.name,
        kernel=name,
        version=release,
        release=system.release,
        provenance=provenance,
        planned=[one.scenario for one in cells],
    )
    job = Job.of(record, HandSpec(argv=(), binary=Path(), where=name), cells, times=1)
    return record, [result for one in cells for result in _results(job, one, log.boots.values())]


def _told(boots: Iterable[Boot]) -> set[str]:
    """All scenarios that the log speaks of, planned ones that never came included."""
    told: set[str] = set()
    for boot in boots:
        for message in boot.messages():
            if isinstance(message, Plan):
                told.update(message.s)
            elif not isinstance(message, Hello):
                told.add(message.s)
    return told


def _results(job: Job, cell: Cell, boots: Iterable[Boot]) -> list[ResultRecord]:
    """One record for each boot that tells of the scenario; the last one counts.

    What one boot proved no other takes back: where it is not the last, it is said again.
    """
    records: list[ResultRecord] = []
    for boot in boots:
        attempt = len(records) + 1
        refused = _refused(boot, cell.scenario)
        if refused is not None:
            seen = Observation(scenario=cell.scenario, failure=f"not run: {refused[:200]}")
            record = replace(make_record(job, cell, seen, attempt), verdict=Verdict.NOT_RUN)
        else:
            observed = _observation(boot, cell.scenario)
            if observed is None:
                continue
            record = make_record(job, cell, observed, attempt)
        records.append(replace(record, repeat=f"faults {cell.scenario}"))
    observed_ = {r.observation.outcome for r in records if r.observation.outcome}
    best = max(reversed(records), key=weight, default=None)
    if best is not None and best is not records[-1] and best.verdict is Verdict.MISMATCH:
        records.append(replace(best, attempt=len(records) + 1))
    if len(observed_) > 1:
        records[-1] = replace(records[-1], confirmation="flake")
    return records


def _refused(boot: Boot, scenario: str) -> str | None:
    found = (m.e for m in boot.messages() if isinstance(m, Refused) and m.s == scenario)
    return next(found, None)


def _observation(boot: Boot, scenario: str) -> Observation | None:
    """What one boot tells of a scenario; None where it does not even say that it began."""
    about: Sequence[Message] = [
        m for m in boot.messages() if isinstance(m, Begin | End) and m.s == scenario
    ]
    if not about:
        return None
    ends = [m for m in about if isinstance(m, End)]
    if boot.contradicted:
        failure = "the log contradicts itself: two frames have one number"
    elif len(ends) > 1:
        failure = "the log holds more than one result of it in one run"
    elif not ends:
        last = boot.messages()[-1]
        over = isinstance(last, Begin) and last.s == scenario
        failure = "the log ends while it runs" if over else "its result is not in the log"
    else:
        return _from_end(ends[0])
    return Observation(scenario=scenario, failure=failure, alive=False)


def _from_end(end: End) -> Observation:
    outcome, failure = compose(Heard(end.s, end=end), "", "", 0)
    return Observation(
        scenario=end.s,
        outcome=outcome,
        cause=end.n[:300],
        failure=failure,
        details={key[:60]: value[:300] for key, value in list(end.d.items())[:100]},
        ms=min(max(end.ms, 0), 10**9),
    )
