"""What the output and the end of somebody else's test program say: KTAP and TAP, LTP, the
kernel's own tests in their older style, or just the exit status. Pure, and of bounded memory:
bytes in, cases and a verdict out.

A program passes when something has passed, nothing has failed, all that was planned came, and
it ended as it should. What says nothing is never a pass.
"""

from __future__ import annotations

import re
from collections import Counter

from msgspec import Struct

from harness.program_record import CaseRecord, Form, Status
from harness.run.kselftest import Kselftest
from harness.run.ktap import Ktap
from harness.run.ltp import Ltp
from harness.run.tally import EXIT_CODES, End

MAX_LINE = 4096  # bytes; what is behind is not looked at
FORMS = ("auto", *sorted(EXIT_CODES))


class Judgement(Struct, frozen=True):
    """What a program's run amounts to."""

    form: Form
    status: Status
    reason: str
    totals: dict[str, int]
    cases: list[CaseRecord]


class Lines:
    """Cuts one stream into lines, whatever its bytes are."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = self._rest + lines[0]
            self._rest = rest[:MAX_LINE]
        else:
            self._rest = (self._rest + rest)[:MAX_LINE]
        return [_text(line) for line in lines]

    def close(self) -> list[str]:
        """The last line, if it has no end."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}[A-Za-z]")
_PRINTK = re.compile(r"^(?:<\d{1,3}>)?\[ {0,8}\d{1,8}\.\d{6}\](?:\[ {0,8}[TC]\d{1,8}\])? ?")


def _text(line: bytes) -> str:
    text = line[:MAX_LINE].decode("utf-8", errors="replace").rstrip("\r")
    return _PRINTK.sub("", _COLOUR.sub("", text), count=1)


Reader = Ktap | Ltp | Kselftest


class Reading:
    """Reads a program's two streams as they come, and judges it at the end."""

    def __init__(self, form: str = "auto", expect: str = "") -> None:
        """`form` is one of FORMS; `expect` is how the program must end instead of by exit
        status 0, as "3" or "SIGSEGV". What its output says counts all the same.
        """
        # None: auto, whichever it turns out to be.
        self._form = next((known for known in EXIT_CODES if known == form), None)
        self._expect = expect
        readers: list[Reader] = [Ktap(), Ltp(), Kselftest()]
        self._readers = [one for one in readers if self._form in (None, one.form)]
        self._streams = {"stdout": Lines(), "stderr": Lines()}

    def feed(self, stream: str, data: bytes) -> None:
        self._lines(self._streams[stream].feed(data))

    def _lines(self, lines: list[str]) -> None:
        for line in lines:
            for reader in self._readers:
                reader.line(line)

    def judge(self, end: End) -> Judgement:
        for lines in self._streams.values():
            self._lines(lines.close())
        reader = next((reader for reader in self._readers if reader.seen), None)
        if reader is None and self._form and self._readers:  # silence is judged by what was due
            reader = self._readers[0]
        form = reader.form if reader else self._form or "exit"
        met = self._expect in (end.signal, str(end.code)) if self._expect else not end.signal
        if end.trouble or not met:
            wanted = f", and {self._expect} was expected" if self._expect else ""
            status, reason = Status.FAIL, f"{end}{'' if end.trouble else wanted}"
        else:
            good = End(code=0) if self._expect else end  # what was expected is as good as that
            status, reason = reader.judge(good) if reader else _by_end(form, good)
            if status in (Status.FAIL, Status.BROKEN) and end.code == 0:
                reason += ", and yet it ended with exit status 0"
        counts = reader.tally.counts if reader else Counter[Status]()
        return Judgement(
            form=form,
            status=status,
            reason=reason,
            totals={kind.value: counts[kind] for kind in Status if counts[kind]},
            cases=reader.tally.cases if reader else [],
        )


def _by_end(form: Form, end: End) -> tuple[Status, str]:
    if end.code == 0:
        return Status.PASS, ""
    return EXIT_CODES[form].get(end.code or 0, Status.FAIL), str(end)
