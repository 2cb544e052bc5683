"""tools/: what they make of their arguments, and what tools/repeat calls a difference."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from harness.catalog.arches import arch_names
from harness.mutants import Mutant
from harness.results import ColumnRecord, Observation, ResultRecord, Results, Verdict
from tests.unit.small_project import commit, git

ROOT = Path(__file__).parents[2]


def call(tool: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / tool, *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip


def tool(name: str) -> ModuleType:
    """The module that the tool is."""
    loader = SourceFileLoader(name, str(ROOT / "tools" / name))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    loader.exec_module(module)
    return module


FATE = {
    "mutant": "m68k-mmap-lock-leaked", "arch": "m68k",
    "fate": "killed", "scenario": "stack/x", "expected": "ok", "observed": "EFAULT",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "table.jsonl: No such file or directory: name the --output of a run"),
        ("{", "table.jsonl:1: not what a run writes"),
        ("[]", "table.jsonl:1: not what a run writes"),
        (json.dumps(FATE) + '\n{"mutant": 1}', "table.jsonl:2: not what a run writes"),
        (json.dumps({**FATE, "observed": "no such"}), "table.jsonl:1: not what a run writes"),
        (json.dumps({**FATE, "mutant": "me"}), "there is no mutant 'me'"),
        (json.dumps({**FATE, "fate": "dead"}), "there is no fate 'dead'"),
        ("", "table.jsonl: no mutant is in it"),
    ],
)
def test_a_table_of_what_no_run_wrote(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "table.jsonl"
    if text is not None:
        file.write_text(text)
    done = call("mutants", "--table", str(file))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_says_who_killed(tmp_path: Path) -> None:
    file = tmp_path / "table.jsonl"
    file.write_text(json.dumps(FATE) + "\n")
    done = call("mutants", "--table", str(file))
    assert done.returncode == 0, done.stderr
    assert "| m68k-mmap-lock-leaked | m68k | killed | `stack/x` |" in done.stdout


def test_what_is_doubtful_is_no_kill_and_says_why(tmp_path: Path) -> None:
    file = tmp_path / "table.jsonl"
    why = "silent: the machine only went away"
    file.write_text(json.dumps({**FATE, "fate": "doubtful", "observed": why}) + "\n")
    done = call("mutants", "--table", str(file))
    assert f"| m68k-mmap-lock-leaked | m68k | doubtful | `stack/x`: {why} |" in done.stdout
    head, row = (done.stdout.splitlines()[number].split("|") for number in (0, 2))
    counts = dict(zip(map(str.strip, head), map(str.strip, row), strict=True))
    assert (counts["killed"], counts["doubtful"]) == ("0", "1")


@pytest.mark.parametrize(
    ("fates", "status"),
    [
        (["killed"], 0),
        (["killed", "equivalent"], 0),
        (["killed", "survived"], 1),
        (["killed", "doubtful"], 1),
        (["killed", "infrastructure"], 1),
        (["killed", "unbuilt"], 1),
        (["killed", "unchanged"], 1),  # an arch that its head names, and nothing to be killed
    ],
)
def test_all_but_a_kill_and_an_argued_equivalent_fail(fates: list[str], status: int) -> None:
    mutants = tool("mutants")
    found = [mutants.Fate("x", "m68k", fate) for fate in fates]
    assert {fate.fate for fate in found} <= set(mutants.FATES)
    assert mutants.status(found) == status


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("m68k-*", "no-such-*"), "no mutant fits 'no-such-*'"),
        (("m68k-usp-257", "up-x86-*", "--arch", "m68k"), "no mutant fits 'up-x86-*' on m68k"),
        (("m68k-usp-257", "--arch", "m68k", "--arch", "arm"), "no mutant of these is for arm"),
        (("m68k-usp-257", "--output", "/proc/x/y"), "/proc/x/y: cannot be written: No such file"),
        (("m68k-usp-257", "--output", "/proc"), "/proc: cannot be written: Is a directory"),
        (("m68k-usp-257", "--kernel", "debian-9"), "unknown kernel 'debian-9'"),
    ],
)
def test_mutants_refuses_before_it_builds(words: tuple[str, ...], message: str) -> None:
    done = call("mutants", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1 + ("did you mean" in done.stderr)


def test_what_another_run_has_written_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mutants, output = tool("mutants"), tmp_path / "new" / "mutants.jsonl"
    mutants.begin(output)
    mutants.begin(output)  # nothing is in it
    output.write_text("an hour\n")
    os.utime(output, (0, 1_700_000_000))
    mutants.begin(output)
    kept = output.with_name("mutants-20231114T221320Z.jsonl")
    assert (output.read_text(), kept.read_text()) == ("", "an hour\n")
    assert capsys.readouterr().err == f"{output}: what was there is now {kept}\n"
    assert len(list(output.parent.iterdir())) == 2


def test_shared_code_is_tried_everywhere_on_demand(tmp_path: Path) -> None:
    """On the arches of its head, with --everywhere on all; not what is of one arch alone."""

    def declared(name: str, file: str) -> Mutant:
        patch = tmp_path / f"{name}.patch"
        patch.write_text(f"--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-a\n+b\n")
        return Mutant(name, patch, ("m68k",), "seen", "what")

    mutants = tool("mutants")
    known = [declared("shared", "mm/memory.c"), declared("own", "arch/m68k/mm/fault.c")]

    def plan(*arches: str, everywhere: Sequence[str] = ()) -> dict[str, list[str]]:
        made = mutants.choose(known, [], arches, everywhere)
        return {arch: [one.name for one in some] for arch, some in made.items()}

    assert plan() == {"m68k": ["shared", "own"]}
    assert plan(everywhere=["alpha", "m68k"]) == {"alpha": ["shared"], "m68k": ["shared", "own"]}
    assert plan("alpha", everywhere=["alpha", "m68k"]) == {"alpha": ["shared"]}
    with pytest.raises(SystemExit):
        plan("alpha")
    tried = [mutants.Fate("shared", arch, "killed", "a/b") for arch in ("m68k", "alpha")]
    tried += [mutants.Fate("own", "m68k", "killed", "a/b")]
    head, *rows = mutants.summary(tried, known)
    for name in ("alpha", "m68k"):
        counts = dict(zip(head, next(row for row in rows if row[0] == name), strict=True))
        assert counts["not tried"] == "0"


def test_an_origin_may_have_the_name_of_an_arch() -> None:
    mutants = tool("mutants")
    known = mutants.load_mutants(ROOT, ["m68k", *arch_names(ROOT)])[:2]
    known = [replace(one, origin="m68k") for one in known]
    tried = [mutants.Fate(known[0].name, "m68k", "killed", "a/b")]
    head, *rows = mutants.summary(tried, known)
    assert [row[0] for row in rows] == ["m68k", "m68k", "all"]
    of_arch, of_origin = (dict(zip(head, row, strict=True)) for row in rows[:2])
    assert int(of_arch["not tried"]) + int(of_arch["not applicable"]) == 1
    assert int(of_origin["not tried"]) + int(of_origin["not applicable"]) == 0


def test_what_is_not_applicable_is_told_by_number_alone() -> None:
    mutants = tool("mutants")
    fates = [mutants.Fate("x", "m68k", "not applicable"), mutants.Fate("x", "arm", "killed", "a/b")]
    assert [row[1] for row in mutants.killers(fates)] == ["arch", "arm"]
    row = dict(zip(("", "mutants", *mutants.FATES), mutants.row("m68k", fates[:1]), strict=False))
    assert (row["mutants"], row["not applicable"]) == ("0", "1")
    assert mutants.status(fates) == 0


def test_its_help_says_what_its_exit_status_means() -> None:
    told = call("mutants", "--help").stdout
    for words in ("Exit 0: each was killed", "default: on all that the heads", "--everywhere"):
        assert words in told


BASELINE = """
import sys
from pathlib import Path
from tests.unit.test_tools import tool

def build(arch, *words):
    if arch == "alpha":
        raise mutants.BuildError("no compiler", excerpt=["not found"])
    return [mutants.Fate("m68k-usp-257", arch, "killed", "stack/x", "ok", "EFAULT")]

mutants = tool("mutants")
mutants.try_all = build
if __name__ == "__main__":
    words = ["m68k-usp-257", "up-alpha-retry-kill", "--output", sys.argv[1]]
    sys.argv[1:] = words
    sys.exit(mutants.main())
"""


def test_an_arch_that_does_not_build_takes_nothing_from_the_others(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(BASELINE)
    done = subprocess.run(
        [sys.executable, tmp_path / "tool.py", tmp_path / "output"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "| m68k-usp-257 | m68k | killed | `stack/x` |" in done.stdout
    assert "1 of 1 mutants killed on some arch" in done.stdout
    assert "alpha could not be tried: no compiler\n    not found" in done.stdout
    assert "Traceback" not in done.stderr


def test_shared_code_that_is_not_tried_on_an_arch_is_not_called_not_applicable(
    tmp_path: Path,
) -> None:
    """On alpha: what changes m68k alone is not applicable, what changes mm/ is not tried."""
    file = tmp_path / "table.jsonl"
    tried = [
        ("m68k-usp-257", "m68k"),
        ("up-pgfault-retry", "m68k"),
        ("up-alpha-retry-kill", "alpha"),
    ]
    fates = [{**FATE, "mutant": mutant, "arch": arch} for mutant, arch in tried]
    file.write_text("".join(json.dumps(fate) + "\n" for fate in fates))
    lines = call("mutants", "--table", str(file)).stdout.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
    alpha = next(dict(zip(cells[0], row, strict=True)) for row in cells if row[0] == "alpha")
    assert (alpha["killed"], alpha["not tried"], alpha["not applicable"]) == ("1", "1", "1")


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


@pytest.fixture(scope="module")
def repeat() -> ModuleType:
    return tool("repeat")


def one(outcome: str, *expected: str, confirmation: str = "") -> Results:
    """A run of one cell; without an outcome, one that did not come to it."""
    results = Results()
    results.add(ColumnRecord(run_id="r", column="c", planned=["a/b"]))
    if outcome:
        verdict = Verdict.MATCH if outcome in expected else Verdict.MISMATCH
        seen = Observation(scenario="a/b", outcome=outcome)
        results.add(
            ResultRecord(
                run_id="r",
                column="c",
                scenario="a/b",
                expected=list(expected),
                verdict=verdict,
                confirmation=confirmation,
                observation=seen,
            )
        )
    return results


@pytest.mark.parametrize(
    ("runs", "differ", "loose"),
    [
        ([one("ok", "ok"), one("ok", "ok")], 0, 0),
        ([one("ok", "ok"), one("EFAULT", "ok")], 1, 0),
        ([one("ok", "ok", "EFAULT"), one("EFAULT", "ok", "EFAULT")], 0, 1),
        ([one("ok", "ok", "EFAULT"), one("EIO", "ok", "EFAULT")], 1, 0),
        ([one("ok", "ok", "EFAULT"), one("EFAULT", "ok", "EFAULT", confirmation="x")], 1, 0),
        ([one("ok", "ok"), one("ok", "ok", confirmation="x")], 1, 0),
        ([one("ok", "ok"), one("")], 1, 0),
        ([one("ok", "ok"), Results()], 1, 0),
    ],
)
def test_what_is_a_difference(
    repeat: ModuleType, runs: list[Results], differ: int, loose: int
) -> None:
    different, within = repeat.differences(runs)
    assert (len(different), within) == (differ, loose)


def refuses(capsys: pytest.CaptureFixture[str], what: Callable[[], object]) -> str:
    """Why it ends with 2, in a line."""
    with pytest.raises(SystemExit) as caught:
        what()
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.endswith("\n")
    return told


def test_runs_of_other_words_or_another_commit_do_not_count(
    repeat: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def again(words: str = "hole/*", commit: str = "abc") -> None:
        repeat.same_again(tmp_path, [words], commit)

    again()
    again()
    told = refuses(capsys, lambda: again(words="x"))
    assert "runs of words ['hole/*'], and now it is ['x']: name another --out" in told
    told = refuses(capsys, lambda: again(commit="def"))
    assert "runs of commit 'abc', and now it is 'def': name another --out" in told
    (tmp_path / "of.json").write_text("{")
    assert re.search(r"of\.json: .*: name another --out", refuses(capsys, again))


def test_runs_that_nothing_is_known_of_do_not_count(
    repeat: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "01").mkdir()
    (tmp_path / "01" / "results.jsonl").touch()
    told = refuses(capsys, lambda: repeat.same_again(tmp_path, [], "abc"))
    assert "holds runs of nobody knows what" in told


def test_what_differs_from_its_commit_is_refused(
    repeat: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refuses(capsys, lambda: repeat.commit_of(tmp_path / ".."))
    assert "nobody knows its commit" in told
    (tmp_path / "tree").mkdir()
    git(tmp_path / "tree", "init", "--quiet")
    first = commit(tmp_path / "tree", "one")
    assert first.startswith(repeat.commit_of(tmp_path / "tree"))
    (tmp_path / "tree" / "text").write_text("two")
    (tmp_path / "tree" / "new.c").touch()  # what git does not know is compiled as well
    told = refuses(capsys, lambda: repeat.commit_of(tmp_path / "tree"))
    assert "tree differs from its commit: commit, remove or ignore text, new.c" in told


def test_the_commit_is_looked_at_before_each_run(
    repeat: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commits = iter(["abc", "abc", "def"])
    monkeypatch.setattr(repeat, "commit_of", lambda root: next(commits))
    monkeypatch.setattr(repeat, "observe", lambda folder, number, words: one("ok", "ok"))
    told = refuses(capsys, lambda: repeat.compare(4, tmp_path, []))
    assert "of commit 'abc', and now it is 'def'" in told


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("/proc/x/y", "/proc/x: No such file or directory: name another --out\n"),
        ("/dev/null", "/dev/null: File exists: name another --out\n"),
    ],
)
def test_a_folder_that_cannot_be_made_is_told_in_a_line(out: str, message: str) -> None:
    done = call("repeat", "1", "--out", out)
    assert (done.returncode, done.stderr) == (2, message)


def test_a_run_of_another_kernel_does_not_count(
    repeat: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(kernel: str) -> Results:
        results = Results()
        provenance = {"qemu": "7.2.22", "command": f"qemu -kernel {kernel}"}
        results.add(ColumnRecord(run_id="r", column="c", provenance=provenance))
        return results

    repeat.check_machines([of("a"), of("a")])
    for other in (of("b"), Results()):
        told = refuses(capsys, lambda other=other: repeat.check_machines([of("a"), other]))
        assert told.startswith("c: run 2 is of another machine than run 1")


# The tools at work: each worker writes its process id into the folder argv[1].
MUTANTS = """
import os, sys, time
from pathlib import Path
from tests.unit.test_tools import tool

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
from tests.unit.test_tools import tool

repeat = tool("repeat")
repeat.sys.executable = sys.argv[1] + "/python"
repeat.observe(Path(sys.argv[1], "01"), 1, [])
"""


@pytest.mark.parametrize("script", [MUTANTS, REPEAT], ids=["mutants", "repeat"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_works_for_a_tool_ends_with_it(
    tmp_path: Path, script: str, number: signal.Signals
) -> None:
    """The signal comes to the tool alone."""
    notes = [tmp_path / "m68k", tmp_path / "alpha"]
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ | tee {notes[0]} > {notes[1]}; exec sleep 60\n")
    python.chmod(0o755)
    (tmp_path / "tool.py").write_text(script)
    run = subprocess.Popen(
        [sys.executable, tmp_path / "tool.py", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        # Whoever runs tests in the background of a shell has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert within(30, lambda: all(note.exists() and note.read_text() for note in notes))
        workers = {int(note.read_text()) for note in notes}
        run.send_signal(number)
        run.wait(30)
        assert within(20, lambda: not any(map(lives, workers)))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    """A zombie does not: its parent may be dead as well."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()
