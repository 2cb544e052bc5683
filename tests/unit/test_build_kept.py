"""What is kept is what would be computed, and is computed anew when what it is made of changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build import kept as module
from harness.build.evidence import check_evidence, look_up
from harness.build.kept import KIND, Kept
from harness.build.store import Store
from harness.build.tools import digest
from harness.catalog.project import load_project
from harness.catalog.version import parse_version
from harness.catalog.yamlfile import DeclarationError

ROOT = Path(__file__).parents[2]


class Counted:
    """A `make` that says how often it was asked."""

    def __init__(self, value: object) -> None:
        self.value, self.calls = value, 0

    def __call__(self) -> object:
        self.calls += 1
        return self.value


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(Store(tmp_path / "store"))


def same(value: object) -> Callable[[], object]:
    return lambda: value


def test_it_is_computed_once_for_the_same_inputs(kept: Kept) -> None:
    make = Counted({"a": (1, 2)})
    assert [kept.get("x", same(["in"]), make) for _ in range(3)] == [make.value] * 3
    assert make.calls == 1
    kept.get("x", same(["other"]), make)
    kept.get("y", same(["in"]), make)
    assert make.calls == 3


def test_other_code_computes_anew(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Counted(1)
    kept.get("x", same(1), make)
    monkeypatch.setattr(module, "_code", lambda: ["other code"])
    kept.get("x", same(1), make)
    assert make.calls == 2


def test_what_changes_while_it_is_read_is_not_kept(kept: Kept) -> None:
    make, states = Counted(1), iter(("old", "new", "old", "old"))
    kept.get("x", lambda: next(states), make)
    kept.get("x", lambda: next(states), make)
    assert make.calls == 2
    kept.get("x", same("old"), make)
    assert make.calls == 2


def test_a_damaged_value_is_computed_anew(tmp_path: Path) -> None:
    store, make = Store(tmp_path), Counted("right")
    Kept(store).get("x", same(1), make)
    (value,) = (tmp_path / "v1" / KIND).glob("*/files/value")
    value.write_bytes(value.read_bytes().replace(b"right", b"wrong"))
    assert Kept(Store(tmp_path)).get("x", same(1), make) == "right"
    assert make.calls == 2


def test_a_value_of_another_user_is_not_read(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Counted(1)
    kept.get("x", same(1), make)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    kept.get("x", same(1), make)
    assert make.calls == 2


def test_a_store_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    make = Counted(5)
    assert Kept(Store(tmp_path / "file" / "store")).get("x", same(1), make) == 5


def test_a_lock_that_cannot_be_made_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "v1" / "locks").mkdir(parents=True)
    key = digest(KIND, module._code(), "x", 1)
    (tmp_path / "v1" / "locks" / f"{KIND}--{key}.lock").mkdir()
    assert Kept(Store(tmp_path)).get("x", same(1), Counted(5)) == 5


def test_what_is_kept_of_a_project_is_what_it_declares(kept: Kept) -> None:
    fresh = load_project(ROOT)
    for _ in range(2):
        found = load_project(ROOT, kept)
        assert found == fresh
        assert found.kernels.default == fresh.kernels.default


def test_a_project_that_moves_is_read_anew(kept: Kept, copy: Path) -> None:
    load_project(copy, kept)
    moved = copy.rename(copy.parent / "elsewhere")
    assert load_project(moved, kept) == load_project(moved)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("patches/alpha-*.patch", "kernels.yaml:.*there is no 'patches/alpha-"),
        ("arches/m68k.config", "arches/m68k.config is missing"),
    ],
)
def test_a_file_that_goes_is_missed(kept: Kept, copy: Path, name: str, said: str) -> None:
    load_project(copy, kept)
    next(copy.glob(name)).unlink()
    with pytest.raises(DeclarationError, match=said):
        load_project(copy, kept)


def test_an_edit_of_an_arch_is_seen(kept: Kept, copy: Path) -> None:
    before = load_project(copy, kept).arch("m68k")
    file = copy / "arches" / "m68k.yaml"
    file.write_text(re.sub(r"(?m)^memory: .*", "memory: 199", file.read_text()))
    after = load_project(copy, kept).arch("m68k")
    assert (before.memory != 199, after.memory) == (True, 199)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's declarations, to be edited."""
    for name in ("arches", "expectations", "flavours", "patches"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    shutil.copy(ROOT / "kernels.yaml", tmp_path / "project")
    return tmp_path / "project"


def test_an_edit_of_a_row_is_seen(kept: Kept, copy: Path) -> None:
    before = load_project(copy, kept).matrix
    family = copy / "expectations" / "hole.yaml"
    family.write_text(family.read_text().replace("SIGSEGV/SEGV_MAPERR @exact", "ok", 1))
    after = load_project(copy, kept).matrix
    assert after != before
    assert after == load_project(copy).matrix


def test_a_flavour_that_goes_is_missed(kept: Kept, copy: Path) -> None:
    row = "\nnew:\n  summary: x\n  expect:\n    - {flavour: debug, outcome: ok, because: x}\n"
    (copy / "expectations" / "demo.yaml").write_text(row)
    load_project(copy, kept)
    (copy / "flavours" / "debug.config").unlink()
    with pytest.raises(DeclarationError, match="unknown flavour 'debug'"):
        load_project(copy, kept)


def test_evidence_follows_the_tree_and_the_decision(kept: Kept, tmp_path: Path) -> None:
    project = load_project(ROOT)
    arch, version = project.arch("m68k"), parse_version("6.12")
    decision = next(
        one
        for one in project.matrix.decisions.values()
        if any(point.applies(arch, version) for point in one.points)
    )
    point = next(point for point in decision.points if point.applies(arch, version))
    file = tmp_path / "tree" / point.file
    file.parent.mkdir(parents=True)
    right = f"int {point.function or 'f'}(void)\n{{\n\t{point.text}\n}}\n"
    for text in (right, "nothing\n", right + "\n", right):
        file.write_text(text)
        for _ in range(2):
            found = look_up(tmp_path / "tree", [decision], arch, version, kept)
            fresh = check_evidence(tmp_path / "tree", decision, arch, version)
            assert found == {decision.id: tuple(fresh)}
