"""kconfig: fragments read, merged and looked for in what olddefconfig made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from harness.build import BuildError
from harness.build.kconfig import (
    NOT_SET,
    Request,
    Scope,
    apply,
    describe_lost,
    lost,
    merge,
    tinyconfig,
)

NEW = Scope(Version("6.12.117"))


def fragment(tmp_path: Path, text: str, name: str = "a.config") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def texts(*paths: Path, scope: Scope = NEW) -> list[str]:
    return [str(request) for request in merge(paths, scope).values()]


def test_lines_of_a_fragment(tmp_path: Path) -> None:
    path = fragment(
        tmp_path,
        "# a comment\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=n\n  CONFIG_D=0x40  # why\n"
        'CONFIG_E="a # b \\" c"\nCONFIG_F=12 # kernel: >=6.4\nCONFIG_G=y  # kernel: <6.4\n'
        "# CONFIG_H is not set  # kernel: <6.4\n",
    )
    assert texts(path) == [
        "CONFIG_A=y",
        "# CONFIG_B is not set",
        "# CONFIG_C is not set",
        "CONFIG_D=0x40",
        'CONFIG_E="a # b \\" c"',
        "CONFIG_F=12",
    ]
    old = texts(path, scope=Scope(Version("6.1")))
    assert "CONFIG_G=y" in old and "# CONFIG_H is not set" in old and "CONFIG_F=12" not in old


@pytest.mark.parametrize(
    "line", ["CONFIG_A", "A=y", "CONFIG_A=", "CONFIG_A=y z", 'CONFIG_A="open', "CONFIG_A =y"]
)
def test_what_is_no_line_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(BuildError, match=r"a\.config:2: expected CONFIG_NAME=value"):
        texts(fragment(tmp_path, f"\n{line}\n"))


def test_bad_ranges_and_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"a\.config:1: .*neither"):
        texts(fragment(tmp_path, "CONFIG_A=y # kernel: 6.4+\n"))
    with pytest.raises(BuildError, match="cannot read the kconfig fragment"):
        texts(tmp_path / "none.config")
    (tmp_path / "b.config").write_bytes(b"\xff\xfe")
    with pytest.raises(BuildError, match="cannot read the kconfig fragment"):
        texts(tmp_path / "b.config")


def test_lines_for_some_arches(tmp_path: Path) -> None:
    path = fragment(
        tmp_path,
        "CONFIG_A=y # arch: arm64 x86_64\nCONFIG_B=y # arch: m68k\n"
        "CONFIG_C=y # kernel: >=6.4; arch: arm64\nCONFIG_D=y # arch: arm64; kernel: <6.4\n"
        "CONFIG_E=y # because: it is useful\n",
    )
    known = ("arm64", "m68k", "x86_64")
    new, old = Version("6.12"), Version("6.1")
    variant = Scope(new, ("arm64-64k", "arm64"), known)
    assert texts(path, scope=variant) == ["CONFIG_A=y", "CONFIG_C=y", "CONFIG_E=y"]
    assert texts(path, scope=Scope(old, ("arm64",), known))[1] == "CONFIG_D=y"
    assert texts(path, scope=Scope(new, ("m68k",), known)) == ["CONFIG_B=y", "CONFIG_E=y"]


@pytest.mark.parametrize("names", ["", "arm46", "arm64, m68k"])
def test_names_that_are_no_arch_are_told(tmp_path: Path, names: str) -> None:
    path = fragment(tmp_path, f"CONFIG_A=y\nCONFIG_B=y # arch: {names}\n")
    with pytest.raises(BuildError, match=r"a\.config:2: expected arches \(arm64, m68k\)"):
        merge([path], Scope(Version("6.12"), ("arm64",), ("arm64", "m68k")))


def test_later_fragments_win(tmp_path: Path) -> None:
    base = fragment(tmp_path, "CONFIG_A=y\nCONFIG_B=y\n", "base.config")
    variant = fragment(tmp_path, "# CONFIG_A is not set\n", "variant.config")
    merged = merge([base, variant], NEW)
    assert [str(request) for request in merged.values()] == ["# CONFIG_A is not set", "CONFIG_B=y"]
    assert (merged["CONFIG_A"].file, merged["CONFIG_A"].line) == (variant, 1)


def test_applied_over_a_config(tmp_path: Path) -> None:
    requests = merge([fragment(tmp_path, "CONFIG_A=y\n# CONFIG_B is not set\n")], NEW)
    config = "# made by make\n# CONFIG_A is not set\nCONFIG_AB=y\nCONFIG_B=y\n"
    assert apply(config, requests) == (
        "# made by make\nCONFIG_AB=y\nCONFIG_A=y\n# CONFIG_B is not set\n"
    )


def test_what_tinyconfig_is_made_of(tmp_path: Path) -> None:
    """The parts that a tree has: the seed came with 5.13, and few arches have a fragment."""
    assert tinyconfig(tmp_path, "m68k") == (["allnoconfig"], [])
    common, own = tmp_path / "kernel" / "configs", tmp_path / "arch" / "m68k" / "configs"
    for folder in (common, own):
        folder.mkdir(parents=True)
        (folder / "tiny.config").touch()
    (common / "tiny-base.config").touch()
    words = [f"KCONFIG_ALLCONFIG={common}/tiny-base.config", "allnoconfig"]
    assert tinyconfig(tmp_path, "m68k") == (words, [common / "tiny.config", own / "tiny.config"])
    assert tinyconfig(tmp_path, "alpha") == (words, [common / "tiny.config"])


def test_lost_symbols(tmp_path: Path) -> None:
    text = "CONFIG_A=y\nCONFIG_B=12\n# CONFIG_C is not set\n# CONFIG_D is not set\n"
    requests = merge([fragment(tmp_path, text)], NEW)
    assert lost(text, requests) == []
    found = lost("CONFIG_B=13\nCONFIG_C=y\n", requests)  # D is not there at all: that is unset
    assert [request.symbol for request in found] == ["CONFIG_A", "CONFIG_B", "CONFIG_C"]


KCONFIG = """\
config A
\tbool "a" if EXPERT
\tdepends on (B || \\
\t            C) && D
\tdefault y

\thelp
\t  config FALSE is mentioned here.

menuconfig S
\tbool
\tselect A
"""


def test_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "Kconfig").write_text(KCONFIG)
    request = Request("CONFIG_A", "y", Path("x.config"), 7)
    told = describe_lost(request, "CONFIG_D=y\n", tmp_path)
    assert told == (
        "x.config:7: CONFIG_A=y did not survive (it is not set): see mm/Kconfig:1, "
        "depends on (B || C) && D, can be set only if EXPERT (not set: B, C, EXPERT)"
    )
    off = Request("CONFIG_A", NOT_SET, Path("x.config"), 7)
    told = describe_lost(off, "CONFIG_A=y\nCONFIG_S=y\n", tmp_path)
    assert "(CONFIG_A=y)" in told and told.endswith("; selected by S")
    missing = Request("CONFIG_NONE", "y", Path("x.config"), 7)
    assert "no such symbol" in describe_lost(missing, "", tmp_path)
