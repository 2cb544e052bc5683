"""Snapshots in the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from job_samples import cell, job
from msgspec.structs import replace

from harness.build.store import Store
from harness.machine.qemu import MachineSpec
from harness.machine.snapshot import STATE
from harness.results import Verdict, read_results
from harness.run.job import run_job
from harness.run.snapshots import StoreSnapshots

KEY = "0" * 32


def fill(folder: Path) -> None:
    (folder / STATE).write_bytes(b"a machine")


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    assert StoreSnapshots(tmp_path).find(KEY) is None
    StoreSnapshots(tmp_path).keep(KEY, fill, "a label")
    found = StoreSnapshots(tmp_path).find(KEY)
    assert found is not None
    with found:
        assert found.read() == b"a machine"


def test_a_flipped_bit_is_no_snapshot_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    StoreSnapshots(tmp_path).keep(KEY, fill, "a label")
    found = StoreSnapshots(tmp_path).find(KEY)
    assert found is not None
    found.close()
    path = Path(found.name)
    path.chmod(0o644)
    path.write_bytes(b"b machine")
    assert StoreSnapshots(tmp_path).find(KEY) is None
    assert "a label is damaged and will be made again" in capsys.readouterr().err
    StoreSnapshots(tmp_path).keep(KEY, fill, "")
    again = StoreSnapshots(tmp_path).find(KEY)
    assert again is not None
    again.close()


def dangling(place: Path) -> None:
    place.symlink_to("nowhere")


def plain_file(place: Path) -> None:
    place.touch()


@pytest.mark.parametrize("spoil", [dangling, plain_file])
@pytest.mark.parametrize("part", ["snapshot", "names", "tmp", "locks"])
def test_a_store_that_can_keep_none_has_none_and_that_is_told_once(
    tmp_path: Path, spoil: Callable[[Path], None], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v1").mkdir()
    spoil(tmp_path / "v1" / part)
    for _ in range(2):
        snapshots = StoreSnapshots(tmp_path)
        snapshots.refuse(KEY, "QEMU says failed")
        snapshots.keep(KEY, fill, "a label")
        assert snapshots.find(KEY) is None
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("no snap")]
    assert len(lines) == 1


def test_a_snapshot_that_a_prune_takes_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StoreSnapshots(tmp_path).keep(KEY, fill, "")
    monkeypatch.setattr(Store, "entry", lambda *_: tmp_path / "gone")
    assert StoreSnapshots(tmp_path).find(KEY) is None


def test_a_job_runs_where_none_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def save(monitor: object, fd: int) -> None:
        os.write(fd, b"a machine")

    monkeypatch.setattr("harness.machine.session.save", save)  # the stand-in has no monitor
    for name in ("vmlinux", "initrd"):
        (tmp_path / name).touch()
    (tmp_path / "v1").mkdir()
    dangling(tmp_path / "v1/snapshot")
    one = job(cell("hole/read"))
    assert isinstance(one.spec, MachineSpec)
    spec = replace(one.spec, image=tmp_path / "vmlinux", initrd=tmp_path / "initrd", snapshot=True)
    run_job(replace(one, spec=spec, store=tmp_path), tmp_path / "r.jsonl")
    assert [r.verdict for r in read_results([tmp_path / "r.jsonl"]).last()] == [Verdict.MATCH]


def test_what_was_refused_is_neither_found_nor_tried(tmp_path: Path) -> None:
    StoreSnapshots(tmp_path).keep(KEY, fill, "")
    StoreSnapshots(tmp_path).refuse(KEY, "QEMU says failed")
    assert StoreSnapshots(tmp_path).refused(KEY)
    assert StoreSnapshots(tmp_path).find(KEY) is None
