"""What is known of a run of somebody else's program: the results of `faultline exec`."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

import msgspec

SCHEMA: Final = 1

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
