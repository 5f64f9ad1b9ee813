"""Letters without what they say: values as shapes, keys and headers without whom they are about."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

__all__ = ["masked_headers", "masked_key", "masked_value"]

# Of an event's headers those that are made by the platform; the others, and any foreign one, can name somebody.
_PLAIN = frozenset(
    {"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_tenant", "ce_correlationid", "ce_causationid",
     "ce_dataschema", "ce_replayid", "traceparent", "tracestate", "content-type"}
)  # fmt: skip
# A name in a free-form object is the sender's text like any other.
_NAME = re.compile(r"(?!.*\d{5})[A-Za-z_]\w{0,63}", re.ASCII)
_KIND = re.compile(r"[a-z_]{1,20}:")


def masked_value(value: bytes | None) -> str:
    """What a value is made of, without what it says."""
    if value is None:
        return ""
    try:
        return json.dumps(_shape(json.loads(value)), indent=2, ensure_ascii=False)
    except ValueError:
        return f"{len(value)} bytes that are not JSON"


def masked_key(lane: str | None, secret: str) -> str | None:
    """A key without whom it is about: ``tenant:contact:…3fa9c1d2``. An opaque id stays as it is.

    The mark is the same for the same key, so keys can be told apart; without the secret it leads back to nobody.
    """
    if lane is None:
        return None
    tenant, _, entity = lane.partition(":")
    if not _is_uuid(tenant):
        tenant, entity = "", lane
    elif _is_uuid(entity):
        return lane
    kind = _KIND.match(entity)
    mark = hmac.new(secret.encode(), lane.encode(), hashlib.sha256).hexdigest()[:8]
    return f"{tenant}{':' if tenant else ''}{kind[0] if kind else ''}…{mark}"


def masked_headers(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value if name in _PLAIN or not value else "…") for name, value in headers]


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name if _NAME.fullmatch(name) else "…": _shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shape(value[0]), f"… {len(value) - 1} more"] if len(value) > 1 else [_shape(each) for each in value]
    return {str: "text", bool: "true or false", int: "number", float: "number"}.get(type(value), "null")
