"""A small family of rows, cells that were seen of it, and `faultline bless` called on them."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    ResultsWriter,
    RunRecord,
    Verdict,
)

ROOT = Path(__file__).parents[2]
MAPERR = "SIGSEGV/SEGV_MAPERR @exact"
ACCERR = "SIGSEGV/SEGV_ACCERR @exact"
VERSIONS = {"debian-6.1": "6.1.192-2", "debian-6.12": "6.12.117-1~deb12u1"}
COMMITS: dict[str, dict[str, str]] = {}  # kernel -> provenance of a git tree
FAMILY = """\
# What the file is about.

plain:   # a remark
  summary: "a 'quoted' summary"
  expect:
    # m68k is special, and this says why
    - arch: m68k
      outcome:   ok
      because: >-
        a reason on
        two lines
      evidence: [usp-rule]   # beside

    # all others
    - outcome: SIGSEGV/SEGV_MAPERR @exact
      because: there is no mapping
      evidence: [no-vma]
# between the scenarios

narrow:
  summary: one row for one arch and series
  expect:
    # stays
    - arch: m68k
      kernel: ">=6.12, <6.13"
      outcome: ok
      because: first
      evidence: [no-vma]

bare:
  summary: nothing is expected yet
  user: nobody

flow:
  summary: rows in flow style
  expect: [{arch: m68k, outcome: ok, because: x}]
"""


def demo_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the family `demo`, which is the current one."""
    root = tmp_path / "project"
    for name in ("arches", "flavours", "patches"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "kernels.yaml", root)
    (root / "expectations").mkdir()
    shutil.copy(ROOT / "expectations/decisions.yaml", root / "expectations")
    (root / "expectations/demo.yaml").write_text(FAMILY)
    monkeypatch.setenv("FAULTLINE_PROJECT", str(root))
    monkeypatch.chdir(tmp_path)
    return root


def column(arch: str, kernel: str, run: str = "r1", target: str = "qemu") -> ColumnRecord:
    return ColumnRecord(
        run_id=run,
        column=f"{kernel},{arch}",
        arch=arch,
        kernel=kernel,
        version=VERSIONS[kernel],
        target=target,
        provenance={"qemu": "7.2.22", "accel": "tcg"} | COMMITS.get(kernel, {}),
    )


def cell(
    scenario: str,
    arch: str,
    outcome: str,
    verdict: Verdict = Verdict.MISMATCH,
    kernel: str = "debian-6.12",
    confirmation: str = "",
    failure: str = "",
    run: str = "r1",
) -> ResultRecord:
    """A cell as a run writes it: `declared` is the line of the row that judged it."""
    declared, because = "", ""
    if verdict is not Verdict.NO_EXPECTATION:
        lines = FAMILY.split("\n")
        if scenario == "demo/narrow":
            row, because = "    - arch: m68k\n      kernel:", "first"
        elif arch == "m68k":
            row, because = "    - arch: m68k\n      outcome:", "a reason on two lines"
        else:
            row, because = "    - outcome: SIGSEGV", "there is no mapping"
        declared = f"expectations/demo.yaml:{FAMILY[: FAMILY.index(row)].count(chr(10)) + 1}"
        assert lines[int(declared.split(":")[1]) - 1].startswith("    - ")
    seen = Observation(scenario=scenario, outcome=outcome, failure=failure)
    return ResultRecord(
        run_id=run,
        column=f"{kernel},{arch}",
        scenario=scenario,
        verdict=verdict,
        observation=seen,
        declared=declared,
        because=because,
        confirmation=confirmation,
    )


def record(
    *cells: ResultRecord, ended: bool = True, reason: str = "", target: str = "qemu"
) -> None:
    Path("out").mkdir(exist_ok=True)
    with ResultsWriter(Path("out/results.jsonl")) as writer:
        for run in {one.run_id: None for one in cells}:
            writer.write(RunRecord(run_id=run, started="2026-01-01T00:00:00+00:00"))
            if ended:
                writer.write(EndRecord(run_id=run, reason=reason))
        for one in cells:
            kernel, arch = one.column.split(",")
            writer.write(column(arch, kernel, one.run_id, target))
            writer.write(one)


REASON = ("--because", "the handler says so", "--evidence", "no-vma")


def bless(*words: str, reason: Sequence[str] = REASON) -> Result:
    return CliRunner().invoke(main, ["bless", *words, *reason], catch_exceptions=False)


def family(project: Path) -> str:
    return (project / "expectations/demo.yaml").read_text()


def changed(project: Path) -> tuple[list[str], list[str]]:
    """Lines added and lines removed."""
    diff = list(difflib.ndiff(FAMILY.splitlines(), family(project).splitlines()))
    return [line[2:] for line in diff if line[0] == "+"], [d[2:] for d in diff if d[0] == "-"]
