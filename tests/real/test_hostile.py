"""Scenarios that mean harm, on real machines: what each costs is itself, and said of nobody else.

They are two families more in a copy of this project.
No row expects anything but `ok`, as of a program that nobody has seen before; what must become of
each is told here. FAULTLINE_ARCH is the arch, m68k unless told.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import MOMENTS, ROOT, descendants

from harness.catalog.project import load_project
from harness.results import ResultRecord, Verdict, read_results
from tests.processes import gone

ARCH = os.environ.get("FAULTLINE_ARCH", "m68k")
HOSTILE = Path(__file__).with_name("hostile")
VICTIMS = {  # all that may ever be seen of those that come after
    "victim/alone": "ok(0)",
    "victim/file": "ok data=match",
    "victim/load": "SIGSEGV/SEGV_MAPERR @exact",
    "victim/memory": "ok data=match",
}
HANG = r"hang\((un)?killable, [a-z-]+\)"
FATE = {  # outcome, or why there is none
    "close-report": HANG,
    "daemon": r"ok|after=" + HANG,
    "eat-memory": r"killed\(SIGKILL\)",
    "endless-report": "set-up failed: said too much",
    "fill-tmp": "ok",
    "flood-console": HANG,
    "forge-hello": "ok|silent|.*damaged.*|agent: .*",
    "forge-log": "ok",
    "forge-other": "ok|.*damaged.*",
    "fork-bomb": HANG + "|silent|lost",
    "garbage-report": "set-up failed: .*|the guest sent no outcome.*",
    "halt": "silent|lost",
    "hog": HANG,
    "jump-clock": "ok",
    "kill-agent": "ok",
    "kill-all": r"kill=ok; .*|.*killed\(SIGKILL\)",
    "open-files": HANG + "|silent",  # all memory: the OOM killer never ends
    "panic": "panic",
    "port-endless": HANG + "|.*damaged.*",
    "port-garbage": "ok|.*damaged.*",
    "power-off": "lost|silent",  # x86_64 has no ACPI here, and halts
    "reboot": "lost",
    "remount": "ok",
    "scribble-on-agent": "panic",
    "stop-agent": "silent",
    "stop-timer": HANG,
    "trace-me": r"hang\(killable, sleep\)",
    "unmount": "ok",
}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project, by links, with two families more."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("arches", "flavours", "patches", "kernels.yaml"):
        (folder / name).symlink_to(ROOT / name)
    programs, rows = folder / "guest-progs", folder / "expectations"
    programs.mkdir()
    rows.mkdir()
    for folder_, whole in ((programs, ROOT / "guest-progs"), (rows, ROOT / "expectations")):
        for path in whole.iterdir():
            (folder_ / path.name).symlink_to(path)
    for path in HOSTILE.glob("*.c"):
        (programs / path.name).symlink_to(path)
        names = re.findall(rf"^void {path.stem}_(\w+)\(void\)", path.read_text(), re.MULTILINE)
        (rows / f"{path.stem}.yaml").write_text("".join(map(row, names)))
    return folder


def row(name: str) -> str:
    name = name.replace("_", "-")
    outcome = VICTIMS.get(f"victim/{name}", "ok")
    return (
        f"{name}:\n  summary: {name}\n  expect:\n"
        f"    - outcome: {outcome}\n      because: nobody knows better\n"
    )


def run(project: Path, out: Path, *words: str) -> tuple[dict[str, ResultRecord], str]:
    """The records that count, by scenario, and what was said."""
    argv = [sys.executable, "-m", "harness", "run", *words, "--arch", ARCH, "--out", str(out)]
    environment = {**os.environ, "FAULTLINE_PROJECT": str(project), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    everybody: set[int] = set()
    with open(out / "said", "wb") as said:
        assert process.stdout is not None
        for line in process.stdout:
            said.write(line)
            everybody.update(descendants(process.pid))
    assert process.wait(timeout=60) in (0, 1, 3), (out / "said").read_text()
    assert all(map(gone, everybody))
    records = {record.scenario: record for record in read_results([out / "results.jsonl"]).last()}
    return records, (out / "said").read_text(errors="replace")


def check(records: dict[str, ResultRecord]) -> None:
    for name, record in records.items():
        seen = record.observation
        family, _, rest = name.partition("/")
        if family == "victim":
            assert seen.outcome == VICTIMS[name], f"{name}: {seen}"
            assert record.verdict is Verdict.MATCH
        else:
            assert re.fullmatch(FATE[rest], seen.outcome or seen.failure), f"{name}: {seen}"


@pytest.mark.parametrize("name", sorted(FATE))
def test_it_harms_nobody_else(name: str, project: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    # Restored from a snapshot an agent has another nonce than the kernel's command line tells.
    boot = ["--no-snapshots"] if name.startswith("forge") else []
    records, said = run(project, tmp_path, f"hostile/{name}", "victim/*", *boot)
    assert set(records) == {f"hostile/{name}", *VICTIMS}, said
    check(records)
    assert "\x1b" not in said
    assert time.monotonic() - started < 300


@pytest.mark.parametrize("seed", range(max(1, MOMENTS // 10)))
def test_all_of_them_in_any_order(seed: int, project: Path, tmp_path: Path) -> None:
    records, said = run(project, tmp_path, "hostile/*", "victim/*", "--shuffle", f"seed {seed}")
    assert set(records) == {*VICTIMS, *(f"hostile/{name}" for name in FATE)}, said
    check(records)


PROGRAM = {  # what `faultline exec` may exit with
    "eat-memory": {124, 128 + 9},
    "flood": {124},
    "fork-bomb": {123, 124},
    "garbage": {0, 123, 125},
    "kill-all": {0},
    "off": {123},
    "reboot": {123},
    "unmount": {0},
}


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("program") / "hostile"
    compiler = load_project(ROOT).arch(ARCH).cross + "gcc"
    source = ROOT / "tests" / "programs" / "hostile.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-static", "-o", out, source], check=True)
    return out


@pytest.mark.parametrize("name", sorted(PROGRAM))
def test_a_program_harms_only_its_machine(name: str, hostile: Path) -> None:
    argv = [sys.executable, "-m", "harness", "exec", "--arch", ARCH, "--timeout", "0.5"]
    process = subprocess.Popen(
        [*argv, hostile, name], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    everybody: set[int] = set()
    while process.poll() is None:
        everybody.update(descendants(process.pid))
        time.sleep(0.02)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")  # the program has it as well
    assert process.returncode in PROGRAM[name], said
    assert said or process.returncode == 0
    assert "Traceback" not in said
    assert all(map(gone, everybody))
