"""``make check`` runs every test that needs no server once, shows what failed, and fails when anything did."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from tests.checks import Step, files_of_tests, run, steps

ROOT = Path(__file__).parents[1]


def step(name: str, program: str) -> Step:
    return Step(name, [sys.executable, "-c", program])


def folders(each: Step) -> list[str]:
    """Those that a step's pytest reads."""
    return [word for word in each.command[1:] if (ROOT / word).is_dir()]


@pytest.mark.parametrize("thorough", [True, False])
def test_every_test_is_in_one_step_and_in_one_only(thorough: bool) -> None:
    tests = [each for each in steps(thorough=thorough) if each.name.startswith("tests: ")]
    found = files_of_tests()
    assert len(found) > 100
    for path in found:
        assert sum(path.is_relative_to(folder) for each in tests for folder in folders(each)) == 1, path
    for each in tests:
        # No test is left out but for its mark.
        assert each.command[1:4] == ["-q", "-m", "not real"]
        assert not [word for word in each.command if word.startswith(("-k", "--ignore", "--deselect"))]


def test_every_package_has_its_types_checked() -> None:
    [types] = [each for each in steps(thorough=False) if each.name == "types"]
    sources = {
        path.relative_to(ROOT).as_posix() for top in ("libs/*", "services/*", "cli") for path in ROOT.glob(f"{top}/src")
    }
    assert set(types.command[1:]) == sources


def test_only_a_quick_check_tries_fewer_examples_and_the_front_door_has_both() -> None:
    def quick(thorough: bool) -> list[bool]:
        tests = [each for each in steps(thorough=thorough) if each.name.startswith("tests: ")]
        return ["--hypothesis-profile=quick" in each.command for each in tests]

    assert settings.get_profile("thorough").max_examples == 100
    assert all(quick(thorough=False))
    assert not any(quick(thorough=True))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = dict(re.findall(r"^(check|test):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE))
    assert "python -m tests.checks $(if $(THOROUGH),--thorough)" in recipes["check"]
    assert "$(MAKE) --no-print-directory check THOROUGH=yes" in recipes["test"]


def test_one_that_passes_is_a_line_and_one_that_fails_is_shown_whole() -> None:
    out = io.StringIO()
    todo = [
        step("good", "print('noise'); print('3 passed in 1.00s')"),
        step("bad", "import sys; print('why'); print('and where', file=sys.stderr); sys.exit(2)"),
        step("later", "print('also run')"),
    ]
    assert run(todo, out, at_once=1) == 1
    text = out.getvalue()
    assert re.search(r"^✓ good, \d+ s · 3 passed in 1.00s$", text, re.MULTILINE)
    assert re.search(r"^✗ bad, \d+ s\nwhy\nand where$", text, re.MULTILINE)
    assert re.search(r"^✓ later, \d+ s · also run$", text, re.MULTILINE)
    assert "noise" not in text
    assert text.endswith("✗ failed: bad\n")


def test_all_that_failed_are_named_at_the_end_also_who_died_without_a_word() -> None:
    out = io.StringIO()
    todo = [step("one", "import os; os.abort()"), step("two", ""), step("three", "raise SystemExit(1)")]
    assert run(todo, out, at_once=2) == 1
    named = out.getvalue().splitlines()[-1].removeprefix("✗ failed: ").split("; ")
    assert sorted(named) == ["one", "three"]


def test_nothing_failed_is_nought(tmp_path: Path) -> None:
    # Each waits for the other: they run side by side.
    wait = "import pathlib, time\npathlib.Path({!r}).touch()\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.01)"
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert run([step("a", wait.format(a, b)), step("b", wait.format(b, a))], io.StringIO(), at_once=2) == 0
