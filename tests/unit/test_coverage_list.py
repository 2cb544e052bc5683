"""What tools/coverage-list makes of the texts of tools/coverage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "coverage-list"
MARKED = """\
arch/x/fault.c
abc123 2026-01-02 17
       1 static void
+      2 first(int a,
       3       int b)
       4 {
-      5 	one();
       6
-      7 	two();
+      8 	three();
-      9 	four();
      10 }
      11 DEFINE_TRAP(second)
      12 {
-     13 	five();
      14 }
way 2 2 1 2 - c01ffe
way 2 5 0 1 - c01ff0
way 8 0 0 1 signal_pending c02000
way 8 2 1 1 -
"""

WAYS = "  2 -> 2: a loop\n  8 -> out: nothing comes\n"
LINES = "  first: oops\n  '9': never\n  second: nobody does\n"


def listed(tmp_path: Path, reasons: str, marked: str = MARKED) -> subprocess.CompletedProcess[str]:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "arch_x_fault.txt").write_text(marked)
    declared = tmp_path / "reasons.yaml"
    declared.write_text("reasons: {oops: the oops}\narch/x/fault.c:\n" + reasons)
    argv = [sys.executable, TOOL, tmp_path, "--reasons", declared]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "row",
    [
        "2 of 6 lines reached, 2 of 5 ways taken.",
        "| 5-7 | `first` | the oops |",
        "| 9 | `first` | never |",
        "| 13 | `second` | nobody does |",
        "| 2 -> 2 (1 of 2) | `first` | a loop |",
        "| 8 -> out by signal_pending | `first` | nothing comes |",
        "| x | abc123 | 2026-01-02 | 17 |",
    ],
)
def test_ranges_and_ways_have_their_function_and_their_reason(tmp_path: Path, row: str) -> None:
    made = listed(tmp_path, LINES + WAYS)
    assert row in made.stdout.splitlines()
    assert (made.returncode, made.stderr) == (0, "")


def test_what_has_no_reason_is_open(tmp_path: Path) -> None:
    made = listed(tmp_path, WAYS + "  first: oops\n")
    assert "| 13 | `second` | **open** |" in made.stdout
    assert "x arch/x/fault.c:13 `second`: no reason" in made.stderr
    assert made.returncode == 1


def test_a_reason_for_what_is_reached_is_told(tmp_path: Path) -> None:
    made = listed(tmp_path, LINES + WAYS + "  third: gone\n")
    assert "arch/x/fault.c: third: a reason, for nothing" in made.stderr
    assert made.returncode == 1


def test_a_way_to_a_line_that_is_not_reached_is_told_by_the_line(tmp_path: Path) -> None:
    assert "2 -> 5" not in listed(tmp_path, LINES + WAYS).stdout


@pytest.mark.parametrize(
    "reasons",
    ["  2 ->: one\n  -> out: other\n", "  'fir* ->': both\n", "  -> 2: one\n  8 ->: other\n"],
)
def test_ways_share_a_reason(tmp_path: Path, reasons: str) -> None:
    assert listed(tmp_path, LINES + reasons).returncode == 0


def test_what_others_decide_inline_has_one_reason_for_all(tmp_path: Path) -> None:
    reasons = f"{LINES}  2 ->: one\ninlined: {{signal_pending: no signal comes}}\n"
    assert "| 8 -> out by signal_pending | `first` | no signal" in listed(tmp_path, reasons).stdout


def test_a_way_without_a_reason_is_open(tmp_path: Path) -> None:
    made = listed(tmp_path, f"{LINES}  8 ->: one\n")
    assert "x arch/x/fault.c:2 -> 2 (1 of 2) `first`: no reason" in made.stderr
    assert made.returncode == 1


@pytest.mark.parametrize("spoilt", ["way 2 to 5", "way 2 5 0", "* 8 line"])
def test_a_line_that_coverage_does_not_write_is_refused(tmp_path: Path, spoilt: str) -> None:
    made = listed(tmp_path, LINES, f"{MARKED}{spoilt}\n")
    assert spoilt in made.stderr and made.returncode == 1


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        ("arch/x/fualt.c:\n  first: oops\n", "arch/x/fualt.c: reasons for a file that was not"),
        ("mm/x.c:\n  first: oops\n", "mm/x.c: reasons for a file that was not measured"),
        ("inlined: {nobody: never}\n", "inlined: nobody: a reason, for nothing"),
    ],
)
def test_what_is_declared_for_nothing_is_told(tmp_path: Path, reasons: str, message: str) -> None:
    made = listed(tmp_path, LINES + WAYS + reasons)
    assert message in made.stderr and made.returncode == 1


def test_a_name_of_reasons_that_nobody_uses_is_told(tmp_path: Path) -> None:
    made = listed(tmp_path, LINES.replace("oops", "never") + WAYS)
    assert "reasons: oops: a reason, for nothing" in made.stderr and made.returncode == 1


def test_reasons_of_another_arch_are_not_asked_for(tmp_path: Path) -> None:
    assert listed(tmp_path, LINES + WAYS + "arch/y/fault.c: {'17': never}\n").returncode == 0


@pytest.mark.parametrize(
    "text",
    ["", "reasons: []\n", "arch/x/fault.c:\n", "{", "\xff", "[" * 5000, "mm/a: {}\nmm/a: {}\n"],
)
def test_reasons_of_another_shape_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "arch_x_fault.txt").write_text(MARKED)
    declared = tmp_path / "reasons.yaml"
    declared.write_text(text, encoding="latin-1")
    argv = [sys.executable, TOOL, tmp_path, "--reasons", declared]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert str(declared) in made.stderr and "Traceback" not in made.stderr
    assert made.returncode == 1


@pytest.mark.parametrize("text", ["", "arch/x/fault.c", "arch/x/fault.c\nabc 2026\n"])
def test_a_text_that_coverage_did_not_write_is_refused(tmp_path: Path, text: str) -> None:
    made = listed(tmp_path, LINES, text)
    assert "arch_x_fault.txt: the second line" in made.stderr and made.returncode == 1
