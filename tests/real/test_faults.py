"""What happens to the harness itself, on real machines: nothing is lost, invented or left behind.

FAULTLINE_MOMENTS is how many random moments of a run are tried (default 4; 100 take minutes).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOMENTS = int(os.environ.get("FAULTLINE_MOMENTS", "4"))
ARCH, SCENARIOS = "m68k", ["hole/*", "control/*", "protection/*"]


def start(out: Path, *words: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "harness", "run", *SCENARIOS, "--arch", ARCH, "--out", str(out)]
    return subprocess.Popen(
        [*argv, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def descendants(pid: int) -> Iterator[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, found):
        yield child
        yield from descendants(child)


def machines(pid: int) -> list[int]:
    """The QEMU processes below a process."""
    return [child for child in descendants(pid) if "qemu-system" in command_line(child)]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def wait_for_machine(run: subprocess.Popen[bytes], limit: float = 120) -> int:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline and run.poll() is None:
        if found := machines(run.pid):
            return found[0]
        time.sleep(0.005)
    raise AssertionError("the run started no machine")


def gone(pid: int) -> bool:
    """Whether it has ended, within seconds. (A zombie has: its parent may be dead as well.)"""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def records(out: Path) -> list[dict[str, Any]]:
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def results(out: Path) -> dict[str, dict[str, Any]]:
    """The last record of each scenario."""
    return {r["scenario"]: r for r in records(out) if r["type"] == "result"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """Outcomes of a run that nothing happens to, and how many seconds its machine lives."""
    out = tmp_path_factory.mktemp("undisturbed")
    start(out).communicate(timeout=1800)  # builds, if it must
    run = start(out)
    wait_for_machine(run)
    began = time.monotonic()
    run.communicate(timeout=300)
    assert run.returncode == 0
    seen = {name: r["observation"].get("outcome", "") for name, r in results(out).items()}
    assert seen
    return seen, time.monotonic() - began


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_qemu_killed_at_any_moment_costs_no_result(
    moment: int, tmp_path: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    outcomes, seconds = undisturbed
    chance = random.Random(moment)
    run = start(tmp_path, *(["--no-snapshots"] if moment % 2 else []))
    machine = wait_for_machine(run)
    time.sleep(chance.uniform(0, seconds))
    if command_line(machine):
        os.kill(machine, signal.SIGKILL)
    said, _ = run.communicate(timeout=300)
    assert run.returncode in (0, 3), said.decode()
    found = results(tmp_path)
    assert set(found) == set(outcomes), "a result is missing"
    for name, record in found.items():
        seen = record["observation"]
        # A kill may cost an observation, and says so; it never makes another one of it.
        assert seen.get("outcome", "") == outcomes[name] or seen.get("failure"), (name, seen)
    assert gone(machine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", range(max(1, MOMENTS // 4)))
def test_the_harness_ended_by_a_signal_leaves_its_results_and_no_machine(
    number: signal.Signals,
    moment: int,
    tmp_path: Path,
    undisturbed: tuple[dict[str, str], float],
) -> None:
    outcomes, seconds = undisturbed
    run = start(tmp_path)
    machine = wait_for_machine(run)
    everybody = [run.pid, *descendants(run.pid)]
    time.sleep(random.Random(moment).uniform(0, seconds / 2))
    run.send_signal(number)
    run.communicate(timeout=60)
    assert all(gone(pid) for pid in everybody + machines(run.pid) + [machine])
    for name, record in results(tmp_path).items():
        assert record["observation"].get("outcome") == outcomes[name]
    ends = [record for record in records(tmp_path) if record["type"] == "end"]
    if number == signal.SIGKILL:
        assert run.returncode == -signal.SIGKILL
        assert ends == []
    else:
        assert run.returncode in (0, 128 + number)  # it may have been done
        assert len(ends) == 1
        assert ends[0]["exit_code"] == run.returncode


def test_two_runs_share_one_store(
    tmp_path: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    outcomes, _ = undisturbed
    runs = [(start(tmp_path / name), tmp_path / name) for name in ("one", "other")]
    for run, out in runs:
        said, _ = run.communicate(timeout=300)
        assert run.returncode == 0, said.decode()
        seen = {name: r["observation"].get("outcome", "") for name, r in results(out).items()}
        assert seen == outcomes


def test_a_listing_onto_a_full_disk_is_an_error() -> None:
    """/dev/full stands for a disk without room: each write to it fails."""
    with open("/dev/full", "wb") as full:
        listed = subprocess.run(
            [sys.executable, "-m", "harness", "list"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert listed.returncode == 3
    assert "No space left" in listed.stderr
