"""Declarations of mutants; that they are killed is measured by tools/mutants, on real boots."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from shutil import which
from textwrap import indent

import pytest

from harness.build import BuildError, patches
from harness.build.source import resolve
from harness.build.store import Store
from harness.build.tools import file_digest
from harness.catalog.arches import arch_names
from harness.catalog.kernels import Kernel, TarballSource, TreeSource
from harness.catalog.yamlfile import DeclarationError
from harness.mutants import load_mutants
from harness.workbench import Workbench, between, workbench
from tests.unit.build_fakes import fake_arch, fake_tree, flip_unseen, tarball

ROOT = Path(__file__).parents[2]
DIFF = "\n--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-a\n+b\n"


HEAD = "Arch: m68k\nOrigin: seen\nWhat: x\n"


def load(folder: Path, head: str, diff: str = DIFF) -> None:
    (folder / "mutants").mkdir()
    (folder / "mutants" / "x.patch").write_text(head + diff, encoding="latin-1")
    load_mutants(folder, ["m68k", "alpha"])


def test_every_mutant_says_what_it_is() -> None:
    mutants = load_mutants(ROOT, arch_names(ROOT))
    assert mutants
    assert all(mutant.touched for mutant in mutants)


def test_what_the_set_promises() -> None:
    """60 mutants, 20 of them blind, and 20 fixes taken back, those in parts counted once."""
    mutants = load_mutants(ROOT, arch_names(ROOT))
    subjects = {one.origin.split('"')[1] for one in mutants if one.origin.startswith("reverses ")}
    assert len(mutants) >= 60
    assert sum(mutant.origin == "blind" for mutant in mutants) >= 20
    assert len(subjects) >= 20


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("Arch: m68k\nWhat: x\n", "lacks `Origin:`"),
        ("Arch: m86k\nOrigin: seen\nWhat: x\n", "unknown arch 'm86k'"),
        ("Arch: m68k\nOrigin: me\nWhat: x\n", "unknown origin 'me'"),
        ("Arch: m68k\nArch: alpha\nOrigin: seen\nWhat: x\n", "stands here twice"),
        ("Arch: m68k, alpha m68k\nOrigin: seen\nWhat: x\n", "arch 'm68k' stands here twice"),
        ("Arch: m68k\nOrigin: blindfold\nWhat: x\n", "unknown origin 'blindfold'"),
        (f"Flavour: ful\n{HEAD}", "there is no flavours/ful.config"),
        ("Arch: m68k\nOrigin: reverses\nWhat: x\n", "unknown origin 'reverses'"),
        ("Arch: m68k\nOrigin: seen\nWhat: \xe9\n", "not UTF-8"),
    ],
)
def test_a_wrong_head_is_told_with_its_file(tmp_path: Path, head: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        load(tmp_path, head)
    assert "mutants/x.patch" in str(caught.value)


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        ("", "expected a unified diff"),
        ("\n--- a/mm/memory.c\n", "changes no file"),
        (DIFF.replace("b/mm", "b/../../mm"), r"'b/../../mm/memory.c', which could lie outside"),
        (DIFF.replace("b/mm", "/mm"), "which could lie outside"),
        (DIFF.replace("b/mm/memory.c", "/dev/null"), "makes, deletes and renames no file"),
        (DIFF.replace("a/mm/memory.c", "/dev/null"), "makes, deletes and renames no file"),
        (DIFF.replace("b/mm", "new/mm"), "makes, deletes and renames no file"),
        (DIFF + DIFF.replace("b/mm", "new/mm"), "makes, deletes and renames no file"),
        (DIFF.replace("b/mm/memory", "b/mm/other"), "makes, deletes and renames no file"),
        (DIFF + "--- a/x\n@@ -1 +0,0 @@\n-a\n", "before its"),
        (DIFF + "diff --git a/x b/x\ndeleted file mode 100644\n", "'deleted file mode 100644'"),
        (DIFF + "diff --git a/x b/y\nrename from x\nrename to y\n", "'rename from x'"),
        (DIFF + "diff --git a/x b/x\nold mode 100644\n", "text alone"),
        (DIFF + indent(DIFF, " "), "line 11, ' --- a/mm/memory.c', is a part"),
        (DIFF + indent(DIFF, "\t"), r"'\\t--- a/mm/memory.c'"),
        (DIFF + indent(DIFF, "X"), "'X--- a/mm/memory.c'"),
        (DIFF + indent(DIFF, " X\t"), r"' X\\t--- a/mm/memory.c'"),
        (DIFF + " diff --git a/x b/x\n deleted file mode 100644\n", "' diff --git a/x b/x'"),
        (DIFF + "diff --git a/x b/x\nX\tdeleted file mode 100644\n", r"'X\\tdeleted file mode"),
    ],
)
def test_a_patch_of_nothing_or_of_what_is_outside_is_refused_when_read(
    tmp_path: Path, diff: str, words: str
) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        load(tmp_path, HEAD, diff)
    assert str(caught.value).startswith("mutants/x.patch:")


def bench_of(folder: Path, **files: str) -> tuple[Path, Workbench]:
    """A pristine tree with these files in mm/, and a bench of it."""
    pristine = folder / "pristine"
    (pristine / "mm").mkdir(parents=True)
    for name, text in files.items():
        (pristine / "mm" / f"{name}.c").write_text(text)
    (folder / "bench").mkdir()
    return pristine, Workbench(pristine, folder / "bench")


def tree(root: Path) -> dict[str, str | None]:
    """All that is in it; None for a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_text() if path.is_file() else None
        for path in root.rglob("*")
    }


def patch_of(*names: str) -> str:
    return "".join(
        f"--- a/mm/{name}.c\n+++ b/mm/{name}.c\n@@ -1 +{'0,0' if name == 'gone' else 1} @@\n-a\n"
        + ("" if name == "gone" else "+b\n")
        for name in names
    )


@pytest.mark.parametrize("names", [("one",), ("one", "two"), ("one", "gone"), ("gone",)])
def test_after_a_mutant_the_tree_is_the_pristine_one(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    pristine, bench = bench_of(tmp_path, one="a\n", two="a\n", gone="a\n")
    before = tree(pristine)
    (tmp_path / "mutants").mkdir()
    (tmp_path / "mutants" / "x.patch").write_text(HEAD + patch_of(*names))
    (mutant,) = load_mutants(tmp_path, ["m68k"])
    bench.touch(mutant.touched)
    bench.apply(mutant.file)
    assert tree(bench.tree) != before
    assert tree(pristine) == before
    bench.restore()
    assert tree(bench.tree) == before


@pytest.mark.parametrize(
    "more",
    [
        patch_of("two"),
        patch_of("gone"),
        "diff --git a/mm/two.c b/mm/two.c\ndeleted file mode 100644\n" + patch_of("gone"),
        "diff --git a/mm/two.c b/mm/two.c\nold mode 100644\nnew mode 100755\n",
        "diff --git a/mm/two.c b/mm/new.c\nrename from mm/two.c\nrename to mm/new.c\n",
        "Index: a/mm/two.c\n@@ -1 +1 @@\n-a\n+b\n",
        "*** a/mm/two.c\n@@ -1 +1 @@\n-a\n+b\n",
    ],
    ids=["text", "deletion", "deletion by mode", "mode", "rename", "index", "of the other kind"],
)
@pytest.mark.parametrize("before", ["", " ", "\t", "X"])
def test_a_patch_cannot_change_what_would_not_be_given_back(
    tmp_path: Path, more: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not it is seen in its text: patch(1) itself tells what it is about to change."""
    monkeypatch.setattr(patches, "check_names", lambda text, file: None)
    pristine, bench = bench_of(tmp_path, one="a\n", two="a\n", gone="a\n")
    file = tmp_path / "x.patch"
    file.write_text(patch_of("one") + indent(more, before))
    bench.touch(["mm/one.c"])
    with pytest.raises(BuildError, match=r"would change mm/(two|gone|new)\.c"):
        bench.apply(file)
    assert tree(bench.tree) == tree(pristine)


def test_a_mutant_makes_no_file(tmp_path: Path) -> None:
    pristine, bench = bench_of(tmp_path, one="a\n")
    with pytest.raises(BuildError, match=r"mm/new.c is not in the tree"):
        bench.touch(["mm/one.c", "mm/new.c"])
    assert tree(bench.tree) == tree(pristine)


C = """\
#define TWO(x) \\
	((x) + \\
		0)
int one = __LINE__;
int two = TWO(__LINE__);
int three = __LINE__;
int four(int a)
{
	return a
		? __LINE__
		: TWO(__LINE__);
}
int five = __LINE__;
/* a comment ( of
   two lines */
int six = __LINE__;
int seven(int a)
{
	const char *text = "a literal )( of \\
		two lines" "/*";
	return a + text[0] + TWO(
		a +
		2) + ')'
		+ __LINE__;
}
#ifdef LEFT_OUT
int eight = (
	__LINE__);
#else
int nine(int a
#endif
	);
int ten = __LINE__;
// a comment that goes on \\
in a second line
int eleven = __LINE__;
#if 1 /* a directive
	of two lines */
int twelve = __LINE__;
#endif
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int one", "\n\n// moved\nint one"),
        ("#define TWO(x) \\\n", "\n\n#define TWO(x) \\\n"),
        ("\t((x) + \\\n\t\t0)", "\t(x)"),
        ("\t((x) + \\\n", "\t((x) + \\\n\\\n"),
        ("\t\t? ", "\n\n\t\t? "),
        ("{\n\treturn a\n", "{ return a\n"),
        ("int four(int a)\n{\n", "int four(int a) {\n\n\n\n"),
        ("/* a comment ( of\n", "/* a\n comment ( of\n"),
        ('"a literal )( of \\\n', '"a literal\\\n )( of \\\n'),
        ("TWO(\n", "TWO(\n\n\n"),
        ("\t\ta +\n", "\t\ta\n +\n"),
        ("int eight = (\n", "int eight = (1 +\n\n"),
        ("#ifdef LEFT_OUT\n", "#ifdef LEFT_OUT\n\n\n"),
        ("int nine(int a\n", "int nine(\n\nint a\n"),
        ("// a comment that", "// a comment \\\n that"),
        ("#if 1 /* a directive\n", "#if 1 /* a\n directive\n"),
        ("__LINE__", "__LINE__"),
    ],
)
def test_a_change_leaves_every_other_line_its_number(tmp_path: Path, old: str, new: str) -> None:
    """As the compiler sees it: what is left of the text, without the spaces."""
    assert C.replace(old, new, 1) != C or old == new
    pristine, bench = bench_of(tmp_path, one=C)
    bench.touch(["mm/one.c"])
    changed = bench.tree / "mm" / "one.c"
    changed.write_text(C.replace(old, new, 1))
    bench.keep_lines(["mm/one.c"])

    def compiled(file: Path) -> str:
        argv = ["gcc", "-S", "-O2", "-pedantic-errors", "-o", "-", str(file)]
        text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        return re.sub(r"\t\.(file|ident).*", "", text)

    assert compiled(changed) == compiled(pristine / "mm" / "one.c")
    if old == new:
        assert changed.read_text() == C


def test_a_directive_stands_in_nothing_that_goes_on() -> None:
    """As told line by line: + where it may stand before a line."""
    told = """\
+ #define TWO(x) \\
-	((x) + ( \\
-		0)
+ int one = TWO(2
-	+ 3
-	); /* (
-	 */ int two; /* "
- */
+ char open = '(', quote = '"', close = '\\'';
+ const char *text = "\\"( /*",
+	*other = "(\\
- )";
+ // don't (
+ #if A /* (
-	*/
+ if (a &&
- #elif B
+ if (b &&
- #else
+ if (c &&
- #endif
-	d)
+ e();
+ #error don't (
+ #include "x/*.h"
+ f((a),
-   ")");
+ // goes on \\
- here
+
"""
    lines = [line[1:].strip(" ").encode() for line in told.splitlines(keepends=True)]
    seen = ["-+"[fit] for fit in between(lines)[: len(lines)]]
    assert list(zip(seen, lines, strict=True)) == [
        (sign[0], line) for sign, line in zip(told.splitlines(), lines, strict=True)
    ]


@pytest.mark.parametrize("name", ["../outside", "link/outside", "mm/../../outside"])
def test_a_workbench_unlinks_nothing_outside_its_tree(tmp_path: Path, name: str) -> None:
    pristine, folder = tmp_path / "pristine", tmp_path / "bench"
    (pristine / "mm").mkdir(parents=True)
    (pristine / "mm" / "memory.c").write_text("as it was")
    folder.mkdir()
    bench = Workbench(pristine, folder)
    (bench.tree / "link").symlink_to(folder)
    (pristine / "link").symlink_to(folder)  # which Workbench() would have copied
    outside = folder / "outside"
    outside.write_text("precious")
    with pytest.raises(BuildError, match="is not in the tree"):
        bench.touch([name])
    assert outside.read_text() == "precious"


def test_a_workbench_gives_back_what_it_was_told_of(tmp_path: Path) -> None:
    pristine, folder = tmp_path / "pristine", tmp_path / "bench"
    pristine.mkdir()
    (pristine / "memory.c").write_text("as it was")
    folder.mkdir()
    bench = Workbench(pristine, folder)
    bench.touch(["memory.c"])
    (bench.tree / "memory.c").write_text("mutated")
    assert (pristine / "memory.c").read_text() == "as it was"
    bench.restore()
    assert (bench.tree / "memory.c").read_text() == "as it was"


def test_a_tree_is_made_of_a_source_that_was_read(tmp_path: Path) -> None:
    """And what it was made of is not read again."""
    archive = tarball(fake_tree(tmp_path / "tree"), tmp_path / "linux.tar", "w")
    kernel = Kernel("t", TarballSource(archive, None, file_digest(archive)))
    source = resolve(kernel, Store(tmp_path / "store")).tree
    before = tree(source)
    flip_unseen(source / "text")
    assert tree(source) != before
    said: list[str] = []
    store = Store(tmp_path / "store", said.append)
    for _ in range(2):
        with workbench(kernel, fake_arch(tmp_path), store) as bench:
            assert tree(bench.tree) == before
        assert len([line for line in said if line.startswith("store: reading")]) == 1
        store = Store(tmp_path / "store", said.append)


def test_who_writes_to_the_tree_keeps_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, tools/mutants would leave a cp that writes where another one does by then."""
    for tool in ("cp", "patch"):
        path = tmp_path / "bin" / tool
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nls -l /proc/$$/fd > {path}.open\nexec {which(tool)} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    kernel = Kernel("t", TreeSource(fake_tree(tmp_path / "tree")))
    patch = tmp_path / "x.patch"
    patch.write_text("--- a/text\n+++ b/text\n@@ -1 +1 @@\n-one\n+1\n")
    with workbench(kernel, fake_arch(tmp_path), Store(tmp_path / "store")) as bench:
        bench.touch(["text"])
        bench.apply(patch)
        assert (bench.tree / "text").read_text().startswith("1\n")
    for tool in ("cp", "patch"):
        held = re.findall(
            r" -> .*/locks/(.*)\.lock", (tmp_path / "bin" / f"{tool}.open").read_text()
        )
        assert [name.partition("--")[0] for name in held] == ["objects"], tool
