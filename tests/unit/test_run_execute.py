"""A whole run: a column that cannot be made ready does not take the others with it."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_samples import cell, job
from msgspec.structs import replace
from test_run_dispatch import Listener

from harness.build import BuildError, StoreError
from harness.build.store import Store
from harness.catalog.project import load_project
from harness.machine.qemu import MachineSpec
from harness.results import ColumnRecord, Verdict, read_results
from harness.run import execute as module
from harness.run.execute import Run, execute
from harness.run.options import Options
from harness.run.plan import Column
from harness.run.ready import Ready
from harness.run.workers import Workers

ROOT = Path(__file__).parents[2]
SCENARIOS = ("hole/read", "hole/write")


def ready(run_id: str, column: Column, *_: Any) -> Ready:
    """As `prepare`, on a machine that a test makes up."""
    facts = dict.fromkeys(("qemu", "accel", "accel_reason"), "")
    record = ColumnRecord(
        run_id=run_id, column=column.id, planned=list(SCENARIOS), provenance=facts
    )
    one = replace(job(*map(cell, SCENARIOS)), run_id=run_id, column=column.id)
    assert isinstance(one.spec, MachineSpec)
    return Ready(record=record, jobs=(one,), entries=(("disk", "k"),), kernel=None, spec=one.spec)


def of_two_columns(folder: Path) -> Run:
    project = load_project(ROOT)
    kernel = project.kernel("debian-6.12")
    return Run(
        project=project,
        columns=[Column(arch=project.arch(name), kernel=kernel) for name in ("m68k", "alpha")],
        scenarios=[project.matrix.scenarios[name] for name in SCENARIOS],
        options=Options(store=Store(folder / "store")),
        out=folder / "r.jsonl",
        id="r1",
    )


def test_what_an_interrupted_run_had_not_come_to_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run_id: str, column: Column, *more: Any) -> Ready:
        if column.arch.name == "alpha":
            os.kill(os.getpid(), signal.SIGINT)
        return ready(run_id, column, *more)

    monkeypatch.setattr(module, "prepare", interrupted)
    run = of_two_columns(tmp_path)
    assert execute(run, Listener(), Workers(1)) == 130
    missing = {(column.column, name) for column, name in read_results([run.out]).missing()}
    assert {("debian-6.12,alpha", name) for name in SCENARIOS} <= missing


@pytest.mark.parametrize(
    "error",
    [
        BuildError("make failed"),
        StoreError("store: cannot lock it"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
@pytest.mark.parametrize("where", ["prepare", "using"])
def test_a_column_that_cannot_be_made_ready_is_infrastructure_of_its_own_cells(
    error: Exception, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(real: Callable[..., Any], first: list[int]) -> Callable[..., Any]:
        def fail(*args: Any) -> Any:
            if first and first.pop():
                raise error
            return real(*args)

        return fail

    monkeypatch.setattr(module, "prepare", ready)
    owner, name = (module, "prepare") if where == "prepare" else (Store, "using")
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), [1]))
    run = of_two_columns(tmp_path)
    assert execute(run, Listener(), Workers(1)) == 3
    found = read_results([run.out])
    verdicts = {column: set[Verdict]() for _, column in found.columns}
    for record in found.last():
        verdicts[record.column].add(record.verdict)
    assert sorted(verdicts.values(), key=str) == [{Verdict.INFRA}, {Verdict.MATCH}]
    assert len(found.last()) == 4
    assert [end.exit_code for end in found.ends.values()] == [3]
    bad = [r.observation.failure for r in found.last() if r.verdict is Verdict.INFRA]
    assert bad == [f"build: {error}"] * 2
