"""The command line: what it says and how it exits, wrong input first of all."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from harness.build import BuildError, InputError, Unavailable, kept
from harness.build.store import Store
from harness.build.tools import HOST_TOOLS
from harness.catalog.yamlfile import DeclarationError
from harness.cli import main
from harness.cli.store import KINDS
from harness.interrupt import ENDING
from harness.machine import QemuError
from harness.machine.qemu import _known
from harness.results import Verdict, read_results
from harness.run import snapshots
from harness.run.execute import Run
from tests.unit.calling import call, write_results

ROOT = Path(__file__).parents[2]


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "stack/below-usp-258"), "did you mean"),
        (("rum",), "No such command 'rum'\n  did you mean run?"),
        (("list", "kernals"), "did you mean kernels?"),
        (("run", "--arch", "m86k"), "m68k"),
        (("run", "--kernel", "debian-6.11"), "debian-6.12"),
        (("run", "--kernel", "tree:"), "nothing stands behind"),
        (("run", "--kernel", "git:/x#v6.1"), "git repository"),
        (("run", "--flavour", "cor"), "core"),
        (("run", "--accel", "xen"), "xen"),
        (("run", "--jobs", "-1"), "-1"),
        (("run", "--out", "/proc/nowhere"), "writable"),
        (("run", "--base", "debian-6.1", "--no-base"), "give one of them"),
        (("run", "--outcome", "ok"), "belong to --bisect-step"),
        (("run", "--target", "local", "--patch", str(ROOT / "README.md")), "cannot be patched"),
        (
            ("run", "--target", "qemu-user", "--config-fragment", str(ROOT / "README.md")),
            "cannot be patched or configured",
        ),
        (("exec", "--arch", "m68k", "--user", "\u00b2", "/bin/true"), "or UID[:GID]"),
        (("list", "arches", "m86k"), "did you mean m68k?"),
        (("list", "kernels", "m68k"), "debian-6.12"),
        (("list", "scenarios", "stak/*"), "stack/*"),
        (("list", "arche"), "no scenario matches 'arche'"),
        (("run", "-k", "no/such"), "no scenario matches 'no/such'"),
        (("run", "hole/*", "-k", "no/such"), "no scenario matches 'no/such'"),
        (("list", "arche"), "did you mean arches?"),
        (("list", "zzz"), "arches, kernels, scenarios"),
        (("list", "stak/*"), "stack/*"),
        (("list", "nowhere/*"), "known: align/*, control/*, counters/*"),
        (("run", "--target", "ssh:"), "nothing stands behind"),
        (("run", "--target", "local", "--flavour", "full"), "has no flavour full"),
        (("list", "hole/read", "--arch", "m86k"), "did you mean m68k?"),
        (("list", "kernels", "--arch", "m68k"), "no --arch, --kernel, --flavour of kernels"),
        (("store", "prune", "--kind", "zzz"), "'initramfs'"),
        (("report", "--results", "none.jsonl"), "run `faultline run` first"),
        (("report", str(ROOT / "kernels.yaml")), "kernels.yaml is a file: --results FILE"),
        (("report", "none.jsonl"), "none.jsonl is neither a scenario nor a file: --results FILE"),
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


def test_a_tree_that_is_none_is_wrong_input(project: Path, tmp_path: Path) -> None:
    done = call("run", "--kernel", "tree:nowhere", "--arch", "m68k", "hole/read")
    assert done.exit_code == 2, done.output
    assert "nowhere" in done.output
    assert not (tmp_path / "out").exists()


def test_missing_qemu_is_named_before_anything_is_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in (*HOST_TOOLS, "m68k-linux-gnu-gcc", "m68k-linux-gnu-ld"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(tmp_path))
    _known.clear()
    done = call("run", "--arch", "m68k", "hole/read")
    assert done.exit_code == 2, done.output
    assert "qemu-system-misc" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("tree:x: no such folder"), 2, "Error: tree:x: no such folder"),
        (BuildError("cannot fetch it"), 3, "Error: cannot fetch it"),
        (BuildError("make failed", log=Path("kernel.log")), 3, "kernel.log"),
        (QemuError("too old"), 2, "Error: too old"),
        (DeclarationError("a.yaml", 3, "wrong"), 2, "a.yaml:3: wrong"),
        (PermissionError(13, "Permission denied", "place"), 3, "Permission denied: 'place'"),
        (KeyboardInterrupt(), 130, "interrupted: SIGINT"),
        (RuntimeError("odd\nthing"), 3, "unexpected RuntimeError: odd; this is a bug"),
    ],
)
def test_every_error_is_one_message_and_a_code(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_args: object, **_kw: object) -> None:
        raise error

    monkeypatch.setattr("harness.run.images.build", fail)
    monkeypatch.delenv("FAULTLINE_DEBUG", raising=False)
    done = call("build", "--arch", "m68k")
    assert done.exit_code == code, done.output
    assert message in done.output
    assert "Traceback" not in done.output
    if isinstance(error, RuntimeError):
        monkeypatch.setenv("FAULTLINE_DEBUG", "1")
        assert "Traceback" in call("build", "--arch", "m68k").output


def test_a_kernel_that_cannot_be_had_is_not_applicable(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kw: object) -> None:
        raise Unavailable("one cannot be had for m68k: no such board")

    monkeypatch.setattr("harness.run.images.build", fail)
    assert "no such board" in call("build", "--arch", "m68k").output
    done = call("run", "--arch", "m68k", "hole/read", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    (record,) = read_results([tmp_path / "out/results.jsonl"]).last()
    assert record.verdict is Verdict.NOT_APPLICABLE
    assert (record.observation.outcome, record.observation.failure) == ("n/a", "")
    assert record.observation.cause == "one cannot be had for m68k: no such board"


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (("-k", "hole/read"), {"hole/read"}),
        (("hole/read", "-k", "hole/wr*"), {"hole/read", "hole/write"}),
    ],
)
def test_k_is_one_scenario_more(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, chosen: set[str]
) -> None:
    def fail(*_args: object, **_kw: object) -> None:
        raise Unavailable("no such board")

    monkeypatch.setattr("harness.run.images.build", fail)
    done = call("run", "--arch", "m68k", *words, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    records = read_results([tmp_path / "out/results.jsonl"]).last()
    assert {record.scenario for record in records} == chosen


@pytest.mark.parametrize("number", ENDING)
def test_signals_end_a_build_cleanly(project: Path, number: signal.Signals) -> None:
    """It must unwind, for make and its children are a session of their own, however many come."""
    script = """
import time
import harness.run.images
from harness.cli import main

def build(*args):
    try:
        print("building", flush=True)
        time.sleep(60)
    finally:
        print("cleaning up", flush=True)
        time.sleep(0.5)
        print("cleaned up", flush=True)

harness.run.images.build = build
main(["build", "--arch", "m68k"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(number)
    assert process.stdout.readline() == "cleaning up\n"
    for _ in range(5):
        process.send_signal(number)
        time.sleep(0.03)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert out == "cleaned up\n"
    assert err.endswith(f"\ninterrupted: {number.name}\n") and "Traceback" not in err


@pytest.mark.parametrize(("code", "exits"), [(0, 3), (1, 1)])
def test_a_report_that_cannot_be_written_loses_no_results(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, exits: int
) -> None:
    def execute(run: Run, *_: object) -> int:
        write_results(run.out, Verdict.MATCH)
        return code

    monkeypatch.setattr("harness.run.execute.execute", execute)
    monkeypatch.setattr("harness.run.preflight.preflight", lambda *_: None)
    (tmp_path / "out/report.md").mkdir(parents=True)
    done = call("run", "--arch", "m68k", "hole/read")
    assert done.exit_code == exits, done.output
    assert "report.md" in done.output
    assert re.search(r"the results are in out/\w+Z-\w+\.jsonl", done.output)


def test_an_interrupted_run_says_the_code_it_exits_with(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.execute.execute", lambda *_: 130)
    monkeypatch.setattr("harness.run.preflight.preflight", lambda *_: None)
    done = call("run", "--arch", "m68k", "hole/read")
    assert done.exit_code == 130
    assert "interrupted (exit code 130)" in done.output


def test_list_shows_what_is_declared(project: Path) -> None:
    assert "hole/read" in call("list").output
    assert call("list", "scenarios", "stack/*").output.count("stack/") >= 10
    assert call("list", "stack/*").output == call("list", "scenarios", "stack/*").output
    assert call("list", "stack/*", "hole/read").output.count("hole/") == 1
    assert "debian-6.12" in call("list", "kernels").output
    assert "m68k" in call("list", "arches").output
    assert call("list", "arches", "m68k").output.count("\n") == 1
    assert call("list", "kernels", "*-6.1").output.startswith("debian-6.1 ")


def test_list_counts(project: Path) -> None:
    done = call("list", "stack/*", "hole/*")
    lines = [line for line in done.stdout.splitlines() if "/" in line.split()[0]]
    assert done.stderr == f"{len(lines)} scenarios in 2 families\n"
    assert call("list", "hole/read").stderr == "1 scenario in 1 family\n"


def test_results_of_a_former_exec_do_not_outlive_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BuildError("it does not build")

    monkeypatch.setattr("harness.cli.exec_._run", broken)
    results = tmp_path / "r.json"
    results.write_text('{"status": "pass"}')
    done = call("exec", "--arch", "m68k", "--results", str(results), "/bin/true")
    assert (done.exit_code, results.read_bytes()) == (125, b"")
    assert "faultline: it does not build" in done.output


def test_store_verify_names_what_is_damaged(project: Path, tmp_path: Path) -> None:
    files = Store(tmp_path / "store").create(
        "guest", "a" * 32, lambda to: (to / "f").touch(), "guest program for m68k"
    )
    done = call("store", "verify")
    assert (done.exit_code, done.output) == (0, "nothing is damaged\n")
    (files / "f").write_text("other")
    done = call("store", "verify")
    assert done.exit_code == 3
    assert "guest program for m68k: f has 5 bytes instead of 0\n1 damaged\n" in done.output


def test_kinds_of_the_store_are_those_the_builders_keep() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "harness").rglob("*.py"))
    named = set(re.findall(r'store\.(?:create|folder|using)\(\s*"([a-z]+)"', sources))
    assert set(KINDS) == named | {"logs", snapshots.KIND, kept.KIND}


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        ([], "arch", {"arches"}),
        ([], "stack/below-usp-25", {"stack/below-usp-256", "stack/below-usp-257"}),
        (["arches"], "m68", {"m68k"}),
        (["kernels"], "debian-6.1", {"debian-6.1", "debian-6.12"}),
        (["scenarios"], "arch", set()),
        (["stack/*"], "hole/read-b", {"hole/read-byte"}),
        (["stack/*", "--arch"], "m68", {"m68k"}),
        (["--kernel"], "debian-6.1", {"debian-6.1", "debian-6.12"}),
        (["--flavour"], "cor", {"core"}),
    ],
)
def test_list_completes(project: Path, words: list[str], incomplete: str, found: set[str]) -> None:
    complete = ShellComplete(main, {}, "faultline", "_FAULTLINE_COMPLETE")
    items = complete.get_completions(["list", *words], incomplete)
    assert {item.value for item in items} == found


def test_help_says_the_defaults_of_that_command() -> None:
    def default(command: str, option: str) -> str:
        words = " ".join(call(command, "--help").output.split())
        return words.partition(f" {option}")[2].partition("Default: ")[2].partition(". ")[0]

    for command in ("run", "build", "list"):
        assert default(command, "--arch NAME") == "all but the variants"
        assert default(command, "--flavour NAME") == "core"
    for command in ("report", "bless"):
        for option in ("--arch NAME", "--kernel, --target SPEC", "--flavour NAME"):
            assert default(command, option) == "all that the results have"
    assert "of what is run, core" in default("diff", "--flavour NAME")
    assert default("run", "--jobs N") == "0, which is as many as there are CPUs"


def test_completion_script() -> None:
    assert "_FAULTLINE_COMPLETE" in call("completion", "bash").output
