"""Text that came from a guest, made safe and short. Everything printed goes through here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

OUTCOME_LIMIT = 300  # characters; a canonical outcome is far shorter, a hostile one need not be
PROSE_LIMIT = 2000
LINE_LIMIT = 200


def clean(text: str, limit: int = LINE_LIMIT) -> str:
    """One printable line of at most `limit` characters; what was cut or replaced shows.

    Control, format (bidirectional!) and combining characters become \\x escapes: none can
    move the cursor, reorder a line or grow it upwards.
    """
    start = text[: limit + 1]
    if start.isascii() and start.isprintable():  # nearly always
        return cut(start, limit)
    return cut("".join(map(_visible, start)), limit)


def clean_lines(text: str) -> str:
    """Several lines, each as `clean` leaves it: what a compiler, a tree or a file's name said."""
    return "\n".join(clean(line, PROSE_LIMIT) for line in text.split("\n"))


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, ending in ".." where something is gone."""
    return text if len(text) <= limit else text[: max(limit - 2, 0)] + ".."


def shorten(text: str, limit: int) -> str:
    """A sentence of at most `limit` characters, cut between words, and before a quote or a
    parenthesis that would stay open.
    """
    if len(text) <= limit:
        return text
    kept = text[: max(limit - 2, 0)].rpartition(" ")[0]
    if kept.count('"') % 2:
        kept = kept[: kept.rindex('"')]
    while kept.count("(") > kept.count(")"):
        kept = kept[: kept.rindex("(")]
    kept = kept.rstrip(" ,:;")
    return f"{kept} .." if kept else cut(text, limit)


def _visible(char: str) -> str:
    if char.isascii() and char.isprintable():
        return char
    if char.isprintable() and not unicodedata.category(char).startswith("M"):
        return char
    if char in "\t\n":
        return " "
    return char.encode("unicode_escape").decode()


def near(word: str, known: Iterable[str]) -> list[str]:
    """The known names that `word` may have been meant to be, the nearest first."""
    import difflib  # for errors alone

    return difflib.get_close_matches(word[:100], sorted(known), n=3, cutoff=0.6)
