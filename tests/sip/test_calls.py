"""Calls through a real SIP server that asks the router: what callers and desks see on the wire, what is recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import wait_for
from tests.sip.conftest import (
    ACCOUNTS,
    ACCOUNTS_PORT,
    DEADLINE_MS,
    LANDING_DID,
    LOOPING_DID,
    NIGHT,
    NIGHT_PORT,
    OTHER_SIP,
    RECEPTION,
    RECEPTION_PORT,
    RING_SECONDS,
    SECRET,
    SILENT_MS,
    SLACK,
    Kamailio,
    Router,
    settings,
)
from tests.sip.phones import Phone, Phones, deaf
from tests.sip.standin import Standin

pytestmark = pytest.mark.real


def call_id(phone: Phone) -> str:
    return phone.seen()[0].all("Call-ID")[0]


def test_a_call_is_put_through_and_its_story_recorded(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    reception = phones.answering(RECEPTION_PORT)
    caller = phones.call(did, hold_ms=1200)
    caller.wait()
    reception.wait()
    assert caller.codes() == [100, 180, 200]
    assert caller.seconds_to(100) < 1 + SLACK / 2
    call = call_id(caller)
    assert standin.asked(call) == 1
    assert standin.told(call) == [
        ("ringing", RECEPTION, ""), ("answered", RECEPTION, ""), ("end", RECEPTION, ""),
    ]  # fmt: skip
    recorded = router.call(call, "completed")
    assert (recorded["staff_id"], recorded["did"], recorded["caller"]) == ("reception", did, "+919847000001")
    assert 1 <= recorded["duration_seconds"] <= 1 + SLACK
    assert recorded["quarantined"] is False


def test_addresses_of_one_side_do_not_reach_the_other(phones: Phones, kamailio: Kamailio, did: str) -> None:
    reception = phones.answering(RECEPTION_PORT)
    caller = phones.call(did)
    caller.wait()
    reception.wait()
    for message in caller.seen():
        if not message.sent:
            assert f":{RECEPTION_PORT}" not in message.text
            assert "reception@" not in message.text
            assert not message.all("Server")
    for message in reception.seen():
        if not message.sent:
            assert f":{caller.port}" not in message.text
    # Requests in the dialog have found their way all the same.
    assert [each.first.split()[0] for each in reception.seen() if not each.sent] == ["INVITE", "ACK", "BYE"]


def test_the_desk_hangs_up(phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str) -> None:
    reception = phones.hanging_up(RECEPTION_PORT)
    caller = phones.call(did, hang_up=False)
    caller.wait()
    reception.wait()
    assert caller.received()[-1].startswith("BYE ")
    assert standin.told(call_id(caller))[-1] == ("end", RECEPTION, "")
    assert router.call(call_id(caller), "completed")["staff_id"] == "reception"


def test_who_is_busy_is_followed_by_the_next(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    busy, accounts = phones.refusing(RECEPTION_PORT, "486 Busy Here"), phones.answering(ACCOUNTS_PORT)
    caller = phones.call(did)
    caller.wait()
    busy.wait()
    accounts.wait()
    assert caller.codes() == [100, 180, 200]
    assert standin.told(call_id(caller)) == [
        ("ringing", RECEPTION, ""), ("failed", RECEPTION, "486"),
        ("ringing", ACCOUNTS, ""), ("answered", ACCOUNTS, ""), ("end", ACCOUNTS, ""),
    ]  # fmt: skip
    assert router.call(call_id(caller), "completed")["staff_id"] == "accounts"


def test_who_does_not_pick_up_is_followed_by_the_next(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    silent, accounts = phones.ringing(RECEPTION_PORT), phones.answering(ACCOUNTS_PORT)
    caller = phones.call(did)
    caller.wait()
    silent.wait()
    accounts.wait()
    assert RING_SECONDS - 0.5 < caller.seconds_to(200) < RING_SECONDS + SLACK
    assert len(silent.requests("CANCEL")) == 1
    assert ("failed", RECEPTION, "408") in standin.told(call_id(caller))
    assert router.call(call_id(caller), "completed")["staff_id"] == "accounts"


def test_a_destination_that_is_dead_is_followed_by_the_next(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    with deaf(RECEPTION_PORT) as heard:
        accounts = phones.answering(ACCOUNTS_PORT)
        caller = phones.call(did)
        caller.wait()
        accounts.wait()
    assert heard[0].startswith(b"INVITE ")
    assert SILENT_MS / 1000 - 0.5 < caller.seconds_to(200) < SILENT_MS / 1000 + SLACK
    assert standin.told(call_id(caller))[0] == ("failed", RECEPTION, "408")
    assert router.call(call_id(caller), "completed")["staff_id"] == "accounts"


def test_nobody_picks_up(phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str) -> None:
    busy, silent = phones.refusing(RECEPTION_PORT, "486 Busy Here"), phones.ringing(ACCOUNTS_PORT)
    caller = phones.call(did, expect=480)
    caller.wait()
    busy.wait()
    silent.wait()
    assert RING_SECONDS - 0.5 < caller.seconds_to(480) < RING_SECONDS + SLACK
    assert standin.told(call_id(caller), until="nothing", within=1)[-1] == ("failed", "", "408")
    assert router.call(call_id(caller), "missed")["staff_id"] is None


def test_who_declines_for_all_ends_the_search(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    declines, accounts = phones.refusing(RECEPTION_PORT, "603 Decline"), phones.answering(ACCOUNTS_PORT)
    caller = phones.call(did, expect=603)
    caller.wait()
    declines.wait()
    assert caller.codes() == [100, 180, 603]
    assert not accounts.seen()
    assert router.call(call_id(caller), "missed")["cause"] == "603"


def test_a_caller_gives_up(phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str) -> None:
    reception, accounts = phones.ringing(RECEPTION_PORT), phones.answering(ACCOUNTS_PORT)
    caller = phones.call(did, cancel_after="180")
    caller.wait()
    reception.wait()
    assert len(reception.requests("CANCEL")) == 1
    assert not accounts.seen()
    router.call(call_id(caller), "cancelled")


def test_a_caller_gives_up_before_the_router_has_answered(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    reception, night = phones.answering(RECEPTION_PORT), phones.answering(NIGHT_PORT)
    with standin.mood("hang"):
        caller = phones.call(did, cancel_after="100")
        caller.wait()
        assert caller.seconds_to(487) < DEADLINE_MS / 1000 + SLACK
        call = call_id(caller)
        wait_for(lambda: standin.asked(call), "the router was not asked")
    assert standin.told(call, until="cancelled")[0][0] == "cancelled"
    router.call(call, "cancelled")
    assert not reception.seen()
    assert not night.seen()


def test_all_ring_at_once_when_the_answer_says_so(
    phones: Phones, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    routes = [{"uri": f"sip:{number}@pstn.invalid", "fr_inv_timer": 20000} for number in (RECEPTION, ACCOUNTS)]
    answer = {"success": True, "rtjson": {"version": "1.0", "routing": "parallel", "routes": routes}}
    with standin.mood("say", body=json.dumps(answer).encode()):
        other, first = phones.ringing(RECEPTION_PORT), phones.answering(ACCOUNTS_PORT, ringing=500)
        caller = phones.call(did)
        caller.wait()
        first.wait()
        other.wait()
    # The second is not waited for: it rang while the first was still ringing.
    assert caller.seconds_to(200) < 20
    assert len(other.requests("CANCEL")) == 1
    told = standin.told(call_id(caller))
    assert {("ringing", RECEPTION, ""), ("ringing", ACCOUNTS, ""), ("answered", ACCOUNTS, "")} <= set(told)


def test_a_slow_router_is_waited_for(phones: Phones, standin: Standin, kamailio: Kamailio, did: str) -> None:
    reception = phones.answering(RECEPTION_PORT)
    with standin.mood("slow", seconds=0.4):
        caller = phones.call(did)
        caller.wait()
    reception.wait()
    assert caller.seconds_to(100) < caller.seconds_to(180)
    assert caller.seconds_to(180) > 0.4
    assert kamailio.rung_of(call_id(caller)) == "router"


@pytest.mark.parametrize("trouble", ["hang", "garbage", "empty", "error", "killed"])
def test_a_router_that_does_not_answer_well_costs_no_call(
    phones: Phones, standin: Standin, kamailio: Kamailio, did: str, trouble: str
) -> None:
    """First by the default; then, once the router has answered for this number, by what is remembered."""

    def in_trouble() -> Any:
        if trouble == "killed":
            return standin.killed()
        bodies = {"garbage": b"<html>{not json", "empty": b'{"success":true,"rtjson":{"routes":[]}}'}
        return standin.mood("say" if trouble in bodies else trouble, body=bodies.get(trouble, b""))

    def ring(port: int, caller: str) -> tuple[Phone, str]:
        phone = phones.answering(port)
        calling = phones.call(did, caller=f"<sip:{caller}@[local_ip]>")
        calling.wait()
        phone.wait()
        assert calling.seconds_to(200) < DEADLINE_MS / 1000 + SLACK
        return calling, kamailio.rung_of(call_id(calling))

    with in_trouble():
        calling, rung = ring(NIGHT_PORT, "+919847000001")
        assert rung == "default"
        if trouble == "hang":
            assert calling.seconds_to(180) > DEADLINE_MS / 1000 - 0.2
    assert ring(RECEPTION_PORT, "+919847000001")[1] == "router"
    with in_trouble():
        assert ring(RECEPTION_PORT, "+919847000001")[1] == "redis"
        # Another caller must not get the first one's answer as its own, but somebody has to be rung.
        assert ring(RECEPTION_PORT, "+919847000002")[1] == "last good"


def test_router_and_redis_away_cost_no_call_and_no_status(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str, answers_redis: Callable[[], Any]
) -> None:
    reception = phones.answering(RECEPTION_PORT)
    phones.call(did).wait()
    reception.wait()
    with standin.killed(), answers_redis():
        again, night = phones.answering(RECEPTION_PORT), phones.answering(NIGHT_PORT)
        caller = phones.call(did)
        caller.wait()
        again.wait()
        assert caller.seconds_to(200) < DEADLINE_MS / 1000 + SLACK
        assert kamailio.rung_of(call_id(caller)) == "last good"
        stranger = phones.call(LANDING_DID)
        stranger.wait()
        night.wait()
        assert kamailio.rung_of(call_id(stranger)) == "default"
    # What happened meanwhile is told when the router is back.
    for calling, number, staff in ((caller, RECEPTION, "reception"), (stranger, NIGHT, None)):
        told = standin.told(call_id(calling))
        assert told == [("ringing", number, ""), ("answered", number, ""), ("end", number, "")]
        assert router.call(call_id(calling), "completed")["staff_id"] == staff


def test_a_call_that_comes_round_is_refused_and_the_next_one_rung(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio
) -> None:
    accounts = phones.answering(ACCOUNTS_PORT)
    caller = phones.call(LOOPING_DID)
    caller.wait()
    accounts.wait()
    call = call_id(caller)
    assert standin.asked(call) == 1
    assert standin.told(call)[0][2] == "482"
    assert router.call(call, "completed")["staff_id"] == "accounts"
    mark = hashlib.md5(call.encode(), usedforsecurity=False).hexdigest()
    assert accounts.requests("INVITE")[0].all("X-Route-Decision") == [mark]


def test_a_call_that_was_passed_on_too_often_is_refused(
    phones: Phones, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    reception = phones.answering(RECEPTION_PORT)
    worn = phones.call(did, expect=483, forwards=0, name="worn")
    marked = phones.call(did, expect=482, headers="X-Route-Decision: a\nX-Route-Decision: b\nX-Route-Decision: c")
    worn.wait()
    marked.wait()
    assert not standin.asked(call_id(worn))
    assert not standin.asked(call_id(marked))
    twice = phones.call(did, headers="X-Route-Decision: a\nX-Route-Decision: b")
    twice.wait()
    reception.wait()
    assert [ring["hops"] for ring in standin.rings if ring["call_id"] == call_id(twice)] == [2]


def test_an_invite_that_is_repeated_is_asked_once(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    reception = phones.answering(RECEPTION_PORT)
    with standin.mood("slow", seconds=0.5):
        caller = phones.call(did, twice=True)
        caller.wait()
    reception.wait()
    assert standin.asked(call_id(caller)) == 1
    assert len(reception.requests("INVITE")) == 1


def test_somebody_who_withholds_the_number(
    phones: Phones, router: Router, standin: Standin, kamailio: Kamailio, did: str
) -> None:
    reception = phones.answering(RECEPTION_PORT)
    caller = phones.call(
        did, caller='"Anonymous" <sip:anonymous@anonymous.invalid>',
        headers="Privacy: id\nP-Asserted-Identity: <sip:+919847000001@[local_ip]>",
    )  # fmt: skip
    caller.wait()
    reception.wait()
    recorded = router.call(call_id(caller), "completed")
    assert (recorded["caller_kind"], recorded["caller"]) == ("anonymous", None)
    (invite,) = reception.requests("INVITE")
    assert "+919847000001" not in invite.text


def test_a_source_that_nobody_knows_is_refused(phones: Phones, standin: Standin, kamailio: Kamailio, did: str) -> None:
    reception = phones.answering(RECEPTION_PORT)
    caller = phones.call(did, expect=403, source="127.0.0.2")
    caller.wait()
    assert caller.codes() == [403]
    assert not standin.asked(call_id(caller))
    assert not reception.seen()


def test_no_route_header_opens_a_way_through(phones: Phones, standin: Standin, kamailio: Kamailio, did: str) -> None:
    target = phones.answering(ACCOUNTS_PORT)
    caller = phones.call(
        did, expect=481, tag=";tag=made-up",
        headers=f"Route: <sip:127.0.0.1:{kamailio.settings['listen'][0].rpartition(':')[2]};lr>\n"
        f"Route: <sip:accounts@127.0.0.1:{ACCOUNTS_PORT};lr>",
    )  # fmt: skip
    caller.wait()
    assert not target.seen()


def test_settings_hold_callers_to_a_rate_and_end_the_search_at_busy(
    phones: Phones, standin: Standin, folder: Path, did: str
) -> None:
    place = folder / "strict"
    place.mkdir()
    strict = settings(
        listen=[f"udp:127.0.0.1:{OTHER_SIP}"],
        stop_on=[486],
        calls_per_second=2,
        control_socket=str(place / "run" / "ctl"),
    )
    server = Kamailio(place, {name: value for name, value in strict.items() if name != "redis"})
    server.start()
    try:
        busy, accounts = phones.refusing(RECEPTION_PORT, "486 Busy Here"), phones.answering(ACCOUNTS_PORT)
        caller = replace(phones, server=OTHER_SIP).call(did, expect=486)
        caller.wait()
        busy.wait()
        assert not accounts.seen()
        assert 503 in server.codes_of_burst(did, 30)
    finally:
        server.stop()


def test_neither_secrets_nor_numbers_are_logged(kamailio: Kamailio, standin: Standin) -> None:
    assert "rung=" in kamailio.log, "the other tests have to have run"
    for never in (SECRET, "+919847", "9148420001"):
        assert never not in kamailio.log
