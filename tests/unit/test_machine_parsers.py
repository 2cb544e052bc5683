"""Console and frame parsers: torn, interleaved, truncated and hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.machine.console import MAX_LINE, Excerpt, LineReader, Sign, classify
from harness.machine.port import MAX_FRAME, End, FrameReader, Hello, Message, Step, encode_frame

NONCE = "00ff00ff00ff00ff"


@pytest.mark.parametrize(
    ("line", "sign"),
    [
        ("[    3.141592] Kernel panic - not syncing: Fatal exception", Sign("panic")),
        ("Oops: 0000 [#1] SMP", Sign("oops")),
        ("BUG: unable to handle page fault for address: ffff888000", Sign("oops")),
        ("Internal error: Oops: 0000000096000004 [#1] SMP", Sign("oops")),
        ("Unable to handle kernel paging request at virtual address 0000", Sign("oops")),
        ("init(45): Oops 1", Sign("oops")),
        ("kernel BUG at arch/m68k/mm/fault.c:161!", Sign("oops")),
        ("WARNING: CPU: 0 PID: 1 at mm/gup.c:10 fixup+0x1/0x2", Sign("warn", "fixup")),
        ("WARNING: possible circular locking dependency detected", Sign("warn", "lockdep")),
        ("BUG: sleeping function called from invalid context", Sign("warn", "sleep-in-atomic")),
        ("rcu: INFO: rcu_sched self-detected stall on CPU", Sign("warn", "rcu-stall")),
        (f"[ 1.000000] fl-{NONCE[:8]} hole/read", Sign("begin", "hole/read")),
        ("fl-11111111 hole/read", None),
        ("init: I say Kernel panic - not syncing", None),
        ("", None),
    ],
)
def test_classify(line: str, sign: Sign | None) -> None:
    assert classify(line, NONCE) == sign


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_lines_do_not_depend_on_how_they_are_torn(chunks: list[bytes]) -> None:
    whole, torn = LineReader(), LineReader()
    data = b"".join(chunks)
    if any(len(line) > MAX_LINE for line in data.split(b"\n")):
        return  # where a long line is cut depends on the chunks
    expected = [*whole.feed(data), whole.rest()]
    assert [line for chunk in chunks for line in torn.feed(chunk)] + [torn.rest()] == expected


@given(st.integers(0, 9000))
def test_text_is_found_wherever_a_long_line_is_cut(offset: int) -> None:
    reader = LineReader()
    data = b"\n" + b"x" * offset + b"needle in the hay" + b"y" * 5000
    pieces = [*reader.feed(data), reader.rest()]
    assert any("needle in the hay" in piece for piece in pieces)
    assert all(len(piece) <= 4 * MAX_LINE for piece in pieces)


def test_excerpt_is_bounded() -> None:
    excerpt = Excerpt(head=2, tail=2, width=5)
    for number in range(100):
        excerpt.add(f"line {number}")
    assert excerpt.lines() == ["line ", "line ", "[... 96 lines left out ...]", "line ", "line "]


MESSAGES: list[Message] = [
    Hello(protocol=1, release="6.1"),
    Step("hole/read", "load="),
    End("hole/read", "SIGSEGV/SEGV_MAPERR @exact", {"addr": "0x10"}),
]


def stream() -> bytes:
    return b"".join(encode_frame(NONCE, i, message) for i, message in enumerate(MESSAGES))


@given(st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_tearing(sizes: list[int]) -> None:
    reader, data, seen = FrameReader(NONCE), stream(), []
    while data:
        for size in sizes:
            seen += list(reader.feed(data[:size]))
            data = data[size:]
    assert seen == MESSAGES
    assert (reader.damaged, reader.lost) == (0, 0)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_between_frames_is_dropped(garbage: bytes, at: int) -> None:
    data = stream()
    at = data.find(b"\n", min(at, len(data) - 1)) + 1
    reader = FrameReader(NONCE)
    assert list(reader.feed(data[:at] + b"\n" + garbage + b"\n" + data[at:])) == MESSAGES


@given(st.data())
def test_a_flipped_bit_never_changes_a_message(draw: st.DataObject) -> None:
    data = bytearray(stream())
    bit = draw.draw(st.integers(0, len(data) * 8 - 1))
    data[bit // 8] ^= 1 << bit % 8
    seen = list(FrameReader(NONCE).feed(bytes(data)))
    assert all(message in MESSAGES for message in seen)
    assert len(seen) < len(MESSAGES) or bytes(data).count(b"\n") != 3


def test_endless_line_takes_no_memory_and_ends_with_the_next_newline() -> None:
    reader = FrameReader(NONCE)
    for _ in range(1000):
        assert not list(reader.feed(b"A" * 4096))
        assert len(reader._buffer) <= MAX_FRAME
    assert list(reader.feed(b"\n" + encode_frame(NONCE, 0, MESSAGES[0]))) == MESSAGES[:1]
    assert reader.damaged == 1


def test_repeated_and_missing_frames() -> None:
    reader = FrameReader(NONCE)
    first, third = encode_frame(NONCE, 0, MESSAGES[0]), encode_frame(NONCE, 2, MESSAGES[2])
    assert list(reader.feed(first + first + third)) == [MESSAGES[0], MESSAGES[2]]
    assert (reader.damaged, reader.lost) == (1, 1)


def test_wrong_nonce_is_dropped() -> None:
    assert not list(FrameReader(NONCE).feed(encode_frame("1" * 16, 0, MESSAGES[0])))
