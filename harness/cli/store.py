"""`faultline store`: the folder of sources and builds."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.common import UsageProblem, open_store
from harness.cli.options import store_option
from harness.stdout import whoever_reads

if TYPE_CHECKING:
    from harness.build.prune import Entry


# What the builders keep, each under its kind; a test holds this against them.
KINDS = (
    "apt",
    "archive",
    "bisect",
    "disk",
    "git",
    "guest",
    "initramfs",
    "kept",
    "kernel",
    "logs",
    "module",
    "objects",
    "prepared",
    "shell",
    "snapshot",
    "source",
)


@click.group()
def command() -> None:
    """The folder of sources and builds."""


@command.command("list")
@store_option
def store_list(store_path: Path | None) -> None:
    """What is kept: kind, key, size, age, and what it is."""
    from harness.build.prune import entries

    found = open_store(store_path)
    click.echo(f"{found.root}")
    for entry in entries(found):
        click.echo(_describe(entry))


def _describe(entry: Entry) -> str:
    days = (time.time() - entry.used) / 86400
    size = f"{entry.size / 1e6:8.1f} MB"
    return f"{entry.kind:10} {entry.key[:12]} {size}  used {days:.1f} days ago  {entry.label}"


@command.command("verify")
@store_option
def store_verify(store_path: Path | None) -> None:
    """Read every file of every entry; exit code 3 where one is not as it was written.

    What is damaged is made again when it is next used.
    """
    from harness.build.prune import verify

    damaged = verify(open_store(store_path))
    with whoever_reads():
        for entry, why in damaged:
            click.echo(f"{_describe(entry)}: {why}")
        click.echo(f"{len(damaged)} damaged" if damaged else "nothing is damaged")
    sys.exit(3 if damaged else 0)


@command.command("prune")
@store_option
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this kind; repeatable."
)
@click.option("--older", type=click.FloatRange(0), metavar="DAYS", help="Not used for so long.")
@click.option("--all", "everything", is_flag=True, help="All entries that are not in use.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def store_prune(
    store_path: Path | None,
    kinds: tuple[str, ...],
    older: float | None,
    everything: bool,
    dry_run: bool,
) -> None:
    """Remove entries by age or kind; never one in use."""
    if older is None and not kinds and not everything:
        raise UsageProblem("say what to remove: --older DAYS, --kind KIND or --all")
    from harness.build.prune import prune

    unused_for = None if older is None else older * 86400
    removed = prune(open_store(store_path), kinds=kinds, unused_for=unused_for, dry_run=dry_run)
    for entry in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {_describe(entry)}")
    click.echo(f"{len(removed)} entries, {sum(entry.size for entry in removed) / 1e6:.0f} MB")
