"""JSON that others wrote, a crash cut or a disk changed."""

from __future__ import annotations

import msgspec

# What msgspec raises for bytes that are not the JSON expected: no UTF-8 and deep nesting have
# errors that are not msgspec's own.
NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
