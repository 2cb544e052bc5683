"""A run as it goes on: its results file read as it grows, and people told of it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec.structs import replace

from harness.results import ResultRecord, decode_lines
from harness.run.judge import BOOT, second_look_is_due
from harness.run.plan import Cell, Job


class Progress(Protocol):
    """What a run tells people while it goes on."""

    def say(self, line: str) -> None: ...

    def stage(self, column: str, what: str) -> None: ...

    def expect(self, cells: int) -> None: ...

    def result(self, record: ResultRecord) -> None: ...


class Follower:
    """Reads a results file as it grows: what an executor's workers did, wherever they are."""

    def __init__(self, path: Path, run_id: str, progress: Progress) -> None:
        self._path, self._run_id, self.progress = path, run_id, progress
        self._offset = path.stat().st_size if path.exists() else 0
        self._last: dict[tuple[str, str], int] = {}  # where the last record of each cell begins
        self._boots_fail: dict[str, bool] = {}

    def look(self) -> None:
        """Report the results that came since the last look."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            begin = self._offset
            self._offset += len(line)
            for record in decode_lines([line]):
                if isinstance(record, ResultRecord) and record.run_id == self._run_id:
                    self._last[record.column, record.scenario] = begin
                    self._note(record)
                    self.progress.result(record)

    def _note(self, record: ResultRecord) -> None:
        failed = record.observation.failure.startswith(BOOT)
        self._boots_fail[record.column] = self._boots_fail.get(record.column, True) and failed

    def boots_fail(self, column: str) -> bool:
        """Whether all that is known of a column is that its machines do not come up."""
        return self._boots_fail.get(column, False)

    def undone(self, job: Job) -> Job:
        """The job with the cells that are not done yet, and what is on record of them. That is read
        anew: nobody asks before a worker has died, and a run may be long.
        """
        with open(self._path, "rb") as file:
            cells = [
                replace(cell, seen=self._record(file, job.column, cell.scenario))
                for cell in job.cells
            ]
        return replace(job, cells=tuple(cell for cell in cells if not _done(job, cell)))

    def _record(self, file: BinaryIO, column: str, scenario: str) -> ResultRecord | None:
        """The last record of a cell, as far as it was looked."""
        begin = self._last.get((column, scenario))
        if begin is None:
            return None
        file.seek(begin)
        (record,) = decode_lines([file.readline()])
        assert isinstance(record, ResultRecord)
        return record


def _done(job: Job, cell: Cell) -> bool:
    if cell.seen is None:
        return False
    if job.times > 1 and not cell.refused and not cell.lacks:
        return bool(cell.seen.tally)
    return not second_look_is_due(cell.seen)
