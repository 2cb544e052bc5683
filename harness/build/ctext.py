"""What a text of C holds beside code: comments, literals, directives, and lines that go on.

Where a quote has no second one, as in what #if leaves out, its line ends the literal.
"""

from __future__ import annotations

import re

_COMMENT = r"//(?:\\\n|[^\n])*|/\*.*?(?:\*/|\Z)"
_LITERAL = r"\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?"
NO_CODE = re.compile(  # all of a directive (its `word`): the braces of a macro balance nothing
    rf"{_COMMENT}|{_LITERAL}|\\\n"
    rf"|^[ \t]*#[ \t]*(?P<word>\w*)(?:[^\n\"'/\\]+|{_COMMENT}|{_LITERAL}|\\\n|[^\n])*",
    re.DOTALL | re.MULTILINE,
)
