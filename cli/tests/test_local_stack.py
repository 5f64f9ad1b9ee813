"""The local stack's decisions, without starting anything."""

from __future__ import annotations

import importlib
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.stack import checks, control, kafka, postgres
from trunkline.stack.checks import Check
from trunkline.stack.layout import SERVICES, Layout
from trunkline.stack.problems import Problem
from trunkline.stack.processes import Process, read_table, servers, services, write_table
from trunkline.stack.supervisor import Backoff


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "run", 23000)


def test_every_service_accepts_what_the_stack_gives_it(layout: Layout) -> None:
    environment = layout.environment()
    for service in SERVICES:
        settings = importlib.import_module(f"{service.package}.settings").Settings.load(environment)
        assert settings.http_port == layout.ports[service.name]
        assert settings.kafka_bootstrap == "127.0.0.1:23092"


def test_ports_never_collide_and_move_with_the_base(layout: Layout) -> None:
    ports = layout.ports
    assert len(set(ports.values())) == len(ports)
    assert (ports["front-desk"], ports["notifier"], ports["postgres"]) == (23080, 23085, 23432)


def test_secrets_are_made_once_and_for_their_owner_only(layout: Layout) -> None:
    first = layout.secrets()
    assert layout.secrets() == first
    assert stat.S_IMODE((layout.run_dir / "secrets.json").stat().st_mode) == 0o600
    assert len(set(first.values())) == len(first)


def test_a_secret_that_a_newer_release_needs_is_added_to_the_old_ones(layout: Layout) -> None:
    first = layout.secrets()
    path = layout.run_dir / "secrets.json"
    path.write_text(json.dumps({"postgres": first["postgres"]}), encoding="utf-8")
    assert layout.secrets()["postgres"] == first["postgres"]
    assert layout.secrets().keys() == first.keys()


def test_the_table_of_processes_survives_its_file(layout: Layout) -> None:
    layout.run_dir.mkdir()
    table = [*servers(layout), *services(layout)]
    write_table(layout, table)
    assert read_table(layout) == table
    assert stat.S_IMODE((layout.run_dir / "processes.json").stat().st_mode) == 0o600
    assert [process.name for process in table[:4]] == ["kafka", "postgres", "redis", "smtp-sink"]


def test_kafka_has_a_small_heap_and_makes_no_topic_by_itself(layout: Layout) -> None:
    heap = next(part for part in kafka.command(layout) if part.startswith("-Xmx"))
    assert int(heap.removeprefix("-Xmx").removesuffix("m")) <= 384
    assert "auto.create.topics.enable=false" in kafka.PROPERTIES
    assert "PLAINTEXT://127.0.0.1" in kafka.PROPERTIES


def test_postgres_is_durable_and_on_loopback() -> None:
    assert postgres.SETTINGS["synchronous_commit"] == "on"
    assert postgres.SETTINGS["fsync"] == "on"
    assert postgres.SETTINGS["listen_addresses"] == "127.0.0.1"


def test_waits_between_starts_double_up_to_a_bound_and_forget_after_a_stable_run() -> None:
    backoff = Backoff()
    waits = [backoff.after(0.1) for _ in range(12)]
    assert waits[:4] == [0.2, 0.4, 0.8, 1.6]
    assert waits[-1] == 15.0
    assert backoff.after(60) == 0.2


def test_a_taken_port_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        layout = Layout(tmp_path, taken.getsockname()[1] - 379)
        found = next(check for check in checks._ports(layout) if check.name == "ports")
    assert found.verdict == "FAIL"
    assert f"{layout.ports['redis']} (redis)" in found.finding
    assert found.mend == f"TRUNKLINE_PORT_BASE={layout.port_base + 1000} trunkline up"


@pytest.mark.parametrize(("version", "words"), [(None, "no Java"), (11, "Java 11")])
def test_a_java_that_is_missing_or_too_old_is_said(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, version: int | None, words: str
) -> None:
    monkeypatch.setattr(kafka, "java_version", lambda: version)
    with pytest.raises(Problem, match=words) as problem:
        checks.before_start(layout)
    assert problem.value.mend.startswith("apt-get install")


def test_too_little_disk_is_said(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DISK_GB", 10**9)
    assert checks._disk(layout).verdict == "FAIL"


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MEMORY_MB", 10**9)
    assert checks._memory().verdict == "FAIL"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
def test_a_directory_that_postgres_cannot_enter_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for parent in (tmp_path, *tmp_path.parents):
        if not parent.stat().st_mode & 1:
            assert postgres.closed_door(Layout(closed / "run", 23000)) is not None
            return
    assert postgres.closed_door(Layout(closed / "run", 23000)) == closed


def test_a_stack_that_was_never_started_is_not_running(layout: Layout) -> None:
    assert control.supervisor_pid(layout) is None
    assert control.state(layout) == {}
    assert control.down(layout) is False


def test_a_lock_that_a_dead_supervisor_left_is_not_believed(layout: Layout) -> None:
    layout.run_dir.mkdir()
    (layout.run_dir / "supervisor.lock").write_text("1", encoding="utf-8")
    (layout.run_dir / "state.json").write_text('{"pid": 1, "processes": {"kafka": {}}}', encoding="utf-8")
    assert control.supervisor_pid(layout) is None
    assert control.state(layout) == {}


def test_only_processes_of_this_stack_are_ended_as_orphans(layout: Layout) -> None:
    layout.run_dir.mkdir()
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    write_table(layout, [Process(name="sleeper", argv=command)])
    with (
        subprocess.Popen(command, env={"TRUNKLINE_RUN_DIR": str(layout.run_dir)}) as ours,
        subprocess.Popen(command, env={"TRUNKLINE_RUN_DIR": "elsewhere"}) as others,
    ):
        control._end_orphans(layout)
        assert ours.wait(10) != 0
        assert others.poll() is None
        others.kill()


def test_stopping_what_does_not_run_is_a_sentence(layout: Layout) -> None:
    with pytest.raises(Problem, match="is not running"):
        control.stop_one(layout, "kafka")


def test_the_worst_is_shown_first(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checks,
        "_requirements",
        lambda _: iter([Check("a", "PASS", ""), Check("b", "FAIL", ""), Check("c", "WARN", "")]),
    )
    assert [check.verdict for check in checks.examine(layout)][:2] == ["FAIL", "WARN"]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    return subprocess.run(
        [sys.executable, "-m", "trunkline", *arguments], capture_output=True, text=True, check=False, env=environment
    )


def test_help_teaches_every_command_without_importing_a_service() -> None:
    done = run_command("--help")
    for name in (
        "up",
        "down",
        "status",
        "logs",
        "doctor",
        "router",
        "vault",
        "directory",
        "notify",
        "contracts",
        "demo",
    ):
        assert f" {name} " in done.stdout, name
    probe = "import sys; sys.argv = ['trunkline', '--help']\nfrom trunkline.main import app\n"
    probe += "try: app()\nexcept SystemExit: pass\n"
    probe += "print([m for m in sys.modules if m in ('front_desk', 'telephony_router', 'asyncpg')])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert loaded.strip().endswith("[]")


def test_an_error_is_a_sentence_and_a_command(tmp_path: Path) -> None:
    done = run_command("logs", "nobody", "--run-dir", str(tmp_path))
    assert done.returncode == 1
    assert "there is no log of 'nobody'" in done.stderr
    assert "mend it by: trunkline up" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_of_nothing_says_how_to_start(tmp_path: Path) -> None:
    done = run_command("status", "--run-dir", str(tmp_path))
    assert (done.returncode, "trunkline up" in done.stderr) == (1, True)
