"""Patches: applied to a hard-link copy, skipped where they are in already, else an error."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from harness.build import BuildError, patches
from harness.build.patches import apply_patch, check_names, check_patches, patched, remedies
from harness.build.prune import verify
from harness.build.source import resolve
from harness.build.store import Store
from harness.build.tools import file_digest
from harness.catalog.kernels import Kernel, Patch, TarballSource, TreeSource
from harness.catalog.version import VersionRange
from tests.unit.build_fakes import fake_arch, fake_tree, tarball

DIFF = """\
--- a/text
+++ b/text
@@ -1,5 +1,5 @@
 one
 two
-three
+THREE
 four
 five
"""
INSERTION = """\
--- a/text
+++ b/text
@@ -1,4 +1,5 @@
 one
 two
+two and a half
 three
 four
"""
REMOVAL = """\
--- a/text
+++ b/text
@@ -1,5 +1,4 @@
 one
 two
-three
 four
 five
"""
DELETION = """\
diff --git a/mm/memory.c b/mm/memory.c
deleted file mode 100644
--- a/mm/memory.c
+++ /dev/null
@@ -1,4 +0,0 @@
-int fault(void)
-{
-\treturn VM_FAULT_SIGBUS;
-}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fake_tree(tmp_path / "tree")


def write(tmp_path: Path, text: str, name: str = "fix.patch") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("diff", [DIFF, INSERTION, REMOVAL])
def test_applied_once_then_known_to_be_there(tree: Path, tmp_path: Path, diff: str) -> None:
    path = write(tmp_path, diff)
    before = (tree / "text").read_text()
    names = sorted(tree.rglob("*"))
    assert apply_patch(tree, path) is True
    after = (tree / "text").read_text()
    assert after != before
    assert apply_patch(tree, path) is False
    assert (tree / "text").read_text() == after
    assert sorted(tree.rglob("*")) == names


@pytest.mark.parametrize("diff", [DIFF, INSERTION, REMOVAL])
def test_moved_lines_and_worn_context_still_apply(tree: Path, tmp_path: Path, diff: str) -> None:
    text = "new\n" * 30 + (tree / "text").read_text().replace("one", "One")
    (tree / "text").write_text(text)
    assert apply_patch(tree, write(tmp_path, diff)) is True


def test_neither_there_nor_applicable_names_the_hunk(tree: Path, tmp_path: Path) -> None:
    (tree / "text").write_text("something\nelse\n")
    with pytest.raises(BuildError) as caught:
        apply_patch(tree, write(tmp_path, DIFF))
    assert "fix.patch" in caught.value.message
    assert "text hunk 1 (@@ -1,5 +1,5 @@)" in caught.value.message
    assert (tree / "text").read_text() == "something\nelse\n"


def test_a_file_that_is_not_there(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="neither applies"):
        apply_patch(tree, write(tmp_path, DIFF.replace("text", "gone")))


def test_half_of_it_is_not_enough(tree: Path, tmp_path: Path) -> None:
    both = DIFF + DIFF.replace("text", "mm/memory.c")
    with pytest.raises(BuildError, match=r"mm/memory\.c hunk 1"):
        apply_patch(tree, write(tmp_path, both))
    assert "THREE" not in (tree / "text").read_text()


def test_new_and_removed_files(tree: Path, tmp_path: Path) -> None:
    text = "--- /dev/null\n+++ b/mm/new.c\n@@ -0,0 +1 @@\n+int x;\n"
    path = write(tmp_path, text)
    assert apply_patch(tree, path) is True
    assert (tree / "mm" / "new.c").read_text() == "int x;\n"
    assert apply_patch(tree, path) is False


LINK = "diff --git a/l b/l\nMODE\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n"
LINK_MODES = (
    "index 0000000..1111111 120000",
    "index 0000000..1111111 \t120644",
    "\tX index 0000000..1111111 120000",
    "new file mode 120000",
    "deleted file mode 120000",
    "old mode 120000",
    "Xold mode \v120000",
)
HOSTILE = {
    "dots": DIFF.replace("b/text", "b/../../victim").replace("a/text", "a/../../victim"),
    "absolute": DIFF.replace("a/text", "/etc/victim").replace("b/text", "/etc/victim"),
    "quoted": DIFF.replace("b/text", '"b/../victim"'),
    "link": "new file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+..\n",
    "link of another mode": "new file mode 120777\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+..\n",
    "link, indented": "  new file mode  120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+..\n",
    **{f"link by its {line}": LINK.replace("MODE", line) for line in LINK_MODES},
    "rename": "diff --git a/text b/../../v\nrename from text\nrename to ../../v\n",
    "ed script": "--- a/text\n+++ b/text\n1!touch victim\n.\nw\n",
    "ed only": "1d\n!touch victim\nw\n",
    "deletion, indented": DIFF + indent(DELETION, " "),
    "deletion, escaped as in a signed mail": DIFF + DELETION.replace("--- ", "- --- "),
    "deletion, indented by a tab": DIFF + indent(DELETION, "\t"),
    "deletion, behind an X": DIFF + indent(DELETION, "X"),
    "link, behind an X": DIFF
    + "Xnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+.\n",
    "index": "Index: ../victim\n--- /dev/null\n+++ /dev/null\n@@ -0,0 +1 @@\n+x\n",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_patches_cannot_write_elsewhere(tree: Path, tmp_path: Path, case: str) -> None:
    patch = write(tmp_path, HOSTILE[case])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BuildError):
        apply_patch(tree, patch)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", LINK_MODES)
def test_a_link_is_told_before_there_is_a_tree(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path, LINK.replace("MODE", mode))
    with pytest.raises(BuildError, match=r"fix\.patch: makes or changes a symbolic link, which"):
        check_patches([Patch(path, (), None, "x")])
    usual = LINK.replace("MODE", mode.replace("120", "100"))
    check_names(usual.replace("Xold", "old").replace("\tX index", "index"), path)


@pytest.mark.parametrize("mode", LINK_MODES)
def test_a_link_is_refused_by_what_patch_says(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Though nothing else has found one, and before it is made."""
    monkeypatch.setattr(patches, "check_names", lambda text, file: None)
    with pytest.raises(BuildError, match=r"symbolic link,? l"):
        apply_patch(tree, write(tmp_path, LINK.replace("MODE", mode)))
    assert not (tree / "l").is_symlink() and not (tree / "l").exists()


def test_text_of_a_file_may_look_like_a_patch(tree: Path, tmp_path: Path) -> None:
    """As documentation does; what is told before a patch must not."""
    told = "how to:\n --- a/x\n +++ b/x\n @@ -1 +1 @@\n"
    (tree / "text").write_text(told)
    lines = "".join(f" {line}\n" for line in told.splitlines())
    diff = f"--- a/text\n+++ b/text\n@@ -1,4 +1,5 @@\n{lines}+ --- end\n"
    assert apply_patch(tree, write(tmp_path, diff)) is True
    assert (tree / "text").read_text() == told + " --- end\n"
    with pytest.raises(BuildError, match=r"fix\.patch: line 2, '  --- a/x'"):
        apply_patch(
            tree, write(tmp_path, "how to:\n" + indent(DIFF, "  ").replace("text", "x") + diff)
        )


# -- through the store --


def kernel_of(tree: Path, tmp_path: Path, *patches: Patch) -> Kernel:
    path = tmp_path / "linux.tar"
    if not path.exists():
        tarball(tree, path, "w")
    return Kernel("k", TarballSource(path, None, file_digest(path)), patches)


def test_each_arch_gets_its_patches(tree: Path, tmp_path: Path, store: Store) -> None:
    alpha, m68k = (fake_arch(tmp_path / "root", name) for name in ("alpha", "m68k"))
    old = VersionRange.parse("<6.2")
    patches = (
        Patch(write(tmp_path, DIFF), ("alpha",), None, "x"),
        Patch(write(tmp_path, INSERTION, "old.patch"), (), old, "x"),
    )
    kernel = kernel_of(tree, tmp_path, *patches)
    source = resolve(kernel, store)
    assert patched(kernel, source, m68k, store).source is source
    found = patched(kernel, source, alpha, store)
    assert found.applied == ("fix.patch",) and found.skipped == ()
    assert "THREE" in (found.source.tree / "text").read_text()
    assert "three" in (source.tree / "text").read_text()  # the pristine one is unharmed
    assert (found.source.tree / "Makefile").samefile(source.tree / "Makefile")
    assert not verify(store)
    again = patched(kernel, source, alpha, Store(store.root))
    assert again == found


def test_skipped_patches_are_told(tree: Path, tmp_path: Path, store: Store) -> None:
    path = write(tmp_path, DIFF)
    (tree / "text").write_text((tree / "text").read_text().replace("three", "THREE"))
    kernel = kernel_of(tree, tmp_path, Patch(path, (), None, "x"))
    arch = fake_arch(tmp_path / "root")
    found = patched(kernel, resolve(kernel, store), arch, store)
    assert found.applied == () and found.skipped == ("fix.patch",)


def test_a_changed_patch_is_another_tree(tree: Path, tmp_path: Path, store: Store) -> None:
    arch = fake_arch(tmp_path / "root")
    path = write(tmp_path, DIFF)
    kernel = kernel_of(tree, tmp_path, Patch(path, (), None, "x"))
    source = resolve(kernel, store)
    first = patched(kernel, source, arch, store)
    path.write_text(DIFF.replace("THREE", "3"))
    second = patched(kernel, source, arch, store)
    assert first.source.key != second.source.key
    assert "3" in (second.source.tree / "text").read_text()


def test_a_users_tree_is_patched_in_a_copy(tree: Path, tmp_path: Path, store: Store) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    kernel = Kernel("t", TreeSource(tree), (Patch(write(tmp_path, DIFF), (), None, "x"),))
    source = resolve(kernel, store)
    done = patched(kernel, source, fake_arch(tmp_path / "root"), store)
    assert done.applied == ("fix.patch",) and done.source.tree != source.tree != tree
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_what_may_be_missing_is_not_looked_for_without_patch(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = Patch(write(tmp_path, DIFF), (), None, "two are too few")
    kernel = Kernel("t", TreeSource(tree), remedies=(needed,))
    source, arch = resolve(kernel, Store(tmp_path / "store")), fake_arch(tmp_path / "root")
    assert remedies(kernel, source, arch) == [needed]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert remedies(kernel, source, arch) == []
