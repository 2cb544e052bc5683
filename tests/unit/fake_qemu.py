#!/usr/bin/env python3
"""Stands in for QEMU: takes its argv, plays the guest named by -M. No kernel, no emulation.

The real machine is tested in tests/matrix; here the session meets what a real one does rarely:
torn frames, silence, death at any byte, floods, forgery.
"""

import os
import re
import socket
import sys
import time
import zlib

argv = sys.argv[1:]
if "--version" in argv:
    print("QEMU emulator version 7.2.0")
    sys.exit(0)
play = argv[argv.index("-M") + 1]
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


def end(name: str, outcome: str = "ok") -> None:
    say(f'{{"t":"end","s":"{name}","o":"{outcome}","d":{{"k":"v"}},"ms":3}}')


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
        say(f'{{"t":"end","s":"{name}","o":"","f":"mmap 12"}}')
        return
    if outcome == "oops":
        console("Oops: 0000 [#1]")
        outcome = "ok"
    end(name, outcome)


HELLO = (
    '{"t":"hello","protocol":1,"release":"6.1.0","page_size":4096,"cpus":1,"calibration_us":1000}'
)


def scenario(name: str, play: str) -> None:
    if play != "no-mark":
        mark(name)
    if play == "step-oops":
        say(f'{{"t":"step","s":"{name}","o":"madvise=ok; load="}}')
        console("kernel BUG at arch/m68k/mm/fault.c:161!")
        end(name, "madvise=ok; load=killed(SIGSEGV)")
    elif play == "late-oops":
        console("Oops: 0000 [#1]")
        end(name)
    elif play == "panic":
        say(f'{{"t":"step","s":"{name}","o":"load="}}')
        console("Kernel panic - not syncing: Attempted to kill init!")
        sys.exit(0)
    elif play == "setup-oops":
        console("Unable to handle kernel access at virtual address deadbeef")
        say(f'{{"t":"end","s":"{name}","o":"","f":"mmap 11"}}')
    elif play == "reset":
        say(f'{{"t":"step","s":"{name}","o":"load="}}')
        sys.exit(0)
    elif play == "taint":
        say(f'{{"t":"end","s":"{name}","o":"ok","d":{{"taint":"0x200"}}}}')
    elif play == "no-mark":
        console("WARNING: CPU: 0 PID: 1 at mm/gup.c:10 fixup+0x1/0x2")
        end(name)
    elif play == "no-outcome":
        end(name, "Sigsegv?")
    elif play == "killed":
        os.kill(os.getpid(), 9)
    elif play == "die":
        sys.exit(3)
    elif play == "silent":
        say(f'{{"t":"step","s":"{name}","o":"load="}}')
        time.sleep(60)
    elif play == "after-end":
        end(name)
        time.sleep(0.2)
        console("Oops: 0000 [#1]")
    elif play == "warn":
        console("WARNING: CPU: 0 PID: 40 at mm/memory.c:6030 handle_mm_fault+0x1c/0x40")
        end(name)
    elif play == "garbage":
        port.sendall(b"\0\xff" * 100 + b"\n" + os.urandom(20000) + b"\n")
        port.sendall(b"FL1 0000000000000000 9 00000000 {}\n")
        body = frame(f'{{"t":"end","s":"{name}","o":"forged"}}').replace(b"forged", b"faked!")
        port.sendall(body)
        for byte in b"\n":
            port.sendall(bytes([byte]))
        end(name)
    elif play == "flood":
        for _ in range(3000):
            os.write(1, b"x" * 999 + b"\n")
        os.write(1, b"y" * 300000 + b"\n")
        end(name)
    elif play == "torn":
        data = frame(f'{{"t":"end","s":"{name}","o":"EFAULT"}}')
        for i in range(0, len(data), 7):
            port.sendall(data[i : i + 7])
            time.sleep(0.001)
    elif play == "by-kernel":
        by_kernel(name)
    elif play == "setup":
        say(f'{{"t":"end","s":"{name}","o":"","f":"mmap 12"}}')
    elif play == "lost-end":
        port.sendall(b"FL1 torn\n")
        time.sleep(60)
    elif play == "agent-error":
        say('{"t":"error","e":"no such scenario"}')
    else:
        end(name)


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
    if play == "late-oops":
        console("Oops: 0000 [#1]")
    size = 9 if play == "lost-end" else 5
    say(f'{{"t":"ended","code":0,"out":{size},"err":0,"ms":3}}')
    stdout.detach()


def main() -> None:
    if "-incoming" in argv:
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
                say(HELLO)
                continue
            if words[0] == "exec":
                program(play)
            else:
                scenario(words[1], play)


main()
