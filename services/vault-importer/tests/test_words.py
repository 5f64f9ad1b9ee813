"""What the words of a text are, in all the scripts that people write in here."""

from __future__ import annotations

import pytest

from vault_importer.search import Meaning, QueryRefused, parse, spans
from vault_importer.words import fold, joined, sound, vector, words_of


def texts(text: str) -> list[str]:
    return [word.text for word in words_of(text)]


def test_vowel_signs_and_joiners_are_within_words_and_punctuation_is_not() -> None:
    assert texts("നാളെ, രാവിലെ എത്തിക്കാം.") == ["നാളെ", "രാവിലെ", "എത്തിക്കാം"]
    assert texts("कल भेज दीजिए!") == ["कल", "भेज", "दीजिए"]
    assert texts("Rate_card 12mm-pipe") == ["rate", "card", "12mm", "pipe"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("അവന്\u200d", "അവൻ"),
        ("cafe\u0301", "café"),
        ("STRASSE", "straße"),
        ("१२३", "123"),
        ("൪൫", "45"),
        ("क\u094d\u200dष", "क\u094dष"),
    ],
)
def test_two_ways_to_write_one_word_are_one_word(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Call +91 98470-00010 today", "919847000010"),
        ("call me on 98470 00010 tomorrow", "9847000010"),
        ("GST 32 AAACK 1234 A 1ZJ", "gst32aaack1234a1zj"),
        ("PAN ABCDE 1234 F", "abcde1234f"),
        ("total 1,25,000 only", "125000"),
    ],
)
def test_a_number_in_groups_is_one_more_word(text: str, number: str) -> None:
    assert number in [word.text for _, word in joined(text, words_of(text))]


def test_what_is_no_number_stays_apart() -> None:
    assert list(joined("2 kg rice and 5 boxes", words_of("2 kg rice and 5 boxes"))) == []
    assert list(joined("12345\n67890", words_of("12345\n67890"))) == []


@pytest.mark.parametrize(
    ("latin", "script"), [("naale", "നാളെ"), ("nale", "നാളെ"), ("ethikkam", "എത്തിക്കാം"), ("kal", "कल"), ("sahab", "साहब")]
)
def test_a_word_sounds_as_it_does_in_latin_letters(latin: str, script: str) -> None:
    assert sound(fold(latin)) == sound(fold(script))


def test_positions_are_counted_through_all_wordings() -> None:
    assert vector(["one two", "two"]) == ("'one':1 'two':2,5", {"one", "two"})


@pytest.mark.parametrize("query", ["", "   ", "a", "?!", "x" * 201, " ".join(["word"] * 13)])
def test_what_cannot_be_looked_for_is_refused_with_a_sentence(query: str) -> None:
    with pytest.raises(QueryRefused, match=r"\.$"):
        parse(query)


def test_spans_are_exactly_what_is_meant() -> None:
    text = "Naale invoice 98470 00010, നാളെ അയക്കാം"
    found = spans(text, Meaning(begin={"invo"}, inside={"9847000010"}, whole={fold("നാളെ")}))
    assert [text[start:end] for start, end in found] == ["invo", "98470 00010", "നാളെ"]
