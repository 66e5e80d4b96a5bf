"""The series of versions that are in use and that the release calendar lacks: they are not judged, and say so."""

from collections.abc import Iterator
from datetime import date, datetime

from missioncontrol_nb.judgement.observations import hours_of
from missioncontrol_nb.judgement.series import Series, text_of
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.query import select
from missioncontrol_nb.monitor.hourly_sums import HourlySums
from missioncontrol_nb.monitor.summaries import Version
from missioncontrol_nb.monitor.time_units import DAY, HOUR, hour_of
from missioncontrol_nb.monitor.versions_in_use import LEAST_SHARE, rows_of_unlisted
from missioncontrol_nb.releases.calendar import Calendar, not_on_calendar
from streaming import contract


def has_unlisted(dataset: Dataset, product: contract.Product, calendar: Calendar, at: datetime) -> bool:
    """Whether `unlisted_series` can find any: whether a version that the calendar lacks has a ping of these 24 hours.

    This reads two days at most, and `unlisted_series` reads all.
    """
    if product.calendar is None:
        return False
    since, until = hour_of(at) - DAY, hour_of(at) + HOUR
    by, filters = ("application", "channel", "display_version"), {"application": product.applications}
    rows = dataset.load_counted(select(since, until, filters, by=by, measures=(), every=None), is_shared=False)
    return bool(rows_of_unlisted(rows, calendar).any())


def unlisted_series(
    dataset: Dataset,
    product: contract.Product,
    calendar: Calendar,
    at: datetime,
    *,
    channel: str | None = None,
    os_name: str | None = None,
    official: bool = True,
) -> Iterator[Series]:
    """The series of versions that count since less than 24 hours, or had 1 % of the usage of the last 24 hours.

    dataset: it holds nothing of later than `at`. Other arguments as for `read_observations`.
    """
    if product.calendar is None:
        return
    sums = HourlySums(dataset, calendar, official, product)
    sums.refresh()
    for name in [each for each in sums.channels() if channel in (None, each)]:
        for system in [each for each in sums.platforms(name) if os_name in (None, each)]:
            for version in sums.versions(name, at):
                is_in_use = at - version.released < DAY or (
                    (sums.adoption(name, system, version.version, at) or 0.0) >= LEAST_SHARE
                )
                if version.not_listed_on and is_in_use:
                    yield from _series_of(sums, name, system, version, version.not_listed_on, at)


def _series_of(
    sums: HourlySums, channel: str, os_name: str, version: Version, calendar_ends: date, at: datetime
) -> Iterator[Series]:
    """The series of the measures that the version reports."""
    application = sums.product.platform(os_name).application
    counts = sums.counts(channel, os_name, version.version, version.released, hour_of(at) + HOUR)
    for measure in sums.measures:
        if sums.product.why_not_reported(contract.measure(measure), os_name, version.version) is None:
            yield Series(
                at=text_of(hours_of(at)),
                application=application,
                channel=channel,
                os_name=os_name,
                measure=measure,
                display_version=version.version,
                build_ids=(),
                age_hours=round((at - version.released) / HOUR, 4),
                state="too early",
                events=counts.events[measure],
                usage_hours=counts.hours_of(measure),
                usage_hours_corrected=None,
                usage_hours_lower=None,
                usage_hours_upper=None,
                rate=None,
                why=f"{version.version} on {channel} is {not_on_calendar(calendar_ends)}, so it is not judged",
            )
