"""A user's repository: what it holds, where it came from, and that it is only read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from packaging.version import Version

from harness.build import BuildError
from harness.build.git import commit_of, find_repository, open_repository
from harness.build.source import resolve
from harness.build.store import Store
from harness.catalog.kernels import GitSource, Kernel, TreeSource
from harness.catalog.version import parse_version
from tests.unit.build_fakes import commit, fake_tree, git


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


def test_an_edit_in_the_second_of_a_commit_is_seen(tree: Path, store: Store) -> None:
    """Of the same size and time: only the time of git's index tells that it may be one."""
    git(tree, "config", "core.trustctime", "false")  # which nobody can set, and is the same too
    text, then = tree / "text", (1_700_000_000, 1_700_000_000)
    os.utime(text, then)
    git(tree, "add", "--all")
    text.write_text("two\n")
    for file in (text, tree / ".git" / "index"):
        os.utime(file, then)
    assert open_repository(tree).state(store)[1]


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
