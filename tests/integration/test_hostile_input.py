"""Whatever anybody sends to any service: a refusal that says why, never a 5xx, and nobody else waits for it."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.conftest import Stack, Tenant, new_tenant

from telephony_router.vendors import VENDORS

pytestmark = pytest.mark.real

SECONDS = 30.0
DOCUMENTS = {
    "front-desk": "/v1/openapi.json",
    "telephony-router": "/openapi.json",
    "vault-importer": "/v1/openapi.json",
    "brain-distiller": "/openapi.json",
    "anomaly-engine": "/v1/openapi.json",
    "notifier": "/v1/openapi.json",
}
HOSTILE_BODIES = {
    "nothing": b"",
    "no utf-8": b"\xff\xfe\x00{\x80",
    "half a surrogate": b'{"call_id":"\\ud800","from":"\\udfff","to":"x"}',
    "a nul": b'{"call_id":"a\\u0000b","from":"+919847000010","to":"+914842000001","status":"ringing"}',
    "deep arrays": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a number without end": b'{"call_id":' + b"9" * 60_000 + b"}",
    "not a number": b'{"call_id":NaN,"duration_seconds":1e999,"from":-1,"to":[]}',
    "one name many times": b'{"call_id":"a",' + b'"call_id":"b",' * 4_000 + b'"x":1}',
    "many fields": json.dumps({f"f{n}": n for n in range(4_000)}).encode(),
    "an array": b'[{"call_id":"a"}]',
    "a word": b"true",
    "a break in a header": b'{"call_id":"x\\r\\nSet-Cookie: a=b","from":"\\r\\nX: y","to":"","status":"ringing"}',
}
HOSTILE_FORMS = {
    "many parameters": b"&".join(b"a%d=1" % n for n in range(9_000)),
    "one parameter many times": b"CallSid=a&" * 6_000,
    "broken escapes": b"CallSid=%zz%&From=%ff%fe&To=%00",
    "a break in a header": b"CallSid=a%0d%0aSet-Cookie:%20a=b&From=%0d%0a&To=x&Status=ringing",
    "nested without end": b"Stream" + b"[a]" * 15_000 + b"=1",
    "nothing but signs": b"&&&===&;;&=%&",
}


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack, "hostile")


@pytest.fixture(scope="module")
def accounts(stack: Stack, tenant: Tenant) -> dict[str, str]:
    """The address of an account at every vendor."""
    found = {}
    for name, vendor in VENDORS.items():
        arguments = ["router", "account", "add", "--tenant", tenant.id, "--vendor", name, "--label", "Hostile"]
        token = secrets.token_hex(16) if vendor.needs_token else None
        made = stack.run(*arguments, *(["--auth-token-file", "-"] if token else []), stdin=token)
        found[name] = stack.addresses.router + made["hook_base_path"]
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=SECONDS, follow_redirects=False) as client:
        yield client


def hooks() -> list[Any]:
    return [pytest.param(name, hook, id=f"{name}-{hook}") for name, vendor in VENDORS.items() for hook in vendor.hooks]


def refused_or_taken(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    assert "set-cookie" not in response.headers
    assert "x" not in response.headers


@pytest.mark.parametrize(("vendor", "hook"), hooks())
def test_a_webhook_of_nonsense_is_refused_and_breaks_nothing(
    vendor: str, hook: str, accounts: dict[str, str], client: httpx.Client
) -> None:
    url = f"{accounts[vendor]}/{hook}"
    for method in sorted(VENDORS[vendor].methods):
        for body in HOSTILE_BODIES.values():
            refused_or_taken(client.request(method, url, content=body, headers={"content-type": "application/json"}))
        for form in HOSTILE_FORMS.values():
            kind = {"content-type": "application/x-www-form-urlencoded"}
            refused_or_taken(client.request(method, url, content=form, headers=kind))
            refused_or_taken(client.request(method, f"{url}?{form[:7_000].decode('latin-1')}"))


def test_a_ring_is_answered_after_all_of_it(stack: Stack, tenant: Tenant) -> None:
    answer = stack.pbx(tenant).ring(f"calm-{secrets.token_hex(4)}", tenant.customer_number, tenant.did)
    assert answer.status == 200
    assert answer.first["reason"] == "owner"


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "in chunks"])
def test_ten_megabytes_are_refused_before_they_are_read(
    chunked: bool, accounts: dict[str, str], client: httpx.Client
) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(160):
            yield b"x" * 65_536

    sent = pieces() if chunked else b"x" * 10_485_760
    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        # Whoever goes on sending after the answer is cut off; the answer itself may be lost on the way with it.
        assert client.post(f"{accounts['generic']}/ring", content=sent).status_code == 413


def test_whoever_holds_many_connections_open_keeps_no_caller_waiting(stack: Stack, tenant: Tenant) -> None:
    address = urlsplit(stack.addresses.router)
    with contextlib.ExitStack() as held:
        for number in range(300):
            line = held.enter_context(socket.create_connection((address.hostname, address.port), timeout=SECONDS))
            line.sendall(b"POST /v1/hooks/generic/x/ring HTTP/1.1\r\nhost: x\r\n" + b"x-a: b\r\n" * (number % 3))
        for number in range(20):
            answer = stack.pbx(tenant).ring(f"held-{number}-{secrets.token_hex(4)}", tenant.customer_number, tenant.did)
            assert answer.status == 200
            assert answer.first["reason"] == "owner"
        # They are let go by themselves; nothing of ours has closed them.
        line.settimeout(SECONDS)
        with contextlib.suppress(ConnectionError):
            assert line.recv(1) == b""


def _unreadable() -> list[bytes]:
    return [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/hooks/\xff\xfe/\xc3\x28/ring HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/hooks/generic/%00%0d%0aset-cookie:a/ring HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/hooks/generic/" + b"a/" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/hooks/generic/a/ring HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/hooks/generic/a/ring HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /v1/hooks/generic/a/ring HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n"
        b"transfer-encoding: chunked\r\n\r\nabc",
        b"POST /v1/hooks/generic/a/ring HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /metrics HTTP/1.1\r\nhost: x\r\nx-bad: a\rb\r\n\r\n",
    ]


@pytest.mark.parametrize("request_", _unreadable(), ids=range(10))
def test_what_is_hardly_http_is_refused(stack: Stack, request_: bytes) -> None:
    address = urlsplit(stack.addresses.router)
    with socket.create_connection((address.hostname, address.port), timeout=SECONDS) as line:
        line.sendall(request_)
        line.shutdown(socket.SHUT_WR)
        answer, deadline = b"", time.monotonic() + SECONDS
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < deadline and (more := line.recv(65_536)):
                answer += more
    assert not answer.startswith(b"HTTP/1.1 5")
    assert b"set-cookie" not in answer.lower().partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("service", DOCUMENTS)
def test_no_request_that_an_api_documents_or_nearly_does_breaks_it(stack: Stack, tenant: Tenant, service: str) -> None:
    token = tenant.directory.api_key if service == "front-desk" else stack.addresses.admin_token
    headers = {"Authorization": f"Bearer {token}", "X-Tenant": tenant.id}
    schema = schemathesis.openapi.from_url(stack.layout.url(service) + DOCUMENTS[service], headers=headers)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert operations
    for operation in operations:
        _try(operation, headers)


def _try(operation: Any, headers: dict[str, str]) -> None:
    @settings(
        max_examples=12, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(schemathesis.GenerationMode.NEGATIVE)))
    def send(case: Any) -> None:
        response = case.call(headers=headers, timeout=SECONDS)
        assert response.status_code < 500 or response.status_code == 503, (
            f"{operation.label}: {response.status_code} {response.text[:300]}"
        )

    send()
