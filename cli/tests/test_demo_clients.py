"""The demo's PBXs behave as PBXs do."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from trunkline.demo.clients import GenericPbx, TwilioPbx


def answering(*statuses: int) -> tuple[httpx.Client, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        status = statuses[min(len(seen), len(statuses)) - 1]
        return httpx.Response(status, json={"action": "dial"}, headers={"retry-after": "0"} if status == 503 else {})

    return httpx.Client(transport=httpx.MockTransport(answer)), seen


def generic(client: httpx.Client) -> int:
    pbx = GenericPbx(router_url="http://router", hook_path="/v1/hooks/generic/s", attempts=3, client=client)
    return pbx.ring("c1", "+919847000001", "+914842000001").status


def twilio(client: httpx.Client) -> int:
    pbx = TwilioPbx(
        router_url="http://router", hook_path="/v1/hooks/twilio/s", auth_token="t", attempts=3, client=client
    )
    return pbx.voice("CA1", "+919847000001", "+914842000001").status


@pytest.mark.parametrize("ring", [generic, twilio])
def test_what_is_to_be_sent_again_is_sent_again_the_same(ring: Callable[[httpx.Client], int]) -> None:
    client, seen = answering(503, 503, 200)
    assert ring(client) == 200
    assert len(seen) == 3
    assert len({each.content for each in seen}) == 1


@pytest.mark.parametrize("ring", [generic, twilio])
def test_a_refusal_and_a_router_that_stays_away_are_told(ring: Callable[[httpx.Client], int]) -> None:
    client, seen = answering(404)
    assert (ring(client), len(seen)) == (404, 1)
    client, seen = answering(503)
    assert (ring(client), len(seen)) == (503, 3)
