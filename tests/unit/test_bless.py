"""Blessing: how narrow a row is, where it goes, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

from harness.catalog.project import load_project
from harness.results import Verdict
from tests.unit.bless_samples import (
    ACCERR,
    FAMILY,
    MAPERR,
    bless,
    cell,
    changed,
    family,
    record,
)


def test_a_row_goes_in_front_of_the_one_that_was_wrong(demo: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    done = bless("demo/plain")
    assert done.exit_code == 0, done.output
    assert changed(demo) == (
        [
            "    - arch: alpha",
            '      kernel: ">=6.12, <6.13"',
            "      outcome: SIGSEGV/SEGV_ACCERR @exact",
            "      because: the handler says so",
            "      evidence: [no-vma]",
        ],
        [],
    )
    text = family(demo)
    added, remark = text.index("    - arch: alpha"), text.index("    # all others")
    assert text.index("# beside") < added < remark < text.index("    - outcome: SIGSEGV/SEGV_MAP")
    rows = load_project(demo).matrix.scenarios["demo/plain"].rows
    assert [row.arch for row in rows] == [("m68k",), ("alpha",), ()]


def test_a_dry_run_shows_the_difference_and_changes_nothing(demo: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    done = bless("demo/plain", "--dry-run")
    assert done.exit_code == 0
    assert family(demo) == FAMILY
    assert "+++ b/expectations/demo.yaml\n" in done.output
    assert "+      outcome: SIGSEGV/SEGV_ACCERR @exact\n" in done.output
    assert "would bless demo/plain: SIGSEGV/SEGV_ACCERR @exact on alpha" in done.output
    assert bless("demo/plain").output == done.output.replace("would bless", "blessed")


def test_arches_alike_share_a_row_and_series_do_not(demo: Path) -> None:
    record(
        cell("demo/plain", "alpha", ACCERR),
        cell("demo/plain", "arm64", ACCERR),
        cell("demo/plain", "arm64", ACCERR, kernel="debian-6.1"),
        cell("demo/plain", "x86_64", MAPERR, Verdict.MATCH),
    )
    assert bless("demo/plain").exit_code == 0
    rows = load_project(demo).matrix.scenarios["demo/plain"].rows[1:-1]
    assert [(row.arch, str(row.kernel)) for row in rows] == [
        (("alpha", "arm64"), ">=6.12, <6.13"),
        (("arm64",), ">=6.1, <6.2"),
    ]


def test_a_range_can_be_asked_for(demo: Path) -> None:
    record(
        cell("demo/plain", "arm64", ACCERR),
        cell("demo/plain", "arm64", ACCERR, kernel="debian-6.1"),
    )
    assert bless("demo/plain", "--range", ">=6.1").exit_code == 0
    rows = load_project(demo).matrix.scenarios["demo/plain"].rows
    assert [str(row.kernel) for row in rows if row.arch == ("arm64",)] == [">=6.1"]
    done = bless("demo/plain", "--range", "<6.1")
    assert done.exit_code == 2


def test_a_row_that_would_be_left_nothing_is_replaced(demo: Path) -> None:
    record(cell("demo/narrow", "m68k", "EFAULT"))
    assert bless("demo/narrow").exit_code == 0
    added, removed = changed(demo)
    assert "      outcome: EFAULT" in added and "      outcome: ok" in removed
    (row,) = load_project(demo).matrix.scenarios["demo/narrow"].rows
    assert str(row.outcomes[0]) == "EFAULT"
    assert "    # stays\n    - arch: m68k\n" in family(demo)


def test_a_scenario_without_rows_gets_its_first(demo: Path) -> None:
    record(cell("demo/bare", "alpha", ACCERR, Verdict.NO_EXPECTATION))
    assert bless("demo/bare").exit_code == 0
    added, removed = changed(demo)
    assert added[0] == "  expect:" and not removed
    (row,) = load_project(demo).matrix.scenarios["demo/bare"].rows
    assert row.arch == ("alpha",)
    assert family(demo).endswith(FAMILY[FAMILY.index("\nflow:") :])


def test_a_known_bug_is_written_as_one(demo: Path) -> None:
    record(cell("demo/plain", "alpha", "hang(unkillable, spin-kernel)", confirmation="confirmed"))
    bug = ("--known-bug", "unreported: " + "it spins, " * 12, "--want", "killed(SIGKILL)")
    done = bless("demo/plain", *bug)
    assert done.exit_code == 0, done.output
    row = load_project(demo).matrix.scenarios["demo/plain"].rows[1]
    assert row.bug is not None
    assert (row.bug.ref, *map(str, row.bug.want)) == (
        ("unreported: " + "it spins, " * 12).strip(),
        "killed(SIGKILL)",
    )
    assert max(map(len, changed(demo)[0])) <= 100


def test_outcomes_that_yaml_would_misread_are_quoted(demo: Path) -> None:
    outcome = "A: ok | kernel: warn(handle_mm_fault)"
    record(cell("demo/plain", "alpha", outcome, confirmation="confirmed"))
    assert bless("demo/plain", "--known-bug", "#1: a bug", "--want", "ok").exit_code == 0
    row = load_project(demo).matrix.scenarios["demo/plain"].rows[1]
    assert str(row.outcomes[0]) == outcome
    assert row.bug is not None and row.bug.ref == "#1: a bug"


def test_several_scenarios_at_once_or_none(demo: Path) -> None:
    record(
        cell("demo/plain", "alpha", ACCERR),
        cell("demo/narrow", "m68k", "oops", confirmation="confirmed"),
    )
    done = bless("demo/*")
    assert done.exit_code == 2 and "demo/narrow" in done.output
    assert family(demo) == FAMILY
    assert bless("demo/*", "--known-bug", "x", "--want", "ok(1)").exit_code == 0
    assert len(load_project(demo).matrix.scenarios["demo/plain"].rows) == 3
