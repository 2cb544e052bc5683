"""Several columns on workers that die."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from harness.program_record import ColumnOutput
from harness.run.compare import run_all
from harness.run.workers import Workers


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
