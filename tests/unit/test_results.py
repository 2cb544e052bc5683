"""Results files: merged columns, lines that were cut, writers side by side."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from harness.results import (
    ColumnRecord,
    Evidence,
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


def attempt(number: int, outcome: str, scenario: str = "a/a") -> ResultRecord:
    seen = Observation(scenario=scenario, outcome=outcome)
    piece = Evidence(id="x", file="f", function="g", text="t")
    return ResultRecord(
        run_id="r", column="c", scenario=scenario, attempt=number, observation=seen,
        because=f"the {'same'} words", evidence=[piece],
    )  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_of_a_cell_the_last_attempt_is_kept_and_what_came_before(order: tuple[int, ...]) -> None:
    found = Results()
    for number in order:
        found.add(attempt(number, f"handler={number}"))
    (record,) = found.last()
    assert (record.attempt, record.observation.outcome) == (3, "handler=3")
    assert found.tried == {("r", "c", "a/a"): {1: "handler=1", 2: "handler=2"}}


def test_a_line_that_is_there_twice_is_no_attempt_of_its_own() -> None:
    found = Results()
    for _ in range(2):
        found.add(attempt(1, "ok"))
    assert (len(found.last()), found.tried) == (1, {})


def test_what_many_records_say_alike_is_there_once(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "r.jsonl") as writer:
        for name in ("a/a", "a/b"):
            writer.write(attempt(1, "ok", name))
    one, other = read_results([tmp_path / "r.jsonl"]).last()
    assert one.because is other.because and one.evidence[0] is other.evidence[0]
