"""``make test`` runs every test once, tells which lane failed, and says at its end how all of them ended."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import lanes
from tests.checks import files_of_tests
from tests.lanes import Lane, Part, run

ROOT = Path(__file__).parents[1]
#: How modules of tests name the ports of a stack of theirs.
FIXED = re.compile(r"PORT_BASE\b[^\n]*?\b(2\d000)\b")


def lane(folder: Path, name: str, program: str, after: Callable[[], None] = lambda: None) -> Lane:
    return Lane(name, [sys.executable, "-c", program], folder / f"{name}.log", after=after)


def said(*lines: str, code: int = 0, when: Path | None = None) -> str:
    """A program that prints these, slowly, and ends so."""
    wait = f"\nwhile not os.path.exists({str(when)!r}): time.sleep(0.01)" if when else ""
    return f"import os, time{wait}\nfor line in {lines!r}: print(line, flush=True); time.sleep(0.05)\nos._exit({code})"


def runs(part: Part, path: Path) -> bool:
    """Whether a lane runs a file of tests."""

    def within(places: list[str]) -> bool:
        return any(path.is_relative_to(place) for place in places)

    ignored = [each.removeprefix("--ignore=") for each in part.paths if each.startswith("--ignore=")]
    return within([each for each in part.paths if not each.startswith("--")]) and not within(ignored)


def test_every_test_is_in_one_lane_and_in_one_only() -> None:
    found = files_of_tests()
    assert len(found) > 100

    parts = (*lanes.PARTS, lanes.ALONE)
    for path in found:
        assert len([part.name for part in parts if runs(part, path)]) == 1, path
    for part in parts:
        for place in part.paths:
            assert (ROOT / place.removeprefix("--ignore=")).exists(), place


def test_lanes_that_run_side_by_side_share_no_folder_and_no_port(tmp_path: Path) -> None:
    for stage in lanes.lanes(tmp_path):
        for name in ("TRUNKLINE_TEST_ROOT", "TRUNKLINE_TEST_PORT_BASE"):
            assert len({each.environment[name] for each in stage}) == len(stage)
        assert len({each.log for each in stage}) == len(stage)
    paths = [path for top in ("libs", "services", "cli", "tests") for path in (ROOT / top).rglob("*.py")]
    texts = {path.relative_to(ROOT): path.read_text("utf-8") for path in paths if path.name != "test_lanes.py"}
    asking = [path for path, text in texts.items() if "TEST_FAULTS_PORT_BASE" in text and path.name != "lanes.py"]
    with_faults = [part for part in (*lanes.PARTS, lanes.ALONE) if any(runs(part, path) for path in asking)]
    assert len({part.faults for part in with_faults}) == len(with_faults) == len(asking)
    for part in with_faults:
        assert part.faults not in {each.port for each in lanes.PARTS}
    # Of stacks that have ports of their own, whoever starts them.
    others = {int(number) for text in texts.values() for number in FIXED.findall(text)}
    assert others >= {21000, 24000, 26000, 28000}
    for part in lanes.PARTS:
        assert 18000 + part.port not in others


def test_what_lanes_print_is_not_mixed_and_the_last_lines_are_pytests(tmp_path: Path) -> None:
    out, go = io.BytesIO(), tmp_path / "go"
    first = lane(tmp_path, "first", said("a1", "a2", "3 passed in 0.10s"), after=go.touch)
    # Ends after the first, and begins to speak before it.
    beside = lane(tmp_path, "beside", "print('b0', flush=True)\n" + said("b1", "4 passed in 1.2s", when=go))
    alone = lane(tmp_path, "alone", said("c1", "2 passed, 1 deselected in 61.00s (0:01:01)"))
    assert run([[first, beside], [alone]], out) == 0
    text = out.getvalue().decode().splitlines()
    assert text[1:4] == ["a1", "a2", "3 passed in 0.10s"]
    assert text[5:8] == ["b0", "b1", "4 passed in 1.2s"]
    assert text[-6:] == [
        "· first: passed", "3 passed in 0.10s", "· beside: passed", "4 passed in 1.2s", "· alone: passed",
        "2 passed, 1 deselected in 61.00s (0:01:01)",
    ]  # fmt: skip


def test_a_lane_that_fails_is_named_and_the_others_run_to_their_end(tmp_path: Path) -> None:
    for failing in ("first", "beside", "alone"):
        out = io.BytesIO()

        def made(name: str, failing: str = failing) -> Lane:
            last = "1 failed, 2 passed in 1.00s" if name == failing else "3 passed in 1.00s"
            return lane(tmp_path, name, said(f"why {name}", last, code=int(name == failing)))

        assert run([[made("first"), made("beside")], [made("alone")]], out) == 1
        text = out.getvalue().decode()
        assert text.count(": passed") == 2
        assert f"· {failing}: FAILED\n1 failed, 2 passed in 1.00s\n" in text
        assert all(f"why {name}" in text for name in ("first", "beside", "alone"))


def test_one_that_dies_without_a_word_has_failed(tmp_path: Path) -> None:
    out = io.BytesIO()
    assert run([[lane(tmp_path, "first", "import os; os.abort()")]], out) == 1
    assert "· first: FAILED\nended without a word" in out.getvalue().decode()


def test_servers_are_stopped_before_the_next_stage_begins(tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    first = lane(tmp_path, "first", said("1 passed in 0s"), after=stopped.touch)
    alone = lane(
        tmp_path, "alone", f"import os; print('1 passed in 0s'); os._exit(not os.path.exists({str(stopped)!r}))"
    )
    assert run([[first], [alone]], io.BytesIO()) == 0


def test_so_many_lanes_run_at_once_and_the_next_begins_when_one_ends(tmp_path: Path) -> None:
    def busy(name: str, until: str) -> Lane:
        """Is not over before another lane has begun."""
        program = f"""
import os, sys, time
from pathlib import Path
folder = Path({str(tmp_path)!r})
(folder / "{name}.here").touch()
running = len([*folder.glob("*.here")]) - len([*folder.glob("*.over")])
while not (folder / "{until}.here").exists():
    time.sleep(0.01)
print(running, "passed in 0.1s")
"""
        return lane(tmp_path, name, program, after=(tmp_path / f"{name}.over").touch)

    out = io.BytesIO()
    # The second ends while the first is being shown, and makes room for the third.
    assert run([[busy("one", "three"), busy("two", "one"), busy("three", "one")]], out, at_once=2) == 0
    assert (tmp_path / "three.log").read_text() == "2 passed in 0.1s\n"


def test_an_interrupt_lets_every_lane_tidy_up(tmp_path: Path) -> None:
    program = f"""
import io, signal, sys
from pathlib import Path
from tests import lanes
folder = Path({str(tmp_path)!r})
lane = '''
import sys, time
from pathlib import Path
try:
    Path(sys.argv[1] + ".here").touch()
    time.sleep(60)
finally:
    Path(sys.argv[1] + ".tidy").touch()
'''
made = [
    lanes.Lane(n, [sys.executable, "-c", lane, str(folder / n)], folder / f"{{n}}.log",
               after=(folder / f"{{n}}.stopped").touch)
    for n in ("first", "beside")
]
signal.signal(signal.SIGTERM, lanes._interrupted)
sys.exit(lanes.run([made], sys.stdout.buffer))
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not all((tmp_path / f"{name}.here").exists() for name in ("first", "beside")):
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == lanes.INTERRUPTED
    for name in ("first", "beside"):
        assert (tmp_path / f"{name}.tidy").exists()
        assert (tmp_path / f"{name}.stopped").exists()
