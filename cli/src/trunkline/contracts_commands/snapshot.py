"""The contracts of one tree as plain values, for comparing two of them.

Run as a program with the path of a tree's ``src`` folder, in an interpreter of its own: so an older tree is asked by
its own code, whatever it looked like then, and this process imports nothing of it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any


def snapshot() -> dict[str, Any]:
    """Headers and topics by name, events by type with both schemas, from the ``contracts`` package to be imported."""
    from contracts.envelope import HEADERS
    from contracts.registry import EVENTS
    from contracts.schemas import reader_schema, writer_schema
    from contracts.topics import TOPICS

    return {
        "headers": {header.name: {"always": header.always, "format": header.format} for header in HEADERS},
        "topics": {name: asdict(topic) for name, topic in TOPICS.items()},
        "events": {
            event.type: {
                "topic": event.topic(),
                "version": f"{event.major()}.{event.minor}",
                "writer": writer_schema(event),
                "reader": reader_schema(event),
            }
            for event in EVENTS
        },
    }


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    json.dump(snapshot(), sys.stdout)
