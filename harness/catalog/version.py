"""Kernel and QEMU versions, and the ranges that rows and patches select by.

Only the leading ``X.Y[.Z][-rcN]`` of a release is compared; what follows it (``-1~deb12u1``,
``-dirty``) is provenance. Comparison is ``packaging.version.Version``'s, never
``SpecifierSet``'s, which drops release candidates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from packaging.version import Version

# Debian writes a release candidate as 6.13~rc2, uname and git as 6.13.0-rc2 or v6.13-rc2.
_NUMBER = r"[0-9]{1,6}(?![0-9])"
_RELEASE = re.compile(rf"({_NUMBER}\.{_NUMBER})(\.{_NUMBER})?(?:[-~]rc({_NUMBER}))?")
_BOUND = re.compile(r"(<|>=)[ \t]*([0-9].*)")


class VersionError(ValueError):
    """A version or a range that cannot be read; the text says what was expected."""


def parse_version(text: str) -> Version:
    """The comparable part of a release: ``6.13.0-rc2-dirty`` is 6.13.0rc2, and so is what git
    describes as ``v6.13-rc2-34-g0123abc`` 6.13rc2.

    Raises VersionError when the text does not begin with X.Y.
    """
    return _version(_leading(text.removeprefix("v")))


def _leading(text: str) -> re.Match[str]:
    match = _RELEASE.match(text)
    if match is None:
        raise VersionError(f"{_clip(text)} does not begin with X.Y[.Z][-rcN], such as 6.12.3-rc1")
    return match


def _version(match: re.Match[str]) -> Version:
    xy, z, rc = match.groups()
    return Version(xy + (z or "") + (f"rc{rc}" if rc else ""))


def _bound_version(text: str) -> Version:
    """The version a range's bound stands for: a bare X.Y is the start of its merge window."""
    match = _leading(text)
    if match.end() != len(text):
        raise VersionError(f"{_clip(text)} is not X.Y[.Z][-rcN]: a bound names no local version")
    if match.group(2) is None and match.group(3) is None:
        return Version(f"{text}.dev0")
    return _version(match)


@dataclass(frozen=True)
class VersionRange:
    """Half-open: lower <= version < upper. None means no bound on that side."""

    lower: Version | None = None
    upper: Version | None = None
    text: str = field(default="", compare=False)  # as declared

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Read a comma list of ``<V`` and ``>=V``, each at most once. Raises VersionError."""
        bounds: dict[str, Version] = {}
        for part in text.split(","):
            match = _BOUND.fullmatch(part.strip())
            if match is None:
                raise VersionError(f"{_clip(part.strip())} is neither <V nor >=V")
            operator, version = match.groups()
            if re.search(r"[<>=]", version):
                raise VersionError(f"{_clip(part.strip())}: a comma is missing between the bounds")
            if operator in bounds:
                raise VersionError(f"{_clip(text)} says {operator} twice")
            bounds[operator] = _bound_version(version)
        lower, upper = bounds.get(">="), bounds.get("<")
        if lower is not None and upper is not None and lower >= upper:
            raise VersionError(f"{_clip(text)} holds no version at all")
        return cls(lower, upper, text)

    def contains(self, version: Version) -> bool:
        return (self.lower is None or version >= self.lower) and (
            self.upper is None or version < self.upper
        )

    def __str__(self) -> str:
        return self.text or ", ".join(
            f"{sign}{bound}" for sign, bound in ((">=", self.lower), ("<", self.upper)) if bound
        )


EVERY_VERSION = VersionRange()


def covered(wanted: VersionRange, ranges: list[VersionRange]) -> bool:
    """Whether each version in ``wanted`` is in at least one of ``ranges``."""
    reached = wanted.lower  # everything in `wanted` below this is covered; None: nothing yet
    unbounded = wanted.lower is None
    # None sorts first: a range without a lower bound begins before all others.
    for item in sorted(ranges, key=lambda r: (r.lower is not None, r.lower or Version("0"))):
        if item.lower is not None and (unbounded or (reached and item.lower > reached)):
            return False  # a gap before this range, hence before all later ones
        if item.upper is None:
            return True
        unbounded = False
        reached = item.upper if reached is None else max(reached, item.upper)
        if wanted.upper is not None and reached >= wanted.upper:
            return True
    return False


def _clip(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
