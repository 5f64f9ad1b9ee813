# ruff: noqa: RUF001 - other scripts' digits and signs are what is tested
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identifiers.gstin import STATE_CODES, check_digit, find_gstins, is_gstin
from identifiers.pan import HOLDERS, find_pans, is_pan

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
letters = st.sampled_from(ALPHABET[10:])
pans = st.builds(
    "{}{}{}{:04}{}".format,
    st.text(alphabet=ALPHABET[10:], min_size=3, max_size=3),
    st.sampled_from(HOLDERS),
    letters,
    st.integers(1, 9999),
    letters,
)
gstins = st.builds("{}{}{}Z".format, st.sampled_from(sorted(STATE_CODES)), pans, st.sampled_from(ALPHABET[1:])).map(
    lambda first: first + check_digit(first)
)


@pytest.mark.parametrize(
    ("first", "check"),
    [("27AAPFU0939F1Z", "V"), ("29AABCU9603R1Z", "J"), ("34AABCB5576G1Z", "Q"), ("32AABCU9603R1Z", "W")],
)
def test_the_check_character_agrees_with_published_numbers(first: str, check: str) -> None:
    assert check_digit(first) == check
    assert is_gstin(first + check)


@given(gstins)
def test_every_state_code_with_a_right_check_character_is_valid(gstin: str) -> None:
    assert is_gstin(gstin)
    assert is_pan(gstin[2:12])


@given(gstins, st.integers(0, 14), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_noticed(gstin: str, place: int, wrong: str) -> None:
    broken = gstin[:place] + wrong + gstin[place + 1 :]
    assert is_gstin(broken) == (broken == gstin)


@pytest.mark.parametrize("state", ["00", "39", "40", "96", "98"])
def test_states_that_do_not_exist_are_refused(state: str) -> None:
    first = f"{state}AABCU9603R1Z"
    assert not is_gstin(first + check_digit(first))


def test_the_codes_of_ladakh_other_territory_and_the_centre_are_known() -> None:
    for state in ("38", "97", "99"):
        first = f"{state}AABCU9603R1Z"
        assert is_gstin(first + check_digit(first))


def test_a_gstin_around_an_impossible_pan_is_refused() -> None:
    first = "27ABCDE1234F1Z"  # D is no kind of holder
    assert not is_gstin(first + check_digit(first))


@pytest.mark.parametrize("value", ["", "32AABCU9603R1Z", "32aabcu9603r1zw", " 32AABCU9603R1ZW", "32AABCU9603R1ZW\n"])
def test_only_the_canonical_spelling_is_valid(value: str) -> None:
    assert not is_gstin(value)


@pytest.mark.parametrize(
    "text",
    [
        "32AABCU9603R1ZW",
        "GSTIN:32AABCU9603R1ZW.",
        "GSTIN32AABCU9603R1ZW",
        "gst no 32aabcu9603r1zw",
        "32 AABCU9603R 1ZW",
        "32-AABCU-9603-R-1-Z-W",
        "ഞങ്ങളുടെ GSTIN\u00a032AABCU9603R1ZW ആണ്",
        "जीएसटी ３２AABCU９６０３R１ZW",
    ],
)
def test_a_gstin_is_found_where_and_as_it_is_written(text: str) -> None:
    (found,) = find_gstins(text)
    assert found.value == "32AABCU9603R1ZW"
    assert text[found.start : found.end] == found.raw
    assert found.raw.startswith(("3", "３"))


@pytest.mark.parametrize("text", ["32AABCU9603R1ZX", "132AABCU9603R1ZW", "X32AABCU9603R1ZW", "32AABCU9603R1ZW1", ""])
def test_what_fails_the_checksum_or_is_part_of_more_is_not_found(text: str) -> None:
    assert find_gstins(text) == []


def test_two_gstins_in_one_text_are_both_found() -> None:
    assert [f.value for f in find_gstins("32AABCU9603R1ZW/27AAPFU0939F1ZV")] == ["32AABCU9603R1ZW", "27AAPFU0939F1ZV"]


@pytest.mark.parametrize("value", ["ABCPK1234Z", "AABCU9603R", "AAPFU0939F"])
def test_well_formed_pans_are_valid(value: str) -> None:
    assert is_pan(value)


@pytest.mark.parametrize("value", ["", "ABCDE1234F", "ABCPK0000Z", "abcpk1234z", "ABCPK1234", "ABCPK12345"])
def test_malformed_pans_are_not(value: str) -> None:
    assert not is_pan(value)


def test_pans_are_found_in_upper_and_lower_case_but_not_mixed() -> None:
    text = "PAN: ABCPK1234Z, പാൻ abcpk1234z; file AbcPk1234Z"
    assert [(f.raw, f.value) for f in find_pans(text)] == [("ABCPK1234Z", "ABCPK1234Z"), ("abcpk1234z", "ABCPK1234Z")]
    assert all(text[f.start : f.end] == f.raw for f in find_pans(text))


@pytest.mark.parametrize("text", ["32AABCU9603R1ZW", "32 AABCU9603R 1ZW", "32-AABCU9603R-1-Z-W", "XABCPK1234Z"])
def test_the_pan_inside_a_gstin_or_a_longer_word_is_not_found(text: str) -> None:
    assert find_pans(text) == []
