"""What is known of a column before it is booted, and the cells that follow from it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.build.evidence import look_up, read_source
from harness.build.kconfig import read_config
from harness.build.kept import Kept
from harness.build.kernel import BuiltKernel
from harness.catalog.arches import Arch
from harness.catalog.matrix import Decision, Facts, Row, Scenario
from harness.catalog.project import Project
from harness.catalog.version import parse_version
from harness.run.options import Options
from harness.run.plan import Cell, Column, cell


def facts_of(column: Column, built: BuiltKernel, cpu: str, accel: str, qemu: str) -> Facts:
    """What rows and prerequisites of a column may ask; `qemu` is its version."""
    config = config_of(built)
    return Facts(
        arch=column.arch,
        version=parse_version(built.version),
        flavour=column.flavour,
        source=functools.partial(_source, built.source),
        config=config,
        cpu=cpu,
        page_size=page_size(config, column.arch),
        accel=accel,
        module=built.source is not None,
        qemu=qemu,
    )


def files_read(scenarios: Iterable[Scenario], arch: Arch, project: Project) -> frozenset[str]:
    """All files of a source that `cells_of` may look into, whatever the kernel's version."""
    rows = _rows(scenarios, arch)
    decisions = {*_decisions(rows, project), *(row.when.decision for row in rows)}
    points = [point for one in decisions if one is not None for point in one.points]
    found = {point.file for point in points if arch.matches(point.arch)}
    return frozenset(found | {row.when.source.file for row in rows if row.when.source})


def _rows(scenarios: Iterable[Scenario], arch: Arch) -> list[Row]:
    return [row for one in scenarios for row in one.reasons if arch.matches(row.arch)]


def _decisions(rows: Iterable[Row], project: Project) -> list[Decision]:
    names = dict.fromkeys(name for row in rows for name in row.evidence)
    return [project.matrix.decisions[name] for name in names]


def cells_of(
    scenarios: Sequence[Scenario],
    facts: Facts,
    project: Project,
    source: Path | None,
    options: Options,
) -> list[Cell]:
    """The cells of a column with these facts, their evidence looked up in its source, if any."""
    decisions = _decisions(_rows(scenarios, facts.arch), project)
    evidence = look_up(source, decisions, facts.arch, facts.version, Kept(options.store))
    cells = [cell(scenario, facts, evidence.__getitem__) for scenario in scenarios]
    return [one for one in cells if options.wedging or not one.wedges]


def _source(tree: Path | None, file: str) -> str | None:
    """Text of a file of the tree: "" when the tree has no such file, None without a tree."""
    return None if tree is None else read_source(tree, file) or ""


def page_size(config: Mapping[str, str] | None, arch: Arch) -> int | None:
    """Bytes a page: by the .config, or as the arch declares where that has nothing to choose, as
    most had not before 6.9; None where nobody knows the .config.
    """
    if config is None:
        return None
    if config.get("CONFIG_PAGE_SHIFT", "").isdigit():  # since 6.9
        return 1 << int(config["CONFIG_PAGE_SHIFT"])
    found = (
        re.fullmatch(r"CONFIG_\w+_(\d+)K_PAGES|CONFIG_PAGE_SIZE_(\d+)KB", name) for name in config
    )
    return next((1024 * int(match[1] or match[2]) for match in found if match), arch.page_size)


def config_of(built: BuiltKernel) -> dict[str, str] | None:
    """Symbol -> value of an image's .config, see `read_config`; None where nobody knows it."""
    if built.config is None:
        return None
    return read_config(built.config.read_text("utf-8", errors="replace"))
