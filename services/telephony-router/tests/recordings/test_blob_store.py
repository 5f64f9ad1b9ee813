"""What both stores promise, on a folder and on a server that speaks S3 and checks every signature."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from telephony_router.blob_store import BlobStore, Corrupt, FileBlobStore, StoreAway, Verified, blob_name
from telephony_router.s3_blob_store import NOTHING, Credentials, S3BlobStore, signed_headers

BUCKET = "recordings"
REGION = "ap-south-1"
S3 = pytest.param("s3", marks=pytest.mark.real)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Credentials]]:
    """A server of its own, which refuses what is not signed by the one user it has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    # The first requests make the user and the bucket; what comes after them must be allowed.
    setup = {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], env={**os.environ, **setup}, stdout=log, stderr=log
    )
    try:
        yield address, _user(address, log.name)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        log.close()


def _user(address: str, log: str) -> Credentials:
    import boto3
    from botocore.exceptions import EndpointConnectionError

    made = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": REGION, "endpoint_url": address}
    iam = boto3.client("iam", **made)
    for _ in range(600):
        try:
            iam.create_user(UserName="router")
            break
        except EndpointConnectionError:
            pass
    else:
        pytest.fail(Path(log).read_text())
    policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
    iam.put_user_policy(UserName="router", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="router")["AccessKey"]
    boto3.client("s3", **made).create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return Credentials(access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"], region=REGION)


def s3_store(s3: tuple[str, Credentials], prefix: str = "calls/of us") -> S3BlobStore:
    address, credentials = s3
    return S3BlobStore(endpoint=address, bucket=BUCKET, prefix=prefix, credentials=credentials)


@pytest.fixture(params=["folder", S3])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    folder = request.param == "folder"
    made: BlobStore = FileBlobStore(tmp_path / "store") if folder else s3_store(request.getfixturevalue("s3"))
    yield made
    await made.close()


def a_file(tmp_path: Path, text: bytes) -> tuple[Path, str]:
    path = tmp_path / "source"
    path.write_bytes(text)
    return path, hashlib.sha256(text).hexdigest()


async def read(store: BlobStore, tenant: UUID, sha256: str, **part: int) -> bytes:
    return b"".join([chunk async for chunk in Verified(store).read(tenant, sha256, **part)])


async def test_what_is_stored_is_read_as_it_was_whole_and_in_parts(
    store: BlobStore, tenant: UUID, tmp_path: Path
) -> None:
    text = os.urandom(700_000)
    path, sha256 = a_file(tmp_path, text)
    assert await store.stat(tenant, sha256) is None
    await store.put(tenant, sha256, path)
    found = await store.stat(tenant, sha256)
    assert found is not None
    assert found.size_bytes == len(text)
    assert await read(store, tenant, sha256) == text
    assert await read(store, tenant, sha256, start=5, length=10) == text[5:15]
    assert await read(store, tenant, sha256, start=699_990, length=500) == text[-10:]


async def test_storing_twice_is_storing_once(store: BlobStore, tenant: UUID, tmp_path: Path) -> None:
    path, sha256 = a_file(tmp_path, b"sound" * 1000)
    await store.put(tenant, sha256, path)
    before = await store.stat(tenant, sha256)
    await store.put(tenant, sha256, path)
    assert await store.stat(tenant, sha256) == before
    assert await read(store, tenant, sha256) == b"sound" * 1000


async def test_many_who_store_the_same_at_once_leave_it_there_once(tenant: UUID, tmp_path: Path) -> None:
    """In a folder: the server that stands for a bucket fails one of several writers that come first."""
    store = FileBlobStore(tmp_path / "store")
    path, sha256 = a_file(tmp_path, b"sound" * 1000)
    await asyncio.gather(*(store.put(tenant, sha256, path) for _ in range(20)))
    files = [each for each in (tmp_path / "store").rglob("*") if each.is_file()]
    assert files == [tmp_path / "store" / blob_name(tenant, sha256)]
    assert await read(store, tenant, sha256) == b"sound" * 1000


async def test_one_tenants_blob_is_not_anothers(store: BlobStore, tmp_path: Path) -> None:
    path, sha256 = a_file(tmp_path, b"mine")
    mine, theirs = uuid4(), uuid4()
    await store.put(mine, sha256, path)
    assert await store.stat(theirs, sha256) is None
    with pytest.raises(Corrupt):
        await read(store, theirs, sha256)
    await store.remove(theirs, sha256)
    assert await read(store, mine, sha256) == b"mine"


async def test_a_file_is_not_stored_under_anothers_hash(store: BlobStore, tenant: UUID, tmp_path: Path) -> None:
    path, _ = a_file(tmp_path, b"altered")
    wanted = hashlib.sha256(b"original").hexdigest()
    with pytest.raises(Corrupt):
        await store.put(tenant, wanted, path)
    assert await store.stat(tenant, wanted) is None


async def test_what_is_removed_is_gone_and_removing_it_again_is_fine(
    store: BlobStore, tenant: UUID, tmp_path: Path
) -> None:
    path, sha256 = a_file(tmp_path, b"sound")
    await store.put(tenant, sha256, path)
    for _ in range(2):
        await store.remove(tenant, sha256)
    assert await store.stat(tenant, sha256) is None


async def test_a_blob_is_named_by_a_hash_and_by_nothing_else(store: BlobStore, tenant: UUID, tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "", "ABC", "g" * 64):
        with pytest.raises(ValueError, match="64 hexadecimal"):
            await store.stat(tenant, name)


async def test_bytes_that_changed_in_the_store_are_noticed_and_mended(tenant: UUID, tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path / "store")
    text = os.urandom(600_000)
    path, sha256 = a_file(tmp_path, text)
    await store.put(tenant, sha256, path)
    reader = Verified(store)
    assert b"".join([chunk async for chunk in reader.read(tenant, sha256)]) == text
    place = tmp_path / "store" / blob_name(tenant, sha256)
    place.write_bytes(text[:-1] + bytes([text[-1] ^ 1]))
    for part in ({}, {"start": 0, "length": 10}):
        given = b""
        with pytest.raises(Corrupt):
            async for chunk in reader.read(tenant, sha256, **part):
                given += chunk
        assert len(given) < len(text)
    await store.put(tenant, sha256, path)
    assert b"".join([chunk async for chunk in reader.read(tenant, sha256, 0, 10)]) == text[:10]


async def test_nothing_half_written_is_ever_under_a_name(tenant: UUID, tmp_path: Path, monkeypatch: Any) -> None:
    store = FileBlobStore(tmp_path / "store")
    path, sha256 = a_file(tmp_path, b"sound" * 1000)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(StoreAway):
            await store.put(tenant, sha256, path)
    assert await store.stat(tenant, sha256) is None
    assert [each for each in (tmp_path / "store").rglob("*") if each.is_file()] == []
    await store.put(tenant, sha256, path)
    place = tmp_path / "store" / blob_name(tenant, sha256)
    assert place.stat().st_mode & 0o777 == 0o600


@pytest.mark.real
async def test_the_server_refuses_what_is_signed_with_another_key(
    s3: tuple[str, Credentials], tenant: UUID, tmp_path: Path
) -> None:
    address, right = s3
    wrong = Credentials(access_key=right.access_key, secret_key="x" * 40, region=REGION)
    store = S3BlobStore(endpoint=address, bucket=BUCKET, prefix="", credentials=wrong)
    path, sha256 = a_file(tmp_path, b"sound")
    with pytest.raises(StoreAway, match="http_403"):
        await store.put(tenant, sha256, path)
    await store.close()


async def test_a_store_that_is_not_there_says_so(tenant: UUID, tmp_path: Path) -> None:
    path, sha256 = a_file(tmp_path, b"sound")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    keys = Credentials(access_key="k", secret_key="s", region=REGION)
    store = S3BlobStore(endpoint=address, bucket=BUCKET, prefix="", credentials=keys)
    with pytest.raises(StoreAway):
        await store.put(tenant, sha256, path)
    await store.close()
    (tmp_path / "store").write_text("a file where a folder should be")
    with pytest.raises(StoreAway):
        await FileBlobStore(tmp_path / "store").put(tenant, sha256, path)


def test_a_signature_is_the_one_that_amazon_publishes() -> None:
    """Examples of the documentation of Signature Version 4: a GET of a range and a PUT."""
    keys = Credentials(
        access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region="us-east-1"
    )
    now = datetime(2013, 5, 24, tzinfo=UTC)
    base = "https://examplebucket.s3.amazonaws.com"
    got = signed_headers("GET", f"{base}/test.txt", {"range": "bytes=0-9"}, NOTHING, keys, now)["authorization"]
    assert got.endswith("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    more = {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    body = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
    put = signed_headers("PUT", f"{base}/test%24file.text", more, body, keys, now)["authorization"]
    assert put.endswith("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
