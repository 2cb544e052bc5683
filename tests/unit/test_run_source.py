"""A source in the store whose text decides results, and a bit of it flips: on machines that a test
makes up, see small_project.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.build import evidence
from harness.catalog.project import load_project
from harness.catalog.rows import Facts
from harness.catalog.version import parse_version
from harness.cli import main
from harness.results import read_results
from harness.run.facts import files_read
from tests.unit.build_fakes import flip_unseen
from tests.unit.small_project import (
    M68K,
    build,
    call,
    fetched_and_patched,
    in_git,
    with_module_and_disk,
)

ROOT = Path(__file__).parents[2]
ROWS = """\
read:
  summary: a load from a hole
  expect:
    - when: {source: {file: Kconfig, text: config TINY}}
      outcome: ok
      evidence: fault
      because: the test says so
    - outcome: EFAULT
      because: the other row
"""
DECISIONS = """\
fault:
  about: what a fault is
  points:
    - {file: mm/memory.c, function: fault, text: %s}
tiny:
  about: whether it is
  points:
    - {file: Kconfig, text: config TINY}
"""
RIGHT, FLIPPED = "return VM_FAULT_SIGSEGV;", "return VM_FAULT_SIGSEGW;"
RUN = ("run", *M68K, "hole/read")


def looked_up() -> str:
    """What the last run found of the row's evidence."""
    [result] = read_results([Path("out/results.jsonl")]).last()
    [found] = result.evidence
    return found.status


def listed() -> str:
    return CliRunner().invoke(main, ["list", *M68K, "hole/read"], catch_exceptions=False).output


@pytest.fixture
def home(work: Path) -> Path:
    """Of the project; its kernel is packaged, and the row rests on what the patch has changed."""
    fetched_and_patched(work)
    (work / "project/expectations/hole.yaml").write_text(ROWS)
    (work / "project/expectations/decisions.yaml").write_text(DECISIONS % RIGHT)
    return work


def in_store(home: Path, name: str) -> list[Path]:
    """This file of the pristine and of the patched source."""
    return sorted(home.glob(f"store/v1/source/*/files/linux/{name}"))


def flip(file: Path, old: str, new: str) -> None:
    """The bit that makes this text of that one: neither size nor mtime."""
    at = file.read_bytes().index(old.encode()) + next(
        place for place, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]
    )
    flip_unseen(file, at)
    assert new in file.read_text()


@pytest.mark.parametrize(("text", "found", "code"), [(RIGHT, "valid", 0), (FLIPPED, "stale", 2)])
def test_evidence_is_not_looked_up_in_damage(home: Path, text: str, found: str, code: int) -> None:
    """Neither does a bit take evidence away, nor make it."""
    (home / "project/expectations/decisions.yaml").write_text(DECISIONS % text)
    assert call(*RUN).exit_code == code and looked_up() == found
    [patched] = [path for path in in_store(home, "mm/memory.c") if RIGHT in path.read_text()]
    good = patched.read_bytes()
    flip(patched, RIGHT, FLIPPED)
    done = call(*RUN)
    assert done.exit_code == code and looked_up() == found
    assert "is damaged and will be made again: the content of linux/mm/memory.c" in done.output
    assert patched.read_bytes() == good
    assert "damaged" not in call(*RUN).output


@pytest.mark.parametrize("by", ["source: {file: Kconfig, text: config TINY}", "decision: tiny"])
def test_a_row_is_not_chosen_by_damage(home: Path, by: str) -> None:
    rows = home / "project/expectations/hole.yaml"
    rows.write_text(ROWS.replace("source: {file: Kconfig, text: config TINY}", by))
    assert call(*RUN).exit_code == 0
    one, other = in_store(home, "Kconfig")
    assert one.samefile(other)
    flip(one, "config TINY", "config UINY")
    done = call(*RUN)
    assert done.exit_code == 0 and "damaged and will be made again" in done.output
    assert all("config TINY" in file.read_text() for file in in_store(home, "Kconfig"))


@pytest.mark.parametrize("source", ["tarball", "git"])
def test_a_version_is_not_told_by_damage(home: Path, source: str) -> None:
    """Rows and points are chosen by it."""
    if source == "git":
        in_git(home / "packaged")
        kernel = "default: packaged\nkernels:\n  packaged: {git: {path: ../packaged, rev: HEAD}}\n"
        (home / "project/kernels.yaml").write_text(kernel)
    call(*RUN)
    [said] = {
        record.version for record in read_results([Path("out/results.jsonl")]).columns.values()
    }
    flip(in_store(home, "Makefile")[0], "PATCHLEVEL = 12", "PATCHLEVEL = 13")
    done = call(*RUN)
    assert "the content of linux/Makefile has changed" in done.output
    [again] = {
        record.version for record in read_results([Path("out/results.jsonl")]).columns.values()
    }
    assert again == said and said.startswith("6.12.")
    assert "damaged" not in call(*RUN).output


def test_a_module_is_not_compiled_with_damage(work: Path) -> None:
    """Its headers are of the source that the kernel in the store was compiled from."""
    with_module_and_disk(work)
    fetched_and_patched(work)
    assert build(*M68K).exit_code == 0
    header = in_store(work, "text")[0]
    good = header.read_bytes()
    flip_unseen(header)
    run = ("run", *M68K, "hole/exec")
    done = call(*run)
    assert "module" in done.output and "the content of linux/text has changed" in done.output
    assert header.read_bytes() == good
    flip_unseen(header)
    assert "damaged" not in call(*run).output  # nothing is compiled, so nothing is read


def test_what_a_listing_looks_into_is_made_again_by_build(home: Path) -> None:
    call(*RUN)
    flip_unseen(in_store(home, "Kconfig")[0])
    done = listed()
    assert "damaged" in done and "not known yet: `faultline build`" in done
    assert build(*M68K).exit_code == 0
    assert "packaged,m68k: ok" in listed() and "damaged" not in listed()


def test_an_edit_of_one_s_own_tree_makes_evidence_stale(home: Path) -> None:
    kernel = "default: packaged\nkernels:\n  packaged: {tree: ../packaged}\n"
    (home / "project/kernels.yaml").write_text(kernel)
    for text, found, code in ((RIGHT, "valid", 0), (FLIPPED, "stale", 2)):
        (home / "packaged/mm/memory.c").write_text(f"int fault(void)\n{{\n\t{text}\n}}\n")
        done = call(*RUN)
        assert done.exit_code == code and looked_up() == found and "damaged" not in done.output
    assert "the text is not there" in done.output and "decisions.yaml:" in done.output


@pytest.mark.parametrize("arch", ["alpha", "m68k", "x86_64", "arm64"])
@pytest.mark.parametrize("version", ["5.10", "7.2"])
def test_nothing_is_read_that_was_not_named(
    arch: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be read unchecked."""
    read: set[str] = set()
    inside = evidence._inside
    monkeypatch.setattr(
        evidence, "_inside", lambda tree, file: read.add(file) or inside(tree, file)
    )
    project = load_project(ROOT)
    for scenario in project.matrix.select([]):
        read.clear()
        facts = Facts(
            arch=project.arch(arch), version=parse_version(version), config={}, module=True,
            source=lambda file: evidence.read_source(tmp_path, file),
        )  # fmt: skip
        for row in scenario.rows_for(facts):
            for name in row.evidence:
                decision = project.matrix.decisions[name]
                evidence.check_evidence(tmp_path, decision, facts.arch, facts.version)
        assert read <= files_read([scenario], facts.arch, project), scenario.name
