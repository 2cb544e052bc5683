"""What is known of a run of somebody else's program: the results of `faultline exec`."""

from __future__ import annotations

import msgspec

SCHEMA = 1


class ProgramRecord(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="program"
):
    """The results file of `faultline exec`: one JSON object."""

    schema: int
    program: str
    arguments: list[str]
    column: str
    arch: str
    kernel: str
    version: str = ""
    release: str = ""
    provenance: dict[str, str] = {}
    status: str  # pass, fail, skip, broken; infra: nothing is known of the program
    reason: str = ""
    form: str = "exit"  # how its output was read
    totals: dict[str, int] = {}
    cases: list[dict[str, str]] = []
    exit_code: int | None = None
    signal: str = ""
    hang: str = ""
    kernel_said: str = ""  # oops, panic, warn(...)
    console: list[str] = []
    details: dict[str, str] = {}
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    ms: int = 0
