"""Where columns that ran the same program differ, from records alone."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from harness.program_record import (
    KEPT,
    CaseRecord,
    ColumnOutput,
    ComparisonRecord,
    ProgramRecord,
    Status,
)
from harness.report.comparison import compare_columns, end_of, render_comparison


def seen(column: str, stdout: str = "", code: int | None = 0, **more: object) -> ColumnOutput:
    fields: dict[str, object] = {
        "schema": 1, "program": "p.c", "arguments": [], "column": column, "kernel": "debian-6.12",
        "arch": column.rpartition(",")[2], "status": Status.PASS, "exit_code": code, **more,
    }  # fmt: skip
    return ColumnOutput(column=column, record=ProgramRecord(**fields), stdout=stdout)  # type: ignore[arg-type]


def died(column: str, died: str, place: str = "") -> ColumnOutput:
    details = {"died": died, **({"place": place} if place else {})}
    return seen(column, code=None, signal=died.partition("/")[0], details=details)


def text(*columns: ColumnOutput, exact: bool = False) -> str:
    record = ComparisonRecord(schema=1, program="p.c", arguments=[], columns=[*columns])
    observed = [one for one in columns if one.record is not None]
    return render_comparison(record, compare_columns(observed, exact) if observed else None)


def test_the_same_everywhere_is_one_row() -> None:
    told = text(seen("k,alpha", "one\n"), seen("k,m68k", "one\n"))
    assert told == (
        "how it ended\n"
        "  alpha m68k\n"
        "    exit status 0\n"
        "\n"
        "2 columns: the same end, the same output, addresses apart\n"
    )


def test_a_death_is_compared_by_signal_code_and_place_and_not_by_addresses() -> None:
    same = [
        died("k,alpha", "SIGSEGV/SEGV_MAPERR si_addr 0x20000000010 pc 0x120000ab4 of /work/p"),
        died("k,m68k", "SIGSEGV/SEGV_MAPERR si_addr 0xc0000010 pc 0x80000456 of /work/p"),
    ]
    assert not compare_columns(same).differs
    other = died("k,arm", "SIGSEGV/SEGV_ACCERR si_addr 0xb6f00010 pc 0x10456 of /work/p")
    compared = compare_columns([*same, other])
    assert compared.differs
    assert [(row.lines, row.columns) for row in compared.end.rows] == [
        (["killed by SIGSEGV/SEGV_MAPERR"], ["k,alpha", "k,m68k"]),
        (["killed by SIGSEGV/SEGV_ACCERR"], ["k,arm"]),
    ]
    jumped = died("k,arm64", "SIGSEGV/SEGV_MAPERR si_addr 0 pc 0 of /work/my program")
    assert not compare_columns([*same, jumped]).differs
    there = died("k,arm64", "SIGSEGV/SEGV_MAPERR si_addr 0x10", "touch at p.c:9")
    assert compare_columns([died("k,m68k", "SIGSEGV/SEGV_MAPERR", "touch at p.c:9"), there]) != (
        compare_columns([died("k,m68k", "SIGSEGV/SEGV_MAPERR", "touch at p.c:8"), there])
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"hang": "hang(unkillable)", "signal": "SIGKILL"}, "hang(unkillable)"),
        ({"code": 3}, "exit status 3"),
        ({"code": None, "reason": "not started: ENOEXEC"}, "not started: ENOEXEC"),
        ({"code": None, "signal": "SIGKILL"}, "killed by SIGKILL"),
        ({"code": None, "signal": "SIGKILL", "details": {"died": "SIGSEGV/SEGV_MAPERR pc 0"}},
         "killed by SIGKILL"),
    ],
)  # fmt: skip
def test_each_way_to_end_has_its_words(fields: dict[str, object], told: str) -> None:
    record = seen("k,m68k", **fields).record  # type: ignore[arg-type]
    assert record is not None
    assert end_of(record) == told


def test_only_the_lines_that_differ_are_told_what_most_have_first() -> None:
    told = text(
        seen("k,alpha", "a\nread: EFAULT\nc\n"),
        seen("k,arm", "a\nread: 3 bytes\nc\n"),
        seen("k,m68k", "a\nread: 3 bytes\nc\nmore\n"),
    )
    assert "stdout, line 2\n  arm m68k\n    read: 3 bytes\n* alpha\n    read: EFAULT\n" in told
    assert "stdout, after line 3\n  alpha arm\n    (nothing)\n* m68k\n    more\n" in told
    assert told.endswith("3 columns: they differ\n")


def test_lines_side_by_side_are_told_one_by_one() -> None:
    """A line with a time or a PID in it is another on each column."""
    told = text(
        seen("k,alpha", "EFAULT\npid 24\n"),
        seen("k,arm", "ok\npid 43\n"),
        seen("k,m68k", "ok\npid 26\n"),
    )
    assert "stdout, line 1\n  arm m68k\n    ok\n* alpha\n    EFAULT\n" in told
    assert "stdout, line 2\n  alpha\n    pid 24\n* arm\n    pid 43\n* m68k\n" in told


def test_a_line_that_all_have_amid_those_that_differ_is_not_told() -> None:
    """Differences that touch are one place, and not all of its lines need differ."""
    columns = seen("k,0", "a\na\na\n"), seen("k,1", "a\na\na\n"), seen("k,2", "b\na\na\n")
    titles = [place.title for place in compare_columns([*columns, seen("k,3", "b\na\nb\n")]).rest]
    assert titles == ["stdout, line 1", "stdout, line 3"]


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("x" * 500 + "yes", "x" * 500 + "no", [f"..{'x' * 20}yes", f"..{'x' * 20}no"]),
        ("a\tb", "a b", ["'a\\tb'", "'a b'"]),
        ("a ", "a", ["'a '", "'a'"]),
    ],
)
def test_one_can_see_where_lines_differ(one: str, other: str, shown: list[str]) -> None:
    told = text(seen("k,arm", f"{one}\n"), seen("k,m68k", f"{other}\n"))
    assert f"  arm\n    {shown[0]}\n* m68k\n    {shown[1]}\n" in told


def test_addresses_are_compared_only_if_that_is_asked_for() -> None:
    columns = seen("k,arm", "at 0xbefff000 of 0x10\n"), seen("k,m68k", "at 0xc0001000 of 0x10\n")
    assert not compare_columns(columns).differs
    assert compare_columns(columns, exact=True).differs
    short = seen("k,arm", "0x10\n"), seen("k,m68k", "0x20\n")
    assert compare_columns(short).differs


def test_tests_are_compared_by_their_cases_and_not_by_what_they_print() -> None:
    def ran(column: str, status: Status, stdout: str) -> ColumnOutput:
        cases = [CaseRecord("same", Status.PASS), CaseRecord("twice", Status.PASS),
                 CaseRecord("twice", status)]  # fmt: skip
        return seen(column, stdout, cases=cases)

    assert not compare_columns(
        [ran("k,arm", Status.PASS, "0.1 s"), ran("k,m68k", Status.PASS, "0.2 s")]
    ).differs
    told = text(ran("k,arm", Status.PASS, ""), ran("k,m68k", Status.FAIL, ""))
    assert "case twice (2)\n  arm\n    pass\n* m68k\n    fail\n" in told
    assert "case same" not in told


def test_a_plan_that_was_not_kept_differs_though_the_cases_do_not() -> None:
    cases, totals = [CaseRecord("a", Status.PASS)], {"pass": 1}
    kept = seen("k,arm", cases=cases, totals=totals)
    why = "1 of 2 planned tests came"
    short = seen("k,m68k", cases=cases, totals=totals, status=Status.BROKEN, reason=why)
    told = text(kept, short)
    assert (
        f"what its cases came to\n  arm\n    pass; 1 pass\n* m68k\n    broken; 1 pass; {why}\n"
        in told
    )
    killed = [
        seen(column, cases=cases, signal="SIGSEGV", reason=f"killed by SIGSEGV si_addr {address}")
        for column, address in (("k,arm", "0x10"), ("k,m68k", "0x20"))
    ]
    assert not compare_columns(killed).differs


def test_cases_that_are_named_by_addresses_are_the_same_ones() -> None:
    columns = [
        seen(column, cases=[CaseRecord(f"map at {address}", Status.PASS)])
        for column, address in (("k,arm", "0xbefff000"), ("k,m68k", "0xc0001000"))
    ]
    assert not compare_columns(columns).differs
    assert len(compare_columns(columns, exact=True).rest) == 2


def test_a_warning_on_one_column_alone_is_a_difference() -> None:
    told = text(seen("k,arm"), seen("k,m68k", kernel_said="warn(copy_page)"))
    assert "what the kernel said\n  arm\n    (nothing)\n* m68k\n    warn(copy_page)\n" in told


@pytest.mark.parametrize("other", ["a\n", "a\r\n", "a\x0c"])
def test_how_a_line_ends_is_a_difference(other: str) -> None:
    assert compare_columns([seen("k,arm", "a"), seen("k,m68k", other)]).differs


def test_of_a_flood_the_lines_are_compared_that_all_have_and_the_rest_is_not_said_to_be() -> None:
    """A line of m68k is shorter, and more of them come before the cut."""
    lines = KEPT // 8
    columns = [
        seen(column, f"{address} is where it is\n" * lines, stdout_bytes=32 * lines)
        for column, address in (("k,arm64", "0x7fff12345678"), ("k,m68k", "0xc0012345"))
    ]
    kept = [replace(one, stdout=one.stdout[:KEPT]) for one in columns]
    assert not compare_columns(kept).differs
    assert text(*kept).endswith("the same first MiB of output, addresses apart\n")
    kept[0] = replace(kept[0], stdout=f"other\n{kept[0].stdout}"[:KEPT])
    assert compare_columns(kept).differs


def test_what_was_not_observed_is_told_and_not_compared() -> None:
    lost = ColumnOutput(column="k,alpha", failure="p.c does not compile for alpha\n    p.c:1: no")
    told = text(seen("k,arm"), lost)
    assert "1 of 2 columns: the same end" in told
    assert "k,alpha: not observed: p.c does not compile for alpha\n      p.c:1: no\n" in told
    assert text(lost) == told[told.index("k,alpha: not") :]


def test_nothing_that_a_guest_printed_reaches_a_terminal_as_it_is() -> None:
    assert "\x1b" not in text(seen("k,arm", "a\x1b[2J\n"), seen("k,m68k", "b\x1b]0;x\x07\n"))


def test_columns_are_named_by_what_tells_them_apart() -> None:
    told = text(seen("debian-6.1,arm", code=0), seen("debian-6.12,arm", code=1))
    assert "  debian-6.1\n" in told
    assert "* debian-6.12\n" in told


def test_a_flood_that_differs_everywhere_is_compared_as_a_whole() -> None:
    flood = "".join(f"{n}\n" for n in range(50_000))
    compared = compare_columns([seen("k,arm", flood), seen("k,m68k", flood.replace("\n", ".\n"))])
    assert [place.title for place in compared.rest] == ["stdout, lines 1 to 50000"]


def test_each_place_has_the_lines_of_each_column_and_none_is_lost() -> None:
    """What stands in the places of a column, put for what most have there, is that column's own."""
    chance = random.Random(1)
    for _ in range(200):
        base = [chance.choice("abc") for _ in range(8)]
        texts = [[*base] for _ in range(4)]
        for lines in texts[1:]:
            for _ in range(chance.randrange(4)):
                at = chance.randrange(len(lines) + 1)
                lines[at : at + chance.randrange(3)] = [chance.choice("xyz")] * chance.randrange(3)
        columns = [
            seen(f"k,{n}", "".join(f"{x}\n" for x in lines)) for n, lines in enumerate(texts)
        ]
        for number, lines in enumerate(texts):
            assert rebuilt(columns, texts, number) == lines


def rebuilt(columns: list[ColumnOutput], texts: list[list[str]], number: int) -> list[str]:
    most = max(texts, key=texts.count)
    result, done = list[str](), 0
    for place in compare_columns(columns).rest:
        told = next(row.lines for row in place.rows if f"k,{number}" in row.columns)
        where = place.title.removeprefix("stdout, ").split()
        last = int(where[-1])
        first = last if where[0] == "after" else int(where[1]) - 1
        result += most[done:first] + ([] if told == ["(nothing)"] else told)
        done = last
    return result + most[done:]
