"""What becomes of mutants: each is built, and run until a cell tells it from the unmodified kernel.

A mutant is killed only by a mismatch in a cell that the unmodified kernel passed in the same
invocation, with the very expectations of that kernel: a cell that is a known bug kills nothing.
And it has to be seen twice, with one and the same outcome, the second time on a machine of its own;
what was right, or proved nothing, at any look is no kill. Then the unmodified kernel is looked at
once more, and has to pass. A mismatch that lacks any of this, or in which the machine only went
away (`silent`, `lost`: a busy host does that as well), leaves the mutant doubtful.
"""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.build import BuildError, Say
from harness.build.kernel import build_kernel
from harness.build.store import Store
from harness.build.tools import FULL
from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel
from harness.catalog.matrix import Scenario
from harness.catalog.outcome import Hang, Trouble, parse
from harness.catalog.project import Project
from harness.catalog.yamlfile import DeclarationError
from harness.machine.qemu import MachineSpec
from harness.mutants import Mutant
from harness.results import Record, ResultRecord, Verdict
from harness.run.job import CellRunner
from harness.run.judge import BOOT, LATE
from harness.run.options import Options
from harness.run.plan import Cell, Column, Job
from harness.run.prepare import prepare
from harness.workbench import Workbench, workbench

Attempts = tuple[Cell, list[ResultRecord]]  # a cell, and all that was seen of it, in order

FATES = (
    "killed", "equivalent", "not applicable",
    "survived", "doubtful", "infrastructure", "unbuilt", "unchanged",
)  # fmt: skip
GOOD = FATES[:3]  # of the rest each is a defect: of the scenarios, of the run, or of the patch


class Fate(Struct, frozen=True):
    """What became of a mutant on one arch."""

    mutant: str
    arch: str
    fate: str  # one of FATES
    scenario: str = ""  # that killed it, or that leaves it in doubt
    expected: str = ""
    observed: str = ""
    cells: int = 0  # that were run
    seconds: float = 0.0


def all_are(verdict: Verdict, attempts: Sequence[ResultRecord]) -> bool:
    """However often it was looked at, this was the answer."""
    return bool(attempts) and all(one.verdict is verdict for one in attempts)


def wrong(seen: Attempts) -> bool:
    """Of a mutant's cell: it is worth another look, or there is nothing to look at."""
    _, attempts = seen
    return all_are(Verdict.MISMATCH, attempts) or attempts[-1].observation.failure.startswith(BOOT)


def at_once(cells: Sequence[Cell]) -> list[Cell]:
    """Those expected to come to an end, or to an oops: of a hang, a time limit has to pass. What
    oopses comes last: it takes a boot each, and only what the others do not kill has to pay for it.
    """
    return sorted((one for one in cells if not _lasts(one)), key=lambda one: one.wedges)


def _lasts(cell: Cell) -> bool:
    outcomes = (parse(text) for one in cell.expectations for text in one.outcomes)
    return any(
        isinstance(result, Hang)
        or (isinstance(result, Trouble) and result.kind not in ("warn", "oops"))
        for outcome in outcomes
        for result in outcome.results
    )


def looks(records: Sequence[ResultRecord]) -> list[ResultRecord]:
    """One record a look: what the kernel said late amends the record before."""
    amended = {one for one, after in enumerate(records[1:]) if after.confirmation == LATE}
    return [record for one, record in enumerate(records) if one not in amended]


def doubt(attempts: Sequence[ResultRecord]) -> str:
    """Why mismatches prove too little; "" if they do not.

    A machine that only went away may have been a busy host's doing, at each look. What ends
    in another way each time is not understood: a race has to show by an outcome of its own.
    """
    outcomes = list(dict.fromkeys(one.observation.outcome for one in attempts))
    if len(outcomes) > 1:
        return "not alike: " + ", then ".join(outcomes)
    gone = any(
        isinstance(result, Trouble) and result.kind in ("silent", "lost")
        for result in parse(outcomes[0]).results
    )
    return f"{outcomes[0]}: the machine only went away" if gone else ""


class Laboratory:
    """One arch: a tree to mutate, its kept objects, and what the unmodified kernel passes."""

    def __init__(
        self,
        project: Project,
        kernel: Kernel,
        arch: Arch,
        scenarios: Sequence[Scenario],
        store: Store,
        say: Say,
        flavour: str = "core",
    ) -> None:
        self._project, self._kernel, self._arch = project, kernel, arch
        self._scenarios, self._store, self._say = scenarios, store, say
        self._flavour = flavour
        self._bench: Workbench
        self._job: Job | None = None
        self._unmodified = Path()  # the image
        self.passed: list[Cell] = []
        self.failed: dict[str, str] = {}  # scenario -> what the unmodified kernel gave instead

    @contextmanager
    def open(self) -> Iterator[Laboratory]:
        """Hold the tree, build it unmodified, and run it. Raises BuildError, also where the
        unmodified kernel passes nothing: no mutant could be killed, and each would seem to survive.
        """
        with workbench(self._kernel, self._arch, self._store) as self._bench:
            self._baseline()
            if not self.passed:
                why = next((f": {one}: {seen}" for one, seen in self.failed.items()), "")
                raise BuildError(f"{self._arch.name}: the unmodified kernel passes no cell{why}")
            yield self

    def _baseline(self) -> None:
        options = Options(store=self._store, accel="tcg", snapshots=False)
        # Expectations come from the kernel as it is declared: a mutant must not choose its rows.
        column = Column(arch=self._arch, kernel=self._kernel, flavour=self._flavour)

        def say(line: str) -> None:
            self._say(f"{self._arch.name}: {line}")

        ready = prepare("mutants", column, self._scenarios, self._project, options, say)
        self._job = replace(ready.jobs[0], cells=())
        self._unmodified = self._build()
        self._learn(at_once(ready.cells))

    def _learn(self, cells: Sequence[Cell]) -> None:
        """What the unmodified kernel passes, at each look: nothing else can kill."""
        for cell, attempts in self._last_words(self._unmodified, cells):
            record = attempts[-1]
            if all_are(Verdict.MATCH, attempts):
                self.passed.append(cell)
            elif record.verdict not in (Verdict.NOT_APPLICABLE, Verdict.KNOWN_BUG):
                self.failed[cell.scenario] = (
                    record.observation.outcome or record.observation.failure
                )

    def _build(self) -> Path:
        return build_kernel(self._bench.kernel, self._arch, self._flavour, self._store).image

    def _run(self, image: Path, cells: Iterable[Cell]) -> Generator[Attempts]:
        """All that is seen of each cell, what the kernel says at its end included. What it says
        later is about a cell as well: that one comes once more, with all that is known by then.
        """
        assert self._job is not None and isinstance(self._job.spec, MachineSpec)
        job = replace(self._job, spec=replace(self._job.spec, image=image))
        written: list[Record] = []
        run: list[Cell] = []
        seen: dict[str, list[ResultRecord]] = defaultdict(list)

        def news() -> Iterator[Attempts]:
            results = [record for record in written if isinstance(record, ResultRecord)]
            written.clear()
            for record in results:
                seen[record.scenario].append(record)
            told = {record.scenario for record in results}
            yield from ((one, looks(seen[one.scenario])) for one in run if one.scenario in told)

        with closing(CellRunner(job, written.append)) as runner:
            for cell in cells:
                run.append(cell)
                runner.run(cell)
                runner.settle()
                yield from news()
        yield from news()

    def _last_words(
        self,
        image: Path,
        cells: Iterable[Cell],
        enough: Callable[[Attempts], bool] = lambda _: False,
    ) -> list[Attempts]:
        """All that is seen of each cell, up to one of which it is `enough`; others are not taken
        from `cells`. The machine has ended by then.
        """
        last: dict[str, Attempts] = {}

        def wanted() -> Iterator[Cell]:
            for cell in cells:
                yield cell
                if any(map(enough, last.values())):
                    return

        with closing(self._run(image, wanted())) as told:
            last.update((cell.scenario, (cell, attempts)) for cell, attempts in told)
        return list(last.values())

    def try_mutant(self, mutant: Mutant) -> Fate:
        """Build the mutant and run what the unmodified kernel passed, up to the first kill. What
        fails meanwhile on this host costs this mutant, and no other.
        """
        try:
            return self._try(mutant)
        except (OSError, DeclarationError) as error:
            self._say(f"{self._arch.name}: {mutant.name}: {error}")
            why = str(error).splitlines()[0]
            return Fate(mutant.name, self._arch.name, "infrastructure", observed=why)

    def _try(self, mutant: Mutant) -> Fate:
        try:
            self._bench.restore()
            self._bench.touch(mutant.touched)
            self._bench.apply(mutant.file)
            self._bench.keep_lines(mutant.touched)
            image = self._build()
        except BuildError as error:
            self._say(f"{self._arch.name}: {mutant.name}: {error}")
            why, fate = str(error).splitlines()[0], "unbuilt"
            if FULL in str(error):  # of this host, and no patch's doing
                why, fate = why if FULL in why else f"{why}: {FULL}", "infrastructure"
            return Fate(mutant.name, self._arch.name, fate, observed=why)
        if filecmp.cmp(image, self._unmodified, shallow=False):
            why = "the patch changes nothing that is in this kernel"
            named = self._arch.name in mutant.arches
            fate = "unchanged" if named else "not applicable"
            return Fate(mutant.name, self._arch.name, fate, observed=why)
        return self._judge(mutant, image)

    def _judge(self, mutant: Mutant, image: Path) -> Fate:
        """The first cell that kills; where none does, the most that was seen of it."""
        name, arch, infra = mutant.name, self._arch.name, ""
        if not self.passed:  # the last of them may have failed beside the mutant before
            return Fate(name, arch, "infrastructure", observed="no cell passes unmodified any more")
        run: set[str] = set()
        doubtful: Fate | None = None
        for cell, attempts in self._up_to_each_wrong(image):
            run.add(cell.scenario)
            if len(attempts) == 1 and all_are(Verdict.MISMATCH, attempts):
                for _, again in self._last_words(image, [cell]):
                    attempts = [*attempts, *again]
            record = attempts[-1]
            seen = record.observation
            if all_are(Verdict.MISMATCH, attempts):
                fate = Fate(
                    name, arch, "killed", cell.scenario,
                    " or ".join(record.expected), seen.outcome, len(run),
                )  # fmt: skip
                why = doubt(attempts) or self._unmodified_fails(cell)
                if not why:
                    return fate
                doubtful = doubtful or replace(fate, fate="doubtful", observed=why)
            if record.verdict is Verdict.INFRA:
                infra = infra or f"{cell.scenario}: {seen.failure}"
                if seen.failure.startswith(BOOT):
                    break
        if doubtful is not None:
            return replace(doubtful, cells=len(run))
        if infra:
            return Fate(name, arch, "infrastructure", observed=infra, cells=len(run))
        fate_of_all = "equivalent" if mutant.equivalent else "survived"
        return Fate(name, arch, fate_of_all, cells=len(run))

    def _up_to_each_wrong(self, image: Path) -> Iterator[Attempts]:
        """What is seen of each cell that may kill. No machine is up while that is judged, as each
        further look at one that is wrong has a machine of its own.
        """
        cells = iter(self.passed)
        while told := self._last_words(image, cells, wrong):
            yield from told

    def _unmodified_fails(self, cell: Cell) -> str:
        """Why a cell can kill no more: the unmodified kernel fails it now. "" if it does not."""
        looked = self._last_words(self._unmodified, [cell])
        if not looked:
            self.failed[cell.scenario] = "nothing was seen of it"
        for _, attempts in looked:
            if not all_are(Verdict.MATCH, attempts):
                seen = attempts[-1].observation
                self.failed[cell.scenario] = seen.outcome or seen.failure
        if cell.scenario not in self.failed:
            return ""
        self.passed = [one for one in self.passed if one != cell]  # it may have come once more
        return f"the unmodified kernel passes no more: {self.failed[cell.scenario]}"
