"""What is heard about one scenario, and the outcome it adds up to. Pure.

The guest composes the outcome of a scenario that comes to its end; here it is held against
what the kernel said on the console, and made up where the machine was lost on the way.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from harness.catalog.outcome import parse
from harness.catalog.scanner import OutcomeError
from harness.machine.console import Excerpt, Sign
from harness.machine.port import End

FATAL = ("panic", "oops")  # words of the kernel after which a machine cannot be trusted


class Cell(Struct):
    """What has been heard about the scenario under way."""

    name: str
    text: str = ""  # outcome so far, by step frames: up to the result that is due
    end: End | None = None
    begun: bool = False  # its mark was seen: what the console says now is about it
    signs: list[Sign] = []
    console: Excerpt = msgspec.field(default_factory=Excerpt)
    progress: int = 0
    late: bool = False  # the agent asks whether a limit is really over
    error: str = ""  # the agent's own words

    @property
    def heard(self) -> bool:
        """Whether it has begun by a word of its agent's."""
        return bool(self.end or self.progress or self.error)

    def has(self, kind: str) -> bool:
        return any(sign.kind == kind for sign in self.signs)


# How an oops ends a task: by a signal; or it can never go, since it holds a lock that its own
# end needs. Whether that was seen depends only on who was faster.
_DEATH = re.compile(
    r"(?:^|(?<==))(?:killed\(SIG(?:SEGV|KILL|BUS|TRAP|ILL)\)|hang\(unkillable, (?:disk|sleep)\))$"
)


def compose(cell: Cell, lost: str, ending: str, damaged: int) -> tuple[str, str]:
    """(outcome, failure) from what was heard; exactly one of them is not empty.

    What the kernel says of itself outranks all else: a panic or an oops takes the place of the
    result that was due, also where only the set-up was reached. Where the scenario came to its
    end all the same, the kernel stands beside it as an actor of its own.
    """
    end, word = cell.end, word_of(cell.signs)
    if cell.error:
        return "", f"agent: {cell.error}"
    if word == "panic":
        return cell.text + "panic", ""
    if word == "oops":
        if end is None or end.f or not end.o:
            return cell.text + "oops", ""
        if _DEATH.search(end.o):
            return _DEATH.sub("oops", end.o), ""
    if end is None:
        return _without_end(cell, lost, ending, damaged)
    if end.f:
        return "", f"set-up failed: {end.f[:300]}" + (f"; the kernel said {word}" if word else "")
    try:
        parse(end.o)
    except OutcomeError as error:
        return "", f"the guest sent no outcome: {error}"
    return beside_kernel(end.o, word or _tainted(end)), ""


def _without_end(cell: Cell, lost: str, ending: str, damaged: int) -> tuple[str, str]:
    """A machine that did not come to the end of a scenario and has not said why."""
    if lost not in ("gone", "silent"):  # no machine of ours: that may be anything
        return "", lost
    if lost == "gone" and ending in ("exit status 0", "killed by SIGABRT"):
        # With -no-reboot a reset ends QEMU in good order; what no CPU can do makes it abort.
        return cell.text + "lost", ""
    if lost == "gone":  # the guest has no means to do that
        return "", f"QEMU ended during the scenario: {ending}"
    if damaged:
        return "", f"no end frame, and {damaged} damaged ones: it may have been among them"
    return cell.text + "silent", ""


def _tainted(end: End) -> str:
    """A new taint that came without a word on the console."""
    bits = end.d.get("taint", "")
    return f"warn(taint-{bits})" if re.fullmatch(r"0x[0-9a-f]{1,16}", bits) else ""


def word_of(signs: list[Sign]) -> str:
    """The worst that the kernel said, in the outcome grammar; "" for nothing."""
    for kind in FATAL:
        if any(sign.kind == kind for sign in signs):
            return kind
    warned = next((sign.name or "unknown" for sign in signs if sign.kind == "warn"), "")
    return f"warn({warned})" if warned else ""


def beside_kernel(outcome: str, word: str) -> str:
    """An outcome with what the kernel said meanwhile, as an actor of its own."""
    if not word or outcome == "n/a":
        return outcome
    actors = outcome if outcome.startswith("A: ") else f"A: {outcome}"
    return f"{actors} | kernel: {word}"
