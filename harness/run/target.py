"""Columns that are not booted: this machine, one behind ssh, user mode of QEMU, an imported log.

Each is judged by what it claims to be: by the rows for its arch and the version that its uname
tells. Where a row says that the kernel's source is wrong, the right outcome is as good there:
nobody knows which source it was made from. Evidence is unchecked for the same reason.
"""

from __future__ import annotations

import functools
import gzip
import os
import platform
import re
import shlex
import shutil
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from harness.build import BuildError, InputError
from harness.build.evidence import check_evidence
from harness.build.kconfig import read_config
from harness.catalog.arches import Arch
from harness.catalog.kernels import RunningSource
from harness.catalog.matrix import Facts, Machine, Scenario
from harness.catalog.project import Project
from harness.catalog.version import VersionError, parse_version
from harness.machine import QemuError
from harness.machine.hand import BINARY, NONCE, HandSpec
from harness.machine.qemu import qemu_version
from harness.results import ColumnRecord, Evidence
from harness.run.facts import page_size
from harness.run.images import guest_binary
from harness.run.judge import Expectation
from harness.run.options import Options, Say
from harness.run.plan import Cell, Column, Job, cell, ordered, without_disks
from harness.run.ready import Ready

SSH = "FAULTLINE_SSH"  # what is called instead of `ssh`, with options: "ssh -F FILE"
_SSH_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15",
                "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3")  # fmt: skip
_SSH_LIMIT = 60.0  # seconds for uname, host keys and all
_MAX_CONFIG = 1 << 20  # bytes of a .config; they have about 300 KiB
_ASK = (
    "uname -m; uname -r; { zcat /proc/config.gz || cat /boot/config-$(uname -r); } 2>/dev/null"
    f" | head -c {_MAX_CONFIG}"
)
QEMU_USER = "qemu-user"  # as `accel` in `when:`, and the Debian package


class Running(Struct, frozen=True):
    """What a machine says of itself."""

    machine: str  # uname -m
    release: str  # uname -r
    config: Mapping[str, str] | None = None  # None: it tells nobody how it was configured


def look_at(source: RunningSource) -> Running:
    """Ask a machine what it is. Raises BuildError when it does not answer."""
    if source.kind == "ssh":
        return _ask_over_ssh(source.host)
    release = platform.release()
    own = _own_config(release) if source.kind == "local" else ""  # of QEMU it would tell nothing
    return Running(platform.machine(), release, read_config(own) or None)


def _own_config(release: str) -> str:
    """The .config of the kernel that runs here; "" where it is not to be had."""
    with suppress(OSError, EOFError, zlib.error), gzip.open("/proc/config.gz") as file:
        return file.read(_MAX_CONFIG).decode("utf-8", errors="replace")
    with suppress(OSError), open(f"/boot/config-{release}", "rb") as file:
        return file.read(_MAX_CONFIG).decode("utf-8", errors="replace")
    return ""


def arches_of(source: RunningSource, arches: Mapping[str, Arch]) -> list[Arch]:
    """The arches that can run there without being asked for: its own, or, in user mode, all."""
    plain = [arch for arch in arches.values() if len(arch.bases) == 1]
    if source.kind == QEMU_USER:
        found = [arch for arch in plain if shutil.which(_user_qemu(arch))]
        if not found:
            raise QemuError(f"there is no qemu-user here; install it: apt-get install {QEMU_USER}")
        return found
    machine = look_at(source).machine
    own = arch_of(machine, arches)
    if own is None:
        names = ", ".join(arch.name for arch in plain)
        raise InputError(f"{source}: a {machine} is none of {names}: say which with --arch")
    return [own]


def arch_of(machine: str, arches: Mapping[str, Arch]) -> Arch | None:
    """The arch that `uname -m` names; None if there is none."""
    plain = (arch for arch in arches.values() if len(arch.bases) == 1)
    return next((arch for arch in plain if _is(machine, arch)), None)


def _is(machine: str, arch: Arch) -> bool:
    name = arch.qemu.removeprefix("qemu-system-")
    if re.fullmatch(r"i[3-6]86", machine):
        machine = "i386"
    return machine == name or (name == "arm" and machine.startswith("armv"))


def prepare_running(
    run_id: str,
    column: Column,
    scenarios: Sequence[Scenario],
    project: Project,
    options: Options,
    say: Say,
) -> Ready:
    """A column that is not booted, made ready. Raises BuildError, QemuError."""
    source = column.kernel.source
    assert isinstance(source, RunningSource)
    say(f"asking {source}")
    running = look_at(source)
    binary = guest_binary(column.arch, project, options.store, say)
    spec, provenance = _spec(
        source, column.arch, HandSpec(argv=(), binary=binary, where=str(source))
    )
    accel = QEMU_USER if source.kind == QEMU_USER else ""
    cells = claimed_cells(column.arch, running, accel, scenarios, project)
    cells = [one for one in cells if options.wedging or not one.wedges]
    cells = ordered(cells, options.shuffle)
    record = ColumnRecord(
        run_id=run_id,
        column=column.id,
        target=source.kind,
        arch=column.arch.name,
        kernel=column.kernel.name,
        flavour=column.flavour,
        version=running.release,
        provenance={
            "source": str(source),
            "machine": running.machine,
            "config": "known" if running.config else "unknown",
            **provenance,
        },
        planned=[one.scenario for one in cells],
    )
    return Ready(
        record=record,
        jobs=(Job.of(record, spec, cells, times=options.times),),
        entries=(("guest", binary.parents[1].name),),
        kernel=None,
        spec=spec,
    )


def _spec(source: RunningSource, arch: Arch, spec: HandSpec) -> tuple[HandSpec, dict[str, str]]:
    if source.kind == QEMU_USER:
        qemu = _user_qemu(arch)
        version = qemu_version(qemu, QEMU_USER)
        via = f"{shutil.which(qemu)} -cpu {arch.cpu}" if arch.cpu else str(shutil.which(qemu))
        argv = (*via.split(" "), BINARY, "--via", via, "--serve", NONCE)
        about = {"qemu": version, "accel": QEMU_USER, "cpu": arch.cpu}
        return replace(spec, argv=argv, where=qemu, package=QEMU_USER), about
    if source.kind == "ssh":
        script = _UPLOAD.format(size=spec.binary.stat().st_size, nonce=NONCE)
        return replace(spec, argv=(*_ssh(source.host), script), upload=True), {}
    return replace(spec, argv=(BINARY, "--serve", NONCE)), {}


def _user_qemu(arch: Arch) -> str:
    return arch.qemu.replace("qemu-system-", "qemu-", 1)


# -- ssh -----------------------------------------------------------------------------------

# Nothing stays there: the binary comes ahead of the commands, and goes with the connection.
_UPLOAD = (
    "d=$(mktemp -d /tmp/faultline.XXXXXX) && chmod 755 $d && trap 'rm -rf $d' EXIT HUP TERM && "
    "head -c {size} >$d/faults && chmod 755 $d/faults && $d/faults --serve {nonce}"
)


def _ssh(host: str) -> tuple[str, ...]:
    command = shlex.split(os.environ.get(SSH, "")) or ["ssh"]
    return (*command, *_SSH_OPTIONS, "--", host)


@functools.cache
def _ask_over_ssh(host: str) -> Running:
    argv = [*_ssh(host), _ASK]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_SSH_LIMIT,
        )  # fmt: skip
    except FileNotFoundError:
        raise InputError(f"{argv[0]} is not installed: install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"ssh:{host} does not answer within {_SSH_LIMIT:.0f} s") from None
    machine, release, *config = [*done.stdout.splitlines(), "", ""]
    if done.returncode or not _is_word(machine) or not _is_word(release):
        why = next(reversed(done.stderr.strip().splitlines()), f"exit status {done.returncode}")
        hint = "a key without a passphrase, or an agent, and a known host key are needed"
        raise BuildError(f"ssh:{host}: {why[:300]}\n  {hint}: only BatchMode is used")
    return Running(machine[:40], release[:80], read_config("\n".join(config)) or None)


def _is_word(line: str) -> bool:
    return len(line.split()) == 1


# -- expectations --------------------------------------------------------------------------


def claimed_cells(
    arch: Arch, running: Running, accel: str, scenarios: Sequence[Scenario], project: Project
) -> list[Cell]:
    """The cells of a system that claims to be this release on this arch; refused are those
    that could harm it. Nothing is expected of what claims no release that can be read.
    """
    try:
        version = parse_version(running.release)
    except VersionError:
        return [Cell(scenario=one.name, expectations=(), refused=one.harm_on(arch))
                for one in scenarios]  # fmt: skip
    config = running.config
    facts = Facts(
        arch=arch, version=version, accel=accel, cpu=None, config=config,
        page_size=page_size(config, arch),
    )  # fmt: skip

    @functools.cache
    def look(name: str) -> tuple[Evidence, ...]:
        return tuple(check_evidence(None, project.matrix.decisions[name], arch, version))

    return [_claimed(cell(scenario, facts, look), scenario, arch) for scenario in scenarios]


def _claimed(one: Cell, scenario: Scenario, arch: Arch) -> Cell:
    if one.machine.disks:
        why = "a scratch disk is given to no machine but our own"
        one = without_disks(one, why, scenario.needs.declared)
    expectations = [part for whole in one.expectations for part in _right_or_as_ours(whole)]
    refused = scenario.harm_on(arch)
    return replace(one, expectations=tuple(expectations), refused=refused, machine=Machine())


def _right_or_as_ours(expectation: Expectation) -> list[Expectation]:
    if not expectation.want:
        return [expectation]
    right = replace(
        expectation,
        outcomes=expectation.want,
        because="what a correct kernel gives, where one of this version has a known bug",
        want=(),
        bug="",
    )
    return [right, expectation]
