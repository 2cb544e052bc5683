"""Declarations of mutants; that they are killed is measured by tools/mutants, on real boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.arches import arch_names
from harness.catalog.yamlfile import DeclarationError
from harness.mutants import load_mutants

ROOT = Path(__file__).parents[2]
DIFF = "\n--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-a\n+b\n"


def load(folder: Path, head: str) -> None:
    (folder / "mutants").mkdir()
    (folder / "mutants" / "x.patch").write_text(head + DIFF)
    load_mutants(folder, ["m68k", "alpha"])


def test_every_mutant_says_what_it_is() -> None:
    mutants = load_mutants(ROOT, arch_names(ROOT))
    assert mutants
    assert all(mutant.touched for mutant in mutants)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("Arch: m68k\nWhat: x\n", "lacks `Origin:`"),
        ("Arch: m86k\nOrigin: seen\nWhat: x\n", "unknown arch 'm86k'"),
        ("Arch: m68k\nOrigin: me\nWhat: x\n", "unknown origin 'me'"),
        ("Arch: m68k\nArch: alpha\nOrigin: seen\nWhat: x\n", "stands here twice"),
    ],
)
def test_a_wrong_head_is_told_with_its_file(tmp_path: Path, head: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        load(tmp_path, head)
    assert "mutants/x.patch" in str(caught.value)
