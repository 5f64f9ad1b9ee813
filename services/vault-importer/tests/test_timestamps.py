"""Checkpoints are stamped by an authority: a real one of OpenSSL, behind a server on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kit.testing import eventually
from vault_importer import verify_evidence
from vault_importer.checkpoint_store import StoredCheckpoint, timestamps
from vault_importer.checkpoints import tenant_signer
from vault_importer.evidence import SUMS, SUMS_TITLE, gather_evidence
from vault_importer.evidence_store import Scope
from vault_importer.seal import Sealing, seal
from vault_importer.signed_note import Signer, sign_text
from vault_importer.timestamps import (
    Authority,
    TimestampRefused,
    have_timestamped,
    read_roots,
    stamped_at,
    stamped_text,
)
from vault_importer.verify_ledger import verify_ledger

pytestmark = pytest.mark.real

SIGNER = Signer("vault.example.in", bytes(range(32)))
CONFIG = """
[tsa]
default_tsa = local
[local]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256
ess_cert_id_alg = sha256
"""


class LocalAuthority:
    """Answers like a time-stamping authority; every request is a process of ``openssl ts``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.broken = False
        (folder / "serial").write_text("01\n", encoding="ascii")
        (folder / "tsa.conf").write_text(CONFIG.format(folder=folder), encoding="utf-8")
        root_key, root = _certificate("Root", None)
        key, leaf = _certificate("Authority", (root_key, root))
        _write(folder / "root.pem", root)
        _write(folder / "leaf.pem", leaf)
        (folder / "leaf.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        answer = b"broken" if self.broken else await asyncio.to_thread(self.stamp, body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    def stamp(self, query: bytes) -> bytes:
        (self.folder / "query.tsq").write_bytes(query)
        command = (
            "openssl", "ts", "-reply", "-config", "tsa.conf", "-queryfile", "query.tsq", "-signer", "leaf.pem",
            "-inkey", "leaf.key", "-out", "reply.tsr",
        )  # fmt: skip
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "reply.tsr").read_bytes()


def _certificate(
    name: str, issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing, parent = (issuer[0], issuer[1].subject) if issuer else (key, subject)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if issuer:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return key, builder.sign(signing, hashes.SHA256())


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[LocalAuthority, Authority]]:
    local = LocalAuthority(tmp_path / "tsa")
    server = uvicorn.Server(uvicorn.Config(local, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield local, Authority(url, read_roots(local.folder / "root.pem"))
    server.should_exit = True
    await task


async def _sealed(vault: Any, stores: Any, authority: Authority | None) -> StoredCheckpoint:
    await vault.import_(stores.encrypted())
    sealed = await seal(
        vault.database, vault.tenant, Sealing(signer=SIGNER, authority=authority), now=datetime.now(UTC)
    )
    assert sealed.checkpoint is not None
    assert set(sealed.others.values()) <= {None}
    return sealed.checkpoint


async def _fault(vault: Any, authority: Authority) -> str:
    key = tenant_signer(SIGNER, vault.tenant).verifier
    verdict = await verify_ledger(
        vault.database, vault.tenant, keys=[key], now=datetime.now(UTC), tsa_roots=authority.roots
    )
    return verdict.fault.check if verdict.fault else ""


async def test_a_checkpoint_is_stamped_once_and_its_token_is_checked(vault: Any, stores: Any, served: Any) -> None:
    local, authority = served
    made = await _sealed(vault, stores, authority)
    assert await have_timestamped(vault.database, vault.tenant, made, authority) == {}
    async with vault.database.transaction(vault.tenant) as tx:
        token = (await timestamps(tx, made.sequence))[authority.url]
    at = stamped_at(token, stamped_text(made), authority.roots)
    assert timedelta(seconds=-2) < at - made.at < timedelta(minutes=5)
    assert await _fault(vault, authority) == ""
    another = LocalAuthority(local.folder.parent / "another")
    assert await _fault(vault, Authority(authority.url, read_roots(another.folder / "root.pem"))) == "timestamp"
    with pytest.raises(TimestampRefused):
        stamped_at(token, stamped_text(made) + b".", authority.roots)
    with pytest.raises(TimestampRefused):
        stamped_at(token, stamped_text(made), authority.roots, nonce=1)


async def test_a_token_of_another_text_beside_a_checkpoint_is_found(vault: Any, stores: Any, served: Any) -> None:
    local, authority = served
    made = await _sealed(vault, stores, None)
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = TimestampRequestBuilder().data(b"another").hash_algorithm(HashAlgorithm.SHA256).build()
    token = await asyncio.to_thread(local.stamp, request.as_bytes())
    async with vault.database.transaction(vault.tenant) as tx:
        await tx.execute(
            "INSERT INTO ledger_timestamp VALUES ($1, $2, 'elsewhere', $3)", vault.tenant, made.sequence, token
        )
    assert await _fault(vault, authority) == "timestamp"


async def test_an_authority_that_is_away_or_talks_nonsense_stamps_nothing(vault: Any, stores: Any, served: Any) -> None:
    local, authority = served
    made = await _sealed(vault, stores, None)
    local.broken = True
    nonsense = await have_timestamped(vault.database, vault.tenant, made, authority)
    assert "token" in str(nonsense[authority.url])
    away = Authority("http://127.0.0.1:9", authority.roots)
    assert "cannot be reached" in str((await have_timestamped(vault.database, vault.tenant, made, away))[away.url])
    async with vault.database.transaction(vault.tenant) as tx:
        assert await timestamps(tx, made.sequence) == {}
    with pytest.raises(TimestampRefused):
        read_roots(local.folder / "serial")


async def test_evidence_carries_the_token_for_anybodys_openssl(vault: Any, stores: Any, served: Any) -> None:
    local, authority = served
    made = await _sealed(vault, stores, authority)
    chat = (await vault.rows("SELECT id FROM chat LIMIT 1"))[0]["id"]
    evidence = await gather_evidence(
        vault.database, vault.tenant, Scope(chat=chat), checkpoint=made, signer=SIGNER, witnesses=[],
        now=datetime.now(UTC),
    )  # fmt: skip
    bundle = local.folder / "evidence.zip"
    with bundle.open("wb") as file:
        evidence.write_to(file)
    files, _ = verify_evidence.read(str(bundle))
    assert verify_evidence.verify(files, {}).wordings == evidence.wordings
    for name in ("timestamps/1.tsr", "checkpoint_text.txt"):
        (local.folder / name.rpartition("/")[2]).write_bytes(files[name])
    command = ("openssl", "ts", "-verify", "-in", "1.tsr", "-data", "checkpoint_text.txt", "-CAfile", "root.pem")
    checked = await asyncio.to_thread(
        subprocess.run, command, cwd=local.folder, capture_output=True, check=False, encoding="utf-8"
    )
    assert checked.returncode == 0, checked.stderr
    # A token of another text, in a bundle whose list of hashes the vault has signed anew.
    rest = {**files, "timestamps/1.tsr": files["timestamps/1.tsr"][::-1]}
    del rest[SUMS]
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in rest.items())
    signed = sign_text(tenant_signer(SIGNER, vault.tenant), f"{SUMS_TITLE}\n{sums}").encode()
    with pytest.raises(verify_evidence.Bad, match=r"\[timestamp\]"):
        verify_evidence.verify({**rest, SUMS: signed}, {})
