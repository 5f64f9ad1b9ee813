"""Settings as Kamailio reads them: definitions, and tables of numbers. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

import phonenumbers

from trunkline.sip.settings import Settings

__all__ = ["settings_cfg", "spellings", "tables_cfg"]

NOTE = "# Made by `trunkline sip config`: change the settings and make it again. It holds the account's secret.\n"
RETRY_SECONDS = 0.5


def settings_cfg(settings: Settings) -> str:
    """What ``kamailio.cfg`` includes first."""
    hook, token = settings.hook(), settings.token()
    # Tells accounts apart in Redis, and hides addresses in SIP, without giving the secret away.
    tag = hashlib.sha256(f"answers {hook}".encode()).hexdigest()[:16]
    key = hashlib.sha256(f"topology {hook}".encode()).hexdigest()[:32]
    headers = "Content-Type: application/json" + (f"\\r\\nX-API-Key: {token}" if token else "")
    redis = settings.redis.get_secret_value() if settings.redis else ""
    stop_on = "|".join(str(code) for code in settings.stop_on) or "000"
    values: dict[str, str | int | None] = {
        "PEERS": _text(",".join(settings.peers)),
        "TRUSTED": _text(",".join(dict.fromkeys((*settings.peers, *_own_addresses(settings))))),
        "GATEWAY": _text(settings.gateway),
        "HOOK_RING": _text(f"{hook}/ring"),
        "HOOK_STATUS": _text(f"{hook}/status"),
        "HOOK_HEADERS": _text(headers),
        "DEADLINE_MS": settings.deadline_ms,
        # The first whole second after the caller has stopped waiting.
        "HTTP_SECONDS": settings.deadline_ms // 1000 + 1,
        "SILENT_MS": settings.silent_ms,
        "RING_MS": settings.ring_seconds * 1000,
        "STOP_ON": _text(stop_on),
        "MAX_HOPS": settings.max_hops,
        "CALLS_PER_SECOND": _text(str(settings.calls_per_second)),
        "ASKERS": _text(f"name=ask;interval=10000u;mode={settings.askers}"),
        "TELL_TRIES": int(settings.tell_minutes * 60 / RETRY_SECONDS),
        "CONTROL_SOCKET": _text(f"unix:{settings.control_socket}"),
        "TOPOLOGY_KEY": _text(key),
        "TOPOLOGY_ADDRESS": _text(settings.listen[0].partition(":")[2].rpartition(":")[0]),
    }
    if settings.dialled_number_in == "to":
        values["DID_IN_TO"] = None
    if redis:
        values["WITH_REDIS"] = None
        values["REDIS_SERVER"] = _text(_redis_server(redis))
        values["REDIS_PREFIX"] = _text(f"sip:{tag}:")
        values["KEEP_SECONDS"] = settings.keep_answers_seconds
    else:
        values["REDIS_PREFIX"] = _text("")
    lines = [f"#!define {name}" if value is None else f"#!define {name} {value}" for name, value in values.items()]
    return "\n".join([NOTE, *(f"listen={each}" for each in settings.listen), *lines, ""])


def tables_cfg(settings: Settings) -> str:
    """What ``kamailio.cfg`` includes when its tables are there."""
    lines = []
    for did, number in settings.defaults.items():
        lines += [f'    $sht(defaults=>{each}) = "{number}";' for each in spellings(did)]
    if settings.default_number:
        lines.append(f'    $sht(defaults=>*) = "{settings.default_number}";')
    for number, address in settings.destinations.items():
        lines.append(f'    $sht(destinations=>{number}) = "{address}";')
    # A route must not be empty.
    lines.append("    return;")
    return "\n".join([NOTE, "event_route[htable:mod-init] {", *lines, "}", ""])


def spellings(number: str) -> list[str]:
    """The ways in which trunks write one number as the user of an address."""
    parsed = phonenumbers.parse(number)
    digits = number.removeprefix("+")
    national = re.sub(r"\D", "", phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
    return list(dict.fromkeys((number, digits, f"00{digits}", national)))


def _own_addresses(settings: Settings) -> Iterator[str]:
    """Where calls go, as far as it is said by address: requests within calls come from there."""
    for place in (settings.gateway, *(each.partition("@")[2] for each in settings.destinations.values())):
        host = re.sub(r"(?<=[^:]):\d+$", "", place.partition(";")[0]).strip("[]")
        try:
            yield str(ip_address(host))
        except ValueError:
            continue


def _redis_server(url: str) -> str:
    parts = urlsplit(url)
    secret = f";pass={parts.password}" if parts.password else ""
    return f"name=answers;addr={parts.hostname};port={parts.port or 6379};db={parts.path.strip('/') or 0}{secret}"


def _text(value: str) -> str:
    return f'"{value}"'
