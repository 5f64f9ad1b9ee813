"""What an exported chat does not say of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DateOrder", "ExportOptions"]

DateOrder = Literal["dmy", "mdy", "ymd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    zone: str = "Asia/Kolkata"
    """Of the phone that wrote it; its times are local."""
    date_order: DateOrder | None = None
    """``None`` where the file as a whole is to tell."""
