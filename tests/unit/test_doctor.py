"""What this machine has and lacks: nothing that is needed is forgotten, and KVM is really tried."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from harness.build.store import Store
from harness.build.tools import HEADERS, OF_DEBIAN, PACKAGES
from harness.catalog.arches import load_arches
from harness.catalog.project import load_project
from harness.doctor import OPTIONAL, examine
from harness.machine.qemu import MachineSpec

ROOT = Path(__file__).parents[2]


def test_every_tool_that_is_needed_is_installed_by_ci_setup() -> None:
    lines = (ROOT / "ci/packages.txt").read_text().splitlines()
    installed = {line.split()[1] for line in lines if not line.startswith("#")}
    needed = {package for arch in load_arches(ROOT).values() for package in arch.packages.values()}
    essential = {"coreutils", "apt", "dpkg"}
    assert needed | set(PACKAGES.values()) <= installed | essential
    # What set-up installs for the host is what doctor looks for, and the other way round.
    host = {line.split()[0] for line in lines if line and line[0] != "#"}
    host = {tool for tool in host if not re.match(r"python3|qemu-|.*libc\.a$|.*-gnu\w*-gcc$", tool)}
    known = {*PACKAGES, *HEADERS, *OPTIONAL} - {*OF_DEBIAN, "cp"}
    assert host == known


def ask_doctor(project: Path, tmp_path: Path, *arches: str) -> tuple[int, str]:
    said: list[str] = []
    known = load_project(project)
    asked = [known.arch(name) for name in arches]
    code = examine(known, asked, Store(tmp_path / "store"), said.append)
    return code, "\n".join(said)


def test_doctor_looks_for_headers_and_asks_for_apt_only_where_it_is(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, gcc = tmp_path / "bin", shutil.which("gcc")
    folder.mkdir()
    for tool in PACKAGES.keys() - {*OF_DEBIAN, "gcc"}:
        (folder / tool).write_text(f"#!{sys.executable}\nprint('{tool} 1.2')\n")
    (folder / "gcc").write_text(
        f"#!{sys.executable}\nimport sys\nsys.exit('#include <libelf.h>' in sys.stdin.read())\n"
        if gcc
        else ""
    )
    for path in folder.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    code, said = ask_doctor(project, tmp_path)
    assert code == 3 and "libelf.h: MISSING, Debian package libelf-dev" in said
    assert "\nmissing: libelf.h\ninstall: apt-get install libelf-dev" in said
    (folder / "gcc").write_text(f"#!{sys.executable}\nprint('gcc 1.2')\n")
    code, said = ask_doctor(project, tmp_path)
    assert code == 0 and "libelf.h: there" in said and "nothing is missing" in said
    assert "dpkg-deb: needed for Debian's kernels only" in said
    (folder / "bzip2").unlink()
    code, said = ask_doctor(project, tmp_path)
    assert code == 3 and "missing: bzip2\n" in said


def test_kvm_is_tried_with_the_kernel_that_was_used_last(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def prove(spec: MachineSpec, memory: Path) -> tuple[bool, str]:
        tried.append(spec.image.read_text())
        return True, "a boot under KVM took 1.0 s"

    monkeypatch.setattr("harness.doctor.DEVICE", project)  # something that is there
    monkeypatch.setattr("harness.doctor.native", lambda spec: True)
    monkeypatch.setattr("harness.run.plan.qemu_sandbox", lambda qemu, package: True)
    monkeypatch.setattr("harness.doctor.guest_initramfs", lambda *_: Path("initramfs"))
    monkeypatch.setattr("harness.doctor.prove_kvm", prove)
    assert "KVM for x86_64: not proven" in ask_doctor(project, tmp_path, "x86_64")[1]
    store = Store(tmp_path / "store")
    for number, arch in enumerate(("x86_64", "x86_64", "arm64")):
        text, label = f"{arch} {number}", f"debian-6.12 6.12.117, {arch}, core"
        image = Path(load_project(project).arch(arch).image).name

        def fill(to: Path, image: str = image, text: str = text) -> None:
            (to / image).write_text(text)

        store.create("kernel", f"k{number}", fill, label)
        os.utime(store.base / "kernel" / f"k{number}", (number, number))
    said = ask_doctor(project, tmp_path, "x86_64")[1]
    assert tried == ["x86_64 1"]
    assert "KVM for x86_64: works: a boot under KVM took 1.0 s" in said
