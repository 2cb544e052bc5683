"""The shell of guests: what is declared is fetched, checked, configured and compiled, once."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from harness.build import BuildError, shell
from harness.build.shell import build_shell
from harness.build.store import Store
from harness.build.tools import file_digest
from harness.catalog.project import load_project
from harness.catalog.shell import ShellSource, load_shell
from harness.catalog.yamlfile import DeclarationError

ROOT = Path(__file__).parents[2]

# As busybox's: all symbols in a .config of nothing; what is new is asked for.
MAKEFILE = """\
allnoconfig:
\tprintf '# CONFIG_%s is not set\\n' ASH FEATURE_ASH_X CAT > $(O)/.config
\tprintf 'CONFIG_EXTRA_CFLAGS=""\\nCONFIG_EXTRA_LDFLAGS=""\\n' >> $(O)/.config
oldconfig:
\tsed -i '/CONFIG_UNKNOWN/d' $(O)/.config
\tgrep -q FEATURE_ASH_X $(O)/.config || { read answer; echo "CONFIG_FEATURE_ASH_X=y$$answer"; } \\
\t\t>> $(O)/.config
busybox:
\t{ echo $(CROSS_COMPILE)gcc; grep CONFIG $(O)/.config; } > $(O)/busybox
"""


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A mirror with one source package; what was asked of it."""
    tree = tmp_path / "busybox-1.0"
    tree.mkdir()
    (tree / "Makefile").write_text(MAKEFILE)
    archive = tmp_path / "busybox_1.0.orig.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, tree.name)
    asked: list[str] = []

    class FakeApt:
        def __init__(self, folder: Path, suite: str, sources: bool) -> None:
            asked.append(f"{suite} {sources}")

        def update(self) -> None: ...

        def download_source(self, name: str, folder: Path) -> Path:
            asked.append(name)
            return Path(shutil.copy(archive, folder))

    monkeypatch.setattr(shell, "PrivateApt", FakeApt)
    return asked


def source(tmp_path: Path, config: str = "CONFIG_ASH=y\n") -> ShellSource:
    fragment = tmp_path / "busybox.config"
    fragment.write_text(config)
    sha256 = file_digest(tmp_path / "busybox_1.0.orig.tar.gz")
    return ShellSource("busybox", "1.0", "bookworm", sha256, fragment)


def test_it_is_made_once_of_what_is_declared(tmp_path: Path, fetched: list[str]) -> None:
    store, arch = Store(tmp_path / "store"), load_project(ROOT).arch("x86_64")
    made = build_shell(source(tmp_path), arch, store)
    text = made.read_text()
    assert "CONFIG_ASH=y\n" in text
    assert "# CONFIG_CAT is not set\n" in text
    assert "CONFIG_FEATURE_ASH_X=y\n" in text  # a feature has its default
    assert text.count("CONFIG_EXTRA_CFLAGS") == 1
    assert build_shell(source(tmp_path), arch, store) == made
    assert fetched == ["bookworm True", "busybox"]
    other = build_shell(source(tmp_path, "CONFIG_ASH=y\nCONFIG_CAT=y\n"), arch, store)
    assert other != made
    assert len(fetched) == 2  # the archive stays


def test_what_does_not_survive_and_what_is_another_archive(
    tmp_path: Path, fetched: list[str]
) -> None:
    store, arch = Store(tmp_path / "store"), load_project(ROOT).arch("x86_64")
    with pytest.raises(BuildError, match="not there") as caught:
        build_shell(source(tmp_path, "CONFIG_UNKNOWN=y\n"), arch, store)
    assert "CONFIG_UNKNOWN=y did not survive" in caught.value.excerpt[0]
    wrong = ShellSource("busybox", "1.0", "bookworm", "0" * 64, tmp_path / "busybox.config")
    with pytest.raises(BuildError, match=r"declares 0{64} for 1\.0"):
        build_shell(wrong, arch, store)


def test_the_declaration_is_read_and_checked(tmp_path: Path) -> None:
    assert str(load_shell(ROOT)) == "busybox 1.35.0"
    (tmp_path / "shell").mkdir()
    declared = (ROOT / "shell" / "shell.yaml").read_text()
    (tmp_path / "shell" / "shell.yaml").write_text(declared)
    with pytest.raises(DeclarationError, match=r"there is no shell/busybox\.config"):
        load_shell(tmp_path)
    (tmp_path / "shell" / "shell.yaml").write_text(declared.replace("sha256: f", "sha256: x"))
    with pytest.raises(DeclarationError, match="64 lower-case hex digits"):
        load_shell(tmp_path)
