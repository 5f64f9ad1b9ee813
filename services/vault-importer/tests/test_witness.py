"""A witness as the specification wants it, on a real server and with a real vault."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from kit.testing import eventually
from vault_importer.checkpoint_store import StoredCheckpoint, cosignatures
from vault_importer.checkpoints import make_checkpoint, tenant_signer
from vault_importer.merkle import EMPTY, Frontier, append, assemble, consistency_ranges, leaf_hash, node_place, root_of
from vault_importer.rotate_key import rotate_key
from vault_importer.seal import Sealing, seal
from vault_importer.signed_note import Checkpoint, NoteError, Signer, Verifier, cosigned_at, parse_note, sign_checkpoint
from vault_importer.timestamps import Authority
from vault_importer.verify_ledger import verify_ledger
from vault_importer.witness import SIZE_TYPE, Witness, request_body
from vault_importer.witness_client import WitnessAddress, WitnessRefused, have_cosigned, last_cosigned, parse_witnesses

NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
LOG = Signer("vault.example.in/t", bytes(range(32)))
WITNESS = Signer("witness.example.org", bytes(range(1, 33)))
LATER = "UPDATE message SET text_data = 'Something else' WHERE _id = 750"


class Tree:
    """A log in memory: signs any of its sizes, and proves them."""

    def __init__(self, *records: str) -> None:
        self.frontiers: list[Frontier] = [EMPTY]
        self.nodes = b""
        for record in records:
            frontier, nodes = append(self.frontiers[-1], [leaf_hash(record.encode())])
            self.frontiers.append(frontier)
            self.nodes += nodes

    def note(self, size: int, signer: Signer = LOG) -> str:
        return sign_checkpoint(signer, Checkpoint(LOG.name, size, root_of(self.frontiers[size])), at=NOW)

    def proof(self, old: int, new: int) -> list[bytes]:
        def read(node: tuple[int, int]) -> bytes:
            return self.nodes[node_place(node) * 32 : node_place(node) * 32 + 32]

        return assemble(consistency_ranges(old, new), read)

    def ask(self, old: int, new: int) -> bytes:
        return request_body(old, self.proof(old, new), self.note(new))


HONEST = Tree(*"abcdefgh")
OTHER = Tree(*"abcdXfgh")


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(signer=WITNESS, logs=[LOG.verifier], state=tmp_path / "state", now=lambda: NOW)


def test_a_checkpoint_that_continues_the_last_is_signed(witness: Witness) -> None:
    for old, new in ((0, 3), (3, 3), (3, 4), (4, 8)):
        answer = witness.add(HONEST.ask(old, new))
        assert answer.status == 200
        assert cosigned_at(parse_note(HONEST.note(new) + answer.text), WITNESS.verifier) == NOW


def test_another_size_than_the_last_is_told_the_right_one(witness: Witness) -> None:
    witness.add(HONEST.ask(0, 5))
    answer = witness.add(HONEST.ask(3, 8))
    assert (answer.status, answer.text, answer.content_type) == (409, "5\n", SIZE_TYPE)
    assert witness.add(HONEST.ask(5, 8)).status == 200


def test_the_other_half_of_a_split_view_is_refused(witness: Witness) -> None:
    assert witness.add(HONEST.ask(0, 6)).status == 200
    assert witness.add(OTHER.ask(6, 8)).status == 422
    same_size = witness.add(OTHER.ask(6, 6))
    assert (same_size.status, same_size.content_type.startswith("text/plain")) == (409, True)
    assert witness.add(OTHER.ask(0, 8)).text == "6\n"
    assert witness.add(HONEST.ask(6, 8)).status == 200


def test_what_it_signed_it_knows_after_a_restart(tmp_path: Path) -> None:
    def start() -> Witness:
        return Witness(signer=WITNESS, logs=[LOG.verifier], state=tmp_path, now=lambda: NOW)

    assert start().add(HONEST.ask(0, 6)).status == 200
    assert start().add(HONEST.ask(0, 8)).text == "6\n"
    assert start().add(OTHER.ask(6, 8)).status == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (HONEST.ask(0, 5).replace(b"old 0\n", "old 0\n\u0664\n".encode()), 400),
        (HONEST.ask(0, 5).replace(b"old 0", "old \u0660".encode()), 400),
        (HONEST.ask(0, 5).replace(b"\n5\n", "\n\u0665\n".encode()), 400),
        (HONEST.ask(0, 5).replace(b"=\n", "\u2028=\n".encode()), 400),
        (HONEST.ask(0, 5).replace(b"old 0", b"old 00"), 400),
        (HONEST.ask(0, 5).replace(b"old 0", b"old -1"), 400),
        (request_body(6, [], HONEST.note(5)), 400),
        (request_body(0, [bytes(31)], HONEST.note(5)), 400),
        (request_body(0, [bytes(32)] * 64, HONEST.note(5)), 400),
        (request_body(0, [bytes(32)], HONEST.note(5)), 422),
        (request_body(0, [], HONEST.note(5, Signer(LOG.name, bytes(32)))), 403),
        (request_body(0, [], HONEST.note(5).replace("\n5\n", "\n6\n")), 403),
        (request_body(0, [], HONEST.note(5).replace(LOG.name, "vault.example.in/u")), 404),
    ],
)
def test_what_is_not_right_is_refused_and_not_remembered(witness: Witness, body: bytes, status: int) -> None:
    assert witness.add(body).status == status
    assert witness.add(HONEST.ask(0, 5)).status == 200


async def test_of_many_at_once_it_signs_one_history(tmp_path: Path) -> None:
    witnesses = [Witness(signer=WITNESS, logs=[LOG.verifier], state=tmp_path, now=lambda: NOW) for _ in range(4)]
    asked = [tree.ask(0, 6) for tree in (HONEST, OTHER) for _ in range(10)]
    answers = await asyncio.gather(*(asyncio.to_thread(witnesses[n % 4].add, body) for n, body in enumerate(asked)))
    assert [answer.status for answer in answers].count(200) == 1
    assert {answer.text for answer in answers if answer.status == 409} == {"6\n"}


@pytest.fixture
async def behind_a_server() -> AsyncIterator[Any]:
    """Serves apps, each behind a server of its own; their addresses."""
    servers: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def serve(app: Any) -> str:
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
        servers.append((server, asyncio.create_task(server.serve())))
        await eventually(lambda: server.started)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield serve
    for server, task in servers:
        server.should_exit = True
        await task


@pytest.fixture
def served(tmp_path: Path, behind_a_server: Any) -> Any:
    """A witness for a tenant's log."""

    async def serve(log: Verifier, *, state: str = "served", signer: Signer = WITNESS) -> WitnessAddress:
        url = await behind_a_server(Witness(signer=signer, logs=[log], state=tmp_path / state))
        return WitnessAddress(WITNESS.verifier, url)

    return serve


class Odd:
    """What says that it is a witness, and answers something of its own to everything."""

    def __init__(self, status: int, *, text: str = "", kind: str = "text/plain", signer: Signer | None = None) -> None:
        self.status, self.text, self.kind, self.signer = status, text, kind, signer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        text = self.text if self.signer is None else _never(self.signer, body.decode())
        await send({"type": "http.response.start", "status": self.status, "headers": [
            (b"content-type", self.kind.encode()),
        ]})  # fmt: skip
        await send({"type": "http.response.body", "body": text.encode()})


def _never(signer: Signer, asked: str) -> str:
    """A right cosignature, of a time that is in no calendar."""
    text = parse_note(asked.partition("\n\n")[2]).text
    signature = signer.sign(f"cosignature/v1\ntime {2**63}\n{text}".encode())
    raw = signer.verifier.cosigner().key_id + (2**63).to_bytes(8, "big") + signature
    return f"\u2014 {signer.name} {base64.b64encode(raw).decode()}\n"


async def _checkpoint(vault: Any, now: datetime = NOW) -> StoredCheckpoint:
    made = await make_checkpoint(vault.database, vault.tenant, Signer("vault.example.in", LOG.seed), now=now)
    assert made is not None
    return made


@pytest.mark.real
async def test_the_vault_has_its_checkpoints_signed_and_keeps_the_signatures(
    vault: Any, stores: Any, served: Any
) -> None:
    log = tenant_signer(Signer("vault.example.in", LOG.seed), vault.tenant).verifier
    address = await served(log)
    assert await last_cosigned(address, log.name) is None
    await vault.import_(stores.encrypted())
    first = await _checkpoint(vault)
    assert await have_cosigned(vault.database, vault.tenant, first, [address]) == {WITNESS.name: None}
    assert await have_cosigned(vault.database, vault.tenant, first, [address]) == {}
    await vault.import_(stores.encrypted(LATER, name="again.crypt15"))
    second = await _checkpoint(vault, NOW + timedelta(minutes=1))
    assert await have_cosigned(vault.database, vault.tenant, second, [address]) == {WITNESS.name: None}
    async with vault.database.transaction(vault.tenant) as tx:
        line = (await cosignatures(tx, second.sequence))[WITNESS.name]
    assert cosigned_at(parse_note(second.note + line), WITNESS.verifier) is not None
    noted = await last_cosigned(address, log.name)
    assert noted is not None
    verdict = await verify_ledger(
        vault.database, vault.tenant, keys=[log], now=NOW + timedelta(minutes=1), noted=[noted],
        witnesses=[WITNESS.verifier],
    )  # fmt: skip
    assert verdict.fault is None


@pytest.mark.real
async def test_a_vault_that_is_behind_its_witness_is_told_so(vault: Any, stores: Any, served: Any) -> None:
    """Restored from an old backup, or cut: the witness has seen more."""
    log = tenant_signer(Signer("vault.example.in", LOG.seed), vault.tenant)
    address = await served(log.verifier)
    await vault.import_(stores.encrypted())
    made = await _checkpoint(vault)
    ahead = sign_checkpoint(log, Checkpoint(log.name, made.size + 5, bytes(32)), at=NOW)
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{address.url}/add-checkpoint", content=request_body(0, [], ahead))
        assert answer.status_code == 200
    outcome = await have_cosigned(vault.database, vault.tenant, made, [address])
    assert "cut off" in str(outcome[WITNESS.name])
    noted = await last_cosigned(address, log.name)
    assert noted is not None
    verdict = await verify_ledger(vault.database, vault.tenant, keys=[log.verifier], now=NOW, noted=[noted])
    assert verdict.fault is not None
    assert verdict.fault.check == "tail"


@pytest.mark.real
async def test_another_history_than_the_witness_signed_is_refused_by_it(vault: Any, stores: Any, served: Any) -> None:
    log = tenant_signer(Signer("vault.example.in", LOG.seed), vault.tenant)
    address = await served(log.verifier)
    await vault.import_(stores.encrypted())
    made = await _checkpoint(vault)
    for size in (made.size - 1, made.size):
        address = await served(log.verifier, state=f"state {size}")
        other = sign_checkpoint(log, Checkpoint(log.name, size, bytes(32)), at=NOW)
        async with httpx.AsyncClient() as client:
            assert (await client.post(f"{address.url}/add-checkpoint", content=request_body(0, [], other))).is_success
        outcome = await have_cosigned(vault.database, vault.tenant, made, [address])
        assert "It refused with 4" in str(outcome[WITNESS.name])


@pytest.mark.real
async def test_a_witness_that_is_away_or_somebody_else_signs_nothing(vault: Any, stores: Any, served: Any) -> None:
    log = tenant_signer(Signer("vault.example.in", LOG.seed), vault.tenant).verifier
    await vault.import_(stores.encrypted())
    made = await _checkpoint(vault)
    away = WitnessAddress(WITNESS.verifier, "http://127.0.0.1:9")
    assert "cannot be reached" in str((await have_cosigned(vault.database, vault.tenant, made, [away]))[WITNESS.name])
    impostor = await served(log, signer=Signer(WITNESS.name, bytes(32)))
    outcome = await have_cosigned(vault.database, vault.tenant, made, [impostor])
    assert "not signed with the key" in str(outcome[WITNESS.name])
    with pytest.raises(WitnessRefused):
        await last_cosigned(impostor, log.name)
    async with vault.database.transaction(vault.tenant) as tx:
        assert await cosignatures(tx, made.sequence) == {}


@pytest.mark.real
async def test_a_witness_that_answers_nonsense_keeps_nobody_else_from_signing(
    vault: Any, stores: Any, served: Any, behind_a_server: Any
) -> None:
    """Neither the witness after it nor the authority that stamps the time."""
    signers = [Signer(f"odd{n}.example.org", bytes([n]) * 32) for n in range(1, 5)]
    odd = [
        Odd(200, signer=signers[0]),
        Odd(409, text="9" * 5000, kind=SIZE_TYPE),
        Odd(409, text="\u00b2", kind=SIZE_TYPE),
        Odd(200, text="\u2028 \0", kind="text/plain; charset=none"),
    ]
    pairs = zip(signers, odd, strict=True)
    witnesses = [WitnessAddress(signer.verifier, await behind_a_server(app)) for signer, app in pairs]
    name = tenant_signer(Signer("vault.example.in", LOG.seed), vault.tenant).verifier
    sealing = Sealing(
        signer=Signer("vault.example.in", LOG.seed),
        witnesses=(*witnesses, WitnessAddress(signers[0].verifier, "http://[::1"), await served(name)),
        authority=Authority("http://127.0.0.1:9", ()),
    )
    await vault.import_(stores.encrypted())
    sealed = await seal(vault.database, vault.tenant, sealing, now=NOW)
    assert sealed.others[WITNESS.name] is None
    assert all(sealed.others[each.name] for each in signers)
    assert "cannot be reached" in str(sealed.others["http://127.0.0.1:9"])
    assert sealed.checkpoint is not None
    async with vault.database.transaction(vault.tenant) as tx:
        assert list(await cosignatures(tx, sealed.checkpoint.sequence)) == [WITNESS.name]


async def test_it_answers_nothing_else_and_reads_no_endless_request(served: Any) -> None:
    address = await served(LOG.verifier)
    async with httpx.AsyncClient() as client:
        assert (await client.get(address.url)).status_code == 404
        assert (await client.get(f"{address.url}/checkpoint", params={"origin": "x/../y"})).status_code == 404
        long = await client.post(f"{address.url}/add-checkpoint", content=b"a" * 100_000)
        assert long.status_code == 413


def test_witnesses_are_given_by_key_and_address() -> None:
    key = str(WITNESS.verifier)
    first, second = parse_witnesses(f"{key}@http://a.example/, {key}@https://b.example")
    assert (first.url, second.url) == ("http://a.example", "https://b.example")
    assert first.verifier == WITNESS.verifier
    assert parse_witnesses("") == ()
    for wrong in (key, f"{key}@ftp://a", f"{base64.b64encode(b'x').decode()}@http://a"):
        with pytest.raises(NoteError):
            parse_witnesses(wrong)


@pytest.mark.real
async def test_a_witness_that_was_away_when_the_key_changed_is_led_to_the_new_one(
    vault: Any, stores: Any, served: Any
) -> None:
    old, new, third = (Signer("vault.example.in", bytes([n]) * 32) for n in (1, 2, 3))
    address = await served(tenant_signer(old, vault.tenant).verifier)
    await vault.import_(stores.encrypted())
    first = await make_checkpoint(vault.database, vault.tenant, old, now=NOW)
    assert first is not None
    assert await have_cosigned(vault.database, vault.tenant, first, [address]) == {WITNESS.name: None}
    for before, after in ((old, new), (new, third)):
        await rotate_key(vault.database, vault.tenant, before, after, now=NOW)
    await vault.import_(stores.encrypted(LATER, name="again.crypt15"))
    last = await make_checkpoint(vault.database, vault.tenant, third, now=NOW)
    assert last is not None
    assert await have_cosigned(vault.database, vault.tenant, last, [address]) == {WITNESS.name: None}
    async with vault.database.transaction(vault.tenant) as tx:
        assert [len(await cosignatures(tx, n)) for n in range(1, last.sequence + 1)] == [1, 1, 1, 1]
