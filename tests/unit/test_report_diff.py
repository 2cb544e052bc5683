"""The comparison of results: pure, and honest about what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from msgspec import structs

from harness.report.details import comparable, log_line
from harness.report.diff import Diff, Kind, Tally, compare, judge, told_apart
from harness.report.diffjson import diff_json
from harness.report.difftext import diff_text, shown, verdict_line
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    Results,
    RunRecord,
    Verdict,
)
from harness.text import shorten

FAULT = "SIGSEGV/SEGV_MAPERR @exact"


DOCS = Path(__file__).parents[2] / "docs"


def results(
    kernel: str, /, *arches: str, ended: bool = True, version: str = "6.1", **outcomes: object
) -> Results:
    """A run; an outcome is a text, None for what is lost, or a record's fields."""
    found = Results()
    found.add(RunRecord(run_id=kernel))
    for arch in arches or ("m68k",):
        column = f"{kernel},{arch}"
        names = [name.replace("_", "/") for name in outcomes]
        found.add(ColumnRecord(run_id=kernel, column=column, arch=arch, kernel=kernel,
                               version=version, planned=names))  # fmt: skip
        for name, outcome in zip(names, outcomes.values(), strict=True):
            if outcome is None:
                continue
            fields = outcome if isinstance(outcome, dict) else {"outcome": outcome}
            found.add(record(kernel, column, name, **fields))
    if ended:
        found.add(EndRecord(run_id=kernel))
    return found


def record(run: str, column: str, name: str, **fields: object) -> ResultRecord:
    known = ("outcome", "cause", "alive", "details", "console", "failure")
    seen = {key: fields.pop(key) for key in known if key in fields}
    fields.setdefault("verdict", Verdict.INFRA if seen.get("failure") else Verdict.MATCH)
    observation = Observation(scenario=name, **seen)  # type: ignore[arg-type]
    return ResultRecord(run_id=run, column=column, scenario=name, observation=observation,
                        **fields)  # type: ignore[arg-type]  # fmt: skip


def kinds(diff: Diff) -> dict[tuple[str, str], str]:
    return {(cell.scenario, cell.place): cell.kind.value for cell in diff.cells}


def test_columns_are_paired_by_arch_when_kernels_differ() -> None:
    old = results("a", "m68k", "alpha", hole_read=FAULT, hole_write=FAULT)
    new = results("b", "m68k", "alpha", hole_read=FAULT, hole_write="ok")
    diff = compare(old, new)
    assert kinds(diff)["hole/write", "alpha"] == "changed" and len(diff.cells) == 4
    assert diff.exit_code == 1
    assert "  hole/write  m68k, alpha\n" in diff_text(diff)  # equal changes are told once
    same = compare(old, old)
    assert (same.exit_code, verdict_line(same)) == (0, "No difference in 4 compared cells.")


def test_a_machine_is_compared_with_what_an_import_tells() -> None:
    new = results("gvisor", hole_read="ok", hole_write=FAULT)
    (key, column), *_ = new.columns.items()
    new.columns[key] = structs.replace(column, target="import")
    diff = compare(results("a", hole_read=FAULT, hole_write=FAULT), new)
    assert kinds(diff) == {("hole/read", "m68k"): "changed", ("hole/write", "m68k"): "same"}


@pytest.mark.parametrize(
    ("new", "cause"),
    [
        ({"hole_read": None}, "new: planned, and never observed"),
        ({"hole_read": {"failure": "boot: silent\nmore"}}, "new: infra: boot: silent"),
        ({}, "new: not among its scenarios"),
    ],
)
def test_a_missing_result_is_never_unchanged(new: dict[str, object], cause: str) -> None:
    diff = compare(
        results("a", hole_read="ok", hole_write="ok"), results("b", **new, hole_write="ok")
    )
    assert kinds(diff) == {("hole/read", "m68k"): "not compared", ("hole/write", "m68k"): "same"}
    assert (diff.exit_code, diff.not_compared[0].cause) == (3, cause)
    line = f"No difference in 1 compared cell; 1 not compared (1: {cause})."
    assert verdict_line(diff) == line


def test_one_look_at_either_member_of_a_declared_set_says_nothing() -> None:
    def side(name: str, outcome: str, expected: list[str], **more: object) -> Results:
        found = results(name, races_munmap=outcome, hole_read=FAULT)
        for key, record in found.results.items():
            if record.scenario == "races/munmap":
                found.results[key] = structs.replace(record, expected=expected, **more)
        return found

    both = ["ok", FAULT]
    diff = compare(side("a", "ok", both), side("b", FAULT, both))
    assert kinds(diff)["races/munmap", "m68k"] == "either"
    line = "No difference in 1 compared cell; 1 not compared (1: either is as declared)."
    assert (diff.exit_code, verdict_line(diff)) == (3, line)
    assert "either is as declared (--repeat 6 tells the sides apart)" in diff_text(diff)
    for new in (
        side("b", FAULT, [FAULT]),  # another row
        side("b", FAULT, [*both, "EFAULT"]),
        side("b", FAULT, both, verdict=Verdict.MISMATCH),
    ):
        assert kinds(compare(side("a", "ok", both), new))["races/munmap", "m68k"] == "changed"


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({"ok": 6}, {FAULT: 6}, "changed"),  # that is no chance
        ({"ok": 6}, {"ok": 3, FAULT: 3}, "same"),
        ({"ok": 3}, {"ok": 1, FAULT: 2}, "either"),
    ],
)
def test_looks_enough_tell_the_members_of_a_set_apart(old: Tally, new: Tally, kind: str) -> None:
    def side(name: str, tally: Tally) -> Results:
        found = results(name, races_munmap=next(iter(tally)))
        for key, record in found.results.items():
            found.results[key] = structs.replace(record, expected=["ok", FAULT], tally=tally)
        return found

    diff = compare(side("a", old), side("b", new))
    assert kinds(diff)["races/munmap", "m68k"] == kind


def test_a_change_outranks_what_is_lost() -> None:
    diff = compare(results("a", a_a="ok", a_b="ok"), results("b", a_a="EFAULT", a_b=None))
    assert diff.exit_code == 1
    assert verdict_line(diff).startswith("1 difference in 1 compared cell; 1 not compared (1: new")


def test_a_column_of_one_side_only() -> None:
    diff = compare(results("a", "m68k", "alpha", a_a="ok"), results("b", "m68k", a_a="ok"))
    assert diff.exit_code == 3
    assert diff.not_compared[0].cause == "new has no column alpha"
    back = compare(results("b", "m68k", a_a="ok"), results("a", "m68k", "alpha", a_a="ok"))
    assert back.not_compared[0].cause == "old has no column alpha"


def test_nothing_at_all_is_not_the_same() -> None:
    for diff in (compare(Results(), Results()), compare(results("a"), results("b"))):
        assert diff.exit_code == 3 and verdict_line(diff) == "Nothing to compare."


def test_what_may_be_lost_without_a_trace_is_said() -> None:
    old, new = results("a", a_a="ok"), results("b", a_a="ok", ended=False)
    assert compare(old, new).exit_code == 3
    assert "note: new: run b was interrupted" in diff_text(compare(old, new))
    new = results("b", a_a="ok")
    new.damaged.append("f:3: torn")
    assert compare(old, new).exit_code == 3


def test_not_applicable_is_no_outcome_but_losing_one_is_a_change() -> None:
    diff = compare(results("a", a_a="n/a", a_b="ok"), results("b", a_a="n/a", a_b="n/a"))
    assert kinds(diff) == {("a/a", "m68k"): "n/a", ("a/b", "m68k"): "changed"}
    both = compare(results("a", a_a="n/a", a_b="ok"), results("b", a_a="n/a", a_b="ok"))
    assert both.exit_code == 0
    assert verdict_line(both) == "No difference in 1 compared cell; 1 n/a on both sides."


def test_a_kernel_that_cannot_be_had_was_not_seen_to_do_anything() -> None:
    unbuilt = {"outcome": "n/a", "cause": "no m68k machine"}
    diff = compare(results("a", version="", a_a=unbuilt), results("b", a_a="ok"))
    assert kinds(diff) == {("a/a", "m68k"): "not compared"}
    assert diff.cells[0].cause == "old: n/a: no m68k machine" and diff.exit_code == 3


def test_what_a_guest_said_to_be_not_applicable_is_compared_though_its_machine_was_lost() -> None:
    last = {"outcome": "n/a", "cause": "no such CPU", "alive": False}
    diff = compare(results("a", a_a=last), results("b", a_a="ok"))
    assert kinds(diff) == {("a/a", "m68k"): "changed"}


def test_a_long_cause_is_cut_where_it_can_still_be_read() -> None:
    cause = 'k cannot be had for m68k: "CONFIG_VIRT=y did not survive: no such symbol"; of 5.19'
    old = results("a", version="", a_a={"outcome": "n/a", "cause": cause})
    diff = compare(old, results("b", a_a="ok"))
    told = "1 not compared (1: old: n/a: k cannot be had for m68k ..)."
    assert verdict_line(diff) == f"Nothing could be compared; {told}"
    assert cause in diff_text(diff)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("short enough", "short enough"),
        ("cut between the words of it", "cut between the .."),
        ('it said "quite a lot of it"', "it said .."),
        ("one (of many, many more)", "one .."),
        ('is "a" but "b then so on"', 'is "a" but ..'),
        ("oneverylongwordofitsown", "oneverylongwordofi.."),
    ],
)
def test_what_is_shortened_can_be_read(said: str, shown: str) -> None:
    assert shorten(said, 20) == shown


def test_the_cause_of_not_applicable_is_told() -> None:
    lacking = {"outcome": "n/a", "cause": "needs CONFIG_SWAP=y"}
    told = diff_text(compare(results("a", a_a=lacking), results("b", a_a="ok")))
    assert "    old      n/a (needs CONFIG_SWAP=y)\n    new      ok\n" in told


def test_several_kernels_are_paired_by_name() -> None:
    def two(outcome: str) -> Results:
        found = results("a", a_a="ok")
        for one in results("b", a_a=outcome).columns.values():
            found.add(one)
        found.add(record("b", "b,m68k", "a/a", outcome=outcome))
        found.add(EndRecord(run_id="b"))
        return found

    diff = compare(two("ok"), two("EFAULT"))
    assert kinds(diff) == {("a/a", "a,m68k"): "same", ("a/a", "b,m68k"): "changed"}
    diff = compare(two("ok"), results("a", a_a="ok"))
    assert diff.exit_code == 3 and "FILE#KERNEL" in diff.notes[-1]


# -- flakes --


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({"ok": 1}, {"ok": 1}, Kind.SAME),
        ({"ok": 1}, {"EFAULT": 1}, Kind.CHANGED),
        ({"ok": 10}, {"ok": 3}, Kind.SAME),
        ({"ok": 10}, {"ok": 9, "EFAULT": 1}, Kind.FLAKE),
        ({"ok": 1}, {"ok": 1, "EFAULT": 1}, Kind.FLAKE),
        ({"ok": 10}, {"ok": 3, "EFAULT": 7}, Kind.CHANGED),
        ({"ok": 5, "EFAULT": 5}, {"ok": 4, "EFAULT": 6}, Kind.SAME),
        ({"ok": 9, "EFAULT": 1}, {"ok": 1, "EFAULT": 9}, Kind.CHANGED),
        ({"n/a": 3}, {"n/a": 1}, Kind.NOT_APPLICABLE),
    ],
)
def test_distributions(old: dict[str, int], new: dict[str, int], kind: Kind) -> None:
    assert judge(old, new)[0] is kind
    assert judge(new, old)[0] is kind


def test_chance_is_fishers() -> None:
    # The lady tasting tea: 3 of 4 against 1 of 4 is 0.486; 8 of 8 against 0 of 8 is 0.00016.
    assert not told_apart({"milk": 3, "tea": 1}, {"milk": 1, "tea": 3})
    assert told_apart({"milk": 8}, {"tea": 8})
    assert not told_apart({"milk": 4}, {"tea": 4})  # 0.029


def test_a_flake_of_the_second_look_is_one() -> None:
    old, new = results("a", a_a="ok"), results("b", a_a="hang(unkillable, disk)")
    new.add(record("b", "b,m68k", "a/a", outcome="ok", attempt=2, confirmation="flake"))
    (cell,) = compare(old, new).cells
    assert cell.kind is Kind.FLAKE and cell.now == {"hang(unkillable, disk)": 1, "ok": 1}
    told = diff_text(compare(old, new))
    assert "Flakes (1)" in told and "hang(unkillable, disk) 1/2, ok 1/2" in told


def test_a_tally_speaks_for_all_attempts() -> None:
    tally = {"outcome": "EFAULT", "tally": {"ok": 2, "EFAULT": 2, "": 1}, "confirmation": "flake"}
    (cell,) = compare(results("a", a_a=tally), results("b", a_a=tally)).cells
    assert cell.kind is Kind.SAME and cell.flaky and shown(cell.was) == "EFAULT 2/4, ok 2/4"


# -- the second tier --


def details(**values: str) -> dict[str, object]:
    return {"outcome": FAULT, "details": {k.replace("_", "."): v for k, v in values.items()}}


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ({"err": "0x4"}, {"err": "0x6"}, True),
        ({"esr": "0x92000007"}, {"esr": "0x92000047"}, True),
        ({"touch": "0x70000", "addr": "0x70008"}, {"touch": "0x90000", "addr": "0x90008"}, False),
        ({"touch": "0x70000", "addr": "0x70008"}, {"touch": "0x90000", "addr": "0x90000"}, True),
        ({"load_touch": "0x70000", "load_cr2": "0x70000"},
         {"load_touch": "0x90000", "load_cr2": "0x91000"}, True),
        ({"hang_21": "RR utime+0 stime+22 ticks in 222 ms wchan 0"},
         {"hang_37": "RR utime+1 stime+9 ticks in 251 ms wchan 0"}, False),
        ({"hang_21": "DD utime+0 stime+0 ticks in 222 ms wchan a"},
         {"hang_21": "DD utime+0 stime+0 ticks in 222 ms wchan b"}, True),
        ({"pausing-ms": "200"}, {"pausing-ms": "300"}, False),
        ({"maj": "1"}, {"maj": "2"}, True),
        ({"maj": "1"}, {}, True),
        ({"sp": "0xefffe123"}, {"sp": "0xdffff123"}, False),
        ({"sp": "0xefffe123"}, {"sp": "0xefffe124"}, True),
    ],
)  # fmt: skip
def test_details(old: dict[str, str], new: dict[str, str], differs: bool) -> None:
    a, b = results("a", a_a=details(**old)), results("b", a_a=details(**new))
    assert compare(a, b).exit_code == 0  # they are compared only when asked for
    diff = compare(a, b, details=True)
    assert bool(diff.changed_details) is differs and diff.exit_code == int(differs)
    count = "details differ in 1 of the 1" if differs else "details differ in 0 of the 1"
    assert count in verdict_line(diff)


def test_details_of_changed_outcomes_are_no_second_finding() -> None:
    a = results("a", a_a={"outcome": "ok", "details": {"err": "0x1"}})
    b = results("b", a_a={"outcome": "EFAULT", "details": {"err": "0x2"}})
    assert not compare(a, b, details=True).changed_details


def test_addresses_are_told_by_how_they_lie() -> None:
    found = comparable({"load.touch": "0x7ffff7ff8ffe", "load.addr": "0x7ffff7ff9000",
                        "load.addr#2": "0x0", "load.cr2": "0x7ffff7ff8ffe"})  # fmt: skip
    assert found == {"load.touch": "page+0xffe", "load.addr": "touch+2", "load.addr#2": "0x0",
                     "load.cr2": "touch"}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("[    1.234567] x[12]: segfault at 0", "[   99.000001] x[345]: segfault at 0"),
        ("[    1.2] exe(20): unaligned trap at 0000000120001a3c: 00000001200a2f41 29 1",
         "[    1.3] exe(31): unaligned trap at 0000000120001a40: 00000001200a2f43 29 1"),
        ("faults(20): Oops 0", "faults(9): Oops 0"),
        ("faults[20] killed", "faults[1234] killed"),
        ("PC is at handle_mm_fault+0x1c/0x40", "PC is at handle_mm_fault+0x2c/0x44"),
        ("Unable to handle access at virtual address deadbeef", "Unable to handle access at "
         "virtual address 0badcafe"),
        ("Memory failure: 0xf978: recovered", "Memory failure: 0xfee9: recovered"),
        ("WARNING: CPU: 0 PID: 40 at mm/gup.c:10 f+0x1/0x2",
         "WARNING: CPU: 1 PID: 7 at mm/gup.c:10 f+0x1/0x2"),
    ],
)  # fmt: skip
def test_log_lines_without_what_differs_anyway(line: str, other: str) -> None:
    assert log_line(line) == log_line(other)
    assert log_line(line) != log_line(line + " more")


def test_log_lines_are_details() -> None:
    a = results("a", a_a={"outcome": "ok", "console": ["[ 1.0] Oops", "[ 1.1] x"]})
    b = results("b", a_a={"outcome": "ok", "console": ["[ 2.0] x", "[ 2.1] x"]})
    (cell,) = compare(a, b, details=True).changed_details
    assert cell.details == (("log", "Oops", "-"), ("log", "-", "x"))


def test_a_boot_and_a_slow_host_are_no_details() -> None:
    boot = ["[ 0.1] Linux version 6.1", "[ 0.5] Run /init as init process", "[ 1.1] x"]
    a = results("a", a_a={"outcome": "ok", "console": boot})
    b = results("b", a_a={"outcome": "ok", "console": ["x", "hrtimer: interrupt took 9 ns"]})
    assert compare(a, b, details=True).exit_code == 0


# -- output --


def test_a_change_is_shown_with_the_consoles() -> None:
    old = results("a", a_a={"outcome": "ok", "console": ["[ 1.0] quiet"]})
    new = results(
        "b",
        a_a={
            "outcome": "A: ok | kernel: oops",
            "console": ["Oops\x1b[2J: 0"],
            "verdict": Verdict.MISMATCH,
            "expected": ["ok"],
            "repeat": "again",
        },
    )
    told = diff_text(compare(old, new))
    assert "    old      ok\n    new      A: ok | kernel: oops\n" in told
    assert "    matrix   expects ok\n" in told and "    repeat   again\n" in told
    assert "console  old: [ 1.0] quiet" in told
    assert "console  new: Oops\\x1b[2J: 0" in told and "\x1b" not in told
    assert told.splitlines()[0] == "old: a (6.1)"
    assert told.splitlines()[-1] == "1 difference in 1 compared cell. (exit code 1)"


def test_equal_changes_of_scenarios_are_told_once() -> None:
    old = results("a", "m68k", "alpha", a_a="ok", a_b="ok", a_c="ok", a_d="ok")
    loud = {"outcome": FAULT, "console": ["said"]}
    new = results("b", "m68k", "alpha", a_a=FAULT, a_b=FAULT, a_c="EFAULT", a_d=loud)
    lines = diff_text(compare(old, new)).splitlines()
    heads = [line for line in lines if line.startswith("  a/")]
    assert heads == ["  a/a, a/b  m68k, alpha", "  a/c  m68k, alpha", "  a/d  m68k, alpha"]
    assert lines[lines.index(heads[0]) + 1 :][:2] == ["    old      ok", f"    new      {FAULT}"]
    assert "Changed (8)" in lines


def test_json_says_the_same() -> None:
    diff = compare(results("a", a_a="ok", a_b=None), results("b", a_a="EFAULT", a_b="ok"))
    told = json.loads(diff_json(diff))
    jsonschema.validate(told, json.loads((DOCS / "diff.schema.json").read_text()))
    assert told["exit_code"] == 1 and told["counts"] == {
        "same": 0, "changed": 1, "either": 0, "flake": 0, "n/a": 0, "not compared": 1,
    }  # fmt: skip
    assert told["cells"][0]["old"] == {"ok": 1} and told["cells"][0]["new"] == {"EFAULT": 1}
    assert told["cells"][1]["cause"] == "old: planned, and never observed"
    assert told["verdict"] == verdict_line(diff)


def test_json_tells_the_causes_of_not_applicable_on_both_sides() -> None:
    def lacking(what: str) -> dict[str, object]:
        return {"outcome": "n/a", "cause": f"needs {what}"}

    old = results("a", a_a=lacking("a CPU"), a_b="ok", a_c="ok")
    new = results("b", a_a=lacking("CONFIG_SWAP=y"), a_b=lacking("a disk"), a_c="ok")
    cells = json.loads(diff_json(compare(old, new)))["cells"]
    assert [(one["kind"], one["old_cause"], one["new_cause"]) for one in cells] == [
        ("n/a", "needs a CPU", "needs CONFIG_SWAP=y"),
        ("changed", "", "needs a disk"),
        ("same", "", ""),
    ]
