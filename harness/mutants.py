"""Mutants: kernels with one small mistake in a fault path, to see whether a scenario notices.

A mutant is a patch under mutants/, with a head that says what it is: docs/proof.md tells its lines.
What becomes of them is found out in laboratory.py, by tools/mutants.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from harness.build import BuildError
from harness.build.patches import check_names
from harness.catalog.yamlfile import DeclarationError

_HEAD = re.compile(r"^(Arch|Flavour|Origin|What|Equivalent): *(.+)$")
_SIDES = re.compile(r"^--- (\S+).*\n\+\+\+ (\S+)", re.MULTILINE)
_SIDE = re.compile(r"^(?:---|\+\+\+) ", re.MULTILINE)
_OTHER = re.compile(
    r"^(?:(?:old|new|new file|deleted file) mode|rename|copy|Index:|GIT binary patch).*$",
    re.MULTILINE,
)
_ORIGIN = re.compile(r"(blind|seen|mechanical|reverses \S.*)")


class Mutant(Struct, frozen=True):
    name: str
    file: Path
    arches: tuple[str, ...]
    origin: str  # "blind", "seen", "mechanical", or "reverses COMMIT ..."
    what: str
    equivalent: str = ""  # the argument, for one that no program can tell from the original
    flavour: str = "core"  # the kernels that have the code

    @property
    def shared(self) -> bool:
        """Whether it changes code that other arches have as well."""
        return any(not name.startswith("arch/") for name in self.touched)

    @property
    def touched(self) -> list[str]:
        """Paths below the tree that the patch changes."""
        return _changed(self.file.read_text(encoding="utf-8"))


def load_mutants(root: Path, arches: Sequence[str], folder: str = "mutants") -> list[Mutant]:
    """All mutants of the project at `root`, or in another folder. Raises DeclarationError."""
    patches = sorted((root / folder).glob("*.patch"))
    return [_load(path, f"{folder}/{path.name}", root, arches) for path in patches]


def _load(path: Path, file: str, root: Path, arches: Sequence[str]) -> Mutant:
    text = _read(path, file)
    head: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("--- "):
            break
        if match := _HEAD.match(line):
            if match[1] in head:
                raise DeclarationError(file, number, f"{match[1]}: stands here twice")
            head[match[1]] = match[2].strip()
    for key in ("Arch", "Origin", "What"):
        if key not in head:
            raise DeclarationError(file, 1, f"the head lacks `{key}:`", "see docs/proof.md")
    names = tuple(re.split(r"[ ,]+", head["Arch"]))
    for name in names:
        if name not in arches:
            raise DeclarationError(file, 1, f"unknown arch {name!r}", f"known: {', '.join(arches)}")
        if names.count(name) > 1:
            raise DeclarationError(file, 1, f"arch {name!r} stands here twice")
    if not _ORIGIN.fullmatch(head["Origin"]):
        hint = "write blind, seen, mechanical, or `reverses` and the commit"
        raise DeclarationError(file, 1, f"unknown origin {head['Origin']!r}", hint)
    flavour = head.get("Flavour", "core")
    if "Flavour" in head and not (root / "flavours" / f"{flavour}.config").is_file():
        raise DeclarationError(file, 1, f"there is no flavours/{flavour}.config", "see flavours/")
    equivalent = head.get("Equivalent", "")
    return Mutant(path.stem, path, names, head["Origin"], head["What"], equivalent, flavour)


def _read(path: Path, file: str) -> str:
    """The text of a patch that changes files of the tree and does nothing else.

    What it changes has to be known by name, or it would stay in the trees of other mutants.
    Raises DeclarationError.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check_names(text, path)
    except OSError as error:
        raise DeclarationError(file, 0, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DeclarationError(file, 0, "not UTF-8", "save the file as UTF-8") from None
    except BuildError as error:
        raise DeclarationError(file, 0, str(error).removeprefix(f"{path}: ")) from None
    if not _changed(text):
        raise DeclarationError(file, 0, "changes no file: there is no line `+++ b/...`")
    if other := _OTHER.search(text):
        number = text.count("\n", 0, other.start()) + 1
        raise DeclarationError(file, number, f"a mutant changes text alone: {other[0]!r}")
    sides = _SIDES.findall(text)
    if 2 * len(sides) != len(_SIDE.findall(text)):
        raise DeclarationError(file, 0, "expected each line `--- a/...` before its `+++ b/...`")
    for old, new in sides:
        if (old[:2], new[:2]) != ("a/", "b/") or old[2:] != new[2:]:
            hint = "a mutant makes, deletes and renames no file: `--- a/FILE`, `+++ b/FILE`"
            raise DeclarationError(file, 0, f"names {old!r} and {new!r}", hint)
    return text


def _changed(text: str) -> list[str]:
    return [new.removeprefix("b/") for _, new in _SIDES.findall(text)]
