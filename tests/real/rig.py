"""What tests of the harness on real machines share: runs, and the processes below them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.build.store import default_root
from harness.machine.qemu import OPEN_FILES
from tests.processes import lives, within

ROOT = Path(__file__).parents[2]
MOMENTS = int(os.environ.get("FAULTLINE_MOMENTS", "4"))
ARCH, SCENARIOS = "m68k", ["hole/*", "control/*", "protection/*"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
Undisturbed = tuple[dict[str, str], float]
mounts = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode
    != 0,
    reason="no mount namespace to be had here: needs root, and a root folder that is a mount",
)


def run_command(out: Path, *words: str, arch: str = ARCH) -> list[str]:
    argv = [sys.executable, "-m", "harness", "run", *SCENARIOS, "--arch", arch, "--out", str(out)]
    return [*argv, *words]


def start(
    out: Path,
    *words: str,
    arch: str = ARCH,
    below: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """A run of SCENARIOS; `below` is a command that executes it, `env` is added to ours."""
    return subprocess.Popen(
        [*below, *run_command(out, *words, arch=arch)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def descendants(pid: int) -> Iterator[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, found):
        yield child
        yield from descendants(child)


def machines(pid: int) -> list[int]:
    """The machines below a process: not a QEMU that is only asked for its version."""
    return [child for child in descendants(pid) if " -kernel " in command_line(child)]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def wait_for_machine(run: subprocess.Popen[Any], limit: float = 120) -> int:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline and run.poll() is None:
        if found := machines(run.pid):
            return found[0]
        time.sleep(0.005)
    raise AssertionError("the run started no machine")


def check_confined(pid: int) -> None:
    """A machine has nothing of ours, and limits: of its environment, core, files and addresses."""
    machine = Path(f"/proc/{pid}")
    environment = machine.joinpath("environ").read_bytes().split(b"\0")
    assert {word.partition(b"=")[0] for word in environment if word} == {b"PATH", b"LC_ALL"}
    limits = machine.joinpath("limits").read_text()
    soft = soft_limits(limits)
    assert soft["core file size"] == 0
    assert {"file size", "address space"} <= set(soft)
    assert len(list(machine.joinpath("fd").iterdir())) < soft["open files"] <= OPEN_FILES
    for name in ("core file size", "file size", "address space", "open files"):
        assert re.search(rf"Max {name} +(\d+) +\1 ", limits), f"it may raise its {name}"


def soft_limits(limits: str) -> dict[str, int]:
    """Those that there are, by name: of /proc/PID/limits."""
    found = re.findall(r"^Max ([a-z ]+?) +(\d+) ", limits, re.MULTILINE)
    return {name: int(limit) for name, limit in found}


def adopt_orphans() -> None:
    """From now on who loses its parent below us is our child: `left_behind` sees it."""
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER


def left_behind() -> list[str]:
    """The command lines of those below us that do not end, within seconds.

    All of them anew each time, and twice: who changes its parent meanwhile may be missed once.
    """

    def living() -> list[int]:
        return [pid for pid in descendants(os.getpid()) if lives(pid)]

    if within(10, lambda: not living() and not living()):
        return []
    return [command_line(pid) for pid in living()]


def records(out: Path) -> list[dict[str, Any]]:
    """The whole ones: what is left of a torn line may end with anything, a brace as well."""
    found = []
    for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def results(out: Path) -> dict[str, dict[str, Any]]:
    """The last record of each scenario."""
    return {r["scenario"]: r for r in records(out) if r["type"] == "result"}


def outcomes_of(out: Path) -> dict[str, str]:
    return {name: r["observation"].get("outcome", "") for name, r in results(out).items()}


# -- another host for a run --


def in_namespace(script: str) -> list[str]:
    """Words that execute, in a mount namespace of its own, what follows them as "$@"."""
    return ["unshare", "--mount", "sh", "-ec", script, "sh"]


def store_copy(folder: Path) -> str:
    """A script that lays a copy of the store, whose changes stay in `folder`, over the store."""
    store = default_root()
    for name in ("upper", "work"):
        (folder / name).mkdir(exist_ok=True)
    return (
        f"mount -t overlay overlay -o "
        f"lowerdir={store},upperdir={folder}/upper,workdir={folder}/work,redirect_dir=on {store}\n"
    )


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
