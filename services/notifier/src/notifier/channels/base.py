"""What a channel is: it takes a message to a recipient, or says precisely why it did not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ["Channel", "Entering", "Message", "OutcomeUnknown", "Receipt", "Refused", "TryLater"]

Entering = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is sent. ``id`` stays the same in every attempt at it."""

    id: str
    subject: str
    text: str
    html: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The other side has taken the message; what it said."""

    code: int | None = None
    detail: str = ""


class Undelivered(Exception):
    """Why a message was not taken; ``reason`` is a sentence without personal data."""

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class TryLater(Undelivered):
    """Certainly nothing was taken, and it may be taken later."""


class Refused(Undelivered):
    """Certainly nothing was taken, and never will be."""


class OutcomeUnknown(Undelivered):
    """The message left, and nobody said whether it was taken. It must not be sent again by itself."""


class Channel(Protocol):
    """A way to a recipient."""

    name: str

    async def send(self, message: Message, to: str, *, entering: Entering) -> Receipt:
        """Send a message once. Raises :class:`TryLater`, :class:`Refused` or :class:`OutcomeUnknown`.

        ``entering`` is awaited once, after everything that can be refused without sending, and before the first
        byte after which the outcome may be uncertain. What it raises ends the attempt with nothing sent.
        """
