"""The bisection of a made history, where there is time for a kernel build and its increments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.matrix.bisect_history import main

SLOW = "FAULTLINE_SLOW_TESTS"


@pytest.mark.skipif(not os.environ.get(SLOW), reason=f"takes a kernel build: set {SLOW}=1")
def test_the_commit_is_found_and_the_repository_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = main(tmp_path)
    assert status == 0, capfd.readouterr().out[-4000:]
