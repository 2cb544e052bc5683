"""Sources that are fetched: Debian packages and tarballs, unpacked as entries of the store."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from harness.build import BuildError, InputError
from harness.build.apt import Package, PrivateApt
from harness.build.archive import check_archive, extract_member, unpack_archive
from harness.build.entry import Check
from harness.build.store import Store
from harness.build.tools import digest, file_digest
from harness.build.tree import TREE, makefile_version, package_key, tarball_key
from harness.catalog.kernels import DebianSource, Kernel, TarballSource


def fetch(
    kernel: Kernel, store: Store, known: dict[str, str] | None, check: Check | None
) -> dict[str, str]:
    """What is to be remembered of a source that is in the store then: its `version` and `sha256`,
    and the `key` of the entry; `known` is what was remembered of it before.

    Raises BuildError.
    """
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
    where = f"suite {source.suite}" if source.suite else "the system's apt sources"
    store.say(f"{kernel.name}: asking {where} for {source.package}")
    with store.folder("apt", digest("apt", source.suite), f"package lists of {where}") as folder:
        apt = PrivateApt(folder.path, source.suite)
        apt.update()
        package = _choose(apt, source.package, known["version"] if known else "")
        if package is None:
            raise InputError(
                f"{kernel.name}: {where}: there is no package {source.package}; "
                "name another package or `suite` in kernels.yaml"
            )
        key = package_key(package.name, package.version, package.sha256)
        label = f"{package.name} {package.version}"
        fill = functools.partial(_fill_debian, apt=apt, package=package, store=store)
        store.create("source", key, fill, label, check=check)
    return {"version": package.version, "sha256": package.sha256, "key": key}


def _choose(apt: PrivateApt, name: str, version: str) -> Package | None:
    """The version that is remembered, if the mirror still has it; else the newest."""
    known = apt.find(name, version) if version else None
    return known or apt.find(name)


def _fill_debian(to: Path, apt: PrivateApt, package: Package, store: Store) -> None:
    scratch = to.parent / "fetch"
    scratch.mkdir()
    store.say(f"fetching {package.name} {package.version}")
    deb = apt.download(package, scratch)
    archive = scratch / f"{package.name}.tar.xz"
    extract_member(deb, f"./usr/src/{package.name}.tar.xz", archive)
    deb.unlink()
    store.say(f"unpacking {package.name} {package.version}")
    unpack(archive, to / TREE)


# -- tarballs --


def _fetch_tarball(
    kernel: Kernel, source: TarballSource, store: Store, check: Check | None
) -> dict[str, str]:
    key = tarball_key(source.sha256)

    def fill(to: Path) -> None:
        archive = source.path
        if archive is None:
            archive = to.parent / "fetch" / "archive"
            archive.parent.mkdir()
            store.say(f"{kernel.name}: fetching {source.url}")
            _download(source.url or "", archive)
        _check_sha256(archive, source)
        check_archive(archive)
        store.say(f"{kernel.name}: unpacking")
        unpack(archive, to / TREE)

    label = f"{kernel.name}: {source.name}"
    entry = store.create("source", key, fill, label, check=check)
    return {"version": makefile_version(entry / TREE), "sha256": source.sha256, "key": key}


def check_tarball(source: TarballSource, store: Store) -> None:
    """Look at a tarball that lies here and is not unpacked yet. Raises InputError."""
    known = store.entry("source", tarball_key(source.sha256)) is not None
    if source.path is not None and not known:
        _check_sha256(source.path, source)
        check_archive(source.path)


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
