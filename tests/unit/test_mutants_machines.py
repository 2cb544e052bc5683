"""The machines that cells are looked at on: when they are up, and what they say late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from job_samples import job
from msgspec.structs import replace

from harness import laboratory as module
from harness.laboratory import Laboratory
from harness.machine.qemu import MachineSpec
from harness.results import Record, Verdict
from harness.run.judge import LATE
from harness.run.plan import Cell, Job
from tests.unit.mutant_samples import MUTANT, look

MATCH, MISMATCH = Verdict.MATCH, Verdict.MISMATCH


class Late:
    """A machine on which all passes; while b/b is run the kernel says what is about a/a, and at its
    end what is about b/b.
    """

    def __init__(self, job: Job, write: Callable[[Record], None]) -> None:
        self._write = write

    def run(self, cell: Cell) -> None:
        if cell.scenario == "b/b":
            self._late("a/a")
        self._write(look(cell, MATCH, "ok"))

    def settle(self) -> None: ...

    def close(self) -> None:
        self._late("b/b")

    def _late(self, name: str) -> None:
        about = look(Cell(scenario=name, expectations=()), MISMATCH, "ok, warn(mm/x.c)")
        self._write(replace(about, confirmation=LATE))


class Attentive(Laboratory):
    """Runs cells as ever, of a job without a kernel."""

    def __init__(self) -> None:
        self._job, self._unmodified = job(), Path("unmodified")
        self.passed, self.failed = [], {}


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> Attentive:
    monkeypatch.setattr(module, "CellRunner", Late)
    return Attentive()


CELLS = [Cell(scenario=name, expectations=()) for name in ("a/a", "b/b", "c/c")]


def test_a_word_that_comes_after_the_next_cell_has_begun_is_about_the_one_before(
    attentive: Attentive,
) -> None:
    told = [
        (cell.scenario, [one.verdict for one in attempts])
        for cell, attempts in attentive._run(Path("image"), CELLS[:2])
    ]
    assert told == [
        ("a/a", [MATCH]),
        ("a/a", [MISMATCH]),
        ("b/b", [MATCH]),
        ("b/b", [MISMATCH]),
    ]


def test_of_the_unmodified_kernel_the_last_word_counts(attentive: Attentive) -> None:
    attentive._learn(CELLS)
    assert [cell.scenario for cell in attentive.passed] == ["c/c"]
    assert set(attentive.failed) == {"a/a", "b/b"}


class Counted:
    """A machine that is up until it is closed; on that of the image `mutant` a/a is wrong at once,
    b/b is by what the kernel says at the end.
    """

    up: ClassVar[list[str]] = []
    booted: ClassVar[list[str]] = []

    def __init__(self, job: Job, write: Callable[[Record], None]) -> None:
        assert isinstance(job.spec, MachineSpec)
        self._write, self._name, self._cells = write, job.spec.image.name, [""]
        assert not self.up, "two machines at once"
        self.up.append(self._name)

    def run(self, cell: Cell) -> None:
        self._cells.append(cell.scenario)
        wrong = (self._name, cell.scenario) == ("mutant", "a/a")
        self._write(look(cell, MISMATCH if wrong else MATCH))

    def settle(self) -> None: ...

    def close(self) -> None:
        self.up.remove(self._name)
        self.booted.append(" ".join([self._name, *self._cells[1:]]))
        if (self._name, self._cells[-1]) == ("mutant", "b/b"):
            about = look(Cell(scenario="b/b", expectations=()), MISMATCH)
            self._write(replace(about, confirmation=LATE))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Attentive:
    monkeypatch.setattr(module, "CellRunner", Counted)
    Counted.booted.clear()
    made = Attentive()
    made._arch = type("Named", (), {"name": "m68k"})()
    return made


@pytest.mark.parametrize(
    ("passed", "booted"),
    [
        (["c/c", "a/a", "b/b"], ["mutant c/c a/a", "mutant a/a", "unmodified a/a"]),
        (["b/b"], ["mutant b/b", "mutant b/b", "unmodified b/b"]),
        (["c/c", "d/d"], ["mutant c/c d/d", "mutant"]),
    ],
)
def test_a_machine_has_ended_when_the_next_is_started(
    counted: Attentive, passed: list[str], booted: list[str]
) -> None:
    counted.passed = [Cell(scenario=name, expectations=()) for name in passed]
    fate = counted._judge(MUTANT, Path("mutant"))
    assert fate.fate == ("survived" if "d/d" in passed else "killed")
    assert fate.cells == (2 if "c/c" in passed else 1)
    assert (Counted.booted, Counted.up) == (booted, [])


def test_a_machine_ends_when_an_exception_ends_its_run(counted: Attentive) -> None:
    def ask(*_: object) -> bool:
        assert Counted.up == ["mutant"]
        raise KeyError

    with pytest.raises(KeyError):
        counted._last_words(Path("mutant"), CELLS, ask)
    assert Counted.up == []
