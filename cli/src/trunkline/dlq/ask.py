"""The services' dead letters over HTTP. One that does not answer is named and does not hide the others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from trunkline.replay.ask import operator
from trunkline.stack.layout import SERVICES, Layout

__all__ = ["Answers", "NoSuchLetter", "Refused", "Services", "Unavailable", "services_of"]

PREFIX = "/v1/dead-letters"
TIMEOUT = 30.0


class Refused(Exception):
    """The service refused; the message says why."""


class NoSuchLetter(Refused):
    """The service has no such letter."""


class Unavailable(Exception):
    """The service does not answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What the services said, and why others gave no answer: they do not answer at all, or they refused."""

    answers: Mapping[str, Any]
    silent: Mapping[str, str]
    refused: Mapping[str, str]

    @property
    def missing(self) -> dict[str, str]:
        return {**self.silent, **self.refused}


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Where the services are, by name."""

    urls: Mapping[str, str]
    token: str

    def ask_all(
        self, path: str, method: str = "GET", *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Answers:
        """Every service in turn: one that does not answer, or refuses, keeps none of the others from it."""
        answers, silent, refused = {}, {}, {}
        for name in self.urls:
            try:
                answers[name] = self.ask(name, method, path, params=params, body=body)
            except Unavailable as error:
                silent[name] = str(error)
            except Refused as error:
                refused[name] = f"{name}: {error}"
        return Answers(answers=answers, silent=silent, refused=refused)

    def ask(
        self, service: str, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """One request. Raises :class:`Refused` or :class:`Unavailable`."""
        headers = {"Authorization": f"Bearer {self.token}", "X-Operator": quote(operator())}
        given = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            answer = httpx.request(
                method, self.urls[service] + PREFIX + path, params=given, json=body, headers=headers, timeout=TIMEOUT
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"{service} does not answer at {self.urls[service]} ({type(error).__name__})") from None
        if answer.is_success:
            try:
                return answer.json()
            except ValueError:
                raise Unavailable(f"something else than {service} answers at {self.urls[service]}") from None
        if answer.status_code == 401:
            raise Refused(f"{service} does not take the admin token; set TRUNKLINE_ADMIN_TOKEN")
        if answer.status_code >= 500:
            raise Unavailable(f"{service} cannot do it now (HTTP {answer.status_code}); is Postgres up?")
        raise (NoSuchLetter if answer.status_code == 404 else Refused)(_detail(answer))

    def holding(self, letter: str) -> str:
        """The service that has a letter. Raises :class:`NoSuchLetter` when none has, :class:`Unavailable` when one
        that does not answer may have it."""
        missing = []
        for name in self.urls:
            try:
                self.ask(name, "GET", f"/letters/{letter}")
            except NoSuchLetter:
                continue
            except (Refused, Unavailable) as error:
                missing.append(str(error))
            else:
                return name
        if missing:
            raise Unavailable("; ".join(["those that answer have no such letter", *missing]))
        raise NoSuchLetter("there is no such letter; it may have been worked off")


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
    return detail if isinstance(detail, str) else "; ".join(str(each.get("msg", each)) for each in detail)


def services_of(service: str | None, urls: list[str]) -> Services:
    """All services of the local stack, or one, at other addresses when they are given as ``name=url``."""
    layout = Layout.of()
    known = {each.name: layout.url(each.name) for each in SERVICES}
    for given in urls:
        name, _, url = given.partition("=")
        if name not in known or not url.startswith(("http://", "https://")):
            raise Refused(f"{given!r} is not name=url; names are {', '.join(known)}")
        known[name] = url.rstrip("/")
    if service is not None and service not in known:
        raise Refused(f"there is no service {service}; there are: {', '.join(known)}")
    token = os.environ.get("TRUNKLINE_ADMIN_TOKEN") or layout.secrets()["admin_token"]
    return Services(urls=known if service is None else {service: known[service]}, token=token)
