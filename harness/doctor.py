"""What this machine has and lacks, tool by tool, and whether KVM really works."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from harness.build import BuildError
from harness.build.prune import entries
from harness.build.store import Store
from harness.build.tools import HEADERS, OF_DEBIAN, PACKAGES
from harness.catalog.arches import Arch
from harness.catalog.project import Project
from harness.machine import QemuError
from harness.machine.accel import DEVICE, native, prove_kvm
from harness.machine.qemu import OLDEST
from harness.run.images import guest_initramfs
from harness.run.plan import machine_spec

OPTIONAL = {"ccache": "ccache"}  # faster second builds

Say = Callable[[str], None]


def examine(project: Project, arches: Iterable[Arch], store: Store, say: Say) -> int:
    """Say what is there and what is missing. 0: nothing is missing; 3: something is."""
    missing: dict[str, str] = {}
    arches = list(arches)
    for tool, package in PACKAGES.items():
        if tool in OF_DEBIAN and shutil.which("apt-get") is None:
            say(f"{tool}: needed for Debian's kernels only, and there is no apt here")
        else:
            _tool(tool, package, say, missing)
    for header, package in HEADERS.items():
        _header(header, package, say, missing)
    for tool, package in OPTIONAL.items():
        _tool(tool, package, say, {}, "optional: ")
    for arch in arches:
        say(f"{arch.name}:")
        for tool, package in arch.packages.items():
            _tool(tool, package, say, missing, "  ")
        _static_libc(arch, say, missing)
    _kvm(project, arches, store, say)
    say(f"store: {store.root}, {shutil.disk_usage(_existing(store.root)).free / 1e9:.0f} GB free")
    if not missing:
        say("nothing is missing")
        return 0
    say("\nmissing: " + ", ".join(sorted(missing)))
    say("install: apt-get install " + " ".join(sorted(set(missing.values()))))
    return 3


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _tool(tool: str, package: str, say: Say, missing: dict[str, str], indent: str = "") -> None:
    if shutil.which(tool) is None:
        if tool != "libc":  # a library: looked for by the compiler, below
            missing[tool] = package
            say(f"{indent}{tool}: MISSING, Debian package {package}")
        return
    version = _version(tool)
    found = re.match(r"(\d+)\.(\d+)", version)
    old = tool.startswith("qemu-") and found and (int(found[1]), int(found[2])) < OLDEST
    say(
        f"{indent}{tool}: {version}"
        + (f"  TOO OLD, expected {OLDEST[0]}.{OLDEST[1]}" if old else "")
    )
    if old:
        missing[tool] = package


def _header(name: str, package: str, say: Say, missing: dict[str, str]) -> None:
    if shutil.which("gcc") is None:  # which is told
        return
    look = ["gcc", "-E", "-x", "c", "-o", "/dev/null", "-"]
    done = subprocess.run(look, input=f"#include <{name}>\n", capture_output=True, text=True)
    say(f"{name}: there" if done.returncode == 0 else f"{name}: MISSING, Debian package {package}")
    if done.returncode:
        missing[name] = package


def _version(tool: str) -> str:
    """The first number that `tool --version` prints, or why there is none."""
    try:
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not answer --version: {error}"
    found = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "version unknown"


def _static_libc(arch: Arch, say: Say, missing: dict[str, str]) -> None:
    """Guest programs are linked statically: is there a libc.a for them?"""
    gcc = f"{arch.guest_cross or arch.cross}gcc"
    if shutil.which(gcc) is None:
        return
    done = subprocess.run([gcc, "-print-file-name=libc.a"], capture_output=True, text=True)
    if Path(done.stdout.strip()).is_absolute():
        say("  static libc: there")
        return
    package = arch.packages.get("libc", "a static libc")
    say(f"  static libc: MISSING, Debian package {package}")
    missing[f"libc.a for {arch.name}"] = package


def _kvm(project: Project, arches: Iterable[Arch], store: Store, say: Say) -> None:
    """KVM counts only where a kernel has been booted under it."""
    if not DEVICE.exists():
        say(f"KVM: no {DEVICE}; machines run under TCG")
        return
    for arch in arches:
        spec = machine_spec(arch, Path(), Path(), "kvm")
        if not native(spec):
            continue
        kept = [e for e in entries(store) if e.kind == "kernel" and f", {arch.name}, " in e.label]
        if not kept:
            say(f"KVM for {arch.name}: not proven, only a boot proves it and there is no kernel")
            say(f"  build one: faultline build --arch {arch.name}")
            continue
        last = max(kept, key=lambda entry: entry.used)
        image = last.path / "files" / Path(arch.image).name
        try:
            spec = replace(spec, image=image, initrd=guest_initramfs(arch, project, store))
            usable, why = prove_kvm(spec, store.root / "kvm.json")
        except (BuildError, QemuError) as error:
            usable, why = False, str(error)
        say(f"KVM for {arch.name}: {'works' if usable else 'does not work'}: {why}")
