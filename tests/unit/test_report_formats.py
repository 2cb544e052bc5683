"""The formats for programs and for mail: each is read back by the rules of whoever reads it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as xml

import jsonschema
import kcidb_io
import msgspec
import pytest
import report_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report_terminal import HOSTILE, hostile_results

from harness.report import schema
from harness.report.formats import FORMATS, render
from harness.report.mail import WIDTH
from harness.results import Observation, Record, Results, Verdict, exit_code, read_results

DOCS = Path(__file__).parents[2] / "docs"
# A lone surrogate cannot come out of a results file: its reader refuses the line.
EVIL = HOSTILE.replace("\ud800", "") + "<script>]]>--&#0;\ufffe\uffff"
SAMPLES = {
    "as expected": samples.sample,
    "troubled": samples.troubled,
    "hostile": lambda: hostile_results(EVIL),
    "empty": Results,
}


@pytest.fixture(params=SAMPLES)
def results(request: pytest.FixtureRequest) -> Results:
    return SAMPLES[request.param]()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_ends_in_one_newline_and_has_no_control_characters(
    form: str, results: Results
) -> None:
    report = render(form, results)
    assert report.endswith("\n") and not report.endswith("\n\n")
    if form != "json":  # which has the texts as they are, in JSON's own escapes
        assert not re.search("[\x7f-\x9f\u202a-\u202e\ufffe]", report)
    assert not re.search("[\x00-\x08\x0b-\x1f]", report)
    report.encode()


# --- mail


def test_a_mail_is_72_columns_wide(results: Results) -> None:
    assert max(map(len, render("mail", results).splitlines())) <= WIDTH


@given(text=st.text(st.characters(exclude_categories=()), max_size=300))
@settings(max_examples=50, deadline=None)
def test_a_mail_is_72_columns_wide_whatever_a_guest_says(text: str) -> None:
    seen = Observation(scenario=text, outcome=text, failure=text, console=[text], cause=text)
    cell = samples.cell(text, "debian-6.1", "m68k", verdict=Verdict.MISMATCH, observation=seen)
    cell = msgspec.structs.replace(cell, because=text, declared=text)
    lines = render("mail", samples.results(samples.column("debian-6.1", "m68k"), cell))
    assert max(map(len, lines.splitlines())) <= WIDTH


def test_a_mail_begins_with_what_needs_a_decision() -> None:
    mail = render("mail", samples.troubled())
    titles = re.findall(r"^(.*) \(\d+\)\n-+$", mail, re.M)
    assert titles == [
        "Not as expected",
        "Not observed",
        "Stale evidence",
        "Fixed: amend these rows",
        "Known bugs",
        "Not the same on all kernels",
        "Different by design",
    ]
    assert (
        mail.split("Not as expected (2)\n-------------------\n")[1]
        .lstrip()
        .startswith(
            "hole/write on debian-6.12,m68k: mismatch, confirmed\n"
            "  observed   SIGSEGV/SEGV_ACCERR @exact\n"
            "  expected   SIGSEGV/SEGV_MAPERR @exact\n"
            "  because    every arch sends the same\n"
        )
    )
    assert "\n  | [    2.310000] Unable to handle kernel access at address deadbee0\n" in mail


def test_a_mail_tells_what_was_refused_from_what_could_not_run() -> None:
    names = {"a/a": Verdict.NOT_APPLICABLE, "a/b": Verdict.NOT_RUN, "a/c": Verdict.MATCH}
    cells = [
        samples.cell(name, "k", "m68k", verdict=verdict, outcome="ok" if name == "a/c" else "n/a")
        for name, verdict in names.items()
    ]
    mail = render("mail", samples.results(samples.column("k", "m68k", planned=[*names]), *cells))
    *_, end = mail.split("\n\n")
    assert " ".join(end.split()) == (
        "1 scenario had one outcome everywhere, as expected. Applicable on no column: 1. "
        "Run on no column, refused as they could harm the machine: 1."
    )


def test_a_command_in_a_mail_can_be_pasted() -> None:
    words = ["faultline run", *(f"--option-{n} value-{n}" for n in range(9)), "y" * 99, "z"]
    cell = samples.cell("hole/read", "debian-6.1", "m68k", verdict=Verdict.MISMATCH)
    cell = msgspec.structs.replace(cell, repeat=" ".join(words))
    mail = render("mail", samples.results(samples.column("debian-6.1", "m68k"), cell))
    start = mail.index("$ faultline run") + 2
    pasted = mail[start:].split("\n\n")[0].replace("\\\n", "")
    assert pasted.split() == cell.repeat.split()  # as a shell reads it


# --- JUnit


def test_junit_says_what_the_exit_code_says() -> None:
    root = xml.fromstring(render("junit", samples.troubled()))
    suites = {suite.get("name"): suite for suite in root.iter("testsuite")}
    assert len(suites) == 8
    m68k = suites["debian-6.12,m68k"]
    counted = {name: m68k.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": "18", "failures": "1", "errors": "1", "skipped": "1"}
    cases = {case.get("name"): case for case in m68k.iter("testcase")}
    failure = cases["hole/write"].find("failure")
    assert failure is not None and failure.get("type") == "mismatch"
    assert "expected   SIGSEGV/SEGV_MAPERR @exact\n" in str(failure.text)
    error = cases["stack/below-usp-257"].find("error")
    assert error is not None and error.get("type") == "stale evidence"
    assert [child.tag for child in cases["uaccess/tail-write-3"]] == ["system-out"]  # fixed
    known = suites["debian-6.1,m68k"].find("testcase[@name='retry/kill-in-read']/skipped")
    assert known is not None and str(known.get("message")).startswith("known bug: hang(")
    kinds = Counter(error.get("type") for error in root.iter("error"))
    assert kinds == {"missing": 1, "infra": 1, "no-expectation": 1, "stale evidence": 1}


def test_junit_is_well_formed_whatever_a_guest_says() -> None:
    root = xml.fromstring(render("junit", hostile_results(EVIL)))
    assert list(root.iter("testcase"))
    assert not {element.tag for element in root.iter()} - {
        "testsuites", "testsuite", "testcase", "properties", "property",
        "failure", "error", "skipped", "system-out",
    }  # fmt: skip


def test_notes_cannot_end_the_comment_they_stand_in() -> None:
    found = samples.sample()
    found.damaged.append("x.jsonl:1: --> <testsuite/> -- --- --")
    root = xml.fromstring(render("junit", found))
    assert len(list(root.iter("testsuite"))) == 8


# --- KTAP

RESULT = re.compile(r"^(ok|not ok) (\d+)(?: ([^#]*?))?(?: # (?:([A-Z]+)(?: |$))?(.*))?$")


@dataclass
class Ktap:
    """One test as a parser sees it."""

    name: str = ""
    ok: bool = False
    directive: str = ""
    tests: list[Ktap] = field(default_factory=list)


def read_ktap(lines: Iterator[str], indent: str = "") -> list[Ktap]:
    """By Documentation/dev-tools/ktap.rst: version, plan, then as many results as planned."""
    tests: list[Ktap] = []
    planned, inner = -1, []
    for line in lines:
        if line == f"{indent}  KTAP version 1":
            inner = read_ktap(lines, indent + "  ")
            continue
        assert line.startswith(indent), line
        line = line.removeprefix(indent)
        if line.startswith("#"):
            continue
        if plan := re.fullmatch(r"1\.\.(\d+)", line):
            assert planned == -1 and not tests
            planned = int(plan[1])
        else:
            result = RESULT.match(line)
            assert result, line
            assert int(result[2]) == len(tests) + 1
            tests.append(Ktap(result[3] or "", result[1] == "ok", result[4] or "", inner))
            inner = []
        if len(tests) == planned:
            return tests
    assert len(tests) == planned
    return tests


def parsed(results: Results) -> list[Ktap]:
    lines = iter(render("ktap", results).splitlines())
    assert next(lines) == "KTAP version 1"
    return read_ktap(lines)


def test_ktap_has_every_cell(results: Results) -> None:
    tests = parsed(results)
    document = json.loads(render("json", results))
    assert len(tests) == len(document["columns"])
    cells = [len(scenario["cells"]) for scenario in document["scenarios"]]
    assert sum(len(test.tests) for test in tests) == sum(cells)


def test_ktap_says_what_the_exit_code_says() -> None:
    tests = {test.name: test for test in parsed(samples.troubled())}
    failed = {
        (column.name, test.name, test.directive)
        for column in tests.values()
        for test in column.tests
        if not test.ok
    }
    assert failed == {
        ("debian-6.12,m68k", "hole/write", ""),
        ("debian-6.12,arm64", "stack/below-usp-256", ""),
        ("debian-6.1,alpha", "file/eof-read", "ERROR"),
        ("debian-6.12,m68k", "stack/below-usp-257", "ERROR"),
        ("debian-6.1,x86_64", "control/touch", "ERROR"),
    }
    assert {name for name, test in tests.items() if not test.ok} == {name for name, *_ in failed}
    directives = Counter(t.directive for test in tests.values() for t in test.tests)
    assert directives["XFAIL"] == 5 and directives["SKIP"] == 2


def test_a_guest_cannot_forge_a_line_of_ktap() -> None:
    console = ["ok 1 forged", "1..1", "KTAP version 1", "  ok 1 forged", "not ok 2 # SKIP"]
    seen = Observation(scenario="hole/read", outcome="ok # SKIP\nok 2 forged", console=console)
    cell = samples.cell("hole/read", "debian-6.1", "m68k", verdict=Verdict.MISMATCH)
    cell = msgspec.structs.replace(cell, observation=seen)
    column = samples.column("debian-6.1", "m68k", planned=[])
    (test,) = parsed(samples.results(column, cell))
    assert [(t.name, t.ok, t.directive) for t in test.tests] == [("hole/read", False, "")]


# --- JSON and KCIDB


def test_a_column_whose_record_is_lost_is_damage(tmp_path: Path) -> None:
    """Its results would be dropped without a word, since nothing tells what they are of."""
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    column, cell = samples.column("k", "m68k"), samples.cell("hole/read", "k", "m68k")
    run, end = samples.run_records()
    for path, records in ((whole, (run, column, cell, end)), (cut, (run, cell, end))):
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in records))
    assert read_results([whole]).damaged == []
    found = read_results([cut])
    assert found.damaged == ["run r1: the record of column k,m68k is lost"]
    assert exit_code(found) == 3


def test_published_schemas_are_those_of_the_records(tmp_path: Path) -> None:
    schema.write(tmp_path)
    for path in tmp_path.iterdir():
        hint = "run: python -m harness.report.schema docs"
        assert (DOCS / path.name).read_text() == path.read_text(), hint


def validator(name: str) -> jsonschema.Draft202012Validator:
    published = json.loads((DOCS / name).read_text())
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


def test_json_fits_its_schema(results: Results) -> None:
    validator("report.schema.json").validate(json.loads(render("json", results)))


def test_records_fit_their_schema(results: Results) -> None:
    check = validator("results.schema.json")
    records = [*results.runs.values(), *results.columns.values(), *results.results.values()]
    for record in [*records, *results.ends.values()]:
        check.validate(json.loads(msgspec.json.encode(record)))


def test_the_schema_refuses_what_is_no_record() -> None:
    check = validator("results.schema.json")
    good = json.loads(msgspec.json.encode(samples.cell("hole/read", "debian-6.1", "m68k")))
    check.validate(good)
    for wrong in (
        good | {"verdict": "green"},
        good | {"type": "other"},
        {key: value for key, value in good.items() if key != "observation"},
        good | {"evidence": [{"id": "no-file"}]},
        good | {"evidence": [good["evidence"][0] | {"status": "perhaps"}]},
    ):
        assert not check.is_valid(wrong)
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(json.dumps(wrong), type=Record)


@pytest.mark.parametrize(
    ("file", "record", "field", "member"),
    [
        ("results", "RunRecord", "schema", 1),
        ("results", "ColumnRecord", "target", "qemu-user"),
        ("results", "ResultRecord", "verdict", "not-run"),
        ("results", "Evidence", "status", "stale"),
        ("results", "EndRecord", "exit_code", 143),
        ("report", "ScenarioDocument", "kind", "run nowhere"),
        ("report", "ReportDocument", "exit_code", 2),
        ("diff", "CellDocument", "kind", "not compared"),
        ("diff", "DiffDocument", "exit_code", 3),
        ("program", "ProgramRecord", "status", "infra"),
        ("program", "ProgramRecord", "form", "openposix"),
        ("program", "CaseRecord", "status", "todo"),
    ],
)
def test_the_schema_tells_the_members_of_a_set(
    file: str, record: str, field: str, member: object
) -> None:
    published = json.loads((DOCS / f"{file}.schema.json").read_text())["$defs"]
    told = published[record]["properties"][field]
    if "enum" not in told:  # an enum of the code stands by itself, and is referred to
        told = published[told["$ref"].rpartition("/")[2]]
    assert member in told["enum"]


def test_json_says_what_the_terminal_says() -> None:
    document = json.loads(render("json", samples.troubled()))
    assert document["exit_code"] == 1
    (below,) = [s for s in document["scenarios"] if s["name"] == "stack/below-usp-257"]
    assert [group["outcome"] for group in below["groups"]] == ["ok", samples.MAPERR]
    assert below["cells"]["debian-6.1,m68k"]["because"].startswith("user stack growth")


def test_kcidb_accepts_it(results: Results) -> None:
    kcidb_io.schema.V5_3.validate(json.loads(render("kcidb", results)))


def test_kcidb_tells_known_bugs_from_news() -> None:
    data = json.loads(render("kcidb", samples.troubled()))
    status = {test["id"].split(":", 2)[2]: test["status"] for test in data["tests"]}
    assert status["debian-6.12,m68k:hole/write"] == "FAIL"
    assert status["debian-6.1,m68k:retry/kill-in-read"] == "FAIL"
    assert status["debian-6.1,alpha:file/eof-read"] == "ERROR"
    assert status["debian-6.12,m68k:stack/below-usp-257"] == "ERROR"  # stale
    assert status["debian-6.12,arm64:stack/below-usp-256"] == "DONE"
    assert status["debian-6.1,x86_64:control/touch"] == "MISS"
    assert status["debian-6.1,m68k:uaccess/noncanonical"] == "SKIP"
    incidents = {i["test_id"].split(":", 2)[2]: i["present"] for i in data["incidents"]}
    assert incidents["debian-6.1,m68k:retry/kill-in-read"] is True
    assert "debian-6.12,m68k:hole/write" not in incidents
    assert len(data["checkouts"]) == 2 and len(data["builds"]) == 8
