"""The page, driven in a browser as a reader would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import report_samples as samples
from browser import Browser, find_chromium
from page_samples import EVIL, troubled
from test_report_terminal import HOSTILE, hostile_results, two_trees

from harness.report.html import render_html
from harness.results import Observation, ResultRecord, Results, Verdict


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on the path")
    with Browser(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


class Reader:
    """Somebody who reads the page of some results."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.browser, self.file = browser, folder / "report.html"

    def read(self, results: Results, address: str = "") -> None:
        self.file.write_text(render_html(results), encoding="utf-8")
        self.browser.open("about:blank")
        self.browser.requests.clear()
        self.browser.complaints.clear()
        self.browser.open(f"file://{self.file}{address}")

    def text(self, selector: str) -> str:
        return str(self.browser.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def shown(self) -> list[str]:
        """Scenarios whose rows are visible."""
        script = "rows.filter(r => r.tr.offsetHeight).map(r => r.scenario.name)"
        return list(self.browser.run(script))

    def columns(self) -> list[str]:
        script = "[...document.querySelectorAll('.place')].filter(h => h.offsetWidth)"
        return list(self.browser.run(f"{script}.map(h => h.title)"))

    def focus(self) -> str:
        return str(self.browser.run("document.activeElement.title || document.activeElement.id"))

    def address(self) -> str:
        return str(self.browser.run("location.hash"))


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(browser, tmp_path)
    yield reader
    browser.prefer()
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_it_is_offline_and_silent(reader: Reader) -> None:
    reader.read(troubled())
    reader.browser.click("td.mismatch")
    assert [r for r in reader.browser.requests if r != "data:,"] == [f"file://{reader.file}"]
    assert reader.browser.complaints == []


def test_a_click_tells_everything_of_a_cell(reader: Reader) -> None:
    reader.read(troubled())
    assert reader.browser.run("document.getElementById('panel').hidden") is True
    reader.browser.click("td.mismatch")
    panel = reader.text("#panel")
    for said in (
        "hole/write",
        "debian-6.12,m68k mismatch, confirmed",
        "a store to where nothing is mapped",
        samples.MAPERR,
        samples.ACCERR,
        "every arch sends the same",
        "arch/m68k/mm/fault.c:107 do_page_fault",
        "Unable to handle kernel access at address deadbee0",
        "faultline run hole/write --arch m68k --kernel debian-6.12",
        "0xdeadbee0",
        "expectations/hole.yaml:12",
    ):
        assert said in panel, said
    script = "[...document.querySelectorAll('#panel .hit')].map(one => one.textContent)"
    assert [" ".join(line.split()) for line in reader.browser.run(script)] == [
        "107 if (!(vma->vm_flags & VM_GROWSDOWN))",
        "108 goto map_err;",
    ]
    assert reader.address() == "#hole/write@debian-6.12,m68k"
    reader.browser.press("Escape")
    assert reader.browser.run("document.getElementById('panel').hidden") is True
    assert reader.address() == ""
    assert reader.focus().startswith("hole/write on debian-6.12,m68k:")


def test_a_link_opens_its_cell(reader: Reader) -> None:
    reader.read(troubled(), "#stack/below-usp-257@debian-6.1,m68k")
    assert reader.text("#panel h2") == "stack/below-usp-257"
    reader.browser.click("#panel .others button")  # the same scenario in another column
    assert "debian-6.1,alpha" in reader.text("#panel .panel-head p")
    reader.read(troubled(), "#gone/scenario@%zz")
    assert reader.browser.run("document.getElementById('panel').hidden") is True
    assert reader.browser.complaints == []


@pytest.mark.parametrize("section", ["bugs", "decide"])
def test_a_link_leads_to_a_section_and_stays(reader: Reader, section: str) -> None:
    reader.read(troubled(), f"#{section}")
    assert reader.address() == f"#{section}"
    top = f"document.getElementById('{section}').getBoundingClientRect().top"
    assert 0 <= reader.browser.run(top) < 900
    reader.read(troubled())
    reader.browser.click(f".counts a[href='#{section}']")
    assert reader.address() == f"#{section}"
    assert 0 <= reader.browser.run(top) < 900


def test_filters(reader: Reader) -> None:
    reader.read(troubled())
    assert len(reader.shown()) == 18 and len(reader.columns()) == 8
    reader.browser.click("[data-kind=arch][data-value=m68k]")
    assert reader.columns() == ["debian-6.1,m68k", "debian-6.12,m68k"]
    reader.browser.click("#differ")  # on m68k alone: what changed between its kernels
    assert reader.shown() == [
        "hole/write",
        "uaccess/tail-write-3",
        "retry/kill-in-read",
    ]
    reader.browser.click("[data-kind=family][data-value=retry]")
    assert reader.shown() == ["retry/kill-in-read"]
    assert reader.text("#shown") == "1 of 18 scenarios, 2 of 8 columns"
    reader.browser.click("#filters button[type=reset]")
    reader.browser.run("new Promise(done => setTimeout(done))")
    assert len(reader.shown()) == 18 and len(reader.columns()) == 8
    reader.browser.click("[data-kind=verdict][data-value=infra]")
    assert reader.shown() == ["file/eof-read"]


def test_what_was_not_seen_does_not_differ(reader: Reader) -> None:
    """Neither what is not applicable in a column, nor what was lost there."""
    plan = ["x/alike", "x/changed"]
    kernels = ["k-1", "k-2", "k-3", "k-4"]
    columns = [samples.column(kernel, "m68k", planned=plan) for kernel in kernels]

    def seen(name: str, kernel: str, outcome: str, verdict: Verdict) -> ResultRecord:
        observation = Observation(scenario=name, outcome=outcome)
        return samples.cell(name, kernel, "m68k", observation=observation, verdict=verdict)

    last = {"x/alike": "ok", "x/changed": "EFAULT"}
    cells = [
        record
        for name in plan
        for record in (
            seen(name, "k-1", "ok", Verdict.MATCH),
            seen(name, "k-2", "n/a", Verdict.NOT_APPLICABLE),
            seen(name, "k-3", "", Verdict.INFRA),
            seen(name, "k-4", last[name], Verdict.MATCH),
        )
    ]
    reader.read(samples.results(*samples.run_records(), *columns, *cells), "#?differ=1")
    assert reader.shown() == ["x/changed"]


def test_the_address_has_the_filters(reader: Reader) -> None:
    reader.read(troubled())
    reader.browser.click("[data-kind=kernel][data-value='debian-6.1']")
    reader.browser.click("#differ")
    reader.browser.run("document.getElementById('find').focus()")
    for key in "usp":
        reader.browser.press(key)
    address, shown, columns = reader.address(), reader.shown(), reader.columns()
    assert shown == ["stack/below-usp-257"] and len(columns) == 4
    assert address == "#?kernel=debian-6.1&find=usp&differ=1"
    reader.read(troubled(), address)
    assert (reader.shown(), reader.columns()) == (shown, columns)


def test_find_looks_into_reasons_and_sources(reader: Reader) -> None:
    reader.read(troubled())
    reader.browser.run("document.getElementById('find').value = 'forces SIGNAL before'; apply()")
    assert reader.shown() == ["file/eof-read"]
    for words, count in (("alpha/mm/fault.c:105", 18), ("alpha/mm/fault.c:106", 0)):
        reader.browser.run(f"document.getElementById('find').value = '{words}'; apply()")
        assert len(reader.shown()) == count, words


def test_columns_by_arch(reader: Reader) -> None:
    reader.read(troubled())
    before = reader.columns()
    reader.browser.click("#byarch")
    after = reader.columns()
    assert after[:3] == ["debian-6.1,alpha", "debian-6.12,alpha", "debian-6.1,arm64"]
    script = "[...document.querySelectorAll('.kernel')].map(h => [h.innerText, h.colSpan])"
    heads = reader.browser.run(script)
    assert heads == [["alpha", 2], ["arm64", 2], ["m68k", 2], ["x86_64", 2]]
    # Cells go with their heads.
    place = reader.browser.run(
        "(() => { const td = document.querySelector('td.mismatch');"
        "const x = td.getBoundingClientRect().x;"
        "return [...document.querySelectorAll('.place')]"
        ".find(h => Math.abs(h.getBoundingClientRect().x - x) < 4).title; })()"
    )
    assert place == "debian-6.12,m68k"
    reader.browser.click("#byarch")
    assert reader.columns() == before


def test_keys(reader: Reader) -> None:
    reader.read(troubled())
    reader.browser.run("document.querySelector('td[tabindex=\"0\"]').focus()")
    assert reader.focus().startswith("hole/read on debian-6.1,alpha:")
    for key, focus in (
        ("ArrowRight", "hole/read on debian-6.1,arm64"),
        ("ArrowDown", "hole/write on debian-6.1,arm64"),
        ("End", "hole/write on debian-6.12,x86_64"),
        ("ArrowLeft", "hole/write on debian-6.12,m68k"),
        ("Home", "hole/write on debian-6.1,alpha"),
        ("ArrowUp", "hole/read on debian-6.1,alpha"),
        ("n", "hole/write on debian-6.12,m68k"),
    ):
        reader.browser.press(key)
        assert reader.focus().startswith(f"{focus}:"), key
    reader.browser.press("Enter")
    assert reader.text("#panel h2") == "hole/write"
    reader.browser.press("n")
    assert reader.text("#panel h2") == "protection/xonly-read"
    reader.browser.press("p")
    assert reader.text("#panel h2") == "hole/write"
    reader.browser.press("Escape")
    reader.browser.press("d")
    assert reader.browser.run("document.getElementById('differ').checked") is True
    reader.browser.press("/")
    assert reader.focus() == "find"
    reader.browser.press("d")  # in the field it is a letter
    assert reader.browser.run("document.getElementById('find').value") == "d"


def test_arrows_skip_what_is_hidden(reader: Reader) -> None:
    reader.read(troubled(), "#?arch=m68k&arch=alpha&family=hole&family=stack")
    reader.browser.run("rows[2].cells[0].td.focus()")
    assert reader.focus().startswith("hole/low-map-root on debian-6.1,alpha:")
    reader.browser.press("ArrowRight")
    assert reader.focus().startswith("hole/low-map-root on debian-6.1,m68k:")
    reader.browser.press("ArrowDown")
    assert reader.focus().startswith("stack/below-usp-256 on debian-6.1,m68k:")


@pytest.mark.parametrize("evil", [EVIL, HOSTILE.replace("\ud800", "")])
def test_hostile_text_does_nothing_in_any_cell(reader: Reader, evil: str) -> None:
    reader.read(hostile_results(evil))
    cells = reader.browser.run(
        "rows.flatMap(row => row.cells.map((cell, place) => { open(row, place);"
        "return panel.querySelectorAll('img, svg, script, a').length; }).filter(n => n != null))"
    )
    assert len(cells) > 3 and not any(cells)
    reader.browser.run("new Promise(done => setTimeout(done, 50))")
    assert reader.browser.run("window.pwned === undefined") is True
    assert reader.browser.run("document.querySelectorAll('img, svg, iframe').length") == 0
    assert [r for r in reader.browser.requests if r != "data:,"] == [f"file://{reader.file}"]
    assert reader.browser.complaints == []


def test_the_policy_stops_a_script_that_got_in(reader: Reader) -> None:
    """The belt to the braces: were a text ever pasted as markup, it would not run."""
    reader.read(troubled())
    reader.browser.run(
        "document.body.append(document.createRange().createContextualFragment("
        "'<script>window.pwned=1</scr' + 'ipt><b onclick=window.pwned=1 id=evil>x</b>'))"
    )
    reader.browser.click("#evil")
    assert reader.browser.run("window.pwned === undefined") is True
    assert any("Content Security Policy" in text for text in reader.browser.complaints)


def test_without_javascript_the_matrix_is_there(reader: Reader) -> None:
    reader.browser.call("Emulation.setScriptExecutionDisabled", value=True)
    reader.read(troubled())
    reader.browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert reader.browser.run("typeof rows") == "undefined"
    assert "below-usp-257" in reader.text("table[role=grid]")
    assert "SEGV_MAPERR @exact" in reader.text("table[role=grid]")
    assert reader.browser.run("document.getElementById('filters').offsetHeight") == 0


def luminance(reader: Reader, what: str) -> float:
    colour = reader.browser.run(f"getComputedStyle(document.body).{what}")
    return sum(map(int, re.findall(r"\d+", str(colour))[:3])) / 3


def test_dark_mode_and_print(reader: Reader) -> None:
    reader.read(troubled(), "#hole/write@debian-6.12,m68k")
    assert luminance(reader, "backgroundColor") > 240 > 60 > luminance(reader, "color")
    reader.browser.prefer(prefers_color_scheme="dark")
    assert luminance(reader, "backgroundColor") < 40 < 200 < luminance(reader, "color")
    reader.browser.prefer(media="print", prefers_color_scheme="dark")
    assert luminance(reader, "backgroundColor") > 240, "paper is white"
    assert reader.browser.run("document.getElementById('filters').offsetHeight") == 0
    script = "getComputedStyle(document.getElementById('panel')).position"
    assert reader.browser.run(script) == "static", "the open cell is printed behind the matrix"
    assert reader.browser.pdf().startswith(b"%PDF-")


def test_paper_is_wide_enough(reader: Reader) -> None:
    """A4 across has 1047 pixels between its margins, and shows the outcomes, too."""
    reader.browser.size(1047, 700)
    kernels = [f"k-6.{n}" for n in range(4)]
    columns = [samples.column(k, a) for k in kernels for a in samples.ARCHES]
    cells = [samples.cell(s, k, a) for s in samples.PLAN for k in kernels for a in samples.ARCHES]
    reader.read(samples.results(*samples.run_records(), *columns, *cells))
    reader.browser.prefer(media="print")
    assert reader.browser.run("grid.getBoundingClientRect().right <= innerWidth + 1") is True
    assert "SEGV_MAPERR @exact" in reader.text("table[role=grid]")
    reader.browser.size(1280, 900)


@pytest.mark.parametrize("width", [1440, 900])
def test_a_vertical_scrollbar_brings_no_other(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, width: int
) -> None:
    """Where scrollbars take room, a page that is as wide as the window is too wide."""
    program, folder = find_chromium(), tmp_path_factory.mktemp("scrollbars")
    assert program
    with Browser(program, folder / "profile", width, 500, scrollbars=True) as other:
        reader = Reader(other, folder)
        reader.read(troubled())
        assert other.run("document.documentElement.clientWidth < innerWidth") is True
        # The page learns of its width with a frame, which a busy machine may draw late.
        script = """new Promise(done => {
            const page = document.documentElement, end = performance.now() + 5000;
            const look = () => {
                const more = page.scrollWidth - page.clientWidth;
                more && performance.now() < end ? requestAnimationFrame(look) : done(more);
            };
            requestAnimationFrame(() => requestAnimationFrame(look));
        })"""
        assert other.run(script) == 0


@pytest.mark.parametrize("width", [1440, 900, 390])
def test_eight_columns_fit_into_any_window(reader: Reader, width: int) -> None:
    reader.browser.size(width, 900)
    reader.read(troubled())
    wide = reader.browser.run(
        "[...document.querySelectorAll('header, main > section > :not(table)')]"
        ".filter(one => one.getBoundingClientRect().right > innerWidth + 1)"
        ".map(one => one.outerHTML.slice(0, 80))"
    )
    assert wide == []
    assert reader.browser.run("grid.getBoundingClientRect().right <= innerWidth + 1") is True
    reader.browser.size(1280, 900)


def test_long_names_of_kernels_fit(reader: Reader) -> None:
    reader.browser.size(900, 900)
    reader.read(two_trees())
    assert reader.browser.run("document.documentElement.scrollWidth") <= 900
    assert reader.browser.run(
        "[...document.querySelectorAll('.kernel')].every(h => h.scrollWidth <= h.clientWidth)"
    )


def test_ten_thousand_results_stay_usable(reader: Reader) -> None:
    names = [f"family{n % 12}/scenario-{n}" for n in range(300)]
    kernels = [f"k-6.{n}" for n in range(9)]
    columns = [samples.column(k, a, planned=names) for k in kernels for a in samples.ARCHES]

    def seen(name: str, arch: str) -> Observation:
        outcome = samples.MAPERR if arch == "m68k" and name.endswith("7") else "ok"
        return Observation(scenario=name, outcome=outcome, console=["x" * 80] * 3)

    cells = [
        samples.cell(n, k, a, observation=seen(n, a), verdict=Verdict.MATCH)
        for n in names
        for k in kernels
        for a in samples.ARCHES
    ]
    reader.read(samples.results(*samples.run_records(), *columns, *cells))
    took = reader.browser.run(
        "(() => { const start = performance.now(); byId('differ').click(); grid.offsetHeight;"
        "return performance.now() - start; })()"
    )
    assert set(reader.shown()) == {name for name in names if name.endswith("7")}
    assert took < 5000, "milliseconds; 60 on an idle machine"
    reader.browser.click("td.maperr")
    assert reader.text("#panel h2").endswith("7")
