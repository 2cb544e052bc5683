"""Progress of a run for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harness.results import ResultRecord, Verdict
from harness.stdout import drop
from harness.text import OUTCOME_LIMIT, clean, clean_lines

if TYPE_CHECKING:
    from rich.progress import TaskID

QUIET = (Verdict.MATCH, Verdict.NOT_APPLICABLE, Verdict.NOT_RUN)


def describe(record: ResultRecord) -> str:
    """One line on one result. Nothing that a guest said gets to the terminal as it is."""
    seen = record.observation
    what = clean(seen.outcome or next(iter(seen.failure.splitlines()), "nothing"), OUTCOME_LIMIT)
    confirmed = f" ({clean(record.confirmation)})" if record.confirmation else ""
    line = f"{clean(record.column)} {clean(record.scenario)}: {what}{confirmed}"
    if record.verdict in QUIET:
        return line
    expected = f", expected {' or '.join(record.expected)}" if record.expected else ""
    return f"{line}  [{record.verdict.value}{expected}]"


class _Lost:
    """What is lost together, as all of a column that was not built, is told once."""

    def __init__(self) -> None:
        self._last: tuple[str, str] | None = None

    def told(self, record: ResultRecord) -> bool:
        lost = record.verdict is Verdict.INFRA
        what = (record.column, record.observation.failure) if lost else None
        told, self._last = lost and what == self._last, what
        return told


class PlainProgress(AbstractContextManager["PlainProgress"]):
    """A line for every stage and every result, with seconds since the start: for logs.

    On stderr, as bars are: stdout has the report, and nothing else.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._expected = self._done = 0
        self._last: dict[str, float] = {}
        self._lost = _Lost()

    def __exit__(self, *exc: object) -> None:
        return None

    def say(self, line: str) -> None:
        try:
            taken = time.monotonic() - self._started
            print(f"[{taken:7.1f}] {line}", file=sys.stderr, flush=True)
        except BrokenPipeError:  # who read it has gone; the results are kept all the same
            drop(sys.stderr)

    def stage(self, column: str, what: str) -> None:
        # A build reports every object; a log wants to know every quarter of a minute.
        now, bulk = time.monotonic(), what[:1].isdigit()
        if not bulk or now - self._last.get(column, 0.0) > 15.0:
            self._last[column] = now
            self.say(f"{column}: {what}")

    def expect(self, cells: int) -> None:
        self._expected += cells

    def result(self, record: ResultRecord) -> None:
        self._done += record.attempt == 1
        if not self._lost.told(record):
            self.say(f"{self._done}/{self._expected} {describe(record)}")


class BarProgress(AbstractContextManager["BarProgress"]):
    """A bar that counts cells; lines only for what is not as expected."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._expected = 0
        self._lost = _Lost()
        self._task: TaskID = self._progress.add_task("preparing", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        self._progress.console.print(
            clean_lines(line), markup=False, highlight=False, soft_wrap=True
        )

    def stage(self, column: str, what: str) -> None:
        self._progress.update(self._task, description=clean(f"{column}: {what}", 70))

    def expect(self, cells: int) -> None:
        self._expected += cells
        self._progress.update(self._task, total=self._expected)

    def result(self, record: ResultRecord) -> None:
        if record.attempt == 1:
            self._progress.advance(self._task)
        self._progress.update(
            self._task, description=clean(f"{record.column} {record.scenario}", 70)
        )
        if not self._lost.told(record) and record.verdict not in QUIET:
            self.say(describe(record))


def make_progress() -> PlainProgress | BarProgress:
    """Bars where a person watches, lines where a log is written."""
    return BarProgress() if sys.stderr.isatty() and sys.stdout.isatty() else PlainProgress()
