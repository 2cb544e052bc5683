"""Console and frame parsers: torn, interleaved, truncated and hostile input."""

from __future__ import annotations

import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.machine.console import MAX_LINE, Excerpt, LineReader, Sign, classify, last_words
from harness.machine.port import MAX_FRAME, End, FrameReader, Hello, Message, Step, encode_frame

NONCE = "00ff00ff00ff00ff"


OOPS, PANIC = Sign("oops"), Sign("panic")
SAID = {  # by the formats of 6.1 and 6.12
    # x86
    "Oops: 0000 [#1] PREEMPT SMP": OOPS,
    "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI": OOPS,
    "general protection fault: 0000 [#1]": OOPS,
    "Oops: general protection fault: 0000 [#3] SMP KASAN PTI": OOPS,
    "general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1]":
        OOPS,
    "segment-related general protection fault: 0018 [#1] PREEMPT_RT SMP": OOPS,
    "divide error: 0000 [#1] SMP": OOPS,
    "invalid opcode: 0000 [#1] PREEMPT SMP": OOPS,
    "int3: 0000 [#12]": OOPS,
    ": 0000 [#1] SMP": OOPS,  # behind "Split lock detected\n"
    "BUG: unable to handle page fault for address: ffff888000": OOPS,
    "BUG: kernel NULL pointer dereference, address: 0000000000000008": OOPS,
    "BUG: TASK stack guard page was hit at 0000000074ac5a8d (stack is 0..1)": OOPS,
    "PANIC: double fault, error_code: 0x0": OOPS,
    # arm64
    "Internal error: Oops: 0000000096000004 [#1] SMP": OOPS,
    "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP": OOPS,
    "Internal error: Oops - undefined instruction: 0 [#1] ARM": OOPS,  # arm: no leading zeros
    "Internal error: Oops: 805 [#2] SMP ARM": OOPS,
    "Internal error: : 1 [#1] ARM": OOPS,  # arm: a fault that has no name
    "Internal error: synchronous external abort: 0000000096000010 [#1] SMP": OOPS,
    "Unable to handle kernel paging request at virtual address 0000": OOPS,
    # alpha
    "init(45): Oops 1": OOPS,
    "faults(12): Oops -1": OOPS,
    "faults(12): Instruction fault 0": OOPS,
    "faults(12): Arithmetic fault 0": OOPS,
    "faults(12): Kernel Bug 1": OOPS,
    "a b [1] (2) c:(12): Oops 1": OOPS,
    "CPU 1 faults(12): Oops 0": OOPS,
    "faults(12): unhandled unaligned exception": OOPS,
    "Bad unaligned kernel access at fffffc0000310000: 0000000000000001 28 1": OOPS,
    "Kernel bug at mm/memory.c:120": OOPS,
    # m68k
    "Oops: 00000000": OOPS,
    "Unable to handle kernel access at virtual address 00000004": OOPS,
    "*** ILLEGAL INSTRUCTION ***   FORMAT=0": OOPS,
    "BAD KERNEL BUSERR": OOPS,
    "BAD KERNEL TRAP: 00000000": OOPS,
    # powerpc
    "BUG: Kernel NULL pointer dereference on read at 0x00000000": OOPS,
    "BUG: Unable to handle kernel data access on write at 0xc008000000000000": OOPS,
    "BUG: Unable to handle unknown paging fault at 0x00000010": OOPS,
    "Oops: Kernel access of bad area, sig: 11 [#1]": OOPS,
    "Oops: Exception in kernel mode, sig: 5 [#12]": OOPS,
    # s390
    "Oops: 0004 ilc:2 [#1] SMP ": OOPS,
    "Oops: 0010 ilc:3 [#12]SMP DEBUG_PAGEALLOC": OOPS,  # 7.2
    "monitor event: 0040 ilc:2 [#1] SMP ": OOPS,
    "Oops: 0004 ilc:2 [#1] ": OOPS,  # another CPU's line came between
    "specification exception: 0006 ilc:2 [#1] PREEMPT SMP ": OOPS,
    "Unable to handle kernel paging request in virtual user address space": OOPS,
    "User process fault: interruption code 0010 ilc:3 in faults[1000000+10000]": None,
    "Oops: x[12]: 0004 ilc:2 [#1] SMP ": None,
    # everywhere
    "[    3.141592] Kernel panic - not syncing: Fatal exception": PANIC,
    "---[ end Kernel panic - not syncing: Fatal exception ]---": None,
    "kernel BUG at arch/m68k/mm/fault.c:161!": OOPS,
    "Kernel BUG at fixup_exception+0x1/0x2 [verbose debug info unavailable]": OOPS,
    "WARNING: CPU: 0 PID: 1 at mm/gup.c:10 fixup+0x1/0x2": Sign("warn", "fixup"),
    "WARNING: CPU: 0 PID: 1 at fixup+0x1/0x2": Sign("warn", "fixup"),  # without BUGVERBOSE
    "WARNING: mm/gup.c:10 at fixup+0x1/0x2, CPU#0: faults/12": Sign("warn", "fixup"),  # 7.2
    "WARNING: ./include/linux/mm.h:1 at f.isra.0+0x1/0x2, CPU#0: a/1": Sign("warn", "f.isra.0"),
    "WARNING: at fixup+0x1/0x2, CPU#0: faults/12": Sign("warn", "fixup"),
    "mm/pgtable-generic.c:54: bad pmd 00000000deadbeef.": Sign("warn", "bad-page-table"),
    "arch/x86/mm/pgtable.c:7: bad pgd 0000000012345678(0000000000000000)": Sign(
        "warn", "bad-page-table"
    ),
    "WARNING: possible circular locking dependency detected": Sign("warn", "lockdep"),
    "WARNING: lock held when returning to user space!": Sign("warn", "lockdep"),
    "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected": Sign("warn", "lockdep"),
    "WARNING: faults/12 still has locks held!": Sign("warn", "lockdep"),
    "BUG: MAX_LOCK_DEPTH too low!": Sign("warn", "bug"),
    "BUG: sleeping function called from invalid context": Sign("warn", "sleep-in-atomic"),
    "BUG: scheduling while atomic: faults/12/0x00000002": Sign("warn", "sleep-in-atomic"),
    "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 32s!":
        Sign("warn", "workqueue-lockup"),
    "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[9]": Sign("warn", "workqueue-leak"),
    "BUG: spinlock bad magic on CPU#0, faults/12": Sign("warn", "spinlock"),
    "BUG: rwlock wrong CPU on CPU#1, faults/12, 0000000000000000": Sign("warn", "spinlock"),
    "BUG: using __this_cpu_add() in preemptible [00000000] code: faults/12":
        Sign("warn", "preemptible"),
    "BUG: Bad page state in process faults  pfn:00123": Sign("warn", "bad-page"),
    "BUG: KASAN: slab-out-of-bounds in do_fault+0x1/0x2": Sign("warn", "kasan"),
    "UBSAN: shift-out-of-bounds in mm/memory.c:1:2": Sign("warn", "ubsan"),
    "BUG kmalloc-64 (Not tainted): Poison overwritten": Sign("warn", "slab"),
    "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [faults:12]": Sign("warn", "soft-lockup"),
    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0": Sign("warn", "hard-lockup"),
    "rcu: INFO: rcu_sched self-detected stall on CPU": Sign("warn", "rcu-stall"),
    "INFO: task faults:12 blocked for more than 120 seconds.": Sign("warn", "hung-task"),
    f"[ 1.000000] fl-{NONCE[:8]} hole/read": Sign("begin", "hole/read"),
    "fl-11111111 hole/read": None,
    "": None,
}  # fmt: skip


@pytest.mark.parametrize(("line", "sign"), SAID.items())
def test_classify(line: str, sign: Sign | None) -> None:
    assert classify(line, NONCE) == sign
    if not line.startswith("["):
        assert classify(f"<1>[    3.141592][   T12] {line}", NONCE) == sign


NAMES = (
    "Oops: x", "Oops: 0000 [#1]", "x: 0000 [#1] ", "Oops: 00000000", "BAD KERNEL TRAP",
    "kernel BUG at x", "Kernel bug at x", "kernel BUG a:1!", "BUG: Bad page x", "BUG: KASAN: a i",
    "WARNING: x", "WARNING: bad x", "BUG: spinlock x", "x(1): Oops 1", "a(1): Oops 1(1)",
    "double fault: x", "Internal error:", "*** *** FORMAT=", "UBSAN: x in y", "BUG x (Tainted",
)  # fmt: skip
NAMED = (
    "{}[12]: segfault at 0 ip 0000000000401234 sp 00007ffd error 4 likely on CPU 0",
    "{}[12]: unhandled exception: DABT (lower EL), ESR 0x92000004, level 0 translation fault",
    "{}[12] bad frame in rt_sigreturn frame:0 ip:401234 sp:7ffd orax:ffffffffffffffff",
    "{}(12): unaligned trap at 0000000120000abc: 0000000000000001 28 1",
    "{} (12): drop_caches: 1",
    "{}/12: reached RLIMIT_SIGPENDING, dropped signal 11",
    "{} invoked oom-killer: gfp_mask=0x0(), order=0, oom_score_adj=0",
    "{}: page allocation failure: order:9, mode:0x0(), nodemask=(null)",
)


@pytest.mark.parametrize("line", NAMED)
@pytest.mark.parametrize("name", NAMES)
def test_a_task_cannot_call_itself_an_oops(line: str, name: str) -> None:
    assert len(name) <= 15
    assert classify(line.format(name)) is None


@pytest.mark.parametrize("line", [line for line in SAID if not line.endswith("Oops 1")])
def test_the_middle_of_a_line_is_nobodys(line: str) -> None:
    assert classify(f"init: I say {line}") is None


@pytest.mark.parametrize("text", [*SAID, *(f"{name}[1]" for name in NAMES), "x" * 15, " ", "[#1] "])
def test_time_to_classify_is_linear(text: str) -> None:
    started = time.perf_counter()
    for line in (text * (MAX_LINE // max(1, len(text))), text + "a" * MAX_LINE, "(" * MAX_LINE):
        classify(line)
    assert time.perf_counter() - started < 0.5


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


def test_excerpt_keeps_what_is_fatal_from_between_its_ends() -> None:
    excerpt = Excerpt(head=1, tail=2)
    for number in range(6):
        excerpt.add(f"line {number}", fatal=number in (2, 5))
    gap = "[... 2 lines left out ...]"
    assert excerpt.lines() == ["line 0", gap, "line 2", "line 4", "line 5"]


def test_last_words_begin_with_what_is_fatal() -> None:
    panic = "Kernel panic - not syncing: x"
    assert last_words([panic, "a", "b"], 2) == [panic, "[...]", "a", "b"]
    assert last_words(["z", "a", panic], 2) == ["[...]", "a", panic]
    assert last_words([panic, "a"], 2) == [panic, "a"]
    assert last_words([], 2) == []


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


def test_deep_nesting_is_damage() -> None:
    """Valid CRC, and JSON too deep for a decoder, in a field it knows or not."""
    for payload in (
        b'{"t":"step","s":' + b"[" * 8000 + b"}",
        b'{"t":"step","s":"a","x":' + b"[" * 4000 + b"]" * 4000 + b"}",
        b'{"x":' * 1600 + b"0" + b"}" * 1600,
    ):
        body = NONCE.encode() + b" 0 "
        line = b"FL1 %s%08x %s\n" % (body, zlib.crc32(body + payload), payload)
        reader = FrameReader(NONCE)
        assert not list(reader.feed(line))
        assert reader.damaged == 1
        assert list(reader.feed(encode_frame(NONCE, 0, MESSAGES[0]))) == MESSAGES[:1]
