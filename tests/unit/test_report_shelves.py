"""Reports are published whole or not at all: two at once, killed at any moment, on a full disk."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from missioncontrol_nb.report import publishing
from missioncontrol_nb.report.parameters import Subject
from missioncontrol_nb.report.shelves import LocalShelf, shelf_of, stem_of
from streaming import contract
from streaming.errors import MissionControlError
from tests.report_checks import faults, files_of

NOON = datetime(2017, 10, 2, 12, tzinfo=UTC)
KILLS = 20
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Pythons from 3.12 on


class _Dataset:
    url = "/data"


def subject(as_of: datetime) -> Subject:
    return Subject(_Dataset(), contract.FIREFOX, ("release",), as_of)  # type: ignore[arg-type]


def publish(shelf: LocalShelf, as_of: datetime, said: str = "fine", made_at: str = "now", size: int = 1000) -> str:
    files = files_of(f"{as_of:%Y-%m-%dT%H:%M:%SZ}", said, made_at, size)
    return publishing.publish(shelf, subject(as_of), files)


@pytest.fixture
def shelf(tmp_path: Path) -> LocalShelf:
    return LocalShelf(str(tmp_path / "reports"))


def test_report_is_published_with_its_copy_as_the_latest(shelf):
    assert publish(shelf, NOON) == "2017-10-02T12-00Z"
    assert faults(shelf) == []
    assert sorted(each.name for each in Path(shelf.place).iterdir()) == [
        "2017-10-02T12-00Z",
        "index.html",
        "latest.html",
        "latest.json",
    ]
    assert shelf.read("latest.html") == shelf.read("2017-10-02T12-00Z/report.html")


def test_report_of_an_earlier_moment_does_not_become_the_latest(shelf):
    publish(shelf, NOON)
    publish(shelf, NOON - timedelta(hours=1), "an hour before")
    assert shelf.names() == ["2017-10-02T11-00Z", "2017-10-02T12-00Z"]
    assert shelf.read("latest.html") == shelf.read("2017-10-02T12-00Z/report.html")
    index = (shelf.read("index.html") or b"").decode()
    assert index.index("12:00 UTC") < index.index("11:00 UTC")
    assert "Fine: an hour before" in index


def test_same_report_again_is_published_once(shelf):
    assert publish(shelf, NOON, made_at="at one") == publish(shelf, NOON, made_at="at two")
    assert shelf.names() == ["2017-10-02T12-00Z"]
    assert b"at one" in (shelf.read("latest.json") or b"")


def test_another_report_of_a_moment_leaves_the_first_as_it_is(shelf):
    publish(shelf, NOON, "as it was")
    before = shelf.read("2017-10-02T12-00Z/report.html")
    assert publish(shelf, NOON, "after a backfill") == "2017-10-02T12-00Z.2"
    assert publish(shelf, NOON, "after another") == "2017-10-02T12-00Z.3"
    assert shelf.read("2017-10-02T12-00Z/report.html") == before
    assert b"after another" in (shelf.read("latest.html") or b"")


def test_report_before_is_the_newest_of_an_earlier_moment(shelf):
    assert publishing.previous_name(shelf, subject(NOON)) is None
    for hours in (2, 1, 0):
        publish(shelf, NOON - timedelta(hours=hours))
    assert publishing.previous_name(shelf, subject(NOON)) == "2017-10-02T11-00Z"
    assert publishing.previous_name(shelf, subject(NOON + timedelta(hours=9))) == "2017-10-02T12-00Z"


def test_place_with_reports_of_something_else_is_refused(shelf):
    publish(shelf, NOON)
    publishing.check_is_ours(shelf, subject(NOON))
    other = Subject(_Dataset(), contract.FIREFOX, ("beta",), NOON)  # type: ignore[arg-type]
    with pytest.raises(MissionControlError, match=r"Firefox on beta from /data; .* has those of Firefox on release"):
        publishing.check_is_ours(shelf, other)


def test_what_killed_runs_left_is_removed_after_an_hour(shelf):
    publish(shelf, NOON)
    folder = Path(shelf.place)
    old, new = folder / ".unfinished-2017-10-02T11-00Z-a", folder / ".unfinished-2017-10-02T11-00Z-b"
    for each in (old, new):
        each.mkdir()
        (each / "report.html").write_text("half")
    os.utime(old, (time.time() - 4000,) * 2)
    publish(shelf, NOON + timedelta(hours=1))
    assert not old.exists()
    assert new.exists()
    assert len(shelf.names()) == 2


def test_report_without_its_page_is_passed_over(shelf):
    publish(shelf, NOON)
    publish(shelf, NOON + timedelta(hours=1))
    (Path(shelf.place) / "2017-10-02T13-00Z/report.html").unlink()
    publishing.bring_up_to_date(shelf)
    assert shelf.names() == ["2017-10-02T12-00Z"]
    assert shelf.read("latest.html") == shelf.read("2017-10-02T12-00Z/report.html")
    assert publish(shelf, NOON + timedelta(hours=1)) == "2017-10-02T13-00Z.2"
    assert faults(shelf) == []


def test_newest_notebooks_that_failed_are_kept(shelf):
    others = Path(shelf.place) / "failed" / "notes"
    others.mkdir(parents=True)
    kept = []
    for number in range(30):
        kept.append(Path(publishing.keep_failed(shelf, subject(NOON), b"{}")))
        os.utime(kept[-1].parent, (1e9 + number,) * 2)
    assert sum(path.exists() for path in kept) == 21
    publish(shelf, NOON)
    assert [path.exists() for path in kept] == [False] * 10 + [True] * 20
    assert others.exists()


def in_child(work: Callable[[], None]) -> int:
    """Starts work in a forked process; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


def publish_for_ever(shelf: LocalShelf, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(10_000):
        as_of = NOON + timedelta(hours=chance.randrange(6))
        publish(shelf, as_of, f"{chance.randrange(3)}", f"{seed} {number}", size=100_000)


def test_kills_at_random_moments_leave_no_half_report(shelf):
    """Two processes publish into one folder, and one of them is killed again and again."""
    chance = random.Random(0)
    publish(shelf, NOON)
    other = in_child(lambda: publish_for_ever(shelf, 1))
    try:
        for number in range(KILLS):
            child = in_child(lambda seed=number: publish_for_ever(shelf, 100 + seed))  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 0.12))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    assert faults(shelf) == []
    assert len(shelf.names()) > 5
    last = publish(shelf, NOON + timedelta(days=1))
    assert shelf.read("latest.html") == shelf.read(f"{last}/report.html")


def test_a_write_that_fails_leaves_all_as_it_was(shelf):
    """As on a full disk: a process may write files of 50 kB only, and then of all but the last."""
    publish(shelf, NOON)
    before = {name: shelf.read(name) for name in ("latest.html", "latest.json", "index.html")}

    def fail() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with suppress(MissionControlError):
            publishing.keep_failed(shelf, subject(NOON), b"x" * 100_000)
        publish(shelf, NOON + timedelta(hours=1), size=100_000)

    os.waitpid(in_child(fail), 0)
    assert shelf.names() == ["2017-10-02T12-00Z"]
    assert {name: shelf.read(name) for name in before} == before
    assert sorted(each.name for each in Path(shelf.place).iterdir()) == ["2017-10-02T12-00Z", *sorted(before)]


def test_a_write_that_fails_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MissionControlError, match=r"/file/.* cannot be written: File exists"):
        publish(LocalShelf(str(tmp_path / "file")), NOON)


def test_names_sort_by_moment_and_then_by_number(shelf):
    for number in range(11):
        publish(shelf, NOON, f"{number}")
    publish(shelf, NOON + timedelta(minutes=5))
    assert shelf.names()[1] == "2017-10-02T12-00Z.2"
    assert shelf.names()[-2:] == ["2017-10-02T12-00Z.11", "2017-10-02T12-05Z"]
    assert stem_of(NOON) == "2017-10-02T12-00Z"


def test_place_that_cannot_be_written_is_found_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissionControlError, match="cannot be written"):
        shelf_of(str(tmp_path / "file" / "reports")).require_writable()
    shelf_of(str(tmp_path / "new" / "reports")).require_writable()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
