"""`needs:`: what a scenario asks for, what is expected where it is not there, and the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from stand_in import spec

from harness.build.disk import build_disk
from harness.build.store import Store
from harness.catalog.arches import load_arches
from harness.catalog.matrix import Facts, Machine, Scenario, load_matrix
from harness.catalog.version import parse_version
from harness.catalog.yamlfile import DeclarationError
from harness.machine.qemu import command
from harness.results import Observation, Verdict
from harness.run.judge import judge
from harness.run.plan import Cell, cell, machine_for

PROJECT = Path(__file__).parents[2]
ARCHES = load_arches(PROJECT)
EXT4 = {"CONFIG_VIRTIO_BLK": "y", "CONFIG_EXT4_FS": "y"}
FACTS = Facts(arch=ARCHES["m68k"], version=parse_version("6.12"), config=EXT4)


def scenario(root: Path, needs: str) -> Scenario:
    (root / "expectations").mkdir()
    (root / "expectations/decisions.yaml").write_text("{}")
    (root / "expectations/file.yaml").write_text(
        f"edge:\n  summary: s\n  needs: {needs}\n  expect: [{{outcome: oops, because: b}}]\n"
    )
    return load_matrix(root, ARCHES).scenarios["file/edge"]


def planned(one: Scenario, facts: Facts) -> Cell:
    return cell(one, facts, lambda name: ())


def test_met_needs_change_nothing_but_the_machine(tmp_path: Path) -> None:
    found = planned(scenario(tmp_path, "{disk: ext4}"), FACTS)
    assert [e.outcomes for e in found.expectations] == [("oops",)]
    assert (found.machine.disks, found.wedges, found.lacks) == (("ext4",), True, "")


@pytest.mark.parametrize(
    ("needs", "because"),
    [
        ("{disk: [raw, btrfs]}", "needs CONFIG_BTRFS_FS=y, which this kernel does not have"),
        ("{config: CONFIG_SWAP=y}", "needs CONFIG_SWAP=y, which this kernel does not have"),
        ("{config: CONFIG_EXT4_FS=m}", "needs CONFIG_EXT4_FS=m, which this kernel does not have"),
        (
            "{module: true}",
            "needs the faultline module, which is built only together with a kernel",
        ),
    ],
)
def test_unmet_needs_are_na_with_the_cause(tmp_path: Path, needs: str, because: str) -> None:
    found = planned(scenario(tmp_path, needs), FACTS)
    (expected,) = found.expectations
    assert (expected.outcomes, expected.because) == (("n/a",), because)
    assert expected.declared == "expectations/file.yaml:3"
    assert (found.lacks, found.wedges, found.machine) == (because, False, Machine())


def test_a_guest_may_lack_what_is_not_known_also_where_no_row_speaks(tmp_path: Path) -> None:
    one = scenario(tmp_path, "{config: CONFIG_SWAP=y}")
    found = planned(replace(one, rows=()), replace(FACTS, config=None))

    def verdict(outcome: str) -> Verdict:
        return judge(found.expectations, Observation(scenario="file/edge", outcome=outcome))

    assert found.lacks == ""
    assert verdict("n/a") == Verdict.NOT_APPLICABLE
    assert verdict("ok") == Verdict.NO_EXPECTATION


def test_a_module_needs_a_kernel_that_loads_modules(tmp_path: Path) -> None:
    one = scenario(tmp_path, "{module: true}")
    built = replace(FACTS, module=True)
    assert planned(one, built).expectations[0].because.startswith("needs CONFIG_MODULES=y")
    able = replace(built, config={"CONFIG_MODULES": "y"})
    assert planned(one, able).expectations[0].outcomes == ("oops",)


def test_without_a_config_either_may_be(tmp_path: Path) -> None:
    found = planned(scenario(tmp_path, "{disk: ext4}"), replace(FACTS, config=None))
    assert [e.outcomes for e in found.expectations] == [("n/a",), ("oops",)]
    assert (found.machine.disks, found.lacks) == (("ext4",), "")


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ("{disk: ext5}", "file.yaml:3: unknown disk 'ext5'\n  did you mean ext4?"),
        ("{config: EXT4}", "file.yaml:3: expected a line of a .config, found 'EXT4'"),
        ("{module: 'no'}", "file.yaml:3: unknown value 'no'"),
        ("{}", "`needs:` is empty"),
        ("{disc: raw}", "unknown key 'disc'"),
    ],
)
def test_wrong_needs_are_refused(tmp_path: Path, needs: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        scenario(tmp_path, needs)
    assert message in str(caught.value)


def test_needs_are_told_without_what_follows_from_them(tmp_path: Path) -> None:
    one = scenario(tmp_path, "{module: true, disk: [swap, ext4], config: [CONFIG_NUMA=y]}")
    assert str(one.needs) == "the module; disk ext4, swap; CONFIG_NUMA=y"


def test_a_machine_has_the_disks_of_its_cell_only() -> None:
    images = (("ext4", Path("a,b.img")), ("raw", Path("raw.img")))
    whole = replace(spec(), disks=images, port_device="virtio-serial-pci")
    assert machine_for(whole, Cell(scenario="a/a", expectations=())).disks == ()
    mine = machine_for(
        whole, Cell(scenario="a/a", expectations=(), machine=Machine(disks=("ext4",)))
    )
    argv = command(mine, "ab")
    assert "if=none,id=disk-ext4,format=raw,snapshot=on,file=a,,b.img" in argv
    assert "virtio-blk-pci,drive=disk-ext4,serial=ext4" in argv
    assert not any("raw.img" in word for word in argv)


def test_a_raw_disk_is_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = build_disk("raw", store)
    assert image.stat().st_size == 64 << 20
    assert build_disk("raw", store) == image
