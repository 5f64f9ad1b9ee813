"""Searching an archive over HTTP, on a real Postgres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from vault_importer import store
from vault_importer.accounts import Account
from vault_importer.index_messages import index_all
from vault_importer.search_api import ALL_KINDS

pytestmark = pytest.mark.real
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


async def test_words_are_found_whole_by_their_beginning_and_by_a_part(archive: Any) -> None:
    await archive.say("The invoice is on its way", "Copperwire in stock", "നാളെ ഗോഡൗണിൽ എത്തിക്കാം")
    await archive.index()
    assert await archive.texts("INVOICE way") == ["The invoice is on its way"]
    assert await archive.texts("invo") == ["The invoice is on its way"]
    assert await archive.texts("perwi") == ["Copperwire in stock"]
    assert await archive.texts("ഗോഡൗണ") == ["നാളെ ഗോഡൗണിൽ എത്തിക്കാം"]
    assert await archive.texts("invoice stock") == []
    [found] = (await archive.ask("perwi"))["results"]
    assert [found["snippet"][start:end] for start, end in found["spans"]] == ["perwi"]
    assert (found["chat_name"], found["sender_name"]) == ("Kottakkal Traders", "Kottakkal Traders")


async def test_words_in_quotes_stand_side_by_side(archive: Any) -> None:
    await archive.say("red box and blue tape", "blue box and red tape")
    await archive.index()
    assert await archive.texts('"red box"') == ["red box and blue tape"]
    assert len(await archive.texts("red box")) == 2


@pytest.mark.parametrize("typed", ["9847000021", "98470 00021", "+91 98470-00021", "4700002"])
async def test_a_number_is_found_however_it_is_grouped(archive: Any, typed: str) -> None:
    said = ["ring +91 98470 00021 now", "ring 919847000021 now", "ring 98470-00021"]
    await archive.say(*said, "ring 98471 00099")
    await archive.index()
    found = await archive.texts(typed)
    assert found == said[::-1] if not typed.startswith("+91") else found == said[1::-1]


async def test_a_gstin_is_found_with_and_without_spaces(archive: Any) -> None:
    await archive.say("our GST 32AAACK1234A1ZJ", "GST: 32 AAACK 1234 A 1ZJ")
    await archive.index()
    for typed in ("32AAACK1234A1ZJ", "32 aaack 1234 a 1zj"):
        assert len(await archive.texts(typed)) == 2


async def test_another_spelling_or_script_is_found_when_the_words_are_not(archive: Any) -> None:
    await archive.say("naale varam", "നാളെ അയക്കാം", "kal bhejna", "कल भेजना")
    await archive.index()
    first = await archive.ask("naley")
    assert first["spelling"] == "alike"
    assert {each["snippet"] for each in first["results"]} == {"naale varam", "നാളെ അയക്കാം"}
    marked = [each["snippet"][slice(*each["spans"][0])] for each in first["results"]]
    assert marked == ["നാളെ", "naale"]
    assert await archive.texts("naale") == ["naale varam"]
    assert await archive.texts("naale", spelling="alike") == ["നാളെ അയക്കാം", "naale varam"]
    assert set(await archive.texts("bhejna", spelling="alike")) == {"kal bhejna", "कल भेजना"}


async def test_a_search_is_narrowed_by_where_when_who_and_what(archive: Any) -> None:
    await archive.say("rate one", from_me=True)
    await archive.say("rate two", kind="image", raw_kind=1)
    await archive.say("rate three", chat="919847000077@s.whatsapp.net")
    await archive.index()
    [row] = [each for each in (await archive.ask("rate"))["results"] if each["snippet"] == "rate three"]
    assert await archive.texts("rate") == ["rate three", "rate two", "rate one"]
    assert await archive.texts("rate", chat=row["chat_id"]) == ["rate three"]
    assert await archive.texts("rate", contact=row["sender_id"]) == ["rate three"]
    assert await archive.texts("rate", account=str(archive.vault.account.id), direction="out") == ["rate one"]
    assert await archive.texts("rate", account=str(uuid4())) == []
    assert await archive.texts("rate", media=True) == ["rate two"]
    assert await archive.texts("rate", kind="text", direction="in") == ["rate three"]
    moment = {"from": "2026-01-01T00:02:00Z", "to": "2026-01-01T00:03:00Z"}
    assert await archive.texts("rate", **moment) == ["rate two"]


async def test_with_a_file_is_whatever_has_one_by_its_kind_or_its_row(archive: Any, superuser: Any) -> None:
    [note, _, gone, _] = [
        (await archive.say(text, kind=kind, raw_kind=raw))[0]
        for text, kind, raw in (
            ("rate note", "other", 81), ("rate unexplained", "other", 90), ("rate sheet", "document", 9),
            ("rate exported", "media", -1),
        )
    ]  # fmt: skip
    await archive.say("", id=gone, kind="revoked", raw_kind=15, revoked=True, wording_rank=6)
    await archive.say("rate said")
    for id_ in (note, gone):
        await superuser(
            "INSERT INTO message_media (tenant_id, message_id, mime_type, name, caption, file_hash, original_file_hash,"
            f" file_path, as_of, import_id) VALUES ('{archive.vault.tenant}', '{id_}', '', '', '', '', '', '', now(),"
            " gen_random_uuid())"
        )
    await archive.index()
    expected = ["rate exported", "rate sheet", "rate note"]
    assert await archive.texts("rate", media=True) == expected
    assert await archive.texts("rate", media=True, kind="other") == ["rate note"]
    assert await archive.texts("rate", media=True, kind="text") == []
    # Page by page, and over what has none.
    paged: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await archive.ask("rate", media=True, limit=1, **after)
        paged += [each["snippet"] for each in page["results"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert paged == expected


async def test_every_kind_there_is_can_be_left_out(archive: Any) -> None:
    kinds = sorted(ALL_KINDS)
    for kind in kinds:
        await archive.say(f"rate {kind}", kind=kind)
    await archive.index()
    found = await archive.texts("rate", not_kind=["text", "image"], limit=100)
    assert sorted(found) == [f"rate {kind}" for kind in kinds if kind not in ("text", "image")]
    assert await archive.texts("rate", kind=["text", "image"], not_kind="text") == ["rate image"]
    assert await archive.texts("rate", kind="text", not_kind="text") == []


@pytest.mark.parametrize("order", ["newest", "rank"])
async def test_pages_follow_each_other_without_gap_or_overlap(archive: Any, order: str) -> None:
    # More than are looked at one by one, with rare ones far behind the newest.
    said = [f"{'needle ' * (1 + at % 3)}in stack {at}" if at % 400 == 0 or at > 8_950 else "hay" for at in range(9_000)]
    for at in range(0, len(said), 3_000):
        await archive.say(*said[at : at + 3_000])
    await archive.index()
    expected = [text for text in reversed(said) if "needle" in text]
    whole = await archive.texts("needle", order=order, limit=100)
    if order == "newest":
        assert whole == expected
    assert sorted(whole) == sorted(expected)
    paged: list[str] = []
    after = None
    while True:
        answer = await archive.ask("needle", order=order, limit=7, **({"after": after} if after else {}))
        paged += [each["snippet"] for each in answer["results"]]
        after = answer["next"]
        if after is None:
            break
    assert paged == whole


async def test_what_was_said_before_an_edit_or_a_revocation_is_found_and_says_so(archive: Any) -> None:
    [id_] = await archive.say("the price is 950")
    await archive.index()
    await archive.say("the price is 990", id=id_, wording_rank=5, edited_at=BEGAN)
    await archive.index()
    [found] = (await archive.ask("950"))["results"]
    assert (found["snippet"], found["in_earlier_wording"], found["revision"]) == ("the price is 950", True, 2)
    [found] = (await archive.ask("990"))["results"]
    assert (found["snippet"], found["in_earlier_wording"]) == ("the price is 990", False)


async def test_the_answer_says_how_far_the_index_is(archive: Any) -> None:
    await archive.say("not yet there")
    before = await archive.ask("there")
    assert (before["results"], before["indexed"]) == ([], {"share": 0.0, "complete": False})
    await index_all(archive.vault.database)
    after = await archive.ask("there")
    assert (len(after["results"]), after["indexed"]) == (1, {"share": 1.0, "complete": True})


async def test_a_large_archive_is_indexed_in_several_runs(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault_importer.index_messages.RUN_SECONDS", 0.0)
    monkeypatch.setattr("vault_importer.index_messages.MESSAGES_PER_CHUNK", 2)
    await archive.say("one", "two", "three")
    await index_all(archive.vault.database)
    assert (await archive.ask("two"))["indexed"]["complete"] is False
    await index_all(archive.vault.database)
    assert (await archive.ask("three"))["indexed"]["complete"] is True


async def test_what_cannot_be_asked_is_refused_with_a_sentence(archive: Any) -> None:
    for params in ({"q": ""}, {"q": "x"}, {"q": "x" * 201}, {"q": "rate", "after": "yesterday"}):
        answer = await archive.client.get("/v1/search", params=params)
        assert answer.status_code == 400, params
        assert answer.json()["detail"].endswith(".")
    # What means something to Postgres' notation means nothing here.
    assert await archive.texts("rate' | !a & (b:* <-> %_\\") == []


async def test_a_search_that_takes_too_long_ends_and_says_what_to_do(
    archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.say("slow")
    await archive.index()
    monkeypatch.setattr("vault_importer.search.STATEMENT_MS", 300)
    name = archive.vault.database._app_dsn
    blocker = await asyncpg.connect(name)
    try:
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute(f"SET LOCAL app.tenant = '{archive.vault.tenant}'")
        await blocker.execute("LOCK TABLE search_word IN ACCESS EXCLUSIVE MODE")
        answer = await archive.client.get("/v1/search", params={"q": "slow"})
        await transaction.rollback()
    finally:
        await blocker.close()
    assert answer.status_code == 503
    assert "took too long" in answer.json()["detail"]


async def test_another_tenant_finds_nothing_not_even_through_the_functions(archive: Any) -> None:
    await archive.say("secret price")
    await archive.index()
    other = uuid4()
    answer = await archive.client.get("/v1/search", params={"q": "secret"}, headers={"X-Tenant": str(other)})
    assert answer.json()["results"] == []
    stranger = Account(tenant_id=other, id=uuid4(), name="Other", number=None, sealed_key=None)
    async with archive.vault.database.transaction(other) as tx:
        await store.put_account(tx, stranger)
        for query in (
            "SELECT * FROM search_parts('secret', 10)",
            "SELECT * FROM search_alike('sekret', 0.0, 10)",
            "SELECT * FROM message_search",
            "SELECT * FROM search_word",
        ):
            assert await tx.fetch(query) == []
    connection = await asyncpg.connect(archive.vault.database._app_dsn)
    try:
        with pytest.raises(asyncpg.PostgresError, match=r"app\.tenant|uuid"):
            await connection.fetch("SELECT * FROM search_parts('secret', 10)")
    finally:
        await connection.close()


async def test_words_are_looked_up_by_the_index_and_not_by_reading_everything(archive: Any) -> None:
    for at in range(3):
        await archive.say(*[f"hay {at} {n} straw" for n in range(3_000)])
    await archive.say("needle", sent_at=BEGAN - timedelta(days=900))
    await archive.index()
    admin = await _as_owner(archive)
    try:
        await admin.execute("ANALYZE message_search")
        await admin.execute(f"SET app.tenant = '{archive.vault.tenant}'")
        plan = await admin.fetch(
            "EXPLAIN SELECT message_id FROM message_search s WHERE s.tenant_id = current_setting('app.tenant')::uuid "
            "AND s.words @@ '''needle'':*'::tsquery"
        )
    finally:
        await admin.close()
    assert "message_search_words" in " ".join(row[0] for row in plan)


async def _as_owner(archive: Any) -> Any:
    return await asyncpg.connect(archive.vault.database._app_dsn.replace("vault_importer_app", "vault_importer_owner"))
