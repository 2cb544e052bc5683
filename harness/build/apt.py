"""Debian packages from the mirror that this system uses, with the system's apt left alone.

apt runs with a configuration of its own (APT_CONFIG): state, cache and sources lie in a folder
of the store, and of the system's settings only `Acquire::*` (proxies, checks) and where keys
and passwords lie are taken over. Hooks such as docker-clean's do not run. No root is needed.

Which mirror: `apt-get indextargets` tells what the system's sources amount to, in either
style; those whose Release file says `Origin: Debian` are used, third parties are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from harness.build import BuildError, InputError
from harness.build.tools import clean_environment, need, output

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_OPTIONS = ("Signed-By", "Trusted", "Check-Valid-Until", "Check-Date")
_KEPT = re.compile(r"(Acquire|Dir::Etc::(trusted|trustedparts|netrc|netrcparts)|Dir::Bin)\b")
_FIELDS = ("CREATED_BY", "REPO_URI", "RELEASE", "COMPONENT", "SOURCESENTRY", "ORIGIN")


class Target(Struct, frozen=True):
    """One index that apt would fetch, and the source it comes from."""

    uri: str
    release: str
    component: str
    file: str  # of /etc/apt, where the source is written
    origin: str  # of its Release file; "" when that was not fetched yet

    @property
    def last(self) -> str:
        """The last part of the URI's path: debian, debian-security."""
        return urlsplit(self.uri).path.rstrip("/").rpartition("/")[2]


class Package(Struct, frozen=True):
    name: str
    version: str
    sha256: str  # of the .deb


class PrivateApt:
    """apt in a folder of its own, for packages or for their sources. Raises BuildError with
    apt's words.
    """

    def __init__(self, folder: Path, suite: str | None, sources: bool = False) -> None:
        for tool in ("apt-get", "dpkg-deb"):
            need(tool)
        for name in ("state/lists/partial", "cache/archives/partial", "log", "sources.d"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        _write_private(
            folder / "sources.d" / "faultline.sources",
            _sources(suite, *(("deb-src", "Sources") if sources else ("deb", "Packages"))),
        )
        _write_private(folder / "apt.conf", _configuration(folder))
        self._env = clean_environment() | {"APT_CONFIG": str(folder / "apt.conf")}
        self._suite = suite or "the system's own sources"

    def update(self) -> None:
        output(
            ["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"],
            env=self._env,
            failed=f"apt could not fetch the package lists of {self._suite}",
        )

    def find(self, name: str, version: str = "") -> Package | None:
        """The candidate of a package, or just that version; None if there is none."""
        if not _PACKAGE.fullmatch(name):
            raise InputError(f"{name!r} is no name of a Debian package")
        asked = f"{name}={version}" if version else name
        text = output(["apt-cache", "show", "--no-all-versions", asked], env=self._env, ok=(0, 100))
        fields = dict(re.findall(r"^(Package|Version|SHA256): (\S+)$", text, re.MULTILINE))
        if fields.get("Package") != name or not {"Version", "SHA256"} <= set(fields):
            return None
        return Package(name, fields["Version"], fields["SHA256"])

    def download(self, package: Package, folder: Path) -> Path:
        """Fetch the .deb into a folder; apt has checked it against the signed lists."""
        name, version = package.name, package.version
        argv = ["download", "-q", f"{name}={version}"]
        return self._fetch(argv, folder, "*.deb", f"{name} {version}")

    def download_source(self, name: str, folder: Path) -> Path:
        """Fetch the upstream archive of a source package into a folder; apt has checked it."""
        argv = ["source", "-q", "--tar-only", "--only-source", name]
        return self._fetch(argv, folder, "*.orig.tar.*", f"the source of {name}")

    def _fetch(self, argv: list[str], folder: Path, made: str, what: str) -> Path:
        """The one file that fits `made` once apt-get has run in a folder."""
        failed = f"apt could not fetch {what}"
        output(["apt-get", *argv], cwd=folder, env=self._env, failed=failed)
        found = list(folder.glob(made))
        if len(found) != 1:
            raise BuildError(f"apt fetched {len(found)} files for {what} instead of one")
        return found[0]


def _write_private(path: Path, text: str) -> None:
    """Readable by its owner only: proxies and mirrors may carry passwords."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)


def _configuration(folder: Path) -> str:
    kept, architecture = [], ""
    for line in output(["apt-config", "dump"]).splitlines():
        name = line.partition(" ")[0]
        if name == "APT::Architecture":
            architecture = line
        elif _KEPT.match(name) and not name.startswith("Acquire::IndexTargets"):
            kept.append(line)
    none = "/dev/null"
    own = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Log": folder / "log",
        "Dir::Etc::sourcelist": none,
        "Dir::Etc::sourceparts": folder / "sources.d",
        "Dir::Etc::preferences": none,
        "Dir::Etc::preferencesparts": none,
        "Dir::Etc::main": none,
        "Dir::Etc::parts": none,
        "Acquire::Languages": "none",
        # apt's own user could not enter a cache folder below /root
        "APT::Sandbox::User": "root",
    }
    lines = [f'{name} "{value}";' for name, value in own.items()]
    return "\n".join([*kept, architecture, *lines]) + "\n"


def _targets() -> list[Target]:
    """The system's sources, one for each index of packages."""
    form = "\t".join(f"$({field})" for field in _FIELDS)
    ask = ["apt-get", "indextargets", "--format", form]
    # With release info apt tells only of what it has fetched; without, of everything.
    fetched = {target.uri: target.origin for target in _parse(output(ask))}
    everything = _parse(output([*ask, "--no-release-info"]))
    return [
        Target(item.uri, item.release, item.component, item.file, fetched.get(item.uri, ""))
        for item in everything
    ]


def _parse(text: str) -> Iterator[Target]:
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == len(_FIELDS) and fields[0] == "Packages":
            _, uri, release, component, entry, origin = fields
            if not uri.startswith("cdrom:"):
                known = "" if origin.startswith("$(") else origin
                yield Target(uri, release, component, entry.rpartition(":")[0], known)


def _is_debian(target: Target) -> bool:
    if target.origin:
        return target.origin == "Debian"
    return target.last in ("debian", "debian-security")


def _sources(suite: str | None, types: str, indexes: str) -> str:
    """The text of the private deb822 source file."""
    targets = [target for target in _targets() if _is_debian(target)]
    if suite is not None:
        if not _SUITE.fullmatch(suite):
            raise InputError(f"{suite!r} is no name of a suite")
        main = [item for item in targets if item.component == "main"]
        security = [item for item in main if item.last == "debian-security"]
        others = [item for item in main if item not in security]
        chosen = (security if "-security" in suite else others)[:1]
        targets = [Target(item.uri, suite, "main", item.file, "") for item in chosen]
    if not targets:
        raise InputError(
            "apt's sources name no Debian mirror: add one to /etc/apt/sources.list.d, "
            "or declare the kernel as a tarball"
        )
    stanzas: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for target in targets:
        releases, components = stanzas.setdefault((target.uri, target.file), ([], []))
        releases.append(target.release)
        components.append(target.component)
    texts = []
    for (uri, file), (releases, components) in stanzas.items():
        fields = {
            "Types": types,
            "URIs": uri,
            "Suites": " ".join(dict.fromkeys(releases)),
            "Components": " ".join(dict.fromkeys(components)),
            "Targets": indexes,
        }
        fields |= source_options(Path(file), uri)
        texts.append("".join(f"{name}: {value}\n" for name, value in fields.items()))
    return "\n".join(texts)


def source_options(file: Path, uri: str) -> dict[str, str]:
    """Keys and checks that a source file of either style gives for a URI, as deb822 fields."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return {}
    read = _stanzas(text) if file.suffix == ".sources" else _one_line(text)
    for uris, options in read:
        if uri.rstrip("/") in (item.rstrip("/") for item in uris):
            return {name: options[name.lower()] for name in _OPTIONS if name.lower() in options}
    return {}


def _stanzas(text: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    plain = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n[ \t]*\n", plain):
        # A field goes on over lines that begin with a blank: keys may be written in place.
        pairs = re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {name.lower(): value for name, value in pairs}
        yield fields.get("uris", "").split(), fields


def _one_line(text: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+\S+", line)
        if match:
            pairs = (item.partition("=") for item in (match[1] or "").split())
            options = {name.lower(): value for name, _, value in pairs}
            if "signed-by" in options:
                options["signed-by"] = options["signed-by"].replace(",", " ")
            yield [match[2]], options
