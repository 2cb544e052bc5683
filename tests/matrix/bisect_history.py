"""A bisection for real: a short history made of a kernel source package, and who changed what.

    python -m tests.matrix.bisect_history [FOLDER]

makes a repository in FOLDER (default: a temporary one) of the source of debian-6.12 and ten
commits, of which the ninth changes an outcome on m68k, the third does not compile, the fifth
gives one outcome and the other by turns, and the seventh panics when user space starts, and lets
`faultline bisect` find the ninth. Exit code 0 if it is found, none of the other three was judged
(which of them git comes by depends on their hashes), and the repository is as it was. It takes
one kernel build, and an incremental make a step.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.build.source import resolve
from harness.build.store import Store
from harness.catalog.project import find_root, load_project

SCENARIO, OLD_OUTCOME, NEW_OUTCOME = "stack/below-usp-257", "SIGSEGV/SEGV_MAPERR @exact", "ok"
FAULT = "arch/m68k/mm/fault.c"


@dataclass(frozen=True)
class Change:
    """One commit: a text that stands once in a file, and what takes its place."""

    subject: str
    file: str
    old: str
    new: str


CHANGES = (
    Change("m68k: a comment", FAULT,
           "Accessing the stack below usp is always a bug.",
           "Accessing the stack below usp is always a mistake."),
    Change("m68k: name the slack below the stack pointer", FAULT, "if (address + 256 < rdusp())",
           "const unsigned long slack = 256;\n\n\t\tif (address + slack < rdusp())"),
    Change("m68k: pre-decrement can reach further (does not compile)", FAULT,
           "const unsigned long slack = 256;", "const unsigned long slack = 256"),
    Change("m68k: mend the build", FAULT,
           "const unsigned long slack = 256", "const unsigned long slack = 0x100;"),
    Change("m68k: pre-decrement can reach further (by turns)", FAULT,
           "\n\n\t\tif (address + slack < rdusp())",
           "\n\t\tstatic unsigned int turn;"
           "\n\n\t\tif (address + slack < rdusp() && turn++ % 2 == 0)"),
    Change("m68k: always the same", FAULT,
           "\n\t\tstatic unsigned int turn;"
           "\n\n\t\tif (address + slack < rdusp() && turn++ % 2 == 0)",
           "\n\n\t\tif (address + slack < rdusp())"),
    Change("m68k: a message (does not boot)", FAULT,
           'pr_debug("do_page_fault: good_area\\n");', 'panic("do_page_fault: good_area\\n");'),
    Change("m68k: boot again", FAULT,
           'panic("do_page_fault: good_area\\n");', 'pr_debug("do_page_fault: good area\\n");'),
    Change("m68k: pre-decrement can reach further", FAULT,
           "const unsigned long slack = 0x100;", "const unsigned long slack = 0x1000;"),
    Change("m68k: the slack is a signed number", FAULT,
           "const unsigned long slack = 0x1000;", "const long slack = 0x1000;"),
)  # fmt: skip
CULPRIT = 8  # index in CHANGES
SKIPPED = (2, 4, 6)


def git(tree: Path, *args: str) -> str:
    argv = ["git", "-C", str(tree), "-c", "user.name=history", "-c", "user.email=h@example.org",
            "-c", "gc.auto=0", *args]  # fmt: skip
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def make_history(source: Path, tree: Path) -> list[str]:
    """The repository `tree`: the source, then CHANGES. Returns all commits, oldest first."""
    subprocess.run(["cp", "-a", "--reflink=auto", "--", source, tree], check=True)
    git(tree, "init", "--quiet", "--initial-branch=master")
    git(tree, "add", "--force", "--all")
    git(tree, "commit", "--quiet", "-m", "the source package")
    commits = [git(tree, "rev-parse", "HEAD")]
    for change in CHANGES:
        path = tree / change.file
        text = path.read_text()
        if text.count(change.old) != 1:
            raise SystemExit(f"{change.file}: expected {change.old!r} once: amend CHANGES")
        path.write_text(text.replace(change.old, change.new))
        git(tree, "commit", "--quiet", "--all", "-m", change.subject)
        commits.append(git(tree, "rev-parse", "HEAD"))
    return commits


def main(folder: Path) -> int:
    project, store = load_project(find_root()), Store()
    source = resolve(project.kernel("debian-6.12"), store)
    tree = folder / "linux"
    commits = make_history(source.tree, tree)
    before = git(tree, "status", "--short", "--branch")
    argv = [
        sys.executable,
        "-m",
        "harness",
        "bisect",
        SCENARIO,
        "--tree",
        str(tree),
        "--arch",
        "m68k",
        "--old",
        commits[0],
        "--outcome",
        OLD_OUTCOME,
        "--out",
        str(folder / "out"),
    ]
    print(f"$ {' '.join(argv)}", flush=True)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            print(line, end="", flush=True)
            said.append(line.rstrip())
    change = CHANGES[CULPRIT]
    found = [f"{commits[CULPRIT + 1][:12]} {change.subject}",
             f"  before  {OLD_OUTCOME}", f"  after   {NEW_OUTCOME}"]  # fmt: skip
    log = "\n".join(said)
    blind = [commits[index + 1] for index in SKIPPED]
    judged = [one for one in blind if re.search(rf"git bisect (old|new) {one}", log)]
    right = (
        process.returncode == 0
        and said[-3:] == found
        and "git bisect skip" in log
        and not judged
        and git(tree, "status", "--short", "--branch") == before
    )
    print("found as it should be" if right else f"WRONG: expected {found}")
    return 0 if right else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1]).absolute()))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(Path(name)))
