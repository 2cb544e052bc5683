"""A column that can be booted, as plain data."""

from __future__ import annotations

from msgspec import Struct

from harness.build import InputError
from harness.build.kernel import BuiltKernel
from harness.machine.hand import HandSpec
from harness.machine.qemu import MachineSpec
from harness.results import ColumnRecord, Evidence
from harness.run.plan import Cell, Job


class Ready(Struct, frozen=True, kw_only=True):
    """A column that can be booted, as plain data."""

    record: ColumnRecord
    jobs: tuple[Job, ...]
    entries: tuple[tuple[str, str], ...]  # (kind, key) in the store that it boots from
    kernel: BuiltKernel | None  # None: it runs already
    spec: MachineSpec | HandSpec  # without what single cells need more

    @property
    def cells(self) -> list[Cell]:
        return [one for job in self.jobs for one in job.cells]

    @property
    def to_boot(self) -> tuple[BuiltKernel, MachineSpec]:
        """For what needs a machine of its own. Raises BuildError where nothing is booted."""
        if self.kernel is None or isinstance(self.spec, HandSpec):
            raise InputError(f"{self.record.column} runs already: name a kernel that can be booted")
        return self.kernel, self.spec

    @property
    def stale(self) -> dict[Evidence, list[str]]:
        """Evidence that no longer stands in the built tree, and where the rows are that use it."""
        found: dict[Evidence, dict[str, None]] = {}
        for one in self.cells:
            for expectation in one.expectations:
                for piece in expectation.evidence:
                    if piece.status == "stale":
                        found.setdefault(piece, {})[expectation.declared] = None
        return {piece: list(rows) for piece, rows in found.items()}
