"""The lines and the branches of a file, in a program that this machine's compiler made."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from harness.codemap import Way, extents, joined, spans, ways

FILE = "mm/fault.c"
SOURCE = """\
#include "pending.h"
void one(void), two(void), three(void);
int handle(int address, int *flags)
{
	if (address < 4096)
		one();
	if (address > 0x70000000 || pending(flags))
		two();
	return address;
}
int main(int argc, char **argv) { return handle(argc, &argc); }
"""
HEADER = """\
void three(void);
static inline int pending(int *flags)
{
	if (!*flags)
		return 0;
	three();
	return *flags;
}
"""
OTHER = "void one(void) {} void two(void) {} void three(void) {}\n"

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the branches of this machine have other names"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("lines") / "linux"
    (tree / "mm").mkdir(parents=True)
    (tree / FILE).write_text(SOURCE)
    (tree / "mm/pending.h").write_text(HEADER)
    (tree / "mm/other.c").write_text(OTHER)
    words = ["gcc", "-O1", "-g", "-o", "vmlinux", tree / FILE, tree / "mm/other.c"]
    subprocess.run(words, cwd=tree, check=True)
    return tree


def decided(tree: Path, lines: range) -> list[Way]:
    vmlinux = tree / "vmlinux"
    found = [one for one in spans(vmlinux, "", "linux", FILE) if one.line in lines]
    return ways(vmlinux, ("x86", ""), "linux", FILE, found)


def test_lines_of_another_file_are_not_of_this_one(tree: Path) -> None:
    found = spans(tree / "vmlinux", "", "linux", FILE)
    assert {5, 6, 7, 8} <= {one.line for one in found} <= set(range(3, 12))
    assert all(one.start < one.end for one in found)
    assert not spans(tree / "vmlinux", "", "linux", "mm/nothing.c")
    assert not spans(tree / "vmlinux", "", "windows", FILE)


def test_a_branch_goes_two_ways(tree: Path) -> None:
    both = decided(tree, range(5, 6))
    assert len({way.branch for way in both}) == 1
    assert {way.next for way in both} == {6, 7}
    assert {way.inlined for way in both} == {""}


def test_each_operand_decides_by_itself(tree: Path) -> None:
    both = decided(tree, range(7, 8))
    own = {way.branch for way in both if not way.inlined}
    called = {way.branch for way in both if way.inlined == "pending"}
    assert own and called and not own & called


def test_a_way_begins_and_ends_in_code(tree: Path) -> None:
    """Both ends are instructions that objdump shows, the first a branch, the second behind it or
    where it says.
    """
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", tree / "vmlinux"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    code = dict(re.findall(r"^\s*([0-9a-f]+):\t(.*)$", text, re.MULTILINE))
    addresses = list(code)
    for way in decided(tree, range(1, 12)):
        branch, to = f"{way.branch:x}", f"{way.to:x}"
        assert code[branch].startswith("j")
        assert f" {to} <" in code[branch] or addresses[addresses.index(branch) + 1] == to


def test_an_arch_without_names_of_branches_has_none(tree: Path) -> None:
    found = spans(tree / "vmlinux", "", "linux", FILE)
    assert ways(tree / "vmlinux", ("vax", ""), "linux", FILE, found) == []


def test_a_function_is_looked_at_whole(tree: Path) -> None:
    found = [one for one in spans(tree / "vmlinux", "", "linux", FILE) if one.line == 6]
    ((start, end),) = extents(tree / "vmlinux", "", found)
    assert start < found[0].start < found[0].end <= end


def test_parts_that_touch_are_joined() -> None:
    assert list(joined([(1, 3), (2, 4), (4, 6), (8, 9)])) == [(1, 6), (8, 9)]
