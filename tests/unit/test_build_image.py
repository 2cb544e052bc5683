"""Images that somebody else built: what they are for, and which version."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.build import BuildError, InputError
from harness.build.image import check_image, image_version
from harness.build.kernel import BuiltKernel, build_kernel
from harness.build.store import Store
from harness.build.tools import file_digest
from harness.catalog.arches import Arch
from harness.catalog.kernels import ImageSource, Kernel

ELF = b"\x7fELF\x02\x02".ljust(18, b"\0")  # 64 bits, big-endian


def test_ready_images(tmp_path: Path, arch: Arch, store: Store) -> None:
    image, config = tmp_path / "vmlinux", tmp_path / "config"
    image.write_bytes(b"\x7fELF..\0Linux version 6.13.0-rc2-x (me@here) (gcc) #1\n\0")
    config.write_text("CONFIG_X=y\n")
    kernel = Kernel("i", ImageSource(image, "m68k", config))
    built = build_kernel(kernel, arch, "core", store)
    assert built == BuiltKernel(
        image, config, "6.13.0-rc2-x", None, built.provenance, 0.0, cached=True
    )
    assert built.provenance["image_sha256"] == file_digest(image)
    with pytest.raises(BuildError, match="is an image for alpha, not for m68k"):
        build_kernel(Kernel("i", ImageSource(image, "alpha")), arch, "core", store)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BuildError, match="is not a readable file"):
            build_kernel(Kernel("i", ImageSource(path)), arch, "core", store)
    image.write_bytes(b"\x1f\x8b")
    with pytest.raises(BuildError, match="declare `version`"):
        build_kernel(Kernel("i", ImageSource(image)), arch, "core", store)
    declared = Kernel("i", ImageSource(image, None, None, "6.9"))
    assert build_kernel(declared, arch, "core", store).version == "6.9"


@pytest.mark.parametrize(
    ("at", "head", "fits", "other", "name"),
    [
        (0, ELF + (4).to_bytes(2, "big"), "m68k", "arm64", "m68k"),
        (0x38, b"ARM\x64", "arm64", "riscv", "arm64"),
        (0x38, b"RSC\x05", "riscv", "arm64", "riscv"),
        (0x202, b"HdrS", "x86_64", "m68k", "i386"),
    ],
)
def test_an_image_for_another_arch_is_told(
    tmp_path: Path, at: int, head: bytes, fits: str, other: str, name: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes((b"\0" * at + head).ljust(0x300, b"\0"))
    check_image(image, fits)
    with pytest.raises(InputError, match=f"is a kernel for {name}, not for {other}"):
        check_image(image, other)
    image.write_bytes(b"\0" * 0x300)
    check_image(image, other)  # it does not tell


def test_versions_in_images(tmp_path: Path) -> None:
    data = bytearray(0x600)
    data[0x202:0x206] = b"HdrS"
    data[0x20E:0x210] = (0x200).to_bytes(2, "little")
    data[0x400:0x430] = b"6.12.117 (me@here) #1 SMP".ljust(0x30, b"\0")
    (tmp_path / "bzImage").write_bytes(data)
    assert image_version(tmp_path / "bzImage") == "6.12.117"
    (tmp_path / "empty").write_bytes(b"")
    assert image_version(tmp_path / "empty") is None
