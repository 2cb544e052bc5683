"""What `run` and `diff` share: columns run into a results file of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.common import Infrastructure, UsageProblem

if TYPE_CHECKING:
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.run.options import Options
    from harness.run.plan import Column

LAST = "results.jsonl"  # in the folder of results a link to the last run
LAST_BASE = "base.jsonl"  # and to the last run of what was compared with


def run_columns(
    project: Project,
    columns: Sequence[Column],
    scenarios: Sequence[Scenario],
    options: Options,
    out: Path,
    link: str = LAST,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[int, Path]:
    """(exit code, results file) of a run, which `link` in the folder `out` then leads to.

    `meanwhile` is done while machines run.
    """
    from harness.catalog.kernels import RunningSource
    from harness.machine.qemu import ask_ahead
    from harness.run.workers import Workers

    booted = [one for one in columns if not isinstance(one.kernel.source, RunningSource)]
    ask_ahead(column.arch.qemu for column in booted)
    cells = len(columns) * len(scenarios)
    with Workers(options.jobs, cells) as workers:  # what follows is loaded while they start
        from harness.progress import make_progress
        from harness.run.execute import Run, execute, new_run_id
        from harness.run.preflight import preflight

        preflight(columns, options)
        run_id = new_run_id()
        path = _results_path(out, run_id, link)
        run = Run(
            project=project,
            columns=columns,
            scenarios=scenarios,
            options=options,
            out=path,
            id=run_id,
        )
        try:
            with make_progress() as progress:
                return execute(run, progress, workers, meanwhile), path
        except OSError as error:
            hint = f"what was observed until then is in {path}"
            raise Infrastructure(f"{error}\n  {hint}") from None


def _results_path(out: Path, run_id: str, name: str) -> Path:
    try:
        if not out.exists():  # git, and the digest of a tree that it lies in, are not to see it
            out.mkdir(parents=True, exist_ok=True)
            (out / ".gitignore").write_text("*\n")
        path = out / f"{run_id}.jsonl"
        path.touch()
        link = out / f".{name}.{os.getpid()}"
        link.symlink_to(path.name)
        link.replace(out / name)
    except OSError as error:
        raise UsageProblem(
            f"--out {out}: {error.strerror}; give a folder that is writable"
        ) from None
    return path
