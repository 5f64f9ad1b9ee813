"""Apache Kafka in KRaft mode, one node, from Maven artifacts; its topics from the contracts' table."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from contracts.topics import TOPICS
from trunkline.stack import children
from trunkline.stack.layout import Layout
from trunkline.stack.problems import Problem, quote

__all__ = ["ENVIRONMENT", "checkout", "command", "ensure_topics", "home", "is_up", "prepare"]

HEAP_MB = 320
HERE = Path(__file__).resolve()
#: Java reads names of files by the locale; with none, only ASCII.
ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
# Its data is named relative to where it runs: a comma or a letter beyond Latin-1 in a path would be misread here.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
# After kill -9 a new broker waits until the session of the dead one is over; the default is nine seconds.
broker.session.timeout.ms=2500
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.bytes=67108864
log.segment.bytes=16777216
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=2
background.threads=2
"""
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
"""


def libraries(layout: Layout) -> Path:
    """The jars are shared by every run directory of a checkout."""
    return checkout() / ".run" / "kafka" / "libs"


def checkout() -> Path:
    """The checkout that this command was installed from."""
    for parent in HERE.parents:
        if (parent / "deploy" / "native").is_dir():
            return parent
    return Path.cwd()


def home(layout: Layout) -> Path:
    """Where the broker runs."""
    return layout.run_dir / "kafka"


def prepare(layout: Layout, tell: Callable[[str], None]) -> None:
    """Fetch the jars, write the configuration, format the data directory; each only if it is missing."""
    _fetch(layout, tell)
    folder = home(layout)
    data = folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    ports = layout.ports
    properties = PROPERTIES.format(port=ports["kafka"], controller=ports["kafka-controller"])
    (folder / "server.properties").write_text(properties, encoding="utf-8")
    (folder / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
    if not (data / "meta.properties").exists():
        _format(layout, data, tell)


def _fetch(layout: Layout, tell: Callable[[str], None]) -> None:
    target = libraries(layout)
    if (target / "complete").exists():
        return
    tell("fetching Apache Kafka's jars with Maven (once, about 45 MB)")
    pom = checkout() / "deploy" / "native" / "kafka" / "pom.xml"
    target.parent.mkdir(parents=True, exist_ok=True)
    # All or nothing: Maven takes a jar that is already there for whole.
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=target.parent) as fetched:
        done = children.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime",
             f"-DoutputDirectory={fetched}"], cwd=target.parent,
        )  # fmt: skip
        if done.returncode != 0:
            said = " ".join((done.stdout + done.stderr).strip().splitlines()[:3])
            raise Problem(f"Maven could not fetch Kafka: {said}", f"mvn -f {quote(pom)} dependency:copy-dependencies")
        (Path(fetched) / "complete").touch()
        Path(fetched).chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        Path(fetched).rename(target)
        # What is cleaned up at the end.
        Path(fetched).mkdir()


def _format(layout: Layout, data: Path, tell: Callable[[str], None]) -> None:
    tell("formatting Kafka's data directory")
    # A half-formatted directory is refused by the tool; nothing was ever written to it.
    shutil.rmtree(data, ignore_errors=True)
    done = children.run(
        [*_java(layout), "kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(),
         "-c", "server.properties"], cwd=data.parent, environment={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    if done.returncode != 0:
        raise Problem(f"Kafka could not format {data}: {done.stderr.strip()[-300:]}", "trunkline doctor")


def _cluster_id() -> str:
    import base64

    # The tool reads an id that begins with a dash as an option.
    return "K" + base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")[1:22]


def _java(layout: Layout) -> list[str]:
    return ["java", f"-Xmx{HEAP_MB}m", "-Xms96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-XX:-UsePerfData", "-XX:MaxMetaspaceSize=96m", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
            "-Dlog4j2.configurationFile=log4j2.properties",
            "-cp", f"{libraries(layout)}/*"]  # fmt: skip


def command(layout: Layout) -> tuple[str, ...]:
    """To be run in ``home``."""
    return (*_java(layout), "kafka.Kafka", "server.properties")


def is_up(layout: Layout) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": layout.kafka_bootstrap, "log_level": 0, "socket.timeout.ms": 2000},
                        logger=_silent())  # fmt: skip
    try:
        return bool(admin.list_topics(timeout=1.5).brokers)
    except KafkaException:
        return False


def _silent() -> object:
    import logging

    logger = logging.getLogger("confluent")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def ensure_topics(bootstrap: str) -> list[str]:
    """Create missing topics and bring settings that differ into line; return what was done."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    existing = admin.list_topics(timeout=10).topics
    new = [NewTopic(t.name, t.partitions, 1, config=t.config()) for t in TOPICS.values() if t.name not in existing]
    done = []
    for name, future in (admin.create_topics(new) if new else {}).items():
        future.result(20)
        done.append(f"created {name}")
    for topic in TOPICS.values():
        have = existing.get(topic.name)
        if have is not None and len(have.partitions) != topic.partitions:
            # More partitions would move keys to other partitions and break their order.
            raise Problem(
                f"topic {topic.name} has {len(have.partitions)} partitions, the contracts say {topic.partitions}",
                "make clean   # in a demo; elsewhere migrate the topic by hand",
            )
    kept = [t for t in TOPICS.values() if t.name in existing]
    resources = {ConfigResource(ConfigResource.Type.TOPIC, t.name): t for t in kept}
    changes = []
    for resource, future in (admin.describe_configs(list(resources)) if resources else {}).items():
        wanted, found = resources[resource].config(), future.result(20)
        differing = {k: v for k, v in wanted.items() if k not in found or found[k].value != v}
        if differing:
            entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in differing.items()]
            changes.append(ConfigResource(ConfigResource.Type.TOPIC, resource.name, incremental_configs=entries))
            done.append(f"set {', '.join(differing)} of {resource.name}")
    for future in (admin.incremental_alter_configs(changes) if changes else {}).values():
        future.result(20)
    return done


def java_version() -> int | None:
    """The major version of the Java on the path, or nothing."""
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found.group(1)) if found else None


def wait_until_up(layout: Layout, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_up(layout):
        if time.monotonic() > deadline:
            raise Problem("Kafka did not answer in time", f"trunkline logs kafka   # in {layout.logs}")
        time.sleep(0.1)
