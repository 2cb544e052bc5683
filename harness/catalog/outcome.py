"""The outcome grammar: what user space saw, as one canonical text.

The same text stands in C output, YAML, results and reports; ``str(parse(s)) == s`` for each
text that ``parse`` accepts, so texts can be compared. EBNF::

    outcome  = "n/a" | steps | task , { " | " , task } ;
    task     = letter , ": " , steps | "kernel: " , trouble ;    (* a letter at most once *)
    steps    = result | step , { "; " , step } ;
    step     = label , "=" , result ;
    result   = call | signal | ending | trouble ;

    call     = value , { "[" , signal , "]" } , { " " , effect } ;   (* handled meanwhile *)
    value    = "ok" , [ "(" , number , ")" ]
             | "short(" , number , "/" , number , ")"                (* first < second *)
             | errno ;
    signal   = sig , "/" , code , [ " " , address ] , { " " , property } , { " " , effect } ;
    address  = "@exact" | "@touch" , ( "+" | "-" ) , number          (* 1 to 64 bytes off *)
             | "@page" , [ "+" , number ] | "@zero" | "@other" ;     (* start of the page *)
    property = "lsb=" , ( number | "page" ) | "pkey=" , number | "trapno=" , number ;
                            (* page: in rows only, the bits of the column's page size *)
    effect   = "data=" , ( "match" | "changed" | "zeroed" ) | "maj=" , number | "min=" , number ;
                            (* properties, effects: each at most once, in the order given here *)

    ending   = "killed(" , sig , ")" | "exit(" , status , ")"
             | "hang(" , ( "killable" | "unkillable" ) , ", "
                       , ( "sleep" | "disk" | "spin-user" | "spin-kernel" ) , ")" ;
    trouble  = "oops" | "panic" | "warn(" , function , ")"
             | "silent" | "lost" ;      (* the machine answers no more; it reset or aborted *)

    errno    = name known here, as "EFAULT" | "E" , positive number ;
    sig      = name known here, as "SIGBUS" | "SIG" , positive number ;
    code     = name known here that goes with sig, or any signal's "SI_" name | [ "-" ] , number ;
    label    = lower-case letter , { lower-case letter | digit | "-" } ;    (* up to 40 *)
    function = ( letter | "_" ) , { letter | digit | "_" | "." | "-" } ;    (* up to 128 *)
    letter   = "A" .. "Z" ;   status = 0 .. 255 ;
    number   = decimal digits, no leading zero, below 2**64 ;

The grammar does not recurse and each token is bounded, so time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Union

from msgspec import Struct

from harness.catalog.names import ANY_SIGNAL, CODES, ERRNOS, SIGNALS
from harness.catalog.scanner import WORD, OutcomeError, Scanner, expected_one

MAX_LENGTH = 8192  # characters; a frame on the results port is not longer

EXACT_REACH = 64  # bytes: up to here an address is named by its distance from the touch
MAX_PAGE = 1 << 20  # bytes: the largest base page of any arch

PROPERTIES: Final = ("lsb", "pkey", "trapno")
PAGE: Final = "page"
EFFECTS: Final = ("data", "maj", "min")
DATA: Final = ("match", "changed", "zeroed")
HANG_STATES: Final = ("sleep", "disk", "spin-user", "spin-kernel")


class Field(Struct, frozen=True):
    """``lsb=12``, ``data=match``: something that is compared, beside a result."""

    name: str
    value: str

    def __str__(self) -> str:
        return f" {self.name}={self.value}"


class Signal(Struct, frozen=True):
    """A signal that a handler saw. ``address`` is the form, as in "@page+8"; "" = none stands."""

    name: str
    code: str
    address: str = ""
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        address = f" {self.address}" if self.address else ""
        return f"{self.name}/{self.code}{address}{_join(self.fields)}"


class Call(Struct, frozen=True):
    """What a call or an access gave back, and the signals that were handled meanwhile.

    ``value`` is ``ok``, ``ok(7)``, ``short(50/100)`` or an errno.
    """

    value: str
    signals: tuple[Signal, ...] = ()
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        return f"{self.value}{_join(f'[{signal}]' for signal in self.signals)}{_join(self.fields)}"


class Killed(Struct, frozen=True):
    """The signal's default action: no handler ran."""

    signal: str

    def __str__(self) -> str:
        return f"killed({self.signal})"


class Exit(Struct, frozen=True):
    """The task ended by exit status before it was through."""

    status: int

    def __str__(self) -> str:
        return f"exit({self.status})"


class Hang(Struct, frozen=True):
    """No end within the time limit; ``killable`` says whether SIGKILL ended it."""

    killable: bool
    state: str

    def __str__(self) -> str:
        return f"hang({'killable' if self.killable else 'unkillable'}, {self.state})"


class Trouble(Struct, frozen=True):
    """What the kernel said of itself, warn with the ``function``, or how the machine was lost.

    ``silent``: it answers no more, and has not said why. ``lost``: it ended without a word, by a
    reset, a triple fault or an abort of the emulator.
    """

    kind: str
    function: str = ""

    def __str__(self) -> str:
        return f"{self.kind}({self.function})" if self.function else self.kind


Result = Union[Call, Signal, Killed, Exit, Hang, Trouble]


class Step(Struct, frozen=True):
    """One result. ``label`` is "" for the only step of a scenario that has no labels."""

    label: str
    result: Result

    def __str__(self) -> str:
        return f"{self.label}={self.result}" if self.label else str(self.result)


class Task(Struct, frozen=True):
    """Steps of one task. ``name`` is a letter, ``kernel``, or "" for the only task."""

    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        steps = "; ".join(map(str, self.steps))
        return f"{self.name}: {steps}" if self.name else steps


class Outcome(Struct, frozen=True):
    """The whole. No tasks at all means ``n/a``."""

    tasks: tuple[Task, ...]

    def __str__(self) -> str:
        return " | ".join(map(str, self.tasks)) if self.tasks else "n/a"

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(step.result for task in self.tasks for step in task.steps)

    @property
    def breaks(self) -> bool:
        """Whether a machine has to be restarted after it."""
        return any(
            (isinstance(result, Hang) and not result.killable)
            or (isinstance(result, Trouble) and result.kind != "warn")
            for result in self.results
        )

    @property
    def wedges(self) -> bool:
        """Whether something is left behind that later scenarios could trip over."""
        return any(
            isinstance(result, Hang) or (isinstance(result, Trouble) and result.kind != "warn")
            for result in self.results
        )


NOT_APPLICABLE: Final = Outcome(())


def parse(text: str) -> Outcome:
    """Read one outcome. Raises OutcomeError for whatever the grammar does not allow."""
    if len(text) > MAX_LENGTH:
        raise OutcomeError(text, MAX_LENGTH, f"at most {MAX_LENGTH} characters")
    try:
        return _parse(text)
    except OutcomeError as error:
        spaced = _spaced(text)
        try:
            _parse(spaced)
        except OutcomeError:
            raise error from None
        raise OutcomeError(text, error.position, f"blanks as in `{spaced}`") from None


def _parse(text: str) -> Outcome:
    scan = Scanner(text)
    outcome = NOT_APPLICABLE if scan.skip("n/a") else Outcome(_tasks(scan))
    scan.end()
    return outcome


_SPACED = {";": "; ", ",": ", ", ":": ": ", "|": " | ", "@": " @"}
_SEPARATOR = re.compile(r" ?([;,:|@]) ?")


def _spaced(text: str) -> str:
    """The text with blanks where the grammar has them."""
    return _SEPARATOR.sub(lambda found: _SPACED[found[1]], " ".join(text.split()))


# Each token's pattern is one character class after another: no pattern can backtrack far.
_CODE_NUMBER = re.compile(r"(?:0|-?[1-9][0-9]{0,9})(?![0-9])")
_NEXT_TASK = " | "
_TASK = re.compile(r"([A-Z]|kernel): ")
_LABEL = re.compile(r"([a-z][a-z0-9-]{0,39})=")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_LETTERS = re.compile(r"[a-z]{1,40}")
_ERRNO_NUMBER = re.compile(r"E[1-9][0-9]{0,3}")
_SIGNAL_NUMBER = re.compile(r"SIG[1-9][0-9]{0,2}")


def _tasks(scan: Scanner) -> tuple[Task, ...]:
    if not scan.peek(_TASK):
        return (Task("", _steps(scan)),)
    tasks = [_task(scan, ())]
    while scan.skip(_NEXT_TASK):
        tasks.append(_task(scan, tuple(tasks)))
    return tuple(tasks)


def _task(scan: Scanner, before: tuple[Task, ...]) -> Task:
    start = scan.at
    name = scan.take(_TASK, "a task, as `A: ` or `kernel: `")
    if name == "kernel":  # may speak more than once: one warn( ) each
        return Task(name, (Step("", _trouble(scan)),))
    if any(task.name == name for task in before):
        scan.at = start
        scan.fail(f"another task than {name}")
    return Task(name, _steps(scan))


def _steps(scan: Scanner) -> tuple[Step, ...]:
    if not scan.peek(_LABEL):
        only = Step("", _result(scan))
        if scan.sees("; "):
            scan.fail("the end, or a label at each step, as in `load=ok; store=ok`")
        return (only,)
    steps = [_step(scan)]
    while scan.skip("; "):
        steps.append(_step(scan))
    return tuple(steps)


def _step(scan: Scanner) -> Step:
    label = scan.take(_LABEL, "a step's label and `=`, as `load=`")
    return Step(label, _result(scan))


_ENDINGS = ("killed", "exit", "hang")
_TROUBLES = ("oops", "panic", "silent", "lost", "warn")


def _result(scan: Scanner) -> Result:
    word = scan.peek(WORD)
    if word.startswith("SIG"):
        return _signal(scan)
    if word in _ENDINGS:
        return _ending(scan, word)
    if word in _TROUBLES:
        return _trouble(scan)
    return _call(scan, word)


def _call(scan: Scanner, word: str) -> Call:
    start = scan.at
    _value(scan, word)
    value = scan.text[start : scan.at]
    signals = []
    while scan.skip("["):
        signals.append(_signal(scan))
        scan.need("]")
    return Call(value, tuple(signals), _fields(scan, EFFECTS))


def _value(scan: Scanner, word: str) -> None:
    if word == "ok":
        scan.need("ok")
        if scan.skip("("):
            _number(scan)
            scan.need(")")
    elif word == "short":
        scan.need("short")
        scan.need("(")
        got = _number(scan)
        scan.need("/")
        scan.number(int(got) + 1, 2**64 - 1, f"a number above {got}")
        scan.need(")")
    elif word in ERRNOS or _ERRNO_NUMBER.fullmatch(word):
        scan.need(word)
    else:
        others = ("ok", "short", "n/a", *_ENDINGS, *_TROUBLES)
        scan.fail(expected_one("a result", word, [*others, *ERRNOS, *SIGNALS]))


def _signal(scan: Scanner) -> Signal:
    name = _signal_name(scan)
    scan.need("/")
    code = scan.peek(_CODE_NUMBER)
    if code:
        scan.need(code)
    else:
        code = scan.choose(CODES.get(name, ANY_SIGNAL), f"a code of {name}")
    address = _address(scan) if scan.skip(" @") else ""
    return Signal(name, code, address, _fields(scan, PROPERTIES + EFFECTS))


def _signal_name(scan: Scanner) -> str:
    word = scan.peek(WORD)
    if _SIGNAL_NUMBER.fullmatch(word):
        scan.need(word)
        return word
    return scan.choose(SIGNALS, "a signal")


def _address(scan: Scanner) -> str:
    start = scan.at - 1  # the @ has been read
    form = scan.choose(("exact", "touch", "page", "zero", "other"), "an address form", _LETTERS)
    if form == "touch":
        if not scan.skip("+"):
            scan.need("-", "`+` or `-`")
        scan.number(1, EXACT_REACH, f"a distance of 1 to {EXACT_REACH} bytes")
    elif form == "page" and scan.skip("+"):
        scan.number(1, MAX_PAGE - 1, "an offset within the page, not 0")
    return scan.text[start : scan.at]


def _fields(scan: Scanner, names: tuple[str, ...]) -> tuple[Field, ...]:
    """Fields named in ``names``, each at most once and in that order."""
    fields = []
    while not scan.sees(_NEXT_TASK) and scan.skip(" "):
        name = scan.choose(names, "a field")
        scan.need("=")
        if name == "data":
            value = scan.choose(DATA, "the state of the data")
        elif name == "lsb" and scan.skip(PAGE):
            value = PAGE
        else:
            value = _number(scan)
        fields.append(Field(name, value))
        names = names[names.index(name) + 1 :]
    return tuple(fields)


def _ending(scan: Scanner, word: str) -> Result:
    scan.need(word)
    scan.need("(")
    ending: Result
    if word == "killed":
        ending = Killed(_signal_name(scan))
    elif word == "exit":
        ending = Exit(int(scan.number(0, 255, "an exit status, 0 to 255")))
    else:
        killable = scan.choose(("killable", "unkillable"), "whether it can be killed")
        scan.need(", ")
        ending = Hang(killable == "killable", scan.choose(HANG_STATES, "the state of a hang"))
    scan.need(")")
    return ending


def _trouble(scan: Scanner) -> Trouble:
    kind = scan.choose(_TROUBLES, "trouble in the kernel")
    if kind != "warn":
        return Trouble(kind)
    scan.need("(")
    function = scan.take(_FUNCTION, "a function's name")
    scan.need(")")
    return Trouble(kind, function)


def _number(scan: Scanner) -> str:
    return scan.number(0, 2**64 - 1, "a number below 2**64, without leading zeros")


def _join(parts: Iterable[object]) -> str:
    return "".join(map(str, parts))
