"""What tests of the harness compare with."""

from __future__ import annotations

import time

import pytest
from rig import outcomes_of, start, wait_for_machine


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """Outcomes of a run that nothing happens to, and how many seconds its machine lives."""
    out = tmp_path_factory.mktemp("undisturbed")
    start(out).communicate(timeout=1800)  # builds, if it must
    run = start(out)
    wait_for_machine(run)
    began = time.monotonic()
    run.communicate(timeout=300)
    assert run.returncode == 0
    seen = outcomes_of(out)
    assert seen
    return seen, time.monotonic() - began
