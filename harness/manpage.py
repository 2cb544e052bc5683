"""The man page, made of what the commands say of themselves, so that it cannot lag behind.

roff by the rules of man(7): a backslash is written `\\e`, a hyphen of an option `\\-`, and a line
that begins with a dot or a quote is guarded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from harness import __version__
from harness.cli.common import DEBUG, EXIT_CODES

_ENVIRONMENT = {
    "FAULTLINE_PROJECT": "The project folder. Default: the nearest at or above the current folder.",
    "FAULTLINE_STORE": "The folder for sources and builds. Default: the user's cache folder.",
    DEBUG: "Set: unexpected errors show where they come from.",
}
_FILES = {
    "kernels.yaml": "kernels by name",
    "arches/, flavours/": "machines and toolchains; kconfig fragments",
    "expectations/": "the matrix, a file a family, and decisions.yaml",
    "out/results.jsonl": "the results of the last run; docs/results.md describes them",
}


def manual(root: click.Group) -> str:
    """The page faultline(1) with all commands, as roff."""
    context = click.Context(root, info_name="faultline")
    lines = [
        f'.TH FAULTLINE 1 "" "faultline {__version__}" "User Commands"',
        ".SH NAME",
        r"faultline \- what user space sees when a memory access goes wrong, by arch and kernel",
        ".SH SYNOPSIS",
        r".B faultline",
        r"COMMAND [OPTION]... [ARGUMENT]...",
        ".SH DESCRIPTION",
        *_prose(root.help or ""),
        *(line for param in root.get_params(context) for line in _param(param, context)),
        ".SH COMMANDS",
    ]
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        lines += _command(command, click.Context(command, info_name=name, parent=context))
    lines += [".SH EXIT STATUS", *_prose(EXIT_CODES.replace("Exit codes:\n", ""))]
    lines += [".SH ENVIRONMENT", *_table(_ENVIRONMENT), ".SH FILES", *_table(_FILES)]
    lines += [".SH SEE ALSO", *_prose("The folder docs/, docs/tutorial.md first.")]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """A command, and below it those of a group."""
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f".SS {_text(f'{context.command_path} {pieces}')}"
    yield from _prose(command.help or "")
    for param in command.get_params(context):
        yield from _param(param, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=context))


def _param(param: click.Parameter, context: click.Context) -> Iterator[str]:
    """An option with its help, as --help shows it; an argument is in the synopsis."""
    record = param.get_help_record(context)
    said_once = context.parent is not None and "--help" in param.opts
    if record is not None and isinstance(param, click.Option) and not said_once:
        names, text = record
        yield ".TP"
        yield f".B {_text(names)}"
        yield _text(text) or r"\&"


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; one that begins with a line of \\b keeps its lines."""
    for paragraph in re.split(r"\n[ \t]*\n", _dedented(text).strip("\n")):
        if not paragraph.strip():
            continue
        yield ".PP"
        if paragraph.lstrip(" ").startswith("\b"):
            lines = paragraph.split("\n")[1:]
            yield from (".nf", *(_text(line) for line in lines), ".fi")
        else:
            yield _text(" ".join(paragraph.split()))


def _dedented(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.expandtabs().split("\n"))


def _table(entries: dict[str, str]) -> Iterator[str]:
    for name, text in entries.items():
        yield from (".TP", f".B {_text(name)}", _text(text))


def _text(text: str) -> str:
    """Text in which roff finds nothing to do."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.MULTILINE)
