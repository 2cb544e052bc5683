"""tools/mutate: which lines it changes, how, and that tools/mutants reads what it writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.catalog.arches import arch_names
from harness.mutants import load_mutants
from tests.unit.tool_calls import ROOT, call

FILE = "arch/m68k/mm/fault.c"
SOURCE = """\
int send(int signo);

static int other(int x)
{
	return x == 1;
}

int do_page_fault(unsigned long address)
{
	struct vm_area_struct *vma = find(address);
	int flags = FAULT_FLAG_DEFAULT;	/* && in words */

	if (address <= 7)
		goto out;
	/* a comment; of
	two lines; == */
	else if (vma->vm_flags & VM_READ &&
			address)
		count(address,
			1);
#ifdef CONFIG_X
	flags |= FAULT_FLAG_USER;
#endif
	//if (address == 1)
	return vma == NULL;
out:
	send(SIGBUS);
}
"""
EXPECTED = """\
11 FAULT_FLAG_DEFAULT -> FAULT_FLAG_ALLOW_RETRY
13 negated
13 <= -> <
14 left out
17 VM_READ -> VM_WRITE
17 && -> ||
22 left out
22 FAULT_FLAG_USER -> 0
25 == -> !=
27 left out
27 SIGBUS -> SIGSEGV
"""


def mutate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return call("mutate", str(folder / "tree"), FILE, *words)


def tree(folder: Path) -> Path:
    source = folder / "tree" / FILE
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE)
    return source


def test_each_change_of_a_line_is_a_mutant_that_applies(tmp_path: Path) -> None:
    source, to = tree(tmp_path), tmp_path / "made"
    done = mutate(tmp_path, "do_page_fault", "--arch", "m68k", "--to", str(to))
    assert (done.returncode, done.stderr) == (0, "")
    mutants = load_mutants(ROOT, arch_names(ROOT), str(to))
    told = [one.what.removeprefix("do_page_fault, line ").split(": ")[:2] for one in mutants]
    assert [" ".join(words) for words in told] == EXPECTED.splitlines()
    assert all(
        (one.arches, one.origin, one.touched) == (("m68k",), "mechanical", [FILE])
        for one in mutants
    )
    for one in mutants:
        argv = ["patch", "-p1", "-F0", "-o", "-", "-i", str(one.file)]
        patched = subprocess.run(
            argv, cwd=tmp_path / "tree", capture_output=True, text=True, check=True
        )
        pairs = zip(SOURCE.splitlines(), patched.stdout.splitlines(), strict=True)
        number = int(one.what.split("line ")[1].split(":")[0])
        assert [at for at, (a, b) in enumerate(pairs, 1) if a != b] == [number]
    assert source.read_text() == SOURCE


def test_what_it_cannot_do_it_says(tmp_path: Path) -> None:
    tree(tmp_path)
    to = ["--arch", "m68k", "--to", str(tmp_path / "made")]
    done = mutate(tmp_path, "no_such", *to)
    assert (done.returncode, done.stderr) == (
        1,
        "there is no function no_such whose brace begins a line\n",
    )
    done = call("mutate", str(tmp_path), FILE, "other", *to)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path / FILE}: No such file or directory\n"
    done = call("mutants", "--patches", str(tmp_path / "tree"))
    assert done.returncode == 2
    assert "no mutant is in it" in done.stderr
