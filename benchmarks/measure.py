"""What all rows share: a command timed, floor and subject in turn, medians and their ratio."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.build.kernel import BuiltKernel
from harness.build.store import Store
from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel
from harness.catalog.project import Project
from harness.machine.qemu import command
from harness.run.images import build, guest_initramfs
from harness.run.options import Options
from harness.run.plan import Column, machine_spec

FAULTLINE = [sys.executable, "-m", "harness"]
ONE = "hole/read"
FOUR = ("x86_64", "arm64", "alpha", "m68k")
CORES = len(os.sched_getaffinity(0))
LIMIT = 3600  # seconds: a kernel on a slow machine

Measure = Callable[[], float]


class Setting(Struct, frozen=True):
    """What is measured on, and how often."""

    project: Project
    kernel: Kernel
    arches: tuple[Arch, ...]
    rounds: int
    work: Path  # scratch, removed at the end unless it was named

    @property
    def four(self) -> list[Arch]:
        """Of these arches those that everybody has."""
        return [arch for arch in self.arches if arch.name in FOUR]

    def out(self) -> list[str]:
        return ["--out", str(self.work / "out")]

    def run(self, *words: str, arches: Sequence[Arch] = ()) -> list[str]:
        """A `faultline run` of this kernel under TCG, as the bare boots are."""
        named = [word for arch in arches for word in ("--arch", arch.name)]
        common = ["--kernel", self.kernel.name, "--accel", "tcg", *self.out()]
        return [*FAULTLINE, "run", *words, *common, *named]


def _run(argv: Sequence[str], more: Mapping[str, str]) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **more},
    )  # fmt: skip
    if done.returncode not in (0, 1):  # 1: a mismatch, which is no matter of time
        said = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
        sys.exit(f"{' '.join(argv)}\nended with {done.returncode}:\n{said}")


def seconds(argv: Sequence[str], **more: str) -> float:
    """Wall seconds of a command, `more` in its environment. One that fails ends everything."""
    started = time.monotonic()
    _run(argv, more)
    return time.monotonic() - started


def cpu_seconds(argv: Sequence[str], **more: str) -> float:
    """User and system seconds of a command and all it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(argv, more)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(
    what: str, floor: Measure, subject: Measure, rounds: int, reach: float
) -> tuple[float, float]:
    """Print the ratio of the medians, floor and subject measured in turn; returns these."""
    floors, subjects = [], []
    for _ in range(rounds):
        floors.append(floor())
        subjects.append(subject())
    return show(what, floors, subjects, reach)


def show(
    what: str, floors: Sequence[float], subjects: Sequence[float], reach: float
) -> tuple[float, float]:
    low, high = statistics.median(floors), statistics.median(subjects)
    print(
        f"{what:36} {spread(subjects)}  floor {spread(floors)}"
        f"  ratio {high / low:5.2f}, to reach {reach:g}",
        flush=True,
    )
    return low, high


def spread(found: Sequence[float]) -> str:
    return f"{statistics.median(found):8.3f} s ({min(found):.3f} to {max(found):.3f})"


# -- machines --


def built(setting: Setting, arch: Arch) -> BuiltKernel:
    """The kernel of an arch, made now if the store does not have it."""
    column = Column(arch=arch, kernel=setting.kernel)
    return build(column, Options(store=Store()), lambda line: None)


def bare(
    setting: Setting, arch: Arch, image: Path | None = None, does: str = "faultline.bare"
) -> list[str]:
    """The QEMU command of a boot whose init powers off at once, or runs a scenario before that: of
    the machine that scenarios have, with one CPU.
    """
    initrd = guest_initramfs(arch, setting.project, Store())
    spec = machine_spec(arch, image or built(setting, arch).image, initrd, "tcg")
    spec = replace(spec, append=f"{spec.append} {does}", one_cpu=spec.smp > 1)
    return command(spec, "0" * 16)


# -- plain makes --


def plain_make(arch: Arch, tree: Path, objects: Path, *targets: str, name: str = "") -> list[str]:
    """`make` as one types it; `name` is ARCH= where it is to be another."""
    return [
        "make", "-C", str(tree), f"O={objects}", f"ARCH={name or arch.kernel_arch}",
        f"CROSS_COMPILE={arch.cross}", f"-j{CORES}", "-s", *targets,
    ]  # fmt: skip
