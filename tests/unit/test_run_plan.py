"""From rows to expectations: what a row says of pages is told for the column's page size."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.arches import load_arches
from harness.catalog.matrix import Facts, load_matrix
from harness.catalog.version import parse_version
from harness.run.facts import page_size
from harness.run.plan import cell

ARCHES = load_arches(Path(__file__).parents[2])
POISON = """\
edge:
  summary: s
  expect:
    - outcome: SIGBUS/BUS_MCEERR_AR @exact lsb=page
      because: b
      bug: {ref: r, want: madvise=ok; load=SIGBUS/BUS_MCEERR_AR @exact lsb=page}
"""


@pytest.mark.parametrize(
    ("arch", "config", "size"),
    [
        ("arm64-16k", {"CONFIG_PAGE_SHIFT": "14"}, 16384),  # since 6.9
        ("arm64", {"CONFIG_ARM64_4K_PAGES": "y"}, 4096),
        ("arm64", {"CONFIG_ARM64_64K_PAGES": "y", "CONFIG_64BIT": "y"}, 65536),
        ("x86_64", {"CONFIG_MMU": "y"}, 4096),  # has nothing to choose, and says nothing
        ("alpha", {"CONFIG_MMU": "y"}, 8192),
        ("alpha", None, None),
    ],
)
def test_bytes_of_a_page(arch: str, config: dict[str, str] | None, size: int | None) -> None:
    assert page_size(config, ARCHES[arch]) == size


@pytest.mark.parametrize(
    ("arch", "page_size", "bits"),
    [("arm64", 65536, 16), ("arm64", 4096, 12), ("x86_64", None, 12), ("alpha", None, 13)],
)
def test_bits_of_a_page(tmp_path: Path, arch: str, page_size: int | None, bits: int) -> None:
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations/decisions.yaml").write_text("{}")
    (tmp_path / "expectations/demo.yaml").write_text(POISON)
    scenario = load_matrix(tmp_path, ARCHES).scenarios["demo/edge"]
    facts = Facts(arch=ARCHES[arch], version=parse_version("6.12"), page_size=page_size)
    (expected,) = cell(scenario, facts, lambda name: ()).expectations
    assert expected.outcomes == (f"SIGBUS/BUS_MCEERR_AR @exact lsb={bits}",)
    assert expected.want == (f"madvise=ok; load=SIGBUS/BUS_MCEERR_AR @exact lsb={bits}",)


@pytest.mark.parametrize(
    ("arch", "all_"), [("x86_64", True), ("x86_64-up", False), ("m68k", False)]
)
def test_all_cpus_are_several_or_nothing_is_different(
    tmp_path: Path, arch: str, all_: bool
) -> None:
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations/decisions.yaml").write_text("{}")
    (tmp_path / "expectations/demo.yaml").write_text("edge: {summary: s, cpus: all}")
    scenario = load_matrix(tmp_path, ARCHES).scenarios["demo/edge"]
    facts = Facts(arch=ARCHES[arch], version=parse_version("6.12"))
    assert cell(scenario, facts, lambda name: ()).machine.all_cpus is all_
