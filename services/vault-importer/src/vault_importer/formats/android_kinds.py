"""What Android's ``message.message_type`` codes mean. Codes that nobody has explained, or that decoders
disagree about, are ``other``: their text is kept and the raw code beside it."""

from __future__ import annotations

__all__ = ["KINDS", "MEDIA_KINDS", "REVOKED_KINDS", "WAITING"]

KINDS: dict[int, str] = {
    0: "text",
    1: "image",
    2: "audio",
    3: "video",
    4: "contact",
    5: "location",
    7: "system",
    8: "call",
    9: "document",
    10: "missed_call",
    11: "waiting",
    13: "gif",
    14: "contacts",
    15: "revoked",
    16: "live_location",
    20: "sticker",
    24: "group_invite",
    25: "template",
    26: "template",
    27: "template",
    28: "template",
    32: "template_reply",
    36: "timer",
    42: "view_once_image",
    43: "view_once_video",
    44: "order",
    45: "interactive",
    49: "interactive_reply",
    55: "interactive",
    56: "timer",
    57: "interactive",
    64: "revoked",
    66: "poll",
    82: "view_once_audio",
    88: "bot_feedback",
    90: "call",
    92: "event",
    94: "channel_invite",
    99: "album",
    103: "status_mention",
    106: "poll",
    112: "privacy",
    116: "hidden",
}

#: What has a file beside it.
MEDIA_KINDS = frozenset(
    {"image", "audio", "video", "document", "gif", "sticker", "view_once_image", "view_once_video", "view_once_audio"}
)
REVOKED_KINDS = frozenset({15, 64})
WAITING = 11
"""The phone had the envelope but not yet the key: a later backup has the message itself."""
