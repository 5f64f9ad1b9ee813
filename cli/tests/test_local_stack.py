"""The local stack's decisions, without starting anything."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.stack import checks, control, kafka, postgres, supervisor
from trunkline.stack.checks import Check
from trunkline.stack.layout import SERVICES, Layout
from trunkline.stack.problems import Problem, copyable
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


def test_who_answers_a_telephone_or_a_page_goes_first(layout: Layout) -> None:
    niceness = {process.name: int(process.environment["TRUNKLINE_NICENESS"]) for process in services(layout)}
    assert {name for name, each in niceness.items() if each == 0} == {"front-desk", "telephony-router"}
    assert len(niceness) == 6


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


@pytest.mark.parametrize(("module", "probe", "name"), [(postgres, "binaries", "postgres"), (None, "which", "redis")])
def test_a_server_that_is_not_installed_is_said(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, module: Any, probe: str, name: str
) -> None:
    monkeypatch.setattr(kafka, "java_version", lambda: 17)
    monkeypatch.setattr(module or shutil, probe, lambda *_: None)
    with pytest.raises(Problem, match=f"the {name}.* is not installed") as problem:
        checks.before_start(layout)
    assert problem.value.mend == "make setup"


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_cluster_of_another_account_is_named(layout: Layout) -> None:
    postgres.data_dir(layout).mkdir(parents=True)
    os.chown(postgres.data_dir(layout), pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(Problem, match="belongs to nobody") as problem:
        checks.directory(layout)
    assert problem.value.mend.startswith("sudo chown -R ")


def test_a_directory_that_is_not_ours_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Problem, match=f"cannot write in {re.escape(str(layout.run_dir.parent))}"):
        checks.directory(layout)


@pytest.mark.parametrize("base", ["0", "70000", "-1", "many"])
def test_a_port_base_that_is_none_is_a_sentence(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_PORT_BASE", base)
    with pytest.raises(Problem, match="from 1024 to 65000"):
        Layout.of()


def test_a_command_to_copy_finds_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a b" / "python"))
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "trunkline").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert copyable("kill -9 7 && trunkline down") == "kill -9 7 && 'a b/trunkline' down"
    assert copyable("chmod 600 /srv/trunkline/.run") == "chmod 600 /srv/trunkline/.run"
    monkeypatch.setenv("PATH", str(tmp_path / "a b"))
    (tmp_path / "a b" / "trunkline").chmod(0o755)
    assert copyable("trunkline up") == "trunkline up"


def test_a_second_start_waits_for_the_first(layout: Layout) -> None:
    layout.run_dir.mkdir()
    heard: list[str] = []
    order: list[str] = []

    def second() -> None:
        with control._alone(layout, heard.append):
            order.append("second")

    with control._alone(layout, heard.append):
        thread = threading.Thread(target=second)
        thread.start()
        wait_for(lambda: heard == ["waiting for another start of this stack"])
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_who_only_looks_does_not_keep_a_supervisor_from_starting(layout: Layout) -> None:
    layout.run_dir.mkdir()
    with supervisor.lock_path(layout).open("ab") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        lock = supervisor._take_lock(layout)
    assert lock is not None
    lock.close()


def test_a_table_of_a_newer_release_can_be_read(layout: Layout) -> None:
    layout.run_dir.mkdir()
    row = {"name": "kafka", "argv": ["java"], "invented_later": 1}
    (layout.run_dir / "processes.json").write_text(json.dumps([row]), encoding="utf-8")
    assert read_table(layout) == [Process(name="kafka", argv=("java",))]


@pytest.mark.parametrize("running", ["running", "lane/running"])
def test_forgetting_leaves_alone_a_running_stack_that_lives_inside(layout: Layout, running: str) -> None:
    for name in ("stopped", running):
        (layout.run_dir / name).mkdir(parents=True)
        (layout.run_dir / name / "supervisor.lock").write_text("7", encoding="utf-8")
    layout.secrets()
    with (layout.run_dir / running / "supervisor.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        control.clean(layout)
    assert [entry.name for entry in layout.run_dir.iterdir()] == [running.partition("/")[0]]


def test_clean_forgets_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "test").symlink_to(elsewhere)
    control.clean(Layout.of(str(tmp_path / "stack"), 45000))
    assert [*(tmp_path / "stack").iterdir()] == []
    assert elsewhere.is_dir()


def maven(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A stand-in for Maven that fetches one jar, or half of it."""
    folder.mkdir(exist_ok=True)
    find_output = 'for part; do case "$part" in -DoutputDirectory=*) out="${part#*=}";; esac; done'
    (folder / "mvn").write_text(f"#!/bin/sh\n{find_output}\n{script}\n", encoding="utf-8")
    (folder / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_kafkas_jars_are_all_there_or_not_at_all(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "shared" / "libs"
    monkeypatch.setattr(kafka, "libraries", lambda _: target)
    maven(tmp_path / "bin", monkeypatch, 'echo half > "$out/kafka.jar"; echo "no network" >&2; exit 1')
    with pytest.raises(Problem, match="no network"):
        kafka._fetch(layout, lambda _: None)
    assert list(target.parent.iterdir()) == []

    maven(tmp_path / "bin", monkeypatch, 'echo whole > "$out/kafka.jar"')
    kafka._fetch(layout, lambda _: None)
    assert (target / "kafka.jar").read_text(encoding="utf-8") == "whole\n"
    assert [entry.name for entry in target.parent.iterdir()] == ["libs"]

    maven(tmp_path / "bin", monkeypatch, "exit 1")
    kafka._fetch(layout, lambda _: None)


def test_a_tool_dies_with_the_start_that_ran_it(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = "from trunkline.stack import children; import sys\n"
    code += "children.run(['sh', '-c', 'echo $$ > \"$0\"; exec sleep 60', sys.argv[1]], cwd='/')"
    with subprocess.Popen([sys.executable, "-c", code, str(told)]) as start:
        wait_for(lambda: told.exists() and told.read_text(encoding="utf-8").strip())
        start.kill()
    tool = Path("/proc") / told.read_text(encoding="utf-8").strip() / "cmdline"
    wait_for(lambda: not tool.exists() or b"sleep" not in tool.read_bytes())


def wait_for(condition: Callable[[], Any], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


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


SPEAKER = """
import http.server, sys
class Speaker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Speaker).serve_forever()
"""


def test_who_answers_is_asked_only_when_it_is_the_one_that_was_to_be_started(layout: Layout) -> None:
    """A supervisor that is slow to read its table leaves the old process running, and that says 200 as well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"

    def speaker(word: str) -> Process:
        return Process(name="speaker", argv=(sys.executable, "-c", SPEAKER, str(port), word), ready_url=url)

    layout.run_dir.mkdir()
    try:
        control._run(layout, [speaker("old")])
        control._wait_http(layout, [speaker("old")])
        slow = control.supervisor_pid(layout)
        assert slow is not None
        os.kill(slow, signal.SIGSTOP)
        threading.Timer(1.0, os.kill, (slow, signal.SIGCONT)).start()
        control._run(layout, [speaker("new")])
        control._wait_http(layout, [speaker("new")])
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.read() == b"new"
    finally:
        control.down(layout)


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
    heavy = [
        *(service.package for service in SERVICES),
        "asyncpg",
        "confluent_kafka",
        "fastapi",
        "trunkline.stack.control",
    ]
    probe += f"print([m for m in sys.modules if m in {heavy}])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert loaded.strip().endswith("[]")


def test_an_error_is_a_sentence_and_a_command(tmp_path: Path) -> None:
    done = run_command("logs", "nobody", "--run-dir", str(tmp_path))
    assert done.returncode == 1
    assert "there is no log of 'nobody'" in done.stderr
    assert re.search(r"mend it by: \S*trunkline up", done.stderr)
    assert "Traceback" not in done.stderr


def test_status_of_nothing_says_how_to_start(tmp_path: Path) -> None:
    done = run_command("status", "--run-dir", str(tmp_path))
    assert (done.returncode, "trunkline up" in done.stderr) == (1, True)
