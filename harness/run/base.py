"""What a kernel is compared with when somebody asks what they have changed."""

from __future__ import annotations

from pathlib import Path

from harness.build import InputError
from harness.build.git import Repository, find_repository
from harness.build.store import Store
from harness.catalog.kernels import GitSource, Kernel, TreeSource, change_spec, split_spec
from harness.catalog.project import Project

_KINDS = ("tree:", "git:", "image:")


def choose_base(
    kernel: Kernel, given: str, project: Project, store: Store
) -> tuple[Kernel | None, str]:
    """(the kernel to compare with, how it was chosen); None where nothing is different.

    `given` is a kernel spec or a revision of the tree's repository. "": the same without the
    patches asked for; of a tree with changes HEAD, else where it left upstream. The same
    kconfig fragments count for both. Raises BuildError, DeclarationError.
    """
    plain, patches, fragments = split_spec(kernel.name)

    def same_way(spec: str) -> Kernel:
        return project.kernel(change_spec(spec, fragments=fragments))

    if given:
        known = split_spec(given)[0]
        if known in project.kernels or known.startswith(_KINDS):
            return same_way(given), "asked for"
        return same_way(_revision(kernel, given)), f"revision {given}"
    if patches:
        return same_way(plain), "the same without the patches"
    repository = _repository(kernel)
    if repository is None:
        raise InputError(
            f"{plain} is no git repository of its own, so it has no base: say what it is to be "
            f"compared with (--base {project.kernels.default}, --base tree:PATH), or --no-base"
        )
    base, why = _default(kernel, repository, store)
    if base is None:
        return None, why
    return same_way(f"git:{repository.path}#{base[:12]}"), why


def _default(kernel: Kernel, repository: Repository, store: Store) -> tuple[str | None, str]:
    rev = kernel.source.rev if isinstance(kernel.source, GitSource) else "HEAD"
    head = repository.commit(rev)
    if isinstance(kernel.source, TreeSource) and repository.state(store)[1]:
        return head, "HEAD: the tree has changes"
    fork = repository.fork_point(head)
    if fork is None:
        return None, f"{rev} is a part of upstream, or no upstream is known: name one with --base"
    return fork[0], f"where {rev} left {fork[1]}"


def _revision(kernel: Kernel, rev: str) -> str:
    repository = _repository(kernel)
    if repository is None:
        raise InputError(
            f"--base {rev}: neither a kernel (see `faultline list kernels`), nor a revision, since "
            f"{split_spec(kernel.name)[0]} is no git repository of its own"
        )
    repository.commit(rev)
    return f"git:{repository.path}#{rev}"


def _repository(kernel: Kernel) -> Repository | None:
    if not isinstance(kernel.source, TreeSource | GitSource):
        return None
    return find_repository(Path(kernel.source.path).expanduser().resolve())
