"""`faultline doctor`: what this machine has and lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.common import open_project, open_store
from harness.cli.options import arches_option, store_option
from harness.stdout import whoever_reads


@click.command()
@arches_option
@store_option
def command(arches: tuple[str, ...], store_path: Path | None) -> None:
    """What is missing on this machine, each tool's version, and whether KVM really works.

    Exits 0 when everything is there, 3 when something is missing.
    """
    from harness.doctor import examine

    project = open_project(store_path)
    chosen = [project.arch(name) for name in arches] or project.plain_arches

    def say(line: str) -> None:
        with whoever_reads():
            click.echo(line)

    sys.exit(examine(project, chosen, open_store(store_path), say))
