"""Rows that compile kernels: minutes each, unless it is said otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import (
    FAULTLINE,
    ONE,
    Setting,
    bare,
    built,
    compare,
    cpu_seconds,
    plain_make,
    seconds,
)

from harness.build.store import default_root
from harness.catalog.arches import Arch

NO_CCACHE = {"CCACHE_DISABLE": "1"}  # what was compiled before would be no kernel build


def edit(setting: Setting) -> None:
    """verdict after an edit of arch/X/mm/fault.c, against `make` by hand and the bare boot

    The tree is a git repository, a copy of the kernel's source. Two builds an arch to begin with.
    """
    for arch in setting.arches:
        _edit(setting, _tree(setting, arch), arch)


def _edit(setting: Setting, tree: Path, arch: Arch) -> None:
    file = tree / "arch" / arch.kernel_arch / "mm" / "fault.c"
    text, count = file.read_text(), iter(range(1_000_000))

    def change() -> None:
        """Code that was never compiled before, so that ccache has no part in it."""
        mark = time.monotonic_ns()
        file.write_text(f"{text}\nstatic const long bench_{next(count)} __used = {mark};\n")

    objects = _configured(setting, arch, f"edit-{arch.name}")
    make = plain_make(arch, tree, objects, *arch.make_targets)
    boot = bare(setting, arch, objects / arch.image)
    run = [*FAULTLINE, "run", ONE, "--tree", str(tree), "--no-base", "--accel", "tcg"]
    run += [*setting.out(), "--arch", arch.name]

    def by_hand() -> float:
        change()
        return seconds(make) + seconds(boot)

    def subject() -> float:
        change()
        return seconds(run)

    by_hand(), subject()  # from nothing
    compare(f"verdict after an edit, {arch.name}", by_hand, subject, setting.rounds, 1.1)
    file.write_text(text)


def kernel(setting: Setting) -> None:
    """kernel build from nothing, against plain `make -jN` of the same .config, without ccache"""
    for arch in setting.arches:
        tree = built(setting, arch).source
        build = [*FAULTLINE, "build", "--kernel", setting.kernel.name, "--arch", arch.name]

        def by_hand(arch: Arch = arch, tree: Path | None = tree) -> float:
            assert tree is not None
            objects = _configured(setting, arch, "kernel")
            return seconds(plain_make(arch, tree, objects, *arch.make_targets), **NO_CCACHE)

        def subject(build: list[str] = build) -> float:
            with _empty_store(setting.work) as store:
                return seconds([*build, "--store", str(store)], **NO_CCACHE)

        compare(f"kernel from nothing, {arch.name}", by_hand, subject, setting.rounds, 1.03)


def core(setting: Setting) -> None:
    """CPU seconds of building our kernels, against tinyconfig of the same tree and arch"""
    for arch in setting.arches:
        tree = built(setting, arch).source
        assert tree is not None
        # ARCH=x86 would make a 32-bit kernel of tinyconfig.
        name = "x86_64" if arch.kernel_arch == "x86" and "x86_64" in arch.bases else ""

        def tiny(arch: Arch = arch, tree: Path = tree, name: str = name) -> float:
            objects = _fresh(setting, "tiny")
            seconds(plain_make(arch, tree, objects, "tinyconfig", name=name))
            return cpu_seconds(plain_make(arch, tree, objects, "vmlinux", name=name))

        def ours(arch: Arch = arch, tree: Path = tree) -> float:
            objects = _configured(setting, arch, "ours")
            return cpu_seconds(plain_make(arch, tree, objects, "vmlinux"))

        compare(f"CPU of the kernel, {arch.name}", tiny, ours, setting.rounds, 2.0)


def nothing(setting: Setting) -> None:
    """from empty caches to the matrix of four arches: where the time goes; fetches sources"""
    store = setting.work / "nothing"
    shutil.rmtree(store, ignore_errors=True)
    environment = {**os.environ, "CCACHE_DIR": str(store / "ccache")}
    run = [*setting.run(arches=setting.four or setting.arches), "--store", str(store)]
    started = time.monotonic()
    stages: dict[str, float] = {}
    with subprocess.Popen(
        run, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        stage, since = "start", started
        for line in process.stdout:
            found = _stage(line)
            if found and found != stage:
                now = time.monotonic()
                stages[stage] = stages.get(stage, 0.0) + now - since
                stage, since = found, now
        process.wait()
    stages[stage] = stages.get(stage, 0.0) + time.monotonic() - since
    for name, took in stages.items():
        print(f"  {took:8.1f} s  {name}")
    total = time.monotonic() - started
    print(f"from nothing to the matrix           {total:8.1f} s (exit code {process.returncode})")


def _stage(line: str) -> str:
    """What a line of a run's progress says that it is about, "" where it says nothing new."""
    words = line.split("] ", 1)[-1].strip()
    for mark in ("asking", "fetching", "unpacking"):
        if mark in words:
            return words[:60]
    head, _, what = words.partition(": ")
    if what in ("configure", "compile", "collect"):
        return f"{head}: {what}"
    return "boots and reports" if ": Linux " in words else ""


# -- trees and folders --


def _tree(setting: Setting, arch: Arch) -> Path:
    """A copy of the kernel's source that may be edited, in a git repository. Some arches have
    patches of their own, without which they do not compile.
    """
    source = built(setting, arch).source
    if source is None:
        sys.exit(f"{setting.kernel.name} has no source here: name a kernel that is built")
    tree = setting.work / f"tree-{source.parents[1].name}"
    if not (tree / ".git").is_dir():
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", source, tree], check=True)
        _as_upstream(tree / ".gitignore")
        git = ["git", "-C", str(tree), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        for words in (["init", "-q"], ["add", "-Af"], ["commit", "-qm", "source"]):
            subprocess.run([*git, *words], check=True)
    return tree


def _as_upstream(rules: Path) -> None:
    """Debian's source package ignores all at the top, which no tree that is worked on does."""
    rules.write_text(rules.read_text().partition("\n#\n# Debian packaging:")[0] + "\n")


def _fresh(setting: Setting, name: str) -> Path:
    folder = setting.work / "objects" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _configured(setting: Setting, arch: Arch, name: str) -> Path:
    """An empty object folder with the .config of the kernel that is run."""
    folder, config = _fresh(setting, name), built(setting, arch).config
    assert config is not None
    shutil.copyfile(config, folder / ".config")
    return folder


@contextmanager
def _empty_store(work: Path) -> Iterator[Path]:
    """A store that has the sources and the guest programs of ours, and no kernels."""
    ours, store = default_root() / "v1", work / "store"
    shutil.rmtree(store, ignore_errors=True)
    (store / "v1").mkdir(parents=True)
    for kind in ("source", "guest", "initramfs"):
        (store / "v1" / kind).symlink_to(ours / kind)
    shutil.copytree(ours / "names", store / "v1" / "names")
    yield store
    shutil.rmtree(store)


def pc_image(setting: Setting, arch: Arch) -> Path:
    """Our kernel as a bzImage that boots on `-M pc`; built once for a folder of work."""
    tree = built(setting, arch).source
    assert tree is not None
    image = setting.work / "objects" / "pc" / "arch" / "x86" / "boot" / "bzImage"
    if not image.is_file():
        objects = _configured(setting, arch, "pc")
        with open(objects / ".config", "a") as config:
            config.write(Path(__file__).with_name("pc.config").read_text())
        for target in ("olddefconfig", "bzImage"):
            seconds(plain_make(arch, tree, objects, target))
    return image
