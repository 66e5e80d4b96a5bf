"""Declarations of measures that could not be counted are refused, with the measure's name."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streaming import contract
from streaming.contract import measures
from streaming.contract.measures import MAIN, Count, Event, Measure, Removed, count_of_pings
from streaming.errors import MissionControlError
from tests.other_version import MEASURES, ROOT, copy_with

GOOD = Measure("tabs_opened", "Tabs opened", (Count(MAIN, "/payload/tabs"),))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Tabs opened"}, "expected a name of small letters, digits and _"),
        ({"name": "main_crashes"}, "is declared twice"),
        ({"sources": Count(MAIN, "/payload/tabs")}, "expected a tuple of sources"),
        ({"sources": ()}, "expected a tuple of sources"),
        ({"sources": (Count(MAIN, "payload/tabs"),)}, "begins with /; got 'payload/tabs'"),
        ({"sources": (Event(MAIN, {"payload": ("a",)}),)}, "begins with /; got 'payload'"),
        ({"removed": {"Firefox": Removed("fifty", "It is gone.")}}, "since which Firefox lacks it, such as '136'"),
    ],
)
def test_measure_that_cannot_be_counted_is_refused(
    wrong: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = replace(GOOD, **wrong)  # type: ignore[arg-type]
    monkeypatch.setattr(measures, "MEASURE_NAMES", (*contract.MEASURE_NAMES, measure.name))
    with pytest.raises(MissionControlError, match=f"^measure '{measure.name}' in .*{re.escape(said)}"):
        measures._check(measure)


def test_good_measure_is_taken() -> None:
    measures._check(GOOD)
    measures._check(replace(GOOD, not_on={"Fennec": "It has no tabs."}, removed={"Firefox": Removed("57.0", "Gone.")}))


def test_pings_are_counted_by_type() -> None:
    assert count_of_pings("telemetry/main") == "main_pings"
    assert count_of_pings("acme-notes/user-session") == "user_session_pings"


def test_kind_of_ping_that_there_is_not_is_refused_by_the_command(tmp_path: Path) -> None:
    wrong = 'MEASURES = (*MEASURES, Measure("tabs", "Tabs", (Count("telemetry/mian", "/payload/tabs"),)))\n'
    text = (ROOT / MEASURES).read_text()
    copy = copy_with(tmp_path, {MEASURES: text.replace("MEASURE_NAMES = tuple(", f"{wrong}MEASURE_NAMES = tuple(")})
    code = "from missioncontrol_nb.cli import main; main()"
    command = [sys.executable, "-c", code, "aggregate", "none.jsonl", "--dataset", "data"]
    done = subprocess.run(command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "unknown kind of ping of measure 'tabs' 'telemetry/mian'; did you mean telemetry/main" in done.stderr
    assert "fault of Mission Control" not in done.stderr
