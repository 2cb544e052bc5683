"""Jobs on several workers, and what is left when a worker or the run itself ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.build import StoreError
from harness.interrupt import Interrupted, interrupting
from harness.machine.qemu import MachineSpec
from harness.results import (
    Observation,
    ResultRecord,
    ResultsWriter,
    Verdict,
    exit_code,
    read_results,
)
from harness.run.dispatch import Dispatcher
from harness.run.follow import Follower, Progress
from harness.run.job import run_job
from harness.run.plan import Job
from harness.run.records import make_record
from harness.run.workers import Workers
from tests.processes import within
from tests.unit.job_samples import HANG, cell, job


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


@contextmanager
def dispatcher_to(out: Path, count: int, progress: Progress) -> Iterator[Dispatcher]:
    with Workers(count) as workers:
        yield Dispatcher(out, workers, Follower(out, "r1", progress), progress)


def run_all(queue: list[Job], out: Path, progress: Progress) -> None:
    """What a run does with its jobs."""
    with dispatcher_to(out, 2, progress) as dispatcher:
        dispatcher.submit(queue)
        dispatcher.finish()


def test_a_worker_that_is_ended_before_it_has_begun_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it waits for jobs to the end of time, and the run for it."""
    fork, cpus = os.fork, os.sched_getaffinity(0)

    def fork_and_end() -> int:
        child = fork()
        if child:
            os.kill(child, signal.SIGTERM)
        return child

    monkeypatch.setattr(os, "fork", fork_and_end)
    os.sched_setaffinity(0, {min(cpus)})  # so that the child has hardly begun when it is told
    try:
        with interrupting(signal.SIGTERM):  # as every command does
            for _ in range(10):  # it depends on how far it is
                workers = Workers(1)
                for child in multiprocessing.active_children():
                    child.join(5)
                assert not multiprocessing.active_children()
                with pytest.raises(BrokenProcessPool), workers:
                    workers.submit(job(cell("a/x")), Path()).result()
    finally:
        os.sched_setaffinity(0, cpus)
        for left in multiprocessing.active_children():
            left.kill()


def test_between_jobs_sigterm_is_the_kernels_to_carry_out(tmp_path: Path) -> None:
    """A handler of Python that comes just before a worker sleeps would not run before it wakes."""
    out = tmp_path / "r.jsonl"
    ResultsWriter(out).close()
    with interrupting(signal.SIGTERM), Workers(1) as workers:  # as every command does
        between = [workers._pool.submit(signal.getsignal, signal.SIGTERM)]
        workers.submit(job(cell("a/x")), out).result()
        between.append(workers._pool.submit(signal.getsignal, signal.SIGTERM))
        assert [one.result() for one in between] == [signal.SIG_DFL] * 2


def go_on_regardless(_job: object, begun: Path) -> None:
    with suppress(Interrupted):
        begun.touch()
        time.sleep(60)


def test_a_worker_whose_job_goes_on_after_sigterm_does_not_come_back(tmp_path: Path) -> None:
    """It would wait for a lock that another one, ended in the queue, has taken with it."""
    begun = tmp_path / "begun"
    work = f"{__name__}:go_on_regardless"
    with interrupting(signal.SIGTERM), Workers(1, work=work) as workers:  # as every command does
        future = workers.submit(None, begun)
        assert within(10, begun.exists)
        for child in multiprocessing.active_children():
            child.terminate()
        with pytest.raises(BrokenProcessPool):
            future.result(10)


def test_jobs_run_side_by_side_into_one_file(tmp_path: Path) -> None:
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    queue = [job(cell(f"a/x{n}"), cell(f"a/y{n}")) for n in range(4)]
    run_all(queue, out, listener)
    assert len(listener.records) == 8
    assert {r.verdict for r in read_results([out]).last()} == {Verdict.MATCH}


def test_a_job_that_fails_is_infrastructure_of_its_own_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the results of the others are there."""
    from harness.run import job as module

    real = module.run_job

    def fail(one: Job, out: Path) -> None:
        if one.column == "k,bad":
            real(replace(one, cells=one.cells[:1]), out)
            raise StoreError("store: cannot read it")
        real(one, out)

    monkeypatch.setattr(module, "run_job", fail)  # workers have it when they are forked
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    bad = replace(job(cell("a/a"), cell("a/b"), cell("a/c")), column="k,bad")
    wedging = replace(bad, cells=(replace(cell("a/d"), wedges=True),))
    run_all([bad, wedging, job(cell("a/a"), cell("a/b"))], out, listener)
    found = read_results([out])
    verdicts = {(r.column, r.scenario): r.verdict for r in found.last()}
    assert verdicts == {
        ("k,bad", "a/a"): Verdict.MATCH,
        ("k,bad", "a/b"): Verdict.INFRA,
        ("k,bad", "a/c"): Verdict.INFRA,
        ("k,bad", "a/d"): Verdict.MATCH,
        ("k,a", "a/a"): Verdict.MATCH,
        ("k,a", "a/b"): Verdict.MATCH,
    }
    why = "the job failed: StoreError: store: cannot read it"
    assert {r.observation.failure for r in found.last()} == {"", why}
    assert f"k,bad: {why}" in listener.lines
    assert exit_code(found, ending="r1") == 3


@pytest.mark.parametrize(("times", "verdict"), [(1, Verdict.MISMATCH), (3, Verdict.INFRA)])
def test_what_was_seen_stays_where_the_second_look_fails(
    times: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be seen three times has not been."""

    def fail(one: Job, out: Path) -> None:
        with ResultsWriter(out) as writer:
            outcome = "oops" if times == 1 else "ok"
            seen = Observation(scenario="a/a", outcome=outcome, alive=False)
            writer.write(make_record(one, one.cells[0], seen))
        raise OSError("no room for a process")

    monkeypatch.setattr("harness.run.job.run_job", fail)
    out = tmp_path / "r.jsonl"
    ResultsWriter(out).close()
    run_all([replace(job(cell("a/a"), cell("a/b")), times=times)], out, Listener())
    found = read_results([out])
    last = {r.scenario: r for r in found.last()}
    assert (last["a/a"].verdict, last["a/a"].attempt) == (verdict, 2)
    told = last["a/a"].confirmation.startswith("not looked at again(the job failed: OSError")
    assert told == (times == 1)
    assert last["a/b"].verdict is Verdict.INFRA
    # What is proven stays so, whatever else was lost.
    assert exit_code(found, ending="r1") == (1 if times == 1 else 3)


def test_an_error_of_ours_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(one: Job, out: Path) -> None:
        raise KeyError("what")

    monkeypatch.setattr("harness.run.job.run_job", fail)
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    run_all([job(cell("a/a"))], out, listener)
    (line,) = listener.lines
    assert "k,a: the job failed: KeyError: 'what'\n" in line
    assert "in fail" in line


@pytest.mark.parametrize("again", [HANG, "ok"])
def test_a_second_look_that_a_worker_did_not_live_to_take_is_taken(
    again: str, tmp_path: Path
) -> None:
    """By the next worker, and the first stays on record."""
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    (tmp_path / "image").write_text(f"a/a={again.replace(' ', '+')}")
    one = job(cell("a/a"), cell("a/b"), play="by-kernel")
    assert isinstance(one.spec, MachineSpec)
    one = replace(one, spec=replace(one.spec, image=tmp_path / "image"))
    fuse = tmp_path / "fuse"
    fuse.touch()
    with dispatcher_to(out, 1, listener) as dispatcher:
        with ResultsWriter(out) as writer:
            seen = Observation(scenario="a/a", outcome=HANG)
            writer.write(make_record(one, one.cells[0], seen))
        dispatcher._all.append(one)
        dispatcher._running[dispatcher.workers._pool.submit(_burn, fuse)] = one
        dispatcher.finish()
    found = read_results([out])
    last = found.results["r1", "k,a", "a/a"]
    assert found.tried == {("r1", "k,a", "a/a"): {1: HANG}}
    assert (last.attempt, last.observation.outcome) == (2, again)
    assert last.confirmation == ("confirmed" if again == HANG else "flake")
    assert found.results["r1", "k,a", "a/b"].verdict is Verdict.MATCH


def test_a_cell_that_is_repeated_is_done_with_its_tally(tmp_path: Path) -> None:
    out, listener = tmp_path / "r.jsonl", Listener()
    out.touch()
    follow, one = Follower(out, "r1", listener), replace(job(cell("a/a")), times=3)
    with ResultsWriter(out) as writer:
        writer.write(make_record(one, one.cells[0], Observation(scenario="a/a", outcome="ok")))
    follow.look()
    left = follow.undone(one)
    assert [one.scenario for one in left.cells] == ["a/a"]
    assert not follow.undone(replace(one, times=1)).cells
    run_job(left, out)
    follow.look()
    assert not follow.undone(one).cells
    found = read_results([out])
    assert [[*tried] for tried in found.tried.values()] == [[1, 2, 3]]
    assert found.last()[0].attempt == 4
    assert found.last()[0].tally == {"ok": 3}


def test_what_a_dead_worker_left_is_done_by_another(tmp_path: Path) -> None:
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()
    fuse = tmp_path / "fuse"
    fuse.touch()
    with dispatcher_to(out, 2, listener) as dispatcher:
        dispatcher.submit([job(cell("a/a"))])
        dispatcher._running[dispatcher.workers._pool.submit(_burn, fuse)] = job()
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
    monkeypatch.setattr("harness.run.job.run_job", lambda *_: time.sleep(60))

    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()

    def stop() -> None:
        with pytest.raises(KeyboardInterrupt), dispatcher_to(out, 2, listener) as dispatcher:
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
        with dispatcher_to(out, 1, listener) as dispatcher:
            dispatcher.submit([job(cell("a/a"))])
            dispatcher._running[dispatcher.workers._pool.submit(_burn, fuse)] = job()
            dispatcher.submit(long_jobs())
            dispatcher.finish()

    assert ends_within(60, run)
    assert len(read_results([out]).last()) == 17


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


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGHUP, True)],
    ids=["kill", "ctrl-c", "closed-terminal"],
)
def test_interrupted_run_leaves_no_process(
    number: signal.Signals, to_all: bool, tmp_path: Path
) -> None:
    """In the middle: workers and machines end, what was seen is in the file. What comes of a
    terminal comes to the workers as well.
    """
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_run_dispatch import *
from harness.interrupt import ENDING, Interrupted, interrupting
out = Path({str(tmp_path / "r.jsonl")!r}); ResultsWriter(out).close()
try:
    with interrupting(*ENDING):
        print("ready", flush=True)
        queue = [job(cell("a/a")), job(cell("a/b"), play="silent")]
        run_all(queue, out, Listener())
except Interrupted as stop:
    sys.exit(stop.exit_code)
"""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, cwd=root, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    out, tree = tmp_path / "r.jsonl", dict[int, str]()

    def in_the_middle() -> bool:
        tree.update(_descendants(process.pid))
        return '"a/a"' in out.read_text() and any("fake_qemu" in name for name in tree.values())

    assert within(30, in_the_middle)
    os.kill(-process.pid if to_all else process.pid, number)
    assert process.wait(20) == 128 + number
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


def test_a_worker_ends_wherever_its_job_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM comes in a finalizer, which has nobody to tell."""

    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    def play(*_: object) -> None:
        Finalized()
        time.sleep(60)

    monkeypatch.setattr("harness.run.job.run_job", play)
    out, listener = tmp_path / "r.jsonl", Listener()
    ResultsWriter(out).close()

    def run() -> None:
        with dispatcher_to(out, 1, listener) as dispatcher:
            dispatcher.submit([job(cell("a/a"))])
            dispatcher.finish()
        assert any("died again" in line for line in listener.lines)

    assert ends_within(30, run)
