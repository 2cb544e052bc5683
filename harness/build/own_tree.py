"""A user's own source: their tree as it lies there, a copy of it, a revision of their repository.

Their files are never written to. What must not be done in a tree itself is done in a copy, which
lies in the store as everything that is unpacked does.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from msgspec.structs import replace

from harness.build import BuildError, InputError
from harness.build.entry import Check
from harness.build.git import Repository, find_repository, open_repository
from harness.build.store import Store
from harness.build.tools import digest
from harness.build.tree import (
    RECIPE,
    TREE,
    ResolvedSource,
    State,
    listing,
    makefile_version,
    not_source,
)
from harness.catalog.kernels import GitSource


def resolve_tree(path: Path, store: Store) -> ResolvedSource:
    """A user's own tree as it is now. Raises BuildError."""
    tree = path.expanduser().resolve()  # one name, else one object folder for each way to say it
    if not tree.is_dir():
        raise InputError(f"tree:{path}: there is no such folder")
    version = makefile_version(tree)
    if not os.access(tree / "Kconfig", os.R_OK):
        raise InputError(f"tree:{path}: its Kconfig is not readable: is it a kernel tree?")
    _refuse_built(tree, f"tree:{path}")
    repository = _readable_repository(tree)
    if repository is None:
        state, where = _cheap_digest(tree), {"source": f"tree {tree}, not in git"}
    else:
        content, dirty = repository.state(store)
        state = _git_digest(content)
        local, where = _provenance(repository, "HEAD", dirty)
        version += local
        where["git_tree"] = content
    return ResolvedSource(version, state, tree, "", {**where, "source_digest": state})


def state_of(tree: ResolvedSource) -> State:
    """The state of a user's tree as it was resolved, as far as that was kept: without git it is
    looked at now. Raises BuildError.
    """
    return tree.provenance.get("git_tree") or listing(tree.tree)


def state_now(tree: ResolvedSource, store: Store) -> State:
    """The state of a user's tree, as `state_of` tells it. Raises BuildError."""
    if "git_tree" in tree.provenance:
        return open_repository(tree.tree).state(store)[0]
    return listing(tree.tree)


def changed_since(tree: ResolvedSource, before: State, now: State, store: Store) -> set[str]:
    """The files of a user's tree that differ between two of its states. Raises BuildError where
    that cannot be told.
    """
    if isinstance(before, str) and isinstance(now, str):
        return open_repository(tree.tree).changed(before, now, store)
    if isinstance(before, str) or isinstance(now, str):
        raise BuildError(f"{tree.tree} was in git at one time and was not at the other")
    return {name for name, *_ in set(now) ^ set(before)}


def is_as_it_was(tree: ResolvedSource, store: Store) -> bool:
    """Whether a user's tree is what was resolved. Raises BuildError."""
    _refuse_built(tree.tree, f"tree:{tree.tree}")  # git ignores what a make in place leaves
    if "git_tree" in tree.provenance:
        return state_now(tree, store) == tree.provenance["git_tree"]
    return _cheap_digest(tree.tree) == tree.digest


def _refuse_built(tree: Path, name: str) -> None:
    used = [name for name in (".config", "include/config") if (tree / name).exists()]
    used += [str(item.relative_to(tree)) for item in tree.glob("arch/*/include/generated")]
    if used:
        raise InputError(
            f"{name} was built in place ({used[0]} is there); kernels are built outside of "
            "it, which needs a clean tree: run `make mrproper` in it (save .config first)"
        )


def _readable_repository(tree: Path) -> Repository | None:
    """None as well for another user's repository, which git refuses, and one without a commit."""
    try:
        repository = find_repository(tree)
        if repository is not None:
            repository.commit("HEAD")
    except BuildError:
        return None
    return repository


def resolve_git(source: GitSource, store: Store, check: Check | None) -> ResolvedSource:
    """A revision of a user's repository, unpacked in the store. Raises BuildError."""
    repository = open_repository(source.path)
    local, where = _provenance(repository, source.rev)
    content = repository.tree(where["commit"])
    return _unpack_git(repository, content, local, where, store, check)


def snapshot(tree: ResolvedSource, store: Store, check: Check | None) -> ResolvedSource:
    """A copy of a user's tree in the store, for what must not be done in the tree itself.

    Raises BuildError, also where the tree is not any more what was resolved.
    """
    where = {k: v for k, v in tree.provenance.items() if k != "source_digest"}
    if content := where.get("git_tree"):
        local = tree.version.removeprefix(makefile_version(tree.tree))
        return _unpack_git(open_repository(tree.tree), content, local, where, store, check)
    key = digest("source", RECIPE, "copy", tree.digest)

    def fill(to: Path) -> None:
        store.say(f"{tree.tree}: copying")
        shutil.copytree(tree.tree, to / TREE, symlinks=True, ignore=not_source)
        if _cheap_digest(tree.tree) != tree.digest:
            raise BuildError(f"{tree.tree} was changed while it was copied: run it again")

    entry = store.create("source", key, fill, where["source"], check=check)
    return replace(tree, tree=entry / TREE, key=key)


def _unpack_git(
    repository: Repository,
    content: str,
    local: str,
    where: dict[str, str],
    store: Store,
    check: Check | None,
) -> ResolvedSource:
    """A tree of a repository as an entry of the store."""
    key = digest("source", RECIPE, "git", content)

    def fill(to: Path) -> None:
        store.say(f"{where['source']}: unpacking")
        repository.unpack(content, to / TREE, store)
        makefile_version(to / TREE, where["source"])

    entry = store.create("source", key, fill, where["source"], check=check)
    version, state = makefile_version(entry / TREE) + local, _git_digest(content)
    told = {**where, "source_digest": state}
    return ResolvedSource(version, state, entry / TREE, key, told)


def _provenance(
    repository: Repository, rev: str, dirty: bool = False
) -> tuple[str, dict[str, str]]:
    """What a revision adds to the version, and where a source comes from."""
    commit = repository.commit(rev)
    changed = " with changes" if dirty else ""
    told = {"source": f"{repository.path}, commit {commit[:12]}{changed}", "commit": commit}
    return repository.describe(commit) + ("-dirty" if dirty else ""), told


def _git_digest(content: str) -> str:
    return digest("git", content)  # of files alone: a commit of what was built changes nothing


def _cheap_digest(tree: Path) -> str:
    """A digest of names, sizes and mtimes: an edit changes it, reading everything is slow."""
    return digest("tree", listing(tree))
