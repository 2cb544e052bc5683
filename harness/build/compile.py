"""A kernel is compiled: configured, made out of tree, and what is kept of it collected.

What lies in the store is compiled in a scratch folder; for a user's own tree the object folder is
kept, so that an edit costs an incremental make.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from harness.build import BuildError, InputError, Progress
from harness.build import kconfig as kc
from harness.build.blueprint import RECIPE, Blueprint, blueprint
from harness.build.make import Make, command, environment
from harness.build.objects import is_configured, kept, note_configured
from harness.build.own_tree import is_as_it_was
from harness.build.patches import PatchedSource, remedies
from harness.build.source import resolve
from harness.build.store import Folder, Store
from harness.build.tools import HOST_TOOLS, digest, file_digest, has_ccache, need, output
from harness.build.tree import TREE
from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel
from harness.catalog.version import parse_version

OBJECTS = "objects"  # the folder beside the link to the tree
SMALL_VMLINUX = 64 << 20  # bytes; a larger one is not kept beside the image


def compile_kernel(
    to: Path, plan: Blueprint, source: PatchedSource, store: Store, progress: Progress, jobs: int
) -> None:
    """Fill the folder of an entry with the image, and what is known of it. Raises BuildError."""
    for tool in HOST_TOOLS:
        need(tool)
    log = store.log("kernel", plan.key)
    log.unlink(missing_ok=True)
    real = source.source.tree
    with _hold(store, source.source.key), _folders(to, plan, real, store) as (where, objects, keep):
        tree = _linked(where, real) if has_ccache() else real
        argv = [*command(plan.arch, tree, objects, jobs), *_as_linked(tree, real)]
        names = {f"../{tree.name}/": f"{real}/", f"{tree}/": f"{real}/"} if tree != real else {}
        make = Make(plan.label, argv, environment(store.root), log, keep, names, progress)
        _configure(make, plan, real, objects)
        try:
            make.run("compile", plan.arch.make_targets)
        except BuildError as error:
            error.excerpt += _advice(plan, source)
            raise
        _check_unchanged(plan, store)
        progress("collect", make.compiled)
        _collect(to, plan, source, objects)
    log.unlink(missing_ok=True)


def _advice(plan: Blueprint, source: PatchedSource) -> Iterator[str]:
    """What may be amiss in a user's tree that does not build."""
    for patch in remedies(plan.kernel, source.source, plan.arch):
        yield f"{patch.file.name} may be what it lacks: {patch.because}."
        yield f"Commit it (patch -p1 <{patch.file}), so that the base has it; or use --patch."


@contextmanager
def _hold(store: Store, key: str) -> Iterator[None]:
    """While we compile, nobody prunes the source; a user's tree is not ours to hold."""
    if not key:
        yield
        return
    with store.using("source", key) as source:
        if source is None:
            raise BuildError("the source vanished from the store: run it again")
        yield


@contextmanager
def _folders(
    to: Path, plan: Blueprint, tree: Path, store: Store
) -> Iterator[tuple[Path, Path, tuple[int, ...]]]:
    """A folder, the one in it for objects, and the descriptors that make keeps open: if we are
    killed, the lock of a kept folder stays with the make that still writes there.
    """
    if plan.source.key:
        objects = to.parent / "build" / OBJECTS
        objects.mkdir(parents=True)
        yield objects.parent, objects, ()
        return
    with _kept_folder(plan, store) as folder:
        objects = folder.path / OBJECTS
        objects.mkdir(exist_ok=True)
        with kept(plan.source, objects, store):
            yield folder.path, objects, (folder.lock,)


def _linked(folder: Path, tree: Path) -> Path:
    """A source beside its objects, under a name that is the same for each.

    So ccache knows what one source has in common with the next: a user's tree and its base, a
    patched copy, a newer package. It compares what the compiler is told, paths included.
    """
    link = folder / TREE
    if not link.is_symlink():
        link.symlink_to(tree)
    return link


def _as_linked(tree: Path, real: Path) -> list[str]:
    """What make is told of a tree that is a link: Kbuild would look where that leads, and a name
    that ccache has made relative would stand in the image, in what WARN and BUG say.
    """
    if tree == real:
        return []
    return [f"abs_srctree={tree}", f"KCPPFLAGS=-fmacro-prefix-map=../{tree.name}/="]


def _kept_folder(plan: Blueprint, store: Store) -> AbstractContextManager[Folder]:
    wanted = sorted(str(request) for request in plan.requests.values())
    key = digest(OBJECTS, "beside", str(plan.source.tree), plan.arch.name, plan.flavour, wanted)
    return store.folder("objects", key, f"objects of {plan.label}")


@contextmanager
def objects_of(kernel: Kernel, arch: Arch, flavour: str, store: Store) -> Iterator[Path]:
    """What the last build of a tree left in its kept folder, held. Raises BuildError."""
    plan = blueprint(kernel, arch, flavour, resolve(kernel, store))
    if plan.source.key:
        raise InputError(f"{kernel.name}: only the objects of a tree are kept")
    with _kept_folder(plan, store) as folder:
        yield folder.path / OBJECTS


def _configure(make: Make, plan: Blueprint, tree: Path, objects: Path) -> None:
    """tinyconfig and the requests on top. Raises BuildError naming what got lost."""
    config, tools = objects / ".config", (plan.tools.compiler, plan.tools.binutils)
    if is_configured(objects, tools):
        return
    words, fragments = kc.tinyconfig(tree, plan.arch.kernel_arch)
    make.run("configure", words)
    tiny = kc.merge(fragments, kc.Scope(parse_version(plan.source.version)))
    config.write_text(kc.apply(config.read_text(), tiny | plan.requests))
    make.run("configure", ["olddefconfig"])
    text = config.read_text()
    lost = kc.lost(text, plan.requests)
    if lost:
        raise BuildError(
            f"{plan.label}: symbols that fragments ask for are not in the configuration",
            excerpt=[kc.describe_lost(request, text, tree) for request in lost],
        )
    note_configured(objects, tools)


def _check_unchanged(plan: Blueprint, store: Store) -> None:
    if not plan.source.key and not is_as_it_was(plan.source, store):
        raise BuildError(f"{plan.source.tree} was changed while it was compiled: run it again")


def _collect(to: Path, plan: Blueprint, source: PatchedSource, objects: Path) -> None:
    """Copy what is kept into the entry. Raises BuildError if there is no image."""
    image = objects / plan.arch.image
    if not image.is_file():
        raise BuildError(
            f"{plan.label}: make made no {plan.arch.image}: "
            f"check `image` and `make_targets` in {plan.arch.file}"
        )
    shutil.copyfile(image, to / image.name)
    shutil.copyfile(objects / ".config", to / "config")
    if (objects / "System.map").is_file():
        shutil.copyfile(objects / "System.map", to / "System.map")
    if not (to / "vmlinux").exists() and (objects / "vmlinux").is_file():
        _collect_vmlinux(to, plan, objects / "vmlinux")
    (to / "kernel.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(_provenance(plan, source, objects))) + b"\n"
    )


def _collect_vmlinux(to: Path, plan: Blueprint, vmlinux: Path) -> None:
    """For a debugger: with debug info whatever its size, else without symbols (System.map has
    those) and only a small one.
    """
    if "CONFIG_DEBUG_INFO=y" in (to / "config").read_text():
        shutil.copyfile(vmlinux, to / "vmlinux")
        return
    stripped = to / "vmlinux"
    output([f"{plan.arch.cross}strip", "--strip-all", "-o", stripped, vmlinux])
    if stripped.stat().st_size > SMALL_VMLINUX:
        stripped.unlink()


def _provenance(plan: Blueprint, source: PatchedSource, objects: Path) -> dict[str, str]:
    release = objects / "include" / "config" / "kernel.release"
    return plan.source.provenance | {
        "version": plan.source.version,
        "release": release.read_text().strip() if release.is_file() else "",
        "patches": ", ".join(source.applied),
        "patches_skipped": ", ".join(source.skipped),
        "compiler": plan.tools.compiler,
        "binutils": plan.tools.binutils,
        "config_sha256": file_digest(objects / ".config"),
        "recipe": str(RECIPE),
    }
