"""Notes and checkpoints against the examples of the specifications, and everything that must not pass as one."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from vault_importer.signed_note import (
    Checkpoint,
    NoteError,
    Signer,
    Verifier,
    cosign,
    cosigned_at,
    is_signed,
    new_signer,
    parse_checkpoint,
    parse_note,
    parse_signer,
    parse_verifier,
    sign_checkpoint,
)

# The example of golang.org/x/mod/sumdb/note.
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
AT = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
SIGNER = Signer("vault.example.in/t", bytes(range(32)))
CHECKPOINT = Checkpoint("vault.example.in/t", 5, bytes(32))


def test_a_note_of_another_implementation_is_read_and_its_keys_are_ours() -> None:
    verifier, signer = parse_verifier(GO_PUBLIC), parse_signer(GO_PRIVATE)
    assert str(signer.verifier) == str(verifier) == GO_PUBLIC
    assert str(signer) == GO_PRIVATE
    note = parse_note(GO_NOTE)
    assert is_signed(note, verifier)
    assert base64.b64encode(verifier.key_id + signer.sign(note.text.encode())).decode() in GO_NOTE


def test_a_key_says_nothing_of_itself_in_a_trace() -> None:
    signer = new_signer("vault.example.in")
    assert signer.seed.hex() not in repr(signer)
    assert repr(signer.seed) not in repr(signer)


def test_a_checkpoint_carries_its_signature_and_its_time() -> None:
    note = parse_note(sign_checkpoint(SIGNER, CHECKPOINT, at=AT))
    assert parse_checkpoint(note.text) == CHECKPOINT
    assert is_signed(note, SIGNER.verifier)
    assert cosigned_at(note, SIGNER.verifier) == AT


@pytest.mark.parametrize("seconds", [2**40, 2**63, 2**64 - 1])
def test_a_cosignature_of_a_time_that_is_in_no_calendar_is_none(seconds: int) -> None:
    """The signature itself is right: whoever holds the key may sign any number."""
    signature = SIGNER.sign(f"cosignature/v1\ntime {seconds}\n{CHECKPOINT}".encode())
    raw = SIGNER.verifier.cosigner().key_id + seconds.to_bytes(8, "big") + signature
    never = f"\u2014 {SIGNER.name} {base64.b64encode(raw).decode()}\n"
    assert cosigned_at(parse_note(f"{CHECKPOINT}\n{never}"), SIGNER.verifier) is None
    once = cosign(SIGNER, str(CHECKPOINT), at=AT)
    assert cosigned_at(parse_note(f"{CHECKPOINT}\n{never}{once}"), SIGNER.verifier) == AT


def test_a_signature_is_of_one_text_one_key_and_one_name() -> None:
    text = sign_checkpoint(SIGNER, CHECKPOINT, at=AT)
    other = new_signer(SIGNER.name)
    for harmed, verifier in (
        (text.replace("\n5\n", "\n6\n"), SIGNER.verifier),
        (text, other.verifier),
        (text, Verifier("vault.example.in/u", 1, SIGNER.verifier.public)),
        (text.replace("vault.example.in/t", "vault.example.in/u"), Verifier("vault.example.in/u", 1, other.seed)),
    ):
        note = parse_note(harmed)
        assert not is_signed(note, verifier)
        assert cosigned_at(note, verifier) is None


def test_the_time_of_a_cosignature_is_signed_too() -> None:
    line = cosign(SIGNER, str(CHECKPOINT), at=AT)
    name, material = line.split()[1:]
    raw = bytearray(base64.b64decode(material))
    raw[11] ^= 1
    harmed = f"\u2014 {name} {base64.b64encode(bytes(raw)).decode()}\n"
    assert cosigned_at(parse_note(f"{CHECKPOINT}\n{line}"), SIGNER.verifier) == AT
    assert cosigned_at(parse_note(f"{CHECKPOINT}\n{harmed}"), SIGNER.verifier) is None


def test_a_cosignature_is_no_signature_and_a_signature_no_cosignature() -> None:
    only_cosigned = parse_note(f"{CHECKPOINT}\n{cosign(SIGNER, str(CHECKPOINT), at=AT)}")
    assert not is_signed(only_cosigned, SIGNER.verifier)
    signed = sign_checkpoint(SIGNER, CHECKPOINT, at=AT).splitlines(keepends=True)
    assert cosigned_at(parse_note("".join(signed[:-1])), SIGNER.verifier) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a\n",
        "a\n\n",
        "a\n\n\u2014 b\n",
        "a\n\n\u2014 b !!!!\n",
        "a\n\n- b AAAAAAAA\n",
        "a\n\n\u2014 b AAAAAAAA",
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_note(text)


@pytest.mark.parametrize(
    "text", ["", "a\n5\n", "a\n05\n{}\n", "a\n-1\n{}\n", "a b\n5\n{}\n", "a\n5\nAAAA\n", "a\n5\n{}\n\nx\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(text.format(base64.b64encode(bytes(32)).decode()))


@pytest.mark.parametrize("text", ["", "a+b", "a+00000000+AAAA", GO_PUBLIC.replace("c74f", "c74e"), "x" + GO_PUBLIC])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_verifier(text)
    with pytest.raises(NoteError):
        parse_signer(text)
    with pytest.raises(NoteError):
        parse_signer(f"PRIVATE+KEY+{text}")


def test_a_name_without_spaces_is_asked_for() -> None:
    for name in ("", "a b", "a+b"):
        with pytest.raises(NoteError):
            new_signer(name)
