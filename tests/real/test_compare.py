"""One program on two arches, on real boots: alpha has larger pages than m68k."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from harness.program_record import ComparisonRecord
from tests.processes import within

ROOT = Path(__file__).parents[2]
DIFFER = ROOT / "tests" / "programs" / "differ.c"
ARGV = [sys.executable, "-m", "harness", "compare", "--arch", "alpha", "--arch", "m68k"]


def compare(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [*ARGV, *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=1800)


def test_what_differs_is_told_and_what_does_not_is_not(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a line\n")
    results = tmp_path / "r.json"
    done = compare("--stdin", tmp_path / "in", "--results", results, DIFFER)
    assert (done.returncode, done.stdout) == (
        1,
        "how it ended\n"
        "  alpha\n    exit status 8\n"
        "* m68k\n    exit status 4\n"
        "\n"
        "stdout, line 3\n"
        "  alpha\n    of 8192 bytes\n"
        "* m68k\n    of 4096 bytes\n"
        "\n"
        "2 columns: they differ\n",
    ), done.stderr
    record = msgspec.json.decode(results.read_bytes(), type=ComparisonRecord)
    assert [one.record and one.record.exit_code for one in record.columns] == [8, 4]
    assert record.columns[0].stdout.startswith("read a line\na page at 0x")


def test_a_death_is_the_same_one_though_its_addresses_are_not(tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    done = compare("--results", results, DIFFER, "die")
    head = "  alpha m68k\n    killed by SIGSEGV/SEGV_ACCERR in main at differ.c:"
    assert head in done.stdout, done.stderr
    columns = json.loads(results.read_text())["columns"]
    assert len({one["record"]["details"]["died"] for one in columns}) == 2


def test_an_interrupted_one_leaves_nothing_and_tells_what_it_was(tmp_path: Path) -> None:
    script, results = tmp_path / "test.sh", tmp_path / "r.json"
    script.write_text("#!/bin/sh\nif mkdir /work/slow; then sleep 60; fi\n")
    quick = tmp_path / "quick.sh"
    quick.write_text("#!/bin/sh\n")
    assert compare(quick).returncode == 0  # whatever has to be built is
    argv = [*ARGV, "--results", results, script]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "m68k: not observed: interrupted: SIGTERM" in told
    columns = json.loads(results.read_text())["columns"]
    assert [one["failure"] for one in columns] == ["interrupted: SIGTERM"] * 2


def test_a_worker_that_is_killed_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    script, folder = tmp_path / "slow.sh", tmp_path / "tmp"
    script.write_text("#!/bin/sh\nsleep 3\necho here\n")
    folder.mkdir()
    argv, env = [*ARGV, "--jobs", "2", script], {**os.environ, "TMPDIR": str(folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=pipe, text=True) as process:
        try:
            assert within(1800, lambda: len([*folder.rglob("initramfs.cpio")]) == 2)
            worker, _ = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(worker), signal.SIGKILL)
        finally:
            told, _ = process.communicate(timeout=1800)
    assert process.returncode == 0
    assert "2 columns: the same end, the same output" in told
    assert not [*folder.iterdir()]


def test_what_is_for_one_arch_only_runs_there(tmp_path: Path) -> None:
    source = tmp_path / "one.c"
    source.write_text("#ifndef __m68k__\n#error not here\n#endif\nint main(void) { return 0; }\n")
    done = compare(source)
    assert done.returncode == 3
    assert "1 of 2 columns: the same end" in done.stdout
    assert "alpha: not observed: " in done.stdout
    assert "error: #error not here" in done.stdout
