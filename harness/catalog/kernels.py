"""Kernels: ``kernels.yaml``, and the one text that names a kernel everywhere.

A kernel spec is a name from the file, as ``debian-6.12``, or ``tree:PATH`` (a source tree as
it lies there), ``git:PATH#REV`` (a revision of a repository, which is only read) or
``image:PATH`` (a kernel that somebody else built). Changes to it follow:
``debian-6.12+patch:FILE+config:FILE`` is debian-6.12 with a patch and a kconfig fragment.
One that runs already is ``local``, ``ssh:HOST`` or ``qemu-user``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Union

from msgspec import Struct
from packaging.version import Version

from harness.catalog.arches import Arch, arch_names, read_arches
from harness.catalog.version import VersionRange
from harness.catalog.yamlfile import DeclarationError, Node, load, quote, suggest


class DebianSource(Struct, frozen=True):
    """A package that holds a kernel source archive."""

    package: str
    suite: str | None = None  # None: the package sources that the system has

    def __str__(self) -> str:
        return f"Debian package {self.package}" + (f" of {self.suite}" if self.suite else "")


class TarballSource(Struct, frozen=True):
    """An archive, on disk or to be fetched; exactly one of ``path`` and ``url`` is set."""

    path: Path | None
    url: str | None
    sha256: str  # 64 lower-case hex digits

    @property
    def name(self) -> str:
        return self.path.name if self.path else (self.url or "").rpartition("/")[2]

    def __str__(self) -> str:
        return f"tarball {self.path or self.url}"


class TreeSource(Struct, frozen=True):
    """A user's own source tree, built out of tree."""

    path: Path

    def __str__(self) -> str:
        return f"tree {self.path}"


class GitSource(Struct, frozen=True):
    """A revision of a user's repository."""

    path: Path
    rev: str

    def __str__(self) -> str:
        return f"revision {self.rev} of {self.path}"


class ImageSource(Struct, frozen=True):
    """A kernel that is built already. What is None is asked of the image or not known."""

    image: Path
    arch: str | None = None
    config: Path | None = None
    version: str | None = None

    def __str__(self) -> str:
        return f"ready image {self.image}" + (f" for {self.arch}" if self.arch else "")


class RunningSource(Struct, frozen=True):
    """A kernel, or what claims to be one, that runs already: it is neither built nor booted."""

    kind: Literal["local", "ssh", "qemu-user"]
    host: str = ""  # of ssh, as it is given to ssh

    def __str__(self) -> str:
        texts = {"local": "this machine", "qemu-user": "user mode of QEMU on this machine"}
        return texts.get(self.kind, f"{self.host}, over ssh")


_HERE = {"local": RunningSource("local"), "qemu-user": RunningSource("qemu-user")}

Source = Union[DebianSource, TarballSource, TreeSource, GitSource, ImageSource, RunningSource]

_CHANGE = re.compile(r"\+(patch|config):")


class Patch(Struct, frozen=True):
    """A change without which a kernel does not build, or a test could not see its edge."""

    file: Path
    arch: tuple[str, ...]  # empty: every arch
    kernel: VersionRange | None  # None: every version
    because: str

    def applies(self, arch: Arch, version: Version) -> bool:
        in_range = self.kernel is None or self.kernel.contains(version)
        return in_range and arch.matches(self.arch)


@dataclass(frozen=True)
class Kernel:
    name: str  # the kernel spec as given
    source: Source
    patches: tuple[Patch, ...] = ()
    unavailable: Mapping[str, str] = field(default_factory=dict, hash=False)  # arch -> why
    fragments: tuple[Path, ...] = ()  # kconfig fragments on top of arch and flavour
    # What declared kernels need in order to build; a user's own may need it, and is left alone.
    remedies: tuple[Patch, ...] = field(default=(), compare=False)
    file: str = ""  # where it is declared; "" for a spec that names a path
    line: int = 0


class Kernels(dict[str, Kernel]):
    """The declared kernels by name, and the one that is used when none is asked for."""

    default: str = ""


def load_kernels(root: Path) -> Kernels:
    """Read ``kernels.yaml``; paths in it are relative to ``root``. Raises DeclarationError."""
    fields = load(root / "kernels.yaml", root).record(required=("default", "kernels"))
    arches = arch_names(root)
    kernels = Kernels()
    for name, node in fields["kernels"].mapping().items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", name):
            hint = "use letters, digits and . _ + - only"
            raise node.error(f"{quote(name)} is no name for a kernel", hint)
        kernels[name] = _kernel(root, name, node, arches)
    kernels.default = fields["default"].choice(kernels, "kernel")
    return kernels


def kernel_spec(text: str, kernels: dict[str, Kernel]) -> Kernel:
    """The kernel that a spec names; paths in it are relative to the current folder.

    Raises DeclarationError, without a file: a spec comes from a command line.
    """
    first, *changes = _CHANGE.split(text)
    kernel = _unchanged(first, kernels)
    if not changes:
        return kernel
    if isinstance(kernel.source, ImageSource | RunningSource):
        message = f"kernel {quote(text)}: {kernel.source} cannot be patched or configured"
        raise DeclarationError("", 0, message, "name a kernel that is built from source")
    for kind, name in zip(changes[::2], changes[1::2], strict=True):
        path = Path(name).expanduser()
        if not path.is_file():
            raise DeclarationError("", 0, f"kernel {quote(text)}: there is no file {quote(name)}")
        if kind == "patch":
            patch = Patch(path, (), None, "asked for with the kernel")
            kernel = replace(kernel, patches=(*kernel.patches, patch))
        else:
            kernel = replace(kernel, fragments=(*kernel.fragments, path))
    return replace(kernel, name=text)


def change_spec(
    spec: str, patches: Iterable[Path | str] = (), fragments: Iterable[Path | str] = ()
) -> str:
    """The spec of a kernel with patches and kconfig fragments on top."""
    words = [*(f"+patch:{path}" for path in patches), *(f"+config:{path}" for path in fragments)]
    return "".join([spec, *words])


def split_spec(spec: str) -> tuple[str, list[str], list[str]]:
    """(kernel, patches, kconfig fragments) of a spec."""
    first, *changes = _CHANGE.split(spec)
    pairs = list(zip(changes[::2], changes[1::2], strict=True))
    named = {want: [name for kind, name in pairs if kind == want] for want in ("patch", "config")}
    return first, named["patch"], named["config"]


def _unchanged(text: str, kernels: dict[str, Kernel]) -> Kernel:
    if text in kernels:
        return kernels[text]
    kind, colon, rest = text.partition(":")
    if text in _HERE:
        return Kernel(text, _HERE[text])
    if not colon:
        known = [*kernels, *_HERE, "ssh:HOST", "tree:PATH", "git:PATH#REV", "image:PATH"]
        hint = f"did you mean {spec}?" if (spec := _of_path(text)) else suggest(text, known)
        raise DeclarationError("", 0, f"unknown kernel {quote(text)}", hint)
    if not rest:
        raise DeclarationError("", 0, f"kernel {quote(text)}: nothing stands behind the colon")
    path = Path(rest).expanduser()
    if kind == "tree":
        return Kernel(text, TreeSource(path), remedies=_remedies(kernels))
    if kind == "image":
        return Kernel(text, ImageSource(path))
    if kind == "ssh":
        return Kernel(text, RunningSource("ssh", rest))
    if kind == "git":
        place, _, rev = rest.rpartition("#")
        if not place or not rev:
            raise DeclarationError("", 0, f"kernel {quote(text)}: expected git:PATH#REV")
        source = GitSource(Path(place).expanduser(), rev)
        return Kernel(text, source, remedies=_remedies(kernels))
    kinds = "tree:PATH, git:PATH#REV, image:PATH, local, ssh:HOST, qemu-user"
    hint = f"write {kinds} or a name from kernels.yaml"
    raise DeclarationError("", 0, f"unknown kind of kernel {quote(kind)}", hint)


def _of_path(text: str) -> str:
    """The spec of what is a path without its kind; "" where it is none."""
    with suppress(OSError):  # as of a name that is too long for one
        if text and Path(text).exists():
            return f"tree:{text}" if Path(text).is_dir() else f"image:{text}"
    return ""


def _remedies(kernels: Mapping[str, Kernel]) -> tuple[Patch, ...]:
    return tuple(patch for kernel in kernels.values() for patch in kernel.patches)


def _kernel(root: Path, name: str, node: Node, arches: list[str]) -> Kernel:
    fields = node.record(optional=("patches", "unavailable", *_SOURCES))
    kinds = [key for key in fields if key in _SOURCES]
    if len(kinds) != 1:
        found = f"found {' and '.join(kinds)}" if kinds else "found none"
        raise node.error(f"expected one source, {found}", f"give one of: {', '.join(_SOURCES)}")
    source = _SOURCES[kinds[0]](root, fields[kinds[0]])
    patches = fields["patches"].items() if "patches" in fields else ()
    if patches and isinstance(source, ImageSource):
        raise fields["patches"].error("an image cannot be patched", "remove the patches")
    declared = tuple(_patch(root, item, arches) for item in patches)
    unavailable = dict(
        _unavailable(item, arches)
        for item in (fields["unavailable"].items() if "unavailable" in fields else ())
    )
    return Kernel(name, source, declared, unavailable=unavailable, file=node.file, line=node.line)


def _unavailable(node: Node, arches: list[str]) -> tuple[str, str]:
    """An arch, by its very name and not its base's, that this kernel cannot be had for; why."""
    fields = node.record(required=("arch", "because"))
    return fields["arch"].choice(arches, "arch"), fields["because"].text()


def _patch(root: Path, node: Node, arches: list[str]) -> Patch:
    fields = node.record(required=("file", "because"), optional=("arch", "kernel"))
    file = root / fields["file"].text()
    if not file.is_file():
        present = (f"patches/{path.name}" for path in (root / "patches").glob("*.patch"))
        message = f"there is no {quote(fields['file'].text())}"
        raise fields["file"].error(message, suggest(fields["file"].text(), present))
    return Patch(
        file,
        read_arches(fields["arch"], arches) if "arch" in fields else (),
        fields["kernel"].read(VersionRange.parse) if "kernel" in fields else None,
        fields["because"].text(),
    )


def _debian(root: Path, node: Node) -> Source:
    fields = node.record(required=("package",), optional=("suite",))
    return DebianSource(fields["package"].text(), _optional(fields, "suite"))


def _tarball(root: Path, node: Node) -> Source:
    fields = node.record(required=("sha256",), optional=("path", "url"))
    digest = fields["sha256"].text()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise fields["sha256"].error("expected 64 lower-case hex digits, as sha256sum prints")
    if ("path" in fields) == ("url" in fields):
        raise node.error("expected either `path` or `url`")
    path = root / fields["path"].text() if "path" in fields else None
    return TarballSource(path, _optional(fields, "url"), digest)


def _tree(root: Path, node: Node) -> Source:
    return TreeSource(root / Path(node.text()).expanduser())


def _git(root: Path, node: Node) -> Source:
    fields = node.record(required=("path", "rev"))
    return GitSource(root / Path(fields["path"].text()).expanduser(), fields["rev"].text())


def _image(root: Path, node: Node) -> Source:
    fields = node.record(required=("path", "arch"), optional=("config", "version"))
    config = root / fields["config"].text() if "config" in fields else None
    arch = fields["arch"].choice(arch_names(root), "arch")
    return ImageSource(root / fields["path"].text(), arch, config, _optional(fields, "version"))


_SOURCES: dict[str, Callable[[Path, Node], Source]] = {
    "debian": _debian,
    "tarball": _tarball,
    "tree": _tree,
    "image": _image,
    "git": _git,
}


def _optional(fields: dict[str, Node], key: str) -> str | None:
    return fields[key].text() if key in fields else None
