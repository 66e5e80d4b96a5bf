"""The parts of a report: experiments, the state of the data, pictures, and the page of a notebook."""

import html
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from missioncontrol_nb import report
from missioncontrol_nb.formatting import FIXED_SPACE
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.report import branches, data_state, event_words
from missioncontrol_nb.report.page import alarms_of, page_of
from missioncontrol_nb.report.pictures import headline_png, headline_svg
from missioncontrol_nb.report.previous import previous_of
from missioncontrol_nb.report.sections import Alarms, Section, style_tag
from missioncontrol_nb.watching.state import Finding, Words
from missioncontrol_nb.watching.wording import line_of
from streaming import contract
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, moment, write
from tests.unit.small_verdicts import judged, verdict

AT = datetime(2017, 10, 2, 13, tzinfo=UTC)
EVENT = Event(
    "alarm", "2017-10-09T12:00:00Z", "Firefox", "release", "Windows_NT", "content_crashes", "56.0", ("1",), 1.784,
    1.6, 1.95, 1e6, 4.4, 7.85, {"country": "DE"}, "2017-10-09T02:00:00Z",
)  # fmt: skip


# ---------- experiments ----------
def experiment(control: float, treatment: float, days: int = 10, spread: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Two branches with 10,000 hours a day each, and events by chance around so many a day; spread: of days."""
    chance = np.random.default_rng(seed)
    starts = pd.date_range("2017-09-22", periods=days, tz="UTC")
    rows = [
        {"window_start": start, "experiment_branch": branch, "usage_hours": 1e4,
         "main_crashes": chance.poisson(mean * chance.lognormal(0, spread))}
        for start in starts
        for branch, mean in (("control", control), ("treatment", treatment))
    ]  # fmt: skip
    return pd.DataFrame(rows)


class _Counted:
    """A dataset with these sums of an experiment's branches by day, and nothing else."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows.assign(channel="release", experiment_id="a-study")

    def handle(self, table: contract.Table) -> object:
        return table

    def load(self, *_: object, **__: object) -> pd.DataFrame:
        return self._rows


def compared(rows: pd.DataFrame) -> branches.Experiment:
    [found] = branches.read_experiments(_Counted(rows), contract.FIREFOX, ("release",), AT)  # type: ignore[arg-type]
    return found


def test_branch_that_crashes_more_has_an_alarm():
    found = compared(experiment(50, 75))
    [worse] = [each for each in found.alarms if each.change.value > 0]
    assert worse.branch == "treatment"
    assert worse.change.lower < 0.5 < worse.change.upper
    assert worse.rate / worse.others == pytest.approx(1 + worse.change.value, rel=0.01)
    assert found.usage_hours == {"control": 1e5, "treatment": 1e5}


def test_branches_alike_have_no_alarm():
    assert [seed for seed in range(30) if compared(experiment(50, 50, seed=seed)).alarms] == []


def test_events_in_clusters_are_no_alarm():
    """With days that differ by half for no reason, chance alone would be an alarm in most of these."""
    some = [compared(experiment(500, 500, spread=0.5, seed=seed)) for seed in range(30)]
    assert sum(bool(each.alarms) for each in some) <= 1


def strangers(number: int, hours: float, day: str = "2017-10-01") -> pd.DataFrame:
    names = [f"{place:03}-{'made-up-' * 10}" for place in range(number)]
    start = pd.Timestamp(day, tz="UTC")
    return pd.DataFrame(
        {"window_start": start, "experiment_branch": names, "usage_hours": hours, "main_crashes": range(number)}
    )


def test_branches_that_strangers_make_up_hide_no_alarm_and_lengthen_no_page():
    honest = compared(experiment(50, 75))
    found = compared(pd.concat([experiment(50, 75), strangers(1000, 25.0)]))
    assert (found.others, found.other_hours) == (1000, 25_000)
    assert replace(found, others=0, other_hours=0.0) == honest
    page = report.experiments(SimpleNamespace(experiments=(found,), product=contract.FIREFOX)).html  # type: ignore[arg-type]
    assert "control 100 k h, treatment 100 k h, 1\u202f000 others 25 k h" in plain(page)
    assert len(page) < 2000


def test_branches_of_a_small_experiment_are_limited_and_named_shortly():
    found = compared(pd.concat([experiment(50, 75), strangers(50, 1e5, "2017-09-24")]))
    assert len(found.usage_hours) == branches.MOST_BRANCHES
    assert found.others == 52 - branches.MOST_BRANCHES
    told = replace(found.differences[0], is_alarm=True)
    shown = replace(found, id="a-study-" * 12, differences=(told,) * 90)
    page = report.experiments(SimpleNamespace(experiments=(shown,), product=contract.FIREFOX)).html  # type: ignore[arg-type]
    assert "85 more differences, see alarms.json" in page
    assert max(map(len, plain(re.sub("<[^>]*>", " ", page)).split())) <= 41  # and a comma
    assert len(page) < 3000


def test_experiment_of_many_branches_alike_has_none_to_compare():
    found = compared(strangers(200, 10.0))
    assert (found.usage_hours, found.others, found.differences) == ({}, 200, ())


# ---------- the state of the data ----------
def test_median_delay_is_linear_within_its_bucket():
    delays = pd.DataFrame({"delay_hours": [1.0, 3.0, 6.0], "usage_hours": [10.0, 30.0, 60.0]})
    assert data_state._median(delays) == pytest.approx(3.0 + 3.0 * 10 / 60)
    assert data_state._median(delays.assign(usage_hours=[60.0, 30.0, 10.0])) == pytest.approx(0.5 + 0.5 * 50 / 60)
    assert data_state._median(delays.assign(usage_hours=0.0)) is None
    assert data_state._median(pd.DataFrame({"delay_hours": [np.inf], "usage_hours": [5.0]})) is None


def test_versions_that_the_calendar_lacks_are_counted(tmp_path):
    from missioncontrol_nb.loading.dataset import Dataset

    write(
        tmp_path,
        """
        window     display_version  count  usage_hours
        05T12:00   56.0             900    100
        05T12:00   56.7             80     10
        05T12:00   oops             20     10
        02T12:00   55.9             500    10
        """,
        "05T12:05",
    )
    found = data_state.read_quality(Dataset(tmp_path), contract.FIREFOX, ("release",), CALENDAR, (), moment("05T13:00"))
    assert found.unlisted == data_state.Unlisted(100, 0.1, (("release", "56.7", 80), ("release", "oops", 20)))
    assert found.rejected == data_state.Rejected(0, 0.0, 0.0, ())
    assert found.data_up_to == moment("05T12:05")


def test_reasons_are_told_in_sentences_and_versions_shortly():
    rejected = data_state.Rejected(5761, 0.02, 0.01, (("channel", 3839), ("build_too_old", 1922)))
    unlisted = data_state.Unlisted(9, 0.1, (("release", "9." * 100, 9),))
    found = SimpleNamespace(quality=data_state.Quality(AT, rejected, unlisted, (), ()), product=contract.FIREFOX)
    page = plain(html.unescape(re.sub("<[^>]*>+", "|", report.quality(found).html)))  # type: ignore[arg-type]
    assert "3\u202f839 of these||The channel is missing or not a known one." in page
    assert "1\u202f922 of these||The build is more than six months older than the ping's submission." in page
    assert "build_too_old" not in page
    assert f"Most: {'9.' * 19}9… on release 9." in page


# ---------- what is said of alarms ----------
def words(events: list[Event], up: list[Event], *verdicts: object) -> list[event_words.Told]:
    alarms = [OpenAlarm.of_event(each) for each in up]
    found = event_words.told(events, alarms, contract.FIREFOX, judged(*verdicts))  # type: ignore[arg-type]
    return [replace(each, sentence=plain(each.sentence), figures=plain(each.figures)) for each in found]


def plain(words: str) -> str:
    return words.replace(FIXED_SPACE, " ")


def test_alarms_are_new_changed_still_up_or_over():
    mac, linux = replace(EVENT, os_name="Darwin"), replace(EVENT, os_name="Linux", event="update")
    over = replace(EVENT, os_name="Android", event="recovered", rate_ratio=None)
    found = words([over, linux, EVENT], [mac, replace(linux, event="alarm"), EVENT])
    assert [(each.kind, each.sentence.partition(":")[0]) for each in found] == [
        ("new", "Bad on Windows"),
        ("changed", "Bad on Linux"),
        ("still", "Bad on macOS"),
        ("over", "Over on Android"),
    ]
    assert (
        found[0].sentence
        == "Bad on Windows: 56.0 on release has 78 % more content crashes than expected, since Mon 9 Oct 02:00 UTC"
    )
    assert found[0].figures == (
        "7.8 per 1000 hours of use since then, 4.4 expected (+60 to +95 %). Most of the excess is on country DE."
    )
    assert found[3].sentence == (
        "Over on Android: 56.0 on release has no more content crashes than expected any longer, or hardly any users "
        "left"
    )


def test_figures_are_those_of_the_verdict_on_the_same_builds():
    known = verdict("bad")
    [told] = words([], [Event(**EVENT.__dict__ | {"build_ids": known.series.build_ids})], known)
    assert told.sentence.startswith(
        "Bad on Windows: 56.0 on release has 2.1 times as many content crashes as expected, "
    )
    assert told.figures.startswith("9.4 per 1000 hours of use since then, 4.5 expected (1.9 to 2.4 times).")


def test_rise_of_all_versions_is_not_laid_on_one_release():
    [told] = words([], [Event(**EVENT.__dict__ | {"display_version": None})])
    assert told.sentence == (
        "Bad on Windows: all versions on release have 78 % more content crashes than expected, since Mon 9 Oct 02:00 "
        "UTC"
    )


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"as_of": 3, "product": "F", "channels": [], "open": []}'])
def test_alarms_of_another_form_are_an_error(content):
    with pytest.raises(MissionControlError, match="is not that of a report"):
        previous_of("somewhere", content)


# ---------- pictures and pages ----------
def test_headline_card_is_a_picture_with_its_sentences():
    said = [("bad", "Bad on Windows: a <b>", "why " * 200), ("fine", "Fine: b", "")]
    svg = headline_svg("Firefox", said)
    assert "Bad on Windows: a &lt;b&gt;" in svg
    assert svg.count("why") < 100
    assert svg.count(" …") == 1
    assert headline_png("Firefox", said)[:8] == b"\x89PNG\r\n\x1a\n"


def notebook() -> nbformat.NotebookNode:
    html = Section("<p>figures</p>", "figures", has_style=True)._repr_html_()
    shown = new_output("execute_result", {"text/html": html, "text/plain": "figures"})
    png = new_output("display_data", {"image/png": "iVBORw0KGgo=\n", "text/plain": "<a picture>"})
    record = new_output("execute_result", Alarms(open=[])._repr_mimebundle_())
    warning, printed = new_output("stream", name="stderr", text="careful"), new_output("stream", text="1 < 2")
    return new_notebook(
        cells=[
            new_markdown_cell("# For those who run it", metadata={"tags": ["not-in-report"]}),
            new_markdown_cell("## Title\n\n<script>alert(1)</script>"),
            new_code_cell("secret = 1", outputs=[shown, png, warning, printed]),
            new_code_cell("alarms", outputs=[record], metadata={"tags": ["not-in-report", "alarms"]}),
        ]
    )


def test_page_has_prose_and_outputs_without_code_and_the_style_once():
    page = page_of(notebook(), "A <title>")
    body = page.partition("<body")[2]
    assert [each in body for each in ("secret", "For those who run it", "careful", "<style>")] == [False] * 4
    assert '<h2 class="mc-report-title">Title</h2>' in body
    assert "<p>figures</p>" in body
    assert "<pre>1 &lt; 2</pre>" in body
    assert '<img src="data:image/png;base64,iVBORw0KGgo=" alt="&lt;a picture&gt;">' in body
    assert "<title>A &lt;title&gt;</title>" in page
    assert page.count("<style>") == 1
    assert style_tag() in page


def test_page_asks_nothing_of_any_host_and_runs_no_script():
    page = page_of(notebook(), "title")
    assert "default-src 'none'" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert re.findall(r"""(?:src|href|url\()=?["']?(https?:[^"')]*)""", page) == []


def test_alarms_are_those_that_the_tagged_cell_shows():
    assert alarms_of(notebook()) == {"open": []}
    assert alarms_of(new_notebook(cells=[new_code_cell("1")])) is None


def test_length_of_history_covers_the_longest_experiment():
    assert timedelta(days=26) <= branches.HISTORY
    assert branches.RUNNING_WITHIN < branches.HISTORY


# ---------- reports with little in them ----------
SECTIONS = ("headlines", "changes", "cards", "charts", "adoption", "experiments", "quality", "made")


def small_report(folder: Path, table: str, channel: str) -> report.Report:
    write(folder, table, "05T14:00")
    CALENDAR.save(folder / "releases.json")
    return report.read_report(report.Parameters(dataset=str(folder), channel=channel))


def text_of(found: report.Report, section: str) -> str:
    return plain(re.sub("<[^>]*>", " ", re.sub("<style>.*</style>", "", getattr(report, section)(found)._repr_html_())))


def test_release_of_an_hour_is_too_early_to_say(tmp_path):
    found = small_report(
        tmp_path,
        """
        window         display_version  usage_hours  content_crashes
        02T13:00       55.0.3           1000         6
        05T13:00       56.0             10           1
        """,
        "release",
    )
    assert "Too early to say: 56.0 on release has too few earlier releases" in text_of(found, "headlines")
    assert "There is no report before this one: all that is up is new. No alarm was up" in text_of(found, "changes")
    assert "fewer than two earlier releases" in text_of(found, "cards").lower()
    assert [each.standing.measure for each in found.charts] == ["main_crashes", "content_crashes"]
    assert found.as_record()["state"] == "fine"


def test_channel_without_a_ping_is_said_to_have_none(tmp_path):
    found = small_report(tmp_path, "window usage_hours\n05T13:00 10", "nightly")
    said = {section: text_of(found, section) for section in SECTIONS}
    assert "No version on the nightly channel has sent a ping" in said["headlines"]
    assert "No version of these channels has sent a ping by then" in said["cards"]
    assert "There is no chart" in said["charts"]
    assert "No version has been used by then" in said["adoption"]
    assert found.as_record()["headlines"][0]["state"] == "none"


def test_names_that_a_stranger_made_up_put_no_markup_into_a_page(tmp_path):
    bad = "<img/src=x>"
    found = small_report(
        tmp_path,
        f"window display_version usage_hours count\n05T13:00 56.0 10 9\n05T13:00 {bad} 10 9",
        "release",
    )
    assert found.quality.unlisted is not None
    assert [version for _, version, _ in found.quality.unlisted.versions] == [bad]
    page = report.quality(found)._repr_html_()
    assert bad not in page
    assert "&lt;img/src=x&gt;" in page


def test_message_says_of_an_alarm_what_the_page_says():
    event = EVENT.as_record()
    finding = Finding("key", event, Words("Firefox", "release", "Windows", "content crashes"))
    [told] = words([], [EVENT])
    assert line_of(finding).replace("Firefox ", "") == f"{told.sentence}. {told.figures}"
