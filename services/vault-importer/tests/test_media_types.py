"""What browsers are told of files that strangers sent."""

from __future__ import annotations

import pytest

from vault_importer.contact_cards import cards_in
from vault_importer.media_types import file_name, served_as


@pytest.mark.parametrize(
    ("said", "type_", "shown"),
    [
        ("image/jpeg", "image/jpeg", True),
        ("IMAGE/JPG", "image/jpeg", True),
        ("audio/ogg; codecs=opus", "audio/ogg", True),
        ("video/mp4", "video/mp4", True),
        ("application/pdf", "application/pdf", False),
        ("image/svg+xml", "application/octet-stream", False),
        ("text/html", "application/octet-stream", False),
        ("text/html;image/png", "application/octet-stream", False),
        ("image/png\r\nX-Evil: 1", "application/octet-stream", False),
        ("", "application/octet-stream", False),
    ],
)
def test_only_what_cannot_act_is_told_as_what_it_is(said: str, type_: str, shown: bool) -> None:
    served = served_as(said)
    assert (served.type, served.shown) == (type_, shown)


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("bill.pdf", "bill.pdf"),
        ("ബിൽ മാർച്ച്.pdf", "ബിൽ മാർച്ച്.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\r\nSet-Cookie: x", "a__Set-Cookie_ x"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("", "m1"),
        (" .. ", "m1"),
        ("x" * 200 + ".docx", "m1.docx"),
    ],
)
def test_a_file_is_saved_under_a_name_that_deceives_nobody(name: str, saved: str) -> None:
    assert file_name(name, "m1") == saved


def test_cards_are_read_for_names_and_numbers() -> None:
    text = (
        "BEGIN:VCARD\r\nVERSION:3.0\r\nN:;Ravi;;;\r\nFN:Ravi\\, Kottakkal\r\n"
        "item1.TEL;type=CELL;waid=919847000010:+91 98470\r\n  00010\r\nitem1.X-ABLabel:Mobile\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\nFN:\nEND:VCARD\nBEGIN:VCARD\nTEL:+91 98470 00011\nEND:VCARD"
    )
    assert cards_in(text) == [
        {"name": "Ravi, Kottakkal", "numbers": ["+91 98470 00010"]},
        {"name": "", "numbers": ["+91 98470 00011"]},
    ]
    assert cards_in("no card") == []
    assert len(cards_in("BEGIN:VCARD\nFN:x\n" * 100)) == 20
