"""The reference under docs/ names every field, key, verdict, format and command there is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from harness.catalog import arches, kernels, needs, rows
from harness.catalog.outcome import EFFECTS, HANG_STATES, PROPERTIES
from harness.cli.common import EXIT_CODES
from harness.report.formats import FORMATS
from harness.results import (
    ColumnRecord,
    EndRecord,
    Evidence,
    Observation,
    ResultRecord,
    RunRecord,
    Verdict,
)

DOCS = Path(__file__).parents[2] / "docs"


def words(page: str) -> set[str]:
    """What stands in code spans."""
    spans = re.findall(r"`([^`]+)`", (DOCS / page).read_text())
    return {word for span in spans for word in re.findall(r"[\w-]+", span)}


@pytest.mark.parametrize(
    "record", [RunRecord, ColumnRecord, ResultRecord, EndRecord, Observation, Evidence]
)
def test_every_field_of_a_record(record: type[msgspec.Struct]) -> None:
    fields = {field.name for field in msgspec.structs.fields(record)} - {"run_id"}
    assert not (fields) - words("results.md"), "say it in docs/results.md"


def test_every_verdict_and_exit_code() -> None:
    assert not ({verdict.value for verdict in Verdict}) - words("results.md"), (
        "say it in docs/results.md"
    )
    codes = set(re.findall(r"^  (\d+(?:, \d+)*)  ", EXIT_CODES, re.M))
    assert codes == set(re.findall(r"^\| ([\d, ]+) \|", (DOCS / "results.md").read_text(), re.M))


def test_every_format_of_a_report() -> None:
    assert not (set(FORMATS)) - words("reports.md"), "say it in docs/reports.md"


def test_every_key_of_an_arch() -> None:
    assert not ({"base", *arches._READERS}) - words("declarations.md"), (
        "say it in docs/declarations.md"
    )


def test_every_source_of_a_kernel() -> None:
    assert not (set(kernels._SOURCES) - {"git"}) - words("declarations.md"), (
        "say it in docs/declarations.md"
    )


def test_every_key_of_a_row() -> None:
    sources = [Path(module.__file__).read_text() for module in (rows, needs)]
    keys = set(re.findall(r'fields\["(\w+)"\]', "".join(sources)))
    assert keys > {"arch", "kernel", "outcome", "because", "page_size", "qemu", "disk", "module"}
    assert not (set(needs.DISKS)) - words("declarations.md"), "say it in docs/declarations.md"
    assert not (keys) - words("declarations.md"), "say it in docs/declarations.md"


def test_every_form_of_an_outcome() -> None:
    named = words("outcomes.md")
    assert {*PROPERTIES, *EFFECTS, *HANG_STATES} <= named
    assert {"short", "killed", "exit", "hang", "oops", "panic", "warn", "silent", "lost"} <= named


def test_links_between_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name}: {link}"


def test_what_is_said_to_prove_something_is_there() -> None:
    """Tests by file or name, and scenarios that mean harm."""
    text = (DOCS / "proof.md").read_text()
    sources = {path.name: path.read_text() for path in DOCS.parent.glob("tests/*/test_*.py")}
    files = set(re.findall(r"test_\w+\.py", text))
    assert len(files) > 10
    assert {name for name in files if name not in sources} == set()
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {name}(" in source for source in sources.values()), name
    hostile = (DOCS.parent / "tests" / "real" / "hostile" / "hostile.c").read_text()
    for name in re.findall(r"`hostile/([a-z-]+)", text):
        assert f"void hostile_{name.replace('-', '_')}" in hostile, name


def test_tables_are_in_one_piece() -> None:
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for table in re.findall(r"(?<!\|\n)(?:^\|.*\n)+", page.read_text(), re.M):
            assert re.match(r".*\n\|[ |:-]+\n", table), f"{page.name}: a row without head: {table}"


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_ready_made_ci_has_a_job_for_each_arch(name: str) -> None:
    text = (DOCS.parent / "ci" / name / "matrix.yml").read_text()
    listed = re.search(r"(?i)arch: \[(.*)\]", text)
    plain = {
        path.stem
        for path in (DOCS.parent / "arches").glob("*.yaml")
        if not re.search("^base:", path.read_text(), re.M)
    }
    assert listed and set(listed[1].split(", ")) == plain
