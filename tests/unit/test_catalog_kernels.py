"""Kernels: the file, the spec text, patches, and what is wrong with a declaration."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.arches import load_arches
from harness.catalog.kernels import (
    DebianSource,
    GitSource,
    ImageSource,
    Kernels,
    TarballSource,
    TreeSource,
    change_spec,
    kernel_spec,
    load_kernels,
)
from harness.catalog.version import parse_version
from harness.catalog.yamlfile import DeclarationError

PROJECT = Path(__file__).parents[2]
SHA256 = "0123456789abcdef" * 4


def load(root: Path, kernels: str, default: str = "one") -> Kernels:
    (root / "arches").mkdir(exist_ok=True)
    (root / "arches/m68k.yaml").touch()
    (root / "patches").mkdir(exist_ok=True)
    (root / "patches/fix.patch").touch()
    (root / "kernels.yaml").write_text(f"default: {default}\nkernels:\n{kernels}")
    return load_kernels(root)


def test_sources(tmp_path: Path) -> None:
    kernels = load(
        tmp_path,
        f"""\
  one: {{debian: {{package: linux-source-6.1, suite: sid}}}}
  two: {{tarball: {{url: "https://example.org/x.tar", sha256: {SHA256}}}}}
  three: {{tarball: {{path: x.tar, sha256: {SHA256}}}}}
  four: {{tree: linux}}
  five: {{image: {{path: Image, arch: m68k, version: 6.10}}}}
""",
    )
    assert kernels.default == "one"
    assert (kernels["two"].file, kernels["two"].line) == ("kernels.yaml", 4)
    assert [kernel.source for kernel in kernels.values()] == [
        DebianSource("linux-source-6.1", "sid"),
        TarballSource(None, "https://example.org/x.tar", SHA256),
        TarballSource(tmp_path / "x.tar", None, SHA256),
        TreeSource(tmp_path / "linux"),
        ImageSource(tmp_path / "Image", "m68k", None, "6.10"),
    ]


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("{}", "expected one source, found none"),
        ("{tree: x, unavailable: [{arch: vax, because: y}]}", "unknown arch 'vax'"),
        ("{tree: x, unavailable: [{arch: m68k}]}", "'because' is missing"),
        ("{tree: a, debian: {package: b}}", "expected one source, found tree and debian"),
        ("{debain: {package: b}}", "unknown key 'debain'\n  did you mean debian?"),
        ("{debian: {suite: sid}}", "the key 'package' is missing"),
        ("{debian: linux-source}", "expected a mapping"),
        ("{tarball: {path: a, sha256: abc}}", "64 lower-case hex digits"),
        (f"{{tarball: {{sha256: {SHA256}}}}}", "either `path` or `url`"),
        (f"{{tarball: {{path: a, url: b, sha256: {SHA256}}}}}", "either `path` or `url`"),
        ("{image: {path: a}}", "the key 'arch' is missing"),
        ("{image: {path: a, arch: m86k}}", "unknown arch 'm86k'\n  did you mean m68k?"),
        ("{image: {path: a, arch: m68k}, patches: [{file: a, because: b}]}", "cannot be patched"),
        ("{git: {path: a}}", "the key 'rev' is missing"),
        ("{tree: a, patches: [{file: patches/fix.patch}]}", "the key 'because' is missing"),
        ("{tree: a, patches: [{file: patches/fxi.patch, because: b}]}", "mean patches/fix.patch?"),
        (
            "{tree: a, patches: [{file: patches/fix.patch, kernel: 6.1, because: b}]}",
            "neither <V nor >=V",
        ),
    ],
)
def test_what_is_wrong_with_a_kernel(tmp_path: Path, kernel: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load(tmp_path, f"  one: {kernel}\n")
    assert message in str(caught.value)
    assert str(caught.value).startswith("kernels.yaml:3: ")


@pytest.mark.parametrize("name", ["'tree:x'", "../x", "--gdb", '"x\\ny"', "x/y"])
def test_names_that_could_be_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(DeclarationError, match="no name for a kernel"):
        load(tmp_path, f"  {name}: {{tree: x}}\n")


def test_names(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"unknown kernel 'on'\n  did you mean one\?"):
        load(tmp_path, "  one: {tree: x}\n", default="on")


def test_specs(tmp_path: Path) -> None:
    kernels = load(tmp_path, "  one: {tree: x}\n")
    assert kernel_spec("one", kernels) is kernels["one"]
    tree = kernel_spec("tree:../linux", kernels)
    assert (tree.name, tree.source) == ("tree:../linux", TreeSource(Path("../linux")))
    assert kernel_spec("image:/boot/a:b", kernels).source == ImageSource(Path("/boot/a:b"))
    assert kernel_spec("git:/a#b/c#v6.1", kernels).source == GitSource(Path("/a#b/c"), "v6.1")


def test_a_path_alone_is_told_how_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = load(tmp_path, "  one: {tree: x}\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linux").mkdir()
    (tmp_path / "vmlinux").touch()
    for path, spec in (("linux", "tree:linux"), ("./vmlinux", "image:./vmlinux")):
        with pytest.raises(DeclarationError, match=rf"\n  did you mean {spec}\?"):
            kernel_spec(path, kernels)


def test_changes_are_part_of_a_spec(tmp_path: Path) -> None:
    kernels = load(tmp_path, "  one: {tree: x}\n")
    patch, fragment = tmp_path / "a+b.patch", tmp_path / "debug.config"
    patch.touch()
    fragment.touch()
    spec = change_spec("one", [patch], [fragment])
    assert spec == f"one+patch:{patch}+config:{fragment}"
    kernel = kernel_spec(spec, kernels)
    assert kernel.name == spec and kernel.source == kernels["one"].source
    assert [p.file for p in kernel.patches] == [patch] and kernel.fragments == (fragment,)
    assert not kernels["one"].patches and not kernels["one"].fragments


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "unknown kernel ''"),
        ("oen", "unknown kernel 'oen'\n  did you mean one?"),
        ("x" * 300, "unknown kernel 'xxx"),
        ("locall", "unknown kernel 'locall'\n  did you mean local?"),
        ("tree:", "nothing stands behind"),
        ("git:linux", "expected git:PATH#REV"),
        ("git:#v6.1", "expected git:PATH#REV"),
        ("one+patch:none.patch", "there is no file 'none.patch'"),
        ("oen+config:none", "did you mean one?"),
        ("image:/boot/x+config:none", "cannot be patched or configured"),
        ("local+patch:x", "this machine cannot be patched"),
        ("tre:linux", "unknown kind of kernel 'tre'"),
    ],
)
def test_specs_that_are_refused(tmp_path: Path, spec: str, message: str) -> None:
    kernels = load(tmp_path, "  one: {tree: x}\n")
    with pytest.raises(DeclarationError) as caught:
        kernel_spec(spec, kernels)
    assert message in str(caught.value)


def test_an_arch_that_a_kernel_cannot_be_had_for(tmp_path: Path) -> None:
    kernels = load(
        tmp_path,
        "  one: {tree: linux, unavailable: [{arch: m68k, because: no such board}]}\n"
        "  two: {tree: linux}\n",
    )
    assert kernels["one"].unavailable == {"m68k": "no such board"}
    assert not kernels["two"].unavailable


def test_the_project_itself() -> None:
    arches, kernels = load_arches(PROJECT), load_kernels(PROJECT)
    assert kernels.default == "debian-6.12"
    (patch,) = kernels["debian-6.12"].patches
    assert patch.applies(arches["alpha"], parse_version("6.12.117"))
    assert not patch.applies(arches["alpha"], parse_version("6.13-rc1"))
    assert not patch.applies(arches["m68k"], parse_version("6.12.117"))
