"""What is known of a run of somebody else's program, as JSON, JUnit XML or KTAP.

The program itself is a case behind those that it told of: it may fail though all of them passed
(a signal, a plan that was not kept), and what was never told has no case of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as xml

import msgspec

from harness import text
from harness.program_record import ProgramRecord, Status
from harness.report import words

_TAGS = {
    Status.FAIL: "failure",
    Status.BROKEN: "error",
    Status.INFRA: "error",
    Status.SKIP: "skipped",
    Status.TODO: "skipped",
}
_KTAP = {  # word, directive
    Status.PASS: ("ok", ""),
    Status.FAIL: ("not ok", ""),
    Status.SKIP: ("ok", "SKIP"),
    Status.TODO: ("not ok", "TODO"),
    Status.BROKEN: ("not ok", "ERROR"),
    Status.INFRA: ("not ok", "ERROR"),
}


def render_program(record: ProgramRecord, suffix: str) -> str:
    """The record in the format that a file of this suffix has; JSON unless .xml, .ktap, .tap."""
    if suffix == ".xml":
        return _junit(record)
    if suffix in (".ktap", ".tap"):
        return "\n".join(_ktap(record)) + "\n"
    return msgspec.json.format(msgspec.json.encode(record)).decode() + "\n"


def _cases(record: ProgramRecord) -> Iterator[tuple[str, Status, str]]:
    """(name, status, note) of each that was kept, all of it fit to be shown."""
    for case in record.cases:
        name = text.clean(case.name, text.PROSE_LIMIT) or "unnamed"
        yield name, case.status, text.clean(case.note, text.PROSE_LIMIT)


def _name(record: ProgramRecord) -> str:
    return text.clean(" ".join([record.program, *record.arguments]), text.PROSE_LIMIT)


def _left_out(record: ProgramRecord) -> str:
    more = sum(record.totals.values()) - len(record.cases)
    return f"{words.plural(more, 'case')} more, not kept" if more > 0 else ""


def _junit(record: ProgramRecord) -> str:
    column, name = text.clean(record.column), _name(record)
    root = xml.Element("testsuites", name="faultline")
    suite = xml.SubElement(root, "testsuite", name=f"{column} {name}")
    properties = xml.SubElement(suite, "properties")
    facts = {"kernel": record.version, "release": record.release, "form": record.form}
    for key, value in {**facts, **record.provenance}.items():
        told = text.clean(value, text.PROSE_LIMIT)
        xml.SubElement(properties, "property", name=text.clean(key), value=told)
    for case, status, note in _cases(record):
        _case(suite, name, case, status, note or case)  # some readers show nothing but the message
    reason = "; ".join(filter(None, (text.clean(record.reason, 300), _left_out(record))))
    whole = _case(suite, column, name, record.status, reason)
    whole.set("time", f"{record.ms / 1000:.3f}")
    found = [f"{key}: {value}" for key, value in sorted(record.details.items())]
    lines = [text.clean(line) for line in [*found, *record.console]]
    xml.SubElement(whole, "system-out").text = "\n".join(lines)
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(root, "unicode") + "\n"


def _case(suite: xml.Element, group: str, name: str, status: Status, note: str) -> xml.Element:
    case = xml.SubElement(suite, "testcase", classname=group, name=name)
    if tag := _TAGS.get(status):
        xml.SubElement(case, tag, message=f"{status.value}: {note}" if note else status.value)
    return case


def _ktap(record: ProgramRecord) -> Iterator[str]:
    cases = list(_cases(record))
    yield from ("KTAP version 1", "1..1")
    if cases:
        yield from ("  KTAP version 1", f"  # Subtest: {_plain(_name(record))}")
        yield f"  1..{len(cases)}"
    for number, (name, status, note) in enumerate(cases, 1):
        yield from (f"  {line}" for line in _result(number, name, status, note))
    if left_out := _left_out(record):
        yield f"# {left_out}"
    yield from _result(1, _name(record), record.status, text.clean(record.reason, 300))


def _result(number: int, name: str, status: Status, note: str) -> Iterator[str]:
    """A result line; a note that it has no directive for stands in front, as diagnostics do."""
    word, directive = _KTAP[status]
    if note and not directive:
        yield f"# {status.value}: {note}"
    told = f" # {directive} {note}".rstrip() if directive else ""
    yield f"{word} {number} {_plain(name)}{told}"


def _plain(name: str) -> str:
    """A description ends at a hash sign; one that began with a dash would lose it."""
    return re.sub(r"#|^-", "_", name)
