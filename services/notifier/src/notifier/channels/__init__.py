"""The menu of channels. To add one: write ``<channel>.py`` here, name it in the table, add samples for the suite."""

from __future__ import annotations

from notifier.channels.base import Channel, Message, OutcomeUnknown, Receipt, Refused, TryLater
from notifier.channels.email import EmailChannel

__all__ = ["CHANNELS", "Channel", "EmailChannel", "Message", "OutcomeUnknown", "Receipt", "Refused", "TryLater"]

CHANNELS = {"email": EmailChannel}
