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

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, Union

MAX_LENGTH = 8192  # characters; a frame on the results port is not longer

EXACT_REACH = 64  # bytes: up to here an address is named by its distance from the touch
MAX_PAGE = 1 << 20  # bytes: the largest base page of any arch

PROPERTIES: Final = ("lsb", "pkey", "trapno")
PAGE: Final = "page"
EFFECTS: Final = ("data", "maj", "min")
DATA: Final = ("match", "changed", "zeroed")
HANG_STATES: Final = ("sleep", "disk", "spin-user", "spin-kernel")

# Names only, no numbers: those differ between arches. Aliases (EWOULDBLOCK, SIGPOLL) are
# left out, because each outcome has one text.
ERRNOS: Final = frozenset(
    """
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG
    ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY
    ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR
    EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE
    ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD
    EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK
    EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT
    ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL
    EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED
    EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON
    """.split()
)

SIGNALS: Final = frozenset(
    """
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2
    SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG
    SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS SIGEMT
    """.split()
)

_ANY_SIGNAL_CODES = frozenset(
    """
    SI_USER SI_KERNEL SI_QUEUE SI_TIMER SI_MESGQ SI_ASYNCIO SI_SIGIO SI_TKILL SI_DETHREAD
    SI_ASYNCNL
    """.split()
)


def _codes(prefix: str, names: str) -> frozenset[str]:
    return _ANY_SIGNAL_CODES | {f"{prefix}_{name}" for name in names.split()}


_SEGV = "MAPERR ACCERR BNDERR PKUERR ACCADI ADIDERR ADIPERR MTEAERR MTESERR CPERR"
_FPE = "INTDIV INTOVF FLTDIV FLTOVF FLTUND FLTRES FLTINV FLTSUB FLTUNK CONDTRAP"
CODES: Final[dict[str, frozenset[str]]] = {
    "SIGSEGV": _codes("SEGV", _SEGV),
    "SIGBUS": _codes("BUS", "ADRALN ADRERR OBJERR MCEERR_AR MCEERR_AO"),
    "SIGILL": _codes("ILL", "ILLOPC ILLOPN ILLADR ILLTRP PRVOPC PRVREG COPROC BADSTK BADIADDR"),
    "SIGFPE": _codes("FPE", _FPE),
    "SIGTRAP": _codes("TRAP", "BRKPT TRACE BRANCH HWBKPT UNK PERF"),
    "SIGCHLD": _codes("CLD", "EXITED KILLED DUMPED TRAPPED STOPPED CONTINUED"),
    "SIGIO": _codes("POLL", "IN OUT MSG ERR PRI HUP"),
    "SIGSYS": _codes("SYS", "SECCOMP USER_DISPATCH"),
    "SIGEMT": _codes("EMT", "TAGOVF"),
}


class OutcomeError(ValueError):
    """Text that is no outcome: what was expected at ``position`` (characters, from 0)."""

    def __init__(self, text: str, position: int, expected: str) -> None:
        super().__init__(text, position, expected)  # so that it pickles
        self.text, self.position, self.expected = text, position, expected

    def __str__(self) -> str:
        found = self.text[self.position : self.position + 24]
        shown = ascii(found) if found else "the end"
        place = f"at character {self.position + 1}"
        return f"not an outcome: {place} expected {self.expected}, found {shown}"


@dataclass(frozen=True)
class Field:
    """``lsb=12``, ``data=match``: something that is compared, beside a result."""

    name: str
    value: str

    def __str__(self) -> str:
        return f" {self.name}={self.value}"


@dataclass(frozen=True)
class Signal:
    """A signal that a handler saw. ``address`` is the form, as in "@page+8"; "" = none stands."""

    name: str
    code: str
    address: str = ""
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        address = f" {self.address}" if self.address else ""
        return f"{self.name}/{self.code}{address}{_join(self.fields)}"


@dataclass(frozen=True)
class Call:
    """What a call or an access gave back, and the signals that were handled meanwhile.

    ``value`` is ``ok``, ``ok(7)``, ``short(50/100)`` or an errno.
    """

    value: str
    signals: tuple[Signal, ...] = ()
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        return f"{self.value}{_join(f'[{signal}]' for signal in self.signals)}{_join(self.fields)}"


@dataclass(frozen=True)
class Killed:
    """The signal's default action: no handler ran."""

    signal: str

    def __str__(self) -> str:
        return f"killed({self.signal})"


@dataclass(frozen=True)
class Exit:
    """The task ended by exit status before it was through."""

    status: int

    def __str__(self) -> str:
        return f"exit({self.status})"


@dataclass(frozen=True)
class Hang:
    """No end within the time limit; ``killable`` says whether SIGKILL ended it."""

    killable: bool
    state: str

    def __str__(self) -> str:
        return f"hang({'killable' if self.killable else 'unkillable'}, {self.state})"


@dataclass(frozen=True)
class Trouble:
    """What the kernel said of itself, warn with the ``function``, or how the machine was lost.

    ``silent``: it answers no more, and has not said why. ``lost``: it ended without a word, by a
    reset, a triple fault or an abort of the emulator.
    """

    kind: str
    function: str = ""

    def __str__(self) -> str:
        return f"{self.kind}({self.function})" if self.function else self.kind


Result = Union[Call, Signal, Killed, Exit, Hang, Trouble]


@dataclass(frozen=True)
class Step:
    """One result. ``label`` is "" for the only step of a scenario that has no labels."""

    label: str
    result: Result

    def __str__(self) -> str:
        return f"{self.label}={self.result}" if self.label else str(self.result)


@dataclass(frozen=True)
class Task:
    """Steps of one task. ``name`` is a letter, ``kernel``, or "" for the only task."""

    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        steps = "; ".join(map(str, self.steps))
        return f"{self.name}: {steps}" if self.name else steps


@dataclass(frozen=True)
class Outcome:
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
    scan = _Scanner(text)
    outcome = NOT_APPLICABLE if scan.skip("n/a") else Outcome(_tasks(scan))
    scan.end()
    return outcome


# Each token's pattern is one character class after another: no pattern can backtrack far.
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,19})(?![0-9])")
_CODE_NUMBER = re.compile(r"(?:0|-?[1-9][0-9]{0,9})(?![0-9])")
_NEXT_TASK = " | "
_TASK = re.compile(r"([A-Z]|kernel): ")
_LABEL = re.compile(r"([a-z][a-z0-9-]{0,39})=")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LETTERS = re.compile(r"[a-z]{1,40}")
_ERRNO_NUMBER = re.compile(r"E[1-9][0-9]{0,3}")
_SIGNAL_NUMBER = re.compile(r"SIG[1-9][0-9]{0,2}")


class _Scanner:
    """A text, and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def sees(self, literal: str) -> bool:
        return self.text.startswith(literal, self.at)

    def skip(self, literal: str) -> bool:
        """Read ``literal`` if it stands here."""
        if not self.sees(literal):
            return False
        self.at += len(literal)
        return True

    def need(self, literal: str, expected: str = "") -> None:
        if not self.skip(literal):
            self.fail(expected or f"`{literal}`")

    def peek(self, pattern: re.Pattern[str]) -> str:
        """What ``pattern`` matches here, or ""; reads nothing."""
        match = pattern.match(self.text, self.at)
        return match.group(match.lastindex or 0) if match else ""

    def take(self, pattern: re.Pattern[str], expected: str) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            self.fail(expected)
        self.at = match.end()
        return match.group(match.lastindex or 0)

    def choose(self, known: Iterable[str], what: str, pattern: re.Pattern[str] = _WORD) -> str:
        """Read a word that is one of ``known``; ``what`` says of what kind, as "a signal"."""
        word, names = self.peek(pattern), tuple(known)
        if word not in names:
            self.fail(_expected(what, word, names))
        self.at += len(word)
        return word

    def number(self, low: int, high: int, expected: str) -> str:
        digits = self.peek(_NUMBER)
        if not digits or not low <= int(digits) <= high:
            self.fail(expected)
        self.at += len(digits)
        return digits

    def end(self) -> None:
        if self.at != len(self.text):
            self.fail("the end of the outcome")

    def fail(self, expected: str) -> NoReturn:
        raise OutcomeError(self.text, self.at, expected)


def _tasks(scan: _Scanner) -> tuple[Task, ...]:
    if not scan.peek(_TASK):
        return (Task("", _steps(scan)),)
    tasks = [_task(scan, ())]
    while scan.skip(_NEXT_TASK):
        tasks.append(_task(scan, tuple(tasks)))
    return tuple(tasks)


def _task(scan: _Scanner, before: tuple[Task, ...]) -> Task:
    start = scan.at
    name = scan.take(_TASK, "a task, as `A: ` or `kernel: `")
    if name == "kernel":  # may speak more than once: one warn( ) each
        return Task(name, (Step("", _trouble(scan)),))
    if any(task.name == name for task in before):
        scan.at = start
        scan.fail(f"another task than {name}")
    return Task(name, _steps(scan))


def _steps(scan: _Scanner) -> tuple[Step, ...]:
    if not scan.peek(_LABEL):
        return (Step("", _result(scan)),)
    steps = [_step(scan)]
    while scan.skip("; "):
        steps.append(_step(scan))
    return tuple(steps)


def _step(scan: _Scanner) -> Step:
    label = scan.take(_LABEL, "a step's label and `=`, as `load=`")
    return Step(label, _result(scan))


_ENDINGS = ("killed", "exit", "hang")
_TROUBLES = ("oops", "panic", "silent", "lost", "warn")


def _result(scan: _Scanner) -> Result:
    word = scan.peek(_WORD)
    if word.startswith("SIG"):
        return _signal(scan)
    if word in _ENDINGS:
        return _ending(scan, word)
    if word in _TROUBLES:
        return _trouble(scan)
    return _call(scan, word)


def _call(scan: _Scanner, word: str) -> Call:
    start = scan.at
    _value(scan, word)
    value = scan.text[start : scan.at]
    signals = []
    while scan.skip("["):
        signals.append(_signal(scan))
        scan.need("]")
    return Call(value, tuple(signals), _fields(scan, EFFECTS))


def _value(scan: _Scanner, word: str) -> None:
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
        scan.fail(_expected("a result", word, [*others, *ERRNOS, *SIGNALS]))


def _signal(scan: _Scanner) -> Signal:
    name = _signal_name(scan)
    scan.need("/")
    code = scan.peek(_CODE_NUMBER)
    if code:
        scan.need(code)
    else:
        code = scan.choose(CODES.get(name, _ANY_SIGNAL_CODES), f"a code of {name}")
    address = _address(scan) if scan.skip(" @") else ""
    return Signal(name, code, address, _fields(scan, PROPERTIES + EFFECTS))


def _signal_name(scan: _Scanner) -> str:
    word = scan.peek(_WORD)
    if _SIGNAL_NUMBER.fullmatch(word):
        scan.need(word)
        return word
    return scan.choose(SIGNALS, "a signal")


def _address(scan: _Scanner) -> str:
    start = scan.at - 1  # the @ has been read
    form = scan.choose(("exact", "touch", "page", "zero", "other"), "an address form", _LETTERS)
    if form == "touch":
        if not scan.skip("+"):
            scan.need("-", "`+` or `-`")
        scan.number(1, EXACT_REACH, f"a distance of 1 to {EXACT_REACH} bytes")
    elif form == "page" and scan.skip("+"):
        scan.number(1, MAX_PAGE - 1, "an offset within the page, not 0")
    return scan.text[start : scan.at]


def _fields(scan: _Scanner, names: tuple[str, ...]) -> tuple[Field, ...]:
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


def _ending(scan: _Scanner, word: str) -> Result:
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


def _trouble(scan: _Scanner) -> Trouble:
    kind = scan.choose(_TROUBLES, "trouble in the kernel")
    if kind != "warn":
        return Trouble(kind)
    scan.need("(")
    function = scan.take(_FUNCTION, "a function's name")
    scan.need(")")
    return Trouble(kind, function)


def _number(scan: _Scanner) -> str:
    return scan.number(0, 2**64 - 1, "a number below 2**64, without leading zeros")


def _expected(what: str, word: str, known: Iterable[str]) -> str:
    """``what``, and the known words that ``word`` could have been meant to be."""
    names = sorted(known)
    if not names:
        return f"nothing more, and not {what}"
    if len(names) <= 12:
        return f"{what} ({', '.join(names)})"
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    return f"{what} ({' or '.join(near)})" if near else what


def _join(parts: Iterable[object]) -> str:
    return "".join(map(str, parts))
