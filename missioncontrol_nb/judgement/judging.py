"""`mc.judge` and `mc.replay`: what can be said of each release at a moment, and what would have been said over time."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time
from missioncontrol_nb.incidents import read_incidents
from missioncontrol_nb.judgement.alarms import Judge, OnSeries
from missioncontrol_nb.judgement.cells import with_adopters
from missioncontrol_nb.judgement.events import Event
from missioncontrol_nb.judgement.incidents import with_incidents
from missioncontrol_nb.judgement.observations import (
    hours_of,
    read_observations,
    read_older_observations,
)
from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.judgement.unlisted import has_unlisted, unlisted_series
from missioncontrol_nb.judgement.where import slice_finder
from missioncontrol_nb.loading.as_of import DatasetAsOf
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.handles import told_by_the_system
from missioncontrol_nb.loading.legacy_parquet import is_older
from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.releases.sources import calendar_beside, load_calendar
from streaming import contract
from streaming.dataset.opening import no_dataset
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import pandas as pd

LEAST_EVERY = timedelta(minutes=5)


def judge(
    dataset: Dataset | str | Path,
    at: Time = None,
    *,
    product: str = contract.FIREFOX.name,
    channel: str | None = None,
    os_name: str | None = None,
    releases: str | Path | Calendar | None = None,
    all_builds: bool = False,
) -> "pd.DataFrame":
    """What can be said of each release of a product as of a moment: a row per series, see `judgement.series.Series`.

    A series is a measure of a release on a channel and system; those of versions in use that the release calendar lacks
    say so, and are not judged. dataset: its folder, URL or an open one. at: only what was known then counts; None: as
    of the newest data. channel, os_name: only these. releases: a release calendar or its source; None: that in the
    dataset, else the snapshot. all_builds: not only those that the calendar knows.

    Raises MissionControlError for unknown names, and where there is no dataset.
    """
    import pandas as pd

    found, _ = judged(
        dataset, at, product=product, channel=channel, os_name=os_name, releases=releases, all_builds=all_builds
    )
    return pd.DataFrame([series.as_record() for series in found], columns=[*Series.__dataclass_fields__])


def judged(dataset: Dataset | str | Path, at: Time = None, **options: Any) -> tuple[list[Series], bool]:
    """The series as of a moment, and whether an alarm is up; arguments as for `judge`."""
    if not isinstance(dataset, Dataset):
        dataset = _opened(arguments.place("dataset", dataset)) or dataset
    looked, is_up = looked_once(dataset, at, **options)
    found = [series for series, _ in looked if series is not None]
    return [*found, *_unlisted(dataset, arguments.as_utc("at", at), **options)], is_up


def _unlisted(
    dataset: Dataset | str | Path,
    at: datetime | None,
    *,
    product: str = contract.FIREFOX.name,
    releases: str | Path | Calendar | None = None,
    all_builds: bool = False,
    **where: str | None,
) -> Iterator[Series]:
    """The series of versions that the release calendar lacks; arguments as for `judge`."""
    opened, named, calendar = _subject_of(dataset, product, releases)
    if opened is None:
        return
    known = at or opened.data_up_to() or _end_of(opened)
    if not has_unlisted(opened, named, calendar, known):
        return
    if at is not None:
        opened = DatasetAsOf(opened.url, at - (at - datetime.min.replace(tzinfo=UTC)) % contract.WINDOW)
    yield from unlisted_series(opened, named, calendar, known, official=not all_builds, **where)


def looked_once(
    dataset: Dataset | str | Path, at: Time = None, *, on_series: OnSeries | None = None, **options: Any
) -> tuple[list[tuple[Series | None, Event | None]], bool]:
    """The only look of a judge at a moment, and whether an alarm is up; on_series: as for `Judge.look`."""
    moment = arguments.as_utc("at", at)
    judge_of_all, known = judge_of(dataset, moment, moment, **options)
    when = judge_of_all.observations.newest if known is None else hours_of(known)
    found = list(judge_of_all.look(when, on_series)) if np.isfinite(when) else []
    return found, judge_of_all.is_open


def replay(
    dataset: Dataset | str | Path, since: Time, until: Time, every: str | timedelta = "1h", **options: Any
) -> "pd.DataFrame":
    """What a watcher would have been told between two moments, looking every so often: a row per event, in order.

    every: such as "5min", "1h" or "1d". Other arguments as for `judge`.
    """
    import pandas as pd

    events = list(replayed(dataset, since, until, every, **options))
    return pd.DataFrame([event.as_record() for event in events], columns=[*Event.__dataclass_fields__])


def replayed(
    dataset: Dataset | str | Path,
    since: Time,
    until: Time,
    every: str | timedelta = "1h",
    on_progress: Callable[[float], None] = lambda share: None,
    **options: Any,
) -> Iterator[Event]:
    """The events of `replay`, one by one; on_progress: called with the share that is done."""
    begin, end = arguments.as_utc("since", since), arguments.as_utc("until", until)
    if begin is None or end is None:
        raise MissionControlError("expected two times, since and until; got none for one of them")
    if end < begin:
        raise MissionControlError(f"until ({end:%Y-%m-%d %H:%M}) lies before since ({begin:%Y-%m-%d %H:%M})")
    step = length_of(every)
    watcher, _ = judge_of(dataset, begin, end, **options)
    looks = (end - begin) // step + 1
    for number in range(looks):
        for _, event in watcher.look(hours_of(begin + number * step)):
            if event is not None:
                yield event
        on_progress((number + 1) / looks)


def length_of(every: str | timedelta) -> timedelta:
    """A length of time such as "1h". Raises MissionControlError for others, and for less than five minutes."""
    units = {"min": "minutes", "h": "hours", "d": "days"}
    found = re.fullmatch(r"(\d{1,4}(?:\.\d+)?)(min|h|d)", every) if isinstance(every, str) else None
    length = timedelta(**{units[found[2]]: float(found[1])}) if found else every
    if not isinstance(length, timedelta) or length < LEAST_EVERY:
        shown = arguments.brief(every)
        raise MissionControlError(f"every takes 5 minutes or more, such as '5min', '1h' or '1d', not {shown}")
    return length


def judge_of(
    dataset: Dataset | str | Path,
    since: datetime | None,
    until: datetime | None,
    *,
    product: str = contract.FIREFOX.name,
    channel: str | None = None,
    os_name: str | None = None,
    releases: str | Path | Calendar | None = None,
    all_builds: bool = False,
) -> tuple[Judge, datetime | None]:
    """A judge of what a dataset holds, for looks from `since` to `until`; None: as of the newest data.

    Also returns until when data has arrived, or `until`; None where no commit of the dataset says so.
    """
    arguments.flag("all_builds", all_builds)
    opened, named, calendar = _subject_of(dataset, product, releases)
    if channel is not None:
        arguments.choice("channel", channel, named.channel_names)
    if os_name is not None:
        arguments.choice("operating system", os_name, named.os_names)
    if opened is None:
        return Judge(read_older_observations(str(dataset), named, calendar, until, not all_builds)), until
    if not opened.tables():
        raise no_dataset(opened.url)
    known = until or opened.data_up_to()
    end = known or _end_of(opened)
    observations = read_observations(
        opened, named, calendar, since=since or end, until=end, channel=channel, os_name=os_name,
        official=not all_builds,
    )  # fmt: skip
    observations = with_adopters(observations, opened, channel, os_name)
    return Judge(with_incidents(observations, read_incidents(opened)), slice_finder(opened)), known


def _subject_of(
    dataset: Dataset | str | Path, product: str, releases: str | Path | Calendar | None
) -> tuple[Dataset | None, contract.Product, Calendar]:
    """The opened dataset, its product and the product's calendar; None for files of the older layout."""
    opened = dataset if isinstance(dataset, Dataset) else _opened(arguments.place("dataset", dataset))
    products = contract.PACKAGED_PRODUCTS if opened is None else opened.products
    named = products.named(arguments.text("product", product))
    if named.calendar is None:
        return opened, named, Calendar((), named)
    if isinstance(releases, Calendar):
        return opened, named, releases
    beside = None if opened is None else calendar_beside(opened.url)
    return opened, named, load_calendar(releases if releases is not None else beside)


def _opened(place: str) -> Dataset | None:
    """The dataset at a place; None for files of the older layout."""
    with told_by_the_system(place):
        is_in_older_files = is_older(place)
    return None if is_in_older_files else Dataset(place)


def _end_of(dataset: Dataset) -> datetime:
    """The end of the newest day of a dataset, none of whose commits says up to when it has data."""
    newest = max(dataset.files_by_day(), default=date(1970, 1, 1))
    return datetime(newest.year, newest.month, newest.day, tzinfo=UTC) + timedelta(days=1)
