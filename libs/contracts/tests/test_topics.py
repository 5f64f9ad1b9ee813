from __future__ import annotations

import pytest

from contracts.topics import DAY_MS, MIB, TOPICS, Topic

SERVICES = {"front-desk", "telephony-router", "vault-importer", "brain-distiller", "anomaly-engine", "notifier"}


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_a_topic_names_services_that_exist(topic: Topic) -> None:
    assert topic.producers
    assert topic.consumers
    assert {*topic.producers, *topic.consumers} <= SERVICES


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_personal_data_is_forgotten_in_days_unless_the_topic_is_the_directory(topic: Topic) -> None:
    config = topic.config()
    if topic.cleanup == "compact":
        assert topic.name.startswith("directory.")
        assert config["cleanup.policy"] == "compact"
        return
    # Who is to be forgotten must reach a service that was away for weeks.
    days = 30 if topic.name in ("subject.erased", "erasure.receipt") else 7
    assert int(config["retention.ms"]) == days * DAY_MS
    assert int(config["segment.ms"]) == DAY_MS
    # The bound holds for the whole topic, and a segment can leave before the bound is reached.
    assert int(config["retention.bytes"]) * topic.partitions <= topic.retention_bytes
    assert MIB <= int(config["segment.bytes"]) < int(config["retention.bytes"])
