"""The templates of CI: which tests on real machines they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Of daily tools, on more arches than one: `pytest` without arguments has them.
DAILY = {
    "test_bisect_history.py",
    "test_compare.py",
    "test_exec.py",
    "test_repro.py",
    "test_targets.py",
}


def commands(node: Any) -> list[str]:
    """Every string of a template."""
    if isinstance(node, dict | list):
        below = node.values() if isinstance(node, dict) else node
        return [text for one in below for text in commands(one)]
    return [str(node)]


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_what_makes_the_harness_trusted_is_run(name: str) -> None:
    template = yaml.safe_load((ROOT / "ci" / name / "matrix.yml").read_text())
    words = {word for text in commands(template) for word in text.split()}
    named = {word for word in words if word.startswith("tests/real/")}
    files = {path.name for path in (ROOT / "tests" / "real").glob("test_*.py")}
    assert named == {f"tests/real/{name}" for name in files - DAILY}
