"""Checks an evidence bundle of a Trunkline vault. One file, Python 3.9 or later, nothing else: no database, no network,
none of the vault's own code. Run it as

    python3 -I -S verify_evidence.py EVIDENCE.zip --key KEY [--witness KEY ...] [--source BACKUP ...]

KEY is the public key of the log, as you know it from elsewhere than the bundle. What is checked, and what it shows:

  sums         every file of the bundle is the one that was signed
  commitment   each message, and each import, is what the archive committed to when it wrote it
  inclusion    that commitment is a leaf of the tree whose root is in the checkpoint (RFC 9162)
  checkpoint   the checkpoint is signed with the log's key, and when
  handover     from the key that you know the log went over to the one that signed this, by checkpoints of both
  cosignature  witnesses elsewhere signed the same checkpoint, so it is not one of several histories
  timestamp    each timestamps/*.tsr is an answer about this checkpoint, and checkpoint_text.txt is its text
  source       the messages come from files of these hashes
  media        each media file in the bundle is the one that the archive committed to, by its SHA-256
  transcript   transcript.txt is what the proven messages, files, reactions and votes make, word for word
  certificate  the certificate is the unfilled form with the hashes of this bundle, its sources and its checkpoint

Reactions, votes, and which hidden and numbered identities the archive took for one person (identities.json: by which
table of which import) are checked by commitment and inclusion like messages. A bundle with any other file is bad.

What is not proven:

  - whose name and number belong to an id: people.json says it, and the transcript writes names from it in quotes
  - how the options of a poll are worded; a vote is for the option of a number
  - that nothing was left out: whoever made the bundle chose what is in it
  - when the certificate says that it was made
  - the verifier in the bundle: take this file from elsewhere
  - who signed timestamps/*.tsr; that is checked with the authority's certificate:

    openssl ts -verify -in timestamps/1.tsr -data checkpoint_text.txt -CAfile AUTHORITY.pem
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import html
import json
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

MAX_BYTES = 2 * 1024**3
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - Python 3.9
SUMS = "SHA256SUMS.txt"
SUMS_TITLE = "trunkline evidence v1"


#: What the records beside messages are called, and what each has beside its commitment.
BESIDE = {
    "media": ("media.json", {"message"}, {"sha256", "bytes", "file_hash", "hash_agrees"}),
    "reaction": ("reactions.json", {"message", "number"}, {"by", "reacted_us", "reaction"}),
    "vote": ("reactions.json", {"message", "number"}, {"by", "voted_us", "option"}),
    "identity": ("identities.json", {"number"}, {"hidden", "address", "source", "seen_us"}),
}
MEDIA = "media/"
READ_BYTES = 1024 * 1024
PRINTED = {"transcript.txt", "certificate.txt", "certificate.html"}
#: Not in the hash report of the certificate.
UNREPORTED = {"certificate.txt", "certificate.html", "verify_evidence.py", SUMS}
NAMES = {
    "messages.json", "imports.json", "people.json", "checkpoint.txt", "checkpoint_text.txt", "keys.json",
    "handovers.json", *PRINTED, *UNREPORTED, *(name for name, _, _ in BESIDE.values()),
}  # fmt: skip
STAMP = re.compile(r"timestamps/[1-9][0-9]*\.tsr", re.ASCII)
#: SHA-256 of what stands before the hash report in each certificate as it was ever written, and what is around it.
FORMS = {
    "certificate.txt": (
        {"6c5855406c58f5bfec6e8476c575cd89e2b82ab79d171957e6b294ea7682dfaf"},
        b"HASH REPORT\nmade ",
        b" IST\n\n",
        b"",
    ),
    "certificate.html": (
        {"794fd2bad3a63472acc4ba1c002693dc0b72ab946dc5db682678416546256854"},
        b"<h2>HASH REPORT</h2><p>made ",
        b" IST</p>",
        b"</section></body></html>\n",
    ),
}
MADE = re.compile(rb"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d")
UNPROVEN = (
    "which name and number an id belongs to (people.json, names in quotes in transcript.txt), how options of polls are"
    " worded, that nothing was left out, when the certificate was made, the verifier in the bundle"
)
OURSELVES = "00000000-0000-0000-0000-000000000000"


class Bad(Exception):
    """A check failed: its name, and a sentence."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(f"[{check}] {sentence}")
        self.check = check


# Ed25519 (RFC 8032), verification only --------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741 - its name in the RFC
Point = tuple[int, int, int, int]
ZERO: Point = (0, 1, 1, 0)


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(n: int, p: Point) -> Point:
    q = ZERO
    while n:
        if n & 1:
            q = _add(q, p)
        p = _add(p, p)
        n >>= 1
    return q


def _x_of(y: int, sign: int) -> int | None:
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * I % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def _point(raw: bytes) -> Point | None:
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature is of this key under this message."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r, s = _point(public), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or BASE is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = _times(s, BASE), _add(r, _times(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# Signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature) ---------------------------------------------


class Key(NamedTuple):
    name: str
    public: bytes

    def number(self, algorithm: int) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([algorithm]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.number(1).hex()}+{base64.b64encode(bytes([1]) + self.public).decode()}"


def parse_key(text: str) -> Key:
    name, _, rest = text.strip().partition("+")
    number, _, material = rest.partition("+")
    raw = base64.b64decode(material, validate=True)
    key = Key(name, raw[1:])
    if len(raw) != 33 or raw[0] not in (1, 4) or key.number(raw[0]).hex() != number:
        raise ValueError("This is not a public key of a signed note.")
    return key


class Note(NamedTuple):
    text: str
    lines: list[tuple[str, bytes]]

    def is_signed(self, key: Key) -> bool:
        mine = [raw[4:] for name, raw in self.lines if name == key.name and raw[:4] == key.number(1)]
        return any(ed25519(key.public, self.text.encode(), each) for each in mine)

    def cosigned(self, key: Key) -> int | None:
        """The second of the epoch in which a key cosigned it."""
        for name, raw in self.lines:
            if name == key.name and raw[:4] == key.number(4) and len(raw) == 76:
                seconds = int.from_bytes(raw[4:12], "big")
                if ed25519(key.public, f"cosignature/v1\ntime {seconds}\n{self.text}".encode(), raw[12:]):
                    return seconds
        return None


def parse_note(text: str) -> Note:
    body, mark, rest = text.rpartition("\n\n")
    lines = []
    for line in rest.splitlines():
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            raise ValueError("This is not a signed note.")
        lines.append((parts[1], base64.b64decode(parts[2], validate=True)))
    if not mark or not lines:
        raise ValueError("This is not a signed note.")
    return Note(body + "\n", lines)


# The tree (RFC 9162) --------------------------------------------------------------------------------------------


def root_from(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that a proof leads to from a leaf; nothing when it is not a proof of this place."""
    if not 0 <= index < size:
        return None
    place, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != 32:
            return None
        if place & 1 or place == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        place, last = place >> 1, last >> 1
    return node if last == 0 else None


# The bundle -----------------------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


class Stored(NamedTuple):
    """A media file, which may be larger than memory."""

    digest: str
    size: int


def read(path: str) -> tuple[dict[str, bytes], dict[str, Stored]]:
    """The files of a bundle, and its media. Refuses names that stand twice, and what unpacks to too much."""
    with zipfile.ZipFile(path) as bundle:
        infos = bundle.infolist()
        plain = [info for info in infos if not info.filename.startswith(MEDIA)]
        if len({info.filename for info in infos}) != len(infos) or sum(info.file_size for info in plain) > MAX_BYTES:
            raise Bad("bundle", "A file stands in it twice, or it is too large.")
        media = {info.filename: _stored(bundle, info) for info in infos if info.filename.startswith(MEDIA)}
        return {info.filename: bundle.read(info) for info in plain}, media


def _stored(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> Stored:
    digest, size = hashlib.sha256(), 0
    with bundle.open(info) as file:
        for data in iter(lambda: file.read(READ_BYTES), b""):
            digest.update(data)
            size += len(data)
    return Stored(digest.hexdigest(), size)


def check_sums(files: dict[str, bytes], media: dict[str, Stored], key: Key) -> None:
    note = parse_note(files[SUMS].decode())
    title, *lines = note.text[:-1].split("\n")
    listed = dict(line.split("  ", 1)[::-1] for line in lines)
    if title != SUMS_TITLE or len(listed) != len(lines):
        raise Bad("sums", f"{SUMS} is not a list of this bundle.")
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != SUMS}
    found.update({name: each.digest for name, each in media.items()})
    if set(listed) != set(found):
        raise Bad("sums", "The bundle has other files than were signed.")
    for name, digest in sorted(listed.items()):
        if found[name] != digest:
            raise Bad("sums", f"{name} is not the file that was signed.")
    if not note.is_signed(key):
        raise Bad("sums", f"{SUMS} is not signed with the log's key.")


def check_names(files: dict[str, bytes]) -> None:
    """Nothing lies in the bundle that is not looked at, and nothing is missing that a reader looks for."""
    for name in sorted(set(files) - NAMES):
        if not STAMP.fullmatch(name):
            raise Bad("bundle", f"{name} is no file of a bundle: nothing proves what is in it.")
    for name in sorted(PRINTED - set(files)):
        raise Bad("bundle", f"{name} is missing.")


class Checkpoint(NamedTuple):
    size: int
    root: bytes
    at: datetime


def time_of(seconds: int, check: str) -> datetime:
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise Bad(check, "A signature is of a time that is in no calendar.") from None


def check_checkpoint(text: str, key: Key) -> Checkpoint:
    note = parse_note(text)
    lines = note.text.split("\n")
    if lines[0] != key.name:
        raise Bad("checkpoint", f"The checkpoint is of the log {lines[0]}, the key of {key.name}.")
    seconds = note.cosigned(key)
    if not note.is_signed(key) or seconds is None:
        raise Bad("checkpoint", "The checkpoint is not signed with the log's key.")
    return Checkpoint(int(lines[1]), base64.b64decode(lines[2], validate=True), time_of(seconds, "checkpoint"))


def check_handovers(notes: list[str], known: Key | None, log: Key, size: int) -> list[Key]:
    """The log's keys from the known one to the one that it has now: each went over to the next by a checkpoint that
    both have signed."""
    keys = [known] if known else []
    for text in notes:
        note = parse_note(text)
        lines = note.text[:-1].split("\n")
        words = [line.split(" ") for line in lines[3:] if line.startswith("hand-over ")]
        if len(words) != 1 or len(words[0]) != 3:
            raise Bad("handover", "This is no checkpoint that goes over to another key.")
        old, new = parse_key(words[0][1]), parse_key(words[0][2])
        if not keys:
            keys = [old]
        if old != keys[-1]:
            continue  # Before the key that is known.
        signed = all(note.is_signed(key) and note.cosigned(key) is not None for key in (old, new))
        if not signed or {lines[0], old.name} != {new.name} or new in keys or int(lines[1]) > size:
            raise Bad("handover", f"The log did not go over to the key {new} by a checkpoint that both have signed.")
        keys.append(new)
    if (keys or [log])[-1] != log:
        raise Bad("key", f"The bundle is signed with another key than the one that is known: {log}")
    return keys or [log]


def check_leaf(entry: dict[str, Any], what: str, checkpoint: Checkpoint) -> None:
    record, opening = entry["record"], bytes.fromhex(entry["opening"])
    made = hmac.new(opening, canonical(entry["content"]), hashlib.sha256).hexdigest()
    if len(opening) != 32 or made != record["commitment"]:
        raise Bad("commitment", f"{what} is not what the archive committed to.")
    leaf = hashlib.sha256(b"\x00" + canonical(record)).digest()
    proof = [bytes.fromhex(each) for each in entry["proof"]]
    if root_from(leaf, entry["leaf"], checkpoint.size, proof) != checkpoint.root:
        raise Bad("inclusion", f"{what} is not in the tree of the checkpoint.")


def check_message(entry: dict[str, Any], checkpoint: Checkpoint) -> tuple[str, int]:
    record = entry["record"]
    what = f"Message {record['message']} revision {record['revision']}"
    if record["type"] != "message" or set(entry) != {"record", "content", "opening", "leaf", "proof", "sent_at"}:
        raise Bad("record", f"{what} is not a record of a message.")
    check_leaf(entry, what, checkpoint)
    sent = EPOCH + timedelta(microseconds=entry["content"]["sent_us"])
    if entry["sent_at"] != sent.isoformat(timespec="milliseconds"):
        raise Bad("record", f"The time beside {what} is not its own.")
    return record["message"], record["revision"]


def check_import(entry: dict[str, Any], checkpoint: Checkpoint) -> str:
    record = entry["record"]
    if record["type"] != "import" or set(entry) != {"record", "content", "opening", "leaf", "proof"}:
        raise Bad("record", "This is not a record of an import.")
    check_leaf(entry, f"Import {record['import']}", checkpoint)
    return str(record["import"])


def check_beside(entry: dict[str, Any], checkpoint: Checkpoint) -> None:
    record = entry["record"]
    _, names, fields = BESIDE[record["type"]]
    of = " ".join(str(record[name]) for name in sorted(names))
    what = f"The {record['type']} record {of}"
    if (
        set(record) != names | {"commitment", "import", "type", "v"}
        or set(entry) != {"record", "content", "opening", "leaf", "proof"}
        or set(entry["content"]) != fields
    ):
        raise Bad("record", f"{what} is not a record as the archive writes it.")
    check_leaf(entry, what, checkpoint)


def check_all_beside(
    files: dict[str, bytes], messages: set[str], checkpoint: Checkpoint
) -> dict[str, list[dict[str, Any]]]:
    """What stands beside the messages, by its kind."""
    beside: dict[str, list[dict[str, Any]]] = {kind: [] for kind in BESIDE}
    for name in sorted({name for name, _, _ in BESIDE.values()} & set(files)):
        for entry in json.loads(files[name], object_pairs_hook=_once):
            kind = entry["record"]["type"]
            if kind not in BESIDE or BESIDE[kind][0] != name:
                raise Bad("record", f"{name} holds a record of another kind.")
            check_beside(entry, checkpoint)
            if entry["record"].get("message", "") not in messages | {""}:
                raise Bad("record", f"{name} speaks of a message that is not in the bundle.")
            beside[kind].append(entry)
    leaves = [entry["leaf"] for entries in beside.values() for entry in entries]
    if len(set(leaves)) != len(leaves):
        raise Bad("record", "Something stands twice in the bundle.")
    return beside


def check_media(entries: list[dict[str, Any]], media: dict[str, Stored]) -> None:
    """Every media file in the bundle is one that a leaf speaks of."""
    sizes = {MEDIA + entry["content"]["sha256"]: entry["content"]["bytes"] for entry in entries}
    for name, stored in sorted(media.items()):
        if name != MEDIA + stored.digest or sizes.get(name) != stored.size:
            raise Bad("media", f"{name} is not a file that the archive committed to.")


def check_witnesses(note: Note, witnesses: Sequence[Key]) -> dict[str, datetime]:
    """When each of them cosigned the checkpoint."""
    cosigned = {}
    for witness in witnesses:
        seconds = note.cosigned(witness)
        if seconds is None:
            raise Bad("cosignature", f"The checkpoint is not cosigned by {witness.name}.")
        cosigned[str(witness)] = time_of(seconds, "cosignature")
    return cosigned


# Time stamps (RFC 3161) -----------------------------------------------------------------------------------------

SEQUENCE, INTEGER, OCTETS, OID, EXPLICIT = 0x30, 0x02, 0x04, 0x06, 0xA0
SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
TST_INFO = bytes.fromhex("2a864886f70d0109100104")
SHA256 = bytes.fromhex("608648016503040201")
MAX_TOKEN = 1024 * 1024


def der(data: bytes) -> list[tuple[int, bytes]]:
    """Elements of DER that stand side by side, each with its tag. Raises ``ValueError`` for what is not DER."""
    found, at = [], 0
    while at < len(data):
        if len(data) < at + 2:
            raise ValueError("it ends too early")
        tag, size = data[at], data[at + 1]
        at += 2
        if size > 127:
            width, size = size - 128, int.from_bytes(data[at : at + size - 128], "big")
            at += width
            if not 1 <= width <= 4:
                raise ValueError("its length is not told, or too long")
        if tag & 31 == 31 or size > len(data) - at:
            raise ValueError("its tag is too long, or it ends too early")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def inside(data: bytes, *path: tuple[int, int]) -> bytes:
    """What lies in an element that is found by places and tags, from outside in."""
    for place, tag in path:
        elements = der(data)
        if place >= len(elements) or elements[place][0] != tag:
            raise ValueError("this is another structure")
        data = elements[place][1]
    return data


def imprint_of(token: bytes) -> bytes:
    """The SHA-256 that an authority's answer is about. Raises ``ValueError`` for what is no such answer."""
    if len(token) > MAX_TOKEN or len(der(token)) != 1:
        raise ValueError("too long, or not one answer")
    status = inside(token, (0, SEQUENCE), (0, SEQUENCE), (0, INTEGER))
    signed = ((0, SEQUENCE), (1, SEQUENCE))
    wrapped = (*signed, (1, EXPLICIT), (0, SEQUENCE), (2, SEQUENCE))
    types = inside(token, *signed, (0, OID)), inside(token, *wrapped, (0, OID))
    imprint = inside(token, *wrapped, (1, EXPLICIT), (0, OCTETS), (0, SEQUENCE), (2, SEQUENCE))
    if (
        status not in (b"\0", b"\1")
        or types != (SIGNED_DATA, TST_INFO)
        or inside(imprint, (0, SEQUENCE), (0, OID)) != SHA256
    ):
        raise ValueError("not granted, or of another kind")
    return inside(imprint, (1, OCTETS))


def check_stamps(files: dict[str, bytes], text: bytes) -> list[str]:
    """The names of the time stamps. Whoever checks one with openssl does so against checkpoint_text.txt."""
    stamps = sorted(each for each in files if each.startswith("timestamps/"))
    if files.get("checkpoint_text.txt", None if stamps else text) != text:
        raise Bad("timestamp", "checkpoint_text.txt is not the text of the checkpoint.")
    for name in stamps:
        try:
            imprint = imprint_of(files[name])
        except ValueError:
            raise Bad("timestamp", f"{name} is no answer of a time-stamping authority.") from None
        if imprint != hashlib.sha256(text).digest():
            raise Bad("timestamp", f"{name} is not of this checkpoint.")
    return stamps


# For a reader ---------------------------------------------------------------------------------------------------
# The vault writes them with these functions too. Another wording makes earlier bundles bad: keep what reads those.


def transcript(
    messages: Sequence[Mapping[str, Any]], beside: Mapping[Any, Sequence[Mapping[str, Any]]], who: Mapping[str, Any]
) -> str:
    """A line for each wording, and under it the file, the reactions and the votes of its message."""
    names = {each["id"]: each["name"] or each["number"] or each["jid"] for each in who["people"]}
    chats = {each["id"]: each["name"] or names.get(each["contact_id"]) or each["jid"] for each in who["chats"]}
    # In quotes, since nothing proves a name: none can look like something that was said.
    people = {id_: canonical(name).decode() for id_, name in names.items()}
    under = _under(beside, {**people, OURSELVES: "the account"})
    lines = []
    for each in messages:
        content, record = each["content"], each["record"]
        author = "the account" if content["from_me"] else people.get(content["sender"], "unknown")
        said = "[revoked]" if content["revoked"] else content["text"] or f"[{content['kind']}]"
        later = f" (revision {record['revision']})" if record["revision"] > 1 else ""
        chat = canonical(chats.get(content["chat"], "")).decode()
        lines.append(_one(f"{_time(content['sent_us'])}  {chat}  {author}{later}: {said}"))
        lines += under.pop(record["message"], ())
    return "\n".join(lines) + "\n"


def _under(beside: Mapping[Any, Sequence[Mapping[str, Any]]], people: Mapping[str, str]) -> dict[str, list[str]]:
    under: dict[str, list[str]] = {}
    for kind in ("media", "reaction", "vote"):
        for each in beside[kind]:
            content = each["content"]
            if kind == "media":
                line = f"file {content['sha256']}, {content['bytes']:,} bytes"
            elif kind == "reaction":
                what = f"reacted {content['reaction']}" if content["reaction"] else "took the reaction back"
                line = f"{_time(content['reacted_us'])}  {people.get(content['by'], 'unknown')} {what}"
            else:
                what = f"chose option {content['option']}"
                line = f"{_time(content['voted_us'])}  {people.get(content['by'], 'unknown')} {what}"
            under.setdefault(each["record"]["message"], []).append("    " + _one(line))
    return under


def _one(line: str) -> str:
    """Nothing that somebody wrote can look like another line of the transcript."""
    return "\n    | ".join(line.splitlines())


def _time(microseconds: int) -> str:
    return f"{(EPOCH + timedelta(microseconds=microseconds)).isoformat(' ', 'seconds')[:19]} UTC"


def report(
    files: Mapping[str, str], sources: Sequence[tuple[str, str]], text: str, log: str
) -> list[tuple[str, list[tuple[str, str]]]]:
    """The hash report of the certificate: what is hashed, and its SHA-256."""
    origin, size, root = text.split("\n")[:3]
    return [
        ("Records produced (SHA-256 of each file of the bundle)", sorted(files.items())),
        ("Backup files that the messages come from (SHA-256)", [(" ".join(a.split()), b) for a, b in sources]),
        ("Signed checkpoint of the archive", [("log", origin), ("leaves", size), ("root, base64", root),
                                              ("public key of the log", log)]),
    ]  # fmt: skip


def report_text(rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    lines = [line for title, each in rows for line in (title, *(f"  {name}: {value}" for name, value in each), "")]
    return "\n".join(lines)


def report_html(rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    made = ""
    for title, each in rows:
        cells = "".join(
            f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(value)}</code></td></tr>" for name, value in each
        )
        made += f"<h3>{html.escape(title)}</h3><table>{cells}</table>"
    return made


def check_transcript(
    files: dict[str, bytes], messages: list[dict[str, Any]], beside: dict[str, list[dict[str, Any]]]
) -> None:
    people = json.loads(files["people.json"], object_pairs_hook=_once)
    if files["transcript.txt"] != transcript(messages, beside, people).encode():
        raise Bad("transcript", "transcript.txt is not what the proven messages say.")


def check_certificates(
    files: dict[str, bytes], media: dict[str, Stored], imports: list[dict[str, Any]], text: str, log: Key
) -> None:
    digests = {name: hashlib.sha256(each).hexdigest() for name, each in files.items() if name not in UNREPORTED}
    digests.update({name: each.digest for name, each in media.items()})
    rows = report(digests, [(each["file_name"], each["file_sha256"]) for each in imports], text, str(log))
    for name, written in (("certificate.txt", report_text(rows)), ("certificate.html", report_html(rows))):
        forms, mark, before, after = FORMS[name]
        form, _, rest = files[name].partition(mark)
        if hashlib.sha256(form).hexdigest() not in forms:
            raise Bad("certificate", f"{name} is not the form that the vault fills hashes into.")
        if not MADE.fullmatch(rest[:19]) or rest[19:] != before + written.encode() + after:
            raise Bad("certificate", f"The hashes in {name} are not those of this bundle.")


class Found(NamedTuple):
    wordings: int
    beside: dict[str, int]
    files: int
    imports: dict[str, dict[str, Any]]
    checkpoint: Checkpoint
    cosigned: dict[str, datetime]
    keys: list[Key]
    stamps: list[str]


def verify(
    files: dict[str, bytes], media: dict[str, Stored], key: Key | None = None, witnesses: Sequence[Key] = ()
) -> Found:
    """Check a bundle as it was read. ``key`` and ``witnesses`` are those known from elsewhere, else the bundle's own.

    Raises :class:`Bad`, or any other error for what is not a bundle."""
    keys = json.loads(files["keys.json"], object_pairs_hook=_once)
    log = parse_key(keys["log"])
    note = parse_note(files["checkpoint.txt"].decode())
    size = int(note.text.split("\n")[1])
    log_keys = check_handovers(json.loads(files.get("handovers.json", b"[]")), key, log, size)
    check_sums(files, media, log)
    check_names(files)
    checkpoint = check_checkpoint(files["checkpoint.txt"].decode(), log)
    cosigned = check_witnesses(note, witnesses or [parse_key(each) for each in keys["witnesses"]])
    stamps = check_stamps(files, note.text.encode())
    imports = {}
    for entry in json.loads(files["imports.json"], object_pairs_hook=_once):
        imports[check_import(entry, checkpoint)] = entry["content"]
    messages = json.loads(files["messages.json"], object_pairs_hook=_once)
    seen = [check_message(entry, checkpoint) for entry in messages]
    if len(set(seen)) != len(seen):
        raise Bad("record", "A message stands twice in the bundle.")
    beside = check_all_beside(files, {message for message, _ in seen}, checkpoint)
    check_media(beside["media"], media)
    entries = [*messages, *(entry for each in beside.values() for entry in each)]
    unknown = {entry["record"]["import"] for entry in entries} - set(imports)
    if unknown:
        raise Bad("source", f"The bundle does not say from which file import {min(unknown)} came.")
    check_transcript(files, messages, beside)
    check_certificates(files, media, list(imports.values()), note.text, log)
    counts = {kind: len(each) for kind, each in beside.items()}
    return Found(len(seen), counts, len(media), imports, checkpoint, cosigned, log_keys, stamps)


def check_sources(paths: Sequence[str], sources: dict[str, str]) -> None:
    for path in paths:
        if hashlib.sha256(Path(path).read_bytes()).hexdigest() not in sources:
            raise Bad("source", f"{path} is none of the files that the messages come from.")


def say(text: str) -> None:
    """A line, in which nothing from a bundle can look like another line, on whatever a terminal can show."""
    encoding = sys.stdout.encoding or "utf-8"
    shown = "".join(each if each.isprintable() else "?" for each in text)
    sys.stdout.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks an evidence bundle of a Trunkline vault.")
    parser.add_argument("bundle")
    parser.add_argument("--key", type=parse_key, help="the log's public key, as known from elsewhere")
    parser.add_argument("--witness", type=parse_key, action="append", default=[], help="a witness's public key")
    parser.add_argument("--source", action="append", default=[], help="a backup file that messages should come from")
    given = parser.parse_args(arguments)
    try:
        files, media = read(given.bundle)
        found = verify(files, media, given.key, given.witness)
        sources = {each["file_sha256"]: each["file_name"] for each in found.imports.values()}
        check_sources(given.source, sources)
    except Bad as bad:
        say(f"BAD {bad}")
        return 1
    except Exception as error:  # whatever it is, it is not a good bundle
        say(f"BAD [bundle] This is not a bundle as it was written: {type(error).__name__}.")
        return 1
    signed = found.checkpoint
    say(f"GOOD {found.wordings} wordings of messages, all in the tree that was signed on {signed.at:%Y-%m-%d}")
    beside = found.beside
    say(f"  media: {beside['media']} files proven by their SHA-256, {found.files} of them in the bundle")
    say(f"  {beside['reaction']} reactions, {beside['vote']} votes, {beside['identity']} pairs of identities")
    say(f"  checkpoint: {signed.size} leaves, root {signed.root.hex()}, {signed.at}")
    for name, at in sorted(found.cosigned.items()):
        say(f"  cosigned {at} by {name}{'' if given.witness else ' (a key from the bundle: compare it)'}")
    for digest, name in sorted(sources.items()):
        say(f"  source file: SHA-256 {digest}  {name}")
    for name in found.stamps:
        say(f"  {name} is of this checkpoint; who signed it is checked with openssl, see the head of this file")
    for before, after in zip(found.keys, found.keys[1:]):  # noqa: B905 - Python 3.9
        say(f"  the log went over from {before} to {after}, signed by both")
    say(f"  log: {found.keys[-1]}{'' if given.key else ' (a key from the bundle: compare it with the one you know)'}")
    say("  the transcript and the certificate are those of what is proven here")
    say(f"NOT PROVEN {UNPROVEN}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
