"""Tarballs: where they come from, and archives that want out."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from pathlib import Path

import pytest

from harness.build import BuildError
from harness.build.fetch import unpack
from harness.build.prune import entries
from harness.build.source import resolve
from harness.build.store import Store
from harness.build.tools import file_digest
from harness.catalog.kernels import Kernel, TarballSource
from tests.unit.build_fakes import MAKEFILE, fake_tree, tarball


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def tarball_kernel(path: Path, sha256: str = "") -> Kernel:
    return Kernel("tar", TarballSource(path, None, sha256 or file_digest(path)))


@pytest.mark.parametrize("mode", ["w", "w:xz", "w:gz", "w:bz2"])
def test_tarballs(tmp_path: Path, store: Store, mode: str) -> None:
    path = tarball(fake_tree(tmp_path / "tree"), tmp_path / "linux.tar", mode)
    found = resolve(tarball_kernel(path), store)
    assert found.version == "6.12.117"
    path.unlink()  # it is in the store
    kernel = Kernel("tar", TarballSource(path, None, found.digest))
    assert resolve(kernel, store) == found


def test_a_tarball_behind_a_url(tmp_path: Path, store: Store) -> None:
    path = tarball(fake_tree(tmp_path / "tree"), tmp_path / "linux.tar.xz")
    kernel = Kernel("url", TarballSource(None, path.as_uri(), file_digest(path)))
    assert resolve(kernel, store).provenance["source"] == "tarball linux.tar.xz"
    with pytest.raises(BuildError, match="expected an https, http or file URL"):
        resolve(Kernel("url", TarballSource(None, "ftp://x", "1" * 64)), store)
    with pytest.raises(BuildError, match="cannot fetch"):
        resolve(Kernel("url", TarballSource(None, "file:///none", "2" * 64)), store)
    with pytest.raises(BuildError, match="cannot fetch http://no host/"):
        resolve(Kernel("url", TarballSource(None, "http://no host/", "3" * 64)), store)


def test_another_checksum_is_refused(tmp_path: Path, store: Store) -> None:
    path = tarball(fake_tree(tmp_path / "tree"), tmp_path / "linux.tar.xz")
    with pytest.raises(BuildError, match=r"its sha256 is .* declared is 0000"):
        resolve(tarball_kernel(path, "0" * 64), store)
    with pytest.raises(BuildError, match="cannot read"):
        resolve(tarball_kernel(tmp_path / "none", "0" * 64), store)
    assert not [entry for entry in entries(store) if entry.kind == "source"]


def archive_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for info in members:
            text = MAKEFILE.encode() if info.name.endswith("/Makefile") else b"evil"
            info.size = len(text) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(text) if info.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = (member("linux/Makefile"), member("linux/Kconfig"))
HOSTILE = {
    "dots": [member("linux/../../evil")],
    "dots first": [member("../evil")],
    "absolute": [member("/tmp/faultline-evil")],
    "link up": [member("linux/a", tarfile.SYMTYPE, "../.."), member("linux/a/evil")],
    "link away": [member("linux/a", tarfile.SYMTYPE, "/"), member("linux/a/evil")],
    "link to itself": [member("linux/a", tarfile.SYMTYPE, ".."), member("linux/b")],
    "hard link": [member("linux/a", tarfile.LNKTYPE, "../../victim"), member("linux/a")],
    "pipe": [member("linux/a", tarfile.FIFOTYPE)],
    "link by another link": [
        member("linux/a/b/c/s", tarfile.SYMTYPE, "../../../d"),
        member("linux/a/b/c/q", tarfile.SYMTYPE, "s/../../z"),
        member("linux/d/x"),
    ],
    "link over the top": [member("linux", tarfile.SYMTYPE, "/tmp"), member("linux/evil")],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_archives_cannot_write_elsewhere(tmp_path: Path, store: Store, case: str) -> None:
    (tmp_path / "victim").write_text("untouched")
    path = archive_of(tmp_path / "a.tar", *HOSTILE[case], *GOOD)
    try:
        entry = resolve(tarball_kernel(path), store).tree
    except BuildError:
        entry = None
    assert (tmp_path / "victim").read_text() == "untouched"
    assert not Path("/tmp/faultline-evil").exists()
    outside = [found for found in tmp_path.rglob("evil") if entry not in found.parents]
    assert outside == []
    # Without its leading slash, or its top, a name lands inside.
    assert (entry is None) == (case not in ("absolute", "link over the top"))


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE], ids=["pipe", "device"])
def test_what_no_archive_of_source_has_is_not_opened(
    tmp_path: Path, store: Store, kind: bytes
) -> None:
    """As the Makefile, which is read first: a pipe would be waited for without end."""
    if kind == tarfile.CHRTYPE and os.geteuid() != 0:
        pytest.skip("only root unpacks a device")
    info = member("linux/Makefile", kind)
    info.devmajor, info.devminor = 1, 5  # /dev/zero
    path = archive_of(tmp_path / "a.tar", info, *GOOD[1:])

    def waits(*_: object) -> None:
        raise AssertionError("it was opened, and is waited for")

    before = signal.signal(signal.SIGALRM, waits)
    signal.alarm(20)
    try:
        with pytest.raises(BuildError, match="Makefile is neither file, folder nor link"):
            resolve(tarball_kernel(path), store)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not entries(store)


def test_what_is_no_kernel_is_told(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar", member("linux/README"))
    with pytest.raises(BuildError, match="is no kernel source"):
        unpack(path, tmp_path / "to")
    (tmp_path / "b.tar").write_bytes(b"garbage" * 1000)
    with pytest.raises(BuildError, match=r"b\.tar cannot be unpacked"):
        unpack(tmp_path / "b.tar", tmp_path / "to2")
