"""The JSON Schemas that docs/ publishes, made of the record types themselves.

`python -m harness.report.schema docs` writes them anew; a test tells when that is due.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.program_record import ComparisonRecord, ProgramRecord
from harness.report.diffjson import DiffDocument
from harness.report.json import ReportDocument
from harness.results import Record

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> schema: of a line of a results file, and of what commands write."""
    return {
        "results.schema.json": _titled("A line of a faultline results file", Record),
        "report.schema.json": _titled("faultline report --format json", ReportDocument),
        "diff.schema.json": _titled("faultline diff --format json", DiffDocument),
        "comparison.schema.json": _titled("faultline compare --results FILE", ComparisonRecord),
        "program.schema.json": _titled("faultline exec --results FILE.json", ProgramRecord),
    }


def _titled(title: str, kind: Any) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": title, **msgspec.json.schema(kind)}


def write(folder: Path) -> None:
    """Write each schema into `folder`. Raises OSError."""
    for name, schema in schemas().items():
        text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
        (folder / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
