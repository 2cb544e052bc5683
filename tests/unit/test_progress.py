"""Where progress is told: stdout is the report's."""

from __future__ import annotations

import report_samples as samples
from pytest import CaptureFixture

from harness.progress import PlainProgress


def test_lines_go_to_stderr(capsys: CaptureFixture[str]) -> None:
    with PlainProgress() as progress:
        progress.expect(1)
        progress.stage("debian-6.1,m68k", "configure")
        progress.result(samples.cell("hole/read", "debian-6.1", "m68k", outcome="ok"))
    out, err = capsys.readouterr()
    assert out == ""
    stage, result = err.splitlines()
    assert stage.endswith("] debian-6.1,m68k: configure")
    assert result.endswith("] 1/1 debian-6.1,m68k hole/read: ok")
