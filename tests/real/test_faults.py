"""What happens to the harness itself, on real machines: nothing is lost, invented or left behind.

FAULTLINE_MOMENTS is how many random moments of a run are tried (default 4; 100 take minutes).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from rig import (
    MOMENTS,
    ROOT,
    SIGNALS,
    left_behind,
    machines,
    outcomes_of,
    records,
    results,
    start,
    wait_for_machine,
)

from harness.report.formats import FORMATS, render
from harness.results import read_results

TRIES = 8  # a run may have ended before its moment


@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_qemu_killed_at_any_moment_costs_no_result(
    moment: int,
    tmp_path: Path,
    undisturbed: tuple[dict[str, str], float],
    booted: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Every second run boots, and may be hit at any moment of that: it lives longer."""
    outcomes, restored = undisturbed
    seconds, words = (booted, ["--no-snapshots"]) if moment % 2 else (restored, [])
    chance = random.Random(moment)
    hit = False
    for number in range(TRIES):
        out = tmp_path / str(number)
        run = start(out, *words)
        wait_for_machine(run)
        time.sleep(chance.uniform(0, seconds))
        for machine in machines(run.pid)[:1]:  # another one by now, it may be
            with suppress(ProcessLookupError):
                os.kill(machine, signal.SIGKILL)
                hit = True
        said, _ = run.communicate(timeout=300)
        assert run.returncode == 0, said.decode()
        assert outcomes_of(out) == outcomes
        if hit:
            record_property("missed", number)  # --junitxml tells
            return
    pytest.fail(f"no machine was hit in {TRIES} runs")


@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("number", [signal.SIGHUP, *SIGNALS])
@pytest.mark.parametrize("moment", range(max(1, MOMENTS // 4)))
def test_the_harness_ended_by_a_signal_leaves_its_results_and_no_machine(
    number: signal.Signals,
    moment: int,
    tmp_path: Path,
    undisturbed: tuple[dict[str, str], float],
) -> None:
    outcomes, seconds = undisturbed
    chance = random.Random(moment)
    for out in (tmp_path / str(n) for n in range(TRIES)):
        run = start(out)
        wait_for_machine(run)
        time.sleep(chance.uniform(0, seconds / 2))
        run.send_signal(number)
        run.communicate(timeout=60)
        assert left_behind() == []
        for name, record in results(out).items():
            assert record["observation"].get("outcome") == outcomes[name]
        ends = [record["exit_code"] for record in records(out) if record["type"] == "end"]
        if run.returncode == 0:  # it had been done
            assert ends == [0]
        elif number == signal.SIGKILL:
            assert (run.returncode, ends) == (-signal.SIGKILL, [])
            return
        else:
            assert run.returncode == 128 + number
            assert ends == [run.returncode]
            return
    pytest.fail(f"{TRIES} runs had ended before their signal")


@pytest.mark.usefixtures("undisturbed", "no_orphans")  # the first has built the kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_of_everything_ends_when_it_is_told_to(
    number: signal.Signals, tmp_path: Path
) -> None:
    """With long jobs that wait for a worker, the last of which is ended at its work."""
    argv = [sys.executable, "-m", "harness", "run", "--arch", "m68k", "--arch", "alpha"]
    with subprocess.Popen(
        [*argv, "--jobs", "1", "--out", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        wait_for_machine(run)
        time.sleep(0.5)
        run.send_signal(number)
        assert run.wait(timeout=30) == 128 + number
    (ended,) = [record for record in records(tmp_path) if record["type"] == "end"]
    assert ended["exit_code"] == 128 + number


def test_two_runs_share_one_store(
    tmp_path: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    outcomes, _ = undisturbed
    runs = [(start(tmp_path / name), tmp_path / name) for name in ("one", "other")]
    for run, out in runs:
        said, _ = run.communicate(timeout=300)
        assert run.returncode == 0, said.decode()
        assert outcomes_of(out) == outcomes


def test_a_listing_onto_a_full_disk_is_an_error() -> None:
    """/dev/full stands for a disk without room: each write to it fails."""
    with open("/dev/full", "wb") as full:
        listed = subprocess.run(
            [sys.executable, "-m", "harness", "list"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )  # fmt: skip
    assert listed.returncode == 3
    assert "No space left" in listed.stderr


def test_results_that_end_at_any_byte_are_readable_up_to_there(
    tmp_path: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    outcomes, _ = undisturbed
    start(tmp_path).communicate(timeout=300)
    whole = (tmp_path / "results.jsonl").read_bytes()
    cut = tmp_path / "cut.jsonl"
    chance = random.Random(7)
    ends = {0, 1, len(whole) - 1, *range(len(whole) - 300, len(whole))}
    for end in ends | {chance.randrange(len(whole)) for _ in range(300)}:
        cut.write_bytes(whole[:end])
        found = read_results([cut])
        lines = whole[:end].count(b"\n")
        torn = end - (whole[:end].rfind(b"\n") + 1)
        # A record that lacks no more than its newline is whole.
        assert len(found.damaged) == (1 if torn and whole[end : end + 1] != b"\n" else 0)
        known = len(found.runs) + len(found.results) + len(found.ends)
        assert known <= lines + 1
        for record in found.results.values():
            assert record.observation.outcome == outcomes[record.scenario]
        if end % 50 == 0:
            for form in FORMATS:
                assert render(form, found)
