"""Lag, measured from outside: by its definition, and on a real broker with consumers that are behind or dead."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from trunkline.observe.kafka_lag import LagReader, Snapshot
from trunkline.observe.lag import Bounds, Lag, expected_groups, lag_of, seconds_behind
from trunkline.observe.lag_exporter import LagExporter, handler

PLACE = ("call.state", 3)


@pytest.mark.parametrize(
    ("committed", "records", "missed", "reads_on"),
    [
        pytest.param(100, 0, 0, 100, id="caught up"),
        pytest.param(60, 40, 0, 60, id="behind"),
        pytest.param(None, 80, 0, 20, id="never committed: everything that is there, never -1"),
        pytest.param(5, 80, 15, 20, id="retention took some of it"),
        pytest.param(130, 0, 0, 130, id="the broker lost data"),
    ],
)
def test_lag_counts_what_can_still_be_read(committed: int | None, records: int, missed: int, reads_on: int) -> None:
    lag = lag_of("g", PLACE, Bounds(20, 100), committed)
    assert (lag.records, lag.missed, lag.next) == (records, missed, (*PLACE, reads_on))


def test_seconds_are_the_age_of_the_record_that_is_read_next() -> None:
    behind = lag_of("g", PLACE, Bounds(20, 100), 60)
    assert seconds_behind(behind, {(*PLACE, 60): 1000.0}, now=1030.0) == 30.0
    assert seconds_behind(behind, {(*PLACE, 60): 1000.0}, now=990.0) == 0.0
    assert seconds_behind(behind, {(*PLACE, 60): None}, now=1030.0) == 0.0
    assert seconds_behind(lag_of("g", PLACE, Bounds(20, 100), 100), {(*PLACE, 100): 1.0}, now=1030.0) == 0.0
    # Not read: nobody knows. Caught up is another thing.
    assert seconds_behind(behind, {}, now=1030.0) is None


def test_a_declared_reader_that_has_never_run_is_expected() -> None:
    readers = {"call.state": ("front-desk", "anomaly-engine"), "fact.extracted": ("front-desk",)}
    known = {"front-desk-archive": ["fact.extracted"], "anomaly-engine.calls": ["call.state"], "front": ["call.state"]}
    assert expected_groups(readers, known) == {("front-desk", "call.state")}


class Broker:
    """Gives what it is told to, or fails."""

    def __init__(self) -> None:
        self.snapshot = Snapshot(
            bounds={PLACE: Bounds(20, 100)},
            lags=(lag_of("g", PLACE, Bounds(20, 100), None),),
            members={"g": 2},
            written_at={(*PLACE, 20): 900.0},
        )
        self.failure: Exception | None = None

    def read(self) -> Snapshot:
        if self.failure:
            raise self.failure
        return self.snapshot


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def exporter(broker: Broker, clock: list[float]) -> LagExporter:
    return LagExporter(broker, clock=lambda: clock[0])


Get = Callable[[str], tuple[int, str]]


@pytest.fixture
def get(exporter: LagExporter) -> Iterator[Get]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(exporter))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def ask(path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{server.server_port}{path}"
        request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the server above
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    yield ask
    server.shutdown()
    thread.join()
    server.server_close()


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(v for _, v in sorted(sample.labels.items()))] = sample.value
    return found


def test_what_was_seen_is_served_and_grows_older_between_looks(
    exporter: LagExporter, clock: list[float], get: Get
) -> None:
    assert exporter.look()
    clock[0] += 7
    found = samples(get("/metrics")[1])
    assert found["trunkline_consumer_lag_records"] == {("g", "3", "call.state"): 80}
    assert found["trunkline_consumer_lag_seconds"] == {("g", "3", "call.state"): 107}
    assert found["trunkline_consumer_missed_records"] == {("g", "3", "call.state"): 0}
    assert found["trunkline_consumer_group_members"] == {("g",): 2}
    assert found["trunkline_topic_start_offset"] == {("3", "call.state"): 20}
    assert found["trunkline_topic_end_offset"] == {("3", "call.state"): 100}
    assert found["trunkline_lag_exporter_last_success_timestamp_seconds"] == {(): 1000}
    assert found["trunkline_kafka_up"] == {(): 1}
    # It never committed: there is no offset to show.
    assert "trunkline_consumer_committed_offset" not in found


def test_a_lag_that_could_not_be_read_is_no_figure_and_not_zero(
    exporter: LagExporter, broker: Broker, get: Get
) -> None:
    broker.snapshot = replace(broker.snapshot, written_at={})
    exporter.look()
    found = samples(get("/metrics")[1])
    assert found["trunkline_consumer_lag_records"] == {("g", "3", "call.state"): 80}
    assert "trunkline_consumer_lag_seconds" not in found


def test_while_kafka_is_away_the_last_figures_stand_for_a_minute_and_then_go(
    exporter: LagExporter, broker: Broker, clock: list[float], get: Get
) -> None:
    assert get("/readyz") == (503, json.dumps({"ok": False, "why": ["no look at the broker has succeeded yet"]}))
    exporter.look()
    assert get("/readyz")[0] == 200
    broker.failure = TimeoutError()
    clock[0] += 30
    assert not exporter.look()
    assert get("/readyz")[0] == 503
    found = samples(get("/metrics")[1])
    assert found["trunkline_kafka_up"] == {(): 0}
    assert "trunkline_consumer_lag_records" in found
    clock[0] += 31
    found = samples(get("/metrics")[1])
    assert "trunkline_consumer_lag_records" not in found
    assert found["trunkline_lag_exporter_last_success_timestamp_seconds"] == {(): 1000}
    broker.failure = None
    exporter.look()
    assert "trunkline_consumer_lag_records" in samples(get("/metrics")[1])


def test_a_broker_that_stays_away_is_told_once(
    exporter: LagExporter, broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.failure = TimeoutError("gone")
    for _ in range(3):
        exporter.look()
    broker.failure = None
    exporter.look()
    broker.failure = TimeoutError("gone")
    exporter.look()
    said = "".join(capsys.readouterr())
    assert said.count("lag_not_read") == 2


def test_a_look_that_does_not_end_makes_the_exporter_say_that_it_is_stuck(
    exporter: LagExporter, broker: Broker, clock: list[float], get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[int] = []

    def never_ends() -> Snapshot:
        clock[0] += 100
        answers.append(get("/livez")[0])
        clock[0] += 100
        answers.append(get("/livez")[0])
        return broker.snapshot

    monkeypatch.setattr(exporter, "_reader", type("Slow", (), {"read": staticmethod(never_ends)}))
    exporter.look()
    assert answers == [200, 503]
    assert get("/livez")[0] == 200
    assert get("/anything")[0] == 404


# On a real broker -----------------------------------------------------------------------------------------------------


@pytest.fixture
def topic(kafka_bootstrap: str) -> Iterator[str]:
    name = f"lag.{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(15)
    yield name
    admin.delete_topics([name])[name].result(15)


@pytest.fixture
def reader(kafka_bootstrap: str) -> Iterator[LagReader]:
    reader = LagReader(kafka_bootstrap, readers={})
    yield reader
    reader.close()


def produce(bootstrap: str, topic: str, count: int, *, partition: int = 0, seconds_ago: float = 0.0) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    written = int((time.time() - seconds_ago) * 1000)
    for number in range(count):
        producer.produce(topic, value=str(number).encode() * 500, partition=partition, timestamp=written)
    assert producer.flush(15) == 0


def consume(bootstrap: str, group: str, topic: str, count: int) -> Consumer:
    """Read and commit so many records; the consumer goes on living until it is closed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "log_level": 0})  # fmt: skip
    consumer.subscribe([topic])
    read, deadline = 0, time.monotonic() + 30
    while read < count:
        assert time.monotonic() < deadline, "the records were not read in time"
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            consumer.commit(message, asynchronous=False)
            read += 1
    return consumer


def of(snapshot: Snapshot, group: str, topic: str) -> dict[int, Lag]:
    return {lag.partition[1]: lag for lag in snapshot.lags if lag.group == group and lag.partition[0] == topic}


def seconds(snapshot: Snapshot, lag: Lag) -> float:
    behind = seconds_behind(lag, snapshot.written_at, time.time())
    assert behind is not None, "it was not read"
    return behind


@pytest.mark.real
def test_a_dead_consumers_lag_grows_in_records_and_in_seconds(
    kafka_bootstrap: str, topic: str, reader: LagReader
) -> None:
    group = f"g-{uuid4().hex[:8]}"
    produce(kafka_bootstrap, topic, 3, seconds_ago=900)
    consumer = consume(kafka_bootstrap, group, topic, 3)
    caught_up = reader.read()
    lag = of(caught_up, group, topic)[0]
    assert (lag.records, lag.committed, seconds(caught_up, lag), caught_up.members[group]) == (0, 3, 0.0, 1)
    consumer.close()

    produce(kafka_bootstrap, topic, 2, seconds_ago=600)
    produce(kafka_bootstrap, topic, 5, seconds_ago=60)
    behind = reader.read()
    lag = of(behind, group, topic)[0]
    assert (lag.records, behind.members[group]) == (7, 0)
    age = seconds(behind, lag)
    # By the oldest that waits, not by the newest.
    assert 600 <= age < 660

    produce(kafka_bootstrap, topic, 1)
    later = reader.read()
    assert of(later, group, topic)[0].records == 8
    assert seconds(later, of(later, group, topic)[0]) > age

    consume(kafka_bootstrap, group, topic, 8).close()
    again = reader.read()
    assert (of(again, group, topic)[0].records, seconds(again, of(again, group, topic)[0])) == (0, 0.0)


@pytest.mark.real
def test_a_partition_that_was_never_committed_counts_from_its_start(
    kafka_bootstrap: str, topic: str, reader: LagReader
) -> None:
    group = f"g-{uuid4().hex[:8]}"
    produce(kafka_bootstrap, topic, 1)
    consume(kafka_bootstrap, group, topic, 1).close()
    produce(kafka_bootstrap, topic, 4, partition=1, seconds_ago=120)
    snapshot = reader.read()
    lag = of(snapshot, group, topic)[1]
    assert (lag.committed, lag.records, lag.missed) == (None, 4, 0)
    assert 120 <= seconds(snapshot, lag) < 180


@pytest.mark.real
def test_what_retention_took_before_it_was_read_is_seen(kafka_bootstrap: str, topic: str, reader: LagReader) -> None:
    group = f"g-{uuid4().hex[:8]}"
    produce(kafka_bootstrap, topic, 10, seconds_ago=300)
    consume(kafka_bootstrap, group, topic, 2).close()
    assert of(reader.read(), group, topic)[0].missed == 0

    admin = AdminClient({"bootstrap.servers": kafka_bootstrap, "log_level": 0})
    for deleted in admin.delete_records([TopicPartition(topic, 0, 7)]).values():
        deleted.result(15)
    snapshot = reader.read()
    lag = of(snapshot, group, topic)[0]
    assert (lag.missed, lag.records, lag.committed) == (5, 3, 2)
    assert snapshot.bounds[topic, 0] == Bounds(7, 10)
    assert 300 <= seconds(snapshot, lag) < 360
    # Had it been taken between the look at the bounds and the reading, nothing were known of its age; nor later.
    for _ in range(2):
        reader._learn({(topic, 0, 2), (topic, 0, 10)})
        assert reader._written_at == {(topic, 0, 10): None}


@pytest.mark.real
def test_groups_that_wait_at_different_places_of_one_partition_have_their_own_ages(
    kafka_bootstrap: str, topic: str, reader: LagReader
) -> None:
    early, late = (f"g-{uuid4().hex[:8]}" for _ in range(2))
    produce(kafka_bootstrap, topic, 2, seconds_ago=500)
    produce(kafka_bootstrap, topic, 2, seconds_ago=100)
    consume(kafka_bootstrap, early, topic, 1).close()
    consume(kafka_bootstrap, late, topic, 2).close()
    snapshot = reader.read()
    ages = {group: seconds(snapshot, of(snapshot, group, topic)[0]) for group in (early, late)}
    assert 500 <= ages[early] < 560
    assert 100 <= ages[late] < 160


@pytest.mark.real
def test_looking_leaves_no_trace_on_the_broker(kafka_bootstrap: str, topic: str, reader: LagReader) -> None:
    group = f"g-{uuid4().hex[:8]}"
    produce(kafka_bootstrap, topic, 3)
    consume(kafka_bootstrap, group, topic, 1).close()
    before: Any = reader.read()
    after = reader.read()
    assert of(before, group, topic) == of(after, group, topic)
    assert "trunkline-lag-exporter" not in after.members


@pytest.mark.real
def test_a_reader_that_the_contracts_declare_and_nobody_runs_is_behind_by_all_there_is(
    kafka_bootstrap: str, topic: str
) -> None:
    produce(kafka_bootstrap, topic, 6, seconds_ago=50)
    service = f"s-{uuid4().hex[:8]}"
    reader = LagReader(kafka_bootstrap, readers={topic: (service,)})
    try:
        snapshot = reader.read()
    finally:
        reader.close()
    lag = of(snapshot, service, topic)[0]
    assert (lag.records, snapshot.members[service]) == (6, 0)
    assert 50 <= seconds(snapshot, lag) < 110
