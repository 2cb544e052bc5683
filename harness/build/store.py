"""The store: built things under `v1/KIND/KEY`, KEY being the hash of what they were made from.

An entry (see entry.py) is written aside in `v1/tmp` and renamed, so that it is either whole or not
there; kill -9 leaves a folder in `v1/tmp` that the next writer of the same key, or `prune` (see
prune.py), removes. One lock file a key (flock, which the kernel releases when its holder dies):
writers hold it exclusively, users of an entry share it, and `prune` takes only what nobody holds.

Beside entries there are folders that change, such as object folders (`folder`), what names
resolved to (`recall`, `remember`) and logs of failed builds.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import platformdirs
from msgspec import Struct

from harness.build import Say, StoreError, silent
from harness.build.entry import Check, Damage, check_entry, default_check, fsync, label_of, seal
from harness.jsontext import NOT_JSON

VERSION = "v1"
KIND = re.compile(r"[a-z][a-z0-9-]{0,30}")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,120}")
RESERVED = {"tmp", "locks", "names", "logs"}


class Folder(Struct, frozen=True):
    """A folder that changes, held exclusively; `lock` is a descriptor children may inherit."""

    path: Path
    lock: int


def default_root() -> Path:
    """FAULTLINE_STORE, else the user's cache folder."""
    named = os.environ.get("FAULTLINE_STORE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("faultline"))


class Store:
    """See the module. `say` hears of damaged entries and of locks waited for."""

    def __init__(self, root: Path | None = None, say: Say = silent) -> None:
        self.root = (root if root is not None else default_root()).absolute()
        self.base = self.root / VERSION
        self.say = say
        self.refreshed: set[str] = set()  # names asked anew by this process: once is enough
        # What this process has read, and what is wrong with it: that takes seconds for a source.
        self._read: dict[tuple[Path, int], str | None] = {}
        self._told: dict[Path, str] = {}  # damage of entries that are not made again yet

    # -- entries --

    def entry(self, kind: str, key: str, check: Check | None = None) -> Path | None:
        """The entry's files, or None when it is not there or damaged (which is said)."""
        home = self._home(kind, key)
        why = self._examine(home, kind, check)
        if why and self._told.get(home) != why:  # who makes it again looks once more
            self._told[home] = why
            name = label_of(home) or f"{kind}/{key}"
            self.say(f"store: {name} is damaged and will be made again: {why}")
        if why is not None:
            return None
        _touch(home)
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
        with self.lock(kind, key, what=label):
            home = self._home(kind, key)
            if self._examine(home, kind, check) is None:  # somebody else made it meanwhile
                return home / "files"
            self.remove(home)
            for dead in (self.base / "tmp").glob(f"{kind}--{key}--*"):  # we have their lock
                shutil.rmtree(dead, ignore_errors=True)
            self._write(home, kind, key, fill, label, base)
        return home / "files"

    @contextmanager
    def using(self, kind: str, key: str) -> Iterator[Path | None]:
        """Hold an entry so that no prune removes it meanwhile; yields what `entry` returns."""
        with self.lock(kind, key, shared=True):
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
            seal(work, kind, key, label, base)
            home.parent.mkdir(parents=True, exist_ok=True)
            whole = base is None or self._read.get(_mark(base.parent), "") is None
            work.rename(home)
            self._told.pop(home, None)
            fsync(home.parent)
            if whole:  # every file of it was read just now
                self._read[_mark(home)] = None
        except OSError as error:
            raise StoreError(f"store: cannot write {kind}/{key} ({label}): {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _examine(self, home: Path, kind: str, check: Check | None) -> str | None:
        """None: good. "": not there. Else what is wrong with it."""
        check = check or default_check(kind)
        try:
            mark = _mark(home)
        except (FileNotFoundError, NotADirectoryError):
            return "it has no manifest" if home.exists() else ""
        except OSError as error:
            raise StoreError(f"store: cannot read {home}: {error.strerror}") from error
        if check == "full" and mark in self._read:
            return self._read[mark]
        if check == "full" != default_check(kind):  # it takes seconds
            self.say(f"store: reading {label_of(home) or kind}, whether it is as it was made")
        why: str | None = None
        try:
            check_entry(home, kind, check)
        except Damage as damage:
            why = str(damage)
        if check == "full":
            self._read[mark] = why
        return why

    # -- folders that change, names, logs, scratch --

    @contextmanager
    def folder(self, kind: str, key: str, label: str = "") -> Iterator[Folder]:
        """A folder that is kept between uses and changes in place; held exclusively."""
        with self.lock(kind, key, what=label) as descriptor:
            home = self._home(kind, key)
            files = home / "files"
            try:
                files.mkdir(parents=True, exist_ok=True)
                (home / "label").write_text(label)
            except OSError as error:
                raise StoreError(f"store: cannot write {home}: {error}") from error
            _touch(home)
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
            fsync(aside)
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(path)
        except OSError as error:
            raise StoreError(f"store: cannot write {path}: {error}") from error
        finally:
            shutil.rmtree(aside.parent, ignore_errors=True)

    @contextmanager
    def name_lock(self, name: str) -> Iterator[None]:
        """Only one process at a time resolves a name."""
        with self.lock("names", self._name(name).stem, what=f"the source of {name}"):
            yield

    def log(self, kind: str, key: str) -> Path:
        """Where the log of an entry that could not be made is kept until pruned."""
        self._home(kind, key)
        self._make(self.base / "logs")
        return self.base / "logs" / f"{kind}-{key}.log"

    def workspace(self, prefix: str) -> Path:
        """A fresh folder on the store's file system; its maker removes it."""
        self._make(self.base / "tmp")
        try:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=self.base / "tmp"))
        except OSError as error:
            raise _unusable("create a folder in", self.base / "tmp", error) from error

    def remove(self, path: Path) -> None:
        """Out of sight in one step, then removed: half an entry is never seen."""
        if path.is_dir():
            aside = self.workspace("removed--")
            path.rename(aside / "entry")
            shutil.rmtree(aside, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    # -- paths and locks --

    @contextmanager
    def lock(
        self, kind: str, key: str, *, shared: bool = False, wait: bool = True, what: str = ""
    ) -> Iterator[int]:
        """Hold a key; yields the lock's descriptor, -1 when it is taken and `wait` is false.

        `what` it is for, where that must be waited for.
        """
        path = self.base / "locks" / f"{_valid(KIND, kind, 'kind')}--{_valid(KEY, key, 'key')}.lock"
        self._make(path.parent)
        descriptor = _open_lock(path)
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    yield -1
                    return
                name = what or label_of(self.base / kind / key) or f"{kind}/{key}"
                self.say(f"store: waiting for another process that works on {name}")
                fcntl.flock(descriptor, mode)
            yield descriptor
        finally:
            os.close(descriptor)

    def _home(self, kind: str, key: str) -> Path:
        if kind in RESERVED:
            raise StoreError(f"store: {kind!r} is no kind of entry")
        return self.base / _valid(KIND, kind, "kind") / _valid(KEY, key, "key")

    def _name(self, name: str) -> Path:
        """Names come from users: what is no file name is replaced, a hash keeps them apart."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "name"
        tail = hashlib.sha256(name.encode()).hexdigest()[:12]
        return self.base / "names" / f"{plain}-{tail}.json"

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable("create", folder, error) from error


def _open_lock(path: Path) -> int:
    flags = os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, os.O_RDWR | flags, 0o644)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            return os.open(path, os.O_RDONLY | flags)  # one that is there will do for a lock
    except OSError as error:
        raise _unusable("lock", path, error) from error


def _mark(home: Path) -> tuple[Path, int]:
    """Which entry it is, and which of those that were made there. Raises OSError."""
    return home, (home / "manifest").stat().st_mtime_ns


def _touch(home: Path) -> None:
    with suppress(OSError):  # a read-only store serves as well
        os.utime(home)  # the folder's mtime is when it was last used


def _valid(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise StoreError(f"store: {text!r} is no {what}: it would be a path of its own")
    return text


def _unusable(what: str, path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"store: cannot {what} {path}: {error.strerror}; "
        "choose another place with --store or FAULTLINE_STORE"
    )
