"""A kernel tree whose Makefile does what the harness asks for, in milliseconds; fake apt."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from harness.catalog.arches import Arch

MAKEFILE = """\
# SPDX-License-Identifier: GPL-2.0
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 117
EXTRAVERSION =
NAME = Baby Opossum Posse

all: vmlinux

allnoconfig:
\t@mkdir -p $(O)/include/config
\t@cp $(KCONFIG_ALLCONFIG) $(O)/.config

olddefconfig:
\t@sed -i '/CONFIG_LOST/d; /CONFIG_STUCK/d' $(O)/.config
\t@echo 'CONFIG_STUCK=y' >> $(O)/.config
\t@echo 6.12.117 > $(O)/include/config/kernel.release

vmlinux:
\t@echo '  CC      init/main.o'
\t@test ! -e fail || { echo 'init/main.c:3:1: error: expected fault'; exit 1; }
\t@echo '  CC      mm/memory.o'
\t@echo "$(ARCH) $(KBUILD_BUILD_TIMESTAMP) $$(tr "\\n" " " < text)" > $(O)/vmlinux
\t@cp $(O)/vmlinux $(O)/System.map
"""

KCONFIG = """\
config TINY
\tbool "tiny"

config LOST
\tbool "lost" if EXPERT
\tdepends on NEEDED && TINY

config SELECTOR
\tbool
"""


TINY = {
    "kernel/configs/tiny-base.config": "# tiny\nCONFIG_TINY=y\n# CONFIG_DEEP is not set\n",
    "kernel/configs/tiny.config": "CONFIG_SMALL=y\nCONFIG_LOST=y\n# CONFIG_A is not set\n",
    "arch/m68k/configs/tiny.config": "CONFIG_SMALL=m\n",
}


def fake_tree(folder: Path) -> Path:
    """A tree that `make allnoconfig olddefconfig vmlinux` works in, out of tree."""
    folder.mkdir(parents=True)
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "Kconfig").write_text(KCONFIG)
    (folder / "text").write_text("one\ntwo\nthree\nfour\nfive\nsix\n")
    for name, config in TINY.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config)
    (folder / "mm").mkdir()
    (folder / "mm" / "memory.c").write_text("int fault(void)\n{\n\treturn VM_FAULT_SIGBUS;\n}\n")
    return folder


def tarball(tree: Path, to: Path, mode: str = "w:xz") -> Path:
    with tarfile.open(to, mode) as archive:  # type: ignore[call-overload]
        archive.add(tree, "linux-source-6.12")
    return to


def flip_unseen(file: Path, place: int = 0) -> None:
    """A bit of that byte, and neither size nor mtime."""
    before, data = file.stat(), bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def fake_arch(root: Path, name: str = "m68k", fragment: str = "CONFIG_A=y\n") -> Arch:
    """An arch whose compiler is the host's, declared below `root`."""
    (root / "arches").mkdir(parents=True, exist_ok=True)
    (root / "flavours").mkdir(exist_ok=True)
    path = root / "arches" / f"{name}.config"
    core = root / "flavours" / "core.config"
    for file, text in ((core, "# CONFIG_DEEP is not set\n"), (path, fragment)):
        if not file.exists() or file.read_text() != text:  # other processes may be reading it
            file.write_text(text)
    return Arch(
        name=name, bases=(name,), file=f"arches/{name}.yaml", kernel_arch=name, cross="",
        make_targets=("vmlinux",), image="vmlinux", fragment=path, fragments=(path,),
        guest_header=f"{name}.h", qemu="qemu", machine="virt", memory=128, console="ttyS0",
        port_device="virtio-serial-device", packages={},
    )  # fmt: skip


APT = """\
#!{python}
import hashlib, json, os, pathlib, shutil, sys
name, args = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
home = pathlib.Path({home!r})
with open(home / "calls", "a") as log:
    log.write(" ".join([name, *args]) + "\\n")
state = json.loads((home / "state.json").read_text())
if name == "apt-config":
    print('APT::Architecture "amd64";\\nAcquire::http::Proxy "http://proxy.test";')
    print('DPkg::Post-Invoke "rm -rf /";')
elif name == "apt-get" and args[0] == "indextargets":
    known = "--no-release-info" not in args
    for uri, release, component, entry, origin in state["targets"]:
        if not known or origin:
            print("\\t".join(["Packages", uri, release, component, entry,
                             origin if known else "$(ORIGIN)"]))
elif name == "apt-get" and args[0] == "update":
    private = pathlib.Path(os.environ["APT_CONFIG"]).parent
    shutil.copy(private / "sources.d" / "faultline.sources", home / "sources")
    shutil.copy(private / "apt.conf", home / "conf")
    sys.exit(state.get("update", 0))
elif name == "apt-cache":
    package, _, version = args[-1].partition("=")
    offered = state["packages"].get(package)
    if offered is None or version not in ("", offered):
        print("E: No packages found")
        sys.exit(100)
    deb = home / "archive.deb"
    sha = hashlib.sha256(deb.read_bytes()).hexdigest()
    print(f"Package: {{package}}\\nVersion: {{offered}}\\nSHA256: {{sha}}\\nDescription: x")
elif name == "apt-get" and args[0] == "download":
    shutil.copy(home / "archive.deb", "package_all.deb")
elif name == "dpkg-deb":
    sys.stdout.buffer.write(pathlib.Path(args[1]).read_bytes())
else:
    sys.exit(f"unexpected: {{name}} {{args}}")
"""


def fake_apt(home: Path) -> Path:
    """A folder of fake apt programs for PATH; `home` holds state.json and archive.deb."""
    home.mkdir()
    for name in ("apt-get", "apt-cache", "apt-config", "dpkg-deb"):
        path = home / name
        path.write_text(APT.format(python=sys.executable, home=str(home)))
        path.chmod(0o755)
    return home


def fake_deb(tree: Path, package: str, to: Path) -> None:
    """What the fake dpkg-deb takes for a package: its file system as a tar."""
    inner = tarball(tree, to.parent / "inner.tar.xz")
    with tarfile.open(to, "w") as archive:
        archive.add(inner, f"./usr/src/{package}.tar.xz")


def git(tree: Path, *args: str) -> str:
    argv = ["git", "-C", str(tree), "-c", "user.name=x", "-c", "user.email=x@x.test", *args]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def commit(tree: Path, text: str, subject: str = "change") -> str:
    """A commit after which the image holds these words."""
    (tree / "text").write_text(text + "\n")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--allow-empty", "-m", subject)
    return git(tree, "rev-parse", "HEAD")
