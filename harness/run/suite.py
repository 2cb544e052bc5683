"""What the output and the end of somebody else's test program say: KTAP and TAP, LTP, the
kernel's own tests in their older style, or just the exit status. Pure, and of bounded memory:
bytes in, cases and a verdict out.

A program passes when something has passed, nothing has failed, all that was planned came, and
it ended as it should. What says nothing is never a pass.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

MAX_LINE = 4096  # bytes; what is behind is not looked at
MAX_CASES = 10000  # kept; all are counted
MAX_NAME = 200
MAX_DEPTH = 8  # levels of subtests that are told apart


class Status(str, Enum):
    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    BROKEN = "broken"  # the test itself did not work: LTP's TBROK, a plan that was not kept
    TODO = "todo"  # fails, and is said to


@dataclass(frozen=True)
class Case:
    name: str
    status: Status
    note: str = ""


@dataclass(frozen=True)
class Judgement:
    """What a program's run amounts to."""

    form: str  # "ktap", "ltp", "kselftest", "exit"
    status: Status
    reason: str
    totals: dict[str, int]
    cases: list[Case]


@dataclass(frozen=True)
class End:
    """How the program ended: by an exit status or by a signal, else why not."""

    code: int | None = None
    signal: str = ""
    trouble: str = ""  # a hang, an oops, a lost machine: never a pass

    def __str__(self) -> str:
        if self.trouble:
            return self.trouble
        return f"killed by {self.signal}" if self.signal else f"exit status {self.code}"


# What an exit status means where no line of the output says it. 0 is a pass everywhere.
EXIT_CODES: dict[str, dict[int, Status]] = {
    "exit": {},
    "ktap": {4: Status.SKIP},
    "kselftest": {4: Status.SKIP},
    "kselftest-exit": {4: Status.SKIP},
    "automake": {77: Status.SKIP, 99: Status.BROKEN},
    "openposix": {2: Status.BROKEN, 4: Status.SKIP, 5: Status.SKIP},
    "ltp": {32: Status.SKIP},
}
FORMS = ("auto", *sorted(EXIT_CODES))


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


@dataclass
class _Tally:
    """Cases as they come: all counted, the first of them kept."""

    counts: Counter[Status] = field(default_factory=Counter)
    cases: list[Case] = field(default_factory=list)
    first_failure: str = ""

    def add(self, name: str, status: Status, note: str = "") -> None:
        self.counts[status] += 1
        if len(self.cases) < MAX_CASES:
            self.cases.append(Case(name[:MAX_NAME], status, note[:MAX_NAME]))
        if status in (Status.FAIL, Status.BROKEN) and not self.first_failure:
            self.first_failure = name[:MAX_NAME] or note[:MAX_NAME]

    def failed(self) -> Status | None:
        return next((s for s in (Status.FAIL, Status.BROKEN) if self.counts[s]), None)

    def positive(self) -> Status | None:
        """What came, where nothing failed; None: nothing did."""
        kinds = (Status.PASS, Status.TODO, Status.SKIP)
        found = next((kind for kind in kinds if self.counts[kind]), None)
        return Status.SKIP if found is Status.TODO else found


# -- KTAP and TAP --------------------------------------------------------------------------

_VERSION = re.compile(r"(?:K?TAP) version \d+\s*$")
_PLAN = re.compile(r"1\.\.(\d{1,9})(?:\s*#\s*(.*))?\s*$")
_RESULT = re.compile(r"(not )?ok\b(?:\s+(\d{1,9})\b)?(?:\s*-\s|\s+)?(.*)$")
_DIRECTIVE = re.compile(r"(?<!\\)#\s*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b[\S]*\s*(.*)$", re.IGNORECASE)
_SKIP = re.compile(r"SKIP\w*\b[:\s]*(.*)$", re.IGNORECASE)
_TOTALS = re.compile(r"# Totals: (pass:\d.*)$")
_TOTAL = re.compile(r"\b(pass|fail|xfail|xpass|skip|error):(\d{1,9})\b")
_TOTAL_WORDS = {
    "pass": Status.PASS, "xpass": Status.PASS, "xfail": Status.TODO, "skip": Status.SKIP,
    "fail": Status.FAIL, "error": Status.BROKEN,
}  # fmt: skip
_BAIL = re.compile(r"Bail out!\s*(.*)$", re.IGNORECASE)


@dataclass
class _Level:
    """Results at one indentation: a list of tests with a plan of its own."""

    indent: int
    plan: int | None = None
    seen: int = 0
    last: int = 0  # the number of the test before
    skipped: str | None = None  # `1..0 # SKIP why`
    fault: str = ""  # it does not keep its plan
    failed: bool = False


class Ktap:
    """TAP 12 to 14, and KTAP: subtests are indented, and come before the line that sums up."""

    form = "ktap"

    def __init__(self) -> None:
        self.tally = _Tally()
        self._levels: list[_Level] = []
        self._declared = self._numbered = self._planned = False
        self._totals: dict[str, int] = {}  # its own count, at the end
        self._yaml: int | None = None  # inside a block, up to a `...` at this indentation
        self.bailed: str | None = None

    @property
    def seen(self) -> bool:
        return self._declared or self._numbered or self.bailed is not None

    def line(self, line: str) -> None:
        text = line.lstrip(" \t")
        indent = len(line.expandtabs(8)) - len(text.expandtabs(8))
        if self._yaml is not None and text and indent < self._yaml:
            self._yaml = None  # it has no end, and is over
        if self._yaml is not None:
            if text.rstrip() == "..." and indent == self._yaml:
                self._yaml = None
        elif text.rstrip() == "---" and indent and self.seen:
            self._yaml = indent
        elif _VERSION.match(text):
            self._declared = True
            self._level(indent)
        elif found := _PLAN.match(text):
            self._declared = self._planned = True
            level = self._level(indent)
            level.plan = int(found[1])
            if level.plan == 0 and found[2] and (why := _SKIP.match(found[2])):
                level.skipped = why[1].strip()
        elif found := _TOTALS.match(line):
            self._totals = {word: int(n) for word, n in _TOTAL.findall(found[1]) if int(n)}
        elif found := _BAIL.match(text):
            if self.bailed is None:
                self.bailed = found[1].strip() or "no reason given"
        elif (found := _RESULT.match(text)) and (found[2] or self._declared):
            self._numbered |= found[2] is not None
            self._result(indent, found)

    def _level(self, indent: int) -> _Level:
        """The level of this indentation; deeper ones are over."""
        while self._levels and self._levels[-1].indent > indent:
            self._end(self._levels.pop())
        if not self._levels or self._levels[-1].indent < indent:
            if len(self._levels) == MAX_DEPTH:
                return self._levels[-1]
            self._levels.append(_Level(indent))
        return self._levels[-1]

    def _result(self, indent: int, found: re.Match[str]) -> None:
        children = next((level for level in self._levels if level.indent > indent), None)
        while self._levels and self._levels[-1].indent > indent:
            self._end(self._levels.pop())
        level = self._level(indent)
        level.seen += 1
        self._number(level, found[2])
        directive = _DIRECTIVE.search(found[3])
        word = directive[1].upper() if directive else ""
        name = found[3][: directive.start()].strip() if directive else found[3].strip()
        name, note = name or f"test {found[2] or level.seen}", directive[2] if directive else ""
        if word == "SKIP":
            status = Status.SKIP
        elif not found[1]:
            status = Status.PASS
        else:
            status = Status.TODO if word in ("TODO", "XFAIL") else Status.FAIL
        if children is None:
            self.tally.add(name, status, note)
        elif children.fault:
            self.tally.add(name, Status.BROKEN, children.fault)
        elif status is Status.FAIL and not children.failed:  # it is more than its parts
            self.tally.add(name, status, note)
        level.failed |= status is Status.FAIL or bool(children and children.failed)

    @staticmethod
    def _number(level: _Level, number: str | None) -> None:
        """A number that came already: a child has written its parent's buffer once more, or two
        count on their own. Then the count does not tell whether all that was planned came.
        """
        if number is None:
            level.last += 1
            return
        if int(number) <= level.last and not level.fault:
            level.fault, level.failed = f"test {number} came after test {level.last}", True
        level.last = max(level.last, int(number))

    def _end(self, level: _Level) -> None:
        if level.plan is not None and level.seen != level.plan:
            level.fault = f"{level.seen} of {level.plan} planned tests came"
            level.failed = True
        elif level.plan is None and not level.seen:
            level.fault, level.failed = "no test came", True

    def _only_totals(self) -> bool:
        """No result came, and totals that are as many as were planned: some tests of the kernel
        count what they do not tell. Then those are the results.
        """
        if len(self._levels) != 1 or self._levels[0].seen or not self._totals:
            return False
        if self._levels[0].plan != sum(self._totals.values()):
            return False
        self._levels[0].seen = self._levels[0].plan
        for word, count in self._totals.items():
            self.tally.counts[_TOTAL_WORDS[word]] += count
        return True

    def judge(self, end: End) -> tuple[Status, str]:
        faults, only_totals = [], self._only_totals()
        while self._levels:
            level = self._levels.pop()
            self._end(level)
            if level.fault:
                faults.append(level.fault)
            if level.skipped is not None and not level.seen:
                self.tally.add("", Status.SKIP, level.skipped)
        if self.bailed is not None:
            return Status.BROKEN, f"Bail out! {self.bailed}"
        if (failed := self.tally.failed()) and not only_totals:
            return failed, f"first: {self.tally.first_failure}"
        if failures := [f"{w} {n}" for w, n in self._totals.items() if w in ("fail", "error")]:
            return Status.FAIL, f"its totals say {', '.join(failures)}"
        if faults:
            return Status.BROKEN, faults[-1]
        status, reason = _by_cases(self.tally, end, self.form)
        if status is Status.PASS and not self._planned:
            reason = "no plan said how many there should be"
        elif status is Status.PASS and only_totals:
            reason = "only its totals tell of them"
        return status, reason


# -- LTP -----------------------------------------------------------------------------------

_LTP = re.compile(
    r"^(?P<name>[\w./+-]{1,100})(?::(?P<line>\d{1,6}):\s*|\s+(?P<number>\d{1,6})\s+)"
    r"(?P<word>TPASS|TFAIL|TBROK|TCONF|TWARN)\s*(?::\s*|$)(?P<note>.*)$"
)
_LTP_SUMMARY = re.compile(r"^(passed|failed|broken|skipped|warnings)\s+(\d{1,9})\s*$")
_LTP_WORDS = {
    "TPASS": Status.PASS, "TFAIL": Status.FAIL, "TBROK": Status.BROKEN, "TCONF": Status.SKIP,
}  # fmt: skip
_LTP_BITS = ((1, Status.FAIL, "TFAIL"), (2, Status.BROKEN, "TBROK"), (4, Status.BROKEN, "TWARN"))


class Ltp:
    """Both APIs: `file.c:12: TPASS: text` and `name  1  TPASS  :  text`."""

    form = "ltp"

    def __init__(self) -> None:
        self.tally = _Tally()
        self.summary: dict[str, int] = {}
        self._in_summary = self._warned = False

    @property
    def seen(self) -> bool:
        return bool(self.tally.cases) or self._warned or bool(self.summary)

    def line(self, line: str) -> None:
        text = line.strip()
        if text == "Summary:":
            self._in_summary = True
        elif self._in_summary and (found := _LTP_SUMMARY.match(text)):
            self.summary[found[1]] = int(found[2])
        elif found := _LTP.match(text):
            self._in_summary = False
            new = found["line"] is not None
            name = (
                f"{found['name']}:{found['line']}" if new else f"{found['name']} {found['number']}"
            )
            if found["word"] == "TWARN":
                self._warned = True
            else:
                self.tally.add(name, _LTP_WORDS[found["word"]], found["note"])

    def judge(self, end: End) -> tuple[Status, str]:
        if failed := self.tally.failed():
            return failed, f"first: {self.tally.first_failure}"
        for word, status in (("failed", Status.FAIL), ("broken", Status.BROKEN)):
            if self.summary.get(word):
                return status, f"the summary says {word} {self.summary[word]}"
        if self._warned or self.summary.get("warnings"):
            return Status.BROKEN, "TWARN"
        for bit, status, word in _LTP_BITS:
            if end.code is not None and end.code < 64 and end.code & bit:
                return status, f"exit status {end.code}: {word}"
        if end.code == 32:
            return Status.SKIP, "exit status 32: TCONF"
        return _by_cases(self.tally, end, self.form)


# -- the kernel's own tests, older style ---------------------------------------------------

_BRACKETS = re.compile(r"^\s*\[\s*(OK|PASS|FAIL|SKIP)\s*\]\s*(.*)$")
_BRACKET_WORDS = {
    "OK": Status.PASS, "PASS": Status.PASS, "FAIL": Status.FAIL, "SKIP": Status.SKIP,
}  # fmt: skip
_COMPLETED = re.compile(r"^==>> completed\. (PASS|FAIL|SKIP)\b")


class Kselftest:
    """`[OK]`, `[FAIL]`, `[SKIP]`, and `==>> completed. PASS(1)`."""

    form = "kselftest"

    def __init__(self) -> None:
        self.tally = _Tally()

    @property
    def seen(self) -> bool:
        return bool(self.tally.cases)

    def line(self, line: str) -> None:
        if found := _BRACKETS.match(line) or _COMPLETED.match(line):
            note = found[2].strip() if found.re is _BRACKETS else ""
            self.tally.add(note or "completed", _BRACKET_WORDS[found[1]])

    def judge(self, end: End) -> tuple[Status, str]:
        if failed := self.tally.failed():
            return failed, f"first: {self.tally.first_failure}"
        return _by_cases(self.tally, end, self.form)


# -- the whole -----------------------------------------------------------------------------


def _by_cases(tally: _Tally, end: End, form: str) -> tuple[Status, str]:
    """Nothing has failed, by its own account."""
    by_code = EXIT_CODES[form].get(end.code or 0)
    positive = tally.positive()
    if end.code != 0 and by_code is None:
        return Status.FAIL, f"{end}, though nothing was reported as failed"
    if by_code is not None:
        return by_code, str(end)
    if positive is None:
        return Status.BROKEN, "no test ran"
    if positive is Status.SKIP:
        return Status.SKIP, "nothing ran that was not skipped"
    return Status.PASS, ""


Reader = Ktap | Ltp | Kselftest


class Reading:
    """Reads a program's two streams as they come, and judges it at the end."""

    def __init__(self, form: str = "auto", expect: str = "") -> None:
        """`form` is one of FORMS; `expect` is how the program must end instead of by exit
        status 0, as "3" or "SIGSEGV": then that alone decides.
        """
        readers: dict[str, Reader] = {"ktap": Ktap(), "ltp": Ltp(), "kselftest": Kselftest()}
        self._form, self._expect = form, expect
        self._readers = list(readers.values()) if form == "auto" else []
        if form in readers:
            self._readers = [readers[form]]
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
        if reader is None and self._form in ("ktap", "ltp", "kselftest"):
            reader = self._readers[0]
        form = reader.form if reader else "exit" if self._form == "auto" else self._form
        status, reason = reader.judge(end) if reader else _by_end(form, end)
        if end.trouble or end.signal:
            status, reason = Status.FAIL, str(end)
        if self._expect and not end.trouble:
            met = self._expect in (end.signal, str(end.code) if end.code is not None else "")
            status = Status.PASS if met else Status.FAIL
            reason = "" if met else f"{end}, and {self._expect} was expected"
        counts = reader.tally.counts if reader else Counter[Status]()
        return Judgement(
            form=form,
            status=status,
            reason=reason,
            totals={kind.value: counts[kind] for kind in Status if counts[kind]},
            cases=reader.tally.cases if reader else [],
        )


def _by_end(form: str, end: End) -> tuple[Status, str]:
    if end.code == 0:
        return Status.PASS, ""
    return EXIT_CODES[form].get(end.code or 0, Status.FAIL), str(end)
