"""Deliberate bugs: mistakes that somebody would make, put in from outside, each with the check that must see it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import secrets
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.faults.harness.saboteur.planted import keyless

import kit.broker
import kit.consume
import kit.dead_letters
import kit.handling
import kit.postgres
import notifier.deliver
import notifier.sends
import runtime.publisher
import runtime.relay
import telephony_router.record
import vault_importer.audit_store
from kit.delivery import claim_many
from kit.progress import offsets_of

__all__ = ["BUGS", "Bug"]

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Bug:
    """``apply`` puts it in; ``scenario`` brings it to light; ``check`` is the invariant that must be violated."""

    name: str
    scenario: str
    check: str
    apply: Patch
    circumstance: Patch = lambda _: None
    """What happens in the scenario, with the bug and without it."""


def naive_outbox_query(patch: pytest.MonkeyPatch) -> None:
    """By sequence number alone: whoever commits late is skipped for good."""
    begin, end = runtime.relay._FETCH.index("WHERE"), runtime.relay._FETCH.index("LIMIT")
    naive = "WHERE o.seq > $3 AND $1::integer IS NOT NULL AND $2::xid8 IS NOT NULL ORDER BY o.seq "
    patch.setattr(runtime.relay, "_FETCH", runtime.relay._FETCH[:begin] + naive + runtime.relay._FETCH[end:])


def publish_without_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runtime.publisher, "Producer", keyless(runtime.publisher.Producer))


def key_lock_not_taken(patch: pytest.MonkeyPatch) -> None:
    # Everybody takes another one.
    patch.setattr(kit.postgres, "key_lock", lambda service, key: secrets.randbits(63))


def kafka_refuses_once(patch: pytest.MonkeyPatch) -> None:
    publish, refused = runtime.relay.Relay._publish, False

    async def refuse_once(self: Any, publisher: Any, rows: list[Any], **options: Any) -> Any:
        nonlocal refused
        if rows and not refused:
            refused = True
            raise runtime.publisher.PublishError("refused, as arranged")
        return await publish(self, publisher, rows, **options)

    patch.setattr(runtime.relay.Relay, "_publish", refuse_once)


def position_before_produce(patch: pytest.MonkeyPatch) -> None:
    publish = runtime.relay.Relay._publish

    async def advance_first(self: Any, publisher: Any, rows: list[Any], **options: Any) -> Any:
        if rows:
            async with self._database.system() as tx:
                await tx.execute(runtime.relay._ADVANCE, self._service, *rows[-1][-3:], self._generation, "{}")
        return await publish(self, publisher, rows, **options)

    patch.setattr(runtime.relay.Relay, "_publish", advance_first)


def relay_that_does_not_lead(patch: pytest.MonkeyPatch) -> None:
    async def wait(self: Any) -> None:
        while not self._stopping:
            await self._database.doorbell.wait()
            await asyncio.sleep(0.1)

    patch.setattr(runtime.relay.Relay, "_lead", wait)


def no_inbox_claim(patch: pytest.MonkeyPatch) -> None:
    async def all_new(tx: Any, consumer: str, envelopes: Any) -> set[str]:
        return {envelope.id for envelope in envelopes}

    patch.setattr(kit.handling, "claim_many", all_new)


def claim_in_another_transaction(patch: pytest.MonkeyPatch) -> None:
    async def apart(tx: Any, consumer: str, envelopes: Any) -> set[str]:
        async with tx._database.transaction(tx.tenant) as own:
            return await claim_many(own, consumer, envelopes)

    patch.setattr(kit.handling, "claim_many", apart)


def server_away_counts_as_handled(patch: pytest.MonkeyPatch) -> None:
    handle = kit.handling.Handling.handle

    async def swallow(self: Any, records: Any) -> None:
        try:
            await handle(self, records)
        except kit.postgres.SERVER_AWAY:
            return

    patch.setattr(kit.handling.Handling, "handle", swallow)


def offset_before_outcome(patch: pytest.MonkeyPatch) -> None:
    ours = kit.broker.BatchSource._on_batch

    # The signature is read by the library that calls it.
    @functools.wraps(ours)
    async def commit_first(self: Any, message: Any) -> None:
        await self._commit(message, offsets_of(message.raw_message), self._term)
        await ours(self, message)

    patch.setattr(kit.broker.BatchSource, "_on_batch", commit_first)


def offset_past_a_failed_record(patch: pytest.MonkeyPatch) -> None:
    async def shrug(self: Any, record: Any, envelope: Any, failure: Any) -> None:
        self._done.append(record)

    patch.setattr(kit.handling.Handling, "_park", shrug)


def key_not_parked(patch: pytest.MonkeyPatch) -> None:
    async def none(self: Any, keys: Any) -> set[str]:
        return set()

    patch.setattr(kit.dead_letters.DeadLetters, "parked_keys", none)


def parked_key_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    """Once for the batch: a later part of a key goes past what an earlier part has parked."""
    handle = kit.handling.Handling._handle_group

    async def all_together(self: Any, works: list[Any]) -> None:
        try:
            async with self._lanes:
                await self._handle_together(works)
        except Exception:
            return await handle(self, works)
        self._done.extend(work.record for work in works)
        return None

    patch.setattr(kit.handling.Handling, "_handle_group", all_together)


def dead_letter_without_value(patch: pytest.MonkeyPatch) -> None:
    park = kit.dead_letters.DeadLetters.park

    async def empty(self: Any, record: Any, *args: Any, **kwargs: Any) -> None:
        await park(self, dataclasses.replace(record, value=None), *args, **kwargs)

    patch.setattr(kit.dead_letters.DeadLetters, "park", empty)


def replay_accepted(patch: pytest.MonkeyPatch) -> None:
    make = kit.handling.Handling.__init__

    def anything_goes(self: Any, **kwargs: Any) -> None:
        make(self, **kwargs)
        self._by_kind = {slot: dataclasses.replace(s, replay="safe") for slot, s in self._by_kind.items()}

    patch.setattr(kit.handling.Handling, "__init__", anything_goes)


def consumer_that_hangs(patch: pytest.MonkeyPatch) -> None:
    async def hang(self: Any, records: Any) -> None:
        # Longer than a scenario waits, shorter than an orderly stop.
        await asyncio.sleep(6)

    patch.setattr(kit.handling.Handling, "handle", hang)


def set_instead_of_set_local(patch: pytest.MonkeyPatch) -> None:
    """For the session, over a pool that does not reset: as behind a pooler that lends connections by transaction."""
    transaction = kit.postgres.Database.transaction

    @asynccontextmanager
    async def for_the_session(self: Any, tenant: Any, **options: Any) -> Any:
        async with transaction(self, tenant, **options) as tx:
            await tx.execute("SELECT set_config('app.tenant', $1, false)", str(tenant))
            yield tx

    patch.setattr(kit.postgres.Database, "transaction", for_the_session)
    patch.setattr(kit.postgres._Connection, "get_reset_query", lambda self: "")


def unknown_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    attempt = notifier.deliver.Deliverer._attempt

    async def hopeful(self: Any, send: Any, lease: Any) -> Any:
        outcome = await attempt(self, send, lease)
        unknown = outcome.state is notifier.sends.SendState.UNKNOWN
        return dataclasses.replace(outcome, state=notifier.sends.SendState.PENDING) if unknown else outcome

    patch.setattr(notifier.deliver.Deliverer, "_attempt", hopeful)


def audit_record_not_linked(patch: pytest.MonkeyPatch) -> None:
    ours = vault_importer.audit_store.chained

    def unlinked(record: Any, *, after: Any) -> Any:
        return ours(record, after=(after[0], bytes(32)) if after else None)

    patch.setattr(vault_importer.audit_store, "chained", unlinked)


def ring_answered_without_record(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: Any, row: Any) -> Any:
        done = asyncio.get_running_loop().create_future()
        done.set_result(telephony_router.record.Recorded(where="postgres", answer=row.answer, repeated=False))
        return done

    patch.setattr(telephony_router.record.Recorder, "record", at_once)


BUGS = (
    Bug("naive_outbox_query", "overlapping_transactions", "I1", naive_outbox_query),
    Bug("publish_without_key", "one_key_many_versions", "I3", publish_without_key),
    Bug("key_lock_not_taken", "two_writers_of_one_key", "I3", key_lock_not_taken),
    Bug("position_before_produce", "a_relay_that_fails_once", "I1", position_before_produce, kafka_refuses_once),
    Bug("relay_that_does_not_lead", "an_outbox_to_drain", "I5", relay_that_does_not_lead),
    Bug("no_inbox_claim", "a_redelivery", "I2", no_inbox_claim),
    Bug("replay_accepted", "a_replay_of_what_must_not_be_replayed", "I2", replay_accepted),
    Bug("claim_in_another_transaction", "a_server_that_goes_away", "I1", claim_in_another_transaction),
    Bug("server_away_counts_as_handled", "a_server_that_goes_away", "I7", server_away_counts_as_handled),
    Bug("offset_before_outcome", "a_handler_in_the_middle", "I7", offset_before_outcome),
    Bug("offset_past_a_failed_record", "a_poison_and_its_followers", "I7", offset_past_a_failed_record),
    Bug("key_not_parked", "a_poison_and_its_followers", "I3", key_not_parked),
    Bug("parked_key_not_looked_at_again", "a_long_batch_behind_a_poison", "I3", parked_key_not_looked_at_again),
    Bug("dead_letter_without_value", "a_poison_and_its_followers", "I6", dead_letter_without_value),
    Bug("consumer_that_hangs", "a_consumer_with_work", "I9", consumer_that_hangs),
    Bug("set_instead_of_set_local", "two_tenants_on_one_pool", "I8", set_instead_of_set_local),
    Bug("unknown_is_sent_again", "a_mail_server_that_hangs_up", "I2", unknown_is_sent_again),
    Bug("audit_record_not_linked", "an_audit_log_that_grows", "I4", audit_record_not_linked),
    Bug("ring_answered_without_record", "rings_that_are_answered", "I1", ring_answered_without_record),
)
