"""The command `faultline`: each command is a module here, imported when it is called."""

from __future__ import annotations

import gc
import importlib
import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from harness import __version__
from harness.catalog.yamlfile import DeclarationError, quote, suggest
from harness.cli.common import (
    DEBUG,
    EXIT_CODES,
    Infrastructure,
    UsageProblem,
    trace,
)
from harness.interrupt import ENDING, Interrupted, interrupting
from harness.stdout import drop_stdout, settle_stdout

gc.set_threshold(50_000)  # what is loaded at the start stays: a look at it takes 20 ms, for nothing

COMMANDS = (
    "run",
    "list",
    "build",
    "diff",
    "bisect",
    "repro",
    "exec",
    "compare",
    "import",
    "report",
    "bless",
    "store",
    "doctor",
    "completion",
    "man",
)
MODULES = {"exec": "exec_", "import": "import_"}  # where the name is none that Python could import


class _Group(click.Group):
    """Imports a command when it is called, and turns this project's errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is, once imported, a module of this package

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"harness.cli.{MODULES.get(cmd_name, cmd_name)}").command
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {quote(name)}\n  {suggest(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        from harness.build import BuildError, InputError
        from harness.machine import QemuError

        try:
            with _interrupting():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (DeclarationError, InputError, QemuError) as error:
            raise UsageProblem(str(error)) from None
        except BuildError as error:
            raise Infrastructure(str(error)) from None
        except (KeyboardInterrupt, Interrupted) as stop:
            number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
            click.echo(f"\ninterrupted: {number.name}", err=True)
            ctx.exit(128 + number)
        except BrokenPipeError:
            # The reader has gone, as in `faultline list | head`: nothing more to say.
            drop_stdout()
            ctx.exit(0)
        except OSError as error:
            trace()
            settle_stdout()
            raise Infrastructure(str(error)) from None
        except Exception as error:
            trace()
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            hint = f"this is a bug of faultline, please report it (traceback: {DEBUG}=1)"
            raise Infrastructure(f"unexpected {what}; {hint}") from None


def _interrupting() -> AbstractContextManager[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise Interrupted inside the block, so that builds end and locks
    are released. Where a shell has a background job ignore Ctrl-C it stays so, but for `run`, which
    is asked to write down how it ended.
    """
    if threading.current_thread() is not threading.main_thread():
        return nullcontext()  # who calls a command in a thread has the signals
    heeded = (one for one in ENDING if signal.getsignal(one) is not signal.SIG_IGN)
    return interrupting(*heeded, once=True)


@click.group(cls=_Group, epilog=EXIT_CODES, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="faultline")
def main() -> None:
    """What does user space see when a memory access goes wrong, arch by arch?

    Boots real Linux kernels under QEMU, runs page-fault edge cases in them and compares the
    signals, si_codes, errnos and hangs with the matrix under expectations/.

    \b
    Start with:
      faultline doctor                        what is missing on this machine
      faultline run                           everything, on the default kernel
      faultline run 'stack/*' --arch m68k     one family on one arch
      faultline list scenarios                what there is
    """
