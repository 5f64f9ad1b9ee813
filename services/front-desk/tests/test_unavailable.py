"""With its database away the service says so, in the caller's language."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from front_desk.credentials import new_api_key
from front_desk.settings import Settings
from front_desk.wiring import build


@pytest.fixture
def http() -> httpx.AsyncClient:
    settings = Settings(
        postgres_dsn="postgresql://127.0.0.1:1/nothing", admin_token=SecretStr("a token of ours"), secure_cookies=False
    )
    transport = httpx.ASGITransport(app=build(settings).http)
    return httpx.AsyncClient(transport=transport, base_url="http://desk.test")


async def test_programs_get_a_problem_document(http: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {new_api_key().text}"}
    answer = await http.get("/v1/staff", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:trunkline:problem:unavailable")
    answer = await http.get("/v1/tenants", headers={"Authorization": "Bearer a token of ours"})
    assert answer.status_code == 503


async def test_people_get_a_sentence(http: httpx.AsyncClient) -> None:
    http.cookies.set("trunkline_session", "some token")
    page = await http.get("/t/today")
    assert page.status_code == 503
    assert "cannot reach its database" in page.text


async def test_the_sign_in_page_needs_no_database(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.status_code == 200
    assert "Demo sign-ins" not in page.text


async def test_a_demo_shows_its_sign_ins() -> None:
    settings = Settings(demo=True, demo_logins="owner@malabar.example:demo words")
    transport = httpx.ASGITransport(app=build(settings).http)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.test") as client:
        page = await client.get("/")
    assert "demo words" in page.text


async def test_without_an_admin_token_nobody_is_admin() -> None:
    transport = httpx.ASGITransport(app=build(Settings()).http)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.test") as client:
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
            answer = await client.get("/v1/tenants", headers=headers)
            assert answer.status_code == 403


async def test_unknown_paths_are_answered_in_kind(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/nothing")).headers["content-type"] == "application/problem+json"
    assert "Not here" in (await http.get("/nothing")).text
