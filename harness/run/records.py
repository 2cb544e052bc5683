"""An observation becomes a record; late words amend it, and of several looks one counts. Pure."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from harness.machine.cell import Words, beside_kernel
from harness.machine.console import FATAL
from harness.results import Observation, ResultRecord, Verdict
from harness.run.judge import judge, pick
from harness.run.plan import Cell, Job, repeat_command


def make_record(job: Job, cell: Cell, seen: Observation, attempt: int = 1) -> ResultRecord:
    """An observation, judged."""
    expected = pick(cell.expectations, seen)
    record = ResultRecord(
        run_id=job.run_id,
        column=job.column,
        scenario=cell.scenario,
        summary=cell.summary,
        attempt=attempt,
        verdict=judge(cell.expectations, seen),
        observation=seen,
        repeat=repeat_command(job.kernel, job.arch, job.flavour, cell.scenario),
    )
    if expected is None:
        return record
    unseen = record.verdict is Verdict.MATCH  # what is right of a set: no bug showed
    return replace(
        record,
        expected=list(dict.fromkeys(o for e in cell.expectations for o in e.outcomes)),
        want="" if unseen else " or ".join(expected.want),
        because=expected.because,
        bug="" if unseen else expected.bug,
        evidence=list(expected.evidence),
        declared=expected.declared,
    )


def unconfirmed(record: ResultRecord, why: str) -> ResultRecord:
    """What was seen stays so where the second look at it came to nothing."""
    confirmation = f"not looked at again({why[:200]})"
    return replace(record, attempt=record.attempt + 1, confirmation=confirmation)


def with_late(seen: Observation, words: Words) -> Observation:
    """An observation, with what was heard after its end."""
    word = words.word
    if not word:
        return seen
    seen = replace(seen, alive=False, console=[*seen.console, *words.lines])
    if not seen.failure:
        return replace(seen, outcome=beside_kernel(seen.outcome, word))
    if word in _SURE:
        return replace(seen, outcome=word, failure="")
    return replace(seen, failure=f"{seen.failure}; the kernel said {word}")


def same(one: ResultRecord, other: ResultRecord) -> bool:
    """The same outcome, or the same kind of failure."""
    a, b = one.observation, other.observation
    return a.outcome == b.outcome and a.failure.partition(":")[0] == b.failure.partition(":")[0]


def amended_tally(record: ResultRecord, outcome: str) -> dict[str, int]:
    """The tally of a record after its last observation turned out otherwise."""
    tally = Counter(record.tally)
    if tally:
        tally[record.observation.outcome] -= 1
        tally[outcome] += 1
    return {name: count for name, count in tally.items() if count}


_SURE = (*FATAL, "lost")  # what no slow host can bring about
_WEIGHTS = {Verdict.MISMATCH: 3, Verdict.NO_EXPECTATION: 2, Verdict.INFRA: 0}


def weight(record: ResultRecord) -> tuple[int, int]:
    """Of several observations of a cell the one that is not as expected counts."""
    return _WEIGHTS.get(record.verdict, 1), _strength(record)


def _strength(record: ResultRecord) -> int:
    """How much an observation proves. What a slow host can bring about proves least."""
    seen = record.observation
    if seen.failure:
        return 0
    if any(word in seen.outcome for word in _SURE):
        return 4
    if "warn(" in seen.outcome:
        return 3
    return 1 if any(word in seen.outcome for word in ("hang(", "silent")) else 2


def strongest(confirmation: str, *records: ResultRecord) -> list[ResultRecord]:
    """All attempts but the first, which is written, and at the end the one that counts.

    An oops that does not come back has been seen all the same, and so has a warning, or a reset.
    Of two that prove as much it is the one that is not as expected.
    """
    best = max(reversed(records), key=lambda one: (min(_strength(one), 2), *weight(one)))
    if best is not records[-1]:
        records = (*records, best)
    return [*records[1:-1], replace(records[-1], confirmation=confirmation)]
