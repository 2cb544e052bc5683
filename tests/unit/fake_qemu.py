#!/usr/bin/env python3
"""Stands in for QEMU: takes its argv, plays the guest named by -M. No kernel, no emulation.

The real machine is tested in tests/matrix; here the session meets what a real one does rarely:
torn frames, silence, death at any byte, floods, forgery.
"""

import os
import re
import signal
import socket
import sys
import time
import zlib
from collections.abc import Callable

argv = sys.argv[1:]
if "--version" in argv:
    print("QEMU emulator version 7.2.0")
    sys.exit(0)
play = argv[argv.index("-M") + 1]
if "-monitor" in argv:  # asked only whether it can make this machine
    assert "-S" in argv and sys.stdin.read() == "quit\n"
    sys.exit(f"fake_qemu.py: unsupported machine type {play}" if play == "nope" else 0)
if play == "dies-at-once":
    sys.exit("fake_qemu.py: no such firmware")
nonce = re.search(r"faultline\.nonce=(\w+)", " ".join(argv))[1]
fd = int(re.search(r"socket,fd=(\d+),id=port", " ".join(argv))[1])
port = socket.socket(fileno=fd)
sequence = 0


def frame(payload: str) -> bytes:
    global sequence
    body = f"{nonce} {sequence} "
    crc = zlib.crc32((body + payload).encode())
    sequence += 1
    return f"FL1 {body}{crc:08x} {payload}\n".encode()


def say(payload: str) -> None:
    port.sendall(frame(payload))


def console(text: str) -> None:
    os.write(1, text.encode("latin-1") + b"\r\n")


def mark(name: str) -> None:
    console(f"[    1.000000] fl-{nonce[:8]} {name}")


# -- what a guest may do in a scenario: each makes something that takes its name -----------------

Act = Callable[[str], None]


def step(outcome: str) -> Act:
    return lambda name: say(f'{{"t":"step","s":"{name}","o":"{outcome}"}}')


def end(outcome: str = "ok", details: str = '"k":"v"') -> Act:
    return lambda name: say(f'{{"t":"end","s":"{name}","o":"{outcome}","d":{{{details}}},"ms":3}}')


def setup_failed(why: str) -> Act:
    return lambda name: say(f'{{"t":"end","s":"{name}","o":"","f":"{why}"}}')


def prints(text: str) -> Act:
    return lambda name: console(text)


WARNED = "WARNING: CPU: 0 PID: 40 at a.c:1 zap+0x1/0x4"


def late_for(next_one: str, text: str = WARNED, status: int | None = None) -> Act:
    """Prints on behalf of the scenario that ran before this one, and may end the machine."""

    def act(name: str) -> None:
        if name == next_one:
            console(text)
            if status is not None:
                sys.exit(status)

    return act


def after_another(act: Act) -> Act:
    """On a machine that has run something already."""
    ran: list[str] = []

    def perhaps(name: str) -> None:
        if ran:
            act(name)
        ran.append(name)

    return perhaps


def exits(status: int) -> Act:
    return lambda name: sys.exit(status)


def waits(seconds: float) -> Act:
    return lambda name: time.sleep(seconds)


def sends(data: bytes) -> Act:
    return lambda name: port.sendall(data)


def stays(name: str) -> None:
    """As one that is held in the kernel."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    time.sleep(60)


def goes_dark(name: str) -> None:
    """While it ends: its descriptors are gone, it is not."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.closerange(0, 3)
    port.close()
    time.sleep(60)


def killed(name: str) -> None:
    os.kill(os.getpid(), 9)


def changed_frame(name: str) -> None:
    port.sendall(frame(f'{{"t":"end","s":"{name}","o":"forged"}}').replace(b"forged", b"faked!"))


def escaping_frame(name: str) -> None:
    """Valid but for what no agent writes: an escape that JSON turns into a control character."""
    say(f'{{"t":"end","s":"{name}","o":"","f":"\\u001b[2J"}}')


def floods_port(name: str) -> None:
    """A GiB, of lines that are nearly frames."""
    lines = (b"FL1 " + b"x" * 8000 + b"\n") * 130
    for _ in range((1 << 30) // len(lines) + 1):
        port.sendall(lines)


def floods_console(name: str) -> None:
    for _ in range(3000):
        os.write(1, b"x" * 999 + b"\n")
    os.write(1, b"y" * 300000 + b"\n")


def torn_frame(name: str) -> None:
    data = frame(f'{{"t":"end","s":"{name}","o":"EFAULT"}}')
    for i in range(0, len(data), 7):
        port.sendall(data[i : i + 7])
        time.sleep(0.001)


def asks(times: int) -> Act:
    """As the agent does when a limit has passed; the answers are a detail."""

    def act(name: str) -> None:
        answers = []
        for _ in range(times):
            time.sleep(0.3)
            say(f'{{"t":"late","s":"{name}"}}')
            answers.append(port.recv(100).decode().removeprefix("more ").strip())
        end(details=f'"more":"{" ".join(answers)}"')(name)

    return act


runs = 0


def by_kernel(name: str) -> None:
    """What the image says of a scenario, a word such as hole/read=EFAULT; a | in it is a flake."""
    global runs
    with open(argv[argv.index("-kernel") + 1]) as file:
        said = dict(word.split("=", 1) for word in file.read().split() if "=" in word)
    outcomes = said.get(name, "ok").split("|")
    outcome = outcomes[runs % len(outcomes)].replace("+", " ")
    runs += 1
    if outcome == "infra":
        setup_failed("mmap 12")(name)
        return
    if outcome == "late":
        waits(0.5)(name)
        outcome = "ok"
    if outcome == "oops":
        console("Oops: 0000 [#1]")
        outcome = "ok"
    end(outcome)(name)


PLAYS: dict[str, tuple[Act, ...]] = {
    "step-oops": (
        mark, step("madvise=ok; load="), prints("kernel BUG at arch/m68k/mm/fault.c:161!"),
        end("madvise=ok; load=killed(SIGSEGV)"),
    ),
    "late-oops": (mark, prints("Oops: 0000 [#1]"), end()),
    "panic": (
        mark, step("load="), prints("Kernel panic - not syncing: Attempted to kill init!"),
        exits(0),
    ),
    "setup-oops": (
        mark, prints("Unable to handle kernel access at virtual address deadbeef"),
        setup_failed("mmap 11"),
    ),
    "reset": (mark, step("load="), exits(0)),
    "taint": (mark, end(details='"taint":"0x200"')),
    "no-mark": (prints("WARNING: CPU: 0 PID: 1 at mm/gup.c:10 fixup+0x1/0x2"), end()),
    "no-outcome": (mark, end("Sigsegv?")),
    "killed": (mark, killed),
    "stays": (mark, stays),
    "goes-dark": (mark, goes_dark),
    "die": (mark, exits(3)),
    "silent": (mark, step("load="), waits(60)),
    "slow": (mark, waits(2), end()),
    "asks": (mark, asks(1)),
    "asks-on": (mark, step("load="), asks(1000)),
    # The scenario before has something to say yet.
    "before-mark": (late_for("hole/write"), mark, end()),
    "panic-before-mark": (late_for("hole/write", "Kernel panic - not syncing: x", 0), mark, end()),
    "told": (mark, prints("qemu-system-fake: terminating on signal 15 from pid 7"), exits(0)),
    "after-another": (after_another(prints(WARNED)), mark, end()),
    "reset-after-another": (after_another(exits(0)), mark, end()),
    "dark-after-another": (after_another(waits(60)), mark, end()),
    "after-end": (mark, end(), waits(0.2), prints("Oops: 0000 [#1]")),
    "warn": (
        mark, prints("WARNING: CPU: 0 PID: 40 at mm/memory.c:6030 handle_mm_fault+0x1c/0x40"),
        end(),
    ),
    "garbage": (
        mark, sends(b"\0\xff" * 100 + b"\n" + os.urandom(20000) + b"\n"),
        sends(b"FL1 0000000000000000 9 00000000 {}\n"), changed_frame, sends(b"\n"), end(),
    ),
    "escapes": (mark, escaping_frame, end()),
    "flood": (mark, floods_console, end()),
    "port-flood": (mark, floods_port, end()),
    "torn": (mark, torn_frame),
    "by-kernel": (mark, by_kernel),
    "setup": (mark, setup_failed("mmap 12")),
    "lost-end": (mark, sends(b"FL1 torn\n"), waits(60)),
    "agent-error": (mark, lambda name: say('{"t":"error","e":"no such scenario"}')),
}  # fmt: skip
NO_TIMER = '{"t":"error","e":"no timer fires"}'
HELLO = (
    '{"t":"hello","protocol":1,"release":"6.1.0","page_size":4096,"cpus":1,"calibration_us":1000}'
)


def program(play: str) -> None:
    """`exec`: a program that says hello, and what may become of the machine meanwhile."""
    found = re.search(r"socket,fd=(\d+),id=stdout", " ".join(argv))
    stdout = socket.socket(fileno=int(found[1]))
    stdout.sendall(b"hello")
    if play == "reset":
        sys.exit(0)
    if play == "agent-error":
        say('{"t":"error","e":"no huge pages"}')
        return
    if play in ("late-oops", "oops-stays", "oops-goes-on"):
        console("Oops: 0000 [#1]")
    if play == "oops-stays":
        time.sleep(60)
    if play == "oops-goes-on":  # each pause is shorter than the grace, all of them are longer
        for _ in range(5):
            time.sleep(0.4)
            stdout.sendall(b".")
    if play == "late-end":
        time.sleep(1)
    size = {"lost-end": 9, "oops-goes-on": 10, "late-end": 9}.get(play, 5)
    say(f'{{"t":"ended","code":0,"out":{size},"err":0,"ms":3}}')
    if play == "late-end":
        time.sleep(0.1)
        stdout.sendall(b"done")
    stdout.detach()


def main() -> None:
    if "-incoming" in argv:
        if play == "killed-restoring":
            killed("")
        restored = os.read(int(argv[argv.index("-incoming") + 1].removeprefix("fd:")), 100)
        if restored != b"a machine":
            console("qemu-system-fake: load of migration failed: Invalid argument")
            sys.exit(1)
    else:
        console("Linux version 6.1.0")
    if play == "by-kernel":
        with open(argv[argv.index("-kernel") + 1]) as file:
            if "no-boot" in file.read():
                sys.exit(1)
    if play == "boot-panic":
        console("Kernel panic - not syncing: VFS: Unable to mount root fs")
        sys.exit(0)
    if play == "boot-flood":
        while True:
            os.write(1, b"Oops: 0000 [#1]\n" * 4000)
    if play == "boot-silent":
        time.sleep(60)
    if play == "boot-exit":
        console("qemu-system-fake: unsupported machine type")
        sys.exit(1)
    if "-incoming" not in argv:
        say(HELLO.replace('"protocol":1', '"protocol":9') if play == "boot-protocol" else HELLO)
    buffer = b""
    while data := port.recv(4096):
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            words = line.decode().split()
            if words[0] == "off":
                sys.exit(0)
            if words[0] == "hello":
                assert words[1] == nonce
                say(NO_TIMER if play == "no-timer" else HELLO)
                continue
            if words[0] == "exec":
                program(play)
            else:
                for act in PLAYS.get(play, (mark, end())):
                    act(words[1])


main()
