"""Mutants: kernels with one small mistake in a fault path, to see whether a scenario notices.

A mutant is a patch under mutants/, with a head that says what it is:

    Arch: m68k, alpha           where it is built and run
    Origin: blind               written from the handlers by somebody who had not seen the scenarios
    Origin: reverses COMMIT     takes back a real fix: its id and subject
    Origin: seen                written to try a scenario
    What: one line
    Equivalent: why no user program could tell (such a mutant is argued, not counted)

A mutant is killed only by a mismatch in a cell that the unmodified kernel passed in the same
invocation, with the very expectations of that kernel: a cell that is a known bug kills nothing.
And it has to be seen twice, with one and the same outcome, the second time on a machine of its own;
what was right, or proved nothing, at any look is no kill. Then the unmodified kernel is looked at
once more, and has to pass. A mismatch that lacks any of this, or in which the machine only went
away (`silent`, `lost`: a busy host does that as well), leaves the mutant doubtful.
"""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.build import BuildError
from harness.build.kernel import build_kernel
from harness.build.patches import apply_patch, check_names, patched
from harness.build.source import resolve
from harness.build.store import Store
from harness.build.tools import digest, output
from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel, TreeSource
from harness.catalog.matrix import Scenario
from harness.catalog.outcome import Trouble, parse
from harness.catalog.project import Project
from harness.catalog.yamlfile import DeclarationError
from harness.machine.qemu import MachineSpec
from harness.results import Record, ResultRecord, Verdict
from harness.run.job import CellRunner
from harness.run.judge import BOOT
from harness.run.options import Options
from harness.run.plan import Cell, Column, Job
from harness.run.prepare import prepare

Say = Callable[[str], None]
Attempts = tuple[Cell, list[ResultRecord]]  # a cell, and all that was seen of it, in order

FATES = (
    "killed", "equivalent", "survived", "doubtful", "infrastructure", "unbuilt", "unchanged",
)  # fmt: skip
GOOD = FATES[:2]  # of the rest each is a defect: of the scenarios, of the run, or of the patch

_HEAD = re.compile(r"^(Arch|Origin|What|Equivalent): *(.+)$")
_SIDES = re.compile(r"^--- (\S+).*\n\+\+\+ (\S+)", re.MULTILINE)
_SIDE = re.compile(r"^(?:---|\+\+\+) ", re.MULTILINE)
_OTHER = re.compile(
    r"^(?:(?:old|new|new file|deleted file) mode|rename|copy|Index:|GIT binary patch).*$",
    re.MULTILINE,
)
_ORIGIN = re.compile(r"(blind|seen|reverses \S.*)")


@dataclass(frozen=True)
class Mutant:
    name: str
    file: Path
    arches: tuple[str, ...]
    origin: str  # "blind", "seen", or "reverses COMMIT ..."
    what: str
    equivalent: str = ""  # the argument, for one that no program can tell from the original

    @property
    def shared(self) -> bool:
        """Whether it changes code that other arches have as well."""
        return any(not name.startswith("arch/") for name in self.touched)

    @property
    def touched(self) -> list[str]:
        """Paths below the tree that the patch changes."""
        return _changed(self.file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Fate:
    """What became of a mutant on one arch."""

    mutant: str
    arch: str
    fate: str  # one of FATES
    scenario: str = ""  # that killed it, or that leaves it in doubt
    expected: str = ""
    observed: str = ""
    cells: int = 0  # that were run
    seconds: float = 0.0


def load_mutants(root: Path, arches: Sequence[str]) -> list[Mutant]:
    """All mutants of the project at `root`. Raises DeclarationError."""
    return [_load(path, root, arches) for path in sorted((root / "mutants").glob("*.patch"))]


def _load(path: Path, root: Path, arches: Sequence[str]) -> Mutant:
    file = path.relative_to(root).as_posix()
    text = _read(path, file)
    head: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("--- "):
            break
        if match := _HEAD.match(line):
            if match[1] in head:
                raise DeclarationError(file, number, f"{match[1]}: stands here twice")
            head[match[1]] = match[2].strip()
    for key in ("Arch", "Origin", "What"):
        if key not in head:
            raise DeclarationError(file, 1, f"the head lacks `{key}:`", "see harness/mutants.py")
    names = tuple(re.split(r"[ ,]+", head["Arch"]))
    for name in names:
        if name not in arches:
            raise DeclarationError(file, 1, f"unknown arch {name!r}", f"known: {', '.join(arches)}")
        if names.count(name) > 1:
            raise DeclarationError(file, 1, f"arch {name!r} stands here twice")
    if not _ORIGIN.fullmatch(head["Origin"]):
        hint = "write blind, seen, or `reverses` and the commit"
        raise DeclarationError(file, 1, f"unknown origin {head['Origin']!r}", hint)
    return Mutant(path.stem, path, names, head["Origin"], head["What"], head.get("Equivalent", ""))


def _read(path: Path, file: str) -> str:
    """The text of a patch that changes files of the tree and does nothing else.

    What it changes has to be known by name, or it would stay in the trees of other mutants.
    Raises DeclarationError.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check_names(text, path)
    except OSError as error:
        raise DeclarationError(file, 0, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DeclarationError(file, 0, "not UTF-8", "save the file as UTF-8") from None
    except BuildError as error:
        raise DeclarationError(file, 0, str(error).removeprefix(f"{path}: ")) from None
    if not _changed(text):
        raise DeclarationError(file, 0, "changes no file: there is no line `+++ b/...`")
    if other := _OTHER.search(text):
        number = text.count("\n", 0, other.start()) + 1
        raise DeclarationError(file, number, f"a mutant changes text alone: {other[0]!r}")
    sides = _SIDES.findall(text)
    if 2 * len(sides) != len(_SIDE.findall(text)):
        raise DeclarationError(file, 0, "expected each line `--- a/...` before its `+++ b/...`")
    for old, new in sides:
        if (old[:2], new[:2]) != ("a/", "b/") or old[2:] != new[2:]:
            hint = "a mutant makes, deletes and renames no file: `--- a/FILE`, `+++ b/FILE`"
            raise DeclarationError(file, 0, f"names {old!r} and {new!r}", hint)
    return text


def _changed(text: str) -> list[str]:
    return [new.removeprefix("b/") for _, new in _SIDES.findall(text)]


class Workbench:
    """A tree of one arch whose files may be changed; its objects are kept beside it."""

    def __init__(self, pristine: Path, folder: Path) -> None:
        self.tree = folder / "linux"
        self._pristine, self._note = pristine, folder / "touched"
        complete = folder / "complete"
        if not complete.exists():
            shutil.rmtree(self.tree, ignore_errors=True)
            words = ["cp", "-al", "--", str(pristine), str(self.tree)]
            output(words, failed="cannot copy the source tree")
            complete.touch()
        self.restore()

    @property
    def kernel(self) -> Kernel:
        return Kernel(f"tree:{self.tree}", TreeSource(self.tree))

    def touch(self, paths: Sequence[str]) -> None:
        """These files are about to be changed, and are nobody else's from here on.

        Raises BuildError for one that is not in the tree.
        """
        for name in paths:
            if not (self._pristine / name).is_file():
                raise BuildError(f"{name} is not in the tree")
        self._note.write_text("\n".join(paths))
        for name in paths:
            self._renew(name)

    def restore(self) -> None:
        """What was changed last is as it was, with a new time so that make sees it."""
        for name in self._note.read_text().split() if self._note.exists() else ():
            self._renew(name)
        self._note.unlink(missing_ok=True)

    def _renew(self, name: str) -> None:
        file = self.tree / name
        assert file.parent.resolve().is_relative_to(self.tree.resolve()), (
            f"{name} is not in the tree"
        )
        file.unlink(missing_ok=True)  # it was a hard link to the original
        shutil.copy(self._pristine / name, file)


@contextmanager
def workbench(kernel: Kernel, arch: Arch, store: Store) -> Iterator[Workbench]:
    """The one of this kernel and arch, held. Raises BuildError."""
    source = patched(kernel, resolve(kernel, store), arch, store).source
    key = digest("mutants", source.key, arch.name)
    label = f"tree of mutants, {kernel.name} {arch.name}"
    with store.folder("objects", key, label) as folder:
        yield Workbench(source.tree, folder.path)


def all_are(verdict: Verdict, attempts: Sequence[ResultRecord]) -> bool:
    """However often it was looked at, this was the answer."""
    return bool(attempts) and all(one.verdict is verdict for one in attempts)


def looks(records: Sequence[ResultRecord]) -> list[ResultRecord]:
    """One record a look: what the kernel said late amends the record before."""
    amended = {one for one, after in enumerate(records[1:]) if after.confirmation == "late"}
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
    ) -> None:
        self._project, self._kernel, self._arch = project, kernel, arch
        self._scenarios, self._store, self._say = scenarios, store, say
        self._flavour = "core"
        self._bench: Workbench
        self._job: Job | None = None
        self._unmodified = Path()  # the image
        self.passed: list[Cell] = []
        self.failed: dict[str, str] = {}  # scenario -> what the unmodified kernel gave instead

    @contextmanager
    def open(self) -> Iterator[Laboratory]:
        """Hold the tree, build it unmodified, and run it. Raises BuildError."""
        with workbench(self._kernel, self._arch, self._store) as self._bench:
            self._baseline()
            yield self

    @property
    def _column(self) -> Column:
        return Column(arch=self._arch, kernel=self._bench.kernel, flavour=self._flavour)

    def _baseline(self) -> None:
        options = Options(store=self._store, accel="tcg", wedging=False, snapshots=False)
        # Expectations come from the kernel as it is declared: a mutant must not choose its rows.
        column = Column(arch=self._arch, kernel=self._kernel, flavour=self._flavour)
        say = lambda line: self._say(f"{self._arch.name}: {line}")  # noqa: E731
        ready = prepare("mutants", column, self._scenarios, self._project, options, say)
        self._job = replace(ready.jobs[0], cells=())
        self._unmodified = self._build()
        self._learn(ready.cells)

    def _learn(self, cells: Sequence[Cell]) -> None:
        """What the unmodified kernel passes, at each look: nothing else can kill."""
        for cell, attempts in self._run(self._unmodified, cells):
            record = attempts[-1]
            if all_are(Verdict.MATCH, attempts):
                self.passed.append(cell)
            elif record.verdict not in (Verdict.NOT_APPLICABLE, Verdict.KNOWN_BUG):
                self.failed[cell.scenario] = (
                    record.observation.outcome or record.observation.failure
                )

    def _build(self) -> Path:
        built = build_kernel(
            self._column.kernel, self._arch, self._flavour, self._store, lambda stage, done: None
        )
        return built.image

    def _run(self, image: Path, cells: Sequence[Cell]) -> Iterator[Attempts]:
        """All that is seen of each cell, what the kernel says at its end included."""
        assert self._job is not None and isinstance(self._job.spec, MachineSpec)
        job = replace(self._job, spec=replace(self._job.spec, image=image))
        written: list[Record] = []
        runner = CellRunner(job, written.append)
        try:
            for cell in cells:
                written.clear()
                runner.run(cell)
                runner.settle()
                seen = [record for record in written if isinstance(record, ResultRecord)]
                yield cell, looks([one for one in seen if one.scenario == cell.scenario])
        finally:
            runner.close()

    def try_mutant(self, mutant: Mutant) -> Fate:
        """Build the mutant and run what the unmodified kernel passed, up to the first kill."""
        try:
            self._bench.restore()
            self._bench.touch(mutant.touched)
            apply_patch(self._bench.tree, mutant.file)
            image = self._build()
        except BuildError as error:
            self._say(f"{self._arch.name}: {mutant.name}: {error}")
            why = str(error).splitlines()[0]
            return Fate(mutant.name, self._arch.name, "unbuilt", observed=why)
        if filecmp.cmp(image, self._unmodified, shallow=False):
            why = "the patch changes nothing that is in this kernel"
            return Fate(mutant.name, self._arch.name, "unchanged", observed=why)
        return self._judge(mutant, image)

    def _judge(self, mutant: Mutant, image: Path) -> Fate:
        """The first cell that kills; where none does, the most that was seen of it."""
        name, arch, infra, count = mutant.name, self._arch.name, "", 0
        doubtful: Fate | None = None
        for cell, attempts in self._run(image, list(self.passed)):
            count += 1
            if len(attempts) == 1 and all_are(Verdict.MISMATCH, attempts):
                for _, again in self._run(image, [cell]):
                    attempts = [*attempts, *again]
            record = attempts[-1]
            seen = record.observation
            if all_are(Verdict.MISMATCH, attempts):
                fate = Fate(
                    name, arch, "killed", cell.scenario,
                    " or ".join(record.expected), seen.outcome, count,
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
            return replace(doubtful, cells=count)
        if infra:
            return Fate(name, arch, "infrastructure", observed=infra, cells=count)
        fate_of_all = "equivalent" if mutant.equivalent else "survived"
        return Fate(name, arch, fate_of_all, cells=count)

    def _unmodified_fails(self, cell: Cell) -> str:
        """Why a cell can kill no more: the unmodified kernel fails it now. "" if it does not."""
        for _, attempts in self._run(self._unmodified, [cell]):
            if not all_are(Verdict.MATCH, attempts):
                seen = attempts[-1].observation
                self.failed[cell.scenario] = seen.outcome or seen.failure
        if cell.scenario not in self.failed:
            return ""
        self.passed.remove(cell)
        return f"the unmodified kernel passes no more: {self.failed[cell.scenario]}"
