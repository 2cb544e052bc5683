"""Folders to work in: a small project beside a repository of its kernel; a copy of this one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness import interrupt
from harness.build.store import Store
from harness.catalog.arches import Arch
from harness.machine import monitor, session
from tests.unit.bless_samples import demo_project
from tests.unit.build_fakes import fake_arch
from tests.unit.small_project import repository, small_project

ROOT = Path(__file__).parents[2]
# Of the machine's load the tests know nothing: how long an example takes is no defect.
settings.register_profile("faultline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("faultline")

DECLARED = ("kernels.yaml", "arches", "flavours", "expectations", "patches", "guest-progs")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def arch(tmp_path: Path) -> Arch:
    return fake_arch(tmp_path / "root")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Of signals: once one has begun an end none is heeded, which would be the end of the tests."""
    before = {number: signal.getsignal(number) for number in interrupt.ENDING}
    yield
    interrupt._begun.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAULTLINE_PROJECT", str(small_project(tmp_path)))
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr("harness.build.compile.HOST_TOOLS", ("make",))
    monkeypatch.setattr("harness.run.preflight.HOST_TOOLS", ("make",))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tree(work: Path) -> Path:
    return repository(work / "tree")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project's declarations that a test may spoil."""
    root = tmp_path / "project"
    root.mkdir()
    for name in DECLARED:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, root / name)
    monkeypatch.setenv("FAULTLINE_PROJECT", str(root))
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one small family."""
    return demo_project(tmp_path, monkeypatch)


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of an idle machine are seconds; a stand-in answers at once."""
    monkeypatch.setattr(session, "MIN_LIMIT", 0.2)
    monkeypatch.setattr(session, "SAMPLING", 0.0)
    monkeypatch.setattr(session, "MIN_KILL", 0.1)
    monkeypatch.setattr(session, "GRACE", 3.0)  # a busy machine is slow to start Python
    monkeypatch.setattr(monitor, "LIMIT", 0.5)
