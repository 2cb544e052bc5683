"""What is a kill: scripted looks at cells in place of machines."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec.structs
import pytest
from msgspec.structs import replace

from harness import laboratory as module
from harness.build import BuildError, StoreError
from harness.build.tools import FULL
from harness.catalog.yamlfile import DeclarationError
from harness.laboratory import GOOD, Attempts, Laboratory, at_once, looks
from harness.mutants import Mutant
from harness.results import ResultRecord, Verdict
from harness.run.judge import LATE
from harness.run.plan import Cell, Expectation
from harness.workbench import Workbench
from tests.unit.mutant_samples import CELL, MUTANT, look

INFRA, MATCH, MISMATCH, KNOWN = Verdict.INFRA, Verdict.MATCH, Verdict.MISMATCH, Verdict.KNOWN_BUG


class Scripted(Laboratory):
    """Each run of a cell gives the looks that stand next in the script.

    The unmodified kernel has a script of its own; it passes where nothing stands there.
    """

    def __init__(self, script: Sequence[Any], unmodified: Sequence[Any] = ()) -> None:
        self._script, self._again = list(script), list(unmodified)
        self._arch = type("Named", (), {"name": "m68k"})()
        self._unmodified = Path("unmodified")
        self.passed = []
        self.failed = {}
        self.looked_again: list[str] = []  # cells, at the unmodified kernel

    def _run(self, image: Path, cells: Iterable[Cell]) -> Generator[Attempts]:
        for cell in cells:
            if image == self._unmodified:
                self.looked_again.append(cell.scenario)
                verdicts = self._again.pop(0) if self._again else [MATCH]
                yield cell, [look(cell, verdict) for verdict in verdicts]
            else:
                yield cell, [self._look(cell, one) for one in self._script.pop(0)]

    def _look(self, cell: Cell, one: Any) -> ResultRecord:
        return look(cell, *one) if isinstance(one, tuple) else look(cell, one)


@pytest.mark.parametrize(
    ("script", "fate"),
    [
        ([[MATCH]], "survived"),
        ([[KNOWN]], "survived"),
        ([[MISMATCH], [MISMATCH]], "killed"),
        ([[MISMATCH], [MATCH]], "survived"),  # it did not come back
        ([[MISMATCH], [INFRA]], "infrastructure"),
        ([[MISMATCH, MISMATCH]], "killed"),  # a hang, confirmed by the runner already
        ([[MISMATCH, MATCH, MISMATCH]], "survived"),
        ([[INFRA, INFRA]], "infrastructure"),
        ([[INFRA, MISMATCH]], "survived"),
    ],
)
def test_a_kill_is_a_mismatch_at_each_of_several_looks(
    script: list[list[Verdict]], fate: str
) -> None:
    scripted = Scripted(script)
    scripted.passed = [CELL]
    assert scripted._judge(MUTANT, Path("image")).fate == fate
    assert not scripted._script  # all looks were taken that the rule wants


def laboratory(script: Sequence[Any], unmodified: Sequence[Any] = ()) -> Scripted:
    """One with two cells, a/a and b/b."""
    made = Scripted(script, unmodified)
    made.passed = [Cell(scenario=name, expectations=()) for name in ("a/a", "b/b")]
    return made


def wrong(outcome: str) -> list[tuple[Verdict, str]]:
    return [(MISMATCH, outcome)]


@pytest.mark.parametrize(
    ("script", "fate", "cell"),
    [
        # Each cell that mismatches takes two looks; then the next one is tried.
        ([wrong("silent")] * 2 + [wrong("EFAULT")] * 2, "killed", "b/b"),
        ([wrong("A: read=ok | B: silent")] * 2 + [wrong("ok")] * 2, "killed", "b/b"),
        ([wrong("lost"), wrong("ok")] + [wrong("panic")] * 2, "killed", "b/b"),
        ([wrong("silent")] * 4, "doubtful", "a/a"),
        ([wrong("lost")] * 2 + [[MATCH]], "doubtful", "a/a"),
        ([wrong("silent")] * 2 + [[INFRA]], "doubtful", "a/a"),
        ([[(MISMATCH, "silent")] * 2, [MATCH]], "doubtful", "a/a"),
        ([wrong("silent"), [MATCH], [MATCH]], "survived", ""),
        ([wrong("EFAULT"), wrong("ok"), [MATCH]], "doubtful", "a/a"),  # not alike
        ([wrong("EFAULT"), wrong("ok")] + [wrong("ok")] * 2, "killed", "b/b"),
        ([wrong("hang(unkillable, spin-kernel)")] * 2, "killed", "a/a"),
    ],
)
def test_a_machine_that_went_away_and_looks_that_differ_kill_nothing(
    script: list[Any], fate: str, cell: str
) -> None:
    scripted = laboratory(script)
    found = scripted._judge(MUTANT, Path("image"))
    assert (found.fate, found.scenario) == (fate, cell)
    assert not scripted._script  # a kill is the last cell
    assert fate == "killed" or found.fate not in GOOD


def test_what_is_doubtful_says_why() -> None:
    gone = laboratory([wrong("silent")] * 4)._judge(MUTANT, Path("image"))
    assert gone.observed == "silent: the machine only went away"
    varied = laboratory([wrong("EFAULT"), wrong("ok"), [MATCH]])._judge(MUTANT, Path("image"))
    assert varied.observed == "not alike: EFAULT, then ok"


@pytest.mark.parametrize("now", [[MISMATCH], [INFRA], [INFRA, MATCH], [KNOWN]])
def test_a_cell_kills_only_if_the_unmodified_kernel_passes_it_once_more(now: list[Verdict]) -> None:
    scripted = laboratory([[MISMATCH], [MISMATCH], [MATCH]], [now])
    found = scripted._judge(MUTANT, Path("image"))
    assert (found.fate, found.scenario) == ("doubtful", "a/a")
    assert found.observed.startswith("the unmodified kernel passes no more: ")
    assert scripted.looked_again == ["a/a"]
    assert [cell.scenario for cell in scripted.passed] == ["b/b"]  # nor of the next mutant
    assert set(scripted.failed) == {"a/a"}


def test_a_cell_that_the_unmodified_kernel_fails_may_come_once_more() -> None:
    scripted = laboratory([], [[MISMATCH], [MATCH]])
    cell = scripted.passed[0]
    assert scripted._unmodified_fails(cell) == scripted._unmodified_fails(cell) != ""


def test_another_cell_may_kill_where_one_no_longer_passes_unmodified() -> None:
    scripted = laboratory([[MISMATCH]] * 4, [[MISMATCH], [MATCH]])
    found = scripted._judge(MUTANT, Path("image"))
    assert (found.fate, found.scenario) == ("killed", "b/b")
    assert scripted.looked_again == ["a/a", "b/b"]


def test_what_the_kernel_says_late_is_no_second_look() -> None:
    first = look(CELL, MISMATCH, "ok")
    late = replace(look(CELL, MISMATCH, "oops"), confirmation=LATE)
    again = look(CELL, MISMATCH, "oops")
    assert looks([first, late]) == [late]
    assert looks([first, late, again]) == [late, again]
    assert looks([first, again]) == [first, again]
    assert looks([]) == []


class Bench(Scripted):
    """Builds an image of its own of whatever stands in the tree."""

    def __init__(self, folder: Path, text: str) -> None:
        super().__init__([[MATCH]])
        (folder / "pristine" / "mm").mkdir(parents=True)
        (folder / "pristine" / "mm" / "x.c").write_text("a\n")
        (folder / "bench").mkdir()
        self._bench = Workbench(folder / "pristine", folder / "bench")
        self._unmodified = self._build()
        self.passed = [CELL]
        patch = folder / "x.patch"
        patch.write_text(f"--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1 +1 @@\n-a\n+{text}\n")
        self.mutant = Mutant("x", patch, ("m68k",), "seen", "what")
        self.said: list[str] = []
        self._say = self.said.append

    def _build(self) -> Path:
        """Comments make no difference, as with a compiler."""
        source = self._bench.tree / "mm" / "x.c"
        text = source.read_text().strip()
        image = self._bench.tree.parent / f"image-{len(text)}"
        image.write_text(text.partition("#")[0].strip())
        return image


@pytest.mark.parametrize(("text", "fate"), [("bb", "survived"), ("a # comment", "unchanged")])
def test_a_mutant_whose_image_is_the_unmodified_one_has_a_fate_that_fails(
    tmp_path: Path, text: str, fate: str
) -> None:
    bench = Bench(tmp_path, text)
    assert bench.try_mutant(bench.mutant).fate == fate
    assert fate not in GOOD


def test_a_mutant_that_changes_nothing_where_its_head_does_not_name_the_arch_is_not_applicable(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "a # comment")
    other = msgspec.structs.replace(bench.mutant, arches=("alpha",))
    assert bench.try_mutant(other).fate == "not applicable"


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left", "/full"), DeclarationError("f.yaml", 3, "wrong", "hint")]
)
def test_what_the_host_fails_at_costs_one_mutant(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "bb")

    def fails(paths: Sequence[str]) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(bench._bench, "keep_lines", fails)
        fate = bench.try_mutant(bench.mutant)
    assert (fate.fate, fate.observed) == ("infrastructure", str(error).splitlines()[0])
    assert bench.said == [f"m68k: x: {error}"]
    assert bench.try_mutant(bench.mutant).fate == "survived"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (StoreError("store: cannot write kernel/x: [Errno 28] No space left on device"), FULL),
        (BuildError("make failed", excerpt=["ld: final link: No space left on device"]), FULL),
        (BuildError("make failed", excerpt=["mm/x.c:1: error: expected"]), "make failed"),
    ],
)
def test_a_full_disk_is_not_of_the_patch(
    tmp_path: Path, error: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "bb")

    def fails() -> Path:
        raise error

    monkeypatch.setattr(bench, "_build", fails)
    found = bench.try_mutant(bench.mutant)
    assert found.fate == ("infrastructure" if why == FULL else "unbuilt")
    assert why in found.observed


def test_a_mutant_that_is_argued_to_be_equivalent_is_not_counted_as_a_survivor() -> None:
    argued = Mutant("x", Path("x.patch"), ("m68k",), "seen", "what", "no program can tell")
    scripted = Scripted([[MATCH]])
    scripted.passed = [CELL]
    assert scripted._judge(argued, Path("image")).fate == "equivalent"


@pytest.mark.parametrize(
    ("verdicts", "passed", "failed"),
    [
        ([MATCH], True, False),
        ([KNOWN], False, False),
        ([Verdict.NOT_APPLICABLE], False, False),
        ([MISMATCH, MATCH], False, True),  # now so, now so
        ([Verdict.FIXED], False, True),
        ([Verdict.NO_EXPECTATION], False, True),
    ],
)
def test_only_what_the_unmodified_kernel_passes_at_each_look_can_kill(
    verdicts: list[Verdict], passed: bool, failed: bool
) -> None:
    scripted = Scripted([], [verdicts])
    scripted._learn([CELL])
    assert scripted.passed == ([CELL] if passed else [])
    assert bool(scripted.failed) is failed


@pytest.mark.parametrize("failed", [{}, {"hole/read": "boot: it ended"}])
def test_where_the_unmodified_kernel_passes_nothing_no_mutant_is_tried(
    monkeypatch: pytest.MonkeyPatch, failed: dict[str, str]
) -> None:
    """Each would survive, or be as good as its head says."""
    scripted = Scripted([])
    scripted.failed = failed
    monkeypatch.setattr(module, "workbench", lambda *words: nullcontext())
    monkeypatch.setattr(scripted, "_baseline", lambda: None)
    for name in ("_kernel", "_store"):
        setattr(scripted, name, None)
    why = "".join(f": {name}: {seen}" for name, seen in failed.items())
    with (
        pytest.raises(BuildError, match=f"^m68k: the unmodified kernel passes no cell{why}$"),
        scripted.open(),
    ):
        pass
    scripted.passed = [CELL]
    with scripted.open():
        pass


def test_when_nothing_passes_any_more_no_mutant_is_judged() -> None:
    found = Scripted([])._judge(MUTANT, Path("image"))
    assert (found.fate, found.observed) == ("infrastructure", "no cell passes unmodified any more")


def test_what_takes_a_time_limit_is_not_run_and_what_takes_a_boot_comes_last() -> None:
    def cell(name: str, *outcomes: str, wedges: bool = True) -> Cell:
        expected = (Expectation(outcomes=outcomes, because="it is so"),)
        return Cell(scenario=name, expectations=expected, wedges=wedges)

    oops = cell("a/oops", "A: load=killed(SIGSEGV); map=ok | kernel: oops")
    hang = cell("a/hang", "oops", "hang(killable, sleep)")
    silent = cell("a/silent", "load=silent")
    ok, warn = cell("a/ok", "ok", wedges=False), cell("a/warn", "warn(f)", wedges=False)
    assert at_once([oops, hang, silent, ok, warn]) == [ok, warn, oops]
