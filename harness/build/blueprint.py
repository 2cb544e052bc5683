"""Everything that decides a kernel image, and the key that follows from it.

The key is the hash of source, patches, merged requests, arch, compiler, binutils and `RECIPE`.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from harness.build import InputError
from harness.build import kconfig as kc
from harness.build.patches import applicable, patch_digests
from harness.build.tools import Toolchain, digest, toolchain
from harness.build.tree import ResolvedSource
from harness.catalog.arches import Arch, arch_names
from harness.catalog.kernels import Kernel
from harness.catalog.version import parse_version

RECIPE = 2  # raise it when the same inputs would give another image


class Blueprint(Struct, frozen=True):
    """See the module."""

    kernel: Kernel
    arch: Arch
    flavour: str
    source: ResolvedSource
    requests: dict[str, kc.Request]
    tools: Toolchain
    key: str  # of the store's `kernel` entry

    @property
    def label(self) -> str:
        return f"{self.kernel.name} {self.source.version}, {self.arch.name}, {self.flavour}"


def blueprint(kernel: Kernel, arch: Arch, flavour: str, source: ResolvedSource) -> Blueprint:
    """What the image of a kernel is made from, on this machine. Raises BuildError."""
    scope = kc.Scope(
        parse_version(source.version), arch.bases, tuple(arch_names(arch.fragment.parent.parent))
    )
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
    return Blueprint(kernel, arch, flavour, source, requests, tools, key)


def fragments(arch: Arch, flavour: str) -> list[Path]:
    """The kconfig fragments of an arch and a flavour, in merge order. Raises BuildError."""
    path = arch.fragment.parent.parent / "flavours" / f"{flavour}.config"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in path.parent.glob("*.config")))
        raise InputError(f"there is no flavour {flavour!r}; there are: {known or 'none'}")
    return [*arch.fragments, path]
