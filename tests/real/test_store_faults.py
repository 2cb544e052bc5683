"""A store on a disk that is full, whose builds are ended, that two runs share, and whose bits flip:
of a small project, and of real kernels in mount namespaces of their own.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rig import (
    MOMENTS,
    ROOT,
    SIGNALS,
    Undisturbed,
    command_line,
    descendants,
    in_namespace,
    machines,
    mounts,
    outcomes_of,
    records,
    start,
    store_copy,
)

from harness.build import prune
from harness.build.source import is_at_hand
from harness.build.store import Store, default_root
from harness.cli.common import open_project, select
from tests.processes import gone
from tests.unit.small_project import fetched_and_patched

# -- a full disk, and builds that are ended --------------------------------------------------


STEPS = {  # where a build ended, by its words
    "guest": r"(write guest/|ld: final link failed)",
    "kernel built": r"logs/kernel-",
    "kernel kept": r"(write kernel/|tmp/kernel--)",
    "initramfs": r"write (initramfs/|\S+/tmp/initramfs--)",
}


def on_a_disk_of(kib: int, small: list[str], store: Path, then: str) -> tuple[int, str, str]:
    """The exit code of a run whose store is on a disk of its own, what it said, and what the shell
    script `then` said, which finds the run's command in "$@".
    """
    store.mkdir(exist_ok=True)
    script = f"""mount -t tmpfs -o size={kib}k none {store}
        status=0; "$@" || status=$?
        echo; echo "first: $status"
        {then}"""
    done = subprocess.run(
        [*in_namespace(script), *small], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    said, _, rest = done.stdout.partition("\nfirst: ")
    code, _, rest = rest.partition("\n")
    return int(code), said, rest


@mounts
def test_a_build_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    small: list[str], tmp_path: Path
) -> None:
    """At each step of it: the sizes are just below what the store takes after that step."""
    store, fail = tmp_path / "store", tmp_path / "packaged" / "fail"
    used = f"df --output=used -k {store} | tail -1"
    fail.touch()  # the guest is built, and half of the kernel
    code, said, half = on_a_disk_of(1 << 16, small, store, used)
    assert code == 3 and "expected fault" in said
    fail.unlink()
    code, said, whole = on_a_disk_of(1 << 16, small, store, used)
    assert code == 0, said
    undisturbed = outcomes_of(tmp_path / "out")
    there, all_ = int(half), int(whole)
    sizes = [8, there // 2, *range(there - 28, there + 29, 8), (there + all_) // 2, all_ - 8]
    more = f'mount -o remount,size=64m {store}\nexec "$@"'
    ended = set()
    for kib in sizes:
        shutil.rmtree(tmp_path / "out")
        code, said, again = on_a_disk_of(kib, small, store, more)
        assert code == 3, f"{kib} KiB: {said}"
        step = next((name for name, words in STEPS.items() if re.search(words, said)), None)
        assert step is not None, f"{kib} KiB: {said}"
        ended.add(step)
        assert outcomes_of(tmp_path / "out") == undisturbed, f"{kib} KiB: {again}"
    assert ended == set(STEPS)


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
        assert prune.verify(store) == []
        assert "kernel" not in {entry.kind for entry in prune.entries(store)}
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
    kinds = [entry.kind for entry in prune.entries(Store(tmp_path / "store"))]
    assert kinds.count("kernel") == kinds.count("guest") == kinds.count("initramfs") == 1


# -- bits that flip ------------------------------------------------------------------------


def flip_a_bit(path: Path, chance: random.Random) -> None:
    """As on a disk: the file's times are as they were."""
    data, before = bytearray(path.read_bytes()), path.stat()
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def entries(store: Path) -> Iterator[Path]:
    """Every file of what a store made, and of sources; what changes in place has no manifest."""
    for manifest in store.glob("v1/*/*/manifest"):
        yield manifest
        yield from (path for path in (manifest.parent / "files").rglob("*") if path.is_file())


def test_a_flipped_bit_in_any_file_of_the_store_changes_no_result(
    small: list[str], tmp_path: Path
) -> None:
    """A source is looked at where it is compiled: so the kernel is not there any more."""
    chance = random.Random(3)
    fetched_and_patched(tmp_path)
    subprocess.run(small, capture_output=True, timeout=120, check=True)
    outcomes, store = outcomes_of(tmp_path / "out"), tmp_path / "store"
    kinds = {path: path.relative_to(store).parts[1] for path in entries(store)}
    assert set(kinds.values()) >= {"source", "kernel", "guest", "initramfs"}
    for path, kind in kinds.items():
        if not path.stat().st_size:
            continue
        flip_a_bit(path, chance)
        if kind == "source":
            shutil.rmtree(store / "v1" / "kernel")
        done = subprocess.run(small, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{path}: {done.stdout}{done.stderr}"
        assert outcomes_of(tmp_path / "out") == outcomes
        assert (
            prune.verify(Store(store)) == [] or "is damaged and will be made again" in done.stderr
        )


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
    """To its end with FAULTLINE_MOMENTS; else until it is configured: no machine comes before."""
    to_the_end = MOMENTS > 4
    files = booted_from(tmp_path / "out")["kernel"]
    run = start(tmp_path / "again", below=flipped(files, tmp_path))
    assert run.stdout is not None
    said = ""
    while ": collect" not in said and (to_the_end or ": configure" not in said):
        line = run.stdout.readline().decode()
        assert line, said
        said += line
        assert machines(run.pid) == []
    if not to_the_end:
        run.send_signal(signal.SIGTERM)
    said += run.communicate(timeout=300)[0].decode()
    assert re.search("store: debian-.*, m68k, core is damaged and will be made again", said), said
    assert run.returncode == (0 if to_the_end else 128 + signal.SIGTERM), said
    if to_the_end:
        assert outcomes_of(tmp_path / "again") == undisturbed[0]
