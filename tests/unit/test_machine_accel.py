"""What is remembered of KVM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from stand_in import spec

from harness.machine import accel


def test_one_answer_does_not_drive_out_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted: list[str] = []

    def boot(asked: accel.MachineSpec) -> tuple[bool, str]:
        booted.append(asked.cpu)
        return True, f"{asked.accel} with {asked.cpu}"

    monkeypatch.setattr(accel, "native", lambda _: True)
    monkeypatch.setattr(accel, "DEVICE", tmp_path)
    monkeypatch.setattr(accel, "_boot", boot)
    one, other = (replace(spec("ok"), cpu=cpu) for cpu in ("host", "max"))
    for asked in (one, other, one, other):
        assert accel.prove_kvm(asked, tmp_path / "kvm.json") == (True, f"kvm with {asked.cpu}")
    assert booted == ["host", "max"]
