"""Archives of source code: what is in one, and how it is unpacked so that no file leads outside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from harness.build import InputError
from harness.build.tools import clean_environment, need, output, walk
from harness.lifetime import session

_MAGIC = {  # first bytes -> the program tar reads them through, and its Debian package
    b"\xfd7zXZ\0": ("xz -T0", "xz-utils"),
    b"\x1f\x8b": ("gzip", "gzip"),
    b"BZh": ("bzip2", "bzip2"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd"),
}
_PROGRAMS = ", ".join(program.split()[0] for program, _ in _MAGIC.values())


def unpack_archive(archive: Path, to: Path) -> None:
    """Unpack a source archive, which has one folder at its top, as folder `to`.

    Nothing is written outside a folder beside `to`, whatever the archive says: GNU tar refuses
    names with `..`, strips leading slashes and makes links that lead outside only after
    everything else, and those are errors here. (It does so before it strips components of a name,
    which would make a new leading slash out of `top//x`: the top is taken off by a rename.)
    An error is a pipe or a device, too: who opens one waits, or has the device.
    Raises BuildError.
    """
    need("tar")
    scratch = to.with_name(f"{to.name}.unpacked")
    scratch.mkdir()
    try:
        output(
            ["tar", *_decompressor(archive), "--extract", "--no-same-owner",
             "--no-same-permissions", f"--directory={scratch}", f"--file={archive}",
             "--force-local"],
            failed=f"{archive.name} cannot be unpacked",
        )  # fmt: skip
    finally:  # or nobody but root can read, rename and remove it
        output(["chmod", "-R", "u+rwX", "--", str(scratch)], failed="cannot chmod what is unpacked")
    _only_folder(scratch, archive.name).rename(to)
    scratch.rmdir()
    _check_items(to, archive.name)  # where it stays: by its old name a link leads outside


def _only_folder(scratch: Path, name: str) -> Path:
    tops = sorted(scratch.iterdir())
    if len(tops) != 1 or tops[0].is_symlink() or not tops[0].is_dir():
        found = ", ".join(top.name for top in tops[:3]) or "nothing"
        more = f" and {len(tops) - 3} more" if len(tops) > 3 else ""
        raise InputError(f"{name}: expected one folder at its top, found {found}{more}")
    return tops[0]


def _decompressor(archive: Path) -> list[str]:
    with open(archive, "rb") as file:
        first = file.read(8)
    for magic, (program, package) in _MAGIC.items():
        if first.startswith(magic):
            need(program.split()[0], {program.split()[0]: package})
            return [f"--use-compress-program={program}"]
    return []


def _check_items(tree: Path, name: str) -> None:
    top = tree.resolve()
    for item in walk(tree):
        inside = item.path[len(str(tree)) + 1 :]
        if item.is_symlink():  # by way of other links, too
            if top not in Path(os.path.realpath(item.path)).parents:
                raise InputError(f"{name}: the link {inside} leads outside")
        elif not item.is_file(follow_symlinks=False):
            raise InputError(f"{name}: {inside} is neither file, folder nor link")


def check_archive(archive: Path) -> None:
    """Whether tar finds a file in it, without reading it all. Raises InputError."""
    need("tar")
    listing = ["tar", *_decompressor(archive), "--list", f"--file={archive}", "--force-local"]
    with session(listing, stderr=subprocess.DEVNULL, env=clean_environment()) as tar:
        assert tar.stdout is not None
        first = tar.stdout.readline()
        tar.kill()
    if not first:
        raise InputError(f"{archive}: expected a tar archive, plain or by {_PROGRAMS}")


def extract_member(deb: Path, member: str, to: Path) -> None:
    """Copy one file out of a .deb: `dpkg-deb --fsys-tarfile DEB | tar -xO MEMBER`.

    Raises InputError where it has no such file.
    """
    need("tar")
    env = clean_environment()
    with (
        open(to, "wb") as out,
        session(["dpkg-deb", "--fsys-tarfile", str(deb)], env=env, stderr=None) as reader,
        session(
            ["tar", "--extract", "--to-stdout", "--file=-", "--", member], env=env,
            stdin=reader.stdout, stdout=out, stderr=subprocess.PIPE,
        ) as tar,
    ):  # fmt: skip
        assert reader.stdout is not None
        _, errors = tar.communicate()
        reader.stdout.close()  # after an early end of tar, dpkg-deb must not wait for a reader
    if tar.returncode != 0 or to.stat().st_size == 0:
        raise InputError(
            f"{deb.name} has no {member}: is it a linux-source-X package (with a version)?",
            excerpt=errors.decode(errors="replace").splitlines()[-3:],
        )
