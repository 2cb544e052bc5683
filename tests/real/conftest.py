"""What tests of the harness compare with."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rig import outcomes_of, start, wait_for_machine


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
