"""How cells become jobs: machines of their own, and long jobs spread over several."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from harness.catalog.matrix import Machine
from harness.machine.hand import HandSpec
from harness.machine.qemu import command
from harness.run.plan import WORTH_A_MACHINE, Cell, jobs, machine_for, repeat_command, spread
from tests.unit.job_samples import cell, job


def test_wedging_cells_big_ones_and_those_with_the_module_have_boots_of_their_own() -> None:
    cells = [
        Cell(scenario="a/a", expectations=()),
        Cell(scenario="a/hang", expectations=(), wedges=True),
        Cell(scenario="a/big", expectations=(), machine=Machine(memory=512)),
        Cell(scenario="a/loads", expectations=(), machine=Machine(module=True)),
        Cell(scenario="a/b", expectations=()),
    ]
    cut = jobs(cells, job())
    assert [[c.scenario for c in one.cells] for one in cut] == [
        ["a/a", "a/b"],
        ["a/big"],
        ["a/loads"],
        ["a/hang"],
    ]
    assert [machine_for(one.spec, one.cells[0]).memory for one in cut] == [64, 512, 64, 64]


def test_a_cell_has_one_cpu_where_it_does_not_ask_for_all() -> None:
    races = Cell(scenario="b/races", expectations=(), machine=Machine(all_cpus=True))
    loads = Cell(scenario="b/loads", expectations=(), machine=Machine(module=True))
    cells = [races, cell("b/one"), loads]
    two = replace(job().spec, smp=2)
    cut = jobs(cells, replace(job(), spec=two))
    assert [[c.scenario for c in one.cells] for one in cut] == [
        ["b/one"],
        ["b/loads"],
        ["b/races"],  # last: it has more than one CPU of the host as well
    ]
    machines = [command(machine_for(two, one), "0") for one in (races, cells[1])]
    assert [argv[argv.index("-smp") + 1] for argv in machines] == ["2", "1,maxcpus=2"]
    told = ["faultline.one_cpu" in argv[argv.index("-append") + 1].split() for argv in machines]
    assert told == [False, True]


def test_where_there_is_one_cpu_the_machine_is_as_it_is() -> None:
    assert machine_for(job().spec, cell("b/one")) == job().spec


def test_machines_with_all_cpus_are_not_put_side_by_side() -> None:
    many, all_cpus = range(4 * WORTH_A_MACHINE), Machine(all_cpus=True)
    races = [replace(cell(f"a/x{n}"), machine=all_cpus) for n in many]
    assert spread([job(*races)], 4) == [job(*races)]


def test_a_long_job_is_spread_over_free_machines() -> None:
    cells = [cell(f"a/x{n}") for n in range(2 * WORTH_A_MACHINE)]
    short = job(*cells[:-1])
    assert spread([short], 2) == [short], "another machine is not worth its start"
    assert spread([job(*cells)], 1) == [job(*cells)]
    for machines in (2, 3):
        parts = spread([job(*cells)], machines)
        assert [len(part.cells) for part in parts] == [WORTH_A_MACHINE] * 2
        assert sorted(c.scenario for p in parts for c in p.cells) == sorted(
            c.scenario for c in cells
        )


def test_what_no_machine_is_asked_is_no_reason_for_another() -> None:
    lacking = [replace(cell(f"a/x{n}"), lacks="needs more") for n in range(3 * WORTH_A_MACHINE)]
    assert spread([job(*lacking)], 4) == [job(*lacking)]


def test_the_machine_at_hand_is_one() -> None:
    cells = [cell(f"a/x{n}") for n in range(4 * WORTH_A_MACHINE)]
    here = replace(job(*cells), spec=HandSpec(argv=(), binary=Path("faults"), where="here"))
    assert spread([here], 4) == [here]


def test_repeat_command_names_the_flavour_where_it_matters() -> None:
    assert repeat_command("k", "a", "full", "f/n").endswith("--arch a --flavour full")
