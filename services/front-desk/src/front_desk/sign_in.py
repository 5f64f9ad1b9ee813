"""Sign in and out of the console: throttled, in constant time, with a new session each time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from front_desk import access_store
from front_desk.access_store import User
from front_desk.credentials import hash_password, is_stale_hash, new_token, sha256, verify_password
from kit.postgres import Database

__all__ = ["UNLOCKED", "Refused", "SignIn", "SignedIn"]

# Argon2 takes 19 MiB an attempt, so attempts wait for each other rather than for memory.
HASHES_AT_ONCE = 2
UNLOCKED = timedelta(minutes=10)
PER_ADDRESS_FACTOR = 8
"""A whole office may share one address, so it may fail more often than one person."""


class Refused(Exception):
    """Not signed in. The sentence is the same for a wrong address and a wrong password."""

    def __init__(self, sentence: str, *, throttled: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.throttled = throttled


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedIn:
    token: str
    """For the cookie; only its hash is stored."""
    expires_at: datetime


class SignIn:
    """Signs people in and out. Holds limits and the gate before the slow hash."""

    def __init__(
        self, database: Database, *, failures_max: int, window: timedelta, session_lifetime: timedelta
    ) -> None:
        self._database = database
        self._failures_max = failures_max
        self._window = window
        self._lifetime = session_lifetime
        self._gate = asyncio.Semaphore(HASHES_AT_ONCE)

    async def __call__(
        self, *, email: str, password: str, address: str, old_token: str | None, now: datetime
    ) -> SignedIn:
        """Check the password and open a session; a session the browser brought along ends. Raises :class:`Refused`."""
        user = await self._user(email, password, address, now)
        if old_token:
            await access_store.end_session(self._database, sha256(old_token))
        signed_in = SignedIn(token=new_token(), expires_at=now + self._lifetime)
        await access_store.add_session(
            self._database,
            user,
            token_sha256=sha256(signed_in.token),
            csrf=new_token(),
            expires_at=signed_in.expires_at,
        )
        return signed_in

    async def unlock(self, *, token: str, email: str, password: str, address: str, now: datetime) -> None:
        """Let a session change things for a while, on its user's password. Raises :class:`Refused`."""
        await self._user(email, password, address, now)
        await access_store.unlock_session(self._database, sha256(token), now + UNLOCKED)

    async def lock(self, token: str) -> None:
        await access_store.unlock_session(self._database, sha256(token), None)

    async def _user(self, email: str, password: str, address: str, now: datetime) -> User:
        email = email.strip().lower()
        # One person from one place, one place, one person from anywhere: nobody can lock somebody else out alone.
        pair, place, person = (sha256(f"{a}\x1f{b}") for a, b in ((email, address), ("", address), (email, "")))
        limits = {
            pair: self._failures_max,
            place: self._failures_max * PER_ADDRESS_FACTOR,
            person: self._failures_max * PER_ADDRESS_FACTOR,
        }
        failures = await access_store.failures_of(self._database, list(limits), now)
        if any(failures.get(subject, 0) >= limit for subject, limit in limits.items()):
            minutes = round(self._window.total_seconds() / 60)
            raise Refused(f"Too many failed attempts. Wait {minutes} minutes and try again.", throttled=True)
        user = await access_store.find_user(self._database, email)
        async with self._gate:
            right = await asyncio.to_thread(verify_password, user.password_hash if user else None, password)
        if user is None or not right:
            await access_store.count_failure(self._database, list(limits), now, now + self._window)
            raise Refused("The e-mail address or the password is wrong.")
        await access_store.forget_failures(self._database, [pair])
        if is_stale_hash(user.password_hash):
            await access_store.rehash_user(self._database, user, await asyncio.to_thread(hash_password, password))
        return user

    async def out(self, token: str) -> None:
        await access_store.end_session(self._database, sha256(token))
