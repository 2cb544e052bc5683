"""An entry of the store: a folder with `manifest` and `files/`. What is in it, and is it whole?

The manifest has three lines: the sha256 of what follows, a header (JSON), and the files (JSON:
path, size, mtime in ns, sha256 or link target), sorted by path. How much of it is checked on
opening:

    light   the header is there and names this entry (the default for `source`: 90000 files)
    names   the sha256 of these files as well, or that there are none (what a `source` is asked for
            whose text will be read; a manifest of 12 MB is not)
    full    the sha256 of every file (the default for everything else, and what a `source` is asked
            for before a build: a bit that flips on a disk moves neither size nor mtime)
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness.build import StoreError
from harness.build.tools import file_digest, walk
from harness.jsontext import NOT_JSON

Check = Literal["light", "full"] | frozenset[str]
"""Names are paths in `files`; none of them is "light"."""
_DEFAULT_CHECK: dict[str, Check] = {"source": "light"}
_FSYNC_LIMIT = 1000  # files; above, a power cut is left to the reading before a build
_LINK = "-> "
_BETWEEN = b'"],["'  # two records


class FileRecord(msgspec.Struct, frozen=True, array_like=True):
    """One file of an entry; `content` is its sha256, or "-> TARGET" for a symbolic link."""

    path: str
    size: int  # bytes
    mtime: int  # ns
    content: str

    @property
    def target(self) -> str | None:
        """Of a symbolic link; None for a file."""
        return self.content.removeprefix(_LINK) if self.content.startswith(_LINK) else None


class Header(msgspec.Struct, frozen=True):
    kind: str
    key: str
    label: str  # what it is, for people
    created: float  # seconds since the epoch
    files: int
    size: int  # bytes on disk that are this entry's own (hard links into another are not)


class Damage(Exception):
    """Why an entry cannot be trusted."""


def default_check(kind: str) -> Check:
    """How much of an entry is looked at where nobody asks for more or less."""
    return _DEFAULT_CHECK.get(kind, "full")


def check_entry(home: Path, kind: str, check: Check) -> None:
    """Compare an entry with its manifest as far as `check` says. Raises Damage."""
    header, records = _read_manifest(home) if check == "full" else (read_header(home), None)
    if (header.kind, header.key) != (kind, home.name):
        raise Damage(f"its manifest is of {header.kind}/{header.key}")
    if not (home / "files").is_dir():
        raise Damage("its files are gone")
    if isinstance(check, frozenset):
        _check_named(home, sorted(check))
    if records is None:
        return
    files = str(home / "files")
    for record in records:
        _check_file(f"{files}/{record.path}", record)
    known = {record.path for record in records}
    extra = {item.path[len(files) + 1 :] for item in walk(files)} - known
    if extra:
        raise Damage(f"files it was not made with: {', '.join(sorted(extra)[:3])}")


def _check_named(home: Path, names: Sequence[str]) -> None:
    """As much for some files, without reading the manifest: what a flipped bit of it hides or
    changes is damage as well. Raises Damage.
    """
    files = (home / "files").resolve()
    try:
        with open(home / "manifest", "rb") as file:
            manifest = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise Damage(f"its manifest is not readable ({error})") from error
    with manifest:
        for name in names:
            named, real = files / name, (files / name).resolve()
            for path in {named, real}:  # two where it is a link; what lies between is not looked at
                inside = path.is_relative_to(files)
                record = _find_record(manifest, str(path.relative_to(files))) if inside else None
                if record is not None:
                    _check_file(str(path), record)
                elif inside and path == real and real.is_file():
                    raise Damage(f"a file it was not made with: {name}")


def _find_record(manifest: mmap.mmap, path: str) -> FileRecord | None:
    """By halves: no string holds what stands between two records, as its quotes are escaped."""
    low, high = manifest.find(b"\n[[") + 2, len(manifest) - len("]\n")
    while low < high:
        middle = (low + high) // 2
        before = manifest.rfind(_BETWEEN, low, middle)
        start = low if before < 0 else before + 3
        after = manifest.find(_BETWEEN, start, high)
        end = high if after < 0 else after + 2
        try:
            record = msgspec.json.decode(manifest[start:end], type=FileRecord)
        except NOT_JSON as error:
            raise Damage("its manifest is torn or was changed") from error
        if record.path == path:
            return record
        low, high = (end + 1, high) if record.path < path else (low, start - 1)
    return None


def _check_file(path: str, record: FileRecord) -> None:
    try:
        stat = os.lstat(path)
        if record.target is not None:
            if str(Path(path).readlink()) != record.target:
                raise Damage(f"{record.path} links elsewhere")
        elif stat.st_size != record.size:
            raise Damage(f"{record.path} has {stat.st_size} bytes instead of {record.size}")
        elif file_digest(Path(path)) != record.content:
            raise Damage(f"the content of {record.path} has changed")
    except OSError as error:
        raise Damage(f"{record.path}: {error.strerror}") from error


def read_header(home: Path) -> Header:
    """What an entry says it is, by no more than two lines. Raises Damage."""
    try:
        with open(home / "manifest", "rb") as file:
            file.readline()
            return msgspec.json.decode(file.readline(), type=Header)
    except (OSError, *NOT_JSON) as error:
        raise Damage(f"its manifest is not readable ({error})") from error


def label_of(home: Path) -> str:
    """What an entry is, for people; "" if its manifest does not tell."""
    try:
        return read_header(home).label
    except Damage:
        return ""


def _read_manifest(home: Path) -> tuple[Header, list[FileRecord]]:
    try:
        data = (home / "manifest").read_bytes()
    except OSError as error:
        raise Damage(f"its manifest is not readable ({error})") from error
    checksum, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise Damage("its manifest is torn or was changed")
    header, _, files = body.partition(b"\n")
    return (
        msgspec.json.decode(header, type=Header),
        msgspec.json.decode(files, type=list[FileRecord]),
    )


def seal(home: Path, kind: str, key: str, label: str, base: Path | None) -> None:
    """Write the manifest over `files`, and have all of it on the disk.

    `base` is the `files` folder of an entry that this one hard-links: what is still the same inode
    is not read again. Raises OSError, and StoreError for what cannot be in an entry.
    """
    files = str(home / "files")
    shared = _contents(base) if base is not None else {}
    records: list[FileRecord] = []
    own = 0
    for item in walk(files):
        stat = item.stat(follow_symlinks=False)
        if item.is_symlink():
            content = f"{_LINK}{Path(item.path).readlink()}"
        elif item.is_file(follow_symlinks=False):
            content = shared.get((stat.st_ino, stat.st_size), "")
            if not content:
                own += stat.st_size
                content = file_digest(Path(item.path))
        else:
            raise StoreError(f"store: {item.path} is neither file, folder nor link")
        path = item.path[len(files) + 1 :]
        try:
            f"{path}{content}".encode()
        except UnicodeEncodeError:
            why = "its name, or what it links to, is not UTF-8"
            raise StoreError(f"store: {item.path!r}: {why}") from None
        records.append(FileRecord(path, stat.st_size, stat.st_mtime_ns, content))
    records.sort(key=lambda record: record.path)
    header = Header(kind, key, label, time.time(), len(records), own)
    body = msgspec.json.encode(header) + b"\n" + msgspec.json.encode(records) + b"\n"
    manifest = home / "manifest"
    manifest.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    if len(records) < _FSYNC_LIMIT:
        for record in records:
            if record.target is None:
                fsync(home / "files" / record.path)
    fsync(manifest)


def _contents(files: Path) -> dict[tuple[int, int], str]:
    """(inode, size in bytes) -> sha256 of an entry's files. Raises StoreError."""
    home = files.parent
    try:
        records = _read_manifest(home)[1]
    except Damage as damage:
        raise StoreError(f"store: {home.parent.name}/{home.name} is damaged: {damage}") from None
    return {
        (os.lstat(files / record.path).st_ino, record.size): record.content
        for record in records
        if record.target is None
    }


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
