"""A run that is ended by a signal, in every phase from the plan to the report: of a small project,
with what stands in for QEMU.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from rig import ROOT, SIGNALS, descendants, gone, outcomes_of, program, records

from harness.build.prune import verify
from harness.build.store import Store

DWELL = 2  # seconds that a run stays where it is to be hit; who is orphaned ends by itself
PAUSE = """
import os, re, sys, time

def pause(event, args):
    if event not in ("open", "os.rename", "shutil.copyfile"):
        return
    if re.match({pattern!r}, f"{{event}} {{args[:2]}}") and not os.path.exists({here!r}):
        os.close(os.open({here!r}, os.O_CREAT))
        time.sleep({seconds})

sys.addaudithook(pause)
"""


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
    "guest": Phase(program="small-gcc", word=" main.o "),
    "configure": Phase(program="make", word="tinyconfig"),
    "compile": Phase(program="make", word="vmlinux"),
    "collect": Phase(event="shutil.copyfile .*/kernel--"),
    "kernel-kept": Phase(event="os.rename .*/kernel--"),
    "initramfs": Phase(event=r"open .*/initramfs--.*cpio', 'w'"),
    "boot": Phase(program="small-qemu", word=" -kernel "),
    "first-result": Phase(written='"scenario":"hole/read"'),
    "report": Phase(event=r"open .*/out/report\.md"),
    "page": Phase(event=r"open .*/out/report\.html"),
}
AROUND = {"plan", "report", "page"}  # before and after the run has handlers of its own


def lay_in_wait(phase: Phase, folder: Path, here: Path) -> dict[str, str]:
    """Environment of a run that makes the file `here` in that phase, and stays there a while."""
    if phase.program:
        path = folder / "bin" / phase.program
        real = path.readlink() if path.is_symlink() else shutil.which(phase.program)
        path.unlink(missing_ok=True)
        program(path, f"""case " $* " in *{shlex.quote(phase.word)}*)
            [ -e {here} ] || {{ : > {here}; exec sleep {DWELL}; }};; esac
            exec {real} "$@" """)  # fmt: skip
    if phase.written:
        (folder / "packaged" / "text").write_text("hole/write=late\n")
    if not phase.event:
        return {}
    text = PAUSE.format(pattern=phase.event, here=str(here), seconds=DWELL)
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


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
        deadline = time.monotonic() + 60
        while not (here.exists() or (phase.written and phase.written in text_of(out))):
            assert run.poll() is None, f"it ended without {name}"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        everybody = {run.pid, *descendants(run.pid)}
        assert run.poll() is None
        run.send_signal(number)
        said = run.communicate(timeout=60)[0].decode()
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


def text_of(out: Path) -> str:
    """A results file as it is by now."""
    path = out / "results.jsonl"
    return path.read_text() if path.exists() else ""
