"""guest-progs/ against what is declared: read as text, nothing compiled."""

from __future__ import annotations

import re
from pathlib import Path

from harness.catalog.project import load_project

ROOT = Path(__file__).parents[2]
FUNCTION = re.compile(r"^(static )?[\w *]*?\b(\w+)\([^;{}]*\)\n\{\n(.*?)^\}", re.M | re.S)


def reach(name: str) -> set[str]:
    """All functions seen from other files that name this one, or one that names it, and so on."""
    named = {}  # (file, or "" where each file sees it, function) -> its file, all words in it
    for path in (ROOT / "guest-progs").glob("*.c"):
        for static, function, body in FUNCTION.findall(path.read_text()):
            scope = path.name if static else ""
            named[scope, function] = path.name, set(re.findall(r"\w+", body))
    found = {("", name)}
    while more := {
        one
        for one, (file, words) in named.items()
        if one not in found
        and any(
            (file, word) in found or (("", word) in found and (file, word) not in named)
            for word in words
        )
    }:
        found |= more
    return {function for scope, function in found if not scope}


def test_whoever_uses_all_cpus_is_declared_to() -> None:
    """A machine has one where nothing is declared, and a race there is none."""
    scenarios = load_project(ROOT).matrix.scenarios.values()
    declared = {one.function for one in scenarios if one.all_cpus}
    uses = reach("use_all_cpus") & {one.function for one in scenarios}
    assert "races_munmap" in uses and "swap_threads" in uses  # it finds any
    assert declared == uses
