"""The rules that keep the house in shape, read from the syntax of the sources. A finding says what to change."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from contracts.erasure import SubjectErasedV1
from contracts.registry import REGISTRY
from contracts.topics import TOPICS

ROOT = Path(__file__).parents[1]
FUNCTION_LINES = 50
PARAMETERS = 8
MODULE_LINES = 400
#: Handed over as one file that runs by itself: it cannot be split.
ALONE = {"services/vault-importer/src/vault_importer/verify_evidence.py": 720}
TEST_FILE_LINES = 600
MAIN_LINES = 20
KIT_LINES = 1600
WAIVER = "# long: "

SERVICES = {
    "anomaly-engine": "rules",
    "brain-distiller": "distillers",
    "front-desk": "panels",
    "notifier": "channels",
    "telephony-router": "vendors",
    "vault-importer": "formats",
}
"""Each service, and its menu: the folder where things are added."""

SAMPLES = {
    "anomaly-engine": "src/anomaly_engine/rules/cases/{item}.yaml",
    "brain-distiller": "tests/distillers/samples/{item}.json",
    "notifier": "tests/channels/samples/{item}",
    "telephony-router": "tests/vendors/samples/{item}",
}
"""Where a menu keeps what its items are proven with. Panels and formats are proven on generated data."""

SHAPE = (
    "README.md",
    "pyproject.toml",
    "schema.sql",
    "src/{package}/__main__.py",
    "src/{package}/api.py",
    "src/{package}/commands.py",
    "src/{package}/consumers.py",
    "src/{package}/migrations",
    "src/{package}/queries.sql",
    "src/{package}/replays.py",
    "src/{package}/settings.py",
    "src/{package}/store.py",
    "src/{package}/wiring.py",
    "src/{package}/{menu}/__init__.py",
    "src/{package}/{menu}/base.py",
    "tests/{menu}/test_{menu}.py",
)

FORBIDDEN_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
BROKERS = {"aiokafka", "confluent_kafka", "faststream"}
FOREIGN_SQL = {
    "vault_importer/formats": "reads WhatsApp's SQLite files, which are not our schema",
    "vault_importer/samples": "writes WhatsApp's SQLite files, which are not our schema",
}
SQL = re.compile(
    r"^\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|WITH\s+\w+\s+AS\s*\(|"
    r"(CREATE|ALTER|DROP)\s+(TABLE|ROLE|SCHEMA|INDEX|DATABASE|POLICY)\s|TRUNCATE\s|COPY\s+\w+\s+(FROM|TO)\s)"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def package_of(service: str) -> str:
    return service.replace("-", "_")


def sources(*under: str) -> list[Path]:
    folders = [folder for each in under for folder in ROOT.glob(each)]
    return sorted(path for folder in folders for path in folder.rglob("*.py") if ".venv" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, ``package.module`` for ``from package import module`` too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def nothing(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def docstring_of(node: ast.AST) -> ast.Expr | None:
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first
    return None


def lines_of(function: Function) -> int:
    """The lines of a function without its decorators and its docstring."""
    text = docstring_of(function)
    documented = (text.end_lineno or text.lineno) - text.lineno + 1 if text else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - documented


def code_lines(path: Path) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    counted = {
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    }
    for node in ast.walk(tree(path)):
        text = docstring_of(node)
        if text is not None:
            counted -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(counted)


ALL = sources("libs/*/src", "services/*/src", "cli/src")
SERVICE_SOURCES = sources("services/*/src")


def test_functions_fit_on_a_screen() -> None:
    found = []
    for path in ALL:
        lines = path.read_text(encoding="utf-8").splitlines()
        for function in functions(path):
            # The waiver stands on the first line of the function and gives its reason.
            if lines_of(function) > FUNCTION_LINES and WAIVER not in lines[function.lineno - 1]:
                found.append(f"{relative(path)}: {function.name} has {lines_of(function)} lines")
    nothing(found)


def test_functions_take_few_parameters() -> None:
    found = []
    for path in ALL:
        lines = path.read_text(encoding="utf-8").splitlines()
        for function in functions(path):
            given = function.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > PARAMETERS and WAIVER not in lines[function.lineno - 1]:
                found.append(f"{relative(path)}: {function.name} takes {count} parameters")
    nothing(found)


def test_modules_have_one_reason_to_change() -> None:
    found = []
    for path in (*ALL, *sources("libs/*/tests", "services/*/tests", "cli/tests", "tests")):
        limit = ALONE.get(relative(path), MODULE_LINES) if path in ALL else TEST_FILE_LINES
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > limit:
            found.append(f"{relative(path)} has {lines} lines, the limit is {limit}")
    nothing(found)


def test_modules_are_named_by_their_job() -> None:
    nothing([relative(path) for path in ALL if {path.stem, path.parent.name} & FORBIDDEN_NAMES])


def test_modules_open_with_what_they_are_for() -> None:
    silent = [path for path in ALL if tree(path).body and docstring_of(tree(path)) is None]
    nothing([relative(path) for path in silent])


def test_kit_stays_small() -> None:
    lines = {path.name: code_lines(path) for path in sources("libs/kit/src") if path.stem != "testing"}
    assert sum(lines.values()) <= KIT_LINES, f"kit has {sum(lines.values())} lines of code: {lines}"


def test_kit_knows_no_event_and_no_service() -> None:
    events = {path.stem for path in sources("libs/contracts/src") if "Event)" in path.read_text(encoding="utf-8")}
    events -= {"event", "registry"}
    forbidden = {f"contracts.{name}" for name in events} | {package_of(service) for service in SERVICES}
    found = [
        f"{relative(path)}:{line} imports {module}"
        for path in sources("libs/kit/src")
        for module, line in imports(path)
        if module in forbidden or module.split(".")[0] in forbidden | {"configuration"}
    ]
    nothing(found)


def test_only_the_configuration_reads_the_environment() -> None:
    allowed = {"libs/configuration/src/configuration/settings.py", "libs/kit/src/kit/testing.py"}
    found = []
    for path in sources("libs/*/src", "services/*/src"):
        if relative(path) in allowed:
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                found.append(f"{relative(path)}:{node.lineno}")
    nothing(found)


def test_libraries_and_services_import_only_downward() -> None:
    packages = {package_of(service) for service in SERVICES}
    allowed = {
        "contracts": set[str](),
        "identifiers": set[str](),
        "configuration": set[str](),
        "kit": {"contracts"},
        "runtime": {"contracts", "kit", "configuration"},
        "recovery": {"contracts", "kit", "runtime"},
        **{key: {"contracts", "identifiers", "configuration", "kit", "runtime", "recovery"} for key in packages},
    }
    ours = {*allowed, "trunkline"}
    found = []
    for path in sources("libs/*/src", "services/*/src"):
        package = path.relative_to(ROOT).parts[3]
        for module, line in imports(path):
            top = module.split(".")[0]
            if top in ours - {package} and top not in allowed[package]:
                found.append(f"{relative(path)}:{line} imports {module}")
    nothing(found)


def test_contracts_need_nothing_but_pydantic() -> None:
    from sys import stdlib_module_names

    known = stdlib_module_names | {"pydantic", "contracts"}
    found = [
        f"{relative(path)}:{line} imports {module}"
        for path in sources("libs/contracts/src")
        for module, line in imports(path)
        if module.split(".")[0] not in known
    ]
    nothing(found)


def test_no_service_brings_its_own_broker() -> None:
    found = [
        f"{relative(path)}:{line} imports {module}; consume and publish through kit, whose settings lose nothing"
        for path in SERVICE_SOURCES
        for module, line in imports(path)
        if module.split(".")[0] in BROKERS
    ]
    nothing(found)


def test_the_acknowledgement_policy_is_set_once() -> None:
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in ALL
        if relative(path) != "libs/kit/src/kit/broker.py"
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.keyword) and node.arg in ("ack_policy", "no_ack", "auto_commit"))
        or (isinstance(node, ast.Name) and node.id == "AckPolicy")
    ]
    nothing(found)


def _sql_literals(path: Path) -> Iterator[int]:
    documented = {id(text.value) for node in ast.walk(tree(path)) if (text := docstring_of(node)) is not None}
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Constant) or id(node) in documented:
            continue
        if isinstance(node.value, str) and SQL.match(node.value):
            yield node.lineno


def test_sql_is_in_queries_and_stores_only() -> None:
    found = []
    for path in SERVICE_SOURCES:
        if path.stem == "store" or path.stem.endswith("_store") or any(each in relative(path) for each in FOREIGN_SQL):
            continue
        found += [f"{relative(path)}:{line} holds SQL; name it in queries.sql" for line in _sql_literals(path)]
    nothing(found)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_shape(service: str) -> None:
    names = {"package": package_of(service), "menu": SERVICES[service]}
    missing = [
        each.format(**names) for each in SHAPE if not (ROOT / "services" / service / each.format(**names)).exists()
    ]
    nothing(missing)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_in_a_few_lines(service: str) -> None:
    path = ROOT / "services" / service / "src" / package_of(service) / "__main__.py"
    assert path.is_file(), f"{relative(path)} is missing"
    assert code_lines(path) <= MAIN_LINES


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_are_numbered_without_gaps(service: str) -> None:
    folder = ROOT / "services" / service / "src" / package_of(service) / "migrations"
    names = sorted(path.name for path in folder.glob("*.sql"))
    assert names
    assert [name[:5] for name in names] == [f"{number:04}_" for number in range(1, len(names) + 1)]


def items_of(service: str) -> list[str]:
    """The names in a menu's table: a dict's keys, or its values' own ``key`` or ``name``."""
    menu = SERVICES[service]
    table = getattr(importlib.import_module(f"{package_of(service)}.{menu}"), menu.upper())
    return [each if isinstance(each, str) else str(getattr(each, "key", None) or each.name) for each in table]


@pytest.mark.parametrize("service", SERVICES)
def test_every_file_of_a_menu_is_in_its_table(service: str) -> None:
    folder = ROOT / "services" / service / "src" / package_of(service) / SERVICES[service]
    used = {module.split(".")[-1] for path in folder.rglob("*.py") for module, _ in imports(path)}
    # A rule is a file of SQL that the table names; everything else is a module that the menu imports.
    used |= set(items_of(service))
    files = [path for path in (*folder.glob("*.py"), *folder.glob("*.sql")) if path.stem not in ("__init__", "base")]
    unused = sorted(path.name for path in files if path.stem not in used)
    nothing([f"{name} is not used; name it in the table in {relative(folder)}/__init__.py" for name in unused])


@pytest.mark.parametrize("service", SAMPLES)
def test_every_item_of_a_menu_has_samples(service: str) -> None:
    missing = []
    for item in items_of(service):
        path = ROOT / "services" / service / SAMPLES[service].format(item=item)
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            missing.append(relative(path))
    nothing(missing)


def subscribed(service: str) -> dict[str, set[str]]:
    """The topics in a service's table of subscriptions, by the words that subscribe: on, on_batch, on_deleted."""
    topics = {event.__name__: event.topic() for event in REGISTRY}
    found: dict[str, set[str]] = {"on": set(), "on_batch": set(), "on_deleted": set()}
    for node in ast.walk(tree(ROOT / "services" / service / "src" / package_of(service) / "consumers.py")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in found and node.args:
            found[node.func.id].add(topics[ast.unparse(node.args[0])])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "erasing":
            found["on"].add(SubjectErasedV1.topic())
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_the_topics_table_names_exactly_who_consumes(service: str) -> None:
    """The compatibility check says whom a change breaks from this table, so the table has to be right."""
    read = subscribed(service)["on"] | subscribed(service)["on_batch"]
    declared = {topic.name for topic in TOPICS.values() if service in topic.consumers}
    nothing([f"{service} consumes {name}; name it in topics.py" for name in sorted(read - declared)])
    nothing([f"{service} does not consume {name}; take it out of topics.py" for name in sorted(declared - read)])


@pytest.mark.parametrize("service", SERVICES)
def test_whoever_keeps_a_compacted_topic_understands_a_deletion(service: str) -> None:
    found = subscribed(service)
    kept = {name for name in found["on"] | found["on_batch"] if TOPICS[name].cleanup == "compact"}
    nothing(
        [f"{service} ignores deletions of {name}; subscribe on_deleted" for name in sorted(kept - found["on_deleted"])]
    )


def test_the_topics_table_says_how_strict_its_consumers_are_about_replays() -> None:
    order = ("safe", "suppress_effects", "forbidden")
    strictest = dict.fromkeys(TOPICS, "safe")
    for service in SERVICES:
        replayable = importlib.import_module(f"{package_of(service)}.replays").CONSUMERS
        for subscription in (each for subscriptions in replayable.values() for each in subscriptions):
            strictest[subscription.topic] = max(strictest[subscription.topic], subscription.replay, key=order.index)
    nothing([f"{name} is {t.replay}, its consumers {strictest[name]}" for name, t in TOPICS.items()
             if t.replay != strictest[name]])  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
def test_everything_consumed_can_be_replayed(service: str) -> None:
    consumers = importlib.import_module(f"{package_of(service)}.replays").CONSUMERS
    offered = {subscription.topic for subscriptions in consumers.values() for subscription in subscriptions}
    assert offered == set().union(*subscribed(service).values())
