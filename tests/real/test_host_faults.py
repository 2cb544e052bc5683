"""A host that is broken: a full disk, a hanging /dev/kvm, a clock that jumps, bits that flip, a
QEMU that is another, a guest that says nothing; and what a guest could get hold of. On real
machines, in mount namespaces of their own where the machine must not see it.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rig import (
    MOMENTS,
    ROOT,
    check_confined,
    command_line,
    descendants,
    gone,
    machines,
    outcomes_of,
    records,
    results,
    start,
    wait_for_machine,
)

from harness.build.initramfs import write_initramfs
from harness.build.source import is_at_hand
from harness.build.store import Store, default_root
from harness.cli.common import open_project, select
from harness.machine.hand import HandProcess, HandSpec
from harness.machine.session import BootError, Session
from harness.run.options import Options
from harness.run.repro import prepare_case
from tests.unit.small_project import small_project

mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")
Undisturbed = tuple[dict[str, str], float]


def in_namespace(script: str) -> list[str]:
    """Words that execute, in a mount namespace of its own, what follows them as "$@"."""
    return ["unshare", "--mount", "sh", "-ec", script, "sh"]


def store_copy(folder: Path) -> str:
    """A script that lays a copy of the store, whose changes stay in `folder`, over the store."""
    store = default_root()
    for name in ("upper", "work"):
        (folder / name).mkdir(exist_ok=True)
    return (
        f"mount -t overlay overlay -o "
        f"lowerdir={store},upperdir={folder}/upper,workdir={folder}/work,redirect_dir=on {store}\n"
    )


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# -- a full disk ---------------------------------------------------------------------------


@mounts
@pytest.mark.parametrize("kib", [4, 16, 64])
def test_results_onto_a_disk_that_fills_up(
    kib: int, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    outcomes, _ = undisturbed
    out, kept = tmp_path / "out", tmp_path / "kept"
    out.mkdir()
    kept.mkdir()
    script = f"""mount -t tmpfs -o size={kib}k none {out}
        status=0; "$@" || status=$?
        cp {out}/results.jsonl {kept}; exit $status"""
    run = start(out, "--no-snapshots", below=in_namespace(script))
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 3, said
    assert "No space left" in said
    assert "Traceback" not in said
    for name, record in results(kept).items():
        assert record["observation"].get("outcome") == outcomes[name]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that runs a project which builds in a second; its store is tmp_path/store."""
    monkeypatch.setenv("FAULTLINE_PROJECT", str(small_project(tmp_path)))
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    argv = [sys.executable, "-m", "harness", "run", "--out", str(tmp_path / "out")]
    return [*argv, "--arch", "m68k"]


@mounts
@pytest.mark.parametrize("kib", [8, 32, 64, 128, 256, 512, 1024])
def test_a_build_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    kib: int, small: list[str], tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    script = f"""mount -t tmpfs -o size={kib}k none {tmp_path}/store
        status=0; "$@" || status=$?
        mount -o remount,size=64m {tmp_path}/store
        echo; echo "first: $status"; exec "$@" """
    done = subprocess.run(
        [*in_namespace(script), *small], capture_output=True, text=True, timeout=120
    )
    said = done.stdout + done.stderr
    first, _, second = said.partition("\nfirst: ")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    if not second.startswith("0"):
        assert second.startswith("3")
        assert re.search(r"No space left|cannot|failed", first)


# -- processes that end, in any phase ------------------------------------------------------------


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
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
        assert Store(tmp_path / "store").verify() == []
    again = subprocess.run(small, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(outcomes_of(out).values()) == {"ok"} and len(outcomes_of(out)) == 3


def text_of(out: Path) -> str:
    """A results file as it is by now."""
    path = out / "results.jsonl"
    return path.read_text() if path.exists() else ""


class Cold:
    """A store on a disk of its own, with the sources of the real one and nothing that was built.

    It is a tmpfs of some MiB in a mount namespace that a sleeper holds open.
    """

    def __init__(self, store: Path, mib: int) -> None:
        self._seen, self.store = store, store
        script = f"mount -t tmpfs -o size={mib}m none {store}; echo; exec sleep 1000"
        self._holder = subprocess.Popen(in_namespace(script), stdout=subprocess.PIPE)
        assert self._holder.stdout is not None and self._holder.stdout.readline()
        self.store = Path(f"/proc/{self._holder.pid}/root{store}")  # as it is seen from outside
        shutil.copytree(default_root() / "v1" / "names", self.store / "v1" / "names")
        (self.store / "v1" / "source").mkdir()

    def inside(self, script: str) -> list[str]:
        enter = ["nsenter", f"--target={self._holder.pid}", "--mount"]
        return [*enter, "sh", "-ec", f"cd {ROOT}\n{script}", "sh"]

    def resize(self, mib: int) -> None:
        subprocess.run(self.inside(f"mount -o remount,size={mib}m {self._seen}"), check=True)

    def run(self, out: Path) -> subprocess.Popen[bytes]:
        """A run that has to build; the sources are there for it alone, and read-only."""
        for log in self._logs():
            log.unlink()
        sources = self._seen / "v1" / "source"
        script = f"""unshare --mount sh -ec 'mount --bind {default_root()}/v1/source {sources}
            mount -o remount,ro,bind {sources}; exec "$@"' sh "$@" """
        argv = [sys.executable, "-m", "harness", "run", "hole/read", "--arch", "m68k"]
        return subprocess.Popen(
            [*self.inside(f"exec {script}"), *argv, "--out", str(out)],
            env={**os.environ, "FAULTLINE_STORE": str(self._seen)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def compiled(self) -> int:
        """Objects so far, by the log of the last build."""
        return sum(log.read_bytes().count(b"\n  CC ") for log in self._logs())

    def _logs(self) -> Iterator[Path]:
        return (self.store / "v1" / "logs").glob("kernel-*.log")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def cold(tmp_path: Path, undisturbed: Undisturbed) -> Iterator[Cold]:
    """With 16 MiB: too few for a kernel. What is undisturbed has filled ccache, if it was built."""
    kernel = select(open_project(), ("m68k",), (), ("core",))[0].kernel
    if not is_at_hand(kernel, Store()):
        pytest.skip(f"the source of {kernel.name} is not unpacked in the store")
    if not shutil.which("ccache"):
        pytest.skip("without ccache each build of a real kernel takes minutes")
    (tmp_path / "store").mkdir()
    cold = Cold(tmp_path / "store", 16)
    try:
        yield cold
    finally:
        cold.close()


@mounts
def test_a_real_kernel_is_built_in_the_end_whatever_ends_its_build(
    cold: Cold, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """A full disk, then signals (one, or with FAULTLINE_MOMENTS each) while it compiles."""
    run = cold.run(tmp_path / "full")
    said = run.communicate(timeout=600)[0].decode()
    assert run.returncode == 3 and "No space left on device" in said, said
    assert "Traceback" not in said
    assert cold.compiled() > 0, "it did not come as far as to compile"
    cold.resize(2000)
    for number in SIGNALS[-1:] if MOMENTS <= 4 else SIGNALS:
        run = cold.run(tmp_path / number.name)
        deadline = time.monotonic() + 600
        while cold.compiled() < 20:
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        everybody = {run.pid, *descendants(run.pid)}
        assert [pid for pid in everybody if command_line(pid).startswith("make ")]
        run.send_signal(number)
        said = run.communicate(timeout=60)[0].decode()
        assert run.returncode == (-number if number == signal.SIGKILL else 128 + number), said
        assert all(map(gone, everybody))
        store = Store(cold.store)
        assert store.verify() == []
        assert "kernel" not in {entry.kind for entry in store.list()}
    run = cold.run(tmp_path / "out")
    said = run.communicate(timeout=600)[0].decode()
    assert run.returncode == 0, said
    assert outcomes_of(tmp_path / "out")["hole/read"] == undisturbed[0]["hole/read"]
    (image,) = (cold.store / "v1" / "kernel").glob("*/files/vmlinux")
    known = default_root() / image.relative_to(cold.store)
    assert image.read_bytes() == known.read_bytes()


def test_two_runs_that_build_the_same_build_it_once(small: list[str], tmp_path: Path) -> None:
    runs = [
        subprocess.Popen([*small, "--out", str(tmp_path / name)], stderr=subprocess.PIPE)
        for name in ("one", "other")
    ]
    said = [run.communicate(timeout=120)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert outcomes_of(tmp_path / "one") == outcomes_of(tmp_path / "other")
    kinds = [entry.kind for entry in Store(tmp_path / "store").list()]
    assert kinds.count("kernel") == kinds.count("guest") == kinds.count("initramfs") == 1


# -- bits that flip ------------------------------------------------------------------------


def flip_a_bit(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def entries(store: Path) -> Iterator[Path]:
    """Every file of what a store made; what changes in place has no manifest."""
    for manifest in store.glob("v1/*/*/manifest"):
        yield manifest
        yield from (path for path in (manifest.parent / "files").rglob("*") if path.is_file())


def test_a_flipped_bit_in_any_file_of_the_store_changes_no_result(
    small: list[str], tmp_path: Path
) -> None:
    chance = random.Random(3)
    subprocess.run(small, capture_output=True, timeout=120, check=True)
    outcomes, store = outcomes_of(tmp_path / "out"), tmp_path / "store"
    files = [path for path in entries(store) if path.stat().st_size]
    assert {path.relative_to(store).parts[1] for path in files} >= {"kernel", "guest", "initramfs"}
    for path in files:
        flip_a_bit(path, chance)
        done = subprocess.run(small, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{path}: {done.stdout}{done.stderr}"
        assert outcomes_of(tmp_path / "out") == outcomes
        assert Store(store).verify() == [] or "is damaged and will be made again" in done.stderr


def booted_from(folder: Path) -> dict[str, list[Path]]:
    """What a run of real machines started them from, by kind."""
    began = time.time()
    start(folder).communicate(timeout=300)
    column = next(r for r in records(folder) if r.get("provenance", {}).get("command"))
    words = column["provenance"]["command"].split()
    snapshots = (default_root() / "v1" / "snapshot").iterdir()
    used = [path for path in snapshots if path.stat().st_mtime >= began]  # see the store
    return {
        "kernel": [Path(words[words.index("-kernel") + 1])],
        "initramfs": [Path(words[words.index("-initrd") + 1])],
        "snapshot": [path / "files" / "state" for path in used],
    }


def flipped(files: Sequence[Path], folder: Path) -> list[str]:
    """Words that execute what follows where a bit of each of these files of the store is flipped,
    in a copy.
    """
    script = store_copy(folder)
    for number, path in enumerate(files):
        copy = folder / f"flipped{number}"
        shutil.copyfile(path, copy)
        flip_a_bit(copy, random.Random(number))
        script += f"cat {copy} > {path}\n"
    return in_namespace(script + 'exec "$@"')


@mounts
@pytest.mark.parametrize(
    ("kind", "label"), [("initramfs", "initramfs of .*"), ("snapshot", "qemu-system-m68k, .*")]
)
def test_a_machine_with_a_flipped_bit_is_not_started(
    kind: str, label: str, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    files = booted_from(tmp_path / "out")[kind]
    assert files
    run = start(tmp_path / "again", below=flipped(files, tmp_path))
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 0, said
    told = f"store: {label} is damaged and will be made again: .* has changed"
    assert re.search(told, said), said
    assert outcomes_of(tmp_path / "again") == undisturbed[0]


@mounts
@pytest.mark.usefixtures("cold")  # which knows whether a kernel can be built here
def test_a_kernel_with_a_flipped_bit_is_built_again(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """To its end with FAULTLINE_MOMENTS; else until it compiles, which no machine comes before."""
    files = booted_from(tmp_path / "out")["kernel"]
    run = start(tmp_path / "again", below=flipped(files, tmp_path))
    assert run.stdout is not None
    said = ""
    while MOMENTS > 4 or "objects compiled" not in said:
        if not (line := run.stdout.readline().decode()):
            break
        said += line
        assert machines(run.pid) == [] or "collect" in said
    run.send_signal(signal.SIGTERM)
    said += run.communicate(timeout=300)[0].decode()
    assert re.search("store: debian-.*, m68k, core is damaged and will be made again", said), said
    assert run.returncode == (0 if MOMENTS > 4 else 128 + signal.SIGTERM), said
    if MOMENTS > 4:
        assert outcomes_of(tmp_path / "again") == undisturbed[0]


# -- a clock that jumps -----------------------------------------------------------------------

JUMPS = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int failed = syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_REALTIME)	/* up to two years either way, at each look */
		now->tv_sec += (random() % 4 - 2) * 31536000L + random() % 100;
	return failed;
}
"""


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, undisturbed: Undisturbed) -> None:
    outcomes, _ = undisturbed
    (tmp_path / "jumps.c").write_text(JUMPS)
    library = tmp_path / "jumps.so"
    argv = ["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "jumps.c"]
    subprocess.run(argv, check=True)
    out = tmp_path / "out"
    run = start(out, env={"LD_PRELOAD": str(library)})
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 0, said
    assert outcomes_of(out) == outcomes
    look = "import time; print(len({int(time.time() / 3e7) for _ in range(99)}))"
    seen = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
    )
    assert int(seen.stdout) > 1, "the clock did not jump"


# -- QEMU ---------------------------------------------------------------------------------


@mounts
@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the fake is for x86_64")
def test_kvm_that_hangs_is_found_out_once_and_remembered(tmp_path: Path) -> None:
    real = shutil.which("qemu-system-x86_64")
    fake = program(
        tmp_path / "bin" / "qemu-system-x86_64",
        f"""case "$*" in *"-accel kvm"*)
            echo $$ >> {tmp_path}/started; trap "" TERM INT HUP; sleep 1000 & wait;; esac
        exec {real} "$@" """,
    )
    path = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    script = store_copy(tmp_path) + f'rm -f {default_root()}/kvm.json\n"$@"\nexec "$@"'
    argv = [sys.executable, "-m", "harness", "run", "hole/read", "--arch", "x86_64"]
    done = subprocess.run(
        [*in_namespace(script), *argv, "--out", str(tmp_path / "out")],
        env={**os.environ, **path}, cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("tcg (a boot under KVM failed: no hello from the guest") == 2
    (pid,) = (tmp_path / "started").read_text().split()  # one attempt for two runs
    assert gone(int(pid))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec /bin/false", "printed no version"),
        ("exec sleep 1000", "--version"),
        ("echo QEMU emulator version 4.2.1", "4.2.1 is too old"),
    ],
)
def test_a_qemu_that_is_none_or_too_old_is_said(script: str, message: str, tmp_path: Path) -> None:
    fake = program(tmp_path / "bin" / "qemu-system-m68k", script)
    run = start(tmp_path / "out", env={"PATH": f"{fake.parent}:{os.environ['PATH']}"})
    said = run.communicate(timeout=120)[0].decode()
    assert run.returncode == 2, said
    assert message in said
    assert not (tmp_path / "out").exists()


def failures(out: Path) -> set[str]:
    return {record["observation"].get("failure", "") for record in results(out).values()}


def test_a_qemu_for_another_arch_is_told_before_a_boot(tmp_path: Path) -> None:
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "qemu-system-m68k").symlink_to(shutil.which("qemu-system-alpha") or "")
    run = start(tmp_path / "out", env={"PATH": f"{bin}:{os.environ['PATH']}"})
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 2, said
    assert "arches/m68k.yaml: " in said and "unsupported machine type" in said
    assert not (tmp_path / "out").exists()


def test_a_guest_that_never_says_a_word_is_given_up(tmp_path: Path) -> None:
    """A real machine whose CPUs are never started."""
    real = shutil.which("qemu-system-m68k")
    fake = program(tmp_path / "bin" / "qemu-system-m68k", f'exec {real} -S "$@"')
    run = start(tmp_path, "--no-snapshots", env={"PATH": f"{fake.parent}:{os.environ['PATH']}"})
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 3, said
    assert len(failures(tmp_path)) == 1, "all cells of a column that does not boot fail at once"
    assert re.fullmatch(r"boot: no hello from the guest after \d+ s, .*CPUs halted",
                        failures(tmp_path).pop())  # fmt: skip


FLOOD = """
#include <unistd.h>

int main(void)
{
	static char line[4096] = { [0 ... 4094] = 'x', '\\n' };

	for (;;)
		write(1, line, sizeof(line));
}
"""


@pytest.mark.usefixtures("undisturbed")  # which has built the kernel
@pytest.mark.skipif(not shutil.which("m68k-linux-gnu-gcc"), reason="no compiler for m68k")
def test_a_guest_that_floods_the_console_and_has_no_agent_is_given_up(tmp_path: Path) -> None:
    """A real machine; its init writes and does nothing else."""
    (tmp_path / "flood.c").write_text(FLOOD)
    argv = ["m68k-linux-gnu-gcc", "-static", "-o", tmp_path / "flood", tmp_path / "flood.c"]
    subprocess.run(argv, check=True)
    initrd = tmp_path / "initramfs.cpio"
    write_initramfs(initrd, {"init": tmp_path / "flood"})
    project = open_project()
    column = select(project, ("m68k",), (), ("core",))[0]
    scenario = project.matrix.scenarios["hole/read"]
    case = prepare_case(project, column, scenario, Options(store=Store()), lambda what: None)
    session = Session(replace(case.machine, initrd=initrd), boot_limit=6.0)
    started = time.monotonic()
    with pytest.raises(BootError, match="no hello from the guest after") as caught:
        session.boot()
    session.close()
    assert time.monotonic() - started < 30
    console = caught.value.console
    assert len(console) <= 121 and "x" * 100 in console[-1]
    assert sum(map(len, console)) < 1 << 20


# -- what a guest could get hold of ----------------------------------------------------------


def test_qemu_has_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    run = start(tmp_path, "--no-snapshots", env={"SECRET_TOKEN": "hunter2"})
    pid = wait_for_machine(run)
    machine = Path(f"/proc/{pid}")
    filtered, deadline = re.compile(r"^Seccomp:\t2$", re.MULTILINE), time.monotonic() + 10
    while not filtered.search((machine / "status").read_text()):  # it reads its arguments first
        assert time.monotonic() < deadline, "-sandbox is not at work"
    os.kill(pid, signal.SIGSTOP)
    try:
        check_confined(pid)
        words = machine.joinpath("cmdline").read_text().split("\0")
        files = [str(fd.readlink()) for fd in machine.joinpath("fd").iterdir()]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert run.communicate(timeout=300) and run.returncode == 0
    assert "-nodefaults" in words and "-no-user-config" in words
    refused = re.compile(r"-(netdev|nic|net|virtfs|fsdev|usb\S*|vnc|spice|object|share)$")
    assert not list(filter(refused.match, words))
    assert not [word for word in words if re.search("virtio-net|vhost|9p|file=fat", word)]
    assert not [name for name in files if name.endswith((".jsonl", ".lock"))], files


@pytest.mark.parametrize("ssh", [False, True])
def test_a_guest_binary_that_is_started_here_gets_no_more_of_ours(
    ssh: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for ssh, which is a program of the user's and hands nothing on."""
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    (tmp_path / "nothing").touch()
    spec = HandSpec(argv=("env",), binary=tmp_path / "nothing", where="", upload=ssh)
    process = HandProcess(spec, "0" * 16)
    with process.port.makefile("rb") as said:
        names = {line.partition(b"=")[0] for line in said}
    process.close()
    assert (b"SECRET_TOKEN" in names) == ssh
    assert ssh or names == {b"PATH", b"LC_ALL"}
