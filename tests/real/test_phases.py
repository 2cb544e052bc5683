"""A run that is ended by a signal, in every phase from the plan to the report: of a small project,
with what stands in for QEMU. The saving of a snapshot is one of a real machine.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from rig import (
    ROOT,
    SIGNALS,
    Undisturbed,
    descendants,
    in_namespace,
    left_behind,
    machines,
    mounts,
    outcomes_of,
    program,
    records,
    start,
    store_copy,
)

from harness.build.prune import verify
from harness.build.store import Store, default_root
from tests.processes import gone
from tests.unit.small_project import fetched_and_patched, in_git, with_module_and_disk

DWELL = 60  # seconds that a run stays where it is to be hit: nobody who ends sooner waits for it
SOON = 30  # seconds in which it has ended, on a busy host; `gone` waits for the rest
PAUSE = """
import os, re, sys, time

def pause(event, args):
    if event not in ("open", "os.rename", "shutil.copyfile", "socket.sendmsg"):
        return
    if re.match({pattern!r}, f"{{event}} {{args[:2]}}") and not os.path.exists({here!r}):
        os.close(os.open({here!r}, os.O_CREAT))
        time.sleep({seconds})

sys.addaudithook(pause)
"""

MACHINE = "small-qemu"


@dataclass(frozen=True)
class Phase:
    """Where a run is hit: in a `program` that it has called with a `word`, at an `event` of its own
    (an audit event of Python's, just before it takes place), or once it has `written` something.
    """

    program: str = ""
    word: str = ""
    event: str = ""
    written: str = ""  # in its results file


PHASES = {
    "plan": Phase(event=r"open .*/kernels\.yaml"),
    "fetch": Phase(event=r"open .*/fetch/archive', 'w"),
    "git": Phase(program="git", word=" add --all "),
    "unpack": Phase(program="tar", word=" --extract "),
    "patch": Phase(program="patch", word="small.patch --fuzz=0 "),
    "guest": Phase(program="small-gcc", word=" main.o "),
    "configure": Phase(program="make", word="allnoconfig"),
    "compile": Phase(program="make", word="vmlinux"),
    "collect": Phase(event="shutil.copyfile .*/kernel--"),
    "kernel-kept": Phase(event="os.rename .*/kernel--"),
    "module": Phase(program="make", word=" modules "),
    "initramfs": Phase(event=r"open .*/initramfs--.*cpio', 'w'"),
    "disk": Phase(program="mkfs.ext4", word=" -F "),
    "boot": Phase(program=MACHINE, word=" -kernel "),
    "first-result": Phase(written='"scenario":"hole/read"'),
    "report": Phase(event=r"open .*/out/report\.md"),
    "page": Phase(event=r"open .*/out/report\.html"),
}
AROUND = {"plan", "report", "page"}  # before and after the run has handlers of its own


def which(name: str) -> str | None:
    """The path of a program; those of an administrator are not on everybody's PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def lay_in_wait(phase: Phase, folder: Path, here: Path) -> dict[str, str]:
    """Environment of a run that makes the file `here` in that phase, and stays there a while.

    A program that is called then writes its process id there, and has started another, as
    compilers do; QEMU has none.
    """
    if phase.written:
        (folder / "packaged" / "text").write_text("hole/write=late\n")
    with_module_and_disk(folder)
    if phase.program == "git":
        in_git(folder / "packaged")
    else:
        fetched_and_patched(folder)
    if phase.program:
        path = folder / "bin" / phase.program
        real = path.readlink() if path.is_symlink() else which(phase.program)
        path.unlink(missing_ok=True)
        alone = phase.program == MACHINE
        starts, waits = ("", f"exec sleep {DWELL}") if alone else (f"sleep {DWELL} &", "wait")
        program(path, f"""case " $* " in *{shlex.quote(phase.word)}*) [ -e {here} ] || {{
            {starts} echo $$ > {here}.new; mv {here}.new {here}; {waits}; }};; esac
            exec {real} "$@" """)  # fmt: skip
    return pausing_at(phase.event, folder, here) if phase.event else {}


def pausing_at(event: str, folder: Path, here: Path, seconds: float = DWELL) -> dict[str, str]:
    text = PAUSE.format(pattern=event, here=str(here), seconds=seconds)
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def wait_for(run: subprocess.Popen[bytes], there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert run.poll() is None, run.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.skipif(which("mkfs.ext4") is None, reason="no mkfs.ext4: see package e2fsprogs")
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("name", PHASES)
def test_a_signal_in_any_phase_from_the_plan_to_the_report(
    name: str, small: list[str], tmp_path: Path
) -> None:
    """Each signal, one after the other on what the one before has left."""
    phase, here, out = PHASES[name], tmp_path / "here", tmp_path / "out"
    env = {**os.environ, **lay_in_wait(phase, tmp_path, here)}
    for number in SIGNALS:
        here.unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        run = subprocess.Popen(small, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(run, lambda: here.exists() or is_written(phase, out))
        everybody = {run.pid, *descendants(run.pid)}
        assert run.poll() is None
        helped = list(descendants(int(here.read_text()))) if phase.program else []
        assert helped or phase.program in ("", MACHINE)
        run.send_signal(number)
        if number == signal.SIGKILL:  # the helper ends; whom it does not take along has lost us
            run.wait(SOON)
            for pid in helped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        said = run.communicate(timeout=SOON)[0].decode()
        codes = {-number} if number == signal.SIGKILL else {128 + number}
        assert run.returncode in codes | ({-number} if name in AROUND else set()), said
        assert "Traceback" not in said
        assert all(map(gone, everybody))
        # What is there is right, and tells how it ended if it could.
        ends = []
        if (out / "results.jsonl").exists():
            assert set(outcomes_of(out).values()) <= {"ok"}
            ends = [record["exit_code"] for record in records(out) if record["type"] == "end"]
        told = [0] if name in ("report", "page") else [] if name == "plan" else [128 + number]
        assert ends == (told if number != signal.SIGKILL or told == [0] else [])
        assert verify(Store(tmp_path / "store")) == []
    again = subprocess.run(small, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(outcomes_of(out).values()) == {"ok"} and len(outcomes_of(out)) == 3


def is_written(phase: Phase, out: Path) -> bool:
    """Whether the results file has it by now."""
    path = out / "results.jsonl"
    return bool(phase.written) and path.exists() and phase.written in path.read_text()


@mounts
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("event", [r"socket\.sendmsg", r"open .*/snapshot--.*/state', 'w"])
def test_a_signal_while_a_snapshot_is_saved(
    event: str, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """Before QEMU gets the file that it writes to, and before the store takes that."""
    empty = f"rm -rf {default_root()}/v1/snapshot"
    here, lost = tmp_path / "here", f"{empty} || {empty}\n"  # others write to the store below it
    env = pausing_at(event, tmp_path, here)

    def run(name: str, before: str = "", env: dict[str, str] = env) -> subprocess.Popen[bytes]:
        here.unlink(missing_ok=True)
        below = in_namespace(f'{store_copy(tmp_path)}{before}exec "$@"')
        return start(tmp_path / name, below=below, env=env)

    for number in SIGNALS:
        ended = run(number.name, lost)
        wait_for(ended, here.exists)
        ended.send_signal(number)
        said = ended.communicate(timeout=60)[0].decode()
        assert ended.returncode == (-number if number == signal.SIGKILL else 128 + number), said
        assert "Traceback" not in said
        assert left_behind() == []
        assert outcomes_of(tmp_path / number.name).items() <= undisturbed[0].items()
    # QEMU alone, in the middle of it: the run goes on.
    killed = run("killed", lost, pausing_at(event, tmp_path, here, 2))
    wait_for(killed, here.exists)
    os.kill(machines(killed.pid)[0], signal.SIGKILL)
    said = killed.communicate(timeout=300)[0].decode()
    assert killed.returncode == 0, said
    assert outcomes_of(tmp_path / "killed") == undisturbed[0]
    for name in ("again", "restored"):
        whole = run(name, env={})
        said = whole.communicate(timeout=300)[0].decode()
        assert whole.returncode == 0, said
        assert outcomes_of(tmp_path / name) == undisturbed[0]
