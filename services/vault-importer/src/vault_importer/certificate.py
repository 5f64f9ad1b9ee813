"""The certificate that Indian courts ask for with electronic records: section 63(4)(c) of the Bharatiya Sakshya
Adhiniyam, 2023, in the form of its Schedule. Hashes are filled in; whoever signs fills in the rest and answers for it.

The verifier of a bundle writes the hash report again and knows the form by its SHA-256 (``FORMS``): whoever changes a
word here adds the new one there, and leaves the earlier ones for the bundles that have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, timezone
from html import escape
from typing import Any

from vault_importer.verify_evidence import report, report_html, report_text

__all__ = ["certificate_html", "certificate_text"]

IST = timezone(timedelta(hours=5, minutes=30))
BLANK = "____________________"

TITLE = "CERTIFICATE"
UNDER = (
    "under section 63(4)(c) of the Bharatiya Sakshya Adhiniyam, 2023 (electronic/digital records), in the form of its"
    " Schedule"
)
WHO = (
    f"I, {BLANK} (Name), Son/daughter/spouse of {BLANK} residing/employed at {BLANK} do hereby solemnly affirm and"
    " sincerely state and submit as follows:\u2014"
)
SOURCES = (
    "Computer / Storage Media [ ]   DVR [ ]   Mobile [ ]   Flash Drive [ ]   CD/DVD [ ]   Server [ ]   Cloud [ ]"
    f"   Other [ ]   Other: {BLANK}"
)
DEVICE = (
    f"Make & Model: {BLANK}   Color: {BLANK}   Serial Number: {BLANK}   IMEI/UIN/UID/MAC/Cloud ID: {BLANK} (as"
    " applicable) and any other relevant information, if any, about the device/digital record: "
)
CONTROL = (
    "The digital device or the digital record source was under the lawful control for regularly creating, storing or"
    " processing information for the purposes of carrying out regular activities and during this period, the computer"
    " or the communication device was working properly and the relevant information was regularly fed into the computer"
    " during the ordinary course of business. If the computer/digital device at any point of time was not working"
    " properly or out of operation, then it has not affected the electronic/digital record or its accuracy. The digital"
    " device or the source of the digital record is:\u2014   Owned [ ]   Maintained [ ]   Managed [ ]   Operated [ ]"
    "   by me (select as applicable)."
)
HASHES = "I state that the HASH value/s of the electronic/digital record/s is/are those of the hash report below,"
ALGORITHM = (
    "obtained through the following algorithm:\u2014   SHA1 [ ]   SHA256 [x]   MD5 [ ]   Other [ ] (Legally acceptable"
    " standard). (Hash report to be enclosed with the certificate)"
)
SIGNED = f"Date (DD/MM/YYYY): {BLANK}   Time (IST): {BLANK} hours (In 24 hours format)   Place: {BLANK}"


def _parts(about: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The two parts, paragraph by paragraph. The expert's has no statement about control."""
    described = DEVICE + (
        "an archive of WhatsApp messages made from encrypted backups; see the hash report for the backup files and the"
        " signed checkpoint of the archive."
    )
    produced = (
        "I have produced electronic record/output of the digital record taken from the following device/digital record"
        " source (tick mark):\u2014"
    )
    obtained = (
        "The produced electronic record/output of the digital record are obtained from the following device/digital"
        " record source (tick mark):\u2014"
    )
    hashes = [HASHES, ALGORITHM]
    return [
        (
            "PART A (To be filled by the Party)",
            [WHO, produced, SOURCES, described, CONTROL, *hashes, f"{BLANK} (Name and signature)", SIGNED],
        ),
        (
            "PART B (To be filled by the Expert)",
            [WHO, obtained, SOURCES, described, *hashes, f"{BLANK} (Name, designation and signature)", SIGNED],
        ),
    ]


def _rows(about: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    return report(about["files"], about["sources"], about["note"], about["log"])


def certificate_text(about: Mapping[str, Any]) -> str:
    """``about`` holds files and sources with their hashes, the checkpoint's note, the log's key and the time."""
    lines = [TITLE, UNDER, ""]
    for title, paragraphs in _parts(about):
        lines += [title, "", *(line for each in paragraphs for line in (each, "")), ""]
    return "\n".join([*lines, "HASH REPORT", f"made {_made(about)}", "", report_text(_rows(about))])


def certificate_html(about: Mapping[str, Any]) -> str:
    """The same, to be printed: one page for each part and the report."""
    body = [f"<h1>{TITLE}</h1><p>{escape(UNDER)}</p>"]
    for title, paragraphs in _parts(about):
        body.append(f"<section><h2>{escape(title)}</h2>" + "".join(f"<p>{escape(p)}</p>" for p in paragraphs))
        body.append("</section>")
    body.append(f"<section><h2>HASH REPORT</h2><p>made {_made(about)}</p>{report_html(_rows(about))}</section>")
    style = "body{font:12pt serif;max-width:45em;margin:2em auto}section{page-break-after:always}code{font-size:9pt}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Certificate</title>'
        f"<style>{style}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _made(about: Mapping[str, Any]) -> str:
    return f"{about['at'].astimezone(IST):%d/%m/%Y %H:%M:%S} IST"
