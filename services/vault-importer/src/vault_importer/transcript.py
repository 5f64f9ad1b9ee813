"""What was said, for a reader of a bundle of evidence. What counts are the files with proofs beside it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from vault_importer.leaves import EPOCH
from vault_importer.leaves_beside import BesideKind

__all__ = ["transcript"]

OURSELVES = str(UUID(int=0))

Entry = Mapping[str, Any]


def transcript(messages: Sequence[Entry], beside: Mapping[BesideKind, Sequence[Entry]], who: Mapping[str, Any]) -> str:
    """A line for each wording, and under it the file, the reactions and the votes of its message."""
    people = {each["id"]: each["name"] or each["number"] or each["jid"] for each in who["people"]}
    chats = {each["id"]: each["name"] or people.get(each["contact_id"]) or each["jid"] for each in who["chats"]}
    under = _under(beside, {**people, OURSELVES: "the account"})
    lines = []
    for each in messages:
        content, record = each["content"], each["record"]
        author = "the account" if content["from_me"] else people.get(content["sender"], "unknown")
        said = "[revoked]" if content["revoked"] else content["text"] or f"[{content['kind']}]"
        later = f" (revision {record['revision']})" if record["revision"] > 1 else ""
        chat = chats.get(content["chat"], "")
        lines.append(_one(f"{_time(content['sent_us'])}  {chat}  {author}{later}: {said}"))
        lines += under.pop(record["message"], ())
    return "\n".join(lines) + "\n"


def _under(beside: Mapping[BesideKind, Sequence[Entry]], people: Mapping[str, str]) -> dict[str, list[str]]:
    under: dict[str, list[str]] = defaultdict(list)
    for each in beside["media"]:
        content = each["content"]
        under[each["record"]["message"]].append(f"    file {content['sha256']}, {content['bytes']:,} bytes")
    for each in beside["reaction"]:
        content = each["content"]
        what = f"reacted {content['reaction']}" if content["reaction"] else "took the reaction back"
        line = f"{_time(content['reacted_us'])}  {people.get(content['by'], 'unknown')} {what}"
        under[each["record"]["message"]].append("    " + _one(line))
    for each in beside["vote"]:
        content = each["content"]
        line = f"{_time(content['voted_us'])}  {people.get(content['by'], 'unknown')} chose option {content['option']}"
        under[each["record"]["message"]].append("    " + _one(line))
    return under


def _one(line: str) -> str:
    """Nothing that somebody wrote can look like another line of the transcript."""
    return "\n    ".join(line.splitlines())


def _time(microseconds: int) -> str:
    return f"{EPOCH + timedelta(microseconds=microseconds):%Y-%m-%d %H:%M:%S} UTC"
