"""The order of scenarios changes no outcome: a column of real machines, two seeds and none."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import outcomes_of, results, start

SEEDS = ("one", "other")
EVERYTHING = ("*", "--no-wedging")  # what wedges a machine has one of its own in any order


@pytest.mark.usefixtures("undisturbed")  # which has built the kernel
def test_two_seeds_give_the_outcomes_of_no_seed(tmp_path: Path) -> None:
    seen, orders = [], set()
    for words in ((), *(("--shuffle", seed) for seed in SEEDS)):
        out = tmp_path / "-".join(["out", *words])
        run = start(out, *EVERYTHING, *words)
        said, _ = run.communicate(timeout=600)
        assert run.returncode == 0, said.decode()
        # A cell that is declared as a set may come out either way.
        found = results(out)
        sets = {name for name, record in found.items() if len(record["expected"]) > 1}
        seen.append({name: o for name, o in outcomes_of(out).items() if name not in sets})
        orders.add(tuple(found))
        assert len(sets) < len(found) / 20
    assert len(seen[0]) > 300
    assert seen[0] == seen[1] == seen[2]
    assert len(orders) == 1 + len(SEEDS), "the order was the same"
