"""The report as JUnit XML: a column is a test suite, a cell a test case.

A mismatch is a failure; what nobody predicted, what rests on stale evidence and what could not
be observed is an error. A known bug is skipped, with its reference: it neither passed nor is it
news. XML has no way to write most control characters, so `text.clean` has made all of them
visible before the writer sees them.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

from harness import text
from harness.report import words
from harness.report.model import Column, Report, build
from harness.results import ResultRecord, Results, Verdict

_ERRORS = {Verdict.NO_EXPECTATION, Verdict.INFRA, Verdict.MISSING}


def render_junit(results: Results) -> str:
    """The whole report, one XML document."""
    report = build(results)
    root = xml.Element("testsuites", name="faultline")
    for column in report.columns:
        _suite(root, report, column)
    if report.notes:
        notes = "\n".join(text.clean(note, text.PROSE_LIMIT) for note in report.notes)
        # No element is meant for what concerns all suites; two hyphens would end a comment.
        root.append(xml.Comment("\n" + re.sub("-(?=-)", "- ", notes) + "\n"))
    xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(root, "unicode") + "\n"


def _suite(root: xml.Element, report: Report, column: Column) -> None:
    cells = [s.cells[column.id] for s in report.scenarios if column.id in s.cells]
    suite = xml.SubElement(root, "testsuite", name=text.clean(column.id))
    properties = xml.SubElement(suite, "properties")
    facts = {"kernel": column.record.version, "release": column.record.release}
    for name, value in {**facts, **column.record.provenance}.items():
        value = text.clean(value, text.PROSE_LIMIT)
        xml.SubElement(properties, "property", name=text.clean(name), value=value)
    for cell in cells:
        _case(suite, cell)
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(cells)))
    suite.set("time", f"{sum(cell.observation.ms for cell in cells) / 1000:.3f}")


def _case(suite: xml.Element, cell: ResultRecord) -> None:
    case = xml.SubElement(
        suite,
        "testcase",
        classname=text.clean(cell.column),
        name=text.clean(cell.scenario),
        time=f"{cell.observation.ms / 1000:.3f}",
    )
    stale = [item for item in cell.evidence if item.status == "stale"]
    if cell.verdict is Verdict.MISMATCH:
        _trouble(case, "failure", "mismatch", cell)
    elif cell.verdict in _ERRORS:
        _trouble(case, "error", cell.verdict.value, cell)
    elif stale:
        _trouble(case, "error", "stale evidence", cell)
    elif cell.verdict in (Verdict.NOT_APPLICABLE, Verdict.NOT_RUN):
        xml.SubElement(case, "skipped", message=words.observed(cell))
    elif cell.verdict is Verdict.KNOWN_BUG:
        message = f"known bug: {words.observed(cell)}; {text.clean(cell.bug)}"
        xml.SubElement(case, "skipped", message=message)
    said = "fixed: amend the row" if cell.verdict is Verdict.FIXED else cell.verdict.value
    out = [f"{said}: {words.observed(cell)}", words.because(cell)]
    out += [text.clean(line) for line in cell.observation.console]
    xml.SubElement(case, "system-out").text = "\n".join(filter(None, out))


def _trouble(case: xml.Element, tag: str, kind: str, cell: ResultRecord) -> None:
    message = f"expected {words.expected(cell)}, observed {words.observed(cell)}"
    told = [
        ("observed", words.observed(cell)),
        ("run again", text.clean(cell.confirmation)),
        ("expected", words.expected(cell)),
        ("because", text.clean(cell.because, text.PROSE_LIMIT)),
        *(("evidence", f"{words.place(e)}: {text.clean(e.text)}") for e in cell.evidence),
        ("declared", text.clean(cell.declared)),
        ("repeat", text.clean(cell.repeat, text.PROSE_LIMIT)),
    ]
    trouble = xml.SubElement(case, tag, type=kind, message=message)
    trouble.text = "\n".join(f"{name:10} {value}" for name, value in told if value)
