"""How a run is done, not what is run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from msgspec import Struct

from harness.build.store import Store
from harness.text import clean_lines

Say = Callable[[str], None]


class Options(Struct, frozen=True, kw_only=True):
    """How a run is done, not what is run."""

    store: Store
    accel: str = "auto"  # auto: KVM where a boot proves it, else TCG
    refresh: bool = False  # resolve the names of kernels anew
    wedging: bool = True  # with the cells that are expected to hang, oops or panic
    snapshots: bool = True  # start machines from snapshots where that is possible
    shuffle: str = ""  # a seed: scenarios in an order of its own, which changes no outcome
    times: int = 1  # how often each cell is observed
    jobs: int = 0  # parallel jobs for builds and boots; 0 = as many as there are CPUs


def say_stages(who: str) -> Say:
    """Tells on stderr what is being built, but not every object that is compiled."""

    def say(what: str) -> None:
        if not what[:1].isdigit():
            print(clean_lines(f"{who}: {what}"), file=sys.stderr, flush=True)

    return say
