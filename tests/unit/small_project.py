"""A project of two arches and three scenarios that builds and boots in a second: kernels are
`build_fakes.fake_tree`, whose image holds the words of the file `text`, and the machine that
stands in for QEMU takes its outcomes from there ("hole/read=EFAULT").
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from click.testing import CliRunner, Result

from harness.cli import main
from tests.unit.build_fakes import commit, fake_tree, git, tarball

M68K = ("--arch", "m68k")
FAKE_QEMU = Path(__file__).with_name("fake_qemu.py")
ARCH = """\
kernel_arch: {name}
cross: small-
make_targets: vmlinux
image: vmlinux
qemu: small-qemu
machine: by-kernel
memory: 64
console: ttyS0
port_device: virtio-serial-device
snapshot: false  # the stand-in has no monitor: each try to save it would wait for an answer
"""
KERNELS = """\
default: packaged
kernels:
  packaged:
    tarball:
      url: {url}
      sha256: {sha256}
    patches:
      - file: small.patch
        because: the test says so
"""
PATCH = """\
--- a/mm/memory.c
+++ b/mm/memory.c
@@ -1,4 +1,4 @@
 int fault(void)
 {
-\treturn VM_FAULT_SIGBUS;
+\treturn VM_FAULT_SIGSEGV;
 }
"""
ROWS = """\
read:
  summary: a load from a hole
  expect:
    - outcome: ok
      because: the test says so
write:
  summary: a store to a hole
  expect:
    - outcome: ok
      because: the test says so
exec:
  summary: a jump into a hole
  expect:
    - outcome: ok
      because: the test says so
"""


def small_project(root: Path) -> Path:
    """The project's folder. `root/packaged` is the tree of its kernel, and `root/bin` is to be on
    PATH: the host's compiler under the name of a cross compiler, and the stand-in for QEMU.
    """
    project = root / "project"
    files = {
        "kernels.yaml": "default: packaged\nkernels:\n  packaged: {tree: ../packaged}\n",
        "arches/common.config": "",
        "flavours/core.config": "",
        "flavours/full.config": "CONFIG_FULL=y\n",
        "expectations/hole.yaml": ROWS,
        "expectations/decisions.yaml": "{}\n",
        "guest-progs/main.c": "int main(void)\n{\n\treturn 0;\n}\n",
    }
    for name in ("m68k", "alpha"):
        files[f"arches/{name}.yaml"] = ARCH.format(name=name)
        files[f"arches/{name}.config"] = "CONFIG_A=y\n"
        files[f"guest-progs/arch/{name}.h"] = ""
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "bin").mkdir()
    for tool in ("gcc", "ld", "strip"):
        (root / "bin" / f"small-{tool}").symlink_to(shutil.which(tool) or tool)
    (root / "bin" / "small-qemu").symlink_to(FAKE_QEMU)
    fake_tree(root / "packaged")
    return project


def fetched_and_patched(root: Path) -> None:
    """The kernel is an archive at a URL, of the tree as it is now, and has a patch."""
    archive = tarball(root / "packaged", root / "packaged.tar.gz", "w:gz")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    (root / "project" / "small.patch").write_text(PATCH)
    (root / "project" / "kernels.yaml").write_text(
        KERNELS.format(url=archive.as_uri(), sha256=sha256)
    )


MODULE = """
modules_prepare:
\t@:

modules:
\t@cp $(M)/faultline.c $(M)/faultline.ko
"""
NEEDS = """\
  needs: {module: true, disk: ext4}
"""


def with_module_and_disk(root: Path) -> None:
    """hole/exec needs the kernel module and a disk, and the kernel can have them."""
    project, tree = root / "project", root / "packaged"
    with open(tree / "Makefile", "a") as makefile:
        makefile.write(MODULE)
    symbols = ("A", "MODULES", "VIRTIO_BLK", "EXT4_FS")
    config = "".join(f"CONFIG_{symbol}=y\n" for symbol in symbols)
    (project / "arches" / "m68k.config").write_text(config)
    (project / "guest-progs" / "kmod").mkdir()
    (project / "guest-progs" / "kmod" / "faultline.c").write_text("int module;\n")
    (project / "expectations" / "hole.yaml").write_text(ROWS + NEEDS)


def repository(path: Path) -> Path:
    return in_git(fake_tree(path))


def in_git(tree: Path) -> Path:
    git(tree, "init", "--quiet", "--initial-branch=master")
    commit(tree, "start", "start")
    return tree


# -- commands on it --


def call(*words: str) -> Result:
    """The machine that stands in for QEMU cannot be saved."""
    return CliRunner().invoke(main, [*words, "--no-snapshots"], catch_exceptions=False)


def build(*words: str) -> Result:
    return CliRunner().invoke(main, ["build", *words], catch_exceptions=False)


def everything(tree: Path) -> set[tuple[str, int]]:
    """Files and their times; git may renew those of objects."""
    files = (path for path in tree.rglob("*") if path.is_file() and "objects" not in path.parts)
    return {(str(path), path.stat().st_mtime_ns) for path in files}


def edit(tree: Path, text: str) -> None:
    (tree / "text").write_text(text + "\n")
