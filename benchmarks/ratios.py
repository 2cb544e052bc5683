#!/usr/bin/env python3
"""What the harness costs, each figure as a ratio to a floor measured in the same run.

    benchmarks/ratios.py [WHAT]... [--rounds N] [--kernel SPEC] [--arch NAME]...

WHAT is one or more of
    start    --help and shell completion, against `python -c pass`
    one      one scenario on one arch, against a bare boot by hand (each arch)
    wedging  the whole matrix with the wedging scenarios, against the same without
    memory   peak resident memory of the harness's own processes in a whole run
    records  reading and reporting 10,000 results, and 200 files, against a tenth of each
Without WHAT: all. The whole matrix against bare boots is benchmarks/run_ratio.py. Medians of
the rounds, floor and subject in turn; spread as (least to most).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.build.store import Store
from harness.catalog.kernels import Kernel
from harness.catalog.project import Project, find_root, load_project
from harness.machine.qemu import command
from harness.run.plan import Column, machine_spec
from harness.run.prepare import Options, build, guest_initramfs

FAULTLINE = [sys.executable, "-m", "harness"]
ONE = "hole/read"


def seconds(argv: Sequence[str], environment: dict[str, str] | None = None) -> float:
    """Wall seconds of a command. A mismatch (1) is no matter of time; all else ends this."""
    started = time.monotonic()
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=600,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(argv)}\nended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
    return time.monotonic() - started


def compare(
    what: str, floor: Callable[[], float], subject: Callable[[], float], rounds: int
) -> None:
    """Print the ratio of the medians, floor and subject measured in turn."""
    floors, subjects = [], []
    for _ in range(rounds):
        floors.append(floor())
        subjects.append(subject())
    low, high = statistics.median(floors), statistics.median(subjects)
    print(
        f"{what:34} {high:7.3f} s ({min(subjects):.3f} to {max(subjects):.3f})"
        f"  floor {low:7.3f} s ({min(floors):.3f} to {max(floors):.3f})  ratio {high / low:5.2f}",
        flush=True,
    )


def start(rounds: int) -> None:
    def floor() -> float:
        return seconds([sys.executable, "-c", "pass"])

    completion = {
        "_FAULTLINE_COMPLETE": "bash_complete",
        "COMP_WORDS": "faultline run --ar",
        "COMP_CWORD": "2",
    }
    compare("--help", floor, lambda: seconds([*FAULTLINE, "--help"]), rounds)
    compare("completion of an option", floor, lambda: seconds(FAULTLINE, completion), rounds)


def bare(project: Project, kernel: Kernel, arch: str) -> list[str]:
    """The QEMU command of a boot whose init powers off at once."""
    column = Column(arch=project.arch(arch), kernel=kernel)
    store = Store()
    built = build(column, Options(store=store), lambda line: None)
    initrd = guest_initramfs(column.arch, project, store)
    spec = machine_spec(column.arch, built.image, initrd, "tcg")
    return command(replace(spec, append=f"{spec.append} faultline.bare"), "0" * 16)


def one(project: Project, kernel: Kernel, arches: Sequence[str], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        for arch in arches:
            argv = bare(project, kernel, arch)
            run = [*FAULTLINE, "run", ONE, "--arch", arch, "--kernel", kernel.name]
            run += ["--accel", "tcg", "--out", out]
            seconds(run)  # warm: built, and a snapshot taken
            compare(
                f"one scenario, {arch}",
                lambda argv=argv: seconds(argv),  # type: ignore[misc]
                lambda run=run: seconds(run),  # type: ignore[misc]
                rounds,
            )


def matrix(kernel: Kernel, arches: Sequence[str], out: str, *more: str) -> list[str]:
    named = [word for arch in arches for word in ("--arch", arch)]
    return [
        *FAULTLINE,
        "run",
        "--kernel",
        kernel.name,
        "--accel",
        "tcg",
        "--out",
        out,
        *named,
        *more,
    ]


def wedging(kernel: Kernel, arches: Sequence[str], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        compare(
            "matrix with what wedges",
            lambda: seconds(matrix(kernel, arches, out, "--no-wedging")),
            lambda: seconds(matrix(kernel, arches, out)),
            rounds,
        )


def memory(kernel: Kernel, arches: Sequence[str]) -> None:
    """Peak VmHWM of the python processes of a run, asked of /proc ten times a second."""
    peaks: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as out:
        process = subprocess.Popen(
            matrix(kernel, arches, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ended = threading.Event()
        threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True).start()
        while not ended.wait(0.1):
            for pid in (process.pid, *children(process.pid)):
                status = Path(f"/proc/{pid}/status")
                try:
                    text = status.read_text()
                except OSError:
                    continue
                if "\nName:\tpython" in "\n" + text and "VmHWM:" in text:
                    peaks[pid] = int(text.split("VmHWM:")[1].split()[0])
    main = peaks.pop(process.pid, 0)
    workers = ", ".join(f"{peak / 1024:.0f}" for peak in sorted(peaks.values(), reverse=True)[:4])
    print(f"memory: main process {main / 1024:.0f} MiB, workers {workers} MiB", flush=True)


def children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def records(rounds: int) -> None:
    """Ten times the input should take ten times the time, not a hundred."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = (written(Path(folder), count, 1) for count in (1000, 10_000))
        split = written(Path(folder), 10_000, 200)
        for form in ("markdown", "html", "json"):
            compare(f"10,000 results, {form}", report(few, form), report(many, form), rounds)
        compare(
            "10,000 results in 200 files",
            report(many, "markdown"),
            report(split, "markdown"),
            rounds,
        )


def report(files: Sequence[Path], form: str) -> Callable[[], float]:
    words = [word for file in files for word in ("--results", str(file))]
    return lambda: seconds(
        [*FAULTLINE, "report", *words, "--format", form, "--output", str(files[0]) + ".out"]
    )


def written(folder: Path, count: int, files: int) -> list[Path]:
    """Results files of `count` results in columns of 250 scenarios each."""
    from harness.results import (
        ColumnRecord,
        EndRecord,
        Observation,
        ResultRecord,
        ResultsWriter,
        RunRecord,
        Verdict,
    )

    paths = []
    for number in range(files):
        path = folder / f"{count}-{files}-{number}.jsonl"
        run_id = path.stem
        with ResultsWriter(path) as writer:
            writer.write(RunRecord(run_id=run_id, started="2026-01-01T00:00:00+00:00", harness="0"))
            left = count // files
            for column in range((left + 249) // 250):
                planned = [f"family/case-{n}" for n in range(min(250, left - 250 * column))]
                name = f"linux-{number}-{column},m68k"
                writer.write(
                    ColumnRecord(
                        run_id=run_id,
                        column=name,
                        arch="m68k",
                        kernel=f"linux-{number}-{column}",
                        flavour="core",
                        version="6.12",
                        planned=planned,
                    )
                )
                for scenario in planned:
                    seen = Observation(scenario=scenario, outcome="SIGSEGV/SEGV_MAPERR @exact")
                    writer.write(
                        ResultRecord(
                            run_id=run_id,
                            column=name,
                            scenario=scenario,
                            attempt=1,
                            verdict=Verdict.MATCH,
                            observation=seen,
                            expected=[seen.outcome],
                            because="the address is in no VMA",
                        )
                    )
            writer.write(
                EndRecord(run_id=run_id, finished="2026-01-01T00:00:01+00:00", exit_code=0)
            )
        paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = ("start", "one", "wedging", "memory", "records")
    parser.add_argument("what", nargs="*", choices=[*what, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernel", default="")
    parser.add_argument("--arch", action="append", default=[])
    args = parser.parse_args()
    project = load_project(find_root())
    kernel = project.kernel(args.kernel or project.kernels.default)
    arches = args.arch or ["x86_64", "arm64", "alpha", "m68k"]
    for name in args.what or what:
        if name == "start":
            start(args.rounds)
        elif name == "one":
            one(project, kernel, arches, args.rounds)
        elif name == "wedging":
            wedging(kernel, arches, args.rounds)
        elif name == "memory":
            memory(kernel, arches)
        else:
            records(args.rounds)


main()
