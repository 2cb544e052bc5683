"""The formats of a report: each is a function `Results -> str` in a module of its own.

Nothing is imported before it is asked for: a page of HTML costs nothing to whoever wants text.
"""

from __future__ import annotations

import importlib

from msgspec import Struct

from harness.results import Results

TERMINAL = "terminal"


class Format(Struct, frozen=True):
    """Where a format is made, and what it is for."""

    module: str
    function: str
    about: str


FORMATS = {
    TERMINAL: Format("terminal", "render_plain", "a matrix, and what needs a decision"),
    "markdown": Format("markdown", "render_markdown", "for a forge"),
    "columns": Format("columns", "render_columns", "Markdown: cells by verdict and cause"),
    "mail": Format("mail", "render_mail", "plain text, 72 columns, for a mailing list"),
    "html": Format("html", "render_html", "one page that needs no network"),
    "json": Format("json", "render_json", "docs/report.schema.json"),
    "junit": Format("junit", "render_junit", "XML, for CI"),
    "ktap": Format("ktap", "render_ktap", "for kernel test tools"),
    "kcidb": Format("kcidb", "render_kcidb", "for the kernel CI database, schema 5.3"),
}


def load(form: str) -> None:
    """Have ready what `render` needs: a report of nothing takes all that any report does."""
    render(form, Results())


def render(form: str, results: Results) -> str:
    """The report in one of FORMATS; ends in a newline."""
    chosen = FORMATS[form]
    module = importlib.import_module(f"harness.report.{chosen.module}")
    text = getattr(module, chosen.function)(results)
    assert isinstance(text, str)
    return text
