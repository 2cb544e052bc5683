#!/usr/bin/env python3
"""The price of the harness: `faultline run` against bare boots of the same machines.

Floor: the same QEMU command line with the same kernel and initramfs, by hand, for each arch;
init powers off at once (faultline.bare). Measured in the same run, several rounds.

    benchmarks/run_ratio.py [--rounds N] [--kernel SPEC] [--arch NAME]...

Prints: wall time of `faultline run --no-wedging` over all arches, the sum of the bare boots
divided by the cores, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness.build.store import Store
from harness.catalog.project import find_root, load_project
from harness.machine.qemu import command
from harness.run.plan import Column, machine_spec
from harness.run.prepare import Options, build, guest_initramfs


def spread(seconds: list[float]) -> str:
    middle = statistics.median(seconds)
    return f"{middle:6.2f} s  (median of {len(seconds)}, {min(seconds):.2f} to {max(seconds):.2f})"


def timed(argv: list[str]) -> float:
    started = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    if done.returncode not in (0, 1):  # 1: a mismatch, which is no matter of time
        sys.exit(f"{' '.join(argv)}\nended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernel", default="")
    parser.add_argument("--arch", action="append", default=[])
    args = parser.parse_args()
    project = load_project(find_root())
    kernel = project.kernel(args.kernel or project.kernels.default)
    arches = [project.arch(name) for name in args.arch or project.arches]
    store = Store()
    bare: dict[str, list[str]] = {}
    for arch in arches:
        column = Column(arch=arch, kernel=kernel)
        built = build(column, Options(store=store), lambda line: None)
        spec = machine_spec(arch, built.image, guest_initramfs(arch, project, store), "tcg")
        bare[arch.name] = command(replace(spec, append=f"{spec.append} faultline.bare"), "0" * 16)
    faultline = str(Path(sys.executable).with_name("faultline"))
    run = [faultline, "run", "--no-wedging", "--accel", "tcg"]
    run += ["--kernel", kernel.name, *(word for arch in arches for word in ("--arch", arch.name))]
    floors: dict[str, list[float]] = {name: [] for name in bare}
    walls: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        for _ in range(args.rounds):
            for name, argv in bare.items():
                floors[name].append(timed(argv))
            walls.append(timed([*run, "--out", out]))
    cores = min(len(os.sched_getaffinity(0)), len(arches))
    for name, seconds in floors.items():
        print(f"bare boot {name:10} {spread(seconds)}")
    floor = sum(statistics.median(seconds) for seconds in floors.values()) / cores
    print(f"floor                {floor:6.2f} s  (their sum divided by {cores} cores)")
    print(f"faultline run        {spread(walls)}")
    print(f"ratio                {statistics.median(walls) / floor:6.2f}")


main()
