"""The order of scenarios changes no outcome: on real machines, two seeds and none."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import outcomes_of, results, start

SEEDS = ("one", "other")
EVERYTHING = ("*", "--no-wedging")  # what wedges a machine has one of its own in any order
SOME = ("stack/*", "uaccess/*", "--no-wedging")


@pytest.mark.parametrize(
    ("arch", "scenarios", "cells"), [("m68k", EVERYTHING, 300), ("x86_64", SOME, 100)]
)
def test_two_seeds_give_the_outcomes_of_no_seed(
    arch: str, scenarios: tuple[str, ...], cells: int, tmp_path: Path
) -> None:
    seen, orders = [], set()
    for words in ((), *(("--shuffle", seed) for seed in SEEDS)):
        out = tmp_path / "-".join(["out", *words])
        run = start(out, *scenarios, *words, arch=arch)
        said, _ = run.communicate(timeout=1800)  # the first one builds, if it must
        assert run.returncode == 0, said.decode()
        # A cell that is declared as a set may come out either way.
        found = results(out)
        sets = {name for name, record in found.items() if len(record["expected"]) > 1}
        seen.append({name: o for name, o in outcomes_of(out).items() if name not in sets})
        orders.add(tuple(found))
        assert len(sets) < len(found) / 20
    assert len(seen[0]) > cells
    assert seen[0] == seen[1] == seen[2]
    assert len(orders) == 1 + len(SEEDS), "the order was the same"
