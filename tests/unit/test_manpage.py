"""The manual page says what --help says, and roff understands it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.cli.common import EXIT_CODES

NOT_IN_IT = {"--help"}  # of every command, said nowhere


def commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, click.Context(inner, info_name=name, parent=context))


ALL = list(commands(main, click.Context(main, info_name="faultline")))


@pytest.fixture(scope="module")
def page() -> str:
    done = CliRunner().invoke(main, ["man"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def plain(roff: str) -> str:
    """What a reader sees of it, near enough to look words up in."""
    text = re.sub(r"^\.\w+ ?", "", roff, flags=re.M)
    return text.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


@pytest.mark.parametrize(
    ("command", "context"), ALL, ids=lambda item: getattr(item, "info_name", "")
)
def test_every_command_option_and_help_is_in_it(
    page: str, command: click.Command, context: click.Context
) -> None:
    text = plain(page)
    if command is not main:
        start = text.index(f"\n{context.command_path} ")
        text = text[start : text.find("\nfaultline ", start + 1)]
    squeezed = " ".join(text.split())
    for param in command.get_params(context):
        names = set(param.opts) | set(param.secondary_opts)
        if isinstance(param, click.Option) and not param.hidden and not names & NOT_IN_IT:
            for name in names:
                assert re.search(rf"(^|[ ,]){re.escape(name)}\b", text, re.M), name
            assert " ".join(str(param.help or "").split()) in squeezed
    for paragraph in (command.help or "").split("\n\n"):
        words = " ".join(paragraph.replace("\b", "").split())
        assert words in " ".join(plain(page).split())


def test_exit_codes_are_in_it(page: str) -> None:
    for line in EXIT_CODES.replace("\b", "").splitlines()[2:]:
        assert line.strip() in plain(page)


def test_roff_understands_it(page: str) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff on the path")
    done = subprocess.run(
        [groff, "-man", "-ww", "-z", "-Tutf8"], input=page, text=True, capture_output=True
    )
    assert done.returncode == 0
    assert done.stderr == ""
