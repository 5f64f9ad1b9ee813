"""The AsyncAPI initiative's own parser reads the committed document, and refuses broken ones."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.topics import TOPICS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "asyncapi.yaml"
ERROR, WARNING = 0, 1
#: The parser recommends the newest edition of the specification; ours is 3.0.
RECOMMENDED = {"asyncapi-latest-version"}

Parse = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def parse(node_project: Callable[[Path], Path]) -> Parse:
    folder = node_project(Path(__file__).parent / "outside_parser")

    def run(document: Path) -> dict[str, Any]:
        done = subprocess.run(
            ["node", "validate.mjs", str(document)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.real
def test_the_official_parser_finds_nothing_wrong_with_the_document(parse: Parse) -> None:
    parsed = parse(DOCUMENT)

    assert [finding for finding in parsed["findings"] if finding["code"] not in RECOMMENDED] == []
    assert parsed["channels"] == list(TOPICS)
    assert len(parsed["operations"]) == sum(len(t.producers) + len(t.consumers) for t in TOPICS.values())
    assert "call.inbound.v1.0" in parsed["messages"]


def _unknown_action(document: dict[str, Any]) -> None:
    document["operations"]["front-desk.receive.call.state"]["action"] = "subscribe"


def _dangling_reference(document: dict[str, Any]) -> None:
    document["components"]["messages"]["call.state.v1.0"]["payload"] = {"$ref": "#/components/schemas/gone"}


def _no_json_type(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["call.state.v1.0"]["properties"]["call_id"]["type"] = "text"


def _partitions_in_words(document: dict[str, Any]) -> None:
    document["channels"]["call.state"]["bindings"]["kafka"]["partitions"] = "twelve"


@pytest.mark.real
@pytest.mark.parametrize("spoil", [_unknown_action, _dangling_reference, _no_json_type, _partitions_in_words])
def test_the_official_parser_sees_what_is_wrong(
    parse: Parse, tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    document = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    spoil(document)
    spoilt = tmp_path / "asyncapi.yaml"
    spoilt.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")

    assert [finding for finding in parse(spoilt)["findings"] if finding["severity"] in (ERROR, WARNING)]
