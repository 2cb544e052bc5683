"""Programs of one file of C: what is compiled, and where an address is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.build import InputError
from harness.build.csource import compile_program, place_of
from harness.catalog.project import load_project

ROOT = Path(__file__).parents[2]
SOURCE = "int main(void)\n{\n\treturn EXIT;\n}\n"


def test_a_file_is_no_option_and_has_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch, program = load_project(ROOT).arch("m68k"), tmp_path / "program"
    monkeypatch.chdir(tmp_path)
    Path("-o.c").write_text(SOURCE)
    compile_program(Path("-o.c"), arch, ["-DEXIT=3", "-O0"], program)
    symbols = subprocess.check_output([f"{arch.cross}nm", program], text=True)
    (main,) = (line.split()[0] for line in symbols.splitlines() if line.endswith(" T main"))
    assert place_of(program, int(main, 16), arch) == "main at -o.c:2"
    assert place_of(program, 16, arch) == ""
    assert place_of(tmp_path / "none", 16, arch) == ""


def test_what_does_not_compile_is_wrong_input(tmp_path: Path) -> None:
    source = tmp_path / "x.c"
    source.write_text(SOURCE)
    with pytest.raises(InputError, match=r"x\.c does not compile for m68k") as error:
        compile_program(source, load_project(ROOT).arch("m68k"), [], tmp_path / "program")
    assert any("EXIT" in line for line in error.value.excerpt)
    assert not (tmp_path / "program").exists()
