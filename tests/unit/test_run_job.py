"""One job: looking twice, and machines that hang, oops or are lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from harness.machine.cell import Words
from harness.machine.port import Hello
from harness.machine.qemu import MachineSpec
from harness.machine.session import BootError
from harness.results import (
    ColumnRecord,
    Observation,
    Record,
    ResultRecord,
    Verdict,
    decode_lines,
    read_results,
)
from harness.run.job import CellRunner, run_job
from harness.run.plan import Cell
from tests.unit.job_samples import HANG, cell, expect, job


class FakeSession:
    """A machine that answers from a script: (boot number, scenario, nth on this boot)."""

    boots = 0
    answer: Callable[[int, str, int], str] = staticmethod(lambda boot, name, nth: "ok ")
    scales: ClassVar[list[float]] = []

    def __init__(self, spec: MachineSpec) -> None:
        self.spec, self.count, self.boot_seconds = spec, 0, 0.5
        self.command, self.restored = ["qemu"], False
        self.hello = Hello(protocol=1, release="6.1.0", version="#1", cpu="half thumb ")
        self.overdue, self.boot_word = Words(), "warn(f)"

    def boot(self) -> None:
        type(self).boots += 1
        if self.answer(self.boots, "boot", 0) == "no boot":
            raise BootError("no hello", ["last words"], ["qemu"])

    def observe(self, name: str, scale: float = 1.0) -> Observation:
        self.count += 1
        self.scales.append(scale)
        outcome = self.answer(self.boots, name, self.count)
        self.overdue = self._words("overdue")
        alive = not any(word in outcome for word in ("unkillable", "oops", "lost"))
        if outcome == "lost":
            return Observation(scenario=name, failure="machine lost", alive=False)
        if outcome == "no room":
            return Observation(scenario=name, failure="set-up failed: open ENOSPC")
        return Observation(scenario=name, outcome=outcome, alive=alive)

    def late(self, patience: float = 0.0) -> Words:
        return self._words("late" if patience < 1 else "waited")

    def _words(self, when: str) -> Words:
        if when == "overdue" and self.count == 1:  # on a fresh machine there was nobody before
            return Words()
        word = self.answer(self.boots, when, self.count)
        return Words(word[3:], [f"{when} words"]) if word.startswith("ok ") else Words()

    def close(self) -> None:
        pass


def play(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[int, str, int], str],
    *cells: Cell,
    times: int = 1,
) -> list[ResultRecord]:
    monkeypatch.setattr(FakeSession, "boots", 0)
    monkeypatch.setattr(FakeSession, "scales", [])
    monkeypatch.setattr(FakeSession, "answer", staticmethod(answer))
    written: list[Record] = []
    one = replace(job(*cells), times=times)
    runner = CellRunner(one, written.append, start=FakeSession)  # type: ignore[arg-type]
    for one in cells:
        runner.run(one)
    runner.settle()
    runner.close()
    return [record for record in written if isinstance(record, ResultRecord)]


def test_what_the_guest_says_of_its_machine_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSession, "answer", staticmethod(lambda *_: "ok"))
    written: list[Record] = []
    runner = CellRunner(job(cell("a/a")), written.append, start=FakeSession)  # type: ignore[arg-type]
    runner.run(cell("a/a"))
    (column,) = (record for record in written if isinstance(record, ColumnRecord))
    assert (column.release, column.provenance["cpu_features"]) == ("6.1.0", "half thumb")
    assert column.provenance["boot_said"] == "warn(f)"


def test_one_boot_serves_all_that_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(monkeypatch, lambda *_: "ok", cell("a/a"), cell("a/b"), cell("a/c"))
    assert FakeSession.boots == 1
    assert [record.verdict for record in records] == [Verdict.MATCH] * 3
    assert records[0].repeat == "faultline run a/a --kernel k --arch a"


@pytest.mark.parametrize(
    ("seen", "verdict", "bug", "want"),
    [("ok", Verdict.MATCH, "", ""), (HANG, Verdict.KNOWN_BUG, "a race", "ok")],
)
def test_of_a_set_what_is_right_has_no_bug(
    monkeypatch: pytest.MonkeyPatch, seen: str, verdict: Verdict, bug: str, want: str
) -> None:
    row = replace(expect("ok", HANG, want="ok"), bug="a race")
    racy = replace(cell("a/a"), expectations=(row,))
    (record,) = play(monkeypatch, lambda *_: seen, racy)
    assert (record.verdict, record.bug, record.want) == (verdict, bug, want)
    assert record.expected == ["ok", HANG]


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


def told(records: list[ResultRecord]) -> list[tuple[str, int, str, str]]:
    return [(r.scenario, r.attempt, r.observation.outcome, r.confirmation) for r in records]


OOPS = "A: ok | kernel: oops"


@pytest.mark.parametrize(
    ("again", "outcome", "confirmation"),
    [("ok oops", OOPS, "confirmed"), ("ok ", OOPS, "flake")],
)
def test_late_words_find_their_owner_who_is_looked_at_again(
    again: str, outcome: str, confirmation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(boot: int, name: str, nth: int) -> str:
        if name == "late":
            return "ok oops" if (boot, nth) == (1, 2) else "ok "
        return again if name == "waited" else "ok"

    records = play(monkeypatch, answer, cell("a/a"), cell("a/b"), cell("a/c"))
    assert told(records)[:3] == [
        ("a/a", 1, "ok", ""),
        ("a/b", 1, "ok", ""),
        ("a/b", 2, OOPS, "late"),
    ]
    last = [record for record in told(records) if record[0] == "a/b"][-1]
    assert last[2:] == (outcome, confirmation)
    assert told(records)[-1] == ("a/c", 1, "ok", "")
    assert len({(r.scenario, r.attempt) for r in records}) == len(records)


def test_a_late_warning_that_needs_the_others_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(boot: int, name: str, nth: int) -> str:
        return "ok warn(f)" if name in ("late", "waited") and nth == 2 else "ok "

    records = play(monkeypatch, answer, cell("a/a", "ok "), cell("a/b", "ok "))
    assert told(records)[-1][1:] == (
        4, "A: ok  | kernel: warn(f)", "order-dependent(after 1 others, a/a the last)",
    )  # fmt: skip


def test_late_words_that_are_expected_are_not_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = iter(["ok warn(f)", "ok "])

    def answer(boot: int, name: str, nth: int) -> str:
        return next(words) if name == "late" else "ok"

    records = play(monkeypatch, answer, cell("a/a", "A: ok | kernel: warn(f)"))
    assert told(records)[1:] == [("a/a", 2, "A: ok | kernel: warn(f)", "late")]
    assert records[-1].observation.console == ["late words"]
    assert FakeSession.boots == 1


@pytest.mark.parametrize("word", ["oops", "warn(f)"])
def test_words_that_are_overdue_are_about_the_one_before(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this machine was asked for meanwhile is asked of another."""

    def answer(boot: int, name: str, nth: int) -> str:
        if name == "overdue":
            return f"ok {word}" if (boot, nth) == (1, 2) else "ok "
        return "ok " if name in ("late", "waited") else "ok"

    records = play(monkeypatch, answer, cell("a/a"), cell("a/b"))
    assert told(records) == [
        ("a/a", 1, "ok", ""),
        ("a/a", 2, f"A: ok | kernel: {word}", "late"),
        ("a/b", 1, "ok", ""),
        ("a/a", 3, "ok", ""),
        ("a/a", 4, f"A: ok | kernel: {word}", "flake"),
    ]
    assert records[1].observation.console == ["overdue words"]
    assert FakeSession.boots == 3


@pytest.mark.parametrize("when", ["overdue", "late"])
def test_of_a_repeated_cell_late_words_amend_the_right_attempt(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of three: told when the second is observed, or when the first has ended."""

    def answer(boot: int, name: str, nth: int) -> str:
        if name in ("overdue", "late"):
            due = (boot, name, nth) == (1, when, 2 if name == "overdue" else 1)
            return "ok warn(f)" if due else "ok "
        return "ok"

    warned = "A: ok | kernel: warn(f)"
    records = play(monkeypatch, answer, cell("a/a"), times=3)
    assert told(records) == [
        ("a/a", 1, "ok", ""),
        ("a/a", 2, warned, "late"),
        ("a/a", 3, "ok", ""),
        ("a/a", 4, "ok", ""),
        ("a/a", 5, warned, "flake"),
    ]
    assert records[-1].tally == {"ok": 2, warned: 1}
    assert FakeSession.boots == 2


def test_words_behind_a_flake_amend_the_last_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are heard when the next scenario is observed; the flake is on record by then."""

    def answer(boot: int, name: str, nth: int) -> str:
        if name in ("overdue", "late"):
            return "ok warn(f)" if (boot, name, nth) == (1, "overdue", 4) else "ok "
        return "EFAULT" if (boot, nth) == (1, 2) else "ok"

    cells = cell("a/a"), cell("a/b")
    records = [one for one in play(monkeypatch, answer, *cells, times=3) if one.scenario == "a/a"]
    warned = "A: ok | kernel: warn(f)"
    assert told(records)[2:] == [
        ("a/a", 3, "ok", ""),
        ("a/a", 4, "EFAULT", "flake"),
        ("a/a", 5, warned, "late"),
    ]
    assert records[3].tally == {"ok": 2, "EFAULT": 1}
    assert records[4].tally == {"ok": 1, "EFAULT": 1, warned: 1}


@pytest.mark.parametrize(
    ("play", "said"), [("after-another", "warn(zap)"), ("reset-after-another", "lost")]
)
@pytest.mark.usefixtures("short_limits")
def test_what_a_scenario_left_behind_is_blamed_on_it(play: str, said: str, tmp_path: Path) -> None:
    """By real sessions: not on the one that came next, nor is it lost when that is looked at."""
    out = tmp_path / "r.jsonl"
    run_job(job(cell("hole/read"), cell("hole/write"), play=play), out)
    found = read_results([out])
    last = {r.scenario: (r.observation.outcome, r.confirmation) for r in found.last()}
    assert last == {
        "hole/read": (f"A: ok | kernel: {said}", "confirmed"),
        "hole/write": ("ok", ""),
    }
    records = [
        r for r in decode_lines(out.read_bytes().splitlines()) if isinstance(r, ResultRecord)
    ]
    read = [r for r in records if r.scenario == "hole/read"]
    assert ("zap" in "".join(read[1].observation.console)) == (said == "warn(zap)")


def test_a_failed_set_up_stays_one_when_the_kernel_warns_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(boot: int, name: str, nth: int) -> str:
        return "ok warn(f)" if name == "late" and boot == 2 else "no room"

    records = play(monkeypatch, answer, cell("a/a"))
    failure = "set-up failed: open ENOSPC; the kernel said warn(f)"
    assert records[2].observation.failure == failure
    assert {r.verdict for r in records} == {Verdict.INFRA}


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


def test_a_column_that_does_not_boot_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(monkeypatch, lambda *_: "no boot", *(cell(f"a/x{n}") for n in range(20)))
    assert FakeSession.boots == 3
    assert [r.verdict for r in records] == [Verdict.INFRA] * 20


def test_boot_failure_keeps_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    records = play(monkeypatch, lambda boot, name, nth: "no boot", cell("a/a"))
    assert records[0].verdict is Verdict.INFRA
    assert records[0].observation.failure == "boot: no hello"
    assert records[0].observation.console == ["last words"]


def test_run_job_writes_what_a_dying_machine_left(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    run_job(job(cell("a/a"), cell("a/b"), play="die"), out)
    found = read_results([out])
    assert {(r.scenario, r.verdict) for r in found.last()} == {
        ("a/a", Verdict.INFRA),
        ("a/b", Verdict.INFRA),
    }
    assert found.columns["r1", "k,a"].release == "6.1.0"


def test_job_is_plain_data() -> None:
    import pickle

    one = job(cell("a/a"))
    assert pickle.loads(pickle.dumps(one)) == replace(one)
