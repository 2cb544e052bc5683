"""One cell by hand, on a real machine: the line to paste, the debugger, the shell."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys

import pexpect
import pytest
from rig import ROOT, check_confined, machines, wait_for_machine

ARCH, SCENARIO, OUTCOME = "m68k", "stack/below-usp-257", "SIGSEGV/SEGV_MAPERR @exact"
REPRO = [sys.executable, "-m", "harness", "repro", SCENARIO, "--arch", ARCH]


def test_the_printed_command_works_when_pasted() -> None:
    printed = subprocess.run([*REPRO, "--print-command"], cwd=ROOT, capture_output=True, text=True)
    pasted = subprocess.run(
        ["sh", "-c", printed.stdout], stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    assert OUTCOME.encode() in pasted.stdout
    assert pasted.returncode == 0


@pytest.mark.skipif(not shutil.which("gdb-multiarch"), reason="gdb-multiarch is not installed")
def test_the_debugger_stops_where_the_fault_is_decided_and_then_goes_on() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    machine = subprocess.Popen(
        [*REPRO, "--gdb", "--gdb-port", port], cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert machine.stdout is not None and machine.stderr is not None
        line = machine.stdout.readline()
        while "^C" not in machine.stderr.readline():  # then QEMU is all that is left to start
            assert machine.poll() is None
        check_confined(wait_for_machine(machine))
        more = ["-batch", "-ex", "continue", "-ex", "backtrace 1", "-ex", "delete", "-ex", "detach"]
        argv = [*shlex.split(line), *more]
        debugger = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        began = "Temporary breakpoint 1, "  # the faults of other processes are before it
        assert re.search(rf"{began}\S+ in stack_below_usp_257 \(\)", debugger.stdout)
        assert "Breakpoint 2, " in debugger.stdout, debugger.stdout + debugger.stderr
        assert "in do_page_fault ()" in debugger.stdout
        said, _ = machine.communicate(timeout=120)
        assert OUTCOME in said  # of the machine, once nobody held it any more
        assert machine.returncode == 0
    finally:
        machine.kill()
        machine.wait()


def test_a_shell_with_the_scenarios_at_hand() -> None:
    console = pexpect.spawn(
        REPRO[0], [*REPRO[1:], "--shell"], cwd=str(ROOT), timeout=120, encoding="utf-8"
    )
    try:
        console.expect_exact("\n# ", timeout=600)  # it may have to be compiled
        console.sendline(f"faults {SCENARIO}")
        console.expect_exact(OUTCOME)
        (machine,) = machines(console.pid)
        check_confined(machine)
        console.send("\x1d")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)
    assert console.exitstatus == 0
