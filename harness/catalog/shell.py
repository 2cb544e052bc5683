"""Where the shell of guests comes from: shell/shell.yaml."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

from harness.catalog.yamlfile import load

FOLDER = "shell"


class ShellSource(Struct, frozen=True):
    """A Debian source package, one version of it, and the fragment it is configured by."""

    package: str
    version: str  # upstream's
    suite: str
    sha256: str  # of the .orig archive
    config: Path

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def load_shell(root: Path) -> ShellSource:
    """Read the declaration. Raises DeclarationError."""
    fields = load(root / FOLDER / "shell.yaml", root).record(
        required=("package", "version", "suite", "sha256", "config")
    )
    if not re.fullmatch(r"[0-9a-f]{64}", fields["sha256"].text()):
        raise fields["sha256"].error("expected 64 lower-case hex digits, as sha256sum prints")
    config = root / FOLDER / fields["config"].text()
    if not config.is_file():
        raise fields["config"].error(f"there is no {FOLDER}/{config.name}")
    return ShellSource(
        package=fields["package"].text(),
        version=fields["version"].text(),
        suite=fields["suite"].text(),
        sha256=fields["sha256"].text(),
        config=config,
    )
