"""The kernel module: built against a kernel's own .config, once for each kernel and content."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec.structs
import pytest
from build_fakes import fake_arch

from harness.build import BuildError
from harness.build.initramfs import build_initramfs
from harness.build.kernel import BuiltKernel
from harness.build.module import build_module
from harness.build.store import Store
from harness.catalog.arches import Arch
from harness.catalog.matrix import load_matrix
from harness.catalog.project import load_project
from harness.run import images
from harness.run.options import Options
from harness.run.plan import Column

MAKEFILE = """\
modules_prepare:
\t@cp $(O)/.config $(O)/prepared

modules:
\t@! grep -s '#error' $(M)/faultline.c
\t@cat $(O)/prepared $(M)/faultline.c > $(M)/faultline.ko
\t@echo "$(ARCH) $(KBUILD_MODPOST_WARN)" >> $(M)/faultline.ko
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "guest-progs" / "kmod"
    folder.mkdir(parents=True)
    (folder / "faultline.c").write_text("int one;\n")
    return tmp_path / "root"


@pytest.fixture
def arch(root: Path) -> Arch:
    return fake_arch(root)


@pytest.fixture
def built(tmp_path: Path) -> BuiltKernel:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Makefile").write_text(MAKEFILE)
    config = tmp_path / "config"
    config.write_text("CONFIG_MODULES=y\n")
    return BuiltKernel(tmp_path / "vmlinux", config, "6.12.117", tree, key="a1b2")


def test_built_with_the_kernels_config_and_kept(
    root: Path, arch: Arch, built: BuiltKernel, store: Store
) -> None:
    stages: list[str] = []
    module = build_module(root, arch, built, store, lambda stage, _: stages.append(stage))
    assert module.read_text() == "CONFIG_MODULES=y\nint one;\nm68k 1\n"
    again = build_module(root, arch, built, store, lambda stage, _: stages.append(stage))
    assert (again, stages) == (module, ["module"])


def test_another_kernel_or_another_content_is_another_module(
    root: Path, arch: Arch, built: BuiltKernel, store: Store
) -> None:
    first = build_module(root, arch, built, store)
    other = build_module(root, arch, msgspec.structs.replace(built, key="c3d4"), store)
    (root / "guest-progs/kmod/faultline.c").write_text("int two;\n")
    changed = build_module(root, arch, built, store)
    assert len({first, other, changed}) == 3
    assert "int two;" in changed.read_text()


def test_a_compilers_error_is_shown(
    root: Path, arch: Arch, built: BuiltKernel, store: Store
) -> None:
    (root / "guest-progs/kmod/faultline.c").write_text("#error no such kernel\n")
    with pytest.raises(BuildError, match=r"faultline.ko does not compile") as caught:
        build_module(root, arch, built, store)
    assert any("#error no such kernel" in line for line in caught.value.excerpt)


def test_a_ready_image_has_none(root: Path, arch: Arch, built: BuiltKernel, store: Store) -> None:
    with pytest.raises(BuildError, match="needs the source"):
        build_module(root, arch, msgspec.structs.replace(built, source=None), store)


def test_the_initramfs_of_a_kernel_with_a_module_is_its_own(
    root: Path, arch: Arch, built: BuiltKernel, store: Store, tmp_path: Path
) -> None:
    binary = tmp_path / "faults"
    binary.write_bytes(b"\x7fELF")
    module = build_module(root, arch, built, store)
    plain, loaded = build_initramfs(binary, store), build_initramfs(binary, store, module)
    assert b"faultline.ko" not in plain.read_bytes()
    assert b"faultline.ko\0" in loaded.read_bytes()
    assert module.read_bytes() in loaded.read_bytes()


@pytest.mark.parametrize(
    ("needs", "source", "config", "wanted"),
    [
        ("{module: true}", True, "CONFIG_MODULES=y\n", True),
        ("{config: CONFIG_SWAP=y}", True, "CONFIG_MODULES=y\n", False),  # nobody asks
        ("{module: true}", False, "CONFIG_MODULES=y\n", False),  # a ready image
        ("{module: true}", True, "# CONFIG_MODULES is not set\n", False),
        ("{module: true}", True, None, False),
    ],
)
def test_only_who_asks_for_a_module_pays_for_it(
    needs: str,
    source: bool,
    config: str | None,
    wanted: bool,
    built: BuiltKernel,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[BuiltKernel] = []

    def build(*args: object) -> Path:
        made.append(built)
        return Path("faultline.ko")

    monkeypatch.setattr(images, "build_module", build)
    project = load_project(Path(__file__).parents[2])
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations/decisions.yaml").write_text("{}")
    (tmp_path / "expectations/file.yaml").write_text(f"edge: {{summary: s, needs: {needs}}}\n")
    scenarios = list(load_matrix(tmp_path, project.arches).scenarios.values())
    if config is not None and built.config is not None:
        built.config.write_text(config)
    kernel = msgspec.structs.replace(
        built,
        source=built.source if source else None,
        config=built.config if config is not None else None,
    )
    column = Column(arch=project.arch("m68k"), kernel=project.kernel("debian-6.12"))
    options = Options(store=store)
    found = images._module(column, scenarios, project, kernel, options, lambda line: None)
    assert (found is not None, len(made)) == (wanted, int(wanted))


# Builds the module of the project at argv[1] in a process that can be ended.
ELSEWHERE = """
import signal, sys
from pathlib import Path
from build_fakes import fake_arch
from harness.build.kernel import BuiltKernel
from harness.build.module import build_module
from harness.build.store import Store
from harness.interrupt import interrupting

home = Path(sys.argv[1])
built = BuiltKernel(home / "vmlinux", home / "config", "6.12.117", home / "tree", key="a1b2")
with interrupting(signal.SIGTERM):
    build_module(home / "root", fake_arch(home / "root"), built, Store(home / "store"))
"""


@pytest.mark.usefixtures("root", "built")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_writes_to_the_kept_folder_once_it_is_free(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Who compiles there ends with us; if we are killed, and it does not, the lock is its own."""
    heedless = "trap '' TERM; " if number == signal.SIGKILL else ""
    slow = f"\t@{heedless}echo $$$$ > $(M)/pid; mv $(M)/pid $(O)/pid; sleep 60; sleep 60\n"
    (tmp_path / "tree" / "Makefile").write_text(MAKEFILE.replace("modules:\n", f"modules:\n{slow}"))
    path = f"{Path(__file__).parents[2]}:{Path(__file__).parent}"
    argv = [sys.executable, "-c", ELSEWHERE, str(tmp_path)]
    run = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": path})

    def noted() -> list[Path]:
        return list((tmp_path / "store" / "v1" / "prepared").glob("*/files/pid"))

    assert within(20, noted)
    compiler = int(noted()[0].read_text())
    (lock,) = (tmp_path / "store" / "v1" / "locks").glob("prepared--*.lock")
    run.send_signal(number)
    assert run.wait(20) == (-number if number == signal.SIGKILL else 128 + number)
    try:
        if number == signal.SIGKILL:
            assert not free(lock)
            os.killpg(os.getpgid(compiler), signal.SIGKILL)
            assert within(20, lambda: free(lock))
        else:
            assert free(lock)
            assert within(10, lambda: not Path("/proc", str(compiler)).exists())
    finally:
        if Path("/proc", str(compiler)).exists():
            os.kill(compiler, signal.SIGKILL)


def within(seconds: float, true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true())


def free(lock: Path) -> bool:
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
