"""tools/: what they make of their arguments, and who ends with them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from job_samples import job

from harness.results import Observation, ResultRecord, Verdict
from tests.processes import lives, within
from tests.unit.tool_calls import ROOT, call, tool


@pytest.mark.parametrize(
    ("tool", "words", "message"),
    [
        ("mutants", ("--arch", "m86k"), "unknown arch 'm86k': did you mean m68k"),
        ("mutants", ("--jobs", "0"), "'0': at least 1"),
        ("mutants", ("--jobs", "x"), "'x': at least 1"),
        ("coverage", ("--arch", "m86k"), "unknown arch 'm86k': did you mean m68k"),
        ("coverage", ("--scenario", "no/such"), "no scenario fits no/such"),
        ("repeat", ("0",), "RUNS is 0: at least 1"),
    ],
)
def test_usage_errors(tool: str, words: tuple[str, ...], message: str) -> None:
    done = call(tool, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nosuch.c",), "nosuch.c: not in the source tree"),
        (("../linux.c",), "../linux.c: not in the source tree"),
        (("mm/memory.o",), "mm/memory.o: only .c and .S files"),
        (("mm/memory.c:no_such",), "mm/memory.c: there is no function 'no_such'"),
        (("mm/memory.c:here,no_such",), "mm/memory.c: there is no function 'no_such'"),
    ],
)
def test_coverage_asks_whether_a_file_is_there_before_anything_is_built(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "memory.c").write_text("int here(void)\n{\n\treturn 1;\n}\n")
    coverage = tool("coverage")
    coverage.check(["mm/memory.c:here", "mm/memory.c"], tmp_path)
    with pytest.raises(SystemExit, match=re.escape(message)):
        coverage.check(words, tmp_path)


def test_coverage_of_a_file_of_another_arch() -> None:
    done = call("coverage", "arch/m68k/mm/fault.c", "--arch", "alpha")
    assert done.returncode == 1
    assert "arch/m68k/mm/fault.c: of none of the arches alpha" in done.stderr


def test_without_the_environment_it_says_so() -> None:
    argv = [sys.executable, "-I", "-S", ROOT / "tools" / "mutants"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 1
    assert "activate the environment" in done.stderr
    assert "Traceback" not in done.stderr


MUTANTS = """
import os, sys, time
from pathlib import Path
from tests.unit.tool_calls import tool

def wait(arch, *words):
    Path(sys.argv[1], arch).write_text(str(os.getpid()))
    time.sleep(60)

mutants = tool("mutants")
mutants.try_all = wait
if __name__ == "__main__":
    mutants.run_all({"m68k": [], "alpha": []}, "kernel", Path("output"), 2)
"""
REPEAT = """
import sys
from pathlib import Path
from tests.unit.tool_calls import tool

repeat = tool("repeat")
repeat.sys.executable = sys.argv[1] + "/python"
repeat.clean_commit = lambda root: "abc"
sys.argv[1:] = ["1", "--out", sys.argv[1]]
sys.exit(repeat.main())
"""


@pytest.mark.parametrize("script", [MUTANTS, REPEAT], ids=["mutants", "repeat"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_works_for_a_tool_ends_with_it(
    tmp_path: Path, script: str, number: signal.Signals
) -> None:
    """The signal comes to the tool alone. A run of repeat has started another, as a machine, and
    ends it on SIGTERM.
    """
    notes = [tmp_path / "m68k", tmp_path / "alpha"]
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
        sleep 60 & trap 'kill $!' TERM
        echo $! > {notes[0]}; echo $$ > {notes[1]}; wait; exit 1
        """)
    python.chmod(0o755)
    (tmp_path / "tool.py").write_text(script)
    run = subprocess.Popen(
        [sys.executable, tmp_path / "tool.py", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        # Whoever runs tests in the background of a shell has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert within(30, lambda: all(note.exists() and note.read_text() for note in notes))
        workers = {int(note.read_text()) for note in notes}
        run.send_signal(number)
        run.wait(30)
        assert within(20, lambda: not any(map(lives, workers)))
        assert run.returncode == (-number if number == signal.SIGKILL else 128 + number)
        assert run.stderr is not None
        said = run.stderr.read().decode()
        assert "Traceback" not in said
        if script == REPEAT and number != signal.SIGKILL:
            assert said.startswith(f"{number.name}: the runs that {tmp_path} holds count")
            assert said.count("\n") == 1
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def test_coverage_of_machines_that_did_not_run_is_none() -> None:
    coverage = tool("coverage")

    def record(name: str, verdict: Verdict, failure: str = "") -> ResultRecord:
        return ResultRecord(
            run_id="r",
            column="c",
            scenario=name,
            expected=["ok"],
            verdict=verdict,
            observation=Observation(scenario=name, failure=failure),
        )

    seen, lost = record("a/b", Verdict.MATCH), record("a/c", Verdict.INFRA, "boot: it ended")
    coverage.check_observed([seen, seen])
    with pytest.raises(SystemExit, match="1 of 2 cells were not observed: a/c: boot: it ended"):
        coverage.check_observed([seen, lost])


def test_coverage_is_refused_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call("coverage", "--arch", "m68k", "--output", str(tmp_path / "file" / "out"))
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/file/out: Not a directory\n"


@pytest.mark.parametrize(
    ("verdicts", "message"),
    [
        ([Verdict.MATCH, Verdict.INFRA], "1 of 2 cells were not observed: a/1: "),
        ([], "none of these scenarios runs there"),
    ],
)
def test_what_machines_did_counts_when_all_were_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdicts: list[Verdict], message: str
) -> None:
    coverage = tool("coverage")
    records = [
        ResultRecord(
            run_id="r", column="c", scenario=f"a/{n}", expected=["ok"], verdict=verdict,
            observation=Observation(scenario=f"a/{n}"),
        )
        for n, verdict in enumerate(verdicts)
    ]  # fmt: skip
    monkeypatch.setattr(coverage, "plugin", lambda *words: tmp_path / "steps.so")
    monkeypatch.setattr(coverage, "run", lambda job: records)
    part = coverage.Part("a.c", [coverage.Span(1, 16, 32)], [])
    with pytest.raises(SystemExit, match=message):
        coverage.watch([job()], tmp_path / "image", [part], tmp_path)
