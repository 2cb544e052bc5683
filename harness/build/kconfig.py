"""kconfig: fragments merged onto the kernel's own tinyconfig, and what became of their symbols.

A fragment has lines `CONFIG_X=value` and `# CONFIG_X is not set`. A line may end in
`# kernel: >=6.4, <6.9`, `# arch: x86_64 arm64`, or both with a `;` between them: it counts for
these versions, and for these arches and their variants, only. What comes later wins: common,
the arch's bases, the arch, the flavour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct
from packaging.version import Version

from harness.build import InputError
from harness.catalog.version import VersionRange

_SET = re.compile(r'(CONFIG_\w+)=("(?:[^"\\]|\\.)*"|[^\s#"]+)\s*(?:#\s*(.*))?')
_UNSET = re.compile(r"#\s*(CONFIG_\w+) is not set\s*(?:#\s*(.*))?")
NOT_SET = "is not set"


class Request(Struct, frozen=True):
    """One symbol that a fragment asks for."""

    symbol: str  # CONFIG_X
    value: str  # y, m, 12, 0x40, "text" with its quotes, or NOT_SET
    file: Path
    line: int

    def __str__(self) -> str:
        if self.value == NOT_SET:
            return f"# {self.symbol} {NOT_SET}"
        return f"{self.symbol}={self.value}"


class Scope(Struct, frozen=True):
    """What a kernel is configured for: the lines of a fragment may be limited to some."""

    version: Version
    arch: tuple[str, ...] = ()  # its name and those of its bases
    arches: tuple[str, ...] = ()  # every name that a line may use


def read_fragment(path: Path, scope: Scope) -> list[Request]:
    """The requests of one fragment that count in this scope. Raises BuildError."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the kconfig fragment {path}: {error}") from error
    found = []
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if match := _SET.fullmatch(line):
            symbol, value, comment = match.groups()
        elif match := _UNSET.fullmatch(line):
            (symbol, comment), value = match.groups(), NOT_SET
        elif not line or line.startswith("#"):
            continue
        else:
            raise InputError(
                f"{path}:{number}: expected CONFIG_NAME=value or # CONFIG_NAME is not set, "
                f"found {line!r}"
            )
        try:
            counts = _counts(comment or "", scope)
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        if counts:
            value = NOT_SET if value == "n" else value
            found.append(Request(symbol, value, path, number))
    return found


def _counts(comment: str, scope: Scope) -> bool:
    """Whether the limits in a line's comment let it count. Raises ValueError."""
    counts = True
    for part in comment.split(";"):
        key, found, value = part.strip().partition(":")
        if found and key == "kernel":
            counts &= VersionRange.parse(value.strip()).contains(scope.version)
        elif found and key == "arch":
            names = value.split()
            unknown = [name for name in names if name not in scope.arches]
            if unknown or not names:
                raise ValueError(
                    f"expected arches ({', '.join(scope.arches)}) after `arch:`, "
                    f"found {' '.join(unknown)!r}"
                )
            counts &= any(name in scope.arch for name in names)
    return counts


def tinyconfig(tree: Path, kernel_arch: str) -> tuple[list[str], list[Path]]:
    """What `make tinyconfig` is made of: words for make, and fragments that are merged on top.

    With the fragments of others behind them kconfig runs twice, where tinyconfig and what is put
    on top of it would be three runs.
    """
    base = tree / "kernel" / "configs"
    folders = base, tree / "arch" / kernel_arch / "configs"
    fragments = [path / "tiny.config" for path in folders]
    seed = base / "tiny-base.config"  # before 5.13 allnoconfig knows by itself
    words = [f"KCONFIG_ALLCONFIG={seed}"] if seed.is_file() else []
    return [*words, "allnoconfig"], [path for path in fragments if path.is_file()]


def merge(fragments: Iterable[Path], scope: Scope) -> dict[str, Request]:
    """The last request for each symbol, in order of first mention. Raises BuildError."""
    merged: dict[str, Request] = {}
    for path in fragments:
        for request in read_fragment(path, scope):
            merged[request.symbol] = request
    return merged


def read_config(text: str) -> dict[str, str]:
    """Symbol -> value of a .config; what is not set has no entry."""
    return dict(re.findall(r"^(CONFIG_\w+)=(.*?)\r?$", text, re.MULTILINE))


def apply(config: str, requests: Mapping[str, Request]) -> str:
    """The text of a .config with the requests put over what it says."""
    kept = [
        line
        for line in config.splitlines()
        if not (match := re.match(r"(?:# )?(CONFIG_\w+)[= ]", line)) or match[1] not in requests
    ]
    return "\n".join([*kept, *(str(request) for request in requests.values())]) + "\n"


def lost(config: str, requests: Mapping[str, Request]) -> list[Request]:
    """The requests that a .config does not hold."""
    found = read_config(config)
    return [
        request
        for request in requests.values()
        if found.get(request.symbol, NOT_SET) != request.value
    ]


def describe_lost(request: Request, config: str, tree: Path) -> str:
    """ "FILE:LINE: CONFIG_X=y did not survive ...", with the reason if Kconfig tells."""
    value = read_config(config).get(request.symbol)
    now = f"{request.symbol}={value}" if value is not None else "it is not set"
    return f"{request.file}:{request.line}: {request} did not survive ({now}): " + _reason(
        request.symbol.removeprefix("CONFIG_"), read_config(config), tree
    )


def _reason(symbol: str, config: Mapping[str, str], tree: Path) -> str:
    """What Kconfig says of a symbol: unknown here, its conditions and which are not met, and
    which symbols that are set select it.
    """
    places, selectors = [], []
    for path in sorted(tree.rglob("Kconfig*")):
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        for match in _ENTRY.finditer(text):
            name, body = match.groups()
            if name == symbol:
                line = text.count("\n", 0, match.start()) + 1
                places.append(f"{path.relative_to(tree)}:{line}{_conditions(body, config)}")
            elif f"CONFIG_{name}" in config and re.search(rf"^\s+select {symbol}\b", body, re.M):
                selectors.append(name)
    if not places:
        return "this kernel has no such symbol (limit the line with `# kernel: RANGE`?)"
    selected = f"; selected by {', '.join(selectors[:3])}" if selectors else ""
    return "see " + "; ".join(places[:3]) + selected


_ENTRY = re.compile(r"^(?:menu)?config (\w+)\n((?:[ \t].*\n|[ \t]*\n|#.*\n)*)", re.MULTILINE)
_PROMPT = re.compile(r'^\s+(?:bool|tristate|int|hex|string|prompt) ".*" if (.*)$', re.MULTILINE)
_DEPENDS = re.compile(r"^\s+depends on ((?:.*\\\n)*.*)", re.MULTILINE)


def _conditions(body: str, config: Mapping[str, str]) -> str:
    """ ", depends on A && B, can be set only if C (not set: B, C)"."""
    depends = [re.sub(r"[\\\s]+", " ", text) for text in _DEPENDS.findall(body)]
    prompt = _PROMPT.findall(body)
    words = re.findall(r"\b[A-Z][A-Z0-9_]*\b", " ".join([*depends, *prompt]))
    unset = [word for word in dict.fromkeys(words) if f"CONFIG_{word}" not in config]
    text = f", depends on {' && '.join(depends)}" if depends else ""
    text += f", can be set only if {prompt[0]}" if prompt else ""
    return text + (f" (not set: {', '.join(unset)})" if unset else "")
