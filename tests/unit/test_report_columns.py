"""The table of columns: every cell counted once, each reason under its verdict."""

from __future__ import annotations

import re
from collections import Counter

import report_samples as samples
from test_report_terminal import HOSTILE, hostile_results

from harness.report.columns import render_columns
from harness.report.markdown import prose
from harness.results import Results, current

HOLES = "not in these runs"


def tables(page: str) -> dict[str, dict[tuple[str, str], list[str]]]:
    """Heading -> (verdict, reason) -> numbers; the verdict's own row has the reason ""."""
    found: dict[str, dict[tuple[str, str], list[str]]] = {}
    for line in page.splitlines():
        if line.startswith("## "):
            verdict, rows = "", {}
            found[line[3:]] = rows
        elif line.startswith("| ") and not line.startswith("| --- "):
            first, *others = (cell.strip() for cell in line[1:-1].split("|"))
            if bold := re.fullmatch(r"\*\*(.*)\*\*", first):
                verdict, first = bold[1], ""
            assert (verdict, first) not in rows
            rows[verdict, first] = others
    return found


def test_totals_are_those_of_the_cells() -> None:
    results = samples.troubled()
    cells, missing = current(results)
    counted = Counter(cell.verdict.value for cell in cells)
    counted["missing"] += len(missing)
    told: Counter[str] = Counter()
    for rows in tables(render_columns(results)).values():
        for (verdict, reason), numbers in rows.items():
            if verdict and not reason and verdict != HOLES:
                told[verdict] += sum(int(number or 0) for number in numbers)
    assert told == counted


def test_a_table_for_each_kernel_a_column_for_each_arch() -> None:
    found = tables(render_columns(samples.sample()))
    assert list(found) == ["debian-6.1 (6.1.192)", "debian-6.12 (6.12.117)"]
    assert found["debian-6.1 (6.1.192)"]["", ""] == ["alpha", "arm64", "m68k", "x86_64"]


def test_a_reason_stands_under_its_verdict_and_counts_its_cells() -> None:
    rows = tables(render_columns(samples.sample()))["debian-6.1 (6.1.192)"]
    cells, _ = current(samples.sample())
    bugs = [cell for cell in cells if cell.column == "debian-6.1,m68k" and cell.bug]
    assert bugs
    for reason, count in Counter(cell.bug for cell in bugs).items():
        assert rows["known-bug", prose(reason)][2] == str(count)
    assert [reason for verdict, reason in rows if verdict == "not-applicable"] == [
        "",
        "32-bit addresses",
    ]


def test_what_a_column_has_not_observed_is_seen() -> None:
    whole, older = "debian-6.12", "debian-6.1"
    found = samples.results(
        *samples.run_records(),
        samples.column(whole, "m68k", planned=["hole/read", "hole/write", "uaccess/noncanonical"]),
        samples.column(older, "m68k", planned=["hole/read", "hole/write"]),
        samples.column(older, "alpha", planned=["hole/read"]),
        *(samples.cell(name, whole, "m68k") for name in ("hole/read", "hole/write")),
        samples.cell("uaccess/noncanonical", whole, "m68k"),  # n/a
        samples.cell("hole/read", older, "m68k"),
        samples.cell("hole/read", older, "alpha"),
    )
    tables_found = tables(render_columns(found))
    complete = tables_found["debian-6.12 (6.12.117)"]
    assert complete["", "observed"] == ["2 of 3"]
    assert (HOLES, "") not in complete and ("missing", "") not in complete
    rows = tables_found["debian-6.1 (6.1.192)"]
    assert rows["", ""] == ["alpha", "m68k"]
    assert rows["", "observed"] == ["1 of 3", "1 of 3"]
    assert rows["missing", ""] == ["", "1"]
    assert rows[HOLES, ""] == ["2", "1"]


def test_hostile_text_stays_in_its_place() -> None:
    page = render_columns(hostile_results(HOSTILE))
    assert all(char.isprintable() or char == "\n" for char in page)
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == [f"## {name}" for name in tables(page)]


def test_nothing_at_all() -> None:
    assert render_columns(Results()) == "\n"
