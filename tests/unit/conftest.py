"""A folder to work in: the small project beside a repository of its kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.small_project import repository, small_project


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAULTLINE_PROJECT", str(small_project(tmp_path)))
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr("harness.build.kernel.HOST_TOOLS", ("make",))
    monkeypatch.setattr("harness.run.preflight.HOST_TOOLS", ("make",))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tree(work: Path) -> Path:
    return repository(work / "tree")
