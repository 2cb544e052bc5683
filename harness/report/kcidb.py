"""The report as KCIDB submission data, schema 5.3 (https://docs.kernelci.org/kcidb/).

A column is a build of a checkout, a cell a test run. A known bug is a FAIL with an incident of
the issue that its row names, which is how KCIDB tells known failures from news; `fixed` is a
PASS with an incident that says the issue is absent.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from harness import text
from harness.report import words
from harness.report.model import Column, build
from harness.results import ColumnRecord, ResultRecord, Results, Verdict

ORIGIN = "faultline"  # of the submitter; KCIDB hands out names, and this one is a stand-in
_LOG_LIMIT = 16384  # characters, by the schema
_BUILD = "build: "  # what the failure of a cell begins with whose kernel did not build

Object = dict[str, Any]

_STATUS = {
    Verdict.MATCH: "PASS",
    Verdict.FIXED: "PASS",
    Verdict.KNOWN_BUG: "FAIL",
    Verdict.MISMATCH: "FAIL",
    Verdict.NO_EXPECTATION: "DONE",  # observed, and nobody can say whether it is right
    Verdict.NOT_APPLICABLE: "SKIP",
    Verdict.NOT_RUN: "SKIP",
    Verdict.INFRA: "ERROR",
    Verdict.MISSING: "MISS",
}


def render_kcidb(results: Results) -> str:
    """The whole report, one JSON document."""
    report = build(results)
    started = {run.run_id: run.started for run in report.runs if run.started}
    checkouts: dict[str, Object] = {}
    builds, tests, incidents = [], [], []
    issues: dict[str, Object] = {}
    for column in report.columns:
        cells = [s.cells[column.id] for s in report.scenarios if column.id in s.cells]
        checkout = _checkout(column.record)
        checkouts[checkout["id"]] = checkout
        builds.append(_build(column, checkout["id"], cells))
        for cell in cells:
            test = _test(column, cell, started.get(cell.run_id, ""))
            tests.append(test)
            if cell.bug and cell.verdict in (Verdict.KNOWN_BUG, Verdict.FIXED):
                issue = _issue(cell)
                issues[issue["id"]] = issue
                incidents.append(_incident(issue, test, cell.verdict is Verdict.KNOWN_BUG))
    data = {
        "version": {"major": 5, "minor": 3},
        "checkouts": list(checkouts.values()),
        "builds": builds,
        "tests": tests,
        "issues": list(issues.values()),
        "incidents": incidents,
    }
    return json.dumps({name: part for name, part in data.items() if part}, indent=1) + "\n"


def _checkout(record: ColumnRecord) -> Object:
    facts = record.provenance
    source = facts.get("source", record.kernel)
    patches = facts.get("patches", "")
    return {
        "id": _id("checkout", source, facts.get("source_sha256", record.version), patches),
        "origin": ORIGIN,
        "comment": _text(f"{source}, {record.version}".strip(", ")),
        "valid": True,
        "misc": {"kernel": _text(record.kernel), "patches": _text(patches)},
    }


def _build(column: Column, checkout: str, cells: list[ResultRecord]) -> Object:
    record, facts = column.record, column.record.provenance
    broken = bool(cells) and all(c.observation.failure.startswith(_BUILD) for c in cells)
    build: Object = {
        "id": _build_id(record),
        "checkout_id": checkout,
        "origin": ORIGIN,
        "architecture": re.sub(r"[^a-z0-9_]", "_", record.arch.lower()),
        "compiler": _text(facts.get("compiler", "")),
        "config_name": _text(record.flavour),
        "comment": _text(record.column),
        "status": "FAIL" if broken else "PASS",
        "misc": {_text(name): _text(value) for name, value in facts.items()},
    }
    if broken:
        build["log_excerpt"] = _text(cells[0].observation.failure)
    if "build_kernel" in record.timings:
        build["duration"] = record.timings["build_kernel"]
    return build


def _test(column: Column, cell: ResultRecord, started: str) -> Object:
    seen, facts = cell.observation, column.record.provenance
    machine = " ".join(facts.get(key, "") for key in ("machine", "accel", "cpu")).split()
    qemu = [f"QEMU {facts['qemu']}"] if "qemu" in facts else [column.record.target]
    test: Object = {
        "id": f"{ORIGIN}:test-{_text(cell.run_id)}:{_text(cell.column)}:{_text(cell.scenario)}",
        "build_id": _build_id(column.record),
        "origin": ORIGIN,
        "path": ".".join([ORIGIN, *(_node(part) for part in cell.scenario.split("/"))]),
        "comment": f"{cell.verdict.value}: {words.observed(cell)}",
        "status": _status(cell),
        "environment": {"comment": _text(" ".join([*qemu, *machine]))},
        "misc": {
            "verdict": cell.verdict.value,
            "outcome": _text(seen.outcome),
            "expected": [_text(outcome) for outcome in cell.expected],
            "because": _text(cell.because),
            "evidence": [words.place(item) for item in cell.evidence],
            "repeat": _text(cell.repeat),
        },
    }
    if seen.ms:
        test["duration"] = seen.ms / 1000
    if started:
        test["start_time"] = started
    if log := "\n".join(map(text.clean, seen.console)):
        test["log_excerpt"] = log[-_LOG_LIMIT:]
    return test


def _status(cell: ResultRecord) -> str:
    """A test that rests on a line which is gone has failed itself, whatever it saw."""
    passed = cell.verdict in (Verdict.MATCH, Verdict.FIXED, Verdict.NOT_APPLICABLE)
    if passed and any(item.status == "stale" for item in cell.evidence):
        return "ERROR"
    if cell.verdict is Verdict.INFRA and not cell.observation.alive:
        return "MISS"  # the machine was lost: the test did not run
    return _STATUS[cell.verdict]


def _issue(cell: ResultRecord) -> Object:
    return {
        "id": _id("issue", cell.bug, cell.want),
        "version": 1,
        "origin": ORIGIN,
        "report_subject": _text(cell.bug),
        "culprit": {"code": True, "tool": False, "harness": False},
        "comment": f"{_text(cell.because)} (a correct kernel: {_text(cell.want)})",
    }


def _incident(issue: Object, test: Object, present: bool) -> Object:
    return {
        "id": _id("incident", issue["id"], test["id"]),
        "origin": ORIGIN,
        "issue_id": issue["id"],
        "issue_version": issue["version"],
        "test_id": test["id"],
        "present": present,
    }


def _build_id(record: ColumnRecord) -> str:
    return f"{ORIGIN}:build-{_text(record.run_id)}:{_text(record.column)}"


def _id(kind: str, *parts: str) -> str:
    """The same for the same parts, in every submission."""
    digest = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()
    return f"{ORIGIN}:{kind}-{digest[:32]}"


def _node(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name) or "_"


def _text(content: str) -> str:
    return text.clean(content, text.PROSE_LIMIT)
