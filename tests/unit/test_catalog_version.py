"""Version order with release candidates, and half-open ranges."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from harness.catalog.version import VersionError, VersionRange, covered, parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.12.117-1~deb12u1", "6.12.117"),
        ("6.13.0-rc2-dirty", "6.13.0rc2"),
        ("6.13-rc2", "6.13rc2"),
        ("6.13~rc2-1~exp1", "6.13rc2"),  # Debian's spelling
        ("7.2.13", "7.2.13"),
        ("6.10", "6.10"),
        ("6.1.0-rc10+", "6.1.0rc10"),
        ("6.1.192+faultline", "6.1.192"),
        ("7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"),
        ("6.6.1-arch1-1", "6.6.1"),
        ("v6.12-1234-g0123abc", "6.12"),
        ("v6.13-rc2-34-g0123abc-dirty", "6.13rc2"),
    ],
)
def test_only_the_leading_part_of_a_release_counts(text: str, version: str) -> None:
    assert parse_version(text) == Version(version)


@pytest.mark.parametrize(
    "text", ["", "6", "v", "vv6.12", "next-20240101", "6.x", " 6.12", "1234567.1"]
)
def test_text_without_a_version(text: str) -> None:
    with pytest.raises(VersionError, match=r"does not begin with X\.Y"):
        parse_version(text)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("<6.3", "6.2.99 6.2.0", "6.3-rc1 6.3.0 6.12.1"),  # a bare X.Y: from its merge window
        (">=6.3", "6.3-rc1 6.3.0 7.0", "6.2.99"),
        (">=6.1, <6.3", "6.1-rc1 6.1.192 6.2.16", "6.0.19 6.3-rc1"),
        ("<6.3,>=6.1", "6.1.0", "6.3.0"),
        (">=6.12.5", "6.12.5 6.12.117", "6.12.4 6.12-rc1"),
        ("<6.12-rc3", "6.12-rc2 6.12.0-rc2", "6.12-rc3 6.12.0"),
        (">=6.9, <6.10", "6.9.1", "6.10.0 6.1.0"),
    ],
)
def test_ranges(text: str, inside: str, outside: str) -> None:
    versions = VersionRange.parse(text)
    assert all(versions.contains(parse_version(one)) for one in inside.split())
    assert not any(versions.contains(parse_version(one)) for one in outside.split())
    assert str(versions) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither <V nor >=V"),
        ("6.3", "neither <V nor >=V"),
        ("<=6.3", "neither <V nor >=V"),
        ("==6.3", "neither <V nor >=V"),
        (">=6.1,", "neither <V nor >=V"),
        ("<6.3, <6.4", "says < twice"),
        (">=6.3, <6.1", "holds no version"),
        (">=6.3, <6.3", "holds no version"),
        ("<6", "does not begin"),
        ("<6.12.117-1~deb12u1", r"is not X\.Y"),
        (">=6.12 <6.13", "a comma is missing between the bounds"),
    ],
)
def test_ranges_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(VersionError, match=message):
        VersionRange.parse(text)


@given(st.text())
def test_hostile_text_raises_nothing_else(text: str) -> None:
    for read in (parse_version, VersionRange.parse):
        with contextlib.suppress(VersionError):
            read(text)


bounds = st.none() | st.integers(0, 6)
ranges = st.builds(
    lambda low, high: VersionRange(
        None if low is None else Version(f"6.{low}"), None if high is None else Version(f"6.{high}")
    ),
    bounds,
    bounds,
).filter(lambda r: r.lower is None or r.upper is None or r.lower < r.upper)


@given(ranges, st.lists(ranges, max_size=4))
def test_covered_agrees_with_trying_each_version(
    wanted: VersionRange, others: list[VersionRange]
) -> None:
    # Between and beyond all bounds that the strategy can draw.
    samples = [Version(f"6.{minor}.1") for minor in range(7)] + [Version("5.0"), Version("7.0")]
    tried = all(
        any(other.contains(sample) for other in others)
        for sample in samples
        if wanted.contains(sample)
    )
    assert covered(wanted, others) == tried
