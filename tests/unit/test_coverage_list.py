"""What tools/coverage-list makes of the texts of tools/coverage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "coverage-list"
MARKED = """\
arch/x/fault.c
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
"""


def listed(tmp_path: Path, reasons: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "arch_x_fault.txt").write_text(MARKED)
    declared = tmp_path / "reasons.yaml"
    declared.write_text("reasons: {oops: the oops}\narch/x/fault.c:\n" + reasons)
    argv = [sys.executable, TOOL, tmp_path, "--reasons", declared]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_each_range_has_its_function_and_its_reason(tmp_path: Path) -> None:
    made = listed(tmp_path, "  first: oops\n  '9': never\n  second: nobody does\n")
    assert "2 of 6 reached." in made.stdout
    assert "| 5-7 | `first` | the oops |" in made.stdout
    assert "| 9 | `first` | never |" in made.stdout
    assert "| 13 | `second` | nobody does |" in made.stdout
    assert (made.returncode, made.stderr) == (0, "")


def test_what_has_no_reason_is_open(tmp_path: Path) -> None:
    made = listed(tmp_path, "  first: oops\n")
    assert "| 13 | `second` | **open** |" in made.stdout
    assert "x arch/x/fault.c:13 `second`: no reason" in made.stderr
    assert made.returncode == 1


def test_a_reason_for_what_is_reached_is_told(tmp_path: Path) -> None:
    made = listed(tmp_path, "  first: oops\n  second: nobody does\n  third: gone\n")
    assert "arch/x/fault.c: third: a reason, and no such line" in made.stderr
    assert made.returncode == 1


def test_when_it_was_measured_is_told(tmp_path: Path) -> None:
    reasons = "  first: oops\n  '9': never\n  second: nobody does\n"
    made = listed(tmp_path, f"{reasons}measured: at noon\n")
    assert "\nMeasured: at noon.\n" in made.stdout
    assert made.returncode == 0
