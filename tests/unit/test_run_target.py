"""Columns that are not booted: who is asked, what is refused, and how they are judged."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.build import BuildError
from harness.build.kconfig import read_config
from harness.catalog.kernels import RunningSource
from harness.catalog.project import Project, load_project
from harness.catalog.yamlfile import DeclarationError
from harness.results import Observation, Verdict
from harness.run.judge import judge
from harness.run.target import (
    _ASK,
    SSH,
    Running,
    _ask_over_ssh,
    _ssh,
    arch_of,
    claimed_cells,
    look_at,
)

ROOT = Path(__file__).parents[2]

# Words of C that touch more than the process which says them.
_HARMFUL = re.compile(
    r"MADV_HWPOISON|MADV_SOFT_OFFLINE|\bswapon\(|\breboot\(|\binit_module|\bmount\("
    r'|(?<!read_knob\()(?:"/proc/sys/(?![\w/]*", "r"\))|"/sys/)'
)


_DEFINITION = re.compile(
    r"^(\w[^;{}=]*?)\b(\w+)\([^;{}]*\)\n(\{\n.*?^\})", re.MULTILINE | re.DOTALL
)
_NOT_OF_SCENARIOS = ("agent", "console", "log", "main", "program", "runner", "frame", "outcome")


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(ROOT)


Place = tuple[str, str]  # file, function


def _bodies() -> dict[Place, str]:
    """All functions of the scenarios and of the runtime they call: kernel style."""
    return {
        (path.stem, match[2]): match[1] + match[3]
        for path in (ROOT / "guest-progs").glob("*.c")
        if path.stem not in _NOT_OF_SCENARIOS
        for match in _DEFINITION.finditer(path.read_text())
    }


def _reached(function: str, bodies: dict[Place, str]) -> set[Place]:
    """A function and all that it names, its own file's first."""
    files: dict[str, set[str]] = {}
    for (file, name), body in bodies.items():
        if not body.startswith("static"):
            files.setdefault(name, set()).add(file)
    reached, left = set[Place](), [(file, function) for file in files.get(function, ())]
    while left:
        place = left.pop()
        if place in reached:
            continue
        reached.add(place)
        for name in set(re.findall(r"\b\w+\b", bodies[place])):
            own = (place[0], name)
            left += [own] if own in bodies else [(file, name) for file in files.get(name, ())]
    return reached


def test_what_touches_the_whole_machine_says_so(project: Project) -> None:
    """One that does not declare `harm:` would run on somebody's own machine."""
    bodies, silent = _bodies(), []
    for scenario in project.matrix.scenarios.values():
        if scenario.harm_on(None):
            continue
        if any(_HARMFUL.search(bodies[place]) for place in _reached(scenario.function, bodies)):
            silent.append(scenario.name)
    assert not silent, f"add `harm: what it does to the machine` to {', '.join(silent)}"


def test_a_row_that_wedges_is_harm_on_its_arch_only(project: Project) -> None:
    scenario = project.matrix.scenarios["retry/kill-in-read"]
    assert scenario.harm_on(project.arch("m68k"))
    assert not scenario.harm_on(project.arch("x86_64"))


def test_only_its_very_name_makes_it_run(project: Project) -> None:
    arch = project.arch("x86_64")
    for globs, refused in ((("hwpoison/*",), True), (("hwpoison/twice", "hwpoison/*"), False)):
        chosen = [s for s in project.matrix.select(globs) if s.name == "hwpoison/twice"]
        (cell,) = claimed_cells(arch, Running("", "6.1.0"), "", chosen, project)
        assert bool(cell.refused) is refused


def test_the_right_outcome_and_the_known_bug_are_both_known(project: Project) -> None:
    scenario = project.matrix.scenarios["retry/kill-in-read"]
    (cell,) = claimed_cells(project.arch("m68k"), Running("", "6.1.0"), "", [scenario], project)

    def verdict(outcome: str) -> Verdict:
        return judge(cell.expectations, Observation(scenario=scenario.name, outcome=outcome))

    assert verdict("killed(SIGKILL)") is Verdict.MATCH
    assert verdict("hang(unkillable, spin-kernel)") is Verdict.KNOWN_BUG
    assert verdict("ok") is Verdict.MISMATCH


def test_rows_that_a_cpu_decides_are_all_possible_where_it_is_not_known(project: Project) -> None:
    scenarios = [
        scenario
        for scenario in project.matrix.scenarios.values()
        if any(row.when.cpu and project.arch("x86_64").matches(row.arch) for row in scenario.rows)
    ]
    assert scenarios
    cells = claimed_cells(project.arch("x86_64"), Running("", "6.12.0"), "", scenarios, project)
    assert any(len(cell.expectations) > 1 for cell in cells)


INJECTED = "madvise=ok[SIGBUS/BUS_MCEERR_AR @exact lsb=12]; load=SIGBUS/BUS_MCEERR_AR @exact lsb=12"


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        (None, {"madvise=EINVAL", INJECTED}),  # nobody knows: either may be
        ({"CONFIG_MMU": "y"}, {"madvise=EINVAL"}),
        ({"CONFIG_MEMORY_FAILURE": "y"}, {INJECTED}),
    ],
)
def test_a_config_decides_where_it_is_known(
    project: Project, config: dict[str, str] | None, fits: set[str]
) -> None:
    scenario = project.matrix.scenarios["hwpoison/anon-load"]
    running = Running("x86_64", "6.12.0", config)
    (cell,) = claimed_cells(project.arch("x86_64"), running, "", [scenario], project)
    outcomes = {outcome for one in cell.expectations for outcome in one.outcomes}
    assert outcomes & {"madvise=EINVAL", INJECTED} == fits


def test_no_disk_is_given_to_others(project: Project) -> None:
    """Though their kernel could use one."""
    scenario = next(
        one for one in project.matrix.scenarios.values() if str(one.needs) == "disk ext4"
    )
    config = {"CONFIG_VIRTIO_BLK": "y", "CONFIG_EXT4_FS": "y"}
    running = Running("x86_64", "6.12.0", config)
    (cell,) = claimed_cells(project.arch("x86_64"), running, "", [scenario], project)
    assert [one.outcomes for one in cell.expectations] == [("n/a",)]
    assert "scratch disk" in cell.expectations[0].because


def test_what_claims_no_version_has_no_expectations(project: Project) -> None:
    scenario = project.matrix.scenarios["hole/read"]
    (cell,) = claimed_cells(project.arch("x86_64"), Running("", "unknown"), "", [scenario], project)
    assert cell.expectations == ()


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", "x86_64"), ("aarch64", "arm64"), ("armv7l", "arm"), ("m68k", "m68k"), ("vax", "")],
)
def test_arches_by_uname(project: Project, machine: str, arch: str) -> None:
    found = arch_of(machine, project.arches)
    assert (found.name if found else "") == arch


def test_specs(project: Project) -> None:
    assert project.kernel("local").source == RunningSource("local")
    assert project.kernel("ssh:user@board").source == RunningSource("ssh", "user@board")
    with pytest.raises(DeclarationError):
        project.kernel("ssh:")


def test_ssh_asks_nobody_and_takes_no_options_from_a_host_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(SSH, raising=False)
    words = _ssh("-oProxyCommand=x")
    assert "BatchMode=yes" in words
    assert words[-2:] == ("--", "-oProxyCommand=x")
    fake = tmp_path / "ssh"
    fake.write_text("#!/bin/sh\necho 'no route to host' >&2; exit 255\n")
    fake.chmod(0o755)
    monkeypatch.setenv(SSH, str(fake))
    with pytest.raises(BuildError, match="no route to host"):
        look_at(RunningSource("ssh", "nowhere.invalid"))


@pytest.mark.parametrize(
    ("said", "config"),
    [
        ("x86_64\n6.12.1\nCONFIG_A=y\n# CONFIG_B is not set\n", {"CONFIG_A": "y"}),
        ("x86_64\n6.12.1\n", None),
        ("x86_64\n6.12.1\n<html>\n", None),
    ],
)
def test_ssh_asks_for_the_config(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, config: dict[str, str] | None
) -> None:
    fake = tmp_path / "ssh"
    fake.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\n")
    fake.chmod(0o755)
    monkeypatch.setenv(SSH, str(fake))
    assert _ask_over_ssh.__wrapped__("board") == Running("x86_64", "6.12.1", config)


def test_here_the_config_is_that_of_the_running_kernel() -> None:
    """Its question over ssh is for the same, so that here they have one answer."""
    said = subprocess.run(["sh", "-c", _ASK], capture_output=True, text=True, check=True).stdout
    machine, release, *config = said.splitlines()
    symbols = read_config("\n".join(config)) or None
    assert look_at(RunningSource("local")) == Running(machine, release, symbols)
    assert look_at(RunningSource("qemu-user")).config is None, "it is not this kernel's"
