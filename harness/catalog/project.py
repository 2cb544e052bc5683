"""Everything a project declares, loaded once: arches, kernels, the matrix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec import Struct

from harness.catalog.arches import Arch, load_arches
from harness.catalog.kernels import Kernel, Kernels, kernel_spec, load_kernels
from harness.catalog.matrix import FOLDER, Matrix, flavour_names, load_matrix
from harness.catalog.yamlfile import DeclarationError, quote, suggest

VARIABLE = "FAULTLINE_PROJECT"
T = TypeVar("T")


class Keeper(Protocol):
    """Remembers what follows from files alone: see build/kept.py."""

    def get(self, what: str, inputs: Callable[[], object], make: Callable[[], T]) -> T: ...


class Project(Struct, frozen=True):
    """The declarations below one folder, all read and checked."""

    root: Path
    arches: dict[str, Arch]
    kernels: Kernels
    matrix: Matrix
    flavours: tuple[str, ...]

    @property
    def plain_arches(self) -> list[Arch]:
        """What runs when no arch is named: all but the variants, which are asked for by name."""
        return [arch for arch in self.arches.values() if len(arch.bases) == 1]

    def arch(self, name: str) -> Arch:
        """The arch of that name; DeclarationError with the nearest names."""
        if name not in self.arches:
            raise _unknown("arch", name, list(self.arches))
        return self.arches[name]

    def kernel(self, spec: str) -> Kernel:
        """The kernel a spec names: debian-6.12, tree:PATH, image:PATH."""
        return kernel_spec(spec, self.kernels)

    def flavour(self, name: str) -> str:
        """The flavour of that name; DeclarationError with the nearest names."""
        if name not in self.flavours:
            raise _unknown("flavour", name, list(self.flavours))
        return name


def _unknown(what: str, name: str, known: list[str]) -> DeclarationError:
    return DeclarationError("", 0, f"unknown {what} {quote(name)}", suggest(name, known))


def find_root() -> Path:
    """The project folder: FAULTLINE_PROJECT, else the nearest at or above the current folder,
    else the checkout this program runs from. Raises DeclarationError when there is none.
    """
    given = os.environ.get(VARIABLE)
    here = Path.cwd()
    places = [Path(given)] if given else [here, *here.parents, Path(__file__).parents[2]]
    for place in places:
        if (place / "kernels.yaml").is_file() and (place / "expectations").is_dir():
            return place.resolve()
    hint = f"run it in a checkout of the project, or set {VARIABLE} to its folder"
    raise DeclarationError("", 0, f"no kernels.yaml and expectations/ in {places[0]}", hint)


def load_project(root: Path, kept: Keeper | None = None) -> Project:
    """Read all declarations below `root` that `kept` does not have. Raises DeclarationError for
    the first that is wrong.
    """

    def declared() -> tuple[dict[str, Arch], Kernels]:
        return load_arches(root), load_kernels(root)

    def matrix() -> Matrix:
        return load_matrix(root, arches)

    if kept is None:
        arches, kernels = declared()
        return Project(root, arches, kernels, matrix(), flavour_names(root))
    arches, kernels = kept.get("arches and kernels", lambda: _place_inputs(root), declared)
    if not all(patch.file.is_file() for one in kernels.values() for patch in one.patches):
        arches, kernels = declared()  # which says where it is named
    found = kept.get("the matrix", lambda: _matrix_inputs(root), matrix)
    return Project(root, arches, kernels, found, flavour_names(root))


def _place_inputs(root: Path) -> object:
    """All that `load_arches` and `load_kernels` read, but for the patches, which are looked for;
    and `root`, which is in the paths that they give.
    """
    folder = root / "arches"
    fragments = sorted(path.name for path in folder.glob("*.config"))
    files = [root / "kernels.yaml", *sorted(folder.glob("*.yaml"))]
    return [str(root), fragments, [[path.name, _digest(path)] for path in files]]


def _matrix_inputs(root: Path) -> object:
    """All that `load_matrix` reads: these files, and the names of the flavours."""
    paths = sorted([*(root / FOLDER).glob("*.yaml"), *(root / "arches").glob("*.yaml")])
    return [flavour_names(root), [[str(path.relative_to(root)), _digest(path)] for path in paths]]


def _digest(path: Path) -> str:
    """sha256 of a file; of one that cannot be read "": reading it will say why."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
