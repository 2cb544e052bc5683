"""Objects that are kept for the next make: what it would not notice, and what nobody can tell."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.build import BuildError
from harness.build.objects import kept
from harness.build.own_tree import is_as_it_was
from harness.build.source import resolve
from harness.build.store import Store
from harness.catalog.kernels import Kernel, TreeSource
from tests.unit.build_fakes import commit, fake_tree, git


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return fake_tree(tmp_path / "plain")


@pytest.fixture(params=["plain", "git"])
def made(request: pytest.FixtureRequest, plain: Path) -> Path:
    """A tree that was made, in git or not."""
    (plain / "mm/gup.c").touch()
    if request.param == "git":
        git(plain, "init")
        commit(plain, "one")
    return plain


def compiled(tree: Path, objects: Path, name: str) -> None:
    """An object, and from what it was made, by the tree's own name or by the link beside it."""
    top = "../linux" if name == "gup" else tree
    (objects / "mm").mkdir(exist_ok=True)
    (objects / f"mm/{name}.o").write_text("")
    (objects / f"mm/.{name}.o.cmd").write_text(
        f"source_mm/{name}.o := {top}/mm/{name}.c\ndeps := \\\n  {top}/mm/{name}.h \\\n"
    )


@contextmanager
def making(tree: Path, objects: Path, store: Store) -> Iterator[None]:
    """What is around a make, which ends by BuildError where the tree is not what it was."""
    found = resolve(Kernel("t", TreeSource(tree)), store)
    with kept(found, objects, store):
        yield
        if not is_as_it_was(found, store):
            raise BuildError("changed meanwhile")


def make(tree: Path, objects: Path, store: Store, *writes: str) -> None:
    """What is left to a make after a look at the tree; it writes some objects."""
    with making(tree, objects, store):
        for name in writes:
            compiled(tree, objects, name)


@pytest.fixture
def objects(tmp_path: Path, made: Path, store: Store) -> Path:
    """As a make leaves it: two objects with what they were made from, and another file."""
    folder = tmp_path / "objects"
    folder.mkdir()
    make(made, folder, store, "memory", "gup")
    (folder / "vmlinux").touch()
    return folder


def left(objects: Path) -> set[str]:
    return {path.name for path in objects.rglob("*.o")} | {p.name for p in objects.glob("vmlinux")}


ALL = {"memory.o", "gup.o", "vmlinux"}


def test_objects_of_what_did_not_change_stay(made: Path, objects: Path, store: Store) -> None:
    make(made, objects, store)
    assert left(objects) == ALL
    for name in ("text", "mm/memory.c"):  # newer than the objects: make sees that itself
        (made / name).write_text("edited")
        later(made / name, objects)
        make(made, objects, store)
        assert left(objects) == ALL


def assert_memory_is_remade(made: Path, objects: Path, store: Store) -> None:
    """The next look at the tree takes the object of mm/memory.c away, and nothing else."""
    make(made, objects, store)
    assert left(objects) == ALL - {"memory.o"}


def with_backup(tree: Path) -> tuple[Path, Path]:
    """A source file, and a copy of it that has its time."""
    source, backup = tree / "mm/memory.c", tree.parent / "backup"
    shutil.copy2(source, backup)
    return source, backup


def later(file: Path, objects: Path) -> None:
    """Give a file the first time that is not that of the last make's end, as an editor would."""
    ended = (objects / ".faultline-made").stat().st_mtime_ns
    os.utime(file, ns=(ended + 1, ended + 1))


def test_a_file_put_back_with_its_old_time_is_noticed(
    made: Path, objects: Path, store: Store
) -> None:
    source, backup = with_backup(made)
    source.write_text("mutant\n")
    later(source, objects)
    make(made, objects, store, "memory")
    assert left(objects) == ALL
    shutil.copy2(backup, source)
    assert_memory_is_remade(made, objects, store)


def test_a_file_that_is_gone_or_was_edited_while_make_ran_is_noticed(
    made: Path, objects: Path, store: Store
) -> None:
    source = made / "mm/memory.c"
    source.write_text("edited between its compiler and the end of make\n")
    ended = (objects / ".faultline-made").stat().st_mtime_ns
    os.utime(source, ns=(ended - 1, ended - 1))
    assert_memory_is_remade(made, objects, store)
    (made / "mm/gup.c").unlink()
    make(made, objects, store)
    assert left(objects) == {"vmlinux"}


def test_after_a_make_that_was_killed_with_us_neither_times_nor_its_objects_count(
    made: Path, objects: Path, store: Store
) -> None:
    (objects / ".faultline-made").unlink()
    note = (objects / ".faultline-sources").stat().st_mtime_ns
    for name, late in ("memory", 0), ("gup", 1):
        os.utime(objects / f"mm/{name}.o", ns=(note - 1 + late, note - 1 + late))
    os.utime(objects / "vmlinux", (1, 1))
    make(made, objects, store)
    assert left(objects) == ALL - {"gup.o"}
    (objects / ".faultline-made").unlink()
    (made / "mm/memory.c").write_text("edited\n")
    make(made, objects, store)
    assert left(objects) == {"vmlinux"}


def test_an_edit_while_make_runs_is_noticed_after_it_was_put_back(
    made: Path, objects: Path, store: Store
) -> None:
    source, backup = with_backup(made)
    with pytest.raises(BuildError, match="meanwhile"), making(made, objects, store):
        source.write_text("edited\n")
        compiled(made, objects, "memory")
    shutil.copy2(backup, source)
    assert_memory_is_remade(made, objects, store)


def test_a_make_that_failed_has_not_seen_what_it_was_for(
    made: Path, objects: Path, store: Store
) -> None:
    """It may not have come to the file, which then gets an older time."""
    source = made / "mm/memory.c"
    source.write_text("edited\n")
    later(source, objects)
    with pytest.raises(BuildError, match="make failed"), making(made, objects, store):
        raise BuildError("make failed")
    os.utime(source, (1, 1))
    assert_memory_is_remade(made, objects, store)


def test_the_time_of_a_link_is_that_of_the_file_that_make_sees(
    made: Path, objects: Path, store: Store
) -> None:
    source = made / "mm/memory.c"
    for name in ("one.c", "two.c"):
        (made / "mm" / name).write_text(name)
        os.utime(made / "mm" / name, (1, 1))
    source.unlink()
    source.symlink_to("one.c")
    make(made, objects, store, "memory")
    source.unlink()
    source.symlink_to("two.c")
    os.utime(source, ns=(2**62, 2**62), follow_symlinks=False)
    assert_memory_is_remade(made, objects, store)


def test_another_repository_in_the_tree_is_built_from_nothing(
    made: Path, objects: Path, store: Store
) -> None:
    for name in ("one", "two"):
        folder = made.parent / name
        folder.mkdir()
        (folder / "Makefile").write_text(name)
        git(folder, "init")
        commit(folder, name)
        os.utime(folder / "Makefile", (1, 1))
    shutil.move(made.parent / "one", made / "mine")
    make(made, objects, store, "memory", "gup")
    (objects / "vmlinux").touch()
    shutil.rmtree(made / "mine")
    shutil.move(made.parent / "two", made / "mine")
    make(made, objects, store)
    assert left(objects) == set()


def test_a_full_disk_does_not_hide_why_make_failed(
    made: Path, objects: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with pytest.raises(BuildError, match="make failed"), making(made, objects, store):
        monkeypatch.setattr(Path, "write_bytes", full)
        raise BuildError("make failed")


def test_what_make_could_not_tell_is_built_from_nothing(
    made: Path, objects: Path, store: Store
) -> None:
    (made / "Makefile").write_text((made / "Makefile").read_text() + "# edited\n")
    os.utime(made / "Makefile", (1, 1))
    make(made, objects, store)
    assert left(objects) == set()


@pytest.mark.parametrize(
    "state",
    [b"[torn", b'{"state":"0123456789abcdef0123456789abcdef01234567"}', b'[["Makefile",1,1]]'],
)
def test_objects_of_unknown_origin_are_not_used(
    made: Path, objects: Path, store: Store, state: bytes
) -> None:
    (objects / ".faultline-sources").write_bytes(state)
    make(made, objects, store)
    assert left(objects) == set()


def test_a_tree_is_as_it_was_until_a_file_changes(made: Path, store: Store) -> None:
    found = resolve(Kernel("t", TreeSource(made)), store)
    assert is_as_it_was(found, store)
    (made / ".config").touch()
    with pytest.raises(BuildError, match="built in place"):
        is_as_it_was(found, store)
    (made / ".config").unlink()
    (made / "mm/memory.c").write_text("edited\n")
    assert not is_as_it_was(found, store)
