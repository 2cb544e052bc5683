"""Snapshots in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine.snapshot import STATE
from harness.run.snapshots import StoreSnapshots

KEY = "0" * 32


def fill(folder: Path) -> None:
    (folder / STATE).write_bytes(b"a machine")


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    assert StoreSnapshots(tmp_path).find(KEY) is None
    StoreSnapshots(tmp_path).keep(KEY, fill, "a label")
    found = StoreSnapshots(tmp_path).find(KEY)
    assert found is not None
    assert found.read_bytes() == b"a machine"


def test_a_flipped_bit_is_no_snapshot_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    StoreSnapshots(tmp_path).keep(KEY, fill, "a label")
    found = StoreSnapshots(tmp_path).find(KEY)
    assert found is not None
    found.chmod(0o644)
    found.write_bytes(b"b machine")
    assert StoreSnapshots(tmp_path).find(KEY) is None
    assert "a label is damaged and will be made again" in capsys.readouterr().err
    StoreSnapshots(tmp_path).keep(KEY, fill, "")
    assert StoreSnapshots(tmp_path).find(KEY) is not None


def test_what_was_refused_is_neither_found_nor_tried(tmp_path: Path) -> None:
    StoreSnapshots(tmp_path).keep(KEY, fill, "")
    StoreSnapshots(tmp_path).refuse(KEY, "QEMU says failed")
    assert StoreSnapshots(tmp_path).refused(KEY)
    assert StoreSnapshots(tmp_path).find(KEY) is None
