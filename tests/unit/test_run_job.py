"""Judging, confirming and running jobs, on machines that a test makes up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from stand_in import spec

from harness.machine.hand import HandSpec
from harness.machine.qemu import MachineSpec
from harness.machine.session import BootError
from harness.results import (
    ColumnRecord,
    Observation,
    Record,
    ResultRecord,
    Results,
    ResultsWriter,
    Verdict,
    merge_columns,
    read_results,
)
from harness.run.dispatch import Dispatcher
from harness.run.follow import Follower, Progress
from harness.run.job import CellRunner, run_job
from harness.run.judge import Expectation, Expectations, judge
from harness.run.plan import (
    WORTH_A_MACHINE,
    Cell,
    Job,
    jobs,
    machine_for,
    repeat_command,
    spread,
)

FAULT = "SIGSEGV/SEGV_MAPERR @exact"
HANG = "hang(unkillable, spin-kernel)"


def job(*cells: Cell, play: str = "good") -> Job:
    return Job(
        run_id="r1",
        column="k,a",
        arch="a",
        kernel="k",
        flavour="core",
        spec=spec(play),
        cells=cells,
    )


def expect(*outcomes: str, want: str = "") -> Expectation:
    return Expectation(outcomes=outcomes, want=want, declared="expectations/hole.yaml:3")


@pytest.mark.parametrize(
    ("expectations", "seen", "verdict"),
    [
        ((expect("ok"),), Observation(scenario="s/s", outcome="ok"), Verdict.MATCH),
        ((expect("ok", FAULT),), Observation(scenario="s/s", outcome=FAULT), Verdict.MATCH),
        ((expect("ok"),), Observation(scenario="s/s", outcome="EFAULT"), Verdict.MISMATCH),
        ((expect("ok"),), Observation(scenario="s/s", outcome="n/a"), Verdict.MISMATCH),
        ((expect("n/a"),), Observation(scenario="s/s", outcome="n/a"), Verdict.NOT_APPLICABLE),
        ((expect("n/a"),), Observation(scenario="s/s", outcome="ok"), Verdict.MISMATCH),
        ((expect(HANG, want="ok"),), Observation(scenario="s/s", outcome=HANG), Verdict.KNOWN_BUG),
        ((expect(HANG, want="ok"),), Observation(scenario="s/s", outcome="ok"), Verdict.FIXED),
        ((expect(HANG, want="ok"),), Observation(scenario="s/s", outcome="oops"), Verdict.MISMATCH),
        ((), Observation(scenario="s/s", outcome="ok"), Verdict.NO_EXPECTATION),
        ((expect("ok"),), Observation(scenario="s/s", failure="mmap 12"), Verdict.INFRA),
        ((), Observation(scenario="s/s"), Verdict.INFRA),
        # Not known which of two counts: the one that fits.
        (
            (expect(HANG, want="ok"), expect(FAULT)),
            Observation(scenario="s/s", outcome=HANG),
            Verdict.KNOWN_BUG,
        ),
        (
            (expect(HANG, want="ok"), expect(FAULT)),
            Observation(scenario="s/s", outcome="EFAULT"),
            Verdict.MISMATCH,
        ),
    ],
)
def test_judge(expectations: Expectations, seen: Observation, verdict: Verdict) -> None:
    assert judge(expectations, seen) is verdict


class FakeSession:
    """A machine that answers from a script: (boot number, scenario, nth on this boot)."""

    boots = 0
    answer: Callable[[int, str, int], str] = staticmethod(lambda boot, name, nth: "ok ")
    scales: ClassVar[list[float]] = []

    def __init__(self, spec: MachineSpec) -> None:
        self.spec, self.count, self.boot_seconds = spec, 0, 0.5
        self.command, self.restored = ["qemu"], False
        self.hello = type("Hello", (), {"release": "6.1.0", "version": "#1"})()

    def boot(self) -> None:
        type(self).boots += 1
        if self.answer(self.boots, "boot", 0) == "no boot":
            raise BootError("no hello", ["last words"], ["qemu"])

    def observe(self, name: str, scale: float = 1.0) -> Observation:
        self.count += 1
        self.scales.append(scale)
        outcome = self.answer(self.boots, name, self.count)
        alive = not any(word in outcome for word in ("unkillable", "oops", "lost"))
        if outcome == "lost":
            return Observation(scenario=name, failure="machine lost", alive=False)
        if outcome == "no room":
            return Observation(scenario=name, failure="set-up failed: open ENOSPC")
        return Observation(scenario=name, outcome=outcome, alive=alive)

    def late(self) -> str:
        return self.answer(self.boots, "late", self.count)[3:]

    def close(self) -> None:
        pass


def play(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[int, str, int], str],
    *cells: Cell,
) -> list[ResultRecord]:
    monkeypatch.setattr(FakeSession, "boots", 0)
    monkeypatch.setattr(FakeSession, "scales", [])
    monkeypatch.setattr(FakeSession, "answer", staticmethod(answer))
    written: list[Record] = []
    runner = CellRunner(job(*cells), written.append, start=FakeSession)  # type: ignore[arg-type]
    for cell in cells:
        runner.run(cell)
    runner.close()
    return [record for record in written if isinstance(record, ResultRecord)]


def cell(name: str, *outcomes: str) -> Cell:
    return Cell(scenario=name, expectations=(expect(*(outcomes or ("ok",))),))


def test_one_boot_serves_all_that_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(monkeypatch, lambda *_: "ok", cell("a/a"), cell("a/b"), cell("a/c"))
    assert FakeSession.boots == 1
    assert [record.verdict for record in records] == [Verdict.MATCH] * 3
    assert records[0].repeat == "faultline run a/a --kernel k --arch a"


def test_what_is_known_to_be_lacking_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = replace(cell("a/a", "n/a"), lacks="needs CONFIG_SWAP=y")
    (record,) = play(monkeypatch, lambda *_: "ok", lacking)
    assert FakeSession.boots == 0
    assert record.verdict is Verdict.NOT_APPLICABLE
    seen = record.observation
    assert (seen.outcome, seen.cause) == ("n/a", "not run: needs CONFIG_SWAP=y")


def test_expected_oops_costs_a_boot_and_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(
        monkeypatch,
        lambda boot, name, nth: "oops" if name == "a/b" else "ok",
        cell("a/a"),
        cell("a/b", "oops"),
        cell("a/c"),
    )
    assert FakeSession.boots == 2
    assert [(r.attempt, r.verdict) for r in records] == [(1, Verdict.MATCH)] * 3


def test_unexpected_hang_is_confirmed_alone_with_four_times_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = play(
        monkeypatch,
        lambda boot, name, nth: HANG if name == "a/b" else "ok",
        cell("a/a"),
        cell("a/b"),
        cell("a/c"),
    )
    hang = [record for record in records if record.scenario == "a/b"]
    assert [(r.attempt, r.confirmation) for r in hang] == [(1, ""), (2, "confirmed")]
    assert FakeSession.scales == [1.0, 1.0, 4.0, 1.0]
    assert records[-1].scenario == "a/c"
    assert records[-1].verdict is Verdict.MATCH


def test_a_hang_that_does_not_come_back_is_a_flake(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(
        monkeypatch,
        lambda boot, name, nth: HANG if (boot, name) == (1, "a/b") else "ok",
        cell("a/a"),
        cell("a/b"),
    )
    last = records[-1]
    assert (last.attempt, last.verdict, last.confirmation) == (3, Verdict.MATCH, "flake")


def test_a_hang_that_needs_its_predecessor_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(
        monkeypatch,
        lambda boot, name, nth: HANG if name == "a/b" and nth == 2 else "ok",
        cell("a/a"),
        cell("a/b"),
    )
    last = records[-1]
    assert (last.attempt, last.verdict) == (3, Verdict.MISMATCH)
    assert last.confirmation == "order-dependent(after 1 others, a/a the last)"


def test_what_a_predecessor_made_impossible_is_observed_alone_and_the_rest_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full: set[int] = set()  # machines that a/a has run on

    def answer(boot: int, name: str, nth: int) -> str:
        if name == "a/a":
            full.add(boot)
        return "no room" if boot in full and name in ("a/b", "a/c") else "ok"

    records = play(monkeypatch, answer, cell("a/a"), cell("a/b"), cell("a/c"))
    last = {record.scenario: record for record in records}
    assert {record.verdict for record in last.values()} == {Verdict.MATCH}
    assert last["a/b"].confirmation == "order-dependent(after 1 others, a/a the last)"
    assert (last["a/c"].attempt, last["a/c"].confirmation) == (1, "")  # on a clean machine


def test_late_words_find_their_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter(["ok ", "ok oops", "ok ", "ok "])
    records = play(
        monkeypatch,
        lambda boot, name, nth: next(late) if name == "late" else "ok",
        cell("a/a"),
        cell("a/b"),
        cell("a/c"),
    )
    assert FakeSession.boots == 2
    assert [(r.scenario, r.attempt, r.observation.outcome, r.verdict) for r in records] == [
        ("a/a", 1, "ok", Verdict.MATCH),
        ("a/b", 1, "ok", Verdict.MATCH),
        ("a/b", 2, "A: ok | kernel: oops", Verdict.MISMATCH),
        ("a/c", 1, "ok", Verdict.MATCH),
    ]


def test_a_lost_machine_is_infra_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(
        monkeypatch,
        lambda boot, name, nth: "lost" if name == "a/a" else "ok",
        cell("a/a"),
        cell("a/b"),
    )
    assert [(r.scenario, r.verdict) for r in records] == [
        ("a/a", Verdict.INFRA),
        ("a/a", Verdict.INFRA),
        ("a/b", Verdict.MATCH),
    ]
    assert records[1].confirmation == "confirmed"


def test_an_oops_that_does_not_come_back_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(
        monkeypatch,
        lambda boot, name, nth: "oops" if (boot, name) == (1, "a/b") else "ok",
        cell("a/a"),
        cell("a/b"),
    )
    last = max((r for r in records if r.scenario == "a/b"), key=lambda r: r.attempt)
    assert (last.observation.outcome, last.verdict) == ("oops", Verdict.MISMATCH)
    assert last.confirmation == "flake"


def test_a_mismatch_is_not_lost_to_a_machine_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(boot: int, name: str, nth: int) -> str:
        return {1: HANG, 2: "lost"}.get(boot, "ok") if name == "a/a" else "ok"

    records = play(monkeypatch, answer, cell("a/a"))
    assert (records[-1].verdict, records[-1].observation.outcome) == (Verdict.MISMATCH, HANG)
    assert [record.attempt for record in records] == [1, 2, 3]


def test_a_column_that_does_not_boot_is_tried_twice_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(monkeypatch, lambda *_: "no boot", *(cell(f"a/x{n}") for n in range(20)))
    assert FakeSession.boots == 2
    assert [r.verdict for r in records] == [Verdict.INFRA] * 20


def test_boot_failure_keeps_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(monkeypatch, lambda boot, name, nth: "no boot", cell("a/a"))
    assert records[0].verdict is Verdict.INFRA
    assert records[0].observation.failure == "boot: no hello"
    assert records[0].observation.console == ["last words"]


def test_wedging_cells_and_big_ones_have_boots_of_their_own() -> None:
    cells = [
        Cell(scenario="a/a", expectations=()),
        Cell(scenario="a/hang", expectations=(), wedges=True),
        Cell(scenario="a/big", expectations=(), memory=512),
        Cell(scenario="a/b", expectations=()),
    ]
    cut = jobs(cells, job())
    assert [[c.scenario for c in one.cells] for one in cut] == [
        ["a/a", "a/b"],
        ["a/big"],
        ["a/hang"],
    ]
    assert [machine_for(one.spec, one.cells[0]).memory for one in cut] == [64, 512, 64]


def test_a_long_job_is_spread_over_free_machines() -> None:
    cells = [cell(f"a/x{n}") for n in range(2 * WORTH_A_MACHINE)]
    short = job(*cells[:-1])
    assert spread([short], 2) == [short], "another machine is not worth its start"
    assert spread([job(*cells)], 1) == [job(*cells)]
    for machines in (2, 3):
        parts = spread([job(*cells)], machines)
        assert [len(part.cells) for part in parts] == [WORTH_A_MACHINE] * 2
        assert sorted(c.scenario for p in parts for c in p.cells) == sorted(
            c.scenario for c in cells
        )


def test_what_no_machine_is_asked_is_no_reason_for_another() -> None:
    lacking = [replace(cell(f"a/x{n}"), lacks="needs more") for n in range(3 * WORTH_A_MACHINE)]
    assert spread([job(*lacking)], 4) == [job(*lacking)]


def test_the_machine_at_hand_is_one() -> None:
    cells = [cell(f"a/x{n}") for n in range(4 * WORTH_A_MACHINE)]
    here = replace(job(*cells), spec=HandSpec(argv=(), binary=Path("faults"), where="here"))
    assert spread([here], 4) == [here]


def test_repeat_command_names_the_flavour_where_it_matters() -> None:
    assert repeat_command("k", "a", "full", "f/n").endswith("--arch a --flavour full")


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.records: list[ResultRecord] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def stage(self, column: str, what: str) -> None: ...

    def expect(self, cells: int) -> None: ...

    def result(self, record: ResultRecord) -> None:
        self.records.append(record)


def run_all(queue: list[Job], out: Path, progress: Progress) -> None:
    """What a run does with its jobs."""
    with Dispatcher(out, 2, Follower(out, "r1", progress), progress) as dispatcher:
        dispatcher.submit(queue)
        dispatcher.finish()


def test_jobs_run_side_by_side_into_one_file(tmp_path: Path) -> None:
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    queue = [job(cell(f"a/x{n}"), cell(f"a/y{n}")) for n in range(4)]
    run_all(queue, out, listener)
    assert len(listener.records) == 8
    assert {r.verdict for r in read_results([out]).last()} == {Verdict.MATCH}


def test_what_a_dead_worker_left_is_done_by_another(tmp_path: Path) -> None:
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    fuse = tmp_path / "fuse"
    fuse.touch()
    with Dispatcher(out, 2, Follower(out, "r1", listener), listener) as dispatcher:
        dispatcher.submit([job(cell("a/a"))])
        assert dispatcher._pool is not None
        dispatcher._running[dispatcher._pool.submit(_burn, fuse)] = job()
        dispatcher.submit([job(cell("a/b"), cell("a/c"))])
        dispatcher.finish()
    assert {r.scenario for r in read_results([out]).last()} == {"a/a", "a/b", "a/c"}
    assert any("died" in line for line in listener.lines)


def _burn(fuse: Path) -> None:
    """Kill this process, once."""
    fuse.unlink()
    os._exit(9)


def long_jobs() -> list[Job]:
    """More than workers take at once, each longer than a pipe holds (64 KiB)."""
    return [job(cell(f"a/x{n}"), replace(cell(f"a/y{n}"), summary="x" * 200_000)) for n in range(8)]


def ends_within(seconds: float, act: Callable[[], None]) -> bool:
    """Whether `act`, in a process of its own, comes to its end."""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
    process.join()
    return process.exitcode == 0


def test_a_run_that_is_stopped_with_long_jobs_in_its_queue_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.dispatch.run_job", lambda *_: time.sleep(60))

    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()

    def stop() -> None:
        dispatcher = Dispatcher(out, 2, Follower(out, "r1", listener), listener)
        with pytest.raises(KeyboardInterrupt), dispatcher:
            dispatcher.submit(long_jobs())
            time.sleep(0.5)  # workers are at work, and the queue is filled
            raise KeyboardInterrupt

    assert ends_within(30, stop)


def test_a_worker_that_dies_before_long_jobs_is_replaced(tmp_path: Path) -> None:
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    fuse = tmp_path / "fuse"
    fuse.touch()

    def run() -> None:
        with Dispatcher(out, 1, Follower(out, "r1", listener), listener) as dispatcher:
            dispatcher.submit([job(cell("a/a"))])
            assert dispatcher._pool is not None
            dispatcher._running[dispatcher._pool.submit(_burn, fuse)] = job()
            dispatcher.submit(long_jobs())
            dispatcher.finish()

    assert ends_within(60, run)
    assert len(read_results([out]).last()) == 17


def test_run_job_writes_what_a_dying_machine_left(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    run_job(job(cell("a/a"), cell("a/b"), play="die"), out)
    found = read_results([out])
    assert {(r.scenario, r.verdict) for r in found.last()} == {
        ("a/a", Verdict.INFRA),
        ("a/b", Verdict.INFRA),
    }
    assert found.columns["r1", "k,a"].release == "6.1.0"


def test_follower_waits_for_whole_lines(tmp_path: Path) -> None:
    out, listener = tmp_path / "r.jsonl", Listener()
    out.touch()
    follow = Follower(out, "r1", listener)
    with ResultsWriter(tmp_path / "other") as writer:
        writer.write(
            ResultRecord(
                run_id="r1", column="k,a", scenario="a/a", observation=Observation(scenario="a/a")
            )
        )
    line = (tmp_path / "other").read_bytes()
    with open(out, "ab", buffering=0) as file:
        file.write(line[:20])
        follow.look()
        assert not listener.records
        file.write(line[20:])
    follow.look()
    assert [record.scenario for record in listener.records] == ["a/a"]
    assert not follow.undone(job(cell("a/a"))).cells


def test_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    """SIGTERM in the middle: workers and machines end, what was seen is in the file."""
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_run_job import *
from harness.interrupt import Interrupted, interrupting
out = Path({str(tmp_path / "r.jsonl")!r}); ResultsWriter(out).close()
try:
    with interrupting(signal.SIGINT, signal.SIGTERM):
        print("ready", flush=True)
        queue = [job(cell("a/a")), job(cell("a/b"), play="silent")]
        run_all(queue, out, Listener())
except Interrupted as stop:
    sys.exit(stop.exit_code)
"""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 10
    out = tmp_path / "r.jsonl"
    while '"a/a"' not in out.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    tree = _descendants(process.pid)
    assert any("fake_qemu" in name for name in tree.values())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    left = {name for pid, name in tree.items() if Path(f"/proc/{pid}").exists()}
    assert not left  # nor as zombies: whoever started a machine reaps it
    assert [r.scenario for r in read_results([out]).last()] == ["a/a"]


def _descendants(pid: int) -> dict[int, str]:
    """pid -> command line of everything below a process."""
    found: dict[int, str] = {}
    for task in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((task / "stat").read_text().rpartition(")")[2].split()[1])
            line = (task / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if parent == pid:
            found[int(task.name)] = line
            found |= _descendants(int(task.name))
    return found


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


def test_job_is_plain_data() -> None:
    import pickle

    one = job(cell("a/a"))
    assert pickle.loads(pickle.dumps(one)) == replace(one)
