"""What an exported chat does not say of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DEFAULT_ZONE", "DateOrder", "ExportOptions"]

#: Of a business that the directory has not told of yet.
DEFAULT_ZONE = "Asia/Kolkata"

DateOrder = Literal["dmy", "mdy", "ymd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    zone: str | None = None
    """Of the phone that wrote it; its times are local. ``None`` for the one of the business."""
    date_order: DateOrder | None = None
    """``None`` where the file as a whole is to tell."""
