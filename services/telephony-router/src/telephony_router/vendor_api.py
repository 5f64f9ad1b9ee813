"""Requests to vendors' APIs, sent from here only: to known hosts, under TLS, within a time, and no further."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from uuid import UUID

import httpx
import stamina
from pydantic_core import from_json, to_json

from kit.ids import name_uuid
from kit.postgres import Database
from kit.telemetry import get_logger
from telephony_router.outbound_store import StoredDialling, find_dialling
from telephony_router.seal import Seal, SealBroken
from telephony_router.vendor_tokens import VendorTokens
from telephony_router.vendors.dialling import DIALLERS
from telephony_router.vendors.dialling.base import Access, ApiAnswer, ApiRequest, Dialler, Order, origin

__all__ = [
    "Garbled",
    "Interrupted",
    "NotSent",
    "VendorApi",
    "check_access",
    "closed_access",
    "find_access",
    "opened_access",
]

log = get_logger(__name__)
CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 12.0
ANSWER_BYTES = 256 * 1024
#: Of these the vendor has seen nothing: no connection was made, or no request could be.
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)

# It names addresses, which name accounts and numbers.
logging.getLogger("httpx").setLevel(logging.WARNING)
# They would tell of every repetition with the error's text, and count it under a name of their own.
stamina.instrumentation.set_on_retry_hooks([])


class NotSent(Exception):
    """The vendor has heard nothing. The message is a word."""


class Interrupted(Exception):
    """It was sent, or begun to be, and no whole answer came back: the vendor may have acted on it."""


class Garbled(Interrupted):
    """The answer is longer than any that we read."""


class VendorApi:
    """One account's requests at a time, each on a connection of its own.

    A connection that is kept open may be closed by the vendor just when it is used again, and then nobody can tell
    whether the request was seen.
    """

    def __init__(self, tokens: VendorTokens, *, extra_bases: Iterable[str] = (), total: float = TOTAL_SECONDS) -> None:
        self._tokens = tokens
        self._extra = {origin(each) for each in extra_bases} - {""}
        self._total = total
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(total, connect=min(CONNECT_SECONDS, total)),
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        await self._client.aclose()
        await self._tokens.close()

    async def dial(self, account: UUID, access: Access, dialler: Dialler, order: Order) -> ApiAnswer:
        """Ask the vendor to place a call, once. Raises :class:`NotSent` and :class:`Interrupted`."""
        return await self._with_token(account, access, dialler, lambda token: dialler.dial(order, access, token))

    async def ask(
        self, account: UUID, access: Access, dialler: Dialler, call_id: str, ref: str
    ) -> list[ApiAnswer] | None:
        """What the vendor says of a call; None when it cannot be asked. Asking changes nothing, so it is repeated."""
        if dialler.ask(call_id, ref, access, "") is None:
            return None
        build = partial(_sure, dialler, call_id, ref, access)
        answers = [await self._with_token(account, access, dialler, build, again=True)]
        more = dialler.ask_more(call_id, answers[0], access)
        if more is not None:
            answers.append(await self._again(dialler, access, more))
        return answers

    async def _with_token(
        self,
        account: UUID,
        access: Access,
        dialler: Dialler,
        build: Callable[[str], ApiRequest],
        *,
        again: bool = False,
    ) -> ApiAnswer:
        send = self._again if again else self._send
        login = dialler.login
        if login is None:
            return await send(dialler, access, build(""))

        async def mint() -> str:
            try:
                token = login.token_of(await self._again(dialler, access, login.sign_in(access)))
            except Interrupted:
                token = None
            if token is None:
                raise NotSent("no_token")
            return token

        token = await self._tokens.get(account, dialler.name, login.seconds, mint)
        answer = await send(dialler, access, build(token))
        if answer.status != 401:
            return answer
        # It was refused for its token alone. Once more with another one; if that is refused too, it is not the token.
        token = await self._tokens.get(account, dialler.name, login.seconds, mint, stale=token)
        return await send(dialler, access, build(token))

    async def _again(self, dialler: Dialler, access: Access, request: ApiRequest) -> ApiAnswer:
        """For what changes nothing at the vendor."""
        async for attempt in stamina.retry_context(
            on=(NotSent, Interrupted), attempts=3, timeout=self._total * 3, wait_initial=0.2, wait_max=2.0
        ):
            with attempt:
                return await self._send(dialler, access, request)
        raise AssertionError("the last attempt raises")

    async def _send(self, dialler: Dialler, access: Access, request: ApiRequest) -> ApiAnswer:
        self._check(dialler, access, request.url)
        try:
            async with asyncio.timeout(self._total):
                return await self._exchange(request)
        except NEVER_SENT as error:
            raise NotSent("connect") from error
        except TimeoutError as error:
            raise Interrupted("timeout") from error
        except httpx.TimeoutException as error:
            raise Interrupted("timeout") from error
        except httpx.HTTPError as error:
            raise Interrupted("broken_off") from error

    async def _exchange(self, request: ApiRequest) -> ApiAnswer:
        async with self._client.stream(
            request.method, request.url, headers=dict(request.headers), content=request.body or None
        ) as response:
            chunks, size = [], 0
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > ANSWER_BYTES:
                    raise Garbled("too_long")
                chunks.append(chunk)
            return ApiAnswer(status=response.status_code, body=b"".join(chunks))

    def _check(self, dialler: Dialler, access: Access, url: str) -> None:
        asked = origin(url)
        if asked == "" or asked != origin(access.base) or not may_ask(dialler, access.base, self._extra):
            raise NotSent("host_not_allowed")


def _sure(dialler: Dialler, call_id: str, ref: str, access: Access, token: str) -> ApiRequest:
    request = dialler.ask(call_id, ref, access, token)
    if request is None:
        raise NotSent("cannot_be_asked")
    return request


def may_ask(dialler: Dialler, base: str, extra: Iterable[str]) -> bool:
    """Whether requests may go there: the vendor's own hosts, those of the settings, or an account's own under TLS."""
    asked = origin(base)
    if asked in set(extra):
        return True
    if not asked.startswith("https://"):
        return False
    return not dialler.bases or asked in {origin(each) for each in dialler.bases}


def check_access(
    dialler: Dialler, options: Mapping[str, str], secrets: Mapping[str, str], extra: Iterable[str]
) -> None:
    """Raise ``ValueError`` for what is missing, unknown, or would send requests where none may go."""
    for name in options:
        if name not in dialler.options and name != "api_base":
            raise ValueError(f"{dialler.name} has no option {name}; there are: {', '.join(sorted(dialler.options))}")
    for name, meaning in dialler.options.items():
        if meaning.startswith("needed:") and not options.get(name):
            raise ValueError(f"--option {name}=… is missing: {meaning.removeprefix('needed: ')}")
    if options.get("numbers", "e164") not in ("e164", "plain", "national"):
        raise ValueError("numbers is e164, plain or national")
    for name in ("ring_seconds", "attempts"):
        if name in options and not (options[name].isascii() and options[name].isdigit()):
            raise ValueError(f"{name} is a number")
    missing, strange = dialler.secrets.keys() - secrets.keys(), secrets.keys() - dialler.secrets.keys()
    if missing or strange:
        told = "; ".join(f"{name}: {meaning}" for name, meaning in dialler.secrets.items())
        raise ValueError(f"the secret file holds NAME=VALUE lines of exactly these: {told}")
    if not may_ask(dialler, _base(dialler, options), {origin(each) for each in extra}):
        raise ValueError("api_base is not the vendor's, nor https, nor in TRUNKLINE_TELEPHONY_ROUTER_DIAL_API_BASES")


def closed_access(seal: Seal, account: UUID, secrets: Mapping[str, str]) -> bytes:
    return seal.close(_purpose(account), to_json(dict(secrets)).decode())


async def find_access(database: Database, seal: Seal, tenant: UUID, account: UUID) -> tuple[Dialler, Access] | None:
    """How this account's vendor is asked; nothing when it is not set up, or its secrets cannot be opened any more."""
    async with database.transaction(tenant) as tx:
        stored = await find_dialling(tx, account)
    if stored is None:
        return None
    try:
        return opened_access(seal, stored)
    except (SealBroken, KeyError):
        log.exception("dialling_cannot_be_opened", account_id=str(account))
        return None


def opened_access(seal: Seal, stored: StoredDialling) -> tuple[Dialler, Access]:
    """Raises :class:`SealBroken`, and ``KeyError`` for a vendor that cannot dial."""
    dialler = DIALLERS[stored.vendor]
    secrets = from_json(seal.open(_purpose(stored.account_id), stored.sealed))
    return dialler, Access(base=_base(dialler, stored.options), options=stored.options, secrets=secrets)


def _base(dialler: Dialler, options: Mapping[str, str]) -> str:
    return (options.get("api_base") or next(iter(dialler.bases), "")).rstrip("/")


def _purpose(account: UUID) -> UUID:
    """What an API's secrets are sealed for: a webhook's token opens nowhere here, nor the other way round."""
    return name_uuid(str(account), "dialling")
