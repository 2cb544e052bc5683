"""ci/setup where there is no Debian: what is there is found by what it can do, not by dpkg."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAIN = ("bash", "cat", "cmp", "dirname", "env", "grep", "awk", "id", "sort")
GCC = """#!/bin/sh
case "$*" in
    -print-file-name=libc.a) echo {libc} ;;
    *-E*) grep -q {header} ;;
esac
"""
PYTHON = "#!/bin/sh\nexit {status}\n"


class Machine:
    """A checkout, and a PATH on which every tool of ci/packages.txt is made up."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin = folder / "checkout", folder / "bin"
        (self.root / "ci").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("setup", "packages.txt", "requirements.lock"):
            shutil.copy(ROOT / "ci" / name, self.root / "ci")
        self.python = self.root / ".venv" / "bin" / "python"  # as a first run has left it
        self.python.parent.mkdir(parents=True)
        self.python.write_text(PYTHON.format(status=0))
        self.python.chmod(0o755)
        lock = (ROOT / "ci/requirements.lock").read_text()
        (self.root / ".venv" / ".locked").write_text(f"{self.root}\n{lock}")
        for name in PLAIN:
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)
        for line in (ROOT / "ci/packages.txt").read_text().splitlines():
            tool = line.split()[0]
            if tool.endswith("gcc"):
                self.gcc(tool.removesuffix("gcc"))
            elif not line.startswith("#") and not (self.bin / tool).exists():
                self.tool(tool)
        self.tool("python3", PYTHON.format(status=0))

    def tool(self, name: str, text: str = "#!/bin/sh\n") -> None:
        if not name.endswith((".a", ".h", "-venv")):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def gcc(self, prefix: str, libc: str = "/usr/lib/libc.a", header: str = "libelf.h") -> None:
        self.tool(f"{prefix}gcc", GCC.format(libc=libc, header=header))

    def setup(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "ci/setup"],
            env={"PATH": str(self.bin)},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def missing(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """[tool, package] of every line but the first."""
    assert done.returncode == 3, done.stderr
    lines = done.stderr.splitlines()
    assert "no apt-get" in lines[0]
    return [[line.split()[0], line.split()[-1]] for line in lines[1:]]


def test_with_everything_there_it_says_and_asks_nothing(machine: Machine) -> None:
    done = machine.setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_tool_that_is_missing(machine: Machine) -> None:
    (machine.bin / "qemu-system-m68k").unlink()
    assert missing(machine.setup()) == [["qemu-system-m68k", "qemu-system-misc"]]


def test_a_cross_compiler_without_its_libc(machine: Machine) -> None:
    machine.gcc("aarch64-linux-gnu-", libc="libc.a")  # what gcc prints for what it has not
    assert missing(machine.setup()) == [["aarch64-linux-gnu-libc.a", "libc6-dev-arm64-cross"]]


def test_a_library_without_its_header(machine: Machine) -> None:
    machine.gcc("", header="other.h")
    assert missing(machine.setup()) == [["libelf.h", "libelf-dev"]]


def test_a_python_without_venv_is_missing_unless_the_system_has_one(machine: Machine) -> None:
    machine.tool("python3", PYTHON.format(status=1))
    probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    system = Path("/usr/bin/python3")
    usable = system.exists() and not subprocess.run([system, "-c", probe]).returncode
    done = machine.setup()
    if usable:
        assert done.returncode == 0, done.stderr
    else:
        assert missing(done) == [["python3-venv", "python3-venv"]]


@pytest.mark.parametrize(
    ("status", "said"), [(1, "apt-get could not install it"), (0, "although its package is")]
)
def test_an_apt_that_does_not_help_is_said(machine: Machine, status: int, said: str) -> None:
    (machine.bin / "make").unlink()
    machine.tool("apt-get", f"#!/bin/sh\nexit {status}\n")
    machine.tool("sudo", '#!/bin/sh\nexec "$@"\n')
    done = machine.setup()
    assert done.returncode == 3
    assert said in done.stderr and "Debian package make" in done.stderr


def test_what_is_only_faster_with_it_is_not_asked_for(machine: Machine) -> None:
    (machine.bin / "ccache").unlink()
    done = machine.setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_installed_with_the_rest(machine: Machine) -> None:
    (machine.bin / "ccache").unlink()
    (machine.bin / "make").unlink()
    machine.tool("apt-get", '#!/bin/sh\necho "$@" >>asked\n')
    machine.tool("sudo", '#!/bin/sh\nexec "$@"\n')
    machine.setup()
    assert "ccache make" in (machine.root / "asked").read_text()


@pytest.mark.parametrize("spoil", ["the lock", "the folder", "the Python"])
def test_an_environment_that_is_not_right_is_made_anew(machine: Machine, spoil: str) -> None:
    if spoil == "the lock":
        with open(machine.root / "ci" / "requirements.lock", "a") as file:
            file.write("more==1\n")
    elif spoil == "the folder":
        machine.root = machine.root.rename(machine.root.parent / "elsewhere")
    else:
        machine.python.write_text(PYTHON.format(status=1))
    made = 'printf "#!/bin/sh\\necho pip \\$*" >.venv/bin/python'
    machine.tool("python3", f"#!/bin/sh\ncase $* in *venv\\ --clear*) {made} ;; esac\n")
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\npip -m pip install") == 2
    again = machine.setup()
    assert (again.returncode, "Python packages" in again.stdout) == (0, False)


def test_packages_that_cannot_be_had_are_no_mismatch(machine: Machine) -> None:
    (machine.root / ".venv" / ".locked").unlink()
    machine.python.write_text(PYTHON.format(status=1))
    done = machine.setup()
    assert done.returncode == 3
    assert "could not be installed" in done.stderr
