"""Arches: the fields, inheritance, fragments, and what is wrong with a declaration."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.arches import load_arches
from harness.catalog.yamlfile import DeclarationError

PROJECT = Path(__file__).parents[2]

BASE = """
kernel_arch: arm64
cross: aarch64-linux-gnu-
make_targets: [Image, dtbs]
image: arch/arm64/boot/Image
qemu: qemu-system-aarch64
machine: virt
cpu: max
memory: 256
console: ttyAMA0
port_device: virtio-serial-device
packages: {qemu-system-aarch64: qemu-system-arm}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "arches").mkdir()
    (tmp_path / "arches/common.config").write_text("")
    declare(tmp_path, "arm64", BASE, "CONFIG_SMP=y\n")
    return tmp_path


def declare(root: Path, name: str, text: str, fragment: str | None = None) -> None:
    (root / "arches" / f"{name}.yaml").write_text(text)
    if fragment is not None:
        (root / "arches" / f"{name}.config").write_text(fragment)


def refused(root: Path) -> str:
    with pytest.raises(DeclarationError) as caught:
        load_arches(root)
    return str(caught.value)


def test_fields(root: Path) -> None:
    arch = load_arches(root)["arm64"]
    assert arch.bases == ("arm64",)
    assert arch.make_targets == ("Image", "dtbs")
    assert (arch.memory, arch.smp, arch.cc_flags, arch.append) == (256, 1, (), "")
    assert arch.guest_header == "arm64.h"
    assert arch.packages == {"qemu-system-aarch64": "qemu-system-arm"}
    assert arch.fragment == root / "arches/arm64.config"
    assert arch.fragments == (root / "arches/common.config", arch.fragment)


def test_a_variant_inherits_every_field(root: Path) -> None:
    declare(root, "arm64-64k", "base: arm64\nmemory: 512\n", "CONFIG_ARM64_64K_PAGES=y\n")
    declare(root, "arm64-64k-a57", "base: arm64-64k\ncpu: cortex-a57\n")
    arches = load_arches(root)
    base, middle, leaf = (arches[name] for name in ("arm64", "arm64-64k", "arm64-64k-a57"))
    assert leaf.bases == ("arm64-64k-a57", "arm64-64k", "arm64")
    assert (leaf.cpu, leaf.memory, leaf.machine) == ("cortex-a57", 512, "virt")
    assert leaf.guest_header == "arm64.h"
    assert leaf.fragment == middle.fragment != base.fragment
    names = [path.name for path in leaf.fragments]
    assert names == ["common.config", "arm64.config", "arm64-64k.config"]
    assert (
        leaf.matches(("alpha", "arm64")) and leaf.matches(()) and not base.matches(leaf.bases[:1])
    )


def test_an_arch_can_be_hashed(root: Path) -> None:
    assert {load_arches(root)["arm64"]: 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad", "base: amr64\n", "arches/bad.yaml:1: unknown arch 'amr64'\n  did you mean arm64?"),
        ("bad", "base: bad\n", "bad is based on itself"),
        ("bad", "base: arm64\nmemroy: 1\n", "bad.yaml:2: unknown key 'memroy'\n  did you mean mem"),
        ("bad", "base: arm64\nmemory: lots\n", "bad.yaml:2: expected a positive whole number"),
        ("bad", "base: arm64\nport_device: uart\n", "unknown port device 'uart'"),
        ("bad", "base: arm64\npackages: gcc\n", "expected a mapping, found the text 'gcc'"),
        ("bad", "kernel_arch: x\n", "bad.yaml:1: the key 'cross' is missing"),
        ("bad", BASE, "arches/bad.config is missing"),
        ("Bad name", "base: arm64\n", "'Bad name' is no name for an arch"),
        ("-foo", "base: arm64\n", "'-foo' is no name for an arch"),
        ("bad\nname", "base: arm64\n", "is no name for an arch"),
        ("bad", "- base\n", "expected a mapping, found a list"),
        ("bad", "base: arm64\nimage: ../../etc/hostname\n", "'../../etc/hostname' is no name"),
        ("bad", "base: arm64\nimage: arch/../../x\n", "'arch/../../x' is no name"),
        ("bad", "base: arm64\nimage: /etc/hostname\n", "bad.yaml:2: '/etc/hostname' is no name"),
        ("bad", "base: arm64\nguest_header: ../../x.h\n", "'../../x.h' is no name"),
        ("bad", "base: arm64\nmake_targets: [Image, -n]\n", "'-n' is no name"),
        ("bad", "base: arm64\nmake_targets: ['--eval=x']\n", "'--eval=x' is no name"),
        ("bad", "base: arm64\nmake_targets: [CC=x]\n", "'CC=x' is no name"),
        ("bad", "base: arm64\nqemu: -x/../../bin/sh\n", "'-x/../../bin/sh' is no name"),
        ("bad", "base: arm64\ncross: /tmp/x-\n", "'/tmp/x-' is no name"),
        ("bad", "base: arm64\nguest_cross: -x\n", "'-x' is no name"),
        ("bad", "base: arm64\nkernel_arch: ../x\n", "'../x' is no name"),
        ("bad", "base: arm64\nimage: 'a b'\n", "'a b' is no name"),
        *(
            ("bad", f"base: arm64\n{key}: bin/evil\n", "arches/bad.yaml:2: 'bin/evil' is no name")
            for key in ("qemu", "cross", "guest_cross", "kernel_arch", "guest_header")
        ),
    ],
)
def test_what_is_wrong_with_an_arch(root: Path, name: str, text: str, message: str) -> None:
    declare(root, name, text)
    assert message in refused(root)


def test_no_common_fragment(root: Path) -> None:
    """Without it kernels would build, and lack half of what the guest needs."""
    (root / "arches/common.config").unlink()
    assert "arches/common.config is missing" in refused(root)


def test_bases_in_a_circle(root: Path) -> None:
    declare(root, "a", "base: b\n")
    declare(root, "b", "base: a\n")
    assert "a is based on itself, by way of a -> b" in refused(root)


def test_no_arch_at_all(tmp_path: Path) -> None:
    assert "no arch is declared" in refused(tmp_path)


def test_the_project_itself() -> None:
    arches = load_arches(PROJECT)
    plain = {name for name, arch in arches.items() if arch.bases == (name,)}
    # run by default
    assert plain == {"x86_64", "arm64", "alpha", "m68k", "arm", "riscv64", "ppc64le", "s390x"}
    for arch in arches.values():
        assert arch.fragments[0].name == "common.config"
        assert arch.qemu in arch.packages and f"{arch.cross}gcc" in arch.packages
        assert f"{arch.guest_cross or arch.cross}gcc" in arch.packages
