"""One QEMU: its command line, process, console, results port and QMP, and the session on top.

Everything a guest prints or sends is hostile input: bounded, checked, never trusted.
"""


class QemuError(Exception):
    """QEMU is missing, too old, or did not start. The text says what to do."""
