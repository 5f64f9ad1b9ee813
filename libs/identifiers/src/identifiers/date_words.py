"""What months and days are called in English, Hindi and Malayalam, in their scripts and as people type them."""

from __future__ import annotations

from typing import Final

__all__ = ["DOUBLE_MEANING", "HINDI_MONTHS", "LATIN_MONTHS", "MALAYALAM_MONTHS", "RELATIVE", "UNSURE"]


def _numbered(lines: str) -> dict[str, int]:
    """A line for each month, in their order, with all spellings of its name."""
    return {name: month for month, line in enumerate(lines.strip().splitlines(), start=1) for name in line.split()}


LATIN_MONTHS: Final = _numbered("""
    jan january
    feb february
    mar march
    apr april
    may
    jun june
    jul july
    aug august
    sep sept september
    oct october
    nov november
    dec december
""")

#: Also words of their own; without a year they are months only where the writing says so.
DOUBLE_MEANING: Final = frozenset({"may", "mar", "march", "dec"})

HINDI_MONTHS: Final = _numbered("""
    जनवरी
    फरवरी फ़रवरी फ़रवरी
    मार्च
    अप्रैल
    मई
    जून
    जुलाई
    अगस्त
    सितंबर सितम्बर
    अक्टूबर अक्तूबर
    नवंबर नवम्बर
    दिसंबर दिसम्बर
""")

#: Without the final sign that endings change (``നവംബർ``, ``നവംബറിൽ``), where there is one.
MALAYALAM_MONTHS: Final = _numbered("""
    ജനുവരി
    ഫെബ്രുവരി
    മാർച്ച മാര്‍ച്ച
    ഏപ്രി
    മേയ് മെയ്
    ജൂൺ ജൂണ്‍ ജൂണി
    ജൂലൈ ജൂലായ്
    ഓഗസ്റ്റ ആഗസ്റ്റ ആഗസ്ത
    സെപ്റ്റംബ സെപ്തംബ സെപ്റ്റമ്പ
    ഒക്ടോബ ഒക്റ്റോബ
    നവംബ നവമ്പ
    ഡിസംബ ഡിസമ്പ
""")

#: Days from the day on which it is said.
RELATIVE: Final[dict[str, int]] = {
    **dict.fromkeys(("day before yesterday",), -2),
    **dict.fromkeys(("yesterday", "innale", "ഇന്നലെ"), -1),
    **dict.fromkeys(("today", "aaj", "innu", "आज", "ഇന്ന്"), 0),
    **dict.fromkeys(("tomorrow", "tmrw", "tmrow", "tomorow", "tommorow", "tommorrow"), 1),
    **dict.fromkeys(("kal", "nale", "naale", "nalle", "कल", "നാളെ"), 1),
    **dict.fromkeys(("day after tomorrow", "parso", "parson", "mattannal", "परसों", "മറ്റന്നാൾ"), 2),
}

#: ``kal`` is the day beside today, on either side, ``parso`` the one beside that; of plans the later one is meant.
UNSURE: Final = frozenset({"kal", "parso", "parson", "कल", "परसों", "nalle", "innu"})
