"""The four questions that we ask a Confluent-compatible schema registry, over its REST interface."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

__all__ = ["CredentialsError", "Incompatible", "RegistryError", "SchemaRegistry", "credentials"]

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
SECONDS = 30
PREFIX = "TRUNKLINE_REGISTRY_"
REASON_CHARACTERS = 300


class RegistryError(Exception):
    """The registry did not do what was asked; the message says what to look at."""


class Incompatible(Exception):
    """The registry refuses a schema; the message is its reason."""


class CredentialsError(Exception):
    """The environment does not say who we are."""


def credentials(environ: Mapping[str, str] | None = None) -> httpx.Auth | None:
    """Who we are to the registry, from the environment; ``None`` for nobody. Raises :class:`CredentialsError`."""
    env = os.environ if environ is None else environ
    token, user, password = (_secret(env, name) for name in ("TOKEN", "USERNAME", "PASSWORD"))
    if token and (user or password):
        raise CredentialsError(f"set {PREFIX}TOKEN, or {PREFIX}USERNAME and {PREFIX}PASSWORD, not both")
    if token:
        return _Bearer(token)
    if bool(user) != bool(password):
        raise CredentialsError(f"{PREFIX}USERNAME and {PREFIX}PASSWORD go together; one of them is not set")
    return httpx.BasicAuth(user, password) if user else None


def _secret(env: Mapping[str, str], name: str) -> str:
    path = env.get(f"{PREFIX}{name}_FILE")
    if path is None or f"{PREFIX}{name}" in env:
        return env.get(f"{PREFIX}{name}", "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CredentialsError(f"{PREFIX}{name}_FILE cannot be read: {error.strerror}") from None


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = self._header
        yield request


class SchemaRegistry:
    """A client of one registry; close it, or use it in a ``with``. Every method raises :class:`RegistryError`."""

    def __init__(self, url: str, auth: httpx.Auth | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError("the registry's address is not an http or https URL")
        if parts.username or parts.password:
            # It would be seen in the list of processes and in our own messages.
            raise RegistryError(f"leave the credentials out of the address; set {PREFIX}USERNAME and {PREFIX}PASSWORD")
        self._url = url.rstrip("/")
        self._client = httpx.Client(auth=auth, headers={"Accept": MEDIA_TYPE}, timeout=SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def find(self, subject: str, schema: str) -> int | None:
        """The id under which the subject has this very schema, if it has."""
        answer = self._ask("POST", f"/subjects/{_quoted(subject)}", _schema(schema), absent=True)
        return None if answer is None else int(answer["id"])

    def register(self, subject: str, schema: str) -> int:
        """Add a version to the subject and return the schema's id. Raises :class:`Incompatible`."""
        answer = self._ask("POST", f"/subjects/{_quoted(subject)}/versions", _schema(schema))
        return int(answer["id"])

    def compatibility(self, subject: str) -> str | None:
        """The subject's own level; ``None`` when it has only the registry's default."""
        answer = self._ask("GET", f"/config/{_quoted(subject)}", absent=True)
        return None if answer is None else answer.get("compatibilityLevel")

    def set_compatibility(self, subject: str, level: str) -> None:
        self._ask("PUT", f"/config/{_quoted(subject)}", {"compatibility": level})

    def _ask(self, method: str, path: str, body: Any = None, *, absent: bool = False) -> Any:
        try:
            response = self._client.request(
                method, self._url + path, json=body, headers={"Content-Type": MEDIA_TYPE} if body else {}
            )
        except httpx.HTTPError as error:
            message = f"the registry at {self._url} cannot be reached ({type(error).__name__}); is it running there?"
            raise RegistryError(message) from None
        if response.status_code == httpx.codes.NOT_FOUND and absent and "error_code" in response.text:
            return None
        if response.status_code in (httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY):
            raise Incompatible(_reason(response))
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            message = (
                f"the registry does not let us {method} {path}: set {PREFIX}USERNAME and {PREFIX}PASSWORD, or _TOKEN"
            )
            raise RegistryError(message)
        if not response.is_success:
            raise RegistryError(
                f"the registry answers {method} {path} with {response.status_code}: {_reason(response)}"
            )
        try:
            return response.json()
        except ValueError:
            raise RegistryError(f"{self._url} answers something that is not JSON; is it a schema registry?") from None


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def _schema(schema: str) -> dict[str, str]:
    return {"schema": schema, "schemaType": "JSON"}


def _reason(response: httpx.Response) -> str:
    try:
        reason = str(response.json().get("message", ""))
    except (ValueError, AttributeError):
        reason = ""
    return (reason or response.reason_phrase)[:REASON_CHARACTERS]
