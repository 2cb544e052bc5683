"""`faultline man`: the manual page."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Print the manual page, as roff.

    \b
    Examples:
      faultline man | man -l -
      faultline man > ~/.local/share/man/man1/faultline.1
    """
    from harness.cli import main
    from harness.manpage import manual

    click.echo(manual(main), nl=False)
