"""`trunkline contracts publish` against a real registry: Apicurio, which speaks Confluent's interface."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from contracts import archive
from contracts.archive import Archive, Released
from contracts.schemas import draft_07
from trunkline.contracts_command import app
from trunkline.contracts_commands import publication
from trunkline.contracts_commands.schema_registry import CredentialsError, credentials

runner = CliRunner()
COMMITTED = archive.read(archive.root())
ARTIFACT = "io.apicurio:apicurio-registry-app:2.5.11.Final:tar.gz:all"
STARTS_WITHIN = 180.0
SUBJECTS = sorted({f"{each.topic}-{each.topic}.v{each.major}" for each in COMMITTED.released})
STATE = "call.state-call.state.v1"


def _installed() -> Path:
    """The registry's jar, fetched by Maven once."""
    target = Path(os.environ.get("TRUNKLINE_TEST_ROOT", ".run")).resolve() / "schema-registry" / ARTIFACT.split(":")[2]
    if not (target / "complete").is_file():
        if shutil.which("mvn") is None:
            pytest.fail("this test needs Maven: deploy/native/bootstrap --for-tests installs it")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        fetch = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={target}"]
        done = subprocess.run(fetch, cwd=target, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[:2000]
        (packed,) = target.glob("*.tar.gz")
        subprocess.run(["tar", "-xzf", str(packed), "-C", str(target)], check=True)
        packed.unlink()
        (target / "complete").touch()
    (jar,) = target.glob("*-runner.jar")
    return jar


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty registry that forgets everything when it ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    jar = _installed()
    log = tmp_path_factory.mktemp("registry") / "log"
    flags = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1"]
    with log.open("w") as output:
        process = subprocess.Popen(
            ["java", *flags, f"-Dquarkus.http.port={port}", "-jar", str(jar)],
            cwd=jar.parent, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    try:
        _wait(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/subjects", timeout=5).status_code == 200:
                return
        time.sleep(0.5)
    pytest.fail(f"the registry did not start: {log.read_text(encoding='utf-8')[-2000:]}")


def publish(*arguments: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    """The exit code, and each row by subject and version."""
    result = runner.invoke(app, ["publish", *arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, {(row["subject"], row["version"]): row for row in json.loads(result.stdout)}


@pytest.mark.real
@pytest.mark.slow
def test_a_real_registry_holds_exactly_the_released_schemas(registry: str) -> None:
    code, planned = publish("--registry", registry, "--dry-run")
    assert (code, {row["outcome"] for row in planned.values()}) == (0, {"would publish"})
    assert httpx.get(f"{registry}/subjects").json() == []

    code, rows = publish("--registry", registry)
    assert (code, {row["outcome"] for row in rows.values()}) == (0, {"published"})
    assert sorted(httpx.get(f"{registry}/subjects").json()) == SUBJECTS
    place: Counter[str] = Counter()
    for released in COMMITTED.released:
        subject = publication.subject_of(released)
        place[subject] += 1
        held = httpx.get(f"{registry}/subjects/{subject}/versions/{place[subject]}").json()
        assert (held["schemaType"], held["id"]) == ("JSON", rows[subject, released.version]["id"])
        assert json.loads(held["schema"]) == draft_07(released.reader)
        assert httpx.get(f"{registry}/config/{subject}").json() == {"compatibilityLevel": "FORWARD_TRANSITIVE"}

    code, again = publish("--registry", f"{registry}/")
    assert (code, {row["outcome"] for row in again.values()}) == (0, {"unchanged"})
    assert {key: row["id"] for key, row in again.items()} == {key: row["id"] for key, row in rows.items()}
    assert httpx.get(f"{registry}/subjects/{STATE}/versions").json() == list(range(1, place[STATE] + 1))


def _next_minor(**properties: Any) -> Archive:
    """The archive with one more minor of ``call.state``, whose fields are changed by ``properties``."""
    states = [each for each in COMMITTED.released if each.topic == "call.state"]
    last = max(states, key=lambda each: each.minor)
    reader = json.loads(json.dumps(last.reader))
    reader["$id"] = f"urn:trunkline:call.state:1.{last.minor + 1}:reader"
    reader["properties"] |= properties
    newer = Released(topic=last.topic, major=last.major, minor=last.minor + 1, writer=last.writer, reader=reader)
    return replace(COMMITTED, released=(*states, newer))


@pytest.mark.real
@pytest.mark.slow
def test_a_real_registry_takes_additions_and_refuses_what_breaks(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publish("--registry", registry)[0] == 0

    known = sum(each.topic == "call.state" for each in COMMITTED.released)
    new = _next_minor().released[-1].version
    monkeypatch.setattr(publication, "committed_files", lambda: _next_minor(call_id={"type": "integer"}))
    code, rows = publish("--registry", registry)
    assert (code, rows[STATE, new]["outcome"]) == (1, "refused")
    assert rows[STATE, "v1.0"]["outcome"] == "unchanged"
    assert "call_id" in rows[STATE, new]["reason"]

    monkeypatch.setattr(publication, "committed_files", lambda: _next_minor(note={"type": "string"}))
    code, rows = publish("--registry", registry)
    assert (code, rows[STATE, new]["outcome"]) == (0, "published")
    assert httpx.get(f"{registry}/subjects/{STATE}/versions").json() == list(range(1, known + 2))


@pytest.mark.real
@pytest.mark.slow
def test_people_see_a_table(registry: str) -> None:
    result = runner.invoke(app, ["publish", "--registry", registry], env={"COLUMNS": "160"})

    assert result.exit_code == 0
    for text in (STATE, "v1.0", "FORWARD_TRANSITIVE"):
        assert text in result.stdout


class _Registry(BaseHTTPRequestHandler):
    """Answers everything with what the test put on the server, and remembers who asked."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815  # named by http.server

    def log_message(self, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[Any]:
    """A web server under the test's control, for what a healthy registry does not answer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        server.seen, server.answer = [], (401, b"")  # type: ignore[attr-defined]
        server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_credentials_come_from_the_environment_or_a_file(server: Any, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame\n", encoding="utf-8")
    user = {"TRUNKLINE_REGISTRY_USERNAME": "publisher", "TRUNKLINE_REGISTRY_PASSWORD_FILE": str(secret)}

    result = runner.invoke(app, ["publish", "--registry", server.url], env=user)
    runner.invoke(app, ["publish"], env={"TRUNKLINE_REGISTRY_TOKEN": "t0ken", "TRUNKLINE_REGISTRY_URL": server.url})

    assert result.exit_code == 1
    assert "TRUNKLINE_REGISTRY_USERNAME" in result.stderr
    assert "open sesame" not in result.stderr
    assert server.seen == ["Basic cHVibGlzaGVyOm9wZW4gc2VzYW1l", "Bearer t0ken"]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((500, b'{"error_code": 50001, "message": "backend store"}'), "with 500: backend store"),
        ((404, b"<html>nothing here</html>"), "with 404"),
        ((200, b"<html>welcome</html>"), "is it a schema registry?"),
    ],
)
def test_what_is_no_healthy_registry_is_told(server: Any, answer: tuple[int, bytes], sentence: str) -> None:
    server.answer = answer

    result = runner.invoke(app, ["publish", "--registry", server.url])

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:9", "cannot be reached"),
        ("localhost:8081", "not an http or https URL"),
        ("http://me:secret@localhost:8081", "leave the credentials out"),
    ],
)
def test_a_wrong_address_is_told_without_its_secrets(url: str, sentence: str) -> None:
    result = runner.invoke(app, ["publish", "--registry", url])

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "secret@" not in result.stderr


@pytest.mark.parametrize(
    "environ",
    [
        {"TRUNKLINE_REGISTRY_USERNAME": "publisher"},
        {"TRUNKLINE_REGISTRY_TOKEN": "t", "TRUNKLINE_REGISTRY_PASSWORD": "p"},
        {"TRUNKLINE_REGISTRY_TOKEN_FILE": "/nonexistent"},
    ],
)
def test_half_an_identity_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(CredentialsError, match="TRUNKLINE_REGISTRY_"):
        credentials(environ)


def test_without_credentials_nobody_asks() -> None:
    assert credentials({}) is None
