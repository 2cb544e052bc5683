"""What exec read, written again: JUnit that adds up, KTAP that reads as it was read, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as xml

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.program_record import SCHEMA, CaseRecord, ProgramRecord, Status
from harness.report.program import render_program
from harness.run.program import Program, environment_of
from harness.run.suite import Reading
from harness.run.tally import End

CASES = [
    {"name": "a # one", "status": "pass"},
    {"name": "- b", "status": "fail", "note": "\x1b[31mbad"},
    {"name": "c", "status": "skip", "note": "no memory"},
    {"name": "d", "status": "todo"},
    {"name": "", "status": "broken", "note": "TBROK"},
]
DOCS = Path(__file__).parents[2] / "docs"
RECORD = ProgramRecord(
    schema=SCHEMA, program="./test", arguments=["two words"], column="debian-6.12,m68k",
    arch="m68k", kernel="debian-6.12", status=Status.FAIL, reason="first: b", form="ktap",
    totals={"pass": 1, "fail": 1, "skip": 1, "todo": 1, "broken": 1},
    cases=msgspec.convert(CASES, list[CaseRecord]), exit_code=1,
    console=["a line ]]> of it"], details={"wchan": "do_wait"}, ms=1500,
)  # fmt: skip


def test_junit_adds_up_and_the_program_is_a_case() -> None:
    suite = xml.fromstring(render_program(RECORD, ".xml")).findall("testsuite")[0]
    counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["6", "2", "1", "2"]
    whole = suite.findall("testcase")[-1]
    assert (whole.get("name"), whole.get("time")) == ("./test two words", "1.500")
    assert whole.find("failure") is not None
    assert whole.findtext("system-out") == "wchan: do_wait\na line ]]> of it"
    assert "\x1b" not in render_program(RECORD, ".xml")


def test_a_failure_without_a_note_is_named_by_its_description() -> None:
    record = msgspec.structs.replace(RECORD, cases=[CaseRecord("b", Status.FAIL)])
    failure = next(xml.fromstring(render_program(record, ".xml")).iter("failure"))
    assert failure.get("message") == "fail: b"


@pytest.mark.parametrize("suffix", [".ktap", ".tap"])
def test_ktap_reads_as_what_was_read(suffix: str) -> None:
    reading = Reading()
    reading.feed("stdout", render_program(RECORD, suffix).encode())
    found = reading.judge(End(code=1))
    assert found.status.value == "fail"
    assert [case.status.value for case in found.cases] == ["pass", "fail", "skip", "todo", "fail"]
    assert found.cases[0].name == "a _ one"


def test_a_program_that_fails_though_all_cases_passed() -> None:
    cases = [CaseRecord("a", Status.PASS)]
    record = msgspec.structs.replace(
        RECORD, cases=cases, totals={"pass": 7}, reason="killed by SIGSEGV"
    )
    suite = xml.fromstring(render_program(record, ".xml")).findall("testsuite")[0]
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "fail: killed by SIGSEGV; 6 cases more, not kept"
    lines = render_program(record, ".ktap").splitlines()
    assert lines[-3:] == [
        "# 6 cases more, not kept", "# fail: killed by SIGSEGV", "not ok 1 ./test two words",
    ]  # fmt: skip


def test_a_note_of_a_failed_case_stands_before_it() -> None:
    lines = render_program(RECORD, ".ktap").splitlines()
    assert lines[lines.index("  not ok 2 _ b") - 1] == "  # fail: \\x1b[31mbad"
    forged = msgspec.structs.replace(RECORD, reason="Totals: pass:9 fail:0")
    reading = Reading()
    reading.feed("stdout", render_program(forged, ".ktap").encode())
    assert reading.judge(End(code=1)).status is Status.FAIL


def test_where_lines_summary_and_exit_status_disagree_each_format_says_so() -> None:
    reading = Reading()
    reading.feed("stderr", b"a.c:1: TPASS: x\nSummary:\npassed 1\nfailed 0\nbroken 0\n")
    found = reading.judge(End(code=1))
    told = "exit status 1: TFAIL, which its lines and its summary do not tell of"
    assert (found.status, found.reason) == (Status.FAIL, told)
    record = msgspec.structs.replace(
        RECORD, form=found.form, status=found.status, reason=found.reason, totals=found.totals,
        cases=found.cases,
    )  # fmt: skip
    (failure,) = xml.fromstring(render_program(record, ".xml")).iter("failure")
    assert failure.get("message") == f"fail: {told}"
    assert render_program(record, ".ktap").splitlines()[-2:] == [
        f"# fail: {told}", "not ok 1 ./test two words",
    ]  # fmt: skip
    assert json.loads(render_program(record, ".json"))["reason"] == told


def test_json_is_the_record() -> None:
    told = json.loads(render_program(RECORD, ".json"))
    assert told["cases"] == CASES
    jsonschema.validate(told, json.loads((DOCS / "program.schema.json").read_text()))
    assert render_program(RECORD, "") == render_program(RECORD, ".json")


def test_nothing_known_is_an_error() -> None:
    record = msgspec.structs.replace(RECORD, status=Status.INFRA, cases=[], totals={})
    suite = xml.fromstring(render_program(record, ".xml")).findall("testsuite")[0]
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    assert render_program(record, ".tap").splitlines()[-1].startswith("not ok 1 ./test two words #")


@pytest.mark.parametrize("command", [("report", "--results"), ("diff",)])
def test_one_program_is_no_run_of_the_matrix(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Said once, not as a damaged line for each line of the file."""
    path = tmp_path / "exec.json"
    path.write_text(render_program(RECORD, ".json"))
    rest = [str(path)] if command == ("diff",) else []
    done = CliRunner().invoke(main, [*command, str(path), *rest])
    assert done.exit_code == 2
    assert "what `faultline exec` or `compare` says of one program" in done.output
    assert len(done.output.splitlines()) < 6


def test_what_programs_find_in_their_environment() -> None:
    plain = environment_of(Program(path=Path("x")))
    assert "LTP_DEV" not in plain and plain["LTPROOT"] == "/work"
    disk = environment_of(Program(path=Path("x"), disk=64, environment={"LTPROOT": "/opt"}))
    assert (disk["LTP_DEV"], disk["LTPROOT"]) == ("/dev/vda", "/opt")
