"""What is not blessed: cells that prove nothing, kernels that are no release, too few words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.results import Evidence, Verdict
from tests.unit.bless_samples import (
    ACCERR,
    COMMITS,
    FAMILY,
    MAPERR,
    REASON,
    VERSIONS,
    bless,
    cell,
    changed,
    family,
    record,
)


@pytest.mark.parametrize("outcome", ["oops", "hang(killable, sleep)", "silent", "panic", "lost"])
def test_troubles_are_bugs(demo: Path, outcome: str) -> None:
    record(cell("demo/plain", "alpha", f"load={outcome}", confirmation="confirmed"))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "--known-bug" in done.output
    assert family(demo) == FAMILY


@pytest.mark.parametrize(
    ("confirmation", "said"),
    [
        ("flake", "flake"),
        ("order-dependent(after 3 others, hole/read the last)", "order-dependent"),
        ("late", "late"),
    ],
)
def test_what_is_not_the_same_twice_is_refused(demo: Path, confirmation: str, said: str) -> None:
    record(cell("demo/plain", "alpha", ACCERR, confirmation=confirmation))
    done = bless("demo/plain")
    assert done.exit_code == 2 and said in done.output
    assert family(demo) == FAMILY


def test_what_was_not_observed_is_refused(demo: Path) -> None:
    record(cell("demo/plain", "alpha", "", Verdict.INFRA, failure="boot: nothing came"))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "nothing came" in done.output


def test_runs_without_an_end_are_refused(demo: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR), ended=False)
    done = bless("demo/plain")
    assert done.exit_code == 2 and "did not come to its end" in done.output
    record(cell("demo/plain", "alpha", ACCERR, run="r2"), reason="SIGINT")
    done = bless("demo/plain")
    assert done.exit_code == 2 and "did not come to its end" in done.output


def test_what_is_no_kernel_in_qemu_is_refused(demo: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR), target="local")
    done = bless("demo/plain")
    assert done.exit_code == 2 and "was seen on local" in done.output


@pytest.mark.parametrize(
    ("kernel", "version"),
    [("debian-6.12+patch:fix.patch", "6.12.117-1"), ("tree:linux", "6.12.117-3-gabc-dirty")],
)
def test_kernels_with_changes_of_their_own_are_refused(
    demo: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, version: str
) -> None:
    monkeypatch.setitem(VERSIONS, kernel, version)
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "has changes of its own" in done.output
    assert family(demo) == FAMILY


def test_commits_on_top_of_a_release_are_refused_or_said(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, version = "tree:linux", "6.12.117-00003-g0123456789ab"
    monkeypatch.setitem(VERSIONS, kernel, version)
    monkeypatch.setitem(COMMITS, kernel, {"commit": "0123456789ab"})
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "has commits on top of the release" in done.output
    assert family(demo) == FAMILY
    assert bless("demo/plain", "--own-commits").exit_code == 0
    assert f"      because: the handler says so (seen on {version})" in changed(demo)[0]


def test_a_tree_at_a_release_is_that_release_and_a_tree_of_files_is_none(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = "tree:linux"
    monkeypatch.setitem(VERSIONS, kernel, "6.12.117")
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel))
    done = bless("demo/plain", "--own-commits")
    assert done.exit_code == 2 and "nothing tells what it was made from" in done.output
    monkeypatch.setitem(COMMITS, kernel, {"commit": "0123456789ab"})
    record(cell("demo/plain", "alpha", ACCERR, kernel=kernel, run="r2"))
    assert bless("demo/plain").exit_code == 0
    assert "      because: the handler says so" in changed(demo)[0]


def test_evidence_that_the_kernel_no_longer_has_is_refused(demo: Path) -> None:
    gone = Evidence(id="no-vma", file="mm/x.c", function="fault", text="if (!vma)", status="stale")
    other = msgspec.structs.replace(gone, id="usp-rule")
    seen = cell("demo/plain", "alpha", ACCERR)
    record(msgspec.structs.replace(seen, evidence=[other, gone]))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "the decision no-vma is stale there: mm/x.c" in done.output
    assert family(demo) == FAMILY
    record(msgspec.structs.replace(seen, run_id="r2", evidence=[other]))
    assert bless("demo/plain").exit_code == 0


def test_what_is_as_expected_needs_no_blessing(demo: Path) -> None:
    record(cell("demo/plain", "alpha", MAPERR, Verdict.MATCH))
    done = bless("demo/plain")
    assert done.exit_code == 2 and "nothing to bless" in done.output


def test_a_matrix_that_has_changed_since_is_refused(demo: Path) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    file = demo / "expectations/demo.yaml"
    file.write_text("# one more line\n" + FAMILY)
    done = bless("demo/plain")
    assert done.exit_code == 2 and "is not the row that it was" in done.output


def test_a_row_may_not_speak_of_cells_that_saw_something_else(demo: Path) -> None:
    record(
        cell("demo/plain", "arm64", ACCERR),
        cell("demo/plain", "arm64", MAPERR, Verdict.MATCH, kernel="debian-6.1"),
    )
    done = bless("demo/plain", "--kernel", "debian-6.12", "--range", "<7.0")
    assert done.exit_code == 2 and "would speak of another cell" in done.output
    assert "debian-6.1,arm64 saw SIGSEGV/SEGV_MAPERR @exact" in done.output
    assert bless("demo/plain", "--kernel", "debian-6.12").exit_code == 0


def test_rows_in_flow_style_are_left_to_people(demo: Path) -> None:
    seen = cell("demo/flow", "alpha", ACCERR, Verdict.NO_EXPECTATION)
    record(seen)
    done = bless("demo/flow")
    assert done.exit_code == 2 and "does not begin its line" in done.output
    assert family(demo) == FAMILY


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
    demo: Path, words: tuple[str, ...], reason: tuple[str, ...], said: str
) -> None:
    record(cell("demo/plain", "alpha", ACCERR))
    done = bless(*words, reason=reason)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert family(demo) == FAMILY
