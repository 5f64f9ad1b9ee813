"""One call, followed: its trace from the webhook to its effects and to a mail, and everything else that tells of it.

The services export their spans to a collector of the test's own, over the wire, as they would to a real one, and
Prometheus scrapes them. It comes before the faults: nothing else happens on the stack yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.conftest import AGENTS, Stack, Tenant, wait_for
from tests.observability.collector import CLIENT, CONSUMER, PRODUCER, SERVER, Collector, Span
from tests.observability.pace import PATIENCE
from tests.observability.prometheus import Prometheus

pytestmark = [pytest.mark.real, pytest.mark.slow]

Make = Callable[[str], Tenant]


def call_of(stack: Stack, vendor_call_id: str) -> Any:
    def find() -> Any:
        rows = stack.query("SELECT id, tenant_id FROM telephony_router.call WHERE vendor_call_id = $1", vendor_call_id)
        return rows[0] if rows else None

    return wait_for(find, "the call has no row", PATIENCE)


def trace_of(stack: Stack, call_id: Any, kind: str) -> str:
    rows = stack.query(
        "SELECT traceparent FROM telephony_router.intake WHERE call_id = $1 AND kind = $2 ORDER BY seq", call_id, kind
    )
    found: str = rows[0]["traceparent"].split("-")[1]
    return found


def told(stack: Stack, call_id: Any) -> Any:
    """What ``trunkline trace`` says, for programs."""
    (story,) = stack.run("trace", str(call_id), "--json")
    return story


def test_a_ring_is_one_trace_from_its_webhook_to_its_effects(
    stack: Stack, collector: Collector, make_tenant: Make
) -> None:
    tenant, vendor_id = make_tenant("trace"), f"trace-{uuid4().hex[:8]}"
    assert stack.pbx(tenant).ring(vendor_id, tenant.customer_number, tenant.did).status == 200
    call = call_of(stack, vendor_id)
    trace_id = trace_of(stack, call["id"], "ring")

    webhook = collector.wait("telephony-router", "POST /v1/hooks/generic/*/ring", trace_id)
    published = collector.wait("telephony-router", "call.inbound publish", trace_id)
    assert (webhook.kind, webhook.parent_id, published.kind) == (SERVER, "", PRODUCER)
    assert (published.trace_id, published.parent_id) == (trace_id, webhook.span_id)
    for consumer in ("anomaly-engine", "front-desk"):
        handled = collector.wait(consumer, "call.inbound process", trace_id)
        assert handled.kind == CONSUMER
        if handled.trace_id == trace_id:
            assert handled.parent_id == published.span_id
        else:
            assert trace_id in handled.links


def test_a_mail_leads_back_to_the_webhook_that_caused_it(stack: Stack, collector: Collector, make_tenant: Make) -> None:
    tenant, vendor_id = make_tenant("mail"), f"stuck-{uuid4().hex[:8]}"
    # A call that has been ringing for half an hour: the PBX has stopped telling.
    begun = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    answer = stack.pbx(tenant).status(
        vendor_id, "ringing", at=begun, **{"from": tenant.customer_number, "to": tenant.did}
    )
    assert answer.status == 200
    call = call_of(stack, vendor_id)
    call_trace = trace_of(stack, call["id"], "status")

    fired = collector.wait("anomaly-engine", "stuck_initiated_calls fired", call_trace)
    assert call_trace in fired.links
    collector.wait("anomaly-engine", "anomaly.fired publish", fired.trace_id)
    noted = collector.wait("notifier", "anomaly.fired process", fired.trace_id)
    assert noted.kind == CONSUMER

    # The pulse is due now, and the notifier finds it due by itself.
    stack.query(
        "UPDATE notifier.recipient SET pulse_at = to_char(now() AT TIME ZONE timezone, 'HH24:MI'), "
        "known_since = now() - interval '1 day' WHERE tenant_id = $1::text::uuid",
        tenant.id,
    )
    wait_for(lambda: stack.mails_to(tenant.owner_email), "the pulse has not arrived", PATIENCE)
    (mail,) = wait_for(lambda: mails(collector, stack, tenant), "the mail has no span", PATIENCE)
    assert (mail.service, mail.kind) == ("notifier", CLIENT)
    composed = collector.wait("notifier", "compose pulse", mail.trace_id)
    assert (mail.parent_id, composed.links) == (composed.span_id, {fired.trace_id})
    assert mail.attributes["trunkline.outcome"] == "sent"
    # And on: what became of it is told in the same trace.
    told_of = collector.wait("notifier", "notification.state publish", mail.trace_id)
    assert told_of.trace_id == mail.trace_id
    collector.wait("front-desk", "notification.state process", mail.trace_id)


def mails(collector: Collector, stack: Stack, tenant: Tenant) -> list[Span]:
    sends = stack.query("SELECT send_id FROM notifier.send WHERE tenant_id = $1::text::uuid", tenant.id)
    ids = {str(row["send_id"]) for row in sends}
    return [s for s in collector.spans if s.name == "email send" and s.attributes.get("trunkline.send_id") in ids]


def test_nothing_that_left_names_anybody(collector: Collector) -> None:
    assert len(collector.spans) > 20
    personal = ["9847", "914842", "@", "First", "hooks/generic/whk", *AGENTS.values()]
    # One span tells of a request: the framework is not to tell of it again, with the URL.
    assert not [span for span in collector.spans if span.name.startswith("fastapi")]
    assert not [(span, span.words) for span in collector.spans for word in personal if word in span.words]


def test_from_a_failed_calls_id_everything_that_tells_of_it_is_reached(
    stack: Stack, collector: Collector, prometheus: Prometheus, make_tenant: Make
) -> None:
    tenant, vendor_id = make_tenant("failed"), f"failed-{uuid4().hex[:8]}"
    stack.pbx(tenant).ring(vendor_id, tenant.customer_number, tenant.did)
    # A status that nobody knows cannot have an effect.
    stack.pbx(tenant).status(vendor_id, "gone-fishing")
    call = call_of(stack, vendor_id)

    story = wait_for(lambda: complete(told(stack, call["id"])), "the story stays incomplete", PATIENCE)
    # The database row and its webhooks.
    assert (story["id"], story["tenant"], story["vendor"]) == (str(call["id"]), tenant.id, "generic")
    ring, failed = story["webhooks"]
    assert (ring["kind"], failed["kind"]) == ("ring", "status")
    assert "gone-fishing" in failed["parked"]
    # The trace.
    assert ring["trace_id"] == trace_of(stack, call["id"], "ring")
    assert story["trace_ids"] == [ring["trace_id"], failed["trace_id"]]
    collector.wait("telephony-router", "POST /v1/hooks/generic/*/status", failed["trace_id"])
    # The Kafka record: what lies at that offset is that event.
    (event,) = story["events"]
    record = read_at(stack, event["topic"], event["partition"], event["offset"])
    headers = dict(record.headers())
    assert headers["ce_id"].decode() == event["id"]
    assert headers["traceparent"].decode().split("-")[1] == ring["trace_id"]
    assert json.loads(record.value())["call_id"] == str(call["id"])
    # The log.
    (line,) = [each for each in story["logs"] if each["event"] == "webhook_parked"]
    text = (stack.layout.run_dir / line["file"]).read_text(encoding="utf-8").splitlines()[line["number"] - 1]
    assert json.loads(text)["trace_id"] == failed["trace_id"]
    # The metric: Prometheus leads from the measurements of either webhook to its trace, and back.
    for trace_id, hook in ((ring["trace_id"], "ring"), (failed["trace_id"], "status")):
        measured = {"service": "telephony-router", "route": f"/v1/hooks/generic/*/{hook}"}
        wait_for(
            lambda trace_id=trace_id, measured=measured: prometheus.exemplars(
                "trunkline_http_request_duration_seconds_bucket", trace_id, **measured
            ),
            f"no measurement of the {hook} leads to its trace",
            PATIENCE,
        )
    told_of = {each["trace_id"] for each in told(stack, call["id"])["exemplars"]}
    assert told_of == {ring["trace_id"], failed["trace_id"]}
    assert tenant.customer_number not in json.dumps(story)


def complete(story: Any) -> Any:
    """The story, once every webhook is settled and every reader has handled every event."""
    settled = all(each["processed_at"] or each["parked"] for each in story["webhooks"])
    handled = story["events"] and not any(each["waiting"] or each["offset"] is None for each in story["events"])
    return story if settled and handled and len(story["webhooks"]) == 2 else None


def read_at(stack: Stack, topic: str, partition: int, offset: int) -> Any:
    # Commits nothing: a group with offsets and without members is one that somebody is woken for.
    settings = {"group.id": "test-trace", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer({"bootstrap.servers": stack.layout.kafka_bootstrap, **settings})
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        return wait_for(lambda: consumer.poll(1.0), "there is no record at this offset", PATIENCE)
    finally:
        consumer.close()


def test_an_event_that_a_consumer_parked_is_told_with_its_reason(
    stack: Stack, collector: Collector, make_tenant: Make
) -> None:
    tenant, vendor_id = make_tenant("parked"), f"parked-{uuid4().hex[:8]}"
    stack.pbx(tenant).ring(vendor_id, tenant.customer_number, tenant.did)
    call = call_of(stack, vendor_id)
    story = wait_for(lambda: next((s for s in [told(stack, call["id"])] if s["events"][0]["offset"] is not None), None),
                     "the event is not in Kafka", PATIENCE)  # fmt: skip
    event = story["events"][0]
    # The same event once more, its value spoiled, as by a producer with a bug.
    record = read_at(stack, event["topic"], event["partition"], event["offset"])
    fresh = str(uuid4())
    headers = [(n, fresh.encode() if n == "ce_id" else v) for n, v in record.headers()]
    stack.query("UPDATE telephony_router.outbox SET id = $1::text::uuid WHERE id = $2::text::uuid", fresh, event["id"])
    producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap, "log_level": 0})
    producer.produce(record.topic(), key=record.key(), value=b'{"spoiled": true}', headers=headers,
                     partition=record.partition())  # fmt: skip
    assert producer.flush(10) == 0

    def parked() -> Any:
        (event,) = told(stack, call["id"])["events"]
        return event if sum(bool(effect["parked"]) for effect in event["effects"]) == 2 else None

    event = wait_for(parked, "the event was not parked by both of its readers", PATIENCE)
    assert {effect["consumer"] for effect in event["effects"]} == {"anomaly-engine", "front-desk"}
    assert event["waiting"] == []
    told_people = stack_output(stack, call["id"])
    assert "parked by anomaly-engine" in told_people
    assert "trunkline_dead_letters_total" in told_people
    assert f"offset {event['offset']}" in told_people


def stack_output(stack: Stack, call_id: Any) -> str:
    command = [sys.executable, "-m", "trunkline", "trace", str(call_id), "--run-dir", str(stack.layout.run_dir)]
    command += ["--port-base", str(stack.layout.port_base)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_call_that_nobody_knows_is_a_sentence(stack: Stack) -> None:
    with pytest.raises(RuntimeError, match="no webhook of a call"):
        stack.run("trace", str(uuid4()))


def test_a_collector_that_is_away_holds_nobody_up(stack: Stack, collector: Collector, make_tenant: Make) -> None:
    """Last here: from now on the collector is gone."""
    collector.close()
    tenant = make_tenant("away")
    answers = [
        stack.pbx(tenant).ring(f"away-{n}-{uuid4().hex[:6]}", tenant.customer_number, tenant.did) for n in range(5)
    ]
    assert [answer.status for answer in answers] == [200] * 5
    assert httpx.get(f"{stack.layout.url('telephony-router')}/readyz", timeout=5).status_code == 200
