"""Kernel builds, on a fake tree: what is kept, what is told, what is done again."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.build import BuildError, blueprint, compile
from harness.build.kconfig import read_config
from harness.build.kernel import BuiltKernel, build_kernel, find_kernel
from harness.build.prune import entries, prune, verify
from harness.build.store import Store
from harness.build.tools import FULL, excerpt, file_digest
from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel, Patch, TarballSource, TreeSource
from tests.unit.build_fakes import fake_arch, fake_tree, flip_unseen, tarball

PATCH = "--- a/text\n+++ b/text\n@@ -1,3 +1,3 @@\n-one\n+uno\n two\n three\n"


@pytest.fixture(autouse=True)
def no_real_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.build.tools import Toolchain

    tools = Toolchain("", "gcc (Test) 12", "ld 2.40")
    monkeypatch.setattr(blueprint, "toolchain", lambda prefix, packages: tools)
    monkeypatch.setattr(compile, "HOST_TOOLS", ("make",))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fake_tree(tmp_path / "tree")


def packaged(tree: Path, tmp_path: Path, *patches: Patch) -> Kernel:
    path = tarball(tree, tmp_path / "linux.tar", "w")
    return Kernel("tar", TarballSource(path, None, file_digest(path)), patches)


@pytest.fixture(params=["as it was fetched", "with a patch"])
def fetched(
    tree: Path, tmp_path: Path, arch: Arch, store: Store, request: pytest.FixtureRequest
) -> tuple[Kernel, BuiltKernel]:
    """A kernel that is in the store by now, with the source that it was compiled from."""
    path = tmp_path / "uno.patch"
    path.write_text(PATCH)
    patches = [Patch(path, (), None, "x")] if request.param == "with a patch" else []
    kernel = packaged(tree, tmp_path, *patches)
    built = build_kernel(kernel, arch, "core", store)
    return kernel, built


def leftovers(store: Store) -> list[str]:
    return [path.name for path in (store.root / "v1" / "tmp").iterdir()]


def test_built_once_and_kept(tree: Path, tmp_path: Path, arch: Arch, store: Store) -> None:
    kernel = packaged(tree, tmp_path)
    seen: list[tuple[str, int]] = []
    built = build_kernel(kernel, arch, "core", store, lambda stage, n: seen.append((stage, n)))
    assert (
        built.image.read_text()
        == "m68k Thu Jan  1 00:00:00 UTC 1970 one two three four five six \n"
    )
    assert built.config is not None and "CONFIG_A=y" in built.config.read_text()
    assert built.version == "6.12.117" and not built.cached and built.seconds > 0
    assert built.source is not None and (built.source / "mm" / "memory.c").is_file()
    assert built.provenance["release"] == "6.12.117"
    assert built.provenance["compiler"] == "gcc (Test) 12"
    assert built.provenance["config_sha256"] == file_digest(built.config)
    assert (built.image.parent / "System.map").is_file()
    assert [stage for stage, _ in seen] == ["configure", "configure", "compile", "compile",
                                            "compile", "collect"]  # fmt: skip
    assert seen[-1] == ("collect", 2)
    assert leftovers(store) == [] and not list((store.root / "v1" / "logs").iterdir())
    again = build_kernel(kernel, arch, "core", Store(store.root))
    assert again.cached and (again.image, again.provenance) == (built.image, built.provenance)


def test_what_decides_an_image_is_in_its_key(tree: Path, tmp_path: Path, store: Store) -> None:
    kernel = packaged(tree, tmp_path)
    root = tmp_path / "root"
    arch = fake_arch(root)
    keys = {build_kernel(kernel, arch, "core", store).key}
    arch = fake_arch(root, fragment="# only a comment more\nCONFIG_A=y\n")
    assert build_kernel(kernel, arch, "core", store).key in keys
    arch = fake_arch(root, fragment="CONFIG_A=m\n")
    keys.add(build_kernel(kernel, arch, "core", store).key)
    keys.add(build_kernel(kernel, fake_arch(root, "alpha"), "core", store).key)
    (root / "flavours" / "full.config").write_text("CONFIG_FULL=y\n")
    keys.add(build_kernel(kernel, arch, "full", store).key)
    assert len(keys) == 4


def test_patches_are_applied_and_told(tree: Path, tmp_path: Path, arch: Arch, store: Store) -> None:
    path = tmp_path / "uno.patch"
    path.write_text(PATCH)
    kernel = packaged(tree, tmp_path, Patch(path, (), None, "x"))
    built = build_kernel(kernel, arch, "core", store)
    assert "uno two" in built.image.read_text()
    assert built.provenance["patches"] == "uno.patch"
    assert built.source is not None and "uno" in (built.source / "text").read_text()


def test_requests_are_put_over_tinyconfig(tree: Path, arch: Arch, store: Store) -> None:
    """Its arch's part over the common one; what it asks for in vain nobody has to have."""
    built = build_kernel(Kernel("t", TreeSource(tree)), arch, "core", store)
    assert built.config is not None
    config = read_config(built.config.read_text())
    wanted = {"CONFIG_TINY": "y", "CONFIG_SMALL": "m", "CONFIG_A": "y"}
    assert wanted.items() <= config.items()
    assert "CONFIG_LOST" not in config


def test_lost_symbols_are_named(tree: Path, tmp_path: Path, store: Store) -> None:
    fragment = "CONFIG_A=y\nCONFIG_LOST=y\n# CONFIG_STUCK is not set\n"
    arch = fake_arch(tmp_path / "root", fragment=fragment)
    with pytest.raises(BuildError) as caught:
        build_kernel(packaged(tree, tmp_path), arch, "core", store)
    told = str(caught.value)
    assert "m68k.config:2: CONFIG_LOST=y did not survive" in told
    assert "not set: NEEDED" in told
    assert "m68k.config:3: # CONFIG_STUCK is not set did not survive (CONFIG_STUCK=y)" in told
    assert "CONFIG_A" not in told


def test_symbols_of_other_versions_are_left_out(tree: Path, tmp_path: Path, store: Store) -> None:
    arch = fake_arch(tmp_path / "root", fragment="CONFIG_LOST=y  # kernel: <6.4\n")
    build_kernel(packaged(tree, tmp_path), arch, "core", store)


def test_a_compilers_error_is_shown_and_the_log_kept(
    tree: Path, tmp_path: Path, arch: Arch, store: Store
) -> None:
    (tree / "fail").touch()
    with pytest.raises(BuildError) as caught:
        build_kernel(packaged(tree, tmp_path), arch, "core", store)
    error = caught.value
    assert "init/main.c:3:1: error: expected fault" in error.excerpt
    assert error.log is not None and "expected fault" in error.log.read_text()
    assert str(error.log) in str(error)
    assert leftovers(store) == []
    assert [entry.kind for entry in entries(store) if entry.kind == "kernel"] == []


def test_a_tree_without_a_patch_that_its_version_needs(
    tree: Path, tmp_path: Path, arch: Arch, store: Store
) -> None:
    (tree / "fail").touch()
    files = {name: tmp_path / f"{name}.patch" for name in ("uno", "other")}
    files["uno"].write_text(PATCH)
    files["other"].write_text(PATCH.replace("-one", "-another"))
    remedies = tuple(Patch(file, (), None, "two are too few") for file in files.values())
    kernel = Kernel("t", TreeSource(tree), remedies=remedies)
    with pytest.raises(BuildError) as caught:
        build_kernel(kernel, arch, "core", store)
    assert "uno.patch may be what it lacks: two are too few." in caught.value.excerpt
    assert "other" not in str(caught.value)
    assert (tree / "text").read_text().startswith("one\n")  # it is only told


def test_an_image_that_was_not_made(tree: Path, tmp_path: Path, arch: Arch, store: Store) -> None:
    object.__setattr__(arch, "image", "arch/m68k/boot/Image")
    with pytest.raises(BuildError, match=r"make made no arch/m68k/boot/Image: check `image`"):
        build_kernel(packaged(tree, tmp_path), arch, "core", store)


def test_an_unknown_flavour_names_those_there_are(arch: Arch, store: Store, tree: Path) -> None:
    with pytest.raises(BuildError, match=r"no flavour 'cor'; there are: core"):
        build_kernel(Kernel("t", TreeSource(tree)), arch, "cor", store)


MAKES_AN_OBJECT = """\
vmlinux: main.o
abs_srctree := $(realpath $(dir $(lastword $(MAKEFILE_LIST))))
main.o:
\t@cd $(O) && $(CC) -c -I$(abs_srctree)/mm -fmacro-prefix-map=$(abs_srctree)/= \\
\t\t-o main.o $(abs_srctree)/mm/memory.c
"""


@pytest.mark.skipif(not shutil.which("ccache") or not shutil.which("gcc"), reason="no ccache, gcc")
def test_another_source_compiles_anew_only_what_differs(
    tree: Path, tmp_path: Path, arch: Arch, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a folder of its own in the store, whose name the compiler is not to see."""
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    (tree / "Makefile").write_text((tree / "Makefile").read_text() + MAKES_AN_OBJECT)
    (tree / "mm" / "memory.c").write_text('#include "fault.h"\nint fault(void) { return SIG; }\n')
    (tree / "mm" / "fault.h").write_text("enum { SIG = 7 };\n")
    elsewhere = tmp_path / "elsewhere.patch"
    elsewhere.write_text(PATCH)
    header = tmp_path / "header.patch"
    header.write_text("--- a/mm/fault.h\n+++ b/mm/fault.h\n@@ -1 +1 @@\n"
                      "-enum { SIG = 7 };\n+enum { SIG = 11 };\n")  # fmt: skip
    seen = []
    for patches in ((), (elsewhere,), (header,)):
        kernel = packaged(tree, tmp_path, *(Patch(one, (), None, "x") for one in patches))
        build_kernel(kernel, arch, "core", store)
        seen.append(_compiled())
    assert seen == [(0, 1), (1, 1), (1, 2)]


@pytest.mark.skipif(not shutil.which("ccache") or not shutil.which("gcc"), reason="no ccache, gcc")
def test_a_users_tree_shares_what_is_compiled_and_is_named_as_they_name_it(
    tree: Path, tmp_path: Path, arch: Arch, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    source = tree / "mm" / "memory.c"
    (tree / "Makefile").write_text((tree / "Makefile").read_text() + MAKES_AN_OBJECT)
    source.write_text("int fault;\n")
    build_kernel(packaged(tree, tmp_path), arch, "core", store)
    assert _compiled() == (0, 1)
    build_kernel(Kernel(f"tree:{tree}", TreeSource(tree)), arch, "core", store)
    assert _compiled() == (1, 1)
    source.write_text("int fault\n")
    with pytest.raises(BuildError) as caught:
        build_kernel(Kernel(f"tree:{tree}", TreeSource(tree)), arch, "core", store)
    assert any(line.startswith(f"{source}:1:") for line in caught.value.excerpt)


def _compiled() -> tuple[int, int]:
    """How often ccache knew what the compiler would make, and how often it did not."""
    told = subprocess.run(["ccache", "--print-stats"], capture_output=True, text=True, check=True)
    counts = {name: int(count) for name, count in map(str.split, told.stdout.splitlines())}
    return counts["direct_cache_hit"] + counts["preprocessed_cache_hit"], counts["cache_miss"]


def test_a_users_tree_keeps_its_objects(tree: Path, arch: Arch, store: Store) -> None:
    before = sorted(path.name for path in tree.rglob("*"))
    kernel = Kernel(f"tree:{tree}", TreeSource(tree))
    first = build_kernel(kernel, arch, "core", store)
    assert first.source == tree and "one two" in first.image.read_text()
    (tree / "text").write_text("edited\n")
    second = build_kernel(kernel, arch, "core", store)
    assert "edited" in second.image.read_text() and not second.cached
    assert "one two" in first.image.read_text()  # the first is kept as it was
    assert build_kernel(kernel, arch, "core", store).cached
    assert [entry.kind for entry in entries(store)] == ["kernel", "kernel", "objects"]
    assert sorted(path.name for path in tree.rglob("*")) == before


def test_the_configuration_is_made_anew_only_for_what_may_decide_it(
    tree: Path, arch: Arch, store: Store
) -> None:
    kernel = Kernel(f"tree:{tree}", TreeSource(tree))

    def stages() -> set[str]:
        seen: list[str] = []
        build_kernel(kernel, arch, "core", store, lambda stage, _: seen.append(stage))
        return set(seen)

    assert "configure" in stages()
    (tree / "mm/memory.c").write_text("int fault;\n")
    assert stages() == {"compile", "collect"}
    (tree / "Kconfig").write_text((tree / "Kconfig").read_text() + "\n")
    assert "configure" in stages()
    (config,) = store.root.glob("v1/objects/*/files/objects/.config")
    config.write_text("CONFIG_FOREIGN=y\n")
    (tree / "mm/memory.c").write_text("long fault;\n")
    assert "configure" in stages() and "FOREIGN" not in config.read_text()


def test_a_tree_that_changes_meanwhile_is_not_kept(tree: Path, arch: Arch, store: Store) -> None:
    def edit(stage: str, done: int) -> None:
        if stage == "compile":
            (tree / "text").write_text(f"edited {time.time_ns()}\n")

    with pytest.raises(BuildError, match="was changed while it was compiled"):
        build_kernel(Kernel("t", TreeSource(tree)), arch, "core", store, edit)


def test_a_damaged_image_is_built_again(
    tree: Path, tmp_path: Path, arch: Arch, store: Store
) -> None:
    kernel = packaged(tree, tmp_path)
    built = build_kernel(kernel, arch, "core", store)
    good = built.image.read_bytes()
    built.image.write_bytes(good[:-3])
    said: list[str] = []
    again = build_kernel(kernel, arch, "core", Store(store.root, said.append))
    assert again.image.read_bytes() == good and not again.cached
    assert any("damaged" in line for line in said)


def test_a_source_with_a_flipped_bit_is_not_compiled(
    fetched: tuple[Kernel, BuiltKernel], arch: Arch, store: Store
) -> None:
    kernel, built = fetched
    assert built.source is not None
    flip_unseen(built.source / "text")
    said: list[str] = []
    again = build_kernel(kernel, arch, "core", Store(store.root, said.append))
    assert again.cached and said == []  # nothing is compiled, so nothing is read
    again = build_kernel(kernel, arch, "core", Store(store.root, said.append), reads=["Makefile"])
    assert again.cached and said == []
    prune(store, kinds=["kernel"])
    again = build_kernel(kernel, arch, "core", Store(store.root, said.append))
    assert not again.cached and again.image.read_bytes() == built.image.read_bytes()
    assert len([line for line in said if "reading" in line]) == 1 + len(kernel.patches)
    assert any("text has changed" in line for line in said)


def test_a_source_with_a_flipped_bit_is_not_read(
    fetched: tuple[Kernel, BuiltKernel], arch: Arch, store: Store
) -> None:
    kernel, built = fetched
    assert built.source is not None
    for name in ("text", "mm/memory.c"):  # the patch changes one of them
        file = built.source / name
        good = file.read_bytes()
        flip_unseen(file)
        said: list[str] = []
        other = Store(store.root, said.append)
        assert find_kernel(kernel, arch, "core", other) is not None and said == []
        again = build_kernel(kernel, arch, "core", other, reads=["mm/none", name])
        assert again.cached and (again.source, again.key) == (built.source, built.key)
        assert file.read_bytes() == good and verify(store) == []
        assert any(f"{name} has changed" in line for line in said)


def test_a_user_s_own_tree_is_read_as_it_is(tree: Path, arch: Arch, store: Store) -> None:
    kernel = Kernel("t", TreeSource(tree))
    build_kernel(kernel, arch, "core", store)
    flip_unseen(tree / "text")
    said: list[str] = []
    other = Store(store.root, said.append)
    assert build_kernel(kernel, arch, "core", other, reads=["text"]).source == tree and said == []


CHILD = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from tests.unit import test_build_kernel as t
from harness.build.store import Store
from harness.build.tools import Toolchain
t.blueprint.toolchain = lambda prefix, packages: Toolchain("", "gcc (Test) 12", "ld 2.40")
t.compile.HOST_TOOLS = ("make",)
tmp = Path(sys.argv[1])
kernel = t.Kernel("tar", t.TarballSource(tmp / "linux.tar", None, sys.argv[2]))
print(t.build_kernel(kernel, t.fake_arch(tmp / "root"), "core", Store(tmp / "store")).image)
"""


def build_elsewhere(tmp_path: Path, sha256: str) -> subprocess.Popen[str]:
    code = CHILD.format(here=str(Path(__file__).parents[2]))
    argv = [sys.executable, "-c", code, str(tmp_path), sha256]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_kill_9_in_a_build_then_parallel_builds(
    tree: Path, tmp_path: Path, arch: Arch, store: Store
) -> None:
    makefile = tree / "Makefile"
    slow = "\t@test -e $(O)/../../../../go || touch $(O)/../../../../started; sleep 0.5\n"
    makefile.write_text(makefile.read_text().replace("vmlinux:\n", "vmlinux:\n" + slow))
    kernel = packaged(tree, tmp_path)
    assert isinstance(kernel.source, TarballSource)
    child = build_elsewhere(tmp_path, kernel.source.sha256)
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (tmp_path / "go").touch()
    children = [build_elsewhere(tmp_path, kernel.source.sha256) for _ in range(2)]
    images = {one.communicate(timeout=60)[0].strip() for one in children}
    assert [one.returncode for one in children] == [0, 0]
    built = build_kernel(kernel, arch, "core", store)
    assert images == {str(built.image)} and built.cached
    assert leftovers(store) == [] and not verify(store)


def test_make_does_not_outlive_a_builder_that_is_killed(tree: Path, tmp_path: Path) -> None:
    makefile = tree / "Makefile"
    noted = tmp_path / "make"
    slow = f"\t@echo $$PPID > {noted}.tmp; mv {noted}.tmp {noted}; sleep 60\n"
    makefile.write_text(makefile.read_text().replace("vmlinux:\n", "vmlinux:\n" + slow))
    source = packaged(tree, tmp_path).source
    assert isinstance(source, TarballSource)
    fake_arch(tmp_path / "root")
    child = build_elsewhere(tmp_path, source.sha256)
    deadline = time.monotonic() + 20
    while not noted.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    make = Path("/proc", noted.read_text().strip())
    while make.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not make.exists()


FREE = {"f_bavail": 1 << 20, "f_bfree": 1 << 20, "f_frsize": 4096, "f_files": 1000, "f_favail": 10}


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        ({}, ""),
        ({"f_bavail": 1024, "f_bfree": 1024}, ""),
        ({"f_bavail": 1023, "f_bfree": 1023}, r", and the disk of \S*/logs has 4092 KiB left"),
        ({"f_favail": 0}, r", and the disk of \S*/logs can take no more files"),
        ({"f_favail": 0, "f_files": 0}, ""),  # btrfs counts no files
    ],
)
def test_what_fails_for_want_of_room_and_does_not_say_so(
    tree: Path, arch: Arch, store: Store, monkeypatch: pytest.MonkeyPatch,
    disk: dict[str, int], told: str,
) -> None:  # fmt: skip
    """As fixdep does, ar, and a shell's printf."""
    makefile = tree / "Makefile"
    fails = "vmlinux:\n\t@echo fixdep: not all data was written to the output; false\n"
    makefile.write_text(makefile.read_text().replace("vmlinux:\n", fails))
    seen = SimpleNamespace(**(FREE | disk))
    monkeypatch.setattr("harness.build.tools.os.statvfs", lambda _: seen)
    with pytest.raises(BuildError) as error:
        build_kernel(Kernel("t", TreeSource(tree)), arch, "core", store)
    told = told and rf"{told} \({FULL}\)"
    assert re.fullmatch(f".*: make vmlinux failed{told}", error.value.message)


def test_an_interrupt_ends_make(tree: Path, arch: Arch, store: Store) -> None:
    makefile = tree / "Makefile"
    slow = "vmlinux:\n\t@echo '  CC      x'; echo $$$$ > $(O)/pid; sleep 60\n"
    makefile.write_text(makefile.read_text().replace("vmlinux:\n", slow))

    def interrupt(stage: str, done: int) -> None:
        if stage == "configure" and done:
            raise KeyboardInterrupt

    makefile.write_text(makefile.read_text().replace("\t@mkdir", "\t@echo '  CC      x'\n\t@mkdir"))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_kernel(Kernel("t", TreeSource(tree)), arch, "core", store, interrupt)
    assert time.monotonic() - started < 10


def test_excerpts() -> None:
    text = "\n".join([*(f"  CC      a{n}.o" for n in range(50)), "x.c:1: error: no", "b", "c"])
    assert excerpt(text) == ["  CC      a47.o", "  CC      a48.o", "  CC      a49.o",
                             "x.c:1: error: no", "b", "c"]  # fmt: skip
    assert excerpt("a\nmake: *** [x] Error 2") == ["a", "make: *** [x] Error 2"]
    assert excerpt("") == []
    assert len(excerpt("x\n" * 500)) == 16
