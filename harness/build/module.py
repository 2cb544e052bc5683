"""The kernel module of guest-progs/kmod, built for one kernel.

The kernel's own object folder is gone by then: another one with the same .config, in which
`make modules_prepare` has made the headers and tools, will do, since nothing here asks for
versions of symbols. What the module asks of the kernel is only looked up when it is loaded.
That folder is kept: most edits, of a user's tree or of the module, cost a second or two then.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from harness.build import BuildError, Progress, no_progress
from harness.build.kernel import BuiltKernel
from harness.build.make import command, environment
from harness.build.store import Folder, Store
from harness.build.tools import digest, file_digest, output
from harness.catalog.arches import Arch

RECIPE = 2  # raise it when the same inputs would give another module
FOLDER = "kmod"  # in guest-progs
MODULE = "faultline.ko"


def build_module(
    root: Path,
    arch: Arch,
    built: BuiltKernel,
    store: Store,
    progress: Progress = no_progress,
    look: Callable[[], object] = lambda: None,
) -> Path:
    """The module for a kernel that was built from source with CONFIG_MODULES, from the store or
    compiled now, after a `look` at the source that it takes its headers from. Raises BuildError.
    """
    tree, config = built.source, built.config
    if tree is None or config is None:
        raise BuildError(f"{built.image}: a module needs the source that the kernel was built from")
    sources = sorted(path for path in (root / "guest-progs" / FOLDER).iterdir() if path.is_file())
    contents = [[path.name, file_digest(path)] for path in sources]
    key = digest("module", RECIPE, built.key, contents)
    prepared = digest("prepared", str(tree), arch.name, file_digest(config))
    label = f"{MODULE} for {built.version}, {arch.name}"

    def fill(to: Path) -> None:
        progress("module", 0)
        look()
        work = to.parent / "module"
        work.mkdir()
        for path in sources:
            shutil.copyfile(path, work / path.name)
        with store.folder("prepared", prepared, f"headers of {built.version}, {arch.name}") as kept:
            _configure(kept.path / ".config", config)
            _make(arch, tree, kept, store, "modules_prepare")
            _make(arch, tree, kept, store, f"M={work}", "modules")
        shutil.copyfile(work / MODULE, to / MODULE)

    return store.create("module", key, fill, label) / MODULE


def _configure(to: Path, config: Path) -> None:
    """Copy a .config, unless it is there: make would begin anew for its time."""
    if not to.is_file() or to.read_bytes() != config.read_bytes():
        shutil.copyfile(config, to)


def _make(arch: Arch, tree: Path, kept: Folder, store: Store, *targets: str) -> None:
    # Without the objects of vmlinux, nobody knows yet which symbols it exports.
    argv = [*command(arch, tree, kept.path), "KBUILD_MODPOST_WARN=1", *targets]
    failed = f"{MODULE} does not compile"
    # Should we be killed, the folder's lock stays with the make that still writes there.
    output(argv, env=environment(store.root), failed=failed, keep=(kept.lock,))
