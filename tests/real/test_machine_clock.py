"""A machine's clock goes on where it stopped: a snapshot may be days old when it is restored."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from msgspec.structs import replace
from rig import ROOT

from harness.build.store import Store
from harness.catalog.project import load_project
from harness.machine.qemu import command
from harness.run.images import build, guest_initramfs
from harness.run.options import Options
from harness.run.plan import Column, machine_spec

TIME_LOW = "0xff006000"  # the first Goldfish RTC of m68k's `virt`, Linux's clock; latches TIME_HIGH


@pytest.fixture
def stopped() -> list[str]:
    """A machine of m68k whose CPU has not started, with QEMU's monitor on its console."""
    project = load_project(ROOT)
    arch = project.arch("m68k")
    kernel = build(
        Column(arch=arch, kernel=project.kernel(project.kernels.default)),
        Options(store=Store()),
        lambda line: None,
    )
    initrd = guest_initramfs(arch, project, Store())
    spec = machine_spec(arch, kernel.image, initrd, "tcg")
    argv = command(replace(spec, args=(*spec.args, "-S", "-monitor", "stdio")), "0" * 16)
    return [word.replace("stdio,id=console,signal=off", "null,id=console") for word in argv]


def test_the_clock_of_a_stopped_machine_stands_still(stopped: list[str]) -> None:
    with subprocess.Popen(
        stopped, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as machine:
        assert machine.stdin is not None and machine.stdout is not None
        for _ in range(2):
            machine.stdin.write(f"xp /2wx {TIME_LOW}\n")
            machine.stdin.flush()
            time.sleep(0.3)
        said = machine.communicate("quit\n", timeout=60)[0]
    read = re.findall(r"ff006000: (0x[0-9a-f]{8} 0x[0-9a-f]{8})", said)
    assert len(read) == 2 and read[0] == read[1] != "0x00000000 0x00000000", said
