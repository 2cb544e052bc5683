"""Rows that are measured in seconds: start-up, boots, the matrix, memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builds import pc_image
from measure import CORES, FAULTLINE, ONE, Setting, bare, compare, seconds, show, spread

from harness.catalog.arches import Arch
from harness.results import read_results

# The edges that a fault handler is asked about first.
EDGES = (
    *("control/*", "hole/null-*", "hole/low-*", "hole/unaligned", "hole/read", "hole/write"),
    *("protection/ro-write-*", "protection/none-read", "protection/none-write"),
    *("protection/wonly-read", "protection/xonly-read", "protection/exec-nx"),
    *("stack/below-usp-*", "stack/fp-1m", "stack/past-rlimit", "stack/guard-gap"),
    *("stack/growsdown-user", "stack/growsdown-read"),
    *("hwpoison/anon-load", "hwpoison/tmpfs-load", "hwpoison/shared-load"),
    *("hwpoison/uaccess-read", "hwpoison/soft-offline"),
    *("file/eof-shared-load", "file/eof-store", "file/eof-read", "file/eof-write"),
    *(f"uaccess/tail-write-{count}" for count in (1, 3, 7, 101)),
    *("retry/kill-in-read", "range/kernel-load", "range/noncanonical-load"),
)
LONG = 5  # times the matrix, for the memory of a long run


def start(setting: Setting) -> None:
    """--help and shell completion, against `python -c pass`"""

    def floor() -> float:
        return seconds([sys.executable, "-c", "pass"])

    def complete(words: str) -> float:
        return seconds(
            FAULTLINE,
            _FAULTLINE_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        )

    rounds = setting.rounds
    compare("--help", floor, lambda: seconds([*FAULTLINE, "--help"]), rounds, 6)
    compare("completion of an option", floor, lambda: complete("faultline run --ar"), rounds, 6)
    compare("completion of a scenario", floor, lambda: complete("faultline run hole/re"), rounds, 6)


def one(setting: Setting) -> None:
    """one scenario on one arch, warm, against a boot by hand whose init runs it; each arch"""
    for arch in setting.arches:
        boot = bare(setting, arch, does=f"faultline.run={ONE}")
        run = setting.run(ONE, arches=[arch])
        ways = {"": run} | ({"booted": [*run, "--no-snapshots"]} if arch.snapshot else {})
        for how, words in ways.items():
            seconds(words)  # warm: built, and a snapshot taken
            compare(
                f"one scenario, {arch.name} {how}".rstrip(),
                lambda boot=boot: seconds(boot),  # type: ignore[misc]
                lambda words=words: seconds(words),  # type: ignore[misc]
                setting.rounds,
                1.15,
            )


def whole(setting: Setting) -> None:
    """all scenarios of one arch without what wedges, against a bare boot of it; each arch"""
    for arch in setting.arches:
        alone, _, runs = _beside_boots(setting, [arch])
        show(f"all scenarios, {arch.name}", alone[arch.name], runs, 4)


def edges(setting: Setting) -> None:
    """some fifty edge faults on four arches, against the sum of bare boots divided by two"""
    four = setting.four
    for how, words in (("", EDGES), (" booted", (*EDGES, "--no-snapshots"))) if four else ():
        alone, _, runs = _beside_boots(setting, four, *words)
        floors = [sum(found) / min(CORES, len(four)) for found in zip(*alone.values(), strict=True)]
        show(f"edge faults, {len(four)} arches{how}", floors, runs, 1.5)


def matrix(setting: Setting) -> None:
    """the whole matrix without what wedges, against bare boots packed on the cores"""
    four = setting.four
    for arches in [four, setting.arches] if len(four) != len(setting.arches) else [four]:
        if arches:
            _matrix(setting, arches)


def _matrix(setting: Setting, arches: Sequence[Arch]) -> None:
    alone, packed, runs = _beside_boots(setting, arches)
    for name, found in alone.items():
        print(f"  bare boot {name:10} {spread(found)}")
    cores = min(CORES, len(alone))
    least = sum(statistics.median(found) for found in alone.values()) / cores
    names = ", ".join(alone)
    _, high = show(f"matrix without what wedges, {len(alone)} arches", packed, runs, 1.25)
    print(
        f"  ({names}; their sum divided by {cores} cores {least:.2f} s: ratio {high / least:.2f})"
    )


def _beside_boots(
    setting: Setting, arches: Sequence[Arch], *words: str
) -> tuple[dict[str, list[float]], list[float], list[float]]:
    """Wall seconds, in turn: the bare boots one by one, all of them packed on the cores, and a
    run of these scenarios without what wedges.
    """
    boots = {arch.name: bare(setting, arch) for arch in arches}
    run = setting.run(*words, "--no-wedging", arches=arches)
    seconds(run)  # warm
    alone: dict[str, list[float]] = {name: [] for name in boots}
    packed, runs = [], []
    for _ in range(setting.rounds):
        for name, argv in boots.items():
            alone[name].append(seconds(argv))
        packed.append(_packed(boots, alone))
        runs.append(seconds(run))
    return alone, packed, runs


def _packed(boots: dict[str, list[str]], alone: dict[str, list[float]]) -> float:
    """Wall seconds of all boots, as many at a time as there are cores, the longest first."""
    order = sorted(boots, key=lambda name: -alone[name][-1])
    started = time.monotonic()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda name: seconds(boots[name]), order))
    return time.monotonic() - started


def wedging(setting: Setting) -> None:
    """the whole matrix, against the same without what wedges: seconds for each such scenario"""
    without = setting.run("--no-wedging", arches=setting.arches)
    whole = setting.run(arches=setting.arches)
    few, _ = _cells(setting, without)
    floors, subjects, extra = [], [], 0
    for _ in range(setting.rounds):
        floors.append(_cells(setting, without)[1])
        count, took = _cells(setting, whole)
        subjects.append(took)
        extra = count - few
    low, high = statistics.median(floors), statistics.median(subjects)
    each = (high - low) * CORES / extra if extra else 0.0
    print(f"matrix with what wedges              {spread(subjects)}  floor {spread(floors)}")
    print(
        f"  {extra} wedging scenarios: {high - low:.1f} s more, on {CORES} cores {each:.2f} s"
        " each, to reach 3"
    )


def _cells(setting: Setting, run: Sequence[str]) -> tuple[int, float]:
    """(cells observed, wall seconds) of a run."""
    took = seconds(run)
    found = read_results([setting.work / "out" / "results.jsonl"])
    return len(found.last()), took


def init(setting: Setting) -> None:
    """boot of x86_64 to init, against -M pc with a bzImage; builds that kernel: minutes"""
    arch = setting.project.arch("x86_64")
    boot = bare(setting, arch)
    initrd = boot[boot.index("-initrd") + 1]
    pc = [
        arch.qemu, "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
        "-M", "pc", "-accel", "tcg", "-m", str(arch.memory), "-smp", f"1,maxcpus={arch.smp}",
        "-cpu", arch.cpu, "-kernel", str(pc_image(setting, arch)), "-initrd", initrd,
        "-append", f"console={arch.console} panic=-1 faultline.bare", "-serial", "stdio",
    ]  # fmt: skip
    compare("x86_64 to init", lambda: seconds(pc), lambda: seconds(boot), setting.rounds, 0.4)


def memory(setting: Setting) -> None:
    """peak memory of the harness's own processes together, of one matrix and of a long run"""
    for what, words in (("one matrix", []), (f"{LONG} times", ["--repeat", str(LONG)])):
        peak, main = _peak(setting.run("--no-wedging", *words, arches=setting.arches))
        print(
            f"memory, {what:12} {peak:5.0f} MB, of it the main process {main:.0f} MB; to reach 80"
        )


def _peak(argv: Sequence[str]) -> tuple[float, float]:
    """The most that a run's own process and its workers had together, and the first's part of it:
    MB of PSS, which counts a page that several of them share once. Asked ten times a second.
    """
    most = main = 0
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.1)
        shares = {pid: _share(pid) for pid in (process.pid, *_children(process.pid))}
        if sum(shares.values()) > most:
            most, main = sum(shares.values()), shares[process.pid]
    return most / 1e6, main / 1e6


def _share(pid: int) -> int:
    """PSS in bytes of a process, if it is one of Python's: QEMU is not the harness."""
    try:
        if not Path(f"/proc/{pid}/comm").read_text().startswith(("python", "faultline")):
            return 0
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(text.split("\nPss:")[1].split()[0]) * 1024
    except (OSError, IndexError):  # it has just ended
        return 0


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
