"""What test programs' output and end are read as; the programs are real, see tests/programs."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.program_record import Status
from harness.run.suite import FORMS, Judgement, Reading
from harness.run.tally import MAX_CASES, End

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for source in PROGRAMS.glob("*.c"):
        argv = ["gcc", "-Wall", "-o", folder / source.stem, source]
        subprocess.run(argv, check=True, capture_output=True)
    return folder


def run(program: Path, *words: str, form: str = "auto", expect: str = "") -> Judgement:
    done = subprocess.run([program, *words], capture_output=True)
    reading = Reading(form, expect)
    reading.feed("stderr", done.stderr)
    reading.feed("stdout", done.stdout)
    code = done.returncode
    return reading.judge(End(code=code) if code >= 0 else End(signal=signal.Signals(-code).name))


def say(*lines: str, code: int = 0, form: str = "auto") -> Judgement:
    reading = Reading(form)
    reading.feed("stdout", "\n".join(lines).encode())
    return reading.judge(End(code=code))


@pytest.mark.parametrize(
    ("play", "status", "reason", "totals"),
    [
        ("good", "pass", "", {"pass": 1, "skip": 1, "todo": 1}),
        ("fail", "fail", "first: b", {"pass": 1, "fail": 1}),
        ("nested", "fail", "first: two", {"pass": 1, "fail": 1}),
        ("all-skipped", "skip", "exit status 4", {"skip": 1}),
        ("skipped-0", "skip", "not skipped", {"skip": 2}),
        ("short", "broken", "2 of 3 planned", {"pass": 2}),
        ("bail", "broken", "Bail out! no memory", {"pass": 1}),
        ("nothing", "broken", "no test ran", {}),
        ("planless", "pass", "no plan", {"pass": 2}),
        ("planless-fail", "fail", "first: b", {"pass": 1, "fail": 1}),
        ("dies", "fail", "killed by SIGSEGV", {"pass": 1}),
    ],
)
def test_ktap(built: Path, play: str, status: str, reason: str, totals: dict[str, int]) -> None:
    found = run(built / "ktap", play)
    assert (found.form, found.status.value, found.totals) == ("ktap", status, totals)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("play", "status", "totals"),
    [
        ("pass", "pass", {"pass": 1}),
        ("pass-and-conf", "pass", {"pass": 1, "skip": 1}),
        ("conf", "skip", {"skip": 1}),
        ("nothing", "broken", {}),
        ("fail", "fail", {"pass": 1, "fail": 1}),
        ("brok", "broken", {"broken": 1}),
        ("old", "pass", {"pass": 2}),
        ("old-fail", "fail", {"pass": 1, "fail": 1}),
    ],
)
def test_ltp(built: Path, play: str, status: str, totals: dict[str, int]) -> None:
    found = run(built / "ltp", play)
    assert (found.form, found.status.value, found.totals) == ("ltp", status, totals)


def test_plain_exits_and_ends_that_are_expected(built: Path) -> None:
    plain = built / "plain"
    assert run(plain, "exit", "0").status is Status.PASS
    assert run(plain, "exit", "3").status is Status.FAIL
    assert run(plain, "exit", "77").status is Status.FAIL
    assert run(plain, "exit", "77", form="automake").status is Status.SKIP
    assert run(plain, "exit", "2", form="openposix").status is Status.BROKEN
    assert run(plain, "exit", "3", expect="3").status is Status.PASS
    assert run(plain, "segv", "0", expect="SIGSEGV").status is Status.PASS
    assert run(plain, "exit", "0", expect="SIGSEGV").status is Status.FAIL


@pytest.mark.parametrize(
    ("lines", "code", "status", "totals"),
    [
        (["[RUN]\tx", "[OK]\tx"], 0, "pass", {"pass": 1}),
        (["[OK]\tx", "[FAIL]\ty"], 1, "fail", {"pass": 1, "fail": 1}),
        (["[SKIP]\tno CPU feature"], 0, "skip", {"skip": 1}),
        (["[OK]\tx"], 4, "skip", {"pass": 1}),
        (["[OK]\tx"], 1, "fail", {"pass": 1}),
        (["==>> completed. PASS(1)"], 0, "pass", {"pass": 1}),
    ],
)
def test_kselftest_of_the_older_style(
    lines: list[str], code: int, status: str, totals: dict[str, int]
) -> None:
    found = say(*lines, code=code)
    assert (found.form, found.status.value, found.totals) == ("kselftest", status, totals)


@pytest.mark.parametrize(
    ("lines", "code", "status"),
    [
        (["1..1", "ok 1", "ok 2"], 0, "broken"),  # more than planned
        (["ok 1", "ok 2", "1..2"], 0, "pass"),  # TAP 12: the plan may come last
        (["TAP version 14", "1..1", "    1..2", "    ok 1", "ok 1 - outer"], 0, "broken"),
        (["TAP version 14", "1..1", "    1..1", "    ok 1", "not ok 1 - outer"], 1, "fail"),
        (["TAP version 14", "1..1", "    1..1", "    not ok 1 # TODO", "ok 1"], 0, "skip"),
        (["TAP version 13", "1..1", "ok 1 x"], 1, "fail"),  # and then it exits 1
        (["TAP version 13", "1..1", "ok"], 0, "pass"),  # numbers may be left out
        (["TAP version 13", "1..1", "not ok 1 no device # SKIP"], 0, "skip"),
        (["TAP version 13", "1..1", "ok 1 \\# SKIP is part of the name"], 0, "pass"),
        (["TAP version 13", "1..1", "\r", "ok 1 x\r"], 0, "pass"),
        (["[    0.5] noise", "1..1", "[   12.345678][    T1] ok 1 kunit"], 0, "pass"),
        (["TAP version 13", "1..2", "ok 1", "  ---", "  not ok 2", "not ok 2"], 0, "fail"),
        (["TAP version 13"], 0, "broken"),
        (["KTAP version 1", "1..1", "# TAP version 13", "# not ok 1 x", "ok 1 x"], 0, "pass"),
        (["this is ok", "not ok", "ok then"], 0, "pass"),  # prose, and exit status 0
        (["BAIL OUT!"], 0, "broken"),
        # A child has written its parent's buffer once more, and test 2 is lost:
        (["TAP version 13", "1..2", "ok 1 a", "ok 1 a"], 0, "broken"),
        (["TAP version 13", "1..2", "ok 2 b", "ok 3 c"], 0, "pass"),  # they need not begin at 1
        # A result that was printed by nobody, but counted:
        (["TAP version 13", "1..1", "ok 1", "# Totals: pass:0 fail:1 error:0"], 0, "fail"),
        (["TAP version 13", "1..1", "ok 1", "# Totals: pass:1 fail:0 error:0"], 0, "pass"),
    ],
)
def test_tap_in_all_its_forms(lines: list[str], code: int, status: str) -> None:
    assert say(*lines, code=code).status.value == status


@pytest.mark.parametrize(
    ("lines", "code", "status"),
    [
        (["a.c:1: TPASS: x"], 1, "fail"),  # a child's failure shows in the bits
        (["a.c:1: TPASS: x"], 6, "broken"),
        (["a.c:1: TPASS: x", "a.c:2: TWARN: y"], 4, "broken"),
        (["a.c:1: TPASS: x", "a.c:2: TWARN: y"], 0, "broken"),
        (["a.c:1: TPASS: x", "Summary:", "passed 1", "warnings 1"], 0, "broken"),
        (["a.c:1: TPASS: x"], 32, "skip"),
        (["a.c:1: TINFO: TPASS is a word"], 0, "pass"),  # no result line: an exit status
        (["Summary:", "passed 3", "failed 1"], 0, "fail"),
    ],
)
def test_ltp_by_its_bits(lines: list[str], code: int, status: str) -> None:
    assert say(*lines, code=code).status.value == status


def test_ltp_lines_that_never_came_are_told() -> None:
    lines = ["a.c:1: TPASS: x", "Summary:", "passed 3", "failed 0", "skipped 0"]
    assert say(*lines).reason.endswith("the summary says passed 3, the lines 1")
    once = ["a.c:1: TPASS: x", "Summary:", "passed 1", "skipped 0"]
    assert "summary" not in say(*once).reason
    assert "summary" not in say(*once, *once).reason, "a script that runs two"
    assert say("Summary:", "failed 1", *once).status.value == "fail"


@pytest.mark.parametrize(
    ("lines", "summary", "code", "status", "reason"),
    [
        ("TPASS", "passed 1, failed 1", 1, "fail", "the summary says failed 1, the lines 0"),
        ("TPASS", "passed 1, failed 1", 0, "fail", "the summary says failed 1, the lines 0, and "
         "yet it ended with exit status 0"),
        ("TPASS", "passed 1, failed 0", 1, "fail", "exit status 1: TFAIL, which its lines and its "
         "summary do not tell of"),
        ("TPASS", "", 2, "broken", "exit status 2: TBROK, which its lines do not tell of"),
        ("TFAIL", "failed 0", 1, "fail", "first: a.c:1; the summary says failed 0, the lines 1"),
        ("TFAIL", "failed 1", 0, "fail", "first: a.c:1, and yet it ended with exit status 0"),
        ("TFAIL", "failed 1", 1, "fail", "first: a.c:1"),
        ("TPASS", "passed 1", 32, "skip", "exit status 32: TCONF, though 1 passed"),
        ("TCONF", "passed 0, skipped 1", 32, "skip", "exit status 32: TCONF"),
    ],
)  # fmt: skip
def test_what_an_ltp_test_says_and_how_it_ends_may_disagree(
    lines: str, summary: str, code: int, status: str, reason: str
) -> None:
    told = ["Summary:", *summary.split(", ")] if summary else []
    found = say(f"a.c:1: {lines}: x", *told, code=code)
    assert (found.form, found.status.value, found.reason) == ("ltp", status, reason)


def test_a_failure_that_ends_with_exit_status_0_is_told_of_every_form() -> None:
    for lines in (["[FAIL] x"], ["TAP version 13", "1..1", "not ok 1 x"]):
        assert say(*lines).reason.endswith("and yet it ended with exit status 0")
        assert "yet" not in say(*lines, code=1).reason
    reading = Reading(expect="3")
    reading.feed("stdout", b"[FAIL] x\n")
    assert reading.judge(End(code=3)).reason == "first: x", "it ended with 3, as expected"


@pytest.mark.parametrize(
    ("lines", "form", "status"),
    [
        (["TAP version 13", "1..1", "ok 1 a"], "auto", "pass"),
        (["TAP version 13", "1..2", "ok 1 a", "not ok 2 b"], "auto", "fail"),
        (["TAP version 13", "1..2", "ok 1 a"], "auto", "broken"),
        (["TAP version 13", "1..1", "ok 1 # SKIP no swap"], "auto", "skip"),
        (["TAP version 13", "1..0 # SKIP no swap"], "auto", "skip"),
        (["a.c:1: TPASS: x"], "auto", "pass"),
        (["a.c:1: TPASS: x", "a.c:2: TFAIL: y"], "auto", "fail"),
        (["a.c:1: TCONF: x"], "auto", "skip"),
        (["[FAIL] x"], "auto", "fail"),
        (["nothing of any form"], "auto", "pass"),
        (["nothing of any form"], "automake", "pass"),
        (["nothing of any form"], "ktap", "broken"),
    ],
)
@pytest.mark.parametrize("end", [End(code=77), End(signal="SIGSEGV")], ids=str)
def test_an_end_that_is_expected_is_not_all(
    lines: list[str], form: str, status: str, end: End
) -> None:
    """It takes the place of exit status 0, and of nothing that the output says."""
    for expect, wanted in (("77", end.code == 77), ("SIGSEGV", bool(end.signal)), ("0", False)):
        reading = Reading(form, expect)
        reading.feed("stdout", "\n".join(lines).encode())
        found = reading.judge(end)
        assert found.status.value == (status if wanted else "fail")
        assert wanted or found.reason == f"{end}, and {expect} was expected"


def test_trouble_is_never_a_pass() -> None:
    for form in FORMS:
        reading = Reading(form, expect="0")
        reading.feed("stdout", b"TAP version 13\n1..1\nok 1\na.c:1: TPASS: x\n[OK] x\n")
        found = reading.judge(End(code=0, trouble="oops"))
        assert found.status is Status.FAIL, form
        assert "oops" in found.reason


def test_tests_of_the_kernel_that_print_nothing() -> None:
    for code, status in ((0, Status.PASS), (4, Status.SKIP), (1, Status.FAIL)):
        assert Reading("kselftest-exit").judge(End(code=code)).status is status


def test_silence_is_no_pass_where_results_are_due() -> None:
    for form in ("ktap", "ltp", "kselftest"):
        assert Reading(form).judge(End(code=0)).status is Status.BROKEN


def test_memory_is_bounded_and_all_are_counted() -> None:
    reading = Reading()
    reading.feed("stdout", b"x" * 10_000_000)
    for _ in range(30):
        reading.feed("stdout", b"\nok 1 name" * 1000)
    found = reading.judge(End(code=0))
    assert found.totals == {"pass": 30000}
    assert len(found.cases) == MAX_CASES


@given(st.lists(st.binary(max_size=200)), st.integers(0, 255), st.sampled_from(FORMS))
def test_no_bytes_break_it(pieces: list[bytes], code: int, form: str) -> None:
    reading = Reading(form)
    for piece in pieces:
        reading.feed("stdout", piece)
        reading.feed("stderr", piece)
    found = reading.judge(End(code=code))
    if found.status is Status.PASS:
        assert code == 0
    assert all(len(case.name) <= 200 for case in found.cases)


@given(
    st.lists(
        st.sampled_from(
            [
                "ok 1 a",
                "not ok 2 b",
                "1..2",
                "  1..1",
                "  ok 1",
                "    not ok 1",
                "Bail out!",
                "  ---",
            ]
        ),
        max_size=12,
    )
)
def test_one_failure_is_a_failure_wherever_it_stands(lines: list[str]) -> None:
    found = say("TAP version 13", *lines)
    plain = [line for line in lines if "---" not in line]
    if len(plain) == len(lines) and any(line.strip().startswith("not ok") for line in lines):
        assert found.status in (Status.FAIL, Status.BROKEN)


@pytest.mark.parametrize(
    ("plan", "totals", "code", "status", "reason"),
    [
        (3, "pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0", 0, "pass", "only its totals"),
        (3, "pass:2 fail:0 xfail:0 xpass:0 skip:1 error:0", 0, "pass", "only its totals"),
        (3, "pass:0 fail:3 xfail:0 xpass:0 skip:0 error:0", 0, "fail", "say fail 3"),
        (3, "pass:0 fail:0 xfail:0 xpass:0 skip:3 error:0", 0, "skip", "not skipped"),
        (3, "pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0", 1, "fail", "exit status 1"),
        (3, "pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0", 0, "broken", "0 of 3 planned"),
    ],
)
def test_kernel_tests_that_count_and_do_not_tell(
    plan: int, totals: str, code: int, status: str, reason: str
) -> None:
    """As kcmp_test does: a plan, no result, and totals; with exit status 0 whatever they are."""
    found = say(
        "TAP version 13", f"1..{plan}", "PASS: as expected", f"# Totals: {totals}", code=code
    )
    assert found.status.value == status
    assert reason in found.reason
    if status == "pass":
        assert sum(found.totals.values()) == plan


def test_what_is_expected_to_fail_has_not_passed() -> None:
    """kselftest writes `ok N # XFAIL`; with TODO, `ok` is a pass."""
    found = say("TAP version 13", "1..1", "ok 1 # XFAIL too slow")
    assert (found.status.value, found.totals) == ("skip", {"todo": 1})
    found = say("TAP version 13", "1..1", "ok 1 a # TODO some day")
    assert (found.status.value, found.totals) == ("pass", {"pass": 1})
