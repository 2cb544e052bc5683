"""The guest binary where it is not booted: that nobody is waited for without end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from job_samples import cell, job
from msgspec.structs import replace

from harness.machine import QemuError, hand
from harness.machine.hand import BINARY, HandProcess, HandSpec
from harness.results import Verdict, read_results
from harness.run.job import run_job

LARGE = 4 << 20  # bytes: more than a socket takes that nobody reads


def uploading(folder: Path, *argv: str) -> HandSpec:
    binary = folder / "faults"
    binary.write_bytes(b"x" * LARGE)
    return HandSpec(argv=argv, binary=binary, where="ssh:there", upload=True)


def test_a_host_that_takes_nothing_is_given_up_for_the_whole_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "UPLOAD_LIMIT", 0.3)
    monkeypatch.setattr(hand, "_END", 0.1)
    spec, started = uploading(tmp_path, "sleep", "60"), time.monotonic()
    cells = [cell(f"a/x{n}") for n in range(50)]
    run_job(replace(job(*cells), spec=spec), tmp_path / "r.jsonl")
    found = read_results([tmp_path / "r.jsonl"]).last()
    assert {r.verdict for r in found} == {Verdict.INFRA}
    assert {r.observation.failure for r in found} == {
        "boot: ssh:there did not take the guest binary in 0 s"
    }
    assert time.monotonic() - started < 10


def test_one_that_ends_without_a_look_at_the_binary_is_not_waited_for(tmp_path: Path) -> None:
    started = time.monotonic()
    process = HandProcess(uploading(tmp_path, "true"), "0" * 16)
    process.close()
    assert time.monotonic() - started < hand.UPLOAD_LIMIT / 2


def test_what_cannot_be_killed_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "KILL_LIMIT", 200)
    monkeypatch.setattr(hand, "_END", 0.1)
    process = HandProcess(
        HandSpec(argv=("sleep", "60"), binary=uploading(tmp_path).binary, where="here"), "0" * 16
    )
    with monkeypatch.context() as held:
        held.setattr(os, "killpg", lambda *_: None)
        started = time.monotonic()
        process.close()
        assert time.monotonic() - started < 10
    os.killpg(process.pid, signal.SIGKILL)
    assert os.waitpid(process.pid, 0)[0] == process.pid


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match="cannot start no-such-ssh"):
        HandProcess(uploading(tmp_path, "no-such-ssh"), "0" * 16)


def test_a_binary_of_another_arch_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "faults"
    binary.write_bytes(b"\x7fELF of no machine")
    with pytest.raises(QemuError, match="here runs no programs of that arch: check --arch"):
        HandProcess(HandSpec(argv=(BINARY,), binary=binary, where="here"), "0" * 16)
