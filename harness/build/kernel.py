"""Kernel images: tinyconfig and fragments, compiled out of tree, kept in the store.

The key of an image is the hash of all that decides it: source, patches, merged requests, arch,
compiler, binutils and `RECIPE`. What lies in the store is compiled in a scratch folder; for a
user's own tree the object folder is kept, so that an edit costs an incremental make.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.build import BuildError, InputError
from harness.build import kconfig as kc
from harness.build.elf import check_image
from harness.build.entry import Check
from harness.build.git import release_environment
from harness.build.objects import forget_changed, is_configured, note_configured
from harness.build.own_tree import resolve_tree
from harness.build.patches import PatchedSource, applicable, patch_digests, patched, remedies
from harness.build.source import is_at_hand, resolve
from harness.build.store import Store
from harness.build.tools import (
    Toolchain,
    clean_environment,
    digest,
    file_digest,
    need,
    output,
    toolchain,
)
from harness.build.tree import ResolvedSource
from harness.catalog.arches import Arch, arch_names
from harness.catalog.kernels import ImageSource, Kernel
from harness.catalog.version import parse_version
from harness.lifetime import end_with

RECIPE = 1  # raise it when the same inputs would give another image
HOST_TOOLS = ("make", "gcc", "flex", "bison", "bc")
SMALL_VMLINUX = 64 << 20  # bytes; a larger one is not kept beside the image
_COMPILED = re.compile(r"^ {2}(?:CC|AS) ")
_ERROR = re.compile(
    r"\berror:|fatal error|undefined reference|No rule to make target|command not found"
    r"|: not found|No such file or directory|No space left|Killed"
)

Progress = Callable[[str, int], None]
"""Hears (stage, objects compiled): "configure", "compile", "collect"."""


def no_progress(stage: str, done: int) -> None:
    """The `Progress` of callers who do not want to hear."""


@dataclass(frozen=True)
class BuiltKernel:
    """A kernel that can be booted, and what is known of it."""

    image: Path
    config: Path | None  # None: a ready image that came without
    version: str  # exact: "6.12.117-1~deb12u1"
    source: Path | None  # the tree it was built from, patches applied
    provenance: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # this call took, wall clock
    cached: bool = False  # it was in the store
    key: str = ""  # of the store's `kernel` entry; hold it with store.using("kernel", key)


@dataclass(frozen=True)
class _Plan:
    """Everything that decides an image."""

    kernel: Kernel
    arch: Arch
    flavour: str
    source: ResolvedSource
    requests: dict[str, kc.Request]
    tools: Toolchain
    key: str

    @property
    def label(self) -> str:
        return f"{self.kernel.name} {self.source.version}, {self.arch.name}, {self.flavour}"


def build_kernel(
    kernel: Kernel,
    arch: Arch,
    flavour: str,
    store: Store,
    progress: Progress = no_progress,
    *,
    refresh: bool = False,
    jobs: int = 0,
) -> BuiltKernel:
    """The kernel's image for an arch, from the store or compiled now. Raises BuildError.

    `jobs` is how many compilers run at a time; 0: as many as there are CPUs.
    """
    started = time.monotonic()
    if isinstance(kernel.source, ImageSource):
        return ready_image(kernel.name, kernel.source, arch)
    plan = _plan(kernel, arch, flavour, resolve(kernel, store, refresh))
    cached = store.entry("kernel", plan.key) is not None
    check: Check | None = None if cached else "quick"
    if not cached and plan.source.key:  # what is compiled from is looked at first
        plan = _plan(kernel, arch, flavour, resolve(kernel, store, check=check))
    source = patched(kernel, plan.source, arch, store, check)
    entry = store.create(
        "kernel", plan.key, lambda to: _build(to, plan, source, store, progress, jobs), plan.label
    )
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


def find_kernel(kernel: Kernel, arch: Arch, flavour: str, store: Store) -> BuiltKernel | None:
    """What `build_kernel` has in the store; None: it would fetch or compile. Raises BuildError."""
    if not isinstance(kernel.source, ImageSource):
        if not is_at_hand(kernel, store):
            return None
        plan = _plan(kernel, arch, flavour, resolve(kernel, store))
        if store.entry("kernel", plan.key) is None:
            return None
    return build_kernel(kernel, arch, flavour, store)


def fragments(arch: Arch, flavour: str) -> list[Path]:
    """The kconfig fragments of an arch and a flavour, in merge order. Raises BuildError."""
    path = arch.fragment.parent.parent / "flavours" / f"{flavour}.config"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in path.parent.glob("*.config")))
        raise InputError(f"there is no flavour {flavour!r}; there are: {known or 'none'}")
    return [*arch.fragments, path]


def _declared(arch: Arch) -> list[str]:
    """The names of all arches that are declared where this one is."""
    return arch_names(arch.fragment.parent.parent)


def _plan(kernel: Kernel, arch: Arch, flavour: str, source: ResolvedSource) -> _Plan:
    scope = kc.Scope(parse_version(source.version), arch.bases, tuple(_declared(arch)))
    requests = kc.merge([*fragments(arch, flavour), *kernel.fragments], scope)
    tools = toolchain(arch.cross, arch.packages)
    key = digest(
        "kernel",
        RECIPE,
        source.digest,
        patch_digests(applicable(kernel, source, arch)),
        sorted(str(request) for request in requests.values()),
        [arch.kernel_arch, arch.make_targets, arch.image],
        [tools.prefix, tools.compiler, tools.binutils],
    )
    return _Plan(kernel, arch, flavour, source, requests, tools, key)


# -- compiling --


def _build(
    to: Path, plan: _Plan, source: PatchedSource, store: Store, progress: Progress, jobs: int
) -> None:
    for tool in HOST_TOOLS:
        need(tool)
    tree = source.source.tree
    log = store.log("kernel", plan.key)
    log.unlink(missing_ok=True)
    with _hold(store, source.source.key), _objects(to, plan, store) as (objects, keep):
        make = _Make(plan, tree, objects, store, log, keep, progress, jobs)
        _configure(make, plan, tree, objects)
        try:
            make.run("compile", plan.arch.make_targets)
        except BuildError as error:
            error.excerpt += _advice(plan, source)
            raise
        _check_unchanged(plan, tree, store)
        progress("collect", make.compiled)
        _collect(to, plan, source, objects)
    log.unlink(missing_ok=True)


def _advice(plan: _Plan, source: PatchedSource) -> Iterator[str]:
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
def _objects(to: Path, plan: _Plan, store: Store) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """The object folder, and the descriptors that make keeps open: if we are killed, the lock
    of a kept folder stays with the make that still writes there.
    """
    if not plan.source.key:
        wanted = sorted(str(request) for request in plan.requests.values())
        key = digest("objects", str(plan.source.tree), plan.arch.name, plan.flavour, wanted)
        with store.folder("objects", key, f"objects of {plan.label}") as folder:
            forget_changed(plan.source.tree, folder.path)
            yield folder.path, (folder.lock,)
        return
    scratch = to.parent / "objects"
    scratch.mkdir()
    yield scratch, ()


@contextmanager
def objects_of(kernel: Kernel, arch: Arch, flavour: str, store: Store) -> Iterator[Path]:
    """What the last build of a tree left in its kept folder, held. Raises BuildError."""
    plan = _plan(kernel, arch, flavour, resolve(kernel, store))
    if plan.source.key:
        raise InputError(f"{kernel.name}: only the objects of a tree are kept")
    with _objects(Path(), plan, store) as (folder, _):
        yield folder


class _Make:
    """Runs the kernel's make; its output goes to the log and is counted."""

    def __init__(
        self,
        plan: _Plan,
        tree: Path,
        objects: Path,
        store: Store,
        log: Path,
        keep: tuple[int, ...],
        progress: Progress,
        jobs: int,
    ) -> None:
        arch, gcc = plan.arch, plan.tools.gcc
        ccache = "ccache " if shutil.which("ccache") else ""
        self._argv = [
            "make", "-C", str(tree), f"O={objects}", f"ARCH={arch.kernel_arch}",
            f"CROSS_COMPILE={arch.cross}", f"CC={ccache}{gcc}", f"HOSTCC={ccache}gcc",
            f"-j{jobs or len(os.sched_getaffinity(0))}", "--output-sync=target",
            "--no-print-directory",
        ]  # fmt: skip
        self._env = (
            clean_environment()
            | release_environment()
            | {
                "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
                "KBUILD_BUILD_USER": "faultline",
                "KBUILD_BUILD_HOST": "faultline",
                "KBUILD_BUILD_VERSION": "1",
                # Paths below the store are seen relative to the object folder, and scratch folders
                # have other names each time: without these two ccache would never hit.
                "CCACHE_BASEDIR": str(store.root),
                "CCACHE_NOHASHDIR": "1",
            }
        )
        self._label, self._log, self._keep, self._progress = plan.label, log, keep, progress
        self.compiled = 0

    def run(self, stage: str, targets: Sequence[str]) -> None:
        """Make targets. Raises BuildError with the lines that tell why it failed."""
        self._progress(stage, self.compiled)
        with open(self._log, "ab") as log:
            log.write(f"$ {' '.join([*self._argv, *targets])}\n".encode())
            log.flush()
            start = log.tell()
            status = self._run([*self._argv, *targets], log.fileno(), stage)
        if status != 0:
            text = self._log.read_bytes()[start:].decode(errors="replace")
            raise BuildError(
                f"{self._label}: make {' '.join(targets)} failed",
                log=self._log,
                excerpt=excerpt(text),
            )

    def _run(self, argv: list[str], log: int, stage: str) -> int:
        with subprocess.Popen(
            argv, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, pass_fds=self._keep,
            # If we are killed, make gets a SIGTERM and ends what it has started.
            preexec_fn=functools.partial(end_with, os.getpid(), signal.SIGTERM),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    os.write(log, line)
                    if _COMPILED.match(line[:6].decode(errors="replace")):
                        self.compiled += 1
                        self._progress(stage, self.compiled)
                return process.wait()
            except BaseException:
                _end_group(process)
                raise


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End make and all that it started; they are a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def excerpt(text: str, limit: int = 16) -> list[str]:
    """The lines of a failed make's output that tell why: the first error and its surroundings."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    found = found or [number for number, line in enumerate(lines) if "***" in line]
    if not found:
        return lines[-limit:]
    first = max(0, found[0] - 3)
    return lines[first : first + limit]


def _configure(make: _Make, plan: _Plan, tree: Path, objects: Path) -> None:
    """tinyconfig, the requests on top, olddefconfig. Raises BuildError naming what got lost."""
    config, tools = objects / ".config", (plan.tools.compiler, plan.tools.binutils)
    if is_configured(objects, tools):
        return
    make.run("configure", ["tinyconfig"])
    config.write_text(kc.apply(config.read_text(), plan.requests))
    make.run("configure", ["olddefconfig"])
    text = config.read_text()
    lost = kc.lost(text, plan.requests)
    if lost:
        raise BuildError(
            f"{plan.label}: symbols that fragments ask for are not in the configuration",
            excerpt=[kc.describe_lost(request, text, tree) for request in lost],
        )
    note_configured(objects, tools)


def _check_unchanged(plan: _Plan, tree: Path, store: Store) -> None:
    if not plan.source.key and resolve_tree(tree, store).digest != plan.source.digest:
        raise BuildError(f"{tree} was changed while it was compiled: run it again")


def _collect(to: Path, plan: _Plan, source: PatchedSource, objects: Path) -> None:
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


def _collect_vmlinux(to: Path, plan: _Plan, vmlinux: Path) -> None:
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


def _provenance(plan: _Plan, source: PatchedSource, objects: Path) -> dict[str, str]:
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


# -- ready images --


def ready_image(name: str, source: ImageSource, arch: Arch) -> BuiltKernel:
    """A kernel that somebody else built, as it lies there. Raises BuildError."""
    for path in (source.image, source.config):
        if path is not None and not os.access(path, os.R_OK):
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


def image_version(image: Path) -> str | None:
    """The release that an uncompressed image's banner or a bzImage's header tells."""
    data = image.read_bytes()
    if data[0x202:0x206] == b"HdrS":  # the x86 boot protocol: a pointer to the release
        at = int.from_bytes(data[0x20E:0x210], "little") + 0x200
        text = data[at : at + 100].split(b"\0")[0].split(b" ")[0]
    else:
        match = re.search(rb"Linux version ([0-9]+\.[0-9]+[^ \0]{0,60}) ", data)
        text = match[1] if match else b""
    return text.decode(errors="replace") or None
