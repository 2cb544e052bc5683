"""The page, read as a document."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser

import msgspec
import pytest
import report_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from page_samples import EVIL, MARK, troubled
from test_report_terminal import HOSTILE, hostile_results

from harness.report.html import render_html
from harness.report.pagedata import tone


class Page(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = f"{tag} {dict(attrs).get('type') or ''}".strip()

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside] = self.raw.get(self._inside, "") + data


def check_harmless(html: str) -> Page:
    page = Page(html)
    counted = Counter(tag for tag, _ in page.tags)
    assert counted["script"] == 2 and counted["style"] == 1
    assert not set(counted) & {"img", "svg", "iframe", "object", "embed", "base", "video"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "action", "srcset", "style"):
            address = attributes.get(name)
            assert address is None or address.startswith("#") or address == "data:,", address
    json.loads(page.raw["script application/json"])
    return page


def test_the_page_needs_nothing_else_and_allows_nothing_else() -> None:
    page = check_harmless(render_html(troubled()))
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv")) or ""
    assert policy.startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    script = page.raw["script"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)
    assert "http:" not in script and "https:" not in script


@pytest.mark.parametrize("evil", [EVIL, HOSTILE.replace("\ud800", "")])
def test_hostile_text_stays_text(evil: str) -> None:
    check_harmless(render_html(hostile_results(evil)))


@given(text=st.text(st.characters(exclude_categories=()), min_size=1, max_size=60))
@settings(max_examples=40)
def test_any_text_stays_text(text: str) -> None:
    check_harmless(render_html(hostile_results(text)))


def test_the_matrix_is_in_the_page_itself() -> None:
    html = render_html(troubled())
    page = Page(html)
    cells = [a for t, a in page.tags if t == "td" and "tabindex" in a]
    assert len(cells) == 18 * 8
    assert sum("mismatch" in (a["class"] or "") for a in cells) == 1
    row = html[html.index(">below-usp-257</th>") :].split("</tr>")[0]
    assert "<b>A</b> ok</span>" in row and "<b>B</b> SEGV_MAPERR @exact</span>" in row
    assert re.findall(r'class="tone (\w+)[^"]*" tabindex="-1">(\w+)<', row) == [
        *[("ok", "A"), ("ok", "A"), ("maperr", "B"), ("ok", "A")] * 2
    ]


def test_a_long_outcome_is_cut_in_the_matrix_and_whole_at_hand() -> None:
    found = troubled()
    key = ("r1", "debian-6.12,m68k", MARK)
    cell = found.results[key]
    whole = "; ".join(f"k{n}=short({n}/200)" for n in range(1, 16))
    seen = msgspec.structs.replace(cell.observation, outcome=whole)
    found.results[key] = msgspec.structs.replace(cell, observation=seen)
    html = render_html(found)
    chip = re.search(r'<span class="chip [^>]*title="([^"]*)"><b>B</b> ([^<]*)</span>', html)
    assert chip is not None
    assert chip[1] == whole and whole.startswith(chip[2].removesuffix("..")) and len(chip[2]) == 90


def test_decisions_stand_before_the_matrix_and_are_linked() -> None:
    html = render_html(troubled())
    decide, matrix = html.index("Needs a decision"), html.index('id="matrix"')
    link = html.index('<a href="#hole/write@debian-6.12,m68k">debian-6.12,m68k</a>')
    assert decide < link < matrix
    assert "Needs a decision" not in render_html(samples.sample())


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        ("ok data=match", "ok"),
        ("madvise=EINVAL", "errno"),
        ("EFAULT[SIGBUS/BUS_ADRERR @exact]", "bus"),
        ("madvise=ok; load=SIGBUS/BUS_MCEERR_AR @exact lsb=12", "mceerr"),
        (samples.MAPERR, "maperr"),
        ("mmap=ok; store=ok; load=ok", "ok"),
        ("SIGSEGV/SEGV_PKUERR @exact", "signal"),
        ("alarm=hang(killable, sleep)", "hang"),
        ("killed(SIGKILL)", "killed"),
        ("A: ok | kernel: warn(handle_mm_fault)", "warn"),
        ("store=oops", "dead"),
        ("n/a", "na"),
        ("short(3/128)", "short"),
    ],
)
def test_colours_follow_the_outcome(outcome: str, name: str) -> None:
    assert tone(outcome) == name


def test_the_page_grows_with_the_results_and_not_faster() -> None:
    """Ten times the columns is at most eleven times the page: nothing is told per pair."""

    def size(kernels: int) -> int:
        names = [f"k-6.{n}" for n in range(kernels)]
        columns = [samples.column(name, "m68k") for name in names]
        cells = [samples.cell(s, name, "m68k") for s in samples.PLAN for name in names]
        return len(render_html(samples.results(*samples.run_records(), *columns, *cells)))

    fixed = size(0)
    assert size(100) - fixed < 11 * (size(10) - fixed)
