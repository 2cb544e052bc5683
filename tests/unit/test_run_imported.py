"""Logs of `faults --all` from elsewhere: whatever happened to them, no result is made up."""

from __future__ import annotations

import io
import random
import zlib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.catalog.project import Project, load_project
from harness.cli import main
from harness.machine.port import Begin, End, Hello, Message, Plan, Refused, encode_frame
from harness.results import ResultRecord, Verdict, read_results
from harness.run.imported import LogError, make_column, read_log, system_of

ROOT = Path(__file__).parents[2]
NONCE = "00000000deadbeef"
NAMES = ("hole/read", "hole/write", "stack/below-usp-257")
FAULT = "SIGSEGV/SEGV_MAPERR @exact"
HELLO = Hello(protocol=1, release="6.1.0", machine="x86_64")


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(ROOT)


def frames(*messages: Message, nonce: str = NONCE) -> bytes:
    return b"".join(encode_frame(nonce, n, message) for n, message in enumerate(messages))


def good(nonce: str = NONCE, outcome: str = FAULT) -> bytes:
    ends = [(Begin(name), End(name, o=outcome)) for name in NAMES]
    return frames(HELLO, Plan(list(NAMES)), *(m for pair in ends for m in pair), nonce=nonce)


def results(project: Project, data: bytes) -> dict[str, list[ResultRecord]]:
    log = read_log(io.BytesIO(data))
    system_of(log)
    found: dict[str, list[ResultRecord]] = {}
    arch = project.arch("x86_64")
    for record in make_column(log, "x", "run", arch, "6.1.0", project, "log")[1]:
        found.setdefault(record.scenario, []).append(record)
    return found


def outcomes(project: Project, data: bytes) -> dict[str, str]:
    return {
        name: records[-1].observation.outcome or records[-1].observation.failure
        for name, records in results(project, data).items()
    }


def test_a_whole_log_is_judged_by_what_it_claims(project: Project) -> None:
    found = results(project, good())
    assert [found[name][-1].verdict for name in NAMES] == [
        Verdict.MATCH,
        Verdict.MATCH,
        Verdict.MISMATCH,  # x86_64 grows a stack by 257 bytes
    ]
    assert {item.status for item in found["hole/read"][-1].evidence} == {"unchecked"}
    assert found["hole/read"][-1].repeat == "faults hole/read"


def test_serial_lines_add_words_and_carriage_returns(project: Project) -> None:
    noisy = b"".join(
        b"[   12.345678] " + line + b"\r\r\n[ 1.0] random: crng init done\r\n"
        for line in good().splitlines()
    )
    assert outcomes(project, b"~ # ./faults --all\r\n" + noisy) == outcomes(project, good())
    joined = good().replace(b"\n", b"")  # all newlines lost
    assert outcomes(project, joined) == outcomes(project, good())


@pytest.mark.parametrize("length", range(0, len(good()), 37))
def test_a_torn_log_never_says_more_than_the_whole(project: Project, length: int) -> None:
    whole = outcomes(project, good())
    data = good()[:length]
    if not read_log(io.BytesIO(data)).hellos:
        with pytest.raises(LogError):
            results(project, data)
        return
    for name, outcome in outcomes(project, data).items():
        assert outcome in (whole[name], "the log ends while it runs")


def test_a_scenario_that_took_the_system_with_it(project: Project) -> None:
    data = frames(
        HELLO, Plan(list(NAMES)), Begin(NAMES[0]), End(NAMES[0], o=FAULT), Begin(NAMES[1])
    )
    found = results(project, data)
    assert found[NAMES[1]][-1].observation.failure == "the log ends while it runs"
    assert found[NAMES[1]][-1].verdict is Verdict.INFRA
    log = read_log(io.BytesIO(data))
    column, _ = make_column(log, "x", "run", project.arch("x86_64"), "6.1.0", project, "log")
    assert NAMES[2] in column.planned  # and without a record: missing
    assert NAMES[2] not in found


def test_a_result_that_got_lost_on_the_way_is_not_invented(project: Project) -> None:
    lines = good().splitlines(keepends=True)
    del lines[3]  # the first end
    assert outcomes(project, b"".join(lines))[NAMES[0]] == "its result is not in the log"
    damaged = good().replace(b'"hole/read","o":"SIGSEGV', b'"hole/read","o":"SIGILLX')
    assert damaged != good()
    assert outcomes(project, damaged)[NAMES[0]] == "its result is not in the log"


def test_two_runs_in_one_log_are_kept_apart(project: Project) -> None:
    other = good("00000000cafecafe", outcome="ok")
    mixed = [
        line for pair in zip(good().splitlines(), other.splitlines(), strict=True) for line in pair
    ]
    found = results(project, b"\n".join(mixed))
    assert [r.observation.outcome for r in found["hole/read"]] == [FAULT, "ok"]
    assert found["hole/read"][-1].confirmation == "flake"
    found = results(project, other + good())  # what the first one proved is not taken back
    seen = [(r.attempt, r.observation.outcome, r.confirmation) for r in found["hole/read"]]
    assert seen == [(1, "ok", ""), (2, FAULT, ""), (3, "ok", "flake")]
    again = results(project, good() + good())  # the same run twice is one
    assert [r.attempt for r in again["hole/read"]] == [1]


def test_forgery_and_contradiction(project: Project) -> None:
    forged = encode_frame(NONCE, 3, End(NAMES[0], o="ok"))  # the number of the real end
    assert "contradicts itself" in outcomes(project, good() + forged)[NAMES[0]]
    twice = encode_frame(NONCE, 99, End(NAMES[0], o="ok"))
    assert "more than one result" in outcomes(project, good() + twice)[NAMES[0]]
    nonsense = frames(HELLO, Begin(NAMES[0]), End(NAMES[0], o="ok ok ok"))
    assert "no outcome" in outcomes(project, nonsense)[NAMES[0]]
    stranger = frames(HELLO, End("no/such", o="ok"), End(NAMES[0], o=FAULT))
    assert list(outcomes(project, stranger)) == [NAMES[0]]


def test_what_was_refused_is_not_run_and_no_pass(project: Project) -> None:
    data = frames(HELLO, Plan(["hwpoison/twice"]), Refused("hwpoison/twice", "poisons memory"))
    record = results(project, data)["hwpoison/twice"][-1]
    assert record.verdict is Verdict.NOT_RUN
    assert record.observation.failure == "not run: poisons memory"


def test_logs_of_nothing_and_of_two_systems() -> None:
    other = HELLO.__class__(protocol=1, release="6.12.0", machine="m68k")
    for data, message in (
        (b"", "no frame"),
        (b"FL1 x\nFL1 y\n", "2 that are damaged"),
        (frames(Begin("hole/read")), "hello"),
        (frames(HELLO) + frames(other, nonce="1" * 16), "different systems"),
        (frames(Hello(protocol=9)), "another protocol"),
    ):
        with pytest.raises(LogError, match=message):
            system_of(read_log(io.BytesIO(data)))


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 2**32))
def test_random_damage_is_no_exception_and_no_news(noise: bytes, seed: int) -> None:
    project = load_project_once()
    choose = random.Random(seed)
    data = bytearray(good())
    for _ in range(choose.randrange(6)):
        at = choose.randrange(len(data))
        data[at : at + choose.randrange(40)] = noise[: choose.randrange(60)]
    log = read_log(io.BytesIO(bytes(data)))
    whole = outcomes(project, good())
    if log.hellos:
        for name, outcome in outcomes(project, bytes(data)).items():
            assert outcome == whole[name] or " " in outcome.replace(FAULT, "")


_PROJECT: list[Project] = []


def load_project_once() -> Project:
    if not _PROJECT:
        _PROJECT.append(load_project(ROOT))
    return _PROJECT[0]


def test_huge_lines_and_many_runs_are_bounded() -> None:
    log = read_log(io.BytesIO(b"FL1 " * 200_000 + b"\n" + good()))
    assert log.damaged >= 100_000
    assert len(log.boots) == 1
    many = b"".join(frames(HELLO, nonce=f"{n:016x}") for n in range(1500))
    assert len(read_log(io.BytesIO(many)).boots) == 1000


def test_a_crc_alone_is_no_frame() -> None:
    for payload in (b"{}", b'{"t":"end"}', b'{"t":"hello","protocol":"x"}', b"{" * 5000):
        body = b"%s 0 " % NONCE.encode()
        line = b"FL1 %s%08x %s\n" % (body, zlib.crc32(body + payload), payload)
        assert read_log(io.BytesIO(line)).boots == {}


def test_the_command(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "x.jsonl"
    log.write_bytes(good())
    done = CliRunner().invoke(main, ["import", str(log), "--as", "board", "-o", str(out)])
    assert done.exit_code == 1, done.output  # stack/below-usp-257 differs from Linux
    found = read_results([out])
    (column,) = found.columns.values()
    assert (column.column, column.target, column.release) == ("board,x86_64", "import", "6.1.0")
    assert len(found.results) == 3
    assert msgspec.json.encode(column)
    for name in ("debian-6.12", "local", "a b", ""):
        assert CliRunner().invoke(main, ["import", str(log), "--as", name]).exit_code == 2
    done = CliRunner().invoke(main, ["import", str(log), "--as", "board", "-o", str(log)])
    assert (done.exit_code, "that is LOG itself" in done.output) == (2, True)
    assert log.read_bytes() == good()
    done = CliRunner().invoke(main, ["import", str(log), "--as", "board", "-o", "/proc/x/y"])
    assert (done.exit_code, "--output /proc/x/y: " in done.output) == (2, True)
    words = ["import", str(log), "--as", "board", "-o", str(out)]
    done = CliRunner().invoke(main, [*words, "--version", "banana"])
    assert (done.exit_code, "such as 6.12.3-rc1" in done.output) == (2, True)
    for arch, warned in (("m68k", True), ("x86_64", False), ("i386", False)):
        done = CliRunner().invoke(main, [*words, "--arch", arch])
        assert (f"names x86_64, and was judged as {arch}" in done.output) is warned
    log.write_bytes(b"nothing")
    done = CliRunner().invoke(main, ["import", str(log), "--as", "board"])
    assert (done.exit_code, "faults --all" in done.output) == (2, True)
