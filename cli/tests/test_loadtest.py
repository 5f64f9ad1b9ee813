"""Load tests: when calls come, how they are told, what is measured of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, RawRequest
from trunkline.loadtest.arrivals import ARRIVALS, arrivals
from trunkline.loadtest.command import _address, app
from trunkline.loadtest.dialects import DIALECTS, Call, Shot
from trunkline.loadtest.report import percentile, report
from trunkline.loadtest.shoot import Due, Fired, shoot
from trunkline.loadtest.traffic import Plan, dues
from trunkline.stack.problems import Problem

BASE, TOKEN = "https://pbx.example/v1/hooks/x/secret", "a token to sign with"
CALL = Call(id="load-1-7", caller="+919847000010", did="+914842000001", agent="+919847000011")


def plan(**changes: object) -> Plan:
    given_ = {
        "run": "load-1", "vendor": "generic", "base": BASE, "token": "", "did": CALL.did, "agents": (CALL.agent,),
        "callers": 50, "rate": 20.0, "seconds": 5.0, "arrivals": "poisson", "burst": 10, "answered": 0.5, "seed": 3,
    }  # fmt: skip
    return Plan(**{**given_, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ARRIVALS)
def test_calls_come_at_the_rate_that_was_asked_for_and_the_same_for_a_seed(kind: str) -> None:
    times = arrivals(kind, rate=50, seconds=400, seed=5, burst=10)
    assert times == sorted(times)
    assert all(0 <= each < 400 for each in times)
    assert len(times) == pytest.approx(50 * 400, rel=0.1)
    assert times == arrivals(kind, rate=50, seconds=400, seed=5, burst=10)
    if kind != "steady":
        assert times != arrivals(kind, rate=50, seconds=400, seed=6, burst=10)


def test_a_burst_comes_at_one_moment_and_poisson_calls_do_not() -> None:
    bursts = Counter(arrivals("burst", rate=50, seconds=60, seed=1, burst=25))
    assert set(bursts.values()) == {25}
    assert max(Counter(arrivals("poisson", rate=50, seconds=60, seed=1)).values()) == 1


def _raw(shot: Shot, vendor: str) -> tuple[RawRequest, str]:
    parts = urlsplit(f"{BASE}/{shot.path}")
    hook = parts.path.rpartition("/")[2]
    request = RawRequest(
        method=shot.method, url_path=parts.path, query=parts.query, headers=dict(shot.headers), body=shot.body,
        bases=("https://pbx.example",), hook=hook, options={},
    )  # fmt: skip
    return request, hook


@pytest.mark.parametrize("vendor", DIALECTS)
def test_the_router_understands_every_webhook_of_a_call(vendor: str) -> None:
    known = VENDORS[vendor]
    account = Account(id=uuid4(), tenant=uuid4(), vendor=vendor, auth_tokens=(TOKEN,) if known.needs_token else ())
    dialect = DIALECTS[vendor]
    wanted = ("ringing", "answered", "completed", "missed")
    shots = [("ring", dialect.ring(CALL, BASE, TOKEN))]
    shots += [(status, dialect.status(CALL, status, n, BASE, TOKEN)) for n, status in enumerate(wanted)]
    for what, shot in shots:
        request, hook = _raw(shot, vendor)
        known.authenticate(request, account, datetime.now(UTC))
        signal = known.parse(request, known.hooks[hook])
        assert signal.call_id == CALL.id
        assert signal.kind == ("ring" if what == "ring" else "status")
        if what == "ring":
            assert (signal.caller_raw, signal.did_raw) == (CALL.caller, CALL.did)
        else:
            assert signal.status == what


@given(st.integers(0, 2**32), st.sampled_from(sorted(ARRIVALS)), st.floats(0, 1))
def test_every_call_rings_once_and_ends_once_after_it(seed: int, kind: str, answered: float) -> None:
    by_call: dict[str, list[Due]] = {}
    for due in dues(plan(seed=seed, arrivals=kind, answered=answered)):
        by_call.setdefault(due.call_id, []).append(due)
    for told in by_call.values():
        assert [due.at for due in told] == sorted(due.at for due in told)
        words = [due.kind for due in told]
        assert words in (["ring", "ringing", "answered", "completed"], ["ring", "ringing", "missed"])


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.001, 1))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    values.sort()
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def fired(kind: str = "ring", call: str = "a", seconds: float = 0.01, status: int = 200, error: str = "") -> Fired:
    return Fired(kind=kind, call_id=call, due=1000.0, slip=0.0, seconds=seconds, status=status, error=error)


def test_what_failed_and_what_was_lost_is_counted_and_not_averaged() -> None:
    found = report(
        [fired(call="a"), fired(call="b"), fired(call="c", status=503), fired(call="d", status=0, error="ReadTimeout"),
         fired("missed", "a", status=500)],
        seconds=2.0,
        published={"a": 1000.25},
    )  # fmt: skip
    assert found.rings is not None
    assert (found.rings.count, found.rings.failed, found.rings.slowest) == (4, 2, 10.0)
    assert found.errors == {"HTTP 503": 1, "ReadTimeout": 1, "HTTP 500": 1}
    assert found.lost == 1
    assert found.effects is not None
    assert found.effects.slowest == 250.0
    assert not found.clean


def test_without_a_listener_nothing_counts_as_lost() -> None:
    found = report([fired()], seconds=1.0, published=None)
    assert (found.lost, found.effects, found.clean) == (0, None, True)


@contextlib.asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[tuple[str, list[float]]]:
    """Answers every request so, or never; tells when each came."""
    came: list[float] = []
    open_: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                came.append(time.monotonic())
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1/hooks/generic/secret", came
    finally:
        listening.close()
        for writer in open_:
            writer.close()


def ring(number: int, at: float, call: str = "") -> Due:
    name = call or f"c{number}"
    return Due(at=at, call_id=name, kind="ring", shot=DIALECTS["generic"].ring(CALL, BASE, ""))


def test_who_is_not_answered_keeps_nobody_else_from_ringing() -> None:
    async def run() -> tuple[list[Fired], list[float]]:
        async with server(None) as (base, came):
            return await shoot(base, [ring(n, n * 0.01) for n in range(20)], timeout=1.0, connections=64), came

    found, came = asyncio.run(run())
    assert len(came) == 20
    assert {(each.status, each.error) for each in found} == {(0, "ReadTimeout")}


def test_the_webhooks_of_one_call_go_one_after_the_other() -> None:
    async def run() -> tuple[list[Fired], list[float]]:
        async with server(None) as (base, came):
            return await shoot(base, [ring(n, 0.0, "one") for n in range(3)], timeout=0.4, connections=64), came

    found, came = asyncio.run(run())
    assert len(found) == 3
    assert came[1] - came[0] > 0.3
    # Each counts from when it was due, though it had to wait.
    assert max(each.seconds for each in found) > 1.0


def test_nobody_there_is_an_error_of_its_own() -> None:
    async def run() -> list[Fired]:
        async with server(None) as (base, _):
            pass
        return await shoot(base, [ring(1, 0.0)], timeout=1.0, connections=4)

    assert [each.error for each in asyncio.run(run())] == ["ConnectError"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:17081/v1/hooks/generic", "no address"),
        ("ftp://127.0.0.1/v1/hooks/generic/s", "no address"),
        ("http://127.0.0.1:17081/v1/hooks/pigeon/s", "not spoken here"),
        ("https://pbx.example/v1/hooks/generic/s", "not this machine"),
        ("http://127.0.0.1.pbx.example/v1/hooks/generic/s", "not this machine"),
    ],
)
def test_an_address_that_is_wrong_or_of_another_machine_is_refused(url: str, why: str) -> None:
    with pytest.raises(Problem, match=why):
        _address(url, mine=False)


def test_another_machine_is_called_when_it_is_said_to_be_ours() -> None:
    base, vendor = _address("https://pbx.example/v1/hooks/exotel/s/connect", mine=True)
    assert base.endswith("/v1/hooks/exotel/s")
    assert vendor == "exotel"


def test_help_teaches_the_open_loop() -> None:
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    assert "an open loop" in told
    assert "--this-is-mine" in told
