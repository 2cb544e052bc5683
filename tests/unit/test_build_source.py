"""Sources: packages through apt, trees; names remembered."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.build import BuildError
from harness.build.apt import source_options
from harness.build.own_tree import resolve_tree
from harness.build.prune import prune
from harness.build.source import is_at_hand, resolve
from harness.build.store import Store
from harness.build.tree import makefile_version
from harness.catalog.kernels import DebianSource, ImageSource, Kernel, TreeSource
from tests.unit.build_fakes import fake_apt, fake_deb, fake_tree, flip_unseen, git

PACKAGE = "linux-source-6.12"
MIRROR = "http://mirror.test/debian/"
SECURITY = "http://mirror.test/debian-security/"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> Store:
    return Store(tmp_path / "store", said.append)


class FakeDebian:
    """A system with apt, a mirror and one source package."""

    def __init__(self, home: Path, tree: Path) -> None:
        self.home = fake_apt(home)
        self.sources = home / "debian.sources"
        self.sources.write_text(
            "# main\nTypes: deb\n# a comment within\nURIs: http://mirror.test/debian\n"
            "Suites: bookworm bookworm-updates\nComponents: main\n"
            "Signed-By: /usr/share/keyrings/debian.gpg\n\n"
            "Types: deb\nURIs: http://mirror.test/debian-security\nSuites: bookworm-security\n"
            "Components: main\nSigned-By:\n -----BEGIN PGP-----\n .\n abc\n -----END PGP-----\n"
        )
        entry, other = f"{self.sources}:1", f"{home}/other.list:1"
        self.state: dict[str, object] = {
            "targets": [
                [MIRROR, "bookworm", "main", entry, "Debian"],
                [MIRROR, "bookworm-updates", "main", entry, ""],
                [SECURITY, "bookworm-security", "main", f"{self.sources}:2", "Debian"],
                ["http://third.test/debian/", "stable", "main", other, "Third"],
            ],
        }
        fake_deb(tree, PACKAGE, home / "archive.deb")
        self.offer("6.12.117-1~deb12u1")

    def offer(self, version: str) -> None:
        self.set(packages={PACKAGE: version})

    def set(self, **fields: object) -> None:
        self.state |= fields
        (self.home / "state.json").write_text(json.dumps(self.state))

    def calls(self) -> list[str]:
        path = self.home / "calls"
        calls = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return calls


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDebian:
    found = FakeDebian(tmp_path / "apt", fake_tree(tmp_path / "linux-source"))
    monkeypatch.setenv("PATH", f"{found.home}:{os.environ['PATH']}")
    return found


KERNEL = Kernel("debian-6.12", DebianSource(PACKAGE))


def test_a_package_is_fetched_once_and_remembered(debian: FakeDebian, store: Store) -> None:
    found = resolve(KERNEL, store)
    assert found.version == "6.12.117-1~deb12u1"
    assert found.provenance["source"] == f"Debian {PACKAGE} 6.12.117-1~deb12u1"
    assert makefile_version(found.tree) == "6.12.117"
    assert any("download" in call for call in debian.calls())
    assert resolve(KERNEL, store) == found
    assert resolve(KERNEL, Store(store.root)) == found
    assert debian.calls() == []
    assert list((store.root / "v1" / "tmp").iterdir()) == []


@pytest.mark.parametrize("part", ["{", "version", "6.12.117", "sha256", "key"])
def test_a_flipped_bit_in_what_is_remembered_is_not_believed(
    debian: FakeDebian, store: Store, part: str
) -> None:
    """Else another version would choose other rows."""
    found = resolve(KERNEL, store)
    [name] = (store.root / "v1" / "names").glob("*.json")
    for place in (name.read_text().index(part), name.read_text().index(part) + len(part) + 5):
        flip_unseen(name, place)
        assert resolve(KERNEL, Store(store.root)) == found


def test_a_patch_or_a_fragment_is_no_reason_to_ask_again(debian: FakeDebian, store: Store) -> None:
    first = resolve(KERNEL, store)
    assert debian.calls()
    assert resolve(replace(KERNEL, name="debian-6.12+patch:a+config:b"), store) == first
    assert debian.calls() == []


def test_apt_is_private_and_third_parties_are_left_out(debian: FakeDebian, store: Store) -> None:
    resolve(KERNEL, store)
    sources = (debian.home / "sources").read_text()
    assert "third.test" not in sources
    assert "Suites: bookworm bookworm-updates\n" in sources
    assert "Signed-By: /usr/share/keyrings/debian.gpg\n" in sources
    assert "Signed-By: \n -----BEGIN PGP-----\n .\n abc\n" in sources
    configuration = (debian.home / "conf").read_text()
    assert 'Acquire::http::Proxy "http://proxy.test";' in configuration
    assert "Invoke" not in configuration
    assert f'Dir::State "{store.root}' in configuration
    (path,) = store.root.rglob("apt.conf")
    assert path.stat().st_mode & 0o077 == 0


def test_a_suite_takes_the_systems_mirror(debian: FakeDebian, store: Store) -> None:
    resolve(Kernel("k", DebianSource(PACKAGE, "sid")), store)
    sources = (debian.home / "sources").read_text()
    assert "URIs: http://mirror.test/debian/\nSuites: sid\nComponents: main\n" in sources
    assert "bookworm" not in sources and "keyrings/debian.gpg" in sources
    resolve(Kernel("k", DebianSource(PACKAGE, "bullseye-security")), store)
    sources = (debian.home / "sources").read_text()
    assert "URIs: http://mirror.test/debian-security/\nSuites: bullseye-security\n" in sources


def test_refresh_asks_anew_once_and_says_what_changed(
    debian: FakeDebian, store: Store, said: list[str]
) -> None:
    resolve(KERNEL, store)
    debian.offer("6.12.118-1")
    debian.calls()
    assert resolve(KERNEL, store).version == "6.12.117-1~deb12u1"
    again = Store(store.root, said.append)
    assert resolve(KERNEL, again, refresh=True).version == "6.12.118-1"
    assert "debian-6.12: now 6.12.118-1, was 6.12.117-1~deb12u1" in said
    debian.calls()
    assert resolve(KERNEL, again, refresh=True).version == "6.12.118-1"
    assert debian.calls() == []


def test_a_pruned_source_is_fetched_again(
    debian: FakeDebian, store: Store, said: list[str]
) -> None:
    first = resolve(KERNEL, store)
    assert is_at_hand(KERNEL, store)
    prune(store)
    assert not is_at_hand(KERNEL, store)
    assert resolve(KERNEL, store) == first
    assert not any("now" in line for line in said)
    prune(store)
    debian.offer("6.12.118-1")  # the mirror has moved on
    assert resolve(KERNEL, store).version == "6.12.118-1"
    assert any("was 6.12.117" in line for line in said)


def test_what_apt_says_comes_through(debian: FakeDebian, store: Store) -> None:
    with pytest.raises(BuildError, match="there is no package linux-source-5"):
        resolve(Kernel("k", DebianSource("linux-source-5")), store)
    with pytest.raises(BuildError, match="no name of a Debian package"):
        resolve(Kernel("k", DebianSource("--option")), store)
    with pytest.raises(BuildError, match="no name of a suite"):
        resolve(Kernel("k", DebianSource(PACKAGE, "sid\nURIs: http://evil.test")), store)
    debian.set(update=100)
    with pytest.raises(BuildError, match="could not fetch the package lists"):
        resolve(KERNEL, store)
    debian.set(update=0, targets=[])
    with pytest.raises(BuildError, match="name no Debian mirror"):
        resolve(KERNEL, store)


def test_an_unread_release_file_does_not_hide_the_mirror(debian: FakeDebian, store: Store) -> None:
    targets = [[*target[:4], ""] for target in debian.state["targets"]]  # type: ignore[attr-defined]
    debian.set(targets=targets[:3])
    resolve(KERNEL, store)
    assert "mirror.test/debian/" in (debian.home / "sources").read_text()


def test_a_package_without_the_archive_is_told(debian: FakeDebian, store: Store) -> None:
    with tarfile.open(debian.home / "archive.deb", "w"):
        pass
    with pytest.raises(BuildError, match=r"has no \./usr/src/linux-source-6\.12\.tar\.xz"):
        resolve(KERNEL, store)


def test_one_line_sources_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sources.list"
    path.write_text(
        "# deb http://mirror.test/debian bookworm main\n"
        "deb [ arch=amd64 signed-by=/k/a.gpg,/k/b.gpg trusted=yes ] http://mirror.test/debian "
        "bookworm main contrib\ndeb-src http://mirror.test/debian bookworm main\n"
    )
    options = source_options(path, MIRROR)
    assert options == {"Signed-By": "/k/a.gpg /k/b.gpg", "Trusted": "yes"}
    assert source_options(path, "http://else.test/") == {}
    assert source_options(tmp_path / "none.list", MIRROR) == {}


# -- trees --


def test_a_tree_by_its_git_state(tmp_path: Path, store: Store) -> None:
    tree = fake_tree(tmp_path / "tree")
    git(tree, "init")
    git(tree, "add", ".")
    git(tree, "commit", "-m", "all")
    kernel = Kernel(f"tree:{tree}", TreeSource(tree))
    seen = {resolve(kernel, store).digest}
    os.utime(tree / "text")
    assert resolve(kernel, store).digest in seen  # content decides
    assert "with changes" not in resolve(kernel, store).provenance["source"]
    (tree / "text").write_text("changed")
    seen.add(resolve(kernel, store).digest)
    assert "with changes" in resolve(kernel, store).provenance["source"]
    (tree / "new.c").write_text("int x;")
    seen.add(resolve(kernel, store).digest)
    (tree / "new.c").write_text("int y;")
    seen.add(resolve(kernel, store).digest)
    git(tree, "add", ".")
    git(tree, "commit", "-m", "more")
    seen.add(resolve(kernel, store).digest)
    assert len(seen) == 4  # content decides: a commit of what was there changes nothing
    assert "with changes" not in resolve(kernel, store).provenance["source"]
    assert resolve(kernel, store).key == "" and resolve(kernel, store).tree == tree


def test_a_tree_without_git_by_names_sizes_and_times(tmp_path: Path, store: Store) -> None:
    tree = fake_tree(tmp_path / "tree")
    first = resolve_tree(tree, store).digest
    assert resolve_tree(tree, store).digest == first
    os.utime(tree / "text", (1, 1))
    second = resolve_tree(tree, store).digest
    (tree / "text").write_text("other")
    os.utime(tree / "text", (1, 1))
    assert len({first, second, resolve_tree(tree, store).digest}) == 3


def test_a_tree_that_changes_while_it_is_copied_is_not_kept(tmp_path: Path) -> None:
    tree = fake_tree(tmp_path / "a tree")  # kbuild refuses the blank: a copy is built

    def edit(line: str) -> None:
        if line.endswith(": copying"):
            (tree / "text").write_text("edited meanwhile\n")

    store = Store(tmp_path / "store", edit)
    kernel = Kernel("t", TreeSource(tree))
    with pytest.raises(BuildError, match="was changed while it was copied"):
        resolve(kernel, store)
    assert (resolve(kernel, Store(store.root)).tree / "text").read_text() == "edited meanwhile\n"


def test_trees_that_cannot_be_built(tmp_path: Path, store: Store) -> None:
    with pytest.raises(BuildError, match="there is no such folder"):
        resolve_tree(tmp_path / "none", store)
    with pytest.raises(BuildError, match="is no kernel tree"):
        resolve_tree(tmp_path, store)
    tree = fake_tree(tmp_path / "tree")
    (tree / ".config").write_text("")
    with pytest.raises(BuildError, match="make mrproper"):
        resolve_tree(tree, store)
    (tree / ".config").unlink()
    (tree / "arch" / "m68k" / "include" / "generated").mkdir(parents=True)
    with pytest.raises(BuildError, match="arch/m68k/include/generated"):
        resolve_tree(tree, store)
    (tree / "Makefile").write_text("all:\n")
    with pytest.raises(BuildError, match="no VERSION"):
        resolve_tree(tree, store)


def test_an_image_has_no_source(store: Store) -> None:
    with pytest.raises(BuildError, match="has no source"):
        resolve(Kernel("image:x", ImageSource(Path("x"))), store)


def test_makefile_versions(tmp_path: Path) -> None:
    text = "VERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 0\nEXTRAVERSION = -rc3\nNAME = A B\n"
    (tmp_path / "Makefile").write_text(text)
    assert makefile_version(tmp_path) == "7.2.0-rc3"
