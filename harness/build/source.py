"""Kernel sources: what a declared kernel resolves to, unpacked in the store or on disk.

A name resolves once: package version, checksum and store key are remembered, and a warm run
asks neither network nor apt while the source is in the store. The key follows from the other two:
where it does not, a bit has flipped, and nothing is remembered. Evidence is looked up in a source,
so one that was pruned is fetched again. `refresh` resolves anew. A source entry holds `linux/`,
the tree, and nothing else; `patches.py` makes the entries of patched trees from it.
"""

from __future__ import annotations

import os
import re

from harness.build import BuildError, InputError
from harness.build.entry import Check
from harness.build.own_tree import resolve_git, resolve_tree, snapshot
from harness.build.store import Store
from harness.build.tree import (
    TREE,
    ResolvedSource,
    makefile_version,
    package_key,
    tarball_key,
)
from harness.catalog.kernels import (
    DebianSource,
    GitSource,
    Kernel,
    TarballSource,
    TreeSource,
    split_spec,
)


def resolve(
    kernel: Kernel, store: Store, refresh: bool = False, check: Check | None = None
) -> ResolvedSource:
    """The source of a kernel, fetched and unpacked if it is not yet. Raises BuildError.

    `refresh` asks anew for the newest version; `check` is how well an entry that is there is
    looked at (see entry.py): "full" before a build, the files that are to be read else.
    """
    source = kernel.source
    if isinstance(source, TreeSource):
        tree = resolve_tree(source.path, store)
        # kbuild refuses a source folder with spaces or colons in its path.
        copied = kernel.patches or re.search(r"[\s:]", os.path.realpath(tree.tree))
        return snapshot(tree, store, check) if copied else tree
    if isinstance(source, GitSource):
        return resolve_git(source, store, check)
    name = _name(kernel)
    refresh = refresh and name not in store.refreshed
    with store.name_lock(name):
        known = _known(kernel, store)
        if known is None or refresh or store.entry("source", known["key"], check) is None:
            from harness.build.fetch import fetch  # with it apt: most runs fetch nothing

            fresh = fetch(kernel, store, None if refresh else known, check)
            if known is not None and fresh["version"] != known["version"]:
                store.say(f"{kernel.name}: now {fresh['version']}, was {known['version']}")
            known = fresh
            store.remember(name, known)
            store.refreshed.add(name)
    entry = store.entry("source", known["key"])
    if entry is None:
        raise BuildError(f"{kernel.name}: its source vanished from the store; run it again")
    if isinstance(source, TarballSource):
        version, where = makefile_version(entry / TREE), f"tarball {source.name}"
    else:
        assert isinstance(source, DebianSource)  # no other is fetched
        version, where = known["version"], f"Debian {source.package} {known['version']}"
        where += f" ({source.suite})" if source.suite else ""
    told = {"source": where, "source_sha256": known["sha256"]}
    return ResolvedSource(version, known["sha256"], entry / TREE, known["key"], told)


def is_at_hand(kernel: Kernel, store: Store, check: Check | None = None) -> bool:
    """Whether `resolve` would answer without fetching anything."""
    if isinstance(kernel.source, (TreeSource, GitSource)):
        return True
    known = _known(kernel, store)
    return known is not None and store.entry("source", known["key"], check) is not None


def _known(kernel: Kernel, store: Store) -> dict[str, str] | None:
    """What is remembered of a fetched source, if it is still what was."""
    source, known = kernel.source, store.recall(_name(kernel))
    if known is None or not {"version", "sha256", "key"} <= known.keys():
        return None
    if isinstance(source, TarballSource):
        right = known["sha256"] == source.sha256 and known["key"] == tarball_key(source.sha256)
    else:
        assert isinstance(source, DebianSource)  # no other is fetched
        key = package_key(source.package, known["version"], known["sha256"])
        right = known["key"] == key
    return known if right else None


def _name(kernel: Kernel) -> str:
    """What a fetched source is remembered under. Raises BuildError: it has none."""
    source = kernel.source
    plain = split_spec(kernel.name)[0]  # patches and fragments are no reason to ask again
    if isinstance(source, DebianSource):
        return f"{plain} debian {source.package} {source.suite or ''}"
    if isinstance(source, TarballSource):
        return f"{plain} tarball {source.sha256}"
    raise InputError(f"kernel {kernel.name} has no source: it is a ready image")
