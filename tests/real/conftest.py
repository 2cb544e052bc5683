"""What tests of the harness compare with."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import ROOT, adopt_orphans, left_behind, outcomes_of, start, wait_for_machine

from tests.unit.small_project import small_project


@pytest.fixture(scope="session", autouse=True)
def heed_sigint() -> None:
    """A shell has what it puts into the background ignore SIGINT, and all below would as well."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_orphans() -> Iterator[None]:
    """Whatever the test starts has ended when it has: also who lost its parent."""
    adopt_orphans()
    assert left_behind() == []
    yield
    assert left_behind() == []


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """Outcomes of a run that nothing happens to, and how many seconds its machine lives."""
    out = tmp_path_factory.mktemp("undisturbed")
    start(out).communicate(timeout=1800)  # builds, if it must
    seconds = life(out)
    seen = outcomes_of(out)
    assert seen
    return seen, seconds


@pytest.fixture(scope="session")
def booted(
    undisturbed: tuple[dict[str, str], float], tmp_path_factory: pytest.TempPathFactory
) -> float:
    """How many seconds the machine lives in a run that boots it, without a snapshot."""
    return life(tmp_path_factory.mktemp("booted"), "--no-snapshots")


def life(out: Path, *words: str) -> float:
    """Seconds from the first machine of a run to its end."""
    run = start(out, *words)
    wait_for_machine(run)
    began = time.monotonic()
    run.communicate(timeout=300)
    assert run.returncode == 0
    return time.monotonic() - began


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that runs a project which builds in a second; its store is tmp_path/store."""
    monkeypatch.setenv("FAULTLINE_PROJECT", str(small_project(tmp_path)))
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    argv = [sys.executable, "-m", "harness", "run", "--out", str(tmp_path / "out")]
    return [*argv, "--arch", "m68k"]
