"""Kernel images: from the store, compiled now, or ready as somebody else built them."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

import msgspec
from msgspec import Struct

from harness.build import InputError, Progress, no_progress
from harness.build.blueprint import blueprint
from harness.build.entry import Check
from harness.build.image import check_image, image_version
from harness.build.patches import patched
from harness.build.source import is_at_hand, resolve
from harness.build.store import Store
from harness.build.tools import file_digest
from harness.build.tree import TREE
from harness.catalog.arches import Arch
from harness.catalog.kernels import ImageSource, Kernel


class BuiltKernel(Struct, frozen=True):
    """A kernel that can be booted, and what is known of it."""

    image: Path
    config: Path | None  # None: a ready image that came without
    version: str  # exact: "6.12.117-1~deb12u1"
    source: Path | None  # the tree it was built from, patches applied
    provenance: dict[str, str] = {}
    seconds: float = 0.0  # this call took, wall clock
    cached: bool = False  # it was in the store
    key: str = ""  # of the store's `kernel` entry; hold it with store.using("kernel", key)


def build_kernel(
    kernel: Kernel,
    arch: Arch,
    flavour: str,
    store: Store,
    progress: Progress = no_progress,
    *,
    refresh: bool = False,
    jobs: int = 0,
    reads: Collection[str] | None = (),
) -> BuiltKernel:
    """The kernel's image for an arch, from the store or compiled now. Raises BuildError.

    `jobs` is how many compilers run at a time; 0: as many as there are CPUs. `reads` are files
    of the source that results will follow from (None: all of them): in the store, where a bit of
    them has flipped, it is made again.
    """
    started = time.monotonic()
    if isinstance(kernel.source, ImageSource):
        return ready_image(kernel.name, kernel.source, arch)
    check: Check = _named(reads)
    plan = blueprint(kernel, arch, flavour, resolve(kernel, store, refresh, check))
    cached = store.entry("kernel", plan.key) is not None
    check = check if cached else "full"
    if not cached and plan.source.key:  # what is compiled from is looked at first
        plan = blueprint(kernel, arch, flavour, resolve(kernel, store, check=check))
    source = patched(kernel, plan.source, arch, store, check)

    def fill(to: Path) -> None:
        from harness.build.compile import compile_kernel  # most runs compile nothing

        compile_kernel(to, plan, source, store, progress, jobs)

    entry = store.create("kernel", plan.key, fill, plan.label)
    told = msgspec.json.decode((entry / "kernel.json").read_bytes(), type=dict[str, str])
    return BuiltKernel(
        image=entry / Path(arch.image).name,
        config=entry / "config",
        version=plan.source.version,
        source=source.source.tree,
        # An image may have been made from equal files elsewhere: this is where it is from now.
        provenance=told | plan.source.provenance | {"version": plan.source.version},
        seconds=time.monotonic() - started,
        cached=cached,
        key=plan.key,
    )


def _named(reads: Collection[str] | None) -> Check:
    """These files, and the one that tells the version, by which rows are chosen."""
    return "full" if reads is None else frozenset(f"{TREE}/{file}" for file in {"Makefile", *reads})


def find_kernel(
    kernel: Kernel, arch: Arch, flavour: str, store: Store, reads: Collection[str] = ()
) -> BuiltKernel | None:
    """What `build_kernel` has in the store; None: it would fetch or compile. Raises BuildError."""
    if not isinstance(kernel.source, ImageSource):
        if not is_at_hand(kernel, store, _named(reads)):
            return None
        plan = blueprint(kernel, arch, flavour, resolve(kernel, store))
        if store.entry("kernel", plan.key) is None:
            return None
    return build_kernel(kernel, arch, flavour, store, reads=reads)


def ready_image(name: str, source: ImageSource, arch: Arch) -> BuiltKernel:
    """A kernel that somebody else built, as it lies there. Raises BuildError."""
    for path in (source.image, source.config):
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            raise InputError(f"{name}: {path} is not a readable file")
    if source.arch is not None and source.arch not in arch.bases:
        raise InputError(f"{name} is an image for {source.arch}, not for {arch.name}")
    check_image(source.image, arch.kernel_arch)
    version = source.version or image_version(source.image)
    if version is None:
        raise InputError(
            f"{name}: {source.image} does not tell its version (is it compressed?): "
            "declare `version` with the image in kernels.yaml"
        )
    provenance = {"source": f"image {source.image}", "version": version}
    provenance["image_sha256"] = file_digest(source.image)
    if source.config is not None:
        provenance["config_sha256"] = file_digest(source.config)
    return BuiltKernel(
        source.image.absolute(), source.config, version, None, provenance, cached=True
    )
