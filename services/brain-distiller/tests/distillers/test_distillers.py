"""One suite for every distiller: what it must find, what it must leave, and what all promise."""

from __future__ import annotations

import inspect
import itertools
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import brain_distiller.distillers as menu
from brain_distiller.distillers import DISTILLERS, distil
from brain_distiller.distillers.base import Distiller
from contracts.facts import FactExtractedV1

SAMPLES = Path(__file__).parent / "samples"


def samples_of(distiller: Distiller) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = json.loads((SAMPLES / f"{distiller.key}.json").read_text(encoding="utf-8"))
    return samples


CASES = [pytest.param(d, s, id=f"{d.key}: {s['text'][:40]}") for d in DISTILLERS for s in samples_of(d)]


@pytest.mark.parametrize(("distiller", "sample"), CASES)
def test_a_sample_gives_exactly_its_mentions(distiller: Distiller, sample: dict[str, Any]) -> None:
    text = sample["text"]
    said_on = date.fromisoformat(sample["said_on"]) if "said_on" in sample else None
    mentions = distiller.find(text, said_on)
    assert [{"raw": m.raw, "value": m.value} for m in mentions] == sample["finds"]
    end = 0
    for mention in mentions:
        assert text[mention.start : mention.end] == mention.raw
        assert mention.start >= end
        assert (mention.key, mention.value_type) == (distiller.key, distiller.value_type)
        assert mention.extractor == distiller.extractor
        assert 0 < mention.confidence <= 1
        end = mention.end
    assert list(distiller.find(text, said_on)) == list(mentions)


@pytest.mark.parametrize("distiller", DISTILLERS, ids=lambda d: d.key)
def test_every_distiller_has_samples_that_speak_and_samples_that_stay_quiet(distiller: Distiller) -> None:
    samples = samples_of(distiller)
    assert any(sample["finds"] for sample in samples), f"{distiller.key}: add a text in which something is found"
    assert any(not sample["finds"] for sample in samples), f"{distiller.key}: add a text in which nothing is"


@pytest.mark.parametrize("distiller", DISTILLERS, ids=lambda d: d.key)
def test_every_distiller_names_itself_and_the_type_of_its_values(distiller: Distiller) -> None:
    name, slash, version = distiller.extractor.partition("/")
    assert (name, slash, version.isdigit()) == (distiller.key, "/", True)
    assert f"``{distiller.value_type}``" in inspect.getsource(FactExtractedV1), (
        "say in the contract what this type of value is"
    )


def test_every_file_of_the_menu_is_in_its_table_and_every_sample_belongs_to_a_distiller() -> None:
    files = {path.stem for path in Path(menu.__file__).parent.glob("*.py")} - {"__init__", "base"}
    listed = {type(distiller).__module__.rpartition(".")[2] for distiller in DISTILLERS}
    assert files == listed, "add the distiller to DISTILLERS in distillers/__init__.py"
    assert {path.stem for path in SAMPLES.glob("*.json")} == {distiller.key for distiller in DISTILLERS}
    assert len({distiller.key for distiller in DISTILLERS}) == len(DISTILLERS)


def test_what_is_left_open_costs_confidence() -> None:
    said_on = date(2026, 11, 28)

    def sure(text: str) -> float:
        (mention,) = distil(text, said_on)
        return mention.confidence

    assert sure("28/11/2026") > sure("28 Nov") > sure("3/4/2026") > sure("4/28/2026") > sure("kal")
    assert sure("tomorrow") > sure("kal")
    assert sure("desk@ybl") > sure("desk@newapp")
    assert sure("FDRL0001001") > sure("QQQQ0001001")


def test_days_of_speaking_are_not_guessed() -> None:
    assert distil("tomorrow, or 28 Nov") == ()


def test_kinds_do_not_take_each_others_spans() -> None:
    text = "GST 32AABCU9603R1ZW PAN ABCPK1234Z ph 98470 00001 mail a9847000002@example.in total Rs 98,47,000/- "
    text += "or 9847000003@okaxis, a/c at FDRL0001001 by 28-11-2026 or tomorrow"
    mentions = distil(text, date(2026, 11, 28))
    assert [m.key for m in mentions] == [*("gstin", "pan", "phone", "email", "amount", "upi", "ifsc", "date", "date")]
    for one, next_one in itertools.pairwise(mentions):
        assert one.end <= next_one.start
