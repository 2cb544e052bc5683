"""What somebody else's program finds around itself: the options of the commands that run one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from harness.cli.common import UsageProblem
from harness.cli.options import as_one, busybox_option

if TYPE_CHECKING:
    from harness.run.program import Program


class Around(Struct, frozen=True):
    """What the program finds around itself."""

    timeout: float
    user: str
    environment: tuple[str, ...]
    files: tuple[str, ...]
    memory: int
    disk: int
    huge_pages: int
    shell: bool
    siginfo: bool
    busybox: Path | None
    compiling: str

    def program(self, path: Path, arguments: tuple[str, ...]) -> Program:
        """The program in its surroundings. Raises UsageProblem."""
        from harness.run.program import Program

        return Program(
            path=path,
            compiling=_flags(self.compiling, path),
            arguments=arguments,
            environment=dict(_variable(text) for text in self.environment),
            files=[_file(text) for text in self.files],
            user=_user(self.user),
            memory=self.memory,
            disk=self.disk,
            huge_pages=self.huge_pages,
            timeout=self.timeout,
            shell=self.shell,
            siginfo=self.siginfo,
            busybox=self.busybox,
        )


around_options = as_one(
    "around",
    Around,
    click.option(
        "--timeout",
        type=click.FloatRange(0.1, 360000),
        default=60.0,
        show_default=True,
        help="Seconds at full speed; under TCG it gets ten times as much.",
    ),
    click.option(
        "--user",
        default="root",
        show_default=True,
        metavar="NAME|UID[:GID]",
        help="Who it runs as: root, nobody, or by numbers.",
    ),
    click.option(
        "--env",
        "environment",
        multiple=True,
        metavar="NAME=VALUE",
        help="A variable more, or another value; repeatable.",
    ),
    click.option(
        "--file",
        "files",
        multiple=True,
        metavar="PATH[:TARGET]",
        help="A file or folder more in the guest, beside the program or at TARGET; repeatable.",
    ),
    click.option(
        "--memory",
        type=click.IntRange(0, 65536),
        default=0,
        metavar="MIB",
        help="Where the program wants more than the arch's machine has.",
    ),
    click.option(
        "--disk",
        type=click.IntRange(0, 1 << 20),
        default=0,
        metavar="MIB",
        help="An empty scratch disk, /dev/vda (flavour full).",
    ),
    click.option(
        "--hugepages",
        "huge_pages",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="So many huge pages (flavour full, where the arch has them).",
    ),
    click.option(
        "--cflags",
        "compiling",
        default="",
        metavar="TEXT",
        help="For a PROGRAM of C: what its compiler is told besides, as '-O0 -lrt'.",
    ),
    click.option(
        "--siginfo/--no-siginfo",
        default=True,
        help="Say si_code, si_addr and pc of a death, from its core; without, nobody dumps one.",
    ),
    click.option("--shell/--no-shell", default=True, help="/bin/sh and the usual tools."),
    busybox_option,
)


suite_option = click.option(
    "--suite",
    "form",
    default="auto",
    show_default=True,
    metavar="FORM",
    help="How its output tells results: auto, ktap, ltp, kselftest, or by exit status alone: "
    "exit, automake, kselftest-exit, openposix.",
)


def known_form(form: str) -> None:
    """Raises UsageProblem for what `--suite` does not know."""
    from harness.run.suite import FORMS

    if form not in FORMS:
        raise UsageProblem(f"--suite {form}: expected one of {', '.join(FORMS)}")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageProblem(f"--env {text}: expected NAME=VALUE")
    return name, value


def _flags(text: str, program: Path) -> list[str]:
    from harness.build.csource import SUFFIX

    if text and program.suffix != SUFFIX:
        raise UsageProblem(f"--cflags: {program} is not compiled here, only a file *{SUFFIX} is")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageProblem(f"--cflags {text}: {error}") from None


def _file(text: str) -> tuple[Path, str]:
    from harness.run.program import FOLDER

    path, _, target = text.partition(":")
    source = Path(path)
    return source, target or f"/{FOLDER}/{source.name}"


def _user(text: str) -> tuple[int, int]:
    from harness.run.program import USERS

    if text in USERS:
        return USERS[text]
    uid, _, gid = text.partition(":")
    if uid.isdecimal() and (gid or uid).isdecimal() and max(int(uid), int(gid or uid)) < 2**32 - 1:
        return int(uid), int(gid or uid)
    raise UsageProblem(f"--user {text}: expected {', '.join(USERS)}, or UID[:GID]")
