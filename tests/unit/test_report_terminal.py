"""The terminal: what is seen at a glance, what is listed, and that no guest text gets through."""

from __future__ import annotations

import io
import re

import pytest
import report_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.report import words
from harness.report.terminal import render_terminal
from harness.results import Evidence, Observation, Results, Verdict

HOSTILE = (
    "[bold red]x[/] \x1b[2J\x1b]0;owned\x07 \r\n\x00 \u202egnp.exe a\u0301\u0301 \ud800 "
    + "A" * 9999
)


def terminal(results: Results, width: int = 100, color: bool = False) -> list[str]:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system="truecolor" if color else None,
    )
    return printed(results, console)


def plain(results: Results) -> list[str]:
    return printed(results, Console(file=io.StringIO(), width=80, force_terminal=False))


def printed(results: Results, console: Console) -> list[str]:
    render_terminal(results, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def block(lines: list[str], start: str) -> list[str]:
    """The lines from the one that starts so to the next that is not indented further."""
    first = next(place for place, line in enumerate(lines) if line.startswith(start))
    rest = [line.rstrip() for line in lines[first + 1 :]]
    indent = len(start) - len(start.lstrip())
    end = next(
        (place for place, line in enumerate(rest) if len(line) - len(line.lstrip()) <= indent),
        len(rest),
    )
    return [lines[first].rstrip(), *rest[:end]]


def test_four_columns_fit_in_a_hundred_characters() -> None:
    assert max(map(len, terminal(samples.sample()))) <= 100


def test_a_scenario_that_differs_has_a_line_for_each_outcome() -> None:
    lines = terminal(samples.sample(), width=86)
    assert lines[0] == "debian-6.1 (6.1.192)" + " " * 38 + "  alpha  arm64  m68k  x86_64"
    assert block(lines, "stack") == [
        "stack",
        "  below-usp-256           ok                                    .      .     .       .",
        "  below-usp-257           ok                                    .      .             .",
        "                          SEGV_MAPERR @exact                                 *",
        "  growsdown-user          ok                                    .      .             .",
        "                          SEGV_MAPERR @exact                                 *",
    ]


LONG = "; ".join(f"step{n}=SIGSEGV/SEGV_MAPERR @exact" for n in range(8)) + " | B: ok"


@pytest.mark.parametrize("width", [None, 90])
def test_one_long_outcome_moves_no_mark(width: int | None) -> None:
    """It goes on below, broken between its steps, and nothing of it is left out."""
    found = samples.sample()
    found.add(samples.cell("hole/write", "debian-6.1", "m68k", outcome=LONG))
    lines = plain(found) if width is None else terminal(found, width)
    _, first, *rest = (line.rstrip() for line in block(lines, "  write"))
    arches = next(line for line in lines if "m68k" in line)
    assert first.index(" *") + 1 == arches.index("m68k") + len("m68k") - 1
    assert max(map(len, rest)) < first.index(" *")
    said = " ".join(line.split("   *")[0].strip() for line in [first, *rest])
    assert said == LONG.replace("SIGSEGV/", "")
    assert all(line.strip().startswith(("step", "B:")) for line in rest)


def test_the_kernel_is_told_in_full_where_there_is_room() -> None:
    exact = "6.12.117-1~deb12u1"
    found = samples.results(
        *samples.run_records(),
        samples.column("debian-6.12", "m68k", version=exact, planned=["hole/write"]),
        samples.cell("hole/write", "debian-6.12", "m68k", outcome="ok"),
    )
    assert terminal(found, width=60)[0] == "debian-6.12 (6.12.117-1~deb12u1)  m68k"
    assert plain(found)[0] == "debian-6.12 (6.12.117-1~deb12u1)  m68k"
    narrow = terminal(found, width=36)
    assert narrow[0].endswith("  m68k") and max(map(len, narrow[:3])) <= 36


def test_a_page_for_each_kernel_unless_all_fit() -> None:
    def headers(lines: list[str]) -> list[str]:
        return [" ".join(line.split()) for line in lines if "x86_64" in line and "alpha" in line][
            :2
        ]

    arches = "alpha arm64 m68k x86_64"
    assert headers(terminal(samples.sample())) == [
        f"debian-6.1 (6.1.192) {arches}",
        f"debian-6.12 (6.12.117) {arches}",
    ]
    assert headers(terminal(samples.sample(), width=140)) == [f"{arches} {arches}"]
    assert headers(plain(samples.sample())) == [f"{arches} {arches}"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 132, 250])
def test_any_width_prints_everything(width: int) -> None:
    words = " ".join(" ".join(terminal(samples.troubled(), width)).split())
    for said in ("tail-write-3", "memfd_create: ENOSYS", "mismatch (exit code 1)"):
        assert said in words


def test_a_kernel_that_cannot_be_had_takes_no_room() -> None:
    found = samples.sample()
    found.add(samples.column("debian-5.10", "m68k", version=""))
    for name in samples.PLAN:
        found.add(samples.cell(name, "debian-5.10", "m68k", outcome="n/a"))
    lines = plain(found)
    table = lines[: next(n for n, line in enumerate(lines) if "as most columns" in line)]
    assert table == plain(samples.sample())[: len(table)]
    assert any(line.startswith("debian-5.10,m68k") for line in lines)  # and how many are n/a


def two_trees() -> Results:
    """One arch of two kernels with long names, which differ."""
    records = []
    for kernel, outcome in (("git:/home/me/linux#0123456789ab", "ok"), ("tree:/home/me", "EFAULT")):
        records.append(samples.column(kernel, "m68k", planned=["hole/read"]))
        records.append(samples.cell("hole/read", kernel, "m68k", outcome=outcome))
    return samples.results(*samples.run_records(), *records)


def test_long_names_of_kernels_stand_over_their_columns_and_apart() -> None:
    lines = plain(two_trees())
    kernels, arches = lines[:2]
    for name in ("git:/home/me/linux#012..", "tree:/home/me"):
        start = kernels.index(name)
        assert "m68k" in arches[start : start + len(name) + 2]
    assert any(line.split() == ["git:/home/me/linux#0123456789ab", "ok"] for line in lines)
    assert any(line.split() == ["tree:/home/me", "EFAULT"] for line in lines)


def test_the_legend_has_what_occurs() -> None:
    def legend(results: Results) -> str:
        return next(line for line in plain(results) if line.startswith(". as most columns"))

    assert "* differs, as expected" in legend(samples.sample())
    one = samples.results(
        *samples.run_records(),
        samples.column("debian-6.1", "m68k", planned=["hole/read"]),
        samples.cell("hole/read", "debian-6.1", "m68k"),
    )
    assert legend(one) == ". as most columns"


def test_what_was_not_run_is_not_as_expected() -> None:
    column = samples.column("local", "x86_64", planned=["hole/read", "hole/write"])
    cells = [
        samples.cell("hole/read", "local", "x86_64"),
        samples.cell("hole/write", "local", "x86_64", verdict=Verdict.NOT_RUN),
    ]
    last = plain(samples.results(*samples.run_records(), column, *cells))[-1]
    assert "2 cells: 1 as expected, 1 not run (exit code 0)" in last


def test_a_verdict_is_never_colour_alone() -> None:
    lines = terminal(samples.troubled())
    legend = next(line for line in lines if line.startswith(". as most"))
    for mark in ("* differs", "~ known bug", "+ fixed", "! mismatch", "? no expectation"):
        assert mark in legend
    page = "\n".join(lines[: lines.index(legend)])
    for mark in "*~+!?-_x":
        assert re.search(rf"   {re.escape(mark)}(\s|$)", page), mark


def test_agreeing_cells_are_dim_and_differences_are_not() -> None:
    lines = terminal(samples.sample(), color=True)
    row = next(place for place, line in enumerate(lines) if "below-usp-257" in line)
    assert "\x1b[2mok" in lines[row]
    assert "\x1b[2m" not in lines[row + 1]
    assert "\x1b[1;36m*" in lines[row + 1]


def test_a_mismatch_says_all_it_takes_to_judge_it() -> None:
    assert block(plain(samples.troubled()), "! hole/write") == [
        "! hole/write  debian-6.12,m68k  mismatch",
        "    observed     SIGSEGV/SEGV_ACCERR @exact",
        "    run again    confirmed",
        "    expected     SIGSEGV/SEGV_MAPERR @exact",
        "    because      every arch sends the same",
        "    evidence     arch/m68k/mm/fault.c:107 do_page_fault: if (address + 256 < rdusp())",
        "    declared     expectations/hole.yaml:12",
        "    console      [    2.310000] Unable to handle kernel access at address deadbee0",
        "                 [    2.310000] PC: [<000a1b2c>] do_page_fault+0x1f0/0x2a0",
        "    repeat       faultline run hole/write --arch m68k --kernel debian-6.12",
    ]


def test_known_bugs_stale_evidence_and_kernels_are_listed() -> None:
    lines = plain(samples.troubled())
    assert "~ retry/kill-in-read  alpha, m68k on debian-6.1  known-bug" in lines
    assert "? fault-decision  arch/m68k/mm/fault.c:107 do_page_fault (stale)" in lines
    assert block(lines, "  retry/kill-in-read  alpha, m68k")[1:] == [
        "    debian-6.1   hang(unkillable, spin-kernel)",
        "    debian-6.12  killed(SIGKILL)",
    ]


def test_different_bugs_of_one_scenario_are_told_apart() -> None:
    """One entry would name the first one's reference for all of them."""
    found = samples.sample()
    found.add(
        samples.cell(
            "retry/kill-in-read",
            "debian-6.1",
            "arm64",
            verdict=Verdict.KNOWN_BUG,
            outcome="oops",
            want="killed(SIGKILL)",
            bug="another report",
        )
    )
    lines = plain(found)
    assert block(lines, "~ retry/kill-in-read  alpha, m68k on debian-6.1")[1:] == [
        "    observed     hang(unkillable, spin-kernel)",
        "    correct      killed(SIGKILL)",
        "    see          VM_FAULT_RETRY fixes, 2023",
    ]
    assert block(lines, "~ retry/kill-in-read  arm64 on debian-6.1")[1:] == [
        "    observed     oops",
        "    correct      killed(SIGKILL)",
        "    see          another report",
    ]


def test_the_exit_code_is_that_of_the_process() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    render_terminal(samples.sample(), console, 130)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith("cells: interrupted (exit code 130)\n")


def test_a_column_that_never_booted_is_one_entry() -> None:
    found = samples.sample()
    for scenario in samples.PLAN:
        del found.results["r1", "debian-6.1,alpha", scenario]
    lines = plain(found)
    entry = block(lines, "_ ")
    assert entry[0] == f"_ {len(samples.PLAN)} scenarios  debian-6.1,alpha  missing"
    assert entry[1].endswith(f"and {len(samples.PLAN) - 8} more")
    assert lines[-1].endswith("not everything was observed (exit code 3)")


def test_what_is_lost_alike_in_several_columns_is_one_entry() -> None:
    heads = [line for line in plain(samples.lost_alike()) if line.endswith("  infra")]
    assert heads == ["x hole/read  alpha  infra", "x hole/read  arm64, m68k, x86_64  infra"]


def test_counts_and_last_line() -> None:
    lines = plain(samples.troubled())
    assert "debian-6.1,alpha    6.1.192   tcg  15 match, 2 known-bug, 1 infra" in lines
    cells = 8 * len(samples.PLAN)
    end = f"{len(samples.PLAN)} scenarios on 8 columns, {cells} cells: mismatch (exit code 1)"
    assert lines[-1] == end


def test_plain_lines_carry_no_escape_code_fold_or_trailing_space() -> None:
    found = samples.troubled()
    because = "long " * 100 + "end"
    found.add(
        samples.cell("hole/read", "debian-6.1", "m68k", verdict=Verdict.MISMATCH, because=because)
    )
    lines = plain(found)
    assert any(because in line for line in lines)
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)


def test_nothing_at_all() -> None:
    assert plain(Results()) == [
        "",
        "0 scenarios on 0 columns, 0 cells: not everything was observed (exit code 3)",
    ]


def hostile_results(evil: str) -> Results:
    """A mismatch, a loss and a note in which every text is `evil`."""
    seen = Observation(scenario=evil, outcome=evil, cause=evil, console=[evil] * 3)
    lost = Observation(scenario="b/c", failure=evil, console=[evil])
    proof = Evidence(id=evil, file=evil, function=evil, text=evil, status="stale", line=1)
    texts = dict.fromkeys(("want", "because", "bug", "declared", "confirmation", "repeat"), evil)
    mismatch = samples.cell(
        evil, "k", "m68k", verdict=Verdict.MISMATCH, observation=seen, evidence=[proof], **texts
    )
    nowhere = samples.cell("b/c", "k", "m68k", column=evil)
    known = samples.cell(evil, "k", "alpha", verdict=Verdict.KNOWN_BUG, observation=seen, **texts)
    infra = samples.cell("b/c", "k", "m68k", verdict=Verdict.INFRA, observation=lost)
    provenance = dict.fromkeys(("accel", "qemu", "patches", "boot_said"), evil)
    column = samples.column(
        "k", "m68k", kernel=evil, version=evil, release=evil, flavour=evil, provenance=provenance
    )
    found = samples.results(column, mismatch, known, infra, nowhere)
    found.damaged.append(evil)
    return found


def test_what_a_kernel_said_while_booting_stands_beside_its_counts() -> None:
    column = samples.column("k", "m68k", planned=["a/a"], provenance={"boot_said": "warn(f)"})
    lines = plain(samples.results(column, samples.cell("a/a", "k", "m68k", outcome="ok")))
    assert any(line.endswith("1 match, warn(f) while booting") for line in lines)
    assert not any("while booting" in line for line in plain(samples.sample()))


def check_safe(lines: list[str]) -> None:
    for line in lines:
        assert all(char.isprintable() for char in line), line
        assert len(line) < 3000


def test_hostile_text_prints_harmless() -> None:
    lines = plain(hostile_results(HOSTILE))
    check_safe(lines)
    assert any("[bold red]x[/] \\x1b[2J" in line for line in lines)
    check_safe(terminal(hostile_results(HOSTILE)))


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_any_text_prints_harmless(evil: str) -> None:
    check_safe(plain(hostile_results(evil)))
    check_safe(terminal(hostile_results(evil)))


@pytest.mark.parametrize(
    ("outcome", "limit", "short"),
    [
        ("SIGSEGV/SEGV_MAPERR @exact", 30, "SEGV_MAPERR @exact"),
        ("EFAULT[SIGBUS/BUS_ADRERR @exact]", 30, "EFAULT[BUS_ADRERR @exact]"),
        ("SIGSEGV/SI_KERNEL @zero", 30, "SIGSEGV/SI_KERNEL @zero"),
        ("SIGSEGV/77 @zero", 30, "SIGSEGV/77 @zero"),
        (
            "madvise=ok; load=SIGBUS/BUS_MCEERR_AR @exact lsb=12",
            40,
            ".. load=BUS_MCEERR_AR @exact lsb=12",
        ),
        ("hang(unkillable, spin-kernel)", 12, "hang(unkil.."),
    ],
)
def test_outcomes_are_shortened_where_they_say_least(outcome: str, limit: int, short: str) -> None:
    assert words.short_outcome(outcome, limit) == short
