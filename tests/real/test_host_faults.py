"""A host that is broken: a full disk, a hanging /dev/kvm, a clock that jumps, a QEMU that is
another, a guest that says nothing or floods; and what a guest could get hold of. On real
machines, in mount namespaces of their own where the machine must not see it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from rig import (
    ROOT,
    Undisturbed,
    check_confined,
    in_namespace,
    mounts,
    outcomes_of,
    program,
    results,
    soft_limits,
    start,
    store_copy,
    wait_for_machine,
)

from harness.build.initramfs import write_initramfs
from harness.build.store import Store, default_root
from harness.cli.common import open_project, select
from harness.machine.hand import HandProcess, HandSpec
from harness.machine.qemu import FILE_LIMIT, OPEN_FILES
from harness.machine.session import BootError, Session
from harness.run.options import Options
from harness.run.repro import prepare_case
from tests.processes import gone

# -- a full disk ---------------------------------------------------------------------------


@mounts
@pytest.mark.parametrize("kib", [4, 16, 64])
def test_results_onto_a_disk_that_fills_up(
    kib: int, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    outcomes, _ = undisturbed
    out, kept = tmp_path / "out", tmp_path / "kept"
    out.mkdir()
    kept.mkdir()
    script = f"""mount -t tmpfs -o size={kib}k none {out}
        status=0; "$@" || status=$?
        cp {out}/results.jsonl {kept}; exit $status"""
    run = start(out, "--no-snapshots", below=in_namespace(script))
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 3, said
    assert "No space left" in said
    assert "Traceback" not in said
    for name, record in results(kept).items():
        assert record["observation"].get("outcome") == outcomes[name]


# -- a clock that jumps -----------------------------------------------------------------------

JUMPS = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int failed = syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_REALTIME)	/* up to two years either way, at each look */
		now->tv_sec += (random() % 4 - 2) * 31536000L + random() % 100;
	return failed;
}
"""


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, undisturbed: Undisturbed) -> None:
    outcomes, _ = undisturbed
    (tmp_path / "jumps.c").write_text(JUMPS)
    library = tmp_path / "jumps.so"
    argv = ["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "jumps.c"]
    subprocess.run(argv, check=True)
    out = tmp_path / "out"
    run = start(out, env={"LD_PRELOAD": str(library)})
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 0, said
    assert outcomes_of(out) == outcomes
    look = "import time; print(len({int(time.time() / 3e7) for _ in range(99)}))"
    seen = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
    )
    assert int(seen.stdout) > 1, "the clock did not jump"


# -- QEMU ---------------------------------------------------------------------------------


@mounts
@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the fake is for x86_64")
def test_kvm_that_hangs_is_found_out_once_and_remembered(tmp_path: Path) -> None:
    real = shutil.which("qemu-system-x86_64")
    fake = program(
        tmp_path / "bin" / "qemu-system-x86_64",
        f"""case "$*" in *"-accel kvm"*)
            echo $$ >> {tmp_path}/started; trap "" TERM INT HUP; exec sleep 1000;; esac
        exec {real} "$@" """,
    )
    path = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    script = store_copy(tmp_path) + f'rm -f {default_root()}/kvm.json\n"$@"\nexec "$@"'
    argv = [sys.executable, "-m", "harness", "run", "hole/read", "--arch", "x86_64"]
    done = subprocess.run(
        [*in_namespace(script), *argv, "--out", str(tmp_path / "out")],
        env={**os.environ, **path}, cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("tcg (a boot under KVM failed: no hello from the guest") == 2
    (pid,) = (tmp_path / "started").read_text().split()  # one attempt for two runs
    assert gone(int(pid))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec /bin/false", "printed no version"),
        ("exec sleep 1000", "--version"),
        ("echo QEMU emulator version 4.2.1", "4.2.1 is too old"),
    ],
)
def test_a_qemu_that_is_none_or_too_old_is_said(script: str, message: str, tmp_path: Path) -> None:
    fake = program(tmp_path / "bin" / "qemu-system-m68k", script)
    run = start(tmp_path / "out", env={"PATH": f"{fake.parent}:{os.environ['PATH']}"})
    said = run.communicate(timeout=120)[0].decode()
    assert run.returncode == 2, said
    assert message in said
    assert not (tmp_path / "out").exists()


def failures(out: Path) -> set[str]:
    """Of all that had to be observed: n/a by the .config is known without a machine."""
    seen = (record["observation"] for record in results(out).values())
    return {one.get("failure", "") for one in seen if one.get("outcome") != "n/a"}


def test_a_qemu_for_another_arch_is_told_before_a_boot(tmp_path: Path) -> None:
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "qemu-system-m68k").symlink_to(shutil.which("qemu-system-alpha") or "")
    run = start(tmp_path / "out", env={"PATH": f"{bin}:{os.environ['PATH']}"})
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 2, said
    assert "arches/m68k.yaml: " in said and "unsupported machine type" in said
    assert not (tmp_path / "out").exists()


def test_a_guest_that_never_says_a_word_is_given_up(tmp_path: Path) -> None:
    """A real machine whose CPUs are never started."""
    real = shutil.which("qemu-system-m68k")
    fake = program(tmp_path / "bin" / "qemu-system-m68k", f'exec {real} -S "$@"')
    run = start(tmp_path, "--no-snapshots", env={"PATH": f"{fake.parent}:{os.environ['PATH']}"})
    said = run.communicate(timeout=300)[0].decode()
    assert run.returncode == 3, said
    assert len(failures(tmp_path)) == 1, "all cells of a column that does not boot fail at once"
    assert re.fullmatch(r"boot: no hello from the guest after \d+ s, .*CPUs halted",
                        failures(tmp_path).pop())  # fmt: skip


FLOOD = """
#include <unistd.h>

int main(void)
{
	static char line[4096] = { [0 ... 4094] = 'x', '\\n' };

	for (;;)
		write(1, line, sizeof(line));
}
"""


@pytest.mark.usefixtures("undisturbed")  # which has built the kernel
@pytest.mark.skipif(not shutil.which("m68k-linux-gnu-gcc"), reason="no compiler for m68k")
def test_a_guest_that_floods_the_console_and_has_no_agent_is_given_up(tmp_path: Path) -> None:
    """A real machine; its init writes and does nothing else."""
    (tmp_path / "flood.c").write_text(FLOOD)
    argv = ["m68k-linux-gnu-gcc", "-static", "-o", tmp_path / "flood", tmp_path / "flood.c"]
    subprocess.run(argv, check=True)
    initrd = tmp_path / "initramfs.cpio"
    write_initramfs(initrd, {"init": tmp_path / "flood"})
    project = open_project()
    column = select(project, ("m68k",), (), ("core",))[0]
    scenario = project.matrix.scenarios["hole/read"]
    case = prepare_case(project, column, scenario, Options(store=Store()), lambda what: None)
    session = Session(replace(case.machine, initrd=initrd), boot_limit=6.0)
    started = time.monotonic()
    with pytest.raises(BootError, match="no hello from the guest after") as caught:
        session.boot()
    session.close()
    assert time.monotonic() - started < 30
    console = caught.value.console
    assert len(console) <= 121 and "x" * 100 in console[-1]
    assert sum(map(len, console)) < 1 << 20


# -- what a guest could get hold of ----------------------------------------------------------


def test_qemu_has_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    run = start(tmp_path, "--no-snapshots", env={"SECRET_TOKEN": "hunter2"})
    pid = wait_for_machine(run)
    machine = Path(f"/proc/{pid}")
    filtered, deadline = re.compile(r"^Seccomp:\t2$", re.MULTILINE), time.monotonic() + 10
    while not filtered.search((machine / "status").read_text()):  # it reads its arguments first
        assert time.monotonic() < deadline, "-sandbox is not at work"
    os.kill(pid, signal.SIGSTOP)
    try:
        check_confined(pid)
        words = machine.joinpath("cmdline").read_text().split("\0")
        files = [str(fd.readlink()) for fd in machine.joinpath("fd").iterdir()]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert run.communicate(timeout=300) and run.returncode == 0
    assert "-nodefaults" in words and "-no-user-config" in words
    refused = re.compile(r"-(netdev|nic|net|virtfs|fsdev|usb\S*|vnc|spice|object|share)$")
    assert not list(filter(refused.match, words))
    assert not [word for word in words if re.search("virtio-net|vhost|9p|file=fat", word)]
    assert not [name for name in files if name.endswith((".jsonl", ".lock"))], files


@pytest.mark.parametrize("ssh", [False, True])
def test_a_guest_binary_that_is_started_here_gets_no_more_of_ours(
    ssh: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for ssh, which is a program of the user's and hands nothing on."""
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    (tmp_path / "nothing").touch()
    argv = ("sh", "-c", "env; cat /proc/self/limits")
    spec = HandSpec(argv=argv, binary=tmp_path / "nothing", where="", upload=ssh)
    process = HandProcess(spec, "0" * 16)
    with process.port.makefile("r") as port:
        said = port.read()
    process.close()
    names = set(re.findall(r"^(\w+)=", said, re.MULTILINE))
    assert ("SECRET_TOKEN" in names) == ssh
    limits, ours = soft_limits(said), soft_limits(Path("/proc/self/limits").read_text())
    if ssh:
        assert limits == ours
    else:
        assert (limits["core file size"], limits["file size"]) == (0, FILE_LIMIT)
        assert limits["open files"] <= OPEN_FILES
    assert ssh or names <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_"}  # the last three are the shell's
