"""Everything a project declares, loaded once: arches, kernels, the matrix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from harness.catalog.arches import Arch, load_arches
from harness.catalog.kernels import Kernel, Kernels, kernel_spec, load_kernels
from harness.catalog.matrix import FOLDER, Matrix, flavour_names, load_matrix
from harness.catalog.yamlfile import DeclarationError, quote, suggest

VARIABLE = "FAULTLINE_PROJECT"
T = TypeVar("T")


class Keeper(Protocol):
    """Remembers what follows from files alone: see build/kept.py."""

    def get(self, what: str, inputs: Callable[[], object], make: Callable[[], T]) -> T: ...


@dataclass(frozen=True)
class Project:
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
    """Read all declarations below `root`; the matrix, which is nearly all of them, only where
    `kept` does not have it. Raises DeclarationError for the first that is wrong.
    """
    arches = load_arches(root)

    def matrix() -> Matrix:
        return load_matrix(root, arches)

    return Project(
        root=root,
        arches=arches,
        kernels=load_kernels(root),
        matrix=kept.get("the matrix", lambda: _matrix_inputs(root), matrix) if kept else matrix(),
        flavours=flavour_names(root),
    )


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
