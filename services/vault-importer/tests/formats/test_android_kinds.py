"""The codes of Android's messages, as far as anybody has explained them."""

from __future__ import annotations

import pytest

from vault_importer.formats.android_kinds import KINDS, REVOKED_KINDS

#: What side tables confirm row by row.
CONFIRMED = {
    0: "text", 1: "image", 2: "audio", 3: "video", 4: "contact", 5: "location", 7: "system", 9: "document",
    10: "missed_call", 13: "gif", 14: "contacts", 15: "revoked", 16: "live_location", 20: "sticker",
    24: "group_invite", 42: "view_once_image", 43: "view_once_video", 64: "revoked", 66: "poll", 90: "call",
    99: "album", 106: "poll",
}  # fmt: skip
#: What decoders say, without one that says otherwise.
EXPLAINED = {
    8: "call", 11: "waiting", 25: "template", 26: "template", 27: "template", 28: "template", 32: "template_reply",
    36: "timer", 44: "order", 45: "interactive", 49: "interactive_reply", 55: "interactive", 56: "timer",
    57: "interactive", 82: "view_once_audio", 88: "bot_feedback", 92: "event", 94: "channel_invite",
    103: "status_mention", 112: "privacy", 116: "hidden",
}  # fmt: skip
#: A product or an invitation; an answer or a vote; a round video or a quote; known to one decoder; to none.
DISPUTED = (23, 46, 81, 62, 110, 118)


@pytest.mark.parametrize(("code", "kind"), {**CONFIRMED, **EXPLAINED}.items())
def test_each_code_that_is_explained_has_its_kind(code: int, kind: str) -> None:
    assert KINDS[code] == kind
    assert (code in REVOKED_KINDS) == (kind == "revoked")


def test_no_other_code_is_guessed() -> None:
    assert KINDS.keys() == CONFIRMED.keys() | EXPLAINED.keys()
    assert not KINDS.keys() & set(DISPUTED)
