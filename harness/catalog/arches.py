"""Arches: how a kernel for one is built, and which machine runs it.

``arches/NAME.yaml`` holds the fields of ``Arch``, ``arches/NAME.config`` the kconfig fragment.
``base: OTHER`` makes it a variant: fields that are not given come from OTHER, and the
fragment, where there is one, goes on top of OTHER's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.catalog.yamlfile import DeclarationError, Node, load, quote


@dataclass(frozen=True, kw_only=True)
class Arch:
    """One arch or variant, with everything inherited filled in."""

    name: str
    bases: tuple[str, ...]  # itself, then what it is based on: selectors match any of them
    file: str
    # how it is built
    kernel_arch: str  # make ARCH=
    cross: str  # make CROSS_COMPILE=, the prefix of the toolchain
    make_targets: tuple[str, ...]
    image: str  # what the machine boots: path in the build folder
    fragment: Path  # its own kconfig fragment, else the nearest base's
    fragments: tuple[Path, ...]  # all that apply, in merge order: common part first
    guest_header: str  # in guest-progs/arch/
    guest_cross: str = ""  # the toolchain of the guest programs; "" is `cross`
    cc_flags: tuple[str, ...] = ()  # guest programs
    ld_flags: tuple[str, ...] = ()
    # the machine
    qemu: str  # name of the binary
    machine: str  # -machine
    cpu: str = ""  # -cpu; "" is QEMU's default
    accel_cpu: str = ""  # -cpu under KVM; "" is `cpu`
    smp: int = 1  # CPUs
    memory: int  # MiB
    memory_step: int = 1  # MiB that its memory is a multiple of
    page_size: int = 4096  # bytes, where a kernel's .config does not tell
    console: str  # kernel parameter console=
    port_device: str  # the bus of the results port
    qemu_args: tuple[str, ...] = ()
    append: str = ""  # more kernel parameters
    snapshot: bool = True  # QEMU can save and restore the machine
    # what a newcomer installs: tool -> Debian package
    packages: Mapping[str, str] = field(default_factory=dict, hash=False)

    def matches(self, selector: tuple[str, ...]) -> bool:
        """Whether one of the names is this arch or a base of it; no names match every arch."""
        return not selector or any(name in self.bases for name in selector)


PORT_DEVICES = ("virtio-serial-device", "virtio-serial-pci", "virtio-serial-ccw")

_REQUIRED: dict[str, Callable[[Node], Any]] = {  # of an arch that has no base
    "kernel_arch": Node.word,
    "cross": Node.word,
    "make_targets": lambda node: tuple(item.path() for item in node.one_or_more()),
    "image": Node.path,
    "qemu": Node.word,
    "machine": Node.text,
    "memory": Node.number,
    "console": Node.text,
    "port_device": lambda node: node.choice(PORT_DEVICES, "port device"),
}
_READERS = _REQUIRED | {
    "guest_header": Node.word,
    "guest_cross": Node.word,
    "cc_flags": Node.texts,
    "ld_flags": Node.texts,
    "cpu": Node.text,
    "accel_cpu": Node.text,
    "smp": Node.number,
    "memory_step": Node.number,
    "qemu_args": Node.texts,
    "append": Node.text,
    "page_size": Node.number,
    "snapshot": lambda node: node.choice(("true", "false"), "truth value") == "true",
    "packages": lambda node: {key: item.text() for key, item in node.mapping().items()},
}
_NAME = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9]+)*")


def arch_names(root: Path) -> list[str]:
    """The names of all arches that are declared, unread."""
    return sorted(path.stem for path in (root / "arches").glob("*.yaml"))


def load_arches(root: Path) -> dict[str, Arch]:
    """All arches of the project at ``root``. Raises DeclarationError."""
    names = arch_names(root)
    if not names:
        raise DeclarationError("arches", 0, "no arch is declared", "add arches/NAME.yaml")
    files = {name: _read(root, name, names) for name in names}
    return {name: _build(root, name, files) for name in names}


def read_arches(node: Node, known: list[str]) -> tuple[str, ...]:
    """An ``arch:`` selector: the name of an arch or a variant, or a list of them."""
    return tuple(item.choice(known, "arch") for item in node.one_or_more())


def _read(root: Path, name: str, names: list[str]) -> Node:
    node = load(root / "arches" / f"{name}.yaml", root)
    if not _NAME.fullmatch(name):
        hint = "use lower-case letters, digits, _ and -, as in arm64-64k"
        raise DeclarationError(node.file, 0, f"{quote(name)} is no name for an arch", hint)
    fields = node.record(optional=("base", *_READERS))
    if "base" in fields:
        fields["base"].choice(names, "arch")
    return node


def _build(root: Path, name: str, files: dict[str, Node]) -> Arch:
    bases = _bases(name, files)
    fields: dict[str, Node] = {}
    for base in reversed(bases):  # the nearest comes last and wins
        fields |= files[base].mapping()
    fields.pop("base", None)
    for key in _REQUIRED:
        if key not in fields:
            raise files[name].error(f"the key {key!r} is missing", f"add `{key}:` or a `base:`")
    values = {key: _READERS[key](node) for key, node in fields.items()}
    values.setdefault("guest_header", f"{bases[-1]}.h")
    fragments = _fragments(root, bases, files[name])
    return Arch(
        name=name,
        bases=bases,
        file=files[name].file,
        fragment=fragments[-1],
        fragments=fragments,
        **values,
    )


def _bases(name: str, files: dict[str, Node]) -> tuple[str, ...]:
    chain = [name]
    while base := files[chain[-1]].mapping().get("base"):
        if base.text() in chain:
            raise base.error(f"{name} is based on itself, by way of {' -> '.join(chain)}")
        chain.append(base.text())
    return tuple(chain)


def _fragments(root: Path, bases: tuple[str, ...], node: Node) -> tuple[Path, ...]:
    folder = root / "arches"
    own = [folder / f"{base}.config" for base in reversed(bases)]
    common = folder / "common.config"
    for path in (common, own[0]):
        if not path.is_file():
            missing = path.relative_to(root).as_posix()
            whose = "the kconfig fragment of all arches" if path == common else "its fragment"
            raise node.error(f"{missing} is missing", f"write {whose}; it may be empty")
    return (common, *(path for path in own if path.is_file()))
