"""What holds for all tests."""

from __future__ import annotations

import signal

# A background job of a shell ignores Ctrl-C, one under nohup the end of its terminal, and so does
# whatever is started there; the tests send both and want to see an end.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
