#!/usr/bin/env python3
"""What the harness costs, each figure as a ratio to a floor measured in the same run.

Floor and subject in turn, medians of the rounds, spread as (least to most).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from boots import edges, init, matrix, memory, one, start, wedging, whole
from builds import core, edit, kernel, nothing
from measure import Setting
from records import records

from harness.catalog.project import find_root, load_project

ROWS: tuple[Callable[[Setting], None], ...] = (
    start,
    one,
    edges,
    whole,
    matrix,
    wedging,
    memory,
    records,
)
LONG: tuple[Callable[[Setting], None], ...] = (init, edit, kernel, core, nothing)


def main() -> None:
    args = _arguments()
    project = load_project(find_root())
    arches = [project.arch(name) for name in args.arch] or project.plain_arches
    rows = {row.__name__: row for row in (*ROWS, *LONG)}
    with tempfile.TemporaryDirectory(prefix="faultline-bench.") as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        setting = Setting(
            project=project,
            kernel=project.kernel(args.kernel or project.kernels.default),
            arches=tuple(arches),
            rounds=args.rounds,
            work=work.resolve(),
        )
        for name in args.row or [row.__name__ for row in ROWS]:
            rows[name](setting)


def _arguments() -> argparse.Namespace:
    about = {
        title: [f"    {row.__name__:9} {(row.__doc__ or '').splitlines()[0]}" for row in rows]
        for title, rows in (("rows", ROWS), ("long ones, which compile kernels", LONG))
    }
    text = "\n\n".join("\n".join([f"{title}:", *lines]) for title, lines in about.items())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [row.__name__ for row in (*ROWS, *LONG)]
    parser.add_argument("row", nargs="*", metavar="ROW", help="default: all but the long ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernel", default="", help="default: the project's")
    parser.add_argument("--arch", action="append", default=[], help="default: all but variants")
    parser.add_argument("--work", type=Path, help="a folder for trees and objects, which stays")
    args = parser.parse_args()
    for name in args.row:
        if name not in names:
            parser.error(f"there is no row {name}: {', '.join(names)}")
    return args


if __name__ == "__main__":
    main()
