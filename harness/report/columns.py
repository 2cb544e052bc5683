"""The columns themselves, as Markdown: what became of the cells of each, and for which cause.

A table a kernel and flavour, a column an arch. Under each verdict stand the reasons that its
cells give: the defect of a known bug, the cause of n/a. A kernel that cannot be had for an arch
is such a cause. The first row says how many of all scenarios a column has observed: one from an
older run shows there, and so does what it was never asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from harness.report.markdown import prose, table
from harness.report.model import Column, Report, build
from harness.results import ResultRecord, Results, Verdict

UNSEEN = (Verdict.NOT_APPLICABLE, Verdict.NOT_RUN, Verdict.MISSING, Verdict.INFRA)


def render_columns(results: Results) -> str:
    """One page; ends in a newline."""
    report = build(results)
    kernels: dict[str, list[Column]] = defaultdict(list)
    for column in report.columns:
        flavour = f", {column.record.flavour}" if column.record.flavour != "core" else ""
        kernels[column.record.kernel + flavour].append(column)
    lines = [f"- **Note:** {prose(note)}" for note in report.notes]
    for name, columns in kernels.items():
        version = next((one.record.version for one in columns if one.record.version), "")
        lines += ["", f"## {prose(name)}" + (f" ({prose(version)})" if version else ""), ""]
        lines += _table(report, columns)
    return "\n".join(lines).strip() + "\n"


def _table(report: Report, columns: list[Column]) -> Iterator[str]:
    reasons = [_reasons(report, column) for column in columns]
    total = sum(reasons, Counter[tuple[Verdict, str]]())
    rows = [["observed", *(_observed(report, column) for column in columns)]]
    for verdict in Verdict:
        if any(column.counts[verdict] for column in columns):
            cells = (_number(column.counts[verdict]) for column in columns)
            rows.append([f"**{verdict.value}**", *cells])
        for (said, reason), _ in total.most_common():
            if said is verdict:
                rows.append([prose(reason), *(_number(one[said, reason]) for one in reasons)])
    holes = [len(report.scenarios) - sum(column.counts.values()) for column in columns]
    if any(holes):
        rows.append(["**not in these runs**", *map(_number, holes)])
    yield from table(("", *(prose(one.record.arch or one.id) for one in columns)), rows)


def _observed(report: Report, column: Column) -> str:
    seen = sum(count for verdict, count in column.counts.items() if verdict not in UNSEEN)
    return f"{seen} of {len(report.scenarios)}"


def _reasons(report: Report, column: Column) -> Counter[tuple[Verdict, str]]:
    """Cells of a column by verdict and reason, those that give none left out."""
    row = (scenario.cells.get(column.id) for scenario in report.scenarios)
    return Counter((cell.verdict, reason) for cell in row if cell and (reason := _reason(cell)))


def _reason(cell: ResultRecord) -> str:
    return cell.bug or cell.observation.cause or cell.observation.failure


def _number(count: int) -> str:
    return str(count or "")
