"""Synthetic results as real runs leave them: 4 arches x 2 kernels with the real divergences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.results import (
    ColumnRecord,
    EndRecord,
    Evidence,
    Observation,
    ResultRecord,
    Results,
    RunRecord,
    Verdict,
)

ARCHES = ("x86_64", "arm64", "alpha", "m68k")  # not in the order that a report shows
KERNELS = {"debian-6.12": "6.12.117", "debian-6.1": "6.1.192"}
MAPERR = "SIGSEGV/SEGV_MAPERR @exact"
ACCERR = "SIGSEGV/SEGV_ACCERR @exact"
ADRERR = "SIGBUS/BUS_ADRERR @exact"
SPIN = "hang(unkillable, spin-kernel)"

Outcome = Callable[[str, str], str]  # (arch, kernel) -> outcome


def _by_arch(default: str, **special: str) -> Outcome:
    return lambda arch, kernel: special.get(arch, default)


def _kill_in_read(arch: str, kernel: str) -> str:
    return SPIN if arch in ("alpha", "m68k") and kernel == "debian-6.1" else "killed(SIGKILL)"


def _anon_load(arch: str, kernel: str) -> str:
    if arch in ("alpha", "m68k"):
        return "madvise=EINVAL"
    return "madvise=ok; load=SIGBUS/BUS_MCEERR_AR @exact lsb=12"


PLAN: Mapping[str, Outcome] = {
    "hole/read": _by_arch(MAPERR),
    "hole/write": _by_arch(MAPERR),
    "hole/low-map-root": _by_arch("mmap=ok; store=ok; load=ok"),
    "protection/ro-write-fresh": _by_arch(ACCERR),
    "protection/wonly-read-after-write": _by_arch("store=ok; load=ok"),
    "protection/xonly-read": _by_arch("ok", x86_64="SIGSEGV/SEGV_PKUERR @exact", alpha=ACCERR),
    "protection/exec-nx": _by_arch(ACCERR, m68k="ok"),
    "stack/below-usp-256": _by_arch("ok"),
    "stack/below-usp-257": _by_arch("ok", m68k=MAPERR),
    "stack/growsdown-user": _by_arch("ok", m68k=MAPERR),
    "file/eof-shared-load": _by_arch(ADRERR),
    "file/eof-read": _by_arch("EFAULT", alpha=f"EFAULT[{ADRERR}]"),
    "hwpoison/anon-load": _anon_load,
    "uaccess/tail-write-3": _by_arch("short(3/128)", alpha=SPIN, m68k=SPIN),
    "uaccess/tail-read-101": _by_arch("short(101/200)", m68k="short(100/200)"),
    "uaccess/noncanonical": _by_arch("EFAULT", m68k="n/a"),
    "retry/kill-in-read": _kill_in_read,
    "control/touch": _by_arch("ok data=match"),
}

BECAUSE = {
    "stack/below-usp-257": "user stack growth below usp-256 is refused",
    "file/eof-read": "do_sigbus forces the signal before it looks for a fixup",
    "protection/xonly-read": "VM_EXEC alone: pkey, page protection or nothing denies the read",
    "retry/kill-in-read": "the handler returns without fixup on a fatal signal: endless refault",
}


def evidence(arch: str, kernel: str, status: str = "valid") -> Evidence:
    return Evidence(
        id="fault-decision",
        file=f"arch/{arch.replace('x86_64', 'x86')}/mm/fault.c",
        function="do_page_fault",
        text="if (address + 256 < rdusp())",
        status=status,
        line=105 if kernel == "debian-6.1" else 107,
    )


def column(kernel: str, arch: str, run: str = "r1", /, **more: object) -> ColumnRecord:
    fields: dict[str, object] = {
        "run_id": run,
        "column": f"{kernel},{arch}",
        "arch": arch,
        "kernel": kernel,
        "version": KERNELS.get(kernel, "6.13"),
        "release": KERNELS.get(kernel, "6.13") + "-faultline",
        "provenance": {
            "compiler": f"{arch}-linux-gnu-gcc 12.2.0",
            "qemu": "7.2.13",
            "accel": "tcg",
        },
        "planned": list(PLAN),
    }
    return ColumnRecord(**(fields | more))  # type: ignore[arg-type]


def verdict_of(scenario: str, outcome: str) -> Verdict:
    if outcome == "n/a":
        return Verdict.NOT_APPLICABLE
    return Verdict.KNOWN_BUG if outcome == SPIN else Verdict.MATCH


def cell(scenario: str, kernel: str, arch: str, run: str = "r1", /, **more: object) -> ResultRecord:
    """The cell as the plan has it; `outcome`, `observation` and record fields can be replaced."""
    planned = PLAN.get(scenario, _by_arch("ok"))(arch, kernel)
    outcome = str(more.pop("outcome", planned))
    cause = "32-bit addresses" if outcome == "n/a" else ""
    bug = planned == SPIN
    fields: dict[str, object] = {
        "run_id": run,
        "column": f"{kernel},{arch}",
        "scenario": scenario,
        "verdict": verdict_of(scenario, outcome),
        "observation": Observation(scenario=scenario, outcome=outcome, cause=cause, ms=3),
        "expected": [planned],
        "want": "killed(SIGKILL)" if bug else "",
        "bug": "VM_FAULT_RETRY fixes, 2023" if bug else "",
        "because": BECAUSE.get(scenario, "every arch sends the same"),
        "evidence": [evidence(arch, kernel)],
        "declared": f"expectations/{scenario.partition('/')[0]}.yaml:12",
        "repeat": f"faultline run {scenario} --arch {arch} --kernel {kernel}",
    }
    return ResultRecord(**(fields | more))  # type: ignore[arg-type]


def run_records(run: str = "r1", started: str = "2026-03-01T10:00:00Z") -> list[object]:
    return [RunRecord(run_id=run, started=started), EndRecord(run_id=run)]


def results(*records: object) -> Results:
    found = Results()
    for record in records:
        found.add(record)  # type: ignore[arg-type]
    return found


def sample() -> Results:
    """Everything as expected: exit code 0, known bugs among it."""
    columns = [column(kernel, arch) for kernel in KERNELS for arch in ARCHES]
    cells = [cell(s, kernel, arch) for s in PLAN for kernel in KERNELS for arch in ARCHES]
    return results(*run_records(), *columns, *cells)


def lost_alike() -> Results:
    """The sample with a scenario whose set-up fails, in the same words in each column; of alpha
    the kernel had something to say besides.
    """
    found = sample()
    for kernel in KERNELS:
        for arch in ARCHES:
            said = ["unaligned trap"] if arch == "alpha" else []
            seen = Observation(scenario="hole/read", failure="memfd_create: ENOSYS", console=said)
            found.add(cell("hole/read", kernel, arch, verdict=Verdict.INFRA, observation=seen))
    return found


def troubled() -> Results:
    """The sample with one of each: mismatch, no expectation, infra, missing, fixed, stale."""
    found = sample()
    oops = [
        "[    2.310000] Unable to handle kernel access at address deadbee0",
        "[    2.310000] PC: [<000a1b2c>] do_page_fault+0x1f0/0x2a0",
    ]
    wrong = Observation(scenario="hole/write", outcome=ACCERR, console=oops)
    lost = Observation(scenario="file/eof-read", failure="memfd_create: ENOSYS")
    for record in (
        cell(
            "hole/write",
            "debian-6.12",
            "m68k",
            verdict=Verdict.MISMATCH,
            observation=wrong,
            confirmation="confirmed",
        ),
        cell(
            "stack/below-usp-256",
            "debian-6.12",
            "arm64",
            verdict=Verdict.NO_EXPECTATION,
            expected=[],
            because="",
            evidence=[],
            declared="",
        ),
        cell("file/eof-read", "debian-6.1", "alpha", verdict=Verdict.INFRA, observation=lost),
        cell(
            "uaccess/tail-write-3",
            "debian-6.12",
            "m68k",
            verdict=Verdict.FIXED,
            outcome="short(3/128)",
            want="short(3/128)",
        ),
        cell(
            "stack/below-usp-257",
            "debian-6.12",
            "m68k",
            evidence=[evidence("m68k", "debian-6.12", "stale")],
        ),
    ):
        found.add(record)
    del found.results["r1", "debian-6.1,x86_64", "control/touch"]
    return found
