"""The outcome grammar: one text for one outcome, and nothing else gets in."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.catalog.names import CODES, ERRNOS, SIGNALS
from harness.catalog.outcome import (
    DATA,
    HANG_STATES,
    NOT_APPLICABLE,
    Call,
    Exit,
    Field,
    Hang,
    Killed,
    Outcome,
    Result,
    Signal,
    Step,
    Task,
    Trouble,
    parse,
)
from harness.catalog.scanner import OutcomeError

VALID = """
ok
ok(7)
ok(0)
EFAULT
E524
short(50/100)
short(0/1)
SIGSEGV/SEGV_MAPERR @exact
SIGSEGV/SEGV_MAPERR @touch+1
SIGSEGV/SEGV_MAPERR @touch-64
SIGSEGV/SEGV_MAPERR @page
SIGSEGV/SEGV_MAPERR @page+8
SIGSEGV/SI_KERNEL @zero
SIGBUS/BUS_ADRERR @other
SIGSEGV/77
SIGSEGV/-6
SIG40/SI_TKILL
SIG40/3
SIGALRM/SI_KERNEL
SIGBUS/BUS_MCEERR_AR @exact lsb=12
SIGBUS/BUS_MCEERR_AR @exact lsb=page
SIGSEGV/SEGV_PKUERR @exact pkey=1 trapno=14 data=zeroed maj=0 min=1
madvise=ok; load=SIGBUS/BUS_MCEERR_AR @exact lsb=12
madvise=EINVAL
read=EFAULT[SIGBUS/BUS_ADRERR @exact]
EFAULT[SIGBUS/BUS_ADRERR @exact lsb=12][SIGALRM/SI_KERNEL]
ok(16)[SIGALRM/SI_KERNEL] data=match
A: read=hang(killable, spin-kernel) | B: kill=ok
A: ok data=match | kernel: warn(do_wp_page)
A: ok | kernel: warn(foo.isra.0) | kernel: warn(lockdep)
kernel: oops
killed(SIGBUS)
exit(3)
hang(unkillable, disk)
oops
panic
warn(__do_fault)
child=ok; parent=ok data=match
n/a
""".strip().splitlines()

# text -> position of what is wrong, from 0
INVALID = {
    "": 0,
    " ok": 0,
    "ok ": 3,
    "ok\n": 2,
    "OK": 0,
    "ok(": 3,
    "ok(07)": 3,
    "ok(-1)": 3,
    "ok(18446744073709551616)": 3,
    "ok(٣)": 3,  # a digit, but not of ASCII
    "EFUALT": 0,
    "E0": 0,
    "EWOULDBLOCK": 0,
    "short(100/100)": 10,
    "SIGSEGV": 7,
    "SIGSEGV @exact": 7,
    "SIGSEGV/BUS_ADRERR": 8,
    "SIGSEGV/SEGV_MAPERR @exct": 21,
    "SIGSEGV/SEGV_MAPERR @touch": 26,
    "SIGSEGV/SEGV_MAPERR @touch+0": 27,
    "SIGSEGV/SEGV_MAPERR @touch+65": 27,
    "SIGSEGV/SEGV_MAPERR @page+0": 26,
    "SIGSEGV/SEGV_MAPERR 0x1000": 20,
    "SIGSEGV/-0": 8,
    "SIG0/1": 0,
    "SIGBUS/BUS_ADRERR @exact pkey=1 lsb=12": 32,  # another order than the canonical one
    "ok data=match data=match": 14,
    "ok lsb=12": 3,
    "ok data=same": 8,
    "ok min=1 maj=1": 9,
    "load=": 5,
    "Load=ok": 0,
    "load=ok;store=ok": 7,
    "load=ok; ok": 9,
    "ok; load=ok": 2,
    "load=n/a": 5,
    "n/a (no pkeys)": 3,
    "EFAULT[ok]": 7,
    "EFAULT[SIGBUS/BUS_ADRERR": 24,
    "SIGBUS/BUS_ADRERR[SIGBUS/BUS_ADRERR]": 17,
    "A: ok | A: ok": 8,
    "A: ok | ": 8,
    "A: ok|B: ok": 5,
    "AB: ok": 0,
    "kernel: ok": 8,
    "killed(BUS)": 7,
    "killed(SIGBUS) @exact": 14,
    "exit(256)": 5,
    "hang(killable)": 13,
    "hang(killable,sleep)": 13,
    "hang(killable, spin)": 15,
    "oops(foo)": 4,
    "warn": 4,
    "warn()": 5,
    "warn(a b)": 6,
    "warn(\x1b[2J)": 5,
}


@pytest.mark.parametrize("text", VALID)
def test_valid_text_round_trips(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(("text", "position"), INVALID.items())
def test_invalid_text_names_the_position(text: str, position: int) -> None:
    with pytest.raises(OutcomeError) as caught:
        parse(text)
    assert caught.value.position == position
    assert f"at character {position + 1} expected " in str(caught.value)


def test_tree() -> None:
    assert parse("A: read=EFAULT[SIGBUS/BUS_ADRERR @page+8 lsb=12] | B: hang(killable, sleep)") == (
        Outcome(
            (
                Task("A", (Step("read", Call("EFAULT", (_BUS,))),)),
                Task("B", (Step("", Hang(killable=True, state="sleep")),)),
            )
        )
    )
    assert parse("n/a") == NOT_APPLICABLE


_BUS = Signal("SIGBUS", "BUS_ADRERR", "@page+8", (Field("lsb", "12"),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SIGSEGV/SEGV_MAPER", "SEGV_MAPERR"),
        ("SIGSEGV/SEGV_MAPERR @exat", "exact, other, page, touch, zero"),
        ("EFAULTT", "EFAULT"),
        ("pannic", "panic"),
        ("ok data=macth", "changed, match, zeroed"),
        ("EFAULT junk=1", "data, maj, min"),
        ("ok; ok", "a label at each step"),
        ("SIGSEGV/SEGV_MAPERR@exact", "blanks as in `SIGSEGV/SEGV_MAPERR @exact`"),
        ("map=ok;load=SIGBUS/BUS_ADRERR  @ exact", "`map=ok; load=SIGBUS/BUS_ADRERR @exact`"),
        ("A:ok|B: hang(killable,sleep)", r"`A: ok \| B: hang\(killable, sleep\)`"),
    ],
)
def test_message_offers_what_was_meant(text: str, expected: str) -> None:
    with pytest.raises(OutcomeError, match=expected):
        parse(text)


def test_message_is_safe_to_print() -> None:
    with pytest.raises(OutcomeError) as caught:
        parse("\x1b[31m\u202e\n" * 50)
    assert str(caught.value).isascii() and str(caught.value).isprintable()


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(OutcomeError("nope", 0, "a result")))
    assert (error.text, error.position, error.expected) == ("nope", 0, "a result")


@pytest.mark.parametrize(
    ("text", "wedges"),
    [
        ("ok", False),
        ("n/a", False),
        ("killed(SIGKILL)", False),
        ("A: ok | kernel: warn(f)", False),
        ("hang(killable, sleep)", True),
        ("read=ok; load=oops", True),
        ("A: ok | B: panic", True),
    ],
)
def test_wedges(text: str, wedges: bool) -> None:
    assert parse(text).wedges is wedges


@pytest.mark.parametrize("piece", ["A: ", "a", "E", "[", "9", "ok[", "load=ok; ", "@", "-", "SIG"])
def test_long_repetitions_take_no_time(piece: str) -> None:
    start = time.perf_counter()
    with pytest.raises(OutcomeError):
        parse((piece * 8192)[:8192])
    with pytest.raises(OutcomeError, match="at most 8192 characters"):
        parse(piece * 1_000_000)
    assert time.perf_counter() - start < 2


# Any tree that the grammar can spell.

numbers = st.integers(0, 2**64 - 1).map(str)
signal_names = st.sampled_from(sorted(SIGNALS)) | st.integers(1, 999).map("SIG{}".format)


def _fields(names: tuple[str, ...]) -> st.SearchStrategy[tuple[Field, ...]]:
    one = {name: st.sampled_from(DATA) if name == "data" else numbers for name in names}
    return st.fixed_dictionaries({}, optional=one).map(
        lambda found: tuple(Field(name, found[name]) for name in names if name in found)
    )


effects = _fields(("data", "maj", "min"))
addresses = st.one_of(
    st.sampled_from(["", "@exact", "@page", "@zero", "@other"]),
    st.builds("@touch{}{}".format, st.sampled_from("+-"), st.integers(1, 64)),
    st.builds("@page+{}".format, st.integers(1, 65535)),
)


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    name = draw(signal_names)
    codes = st.sampled_from(sorted(CODES.get(name, {"SI_USER", "SI_TKILL"})))
    code = draw(codes | st.integers(-99999, 99999).map(str))
    fields = draw(_fields(("lsb", "pkey", "trapno", "data", "maj", "min")))
    return Signal(name, code, draw(addresses), fields)


values = st.one_of(
    st.just("ok"),
    numbers.map("ok({})".format),
    st.integers(1, 2**63).flatmap(
        lambda wanted: st.integers(0, wanted - 1).map(lambda got: f"short({got}/{wanted})")
    ),
    st.sampled_from(sorted(ERRNOS)),
    st.integers(1, 9999).map("E{}".format),
)
functions = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
troubles = st.sampled_from(["oops", "panic"]).map(Trouble) | st.builds(
    Trouble, st.just("warn"), functions
)
results: st.SearchStrategy[Result] = st.one_of(
    st.builds(Call, values, st.lists(signals(), max_size=2).map(tuple), effects),
    signals(),
    signal_names.map(Killed),
    st.integers(0, 255).map(Exit),
    st.builds(Hang, st.booleans(), st.sampled_from(HANG_STATES)),
    troubles,
)
labels = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
steps = st.one_of(
    results.map(lambda result: (Step("", result),)),
    st.lists(st.builds(Step, labels, results), min_size=1, max_size=4).map(tuple),
)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    if draw(st.booleans()):
        return Outcome((Task("", draw(steps)),))
    letters = draw(st.lists(st.sampled_from("ABCXYZ"), unique=True, min_size=1, max_size=3))
    tasks = [Task(letter, draw(steps)) for letter in letters]
    kernel = [Task("kernel", (Step("", trouble),)) for trouble in draw(st.lists(troubles))[:2]]
    return Outcome((*tasks, *kernel))


@given(outcomes())
def test_any_tree_round_trips(outcome: Outcome) -> None:
    assert parse(str(outcome)) == outcome


@given(st.text())
def test_any_text_is_an_outcome_or_an_outcome_error(text: str) -> None:
    _parse_or_refuse(text)


@settings(max_examples=300)
@given(st.sampled_from(VALID), st.data())
def test_damaged_outcomes_round_trip_or_are_refused(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, len(text)))
    graft = data.draw(st.sampled_from(["", " ", "|", "; ", "[", "]", "=", "0", "@", "ok", "\0"]))
    _parse_or_refuse(text[:at] + graft + text[end:])


def _parse_or_refuse(text: str) -> None:
    try:
        outcome = parse(text)
    except OutcomeError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert str(outcome) == text
