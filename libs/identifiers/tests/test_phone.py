from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from identifiers.phone import find_phones, parse_caller, to_e164

MOBILE = "+919847000001"
KOCHI = "+914842000001"
MUMBAI = "+912269000001"
# Valid mobiles, some of which begin like the country code or like a trunk prefix followed by it.
nationals = st.sampled_from(["98470", "91470", "91100", "79000", "62820"]).flatmap(
    lambda head: st.integers(0, 999).map(lambda tail: f"{head}{tail:05}")
)


@pytest.mark.parametrize(
    "raw",
    [
        "9847000001",
        "09847000001",
        "919847000001",
        "+919847000001",
        "0919847000001",
        "00919847000001",
        "+91 98470 00001",
        "+91-98470-00001",
        "+91-0-98470 00001",
        "91-0-9847000001",
        "0091 0 9847000001",
        " 98470\u00a000001 ",
        "\u202a+91 98470 00001\u202c",
        "९८४७०००००१",
        "൯൮൪൭൦൦൦൦൦൧",
        "98470.00001",
        "(+91) 98470 00001",
        "9847000001 ext 12",
        "9847000001x12",
        "9847000001;ext=12",
        "tel:+91-98470-00001",
        "sip:+919847000001@pbx.example;user=phone",
        "sip:%2B919847000001@pbx.example",
        "sips:09847000001;npdi@192.0.2.1:5061",
        '"Front desk" <sip:9847000001:secret@pbx.example>',
    ],
)
def test_every_spelling_of_a_mobile_is_one_number(raw: str) -> None:
    assert to_e164(raw) == MOBILE


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("04842000001", KOCHI),
        ("0484-2000001", KOCHI),
        ("(0484) 200 0001", KOCHI),
        ("4842000001", KOCHI),
        ("+91 (484) 200-0001", KOCHI),
        ("+910484 2000001", KOCHI),
        ("02269000001", MUMBAI),
        ("022-6900 0001", MUMBAI),
        ("1800 425 0001", "+9118004250001"),
        ("18004250001", "+9118004250001"),
        ("1800-11-4000", "+911800114000"),
        ("+91 1800 425 0001", "+9118004250001"),
        ("000800 100 1234", "+910008001001234"),
        ("+971 50 123 4567", "+971501234567"),
        ("00971501234567", "+971501234567"),
    ],
)
def test_landlines_toll_free_and_foreign_numbers_are_understood(raw: str, expected: str) -> None:
    assert to_e164(raw) == expected


def test_a_mobile_that_begins_with_91_keeps_its_first_digits() -> None:
    for raw in ("9147000001", "09147000001", "919147000001", "0919147000001", "+919147000001", "00919147000001"):
        assert to_e164(raw) == "+919147000001", raw


@pytest.mark.parametrize(
    "raw",
    [
        *("", " ", "None", "null", "+", "+abc", "++919847000001", "abc", "-", "()"),
        *("100", "112", "56161", "1", "984700000", "98470000011"),
        *("98470OOOO1", "1-800-FLOWERS", "98470 00001 / 98470 00002", "98470-00001/2"),
        "971501234567",
        "9" * 500,
        "sip:reception@pbx.example",
        "sip:@pbx.example",
        "<>",
        "%",
    ],
)
def test_what_is_not_exactly_one_number_is_none(raw: str) -> None:
    assert to_e164(raw) is None


@given(nationals, st.sampled_from(["", "0", "91", "+91", "091", "0091", "+91 0", "+91-", "0091-"]), st.booleans())
def test_prefixes_and_separators_never_change_the_number(national: str, prefix: str, spaced: bool) -> None:
    written = f"{national[:5]} {national[5:]}" if spaced else national
    assert to_e164(prefix + written) == f"+91{national}"


@given(nationals, st.sampled_from(["०१२३४५६७८९", "൦൧൨൩൪൫൬൭൮൯", "٠١٢٣٤٥٦٧٨٩", "0123456789"]))
def test_the_script_of_the_digits_does_not_matter(national: str, digits: str) -> None:
    assert to_e164(national.translate(str.maketrans("0123456789", digits))) == f"+91{national}"


@given(st.one_of(st.text(max_size=60), st.text(alphabet="+0123456789 -().:@<>;xsip", max_size=40)))
@example("sip:")
@example("tel:;")
def test_no_text_raises_and_every_answer_is_a_valid_number_that_reads_as_itself(raw: str) -> None:
    e164 = to_e164(raw)
    caller = parse_caller(raw)
    assert caller.raw == raw
    assert (caller.kind == "number") == (caller.e164 is not None)
    if e164 is not None:
        assert phonenumbers.is_valid_number(phonenumbers.parse(e164))
        assert to_e164(e164) == e164


@pytest.mark.parametrize(
    "raw",
    [
        *(None, "", "  ", "None", "null", "undefined"),
        *("anonymous", "Anonymous", "ANONYMOUS", "Restricted", "Private", "Private Number", "Unavailable", "unknown"),
        *("withheld", "blocked", "not-used", "No Caller ID"),
        *("0", "0000000000", "+0"),
        *("+266696687", "+7378742833", "+86282452253", "+2562533", "+8656696"),
        *("sip:anonymous@anonymous.invalid", "sip:Anonymous@pbx.example", "tel:anonymous"),
        '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'[:-6],
        "sip:c8oqz84zk7z@anonymous.invalid",
    ],
)
def test_a_withheld_number_is_an_anonymous_caller(raw: str | None) -> None:
    caller = parse_caller(raw)
    assert (caller.kind, caller.e164, caller.raw) == ("anonymous", None, raw or "")


def test_the_keypad_word_without_its_plus_is_somebodys_mobile() -> None:
    assert parse_caller("7378742833").e164 == "+917378742833"


@pytest.mark.parametrize("raw", ["+", "+abc", "112", "984700", "sip:reception@pbx.example", "-"])
def test_what_is_neither_number_nor_withheld_is_invalid(raw: str) -> None:
    assert parse_caller(raw).kind == "invalid"


def found(text: str) -> list[str]:
    numbers = find_phones(text)
    for each in numbers:
        assert text[each.start : each.end] == each.raw
    return [each.value for each in numbers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call 98470 00001", [MOBILE]),
        ("98470 00001 98470 00002", [MOBILE, "+919847000002"]),
        ("98470 00001, 9847000002/9847000003", [MOBILE, "+919847000002", "+919847000003"]),
        ("9847000001-ൽ വിളിക്കൂ", [MOBILE]),
        ("ഫോൺ ൯൮൪൭൦൦൦൦൦൧ വിളിക്കൂ", [MOBILE]),
        ("मेरा नंबर ९८४७०००००१ है", [MOBILE]),
        ("\u202a+91\u00a098470\u00a000001\u202c", [MOBILE]),
        ("Ph:0484-2000001/02", [KOCHI]),
        ("office 484 2000001", [KOCHI]),
        ("(0484) 200 0001", [KOCHI]),
        ("toll free 1800 425 0001", ["+9118004250001"]),
        ("wa.me/919847000001", [MOBILE]),
        ("@919847000001 please check", [MOBILE]),
        ("mob9847000001", [MOBILE]),
        ("Rajesh-9847000001", [MOBILE]),
        ("ph 98 47 00 00 01", [MOBILE]),
        ("Dubai: +971 50 123 4567", ["+971501234567"]),
        ("12.05.2025 98470 00001", [MOBILE]),
        ("amount 5000, call 9847000001", [MOBILE]),
        ("order 9847000009 is ready. call 9847000001", [MOBILE]),
        ("For booking: 98470 00001", [MOBILE]),
        ("Order +91 98470 00001", [MOBILE]),
        ("+91-98470-00001 ext 12", [MOBILE]),
        ("GST 32AABCU9603R1ZW mob 9847000001", [MOBILE]),
    ],
)
def test_numbers_are_found_in_running_text(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("Amt 9500000000 paid", "amount: 9500000000", "Total is 9500000000", "₹9500000000", "9500000000/-"),
        *("9500000000.00", "9500000000 rupees", "Rs 98,47,00,00,01"),
        *("PNR 2345678901", "PNR no. 9345678901", "order no: 9847000001", "Order #9847000001", "INV-9847000001"),
        *("A/c no. 9847000001", "a/c: 919847000001", "UTR 9847000001, 9847000002", "OTP is 9847000001"),
        *(
            "https://shop.example/o/9847000001",
            "9847000001@okaxis",
            "9847000001@example.com",
            "a9847000001@example.com",
        ),
        *("4111 1111 9847 0000", "9123 4123 4123", "2341 2341 2346"),
        *("60 70 80 90 99", "08-05-2025 123", "99.11.2025 10", "2345678901", "1.9847000001.2"),
        *("GSTIN 32 AABCU 9603R 1 Z W", "ABCPK1234Z", "9847000001A", "SKU98470000011", "98470000012345"),
    ],
)
def test_amounts_orders_and_other_identifiers_are_not_numbers(text: str) -> None:
    assert found(text) == []


@given(st.text(alphabet="+0123456789 -().,/:₹@ആकA\u00a0", max_size=80))
def test_found_numbers_are_in_order_apart_and_true_to_the_text(text: str) -> None:
    end = 0
    for each in find_phones(text):
        assert end <= each.start < each.end <= len(text)
        assert text[each.start : each.end] == each.raw
        assert to_e164(each.value) == each.value
        end = each.end
