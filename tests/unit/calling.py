"""The command called as a shell would, and a results file to call it on."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from harness.cli import main
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    ResultsWriter,
    RunRecord,
    Verdict,
)


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def write_results(path: Path, verdict: Verdict) -> None:
    with ResultsWriter(path) as writer:
        writer.write(RunRecord(run_id="r"))
        writer.write(
            ColumnRecord(run_id="r", column="k,m68k", arch="m68k", kernel="k", planned=["a/a"])
        )
        writer.write(
            ResultRecord(
                run_id="r",
                column="k,m68k",
                scenario="a/a",
                verdict=verdict,
                observation=Observation(scenario="a/a", outcome="ok"),
                expected=["EFAULT"],
            )
        )
        writer.write(EndRecord(run_id="r"))
