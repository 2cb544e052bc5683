"""Results files: merged columns, lines that were cut, writers side by side."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.results import (
    ColumnRecord,
    Observation,
    ResultRecord,
    Results,
    ResultsWriter,
    merge_columns,
    read_results,
)


def test_column_records_merge_in_any_order() -> None:
    one = ColumnRecord(run_id="r", column="c", arch="m68k", planned=["b"], timings={"boot": 1.0})
    two = ColumnRecord(run_id="r", column="c", release="6.1", timings={"boot": 2.0, "x": 1.0})
    both = merge_columns(one, two)
    assert both == merge_columns(two, one)
    assert (both.arch, both.release, both.timings) == ("m68k", "6.1", {"boot": 2.0, "x": 1.0})


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_results_are_readable_up_to_where_the_file_was_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.jsonl"
    with ResultsWriter(path) as writer:
        writer.write(ColumnRecord(run_id="r", column="c"))
        for name in ("a/a", "a/b"):
            seen = Observation(scenario=name, outcome="ok")
            writer.write(ResultRecord(run_id="r", column="c", scenario=name, observation=seen))
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    found: Results = read_results([path])
    whole = data[:cut].count(b"\n") + (cut < len(data) and data[cut : cut + 1] == b"\n")
    assert len(found.columns) + len(found.results) == whole
    torn = bool(data[:cut].rpartition(b"\n")[2]) and data[cut : cut + 1] != b"\n"
    assert len(found.damaged) == torn


def test_writers_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for worker in range(4):
        if os.fork() == 0:
            with ResultsWriter(path) as writer:
                writer.write(ColumnRecord(run_id="r", column=f"c{worker}"))
                for number in range(50):
                    seen = Observation(scenario=f"a/{number}", console=["x" * 500] * 20)
                    writer.write(
                        ResultRecord(
                            run_id="r",
                            column=f"c{worker}",
                            scenario=f"a/{number}",
                            observation=seen,
                        )
                    )
            os._exit(0)
    for _ in range(4):
        os.wait()
    found = read_results([path])
    assert not found.damaged
    assert len(found.results) == 200
