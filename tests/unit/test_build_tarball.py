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


def archive_of(path: Path, *members: tarfile.TarInfo, comment: str = "") -> Path:
    """With a `comment`, as `git archive` writes it: in a global header, before all members."""
    told = {"comment": comment} if comment else {}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers=told) as archive:
        for info in members:
            text = MAKEFILE.encode() if info.name.endswith("/Makefile") else b"evil"
            info.size = len(text) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(text) if info.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
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
    assert entry is None


def test_what_is_locked_is_opened(tmp_path: Path, store: Store) -> None:
    """Else only root could read it, and remove it once it is pruned."""
    folder, file = member("linux/locked", tarfile.DIRTYPE), member("linux/locked/file")
    folder.mode = file.mode = 0
    tree = resolve(tarball_kernel(archive_of(tmp_path / "a.tar", *GOOD, folder, file)), store).tree
    assert (tree / "locked").stat().st_mode & 0o700 == 0o700
    assert (tree / "locked/file").stat().st_mode & 0o700 == 0o600


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE])
def test_a_name_that_is_no_text_is_told(tmp_path: Path, store: Store, kind: bytes) -> None:
    """Manifests, as results, are UTF-8."""
    odd = member("linux/\udcff" if kind == tarfile.REGTYPE else "linux/a", kind, "\udcff")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        text = MAKEFILE.encode()
        for info in (*GOOD, odd):
            info.size = len(text) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(text) if info.isreg() else None)
    with pytest.raises(BuildError, match="is not UTF-8"):
        resolve(tarball_kernel(path), store)
    assert not [entry for entry in entries(store) if entry.kind == "source"]


@pytest.mark.parametrize("top", ["linux", "/linux", "./linux", "linux/.", ""])
def test_a_name_is_not_absolute_behind_its_top(tmp_path: Path, store: Store, top: str) -> None:
    """Where the top is taken off from `top//home/x`, the rest must not become a name by itself."""
    victim = tmp_path / "beside" / "victim"
    victim.parent.mkdir()
    victim.write_text("untouched")
    evil = victim.with_name("evil")
    written = [member(f"{top}/{path}") for path in (victim, evil)]
    path = archive_of(tmp_path / "a.tar", *GOOD, *written)
    try:
        tree = resolve(tarball_kernel(path), store).tree
    except BuildError:
        assert not top
    else:  # they lie inside
        assert (tree / str(victim).lstrip("/")).read_text() == "evil"
    assert victim.read_text() == "untouched" and not evil.exists()


@pytest.mark.parametrize("before", ["", "x/", "linux/", "/x/", "./x/"])
def test_no_file_from_elsewhere_is_in_a_tree(tmp_path: Path, store: Store, before: str) -> None:
    """By a hard link: who writes into the tree's file writes into that one."""
    victim = tmp_path / "beside" / "victim"
    victim.parent.mkdir()
    victim.write_text("untouched")
    link = member("linux/a", tarfile.LNKTYPE, f"{before}{victim}")
    with pytest.raises(BuildError, match=r"a\.tar cannot be unpacked"):
        resolve(tarball_kernel(archive_of(tmp_path / "a.tar", *GOOD, link)), store)
    assert victim.stat().st_nlink == 1


TOPS = {
    "two folders": ([*GOOD, member("other/README")], "found linux, other"),
    "a file beside": ([*GOOD, member("README")], "found README, linux"),
    "a file": ([member("README")], "found README"),
    "a link": ([member("linux", tarfile.SYMTYPE, "/tmp")], "found linux"),
    "no folder": ([member(f"./{name}") for name in "abcde"], "found a, b, c and 2 more"),
    "nothing": ([member("./", tarfile.DIRTYPE)], "found nothing"),
}


@pytest.mark.parametrize("case", TOPS)
def test_an_archive_is_one_folder(tmp_path: Path, case: str) -> None:
    members, found = TOPS[case]
    path = archive_of(tmp_path / "a.tar", *members)
    with pytest.raises(BuildError, match=f"a.tar: expected one folder at its top, {found}$"):
        unpack(path, tmp_path / "to")


@pytest.mark.parametrize("comment", ["", "1c4a8f6f2a0e5b1d"])
@pytest.mark.parametrize("before", ["", "./"])
def test_what_others_write_is_read(tmp_path: Path, before: str, comment: str) -> None:
    """`git archive` begins with a header for all, `tar -c .` with the folder itself; neither the
    modes nor the name of what is taken off matter.
    """
    names = ["./", "./linux/"] if before else ["linux/"]
    tops = [member(name, tarfile.DIRTYPE) for name in names]
    for info in tops:
        info.mode = 0o555
    link = member(f"{before}linux/l", tarfile.SYMTYPE, "Makefile")
    files = [member(f"{before}{info.name}") for info in GOOD]
    path = archive_of(tmp_path / "a.tar", *tops, *files, link, comment=comment)
    unpack(path, tmp_path / "to")
    assert {item.name for item in (tmp_path / "to").iterdir()} == {"Makefile", "Kconfig", "l"}
    assert {item.name for item in tmp_path.iterdir()} == {"a.tar", "to"}


def test_a_link_by_the_name_of_the_top_leads_outside(tmp_path: Path) -> None:
    """It led inside as long as the folder had that name."""
    link = member("linux/l", tarfile.SYMTYPE, "../linux/Makefile")
    with pytest.raises(BuildError, match="the link l leads outside"):
        unpack(archive_of(tmp_path / "a.tar", *GOOD, link), tmp_path / "to")


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
