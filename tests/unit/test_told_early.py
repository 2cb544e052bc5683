"""What `list` says of columns, and what is wrong and told before anything is built or booted: on
machines that a test makes up, see small_project.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from tests.unit.small_project import M68K, build, call

EXPECTED = """\
read:
  summary: a load from a hole
  expect:
    - arch: m68k
      outcome: EFAULT
      because: m68k says so
      bug: {ref: "unreported: x", want: ok}
    - outcome: [ok, EIO]
      because: the test says so
lacking:
  summary: what no kernel here has
  needs: {config: [CONFIG_NOWHERE=y]}
  expect:
    - outcome: ok
      because: the test says so
"""
KERNELS = """\
default: packaged
kernels:
  packaged: {tree: ../packaged}
  partly:
    tree: ../packaged
    unavailable:
      - {arch: m68k, because: it does not compile}
"""


def list_cells(*words: str, counted: bool = False) -> str:
    """What is printed, or with `counted` how many there are."""
    done = CliRunner().invoke(main, ["list", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stderr if counted else done.stdout


def test_list_says_what_is_expected_where(work: Path) -> None:
    (work / "project/expectations/hole.yaml").write_text(EXPECTED)
    (work / "project/kernels.yaml").write_text(KERNELS)
    both = ("--arch", "alpha", *M68K)
    assert list_cells("hole/read", *both) == (
        "hole/read  a load from a hole\n"
        "  all columns: not known yet: `faultline build` this kernel first\n"
    )
    CliRunner().invoke(main, ["build", *both], catch_exceptions=False)
    assert list_cells("hole/*", *both) == (
        "hole/read  a load from a hole\n"
        "  packaged,alpha: ok or EIO\n"
        "  packaged,m68k: EFAULT (known bug: ok is right)\n"
        "hole/lacking  what no kernel here has\n"
        "  all columns: n/a: needs CONFIG_NOWHERE=y, which this kernel does not have\n"
    )
    assert list_cells("hole/*", *both, counted=True) == (
        "packaged,alpha: 1 expected, 1 n/a\n"
        "packaged,m68k: 1 known bug, 1 n/a\n"
        "2 scenarios in 1 family\n"
    )
    assert "  partly,m68k: n/a: partly cannot be had for m68k: it does not compile\n" in list_cells(
        "hole/read", "--kernel", "partly"
    )
    assert "a run asks that machine" in list_cells("--kernel", "ssh:x", "--arch", "m68k")


def wrong(work: Path, *words: str) -> str:
    """What is said of wrong input: one error, before anything is compiled, booted or written."""
    done = call("run", *M68K, *words)
    assert done.exit_code == 2, done.output
    assert not (work / "store/v1/kernel").exists()
    return done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no diff at all\n", "expected a unified diff"),
        ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "could lie outside"),
    ],
)
def test_a_patch_that_is_none_is_told_before_a_copy(
    work: Path, tree: Path, text: str, said: str
) -> None:
    (work / "fix.patch").write_text(text)
    told = wrong(work, "--tree", "tree", "--patch", "fix.patch")
    assert said in told and told.startswith("Error: ") and "kernels.yaml" not in told
    assert not (work / "store/v1/source").exists()


def declare(work: Path, source: str) -> None:
    text = f"default: packaged\nkernels:\n  packaged: {{{source}}}\n"
    (work / "project/kernels.yaml").write_text(text)


def test_tarballs_that_are_none_are_told_before_anything_is_done(work: Path) -> None:
    archive = work / "linux.tar"
    project_archive = work / "project/../linux.tar"
    archive.write_bytes(b"no archive")
    found = hashlib.sha256(b"no archive").hexdigest()
    declare(work, f"tarball: {{path: ../linux.tar, sha256: {'0' * 64}}}")
    told = wrong(work)
    assert f"kernels.yaml:3: {project_archive}: its sha256 is {found}, declared is 0000" in told
    declare(work, f"tarball: {{path: ../linux.tar, sha256: {found}}}")
    assert f"{project_archive}: expected a tar archive, plain or by xz, gzip" in wrong(work)
    declare(work, f"tarball: {{path: ../nope.tar, sha256: {found}}}")
    told = wrong(work)
    assert "nope.tar" in told and "Errno" not in told and "give `path` a file" in told
    assert not (work / "out").exists() and not (work / "store/v1/guest").exists()


def test_rows_and_functions_that_miss_each_other_stop_the_run(work: Path) -> None:
    source = work / "project/guest-progs/main.c"
    main_function = source.read_text()
    for text, said in (
        ("void hole_wrote(void)\n{\n}\n", "functions without a row in expectations/: hole_wrote"),
        (
            '#define SCENARIO(n, function, ...) void function(void);\n#include "scenarios.inc"\n'
            "void hole_all(void);\nvoid hole_all(void)\n{\n\thole_exec();\n}\n",
            "scenarios without a function (or libc's): hole_exec",
        ),
    ):
        source.write_text(text + main_function)
        assert said in wrong(work)
        done = build(*M68K)
        assert done.exit_code == 2 and said in done.output
    assert not (work / "store/v1/kernel").exists()


def test_build_exits_3_where_the_compiler_fails(work: Path) -> None:
    (work / "packaged/fail").touch()
    done = build(*M68K)
    assert done.exit_code == 3 and "make vmlinux failed" in done.output


def test_a_machine_that_qemu_does_not_know_is_not_booted(work: Path) -> None:
    arch = work / "project/arches/m68k.yaml"
    arch.write_text(arch.read_text().replace("by-kernel", "nope"))
    told = wrong(work)
    assert "arches/m68k.yaml: " in told and "unsupported machine type nope" in told
    assert not (work / "out").exists()


def test_kvm_for_another_arch_is_told_before_a_boot(work: Path) -> None:
    told = wrong(work, "--accel", "kvm")
    assert "--accel kvm: " in told and "is not this host's architecture" in told
    assert not (work / "out").exists()
