"""How a run is done, not what is run."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from harness.build.store import Store

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
