"""Reports of many results: ten times the input should take ten times the time, not a hundred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from measure import FAULTLINE, Setting, compare, seconds

from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    ResultsWriter,
    RunRecord,
    Verdict,
)


def records(setting: Setting) -> None:
    """a report of 10,000 results against one of 1,000, and of 200 files against one file"""
    folder, rounds = setting.work / "records", setting.rounds
    folder.mkdir(exist_ok=True)
    few, many = (written(folder, count, 1) for count in (1000, 10_000))
    split = written(folder, 10_000, 200)
    for form in ("markdown", "html", "json"):
        compare(f"10,000 results, {form}", report(few, form), report(many, form), rounds, 10)
    whole, parts = report(many, "markdown"), report(split, "markdown")
    compare("10,000 results in 200 files", whole, parts, rounds, 2)


def report(files: Sequence[Path], form: str) -> Callable[[], float]:
    words = [word for file in files for word in ("--results", str(file))]
    out = files[0].with_suffix(".out")
    return lambda: seconds([*FAULTLINE, "report", *words, "--format", form, "--output", str(out)])


def written(folder: Path, count: int, files: int) -> list[Path]:
    """Results files of `count` results in columns of 250 scenarios each."""
    paths = []
    for number in range(files):
        path = folder / f"{count}-{files}-{number}.jsonl"
        path.unlink(missing_ok=True)
        run_id = path.stem
        with ResultsWriter(path) as writer:
            writer.write(RunRecord(run_id=run_id, started="2026-01-01T00:00:00+00:00", harness="0"))
            left = count // files
            for column in range((left + 249) // 250):
                planned = [f"family/case-{n}" for n in range(min(250, left - 250 * column))]
                name = f"linux-{number}-{column},m68k"
                writer.write(
                    ColumnRecord(
                        run_id=run_id,
                        column=name,
                        arch="m68k",
                        kernel=f"linux-{number}-{column}",
                        flavour="core",
                        version="6.12",
                        planned=planned,
                    )
                )
                for scenario in planned:
                    seen = Observation(scenario=scenario, outcome="SIGSEGV/SEGV_MAPERR @exact")
                    writer.write(
                        ResultRecord(
                            run_id=run_id,
                            column=name,
                            scenario=scenario,
                            attempt=1,
                            verdict=Verdict.MATCH,
                            observation=seen,
                            expected=[seen.outcome],
                            because="the address is in no VMA",
                        )
                    )
            writer.write(
                EndRecord(run_id=run_id, finished="2026-01-01T00:00:01+00:00", exit_code=0)
            )
        paths.append(path)
    return paths
