"""The example consumers of other teams, run as they would run them, on the committed examples of real events."""

from __future__ import annotations

import os
import queue
import secrets
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.cimpl import TopicPartition

from contracts import archive
from contracts.archive import Example
from contracts.topics import TOPICS

CONSUMERS = Path(__file__).parents[2] / "examples" / "consumer"
COMMITTED = archive.read(archive.root())
LINES = 40
WITHIN = 240.0


@dataclass(frozen=True)
class Record:
    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


def record_of(example: Example) -> Record:
    return Record(example.topic, example.key.encode(), example.record_value(), example.record_headers())


def with_headers(record: Record, **changes: str) -> Record:
    return replace(
        record, headers=[(name, changes.get(name, value.decode()).encode()) for name, value in record.headers]
    )


def line_of(example: Example) -> str:
    done = "deleted" if example.value is None else "took"
    return f"{done} {example.headers['ce_type']} {example.headers['ce_subject']}"


EVENTS = sorted(
    COMMITTED.examples, key=lambda example: example.value is None
)  # What exists is deleted, not the reverse.
CALL = next(each for each in EVENTS if each.topic == "call.state")
OF_NOBODY = with_headers(record_of(CALL), ce_id=f"note-{secrets.token_hex(8)}", ce_type="call.note.v1")
OF_TOMORROW = with_headers(record_of(CALL), ce_id=f"next-{secrets.token_hex(8)}", ce_type="call.state.v9")
BROKEN = replace(with_headers(record_of(CALL), ce_id=f"broken-{secrets.token_hex(8)}"), value=b'{"call_id": 7}')
FOREIGN = Record("call.state", b"somebody", b"hello", [])
AGAIN = f"again {CALL.headers['ce_id']}"
EXPECTED = Counter(
    [*(line_of(example) for example in EVENTS), AGAIN, f"ignored call.note.v1 {CALL.headers['ce_subject']}"]
)
ASIDE = 3


@pytest.fixture
def published(topics: None, kafka_bootstrap: str) -> str:
    """A consumer group that stands right before: every committed example, one of them twice, and four odd records."""
    group = f"example-{secrets.token_hex(6)}"
    _begin_here(kafka_bootstrap, group)
    publish(kafka_bootstrap, *map(record_of, EVENTS), record_of(CALL), OF_NOBODY, OF_TOMORROW, BROKEN, FOREIGN)
    return group


def publish(bootstrap: str, *records: Record) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for each in records:
        producer.produce(each.topic, each.value, each.key, headers=each.headers)
    assert producer.flush(30) == 0


def _begin_here(bootstrap: str, group: str) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    ends = []
    for topic in TOPICS.values():
        for partition in range(topic.partitions):
            place = TopicPartition(topic.name, partition)
            ends.append(TopicPartition(topic.name, partition, consumer.get_watermark_offsets(place, timeout=15)[1]))
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()


@contextmanager
def running(command: list[str], folder: Path, bootstrap: str, group: str) -> Iterator[Callable[[int], list[str]]]:
    """Start a consumer; what it yields waits for so many printed lines and returns them."""
    environment = {**os.environ, "KAFKA_BOOTSTRAP": bootstrap, "GROUP": group}
    environment["SCHEMAS"] = f"{(archive.root() / 'schemas').as_uri()}/"
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    printed: queue.Queue[str] = queue.Queue()
    told: list[str] = []
    threads = [
        threading.Thread(target=lambda: [printed.put(line.rstrip("\n")) for line in process.stdout or ()]),
        threading.Thread(target=lambda: told.extend(process.stderr or ())),
    ]
    for thread in threads:
        thread.start()

    def lines(count: int) -> list[str]:
        deadline = time.monotonic() + WITHIN
        found: list[str] = []
        while len(found) < count:
            try:
                found.append(printed.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"{len(found)} of {count} lines: {found}\n{''.join(told)}") from None
        return found

    try:
        yield lines
    finally:
        process.terminate()
        process.wait(30)
        for thread in threads:
            thread.join(30)
        process.stdout.close()
        process.stderr.close()


def check(lines: list[str]) -> None:
    aside = [line for line in lines if line.startswith("aside ")]
    assert len(aside) == ASIDE
    assert Counter(line for line in lines if line not in aside) == EXPECTED
    # A deletion comes after what it deletes.
    for example in (each for each in EVENTS if each.value is None):
        took = f"took {example.headers['ce_type']} {example.headers['ce_subject']}"
        assert took not in lines or lines.index(took) < lines.index(line_of(example))
    # Nothing that is wrong with a record repeats what stands in it.
    assert not any("hello" in line or "7}" in line for line in aside)


@pytest.mark.real
def test_the_python_consumer_takes_each_event_once(published: str, kafka_bootstrap: str, tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    command = [sys.executable, "consume.py", str(state), *TOPICS]
    with running(command, CONSUMERS / "python", kafka_bootstrap, published) as lines:
        check(lines(EXPECTED.total() + ASIDE))

    with sqlite3.connect(state) as db:
        keys = {row[0] for row in db.execute("SELECT key FROM entity WHERE topic = 'directory.lead'")}
        deleted = {each.key.encode() for each in EVENTS if each.topic == "directory.lead" and each.value is None}
        assert keys == {each.key.encode() for each in EVENTS if each.topic == "directory.lead"} - deleted
        assert db.execute("SELECT count(*) FROM aside").fetchone() == (ASIDE,)
    db.close()


@pytest.mark.real
def test_the_python_consumer_knows_what_it_took_before_it_was_killed(
    published: str, kafka_bootstrap: str, tmp_path: Path
) -> None:
    command = [sys.executable, "consume.py", str(tmp_path / "state.db"), "call.state"]
    with running(command, CONSUMERS / "python", kafka_bootstrap, published) as lines:
        first = lines(4)
    assert f"took call.state.v1 {CALL.headers['ce_subject']}" in first
    # Redelivered to a group that has committed nothing of it: only the consumer's own memory can tell.
    again = f"{published}-again"
    _begin_here(kafka_bootstrap, again)
    publish(kafka_bootstrap, record_of(CALL))
    with running(command, CONSUMERS / "python", kafka_bootstrap, again) as lines:
        assert lines(1) == [AGAIN]


@pytest.mark.real
def test_the_node_consumer_validates_by_the_committed_schemas(
    published: str, kafka_bootstrap: str, tmp_path: Path, node_project: Callable[[Path], Path]
) -> None:
    folder = node_project(CONSUMERS / "node")
    command = ["node", "consume.mjs", str(tmp_path / "seen.txt"), *TOPICS]
    with running(command, folder, kafka_bootstrap, published) as lines:
        found = lines(EXPECTED.total() + ASIDE)

    check(found)
    assert "aside call.state.v9 is newer than this consumer" in found
    assert any(line.startswith("aside call.state.v1 / required") for line in found)
    assert len((tmp_path / "seen.txt").read_text(encoding="utf-8").split()) == len(EVENTS) + ASIDE


def test_the_python_consumer_fits_on_a_screen_and_needs_little() -> None:
    source = (CONSUMERS / "python" / "consume.py").read_text(encoding="utf-8")
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}

    assert len(source.splitlines()) <= LINES
    assert imported - set(sys.stdlib_module_names) == {"confluent_kafka", "contracts"}
