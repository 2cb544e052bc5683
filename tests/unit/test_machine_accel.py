"""What is remembered of KVM."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from stand_in import spec

from harness.build.store import Store
from harness.machine import accel
from harness.machine.session import BootError
from harness.run.options import Options
from harness.run.prepare import accelerated


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


def prove(
    answer: tuple[bool, str], monkeypatch: pytest.MonkeyPatch, device: Path
) -> list[accel.MachineSpec]:
    """Have a boot under KVM end so; returns where the boots are noted."""
    booted: list[accel.MachineSpec] = []

    def boot(asked: accel.MachineSpec) -> tuple[bool, str]:
        booted.append(asked)
        return answer

    monkeypatch.setattr(accel, "native", lambda _: True)
    monkeypatch.setattr(accel, "DEVICE", device)
    monkeypatch.setattr(accel, "_boot", boot)
    return booted


@pytest.mark.parametrize(
    ("asked", "works", "taken", "why"),
    [
        ("auto", True, "kvm", "a boot"),
        ("auto", False, "tcg", "a boot"),
        ("kvm", True, "kvm", "asked for: a boot"),
        ("kvm", False, "kvm", "asked for, but a boot"),
    ],
)
def test_what_is_known_of_kvm_is_told_also_where_it_was_asked_for(
    asked: str,
    works: bool,
    taken: str,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    booted = prove((works, "a boot"), monkeypatch, tmp_path)
    options = Options(store=Store(tmp_path), accel=asked)
    for _ in range(2):
        found, reason = accelerated(spec("ok"), "host", options)
        assert (found.accel, reason) == (taken, why)
    assert [one.cpu for one in booted] == ["host"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            ["booting", "KVM internal error. Suberror: 1", "EAX=00000010", "Code=89 1c 24 0f"],
            "KVM internal error. Suberror: 1",
        ),
        (["Code=89 1c 24 0f"], "no hello from the guest after 6 s, console silent for 5 s"),
        ([], "no hello from the guest after 6 s, console silent for 5 s"),
    ],
)
def test_why_a_boot_failed_is_one_short_sentence(said: list[str], told: str) -> None:
    message = "no hello from the guest after 6 s, console silent for 5 s; CPUs at 0xc0ffee, halted"
    assert accel._why(BootError(message, said, [])) == told
    assert len(accel._why(BootError(f"the machine ended: {'word ' * 99}", [], []))) <= accel.WHY


def test_an_answer_that_cannot_be_remembered_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted = prove((True, "a boot"), monkeypatch, tmp_path)
    (tmp_path / "file").touch()
    for _ in range(2):
        assert accel.prove_kvm(spec("ok"), tmp_path / "file" / "kvm.json") == (True, "a boot")
    assert len(booted) == 2
