"""How much longer a limit lasts on a busy host: limits count the time that a machine was given."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST = 0.1  # seconds that a machine waited for a CPU: less is that of any host
MOST = 4  # a busy host extends a limit by so many times itself at most


class Starved:
    """What is added to a limit: the time that the machine waited for a CPU of a busy host.

    Without its first moment, since to ask for that costs as much as half of a scenario that ends
    at once; and not without end, since a machine that spins waits as long as the host is busy.
    """

    def __init__(self, waited: Callable[[], float], limit: float) -> None:
        """`waited` tells the sum of all its threads; both are in seconds."""
        self._waited, self._left = waited, MOST * limit
        self._last: tuple[float, float] | None = None  # when it was asked, and the answer

    @property
    def watched(self) -> bool:
        return self._last is not None

    def watch(self) -> None:
        """What it waits counts from now on."""
        self._last = time.monotonic(), self._waited()

    def more(self) -> float:
        """Seconds to be added to a limit that has passed now; 0.0: it is over."""
        if self._last is None:
            self.watch()
            return 0.0
        then, before = self._last
        now, waited = self._last = time.monotonic(), self._waited()
        # Threads may have waited at the same time; between two looks no more passed than that.
        more = min(waited - before, now - then, self._left)
        if more < LEAST:
            return 0.0
        self._left -= more
        return more
