"""A user's repository: what it holds, where it came from, and that it is only read."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.version import Version

from harness.build import BuildError
from harness.build.git import commit_of, find_repository, open_repository
from harness.build.objects import kept
from harness.build.own_tree import is_as_it_was
from harness.build.source import resolve
from harness.build.store import Store
from harness.catalog.kernels import GitSource, Kernel, TreeSource
from harness.catalog.version import parse_version
from tests.unit.build_fakes import fake_tree


def git(tree: Path, *args: str) -> str:
    argv = ["git", "-C", str(tree), "-c", "user.name=x", "-c", "user.email=x@x.test", *args]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def commit(tree: Path, text: str) -> str:
    (tree / "text").write_text(text + "\n")
    git(tree, "add", "--all")
    git(tree, "commit", "-m", text)
    return git(tree, "rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = fake_tree(tmp_path / "my linux")
    git(tree, "init", "--initial-branch=master")
    commit(tree, "one")
    git(tree, "tag", "v6.12")
    return tree


def test_a_work_tree_has_a_commit_and_what_differs_from_it(tree: Path) -> None:
    head = commit(tree, "two")
    name, changed = commit_of(tree)
    assert (name, changed) == (head[:12], [])
    (tree / ".gitignore").write_text("*.o\n")
    (tree / "text").write_text("changed")
    (tree / "x.o").touch()
    assert commit_of(tree) == (name, ["text", ".gitignore"])


def test_what_is_no_repository_has_no_commit(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="nobody knows its commit: fatal: not a git repository"):
        commit_of(tmp_path)


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Content and time of all files; git may renew the times of objects that it meets again."""
    return {
        str(path): (path.stat().st_mtime_ns * ("objects" not in path.parts), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_repository_is_only_read(tree: Path, store: Store) -> None:
    (tree / "text").write_text("changed")
    (tree / "new.c").write_text("int x;")
    before = everything(tree)
    content, dirty = open_repository(tree).state(store)
    assert dirty and len(content) == 40
    kernel = Kernel("g", GitSource(tree, "v6.12"))
    source = resolve(kernel, store)
    assert (source.tree / "text").read_text() == "one\n" and source.version == "6.12.117"
    assert not (source.tree / "new.c").exists() and not (source.tree / ".git").exists()
    copy = resolve(Kernel("t", TreeSource(tree)), store)  # its path has a space: kbuild refuses
    assert copy.tree != tree and (copy.tree / "new.c").read_text() == "int x;"
    assert copy.version == "6.12.117-dirty" and copy.provenance["source"].endswith("with changes")
    assert everything(tree) == before


def test_equal_files_are_one_source(tree: Path, store: Store) -> None:
    (tree / "text").write_text("two\n")
    dirty = resolve(Kernel("t", TreeSource(tree)), store)
    head = commit(tree, "two")
    clean = resolve(Kernel("t", TreeSource(tree)), store)
    revision = resolve(Kernel("g", GitSource(tree, "HEAD")), store)
    assert dirty.digest == clean.digest == revision.digest
    assert clean.version == revision.version == f"6.12.117-00001-g{head[:12]}"
    assert dirty.version == "6.12.117-dirty"
    assert clean.provenance["commit"] == head


def test_without_tags_the_commit_is_told(tree: Path, store: Store) -> None:
    git(tree, "tag", "-d", "v6.12")
    head = git(tree, "rev-parse", "HEAD")
    assert resolve(Kernel("g", GitSource(tree, "HEAD")), store).version == f"6.12.117-g{head[:12]}"


def test_a_release_candidate_with_changes(tree: Path, store: Store) -> None:
    makefile = tree / "Makefile"
    text = makefile.read_text().replace("PATCHLEVEL = 12", "PATCHLEVEL = 13")
    text = text.replace("SUBLEVEL = 117", "SUBLEVEL = 0").replace(
        "EXTRAVERSION =", "EXTRAVERSION = -rc2"
    )
    makefile.write_text(text)
    head = commit(tree, "rc")
    (tree / "text").write_text("mine")
    version = resolve(Kernel("t", TreeSource(tree)), store).version
    assert version == f"6.13.0-rc2-00001-g{head[:12]}-dirty"
    assert parse_version(version) == Version("6.13.0rc2")


def test_bare_repositories_and_work_trees(tree: Path, store: Store, tmp_path: Path) -> None:
    head = commit(tree, "two")
    git(tree, "clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    git(tree, "worktree", "add", "--quiet", "--detach", str(tmp_path / "other"), "HEAD")
    sources = [resolve(Kernel("g", GitSource(tmp_path / "bare.git", "HEAD")), store),
               resolve(Kernel("t", TreeSource(tmp_path / "other")), store)]  # fmt: skip
    assert {source.provenance["commit"] for source in sources} == {head}
    assert len({source.digest for source in sources}) == 1
    (tmp_path / "other" / "text").write_text("mine")
    assert open_repository(tmp_path / "other").state(store)[1]
    assert not open_repository(tree).state(store)[1]


def test_ignored_files_and_results_are_no_changes(tree: Path, store: Store) -> None:
    (tree / ".gitignore").write_text("*.o\n")
    commit(tree, "two")
    repository = open_repository(tree)
    (tree / "a.o").touch()
    (tree / "out").mkdir()
    (tree / "out/.gitignore").write_text("*\n")
    (tree / "out/r.jsonl").touch()
    assert repository.state(store)[1] is False


def test_rules_that_ignore_a_whole_kernel_hide_no_edit(tree: Path, store: Store) -> None:
    (tree / ".gitignore").write_text("/*\n")
    git(tree, "add", "--force", ".gitignore")
    commit(tree, "as in a source package")
    repository = open_repository(tree)
    (tree / "out").mkdir()
    (tree / "out" / "results.jsonl").write_text("{}")
    states = [repository.state(store)]
    assert not states[0][1]
    for text in ("int one;", "int two;"):
        (tree / "mm" / "new.c").write_text(text)
        states.append(repository.state(store))
    assert states[1][1] and len(set(states)) == 3


def test_our_index_heals(tree: Path, store: Store) -> None:
    repository = open_repository(tree)
    first = repository.state(store)
    (index,) = store.root.glob("v1/git/*/files/index")
    index.write_bytes(b"DIRC garbage")
    index.with_name("index.lock").touch()
    assert repository.state(store) == first


def test_where_a_branch_left_upstream(tree: Path) -> None:
    repository = open_repository(tree)
    one = git(tree, "rev-parse", "HEAD")
    assert repository.fork_point(one) is None  # nothing of its own
    git(tree, "checkout", "-q", "-b", "topic")
    head = commit(tree, "mine")
    assert repository.fork_point(head) == (one, "master")
    git(tree, "branch", "-q", "-m", "master", "elsewhere")
    assert repository.fork_point(head) == (one, "v6.12")
    git(tree, "update-ref", "refs/remotes/origin/topic", head)  # pushed: that is no upstream
    git(tree, "update-ref", "refs/remotes/origin/master", one)
    git(tree, "config", "branch.topic.remote", "origin")
    git(tree, "config", "remote.origin.url", "nowhere")
    git(tree, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    git(tree, "config", "branch.topic.merge", "refs/heads/topic")
    assert repository.fork_point(head) == (one, "origin/master")


def test_a_tree_inside_another_repository_is_not_in_git(tree: Path, store: Store) -> None:
    inner = fake_tree(tree / "vendor" / "linux")
    assert find_repository(inner) is None
    with pytest.raises(BuildError, match="is not the top of a git repository"):
        resolve(Kernel("g", GitSource(inner, "HEAD")), store)
    plain = fake_tree(store.root.parent / "outer" / "linux")
    git(plain.parent, "init")
    assert (
        resolve(Kernel("t", TreeSource(plain)), store).provenance["source"].endswith("not in git")
    )


def test_a_revision_that_is_not_there_is_named(tree: Path, store: Store) -> None:
    with pytest.raises(BuildError, match=r"has no revision 'v6\.99'"):
        resolve(Kernel("g", GitSource(tree, "v6.99")), store)
    with pytest.raises(BuildError, match=r"has no revision '--all'"):
        resolve(Kernel("g", GitSource(tree, "--all")), store)


def test_a_revision_that_is_no_kernel_is_named_by_its_repository(tree: Path, store: Store) -> None:
    git(tree, "rm", "--quiet", "Makefile")
    git(tree, "commit", "--quiet", "-m", "no kernel any more")
    with pytest.raises(BuildError, match=f"{tree}, commit .* is no kernel tree: Makefile"):
        resolve(Kernel("g", GitSource(tree, "HEAD")), store)


def test_a_repository_without_a_commit_is_a_plain_tree(tmp_path: Path, store: Store) -> None:
    tree = fake_tree(tmp_path / "fresh")
    git(tree, "init")
    assert resolve(Kernel("t", TreeSource(tree)), store).provenance["source"].endswith("not in git")


# -- kept objects --


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
    """An object, and from what it was made."""
    (objects / "mm").mkdir(exist_ok=True)
    (objects / f"mm/{name}.o").write_text("")
    (objects / f"mm/.{name}.o.cmd").write_text(
        f"source_mm/{name}.o := {tree}/mm/{name}.c\ndeps := \\\n  {tree}/mm/{name}.h \\\n"
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
    make(made, objects, store)
    assert left(objects) == ALL - {"memory.o"}


def test_a_file_that_is_gone_or_was_edited_while_make_ran_is_noticed(
    made: Path, objects: Path, store: Store
) -> None:
    source = made / "mm/memory.c"
    source.write_text("edited between its compiler and the end of make\n")
    ended = (objects / ".faultline-made").stat().st_mtime_ns
    os.utime(source, ns=(ended - 1, ended - 1))
    make(made, objects, store)
    assert left(objects) == ALL - {"memory.o"}
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
    make(made, objects, store)
    assert left(objects) == ALL - {"memory.o"}


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
    make(made, objects, store)
    assert left(objects) == ALL - {"memory.o"}


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
    make(made, objects, store)
    assert left(objects) == ALL - {"memory.o"}


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
