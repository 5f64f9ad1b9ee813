from __future__ import annotations

from itertools import product
from uuid import UUID, uuid4

from contracts.registry import REGISTRY
from contracts.vault import MessageImportedV1
from vault_importer.archive import RANK_REVOKED, Chat, EventTexts, Person, settle, stage, to_event
from vault_importer.formats.base import SourceMessage

PEER = Person(id=UUID(int=5), number="+919847000005", name="Anil")
DIRECT = Chat(id=UUID(int=1), kind="direct", name="Anil", peer=PEER)
GROUP = Chat(id=UUID(int=2), kind="group", name="Dispatch", peer=None)


def a_message(**changes: object) -> SourceMessage:
    message = SourceMessage(
        chat_jid="c",
        from_me=False,
        key_id="AC01",
        earlier_key_ids=(),
        sender_jid="",
        sent_at_ms=1_767_600_000_123,
        kind="text",
        raw_kind=0,
        text="hello",
        edited_at_ms=0,
        revoked=False,
        forward_score=0,
        details=None,
    )
    return message._replace(**changes)  # type: ignore[arg-type]


def test_each_of_the_four_parts_tells_messages_apart() -> None:
    message = a_message()
    other = Person(id=uuid4(), number=None, name="")
    ids = {
        stage(0, message, DIRECT, None).id,
        stage(0, message, GROUP, None).id,
        stage(0, message, GROUP, other).id,
        stage(0, message._replace(from_me=True), DIRECT, None).id,
        stage(0, message._replace(key_id="AC02"), DIRECT, None).id,
    }
    assert len(ids) == 5
    assert stage(9, message._replace(text="other"), DIRECT, None).id in ids


def test_an_edited_message_is_identified_by_the_key_it_was_first_sent_under() -> None:
    written = stage(0, a_message(key_id="AC01"), DIRECT, None)
    edited = stage(0, a_message(key_id="AC02", earlier_key_ids=("AC01",), edited_at_ms=9), DIRECT, None)
    assert edited.id == written.id
    assert edited.other_keys == (stage(0, a_message(key_id="AC02"), DIRECT, None).id,)
    assert edited.wording_rank > written.wording_rank


def test_a_message_known_by_another_of_its_keys_keeps_its_id() -> None:
    known_as = uuid4()
    revoked = stage(0, a_message(key_id="R", earlier_key_ids=("E",), revoked=True, text=""), DIRECT, None)
    [row], dropped = settle([revoked], {revoked.other_keys[0]: known_as})
    assert row.id == known_as
    assert set(row.other_keys) == {revoked.id, *revoked.other_keys}
    assert (row.wording_rank, dropped) == (RANK_REVOKED, 0)


def test_of_a_message_that_comes_twice_the_later_wording_is_taken() -> None:
    edited = stage(0, a_message(key_id="AC02", earlier_key_ids=("AC01",), edited_at_ms=9, text="new"), DIRECT, None)
    written = stage(1, a_message(text="old"), DIRECT, None)
    for order in ([edited, written], [written, edited]):
        rows, dropped = settle(order, {})
        assert [row.text for row in rows] == ["new"]
        assert dropped == 1


def test_the_event_is_what_the_contract_promises() -> None:
    row = stage(0, a_message(), DIRECT, None)
    event = to_event(row, account_id=str(uuid4()), revision=2)
    decoded = REGISTRY.decode(MessageImportedV1.type, event.model_dump_json().encode())
    assert decoded == event
    assert isinstance(decoded, MessageImportedV1)
    assert decoded.entity_id() == str(DIRECT.id)
    assert (decoded.sender_number, decoded.peer_number, decoded.direction) == (PEER.number, PEER.number, "in")
    assert decoded.sent_at.microsecond == 123_000


def test_our_own_messages_have_no_sender_but_a_peer() -> None:
    event = to_event(stage(0, a_message(from_me=True), DIRECT, None), account_id="a", revision=1)
    assert (event.sender_id, event.sender_number, event.direction) == (None, None, "out")
    assert event.peer_number == PEER.number


def test_in_a_group_the_sender_is_named_and_nobody_is_the_peer() -> None:
    event = to_event(stage(0, a_message(), GROUP, PEER), account_id="a", revision=1)
    assert (event.sender_name, event.peer_number, event.chat_name) == ("Anil", None, "Dispatch")


def test_an_events_text_is_the_one_that_its_class_writes() -> None:
    account = str(uuid4())
    quick = EventTexts(account)
    named = Person(id=UUID(int=6), number=None, name='"sent_at":"\\ \x07 നന്ദി')
    wordings = [
        {"text": 'He said "sent_at":"now"\n\t\\ \x00\x1f\x7f\u2028 😀 വില', "sent_at_ms": 1},
        {"text": "", "sent_at_ms": 1_767_600_000_000, "raw_kind": -1, "kind": "other"},
        {"revoked": True, "sent_at_ms": -62_135_596_800_000},
    ]
    for chat, sender, from_me, wording, revision in product(
        (DIRECT, GROUP), (None, PEER, named), (False, True), wordings, (1, 7)
    ):
        row = stage(0, a_message(from_me=from_me, **wording), chat, sender)
        assert quick.of(row, revision) == to_event(row, account_id=account, revision=revision).model_dump_json()
