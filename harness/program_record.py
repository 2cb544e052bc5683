"""What is known of runs of somebody else's program: results of `faultline exec` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal

import msgspec

SCHEMA: Final = 1
KEPT: Final = 1 << 20  # bytes of each stream in a ColumnOutput

Form = Literal[
    "ktap", "ltp", "kselftest", "exit", "automake", "kselftest-exit", "openposix"
]  # how the output of a program tells results


class Status(str, Enum):
    """What came of a case, or of the program as a whole."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    BROKEN = "broken"  # the test itself did not work: LTP's TBROK, a plan that was not kept
    TODO = "todo"  # of a case: fails, and is said to
    INFRA = "infra"  # of a program: nothing is known of it


class CaseRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One case that the output told of."""

    name: str
    status: Status
    note: str = ""


class ProgramRecord(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="program"
):
    """The results file of `faultline exec`: one JSON object."""

    schema: Literal[1]
    program: str
    arguments: list[str]
    column: str
    arch: str
    kernel: str
    version: str = ""
    release: str = ""
    provenance: dict[str, str] = {}
    status: Status
    reason: str = ""
    form: Form = "exit"  # how its output was read
    totals: dict[str, int] = {}  # cases by status
    cases: list[CaseRecord] = []  # the first of them; totals count all
    exit_code: int | None = None
    signal: str = ""
    hang: str = ""
    kernel_said: str = ""  # oops, panic, warn(...)
    console: list[str] = []
    details: dict[str, str] = {}
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    ms: int = 0


class ColumnOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of several that the same program ran on."""

    column: str
    failure: str = ""  # why it did not run there, or was not seen to; then there is no record
    refused: bool = False  # it is the program's own: it does not compile for that arch
    record: ProgramRecord | None = None
    stdout: str = ""  # KEPT of it; what is no UTF-8 as \xNN
    stderr: str = ""


class ComparisonRecord(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="comparison",
):
    """The results file of `faultline compare`: one JSON object."""

    schema: Literal[1]
    program: str
    arguments: list[str]
    columns: list[ColumnOutput]


def death(signal: str, details: Mapping[str, str]) -> tuple[str, str]:
    """(siginfo, place in its source) of an end by `signal`, where a core tells of this end; else
    the signal alone, and "".
    """
    died = details.get("died", "")
    return (died, details.get("place", "")) if died.partition("/")[0] == signal else (signal, "")
