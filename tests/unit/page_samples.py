"""Results for a page: one cell has everything a cell can have, and text that means harm."""

from __future__ import annotations

import msgspec
import report_samples as samples

from harness.results import Results

EVIL = (
    '<img src=http://evil.test/x onerror="window.pwned=1">\'"><svg/onload=window.pwned=1>'
    "</script><script>window.pwned=1</script></title></style><!--<script>{{ 7*7 }}{% raw %}"
    "${window.pwned=1}javascript:window.pwned=1"
)
MARK = "hole/write"  # a mismatch with a console in the troubled sample
EXCERPT = "\n".join(
    ["\tif (!(vma->vm_flags & VM_GROWSDOWN))", "\t\tgoto map_err;", "\tif (user_mode(regs)) {"]
)


def troubled() -> Results:
    """The troubled sample; one cell has everything a cell can have."""
    found = samples.troubled()
    key = ("r1", "debian-6.12,m68k", MARK)
    cell = found.results[key]
    piece = msgspec.structs.replace(cell.evidence[0], excerpt=EXCERPT, excerpt_line=107, last=108)
    seen = msgspec.structs.replace(cell.observation, details={"fault_addr": "0xdeadbee0"})
    found.results[key] = msgspec.structs.replace(
        cell, evidence=[piece], observation=seen, summary="a store to where nothing is mapped"
    )
    return found
