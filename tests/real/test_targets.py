"""Columns that are not booted, for real: this machine, user mode of QEMU, and ssh to ourselves."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.results import Results, Verdict, read_results

ROOT = Path(__file__).parents[2]
NATIVE = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")
pytestmark = pytest.mark.skipif(not NATIVE, reason="no arch of ours is this machine's")


def run(out: Path, *words: str, env: dict[str, str] | None = None) -> tuple[int, Results, str]:
    argv = [sys.executable, "-m", "harness", "run", "--out", str(out), *words]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(env or {})},
    )
    path = out / "results.jsonl"
    return done.returncode, read_results([path] if path.exists() else []), done.stdout + done.stderr


def verdicts(results: Results) -> dict[str, Verdict]:
    return {record.scenario: record.verdict for record in results.last()}


def test_this_machine_and_what_it_refuses(tmp_path: Path) -> None:
    code, results, said = run(tmp_path, "--target", "local", "hole/read*", "hwpoison/anon-*")
    assert code == 0, said
    (column,) = results.columns.values()
    assert (column.column, column.target) == (f"local,{NATIVE}", "local")
    assert column.release == platform.release()
    found = verdicts(results)
    assert found.pop("hole/read") is Verdict.MATCH
    refused = [name for name in found if name.startswith("hwpoison/")]
    assert refused
    assert {found[name] for name in refused} == {Verdict.NOT_RUN}
    assert all(not r.observation.outcome for r in results.last() if r.scenario in refused)


def test_a_machine_at_hand_is_asked_as_often_and_in_the_order_that_was_asked_for(
    tmp_path: Path,
) -> None:
    words = ("--target", "local", "hole/read*", "--repeat", "3", "--shuffle")
    orders = []
    for seed in ("a", "b", "a"):
        _, results, _ = run(tmp_path / f"{len(orders)}", *words, seed)
        (column,) = results.columns.values()
        orders.append(column.planned)
        for record in results.last():
            assert sum(record.tally.values()) == 3
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.skipif(not shutil.which("qemu-m68k"), reason="qemu-user is not installed")
def test_user_mode_of_qemu(tmp_path: Path) -> None:
    words = ("--target", "qemu-user", "--arch", "m68k", "hole/read", "stack/past-rlimit")
    code, results, said = run(tmp_path, *words)
    assert code == 3, said
    found = verdicts(results)
    assert found["hole/read"] is Verdict.MATCH
    assert found["stack/past-rlimit"] is Verdict.INFRA  # no stack grows there: not an outcome
    (column,) = results.columns.values()
    assert (column.target, column.provenance["accel"]) == ("qemu-user", "qemu-user")


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    """A throwaway sshd on this machine that lets a throwaway key in; the ssh command for it."""
    sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    if not sshd or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd: openssh-server is not installed")
    for name in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name]
        subprocess.run(argv, check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it goes to be nobody
    options = [
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {tmp_path}/host",
        f"AuthorizedKeysFile {tmp_path}/authorized",
        "StrictModes no",
        "UsePAM no",
        "PidFile none",
        "PasswordAuthentication no",
    ]
    (tmp_path / "sshd_config").write_text("\n".join(options) + "\n")
    server = subprocess.Popen(
        [sshd, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "sshd does not start here"
            time.sleep(0.05)
        (tmp_path / "config").write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {tmp_path}/user\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {tmp_path}/known\n"
        )
        yield f"ssh -F {tmp_path}/config"
    finally:
        server.terminate()
        server.wait()


def test_over_ssh_and_nothing_stays_there(ssh: str, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("faultline.*"))
    words = ("--target", "ssh:board", "hole/read", "uaccess/read-hole", "retry/kill-in-load")
    code, results, said = run(tmp_path / "out", *words, env={"FAULTLINE_SSH": ssh})
    assert code == 0, said
    assert set(verdicts(results).values()) == {Verdict.MATCH}
    (column,) = results.columns.values()
    assert (column.column, column.target) == (f"ssh:board,{NATIVE}", "ssh")
    deadline = time.monotonic() + 5
    while set(Path("/tmp").glob("faultline.*")) - before and time.monotonic() < deadline:
        time.sleep(0.05)  # the shell over there ends after the connection has
    assert set(Path("/tmp").glob("faultline.*")) <= before


def test_an_ssh_that_lets_nobody_in_says_so(tmp_path: Path, ssh: str) -> None:
    (tmp_path / "authorized").write_text("")
    code, results, said = run(tmp_path / "out", "--target", "ssh:board", env={"FAULTLINE_SSH": ssh})
    assert code == 3, said
    assert "Permission denied" in said
    assert "BatchMode" in said
    assert not results.results
