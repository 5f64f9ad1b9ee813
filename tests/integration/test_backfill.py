"""The story of docs/howto/backfill.md: a bug ships, facts are wrong, the fix is replayed, compared and promoted.

The commands are those of the page, in its order; what they print begins as the page shows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from confluent_kafka import Producer
from tests.conftest import Stack, Tenant, import_until_done, wait_for

from contracts.anomalies import AnomalyFiredV1
from contracts.envelope import Envelope, partition_key

pytestmark = [pytest.mark.real, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "backfill.md"
# What shipped: a distiller that loses the state code, the first two characters of every GSTIN.
RELEASE_WITH_A_BUG = """
from dataclasses import replace
from brain_distiller.distillers.gstin import Gstin
from brain_distiller.settings import Settings
from brain_distiller.wiring import build
from runtime.service import main

find = Gstin.find
Gstin.extractor = "gstin/2"
Gstin.find = lambda self, *said: [replace(each, value=each.value[2:]) for each in find(self, *said)]
main(Settings, build)
"""
FACTS = "SELECT value, state FROM {table} WHERE tenant_id = $1::text::uuid AND key = 'gstin'"


@contextmanager
def released(stack: Stack) -> Iterator[None]:
    """The distiller of the bad release runs in the place of the good one."""
    stack.cli("stop", "brain-distiller")
    process = subprocess.Popen(
        [sys.executable, "-c", RELEASE_WITH_A_BUG],
        env={**os.environ, **stack.layout.environment()},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
        stack.cli("start", "brain-distiller")
        stack.wait_until_ready()


def gstins(stack: Stack, tenant: Tenant, table: str = "brain_distiller.fact") -> dict[str, str]:
    return {row["value"]: row["state"] for row in stack.query(FACTS.format(table=table), tenant.id)}


def wait_until_distilled(stack: Stack, tenant: Tenant) -> None:
    """The distiller has handled every message: what has not left the archive yet is no lag of anybody's."""
    unhandled = (
        "SELECT count(*) AS n FROM vault_importer.outbox o WHERE tenant_id = $1::text::uuid "
        "AND type = 'message.imported.v1' AND NOT EXISTS (SELECT FROM brain_distiller.inbox i "
        "WHERE i.tenant_id = o.tenant_id AND i.replay_id = '' AND i.event_id = o.id::text)"
    )
    wait_for(lambda: stack.query(unhandled, tenant.id)[0]["n"] == 0, "the distiller did not keep up")
    wait_for(lambda: stack.lag("brain-distiller") == 0, "the distiller did not commit")


def commands() -> list[tuple[list[str], list[str]]]:
    """Each command of the page with the beginnings of the lines that it shows."""
    found: list[tuple[list[str], list[str]]] = []
    story = PAGE.read_text(encoding="utf-8").partition("## Rebuild a projection")[0]
    for block in re.findall(r"```console\n(.*?)```", story, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(([each.strip("'") for each in re.findall(r"'[^']*'|\S+", line[2:])], []))
            elif line.strip() and line.strip() != "…":
                found[-1][1].append(re.split(r"\s{2,}|[:0-9]", line.strip())[0])
    return found


def follow_the_page(stack: Stack, folder: Path, since: str) -> str:
    """Run what the page says, from ``since`` instead of three hours ago; return the replay's id."""
    id_ = ""
    for words, beginnings in commands():
        given = [str(folder / word) if word.endswith(".json") else word for word in words[1:]]
        given = [id_ if re.fullmatch(r"brain-distiller\.\d{4}-[0-9a-f]{6}", word) else word for word in given]
        # The stack may be one that others have used as well.
        done = stack.cli(*(since if word == "3h" else word for word in given))
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed
        for beginning in beginnings:
            assert beginning in printed, f"{' '.join(words)} does not print {beginning!r}: {printed}"
        if "--out" in words:
            id_ = json.loads((folder / "gstin.json").read_text())["id"]
    return id_


def test_a_bug_is_replayed_away_and_nothing_is_sent_twice(
    stack: Stack, make_tenant: Callable[[str], Tenant], make_backup: Callable[..., Path], tmp_path: Path
) -> None:
    since = datetime.now(UTC).isoformat()
    tenant = make_tenant("backfill")
    backup = make_backup(tenant.customer_number, messages=1500)
    with released(stack):
        import_until_done(stack, tenant, backup)
        wait_for(lambda: len(gstins(stack, tenant, "front_desk.board_fact")) > 2, "the wrong facts did not arrive")
        wait_until_distilled(stack, tenant)
    wrong = gstins(stack, tenant)
    assert {len(value) for value in wrong} == {13}
    pulse = stack.run("notify", "pulse", "--tenant", tenant.id)
    assert pulse["state"] == "sent"
    mails = stack.mails_to(tenant.owner_email)

    id_ = follow_the_page(stack, tmp_path, since)

    after = gstins(stack, tenant)
    right = {value for value, state in after.items() if state in ("asserted", "conflicting")}
    assert {len(value) for value in right} == {15}
    assert {value[2:] for value in right} == set(wrong)
    assert all(after[value] in ("superseded", "retracted") for value in wrong)
    wait_for(lambda: gstins(stack, tenant, "front_desk.board_fact") == after, "the board did not follow")
    told = stack.query("SELECT DISTINCT type FROM brain_distiller.outbox WHERE replayid = $1", id_)
    assert [row["type"] for row in told] == ["fact.extracted.v1"]
    # A pulse is sent again only if it is a new one: the Message-ID is that of its cause.
    assert stack.run("notify", "pulse", "--tenant", tenant.id)["notification_id"] == pulse["notification_id"]
    assert len({mail["message_id"] for mail in mails}) == len(mails) == 1
    assert stack.mails_to(tenant.owner_email) == mails
    actions = stack.query("SELECT action FROM brain_distiller.replay_audit WHERE replay_id = $1 ORDER BY id", id_)
    assert [row["action"] for row in actions] == ["apply", "promote"]
    leftovers = stack.query("SELECT relname FROM pg_class WHERE relnamespace = 'brain_distiller_shadow'::regnamespace")
    assert leftovers == []


def anomaly(rule: str) -> AnomalyFiredV1:
    now = datetime.now(UTC)
    return AnomalyFiredV1(
        anomaly_id=str(uuid4()), rule=rule, rule_version="1", title=f"Told by {rule}", description="", learning="",
        severity="critical", local_day=now.astimezone(ZoneInfo("Asia/Kolkata")).date().isoformat(), as_of=now,
        fingerprint="f", evidence_total=1,
    )  # fmt: skip


def tell(stack: Stack, tenant: Tenant, event: AnomalyFiredV1, replayid: str = "") -> None:
    """All about one entity, so that the order in which they are told is the order in which they are handled."""
    envelope = Envelope(
        id=str(uuid4()), type=event.type, source="/test", time=datetime.now(UTC), tenant=UUID(tenant.id),
        subject="rules", partitionkey=partition_key(UUID(tenant.id), "rules"), replayid=replayid,
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap, "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = list(envelope.to_headers())
    payload = event.model_dump_json().encode()
    producer.produce(event.topic(), key=envelope.partitionkey.encode(), value=payload, headers=headers)
    assert producer.flush(10) == 0


def refused_replays(stack: Stack) -> float:
    """Replayed anomalies that the notifier has refused since it started."""
    text = httpx.get(f"{stack.layout.url('notifier')}/metrics", timeout=60).text
    series = 'trunkline_events_handled_total{consumer="notifier",outcome="replay_refused",topic="anomaly.fired"}'
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series))


def test_what_a_replay_tells_is_refused_by_who_writes_mails(stack: Stack, make_tenant: Callable[[str], Tenant]) -> None:
    """The same anomaly with and without a replay's id: the mail of the day knows one of them."""
    tenant, before = make_tenant("refused"), refused_replays(stack)
    tell(stack, tenant, anomaly("a-replay"), replayid="anomaly-engine.0302-0f0f0f")
    tell(stack, tenant, anomaly("live-traffic"))
    red = "SELECT rule FROM notifier.red_rule WHERE tenant_id = $1::text::uuid"
    rules = wait_for(lambda: {row["rule"] for row in stack.query(red, tenant.id)}, "the notifier heard nothing")
    # The marked one was told before, and handled before.
    assert rules == {"live-traffic"}
    wait_for(lambda: refused_replays(stack) == before + 1, "the notifier did not count a refusal")
    assert stack.run("notify", "pulse", "--tenant", tenant.id)["state"] == "sent"
    (mail,) = stack.mails_to(tenant.owner_email)
    text = httpx.get(f"{stack.addresses.mail}/api/mails/{mail['id']}", timeout=60).text
    assert "Told by live-traffic" in text
    assert "Told by a-replay" not in text


def test_a_wrong_card_is_rebuilt_from_its_events(
    stack: Stack, make_tenant: Callable[[str], Tenant], make_backup: Callable[..., Path], tmp_path: Path
) -> None:
    """The section of the page on rebuilding, for one tenant. A copy would know the versions and change nothing."""
    tenant = make_tenant("rebuilt")
    import_until_done(stack, tenant, make_backup(tenant.customer_number, messages=300))
    wait_until_distilled(stack, tenant)
    known = gstins(stack, tenant)
    wait_for(lambda: gstins(stack, tenant, "front_desk.board_fact") == known != {}, "the board did not follow")
    wrong = "UPDATE front_desk.board_fact SET value = left(value, 13) WHERE key = 'gstin' AND tenant_id = $1::uuid"
    stack.query(wrong, UUID(tenant.id))
    plan = tmp_path / "board.json"
    made = replay(stack, "plan", "front-desk", "--rebuild", "--topic", "fact.extracted", "--tenant", tenant.id, "--out",
                  str(plan))  # fmt: skip
    assert re.search(r"start empty +board_fact: rebuilt from these events", made)
    assert "incomplete" not in made
    replay(stack, "apply", str(plan), "--why", "the cards were drawn wrongly")
    id_ = json.loads(plan.read_text())["id"]
    found = json.loads(replay(stack, "diff", id_, "--json"))
    (board,) = [each for each in found["tables"] if each["table"] == "board_fact"]
    assert (board["added"], board["removed"], board["changed"], board["conflicts"]) == (0, 0, len(known), 0)
    assert all(each["columns"] == ["value"] for each in board["changes"])
    replay(stack, "promote", id_, "--why", "looked at the difference")
    assert gstins(stack, tenant, "front_desk.board_fact") == known


def replay(stack: Stack, *arguments: str) -> str:
    done = stack.cli("replay", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_archive_told_again_makes_new_facts_and_no_mail(
    stack: Stack, make_tenant: Callable[[str], Tenant], make_backup: Callable[..., Path], tmp_path: Path
) -> None:
    """The owner's store as the source: what Kafka no longer remembers reaches a consumer that lost everything."""
    tenant = make_tenant("again")
    import_until_done(stack, tenant, make_backup(tenant.customer_number, messages=600))
    wait_until_distilled(stack, tenant)
    known = gstins(stack, tenant)
    mails = len(stack.mails_to(tenant.owner_email))
    for table in ("evidence", "fact_version", "fact", "source"):
        stack.query(f"DELETE FROM brain_distiller.{table} WHERE tenant_id = $1::text::uuid", tenant.id)
    plan = tmp_path / "again.json"
    period = ("--from", "2000-01-01T00:00Z", "--to", "now")
    told = stack.cli("replay", "plan", "vault-importer", "--from-store", "--topic", "message.imported", *period,
                     "--tenant", tenant.id, "--out", str(plan))  # fmt: skip
    assert told.returncode == 0, told.stderr
    done = stack.cli("replay", "apply", str(plan), "--why", "the facts were lost", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"]["emitted"] == 600
    wait_for(lambda: gstins(stack, tenant) == known, "the facts did not come back")
    assert len(stack.mails_to(tenant.owner_email)) == mails


def test_a_run_that_is_killed_goes_on_and_handles_everything_once(
    stack: Stack, make_tenant: Callable[[str], Tenant], make_backup: Callable[..., Path], tmp_path: Path
) -> None:
    tenant = make_tenant("killed")
    import_until_done(stack, tenant, make_backup(tenant.customer_number, messages=900))
    wait_until_distilled(stack, tenant)
    known, plan = gstins(stack, tenant), tmp_path / "killed.json"
    made = stack.cli("replay", "plan", "brain-distiller", "--target", "live", "--tenant", tenant.id, "--rate", "200",
                     "--out", str(plan))  # fmt: skip
    assert made.returncode == 0, made.stderr
    id_ = json.loads(plan.read_text())["id"]
    for arguments in (("apply", str(plan), "--why", "to be killed"), ("resume", id_)):
        process = subprocess.Popen(
            [sys.executable, "-m", "trunkline", "replay", *arguments],
            env={**os.environ, **stack.layout.environment()}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        before = seen(stack, id_)
        wait_for(lambda before=before: seen(stack, id_) > before, "the replay does not move")
        process.kill()
        process.wait(60)
    assert 0 < seen(stack, id_) < 900
    done = stack.cli("replay", "resume", id_, "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["counts"]
    # What was handled and not yet noted when the process died is met again, and known to the inbox.
    assert counts["handled"] + counts.get("duplicate", 0) == counts["seen"] == 900
    inbox = "SELECT count(*) AS n FROM brain_distiller.inbox WHERE replay_id = $1"
    assert stack.query(inbox, id_)[0]["n"] == 900
    assert gstins(stack, tenant) == known


def seen(stack: Stack, id_: str) -> int:
    rows = stack.query("SELECT (counts ->> 'seen')::int AS n FROM brain_distiller.replay WHERE id = $1", id_)
    return (rows[0]["n"] or 0) if rows else 0
