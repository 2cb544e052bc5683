"""`faultline completion`: the shell completion script."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the shell completion script: source <(faultline completion bash)."""
    from click.shell_completion import get_completion_class

    from harness.cli import main

    cls = get_completion_class(shell)
    assert cls is not None
    click.echo(cls(main, {}, "faultline", "_FAULTLINE_COMPLETE").source())
