"""The store: whole entries or none, whoever dies; damage is found, and made good."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.build import BuildError, StoreError, entry
from harness.build.prune import entries, prune, verify
from harness.build.store import Store, default_root

KEY = "0123456789abcdef"
ROOT = Path(__file__).parents[2]


def fill(folder: Path) -> None:
    (folder / "image").write_bytes(b"kernel" * 100)
    (folder / "sub").mkdir()
    (folder / "sub" / "config").write_text("CONFIG_X=y\n")
    (folder / "link").symlink_to("sub/config")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def reopened(store: Store, said: list[str] | None = None) -> Store:
    """Another process: nothing is remembered as checked."""
    return Store(store.root, say=said.append if said is not None else lambda line: None)


def run_python(code: str, *args: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", code, *(str(arg) for arg in args)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_made_once_and_found_again(store: Store) -> None:
    made = store.create("kernel", KEY, fill, "a kernel")
    assert (made / "sub" / "config").read_text() == "CONFIG_X=y\n"
    assert reopened(store).entry("kernel", KEY) == made
    assert store.create("kernel", KEY, lambda folder: pytest.fail("made twice")) == made
    assert store.entry("kernel", "0000") is None


def test_a_failed_fill_leaves_nothing(store: Store) -> None:
    def broken(folder: Path) -> None:
        fill(folder)
        raise BuildError("no")

    with pytest.raises(BuildError, match="no"):
        store.create("kernel", KEY, broken)
    assert store.entry("kernel", KEY) is None
    assert not list((store.root / "v1" / "tmp").iterdir())


def test_scratch_beside_the_folder_is_removed(store: Store) -> None:
    def with_scratch(folder: Path) -> None:
        (folder.parent / "objects").mkdir()
        (folder.parent / "objects" / "x.o").touch()
        fill(folder)

    made = store.create("kernel", KEY, with_scratch)
    assert sorted(path.name for path in made.parent.iterdir()) == ["files", "manifest"]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "named"))
    assert default_root() == tmp_path / "named"
    assert Store().root == tmp_path / "named"
    assert Store(tmp_path).root == tmp_path
    monkeypatch.delenv("FAULTLINE_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "cache" / "faultline"


def test_a_place_that_is_not_writable_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="FAULTLINE_STORE"):
        Store(tmp_path / "file").create("kernel", KEY, fill)


def test_a_lock_that_cannot_be_had_is_said(store: Store) -> None:
    (store.base / "locks" / f"kernel--{KEY}.lock").mkdir(parents=True)
    with pytest.raises(StoreError, match=f"cannot lock .*{KEY}"):
        store.create("kernel", KEY, fill)


def test_what_a_read_only_store_holds_can_be_used(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, really_open = store.create("kernel", KEY, fill), os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return really_open(path, flags, mode)

    monkeypatch.setattr("os.open", read_only)
    with reopened(store).using("kernel", KEY) as files:
        assert files == made


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "-x", "a\0b", "a" * 200, "tmp\n"])
def test_names_that_would_be_paths(store: Store, name: str) -> None:
    with pytest.raises(StoreError):
        store.entry("kernel", name)
    with pytest.raises(StoreError):
        store.create(name, KEY, fill)
    with pytest.raises(StoreError):
        store.log("kernel", name)


@given(name=st.text(max_size=80))
def test_any_name_can_be_remembered_and_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "names-store")
    store.remember(name, {"version": "6.12", "name": repr(name)})
    assert store.recall(name) == {"version": "6.12", "name": repr(name)}
    assert {path.parent.name for path in store.root.rglob("*.json")} == {"names"}


def test_kinds_of_its_own_folders_are_refused(store: Store) -> None:
    for kind in ("tmp", "locks", "names", "logs"):
        with pytest.raises(StoreError):
            store.create(kind, KEY, fill)


def flip_bit(home: Path) -> None:
    path = home / "files" / "image"
    data = bytearray(path.read_bytes())
    data[300] ^= 4
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def torn_manifest(home: Path) -> None:
    path = home / "manifest"
    path.write_bytes(path.read_bytes()[:-40])


def changed_manifest(home: Path) -> None:
    path = home / "manifest"
    path.write_bytes(path.read_bytes().replace(b'"size":', b'"sizf":', 1))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip_bit,
    "truncated file": lambda home: os.truncate(home / "files" / "image", 17),
    "missing file": lambda home: (home / "files" / "image").unlink(),
    "missing folder": lambda home: (home / "files").rename(home / "gone"),
    "extra file": lambda home: (home / "files" / "sub" / "new").write_text("x"),
    "other link": lambda home: relink(home / "files" / "link"),
    "torn manifest": torn_manifest,
    "changed manifest": changed_manifest,
    "empty manifest": lambda home: os.truncate(home / "manifest", 0),
    "missing manifest": lambda home: (home / "manifest").unlink(),
    "header that is no text": lambda home: (home / "manifest").write_bytes(b'x\n{"\xff"}\n'),
    "manifest of garbage": lambda home: (home / "manifest").write_bytes(b"\xff\0" * 500),
}


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("image")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_made_good(store: Store, damage: str) -> None:
    home = store.create("kernel", KEY, fill).parent
    DAMAGES[damage](home)
    said: list[str] = []
    other = reopened(store, said)
    assert [entry.kind for entry, _ in verify(other)] == ["kernel"]
    assert other.entry("kernel", KEY) is None
    assert len(said) == 1 and "damaged" in said[0] and KEY in said[0]
    again = other.create("kernel", KEY, fill)
    assert (again / "image").read_bytes() == b"kernel" * 100
    assert not verify(other)


def test_a_flipped_bit_in_a_source_is_found_where_that_is_asked(store: Store) -> None:
    home = store.create("source", KEY, fill, "a tree").parent
    image = home / "files" / "image"
    before = image.stat()
    flip_bit(home)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))  # as on a disk
    said: list[str] = []
    other = reopened(store, said)
    assert other.entry("source", KEY) is not None
    assert said == []
    assert other.entry("source", KEY, "full") is None
    assert said[0] == "store: reading a tree, whether it is as it was made"
    assert re.search(r"a tree is damaged .*the content of image has changed", said[1])


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_files_that_are_named_is_found(store: Store, damage: str) -> None:
    home = store.create("source", KEY, fill).parent
    names = frozenset({"image", "link", "sub/config", "sub/new"})
    assert reopened(store).entry("source", KEY, names) is not None
    DAMAGES[damage](home)
    said: list[str] = []
    other = reopened(store, said)
    assert other.entry("source", KEY, names) is None
    assert len(said) == 1 and "damaged" in said[0] and KEY in said[0]
    again = other.create("source", KEY, fill, check=names)
    assert (again / "image").read_bytes() == b"kernel" * 100 and not verify(other)


def test_only_files_that_are_named_are_read(store: Store) -> None:
    flip_bit(store.create("source", KEY, fill).parent)
    assert reopened(store).entry("source", KEY, frozenset({"link", "sub/config"})) is not None


def test_a_file_is_found_among_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the manifest has to escape names; and one that was not there is no damage."""
    names = [f"{number:x}/a" for number in range(300)] + ['"],["', "a\\", "\n[[", "ä", "\x01", "x"]

    def many(to: Path) -> None:
        for name in names:
            (to / name).parent.mkdir(exist_ok=True)
            (to / name).write_text(name)
        (to / "below").symlink_to("1f")

    home = store.create("source", KEY, many).parent
    read: list[str] = []
    real = entry.file_digest
    monkeypatch.setattr(entry, "file_digest", lambda path: read.append(path.name) or real(path))
    for name in (*names, "below/a", "none", "", "below/none", "1f", "../files/a", "/etc/passwd"):
        entry.check_entry(home, "source", frozenset({name}))
    assert len(read) == len(names) + 1
    for name in (*names, "below/a"):
        before = (home / "files" / name).read_bytes()
        (home / "files" / name).write_bytes(bytes([before[0] ^ 1]) + before[1:])
        with pytest.raises(entry.Damage, match="has changed"):
            entry.check_entry(home, "source", frozenset({"none", name}))
        (home / "files" / name).write_bytes(before)
    (home / "files" / "none").write_text("it was not")
    with pytest.raises(entry.Damage, match="not made with: none"):
        entry.check_entry(home, "source", frozenset({"none"}))


def test_a_flipped_bit_in_a_manifest_hides_no_other(store: Store) -> None:
    """Of a file that is named: it is found, and nothing but damage comes of any byte."""
    home = store.create("source", KEY, fill).parent
    good = (home / "manifest").read_bytes()
    flip_bit(home)
    for place in range(len(good)):
        (home / "manifest").write_bytes(
            good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :]
        )
        with pytest.raises(entry.Damage):
            entry.check_entry(home, "source", frozenset({"image"}))


def test_a_source_is_read_once_by_a_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = entry.file_digest
    monkeypatch.setattr(entry, "file_digest", lambda path: read.append(path.name) or real(path))
    made = store.create("source", KEY, fill)
    linked = store.create("source", "aa", lambda to: link_all(made, to), base=made)
    assert sorted(read) == ["config", "image"]  # as the manifest was written
    for key in (KEY, "aa"):
        assert store.entry("source", key, "full") is not None
    said: list[str] = []
    other = reopened(store, said)
    assert len(read) == 2
    for _ in range(2):
        assert other.entry("source", KEY, "full") is not None
        assert other.create("source", KEY, fill, check="full") == made
    assert len(read) == 4 and len(said) == 1
    # What was linked to files that nobody has read here has to be read itself.
    third = reopened(store)
    third.create("source", "bb", lambda to: link_all(linked, to), base=linked)
    assert len(read) == 4
    assert third.entry("source", "bb", "full") is not None
    assert len(read) == 6


def link_all(files: Path, to: Path) -> None:
    (to / "sub").mkdir()
    for name in ("image", "sub/config"):
        (to / name).hardlink_to(files / name)


def test_moved_mtimes_alone_are_no_damage(store: Store) -> None:
    home = store.create("source", KEY, fill).parent  # as a cache that was packed and unpacked
    os.utime(home / "files" / "image", (1, 1))
    assert reopened(store).entry("source", KEY, "full") is not None


def test_devices_and_pipes_cannot_be_in_an_entry(store: Store) -> None:
    with pytest.raises(StoreError, match="neither file"):
        store.create("kernel", KEY, lambda folder: os.mkfifo(folder / "pipe"))


def test_hard_links_take_their_checksum_from_the_base(store: Store) -> None:
    base = store.create("source", KEY, fill)

    def link(folder: Path) -> None:
        (folder / "image").hardlink_to(base / "image")
        (folder / "own").write_text("12345")

    store.create("source", "aa", link, base=base)
    assert not verify(store)
    assert {entry.key: entry.size for entry in entries(store)}["aa"] == 5


def test_hard_links_into_what_is_damaged_are_refused(store: Store) -> None:
    base = store.create("source", KEY, fill)
    torn_manifest(base.parent)
    with pytest.raises(StoreError, match=f"source/{KEY} .* torn"):
        store.create(
            "source", "aa", lambda to: (to / "image").hardlink_to(base / "image"), base=base
        )


WRITER = """
import sys, time
from pathlib import Path
from harness.build.store import Store

def fill(folder):
    (folder / "image").write_bytes(b"kernel" * 100)
    print("inside", flush=True)
    time.sleep(float(sys.argv[2]))

Store(Path(sys.argv[1])).create("kernel", "0123456789abcdef", fill)
print("made", flush=True)
"""


def test_kill_9_leaves_nothing_that_counts(store: Store) -> None:
    writer = run_python(WRITER, store.root, 60)
    assert writer.stdout is not None and writer.stdout.readline() == "inside\n"
    assert len(list((store.root / "v1" / "tmp").iterdir())) == 1
    assert not prune(store)  # what a living writer makes is not touched
    assert len(list((store.root / "v1" / "tmp").iterdir())) == 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert store.entry("kernel", KEY) is None
    assert not verify(store) and not entries(store)
    started = time.monotonic()
    store.create("kernel", KEY, fill)  # its lock died with it
    assert time.monotonic() - started < 5
    assert not list((store.root / "v1" / "tmp").iterdir())


def test_prune_removes_what_dead_writers_left(store: Store) -> None:
    writer = run_python(WRITER, store.root, 60)
    assert writer.stdout is not None and writer.stdout.readline() == "inside\n"
    writer.kill()
    writer.wait()
    prune(store, kinds=["nothing"])
    assert not list((store.root / "v1" / "tmp").iterdir())


def test_parallel_writers_make_it_once(store: Store) -> None:
    writers = [run_python(WRITER, store.root, 0.3) for _ in range(4)]
    said = [writer.communicate(timeout=30)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert sum(text.count("inside") for text in said) == 1
    assert all(text.endswith("made\n") for text in said)
    assert store.entry("kernel", KEY, "full") is not None


def test_list_says_what_things_are(store: Store) -> None:
    store.create("kernel", KEY, fill, "debian-6.12, m68k")
    with store.folder("objects", "bb", "objects of a tree") as folder:
        (folder.path / "x.o").write_bytes(b"1234")
    store.log("kernel", "aa").write_text("error\n")
    found = {entry.kind: entry for entry in entries(store)}
    assert set(found) == {"kernel", "objects", "logs"}
    assert found["kernel"].label == "debian-6.12, m68k"
    assert found["kernel"].size == 611
    assert abs(found["kernel"].used - time.time()) < 60
    assert found["objects"].label == "objects of a tree"
    assert found["logs"].label == "kernel-aa.log"
    assert not verify(store)


def test_folders_keep_their_content(store: Store) -> None:
    with store.folder("objects", "bb", "first") as folder:
        (folder.path / "x.o").write_text("1")
    with reopened(store).folder("objects", "bb", "second") as folder:
        assert (folder.path / "x.o").read_text() == "1"


def used(store: Store, key: str, ago: float) -> None:
    home = store.root / "v1" / "kernel" / key
    os.utime(home, (time.time() - ago,) * 2)


def test_prune_by_use_age_and_kind(store: Store) -> None:
    for key in ("aa", "bb"):
        store.create("kernel", key, fill)
    store.create("guest", "cc", fill)
    used(store, "aa", 1000)
    assert [entry.key for entry in prune(store, unused_for=500, dry_run=True)] == ["aa"]
    assert store.entry("kernel", "aa", "light") is not None  # and that was a use
    used(store, "aa", 1000)
    assert [entry.key for entry in prune(store, unused_for=500, kinds=["guest"])] == []
    assert [entry.key for entry in prune(store, unused_for=500)] == ["aa"]
    assert [entry.key for entry in prune(store, kinds=["guest"])] == ["cc"]
    store.log("kernel", "aa").write_text("error\n")
    assert {entry.key for entry in prune(store)} == {"bb", "kernel-aa"}
    assert not entries(store) and not list((store.root / "v1" / "tmp").iterdir())


def test_prune_spares_what_is_in_use(store: Store) -> None:
    store.create("kernel", KEY, fill)
    with store.using("kernel", KEY) as path, store.using("kernel", KEY):
        assert path is not None
        assert not prune(store)
        assert store.entry("kernel", KEY) is not None
    assert len(prune(store)) == 1


def test_prune_spares_the_log_of_what_is_being_made(store: Store) -> None:
    log = store.log("kernel", KEY)
    log.write_text("so far\n")
    with store.lock("kernel", KEY):
        assert not prune(store)
        assert log.read_text() == "so far\n"
    assert [entry.path for entry in prune(store)] == [log]


def test_prune_removes_damaged_entries_too(store: Store) -> None:
    home = store.create("kernel", KEY, fill).parent
    torn_manifest(home)
    assert "damaged" not in entries(store)[0].label  # the header is still readable
    (home / "manifest").unlink()
    assert "damaged" in entries(store)[0].label
    assert len(prune(store)) == 1
