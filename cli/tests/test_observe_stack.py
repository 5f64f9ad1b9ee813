"""``trunkline up --observe``: decided without starting anything, and the whole of it with real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from trunkline.stack import checks, control, observers
from trunkline.stack.layout import OBSERVERS, SERVICES, Choices, Layout
from trunkline.stack.problems import Problem
from trunkline.stack.processes import watchers

PORT_BASE = int(os.environ.get("TRUNKLINE_TEST_OBSERVE_PORT_BASE", "26000"))
RUN_DIR = Path(os.environ.get("TRUNKLINE_TEST_ROOT", ".run")) / "observed 'stack'"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "run [1] *", 23000)
    layout.run_dir.mkdir()
    return layout


def test_what_was_chosen_is_kept_until_it_is_chosen_otherwise(layout: Layout) -> None:
    assert layout.choices == Choices(observe=False, otlp_endpoint="")
    layout.choose(observe=True)
    layout.choose(otlp_endpoint="http://127.0.0.1:4318")
    assert layout.choose() == layout.choices == Choices(observe=True, otlp_endpoint="http://127.0.0.1:4318")
    assert layout.choose(observe=False, otlp_endpoint="") == Choices()


def test_nothing_more_is_started_unless_it_was_asked_for(layout: Layout) -> None:
    assert watchers(layout) == []
    assert not OBSERVERS.keys() & layout.ports_in_use.keys()
    layout.choose(observe=True)
    assert {process.name for process in watchers(layout)} == set(OBSERVERS)
    assert OBSERVERS.keys() <= layout.ports_in_use.keys()


def test_services_are_told_where_traces_go(layout: Layout) -> None:
    assert "TRUNKLINE_OTLP_ENDPOINT" not in layout.environment()
    layout.choose(otlp_endpoint="http://127.0.0.1:4318")
    assert layout.environment()["TRUNKLINE_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"


def test_every_service_and_exporter_is_a_job_of_its_own_name(layout: Layout) -> None:
    text = observers.configuration(layout, interval="1s", rules=Path("/srv/rules [new]"))
    for name in (*(service.name for service in SERVICES), *OBSERVERS):
        assert f'- job_name: {name}\n    static_configs: [{{ targets: ["127.0.0.1:{layout.ports[name]}"] }}]' in text
    assert "scrape_interval: 1s" in text
    # A folder is no pattern, whatever it is called.
    assert json.dumps(r"/srv/rules \[new\]/*.yml") in text


def test_what_is_not_installed_is_named_with_what_installs_it(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Problem, match=r"not installed: prometheus, .*redis-exporter") as problem:
        control.up(layout, with_services=False, tell=lambda _: None, observe=True)
    assert problem.value.mend == "deploy/native/bootstrap --observe"
    # A choice that cannot be kept is none.
    assert layout.choices == Choices()


def test_a_password_is_in_no_command_line(layout: Layout) -> None:
    layout.choose(observe=True)
    secret = layout.secrets()["postgres_monitor"]
    assert not [process.name for process in watchers(layout) if secret in " ".join(process.argv)]


# With real servers ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[Layout]:
    layout = Layout(RUN_DIR.resolve(), PORT_BASE)
    control.clean(layout)
    control.up(layout, with_services=True, tell=lambda _: None, observe=True)
    look_often(layout)
    yield layout
    control.clean(layout)


def look_often(layout: Layout) -> None:
    """Every second instead of every five: what a test waits for is mostly Prometheus' next look."""
    path = observers.folder(layout) / "prometheus.yml"
    path.write_text(observers.configuration(layout, interval="1s"), encoding="utf-8")
    os.kill(control.state(layout)["prometheus"]["pid"], signal.SIGHUP)


def ask(layout: Layout, path: str) -> Any:
    with urllib.request.urlopen(layout.url("prometheus") + path, timeout=5) as answer:  # noqa: S310 - on loopback
        return json.load(answer)["data"]


def wait_for(condition: Callable[[], Any], within: float = 120.0) -> Any:
    deadline = time.monotonic() + within
    while True:
        try:
            result = condition()
        except (OSError, urllib.error.URLError):
            result = None
        if result:
            return result
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.2)


def pid(layout: Layout, name: str) -> int | None:
    found: int | None = control.state(layout).get(name, {}).get("pid")
    return found


def all_up(layout: Layout, since: float = 0.0) -> bool:
    """Whether all were up when Prometheus looked last, which was after a moment."""
    targets = ask(layout, "/api/v1/targets?state=active")["activeTargets"]
    health = {
        target["labels"]["job"]: target["health"]
        for target in targets
        if datetime.fromisoformat(target["lastScrape"]).timestamp() > since
    }
    return health == dict.fromkeys([*(service.name for service in SERVICES), *OBSERVERS], "up")


@pytest.mark.real
@pytest.mark.slow
def test_every_target_is_up_with_its_job_and_instance(running: Layout) -> None:
    wait_for(lambda: all_up(running))
    for target in ask(running, "/api/v1/targets?state=active")["activeTargets"]:
        job = target["labels"]["job"]
        assert target["labels"] == {"job": job, "instance": f"127.0.0.1:{running.ports[job]}"}
    # The servers behind the exporters as well, not only the exporters.
    for metric in ("pg_up", "redis_up", "trunkline_kafka_up"):
        found = wait_for(lambda metric=metric: ask(running, f"/api/v1/query?query={metric}")["result"])
        assert [sample["value"][1] for sample in found] == ["1"]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_a_killed_observer_is_back_by_itself(running: Layout, name: str) -> None:
    before = pid(running, name)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: pid(running, name) not in (before, None))
    since = time.time()
    wait_for(lambda: all_up(running, since))


@pytest.mark.real
@pytest.mark.slow
def test_a_start_without_saying_so_leaves_it_observed(running: Layout) -> None:
    before = {name: pid(running, name) for name in OBSERVERS}
    command = [
        sys.executable,
        "-m",
        "trunkline",
        "up",
        "--run-dir",
        str(running.run_dir),
        "--port-base",
        str(PORT_BASE),
    ]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
    assert running.url("prometheus") in done.stdout
    assert {name: pid(running, name) for name in OBSERVERS} == before


@pytest.mark.real
@pytest.mark.slow
def test_the_monitor_sees_figures_and_no_rows(running: Layout) -> None:
    secret = running.secrets()["postgres_monitor"]
    dsn = f"postgresql://{observers.MONITOR}:{secret}@127.0.0.1:{running.ports['postgres']}/trunkline"

    async def look() -> tuple[dict[str, bool], list[dict[str, Any]]]:
        connection = await asyncpg.connect(dsn)
        try:
            rights = await connection.fetchrow(
                "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles "
                "WHERE rolname = current_user"
            )
            tables = await connection.fetch(
                "SELECT c.relname, has_any_column_privilege(c.oid, 'SELECT') AS readable FROM pg_class c "
                "WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relnamespace = ANY "
                "(SELECT oid FROM pg_namespace WHERE nspname = ANY ($1))",
                [service.package for service in SERVICES],
            )
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("SELECT * FROM front_desk.tenant")
            with pytest.raises((asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError)):
                await connection.execute("CREATE TABLE public.mine (a integer)")
            return dict(rights), [dict(table) for table in tables]
        finally:
            await connection.close()

    rights, tables = asyncio.run(look())
    assert not any(rights.values())
    assert len(tables) > 20
    assert not [table for table in tables if table["readable"]]


@pytest.mark.real
@pytest.mark.slow
def test_doctor_looks_at_the_observers_and_at_what_they_say(running: Layout) -> None:
    wait_for(lambda: all_up(running))
    found = {check.name: check for check in checks.examine(running)}
    assert [found[name].verdict for name in OBSERVERS] == ["PASS"] * len(OBSERVERS)
    control.stop_one(running, "redis-exporter")
    found = {check.name: check for check in checks.examine(running)}
    assert (found["redis-exporter"].verdict, found["prometheus"].verdict) == ("FAIL", "PASS")
    wait_for(lambda: "redis-exporter" in (observers.seen(running) or observers.Seen((), ())).lost)
    control.start_one(running, "redis-exporter")
    wait_for(lambda: all_up(running))


@pytest.mark.real
@pytest.mark.slow
def test_switched_off_the_observers_end_and_the_rest_goes_on(running: Layout) -> None:
    before = {service.name: pid(running, service.name) for service in SERVICES}
    control.up(running, with_services=True, tell=lambda _: None, observe=False)
    wait_for(lambda: not OBSERVERS.keys() & control.state(running).keys())
    assert {service.name: pid(running, service.name) for service in SERVICES} == before
    control.up(running, with_services=True, tell=lambda _: None, observe=True)
    look_often(running)
    wait_for(lambda: all_up(running))


@pytest.mark.real
@pytest.mark.slow
def test_stopping_ends_the_observers_too(running: Layout) -> None:
    pids = [pid(running, name) for name in OBSERVERS]
    control.down(running)
    assert [number for number in pids if Path(f"/proc/{number}").exists()] == []
