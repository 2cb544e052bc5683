"""The matrix: scenarios with their expectations, and the decisions they rest on.

``expectations/FAMILY.yaml`` holds one family's scenarios by name, and
``expectations/decisions.yaml`` the places in kernel sources where behaviour is decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from harness.catalog.arches import Arch
from harness.catalog.beside import Beside, read_besides
from harness.catalog.decisions import Decision, Point, check_name, read_decisions
from harness.catalog.needs import NOTHING, Needs, read_needs
from harness.catalog.rows import Bug, Facts, Known, Row, When, read_rows
from harness.catalog.yamlfile import DeclarationError, Node, load, quote, suggest

__all__ = [
    "Bug", "Decision", "Facts", "Machine", "Matrix", "Needs", "Point", "Row", "Scenario", "When",
    "flavour_names", "load_matrix",
]  # fmt: skip

FOLDER = "expectations"
DECISIONS = "decisions"
# Families whose scenarios all reach beyond their own processes; others declare `harm:` one by one.
HARM = {
    "hwpoison": "poisons memory for good",
    "events": "changes what the whole machine traces",
    "hugetlb": "takes memory for huge pages",
    "memcg": "makes control groups",
    "swap": "turns swap on and off",
}
USERS = ("root", "nobody")
CPUS = ("one", "all")
MEMORY = range(32, 4096 + 1)  # MiB; less does not boot, and more no test machine has to spare


class Machine(NamedTuple):
    """What a machine has that others of its arch have not. Plain ones sort first."""

    all_cpus: bool = False  # those of its arch, which are several, and not one
    module: bool = False  # loads the kernel module, which then is there for whatever comes behind
    disks: tuple[str, ...] = ()  # scratch disks by name
    memory: int = 0  # MiB, 0 = the arch's default


class Scenario(Struct, frozen=True):
    """One edge case and what is expected of it."""

    name: str  # "hole/read"
    family: str
    summary: str
    user: str  # root or nobody
    memory: int | None  # MiB: gets a boot of its own; None: the arch's default
    rows: tuple[Row, ...]
    file: str
    line: int
    needs: Needs = NOTHING
    harm: str = ""  # what it would do to a machine that matters, as declared
    asked: bool = False  # somebody has given its very name
    beside: Beside | None = None  # what the kernel says beside its outcomes
    all_cpus: bool = False  # on a machine with all CPUs of its arch; else on one with one

    def harm_on(self, arch: Arch | None) -> str:
        """Why it is not run on a machine that is not ours, unless somebody names it; "" for
        nothing. None: whatever the arch.
        """
        if self.asked:
            return ""
        if declared := self.harm or HARM.get(self.family, ""):
            return declared
        if self.needs.module:
            return "loads a module into the kernel"
        if self.needs.disks:
            return "writes to a disk"
        rows = [row for row in self.rows if arch is None or arch.matches(row.arch)]
        outcomes = [outcome for row in rows if arch or not row.arch for outcome in row.outcomes]
        if any(outcome.breaks for outcome in outcomes):
            return "some kernels do not survive it"
        return ""

    @property
    def machine(self) -> Machine:
        """What it runs on."""
        return Machine(self.all_cpus, self.needs.module, self.needs.disks, self.memory or 0)

    @property
    def function(self) -> str:
        """The name of its C function: "stack/below-usp-256" is stack_below_usp_256."""
        return re.sub("[/-]", "_", self.name)

    def rows_for(self, facts: Facts) -> list[Row]:
        """The rows that may count: the first that matches, and undecided ones before it.

        All facts known, that is one row, or none: nothing is expected. Without the source of a
        kernel, say, what two rows predict is all that can be said.
        """
        found = []
        for row in self.rows:
            match = row.matches(facts)
            if match is not False:
                found.append(row)
            if match:
                break
        return self.beside.rows(found, facts) if self.beside else found

    @property
    def reasons(self) -> tuple[Row, ...]:
        """All rows whose evidence it may rest on."""
        return (*self.rows, self.beside.row) if self.beside else self.rows


class Matrix(Struct, frozen=True):
    """All scenarios by name, in the order of the files, and all decisions by id."""

    scenarios: Mapping[str, Scenario]
    decisions: Mapping[str, Decision]

    def select(self, globs: Iterable[str]) -> list[Scenario]:
        """Scenarios that match one of ``globs`` ("stack/*"), each once; no globs select all.

        Raises DeclarationError for a glob that matches nothing.
        """
        wanted = list(globs) or ["*"]
        for glob in wanted:
            if not any(fnmatchcase(name, glob) for name in self.scenarios):
                families = {f"{scenario.family}/*" for scenario in self.scenarios.values()}
                known = families if "/" not in glob else {*self.scenarios, *families}
                hint = suggest(glob, known, families)
                raise DeclarationError("", 0, f"no scenario matches {quote(glob)}", hint)
        return [
            replace(scenario, asked=True) if name in wanted else scenario
            for name, scenario in self.scenarios.items()
            if any(fnmatchcase(name, glob) for glob in wanted)
        ]


def flavour_names(root: Path) -> tuple[str, ...]:
    """The kconfig flavours of the project at ``root``."""
    return tuple(sorted(path.stem for path in (root / "flavours").glob("*.config")))


def load_matrix(root: Path, arches: Mapping[str, Arch]) -> Matrix:
    """Read ``expectations/`` of the project at ``root``. Raises DeclarationError."""
    folder = root / FOLDER
    decisions = read_decisions(load(folder / f"{DECISIONS}.yaml", root), arches)
    known = Known(arches, flavour_names(root), decisions)
    scenarios: dict[str, Scenario] = {}
    functions: dict[str, Scenario] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.stem == DECISIONS:
            continue
        for scenario in _family(path.stem, load(path, root), known):
            twin = functions.setdefault(scenario.function, scenario)
            if twin is not scenario:
                message = f"{scenario.name} and {twin.name} are both {scenario.function} in C"
                raise DeclarationError(scenario.file, scenario.line, message, "rename one of them")
            scenarios[scenario.name] = scenario
    return Matrix(scenarios, decisions)


def _family(family: str, node: Node, known: Known) -> Iterable[Scenario]:
    check_name(family, "family", node)
    scenarios = dict(node.mapping())
    besides = read_besides(scenarios.pop("beside"), known) if "beside" in scenarios else {}
    optional = ("user", "memory", "cpus", "needs", "harm", "beside", "expect")
    for name, item in scenarios.items():
        check_name(name, "scenario", item)
        fields = item.record(required=("summary",), optional=optional)
        yield Scenario(
            name=f"{family}/{name}",
            family=family,
            summary=fields["summary"].text(),
            user=fields["user"].choice(USERS, "user") if "user" in fields else "root",
            memory=_memory(fields["memory"]) if "memory" in fields else None,
            rows=read_rows(fields["expect"], known) if "expect" in fields else (),
            file=item.file,
            line=item.line,
            needs=read_needs(fields["needs"]) if "needs" in fields else NOTHING,
            harm=fields["harm"].text() if "harm" in fields else "",
            beside=besides[fields["beside"].choice(besides, "name under `beside:`")]
            if "beside" in fields
            else None,
            all_cpus="cpus" in fields and fields["cpus"].choice(CPUS, "CPUs") == "all",
        )


def _memory(node: Node) -> int:
    size = node.number()
    if size not in MEMORY:
        raise node.error(f"expected {MEMORY[0]} to {MEMORY[-1]} MiB, found {size}")
    return size
