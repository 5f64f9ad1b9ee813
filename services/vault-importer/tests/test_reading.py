"""Reading conversations over HTTP, on a real Postgres."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

pytestmark = pytest.mark.real
AT = datetime(2026, 2, 1, tzinfo=UTC)


async def get(archive: Any, path: str, status: int = 200, **params: Any) -> dict[str, Any]:
    answer = await archive.client.get(path, params=params)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def said(page: dict[str, Any]) -> list[str]:
    return [message["text"] for message in page["messages"]]


async def test_a_conversation_is_paged_both_ways_from_any_message(archive: Any) -> None:
    # Several share one moment, so that the time alone is no place.
    ids = await archive.say(*[f"line {at}" for at in range(10)], sent_at=AT)
    ids = sorted(ids)
    [chat] = await archive.vault.rows("SELECT id FROM chat")
    path = f"/v1/chats/{chat['id']}/messages"
    whole = [message["id"] for message in (await get(archive, path))["messages"]]
    assert whole == [str(id_) for id_ in ids]
    newest = await get(archive, path, limit=4)
    assert [m["id"] for m in newest["messages"]] == whole[6:]
    assert (newest["older"], newest["newer"]) == (whole[6], None)
    older = await get(archive, path, limit=4, before=newest["older"])
    assert [m["id"] for m in older["messages"]] == whole[2:6]
    oldest = await get(archive, path, limit=4, before=older["older"])
    assert ([m["id"] for m in oldest["messages"]], oldest["older"]) == (whole[:2], None)
    newer = await get(archive, path, limit=4, after=oldest["newer"])
    assert [m["id"] for m in newer["messages"]] == whole[2:6]
    around = await get(archive, path, limit=4, around=whole[5])
    assert [m["id"] for m in around["messages"]] == whole[3:7]
    assert (around["older"], around["newer"]) == (whole[3], whole[6])


async def test_what_does_not_exist_or_contradicts_itself_is_refused(archive: Any) -> None:
    [id_] = await archive.say("one")
    [chat] = await archive.vault.rows("SELECT id FROM chat")
    path = f"/v1/chats/{chat['id']}/messages"
    await get(archive, path, 404, around=str(uuid4()))
    await get(archive, path, 400, around=str(id_), before=str(id_))
    await get(archive, f"/v1/chats/{uuid4()}/messages", 404)
    archive.client.headers["X-Tenant"] = str(uuid4())
    await get(archive, path, 404)
    assert (await get(archive, "/v1/conversations", number="+919847000010"))["conversations"] == []


async def test_a_message_comes_with_its_earlier_wordings(archive: Any) -> None:
    [id_] = await archive.say("the price is 950")
    await archive.say("the price is 990", id=id_, wording_rank=5, edited_at=AT)
    await archive.say("", id=id_, wording_rank=6, revoked=True, kind="revoked", raw_kind=15)
    [chat] = await archive.vault.rows("SELECT id FROM chat")
    [message] = (await get(archive, f"/v1/chats/{chat['id']}/messages"))["messages"]
    assert (message["text"], message["revoked"], message["revision"]) == ("", True, 3)
    assert [(each["revision"], each["text"]) for each in message["history"]] == [
        (1, "the price is 950"),
        (2, "the price is 990"),
    ]


async def test_only_what_said_something_else_is_an_earlier_wording(archive: Any) -> None:
    [late] = await archive.say("", kind="waiting", raw_kind=11, wording_rank=-1)
    await archive.say("it came late", id=late, wording_rank=1)
    [same] = await archive.say("the bill", kind="view_once_image", raw_kind=42)
    await archive.say("the bill", id=same, kind="image", raw_kind=1, wording_rank=5)
    [back] = await archive.say("950")
    await archive.say("990", id=back, wording_rank=5, edited_at=AT)
    await archive.say("950", id=back, wording_rank=6, edited_at=AT)
    [chat] = await archive.vault.rows("SELECT id FROM chat")
    page = await get(archive, f"/v1/chats/{chat['id']}/messages")
    history = {message["id"]: [each["text"] for each in message["history"]] for message in page["messages"]}
    assert history == {str(late): [], str(same): [], str(back): ["950", "990"]}
    assert {message["revision"] for message in page["messages"]} == {2, 3}


async def test_places_cards_and_polls_are_told(archive: Any, superuser: Any) -> None:
    place = {"latitude": 11.0001, "longitude": 76.01, "place_name": "Kottakkal depot", "system_action": 1}
    [where] = await archive.say("", kind="location", raw_kind=5, details=json.dumps(place))
    [card] = await archive.say("Ravi", kind="contact", raw_kind=4)
    [older] = await archive.say("BEGIN:VCARD\nFN:Asha\nTEL:+91 98470 00012", kind="contact", raw_kind=4)
    [poll] = await archive.say("Which day?", kind="poll", raw_kind=66)
    [lost] = await archive.say("", kind="media", raw_kind=-1, details=json.dumps({"file_name": "bill.pdf"}))
    [voter] = await archive.vault.rows("SELECT id FROM contact")
    own = "00000000-0000-0000-0000-000000000000"
    votes = ((voter["id"], 1, 0), (voter["id"], 2, 1), (own, 1, 1))
    await superuser(
        f"INSERT INTO message_detail SELECT '{archive.vault.tenant}', '{card}', 'message_vcard', n::text,"
        " jsonb_build_object('vcard', format(E'BEGIN:VCARD\\nFN:Ravi %s\\nTEL:+91984700001%s', n, n)), now(),"
        " gen_random_uuid() FROM generate_series(0, 1) n",
        f"INSERT INTO message_poll_option SELECT '{archive.vault.tenant}', '{poll}', n::text, 'Day ' || n, 5, now(),"
        " gen_random_uuid() FROM generate_series(0, 1) n",
        *(
            "INSERT INTO message_poll_vote (tenant_id, message_id, contact_id, voted_at, item, import_id) VALUES"
            f" ('{archive.vault.tenant}', '{poll}', '{who}', to_timestamp({at}), '{item}', gen_random_uuid())"
            for who, at, item in votes
        ),
    )
    [chat] = await archive.vault.rows("SELECT id FROM chat")
    path = f"/v1/chats/{chat['id']}/messages"
    shown = {message["id"]: message for message in (await get(archive, path))["messages"]}
    assert shown[str(where)]["place"] == {
        "latitude": 11.0001, "longitude": 76.01, "place_name": "Kottakkal depot", "place_address": None,
    }  # fmt: skip
    ravi = [{"name": f"Ravi {n}", "numbers": [f"+91984700001{n}"]} for n in range(2)]
    assert shown[str(card)]["cards"] == ravi
    assert shown[str(older)]["cards"] == [{"name": "Asha", "numbers": ["+91 98470 00012"]}]
    # The later vote of a person stands, and no earlier one.
    assert [(each["name"], each["votes"], each["voters"]) for each in shown[str(poll)]["poll"]] == [
        ("Day 0", 5, []),
        ("Day 1", 5, [{"name": "", "from_me": True}, {"name": "Kottakkal Traders", "from_me": False}]),
    ]
    assert (shown[str(lost)]["file"], shown[str(lost)]["file_name"]) == ("not_kept", "bill.pdf")
    assert (shown[str(card)]["place"], shown[str(where)]["file"], shown[str(where)]["poll"]) == (None, None, [])
    # Whoever waits for their day to be erased is on no card either.
    await superuser(
        "INSERT INTO erasure (tenant_id, id, subject_id, state, numbers, asked_by, asked_at, ground, scope)"
        f" VALUES ('{archive.vault.tenant}', gen_random_uuid(), gen_random_uuid(), 'locked', ARRAY['+919847000011'],"
        " 'x', now(), 'request', 'person')"
    )
    shown = {message["id"]: message for message in (await get(archive, path))["messages"]}
    assert shown[str(card)]["cards"] == ravi[:1]


async def test_messages_come_with_what_stands_beside_them(archive: Any, stores: Any) -> None:
    await archive.vault.import_(stores.beside())
    rows = archive.vault.rows
    messages: dict[str, dict[str, Any]] = {}
    for chat in await rows("SELECT id FROM chat"):
        page = await get(archive, f"/v1/chats/{chat['id']}/messages", limit=200)
        messages |= {message["id"]: message for message in page["messages"]}
    assert len(messages) == (await rows("SELECT count(*) AS n FROM message"))[0]["n"]
    for media in await rows("SELECT message_id, mime_type, name FROM message_media"):
        shown = messages[str(media["message_id"])]["media"]
        assert (shown["mime_type"], shown["name"]) == (media["mime_type"], media["name"])
    for quote in await rows("SELECT message_id, text, quoted_message_id FROM message_quote"):
        assert messages[str(quote["message_id"])]["quote"]["text"] == quote["text"]
    standing = await rows(
        "SELECT message_id, reaction FROM (SELECT DISTINCT ON (message_id, contact_id) * FROM message_reaction "
        "ORDER BY message_id, contact_id, reacted_at DESC, reaction DESC) r WHERE reaction <> ''"
    )
    shown = [(id_, each["reaction"]) for id_, message in messages.items() for each in message["reactions"]]
    assert sorted(shown) == sorted((str(row["message_id"]), row["reaction"]) for row in standing)
    assert shown


async def test_all_conversations_of_a_person_come_newest_activity_first(archive: Any) -> None:
    await archive.say("old", chat="919847000031@s.whatsapp.net")
    await archive.say("somebody else", chat="919847000033@s.whatsapp.net")
    await archive.say("new", chat="919847000032@s.whatsapp.net")
    numbers = ["+919847000031", "+919847000032"]
    whole = await get(archive, "/v1/conversations", number=numbers)
    assert [each["last_text"] for each in whole["conversations"]] == ["new", "old"]
    assert {each["number"] for each in whole["contacts"]} == set(numbers)
    first = await get(archive, "/v1/conversations", number=numbers, limit=1)
    second = await get(archive, "/v1/conversations", number=numbers, limit=1, before=first["next"])
    assert [each["last_text"] for page in (first, second) for each in page["conversations"]] == ["new", "old"]
    assert second["next"] is None
    await get(archive, "/v1/conversations", 400, number=numbers, before="yesterday")
