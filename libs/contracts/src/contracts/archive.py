"""What is committed beside the code: released schemas, their lock, and examples. The only file access of this package.

::

    schemas/released.sha256                      one line per released file, in the format of sha256sum
    schemas/<topic>/v<major>.<minor>.writer.json
    schemas/<topic>/v<major>.<minor>.reader.json
    examples/<topic>/v<major>/<what it shows>.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import contracts
from contracts.event import Event
from contracts.schemas import Schema, Side, schema_of

__all__ = ["Archive", "ArchiveError", "Example", "Released", "parse_lock", "read", "release", "root"]

LOCK = "released.sha256"


class ArchiveError(Exception):
    """The committed files cannot be read; the message names the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """One released version of one event: what its writers can write, and what its readers accept."""

    topic: str
    major: int
    minor: int
    writer: Schema
    reader: Schema

    @property
    def version(self) -> str:
        return f"v{self.major}.{self.minor}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One record as it lies in Kafka. ``value`` is ``None`` for a deletion."""

    topic: str
    major: int
    name: str
    headers: dict[str, str]
    key: str
    value: dict[str, Any] | None

    @property
    def version(self) -> str:
        """``v<major>.<minor>`` of the schema that the record names."""
        return "v" + self.headers.get("ce_dataschema", "").rpartition(":")[2]

    def record_headers(self) -> list[tuple[str, bytes]]:
        return [(name, value.encode()) for name, value in self.headers.items()]

    def record_value(self) -> bytes | None:
        return None if self.value is None else json.dumps(self.value, ensure_ascii=False).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    released: tuple[Released, ...]
    """Oldest first within each event."""
    examples: tuple[Example, ...]
    lock: dict[str, str]
    """Digest of each released file when it was released, by its path below ``schemas/``."""
    digests: dict[str, str]
    """Digest of each schema file as it is now."""

    def versions(self, event: type[Event]) -> list[Released]:
        """The released minors of one class, oldest first."""
        return [each for each in self.released if (each.topic, each.major) == (event.topic(), event.major())]

    def examples_of(self, event: type[Event]) -> list[Example]:
        return [each for each in self.examples if (each.topic, each.major) == (event.topic(), event.major())]


def root() -> Path:
    """The folder of this checkout that holds ``schemas/`` and ``examples/``."""
    folder = Path(contracts.__file__).parents[2]
    if not (folder / "pyproject.toml").is_file():
        raise ArchiveError("schemas and examples are part of a checkout, not of the installed package; run this in one")
    return folder


def read(folder: Path) -> Archive:
    """Read everything below ``schemas/`` and ``examples/``. Raises :class:`ArchiveError`."""
    schemas = folder / "schemas"
    files = sorted(schemas.glob("*/*.json"))
    lock = schemas / LOCK
    return Archive(
        released=_released(files),
        examples=tuple(_example(path) for path in sorted((folder / "examples").glob("*/v*/*.json"))),
        lock=parse_lock(lock.read_text(encoding="utf-8")) if lock.is_file() else {},
        digests={path.relative_to(schemas).as_posix(): _digest(path.read_bytes()) for path in files},
    )


def parse_lock(text: str) -> dict[str, str]:
    return {path: digest for digest, _, path in (line.partition("  ") for line in text.splitlines())}


def release(folder: Path, events: Iterable[type[Event]]) -> list[Path]:
    """Write both schemas of each class and lock them. Raises :class:`ArchiveError` rather than overwrite one."""
    written: list[Path] = []
    for event in events:
        for side in get_args(Side):
            path = folder / "schemas" / event.topic() / f"v{event.major()}.{event.minor}.{side}.json"
            if path.exists():
                raise ArchiveError(f"{path.name} of {event.topic()} is released; a released schema is never edited")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_text(schema_of(event, side)), encoding="utf-8")
            written.append(path)
    schemas = folder / "schemas"
    with (schemas / LOCK).open("a", encoding="utf-8") as lock:
        lock.writelines(f"{_digest(path.read_bytes())}  {path.relative_to(schemas).as_posix()}\n" for path in written)
    return written


def _text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _released(files: Iterable[Path]) -> tuple[Released, ...]:
    sides: dict[tuple[str, int, int], dict[str, Schema]] = {}
    for path in files:
        version, _, side = path.stem.rpartition(".")
        major, _, minor = version.removeprefix("v").partition(".")
        if side not in get_args(Side) or not (major.isdecimal() and minor.isdecimal()):
            raise ArchiveError(f"{path.name} of {path.parent.name} is not named v<major>.<minor>.<writer|reader>.json")
        sides.setdefault((path.parent.name, int(major), int(minor)), {})[side] = _json(path)
    return tuple(
        Released(topic=topic, major=major, minor=minor, writer=pair.get("writer", {}), reader=pair.get("reader", {}))
        for (topic, major, minor), pair in sorted(sides.items())
    )


def _example(path: Path) -> Example:
    content = _json(path)
    major = path.parent.name.removeprefix("v")
    if content.keys() != {"headers", "key", "value"} or not major.isdecimal():
        raise ArchiveError(f"{path.name} in {path.parent.parent.name}/{path.parent.name} is not headers, key and value")
    return Example(topic=path.parent.parent.name, major=int(major), name=path.stem, **content)


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path.name} of {path.parent.name} cannot be read as JSON: {error}") from None
    return content
