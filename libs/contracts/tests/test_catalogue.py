from __future__ import annotations

from contracts import archive, catalogue
from contracts.envelope import HEADERS
from contracts.registry import EVENTS, REGISTRY
from contracts.topics import TOPICS


def test_the_events_page_is_current() -> None:
    page = (archive.root().parents[1] / "docs" / "events.md").read_text(encoding="utf-8")

    assert page == catalogue.page(REGISTRY, TOPICS, archive.read(archive.root())), "run `trunkline contracts generate`"


def test_every_event_and_topic_is_on_the_page() -> None:
    page = catalogue.page(REGISTRY, TOPICS, archive.read(archive.root()))

    assert [event.type for event in EVENTS if f"## {event.type}\n" not in page] == []
    assert [name for name in TOPICS if f"| [`{name}`](#{name.replace('.', '')}v" not in page] == []


def test_the_page_tells_every_header_and_links_every_schema_and_example() -> None:
    committed = archive.read(archive.root())
    page = catalogue.page(REGISTRY, TOPICS, committed)

    assert [header.name for header in HEADERS if f"| `{header.name}` |" not in page] == []
    assert [path for path in committed.digests if f"schemas/{path})" not in page] == []
    # An example is shown, or linked.
    untold = [e for e in committed.examples if f"v{e.major}/{e.name}.json)" not in page and f'"{e.key}"' not in page]
    assert untold == []


def test_fields_are_told_with_type_default_and_meaning() -> None:
    fields = {field.name: field for field in catalogue.fields_of(REGISTRY.newest("fact.extracted"))}

    assert fields["unit"].type == "string or null"
    assert fields["unit"].default == "null"
    assert fields["evidence"].type == "Evidence"
    assert fields["state"].type == "`asserted` or `superseded` or `conflicting` or `retracted`"
    assert fields["state"].meaning.startswith("`conflicting` when")
