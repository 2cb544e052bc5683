"""Programs that know nothing of this project, on a real boot: m68k, whose boots are quickest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.build.kernel import find_kernel
from harness.build.store import Store
from harness.catalog.arches import Arch
from harness.catalog.project import load_project
from harness.machine.qemu import qemu_version
from harness.run.options import Options
from harness.run.plan import Column
from harness.run.prepare import prepare

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "programs"
ARCH = "m68k"
SLOW = "FAULTLINE_SLOW_TESTS"


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    """Built beforehand, so that no test's time is that of a build."""
    project = load_project(ROOT)
    arch = project.arch(ARCH)
    qemu_version(arch.qemu)
    column = Column(arch=arch, kernel=project.kernel(project.kernels.default))
    prepare("tests", column, [], project, Options(store=Store()), lambda _what: None)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for source in PROGRAMS.glob("*.c"):
        argv = [f"{ARCH}-linux-gnu-gcc", "-O2", "-Wall", "-static", "-o", folder / source.stem]
        subprocess.run([*argv, source], check=True, capture_output=True)
    execute(folder / "plain", "bytes")  # makes the shell, too, where the store has none
    return folder


def faultline(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "harness", *map(str, words)]
    return subprocess.run(argv, input=stdin, capture_output=True, cwd=ROOT, timeout=1800)


def execute(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return faultline("exec", "--arch", ARCH, *words, stdin=stdin)


def test_streams_are_apart_and_every_byte_comes(built: Path) -> None:
    done = execute(built / "plain", "bytes")
    assert done.returncode == 0
    assert done.stdout == bytes(range(256))
    assert done.stderr == bytes(range(128, 256))


def test_stdin_of_any_bytes_goes_through_to_its_end(built: Path) -> None:
    data = bytes(range(256)) * 4001
    done = execute(built / "plain", "copy", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_a_flood_comes_whole(built: Path) -> None:
    done = execute(built / "plain", "flood", 5_000_001)
    assert (done.returncode, len(done.stdout)) == (0, 5_000_001)


def test_what_programs_expect_is_there_also_for_nobody(built: Path) -> None:
    done = execute("--user", "nobody", built / "plain", "surroundings")
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_signal_and_a_daemon_that_holds_stdout(built: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    done = execute("--results", results, built / "plain", "kill", 6)
    assert done.returncode == 128 + 6
    record = json.loads(results.read_text())
    assert (record["signal"], record["status"]) == ("SIGABRT", "fail")
    assert "exit_code" not in record
    done = execute("--env", "WHERE=here", built / "plain", "daemon", "WHERE", "--arch")
    assert (done.returncode, done.stdout) == (0, b"4 daemon here --arch 0:0\n")


def test_a_hang_is_looked_at_and_a_panic_is_told_from_it(built: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    done = execute("--timeout", "0.1", "--results", results, built / "plain", "hang")
    assert done.returncode == 124
    assert json.loads(results.read_text())["hang"] == "hang(killable, sleep)"
    done = execute("--results", results, built / "plain", "panic")
    assert (done.returncode, done.stdout) == (123, b"before\n")
    assert b"faultline: panic while the program ran" in done.stderr
    record: dict[str, Any] = json.loads(results.read_text())
    assert (record["kernel_said"], record["status"]) == ("panic", "fail")
    assert any("panic_on_oom" in line for line in record["console"])


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("kill", 19), "TT"),  # SIGSTOP
        (("traced", "raise"), "tt"),
        (("traced", "segv"), "tt"),
        (("traced", "exec"), "tt"),
    ],
)
def test_to_be_stopped_is_no_end(
    built: Path, tmp_path: Path, words: tuple[object, ...], state: str
) -> None:
    results = tmp_path / "r.json"
    done = execute("--timeout", "0.5", "--results", results, built / "plain", *words)
    record = json.loads(results.read_text())
    assert (done.returncode, record["hang"]) == (124, "hang(killable, sleep)"), done.stderr
    seen = [text for key, text in record["details"].items() if key.startswith("hang.")]
    assert [text[:2] for text in seen] == [state]


def test_an_interrupted_one_is_on_record(tmp_path: Path) -> None:
    script, results = tmp_path / "test.sh", tmp_path / "r.json"
    script.write_text("#!/bin/sh\necho here\nsleep 60\n")
    argv = [sys.executable, "-m", "harness", "exec", "--arch", ARCH, "--results", results, script]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.splitlines()[-1] == b"faultline: interrupted: SIGTERM"
    record = json.loads(results.read_text())
    assert (record["status"], record["reason"]) == ("infra", "interrupted: SIGTERM")


def test_what_would_take_the_machine_along(built: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    for what, code, status, message in (
        ("eat", 128 + 9, "fail", "killed by SIGKILL"),
        ("reboot", 123, "fail", "reboot while the program ran"),
        ("kill-all", 0, "pass", ""),
        ("bomb", 124, "fail", "hang(killable, spin-kernel)"),
    ):
        words = ("--no-shell", "--timeout", 1, "--results", results, built / "plain", what)
        done = execute(*words)
        record = json.loads(results.read_text())
        assert (what, done.returncode, record["status"]) == (what, code, status), done.stderr
        assert message in done.stderr.decode()


def test_what_is_left_does_not_write_on(built: Path) -> None:
    done = execute("--no-shell", built / "plain", "chatter", 3)
    assert done.returncode == 3
    assert set(done.stdout) == {0}


def test_a_script_has_a_shell_and_the_usual_tools(tmp_path: Path) -> None:
    script = tmp_path / "a test.sh"
    script.write_text(
        "#!/bin/bash\n"
        'cd "$(dirname "$0")" && [[ $# == 2 ]] || exit 3\n'
        'printf \'%s|\' "$@" "$(id -un)" "$PWD"\n'
        "echo 3 1 2 | tr ' ' '\\n' | sort -n | awk '{ n += $1 } END { print n }'\n"
        "dmesg | grep -q 'Linux version' && mktemp > /dev/null && exit 7\n"
    )
    done = execute(script, "two words", "")
    assert (done.returncode, done.stdout) == (7, b"two words||root|/work|6\n"), done.stderr


def test_a_script_runs_as_others(tmp_path: Path) -> None:
    script = tmp_path / "test.sh"
    script.write_text(
        "#!/bin/sh\n"
        "setuidgid nobody sh -c 'id -un; touch /tmp/x; cat /proc/1/environ' 2>/dev/null\n"
        "stat -c %U /tmp/x\n"
    )
    done = execute(script)
    assert done.stdout == b"nobody\nnobody\n", done.stderr


SURROUNDINGS = """\
#!/bin/sh
cat /proc/sys/vm/nr_hugepages
./plain huge || exit 1
mkfs.ext2 "$LTP_DEV" >/dev/null && mkdir mnt && mount -t ext2 "$LTP_DEV" mnt || exit 2
echo written >mnt/file && umount mnt && mount -t ext2 "$LTP_DEV" mnt && cat mnt/file
"""


def test_huge_pages_and_a_scratch_disk(tmp_path: Path) -> None:
    """What flavour full has and core has not, on an arch with both."""
    project, store = load_project(ROOT), Store()
    arch, kernel = project.arch("x86_64"), project.kernel(project.kernels.default)
    if find_kernel(kernel, arch, "full", store) is None and not os.environ.get(SLOW):
        pytest.skip(f"takes a kernel build of flavour full: set {SLOW}=1, or build it before")
    script, program = tmp_path / "test.sh", tmp_path / "plain"
    script.write_text(SURROUNDINGS)
    gcc = f"{arch.guest_cross or arch.cross}gcc"
    subprocess.run([gcc, "-O2", "-static", "-o", program, PROGRAMS / "plain.c"], check=True)
    words = ("--flavour", "full", "--hugepages", 2, "--disk", 4, "--file", program)
    done = faultline("exec", "--arch", arch.name, *words, script)
    assert (done.returncode, done.stdout) == (0, b"2\nhuge\nwritten\n"), done.stderr


@pytest.mark.parametrize("arch", load_project(ROOT).plain_arches, ids=lambda arch: arch.name)
def test_what_a_program_of_c_died_of_and_where(arch: Arch, tmp_path: Path) -> None:
    results, source = tmp_path / "r.json", PROGRAMS / "die.c"
    done = faultline("exec", "--arch", arch.name, "--no-shell", "--results", results, source)
    assert done.returncode == 128 + 11, done.stderr
    code, data = (int(word, 16) for word in done.stdout.split())
    record = json.loads(results.read_text())
    assert (record["program"], record["signal"]) == (str(source), "SIGSEGV")
    deaths = record["details"]
    own, place = deaths.pop("died"), deaths.pop("place")
    assert done.stderr.decode().splitlines()[-1] == f"faultline: killed by {own} in {place}"
    assert record["reason"] == f"killed by {own} in {place}"
    assert place == f"touch at die.c:{source.read_text().split('*at = 1')[0].count(chr(10)) + 1}"
    (child,) = deaths.values()
    by_page = arch.name == "s390x"  # that is what its CPU tells of an address
    for death, told in (
        (own, f"SEGV_ACCERR si_addr {data & -4096 if by_page else data:#x}"),
        (child, f"SEGV_MAPERR si_addr {'0' if by_page else '0x10'}"),
    ):
        what, _, where = death.rpartition(" pc ")
        assert what == f"SIGSEGV/{told}"
        pc, _, file = where.partition(" of ")
        assert file == "/work/die"
        assert 0 <= int(pc, 16) - (code & ~1) < 64, (death, hex(code))


@pytest.mark.parametrize(
    ("words", "known", "told"),
    [
        (("maps", 3000), True, 1),  # their heads stand before the notes of a core
        (("children", 40), True, 17),  # of others sixteen are told
        (("at-once", 80), True, 17),
        (("pipe", 0), False, 0),
        (("pipe", 7), False, 0),
    ],
)
def test_a_death_is_told_whatever_else_happens(
    built: Path, tmp_path: Path, words: tuple[str, int], known: bool, told: int
) -> None:
    results = tmp_path / "r.json"
    done = execute("--no-shell", "--timeout", 10, "--results", results, built / "die", *words)
    assert done.returncode == (words[1] if words == ("pipe", 7) else 128 + 11), done.stderr
    died = json.loads(results.read_text()).get("details", {})
    assert died.get("died", "").startswith("SIGSEGV/SEGV_ACCERR si_addr 0x") is known
    assert len(died) == told


def test_the_place_is_of_the_file_of_c_alone(built: Path, tmp_path: Path) -> None:
    """Other programs have code at the same addresses."""
    other, source = tmp_path / "other", PROGRAMS / "die.c"
    shutil.copy(built / "die", other)
    done = execute("--no-shell", "--file", other, source, "other", "/work/other")
    assert done.returncode == 128 + 11
    assert done.stderr.decode().splitlines()[-1].endswith(" of /work/other")


def test_nobody_dumps_a_core_without_siginfo(built: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    done = execute("--no-shell", "--no-siginfo", "--results", results, built / "die")
    assert done.stderr.decode().splitlines()[-1] == "faultline: killed by SIGSEGV"
    assert "details" not in json.loads(results.read_text())


def test_results_of_suites(built: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    done = execute("--results", results, built / "ktap", "fail")
    record = json.loads(results.read_text())
    assert (done.returncode, record["form"], record["status"]) == (1, "ktap", "fail")
    assert record["cases"] == [{"name": "a", "status": "pass"}, {"name": "b", "status": "fail"}]
    done = execute("--results", results, built / "ltp", "nothing")
    record = json.loads(results.read_text())
    assert (done.returncode, record["form"], record["status"]) == (0, "ltp", "broken")


def test_what_cannot_be_tried_says_so(built: Path, tmp_path: Path) -> None:
    source, dynamic = PROGRAMS / "plain.c", tmp_path / "dynamic"
    subprocess.run([f"{ARCH}-linux-gnu-gcc", "-o", dynamic, source], check=True)
    for words, code, message in (
        (("/bin/ls",), 2, "compile it for m68k"),
        ((dynamic,), 2, "dynamically linked (it needs /lib/ld.so.1)"),
        ((tmp_path / "none",), 2, "does not exist"),
        ((built / "plain", "segv"), 128 + 11, "killed by SIGSEGV"),
        ((source, "segv"), 128 + 11, "killed by SIGSEGV"),
        (("--cflags", "-DX='", source), 2, "--cflags -DX=': No closing quotation"),
        (("--cflags", "-lrt", built / "plain"), 2, "is not compiled here"),
        (("--cflags", "-Dmain=", source), 2, "does not compile for m68k"),
        (("--hugepages", 4, built / "plain"), 2, "--flavour full"),
        (("--expect", "SIGFOO", built / "plain"), 2, "a signal as SIGSEGV"),
        (("--disk", 4, built / "plain"), 2, "--flavour full"),
        ((_object(built / "plain"),), 126, "ENOEXEC"),
        (("--results", "/dev/full", built / "plain"), 125, "No space left"),
    ):
        done = execute(*words)
        assert (done.returncode, message in done.stderr.decode()) == (code, True), done.stderr


def _object(program: Path) -> Path:
    """The same for the same machine, but of a type that no kernel executes: ET_REL."""
    data = bytearray(program.read_bytes())
    data[16:18] = (1).to_bytes(2, "big")
    made = program.with_suffix(".o")
    made.write_bytes(data)
    return made


def test_a_long_command_line_arrives(built: Path) -> None:
    done = execute(built / "plain", "show", "x" * 130_000, *["y"] * 20_000)
    assert done.returncode == 0
    assert done.stdout == b"20003 show " + b"x" * 130_000 + b" y" * 20_000 + b" 0:0\n"


def test_words_that_are_no_text(built: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    done = execute("--results", results, built / "plain", "show", os.fsdecode(b"\xff"))
    assert b"\xff" in done.stdout
    assert (done.returncode, json.loads(results.read_text())["arguments"][1]) == (0, "\\xff")
