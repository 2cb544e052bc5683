"""Kernel sources: what a declared kernel resolves to, unpacked in the store or on disk.

A name resolves once: package version, checksum and store key are remembered, and a warm run
asks neither network nor apt while the source is in the store. Evidence is looked up there, so
one that was pruned is fetched again. `refresh` resolves anew. A source entry holds `linux/`, the
tree, and nothing else; `patches.py` makes the entries of patched trees from it. A user's tree is
built where it lies and never written to; a revision of their repository is unpacked into the
store.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.build import BuildError, InputError
from harness.build.apt import Package, PrivateApt
from harness.build.entry import Check
from harness.build.git import Repository, find_repository, open_repository
from harness.build.store import Store
from harness.build.tools import clean_environment, digest, file_digest, need, output, walk
from harness.catalog.kernels import (
    DebianSource,
    GitSource,
    Kernel,
    TarballSource,
    TreeSource,
    split_spec,
)

RECIPE = 1  # raise it when the same source would be unpacked differently
TREE = "linux"  # the tree's folder in a source entry
_MAGIC = {  # first bytes -> the program tar reads them through, and its Debian package
    b"\xfd7zXZ\0": ("xz -T0", "xz-utils"),
    b"\x1f\x8b": ("gzip", "gzip"),
    b"BZh": ("bzip2", "bzip2"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd"),
}
_PROGRAMS = ", ".join(program.split()[0] for program, _ in _MAGIC.values())


@dataclass(frozen=True)
class ResolvedSource:
    """One exact version of a kernel's source."""

    version: str  # "6.12.117-1~deb12u1" of a package, "6.13.0-rc2" of a tree's Makefile
    digest: str  # equal digests are equal sources
    tree: Path  # the unpacked tree; a user's own is never written to
    key: str = ""  # of the store's `source` entry; "" for a user's tree
    provenance: dict[str, str] = field(default_factory=dict)


def resolve(
    kernel: Kernel, store: Store, refresh: bool = False, check: Check | None = None
) -> ResolvedSource:
    """The source of a kernel, fetched and unpacked if it is not yet. Raises BuildError.

    `refresh` asks anew for the newest version; `check` is how well an entry that is there is
    looked at (see store.py): "quick" before a build.
    """
    source = kernel.source
    if isinstance(source, TreeSource):
        tree = resolve_tree(source.path, store)
        # kbuild refuses a source folder with spaces or colons in its path.
        copied = kernel.patches or re.search(r"[\s:]", os.path.realpath(tree.tree))
        return _snapshot(tree, store, check) if copied else tree
    if isinstance(source, GitSource):
        return _resolve_git(source, store, check)
    name = _name(kernel)
    refresh = refresh and name not in store.refreshed
    with store.name_lock(name):
        known = store.recall(name)
        if known is None or refresh or store.entry("source", known["key"], check) is None:
            fresh = _fetch(kernel, store, None if refresh else known, check)
            if known is not None and fresh["version"] != known["version"]:
                store.say(f"{kernel.name}: now {fresh['version']}, was {known['version']}")
            known = fresh
            store.remember(name, known)
            store.refreshed.add(name)
    entry = store.entry("source", known["key"])
    if entry is None:
        raise BuildError(f"{kernel.name}: its source vanished from the store; run it again")
    return ResolvedSource(
        known["version"], known["sha256"], entry / TREE, known["key"],
        {"source": known["source"], "source_sha256": known["sha256"]},
    )  # fmt: skip


def is_at_hand(kernel: Kernel, store: Store) -> bool:
    """Whether `resolve` would answer without fetching anything."""
    if isinstance(kernel.source, (TreeSource, GitSource)):
        return True
    known = store.recall(_name(kernel))
    return known is not None and store.entry("source", known["key"]) is not None


def _name(kernel: Kernel) -> str:
    """What a fetched source is remembered under. Raises BuildError: it has none."""
    source = kernel.source
    plain = split_spec(kernel.name)[0]  # patches and fragments are no reason to ask again
    if isinstance(source, DebianSource):
        return f"{plain} debian {source.package} {source.suite or ''}"
    if isinstance(source, TarballSource):
        return f"{plain} tarball {source.sha256}"
    raise InputError(f"kernel {kernel.name} has no source: it is a ready image")


def _fetch(
    kernel: Kernel, store: Store, known: dict[str, str] | None, check: Check | None
) -> dict[str, str]:
    if isinstance(kernel.source, DebianSource):
        return _fetch_debian(kernel, kernel.source, store, known, check)
    assert isinstance(kernel.source, TarballSource)
    return _fetch_tarball(kernel, kernel.source, store, check)


# -- Debian packages --


def _fetch_debian(
    kernel: Kernel,
    source: DebianSource,
    store: Store,
    known: dict[str, str] | None,
    check: Check | None,
) -> dict[str, str]:
    """A version that is remembered, if the mirror still has it; else the newest."""
    where = f"suite {source.suite}" if source.suite else "the system's apt sources"
    store.say(f"{kernel.name}: asking {where} for {source.package}")
    with store.folder("apt", digest("apt", source.suite), f"package lists of {where}") as folder:
        apt = PrivateApt(folder.path, source.suite)
        apt.update()
        package = apt.find(source.package, known["version"]) if known else None
        package = package or apt.find(source.package)
        if package is None:
            raise InputError(
                f"{kernel.name}: {where}: there is no package {source.package}; "
                "name another package or `suite` in kernels.yaml"
            )
        found = package
        key = digest("source", RECIPE, "debian", found.name, found.version, found.sha256)
        label = f"{found.name} {found.version}"
        store.create(
            "source", key, lambda to: _fill_debian(to, apt, found, store), label, check=check
        )
    return {
        "version": package.version,
        "sha256": package.sha256,
        "key": key,
        "source": f"Debian {label}" + (f" ({source.suite})" if source.suite else ""),
    }


def _fill_debian(to: Path, apt: PrivateApt, package: Package, store: Store) -> None:
    scratch = to.parent / "fetch"
    scratch.mkdir()
    store.say(f"fetching {package.name} {package.version}")
    deb = apt.download(package, scratch)
    archive = scratch / f"{package.name}.tar.xz"
    _extract_archive(deb, f"./usr/src/{package.name}.tar.xz", archive)
    deb.unlink()
    store.say(f"unpacking {package.name} {package.version}")
    unpack(archive, to / TREE)


def _extract_archive(deb: Path, member: str, archive: Path) -> None:
    """Copy one file out of a .deb: `dpkg-deb --fsys-tarfile DEB | tar -xO MEMBER`."""
    with (
        open(archive, "wb") as out,
        subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE, env=clean_environment()
        ) as reader,
    ):
        tar = subprocess.run(
            ["tar", "--extract", "--to-stdout", "--file=-", "--", member],
            stdin=reader.stdout, stdout=out, stderr=subprocess.PIPE, env=clean_environment(),
        )  # fmt: skip
        assert reader.stdout is not None
        reader.stdout.close()  # after an early end of tar, dpkg-deb must not wait for a reader
    if tar.returncode != 0 or archive.stat().st_size == 0:
        raise InputError(
            f"{deb.name} has no {member}: is it a linux-source-X package (with a version)?",
            excerpt=tar.stderr.decode(errors="replace").splitlines()[-3:],
        )


# -- tarballs --


def _fetch_tarball(
    kernel: Kernel, source: TarballSource, store: Store, check: Check | None
) -> dict[str, str]:
    key = _tarball_key(source)

    def fill(to: Path) -> None:
        archive = source.path
        if archive is None:
            archive = to.parent / "fetch" / "archive"
            archive.parent.mkdir()
            store.say(f"{kernel.name}: fetching {source.url}")
            _download(source.url or "", archive)
        _check_sha256(archive, source)
        _check_archive(archive)
        store.say(f"{kernel.name}: unpacking")
        unpack(archive, to / TREE)

    name = source.path.name if source.path else (source.url or "").rpartition("/")[2]
    entry = store.create("source", key, fill, f"{kernel.name}: {name}", check=check)
    return {
        "version": makefile_version(entry / TREE),
        "sha256": source.sha256,
        "key": key,
        "source": f"tarball {name}",
    }


def check_tarball(source: TarballSource, store: Store) -> None:
    """Look at a tarball that lies here and is not unpacked yet. Raises InputError."""
    known = store.entry("source", _tarball_key(source)) is not None
    if source.path is not None and not known:
        _check_sha256(source.path, source)
        _check_archive(source.path)


def _check_archive(archive: Path) -> None:
    """Whether tar finds a file in it, without reading it all. Raises InputError."""
    need("tar")
    listing = ["tar", *_decompressor(archive), "--list", f"--file={archive}", "--force-local"]
    with subprocess.Popen(
        listing, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=clean_environment(),
    ) as tar:  # fmt: skip
        assert tar.stdout is not None
        first = tar.stdout.readline()
        tar.kill()
    if not first:
        raise InputError(f"{archive}: expected a tar archive, plain or by {_PROGRAMS}")


def _tarball_key(source: TarballSource) -> str:
    return digest("source", RECIPE, "tarball", source.sha256)


def _download(url: str, to: Path) -> None:
    from http.client import HTTPException  # and TLS with it: most runs fetch nothing
    from urllib import error, request

    if not url.startswith(("https://", "http://", "file:///")):
        raise InputError(f"{url}: expected an https, http or file URL")
    try:
        with request.urlopen(url, timeout=60) as answer, open(to, "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
    except (error.URLError, HTTPException, TimeoutError, ConnectionError) as why:
        raise BuildError(f"cannot fetch {url}: {why}") from why


def _check_sha256(archive: Path, source: TarballSource) -> None:
    try:
        found = file_digest(archive)
    except OSError as error:
        hint = "give `path` a file that is there, or `url`"
        raise InputError(f"cannot read {archive}: {error.strerror}: {hint}") from error
    if found != source.sha256:
        name = source.url or archive
        raise InputError(f"{name}: its sha256 is {found}, declared is {source.sha256}")


def unpack(archive: Path, to: Path) -> None:
    """Unpack a kernel's source archive as folder `to`. Raises BuildError."""
    unpack_archive(archive, to)
    try:
        makefile_version(to)
    except BuildError as error:
        raise InputError(
            f"{archive.name} is no kernel source: expected one folder with the kernel's Makefile "
            f"in it ({error.message.rpartition(': ')[2]})"
        ) from None


def unpack_archive(archive: Path, to: Path) -> None:
    """Unpack a source archive, which has one folder at its top, as folder `to`.

    Nothing is written outside `to`, whatever the archive says: GNU tar refuses names with `..`,
    strips leading slashes and makes links that lead outside only after everything else, and
    those are errors here. Raises BuildError.
    """
    need("tar")
    to.mkdir()
    output(
        ["tar", *_decompressor(archive), "--extract", "--no-same-owner",
         "--no-same-permissions", "--strip-components=1", f"--directory={to}",
         f"--file={archive}", "--force-local"],
        failed=f"{archive.name} cannot be unpacked",
        long=True,
    )  # fmt: skip
    _check_links(to, archive.name)


def _decompressor(archive: Path) -> list[str]:
    with open(archive, "rb") as file:
        first = file.read(8)
    for magic, (program, package) in _MAGIC.items():
        if first.startswith(magic):
            need(program.split()[0], {program.split()[0]: package})
            return [f"--use-compress-program={program}"]
    return []


def _check_links(tree: Path, name: str) -> None:
    top = str(tree)
    for item in walk(tree):
        if item.is_symlink():
            target = os.path.normpath(Path(item.path).parent / Path(item.path).readlink())
            if not target.startswith(top + "/"):
                raise InputError(f"{name}: the link {item.path[len(top) + 1 :]} leads outside")


# -- trees --


def makefile_version(tree: Path, name: str = "") -> str:
    """X.Y.Z with EXTRAVERSION, from a kernel tree's Makefile; `name` is what users call the tree.
    Raises BuildError.
    """
    name = name or str(tree)
    try:
        with open(tree / "Makefile", errors="replace") as file:
            head = file.read(4000)
    except OSError as error:
        raise InputError(f"{name} is no kernel tree: Makefile: {error.strerror}") from error
    found: dict[str, str] = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(\S*)[ \t]*$", head, re.MULTILINE))
    numbers = [found.get(name, "") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if not all(number.isdigit() for number in numbers):
        raise InputError(f"{name} is no kernel tree: its Makefile has no VERSION = number")
    return ".".join(numbers) + found.get("EXTRAVERSION", "")


def resolve_tree(path: Path, store: Store) -> ResolvedSource:
    """A user's own tree as it is now. Raises BuildError."""
    tree = path.expanduser().resolve()  # one name, else one object folder for each way to say it
    if not tree.is_dir():
        raise InputError(f"tree:{path}: there is no such folder")
    version = makefile_version(tree)
    if not os.access(tree / "Kconfig", os.R_OK):
        raise InputError(f"tree:{path}: its Kconfig is not readable: is it a kernel tree?")
    used = [name for name in (".config", "include/config") if (tree / name).exists()]
    used += [str(item.relative_to(tree)) for item in tree.glob("arch/*/include/generated")]
    if used:
        raise InputError(
            f"tree:{path} was built in place ({used[0]} is there); kernels are built outside of "
            "it, which needs a clean tree: run `make mrproper` in it (save .config first)"
        )
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


def _readable_repository(tree: Path) -> Repository | None:
    """None as well for another user's repository, which git refuses, and one without a commit."""
    try:
        repository = find_repository(tree)
        if repository is not None:
            repository.commit("HEAD")
    except BuildError:
        return None
    return repository


def _git_digest(content: str) -> str:
    return digest("git", content)  # of files alone: a commit of what was built changes nothing


def _provenance(
    repository: Repository, rev: str, dirty: bool = False
) -> tuple[str, dict[str, str]]:
    """What a revision adds to the version, and where a source comes from."""
    commit = repository.commit(rev)
    changed = " with changes" if dirty else ""
    told = {"source": f"{repository.path}, commit {commit[:12]}{changed}", "commit": commit}
    return repository.describe(commit) + ("-dirty" if dirty else ""), told


def _resolve_git(source: GitSource, store: Store, check: Check | None) -> ResolvedSource:
    repository = open_repository(source.path)
    local, where = _provenance(repository, source.rev)
    content = repository.tree(where["commit"])
    return _unpack_git(repository, content, local, where, store, check)


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


def _snapshot(tree: ResolvedSource, store: Store, check: Check | None) -> ResolvedSource:
    """A copy of a user's tree in the store, for what must not be done in the tree itself."""
    where = {k: v for k, v in tree.provenance.items() if k != "source_digest"}
    if content := where.get("git_tree"):
        local = tree.version.removeprefix(makefile_version(tree.tree))
        return _unpack_git(open_repository(tree.tree), content, local, where, store, check)
    key = digest("source", RECIPE, "copy", tree.digest)

    def fill(to: Path) -> None:
        store.say(f"{tree.tree}: copying")
        shutil.copytree(tree.tree, to / TREE, symlinks=True, ignore=_not_source)

    entry = store.create("source", key, fill, where["source"], check=check)
    return replace(tree, tree=entry / TREE, key=key)


def _cheap_digest(tree: Path) -> str:
    """A digest of names, sizes and mtimes: an edit changes it, reading everything is slow."""
    return digest("tree", listing(tree))


Listing = list[tuple[str, int, int]]
"""(path in the tree, size in bytes, mtime in ns) of every file, sorted."""


def listing(tree: Path) -> Listing:
    """The files of a tree that could be source. Raises BuildError."""
    found: Listing = []
    top = len(str(tree)) + 1

    def look(folder: str) -> None:
        with os.scandir(folder) as items:
            entries = list(items)
        skipped = _not_source(folder, [item.name for item in entries])
        for item in entries:
            if item.name in skipped:
                continue
            if item.is_dir(follow_symlinks=False):
                look(item.path)
            else:
                stat = item.stat(follow_symlinks=False)
                found.append((item.path[top:], stat.st_size, stat.st_mtime_ns))

    try:
        look(str(tree))
    except OSError as error:
        raise BuildError(f"cannot read {error.filename}: {error.strerror}") from error
    return sorted(found)


def _not_source(folder: str, names: list[str]) -> set[str]:
    """Names in a folder that no make reads: git's own, and all where .gitignore says `*`, such
    as a folder of results.
    """
    if ".gitignore" in names:
        try:
            if Path(folder, ".gitignore").read_bytes().strip() == b"*":
                return set(names)
        except OSError:
            pass
    return {".git"} & set(names)
