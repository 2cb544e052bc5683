"""Judging: what was seen against what is expected."""

from __future__ import annotations

import pytest

from harness.results import Observation, Verdict
from harness.run.judge import Expectations, judge
from tests.unit.job_samples import FAULT, HANG, expect


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
        # Of a set with a bug one may be right.
        (
            (expect("ok", HANG, want="ok"),),
            Observation(scenario="s/s", outcome="ok"),
            Verdict.MATCH,
        ),
        (
            (expect("ok", HANG, want="ok"),),
            Observation(scenario="s/s", outcome=HANG),
            Verdict.KNOWN_BUG,
        ),
        (
            (expect("k1=EFAULT; k5=short(4/9)", want="*=short(*)"),),
            Observation(scenario="s/s", outcome="k2=short(1/9); k5=short(4/9)"),
            Verdict.FIXED,
        ),
        (
            (expect("k1=EFAULT; k5=short(4/9)", want="*=short(*)"),),
            Observation(scenario="s/s", outcome="k2=EFAULT; k5=short(4/9)"),
            Verdict.MISMATCH,
        ),
        (
            (expect("EFAULT", want="short(*)"),),
            Observation(scenario="s/s", outcome="short(2/9)"),
            Verdict.FIXED,
        ),
        (
            (expect("EFAULT", want="short(*)"),),
            Observation(scenario="s/s", outcome="ok(9)"),
            Verdict.MISMATCH,
        ),
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
