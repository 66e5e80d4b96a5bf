"""Reads all that a report says, as data; `sections` draws it."""

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any

from missioncontrol_nb.dashboard import verdict_words
from missioncontrol_nb.dashboard.judged import Judged, Standing, of_channel
from missioncontrol_nb.incidents import read_incidents
from missioncontrol_nb.judgement.changes import Changes
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.judgement.verdicts import Verdicts, judge_changes
from missioncontrol_nb.loading.as_of import DatasetAsOf
from missioncontrol_nb.monitor import ChannelSummary, Detail, DetailRequest, Monitor, NoRelease, Overview
from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.report.branches import Experiment, read_experiments
from missioncontrol_nb.report.data_state import Quality, read_quality
from missioncontrol_nb.report.parameters import Parameters, Subject, calendar_of, stale_words, subject_of
from missioncontrol_nb.report.previous import Previous, iso, read_previous
from streaming import contract

if TYPE_CHECKING:
    from streaming.contract import Product

MOST_CHARTS = 6  # each is 0.15 MB of a report
MOST_CHARTS_OF_A_CHANNEL = 4
DIGITS = 9  # of numbers in alarms.json: threads add up in any order, so the last of 16 differ from run to run
CHART_LENGTH = timedelta(days=7)
NOT_JUDGED = "Nothing was judged there: this is no verdict, neither a good one nor a bad one."


@dataclass(frozen=True)
class Chart:
    """A measure over time: its figures and what the judge says of it. channel: the summary of its channel."""

    channel: ChannelSummary
    standing: Standing
    detail: Detail


@dataclass(frozen=True)
class Report:
    """What a report says.

    as_of: UTC; stale_by: as in `Subject`. changes: what has changed since the previous report, of the report's
    channels.
    """

    parameters: Parameters
    product: "Product"
    channels: tuple[str, ...]
    as_of: datetime
    stale_by: timedelta
    overview: Overview
    judged: Judged
    changes: Changes
    previous: Previous | None
    charts: tuple[Chart, ...]
    experiments: tuple[Experiment, ...]
    quality: Quality
    made_of: Mapping[str, str]

    @property
    def open(self) -> tuple[Event, ...]:
        """The alarms that are up, with their figures now."""
        return tuple(each.event for each in self.changes.open)

    @property
    def stale(self) -> str:
        """That the data are old, in a sentence; empty where they are not."""
        return stale_words(self.stale_by, self.as_of)

    @property
    def state(self) -> str:
        """ "alarm" where one is up, "none" where no channel has a release, so that nothing was judged, else "fine"."""
        if self.open:
            return "alarm"
        return "none" if all(state == "none" for state, _, _ in self.headlines.values()) else "fine"

    @cached_property
    def headlines(self) -> Mapping[str, verdict_words.Headline]:
        """By channel: its verdict, a sentence, and the line under it."""
        there = {each.channel: each for each in self.overview.channels}
        return {
            name: verdict_words.channel_headline(there[name], self.judged, self.overview.now)
            if name in there
            else verdict_words.no_release_headline(self.product, name, line=NOT_JUDGED)
            for name in self.channels
        }

    def as_record(self) -> dict[str, Any]:
        """The report's alarms as a JSON object: `alarms.json`, which the next report reads."""
        headlines = [
            {"channel": name, "state": state, "sentence": sentence, "text": line}
            for name, (state, sentence, line) in self.headlines.items()
        ]
        differences = [
            {"experiment_id": each.id, "channel": each.channel} | asdict(found)
            for each in self.experiments
            for found in each.alarms
        ]
        record = {
            "version": 1,
            "dataset": self.made_of["dataset"],
            "product": self.product.name,
            "channels": list(self.channels),
            "as_of": iso(self.as_of),
            "state": self.state,
            "data_age_hours": self.stale_by / timedelta(hours=1),
            "stale": self.stale,
            "previous": None if self.previous is None else self.previous.as_of,
            "headlines": headlines,
            "open": [each.as_record() for each in self.changes.open],
            "changes": [each.as_record() for each in self.changes.events],
            "experiments": differences,
            "made_of": dict(self.made_of),
        }
        return {name: _rounded(value) for name, value in record.items()}


def read_report(parameters: Parameters) -> Report:
    """Reads a report; takes some seconds, and as much memory as judging takes.

    Raises MissionControlError for unknown names, and where a dataset, a calendar or the previous report cannot be read.
    """
    subject = subject_of(parameters)
    calendar = calendar_of(parameters, subject)
    previous = read_previous(parameters.previous, subject) if parameters.previous.strip() else None
    incidents = tuple(sorted(read_incidents(subject.dataset), key=lambda each: (each.since, each.id)))
    changes, tables = judge_changes(
        subject.dataset,
        previous.alarms if previous else (),
        subject.as_of,
        product=subject.product.name,
        channel=subject.channels[0] if len(subject.channels) == 1 else None,
        releases=calendar,
    )
    changes = _of_channels(changes, subject.channels)
    judged = Judged(Verdicts(tables), is_current=True, incidents=incidents)
    then = DatasetAsOf(parameters.dataset, subject.as_of)
    monitor = Monitor(then, calendar, product=subject.product.name)
    overview = monitor.overview()
    overview = replace(overview, channels=tuple(each for each in overview.channels if each.channel in subject.channels))
    return Report(
        parameters,
        subject.product,
        subject.channels,
        subject.as_of,
        subject.stale_by,
        overview,
        judged,
        changes,
        previous,
        tuple(_charts(monitor, overview, judged)),
        read_experiments(then, subject.product, subject.channels, subject.as_of),
        read_quality(then, subject.product, subject.channels, calendar, incidents, subject.as_of),
        _made_of(subject, calendar),
    )


def _of_channels(changes: Changes, channels: tuple[str, ...]) -> Changes:
    def is_ours(alarm: OpenAlarm) -> bool:
        return alarm.event.channel in channels

    return replace(
        changes,
        events=tuple(each for each in changes.events if each.channel in channels),
        open=tuple(filter(is_ours, changes.open)),
        series=tuple(each for each in changes.series if each.channel in channels),
    )


def _charts(monitor: Monitor, overview: Overview, judged: Judged) -> list[Chart]:
    """The charts of what is or looks bad; of a channel without, those of its score where most of its use is."""
    wanted: list[tuple[ChannelSummary, Standing]] = []
    for channel in overview.channels:
        up = sorted((each for each in of_channel(judged, channel) if each.is_up), key=lambda each: each.sort_key)
        wanted += [(channel, each) for each in (up[:MOST_CHARTS_OF_A_CHANNEL] or _of_score(channel, judged))]
    wanted.sort(key=lambda pair: not pair[1].is_up)  # where there are too many, those of the score are left out
    charts = []
    for channel, standing in wanted[:MOST_CHARTS]:
        request = DetailRequest(length=CHART_LENGTH)
        detail = monitor.detail(channel.channel, standing.os_name, standing.measure, request)
        if not isinstance(detail, NoRelease) and not detail.windows.empty:
            charts.append(Chart(channel, judged.standing(detail, standing.os_name, detail.row), detail))
    return charts


def _of_score(channel: ChannelSummary, judged: Judged) -> list[Standing]:
    used = [each for each in channel.platforms if each.measures]
    if not used:
        return []
    busiest = max(used, key=lambda each: sum(row.newest.usage_hours for row in each.measures.values() if row.newest))
    rows = [busiest.measures[name] for name in channel.product.score if name in busiest.measures]
    found = judged.standings(channel, busiest.os_name, rows)
    return [each for each in found if each.state != "none"]


def _made_of(subject: Subject, calendar: Calendar) -> dict[str, str]:
    """Versions of programs, of the dataset's tables and of the calendar."""
    dataset = subject.dataset
    known = [(table.name, dataset.handle(table)) for table in contract.TABLES]
    commits = ", ".join(f"{name} {handle.version()}" for name, handle in known if handle is not None)
    programs = ["missioncontrol-nb", "numpy", "scipy", "pandas", "deltalake", "altair"]
    made = {
        "dataset": dataset.url,
        "commits": commits,
        "programs": f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in programs),
    }
    if calendar.releases:
        made["calendar"] = f"{len(calendar.releases)} releases up to {calendar.newest_date}"
    return made


def _rounded(value: Any) -> Any:
    """A JSON value with numbers of DIGITS significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
