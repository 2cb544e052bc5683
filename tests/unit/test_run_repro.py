"""What `repro` shows and starts, without a boot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from stand_in import spec

from harness.build import BuildError
from harness.build.elf import check_static, read_elf
from harness.build.initramfs import Extra, write_initramfs, write_overlay
from harness.catalog.project import load_project
from harness.cli import main
from harness.cli.repro import _lines
from harness.results import Evidence
from harness.run.repro import Excerpt, by_hand, guest_source, source_excerpt

ROOT = Path(__file__).parents[2]


def test_the_guest_program_is_shown_with_what_it_uses() -> None:
    scenario = load_project(ROOT).matrix.scenarios["retry/kill-in-read"]
    shown = guest_source(ROOT, scenario)
    assert [path.name for path, _ in shown] == ["retry.c"] * len(shown)
    texts = ["\n".join(excerpt.lines) for _, excerpt in shown]
    assert texts[0].startswith("void retry_kill_in_read(void)")
    assert any("static void kill_in(" in text for text in texts)
    path, excerpt = shown[0]
    assert path.read_text().splitlines()[excerpt.start - 1] == excerpt.lines[0]


def test_every_scenario_has_a_guest_program_that_is_found() -> None:
    for scenario in load_project(ROOT).matrix.scenarios.values():
        assert guest_source(ROOT, scenario), scenario.name


def test_an_excerpt_marks_the_line_and_there_is_none_without_one() -> None:
    piece = Evidence(
        id="x", file="f.c", function="", text="b", line=8, excerpt="a\nb\nc", excerpt_line=7
    )
    excerpt = source_excerpt(piece)
    assert excerpt is not None
    assert (excerpt.start, list(excerpt.lines), excerpt.marked) == (7, ["a", "b", "c"], 8)
    assert source_excerpt(Evidence(id="x", file="no.c", function="", text="")) is None


def test_what_a_tree_says_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    _lines(Excerpt(start=7, marked=7, lines=("\tret\x1b[2J;",)))
    assert capsys.readouterr().out == ">     7          ret\\x1b[2J;\n"


def test_the_command_by_hand_has_a_console_and_no_sockets() -> None:
    argv = by_hand(spec(), "faultline.run=hole/read", gdb=4321)
    append = argv[argv.index("-append") + 1].split()
    assert "faultline.run=hole/read" in append
    assert "stdio,id=console,signal=on" in argv
    assert not any("socket" in word for word in argv)
    assert argv[-3:] == ["-S", "-gdb", "tcp:127.0.0.1:4321"]
    assert "stdio,id=console,signal=off" in by_hand(spec(), "faultline.shell", ends_by_key=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("stack/below-usp-258", "--arch", "m68k"), "did you mean"),
        (("zzz", "--arch", "m68k"), "known: align/..., control/..."),
        (("hole/read",), "--arch"),
        (("hole/read", "--arch", "m68k", "--gdb", "--print-command"), "exclude each other"),
        (("hole/read", "--arch", "m68k", "--shell"), "terminal"),
    ],
)
def test_wrong_use_is_exit_2(words: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(main, ["repro", *words])
    assert done.exit_code == 2
    assert message in done.output


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "t.c").write_text("int main(void) { return 0; }\n")
    for name, flags in (("static", ["-static"]), ("dynamic", [])):
        subprocess.run(["gcc", *flags, "-o", folder / name, folder / "t.c"], check=True)
    return folder / "static"


def test_what_cannot_run_in_the_guest_is_told_before_the_boot(static: Path, tmp_path: Path) -> None:
    check_static(static, static, "x86_64")
    with pytest.raises(BuildError, match=r"dynamically linked .*ld-linux.* -static"):
        check_static(static.with_name("dynamic"), static, "x86_64")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(BuildError, match="no ELF program"):
        check_static(script, static, "x86_64")
    data = bytearray(static.read_bytes())
    data[18:20] = (4).to_bytes(2, "little")  # e_machine: m68k
    other = tmp_path / "other"
    other.write_bytes(data)
    with pytest.raises(BuildError, match="is for m68k, 64-bit little-endian, and x86_64 runs"):
        check_static(other, static, "x86_64")
    with pytest.raises(BuildError, match="No such file"):
        check_static(tmp_path / "none", static, "x86_64")
    source = tmp_path / "x.c"
    source.write_text("int main(void) { return 0; }\n")
    with pytest.raises(BuildError, match=r"x\.c is source: compile it with a compiler for x86_64"):
        check_static(source, static, "x86_64")


@pytest.mark.parametrize("size", [0, 4, 20, 51, 63, 64, 200])
def test_a_cut_off_program_is_no_exception(static: Path, tmp_path: Path, size: int) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(static.read_bytes()[:size])
    read_elf(cut)


@given(st.sampled_from(["0101", "0102", "0201", "0202"]), st.binary(min_size=58, max_size=120))
def test_any_header_is_no_exception(
    tmp_path_factory: pytest.TempPathFactory, form: str, rest: bytes
) -> None:
    program = tmp_path_factory.getbasetemp() / "program"
    program.write_bytes(b"\x7fELF" + bytes.fromhex(form) + rest)
    assert read_elf(program) is not None


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not installed")
def test_an_overlay_goes_on_top_with_its_folders(tmp_path: Path) -> None:
    init = tmp_path / "init"
    init.write_bytes(b"binary")
    write_initramfs(tmp_path / "base", {"init": init})
    extras = [Extra("usr/share/x", b"data", 0o600), Extra("bin/sh", link="busybox")]
    write_overlay(tmp_path / "whole", tmp_path / "base", extras)
    base = (tmp_path / "base").read_bytes()
    rest = (tmp_path / "whole").read_bytes().removeprefix(base)
    listed = subprocess.run(["cpio", "-itv"], input=rest, capture_output=True, check=True).stdout
    text = listed.decode()
    assert "usr/share/x" in text
    assert "-rw-------" in text
    assert "bin/sh -> busybox" in text
    assert text.index("usr\n") < text.index("usr/share\n") < text.index("usr/share/x\n")
    for name in ("/etc/x", "../x", "a//b", ""):
        with pytest.raises(BuildError, match="cannot be a file's name"):
            write_overlay(tmp_path / "whole", tmp_path / "base", [Extra(name)])
