"""A load test on the real stack: every ring is answered, recorded and told, and the numbers add up."""

from __future__ import annotations

import json

import pytest
from tests.conftest import Stack

pytestmark = pytest.mark.real


@pytest.mark.parametrize(("vendor", "arrivals"), [("generic", "poisson"), ("twilio", "burst"), ("exotel", "steady")])
def test_every_ring_of_a_load_test_leads_to_its_event(stack: Stack, vendor: str, arrivals: str) -> None:
    done = stack.cli(
        "loadtest", "--vendor", vendor, "--arrivals", arrivals, "--burst", "5", "--rate", "10", "--seconds", "4",
        "--json", "--run-dir", str(stack.layout.run_dir), "--port-base", str(stack.layout.port_base),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["clean"]
    assert found["calls"] == found["rings"]["count"] == found["effects"]["count"] > 10
    assert found["rings"]["failed"] == found["lost"] == 0
    assert found["statuses"]["count"] >= 2 * found["calls"]
