"""A run as it goes on: its results file read as it grows, and people told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from harness.results import ResultRecord, decode_lines
from harness.run.judge import BOOT, surprising
from harness.run.plan import Job


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
        self._done: set[tuple[str, str]] = set()
        self._boots_fail: dict[str, bool] = {}

    def look(self) -> None:
        """Report the results that came since the last look."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for record in decode_lines(whole.splitlines()):
            if isinstance(record, ResultRecord) and record.run_id == self._run_id:
                self._note(record)
                self.progress.result(record)

    def _note(self, record: ResultRecord) -> None:
        failed = record.observation.failure.startswith(BOOT)
        self._boots_fail[record.column] = self._boots_fail.get(record.column, True) and failed
        if record.confirmation or not surprising(record):  # else a second look is due
            self._done.add((record.column, record.scenario))

    def boots_fail(self, column: str) -> bool:
        """Whether all that is known of a column is that its machines do not come up."""
        return self._boots_fail.get(column, False)

    def undone(self, job: Job) -> Job:
        """The job with the cells that have no result yet."""
        left = [cell for cell in job.cells if (job.column, cell.scenario) not in self._done]
        return replace(job, cells=tuple(left))
