"""The guest binary: its table of scenarios, and what a failed compilation tells."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.build import BuildError, InputError, brief
from harness.build.guest import build_guest, c_string, scenario_table
from harness.build.store import Store
from harness.catalog.arches import Arch
from harness.catalog.matrix import Scenario
from tests.unit.build_fakes import fake_arch

MAIN = """\
#include <stdio.h>
#include ARCH_HEADER
#define SCENARIO(name, function, user, summary, harm) void function(void);
#include "scenarios.inc"
#undef SCENARIO
#define SCENARIO(name, function, user, summary, harm) puts(name " " user " " summary); function();
int main(void)
{
#include "scenarios.inc"
\treturn ANSWER;
}
"""
HOLE = """\
#define SCENARIO(n, f, u, s, h) void f(void);
#include "scenarios.inc"
void hole_read(void) {}
"""


def scenario(name: str, summary: str = "a summary") -> Scenario:
    family = name.partition("/")[0]
    return Scenario(name=name, family=family, summary=summary, user="root", memory=None, rows=(),
                    file=f"{family}.yaml", line=3)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "guest-progs"
    (folder / "arch").mkdir(parents=True)
    (folder / "main.c").write_text(MAIN)
    (folder / "hole.c").write_text(HOLE)
    (folder / "arch" / "m68k.h").write_text("#define ANSWER 42\n")
    return folder.parent


@pytest.fixture
def arch(root: Path) -> Arch:
    return fake_arch(root)


def test_the_table() -> None:
    table = scenario_table([scenario("stack/below-usp-257"), scenario("hole/read", 'a "b" ?\\ é')])
    assert table == (
        'SCENARIO("hole/read", hole_read, "root", "a \\"b\\" \\?\\\\ \\303\\251", "")\n'
        'SCENARIO("stack/below-usp-257", stack_below_usp_257, "root", "a summary", "")\n'
    )


@given(text=st.text())
def test_no_text_leaves_its_literal(text: str) -> None:
    literal = c_string(text)
    assert literal.isascii() and literal.isprintable()
    assert literal[1:-1].replace('\\"', "").count('"') == 0 or "\\\\" in literal


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no host compiler")
class TestCompiled:
    def test_runs_and_is_reproducible(
        self, root: Path, arch: Arch, store: Store, tmp_path: Path
    ) -> None:
        told: list[str] = []
        binary = build_guest(root, arch, [scenario("hole/read", 'é "x"')], store, told.append)
        done = subprocess.run([binary], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (42, 'hole/read root é "x"\n')
        again = build_guest(root, arch, [scenario("hole/read", 'é "x"')], store, told.append)
        assert (again, told) == (binary, [f"building the guest program for {arch.name}"])
        moved = shutil.copytree(root, tmp_path / "elsewhere" / "deep")
        other = build_guest(moved, arch, [scenario("hole/read", 'é "x"')], Store(tmp_path / "s2"))
        assert other.read_bytes() == binary.read_bytes()

    def test_a_row_without_a_function(self, root: Path, arch: Arch, store: Store) -> None:
        with pytest.raises(BuildError, match=r"scenarios without a function .*: hole_write"):
            build_guest(root, arch, [scenario("hole/read"), scenario("hole/write")], store)

    def test_a_function_without_a_row(self, root: Path, arch: Arch, store: Store) -> None:
        with pytest.raises(BuildError, match=r"functions without a row .*: hole_read"):
            build_guest(root, arch, [], store)

    def test_who_fails_is_the_compiler(self, root: Path, arch: Arch, store: Store) -> None:
        (root / "guest-progs" / "wrong.c").write_text("static int f(void) { return x; }\n")
        with pytest.raises(BuildError, match=r"does not compile .* \(gcc: exit status 1\)") as one:
            build_guest(root, arch, [scenario("hole/read")], store)
        message, first = brief(one.value).splitlines()
        assert "exit status" in message and "error: " in first and "undeclared" in first

    def test_the_first_error_is_shown_and_the_log_has_all(
        self, root: Path, arch: Arch, store: Store
    ) -> None:
        body = "".join(f"static int f{n}(void) {{ return x{n}; }}\n" for n in range(30))
        (root / "guest-progs" / "wrong.c").write_text(body)
        with pytest.raises(BuildError) as one:
            build_guest(root, arch, [scenario("hole/read")], store)
        shown = "\n".join(one.value.excerpt)
        assert "'x0' undeclared" in shown and "x29" not in shown
        assert one.value.log is not None
        assert all(f"'x{n}' undeclared" in one.value.log.read_text() for n in range(30))

    @pytest.mark.parametrize(
        "wrong",
        [
            "static int f(void) { return x; }\n",
            '#include "none.h"\n',
            'void hole_read(void);\nvoid hole_read(void) { __asm__("no such thing"); }\n',
            "extern int twice;\nint twice = 1;\n",
        ],
        ids=["syntax", "header", "instruction", "definition"],
    )
    def test_what_is_wrong_in_the_source_is_an_input_error(
        self, root: Path, arch: Arch, store: Store, wrong: str
    ) -> None:
        (root / "guest-progs" / "other.c").write_text("int twice = 2;\n")
        (root / "guest-progs" / "wrong.c").write_text(wrong)
        with pytest.raises(InputError, match=r"wrong\.(c:\d+|o:)") as one:
            build_guest(root, arch, [scenario("hole/read")], store)
        assert one.value.log is not None

    def test_a_compiler_that_dies_is_none(
        self, root: Path, arch: Arch, store: Store, tmp_path: Path
    ) -> None:
        dying = tmp_path / "cc1"
        dying.write_text("#!/bin/sh\nkill -KILL $$\n")
        dying.chmod(0o755)
        with pytest.raises(BuildError, match="terminated program cc1") as one:
            build_guest(root, replace(arch, cc_flags=(f"-B{tmp_path}",)), [], store)
        assert not isinstance(one.value, InputError)

    def test_flags_and_headers_count(self, root: Path, arch: Arch, store: Store) -> None:
        seen = {build_guest(root, arch, [scenario("hole/read")], store)}
        seen.add(
            build_guest(root, replace(arch, cc_flags=("-DX",)), [scenario("hole/read")], store)
        )
        (root / "guest-progs" / "arch" / "m68k.h").write_text("#define ANSWER 43\n")
        seen.add(build_guest(root, arch, [scenario("hole/read")], store))
        assert len(seen) == 3


def test_a_missing_compiler_is_named_with_its_package(root: Path, arch: Arch, store: Store) -> None:
    other = replace(
        arch, cross="none-linux-gnu-", packages={"none-linux-gnu-gcc": "gcc-none-linux-gnu"}
    )
    with pytest.raises(
        BuildError, match=r"none-linux-gnu-gcc is not installed: .* package gcc-none-linux-gnu"
    ):
        build_guest(root, other, [], store)


def test_missing_files_are_told(root: Path, arch: Arch, store: Store) -> None:
    with pytest.raises(BuildError, match=r"arch/alpha\.h is missing"):
        build_guest(root, replace(arch, guest_header="alpha.h"), [], store)
    for path in (root / "guest-progs").glob("*.c"):
        path.unlink()
    with pytest.raises(BuildError, match="holds no C files"):
        build_guest(root, arch, [], store)
