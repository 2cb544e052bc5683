"""Blessing: what is refused, how narrow a row is, and that a file changes in that row only."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.catalog.edit import NewRow, insert_row
from harness.catalog.project import load_project
from harness.catalog.yamlfile import load
from harness.cli import main
from harness.results import (
    ColumnRecord,
    EndRecord,
    Evidence,
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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


# --- what is written


def test_a_row_goes_in_front_of_the_one_that_was_wrong(project: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    done = bless("demo/plain")
    assert done.exit_code == 0, done.output
    assert changed(project) == (
        [
            "    - arch: alpha",
            '      kernel: ">=6.12, <6.13"',
            "      outcome: SIGSEGV/SEGV_ACCERR @exact",
            "      because: the handler says so",
            "      evidence: [no-vma]",
        ],
        [],
    )
    text = family(project)
    added, remark = text.index("    - arch: alpha"), text.index("    # all others")
    assert text.index("# beside") < added < remark < text.index("    - outcome: SIGSEGV/SEGV_MAP")
    rows = load_project(project).matrix.scenarios["demo/plain"].rows
    assert [row.arch for row in rows] == [("m68k",), ("alpha",), ()]


def test_a_dry_run_shows_the_difference_and_changes_nothing(project: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    done = bless("demo/plain", "--dry-run")
    assert done.exit_code == 0
    assert family(project) == FAMILY
    assert "+++ b/expectations/demo.yaml\n" in done.output
    assert "+      outcome: SIGSEGV/SEGV_ACCERR @exact\n" in done.output
    assert "would bless demo/plain: SIGSEGV/SEGV_ACCERR @exact on alpha" in done.output
    assert bless("demo/plain").output == done.output.replace("would bless", "blessed")


def test_arches_alike_share_a_row_and_series_do_not(project: Path) -> None:
    record(
        cell("demo/plain", "alpha", ACCERR),
        cell("demo/plain", "arm64", ACCERR),
        cell("demo/plain", "arm64", ACCERR, kernel="debian-6.1"),
        cell("demo/plain", "x86_64", MAPERR, Verdict.MATCH),
    )
    assert bless("demo/plain").exit_code == 0
    rows = load_project(project).matrix.scenarios["demo/plain"].rows[1:-1]
    assert [(row.arch, str(row.kernel)) for row in rows] == [
        (("alpha", "arm64"), ">=6.12, <6.13"),
        (("arm64",), ">=6.1, <6.2"),
    ]


def test_a_range_can_be_asked_for(project: Path) -> None:
    record(
        cell("demo/plain", "arm64", ACCERR),
        cell("demo/plain", "arm64", ACCERR, kernel="debian-6.1"),
    )
    assert bless("demo/plain", "--range", ">=6.1").exit_code == 0
    rows = load_project(project).matrix.scenarios["demo/plain"].rows
    assert [str(row.kernel) for row in rows if row.arch == ("arm64",)] == [">=6.1"]
    done = bless("demo/plain", "--range", "<6.1")
    assert done.exit_code == 2


def test_a_row_that_would_be_left_nothing_is_replaced(project: Path) -> None:
    record(cell("demo/narrow", "m68k", "EFAULT"))
    assert bless("demo/narrow").exit_code == 0
    added, removed = changed(project)
    assert "      outcome: EFAULT" in added and "      outcome: ok" in removed
    (row,) = load_project(project).matrix.scenarios["demo/narrow"].rows
    assert str(row.outcomes[0]) == "EFAULT"
    assert "    # stays\n    - arch: m68k\n" in family(project)


def test_a_scenario_without_rows_gets_its_first(project: Path) -> None:
    record(cell("demo/bare", "alpha", ACCERR, Verdict.NO_EXPECTATION))
    assert bless("demo/bare").exit_code == 0
    added, removed = changed(project)
    assert added[0] == "  expect:" and not removed
    (row,) = load_project(project).matrix.scenarios["demo/bare"].rows
    assert row.arch == ("alpha",)
    assert family(project).endswith(FAMILY[FAMILY.index("\nflow:") :])


def test_a_known_bug_is_written_as_one(project: Path) -> None:
    record(cell("demo/plain", "alpha", "hang(unkillable, spin-kernel)", confirmation="confirmed"))
    bug = ("--known-bug", "unreported: " + "it spins, " * 12, "--want", "killed(SIGKILL)")
    done = bless("demo/plain", *bug)
    assert done.exit_code == 0, done.output
    row = load_project(project).matrix.scenarios["demo/plain"].rows[1]
    assert row.bug is not None
    assert (row.bug.ref, str(row.bug.want)) == (
        ("unreported: " + "it spins, " * 12).strip(),
        "killed(SIGKILL)",
    )
    assert max(map(len, changed(project)[0])) <= 100


def test_outcomes_that_yaml_would_misread_are_quoted(project: Path) -> None:
    outcome = "A: ok | kernel: warn(handle_mm_fault)"
    record(cell("demo/plain", "alpha", outcome, confirmation="confirmed"))
    assert bless("demo/plain", "--known-bug", "#1: a bug", "--want", "ok").exit_code == 0
    row = load_project(project).matrix.scenarios["demo/plain"].rows[1]
    assert str(row.outcomes[0]) == outcome
    assert row.bug is not None and row.bug.ref == "#1: a bug"


def test_several_scenarios_at_once_or_none(project: Path) -> None:
    record(
        cell("demo/plain", "alpha", ACCERR),
        cell("demo/narrow", "m68k", "oops", confirmation="confirmed"),
    )
    done = bless("demo/*")
    assert done.exit_code == 2 and "demo/narrow" in done.output
    assert family(project) == FAMILY
    assert bless("demo/*", "--known-bug", "x", "--want", "ok(1)").exit_code == 0
    assert len(load_project(project).matrix.scenarios["demo/plain"].rows) == 3


# --- what is refused


@pytest.mark.parametrize("outcome", ["oops", "hang(killable, sleep)", "silent", "panic", "lost"])
def test_troubles_are_bugs(project: Path, outcome: str) -> None:
    record(cell("demo/plain", "alpha", f"load={outcome}", confirmation="confirmed"))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "--known-bug" in done.output
    assert family(project) == FAMILY


@pytest.mark.parametrize(
    ("confirmation", "said"),
    [
        ("flake", "flake"),
        ("order-dependent(after 3 others, hole/read the last)", "order-dependent"),
        ("late", "late"),
    ],
)
def test_what_is_not_the_same_twice_is_refused(project: Path, confirmation: str, said: str) -> None:
    record(cell("demo/plain", "alpha", ACCERR, confirmation=confirmation))
    done = bless("demo/plain")
    assert done.exit_code == 2 and said in done.output
    assert family(project) == FAMILY


def test_what_was_not_observed_is_refused(project: Path) -> None:
    record(cell("demo/plain", "alpha", "", Verdict.INFRA, failure="boot: nothing came"))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "nothing came" in done.output


def test_runs_without_an_end_are_refused(project: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR), ended=False)
    done = bless("demo/plain")
    assert done.exit_code == 2 and "did not come to its end" in done.output
    record(cell("demo/plain", "alpha", ACCERR, run="r2"), reason="SIGINT")
    done = bless("demo/plain")
    assert done.exit_code == 2 and "did not come to its end" in done.output


def test_what_is_no_kernel_in_qemu_is_refused(project: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR), target="local")
    done = bless("demo/plain")
    assert done.exit_code == 2 and "was seen on local" in done.output


@pytest.mark.parametrize(
    ("kernel", "version"),
    [("debian-6.12+patch:fix.patch", "6.12.117-1"), ("tree:linux", "6.12.117-3-gabc-dirty")],
)
def test_kernels_with_changes_of_their_own_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, version: str
) -> None:
    monkeypatch.setitem(VERSIONS, kernel, version)
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "has changes of its own" in done.output
    assert family(project) == FAMILY


def test_commits_on_top_of_a_release_are_refused_or_said(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, version = "tree:linux", "6.12.117-00003-g0123456789ab"
    monkeypatch.setitem(VERSIONS, kernel, version)
    monkeypatch.setitem(COMMITS, kernel, {"commit": "0123456789ab"})
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "has commits on top of the release" in done.output
    assert family(project) == FAMILY
    assert bless("demo/plain", "--own-commits").exit_code == 0
    assert f"      because: the handler says so (seen on {version})" in changed(project)[0]


def test_a_tree_at_a_release_is_that_release_and_a_tree_of_files_is_none(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = "tree:linux"
    monkeypatch.setitem(VERSIONS, kernel, "6.12.117")
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel))
    done = bless("demo/plain", "--own-commits")
    assert done.exit_code == 2 and "nothing tells what it was made from" in done.output
    monkeypatch.setitem(COMMITS, kernel, {"commit": "0123456789ab"})
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel, run="r2"))
    assert bless("demo/plain").exit_code == 0
    assert "      because: the handler says so" in changed(project)[0]


def test_evidence_that_the_kernel_no_longer_has_is_refused(project: Path) -> None:
    gone = Evidence(id="no-vma", file="mm/x.c", function="fault", text="if (!vma)", status="stale")
    other = msgspec.structs.replace(gone, id="usp-rule")
    seen = cell("demo/plain", "alpha", ACCERR)
    record(msgspec.structs.replace(seen, evidence=[other, gone]))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "the decision no-vma is stale there: mm/x.c" in done.output
    assert family(project) == FAMILY
    record(msgspec.structs.replace(seen, run_id="r2", evidence=[other]))
    assert bless("demo/plain").exit_code == 0


def test_what_is_as_expected_needs_no_blessing(project: Path) -> None:
    record(cell("demo/plain", "alpha", MAPERR, Verdict.MATCH))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "nothing to bless" in done.output


def test_a_matrix_that_has_changed_since_is_refused(project: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    file = project / "expectations/demo.yaml"
    file.write_text("# one more line\n" + FAMILY)
    done = bless("demo/plain")
    assert done.exit_code == 2 and "is not the row that it was" in done.output


def test_a_row_may_not_speak_of_cells_that_saw_something_else(project: Path) -> None:
    record(
        cell("demo/plain", "arm64", ACCERR),
        cell("demo/plain", "arm64", MAPERR, Verdict.MATCH, kernel="debian-6.1"),
    )
    done = bless("demo/plain", "--kernel", "debian-6.12", "--range", "<7.0")
    assert done.exit_code == 2 and "would speak of another cell" in done.output
    assert "debian-6.1,arm64 saw SIGSEGV/SEGV_MAPERR @exact" in done.output
    assert bless("demo/plain", "--kernel", "debian-6.12").exit_code == 0


def test_rows_in_flow_style_are_left_to_people(project: Path) -> None:
    seen = cell("demo/flow", "alpha", ACCERR, Verdict.NO_EXPECTATION)
    record(seen)
    done = bless("demo/flow")
    assert done.exit_code == 2 and "does not begin its line" in done.output
    assert family(project) == FAMILY


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        ((), REASON, "name the scenarios"),
        (("demo/plain",), ("--evidence", "no-vma"), "--because"),
        (("demo/plain",), ("--because", "so"), "--evidence"),
        (("demo/plain",), ("--because", " ", "--evidence", "no-vma"), "empty"),
        (("demo/plain",), ("--because", "a\x1bb", "--evidence", "no-vma"), "printed"),
        (("demo/plain",), ("--because", "so", "--evidence", "no-vmas"), "no-vmas"),
        (("demo/plain",), ("--because", "so", "--evidence", "usp-rule"), "usp-rule"),
        (("demo/plain", "--known-bug", "x"), REASON, "needs both"),
        (("demo/plain", "--want", "ok"), REASON, "needs both"),
        (("demo/plain", "--known-bug", "x", "--want", "okay"), REASON, "not an outcome"),
        (("demo/plain", "--known-bug", "x", "--want", ACCERR), REASON, "both predicted"),
        (("demo/plain", "--range", "6.12"), REASON, "neither <V nor >=V"),
    ],
)
def test_words_must_suffice(
    project: Path, words: tuple[str, ...], reason: tuple[str, ...], said: str
) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    done = bless(*words, reason=reason)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert family(project) == FAMILY


# --- any text, any row


@given(
    because=st.text(
        st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1
    )
)
@settings(max_examples=150, deadline=None)
def test_any_reason_is_read_back_as_it_was_given(
    because: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    because = " ".join(because.split()) or "x"
    row = NewRow(arch=("m68k",), outcome="ok", because=because * 9, evidence=("no-vma",))
    read = yaml.load("\n".join(row.lines(4)), Loader=yaml.BaseLoader)
    assert read[0]["because"] == because * 9


def test_in_the_real_matrix_only_the_new_row_changes(tmp_path: Path) -> None:
    """In front of every row there is: the file loads, and the new lines are all the difference."""
    project = load_project(ROOT)
    row = NewRow(
        arch=("m68k",), kernel=">=9.1, <9.2", outcome="ok", because="so", evidence=("no-vma",)
    )
    for scenario in project.matrix.scenarios.values():
        text = (ROOT / scenario.file).read_text()
        for before in [*scenario.rows, None]:
            edited = insert_row(text, scenario, before, row)
            assert edited.count("\n") == text.count("\n") + 5
            lines = edited.splitlines(keepends=True)
            at = lines.index('      kernel: ">=9.1, <9.2"\n')
            assert "".join([*lines[: at - 1], *lines[at + 4 :]]) == text
        path = tmp_path / "family.yaml"
        path.write_text(edited)
        rows = load(path).mapping()[scenario.name.partition("/")[2]].mapping()["expect"].items()
        assert len(rows) == len(scenario.rows) + 1
