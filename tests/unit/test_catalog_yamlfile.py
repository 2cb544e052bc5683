"""Declaration files: every value knows its line, and whatever is wrong is a DeclarationError."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.catalog.yamlfile import MAX_BYTES, DeclarationError, Node, load, quote, suggest


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installations with and without libyaml read the same."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CBaseLoader", raising=False)
    elif not hasattr(yaml, "CBaseLoader"):
        pytest.skip("PyYAML without libyaml")


def read(folder: Path, content: str | bytes) -> Node:
    path = folder / "some.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(path, folder)


def refused(folder: Path, content: str | bytes) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        read(folder, content)
    return caught.value


def test_scalars_are_text_and_know_their_line(tmp_path: Path) -> None:
    node = read(
        tmp_path, "kernel: 6.10\nflag: off\n\nmany:\n  - 07\n  - ~\ndeep:\n  because: >\n    a\n"
    )
    fields = node.mapping()
    assert fields["kernel"].text() == "6.10"
    assert fields["flag"].text() == "off"
    assert [(item.text(), item.line) for item in fields["many"].items()] == [("07", 5), ("~", 6)]
    assert fields["deep"].mapping()["because"].line == 8  # the line of the key
    assert fields["deep"].mapping()["because"].text() == "a"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("# nothing\n", 2, "the file is empty"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a', first on line 1"),
        ("a: &x 1\n", 1, "an anchor is not allowed"),
        ("a: *x\n", 1, "an alias is not allowed"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "a tag is not allowed"),
        ("a: !x [1]\n", 1, "a tag is not allowed"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: [1\nb: 2\n", 2, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "a tab where only blanks may stand"),
        ("é: ß\na:\n  b: 1\n  \tc: 2\n", 4, "a tab where only blanks may stand"),
        ("a: 'x\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("? [a]\n: b\n", 1, "expected a text, found a list"),
        ("'': b\n", 1, "expected a text, found nothing"),
        ("a: " + "[" * 30 + "]" * 30, 1, "nested deeper than 24"),
        ("[" * 100_000, 1, "nested deeper than 24"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        ("a: \x00\n", 0, "not YAML"),
        (b" " * (MAX_BYTES + 1), 0, "longer than 4 MiB"),
    ],
)
def test_what_is_wrong_with_a_file(
    tmp_path: Path, content: str | bytes, line: int, message: str
) -> None:
    error = refused(tmp_path, content)
    assert message in error.message and error.file == "some.yaml"
    # Where YAML itself is broken, the two parsers notice on different lines.
    assert error.line in ((line, line + 1) if message == "not YAML" else (line,))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(DeclarationError, match="cannot be read"):
            load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("ab:-?[]{}&*!|>'\"#%@` \n\t,~\\0\0\x85\ufeff"), max_size=40))
def test_hostile_text_raises_nothing_else(tmp_path: Path, content: str) -> None:
    with contextlib.suppress(DeclarationError):
        read(tmp_path, content)


def test_record_names_unknown_and_missing_keys(tmp_path: Path) -> None:
    node = read(tmp_path, "because: x\noutcme:\n  y\n")
    with pytest.raises(DeclarationError) as caught:
        node.record(required=("because",), optional=("outcome",))
    assert str(caught.value) == "some.yaml:2: unknown key 'outcme'\n  did you mean outcome?"
    with pytest.raises(DeclarationError, match="the key 'summary' is missing"):
        node.record(required=("summary",), optional=("because", "outcme"))


def test_reading_another_kind(tmp_path: Path) -> None:
    fields = read(tmp_path, "text: x\nlist: [a]\nmap: {a: b}\nnone:\nbare: []\n").mapping()
    for name, reader, message in [
        ("list", Node.text, "expected a text, found a list"),
        ("map", Node.texts, "expected a list, found a mapping"),
        ("text", Node.items, "expected a list, found the text 'x'"),
        ("list", Node.mapping, "expected a mapping, found a list"),
        ("none", Node.text, "expected a text, found nothing"),
        ("bare", Node.texts, "found an empty list"),
        ("text", Node.number, "expected a positive whole number"),
    ]:
        with pytest.raises(DeclarationError, match=message):
            reader(fields[name])
    assert fields["text"].texts() == ("x",)
    assert fields["list"].texts() == ("a",)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "0x10", "9" * 5000, "٣"])
def test_numbers_that_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeclarationError, match="positive whole number"):
        read(tmp_path, f"'{text}'").number()


def test_a_reader_that_refuses_gets_the_line(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"some\.yaml:2: invalid literal"):
        read(tmp_path, "a: 1\nb: x\n").mapping()["b"].read(int)


def test_error_text_and_pickling() -> None:
    assert str(DeclarationError("f", 3, "bad", "do this")) == "f:3: bad\n  do this"
    assert str(DeclarationError("f", 0, "bad")) == "f: bad"
    assert str(DeclarationError("", 0, "bad")) == "bad"
    error = pickle.loads(pickle.dumps(DeclarationError("f", 3, "bad", "do this")))
    assert str(error) == "f:3: bad\n  do this"


def test_hints() -> None:
    assert suggest("m86k", ["m68k", "alpha"]) == "did you mean m68k?"
    assert suggest("zzz", ["b", "a"]) == "known: a, b"
    assert suggest("zzz", []) == "none is declared"
    assert suggest("zzz", map(str, range(99))).endswith(", ...")
    assert quote("\x1b[2J" + "x" * 1000).isprintable() and len(quote("x" * 1000)) < 70
