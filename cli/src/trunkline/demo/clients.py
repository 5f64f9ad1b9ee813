"""What the outside world does to Trunkline: a PBX that rings, an administrator, a business at its directory."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

__all__ = ["Answer", "Directory", "GenericPbx", "Platform", "TwilioPbx", "twilio_signature"]

TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a PBX got for its question, and how long it waited."""

    status: int
    body: Any
    ms: float

    @property
    def first(self) -> dict[str, Any]:
        """The first destination of a generic answer."""
        found: dict[str, Any] = self.body["destinations"][0]
        return found


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The admin's view: makes tenants and their keys."""

    console_url: str
    admin_token: str

    def tenant(self, slug: str, **values: str) -> str:
        """Make a tenant, or find the one with this slug; return its id."""
        return str(self._post("/v1/tenants", {"slug": slug, **values})["tenant_id"])

    def api_key(self, tenant_id: str, label: str) -> str:
        return str(self._post(f"/v1/tenants/{tenant_id}/api-keys", {"label": label})["api_key"])

    def user(self, tenant_id: str, email: str, password: str, role: str = "owner") -> None:
        self._post(f"/v1/tenants/{tenant_id}/users", {"email": email, "password": password, "role": role})

    def _post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        response = httpx.post(self.console_url + path, json=body, headers=headers, timeout=TIMEOUT)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A tenant's own view: people, numbers, customers, by API key."""

    console_url: str
    api_key: str

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("PUT", path, body)

    def get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path)

    def leave(self, staff: str, start: str, until: str, reason: str) -> None:
        self._call("POST", f"/v1/staff/{staff}/leave", {"start": start, "until": until, "reason": reason})

    def back_from_leave(self, staff: str) -> None:
        self._call("DELETE", f"/v1/staff/{staff}/leave")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        response = httpx.request(method, self.console_url + path, json=body, headers=headers, timeout=TIMEOUT)
        response.raise_for_status()
        found: dict[str, Any] = response.json() if response.content else {}
        return found


def _sent(send: Callable[[], httpx.Response], attempts: int) -> tuple[httpx.Response, float]:
    """The answer, and the milliseconds it took. What is told to be sent again is sent again, as a PBX does."""
    begun = time.perf_counter()
    response = send()
    ms = (time.perf_counter() - begun) * 1000
    if response.status_code != 503 or attempts <= 1:
        return response, ms
    time.sleep(float(response.headers.get("retry-after", "1")))
    return _sent(send, attempts - 1)


@dataclass(kw_only=True)
class GenericPbx:
    """A PBX that speaks JSON. Keeps its connection, as a PBX does."""

    router_url: str
    hook_path: str
    attempts: int = 1
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=TIMEOUT))

    def close(self) -> None:
        self.client.close()

    def ring(self, call_id: str, caller: str, did: str) -> Answer:
        return self._post("ring", {"call_id": call_id, "from": caller, "to": did})

    def status(self, call_id: str, status: str, **fields: Any) -> Answer:
        return self._post("status", {"call_id": call_id, "status": status, **fields})

    def _post(self, what: str, body: dict[str, Any]) -> Answer:
        response, ms = _sent(
            lambda: self.client.post(f"{self.router_url}{self.hook_path}/{what}", json=body), self.attempts
        )
        return Answer(status=response.status_code, body=response.json() if response.content else None, ms=ms)


def twilio_signature(auth_token: str, url: str, form: Mapping[str, str]) -> str:
    """Over the address that was configured and the sorted parameters, as Twilio's security page has it."""
    signed = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()).decode()


@dataclass(kw_only=True)
class TwilioPbx:
    """A PBX that posts signed forms and reads TwiML. ``public_url`` is what it was configured with and signs."""

    router_url: str
    hook_path: str
    auth_token: str
    public_url: str = ""
    attempts: int = 1
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=TIMEOUT))

    def close(self) -> None:
        self.client.close()

    def voice(self, call_sid: str, caller: str, did: str) -> Answer:
        return self._post("voice", self._call(call_sid, caller, did, "ringing"))

    def status(self, call_sid: str, caller: str, did: str, status: str, sequence: int) -> Answer:
        form = self._call(call_sid, caller, did, status)
        return self._post("status", {**form, "SequenceNumber": str(sequence), "CallbackSource": "call-progress-events"})

    def _call(self, call_sid: str, caller: str, did: str, status: str) -> dict[str, str]:
        return {"CallSid": call_sid, "AccountSid": "AC" + "0" * 32, "From": caller, "To": did, "CallStatus": status,
                "ApiVersion": "2010-04-01", "Direction": "inbound"}  # fmt: skip

    def _post(self, what: str, form: dict[str, str]) -> Answer:
        url = f"{self.public_url or self.router_url}{self.hook_path}/{what}"
        signature = twilio_signature(self.auth_token, url, form)
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        address, content = f"{self.router_url}{self.hook_path}/{what}", urlencode(form).encode()
        response, ms = _sent(lambda: self.client.post(address, content=content, headers=headers), self.attempts)
        return Answer(status=response.status_code, body=response.text, ms=ms)
