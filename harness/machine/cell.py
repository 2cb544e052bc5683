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
from harness.machine.console import FATAL, Excerpt, Sign
from harness.machine.port import End

_RESET = ("exit status 0", "killed by SIGABRT")


class Words(Struct, frozen=True):
    """What was heard of a machine between two scenarios: it is about the one before.

    `word` is one of the outcome grammar, the worst of what the kernel said, or how the machine was
    lost; "" for nothing. `lines` are those of the console.
    """

    word: str = ""
    lines: list[str] = []


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
    if word == "panic":
        return _ended_by("panic", cell.text), ""
    if word == "oops":
        if end is None or end.f or not end.o:
            return _ended_by("oops", cell.text), ""
        if _DEATH.search(end.o):
            return _DEATH.sub("oops", end.o), ""
    if cell.error:
        return "", f"agent: {cell.error}"
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
    word = lost_word(lost, ending)
    if not word:  # the guest has no means to do that
        return "", f"QEMU ended during the scenario: {ending}"
    if word == "silent" and damaged:
        return "", f"no end frame, and {damaged} damaged ones: it may have been among them"
    return _ended_by(word, cell.text), ""


def lost_word(lost: str, ending: str) -> str:
    """How a machine of ours was lost, in the outcome grammar; "" if by nothing that it did.

    With -no-reboot a reset ends QEMU in good order; what no CPU can do makes it abort.
    """
    if lost == "gone":
        return "lost" if ending in _RESET else ""
    return "silent" if lost == "silent" else ""


_DUE = re.compile(r"(^|=|: )(?=$|; | \| )")  # where a result is due in the text of step frames


def _ended_by(word: str, text: str) -> str:
    """The outcome so far, with a word of the machine's end for each result that is due."""
    outcome = _DUE.sub(rf"\g<1>{word}", text)
    if outcome == text:
        outcome = beside_kernel(text, word)
    try:
        parse(outcome)
    except OutcomeError:  # the guest is free to write what it likes
        return word
    return outcome


def _tainted(end: End) -> str:
    """A new taint that came without a word on the console."""
    bits = end.d.get("taint", "")
    return f"warn(taint-{bits})" if re.fullmatch(r"0x[1-9a-f][0-9a-f]{0,15}", bits) else ""


def word_of(signs: list[Sign]) -> str:
    """The worst that the kernel said, in the outcome grammar; "" for nothing."""
    for kind in FATAL:
        if any(sign.kind == kind for sign in signs):
            return kind
    warned = next((sign.name or "unknown" for sign in signs if sign.kind == "warn"), "")
    return f"warn({warned})" if warned else ""


def beside_kernel(outcome: str, word: str) -> str:
    """An outcome with what the kernel said meanwhile, as an actor of its own.

    Beside "n/a" it is all that there is: what does not apply must not make a kernel speak.
    """
    if not word:
        return outcome
    if outcome == "n/a":
        return f"kernel: {word}"
    actors = outcome if outcome.startswith("A: ") else f"A: {outcome}"
    return f"{actors} | kernel: {word}"
