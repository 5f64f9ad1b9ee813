"""A letter's value while it is edited: what is there to begin with, and what came of it."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.dlq.ask import Refused

__all__ = ["edited", "from_file", "is_json", "present", "pretty"]


def present(letter: Mapping[str, Any], *, original: bool = False) -> str:
    """What is tried at present, or was parked. Raises :class:`Refused` when it is no text."""
    raw = letter["raw"] if original or letter["raw_edited"] is None else letter["raw_edited"]
    if raw is None:
        raise Refused("the record has no value, it deletes its key: there is nothing to edit")
    try:
        return base64.b64decode(raw).decode()
    except UnicodeDecodeError:
        raise Refused(
            "the value is not text, an editor would break it; --value-file puts another in its place"
        ) from None


def from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8; a value is text") from None


def edited(text: str) -> str:
    """The text after the operator's editor had it. Raises :class:`Refused` when the editor did not do it."""
    command = os.environ.get("EDITOR") or "vi"
    with tempfile.NamedTemporaryFile("w+", suffix=".json", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        try:
            subprocess.run([*shlex.split(command), file.name], check=True)
        except OSError as error:
            raise Refused(f"the editor {command!r} cannot be started ({error.strerror}); set EDITOR") from None
        except ValueError:
            raise Refused(f"EDITOR is {command!r}, which is no command") from None
        except subprocess.CalledProcessError as error:
            raise Refused(f"the editor ended with {error.returncode}; nothing is stored") from None
        return from_file(Path(file.name))


def pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text.strip()


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
