"""Scratch disks: made by mkfs where it is, kept in the store, n/a where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.build import BuildError
from harness.build.disk import KINDS, build_disk
from harness.build.store import Store
from harness.catalog.matrix import Machine
from harness.catalog.needs import DISKS
from harness.catalog.project import find_root, load_project
from harness.run.images import give_disks
from harness.run.plan import Cell, without_disks

SUPERBLOCKS = {  # offset in bytes, magic
    "ext4": (0x438, b"\x53\xef"),
    "btrfs": (0x10040, b"_BHRfS_M"),
    "gfs2": (0x10000, b"\x01\x16\x19\x70"),
}


def test_every_disk_that_can_be_declared_can_be_made() -> None:
    assert set(KINDS) == set(DISKS)


@pytest.mark.parametrize("kind", ["swap", "raw"])
def test_an_empty_disk_takes_no_space(kind: str, tmp_path: Path) -> None:
    image = build_disk(kind, Store(tmp_path))
    assert image.stat().st_size == KINDS[kind].size
    assert image.stat().st_blocks * 512 < 1 << 16
    assert build_disk(kind, Store(tmp_path)) == image


@pytest.mark.parametrize("kind", SUPERBLOCKS)
def test_a_file_system_is_on_the_disk(kind: str, tmp_path: Path) -> None:
    mkfs = KINDS[kind].mkfs
    assert mkfs
    if not shutil.which(mkfs.argv[0], path="/usr/sbin:/sbin:/usr/bin:/bin"):
        pytest.skip(f"{mkfs.package} is not installed")
    image = build_disk(kind, Store(tmp_path / "a"))
    offset, magic = SUPERBLOCKS[kind]
    with open(image, "rb") as file:
        file.seek(offset)
        assert file.read(len(magic)) == magic
    if kind == "ext4":
        again = build_disk(kind, Store(tmp_path / "b"))
        assert again != image and again.read_bytes() == image.read_bytes()


def fake_mkfs(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An mkfs.ext4 that is found before the real one."""
    folder.mkdir()
    tool = folder / "mkfs.ext4"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_another_version_of_mkfs_makes_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = []
    for version in ("1", "2"):
        script = f'[ "$1" = -V ] && echo mke2fs {version}; exit 0'
        fake_mkfs(tmp_path / version, monkeypatch, script)
        images.append(build_disk("ext4", Store(tmp_path / "store")))
    assert images[0] != images[1]


def test_an_mkfs_that_fails_is_told_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = '[ "$1" = -V ] && echo 1 && exit 0; echo too small; exit 1'
    fake_mkfs(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(BuildError, match="cannot make the ext4 disk") as caught:
        build_disk("ext4", Store(tmp_path / "store"))
    assert "too small" in caught.value.excerpt


def test_a_scenario_whose_disk_cannot_be_had_is_expected_to_be_na(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(BuildError, match="install the Debian package gfs2-utils") as caught:
        build_disk("gfs2", Store(tmp_path))
    cell = Cell(scenario="a/b", expectations=(), machine=Machine(disks=("gfs2",)), wedges=True)
    found = without_disks(cell, str(caught.value), "expectations/a.yaml:3")
    assert (found.machine.disks, found.wedges) == ((), False)
    (expected,) = found.expectations
    assert expected.outcomes == ("n/a",) and "gfs2-utils" in expected.because


def test_a_disk_that_cannot_be_made_costs_only_the_cells_that_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_mkfs(tmp_path / "bin", monkeypatch, '[ "$1" = -V ] && echo 1 && exit 0; exit 1')
    scenarios = load_project(find_root()).matrix.scenarios
    needy = scenarios["hwpoison/disk-clean"]
    ext4 = Cell(scenario=needy.name, expectations=(), machine=Machine(disks=("ext4", "raw")))
    raw = Cell(scenario="hole/read", expectations=(), machine=Machine(disks=("raw",)))
    none = Cell(scenario="hole/write", expectations=())
    said: list[str] = []
    store = Store(tmp_path / "store")
    cells, images = give_disks([ext4, raw, none], list(scenarios.values()), store, said.append)
    assert [name for name, _ in images] == ["raw"]
    assert cells[1:] == [raw, none] and cells[0].machine.disks == ()
    assert cells[0].expectations[0].outcomes == ("n/a",)
    assert cells[0].expectations[0].declared == needy.needs.declared
    assert "cannot make the ext4 disk" in cells[0].expectations[0].because
    assert len(said) == 1
