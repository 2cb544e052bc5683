"""The guest program, built for this machine and run by hand: no QEMU, no kernel of ours.

What a scenario's outcome should be is the matrix's business, not ours: this machine's kernel
is nobody's column. Here it is that the program reports whatever happens, hostile tasks included.
"""

from __future__ import annotations

import os
import platform
import pty
import re
import select
import shutil
import subprocess
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.build.guest import FLAGS, scenario_table
from harness.catalog.arches import load_arches
from harness.catalog.matrix import Scenario, load_matrix
from harness.catalog.outcome import parse
from harness.machine.port import (
    AgentError,
    Begin,
    End,
    FrameReader,
    Hello,
    Late,
    Message,
    Plan,
    Refused,
    Step,
)

ROOT = Path(__file__).parents[2]
HEADERS = {"x86_64": "x86_64.h", "aarch64": "arm64.h"}

# Scenarios of the test's own: body, and the outcome or (after "!") the failed set-up.
HOSTILE = {
    "codeless": ('execute("", NULL, NULL, NULL);', "n/a"),
    "misplaced": (
        'char *hole = hole_page(); execute("", code_atomic, hole, hole + 8);',
        "SIGSEGV/SEGV_MAPERR @touch-8",
    ),
    "words": (
        'step("a"); result(trap_words() ? "EIO" : "ok"); load("b", hole_page(), INT);'
        ' step("c"); result(trap_words() ? "ok" : "EIO");',
        "a=ok; b=SIGSEGV/SEGV_MAPERR @exact; c=ok",
    ),
    "spin": ('step(""); for (;;) ;', "hang(killable, spin-user)"),
    "sleep": ('step("a"); result("ok"); step("b"); pause();', "a=ok; b=hang(killable, sleep)"),
    "slow": (  # it goes on while it is looked at
        'prctl(PR_SET_NAME, "slow"); step(""); sleep_ms(350); result("ok");',
        "ok",
    ),
    "exit": ('step(""); _exit(3);', "exit(3)"),
    "quiet": ("_exit(0);", "!start exit(0)"),
    "felled": ("raise(SIGILL);", "start=killed(SIGILL)"),
    "starved": ("raise(SIGKILL);", "!start killed(SIGKILL)"),
    "half": (
        'step("a"); result("ok"); setup_unproven("x"); step("b"); result("EIO");', "!x unproven"
    ),
    "stray": ('step("x"); result("ok"); raise(SIGBUS);', "x=ok; after=killed(SIGBUS)"),
    "syscall": ('call("", NULL, raise(SIGBUS));', "ok[SIGBUS/SI_TKILL]"),
    "two": (
        "repair = also; load(\"\", hole_page(), INT);",
        "case=SIGSEGV/SEGV_MAPERR @exact; extra=SIGBUS/SI_TKILL",
    ),
    "nameless": (
        'step(""); result("ok"); step(""); result("EIO"); step("Third"); result("ok");',
        "case=ok; case=EIO; unnamed=ok",
    ),
    "due": ('step("");', "!step without a result"),
    "due_third": (
        'step(""); result("ok"); step("third");',
        "!step third without a result",
    ),
    "filled": (
        'char *hole = hole_page(); fill_hole(hole); load("", hole, INT);',
        "!hole still unmapped unproven",
    ),
    "spew": ('step(""); while (write(3, "junk\\377\\n", 6) > 0) ;', "!said too much"),
    "steps": (
        'for (int i = 0; i < 50; i++) { step("a"); result("ok"); } pause();', "!said too much"
    ),
    "result": ('step(""); result("%0400d", 0);', "!said too much"),
    "mute": ("pause();", "start=hang(killable, sleep)"),
    "undecided": ('say("n/a none\\n"); pause();', "start=hang(killable, sleep)"),
    "unready": ('say("setup x EIO\\n"); pause();', "!x EIO, then hang(killable, sleep)"),
    "traced": ('step("x"); trace_me(); raise(SIGUSR1); result("ok");', "x=hang(killable, sleep)"),
    "traced_fault": ('trace_me(); load("x", hole_page(), INT);', "x=hang(killable, sleep)"),
    "traced_child": (
        'pid_t child = fork_child(); if (!child) { trace_me(); raise(SIGUSR1); child_done(); }'
        ' step("x"); join_child(child); result("ok");',
        "x=hang(killable, sleep)",
    ),
    "traced_orphan": (  # a tracee of ours by then
        'if (!fork_child()) { if (!fork_child()) { pause_ms(50); trace_me(); raise(SIGUSR1); }'
        ' child_done(); } pause_ms(100); step("x"); result("ok");',
        "x=ok",
    ),
    "tasks": (
        "task('A'); step(\"read\"); task('B'); step(\"kill\"); result(\"ok\"); pause();",
        "A: read=hang(killable, sleep) | B: kill=ok",
    ),
    "daemon": ('if (!fork_child()) { setsid(); pause(); } step(""); result("ok");', "ok"),
    "immortal": (
        'immortal(); step(""); result("ok");',
        "case=ok; after=hang(unkillable, sleep)",
    ),
    "orphan": (
        'if (!fork_child()) { immortal(); _exit(0); } pause_ms(100); step("a"); raise(SIGKILL);',
        "a=killed(SIGKILL); after=hang(unkillable, sleep)",
    ),
    "nothing": (
        'immortal(); not_applicable("none");', "after=hang(unkillable, sleep)"
    ),
    "unwilling": (
        'immortal(); setup_unproven("x");',
        "after=hang(unkillable, sleep)",
    ),
    "known": (
        'immortal(); step(""); result("hang(unkillable, disk)");',
        "hang(unkillable, disk)",
    ),
    "finished": (
        'step(""); result("ok"); say_done(); pause();',
        "case=ok; after=hang(killable, sleep)",
    ),
}  # fmt: skip
HELPERS = r"""
#include "fault.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "runtime.h"
/* These stand in for the calls of runner.c, too: a kernel in which they do not come back. */
pid_t __real_setsid(void), __wrap_setsid(void);
int __real_kill(pid_t pid, int sig), __wrap_kill(pid_t pid, int sig);
enum hang_state __real_hang_sample(pid_t pid, pid_t session, hang_note note);
enum hang_state __wrap_hang_sample(pid_t pid, pid_t session, hang_note note);
static void stuck_in(const char *name)
{
	if (getenv("STUCK") && !strcmp(getenv("STUCK"), name))
		for (;;)
			pause();
}
pid_t __wrap_setsid(void)
{
	stuck_in("setsid");
	return __real_setsid();
}
static bool named(pid_t pid, const char *wanted)
{
	char path[64], name[16] = "";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	comm = fopen(path, "r");
	if (!comm)
		return false;
	if (fgets(name, sizeof(name), comm))
		name[strcspn(name, "\n")] = 0;
	fclose(comm);
	return !strcmp(name, wanted);
}
int __wrap_kill(pid_t pid, int sig)
{
	return __real_kill(pid, named(pid, "immortal") ? 0 : sig);
}
/* What is slow comes to its end while it is looked at, however busy the machine is. */
enum hang_state __wrap_hang_sample(pid_t pid, pid_t session, hang_note note)
{
	enum hang_state state = __real_hang_sample(pid, session, note);
	siginfo_t ended;

	if (named(pid, "slow"))
		waitid(P_PID, pid, &ended, WEXITED | WNOWAIT);
	return state;
}
/* A child in a session of its own that stays, whatever runner.c sends it: for some seconds. */
static void immortal(void)
{
	int ready[2];
	char c;

	must("pipe", pipe(ready));
	if (fork_child() == 0) {
		setsid();
		prctl(PR_SET_NAME, "immortal");
		alarm(4);
		close(1);	/* whoever ran us waits for these to end */
		close(2);
		close(ready[0]);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	must("read", read(ready[0], &c, 1));
}
static void say(const char *line)
{
	must("write", write(3, line, strlen(line)));
}
/* By its parent, who does not know and continues nobody. */
static void trace_me(void) { must("PTRACE_TRACEME", ptrace(PTRACE_TRACEME, 0, NULL, NULL)); }
static bool also(siginfo_t *info) { (void)info; repair = NULL; raise(SIGBUS); return false; }
static void fill_hole(char *hole)
{
	mmap(hole, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}
static void say_done(void) { must("write", write(3, "step after\ndone\n", 16)); }
"""


def scenarios() -> list[Scenario]:
    matrix = load_matrix(ROOT, load_arches(ROOT))
    return [matrix.scenarios[name] for name in sorted(matrix.scenarios)]


@dataclass(frozen=True)
class Guest:
    path: Path

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self.path), *words]
        return subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=30, check=False
        )


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    header = HEADERS.get(platform.machine())
    gcc = shutil.which("gcc")
    if header is None or gcc is None:
        pytest.skip(f"no gcc, or no guest-progs/arch header for {platform.machine()}")
    folder = tmp_path_factory.mktemp("guest")
    if subprocess.run(
        [gcc, "-static", "-xc", "-", "-o", folder / "libc"], input=b"int main(void){return 0;}",
        capture_output=True, check=False,
    ).returncode:  # fmt: skip
        pytest.skip("no static libc: install libc6-dev")
    rows = [f'SCENARIO("hostile/{name}", hostile_{name}, "root", "test", "")\n' for name in HOSTILE]
    rows.append('SCENARIO("hostile/harm", hostile_exit, "root", "test", "it explodes")\n')
    bodies = [f"void hostile_{name}(void) {{ {body} }}\n" for name, (body, _) in HOSTILE.items()]
    rows += scenario_table(scenarios()).splitlines(keepends=True)
    (folder / "scenarios.inc").write_text("".join(sorted(rows)))  # the guest looks names up so
    (folder / "hostile.c").write_text(HELPERS + "".join(bodies))
    source = ROOT / "guest-progs"
    subprocess.run(
        [gcc, *FLAGS, "-Wno-unused-result", "-Wl,--wrap=setsid,--wrap=kill,--wrap=hang_sample",
         f'-DARCH_HEADER="arch/{header}"', f"-I{folder}", f"-I{source}",
         *sorted(source.glob("*.c")), folder / "hostile.c", "-o", folder / "faults"],
        check=True,
    )  # fmt: skip
    return Guest(folder / "faults")


def test_list_is_what_the_expectations_declare(guest: Guest) -> None:
    listed = [line.split("\t") for line in guest.run("--list").stdout.splitlines()]
    declared = [[scenario.name, scenario.summary] for scenario in scenarios()]
    assert [row for row in listed if not row[0].startswith("hostile/")] == declared


def test_one_by_hand(guest: Guest) -> None:
    ran = guest.run("control/touch")
    assert (ran.returncode, ran.stdout) == (0, "ok data=match\n")
    assert "value: 0x" in ran.stderr


@pytest.mark.parametrize("words", [[], ["--nonesuch"], ["hole/read", "0"], ["hole/read", "9", "9"]])
def test_usage(guest: Guest, words: list[str]) -> None:
    ran = guest.run(*words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("usage: ")


def test_a_name_that_nothing_has_is_told(guest: Guest) -> None:
    ran = guest.run("hole/raed")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "there is no scenario hole/raed: faults --list names them\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(guest: Guest, name: str) -> None:
    expected = HOSTILE[name][1]
    ran = guest.run(f"hostile/{name}", "300")
    if expected.startswith("!"):
        assert (ran.returncode, ran.stdout) == (3, "")
        assert f"set-up failed: {expected[1:]}\n" in ran.stderr
    else:
        assert (ran.returncode, ran.stdout) == (0, f"{expected}\n")


def test_a_process_that_never_starts_is_an_outcome(guest: Guest) -> None:
    """A kernel that does not come back from a call wedges the scenario, not its runner."""
    ran = guest.run("control/nothing", "300", STUCK="setsid")
    assert (ran.returncode, ran.stdout) == (0, "start=hang(killable, sleep)\n")
    assert "wchan" in ran.stderr or "hang." in ran.stderr


def test_every_outcome_is_one(guest: Guest) -> None:
    """Whatever this machine's kernel answers, it is told in the grammar. hwpoison costs memory."""
    for scenario in scenarios():
        if scenario.family == "hwpoison":
            continue
        ran = guest.run(scenario.name)
        assert ran.returncode in (0, 3), scenario.name
        if ran.returncode == 0:
            assert str(parse(ran.stdout.strip())) == ran.stdout.strip()
        else:
            assert "set-up failed: " in ran.stderr


@dataclass
class Agent:
    """The program as PID 1 of a namespace, with a pty for a port and a file for /dev/kmsg."""

    port: int
    kmsg: Path
    reader: FrameReader

    def send(self, text: str) -> None:
        os.write(self.port, text.encode())

    def hear(self, last: type[Message]) -> list[Message]:
        """What it says, up to the first message of that type."""
        heard: list[Message] = []
        deadline = time.monotonic() + 20
        while not (heard and isinstance(heard[-1], last)):
            if not select.select([self.port], [], [], max(0.0, deadline - time.monotonic()))[0]:
                pytest.fail(f"no {last.__name__} from the agent, only {heard}")
            heard += self.reader.feed(os.read(self.port, 65536))
        return heard


@pytest.fixture
def agent(guest: Guest, tmp_path: Path) -> Iterator[Agent]:
    for name in ("dev", "proc", "sys", "tmp"):
        (tmp_path / name).mkdir()
    shutil.copy(guest.path, tmp_path / "init")
    for name in ("vport0p1", "kmsg", "null"):
        (tmp_path / "dev" / name).touch()
    port, slave = pty.openpty()
    tty.setraw(slave)
    # In a user namespace of its own it can neither mount a devtmpfs nor reboot this machine.
    unshare = ["unshare", "-Urmpf", "--kill-child"]
    probe = [*unshare, "mount", "-t", "proc", "proc", str(tmp_path / "proc")]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("no user namespaces here, or none with a /proc")
    start = 'mount --bind "$1" "$2/dev/vport0p1" && exec chroot "$2" /init'
    process = subprocess.Popen(
        [*unshare, "sh", "-c", start, "sh", os.ttyname(slave), str(tmp_path)],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield Agent(port, tmp_path / "dev" / "kmsg", FrameReader("0" * 16))
    finally:
        process.kill()
        process.wait()
        os.close(slave)
        os.close(port)


def test_agent(agent: Agent) -> None:
    (hello,) = agent.hear(Hello)
    assert isinstance(hello, Hello)
    assert hello.protocol == 1 and hello.page_size and hello.calibration_us

    agent.send("run hostile/sleep 200\n")
    *steps, late = agent.hear(Late)
    assert steps == [Step("hostile/sleep", "a="), Step("hostile/sleep", "a=ok; b=")]
    agent.send("more 300\n")
    assert agent.hear(Late) == [late]
    agent.send("more 0\n")
    (end,) = agent.hear(End)
    assert isinstance(end, End) and end.o == "a=ok; b=hang(killable, sleep)" and end.ms >= 500
    assert any(key.startswith("hang.") for key in end.d)

    agent.send("run hostile/quiet 1000\nrun hole/nonesuch 10\n")
    heard = agent.hear(AgentError)
    assert heard[-2:] == [
        End("hostile/quiet", f="start exit(0)", ms=getattr(heard[-2], "ms", 0)),
        AgentError("no such scenario"),
    ]
    assert (agent.reader.damaged, agent.reader.lost) == (0, 0)
    # Before each, at the start of a line whatever stands before it.
    before, *marks = re.split("<1>\nfl-[0-9a-f]{8} ", agent.kmsg.read_text())
    assert (before, marks) == ("", ["hostile/sleep\n", "hostile/quiet\n"])


def messages(data: bytes, nonce: str = "") -> list[Message]:
    nonce = nonce or data.split(b" ", 2)[1].decode()
    reader = FrameReader(nonce)
    found = list(reader.feed(data))
    assert (reader.damaged, reader.lost) == (0, 0)
    return found


def test_a_log_holds_frames_only_and_the_plan_first(guest: Guest) -> None:
    words = ["--all", "hostile/e*", "hostile/spew", "hostile/harm"]
    done = subprocess.run([guest.path, *words], capture_output=True, timeout=60, check=True)
    hello, plan, *rest = messages(done.stdout)
    assert isinstance(hello, Hello)
    assert plan == Plan(["hostile/exit", "hostile/harm", "hostile/spew"])
    told = [m for m in rest if not isinstance(m, Step)]
    assert [type(m) for m in told] == [Begin, End] * 3
    assert isinstance(told[1], End)
    assert told[1].o == "exit(3)"


def test_harm_is_refused_unless_it_is_named(guest: Guest) -> None:
    for words, kind in ((["hostile/har*"], Refused), (["hostile/harm"], Begin)):
        argv = [guest.path, "--all", *words]
        done = subprocess.run(argv, capture_output=True, timeout=60, check=True)
        found = messages(done.stdout)[2]
        assert isinstance(found, kind)
        assert found.s == "hostile/harm"
    assert subprocess.run([guest.path, "--all", "none/*"], capture_output=True).returncode == 2


def test_a_log_goes_on_behind_a_scenario(guest: Guest) -> None:
    argv = [guest.path, "--all", "--after", "hostile/exit", "hostile/exit", "hostile/quiet"]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=True)
    assert messages(done.stdout)[1] == Plan(["hostile/quiet"])


def test_served_on_stdin_until_its_end(guest: Guest) -> None:
    commands = b"run hostile/exit 1000\nnonsense\nrun none/such 5\nrun hostile/sleep 200\n"
    argv = [guest.path, "--serve", "0123456789abcdef"]
    done = subprocess.run(argv, input=commands, capture_output=True, timeout=60, check=True)
    hello, *rest = messages(done.stdout, "0123456789abcdef")
    assert isinstance(hello, Hello)
    ends = [m.o for m in rest if isinstance(m, End)]
    assert ends == ["exit(3)", "a=ok; b=hang(killable, sleep)"]
    assert [m for m in rest if isinstance(m, AgentError)] == [AgentError("no such scenario")]


def test_a_log_that_nobody_reads_any_more_ends(guest: Guest) -> None:
    argv = [guest.path, "--all", "hostile/e*", "hostile/q*", "hostile/two"]
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(argv, stdout=writer) as process:
        os.close(writer)
        assert process.wait(timeout=30) != 0
