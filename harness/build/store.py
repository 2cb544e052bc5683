"""The store: built things under `v1/KIND/KEY`, KEY being the hash of what they were made from.

An entry is a folder with `manifest` and `files/`. It is written aside in `v1/tmp` and renamed,
so that it is either whole or not there; kill -9 leaves a folder in `v1/tmp` that the next
writer of the same key, or `prune`, removes. One lock file a key (flock, which the kernel
releases when its holder dies): writers hold it exclusively, users of an entry share it, and
`prune` takes only what nobody holds.

The manifest has three lines: the sha256 of what follows, a header (JSON), and the files (JSON:
path, size, mtime in ns, sha256 or link target). How much of it is checked on opening:

    light   the header is there and names this entry (the default for `source`: 90000 files)
    quick   every file is there with its size, and its sha256 where its mtime moved
    full    the sha256 of every file (the default for everything else)

Beside entries there are folders that change, such as object folders (`folder`), what names
resolved to (`recall`, `remember`) and logs of failed builds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import platformdirs

from harness.build import Say, StoreError, silent
from harness.build.tools import file_digest, walk
from harness.jsontext import NOT_JSON

VERSION = "v1"
Check = Literal["light", "quick", "full"]
_DEFAULT_CHECK: dict[str, Check] = {"source": "light"}
_FSYNC_LIMIT = 1000  # files; above, a power cut is left to the check of sizes
_KIND = re.compile(r"[a-z][a-z0-9-]{0,30}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,120}")
_RESERVED = {"tmp", "locks", "names", "logs"}


class FileRecord(msgspec.Struct, frozen=True, array_like=True):
    """One file of an entry; `content` is its sha256, or "-> TARGET" for a symbolic link."""

    path: str
    size: int  # bytes
    mtime: int  # ns
    content: str


class Header(msgspec.Struct, frozen=True):
    kind: str
    key: str
    label: str  # what it is, for people
    created: float  # seconds since the epoch
    files: int
    size: int  # bytes on disk that are this entry's own (hard links into another are not)


@dataclass(frozen=True)
class Entry:
    """One line of `faultline store list`."""

    kind: str
    key: str
    label: str
    size: int  # bytes
    created: float  # seconds since the epoch
    used: float
    path: Path


@dataclass(frozen=True)
class Folder:
    """A folder that changes, held exclusively; `lock` is a descriptor children may inherit."""

    path: Path
    lock: int


class _Damage(Exception):
    """Why an entry cannot be trusted."""


def default_root() -> Path:
    """FAULTLINE_STORE, else the user's cache folder."""
    named = os.environ.get("FAULTLINE_STORE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("faultline"))


class Store:
    """See the module. `say` hears of damaged entries and of locks waited for."""

    def __init__(self, root: Path | None = None, say: Say = silent) -> None:
        self.root = (root if root is not None else default_root()).absolute()
        self.say = say
        self._base = self.root / VERSION
        self.refreshed: set[str] = set()  # names asked anew by this process: once is enough
        self._trusted: dict[tuple[Path, int], Check] = {}  # checked by this process already

    # -- entries --

    def entry(self, kind: str, key: str, check: Check | None = None) -> Path | None:
        """The entry's files, or None when it is not there or damaged (which is said)."""
        home = self._home(kind, key)
        why = self._examine(home, kind, check)
        if why:
            name = _label(home) or f"{kind}/{key}"
            self.say(f"store: {name} is damaged and will be made again: {why}")
        if why is not None:
            return None
        self._touch(home)
        return home / "files"

    def create(
        self,
        kind: str,
        key: str,
        fill: Callable[[Path], None],
        label: str = "",
        base: Path | None = None,
        check: Check | None = None,
    ) -> Path:
        """The entry's files, made by `fill(folder)` unless they are there and pass `check`.

        What `fill` puts beside its folder, in `folder.parent`, is scratch and removed.
        `base` is the `files` folder of an entry that this one hard-links: what is still the
        same inode is not read again. Raises what `fill` raises (and nothing stays), StoreError.
        """
        found = self.entry(kind, key, check)
        if found is not None:
            return found
        with self._lock(kind, key, what=label):
            home = self._home(kind, key)
            if self._examine(home, kind, check) is None:  # somebody else made it meanwhile
                return home / "files"
            self._remove(home)
            self._sweep(f"{kind}--{key}--")
            self._write(home, kind, key, fill, label, base)
        return home / "files"

    @contextmanager
    def using(self, kind: str, key: str) -> Iterator[Path | None]:
        """Hold an entry so that no prune removes it meanwhile; yields what `entry` returns."""
        with self._lock(kind, key, shared=True):
            yield self.entry(kind, key)

    def _write(
        self,
        home: Path,
        kind: str,
        key: str,
        fill: Callable[[Path], None],
        label: str,
        base: Path | None,
    ) -> None:
        work = self.workspace(f"{kind}--{key}--")
        try:
            files = work / "files"
            files.mkdir()
            fill(files)
            for scratch in work.iterdir():
                if scratch != files:
                    shutil.rmtree(scratch)
            known = _shared_content(base) if base is not None else {}
            _seal(work, kind, key, label, known)
            home.parent.mkdir(parents=True, exist_ok=True)
            work.rename(home)
            _fsync(home.parent)
        except OSError as error:
            raise StoreError(f"store: cannot write {kind}/{key} ({label}): {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _examine(self, home: Path, kind: str, check: Check | None) -> str | None:
        """None: good. "": not there. Else what is wrong with it."""
        check = check or _DEFAULT_CHECK.get(kind, "full")
        try:
            mark = (home, (home / "manifest").stat().st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError):
            return "it has no manifest" if home.exists() else ""
        except OSError as error:
            raise StoreError(f"store: cannot read {home}: {error.strerror}") from error
        if check != "light" and self._trusted.get(mark) in (check, "full"):
            return None
        try:
            _check(home, kind, check)
        except _Damage as damage:
            return str(damage)
        if check != "light":
            self._trusted[mark] = check
        return None

    # -- folders that change, names, logs, scratch --

    @contextmanager
    def folder(self, kind: str, key: str, label: str = "") -> Iterator[Folder]:
        """A folder that is kept between uses and changes in place; held exclusively."""
        with self._lock(kind, key, what=label) as descriptor:
            home = self._home(kind, key)
            files = home / "files"
            try:
                files.mkdir(parents=True, exist_ok=True)
                (home / "label").write_text(label)
            except OSError as error:
                raise StoreError(f"store: cannot write {home}: {error}") from error
            self._touch(home)
            yield Folder(files, descriptor)

    def recall(self, name: str) -> dict[str, str] | None:
        """What `remember` kept under this name; None if nothing readable."""
        try:
            return msgspec.json.decode(self._name(name).read_bytes(), type=dict[str, str])
        except (FileNotFoundError, *NOT_JSON):
            return None

    def remember(self, name: str, data: dict[str, str]) -> None:
        """Keep data under a name, replacing what was there in one step."""
        path = self._name(name)
        aside = self.workspace("name--") / path.name
        try:
            aside.write_bytes(msgspec.json.format(msgspec.json.encode(data)) + b"\n")
            _fsync(aside)
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(path)
        except OSError as error:
            raise StoreError(f"store: cannot write {path}: {error}") from error
        finally:
            shutil.rmtree(aside.parent, ignore_errors=True)

    @contextmanager
    def name_lock(self, name: str) -> Iterator[None]:
        """Only one process at a time resolves a name."""
        with self._lock("names", self._name(name).stem, what=f"the source of {name}"):
            yield

    def log(self, name: str) -> Path:
        """Where the log of a build is kept until pruned."""
        _valid(_KEY, name, "log name")
        self._make(self._base / "logs")
        return self._base / "logs" / f"{name}.log"

    def workspace(self, prefix: str) -> Path:
        """A fresh folder on the store's file system; its maker removes it."""
        self._make(self._base / "tmp")
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self._base / "tmp"))

    # -- housekeeping --

    def list(self) -> Sequence[Entry]:
        """Everything in the store, by kind, the last used first."""
        found: list[Entry] = []
        for kind in sorted(_names(self._base)):
            if _KIND.fullmatch(kind) and kind not in _RESERVED:
                homes = (self._base / kind / key for key in _names(self._base / kind))
                found += [entry for home in homes if (entry := _describe(home)) is not None]
        for name in _names(self._base / "logs"):
            if (entry := _describe(self._base / "logs" / name)) is not None:
                found.append(entry)
        return sorted(found, key=lambda entry: (entry.kind, -entry.used, entry.key))

    def verify(self) -> Sequence[tuple[Entry, str]]:
        """Check every file of every entry; returns what is damaged and why."""
        damaged = []
        for entry in self.list():
            if (entry.path / "label").exists() or entry.kind == "logs":
                continue  # changes in place: nothing to compare with
            try:
                _check(entry.path, entry.kind, "full")
            except _Damage as damage:
                damaged.append((entry, str(damage)))
        return damaged

    def prune(
        self,
        *,
        kinds: Collection[str] = (),
        older_than: float | None = None,
        unused_for: float | None = None,
        dry_run: bool = False,
    ) -> Sequence[Entry]:
        """Remove (or with `dry_run` only name) entries; returns them.

        `kinds` limits to these kinds, `older_than` to entries made that many seconds ago or
        more, `unused_for` to entries last used then; without limits everything goes, but for
        what is in use. Leftovers of dead writers go in any case.
        """
        now = time.time()
        gone = []
        for entry in self.list():
            if (
                (not kinds or entry.kind in kinds)
                and (older_than is None or now - entry.created >= older_than)
                and (unused_for is None or now - entry.used >= unused_for)
                and self._prune_one(entry, dry_run)
            ):
                gone.append(entry)
        if not dry_run:
            self._sweep("")
        return gone

    def _prune_one(self, entry: Entry, dry_run: bool) -> bool:
        with self._lock(entry.kind, entry.key, wait=False) as descriptor:
            if descriptor < 0:
                return False
            if not dry_run:
                self._remove(entry.path)
            return True

    def _sweep(self, prefix: str) -> None:
        """Remove folders in tmp whose writer is dead, that is, whose key nobody has locked.

        With a prefix, the caller holds that key's lock.
        """
        for name in _names(self._base / "tmp"):
            kind, _, rest = name.partition("--")
            key, two, _ = rest.partition("--")
            if not name.startswith(prefix):
                continue
            if prefix or not two:  # no key: scratch of milliseconds, or on its way out already
                path = self._base / "tmp" / name
                if prefix or kind == "removed" or _age(path) > 86400:
                    shutil.rmtree(path, ignore_errors=True)
            elif _KIND.fullmatch(kind) and _KEY.fullmatch(key):
                with self._lock(kind, key, wait=False) as descriptor:
                    if descriptor >= 0:
                        shutil.rmtree(self._base / "tmp" / name, ignore_errors=True)

    def _remove(self, path: Path) -> None:
        """Out of sight in one step, then removed: half an entry is never seen."""
        if path.is_dir():
            aside = self.workspace("removed--")
            path.rename(aside / "entry")
            shutil.rmtree(aside, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    # -- paths and locks --

    def _home(self, kind: str, key: str) -> Path:
        if kind in _RESERVED:
            raise StoreError(f"store: {kind!r} is no kind of entry")
        return self._base / _valid(_KIND, kind, "kind") / _valid(_KEY, key, "key")

    def _name(self, name: str) -> Path:
        """Names come from users: what is no file name is replaced, a hash keeps them apart."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "name"
        tail = hashlib.sha256(name.encode()).hexdigest()[:12]
        return self._base / "names" / f"{plain}-{tail}.json"

    @contextmanager
    def _lock(
        self, kind: str, key: str, *, shared: bool = False, wait: bool = True, what: str = ""
    ) -> Iterator[int]:
        """Yields the lock's descriptor; -1 when it is taken and `wait` is false."""
        _valid(_KIND, kind, "kind")
        self._make(self._base / "locks")
        path = self._base / "locks" / f"{kind}--{_valid(_KEY, key, 'key')}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    yield -1
                    return
                name = what or _label(self._base / kind / key) or f"{kind}/{key}"
                self.say(f"store: waiting for another process that works on {name}")
                fcntl.flock(descriptor, mode)
            yield descriptor
        finally:
            os.close(descriptor)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"store: cannot create {folder}: {error.strerror}; "
                "choose another place with --store or FAULTLINE_STORE"
            ) from error

    def _touch(self, home: Path) -> None:
        with suppress(OSError):  # a read-only store serves as well
            os.utime(home)  # the folder's mtime is when it was last used


def _valid(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise StoreError(f"store: {text!r} is no {what}: it would be a path of its own")
    return text


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seal(work: Path, kind: str, key: str, label: str, known: dict[tuple[int, int], str]) -> None:
    """Write the manifest over `files`. Raises StoreError for what cannot be in an entry."""
    files = str(work / "files")
    records: list[FileRecord] = []
    own = 0
    for item in walk(files):
        stat = item.stat(follow_symlinks=False)
        if item.is_symlink():
            content = f"-> {Path(item.path).readlink()}"
        elif item.is_file(follow_symlinks=False):
            content = known.get((stat.st_ino, stat.st_size), "")
            if not content:
                own += stat.st_size
                content = file_digest(Path(item.path))
        else:
            raise StoreError(f"store: {item.path} is neither file, folder nor link")
        path = item.path[len(files) + 1 :]
        records.append(FileRecord(path, stat.st_size, stat.st_mtime_ns, content))
    records.sort(key=lambda record: record.path)
    header = Header(kind, key, label, time.time(), len(records), own)
    body = msgspec.json.encode(header) + b"\n" + msgspec.json.encode(records) + b"\n"
    manifest = work / "manifest"
    manifest.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    if len(records) < _FSYNC_LIMIT:
        for record in records:
            if not record.content.startswith("-> "):
                _fsync(work / "files" / record.path)
    _fsync(manifest)


def _shared_content(base: Path) -> dict[tuple[int, int], str]:
    """(inode, size) -> sha256 of an entry's files, for the entry that hard-links them."""
    known = {}
    for record in _read_manifest(base.parent)[1]:
        if not record.content.startswith("-> "):
            known[os.lstat(base / record.path).st_ino, record.size] = record.content
    return known


def _read_header(home: Path) -> Header:
    try:
        with open(home / "manifest", "rb") as file:
            file.readline()
            return msgspec.json.decode(file.readline(), type=Header)
    except (OSError, *NOT_JSON) as error:
        raise _Damage(f"its manifest is not readable ({error})") from error


def _read_manifest(home: Path) -> tuple[Header, list[FileRecord]]:
    try:
        data = (home / "manifest").read_bytes()
    except OSError as error:
        raise _Damage(f"its manifest is not readable ({error})") from error
    checksum, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise _Damage("its manifest is torn or was changed")
    header, _, files = body.partition(b"\n")
    return (
        msgspec.json.decode(header, type=Header),
        msgspec.json.decode(files, type=list[FileRecord]),
    )


def _check(home: Path, kind: str, check: Check) -> None:
    """Compare an entry with its manifest as far as `check` says. Raises _Damage."""
    if check == "light":
        header, records = _read_header(home), None
    else:
        header, records = _read_manifest(home)
    if (header.kind, header.key) != (kind, home.name):
        raise _Damage(f"its manifest is of {header.kind}/{header.key}")
    if not (home / "files").is_dir():
        raise _Damage("its files are gone")
    if records is None:
        return
    files = str(home / "files")
    for record in records:
        _check_file(f"{files}/{record.path}", record, full=check == "full")
    known = {record.path for record in records}
    extra = {item.path[len(files) + 1 :] for item in walk(files)} - known
    if extra:
        raise _Damage(f"files it was not made with: {', '.join(sorted(extra)[:3])}")


def _check_file(path: str, record: FileRecord, full: bool) -> None:
    try:
        stat = os.lstat(path)
        if record.content.startswith("-> "):
            if str(Path(path).readlink()) != record.content[3:]:
                raise _Damage(f"{record.path} links elsewhere")
        elif stat.st_size != record.size:
            raise _Damage(f"{record.path} has {stat.st_size} bytes instead of {record.size}")
        elif full or stat.st_mtime_ns != record.mtime:
            found = file_digest(Path(path))
            if found != record.content:
                raise _Damage(f"the content of {record.path} has changed")
    except OSError as error:
        raise _Damage(f"{record.path}: {error.strerror}") from error


def _label(home: Path) -> str:
    """What an entry is, if its manifest tells."""
    try:
        return _read_header(home).label
    except _Damage:
        return ""


def _describe(home: Path) -> Entry | None:
    """One entry, folder or log for `list`; None if it vanished meanwhile."""
    kind = home.parent.name
    try:
        used = home.stat().st_mtime
        if home.is_file():
            return Entry(kind, home.stem, home.name, home.stat().st_size, used, used, home)
        if (home / "label").exists():
            size = sum(item.stat(follow_symlinks=False).st_size for item in walk(str(home)))
            created = (home / "label").stat().st_ctime
            return Entry(kind, home.name, (home / "label").read_text(), size, created, used, home)
        header = _read_header(home)
        return Entry(kind, home.name, header.label, header.size, header.created, used, home)
    except FileNotFoundError:
        return None
    except _Damage as damage:
        return Entry(kind, home.name, f"damaged: {damage}", 0, used, used, home)
