"""A user's git repository, which is only read.

What git has to write in order to tell us something (an index, the objects of files that are
not committed) goes to a folder of the store, our side of the repository; its objects are
found through `info/alternates`. No hook and no monitor of the user's is run. At most the times
of object files are renewed, as git does when it meets an object again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from harness.build import BuildError, InputError
from harness.build.store import Folder, Store
from harness.build.tools import clean_environment, digest, need
from harness.lifetime import session

_MAINLINE = (  # where a repository without an upstream may have come from, best first
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/master",
    "refs/remotes/origin/main",
    "refs/remotes/upstream/master",
    "refs/remotes/linus/master",
    "refs/remotes/torvalds/master",
    "refs/heads/master",
    "refs/heads/main",
)


def run_git(
    folder: Path,
    *args: str,
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
    keep: Sequence[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    """git in a folder, as a session, with nothing of the user's environment or hooks; `keep` are
    descriptors that it inherits.
    """
    settings = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.looseCompression=0",
                "advice.addEmbeddedRepo=false")  # fmt: skip
    argv = ["git", "--no-optional-locks", *(w for s in settings for w in ("-c", s))]
    with session(
        [*argv, "-C", str(folder), *args],
        env=clean_environment() | {"GIT_TERMINAL_PROMPT": "0", **(env or {})},
        keep=keep, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as git:  # fmt: skip
        out, err = git.communicate(stdin)
        return subprocess.CompletedProcess(git.args, git.returncode, out, err)


def commit_of(folder: Path) -> tuple[str, list[str]]:
    """What HEAD of a work tree is called, and the files that differ from it: changed, or unknown
    to git and not ignored. Raises BuildError where there is no commit.
    """
    said = []
    for words in (["describe", "--always", "--abbrev=12"], ["status", "--porcelain"]):
        done = run_git(folder, *words)
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip()
            raise BuildError(f"{folder}: nobody knows its commit: {why}")
        said.append(done.stdout.decode(errors="replace"))
    commit, changed = said
    return commit.strip(), [line[3:] for line in changed.splitlines()]


class Repository(Struct, frozen=True):
    """A work tree's top folder or a bare repository."""

    path: Path
    objects: Path

    # -- revisions --

    def commit(self, rev: str) -> str:
        """The commit a revision names, 40 hex digits. Raises BuildError."""
        found = self._ask("rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}")
        if found is None:
            raise InputError(f"{self.path} has no revision {rev!r} (git fetch it, or name another)")
        return found

    def tree(self, commit: str) -> str:
        """The tree of a commit. Raises BuildError."""
        return self._must("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")

    def describe(self, commit: str) -> str:
        """What follows the version in a release, as the kernel's setlocalversion writes it:
        "" at a release's tag, else "-00057-g0123456789ab", or "-g0123456789ab" without tags.
        """
        said = self._ask(
            "describe", "--tags", "--long", "--abbrev=12", "--match=v[0-9]*", commit
        )  # fmt: skip
        if said is None:
            return f"-g{commit[:12]}"
        match = re.search(r"-([0-9]+)-(g[0-9a-f]+)$", said)
        if match is None or match[1] == "0":
            return ""
        return f"-{int(match[1]):05}-{match[2]}"

    def is_ancestor(self, old: str, new: str) -> bool:
        return self._ask("merge-base", "--is-ancestor", old, new) is not None

    def related(self, one: str, other: str) -> bool:
        """Whether they have a common ancestor."""
        return self._ask("merge-base", one, other) is not None

    def has(self, commit: str, path: str) -> bool:
        return self._ask("cat-file", "-e", f"{commit}:{path}") is not None

    def subject(self, commit: str) -> str:
        return self._ask("log", "-1", "--format=%s", commit) or ""

    def parent(self, commit: str) -> str:
        """The first parent; "" of a root."""
        return self._ask("rev-parse", "--verify", "--quiet", f"{commit}^") or ""

    def fork_point(self, head: str) -> tuple[str, str] | None:
        """(commit, name of upstream): where `head` left upstream; None if it has nothing of
        its own, or nothing here looks like upstream.
        """
        current = self._ask("rev-parse", "--symbolic-full-name", "HEAD")
        upstream = self._ask("rev-parse", "--verify", "--symbolic-full-name", "@{upstream}")
        for ref in dict.fromkeys([upstream, *_MAINLINE, self._newest_tag(head)]):
            if ref and ref != current:
                base = self._ask("merge-base", head, ref)
                if base and base != head:
                    return base, ref.removeprefix("refs/remotes/").removeprefix("refs/heads/")
        return None

    def _newest_tag(self, head: str) -> str | None:
        return self._ask("describe", "--tags", "--abbrev=0", "--match=v[0-9]*", head)

    # -- the work tree --

    def state(self, store: Store) -> tuple[str, bool]:
        """(tree of the work tree as it is now, whether that differs from HEAD).

        Everything counts that git does not ignore. Raises BuildError.
        """
        what = self._what_counts()
        with self._our_side(store) as (ours, env):
            index, keep = ours.path / "index", (ours.lock,)
            for fresh in (False, True):
                if fresh or not index.exists():
                    self._copy_index(index)
                added = run_git(self.path, "add", "--all", *what, env=env, keep=keep)
                wrote = run_git(self.path, "write-tree", env=env, keep=keep)
                if added.returncode == 0 and wrote.returncode == 0:
                    break
            else:
                raise _failed(f"git cannot read the files of {self.path}", added, wrote)
        state = wrote.stdout.decode().strip()
        return state, state != self._ask("rev-parse", "HEAD^{tree}")

    def changed(self, old: str, new: str, store: Store) -> set[str]:
        """The files that differ between two trees, of a revision or of `state`. Raises BuildError
        where one of them is not there.
        """
        with self._our_side(store) as (ours, env):
            names = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
            done = run_git(self.path, *names, env=env, keep=(ours.lock,))
        if done.returncode:
            raise _failed(f"git cannot compare two states of {self.path}", done)
        return {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}

    def _what_counts(self) -> list[str]:
        """For git add. Rules by which even the Makefile is ignored (Debian's source packages have
        them) are for another repository: a new file would go unseen. There, all counts that lies
        where HEAD has something.
        """
        rules = run_git(self.path, "check-ignore", "--no-index", "--quiet", "--", "Makefile")
        if rules.returncode:
            return ["--", "."]
        return [
            "--force",
            "--",
            *self._must("ls-tree", "-z", "--name-only", "HEAD").split("\0")[:-1],
        ]

    def unpack(self, tree: str, to: Path, store: Store) -> None:
        """Write a tree's files to the folder `to`. Raises BuildError."""
        to.mkdir(parents=True, exist_ok=True)
        with self._our_side(store) as (ours, env):
            keep = (ours.lock,)
            env |= {"GIT_INDEX_FILE": str(to.parent / "checkout.index"), "GIT_WORK_TREE": str(to)}
            env["GIT_DIR"] = self._must("rev-parse", "--absolute-git-dir")
            read = run_git(to, "read-tree", tree, env=env, keep=keep)
            all_of_it = ("checkout-index", "--all", "--force", "--quiet")
            wrote = run_git(to, *all_of_it, env=env, keep=keep)
            (to.parent / "checkout.index").unlink(missing_ok=True)
        if read.returncode or wrote.returncode:
            raise _failed(f"{tree[:12]} of {self.path} cannot be unpacked", read, wrote)

    @contextmanager
    def _our_side(self, store: Store) -> Iterator[tuple[Folder, dict[str, str]]]:
        """Our folder for this repository, and the environment that makes git write there. A git
        that does so keeps the folder's lock: if we are killed, nobody else writes beside it.
        """
        key = digest("git", str(self.path))
        with store.folder("git", key, f"index and objects for {self.path}") as held:
            info = held.path / "objects" / "info"
            info.mkdir(parents=True, exist_ok=True)
            (info / "alternates").write_text(f"{self.objects}\n")
            for name in ("index.lock", "checkout.index"):  # of somebody killed: we have the lock
                (held.path / name).unlink(missing_ok=True)
            yield (
                held,
                {
                    "GIT_INDEX_FILE": str(held.path / "index"),
                    "GIT_OBJECT_DIRECTORY": str(held.path / "objects"),
                },
            )

    def _copy_index(self, to: Path) -> None:
        """Theirs, for what it knows of the files: then only those that changed are read. With its
        time, by which git knows what it has to read all the same: a file that may have changed in
        the moment in which that index was written.
        """
        to.unlink(missing_ok=True)
        theirs = Path(self._must("rev-parse", "--git-path", "index"))
        theirs = theirs if theirs.is_absolute() else self.path / theirs
        if theirs.is_file():
            written = theirs.stat().st_mtime_ns
            shutil.copyfile(theirs, to)
            os.utime(to, ns=(written, written))

    # -- asking --

    def _ask(self, *args: str) -> str | None:
        done = run_git(self.path, *args)
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None

    def _must(self, *args: str) -> str:
        done = run_git(self.path, *args)
        if done.returncode:
            raise _failed(f"git {args[0]} failed in {self.path}", done)
        return done.stdout.decode(errors="replace").strip()


def find_repository(folder: Path) -> Repository | None:
    """The repository whose top `folder` is; None where there is none.

    A folder somewhere inside of a larger repository is none of its own: that one's history
    need not be the kernel's. Raises BuildError where git refuses to read it.
    """
    bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    if not bare and not (folder / ".git").exists():
        return None
    need("git")
    done = run_git(folder, "rev-parse", "--git-path", "objects")
    if done.returncode:
        raise _failed(f"git cannot read {folder}", done)
    objects = Path(done.stdout.decode(errors="replace").strip())
    return Repository(folder, objects if objects.is_absolute() else folder / objects)


def open_repository(folder: Path) -> Repository:
    """As find_repository, and BuildError where there is none."""
    path = folder.expanduser().resolve()
    found = find_repository(path) if path.is_dir() else None
    if found is None:
        raise InputError(
            f"{folder} is not the top of a git repository: name the folder that holds its .git"
        )
    return found


def _failed(what: str, *answers: subprocess.CompletedProcess[bytes]) -> BuildError:
    said: Sequence[bytes] = [a.stderr for a in answers if a.returncode]
    lines = b"".join(said).decode(errors="replace").splitlines()
    return BuildError(what, excerpt=lines[-8:])
