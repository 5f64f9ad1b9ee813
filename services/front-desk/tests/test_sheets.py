"""CSV sheets: every row is taken or says what is wrong with it, by line and column."""

from __future__ import annotations

import pytest

from front_desk.sheets import SHEETS, UnreadableSheet, bad_rows_csv, read_sheet, template_csv

STAFF = SHEETS["staff"]
CUSTOMERS = SHEETS["customers"]


@pytest.mark.parametrize("name", SHEETS)
def test_the_template_is_itself_a_good_sheet(name: str) -> None:
    good, bad = read_sheet(SHEETS[name], template_csv(SHEETS[name]).encode())
    assert (len(good), bad) == (1, [])


def test_a_sheet_from_a_spreadsheet_is_read() -> None:
    content = "\ufeffExternal Ref,Name,Numbers\r\ndesk,ആശ,098470 00011; 0484 200 0011\r\n\r\n,,\r\n".encode()
    good, bad = read_sheet(STAFF, content)
    assert bad == []
    assert good[0].entity.numbers == ("+919847000011", "+914842000011")  # type: ignore[union-attr]


def test_what_is_wrong_is_named_by_line_and_column() -> None:
    content = (
        b'external_ref,name,numbers,gstin\nk1,"Two\nlines",9847000021,\nk2,Good,9847000022,\nk3,Bad,12,32AAACK1234A1ZZ\n'
        b"k2,Again,,\nk4,Comma, Traders,9847000023,x\n"
    )
    good, bad = read_sheet(CUSTOMERS, content)
    assert [row.line for row in good] == [4]
    named = {(row.line, problem.field) for row in bad for problem in row.problems}
    assert named == {(2, "name"), (5, "numbers"), (5, "gstin"), (6, "external_ref"), (7, "")}
    [again] = [row for row in bad if row.line == 6]
    assert again.problems[0].sentence == "is already on line 4"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "external_ref is missing"),
        (b"name\nDesk\n", "external_ref is missing"),
        (b"external_ref,name,nubmers\n", "did you mean numbers"),
        (b"external_ref,name,name\n", "stands there twice"),
        (b"external_ref,name\n\xff,x\n", "not UTF-8"),
        (b"external_ref,name\na,\0\n", "not text"),
        (b'external_ref,name\na,"b\n', "not CSV"),
    ],
)
def test_what_is_no_sheet_is_refused_as_a_whole(content: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableSheet, match=sentence):
        read_sheet(STAFF, content)


def test_rows_left_out_come_back_mended() -> None:
    _, bad = read_sheet(STAFF, b"external_ref,name,active\ndesk,Desk,perhaps\nbills,Accounts,no\n")
    text = bad_rows_csv(STAFF, bad)
    assert "active is yes or no" in text
    good, bad = read_sheet(STAFF, text.replace("perhaps", "yes").encode("utf-8-sig"))
    assert (len(good), bad) == (1, [])


def test_hours_and_state_of_staff_are_read() -> None:
    content = b'external_ref,name,active,working_hours\na,A,No,"Mon-Fri 09:00-17:00"\nb,B,,from nine to five\n'
    good, bad = read_sheet(STAFF, content)
    assert good[0].entity.active is False  # type: ignore[union-attr]
    assert len(good[0].entity.working_hours) == 5  # type: ignore[union-attr]
    assert bad[0].problems[0].field == "working_hours"


def test_what_people_can_do_and_what_callers_press_is_read() -> None:
    content = b"external_ref,name,skills,capacity,wrap_up_seconds\na,A,GST; ml,2,0\nb,B,,,\nc,C,g s t,two,9999\n"
    good, bad = read_sheet(STAFF, content)
    assert [(e.skills, e.capacity, e.wrap_up_seconds) for e in (row.entity for row in good)] == [  # type: ignore[union-attr]
        (("gst", "ml"), 2, 0), ((), 1, None),
    ]  # fmt: skip
    assert {problem.field for problem in bad[0].problems} == {"skills", "capacity", "wrap_up_seconds"}
    good, bad = read_sheet(CUSTOMERS, b"external_ref,name,vip,language\na,A,Yes,ML\nb,B,,\nc,C,perhaps,malayalam!\n")
    assert [(e.vip, e.language) for e in (row.entity for row in good)] == [(True, "ml"), (False, "")]  # type: ignore[union-attr]
    assert {problem.field for problem in bad[0].problems} == {"vip", "language"}
    dids = (
        b"did,default_group,menu\n04842000001,reception,1=reception; 2 = accounts\n04842000002,,1\n04842000003,,x=a\n"
    )
    good, bad = read_sheet(SHEETS["dids"], dids)
    assert [(each.digits, each.group) for each in good[0].entity.menu] == [("1", "reception"), ("2", "accounts")]  # type: ignore[union-attr]
    assert [[problem.field for problem in row.problems] for row in bad] == [["menu"], ["menu"]]
