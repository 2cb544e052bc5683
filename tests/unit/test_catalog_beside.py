"""What kernels say beside the outcomes of a family, declared once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.arches import load_arches
from harness.catalog.matrix import Facts, Scenario, load_matrix
from harness.catalog.version import parse_version
from harness.catalog.yamlfile import DeclarationError

ROOT = Path(__file__).resolve().parents[2]
ARCHES = load_arches(ROOT)
BESIDE = """\
beside:
  bad-page:
    kernel: "<5.16"
    when: {config: [CONFIG_A=y, CONFIG_SWAP is not set]}
    says: SAYS
    because: nobody knows the entry
    ref: a report

"""
FAMILY = """\
edge:
  summary: an edge
  beside: bad-page
  expect:
    - {arch: arm, outcome: n/a, because: no such thing}
    - {arch: m68k, outcome: read=ok(64), because: dropped, bug: {ref: lost, want: read=EIO}}
    - {outcome: [load=ok, "A: load=ok | B: wait=ok"], because: it is so}
plain:
  summary: another
  expect: [{outcome: ok, because: it is so}]
"""


def scenario(root: Path, name: str = "edge", says: str = "warn(bad-page)") -> Scenario:
    (root / "expectations").mkdir(exist_ok=True)
    (root / "expectations/decisions.yaml").write_text("{}")
    (root / "expectations/demo.yaml").write_text(BESIDE.replace("SAYS", says) + FAMILY)
    return load_matrix(root, ARCHES).scenarios[f"demo/{name}"]


def facts(arch: str, version: str = "5.10.1", **config: str) -> Facts:
    symbols = {f"CONFIG_{name}": value for name, value in config.items()}
    return Facts(arch=ARCHES[arch], version=parse_version(version), config=symbols)


def test_each_outcome_has_it_behind_and_is_a_bug(tmp_path: Path) -> None:
    (row,) = scenario(tmp_path).rows_for(facts("x86_64", A="y"))
    warned = ["A: load=ok | kernel: warn(bad-page)"]
    warned += ["A: load=ok | B: wait=ok | kernel: warn(bad-page)"]
    assert [str(outcome) for outcome in row.outcomes] == warned
    assert row.bug and row.bug.ref == "a report"
    assert [str(want) for want in row.bug.want] == ["load=ok", "A: load=ok | B: wait=ok"]
    assert row.because == "it is so; and nobody knows the entry"


def test_what_is_right_stays_what_the_row_says_is_right(tmp_path: Path) -> None:
    (row,) = scenario(tmp_path).rows_for(facts("m68k", A="y"))
    assert str(row.outcomes[0]) == "A: read=ok(64) | kernel: warn(bad-page)"
    assert row.bug and [str(want) for want in row.bug.want] == ["read=EIO"]


@pytest.mark.parametrize(
    "column",
    [
        facts("x86_64", "5.16", A="y"),
        facts("x86_64", A="y", SWAP="y"),
        facts("x86_64"),
    ],
)
def test_elsewhere_the_rows_are_as_they_stand(tmp_path: Path, column: Facts) -> None:
    one = scenario(tmp_path)
    assert one.rows_for(column) == [one.rows[2]]


def test_nothing_is_said_where_nothing_applies(tmp_path: Path) -> None:
    one = scenario(tmp_path)
    assert one.rows_for(facts("arm", A="y")) == [one.rows[0]]
    other = scenario(tmp_path, "plain")
    assert other.rows_for(facts("x86_64", A="y")) == [other.rows[0]]


def test_without_a_config_either_may_be(tmp_path: Path) -> None:
    one = scenario(tmp_path)
    column = Facts(arch=ARCHES["m68k"], version=parse_version("5.10"))
    found = [str(row.outcomes[0]) for row in one.rows_for(column)]
    assert found == ["A: read=ok(64) | kernel: warn(bad-page)", "read=ok(64)"]


@pytest.mark.parametrize("says", ["EFAULT", "load=oops; store=oops", "n/a", "killed(SIGBUS)"])
def test_it_has_to_be_trouble(tmp_path: Path, says: str) -> None:
    with pytest.raises(DeclarationError, match="expected what a kernel says"):
        scenario(tmp_path, says=says)


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    scenario(tmp_path)
    path = tmp_path / "expectations/demo.yaml"
    path.write_text(path.read_text().replace("beside: bad-page", "beside: bad-pages"))
    with pytest.raises(DeclarationError, match="bad-pages"):
        load_matrix(tmp_path, ARCHES)
