"""The initramfs: the newc format, and equal bytes for equal input."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from harness.build import BuildError
from harness.build.initramfs import build_initramfs, write_initramfs
from harness.build.store import Store


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "faults"
    path.write_bytes(b"\x7fELF" + b"x" * 1001)
    return path


def parse(data: bytes) -> dict[str, tuple[list[int], bytes]]:
    """Members of a newc archive: name -> (header fields, data); a reader of its own."""
    members: dict[str, tuple[list[int], bytes]] = {}
    at = 0
    while True:
        assert at % 4 == 0 and data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        assert data[at + 110 + name_size - 1] == 0
        start = at + 110 + name_size
        start += -start % 4
        if name == "TRAILER!!!":
            assert not data[start:].strip(b"\0") and len(data) % 512 == 0
            return members
        members[name] = (fields, data[start : start + size])
        at = start + size
        at += -at % 4


def test_what_is_in_it(tmp_path: Path, binary: Path) -> None:
    out = tmp_path / "out.cpio"
    write_initramfs(out, {"init": binary, "etc/extra": binary})
    members = parse(out.read_bytes())
    modes = {name: fields[1] for name, (fields, _) in members.items()}
    assert members["init"][1] == binary.read_bytes()
    assert modes["init"] == stat.S_IFREG | 0o755
    assert modes["tmp"] == stat.S_IFDIR | 0o1777
    assert all(stat.S_ISDIR(modes[name]) for name in ("dev", "proc", "sys", "etc"))
    assert stat.S_ISCHR(modes["dev/console"]) and members["dev/console"][0][9:11] == [5, 1]
    assert stat.S_ISCHR(modes["dev/null"]) and members["dev/null"][0][9:11] == [1, 3]
    assert b"nobody:x:65534:65534:" in members["etc/passwd"][1]
    for file, wanted in (
        ("passwd", {"root", "daemon", "bin", "nobody"}),
        ("group", {"root", "daemon", "bin", "sys", "users", "nogroup"}),
    ):
        lines = members[f"etc/{file}"][1].decode().splitlines()
        assert {line.partition(":")[0] for line in lines} == wanted
        assert {line.count(":") for line in lines} == {6 if file == "passwd" else 3}
    names = list(members)
    assert all(names.index(name.rpartition("/")[0]) < names.index(name)
               for name in names if "/" in name)  # fmt: skip
    assert {(fields[2], fields[3], fields[5]) for fields, _ in members.values()} == {(0, 0, 0)}
    inodes = [fields[0] for fields, _ in members.values()]
    assert len(set(inodes)) == len(inodes)


def test_equal_bytes(tmp_path: Path, binary: Path) -> None:
    write_initramfs(tmp_path / "a", {"init": binary, "dev/x": binary})
    copy = tmp_path / "copy"
    copy.write_bytes(binary.read_bytes())
    os.utime(copy, (1, 1))
    copy.chmod(0o600)
    write_initramfs(tmp_path / "b", {"dev/x": copy, "init": copy})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_name_need_not_be_text(tmp_path: Path, binary: Path) -> None:
    write_initramfs(tmp_path / "out", {os.fsdecode(b"dev/\xff"): binary})
    assert b"dev/\xff\0" in (tmp_path / "out").read_bytes()


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio")
def test_cpio_reads_it(tmp_path: Path, binary: Path) -> None:
    out = tmp_path / "out.cpio"
    write_initramfs(out, {"init": binary})
    with open(out, "rb") as file:
        done = subprocess.run(["cpio", "-tv"], stdin=file, capture_output=True, text=True)
    assert done.returncode == 0
    lines = {line.split()[-1]: line for line in done.stdout.splitlines()}
    assert lines["init"].startswith("-rwxr-xr-x   1 root     root         1005")
    assert lines["dev/console"].startswith("crw-rw-rw-") and "5,   1" in lines["dev/console"]
    assert lines["tmp"].startswith("drwxrwxrwt")


@pytest.mark.parametrize(
    "name", ["", "/init", "../x", "a/../b", "dev//x", "proc", "no/folder", "x\0y", "dev/null"]
)
def test_names_it_cannot_hold(tmp_path: Path, binary: Path, name: str) -> None:
    with pytest.raises(BuildError, match="initramfs: "):
        write_initramfs(tmp_path / "out", {name: binary})


def test_files_that_cannot_be_read_or_written(tmp_path: Path, binary: Path) -> None:
    with pytest.raises(BuildError, match="cannot read"):
        write_initramfs(tmp_path / "out", {"init": tmp_path / "none"})
    with pytest.raises(BuildError, match="cannot write"):
        write_initramfs(tmp_path / "none" / "out", {"init": binary})


def test_from_the_store(tmp_path: Path, binary: Path) -> None:
    store = Store(tmp_path / "store")
    made = build_initramfs(binary, store)
    assert build_initramfs(binary, store) == made
    binary.write_bytes(b"other")
    assert build_initramfs(binary, store) != made
    with pytest.raises(BuildError, match="cannot read"):
        build_initramfs(tmp_path / "none", store)
