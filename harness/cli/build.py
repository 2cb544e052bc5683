"""`faultline build`: kernels and guest programs, not booted."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from harness.cli.common import kernel_specs, open_project, open_store, select
from harness.cli.options import (
    Changes,
    Where,
    column_options,
    jobs_option,
    refresh_option,
    store_option,
    tree_options,
)


@click.command("build")
@column_options
@tree_options
@store_option
@jobs_option
@refresh_option
def command(
    where: Where, changes: Changes, store_path: Path | None, jobs: int, refresh: bool
) -> None:
    """Build kernels and guest programs without booting them; print where they are."""
    from harness.build import Unavailable
    from harness.catalog.kernels import RunningSource
    from harness.progress import make_progress
    from harness.run.facts import files_read
    from harness.run.images import build, guest_binary, guest_initramfs
    from harness.run.options import Options
    from harness.run.preflight import preflight

    project = open_project(store_path)
    specs = kernel_specs(project, where, changes)
    columns = select(project, where.arches, specs, where.flavours)
    options = Options(store=open_store(store_path), refresh=refresh, jobs=jobs)
    preflight(columns, options, boot=False)
    lines = []
    with make_progress() as progress:
        for column in columns:
            say = functools.partial(progress.stage, column.id)
            guest = guest_binary(column.arch, project, options.store, say)
            if isinstance(column.kernel.source, RunningSource):
                lines.append(f"{column.id}: runs already\n  {guest}")
                continue
            reads = files_read(project.matrix.scenarios.values(), column.arch, project)
            try:
                built = build(column, options, say, reads)
            except Unavailable as error:
                lines.append(f"{column.id}: {error}")
                continue
            initrd = guest_initramfs(column.arch, project, options.store)
            how = "from the store" if built.cached else f"built in {built.seconds:.0f} s"
            places = filter(None, (built.image, initrd, guest, built.source))
            lines.append(
                "\n  ".join([f"{column.id}: Linux {built.version}, {how}", *map(str, places)])
            )
    click.echo("\n".join(lines))
