"""What somebody can look for among: every kind of message there is, once."""

from __future__ import annotations

from collections import Counter

import pytest

from front_desk.archive import NotTaken
from front_desk.archive_pages import KINDS, OTHER, among
from vault_importer.search_api import ALL_KINDS


def test_every_kind_of_the_vault_is_under_one_choice() -> None:
    found: Counter[str] = Counter()
    for choice in (*KINDS, OTHER):
        asked = among(choice)
        found.update(set(asked.get("kind") or ALL_KINDS) - {*asked.get("not_kind", ())})
    assert found == Counter(dict.fromkeys(ALL_KINDS, 1))


def test_what_is_no_choice_is_refused() -> None:
    with pytest.raises(NotTaken):
        among("nonsense")
