"""Rows written into a file: any text, in front of any row."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.catalog.edit import NewRow, insert_row
from harness.catalog.project import load_project
from harness.catalog.yamlfile import load

ROOT = Path(__file__).parents[2]


@given(
    because=st.text(
        st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1
    )
)
@settings(max_examples=150, deadline=None)
def test_any_reason_is_read_back_as_it_was_given(
    because: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    because = " ".join(because.split()) or "x"
    row = NewRow(arch=("m68k",), outcome="ok", because=because * 9, evidence=("no-vma",))
    read = yaml.load("\n".join(row.lines(4)), Loader=yaml.BaseLoader)
    assert read[0]["because"] == because * 9


def test_in_the_real_matrix_only_the_new_row_changes(tmp_path: Path) -> None:
    """In front of every row there is: the file loads, and the new lines are all the difference."""
    project = load_project(ROOT)
    row = NewRow(
        arch=("m68k",), kernel=">=9.1, <9.2", outcome="ok", because="so", evidence=("no-vma",)
    )
    for scenario in project.matrix.scenarios.values():
        text = (ROOT / scenario.file).read_text()
        for before in [*scenario.rows, None]:
            edited = insert_row(text, scenario, before, row)
            assert edited.count("\n") == text.count("\n") + 5
            lines = edited.splitlines(keepends=True)
            at = lines.index('      kernel: ">=9.1, <9.2"\n')
            assert "".join([*lines[: at - 1], *lines[at + 4 :]]) == text
        path = tmp_path / "family.yaml"
        path.write_text(edited)
        rows = load(path).mapping()[scenario.name.partition("/")[2]].mapping()["expect"].items()
        assert len(rows) == len(scenario.rows) + 1
