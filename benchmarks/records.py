"""Reports of many results: ten times the input should take ten times the time, not a hundred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from measure import FAULTLINE, FOUR, Setting, seconds, show

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
    """a report of 50,000 results against one of 10,000, and of 200 files against one file; the
    start of the program, a report of one result, is taken off both sides
    """
    folder, rounds = setting.work / "records", setting.rounds
    folder.mkdir(exist_ok=True)
    none, some, many = (written(folder, count, 1) for count in (1, 10_000, 50_000))
    split = written(folder, 10_000, 200)
    for form in ("markdown", "html", "json"):
        _grows(f"50,000 results, {form}", none, some, many, form, rounds, 5)
    _grows("10,000 results in 200 files", none, some, split, "markdown", rounds, 2)


def _grows(
    what: str,
    none: Sequence[Path],
    floor: Sequence[Path],
    subject: Sequence[Path],
    form: str,
    rounds: int,
    reach: float,
) -> None:
    start, low, high = (report(files, form) for files in (none, floor, subject))
    found = [(start(), low(), high()) for _ in range(rounds)]
    floors, subjects = [b - a for a, b, _ in found], [c - a for a, _, c in found]
    show(what, floors, subjects, reach)


def report(files: Sequence[Path], form: str) -> Callable[[], float]:
    words = [word for file in files for word in ("--results", str(file))]
    out = files[0].with_suffix(".out")
    return lambda: seconds([*FAULTLINE, "report", *words, "--format", form, "--output", str(out)])


def written(folder: Path, count: int, files: int) -> list[Path]:
    """Results files of `count` results: 250 scenarios on kernels of four arches, of which one
    differs, one more from kernel to kernel, and every tenth result is not as expected.
    """
    paths = []
    for number in range(files):
        path = folder / f"{count}-{files}-{number}.jsonl"
        path.unlink(missing_ok=True)
        with ResultsWriter(path) as writer:
            run = path.stem
            writer.write(RunRecord(run_id=run, started="2026-01-01T00:00:00+00:00", harness="0"))
            left, column = count // files, number * 1000
            while left > 0:
                _write_column(writer, run, column, min(250, left))
                left, column = left - 250, column + 1
            writer.write(EndRecord(run_id=run, finished="2026-01-01T00:00:01+00:00", exit_code=1))
        paths.append(path)
    return paths


def _write_column(writer: ResultsWriter, run: str, number: int, cells: int) -> None:
    arch, kernel = FOUR[number % 4], f"linux-6.{number // 4}"
    name, names = f"{kernel},{arch}", [f"family/case-{n}" for n in range(cells)]
    writer.write(
        ColumnRecord(
            run_id=run, column=name, arch=arch, kernel=kernel, flavour="core", version="6.12",
            planned=names,
        )
    )  # fmt: skip
    for n, scenario in enumerate(names):
        usual, other = "SIGSEGV/SEGV_MAPERR @exact", "SIGSEGV/SEGV_ACCERR @exact"
        expected = other if n % 3 == number % 4 else usual
        seen = "ok" if n % 10 == number % 7 else expected
        writer.write(
            ResultRecord(
                run_id=run,
                column=name,
                scenario=scenario,
                attempt=1,
                verdict=Verdict.MATCH if seen == expected else Verdict.MISMATCH,
                observation=Observation(
                    scenario=scenario, outcome=seen, console=[f"line {n}"] * 10 * (seen == "ok")
                ),
                expected=[expected],
                because="the address is in no VMA",
            )
        )
