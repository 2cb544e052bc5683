"""Scratch disks: images that a machine gets as virtio disks, each by its name.

What a guest writes to one is dropped with the machine (snapshot=on), so that one image in the
store serves every boot.
"""

from __future__ import annotations

from pathlib import Path

from harness.build import BuildError
from harness.build.store import Store
from harness.build.tools import digest

RECIPE = 1  # raise it when the same kind would have other content
SIZE = 64 << 20  # bytes; sparse


def build_disk(kind: str, store: Store) -> Path:
    """The image of a scratch disk (a key of catalog.needs.DISKS), from the store or made now.

    The file is in an entry of kind "disk". Raises BuildError: mkfs is missing, or fails.
    """

    def fill(folder: Path) -> None:
        if kind != "raw":
            raise BuildError(f"disk {kind}: not there yet")
        with open(folder / "disk.img", "wb") as image:
            image.truncate(SIZE)

    made = store.create("disk", digest("disk", RECIPE, kind, SIZE), fill, f"scratch disk {kind}")
    return made / "disk.img"
