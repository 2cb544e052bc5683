"""The lines and the branches of a file, in a program that this machine's compiler made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.codemap import Vmlinux, Way, is_conditional, joined

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


@pytest.fixture(scope="module")
def vmlinux(tree: Path) -> Vmlinux:
    return Vmlinux(tree / "vmlinux", "", "linux")


def decided(vmlinux: Vmlinux, lines: range) -> list[Way]:
    return vmlinux.ways(FILE, [one for one in vmlinux.spans(FILE) if one.line in lines])


def test_lines_of_another_file_are_not_of_this_one(vmlinux: Vmlinux) -> None:
    found = vmlinux.spans(FILE)
    assert {5, 6, 7, 8} <= {one.line for one in found} <= set(range(3, 12))
    assert all(one.start < one.end for one in found)
    assert not vmlinux.spans("mm/nothing.c")
    assert not replace(vmlinux, tree="windows").spans(FILE)


def test_a_branch_goes_two_ways(vmlinux: Vmlinux) -> None:
    both = decided(vmlinux, range(5, 6))
    assert len({way.branch for way in both}) == 1
    assert {way.next for way in both} == {6, 7}
    assert {way.inlined for way in both} == {""}


def test_each_operand_decides_by_itself(vmlinux: Vmlinux) -> None:
    both = decided(vmlinux, range(7, 8))
    own = {way.branch for way in both if not way.inlined}
    called = {way.branch for way in both if way.inlined == "pending"}
    assert own and called and not own & called


def test_a_way_begins_and_ends_in_code(vmlinux: Vmlinux) -> None:
    """Both ends are instructions that objdump shows, the first a branch, the second behind it or
    where it says.
    """
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", vmlinux.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    code = dict(re.findall(r"^\s*([0-9a-f]+):\t(.*)$", text, re.MULTILINE))
    addresses = list(code)
    for way in decided(vmlinux, range(1, 12)):
        branch, to = f"{way.branch:x}", f"{way.to:x}"
        assert is_conditional(code[branch].split()[0], "")
        assert f" {to} <" in code[branch] or addresses[addresses.index(branch) + 1] == to


def test_a_function_is_looked_at_whole(vmlinux: Vmlinux) -> None:
    found = [one for one in vmlinux.spans(FILE) if one.line == 6]
    ((start, end),) = vmlinux.extents(found)
    assert start < found[0].start < found[0].end <= end


def test_without_code_there_are_no_ways(vmlinux: Vmlinux) -> None:
    assert vmlinux.extents([]) == vmlinux.ways(FILE, []) == []


@pytest.mark.parametrize(
    ("arch", "branches", "others"),
    [
        (
            "x86",
            "ja jae jb jbe jc je jg jge jl jle jo jp jpe jpo js jz jna jnb jne jnge jno jnp jns "
            "jnz jcxz jecxz jrcxz loop loope loopne loopz loopnz",
            "jmp jmpq ljmp call ret bt bts btr bsf bsr bsfl bswap bnd bound lret sete cmove",
        ),
        (
            "arm",
            "beq bne bcs bhs bcc blo bmi bpl bvs bvc bhi bls bge blt bgt ble beq.n bne.w bleq blne "
            "blls bllt blle blcs cbz cbnz",
            "b bl bx blx b.n b.w bl.w bic bics bicne bfi bfc bkpt bxeq bxne bxj blxne addeq it",
        ),
        (
            "arm64",
            "b.eq b.ne b.cs b.hs b.cc b.lo b.mi b.pl b.vs b.vc b.hi b.ls b.ge b.lt b.gt b.le "
            "bc.eq cbz cbnz tbz tbnz",
            "b bl br blr ret bti brk bic bics bfi bfxil b.al b.nv csel",
        ),
        (
            "alpha",
            "beq bne blt ble bgt bge blbc blbs fbeq fbne fblt fble fbgt fbge",
            "br bsr bis bic jsr jmp ret jsr_coroutine cmoveq cmpbge",
        ),
        (
            "m68k",
            "beqs bnew bccs bcsl bhis blss bltw bles bgts bges bmis bpls bvcs bvsw beqb dbf dbne "
            "dbeq fbeqw fbnel",
            "bras braw bral bsrs bsrl bsrw bset bclr bchg btst bfextu bfset bfclr bkpt jmp jsr rts "
            "seq trapne",
        ),
        (
            "riscv",
            "beq bne blt bge bltu bgeu beqz bnez blez bgez bltz bgtz bgt ble bgtu bleu",
            "j jal jr jalr ret call tail bset bclr binv bext",
        ),
        (
            "powerpc",
            "beq bne blt ble bgt bge bns bso bdz bdnz beq+ bne- bdnz+ beql",
            "b bl ba blr bctr bctrl beqlr bnelr bdnzlr bcl bcctr brh brw brd",
        ),
        (
            "s390x",
            "je jne jh jnh jl jnl jhe jle jo jno jz jnz jp jm jgne jge jgh jgl jgnle jghe jgz "
            "crje cgrjne cijl cgijhe clrjh clgrjle clijnl clgijne brct brctg jct brxh brxle brxhg",
            "j jg br brasl bras brcl bc bcr basr balr svc cghi clc ltgr jnop",
        ),
    ],
)
def test_what_goes_one_of_two_ways(arch: str, branches: str, others: str) -> None:
    cross = f"{arch}-linux-gnu-"
    assert [name for name in branches.split() if not is_conditional(name, cross)] == []
    assert [name for name in others.split() if is_conditional(name, cross)] == []


def test_parts_that_touch_are_joined() -> None:
    assert joined([(1, 3), (2, 4), (4, 6), (8, 9)]) == [(1, 6), (8, 9)]
    assert joined([]) == []
