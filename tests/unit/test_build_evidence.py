"""Evidence: functions found in C and assembler, and text that stands exactly once in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from harness.build.evidence import blank, check_evidence, find_functions, read_source
from harness.catalog.matrix import Decision, Point
from harness.catalog.version import VersionRange
from harness.results import Evidence
from tests.unit.build_fakes import fake_arch

SOURCE = r"""
/* do_fault() { in a comment } */
static int do_fault(struct vm_fault *vmf);	// do_fault(x) {
#define do_fault_macro(x) do { if (x) { /* two
   lines */ } while (0)
#define OPEN {

struct ops { int (*do_fault)(void); };

static struct ops ops = {
	.do_fault = do_fault,
};

/* The comment before. */
static noinline vm_fault_t __must_check
do_fault(struct vm_fault *vmf, int (*callback)(int, char *))
	__releases(vmf->ptl)
{
	char *text = "} do_fault { \" ";
	char quote = '"', brace = '{';

	if (vmf) {
		return VM_FAULT_SIGBUS;	/* not VM_FAULT_SIGSEGV */
	}
#ifdef CONFIG_A
	while (1) {
#else
	for (;;) {
#endif
		return	VM_FAULT_RETRY
			| VM_FAULT_MAJOR;
	}
}
EXPORT_SYMBOL(do_fault);

SYSCALL_DEFINE3(madvise, unsigned long, start, size_t, len_in, int, behavior)
{
	return do_madvise(current->mm, start, len_in, behavior);
}

DEFINE_IDTENTRY_RAW_ERRORCODE(exc_page_fault)
{
	handle(VM_FAULT_SIGBUS);
}

#ifdef CONFIG_MMU
int twice(void) { return 1; }
#else
int twice(void) { return 2; }
#endif

int last(void)
{
	if (do_fault(NULL)) { return twice(); }
	return VM_FAULT_SIGBUS;
}
"""


def body(name: str, text: str = SOURCE) -> str:
    (span,) = find_functions(text, name)
    return text[slice(*span)]


def test_functions_are_found() -> None:
    assert body("do_fault").startswith("static noinline vm_fault_t __must_check\ndo_fault(")
    assert body("do_fault").endswith("MAJOR;\n\t}\n}")
    assert body("madvise").startswith("SYSCALL_DEFINE3(madvise,")
    assert "do_madvise" in body("madvise")
    assert body("exc_page_fault").endswith("handle(VM_FAULT_SIGBUS);\n}")
    assert "return VM_FAULT_SIGBUS" in body("last") and "do_fault(NULL)" in body("last")
    assert len(find_functions(SOURCE, "twice")) == 2


@pytest.mark.parametrize(
    "line",
    [
        '#define GLOB "/*"',
        "#define OPEN do { \\\n\t/* { */ if (x) {",
        "#error don't { /* this",
        "// { \\\\\n {",
        '/* " { */',
        '"\\"{"',
        "'{'",
    ],
)
def test_what_is_no_code_balances_nothing(line: str) -> None:
    text = f"{line}\nint one(void)\n{{\n\ttwo();\n}}\n/* */\n"
    assert body("one", text).endswith("one(void)\n{\n\ttwo();\n}")


@pytest.mark.parametrize("name", ["do_fault_macro", "callback", "ops", "do_madvise", "none", "if"])
def test_what_is_no_function(name: str) -> None:
    assert find_functions(SOURCE, name) == []


ASSEMBLER = """
/* copy_user: */
SYM_FUNC_START(rep_movs_alternative)
	cmpq $64,%rcx
	jae .Llarge
.Llarge:
0:	movq (%rsi),%rax
	_ASM_EXTABLE_UA( 0b, .Lcopy_user_tail)
SYM_FUNC_END(rep_movs_alternative)
EXPORT_SYMBOL(rep_movs_alternative)

ENTRY(buserr)
	jbsr buserr_c
ENTRY(trap)
	jbsr trap_c

__copy_user:
	.prologue 0
$101:	ldq $1,0($17)
	.end __copy_user
CFI_START_OSF_FRAME entMM
	SAVE_ALL
CFI_END_OSF_FRAME entMM
"""


def test_assembler_labels() -> None:
    assert "_ASM_EXTABLE_UA" in body("rep_movs_alternative", ASSEMBLER)
    assert body("buserr", ASSEMBLER).strip() == "ENTRY(buserr)\n\tjbsr buserr_c"
    assert body("__copy_user", ASSEMBLER).endswith("ldq $1,0($17)\n")
    assert body("entMM", ASSEMBLER) == "CFI_START_OSF_FRAME entMM\n\tSAVE_ALL\n"
    assert find_functions(ASSEMBLER, "buserr_c") == []


@given(text=st.text(alphabet="ab(){};\"'/*\\\n#_ ", max_size=200))
def test_any_text_is_survived(text: str) -> None:
    assert len(blank(text)) == len(text)
    assert blank(text).count("\n") == text.count("\n")
    for start, end in find_functions(text, "a"):
        assert 0 <= start < end <= len(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "mm").mkdir(parents=True)
    (tmp_path / "tree" / "mm" / "memory.c").write_text(SOURCE)
    (tmp_path / "secret").write_text("once")
    return tmp_path / "tree"


def check(tree: Path | None, tmp_path: Path, *points: Point) -> list[Evidence]:
    arch = fake_arch(tmp_path / "root")
    return check_evidence(tree, Decision("d", "about", points), arch, Version("6.12.117"))


def point(function: str, text: str, file: str = "mm/memory.c") -> Point:
    return Point(arch=(), kernel=None, file=file, function=function, text=text)


@pytest.mark.parametrize(
    ("function", "text", "line"),
    [
        ("do_fault", "VM_FAULT_SIGBUS", 23),
        ("do_fault", "return VM_FAULT_RETRY | VM_FAULT_MAJOR", 30),
        ("do_fault", "VM_FAULT", 0),  # several times
        ("last", "VM_FAULT_SIGBUS", 55),
        ("", "VM_FAULT_SIGBUS", 0),
        ("", "VM_FAULT_RETRY", 30),
        ("twice", "return 2", 49),
        ("twice", "return", 0),
        ("gone", "VM_FAULT_SIGBUS", 0),
        ("last", "", 0),
    ],
)
def test_text_must_stand_once(
    tree: Path, tmp_path: Path, function: str, text: str, line: int
) -> None:
    (found,) = check(tree, tmp_path, point(function, text))
    assert (found.status, found.line) == ("valid" if line else "stale", line)
    (found,) = check(None, tmp_path, point(function, text))
    assert (found.status, found.line) == ("unchecked", 0)


def test_points_of_other_arches_and_versions_are_left_out(tree: Path, tmp_path: Path) -> None:
    old = VersionRange.parse("<6.3")
    points = [
        Point(("alpha",), None, "mm/memory.c", "last", "twice"),
        Point(("m68k", "alpha"), None, "mm/memory.c", "last", "twice"),
        Point((), old, "mm/memory.c", "last", "twice"),
    ]
    assert [found.status for found in check(tree, tmp_path, *points)] == ["valid"]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (("", "once", "gone.c"), "there is no such file"),
        (("nobody", "once"), "there is no such function"),
        (("last", "gone"), "the text is not there"),
        (("", "twice"), "the text is there 3 times, on line 47, 49, 54"),
    ],
)
def test_what_is_stale_says_why(tree: Path, tmp_path: Path, one: tuple[str, ...], why: str) -> None:
    (found,) = check(tree, tmp_path, point(*one))
    assert found.status == "stale" and found.why.startswith(why)


@pytest.mark.parametrize("file", ["gone.c", "../secret", "/etc/passwd", "mm", "mm/memory.c/x"])
def test_files_that_are_not_in_the_tree(tree: Path, tmp_path: Path, file: str) -> None:
    assert read_source(tree, file) is None
    (found,) = check(tree, tmp_path, point("", "once", file))
    assert found.status == "stale"


def test_an_edit_is_seen(tree: Path, tmp_path: Path) -> None:
    assert check(tree, tmp_path, point("last", "twice"))[0].status == "valid"
    (tree / "mm" / "memory.c").write_text("int last(void) { }\n")
    assert check(tree, tmp_path, point("last", "twice"))[0].status == "stale"


def test_evidence_shows_the_source_around_it(tree: Path, tmp_path: Path) -> None:
    (found,) = check(tree, tmp_path, point("do_fault", "VM_FAULT_RETRY | VM_FAULT_MAJOR"))
    lines = SOURCE.split("\n")
    assert (found.line, found.last, found.excerpt_line) == (30, 31, 27)
    assert found.excerpt.split("\n") == lines[26:34]
    (first,) = check(tree, tmp_path, point("", "do_fault() { in a comment }"))
    assert (first.excerpt_line, first.excerpt.split("\n")[1]) == (1, lines[1])
    (stale,) = check(tree, tmp_path, point("last", "gone"))
    assert (stale.excerpt, stale.last, stale.excerpt_line) == ("", 0, 0)
