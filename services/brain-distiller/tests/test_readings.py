from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from brain_distiller.readings import may_mention, read, subject_of
from contracts.vault import MessageImportedV1

Build = Callable[..., MessageImportedV1]

TEXT = "ph 9847000009"
CUSTOMERS = {"+919847000001": "c-1"}


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({}, "customer:c-1"),
        ({"direction": "out"}, "customer:c-1"),
        ({"peer_number": "+919847000002"}, "contact:+919847000002"),
        ({"peer_number": None}, "chat:chat-1"),
        ({"chat_kind": "group", "peer_number": None, "sender_number": "+919847000001"}, "customer:c-1"),
        ({"chat_kind": "group", "sender_number": "+919847000003"}, "contact:+919847000003"),
        ({"chat_kind": "group", "direction": "out", "peer_number": None}, "chat:chat-1"),
        ({"chat_kind": "newsletter", "sender_number": "+919847000001"}, "chat:chat-1"),
    ],
)
def test_a_fact_belongs_to_the_person_the_message_tells_of(
    a_message: Build, changes: dict[str, Any], subject: str
) -> None:
    assert subject_of(a_message(**changes), CUSTOMERS) == subject


def test_a_revoked_or_a_systems_message_mentions_nothing(a_message: Build) -> None:
    assert read(a_message(TEXT), CUSTOMERS).mentions
    assert read(a_message(TEXT, revoked=True), CUSTOMERS).mentions == ()
    assert read(a_message(TEXT, kind="system"), CUSTOMERS).mentions == ()


@pytest.mark.parametrize("text", ["9847000009", "a@example.in", "५ लाख", "a＠example.in", "നാളെ വരാം", "call tomorrow"])  # noqa: RUF001
def test_every_text_with_a_mention_may_mention(a_message: Build, text: str) -> None:
    message = a_message(text)
    assert read(message, {}).mentions
    assert may_mention(message)


def test_chatter_mentions_nothing(a_message: Build) -> None:
    assert not may_mention(a_message("ഡെലിവറി വേണം"))
