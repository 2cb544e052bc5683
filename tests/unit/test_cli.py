"""The command line: what it says and how it exits, wrong input first of all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    ResultsWriter,
    RunRecord,
    Verdict,
)

ROOT = Path(__file__).parents[2]
DECLARED = ("kernels.yaml", "arches", "flavours", "expectations", "patches", "guest-progs")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project's declarations that a test may spoil."""
    root = tmp_path / "project"
    root.mkdir()
    for name in DECLARED:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, root / name)
    monkeypatch.setenv("FAULTLINE_PROJECT", str(root))
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return root


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "stack/below-usp-258"), "did you mean"),
        (("run", "--arch", "m86k"), "m68k"),
        (("run", "--kernel", "debian-6.11"), "debian-6.12"),
        (("run", "--kernel", "tree:"), "path is missing"),
        (("run", "--kernel", "git:/x#v6.1"), "not supported yet"),
        (("run", "--flavour", "cor"), "core"),
        (("run", "--accel", "xen"), "xen"),
        (("run", "--jobs", "-1"), "-1"),
        (("run", "--out", "/proc/nowhere"), "writable"),
        (("list", "arche"), "arche"),
        (("report", "--results", "none.jsonl"), "run `faultline run` first"),
        (("store", "prune"), "--older"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_words_are_one_error_and_exit_2(
    project: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = call(*words)
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert "Traceback" not in done.output
    assert not list((tmp_path / "store").glob("v1/kernel*"))  # nothing was built


@pytest.mark.parametrize(
    ("file", "old", "new", "place", "message"),
    [
        ("expectations/hole.yaml", "summary:", "sumary:", "expectations/hole.yaml:", "summary"),
        (
            "expectations/hole.yaml",
            "outcome: SIGSEGV/SEGV_MAPERR",
            "outcome: SIGSEGV/SEGV_MAPPER",
            "expectations/hole.yaml:",
            "MAPERR",
        ),
        ("expectations/hole.yaml", "read:\n", "write:\n", "expectations/hole.yaml:", "write"),
        ("expectations/decisions.yaml", "  about:", "  abut:", "expectations/decisions", "about"),
        ("kernels.yaml", "default: debian-6.12", "default: 6.12", "kernels.yaml:", "debian-6.12"),
        ("kernels.yaml", "patches/", "patchs/", "kernels.yaml:", "patches/"),
        ("arches/m68k.yaml", "memory: 128", "memory: lots", "arches/m68k.yaml:", "number"),
        ("arches/m68k.yaml", "qemu:", "qmu:", "arches/m68k.yaml:", "qemu"),
    ],
)
def test_wrong_declarations_name_file_and_line(
    project: Path, file: str, old: str, new: str, place: str, message: str
) -> None:
    spoil(project / file, old, new)
    done = call("list")  # reads all that is declared, as every command does
    assert done.exit_code == 2, done.output
    assert f"Error: {place}" in done.output
    assert message in done.output


def test_missing_project_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTLINE_PROJECT", str(tmp_path / "none"))
    done = call("list")
    assert done.exit_code == 2
    assert "FAULTLINE_PROJECT" in done.output


def test_unreadable_tree_is_named_and_nothing_is_lost(project: Path, tmp_path: Path) -> None:
    done = call("run", "--kernel", "tree:nowhere", "--arch", "m68k", "hole/read")
    assert done.exit_code == 3
    assert "nowhere" in done.output
    assert "build:" in (tmp_path / "out/results.jsonl").read_text()


def test_missing_qemu_is_infrastructure(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = call("run", "--arch", "m68k", "hole/read")
    assert done.exit_code == 3
    assert "apt-get install qemu-system-misc" in done.output


def test_list_shows_what_is_declared(project: Path) -> None:
    assert "hole/read" in call("list").output
    assert call("list", "scenarios", "stack/*").output.count("stack/") >= 10
    assert "debian-6.12" in call("list", "kernels").output
    assert "m68k" in call("list", "arches").output


def write_results(path: Path, verdict: Verdict) -> None:
    with ResultsWriter(path) as writer:
        writer.write(RunRecord(run_id="r"))
        writer.write(
            ColumnRecord(run_id="r", column="k,m68k", arch="m68k", kernel="k", planned=["a/a"])
        )
        writer.write(
            ResultRecord(
                run_id="r",
                column="k,m68k",
                scenario="a/a",
                verdict=verdict,
                observation=Observation(scenario="a/a", outcome="ok"),
                expected=["EFAULT"],
            )
        )
        writer.write(EndRecord(run_id="r"))


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.MATCH, 0),
        (Verdict.KNOWN_BUG, 0),
        (Verdict.MISMATCH, 1),
        (Verdict.NO_EXPECTATION, 2),
        (Verdict.INFRA, 3),
    ],
)
def test_report_exits_as_the_run_did(tmp_path: Path, verdict: Verdict, code: int) -> None:
    path = tmp_path / "r.jsonl"
    write_results(path, verdict)
    for form in ("terminal", "markdown"):
        done = call("report", "--results", str(path), "--format", form)
        assert done.exit_code == code
        assert "k,m68k" in done.output


def test_report_narrows_and_writes_files(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_results(path, Verdict.MATCH)
    assert call("report", "--results", str(path), "--arch", "alpha").exit_code == 2
    out = tmp_path / "report.md"
    assert (
        call("report", "--results", str(path), "--format", "markdown", "-o", str(out)).exit_code
        == 0
    )
    assert "a/a" in out.read_text()


def test_completion_script() -> None:
    assert "_FAULTLINE_COMPLETE" in call("completion", "bash").output


def test_every_tool_that_is_needed_is_installed_by_ci_setup() -> None:
    from harness.build.tools import PACKAGES
    from harness.catalog.arches import load_arches

    lines = (ROOT / "ci/packages.txt").read_text().splitlines()
    installed = {line.split()[1] for line in lines if not line.startswith("#")}
    needed = {package for arch in load_arches(ROOT).values() for package in arch.packages.values()}
    essential = {"coreutils", "apt", "dpkg"}
    assert needed | set(PACKAGES.values()) <= installed | essential
