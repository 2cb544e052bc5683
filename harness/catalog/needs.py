"""What a scenario needs of the kernel and the machine, beyond what every flavour has.

    needs:
      config: [CONFIG_EXT4_FS=y]    # lines as under `when: config`
      module: true                  # the kernel module of guest-progs/kmod
      disk: [ext4]                  # scratch disks, each found by its name as serial number

Where it is known not to be there the outcome is `n/a`, whatever the rows say, and the scenario is
not run. Where it is there the guest finds out by itself: `n/a` is a mismatch then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.catalog.rows import ConfigTest, Facts, all_hold, read_config_test
from harness.catalog.yamlfile import Node

# A scratch disk by name: what the kernel must have built in to use it.
_BLOCK = "CONFIG_VIRTIO_BLK"
DISKS = {
    "ext4": (_BLOCK, "CONFIG_EXT4_FS"),
    "btrfs": (_BLOCK, "CONFIG_BTRFS_FS"),
    "gfs2": (_BLOCK, "CONFIG_GFS2_FS"),
    "swap": (_BLOCK, "CONFIG_SWAP"),
    "raw": (_BLOCK,),
}
_MODULES = "CONFIG_MODULES"


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Prerequisites of one scenario; without any, it runs everywhere."""

    config: tuple[ConfigTest, ...] = ()  # what was declared, and what disk and module imply
    module: bool = False
    disks: tuple[str, ...] = ()
    declared: str = field(default="", compare=False)  # FILE:LINE

    def met(self, facts: Facts) -> bool | None:
        """None: that depends on a .config that is not at hand."""
        return all_hold(
            facts.module or not self.module,
            *(test.holds(facts.config) for test in self.config),
        )

    def lacking(self, facts: Facts) -> str:
        """Why they are not met, or may not be; "" where they are."""
        if self.module and not facts.module:
            return "needs the faultline module, which is built only together with a kernel"
        for test in self.config:
            held = test.holds(facts.config)
            if held is False:
                return f"needs {test}, which this kernel does not have"
            if held is None:
                return f"needs {test}, and the .config of this kernel is not at hand"
        return ""

    def __str__(self) -> str:
        """For people: "the module; disk ext4; CONFIG_EXT4_FS=y"; "" when there are none."""
        parts = ["the module"] if self.module else []
        parts += [f"disk {', '.join(self.disks)}"] if self.disks else []
        implied = _implied(self.module, self.disks)
        parts += [str(test) for test in self.config if test not in implied]
        return "; ".join(parts)


NOTHING = Needs()


def read_needs(node: Node) -> Needs:
    """The value of ``needs:``. Raises DeclarationError."""
    fields = node.record(optional=("config", "module", "disk"))
    if not fields:
        raise node.error("`needs:` is empty", "remove it, or say what is needed")
    module = "module" in fields and bool(fields["module"].choice(("true",), "value"))
    disks: tuple[str, ...] = ()
    if "disk" in fields:
        items = fields["disk"].one_or_more()
        disks = tuple(sorted({item.choice(DISKS, "disk") for item in items}))
    config = _implied(module, disks)
    if "config" in fields:
        config += tuple(map(read_config_test, fields["config"].one_or_more()))
    declared = f"{node.file}:{node.line}"
    return Needs(config=tuple(dict.fromkeys(config)), module=module, disks=disks, declared=declared)


def _implied(module: bool, disks: tuple[str, ...]) -> tuple[ConfigTest, ...]:
    symbols = [_MODULES] if module else []
    symbols += [symbol for disk in disks for symbol in DISKS[disk]]
    return tuple(ConfigTest(symbol, "y") for symbol in dict.fromkeys(symbols))
