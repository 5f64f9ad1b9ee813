"""Reading webhooks as vendors write them: query and body, form or JSON, nested, quoted, with words for nothing."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import python_multipart
from pydantic_core import from_json
from python_multipart.exceptions import FormParserError

from telephony_router.signals import NOT_TEXT, URL_CHARACTERS, CallSignal, Recording, clean
from telephony_router.vendors.base import PARAMETERS_MAX, BadRequest, RawRequest, whole_number

__all__ = [
    "at_path",
    "bridged",
    "call_id_of",
    "fields_of",
    "first",
    "given",
    "order_of",
    "pairs",
    "plus",
    "recorded_at",
    "unquoted",
    "word",
]

ABSENT = frozenset({"", "none", "null", "undefined", "(null)"})
CALL_ID_CHARACTERS = 128
ORDER = re.compile(r"tl[0-9a-f]{32}")
Fields = dict[str, Any]


def pairs(text: str) -> list[tuple[str, str]]:
    """The parameters of a query or a form, in their order. Raises :class:`BadRequest` for too many."""
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise BadRequest(f"more than {PARAMETERS_MAX} parameters") from None


def fields_of(request: RawRequest) -> Fields:
    """Query and body together; the body wins. Multipart when it says so, JSON also when it looks so, else a form."""
    fields: Fields = dict(pairs(request.query))
    body, kind = request.body, request.headers.get("content-type", "").lower()
    if not body.strip():
        return fields
    if kind.startswith("multipart/form-data"):
        return {**fields, **_multipart(body, request.headers["content-type"])}
    if "json" in kind or body.lstrip()[:1] in (b"{", b"["):
        return {**fields, **_json(body)}
    return {**fields, **dict(pairs(body.decode("utf-8", "replace")))}


def _json(body: bytes) -> Fields:
    try:
        values = from_json(body)
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(values, dict):
        raise BadRequest("the body is not a JSON object")
    if len(values) > PARAMETERS_MAX:
        raise BadRequest(f"more than {PARAMETERS_MAX} parameters")
    return values


def _multipart(body: bytes, content_type: str) -> Fields:
    found: Fields = {}

    def take(field: Any) -> None:
        if field.field_name is not None and len(found) < PARAMETERS_MAX:
            found[field.field_name.decode("utf-8", "replace")] = (field.value or b"").decode("utf-8", "replace")

    headers = {"Content-Type": content_type.encode("utf-8", "replace")}
    try:
        python_multipart.parse_form(headers, io.BytesIO(body), take, lambda _: None)
    except (FormParserError, ValueError):
        raise BadRequest("the multipart body is broken") from None
    return found


def given(value: object) -> str:
    """A field's text; a word for nothing is nothing."""
    text = clean(value)
    return "" if text.lower() in ABSENT else text


def first(fields: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that says something."""
    return next((text for name in names if (text := given(fields.get(name)))), "")


def word(value: object) -> str:
    """A status as vendors spell it (``NO_ANSWER``, ``no answer``), in one spelling."""
    return given(value).lower().replace("_", "-").replace(" ", "-")


def call_id_of(fields: Mapping[str, Any], *names: str) -> str:
    """The vendor's id of the call, or nothing. Raises :class:`BadRequest` for what can be no id."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, NOT_TEXT):
            raise BadRequest(f"{name} is not a string")
        if isinstance(value, str) and len(value) > CALL_ID_CHARACTERS:
            raise BadRequest(f"{name} is longer than {CALL_ID_CHARACTERS} characters")
        if text := given(value):
            return text
    return ""


def bridged(signal: CallSignal, order: str, own_statuses: Mapping[str, str]) -> CallSignal:
    """A webhook of a call that we asked for, where the vendor rings the agent first: the call's own leg is the agent's,
    with statuses of its own, and the attempt is to reach the customer."""
    if not order or signal.kind != "status":
        return replace(signal, correlation=order) if order else signal
    own = not signal.attempt and not signal.leg
    status = own_statuses.get(signal.status_raw, "unknown") if own else signal.status
    return replace(signal, status=status, direction="outbound", agent_raw="", correlation=order)


def order_of(value: object) -> str:
    """Our name for a call that we asked for; nothing when the field is somebody else's."""
    text = given(value)
    return text if ORDER.fullmatch(text) else ""


def unquoted(value: object) -> str:
    """What somebody typed, which arrives with quotes around it."""
    return given(given(value).strip("\"'"))


def plus(value: object) -> str:
    """A number of a vendor who writes E.164 without its plus. Ten digits are a national number, and stay one."""
    text = given(value)
    bare = text.isascii() and text.isdigit() and not text.startswith("0") and 10 < len(text) <= 15
    return f"+{text}" if bare else text


def at_path(fields: Mapping[str, Any], path: str) -> Any:
    """A field by its name, or by the names that lead to it: ``data.call.from``."""
    if path in fields:
        return fields[path]
    found: Any = fields
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def recorded_at(
    url: object, *, own_id: object = "", seconds: object = None, channels: object = None
) -> Recording | None:
    """A recording that is there, or None when no address is given."""
    address = clean(url, URL_CHARACTERS)
    if address.lower() in ABSENT:
        return None
    return Recording(
        url=address, id=given(own_id), duration_seconds=whole_number(seconds), channels=whole_number(channels)
    )
