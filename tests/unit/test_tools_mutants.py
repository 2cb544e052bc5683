"""tools/mutants: its arguments, what it keeps, and what it makes of fates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.catalog.arches import arch_names
from harness.mutants import Mutant
from tests.unit.tool_calls import ROOT, call, tool

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
        (json.dumps({**FATE, "arch": "vax"}), "table.jsonl:1: not what a run writes: there is no"),
        (
            f"{json.dumps(FATE)}\n" * 2,
            "table.jsonl:2: not what a run writes: m68k-mmap-lock-leaked",
        ),
        (json.dumps({**FATE, "arch": 5}), "Expected `str`, got `int` - at `$.arch`"),
        (json.dumps({**FATE, "scenario": 3}), "Expected `str`, got `int` - at `$.scenario`"),
        (json.dumps({**FATE, "seconds": "x"}), "Expected `float`, got `str` - at `$.seconds`"),
        ('{"mutant":' * 100_000, "table.jsonl:1: not what a run writes"),
        ('{"more":' + "[" * 100_000, "table.jsonl:1: not what a run writes"),
        ("\udcff", "table.jsonl:1: not what a run writes"),
        ("", "table.jsonl: no mutant is in it"),
    ],
)
def test_a_table_of_what_no_run_wrote(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "table.jsonl"
    if text is not None:
        file.write_text(text, errors="surrogateescape")
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
    told = " ".join(call("mutants", "--help").stdout.split())
    for words in ("Exit 0: each was killed", "default: on all that the heads", "--everywhere"):
        assert words in told


BASELINE = """
import sys
from pathlib import Path
from tests.unit.tool_calls import tool

def build(arch, *words):
    if arch == "alpha":
        raise {error}
    return [mutants.Fate("m68k-usp-257", arch, "killed", "stack/x", "ok", "EFAULT")]

mutants = tool("mutants")
mutants.try_all = build
if __name__ == "__main__":
    words = ["m68k-usp-257", "up-alpha-retry-kill", "--output", sys.argv[1]]
    sys.argv[1:] = words
    sys.exit(mutants.main())
"""


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ('mutants.BuildError("no compiler", excerpt=["not found"])', "no compiler\n    not found"),
        ('OSError(28, "No space left", "/full")', "[Errno 28] No space left: '/full'"),
        ('mutants.DeclarationError("f.yaml", 3, "wrong")', "f.yaml:3: wrong"),
        ('mutants.QemuError("too old")', "too old"),
    ],
)
def test_an_arch_that_cannot_be_tried_takes_nothing_from_the_others(
    tmp_path: Path, error: str, why: str
) -> None:
    (tmp_path / "tool.py").write_text(BASELINE.replace("{error}", error))
    done = subprocess.run(
        [sys.executable, tmp_path / "tool.py", tmp_path / "output"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "| m68k-usp-257 | m68k | killed | `stack/x` |" in done.stdout
    assert "1 of 1 mutants killed on some arch" in done.stdout
    assert f"alpha could not be tried: {why}" in done.stdout
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
