"""The order of scenarios changes no outcome: on real machines, two seeds and none."""

from __future__ import annotations

from pathlib import Path

from rig import outcomes_of, results, start

SEEDS = ("one", "other")


def test_two_seeds_give_the_outcomes_of_no_seed(
    tmp_path: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    outcomes, _ = undisturbed
    orders = {tuple(outcomes)}
    for seed in SEEDS:
        run = start(tmp_path / seed, "--shuffle", seed)
        said, _ = run.communicate(timeout=300)
        assert run.returncode == 0, said.decode()
        assert outcomes_of(tmp_path / seed) == outcomes
        orders.add(tuple(results(tmp_path / seed)))
    assert len(orders) == 1 + len(SEEDS), "the order was the same"
