"""The Markdown report: order of sections, groups with reasons, and text that cannot break out."""

from __future__ import annotations

import re

import pytest
import report_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from test_report_terminal import HOSTILE, hostile_results

from harness.report.markdown import code, fence, prose, render_markdown, table
from harness.results import Observation, ResultRecord, Results, Verdict


def section(report: str, title: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    level = title.split(" ")[0]
    body = report.split(f"\n{title}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", body, maxsplit=1, flags=re.M)[0]


def headings(report: str) -> list[str]:
    return re.findall(r"^## (.*)$", report, flags=re.M)


def test_what_the_compiler_said_keeps_its_lines() -> None:
    seen = Observation(
        scenario="a/a", failure="build: make failed\n    x.c:1: error\n    y", alive=False
    )
    text = render_markdown(
        samples.results(
            *samples.run_records(),
            samples.column("debian-6.1", "m68k", planned=["a/a"]),
            ResultRecord(
                run_id="r1",
                column="debian-6.1,m68k",
                scenario="a/a",
                verdict=Verdict.INFRA,
                observation=seen,
            ),
        )
    )
    assert "```text\nbuild: make failed\n    x.c:1: error\n    y\n```\n" in text
    assert "| `build: make failed` |" in text


def test_what_needs_a_decision_comes_first() -> None:
    assert headings(render_markdown(samples.troubled())) == [
        "Columns",
        "Not as expected",
        "Not observed",
        "Stale evidence",
        "Fixed: amend these rows",
        "Known bugs",
        "Expected divergences",
        "Kernels compared",
        "All agree",
        "Not applicable",
    ]


def test_what_was_refused_is_named_with_its_reason() -> None:
    seen = Observation(scenario="a/a", failure="not run: it could wedge the machine")
    cell = samples.cell("a/a", "k", "m68k", verdict=Verdict.NOT_RUN, observation=seen)
    text = render_markdown(samples.results(samples.column("k", "m68k", planned=["a/a"]), cell))
    assert "| `a/a` | all | `not run: it could wedge the machine` |" in section(text, "## Not run")


def test_sections_without_content_are_left_out() -> None:
    titles = headings(render_markdown(samples.sample()))
    assert "Not as expected" not in titles
    assert "Stale evidence" not in titles


def test_summary_provenance_and_counts() -> None:
    report = render_markdown(samples.troubled())
    assert "**18 scenarios on 8 columns: 4 not as expected, 1 fixed, 1 with a known bug, " in report
    assert "| column | kernel | compiler | QEMU | accelerator |\n" in report
    assert "| `debian-6.1,m68k` | `6.1.192` | m68k-linux-gnu-gcc 12.2.0 | 7.2.13 | tcg |" in report
    assert "| `debian-6.1,m68k` | 15 | 2 |  |  |  | 1 |  |  |" in report


def test_what_a_kernel_said_while_booting_is_a_fact_of_its_column() -> None:
    found = samples.sample()
    assert "said while booting" not in render_markdown(found)
    found.add(samples.column("debian-6.12", "m68k", provenance={"boot_said": "warn(f)"}))
    report = render_markdown(found)
    assert "| column | kernel | compiler | QEMU | accelerator | said while booting |\n" in report
    assert (
        "| `debian-6.12,m68k` | `6.12.117` | m68k-linux-gnu-gcc 12.2.0 | 7.2.13 | tcg | warn(f) |"
        in report
    )


def test_groups_minority_reason_and_evidence() -> None:
    report = render_markdown(samples.sample())
    assert section(report, "### `stack/below-usp-257`").strip().splitlines() == [
        "Minority: **m68k** (`SIGSEGV/SEGV_MAPERR @exact`), 2 against 6, of 8 columns.",
        "",
        "| outcome | columns | verdict |",
        "| --- | --- | --- |",
        "| `ok` | alpha, arm64, x86_64 | match |",
        "| `SIGSEGV/SEGV_MAPERR @exact` | m68k | match |",
        "",
        "- `ok` (alpha, arm64, x86_64): user stack growth below usp-256 is refused",
        *(
            f"  - `arch/{arch}/mm/fault.c:105 do_page_fault` on debian-6.1, `:107` on debian-6.12"
            ": `if (address + 256 < rdusp())`"
            for arch in ("alpha", "arm64", "x86")
        ),
        "- `SIGSEGV/SEGV_MAPERR @exact` (m68k): user stack growth below usp-256 is refused",
        "  - `arch/m68k/mm/fault.c:105 do_page_fault` on debian-6.1, `:107` on debian-6.12"
        ": `if (address + 256 < rdusp())`",
    ]


def test_the_kernel_is_named_as_exactly_as_it_is_known() -> None:
    found = samples.sample()
    found.add(samples.column("debian-6.12", "m68k", version="6.12.117-1~deb12u1", release="6.12"))
    assert "| `debian-6.12,m68k` | `6.12.117-1~deb12u1` |" in render_markdown(found)


def test_two_texts_in_one_function_are_two_places() -> None:
    first, second = (
        structs.replace(samples.evidence("m68k", "debian-6.1"), text=text)
        for text in ("a()", "b()")
    )
    found = samples.sample()
    found.add(
        samples.cell("hole/write", "debian-6.1", "m68k", outcome="ok", evidence=[first, second])
    )
    body = section(render_markdown(found), "### `hole/write`")
    for text in ("a()", "b()"):
        assert f"  - `arch/m68k/mm/fault.c:105 do_page_fault`: `{text}`\n" in body


def test_a_place_outside_of_functions_ends_with_its_line() -> None:
    found = samples.troubled()
    for key, cell in found.results.items():
        pieces = [structs.replace(piece, function="") for piece in cell.evidence]
        found.results[key] = structs.replace(cell, evidence=pieces)
    report = render_markdown(found)
    assert re.search(r"^  - `[^` ]+:[0-9]+`", report, flags=re.M)
    assert not re.search(r":[0-9]+ `", report)


def test_ties_are_said() -> None:
    tie = section(render_markdown(samples.sample()), "### `hwpoison/anon-load`")
    assert tie.strip().startswith("A tie: 2 outcomes, each on 4 of 8 columns.")


def test_known_bugs_say_what_is_correct() -> None:
    bug = section(render_markdown(samples.sample()), "### `retry/kill-in-read`")
    assert "  - a correct kernel: `killed(SIGKILL)` (VM_FAULT_RETRY fixes, 2023)" in bug


def test_a_mismatch_says_all_it_takes_to_judge_it() -> None:
    wrong = section(render_markdown(samples.troubled()), "### `hole/write`")
    for line in (
        "**mismatch** on `debian-6.12,m68k` (confirmed)",
        "- expected: `SIGSEGV/SEGV_MAPERR @exact`",
        "- observed: `SIGSEGV/SEGV_ACCERR @exact`",
        "- `SIGSEGV/SEGV_ACCERR @exact` (m68k on debian-6.12): expected "
        "`SIGSEGV/SEGV_MAPERR @exact` because every arch sends the same",
        "- declared: `expectations/hole.yaml:12`",
        "- repeat: `faultline run hole/write --arch m68k --kernel debian-6.12`",
        "```text",
    ):
        assert f"\n{line}\n" in wrong


def test_a_lost_cell_hides_no_divergence() -> None:
    report = render_markdown(samples.troubled())
    assert "`memfd_create: ENOSYS`" in section(report, "## Not observed")
    eof = section(section(report, "## Expected divergences"), "### `file/eof-read`")
    assert "|  | alpha on debian-6.1 | infra |" in eof


def test_what_is_lost_alike_in_several_columns_is_one_row() -> None:
    lost = section(render_markdown(samples.lost_alike()), "## Not observed")
    assert re.findall(r"^\| `.*", lost, flags=re.M) == [
        "| `alpha` | infra | `memfd_create: ENOSYS` | 2 | `hole/read` |",
        "| `arm64, m68k, x86_64` | infra | `memfd_create: ENOSYS` | 6 | `hole/read` |",
    ]


def test_kernels_compared() -> None:
    body = section(render_markdown(samples.sample()), "## Kernels compared")
    assert "| scenario | arches | debian-6.1 | debian-6.12 |" in body
    assert (
        "| `retry/kill-in-read` | alpha, m68k | `hang(unkillable, spin-kernel)` (known-bug) "
        "| `killed(SIGKILL)` |" in body
    )


def test_agreement_is_compact_and_not_applicable_has_causes() -> None:
    report = render_markdown(samples.sample())
    assert "- `SIGSEGV/SEGV_MAPERR @exact`: `hole/read`, `hole/write`\n" in report
    assert "| `uaccess/noncanonical` | m68k | `32-bit addresses` |" in report


def test_empty_and_interrupted() -> None:
    assert "**0 scenarios on 0 columns: nothing.**" in render_markdown(Results())
    found = samples.sample()
    found.ends.clear()
    found.damaged.append("results.jsonl:9: torn")
    report = render_markdown(found)
    assert "- **Note:** run r1 was interrupted: it has no end record" in report
    assert "- **Note:** damaged line, not read: results.jsonl:9: torn" in report


@pytest.mark.parametrize(
    ("content", "span"),
    [
        ("ok", "`ok`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("<script>", "`<script>`"),
        ("a\n# b", "`a # b`"),
        ("", ""),
    ],
)
def test_code_cannot_be_left(content: str, span: str) -> None:
    assert code(content) == span


@pytest.mark.parametrize(
    ("content", "escaped"),
    [
        ("do_sigbus in VM_FAULT_RETRY", "do_sigbus in VM_FAULT_RETRY"),
        ("_it_ **b** [x](y) `c`", r"\_it\_ \*\*b\*\* \[x\](y) \`c\`"),
        ("<img src=x> & co", "&lt;img src=x&gt; &amp; co"),
        ("ask @exact or @touch+1", "ask `@exact` or `@touch+1`"),
    ],
)
def test_prose_is_no_markdown(content: str, escaped: str) -> None:
    assert prose(content) == escaped


def test_a_fence_cannot_be_closed_from_inside() -> None:
    assert list(fence(["a", "````", "b"])) == ["`````text", "a", "````", "b", "`````", ""]


@given(st.text(max_size=30))
def test_a_table_row_keeps_its_cells(content: str) -> None:
    row = list(table(("a", "b"), [[code(content), prose(content)]]))[2]
    # As GitHub reads it: a backslash escapes what follows, a bare pipe ends the cell.
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.search(r"\\\\\|", row)


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_any_text_stays_in_its_place(evil: str) -> None:
    check_structure(render_markdown(hostile_results(evil)))


@pytest.mark.parametrize("evil", [HOSTILE, "```\n# x", "a|b\\|c", "<!--", "\n\n## x", "](x)<b>"])
def test_hostile_text_stays_in_its_place(evil: str) -> None:
    check_structure(render_markdown(hostile_results(evil)))


def check_structure(report: str) -> None:
    """Only our headings, tables as wide as their header, fences in pairs."""
    known = {"Columns", "Not as expected", "Not observed", "Stale evidence", "Known bugs"}
    known |= {"Kernels compared", "Expected divergences", "All agree"}
    assert all(char.isprintable() or char == "\n" for char in report)
    outside, fenced, width = [], "", 0
    for line in report.splitlines():
        if fenced:
            fenced = "" if line == fenced else fenced
        elif line.startswith("```"):
            fenced = line.removesuffix("text")
        else:
            outside.append(line)
    assert not fenced
    for line in outside:
        pipes = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("| ") else 0
        assert not pipes or not width or pipes == width
        width = pipes
        if line.startswith("## "):
            assert line[3:] in known
    assert Verdict.MISMATCH.value in report
