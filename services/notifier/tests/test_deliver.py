"""A message leaves at most once, whatever dies when; what nobody knows is decided by a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kit.postgres import Database
from kit.testing import eventually
from notifier import store
from notifier.channels import EmailChannel
from notifier.channels.email import SmtpOptions
from notifier.deliver import Deliverer, recover
from notifier.dispatch import Dispatcher
from notifier.enqueue import enqueue_pulse
from notifier.resolve import CannotResolve, resolve
from notifier.sends import RetryPolicy, Send, SendState

from .conftest import NOW, AddRecipient, FakeChannel, MailServer
from .test_enqueue import told

pytestmark = pytest.mark.real

SENDER = "Trunkline <pulse@example.com>"
QUICK = RetryPolicy(first=timedelta(0), longest=timedelta(0), give_up=timedelta(hours=1))


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel()


@pytest.fixture
def a_deliverer(database: Database, channel: FakeChannel) -> Callable[..., Deliverer]:
    def make(**options: Any) -> Deliverer:
        values = {"channels": {"email": channel}, "sender": SENDER, "retry": QUICK, **options}
        return Deliverer(database=database, **values)

    return make


@pytest.fixture
async def send(database: Database, add_recipient: AddRecipient, tenant: UUID) -> Send:
    await add_recipient(tenant)
    return await enqueue_pulse(database, tenant, now=NOW)


async def now_of(database: Database, send: Send) -> Send:
    async with database.transaction(send.tenant) as tx:
        found = await store.find_send(tx, send.id)
    assert found is not None
    return found


async def attempts_of(database: Database, send: Send) -> list[dict[str, Any]]:
    async with database.transaction(send.tenant) as tx:
        return await store.attempts(tx, send.id)


async def run_out(database: Database, send: Send) -> None:
    """The lease of a message runs out, as if its sender had been gone for long."""
    async with database.transaction(send.tenant) as tx:
        await tx.execute("UPDATE send SET leased_until = now() - interval '1 second' WHERE leased_until IS NOT NULL")


async def states(database: Database) -> list[str]:
    return [event.state for event in await told(database)]


async def test_a_message_is_sent_and_told(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send
) -> None:
    sent = await a_deliverer().deliver(send.tenant, send.id)
    assert (sent.state, sent.version, sent.attempts) == (SendState.SENT, 2, 1)
    [(message, to)] = channel.taken
    assert (message.id, to) == (f"<{send.id}@example.com>", "owner@kochi.example")
    assert await states(database) == ["accepted", "sent"]
    [attempt] = await attempts_of(database, send)
    assert (attempt["outcome"], attempt["code"]) == ("sent", 250)
    assert attempt["data_started_at"] is not None


async def test_what_is_sent_is_not_sent_again(channel: FakeChannel, a_deliverer: Any, send: Send) -> None:
    await a_deliverer().deliver(send.tenant, send.id)
    for at_once in (False, True):
        assert await a_deliverer().deliver(send.tenant, send.id, at_once=at_once) is None
    assert len(channel.taken) == 1


async def test_many_senders_send_one_message(channel: FakeChannel, a_deliverer: Any, send: Send) -> None:
    results = await asyncio.gather(*(a_deliverer().deliver(send.tenant, send.id, at_once=True) for _ in range(8)))
    assert len([result for result in results if result is not None]) == 1
    assert len(channel.taken) == 1


@pytest.mark.parametrize("behaviour", ["down", "put_off_rcpt", "drop_at_data", "put_off_message"])
async def test_what_certainly_did_not_leave_is_tried_again(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send, behaviour: str
) -> None:
    channel.behaviour = behaviour
    waiting = await a_deliverer().deliver(send.tenant, send.id)
    assert (waiting.state, waiting.attempts) == (SendState.PENDING, 1)
    assert await states(database) == ["accepted"]
    channel.behaviour = "accept"
    sent = await a_deliverer().deliver(send.tenant, send.id)
    assert (sent.state, sent.attempts) == (SendState.SENT, 2)
    assert [attempt["outcome"] for attempt in await attempts_of(database, send)] == ["try_later", "sent"]


async def test_a_pause_is_kept_unless_somebody_asks(channel: FakeChannel, a_deliverer: Any, send: Send) -> None:
    patient = RetryPolicy(first=timedelta(hours=1), longest=timedelta(hours=1), give_up=timedelta(hours=9))
    channel.behaviour = "down"
    await a_deliverer(retry=patient).deliver(send.tenant, send.id)
    channel.behaviour = "accept"
    assert await a_deliverer().deliver(send.tenant, send.id) is None
    assert (await a_deliverer().deliver(send.tenant, send.id, at_once=True)).state is SendState.SENT


async def test_a_message_that_waits_too_long_has_failed(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send
) -> None:
    channel.behaviour = "down"
    failed = await a_deliverer(retry=RetryPolicy(give_up=timedelta(0))).deliver(send.tenant, send.id)
    assert (failed.state, failed.reason) == (SendState.FAILED, "given up after 1 attempts; the last: not now")
    assert await states(database) == ["accepted", "failed"]


@pytest.mark.parametrize("behaviour", ["refuse_rcpt", "refuse_message"])
async def test_what_is_refused_for_good_has_failed(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send, behaviour: str
) -> None:
    channel.behaviour = behaviour
    assert (await a_deliverer().deliver(send.tenant, send.id)).state is SendState.FAILED
    assert await a_deliverer().deliver(send.tenant, send.id, at_once=True) is None
    assert await states(database) == ["accepted", "failed"]


@pytest.mark.parametrize("behaviour", ["drop_after_data", "breaks", "nonsense_after_data"])
async def test_what_may_have_left_is_unknown_and_never_sent_again(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send, behaviour: str
) -> None:
    channel.behaviour = behaviour
    assert (await a_deliverer().deliver(send.tenant, send.id)).state is SendState.UNKNOWN
    channel.behaviour = "accept"
    before = len(channel.taken)
    dispatcher = Dispatcher(database=database, deliverer=a_deliverer(), every_seconds=1)
    assert await dispatcher.run_once() == 0
    assert await a_deliverer().deliver(send.tenant, send.id, at_once=True) is None
    assert len(channel.taken) == before
    assert await states(database) == ["accepted", "unknown"]


async def test_an_attempt_that_takes_too_long_is_unknown_once_the_message_left(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send
) -> None:
    channel.gate = asyncio.Event()
    settled = await a_deliverer(lease=timedelta(seconds=0.4)).deliver(send.tenant, send.id)
    assert settled.state is SendState.UNKNOWN


async def killed_in_an_attempt(deliverer: Deliverer, send: Send, channel: FakeChannel, *, entered: bool) -> None:
    """Its process dies: nothing of it runs any more, not even what would clean up."""
    if not entered:
        async with deliverer.database.transaction(send.tenant) as tx:
            assert await store.lease_send(tx, send.id, lease=UUID(int=7), length=timedelta(hours=1), at_once=True)
        return
    channel.gate = asyncio.Event()
    task = asyncio.create_task(deliverer.deliver(send.tenant, send.id))
    await eventually(lambda: channel.taken)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    channel.gate = None


@pytest.mark.parametrize("entered", [False, True])
async def test_killed_before_the_message_left_it_is_sent_and_after_it_nobody_knows(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send, entered: bool
) -> None:
    await killed_in_an_attempt(a_deliverer(), send, channel, entered=entered)
    assert (await now_of(database, send)).state is SendState.SENDING
    dispatcher = Dispatcher(database=database, deliverer=a_deliverer(), every_seconds=1)
    assert await dispatcher.run_once() == 0, "the lease is still good"
    await run_out(database, send)
    await dispatcher.run_once()
    after = await now_of(database, send)
    assert len(channel.taken) == 1
    if entered:
        assert (after.state, after.reason) == (SendState.UNKNOWN, store.LEASE_RAN_OUT)
        assert await states(database) == ["accepted", "unknown"]
    else:
        assert (after.state, after.attempts) == (SendState.SENT, 2)
        assert await states(database) == ["accepted", "sent"]
    assert (await attempts_of(database, send))[0]["outcome"] == "abandoned"


async def test_a_sender_that_wakes_up_late_sends_nothing(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send
) -> None:
    class Sleeper(FakeChannel):
        async def send(self, message: Any, to: str, *, entering: Any) -> Any:
            await run_out(database, send)
            await recover(database, now=datetime.now(UTC))
            return await super().send(message, to, entering=entering)

    sleeper = Sleeper()
    assert await a_deliverer(channels={"email": sleeper}).deliver(send.tenant, send.id) is None
    assert sleeper.taken == []
    assert (await now_of(database, send)).state is SendState.PENDING
    assert (await a_deliverer().deliver(send.tenant, send.id)).state is SendState.SENT


async def test_a_late_certainty_replaces_unknown(database: Database, a_deliverer: Any, send: Send) -> None:
    class Slow(FakeChannel):
        async def send(self, message: Any, to: str, *, entering: Any) -> Any:
            receipt = await super().send(message, to, entering=entering)
            await run_out(database, send)
            await recover(database, now=datetime.now(UTC))
            return receipt

    assert (await a_deliverer(channels={"email": Slow()}).deliver(send.tenant, send.id)).state is SendState.SENT
    assert await states(database) == ["accepted", "unknown", "sent"]
    assert [event.version for event in await told(database)] == [1, 2, 3]


async def test_an_outcome_waits_for_the_database(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = store.settle_send, [ConnectionError(), ConnectionError()]

    async def fails_twice(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(*args, **options)

    monkeypatch.setattr("notifier.store.settle_send", fails_twice)
    monkeypatch.setattr("notifier.deliver.SETTLE_PAUSE_SECONDS", 0.01)
    assert (await a_deliverer().deliver(send.tenant, send.id)).state is SendState.SENT
    assert len(channel.taken) == 1


@pytest.mark.parametrize(("decision", "state"), [("sent", SendState.SENT), ("resend", SendState.PENDING)])
async def test_an_operator_decides_what_nobody_knows(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send, decision: Any, state: SendState
) -> None:
    channel.behaviour = "drop_after_data"
    await a_deliverer().deliver(send.tenant, send.id)
    resolved = await resolve(database, send.id, decision=decision, reason="seen in the log", by="ops", now=NOW)
    assert resolved.state is state
    async with database.transaction(send.tenant) as tx:
        [audit] = await tx.fetch("SELECT * FROM send_resolution")
    assert (audit["from_state"], audit["to_state"], audit["resolved_by"]) == ("unknown", state.value, "ops")
    assert audit["reason"] == "seen in the log"
    channel.behaviour = "accept"
    await Dispatcher(database=database, deliverer=a_deliverer(), every_seconds=1).run_once()
    assert len(channel.taken) == (2 if decision == "resend" else 1)
    assert len({message.id for message, _ in channel.taken}) == 1
    assert (await now_of(database, send)).state is SendState.SENT


async def test_what_is_certain_is_not_decided_again(database: Database, a_deliverer: Any, send: Send) -> None:
    with pytest.raises(CannotResolve, match="--resend is for one that is failed, unknown"):
        await resolve(database, send.id, decision="resend", reason="why not", by="ops", now=NOW)
    await a_deliverer().deliver(send.tenant, send.id)
    for decision in ("sent", "resend"):
        with pytest.raises(CannotResolve, match="The send is sent"):
            await resolve(database, send.id, decision=decision, reason="why not", by="ops", now=NOW)  # type: ignore[arg-type]
    with pytest.raises(CannotResolve, match="needs its reason"):
        await resolve(database, send.id, decision="sent", reason=" ", by="ops", now=NOW)
    with pytest.raises(CannotResolve, match="No send has this id"):
        await resolve(database, UUID(int=9), decision="sent", reason="x", by="ops", now=NOW)


async def test_a_decision_cannot_be_unwritten(database: Database, tenant: UUID) -> None:
    import asyncpg

    for statement in ("UPDATE send_resolution SET reason = 'x'", "DELETE FROM send_resolution"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.transaction(tenant) as tx:
                await tx.execute(statement)


async def test_a_stopped_dispatcher_finishes_what_it_has_begun(
    database: Database, channel: FakeChannel, a_deliverer: Any, send: Send
) -> None:
    channel.gate = asyncio.Event()
    dispatcher = Dispatcher(database=database, deliverer=a_deliverer(), every_seconds=0.05)
    await dispatcher.start()
    await eventually(lambda: channel.taken)
    stopping = asyncio.create_task(dispatcher.stop())
    await asyncio.sleep(0)
    channel.gate.set()
    await stopping
    assert (await now_of(database, send)).state is SendState.SENT


async def test_by_mail_from_the_entry_to_the_mailbox(
    database: Database, mail_server: MailServer, a_deliverer: Any, send: Send
) -> None:
    options = SmtpOptions(host=mail_server.host, port=mail_server.port, sender=SENDER, timeout_seconds=1)
    deliverer = a_deliverer(channels={"email": EmailChannel(options)})
    mail_server.behaviour = "put_off_rcpt"
    assert (await deliverer.deliver(send.tenant, send.id)).state is SendState.PENDING
    mail_server.behaviour = "drop_after_data"
    assert (await deliverer.deliver(send.tenant, send.id)).state is SendState.UNKNOWN
    mail_server.behaviour = "accept"
    await Dispatcher(database=database, deliverer=deliverer, every_seconds=1).run_once()
    [mail] = mail_server.mails
    assert mail["Subject"] == "Kochi Traders: nothing red, 2 Mar"
    assert mail["Message-ID"] == f"<{send.id}@example.com>"
