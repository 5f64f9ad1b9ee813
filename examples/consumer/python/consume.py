"""Takes each of Trunkline's events once: python consume.py <state.db> <topic> …"""

import os
import sqlite3
import sys

from confluent_kafka import Consumer, Message

from contracts.envelope import Envelope, MalformedEnvelope
from contracts.registry import REGISTRY, ContractViolation, UnknownMajor

KAFKA = {"group.id": os.environ.get("GROUP", "example"), "auto.offset.reset": "earliest", "enable.auto.commit": False}
TABLES = "seen (id PRIMARY KEY)", "entity (topic, key, data, PRIMARY KEY (topic, key))", "aside (reason, key, value)"


def take(record: Message) -> str:
    with db:  # The effect and the memory of the event are one transaction; only then is anything said or committed.
        try:
            envelope = Envelope.from_headers(record.headers() or [])
            if not db.execute("INSERT OR IGNORE INTO seen VALUES (?)", [envelope.id]).rowcount:
                return f"again {envelope.id}"
            if record.value() is None:
                db.execute("DELETE FROM entity WHERE topic = ? AND key = ?", [record.topic(), record.key()])
                return f"deleted {envelope.type} {envelope.subject}"
            event = REGISTRY.decode(envelope.type, record.value())
        except (MalformedEnvelope, UnknownMajor, ContractViolation) as problem:
            db.execute("INSERT INTO aside VALUES (?, ?, ?)", [str(problem), record.key(), record.value()])
            return f"aside {problem}"
        if event is not None:
            db.execute("REPLACE INTO entity VALUES (?, ?, ?)", [record.topic(), record.key(), event.model_dump_json()])
        return f"{'took' if event else 'ignored'} {envelope.type} {envelope.subject}"


db, consumer = sqlite3.connect(sys.argv[1]), Consumer(KAFKA | {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
db.executescript("".join(f"CREATE TABLE IF NOT EXISTS {table};" for table in TABLES))
consumer.subscribe(sys.argv[2:])
while True:
    for record in (each for each in consumer.consume(100, timeout=1.0) if not each.error()):
        print(take(record), flush=True)
        consumer.commit(record, asynchronous=False)
