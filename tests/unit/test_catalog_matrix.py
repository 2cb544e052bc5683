"""The matrix: which row wins, rows that can never match, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.arches import Arch, load_arches
from harness.catalog.matrix import Facts, Matrix, Row, load_matrix
from harness.catalog.outcome import parse
from harness.catalog.version import parse_version
from harness.catalog.yamlfile import DeclarationError

PROJECT = Path(__file__).parents[2]
DECISIONS = """\
no-vma:
  about: no mapping there
  points:
    - {arch: m68k, kernel: "<6.12", file: arch/m68k/mm/fault.c, function: f, text: goto map_err}
    - {file: mm/memory.c, text: x}
"""


@pytest.fixture(scope="module")
def arches() -> dict[str, Arch]:
    found = load_arches(PROJECT)
    variant = {**vars(found["arm64"]), "name": "arm64-64k", "bases": ("arm64-64k", "arm64")}
    return {**found, "arm64-64k": Arch(**variant)}


class Project:
    """A folder with one family, ``stack``, to write rows into."""

    def __init__(self, root: Path, arches: dict[str, Arch]) -> None:
        self.root, self.arches = root, arches
        for folder in ("expectations", "flavours"):
            (root / folder).mkdir()
        for flavour in ("core", "debug"):
            (root / f"flavours/{flavour}.config").touch()
        self.write("decisions", DECISIONS)

    def write(self, name: str, text: str) -> None:
        (self.root / f"expectations/{name}.yaml").write_text(text)

    def load(self) -> Matrix:
        return load_matrix(self.root, self.arches)

    def rows(self, *rows: str) -> Matrix:
        """The matrix with these rows, each a flow mapping, for stack/edge; row n is on line n."""
        text = ",\n".join(f"  {{{row}}}" for row in rows)
        self.write("stack", f"edge: {{summary: s, expect: [{text.lstrip()}]}}\n")
        return self.load()

    def refused(self) -> str:
        with pytest.raises(DeclarationError) as caught:
            self.load()
        return str(caught.value)

    def winner(self, rows: tuple[str, ...], **facts: object) -> Row | None:
        arch = self.arches[str(facts.pop("arch", "m68k"))]
        version = parse_version(str(facts.pop("version", "6.12.1")))
        scenario = self.rows(*rows).scenarios["stack/edge"]
        found = scenario.rows_for(Facts(arch=arch, version=version, **facts))  # type: ignore[arg-type]
        return found[0] if found else None


@pytest.fixture
def project(tmp_path: Path, arches: dict[str, Arch]) -> Project:
    return Project(tmp_path, arches)


def row(selector: str = "", outcome: str = "ok") -> str:
    return f"{selector + ', ' if selector else ''}outcome: '{outcome}', because: why"


def test_a_whole_file(project: Project) -> None:
    project.write(
        "stack",
        """\
below-usp-257:
  summary: beyond what USP allows
  user: nobody
  memory: 512
  expect:
    - arch: [alpha, m68k]
      kernel: "<6.3"
      flavour: core
      outcome: [ok, SIGSEGV/SEGV_MAPERR @exact]
      because: own code
      evidence: no-vma
      bug: {ref: "a thread", want: killed(SIGKILL)}
    - {outcome: ok, because: else}
plain: {summary: nothing is expected yet}
""",
    )
    matrix = project.load()
    scenario = matrix.scenarios["stack/below-usp-257"]
    assert (scenario.family, scenario.function) == ("stack", "stack_below_usp_257")
    assert (scenario.user, scenario.memory, scenario.line) == ("nobody", 512, 1)
    first = scenario.rows[0]
    assert first.arch == ("alpha", "m68k") and first.flavour == ("core",)
    assert first.outcomes == (parse("ok"), parse("SIGSEGV/SEGV_MAPERR @exact"))
    assert first.evidence == ("no-vma",) and first.bug
    assert first.bug.want == (parse("killed(SIGKILL)"),)
    assert (first.file, first.line) == ("expectations/stack.yaml", 6)
    assert matrix.scenarios["stack/plain"].rows == ()
    points = matrix.decisions["no-vma"].points
    assert [point.function for point in points] == ["f", ""]
    applies = [p.applies(project.arches["m68k"], parse_version("6.12.1")) for p in points]
    assert applies == [False, True]


ORDERED = (
    row("arch: m68k, kernel: '<6.3'", "oops"),
    row("arch: arm64-64k", "EFAULT"),
    row("arch: [m68k, arm64]", "ok(1)"),
    row("flavour: debug", "ok(2)"),
)


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({"arch": "m68k", "version": "6.1.192"}, "oops"),
        ({"arch": "m68k", "version": "6.3-rc1"}, "ok(1)"),
        ({"arch": "arm64-64k"}, "EFAULT"),
        ({"arch": "arm64"}, "ok(1)"),
        ({"arch": "alpha", "flavour": "debug"}, "ok(2)"),
        ({"arch": "alpha"}, None),
    ],
)
def test_the_first_matching_row_wins(
    project: Project, facts: dict[str, object], outcome: str | None
) -> None:
    won = project.winner(ORDERED, **facts)
    assert (str(won.outcomes[0]) if won else None) == outcome


TREE = {"mm/memory.c": "if (a)\n\t\treturn  0;"}


@pytest.mark.parametrize(
    ("when", "facts", "matches"),
    [
        ("source: {file: mm/memory.c, text: if (a) return 0;}", {"source": TREE.get}, True),
        ("source: {file: mm/memory.c, text: return 1}", {"source": TREE.get}, False),
        ("source: {file: mm/memory.c, absent: return 1}", {"source": TREE.get}, True),
        ("source: {file: mm/memory.c, absent: return 0}", {"source": TREE.get}, False),
        ("source: {file: mm/no.c, absent: x}", {"source": lambda file: ""}, True),
        ("config: CONFIG_SMP=y", {"config": {"CONFIG_SMP": "y"}}, True),
        ("config: CONFIG_SMP=y", {"config": {}}, False),
        ("config: CONFIG_SMP is not set", {"config": {}}, True),
        ("config: CONFIG_SMP is not set", {"config": {"CONFIG_SMP": "y"}}, False),
        ("config: CONFIG_SMP=n", {"config": {"CONFIG_SMP": "n"}}, True),
        ("cpu: [max, rv64]", {"cpu": "rv64"}, True),
        ("cpu: max", {"cpu": "rv64", "accel": "kvm"}, False),
        ("cpu: max", {"cpu": "host,-pku", "accel": "kvm"}, False),
        ("accel: kvm, cpu: max", {"accel": "tcg", "cpu": "max"}, False),
        ("page_size: [4096, 8192]", {"page_size": 8192}, True),
        ("accel: tcg", {"accel": "tcg"}, True),
        ("qemu: '<8'", {"qemu": "7.2.22"}, None),
        ("qemu: '<8.0'", {"qemu": "7.2.22"}, True),
        ("qemu: '<8.0'", {"qemu": "9.1.0"}, False),
        ("qemu: '<8.0'", {}, False),
        ("accel: tcg, cpu: max", {"accel": "tcg", "cpu": "host"}, False),
    ],
)
def test_when(project: Project, when: str, facts: dict[str, object], matches: bool | None) -> None:
    rows = (row(f"when: {{{when}}}"),)
    if matches is None:  # the range itself is not valid
        with pytest.raises(DeclarationError, match="does not begin with X"):
            project.winner(rows, **facts)
    else:
        assert (project.winner(rows, **facts) is not None) is matches


@pytest.mark.parametrize(
    ("arch", "version", "tree", "matches"),
    [
        ("m68k", "6.1.1", {"m68k.c": "if (a)\n\treturn 0;"}, True),
        ("m68k", "6.1.1", {"m68k.c": "return 1;", "alpha.c": "if (a) return;"}, False),
        ("alpha", "6.1.1", {"m68k.c": "if (a) return 0;", "alpha.c": "if (a) return;"}, True),
        ("alpha", "6.3", {"alpha.c": "if (a) return;"}, False),  # no point for this version
        ("arm64", "6.1.1", {"m68k.c": "if (a) return 0;"}, False),  # nor for this arch
    ],
)
def test_a_decision_chooses_by_the_text_of_its_own_arch(
    project: Project, arch: str, version: str, tree: dict[str, str], matches: bool
) -> None:
    project.write(
        "decisions",
        "d: {about: a, points: [{arch: m68k, file: m68k.c, text: if (a) return 0;},"
        " {arch: alpha, kernel: '<6.3', file: alpha.c, text: if (a) return;}]}",
    )
    scenario = project.rows(row("when: {decision: d}"), row()).scenarios["stack/edge"]
    facts = Facts(
        arch=project.arches[arch],
        version=parse_version(version),
        source=lambda file: tree.get(file, ""),
    )
    assert [found.line for found in scenario.rows_for(facts)] == [1 if matches else 2]


@pytest.mark.parametrize(
    "when",
    [
        "decision: no-vma",  # no tree
        "source: {file: mm/memory.c, absent: return 1}",
        "config: CONFIG_SMP is not set",  # no .config
        "page_size: 4096",
    ],
)
def test_undecided_rows_count_beside_the_first_that_is_certain(project: Project, when: str) -> None:
    rows = (row(f"when: {{{when}}}"), row("arch: m68k"), row())
    scenario = project.rows(*rows).scenarios["stack/edge"]
    facts = Facts(arch=project.arches["m68k"], version=parse_version("6.12.1"))
    assert [found.line for found in scenario.rows_for(facts)] == [1, 2]
    alpha = Facts(arch=project.arches["alpha"], version=parse_version("6.12.1"))
    assert [found.line for found in scenario.rows_for(alpha)] == [1, 3]


@pytest.mark.parametrize(
    ("accel", "cpu", "counting"),
    [
        ("tcg", "max", [1]),
        ("kvm", "host", [1, 2]),
        ("kvm", "max", [1, 2]),
        ("kvm", "max,-pku", [2]),
    ],
)
def test_what_the_cpu_of_a_host_has_is_not_known(
    project: Project, accel: str, cpu: str, counting: list[int]
) -> None:
    scenario = project.rows(row("when: {cpu: max}"), row()).scenarios["stack/edge"]
    version = parse_version("6.12.1")
    facts = Facts(arch=project.arches["m68k"], version=version, accel=accel, cpu=cpu)
    first = scenario.rows[0].line
    assert [found.line - first + 1 for found in scenario.rows_for(facts)] == counting


@pytest.mark.parametrize(
    "rows",
    [
        (row(), row()),
        (row(), row("arch: m68k")),
        (row("arch: [m68k, alpha]"), row("arch: m68k")),
        (row("arch: arm64"), row("arch: arm64-64k")),
        (row("arch: m68k"), row("arch: alpha"), row("arch: [alpha, m68k]")),
        (row("kernel: '<6.3'"), row("kernel: '>=6.1, <6.2'")),
        (row("kernel: '<6.3'"), row("kernel: '>=6.3'"), row()),
        (row("kernel: '>=6.1'"), row("arch: m68k, kernel: '<6.2'"), row("arch: m68k")),
        (row("flavour: [core, debug]"), row("flavour: core")),
        (row("when: {accel: tcg}"), row("when: {accel: tcg}, arch: m68k")),
        (row("arch: m68k"), row("arch: m68k, when: {accel: tcg}")),
    ],
)
def test_rows_that_can_never_match(project: Project, rows: tuple[str, ...]) -> None:
    with pytest.raises(DeclarationError, match="this row can never match") as caught:
        project.rows(*rows)
    assert caught.value.line == len(rows)


@pytest.mark.parametrize(
    "rows",
    [
        (row("arch: m68k"), row()),
        (row("arch: [x86_64, arm64, alpha, m68k]"), row()),  # arches still to come
        (row("arch: arm64-64k"), row("arch: arm64")),
        (row("arch: m68k"), row("arch: [alpha, m68k]")),
        (row("kernel: '<6.3'"), row("kernel: '>=6.4'"), row()),
        (row("kernel: '<6.3.0'"), row("kernel: '>=6.3, <6.4'")),
        (row("arch: m68k, kernel: '<6.3'"), row("arch: alpha, kernel: '>=6.3'"), row("arch: m68k")),
        (row("flavour: core"), row()),
        (row("when: {accel: tcg}"), row("when: {accel: kvm}"), row()),
    ],
)
def test_rows_that_can_match(project: Project, rows: tuple[str, ...]) -> None:
    assert len(project.rows(*rows).scenarios["stack/edge"].rows) == len(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch: m86k, outcome: ok, because: b", "unknown arch 'm86k'\n  did you mean m68k?"),
        ("flavour: croe, outcome: ok, because: b", "unknown flavour 'croe'\n  did you mean core?"),
        ("evidence: no-vam, outcome: ok, because: b", "unknown decision 'no-vam'\n  did you mean"),
        ("kernel: '6.1', outcome: ok, because: b", "neither <V nor >=V"),
        ("outcome: EFUALT, because: b", "at character 1 expected a result: did you mean EFAULT"),
        ("outcome: [hang(killable, disk)], because: b", "quote it: within [ ]"),
        ("outcome: [], because: b", "expected at least one, found an empty list"),
        ("outcome: [ok, ok], because: b", "the outcome 'ok' stands here twice"),
        ("outcome: ok", "the key 'because' is missing"),
        ("outcome: ok, because: ''", "expected a text, found nothing"),
        ("outcome: ok, becuase: b", "unknown key 'becuase'\n  did you mean because?"),
        ("outcome: ok, because: b, bug: {ref: a}", "the key 'want' is missing"),
        ("outcome: ok, because: b, bug: {ref: a, want: ok}", "both predicted and"),
        ("outcome: [ok, oops], because: b, bug: {ref: a, want: [ok, oops]}", "both predicted and"),
        ("outcome: ok, because: b, when: {}", "`when:` is empty"),
        ("outcome: ok, because: b, when: {acel: kvm}", "unknown key 'acel'\n  did you mean accel?"),
        ("outcome: ok, because: b, when: {config: SMP}", "expected a line of a .config"),
        ("outcome: ok, because: b, when: {page_size: 4K}", "expected a positive whole number"),
        ("outcome: ok, because: b, when: {decision: no-vmo}", "did you mean no-vma?"),
        ("outcome: ok, because: b, when: {decision: [no-vma, no-vma]}", "expected a text"),
        ("outcome: ok, because: b, when: {source: {file: a}}", "either `text` or `absent`"),
    ],
)
def test_what_is_wrong_with_a_row(project: Project, text: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        project.rows(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("expectations/stack.yaml:1: ")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("stack", "Edge: {summary: s}", "'Edge' is no name for a scenario"),
        ("stack", "../../x: {summary: s}", "'../../x' is no name for a scenario"),
        ("stack", "--gdb: {summary: s}", "'--gdb' is no name for a scenario"),
        ("stack", '"edge\\nedge": {summary: s}', "is no name for a scenario"),
        ("Stack", "edge: {summary: s}", "'Stack' is no name for a family"),
        ("stack", "edge: {}", "the key 'summary' is missing"),
        ("stack", "edge: {summary: s, user: me}", "unknown user 'me'\n  known: nobody, root"),
        ("stack", "edge: {summary: s, memory: 31}", "stack.yaml:1: expected 32 to 4096 MiB"),
        ("stack", "edge: {summary: s, cpus: 2}", "unknown CPUs '2'"),
        ("stack", "edge: {summary: s, memory: 4097}", "expected 32 to 4096 MiB, found 4097"),
        ("stack", "edge: {summary: s, expect: {outcome: ok}}", "expected a list, found a mapping"),
        ("stack", "edge: {summary: s}\nedge: {summary: s}", "stack.yaml:2: duplicate key 'edge'"),
        ("decisions", "d: {about: a, points: []}", "expected at least one"),
        ("decisions", "d: {about: a, points: [{file: a}]}", "the key 'text' is missing"),
        ("decisions", "d: {about: a, points: [{file: a, text: b, arch: c}]}", "unknown arch 'c'"),
    ],
)
def test_what_is_wrong_with_a_file(project: Project, name: str, text: str, message: str) -> None:
    project.write(name, text)
    assert message in project.refused()


@pytest.mark.parametrize("memory", [32, 4096])
def test_memory_up_to_its_bounds(project: Project, memory: int) -> None:
    project.write("stack", f"edge: {{summary: s, memory: {memory}}}")
    assert project.load().scenarios["stack/edge"].memory == memory


@pytest.mark.parametrize(
    ("more", "all_"), [("", False), (", cpus: one", False), (", cpus: all", True)]
)
def test_how_many_cpus(project: Project, more: str, all_: bool) -> None:
    project.write("stack", f"edge: {{summary: s{more}}}")
    assert project.load().scenarios["stack/edge"].all_cpus is all_


def test_two_scenarios_with_one_function(project: Project) -> None:
    project.write("a", "b-c: {summary: s}")
    project.write("a-b", "c: {summary: s}")
    assert "a/b-c and a-b/c are both a_b_c in C" in project.refused()


def test_select(project: Project) -> None:
    project.write("stack", "edge: {summary: s}\nguard: {summary: s}")
    project.write("hole", "read: {summary: s}")
    matrix = project.load()

    def names(*globs: str) -> list[str]:
        return [scenario.name for scenario in matrix.select(globs)]

    assert names() == ["hole/read", "stack/edge", "stack/guard"]
    assert names("stack/*", "stack/edge", "hole/read") == names()
    assert names("*/g*") == ["stack/guard"]
    for glob, hint in [("stack", r"stack/\*"), ("stack/egde", "stack/edge"), ("hol/*", r"hole/\*")]:
        with pytest.raises(
            DeclarationError, match=f"no scenario matches .*\n  did you mean {hint}"
        ):
            names(glob)
