from __future__ import annotations

import gc

import pytest

from vault_importer.uncollected import uncollected


def test_cycles_are_looked_for_again_once_the_work_has_ended_or_failed() -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), uncollected():
        raise ZeroDivisionError
    assert gc.isenabled()
