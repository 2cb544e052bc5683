"""The view model: groups, minorities, kinds, kernels against each other, exit codes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import report_samples as samples

from harness.report.markdown import render_markdown
from harness.report.model import Kind, Report, Scenario, build, version_key
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    Results,
    Verdict,
    exit_code,
    read_results,
)

EIGHT = [f"{kernel},{arch}" for kernel in samples.KERNELS for arch in samples.ARCHES]


def scenario(report: Report, name: str) -> Scenario:
    return next(one for one in report.scenarios if one.name == name)


def one_kernel(**outcomes: str) -> Results:
    """One scenario `a/b`, a column for each arch that is named."""
    columns = [samples.column("k", arch, planned=["a/b"]) for arch in outcomes]
    cells = [samples.cell("a/b", "k", arch, outcome=text) for arch, text in outcomes.items()]
    return samples.results(*samples.run_records(), *columns, *cells)


def test_columns_by_kernel_then_arch() -> None:
    ids = [column.id for column in build(samples.sample()).columns]
    assert ids == [
        f"{kernel},{arch}"
        for kernel in ("debian-6.1", "debian-6.12")
        for arch in sorted(samples.ARCHES)
    ]


def test_a_column_without_a_version_stays_with_its_kernel() -> None:
    found = samples.sample()
    record = samples.column("debian-6.1", "riscv", version="")
    found.columns["r1", record.column] = record
    kernels = [column.record.kernel for column in build(found).columns]
    assert kernels == ["debian-6.1"] * 5 + ["debian-6.12"] * 4


@pytest.mark.parametrize(
    ("older", "newer"),
    [("6.1.192", "6.12.117"), ("6.12", "6.12.1"), ("6.13-rc2", "6.13"), ("debian-6.1", "tree-6.2")],
)
def test_kernel_order(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)


def test_scenarios_keep_the_planned_order_and_stay_with_their_family() -> None:
    report = build(samples.sample())
    assert [one.name for one in report.scenarios] == list(samples.PLAN)


def test_groups_are_largest_first_and_the_minority_is_named() -> None:
    xonly = scenario(build(samples.sample()), "protection/xonly-read")
    assert [(group.outcome, len(group.cells)) for group in xonly.groups] == [
        ("ok", 4),
        (samples.ACCERR, 2),
        ("SIGSEGV/SEGV_PKUERR @exact", 2),
    ]
    assert xonly.majority is xonly.groups[0]
    assert xonly.minority == xonly.groups[1:]


def test_a_tie_has_neither_majority_nor_minority() -> None:
    tie = scenario(build(samples.sample()), "hwpoison/anon-load")
    assert (tie.majority, tie.minority) == (None, ())


def test_two_large_groups_against_a_small_one() -> None:
    found = one_kernel(a="ok", b="ok", c="EFAULT", d="EFAULT", e="oops")
    row = build(found).scenarios[0]
    assert row.majority is None
    assert [group.outcome for group in row.minority] == ["oops"]


def test_not_applicable_is_not_compared() -> None:
    report = build(samples.sample())
    row = scenario(report, "uaccess/noncanonical")
    assert row.kind is Kind.AGREE
    assert [len(group.cells) for group in row.groups] == [6]
    assert build(one_kernel(a="n/a", b="n/a")).scenarios[0].kind is Kind.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("name", "kind", "observed"),
    [
        ("hole/read", Kind.AGREE, Kind.AGREE),
        ("hole/write", Kind.UNEXPLAINED, Kind.UNEXPLAINED),  # mismatch
        ("stack/below-usp-256", Kind.UNEXPLAINED, Kind.UNEXPLAINED),  # no expectation
        ("stack/below-usp-257", Kind.ARCH_DEFINED, Kind.ARCH_DEFINED),
        ("uaccess/tail-write-3", Kind.FIXED, Kind.FIXED),
        ("retry/kill-in-read", Kind.KNOWN_BUG, Kind.KNOWN_BUG),
        ("file/eof-read", Kind.UNEXPLAINED, Kind.ARCH_DEFINED),  # infra on one column
        ("control/touch", Kind.UNEXPLAINED, Kind.AGREE),  # missing on one column
    ],
)
def test_kinds(name: str, kind: Kind, observed: Kind) -> None:
    row = scenario(build(samples.troubled()), name)
    assert (row.kind, row.observed_kind) == (kind, observed)


def test_counts_a_column() -> None:
    columns = {column.id: column.counts for column in build(samples.troubled()).columns}
    assert columns["debian-6.12,m68k"] == {
        Verdict.MATCH: len(samples.PLAN) - 3,
        Verdict.MISMATCH: 1,
        Verdict.FIXED: 1,
        Verdict.NOT_APPLICABLE: 1,
    }
    assert columns["debian-6.1,x86_64"][Verdict.MISSING] == 1


def test_kernels_compared_tells_equal_changes_once() -> None:
    changes = build(samples.sample()).changes
    assert [(change.scenario, change.where) for change in changes] == [
        ("retry/kill-in-read", ("alpha", "m68k"))
    ]
    assert [cell.observation.outcome for cell in changes[0].cells.values()] == [
        samples.SPIN,
        "killed(SIGKILL)",
    ]


def test_a_kernel_that_cannot_be_had_is_no_change_and_not_missed() -> None:
    name, records = "hole/read", []
    for kernel, outcome in (("a", "n/a"), ("b", "ok"), ("c", "ok"), ("d", "EFAULT")):
        version = "" if outcome == "n/a" else "6.1"
        records.append(samples.column(kernel, "m68k", version=version, planned=[name]))
        records.append(samples.cell(name, kernel, "m68k", outcome=outcome))
    records += [samples.column("a", "alpha", planned=[name]), samples.cell(name, "a", "alpha")]
    report = build(samples.results(*samples.run_records(), *records))
    (change,) = report.changes
    assert list(change.cells) == ["b", "c", "d"]
    for ids, told in (
        (("b,m68k", "c,m68k", "d,m68k"), "m68k"),
        (("b,m68k", "c,m68k"), "m68k on b, c"),
        (("a,m68k",), "m68k on a"),
        (("a,m68k", "b,m68k"), "m68k on a, b"),
        (("a,alpha", "b,m68k", "c,m68k", "d,m68k"), "all"),
        (("a,alpha", "a,m68k", "b,m68k", "c,m68k", "d,m68k"), "all"),
    ):
        assert report.name_columns(ids) == told


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (EIGHT, "all"),
        (["debian-6.1,alpha", "debian-6.12,alpha"], "alpha"),
        (["debian-6.1,alpha", "debian-6.1,m68k"], "alpha, m68k on debian-6.1"),
        (["debian-6.1,alpha", "debian-6.12,alpha", "debian-6.1,m68k"], "alpha; m68k on debian-6.1"),
        ([], ""),
    ],
)
def test_names_of_columns(ids: list[str], name: str) -> None:
    assert build(samples.sample()).name_columns(ids) == name


def test_the_newest_run_counts_and_says_so() -> None:
    found = one_kernel(a="ok", b="ok")
    for record in (
        *samples.run_records("r2", "2026-03-02T10:00:00Z"),
        samples.column("k", "a", "r2", planned=["a/b"]),
        samples.cell("a/b", "k", "a", "r2", outcome="oops", verdict=Verdict.MISMATCH),
    ):
        found.add(record)  # type: ignore[arg-type]
    report = build(found)
    assert [cell.observation.outcome for cell in report.scenarios[0].cells.values()] == [
        "oops",
        "ok",
    ]
    assert report.notes == ("several runs: the newest cell counts, 1 older not shown",)
    assert report.exit_code == exit_code(found) == 1


def test_a_newer_loss_is_not_hidden_by_an_older_success() -> None:
    found = one_kernel(a="ok")
    for record in (
        *samples.run_records("r2", "2026-03-02T10:00:00Z"),
        samples.column("k", "a", "r2", planned=["a/b"]),
    ):
        found.add(record)  # type: ignore[arg-type]
    assert build(found).total == {Verdict.MISSING: 1}
    assert exit_code(found) == 3


def test_a_column_of_several_runs_is_said() -> None:
    found = one_kernel(a="ok")
    found.columns["r1", "k,a"].planned.append("a/c")
    for record in (
        *samples.run_records("r2", "2026-03-02T10:00:00Z"),
        samples.column("k", "a", "r2", planned=["a/c"]),
        samples.cell("a/c", "k", "a", "r2"),
    ):
        found.add(record)  # type: ignore[arg-type]
    assert "k,a is put together from several runs: 1 of run r1, 1 of run r2" in build(found).notes


def test_interrupted_early_damaged_and_flaky_are_said() -> None:
    found = one_kernel(a="ok")
    found.ends = {"r0": EndRecord(run_id="r0", exit_code=130, reason="Ctrl-C")}
    found.damaged.append("results.jsonl:7: truncated")
    found.add(samples.cell("a/b", "k", "a", confirmation="flake"))
    assert build(found).notes == (
        "run r1 was interrupted: it has no end record",
        "run r0 ended early: Ctrl-C",
        "damaged line, not read: results.jsonl:7: truncated",
        "a/b on k,a was not the same twice: flake",
    )


def test_results_whose_column_line_was_lost() -> None:
    report = build(samples.results(samples.cell("hole/read", "debian-6.1", "m68k")))
    assert report.columns[0].record.arch == "m68k"
    assert report.columns[0].record.flavour == "core"
    assert report.columns[0].record.kernel == "debian-6.1"


# --- exit codes


def test_exit_codes() -> None:
    assert exit_code(samples.sample()) == 0  # known bugs are expected
    assert exit_code(samples.troubled()) == 1
    assert exit_code(Results()) == 3  # nothing observed proves nothing


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([Verdict.MATCH, Verdict.KNOWN_BUG, Verdict.FIXED, Verdict.NOT_APPLICABLE], 0),
        ([Verdict.MATCH, Verdict.INFRA], 3),
        ([Verdict.MATCH, Verdict.MISSING], 3),
        ([Verdict.INFRA, Verdict.NO_EXPECTATION], 2),
        ([Verdict.INFRA, Verdict.NO_EXPECTATION, Verdict.MISMATCH], 1),
    ],
)
def test_exit_code_of_verdicts(verdicts: list[Verdict], code: int) -> None:
    cells = [
        samples.cell(f"a/{place}", "k", "m68k", verdict=verdict)
        for place, verdict in enumerate(verdicts)
    ]
    assert exit_code(samples.results(*samples.run_records(), *cells)) == code


def test_exit_code_of_stale_evidence() -> None:
    stale = [samples.evidence("m68k", "k", "stale")]
    found = one_kernel(m68k="ok")
    found.add(samples.cell("a/b", "k", "m68k", evidence=stale))
    assert exit_code(found) == 2


def test_exit_code_of_what_was_lost() -> None:
    planned = one_kernel(m68k="ok")
    planned.columns["r1", "k,m68k"].planned.append("a/never")
    damaged = one_kernel(m68k="ok")
    damaged.damaged.append("results.jsonl:7: truncated")
    unended = one_kernel(m68k="ok")
    unended.ends.clear()
    assert [exit_code(found) for found in (planned, damaged, unended)] == [3, 3, 3]
    assert exit_code(unended, ending="r1") == 0  # asked by the run itself, before its end


def test_only_infra() -> None:
    lost = Observation(scenario="a/b", failure="machine lost")
    found = samples.results(
        *samples.run_records(),
        ColumnRecord(run_id="r1", column="k,m68k", arch="m68k", kernel="k", planned=["a/b"]),
        samples.cell("a/b", "k", "m68k", verdict=Verdict.INFRA, observation=lost),
    )
    report = build(found)
    assert report.scenarios[0].kind is Kind.UNEXPLAINED
    assert report.scenarios[0].groups == ()
    assert report.exit_code == 3


@pytest.mark.parametrize(("kernels", "scenarios"), [(2, 1250), (312, 8)])
def test_ten_thousand_records_take_seconds(kernels: int, scenarios: int) -> None:
    names = [f"f{place % 20}/s{place}" for place in range(scenarios)]
    places = [(f"k-{kernel}", arch) for kernel in range(kernels) for arch in samples.ARCHES]
    columns = [samples.column(*place, planned=names) for place in places]
    cells = [samples.cell(name, *place) for name in names for place in places]
    start = time.monotonic()
    text = render_markdown(samples.results(*samples.run_records(), *columns, *cells))
    assert len(text) > 10_000
    assert time.monotonic() - start < 10  # 0.3 s; what is quadratic takes minutes


@pytest.mark.parametrize(
    "line", [b'{"type":"run","run_id":"\xff"}', b"[" * 100_000, b"\0\x1b[2J", b"{}"]
)
def test_a_line_that_is_no_record_is_named_and_the_rest_is_read(
    line: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"type":"run","run_id":"a"}\n' + line + b'\n{"type":"end","run_id":"a"}\n')
    found = read_results([path])
    assert (list(found.runs), list(found.ends)) == (["a"], ["a"])
    assert [item.startswith(f"{path}:2: ") for item in found.damaged] == [True]
