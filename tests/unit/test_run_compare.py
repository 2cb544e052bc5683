"""What `faultline compare` has its workers do, without any machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from harness.program_record import ColumnOutput
from harness.run.compare import run_all
from harness.run.workers import Workers


def one_ends(task: Any, out: Path) -> None:
    if task == "long":
        time.sleep(60)
    out.write_bytes(msgspec.json.encode(ColumnOutput(column=task)))


def test_the_folder_goes_after_the_workers_that_write_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it may not be empty when it goes, and that be told instead of the interruption."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tasks: list[Any] = ["long", "short"]
    with Workers(2, work=f"{__name__}:one_ends") as workers:
        with closing(run_all(tasks, workers)) as told:  # type: ignore[type-var]
            assert next(told).column == "short"
            assert [*tmp_path.iterdir()]
        assert not multiprocessing.active_children()
    assert not [*tmp_path.iterdir()]


def dies(task: Any, out: Path) -> None:
    """As often as the task says, by the number of marks that it has left."""
    marks = Path(task.marks)
    if len(list(marks.iterdir())) < task.deaths:
        (marks / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    out.write_bytes(msgspec.json.encode(ColumnOutput(column=task.column.id)))


@pytest.mark.parametrize(
    ("deaths", "failure"), [(0, ""), (1, ""), (2, "a worker process died, twice")]
)
def test_a_worker_that_dies_loses_no_column(deaths: int, failure: str, tmp_path: Path) -> None:
    tasks: Any = [
        SimpleNamespace(column=SimpleNamespace(id=name), marks=str(tmp_path), deaths=deaths)
        for name in ("k,a", "k,b", "k,c")
    ]
    with Workers(1, work=f"{__name__}:dies") as workers:
        seen = {one.column: one.failure for one in run_all(tasks, workers)}
    assert seen == dict.fromkeys(("k,a", "k,b", "k,c"), failure)
