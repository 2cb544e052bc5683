"""Which accelerator a machine can have: KVM counts only where a boot has proved it."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from harness.jsontext import NOT_JSON
from harness.machine import QemuError
from harness.machine.qemu import MachineSpec, qemu_version
from harness.text import clean, shorten

if TYPE_CHECKING:
    from harness.machine.session import BootError

RECIPE = 2  # raise it where the same answer would be told in other words
WHY = 90  # characters
PROOF_LIMIT = 6.0  # seconds: with working KVM every one of these kernels boots in one or two
DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def native(spec: MachineSpec) -> bool:
    """Whether this host's CPUs could run the machine's code themselves."""
    return spec.qemu == f"qemu-system-{platform.machine()}"


def prove_kvm(spec: MachineSpec, memory: Path) -> tuple[bool, str]:
    """(usable, why) after booting `spec` under KVM, or as remembered in the file `memory`.

    A /dev/kvm that opens proves nothing: under nested virtualisation QEMU may abort or sit
    silent for ever. The answer is remembered for one boot of the host and one QEMU version.
    """
    if not native(spec):
        return False, f"{spec.qemu} is not this host's architecture ({platform.machine()})"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return False, f"{DEVICE} is missing or not accessible"
    qemu = qemu_version(spec.qemu, spec.package)
    key = f"{RECIPE} {_BOOT_ID.read_text().strip()} {qemu} {spec.cpu}"
    remembered = _remembered(memory)
    if key in remembered:
        usable, why = remembered[key]
        return usable, why
    answer = _boot(replace(spec, accel="kvm"))
    with suppress(OSError):  # what cannot be remembered is found out again
        memory.parent.mkdir(parents=True, exist_ok=True)
        aside = memory.with_suffix(f".{os.getpid()}")
        aside.write_bytes(msgspec.json.encode(remembered | {key: answer}))
        aside.replace(memory)
    return answer


def _remembered(memory: Path) -> dict[str, tuple[bool, str]]:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, tuple[bool, str]])
    except (OSError, *NOT_JSON):
        return {}


def _boot(spec: MachineSpec) -> tuple[bool, str]:
    from harness.machine.session import BootError, Session  # where there is a KVM to prove

    session = Session(spec, boot_limit=PROOF_LIMIT)
    try:
        session.boot()
    except (BootError, QemuError) as error:
        return False, f"a boot under KVM failed: {_why(error)}"
    finally:
        session.close()
    return True, f"a boot under KVM took {session.boot_seconds:.1f} s"


def _why(error: BootError | QemuError) -> str:
    """A short reason: it stands on every line that tells of an accelerator, and in all results.

    What QEMU says of KVM comes first; registers and opcodes, which follow that, are left out.
    """
    of_kvm = re.compile(r"KVM internal error|.*kvm run failed|.*failed to initialize kvm", re.I)
    said = next(filter(of_kvm.match, getattr(error, "console", [])), "")
    first = f"{error}".partition("\n")[0]
    return shorten(clean(said or first.partition("; CPUs ")[0]), WHY)
