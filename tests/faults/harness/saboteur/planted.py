"""Mistakes that are put into services of a running stack, to see whether a run of it catches them.

``FAULTS_BUGS`` in the environment names them, separated by commas. Each is for one process and one module of it, and is
put in right after that was executed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

__all__ = ["PLANTED", "Planted", "keyless", "planted_in"]


@dataclass(frozen=True, slots=True)
class Planted:
    process: str
    """The package, as it is run with ``python -m``."""
    module: str
    put_in: Callable[[Any], None]


def _claims_and_does_nothing(module: Any) -> None:
    async def nothing(messages: Any, tx: Any) -> None:
        return

    module.distil_messages = nothing


def _claims_in_another_transaction(module: Any) -> None:
    """And the connection is lost between the two, once: without that nobody would ever see it."""
    claim_many, lost = module.claim_many, False

    async def apart(tx: Any, consumer: str, envelopes: Any) -> Any:
        nonlocal lost
        async with tx._database.transaction(tx.tenant) as own:
            claimed = await claim_many(own, consumer, envelopes)
        if claimed and not lost:
            lost = True
            raise ConnectionResetError("as arranged")
        return claimed

    module.claim_many = apart


def keyless(make: Any) -> type:
    """The client's producer, without keys."""

    class Keyless:
        def __init__(self, settings: dict[str, Any], **rest: Any) -> None:
            # Without a key a producer stays with a partition for some time; one that does not shows it sooner.
            self._producer = make({**settings, "sticky.partitioning.linger.ms": 0}, **rest)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._producer, name)

        def __len__(self) -> int:
            return len(self._producer)

        def produce(self, topic: str, value: Any, key: Any, *rest: Any) -> None:
            self._producer.produce(topic, value, None, *rest)

    return Keyless


def _publishes_without_key(module: Any) -> None:
    module.Producer = keyless(module.Producer)


def _audits_without_link(module: Any) -> None:
    chained = module.chained

    def unlinked(record: Any, *, after: Any) -> Any:
        return chained(record, after=(after[0], bytes(32)) if after else None)

    module.chained = unlinked


PLANTED = {
    "claims_and_does_nothing": Planted("brain_distiller", "brain_distiller.distil_messages", _claims_and_does_nothing),
    "claims_in_another_transaction": Planted("front_desk", "kit.handling", _claims_in_another_transaction),
    "publishes_without_key": Planted("telephony_router", "runtime.publisher", _publishes_without_key),
    "audits_without_link": Planted("trunkline", "vault_importer.audit_store", _audits_without_link),
}


def planted_in(process: str) -> dict[str, Callable[[ModuleType], None]]:
    """What is to be put into the modules of this process."""
    names = filter(None, os.environ.get("FAULTS_BUGS", "").split(","))
    return {PLANTED[name].module: PLANTED[name].put_in for name in names if PLANTED[name].process == process}
