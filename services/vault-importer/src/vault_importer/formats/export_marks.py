"""What the app writes into an exported chat instead of what was sent, by language: a table to add to.

Only wordings that were seen in exports, or that several independent readers of them know, are in it. What is marked in
another way is kept as it stands, and counted as ``unknown_mark``: add it here, with the language, and import again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["DELETED", "EDITED", "LANGUAGES", "OMITTED", "Marks", "attached_file", "is_unknown_mark"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Of one language. Case does not matter; a full stop at the end may be there or not."""

    omitted: tuple[str, ...] = ()
    """Where a file of any kind was, without the angle brackets (Android)."""
    deleted: tuple[str, ...] = ()
    edited: str = ""
    """At the end of a text, without the angle brackets."""


LANGUAGES: Mapping[str, Marks] = {
    "en": Marks(
        omitted=("Media omitted",),
        deleted=("This message was deleted", "You deleted this message"),
        edited="This message was edited",
    ),
    "hi": Marks(omitted=("मीडिया के बिना",)),
    "ml": Marks(omitted=("മീഡിയ ഒഴിവാക്കി",)),
    "bn": Marks(omitted=("মিডিয়া বাদ দেওয়া হয়েছে",)),
    "gu": Marks(omitted=("મિડિયા છોડી મૂકાયું", "મીડિયા અવગણવામાં આવ્યા")),
    "kn": Marks(omitted=("ಮಾಧ್ಯಮ ಕೈಬಿಡಲಾಗಿದೆ",)),
    "mr": Marks(omitted=("मीडिया वगळण्यात आला", "मीडिया वगळले")),
    "pa": Marks(omitted=("ਮੀਡੀਆ ਛੱਡਿਆ", "ਮੀਡੀਆ ਛਡਿਆ ਗਿਆ")),
    "ta": Marks(omitted=("கோப்புகள் விடப்பட்டன", "ஊடகங்கள் நீக்கப்பட்டது")),
    "te": Marks(omitted=("మీడియా విస్మరించబడింది", "మాధ్యమం విస్మరించబడింది")),
    "ur": Marks(omitted=("میڈیا چھوڑ دیا گیا", "میڈیا ہٹا دیا گیا")),
    "ar": Marks(omitted=("تم استبعاد الوسائط",)),
    "de": Marks(
        omitted=("Medien ausgeschlossen", "Medien weggelassen"),
        deleted=("Diese Nachricht wurde gelöscht", "Du hast diese Nachricht gelöscht"),
        edited="Diese Nachricht wurde bearbeitet",
    ),
    "es": Marks(omitted=("Multimedia omitido", "Archivo omitido")),
    "fr": Marks(omitted=("Médias omis", "Fichier omis")),
    "id": Marks(omitted=("Media tidak disertakan",)),
    "pt": Marks(omitted=("Mídia oculta", "Mídia omitida", "Ficheiro não revelado")),
}


def _known(marks: Iterable[str]) -> frozenset[str]:
    return frozenset(mark.lower() for mark in marks)


OMITTED = _known(mark for each in LANGUAGES.values() for mark in each.omitted)
DELETED = _known(mark for each in LANGUAGES.values() for mark in each.deleted)
EDITED = tuple(
    f"<{each.edited}{stop}>" for each in LANGUAGES.values() if each.edited for stop in ("", ".")
)  # fmt: skip
#: ``IMG-20240513-WA0001.jpg (file attached)``, ``<attached: 00000004-AUDIO-2024-05-13.opus>``: in any language the name
#: is one that the app gives, or an invisible mark stands before it.
_ATTACHED = re.compile(
    r"<[^<>:\n]{1,40}: (?P<ios>[^<>\n]+\.\w{2,5})>|(?P<android>[^\n()]+\.\w{2,5}) \((?P<said>[^()\n]{1,60})\)"
)
_OWN_NAME = re.compile(r"(?:IMG|VID|AUD|PTT|STK|DOC|GIF)-\d{8}-WA\d{4,}\.\w{2,5}|\d{8}-[A-Z]+-[\d-]+\.\w{2,5}")
_BRACKETED = re.compile(r"<[^<>\n]{3,60}>")


def attached_file(line: str, *, marked: bool) -> str:
    """The name of the file that a line stands for; empty when it is no such line."""
    found = _ATTACHED.fullmatch(line)
    if found is None:
        return ""
    name: str = found["ios"] or found["android"]
    known = found["said"] == "file attached" or line.startswith("<attached: ")
    return name if marked or known or _OWN_NAME.fullmatch(name) else ""


def is_unknown_mark(line: str) -> bool:
    """Whether a whole message looks like a mark of a language that is not in the table."""
    return _BRACKETED.fullmatch(line) is not None
