"""`faultline exec` around a machine: what is told before there is one, and how an end is told."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.machine.port import Ended
from harness.machine.program import Ending
from harness.results import ColumnRecord
from harness.run import program as module
from harness.run.program import Program, Ran
from harness.run.suite import Reading
from tests.unit.calling import call

M68K = ("exec", "--arch", "m68k")


def elf(path: Path, machine: int, bits: int = 1, order: int = 2, interpreter: str = "") -> Path:
    """A header of an ELF program (m68k is machine 4, 32-bit, big-endian), and one of PT_INTERP."""
    mark = ">" if order == 2 else "<"
    ident = b"\x7fELF" + bytes((bits, order, 1)) + bytes(9)
    count = 1 if interpreter else 0
    head = struct.pack(f"{mark}HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, count, 0, 0, 0)
    where = struct.pack(f"{mark}8I", 3, 84, 0, 0, len(interpreter), 0, 0, 0)
    path.write_bytes(ident + head + where + interpreter.encode())
    return path


@pytest.fixture
def unbuilt(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder; nothing but a guest is to be had, and who asks for a kernel or a shell fails."""
    guest = elf(tmp_path / "guest", 4)

    def build(*_: object) -> None:
        pytest.fail("it was built")

    monkeypatch.setattr("harness.run.preflight.preflight", lambda *_: None)
    monkeypatch.setattr(module, "guest_binary", lambda *_: guest)
    monkeypatch.setattr(module, "prepare", build)
    monkeypatch.setattr(module, "build_shell", build)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["alpha"], "alpha, 64-bit little-endian, and m68k runs m68k, 32-bit big-endian"),
        (["dynamic"], "dynamically linked (it needs /lib/ld.so.1)"),
        (["text"], "no ELF program"),
        (["--no-shell", "script"], "a script for /bin/sh, which is not in the guest"),
        (["--busybox", "alpha", "script"], "compile it for m68k"),
        (["--memory", "5", "static"], "--memory 5: m68k has 128 MiB"),
        (["--file", "none:/x", "static"], "--file none: No such file"),
        (["--file", "text:/proc/x", "static"], "something is mounted there"),
    ],
)
def test_what_cannot_run_is_told_before_anything_is_built(
    words: list[str], message: str, unbuilt: Path
) -> None:
    elf(unbuilt / "static", 4)
    elf(unbuilt / "dynamic", 4, interpreter="/lib/ld.so.1")
    elf(unbuilt / "alpha", 0x9026, bits=2, order=1)
    (unbuilt / "text").write_text("words\n")
    (unbuilt / "script").write_text("#!/bin/sh\n")
    done = call(*M68K, *words)
    assert (done.exit_code, done.output.count("Error: ")) == (2, 1), done.output
    assert message in done.output


def test_no_folder_is_made_for_results(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "resutls"
    done = call(*M68K, "--results", str(folder / "r.json"), "/bin/true")
    assert (done.exit_code, folder.exists()) == (2, False)
    assert f"No such file or directory; make the folder {folder}" in done.stderr
    folder.touch()
    done = call(*M68K, "--results", str(folder / "r.json"), "/bin/true")
    assert (done.exit_code, folder.is_file()) == (2, True)
    assert "Not a directory; give a file in a folder you can write" in done.stderr


def ran(ending: Ending) -> Ran:
    """What a program came to that ended so."""
    judgement = Reading("auto", "").judge(module._end(ending))
    column = ColumnRecord(run_id="r", column="debian-6.12,m68k", arch="m68k", kernel="debian-6.12")
    record = module._record(Program(path=Path("test")), column, ending, judgement)
    return Ran(ending, judgement, record)


@pytest.mark.parametrize("code", [123, 124, 125, 126, 141])
@pytest.mark.parametrize("kernel", ["", "warn(zap)"])
def test_a_status_of_the_programs_own_is_not_taken_for_one_of_ours(
    code: int, kernel: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending(ended=Ended(code=code), kernel=kernel, console=["WARNING: zap"])
    monkeypatch.setattr("harness.cli.exec_._run", lambda *_: ran(ending))
    done = call(*M68K, "--results", str(tmp_path / "r.json"), "/bin/true")
    assert done.exit_code == code
    assert f"results: exit: fail (exit status {code})" in done.stderr
    assert ("| WARNING: zap" in done.stderr) == bool(kernel)
    assert not [line for line in done.stderr.splitlines() if line.startswith("faultline:")]


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        (Ending(ended=None, kernel="oops", lost="it did not end"), 123,
         "oops while the program ran; it did not end"),
        (Ending(ended=Ended(code=0), kernel="oops"), 123, "oops while the program ran"),
        (Ending(ended=Ended(hang="hang(killable, sleep)")), 124,
         "its time was up: hang(killable, sleep)"),
        (Ending(ended=None, lost="interrupted: SIGTERM", kernel="oops", interrupted=15), 143,
         "interrupted: SIGTERM"),
        (Ending(ended=None, lost="agent: fork"), 125, "agent: fork"),
        (Ending(ended=Ended(refused="exec ENOEXEC")), 126,
         "the kernel does not execute it: exec ENOEXEC"),
    ],
)  # fmt: skip
def test_a_status_of_ours_is_explained(
    ending: Ending, code: int, message: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.exec_._run", lambda *_: ran(ending))
    done = call(*M68K, "/bin/true")
    assert done.exit_code == code
    assert done.stderr.splitlines()[-1] == f"faultline: {message}"


def test_what_killed_the_kernel_stands_ahead_of_its_last_lines(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On x86 registers, code and a trace follow it: more than are shown."""
    headline = "[    2.310000] Kernel panic - not syncing: sysrq triggered crash"
    lost = "the machine ended (QEMU: exit status 0)"
    console = ["booted", headline, *(f"trace {n}" for n in range(60))]
    ending = Ending(ended=None, kernel="panic", lost=lost, console=console)
    monkeypatch.setattr("harness.cli.exec_._run", lambda *_: ran(ending))
    lines = call(*M68K, "/bin/true").stderr.splitlines()
    assert lines[0] == f"faultline | {headline}"
    assert lines[1:3] == ["faultline | [...]", "faultline | trace 20"]
    assert lines[-1] == f"faultline: panic while the program ran; {lost}"


def test_a_guest_that_ran_out_of_memory_names_the_option(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Ended(sig=9, signal="SIGKILL")
    said = "[    3.1] Out of memory: Killed process 40 (hog) total-vm:1kB"
    ending = Ending(ended=killed, console=[said])
    monkeypatch.setattr("harness.cli.exec_._run", lambda *_: ran(ending))
    *_, note, last = call(*M68K, "/bin/true").stderr.splitlines()
    assert "ran out of memory" in note and "--memory" in note
    assert last == "faultline: killed by SIGKILL"


def test_the_record_of_a_lost_program_has_what_was_passed_on() -> None:
    record = ran(Ending(ended=None, lost="the machine ended", passed=(490, 7), ms=1500)).record
    assert (record.stdout_bytes, record.stderr_bytes, record.ms) == (490, 7, 1500)


def test_the_record_of_an_interrupted_program_says_what_was_known() -> None:
    record = ran(Ending(ended=None, lost="interrupted: SIGINT", interrupted=2)).record
    assert (record.status, record.reason) == ("infra", "interrupted: SIGINT")
    stuck = Ending(ended=None, lost="interrupted: SIGINT", kernel="oops", interrupted=2)
    record = ran(stuck).record
    assert (record.status, record.reason, record.kernel_said) == ("fail", "oops", "oops")
