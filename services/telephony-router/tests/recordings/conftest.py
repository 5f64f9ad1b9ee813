"""A vendor's file server that does as it is told, over TCP and TLS, and names that stand for what a test says."""

from __future__ import annotations

import array
import asyncio
import contextlib
import ipaddress
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contracts.calls import RecordingStoredV1
from contracts.registry import REGISTRY
from kit.postgres import Database
from kit.testing import eventually
from telephony_router import recording_store, store
from telephony_router.answer_ring import intake_of
from telephony_router.audio import Wave, wave_header
from telephony_router.blob_store import FileBlobStore
from telephony_router.fetch_recordings import Pace, RecordingFetcher
from telephony_router.peers import networks
from telephony_router.process_intake import process_some
from telephony_router.record import PostgresIntakes
from telephony_router.recording_source import Limits, RecordingSource
from telephony_router.seal import Seal
from telephony_router.signals import CallSignal, Recording
from telephony_router.vendors.base import Account

NAME = "recordings.example.com"
OTHER = "elsewhere.example.com"
KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
MakeDatabase = Callable[..., Awaitable[Database]]
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def tone(hertz: float, seconds: float, rate: int = 8000, turn: int | None = None) -> array.array[int]:
    """A voice: a tone, in every other second when it takes turns."""
    return array.array(
        "h",
        (
            int(8000 * math.sin(2 * math.pi * hertz * n / rate)) if turn is None or n // rate % 2 == turn else n % 5 - 2
            for n in range(int(rate * seconds))
        ),
    )


def wav(*channels: array.array[int], rate: int = 8000) -> bytes:
    """16-bit PCM of these channels."""
    woven = array.array("h", bytes(2 * len(channels) * len(channels[0])))
    for place, samples in enumerate(channels):
        woven[place :: len(channels)] = samples
    sound = woven.tobytes()
    shape = {"encoding": "pcm", "rate": rate, "bytes_per_second": rate * 2, "offset": 0, "size": 0}
    header = bytearray(wave_header(Wave(channels=1, width=2, **shape), len(sound)))  # type: ignore[arg-type]
    header[22:24] = len(channels).to_bytes(2, "little")
    header[28:32] = (rate * 2 * len(channels)).to_bytes(4, "little")
    header[32:34] = (2 * len(channels)).to_bytes(2, "little")
    return bytes(header) + sound


def stereo(seconds: float = 4) -> bytes:
    """The customer, who rings, on the first channel; the agent on the second."""
    return wav(tone(300, seconds, turn=0), tone(440, seconds, turn=1))


def quieter(samples: array.array[int], by: int = 3) -> array.array[int]:
    return array.array("h", (int(each / by) for each in samples))


def mixed(loud: array.array[int], echo: array.array[int]) -> array.array[int]:
    return array.array("h", (a + int(b * 0.1) for a, b in zip(loud, echo, strict=True)))


def answer(body: bytes, *, status: str = "200 OK", **headers: str) -> Reply:
    given = {
        "content-length": str(len(body)),
        "content-type": "audio/wav",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }

    async def reply(writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)
        await writer.drain()

    return reply


def redirect(to: str) -> Reply:
    return answer(b"", status="302 Found", location=to)


@dataclass
class Server:
    """One listening socket; what each path replies, and what was asked."""

    scheme: str
    port: int
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client hung up on a reply."""
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, path: str, host: str = NAME) -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *rest = head.split("\r\n")
            path = first.split(" ")[1]
            headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in rest if line}
            self.asked.append((path, headers))
            await self.replies.get(path, answer(b"", status="404 Not Found"))(writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            self.broken.set()
        finally:
            self.serving.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def stop(self) -> None:
        """Hang up on everybody."""
        tasks = list(self.serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Names:
    """A resolver: each name's answers in turn, the last of them again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {NAME: [["127.0.0.1"]], OTHER: [["127.0.0.1"]]}
        self.asked: list[str] = []

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        if host not in self.answers:
            raise OSError("no such name")
        turns = self.answers[host]
        return turns.pop(0) if len(turns) > 1 else turns[0]


@dataclass(frozen=True)
class Certificates:
    authority: Path

    def server(self, name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.authority.parent / f"{name}.pem")
        return context


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey
) -> bytes:
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if subject != issuer:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def sounds() -> Any:
    """Ways to make recordings."""
    return SimpleNamespace(tone=tone, wav=wav, stereo=stereo, quieter=quieter, mixed=mixed)


@pytest.fixture(scope="session")
def replies() -> Any:
    """Ways to answer."""
    return SimpleNamespace(answer=answer, redirect=redirect)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority of our own, and a certificate of it for each name."""
    folder = tmp_path_factory.mktemp("certificates")
    root = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    (folder / "authority.pem").write_bytes(_certificate("Test authority", root, issuer, root))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for name in (NAME, OTHER):
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(*private) + _certificate(name, key, issuer, root)
        (folder / f"{name}.pem").write_bytes(text)
    return Certificates(folder / "authority.pem")


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def listen(certificates: Certificates) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Start servers: ``await listen()`` in the clear, ``await listen(tls=name)`` with that name's certificate."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, tls: str = "", host: str = "127.0.0.1", port: int = 0) -> Server:
            server = Server("https" if tls else "http", port)
            context = certificates.server(tls) if tls else None
            listening = await asyncio.start_server(server.serve, host, port, ssl=context)
            stack.push_async_callback(server.stop)
            stack.callback(listening.close)
            server.port = listening.sockets[0].getsockname()[1]
            return server

        yield start


@pytest.fixture
async def vendor(listen: Callable[..., Awaitable[Server]]) -> Server:
    """A vendor's server with the certificate of its name."""
    return await listen(tls=NAME)


# An office that hears of recordings ----------------------------------------------------------------------------

SWIFT = Pace(first_pause_seconds=0.01, longest_pause_seconds=0.02, poll_seconds=0.02, lease_seconds=30)


@dataclass
class Office:
    database: Database
    account: Account
    source: RecordingSource
    folder: Path
    told: int = 0

    @property
    def blobs(self) -> FileBlobStore:
        return FileBlobStore(self.folder / "store")

    def fetcher(self, name: str = "one", **changes: Any) -> RecordingFetcher:
        pace = changes.pop("pace", SWIFT)
        blobs = changes.pop("blobs", self.blobs)
        return RecordingFetcher(
            self.database, self.source, blobs, Seal(KEY), spool=self.folder / name, pace=pace, **changes
        )

    @asynccontextmanager
    async def fetching(self, name: str = "one", **changes: Any) -> AsyncIterator[RecordingFetcher]:
        fetcher = self.fetcher(name, **changes)
        await fetcher.start()
        try:
            yield fetcher
        finally:
            await fetcher.stop()

    async def hears(self, recording: Recording, call: str = "c1", **changes: Any) -> UUID:
        """A webhook tells of a recording; gives our id of it."""
        self.told += 1
        account = changes.pop("account", self.account)
        base = CallSignal(
            kind="status", vendor=account.vendor, call_id=call, status="completed", status_raw="completed"
        )
        signal = replace(base, sequence=str(self.told), recording=recording, **changes)
        row = intake_of(account, signal, str(self.told).encode(), NOW + timedelta(seconds=self.told), None)
        intakes = PostgresIntakes(self.database)
        await intakes.take_in([row])
        await intakes.close()
        await process_some(self.database)
        async with self.database.transaction(account.tenant) as tx:
            query = "SELECT id FROM recording_fetch WHERE recording_key = $1 AND call_id = $2"
            found: UUID = await tx.fetchval(query, recording.key, row.call_id)
            return found

    async def row(self, recording: UUID) -> dict[str, Any]:
        async with self.database.transaction(self.account.tenant) as tx:
            found = await recording_store.show(tx, recording)
        assert found is not None
        return found

    async def becomes(self, recording: UUID, state: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            row = await self.row(recording)
            return row if row["state"] == state else None

        found: dict[str, Any] = await eventually(there, within=120)
        return found

    async def events(self) -> list[RecordingStoredV1]:
        query = (
            "SELECT type, payload FROM outbox WHERE tenant_id = $1 AND aggregatetype = 'recording.stored' ORDER BY seq"
        )
        async with self.database.system() as tx:
            rows = await tx.fetch(query, self.account.tenant)
        return [REGISTRY.decode(row["type"], row["payload"].encode()) for row in rows]  # type: ignore[misc]


@pytest.fixture
async def office(make_database: MakeDatabase, names: Any, certificates: Any, tmp_path: Path) -> Office:
    database = await make_database(service="telephony-router", package="telephony_router")
    source = RecordingSource(
        limits=Limits(), resolver=names, allow_networks=networks(["127.0.0.0/8"]), ca_file=str(certificates.authority)
    )
    account = await an_account(database, uuid4(), "generic")
    return Office(database, account, source, tmp_path)


async def an_account(database: Database, tenant: UUID, vendor: str, token: str = "") -> Account:
    id_ = uuid4()
    sealed = [Seal(KEY).close(id_, token)] if token else []
    async with database.transaction(tenant) as tx:
        await store.add_account(tx, account_id=id_, vendor=vendor, label="", secret=str(id_), sealed_tokens=sealed)
    return Account(id=id_, tenant=tenant, vendor=vendor)
